"""The model."""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.ports import PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.lif.models import AbstractPyLifModelFixed

from lava_export.lava.processes.lif.process import BatchLIF


@implements(proc=BatchLIF, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyBatchLIF(AbstractPyLifModelFixed):
    """BatchLIF on a CPU.

    The dynamics are the inherited ones of Lava; here are the threshold of each unit, the start
    of a round, and the traces.
    """

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int8)
    du: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=12)
    dv: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=12)
    vth: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=17)

    def scale_threshold(self):
        """As Lava's LIF: once, before the first step."""
        self.effective_vth = np.left_shift(self.vth, self.vth_shift)
        self.isthrscaled = True

    def spiking_activation(self):
        """As Lava's LIF."""
        return self.v > self.effective_vth

    def run_spk(self):
        """One step; the first of a round starts from the initial state."""
        steps = self.time_step - 1
        if (steps - self.proc_params["delay"]) % self.proc_params["period"] == 0:
            self.u[:] = self.proc_params["u0"]
            self.v[:] = self.proc_params["v0"]
        super().run_spk()
        for trace, state in (("u_trace", self.u), ("v_trace", self.v)):
            ring = self.proc_params[trace]
            ring[steps % len(ring)] = state
