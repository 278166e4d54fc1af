"""The example of quantization-aware training, on its small preset."""

import json

import pytest

from examples import quantization_aware


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    output = tmp_path_factory.mktemp("quantization_aware")
    quantization_aware.main(["--preset", "quick", "--models", "RLIF", "--output", str(output)])
    return json.loads((output / "results.json").read_text())["rows"]


def test_no_spike_changes_after_training_in_integers(rows):
    (row,) = rows
    assert row["model"] == "RLIF"
    plain, aware = row["plain"], row["aware"]
    assert plain["changed"] > 0
    assert plain["integers"] == plain["lava"]
    assert aware["changed"] == 0
    assert aware["same"] == 1
    assert aware["keras"] == aware["integers"] == aware["lava"]
