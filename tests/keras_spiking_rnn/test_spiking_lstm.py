"""Spiking LSTM against its equations, written out in NumPy from the paper."""

import inspect
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from digits import digits, learned
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_spiking_rnn import PoissonEncoder, SpikingLSTM, SpikingLSTMCell, TimeSum, surrogates
from keras_spiking_rnn.metrics import trace
from keras_spiking_rnn.spiking_lstm import PAPER, scaled_gradient, spike, spiking_lstm_step

GATES = "ifgo"


def random_weights(random, inputs, units, spread=1.0):
    return [
        random.normal(0, spread, (inputs, 4 * units)),
        random.normal(0, spread, (units, 4 * units)),
        random.normal(0, 0.5, 4 * units),
    ]


def forward(x, kernel, recurrent_kernel, bias, theta_1=0.1, theta_2=0.1):
    """Equation (1) for one sequence, one unit and gate at a time: a list of dictionaries."""
    units = recurrent_kernel.shape[0]
    h, c = np.zeros(units), np.zeros(units)
    steps = []
    for x_t in x:
        step = {name: np.zeros(units) for name in ("f", "i", "g", "o", "sum", "c", "h")}
        step |= {"u": np.zeros((4, units)), "c_before": c, "h_before": h}
        for n in range(units):
            u = {}
            for k, gate in enumerate(GATES):
                column = k * units + n
                u[gate] = (
                    sum(recurrent_kernel[m, column] * h[m] for m in range(units))
                    + sum(kernel[m, column] * x_t[m] for m in range(len(x_t)))
                    + bias[column]
                )
                step["u"][k, n] = u[gate]
            f, i, o = (1 if u[gate] > theta_1 else 0 for gate in "fio")
            g = 1 if u["g"] > theta_2 else 0
            total = f * c[n] + i * g
            c_n = 1 if total in (1, 2) else 0
            for name, value in zip(
                ("f", "i", "g", "o", "sum", "c", "h"),
                (f, i, g, o, total, c_n, o * c_n),
                strict=True,
            ):
                step[name][n] = value
        h, c = step["h"], step["c"]
        steps.append(step)
    return steps


def layer_with(weights, dtype="float64", **arguments):
    inputs, gates = weights[0].shape
    layer = SpikingLSTM(
        gates // 4,
        dtype=dtype,
        **{**PAPER, "return_sequences": True, "return_state": True, **arguments},
    )
    layer.build((None, None, inputs))
    layer.set_weights(weights)
    return layer


class TestEquations:
    @pytest.mark.parametrize("seed", range(4))
    def test_layer_follows_the_paper(self, seed):
        random = np.random.default_rng(seed)
        weights = random_weights(random, 4, 5)
        weights[2] += 0.5
        thresholds = random.uniform(-0.5, 0.5, 2)
        x = (random.random((2, 60, 4)) < 0.5).astype("float64")
        layer = layer_with(weights, gate_threshold=thresholds[0], candidate_threshold=thresholds[1])
        outputs, h, c = (np.asarray(values) for values in layer(x))
        for n in range(2):
            expected = forward(x[n], *weights, *thresholds)
            np.testing.assert_array_equal(outputs[n], [step["h"] for step in expected])
            np.testing.assert_array_equal(h[n], expected[-1]["h"])
            np.testing.assert_array_equal(c[n], expected[-1]["c"])
        assert 0.05 < outputs.mean() < 0.95

    @given(
        weights=st.lists(st.integers(-3, 3), min_size=12, max_size=12),
        x=st.lists(st.integers(0, 2), min_size=1, max_size=8),
        thresholds=st.tuples(st.integers(-2, 2), st.integers(-2, 2)),
    )
    @settings(max_examples=40, deadline=None)
    def test_exactly_in_float32_with_many_ties(self, weights, x, thresholds):
        weights = [w / 2 for w in np.split(np.array(weights, "float32"), 3)]
        weights = [weights[0][None], weights[1][None], weights[2]]
        theta_1, theta_2 = (value / 2 for value in thresholds)
        layer = layer_with(weights, "float32", gate_threshold=theta_1, candidate_threshold=theta_2)
        x = np.array(x, "float32")[:, None]
        expected = forward(x, *weights, theta_1, theta_2)
        np.testing.assert_array_equal(layer(x[None])[0][0], [step["h"] for step in expected])

    def test_a_unit_fires_above_the_threshold_and_not_at_it(self):
        u = tf.constant([[0.125 - 2**-20, 0.125, 0.125 + 2**-20]])
        spikes = spike(u, 0.125, surrogates.Gaussian(4.0))
        np.testing.assert_array_equal(spikes, [[0, 0, 1]])

    def test_all_32_cases_of_one_step(self):
        cases = np.array(np.meshgrid(*[[0, 1]] * 5)).reshape(5, -1).astype("float32")
        i, f, g, o, c_before = cases
        u = [tf.constant(2 * gate - 1)[None] for gate in (i, f, g, o)]
        h, c = spiking_lstm_step(*u, tf.constant(c_before)[None])
        expected = np.logical_or(np.logical_and(f, c_before), np.logical_and(i, g))
        np.testing.assert_array_equal(c[0], expected)
        np.testing.assert_array_equal(h[0], np.logical_and(o, expected))

    def test_the_order_of_the_gates_is_that_of_keras(self):
        # Without forgetting, Keras' unit state is 0 or 1 too, and passes a step unchanged.
        random = np.random.default_rng(3)
        weights = random_weights(random, 4, 6)
        weights[2][6:12] = -1e3

        def step(u):
            return tf.cast(u > 0.1, u.dtype)

        lstm = keras.layers.LSTM(
            6, activation=step, recurrent_activation=step, return_sequences=True, dtype="float64"
        )
        x = random.normal(size=(3, 12, 4))
        lstm.build(x.shape)
        lstm.set_weights(weights)
        spikes = layer_with(weights)(x)[0]
        np.testing.assert_array_equal(lstm(x), spikes)
        assert 0.05 < np.mean(spikes) < 0.95

    def test_without_bias(self):
        weights = random_weights(np.random.default_rng(2), 3, 4)
        x = np.random.default_rng(0).normal(size=(2, 9, 3))
        layer = SpikingLSTM(4, use_bias=False, return_sequences=True, dtype="float64")
        layer.build(x.shape)
        layer.set_weights(weights[:2])
        expected = layer_with([*weights[:2], np.zeros(16)])(x)[0]
        np.testing.assert_array_equal(layer(x), expected)

    def test_states_are_the_output_and_the_unit_state(self):
        cell = SpikingLSTMCell(3)
        assert cell.state_size == [3, 3]
        for state in cell.get_initial_state(2):
            np.testing.assert_array_equal(state, np.zeros((2, 3)))
        output, (h, _) = cell(np.ones((2, 4), "float32"), cell.get_initial_state(2))
        np.testing.assert_array_equal(output, h)

    def test_a_step_shows_potentials_and_unit_state(self):
        weights = random_weights(np.random.default_rng(1), 4, 5)
        x = np.random.default_rng(0).normal(size=(1, 10, 4))
        layer = layer_with(weights)
        recorded = trace(layer, x)
        expected = forward(x[0], *weights)
        assert list(recorded) == ["spikes", "input", "forget", "candidate", "output", "cell"]
        for k, name in enumerate(("input", "forget", "candidate", "output")):
            np.testing.assert_allclose(recorded[name][0], [step["u"][k] for step in expected])
        np.testing.assert_array_equal(recorded["cell"][0], [step["c"] for step in expected])


def backward(steps, x, weights, dh_each, dc_last, f_1, f_2, **variant):
    """Equation (4), for one sequence: gradients of inputs, kernel, recurrent kernel and bias.

    `variant` has `delta(u, theta)`, the argument of the surrogates, `gamma`, and `f_c`, the
    derivative of the threshold of the unit state.
    """
    kernel, recurrent_kernel, _ = weights
    delta, gamma, f_c = variant["delta"], variant["gamma"], variant["f_c"]
    d_x, d_weights = np.zeros_like(x), [np.zeros_like(weight) for weight in weights]
    dh_next, dc_next = np.zeros(len(recurrent_kernel)), dc_last
    for t in reversed(range(len(steps))):
        s = steps[t]
        u_i, u_f, u_g, u_o = s["u"]
        dh = dh_each[t] + dh_next
        do = s["c"] * dh
        dc = np.where(s["sum"] == 2, gamma, 1) * s["o"] * dh + dc_next
        through = dc * f_c(s["sum"])
        di, dg, df = s["g"] * through, s["i"] * through, s["c_before"] * through
        du = np.concatenate(
            [
                di * f_1(delta(u_i)),
                df * f_1(delta(u_f)),
                dg * f_2(delta(u_g)),
                do * f_1(delta(u_o)),
            ]
        )
        d_x[t] = kernel @ du
        d_weights[0] += np.outer(x[t], du)
        d_weights[1] += np.outer(s["h_before"], du)
        d_weights[2] += du
        dh_next, dc_next = recurrent_kernel @ du, s["f"] * dc
    return [d_x, *d_weights]


def gaussian(alpha):
    return lambda delta: np.exp(-(delta**2) / alpha) / np.sqrt(np.pi * alpha)


class TestGradients:
    @pytest.mark.parametrize(
        "gamma,two_sided,cell_alpha,unroll",
        [
            (1.0, True, None, False),
            (0.3, True, None, False),
            (0.0, False, None, True),
            (1.0, False, 4.0, False),
            (0.3, True, 0.3, True),
        ],
    )
    def test_backpropagation_through_time_by_hand(self, gamma, two_sided, cell_alpha, unroll):
        random = np.random.default_rng(4)
        weights = random_weights(random, 4, 6, spread=0.5)
        weights[2] += 0.3  # Enough activity for saturated unit states.
        layer = layer_with(
            weights,
            two_sided=two_sided,
            gamma=gamma,
            cell_surrogate=cell_alpha and surrogates.Gaussian(cell_alpha),
            unroll=unroll,
        )
        x = (random.random((3, 9, 4)) < 0.5).astype("float64")
        dh, dc = random.normal(size=(3, 9, 6)), random.normal(size=(3, 6))
        expected, saturated = [], 0
        for n in range(3):
            steps = forward(x[n], *weights)
            saturated += sum((step["sum"] == 2).sum() for step in steps)
            expected.append(
                backward(
                    steps,
                    x[n],
                    weights,
                    dh[n],
                    dc[n],
                    gaussian(4),
                    gaussian(0.3),
                    gamma=gamma,
                    delta=(lambda u: np.abs(u) - 0.1) if two_sided else (lambda u: u - 0.1),
                    f_c=(lambda total: gaussian(cell_alpha)(total - 0.1))
                    if cell_alpha
                    else (lambda total: 1),
                )
            )
        assert saturated > 10
        inputs = tf.constant(x)

        @tf.function
        def gradients(inputs):
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                outputs, _, c = layer(inputs)
                loss = tf.reduce_sum(outputs * dh) + tf.reduce_sum(c * dc)
            return tape.gradient(loss, [inputs, *(w.value for w in layer.trainable_weights)])

        d_x, *d_weights = gradients(inputs)
        np.testing.assert_allclose(d_x, [e[0] for e in expected], rtol=1e-9, atol=1e-11)
        for actual, *parts in zip(d_weights, *(e[1:] for e in expected), strict=True):
            assert np.abs(actual).max() > 0.1
            np.testing.assert_allclose(actual, sum(parts), rtol=1e-9, atol=1e-11)

    @pytest.mark.parametrize(
        "two_sided,at",
        [
            (True, {0.1: 0.282095, -0.1: 0.282095, 1.1: 0.219696, -1.1: 0.219696, 2.1: 0.103777}),
            (False, {0.1: 0.282095, -0.9: 0.219696, 1.1: 0.219696, -1.9: 0.103777}),
        ],
    )
    def test_equation_2(self, two_sided, at):
        u = tf.constant(list(at), "float64")
        with tf.GradientTape() as tape:
            tape.watch(u)
            spikes = spike(u, 0.1, SpikingLSTM(1, **PAPER).gate_surrogate, two_sided)
        np.testing.assert_allclose(tape.gradient(spikes, u), list(at.values()), atol=5e-7)

    def test_the_threshold_is_mirrored_whatever_its_sign(self):
        u = tf.constant([-0.5, 0.5, 0.0], "float64")
        with tf.GradientTape() as tape:
            tape.watch(u)
            spikes = spike(u, -0.5, surrogates.Gaussian(0.3), two_sided=True)
        np.testing.assert_array_equal(spikes, [0, 1, 1])
        expected = [1.030065, 1.030065, 0.447664]
        np.testing.assert_allclose(tape.gradient(spikes, u), expected, atol=5e-7)

    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_scaling_a_gradient_leaves_the_value(self, jit_compile):
        x = tf.constant(
            np.random.default_rng(0).normal(size=1000) * 10.0 ** np.arange(-15, 10, 0.025)
        )

        @tf.function(jit_compile=jit_compile)
        def run(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = scaled_gradient(x, tf.constant(0.3, x.dtype))
            return y, tape.gradient(y, x)

        y, gradient = run(x)
        np.testing.assert_array_equal(y, x)
        np.testing.assert_allclose(gradient, np.full(1000, 0.3))


class TestWeights:
    NAMES = ["kernel", "recurrent_kernel", "bias"]

    def test_names_and_shapes(self):
        layer = SpikingLSTM(3)
        layer.build((None, None, 2))
        for holder in (layer, layer.cell):
            assert [weight.name for weight in holder.weights] == self.NAMES
            assert [tuple(w.shape) for w in holder.weights] == [(2, 12), (3, 12), (12,)]

    def test_the_paper_has_a_standard_normal_distribution(self):
        layers = [SpikingLSTM(40, **PAPER), SpikingLSTM(40, **PAPER)]
        kernels = []
        for layer in layers:
            layer.build((None, None, 40))
            *two, bias = layer.get_weights()
            kernels += two
            np.testing.assert_array_equal(bias, np.zeros(160))
        for index, kernel in enumerate(kernels):
            assert abs(kernel.mean()) < 4 / math.sqrt(kernel.size)
            assert abs(kernel.var() - 1) < 4 * math.sqrt(2 / kernel.size)
            assert not any(np.array_equal(kernel, other) for other in kernels[:index])

    def test_unit_forget_bias(self):
        layer = SpikingLSTM(3, unit_forget_bias=True, bias_initializer="zeros")
        tf.function(lambda x: layer(x))(tf.zeros((1, 2, 2)))  # Built within a graph.
        expected = np.repeat([0, 1, 0, 0], 3)
        np.testing.assert_array_equal(layer.cell.bias, expected)

    @pytest.mark.parametrize("name", NAMES)
    def test_each_weight_has_its_initializer_regularizer_and_constraint(self, name):
        prefix = name.replace("recurrent_kernel", "recurrent")
        arguments = {
            f"{prefix}_initializer": keras.initializers.Constant(0.5),
            f"{prefix}_regularizer": keras.regularizers.L1(2.0),
            f"{prefix}_constraint": keras.constraints.NonNeg(),
        }
        layer = SpikingLSTM(3, **arguments)
        layer.build((None, None, 2))
        weight = getattr(layer.cell, name)
        np.testing.assert_array_equal(weight, np.full(weight.shape, 0.5))
        assert [float(loss) for loss in layer.losses] == [pytest.approx(np.prod(weight.shape))]
        optimizer = keras.optimizers.SGD(1.0)
        optimizer.apply([tf.ones(w.shape) for w in layer.weights], layer.weights)
        np.testing.assert_array_equal(weight, np.zeros(weight.shape))
        for key, value in arguments.items():
            assert getattr(layer, key) is value
            copy = SpikingLSTM.from_config(layer.get_config())
            assert copy.get_config()[key] == layer.get_config()[key]


class TestDropout:
    @pytest.mark.parametrize("which", ["dropout", "recurrent_dropout"])
    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_one_mask_a_sequence(self, which, jit_compile):
        # Unit n writes at each step, and its output gate opens if input or output n is not
        # dropped. An output that is 0 once remains so, by way of the recurrent weights.
        units, rate = 50, 0.4
        layer = SpikingLSTM(units, return_sequences=True, seed=1, **{which: rate})
        layer.build((None, None, units))
        to_o = np.zeros((units, 4 * units))
        to_o[:, 3 * units :] = np.eye(units)
        bias = np.repeat([1, 0, 1, -0.5], units)
        first = which == "dropout"
        layer.set_weights([to_o * first, to_o * (not first), bias])
        run = tf.function(
            lambda x, state: layer(x, initial_state=state, training=True), jit_compile=jit_compile
        )
        x, state = tf.ones((100, 6, units)), [tf.ones((100, units))] * 2
        a, b = (np.asarray(run(x, state)) for _ in range(2))
        for outputs in (a, b):
            np.testing.assert_array_equal(outputs, outputs[:, :1].repeat(6, axis=1))
            kept = outputs[:, 0].mean()
            assert abs(kept - 0.6) < 4 * math.sqrt(0.24 / (100 * units))
        assert not np.array_equal(a, b)
        assert np.asarray(layer(x, initial_state=state)).all(), "dropped at inference"


class TestHalfPrecision:
    @pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
    def test_spikes_are_those_of_float32(self, policy):
        # Products that are exact in both half precisions.
        random = np.random.default_rng(5)
        weights = [random.integers(-8, 9, shape) / 8 for shape in [(8, 64), (16, 64), (64,)]]
        x = random.integers(0, 2, (3, 40, 8)).astype("float32")
        outputs, h, c = layer_with(weights, "float32")(x)
        half = layer_with(weights, policy)(x)
        for actual, expected in zip(half, (outputs, h, c), strict=True):
            assert actual.dtype.name == policy.removeprefix("mixed_")
            np.testing.assert_array_equal(tf.cast(actual, "float32"), expected)
        assert 0.05 < np.mean(outputs) < 0.95


class TestArguments:
    def test_the_arguments_of_the_paper(self):
        layer = SpikingLSTM(3, **PAPER)
        assert (layer.gate_threshold, layer.candidate_threshold) == (0.1, 0.1)
        assert layer.gate_surrogate == surrogates.Gaussian(4.0)
        assert layer.candidate_surrogate == surrogates.Gaussian(0.3)
        assert (layer.two_sided, layer.gamma, layer.cell_surrogate) == (True, 1.0, None)
        assert not layer.unit_forget_bias

    def test_every_argument_is_kept(self):
        arguments = {
            "gate_threshold": 0.25,
            "candidate_threshold": -0.5,
            "two_sided": False,
            "gamma": 0.5,
            "use_bias": False,
            "unit_forget_bias": True,
            "dropout": 0.2,
            "recurrent_dropout": 0.3,
            "seed": 4,
            "return_sequences": True,
            "return_state": True,
            "go_backwards": True,
            "unroll": True,
            "zero_output_for_mask": False,
        }
        layer = SpikingLSTM(
            2,
            gate_surrogate="triangular",
            candidate_surrogate=surrogates.Sigmoid(3.0),
            cell_surrogate="gaussian",
            kernel_initializer="he_normal",
            name="hidden",
            dtype="mixed_float16",
            **arguments,
        )
        copy = SpikingLSTM.from_config(layer.get_config())
        assert copy.get_config() == layer.get_config()
        assert {name: getattr(copy, name) for name in arguments} == arguments
        assert copy.gate_surrogate == surrogates.Triangular()
        assert copy.candidate_surrogate == surrogates.Sigmoid(3.0)
        assert copy.cell_surrogate == surrogates.Gaussian()
        assert isinstance(copy.kernel_initializer, keras.initializers.HeNormal)

    @pytest.mark.parametrize("kind", [SpikingLSTM, SpikingLSTMCell])
    @pytest.mark.parametrize(
        "arguments,message",
        [
            ({"units": 0}, r"`units` must be a positive integer\. Received: units=0"),
            ({"gate_threshold": math.nan}, "`gate_threshold` must be a finite number"),
            ({"gate_threshold": [0.1] * 3}, "`gate_threshold` must be a finite number"),
            ({"candidate_threshold": "low"}, "`candidate_threshold` must be a finite number"),
            ({"gamma": 1.5}, r"`gamma` must be .*at least 0 and at most 1\. Received: gamma=1\.5"),
            ({"gamma": -0.1}, "`gamma` must be a finite number"),
            ({"dropout": 1}, "`dropout` must be at least 0 and below 1.*dropout=1"),
            ({"recurrent_dropout": -0.1}, "`recurrent_dropout` must be at least 0"),
        ],
    )
    def test_errors_name_the_layer_and_what_is_wrong(self, kind, arguments, message):
        name = "hidden_cell" if kind is SpikingLSTM else "hidden"
        with pytest.raises(ValueError, match=f"SpikingLSTMCell '{name}': .*{message}"):
            kind(**{"units": 3, "name": "hidden", **arguments})

    @pytest.mark.parametrize("name", ["gate_surrogate", "candidate_surrogate", "cell_surrogate"])
    def test_unknown_surrogates_are_answered_with_the_known_ones(self, name):
        with pytest.raises(ValueError, match="rectangular, gaussian"):
            SpikingLSTM(3, **{name: "heaviside"})


def test_it_learns_digits_as_rows():
    """28 rows of 28 Poisson spikes, with the defaults. Chance is 0.1."""

    def layers():
        return [SpikingLSTM(64, return_sequences=True), TimeSum(mean=True), keras.layers.Dense(10)]

    x, y = digits(4000)
    rows = np.asarray(PoissonEncoder(1, seed=1)(x.reshape(-1, 784))).reshape(-1, 28, 28)
    _, accuracy = learned(layers, rows, y, 3200, 5, learning_rate=0.03, batch_size=64)
    assert accuracy > 0.7


def test_the_defaults_are_those_of_the_documentation():
    """The cell and the layer have the same, and so has the equation."""
    cell, layer = SpikingLSTMCell(2).get_config(), SpikingLSTM(2).get_config()
    for name in PAPER:
        assert cell[name] == layer[name], name
    surrogate = keras.saving.deserialize_keras_object(cell["cell_surrogate"])
    assert surrogate.get_config() == surrogates.Gaussian(0.3).get_config()
    assert isinstance(surrogate, surrogates.Gaussian)
    assert cell["two_sided"] is False
    assert cell["kernel_initializer"]["class_name"] == "HeNormal"
    assert cell["recurrent_initializer"]["class_name"] == "Orthogonal"
    of_step = inspect.signature(spiking_lstm_step).parameters
    assert of_step["two_sided"].default is False
    assert of_step["cell_surrogate"].default.get_config() == surrogate.get_config()
