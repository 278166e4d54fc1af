"""`Conv`: its arithmetic, its limits, and all that a network does with it."""

import itertools

import numpy as np
import pytest

import lava_export
from lava_export import LIF, Conv, ConversionError, Dense, Network, resources

SHAPE = (7, 5, 2)


def conv_of(generator=None, **options):
    """Nothing square, nothing symmetric."""
    generator = generator or np.random.default_rng(0)
    options = {"strides": (2, 1), "padding": (0, 1, 1, 2), **options}
    return Conv(generator.integers(-90, 130, (3, 2, 4, 2)), SHAPE, **options)


def weighted(conv, messages):
    """The weighted input of each unit in Python's integers, as the docstring says."""
    mixed = conv.weights.min() < 0 < conv.weights.max()
    step = 2 ** (8 - conv.num_weight_bits + mixed)
    height, width, channels = conv.input_shape
    totals = []
    for row, column, unit in itertools.product(*map(range, conv.output_shape)):
        total = 0
        for i, j, channel in itertools.product(*map(range, conv.weights.shape[1:])):
            y = row * conv.strides[0] + i * conv.dilation[0] - conv.padding[0]
            x = column * conv.strides[1] + j * conv.dilation[1] - conv.padding[2]
            if 0 <= y < height and 0 <= x < width:
                weight = int(conv.weights[unit, i, j, channel]) // step * step
                total += weight * int(messages[(y * width + x) * channels + channel])
        totals.append(total * 2**conv.exponent)
    return totals


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"strides": (1, 3), "padding": (2, 0, 0, 1), "exponent": 3},
        {"strides": (1, 1), "dilation": (3, 1), "num_weight_bits": 5},
        {"message_bits": 8},
    ],
)
def test_it_is_what_the_docstring_says(options):
    generator = np.random.default_rng(1)
    conv = conv_of(generator, **options)
    low, high = (-255, 255) if conv.message_bits else (0, 1)
    messages = generator.integers(low, high, (3, 70), endpoint=True)
    actual = conv.product()(messages)
    assert (actual.dtype, actual.shape) == (np.int32, (3, conv.units))
    assert actual.tolist() == [weighted(conv, each) for each in messages]


def test_it_is_dense_with_shared_weights():
    """The signs are those of the whole kernel, and a step has as many synapses as the matrix."""
    conv = conv_of(num_weight_bits=6)
    matrix = conv.product()(np.eye(70, dtype=np.int8)).T
    dense = Dense(matrix)
    spikes = (np.random.default_rng(2).random((4, 9, 70)) < 0.4).astype(np.int8)
    np.testing.assert_array_equal(conv.product()(spikes), dense.product()(spikes))
    np.testing.assert_array_equal(conv.fan_out(), dense.fan_out())
    assert len(set(conv.fan_out())) > 3  # fewer at the borders


def test_weights_of_one_sign_may_be_odd():
    spikes = np.ones((1, 4), np.int8)
    for weights in ([[3, 5]], [[-3, -5]]):
        conv = Conv(np.reshape(weights, (1, 1, 2, 1)), (1, 4, 1))
        assert conv.product()(spikes).tolist() == [[sum(weights[0])] * 3]
    conv = Conv(np.reshape([-3, 5], (1, 1, 2, 1)), (1, 4, 1))
    assert conv.product()(spikes).tolist() == [[-4 + 4] * 3]


def test_parts_of_a_product_are_put_together(monkeypatch):
    conv = conv_of()
    spikes = (np.random.default_rng(3).random((7, 5, 70)) < 0.4).astype(np.int8)
    expected = conv.product()(spikes)
    monkeypatch.setattr("lava_export.synapses.PATCHES", 3 * 16 * 20 + 1)  # three images
    np.testing.assert_array_equal(conv.product()(spikes), expected)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"weights": np.ones((2, 3, 3))}, TypeError, "Conv.weights must hold integers"),
        ({"weights": np.ones((2, 3, 3), int)}, ValueError, "Conv.weights must have 4 dimensions"),
        ({"weights": np.full((1, 1, 1, 2), 256)}, ValueError, r"must be in \[-256, 255\]"),
        ({"weights": np.ones((1, 1, 1, 3), int)}, ValueError, "are for 3 channels.* have 2"),
        ({"weights": np.ones((1, 8, 1, 2), int)}, ValueError, "do not fit into images"),
        ({"exponent": -1}, ValueError, r"Conv.exponent must be in \[0, 7\], as Lava's Conv has no"),
        ({"exponent": 8}, ValueError, r"Conv.exponent must be in \[-8, 7\]"),
        ({"strides": 2}, ValueError, "strides must be height and width"),
        ({"message_bits": 24}, ValueError, "add up to .* wraps at 8388608: use smaller weights"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Conv(**{"weights": np.ones((1, 1, 1, 2), int), "input_shape": SHAPE, **arguments})


def test_the_largest_sum_is_just_within_24_bits():
    weights = np.full((1, 1, 258, 1), 255)
    Conv(weights[:, :, :257], (1, 300, 1), exponent=7)
    with pytest.raises(ValueError, match=f"add up to {258 * 255 * 128} in size"):
        Conv(weights, (1, 300, 1), exponent=7)


@pytest.fixture
def network():
    generator = np.random.default_rng(4)
    conv = conv_of(generator)
    dense = Dense(generator.integers(-90, 120, (6, conv.units)), -1)
    return Network([conv, LIF(dv=300, vth=300), dense, LIF(dv=300, vth=200)])


def test_it_is_saved_and_loaded(network, tmp_path):
    network.save(tmp_path / "n.h5")
    loaded = lava_export.load(tmp_path / "n.h5")
    assert loaded == network
    assert loaded.layers[0].padding == (0, 1, 1, 2) and loaded.layers[0] == network.layers[0]
    spikes = (np.random.default_rng(5).random((3, 8, 70)) < 0.4).astype(np.int8)
    np.testing.assert_array_equal(loaded.run(spikes), network.run(spikes))
    assert network.run(spikes).any()


def test_images_are_taken_as_they_are(network):
    spikes = (np.random.default_rng(6).random((3, 8, *SHAPE)) < 0.4).astype(np.int8)
    flat = spikes.reshape(3, 8, 70)
    np.testing.assert_array_equal(network.run(spikes), network.run(flat))
    assert resources.measure(network, spikes) == resources.measure(network, flat)
    with pytest.raises(ValueError, match=r"must have the shape \(batch, T, 70\), got \(3, 8, 5, 7"):
        network.run(spikes.transpose(0, 1, 3, 2, 4))


def test_resources_count_synapses_and_shared_weights(network):
    spikes = (np.random.default_rng(7).random((3, 8, 70)) < 0.4).astype(np.int8)
    needs = resources.estimate(network, resources.measure(network, spikes))
    layer, conv = needs.layers[0], network.layers[0]
    unrolled = np.count_nonzero(conv.product()(np.eye(70, dtype=np.int8)))
    assert (layer.inputs, layer.units, layer.synapses) == (70, 60, unrolled)
    assert layer.memory == conv.weights.size == 48
    assert layer.operations == np.count_nonzero(spikes, axis=(0, 1)) @ conv.fan_out() / 3
    assert needs.weights[0].weights == 48


def test_other_formats_refuse_it(network, tmp_path):
    with pytest.raises(ConversionError, match="'layer_0': netx holds Dense .* not Conv and LIF"):
        network.to_netx(tmp_path / "n.net")
    pytest.importorskip("nir")
    with pytest.raises(ConversionError, match="'layer_0': NIR's Conv2d has channels before"):
        network.to_nir()
