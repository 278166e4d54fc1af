"""Kinds of synapses in integers: from the outputs of one layer to the inputs of the next."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lava_export import arithmetic
from lava_export.registers import integers, same
from lava_export.windows import Windows

PATCHES = 1 << 22  # numbers in windows that are computed with at once


@dataclass(frozen=True, eq=False)
class Dense:
    """Synapses from all inputs to all units, as Lava's `Dense`.

    The weighted input of a step is `messages @ weights.T * 2**exponent`, floor where the exponent
    is negative. A matrix with both signs computes with even weights: an odd weight is floored, as
    Lava does. One without positive weights computes with -255 for -256.

    Args:
        weights: Integers of shape `(units, in)` in [-256, 255].
        exponent: Common power of two of all weights, in [-8, 7].
        num_weight_bits: Bits a weight is stored in, in [1, 8].
        message_bits: 0 for inputs that are spikes, 0 or 1; otherwise the number of bits, up to
            24, of graded ones, which may be negative.

    Raises:
        TypeError: If a value is not an integer.
        ValueError: If a value does not fit its register, or a shape is wrong.
    """

    weights: np.ndarray
    exponent: int = 0
    num_weight_bits: int = 8
    message_bits: int = 0

    def __post_init__(self):
        _freeze(self, 2)

    __eq__ = same
    __hash__ = None

    @property
    def units(self):
        """Number of lines the synapses lead to."""
        return self.weights.shape[0]

    @property
    def inputs(self):
        """Number of input lines."""
        return self.weights.shape[1]

    def effective_weights(self):
        """The weights that are computed with, int32 `(units, in)`."""
        return arithmetic.weights_on_grid(self.weights, self.num_weight_bits)

    def fan_out(self):
        """Number of synapses of each input line, those whose weight is not 0, `(in,)`."""
        return np.count_nonzero(self.effective_weights(), axis=0)

    def product(self, register=np.int32):
        """The function from messages `(..., in)` to weighted inputs `(..., units)`.

        They are int32, which wraps as Lava's, or of another type.
        """
        return arithmetic.product(
            self.effective_weights(), self.exponent, self.message_bits, register
        )

    def reach(self, message_range=None):
        """The smallest and the largest weighted input of each line, int64 `(units,)` each.

        Args:
            message_range: The smallest and the largest message; by default those that fit.
        """
        return reach_of(self, self.effective_weights(), np.ones(self.inputs, int), message_range)


@dataclass(frozen=True, eq=False)
class Conv:
    """Synapses of a convolution, whose weights all positions share, as Lava's `Conv`.

    A line is a pixel of a channel, a unit a position of a filter, both in the order of Keras:
    by height, by width, by channel or filter. The weighted input of a step is a convolution of the
    messages with the weights, times `2**exponent`. As in `Dense`, weights with both signs are
    even, and those without a positive one at least -255.

    Lava's `Conv` itself drops no bit of a weight and has no exponent: it gets the weights that are
    computed with. So the exponent cannot be negative, which would round sums. And as it wraps at 24
    bits, weights are refused that could get there.

    Args:
        weights: Integers of shape `(filters, kernel height, kernel width, channels)` in
            [-256, 255]. The window is not flipped.
        input_shape: Height, width and channels of an image.
        strides: Along height and width.
        padding: Zeros at the top, bottom, left and right of an image.
        dilation: Along height and width.
        exponent: Common power of two of all weights, in [0, 7].
        num_weight_bits: Bits a weight is stored in, in [1, 8].
        message_bits: As of `Dense`.

    Raises:
        TypeError: If a value is not an integer.
        ValueError: If a value does not fit its register, or a shape is wrong.
    """

    weights: np.ndarray
    input_shape: tuple
    strides: tuple = (1, 1)
    padding: tuple = (0, 0, 0, 0)
    dilation: tuple = (1, 1)
    exponent: int = 0
    num_weight_bits: int = 8
    message_bits: int = 0

    def __post_init__(self):
        _freeze(self, 4)
        windows = self.windows
        for name in ("input_shape", "strides", "padding", "dilation"):
            object.__setattr__(self, name, getattr(windows, name))
        if self.weights.shape[3] != self.input_shape[2]:
            raise ValueError(
                f"Conv.weights are for {self.weights.shape[3]} channels, but the images of "
                f"input_shape={self.input_shape} have {self.input_shape[2]}."
            )
        if self.exponent < 0:
            raise ValueError(
                f"Conv.exponent must be in [0, 7], as Lava's Conv has none, got {self.exponent}."
            )
        most = np.abs(self.effective_weights()).sum(axis=(1, 2, 3), dtype=np.int64).max()
        most <<= self.exponent + self.message_bits
        if most >= arithmetic.STATE_LIMIT:
            raise ValueError(
                f"Conv.weights of one filter add up to {most} in size, with their exponent and "
                f"the largest messages, but Lava's Conv wraps at {arithmetic.STATE_LIMIT}: use "
                "smaller weights or a smaller exponent."
            )

    __eq__ = same
    __hash__ = None

    @property
    def windows(self):
        """Where the windows lie."""
        return Windows(
            self.input_shape, self.weights.shape[1:3], self.strides, self.padding, self.dilation
        )

    @property
    def filters(self):
        """Number of filters."""
        return self.weights.shape[0]

    @property
    def output_shape(self):
        """Height, width and filters of an image of the units."""
        return (*self.windows.output_size, self.filters)

    @property
    def units(self):
        """Number of lines the synapses lead to."""
        return math.prod(self.output_shape)

    @property
    def inputs(self):
        """Number of input lines."""
        return math.prod(self.input_shape)

    def effective_weights(self):
        """The weights that are computed with, int32, of the shape of `weights`."""
        return arithmetic.weights_on_grid(self.weights, self.num_weight_bits)

    def fan_out(self):
        """Number of synapses of each input line, those whose weight is not 0, `(in,)`.

        One for each window that a pixel is in, so there are fewer at the borders.
        """
        counts = np.count_nonzero(self.effective_weights(), axis=0)
        windows = self.windows
        everywhere = np.broadcast_to(counts, (1, *windows.output_size, *counts.shape))
        return windows.sums(everywhere).ravel()

    def reach(self, message_range=None):
        """The smallest and the largest weighted input of each line, as of `Dense`."""
        matrix = self.effective_weights().reshape(self.filters, -1)
        inside = self.windows.patches(np.ones((1, *self.input_shape), int))
        return reach_of(self, matrix, inside.reshape(-1, matrix.shape[1]), message_range)

    def product(self):
        """The function from messages `(..., in)` to weighted inputs, int32 `(..., units)`."""
        windows, matrix = self.windows, self.effective_weights().reshape(self.filters, -1)
        of_patches = arithmetic.product(matrix, self.exponent, self.message_bits)
        size = max(1, PATCHES // (matrix.shape[1] * math.prod(windows.output_size)))

        def convolved(messages):
            images = messages.reshape(-1, *self.input_shape)
            total = np.empty((len(images), *self.output_shape), np.int32)
            for start in range(0, len(images), size):
                part = slice(start, start + size)
                patches = windows.patches(images[part])
                total[part] = of_patches(patches.reshape(*patches.shape[:3], -1))
            return total.reshape(*messages.shape[:-1], self.units)

        return convolved


def _freeze(synapses, ndim):
    """Check the registers and freeze them; weights have `ndim` dimensions."""
    for name in ("weights", "exponent", "num_weight_bits", "message_bits"):
        ndims = (ndim if name == "weights" else 0,)
        value = integers(type(synapses).__name__, name, getattr(synapses, name), ndims)
        object.__setattr__(synapses, name, value)


def reach_of(synapses, matrix, there, message_range):
    """What `reach` of some synapses gives.

    Args:
        synapses: The synapses.
        matrix: Their weights (rows, in).
        there: Which inputs there are, 0 or 1: (in,), or (positions, in).
        message_range: As of `reach`.
    """
    if message_range is None:
        largest = (1 << synapses.message_bits) - 1
        message_range = (-largest, largest) if largest else (0, 1)
    low, high = message_range
    # Float products are quick, and exact up to 53 bits.
    positive, negative = (
        (there.astype(float) @ part.T.astype(float)).ravel()
        for part in (np.maximum(matrix, 0), np.minimum(matrix, 0))
    )
    return tuple(
        arithmetic.shifted(bound, synapses.exponent)
        for bound in (low * positive + high * negative, high * positive + low * negative)
    )


# All kinds that a network can hold.
KINDS = (Dense, Conv)
