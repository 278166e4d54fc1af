"""The LIF neurons that the paper compares with: `Leaky` of snnTorch with a reset to zero.

With the input X[t], one leak and one threshold for all neurons of a layer, both learned,

    V[t] = (1 - R[t]) (leak V[t-1] + W X[t]),  R[t] = H(V[t-1] - threshold)
    S[t] = H(V[t] - threshold)

so that the step after a spike takes no input. Backward the derivative of H in S is that of an arc
tangent, and no gradient goes through R: nothing damps the gradients of deep networks, which those
through the reset of `RLIF` do.
"""

import keras
import tensorflow as tf
from keras import ops

from keras_spiking_rnn import surrogates

SURROGATE = surrogates.ArcTan(2.0)


class LeakyCell(keras.layers.Layer):
    """One time step.

    Args:
        units: Number of neurons.
        leak: The leak at the start; of what is learned, the part from 0 to 1 counts.
        threshold: The threshold at the start.
    """

    emits_spikes = True

    def __init__(self, units, leak=0.9, threshold=1.0, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = self.output_size = units
        self.start = leak, threshold

    def build(self, input_shape):
        """Creates the weights for inputs of shape `(batch, in)`."""
        self.kernel = self.add_weight(shape=(input_shape[-1], self.units), name="kernel")
        leak, threshold = self.start
        self.leak = self.add_weight(initializer=keras.initializers.Constant(leak), name="leak")
        self.threshold = self.add_weight(
            initializer=keras.initializers.Constant(threshold), name="threshold"
        )

    def call(self, inputs, states):
        """Spikes and the list of the membrane potentials, `(batch, units)` each."""
        (before,) = states
        fired = ops.cast(ops.stop_gradient(before) > self.threshold, before.dtype)
        leak = ops.clip(self.leak, 0, 1)
        V = (1 - fired) * (leak * before + ops.matmul(inputs, self.kernel))  # noqa: N806
        return SURROGATE(V - self.threshold), [V]


class Leaky(keras.layers.RNN):
    """A layer of `LeakyCell`: `(batch, steps, in)` to spikes, `(batch, steps, units)`.

    It runs the equations of the cell in a compiled loop, which is several times faster.
    """

    def __init__(self, units, leak=0.9, threshold=1.0, **kwargs):
        super().__init__(LeakyCell(units, leak, threshold), return_sequences=True, **kwargs)
        self.units = units

    def inner_loop(self, sequences, initial_state, mask, training=False):
        """The last spikes, all of them, and no state: all begin with 0."""
        cell = self.cell
        net = ops.transpose(ops.matmul(sequences, cell.kernel), (1, 0, 2))
        threshold = tf.identity(ops.convert_to_tensor(cell.threshold))
        spikes = fired(net, ops.clip(cell.leak, 0, 1), threshold)
        return spikes[-1], ops.transpose(spikes, (1, 0, 2)), []


@tf.custom_gradient
def fired(net, leak, threshold):
    """Spikes of weighted inputs, both `(steps, batch, units)`."""
    # Called eagerly, a tape would record the compiled functions as well.
    net, leak, threshold = (tf.stop_gradient(each) for each in (net, leak, threshold))
    V = membranes(net, leak, threshold)  # noqa: N806

    def gradient(d_spikes):
        before = tf.concat([tf.zeros_like(V[:1]), V[:-1]], axis=0)
        d_fired = d_spikes * SURROGATE.derivative(V - threshold)
        d_net = carried(d_fired, tf.cast(before <= threshold, V.dtype), leak)
        return d_net, tf.reduce_sum(d_net * before), -tf.reduce_sum(d_fired)

    return tf.cast(V > threshold, V.dtype), gradient


@tf.function(jit_compile=True)
def membranes(net, leak, threshold):
    """The membrane potentials of all steps."""

    def step(V, now):  # noqa: N803
        return tf.cast(V <= threshold, V.dtype) * (leak * V + now)

    return tf.scan(step, net, tf.zeros_like(net[0]))


@tf.function(jit_compile=True)
def carried(d_fired, kept, leak):
    """The gradients of the inputs of all steps: what comes down, and back from the next step."""
    return tf.scan(
        lambda d, now: now[1] * (leak * d + now[0]),
        (d_fired, kept),
        tf.zeros_like(kept[0]),
        reverse=True,
    )
