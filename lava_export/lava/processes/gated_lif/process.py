"""The process."""

from lava_export import units
from lava_export.lava.units import UnitsProcess


class GatedLIFUnits(UnitsProcess):
    """A gated current, a membrane with a soft reset, outputs of one or more bits."""

    kind = units.GatedLIF
