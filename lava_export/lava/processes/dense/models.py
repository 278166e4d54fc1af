"""The model."""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from lava_export import arithmetic
from lava_export.lava.processes.dense.process import BatchDense
from lava_export.lava.weights import rounded


@implements(proc=BatchDense, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyBatchDense(PyLoihiProcessModel):
    """BatchDense on a CPU: the weights of Lava's Dense, and one matrix product a step."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    weights: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=8)
    a_buff: np.ndarray = LavaPyType(np.ndarray, np.int32)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self.matrix = None

    def run_spk(self):
        """Send the currents of the last step, and compute those of this one."""
        if self.matrix is None:
            self.matrix = self.exact_matrix()
        self.a_out.send(self.a_buff)
        total = self.s_in.recv().astype(self.matrix.dtype) @ self.matrix
        if self.matrix.dtype != np.float32:
            total = total.astype(np.int64)  # from which int32 wraps as Lava's registers do
        total = total.astype(np.int32)
        exponent = self.proc_params["weight_exp"]
        self.a_buff = total << exponent if exponent > 0 else total >> -exponent

    def exact_matrix(self):
        """(in, units), in a type in which no partial sum of the product is rounded."""
        weights = rounded(self.weights, self.proc_params["num_weight_bits"])
        largest = arithmetic.largest_sum(weights, self.proc_params["message_bits"])
        return np.ascontiguousarray(weights.T, arithmetic.exact_type(largest))
