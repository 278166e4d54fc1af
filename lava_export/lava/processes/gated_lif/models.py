"""The model."""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from lava_export import arithmetic
from lava_export.lava.processes.gated_lif.process import GatedLIFUnits
from lava_export.lava.soft_reset import PySoftReset


@implements(proc=GatedLIFUnits, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyGatedLIFUnits(PySoftReset):
    """GatedLIFUnits on a CPU."""

    fine: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=1)

    def step(self, current):
        """Forget gate, candidate, current, membrane, output."""
        units = self.i.shape[-1]
        ports = arithmetic.saturate(arithmetic.arriving(current, self.shift) + self.bias)
        sigmoid = arithmetic.fine_sigmoid if self.fine[0] else arithmetic.sigmoid
        forget = sigmoid(ports[..., :units])
        candidate = ports[..., units:]
        candidate = candidate * (candidate > 0)
        self.i[:] = arithmetic.mix(self.i, candidate, forget)
        return self.membrane_and_output()
