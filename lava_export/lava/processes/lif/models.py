"""The model."""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.lif.models import AbstractPyLifModelFixed

from lava_export.lava.processes.lif.process import BatchLIF
from lava_export.lava.units import PyUnits


@implements(proc=BatchLIF, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyBatchLIF(PyUnits, AbstractPyLifModelFixed):
    """BatchLIF on a CPU: the dynamics are the inherited ones of Lava."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    du: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=12)
    dv: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=12)
    vth: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=17)

    def scale_threshold(self):
        """As Lava's LIF: once, before the first step."""
        self.effective_vth = np.left_shift(self.vth, self.vth_shift)
        self.isthrscaled = True

    def step(self, current):
        """As `run_spk` of Lava's LIF."""
        self.scale_bias()
        if not self.isthrscaled:
            self.scale_threshold()
        self.subthr_dynamics(activation_in=current)
        spikes = self.v > self.effective_vth
        self.reset_voltage(spike_vector=spikes)
        return spikes
