"""`verify` against Lava: the whole certificate."""

import keras
import numpy as np
import pytest

import lava_export
from keras_spiking_rnn import RLIF, TimeSum
from lava_export import reference

SPIKES = (np.random.default_rng(0).random((23, 10, 12)) < 0.4).astype("float32")
LABELS = np.random.default_rng(1).integers(0, 4, 23)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((10, 12)),
            RLIF(20, threshold=1.0, leak_initializer=0.9, return_sequences=True, name="first"),
            RLIF(4, threshold=1.0, reset=-0.2, return_sequences=True, name="second"),
            TimeSum(),
        ]
    )


@pytest.fixture(scope="module")
def network(model):
    return lava_export.export(model, calibration=SPIKES)


def test_every_stage_is_there_and_lava_equals_the_reference(model, network):
    report = lava_export.verify(model, network, SPIKES, LABELS, samples_stock=5)
    stock, batched = report.lava
    assert (stock.mode, stock.samples) == ("stock", 5)
    assert (batched.mode, batched.samples) == ("batched", 23)
    assert stock.equal and batched.equal
    assert stock.spikes_compared == 5 * 10 * (20 + 4)
    assert batched.states_compared == 23 * 2 * (20 + 4)
    assert batched.accuracy == report.float_stage.integer_accuracy
    assert report.versions["lava-nc"] == "0.10.0"
    assert "equals the integer reference on every spike" in str(report)


@pytest.mark.parametrize("mode", ["stock", "batched"])
def test_a_reference_that_differs_raises(model, network, monkeypatch, mode):
    right = reference.simulate_layer

    def wrong(dense, lif, spikes, record=()):
        result = right(dense, lif, spikes, record)
        result.spikes[2, -1, 0] ^= 1  # one spike of one sample; it is the recorded array too
        return result

    monkeypatch.setattr(reference, "simulate_layer", wrong)
    with pytest.raises(lava_export.ParityError, match=f"mode {mode}: . spikes") as caught:
        lava_export.verify(model, network, SPIKES, modes=(mode,))
    assert not caught.value.report.lava[0].equal
    assert "DIFFERS" in str(caught.value.report)


def test_a_final_state_that_differs_raises(model, network, monkeypatch):
    right = reference.simulate_layer

    def wrong(dense, lif, spikes, record=()):
        result = right(dense, lif, spikes, record)
        result.final_v[0] = result.final_v[0] + 1
        return result

    monkeypatch.setattr(reference, "simulate_layer", wrong)
    with pytest.raises(lava_export.ParityError, match="0 spikes and .* final states differ"):
        lava_export.verify(model, network, SPIKES, modes=("batched",))


def test_samples_of_stock_span_chunks(model, network, monkeypatch):
    monkeypatch.setattr("lava_export.parity.CHUNK", 12 * 10 * (12 + 20 + 20 + 4))
    report = lava_export.verify(model, network, SPIKES, samples_stock=14)
    assert [stage.samples for stage in report.lava] == [14, 23]
    assert all(stage.equal for stage in report.lava)


def test_leak_groups_run_on_lava(model):
    network = lava_export.export(model, calibration=SPIKES, leak_groups=2)
    report = lava_export.verify(model, network, SPIKES, samples_stock=4)
    assert all(stage.equal for stage in report.lava)


def test_predict_on_lava(network):
    expected = network.predict(SPIKES)
    assert (network.predict(SPIKES, backend="lava", mode="batched") == expected).all()
