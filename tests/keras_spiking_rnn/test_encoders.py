"""Encoders: static inputs become sequences."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_spiking_rnn import DirectEncoder, PoissonEncoder

EACH = [PoissonEncoder, DirectEncoder]


class TestPoissonEncoder:
    @pytest.mark.parametrize("gain,intensity", [(1.0, 0.3), (0.25, 1.0), (2.0, 0.1)])
    def test_the_rate_is_gain_times_intensity(self, gain, intensity):
        steps = 40_000
        spikes = np.asarray(PoissonEncoder(steps, gain=gain, seed=1)(np.array([[intensity]])))
        p = gain * intensity
        standard_error = np.sqrt(p * (1 - p) / steps)
        assert set(np.unique(spikes)) == {0.0, 1.0}
        assert abs(spikes.mean() - p) < 4 * standard_error

    def test_probabilities_are_clipped(self):
        intensities = np.array([[-3.0, 0.0, 0.5, 7.0]])
        spikes = np.asarray(PoissonEncoder(1000, gain=2.0, seed=1)(intensities))
        np.testing.assert_array_equal(spikes.mean(axis=(0, 1)), [0, 0, 1, 1])

    def test_an_intensity_of_zero_never_fires_and_one_of_one_always(self, monkeypatch):
        for uniform in (0.0, np.nextafter(np.float32(1), np.float32(0))):
            monkeypatch.setattr(
                keras.random,
                "uniform",
                lambda shape, dtype, seed, uniform=uniform: tf.fill(shape, tf.cast(uniform, dtype)),
            )
            spikes = PoissonEncoder(3)(np.array([[0.0, 1.0]]))
            np.testing.assert_array_equal(spikes, [[[0, 1]] * 3])

    def test_steps_samples_and_features_are_independent(self):
        spikes = np.asarray(PoissonEncoder(200, seed=1)(np.full((20, 5), 0.5)), "float64")
        signed = 2 * spikes - 1
        standard_error = 1 / np.sqrt(spikes.size)
        for axis in range(3):
            correlation = (signed * np.roll(signed, 1, axis=axis)).mean()
            assert abs(correlation) < 4 * standard_error

    @pytest.mark.parametrize("training", [False, True])
    def test_each_call_draws_anew(self, training):
        network = keras.Sequential([keras.Input((4,)), PoissonEncoder(20, seed=1)])
        x = np.full((2, 4), 0.5)
        first, second = network(x, training=training), network(x, training=training)
        assert not np.array_equal(first, second)

    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_the_seed_repeats_it(self, jit_compile):
        def draw(seed):
            encoder = PoissonEncoder(20, seed=seed)
            run = tf.function(lambda x: encoder(x), jit_compile=jit_compile)
            return [run(tf.fill((2, 4), 0.5)).numpy() for _ in range(2)]

        np.testing.assert_array_equal(draw(1), draw(1))
        assert not np.array_equal(draw(1), draw(2))
        assert not np.array_equal(*draw(1))

    def test_half_precision_keeps_small_probabilities(self):
        # Uniform numbers in float16 are multiples of 1/1024: the rate would be 1/1024 or 0.
        encoder = PoissonEncoder(2_000_000, gain=2**-12, seed=1, dtype="mixed_float16")
        spikes = np.asarray(encoder(np.ones((1, 1))))
        assert spikes.dtype == np.float16
        expected = 2_000_000 / 4096
        assert abs(spikes.sum(dtype="float64") - expected) < 4 * np.sqrt(expected)

    def test_an_exported_model_draws_anew_at_each_call(self, tmp_path):
        network = keras.Sequential([keras.Input((4,)), PoissonEncoder(50, gain=0.5, seed=1)])
        network.export(tmp_path, verbose=False)
        exported = tf.saved_model.load(tmp_path)
        x = tf.ones((40, 4))
        first, second = exported.serve(x).numpy(), exported.serve(x).numpy()
        assert not np.array_equal(first, second)
        assert abs(first.mean() - 0.5) < 4 * 0.5 / np.sqrt(first.size)

    @pytest.mark.parametrize("gain", [0, -1.0, np.nan, np.inf, "big"])
    def test_the_gain_must_be_positive(self, gain):
        with pytest.raises(ValueError, match="PoissonEncoder 'rate': `gain` must be a finite"):
            PoissonEncoder(5, gain=gain, name="rate")

    def test_config(self):
        config = PoissonEncoder(5, gain=0.5, seed=3).get_config()
        assert (config["steps"], config["gain"], config["seed"]) == (5, 0.5, 3)
        assert PoissonEncoder.from_config(config).get_config() == config


class TestDirectEncoder:
    @given(
        shape=st.lists(st.integers(1, 4), min_size=1, max_size=4),
        steps=st.integers(1, 6),
    )
    @settings(max_examples=25, deadline=None)
    def test_each_step_is_the_input(self, shape, steps):
        x = np.random.default_rng(0).normal(size=shape).astype("float32")
        sequence = np.asarray(DirectEncoder(steps)(x))
        assert sequence.shape == (shape[0], steps, *shape[1:])
        for step in range(steps):
            np.testing.assert_array_equal(sequence[:, step], x)

    def test_gradients_sum_over_steps(self):
        x = tf.constant([[1.0, 2.0]])
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(DirectEncoder(3)(x))
        np.testing.assert_array_equal(tape.gradient(total, x), [[3.0, 3.0]])

    def test_config(self):
        config = DirectEncoder(5).get_config()
        assert config["steps"] == 5
        assert DirectEncoder.from_config(config).get_config() == config


@pytest.mark.parametrize("encoder", EACH)
class TestEach:
    @pytest.mark.parametrize("steps", [0, -1, 2.5, True, "5", None])
    def test_steps_must_be_a_positive_integer(self, encoder, steps):
        with pytest.raises(ValueError, match="'code': `steps` must be a positive integer"):
            encoder(steps, name="code")

    @pytest.mark.parametrize("shape", [(3,), (3, 4), (3, 4, 5, 2)])
    def test_shapes(self, encoder, shape):
        expected = (shape[0], 7, *shape[1:])
        layer = encoder(7)
        assert layer(np.ones(shape)).shape == expected
        assert layer.compute_output_shape(shape) == expected
        assert layer.compute_output_shape((None, *shape[1:])) == (None, *expected[1:])

    def test_an_unknown_batch_size(self, encoder):
        layer = encoder(7)
        run = tf.function(lambda x: layer(x), input_signature=[tf.TensorSpec((None, 2))])
        assert run(np.ones((3, 2), "float32")).shape == (3, 7, 2)

    @pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16", "float64"])
    def test_dtypes(self, encoder, dtype):
        layer = encoder(7, dtype=dtype)
        assert layer(np.ones((3, 2))).dtype == dtype.removeprefix("mixed_")
