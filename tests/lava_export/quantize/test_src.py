"""SRC to integers: pulses, activity and scores survive; the steps of single pulses do not."""

import keras
import numpy as np
import pytest

import lava_export
from keras_spiking_rnn import SRC, LeakyReadout, TimeSum, metrics
from lava_export import ConversionError, QuantizationWarning, reference
from lava_export.quantize import SRCDescription

INPUTS, UNITS, STEPS = 10, 12, 60


def layer_of(stddev=0.5, units=UNITS, inputs=INPUTS, **options):
    initializer = keras.initializers.RandomNormal(stddev=stddev, seed=5)
    layer = SRC(units, kernel_initializer=initializer, return_sequences=True, **options)
    layer.build((None, None, inputs))
    return layer


def described(layer):
    return SRCDescription.of(layer.name, layer.cell)


def pulses(outputs):
    return described(layer_of()).pulses(outputs)


def spikes_of(samples, seed=0, steps=STEPS):
    generator = np.random.default_rng(seed)
    return (generator.random((samples, steps, INPUTS)) < 0.4).astype(np.int8)


class TestFloat:
    @pytest.mark.parametrize("options", [{}, {"z": 0.3, "z_dep": 0.2, "lagging_gate": True}])
    def test_it_is_what_keras_computes_while_rounding_does_not_matter(self, options):
        layer = layer_of(**options)
        inside = described(layer).simulate(spikes_of(20))
        traced = metrics.trace(layer, spikes_of(20))
        np.testing.assert_allclose(inside["integrator"], traced["integrator"], atol=1e-4)
        for name in ("hidden", "slow"):
            far = np.abs(inside[name] - traced[name]) > 1e-3
            assert far[:, :10].mean() == 0 and far.mean() < 0.01
        assert pulses(described(layer).in_integers(traced["spikes"])) > 200


class TestExact:
    def test_silence(self):
        """Units that get nothing stay where they are, far below a pulse."""
        synapses, units, record, outputs = described(layer_of(stddev=0.0)).quantize(spikes_of(3))
        assert not outputs.any()
        assert (record.mismatches, record.weight_error, record.pulses) == (0, 0, [0, 0])
        assert not reference.simulate_layer(synapses, units, spikes_of(3)).spikes.any()

    def test_a_unit_that_gets_nothing_but_its_feedback(self):
        """A tanh that saturates is exact: with no input and no bias, h stays 0; r makes it flip."""
        layer = layer_of(stddev=16.0, rho=20.0, r=0.0, r_s=0.0, alpha=0.0, bias_initializer=-5.0)
        kernel = layer.cell.kernel
        kernel.assign(64.0 * np.sign(kernel))
        synapses, units, record, outputs = described(layer).quantize(spikes_of(20))
        unseen = spikes_of(20, seed=1)
        integer = reference.simulate_layer(synapses, units, unseen).spikes
        expected = described(layer).in_integers(np.asarray(layer(unseen)))
        np.testing.assert_array_equal(integer, expected)
        assert set(np.unique(integer)) == {0, 255}
        assert 0.1 < (integer > 0).mean() < 0.9


class TestLoss:
    @pytest.mark.parametrize(
        "options", [{}, {"alpha": 0.97}, {"lagging_gate": True}, {"z": 0.2, "z_hyp": 0.8}]
    )
    def test_pulses_and_activity_survive(self, options):
        layer = layer_of(**options)
        synapses, units, record, outputs = described(layer).quantize(spikes_of(40))
        unseen = spikes_of(200, seed=1)
        integer = reference.simulate_layer(synapses, units, unseen).spikes
        expected = described(layer).in_integers(np.asarray(layer(unseen)))
        assert pulses(expected) > 2500
        assert pulses(integer) == pytest.approx(pulses(expected), rel=0.02)
        assert (integer > 0).mean() == pytest.approx((expected > 0).mean(), rel=0.02)
        assert record.saturations == 0 and record.headroom >= 1

    def test_the_record_is_measured(self):
        synapses, units, record, outputs = described(layer_of()).quantize(spikes_of(20))
        integer = reference.simulate_layer(synapses, units, spikes_of(20)).spikes
        assert record.mismatches == np.count_nonzero(integer != outputs)
        assert record.float_spikes == np.count_nonzero(outputs)
        assert record.pulses == [pulses(outputs), pulses(integer)]
        assert record.activity == [(outputs > 0).mean(), (integer > 0).mean()]
        assert record.leak_error == pytest.approx(abs(0.9 - 3686 / 4096))
        assert 0 < record.weight_error < 0.02
        assert 0 < record.decoded_error < 0.3

    @pytest.mark.parametrize(
        ("options", "gain_shift", "registers"),
        [
            ({}, 3, (1536, 1024, -3584)),
            (
                {"rho": 0.5, "r": 0.25, "r_s": -1.0, "bias_initializer": -4.0},
                0,
                (2048, 1024, -4096),
            ),
            ({"r_s": -100.0}, 7, (96, 64, -3200)),
        ],
    )
    def test_feedbacks(self, options, gain_shift, registers):
        _, units, _, _ = described(layer_of(**options)).quantize(spikes_of(3))
        assert (units.rho, units.r, units.r_s) == registers
        assert units.gain_shift == gain_shift
        bias = options.get("bias_initializer", -6.0)
        assert (units.bias == bias * 2 ** (20 - gain_shift)).all()

    def test_integrators_that_could_overflow_warn(self):
        """1 000 steps of a leak of 1, with weights that cancel each other on random data."""
        layer = layer_of(alpha=1.0)
        layer.cell.kernel.assign(np.outer(np.tile([3.0, -3.0], INPUTS // 2), np.ones(UNITS)))
        _, units, record, _ = described(layer).quantize(spikes_of(2, steps=1000))
        assert record.headroom < 0.99 and record.saturations == 0
        model = keras.Sequential([keras.Input((1000, INPUTS)), layer])
        with pytest.warns(QuantizationWarning, match="could overflow its 24-bit states"):
            network = lava_export.export(model, calibration=spikes_of(2, steps=1000))
        half_on = np.zeros((1, 1000, INPUTS))
        half_on[..., ::2] = 1
        assert network.simulate(half_on).saturations[0] > 0

    def test_pulses_start_in_the_upper_half(self):
        outputs = np.array([[255, 200, 127, 128, 3, 0, 129]])[..., None]
        assert pulses(outputs) == 3
        assert pulses(np.concatenate([outputs, 0 * outputs, outputs], axis=2)) == 6


class TestExport:
    @pytest.fixture(scope="class")
    def model(self):
        return keras.Sequential(
            [
                keras.Input((STEPS, INPUTS)),
                layer_of(name="first"),
                layer_of(inputs=UNITS, units=20, name="second", stddev=1.0),
                LeakyReadout(10),
            ]
        )

    @pytest.fixture(scope="class")
    def network(self, model):
        with pytest.warns(QuantizationWarning):
            return lava_export.export(model, calibration=spikes_of(30))

    def test_scores_are_those_of_keras_but_for_the_pulses(self, model, network):
        """Given the outputs of Keras in integers, the head on the host gives its scores."""
        x = spikes_of(20, seed=3)
        outputs = x
        for layer in model.layers[:2]:
            outputs = np.asarray(layer(outputs))
        integers = described(model.layers[1]).in_integers(outputs)
        expected = np.asarray(model.layers[2](outputs))
        np.testing.assert_allclose(network.decode(integers), expected, atol=0.1)
        assert expected.std() > 0.5

    def test_its_messages_are_graded(self, network):
        assert [layer.message_bits for layer in network.layers[::2]] == [0, 8]

    def test_it_survives_a_file(self, network, tmp_path):
        network.save(tmp_path / "n.h5")
        loaded = lava_export.load(tmp_path / "n.h5")
        assert loaded == network
        np.testing.assert_array_equal(loaded.run(spikes_of(4)), network.run(spikes_of(4)))
        assert loaded.quantization.layers[0].pulses == network.quantization.layers[0].pulses

    def test_the_warning_tells_the_pulses(self, model):
        with pytest.warns(QuantizationWarning, match="'second': .* differ by .* pulses for "):
            lava_export.export(model, calibration=spikes_of(30))

    def test_verify(self, model, network):
        report = lava_export.verify(model, network, spikes_of(20, seed=2), modes=())
        assert report.float_stage.first.layer in ("first", "second")
        assert abs(report.float_stage.first.margin) < 256
        for floats, integers in report.float_stage.pulses:
            assert floats > 50 and integers == pytest.approx(floats, rel=0.1)
        assert "Pulses of several steps" in str(report)

    def test_a_model_that_does_more_than_its_layers(self, model, network, monkeypatch):
        """Though scores of pulses may differ by more than rounding."""
        right = keras.Sequential.call
        monkeypatch.setattr(
            keras.Sequential, "call", lambda self, *args, **kwargs: 3 * right(self, *args, **kwargs)
        )
        with pytest.raises(ConversionError, match="other scores than its layers"):
            lava_export.verify(model, network, spikes_of(20, seed=2), modes=())

    def test_without_a_head_it_counts_outputs(self):
        model = keras.Sequential([keras.Input((STEPS, INPUTS)), layer_of(), TimeSum()])
        with pytest.warns(QuantizationWarning):
            network = lava_export.export(model, calibration=spikes_of(30))
        x = spikes_of(200, seed=4)
        sums = network.decode(network.run(x)).mean(axis=0)
        np.testing.assert_allclose(sums, np.asarray(model(x)).mean(axis=0), rtol=0.05, atol=0.05)


class TestErrors:
    def test_feedbacks_beyond_the_registers(self):
        with pytest.raises(ConversionError, match="r_s is 1000 in size, but .* below 256"):
            described(layer_of(r_s=-1000.0))

    def test_biases_beyond_the_registers(self):
        layer = layer_of()
        layer.cell.bias.assign(np.full(UNITS, -4000.0))
        with pytest.raises(ConversionError, match="bias is 4000 in size, but .* below 2048"):
            described(layer)

    def test_weights_that_are_not_finite(self):
        layer = layer_of()
        layer.cell.kernel.assign(np.full((INPUTS, UNITS), np.inf))
        with pytest.raises(ConversionError, match="`kernel` holds inf"):
            described(layer)

    def test_integrators_beyond_24_bits(self):
        layer = described(layer_of(stddev=3000.0, rho=0.001, alpha=1.0))
        with pytest.raises(ConversionError, match="its integrators reach .* in 24 bits they hold"):
            layer.quantize(spikes_of(3))
