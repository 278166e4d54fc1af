"""Units of a spiking LSTM, all of whose gates, states and outputs are 0 or 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lava_export import arithmetic
from lava_export.synapses import Dense
from lava_export.units.base import Units, beyond


@dataclass(frozen=True, eq=False)
class SpikingLSTM(Units):
    """Long short-term memory of bits, which `keras_spiking_rnn.SpikingLSTM` is exported to.

    At each step, with the weighted inputs `a_i`, `a_f`, `a_g` and `a_o` of the four ports, to which
    the recurrent synapses add what the outputs of the last step bring::

        i, f, g, o = a_i > threshold_i, a_f > threshold_f, a_g > threshold_g, a_o > threshold_o
        c = (f and c) or (i and g)
        spike = o and c

    `c` is 0 before the first step. Weighted inputs saturate at 24 bits.

    Args:
        threshold: Thresholds in units of the weighted input, 24 bits: one for all, or one for
            each of the four ports of each unit, in blocks i, f, g, o. A bias of the gate is part
            of it.
        recurrent: Synapses from the spikes back to the four ports, a step later; or None.

    Raises:
        TypeError: If a value is not an integer.
        ValueError: If a value does not fit its register, or a shape is wrong.
    """

    threshold: int | np.ndarray = 0
    recurrent: Dense | None = None

    ports: ClassVar[int] = 4
    states: ClassVar[tuple] = ("c",)
    of_ports: ClassVar[tuple] = ("threshold",)

    def dynamics(self):
        """The steps that the class's docstring writes out."""
        threshold = np.asarray(self.threshold, np.int32)

        def step(state, current):
            i, f, g, o = self.split(arithmetic.saturate(current) > threshold)
            c = (f & (state["c"] > 0)) | (i & g)
            state["c"] = c.astype(np.int32)
            return o & c, 0, beyond(current)

        return step

    def reach(self):
        """See `Units`: there is nothing but the weighted inputs."""

        def step(bounds, low, high):
            return []

        return step
