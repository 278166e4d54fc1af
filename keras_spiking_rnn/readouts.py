"""Layers that turn spike trains into numbers."""

import keras
import numpy as np
from keras import constraints, initializers, ops, regularizers

from keras_spiking_rnn import checks, losses
from keras_spiking_rnn.base import (
    SpikingCell,
    SpikingRNN,
    arguments,
    counted_steps,
    returning_sequences,
)


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
        # Keras 3.12 loses the mask of inputs that it casts.
        self.autocast = False

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
        self.classes = checks.positive_integer(f"LeakyReadout '{self.name}'", "classes", classes)
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
        # Keras 3.12 loses the mask of inputs that it casts.
        self.autocast = False

    def _finite(self, name, value):
        return checks.number(f"LeakyReadout '{self.name}'", name, value)

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


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class LeakyIntegratorCell(SpikingCell):
    r"""One time step of neurons that integrate their inputs and never fire.

    $$v[t] = \alpha \odot v[t-1] + W x[t] + b$$

    The membrane potential $v$ is the output and the only state; $v[0] = 0$. Under a half precision
    policy only $W x[t]$ is computed in half precision.

    Args:
        units: Positive integer, number of neurons.
        use_bias: Whether there is a $b$.
        learn_leak: Whether the leak $\alpha$ is learned.
        kernel_initializer: Initializer of `kernel`, $W$.
        bias_initializer: Initializer of `bias`, $b$.
        leak_initializer: Initializer of `leak`, $\alpha$, or a number: 1 keeps all of the membrane
            potential from step to step, 0 none of it.
        kernel_regularizer: Regularizer of `kernel`.
        bias_regularizer: Regularizer of `bias`.
        leak_regularizer: Regularizer of `leak`.
        kernel_constraint: Constraint of `kernel`.
        bias_constraint: Constraint of `bias`.
        leak_constraint: Constraint of `leak`. The default, `"leak_range"`, is
            `keras_spiking_rnn.base.LeakRange()`.
        dropout: Fraction of the inputs to drop in training, at least 0 and below 1. The same
            inputs are dropped in all steps of a sequence.
        seed: Seed of dropout.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Tensor of shape `(batch, in)`.
        states: List of one tensor of shape `(batch, units)`, the membrane potential $v[t-1]$.
        training: Whether to apply dropout.

    Returns:
        A tuple `(membrane, [membrane])` of tensors of shape `(batch, units)`.

    Raises:
        ValueError: If an argument is out of range.
    """

    emits_spikes = False
    layer_name = "MembraneReadout"

    def __init__(
        self,
        units,
        use_bias=True,
        learn_leak=True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        leak_initializer=0.9,
        kernel_regularizer=None,
        bias_regularizer=None,
        leak_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        leak_constraint="leak_range",
        dropout=0.0,
        seed=None,
        **kwargs,
    ):
        super().__init__(units, dropout=dropout, seed=seed, **kwargs)
        self.use_bias = bool(use_bias)
        self.learn_leak = bool(learn_leak)

        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.configure_decay("leak", leak_initializer, leak_regularizer, leak_constraint)

        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)

        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)

    def build(self, input_shape):
        """Creates the weights for inputs of shape `(batch, in)`."""
        self.kernel = self.named_weight("kernel", (self.input_size(input_shape), self.units))
        self.bias = self.named_weight("bias", (self.units,)) if self.use_bias else None
        self.leak = self.named_weight("leak", (self.units,), trainable=self.learn_leak)
        self.built = True

    def parameters(self):
        """The leak: see `SpikingCell.parameters`."""
        return self.values("leak")

    def advance(self, net, states, parameters, training=False):
        """Computes one time step; `inside` has the membrane potential."""
        membrane = parameters["leak"] * states[0] + net
        return membrane, [membrane], {"membrane": membrane}

    keeps = (0,)
    needs_net = False

    def retreat(self, kept, parameters, d_output, d_states):
        """The gradients of one time step: see `SpikingCell.retreat`."""
        d_membrane = d_states[0] + d_output
        d_leak = ops.sum(d_membrane * kept.before(0), axis=0)
        return d_membrane, [parameters["leak"] * d_membrane], {"leak": d_leak}

    def multiplications(self, inputs, outputs):
        """Multiplications of one step, from the numbers of inputs and outputs that are not 0."""
        return inputs * self.units + self.units


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class MembraneReadout(SpikingRNN):
    r"""Leaky integrators that never fire, whose membrane potentials are the logits of the classes.

    `LeakyIntegratorCell` has the equation. The logits are the last, the largest or the mean
    membrane potentials of a sequence:

    ```python
    layers = [RLIF(64, return_sequences=True), MembraneReadout(10, at="max")]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    ```

    With `return_sequences=True` those of all steps are returned, for the loss
    `keras_spiking_rnn.losses.MembraneCrossentropy`. A masked step leaves the membrane potential as
    it is, and does not count in the mean.

    Args:
        units: Positive integer, number of classes.
        at: `"last"`, `"max"` or `"mean"`: which value over time to return, without
            `return_sequences`.
        use_bias: Whether there is a bias.
        learn_leak: Whether the leak is learned.
        kernel_initializer: Initializer of `kernel`, the input weights.
        bias_initializer: Initializer of `bias`.
        leak_initializer: Initializer of `leak`, or a number.
        kernel_regularizer: Regularizer of `kernel`.
        bias_regularizer: Regularizer of `bias`.
        leak_regularizer: Regularizer of `leak`.
        activity_regularizer: Regularizer of the outputs, and with `return_state` of the returned
            states too. Keras 3.12 does not divide it by the batch size, newer versions do.
        kernel_constraint: Constraint of `kernel`.
        bias_constraint: Constraint of `bias`.
        leak_constraint: Constraint of `leak`. The default, `"leak_range"`, is
            `keras_spiking_rnn.base.LeakRange()`.
        dropout: Fraction of the inputs to drop in training, at least 0 and below 1.
        seed: Seed of dropout.
        return_sequences: Whether to return the membrane potentials of all steps.
        return_state: Whether to return the last membrane potentials as well.
        go_backwards: Whether to process the sequence backwards and return it reversed.
        stateful: Whether a batch continues with the membrane potentials that the previous batch
            ended with.
        unroll: Whether to unroll the loop: faster for short sequences, needs more memory.
        zero_output_for_mask: Whether the output is 0 at masked steps, rather than the membrane
            potential.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        sequences: Tensor of shape `(batch, steps, in)`.
        initial_state: List of one tensor of shape `(batch, units)`, the membrane potential to
            begin with; by default 0.
        mask: Boolean tensor of shape `(batch, steps)`; `False` leaves a step out.
        training: Whether to apply dropout.

    Returns:
        Tensor of shape `(batch, units)`, or `(batch, steps, units)` with `return_sequences`. With
        `return_state` a tuple of it and the last membrane potentials.

    Raises:
        ValueError: If an argument is out of range.
    """

    cell_class = LeakyIntegratorCell

    def __init__(
        self,
        units,
        at="last",
        use_bias=True,
        learn_leak=True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        leak_initializer=0.9,
        kernel_regularizer=None,
        bias_regularizer=None,
        leak_regularizer=None,
        activity_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        leak_constraint="leak_range",
        dropout=0.0,
        seed=None,
        return_sequences=False,
        return_state=False,
        go_backwards=False,
        stateful=False,
        unroll=False,
        zero_output_for_mask=False,
        **kwargs,
    ):
        own = arguments(locals())
        del own["at"]
        super().__init__(**own)
        self.at = losses.known_reading(self, at)

    def loop(self, sequences, initial_state, mask, training=False):
        """Runs the cell over the sequences; the last output is what `at` says."""
        if self.at == "last":
            return super().loop(sequences, initial_state, mask, training=training)
        with returning_sequences(self):
            _, outputs, states = super().loop(sequences, initial_state, mask, training=training)
        counted = ops.cast(counted_steps(self, sequences, mask), outputs.dtype)
        return losses.reading(outputs, counted, self.at), outputs, states

    def get_config(self):
        """Returns the arguments of the constructor as a dictionary."""
        return {**super().get_config(), "at": self.at}
