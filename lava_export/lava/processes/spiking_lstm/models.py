"""The model."""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from lava_export import arithmetic
from lava_export.lava.processes.spiking_lstm.process import SpikingLSTMUnits
from lava_export.lava.units import PyUnits


@implements(proc=SpikingLSTMUnits, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PySpikingLSTMUnits(PyUnits):
    """SpikingLSTMUnits on a CPU: four comparisons, and logic."""

    threshold: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    c: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=1)

    def step(self, current):
        """Gates in the order i, f, g, o."""
        units = self.c.shape[-1]
        gates = (arithmetic.saturate(current) > self.threshold).astype(np.int32)
        i, f, g, o = (gates[..., k * units : (k + 1) * units] for k in range(4))
        self.c[:] = (f & self.c) | (i & g)
        return o & self.c
