"""Windows, against loops over their definition and against Keras."""

import itertools

import keras
import numpy as np
import pytest

from lava_export.windows import Windows

# Nothing square, nothing symmetric.
CASES = [
    Windows((7, 5, 2), (4, 2)),
    Windows((7, 5, 2), (3, 2), strides=(2, 3)),
    Windows((7, 5, 3), (3, 4), padding=(0, 1, 2, 0)),
    Windows((4, 9, 1), (2, 3), dilation=(3, 2), padding=(1, 0, 0, 2)),
    Windows((3, 4, 2), (1, 1), strides=(2, 5)),
    Windows((2, 2, 2), (5, 3), padding=(3, 1, 0, 1)),
]


def places(windows):
    """(row, column, i, j, y, x) of each pixel (y, x) that is at (i, j) of a window."""
    height, width, _ = windows.input_shape
    ranges = map(range, (*windows.output_size, *windows.kernel_size))
    for row, column, i, j in itertools.product(*ranges):
        y = row * windows.strides[0] + i * windows.dilation[0] - windows.padding[0]
        x = column * windows.strides[1] + j * windows.dilation[1] - windows.padding[2]
        if 0 <= y < height and 0 <= x < width:
            yield row, column, i, j, y, x


@pytest.mark.parametrize("windows", CASES, ids=str)
class TestWindows:
    def test_patches(self, windows):
        images = np.random.default_rng(0).integers(1, 9, (3, *windows.input_shape))
        channels = windows.input_shape[2]
        expected = np.zeros((3, *windows.output_size, *windows.kernel_size, channels))
        for *window, y, x in places(windows):
            expected[(slice(None), *window)] = images[:, y, x]
        np.testing.assert_array_equal(windows.patches(images), expected)

    def test_output_size(self, windows):
        """One window more would not fit."""
        pairs = zip(
            windows.output_size, windows.strides, windows.spans, (0, 2), (0, 1), strict=True
        )
        for count, stride, span, side, axis in pairs:
            size = windows.input_shape[axis] + sum(windows.padding[side : side + 2])
            assert (count - 1) * stride + span <= size < count * stride + span

    def test_sums(self, windows):
        shape = (2, *windows.output_size, *windows.kernel_size, windows.input_shape[2])
        values = np.random.default_rng(1).integers(-9, 9, shape)
        expected = np.zeros((2, *windows.input_shape), int)
        for *window, y, x in places(windows):
            expected[:, y, x] += values[(slice(None), *window)]
        np.testing.assert_array_equal(windows.sums(values), expected)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(
    ("kernel_size", "strides", "dilation"),
    [
        ((3, 2), (1, 1), (1, 1)),
        ((2, 5), (2, 3), (1, 1)),
        ((1, 4), (3, 2), (1, 1)),
        ((2, 1), (4, 4), (1, 1)),
        ((3, 2), (1, 1), (2, 3)),
    ],
)
@pytest.mark.parametrize("image", [(7, 8, 2), (6, 5, 2), (9, 6, 2)])
def test_windows_of_keras(image, kernel_size, strides, dilation, padding):
    generator = np.random.default_rng(2)
    images = generator.integers(-4, 5, (2, *image)).astype("float32")
    kernel = generator.integers(-4, 5, (*kernel_size, image[2], 3)).astype("float32")
    windows = Windows.of_keras(image, kernel_size, strides, padding, dilation)
    expected = keras.ops.conv(
        images, kernel, strides, padding, data_format="channels_last", dilation_rate=dilation
    )
    patches = windows.patches(images)
    actual = patches.reshape(*patches.shape[:3], -1) @ kernel.reshape(-1, 3)
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"input_shape": (5, 5)},
            "input_shape must be height, width and channels, each at least 1",
        ),
        ({"strides": (1, 0)}, "strides must be height and width, each at least 1, got .1, 0."),
        ({"padding": (1, 1)}, "padding must be top, bottom, left and right"),
        ({"padding": (1, 1, -1, 0)}, "padding must be .* at least 0"),
        ({"kernel_size": (6, 1)}, r"Windows of \(6, 1\) do not fit into images of \(5, 4\)"),
        ({"kernel_size": (3, 1), "dilation": (3, 1)}, r"Windows of \(7, 1\) do not fit"),
    ],
)
def test_sizes_that_do_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        Windows(**{"input_shape": (5, 4, 1), "kernel_size": (2, 2), **arguments})


def test_sizes_that_are_no_integers():
    with pytest.raises(TypeError, match="strides must hold integers, got .1.5, 1.0."):
        Windows((5, 4, 1), (2, 2), (1.5, 1))
