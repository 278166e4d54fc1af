"""Lava's `fixed_pt` integer arithmetic: one definition of each operation.

The functions take and return NumPy integer arrays of any shape and follow the CPU models of
lava-nc 0.10.0 to the bit, including the 32-bit registers in which Lava computes.
"""

import numpy as np

STATE_LIMIT = 1 << 23  # u and v are signed 24-bit states
MESSAGE_SHIFT = 6  # synaptic input and threshold are aligned 6 bits up
DECAY_SHIFT = 12  # decays are 12-bit fractions
DECAY_UNITY = 1 << DECAY_SHIFT

# Inclusive ranges of what a Loihi register holds. Lava checks none of them.
RANGES = {
    "du": (0, 4095),
    "dv": (0, 4095),
    "vth": (0, (1 << 17) - 1),
    "bias_mant": (-4096, 4095),
    "bias_exp": (0, 7),
    "u0": (-STATE_LIMIT + 1, STATE_LIMIT - 1),
    "v0": (-STATE_LIMIT + 1, STATE_LIMIT - 1),
    "weights": (-256, 255),
    "exponent": (-8, 7),
    "num_weight_bits": (1, 8),
}


def decay(x, keep):
    """`x * keep / 4096`, rounded toward zero; `keep` is 4096 minus the decay."""
    product = x.astype(np.int64) * keep
    # >> rounds down; adding 4095 to what is negative makes it round toward zero.
    return (product + ((product >> 63) & (DECAY_UNITY - 1))) >> DECAY_SHIFT


def wrap(u):
    """A current beyond 24 bits comes back from the other side, once."""
    wrapped = np.where(u > STATE_LIMIT, u - 2 * STATE_LIMIT, u)
    return np.where(wrapped <= -STATE_LIMIT, u + 2 * STATE_LIMIT, wrapped)


def saturate(v):
    """A membrane beyond 24 bits stays at the limit."""
    return np.clip(v, -STATE_LIMIT + 1, STATE_LIMIT - 1)


def bias(mantissa, exponent):
    """`mantissa * 2**exponent`, in units of the membrane's least significant bit."""
    return np.left_shift(np.asarray(mantissa, np.int32), np.asarray(exponent, np.int32))


def weights_on_grid(weights, num_weight_bits=8):
    """The weights that Lava's Dense computes with.

    A matrix with both signs loses its lowest bit (floor to even); each bit of
    `num_weight_bits` below 8 takes one more. The sign is that of the whole matrix.
    """
    weights = np.asarray(weights, np.int32)
    inhibitory = weights.min(initial=0) < 0 and weights.max(initial=-1) <= 0
    mixed = weights.min(initial=0) < 0 and not inhibitory
    sign = -1 if inhibitory else 1
    magnitude = np.clip(sign * weights, -256 if mixed else 0, 255)
    dropped = 8 - num_weight_bits + int(mixed)
    return sign * ((magnitude >> dropped) << dropped)


def accumulate(spikes, weights, exponent):
    """Weighted input `spikes @ weights.T * 2**exponent`, floor where the exponent is negative.

    `spikes` is (..., in), `weights` (units, in) on the grid; the result is int32 (..., units).
    """
    # A float product runs on BLAS and is exact while no partial sum leaves the mantissa.
    largest_sum = int(np.abs(weights).sum(axis=1, dtype=np.int64).max(initial=0))
    dtype = np.float32 if largest_sum < 1 << 24 else np.float64
    rows = spikes.reshape(-1, spikes.shape[-1]).astype(dtype)
    total = (rows @ weights.T.astype(dtype)).astype(np.int64)
    total = total << exponent if exponent > 0 else total >> -exponent
    return total.astype(np.int32).reshape(*spikes.shape[:-1], len(weights))
