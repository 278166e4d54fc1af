"""The demo, on its small preset."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import lava_export

pytestmark = pytest.mark.xdist_group("quickstart")  # one run for all

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    output = tmp_path_factory.mktemp("quickstart")
    command = [sys.executable, "examples/quickstart.py", "--preset", "quick", "--output", output]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    return output


def test_lava_equals_the_integers_and_the_accuracy_survives(run):
    results = json.loads((run / "results.json").read_text())
    assert results["lava_mismatches_stock"] == 0
    assert results["lava_mismatches_batched"] == 0
    assert results["samples_stock"] == 4
    assert results["samples_batched"] == 100
    assert results["float_accuracy"] > 0.75
    assert abs(results["integer_accuracy"] - results["float_accuracy"]) <= 0.05
    assert results["lava_accuracy"] == results["integer_accuracy"]
    assert results["seconds"] > 0


def test_what_it_leaves_can_be_loaded(run):
    model = keras.saving.load_model(run / "model.keras")
    network = lava_export.load(run / "network.h5")
    assert network.names == ("first", "second")
    assert model.get_layer("first").units == network.layers[0].units
    assert (run / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert (run / "raster.png").read_bytes().startswith(b"\x89PNG")
