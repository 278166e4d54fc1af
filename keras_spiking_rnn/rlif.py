"""Recurrent Leaky Integrate-and-Fire (RLIF) neurons: the step, the cells and the layers.

Reference:
    *A spiking sequential model: Recurrent Leaky Integrate-and-Fire* (2020), section 3.1.
"""

import numbers
import operator

import keras
from keras import activations, ops

from keras_spiking_rnn import checks, fused, surrogates
from keras_spiking_rnn.base import SpikingCell, SpikingRNN, arguments

OUTPUT_MODES = ("spike", "analog")
ANALOG_SOURCES = ("integrated", "above_threshold", "reset", "leaked")


def after_reset(F, V, V_reset):  # noqa: N803
    """The membrane potential of equation (6): `V_reset` where `F` is 1, and `V` where it is 0."""
    return F * V_reset + (1 - F) * V


def fire_step(
    V,  # noqa: N803
    alpha,
    b_mem,
    V_thres,  # noqa: N803
    V_reset,  # noqa: N803
    surrogate,
    beta=0.0,
    times=operator.mul,
):
    """What follows the membrane potential of a step: equations (5) to (10), in their symbols.

    Args:
        V: Membrane potential of the step, `(batch, units)`.
        alpha: See `rlif_step`, as of all that follows.
        b_mem: Bias of the membrane potential.
        V_thres: Firing threshold.
        V_reset: Membrane potential after a spike.
        surrogate: The spike function.
        beta: Noise.
        times: The product of `alpha` and a membrane potential.

    Returns:
        A tuple `(Y, u)` of tensors of shape `(batch, units)`: the spikes and the membrane potential
        to carry to the next step.
    """
    F = surrogate(V - V_thres)  # (5)
    u_d = after_reset(F, V, V_reset)  # (6)
    Y = F  # (8)
    M = times(alpha, u_d) + b_mem  # (10)
    u = M + beta  # (7)
    return Y, u


def rlif_step(
    U,  # noqa: N803
    u,
    alpha,
    b_mem,
    V_thres,  # noqa: N803
    V_reset,  # noqa: N803
    surrogate,
    beta=0.0,
    times=operator.mul,
):
    """One time step of RLIF: equations (4) to (10) of the paper, in its symbols.

    `units` is the number of neurons. A vector of `units` values may also be one number for all of
    them. In the Conv pattern tensors are `(batch, height, width, units)` instead of
    `(batch, units)`.

    Args:
        U: Input current of equation (9), `(batch, units)`.
        u: Membrane potential left over from the previous step, `(batch, units)`.
        alpha: Leak: the part of the membrane potential that is kept, `(units,)`.
        b_mem: Bias of the membrane potential, `(units,)`.
        V_thres: Firing threshold, `(units,)`.
        V_reset: Membrane potential after a spike, `(units,)`.
        surrogate: The spike function, see `keras_spiking_rnn.surrogates`.
        beta: Noise, `(batch, units)`.
        times: The product of `alpha` and a membrane potential: element by element, or a
            convolution.

    Returns:
        A tuple `(Y, u, V)` of tensors of shape `(batch, units)`: the spikes, the membrane
        potential to carry to the next step, and the membrane potential before the reset.
    """
    V = U + u  # (4)
    Y, u = fire_step(V, alpha, b_mem, V_thres, V_reset, surrogate, beta, times)  # (5) to (10)
    return Y, u, V


class FiringCell(SpikingCell):
    """Base of the cells whose membrane potential fires, is reset and leaks: (5) to (10).

    A subclass calls `configure_firing` and `configure_output` in its constructor and
    `build_membrane` in `build`. Its `step` gives `fire_step` the arguments that `firing` returns,
    and returns what `respond` makes of the result.
    """

    def configure_firing(self, threshold, reset, surrogate, noise_stddev):
        """Sets what equations (5), (6) and (7) need."""
        self.threshold = self.fixed_values("threshold", threshold)
        self.reset = self.fixed_values("reset", reset)
        self._check_reset_below_threshold()
        self.surrogate = surrogates.get(surrogate)
        self.noise_stddev = self.number("noise_stddev", noise_stddev, low=0)

    def _check_reset_below_threshold(self):
        pairs = zip(self.of_each_unit(self.reset), self.of_each_unit(self.threshold), strict=True)
        for unit, (reset, threshold) in enumerate(pairs):
            if reset >= threshold:
                raise ValueError(
                    f"{self.title}: `reset` must be smaller than `threshold`, otherwise a "
                    f"{self.unit} that has fired once fires at every step. Received: "
                    f"reset={reset}, threshold={threshold} ({self.unit} {unit})."
                )

    def of_each_unit(self, value):
        """A fixed parameter as a tuple of `units` floats."""
        return value if isinstance(value, tuple) else (value,) * self.units

    def configure_output(self, output_mode, analog_source, analog_activation):
        """Sets what the outputs are: the spikes, or an activation of the membrane potential."""
        self.output_mode = self.one_of("output_mode", output_mode, OUTPUT_MODES)
        self.analog_source = self.one_of("analog_source", analog_source, ANALOG_SOURCES)
        self.analog_activation = activations.get(analog_activation)
        self.emits_spikes = output_mode == "spike"

    def build_membrane(self):
        """Creates the weights of equation (10)."""
        self.build_leak()
        self.membrane_bias = (
            self.named_weight("membrane_bias", (self.units,)) if self.use_membrane_bias else None
        )

    def build_leak(self):
        """Creates the leak of equation (10)."""
        self.leak = self.named_weight("leak", (self.units,), trainable=self.learn_leak)

    def parameters(self):
        """The weights of equation (10): see `SpikingCell.parameters`."""
        return self.values("leak", "membrane_bias")

    def advance(self, net, states, parameters, training=False):
        """Computes one time step; `inside` has the membrane before reset and the state."""
        (membrane,) = states
        spikes, state, potential = rlif_step(
            U=net,  # (9)
            u=membrane,
            **self.firing(parameters, membrane, training),
        )
        output, inside = self.respond(spikes, state, potential)
        return output, [state], inside

    # The membrane potential before the reset is all that the gradients need.
    keeps = ("membrane",)
    needs_net = False

    def retreat(self, kept, parameters, d_output, d_states):
        """The gradients of one time step: see `SpikingCell.retreat`."""
        (d_state,) = d_states
        d_potential, d_parameters = self.retreat_firing(
            kept["membrane"], parameters, d_output, d_state
        )
        return d_potential, [d_potential], d_parameters

    def retreat_firing(self, V, parameters, d_output, d_u):  # noqa: N803
        """The gradients of `fire_step` and `respond`.

        Args:
            V: Membrane potential of the step before the reset.
            parameters: What `parameters()` returns.
            d_output: Gradient of the output.
            d_u: Gradient of the membrane potential that is carried to the next step.

        Returns:
            A tuple of the gradient of `V` and a dictionary of those of the parameters.
        """
        theta, V_reset = self.value(self.threshold), self.value(self.reset)  # noqa: N806
        alpha, b_mem = parameters["leak"], parameters.get("membrane_bias", 0.0)
        F = ops.cast(V >= theta, V.dtype)  # (5)
        u_d = after_reset(F, V, V_reset)  # (6)
        spikes = self.output_mode == "spike"
        source = None if spikes else self.analog_source
        if source == "leaked":
            d_u = d_u + self._d_analog(alpha * u_d + b_mem, d_output)  # (7), (10)
        d_u_d = alpha * d_u
        if source == "reset":
            d_u_d = d_u_d + self._d_analog(u_d, d_output)
        d_F = (d_output if spikes else 0.0) + d_u_d * (V_reset - V)
        d_V = d_u_d * (1 - F) + d_F * self.surrogate.derivative(V - theta)
        if source in ("integrated", "above_threshold"):
            d_V = d_V + self._d_analog(V - (theta if source != "integrated" else 0.0), d_output)
        d_parameters = {"leak": d_u * u_d, "membrane_bias": d_u}
        batch = tuple(range(ops.ndim(V) - 1))  # with the positions of images
        return d_V, {name: ops.sum(d_parameters[name], axis=batch) for name in parameters}

    def _d_analog(self, source, d_output):
        return fused.slope(self.analog_activation, source, d_output)[1]

    def firing(self, parameters, membrane, training):
        """The arguments of `fire_step` other than the membrane potential."""
        return {
            "alpha": parameters.get("leak"),
            "b_mem": parameters.get("membrane_bias", 0.0),
            "V_thres": self.value(self.threshold),
            "V_reset": self.value(self.reset),
            "surrogate": self.surrogate,
            "beta": self.noise(membrane, self.noise_stddev, training),
        }

    def respond(self, Y, u, V):  # noqa: N803
        """The output of a step, and what `keras_spiking_rnn.metrics.trace` shows of its inside."""
        inside = {"membrane": V, "state": u}
        if self.output_mode == "spike":
            return Y, inside
        if self.analog_source == "integrated":
            source = V
        elif self.analog_source == "above_threshold":
            source = V - self.value(self.threshold)
        elif self.analog_source == "reset":
            source = after_reset(Y, V, self.value(self.reset))
        else:
            source = u
        output = self.analog_activation(source)
        return output, {"spikes": Y, "analog": output, **inside}


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class RLIFCell(FiringCell):
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
        output_mode: `"spike"`, the paper's, or `"analog"`: the output is an activation of the
            membrane potential. The spikes are those of (5) in both modes, and reset the membrane.
        analog_source: The membrane potential of analog outputs: `"integrated"`, $V^t$ of (4);
            `"above_threshold"`, $V^t - V_{thres}$; `"reset"`, $u_d^t$ of (6); or `"leaked"`,
            $u^t$ of (7).
        analog_activation: Activation of analog outputs, as `keras.activations.get` takes it.
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
        A tuple `(output, [membrane])` of tensors of shape `(batch, units)`. The output is the
        spikes, 0 or 1, or in analog mode an activation of the membrane potential.

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
        output_mode="spike",
        analog_source="integrated",
        analog_activation="relu",
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
        self.configure_firing(threshold, reset, surrogate, noise_stddev)
        self.configure_output(output_mode, analog_source, analog_activation)
        self.use_bias = bool(use_bias)
        self.use_membrane_bias = bool(use_membrane_bias)
        self.learn_leak = bool(learn_leak)

        self.configure_weight("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        self.configure_weight("bias", bias_initializer, bias_regularizer, bias_constraint)
        self.configure_decay("leak", leak_initializer, leak_regularizer, leak_constraint)
        self.configure_weight(
            "membrane_bias",
            membrane_bias_initializer,
            membrane_bias_regularizer,
            membrane_bias_constraint,
        )

    def build(self, input_shape):
        """Creates the weights for inputs of shape `(batch, in)`."""
        inputs = self.input_size(input_shape)
        self.kernel = self.named_weight("kernel", (inputs, self.units))
        self.bias = self.named_weight("bias", (self.units,)) if self.use_bias else None
        self.build_membrane()
        self.built = True


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
        output_mode: `"spike"`, or `"analog"` for an activation of the membrane potential.
        analog_source: The membrane potential of analog outputs: `"integrated"`, before the reset;
            `"above_threshold"`, the same minus the threshold; `"reset"`, after the reset; or
            `"leaked"`, after the leak.
        analog_activation: Activation of analog outputs, as `keras.activations.get` takes it.
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
        return_sequences: Whether to return the outputs of all steps or of the last one.
        return_state: Whether to return the last membrane potential as well.
        go_backwards: Whether to process the sequence backwards and return it reversed.
        stateful: Whether a batch continues with the membrane potentials that the previous batch
            ended with.
        unroll: Whether to unroll the loop: faster for short sequences, needs more memory.
        zero_output_for_mask: Whether the output is 0 at masked steps.
        checkpoint_every: Number of steps, or `None`. In training only the states of every so many
            steps are kept for the gradient, and the steps between are computed once more. The
            memory then grows with the square root of the number of steps, if this is near it and
            the layer does not return sequences. It has no effect on the numbers, and none at all
            where the loop is that of Keras.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        sequences: Tensor of shape `(batch, steps, in)`.
        initial_state: List of one tensor of shape `(batch, units)`, the membrane potential to
            begin with; by default 0.
        mask: Boolean tensor of shape `(batch, steps)`; `False` leaves a step out.
        training: Whether to apply noise and dropout.

    Returns:
        Spikes, 0 or 1, or in analog mode activations of the membrane potential, of shape
        `(batch, steps, units)` with `return_sequences` and otherwise `(batch, units)`. With
        `return_state` a tuple `(outputs, membrane)`, where `membrane` has shape `(batch, units)`.

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
        output_mode="spike",
        analog_source="integrated",
        analog_activation="relu",
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
        checkpoint_every=None,
        **kwargs,
    ):
        super().__init__(**arguments(locals()))


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class ConvRLIF2DCell(FiringCell):
    r"""One time step of a convolutional layer of Recurrent Leaky Integrate-and-Fire neurons.

    The Conv pattern of the paper: an RLIF neuron at each position of each feature map. With the
    image $X^t$ and the membrane potentials $u^{t-1}$ of the previous step,

    $$
    \begin{aligned}
    U^t &= W_{volt} \circledast X^t + b_{volt} & (9)\\
    V^t &= U^t + u^{t-1} & (4)\\
    F^t &= [V^t \ge V_{thres}] & (5)\\
    u_d^t &= F^t V_{reset} + (1 - F^t)\,V^t & (6)\\
    Y^t &= F^t & (8)\\
    M^t &= \alpha \odot u_d^t + b_{mem} & (10)\\
    u^t &= M^t + \beta & (7)
    \end{aligned}
    $$

    $\circledast$ is the convolution of `keras.layers.Conv2D`. Leak, biases, threshold and reset are
    one number for each filter, the same at all positions. The paper calls $\alpha$ "the leakage",
    but its operator in (10) may also be a convolution. With a `membrane_kernel_size`, (10) is

    $$M^t = \alpha \circledast u_d^t + b_{mem}$$

    and $\alpha$ is the weight `membrane_kernel` of shape `(height, width, filters, filters)`. This
    convolution keeps the size of the images, and potentials spread to their neighbours and to other
    filters. The kernel begins as the leak of the other reading, unless it has an initializer.

    $Y^t$, the spikes, is the output and $u^t$ the only state; $u^0 = 0$. `RLIFCell` has more on the
    defaults, on gradients and on noise. Under a half precision policy only the convolution of (9)
    is computed in half precision.

    Args:
        filters: Positive integer, number of feature maps.
        kernel_size: Height and width of the convolution window, an integer or two.
        strides: Strides along height and width, an integer or two.
        padding: `"valid"` for no padding, `"same"` for zeros around the image, such that the output
            has its size divided by the strides.
        data_format: `"channels_last"` or `"channels_first"`; by default that of Keras' settings.
            Inputs, outputs and states have it.
        dilation_rate: Dilation of the window along height and width, an integer or two. Not
            together with strides.
        membrane_kernel_size: Height and width of `membrane_kernel`, an integer or two, or `None`
            for a leak at each position.
        threshold: $V_{thres}$, a number or one for each filter. Fixed, not learned.
        reset: $V_{reset}$, a number or one for each filter; smaller than the threshold. Fixed.
        surrogate: Surrogate of the derivative of (5), as `keras_spiking_rnn.surrogates.get` takes
            it. The default has height 1 within 0.5 of the threshold: equation (12).
        output_mode: `"spike"`, the paper's, or `"analog"`: the output is an activation of the
            membrane potential. The spikes are those of (5) in both modes, and reset the membrane.
        analog_source: The membrane potential of analog outputs: `"integrated"`, $V^t$ of (4);
            `"above_threshold"`, $V^t - V_{thres}$; `"reset"`, $u_d^t$ of (6); or `"leaked"`,
            $u^t$ of (7).
        analog_activation: Activation of analog outputs, as `keras.activations.get` takes it.
        use_bias: Whether there is a $b_{volt}$.
        use_membrane_bias: Whether there is a $b_{mem}$.
        learn_leak: Whether the leak $\alpha$ is learned, or the membrane kernel.
        kernel_initializer: Initializer of `kernel`, $W_{volt}$.
        bias_initializer: Initializer of `bias`, $b_{volt}$.
        leak_initializer: Initializer of `leak`, $\alpha$, or a number: 1 keeps all of the
            membrane potential from step to step.
        membrane_kernel_initializer: Initializer of `membrane_kernel`, or `None` for the one with
            which each membrane potential begins to leak by itself: in the middle of the window
            the values of `leak_initializer` from each filter to itself, and 0 elsewhere.
        membrane_bias_initializer: Initializer of `membrane_bias`, $b_{mem}$.
        kernel_regularizer: Regularizer of `kernel`.
        bias_regularizer: Regularizer of `bias`.
        leak_regularizer: Regularizer of `leak`.
        membrane_kernel_regularizer: Regularizer of `membrane_kernel`.
        membrane_bias_regularizer: Regularizer of `membrane_bias`.
        kernel_constraint: Constraint of `kernel`.
        bias_constraint: Constraint of `bias`.
        leak_constraint: Constraint of `leak`. The default, `"leak_range"`, is `LeakRange()`. The
            membrane kernel has none of it.
        membrane_kernel_constraint: Constraint of `membrane_kernel`.
        membrane_bias_constraint: Constraint of `membrane_bias`.
        noise_stddev: Standard deviation of the noise $\beta$, drawn from a normal distribution for
            each neuron at each step, in training only.
        dropout: Fraction of the inputs to drop in training, at least 0 and below 1. The same
            inputs are dropped in all steps of a sequence.
        seed: Seed of noise and dropout.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    The weights are `kernel` of shape `(height, width, channels, filters)`, `bias`, `leak` and
    `membrane_bias` of shape `(filters,)`.

    Call arguments:
        inputs: Tensor of shape `(batch, height, width, channels)`, or with `channels_first`
            `(batch, channels, height, width)`. All but the batch size must be known.
        states: List of one tensor of the shape of the output, the membrane potential $u^{t-1}$.
        training: Whether to apply noise and dropout.

    Returns:
        A tuple `(output, [membrane])` of tensors of shape
        `(batch, new_height, new_width, filters)`, or with `channels_first`
        `(batch, filters, new_height, new_width)`. The output is the spikes, 0 or 1, or in analog
        mode an activation of the membrane potential.

    Raises:
        ValueError: If an argument is out of range, or the size of the images is not known or
            smaller than the window.

    Reference:
        *A spiking sequential model: Recurrent Leaky Integrate-and-Fire* (2020), section 3.1,
        equations (4) to (10), and section 3.2, equation (12).
    """

    unit = "filter"
    input_ndim = 4

    def __init__(
        self,
        filters,
        kernel_size,
        strides=1,
        padding="valid",
        data_format=None,
        dilation_rate=1,
        membrane_kernel_size=None,
        threshold=0.5,
        reset=0.0,
        surrogate="rectangular",
        output_mode="spike",
        analog_source="integrated",
        analog_activation="relu",
        use_bias=True,
        use_membrane_bias=True,
        learn_leak=True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        leak_initializer=0.3,
        membrane_kernel_initializer=None,
        membrane_bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        leak_regularizer=None,
        membrane_kernel_regularizer=None,
        membrane_bias_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        leak_constraint="leak_range",
        membrane_kernel_constraint=None,
        membrane_bias_constraint=None,
        noise_stddev=0.0,
        dropout=0.0,
        seed=None,
        **kwargs,
    ):
        super().__init__(filters, dropout=dropout, seed=seed, **kwargs)
        self.filters = self.units
        self.kernel_size = self._pair("kernel_size", kernel_size)
        self.strides = self._pair("strides", strides)
        self.dilation_rate = self._pair("dilation_rate", dilation_rate)
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                f"{self.title}: TensorFlow has no convolution with both strides and dilation. "
                f"Received: strides={strides}, dilation_rate={dilation_rate}. Leave one of them "
                "at 1."
            )
        self.padding = self.one_of("padding", str(padding).lower(), ("valid", "same"))
        self.data_format = self.one_of(
            "data_format",
            data_format or keras.config.image_data_format(),
            ("channels_last", "channels_first"),
        )
        self.membrane_kernel_size = (
            None
            if membrane_kernel_size is None
            else self._pair("membrane_kernel_size", membrane_kernel_size)
        )
        self.configure_firing(threshold, reset, surrogate, noise_stddev)
        self.configure_output(output_mode, analog_source, analog_activation)
        self.use_bias = bool(use_bias)
        self.use_membrane_bias = bool(use_membrane_bias)
        self.learn_leak = bool(learn_leak)

        self.configure_weight("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        self.configure_weight("bias", bias_initializer, bias_regularizer, bias_constraint)
        self.configure_decay("leak", leak_initializer, leak_regularizer, leak_constraint)
        self.configure_weight(
            "membrane_kernel",
            membrane_kernel_initializer,
            membrane_kernel_regularizer,
            membrane_kernel_constraint,
        )
        self.configure_weight(
            "membrane_bias",
            membrane_bias_initializer,
            membrane_bias_regularizer,
            membrane_bias_constraint,
        )
        self._check_what_leaks()

        self.state_size = [self._in_layout(None, None)]
        self.output_size = self._in_layout(None, None)

    def _pair(self, name, value):
        pair = (value, value) if isinstance(value, numbers.Integral) else value
        if not (
            isinstance(pair, (list, tuple))
            and len(pair) == 2
            and all(checks.is_integer(size, low=1) for size in pair)
        ):
            raise ValueError(
                f"{self.title}: `{name}` must be a positive integer or two of them, for height and "
                f"width. Received: {name}={value!r}"
            )
        return tuple(int(size) for size in pair)

    def _check_what_leaks(self):
        there, missing = "leak", "membrane_kernel"
        if self.membrane_kernel_size is not None:
            there, missing = missing, there
        # A leak always has an initializer, which the membrane kernel uses as well, and usually a
        # constraint.
        roles = (
            ("regularizer",) if missing == "leak" else ("initializer", "regularizer", "constraint")
        )
        for role in roles:
            if getattr(self, f"{missing}_{role}") is not None:
                raise ValueError(
                    f"{self.title}: `{missing}_{role}` has no effect, because with "
                    f"membrane_kernel_size={self.membrane_kernel_size} what leaks has the weight "
                    f"`{there}`. Pass `{there}_{role}` instead, or another membrane_kernel_size."
                )

    def _in_layout(self, height, width):
        """The shape of one image of the outputs."""
        if self.data_format == "channels_first":
            return (self.filters, height, width)
        return (height, width, self.filters)

    def _image_size(self, input_shape):
        """Height, width and channels of one step's inputs."""
        # `StackedRNNCells` passes on the shape of an image as one size: (batch, (H, W, C)).
        shape = tuple(keras.tree.flatten(input_shape))
        if len(shape) != 4 or None in shape[1:]:
            sizes = "channels, height, width"
            if self.data_format == "channels_last":
                sizes = "height, width, channels"
            raise ValueError(
                f"{self.title}: the inputs of one step must have shape (batch, {sizes}) with all "
                "sizes known but the batch, because each position has a membrane potential that "
                f"is kept from step to step. Received the shape {shape}. Give the sizes in "
                f"keras.Input((None, {sizes}))."
            )
        if self.data_format == "channels_first":
            return *shape[2:], shape[1]
        return shape[1:]

    def compute_output_shape(self, input_shape, states_shape=None):
        """Returns the shapes of the output and of the list of states."""
        sizes = []
        *image, _ = self._image_size(input_shape)
        for size, kernel, stride, dilation in zip(
            image, self.kernel_size, self.strides, self.dilation_rate, strict=True
        ):
            if self.padding == "valid":
                size -= dilation * (kernel - 1)
            sizes.append(-(-size // stride))
        if min(sizes) < 1:
            raise ValueError(
                f"{self.title}: the convolution window does not fit into the images, which have "
                f"height {image[0]} and width {image[1]}. Received: kernel_size="
                f"{self.kernel_size}, dilation_rate={self.dilation_rate}. Take a smaller window "
                "or padding='same'."
            )
        shape = (input_shape[0], *self._in_layout(*sizes))
        return shape, [shape]

    def build(self, input_shape):
        """Creates the weights for inputs of shape `(batch, height, width, channels)`."""
        self.image_size = self._image_size(input_shape)
        shape, _ = self.compute_output_shape(input_shape)
        self.output_size = shape[1:]
        self.state_size = [self.output_size]
        self.kernel = self.named_weight(
            "kernel", (*self.kernel_size, self.image_size[2], self.filters)
        )
        self.bias = self.named_weight("bias", (self.filters,)) if self.use_bias else None
        self.build_membrane()
        self.built = True

    def build_leak(self):
        """Creates the leak of equation (10), or the membrane kernel."""
        self.leak = self.membrane_kernel = None
        if self.membrane_kernel_size is None:
            super().build_leak()
            return
        self.membrane_kernel = self.named_weight(
            "membrane_kernel",
            (*self.membrane_kernel_size, self.filters, self.filters),
            trainable=self.learn_leak,
            initializer=self.membrane_kernel_initializer or self._kernel_of_leak,
        )

    def _kernel_of_leak(self, shape, dtype=None):
        height, width, filters, _ = shape
        leak = ops.diag(self.leak_initializer((filters,), dtype=dtype))
        # The tap that "same" padding aligns with each position, for windows of an even size too.
        above, left = (height - 1) // 2, (width - 1) // 2
        around = ((above, height - 1 - above), (left, width - 1 - left), (0, 0), (0, 0))
        return ops.pad(leak[None, None], around)

    def get_initial_state(self, batch_size=None):
        """Returns zeros for `batch_size` sequences."""
        if not self.built:
            raise ValueError(
                f"{self.title} is not built yet: the size of its state is not known before that of "
                "the images. Call build(input_shape) first."
            )
        return super().get_initial_state(batch_size)

    def value(self, parameter):
        """A weight or a number in the dtype of the states, in the layout of the images."""
        value = super().value(parameter)
        if self.data_format == "channels_first" and ops.ndim(value) == 1:
            value = ops.reshape(value, (-1, 1, 1))
        return value

    @property
    def compiles(self):
        """Whether `retreat` knows the step: filters are the last axis, positions on their own."""
        return self.data_format == "channels_last" and self.membrane_kernel_size is None

    def parameters(self):
        """The weights of equation (10): see `SpikingCell.parameters`."""
        return self.values("leak", "membrane_kernel", "membrane_bias")

    def firing(self, parameters, membrane, training):
        """The arguments of `fire_step` other than the membrane potential."""
        arguments = super().firing(parameters, membrane, training)
        if self.membrane_kernel_size is not None:
            arguments["alpha"] = parameters["membrane_kernel"]
            arguments["times"] = self._convolved_membrane
        return arguments

    def _convolved_inputs(self, inputs, kernel):
        return self._convolved(inputs, kernel, self.strides, self.padding, self.dilation_rate)

    def _convolved_membrane(self, kernel, membrane):
        return self._convolved(membrane, kernel, 1, "same", 1)

    def _convolved(self, images, kernel, strides, padding, dilation_rate):
        # TensorFlow convolves channels_first only where it has oneDNN or a GPU.
        to_last, to_first = (0, 2, 3, 1), (0, 3, 1, 2)
        channels_first = self.data_format == "channels_first"
        convolved = ops.conv(
            ops.transpose(images, to_last) if channels_first else images,
            kernel,
            strides=strides,
            padding=padding,
            data_format="channels_last",
            dilation_rate=dilation_rate,
        )
        return ops.transpose(convolved, to_first) if channels_first else convolved

    def products(self, inputs, states):
        """What a step multiplies with weights: inputs, and potentials with `membrane_kernel`."""
        products = super().products(inputs, states)
        if self.membrane_kernel is None:
            return products
        output, _, inside = self.step(inputs, states)
        fired = inside.get("spikes", output)
        u_d = after_reset(fired, inside["membrane"], self.value(self.reset))
        return [*products, (u_d, self.membrane_kernel)]

    def projected(self, inputs):
        """The convolution of the inputs of one step."""
        return self.product(inputs, self.kernel, self._convolved_inputs)


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class ConvRLIF2D(SpikingRNN):
    """Convolutional layer of Recurrent Leaky Integrate-and-Fire neurons, for sequences of images.

    `ConvRLIF2DCell` has the equations. It is to `RLIF` what `keras.layers.ConvLSTM2D` is to
    `keras.layers.LSTM`, and differs from Keras' own recurrent layers as `RLIF` does: at a masked
    step the output is 0, and under a half precision policy the membrane potential is computed and
    carried in `float32`.

    Args:
        filters: Positive integer, number of feature maps.
        kernel_size: Height and width of the convolution window, an integer or two.
        strides: Strides along height and width, an integer or two.
        padding: `"valid"` for no padding, `"same"` for zeros around the image, such that the output
            has its size divided by the strides.
        data_format: `"channels_last"` or `"channels_first"`; by default that of Keras' settings.
        dilation_rate: Dilation of the window along height and width, an integer or two. Not
            together with strides.
        membrane_kernel_size: `None` for a leak at each position; an integer or two, for height and
            width, make the leak a convolution of the membrane potential.
        threshold: Firing threshold, a number or one for each filter. Not learned.
        reset: Membrane potential after a spike, a number or one for each filter. Not learned.
        surrogate: Surrogate of the derivative of a spike, as
            `keras_spiking_rnn.surrogates.get` takes it.
        output_mode: `"spike"`, or `"analog"` for an activation of the membrane potential.
        analog_source: The membrane potential of analog outputs: `"integrated"`, before the reset;
            `"above_threshold"`, the same minus the threshold; `"reset"`, after the reset; or
            `"leaked"`, after the leak.
        analog_activation: Activation of analog outputs, as `keras.activations.get` takes it.
        use_bias: Whether the input current has a bias.
        use_membrane_bias: Whether the membrane potential has a bias.
        learn_leak: Whether the leak is learned, or the membrane kernel.
        kernel_initializer: Initializer of `kernel`, the input weights.
        bias_initializer: Initializer of `bias`.
        leak_initializer: Initializer of `leak`, or a number.
        membrane_kernel_initializer: Initializer of `membrane_kernel`; `None` to begin as the leak
            of `leak_initializer`.
        membrane_bias_initializer: Initializer of `membrane_bias`.
        kernel_regularizer: Regularizer of `kernel`.
        bias_regularizer: Regularizer of `bias`.
        leak_regularizer: Regularizer of `leak`.
        membrane_kernel_regularizer: Regularizer of `membrane_kernel`.
        membrane_bias_regularizer: Regularizer of `membrane_bias`.
        activity_regularizer: Regularizer of the outputs, and with `return_state` of the returned
            states too. Keras 3.12 does not divide it by the batch size, newer versions do.
        kernel_constraint: Constraint of `kernel`.
        bias_constraint: Constraint of `bias`.
        leak_constraint: Constraint of `leak`. The default, `"leak_range"`, is `LeakRange()`.
        membrane_kernel_constraint: Constraint of `membrane_kernel`.
        membrane_bias_constraint: Constraint of `membrane_bias`.
        noise_stddev: Standard deviation of the noise that is added to the membrane potential at
            each step, in training only.
        dropout: Fraction of the inputs to drop in training, at least 0 and below 1.
        seed: Seed of noise and dropout.
        return_sequences: Whether to return the outputs of all steps or of the last one.
        return_state: Whether to return the last membrane potential as well.
        go_backwards: Whether to process the sequence backwards and return it reversed.
        stateful: Whether a batch continues with the membrane potentials that the previous batch
            ended with.
        unroll: Whether to unroll the loop: faster for short sequences, needs more memory.
        zero_output_for_mask: Whether the output is 0 at masked steps.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        sequences: Tensor of shape `(batch, steps, height, width, channels)`, or with
            `channels_first` `(batch, steps, channels, height, width)`. The size of the images must
            be known.
        initial_state: List of one tensor of the shape of one step's output, the membrane potential
            to begin with; by default 0.
        mask: Boolean tensor of shape `(batch, steps)`; `False` leaves a step out.
        training: Whether to apply noise and dropout.

    Returns:
        Spikes, 0 or 1, or in analog mode activations of the membrane potential, of shape
        `(batch, steps, new_height, new_width, filters)` with `return_sequences` and otherwise
        `(batch, new_height, new_width, filters)`; with `channels_first` the filters come before
        the height. With `return_state` a tuple `(outputs, membrane)`, where `membrane` has the
        shape of one step's output.

    Raises:
        ValueError: If an argument is out of range, the size of the images is not known or smaller
            than the window, or a mask has another shape.

    Reference:
        *A spiking sequential model: Recurrent Leaky Integrate-and-Fire* (2020), section 3.1.

    Example:
    ```python
    layer = ConvRLIF2D(8, 3, strides=2, return_sequences=True)
    spikes = layer(keras.random.uniform((2, 10, 28, 28, 1)))  # (2, 10, 13, 13, 8), 0 or 1
    ```
    """

    cell_class = ConvRLIF2DCell

    def projected(self, sequences, mask, training):
        """The convolutions of the inputs of all steps."""
        sequences = self.dropped(sequences, training)
        batch, steps, *image = ops.shape(sequences)
        convolved = self.cell.projected(ops.reshape(sequences, (-1, *image)))
        return ops.reshape(convolved, (batch, steps, *ops.shape(convolved)[1:]))

    def __init__(
        self,
        filters,
        kernel_size,
        strides=1,
        padding="valid",
        data_format=None,
        dilation_rate=1,
        membrane_kernel_size=None,
        threshold=0.5,
        reset=0.0,
        surrogate="rectangular",
        output_mode="spike",
        analog_source="integrated",
        analog_activation="relu",
        use_bias=True,
        use_membrane_bias=True,
        learn_leak=True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        leak_initializer=0.3,
        membrane_kernel_initializer=None,
        membrane_bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        leak_regularizer=None,
        membrane_kernel_regularizer=None,
        membrane_bias_regularizer=None,
        activity_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        leak_constraint="leak_range",
        membrane_kernel_constraint=None,
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

    def call(self, sequences, initial_state=None, mask=None, training=False):
        """Runs the cell over the sequences: see the class."""
        for of_input in keras.tree.flatten(mask):
            if of_input is not None and len(of_input.shape) != 2:
                raise ValueError(
                    f"ConvRLIF2D '{self.name}': the mask must have shape (batch, steps). Received "
                    f"the shape {tuple(of_input.shape)}. keras.layers.Masking makes one for each "
                    "position of an image: pass a mask of steps as layer(sequences, mask=mask)."
                )
        return super().call(sequences, initial_state=initial_state, mask=mask, training=training)

    def compute_output_shape(self, sequences_shape, initial_state_shape=None):
        """Returns the shape of the outputs, and with `return_state` that of the state."""
        batch, steps, *image = sequences_shape
        shape, states = self.cell.compute_output_shape((batch, *image))
        outputs = (batch, steps, *shape[1:]) if self.return_sequences else shape
        return (outputs, *states) if self.return_state else outputs
