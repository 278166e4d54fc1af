"""Arrays that forked processes share."""

import math
import mmap

import numpy as np


def shared_array(shape, dtype):
    """Zeros in anonymous memory, which Lava's workers inherit and which ends with its last user.

    Reading a `Var` of a Lava process moves one number at a time; this moves none.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    return np.frombuffer(mmap.mmap(-1, max(size, 1)), dtype, math.prod(shape)).reshape(shape)
