"""LIFLSTM to integers: what is exact, what is lost, and what is refused."""

import warnings

import keras
import numpy as np
import pytest

import lava_export
from keras_spiking_rnn import LIFLSTM, LIFLSTMCell, TimeSum, metrics
from lava_export import ConversionError, QuantizationWarning, reference
from lava_export.quantize import LIFLSTMDescription

INPUTS, UNITS, STEPS = 10, 12, 30


def layer_of(stddev=1.0, threshold=0.3, **options):
    initializer = keras.initializers.RandomNormal(stddev=stddev, seed=5)
    layer = LIFLSTM(
        UNITS,
        threshold=threshold,
        kernel_initializer=initializer,
        recurrent_initializer=initializer,
        return_sequences=True,
        **options,
    )
    layer.build((None, None, INPUTS))
    return layer


def described(layer):
    return LIFLSTMDescription.of(layer.name, layer.cell)


def spikes_of(samples, seed=0, steps=STEPS):
    generator = np.random.default_rng(seed)
    return (generator.random((samples, steps, INPUTS)) < 0.4).astype(np.int8)


class TestFloat:
    def test_it_is_what_keras_computes(self):
        layer = layer_of(reset=-0.2, leak_initializer=0.9, membrane_bias_initializer="ones")
        layer.cell.membrane_bias.assign(np.linspace(-0.2, 0.2, UNITS))
        outputs, inside = described(layer).simulate(spikes_of(20))
        traced = metrics.trace(layer, spikes_of(20))
        np.testing.assert_array_equal(outputs, traced["spikes"])
        for name in ("membrane", "state", "cell"):
            np.testing.assert_allclose(inside[name], traced[name], atol=1e-5)
        assert 0.05 < outputs.mean() < 0.95


class TestExact:
    @pytest.mark.parametrize("seed", range(3))
    def test_gates_that_are_open_or_shut(self, seed):
        """Cells then count, on data that calibration has not seen."""
        generator = np.random.default_rng(seed)
        layer = layer_of(threshold=0.5, leak_initializer=0.25, reset=-1.0)
        kernel, recurrent, bias = layer.cell.weights[:3]
        kernel.assign(16.0 * generator.integers(-3, 4, kernel.shape))
        recurrent.assign(np.zeros(recurrent.shape))
        bias.assign(np.full(bias.shape, 8.0))
        synapses, units, record, outputs = described(layer).quantize(spikes_of(20))
        assert (record.mismatches, record.weight_error) == (0, 0)
        unseen = spikes_of(50, seed=1)
        result = reference.simulate_layer(synapses, units, unseen, ("u", "c"))
        traced = metrics.trace(layer, unseen)
        np.testing.assert_array_equal(result.spikes, traced["spikes"])
        unity = 4096 << units.cell_shift
        np.testing.assert_array_equal(
            result.states["c"][0], unity * np.rint(traced["cell"]).astype(int)
        )
        assert 0.1 < outputs.mean() < 0.9
        assert np.abs(traced["cell"]).max() > 2.5

    def test_a_layer_without_weights(self):
        layer = layer_of(stddev=0.0)
        layer.cell.bias.assign(np.repeat([9.0, -9.0, 9.0, 9.0], UNITS))
        synapses, units, record, outputs = described(layer).quantize(spikes_of(3))
        assert outputs.all()
        assert record.mismatches == 0
        assert reference.simulate_layer(synapses, units, spikes_of(3)).spikes.all()


class TestLoss:
    def test_states_stay_close(self):
        """Where nothing fires: a spike more or less is a reset more or less."""
        layer = layer_of(stddev=0.5, leak_initializer=0.9, threshold=0.99)
        synapses, units, record, outputs = described(layer).quantize(spikes_of(30))
        assert not outputs.any() and record.mismatches == 0
        assert 0 < record.weight_error < 0.02
        result = reference.simulate_layer(synapses, units, spikes_of(30), ("u", "c"))
        traced = metrics.trace(layer, spikes_of(30))
        for name, keras_name, finer in (("u", "state", 0), ("c", "cell", units.cell_shift)):
            error = result.states[name][0] / (4096 << finer) - traced[keras_name]
            assert np.sqrt((error**2).mean()) < 0.02 * traced[keras_name].std()

    def test_the_record_is_measured(self):
        synapses, units, record, outputs = described(layer_of()).quantize(spikes_of(20))
        integer = reference.simulate_layer(synapses, units, spikes_of(20)).spikes
        assert record.mismatches == np.count_nonzero(integer != outputs)
        assert record.float_spikes == outputs.sum() > 0
        assert (record.inputs, record.units) == (INPUTS, UNITS)
        assert record.leak_error == pytest.approx(abs(0.3 - 1229 / 4096), abs=1e-6)
        assert record.headroom > 1

    def test_rows_far_apart_use_all_bits(self):
        layer = layer_of()
        far_apart = np.logspace(-2, 2, 4 * UNITS)  # row by row
        for weight in layer.cell.weights[:2]:
            weight.assign(weight * far_apart)
        synapses, units, record, _ = described(layer).quantize(spikes_of(30))
        largest = np.maximum(
            np.abs(synapses.weights).max(axis=1), np.abs(units.recurrent.weights).max(axis=1)
        )
        assert largest.min() >= 120
        assert record.spike_loss < 0.1

    def test_one_huge_weight_is_clipped_if_that_helps(self):
        """It saturates its gate however large it is; the others of its row would be lost."""
        layer = layer_of(stddev=0.5)
        kernel = np.array(layer.cell.kernel)
        kernel[0] *= 200
        layer.cell.kernel.assign(kernel)
        synapses, units, record, _ = described(layer).quantize(spikes_of(30))
        assert record.clipped_weights > 0
        assert record.spike_loss < 0.1

    @pytest.mark.parametrize("membrane_bias", [0.0, 100.0])
    def test_messages_have_12_bits_at_most(self, membrane_bias):
        layer = layer_of(stddev=0.1, leak_initializer=1.0)
        layer.cell.membrane_bias.assign(np.full(UNITS, membrane_bias))
        _, units, record, _ = described(layer).quantize(spikes_of(10))
        assert units.feedback_bits == units.recurrent.message_bits == 12
        assert units.message_shift == (1 if membrane_bias == 0 else 7)
        assert record.wraps == record.saturations == 0

    def test_the_cell_cannot_overflow(self):
        layer = layer_of(stddev=0.1)
        layer.cell.bias.assign(np.full(4 * UNITS, 20.0))  # it grows by 1 in each step
        for steps, shift in ((7, 8), (100, 4), (1000, 1)):
            _, units, record, _ = described(layer).quantize(spikes_of(2, steps=steps))
            assert units.cell_shift == shift
            assert record.saturations == 0 and record.headroom >= 1

    @pytest.mark.parametrize("largest", [1, 255, 4095])
    @pytest.mark.parametrize("ratio", [0.3, 1.0, 100.0])
    def test_no_input_overflows_an_accumulator(self, largest, ratio):
        """Whatever the messages, and however far apart the two matrices are."""
        layer = layer_of(stddev=0.5, leak_initializer=1.0)
        layer.cell.kernel.assign(ratio * layer.cell.kernel / largest)
        layer = LIFLSTMDescription(**{**vars(described(layer)), "message_range": (0, largest)})
        inputs = np.random.default_rng(0).integers(0, largest + 1, (10, STEPS, INPUTS), np.int32)
        synapses, units, record, _ = layer.quantize(inputs)
        assert record.headroom >= 0.99
        # The input lines bring no negative numbers, the messages both.
        own, back = synapses.weights, units.recurrent.weights
        brought = largest * np.maximum(np.maximum(own, 0).sum(1), -np.minimum(own, 0).sum(1))
        returned = (2**units.feedback_bits - 1) * np.abs(back).sum(axis=1)
        sums = brought * 2.0**synapses.exponent + returned * 2.0**units.recurrent.exponent
        assert sums.max() < 2**23
        assert record.spike_loss < 0.1

    def test_graded_inputs(self):
        """What a unit before it gives in integers of 0 to 7, which stand for 0 to 0.7."""
        first = layer_of(stddev=0.5)
        graded = np.random.default_rng(0).integers(0, 8, (20, STEPS, INPUTS), np.int32)
        layer = LIFLSTMDescription(
            **{**vars(described(first)), "message_range": (0, 7)}
            | {"kernel": 0.1 * np.array(first.cell.kernel)}
        )
        synapses, units, record, outputs = layer.quantize(graded)
        assert synapses.message_bits == 3
        expected = np.asarray(first(0.1 * graded.astype("float32")))
        assert np.count_nonzero(outputs != expected) < 0.005 * expected.sum()
        assert 0 < record.spike_loss < 0.06


class TestExport:
    @pytest.fixture
    def model(self):
        cell = LIFLSTMCell(5, threshold=0.1, seed=1)
        return keras.Sequential(
            [
                keras.Input((STEPS, INPUTS)),
                layer_of(name="first"),
                keras.layers.RNN(cell, return_sequences=True, name="second"),
                TimeSum(),
            ]
        )

    def test_it_survives_a_file(self, model, tmp_path):
        network = lava_export.export(model, calibration=spikes_of(30))
        network.save(tmp_path / "n.h5")
        loaded = lava_export.load(tmp_path / "n.h5")
        assert loaded == network
        np.testing.assert_array_equal(loaded.run(spikes_of(4)), network.run(spikes_of(4)))

    def test_verify_tells_a_close_call(self, model):
        network = lava_export.export(model, calibration=spikes_of(30))
        report = lava_export.verify(model, network, spikes_of(60, seed=2), modes=())
        changed = sum(report.float_stage.mismatches)
        assert 0 < changed < 0.1 * sum(report.float_stage.float_spikes)
        assert abs(report.float_stage.first.margin) < 0.1
        assert report.float_stage.pulses == [None, None]
        # A membrane goes back to the gates of all units, whether it fires or not.
        (_, units), layer = network.pairs[0], report.resources.layers[0]
        assert layer.operations > (STEPS - 1) * np.count_nonzero(units.recurrent.weights)

    def test_check_tells_the_approximations(self, model):
        report = lava_export.check(model, spikes_of(30))
        assert report.ok
        assert "sigmoids differ by up to 0.0014 and tanh by up to 0.0024" in report.layers[0].losses
        assert report.layers[0].exact is False

    def test_it_warns_of_many_changed_spikes(self):
        """Membranes of a few of their 4096th parts, which a threshold among them divides."""
        model = keras.Sequential(
            [keras.Input((STEPS, INPUTS)), layer_of(stddev=0.002, threshold=0.0035, name="close")]
        )
        with pytest.warns(QuantizationWarning, match=r"'close': in integers .* spikes change"):
            lava_export.export(model, calibration=spikes_of(30))

    def test_it_does_not_warn_of_few(self, model):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            lava_export.export(model, calibration=spikes_of(30))


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"activation": "relu"}, "activation='relu', which has no integers: .*='tanh'"),
            (
                {"recurrent_activation": "hard_sigmoid"},
                "recurrent_activation='hard_sigmoid', .*='sigmoid'",
            ),
        ],
    )
    def test_other_activations(self, options, message):
        with pytest.raises(ConversionError, match=message):
            described(layer_of(**options))

    def test_weights_that_are_not_finite(self):
        layer = layer_of()
        layer.cell.recurrent_kernel.assign(np.full((UNITS, 4 * UNITS), np.nan))
        with pytest.raises(ConversionError, match="`recurrent_kernel` holds nan"):
            described(layer)

    def test_a_leak_that_is_none(self):
        layer = layer_of(leak_constraint=None)
        layer.cell.leak.assign(np.linspace(0.5, 1.5, UNITS))
        with pytest.raises(ConversionError, match=r"the leak of unit 6 is 1\.04.* in \[0, 1\]"):
            described(layer)

    def test_a_membrane_beyond_24_bits(self):
        layer = layer_of()
        layer.cell.membrane_bias.assign(np.full(UNITS, -3000.0))
        with pytest.raises(ConversionError, match="`membrane_bias` is 3000.* 24-bit .* 2048"):
            described(layer)

    def test_analog_outputs(self):
        model = keras.Sequential([keras.Input((STEPS, INPUTS)), layer_of(output_mode="analog")])
        with pytest.raises(ConversionError, match="output_mode='analog'"):
            lava_export.export(model, calibration=spikes_of(3))
