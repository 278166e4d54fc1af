"""The model."""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from lava_export.lava.processes.source.process import SharedSource


@implements(proc=SharedSource, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PySharedSource(PyLoihiProcessModel):
    """SharedSource on a CPU."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def run_spk(self):
        """Send the data of this step; Lava counts steps from 1."""
        data = self.proc_params["data"]
        self.s_out.send(data[(self.time_step - 1) % len(data)])
