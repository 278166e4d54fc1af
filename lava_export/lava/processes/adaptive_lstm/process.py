"""The process."""

from lava_export import units
from lava_export.lava.units import UnitsProcess


class AdaptiveLSTMUnits(UnitsProcess):
    """Input gate, input cell, CEC and output cell of an LSTM of adaptive neurons."""

    kind = units.AdaptiveLSTM
