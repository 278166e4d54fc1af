"""ConvRLIF2D and pooling to integers: what is exact, what is lost, and what is refused."""

import keras
import numpy as np
import pytest
from keras import layers

import lava_export
from keras_spiking_rnn import RLIF, ConvRLIF2D, GatedLIF, SpikingLSTM, TimeSum, metrics
from lava_export import Conv, ConversionError, host, reference
from lava_export.quantize import ConvRLIF2DDescription, RLIFDescription, simulate_float
from lava_export.windows import Windows

SHAPE, STEPS = (7, 6, 2), 12  # nothing square, nothing symmetric


def images_of(samples, seed=0):
    generator = np.random.default_rng(seed)
    return (generator.random((samples, STEPS, *SHAPE)) < 0.4).astype("float32")


def conv(filters=3, size=(3, 2), name=None, **options):
    options = {"threshold": 0.4, "leak_initializer": 0.8, **options}
    return ConvRLIF2D(filters, size, return_sequences=True, name=name, **options)


def model_of(*between, head=None):
    keras.utils.set_random_seed(0)
    head = [TimeSum(), layers.Flatten(), layers.Dense(4)] if head is None else head
    return keras.Sequential([keras.Input((STEPS, *SHAPE)), *between, *head])


def flat(x):
    return x.reshape(len(x), STEPS, -1)


def pooled(cls, *arguments, **options):
    return layers.TimeDistributed(cls(*arguments, **options), name="pool")


OPTIONS = [
    {},
    {"strides": (2, 1), "padding": "same"},
    {"size": (2, 4), "strides": (1, 3), "padding": "same"},
    {"size": 2, "dilation_rate": (3, 2), "padding": "same"},
    {"size": (2, 1), "threshold": (0.3, 0.4, 0.5), "reset": (0.0, -0.2, 0.1)},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_floats_are_those_of_keras(options):
    constant = keras.initializers.Constant(0.03)
    layer = conv(bias_initializer="random_normal", membrane_bias_initializer=constant, **options)
    layer.build((None, STEPS, *SHAPE))
    layer.cell.leak.assign([0.7, 0.8, 0.95])
    described = ConvRLIF2DDescription.of("conv", layer.cell)
    assert (described.inputs, described.units) == (84, np.prod(layer.cell.output_size))
    fired, potential = simulate_float(described, flat(images_of(5)).astype(np.int8))
    traced = metrics.trace(layer, images_of(5))
    np.testing.assert_array_equal(fired, flat(traced["spikes"]))
    np.testing.assert_allclose(potential, flat(traced["membrane"]), atol=1e-5)
    assert 0.02 < fired.mean() < 0.98


# What comes between spiking layers; with weights that are multiples of one number all is exact.
# Means are of 2 or 4 pixels, since floats cannot hold those of 3.
BETWEEN = {
    "nothing": lambda: [],
    "Dense of channels": lambda: [layers.Dense(2)],
    "mean": lambda: [pooled(layers.AveragePooling2D, (2, 1))],
    "mean with strides": lambda: [pooled(layers.AveragePooling2D, 2, (1, 2))],
    "mean of a 3D layer": lambda: [layers.AveragePooling3D((1, 2, 2))],
    "max": lambda: [pooled(layers.MaxPooling2D, (3, 2), 1)],
    "max of a 3D layer": lambda: [layers.MaxPooling3D((1, 2, 3), padding="same")],
    "max, then mean": lambda: [
        pooled(layers.MaxPooling2D, 2, 1),
        layers.AveragePooling3D((1, 2, 1)),
    ],
    "dropout": lambda: [layers.SpatialDropout3D(0.5), layers.Dropout(0.5)],
}


def on_a_lattice(model, seed):
    """Weights of few bits, no leak, and biases of whole units."""
    generator = np.random.default_rng(seed)
    for layer in model.layers[:-1]:
        for weight in layer.weights:
            kind = weight.path.split("/")[-1]
            if kind == "leak":
                weight.assign(np.ones(weight.shape))
            elif "bias" in kind:
                weight.assign(0.25 * generator.integers(-1, 2, weight.shape))
            else:
                weight.assign(0.25 * generator.integers(-2, 4, weight.shape))


def assert_exact(model, seed):
    """On samples that the calibration has not seen."""
    network = lava_export.export(model, calibration=images_of(6, seed))
    report = lava_export.verify(model, network, images_of(30, seed + 100), modes=())
    floats = report.float_stage
    assert floats.mismatches == [0] * len(network.names)
    assert (floats.compared, floats.unlike_model) == (30, 0)
    for spikes, slots in zip(floats.float_spikes, floats.slots, strict=True):
        assert 0.01 < spikes / slots < 0.999
    return network


@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("behind", ["conv", "same", "dilated", "dense"])
def test_exact_on_a_lattice(between, behind):
    if behind == "dense":
        second = [
            layers.TimeDistributed(layers.Flatten()),
            RLIF(6, threshold=2.0, return_sequences=True),
        ]
    else:
        same = behind == "same" and "mean" not in between
        options = {"strides": (1, 2), "padding": "same"} if same else {}
        if behind == "dilated":
            options = {"dilation_rate": (2, 1)}
        second = [conv(3, 2, threshold=1.0, **options)]
    first = conv(3, (3, 2), threshold=1.25, padding="same")
    head = None if behind != "dense" else [TimeSum(), layers.Dense(4)]
    model = model_of(first, *BETWEEN[between](), *second, head=head)
    on_a_lattice(model, seed=1)
    network = assert_exact(model, seed=1)
    assert len(network.pairs) == 2 + ("max" in between)
    for layer in lava_export.check(model, images_of(6)).layers[:-3]:
        # Without a leak, inhibition that lasts adds up until it saturates.
        assert not [loss for loss in layer.losses if "overflow" not in loss]


def test_average_pooling_before_same_padding():
    """Windows of pooling cover the image: zeros around the means are zeros around the pixels."""
    pooling = pooled(layers.AveragePooling2D, (1, 2))
    second = conv(3, (2, 3), threshold=0.5, padding="same", strides=(2, 1))
    model = model_of(conv(3, (2, 1), threshold=1.25), pooling, second)
    on_a_lattice(model, seed=2)
    network = assert_exact(model, seed=2)
    synapses = network.layers[2]
    assert synapses.weights.shape[1:3] == (2, 6)
    assert (synapses.strides, synapses.padding) == ((2, 2), (0, 0, 2, 2))


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_a_convolution_of_means_is_one_convolution(padding):
    """Or it is refused, whatever the sizes."""
    generator = np.random.default_rng(5)
    composed = refused = 0
    while composed < 40:
        image = (*generator.integers(4, 10, 2).tolist(), 2)
        size, strides, kernel, steps, apart = generator.integers(1, 4, (5, 2)).tolist()
        apart = apart if max(steps) == 1 else [1, 1]
        try:
            mean = Windows.of_keras(image, size, strides, str(generator.choice(["valid", "same"])))
            inner = (*mean.output_size, 2)
            windows = Windows.of_keras(inner, kernel, steps, padding, apart)
        except ValueError:
            continue  # no window fits
        weights = generator.normal(size=(np.prod(kernel) * 2, 3))
        values = np.zeros((5, 3 * int(np.prod(windows.output_size))))
        described = ConvRLIF2DDescription("conv", weights, *values, windows=windows)
        x = generator.random((2, *image))
        ones = mean.patches(np.ones((1, *image))).sum(axis=(3, 4))
        means = mean.patches(x).sum(axis=(3, 4)) / ones
        expected = described.weighted(means.reshape(2, -1), weights)
        try:
            behind = described.behind_mean(mean)
        except ConversionError:
            refused += 1
            continue
        composed += 1
        actual = behind.weighted(x.reshape(2, -1), behind.kernel)
        np.testing.assert_allclose(actual, expected, atol=1e-12)
    assert refused > 5


def test_means_before_a_dense_layer():
    """Whatever the windows: each line has weights of its own."""
    generator = np.random.default_rng(6)
    for padding in ("valid", "same"):
        for size, strides in (((3, 2), (2, 1)), ((2, 3), (3, 3)), ((1, 4), (1, 2))):
            image = (8, 5, 2)
            mean = Windows.of_keras(image, size, strides, padding)
            lines = int(np.prod(mean.output_size)) * 2
            kernel = generator.normal(size=(lines, 4))
            described = RLIFDescription("dense", kernel, *np.zeros((5, 4))).behind_mean(mean)
            x = generator.random((3, *image))
            pooling = layers.AveragePooling2D(size, strides, padding)
            means = np.asarray(pooling(x.astype("float32"))).reshape(3, -1)
            np.testing.assert_allclose(
                x.reshape(3, -1) @ described.kernel, means @ kernel, atol=1e-5
            )


def test_a_linear_layer_with_a_bias_ends_at_the_border():
    """Zeros around the image get no bias: registers differ from position to position."""
    model = model_of(conv(threshold=1.25), layers.Dense(2), conv(2, (3, 2), padding="same"))
    on_a_lattice(model, seed=3)
    model.layers[1].bias.assign([0.5, -0.25])
    model.layers[2].cell.threshold = 1.0
    network = assert_exact(model, seed=3)
    bias = network.layers[3].bias_mant.reshape(network.layers[2].output_shape)
    assert len(np.unique(bias[..., 0])) > 1
    # Inside, all positions are alike.
    assert len(np.unique(bias[1:-1, :-1, 0])) == 1


def test_first_layer_behind_a_linear_one():
    model = model_of(layers.Dense(3), conv(3, 2, threshold=1.25, padding="same"))
    on_a_lattice(model, seed=4)
    assert assert_exact(model, seed=4).layers[0].input_shape == SHAPE


def test_losses_are_small_and_reported():
    model = model_of(conv(4, padding="same"), conv(3, 2))
    network = lava_export.export(model, calibration=images_of(40))
    for record in network.quantization.layers:
        assert 0 < record.weight_error < 0.01 and record.spike_loss < 0.05
        assert record.wraps == record.saturations == record.clipped_weights == 0
    report = lava_export.check(model, images_of(40))
    assert [layer.becomes for layer in report.layers[:2]] == [
        "Conv 7x6x2 to 7x6x4, LIF",
        "Conv 7x6x4 to 6x5x3, LIF",
    ]
    assert [layer.exact for layer in report.layers[:2]] == [False, False]


def test_leaks_of_filters_in_groups():
    model = model_of(conv(6, 2, padding="same"))
    model.layers[0].cell.leak.assign(np.linspace(0.5, 0.95, 6))
    network = lava_export.export(model, calibration=images_of(20), leak_groups=2)
    decays = network.layers[1].dv.reshape(7, 6, 6)
    assert len(np.unique(decays)) == 2 and (decays == decays[0, 0]).all()


def test_weights_that_no_input_meets_are_not_clipped():
    """A channel that is silent in the calibration data tells nothing of the harm."""
    model = model_of(conv(2, 2))
    kernel = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 2, 2, 2))
    kernel[:, :, 1] *= 20
    model.layers[0].cell.kernel.assign(kernel)
    x = images_of(20)
    x[..., 1] = 0
    network = lava_export.export(model, calibration=x)
    assert network.quantization.layers[0].clipped_weights == 0


def test_large_sums_take_fewer_bits_instead_of_a_negative_exponent():
    """2400 weights of one size: with 8 bits, their sum would not fit."""
    inputs = keras.Input((3, 20, 20, 6))
    layer = conv(2, 20, threshold=500.0, kernel_initializer="ones")
    model = keras.Model(inputs, TimeSum()(layer(inputs)))
    x = np.ones((2, 3, 20, 20, 6))
    network = lava_export.export(model, calibration=x)
    synapses = network.layers[0]
    assert synapses.exponent == 0 and 2400 * synapses.weights.max() < 1 << 17
    assert network.run(x.astype(np.int8)).all()


def test_encoder_and_head():
    """Images are made lines on the way in, and images again on the way out."""
    head = [TimeSum(), layers.Dense(3), layers.AveragePooling2D(2, 1, "same"), layers.Flatten()]
    model = model_of(pooled(layers.MaxPooling2D, (2, 1)), conv(3, 2), head=head)
    network = lava_export.export(model, calibration=images_of(10))
    assert network.encoder == (host.Pooling(True, (2, 1), (2, 1)), host.Reshape((-1, 36)))
    assert network.head[0] == host.Reshape((-1, 2, 5, 3))
    encoded = network.encode(images_of(10))
    np.testing.assert_allclose(
        network.decode(network.run(encoded)),
        model.layers[-1](
            layers.AveragePooling2D(2, 1, "same")(
                model.layers[3](
                    network.run(encoded).reshape(10, STEPS, 2, 5, 3).sum(axis=1).astype("float32")
                )
            )
        ),
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    "head",
    [
        lambda: [],
        lambda: [layers.TimeDistributed(layers.Flatten()), TimeSum(), layers.Dense(3)],
        lambda: [layers.Reshape((STEPS, -1)), TimeSum()],
        lambda: [layers.MaxPooling3D((1, 2, 2)), TimeSum(), layers.GlobalAveragePooling2D()],
        lambda: [TimeSum(), layers.GlobalMaxPooling2D(), layers.Dense(3)],
        lambda: [TimeSum(), layers.MaxPooling2D(3, 2, padding="same"), layers.Flatten()],
        lambda: [pooled(layers.GlobalAveragePooling2D), TimeSum(), layers.Dense(3)],
    ],
)
def test_heads_give_what_the_model_gives(head):
    model = model_of(conv(), head=head())
    network = lava_export.export(model, calibration=images_of(10))
    report = lava_export.verify(model, network, images_of(10), modes=())
    assert (report.float_stage.compared, report.float_stage.unlike_model) == (10, 0)
    # The host's part alone, on Keras' own spikes.
    fired = metrics.trace(model.layers[0], images_of(10))["spikes"]
    expected = model(images_of(10)).numpy()
    if not network.head:
        expected = expected.sum(axis=1)
    actual = network.decode(flat(fired))
    np.testing.assert_allclose(actual.ravel(), expected.ravel(), rtol=1e-4, atol=1e-4)


def test_last_step_alone():
    last = ConvRLIF2D(3, 2, threshold=0.4)
    model = model_of(conv(), last, head=[layers.Flatten(), layers.Dense(3)])
    network = lava_export.export(model, calibration=images_of(10))
    assert network.head[:2] == (host.Reshape((-1, 4, 4, 3)), host.LastStep())
    assert lava_export.verify(model, network, images_of(10), modes=()).float_stage.unlike_model == 0


def test_graded_outputs_of_the_layer_before():
    """Messages of several bits, through a convolution."""
    model = model_of(
        layers.Reshape((STEPS, 84)),
        GatedLIF(
            24,
            bits=3,
            threshold_ratio=2,
            gate_activation="plan_sigmoid",
            return_sequences=True,
        ),
        layers.Reshape((STEPS, 4, 3, 2)),
        conv(3, 2, threshold=0.1),
    )
    network = lava_export.export(model, calibration=images_of(20))
    assert network.layers[2].message_bits == 3
    report = lava_export.verify(model, network, images_of(20), modes=())
    assert report.float_stage.unlike_model == 0
    assert report.float_stage.float_spikes[1] > 100


REFUSED = {
    "membrane kernel": (
        lambda: [conv(membrane_kernel_size=3, name="c")],
        "'c' has membrane_kernel_size=.3, 3.: .* spread to other.*membrane_kernel_size=None",
    ),
    "channels first": (
        lambda: [conv(data_format="channels_first", name="c")],
        "'c' has data_format='channels_first'.*channels_last.*set_weights",
    ),
    "leak": (
        lambda: [conv(leak_initializer=1e-5, leak_constraint=None, name="c")],
        "'c': the leak of unit 0 is 1e-05 .3 such",
    ),
    "analog": (
        lambda: [conv(output_mode="analog", name="c")],
        "'c' has output_mode='analog'",
    ),
    "Dense of an image": (
        lambda: [
            layers.TimeDistributed(layers.Flatten()),
            RLIF(9, return_sequences=True),
            layers.Dense(8),
            layers.Reshape((STEPS, 2, 2, 2)),
            conv(2, 1, name="c"),
        ],
        "'c' gets images of a Dense layer of 8 units.* Only a Dense layer of 2 units",
    ),
    "means that overlap, before zeros": (
        lambda: [conv(), pooled(layers.AveragePooling2D, 3, 1), conv(padding="same", name="c")],
        "'c' has padding='same' behind average pooling that leaves pixels out, or whose windows",
    ),
    "means that leave pixels out, before zeros": (
        lambda: [conv(), pooled(layers.AveragePooling2D, 2), conv(padding="same", name="c")],
        "'c' has padding='same' behind average pooling that leaves pixels out",
    ),
    "means of padded windows": (
        lambda: [conv(), pooled(layers.AveragePooling2D, 2, padding="same"), conv(2, 1, name="c")],
        "'c' has padding='same' behind average pooling .* are padded",
    ),
    "largest of means": (
        lambda: [
            conv(),
            layers.AveragePooling3D((1, 2, 2), name="mean"),
            layers.MaxPooling3D((1, 2, 2), name="max"),
            conv(2, 1),
        ],
        "'max' takes the largest of what 'mean' .AveragePooling3D. makes.*directly behind",
    ),
    "largest of graded outputs": (
        lambda: [
            layers.Reshape((STEPS, 84)),
            GatedLIF(24, bits=3, threshold_ratio=2, return_sequences=True, name="graded"),
            layers.Reshape((STEPS, 4, 3, 2)),
            layers.MaxPooling3D((1, 2, 2), name="max"),
            conv(2, 1),
        ],
        "'max' takes the largest of the graded outputs of 'graded', but the chip can do that for",
    ),
    "largest of several steps": (
        lambda: [conv(), layers.MaxPooling3D((2, 1, 1), name="max"), conv(2, 1)],
        "'max' pools 2 steps, .* one step at a time",
    ),
    "channels first in pooling": (
        lambda: [
            conv(),
            pooled(layers.MaxPooling2D, 2, data_format="channels_first"),
            conv(2, 1),
        ],
        "'pool' has data_format='channels_first'",
    ),
    "bias of a linear layer where there is none": (
        lambda: [
            conv(),
            layers.Dense(2, bias_initializer="ones"),
            layers.TimeDistributed(layers.Flatten()),
            SpikingLSTM(4, return_sequences=True, use_bias=False, name="lstm"),
        ],
        None,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    between, message = REFUSED[name]
    head = [TimeSum()]
    model = model_of(*between(), head=head)
    if message is None:
        lava_export.export(model, calibration=images_of(4))
        return
    with pytest.raises(ConversionError, match=message):
        lava_export.export(model, calibration=images_of(4))
    assert not lava_export.check(model).ok


def test_max_pooling_is_one_layer_more():
    model = model_of(conv(), pooled(layers.MaxPooling2D, 2), conv(2, 1))
    network = lava_export.export(model, calibration=images_of(10))
    synapses, units = network.layers[2:4]
    assert isinstance(synapses, Conv) and network.names[1] == "pool"
    spikes = (np.random.default_rng(9).random((3, STEPS, 75)) < 0.2).astype(np.int8)
    actual = reference.simulate_layer(synapses, units, spikes)
    expected = spikes.reshape(3, STEPS, 5, 5, 3)[:, :, :4, :4]
    expected = expected.reshape(3, STEPS, 2, 2, 2, 2, 3).max(axis=(3, 5))
    np.testing.assert_array_equal(actual.spikes, expected.reshape(3, STEPS, -1))
    assert not actual.final[0]["v"].any()  # nothing is kept
    record = network.quantization.layers[1]
    assert record.mismatches == record.weight_error == 0
