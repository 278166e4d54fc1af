"""Spiking Recurrent Cell against its equations, written out in NumPy from the paper."""

import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from digits import digits, learned

from keras_spiking_rnn import SRC, LeakyReadout, SRCCell
from keras_spiking_rnn.metrics import activity, firing_rates, trace
from keras_spiking_rnn.src import UpperBound, src_step

PAPER = {"alpha": 0.9, "rho": 3.0, "r": 2.0, "r_s": -7.0, "z": 0.0, "z_hyp": 0.9, "z_dep": 0.0}


def forward(s_in, W_s, b_h, lagging_gate=False, states=None, **parameters):  # noqa: N803
    """Equations (5a) to (5f) for one sequence, one unit at a time: arrays `(steps, units)`."""
    p = {**PAPER, **parameters}
    steps, units = len(s_in), W_s.shape[1]
    result = {name: np.zeros((steps, units)) for name in ("i", "x", "h", "h_s", "s", "a", "z_s")}
    for n in range(units):
        i, h, h_s = (0.0, 0.0, 0.0) if states is None else (state[n] for state in states)
        for t in range(steps):
            i = p["alpha"] * i + sum(W_s[j, n] * s_in[t, j] for j in range(s_in.shape[1]))  # (5a)
            x = p["rho"] * math.tanh(i / p["rho"])  # (5b)
            a = math.tanh(x + p["r"] * h + p["r_s"] * h_s + b_h[n])  # (3a)
            h_new = p["z"] * h + (1 - p["z"]) * a  # (3b); (5d) with z = 0
            gate = h if lagging_gate else h_new
            z_s = p["z_hyp"] + (p["z_dep"] - p["z_hyp"]) * (1 if gate - 0.5 > 0 else 0)  # (5c)
            h_s = z_s * h_s + (1 - z_s) * h  # (5e)
            h = h_new
            s = max(h, 0.0)  # (5f)
            for name, value in zip(result, (i, x, h, h_s, s, a, z_s), strict=True):
                result[name][t, n] = value
    return result


def layer_with(W_s, b_h, dtype="float64", **arguments):  # noqa: N803
    layer = SRC(
        W_s.shape[1],
        dtype=dtype,
        bias_constraint=None,
        **{"return_sequences": True, "return_state": True, **arguments},
    )
    layer.build((None, None, W_s.shape[0]))
    layer.set_weights([W_s, b_h])
    return layer


def sample(seed, inputs=4, units=5, batch=2, steps=60):
    random = np.random.default_rng(seed)
    W_s = random.normal(0.3, 0.6, (inputs, units))  # noqa: N806
    b_h = random.uniform(-6, -4, units)
    return W_s, b_h, (random.random((batch, steps, inputs)) < 0.4).astype("float64")


def pulses(s):
    """Number of times that `s` rises above 0."""
    on = np.concatenate([[False], np.asarray(s) > 0])
    return int((on[1:] & ~on[:-1]).sum())


class TestEquations:
    @pytest.mark.parametrize(
        "parameters",
        [
            {},
            {"alpha": 0.99},
            {"lagging_gate": True},
            {"rho": 2.0, "r": 1.5, "r_s": -5.0, "z": 0.2, "z_hyp": 0.8, "z_dep": 0.1},
        ],
        ids=str,
    )
    def test_layer_follows_the_paper(self, parameters):
        W_s, b_h, s_in = sample(0)  # noqa: N806
        outputs, *states = (
            np.asarray(values) for values in layer_with(W_s, b_h, **parameters)(s_in)
        )
        for n in range(len(s_in)):
            expected = forward(s_in[n], W_s, b_h, **parameters)
            np.testing.assert_allclose(outputs[n], expected["s"], rtol=1e-9, atol=1e-10)
            for state, name in zip(states, ("i", "h", "h_s"), strict=True):
                np.testing.assert_allclose(state[n], expected[name][-1], rtol=1e-9, atol=1e-10)
        assert 0.02 < (outputs > 0).mean() < 0.5

    def test_in_float32(self):
        # Each step from the exact states: over many steps rounding moves pulses.
        W_s, b_h, s_in = sample(1)  # noqa: N806
        cell = layer_with(W_s, b_h, "float32").cell
        exact = forward(s_in[0], W_s, b_h)
        for t in range(1, 60):
            before = [exact[name][t - 1 : t].astype("float32") for name in ("i", "h", "h_s")]
            s, after = cell(s_in[0, t : t + 1].astype("float32"), before)
            np.testing.assert_allclose(s, exact["s"][t : t + 1], atol=1e-5)
            for state, name in zip(after, ("i", "h", "h_s"), strict=True):
                np.testing.assert_allclose(state, exact[name][t : t + 1], rtol=1e-5, atol=1e-5)

    def test_one_step_by_hand(self):
        s, i, h, h_s, x = src_step(
            tf.constant([[1.0, 1.0]], "float64"),
            i=tf.constant([[2.0, 2.0]], "float64"),
            h=tf.constant([[0.25, -0.5]], "float64"),
            h_s=tf.constant([[0.5, 0.125]], "float64"),
            b_h=np.array([4.0, -4.0]),
        )
        x_expected = 3 * math.tanh(2.8 / 3)
        np.testing.assert_allclose(i, [[2.8, 2.8]])
        np.testing.assert_allclose(x, [[x_expected] * 2])
        hidden = [math.tanh(x_expected + 0.5 - 3.5 + 4), math.tanh(x_expected - 1 - 0.875 - 4)]
        np.testing.assert_allclose(h, [hidden])
        assert hidden[0] > 0.5 > 0 > hidden[1]
        np.testing.assert_allclose(h_s, [[0.25, 0.9 * 0.125 - 0.1 * 0.5]])
        np.testing.assert_allclose(s, [[hidden[0], 0]])

    def test_states_in_their_order(self):
        cell = SRCCell(3)
        assert cell.state_size == [3, 3, 3]
        W_s, b_h, s_in = sample(2, batch=1, steps=20)  # noqa: N806
        random = np.random.default_rng(0)
        states = [random.normal(0, scale, 5) for scale in (2, 0.5, 0.3)]
        outputs = layer_with(W_s, b_h)(s_in, initial_state=[s[None] for s in states])[0]
        expected = forward(s_in[0], W_s, b_h, states=states)
        np.testing.assert_allclose(outputs[0], expected["s"], rtol=1e-9, atol=1e-10)

    def test_a_step_shows_the_inside(self):
        W_s, b_h, s_in = sample(3, batch=1)  # noqa: N806
        recorded = trace(layer_with(W_s, b_h), s_in)
        expected = forward(s_in[0], W_s, b_h)
        shown = {"spikes": "s", "integrator": "i", "input": "x", "hidden": "h", "slow": "h_s"}
        assert list(recorded) == list(shown)
        for name, symbol in shown.items():
            np.testing.assert_allclose(recorded[name][0], expected[symbol], rtol=1e-9, atol=1e-10)


def response(x, b_h, steps=200, **arguments):
    """Trace of a neuron whose spike generation has the constant input `x`: (5b) is passed by."""
    layer = SRC(
        1,
        alpha=0.0,
        rho=2.0**40,
        kernel_initializer="ones",
        bias_initializer=b_h,
        dtype="float64",
        **arguments,
    )
    s_in = np.full((1, steps, 1), x, "float64")
    layer.build(s_in.shape)
    return {name: values[0, :, 0] for name, values in trace(layer, s_in).items()}


class TestPulses:
    @pytest.mark.parametrize(
        "b_h,x,expected,relative",
        [
            (-6, 0, 0, 0.0),
            (-6, 1, 0, 0.0),
            (-6, 2, 10, 0.095),
            (-6, 3, 14, 0.115),
            (-5, 0, 0, 0.0),
            (-5, 1, 10, 0.095),
            (-5, 2, 14, 0.115),
            (-5, 3, 15, 0.15),
            (-4, 0, 10, 0.095),
            (-4, 1, 14, 0.115),
            (-4, 2, 15, 0.15),
            (-4, 3, 18, 0.21),
        ],
    )
    def test_number_and_activity_at_constant_input(self, b_h, x, expected, relative):
        s = response(x, b_h)["spikes"]
        assert pulses(s) == expected
        assert activity(s[None, :, None]) == pytest.approx(relative, abs=1e-9)

    def test_first_values(self):
        expected = [-0.9951, -0.9999, -0.9996, -0.9987, -0.9960, -0.9888, -0.9714, -0.9324]
        np.testing.assert_allclose(response(3, -6)["hidden"][:8], expected, atol=5e-5)

    def test_a_gate_that_lags_makes_fewer_and_longer_pulses(self):
        new, lagging = (response(2, -6, lagging_gate=lag)["spikes"] for lag in (False, True))
        assert (pulses(new), pulses(lagging)) == (10, 8)
        assert (new > 0).sum() / 10 < (lagging > 0).sum() / 8

    def test_the_bias_decides_whether_a_neuron_fires_without_input(self):
        # Figure 1: with a bias of -4 it does, with -5 it does not.
        layer = SRC(2, return_sequences=True)
        layer.build((1, 200, 1))
        layer.set_weights([np.zeros((1, 2)), np.array([-5, -4])])
        s = np.asarray(layer(np.zeros((1, 200, 1))))[0]
        assert pulses(s[:, 0]) == 0
        assert pulses(s[:, 1]) == 10

    def test_pulses_are_graded_and_last_some_steps(self):
        s = response(3, -6)["spikes"]
        assert len(np.unique(s)) > 10
        assert 0 <= s.min() < 0.9 < s.max() < 1

    def test_the_firing_rate_of_a_layer_is_its_mean_activity(self):
        W_s, b_h, s_in = sample(4)  # noqa: N806
        layer = layer_with(W_s, b_h, return_state=False, name="src")
        outputs = layer(s_in)
        relative = activity(outputs)
        assert relative.shape == (2, 5)
        assert firing_rates(layer, s_in) == {"src": pytest.approx(relative.mean())}


def backward(result, s_in, W_s, ds, states_last, **arguments):  # noqa: N803
    """Backpropagation through time of one sequence by hand: gradients of `s_in`, `W_s`, `b_h`."""
    p = {**PAPER, **arguments}
    d_in, dW, db = np.zeros_like(s_in), np.zeros_like(W_s), np.zeros(W_s.shape[1])  # noqa: N806
    di, dh, dh_s = states_last
    for t in reversed(range(len(s_in))):
        z_s, x, h, a = (result[name][t] for name in ("z_s", "x", "h", "a"))
        dh = dh + ds[t] * (1 if p["bypass_relu"] else h > 0)
        du = dh * (1 - p["z"]) * (1 - a**2)
        dh_before = p["z"] * dh + p["r"] * du + (1 - z_s) * dh_s
        dh_s_before = p["r_s"] * du + z_s * dh_s
        di = di + du * (1 - (x / p["rho"]) ** 2)
        db += du
        dW += np.outer(s_in[t], di)
        d_in[t] = W_s @ di
        di = p["alpha"] * di
        dh = dh_before * (not p["detach_h"])
        dh_s = dh_s_before * (not p["detach_h_s"])
    return d_in, dW, db


class TestGradients:
    @pytest.mark.parametrize(
        "bypass_relu,detach_h,detach_h_s", itertools.product([True, False], repeat=3)
    )
    def test_backpropagation_through_time_by_hand(self, bypass_relu, detach_h, detach_h_s):
        arguments = {
            "bypass_relu": bypass_relu,
            "detach_h": detach_h,
            "detach_h_s": detach_h_s,
            "z": 0.1,
        }
        W_s, b_h, s_in = sample(5, steps=30)  # noqa: N806
        layer = layer_with(W_s, b_h, **arguments)
        random = np.random.default_rng(1)
        ds, d_states = random.normal(size=(2, 30, 5)), random.normal(size=(3, 2, 5))
        expected = [
            backward(
                forward(s_in[n], W_s, b_h, z=0.1), s_in[n], W_s, ds[n], d_states[:, n], **arguments
            )
            for n in range(2)
        ]
        inputs = tf.constant(s_in)

        @tf.function
        def gradients(inputs):
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                outputs, *states = layer(inputs)
                loss = tf.reduce_sum(outputs * ds) + tf.reduce_sum(tf.stack(states) * d_states)
            return tape.gradient(loss, [inputs, layer.cell.kernel.value, layer.cell.bias.value])

        d_in, *d_weights = gradients(inputs)
        np.testing.assert_allclose(d_in, [e[0] for e in expected], rtol=1e-8, atol=1e-10)
        for actual, *parts in zip(d_weights, *(e[1:] for e in expected), strict=True):
            assert np.abs(actual).max() > 1e-3
            np.testing.assert_allclose(actual, sum(parts), rtol=1e-8, atol=1e-10)

    def test_finite_differences(self):
        # Nothing bypassed, nothing detached: smooth but for the jump of z_s and the corner of ReLU.
        W_s, b_h, s_in = sample(6, inputs=3, units=2, batch=1, steps=30)  # noqa: N806
        layer = layer_with(W_s, b_h, bypass_relu=False, detach_h=False, detach_h_s=False)
        random = np.random.default_rng(2)
        ds, d_states = random.normal(size=(1, 30, 2)), random.normal(size=(3, 1, 2))

        @tf.function
        def loss(W_s, b_h, s_in):  # noqa: N803
            layer.cell.kernel.assign(W_s)
            layer.cell.bias.assign(b_h)
            outputs, *states = layer(s_in)
            return tf.reduce_sum(outputs * ds) + tf.reduce_sum(tf.stack(states) * d_states)

        arrays = [W_s, b_h, s_in]
        tensors = [tf.constant(array) for array in arrays]
        with tf.GradientTape() as tape:
            tape.watch(tensors[2])
            value = loss(*tensors)
        gradients = tape.gradient(
            value, [layer.cell.kernel.value, layer.cell.bias.value, tensors[2]]
        )
        assert (np.asarray(layer(s_in)[0]) > 0).any()
        for k, (array, gradient) in enumerate(zip(arrays, gradients, strict=True)):
            for index in np.ndindex(array.shape):
                sides = []
                for sign in (1, -1):
                    moved = [a.copy() for a in arrays]
                    moved[k][index] += sign * 1e-6
                    sides.append(float(loss(*map(tf.constant, moved))))
                slope = (sides[0] - sides[1]) / 2e-6
                assert gradient.numpy()[index] == pytest.approx(slope, rel=1e-5, abs=1e-6)

    @pytest.mark.parametrize("bypass_relu,expected", [(True, [1, 1]), (False, [0, 1])])
    def test_the_relu_is_bypassed_where_no_pulse_is(self, bypass_relu, expected):
        x = tf.constant([[-0.1, 0.1]], "float64")
        zeros = tf.zeros((1, 2), "float64")
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            s, _, h, _, _ = src_step(
                zeros, x, zeros, zeros, np.zeros(2), alpha=1.0, bypass_relu=bypass_relu
            )
        np.testing.assert_allclose(s, [[0, math.tanh(3 * math.tanh(0.1 / 3))]])
        through_h = tape.gradient(h, x)
        np.testing.assert_allclose(tape.gradient(s, x), through_h * expected)


class TestNoise:
    def factors(self, h, h_s, training=True, jit_compile=False, seed=1, steps=2):
        """Noise of the feedback of 20 000 neurons at each step, worked back from their outputs.

        `z_s` is 1, so the slow state stays at `h_s`.
        """
        layer = SRC(
            200,
            r=0.5,
            r_s=0.25,
            z_hyp=1.0,
            z_dep=1.0,
            bias_initializer=0.5,
            bias_constraint=None,
            noise_stddev=0.125,
            seed=seed,
            return_sequences=True,
            dtype="float64",
        )
        start = [
            tf.zeros((100, 200), "float64"),
            *(tf.fill((100, 200), tf.constant(v, "float64")) for v in (h, h_s)),
        ]
        run = tf.function(
            lambda x: layer(x, initial_state=start, training=training), jit_compile=jit_compile
        )
        s = np.asarray(run(tf.zeros((100, steps, 1), "float64")))
        assert (s > 0).all()
        before = np.concatenate([np.full((100, 1, 200), h), s[:, :-1]], axis=1)
        return np.arctanh(s) - 0.5 - 0.5 * before - 0.25 * h_s, before

    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_of_the_fast_feedback_anew_at_each_step(self, jit_compile):
        change, before = self.factors(0.5, 0.0, jit_compile=jit_compile)
        noise = change / before / 0.125
        n = noise[:, 0].size
        for step in range(2):
            assert abs(noise[:, step].mean()) < 4 / math.sqrt(n)
            assert abs(noise[:, step].var() - 1) < 4 * math.sqrt(2 / n)
        assert abs((noise[:, 0] * noise[:, 1]).mean()) < 4 / math.sqrt(n)

    def test_of_the_slow_feedback(self):
        noise = self.factors(0.0, 0.5, steps=1)[0] / 0.5 / 0.125
        assert abs(noise.var() - 1) < 4 * math.sqrt(2 / noise.size)

    def test_of_both_is_independent(self):
        # Of one noise for both the variance would be (0.5 + 0.5)**2, or 0 of opposite ones.
        noise = self.factors(0.5, 0.5, steps=1)[0] / 0.125
        assert abs(noise.var() - 0.5) < 4 * 0.5 * math.sqrt(2 / noise.size)

    def test_none_at_inference_and_the_seed_repeats_it(self):
        np.testing.assert_allclose(self.factors(0.5, 0.5, training=False)[0], 0, atol=1e-12)
        np.testing.assert_array_equal(
            self.factors(0.5, 0.5, seed=5)[0], self.factors(0.5, 0.5, seed=5)[0]
        )
        assert not np.array_equal(self.factors(0.5, 0.5, seed=5)[0], self.factors(0.5, 0.5)[0])


class TestWeights:
    def test_names_shapes_and_first_values(self):
        layer = SRC(3)
        layer.build((None, None, 2))
        for holder in (layer, layer.cell):
            assert [weight.name for weight in holder.weights] == ["kernel", "bias"]
            assert [weight.name for weight in holder.trainable_weights] == ["kernel", "bias"]
        kernel, bias = layer.get_weights()
        np.testing.assert_array_equal(bias, np.full(3, -6))
        assert np.abs(kernel).max() <= math.sqrt(6 / 5)

    def test_training_keeps_the_bias_below_its_bound(self):
        layer = SRC(8, return_sequences=True, seed=1)
        network = keras.Sequential([keras.Input((30, 4)), layer])
        network.compile(keras.optimizers.SGD(1e4), "mse")
        x = np.random.default_rng(0).normal(size=(16, 30, 4))
        network.fit(x, np.ones((16, 30, 8)), verbose=0)
        bias = layer.cell.bias.numpy()
        assert bias.max() == -4

    @pytest.mark.parametrize("name", ["kernel", "bias"])
    def test_each_weight_has_its_initializer_regularizer_and_constraint(self, name):
        arguments = {
            f"{name}_initializer": keras.initializers.Constant(0.5),
            f"{name}_regularizer": keras.regularizers.L1(2.0),
            f"{name}_constraint": UpperBound(0.25),
        }
        layer = SRC(3, **arguments)
        layer.build((None, None, 2))
        weight = getattr(layer.cell, name)
        np.testing.assert_array_equal(weight, np.full(weight.shape, 0.5))
        assert [float(loss) for loss in layer.losses] == [pytest.approx(np.prod(weight.shape))]
        optimizer = keras.optimizers.SGD(0.0)
        optimizer.apply([tf.zeros(w.shape) for w in layer.weights], layer.weights)
        np.testing.assert_array_equal(weight, np.full(weight.shape, 0.25))
        for key, value in arguments.items():
            assert getattr(layer, key) is value
            copy = SRC.from_config(layer.get_config())
            assert copy.get_config()[key] == layer.get_config()[key]


class TestUpperBound:
    def test_it_clips(self):
        values = np.array([-7.0, -4.0, -3.5, 2.0], "float32")
        np.testing.assert_array_equal(UpperBound()(tf.constant(values)), [-7, -4, -4, -4])
        np.testing.assert_array_equal(UpperBound(1.5)(tf.constant(values)), [-7, -4, -3.5, 1.5])

    def test_config(self):
        config = keras.constraints.serialize(UpperBound(-3))
        assert config["registered_name"] == "keras_spiking_rnn>UpperBound"
        assert keras.constraints.get(config).get_config() == {"maximum": -3.0}

    @pytest.mark.parametrize("maximum", [math.nan, math.inf, "low", None])
    def test_the_bound_must_be_a_number(self, maximum):
        with pytest.raises(ValueError, match="UpperBound: `maximum` must be a finite number"):
            UpperBound(maximum)


class TestHalfPrecision:
    @pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
    def test_states_are_those_of_float32(self, policy):
        # Products that are exact in both half precisions.
        random = np.random.default_rng(5)
        W_s = random.integers(-6, 10, (8, 16)) / 8  # noqa: N806
        s_in = random.integers(0, 2, (3, 40, 8)).astype("float32")
        b_h = np.full(16, -4.5)
        expected = layer_with(W_s, b_h, "float32")(s_in)
        actual = layer_with(W_s, b_h, policy)(s_in)
        assert (np.asarray(expected[0]) > 0).any()
        for half, single in zip(actual, expected, strict=True):
            assert half.dtype.name == policy.removeprefix("mixed_")
            np.testing.assert_array_equal(half, tf.cast(single, half.dtype))


class TestArguments:
    def test_defaults_are_those_of_the_paper(self):
        layer = SRC(3)
        assert {name: getattr(layer, name) for name in PAPER} == PAPER
        assert layer.bypass_relu and layer.detach_h and layer.detach_h_s
        assert not layer.lagging_gate
        assert layer.noise_stddev == 0
        assert layer.bias_constraint.maximum == -4
        assert isinstance(layer.kernel_initializer, keras.initializers.GlorotUniform)

    def test_every_argument_is_kept(self):
        arguments = {
            "alpha": 0.99,
            "rho": 2.0,
            "r": 1.5,
            "r_s": -6.0,
            "z": 0.1,
            "z_hyp": 0.8,
            "z_dep": 0.2,
            "bypass_relu": False,
            "detach_h": False,
            "detach_h_s": False,
            "lagging_gate": True,
            "noise_stddev": 0.1,
            "dropout": 0.2,
            "seed": 4,
            "return_sequences": True,
            "return_state": True,
            "go_backwards": True,
            "unroll": True,
            "zero_output_for_mask": False,
        }
        layer = SRC(2, bias_initializer=-5, bias_constraint=UpperBound(-4.5), **arguments)
        copy = SRC.from_config(layer.get_config())
        assert copy.get_config() == layer.get_config()
        assert {name: getattr(copy, name) for name in arguments} == arguments
        assert copy.bias_initializer.get_config()["value"] == -5
        assert copy.bias_constraint.maximum == -4.5

    @pytest.mark.parametrize("kind", [SRC, SRCCell])
    @pytest.mark.parametrize(
        "arguments,message",
        [
            ({"units": 0}, r"`units` must be a positive integer\. Received: units=0"),
            ({"alpha": 1.1}, "`alpha` must be .*at least 0 and at most 1.*alpha=1.1"),
            ({"alpha": -0.1}, "`alpha` must be a finite number"),
            ({"rho": 0}, "`rho` must be a finite number, above 0. Received: rho=0"),
            ({"r": math.inf}, "`r` must be a finite number"),
            ({"r_s": "strong"}, "`r_s` must be a finite number"),
            ({"z": 2}, "`z` must be a finite number"),
            ({"z_hyp": -1}, "`z_hyp` must be a finite number"),
            ({"z_dep": 1.5}, "`z_dep` must be a finite number"),
            ({"noise_stddev": -0.1}, r"`noise_stddev` must be .*at least 0"),
            ({"dropout": 1}, "`dropout` must be at least 0 and below 1"),
            (
                {"bias_initializer": -3.5},
                "`bias_initializer` must not be above the bound.*-4.*-3.5",
            ),
            (
                {"bias_initializer": math.nan, "bias_constraint": None},
                "`bias_initializer` must be a finite number",
            ),
        ],
    )
    def test_errors_name_the_layer_and_what_is_wrong(self, kind, arguments, message):
        name = "hidden_cell" if kind is SRC else "hidden"
        with pytest.raises(ValueError, match=f"SRCCell '{name}': .*{message}"):
            kind(**{"units": 3, "name": "hidden", **arguments})

    def test_images_must_be_flattened(self):
        layer = keras.layers.RNN(SRCCell(3, name="hidden"))
        with pytest.raises(ValueError, match="'hidden': the inputs of one step.*Flatten"):
            layer(np.zeros((2, 5, 4, 4), "float32"))


def test_it_learns_digits_as_rows():
    """Two layers and the readout of the paper, on 28 rows of 28 pixels. Chance is 0.1."""

    def layers():
        return [SRC(64, return_sequences=True), SRC(50, return_sequences=True), LeakyReadout(10)]

    _, accuracy = learned(layers, *digits(4000), 3200, 5, learning_rate=0.005, batch_size=64)
    assert accuracy > 0.45
