"""Max pooling of spikes to integers: a unit fires where any spike is in its window.

It is a layer of its own, of LIF units that keep nothing from step to step, with weights of 1 and a
threshold of 0. On the chip it takes a step more, as every layer does.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lava_export.quantize import base
from lava_export.quantize.base import ConversionError, Windowed
from lava_export.units import LIF


@dataclass(frozen=True)
class MaxPoolingDescription(Windowed, base.Description):
    """One layer of max pooling: `kernel` is (in, filters), of zeros and ones.

    Args:
        shape: Shape of the outputs of a step in Keras.
    """

    shape: tuple = field(kw_only=True)

    @classmethod
    def of_windows(cls, name, windows, shape):
        """The description of pooling in these windows, each channel by itself."""
        channels = windows.input_shape[2]
        ones = np.tile(np.eye(channels), (int(np.prod(windows.kernel_size)), 1))
        return cls(name, ones, windows=windows, shape=shape)

    @property
    def output_shape(self):
        """Height, width and channels, or the channels alone."""
        return self.shape

    def after(self, before):
        """This layer behind another spiking one.

        Raises:
            ConversionError: If the other does not give spikes.
        """
        if before.output_range != (0, 1):
            raise ConversionError(
                f"Layer '{self.name}' takes the largest of the graded outputs of '{before.name}', "
                "but the chip can do that for spikes only: average them, or train that layer with "
                "spikes."
            )
        return self

    def quantize(self, inputs, leak_groups=None):
        """The integers, which are exact."""
        synapses = self.dense(self.kernel.T)
        units = LIF(du=4095, dv=4095, vth=0)
        fired = (self.weighted(inputs, self.kernel) > 0).astype(np.int8)
        parts = [(self.kernel, self.kernel.T, synapses.weights.reshape(self.filters, -1))]
        return base.recorded(self, synapses, units, parts, inputs, fired)

    def approximations(self, units, record):
        """None: it is exact."""
        return []

    def dequantized(self, units, states, record, looked_at):
        """The largest input, which is the output."""
        return states["spikes"][:, looked_at].astype(float)

    def closeness(self, inside, where):
        """The largest input, which is the output."""
        spike = float(inside["spikes"][where])
        return spike, 1.0, spike - 1.0
