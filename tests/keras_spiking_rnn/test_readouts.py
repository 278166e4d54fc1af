"""TimeSum: spike counts and firing rates."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_spiking_rnn import TimeSum

SPIKES = np.array([[[1, 0], [1, 1], [0, 0]], [[0, 0], [1, 0], [1, 1]]], "float32")
MASK = np.array([[True, False, True], [True, True, False]])


def test_it_counts_spikes_over_axis_one():
    np.testing.assert_array_equal(TimeSum()(SPIKES), [[2, 1], [2, 1]])


def test_the_mean_is_spikes_per_step():
    np.testing.assert_allclose(TimeSum(mean=True)(SPIKES), np.array([[2, 1], [2, 1]]) / 3)


def test_masked_steps_do_not_count():
    np.testing.assert_array_equal(TimeSum()(SPIKES, mask=MASK), [[1, 0], [1, 0]])


def test_the_mean_divides_by_the_steps_that_are_not_masked():
    np.testing.assert_allclose(TimeSum(mean=True)(SPIKES, mask=MASK), [[0.5, 0], [0.5, 0]])


@pytest.mark.parametrize("mean", [False, True])
def test_a_sequence_that_is_masked_entirely_gives_zero(mean):
    outputs = TimeSum(mean=mean)(SPIKES, mask=np.zeros((2, 3), bool))
    np.testing.assert_array_equal(outputs, np.zeros((2, 2)))


def test_masked_values_may_be_anything():
    spikes = np.where(MASK[:, :, None], SPIKES, np.nan)
    np.testing.assert_array_equal(TimeSum()(spikes, mask=MASK), [[1, 0], [1, 0]])


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 6)),
    rest=st.lists(st.integers(1, 3), max_size=3),
    mean=st.booleans(),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=25, deadline=None)
def test_it_equals_numpy_for_any_number_of_dimensions(shape, rest, mean, seed):
    random = np.random.default_rng(seed)
    values = random.normal(size=(*shape, *rest)).astype("float32")
    mask = random.random(shape) < 0.6
    expected = np.array(
        [
            (v[m].mean(axis=0) if m.any() else np.zeros(rest)) if mean else v[m].sum(axis=0)
            for v, m in zip(values, mask, strict=True)
        ]
    )
    layer = TimeSum(mean=mean)
    outputs = layer(values, mask=mask)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)
    assert layer.compute_output_shape(values.shape) == outputs.shape


def test_the_output_has_no_mask():
    inputs = keras.Input((3, 2))
    outputs = TimeSum()(keras.layers.Masking()(inputs))
    assert keras.src.backend.get_keras_mask(outputs) is None


def test_the_number_of_steps_may_be_unknown():
    run = tf.function(TimeSum(mean=True), input_signature=[tf.TensorSpec((None, None, 2))])
    np.testing.assert_allclose(run(SPIKES), np.array([[2, 1], [2, 1]]) / 3)


def test_half_precision_counts_beyond_2048():
    # In float16 2048 + 1 is 2048, so a sum made in it would stay there.
    spikes = np.ones((1, 4096, 1), "float16")
    outputs = TimeSum(dtype="mixed_float16")(spikes)
    assert outputs.dtype == "float16"
    np.testing.assert_array_equal(outputs, [[4096]])


@pytest.mark.parametrize("dtype", ["float32", "float64", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("mask", [None, MASK])
def test_dtypes_and_jit(dtype, mask):
    layer = TimeSum(mean=True, dtype=dtype)
    outputs = tf.function(lambda x: layer(x, mask=mask), jit_compile=True)(tf.constant(SPIKES))
    assert outputs.dtype == dtype.removeprefix("mixed_")
    expected = TimeSum(mean=True)(SPIKES, mask=mask)
    np.testing.assert_allclose(tf.cast(outputs, "float32"), expected, rtol=5e-3)


def test_gradients_reach_each_step_that_is_not_masked():
    x = tf.constant(SPIKES)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(TimeSum()(x, mask=MASK))
    np.testing.assert_array_equal(tape.gradient(total, x), np.repeat(MASK[:, :, None], 2, axis=2))


def test_one_step_without_time_is_refused():
    with pytest.raises(ValueError, match="TimeSum 'sum' needs inputs of shape.*return_sequences"):
        TimeSum(name="sum").compute_output_shape((3,))


def test_config():
    layer = TimeSum(mean=True, name="rates", dtype="float64")
    config = layer.get_config()
    assert config["mean"] is True
    assert TimeSum.from_config(config).get_config() == config
