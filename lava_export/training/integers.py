"""The operations of `lava_export.arithmetic` in TensorFlow, with gradients straight through.

Integers are held by floats, which are exact: in float32 up to 24 bits, in float64 up to 53.
"""

import numpy as np
import tensorflow as tf

from lava_export import arithmetic

# From 0 to where it stays 1: one look takes a tenth of the operations of its lines.
TANH = arithmetic.tanh(np.arange(4 * arithmetic.DECAY_UNITY)).astype(np.float32)


def straight_through(exact, smooth):
    """`exact` forward, in the dtype of `smooth`; the gradient goes to `smooth` as it is."""

    @tf.custom_gradient
    def choose(exact, smooth):
        return tf.identity(exact), lambda upstream: (None, upstream)

    return choose(tf.cast(exact, smooth.dtype), smooth)


def float64(value):
    """`value` in a dtype in which no product of a 24-bit and a 13-bit number is rounded."""
    return tf.cast(value, tf.float64)


def nearest(value, low, high, step=1):
    """The multiple of `step` next to `value`, within [low, high]; no gradient beyond these."""
    exact = tf.clip_by_value(step * tf.round(float64(value) / step), low, high)
    smooth = tf.clip_by_value(value, tf.cast(low, value.dtype), tf.cast(high, value.dtype))
    return straight_through(exact, smooth)


def floor(value):
    """The largest integer not above `value`."""
    return straight_through(tf.floor(value), value)


def shifted(total, exponent):
    """`total * 2**exponent`, floor where the exponent is negative."""
    scaled = total * 2.0**exponent
    return scaled if exponent >= 0 else floor(scaled)


def decay(x, keep):
    """`x * keep / 4096`, rounded toward zero, in float64 and without a gradient."""
    product = float64(x) * float64(keep) / arithmetic.DECAY_UNITY
    return tf.where(product < 0, tf.math.ceil(product), tf.math.floor(product))


def quotient(x, divisor):
    """How often an integer fits into another that is at least 0, in float64, without a gradient.

    Half of 1 is added because TensorFlow's optimizer may turn a division into a product with the
    rounded reciprocal, which would fall short of whole numbers.
    """
    return tf.floor((float64(x) + 0.5) / float64(divisor))


def wrap(u):
    """As `arithmetic.wrap`, in float64 and without a gradient."""
    limit = float(arithmetic.STATE_LIMIT)
    wrapped = tf.where(u > limit, u - 2 * limit, u)
    return tf.where(wrapped <= -limit, u + 2 * limit, wrapped)


def saturate(v):
    """As `arithmetic.saturate`, in float64 and without a gradient."""
    limit = float(arithmetic.STATE_LIMIT - 1)
    return tf.clip_by_value(v, -limit, limit)


def whole(x, shift):
    """`x * 2**shift`, rounded down, in float64 and without a gradient."""
    return tf.floor(float64(x) * 2.0 ** float64(shift))


def arriving(current, shift):
    """As `arithmetic.arriving`, in float64 and without a gradient."""
    return saturate(whole(saturate(float64(current)), shift))


def sigmoid(x, fine):
    """`arithmetic.sigmoid`, or its `fine_sigmoid`, in float64 and without a gradient."""
    unity = float(arithmetic.DECAY_UNITY)
    if fine:
        return tf.floor((unity + tanh(whole(x, -1))) / 2)
    size = tf.abs(float64(x))
    y = tf.where(size < 20480, whole(size, -5) + 3456, unity)
    y = tf.where(size < 9728, whole(size, -3) + 2560, y)
    y = tf.where(size < 4096, whole(size, -2) + 2048, y)
    return tf.where(x < 0, unity - y, y)


def tanh(x):
    """As `arithmetic.tanh`, in float64 and without a gradient."""
    size = tf.minimum(tf.abs(float64(x)), len(TANH) - 1.0)
    y = float64(tf.gather(TANH, tf.cast(size, tf.int32)))
    return tf.where(x < 0, -y, y)


def mix(x, y, share):
    """As `arithmetic.mix`, in float64 and without a gradient."""
    return decay(x, share) + decay(y, arithmetic.DECAY_UNITY - share)
