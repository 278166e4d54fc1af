"""The process."""

from lava_export import units
from lava_export.lava.units import UnitsProcess


class AdaptiveNeuronsUnits(UnitsProcess):
    """Neurons that follow their input with the sum of their spikes."""

    kind = units.AdaptiveNeurons
