r"""Spiking Recurrent Cell (SRC): the step, the cell and the layer.

Reference:
    *Spike-based computation using classical recurrent neural networks* (2023), section 3.
"""

import numbers

import keras
from keras import constraints, initializers, ops, regularizers

from keras_spiking_rnn import checks
from keras_spiking_rnn.base import SpikingCell, SpikingRNN, arguments


def src_step(
    W_s_s_in,  # noqa: N803
    i,
    h,
    h_s,
    b_h,
    alpha=0.9,
    rho=3.0,
    r=2.0,
    r_s=-7.0,
    z=0.0,
    z_hyp=0.9,
    z_dep=0.0,
    bypass_relu=True,
    detach_h=True,
    detach_h_s=True,
    lagging_gate=False,
):
    """One time step of SRC: equations (5a) to (5f) of the paper, in its symbols.

    (5c) and (5d) are exchanged, because (5c) is a function of the result of (5d).

    Args:
        W_s_s_in: Weighted input pulses, `(batch, units)`.
        i: Integrator of the previous step, `(batch, units)`.
        h: Hidden state of the previous step, `(batch, units)`.
        h_s: Slow hidden state of the previous step, `(batch, units)`.
        b_h: Bias, `(units,)`.
        alpha: Leakage factor of the integrator.
        rho: Largest input of the spike generation.
        r: Strength of the fast feedback, a number or `(batch, units)`.
        r_s: Strength of the slow feedback, a number or `(batch, units)`.
        z: Part of the hidden state that is kept.
        z_hyp: Part of the slow hidden state that is kept where `h` is not above 0.5.
        z_dep: The same where `h` is above 0.5.
        bypass_relu: Whether the gradient of (5f) is 1 everywhere.
        detach_h: Whether no gradient goes back to `h`.
        detach_h_s: Whether no gradient goes back to `h_s`.
        lagging_gate: Whether (5c) is a function of the previous hidden state.

    Returns:
        A tuple `(s, i, h, h_s, x)` of tensors of shape `(batch, units)`: the output pulses, the
        three states to carry to the next step, and the input of the spike generation.
    """
    if detach_h:
        h = ops.stop_gradient(h)
    if detach_h_s:
        h_s = ops.stop_gradient(h_s)
    before = h
    i = alpha * i + W_s_s_in  # (5a)
    x = rho * ops.tanh(i / rho)  # (5b)
    h = z * before + (1 - z) * ops.tanh(x + r * before + r_s * h_s + b_h)  # (5d); z: (3b)
    depolarized = ops.cast((before if lagging_gate else h) > 0.5, h.dtype)
    z_s = z_hyp + (z_dep - z_hyp) * depolarized  # (5c)
    h_s = z_s * h_s + (1 - z_s) * before  # (5e)
    s = ops.relu(h)  # (5f)
    if bypass_relu:
        s = ops.stop_gradient(s) + (h - ops.stop_gradient(h))
    return s, i, h, h_s, x


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class UpperBound(constraints.Constraint):
    """Keeps a weight at or below a number.

    Args:
        maximum: Largest allowed value. The default is that of the SRC paper for its bias, which
            too high makes neurons saturate.

    Raises:
        ValueError: If `maximum` is not a finite number.
    """

    def __init__(self, maximum=-4.0):
        self.maximum = checks.number("UpperBound", "maximum", maximum)

    def __call__(self, value):
        """Returns `value`, clipped to the bound."""
        return ops.minimum(value, ops.convert_to_tensor(self.maximum, value.dtype))

    def get_config(self):
        """Returns the arguments of the constructor as a dictionary."""
        return {"maximum": self.maximum}


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class SRCCell(SpikingCell):
    r"""One time step of a layer of Spiking Recurrent Cells.

    A neuron is a GRU without learned gates, with a fast positive and a slow negative feedback that
    make pulses of several steps. With the input pulses $s_{in}[t]$,

    $$
    \begin{aligned}
    i[t] &= \alpha\, i[t-1] + W_s\, s_{in}[t] & (5a)\\
    x[t] &= \rho \tanh\left(\frac{i[t]}{\rho}\right) & (5b)\\
    z_s[h] &= z_s^{hyp} + (z_s^{dep} - z_s^{hyp})\, H(h[t] - 0.5) & (5c)\\
    h[t] &= z\,h[t-1] + (1 - z) \tanh(x[t] + r\,h[t-1] + r_s\,h_s[t-1] + b_h) & (5d)\\
    h_s[t] &= z_s[h]\,h_s[t-1] + (1 - z_s[h])\,h[t-1] & (5e)\\
    s_{out}[t] &= \mathrm{ReLU}(h[t]) & (5f)
    \end{aligned}
    $$

    The output $s_{out}$ is not binary but from 0 to 1. (5d) is computed before (5c), which is a
    function of the new $h[t]$. $z$ is that of equation (3b), it is 0 in the paper and left out of
    its (5d). $i$, $h$ and $h_s$ are the states and begin with 0. Neurons of a layer are not
    connected to each other.

    The equations are differentiable; the paper changes two things of the backward pass (section
    4.4): the gradient of (5f) is 1 also where no pulse is, and no gradients flow back in time
    through $h[t-1]$ and $h_s[t-1]$, only through $i[t-1]$.

    Under a half precision policy only the matrix product of (5a) is computed in half precision; the
    states stay in `float32`.

    Args:
        units: Positive integer, number of neurons.
        alpha: $\alpha$, leakage factor of the integrator, from 0 to 1. The paper has 0.9, and 0.99
            for inputs in latency code.
        rho: $\rho$, above 0: $x$ is between $-\rho$ and $\rho$.
        r: $r$, strength of the fast feedback.
        r_s: $r_s$, strength of the slow feedback.
        z: $z$, from 0 to below 1.
        z_hyp: $z_s^{hyp}$, from 0 to 1: high makes a long refractory period.
        z_dep: $z_s^{dep}$, from 0 to 1: low makes short pulses.
        bypass_relu: Whether the gradient of (5f) is 1 everywhere, or that of a ReLU.
        detach_h: Whether gradients do not flow through $h[t-1]$.
        detach_h_s: Whether gradients do not flow through $h_s[t-1]$.
        lagging_gate: Whether $z_s$ is computed from $h[t-1]$ instead of $h[t]$, which makes pulses
            longer and fewer.
        kernel_initializer: Initializer of `kernel`, $W_s$.
        bias_initializer: Initializer of `bias`, $b_h$, or a number: the higher, the easier a neuron
            fires.
        kernel_regularizer: Regularizer of `kernel`.
        bias_regularizer: Regularizer of `bias`.
        kernel_constraint: Constraint of `kernel`.
        bias_constraint: Constraint of `bias`. The default, `"upper_bound"`, is `UpperBound()`: at
            most -4.
        noise_stddev: Standard deviation of the normal noise of $r$ and $r_s$ (section 4.5.3),
            drawn for each of the two, each neuron of each sequence and each step, in training
            only. The paper does not say how often it draws.
        dropout: Fraction of the inputs to drop in training, at least 0 and below 1. The same
            inputs are dropped in all steps of a sequence.
        seed: Seed of noise and dropout.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Tensor of shape `(batch, in)`.
        states: List of three tensors of shape `(batch, units)`: $i[t-1]$, $h[t-1]$, $h_s[t-1]$.
        training: Whether to apply noise and dropout.

    Returns:
        A tuple `(s, [i, h, h_s])` of tensors of shape `(batch, units)`; `s` is from 0 to 1.

    Raises:
        ValueError: If an argument is out of range.

    Reference:
        *Spike-based computation using classical recurrent neural networks* (2023), section 3,
        equations (3b) and (5a) to (5f), section 4.4 and appendix A.
    """

    def __init__(
        self,
        units,
        alpha=0.9,
        rho=3.0,
        r=2.0,
        r_s=-7.0,
        z=0.0,
        z_hyp=0.9,
        z_dep=0.0,
        bypass_relu=True,
        detach_h=True,
        detach_h_s=True,
        lagging_gate=False,
        kernel_initializer="glorot_uniform",
        bias_initializer=-6.0,
        kernel_regularizer=None,
        bias_regularizer=None,
        kernel_constraint=None,
        bias_constraint="upper_bound",
        noise_stddev=0.0,
        dropout=0.0,
        seed=None,
        **kwargs,
    ):
        super().__init__(units, dropout=dropout, seed=seed, **kwargs)
        self.alpha = self.number("alpha", alpha, low=0, high=1)
        self.rho = self.number("rho", rho, low=0, open_low=True)
        self.r = self.number("r", r)
        self.r_s = self.number("r_s", r_s)
        self.z = self.number("z", z, low=0, high=1)
        self.z_hyp = self.number("z_hyp", z_hyp, low=0, high=1)
        self.z_dep = self.number("z_dep", z_dep, low=0, high=1)
        self.bypass_relu = bool(bypass_relu)
        self.detach_h = bool(detach_h)
        self.detach_h_s = bool(detach_h_s)
        self.lagging_gate = bool(lagging_gate)

        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)

        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = (
            UpperBound() if bias_constraint == "upper_bound" else constraints.get(bias_constraint)
        )

        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = self._bias_initializer(bias_initializer)

        self.noise_stddev = self.number("noise_stddev", noise_stddev, low=0)
        self.state_size = [self.units, self.units, self.units]

    def _bias_initializer(self, identifier):
        if not isinstance(identifier, numbers.Real) or isinstance(identifier, bool):
            return initializers.get(identifier)
        value = self.number("bias_initializer", identifier)
        bound = self.bias_constraint
        if isinstance(bound, UpperBound) and value > bound.maximum:
            raise ValueError(
                f"{self.title}: `bias_initializer` must not be above the bound of its constraint, "
                f"{bound.maximum:g}. Received: bias_initializer={identifier!r}. For another bound "
                "pass bias_constraint=UpperBound(maximum), or None for no bound."
            )
        return initializers.Constant(value)

    def build(self, input_shape):
        """Creates the weights for inputs of shape `(batch, in)`."""
        self.kernel = self.named_weight("kernel", (self.input_size(input_shape), self.units))
        self.bias = self.named_weight("bias", (self.units,))
        self.built = True

    def net_bias(self):
        """`None`: the bias is that of (5d)."""
        return None

    def parameters(self):
        """The bias of (5d): see `SpikingCell.parameters`."""
        return self.values("bias")

    def advance(self, net, states, parameters, training=False):
        """Computes one time step; `inside` has the input of the spike generation and the states."""
        i, h, h_s = states
        s, i, h, h_s, x = src_step(
            net,
            i,
            h,
            h_s,
            b_h=parameters["bias"],
            alpha=self.alpha,
            rho=self.rho,
            r=self.r + self.noise(h, self.noise_stddev, training),
            r_s=self.r_s + self.noise(h, self.noise_stddev, training),
            z=self.z,
            z_hyp=self.z_hyp,
            z_dep=self.z_dep,
            bypass_relu=self.bypass_relu,
            detach_h=self.detach_h,
            detach_h_s=self.detach_h_s,
            lagging_gate=self.lagging_gate,
        )
        return s, [i, h, h_s], {"integrator": i, "input": x, "hidden": h, "slow": h_s}

    @property
    def has_retreat(self):
        """See `SpikingCell.has_retreat`; near `z` = 1, (5d) cannot be solved for its tanh."""
        return super().has_retreat and self.z <= 0.9

    # Integrator and hidden state.
    keeps = (0, 1)
    needs_net = False

    def prepared(self, kept, parameters):
        """The derivative of (5b)."""
        return {"to_x": 1 - ops.square(ops.tanh(kept[0] / self.rho))}

    def retreat(self, kept, parameters, d_output, d_states):
        """The gradients of one time step: see `SpikingCell.retreat`."""
        d_i, d_h, d_h_s = d_states
        h = kept[1]
        if not self.bypass_relu:
            d_output = d_output * ops.cast(h > 0, d_output.dtype)
        d_h = d_h + d_output  # (5f)
        tanh = h if self.z == 0 else (h - self.z * kept.before(1)) / (1 - self.z)
        d_sum = d_h * ((1 - self.z) * (1 - ops.square(tanh)))  # (5d)
        d_i = d_i + d_sum * kept["to_x"]  # (5b)
        d_before, d_slow = ops.zeros_like(d_h), ops.zeros_like(d_h)
        if not (self.detach_h and self.detach_h_s):
            depolarized = ops.cast((kept.before(1) if self.lagging_gate else h) > 0.5, h.dtype)
            z_s = self.z_hyp + (self.z_dep - self.z_hyp) * depolarized  # (5c)
        if not self.detach_h:
            d_before = self.z * d_h + self.r * d_sum + (1 - z_s) * d_h_s
        if not self.detach_h_s:
            d_slow = self.r_s * d_sum + z_s * d_h_s
        return d_i, [self.alpha * d_i, d_before, d_slow], {"bias": ops.sum(d_sum, axis=0)}


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class SRC(SpikingRNN):
    """Layer of Spiking Recurrent Cells.

    `SRCCell` has the equations. The outputs are pulses from 0 to 1 that last several steps, and 0
    between them. Two things differ from Keras' own recurrent layers:

    - At a masked step the output is 0: `zero_output_for_mask` is `True` by default. Of a padded
      sequence with `return_sequences=False` the output is therefore 0 if the last step is padding.
    - Under a half precision policy the states are computed and carried in `float32`.

    Args:
        units: Positive integer, number of neurons.
        alpha: Leakage factor of the integrator of the inputs, from 0 to 1.
        rho: Largest input of the spike generation, above 0.
        r: Strength of the fast feedback.
        r_s: Strength of the slow feedback.
        z: Part of the hidden state that is kept at each step, from 0 to 1.
        z_hyp: Part of the slow hidden state that is kept at each step between pulses.
        z_dep: The same during a pulse.
        bypass_relu: Whether gradients pass the outputs also where they are 0.
        detach_h: Whether gradients do not flow back in time through the hidden state.
        detach_h_s: Whether gradients do not flow back in time through the slow hidden state.
        lagging_gate: Whether a pulse is told by the hidden state of the previous step.
        kernel_initializer: Initializer of `kernel`, the input weights.
        bias_initializer: Initializer of `bias`, or a number.
        kernel_regularizer: Regularizer of `kernel`.
        bias_regularizer: Regularizer of `bias`.
        activity_regularizer: Regularizer of the outputs, and with `return_state` of the returned
            states too. Keras 3.12 does not divide it by the batch size, newer versions do.
        kernel_constraint: Constraint of `kernel`.
        bias_constraint: Constraint of `bias`. The default, `"upper_bound"`, is `UpperBound()`: at
            most -4.
        noise_stddev: Standard deviation of the noise of the two feedback strengths, in training
            only.
        dropout: Fraction of the inputs to drop in training, at least 0 and below 1.
        seed: Seed of noise and dropout.
        return_sequences: Whether to return the outputs of all steps or of the last one.
        return_state: Whether to return the last states as well.
        go_backwards: Whether to process the sequence backwards and return it reversed.
        stateful: Whether a batch continues with the states that the previous batch ended with.
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
        initial_state: List of three tensors of shape `(batch, units)` to begin with, the
            integrator, the hidden state and the slow hidden state; by default 0.
        mask: Boolean tensor of shape `(batch, steps)`; `False` leaves a step out.
        training: Whether to apply noise and dropout.

    Returns:
        Outputs from 0 to 1, of shape `(batch, steps, units)` with `return_sequences` and otherwise
        `(batch, units)`. With `return_state` a tuple `(outputs, integrator, hidden, slow)`, where
        each state has shape `(batch, units)`.

    Raises:
        ValueError: If an argument is out of range.

    Reference:
        *Spike-based computation using classical recurrent neural networks* (2023), section 3.

    Example:
    ```python
    layer = SRC(8, return_sequences=True)
    pulses = layer(keras.random.uniform((2, 50, 4)))  # (2, 50, 8), from 0 to 1
    ```
    """

    cell_class = SRCCell

    def __init__(
        self,
        units,
        alpha=0.9,
        rho=3.0,
        r=2.0,
        r_s=-7.0,
        z=0.0,
        z_hyp=0.9,
        z_dep=0.0,
        bypass_relu=True,
        detach_h=True,
        detach_h_s=True,
        lagging_gate=False,
        kernel_initializer="glorot_uniform",
        bias_initializer=-6.0,
        kernel_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        kernel_constraint=None,
        bias_constraint="upper_bound",
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
