"""The model."""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from lava_export.lava.processes.sink.process import SharedSink


@implements(proc=SharedSink, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PySharedSink(PyLoihiProcessModel):
    """SharedSink on a CPU."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)

    def run_spk(self):
        """Write what arrives at this step; Lava counts steps from 1."""
        data = self.proc_params["data"]
        data[(self.time_step - 1) % len(data)] = self.a_in.recv()
