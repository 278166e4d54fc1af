"""Activations that integer hardware can compute."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
def plan_sigmoid(x):
    r"""The logistic function in pieces of straight lines whose slopes are powers of two.

    $$\sigma(x) \approx \begin{cases}
    1 - \sigma(-x) & x < 0\\
    x / 4 + 1 / 2 & 0 \le x < 1\\
    x / 8 + 5 / 8 & 1 \le x < 2.375\\
    x / 32 + 27 / 32 & 2.375 \le x < 5\\
    1 & x \ge 5
    \end{cases}$$

    rounded to multiples of 1/4096, down for positive $x$. It differs from the logistic function by
    0.0190 at most; at 2.375, where the lines do not meet, it falls by 1/256. At multiples of 1/4096
    its values are exactly those of the integers that `lava_export` computes with, so a network that
    is trained with it loses nothing there.

    The derivative is that of the lines, without the rounding: 1/4, 1/8, 1/32 or 0.

    Args:
        x: Floating point tensor of any shape.

    Returns:
        A tensor of the shape and dtype of `x`, from 0 to 1.

    Reference:
        Amin, Curtis, Hayes-Gill, *Piecewise linear approximation applied to nonlinear function of a
        neural network* (1997).
    """

    @tf.custom_gradient
    def lines(x):
        size = tf.abs(x)
        pieces = ((5.0, 1 / 32, 27 / 32), (2.375, 1 / 8, 5 / 8), (1.0, 1 / 4, 1 / 2))
        y, slope = tf.ones_like(x), tf.zeros_like(x)
        for end, rise, start in pieces:
            within = size < end
            y = tf.where(within, rise * size + start, y)
            slope = tf.where(within, tf.constant(rise, x.dtype), slope)
        y = tf.floor(4096 * y) / 4096
        return tf.where(x < 0, 1 - y, y), lambda upstream: upstream * slope

    return lines(tf.convert_to_tensor(x))


OF_ELEMENTS = (
    plan_sigmoid,
    *map(
        keras.activations.get,
        """celu elu exponential gelu hard_sigmoid hard_silu hard_tanh leaky_relu linear log_sigmoid
        mish relu relu6 selu sigmoid silu softplus softsign tanh""".split(),
    ),
)


def acts_on_elements(function):
    """Whether a function acts on each element alone; of one that is not known nobody can tell."""
    return any(function is known for known in OF_ELEMENTS)


def get(identifier):
    """The activation that `identifier` stands for.

    Args:
        identifier: `"plan_sigmoid"`, or whatever `keras.activations.get` takes.

    Returns:
        A function.

    Raises:
        ValueError: If there is no such activation.
    """
    return plan_sigmoid if identifier == "plan_sigmoid" else keras.activations.get(identifier)
