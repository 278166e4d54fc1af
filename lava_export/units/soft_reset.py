"""What the units share whose membrane is not reset, but loses what the last output took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lava_export import arithmetic
from lava_export.units.base import Units, size_of


@dataclass(frozen=True, eq=False)
class SoftResetUnits(Units):
    """Base of the units with a current, a membrane, and outputs of one or more bits.

    A subclass computes the current `i` of a step; the rest of the step is::

        v = v * keep_v / 4096 + i - y * height           saturates at 24 bits
        y = [v >= threshold]                            with bits = 0
        y = level(v) if v >= threshold, else 0          with more
        y = sign(v) * level(|v|) if |v| >= threshold, else 0    with more, signed

    where `y` before it is the output of the last step, and `level` counts how often `height` fits
    into a number, at most `2**bits - 1`. All states are 0 before the first step.
    """

    states: ClassVar[tuple] = ("i", "v", "y")
    of_all: ClassVar[tuple] = ("bits", "signed")

    def __post_init__(self):
        super().__post_init__()
        owner = type(self).__name__
        if self.signed and not self.bits:
            raise ValueError(
                f"{owner}: spikes have no sign: set bits to the bits of an output without its "
                "sign, at least 1, or signed=0."
            )
        top = int(np.max(self.height)) << self.bits
        if self.bits and top > arithmetic.STATE_LIMIT:
            raise ValueError(
                f"{owner}: height * 2**bits, the membrane at which the output is largest, must be "
                f"at most {arithmetic.STATE_LIMIT}, which a membrane of 24 bits can reach, got "
                f"{top}."
            )

    @property
    def output_bits(self):
        """0 for spikes; otherwise the bits of the outputs, without their sign."""
        return self.bits

    @property
    def output_range(self):
        """The smallest and the largest output."""
        low, high = super().output_range
        return (-high if self.signed else low), high

    def reach_membrane(self, bounds, i):
        """A step of `reach` with currents between both of `i`; returns the membranes' sizes."""
        low, high = bounds["v"]
        most, least = self._kept(low, high)
        if self.signed:
            mirrored, opposite = self._kept(-high, -low)
            most, least = np.maximum(most, -opposite), np.minimum(least, -mirrored)
        bounds["i"], bounds["v"] = i, (least + i[0], most + i[1])
        return size_of(bounds["v"])

    def _kept(self, low, high):
        """The largest and the smallest that a decayed membrane, less what its output takes, can be.

        The membrane is between `low` and `high`, and an output is not negative.
        """
        keep = np.asarray(self.keep_v, float) / arithmetic.DECAY_UNITY
        threshold, height = np.asarray(self.threshold, float), np.asarray(self.height, float)
        fires = high >= threshold
        if not self.bits:
            most = np.where(fires, keep * high - height, -np.inf)
            least = keep * low - np.where(low >= threshold, height, 0)
            at_threshold = np.where(fires & (low < threshold), keep * threshold - height, np.inf)
            return (
                np.maximum(np.minimum(keep * high, keep * threshold), most),
                np.minimum(least, at_threshold),
            )
        largest = (1 << self.bits) - 1
        # Below the largest output, less than `height` is left of what did not decay.
        most = np.where(fires, np.maximum(height, keep * high - largest * height), -np.inf)
        lost = (1 - keep) * np.minimum(high, (largest + 1) * height)
        return (
            np.maximum(keep * np.minimum(high, np.maximum(threshold, 0)), most),
            np.minimum(keep * low, np.where(fires, -lost, np.inf)),
        )

    def fire(self, state, i):
        """Replace the states by those of a step with the current `i`, which is within 24 bits.

        Returns:
            The outputs, and the number of membranes that saturated.
        """
        taken = state["y"].astype(np.int64) * self.height
        unbounded = arithmetic.decay(state["v"], np.asarray(self.keep_v, np.int64)) + i - taken
        v, saturations = arithmetic.saturated(unbounded)
        size = np.abs(v) if self.signed else v
        y = arithmetic.level(size, self.height, self.bits) if self.bits else np.ones_like(v)
        y = np.where(size >= self.threshold, np.sign(v) * y if self.signed else y, 0)
        state["i"], state["v"], state["y"] = (s.astype(np.int32) for s in (i, v, y))
        return state["y"], saturations
