"""The process."""

from lava.magma.core.process.ports.ports import OutPort
from lava.magma.core.process.process import AbstractProcess


class SharedSource(AbstractProcess):
    """Sends one step of `data` after the other, and starts again at its end.

    Args:
        data: Shared array (T, batch, n), which the parent may change between two runs.
        name: Name in messages.
    """

    def __init__(self, *, data, name):
        super().__init__(data=data, name=name)
        self.s_out = OutPort(shape=data.shape[1:])
