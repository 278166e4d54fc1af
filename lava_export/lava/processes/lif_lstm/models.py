"""The model."""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.ports import PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from lava_export import arithmetic
from lava_export.lava.processes.lif_lstm.process import LIFLSTMUnits
from lava_export.lava.units import PyUnits


@implements(proc=LIFLSTMUnits, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyLIFLSTMUnits(PyUnits):
    """LIFLSTMUnits on a CPU."""

    m_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    threshold: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    reset: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    keep: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=13)
    membrane_bias: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    bias: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    shift: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=5)
    cell_shift: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=4)
    message_shift: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=5)
    u: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    c: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)

    def run_spk(self):
        """One step, and the messages."""
        super().run_spk()
        self.m_out.send(np.right_shift(self.u, self.message_shift))

    def step(self, current):
        """Ports in the order i, f, g, o."""
        units = self.u.shape[-1]
        z = arithmetic.saturate(arithmetic.arriving(current, self.shift) + self.bias)
        write, forget = (
            arithmetic.fine_sigmoid(z[..., :units]),
            arithmetic.fine_sigmoid(z[..., units : 2 * units]),
        )
        candidate = arithmetic.tanh(z[..., 2 * units : 3 * units])
        show = arithmetic.fine_sigmoid(z[..., 3 * units :])
        kept = arithmetic.decay(self.c, forget)
        added = arithmetic.decay(np.left_shift(candidate, self.cell_shift), write)
        self.c[:] = arithmetic.saturate(kept + added)
        hidden = arithmetic.tanh(np.right_shift(self.c, self.cell_shift))
        membrane = arithmetic.decay(hidden, show)
        spikes = membrane >= self.threshold
        membrane = membrane * ~spikes + self.reset * spikes
        leaked = arithmetic.decay(membrane, self.keep)
        self.u[:] = arithmetic.saturate(leaked + self.membrane_bias)
        return spikes
