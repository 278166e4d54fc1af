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


@given(data=st.data(), exponent=st.integers(-8, 7), message_bits=st.sampled_from([0, 1, 8, 12, 24]))
def test_product_sums_exactly_floors_and_wraps(data, exponent, message_bits):
    inputs, units = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 4))
    row = st.lists(st.integers(-256, 255), min_size=inputs, max_size=inputs)
    weights = data.draw(st.lists(row, min_size=units, max_size=units))
    largest = 2**message_bits - 1
    message = st.integers(-largest, largest) if message_bits else st.integers(0, 1)
    messages = data.draw(
        st.lists(st.lists(message, min_size=inputs, max_size=inputs), min_size=1, max_size=4)
    )

    def in_32_bits(value):
        return (value + 2**31) % 2**32 - 2**31

    expected = [
        [
            in_32_bits(
                math.floor(
                    in_32_bits(sum(w * s for w, s in zip(row, step, strict=True)))
                    * Fraction(2) ** exponent
                )
            )
            for row in weights
        ]
        for step in messages
    ]
    total = arithmetic.product(np.array(weights), exponent, message_bits)(np.array(messages))
    assert total.dtype == np.int32
    np.testing.assert_array_equal(total, expected)


@pytest.mark.parametrize("leading", [(), (2,), (2, 3)])
def test_product_takes_any_leading_axes(leading):
    spikes = np.ones((*leading, 4), np.int8)
    total = arithmetic.product(np.array([[1, 2, 3, 4], [0, 0, 0, -5]]), 1)(spikes)
    np.testing.assert_array_equal(total, np.broadcast_to([20, -10], (*leading, 2)))


@pytest.mark.parametrize("last", [253, 254, 255])
def test_product_is_exact_beyond_the_mantissa_of_float32(last):
    inputs = 2**24 // 255 + 100
    weights = np.full((1, inputs), 255, np.int32)
    weights[0, -1] = last
    total = arithmetic.product(weights, 0)(np.ones((1, inputs), np.int8))
    assert total[0, 0] == 255 * (inputs - 1) + last > 2**24


@given(x=st.integers(-(2**40), 2**40), shift=st.integers(-15, 15))
def test_shifted_multiplies_and_rounds_down(x, shift):
    assert arithmetic.shifted(np.array(x), shift) == math.floor(x * Fraction(2) ** shift)


def test_shifted_takes_one_shift_for_each_unit():
    x = np.array([[1, -3, 5], [7, 9, -11]], np.int32)
    shift = np.array([20, -1, 0])
    np.testing.assert_array_equal(
        arithmetic.shifted(x, shift), [[2**20, -2, 5], [7 * 2**20, 4, -11]]
    )


def test_sigmoid_is_within_its_error_of_the_logistic_function():
    x = np.arange(-10 * 4096, 10 * 4096 + 1)
    y = arithmetic.sigmoid(x)
    error = np.abs(y / 4096 - 1 / (1 + np.exp(-x / 4096)))
    assert 0.0189 < error.max() < 0.0190
    assert set(np.abs(x[error > error.max() - 1e-6])) == {4096}
    assert (y.min(), y.max(), y[10 * 4096]) == (0, 4096, 2048)


@given(x=st.integers(0, 2**23 - 1))
def test_sigmoid_is_made_of_straight_lines_rounded_down(x):
    if x < 4096:
        expected = Fraction(x, 4) + 2048
    elif x < 9728:
        expected = Fraction(x, 8) + 2560
    elif x < 20480:
        expected = Fraction(x, 32) + 3456
    else:
        expected = 4096
    assert arithmetic.sigmoid(np.array(x)) == math.floor(expected)
    assert arithmetic.sigmoid(np.array(-x)) == 4096 - math.floor(expected)


@given(x=STATES, y=STATES, share=st.integers(0, 4096))
def test_mix_rounds_each_part_toward_zero(x, y, share):
    parts = [Fraction(x * share, 4096), Fraction(y * (4096 - share), 4096)]
    assert arithmetic.mix(np.array(x), np.array(y), share) == sum(map(math.trunc, parts))


@given(
    size=st.integers(-(2**23) + 1, 2**23 - 1), height=st.integers(1, 2**23), bits=st.integers(1, 8)
)
def test_level_is_a_quotient_within_its_bits(size, height, bits):
    expected = min(max(size // height, 0), 2**bits - 1)
    assert arithmetic.level(np.array(size), height, bits) == expected


@given(quotient=st.integers(0, 260), height=st.integers(1, 2**15), bits=st.integers(1, 8))
def test_level_at_a_multiple_of_the_height(quotient, height, bits):
    for size, expected in ((quotient * height, quotient), (quotient * height - 1, quotient - 1)):
        held = min(max(expected, 0), 2**bits - 1)
        assert arithmetic.level(np.array(size), height, bits) == held


def test_tanh_differs_by_at_most_0_0024():
    x = np.arange(-10 * 4096, 10 * 4096 + 1)
    y = arithmetic.tanh(x)
    error = np.abs(y / 4096 - np.tanh(x / 4096))
    assert 0.0023 < error.max() < 0.0024
    np.testing.assert_array_equal(y, -y[::-1])
    assert (np.diff(y) >= 0).all()
    assert (y[0], y[10 * 4096], y[-1]) == (-4096, 0, 4096)
    assert x[y == 4096].min() == pytest.approx(3.44 * 4096, rel=1e-3)


def test_fine_sigmoid_differs_by_at_most_0_0014():
    x = np.arange(-10 * 4096, 10 * 4096 + 1)
    y = arithmetic.fine_sigmoid(x)
    error = np.abs(y / 4096 - 1 / (1 + np.exp(-x / 4096)))
    assert 0.0012 < error.max() < 0.0014
    assert (np.diff(y) >= 0).all()
    assert (y.min(), y.max(), y[10 * 4096]) == (0, 4096, 2048)


@given(x=st.integers(0, 2**23 - 1))
def test_tanh_is_the_lowest_of_lines_made_of_shifts(x):
    expected = min(
        x - x // 64,
        x - x // 8 + 116,
        x - x // 4 + 353,
        x // 2 + x // 8 + 676,
        x // 2 - x // 64 + 1140,
        x // 2 - x // 8 + 1582,
        x // 4 - x // 256 + 2211,
        x // 8 + x // 64 + 2847,
        x // 16 + 3429,
        x // 64 - x // 1024 + 3889,
        4096,
    )
    assert arithmetic.tanh(np.array(x)) == expected
    assert arithmetic.tanh(np.array(-x)) == -expected
    assert arithmetic.fine_sigmoid(np.array(2 * x)) == (4096 + expected) // 2
