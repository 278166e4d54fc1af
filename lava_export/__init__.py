"""Trained spiking networks as Loihi integers, run by a NumPy reference and by Intel's Lava."""

import importlib

from lava_export.losses import LossWarning
from lava_export.network import Network, NetworkFileError, load
from lava_export.netx import NetxFileError, from_netx
from lava_export.overflow import QuantizationWarning
from lava_export.quantize import ConversionError
from lava_export.report import QuantizationReport
from lava_export.synapses import Conv, Dense
from lava_export.units import (
    LIF,
    LIFLSTM,
    SRC,
    AdaptiveLSTM,
    AdaptiveNeurons,
    CurrentLIF,
    GatedLIF,
    SpikingLSTM,
)

__all__ = [
    "LIF",
    "LIFLSTM",
    "SRC",
    "AdaptiveLSTM",
    "AdaptiveNeurons",
    "CheckExport",
    "CheckReport",
    "Conv",
    "ConversionError",
    "CurrentLIF",
    "Dense",
    "GatedLIF",
    "LossWarning",
    "Network",
    "NetworkFileError",
    "NetxFileError",
    "ParityError",
    "QuantizationReport",
    "QuantizationWarning",
    "SpikingLSTM",
    "check",
    "export",
    "from_netx",
    "from_nir",
    "load",
    "quantization_aware",
    "verify",
]

# These need Keras or nir; integer networks load and run without them.
_LAZY = {
    "CheckExport": "callbacks",
    "CheckReport": "checks",
    "check": "checks",
    "export": "convert",
    "from_nir": "nir",
    "ParityError": "parity",
    "quantization_aware": "training.aware",
    "verify": "parity",
}


def __getattr__(name):
    if name not in _LAZY:
        raise AttributeError(f"module 'lava_export' has no attribute {name!r}")
    module = importlib.import_module(f"lava_export.{_LAZY[name]}")
    return getattr(module, name)
