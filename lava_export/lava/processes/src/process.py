"""The process."""

from lava_export import units
from lava_export.lava.units import UnitsProcess


class SRCUnits(UnitsProcess):
    """An integrator, a hidden state that makes pulses, and a slow one that ends them."""

    kind = units.SRC
