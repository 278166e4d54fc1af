"""What the models of units with a soft reset share on a CPU: their membrane and their outputs."""

import numpy as np
from lava.magma.core.model.py.type import LavaPyType

from lava_export import arithmetic
from lava_export.lava.units import PyUnits


class PySoftReset(PyUnits):
    """Base of the models of units whose outputs take `y * step` from the membrane, a step later."""

    i: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    v: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    y: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=9)
    keep_v: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=13)
    threshold: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    height: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    bias: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    shift: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=5)
    bits: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=4)
    signed: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=1)

    def membrane_and_output(self):
        """Integrate the current `i`, and return what `y` has become."""
        kept = arithmetic.decay(self.v, self.keep_v)
        self.v[:] = arithmetic.saturate(kept + self.i - self.y.astype(np.int64) * self.height)
        spikes = self.v >= self.threshold
        if not self.bits[0]:
            self.y[:] = spikes
        elif self.signed[0]:
            beyond = -self.v >= self.threshold
            above = arithmetic.level(self.v, self.height, self.bits[0])
            below = arithmetic.level(-self.v, self.height, self.bits[0])
            self.y[:] = above * spikes - below * beyond
        else:
            self.y[:] = arithmetic.level(self.v, self.height, self.bits[0]) * spikes
        return self.y
