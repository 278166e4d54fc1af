"""Leaky integrate-and-fire units: Lava's `LIF`, to which RLIF is exported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lava_export import arithmetic
from lava_export.synapses import Dense
from lava_export.units.base import Units, size_of


@dataclass(frozen=True, eq=False)
class LIF(Units):
    """Leaky integrate-and-fire units, as Lava's `LIF` in `fixed_pt`.

    At each step, with `a` the weighted input and `/ 4096` rounding toward zero::

        u = u * (4095 - du) / 4096 + a * 64             wraps at 24 bits
        v = v * (4096 - dv) / 4096 + u + bias           saturates at 24 bits
        spike = v > vth * 64;  v = 0 where a spike was

    with `bias = bias_mant * 2**bias_exp`. Each value is one integer for all units, or an array
    with one for each.

    Args:
        du: Decay of the current, in [0, 4095]; 4095 keeps nothing of the last step.
        dv: Decay of the membrane, in [0, 4095]; 0 is no leak.
        vth: Threshold in [0, 131071], in units of 64 least significant bits.
        bias_mant: Mantissa of the bias, in [-4096, 4095].
        bias_exp: Exponent of the bias, in [0, 7].
        u0: Current before the first step, 24 bits.
        v0: Membrane before the first step, 24 bits.
        recurrent: Synapses from the spikes back to the units, a step later; or None.

    Raises:
        TypeError: If a value is not an integer.
        ValueError: If a value does not fit its register, or a shape is wrong.
    """

    du: int | np.ndarray = 4095
    dv: int | np.ndarray = 0
    vth: int | np.ndarray = 10
    bias_mant: int | np.ndarray = 0
    bias_exp: int | np.ndarray = 0
    u0: int | np.ndarray = 0
    v0: int | np.ndarray = 0
    recurrent: Dense | None = None

    states: ClassVar[tuple] = ("u", "v")
    stock: ClassVar[bool] = True

    def initial(self):
        """The current and the membrane before the first step."""
        return {"u": self.u0, "v": self.v0}

    def before_reset(self, states):
        """The membranes before their reset, (T, units), from the states after each step."""
        before = np.concatenate([np.broadcast_to(self.v0, states["v"][:1].shape), states["v"][:-1]])
        keep = arithmetic.DECAY_UNITY - np.asarray(self.dv, np.int64)
        bias = arithmetic.bias(self.bias_mant, self.bias_exp)
        return arithmetic.saturate(arithmetic.decay(before, keep) + states["u"] + bias)

    def reach(self):
        """See `Units`: a membrane above its threshold is reset, one below has no limit."""
        keep_u, keep_v = (
            (arithmetic.DECAY_UNITY - np.asarray(decay, float)) / arithmetic.DECAY_UNITY
            for decay in (np.asarray(self.du) + 1, self.dv)
        )
        threshold = np.asarray(self.vth, float) * (1 << arithmetic.MESSAGE_SHIFT)
        bias = arithmetic.bias(self.bias_mant, self.bias_exp)

        def step(bounds, low, high):
            inputs = low * (1 << arithmetic.MESSAGE_SHIFT), high * (1 << arithmetic.MESSAGE_SHIFT)
            u = [keep_u * u + entering for u, entering in zip(bounds["u"], inputs, strict=True)]
            v = [keep_v * v + u + bias for v, u in zip(bounds["v"], u, strict=True)]
            least, most = v
            bounds["u"] = u
            bounds["v"] = (
                np.where(most > threshold, np.minimum(least, 0), least),
                np.minimum(most, threshold),
            )
            return [size_of(u), size_of(v)]

        return step

    def dynamics(self):
        """The steps that the class's docstring writes out."""
        keep_u = arithmetic.DECAY_UNITY - (np.asarray(self.du, np.int64) + 1)
        keep_v = arithmetic.DECAY_UNITY - np.asarray(self.dv, np.int64)
        threshold = np.asarray(self.vth, np.int32) << arithmetic.MESSAGE_SHIFT
        bias = arithmetic.bias(self.bias_mant, self.bias_exp)

        def step(state, current):
            u, wraps = self._current(keep_u, state["u"], current)
            v = arithmetic.decay(state["v"], keep_v)
            v += u
            v += bias
            v, saturations = arithmetic.saturated(v)
            spikes = v > threshold
            v *= ~spikes  # a product takes the same time however many there are
            state["u"], state["v"] = u, v
            return spikes, wraps, saturations

        return step

    @staticmethod
    def _current(keep, u, current):
        """The current of a step, and how many of them wrapped."""
        entering = current << arithmetic.MESSAGE_SHIFT  # 32 bits, as in Lava
        if not keep.any() and arithmetic.within(
            current, arithmetic.STATE_LIMIT >> arithmetic.MESSAGE_SHIFT
        ):
            return entering, 0
        decayed = arithmetic.decay(u, keep)
        exact = decayed + arithmetic.shifted(current, arithmetic.MESSAGE_SHIFT)
        u = arithmetic.wrap(decayed + entering)
        return u, np.count_nonzero(u != exact)
