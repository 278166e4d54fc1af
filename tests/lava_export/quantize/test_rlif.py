"""From a float layer to integers: exact where that can be, close elsewhere, never garbage."""

import keras
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from keras_spiking_rnn import RLIF
from lava_export import ConversionError, reference
from lava_export.quantize import RLIFDescription, quantize_layer, rlif, simulate_float


def layer_of(kernel, threshold=1.0, leak=1.0, bias=0.0, membrane_bias=0.0, reset=0.0):
    kernel = np.asarray(kernel, float)

    def vector(value):
        return np.broadcast_to(np.asarray(value, float), kernel.shape[1:])

    return RLIFDescription(
        "hidden",
        kernel,
        vector(bias),
        vector(leak),
        vector(membrane_bias),
        vector(threshold),
        vector(reset),
    )


def spikes_of(inputs, batch=16, steps=20, rate=0.3, seed=0):
    return (np.random.default_rng(seed).random((batch, steps, inputs)) < rate).astype(np.int8)


def random_layer(seed, inputs=40, units=24):
    rng = np.random.default_rng(seed)
    return layer_of(
        rng.normal(size=(inputs, units)) * 0.3,
        threshold=rng.uniform(0.5, 1.5, units),
        leak=rng.uniform(0.2, 0.99, units),
        bias=rng.normal(size=units) * 0.1,
        membrane_bias=rng.normal(size=units) * 0.05,
        reset=rng.uniform(-0.3, 0.1, units),
    )


def float64_rlif(layer, spikes):
    """Equations (4) to (10) in float64, and how often a membrane is exactly at its threshold."""
    fired, ties = [], 0
    u = np.zeros((len(spikes), layer.kernel.shape[1]))
    for t in range(spikes.shape[1]):
        v = spikes[:, t] @ layer.kernel + layer.bias + u
        ties += np.count_nonzero(v == layer.threshold)
        fired.append(v >= layer.threshold)
        u = layer.leak * np.where(fired[-1], layer.reset, v) + layer.membrane_bias
    return np.stack(fired, axis=1).astype(np.int8), ties


def fresh_mismatches(layer, dense, lif, spikes):
    return np.count_nonzero(
        reference.simulate_layer(dense, lif, spikes).spikes != float64_rlif(layer, spikes)[0]
    )


class TestFloatLayer:
    @given(
        seed=st.integers(0, 2**16),
        inputs=st.integers(1, 8),
        units=st.integers(1, 5),
        steps=st.integers(1, 12),
    )
    @settings(max_examples=20, deadline=None)
    def test_it_spikes_as_the_keras_layer(self, seed, inputs, units, steps):
        layer = random_layer(seed, inputs, units)
        spikes = spikes_of(inputs, batch=4, steps=steps, seed=seed)
        fired, potential = simulate_float(layer, spikes)
        assume(np.abs(potential - layer.threshold).min() > 1e-5)
        np.testing.assert_array_equal(fired, keras_spikes(layer, spikes))
        np.testing.assert_array_equal(fired, float64_rlif(layer, spikes)[0])

    @pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.7, 0.9, 1.1])
    @pytest.mark.parametrize("parts", [1, 2, 4])
    def test_it_meets_its_threshold_where_the_keras_layer_does(self, threshold, parts):
        kernel = np.float32([[threshold / parts]])  # as a Keras layer stores it
        layer = layer_of(kernel, threshold=threshold)
        spikes = np.ones((1, 3 * parts, 1), np.int8)
        fired, _ = simulate_float(layer, spikes)
        np.testing.assert_array_equal(fired, keras_spikes(layer, spikes))
        assert fired.sum() == 3
        dense, lif, *_ = quantize_layer(layer, spikes)
        np.testing.assert_array_equal(reference.simulate_layer(dense, lif, spikes).spikes, fired)

    def test_the_potential_is_the_membrane_before_the_reset(self):
        layer = layer_of([[0.75]], bias=0.25, leak=0.5, membrane_bias=0.125, reset=-1.0)
        _, potential = simulate_float(layer, np.array([[[1], [0], [0]]], np.int8))
        u = [0, 0.5 * -1 + 0.125, 0.5 * (0.25 - 0.375) + 0.125]
        np.testing.assert_array_equal(potential.ravel(), [1.0, 0.25 + u[1], 0.25 + u[2]])


def keras_spikes(layer, spikes):
    keras_layer = RLIF(
        layer.kernel.shape[1],
        threshold=list(layer.threshold),
        reset=list(layer.reset),
        return_sequences=True,
    )
    keras_layer.build(spikes.shape)
    keras_layer.cell.set_weights([layer.kernel, layer.bias, layer.leak, layer.membrane_bias])
    return keras.ops.convert_to_numpy(keras_layer(spikes.astype("float32")))


class TestExactness:
    """On a lattice, where membranes meet thresholds all the time, no spike may differ."""

    @pytest.mark.parametrize("biases", [False, True])
    @pytest.mark.parametrize("unit", [1.0, 0.25, 0.1])
    @given(
        seed=st.integers(0, 2**16),
        inputs=st.integers(1, 12),
        units=st.integers(1, 8),
        largest=st.integers(1, 9),
    )
    # One weight is exact at any scale, and its biases are not.
    @example(seed=1763, inputs=1, units=1, largest=9)
    @settings(max_examples=15, deadline=None)
    def test_without_leak(self, biases, unit, seed, inputs, units, largest):
        rng = np.random.default_rng(seed)
        kernel = rng.integers(-largest, largest + 1, (inputs, units))
        bias, membrane_bias = rng.integers(-2, 3, (2, units)) * biases
        threshold = rng.integers(1, 9)
        layer = layer_of(kernel, threshold, 1.0, bias, membrane_bias)
        scaled = layer_of(kernel * unit, threshold * unit, 1.0, bias * unit, membrane_bias * unit)
        calibration, fresh = (spikes_of(inputs, seed=seed + i) for i in range(2))
        if unit == 0.1:  # float32 has no tenths: there the integers keep what float loses
            assert fresh_mismatches(layer, *quantize_layer(layer, calibration)[:2], fresh) == 0
            return
        dense, lif, record, _ = quantize_layer(scaled, calibration)
        assert record.mismatches == 0
        assert fresh_mismatches(scaled, dense, lif, fresh) == 0

    @given(seed=st.integers(0, 2**16), units=st.integers(1, 8), biases=st.booleans())
    @settings(max_examples=25, deadline=None)
    def test_with_thresholds_and_resets_of_each_unit(self, seed, units, biases):
        rng = np.random.default_rng(seed)
        reset = rng.integers(-3, 1, units)
        threshold = reset + rng.choice([2, 4, 8], units)  # distances that one grid can hold
        layer = layer_of(
            rng.integers(-3, 4, (6, units)),
            threshold,
            1.0,
            rng.integers(-2, 3, units) * biases,
            rng.integers(-1, 2, units) * biases,
            reset,
        )
        dense, lif, record, _ = quantize_layer(layer, spikes_of(6, seed=seed))
        assert record.mismatches == 0
        assert fresh_mismatches(layer, dense, lif, spikes_of(6, seed=seed + 1)) == 0

    @given(seed=st.integers(0, 2**16), units=st.integers(1, 8), biases=st.booleans())
    @settings(max_examples=25, deadline=None)
    def test_with_half_of_the_membrane_leaking(self, seed, units, biases):
        rng = np.random.default_rng(seed)
        bias, membrane_bias = rng.integers(-2, 3, (2, units)) * biases
        layer = layer_of(rng.integers(-4, 5, (6, units)), 4.0, 0.5, bias, membrane_bias)
        dense, lif, record, _ = quantize_layer(layer, spikes_of(6, steps=4, seed=seed))
        assert record.mismatches == 0
        fresh = spikes_of(6, steps=4, seed=seed + 1)  # each step has one more binary digit
        assert fresh_mismatches(layer, dense, lif, fresh) == 0

    def test_the_lattices_here_do_have_ties(self):
        rng = np.random.default_rng(0)
        layer = layer_of(rng.integers(-4, 5, (6, 8)), 4.0, 0.5)
        assert float64_rlif(layer, spikes_of(6, steps=4))[1] > 10
        layer = layer_of(rng.integers(-4, 5, (6, 8)), 5.0)
        assert float64_rlif(layer, spikes_of(6))[1] > 100


class TestFirstStep:
    @pytest.mark.parametrize("seed", range(3))
    def test_the_membrane_starts_where_the_first_step_needs_it_for_every_leak(self, seed):
        """The first step has no b_mem: V = b_volt, which is v0 decayed, plus the bias."""
        keep = np.arange(1, 4097)
        rng = np.random.default_rng(seed)
        layer = layer_of(
            rng.normal(size=(2, 4096)),
            rng.uniform(0.5, 2, 4096),
            keep / 4096,
            rng.normal(size=4096),
            rng.normal(size=4096) * np.minimum(1, keep / 100),
            rng.uniform(-1, 0.3, 4096),
        )
        _, lif, record, _ = quantize_layer(layer, np.zeros((1, 1, 2), np.int8))
        np.testing.assert_array_equal(4096 - lif.dv, keep)
        decayed = np.sign(lif.v0) * (np.abs(lif.v0).astype(np.int64) * keep // 4096)
        first = decayed + lif.bias_mant * 2**lif.bias_exp
        scale = 64 * record.scale / (layer.threshold - layer.reset)
        excess = first - scale * (layer.bias - layer.reset)
        tie = np.rint(excess.mean())  # one where the threshold counts as reached
        assert tie in (0, 1)
        assert np.abs(excess - tie).max() <= 0.5 + 1e-6

    def test_a_membrane_bias_acts_from_the_second_step_on(self):
        layer = layer_of([[0.0]], threshold=1.0, leak=0.5, membrane_bias=1.5)
        dense, lif, *_ = quantize_layer(layer, np.zeros((1, 3, 1), np.int8))
        spikes = reference.simulate_layer(dense, lif, np.zeros((1, 3, 1), np.int8)).spikes
        assert spikes.ravel().tolist() == [0, 1, 1]


class TestQuality:
    @pytest.mark.parametrize("seed", range(6))
    def test_few_spikes_of_a_random_layer_change(self, seed):
        layer = random_layer(seed)
        dense, lif, record, fired = quantize_layer(layer, spikes_of(40, seed=seed))
        assert fired.sum() > 500
        assert record.mismatches < 0.04 * fired.sum()
        fresh = spikes_of(40, batch=64, seed=seed + 100)
        assert fresh_mismatches(layer, dense, lif, fresh) < 0.04 * 4 * fired.sum()

    @pytest.mark.parametrize("sign", [1, -1])
    def test_weights_of_one_sign_keep_their_lowest_bit(self, sign):
        rng = np.random.default_rng(0)
        kernel = sign * rng.uniform(0, 1, (40, 24))
        record = quantize_layer(layer_of(kernel, bias=-8.0 * sign), spikes_of(40))[2]
        kernel[0, 0] *= -1
        mixed = quantize_layer(layer_of(kernel, bias=-8.0 * sign), spikes_of(40))[2]
        assert record.weight_error < 0.6 * mixed.weight_error

    def test_a_few_large_weights_are_clipped_for_the_sake_of_the_others(self, monkeypatch):
        layer = random_layer(0)
        layer.kernel[:3, :3] = 8.0  # any of these nine fires its unit, clipped or not
        record = quantize_layer(layer, spikes_of(40))[2]
        assert record.clipped_weights == 9
        monkeypatch.setattr(rlif, "CLIPPING", ())
        held = quantize_layer(layer, spikes_of(40))[2]
        assert held.clipped_weights == 0
        assert record.mismatches < 0.5 * held.mismatches

    @pytest.mark.parametrize("seed", range(4))
    @pytest.mark.parametrize("outliers", [False, True])
    def test_every_number_of_the_record_can_be_counted_again(self, seed, outliers):
        layer, spikes = random_layer(seed), spikes_of(40, seed=seed)
        if outliers:
            layer.kernel[5, :7] = 6.0
        dense, lif, record, fired = quantize_layer(layer, spikes)
        expected, _ = float64_rlif(layer, spikes)
        np.testing.assert_array_equal(fired, expected)
        assert (record.name, record.inputs, record.units) == ("hidden", 40, 24)
        assert (record.slots, record.float_spikes) == (16 * 20 * 24, expected.sum())
        spikes_now = reference.simulate_layer(dense, lif, spikes).spikes
        assert record.mismatches == np.count_nonzero(spikes_now != expected)
        assert record.exponent == dense.exponent
        assert record.scale - lif.vth in (0, 1)
        head = (layer.threshold - layer.reset)[:, None]
        ideal = layer.kernel.T / head
        held = dense.weights * 2.0**dense.exponent / record.scale
        beyond = ideal * record.scale / 2.0**dense.exponent
        beyond = (beyond > 255) | (beyond < -257)
        assert record.clipped_weights == np.count_nonzero(beyond)
        rounded = np.where(beyond, ideal, held)
        lost = np.linalg.norm(rounded - ideal, axis=1) / np.linalg.norm(ideal, axis=1)
        assert record.weight_error == pytest.approx(
            np.linalg.norm(held - ideal) / np.linalg.norm(ideal)
        )
        assert record.worst_unit == np.argmax(lost)
        assert record.worst_unit_error == pytest.approx(lost.max())
        assert bool(record.clipped_weights) >= outliers
        dv = np.broadcast_to(lif.dv, 24)
        assert record.leak_error == pytest.approx(np.abs(1 - dv / 4096 - layer.leak).max())
        assert record.leak_error <= 0.5 / 4096 + 1e-12
        assert (record.wraps, record.saturations) == (0, 0)

    def test_weights_of_inputs_that_never_spiked_are_not_clipped(self):
        layer, spikes = random_layer(0), spikes_of(40)
        layer.kernel[0] = -40.0
        spikes[:, :, 0] = 0
        dense, _, record, _ = quantize_layer(layer, spikes)
        assert record.clipped_weights == 0
        held = dense.weights[:, 0] * 2.0**dense.exponent / record.scale
        np.testing.assert_allclose(held, -40 / (layer.threshold - layer.reset), rtol=0.02)

    def test_du_is_memoryless_and_weights_are_even_where_both_signs_are(self):
        dense, lif, *_ = quantize_layer(random_layer(0), spikes_of(40))
        assert lif.du == 4095
        assert not (dense.weights % 2).any()


class TestRanges:
    @given(
        seed=st.integers(0, 2**16),
        inputs=st.integers(1, 300),
        magnitude=st.floats(-4, 2),
        sign=st.sampled_from([-1, 0, 1]),
    )
    @settings(max_examples=40, deadline=None)
    def test_no_input_at_all_can_wrap_the_current(self, seed, inputs, magnitude, sign):
        rng = np.random.default_rng(seed)
        kernel = rng.standard_t(2, (inputs, 4)) * 10**magnitude
        kernel = sign * np.abs(kernel) if sign else kernel
        dense, lif, record, _ = quantize_layer(
            layer_of(kernel, leak=0.5), spikes_of(inputs, batch=2, steps=4)
        )
        assert (record.wraps, record.saturations) == (0, 0)
        worst = np.concatenate([dense.weights > 0, dense.weights < 0]).astype(np.int8)[:, None]
        assert reference.simulate_layer(dense, lif, worst).wraps == [0]

    def test_rounding_up_many_small_weights_cannot_wrap_the_current(self):
        kernel = np.full((6000, 1), 0.51 / 127)
        kernel[0] = -1.0
        dense, lif, record, _ = quantize_layer(layer_of(kernel * 40), spikes_of(6000, 1, 2))
        everything = np.ones((1, 1, 6000), np.int8)
        assert reference.simulate_layer(dense, lif, everything).wraps == [0]

    @pytest.mark.parametrize("seed", range(4))
    def test_nothing_overflows_on_calibration(self, seed):
        layer = random_layer(seed)
        layer.kernel[:] -= 1.0  # drives membranes far down
        record = quantize_layer(layer, spikes_of(40, steps=50, seed=seed))[2]
        assert (record.wraps, record.saturations) == (0, 0)


class TestLeakGroups:
    @given(
        leaks=st.lists(st.floats(1 / 4096, 1), min_size=1, max_size=40), groups=st.integers(1, 12)
    )
    @settings(max_examples=30, deadline=None)
    def test_there_are_at_most_so_many_leaks(self, leaks, groups):
        layer = layer_of(np.ones((1, len(leaks))), leak=leaks)
        _, lif, record, _ = quantize_layer(layer, spikes_of(1, 2, 3), groups)
        assert len(np.unique(lif.dv)) <= groups
        dv = np.broadcast_to(lif.dv, len(leaks))
        assert record.leak_error == pytest.approx(np.abs(1 - dv / 4096 - leaks).max())

    def test_one_group_is_a_number_and_takes_the_mean(self):
        layer = layer_of(np.ones((1, 3)), leak=[0.2, 0.5, 0.8])
        _, lif, *_ = quantize_layer(layer, spikes_of(1, 2, 3), 1)
        assert lif.dv == 2048

    def test_as_many_groups_as_leaks_lose_nothing(self):
        leak = [0.25, 0.5, 0.5, 0.75]
        layer = layer_of(np.ones((1, 4)), leak=leak)
        _, lif, record, _ = quantize_layer(layer, spikes_of(1, 2, 3), 3)
        assert lif.dv.tolist() == [3072, 2048, 2048, 1024]
        assert record.leak_error == 0

    def test_a_group_spikes_as_a_layer_that_has_its_leak(self):
        kernel = np.random.default_rng(0).integers(-4, 5, (6, 2))
        layer = layer_of(kernel, 4.0, [0.25, 0.75], reset=-4.0)
        spikes = spikes_of(6, steps=4)
        dense, lif, *_ = quantize_layer(layer, spikes, 1)
        same = layer_of(kernel, 4.0, 0.5, reset=-4.0)
        assert fresh_mismatches(same, dense, lif, spikes_of(6, steps=4, seed=1)) == 0

    def test_separate_clusters_get_a_group_each(self):
        rng = np.random.default_rng(0)
        leak = np.concatenate([c + rng.uniform(-0.01, 0.01, 20) for c in (0.2, 0.5, 0.9)])
        layer = layer_of(np.ones((1, 60)), leak=leak)
        assert quantize_layer(layer, spikes_of(1, 2, 3), 3)[2].leak_error < 0.025

    @pytest.mark.parametrize("seed", range(2))
    def test_more_groups_bring_the_leaks_closer(self, seed):
        leak = np.random.default_rng(seed).uniform(0.1, 1, 64)
        layer = layer_of(np.ones((1, 64)), leak=leak)
        errors = [quantize_layer(layer, spikes_of(1, 2, 3), k)[2].leak_error for k in range(1, 65)]
        for fewer, more in zip(errors, errors[1:], strict=False):
            assert more <= fewer + 0.06  # the largest error is not what the groups minimise
        for groups, error in enumerate(errors, start=1):
            assert error <= 0.9 / groups + 0.06


def normal(*shape):
    return np.random.default_rng(3).normal(size=shape)


# Each either exports with hardly any spike changed, or is refused.
EDGES = {
    "zero kernel": layer_of(np.zeros((5, 3))),
    "zero kernel with biases": layer_of(np.zeros((5, 3)), bias=[0.2, 0.3, 1.5], leak=0.9),
    "one unit": layer_of(normal(5, 1)),
    "one input": layer_of(normal(1, 5)),
    "one weight": layer_of([[0.4]]),
    "inhibitory": layer_of(-np.abs(normal(5, 3)), bias=2.0, leak=0.5),
    "excitatory": layer_of(np.abs(normal(5, 3)), leak=0.5),
    "weights of 1e-4": layer_of(normal(5, 3) * 1e-4, bias=0.3, leak=0.7),
    "weights of 1e-9": layer_of(normal(5, 3) * 1e-9),
    "weights of 1e-45": layer_of(normal(5, 3) * 1e-45),
    "weights of 100": layer_of(normal(5, 3) * 100, leak=0.5),
    "weights of 1e4": layer_of(normal(5, 3) * 1e4, leak=0.5),
    "large biases": layer_of(normal(5, 3), bias=[40.0, -40.0, 0.1], leak=0.5),
    "large membrane bias": layer_of(normal(5, 3), membrane_bias=[40.0, -40.0, 0.1], leak=0.5),
    "smallest leak": layer_of(normal(5, 3), leak=1 / 4096),
    "smallest leak and membrane bias": layer_of(
        normal(5, 3), leak=1 / 4096, membrane_bias=[0.7, -0.3, 0.1], reset=-0.5
    ),
    "no leak": layer_of(normal(5, 3), leak=1.0, membrane_bias=0.1),
    "never fires": layer_of(normal(5, 3), threshold=1e3, leak=0.5),
    "always fires": layer_of(normal(5, 3) * 0.1, bias=3.0),
    "reset far below": layer_of(normal(5, 3), reset=-1e3, leak=0.9),
    "reset just below": layer_of(normal(5, 3), reset=1.0 - 1e-3, leak=0.5),
    "thresholds far apart": layer_of(normal(5, 3), threshold=[0.1, 1.0, 10.0], leak=0.5),
    "negative threshold": layer_of(normal(5, 3), threshold=-1.0, reset=-2.0, leak=0.5),
}


class TestEdges:
    @pytest.mark.parametrize("steps", [1, 20])
    @pytest.mark.parametrize("name", EDGES)
    def test_it_exports_with_hardly_any_spike_changed(self, name, steps):
        layer = EDGES[name]
        spikes = spikes_of(len(layer.kernel), batch=32, steps=steps)
        dense, lif, record, fired = quantize_layer(layer, spikes)
        np.testing.assert_array_equal(fired, float64_rlif(layer, spikes)[0])
        assert (record.wraps, record.saturations) == (0, 0)
        assert record.mismatches <= 0.01 * record.slots
        numbers = [v for v in vars(record).values() if isinstance(v, int | float)]
        assert len(numbers) > 10 and np.isfinite(numbers).all()

    @pytest.mark.parametrize(
        "layer",
        [
            layer_of(normal(5, 3), bias=1e5),
            layer_of(normal(5, 3), membrane_bias=-1e5),
            layer_of(normal(5, 3) * 1e6),
            layer_of(normal(5, 3), leak=1 / 4096, membrane_bias=100.0),
            layer_of(normal(5, 3), threshold=1e-6),
        ],
        ids=["bias", "membrane bias", "weights", "first step", "threshold"],
    )
    def test_what_fits_no_register_is_refused(self, layer):
        with pytest.raises(ConversionError, match="'hidden' does not fit 24-bit states.*weights"):
            quantize_layer(layer, spikes_of(5))

    def test_weights_too_small_for_the_grid_show_in_the_record(self):
        kernel = np.full((5, 2), 1e-5)
        kernel[:, 1] = 1.0
        record = quantize_layer(layer_of(kernel, leak=0.5), spikes_of(5))[2]
        assert (record.worst_unit, record.worst_unit_error) == (0, 1.0)
