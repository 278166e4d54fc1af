"""The process."""

from lava_export import units
from lava_export.lava.units import UnitsProcess


class CurrentLIFUnits(UnitsProcess):
    """A current that decays, a membrane with a soft reset, outputs of one or more bits."""

    kind = units.CurrentLIF
