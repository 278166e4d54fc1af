"""RLIF against its equations, written out in NumPy from the paper."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from digits import digits, learned
from finite_differences import Smooth, assert_gradients_are_slopes
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_spiking_rnn import RLIF, RLIFCell, TimeSum, metrics, surrogates
from keras_spiking_rnn.base import LeakRange
from keras_spiking_rnn.rlif import ANALOG_SOURCES, rlif_step


def rlif_in_numpy(X, W_volt, b_volt, alpha, b_mem, V_thres, V_reset, u=None):  # noqa: N803
    """Equations (4) to (10) for one sequence, one unit at a time: `(steps, in)` inputs."""
    steps, units = len(X), W_volt.shape[1]
    Y, V, states = (np.zeros((steps, units)) for _ in range(3))
    for i in range(units):
        u_i = 0.0 if u is None else u[i]
        for t in range(steps):
            U_t = sum(W_volt[j, i] * X[t, j] for j in range(X.shape[1])) + b_volt[i]  # (9)
            V[t, i] = U_t + u_i  # (4)
            F_t = V[t, i] >= V_thres[i]  # (5)
            u_d = V_reset[i] if F_t else V[t, i]  # (6)
            Y[t, i] = F_t  # (8)
            M_t = alpha[i] * u_d + b_mem[i]  # (10)
            u_i = M_t  # (7), without noise
            states[t, i] = u_i
    return Y, V, states


def random_parameters(random, inputs, units):
    reset = random.normal(-0.2, 0.4, units)
    return {
        "W_volt": random.normal(0, 1 / math.sqrt(inputs), (inputs, units)),
        "b_volt": random.normal(0.1, 0.2, units),
        "alpha": random.uniform(1 / 4096, 1, units),
        "b_mem": random.normal(0, 0.1, units),
        "V_thres": reset + random.uniform(0.1, 1.0, units),
        "V_reset": reset,
    }


def layer_with(parameters, dtype="float64", **arguments):
    inputs, units = parameters["W_volt"].shape
    layer = RLIF(
        units,
        threshold=parameters["V_thres"],
        reset=parameters["V_reset"],
        dtype=dtype,
        **{"return_sequences": True, "return_state": True, **arguments},
    )
    layer.build((None, None, inputs))
    layer.set_weights([parameters[name] for name in ("W_volt", "b_volt", "alpha", "b_mem")])
    return layer


class TestEquations:
    @given(
        seed=st.integers(0, 2**32 - 1),
        batch=st.integers(1, 3),
        steps=st.integers(1, 10),
        inputs=st.integers(1, 5),
        units=st.integers(1, 5),
    )
    @settings(max_examples=25, deadline=None)
    def test_layer_follows_the_paper(self, seed, batch, steps, inputs, units):
        random = np.random.default_rng(seed)
        parameters = random_parameters(random, inputs, units)
        X = random.normal(0.3, 1.0, (batch, steps, inputs))
        spikes, state = layer_with(parameters)(X)
        for n in range(batch):
            Y, _, u = rlif_in_numpy(X[n], **parameters)
            np.testing.assert_array_equal(spikes[n], Y)
            np.testing.assert_allclose(state[n], u[-1], rtol=1e-12, atol=1e-12)

    def test_the_sample_above_is_neither_silent_nor_always_firing(self):
        random = np.random.default_rng(0)
        parameters = random_parameters(random, 5, 50)
        Y, _, _ = rlif_in_numpy(random.normal(0.3, 1.0, (20, 5)), **parameters)
        assert 0.2 < Y.mean() < 0.8

    @given(
        X=st.lists(st.integers(-4, 4), min_size=1, max_size=8),
        threshold=st.integers(-2, 6),
        gap=st.integers(1, 4),
        leak=st.sampled_from([0.25, 0.5, 1.0]),
        bias=st.integers(-2, 2),
        membrane_bias=st.integers(-2, 2),
    )
    @settings(max_examples=40, deadline=None)
    def test_exactly_in_float32_with_many_ties(self, X, threshold, gap, leak, bias, membrane_bias):
        # Sums of multiples of a power of two are exact, so V often equals the threshold.
        parameters = {
            "W_volt": np.array([[0.5]]),
            "b_volt": np.array([bias / 2]),
            "alpha": np.array([leak]),
            "b_mem": np.array([membrane_bias / 2]),
            "V_thres": np.array([threshold / 2]),
            "V_reset": np.array([(threshold - gap) / 2]),
        }
        X = np.array(X, "float32")[:, None]
        Y, _, u = rlif_in_numpy(X, **parameters)
        spikes, state = layer_with(parameters, dtype="float32")(X[None])
        np.testing.assert_array_equal(spikes[0], Y)
        np.testing.assert_array_equal(state[0], u[-1])

    def test_a_unit_fires_at_the_threshold(self):
        cell = RLIFCell(3, threshold=0.5, kernel_initializer="identity")
        spikes, _ = cell(np.array([[0.49, 0.5, 0.51]]), [np.zeros((1, 3))])
        np.testing.assert_array_equal(spikes, [[0, 1, 1]])

    def test_one_step_by_hand(self):
        Y, u, V = rlif_step(
            U=tf.constant([[2.75, 0.0]], "float64"),
            u=tf.constant([[0.25, 0.25]], "float64"),
            alpha=np.array([0.5, 0.5]),
            b_mem=np.array([0.0, 1.0]),
            V_thres=2.0,
            V_reset=-1.0,
            surrogate=surrogates.Rectangular(),
            beta=np.array([[0.125, 0.0]]),
        )
        np.testing.assert_array_equal(V, [[3.0, 0.25]])
        np.testing.assert_array_equal(Y, [[1, 0]])
        np.testing.assert_array_equal(u, [[-0.5 + 0.125, 0.125 + 1]])

    @pytest.mark.parametrize("use_bias", [False, True])
    @pytest.mark.parametrize("use_membrane_bias", [False, True])
    def test_without_biases(self, use_bias, use_membrane_bias):
        random = np.random.default_rng(2)
        parameters = random_parameters(random, 3, 4)
        parameters["b_volt"] *= use_bias
        parameters["b_mem"] *= use_membrane_bias
        X = random.normal(0.3, 1.0, (2, 6, 3))
        layer = layer_with(parameters)
        small = RLIF.from_config(
            {**layer.get_config(), "use_bias": use_bias, "use_membrane_bias": use_membrane_bias}
        )
        small.build((None, None, 3))
        assert len(small.weights) == 2 + use_bias + use_membrane_bias
        for weight in small.weights:
            weight.assign(getattr(layer.cell, weight.name))
        for actual, expected in zip(small(X), layer(X), strict=True):
            np.testing.assert_array_equal(actual, expected)

    def test_initial_values(self):
        layer = RLIF(3)
        layer.build((None, None, 2))
        _, bias, leak, membrane_bias = layer.get_weights()
        np.testing.assert_array_equal(bias, np.zeros(3))
        np.testing.assert_array_equal(leak, np.full(3, 0.3, "float32"))
        np.testing.assert_array_equal(membrane_bias, np.zeros(3))
        assert (layer.threshold, layer.reset) == (0.5, 0.0)
        np.testing.assert_array_equal(layer.cell.get_initial_state(2)[0], np.zeros((2, 3)))


SMOOTH = [
    Smooth(surrogates.Sigmoid(3.0), lambda x: tf.sigmoid(3.0 * x)),
    Smooth(
        surrogates.ArcTan(2.0), lambda x: tf.atan(math.pi * x) / tf.constant(math.pi, x.dtype) + 0.5
    ),
    Smooth(surrogates.Gaussian(0.5), lambda x: 0.5 * (1 + tf.math.erf(x / math.sqrt(0.5)))),
    Smooth(surrogates.FastSigmoid(4.0), lambda x: x / (1 + 4.0 * tf.abs(x))),
    Smooth(surrogates.StraightThrough(0.5), lambda x: 0.5 * x),
]


class TestGradients:
    @pytest.mark.parametrize("surrogate", SMOOTH, ids=lambda smooth: repr(smooth.surrogate))
    @pytest.mark.parametrize("unroll", [False, True])
    def test_finite_differences_of_the_smooth_model(self, surrogate, unroll):
        random = np.random.default_rng(3)
        layer = layer_with(random_parameters(random, 3, 2), surrogate=surrogate, unroll=unroll)
        assert_gradients_are_slopes(layer, random.normal(0.3, 1.0, (2, 5, 3)))

    @pytest.mark.parametrize(
        "surrogate",
        [surrogates.Rectangular(0.4), surrogates.Triangular(0.6), surrogates.StraightThrough(0.3)],
        ids=repr,
    )
    def test_backpropagation_through_time_by_hand(self, surrogate):
        random = np.random.default_rng(4)
        parameters = random_parameters(random, 4, 6)
        layer = layer_with(parameters, surrogate=surrogate)
        X = random.normal(0.3, 1.0, (3, 7, 4))
        dY, du_last = random.normal(size=(3, 7, 6)), random.normal(size=(3, 6))
        W, leak = parameters["W_volt"], parameters["alpha"]
        expected = {"X": np.zeros_like(X), "kernel": 0, "bias": 0, "leak": 0, "membrane_bias": 0}
        for n in range(3):
            Y, V, _ = rlif_in_numpy(X[n], **parameters)
            f = np.asarray(surrogate.derivative(V - parameters["V_thres"]))
            du = du_last[n]
            for t in reversed(range(7)):
                u_d = np.where(Y[t], parameters["V_reset"], V[t])
                expected["membrane_bias"] += du
                expected["leak"] += du * u_d
                du_d = du * leak
                dF = dY[n, t] + du_d * (parameters["V_reset"] - V[t])
                dV = du_d * (1 - Y[t]) + dF * f[t]
                expected["bias"] += dV
                expected["kernel"] += np.outer(X[n, t], dV)
                expected["X"][n, t] = W @ dV
                du = dV

        inputs = tf.constant(X)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            spikes, state = layer(inputs)
            loss = tf.reduce_sum(spikes * dY) + tf.reduce_sum(state * du_last)
        actual = tape.gradient(loss, [inputs, *(w.value for w in layer.trainable_weights)])
        assert 0.1 < np.mean(spikes) < 0.9
        for (name, by_hand), gradient in zip(expected.items(), actual, strict=True):
            np.testing.assert_allclose(gradient, by_hand, rtol=1e-10, atol=1e-12, err_msg=name)


def source_in_numpy(source, Y, V, u, V_thres, V_reset):  # noqa: N803
    """The membrane potential that analog outputs are an activation of."""
    return {
        "integrated": V,
        "above_threshold": V - V_thres,
        "reset": np.where(Y == 1, V_reset, V),
        "leaked": u,
    }[source]


class TestAnalogOutputs:
    ANALOG = {"output_mode": "analog", "analog_activation": "tanh"}

    @pytest.fixture
    def data(self):
        random = np.random.default_rng(6)
        parameters = random_parameters(random, 4, 5)
        return parameters, random.normal(0.3, 1.0, (2, 60, 4))

    @pytest.mark.parametrize("source", ANALOG_SOURCES)
    def test_layer_follows_the_equations(self, source, data):
        parameters, X = data
        layer = layer_with(parameters, analog_source=source, **self.ANALOG)
        outputs, state = layer(X)
        recorded = metrics.trace(layer, X)
        np.testing.assert_allclose(recorded["analog"], outputs, rtol=1e-12, atol=1e-12)
        for n in range(2):
            Y, V, u = rlif_in_numpy(X[n], **parameters)
            assert 0.2 < Y.mean() < 0.8
            expected = np.tanh(
                source_in_numpy(source, Y, V, u, parameters["V_thres"], parameters["V_reset"])
            )
            np.testing.assert_allclose(outputs[n], expected, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(state[n], u[-1], rtol=1e-12, atol=1e-12)
            np.testing.assert_array_equal(recorded["spikes"][n], Y)
            np.testing.assert_allclose(recorded["membrane"][n], V, rtol=1e-12, atol=1e-12)

    def test_one_unit_by_hand(self):
        # Potentials of 0.25, 0.75 (fires) and -1 + 0.25.
        x = np.array([0.25, 0.5, 0.25], "float32")[None, :, None]
        expected = {
            "integrated": [0.25, 0.75, 0],
            "above_threshold": [0, 0.25, 0],
            "reset": [0.25, 0, 0],
            "leaked": [0.25, 0, 0],
        }
        for source, values in expected.items():
            layer = RLIF(
                1,
                reset=-1,
                output_mode="analog",
                analog_source=source,
                kernel_initializer="ones",
                leak_initializer=1,
                return_sequences=True,
            )
            np.testing.assert_array_equal(layer(x)[0, :, 0], values)

    @pytest.mark.parametrize("source", ANALOG_SOURCES)
    def test_finite_differences_of_the_smooth_model(self, source):
        random = np.random.default_rng(3)
        layer = layer_with(
            random_parameters(random, 3, 2),
            surrogate=SMOOTH[0],
            analog_source=source,
            **self.ANALOG,
        )
        assert_gradients_are_slopes(layer, random.normal(0.3, 1.0, (2, 5, 3)))

    def test_noise_is_part_of_what_is_left_after_the_leak(self):
        # Zero inputs: only noise is in the membrane potential.
        for source, noisy in {"integrated": False, "reset": False, "leaked": True}.items():
            layer = RLIF(
                3,
                output_mode="analog",
                analog_source=source,
                analog_activation="linear",
                noise_stddev=0.1,
                seed=1,
            )
            assert np.asarray(layer(np.zeros((2, 1, 4)), training=True)).any() == noisy

    @pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
    def test_half_precision(self, policy, data):
        parameters, X = data
        layer = layer_with(parameters, dtype="float32", **self.ANALOG)
        half = layer_with(parameters, dtype=policy, **self.ANALOG)
        outputs, state = half(X[:, :5])
        assert outputs.dtype.name == policy.removeprefix("mixed_")
        expected = layer(X[:, :5])[0]
        np.testing.assert_allclose(tf.cast(outputs, "float32"), expected, atol=0.05)
        assert half.cell.compute_dtype == "float32"

    def test_masked_steps_are_zero(self):
        layer = RLIF(3, output_mode="analog", analog_activation="sigmoid", return_sequences=True)
        outputs = np.asarray(layer(np.ones((1, 4, 2)), mask=np.array([[True, True, False, False]])))
        assert outputs[0, :2].all() and not outputs[0, 2:].any()

    def test_saved_and_loaded(self, tmp_path):
        layer = RLIF(
            3,
            output_mode="analog",
            analog_source="reset",
            analog_activation=keras.activations.softsign,
            return_sequences=True,
        )
        network = keras.Sequential([keras.Input((4, 2)), layer])
        network.save(tmp_path / "network.keras")
        loaded = keras.saving.load_model(tmp_path / "network.keras")
        copy = loaded.layers[0]
        assert (copy.output_mode, copy.analog_source) == ("analog", "reset")
        assert copy.analog_activation is keras.activations.softsign
        assert copy.get_config()["analog_activation"] == "softsign"
        x = np.random.default_rng(0).normal(size=(2, 4, 2))
        np.testing.assert_array_equal(loaded(x), network(x))

    def test_they_are_not_spikes(self):
        analog, spiking = RLIFCell(2, output_mode="analog"), RLIFCell(2)
        assert (analog.emits_spikes, spiking.emits_spikes) == (False, True)
        x = np.ones((1, 3, 2), "float32")
        with pytest.raises(ValueError, match='has no spiking layer.*"analog" are no spikes'):
            metrics.firing_rates(keras.layers.RNN(analog), x)
        network = keras.Sequential(
            [keras.Input((3, 2)), RLIF(2, output_mode="analog", return_sequences=True), RLIF(2)]
        )
        assert list(metrics.firing_rates(network, x)) == [network.layers[1].name]

    @pytest.mark.parametrize("kind", [RLIF, RLIFCell])
    @pytest.mark.parametrize(
        "arguments,message",
        [
            (
                {"output_mode": "spikes"},
                "`output_mode` must be one of spike, analog.*output_mode='spikes'",
            ),
            (
                {"analog_source": 3},
                "`analog_source` must be one of integrated, above_threshold, reset, leaked.*=3",
            ),
        ],
    )
    def test_errors_say_what_is_known(self, kind, arguments, message):
        name = "hidden_cell" if kind is RLIF else "hidden"
        with pytest.raises(ValueError, match=f"RLIFCell '{name}': {message}"):
            kind(2, name="hidden", **arguments)


class TestNoise:
    def states(self, steps, training=True, jit_compile=False, seed=1, leak=1.0):
        """Membrane potentials of 20 000 units that get no input and never fire."""
        layer = RLIF(
            200,
            threshold=1e6,
            leak_initializer=leak,
            noise_stddev=0.25,
            seed=seed,
            return_state=True,
        )
        run = tf.function(lambda x: layer(x, training=training), jit_compile=jit_compile)
        return np.asarray(run(tf.zeros((100, steps, 1)))[1], "float64")

    @pytest.mark.parametrize("jit_compile", [False, True])
    @pytest.mark.parametrize("steps", [1, 2, 5])
    def test_normal_and_drawn_anew_at_each_step(self, jit_compile, steps):
        # Without leak, variances add up. Noise that repeated itself would add up to steps**2.
        noise = self.states(steps, jit_compile=jit_compile) / (0.25 * math.sqrt(steps))
        n = noise.size
        assert abs(noise.mean()) < 4 / math.sqrt(n)
        assert abs(noise.var() - 1) < 4 * math.sqrt(2 / n)
        assert abs((noise**4).mean() - 3) < 4 * math.sqrt(96 / n)

    def test_the_leak_applies_to_the_potential_not_to_the_noise(self):
        # u_2 = 0.5 u_1 + noise.
        variance = self.states(2, leak=0.5).var() / 0.25**2
        assert abs(variance - 1.25) < 4 * 1.25 * math.sqrt(2 / 20_000)

    def test_none_at_inference(self):
        assert not self.states(3, training=False).any()

    def test_the_seed_repeats_it(self):
        np.testing.assert_array_equal(self.states(3, seed=5), self.states(3, seed=5))
        assert not np.array_equal(self.states(3, seed=5), self.states(3, seed=6))


class TestDropout:
    def potentials(self, layer, x, **kwargs):
        return np.asarray(layer(x, **kwargs)[1])

    @pytest.mark.parametrize("jit_compile", [False, True])
    @pytest.mark.parametrize("as_cell", [False, True])
    def test_one_mask_a_sequence_scaled_to_keep_the_mean(self, jit_compile, as_cell):
        # Unit i adds up input i, so at the end it holds 0 or steps / (1 - rate).
        arguments = {
            "threshold": 1e6,
            "leak_initializer": 1,
            "kernel_initializer": "identity",
            "dropout": 0.4,
            "seed": 1,
        }
        if as_cell:
            layer = keras.layers.RNN(RLIFCell(50, **arguments), return_state=True)
        else:
            layer = RLIF(50, return_state=True, **arguments)
        run = tf.function(lambda x: layer(x, training=True)[1], jit_compile=jit_compile)
        first, second = (np.asarray(run(tf.ones((200, 6, 50)))) for _ in range(2))
        for sums in (first, second):
            dropped = np.isclose(sums, 0, atol=1e-5)
            np.testing.assert_allclose(sums[~dropped], 6 / 0.6, rtol=1e-5)
            assert abs(dropped.mean() - 0.4) < 4 * math.sqrt(0.4 * 0.6 / dropped.size)
        assert not np.array_equal(first, second), "the mask is kept from call to call"
        assert np.ptp(first, axis=0).all(), "each sequence has its own mask"

    def test_none_at_inference(self):
        layer = RLIF(5, dropout=0.9, return_state=True, seed=1)
        plain = RLIF(5, return_state=True)
        x = np.random.default_rng(0).normal(size=(2, 4, 5)).astype("float32")
        layer.build(x.shape)
        plain.build(x.shape)
        plain.set_weights(layer.get_weights())
        np.testing.assert_array_equal(self.potentials(layer, x), self.potentials(plain, x))


class TestWeights:
    NAMES = ["kernel", "bias", "leak", "membrane_bias"]

    @pytest.mark.parametrize("learn_leak", [False, True])
    def test_order_does_not_depend_on_what_is_learned(self, learn_leak):
        cell = RLIFCell(3, learn_leak=learn_leak)
        cell.build((None, 2))
        layer = RLIF(3, learn_leak=learn_leak)
        network = keras.Sequential([keras.Input((4, 2)), layer])
        for holder in (cell, layer.cell, layer, network):
            assert [weight.name for weight in holder.weights] == self.NAMES
            assert [tuple(w.shape) for w in holder.weights] == [(2, 3), (3,), (3,), (3,)]
            learned = [name for name in self.NAMES if learn_leak or name != "leak"]
            assert [weight.name for weight in holder.trainable_weights] == learned
            fixed = [name for name in self.NAMES if name not in learned]
            assert [weight.name for weight in holder.non_trainable_weights] == fixed
        values = [np.full(weight.shape, i, "float32") for i, weight in enumerate(layer.weights)]
        network.set_weights(values)
        for name, value, weight in zip(self.NAMES, values, network.get_weights(), strict=True):
            np.testing.assert_array_equal(getattr(layer.cell, name), value)
            np.testing.assert_array_equal(weight, value)

    def test_thawing_does_not_make_a_fixed_leak_learnable(self):
        layer = RLIF(3, learn_leak=False)
        network = keras.Sequential([keras.Input((4, 2)), layer, keras.layers.Dense(1)])
        network.trainable = False
        network.trainable = True
        layer.trainable = False
        layer.trainable = True
        assert [w.name for w in layer.trainable_weights] == ["kernel", "bias", "membrane_bias"]
        network.compile("sgd", "mse")
        before = layer.cell.leak.numpy()
        network.fit(np.ones((2, 4, 2)), np.ones((2, 1)), verbose=0)
        np.testing.assert_array_equal(layer.cell.leak, before)

    def test_weight_files_fit_whether_the_leak_is_learned_or_not(self, tmp_path):
        def network(learn_leak):
            return keras.Sequential([keras.Input((4, 2)), RLIF(3, learn_leak=learn_leak)])

        learned, fixed = network(True), network(False)
        learned.set_weights([np.full(w.shape, i + 0.5) for i, w in enumerate(learned.weights)])
        learned.save_weights(tmp_path / "w.weights.h5")
        fixed.load_weights(tmp_path / "w.weights.h5")
        for a, b in zip(fixed.get_weights(), learned.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)

    def test_weight_files_of_other_arguments_are_refused(self, tmp_path):
        saved = keras.Sequential([keras.Input((4, 2)), RLIF(3)])
        saved.save_weights(tmp_path / "w.weights.h5")
        network = keras.Sequential([keras.Input((4, 2)), RLIF(3, use_bias=False)])
        with pytest.raises(ValueError, match="the saved weights do not fit"):
            network.load_weights(tmp_path / "w.weights.h5")

    @pytest.mark.parametrize("name", NAMES)
    def test_each_weight_has_its_initializer_regularizer_and_constraint(self, name):
        arguments = {
            f"{name}_initializer": keras.initializers.Constant(0.5),
            f"{name}_regularizer": keras.regularizers.L1(2.0),
            f"{name}_constraint": LeakRange(0.1, 0.2),
        }
        layer = RLIF(3, **arguments)
        layer.build((None, None, 2))
        weight = getattr(layer.cell, name)
        np.testing.assert_array_equal(weight, np.full(weight.shape, 0.5))
        assert [float(loss) for loss in layer.losses] == [pytest.approx(np.prod(weight.shape))]
        optimizer = keras.optimizers.SGD(0.0)
        optimizer.apply([tf.zeros(w.shape) for w in layer.weights], layer.weights)
        np.testing.assert_allclose(weight, np.full(weight.shape, 0.2))
        for key, value in arguments.items():
            assert getattr(layer, key) is value
            assert RLIF.from_config(layer.get_config()).get_config()[key] == layer.get_config()[key]


class TestLeakRange:
    @pytest.mark.parametrize("rate,end", [(1e3, 1 / 4096), (-1e3, 1.0)])
    def test_optimizer_steps_keep_the_leak_in_range(self, rate, end):
        layer = RLIF(3)
        layer.build((None, None, 2))
        optimizer = keras.optimizers.SGD(abs(rate))
        gradient = tf.fill((3,), math.copysign(1.0, rate))
        optimizer.apply([gradient], [layer.cell.leak])
        np.testing.assert_array_equal(layer.cell.leak, np.full(3, end, "float32"))

    def test_training_with_a_huge_learning_rate(self):
        layer = RLIF(8, seed=1)
        network = keras.Sequential([keras.Input((6, 4)), layer])
        network.compile(keras.optimizers.SGD(50.0), "mse")
        x = np.random.default_rng(0).normal(size=(16, 6, 4))
        for _ in range(3):
            network.fit(x, np.ones((16, 8)), verbose=0)
            leak = layer.cell.leak.numpy()
            assert (leak >= 1 / 4096).all() and (leak <= 1).all()

    def test_no_limits(self):
        layer = RLIF(3, leak_constraint=None, leak_initializer=1.5)
        layer.build((None, None, 2))
        assert layer.leak_constraint is None
        np.testing.assert_array_equal(layer.cell.leak, np.full(3, 1.5))

    def test_config(self):
        config = keras.constraints.serialize(LeakRange(0.1, 0.9))
        assert config["registered_name"] == "keras_spiking_rnn>LeakRange"
        assert keras.constraints.get(config).get_config() == {"minimum": 0.1, "maximum": 0.9}

    @pytest.mark.parametrize("limits", [(0.5, 0.5), (0.9, 0.1), (-0.1, 1), (math.nan, 1)])
    def test_limits_must_be_in_order(self, limits):
        with pytest.raises(ValueError, match="`minimum` must be at least 0 and smaller"):
            LeakRange(*limits)


class TestHalfPrecision:
    @pytest.fixture
    def exact(self):
        """Kernel and inputs whose products are exact in both half precisions."""
        random = np.random.default_rng(5)
        parameters = random_parameters(random, 8, 16)
        parameters["W_volt"] = random.integers(-12, 16, (8, 16)) / 16
        return parameters, random.integers(0, 2, (3, 40, 8)).astype("float32")

    @pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
    def test_the_membrane_potential_is_that_of_float32(self, policy, exact):
        parameters, x = exact
        spikes, state = layer_with(parameters, dtype="float32")(x)
        half_spikes, half_state = layer_with(parameters, dtype=policy)(x)
        np.testing.assert_array_equal(tf.cast(half_spikes, "float32"), spikes)
        np.testing.assert_array_equal(half_state, tf.cast(state, half_state.dtype))
        assert 0.1 < np.mean(spikes) < 0.9

    @pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
    def test_stateful_layers_keep_it_between_batches(self, policy, exact):
        parameters, x = exact
        _, state = layer_with(parameters, dtype="float32")(x)
        layer = RLIF(
            16,
            threshold=parameters["V_thres"],
            reset=parameters["V_reset"],
            dtype=policy,
            stateful=True,
        )
        layer.build((3, None, 8))
        layer.set_weights([parameters[name] for name in ("W_volt", "b_volt", "alpha", "b_mem")])
        for part in np.split(x, 4, axis=1):
            layer(part)
        np.testing.assert_array_equal(layer.states[0], state)

    def test_only_the_product_is_in_half_precision(self):
        cell = RLIFCell(2, dtype="mixed_float16")
        assert (cell.compute_dtype, cell.variable_dtype) == ("float32", "float32")
        spikes, (state,) = cell(np.ones((1, 3), "float16"), cell.get_initial_state(1))
        assert (spikes.dtype, state.dtype) == ("float32", "float32")
        # 1 + 2**-12 is 1 in float16: so it is in the product, and not in the membrane potential.
        cell = RLIFCell(2, threshold=9, leak_initializer=1.0, dtype="mixed_float16")
        cell.build((None, 2))
        weight = 1 + 2**-12
        kernel = np.array([[weight, 0], [0, 1]])
        cell.set_weights([kernel, np.zeros(2), np.ones(2), np.zeros(2)])
        membrane = np.full((1, 2), 2**-12, "float32")
        _, (state,) = cell(np.array([[1.0, weight]], "float32"), [membrane])
        np.testing.assert_array_equal(state, [[weight, weight]])


class TestArguments:
    def test_values_of_each_unit(self):
        layer = RLIF(2, threshold=np.array([0.5, 1.0]), reset=(0, -0.5))
        assert (layer.threshold, layer.reset) == ((0.5, 1.0), (0.0, -0.5))
        assert layer.get_config()["threshold"] == [0.5, 1.0]

    def test_every_argument_is_kept(self):
        layer = RLIF(
            2,
            threshold=[0.75, 1],
            reset=-0.25,
            surrogate=surrogates.Triangular(0.3),
            use_bias=False,
            use_membrane_bias=False,
            learn_leak=False,
            leak_initializer=keras.initializers.RandomUniform(0.1, 0.9, seed=3),
            noise_stddev=0.1,
            dropout=0.2,
            seed=4,
            return_sequences=True,
            return_state=True,
            go_backwards=True,
            unroll=True,
            zero_output_for_mask=False,
            name="hidden",
            dtype="mixed_float16",
        )
        copy = RLIF.from_config(layer.get_config())
        assert copy.get_config() == layer.get_config()
        assert copy.surrogate == surrogates.Triangular(0.3)
        assert copy.leak_initializer.get_config()["maxval"] == 0.9
        assert (copy.threshold, copy.reset, copy.noise_stddev) == ((0.75, 1.0), -0.25, 0.1)
        assert not (copy.use_bias or copy.use_membrane_bias or copy.learn_leak)
        assert (copy.dropout, copy.seed, copy.unroll, copy.zero_output_for_mask) == (
            0.2,
            4,
            True,
            False,
        )

    @pytest.mark.parametrize("kind", [RLIF, RLIFCell])
    @pytest.mark.parametrize(
        "arguments,message",
        [
            ({"units": 0}, r"`units` must be a positive integer\. Received: units=0"),
            ({"units": -3}, "`units` must be a positive integer"),
            ({"units": 2.5}, "`units` must be a positive integer"),
            ({"units": True}, "`units` must be a positive integer"),
            ({"threshold": math.nan}, r"`threshold` must be finite\. Received: threshold=nan"),
            ({"threshold": [1, math.inf, 1]}, "`threshold` must be finite"),
            ({"threshold": [1.0, 2.0]}, "sequence of 3 numbers.*Received a sequence of 2 numbers"),
            ({"threshold": "high"}, "`threshold` must be a number or a sequence of 3 numbers"),
            ({"threshold": None}, "`threshold` must be a number or a sequence"),
            ({"reset": -math.inf}, "`reset` must be finite"),
            ({"reset": [0.0]}, "Received a sequence of 1 numbers"),
            ({"reset": 0.5}, r"smaller than `threshold`.*reset=0\.5, threshold=0\.5 \(unit 0\)"),
            ({"reset": [0, 0, 0.75]}, r"reset=0\.75, threshold=0\.5 \(unit 2\)"),
            ({"threshold": [1, 0, 1]}, r"reset=0\.0, threshold=0\.0 \(unit 1\)"),
            ({"noise_stddev": -0.1}, r"`noise_stddev` must be .*at least 0.*noise_stddev=-0\.1"),
            ({"noise_stddev": math.nan}, "`noise_stddev` must be a finite number"),
            ({"noise_stddev": "loud"}, "`noise_stddev` must be a finite number"),
            ({"dropout": 1}, "`dropout` must be at least 0 and below 1.*dropout=1"),
            ({"dropout": -0.1}, "`dropout` must be at least 0"),
            ({"dropout": math.nan}, "`dropout` must be at least 0"),
            ({"leak_initializer": 0.0}, "range of its constraint.*leak_initializer=0.0.*LeakRange"),
            ({"leak_initializer": 1.5}, "within the range of its constraint"),
            ({"leak_initializer": math.nan}, "within the range of its constraint"),
            (
                {"leak_initializer": math.inf, "leak_constraint": None},
                "`leak_initializer` must be a finite number",
            ),
        ],
    )
    def test_errors_name_the_layer_and_what_is_wrong(self, kind, arguments, message):
        name = "hidden_cell" if kind is RLIF else "hidden"
        with pytest.raises(ValueError, match=f"RLIFCell '{name}': .*{message}"):
            kind(**{"units": 3, "name": "hidden", **arguments})

    def test_unknown_surrogates_are_answered_with_the_known_ones(self):
        with pytest.raises(ValueError, match="rectangular, gaussian"):
            RLIF(3, surrogate="heaviside")

    def test_images_must_be_flattened(self):
        layer = keras.layers.RNN(RLIFCell(3, name="hidden"))
        with pytest.raises(ValueError, match="'hidden': the inputs of one step.*Flatten"):
            layer(np.zeros((2, 5, 4, 4), "float32"))
        with pytest.raises(ValueError, match="ndim=3"):
            RLIF(3)(np.zeros((2, 5, 4, 4), "float32"))


@pytest.mark.parametrize("output_mode", ["spike", "analog"])
def test_it_learns_digits_as_rows(output_mode):
    """28 rows of 28 brightnesses, with the defaults. Chance is 0.1."""

    def layers():
        hidden = RLIF(64, output_mode=output_mode, return_sequences=True)
        return [hidden, TimeSum(), keras.layers.Dense(10)]

    _, accuracy = learned(layers, *digits(2500), 2000, 6, learning_rate=0.01, batch_size=50)
    assert accuracy > 0.6
