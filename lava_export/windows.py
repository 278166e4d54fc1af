"""Where the windows of a convolution lie on an image."""

from __future__ import annotations

import itertools
import numbers
from dataclasses import dataclass, fields

import numpy as np

SIZES = {
    "input_shape": (3, 1, "height, width and channels"),
    "kernel_size": (2, 1, "height and width"),
    "strides": (2, 1, "height and width"),
    "padding": (4, 0, "top, bottom, left and right"),
    "dilation": (2, 1, "height and width"),
}


@dataclass(frozen=True)
class Windows:
    """The windows of a convolution, as Keras moves them: the window is not flipped.

    Args:
        input_shape: Height, width and channels of an image.
        kernel_size: Height and width of a window.
        strides: From window to window, along height and width.
        padding: Zeros around the image: at its top, bottom, left and right.
        dilation: Distance of the rows and of the columns of a window.

    Raises:
        TypeError: If a size is not an integer.
        ValueError: If it is too small, there are not as many as there should be, or no window fits.
    """

    input_shape: tuple
    kernel_size: tuple
    strides: tuple = (1, 1)
    padding: tuple = (0, 0, 0, 0)
    dilation: tuple = (1, 1)

    def __post_init__(self):
        for field in fields(self):
            object.__setattr__(self, field.name, sizes(field.name, getattr(self, field.name)))
        if min(self.output_size) < 1:
            raise ValueError(
                f"Windows of {self.spans} do not fit into images of {self.input_shape[:2]} with "
                f"padding={self.padding}."
            )

    @classmethod
    def of_keras(cls, input_shape, kernel_size, strides, padding, dilation=(1, 1)):
        """The windows of a Keras layer, whose `padding` is "valid" or "same"."""
        around = []
        for size, kernel, stride, apart in zip(
            input_shape[:2], kernel_size, strides, dilation, strict=True
        ):
            span = apart * (kernel - 1) + 1
            lacking = max((-(-size // stride) - 1) * stride + span - size, 0)
            around += [lacking // 2, lacking - lacking // 2] if padding == "same" else [0, 0]
        return cls(input_shape, kernel_size, strides, around, dilation)

    @property
    def spans(self):
        """Rows and columns from the first to the last of a window."""
        return tuple(
            apart * (size - 1) + 1
            for size, apart in zip(self.kernel_size, self.dilation, strict=True)
        )

    @property
    def output_size(self):
        """Number of windows along height and width."""
        top, bottom, left, right = self.padding
        height, width, _ = self.input_shape
        return tuple(
            (size - span) // stride + 1
            for size, span, stride in zip(
                (height + top + bottom, width + left + right),
                self.spans,
                self.strides,
                strict=True,
            )
        )

    def patches(self, images):
        """What is in the windows of images (n, height, width, channels).

        Returns:
            (n, rows, columns, kernel height, kernel width, channels).
        """
        (down, right), (apart, beside) = self.strides, self.dilation
        views = np.lib.stride_tricks.sliding_window_view(self.padded(images), self.spans, (1, 2))
        views = views[:, ::down, ::right, :, ::apart, ::beside]
        return views.transpose(0, 1, 2, 4, 5, 3)

    def padded(self, images):
        """Images (n, height, width, channels) with the zeros around them."""
        top, bottom, left, right = self.padding
        return np.pad(images, ((0, 0), (top, bottom), (left, right), (0, 0)))

    def sums(self, values):
        """For each pixel the sum of what stands for it in all windows: `patches`, transposed.

        Args:
            values: (n, rows, columns, kernel height, kernel width, channels).

        Returns:
            (n, height, width, channels).
        """
        values = np.asarray(values)
        total = self.padded(np.zeros((len(values), *self.input_shape), values.dtype))
        for row, column in itertools.product(*map(range, self.kernel_size)):
            places = (
                slice(apart * at, apart * at + stride * (count - 1) + 1, stride)
                for at, apart, stride, count in zip(
                    (row, column), self.dilation, self.strides, self.output_size, strict=True
                )
            )
            total[(slice(None), *places)] += values[:, :, :, row, column]
        top, _, left, _ = self.padding
        height, width, _ = self.input_shape
        return total[:, top : top + height, left : left + width]


def sizes(name, values):
    """A tuple of integers, if it is as many as `name` of `Windows` has, none too small.

    Raises:
        TypeError: If one is not an integer.
        ValueError: If one is too small, or there are more or fewer.
    """
    count, least, meaning = SIZES[name]
    values = tuple(np.atleast_1d(values).tolist())
    if not all(isinstance(value, numbers.Integral) for value in values):
        raise TypeError(f"{name} must hold integers, got {values}.")
    if len(values) != count or min(values) < least:
        raise ValueError(f"{name} must be {meaning}, each at least {least}, got {values}.")
    return values
