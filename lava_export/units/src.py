"""Units of Spiking Recurrent Cells, whose outputs are pulses of several steps and many levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lava_export import arithmetic
from lava_export.synapses import Dense
from lava_export.units.base import Units, size_of


@dataclass(frozen=True, eq=False)
class SRC(Units):
    """Spiking Recurrent Cells, to which `keras_spiking_rnn.SRC` is exported.

    At each step, with `a` the weighted input and `/ 4096` rounding toward zero::

        i = i * keep_i / 4096 + a * 2**shift                    saturates at 24 bits
        x = tanh(i >> current_shift) * 2**8
        p = (x * rho + h * r + h_s * r_s) / 4096 + bias         each; saturates at 24 bits
        new = h * keep_h / 4096 + tanh(p >> 8 - gain_shift) * 2**8 * (4096 - keep_h) / 4096
        keep = keep_dep if new > 2**19 else keep_hyp            with lagging = 1: if h > 2**19
        h_s = h_s * keep / 4096 + h * (4096 - keep) / 4096
        h = new
        output = (h + 2**(19 - bits)) >> 20 - bits              from 0 to 2**bits - 1

    where `a` and `a * 2**shift` saturate at 24 bits, `tanh` is `lava_export.arithmetic.tanh`, in
    which 4096 stands for 1. In `x`, `h` and `h_s` it is 2**20, in `p` and `bias` 2**(20 -
    gain_shift), in `rho`, `r` and `r_s` 2**(12 - gain_shift), and in `i` rho is 4096 *
    2**current_shift. Shifts to the right round down. All states are 0 before the first step. Each
    value but the last four is one integer for all units, or an array with one for each.

    Args:
        keep_i: The part of the integrator that is kept, in [0, 4096].
        rho: Largest input of the pulse generation, in [-4096, 4095].
        r: Strength of the fast feedback, in [-4096, 4095].
        r_s: Strength of the slow feedback, in [-4096, 4095].
        keep_h: The part of the hidden state that is kept, in [0, 4096].
        keep_hyp: The part of the slow hidden state that is kept between pulses, in [0, 4096].
        keep_dep: The same during a pulse, in [0, 4096].
        bias: Bias, 24 bits.
        shift: Power of two of the weighted input, in [-15, 15].
        current_shift: Bits that the integrator has below 1/4096 of rho, in [0, 11].
        gain_shift: Powers of two by which `rho`, `r` and `r_s` are larger, in [0, 8].
        lagging: 1 if a pulse is told by the hidden state of the last step, 0 by the new one.
        bits: Bits of the outputs, in [1, 8].
        recurrent: Synapses from the outputs back to the units, a step later; or None.

    Raises:
        TypeError: If a value is not an integer.
        ValueError: If a value does not fit its register, or a shape is wrong.
    """

    keep_i: int | np.ndarray = 3686
    rho: int | np.ndarray = 1536
    r: int | np.ndarray = 1024
    r_s: int | np.ndarray = -3584
    keep_h: int | np.ndarray = 0
    keep_hyp: int | np.ndarray = 3686
    keep_dep: int | np.ndarray = 0
    bias: int | np.ndarray = -6 << 17
    shift: int | np.ndarray = 0
    current_shift: int = 4
    gain_shift: int = 3
    lagging: int = 0
    bits: int = 8
    recurrent: Dense | None = None

    states: ClassVar[tuple] = ("i", "h", "h_s")
    of_all: ClassVar[tuple] = ("current_shift", "gain_shift", "lagging", "bits")

    def __post_init__(self):
        super().__post_init__()
        if not self.bits:
            raise ValueError("SRC.bits must be in [1, 8], as its outputs are graded, got 0.")

    @property
    def output_bits(self):
        """Bits of the outputs, which are not negative."""
        return self.bits

    def reach(self):
        """See `Units`: tanh limits all but the integrator."""
        keep = np.asarray(self.keep_i, float) / arithmetic.DECAY_UNITY

        def step(bounds, low, high):
            entering = [np.floor(a * 2.0 ** np.asarray(self.shift)) for a in (low, high)]
            bounds["i"] = [keep * i + a for i, a in zip(bounds["i"], entering, strict=True)]
            return [size_of(entering), size_of(bounds["i"])]

        return step

    def dynamics(self):
        """The steps that the class's docstring writes out."""
        keep_i, rho, r, r_s, keep_h, keep_hyp, keep_dep = (
            np.asarray(value, np.int64)
            for value in (
                self.keep_i,
                self.rho,
                self.r,
                self.r_s,
                self.keep_h,
                self.keep_hyp,
                self.keep_dep,
            )
        )
        down = HIDDEN_SHIFT - self.bits

        def step(state, current):
            kept = arithmetic.decay(state["i"], keep_i)
            i = arithmetic.saturate(kept + arithmetic.arriving(current, self.shift))
            unbounded = kept + arithmetic.shifted(current, self.shift)
            x = arithmetic.tanh(i >> self.current_shift) << FINER
            h, h_s = state["h"], state["h_s"]
            p = sum(arithmetic.decay(*pair) for pair in ((x, rho), (h, r), (h_s, r_s)))
            p = arithmetic.saturate(p + self.bias)
            generated = arithmetic.tanh(p >> FINER - self.gain_shift) << FINER
            new = arithmetic.mix(h, generated, keep_h)
            pulse = (h if self.lagging else new) > HALF
            h_s = arithmetic.mix(h_s, h, np.where(pulse, keep_dep, keep_hyp))
            state["i"], state["h"], state["h_s"] = (s.astype(np.int32) for s in (i, new, h_s))
            output = np.clip((new + (1 << down - 1)) >> down, 0, (1 << self.bits) - 1)
            return output, 0, np.count_nonzero(i != unbounded)

        return step


HIDDEN_SHIFT = 20  # 2**20 stands for 1 in the hidden states
FINER = HIDDEN_SHIFT - arithmetic.DECAY_SHIFT
HALF = 1 << HIDDEN_SHIFT - 1
