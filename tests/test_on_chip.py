"""From trained networks to Lava: what `examples.on_chip.deploy` measures."""

import json

import keras
import numpy as np
import pytest

import lava_export
from examples.on_chip import deploy
from examples.src import chip
from keras_spiking_rnn import RLIF, SpikingLSTM, TimeSum

KEYS = [
    "samples",
    "lava_samples",
    "float",
    "exported",
    "aware",
    "integers",
    "lava",
    "mismatches",
    "changed",
    "spikes",
    "report",
]

pytest.importorskip("lava_export.lava", reason="needs Python 3.10 and lava-nc 0.10.0")


@pytest.fixture(scope="module")
def halves():
    """Noise that is stronger in the left or in the right half: 160 samples of 6 steps, labels."""
    random = np.random.default_rng(0)
    y = np.arange(160) % 2
    chance = np.where((np.arange(8) < 4) == y[:, None], 0.6, 0.2)
    return (random.random((160, 6, 8)) < chance[:, None]).astype("float32"), y


def model(layer):
    return keras.Sequential([keras.Input((6, 8)), layer, TimeSum(mean=True), keras.layers.Dense(2)])


def fit(model, x, y, epochs=8):
    model.compile(
        keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    model.fit(x, y, epochs=epochs, verbose=0)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: RLIF(8, leak_initializer=0.9, return_sequences=True),
        lambda: SpikingLSTM(8, return_sequences=True),
    ],
    ids=["RLIF", "SpikingLSTM"],
)
def test_trained_in_integers_nothing_is_lost_on_the_chip(layer, halves, tmp_path):
    x, y = halves
    trained = model(layer())
    fit(trained, x[:96], y[:96])
    before = [weight.copy() for weight in trained.get_weights()]
    page = tmp_path / "reports" / "halves.html"
    record = deploy(
        trained,
        x[:96],
        x[96:],
        y[96:],
        fine_tune=lambda aware: fit(aware, x[:96], y[:96], epochs=2),
        lava_samples=16,
        report=page,
    )
    assert list(record) == KEYS
    assert (record["samples"], record["lava_samples"]) == (64, 16)
    assert record["aware"] == record["integers"]
    assert record["changed"] == 0
    assert record["mismatches"] == 0
    scores = trained.predict(x[96:], verbose=0)
    assert record["float"] == np.mean(scores.argmax(axis=1) == y[96:])
    assert record["report"] == "halves.html"
    assert page.read_text().startswith("<!DOCTYPE html>")
    for now, then in zip(trained.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_without_training_on_it_is_the_plain_export(halves):
    x, y = halves
    trained = model(RLIF(8, leak_initializer=0.9, return_sequences=True))
    fit(trained, x[:96], y[:96], epochs=4)
    record = deploy(trained, x[:96], x[96:], y[96:], lava_samples=64)
    assert record["aware"] is None
    assert record["report"] is None
    assert record["exported"] == record["integers"] == record["lava"]
    network = lava_export.export(trained, x[:96])
    simulated = network.simulate(network.encode(x[96:]), ("spikes",))
    assert record["spikes"] == np.count_nonzero(simulated.states["spikes"][0]) / 64


def test_another_measure_takes_the_place_of_the_accuracy(halves):
    x, y = halves
    sequences = keras.Sequential(
        [keras.Input((6, 8)), SpikingLSTM(8, return_sequences=True), keras.layers.Dense(1)]
    )
    wanted = np.tile(y[:, None, None], (1, 6, 1)).astype("float32")

    def fine_tune(aware):
        aware.compile(keras.optimizers.Adam(0.01), "mse")
        aware.fit(x[:96], wanted[:96], verbose=0)

    def error(y, outputs):
        return float(np.mean((outputs - y) ** 2))

    record = deploy(sequences, x[:96], x[96:], wanted[96:], fine_tune, None, measure=error)
    assert record["float"] == pytest.approx(
        error(wanted[96:], sequences.predict(x[96:], verbose=0))
    )
    assert record["aware"] == pytest.approx(record["integers"], rel=1e-5)
    assert record["lava"] == record["integers"] < record["float"]
    assert record["lava_samples"] == 64


def test_a_network_of_src_arrives_on_the_chip(tmp_path):
    options = ["--preset", "quick", "--neurons", "src", "--output", str(tmp_path)]
    chip.main(options)
    record = json.loads((tmp_path / "chip-mnist-rate-quick-0.json").read_text())
    found = record["numbers"]["src"]
    assert (found["samples"], found["lava_samples"]) == (40, 4)
    assert (found["mismatches"], found["changed"]) == (0, 0)
    (row,) = record["rows"]
    assert row["ours"].endswith("of 4 (0 mismatches)")
    assert found["report"] == row["report"] == "chip-mnist-rate-quick-0-src.html"
    assert (tmp_path / found["report"]).exists()
