"""What the kinds of units share: registers, states, recurrent synapses."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np

from lava_export import arithmetic
from lava_export.registers import integers, same
from lava_export.synapses import Dense


@dataclass(frozen=True, eq=False)
class Units:
    """Base of the kinds of units of an integer network.

    A subclass has a field for each register, and gives its equations in `dynamics`. At each step a
    unit gets `ports` numbers from the synapses before it, in blocks: those of the first port of
    all units, then those of the second, and so on. Its own output of the previous step, or what
    `feedback` says, may reach it through `recurrent` synapses; what comes through both is added. At
    the first step of a sample the states are those of `initial`, and nothing comes through
    `recurrent`.

    Args:
        recurrent: Synapses from the outputs to the ports of the same units, a step later; or None.

    Raises:
        TypeError: If a value is not an integer.
        ValueError: If a value does not fit its register, or a shape is wrong.
    """

    # Numbers that a unit gets from its synapses at each step.
    ports: ClassVar[int] = 1
    # Names of the states, in the order in which they are computed.
    states: ClassVar[tuple] = ()
    # Registers that hold one integer for each port of each unit, in blocks, or one for all.
    of_ports: ClassVar[tuple] = ()
    # Registers that hold one integer, common to all units.
    of_all: ClassVar[tuple] = ()
    # Whether it is the outputs that go back through `recurrent`.
    feeds_outputs: ClassVar[bool] = True
    # Whether Lava has a process of its own for such units, and Loihi 1 such neurons.
    stock: ClassVar[bool] = False

    def __post_init__(self):
        owner = type(self).__name__
        for name in self.registers():
            ndims = (0,) if name in self.of_all else (0, 1)
            object.__setattr__(self, name, integers(owner, name, getattr(self, name), ndims))
        if self.recurrent is not None and not isinstance(self.recurrent, Dense):
            raise TypeError(
                f"{owner}.recurrent must be Dense or None, got {type(self.recurrent).__name__}."
            )

    __eq__ = same
    __hash__ = None

    @classmethod
    def registers(cls):
        """Names of the registers."""
        return tuple(field.name for field in fields(cls) if field.name != "recurrent")

    @property
    def output_bits(self):
        """0 for outputs that are spikes, 0 or 1; otherwise the number of bits of graded ones."""
        return 0

    @property
    def output_range(self):
        """The smallest and the largest output."""
        return 0, max((1 << self.output_bits) - 1, 1)

    @property
    def feedback_bits(self):
        """The same of what goes back through `recurrent`."""
        return self.output_bits

    @property
    def feedback_range(self):
        """The smallest and the largest message that goes back through `recurrent`."""
        return self.output_range

    @property
    def output_dtype(self):
        """The type that recorded outputs have."""
        return np.int32 if self.output_bits else np.int8

    def check(self, units, where):
        """Raise ValueError unless all fits a layer of that many units; `where` names the layer."""
        owner = type(self).__name__
        for name in self.registers():
            shape = np.shape(getattr(self, name))
            size = units * self.ports if name in self.of_ports else units
            if shape not in ((), (size,)):
                raise ValueError(
                    f"{where}: {owner}.{name} has the shape {shape}, but its synapses lead to "
                    f"{units} units: give one integer, or {size}."
                )
        if self.recurrent is not None:
            found, expected = self.recurrent.weights.shape, (units * self.ports, units)
            if found != expected:
                raise ValueError(
                    f"{where}: the weights of {owner}.recurrent have the shape {found}, but "
                    f"{units} units with {self.ports} ports need {expected}."
                )
            check_messages(self.recurrent, self.feedback_bits, f"{where}: {owner}.recurrent")

    def initial(self):
        """Each state before the first step: a name and one integer, or one for each unit."""
        return dict.fromkeys(self.states, 0)

    def dynamics(self):
        """The function `step(state, current) -> (output, wraps, saturations)`.

        `state` is a dictionary of int32 arrays `(batch, units)`, which the function replaces;
        `current` is int32 `(batch, ports * units)`; `wraps` and `saturations` count states, and
        weighted inputs, that left their registers.
        """
        raise NotImplementedError

    def reach(self):
        """What any inputs can make of the states: the function `step(bounds, low, high) -> sizes`.

        `bounds` is a dictionary from each state to the smallest and the largest value that it can
        have, `(units,)` each, which the function replaces by those after a step; `low` and `high`
        are the smallest and the largest weighted inputs, `(ports * units,)`. `sizes` are arrays of
        the largest sizes of what saturates or wraps at 24 bits in the step, if it did not, but for
        the weighted inputs themselves. All are floats; what the step rounds may be off by 1.
        """
        raise NotImplementedError

    def feedback(self, state, output):
        """What goes back through `recurrent` after a step that gave `state` and `output`."""
        return output

    def split(self, current):
        """The ports of `current`: `ports` arrays of shape `(batch, units)`."""
        return np.split(current, self.ports, axis=-1)


def size_of(bounds):
    """The largest size of what is between the smallest and the largest value."""
    low, high = bounds
    return np.maximum(np.abs(low), np.abs(high))


def beyond(current):
    """How many weighted inputs are beyond 24 bits."""
    return arithmetic.saturated(current)[1]


def check_messages(synapses, bits, where):
    """Raise ValueError unless `synapses` take outputs of `bits` bits."""
    if bool(bits) != bool(synapses.message_bits) or bits > synapses.message_bits:
        kinds = ["graded outputs of {} bits" if n else "spikes, 0 or 1" for n in (bits, 1)]
        takes = synapses.message_bits
        raise ValueError(
            f"{where} gets {kinds[0].format(bits)}, but takes "
            f"{f'graded messages of {takes} bits' if takes else 'spikes, 0 or 1'}: "
            f"set message_bits={bits}."
        )
