"""Trained spiking networks as Loihi integers, run by a NumPy reference and by Intel's Lava."""

import importlib

from lava_export.network import LIF, Dense, Network, NetworkFileError, load
from lava_export.quantize import ConversionError
from lava_export.report import QuantizationReport

__all__ = [
    "LIF",
    "ConversionError",
    "Dense",
    "Network",
    "NetworkFileError",
    "ParityError",
    "QuantizationReport",
    "QuantizationWarning",
    "export",
    "load",
    "verify",
]

# These need Keras; integer networks load and run without it.
_NEEDS_KERAS = {
    "QuantizationWarning": "convert",
    "export": "convert",
    "ParityError": "parity",
    "verify": "parity",
}


def __getattr__(name):
    if name not in _NEEDS_KERAS:
        raise AttributeError(f"module 'lava_export' has no attribute {name!r}")
    module = importlib.import_module(f"lava_export.{_NEEDS_KERAS[name]}")
    return getattr(module, name)
