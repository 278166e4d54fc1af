"""Kinds of units in integers, one a file: registers, and the equations of a step."""

from lava_export.units.adaptive_lstm import AdaptiveLSTM, AdaptiveNeurons
from lava_export.units.base import Units
from lava_export.units.current_lif import CurrentLIF
from lava_export.units.gated_lif import GatedLIF
from lava_export.units.lif import LIF
from lava_export.units.lif_lstm import LIFLSTM
from lava_export.units.spiking_lstm import SpikingLSTM
from lava_export.units.src import SRC

# All kinds that a network can hold.
KINDS = (AdaptiveLSTM, AdaptiveNeurons, LIF, SpikingLSTM, CurrentLIF, GatedLIF, LIFLSTM, SRC)

__all__ = [
    "LIFLSTM",
    "SRC",
    "AdaptiveLSTM",
    "AdaptiveNeurons",
    "KINDS",
    "LIF",
    "CurrentLIF",
    "GatedLIF",
    "SpikingLSTM",
    "Units",
]
