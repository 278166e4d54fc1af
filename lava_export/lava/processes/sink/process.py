"""The process."""

from lava.magma.core.process.ports.ports import InPort
from lava.magma.core.process.process import AbstractProcess


class SharedSink(AbstractProcess):
    """Keeps the last T steps of what it receives.

    Args:
        data: Shared array (T, batch, n). Lava's step k is written at `(k - 1) % T`.
        name: Name in messages.
    """

    def __init__(self, *, data, name):
        super().__init__(data=data, name=name)
        self.a_in = InPort(shape=data.shape[1:])
