"""LIF-LSTM against its equations, written out in NumPy from the paper."""

import inspect
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from digits import digits, learned
from finite_differences import Smooth, assert_gradients_are_slopes

from keras_spiking_rnn import LIFLSTM, LIFLSTMCell, TimeSum, metrics, surrogates
from keras_spiking_rnn.lif_lstm import lif_lstm_step
from keras_spiking_rnn.rlif import ANALOG_SOURCES

NAMES = ["kernel", "recurrent_kernel", "bias", "leak", "membrane_bias"]


def random_weights(random, inputs, units):
    return {
        "kernel": random.normal(0, 1, (inputs, 4 * units)),
        "recurrent_kernel": random.normal(0, 1, (units, 4 * units)),
        "bias": random.normal(0.3, 0.5, 4 * units),
        "leak": random.uniform(0.2, 1, units),
        "membrane_bias": random.normal(0, 0.1, units),
    }


def random_levels(random, units):
    reset = random.uniform(-0.6, 0, units)
    return {"threshold": reset + random.uniform(0.05, 0.5, units), "reset": reset}


def sigmoid(z):
    return 1 / (1 + math.exp(-z))


def forward(x, threshold, reset, kernel, recurrent_kernel, bias, leak, membrane_bias):
    """Equation (11) and (5) to (10) for one sequence, one unit and gate at a time."""
    units = len(recurrent_kernel)
    u, c = np.zeros(units), np.zeros(units)
    steps = []
    for x_t in x:
        step = {name: np.zeros(units) for name in "ifgo" + "cVFu"} | {"u_d": np.zeros(units)}
        step |= {"u_before": u, "c_before": c}
        for n in range(units):
            z = {}
            for k, gate in enumerate("ifgo"):
                column = k * units + n
                z[gate] = (
                    sum(kernel[m, column] * x_t[m] for m in range(len(x_t)))
                    + sum(recurrent_kernel[m, column] * u[m] for m in range(units))
                    + bias[column]
                )
            i, f, o = (sigmoid(z[gate]) for gate in "ifo")
            g = math.tanh(z["g"])
            c_n = f * c[n] + i * g
            V = o * math.tanh(c_n)
            F = 1 if V >= threshold[n] else 0
            u_d = reset[n] if F else V
            u_n = leak[n] * u_d + membrane_bias[n]
            values = {
                "i": i,
                "f": f,
                "g": g,
                "o": o,
                "c": c_n,
                "V": V,
                "F": F,
                "u_d": u_d,
                "u": u_n,
            }
            for name, value in values.items():
                step[name][n] = value
        u, c = step["u"], step["c"]
        steps.append(step)
    return steps


def over_time(steps, name):
    return np.array([step[name] for step in steps])


def layer_with(weights, dtype="float64", **arguments):
    inputs, gates = weights["kernel"].shape
    layer = LIFLSTM(
        gates // 4,
        dtype=dtype,
        **{"return_sequences": True, "return_state": True, **arguments},
    )
    layer.build((None, None, inputs))
    layer.set_weights([weights[name] for name in NAMES])
    return layer


def sample(seed, inputs=4, units=5, batch=2, steps=60):
    random = np.random.default_rng(seed)
    weights = random_weights(random, inputs, units)
    levels = random_levels(random, units)
    return weights, levels, random.normal(0, 1, (batch, steps, inputs))


class TestEquations:
    @pytest.mark.parametrize("seed", range(4))
    def test_layer_follows_the_paper(self, seed):
        weights, levels, x = sample(seed)
        layer = layer_with(weights, **levels)
        spikes, u, c = (np.asarray(values) for values in layer(x))
        assert 0.1 < spikes.mean() < 0.9
        for n in range(2):
            expected = forward(x[n], **levels, **weights)
            np.testing.assert_array_equal(spikes[n], over_time(expected, "F"))
            np.testing.assert_allclose(u[n], expected[-1]["u"], rtol=1e-10, atol=1e-12)
            np.testing.assert_allclose(c[n], expected[-1]["c"], rtol=1e-10, atol=1e-12)

    @pytest.mark.parametrize("source", ANALOG_SOURCES)
    def test_analog_outputs(self, source):
        weights, levels, x = sample(5)
        layer = layer_with(
            weights,
            output_mode="analog",
            analog_source=source,
            analog_activation="softplus",
            **levels,
        )
        outputs, u, _ = (np.asarray(values) for values in layer(x))
        recorded = metrics.trace(layer, x)
        np.testing.assert_allclose(recorded["analog"], outputs, rtol=1e-12)
        for n in range(2):
            steps = forward(x[n], **levels, **weights)
            membrane = {
                "integrated": over_time(steps, "V"),
                "above_threshold": over_time(steps, "V") - levels["threshold"],
                "reset": over_time(steps, "u_d"),
                "leaked": over_time(steps, "u"),
            }[source]
            np.testing.assert_allclose(
                outputs[n], np.log1p(np.exp(membrane)), rtol=1e-10, atol=1e-12
            )
            np.testing.assert_allclose(u[n], steps[-1]["u"], rtol=1e-10, atol=1e-12)
            np.testing.assert_array_equal(recorded["spikes"][n], over_time(steps, "F"))

    def test_trace_shows_gates_and_membrane_potentials(self):
        weights, levels, x = sample(6)
        recorded = metrics.trace(layer_with(weights, **levels), x)
        named = {"input": "i", "forget": "f", "candidate": "g", "output": "o", "cell": "c"}
        named |= {"membrane": "V", "state": "u", "spikes": "F"}
        assert recorded.keys() == named.keys()
        steps = forward(x[1], **levels, **weights)
        for name, symbol in named.items():
            np.testing.assert_allclose(
                recorded[name][1], over_time(steps, symbol), rtol=1e-10, atol=1e-12, err_msg=name
            )

    def test_without_spikes_and_leak_it_is_the_lstm_of_keras(self):
        random = np.random.default_rng(1)
        weights = random_weights(random, 4, 6)
        weights |= {"leak": np.ones(6), "membrane_bias": np.zeros(6)}
        x = random.normal(size=(3, 50, 4))
        lstm = keras.layers.LSTM(6, return_sequences=True, return_state=True, dtype="float64")
        lstm.build(x.shape)
        lstm.set_weights([weights[name] for name in NAMES[:3]])
        layer = layer_with(
            weights, threshold=0.999, output_mode="analog", analog_activation="linear"
        )
        for actual, expected in zip(layer(x), lstm(x), strict=True):
            np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-12)

    def test_the_cell_state_is_not_reset_and_the_membrane_potential_does_not_add_up(self):
        # Without recurrent weights nothing but the spikes could change an LSTM's states.
        weights, levels, x = sample(2)
        weights["recurrent_kernel"] *= 0
        lstm = keras.layers.LSTM(5, return_sequences=True, return_state=True, dtype="float64")
        lstm.build(x.shape)
        lstm.set_weights([weights[name] for name in NAMES[:3]])
        h, _, c = lstm(x)
        spikes, _, cell = layer_with(weights, **levels)(x)
        np.testing.assert_allclose(cell, c, rtol=1e-10)
        np.testing.assert_array_equal(spikes, np.asarray(h) >= levels["threshold"])
        assert 0.1 < np.mean(spikes) < 0.9

    def test_the_gates_see_the_membrane_potential_and_not_the_spikes(self):
        weights, levels, x = sample(3)
        first = metrics.trace(layer_with(weights, **levels), x)
        levels["reset"] = levels["reset"] - 1
        second = metrics.trace(layer_with(weights, **levels), x)
        np.testing.assert_array_equal(first["spikes"][:, 0], second["spikes"][:, 0])
        fired = first["spikes"][:, 0].any(axis=-1)
        assert fired.any()
        different = (first["input"] != second["input"]).any(axis=-1)
        assert not different[:, 0].any()
        np.testing.assert_array_equal(different[:, 1], fired)

    def test_one_step_by_hand(self):
        # Gates of 0.5, 0.75 and 0.25 by activations that are linear: all values are exact.
        Y, u, c, V, gates = lif_lstm_step(
            z_i=tf.constant([[0.5, 0.5]], "float64"),
            z_f=tf.constant([[0.75, 0.75]], "float64"),
            z_c=tf.constant([[2.0, 2.0]], "float64"),
            z_o=tf.constant([[0.25, 0.5]], "float64"),
            c=tf.constant([[4.0, 4.0]], "float64"),
            alpha=np.array([0.5, 0.5]),
            b_mem=np.array([0.0, 1.0]),
            V_thres=1.5,
            V_reset=-1.0,
            surrogate=surrogates.Rectangular(),
            beta=np.array([[0.125, 0.0]]),
            activation=keras.activations.linear,
            recurrent_activation=keras.activations.linear,
        )
        np.testing.assert_array_equal(c, [[4.0, 4.0]])
        np.testing.assert_array_equal(V, [[1.0, 2.0]])
        np.testing.assert_array_equal(Y, [[0, 1]])
        np.testing.assert_array_equal(u, [[0.5 + 0.125, -0.5 + 1]])
        np.testing.assert_array_equal(np.stack(gates)[:, 0, 1], [0.5, 0.75, 2.0, 0.5])

    def test_a_unit_fires_at_the_threshold(self):
        one = tf.ones((1, 3))
        Y, *_ = lif_lstm_step(
            z_i=one,
            z_f=one,
            z_c=tf.constant([[0.49, 0.5, 0.51]]),
            z_o=one,
            c=0 * one,
            alpha=0.3,
            b_mem=0.0,
            V_thres=0.5,
            V_reset=0.0,
            surrogate=surrogates.Rectangular(),
            activation=keras.activations.linear,
            recurrent_activation=keras.activations.linear,
        )
        np.testing.assert_array_equal(Y, [[0, 1, 1]])

    @pytest.mark.parametrize("use_bias", [False, True])
    @pytest.mark.parametrize("use_membrane_bias", [False, True])
    def test_without_biases(self, use_bias, use_membrane_bias):
        weights, levels, x = sample(4, steps=9)
        weights["bias"] *= use_bias
        weights["membrane_bias"] *= use_membrane_bias
        layer = layer_with(weights, **levels)
        small = LIFLSTM.from_config(
            {**layer.get_config(), "use_bias": use_bias, "use_membrane_bias": use_membrane_bias}
        )
        small.build((None, None, 4))
        assert len(small.weights) == 3 + use_bias + use_membrane_bias
        for weight in small.weights:
            weight.assign(getattr(layer.cell, weight.name))
        for actual, expected in zip(small(x), layer(x), strict=True):
            np.testing.assert_array_equal(actual, expected)


SMOOTH = Smooth(surrogates.Sigmoid(3.0), lambda x: tf.sigmoid(3.0 * x))


def tanh_slope(v):
    return 1 - np.tanh(v) ** 2


def backward(steps, x, weights, levels, d_outputs, du, dc, derivative, source):
    """Gradients of inputs and weights, for one sequence; `source` is `None` for spikes."""
    d_x, d_weights = np.zeros_like(x), {name: np.zeros_like(w) for name, w in weights.items()}
    theta, reset = levels["threshold"], levels["reset"]
    for t in reversed(range(len(steps))):
        s = steps[t]
        V, F, u_d = s["V"], s["F"], s["u_d"]
        from_output = dict.fromkeys(["F", "V", "u_d", "u"], 0)
        if source is None:
            from_output["F"] = d_outputs[t]
        elif source == "above_threshold":
            from_output["V"] = d_outputs[t] * tanh_slope(V - theta)
        else:
            symbol = {"integrated": "V", "reset": "u_d", "leaked": "u"}[source]
            from_output[symbol] = d_outputs[t] * tanh_slope(s[symbol])
        du = du + from_output["u"]
        d_weights["membrane_bias"] += du
        d_weights["leak"] += du * u_d
        du_d = du * weights["leak"] + from_output["u_d"]
        dF = du_d * (reset - V) + from_output["F"]
        dV = du_d * (1 - F) + dF * derivative(V - theta) + from_output["V"]
        tanh_c = np.tanh(s["c"])
        dc = dc + dV * s["o"] * (1 - tanh_c**2)
        i, f, g, o = (s[gate] for gate in "ifgo")
        dz = np.concatenate(
            [
                dc * g * i * (1 - i),
                dc * s["c_before"] * f * (1 - f),
                dc * i * (1 - g**2),
                dV * tanh_c * o * (1 - o),
            ]
        )
        d_x[t] = weights["kernel"] @ dz
        d_weights["kernel"] += np.outer(x[t], dz)
        d_weights["recurrent_kernel"] += np.outer(s["u_before"], dz)
        d_weights["bias"] += dz
        du, dc = weights["recurrent_kernel"] @ dz, dc * f
    return d_x, d_weights


class TestGradients:
    @pytest.mark.parametrize(
        "arguments",
        [
            {},
            {"unroll": True},
            *({"output_mode": "analog", "analog_source": source} for source in ANALOG_SOURCES),
        ],
        ids=str,
    )
    def test_finite_differences_of_the_smooth_model(self, arguments):
        weights, levels, x = sample(3, inputs=3, units=2, steps=5)
        layer = layer_with(
            weights, surrogate=SMOOTH, analog_activation="tanh", **levels, **arguments
        )
        assert_gradients_are_slopes(layer, x)

    @pytest.mark.parametrize(
        "surrogate,source",
        [
            (surrogates.Rectangular(0.2), None),
            (surrogates.Triangular(0.6), None),
            *((surrogates.Rectangular(0.2), source) for source in ANALOG_SOURCES),
        ],
        ids=str,
    )
    def test_backpropagation_through_time_by_hand(self, surrogate, source):
        weights, levels, x = sample(4, units=6, batch=3, steps=7)
        random = np.random.default_rng(8)
        d_outputs = random.normal(size=(3, 7, 6))
        du, dc = random.normal(size=(2, 3, 6))
        analog = {"output_mode": "analog", "analog_source": source, "analog_activation": "tanh"}
        layer = layer_with(weights, surrogate=surrogate, **levels, **(analog if source else {}))
        fired = []
        expected_x, expected = np.zeros_like(x), dict.fromkeys(NAMES, 0)
        for n in range(3):
            steps = forward(x[n], **levels, **weights)
            fired.append(over_time(steps, "F"))
            expected_x[n], parts = backward(
                steps,
                x[n],
                weights,
                levels,
                d_outputs[n],
                du[n],
                dc[n],
                lambda V: np.asarray(surrogate.derivative(V)),
                source,
            )
            expected = {name: expected[name] + parts[name] for name in NAMES}
        assert 0.1 < np.mean(fired) < 0.9
        inputs = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs, u, c = layer(inputs)
            loss = sum(tf.reduce_sum(a * b) for a, b in ((outputs, d_outputs), (u, du), (c, dc)))
        actual = tape.gradient(loss, [inputs, *(w.value for w in layer.trainable_weights)])
        np.testing.assert_allclose(actual[0], expected_x, rtol=1e-9, atol=1e-11)
        for name, gradient in zip(NAMES, actual[1:], strict=True):
            assert np.abs(expected[name]).max() > 0.1
            np.testing.assert_allclose(
                gradient, expected[name], rtol=1e-9, atol=1e-11, err_msg=name
            )


class TestNoiseAndDropout:
    def test_noise_is_added_to_the_membrane_potential_alone(self):
        # Without weights there is nothing else in it, and the potential does not add up.
        layer = LIFLSTM(
            200,
            kernel_initializer="zeros",
            recurrent_initializer="zeros",
            noise_stddev=0.25,
            seed=1,
            return_state=True,
        )
        x = tf.ones((100, 3, 1))
        _, u, c = layer(x, training=True)
        noise = np.asarray(u, "float64") / 0.25
        assert abs(noise.mean()) < 4 / math.sqrt(noise.size)
        assert abs(noise.var() - 1) < 4 * math.sqrt(2 / noise.size)
        assert not np.asarray(c).any()
        assert not np.asarray(layer(x)[1]).any()

    @pytest.mark.parametrize("which", ["dropout", "recurrent_dropout"])
    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_one_mask_a_sequence(self, which, jit_compile):
        # A cell state of 1 that an output gate lets through: unit n's is input n, or what its
        # membrane potential was. Each step scales a kept potential by 1 / 0.6 once more.
        units, rate, steps = 50, 0.4, 4
        layer = LIFLSTM(
            units,
            activation="linear",
            recurrent_activation="linear",
            threshold=1e6,
            output_mode="analog",
            return_sequences=True,
            seed=1,
            **{which: rate},
        )
        layer.build((None, None, units))
        to_o = np.zeros((units, 4 * units))
        to_o[:, 3 * units :] = np.eye(units)
        of_inputs = which == "dropout"
        bias = np.repeat([1, 0, 1, 0], units)
        one = np.ones(units)
        layer.set_weights([to_o * of_inputs, to_o * (not of_inputs), bias, one, 0 * one])
        run = tf.function(
            lambda x, state: layer(x, initial_state=state, training=True), jit_compile=jit_compile
        )
        x, state = tf.ones((100, steps, units)), [tf.ones((100, units))] * 2
        a, b = (np.asarray(run(x, state)) for _ in range(2))
        for outputs in (a, b):
            kept = outputs[:, 0] > 0
            power = np.ones(steps) if of_inputs else 1 + np.arange(steps)
            expected = kept[:, None] * 0.6 ** -power[:, None]
            np.testing.assert_allclose(outputs, expected, rtol=1e-5)
            assert abs(kept.mean() - 0.6) < 4 * math.sqrt(0.24 / kept.size)
        assert not np.array_equal(a, b)
        np.testing.assert_allclose(layer(x, initial_state=state), np.ones((100, steps, units)))


class TestWeights:
    def test_names_shapes_and_first_values(self):
        layer = LIFLSTM(3)
        layer.build((None, None, 2))
        for holder in (layer, layer.cell):
            assert [weight.name for weight in holder.weights] == NAMES
            shapes = [tuple(w.shape) for w in holder.weights]
            assert shapes == [(2, 12), (3, 12), (12,), (3,), (3,)]
        np.testing.assert_array_equal(layer.cell.bias, np.repeat([0, 1, 0, 0], 3))
        np.testing.assert_array_equal(layer.cell.leak, np.full(3, 0.3, "float32"))
        np.testing.assert_array_equal(layer.cell.membrane_bias, np.zeros(3))
        recurrent = np.asarray(layer.cell.recurrent_kernel)
        np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(3), atol=1e-6)

    def test_without_unit_forget_bias(self):
        layer = LIFLSTM(3, unit_forget_bias=False, bias_initializer=keras.initializers.Constant(2))
        layer.build((None, None, 2))
        np.testing.assert_array_equal(layer.cell.bias, np.full(12, 2))

    @pytest.mark.parametrize("name", NAMES)
    def test_each_weight_has_its_initializer_regularizer_and_constraint(self, name):
        prefix = name.replace("recurrent_kernel", "recurrent")
        arguments = {
            f"{prefix}_initializer": keras.initializers.Constant(0.5),
            f"{prefix}_regularizer": keras.regularizers.L1(2.0),
            f"{prefix}_constraint": keras.constraints.NonNeg(),
        }
        layer = LIFLSTM(3, unit_forget_bias=False, **arguments)
        layer.build((None, None, 2))
        weight = getattr(layer.cell, name)
        np.testing.assert_array_equal(weight, np.full(weight.shape, 0.5))
        assert [float(loss) for loss in layer.losses] == [pytest.approx(np.prod(weight.shape))]
        optimizer = keras.optimizers.SGD(1.0)
        optimizer.apply([tf.ones(w.shape) for w in layer.weights], layer.weights)
        np.testing.assert_array_equal(weight, np.zeros(weight.shape))
        for key, value in arguments.items():
            assert getattr(layer, key) is value
            copy = LIFLSTM.from_config(layer.get_config())
            assert copy.get_config()[key] == layer.get_config()[key]

    def test_the_leak_is_fixed_on_request(self):
        layer = LIFLSTM(3, learn_leak=False)
        layer.build((None, None, 2))
        assert [weight.name for weight in layer.weights] == NAMES
        assert [w.name for w in layer.trainable_weights] == [n for n in NAMES if n != "leak"]


class TestHalfPrecision:
    @pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
    def test_states_are_those_of_float32(self, policy):
        # Products that are exact in both half precisions: without recurrent weights, a sum of few.
        random = np.random.default_rng(5)
        weights = random_weights(random, 8, 16)
        weights["kernel"] = random.integers(-8, 9, (8, 64)) / 8
        weights["recurrent_kernel"] *= 0
        x = random.integers(0, 2, (3, 40, 8)).astype("float32")
        levels = random_levels(random, 16)
        spikes, u, c = layer_with(weights, "float32", **levels)(x)
        half = layer_with(weights, policy, **levels)(x)
        for actual, expected in zip(half, (spikes, u, c), strict=True):
            assert actual.dtype.name == policy.removeprefix("mixed_")
            np.testing.assert_array_equal(actual, tf.cast(expected, actual.dtype))
        assert 0.1 < np.mean(spikes) < 0.9


class TestArguments:
    def test_every_argument_is_kept(self):
        arguments = {
            "threshold": (0.25, -0.5),
            "reset": -0.75,
            "output_mode": "analog",
            "analog_source": "leaked",
            "use_bias": False,
            "use_membrane_bias": False,
            "learn_leak": False,
            "unit_forget_bias": False,
            "noise_stddev": 0.1,
            "dropout": 0.2,
            "recurrent_dropout": 0.3,
            "seed": 4,
            "return_sequences": True,
            "return_state": True,
            "go_backwards": True,
            "unroll": True,
            "zero_output_for_mask": False,
        }
        layer = LIFLSTM(
            2,
            activation="softsign",
            recurrent_activation="hard_sigmoid",
            surrogate="triangular",
            analog_activation="gelu",
            kernel_initializer="he_normal",
            name="hidden",
            dtype="mixed_float16",
            **arguments,
        )
        copy = LIFLSTM.from_config(layer.get_config())
        assert copy.get_config() == layer.get_config()
        assert {name: getattr(copy, name) for name in arguments} == arguments
        assert copy.surrogate == surrogates.Triangular()
        assert copy.activation is keras.activations.softsign
        assert copy.recurrent_activation is keras.activations.hard_sigmoid
        assert copy.analog_activation is keras.activations.gelu
        assert isinstance(copy.kernel_initializer, keras.initializers.HeNormal)

    def test_the_order_is_that_of_keras(self):
        for ours, theirs in (
            (LIFLSTM, keras.layers.LSTM),
            (LIFLSTMCell, keras.layers.LSTMCell),
        ):
            of_keras = list(inspect.signature(theirs.__init__).parameters)
            own = list(inspect.signature(ours.__init__).parameters)
            shared = [name for name in own if name in of_keras]
            assert shared == [name for name in of_keras if name in own]
            assert shared[:4] == ["self", "units", "activation", "recurrent_activation"]

    @pytest.mark.parametrize("kind", [LIFLSTM, LIFLSTMCell])
    @pytest.mark.parametrize(
        "arguments,message",
        [
            ({"units": 0}, r"`units` must be a positive integer\. Received: units=0"),
            (
                {"threshold": 1},
                r"`threshold` must be above -1 and below 1.*never fires.*=1\.0 \(unit 0\)",
            ),
            ({"threshold": [0.5, 0.5, 1.5]}, r"never fires.*threshold=1\.5 \(unit 2\)"),
            ({"threshold": -1, "reset": -2}, r"always fires.*threshold=-1\.0 \(unit 0\)"),
            ({"threshold": 1, "activation": "softsign"}, "`threshold` must be above -1"),
            ({"threshold": math.nan}, "`threshold` must be finite"),
            ({"reset": 0.5}, r"smaller than `threshold`.*reset=0\.5, threshold=0\.5 \(unit 0\)"),
            ({"noise_stddev": -0.1}, r"`noise_stddev` must be .*at least 0.*noise_stddev=-0\.1"),
            ({"dropout": 1}, "`dropout` must be at least 0 and below 1.*dropout=1"),
            ({"recurrent_dropout": -0.1}, "`recurrent_dropout` must be at least 0"),
            ({"leak_initializer": 1.5}, "range of its constraint.*leak_initializer=1.5.*LeakRange"),
            ({"output_mode": "mem"}, "`output_mode` must be one of spike, analog.*'mem'"),
            ({"analog_source": None}, "`analog_source` must be one of integrated, .*None"),
        ],
    )
    def test_errors_name_the_layer_and_what_is_wrong(self, kind, arguments, message):
        name = "hidden_cell" if kind is LIFLSTM else "hidden"
        with pytest.raises(ValueError, match=f"LIFLSTMCell '{name}': .*{message}"):
            kind(**{"units": 3, "name": "hidden", **arguments})

    @pytest.mark.parametrize(
        "arguments", [{"activation": "relu"}, {"recurrent_activation": "softplus"}], ids=str
    )
    def test_the_threshold_is_free_where_the_hidden_state_is(self, arguments):
        assert LIFLSTM(3, threshold=2.0, **arguments).threshold == 2.0

    def test_unknown_surrogates_are_answered_with_the_known_ones(self):
        with pytest.raises(ValueError, match="rectangular, gaussian"):
            LIFLSTM(3, surrogate="heaviside")

    def test_images_must_be_flattened(self):
        layer = keras.layers.RNN(LIFLSTMCell(3, name="hidden"))
        with pytest.raises(ValueError, match="'hidden': the inputs of one step.*Flatten"):
            layer(np.zeros((2, 5, 4, 4), "float32"))


@pytest.mark.parametrize("output_mode", ["spike", "analog"])
def test_it_learns_digits_as_rows(output_mode):
    """28 rows of 28 brightnesses, with the defaults. Chance is 0.1."""

    def layers():
        hidden = LIFLSTM(64, output_mode=output_mode, return_sequences=True)
        return [hidden, TimeSum(mean=True), keras.layers.Dense(10)]

    _, accuracy = learned(layers, *digits(2420), 1920, 4, learning_rate=0.01, batch_size=64)
    assert accuracy > 0.7
