# ruff: noqa: E741 (the paper calls the synaptic current I)
"""LIF and GatedLIF against their equations, written out in NumPy from the paper."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from digits import digits
from finite_differences import finite_differences
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_spiking_rnn import LIF, GatedLIF, GatedLIFCell, LIFCell, TimeSum, metrics, surrogates
from keras_spiking_rnn.base import LeakRange
from keras_spiking_rnn.lif import gated_lif_step, lif_step, multi_bit_output

BITS = {"bits": 6, "threshold_ratio": 8, "initial_v_max": 1.5}


@pytest.fixture(autouse=True)
def repeatable():
    keras.utils.set_random_seed(11)


def output_in_numpy(V, theta=1.0, bits=None, threshold_ratio=1, initial_v_max=1.0, signed=False):  # noqa: N803
    """(9) or (22) of one number, and what an output of 1 takes from the membrane potential."""
    if bits is None:
        return float(V >= theta), theta
    sign, size, levels = 1.0, V, 2**bits
    if signed:
        sign, size, levels = math.copysign(1, V), abs(V), 2 ** (bits - 1)
    if size < threshold_ratio * initial_v_max / 2**bits:
        return 0.0, 1.0
    level = min(math.floor(levels * size / initial_v_max), levels - 1)
    return sign * level * initial_v_max / levels, 1.0


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def lif_in_numpy(XW, beta, alpha, states=None, **output):  # noqa: N803
    """Equations (7) to (9) for one sequence, one unit at a time: products `(steps, units)`."""
    steps, units = XW.shape
    I, V, Y = (np.zeros((steps, units)) for _ in range(3))
    for j in range(units):
        i, v, y = (0.0, 0.0, 0.0) if states is None else (state[j] for state in states)
        for n in range(steps):
            i = beta[j] * i + XW[n, j]  # (7)
            v = alpha[j] * v + i - output_in_numpy(0.0, **output)[1] * y  # (8)
            y, _ = output_in_numpy(v, **output)  # (9), (22)
            I[n, j], V[n, j], Y[n, j] = i, v, y
    return Y, I, V


def gated_in_numpy(XW, W_r, alpha, **output):  # noqa: N803
    """Equations (16) to (21) with (8) and (9) for one sequence; `W_r` is `None` in version 1."""
    steps, units = len(XW), XW.shape[1] // 2
    Y, I, V, F, C = (np.zeros((steps, units)) for _ in range(5))
    i, v, y = (np.zeros(units) for _ in range(3))
    for n in range(steps):
        before = y.copy()
        for j in range(units):
            f, c = XW[n, j], XW[n, units + j]
            if W_r is not None:
                f += sum(before[k] * W_r[k, j] for k in range(units))
                c += sum(before[k] * W_r[k, units + j] for k in range(units))
            F[n, j] = sigmoid(f)  # (16), (19)
            C[n, j] = max(c, 0.0)  # (17), (20)
            i[j] = F[n, j] * i[j] + (1 - F[n, j]) * C[n, j]  # (18), (21)
            v[j] = alpha[j] * v[j] + i[j] - output_in_numpy(0.0, **output)[1] * before[j]  # (8)
            y[j], _ = output_in_numpy(v[j], **output)  # (9), (22)
        Y[n], I[n], V[n] = y, i, v
    return Y, I, V, F, C


def lif_layer(random, inputs=3, units=4, **arguments):
    layer = LIF(
        units, dtype="float64", **{"return_sequences": True, "return_state": True, **arguments}
    )
    layer.build((None, None, inputs))
    layer.cell.kernel.assign(random.normal(0, 0.6, (inputs, units)))
    layer.cell.current_decay.assign(random.uniform(0, 0.95, units))
    layer.cell.membrane_decay.assign(random.uniform(0, 1, units))
    return layer


def gated_layer(random, inputs=3, units=4, **arguments):
    layer = GatedLIF(
        units, dtype="float64", **{"return_sequences": True, "return_state": True, **arguments}
    )
    layer.build((None, None, inputs))
    layer.cell.kernel.assign(random.normal(0, 0.8, (inputs, 2 * units)))
    layer.cell.membrane_decay.assign(random.uniform(0, 1, units))
    if layer.recurrent_gates:
        layer.cell.recurrent_kernel.assign(random.normal(0, 0.4, (units, 2 * units)))
    return layer


OUTPUTS = [{}, BITS, {**BITS, "bits": 1, "threshold_ratio": 1}, {**BITS, "signed": True}]


class TestEquations:
    @pytest.mark.parametrize("output", OUTPUTS, ids=str)
    @given(seed=st.integers(0, 2**32 - 1), steps=st.sampled_from([1, 2, 50, 64]))
    @settings(max_examples=6, deadline=None)
    def test_lif_follows_the_paper(self, output, seed, steps):
        random = np.random.default_rng(seed)
        layer = lif_layer(random, **output)
        X = random.normal(0.2, 1.0, (2, steps, 3))
        outputs, *states = layer(X)
        kernel, beta, alpha = (np.asarray(weight) for weight in layer.weights[:3])
        for n in range(2):
            Y, I, V = lif_in_numpy(X[n] @ kernel, beta, alpha, **output)
            np.testing.assert_allclose(outputs[n], Y, rtol=1e-12, atol=1e-12)
            for state, expected in zip(states, (I, V, Y), strict=True):
                np.testing.assert_allclose(state[n], expected[-1], rtol=1e-10, atol=1e-10)

    @pytest.mark.parametrize("recurrent_gates", [False, True])
    @pytest.mark.parametrize("output", [{"bits": None}, *OUTPUTS[1:]], ids=str)
    @given(seed=st.integers(0, 2**32 - 1), steps=st.sampled_from([1, 2, 50, 64]))
    @settings(max_examples=5, deadline=None)
    def test_gated_lif_follows_the_paper(self, recurrent_gates, output, seed, steps):
        random = np.random.default_rng(seed)
        layer = gated_layer(random, recurrent_gates=recurrent_gates, **output)
        cell = layer.cell
        X = random.normal(0.2, 1.0, (2, steps, 3))
        outputs, *states = layer(X)
        recorded = metrics.trace(layer, X)
        W_r = np.asarray(cell.recurrent_kernel) if recurrent_gates else None
        for n in range(2):
            Y, I, V, F, C = gated_in_numpy(
                X[n] @ np.asarray(cell.kernel), W_r, np.asarray(cell.membrane_decay), **output
            )
            np.testing.assert_allclose(outputs[n], Y, rtol=1e-10, atol=1e-10)
            for state, expected in zip(states, (I, V, Y), strict=True):
                np.testing.assert_allclose(state[n], expected[-1], rtol=1e-9, atol=1e-9)
            inside = {"forget": F, "candidate": C, "current": I, "membrane": V}
            assert list(recorded) == ["spikes", *inside]
            for name, expected in inside.items():
                np.testing.assert_allclose(recorded[name][n], expected, rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize("output", OUTPUTS, ids=str)
    def test_the_samples_above_are_neither_silent_nor_always_firing(self, output):
        random = np.random.default_rng(0)
        X = random.normal(0.2, 1.0, (2, 64, 3))
        for layer in (
            lif_layer(random, units=50, **output),
            gated_layer(random, units=50, **{"bits": None, **output}),
        ):
            assert 0.05 < np.mean(layer(X)[0].numpy() != 0) < 0.9

    def test_float32_agrees_over_many_steps(self):
        random = np.random.default_rng(1)
        layer = gated_layer(random, recurrent_gates=True, **BITS)
        single = GatedLIF.from_config({**layer.get_config(), "dtype": "float32"})
        single.build((None, None, 3))
        single.set_weights(layer.get_weights())
        X = random.normal(0.2, 1.0, (4, 50, 3)).astype("float32")
        np.testing.assert_allclose(single(X)[0], layer(X)[0], rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("cell", [LIFCell, GatedLIFCell])
    def test_a_unit_fires_at_the_threshold(self, cell):
        cell = cell(3, threshold=[0.25, 0.5, 0.75], bits=None)
        np.testing.assert_array_equal(
            cell.fire(np.array([[0.25, 0.5, 0.74]], "float32")), [[1, 1, 0]]
        )

    def test_lif_step_by_hand(self):
        Y, I, V = lif_step(
            XW=tf.constant([[2.0, 0.25]], "float64"),
            I=tf.constant([[1.0, 1.0]], "float64"),
            V=tf.constant([[4.0, 0.5]], "float64"),
            Y=tf.constant([[1.0, 0.0]], "float64"),
            beta=np.array([0.5, 0.25]),
            alpha=np.array([0.25, 0.5]),
            theta=1.5,
            fire=lambda V: surrogates.Triangular()(V - 1.5),
            mask=np.array([[0.5, 2.0]]),
        )
        np.testing.assert_array_equal(I, [[0.5 + 1.0, 0.25 + 0.5]])
        np.testing.assert_array_equal(V, [[1 + 1.5 - 1.5, 0.25 + 0.75 - 0]])
        np.testing.assert_array_equal(Y, [[0, 0]])

    def test_gated_lif_step_by_hand(self):
        log3 = math.log(3)  # sigmoid(log 3) = 3/4
        Y, I, V, F, C = gated_lif_step(
            XW_fi=tf.constant([[log3 + 1, -1.0]], "float64"),
            XW_ci=tf.constant([[2.0, -3.0]], "float64"),
            YW_fr=np.array([[-1.0, 1.0]]),
            YW_cr=np.array([[2.0, 1.0]]),
            I=tf.constant([[1.0, 1.0]], "float64"),
            V=tf.constant([[4.0, 0.5]], "float64"),
            Y=tf.constant([[1.0, 0.0]], "float64"),
            alpha=0.5,
            theta=1.25,
            fire=lambda V: surrogates.Triangular()(V - 1.25),
            mask=np.array([[2.0, 1.0]]),
        )
        np.testing.assert_allclose(F, [[0.75, 0.5]])
        np.testing.assert_allclose(C, [[4, 0]])
        np.testing.assert_allclose(I, [[0.75 + 0.25 * 4 * 2, 0.5]])
        np.testing.assert_allclose(V, [[2 + 2.75 - 1.25, 0.25 + 0.5]])
        np.testing.assert_array_equal(Y, [[1, 0]])

    @pytest.mark.parametrize("connected", [None, False, True])
    def test_only_version_2_has_connections_between_units(self, connected):
        random = np.random.default_rng(2)
        if connected is None:
            layer = lif_layer(random)
        else:
            layer = gated_layer(random, recurrent_gates=connected)
        X = np.random.default_rng(3).normal(0.2, 1.0, (1, 2, 3))
        start = np.zeros((3, 1, 4))
        start[0] = 1.0  # A current, for the forget signals to act on.
        before = layer(X, initial_state=list(start))[2]
        start[2, 0, 0] = 1.0  # The output of unit 0.
        moved = (layer(X, initial_state=list(start))[2] != before).numpy()[0]
        np.testing.assert_array_equal(moved, [True, *[bool(connected)] * 3])

    @pytest.mark.parametrize("kind", [LIF, GatedLIF])
    def test_a_bias_adds_to_the_products(self, kind):
        X = np.random.default_rng(4).normal(0.2, 1.0, (2, 9, 3)).astype("float32")
        layer = kind(4, use_bias=True, return_sequences=True)
        layer.build(X.shape)
        bias = np.random.default_rng(5).normal(size=layer.cell.bias.shape)
        layer.cell.bias.assign(bias)
        as_input = kind(4, return_sequences=True)
        as_input.build((None, None, 4))
        as_input.cell.kernel.assign(np.concatenate([layer.cell.kernel, bias[None]]))
        ones = np.ones((2, 9, 1), "float32")
        outputs = layer(X).numpy()
        assert 0.05 < np.mean(outputs != 0) < 0.95
        np.testing.assert_allclose(as_input(np.concatenate([X, ones], 2)), outputs, atol=1e-6)

    def test_defaults(self):
        layer, gated = LIF(3), GatedLIF(3)
        for made in (layer, gated):
            made.build((None, None, 2))
            np.testing.assert_array_equal(made.cell.membrane_decay, np.full(3, 0.9, "float32"))
            assert [state.shape for state in made.get_initial_state(2)] == [(2, 3)] * 3
            assert not np.any(made.get_initial_state(2))
            assert (made.use_bias, made.batch_normalization, made.momentum) == (False, False, 0.9)
        np.testing.assert_array_equal(layer.cell.current_decay, np.full(3, 0.9, "float32"))
        assert (layer.bits, layer.threshold) == (None, 1.0)
        assert layer.surrogate == surrogates.Triangular(1.0, 1.0)
        # The paper's experiments: 6 bits and the threshold V_max / 8.
        assert gated.threshold_ratio / 2**gated.bits == 1 / 8
        assert (gated.bits, gated.signed, gated.recurrent_gates) == (6, False, False)


class TestMultiBitOutputs:
    @pytest.mark.parametrize(
        "bits,ratio,V,expected",
        [
            # V_max = 4. One bit: half of V_max or nothing.
            (1, 1, [-9, 0, 1.99, 2, 3.99, 4, 9], [0, 0, 0, 2, 2, 2, 2]),
            (2, 1, [-1, 0.99, 1, 1.99, 2, 2.99, 3, 3.99, 4, 99], [0, 0, 1, 1, 2, 2, 3, 3, 3, 3]),
            (2, 2, [-1, 0.99, 1, 1.99, 2, 2.99, 3, 99], [0, 0, 0, 0, 2, 2, 3, 3]),
            (3, 2, [0.49, 0.99, 1, 1.49, 1.5, 3.49, 3.5, 4], [0, 0, 1, 1, 1.5, 3, 3.5, 3.5]),
            (6, 8, [0.49, 0.5, 0.5624, 0.5625, 4, 5], [0, 0.5, 0.5, 0.5625, 3.9375, 3.9375]),
            (8, 1, [1 / 64 - 1e-6, 1 / 64, 2 / 64, 4], [0, 1 / 64, 2 / 64, 4 - 1 / 64]),
        ],
    )
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_equation_22_by_hand(self, bits, ratio, V, expected, dtype):
        Y = multi_bit_output(tf.constant(V, dtype), tf.constant(4, dtype), bits, ratio)
        np.testing.assert_array_equal(Y, np.array(expected, dtype))

    @pytest.mark.parametrize("bits", range(1, 9))
    def test_number_of_values(self, bits):
        V = tf.linspace(-1.0, 2.0, 20_000)
        for ratio in {1, 2 ** (bits - 1), 2**bits - 1}:
            Y = multi_bit_output(V, tf.constant(1.0), bits, ratio).numpy()
            steps = np.arange(ratio, 2**bits) / 2**bits
            np.testing.assert_array_equal(np.unique(Y), [0, *steps])

    @pytest.mark.parametrize("signed", [False, True])
    @given(
        seed=st.integers(0, 2**32 - 1),
        bits=st.integers(2, 8),
        V_max=st.floats(0.01, 100),
        data=st.data(),
    )
    @settings(max_examples=30, deadline=None)
    def test_it_is_the_equation(self, signed, seed, bits, V_max, data):  # noqa: N803
        ratio = data.draw(st.integers(1, 2**bits - 1))
        V = np.random.default_rng(seed).normal(0, V_max, 50)
        Y = multi_bit_output(tf.constant(V), tf.constant(V_max, "float64"), bits, ratio, signed)
        arguments = {"bits": bits, "threshold_ratio": ratio, "initial_v_max": V_max}
        expected = [output_in_numpy(v, signed=signed, **arguments)[0] for v in V]
        np.testing.assert_allclose(Y, expected, rtol=1e-12)

    def test_signed_outputs_have_the_levels_of_the_published_code(self):
        # There, of 6 bits: scale = 2**5 (1 - 1e-4) / V_max, truncated, and 0 for 3 steps or less.
        V = (np.arange(-40, 40) + 0.5) / 32
        steps = np.trunc(np.clip(V, -1, 1) * 32 * (1 - 1e-4))
        steps[np.abs(steps) <= 3] = 0
        Y = multi_bit_output(tf.constant(V), tf.constant(1.0, "float64"), 6, 8, signed=True)
        np.testing.assert_array_equal(Y, steps / 32)
        assert set(np.abs(32 * Y.numpy())) == {0, *range(4, 32)}

    @pytest.mark.parametrize("signed", [False, True])
    def test_the_gradient_is_one_until_it_saturates(self, signed):
        V = tf.constant([-2.1, -2.0, -0.5, 0.0, 0.01, 0.3, 1.9, 2.0, 2.1, 9.0])
        V_max = tf.constant(2.0)
        with tf.GradientTape() as tape:
            tape.watch([V, V_max])
            loss = tf.reduce_sum(3 * multi_bit_output(V, V_max, 3, 2, signed))
        of_V, of_V_max = tape.gradient(loss, [V, V_max])
        below = [0, 3, 3] if signed else [0, 0, 0]
        np.testing.assert_array_equal(of_V, [*below, 3, 3, 3, 3, 3, 0, 0])
        assert of_V_max is None

    def test_not_a_number_is_no_output(self):
        for signed in (False, True):
            Y = multi_bit_output(tf.constant([math.nan, 1.0]), tf.constant(1.0), 2, 1, signed)
            assert Y[1] > 0
            assert not signed and Y[0] == 0 or signed and not Y[0] > 0

    def test_at_one_bit_the_reset_is_that_of_equation_8(self):
        """(22) is theta times (9) there, so that taking it away is taking theta Y away."""
        random = np.random.default_rng(6)
        one_bit = lif_layer(random, bits=1, initial_v_max=1.5)
        binary = lif_layer(random, threshold=0.75)
        binary.set_weights(one_bit.get_weights()[:3])
        X = random.normal(0.2, 1.0, (2, 50, 3))
        outputs, current, membrane, _ = one_bit(X)
        expected = binary(X)
        assert 0.05 < np.mean(expected[0]) < 0.95
        np.testing.assert_allclose(outputs, 0.75 * expected[0])
        np.testing.assert_allclose(current, expected[1])
        np.testing.assert_allclose(membrane, expected[2], rtol=1e-10)


def peak_of(layer, X):
    """Largest membrane potential, from the loops above."""
    cell = layer.cell
    output = {
        "bits": layer.bits,
        "threshold_ratio": layer.threshold_ratio,
        "initial_v_max": float(cell.v_max),
        "signed": layer.signed,
    }
    V = [
        lif_in_numpy(
            x @ cell.kernel.numpy(),
            cell.current_decay.numpy(),
            cell.membrane_decay.numpy(),
            **output,
        )[2]
        for x in X
    ]
    return max(np.max(np.abs(v) if layer.signed else v) for v in V)


class TestLargestPotential:
    """V_max, the moving average of the largest membrane potential of each batch."""

    @staticmethod
    def batches(number, steps=50, seed=7):
        random = np.random.default_rng(seed)
        return [random.normal(0.2, scale, (3, steps, 3)) for scale in 1 + np.arange(number) % 3]

    @pytest.mark.parametrize("jit_compile", [False, True])
    @pytest.mark.parametrize("signed", [False, True])
    def test_it_moves_once_a_batch(self, jit_compile, signed):
        layer = lif_layer(
            np.random.default_rng(8), bits=4, signed=signed, momentum=0.7, initial_v_max=3.0
        )
        run = tf.function(lambda x: layer(x, training=True), jit_compile=jit_compile)
        average = 0.0
        for count, X in enumerate(self.batches(4), start=1):
            average = 0.7 * average + 0.3 * peak_of(layer, X)
            before = layer(X)[0].numpy()
            outputs = run(tf.constant(X))[0]
            np.testing.assert_allclose(outputs, before, err_msg="the batch saw another V_max")
            expected = average / (1 - 0.7**count)  # Without the bias towards 0.
            np.testing.assert_allclose(layer.cell.v_max, expected, rtol=1e-9)
            assert layer.cell.v_max_batches.numpy() == count

    @pytest.mark.parametrize("unroll", [False, True])
    @pytest.mark.parametrize("go_backwards", [False, True])
    def test_masked_steps_do_not_count(self, unroll, go_backwards):
        layer = lif_layer(
            np.random.default_rng(9), bits=4, unroll=unroll, go_backwards=go_backwards
        )
        (X,) = self.batches(1, steps=8)
        mask = np.arange(8) < np.array([[8], [3], [0]])
        kept = [x[m][:: -1 if go_backwards else 1] for x, m in zip(X, mask, strict=True) if m.any()]
        expected = max(peak_of(layer, [x]) for x in kept)
        layer(np.where(mask[:, :, None], X, 1e6), mask=mask, training=True)
        np.testing.assert_allclose(layer.cell.v_max, expected, rtol=1e-9)

    def test_it_moves_in_fit_and_not_in_evaluate(self):
        layer = LIF(4, bits=3, return_sequences=True)
        network = keras.Sequential([keras.Input((6, 3)), layer, TimeSum(), keras.layers.Dense(1)])
        network.compile("sgd", "mse")
        x = np.random.default_rng(0).normal(0.5, 1, (12, 6, 3))
        network.fit(x, np.ones(12), batch_size=4, epochs=2, verbose=0)
        moved = float(layer.cell.v_max)
        assert layer.cell.v_max_batches.numpy() == 6
        assert moved > 0 and moved != 1.0
        network.evaluate(x, np.ones(12), verbose=0)
        network.predict(x, verbose=0)
        assert float(layer.cell.v_max) == moved

    @pytest.mark.parametrize(
        "X", [np.zeros((2, 5, 3)), np.full((2, 5, 3), np.nan), np.full((2, 5, 3), -1.0)]
    )
    def test_a_batch_without_positive_potentials_leaves_it_as_it_is(self, X):
        layer = LIF(3, bits=3, kernel_initializer="ones", initial_v_max=0.5)
        layer(X.astype("float32"), training=True)
        assert (float(layer.cell.v_max), float(layer.cell.v_max_batches)) == (0.5, 0)

    @pytest.mark.parametrize("kind", [LIF, GatedLIF])
    def test_a_frozen_layer_keeps_its_statistics(self, kind):
        layer = kind(4, bits=4, batch_normalization=True)
        x = np.random.default_rng(0).normal(0.5, 1, (3, 6, 3)).astype("float32")
        layer(x, training=True)
        before = layer.get_weights()
        layer.trainable = False
        frozen = layer(x, training=True)
        np.testing.assert_array_equal(frozen, layer(x))
        for old, new in zip(before, layer.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
        layer.trainable = True
        layer(x, training=True)
        assert not np.array_equal(layer.cell.v_max, before[-2])

    @pytest.mark.parametrize("kind,cell", [(LIF, LIFCell), (GatedLIF, GatedLIFCell)])
    def test_a_cell_alone_uses_statistics_and_never_moves_them(self, kind, cell):
        layer = kind(4, bits=4, batch_normalization=True, return_sequences=True)
        x = np.random.default_rng(0).normal(0.5, 1, (3, 6, 3)).astype("float32")
        layer(x, training=True)
        rnn = keras.layers.RNN(cell(4, bits=4, batch_normalization=True), return_sequences=True)
        rnn.build(x.shape)
        rnn.set_weights(layer.get_weights())
        outputs = rnn(x, training=True)
        np.testing.assert_allclose(outputs, layer(x), atol=1e-6)
        for old, new in zip(layer.get_weights(), rnn.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)

    @pytest.mark.parametrize("arguments", [{}, {"learn_current_decay": True}], ids=str)
    def test_one_bit_keeps_firing_in_training(self, arguments):
        """The published code truncates every one-bit output to 0."""
        layer = LIF(8, bits=1, return_sequences=True, **arguments)
        x = np.random.default_rng(0).normal(0.5, 1, (8, 20, 3)).astype("float32")
        for _ in range(30):
            layer(x, training=True)
        outputs = layer(x).numpy()
        v_max = float(layer.cell.v_max)
        assert 0.02 < np.mean(outputs > 0) < 0.98
        np.testing.assert_allclose(np.unique(outputs), [0, v_max / 2], rtol=1e-6)

    def test_it_is_saved_with_the_model(self, tmp_path):
        layer = GatedLIF(4, batch_normalization=True, name="gated")
        network = keras.Sequential([keras.Input((6, 3)), layer])
        x = np.random.default_rng(0).normal(0.5, 1, (3, 6, 3)).astype("float32")
        for _ in range(3):
            layer(x, training=True)
        network.save(tmp_path / "m.keras")
        cell = keras.saving.load_model(tmp_path / "m.keras").get_layer("gated").cell
        for name in ("v_max", "v_max_batches", "moving_mean", "moving_variance"):
            saved = np.asarray(getattr(layer.cell, name))
            np.testing.assert_array_equal(getattr(cell, name), saved)
            assert not np.isin(saved, [0, 1]).any(), "it has not moved"

    @pytest.mark.parametrize("name", ["mixed_float16", "mixed_bfloat16"])
    def test_it_stays_in_single_precision(self, name):
        """Also in Keras' own layer, which reads variables in half precision."""
        cell = LIFCell(1, bits=8, initial_v_max=0.7001, kernel_initializer="ones", dtype=name)
        rnn = keras.layers.RNN(cell, dtype=name)
        seen = []
        fire = cell.fire
        cell.fire = lambda membrane, v_max: (seen.append(v_max), fire(membrane, v_max))[1]
        rnn(np.ones((1, 1, 1), "float32"))
        assert {value.dtype.name for value in seen} == {"float32"}
        assert float(seen[-1]) == np.float32(0.7001)


class TestBatchNormalization:
    MASK = np.arange(10) < np.array([[10], [4], [7]])

    @pytest.mark.parametrize("masked", [False, True])
    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_it_is_that_of_keras_over_sequences_and_steps(self, masked, jit_compile):
        """Separately for the forget and the candidate signal."""
        random = np.random.default_rng(12)
        layer = gated_layer(
            random, bits=None, batch_normalization=True, momentum=0.8, recurrent_gates=True
        )
        plain = gated_layer(random, inputs=8, bits=None, recurrent_gates=True)
        plain.cell.recurrent_kernel.assign(layer.cell.recurrent_kernel)
        plain.cell.membrane_decay.assign(layer.cell.membrane_decay)
        plain.cell.kernel.assign(np.eye(8))
        scale, offset = random.uniform(0.5, 2, 8), random.normal(0, 0.5, 8)
        layer.cell.norm_scale.assign(scale)
        layer.cell.norm_offset.assign(offset)
        norms = []
        for part in (slice(0, 4), slice(4, 8)):
            norm = keras.layers.BatchNormalization(momentum=0.8, epsilon=1e-5, dtype="float64")
            norm.build((None, None, 4))
            norm.gamma.assign(scale[part])
            norm.beta.assign(offset[part])
            norms.append(norm)
        mask = tf.constant(self.MASK) if masked else None
        run = tf.function(
            lambda x, training: layer(x, mask=mask, training=training), jit_compile=jit_compile
        )
        for scale_of_batch in (1.0, 3.0):
            X = random.normal(0.5, scale_of_batch, (3, 10, 3))
            products = X @ layer.cell.kernel.numpy()
            noisy = np.where(self.MASK[:, :, None], X, np.nan) if masked else X
            for training in (True, False):
                normalized = np.concatenate(
                    [
                        norm(products[..., part], training=training, mask=mask)
                        for norm, part in zip(norms, (slice(0, 4), slice(4, 8)), strict=True)
                    ],
                    axis=-1,
                )
                outputs = run(tf.constant(noisy), training)
                expected = plain(normalized, mask=mask)
                assert 0.02 < np.mean(expected[0]) < 0.98
                for actual, wanted in zip(outputs, expected, strict=True):
                    np.testing.assert_allclose(actual, wanted, rtol=1e-8, atol=1e-8)
            for name in ("moving_mean", "moving_variance"):
                expected = np.concatenate([getattr(norm, name) for norm in norms])
                # Keras adds 1e-7 to the number of steps that are not masked, 21 here.
                rtol = 1e-8 if masked else 1e-12
                np.testing.assert_allclose(getattr(layer.cell, name), expected, rtol=rtol)

    def test_of_the_traditional_neuron(self):
        random = np.random.default_rng(13)
        layer = lif_layer(random, batch_normalization=True)
        X = random.normal(3.0, 2.0, (2, 50, 3))
        kernel, beta, alpha = layer.get_weights()[:3]
        products = X @ kernel
        normalized = (products - products.mean((0, 1))) / np.sqrt(products.var((0, 1)) + 1e-5)
        outputs = layer(X, training=True)[0]
        for n in range(2):
            Y, _, _ = lif_in_numpy(normalized[n], beta, alpha)
            assert 0.02 < Y.mean() < 0.98
            np.testing.assert_array_equal(outputs[n], Y)

    def test_an_entirely_masked_batch_leaves_the_statistics_as_they_are(self):
        layer = GatedLIF(2, batch_normalization=True)
        layer.build((2, 5, 3))
        before = layer.get_weights()
        layer(np.ones((2, 5, 3), "float32"), mask=np.zeros((2, 5), bool), training=True)
        for old, new in zip(before, layer.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)


class TestDropout:
    RATE = 0.4

    def assert_masks(self, first, second, kept):
        for values in (first, second):
            dropped = np.isclose(values, 0, atol=1e-6)
            np.testing.assert_allclose(values[~dropped], kept, rtol=1e-5)
            assert abs(dropped.mean() - self.RATE) < 4 * math.sqrt(0.24 / dropped.size)
        assert not np.array_equal(first, second), "the mask is kept from call to call"
        assert np.ptp(first, axis=0).all(), "each sequence has its own mask"

    @pytest.mark.parametrize("jit_compile", [False, True])
    @pytest.mark.parametrize("as_cell", [False, True])
    @pytest.mark.parametrize("kind", ["dropout", "recurrent_dropout"])
    def test_traditional(self, kind, jit_compile, as_cell):
        # Unit i adds up input i, so its current ends with 0 or steps / (1 - rate).
        cell = LIFCell(
            50,
            threshold=1e6,
            current_decay_initializer=1,
            kernel_initializer="identity",
            seed=1,
            **{kind: self.RATE},
        )
        arguments = cell.get_config() | {"name": "layer", "return_state": True}
        layer = keras.layers.RNN(cell, return_state=True) if as_cell else LIF(**arguments)
        run = tf.function(lambda x: layer(x, training=True)[1], jit_compile=jit_compile)
        first, second = (np.asarray(run(tf.ones((100, 6, 50)))) for _ in range(2))
        self.assert_masks(first, second, 6 / (1 - self.RATE))

    @pytest.mark.parametrize("recurrent_gates", [False, True])
    def test_gated_drops_the_candidates(self, recurrent_gates):
        # Forget signals of 1/2 and candidates of 1: the current is 1 - 2**-steps times the mask.
        layer = GatedLIF(
            50,
            bits=None,
            threshold=1e6,
            recurrent_gates=recurrent_gates,
            recurrent_dropout=self.RATE,
            return_state=True,
            seed=1,
        )
        layer.build((None, None, 1))
        layer.cell.kernel.assign(np.repeat([[0.0, 1.0]], 50, axis=1))
        first, second = (np.asarray(layer(tf.ones((100, 5, 1)), training=True)[1]) for _ in "12")
        self.assert_masks(first, second, (1 - 2**-5) / (1 - self.RATE))
        # It is the input of the current that is dropped, not the current itself.
        start = [tf.ones((100, 50)), tf.zeros((100, 50)), tf.zeros((100, 50))]
        current = layer(tf.zeros((100, 1, 1)), initial_state=start, training=True)[1]
        np.testing.assert_allclose(current, np.full((100, 50), 0.5))

    def test_none_at_inference(self):
        x = np.random.default_rng(0).normal(size=(2, 4, 5)).astype("float32")
        for kind in (LIF, GatedLIF):
            layer = kind(5, dropout=0.9, recurrent_dropout=0.9, return_state=True, seed=1)
            plain = kind(5, return_state=True)
            layer.build(x.shape)
            plain.build(x.shape)
            plain.set_weights(layer.get_weights())
            np.testing.assert_array_equal(layer(x)[2], plain(x)[2])


class Smooth(surrogates.Sigmoid):
    """Test only: forward the function whose derivative the surrogate is."""

    def __call__(self, x):
        @tf.custom_gradient
        def spike(x):
            return tf.sigmoid(self.slope * x), lambda upstream: upstream * self.derivative(x)

        return spike(x)


class TestGradients:
    @pytest.mark.parametrize("recurrent_gates", [None, False, True])
    @pytest.mark.parametrize("batch_normalization", [False, True])
    def test_finite_differences_of_the_smooth_model(self, recurrent_gates, batch_normalization):
        random = np.random.default_rng(14)
        arguments = {
            "inputs": 3,
            "units": 2,
            "surrogate": Smooth(3.0),
            "bits": None,
            "batch_normalization": batch_normalization,
            "learn_membrane_decay": True,
        }
        if recurrent_gates is None:
            layer = lif_layer(random, learn_current_decay=True, **arguments)
        else:
            layer = gated_layer(random, recurrent_gates=recurrent_gates, **arguments)
        X = tf.Variable(random.normal(0.3, 1.0, (2, 5, 3)))
        weights = [random.normal(size=shape) for shape in [(2, 5, 2), *[(2, 2)] * 3]]

        @tf.function
        def loss():
            outputs = layer(X, training=batch_normalization)
            return sum(tf.reduce_sum(w * y) for w, y in zip(weights, outputs, strict=True))

        variables = [X, *(weight.value for weight in layer.trainable_weights)]
        names = ["X", *(weight.name for weight in layer.trainable_weights)]
        assert "membrane_decay" in names
        assert ("norm_scale" in names) == batch_normalization
        with tf.GradientTape() as tape:
            value = loss()
        for name, variable, gradient in zip(
            names, variables, tape.gradient(value, variables), strict=True
        ):
            expected = finite_differences(loss, variable)
            np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8, err_msg=name)

    @pytest.mark.parametrize("output", [{}, BITS, {**BITS, "signed": True}], ids=str)
    def test_backpropagation_of_the_traditional_neuron_by_hand(self, output):
        random = np.random.default_rng(15)
        surrogate = surrogates.Triangular(0.8, 0.7)
        layer = lif_layer(
            random,
            inputs=4,
            units=6,
            surrogate=surrogate,
            learn_current_decay=True,
            learn_membrane_decay=True,
            **output,
        )
        W, beta, alpha = layer.get_weights()[:3]
        X, dY = random.normal(0.3, 1.0, (3, 9, 4)), random.normal(size=(3, 9, 6))
        expected = {"X": np.zeros_like(X), "kernel": 0, "current_decay": 0, "membrane_decay": 0}
        for n in range(3):
            Y, I, V = lif_in_numpy(X[n] @ W, beta, alpha, **output)
            before = {"I": np.vstack([np.zeros(6), I]), "V": np.vstack([np.zeros(6), V])}
            if output:
                low = -1.5 if output.get("signed") else 0.0
                slope, theta = ((V >= low) & (V <= 1.5)).astype(float), 1.0
            else:
                slope, theta = np.asarray(surrogate.derivative(V - 1.0)), 1.0
            assert 0.1 < np.mean(slope > 0) < 1
            dI, dV, dY_next = np.zeros(6), np.zeros(6), np.zeros(6)
            for t in reversed(range(9)):
                dV = dV + (dY[n, t] + dY_next) * slope[t]  # (9) or (22)
                expected["membrane_decay"] += dV * before["V"][t]
                dI = dI + dV  # (8)
                expected["current_decay"] += dI * before["I"][t]
                expected["kernel"] += np.outer(X[n, t], dI)
                expected["X"][n, t] = W @ dI
                dI, dV, dY_next = beta * dI, alpha * dV, -theta * dV  # (7), (8)
        inputs = tf.constant(X)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            loss = tf.reduce_sum(layer(inputs)[0] * dY)
        actual = tape.gradient(loss, [inputs, *(w.value for w in layer.trainable_weights)])
        for (name, by_hand), gradient in zip(expected.items(), actual, strict=True):
            np.testing.assert_allclose(gradient, by_hand, rtol=1e-9, atol=1e-11, err_msg=name)

    @pytest.mark.parametrize("recurrent_gates", [False, True])
    def test_backpropagation_of_improved_dynamics_by_hand(self, recurrent_gates):
        random = np.random.default_rng(16)
        layer = gated_layer(
            random,
            inputs=4,
            units=5,
            recurrent_gates=recurrent_gates,
            learn_membrane_decay=True,
            **BITS,
        )
        cell = layer.cell
        W, alpha = cell.kernel.numpy(), cell.membrane_decay.numpy()
        W_r = cell.recurrent_kernel.numpy() if recurrent_gates else np.zeros((5, 10))
        X, dY = random.normal(0.3, 1.0, (3, 9, 4)), random.normal(size=(3, 9, 5))
        expected = {"X": np.zeros_like(X), "kernel": 0, "recurrent_kernel": 0, "membrane_decay": 0}
        for n in range(3):
            Y, I, V, F, C = gated_in_numpy(X[n] @ W, W_r, alpha, **BITS)
            I_before, V_before, Y_before = (np.vstack([np.zeros(5), a]) for a in (I, V, Y))
            slope = ((V >= 0) & (V <= 1.5)).astype(float)
            dI, dV, dY_next = np.zeros(5), np.zeros(5), np.zeros(5)
            for t in reversed(range(9)):
                dV = dV + (dY[n, t] + dY_next) * slope[t]  # (22)
                expected["membrane_decay"] += dV * V_before[t]
                dI = dI + dV  # (8)
                df = dI * (I_before[t] - C[t]) * F[t] * (1 - F[t])  # (18), (16)
                dc = dI * (1 - F[t]) * (C[t] > 0)  # (18), (17)
                both = np.concatenate([df, dc])
                expected["kernel"] += np.outer(X[n, t], both)
                expected["recurrent_kernel"] += np.outer(Y_before[t], both)
                expected["X"][n, t] = W @ both
                dI, dV, dY_next = F[t] * dI, alpha * dV, -dV + W_r @ both
        if not recurrent_gates:
            del expected["recurrent_kernel"]
        inputs = tf.constant(X)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs)[0]
            loss = tf.reduce_sum(outputs * dY)
        assert 0.1 < np.mean(outputs.numpy() > 0) < 0.9
        actual = tape.gradient(loss, [inputs, *(w.value for w in layer.trainable_weights)])
        for (name, by_hand), gradient in zip(expected.items(), actual, strict=True):
            np.testing.assert_allclose(gradient, by_hand, rtol=1e-9, atol=1e-11, err_msg=name)

    @pytest.mark.parametrize("lag", [1, 10, 100])
    def test_gradients_along_the_current_vanish_only_in_the_traditional_neuron(self, lag):
        """Equation (15): a factor of beta for each step. With gates the factors are F[n]."""
        random = np.random.default_rng(17)
        X = tf.constant(random.normal(0, 1.0, (1, lag, 3)))
        start = [tf.zeros((1, 4), "float64") for _ in range(3)]

        def slope(layer):
            with tf.GradientTape() as tape:
                tape.watch(start)
                total = tf.reduce_sum(layer(X, initial_state=start)[1])  # One term for each unit.
            return tape.gradient(total, start[0])[0].numpy()

        traditional = lif_layer(random)
        traditional.cell.current_decay.assign(np.full(4, 0.9))
        np.testing.assert_allclose(slope(traditional), np.full(4, 0.9**lag), rtol=1e-9)

        gated = gated_layer(random, use_bias=True)
        gated.cell.kernel.assign(0.1 * gated.cell.kernel)
        gated.cell.bias.assign(np.repeat([8.0, 0.0], 4))
        forget = metrics.trace(gated, X)["forget"][0]
        np.testing.assert_allclose(slope(gated), np.prod(forget, axis=0), rtol=1e-9)
        if lag == 100:
            assert slope(traditional).max() < 1e-4
            assert slope(gated).min() > 0.9


class TestLearning:
    def test_rows_of_real_digits(self):
        """And in the paper's order: traditional, version 1, version 2."""
        x, y = digits(5000)
        x = x.astype("float32")
        accuracies = []
        for layer in (
            LIF(64, learn_current_decay=True, return_sequences=True),
            GatedLIF(64, return_sequences=True),
            GatedLIF(64, recurrent_gates=True, batch_normalization=True, return_sequences=True),
        ):
            network = keras.Sequential(
                [keras.Input((28, 28)), layer, TimeSum(mean=True), keras.layers.Dense(10)]
            )
            network.compile(
                keras.optimizers.Adam(0.01),
                keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                metrics=["accuracy"],
            )
            network.fit(x[:1500], y[:1500], epochs=4, batch_size=50, verbose=0)
            accuracies.append(network.evaluate(x[4000:], y[4000:], batch_size=250, verbose=0)[1])
        traditional, v1, v2 = accuracies
        assert traditional > 0.4
        assert v1 > max(0.55, traditional)
        assert v2 > max(0.75, v1)


NAMES = {
    LIF: ["kernel", "bias", "current_decay", "membrane_decay"],
    GatedLIF: ["kernel", "recurrent_kernel", "bias", "membrane_decay"],
}
ALL = {LIF: {"use_bias": True}, GatedLIF: {"use_bias": True, "recurrent_gates": True, "bits": None}}
STATISTICS = [
    "norm_scale",
    "norm_offset",
    "moving_mean",
    "moving_variance",
    "v_max",
    "v_max_batches",
]


class TestWeights:
    @pytest.mark.parametrize(
        "kind,arguments,names,shapes",
        [
            (LIF, {}, ["kernel", "current_decay", "membrane_decay"], [(2, 3), (3,), (3,)]),
            (LIF, ALL[LIF], NAMES[LIF], [(2, 3), (3,), (3,), (3,)]),
            (GatedLIF, {"bits": None}, ["kernel", "membrane_decay"], [(2, 6), (3,)]),
            (GatedLIF, ALL[GatedLIF], NAMES[GatedLIF], [(2, 6), (3, 6), (6,), (3,)]),
            (
                GatedLIF,
                {"batch_normalization": True},
                ["kernel", "membrane_decay", *STATISTICS],
                [(2, 6), (3,), (6,), (6,), (6,), (6,), (), ()],
            ),
            (
                LIF,
                {"batch_normalization": True, "bits": 3},
                ["kernel", "current_decay", "membrane_decay", *STATISTICS],
                [(2, 3), (3,), (3,), (3,), (3,), (3,), (3,), (), ()],
            ),
        ],
    )
    @pytest.mark.parametrize("learned", [False, True])
    def test_order_does_not_depend_on_what_is_learned(
        self, kind, arguments, names, shapes, learned
    ):
        if kind is LIF:
            arguments = {**arguments, "learn_current_decay": learned}
        layer = kind(3, learn_membrane_decay=learned, **arguments)
        network = keras.Sequential([keras.Input((4, 2)), layer])
        for holder in (layer.cell, layer, network):
            assert [weight.name for weight in holder.weights] == names
            assert [tuple(weight.shape) for weight in holder.weights] == shapes
            fixed = {*STATISTICS[2:], *([] if learned else ["current_decay", "membrane_decay"])}
            expected = [name for name in names if name not in fixed]
            assert [weight.name for weight in holder.trainable_weights] == expected

    @pytest.mark.parametrize(
        "kind,name", [(k, name) for k, names in NAMES.items() for name in names]
    )
    def test_each_weight_has_its_initializer_regularizer_and_constraint(self, kind, name):
        prefix = "recurrent" if name == "recurrent_kernel" else name
        arguments = {
            f"{prefix}_initializer": keras.initializers.Constant(0.5),
            f"{prefix}_regularizer": keras.regularizers.L1(2.0),
            f"{prefix}_constraint": LeakRange(0.1, 0.2),
        }
        learned = {f"learn_{name}": True} if name.endswith("decay") else {}
        layer = kind(3, **{**ALL[kind], **learned, **arguments})
        layer.build((None, None, 2))
        weight = getattr(layer.cell, name)
        np.testing.assert_array_equal(weight, np.full(weight.shape, 0.5))
        assert [float(loss) for loss in layer.losses] == [pytest.approx(np.prod(weight.shape))]
        optimizer = keras.optimizers.SGD(0.0)
        variables = layer.trainable_weights
        optimizer.apply([tf.zeros(w.shape) for w in variables], variables)
        np.testing.assert_allclose(weight, np.full(weight.shape, 0.2))
        for key, value in arguments.items():
            assert getattr(layer, key) is value
            assert kind.from_config(layer.get_config()).get_config()[key] == layer.get_config()[key]

    def test_weight_files_fit_whether_decays_are_learned_or_not(self, tmp_path):
        def network(learned):
            layer = LIF(3, bits=2, learn_current_decay=learned, learn_membrane_decay=not learned)
            return keras.Sequential([keras.Input((4, 2)), layer])

        first, second = network(True), network(False)
        first.set_weights([np.full(w.shape, i + 0.5) for i, w in enumerate(first.weights)])
        first.save_weights(tmp_path / "w.weights.h5")
        second.load_weights(tmp_path / "w.weights.h5")
        for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)

    @pytest.mark.parametrize("rate,end", [(1e3, 1 / 4096), (-1e3, 1.0)])
    def test_learned_decays_stay_in_range(self, rate, end):
        layer = LIF(3, learn_current_decay=True, learn_membrane_decay=True)
        layer.build((None, None, 2))
        optimizer = keras.optimizers.SGD(abs(rate))
        decays = [layer.cell.current_decay, layer.cell.membrane_decay]
        optimizer.apply([tf.fill(d.shape, math.copysign(1.0, rate)) for d in decays], decays)
        for decay in decays:
            np.testing.assert_allclose(decay, np.full(3, end))


class TestArguments:
    @pytest.mark.parametrize(
        "layer",
        [
            LIF(
                2,
                threshold=[0.75, 1],
                surrogate=surrogates.ArcTan(3.0),
                bits=5,
                threshold_ratio=3,
                signed=True,
                initial_v_max=0.25,
                use_bias=True,
                learn_current_decay=True,
                learn_membrane_decay=True,
                current_decay_initializer=keras.initializers.RandomUniform(0.1, 0.9, seed=3),
                membrane_decay_initializer=2.0,
                membrane_decay_constraint=None,
                momentum=0.5,
                dropout=0.1,
                recurrent_dropout=0.2,
                seed=4,
                return_sequences=True,
                zero_output_for_mask=False,
                name="hidden",
                dtype="mixed_float16",
            ),
            GatedLIF(
                2,
                bits=None,
                threshold=2.0,
                recurrent_gates=True,
                recurrent_initializer=keras.initializers.Orthogonal(1.5, seed=2),
                batch_normalization=True,
                momentum=0,
                go_backwards=True,
                unroll=True,
                return_state=True,
            ),
        ],
        ids=["LIF", "GatedLIF"],
    )
    def test_every_argument_is_kept(self, layer):
        config = layer.get_config()
        copy = type(layer).from_config(config)
        assert copy.get_config() == config
        for name in ("threshold", "surrogate", "bits", "signed", "momentum", "recurrent_dropout"):
            assert getattr(copy, name) == getattr(layer, name)
        copy.build((None, None, 3))

    @pytest.mark.parametrize("kind", [LIF, LIFCell, GatedLIF, GatedLIFCell])
    @pytest.mark.parametrize(
        "arguments,message",
        [
            ({"units": 0}, r"`units` must be a positive integer\. Received: units=0"),
            ({"threshold": 0}, r"`threshold` must be above 0.*Received: threshold=0\.0"),
            ({"threshold": [1, -1, 1]}, r"above 0.*threshold=\(1\.0, -1\.0, 1\.0\)"),
            ({"threshold": [1.0, 2.0]}, "sequence of 3 numbers.*Received a sequence of 2 numbers"),
            ({"threshold": math.nan}, "`threshold` must be finite"),
            ({"bits": 0}, r"`bits` must be an integer from 1 to 8, or None.*bits=0"),
            ({"bits": 9}, "`bits` must be an integer from 1 to 8.*bits=9"),
            ({"bits": 2.5}, "`bits` must be an integer"),
            ({"bits": True}, "`bits` must be an integer"),
            ({"bits": 3, "threshold_ratio": 8}, r"from 1 to 7, 2\*\*bits - 1 with bits=3:.*=8"),
            ({"bits": 3, "threshold_ratio": 0}, "`threshold_ratio` must be an integer from 1"),
            ({"bits": 3, "threshold_ratio": 1.5}, r"steps from 0.*threshold_ratio=1\.5"),
            ({"bits": 1, "threshold_ratio": True}, "`threshold_ratio` must be an integer"),
            ({"bits": 1, "threshold_ratio": 1, "signed": True}, "`signed` takes one bit.*bits=1"),
            ({"bits": None, "signed": True}, "`signed` takes one bit.*at least 2.*bits=None"),
            ({"initial_v_max": 0}, r"`initial_v_max` must be .*above 0.*initial_v_max=0"),
            ({"initial_v_max": math.inf}, "`initial_v_max` must be a finite number"),
            ({"momentum": 1}, r"`momentum` must be below 1.*never move.*momentum=1"),
            ({"momentum": -0.1}, r"`momentum` must be .*at least 0.*momentum=-0\.1"),
            ({"use_bias": True, "batch_normalization": True}, "`use_bias` does nothing before"),
            ({"dropout": 1}, "`dropout` must be at least 0 and below 1.*dropout=1"),
            ({"recurrent_dropout": -1}, "`recurrent_dropout` must be at least 0.*=-1"),
            (
                {"membrane_decay_initializer": 1.5},
                "range of its constraint, .*decay_initializer=1.5",
            ),
            ({"membrane_decay_initializer": math.nan}, "within the range of its constraint"),
        ],
    )
    def test_errors_name_the_layer_and_what_is_wrong(self, kind, arguments, message):
        name = "hidden" if kind in (LIFCell, GatedLIFCell) else "hidden_cell"
        with pytest.raises(ValueError, match=f"LIFCell '{name}': .*{message}"):
            kind(**{"units": 3, "name": "hidden", **arguments})

    def test_errors_of_the_current_decay(self):
        with pytest.raises(ValueError, match="'a_cell'.*current_decay_initializer=0.*LeakRange"):
            LIF(3, current_decay_initializer=0, name="a")
        with pytest.raises(ValueError, match="`current_decay_initializer` must be a finite number"):
            LIF(3, current_decay_initializer=math.inf, current_decay_constraint=None)
