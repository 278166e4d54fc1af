"""Recurrent Leaky Integrate-and-Fire (RLIF) neurons: the step, the cell and the layer.

Reference:
    *A spiking sequential model: Recurrent Leaky Integrate-and-Fire* (2020), section 3.1.
"""

import keras
from keras import constraints, initializers, regularizers

from keras_spiking_rnn import surrogates
from keras_spiking_rnn.base import SpikingCell, SpikingRNN, arguments


def rlif_step(U, u, alpha, b_mem, V_thres, V_reset, surrogate, beta=0.0):  # noqa: N803
    """One time step of RLIF: equations (4) to (10) of the paper, in its symbols.

    `units` is the number of neurons. A vector of `units` values may also be one number for all of
    them.

    Args:
        U: Input current of equation (9), `(batch, units)`.
        u: Membrane potential left over from the previous step, `(batch, units)`.
        alpha: Leak: the part of the membrane potential that is kept, `(units,)`.
        b_mem: Bias of the membrane potential, `(units,)`.
        V_thres: Firing threshold, `(units,)`.
        V_reset: Membrane potential after a spike, `(units,)`.
        surrogate: The spike function, see `keras_spiking_rnn.surrogates`.
        beta: Noise, `(batch, units)`.

    Returns:
        A tuple `(Y, u, V)` of tensors of shape `(batch, units)`: the spikes, the membrane
        potential to carry to the next step, and the membrane potential before the reset.
    """
    V = U + u  # (4)
    F = surrogate(V - V_thres)  # (5)
    u_d = F * V_reset + (1 - F) * V  # (6)
    Y = F  # (8)
    M = alpha * u_d + b_mem  # (10)
    u = M + beta  # (7)
    return Y, u, V


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class RLIFCell(SpikingCell):
    r"""One time step of a layer of Recurrent Leaky Integrate-and-Fire neurons.

    With the input $X^t$ and the membrane potential $u^{t-1}$ of the previous step,

    $$
    \begin{aligned}
    U^t &= W_{volt} X^t + b_{volt} & (9)\\
    V^t &= U^t + u^{t-1} & (4)\\
    F^t &= [V^t \ge V_{thres}] & (5)\\
    u_d^t &= F^t V_{reset} + (1 - F^t)\,V^t & (6)\\
    Y^t &= F^t & (8)\\
    M^t &= \alpha \odot u_d^t + b_{mem} & (10)\\
    u^t &= M^t + \beta & (7)
    \end{aligned}
    $$

    $Y^t$, the spikes, is the output and $u^t$ the only state; $u^0 = 0$. There is no unit of time
    other than the step. The paper gives no numbers: the defaults of `threshold`, `reset` and the
    leak are those of the published code of the same research group.

    In the backward pass the derivative of (5) is the surrogate's, and gradients flow through the
    reset (6) as well.

    Under a half precision policy only the matrix product of (9) is computed in half precision; the
    membrane potential stays in `float32`.

    Args:
        units: Positive integer, number of neurons.
        threshold: $V_{thres}$, a number or one for each unit. Fixed, not learned.
        reset: $V_{reset}$, a number or one for each unit; smaller than the threshold. Fixed.
        surrogate: Surrogate of the derivative of (5), as `keras_spiking_rnn.surrogates.get` takes
            it. The default has height 1 within 0.5 of the threshold: equation (12).
        use_bias: Whether there is a $b_{volt}$.
        use_membrane_bias: Whether there is a $b_{mem}$.
        learn_leak: Whether the leak $\alpha$ is learned. The paper does not say.
        kernel_initializer: Initializer of `kernel`, $W_{volt}$.
        bias_initializer: Initializer of `bias`, $b_{volt}$.
        leak_initializer: Initializer of `leak`, $\alpha$, or a number: 1 keeps all of the
            membrane potential from step to step.
        membrane_bias_initializer: Initializer of `membrane_bias`, $b_{mem}$.
        kernel_regularizer: Regularizer of `kernel`.
        bias_regularizer: Regularizer of `bias`.
        leak_regularizer: Regularizer of `leak`.
        membrane_bias_regularizer: Regularizer of `membrane_bias`.
        kernel_constraint: Constraint of `kernel`.
        bias_constraint: Constraint of `bias`.
        leak_constraint: Constraint of `leak`. The default, `"leak_range"`, is `LeakRange()`.
        membrane_bias_constraint: Constraint of `membrane_bias`.
        noise_stddev: Standard deviation of the noise $\beta$, drawn from a normal distribution for
            each unit at each step, in training only.
        dropout: Fraction of the inputs to drop in training, at least 0 and below 1. The same
            inputs are dropped in all steps of a sequence.
        seed: Seed of noise and dropout.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Tensor of shape `(batch, in)`.
        states: List of one tensor of shape `(batch, units)`, the membrane potential $u^{t-1}$.
        training: Whether to apply noise and dropout.

    Returns:
        A tuple `(spikes, [membrane])` of tensors of shape `(batch, units)`; spikes are 0 or 1.

    Raises:
        ValueError: If an argument is out of range.

    Reference:
        *A spiking sequential model: Recurrent Leaky Integrate-and-Fire* (2020), section 3.1,
        equations (4) to (10), and section 3.2, equation (12).
    """

    def __init__(
        self,
        units,
        threshold=0.5,
        reset=0.0,
        surrogate="rectangular",
        use_bias=True,
        use_membrane_bias=True,
        learn_leak=True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        leak_initializer=0.3,
        membrane_bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        leak_regularizer=None,
        membrane_bias_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        leak_constraint="leak_range",
        membrane_bias_constraint=None,
        noise_stddev=0.0,
        dropout=0.0,
        seed=None,
        **kwargs,
    ):
        super().__init__(units, dropout=dropout, seed=seed, **kwargs)
        self.threshold = self.fixed_values("threshold", threshold)
        self.reset = self.fixed_values("reset", reset)
        self._check_reset_below_threshold()
        self.surrogate = surrogates.get(surrogate)
        self.use_bias = bool(use_bias)
        self.use_membrane_bias = bool(use_membrane_bias)
        self.learn_leak = bool(learn_leak)

        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.configure_decay("leak", leak_initializer, leak_regularizer, leak_constraint)
        self.membrane_bias_regularizer = regularizers.get(membrane_bias_regularizer)

        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.membrane_bias_constraint = constraints.get(membrane_bias_constraint)

        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.membrane_bias_initializer = initializers.get(membrane_bias_initializer)

        self.noise_stddev = self.number("noise_stddev", noise_stddev, low=0)

    def _check_reset_below_threshold(self):
        def of_each_unit(value):
            return value if isinstance(value, tuple) else (value,) * self.units

        pairs = zip(of_each_unit(self.reset), of_each_unit(self.threshold), strict=True)
        for unit, (reset, threshold) in enumerate(pairs):
            if reset >= threshold:
                raise ValueError(
                    f"{self.title}: `reset` must be smaller than `threshold`, otherwise a unit "
                    f"that has fired once fires at every step. Received: reset={reset}, "
                    f"threshold={threshold} (unit {unit})."
                )

    def build(self, input_shape):
        """Creates the weights for inputs of shape `(batch, in)`."""
        inputs = self.input_size(input_shape)
        self.kernel = self.named_weight("kernel", (inputs, self.units))
        self.bias = self.named_weight("bias", (self.units,)) if self.use_bias else None
        self.leak = self.named_weight("leak", (self.units,), trainable=self.learn_leak)
        self.membrane_bias = (
            self.named_weight("membrane_bias", (self.units,)) if self.use_membrane_bias else None
        )
        self.built = True

    def step(self, inputs, states, training=False):
        """Computes one time step; `inside` has the membrane before reset and the state."""
        (membrane,) = states
        inputs = self.dropped(inputs, training)
        spikes, state, potential = rlif_step(
            U=self.product(inputs, self.kernel) + self.value(self.bias),  # (9)
            u=membrane,
            alpha=self.value(self.leak),
            b_mem=self.value(self.membrane_bias),
            V_thres=self.value(self.threshold),
            V_reset=self.value(self.reset),
            surrogate=self.surrogate,
            beta=self.noise(membrane, self.noise_stddev, training),
        )
        return spikes, [state], {"membrane": potential, "state": state}


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class RLIF(SpikingRNN):
    """Layer of Recurrent Leaky Integrate-and-Fire neurons.

    `RLIFCell` has the equations. Two things differ from Keras' own recurrent layers:

    - At a masked step the output is 0: `zero_output_for_mask` is `True` by default. Keras' default
      repeats the output of the last step that was not masked, which would turn one spike before
      padding into one spike at each padded step. Of a padded sequence with
      `return_sequences=False` the output is therefore 0 if the last step is padding.
    - Under a half precision policy the membrane potential is computed and carried through the
      sequence in `float32`; outputs and returned states have the layer's dtype.

    Args:
        units: Positive integer, number of neurons.
        threshold: Firing threshold, a number or one for each unit. Not learned.
        reset: Membrane potential after a spike, a number or one for each unit. Not learned.
        surrogate: Surrogate of the derivative of a spike, as
            `keras_spiking_rnn.surrogates.get` takes it.
        use_bias: Whether the input current has a bias.
        use_membrane_bias: Whether the membrane potential has a bias.
        learn_leak: Whether the leak is learned.
        kernel_initializer: Initializer of `kernel`, the input weights.
        bias_initializer: Initializer of `bias`.
        leak_initializer: Initializer of `leak`, or a number.
        membrane_bias_initializer: Initializer of `membrane_bias`.
        kernel_regularizer: Regularizer of `kernel`.
        bias_regularizer: Regularizer of `bias`.
        leak_regularizer: Regularizer of `leak`.
        membrane_bias_regularizer: Regularizer of `membrane_bias`.
        activity_regularizer: Regularizer of the outputs, and with `return_state` of the returned
            states too. Keras 3.12 does not divide it by the batch size, newer versions do.
        kernel_constraint: Constraint of `kernel`.
        bias_constraint: Constraint of `bias`.
        leak_constraint: Constraint of `leak`. The default, `"leak_range"`, is `LeakRange()`.
        membrane_bias_constraint: Constraint of `membrane_bias`.
        noise_stddev: Standard deviation of the noise that is added to the membrane potential at
            each step, in training only.
        dropout: Fraction of the inputs to drop in training, at least 0 and below 1.
        seed: Seed of noise and dropout.
        return_sequences: Whether to return the spikes of all steps or of the last one.
        return_state: Whether to return the last membrane potential as well.
        go_backwards: Whether to process the sequence backwards and return it reversed.
        stateful: Whether a batch continues with the membrane potentials that the previous batch
            ended with.
        unroll: Whether to unroll the loop: faster for short sequences, needs more memory.
        zero_output_for_mask: Whether the output is 0 at masked steps.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        sequences: Tensor of shape `(batch, steps, in)`.
        initial_state: List of one tensor of shape `(batch, units)`, the membrane potential to
            begin with; by default 0.
        mask: Boolean tensor of shape `(batch, steps)`; `False` leaves a step out.
        training: Whether to apply noise and dropout.

    Returns:
        Spikes, 0 or 1, of shape `(batch, steps, units)` with `return_sequences` and otherwise
        `(batch, units)`. With `return_state` a tuple `(spikes, membrane)`, where `membrane` has
        shape `(batch, units)`.

    Raises:
        ValueError: If an argument is out of range.

    Reference:
        *A spiking sequential model: Recurrent Leaky Integrate-and-Fire* (2020), section 3.1.

    Example:
    ```python
    layer = RLIF(8, return_sequences=True)
    spikes = layer(keras.random.uniform((2, 10, 4)))  # (2, 10, 8), 0 or 1
    ```
    """

    cell_class = RLIFCell

    def __init__(
        self,
        units,
        threshold=0.5,
        reset=0.0,
        surrogate="rectangular",
        use_bias=True,
        use_membrane_bias=True,
        learn_leak=True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        leak_initializer=0.3,
        membrane_bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        leak_regularizer=None,
        membrane_bias_regularizer=None,
        activity_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        leak_constraint="leak_range",
        membrane_bias_constraint=None,
        noise_stddev=0.0,
        dropout=0.0,
        seed=None,
        return_sequences=False,
        return_state=False,
        go_backwards=False,
        stateful=False,
        unroll=False,
        zero_output_for_mask=True,
        **kwargs,
    ):
        super().__init__(**arguments(locals()))
