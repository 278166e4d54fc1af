"""Keras' pooling layers, read: what is pooled, and in which windows."""

from __future__ import annotations

import keras

from lava_export import host
from lava_export.host_layers import is_a
from lava_export.quantize import ConversionError
from lava_export.windows import Windows

MEANS = (keras.layers.AveragePooling2D, keras.layers.GlobalAveragePooling2D)
LARGEST = (keras.layers.MaxPooling2D, keras.layers.GlobalMaxPooling2D)
GLOBAL = (keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D)
OF_STEPS = (keras.layers.AveragePooling3D, keras.layers.MaxPooling3D)


def takes_means(layer):
    """Whether a layer averages windows of the images of a sequence."""
    return _pools(layer, MEANS, keras.layers.AveragePooling3D)


def takes_largest(layer):
    """Whether a layer takes the largest values in windows of the images of a sequence."""
    return _pools(layer, LARGEST, keras.layers.MaxPooling3D)


def _pools(layer, of_images, of_steps):
    if is_a(layer, keras.layers.TimeDistributed):
        return is_a(layer.layer, *of_images)
    return is_a(layer, of_steps)


def windows_of(layer, image):
    """The windows of a pooling layer.

    Args:
        layer: For which `takes_means` or `takes_largest` holds.
        image: Height, width and channels.

    Raises:
        ConversionError: If it has other windows at other steps, or channels first.
    """
    size, strides, padding = _sizes(layer)
    return Windows.of_keras(image, size, strides, padding) if size else Windows(image, image[:2])


def on_host(layer):
    """The operation of a pooling layer on the host, in a list; empty for any other layer.

    Raises:
        ConversionError: As of `windows_of`.
    """
    largest = takes_largest(layer) or is_a(layer, *LARGEST)
    if not (largest or takes_means(layer) or is_a(layer, *MEANS)):
        return []
    return [host.Pooling(largest, *_sizes(layer))]


def _sizes(layer):
    """Size of windows, strides, and padding; the sizes are empty for the whole image."""
    pooling = layer.layer if is_a(layer, keras.layers.TimeDistributed) else layer
    if pooling.data_format != "channels_last" or getattr(pooling, "keepdims", False):
        raise ConversionError(
            f"Layer '{layer.name}' has data_format={pooling.data_format!r} or keepdims=True: use "
            "'channels_last', without keepdims."
        )
    if is_a(pooling, *GLOBAL):
        return (), (), "valid"
    size, strides = pooling.pool_size, pooling.strides
    if is_a(pooling, *OF_STEPS):
        if (size[0], strides[0]) != (1, 1):
            raise ConversionError(
                f"Layer '{layer.name}' pools {size[0]} steps, with strides of {strides[0]} steps, "
                "but the chip gets one step at a time: use a window and strides of 1 for the first "
                "axis, or TimeDistributed(MaxPooling2D(...))."
            )
        size, strides = size[1:], strides[1:]
    return tuple(size), tuple(strides), pooling.padding
