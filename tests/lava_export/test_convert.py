"""From Keras models to integer networks: what is read, what is refused, and what is said."""

import dataclasses
import warnings

import keras
import numpy as np
import pytest
from keras import layers

import lava_export
from keras_spiking_rnn import (
    RLIF,
    DeltaEncoder,
    DirectEncoder,
    LatencyEncoder,
    LeakyIntegratorCell,
    LeakyReadout,
    MembraneReadout,
    OnOffPoissonEncoder,
    PoissonEncoder,
    RLIFCell,
    SpikingLSTM,
    TimeSum,
)
from lava_export import ConversionError, QuantizationWarning, convert, export, host

STEPS, INPUTS, UNITS = 8, 6, 4


def rlif(units=UNITS, **options):
    """A layer whose units fire, each with its own biases."""
    options = {
        "return_sequences": True,
        "kernel_initializer": keras.initializers.RandomNormal(0.1, 0.5, seed=units),
        "bias_initializer": keras.initializers.RandomUniform(-0.1, 0.2, seed=1),
        "membrane_bias_initializer": keras.initializers.RandomUniform(-0.1, 0.1, seed=2),
        **options,
    }
    return RLIF(units, **options)


def spikes_of(batch=32, steps=STEPS, inputs=INPUTS):
    return np.random.default_rng(0).integers(0, 2, (batch, steps, inputs)).astype("float32")


def sequential(*stack, shape=(STEPS, INPUTS)):
    return keras.Sequential([keras.Input(shape), *stack])


def output(model, x):
    return keras.ops.convert_to_numpy(model(x, training=False))


def spikes_of_description(model, x):
    """What the described float layers give: independent of how they are quantized."""
    from lava_export.quantize import simulate_float

    for layer in convert.describe(model).spiking:
        x, _ = simulate_float(layer, np.asarray(x))
    return x


class TestChains:
    def chains():
        def functional():
            x = inputs = keras.Input((STEPS, INPUTS))
            for layer in (rlif(name="a"), layers.Dropout(0.5), rlif(3, name="b")):
                x = layer(x)
            return keras.Model(inputs, x)

        def named_functional():
            inputs = keras.Input((STEPS, INPUTS))
            return keras.Model([inputs], [rlif(3, name="b")(rlif(name="a")(inputs))])

        def inner_sequential():
            inner = sequential(rlif(name="a"), layers.GaussianNoise(0.1))
            return sequential(inner, rlif(3, name="b"))

        def inner_functional():
            x = inputs = keras.Input((STEPS, INPUTS))
            inner = keras.Model(inputs, rlif(name="a")(x))
            x = inputs = keras.Input((STEPS, INPUTS))
            return keras.Model(inputs, rlif(3, name="b")(layers.Identity()(inner(x))))

        def submodel():
            whole = sequential(rlif(name="a"), rlif(3, name="b"), TimeSum())
            return keras.Model(whole.inputs, whole.layers[1].output)

        def built_by_a_call():
            model = keras.Sequential([rlif(name="a"), rlif(3, name="b")])
            model(spikes_of())
            return model

        def ignored_layers():
            return sequential(
                layers.Dropout(0.3),
                rlif(name="a"),
                layers.SpatialDropout1D(0.3),
                layers.GaussianDropout(0.3),
                layers.ActivityRegularization(0.1),
                rlif(3, name="b"),
                layers.Dropout(0.3),
            )

        return {
            "Sequential": lambda: sequential(rlif(name="a"), rlif(3, name="b")),
            "functional": functional,
            "functional of lists": named_functional,
            "nested Sequential": inner_sequential,
            "nested functional": inner_functional,
            "part of a model": submodel,
            "built by a call": built_by_a_call,
            "layers for training only": ignored_layers,
        }

    CHAINS = chains()

    @pytest.mark.filterwarnings("ignore:The structure of `inputs`")
    @pytest.mark.parametrize("name", CHAINS)
    def test_each_form_of_a_chain_is_read_in_order(self, name):
        model, spikes = self.CHAINS[name](), spikes_of()
        network = export(model, spikes)
        assert network.names == ("a", "b")
        assert (network.inputs, network.units) == (INPUTS, 3)
        np.testing.assert_array_equal(spikes_of_description(model, spikes), output(model, spikes))
        exported = network.run(spikes)
        assert (exported != output(model, spikes)).mean() < 0.02
        assert 0.05 < exported.mean() < 0.95

    @pytest.mark.parametrize("sequences", [True, False])
    def test_an_rnn_over_a_cell_is_the_layer(self, sequences):
        spikes = spikes_of()
        layer = rlif(return_sequences=sequences, name="a")
        model = sequential(layer)
        rnn = sequential(
            layers.RNN(RLIFCell(UNITS), return_sequences=sequences, name="a"), shape=(None, INPUTS)
        )
        rnn.set_weights(model.get_weights())
        network = export(rnn, spikes)
        assert network.input_shape == (None, INPUTS)
        assert dataclasses.replace(network, input_shape=(STEPS, INPUTS)) == export(model, spikes)

    def test_stacked_cells_are_layers(self):
        cells = layers.RNN([RLIFCell(UNITS), RLIFCell(3)], return_sequences=True, name="stack")
        model, stack = sequential(rlif(), rlif(3)), sequential(cells)
        stack.set_weights(model.get_weights())
        network = export(stack, spikes_of())
        assert network.names == ("stack/0", "stack/1")
        assert network.layers == export(model, spikes_of()).layers

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"mask": np.ones((1, STEPS), bool)}, "'spiking' is called with a mask.*zeros"),
            ({"initial_state": [np.ones((1, UNITS))]}, "'spiking' is called with more.*initial"),
        ],
    )
    def test_what_a_call_was_given_besides_its_input_is_not_dropped(self, arguments, message):
        inputs = keras.Input((STEPS, INPUTS))
        arguments = keras.tree.map_structure(keras.ops.convert_to_tensor, arguments)
        model = keras.Model(inputs, rlif(name="spiking")(inputs, **arguments))
        with pytest.raises(ConversionError, match=message):
            export(model, spikes_of())

    def test_masking_is_refused(self):
        inputs = keras.Input((STEPS, INPUTS))
        model = keras.Model(inputs, rlif(name="spiking")(layers.Masking()(inputs)))
        with pytest.raises(ConversionError, match="Masking"):
            export(model, spikes_of())

    def test_a_subclass_with_a_call_of_its_own_is_not_taken_for_its_base(self):
        class Louder(keras.Sequential):
            def call(self, *args, **kwargs):
                return 2 * super().call(*args, **kwargs)

        class Half(layers.Identity):
            def call(self, x):
                return x / 2

        class Doubled(layers.Dense):
            def call(self, x):
                return 2 * super().call(x)

        class Silent(type(rlif())):
            def call(self, sequences, initial_state=None, mask=None, training=False):
                return 0 * super().call(sequences, initial_state, mask, training)

        given = keras.Input((STEPS, INPUTS))
        models = {
            "subclass of keras.Model with a call of its own": Louder([given, rlif()]),
            r"'half.*' \(Half\) before the first spiking layer": sequential(Half(), rlif()),
            r"'doubled.*' \(Doubled\) after the spiking": sequential(rlif(), TimeSum(), Doubled(3)),
            r"\(Silent over RLIFCell\) has no counterpart": sequential(
                Silent(UNITS, return_sequences=True)
            ),
        }
        for message, model in models.items():
            with pytest.raises(ConversionError, match=message):
                export(model, spikes_of())

    def test_return_sequences_false_gives_the_last_step(self):
        spikes = spikes_of()
        model = sequential(rlif(), rlif(3, return_sequences=False))
        network = export(model, spikes)
        assert network.head == (host.LastStep(),)
        np.testing.assert_array_equal(
            network.decode(spikes_of_description(model, spikes)), output(model, spikes)
        )

    def test_cells_without_biases_have_none(self):
        model = sequential(rlif(use_bias=False, use_membrane_bias=False))
        spikes = spikes_of()
        np.testing.assert_array_equal(spikes_of_description(model, spikes), output(model, spikes))

    def test_thresholds_and_resets_of_each_unit_are_read(self):
        model = sequential(rlif(threshold=[0.3, 0.7, 1.0, 0.5], reset=[0, -0.5, 0.1, -1]))
        spikes = spikes_of()
        np.testing.assert_array_equal(spikes_of_description(model, spikes), output(model, spikes))

    @pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16", "bfloat16", "float64"])
    def test_every_precision_exports(self, dtype):
        spikes = spikes_of()
        reference = sequential(rlif(), rlif(3))
        model = sequential(rlif(dtype=dtype), rlif(3, dtype=dtype))
        model.set_weights(reference.get_weights())
        network = export(model, spikes)
        if dtype != "bfloat16":  # whose weights are rounded
            assert network.layers == export(reference, spikes).layers
        assert (network.run(spikes) != output(model, spikes)).mean() < 0.03

    def test_the_model_is_left_as_it_was(self):
        model = sequential(
            PoissonEncoder(STEPS, seed=3), layers.Dropout(0.5), rlif(), TimeSum(), shape=(INPUTS,)
        )
        x = np.random.default_rng(0).random((32, INPUTS))
        before = [np.array(variable) for variable in model.variables]
        export(model, x)
        for variable, value in zip(model.variables, before, strict=True):
            np.testing.assert_array_equal(np.array(variable), value)

    def test_export_is_deterministic(self):
        model = sequential(PoissonEncoder(STEPS), rlif(), shape=(INPUTS,))
        x = np.random.default_rng(0).random((32, INPUTS))
        assert export(model, x) == export(model, x)


class TestHost:
    @pytest.mark.parametrize(
        "stack, shape",
        [
            ([layers.Flatten()], (2, 3)),
            ([layers.Flatten()], (6,)),
            ([layers.Reshape((3, 2))], (6,)),
            ([layers.Reshape((-1, 2))], (2, 3)),
            ([layers.Rescaling(1 / 255, 0.5)], (6,)),
            ([DirectEncoder(5)], (6,)),
            ([DirectEncoder(5), layers.Reshape((5, -1))], (2, 3)),
            ([layers.Rescaling(2.0), layers.Flatten(), DirectEncoder(3)], (2, 3)),
        ],
    )
    @pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int64"])
    def test_encoders_equal_their_keras_layers(self, stack, shape, dtype):
        encoder = sequential(*stack, shape=shape)
        spiking = [rlif()] if len(encoder.output_shape) == 3 else [DirectEncoder(2), rlif()]
        description = convert.describe(sequential(*stack, *spiking, shape=shape))
        x = (np.random.default_rng(0).random((7, *shape)) * 200).astype(dtype)
        encoded = x
        for operation in description.encoder[: len(stack)]:
            encoded = operation(encoded)
        np.testing.assert_allclose(encoded, output(encoder, x), rtol=1e-6)

    @pytest.mark.parametrize(
        ("encoder", "shape"),
        [
            (LatencyEncoder(9), (INPUTS,)),
            (LatencyEncoder(5, threshold=0.3, clip=False), (INPUTS,)),
            (LatencyEncoder(12, tau=4.0, normalize=False), (INPUTS,)),
            (DeltaEncoder(0.2), (STEPS, INPUTS)),
            (DeltaEncoder(0.2, padding=True, off_spike="neurons"), (STEPS, 3)),
        ],
    )
    def test_encoders_that_draw_nothing_equal_their_keras_layers(self, encoder, shape):
        model = sequential(encoder, rlif(), shape=shape)
        x = np.random.default_rng(0).random((50, *shape), "float32")
        x[:3] = np.round(x[:3], 1)  # meets thresholds
        x[3] *= 2
        (operation,) = convert.describe(model).encoder
        encoded = operation(x)
        assert 0.02 < encoded.mean() < 0.6
        np.testing.assert_array_equal(encoded, output(sequential(encoder, shape=shape), x))
        network = export(model, x)
        assert (network.run(network.encode(x)) != output(model, x)).mean() < 0.02

    @pytest.mark.parametrize("off", ["complement", "independent", None])
    def test_on_and_off_spikes_have_the_probabilities_of_the_keras_layer(self, off):
        encoder = OnOffPoissonEncoder(low=-0.5, high=1.5, off=off, seed=2)
        model = sequential(encoder, rlif())
        (operation,) = convert.describe(model).encoder
        x = np.tile(np.linspace(-1, 2, STEPS * INPUTS).reshape(1, STEPS, INPUTS), (4000, 1, 1))
        spikes, expected = operation(x), output(sequential(encoder), x)
        assert spikes.shape == expected.shape
        np.testing.assert_allclose(spikes.mean(axis=0), expected.mean(axis=0), atol=0.05)
        if off:
            low, high = spikes[..., :INPUTS], spikes[..., INPUTS:]
            both = (low & high).mean()
            assert both == 0 if off == "complement" else both > 0.05

    def test_a_poisson_encoder_keeps_its_arguments(self):
        for seed, kept in ((5, 5), (None, 0)):
            model = sequential(PoissonEncoder(9, gain=0.7, seed=seed), rlif(), shape=(INPUTS,))
            assert convert.describe(model).encoder == [host.PoissonEncoding(9, 0.7, kept)]

    @pytest.mark.parametrize(
        "head",
        [
            [TimeSum()],
            [TimeSum(mean=True)],
            [layers.GlobalAveragePooling1D()],
            [layers.Flatten()],
            [layers.Reshape((UNITS, STEPS)), layers.Flatten()],
            [TimeSum(), layers.Dense(3)],
            [TimeSum(), layers.Dense(3, use_bias=False)],
            [layers.Flatten(), layers.Dense(5, activation="relu"), layers.Dense(3)],
            [layers.Dense(3), layers.GlobalAveragePooling1D()],
            [TimeSum(), layers.Rescaling(0.1, -1.0), layers.Softmax()],
            *(
                [TimeSum(mean=True), layers.Dense(3), layers.Activation(name)]
                for name in host.ACTIVATIONS
            ),
            [TimeSum(), layers.Dense(3, activation=keras.ops.tanh), layers.Dropout(0.5)],
            [LeakyReadout(2)],
            [LeakyReadout(4, alpha=0.8, excitatory=0.7, inhibitory=-0.3, return_sequences=True)],
            *([MembraneReadout(3, at=at)] for at in ("last", "max", "mean")),
            [MembraneReadout(3, use_bias=False, return_sequences=True, dropout=0.5)],
            [layers.RNN(LeakyIntegratorCell(3)), layers.Softmax()],
        ],
    )
    def test_heads_equal_their_keras_layers(self, head):
        model = sequential(rlif(), *head)
        for dense in (layer for layer in head if isinstance(layer, layers.Dense)):
            if dense.use_bias:
                dense.bias.assign(np.linspace(-1, 1, dense.units))
        for readout in (layer for layer in head if isinstance(layer, layers.RNN)):
            readout.cell.leak.assign([0.5, 0.9, 1.0])
            if readout.cell.bias is not None:
                readout.cell.bias.assign([0.1, -0.2, 0.3])
        spikes = spikes_of()
        network = export(model, spikes)
        scores = network.decode(spikes_of_description(model, spikes))
        np.testing.assert_allclose(scores, output(model, spikes), rtol=1e-6, atol=1e-6)

    def test_predict_gives_the_labels_of_the_keras_model(self):
        model = sequential(
            RLIF(32, threshold=1.0, leak_initializer=1.0, return_sequences=True),
            TimeSum(),
            layers.Dense(3, activation="softmax"),
        )
        kernel = np.random.default_rng(0).integers(-4, 5, (INPUTS, 32)) / 4  # exact in integers
        model.layers[0].cell.kernel.assign(kernel)
        spikes = spikes_of(batch=200)
        counts = output(sequential(model.layers[0], TimeSum()), spikes)
        model.layers[-1].bias.assign(-(counts @ np.array(model.layers[-1].kernel)).mean(axis=0))
        labels = export(model, spikes[:50]).predict(spikes)
        assert min(np.bincount(labels, minlength=3)) > 20
        np.testing.assert_array_equal(labels, output(model, spikes).argmax(axis=-1))

    def test_predict_takes_what_the_model_takes(self):
        model = sequential(
            layers.Rescaling(1 / 255), PoissonEncoder(30), layers.Reshape((30, INPUTS)), rlif(16),
            TimeSum(), layers.Dense(2), shape=(2, 3),
        )  # fmt: skip
        images = np.random.default_rng(0).integers(0, 256, (64, 2, 3)).astype("uint8")
        network = export(model, images)
        assert network.predict(images).shape == (64,)
        assert network.encode(images).mean() == pytest.approx(images.mean() / 255, abs=0.02)


def with_weight(name, value):
    model = sequential(rlif(name="hidden"))
    variable = getattr(model.layers[0].cell, name)
    values = np.array(variable)
    values.flat[-1] = value
    variable.assign(values)
    return model


def branching():
    inputs = keras.Input((STEPS, INPUTS))
    return keras.Model(inputs, layers.Add()([rlif(name="l")(inputs), rlif(name="r")(inputs)]))


def two_outputs():
    inputs = keras.Input((STEPS, INPUTS))
    return keras.Model(inputs, [rlif(name="l")(inputs), rlif(name="r")(inputs)])


def operation_without_layer():
    inputs = keras.Input((STEPS, INPUTS))
    return keras.Model(inputs, keras.ops.multiply(rlif()(inputs), 2.0))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.layer = rlif()

    def call(self, x):
        return self.layer(x)


def subclassed():
    model = Subclassed()
    model(spikes_of())
    return model


class OtherCell(RLIFCell):
    def step(self, inputs, membrane, training=False):
        return super().step(inputs, 2 * membrane, training)


class OtherResponse(RLIFCell):
    def respond(self, Y, u, V):  # noqa: N803
        return 1 - Y, {}


def dense_head_with(name, value):
    model = sequential(rlif(), TimeSum(), layers.Dense(2, name="out"))
    variable = getattr(model.layers[-1], name)
    variable.assign(np.full(variable.shape, value))
    return model


def dense_between_with(value):
    model = sequential(rlif(), layers.Dense(3, name="mix"), rlif())
    model.get_layer("mix").bias.assign(np.full(3, value))
    return model


def readout_with_nan():
    model = sequential(rlif(), MembraneReadout(2, name="readout"))
    model.get_layer("readout").cell.leak.assign([np.nan, 1])
    return model


REFUSED = {
    "LSTM": (lambda: sequential(layers.LSTM(4, name="lstm")), "'lstm' .LSTM.*RLIF"),
    "GRU": (lambda: sequential(rlif(), layers.GRU(4, name="gru")), "'gru' .GRU.*RLIF"),
    "SimpleRNN": (lambda: sequential(layers.SimpleRNN(4, name="rnn")), "'rnn' .SimpleRNN.*RLIF"),
    "stack with another cell": (
        lambda: sequential(layers.RNN([RLIFCell(4), layers.LSTMCell(3)], name="stack")),
        "'stack' .RNN over LSTMCell.*RLIF",
    ),
    "cell that steps differently": (
        lambda: sequential(layers.RNN(OtherCell(4), name="other")),
        "'other' .RNN over OtherCell.*RLIF",
    ),
    "cell that responds differently": (
        lambda: sequential(layers.RNN(OtherResponse(4), name="other")),
        "'other' .RNN over OtherResponse.*RLIF",
    ),
    "analog outputs": (
        lambda: sequential(rlif(output_mode="analog", name="hidden")),
        "'hidden' has output_mode='analog'.*Train it with output_mode='spike'",
    ),
    "analog outputs of a stacked cell": (
        lambda: sequential(
            layers.RNN([RLIFCell(4, output_mode="analog"), RLIFCell(3)], name="stack")
        ),
        "'stack/0' has output_mode='analog'",
    ),
    "Bidirectional": (
        lambda: sequential(layers.Bidirectional(rlif(), name="both")),
        "'both' is bidirectional.*forward layer",
    ),
    "Masking": (
        lambda: sequential(layers.Masking(name="mask"), rlif()),
        "'mask' .Masking. makes a mask.*zeros",
    ),
    "Embedding": (
        lambda: sequential(layers.Embedding(9, 3, name="emb"), rlif(), shape=(STEPS,)),
        "'emb' .Embedding.*data pipeline",
    ),
    "go_backwards": (
        lambda: sequential(rlif(go_backwards=True, name="hidden")),
        "'hidden' has go_backwards=True.*set go_backwards=False",
    ),
    "stateful": (
        lambda: keras.Sequential(
            [keras.Input(batch_shape=(32, STEPS, INPUTS)), rlif(stateful=True, name="hidden")]
        ),
        "'hidden' has stateful=True.*set stateful=False",
    ),
    "return_state": (
        lambda: (lambda i: keras.Model(i, rlif(return_state=True, name="hidden")(i)[0]))(
            keras.Input((STEPS, INPUTS))
        ),
        "'hidden' has return_state=True.*set return_state=False",
    ),
    "Dense with an activation between": (
        lambda: sequential(rlif(), layers.Dense(3, activation="relu", name="mix"), rlif()),
        "'mix' .Dense. has the activation 'relu' before a spiking layer.*without it.*next layer",
    ),
    "Activation between": (
        lambda: sequential(rlif(), layers.Dense(3), layers.Activation("tanh", name="act"), rlif()),
        "'act' .Activation. has the activation 'tanh' before a spiking layer",
    ),
    "Dense with an activation before": (
        lambda: sequential(layers.Dense(3, activation="relu", name="mix"), rlif()),
        "'mix' .Dense. has the activation 'relu' before a spiking layer",
    ),
    "Dense between with NaN": (
        lambda: dense_between_with(np.nan),
        "'mix' holds NaN or infinite weights",
    ),
    "Dense before an encoder": (
        lambda: sequential(layers.Dense(3, name="mix"), DirectEncoder(4), rlif(), shape=(5,)),
        "'mix' .Dense. before the first spiking layer cannot be exported.*directly",
    ),
    "BatchNormalization between": (
        lambda: sequential(rlif(), layers.BatchNormalization(name="norm"), rlif()),
        "'norm' .BatchNormalization. between spiking layers cannot be exported.*Dense without",
    ),
    "TimeSum between": (
        lambda: sequential(rlif(), TimeSum(name="sum"), DirectEncoder(4), rlif()),
        "'sum' .TimeSum. between spiking layers does not give spikes.*sum over time after",
    ),
    "Flatten between": (
        lambda: sequential(rlif(), layers.Flatten(name="flat"), layers.Reshape((STEPS, 4)), rlif()),
        "'flat' .Flatten. between spiking layers cannot be exported",
    ),
    "Reshape of steps between": (
        lambda: sequential(rlif(), layers.Reshape((STEPS * 2, 2), name="shape"), rlif()),
        "'shape' .Reshape. between spiking layers cannot be exported",
    ),
    "last step between": (
        lambda: sequential(rlif(return_sequences=False), layers.Reshape((2, 2)), rlif(name="b")),
        "'b' is a spiking layer behind one with return_sequences=False",
    ),
    "negative spikes": (
        lambda: sequential(DeltaEncoder(off_spike=True, name="delta"), rlif()),
        "'delta' has off_spike=True.*off_spike='neurons'",
    ),
    "stateful readout": (
        lambda: keras.Sequential(
            [
                keras.Input(batch_shape=(32, STEPS, INPUTS)),
                rlif(),
                MembraneReadout(2, stateful=True, name="readout"),
            ]
        ),
        "'readout' has stateful=True",
    ),
    "readout with NaN": (
        lambda: readout_with_nan(),
        "'readout': `leak` holds NaN",
    ),
    "branches": (branching, "branches at .*only a chain"),
    "two outputs": (two_outputs, "branches at l, r: only a chain"),
    "operation without layer": (operation_without_layer, "operation 'multiply.*use a Keras layer"),
    "subclassed model": (subclassed, "subclass of keras.Model.*keras.Sequential"),
    "unbuilt model": (lambda: keras.Sequential([rlif()]), "no weights yet.*keras.Input"),
    "unbuilt subclass": (Subclassed, "no weights yet"),
    "layer": (rlif, "Expected a Keras model, got RLIF.*keras.Sequential"),
    "no spiking layer": (
        lambda: sequential(layers.Flatten()),
        "has no spiking layer.*keras_spiking_rnn.RLIF",
    ),
    "LeakyReLU": (
        lambda: sequential(rlif(), TimeSum(), layers.Dense(3, activation="elu", name="out")),
        "'out' has the activation 'elu'. Supported on the host: linear, relu",
    ),
    "lambda": (
        lambda: sequential(rlif(), layers.Activation(lambda x: x + 1, name="act")),
        "'act' has the activation '<lambda>'",
    ),
    "Softmax over time": (
        lambda: sequential(rlif(), layers.Softmax(axis=1, name="soft")),
        "'soft' .Softmax. after the spiking layers",
    ),
    "Flatten of channels first": (
        lambda: sequential(rlif(), layers.Flatten("channels_first", name="flat")),
        "'flat' .Flatten.*channels_last",
    ),
    "pooling of channels first": (
        lambda: sequential(rlif(), layers.GlobalAveragePooling1D("channels_first", name="pool")),
        "'pool' .GlobalAveragePooling1D.*channels_last",
    ),
    "pooling that keeps dimensions": (
        lambda: sequential(rlif(), layers.GlobalAveragePooling1D(keepdims=True, name="pool")),
        "'pool' .GlobalAveragePooling1D.*no keepdims",
    ),
    "Rescaling of each feature": (
        lambda: sequential(layers.Rescaling(1.0, offset=[0.0] * INPUTS, name="scale"), rlif()),
        "'scale' .Rescaling.*one scale and offset",
    ),
    **{
        f"{name} of {value}": (
            lambda name=name, value=value: with_weight(name, value),
            f"'hidden': `{name}` holds {value} at .*lower learning rate",
        )
        for name in ("kernel", "bias", "leak", "membrane_bias")
        for value in (np.nan, np.inf)
    },
    **{
        f"leak of {value}": (
            lambda value=value: with_weight("leak", value),
            rf"'hidden': the leak of unit {UNITS - 1} is .*\[1/4096, 1\].*leak_constraint",
        )
        for value in (-0.1, 0.0, 1 / 8192, 1.001)
    },
    **{
        f"head with {name} of {value}": (
            lambda name=name, value=value: dense_head_with(name, value),
            "'out' holds NaN or infinite weights",
        )
        for name in ("kernel", "bias")
        for value in (np.nan, np.inf)
    },
}


class TestRefused:
    @pytest.mark.parametrize("name", REFUSED)
    def test_it_is_refused_by_name_and_with_a_way_out(self, name):
        make, message = REFUSED[name]
        model = make()
        with pytest.raises(ConversionError, match=message):
            export(model, spikes_of())

    @pytest.mark.parametrize("leak", [1 / 4096, 1.0])
    def test_leaks_at_the_ends_of_the_range_are_taken(self, leak):
        export(with_weight("leak", leak), spikes_of())

    @pytest.mark.parametrize("groups", [0, -1, 1.5, True, "2"])
    def test_leak_groups_must_be_a_positive_integer(self, groups):
        with pytest.raises(ValueError, match="leak_groups must be a positive integer"):
            export(sequential(rlif()), spikes_of(), leak_groups=groups)

    @pytest.mark.parametrize("groups", [1, np.int64(2), 100])
    def test_leak_groups_bound_the_number_of_leaks(self, groups):
        model = sequential(rlif(leak_initializer=keras.initializers.RandomUniform(0.2, 0.9)))
        network = export(model, spikes_of(), leak_groups=groups)
        assert len(np.unique(network.layers[1].dv)) == min(groups, UNITS)


class TestFolded:
    """Dense layers without activation become part of the next layer's weights."""

    def lively(self, *stack, **options):
        model = sequential(*stack, **options)
        rng = np.random.default_rng(3)
        for layer in model.layers:
            if isinstance(layer, layers.Dense):
                layer.kernel.assign(rng.normal(0, 0.7, layer.kernel.shape))
                if layer.bias is not None:
                    layer.bias.assign(rng.normal(0, 0.2, layer.bias.shape))
        return model

    STACKS = {
        "between": lambda: [rlif(12), layers.Dense(9), rlif(7)],
        "before the first": lambda: [layers.Dense(9), rlif(7)],
        "two, and layers for training": lambda: [
            layers.Dense(9),
            layers.Dropout(0.5),
            layers.Dense(8, use_bias=False),
            rlif(7),
        ],
        "before several ports": lambda: [
            rlif(12),
            layers.Dense(9),
            SpikingLSTM(
                7,
                return_sequences=True,
                kernel_initializer=keras.initializers.RandomNormal(stddev=1.0, seed=1),
                recurrent_initializer=keras.initializers.RandomNormal(stddev=1.0, seed=2),
            ),
        ],
        "linear activation": lambda: [
            rlif(12),
            layers.Dense(9),
            layers.Activation("linear"),
            rlif(7),
        ],
        "stacked cells": lambda: [
            layers.Dense(9),
            layers.RNN([RLIFCell(8), RLIFCell(7)], return_sequences=True),
        ],
    }

    @pytest.mark.parametrize("name", STACKS)
    def test_the_layers_compute_what_keras_does(self, name):
        model, spikes = self.lively(*self.STACKS[name]()), spikes_of()
        expected = output(model, spikes)
        description = convert.describe(model)
        x = np.asarray(spikes)
        for layer in description.spiking:
            *_, x = layer.quantize(x)  # the outputs of the float layer
        np.testing.assert_array_equal(x, expected)
        network = export(model, spikes)
        assert network.encoder == network.head == ()
        assert network.units == 7
        assert (network.run(spikes) != expected).mean() < 0.03
        report = lava_export.verify(model, network, spikes, modes=())
        assert report.float_stage.float_spikes[-1] == expected.sum() > 0

    def test_integer_weights_stay_exact(self):
        model = sequential(
            rlif(5, leak_initializer=1.0),
            layers.Dense(3),
            rlif(4, leak_initializer=1.0, threshold=8),
        )
        rng = np.random.default_rng(0)
        first, dense, last = model.layers
        for layer, largest in ((first.cell, 4), (dense, 3), (last.cell, 3)):
            layer.kernel.assign(rng.integers(-largest, largest + 1, layer.kernel.shape))
            layer.bias.assign(np.zeros(layer.bias.shape))
        for cell in (first.cell, last.cell):
            cell.membrane_bias.assign(np.zeros(cell.units))
        dense.bias.assign([1, 0, -1])
        network = export(model, spikes_of())
        unseen = np.random.default_rng(9).integers(0, 2, (100, 40, INPUTS)).astype("float32")
        fired = output(model, unseen)
        assert 0.02 < fired.mean() < 0.98
        np.testing.assert_array_equal(network.run(unseen), fired)

    def test_a_layer_that_was_trained_in_integers_takes_no_other_weights(self):
        aware = lava_export.quantization_aware(sequential(rlif(name="a")), spikes_of())
        model = sequential(layers.Dense(INPUTS, name="mix"), aware.layers[-1])
        with pytest.raises(ConversionError, match="'a' was trained in integers.*'mix'"):
            export(model, spikes_of())
        with pytest.raises(ConversionError, match="'mix'.*cannot be trained in integers"):
            lava_export.quantization_aware(
                sequential(layers.Dense(3, name="mix"), rlif()), spikes_of()
            )


class TestCalibration:
    @pytest.mark.parametrize(
        "calibration, error, message",
        [
            (spikes_of()[0], ValueError, r"must have the shape \(batch, 8, 6\).*got \(8, 6\)"),
            (spikes_of(inputs=5), ValueError, r"got \(32, 8, 5\)"),
            (spikes_of(steps=7), ValueError, r"got \(32, 7, 6\)"),
            (spikes_of()[:0], ValueError, "nothing to run"),
            (spikes_of() * np.nan, ValueError, "NaN"),
            (spikes_of() / 0.3, ValueError, "must be 0 or 1.*PoissonEncoder"),
            (spikes_of().astype(complex), TypeError, "array of numbers"),
            (spikes_of().astype(str), TypeError, "array of numbers"),
            (None, TypeError, "array of numbers"),
            ([[1, 0], [1]], ValueError, "."),
        ],
    )
    def test_data_that_the_model_cannot_take_is_refused(self, calibration, error, message):
        with np.errstate(invalid="ignore"), pytest.raises(error, match=message):
            export(sequential(rlif()), calibration)

    def test_nan_does_not_become_silence_in_an_encoder(self):
        model = sequential(PoissonEncoder(STEPS), rlif(), shape=(INPUTS,))
        with pytest.raises(ValueError, match="NaN or infinite"):
            export(model, np.full((3, INPUTS), np.nan))

    def test_analog_data_behind_a_direct_encoder_is_refused(self):
        model = sequential(DirectEncoder(STEPS), rlif(), shape=(INPUTS,))
        x = np.random.default_rng(0).random((3, INPUTS))
        with pytest.raises(ValueError, match="What layer 'direct_encoder.*must be 0 or 1.*Poisson"):
            export(model, x)
        assert export(model, np.round(x)).inputs == INPUTS

    @pytest.mark.parametrize("dtype", [bool, "int8", "float16", "float64"])
    def test_any_type_of_spikes_calibrates_alike(self, dtype):
        model = sequential(rlif())
        assert export(model, spikes_of().astype(dtype)) == export(model, spikes_of())

    def test_a_sequence_of_any_length_may_calibrate_where_the_model_takes_any(self):
        model = sequential(rlif(), shape=(None, INPUTS))
        assert export(model, spikes_of(steps=3)).quantization.steps == 3


class TestReport:
    def test_it_tells_what_each_layer_lost(self):
        model, spikes = sequential(rlif(16, name="a"), rlif(8, name="b")), spikes_of()
        network = export(model, spikes)
        report = network.quantization
        assert (report.samples, report.steps) == (32, STEPS)
        assert [layer.name for layer in report.layers] == ["a", "b"]
        first = output(sequential(model.layers[0]), spikes)
        second = output(model, spikes)
        _, states = network.run(spikes, record="spikes")
        assert report.layers[0].float_spikes == first.sum()
        assert report.layers[1].float_spikes == second.sum()
        for layer, integer, floating in zip(
            report.layers, states["spikes"], (first, second), strict=True
        ):
            assert layer.cumulative_mismatches == np.count_nonzero(integer != floating)
        assert report.layers[0].mismatches == report.layers[0].cumulative_mismatches

    @pytest.mark.parametrize("outliers", [0, 3])
    def test_a_benign_layer_is_exported_in_silence(self, outliers):
        model = sequential(rlif(16), rlif(8))
        kernel = np.array(model.layers[0].cell.kernel)
        kernel[0, :outliers] = 6.0  # fires its unit at once, and may be clipped
        model.layers[0].cell.kernel.assign(kernel)
        with warnings.catch_warnings():
            warnings.simplefilter("error", QuantizationWarning)
            network = export(model, spikes_of())
        assert network.quantization.layers[0].clipped_weights == outliers

    def test_weights_too_far_apart_are_warned_of(self):
        model = sequential(rlif(name="hidden"))
        kernel = np.array(model.layers[0].cell.kernel)
        kernel[:, 2] *= 1e-5
        model.layers[0].cell.kernel.assign(kernel)
        with pytest.warns(QuantizationWarning, match="'hidden': 8 bits .* unit 2 lose") as caught:
            export(model, spikes_of())
        assert caught[0].filename == __file__

    def test_thresholds_too_far_apart_are_warned_of(self):
        model = sequential(rlif(threshold=[0.01, 1.0, 1.0, 30.0], name="hidden"))
        with pytest.warns(QuantizationWarning, match="'hidden': .*unit 3 lose"):
            export(model, spikes_of())

    def test_spikes_that_change_are_warned_of(self):
        model = sequential(rlif(threshold=2.0, name="hidden"))
        model.layers[0].cell.leak.assign([0.01, 0.01, 1.0, 1.0])
        with pytest.warns(QuantizationWarning, match="'hidden': in integers .* spikes change"):
            export(model, spikes_of(), leak_groups=1)
