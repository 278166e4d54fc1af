"""The model."""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from lava_export import arithmetic
from lava_export.lava.adaptive import PyAdaptive
from lava_export.lava.processes.adaptive_lstm.process import AdaptiveLSTMUnits


@implements(proc=AdaptiveLSTMUnits, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyAdaptiveLSTMUnits(PyAdaptive):
    """AdaptiveLSTMUnits on a CPU: gate, cell, and what the gate lets into the CEC."""

    theta_out: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    gate_height: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    memory: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=1)
    gate_shift: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=5)
    keep_star: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=13)
    gate_current: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    gate_signal: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    gate_estimate: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    gate_adaptation: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    star_current: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    star_signal: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    cell_current: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    cell_signal: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    cell_estimate: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    cell_adaptation: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    cec: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    output_signal: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    output_estimate: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    output_adaptation: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)

    def step(self, current):
        """Gates and cells are the first and the second half of the ports."""
        units = self.cec.shape[-1]
        gate_drive = self.receive(self.gate_current, current[..., :units], self.bias[:units])
        gate = self.fire(
            gate_drive,
            self.theta_0[:units],
            self.gate_signal,
            self.gate_estimate,
            self.gate_adaptation,
        )
        cell_drive = self.receive(self.cell_current, current[..., units:], self.bias[units:])
        cell = self.fire(
            cell_drive,
            self.theta_0[units:],
            self.cell_signal,
            self.cell_estimate,
            self.cell_adaptation,
        )
        self.star_current[:] = arithmetic.saturate(
            arithmetic.decay(self.star_current, self.keep_star) + gate * self.gate_height
        )
        self.approach(self.star_signal, self.star_current)
        half = np.right_shift(np.left_shift(1, self.gate_shift), 1)
        rounded = arithmetic.saturate(self.star_signal + half)
        brought = cell * np.right_shift(rounded, self.gate_shift)
        self.cec[:] = arithmetic.saturate(self.cec + brought)
        drive = np.where(self.memory == 1, self.cec, cell_drive)
        return self.fire(
            drive,
            self.theta_out,
            self.output_signal,
            self.output_estimate,
            self.output_adaptation,
        )
