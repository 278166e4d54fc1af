"""Layers that turn spike trains into numbers."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class TimeSum(keras.layers.Layer):
    """Sum, or mean, over time: spike counts, or firing rates.

    It is the *SumLayer* of the paper, which "integrates information of all timesteps" before the
    classifier. Masked steps do not count, and the mean divides by the number of steps that are not
    masked; a sequence that is masked entirely gives 0. Sums are made in at least `float32` and cast
    to the layer's dtype at the end, since `float16` cannot count beyond 2048.

    Args:
        mean: Whether to divide by the number of steps.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Tensor of shape `(batch, steps, ...)`.
        mask: Boolean tensor of shape `(batch, steps)`; `False` leaves a step out.

    Returns:
        Tensor of shape `(batch, ...)`: spikes, or with `mean` spikes per step.

    Reference:
        *A spiking sequential model: Recurrent Leaky Integrate-and-Fire* (2020), section 4.1.
    """

    def __init__(self, mean=False, **kwargs):
        super().__init__(**kwargs)
        self.mean = bool(mean)
        self.supports_masking = True

    def call(self, inputs, mask=None):
        """Sums over axis 1: see the class."""
        dtype = self.compute_dtype
        sum_dtype = "float32" if dtype in ("float16", "bfloat16") else dtype
        values = ops.cast(inputs, sum_dtype)
        if mask is None:
            total, steps = ops.sum(values, axis=1), ops.cast(ops.shape(values)[1], sum_dtype)
        else:
            mask = ops.cast(mask, "bool")
            mask = ops.reshape(mask, (*ops.shape(mask), *[1] * (len(values.shape) - 2)))
            # `where` rather than a product: a masked step may hold anything, NaN included.
            total = ops.sum(ops.where(mask, values, 0), axis=1)
            steps = ops.sum(ops.cast(mask, sum_dtype), axis=1)
        if self.mean:
            total = total / ops.maximum(steps, 1)
        return ops.cast(total, dtype)

    def compute_mask(self, inputs, mask=None):
        """Returns `None`: the output has no steps."""
        return None

    def compute_output_shape(self, input_shape):
        """Returns the shape without its axis 1."""
        if len(input_shape) < 2:
            raise ValueError(
                f"TimeSum '{self.name}' needs inputs of shape (batch, steps, ...). Received the "
                f"shape {tuple(input_shape)}. Was return_sequences=True left out of the layer "
                "before it?"
            )
        return (input_shape[0], *input_shape[2:])

    def get_config(self):
        """Returns the arguments of the constructor as a dictionary."""
        return {**super().get_config(), "mean": self.mean}
