"""The model."""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from lava_export import arithmetic
from lava_export.lava.processes.current_lif.process import CurrentLIFUnits
from lava_export.lava.soft_reset import PySoftReset


@implements(proc=CurrentLIFUnits, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyCurrentLIFUnits(PySoftReset):
    """CurrentLIFUnits on a CPU."""

    keep_i: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=13)

    def step(self, current):
        """Current, membrane, output."""
        entering = arithmetic.arriving(current, self.shift) + self.bias
        self.i[:] = arithmetic.saturate(arithmetic.decay(self.i, self.keep_i) + entering)
        return self.membrane_and_output()
