"""A process that does what a test wants to go wrong."""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol


class Relay(AbstractProcess):
    """Passes on what it receives; calls `fault` at `step`, or while it is built if that is 0."""

    def __init__(self, shape, fault, step):
        super().__init__(fault=fault, step=step, name="faulty")
        self.a_in = InPort(shape=shape)
        self.s_out = OutPort(shape=shape)


@implements(proc=Relay, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyRelay(PyLoihiProcessModel):
    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self.fail_at(0)

    def run_spk(self):
        data = self.a_in.recv()
        self.fail_at(self.time_step)
        self.s_out.send(data)

    def fail_at(self, step):
        if step == self.proc_params["step"]:
            self.proc_params["fault"]()
