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
    "message_bits": (0, 24),
    "threshold": (-STATE_LIMIT + 1, STATE_LIMIT - 1),
    "keep_i": (0, DECAY_UNITY),
    "keep_v": (0, DECAY_UNITY),
    "bias": (-STATE_LIMIT + 1, STATE_LIMIT - 1),
    "shift": (-15, 15),
    "height": (1, STATE_LIMIT - 1),
    "bits": (0, 8),
    "signed": (0, 1),
    "fine": (0, 1),
    "theta_0": (1, STATE_LIMIT - 1),
    "theta_out": (1, STATE_LIMIT - 1),
    "gate_height": (0, STATE_LIMIT - 1),
    "gate_shift": (0, 23),
    "memory": (0, 1),
    "keep_star": (0, DECAY_UNITY),
    "keep_current": (0, DECAY_UNITY),
    "keep_signal": (0, DECAY_UNITY),
    "keep_estimate": (0, DECAY_UNITY),
    "keep_adaptation": (0, DECAY_UNITY),
    "rise": (0, 2 * DECAY_UNITY - 1),
    "half": (0, 1),
    "input_shift": (0, 15),
    "reset": (-STATE_LIMIT + 1, STATE_LIMIT - 1),
    "keep": (0, DECAY_UNITY),
    "membrane_bias": (-STATE_LIMIT + 1, STATE_LIMIT - 1),
    "cell_shift": (0, 11),
    "message_shift": (0, 23),
    "rho": (-4096, 4095),
    "r": (-4096, 4095),
    "r_s": (-4096, 4095),
    "keep_h": (0, DECAY_UNITY),
    "keep_hyp": (0, DECAY_UNITY),
    "keep_dep": (0, DECAY_UNITY),
    "current_shift": (0, 11),
    "gain_shift": (0, 8),
    "lagging": (0, 1),
}


def decay(x, keep):
    """`x * keep / 4096`, rounded toward zero, int32; `keep` is 4096 minus the decay."""
    # A float64 holds 32 by 13 bits, divided by a power of two, exactly; the cast cuts off the rest.
    return (x.astype(np.float64) * (keep / DECAY_UNITY)).astype(np.int32)


def within(x, limit):
    """Whether all of `x` is smaller than `limit` in size."""
    return -limit < x.min() and x.max() < limit


def wrap(u):
    """A current beyond 24 bits comes back from the other side, once."""
    if within(u, STATE_LIMIT):
        return u
    wrapped = np.where(u > STATE_LIMIT, u - 2 * STATE_LIMIT, u)
    return np.where(wrapped <= -STATE_LIMIT, u + 2 * STATE_LIMIT, wrapped)


def saturate(v):
    """A membrane beyond 24 bits stays at the limit."""
    return np.clip(v, -STATE_LIMIT + 1, STATE_LIMIT - 1)


def saturated(v):
    """`saturate`, and how many values it changed."""
    if within(v, STATE_LIMIT):
        return v, 0
    held = saturate(v)
    return held, np.count_nonzero(held != v)


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


def largest_sum(weights, message_bits=0):
    """The largest size that a sum of weighted messages, or any part of it, can have.

    `weights` are (units, in); messages are 0 or 1, or have up to `message_bits` bits and a sign.
    """
    rows = np.abs(weights).sum(axis=1, dtype=np.int64)
    return int(rows.max(initial=0)) * max((1 << message_bits) - 1, 1)


def exact_type(largest):
    """The quickest type in which sums of integers of size up to `largest` are exact.

    A product of floats runs on BLAS, and is exact while no partial sum leaves the mantissa.
    """
    if largest <= 1 << 24:
        return np.float32
    return np.float64 if largest <= 1 << 53 else np.int64


def product(weights, exponent, message_bits=0, register=np.int32):
    """The function `messages @ weights.T * 2**exponent`, floor where the exponent is negative.

    `weights` (units, in) are on the grid. The function takes messages (..., in) and gives
    (..., units); messages are 0 or 1, or have up to `message_bits` bits and a sign. Sums beyond
    the `register`, the 32 bits in which Lava's Dense adds up, wrap.
    """
    largest = largest_sum(weights, message_bits)
    matrix = weights.T.astype(exact_type(largest))
    # What a cast from float does with numbers beyond its type is not defined.
    cast = register if largest < 1 << 31 else np.int64

    def weighted(messages):
        rows = messages.astype(matrix.dtype, order="C").reshape(-1, messages.shape[-1])
        total = (rows @ matrix).astype(cast).astype(register, copy=False)
        if exponent > 0:
            total <<= exponent
        elif exponent < 0:
            total >>= -exponent
        return total.reshape(*messages.shape[:-1], len(weights))

    return weighted


def shifted(x, shift):
    """`x * 2**shift`, floor where the shift is negative; 64 bits."""
    x, shift = x.astype(np.int64), np.asarray(shift)
    return (x << np.maximum(shift, 0)) >> np.maximum(-shift, 0)


def arriving(current, shift=0):
    """Weighted inputs times `2**shift`, floor where it is negative; both saturate at 24 bits."""
    return saturate(shifted(saturate(current), shift))


def sigmoid(x):
    """The logistic function by shifts and additions; 4096 stands for 1, in and out.

    It is PLAN, the pieces of straight lines of Amin, Curtis and Hayes-Gill (1997), rounded down for
    positive `x`. It differs from the logistic function by 0.0190 at most, at x = 1 and -1.
    """
    size = np.abs(x)
    y = np.where(size < 20480, (size >> 5) + 3456, 4096)  # |x| < 5
    y = np.where(size < 9728, (size >> 3) + 2560, y)  # |x| < 2.375
    y = np.where(size < 4096, (size >> 2) + 2048, y)  # |x| < 1
    return np.where(x < 0, DECAY_UNITY - y, y)


def tanh(x):
    """The hyperbolic tangent by shifts and additions; 4096 stands for 1, in and out.

    For x >= 0 it is the lowest of eleven lines, and odd. It differs from the hyperbolic tangent by
    0.0024 at most, and is 1 from x = 3.44 on.
    """
    size = np.abs(x)
    half, quarter, eighth = size >> 1, size >> 2, size >> 3
    y = np.minimum(size - (size >> 6), 4096)
    for line in (
        size - eighth + 116,
        size - quarter + 353,
        half + eighth + 676,
        half - (size >> 6) + 1140,
        half - eighth + 1582,
        quarter - (size >> 8) + 2211,
        eighth + (size >> 6) + 2847,
        (size >> 4) + 3429,
        (size >> 6) - (size >> 10) + 3889,
    ):
        y = np.minimum(y, line)
    return np.where(x < 0, -y, y)


def fine_sigmoid(x):
    """The logistic function, `(1 + tanh(x / 2)) / 2`; 4096 stands for 1, in and out.

    It differs from the logistic function by 0.0014 at most.
    """
    return (DECAY_UNITY + tanh(x >> 1)) >> 1


def mix(x, y, share):
    """`x * share / 4096 + y * (4096 - share) / 4096`, each rounded toward zero."""
    return decay(x, share) + decay(y, DECAY_UNITY - share)


def level(size, height, bits):
    """How many times `height` fits into `size`, at least 0 and at most `2**bits - 1`.

    One comparison and one subtraction for each bit, from the highest.
    """
    rest, count = size.astype(np.int64), np.zeros(size.shape, np.int64)
    for bit in reversed(range(bits)):
        part = np.asarray(height, np.int64) << bit
        fits = rest >= part
        rest = np.where(fits, rest - part, rest)
        count += fits.astype(np.int64) << bit
    return count
