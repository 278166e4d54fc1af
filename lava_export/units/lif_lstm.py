"""Units of a LIF-LSTM: gates and a cell, and a membrane that fires and goes back to the gates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lava_export import arithmetic
from lava_export.synapses import Dense
from lava_export.units.base import Units, beyond, size_of


@dataclass(frozen=True, eq=False)
class LIFLSTM(Units):
    """Long short-term memory that fires, to which `keras_spiking_rnn.LIFLSTM` is exported.

    What goes back through the recurrent synapses is the membrane, not the spikes: graded messages.
    At each step, with the weighted inputs `a` of the four ports, to which the recurrent synapses
    add what the messages of the last step bring, and `/ 4096` rounding toward zero::

        z = a * 2**shift + bias                          for each port; saturates at 24 bits
        i, f, g, o = sigmoid(z_i), sigmoid(z_f), tanh(z_g), sigmoid(z_o)
        c = c * f / 4096 + g * 2**cell_shift * i / 4096  saturates at 24 bits
        v = tanh(c >> cell_shift) * o / 4096
        spike = v >= threshold
        u = (reset where a spike is, else v) * keep / 4096 + membrane_bias    likewise
        message = u >> message_shift

    where `a` and `a * 2**shift` saturate at 24 bits, `sigmoid` is `fine_sigmoid` and `tanh` that of
    `lava_export.arithmetic`, in which 4096 stands for 1, as it does in `z`, `v` and `u`; in `c` it
    is `4096 * 2**cell_shift`. Shifts to the right round down. All states are 0 before the first
    step. Each value but the two shifts is one integer for all units, or an array with one for each;
    `bias` and `shift` have one for each of the four ports of each unit, in blocks i, f, g, o.

    Args:
        threshold: Threshold, 24 bits.
        reset: Membrane after a spike, 24 bits.
        keep: The part of the membrane that is kept, in [0, 4096].
        membrane_bias: Bias of the membrane, 24 bits.
        bias: Biases of the four ports, 24 bits.
        shift: Powers of two of the weighted inputs, in [-15, 15].
        cell_shift: Bits that the cell has more than the membrane, in [0, 11].
        message_shift: Bits that a message has less than the membrane, in [0, 23].
        recurrent: Synapses from the messages back to the four ports, a step later; or None.

    Raises:
        TypeError: If a value is not an integer.
        ValueError: If a value does not fit its register, or a shape is wrong.
    """

    threshold: int | np.ndarray = 2048
    reset: int | np.ndarray = 0
    keep: int | np.ndarray = 1229
    membrane_bias: int | np.ndarray = 0
    bias: int | np.ndarray = 0
    shift: int | np.ndarray = 0
    cell_shift: int = 4
    message_shift: int = 0
    recurrent: Dense | None = None

    ports: ClassVar[int] = 4
    states: ClassVar[tuple] = ("u", "c")
    of_ports: ClassVar[tuple] = ("bias", "shift")
    of_all: ClassVar[tuple] = ("cell_shift", "message_shift")
    feeds_outputs: ClassVar[bool] = False

    @property
    def feedback_bits(self):
        """Bits of the largest message that there can be, without its sign."""
        before = np.maximum(arithmetic.DECAY_UNITY, np.abs(self.reset))  # the leak
        largest = (before * np.asarray(self.keep) >> arithmetic.DECAY_SHIFT) + np.abs(
            self.membrane_bias
        )
        largest = min(int(np.max(largest)), arithmetic.STATE_LIMIT - 1)
        return max(1, (-(-largest >> self.message_shift)).bit_length())  # a shift rounds down

    def feedback(self, state, output):
        """The messages."""
        return state["u"] >> self.message_shift

    @property
    def feedback_range(self):
        """The smallest and the largest message."""
        largest = (1 << self.feedback_bits) - 1
        return -largest, largest

    def ports_of(self, current):
        """`z` of all ports."""
        return arithmetic.saturate(arithmetic.arriving(current, self.shift) + self.bias)

    def membranes(self, current, cells):
        """The membranes `v` before their reset, from weighted inputs and the cells after them."""
        hidden = arithmetic.tanh(cells >> self.cell_shift)
        gate = arithmetic.fine_sigmoid(self.split(self.ports_of(current))[3])
        return arithmetic.decay(hidden, gate)

    def reach(self):
        """See `Units`: beyond 24 bits a gate is open or shut for long, but a cell adds up."""
        before = np.maximum(arithmetic.DECAY_UNITY, np.abs(self.reset))
        membrane = before * np.asarray(self.keep) / arithmetic.DECAY_UNITY
        membrane = membrane + np.abs(self.membrane_bias)

        def step(bounds, low, high):
            ports = [self.split(self.ports_of(a.astype(np.int64))) for a in (low, high)]
            i, f = ([arithmetic.fine_sigmoid(z[k]) / 4096 for z in ports] for k in (0, 1))
            g = [arithmetic.tanh(z[2]) * 2.0**self.cell_shift for z in ports]
            added = np.sort([i[0] * g[0], i[1] * g[0], i[0] * g[1], i[1] * g[1]], axis=0)
            low, high = bounds["c"]
            kept = (
                np.minimum(f[0] * low, f[1] * low),
                np.maximum(f[0] * high, f[1] * high),
            )
            bounds["c"] = kept[0] + added[0], kept[1] + added[-1]
            return [size_of(bounds["c"]), np.atleast_1d(membrane)]

        return step

    def dynamics(self):
        """The steps that the class's docstring writes out."""

        def step(state, current):
            z_i, z_f, z_g, z_o = self.split(self.ports_of(current))
            i, f, o = (arithmetic.fine_sigmoid(z) for z in (z_i, z_f, z_o))
            written = arithmetic.decay(arithmetic.tanh(z_g) << self.cell_shift, i)
            c, of_cells = arithmetic.saturated(arithmetic.decay(state["c"], f) + written)
            v = arithmetic.decay(arithmetic.tanh(c >> self.cell_shift), o)
            spikes = v >= self.threshold
            left = np.where(spikes, self.reset, v)
            kept = arithmetic.decay(left, np.asarray(self.keep, np.int64))
            u, of_membranes = arithmetic.saturated(kept + self.membrane_bias)
            state["u"], state["c"] = u.astype(np.int32), c.astype(np.int32)
            return spikes, 0, beyond(current) + of_cells + of_membranes

        return step
