"""The process."""

from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var


class BatchConv(AbstractProcess):
    """Lava's Conv, applied to each of `batch` samples; it too holds its output for one step.

    Lava's own takes one sample. This one has lines in the order of `lava_export.Conv`, rounds
    weights as Loihi does, which Lava's Conv does not, and takes padding that differs from side to
    side.

    Args:
        synapses: `lava_export.Conv`.
        batch: Samples at once. Messages come as (batch, in), currents leave as (batch, units).
        name: Name in messages.
    """

    def __init__(self, *, synapses, batch, name):
        super().__init__(synapses=synapses, name=name)
        self.s_in = InPort(shape=(batch, synapses.inputs))
        self.a_out = OutPort(shape=(batch, synapses.units))
        self.weights = Var(shape=synapses.weights.shape, init=synapses.weights)
        self.a_buff = Var(shape=(batch, synapses.units), init=0)
