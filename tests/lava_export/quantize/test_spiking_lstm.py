"""SpikingLSTM to integers: what is exact, what is lost, and what is refused."""

import keras
import numpy as np
import pytest

import lava_export
from keras_spiking_rnn import SpikingLSTM, SpikingLSTMCell, TimeSum, metrics
from lava_export import ConversionError, reference
from lava_export.quantize import SpikingLSTMDescription

INPUTS, UNITS, STEPS = 10, 12, 30


def layer_of(initializer=None, **options):
    initializer = initializer or keras.initializers.RandomNormal(stddev=1.0, seed=5)
    layer = SpikingLSTM(
        UNITS,
        kernel_initializer=initializer,
        recurrent_initializer=initializer,
        bias_initializer=initializer,
        return_sequences=True,
        **options,
    )
    layer.build((None, None, INPUTS))
    return layer


def described(layer):
    return SpikingLSTMDescription.of(layer.name, layer.cell)


def spikes_of(samples, seed=0):
    generator = np.random.default_rng(seed)
    return (generator.random((samples, STEPS, INPUTS)) < 0.4).astype(np.int8)


class TestFloat:
    def test_it_is_what_keras_computes(self):
        layer = layer_of(gate_threshold=0.2, candidate_threshold=0.4)
        outputs, potential = described(layer).simulate(spikes_of(20))
        traced = metrics.trace(layer, spikes_of(20))
        np.testing.assert_array_equal(outputs, traced["spikes"])
        names = ("input", "forget", "candidate", "output")
        expected = np.concatenate([traced[name] for name in names], axis=-1)
        np.testing.assert_allclose(potential, expected, atol=1e-5)
        assert 0.05 < outputs.mean() < 0.95


class TestExact:
    @pytest.mark.parametrize("step", [0.1, 0.25, 1.0])
    @pytest.mark.parametrize("seed", range(3))
    def test_weights_on_a_lattice(self, step, seed):
        """Multiples of one number, up to 8 bits, on data that calibration has not seen."""
        generator = np.random.default_rng(seed)
        # In float32 sums of 0.1 meet no threshold exactly, but those of 0.25 and 1 do.
        gate = 2.5 * step if step == 0.1 else 2 * step
        layer = layer_of(gate_threshold=gate, candidate_threshold=gate - 3 * step)
        for weight in layer.cell.weights:
            weight.assign(step * generator.integers(-30, 31, weight.shape))
        synapses, units, record, _ = described(layer).quantize(spikes_of(20))
        assert (record.mismatches, record.weight_error) == (0, pytest.approx(0, abs=1e-6))
        unseen = spikes_of(50, seed=1)
        integer = reference.simulate_layer(synapses, units, unseen).spikes
        np.testing.assert_array_equal(integer, np.asarray(layer(unseen)))
        assert 0.05 < integer.mean() < 0.95

    def test_rows_without_weights(self):
        layer = layer_of("zeros", candidate_threshold=-0.3)
        layer.cell.bias.assign(np.repeat([1.0, -1.0, 0.0, 1.0], UNITS))
        synapses, units, record, outputs = described(layer).quantize(spikes_of(3))
        assert outputs.all()  # i, g and o fire at every step
        assert record.mismatches == 0
        assert reference.simulate_layer(synapses, units, spikes_of(3)).spikes.all()


class TestLoss:
    def test_each_row_uses_all_bits(self):
        layer = layer_of()
        far_apart = np.logspace(-3, 3, 4 * UNITS)  # row by row
        kernel, recurrent, bias = layer.cell.weights
        for weight in (kernel, recurrent, bias):
            weight.assign(weight * far_apart)
        layer.cell.gate_threshold = layer.cell.candidate_threshold = 0.0
        synapses, units, record, outputs = described(layer).quantize(spikes_of(30))
        largest = np.maximum(
            np.abs(synapses.weights).max(axis=1), np.abs(units.recurrent.weights).max(axis=1)
        )
        assert largest.min() >= 120
        assert record.spike_loss < 0.05
        assert 0.05 < outputs.mean() < 0.95

    def test_the_record_is_measured(self):
        synapses, units, record, outputs = described(layer_of()).quantize(spikes_of(20))
        integer = reference.simulate_layer(synapses, units, spikes_of(20)).spikes
        assert record.mismatches == np.count_nonzero(integer != outputs)
        assert record.float_spikes == outputs.sum() > 0
        assert 0 < record.weight_error < 0.02
        assert (record.inputs, record.units, record.exponent) == (INPUTS, UNITS, 0)
        assert (record.scale, record.leak_error) == (None, None)


class TestExport:
    @pytest.fixture
    def model(self):
        return keras.Sequential(
            [
                keras.Input((STEPS, INPUTS)),
                layer_of(name="first"),
                keras.layers.RNN(SpikingLSTMCell(5, seed=1), return_sequences=True, name="second"),
                TimeSum(),
            ]
        )

    def test_it_survives_a_file(self, model, tmp_path):
        network = lava_export.export(model, calibration=spikes_of(30))
        network.save(tmp_path / "n.h5")
        loaded = lava_export.load(tmp_path / "n.h5")
        assert loaded == network
        np.testing.assert_array_equal(loaded.run(spikes_of(4)), network.run(spikes_of(4)))
        assert "first" in str(network.quantization)

    def test_verify_tells_the_gate_that_came_closest(self, model):
        network = lava_export.export(model, calibration=spikes_of(30))
        report = lava_export.verify(model, network, spikes_of(100, seed=2), modes=())
        changed = sum(report.float_stage.mismatches)
        assert 0 < changed < 0.2 * sum(report.float_stage.float_spikes)
        assert abs(report.float_stage.first.margin) < 0.1

    def test_weights_that_are_not_finite(self, model):
        model.layers[0].cell.recurrent_kernel.assign(np.full((UNITS, 4 * UNITS), np.nan))
        with pytest.raises(ConversionError, match="'first': `recurrent_kernel` holds nan"):
            lava_export.export(model, calibration=spikes_of(3))
