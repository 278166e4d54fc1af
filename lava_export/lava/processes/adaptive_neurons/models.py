"""The model."""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from lava_export.lava.adaptive import PyAdaptive
from lava_export.lava.processes.adaptive_neurons.process import AdaptiveNeuronsUnits


@implements(proc=AdaptiveNeuronsUnits, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyAdaptiveNeuronsUnits(PyAdaptive):
    """AdaptiveNeuronsUnits on a CPU."""

    current: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    signal: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    estimate: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    adaptation: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)

    def step(self, current):
        """One neuron for each unit."""
        drive = self.receive(self.current, current, self.bias)
        return self.fire(drive, self.theta_0, self.signal, self.estimate, self.adaptation)
