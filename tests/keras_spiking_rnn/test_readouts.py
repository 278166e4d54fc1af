"""Readouts: spike counts, firing rates and leaky integrators."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_spiking_rnn import RLIF, SRC, LeakyIntegratorCell, LeakyReadout, MembraneReadout, TimeSum

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


def leaky_in_numpy(s, classes, alpha=0.99, excitatory=1.0, inhibitory=-0.1, mask=None):
    """The integrators of one sequence, one class and one neuron at a time."""
    steps, neurons = s.shape
    values, v = np.zeros((steps, classes)), np.zeros(classes)
    for t in range(steps):
        if mask is None or mask[t]:
            for c in range(classes):
                v[c] = alpha * v[c]
                for n in range(neurons):
                    own = n * classes // neurons == c
                    v[c] += (excitatory if own else inhibitory) * s[t, n]
        values[t] = v
    return values


class TestLeakyReadout:
    s = np.random.default_rng(0).random((3, 50, 12))
    mask = np.random.default_rng(1).random((3, 50)) < 0.6

    @pytest.mark.parametrize(
        "arguments",
        [{}, {"alpha": 0.5, "excitatory": 2.0, "inhibitory": -0.5}, {"alpha": 0.0}, {"alpha": 1}],
        ids=str,
    )
    @pytest.mark.parametrize("mask", [None, mask])
    def test_integrators(self, arguments, mask):
        expected = np.array(
            [
                leaky_in_numpy(s, 4, mask=None if mask is None else mask[n], **arguments)
                for n, s in enumerate(self.s)
            ]
        )
        each = LeakyReadout(4, return_sequences=True, dtype="float64", **arguments)
        np.testing.assert_allclose(each(self.s, mask=mask), expected, rtol=1e-12, atol=1e-13)
        last = LeakyReadout(4, **arguments)
        np.testing.assert_allclose(last(self.s, mask=mask), expected[:, -1], rtol=1e-5, atol=1e-5)

    def test_each_class_has_its_own_group(self):
        readout = LeakyReadout(2)
        readout.build((None, 3, 4))
        expected = [[1, -0.1], [1, -0.1], [-0.1, 1], [-0.1, 1]]
        np.testing.assert_allclose(readout.kernel, expected)

    def test_nothing_is_learned(self):
        readout = LeakyReadout(4)
        network = keras.Sequential([keras.Input((50, 12)), keras.layers.Dense(12), readout])
        network.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        before = readout.kernel.numpy()
        network.fit(self.s, np.array([0, 1, 2]), verbose=0)
        np.testing.assert_array_equal(readout.kernel, before)
        assert readout.trainable_weights == []
        readout.trainable = True
        assert readout.trainable_weights == []

    def test_gradients(self):
        s = tf.constant(self.s)
        with tf.GradientTape() as tape:
            tape.watch(s)
            total = tf.reduce_sum(LeakyReadout(4, alpha=0.5, dtype="float64")(s)[:, 0])
        slope = np.where(np.arange(12) < 3, 1, -0.1) * 0.5 ** np.arange(49, -1, -1)[:, None]
        np.testing.assert_allclose(tape.gradient(total, s), np.stack([slope] * 3), rtol=1e-9)

    def test_masked_values_may_be_anything(self):
        s = np.where(self.mask[:, :, None], self.s, np.nan)
        expected = LeakyReadout(4)(self.s, mask=self.mask)
        np.testing.assert_array_equal(LeakyReadout(4)(s, mask=self.mask), expected)

    def test_a_sequence_that_is_masked_entirely_gives_zero(self):
        outputs = LeakyReadout(4)(self.s, mask=np.zeros((3, 50), bool))
        np.testing.assert_array_equal(outputs, np.zeros((3, 4)))

    @pytest.mark.parametrize("return_sequences", [False, True])
    def test_in_a_network_with_a_mask(self, return_sequences):
        inputs = keras.Input((None, 12))
        pulses = SRC(8, return_sequences=True)(keras.layers.Masking()(inputs))
        readout = LeakyReadout(4, return_sequences=return_sequences)
        outputs = readout(pulses)
        assert (keras.src.backend.get_keras_mask(outputs) is not None) == return_sequences
        network = keras.Model(inputs, outputs)
        padded = np.concatenate([self.s, np.zeros((3, 5, 12))], axis=1)
        alone, with_padding = (network.predict(s, verbose=0) for s in (self.s, padded))
        np.testing.assert_allclose(
            with_padding[:, :50] if return_sequences else with_padding, alone, rtol=1e-5, atol=1e-6
        )

    @pytest.mark.parametrize("return_sequences", [False, True])
    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_shapes_and_unknown_sizes(self, return_sequences, jit_compile):
        layer = LeakyReadout(4, return_sequences=return_sequences)
        outputs = layer(self.s)
        assert layer.compute_output_shape(self.s.shape) == outputs.shape
        run = tf.function(
            lambda s: layer(s),
            input_signature=[tf.TensorSpec((None, None, 12))],
            jit_compile=jit_compile,
        )
        np.testing.assert_allclose(run(self.s), outputs, rtol=1e-5, atol=1e-6)

    def test_half_precision_sums_in_float32(self):
        # In float16 2048 + 1 is 2048.
        layer = LeakyReadout(1, alpha=1.0, dtype="mixed_float16")
        outputs = layer(np.ones((1, 4096, 1), "float16"))
        assert outputs.dtype == "float16"
        np.testing.assert_array_equal(outputs, [[4096]])

    @pytest.mark.parametrize(
        "arguments,message",
        [
            ({"classes": 0}, r"`classes` must be a positive integer\. Received: classes=0"),
            ({"classes": 2.0}, "`classes` must be a positive integer"),
            ({"alpha": 1.5}, "`alpha` must be from 0 to 1.*alpha=1.5"),
            ({"alpha": -0.5}, "`alpha` must be from 0 to 1"),
            ({"alpha": "slow"}, "`alpha` must be a finite number"),
            ({"excitatory": np.nan}, "`excitatory` must be a finite number"),
            ({"inhibitory": np.inf}, "`inhibitory` must be a finite number"),
        ],
    )
    def test_arguments_out_of_range(self, arguments, message):
        with pytest.raises(ValueError, match=f"LeakyReadout 'answer': {message}"):
            LeakyReadout(**{"classes": 4, "name": "answer", **arguments})

    def test_neurons_that_cannot_be_divided_are_refused(self):
        with pytest.raises(
            ValueError, match="'answer': the number of neurons.*13 neurons.*16 units"
        ):
            LeakyReadout(4, name="answer")(np.ones((1, 2, 13)))
        with pytest.raises(ValueError, match="'answer' needs inputs of shape.*return_sequences"):
            LeakyReadout(4, name="answer")(np.ones((1, 12)))

    def test_config(self):
        layer = LeakyReadout(4, 0.9, 2.0, -1.0, return_sequences=True, name="answer")
        config = layer.get_config()
        assert (config["alpha"], config["excitatory"], config["inhibitory"]) == (0.9, 2.0, -1.0)
        assert LeakyReadout.from_config(config).get_config() == config

    def test_saving(self, tmp_path):
        network = keras.Sequential([keras.Input((50, 12)), LeakyReadout(4, inhibitory=-0.3)])
        network.save(tmp_path / "n.keras")
        loaded = keras.saving.load_model(tmp_path / "n.keras")
        np.testing.assert_array_equal(loaded(self.s), network(self.s))


def membranes_in_numpy(x, kernel, bias, leak, mask=None):
    """The integrators of one sequence in float64, one step at a time."""
    values, v = [], np.zeros(kernel.shape[1])
    for t, inputs in enumerate(x):
        if mask is None or mask[t]:
            v = leak * v + inputs @ kernel + bias
        values.append(v)
    return np.array(values)


class TestMembraneReadout:
    x = np.random.default_rng(0).normal(size=(4, 50, 6))
    # With holes, with padding, and without any step.
    mask = np.random.default_rng(1).random((4, 50)) < 0.6
    mask[1] = np.arange(50) < 20
    mask[2] = False

    @staticmethod
    def built(**arguments):
        readout = MembraneReadout(3, **arguments)
        readout.build((None, None, 6))
        random = np.random.default_rng(2)
        kernel, bias, leak = (
            random.normal(size=(6, 3)),
            random.normal(size=3),
            np.array([0.3, 0.9, 1.0]),
        )
        readout.set_weights([kernel, bias, leak])
        return readout, (kernel, bias, leak)

    @staticmethod
    def read(values, mask, at):
        kept = values[mask]
        if not len(kept):
            return np.zeros(3)
        return {"last": kept[-1], "max": kept.max(axis=0), "mean": kept.mean(axis=0)}[at]

    @pytest.mark.parametrize("at", ["last", "max", "mean"])
    @pytest.mark.parametrize("mask", [None, mask])
    @pytest.mark.parametrize("arguments", [{}, {"go_backwards": True}, {"unroll": True}], ids=str)
    def test_logits(self, at, mask, arguments):
        readout, weights = self.built(at=at, dtype="float64", **arguments)
        kept = np.ones((4, 50), bool) if mask is None else mask
        backwards = -1 if "go_backwards" in arguments else 1
        expected = [
            self.read(
                membranes_in_numpy(x[::backwards], *weights, m[::backwards]), m[::backwards], at
            )
            for x, m in zip(self.x, kept, strict=True)
        ]
        x = self.x if mask is None else np.where(mask[:, :, None], self.x, 1e9)
        outputs = readout(x, mask=mask)
        assert outputs.shape == readout.compute_output_shape(x.shape) == (4, 3)
        np.testing.assert_allclose(outputs, expected, rtol=1e-10, atol=1e-10)
        single, weights = self.built(at=at, **arguments)
        np.testing.assert_allclose(single(x, mask=mask), expected, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("at", ["last", "max"])
    def test_all_steps(self, at):
        readout, weights = self.built(at=at, return_sequences=True, dtype="float64")
        expected = [
            membranes_in_numpy(x, *weights, m) for x, m in zip(self.x, self.mask, strict=True)
        ]
        # Before the first step that counts the output is 0, and after it the membrane potential.
        outputs = np.asarray(readout(self.x, mask=self.mask))
        np.testing.assert_allclose(outputs, expected, rtol=1e-10, atol=1e-10)

    @pytest.mark.parametrize("at", ["last", "max", "mean"])
    def test_gradients_equal_finite_differences(self, at):
        readout, _ = self.built(at=at, dtype="float64")
        x, mask = self.x[:2, :10], self.mask[:2, :10]
        coefficients = np.random.default_rng(3).normal(size=(2, 3))

        def value():
            return tf.reduce_sum(coefficients * readout(x, mask=mask))

        weights = readout.trainable_variables
        assert [weight.name for weight in weights] == ["kernel", "bias", "leak"]
        with tf.GradientTape() as tape:
            total = value()
        for weight, gradient in zip(weights, tape.gradient(total, weights), strict=True):
            before = weight.numpy()
            for index in np.ndindex(before.shape):
                step = np.zeros_like(before)
                step[index] = 1e-6
                weight.assign(before + step)
                above = float(value())
                weight.assign(before - step)
                below = float(value())
                weight.assign(before)
                assert gradient.numpy()[index] == pytest.approx(
                    (above - below) / 2e-6, rel=1e-6, abs=1e-7
                )

    @pytest.mark.parametrize("jit_compile", [False, True])
    @pytest.mark.parametrize("dtype", ["float32", "mixed_float16", "mixed_bfloat16"])
    def test_dtypes_and_jit(self, jit_compile, dtype):
        readout, _ = self.built(at="max", dtype=dtype)
        run = tf.function(lambda x, m: readout(x, mask=m), jit_compile=jit_compile)
        outputs = run(tf.constant(self.x, "float32"), tf.constant(self.mask))
        assert outputs.dtype == dtype.removeprefix("mixed_")
        expected = self.built(at="max")[0](self.x, mask=self.mask)
        precision = {"float32": 1e-5, "mixed_float16": 0.03, "mixed_bfloat16": 0.2}[dtype]
        np.testing.assert_allclose(tf.cast(outputs, "float32"), expected, atol=precision)

    def test_half_precision_integrates_in_float32(self):
        # In float16 2048 + 1 is 2048.
        readout = MembraneReadout(
            1, leak_initializer=1.0, kernel_initializer="ones", dtype="mixed_float16"
        )
        outputs = tf.function(readout)(tf.ones((1, 4096, 1), "float16"))
        assert outputs.dtype == "float16"
        np.testing.assert_array_equal(outputs, [[4096]])

    def test_states_continue_a_sequence(self):
        readout, _ = self.built(return_state=True)
        whole = readout(self.x)
        _, state = readout(self.x[:, :20])
        continued = readout(self.x[:, 20:], initial_state=[state])
        for actual, expected in zip(continued, whole, strict=True):
            np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("at", ["last", "max"])
    def test_config_and_saving(self, at, tmp_path):
        readout = MembraneReadout(3, at=at, use_bias=False, learn_leak=False, name="answer")
        config = readout.get_config()
        assert config["at"] == at
        assert MembraneReadout.from_config(config).get_config() == config
        network = keras.Sequential([keras.Input((50, 6)), readout])
        assert [weight.name for weight in readout.trainable_variables] == ["kernel"]
        network.save(tmp_path / "n.keras")
        loaded = keras.saving.load_model(tmp_path / "n.keras")
        np.testing.assert_array_equal(loaded(self.x), network(self.x))
        with pytest.raises(ValueError, match=r"the cell: MembraneReadout\(\.\.\., activity_reg"):
            LeakyIntegratorCell(3, activity_regularizer="l2")
        cell = LeakyIntegratorCell(3, leak_initializer=0.5)
        assert LeakyIntegratorCell.from_config(cell.get_config()).get_config() == cell.get_config()

    def test_the_cell_in_keras_rnn(self):
        readout, _ = self.built()
        rnn = keras.layers.RNN(readout.cell)
        np.testing.assert_allclose(rnn(self.x), readout(self.x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "mixed_float16"])
def test_masks_reach_readouts_in_another_precision(dtype):
    inputs = keras.Input((None, 2))
    spikes = RLIF(4, bias_initializer="ones", return_sequences=True, dtype=dtype)(
        keras.layers.Masking()(inputs)
    )
    readouts = [
        TimeSum(mean=True, dtype="float32"),
        LeakyReadout(2, alpha=0.5, dtype="float32"),
        MembraneReadout(2, at="mean", dtype="float32"),
    ]
    network = keras.Model(inputs, [readout(spikes) for readout in readouts])
    x = np.random.default_rng(0).random((3, 6, 2), "float32") + 0.1
    padded = np.concatenate([x, np.zeros((3, 3, 2), "float32")], axis=1)
    for alone, with_padding in zip(network(x), network(padded), strict=True):
        assert np.any(np.asarray(alone))
        np.testing.assert_allclose(with_padding, alone, rtol=1e-5, atol=1e-6)
