"""Encoders: static inputs become sequences."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_spiking_rnn import DirectEncoder, LatencyEncoder, PoissonEncoder
from keras_spiking_rnn.encoders import latency, rate

EACH = [PoissonEncoder, LatencyEncoder, DirectEncoder]


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


class TestRate:
    def test_it_is_a_bernoulli_variable_of_the_clipped_intensity(self, monkeypatch):
        # Section 4.1 of the SRC paper: a white pixel spikes with a probability of 25 %.
        random = np.random.default_rng(0)
        x, uniform = random.uniform(-1, 5, (7, 3)), random.random((7, 20, 3))
        uniform[0] = 0
        monkeypatch.setattr(keras.random, "uniform", lambda shape, dtype, seed: uniform)
        expected = uniform < np.clip(0.25 * x, 0, 1)[:, None]
        np.testing.assert_array_equal(rate(x, 20, gain=0.25), expected)
        np.testing.assert_array_equal(PoissonEncoder(20, gain=0.25, dtype="float64")(x), expected)

    def test_the_layer_is_the_function(self):
        x = np.random.default_rng(0).random((3, 4)).astype("float32")
        encoder = PoissonEncoder(9, gain=0.7, seed=5)
        generator = keras.random.SeedGenerator(5)
        for _ in range(2):
            np.testing.assert_array_equal(encoder(x), rate(x, 9, gain=0.7, seed=generator))

    def test_seeds(self):
        x = np.full((3, 4), 0.5)
        np.testing.assert_array_equal(rate(x, 9, seed=1), rate(x, 9, seed=1))
        assert not np.array_equal(rate(x, 9, seed=1), rate(x, 9, seed=2))
        assert not np.array_equal(rate(x, 9), rate(x, 9))

    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "uint8"])
    def test_dtypes(self, dtype):
        spikes = rate(np.ones((2, 3), dtype), 4)
        assert spikes.dtype == (dtype if dtype.startswith("float") else "float32")
        np.testing.assert_array_equal(spikes, np.ones((2, 4, 3)))

    def test_errors_name_the_function(self):
        with pytest.raises(ValueError, match=r"rate\(\): `steps` must be a positive integer"):
            rate(np.ones((1, 1)), 0)
        with pytest.raises(ValueError, match=r"rate\(\): `gain` must be a finite number"):
            rate(np.ones((1, 1)), 1, gain=0)


class TestLatency:
    def expected(self, x, steps, tau=10.0, threshold=0.01, normalize=True, clip=True):
        """One intensity at a time."""
        spikes = np.zeros((len(x), steps, *x.shape[1:]))
        for index in np.ndindex(x.shape):
            I = min(x[index], 1.0)  # noqa: E741, N806
            if clip and I < threshold:
                continue
            constant = steps - 1 if normalize else tau
            time = round(min(-constant * (I - 1), -constant * (threshold - 1)))
            if time < steps:
                spikes[(index[0], time, *index[1:])] = 1
        return spikes

    def test_values_of_snntorch(self):
        # spikegen.latency([0.02, 0.5, 1], 5, normalize=True, linear=True): 3.92, 2, 0.
        spikes = np.asarray(latency(np.array([[0.02, 0.5, 1]]), 5))
        assert spikes.sum() == 3
        np.testing.assert_array_equal(spikes[0].argmax(axis=0), [4, 2, 0])

    def test_a_half_is_rounded_to_the_even_step(self):
        # 4 (1 - I) = 0.5, 1.5, 2.5, 3.5.
        spikes = np.asarray(latency(np.array([[0.875, 0.625, 0.375, 0.125]]), 5))
        np.testing.assert_array_equal(spikes[0].argmax(axis=0), [0, 2, 2, 4])

    @given(
        seed=st.integers(0, 1000),
        steps=st.integers(1, 30),
        tau=st.floats(0.5, 30),
        threshold=st.floats(0.01, 0.9),
        normalize=st.booleans(),
        clip=st.booleans(),
    )
    @settings(max_examples=40, deadline=None)
    def test_it_follows_the_definition(self, seed, **arguments):
        x = np.random.default_rng(seed).uniform(-0.5, 1.5, (2, 3, 2))
        np.testing.assert_array_equal(latency(x, **arguments), self.expected(x, **arguments))
        layer = LatencyEncoder(**arguments, dtype="float64")
        np.testing.assert_array_equal(layer(x), self.expected(x, **arguments))

    def test_all_pixel_values_in_200_steps(self):
        # T = 200 as in the paper: t = round(min(199 (1 - I), 197.01)).
        x = np.arange(256)[None] / 255
        for dtype in ("float32", "float64"):
            spikes = np.asarray(latency(x.astype(dtype), 200))
            np.testing.assert_array_equal(spikes, self.expected(x, 200))
        assert spikes.sum() == 253, "0, 1/255 and 2/255 are below 0.01"
        assert not spikes[0, 198:].any()
        late = np.asarray(latency(x, 200, clip=False))
        np.testing.assert_array_equal(late[0, 197].nonzero()[0], [0, 1, 2, 3])

    def test_times_beyond_the_last_step_have_no_spike(self):
        x = np.array([[0.0, 0.5, 0.75, 1.0]])
        spikes = np.asarray(latency(x, 4, tau=8, normalize=False))
        np.testing.assert_array_equal(spikes[0], [[0, 0, 0, 1], [0] * 4, [0, 0, 1, 0], [0] * 4])

    def test_half_precision_does_not_move_spikes(self):
        x = np.arange(256)[None] / 255
        encoder = LatencyEncoder(200, dtype="mixed_bfloat16")
        spikes = encoder(x.astype("float32"))
        assert spikes.dtype == "bfloat16"
        np.testing.assert_array_equal(tf.cast(spikes, "float32"), self.expected(x, 200))

    def test_in_a_model_with_jit(self):
        network = keras.Sequential([keras.Input((6,)), LatencyEncoder(8)])
        x = np.random.default_rng(0).random((5, 6)).astype("float32")
        run = tf.function(lambda x: network(x), jit_compile=True)
        np.testing.assert_array_equal(run(tf.constant(x)), self.expected(x, 8))

    @pytest.mark.parametrize(
        "arguments,message",
        [
            ({"tau": 0}, "`tau` must be a finite number greater than 0.*tau=0"),
            ({"tau": np.inf}, "`tau` must be a finite number"),
            ({"threshold": 0}, "`threshold` must be a number between 0 and 1.*threshold=0"),
            ({"threshold": 1}, "`threshold` must be a number between 0 and 1.*threshold=1"),
            ({"threshold": "low"}, "`threshold` must be a number between"),
            ({"steps": 0}, "`steps` must be a positive integer"),
        ],
    )
    def test_errors_name_the_function_or_the_layer(self, arguments, message):
        arguments = {"steps": 5, **arguments}
        with pytest.raises(ValueError, match=rf"latency\(\): {message}"):
            latency(np.ones((1, 1)), **arguments)
        with pytest.raises(ValueError, match=f"LatencyEncoder 'code': {message}"):
            LatencyEncoder(**arguments, name="code")

    def test_config(self):
        encoder = LatencyEncoder(5, tau=3, threshold=0.1, normalize=False, clip=False)
        config = encoder.get_config()
        assert (config["steps"], config["tau"], config["threshold"]) == (5, 3.0, 0.1)
        assert config["normalize"] is config["clip"] is False
        assert LatencyEncoder.from_config(config).get_config() == config


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
