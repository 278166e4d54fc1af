"""`verify` against Lava: the whole certificate."""

import keras
import numpy as np
import pytest
from lava.magma.core.process.process import AbstractProcess

import lava_export
from keras_spiking_rnn import (
    AAN,
    LIF,
    LIFLSTM,
    RLIF,
    SRC,
    AdaptiveAnalogLSTM,
    ConvRLIF2D,
    GatedLIF,
    LeakyReadout,
    SpikingLSTM,
    TimeSum,
)
from keras_spiking_rnn.adaptive_lstm import AdaptiveSpikingNeuron, convert
from lava_export import reference
from lava_export.lava import simulate

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


# For each model that can be exported, a layer that is neither silent nor always firing on SPIKES.
LAYERS = {
    "SpikingLSTM": lambda: SpikingLSTM(
        16,
        kernel_initializer=keras.initializers.RandomNormal(stddev=1.0, seed=1),
        recurrent_initializer=keras.initializers.RandomNormal(stddev=1.0, seed=2),
        return_sequences=True,
    ),
    "LIF": lambda: LIF(
        16,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.5, seed=1),
        return_sequences=True,
    ),
    "LIF, 3 bits and a sign": lambda: LIF(
        16,
        bits=4,
        threshold_ratio=2,
        signed=True,
        initial_v_max=16.0,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.5, seed=1),
        return_sequences=True,
    ),
    "GatedLIF": lambda: GatedLIF(
        16,
        bits=None,
        threshold=0.5,
        gate_activation="plan_sigmoid",
        kernel_initializer=keras.initializers.RandomNormal(stddev=1.0, seed=1),
        return_sequences=True,
    ),
    "GatedLIF, 2 bits, recurrent": lambda: GatedLIF(
        16,
        bits=2,
        threshold_ratio=1,
        initial_v_max=8.0,
        recurrent_gates=True,
        gate_activation="plan_sigmoid",
        kernel_initializer=keras.initializers.RandomNormal(stddev=1.0, seed=1),
        recurrent_initializer=keras.initializers.RandomNormal(stddev=0.1, seed=2),
        return_sequences=True,
    ),
    "LIFLSTM": lambda: LIFLSTM(
        16,
        threshold=0.3,
        leak_initializer=0.9,
        kernel_initializer=keras.initializers.RandomNormal(stddev=1.0, seed=1),
        recurrent_initializer=keras.initializers.RandomNormal(stddev=1.0, seed=2),
        return_sequences=True,
    ),
}


def equal_at_any_length(network, inputs):
    """Two samples of one step and of 60, on Lava in both modes: outputs and final states."""
    for steps in (1, 60):
        samples = np.resize(inputs, (2, steps, *inputs.shape[2:]))
        expected = reference.simulate(network.pairs, samples)
        for mode in ("stock", "batched"):
            actual = simulate(network.pairs, samples, mode=mode)
            np.testing.assert_array_equal(actual.spikes, expected.spikes)
            for states, those_expected in zip(actual.final, expected.final, strict=True):
                assert list(states) == list(those_expected)
                for name, state in states.items():
                    np.testing.assert_array_equal(state, those_expected[name])
    assert (expected.spikes[0] != expected.spikes[1]).any()
    assert (expected.spikes[:, 30:] != expected.spikes[:, :30]).any()


@pytest.mark.parametrize("name", LAYERS)
def test_a_model_among_others(name):
    """The layer first, and behind another one, where it starts a step later."""
    model = keras.Sequential(
        [
            keras.Input((10, 12)),
            LAYERS[name](),
            RLIF(8, threshold=0.4, return_sequences=True),
            LAYERS[name](),
            TimeSum(),
        ]
    )
    network = lava_export.export(model, calibration=SPIKES)
    report = lava_export.verify(model, network, SPIKES, samples_stock=3)
    assert [(stage.mode, stage.samples) for stage in report.lava] == [("stock", 3), ("batched", 23)]
    assert all(stage.equal for stage in report.lava)
    names = list(network.names)
    assert [stage.ours for stage in report.lava] == [[names[0], names[2]], names]
    text = " ".join(str(report).split())
    assert (
        f"In mode stock '{names[1]}' ran on Lava's own processes, '{names[0]}', '{names[2]}' on "
        "ours. In mode batched no layer ran on Lava's own processes, all layers on ours." in text
    )
    for said in (text, report.to_dict()["hardware"]):
        assert "Loihi 2-compatible arithmetic, verified on the CPU simulator; not run on" in said
    floats = report.float_stage
    assert all(
        0.02 < n / slots < 0.98 for n, slots in zip(floats.float_spikes, floats.slots, strict=True)
    )
    assert floats.mismatches[0] < 0.1 * floats.float_spikes[0]
    equal_at_any_length(network, SPIKES.astype(np.int8))


def test_images():
    """Convolutions, pooling, and what is dense behind them; nothing square, nothing symmetric."""
    options = {"leak_initializer": 0.9, "return_sequences": True}
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((10, 9, 7, 2)),
            ConvRLIF2D(4, (3, 2), threshold=(0.2, 0.25, 0.3, 0.35), **options),
            keras.layers.TimeDistributed(keras.layers.MaxPooling2D((2, 3), 1)),
            ConvRLIF2D(3, (2, 3), strides=(2, 1), padding="same", threshold=0.4, **options),
            keras.layers.AveragePooling3D((1, 3, 2)),
            keras.layers.TimeDistributed(keras.layers.Flatten()),
            RLIF(8, threshold=0.3, **options),
            TimeSum(),
        ]
    )
    model.layers[0].cell.leak.assign([0.8, 0.85, 0.9, 0.95])
    x = (np.random.default_rng(0).random((23, 10, 9, 7, 2)) < 0.3).astype("float32")
    network = lava_export.export(model, calibration=x)
    report = lava_export.verify(model, network, x, samples_stock=3)
    assert [(stage.mode, stage.samples) for stage in report.lava] == [("stock", 3), ("batched", 23)]
    assert all(stage.equal for stage in report.lava)
    assert (report.float_stage.compared, report.float_stage.unlike_model) == (23, 0)
    floats = report.float_stage
    for spikes, slots in zip(floats.float_spikes, floats.slots, strict=True):
        assert 0.02 < spikes / slots < 0.98
    assert floats.mismatches[0] < 0.05 * floats.float_spikes[0]
    np.testing.assert_array_equal(
        network.run(x[:3], backend="lava", mode="batched"), network.run(x[:3])
    )


def test_pulses_and_a_leaky_readout():
    """Graded messages between layers and to the host. Single pulses come at other steps."""
    initializer = keras.initializers.RandomNormal(stddev=1.0, seed=1)
    options = {
        "bias_initializer": -4.0,
        "kernel_initializer": initializer,
        "return_sequences": True,
    }
    layers = [SRC(16, **options), SRC(20, **options), LeakyReadout(4)]
    model = keras.Sequential([keras.Input((10, 12)), *layers])
    network = lava_export.export(model, calibration=SPIKES)
    report = lava_export.verify(model, network, SPIKES, LABELS, samples_stock=3)
    assert [(stage.mode, stage.samples) for stage in report.lava] == [("stock", 3), ("batched", 23)]
    assert all(stage.equal for stage in report.lava)
    assert report.lava[1].states_compared == 23 * 3 * (16 + 20)
    assert all(100 < spikes for spikes in report.float_stage.float_spikes)
    equal_at_any_length(network, SPIKES.astype(np.int8))


def test_a_converted_adaptive_lstm():
    """Graded inputs, LSTMs and neurons side by side, and a second layer of neurons."""
    neuron = AdaptiveSpikingNeuron(stochastic=False)
    inputs = keras.Input((None, 3))
    hidden = keras.layers.Dense(5, AAN())(inputs)
    memory = AdaptiveAnalogLSTM(4, return_sequences=True)(inputs)
    second = keras.layers.Dense(6, AAN())(keras.layers.Concatenate()([hidden, memory]))
    model = keras.Model(inputs, keras.layers.Dense(2)(second))
    generator = np.random.default_rng(0)
    model.set_weights([generator.normal(0.6, 0.8, w.shape) for w in model.get_weights()])
    spiking = convert(model, neuron, time_window=40e-3, tolerance=1.0)
    x = generator.uniform(0, 1, (9, 4, 3))
    network = lava_export.export(spiking, calibration=x)
    report = lava_export.verify(spiking, network, x, np.zeros(9), samples_stock=2)
    assert [(stage.mode, stage.samples) for stage in report.lava] == [("stock", 2), ("batched", 9)]
    assert all(stage.equal for stage in report.lava)
    # The states of an AdaptiveLSTM are 14, those of a neuron 4.
    assert report.lava[1].states_compared == 9 * (14 * (5 + 4) + 4 * 6)
    assert all(100 < spikes for spikes in report.float_stage.float_spikes)
    assert report.float_stage.decoded_error < 0.05
    equal_at_any_length(network, network.encode(x))


@pytest.mark.parametrize("mode", ["stock", "batched"])
def test_a_reference_that_differs_raises(model, network, monkeypatch, mode):
    right = reference.Layer.run

    def wrong(layer, spikes, record=()):
        result = right(layer, spikes, record)
        result.spikes[2:3, -1, 0] ^= 1  # one spike of one sample; it is the recorded array too
        return result

    monkeypatch.setattr(reference.Layer, "run", wrong)
    with pytest.raises(lava_export.ParityError, match=f"mode {mode}: . spikes") as caught:
        lava_export.verify(model, network, SPIKES, modes=(mode,))
    assert not caught.value.report.lava[0].equal
    assert "DIFFERS" in str(caught.value.report)


def test_a_final_state_that_differs_raises(model, network, monkeypatch):
    right = reference.Layer.run

    def wrong(layer, spikes, record=()):
        result = right(layer, spikes, record)
        result.final[0]["v"] = result.final[0]["v"] + 1
        return result

    monkeypatch.setattr(reference.Layer, "run", wrong)
    with pytest.raises(lava_export.ParityError, match="0 spikes and .* final states differ"):
        lava_export.verify(model, network, SPIKES, modes=("batched",))


def test_samples_of_stock_span_chunks(model, network, monkeypatch):
    monkeypatch.setattr("lava_export.parity.CHUNK", 12 * 10 * (12 + 20 + 20 + 4))
    report = lava_export.verify(model, network, SPIKES, samples_stock=14)
    assert [stage.samples for stage in report.lava] == [14, 23]
    assert all(stage.equal for stage in report.lava)


def test_batched_lava_is_compiled_once_for_all_chunks(model, network, monkeypatch):
    compiled, right = [], AbstractProcess.compile
    monkeypatch.setattr(
        AbstractProcess,
        "compile",
        lambda self, *a, **k: compiled.append(self) or right(self, *a, **k),
    )
    monkeypatch.setattr("lava_export.parity.CHUNK", 4 * 10 * (12 + 20 + 20 + 4))
    report = lava_export.verify(model, network, SPIKES, LABELS, modes=("batched",))
    assert report.lava[0].samples == 23 and report.lava[0].equal
    assert len(compiled) == 1
    with network.on_lava() as simulate:
        fired = [simulate(part).spikes for part in (SPIKES[:9], SPIKES[9:])]
    np.testing.assert_array_equal(np.concatenate(fired), network.run(SPIKES))
    assert len(compiled) == 2


def test_leak_groups_run_on_lava(model):
    network = lava_export.export(model, calibration=SPIKES, leak_groups=2)
    report = lava_export.verify(model, network, SPIKES, samples_stock=4)
    assert all(stage.equal for stage in report.lava)


def test_predict_on_lava(network):
    expected = network.predict(SPIKES)
    assert (network.predict(SPIKES, backend="lava", mode="batched") == expected).all()
