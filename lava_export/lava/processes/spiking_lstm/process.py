"""The process."""

from lava_export import units
from lava_export.lava.units import UnitsProcess


class SpikingLSTMUnits(UnitsProcess):
    """Gates, cell state and output of a spiking LSTM, all of them bits."""

    kind = units.SpikingLSTM
