"""From the description of a layer to its integers, one model a file."""

from lava_export.quantize.adaptive_lstm import AdaptiveDescription
from lava_export.quantize.base import ConversionError, Description
from lava_export.quantize.conv_rlif2d import ConvRLIF2DDescription
from lava_export.quantize.lif_lstm import LIFLSTMDescription
from lava_export.quantize.max_pooling import MaxPoolingDescription
from lava_export.quantize.rlif import RLIFDescription, quantize_layer, simulate_float
from lava_export.quantize.soft_reset import CurrentLIFDescription, GatedLIFDescription
from lava_export.quantize.spiking_lstm import SpikingLSTMDescription
from lava_export.quantize.src import SRCDescription

__all__ = [
    "AdaptiveDescription",
    "ConvRLIF2DDescription",
    "ConversionError",
    "CurrentLIFDescription",
    "Description",
    "GatedLIFDescription",
    "LIFLSTMDescription",
    "MaxPoolingDescription",
    "RLIFDescription",
    "SRCDescription",
    "SpikingLSTMDescription",
    "quantize_layer",
    "simulate_float",
]
