"""The process."""

from lava_export import units
from lava_export.lava.units import UnitsProcess


class BatchLIF(UnitsProcess):
    """Lava's LIF for (batch, units), with du, dv and vth of each unit."""

    kind = units.LIF
