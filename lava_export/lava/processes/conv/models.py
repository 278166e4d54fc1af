"""The model."""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from lava_export.lava.processes.conv.process import BatchConv
from lava_export.lava.weights import rounded


@implements(proc=BatchConv, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyBatchConv(PyLoihiProcessModel):
    """BatchConv on a CPU: the weights of Lava's Dense, and one matrix product for each of them.

    A step adds up, for each row and column of the window, what the pixels below it bring.
    """

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    weights: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=8)
    a_buff: np.ndarray = LavaPyType(np.ndarray, np.int32)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self.taps = None

    def run_spk(self):
        """Send the currents of the last step, and compute those of this one."""
        if self.taps is None:
            self.taps = self.rounded_taps()
        self.a_out.send(self.a_buff)
        synapses = self.proc_params["synapses"]
        (height, width, channels), (top, bottom, left, right) = (
            synapses.input_shape,
            synapses.padding,
        )
        (down, along), (apart, beside) = synapses.strides, synapses.dilation
        messages = self.s_in.recv()
        batch = len(messages)
        # No partial sum leaves 24 bits, as `Conv` makes sure: float32 is exact.
        padded = np.zeros((batch, top + height + bottom, left + width + right, channels), "float32")
        padded[:, top : top + height, left : left + width] = messages.reshape(
            batch, height, width, channels
        )
        rows, columns, filters = synapses.output_shape
        total = np.zeros((batch, rows, columns, filters), "float32")
        for i, row in enumerate(self.taps):
            below = padded[:, apart * i : apart * i + down * (rows - 1) + 1 : down]
            for j, tap in enumerate(row):
                total += (
                    below[:, :, beside * j : beside * j + along * (columns - 1) + 1 : along] @ tap
                )
        self.a_buff = total.reshape(batch, -1).astype(np.int32) << synapses.exponent

    def rounded_taps(self):
        """(kernel height, kernel width, channels, filters), in floats."""
        weights = rounded(self.weights, self.proc_params["synapses"].num_weight_bits)
        return np.ascontiguousarray(weights.transpose(1, 2, 3, 0), "float32")
