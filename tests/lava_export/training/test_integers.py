"""The operations in TensorFlow against those of `lava_export.arithmetic`."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lava_export import arithmetic
from lava_export.training import integers

LIMIT = arithmetic.STATE_LIMIT
QUICK = settings(max_examples=100, deadline=None)


def arrays(low, high):
    near = st.sampled_from([low, high, 0, -1, 1, LIMIT, -LIMIT, LIMIT - 1, 1 - LIMIT])
    elements = st.one_of(st.integers(low, high), near.filter(lambda n: low <= n <= high))
    return hnp.arrays(np.int64, 8, elements=elements)


@QUICK
@given(x=arrays(1 - LIMIT, LIMIT - 1), keep=st.integers(0, 4096))
def test_decay(x, keep):
    expected = arithmetic.decay(x, keep)
    np.testing.assert_array_equal(integers.decay(x.astype(np.float32), float(keep)), expected)


@QUICK
@given(x=arrays(1 - LIMIT, LIMIT - 1), y=arrays(1 - LIMIT, LIMIT - 1), share=st.integers(0, 4096))
def test_mix(x, y, share):
    floats = (value.astype(np.float32) for value in (x, y))
    np.testing.assert_array_equal(integers.mix(*floats, share), arithmetic.mix(x, y, share))


@QUICK
@given(x=arrays(-3 * LIMIT, 3 * LIMIT), shift=st.integers(-15, 15))
def test_arriving(x, shift):
    expected = arithmetic.arriving(x, shift)
    np.testing.assert_array_equal(integers.arriving(x.astype(np.float64), shift), expected)


@QUICK
@given(x=arrays(-3 * LIMIT, 3 * LIMIT))
def test_wrap_and_saturate(x):
    for name in ("wrap", "saturate"):
        expected = getattr(arithmetic, name)(x)
        np.testing.assert_array_equal(getattr(integers, name)(x.astype(np.float64)), expected)


@QUICK
@given(x=st.one_of(arrays(-30_000, 30_000), arrays(1 - LIMIT, LIMIT - 1)))
def test_sigmoid_and_tanh(x):
    held = tf.constant(x.astype(np.float32))
    np.testing.assert_array_equal(integers.sigmoid(held, fine=False), arithmetic.sigmoid(x))
    np.testing.assert_array_equal(integers.sigmoid(held, fine=True), arithmetic.fine_sigmoid(x))
    np.testing.assert_array_equal(integers.tanh(held), arithmetic.tanh(x))


@settings(max_examples=20, deadline=None)
@given(x=arrays(0, LIMIT - 1), divisor=st.integers(1, LIMIT - 1), times=st.integers(0, 255))
def test_quotient(x, divisor, times):
    x = np.append(x, min(times * divisor, LIMIT - 1))
    compiled = tf.function(lambda x: integers.quotient(x, tf.constant(float(divisor))))
    np.testing.assert_array_equal(compiled(x.astype(np.float32)), x // divisor)


@QUICK
@given(
    spikes=hnp.arrays(np.int64, (3, 6), elements=st.integers(0, 1)),
    weights=hnp.arrays(np.int64, (6, 2), elements=st.integers(-127, 127)),
    exponent=st.integers(-8, 7),
)
def test_shifted_products(spikes, weights, exponent):
    expected = arithmetic.product(2 * weights.T, exponent)(spikes)
    total = tf.matmul(spikes.astype(np.float32), 2.0 * weights.astype(np.float32))
    np.testing.assert_array_equal(integers.shifted(total, exponent), expected)


class TestGradients:
    def gradient(self, function, *values):
        values = [tf.constant(value, tf.float32) for value in values]
        with tf.GradientTape() as tape:
            tape.watch(values)
            result = function(*values)
        return [np.asarray(g) for g in tape.gradient(result, values)]

    def test_rounding_passes_them_within_its_range(self):
        x = [-9.0, -3.2, 0.3, 2.6, 9.0]
        (gradient,) = self.gradient(lambda x: integers.nearest(x, -4, 4, step=2), x)
        assert gradient.tolist() == [0, 1, 1, 1, 0]
        assert integers.nearest(tf.constant(x), -4, 4, step=2).numpy().tolist() == [-4, -4, 0, 2, 4]

    @pytest.mark.parametrize("exponent", [-3, 2])
    def test_a_shift_scales_them(self, exponent):
        (gradient,) = self.gradient(lambda x: integers.shifted(x, exponent), [5.0, -5.0])
        assert gradient.tolist() == [2.0**exponent] * 2

    def test_straight_through(self):
        def function(exact, smooth):
            return 3 * integers.straight_through(exact, smooth**2)

        with tf.GradientTape() as tape:
            smooth = tf.constant(5.0)
            tape.watch(smooth)
            result = function(tf.constant(7.0), smooth)
        assert (float(result), float(tape.gradient(result, smooth))) == (21.0, 30.0)
