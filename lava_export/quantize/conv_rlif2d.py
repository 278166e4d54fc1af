"""ConvRLIF2D to integers: RLIF whose weights are those of a convolution.

Each filter is a row of weights with a scale of its own. The units are positions of filters, in the
order of Keras: by height, by width, by filter. All positions of a filter have the same registers,
but for biases behind a linear layer that has one, of which zeros around the image get none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from lava_export.quantize.base import ConversionError, Windowed
from lava_export.quantize.rlif import RLIFDescription
from lava_export.windows import Windows


@dataclass(frozen=True)
class ConvRLIF2DDescription(Windowed, RLIFDescription):
    """One ConvRLIF2D layer in float64: `kernel` is (in, filters), the rest is (units,).

    The rows of `kernel` are those of a window: by height, by width, by channel.
    """

    lowest_exponent: ClassVar[int] = 0

    @classmethod
    def of(cls, name, cell):
        """The description of a `ConvRLIF2DCell`."""
        if cell.membrane_kernel is not None:
            raise ConversionError(
                f"Layer '{name}' has membrane_kernel_size={cell.membrane_kernel_size}: its "
                "membrane potentials spread to other neurons, but those of the chip only leak, and "
                "pass on spikes. Train it with membrane_kernel_size=None."
            )
        if cell.data_format != "channels_last":
            raise ConversionError(
                f"Layer '{name}' has data_format={cell.data_format!r}, but lines of the chip are "
                "in the order of channels_last. Build the model with data_format='channels_last' "
                "and set_weights: they have the same shapes in both."
            )
        filters = RLIFDescription.of(name, cell)
        windows = Windows.of_keras(
            cell.image_size, cell.kernel_size, cell.strides, cell.padding, cell.dilation_rate
        )
        positions = int(np.prod(windows.output_size))
        names = ("bias", "leak", "membrane_bias", "threshold", "reset")
        values = {name: np.tile(getattr(filters, name), positions) for name in names}
        kernel = filters.kernel.reshape(-1, filters.kernel.shape[-1])
        return cls(name, kernel, windows=windows, **values)

    def of_rows(self, values):
        """The values of the filters, which are the same at all positions."""
        return values[: self.filters]

    def behind(self, kernel, bias):
        """This layer with a linear one before it, on the channels of each pixel.

        Raises:
            ConversionError: If that one does more.
        """
        channels = self.windows.input_shape[2]
        if kernel.shape[1] != channels:
            raise ConversionError(
                f"Layer '{self.name}' gets images of a Dense layer of {kernel.shape[1]} units, "
                f"which would take weights of its own for each pixel. Only a Dense layer of "
                f"{channels} units, which are the channels, becomes part of a convolution: put a "
                "spiking layer in its place."
            )
        taps = self.kernel.reshape(*self.windows.kernel_size, channels, self.filters)
        *image, _ = self.windows.input_shape
        # Zeros around the image are zeros behind the other layer too.
        constants = np.broadcast_to(bias, (1, *image, channels))
        constant = self.weighted(constants.reshape(1, -1), self.kernel)[0]
        return replace(
            self,
            kernel=(kernel @ taps).reshape(-1, self.filters),
            bias=self.bias + constant,
            windows=replace(self.windows, input_shape=(*image, len(kernel))),
        )

    def behind_mean(self, mean):
        """This layer with average pooling before it: a convolution with larger windows.

        Args:
            mean: The `Windows` whose pixels are averaged.

        Raises:
            ConversionError: If that is no convolution, because of what is at the borders.
        """
        inner, outer = mean.kernel_size, self.windows
        rest = [
            size - count * stride
            for size, count, stride in zip(
                mean.input_shape[:2], mean.output_size, mean.strides, strict=True
            )
        ]
        overlap = np.subtract(inner, mean.strides) > 0
        padded = np.reshape(outer.padding, (2, 2)) > 0
        if (
            any(mean.padding)
            or (padded.any(axis=1) & overlap).any()
            or (padded[:, 1] & (np.array(rest) > 0)).any()
        ):
            raise ConversionError(
                f"Layer '{self.name}' has padding='same' behind average pooling that leaves pixels "
                "out, or whose windows overlap or are padded: together they are no convolution. "
                "Take padding='valid' in both, or images that windows without padding cover."
            )
        down, along = mean.strides
        spans = [
            (span - 1) * stride for span, stride in zip(outer.spans, (down, along), strict=True)
        ]
        composed = np.zeros(
            (spans[0] + inner[0], spans[1] + inner[1], mean.input_shape[2], self.filters)
        )
        taps = self.kernel.reshape(*outer.kernel_size, -1, self.filters) / np.prod(inner)
        apart, beside = np.multiply(outer.dilation, mean.strides)
        for i in range(inner[0]):
            for j in range(inner[1]):
                composed[
                    i : i + spans[0] + 1 : apart,
                    j : j + spans[1] + 1 : beside,
                ] += taps
        windows = Windows(
            mean.input_shape,
            composed.shape[:2],
            np.multiply(outer.strides, mean.strides),
            np.multiply(outer.padding, (down, down, along, along)),
        )
        return replace(self, kernel=composed.reshape(-1, self.filters), windows=windows)
