"""ConvRLIF2D against its equations, written out in NumPy tap by tap, and against RLIF."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from digits import digits, learned
from finite_differences import Smooth, assert_gradients_are_slopes

from keras_spiking_rnn import (
    RLIF,
    ConvRLIF2D,
    ConvRLIF2DCell,
    DirectEncoder,
    TimeSum,
    metrics,
    plots,
    surrogates,
)

TO_FIRST, TO_LAST = (0, 1, 4, 2, 3), (0, 1, 3, 4, 2)


@pytest.fixture(autouse=True)
def repeatable():
    keras.utils.set_random_seed(11)


def convolved(image, kernel, strides=(1, 1), padding="valid", dilation_rate=(1, 1)):
    """A convolution of one image `(height, width, in)`, with zeros around it for "same"."""
    sizes, before = [], []
    for size, taps, stride, dilation in zip(
        image.shape[:2], kernel.shape[:2], strides, dilation_rate, strict=True
    ):
        reach = dilation * (taps - 1)
        if padding == "same":
            sizes.append(math.ceil(size / stride))
            before.append(max((sizes[-1] - 1) * stride + reach + 1 - size, 0) // 2)
        else:
            sizes.append((size - reach - 1) // stride + 1)
            before.append(0)
    result = np.zeros((*sizes, kernel.shape[-1]))
    for row, column in np.ndindex(*sizes):
        for i, j in np.ndindex(kernel.shape[:2]):
            y = row * strides[0] + i * dilation_rate[0] - before[0]
            x = column * strides[1] + j * dilation_rate[1] - before[1]
            if 0 <= y < image.shape[0] and 0 <= x < image.shape[1]:
                result[row, column] += image[y, x] @ kernel[i, j]
    return result


def conv_rlif_in_numpy(X, parameters, leak=None, **window):  # noqa: N803
    """Equations (4) to (10), Conv, for one sequence of images `(steps, height, width, in)`."""
    W_volt, b_volt, alpha, b_mem, V_thres, V_reset = parameters.values()
    leak = leak or (lambda u_d: alpha * u_d)
    Y, V, states = [], [], []
    u = 0.0
    for X_t in X:
        U_t = convolved(X_t, W_volt, **window) + b_volt  # (9)
        V_t = U_t + u  # (4)
        F_t = V_t >= V_thres  # (5)
        u_d = np.where(F_t, V_reset, V_t)  # (6)
        M_t = leak(u_d) + b_mem  # (10)
        u = M_t  # (7), without noise
        Y.append(F_t)  # (8)
        V.append(V_t)
        states.append(u)
    return np.array(Y, float), np.array(V), np.array(states)


def random_parameters(random, kernel_size, channels, filters):
    reset = random.normal(-0.2, 0.4, filters)
    scale = 1 / math.sqrt(math.prod(kernel_size) * channels)
    return {
        "W_volt": random.normal(0, scale, (*kernel_size, channels, filters)),
        "b_volt": random.normal(0.1, 0.2, filters),
        "alpha": random.uniform(1 / 4096, 1, filters),
        "b_mem": random.normal(0, 0.1, filters),
        "V_thres": reset + random.uniform(0.1, 1.0, filters),
        "V_reset": reset,
    }


def layer_with(parameters, image, dtype="float64", **arguments):
    *kernel_size, _, filters = parameters["W_volt"].shape
    layer = ConvRLIF2D(
        filters,
        tuple(kernel_size),
        threshold=parameters["V_thres"],
        reset=parameters["V_reset"],
        dtype=dtype,
        **{"return_sequences": True, "return_state": True, **arguments},
    )
    layer.build((None, None, *image))
    layer.set_weights([parameters[name] for name in ("W_volt", "b_volt", "alpha", "b_mem")])
    return layer


WINDOWS = [
    {"kernel_size": (3, 2)},
    {"kernel_size": (1, 1)},
    {"kernel_size": (2, 4), "padding": "same"},
    {"kernel_size": (3, 3), "strides": (2, 1)},
    {"kernel_size": (2, 3), "strides": (3, 2)},
    {"kernel_size": (3, 2), "strides": (3, 2), "padding": "same"},
    {"kernel_size": (4, 1), "strides": (1, 3), "padding": "same"},
    {"kernel_size": (2, 3), "dilation_rate": (3, 1)},
    {"kernel_size": (3, 2), "dilation_rate": (1, 2), "padding": "same"},
]


class TestEquations:
    @pytest.mark.parametrize("channels_first", [False, True], ids=["last", "first"])
    @pytest.mark.parametrize("window", WINDOWS, ids=str)
    @pytest.mark.parametrize("size", [(7, 5), (6, 8)], ids=str)
    def test_layer_follows_the_paper(self, size, window, channels_first):
        random = np.random.default_rng(0)
        kernel_size, *_ = window.values()
        window = {name: value for name, value in window.items() if name != "kernel_size"}
        parameters = random_parameters(random, kernel_size, 2, 3)
        X = random.normal(0.3, 1.0, (2, 50, *size, 2))
        inputs = X.transpose(TO_FIRST) if channels_first else X
        layer = layer_with(
            parameters,
            inputs.shape[2:],
            data_format="channels_first" if channels_first else "channels_last",
            **window,
        )
        spikes, state = (np.asarray(outputs) for outputs in layer(inputs))
        assert layer.compute_output_shape((2, 50, *inputs.shape[2:])) == (
            spikes.shape,
            state.shape,
        )
        if channels_first:
            spikes, state = spikes.transpose(TO_LAST), state.transpose(0, 2, 3, 1)
        assert 0.1 < spikes.mean() < 0.9
        for n in range(2):
            Y, _, u = conv_rlif_in_numpy(X[n], parameters, **window)
            np.testing.assert_array_equal(spikes[n], Y)
            np.testing.assert_allclose(state[n], u[-1], rtol=1e-10, atol=1e-10)

    @pytest.mark.parametrize("channels_first", [False, True], ids=["last", "first"])
    @pytest.mark.parametrize("size", [(1, 1), (3, 3), (2, 4), (3, 1)], ids=str)
    def test_the_membrane_kernel_is_a_convolution(self, size, channels_first):
        random = np.random.default_rng(1)
        parameters = random_parameters(random, (2, 3), 2, 3)
        # Sums of absolute weights below 1, or potentials would grow by themselves.
        parameters["alpha"] = random.uniform(-1, 1, (*size, 3, 3)) / (3 * math.prod(size))
        X = random.normal(0.3, 1.0, (2, 50, 6, 5, 2))
        inputs = X.transpose(TO_FIRST) if channels_first else X
        layer = layer_with(
            parameters,
            inputs.shape[2:],
            membrane_kernel_size=size,
            data_format="channels_first" if channels_first else "channels_last",
        )
        spikes, state = (np.asarray(outputs) for outputs in layer(inputs))
        if channels_first:
            spikes, state = spikes.transpose(TO_LAST), state.transpose(0, 2, 3, 1)
        assert 0.1 < spikes.mean() < 0.9
        for n in range(2):
            Y, _, u = conv_rlif_in_numpy(
                X[n],
                parameters,
                leak=lambda u_d: convolved(u_d, parameters["alpha"], padding="same"),
            )
            np.testing.assert_array_equal(spikes[n], Y)
            np.testing.assert_allclose(state[n], u[-1], rtol=1e-10, atol=1e-10)

    @pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
    @pytest.mark.parametrize("size", [1, 3, (2, 4), (1, 3), 6], ids=str)
    def test_a_membrane_kernel_begins_as_the_leak(self, size, data_format):
        arguments = {
            "data_format": data_format,
            "leak_initializer": keras.initializers.RandomUniform(0.1, 0.9, seed=3),
            "membrane_bias_initializer": keras.initializers.RandomNormal(seed=4),
            "return_sequences": True,
            "return_state": True,
        }
        x = np.random.default_rng(0).normal(0.3, 1.0, (2, 50, 5, 4, 3)).astype("float32")
        leaks = ConvRLIF2D(4, 2, **arguments)
        convolves = ConvRLIF2D(4, 2, membrane_kernel_size=size, **arguments)
        spikes, state = leaks(x)
        convolves.build(x.shape)
        convolves.cell.kernel.assign(leaks.cell.kernel)
        assert [w.name for w in convolves.weights] == [
            "kernel",
            "bias",
            "membrane_kernel",
            "membrane_bias",
        ]
        np.testing.assert_array_equal(
            np.sum(convolves.cell.membrane_kernel, axis=(0, 1)), np.diag(leaks.cell.leak)
        )
        assert 0.1 < np.mean(spikes) < 0.9
        for actual, expected in zip(convolves(x), (spikes, state), strict=True):
            np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)

    def test_each_channel_has_its_leak(self):
        leaks = np.array([0.9, 0.5, 0.1], "float32")
        layer = ConvRLIF2D(3, 1, threshold=9, kernel_initializer="ones", return_state=True)
        layer.build((None, None, 2, 3, 1))
        layer.cell.leak.assign(leaks)
        x = np.zeros((1, 4, 2, 3, 1), "float32")
        x[0, 0, :, :, 0] = [[1, 2, 3], [4, 5, 6]]
        _, state = layer(x)
        np.testing.assert_allclose(state[0], x[0, 0] * leaks**4, rtol=1e-6)

    def test_a_unit_fires_at_the_threshold(self):
        cell = ConvRLIF2DCell(1, 1, threshold=[0.5], kernel_initializer="ones")
        cell.build((None, 1, 3, 1))
        spikes, _ = cell(np.array([[[[0.49], [0.5], [0.51]]]]), cell.get_initial_state(1))
        np.testing.assert_array_equal(spikes, [[[[0], [1], [1]]]])

    @pytest.mark.parametrize("use_bias", [False, True])
    @pytest.mark.parametrize("use_membrane_bias", [False, True])
    def test_without_biases(self, use_bias, use_membrane_bias):
        random = np.random.default_rng(2)
        parameters = random_parameters(random, (2, 2), 2, 3)
        parameters["b_volt"] *= use_bias
        parameters["b_mem"] *= use_membrane_bias
        X = random.normal(0.3, 1.0, (1, 10, 4, 3, 2))
        full = layer_with(parameters, (4, 3, 2))
        layer = ConvRLIF2D.from_config(
            {**full.get_config(), "use_bias": use_bias, "use_membrane_bias": use_membrane_bias}
        )
        layer.build(X.shape)
        assert len(layer.weights) == 2 + use_bias + use_membrane_bias
        for weight in layer.weights:
            weight.assign(getattr(full.cell, weight.name))
        for actual, expected in zip(layer(X), full(X), strict=True):
            np.testing.assert_array_equal(actual, expected)

    def test_analog_outputs(self):
        random = np.random.default_rng(3)
        parameters = random_parameters(random, (2, 2), 2, 3)
        X = random.normal(0.3, 1.0, (1, 50, 4, 3, 2))
        _, V, u = conv_rlif_in_numpy(X[0], parameters)
        for data_format, source, expected in (
            ("channels_last", "integrated", V),
            ("channels_last", "leaked", u),
            ("channels_first", "above_threshold", V - parameters["V_thres"]),
        ):
            inputs = X.transpose(TO_FIRST) if data_format == "channels_first" else X
            layer = layer_with(
                parameters,
                inputs.shape[2:],
                data_format=data_format,
                output_mode="analog",
                analog_source=source,
                analog_activation="tanh",
            )
            outputs = np.asarray(layer(inputs)[0])
            if data_format == "channels_first":
                outputs = outputs.transpose(TO_LAST)
            np.testing.assert_allclose(outputs[0], np.tanh(expected), rtol=1e-10, atol=1e-10)


def gradients(layer, X, weights_of_loss):  # noqa: N803
    X = tf.constant(X)
    with tf.GradientTape() as tape:
        tape.watch(X)
        loss = sum(tf.reduce_sum(w * y) for w, y in zip(weights_of_loss, layer(X), strict=True))
    gradient = tape.gradient(loss, [X, *(weight.value for weight in layer.trainable_weights)])
    return [np.asarray(tf.convert_to_tensor(of_one)) for of_one in gradient]


class TestGradients:
    SMOOTH = Smooth(surrogates.Sigmoid(3.0), lambda x: tf.sigmoid(3.0 * x))

    @pytest.mark.parametrize(
        "arguments",
        [
            {"strides": (1, 2), "padding": "same"},
            {"dilation_rate": (2, 1), "unroll": True},
            {"membrane_kernel_size": (2, 1)},
            {"membrane_kernel_size": (1, 3), "data_format": "channels_first"},
        ],
        ids=str,
    )
    def test_finite_differences_of_the_smooth_model(self, arguments):
        random = np.random.default_rng(3)
        parameters = random_parameters(random, (2, 2), 2, 2)
        size = arguments.get("membrane_kernel_size")
        if size is not None:
            parameters["alpha"] = random.normal(0, 0.2, (*size, 2, 2))
        image = (2, 3, 3) if "data_format" in arguments else (3, 3, 2)
        layer = layer_with(parameters, image, surrogate=self.SMOOTH, **arguments)
        assert_gradients_are_slopes(layer, random.normal(0.3, 1.0, (2, 4, *image)))

    @pytest.mark.parametrize(
        "surrogate", [surrogates.Rectangular(0.4), surrogates.Triangular(0.6)], ids=repr
    )
    def test_one_by_one_windows_are_an_rlif_at_each_position(self, surrogate):
        # The gradients of RLIF are tested against backpropagation by hand.
        random = np.random.default_rng(4)
        parameters = random_parameters(random, (1, 1), 3, 4)
        layer = layer_with(parameters, (2, 5, 3), surrogate=surrogate)
        rlif = self.rlif_with(parameters, surrogate)
        X = random.normal(0.3, 1.0, (2, 7, 2, 5, 3))
        weights_of_loss = random.normal(size=(2, 7, 2, 5, 4)), random.normal(size=(2, 2, 5, 4))

        def positions(images):
            """Images as sequences of their own: `(batch * height * width, steps, in)`."""
            return np.moveaxis(images, 1, 3).reshape(-1, images.shape[1], images.shape[-1])

        dX, *others = gradients(layer, X, weights_of_loss)
        of_spikes, of_state = weights_of_loss
        expected, *expected_others = gradients(
            rlif, positions(X), (positions(of_spikes), of_state.reshape(-1, 4))
        )
        np.testing.assert_allclose(positions(dX), expected, rtol=1e-10, atol=1e-12)
        for actual, expected in zip(others, expected_others, strict=True):
            assert np.abs(expected).max() > 0.1
            np.testing.assert_allclose(
                actual.reshape(expected.shape), expected, rtol=1e-10, atol=1e-12
            )

    def test_windows_as_large_as_the_image_are_an_rlif(self):
        random = np.random.default_rng(5)
        surrogate = surrogates.Rectangular(0.4)
        parameters = random_parameters(random, (3, 4), 2, 5)
        layer = layer_with(parameters, (3, 4, 2), surrogate=surrogate)
        rlif = self.rlif_with(parameters, surrogate)
        X = random.normal(0.3, 1.0, (3, 50, 3, 4, 2))
        weights_of_loss = random.normal(size=(3, 50, 1, 1, 5)), random.normal(size=(3, 1, 1, 5))
        actual = gradients(layer, X, weights_of_loss)
        expected = gradients(
            rlif,
            X.reshape(3, 50, 24),
            [weights.reshape(*weights.shape[:-3], 5) for weights in weights_of_loss],
        )
        for of_layer, of_rlif in zip(actual, expected, strict=True):
            np.testing.assert_allclose(
                of_layer.reshape(of_rlif.shape), of_rlif, rtol=1e-9, atol=1e-11
            )

    @staticmethod
    def rlif_with(parameters, surrogate):
        filters = len(parameters["b_volt"])
        layer = RLIF(
            filters,
            threshold=parameters["V_thres"],
            reset=parameters["V_reset"],
            surrogate=surrogate,
            dtype="float64",
            return_sequences=True,
            return_state=True,
        )
        kernel = parameters["W_volt"].reshape(-1, filters)
        layer.build((None, None, len(kernel)))
        layer.set_weights([kernel, *(parameters[name] for name in ("b_volt", "alpha", "b_mem"))])
        return layer


class TestChannelsFirst:
    def test_the_default_is_that_of_keras(self):
        before = keras.config.image_data_format()
        try:
            keras.config.set_image_data_format("channels_first")
            layer = ConvRLIF2D(2, 3)
        finally:
            keras.config.set_image_data_format(before)
        assert layer.data_format == "channels_first"
        assert ConvRLIF2D.from_config(layer.get_config()).data_format == "channels_first"
        assert ConvRLIF2D(2, 3).data_format == before == "channels_last"

    def test_no_convolution_needs_onednn(self):
        # Without oneDNN, TensorFlow on a CPU has convolutions of channels_last alone.
        layer = ConvRLIF2D(2, 3, data_format="channels_first", membrane_kernel_size=3, unroll=True)
        layer.build((None, None, 2, 5, 5))

        @tf.function
        def train(x):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(layer(x))
            return tape.gradient(loss, [weight.value for weight in layer.trainable_weights])

        graph = train.get_concrete_function(tf.TensorSpec((2, 3, 2, 5, 5))).graph
        formats = [
            op.get_attr("data_format") for op in graph.get_operations() if "Conv2D" in op.type
        ]
        assert len(formats) > 6
        assert set(formats) == {b"NHWC"}

    def test_training_with_and_without_xla(self):
        x = np.random.default_rng(0).normal(0.3, 1, (4, 6, 2, 5, 4)).astype("float32")
        results = []
        for jit_compile in (False, True):
            keras.utils.set_random_seed(2)
            network = keras.Sequential(
                [
                    keras.Input((6, 2, 5, 4)),
                    ConvRLIF2D(
                        3,
                        2,
                        strides=(2, 1),
                        data_format="channels_first",
                        membrane_kernel_size=3,
                        threshold=[0.4, 0.5, 0.6],
                        return_sequences=True,
                    ),
                    TimeSum(),
                    keras.layers.Flatten(),
                    keras.layers.Dense(1),
                ]
            )
            before = network.get_weights()
            network.compile("sgd", "mse", jit_compile=jit_compile)
            network.fit(x, np.ones((4, 1)), epochs=2, verbose=0)
            results.append(network.get_weights())
        for start, plain, compiled in zip(before, *results, strict=True):
            assert not np.array_equal(start, plain)
            np.testing.assert_allclose(compiled, plain, rtol=1e-4, atol=1e-5)


class TestShapes:
    def test_stacks_of_cells_run_in_keras_rnn(self):
        x = np.random.default_rng(0).normal(0.3, 1, (2, 5, 7, 6, 2)).astype("float32")
        cells = [ConvRLIF2DCell(3, 2, strides=2, leak_initializer=0.9), ConvRLIF2DCell(4, (3, 2))]
        layer = keras.layers.RNN(cells, return_sequences=True, return_state=True)
        spikes, first, second = layer(x)
        assert spikes.shape == (2, 5, 1, 2, 4)
        assert [tuple(state[0].shape) for state in (first, second)] == [(2, 3, 3, 3), (2, 1, 2, 4)]

    def test_keras_rnn_cannot_tell_its_shape_in_a_functional_model(self):
        # The day it can, the documentation may say so.
        with pytest.raises(ValueError, match="output_size must be an integer"):
            keras.layers.RNN(ConvRLIF2DCell(4, 2))(keras.Input((5, 7, 6, 2)))

    def test_shapes_are_known_before_building(self):
        layer = ConvRLIF2D(4, 3, strides=2, padding="same", return_state=True)
        assert layer.compute_output_shape((None, 5, 28, 27, 1)) == (
            (None, 14, 14, 4),
            (None, 14, 14, 4),
        )
        both = keras.layers.Bidirectional(ConvRLIF2D(4, 3, return_sequences=True))
        assert both(keras.Input((None, 8, 7, 1))).shape == (None, None, 6, 5, 8)

    @pytest.mark.parametrize("kind", ["layer", "cell"])
    @pytest.mark.parametrize(
        "arguments,image,message",
        [
            (
                {},
                (None, 5, 1),
                r"\(batch, height, width, channels\).*Received.*\(None, None, 5, 1\)",
            ),
            ({}, (5, None, 1), "each position has a membrane potential"),
            ({}, (5, 5, None), r"Give the sizes in keras\.Input\(\(None, height, width, channels"),
            (
                {"data_format": "channels_first"},
                (1, None, 5),
                r"\(batch, channels, height, width\).*\(None, 1, None, 5\)",
            ),
            ({}, (2, 9, 1), r"does not fit.*height 2 and width 9.*kernel_size=\(3, 3\)"),
            ({"dilation_rate": (1, 3)}, (9, 6, 1), r"dilation_rate=\(1, 3\).*padding='same'"),
        ],
    )
    def test_images_of_unknown_size_or_too_small(self, kind, arguments, image, message):
        with pytest.raises(ValueError, match=f"ConvRLIF2DCell 'hidden.*{message}"):
            if kind == "cell":
                ConvRLIF2DCell(2, 3, name="hidden", **arguments).build((None, *image))
            else:
                ConvRLIF2D(2, 3, name="hidden", **arguments)(keras.Input((4, *image)))

    def test_sequences_of_vectors(self):
        with pytest.raises(ValueError, match="ndim=5"):
            ConvRLIF2D(2, 3)(np.zeros((2, 5, 7), "float32"))
        with pytest.raises(ValueError, match="must have shape .batch, height, width, channels."):
            keras.layers.RNN(ConvRLIF2DCell(2, 3))(np.zeros((2, 5, 7), "float32"))

    def test_a_state_before_building(self):
        with pytest.raises(ValueError, match=r"'hidden' is not built yet.*build\(input_shape\)"):
            ConvRLIF2DCell(2, 3, name="hidden").get_initial_state(4)

    def test_masks_of_positions_are_refused(self):
        x = np.ones((2, 4, 5, 5, 1), "float32")
        network = keras.Sequential([keras.layers.Masking(), ConvRLIF2D(2, 3, name="hidden")])
        with pytest.raises(ValueError, match=r"'hidden'.*shape \(batch, steps\).*\(2, 4, 5, 5\)"):
            network(x)


class TestHalfPrecision:
    @pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
    @pytest.mark.parametrize("membrane_kernel_size", [None, 2])
    def test_the_membrane_potential_is_that_of_float32(self, policy, membrane_kernel_size):
        random = np.random.default_rng(5)
        parameters = random_parameters(random, (2, 2), 2, 4)
        # Products of inputs and weights are exact in both half precisions, those of the leak not.
        parameters["W_volt"] = random.integers(-12, 16, (2, 2, 2, 4)) / 16
        if membrane_kernel_size is not None:
            parameters["alpha"] = random.normal(0, 0.2, (2, 2, 4, 4))
        x = random.integers(0, 2, (3, 40, 5, 4, 2)).astype("float32")
        arguments = {"membrane_kernel_size": membrane_kernel_size}
        spikes, state = layer_with(parameters, (5, 4, 2), dtype="float32", **arguments)(x)
        half = layer_with(parameters, (5, 4, 2), dtype=policy, **arguments)
        half_spikes, half_state = half(x)
        assert 0.1 < np.mean(spikes) < 0.9
        assert half_state.dtype.name == policy.removeprefix("mixed_")
        np.testing.assert_array_equal(tf.cast(half_spikes, "float32"), spikes)
        np.testing.assert_array_equal(half_state, tf.cast(state, half_state.dtype))
        assert half.cell.get_initial_state(3)[0].dtype == "float32"


class TestRandomness:
    def test_dropout_is_one_mask_a_sequence(self):
        # Each neuron adds up its input, so at the end it holds 0 or steps / (1 - rate).
        layer = ConvRLIF2D(
            1,
            1,
            threshold=1e6,
            leak_initializer=1,
            kernel_initializer="ones",
            dropout=0.4,
            seed=1,
            return_state=True,
        )
        sums = np.asarray(layer(tf.ones((50, 6, 8, 8, 1)), training=True)[1])
        dropped = np.isclose(sums, 0, atol=1e-5)
        np.testing.assert_allclose(sums[~dropped], 6 / 0.6, rtol=1e-5)
        assert abs(dropped.mean() - 0.4) < 4 * math.sqrt(0.4 * 0.6 / dropped.size)
        assert np.ptp(sums, axis=0).all(), "each sequence has its own mask"
        assert np.ptp(sums.reshape(50, -1), axis=1).all(), "each pixel is dropped for itself"

    def test_noise_is_drawn_for_each_neuron_and_step(self):
        layer = ConvRLIF2D(
            5,
            1,
            threshold=1e6,
            leak_initializer=1,
            noise_stddev=0.25,
            seed=1,
            return_state=True,
        )
        noise = np.asarray(layer(tf.zeros((50, 4, 8, 8, 1)), training=True)[1], "float64")
        noise /= 0.25 * math.sqrt(4)
        assert abs(noise.mean()) < 4 / math.sqrt(noise.size)
        assert abs(noise.var() - 1) < 4 * math.sqrt(2 / noise.size)
        for axis in (1, 2, 3):
            shifted = np.mean(noise * np.roll(noise, 1, axis=axis))
            assert abs(shifted) < 4 / math.sqrt(noise.size), "neighbours share their noise"


class TestWeights:
    @pytest.mark.parametrize("learn_leak", [False, True])
    @pytest.mark.parametrize("size,leak", [(None, "leak"), (3, "membrane_kernel")])
    def test_order_does_not_depend_on_what_is_learned(self, learn_leak, size, leak):
        layer = ConvRLIF2D(4, (3, 2), learn_leak=learn_leak, membrane_kernel_size=size)
        layer.build((None, None, 7, 6, 5))
        names = ["kernel", "bias", leak, "membrane_bias"]
        leak_shape = (4,) if size is None else (3, 3, 4, 4)
        assert [weight.name for weight in layer.weights] == names
        assert [tuple(w.shape) for w in layer.weights] == [(3, 2, 5, 4), (4,), leak_shape, (4,)]
        learned = [name for name in names if learn_leak or name != leak]
        assert [weight.name for weight in layer.trainable_weights] == learned

    @pytest.mark.parametrize("name", ["kernel", "bias", "leak", "membrane_kernel", "membrane_bias"])
    def test_each_weight_has_its_initializer_regularizer_and_constraint(self, name):
        arguments = {
            f"{name}_initializer": keras.initializers.Constant(0.5),
            f"{name}_regularizer": keras.regularizers.L1(2.0),
            f"{name}_constraint": keras.constraints.NonNeg(),
        }
        size = 2 if name == "membrane_kernel" else None
        layer = ConvRLIF2D(3, 2, membrane_kernel_size=size, **arguments)
        layer.build((None, None, 4, 4, 2))
        weight = getattr(layer.cell, name)
        np.testing.assert_array_equal(weight, np.full(weight.shape, 0.5))
        assert [float(loss) for loss in layer.losses] == [pytest.approx(np.prod(weight.shape))]
        optimizer = keras.optimizers.SGD(1.0)
        optimizer.apply([tf.ones(w.shape) for w in layer.weights], layer.weights)
        np.testing.assert_array_equal(weight, np.zeros(weight.shape))
        for key, value in arguments.items():
            assert getattr(layer, key) is value
        copy = ConvRLIF2D.from_config(layer.get_config())
        assert copy.get_config() == layer.get_config()

    def test_a_leak_of_each_channel_stays_in_its_range(self):
        layer = ConvRLIF2D(3, 2)
        layer.build((None, None, 4, 4, 2))
        optimizer = keras.optimizers.SGD(1e3)
        optimizer.apply([tf.ones(3)], [layer.cell.leak])
        np.testing.assert_array_equal(layer.cell.leak, np.full(3, 1 / 4096, "float32"))


class TestArguments:
    def test_every_argument_is_kept(self):
        layer = ConvRLIF2D(
            2,
            3,
            strides=[2, 1],
            padding="SAME",
            data_format="channels_first",
            membrane_kernel_size=[3, 1],
            threshold=[0.75, 1],
            surrogate=surrogates.Triangular(0.3),
            output_mode="analog",
            analog_source="reset",
            analog_activation="tanh",
            membrane_kernel_regularizer="l2",
            noise_stddev=0.1,
            dropout=0.2,
            seed=4,
            return_sequences=True,
            unroll=True,
            zero_output_for_mask=False,
            name="hidden",
        )
        assert (layer.filters, layer.kernel_size, layer.strides) == (2, (3, 3), (2, 1))
        assert (layer.padding, layer.membrane_kernel_size) == ("same", (3, 1))
        config = layer.get_config()
        assert "units" not in config
        copy = ConvRLIF2D.from_config(config)
        assert copy.get_config() == config
        assert (copy.strides, copy.membrane_kernel_size) == ((2, 1), (3, 1))
        assert (copy.threshold, copy.data_format) == ((0.75, 1.0), "channels_first")
        assert copy.surrogate == surrogates.Triangular(0.3)
        assert isinstance(copy.membrane_kernel_regularizer, keras.regularizers.L2)

    @pytest.mark.parametrize("kind", [ConvRLIF2D, ConvRLIF2DCell])
    @pytest.mark.parametrize(
        "arguments,message",
        [
            ({"filters": 0}, r"`filters` must be a positive integer\. Received: filters=0"),
            ({"filters": 2.5}, "`filters` must be a positive integer"),
            ({"kernel_size": 0}, r"`kernel_size` must be a positive integer or two.*kernel_size=0"),
            ({"kernel_size": (3, 3, 3)}, r"`kernel_size` must be.*kernel_size=\(3, 3, 3\)"),
            ({"kernel_size": "large"}, "`kernel_size` must be a positive integer or two"),
            ({"kernel_size": (3, 1.5)}, "`kernel_size` must be a positive integer or two"),
            ({"strides": (1, -1)}, r"`strides` must be.*strides=\(1, -1\)"),
            ({"strides": True}, "`strides` must be a positive integer or two"),
            ({"dilation_rate": 0}, "`dilation_rate` must be a positive integer or two"),
            ({"membrane_kernel_size": 0}, "`membrane_kernel_size` must be a positive integer"),
            (
                {"strides": 2, "dilation_rate": (1, 2)},
                r"both strides and dilation.*strides=2, dilation_rate=\(1, 2\).*at 1",
            ),
            ({"padding": "causal"}, "`padding` must be one of valid, same.*padding='causal'"),
            ({"padding": 1}, "`padding` must be one of valid, same"),
            ({"data_format": "NCHW"}, "`data_format` must be one of channels_last, channels_fir"),
            ({"threshold": [1.0, 2.0]}, "sequence of 3 numbers, one for each filter.*of 2 numbers"),
            ({"threshold": "high"}, "`threshold` must be a number or a sequence of 3"),
            ({"reset": [0, 0, 0.75]}, r"reset=0\.75, threshold=0\.5 \(filter 2\)"),
            ({"output_mode": "graded"}, "`output_mode` must be one of spike, analog"),
            ({"noise_stddev": -0.1}, r"`noise_stddev` must be .*at least 0"),
            ({"dropout": 1}, "`dropout` must be at least 0 and below 1"),
            ({"leak_initializer": 1.5}, "within the range of its constraint"),
            (
                {"membrane_kernel_initializer": "zeros"},
                "`membrane_kernel_initializer` has no effect.*membrane_kernel_size=None.*`leak`"
                ".*Pass `leak_initializer`",
            ),
            ({"membrane_kernel_constraint": "non_neg"}, "`membrane_kernel_constraint` has no eff"),
            ({"membrane_kernel_regularizer": "l2"}, "`membrane_kernel_regularizer` has no eff"),
            (
                {"leak_regularizer": "l2", "membrane_kernel_size": 3},
                r"`leak_regularizer` has no effect.*membrane_kernel_size=\(3, 3\)"
                ".*Pass `membrane_kernel_regularizer`",
            ),
        ],
    )
    def test_errors_name_the_layer_and_what_is_wrong(self, kind, arguments, message):
        name = "hidden_cell" if kind is ConvRLIF2D else "hidden"
        with pytest.raises(ValueError, match=f"ConvRLIF2DCell '{name}': .*{message}"):
            kind(**{"filters": 3, "kernel_size": 2, "name": "hidden", **arguments})


class TestMetricsAndPlots:
    X = np.random.default_rng(0).normal(0.3, 1.0, (5, 8, 5, 4, 2)).astype("float32")
    MASK = np.arange(8) < np.array([[8], [3], [5], [1], [7]])

    @pytest.fixture
    def layer(self):
        layer = ConvRLIF2D(3, 2, leak_initializer=0.8, return_sequences=True, name="spiking")
        layer.build(self.X.shape)
        return layer

    @pytest.mark.parametrize("return_sequences", [False, True])
    def test_firing_rates(self, layer, return_sequences):
        spikes = np.asarray(layer(self.X, mask=self.MASK))
        layer.return_sequences = return_sequences
        inputs, mask = keras.Input((8, 5, 4, 2)), keras.Input((8,), dtype="bool")
        network = keras.Model([inputs, mask], layer(inputs, mask=mask))
        x = [self.X, self.MASK]
        expected = spikes.sum(axis=(0, 1)) / self.MASK.sum()
        assert expected.shape == (4, 3, 3)
        assert 0.05 < expected.mean() < 0.95
        rates = metrics.firing_rates(network, x, batch_size=2)
        assert rates == {"spiking": pytest.approx(expected.mean())}
        np.testing.assert_allclose(metrics.unit_rates(network, x)["spiking"], expected, rtol=1e-6)

    def test_firing_rate_in_compile(self, layer):
        network = keras.Sequential([keras.Input((8, 5, 4, 2)), layer])
        network.compile("sgd", "mse", metrics=[metrics.FiringRate()])
        spikes = np.asarray(layer(self.X))
        logs = network.evaluate(self.X, spikes, verbose=0, return_dict=True)
        assert logs["firing_rate"] == pytest.approx(spikes.mean())
        metric = metrics.FiringRate()
        metric.update_state(None, spikes, sample_weight=self.MASK)
        assert float(metric.result()) == pytest.approx(spikes[self.MASK].mean())

    def test_activity(self, layer):
        spikes = np.asarray(layer(self.X))
        np.testing.assert_allclose(metrics.activity(spikes), spikes.mean(axis=1))
        masked = [s[m].mean(axis=0) for s, m in zip(spikes, self.MASK, strict=True)]
        np.testing.assert_allclose(metrics.activity(spikes, mask=self.MASK), masked, rtol=1e-6)

    def test_trace(self, layer):
        recorded = metrics.trace(layer, self.X)
        assert {values.shape for values in recorded.values()} == {(5, 8, 4, 3, 3)}
        np.testing.assert_array_equal(recorded["spikes"], layer(self.X))
        V, Y = recorded["membrane"], recorded["spikes"]
        np.testing.assert_array_equal(Y, V >= 0.5)
        expected = np.asarray(layer.cell.leak) * np.where(Y, 0, V)
        np.testing.assert_allclose(recorded["state"], expected, rtol=1e-6)

    @pytest.mark.parametrize("membrane_kernel_size", [None, (1, 2)])
    def test_synaptic_operations(self, membrane_kernel_size):
        layer = ConvRLIF2D(3, 2, name="spiking", membrane_kernel_size=membrane_kernel_size)
        x = (self.X > 0.8).astype("float32")
        network = keras.Sequential([keras.Input((8, 5, 4, 2)), layer])
        recorded = metrics.trace(layer, x)
        count = 0
        for image in x.reshape(-1, 5, 4, 2):
            count += convolved(image, np.ones((2, 2, 2, 3))).sum()
        if membrane_kernel_size is not None:
            # A spike resets to 0, which makes no products; a new kernel has a weight a filter.
            count += np.sum((recorded["spikes"] == 0) & (recorded["membrane"] != 0))
        counted = metrics.synaptic_operations(network, x)["spiking"]
        assert counted["acs"] + counted["macs"] == pytest.approx(count / len(x))
        assert (counted["macs"] > 0) == (membrane_kernel_size is not None)

    def test_operations_are_refused(self, layer):
        network = keras.Sequential([keras.Input((8, 5, 4, 2)), layer])
        with pytest.raises(ValueError, match="layer 'spiking'.*of cell ConvRLIF2DCell"):
            metrics.operations(network, self.X)

    def test_plots_ask_for_vectors(self, layer):
        recorded = metrics.trace(layer, self.X)
        with pytest.raises(ValueError, match=r"`spikes`.*\(8, 4, 3, 3\).*reshape"):
            plots.raster(recorded["spikes"][0])
        with pytest.raises(ValueError, match=r"`potential`.*\(8, 4, 3, 3\).*reshape"):
            plots.membrane(recorded["membrane"][0])
        plots.raster(recorded["spikes"][0].reshape(8, -1))
        plots.membrane(recorded["membrane"][0].reshape(8, -1), spikes=None)


def test_export_says_what_has_no_counterpart():
    lava_export = pytest.importorskip("lava_export")
    model = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            DirectEncoder(4),
            ConvRLIF2D(2, 3, membrane_kernel_size=3, return_sequences=True, name="hidden"),
            TimeSum(),
            keras.layers.Flatten(),
            keras.layers.Dense(2),
        ]
    )
    with pytest.raises(
        lava_export.ConversionError, match=r"'hidden' has membrane_kernel_size=\(3, 3\)"
    ):
        lava_export.export(model, calibration=np.zeros((2, 6, 6, 1), "float32"))


def test_it_learns_digits():
    """Still images of 28 x 28 for 6 steps, two layers of strides 2. Chance is 0.1."""

    def layers():
        return [
            DirectEncoder(6),
            ConvRLIF2D(8, 5, strides=2, leak_initializer=0.8, return_sequences=True),
            ConvRLIF2D(16, 3, strides=2, leak_initializer=0.8, return_sequences=True),
            TimeSum(),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]

    x, y = digits(2400)
    images = x[..., None]
    model, accuracy = learned(
        layers, images, y, 2000, 3, learning_rate=0.005, batch_size=50, clipnorm=None
    )
    assert accuracy > 0.8
    rates = metrics.firing_rates(model, images[2000:])
    assert len(rates) == 2
    assert all(0.01 < rate < 0.9 for rate in rates.values())
