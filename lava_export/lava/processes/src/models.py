"""The model."""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from lava_export import arithmetic
from lava_export.lava.processes.src.process import SRCUnits
from lava_export.lava.units import PyUnits


@implements(proc=SRCUnits, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PySRCUnits(PyUnits):
    """SRCUnits on a CPU; 2**20 stands for 1 in `h` and `h_s`."""

    keep_i: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=13)
    rho: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=13)
    r: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=13)
    r_s: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=13)
    keep_h: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=13)
    keep_hyp: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=13)
    keep_dep: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=13)
    bias: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    shift: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=5)
    current_shift: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=4)
    gain_shift: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=4)
    lagging: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=1)
    bits: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=4)
    i: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    h: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    h_s: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)

    def step(self, current):
        """Integrator, input, hidden state, slow hidden state, pulse."""
        self.i[:] = arithmetic.saturate(
            arithmetic.decay(self.i, self.keep_i) + arithmetic.arriving(current, self.shift)
        )
        drive = np.left_shift(arithmetic.tanh(np.right_shift(self.i, self.current_shift)), 8)
        total = arithmetic.saturate(
            arithmetic.decay(drive, self.rho)
            + arithmetic.decay(self.h, self.r)
            + arithmetic.decay(self.h_s, self.r_s)
            + self.bias
        )
        pulse = np.left_shift(arithmetic.tanh(np.right_shift(total, 8 - self.gain_shift)), 8)
        before = self.h.copy()
        self.h[:] = arithmetic.mix(before, pulse, self.keep_h)
        tells = before if self.lagging[0] else self.h
        depolarized = (tells > 1 << 19).astype(np.int64)
        keep = depolarized * self.keep_dep + (1 - depolarized) * self.keep_hyp
        self.h_s[:] = arithmetic.mix(self.h_s, before, keep)
        shift = 20 - self.bits
        level = np.right_shift(self.h + np.left_shift(1, shift - 1), shift)
        return np.clip(level, 0, np.left_shift(1, self.bits) - 1)
