"""The compiled loop gives what Keras' loop gives: outputs, states and gradients."""

import itertools
import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_spiking_rnn import (
    LIF,
    LIFLSTM,
    RLIF,
    SRC,
    AdaptiveAnalogLSTM,
    ConvRLIF2D,
    GatedLIF,
    MembraneReadout,
    RLIFCell,
    SpikingLSTM,
    fused,
    rlif,
)
from keras_spiking_rnn.regularizers import FiringRate
from keras_spiking_rnn.surrogates import Surrogate

X = np.random.default_rng(0).normal(0.0, 2.0, (3, 17, 5)).astype("float32")

LAYERS = {
    "RLIF": (RLIF, {"noise_stddev": 0.0}),
    **{
        f"RLIF, analog, {source}": (RLIF, {"output_mode": "analog", "analog_source": source})
        for source in rlif.ANALOG_SOURCES
    },
    "RLIF, without biases": (RLIF, {"use_bias": False, "use_membrane_bias": False}),
    "LIF": (LIF, {"kernel_initializer": "glorot_normal"}),
    "LIF, 3 bits": (LIF, {"bits": 3, "threshold_ratio": 1}),
    "LIF, batch normalisation": (LIF, {"batch_normalization": True}),
    "GatedLIF": (GatedLIF, {}),
    "GatedLIF, version 2": (GatedLIF, {"recurrent_gates": True, "bits": None}),
    "GatedLIF, version 2, 6 bits": (GatedLIF, {"recurrent_gates": True, "use_bias": True}),
    "SpikingLSTM": (SpikingLSTM, {}),
    "SpikingLSTM, cell surrogate": (SpikingLSTM, {"cell_surrogate": "gaussian", "gamma": 0.5}),
    "GatedLIF, a gate over all units": (GatedLIF, {"gate_activation": keras.activations.softmax}),
    "LIFLSTM": (LIFLSTM, {}),
    "LIFLSTM, analog": (LIFLSTM, {"output_mode": "analog", "analog_activation": "softmax"}),
    "LIFLSTM, gates over all units": (LIFLSTM, {"recurrent_activation": "softmax"}),
    "SRC": (SRC, {}),
    "SRC, gradients of all states": (SRC, {"detach_h": False, "detach_h_s": False, "z": 0.3}),
    "SRC, other options": (SRC, {"detach_h": False, "bypass_relu": False, "lagging_gate": True}),
    "SRC, a hidden state that is kept": (SRC, {"z": 1.0, "detach_h": False}),
    "AdaptiveAnalogLSTM": (AdaptiveAnalogLSTM, {}),
    "MembraneReadout": (MembraneReadout, {}),
}


class InKerasLoop:
    """Mixin of layers that never use the compiled loop."""

    def is_fused(self, *_):
        return False


def functions_of(layer):
    return fused.functions_of(layer.cell, layer.go_backwards)


class OneParameter(Surrogate):
    """A surrogate that is never saved, so it needs no configuration."""

    def __init__(self, height):
        self.height = height

    def derivative(self, x):
        return self.height * tf.ones_like(x)


class OneSlot(Surrogate):
    """The same, which a dictionary of attributes does not show."""

    __slots__ = ("height",)
    __init__, derivative = OneParameter.__init__, OneParameter.derivative


def pair(name, **options):
    """A layer, and one with the same weights in Keras' loop."""
    cls, own = LAYERS[name]
    layer = cls(6, **own, **options)
    plain = type(cls.__name__, (InKerasLoop, cls), {})(6, **own, **options)
    for each in (layer, plain):
        each.build(X.shape)
    generator = np.random.default_rng(1)
    for a, b in zip(layer.weights, plain.weights, strict=True):
        if a.name in ("leak", "membrane_decay", "current_decay"):
            a.assign(generator.uniform(0.3, 0.95, a.shape))
        elif "bias" in a.name:
            a.assign_add(generator.normal(0, 0.2, a.shape))
        b.assign(a)
    return layer, plain


def results(layer, x, training, compiled=False):
    """Outputs, states and the gradients of a function of all of them."""
    x = tf.Variable(x)

    def run():
        with tf.GradientTape() as tape:
            outputs = layer(x, training=training)
            loss = sum(
                tf.reduce_sum(tf.sin(0.1 * (i + 1) * tf.cast(each, "float32")))
                for i, each in enumerate(outputs)
            )
        return outputs, tape.gradient(loss, [x, *layer.trainable_variables])

    outputs, gradients = tf.function(run)() if compiled else run()
    names = ["input", *(variable.name for variable in layer.trainable_variables)]
    return {**dict(enumerate(outputs)), **dict(zip(names, gradients, strict=True))}


def results_of(layer, x=X):
    """Outputs and the gradients of their sum, by a layer that returns outputs alone."""
    with tf.GradientTape() as tape:
        outputs = layer(x, training=True)
        loss = tf.reduce_sum(outputs)
    return [outputs, *tape.gradient(loss, layer.trainable_variables)]


def assert_equal(actual, expected):
    assert list(actual) == list(expected)
    for name, value in expected.items():
        scale = max(1.0, float(tf.reduce_max(tf.abs(value))))
        np.testing.assert_allclose(actual[name] / scale, value / scale, atol=1e-5, err_msg=name)
    assert any(np.abs(value).max() > 0 for name, value in expected.items() if name != 0)


SEQUENCES = {"return_sequences": True}
BACKWARDS = {"go_backwards": True}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        *itertools.product(LAYERS, [SEQUENCES]),
        # Each way of returning outputs, of a step written by hand and of one that is taped.
        *itertools.product(
            ["RLIF", "GatedLIF, version 2, 6 bits", "SpikingLSTM", "AdaptiveAnalogLSTM"],
            [{}, BACKWARDS, {**SEQUENCES, **BACKWARDS}],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else ", ".join(value) or "last",
)
def test_it_equals_the_loop_of_keras(name, options, training):
    layer, plain = pair(name, return_state=True, **options)
    expected = results(plain, X, training)
    assert_equal(results(layer, X, training), expected)
    assert plain._fused is None
    assert layer._fused is not None
    for a, b in zip(layer.weights, plain.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, err_msg=a.name)  # statistics moved alike


@pytest.mark.parametrize("name", ["RLIF", "GatedLIF, version 2", "SpikingLSTM"])
def test_dropout_of_inputs(name):
    layer, plain = pair(name, return_state=True, return_sequences=True, dropout=0.5, seed=3)
    assert_equal(results(layer, X, True), results(plain, X, True))
    assert layer._fused is not None


@pytest.mark.parametrize("name", LAYERS)
def test_initial_states(name):
    layer, plain = pair(name, return_state=True, return_sequences=True)
    generator = np.random.default_rng(2)
    states = [
        tf.Variable(generator.uniform(0, 0.5, (3, 6)).astype("float32"))
        for _ in layer.get_initial_state(3)
    ]
    found = []
    for each in (layer, plain):
        with tf.GradientTape() as tape:
            outputs = each(X, initial_state=states, training=True)
            loss = sum(tf.reduce_sum(tf.sin(output)) for output in outputs)
        gradients = tape.gradient(loss, states, unconnected_gradients="zero")
        found.append(dict(enumerate([*outputs, *gradients])))
    assert_equal(*found)


@pytest.mark.parametrize("name", ["RLIF", "GatedLIF, version 2", "LIFLSTM"])
def test_within_a_function_and_a_model_that_xla_compiles(name):
    layer, plain = pair(name, return_state=True, return_sequences=True)
    expected = results(plain, X, True)
    assert_equal(results(layer, X, True, compiled=True), expected)
    compiled = tf.function(lambda x: layer(x)[0], jit_compile=True)
    np.testing.assert_allclose(compiled(tf.constant(X)), plain(X)[0], atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
@pytest.mark.parametrize("name", ["RLIF", "SpikingLSTM"])
def test_other_dtypes(name, policy):
    layer, plain = pair(name, return_state=True, return_sequences=True, dtype=policy)
    actual, expected = results(layer, X, True), results(plain, X, True)
    for key, value in expected.items():
        assert actual[key].dtype == value.dtype
        tolerance = 1e-6 if policy == "float64" else 0.02
        np.testing.assert_allclose(
            tf.cast(actual[key], "float64"), tf.cast(value, "float64"), tolerance, tolerance * 10
        )


class TestWhereItIsUsed:
    def test_not_where_it_must_not(self):
        mask = np.ones((3, 17), bool)
        for options, call in [
            ({"unroll": True}, {}),
            ({}, {"mask": mask}),
            ({"noise_stddev": 0.1}, {"training": True}),
        ]:
            layer = RLIF(4, **options)
            layer(X, **call)
            assert layer._fused is None
        for layer in (LIFLSTM(4, recurrent_dropout=0.5), GatedLIF(4, recurrent_dropout=0.5)):
            layer(X, training=True)
            assert layer._fused is None
            layer(X)
            assert layer._fused is not None

    def test_a_number_of_steps_that_is_not_known(self):
        layer = RLIF(4, return_sequences=True)
        layer.build(X.shape)
        unknown = tf.function(layer, input_signature=[tf.TensorSpec((None, None, 5))])
        outputs = unknown(X)
        assert layer._fused is None
        np.testing.assert_array_equal(layer(X), outputs)
        assert layer._fused is not None

    def test_not_with_an_activation_that_has_weights(self):
        layer = LIFLSTM(4, activation=keras.layers.PReLU())
        layer(X)
        assert layer._fused is None

    def test_not_where_it_is_switched_off(self):
        layer = RLIF(4)
        layer.fused = False
        expected = layer(X)
        assert layer._fused is None
        layer.fused = True
        np.testing.assert_array_equal(layer(X, training=np.bool_(True)), expected)
        assert layer._fused is not None

    def test_states_of_one_sequence_are_those_of_all(self):
        layer = RLIF(4, return_sequences=True)
        one = layer(X, initial_state=[np.full((1, 4), 0.4, "float32")])
        np.testing.assert_array_equal(layer(X, initial_state=[np.full((3, 4), 0.4, "f")]), one)

    @pytest.mark.parametrize("batch", [3, 2, 4])
    def test_shapes_are_known_whatever_an_equal_layer_has_met(self, batch):
        layer = RLIF(4, threshold=0.321, return_sequences=True, return_state=True)
        layer.build((batch, 7, 3))
        shapes = []

        @tf.function
        def run(x):
            shapes[:] = [each.shape for each in layer(x)]

        run(tf.zeros((batch, 7, 3)))
        assert shapes == [(batch, 7, 4), (batch, 4)]

    def test_it_draws_no_random_number(self):
        def first_number(threshold):
            keras.utils.set_random_seed(0)
            RLIF(4, threshold=threshold, seed=1)(X)
            return random.random()

        assert first_number(0.123) == first_number(0.123)

    def test_readouts_too(self):
        layer = MembraneReadout(4)
        layer(X)
        assert layer._fused is not None


class TestGradientsOfTheSteps:
    @pytest.mark.parametrize("name", LAYERS)
    def test_they_are_written_by_hand(self, name):
        by_tape = {
            "GatedLIF, a gate over all units",
            "LIFLSTM, gates over all units",
            "SRC, a hidden state that is kept",
            "AdaptiveAnalogLSTM",
        }
        layer, _ = pair(name)
        assert layer.cell.has_retreat == (name not in by_tape)

    @pytest.mark.parametrize("method", ["call", "step", "advance", "respond"])
    def test_a_cell_of_somebody_else_has_the_loop_of_keras(self, method):
        """Any method that it overrides counts, in the outputs and in the gradients."""

        def tenfold(cell, *arguments, **kwargs):
            output, *rest = getattr(super(Own, cell), method)(*arguments, **kwargs)
            return 10 * output, *rest

        class Own(RLIFCell):
            pass

        setattr(Own, method, tenfold)
        Own.__module__ = "somebody.elses"
        layer = type("OwnRLIF", (RLIF,), {"cell_class": Own})(4, return_sequences=True)
        plain = keras.layers.RNN(Own(4), return_sequences=True)
        for each in (layer, plain):
            each.build(X.shape)
        plain.set_weights(layer.get_weights())
        found = [results_of(each) for each in (layer, plain)]
        assert layer._fused is None
        assert np.unique(found[0][0]).tolist() == [0, 10]
        for a, b in zip(*found, strict=True):
            np.testing.assert_array_equal(a, b)

    def test_there_is_no_second_derivative(self):
        def second(layer, function):
            x = tf.Variable(X)
            with tf.GradientTape() as outer:
                with tf.GradientTape() as inner:
                    y = tf.reduce_sum(function(layer(x)))
                slope = tf.reduce_sum(inner.gradient(y, x) ** 2)
            return outer.gradient(slope, x)

        for function in (tf.square, tf.identity):
            with pytest.raises(NotImplementedError, match="SRCCell .*has no second derivative."):
                second(SRC(4), function)
        layer = SRC(4)
        layer.fused = False
        assert np.abs(second(layer, tf.square)).max() > 0


class TestWork:
    """Counted, not timed."""

    def products(self, layer, backward):
        """The shapes of the results of the matrix products in the graph, and those in its loops."""

        @tf.function(autograph=False)
        def step(x):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(layer(x, training=True))
            return tape.gradient(loss, layer.trainable_variables) if backward else loss

        graph = step.get_concrete_function(tf.TensorSpec(X.shape)).graph
        outside = [
            tuple(operation.outputs[0].shape)
            for operation in graph.get_operations()
            if "MatMul" in operation.type
        ]
        within = [
            node.name
            for function in graph.as_graph_def().library.function
            for node in function.node_def
            if "MatMul" in node.op
        ]
        return outside, len(within)

    @pytest.mark.parametrize(
        ("layer", "columns"),
        [
            (RLIF(4, return_sequences=True), 4),
            (LIF(4, return_sequences=True), 4),
            (GatedLIF(4, return_sequences=True, use_bias=True), 8),
            (GatedLIF(4, return_sequences=True, recurrent_gates=True), 8),
            (SpikingLSTM(4, return_sequences=True), 16),
            (LIFLSTM(4, return_sequences=True), 16),
            (SRC(4, return_sequences=True), 4),
            (AdaptiveAnalogLSTM(4, return_sequences=True), 8),
        ],
        ids=lambda value: getattr(value, "name", ""),
    )
    def test_products(self, layer, columns):
        """In the loops only those with what is fed back; each gradient of a weight is one."""
        layer(X)
        batch, steps, inputs = X.shape
        has_bias = layer.cell.net_bias() is not None
        has_feedback = layer.cell.feedback_kernel() is not None
        projection = (batch * steps, columns)
        assert self.products(layer, backward=False) == ([projection], int(has_feedback))
        of_weights = [(inputs, columns), *[(4, columns)] * has_feedback, *[(1, columns)] * has_bias]
        outside, within = self.products(layer, backward=True)
        assert sorted(outside) == sorted([projection, *of_weights])
        assert within == 2 * has_feedback

    def test_equal_layers_are_compiled_once(self):
        first, second = RLIF(4, kernel_initializer="ones"), RLIF(4, dropout=0.5)
        other = RLIF(4, threshold=0.7)
        for layer in (first, second, other):
            layer(X)
        functions = [functions_of(layer) for layer in (first, second, other)]
        assert functions[0] is functions[1] is not functions[2]
        assert functions[0].cell.built is False  # No weights of the first stay in memory.
        for surrogate in (OneParameter, OneSlot):
            one, two = surrogate(1.0), surrogate(2.0)
            assert one == two
            a, b, c = (functions_of(RLIF(4, surrogate=each)) for each in (one, two, surrogate(1.0)))
            assert a is c is not b
        first.cell.threshold = 0.7
        assert functions_of(first) is functions[2]

    def test_tensorflow_does_not_warn_of_many_layers(self, caplog):
        caplog.set_level("WARNING", logger="tensorflow")
        for threshold in np.linspace(0.2, 0.9, 6):
            RLIF(4, threshold=float(threshold))(X)
        assert "retracing" not in caplog.text

    def test_batches_do_not_trace_again(self, monkeypatch):
        layer = RLIF(4, threshold=0.61, return_sequences=True)
        traces = []
        advance = RLIFCell.advance
        monkeypatch.setattr(
            RLIFCell, "advance", lambda *arguments: (traces.append(1), advance(*arguments))[1]
        )
        model = keras.Sequential([keras.Input((17, 5)), layer])
        model.compile("sgd", "mse")
        model.fit(X, np.zeros((3, 17, 4)), batch_size=2, verbose=0)
        before = len(traces)
        model.fit(np.concatenate([X, X, X]), np.zeros((9, 17, 4)), batch_size=2, verbose=0)
        assert len(traces) == before > 0


class TestImages:
    X = np.random.default_rng(3).normal(0.0, 1.0, (3, 7, 6, 5, 2)).astype("float32")

    @classmethod
    def pair(cls, **options):
        """A layer, and one with the same weights in Keras' loop."""
        plain = type("Plain", (InKerasLoop, ConvRLIF2D), {})
        found = [each(4, (3, 2), return_state=True, **options) for each in (ConvRLIF2D, plain)]
        for each in found:
            each.build(cls.X.shape)
        generator = np.random.default_rng(1)
        for a, b in zip(*(each.trainable_weights for each in found), strict=True):
            a.assign_add(generator.normal(0, 0.2, a.shape))
            b.assign(a)
        return found

    @pytest.mark.parametrize(
        "options",
        [
            SEQUENCES,
            BACKWARDS,
            {**SEQUENCES, "strides": (2, 1), "padding": "same", "dropout": 0.3, "seed": 1},
            {**SEQUENCES, "use_bias": False, "use_membrane_bias": False},
            {**SEQUENCES, "threshold": [0.3, 0.5, 0.7, 0.9], "reset": [0.0, -0.2, 0.1, 0.2]},
            *(
                {**SEQUENCES, "output_mode": "analog", "analog_source": s}
                for s in ("leaked", "reset")
            ),
        ],
        ids=str,
    )
    def test_it_equals_the_loop_of_keras(self, options):
        layer, plain = self.pair(**options)
        assert_equal(results(layer, self.X, True), results(plain, self.X, True))
        assert layer._fused is not None and plain._fused is None

    def test_initial_states_and_other_sizes_of_a_batch(self):
        layer, plain = self.pair(return_sequences=True)
        states = [tf.random.stateless_uniform((5, 4, 4, 4), (1, 2))]
        x = np.concatenate([self.X, self.X[:2]])
        for _ in range(2):
            actual, expected = (each(x, initial_state=states) for each in (layer, plain))
            assert_equal(dict(enumerate(actual)), dict(enumerate(expected)))
            x, states = x[:3], [states[0][:3]]

    @pytest.mark.parametrize(
        "options",
        [{"membrane_kernel_size": 3}, {"data_format": "channels_first"}, {"noise_stddev": 0.1}],
        ids=str,
    )
    def test_what_keras_loop_is_for(self, options):
        layer = ConvRLIF2D(4, 2, **options)
        layer.build(self.X.shape)
        assert not layer.is_fused(tf.constant(self.X), None, True)


class TestCheckpoints:
    @pytest.mark.parametrize(
        ("every", "steps", "backwards"),
        [(1, 3, False), (5, 12, False), (5, 12, True), (40, 12, False)],
    )
    @pytest.mark.parametrize("name", ["RLIF", "GatedLIF, version 2, 6 bits"])
    def test_they_do_not_change_the_results(self, name, every, steps, backwards):
        """Also where a segment, which backwards is the first one, is shorter than the others."""
        options = {**SEQUENCES, "go_backwards": backwards}
        layer, plain = pair(name, return_state=True, **options)
        layer.checkpoint_every = every
        x = X[:, :steps]
        expected = results(plain, x, True)
        assert_equal(results(layer, x, True, compiled=True), expected)
        for a, b in zip(layer.weights, plain.weights, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, err_msg=a.name)

    @pytest.mark.parametrize("options", [{}, {**SEQUENCES, **BACKWARDS}], ids=["", "backwards"])
    @pytest.mark.parametrize(
        "name", ["RLIF", "LIF", "SpikingLSTM", "LIFLSTM", "SRC", "AdaptiveAnalogLSTM"]
    )
    def test_with_any_layer(self, name, options):
        layer, plain = pair(name, return_state=True, **options)
        layer.checkpoint_every = 8
        x = X[:, :16]  # Segments of one length: each other one is compiled as well.
        assert_equal(results(layer, x, True), results(plain, x, True))

    def test_with_dropout(self):
        layer, plain = pair("RLIF", return_state=True, dropout=0.5, seed=3)
        layer.checkpoint_every = 8
        x = X[:, :16]
        assert_equal(results(layer, x, True), results(plain, x, True))

    def test_less_is_kept(self):
        """What the forward pass hands to the backward pass, counted in numbers."""

        def kept(**options):
            layer = RLIF(8, **options)
            x = tf.random.normal((2, 100, 3))
            layer(x)

            @tf.function(autograph=False)
            def step(x):
                with tf.GradientTape() as tape:
                    loss = tf.reduce_sum(layer(x, training=True))
                return tape.gradient(loss, layer.trainable_variables)

            graph = step.get_concrete_function(x).graph
            sizes = [
                tensor.shape.num_elements() or 0
                for operation in graph.get_operations()
                for tensor in operation.outputs
                if tensor.shape.rank == 3 and tensor.shape[-1] == 8
            ]
            return max(sizes)

        assert kept() == 2 * 100 * 8
        assert kept(checkpoint_every=10) == 2 * 10 * 8

    @pytest.mark.parametrize("name", ["RLIF", "LIFLSTM"])
    def test_with_a_stateful_layer(self, name):
        found = []
        for layer in pair(name, stateful=True, return_sequences=True):
            if not isinstance(layer, InKerasLoop):
                layer.checkpoint_every = 8
            layer(X[:, :16])  # So that the states are not 0.
            found.append(results_of(layer, X[:, :16]))
        for a, b in zip(*found, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-4)

    def test_without_state(self):
        layer = RLIF(4, checkpoint_every=4)
        layer.build(X.shape)
        values = [tf.constant(each) for each in layer.get_weights()]
        with tf.GradientTape() as tape:
            tape.watch(values)
            outputs, _ = layer.stateless_call(values, layer.non_trainable_variables, X)
            plain, _ = layer.stateless_call(values, layer.non_trainable_variables, X, training=True)
            loss = tf.reduce_sum(plain)
        assert all(each is not None for each in tape.gradient(loss, values))
        np.testing.assert_array_equal(outputs, plain)

    @pytest.mark.parametrize("backwards", [False, True])
    def test_with_a_penalty_on_all_outputs(self, backwards):
        model = keras.Sequential(
            [
                RLIF(
                    6,
                    checkpoint_every=8,
                    go_backwards=backwards,
                    activity_regularizer=FiringRate(lower=0.9, upper=1.0),
                )
            ]
        )
        model.compile("sgd", "mse")
        assert model.fit(X[:, :16], np.zeros((3, 6)), verbose=0).history["loss"][0] > 0

    def test_configuration(self):
        layer = SRC.from_config(SRC(4, checkpoint_every=10).get_config())
        assert layer.checkpoint_every == 10
        assert SRC.from_config(SRC(4).get_config()).checkpoint_every is None

    @pytest.mark.parametrize("every", [0, -1, 2.5, True, "10"])
    def test_it_must_be_a_number_of_steps(self, every):
        with pytest.raises(ValueError, match="RLIF 'a': `checkpoint_every` must be a positive int"):
            RLIF(4, checkpoint_every=every, name="a")

    def test_a_convolution_has_none(self):
        with pytest.raises(ValueError, match="ConvRLIF2D 'a' does not take `checkpoint_every`"):
            ConvRLIF2D(4, 3, checkpoint_every=10, name="a")

    def test_a_subclass_with_a_constructor_of_its_own(self):
        class Own(RLIF):
            def __init__(self, units, **kwargs):
                super().__init__(units, **kwargs)

        layer = Own(4, checkpoint_every=10)
        assert layer.get_config()["checkpoint_every"] == 10
        assert "checkpoint_every" not in Own(4).get_config()

    def test_statistics_of_all_steps_need_all_steps(self):
        with pytest.raises(ValueError, match="cannot be used with `batch_normalization`"):
            LIF(4, batch_normalization=True, checkpoint_every=10)
