"""The example of plain export, on its small preset."""

import json

import numpy as np
import pytest

from examples import plain_export

pytest.importorskip("lava_export.lava", reason="needs Python 3.10 and lava-nc 0.10.0")

pytestmark = pytest.mark.xdist_group("plain_export")  # one run for all

NAMES = (
    "LIF, spikes",
    "GatedLIF version 2, 6 bits, PLAN",
    "2 ConvRLIF2D with pooling, and RLIF",
    "2 SRC",
)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    output = tmp_path_factory.mktemp("plain_export")
    plain_export.main(["--preset", "quick", "--models", *NAMES, "--output", str(output)])
    return json.loads((output / "results.json").read_text())["rows"]


def test_lava_does_what_the_integers_do(rows):
    assert [row["model"] for row in rows] == list(NAMES)
    for row in rows:
        assert row["lava"] == {"stock": [1, 0], "batched": [20, 0]}


def test_each_layer_has_its_numbers(rows):
    """Of spikes there are no sums of graded outputs; SRC has pulses."""
    lif, gated, _, src = rows
    assert [len(row["changed"]) for row in rows] == [1, 1, 4, 2]  # and one of max pooling
    assert lif["sums"] == [None]
    assert all(share > 0 for share in gated["sums"] + src["sums"])
    assert all(count > 0 for counts in src["pulses"] for count in counts)


def test_columns_without_numbers_are_left_out(rows):
    headings, lif, *_ = plain_export.lines(rows)
    assert headings == plain_export.HEADINGS
    assert lif[:2] == ("LIF, spikes", f"{100 * rows[0]['float']:.1f} %")
    assert lif[5] == lif[6] == ""
    headings, *_ = plain_export.lines(rows[:1])
    assert "sums changed" not in headings and "outputs changed" in headings


def test_small_changes_of_weights_change_outputs_where_they_are_fed_back(rows):
    lif, gated, _, src = rows
    assert lif["changed_then"][0] < 0.05 < gated["changed_then"][0] < src["changed_then"][0]


def test_weights_are_put_back():
    """The model that is measured is not the one that was disturbed."""
    model = plain_export.network("LIF, spikes", 28, 16)
    before = [weight.copy() for weight in model.get_weights()]
    x = (np.random.default_rng(0).random((4, 28, 28)) < 0.5).astype("float32")
    plain_export.disturbed(model, [model.layers[0].name], x, 0)
    for kept, weight in zip(before, model.get_weights(), strict=True):
        assert (kept == weight).all()
