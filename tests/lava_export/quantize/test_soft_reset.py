"""LIF and GatedLIF to integers: what is exact, what is lost, and what is refused."""

import warnings
from dataclasses import replace

import keras
import numpy as np
import pytest

import lava_export
from keras_spiking_rnn import (
    LIF,
    RLIF,
    GatedLIF,
    GatedLIFCell,
    LIFCell,
    SpikingLSTM,
    TimeSum,
    metrics,
)
from lava_export import ConversionError, QuantizationWarning, reference
from lava_export.convert import describe
from lava_export.quantize import CurrentLIFDescription, GatedLIFDescription
from lava_export.units import CurrentLIF as IntegerLIF

INPUTS, UNITS, STEPS = 10, 12, 30

SIX_BITS = {"bits": 6, "threshold_ratio": 8, "initial_v_max": 6.0}
SIGNED = {"bits": 5, "threshold_ratio": 3, "initial_v_max": 6.0, "signed": True}
ONE_OF_22 = {"bits": 1, "threshold_ratio": 1, "initial_v_max": 3.0}
OUTPUTS = [{"bits": None}, SIX_BITS, SIGNED, ONE_OF_22]
PLAN = {"gate_activation": "plan_sigmoid"}

# Warnings are part of what is tested here, where they are.
pytestmark = pytest.mark.filterwarnings("ignore::lava_export.QuantizationWarning")


def layer_of(layer_class, seed=5, inputs=INPUTS, **options):
    """A built layer with random weights, biases, thresholds, decays and statistics."""
    generator = np.random.default_rng(seed)
    options = {"return_sequences": True, **options}
    if not options.get("bits"):
        options["threshold"] = generator.uniform(0.5, 1.5, UNITS).tolist()
    layer = layer_class(
        UNITS,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.6, seed=seed),
        bias_initializer=keras.initializers.RandomNormal(stddev=0.1, seed=seed),
        **options,
    )
    layer.build((None, None, inputs))
    cell = layer.cell
    for name in ("current_decay", "membrane_decay"):
        if hasattr(cell, name):
            getattr(cell, name).assign(generator.uniform(0.5, 1, UNITS))
    if cell.batch_normalization:
        columns = cell.gates * UNITS
        cell.norm_scale.assign(generator.uniform(0.5, 1.5, columns))
        cell.norm_offset.assign(generator.normal(0, 0.2, columns))
        cell.moving_mean.assign(generator.normal(0, 0.5, columns))
        cell.moving_variance.assign(generator.uniform(0.5, 2, columns))
    return layer


def described(layer):
    cls = GatedLIFDescription if isinstance(layer, GatedLIF) else CurrentLIFDescription
    return cls.of(layer.name, layer.cell)


def in_keras(layer, inputs):
    """The outputs in integers, and what is inside."""
    traced = metrics.trace(layer, inputs)
    return described(layer).in_integers(traced["spikes"]), traced


def spikes_of(samples, seed=0, rate=0.4):
    generator = np.random.default_rng(seed)
    return (generator.random((samples, STEPS, INPUTS)) < rate).astype(np.int8)


def is_lively(outputs):
    return 0.05 < np.count_nonzero(outputs) / outputs.size < 0.95


class TestFloat:
    @pytest.mark.parametrize("outputs", OUTPUTS, ids=str)
    @pytest.mark.parametrize(
        ("layer_class", "options"),
        [
            (LIF, {}),
            (LIF, {"use_bias": True}),
            (GatedLIF, PLAN),
            (GatedLIF, {"use_bias": True, "recurrent_gates": True}),
        ],
    )
    def test_it_is_what_keras_computes(self, layer_class, options, outputs):
        layer = layer_of(layer_class, **options, **outputs)
        found, inside = described(layer).simulate(spikes_of(20))
        expected, traced = in_keras(layer, spikes_of(20))
        for name in traced.keys() - {"spikes"}:
            np.testing.assert_allclose(inside[name], traced[name], atol=2e-4)
        np.testing.assert_array_equal(found, expected)
        assert is_lively(found)
        if layer_class is LIF:  # currents of GatedLIF are never negative
            assert (found.min() < 0) == (outputs is SIGNED)

    @pytest.mark.parametrize("layer_class", [LIF, GatedLIF])
    def test_batch_normalization_is_part_of_weights_and_biases(self, layer_class):
        layer = layer_of(layer_class, batch_normalization=True, bits=None)
        found, inside = described(layer).simulate(spikes_of(20))
        expected, traced = in_keras(layer, spikes_of(20))
        np.testing.assert_allclose(inside["current"], traced["current"], atol=1e-4)
        np.testing.assert_array_equal(found, expected)
        assert is_lively(found)

    def test_behind_graded_outputs_inputs_are_integers(self):
        """Weights take up what an integer stands for: the same potentials in other units."""
        before = layer_of(LIF, **SIX_BITS)
        layer = layer_of(LIF, seed=6, inputs=UNITS, **SIX_BITS)
        integers, traced = in_keras(before, spikes_of(20))
        behind = described(layer).after(described(before))
        assert behind.message_range == (0, 63) and behind.message_bits == 6
        found, inside = behind.simulate(integers)
        _, expected = in_keras(layer, traced["spikes"])
        np.testing.assert_allclose(inside["membrane"], expected["membrane"], atol=1e-3)
        assert is_lively(found)

    def test_behind_spikes_nothing_changes(self):
        layer = described(layer_of(GatedLIF, bits=None))
        assert layer.after(layer) is layer


def on_lattice(layer, step, seed, largest_gate=None):
    """Weights that are multiples of `step`; gates that are open or shut if `largest_gate`."""
    generator = np.random.default_rng(seed)
    for name in ("kernel", "recurrent_kernel", "bias"):
        weight = getattr(layer.cell, name, None)
        if weight is None:
            continue
        values = step * generator.integers(-25, 31, weight.shape)
        if largest_gate:
            values[..., :UNITS] *= largest_gate
        weight.assign(values)
    return layer


def exported(layer, calibration):
    synapses, units, record, _ = described(layer).quantize(calibration)
    unseen = spikes_of(50, seed=1)
    expected, _ = in_keras(layer, unseen)
    found = reference.simulate_layer(synapses, units, unseen).spikes
    assert is_lively(found)
    return record, np.count_nonzero(found != expected) / expected.size


class TestExact:
    """Without leaks, weights that are multiples of one number: on data that was not seen before."""

    options = {"membrane_decay_initializer": 1.0, "use_bias": True, "return_sequences": True}

    @pytest.mark.parametrize("outputs", [{}, *OUTPUTS[1:]], ids=str)
    @pytest.mark.parametrize("seed", range(2))
    def test_lif(self, outputs, seed):
        outputs = {**outputs, **({"initial_v_max": 4.0} if outputs else {"threshold": 0.75})}
        layer = LIF(UNITS, current_decay_initializer=0.5, **self.options, **outputs)
        layer.build((None, None, INPUTS))
        on_lattice(layer, 1 / 32, seed)
        layer.cell.current_decay.assign(np.arange(UNITS) % 2)
        record, different = exported(layer, spikes_of(20))
        assert (record.mismatches, record.weight_error, different) == (0, 0, 0)
        assert record.leak_error == 0

    @pytest.mark.parametrize("outputs", [{"bits": None, "threshold": 0.75}, *OUTPUTS[1:]], ids=str)
    @pytest.mark.parametrize("recurrent_gates", [False, True])
    def test_gated_lif_with_gates_that_are_open_or_shut(self, outputs, recurrent_gates):
        if outputs.get("bits"):
            outputs = {**outputs, "initial_v_max": 4.0}
        layer = GatedLIF(UNITS, recurrent_gates=recurrent_gates, **PLAN, **self.options, **outputs)
        layer.build((None, None, INPUTS))
        on_lattice(layer, 1 / 16, 0, largest_gate=1024)
        record, different = exported(layer, spikes_of(20))
        assert (record.mismatches, record.weight_error, different) == (0, 0, 0)

    @pytest.mark.parametrize("bits", [None, 6])
    def test_any_gate_that_was_trained_as_it_is_computed(self, bits):
        """Only products with the gate are rounded, to some thousandths of a step of the output."""
        layer = GatedLIF(UNITS, bits=bits, initial_v_max=4.0, **PLAN, **self.options)
        layer.build((None, None, INPUTS))
        record, different = exported(on_lattice(layer, 1 / 16, 0), spikes_of(20))
        assert record.weight_error == 0
        assert different < 0.015

    def test_a_gate_that_was_trained_with_the_logistic_function(self):
        """It gets the finer of the two approximations, which is closer to it than the other."""
        layer = GatedLIF(UNITS, bits=None, **self.options)
        layer.build((None, None, INPUTS))
        on_lattice(layer, 1 / 16, 0)
        synapses, units, record, outputs = described(layer).quantize(spikes_of(20))
        assert units.fine == 1 and record.weight_error == 0
        coarse = reference.simulate_layer(synapses, replace(units, fine=0), spikes_of(20)).spikes
        assert record.mismatches < np.count_nonzero(coarse != outputs) / 3
        assert "0.0014" in described(layer).approximations(units, record)[-1]


class TestLoss:
    @pytest.mark.parametrize("layer_class", [LIF, GatedLIF])
    def test_units_far_apart_have_scales_of_their_own(self, layer_class):
        options = PLAN if layer_class is GatedLIF else {}
        layer = layer_of(layer_class, bits=None, use_bias=True, **options)
        far_apart = np.logspace(-2, 3, UNITS)
        cell = layer.cell
        for weight in (cell.kernel, cell.bias):
            values = np.array(weight)
            values[..., -UNITS:] *= far_apart
            weight.assign(values)
        cell.threshold = tuple(far_apart.tolist())
        synapses, units, record, outputs = described(layer).quantize(spikes_of(30))
        assert np.abs(synapses.weights).max(axis=1).min() >= 64
        assert record.spike_loss < 0.05
        assert record.saturations == 0
        assert is_lively(outputs)

    @pytest.mark.parametrize("options", [{"bits": None}, SIX_BITS], ids=str)
    def test_the_record_is_measured(self, options):
        layer = layer_of(GatedLIF, recurrent_gates=True, **options, **PLAN)
        synapses, units, record, outputs = described(layer).quantize(spikes_of(20))
        integer = reference.simulate_layer(synapses, units, spikes_of(20)).spikes
        assert record.mismatches == np.count_nonzero(integer != outputs) > 0
        assert record.float_spikes == np.count_nonzero(outputs)
        assert 0 < record.weight_error < 0.05
        assert 0 < record.leak_error <= 1 / 8192
        assert (record.inputs, record.units) == (INPUTS, UNITS)
        if options["bits"] is None:
            assert record.decoded_error is None
        else:
            sums = integer.sum(axis=1).astype(float), outputs.sum(axis=1).astype(float)
            error = np.linalg.norm(sums[0] - sums[1]) / np.linalg.norm(sums[1])
            assert record.decoded_error == pytest.approx(error) and 0 < error < 0.2

    def test_recurrent_weights_of_graded_outputs_keep_their_bits(self):
        """V_max / 2**b makes them small, so the matrices have powers of two of their own."""
        layer = layer_of(GatedLIF, recurrent_gates=True, **SIX_BITS)
        synapses, units, record, _ = described(layer).quantize(spikes_of(20))
        assert synapses.exponent > units.recurrent.exponent == 0
        assert units.recurrent.message_bits == 6
        for dense in (synapses, units.recurrent):
            assert np.median(np.abs(dense.weights).max(axis=1)) >= 60
        assert record.exponent == synapses.exponent

    def test_leak_groups(self):
        layer = layer_of(LIF, bits=None)
        _, units, record, _ = described(layer).quantize(spikes_of(10), leak_groups=3)
        assert len(np.unique(units.keep_i)) == len(np.unique(units.keep_v)) == 3
        assert record.leak_error > 0.01

    def test_states_that_any_input_fits_have_headroom(self):
        synapses, units, record, _ = described(layer_of(LIF, bits=None)).quantize(spikes_of(10))
        assert 0.99 < record.headroom < 2
        everything = np.ones((1, STEPS, INPUTS), np.int8)
        for inputs in (everything, everything * (synapses.weights[0] < 0)):
            assert reference.simulate_layer(synapses, units, inputs).saturations == [0]

    def test_a_layer_that_some_input_saturates_is_warned_of(self):
        layer = layer_of(LIF, **{**SIX_BITS, "bits": 8, "threshold_ratio": 1})
        cell = layer.cell
        kernel = np.array(cell.kernel)
        kernel[0] *= 1000  # of an input that the calibration data hardly has
        cell.kernel.assign(kernel)
        cell.current_decay.assign(np.ones(UNITS))
        cell.membrane_decay.assign(np.ones(UNITS))
        calibration = spikes_of(10)
        calibration[:, :, 0] = 0
        model = keras.Sequential([keras.Input((STEPS, INPUTS)), layer])
        with pytest.warns(QuantizationWarning, match="could overflow its 24-bit states"):
            network = lava_export.export(model, calibration)
        assert network.quantization.layers[0].headroom < 0.99
        loud = np.ones((1, STEPS, INPUTS), np.int8)
        assert network.simulate(loud).saturations[0] > 0

    def test_silent_units_and_rows_without_weights(self):
        for layer_class in (LIF, GatedLIF):
            layer = layer_of(layer_class, bits=None)
            layer.cell.kernel.assign(np.zeros(layer.cell.kernel.shape))
            _, _, record, outputs = described(layer).quantize(spikes_of(3))
            assert not outputs.any() and record.mismatches == 0


class TestExport:
    @pytest.fixture(autouse=True)
    def repeatable(self):
        keras.utils.set_random_seed(3)

    def model_of(self, *layers):
        return keras.Sequential([keras.Input((STEPS, INPUTS)), *layers])

    BEHIND = {
        "RLIF": lambda: RLIF(8, threshold=0.5, return_sequences=True),
        "LIF": lambda: LIF(8, threshold=0.5, return_sequences=True),
        "GatedLIF": lambda: GatedLIF(8, initial_v_max=2.0, return_sequences=True, **PLAN),
        "SpikingLSTM": lambda: SpikingLSTM(
            8,
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.5, seed=1),
            return_sequences=True,
        ),
        "cells": lambda: keras.layers.RNN(
            [LIFCell(8, bits=4, initial_v_max=2.0), GatedLIFCell(8, bits=None)],
            return_sequences=True,
        ),
    }

    @pytest.mark.parametrize(
        "behind, outputs",
        [
            *((behind, SIX_BITS) for behind in BEHIND),
            *((behind, SIGNED) for behind in ("RLIF", "GatedLIF", "SpikingLSTM")),
            ("RLIF", ONE_OF_22),
        ],
        ids=str,
    )
    def test_any_layer_can_follow_a_graded_one(self, behind, outputs):
        model = self.model_of(layer_of(LIF, **outputs), self.BEHIND[behind](), TimeSum())
        network = lava_export.export(model, spikes_of(50))
        bits = describe(model).spiking[0].output_range[1].bit_length()
        expected = 0 if outputs is ONE_OF_22 else bits
        assert network.layers[2].message_bits == expected == network.layers[1].output_bits
        report = lava_export.verify(model, network, spikes_of(50, seed=1), modes=())
        assert report.float_stage.float_spikes[1] > 0
        last = network.quantization.layers[-1]
        assert last.float_spikes > 0.02 * last.slots
        loss = last.spike_loss if last.decoded_error is None else last.decoded_error
        assert loss < 0.1

    @pytest.mark.parametrize(
        "head",
        [
            [],
            [TimeSum()],
            [
                TimeSum(mean=True),
                keras.layers.Dense(
                    4, kernel_initializer=keras.initializers.RandomNormal(stddev=3.0, seed=0)
                ),
            ],
        ],
        ids=len,
    )
    def test_scores_are_those_of_keras(self, head):
        """The host gets integers, and turns them into multiples of V_max / 2**b."""
        layer = on_lattice(
            layer_of(LIF, **{**SIX_BITS, "initial_v_max": 4.0}, use_bias=True), 1 / 32, 0
        )
        layer.cell.current_decay.assign(np.zeros(UNITS))
        layer.cell.membrane_decay.assign(np.ones(UNITS))
        model = self.model_of(layer, *head)
        network = lava_export.export(model, spikes_of(20))
        x = spikes_of(9, seed=1)
        expected = model(x).numpy() if head else model(x).numpy().sum(axis=1)
        np.testing.assert_allclose(network.decode(network.run(x)), expected, rtol=1e-5, atol=1e-4)
        assert np.abs(expected).max() > 1
        y = np.arange(9) % 4
        report = lava_export.verify(model, network, x, y, modes=())
        assert report.float_stage.float_accuracy == report.float_stage.integer_accuracy
        assert report.float_stage.mismatches == [0]

    def test_a_last_step(self):
        layer = layer_of(GatedLIF, return_sequences=False, **SIX_BITS)
        model = self.model_of(layer, keras.layers.Dense(4))
        network = lava_export.export(model, spikes_of(20))
        scale = 6.0 / 64
        outputs = network.run(spikes_of(3))
        dense = model.layers[-1]
        expected = scale * outputs[:, -1] @ np.array(dense.kernel) + np.array(dense.bias)
        np.testing.assert_allclose(network.decode(outputs), expected, rtol=1e-5, atol=1e-5)

    def test_it_survives_a_file(self, tmp_path):
        model = self.model_of(
            layer_of(GatedLIF, recurrent_gates=True, **SIGNED),
            LIF(5, return_sequences=True),
            TimeSum(),
        )
        network = lava_export.export(model, spikes_of(20))
        network.save(tmp_path / "n.h5")
        loaded = lava_export.load(tmp_path / "n.h5")
        assert loaded == network
        np.testing.assert_array_equal(loaded.run(spikes_of(4)), network.run(spikes_of(4)))

    @pytest.mark.parametrize("outputs", OUTPUTS, ids=str)
    def test_verify_tells_how_close_a_call_it_was(self, outputs):
        layer = layer_of(LIF, **outputs)
        network = lava_export.export(self.model_of(layer), spikes_of(30))
        report = lava_export.verify(self.model_of(layer), network, spikes_of(100, seed=2), modes=())
        first = report.float_stage.first
        assert abs(first.margin) < 0.2
        if layer.cell.bits is None or layer.cell.bits == 1:
            assert "fires, " in str(first) or "fire, " in str(first)
        else:
            assert first.keras_spike != first.integer_spike
            assert f"Keras gives {first.keras_spike}, the integers" in str(first) or (
                {first.keras_spike, first.integer_spike} <= {0, 1}
            )

    def test_membranes_in_the_scale_of_keras(self):
        for outputs in OUTPUTS:
            layer = layer_of(GatedLIF, **outputs, **PLAN)
            spec = described(layer)
            synapses, units, record, _ = spec.quantize(spikes_of(10))
            states = reference.simulate_layer(synapses, units, spikes_of(1), ("v",)).states
            membranes = {"v": states["v"][0][0]}
            _, inside = spec.simulate(spikes_of(1))
            for unit, potential in enumerate(inside["membrane"][0, 0]):
                found = spec.dequantized(units, membranes, record, unit)[0]
                assert found == pytest.approx(potential, abs=0.05)


class TestErrors:
    def test_a_gate_that_has_no_integers(self):
        layer = layer_of(GatedLIF, bits=None, gate_activation="hard_sigmoid", name="hidden")
        with pytest.raises(
            ConversionError, match="'hidden' has the gate activation .*plan_sigmoid"
        ):
            described(layer)

    @pytest.mark.parametrize("layer_class", [LIF, GatedLIF])
    def test_weights_that_are_not_finite(self, layer_class):
        layer = layer_of(layer_class, bits=None, name="hidden")
        layer.cell.kernel.assign(np.full(layer.cell.kernel.shape, np.nan))
        with pytest.raises(ConversionError, match="'hidden': `kernel` holds nan"):
            described(layer)

    def test_v_max_that_is_not_finite(self):
        layer = layer_of(LIF, name="hidden", **SIX_BITS)
        layer.cell.v_max.assign(np.inf)
        with pytest.raises(ConversionError, match="'hidden': `v_max` is inf"):
            described(layer)

    @pytest.mark.parametrize("name", ["current_decay", "membrane_decay"])
    @pytest.mark.parametrize("bad", [-0.1, 1.1])
    def test_a_decay_out_of_its_range(self, name, bad):
        layer = layer_of(LIF, bits=None)
        decay = np.full(UNITS, 0.5)
        decay[3] = bad
        getattr(layer.cell, name).assign(decay)
        with pytest.raises(ConversionError, match=f"the {name} of unit 3 is {bad}.*in \\[0, 1\\]"):
            described(layer)

    def test_potentials_that_24_bits_do_not_hold(self):
        layer = layer_of(LIF, use_bias=True, bits=None, name="hidden")
        layer.cell.bias.assign(np.full(UNITS, 1e10))
        with pytest.raises(ConversionError, match="'hidden': the potentials of unit .* 24-bit"):
            described(layer).quantize(spikes_of(3))

    def test_a_layer_trained_in_integers_behind_a_graded_one(self):
        last = RLIF(4, threshold=0.5, return_sequences=True, name="last")
        alone = keras.Sequential([keras.Input((STEPS, UNITS)), last])
        spikes = np.random.default_rng(0).integers(0, 2, (5, STEPS, UNITS))
        aware = lava_export.quantization_aware(alone, spikes).layers[-1]
        for outputs in (SIX_BITS, {"bits": None}):
            model = keras.Sequential(
                [keras.Input((STEPS, INPUTS)), layer_of(LIF, **outputs), aware]
            )
            if outputs is SIX_BITS:
                with pytest.raises(ConversionError, match="'last' was trained in .*bits=None"):
                    lava_export.export(model, spikes_of(5))
            else:
                lava_export.export(model, spikes_of(5))


def test_warnings_are_not_the_rule():
    """A layer that loses nothing is not warned of."""
    layer = LIF(
        UNITS,
        threshold=0.75,
        current_decay_initializer=0.5,
        membrane_decay_initializer=0.5,
        return_sequences=True,
    )
    layer.build((None, None, INPUTS))
    on_lattice(layer, 1 / 32, 0)
    model = keras.Sequential([keras.Input((STEPS, INPUTS)), layer])
    with warnings.catch_warnings():
        warnings.simplefilter("error", QuantizationWarning)
        network = lava_export.export(model, spikes_of(20))
    assert isinstance(network.layers[1], IntegerLIF)
