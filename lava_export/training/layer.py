"""What the cells of quantization-aware training share, and the layer around them."""

from contextlib import contextmanager, nullcontext

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_rnn import metrics
from keras_spiking_rnn.base import constructor_arguments, serialized
from lava_export.quantize import ConversionError
from lava_export.training.integers import float64, straight_through

# Even, and the same for matrices with one sign as with both.
LARGEST_WEIGHT = 254


def traced(cell, inputs):
    """What `metrics.trace` shows of a cell, in integers or not, for `inputs` (batch, T, in)."""
    with cell.prepare() if isinstance(cell, QuantizedCell) else nullcontext():
        return metrics.trace(keras.layers.RNN(cell, return_sequences=True), inputs)


def outputs_of(cell, inputs):
    """What a cell makes of `inputs` (batch, T, in) in Keras."""
    return traced(cell, inputs)["spikes"]


def check_leaks(name, keep, leak_groups):
    """Raise ConversionError unless leaks that were trained in integers are in so many groups."""
    count = len(np.unique(keep))
    if leak_groups is not None and count > leak_groups:
        raise ConversionError(
            f"Layer '{name}' was trained in integers and has {count} different leaks, which stay "
            f"as they are: leave out leak_groups={leak_groups}."
        )


def messages(inputs, scale, dtype):
    """What comes to the chip, integers, of which 1 is `scale` in Keras."""
    smooth = tf.cast(inputs, dtype) / scale
    return straight_through(tf.round(float64(smooth)), smooth)


def weighted(messages, weights):
    """The weighted inputs; in float64, because graded ones may exceed float32's integers."""
    return tf.matmul(float64(messages), float64(weights))


class QuantizedCell:
    """Mixin of the cells that compute in the integers of the chip.

    A subclass is a subclass of the cell that it takes the place of, too, with more arguments after
    those of that cell; they say how floats become integers. Its weights are the floats that are
    trained; `integers` turns them into what the chip holds. Noise and dropout are left out.
    """

    # The class of the cell whose place this one takes.
    original = None
    # Names of the arguments that are not those of the original.
    settings = ()
    prepared = None

    def integers(self):
        """The registers, from the weights: tensors that hold integers, with gradients."""
        raise NotImplementedError

    @contextmanager
    def prepare(self):
        """Within it, weights become integers once and not at each step."""
        self.prepared = self.integers()
        try:
            yield
        finally:
            self.prepared = None

    def registers(self):
        """The registers of this sequence."""
        return self.integers() if self.prepared is None else self.prepared

    def get_config(self):
        """Returns the arguments of the constructor as a dictionary."""
        config = keras.layers.Layer.get_config(self)
        for name in (*constructor_arguments(self.original), *self.settings):
            config[name] = serialized(name, getattr(self, name))
        return config


@keras.saving.register_keras_serializable(package="lava_export")
class QuantizedRNN(keras.layers.RNN):
    """`keras.layers.RNN` of one of the quantized cells.

    Weights become integers once a sequence, and not at each of its steps.

    Args:
        cell: A quantized cell.
        zero_output_for_mask: Whether the output is 0 at masked steps.
        **kwargs: The other arguments of `keras.layers.RNN`.
    """

    def __init__(self, cell, zero_output_for_mask=True, **kwargs):
        super().__init__(cell, zero_output_for_mask=zero_output_for_mask, **kwargs)

    def call(self, sequences, initial_state=None, mask=None, training=False):
        """Runs the cell over the sequences."""
        with self.cell.prepare():
            return super().call(sequences, initial_state, mask, training)

    def compute_output_shape(self, sequences_shape, initial_state_shape=None):
        """Returns the shape of the outputs, of images too, which Keras' own does not know."""
        if isinstance(self.cell.output_size, int):
            return super().compute_output_shape(sequences_shape, initial_state_shape)
        batch, steps, *image = sequences_shape
        shape, states = self.cell.compute_output_shape((batch, *image))
        outputs = (batch, steps, *shape[1:]) if self.return_sequences else shape
        return (outputs, *states) if self.return_state else outputs
