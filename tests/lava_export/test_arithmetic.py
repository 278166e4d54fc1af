"""The integer operations, each against a definition in exact Python numbers."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lava_export import arithmetic
from lava_export.arithmetic import STATE_LIMIT

STATES = st.integers(-2 * STATE_LIMIT, 2 * STATE_LIMIT)


@given(x=st.lists(STATES, min_size=1, max_size=20), keep=st.integers(0, 4096))
def test_decay_multiplies_and_rounds_toward_zero(x, keep):
    expected = [math.trunc(Fraction(value * keep, 4096)) for value in x]
    np.testing.assert_array_equal(arithmetic.decay(np.array(x, np.int32), keep), expected)


@given(x=STATES)
def test_decay_is_odd(x):
    keep = np.arange(4097)
    positive, negative = (arithmetic.decay(np.array(value), keep) for value in (x, -x))
    np.testing.assert_array_equal(positive, -negative)


def test_decay_takes_one_value_for_each_unit():
    decayed = arithmetic.decay(np.array([[100, -100, 7], [1, -1, 0]]), np.array([4096, 2048, 0]))
    np.testing.assert_array_equal(decayed, [[100, -50, 0], [1, 0, 0]])


@pytest.mark.parametrize(
    "u, wrapped",
    [
        (0, 0),
        (STATE_LIMIT - 1, STATE_LIMIT - 1),
        (STATE_LIMIT, STATE_LIMIT),
        (STATE_LIMIT + 1, -STATE_LIMIT + 1),
        (2 * STATE_LIMIT, 0),
        (-STATE_LIMIT + 1, -STATE_LIMIT + 1),
        (-STATE_LIMIT, STATE_LIMIT),
        (-STATE_LIMIT - 1, STATE_LIMIT - 1),
        (-2 * STATE_LIMIT, 0),
    ],
)
def test_wrap_comes_back_from_the_other_side(u, wrapped):
    assert arithmetic.wrap(np.array(u, np.int32)) == wrapped


def test_wrap_happens_once_only():
    assert arithmetic.wrap(np.array(4 * STATE_LIMIT)) == 2 * STATE_LIMIT
    assert arithmetic.wrap(np.array(-4 * STATE_LIMIT)) == -2 * STATE_LIMIT


@given(u=STATES)
def test_wrap_keeps_the_value_modulo_24_bits(u):
    wrapped = int(arithmetic.wrap(np.array(u)))
    assert (wrapped - u) % (2 * STATE_LIMIT) == 0
    assert -STATE_LIMIT < wrapped <= STATE_LIMIT


@given(v=STATES)
def test_saturate_stops_at_the_largest_24_bit_state(v):
    limit = 2**23 - 1
    assert arithmetic.saturate(np.array(v)) == max(-limit, min(limit, v))


@given(mantissa=st.integers(-4096, 4095), exponent=st.integers(0, 7))
def test_bias_is_a_mantissa_times_a_power_of_two(mantissa, exponent):
    assert arithmetic.bias(mantissa, exponent) == mantissa * 2**exponent


def grid(signs, num_weight_bits):
    """All weights that a matrix of these signs can hold in so many bits."""
    step, half = 2 ** (8 - num_weight_bits), 2 ** (num_weight_bits - 1)
    if signs == "mixed":
        return [k * 2 * step for k in range(-half, half)]
    magnitudes = [k * step for k in range(2**num_weight_bits)]
    return magnitudes if signs == "excitatory" else [-magnitude for magnitude in magnitudes]


def nearest_below(weight, signs, points):
    """The next grid point that is not larger in value, or in size where all are inhibitory."""
    if signs == "inhibitory":
        return min(point for point in points if point >= weight)
    return max(point for point in points if point <= weight)


@pytest.mark.parametrize("num_weight_bits", range(1, 9))
@pytest.mark.parametrize(
    "signs, low, high", [("mixed", -256, 255), ("excitatory", 0, 255), ("inhibitory", -255, 0)]
)
@given(data=st.data())
@settings(max_examples=20)
def test_weights_on_grid_drops_the_bits_that_are_not_stored(
    signs, low, high, num_weight_bits, data
):
    row = st.lists(st.integers(low, high), min_size=3, max_size=3)
    weights = data.draw(st.lists(row, min_size=1, max_size=3))
    if signs == "mixed":
        weights[0][:2] = [-7, 7]
    elif signs == "inhibitory":
        weights[0][0] = -1
    points = grid(signs, num_weight_bits)
    expected = [[nearest_below(weight, signs, points) for weight in row] for row in weights]
    np.testing.assert_array_equal(arithmetic.weights_on_grid(weights, num_weight_bits), expected)


@pytest.mark.parametrize("num_weight_bits", range(1, 9))
def test_weights_on_grid_of_zeros_are_zeros(num_weight_bits):
    assert not arithmetic.weights_on_grid(np.zeros((2, 3), int), num_weight_bits).any()


@pytest.mark.parametrize(
    "weights, held", [([[-300, 300]], [[-256, 254]]), ([[300]], [[255]]), ([[-300]], [[-255]])]
)
def test_weights_on_grid_holds_at_the_limits(weights, held):
    np.testing.assert_array_equal(arithmetic.weights_on_grid(weights), held)


@given(data=st.data(), exponent=st.integers(-8, 7))
def test_accumulate_sums_exactly_and_floors(data, exponent):
    inputs, units = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 4))
    row = st.lists(st.integers(-256, 255), min_size=inputs, max_size=inputs)
    weights = data.draw(st.lists(row, min_size=units, max_size=units))
    bits = st.lists(st.integers(0, 1), min_size=inputs, max_size=inputs)
    spikes = data.draw(st.lists(bits, min_size=1, max_size=4))
    expected = [
        [
            math.floor(sum(w * s for w, s in zip(row, step, strict=True)) * Fraction(2) ** exponent)
            for row in weights
        ]
        for step in spikes
    ]
    total = arithmetic.accumulate(np.array(spikes, np.int8), np.array(weights), exponent)
    assert total.dtype == np.int32
    np.testing.assert_array_equal(total, expected)


@pytest.mark.parametrize("leading", [(), (2,), (2, 3)])
def test_accumulate_takes_any_leading_axes(leading):
    spikes = np.ones((*leading, 4), np.int8)
    total = arithmetic.accumulate(spikes, np.array([[1, 2, 3, 4], [0, 0, 0, -5]]), 1)
    np.testing.assert_array_equal(total, np.broadcast_to([20, -10], (*leading, 2)))


@pytest.mark.parametrize("last", [253, 254, 255])
def test_accumulate_is_exact_beyond_the_mantissa_of_float32(last):
    inputs = 2**24 // 255 + 100
    weights = np.full((1, inputs), 255, np.int32)
    weights[0, -1] = last
    total = arithmetic.accumulate(np.ones((1, inputs), np.int8), weights, 0)
    assert total[0, 0] == 255 * (inputs - 1) + last > 2**24
