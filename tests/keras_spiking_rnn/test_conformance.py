"""What every recurrent layer of the library must do as a Keras layer.

A new model joins by one more line in `MODELS`.
"""

import inspect
import json
import os
import pathlib
import subprocess
import sys
import textwrap
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_rnn as ksr

BATCH, STEPS, FEATURES, UNITS = 3, 8, 5, 6


class Model(NamedTuple):
    layer: type
    cell: type
    arguments: dict  # Give a mixture of spikes and silence on `sequences`.
    random: dict  # Arguments that make training random.
    binary: bool = True  # Whether outputs are 0 or 1, or else from 0 to 1.
    spiking: bool = True  # Whether outputs are spikes, or else numbers above 0.
    features: tuple = (FEATURES,)  # Shape of the inputs of one step.
    outputs: tuple = (UNITS,)  # Shape of its outputs.

    @property
    def of_images(self):
        return len(self.features) > 1


MODELS = [
    Model(ksr.RLIF, ksr.RLIFCell, {"leak_initializer": 0.8}, {"noise_stddev": 0.3, "dropout": 0.3}),
    Model(
        ksr.ConvRLIF2D,
        ksr.ConvRLIF2DCell,
        {"kernel_size": (2, 3), "leak_initializer": 0.8},
        {"noise_stddev": 0.3, "dropout": 0.3},
        features=(5, 6, 2),
        outputs=(4, 4, UNITS),
    ),
    Model(
        ksr.LIFLSTM,
        ksr.LIFLSTMCell,
        {"threshold": 0.1, "leak_initializer": 0.8},
        {"noise_stddev": 0.3, "dropout": 0.3, "recurrent_dropout": 0.3},
    ),
    Model(ksr.SpikingLSTM, ksr.SpikingLSTMCell, {}, {"dropout": 0.3, "recurrent_dropout": 0.3}),
    Model(
        ksr.SRC,
        ksr.SRCCell,
        {"z_hyp": 0.3, "bias_initializer": -4},
        {"noise_stddev": 0.3, "dropout": 0.3},
        binary=False,
    ),
    Model(
        ksr.LIF,
        ksr.LIFCell,
        {"learn_current_decay": True, "learn_membrane_decay": True},
        {"dropout": 0.3, "recurrent_dropout": 0.3},
    ),
    Model(
        ksr.GatedLIF,
        ksr.GatedLIFCell,
        {
            "recurrent_gates": True,
            "gate_activation": "plan_sigmoid",
            "learn_membrane_decay": True,
            "batch_normalization": True,
        },
        {"dropout": 0.3, "recurrent_dropout": 0.3},
        binary=False,
    ),
    Model(
        ksr.AdaptiveAnalogLSTM,
        ksr.AdaptiveAnalogLSTMCell,
        {
            "use_bias": True,
            "bias_initializer": "ones",
            "forget_gate": True,
            "output_gate": True,
        },
        {"dropout": 0.3},
        binary=False,
        spiking=False,
    ),
]


@pytest.fixture(params=MODELS, ids=lambda model: model.layer.__name__)
def model(request):
    return request.param


@pytest.fixture(autouse=True)
def repeatable():
    keras.utils.set_random_seed(7)


@pytest.fixture
def policy():
    """Sets a global dtype policy for the length of a test."""
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


def sequences(model, batch=BATCH, steps=STEPS, seed=0):
    shape = (batch, steps, *model.features)
    return np.random.default_rng(seed).normal(0.3, 1.0, shape).astype("float32")


def of_steps(mask, model):
    """`mask` of shape (batch, steps) with the axes of sequences."""
    return mask.reshape(*mask.shape, *[1] * len(model.features))


def make(model, **arguments):
    return model.layer(UNITS, **{**model.arguments, **arguments})


def copy_of(model, layer, **changes):
    """Returns a layer with other arguments and the same weights."""
    copy = type(layer).from_config({**layer.get_config(), **changes})
    copy.build((None, None, *model.features))
    copy.set_weights(layer.get_weights())
    return copy


def built(model, **arguments):
    layer = make(model, **arguments)
    layer.build((None, None, *model.features))
    return layer


def values(outputs):
    return keras.tree.map_structure(np.asarray, outputs)


def assert_same(actual, expected):
    # In float32 the potentials of an SRC are rounded by up to 5e-7, and its feedback doubles that
    # at each step of the rise of a pulse.
    keras.tree.map_structure(
        lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-5),
        values(actual),
        values(expected),
    )


def assert_informative(spikes):
    """Fails for outputs that would agree with anything: all silent or all firing."""
    assert 0.02 < np.mean(np.asarray(spikes, "float32")) < 0.98


def assert_spikes(model, spikes):
    assert_informative(spikes)
    spikes = np.asarray(spikes, "float32")
    if model.binary:
        assert set(np.unique(spikes)) == {0.0, 1.0}
    elif not model.spiking:
        assert 0 < spikes.min() < 0.1 < spikes.max() < 1
    else:
        assert spikes.min() == 0
        assert 0 < spikes[spikes > 0].min() < 0.9 < spikes.max() <= 1


class TestConfig:
    def test_layer_and_cell_are_equal_after_a_round_trip(self, model):
        for made in (make(model, **model.random), model.cell(UNITS, **model.arguments)):
            config = made.get_config()
            assert type(made).from_config(config).get_config() == config

    def test_it_survives_json(self, model):
        layer = make(model, **model.random)
        text = json.dumps(keras.saving.serialize_keras_object(layer))
        loaded = keras.saving.deserialize_keras_object(json.loads(text))
        assert loaded.get_config() == layer.get_config()

    def test_it_holds_each_argument_of_the_constructor(self, model):
        for made in (
            make(model, activity_regularizer="l2"),
            model.cell(UNITS, **model.arguments),
        ):
            arguments = set(inspect.signature(type(made).__init__).parameters) - {"self", "kwargs"}
            assert arguments <= set(made.get_config())

    def test_the_layer_shows_each_argument_of_the_cell(self, model):
        layer = make(model)
        for name in set(inspect.signature(model.cell.__init__).parameters) - {"self", "kwargs"}:
            assert getattr(layer, name) == getattr(layer.cell, name)

    def test_a_clone_has_the_same_outputs(self, model):
        original = keras.Sequential([keras.Input((STEPS, *model.features)), make(model)])
        clone = keras.models.clone_model(original)
        clone.set_weights(original.get_weights())
        assert_same(clone(sequences(model)), original(sequences(model)))


class TestShapes:
    @pytest.mark.parametrize("return_sequences", [False, True])
    @pytest.mark.parametrize("return_state", [False, True])
    def test_symbolic_and_real_shapes_agree(self, model, return_sequences, return_state):
        layer = make(model, return_sequences=return_sequences, return_state=return_state)
        symbolic = layer(keras.Input((STEPS, *model.features), batch_size=BATCH))
        real = layer(sequences(model))
        shapes = [tuple(t.shape) for t in keras.tree.flatten(symbolic)]
        assert shapes == [tuple(t.shape) for t in keras.tree.flatten(real)]
        assert shapes[0] == ((BATCH, STEPS) if return_sequences else (BATCH,)) + model.outputs

    @pytest.mark.parametrize("batch,steps", [(1, 1), (1, STEPS), (BATCH, 1)])
    def test_one_sequence_and_one_step(self, model, batch, steps):
        layer = built(model, return_sequences=True)
        whole = values(layer(sequences(model)))
        part = layer(sequences(model)[:batch, :steps])
        assert_same(part, whole[:batch, :steps])

    def test_the_number_of_steps_may_vary(self, model):
        inputs = keras.Input((None, *model.features))
        layer = make(model, return_sequences=True)
        network = keras.Model(inputs, layer(inputs))
        whole = values(layer(sequences(model)))
        signature = tf.TensorSpec((None, None, *model.features))
        of_any_length = tf.function(network, input_signature=[signature])
        for steps in (1, 3, STEPS):
            assert_same(of_any_length(sequences(model)[:, :steps]), whole[:, :steps])

    def test_inputs_that_do_not_fit(self, model):
        layer = built(model)
        x = sequences(model)
        with pytest.raises(ValueError, match="incompatible with the layer: expected shape"):
            layer(x[..., :1])
        with pytest.raises(ValueError, match="have no steps"):
            layer(x[:, :0])
        with pytest.raises(ValueError, match=r"mask must have shape \(batch, steps\)"):
            layer(x, mask=np.ones((BATCH, STEPS - 1), bool))


class TestOutputs:
    def test_they_are_spikes(self, model):
        assert_spikes(model, values(built(model, return_sequences=True)(sequences(model))))

    def test_the_last_output_is_that_of_the_last_step(self, model):
        layer = built(model, return_sequences=True)
        last = copy_of(model, layer, return_sequences=False)
        assert_same(last(sequences(model)), values(layer(sequences(model)))[:, -1])

    def test_initial_state_continues_a_sequence(self, model):
        layer = built(model, return_sequences=True, return_state=True)
        whole = values(layer(sequences(model)))
        first, *state = layer(sequences(model)[:, :3])
        second = layer(sequences(model)[:, 3:], initial_state=state)
        assert_same(np.concatenate([first, second[0]], axis=1), whole[0])
        assert_same(second[1:], whole[1:])
        alone = values(layer(sequences(model)[:, 3:]))
        assert not np.array_equal(alone[1], second[1]), "the state makes no difference"

    def test_go_backwards(self, model):
        layer = built(model, return_sequences=True)
        backwards = copy_of(model, layer, go_backwards=True)
        assert_same(backwards(sequences(model)), layer(sequences(model)[:, ::-1]))


# The two that Keras and XLA build in other ways than the loop of an eager call or a graph, which
# other tests run.
LOOPS = pytest.mark.parametrize(
    "jit_compile,unroll", [(True, False), (False, True)], ids=["jit_compile", "unroll"]
)


class TestWaysToRun:
    @pytest.fixture
    def expected(self, model):
        layer = built(model, return_sequences=True, return_state=True)
        outputs = values(layer(sequences(model)))
        assert_informative(outputs[0])
        return layer, outputs

    @LOOPS
    def test_in_a_graph(self, model, expected, jit_compile, unroll):
        layer, outputs = expected
        layer = copy_of(model, layer, unroll=unroll)
        run = tf.function(lambda x: layer(x), jit_compile=jit_compile)
        assert_same(run(tf.constant(sequences(model))), outputs)

    def test_as_a_cell_in_keras_rnn(self, model, expected):
        layer, outputs = expected
        rnn = keras.layers.RNN(layer.cell, return_sequences=True, return_state=True)
        assert_same(rnn(sequences(model)), outputs)

    def test_as_stacked_cells(self, model, expected):
        first, _ = expected
        first = copy_of(model, first, return_state=False)
        second = model.layer(4, return_sequences=True, **model.arguments)
        chained = values(second(first(sequences(model))))
        assert_informative(chained)
        stacked = keras.layers.RNN([first.cell, second.cell], return_sequences=True)
        assert_same(stacked(sequences(model)), chained)

    def test_in_bidirectional(self, model):
        both = keras.layers.Bidirectional(make(model, return_sequences=True))
        outputs = values(both(sequences(model)))
        forward = values(both.forward_layer(sequences(model)))
        backward = values(both.backward_layer(sequences(model)))[:, ::-1]
        assert_informative(outputs)
        assert_same(outputs, np.concatenate([forward, backward], axis=-1))

    def test_in_a_model_of_several_layers(self, model):
        layers = [make(model, return_sequences=True), make(model, return_sequences=True)]
        network = keras.Sequential([keras.Input((STEPS, *model.features)), *layers])
        assert_same(
            network.predict(sequences(model), verbose=0),
            layers[1](values(layers[0](sequences(model)))),
        )


class FrameMasking(keras.layers.Layer):
    """Masks steps that are 0 throughout. Keras' `Masking` masks positions of an image."""

    def call(self, inputs):
        return inputs

    def compute_mask(self, inputs, previous_mask=None):
        return keras.ops.any(inputs != 0, axis=tuple(range(2, len(inputs.shape))))


class TestMasks:
    mask = np.array([[1, 1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0, 0, 0], [0, 1, 1, 0, 0, 1, 1, 0]])
    mask = mask.astype(bool)

    @LOOPS
    def test_a_masked_step_is_as_if_it_were_not_there(self, model, unroll, jit_compile):
        layer = built(model, return_sequences=True, return_state=True, unroll=unroll)
        run = tf.function(lambda x, mask: layer(x, mask=mask), jit_compile=jit_compile)
        spikes, *states = values(run(tf.constant(sequences(model)), tf.constant(self.mask)))
        for index, kept in enumerate(self.mask):
            alone = values(layer(sequences(model)[index : index + 1, kept]))
            assert_same(spikes[index, kept], alone[0][0])
            assert_same([s[index] for s in states], [s[0] for s in alone[1:]])

    @staticmethod
    def padded_after_a_spike(model, layer):
        """Returns a mask that ends a sequence at a spike, the sequence and the number of spikes."""
        spikes = values(layer(sequences(model)))
        sequence, step = np.argwhere(spikes[:, :-1].reshape(BATCH, STEPS - 1, -1).any(axis=-1))[0]
        mask = np.tile(np.arange(STEPS) <= step, (BATCH, 1))
        return mask, sequence, spikes[sequence, step].sum()

    @pytest.mark.parametrize("unroll", [False, True])
    def test_no_spikes_at_masked_steps(self, model, unroll):
        layer = built(model, return_sequences=True, unroll=unroll)
        mask, sequence, last_spikes = self.padded_after_a_spike(model, layer)
        spikes = values(layer(sequences(model), mask=mask))
        assert_same(spikes[sequence][mask[sequence]][-1].sum(), last_spikes)
        assert last_spikes > 0
        assert not spikes[~mask].any()
        last = copy_of(model, layer, return_sequences=False)
        assert not values(last(sequences(model), mask=mask)).any()

    def test_keras_default_would_repeat_spikes(self, model):
        layer = built(model, return_sequences=True, zero_output_for_mask=False)
        mask, sequence, last_spikes = self.padded_after_a_spike(model, layer)
        padded = values(layer(sequences(model), mask=mask))[sequence][~mask[sequence]]
        assert_same(padded.sum(), last_spikes * len(padded))
        assert len(padded) > 0

    def test_masked_values_do_not_matter(self, model):
        layer = built(model, return_sequences=True)
        other = np.where(of_steps(self.mask, model), sequences(model), 1e6).astype("float32")
        assert_same(layer(other, mask=self.mask), layer(sequences(model), mask=self.mask))

    # Keras 3.12 loses the mask of inputs that it casts to half precision itself.
    @pytest.mark.parametrize("dtype", ["float32", "mixed_float16"])
    def test_the_mask_of_a_masking_layer_reaches_the_layer_after(self, model, dtype):
        masked = np.where(of_steps(self.mask, model), sequences(model), 0.0).astype("float32")
        layer = make(model, return_sequences=True, dtype=dtype)
        masking = FrameMasking() if model.of_images else keras.layers.Masking()
        network = keras.Sequential(
            [keras.Input((STEPS, *model.features)), masking, layer, ksr.TimeSum(mean=True)]
        )
        spikes = values(layer(sequences(model), mask=self.mask))
        rates = spikes.sum(axis=1) / of_steps(self.mask, model).sum(axis=1)
        # Outputs of half precision are rounded.
        tolerance = 1e-5 if dtype == "float32" else 1e-3
        np.testing.assert_allclose(
            network.predict(masked, verbose=0), rates, rtol=tolerance, atol=tolerance
        )

    def test_backwards(self, model):
        layer = built(model, return_sequences=True)
        backwards = copy_of(model, layer, go_backwards=True)
        assert_same(
            backwards(sequences(model), mask=self.mask),
            layer(sequences(model)[:, ::-1], mask=self.mask[:, ::-1]),
        )


class TestStateful:
    def test_batches_continue_until_reset(self, model):
        layer = built(model, return_sequences=True)
        whole = values(layer(sequences(model)))
        stateful = model.layer.from_config({**layer.get_config(), "stateful": True})
        stateful.build((BATCH, None, *model.features))
        stateful.set_weights(layer.get_weights())
        first, second = values(
            [stateful(sequences(model)[:, :3]), stateful(sequences(model)[:, 3:])]
        )
        assert_same(np.concatenate([first, second], axis=1), whole)
        assert not np.array_equal(second, values(layer(sequences(model)[:, 3:])))
        stateful.reset_state()
        assert_same(stateful(sequences(model)), whole)

    def test_an_exported_model_continues_too(self, model, tmp_path):
        inputs = keras.Input((4, *model.features), batch_size=BATCH)
        layer = make(model, stateful=True, return_sequences=True)
        network = keras.Model(inputs, layer(inputs))
        halves = np.split(sequences(model), 2, axis=1)
        expected = [network.predict(half, verbose=0) for half in halves]
        layer.reset_state()
        # Without a signature Keras 3.12 exports with an unknown batch size, and fails.
        signature = [keras.InputSpec(shape=inputs.shape, dtype="float32")]
        network.export(tmp_path, input_signature=signature, verbose=False)
        exported = tf.saved_model.load(tmp_path)
        assert_same([exported.serve(tf.constant(half)) for half in halves], expected)


class TestDtypes:
    @pytest.mark.parametrize(
        "name,dtype,state_dtype,jit_compile",
        [
            ("mixed_float16", "float16", "float32", True),
            ("mixed_bfloat16", "bfloat16", "float32", False),
            ("float16", "float16", "float32", False),
            ("float64", "float64", "float64", False),
        ],
    )
    def test_outputs_have_the_layers_dtype(
        self, model, policy, name, dtype, state_dtype, jit_compile
    ):
        policy(name)
        layer = built(model, return_sequences=True)
        spikes = tf.function(lambda x: layer(x), jit_compile=jit_compile)(
            tf.constant(sequences(model))
        )
        assert spikes.dtype.name == dtype
        assert_spikes(model, spikes)
        for state in layer.get_initial_state(BATCH):
            assert keras.backend.standardize_dtype(state.dtype) == state_dtype

    # Tracing the graph takes most of the time. The states of mixed_bfloat16 are float32 too.
    @pytest.mark.parametrize("name,eagerly", [("mixed_float16", False), ("float64", True)])
    def test_training(self, model, policy, name, eagerly):
        policy(name)
        network = classifier(model)
        network.compile("adam", "sparse_categorical_crossentropy", run_eagerly=eagerly)
        network.fit(sequences(model), np.array([0, 1, 0]), epochs=2, verbose=0)
        assert all(np.isfinite(weight).all() for weight in network.get_weights())

    @pytest.mark.parametrize("name", ["mixed_float16", "mixed_bfloat16"])
    def test_stacked_cells_say_how_to_keep_their_states(self, model, policy, name):
        policy(name)
        cells = [model.cell(UNITS, **model.arguments) for _ in range(2)]
        with pytest.warns(UserWarning, match="dtype='float32'"):
            keras.layers.RNN(cells)(sequences(model))
        stacked = keras.layers.StackedRNNCells(cells, dtype="float32")
        network = keras.layers.RNN(stacked, return_sequences=True)
        assert network(sequences(model)).dtype.name == name.removeprefix("mixed_")


def classifier(model, **arguments):
    # A float32 softmax, as in any Keras model of mixed precision.
    return keras.Sequential(
        [
            keras.Input((STEPS, *model.features)),
            make(model, return_sequences=True, **arguments),
            ksr.TimeSum(),
            keras.layers.Flatten(),
            keras.layers.Dense(2),
            keras.layers.Activation("softmax", dtype="float32"),
        ]
    )


class TestTraining:
    def test_it_lowers_the_loss_compiled(self, model):
        """Without XLA that of digits does, in the tests of each model."""
        x = sequences(model, batch=32)
        y = (x.reshape(len(x), -1).mean(axis=1) > 0.3).astype("int32")
        network = classifier(model)
        before = network.get_weights()
        network.compile(
            keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy", jit_compile=True
        )
        losses = network.fit(x, y, epochs=12, batch_size=32, verbose=0).history["loss"]
        assert losses[-1] < 0.8 * losses[0]
        moved = [
            not np.array_equal(a, b) for a, b in zip(before, network.get_weights(), strict=True)
        ]
        assert all(moved), [w.path for w, m in zip(network.weights, moved, strict=True) if not m]

    def test_frozen_weights_stay_and_thaw(self, model):
        network = classifier(model)
        layer = network.layers[0]
        trainable = len(layer.trainable_weights)
        before = layer.get_weights()
        network.trainable = False
        assert layer.trainable_weights == []
        network.trainable = True
        assert len(layer.trainable_weights) == trainable
        layer.trainable = False
        network.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
        network.fit(sequences(model), np.array([0, 1, 0]), verbose=0)
        assert_same(layer.get_weights(), before)

    def test_activity_regularizer_of_the_layer(self, model):
        layer = make(model, return_sequences=True, activity_regularizer=keras.regularizers.L1(0.01))
        spikes = values(layer(sequences(model)))
        assert_informative(spikes)
        # Keras 3.12 does not divide by the batch size, newer versions do.
        total = pytest.approx(0.01 * spikes.sum(), rel=1e-5)
        assert float(layer.losses[0]) == total or BATCH * float(layer.losses[0]) == total

    def test_activity_regularizer_of_the_cell_is_refused(self, model):
        with pytest.raises(ValueError, match=r"does not take an `activity_regularizer`.*RNN\(cell"):
            model.cell(UNITS, activity_regularizer="l2", **model.arguments)


class TestRandomness:
    def run(self, model, training, seed, calls=1):
        keras.utils.set_random_seed(3)
        layer = built(model, return_sequences=True, seed=seed, **model.random)
        run = tf.function(lambda x: layer(x, training=training))
        return [run(tf.constant(sequences(model))).numpy() for _ in range(calls)]

    def test_a_seed_repeats_training(self, model):
        first = self.run(model, True, seed=1, calls=2)
        again = self.run(model, True, seed=1, calls=2)
        other = self.run(model, True, seed=2)
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first[0], first[1])
        assert not np.array_equal(first[0], other[0])

    def test_a_seed_repeats_compiled_training(self, model):
        layer = built(model, return_sequences=True, seed=1, **model.random)
        before = layer.get_weights()
        run = tf.function(lambda x: layer(x, training=True), jit_compile=True)
        outputs = {}
        for name, seed in (("first", 1), ("again", 1), ("other", 2)):
            # As a new layer would begin, without compiling it anew.
            layer.set_weights(before)
            layer.cell.seed_generator.state.assign(keras.random.SeedGenerator(seed).state)
            outputs[name] = [run(tf.constant(sequences(model))).numpy() for _ in range(2)]
        np.testing.assert_array_equal(outputs["first"], outputs["again"])
        assert not np.array_equal(*outputs["first"])
        assert not np.array_equal(outputs["first"][0], outputs["other"][0])

    def test_inference_is_not_random(self, model):
        first, second = self.run(model, False, seed=1, calls=2)
        np.testing.assert_array_equal(first, second)
        plain = built(model, return_sequences=True)
        keras.utils.set_random_seed(3)
        random = built(model, return_sequences=True, **model.random)
        random.set_weights(plain.get_weights())
        assert_same(random(sequences(model)), plain(sequences(model)))


class TestMetrics:
    def test_the_firing_rate_is_found(self, model):
        network = keras.Sequential(
            [keras.Input((STEPS, *model.features)), make(model, name="spiking")]
        )
        layer = copy_of(model, network.layers[0], return_sequences=True)
        if not model.spiking:
            with pytest.raises(ValueError, match="has no spiking layer"):
                ksr.metrics.firing_rates(network, sequences(model))
            return
        rates = ksr.metrics.firing_rates(network, sequences(model))
        # A graded output counts as one spike.
        spiking = values(layer(sequences(model))) != 0
        assert rates == {"spiking": pytest.approx(spiking.mean())}


@pytest.mark.xdist_group("saving")  # one fresh process for all
class TestSaving:
    LOAD = """
        import sys

        import numpy as np
        import tensorflow as tf

        folder, *names = sys.argv[1:]
        x = {name: np.load(f"{folder}/{name}_x.npy") for name in names}
        for name in names:  # Before the library is imported: a SavedModel needs only TensorFlow.
            exported = tf.saved_model.load(f"{folder}/{name}")
            np.save(f"{folder}/{name}_exported.npy", exported.serve(tf.constant(x[name])))
        assert "keras_spiking_rnn" not in sys.modules

        import keras
        import keras_spiking_rnn

        for name in names:
            network = keras.saving.load_model(f"{folder}/{name}.keras")
            np.save(f"{folder}/{name}_loaded.npy", network(x[name]))
    """

    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory):
        """Saves a network of each model and runs all of them in one fresh process."""
        folder = tmp_path_factory.mktemp("saved")
        names = []
        for model in MODELS:
            keras.utils.set_random_seed(5)
            inputs = keras.Input((STEPS, *model.features))
            layer = make(model, return_sequences=True, **model.random)
            spikes = keras.layers.Bidirectional(layer)(inputs)
            outputs = [spikes]
            if not model.of_images:  # `RNN` does not know the shape of the outputs.
                cells = [model.cell(4, **model.arguments) for _ in range(2)]
                outputs.append(keras.layers.RNN(cells, return_sequences=True)(spikes))
            outputs = [keras.layers.Flatten()(ksr.TimeSum()(t)) for t in outputs]
            network = keras.Model(inputs, keras.layers.Concatenate()(outputs))
            for weight in network.weights:  # What adapts in training is not as it was made.
                if keras.backend.is_float_dtype(weight.dtype):
                    weight.assign(weight + 0.01)
            name = model.layer.__name__
            names.append(name)
            np.save(folder / f"{name}_x.npy", sequences(model))
            np.save(folder / f"{name}_expected.npy", network(sequences(model)))
            network.save(folder / f"{name}.keras")
            network.export(folder / name, verbose=False)
        script = textwrap.dedent(self.LOAD)
        root = str(pathlib.Path(ksr.__file__).parents[1])
        subprocess.run(
            [sys.executable, "-c", script, str(folder), *names],
            check=True,
            timeout=600,
            env={**os.environ, "PYTHONPATH": root},
        )
        return folder

    @pytest.mark.parametrize("how", ["loaded", "exported"])
    def test_outputs_are_equal_in_a_fresh_process(self, model, folder, how):
        name = model.layer.__name__
        expected = np.load(folder / f"{name}_expected.npy")
        assert 0 < expected.mean() < STEPS
        np.testing.assert_array_equal(np.load(folder / f"{name}_{how}.npy"), expected)

    def test_weights_alone(self, model, tmp_path):
        first, second = classifier(model), classifier(model)
        assert not np.array_equal(first(sequences(model)), second(sequences(model)))
        first.save_weights(tmp_path / "w.weights.h5")
        second.load_weights(tmp_path / "w.weights.h5")
        assert_same(second(sequences(model)), first(sequences(model)))
