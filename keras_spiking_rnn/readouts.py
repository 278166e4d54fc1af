"""Layers that turn spike trains into numbers."""

import math
import numbers

import keras
import numpy as np
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


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class LeakyReadout(keras.layers.Layer):
    r"""One leaky integrator a class, excited by its own group of neurons and inhibited by others.

    With the outputs $s[t]$ of the neurons,

    $$v[t] = \alpha\, v[t-1] + W s[t], \qquad W_{cn} = \begin{cases}\text{excitatory} &
    n \text{ is in the group of } c\\ \text{inhibitory} & \text{otherwise}\end{cases}$$

    Neurons are in groups of equal size, the first group is that of class 0. Nothing is learned: $W$
    is the weight `kernel` of shape `(neurons, classes)`, which is not trainable. The class with the
    highest $v$ at the last step is the answer; $v$ are logits for a cross-entropy.

    A masked step leaves the integrators as they are. Sums are made in at least `float32`. With
    `return_sequences` the memory needed grows with the square of the number of steps.

    Args:
        classes: Positive integer, number of classes.
        alpha: $\alpha$, leakage factor of the integrators, from 0 to 1.
        excitatory: Weight of the neurons of a class's own group.
        inhibitory: Weight of all other neurons.
        return_sequences: Whether to return $v[t]$ of all steps or of the last one.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Tensor of shape `(batch, steps, neurons)`; the number of neurons is a multiple of
            the number of classes.
        mask: Boolean tensor of shape `(batch, steps)`; `False` leaves a step out.

    Returns:
        Tensor of shape `(batch, classes)`, or `(batch, steps, classes)` with `return_sequences`.

    Raises:
        ValueError: If an argument is out of range, or the neurons cannot be divided into groups.

    Reference:
        *Spike-based computation using classical recurrent neural networks* (2023), section 4.2
        and appendix A.
    """

    def __init__(
        self,
        classes,
        alpha=0.99,
        excitatory=1.0,
        inhibitory=-0.1,
        return_sequences=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if isinstance(classes, bool) or not isinstance(classes, numbers.Integral) or classes <= 0:
            raise ValueError(
                f"LeakyReadout '{self.name}': `classes` must be a positive integer. Received: "
                f"classes={classes!r}"
            )
        self.classes = int(classes)
        self.alpha = self._finite("alpha", alpha)
        if not 0 <= self.alpha <= 1:
            raise ValueError(
                f"LeakyReadout '{self.name}': `alpha` must be from 0 to 1, it is the part of an "
                f"integrator that is kept at each step. Received: alpha={alpha!r}"
            )
        self.excitatory = self._finite("excitatory", excitatory)
        self.inhibitory = self._finite("inhibitory", inhibitory)
        self.return_sequences = bool(return_sequences)
        self.supports_masking = True

    def _finite(self, name, value):
        if not isinstance(value, numbers.Real) or not math.isfinite(value):
            raise ValueError(
                f"LeakyReadout '{self.name}': `{name}` must be a finite number. Received: "
                f"{name}={value!r}"
            )
        return float(value)

    def build(self, input_shape):
        """Creates the weight for inputs of shape `(batch, steps, neurons)`."""
        self._check(input_shape)
        own = np.repeat(np.eye(self.classes), input_shape[-1] // self.classes, axis=0)
        self.kernel = self.add_weight(
            shape=own.shape,
            name="kernel",
            initializer=lambda shape, dtype: ops.convert_to_tensor(
                np.where(own, self.excitatory, self.inhibitory), dtype
            ),
            trainable=False,
        )
        self.built = True

    def _check(self, input_shape):
        if len(input_shape) != 3 or input_shape[-1] is None:
            raise ValueError(
                f"LeakyReadout '{self.name}' needs inputs of shape (batch, steps, neurons) with a "
                f"known number of neurons. Received the shape {tuple(input_shape)}. Was "
                "return_sequences=True left out of the layer before it?"
            )
        if input_shape[-1] % self.classes:
            raise ValueError(
                f"LeakyReadout '{self.name}': the number of neurons must be a multiple of the "
                f"number of classes, {self.classes}, because each class has a group of its own. "
                f"Received {input_shape[-1]} neurons: give the layer before it "
                f"{self.classes * -(-input_shape[-1] // self.classes)} units."
            )

    def call(self, inputs, mask=None):
        """Integrates over axis 1: see the class."""
        dtype = self.compute_dtype
        sum_dtype = "float32" if dtype in ("float16", "bfloat16") else dtype
        neurons = ops.cast(inputs, sum_dtype)
        if mask is None:
            mask = ops.ones((1, ops.shape(neurons)[1]), "bool")
        mask = ops.cast(mask, "bool")
        # `where` rather than a product: a masked step may hold anything, NaN included.
        neurons = ops.where(mask[:, :, None], neurons, 0)
        drive = ops.matmul(neurons, ops.cast(self.kernel, sum_dtype))
        # What came in at step k has decayed by alpha at each step since that is not masked.
        done = ops.cumsum(ops.cast(mask, sum_dtype), axis=1)
        at = done if self.return_sequences else done[:, -1:]
        steps = at[:, :, None] - done[:, None, :]
        kept = ops.power(ops.convert_to_tensor(self.alpha, sum_dtype), ops.maximum(steps, 0))
        decay = ops.where(steps >= 0, kept, 0)
        values = ops.matmul(decay, drive)
        return ops.cast(values if self.return_sequences else values[:, 0], dtype)

    def compute_mask(self, inputs, mask=None):
        """Returns the mask with `return_sequences`, otherwise `None`."""
        return mask if self.return_sequences else None

    def compute_output_shape(self, input_shape):
        """Returns the shape of the integrators."""
        self._check(input_shape)
        steps = (input_shape[1],) if self.return_sequences else ()
        return (input_shape[0], *steps, self.classes)

    def get_config(self):
        """Returns the arguments of the constructor as a dictionary."""
        names = ("classes", "alpha", "excitatory", "inhibitory", "return_sequences")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
