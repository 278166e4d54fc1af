"""Encoders: static inputs become sequences."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_spiking_rnn import (
    DeltaEncoder,
    DirectEncoder,
    LatencyEncoder,
    OnOffPoissonEncoder,
    PoissonEncoder,
)
from keras_spiking_rnn.encoders import delta, latency, on_off, rate

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


class TestOnOff:
    def drawn(self, x, off, low=0.0, high=1.0, seed=1):
        spikes = np.asarray(on_off(np.asarray(x), low, high, off, seed=seed))
        assert set(np.unique(spikes)) <= {0, 1}
        return spikes if off is None else np.split(spikes, 2, axis=-1)

    @pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
    def test_a_value_is_the_probability_of_an_on_spike(self, p):
        standard_error = np.sqrt(p * (1 - p) / 40_000)
        x = np.full((1, 40_000, 1), p)
        for kind in ("complement", "independent"):
            off, on = self.drawn(x, kind)
            assert abs(on.mean() - p) < 4 * standard_error
            assert abs(off.mean() - (1 - p)) < 4 * standard_error
            assert ((on + off == 1).all()) == (kind == "complement")
            both = (on * off).mean()
            expected = 0 if kind == "complement" else p * (1 - p)
            assert abs(both - expected) < 4 * np.sqrt(max(expected, 1e-12) / 40_000)
        assert abs(self.drawn(x, None).mean() - p) < 4 * standard_error

    def test_it_follows_the_definition(self, monkeypatch):
        random = np.random.default_rng(0)
        x = random.uniform(-2, 4, (7, 20, 3))
        draws = random.random((2, *x.shape))
        monkeypatch.setattr(keras.random, "uniform", lambda shape, **_: draws[: shape[0]])
        p = np.clip((x + 1) / 4, 0, 1)
        on = draws[0] < p
        for off, expected in {
            None: on,
            "complement": np.concatenate([~on, on], axis=-1),
            "independent": np.concatenate([draws[1] < 1 - p, on], axis=-1),
        }.items():
            np.testing.assert_array_equal(on_off(x, -1, 3, off), expected)

    def test_the_signal_of_the_paper(self):
        # f(x) = 0.5 sin 3x + 0.5 sin 6x + 1, the values of which are not all probabilities.
        x = np.linspace(0, 2 * np.pi, 100)
        signal = 0.5 * np.sin(3 * x) + 0.5 * np.sin(6 * x) + 1
        assert signal.max() > 1.8 and signal.min() < 0.2
        many = np.repeat(signal[None, :, None], 2000, axis=2)
        off, on = self.drawn(many, "complement", low=0, high=2)
        np.testing.assert_allclose(2 * on.mean(axis=2)[0], signal, atol=4 * np.sqrt(1 / 2000))
        np.testing.assert_allclose(2 - 2 * off.mean(axis=2)[0], signal, atol=4 * np.sqrt(1 / 2000))

    def test_the_ends_of_the_range_are_certain(self):
        x = np.array([[-9.0, 2.0, 5.0, 11.0]])
        for kind in ("complement", "independent"):
            for seed in range(20):
                off, on = self.drawn(x, kind, low=2, high=5, seed=seed)
                np.testing.assert_array_equal(on, [[0, 0, 1, 1]])
                np.testing.assert_array_equal(off, [[1, 1, 0, 0]])

    @pytest.mark.parametrize("off", ["complement", "independent", None])
    def test_the_layer_is_the_function(self, off):
        x = np.random.default_rng(0).random((3, 5, 4)).astype("float32")
        encoder = OnOffPoissonEncoder(0.1, 0.9, off=off, seed=5)
        generator = keras.random.SeedGenerator(5)
        for _ in range(2):
            expected = np.asarray(on_off(x, 0.1, 0.9, off, seed=generator))
            spikes = encoder(x)
            np.testing.assert_array_equal(spikes, expected)
            assert spikes.shape == encoder.compute_output_shape(x.shape)
        assert expected.shape == (3, 5, 4 if off is None else 8)
        assert not np.array_equal(encoder(x), expected)

    def test_half_precision_keeps_small_probabilities(self):
        encoder = OnOffPoissonEncoder(off=None, seed=1, dtype="mixed_float16")
        spikes = np.asarray(encoder(np.full((1, 2_000_000), 2.0**-12, "float32")))
        assert spikes.dtype == np.float16
        expected = 2_000_000 / 4096
        assert abs(spikes.sum(dtype="float64") - expected) < 4 * np.sqrt(expected)

    @pytest.mark.parametrize(
        "arguments,message",
        [
            ({"low": 1.0}, "`low` and `high` must be finite numbers, `low` below `high`"),
            ({"high": np.inf}, "`low` and `high` must be finite"),
            ({"low": "dark"}, "`low` and `high` must be finite"),
            ({"off": "both"}, "`off` must be 'complement', 'independent' or None.*'both'"),
        ],
    )
    def test_errors_name_the_function_or_the_layer(self, arguments, message):
        with pytest.raises(ValueError, match=rf"on_off\(\): {message}"):
            on_off(np.ones((1, 1)), **arguments)
        with pytest.raises(ValueError, match=f"OnOffPoissonEncoder 'code': {message}"):
            OnOffPoissonEncoder(**arguments, name="code")

    def test_config(self):
        config = OnOffPoissonEncoder(0.1, 2, off=None, seed=3).get_config()
        assert (config["low"], config["high"], config["off"], config["seed"]) == (0.1, 2.0, None, 3)
        assert OnOffPoissonEncoder.from_config(config).get_config() == config


class TestDelta:
    SIGNAL = np.array([1, 2, 0, 2, 2.9]).reshape(1, 5, 1)

    @pytest.mark.parametrize(
        "padding,off_spike,expected",
        [
            (False, False, [1, 1, 0, 1, 0]),
            (True, False, [0, 1, 0, 1, 0]),
            (False, True, [1, 1, -1, 1, 0]),
            (True, True, [0, 1, -1, 1, 0]),
        ],
    )
    def test_values_of_snntorch(self, padding, off_spike, expected):
        # The examples of spikegen.delta(b, threshold=1).
        spikes = delta(self.SIGNAL, 1, padding, off_spike)
        np.testing.assert_array_equal(np.ravel(spikes), expected)

    def test_neurons_of_their_own(self):
        spikes = delta(np.tile(self.SIGNAL, (2, 1, 3)), 1, off_spike="neurons")
        off, on = np.split(np.asarray(spikes), 2, axis=-1)
        for feature in range(3):
            np.testing.assert_array_equal(on[1, :, feature], [1, 1, 0, 1, 0])
            np.testing.assert_array_equal(off[1, :, feature], [0, 0, 1, 0, 0])

    @given(
        seed=st.integers(0, 1000),
        threshold=st.floats(0.01, 2),
        padding=st.booleans(),
        off_spike=st.sampled_from([False, True, "neurons"]),
    )
    @settings(max_examples=40, deadline=None)
    def test_it_follows_the_definition(self, seed, threshold, padding, off_spike):
        x = np.random.default_rng(seed).normal(size=(2, 9, 3))
        on, off = np.zeros(x.shape), np.zeros(x.shape)
        for sample, step, feature in np.ndindex(x.shape):
            before = x[sample, step - 1, feature] if step else x[sample, 0, feature] * padding
            change = x[sample, step, feature] - before
            on[sample, step, feature] = change >= threshold
            off[sample, step, feature] = -change >= threshold
        expected = {False: on, True: on - off, "neurons": np.concatenate([off, on], axis=-1)}
        spikes = delta(x, threshold, padding, off_spike)
        np.testing.assert_array_equal(spikes, expected[off_spike])
        layer = DeltaEncoder(threshold, padding, off_spike, dtype="float64")
        np.testing.assert_array_equal(layer(x), expected[off_spike])
        assert layer.compute_output_shape(x.shape) == spikes.shape

    def test_half_precision_does_not_lose_small_changes(self):
        x = (100 + 0.01 * np.arange(5)).reshape(1, 5, 1).astype("float32")
        spikes = DeltaEncoder(0.009, padding=True, dtype="mixed_float16")(x)
        assert spikes.dtype == "float16"
        np.testing.assert_array_equal(np.ravel(spikes), [0, 1, 1, 1, 1])

    @pytest.mark.parametrize(
        "arguments,message",
        [
            ({"threshold": 0}, "`threshold` must be a finite number greater than 0"),
            ({"threshold": np.nan}, "`threshold` must be"),
            ({"off_spike": "both"}, "`off_spike` must be False, True or 'neurons'.*'both'"),
        ],
    )
    def test_errors_name_the_function_or_the_layer(self, arguments, message):
        with pytest.raises(ValueError, match=rf"delta\(\): {message}"):
            delta(self.SIGNAL, **arguments)
        with pytest.raises(ValueError, match=f"DeltaEncoder 'code': {message}"):
            DeltaEncoder(**arguments, name="code")

    def test_config(self):
        config = DeltaEncoder(0.5, True, "neurons").get_config()
        assert (config["threshold"], config["padding"]) == (0.5, True)
        assert DeltaEncoder.from_config(config).get_config() == config


@pytest.mark.parametrize("layer", [OnOffPoissonEncoder(seed=1), DeltaEncoder(off_spike="neurons")])
class TestEncodersOfSignals:
    def test_unknown_batch_and_steps_in_a_saved_model(self, layer, tmp_path):
        network = keras.Sequential([keras.Input((None, 3)), type(layer)(**layer.get_config())])
        assert network.output_shape == (None, None, 6)
        network.save(tmp_path / "network.keras")
        read = keras.models.load_model(tmp_path / "network.keras")
        assert read(np.ones((2, 7, 3))).shape == (2, 7, 6)

    def test_the_mask_is_kept(self, layer):
        x = np.ones((2, 4, 3), "float32")
        x[1, 2:] = 0
        masked = layer(keras.layers.Masking()(x))
        assert keras.src.backend.get_keras_mask(masked).numpy()[1].tolist() == [1, 1, 0, 0]

    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_in_a_compiled_function(self, layer, jit_compile):
        run = tf.function(lambda x: layer(x), jit_compile=jit_compile)
        assert run(tf.ones((2, 4, 3))).shape == (2, 4, 6)

    def test_too_few_axes(self, layer):
        with pytest.raises(ValueError, match=r"the inputs must have shape \(batch, .*features\)"):
            layer(np.ones(3))
        with pytest.raises(ValueError, match=r"the inputs must have shape \(batch, .*features\)"):
            layer.compute_output_shape((3,))


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
