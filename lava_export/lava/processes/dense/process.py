"""The process."""

from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var


class BatchDense(AbstractProcess):
    """Lava's Dense, applied to each of `batch` samples; it too holds its output for one step.

    Args:
        weights: Integers (units, in), before Lava rounds them.
        weight_exp: Common power of two of all weights.
        num_weight_bits: Bits a weight is stored in.
        message_bits: Bits of a graded message, or 0 for spikes.
        batch: Samples at once. Messages come as (batch, in), currents leave as (batch, units).
        name: Name in messages.
    """

    def __init__(self, *, weights, weight_exp, num_weight_bits, message_bits, batch, name):
        super().__init__(
            weight_exp=weight_exp,
            num_weight_bits=num_weight_bits,
            message_bits=message_bits,
            name=name,
        )
        units, inputs = weights.shape
        self.s_in = InPort(shape=(batch, inputs))
        self.a_out = OutPort(shape=(batch, units))
        self.weights = Var(shape=weights.shape, init=weights)
        self.a_buff = Var(shape=(batch, units), init=0)
