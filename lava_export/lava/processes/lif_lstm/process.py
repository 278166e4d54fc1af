"""The process."""

from lava.magma.core.process.ports.ports import OutPort

from lava_export import units
from lava_export.lava.units import UnitsProcess


class LIFLSTMUnits(UnitsProcess):
    """Gates, cell, and a membrane that fires; `m_out` has the messages to the gates."""

    kind = units.LIFLSTM

    def __init__(self, **options):
        super().__init__(**options)
        self.m_out = OutPort(shape=self.s_out.shape)

    def feedback(self):
        """The port of the messages."""
        return self.m_out
