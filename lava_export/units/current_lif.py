"""Leaky integrate-and-fire units with a synaptic current and a soft reset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lava_export import arithmetic
from lava_export.synapses import Dense
from lava_export.units.base import size_of
from lava_export.units.soft_reset import SoftResetUnits


@dataclass(frozen=True, eq=False)
class CurrentLIF(SoftResetUnits):
    """Units with a current that decays, to which `keras_spiking_rnn.LIF` is exported.

    At each step, with `a` the weighted input, `/ 4096` rounding toward zero, and `y` on the right
    the output of the last step::

        i = i * keep_i / 4096 + a * 2**shift + bias     saturates at 24 bits
        v = v * keep_v / 4096 + i - y * height           saturates at 24 bits
        y = [v >= threshold]                            with bits = 0
        y = level(v) if v >= threshold, else 0          with more
        y = sign(v) * level(|v|) if |v| >= threshold, else 0    with more, signed

    where `level` counts how often `height` fits into a number, at most `2**bits - 1`, and `a *
    2**shift` is rounded down; `a` and it saturate at 24 bits too. All states are 0 before the first
    step. Each value but `bits` and `signed` is one integer for all units, or an array with one for
    each.

    Args:
        keep_i: The part of the current that is kept, in [0, 4096].
        keep_v: The part of the membrane that is kept, in [0, 4096].
        threshold: Threshold, 24 bits.
        height: What an output of 1 takes from the membrane, in [1, 2**23 - 1], and with `bits` how
            far apart the outputs are; then `height * 2**bits` is at most 2**23.
        bias: What each step adds to the current, 24 bits.
        shift: Power of two of the weighted input, in [-15, 15].
        bits: 0 for spikes, 0 or 1; otherwise the number of bits of the outputs, without their
            sign, up to 8.
        signed: Whether outputs may be negative, 0 or 1.
        recurrent: Synapses from the outputs back to the units, a step later; or None.

    Raises:
        TypeError: If a value is not an integer.
        ValueError: If a value does not fit its register, or a shape is wrong.
    """

    keep_i: int | np.ndarray = 0
    keep_v: int | np.ndarray = 4096
    threshold: int | np.ndarray = 64
    height: int | np.ndarray = 64
    bias: int | np.ndarray = 0
    shift: int | np.ndarray = 0
    bits: int = 0
    signed: int = 0
    recurrent: Dense | None = None

    ports: ClassVar[int] = 1

    def dynamics(self):
        """The steps that the class's docstring writes out."""
        keep = np.asarray(self.keep_i, np.int64)

        def step(state, current):
            kept = arithmetic.decay(state["i"], keep) + self.bias
            i = arithmetic.saturate(kept + arithmetic.arriving(current, self.shift))
            unbounded = kept + arithmetic.shifted(current, self.shift)
            output, saturations = self.fire(state, i)
            return output, 0, saturations + np.count_nonzero(i != unbounded)

        return step

    def reach(self):
        """See `Units`."""
        keep = np.asarray(self.keep_i, float) / arithmetic.DECAY_UNITY

        def step(bounds, low, high):
            entering = [np.floor(a * 2.0 ** np.asarray(self.shift)) for a in (low, high)]
            i = [keep * i + a + self.bias for i, a in zip(bounds["i"], entering, strict=True)]
            return [size_of(entering), size_of(i), self.reach_membrane(bounds, i)]

        return step
