"""The process."""

from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var


class Layer(AbstractProcess):
    """One layer of an exported network, to be built into a network of your own.

    It is made of Lava's Dense or Conv before the units and, if they are recurrent, of a Dense from
    their outputs back to them. Outputs leave one step after the spikes that cause them came in.
    Each state of the units is a variable of the process, such as `u` and `v` of `LIF`.

    Args:
        synapses: `lava_export.Dense` or `lava_export.Conv`.
        units: Units of `lava_export.units`.
        period: Steps of a sample, after which the states start again from the initial ones; 0 if
            there is but one sample, without an end.
        delay: Lava steps before the first step of the first sample: 1 if spikes come in at the
            first step.
        name: Name in messages.

    Attributes:
        s_in: Port for the inputs, (in,).
        s_out: Port for the outputs, (units,).
    """

    def __init__(self, *, synapses, units, period=0, delay=1, name="layer"):
        super().__init__(synapses=synapses, units=units, period=period, delay=delay, name=name)
        count = synapses.units // units.ports
        self.s_in = InPort(shape=(synapses.inputs,))
        self.s_out = OutPort(shape=(count,))
        for state in units.states:
            setattr(self, state, Var(shape=(count,), init=0))
