"""Leaky integrate-and-fire units with a current behind a forget gate, and a soft reset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lava_export import arithmetic
from lava_export.synapses import Dense
from lava_export.units.base import beyond
from lava_export.units.soft_reset import SoftResetUnits


@dataclass(frozen=True, eq=False)
class GatedLIF(SoftResetUnits):
    """Units with a forget gate, to which `keras_spiking_rnn.GatedLIF` is exported.

    At each step, with the weighted inputs `a_f` and `a_c` of the two ports, to which the recurrent
    synapses add what the outputs of the last step bring, `/ 4096` rounding toward zero, and `y` on
    the right the output of the last step::

        f = sigmoid(a_f * 2**shift_f + bias_f)          0 to 4096, which stands for 1
        c = max(a_c * 2**shift_c + bias_c, 0)           saturates at 24 bits
        i = i * f / 4096 + c * (4096 - f) / 4096
        v = v * keep_v / 4096 + i - y * height           saturates at 24 bits
        y = [v >= threshold]                            with bits = 0
        y = level(v) if v >= threshold, else 0          with more
        y = sign(v) * level(|v|) if |v| >= threshold, else 0    with more, signed

    where `sigmoid` is that of `lava_export.arithmetic`, or with `fine` its `fine_sigmoid`, `level`
    counts how often `height` fits into a number, at most `2**bits - 1`, and `a * 2**shift` is
    rounded down; `a`, it, and the sum with a bias saturate at 24 bits. All states are 0 before the
    first step. `keep_v`, `threshold` and `height` are one integer for all units, or an array with
    one for each; `bias` and `shift` have one for each of the two ports of each unit, in blocks f,
    c.

    Args:
        keep_v: The part of the membrane that is kept, in [0, 4096].
        threshold: Threshold, 24 bits.
        height: What an output of 1 takes from the membrane, in [1, 2**23 - 1], and with `bits` how
            far apart the outputs are; then `height * 2**bits` is at most 2**23.
        bias: Biases of the two ports, 24 bits.
        shift: Powers of two of the weighted inputs, in [-15, 15].
        bits: 0 for spikes, 0 or 1; otherwise the number of bits of the outputs, without their
            sign, up to 8.
        signed: Whether outputs may be negative, 0 or 1.
        fine: Whether the gate is the sigmoid of eleven lines on each side instead of four, 0 or 1.
        recurrent: Synapses from the outputs back to the two ports, a step later; or None.

    Raises:
        TypeError: If a value is not an integer.
        ValueError: If a value does not fit its register, or a shape is wrong.
    """

    keep_v: int | np.ndarray = 4096
    threshold: int | np.ndarray = 64
    height: int | np.ndarray = 64
    bias: int | np.ndarray = 0
    shift: int | np.ndarray = 0
    bits: int = 0
    signed: int = 0
    fine: int = 0
    recurrent: Dense | None = None

    ports: ClassVar[int] = 2
    of_ports: ClassVar[tuple] = ("bias", "shift")
    of_all: ClassVar[tuple] = ("bits", "signed", "fine")

    def dynamics(self):
        """The steps that the class's docstring writes out."""
        sigmoid = arithmetic.fine_sigmoid if self.fine else arithmetic.sigmoid

        def step(state, current):
            entering = arithmetic.arriving(current, self.shift)
            x, rest = self.split(arithmetic.saturate(entering + self.bias))
            f = sigmoid(x)
            c = np.maximum(rest, 0)
            _, unbounded = self.split(arithmetic.shifted(current, self.shift) + self.bias)
            saturated = np.count_nonzero(c != np.maximum(unbounded, 0))
            saturated += beyond(self.split(current)[0])
            i = arithmetic.mix(state["i"], c, f)
            output, saturations = self.fire(state, i)
            return output, 0, saturations + saturated

        return step

    def reach(self):
        """See `Units`: beyond 24 bits a gate is open or shut for long, and only the rest counts."""

        def step(bounds, low, high):
            entering = np.floor(high * 2.0 ** np.asarray(self.shift))
            (_, arriving), (_, total) = self.split(entering), self.split(entering + self.bias)
            candidate = np.maximum(total, 0)
            i = (np.zeros_like(candidate), np.maximum(bounds["i"][1], candidate))
            return [np.maximum(arriving, 0), candidate, self.reach_membrane(bounds, i)]

        return step
