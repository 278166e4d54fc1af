"""LIF-LSTM, a long short-term memory that fires: the step, the cell and the layer.

Reference:
    *A spiking sequential model: Recurrent Leaky Integrate-and-Fire* (2020), section 3.1.
"""

import keras
from keras import activations, ops

from keras_spiking_rnn import fused
from keras_spiking_rnn.activations import acts_on_elements
from keras_spiking_rnn.base import SpikingRNN, arguments
from keras_spiking_rnn.rlif import FiringCell, fire_step

# Activations within -1 and 1, and gates within 0 and 1: the hidden state is then within -1 and 1.
BOUNDED = (activations.tanh, activations.sigmoid, activations.softsign)
BOUNDED_GATES = (activations.sigmoid, activations.hard_sigmoid)


def lif_lstm_step(
    z_i,
    z_f,
    z_c,
    z_o,
    c,
    alpha,
    b_mem,
    V_thres,  # noqa: N803
    V_reset,  # noqa: N803
    surrogate,
    beta=0.0,
    activation=activations.tanh,
    recurrent_activation=activations.sigmoid,
):
    """One time step of LIF-LSTM: equations (11) and (5) to (10), in the paper's symbols.

    Args:
        z_i: What the input gate is an activation of, `(batch, units)`: input and membrane
            potential, weighted, and bias. `z_f`, `z_c` and `z_o` are those of the forget gate, the
            candidate and the output gate.
        z_f: See `z_i`.
        z_c: See `z_i`.
        z_o: See `z_i`.
        c: Cell state of the previous step, `(batch, units)`.
        alpha: Leak: the part of the membrane potential that is kept, `(units,)`, or one number for
            all units, as of all that follows.
        b_mem: Bias of the membrane potential, `(units,)`.
        V_thres: Firing threshold, `(units,)`.
        V_reset: Membrane potential after a spike, `(units,)`.
        surrogate: The spike function, see `keras_spiking_rnn.surrogates`.
        beta: Noise, `(batch, units)`.
        activation: Activation of the candidate and of the cell state.
        recurrent_activation: Activation of the gates.

    Returns:
        A tuple `(Y, u, c, V, gates)` of tensors of shape `(batch, units)`: the spikes, the membrane
        potential and the cell state to carry to the next step, the membrane potential before the
        reset, and the tuple of input gate, forget gate, candidate and output gate.
    """
    f = recurrent_activation(z_f)  # (11)
    i = recurrent_activation(z_i)
    o = recurrent_activation(z_o)
    candidate = activation(z_c)
    c = f * c + i * candidate
    h = o * activation(c)
    V = h  # in place of (4)
    Y, u = fire_step(V, alpha, b_mem, V_thres, V_reset, surrogate, beta)  # (5) to (10)
    return Y, u, c, V, (i, f, candidate, o)


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class LIFLSTMCell(FiringCell):
    r"""One time step of LIF-LSTM, a long short-term memory that fires.

    The hidden state of an LSTM is the membrane potential of a leaky integrate-and-fire neuron: it
    fires, is reset and leaks, and what is left of it is what the gates see at the next step. With
    the input $X^t$, the membrane potential $u^{t-1}$ and the cell state $c^{t-1}$ of the previous
    step,

    $$
    \begin{aligned}
    f^t &= \sigma(W_f X^t + U_f u^{t-1} + b_f) & (11)\\
    i^t &= \sigma(W_i X^t + U_i u^{t-1} + b_i)\\
    o^t &= \sigma(W_o X^t + U_o u^{t-1} + b_o)\\
    \tilde c^t &= \tanh(W_c X^t + U_c u^{t-1} + b_c)\\
    c^t &= f^t \odot c^{t-1} + i^t \odot \tilde c^t\\
    h^t &= o^t \odot \tanh(c^t)\\
    V^t &= h^t & \text{in place of } (4)\\
    F^t &= [V^t \ge V_{thres}] & (5)\\
    u_d^t &= F^t V_{reset} + (1 - F^t)\,V^t & (6)\\
    Y^t &= F^t & (8)\\
    M^t &= \alpha \odot u_d^t + b_{mem} & (10)\\
    u^t &= M^t + \beta & (7)
    \end{aligned}
    $$

    $Y^t$, the spikes, is the output; $u^t$ and $c^t$ are the states, $u^0 = c^0 = 0$. The gates see
    the membrane potential and never the spikes, the membrane potential does not add up from step to
    step, and the cell state is not reset. The paper does not write out the line of $c^t$, which is
    that of every LSTM. It gives no numbers: the defaults of `threshold`, `reset` and the leak are
    those of `RLIFCell`, and the others those of `keras.layers.LSTMCell`.

    In the backward pass the derivative of (5) is the surrogate's, and gradients flow through the
    reset (6) as well.

    Under a half precision policy only matrix products are computed in half precision.

    Args:
        units: Positive integer, number of units.
        activation: Activation of the candidate $\tilde c^t$ and of $c^t$ in $h^t$, as
            `keras.activations.get` takes it.
        recurrent_activation: Activation $\sigma$ of the three gates.
        threshold: $V_{thres}$, a number or one for each unit. Fixed, not learned. It must be above
            -1 and below 1, because $|h^t| < 1$; with activations without that limit it is free.
        reset: $V_{reset}$, a number or one for each unit; smaller than the threshold. Fixed.
        surrogate: Surrogate of the derivative of (5), as `keras_spiking_rnn.surrogates.get` takes
            it. The default has height 1 within 0.5 of the threshold: equation (12).
        output_mode: `"spike"`, the paper's, or `"analog"`: the output is an activation of the
            membrane potential. The spikes are those of (5) in both modes, and reset the membrane.
        analog_source: The membrane potential of analog outputs: `"integrated"`, $V^t = h^t$;
            `"above_threshold"`, $V^t - V_{thres}$; `"reset"`, $u_d^t$ of (6); or `"leaked"`,
            $u^t$ of (7).
        analog_activation: Activation of analog outputs, as `keras.activations.get` takes it.
        use_bias: Whether the gates and the candidate have biases.
        use_membrane_bias: Whether there is a $b_{mem}$.
        learn_leak: Whether the leak $\alpha$ is learned. The paper does not say.
        kernel_initializer: Initializer of `kernel`.
        recurrent_initializer: Initializer of `recurrent_kernel`.
        bias_initializer: Initializer of `bias`.
        leak_initializer: Initializer of `leak`, $\alpha$, or a number.
        membrane_bias_initializer: Initializer of `membrane_bias`, $b_{mem}$.
        unit_forget_bias: Whether the biases of the forget gate begin with 1.
        kernel_regularizer: Regularizer of `kernel`.
        recurrent_regularizer: Regularizer of `recurrent_kernel`.
        bias_regularizer: Regularizer of `bias`.
        leak_regularizer: Regularizer of `leak`.
        membrane_bias_regularizer: Regularizer of `membrane_bias`.
        kernel_constraint: Constraint of `kernel`.
        recurrent_constraint: Constraint of `recurrent_kernel`.
        bias_constraint: Constraint of `bias`.
        leak_constraint: Constraint of `leak`. The default, `"leak_range"`, is
            `keras_spiking_rnn.base.LeakRange()`.
        membrane_bias_constraint: Constraint of `membrane_bias`.
        noise_stddev: Standard deviation of the noise $\beta$, drawn from a normal distribution for
            each unit at each step, in training only.
        dropout: Fraction of the inputs to drop in training, at least 0 and below 1. The same
            inputs are dropped in all steps of a sequence and for all gates.
        recurrent_dropout: The same for the membrane potentials $u^{t-1}$ that the gates see.
        seed: Seed of noise and dropout.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    The weights are `kernel` of shape `(in, 4 * units)`, `recurrent_kernel` of shape
    `(units, 4 * units)`, `bias` of shape `(4 * units,)`, and `leak` and `membrane_bias` of shape
    `(units,)`; side by side in the first three are $i$, $f$, $\tilde c$ and $o$, as in
    `keras.layers.LSTM`.

    Call arguments:
        inputs: Tensor of shape `(batch, in)`.
        states: List of two tensors of shape `(batch, units)`, $u^{t-1}$ and $c^{t-1}$.
        training: Whether to apply noise and dropout.

    Returns:
        A tuple `(output, [u, c])` of tensors of shape `(batch, units)`. The output is the spikes,
        0 or 1, or in analog mode an activation of the membrane potential.

    Raises:
        ValueError: If an argument is out of range.

    Reference:
        *A spiking sequential model: Recurrent Leaky Integrate-and-Fire* (2020), section 3.1,
        equations (5) to (11), and section 3.2, equation (12).
    """

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation="sigmoid",
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
        recurrent_initializer="orthogonal",
        bias_initializer="zeros",
        leak_initializer=0.3,
        membrane_bias_initializer="zeros",
        unit_forget_bias=True,
        kernel_regularizer=None,
        recurrent_regularizer=None,
        bias_regularizer=None,
        leak_regularizer=None,
        membrane_bias_regularizer=None,
        kernel_constraint=None,
        recurrent_constraint=None,
        bias_constraint=None,
        leak_constraint="leak_range",
        membrane_bias_constraint=None,
        noise_stddev=0.0,
        dropout=0.0,
        recurrent_dropout=0.0,
        seed=None,
        **kwargs,
    ):
        super().__init__(
            units, dropout=dropout, recurrent_dropout=recurrent_dropout, seed=seed, **kwargs
        )
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.configure_firing(threshold, reset, surrogate, noise_stddev)
        self._check_threshold_in_reach()
        self.configure_output(output_mode, analog_source, analog_activation)
        self.use_bias = bool(use_bias)
        self.use_membrane_bias = bool(use_membrane_bias)
        self.learn_leak = bool(learn_leak)

        self.unit_forget_bias = bool(unit_forget_bias)
        self.configure_weight("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        self.configure_weight(
            "recurrent", recurrent_initializer, recurrent_regularizer, recurrent_constraint
        )
        self.configure_weight("bias", bias_initializer, bias_regularizer, bias_constraint)
        self.configure_decay("leak", leak_initializer, leak_regularizer, leak_constraint)
        self.configure_weight(
            "membrane_bias",
            membrane_bias_initializer,
            membrane_bias_regularizer,
            membrane_bias_constraint,
        )

        self.state_size = [self.units, self.units]

    def _check_threshold_in_reach(self):
        if self.activation not in BOUNDED or self.recurrent_activation not in BOUNDED_GATES:
            return
        for unit, threshold in enumerate(self.of_each_unit(self.threshold)):
            if not -1 < threshold < 1:
                raise ValueError(
                    f"{self.title}: `threshold` must be above -1 and below 1, because the membrane "
                    "potential is the hidden state of an LSTM, which is always between -1 and 1: a "
                    f"unit with this threshold {'never fires' if threshold > 0 else 'always fires'}"
                    f". Received: threshold={threshold} (unit {unit})."
                )

    def build(self, input_shape):
        """Creates the weights for inputs of shape `(batch, in)`."""
        inputs = self.input_size(input_shape)
        self.kernel = self.named_weight("kernel", (inputs, 4 * self.units))
        self.recurrent_kernel = self.named_weight("recurrent_kernel", (self.units, 4 * self.units))
        self.bias = self.lstm_bias()
        self.build_membrane()
        self.built = True

    def advance(self, net, states, parameters, training=False):
        """Computes one time step; `inside` has gates, cell state and membrane potentials."""
        membrane, cell = states
        z_i, z_f, z_c, z_o = ops.split(net, 4, axis=-1)
        spikes, state, cell, potential, gates = lif_lstm_step(
            z_i,
            z_f,
            z_c,
            z_o,
            cell,
            activation=self.activation,
            recurrent_activation=self.recurrent_activation,
            **self.firing(parameters, membrane, training),
        )
        output, inside = self.respond(spikes, state, potential)
        names = ("input", "forget", "candidate", "output")
        inside |= {**dict(zip(names, gates, strict=True)), "cell": cell}
        return output, [state, cell], inside

    @property
    def has_retreat(self):
        """See `SpikingCell.has_retreat`; the activations must act on each element alone."""
        return super().has_retreat and all(
            map(acts_on_elements, (self.activation, self.recurrent_activation))
        )

    # The cell state; the membrane potential is fed back.
    keeps = (1,)
    needs_net = True

    def prepared(self, kept, parameters):
        """The membrane potential, and what its gradient and the cell's are multiplied with."""
        z_i, z_f, z_c, z_o = ops.split(kept["net"], 4, axis=-1)
        (i, to_i), (f, to_f), (o, to_o) = (
            fused.slope(self.recurrent_activation, z) for z in (z_i, z_f, z_o)
        )
        candidate, to_candidate = fused.slope(self.activation, z_c)
        activated, to_c = fused.slope(self.activation, kept[1])
        to_gates = [candidate * to_i, kept.before(1) * to_f, i * to_candidate, activated * to_o]
        return {
            "V": o * activated,
            "to_gates": ops.concatenate(to_gates, axis=-1),
            "f": f,
            "to_c": o * to_c,
        }

    def retreat(self, kept, parameters, d_output, d_states):
        """The gradients of one time step: see `SpikingCell.retreat`."""
        d_u, d_c = d_states
        d_V, d_parameters = self.retreat_firing(kept["V"], parameters, d_output, d_u)
        d_c = d_c + d_V * kept["to_c"]
        d_net = ops.concatenate([d_c, d_c, d_c, d_V], axis=-1) * kept["to_gates"]
        return d_net, [ops.zeros_like(d_u), d_c * kept["f"]], d_parameters


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class LIFLSTM(SpikingRNN):
    """Layer of LIF-LSTM, a long short-term memory that fires.

    `LIFLSTMCell` has the equations. Two things differ from `keras.layers.LSTM`, besides what the
    equations say:

    - At a masked step the output is 0: `zero_output_for_mask` is `True` by default. Of a padded
      sequence with `return_sequences=False` the output is therefore 0 if the last step is padding.
    - Under a half precision policy the states are computed and carried in `float32`; outputs and
      returned states have the layer's dtype.

    Args:
        units: Positive integer, number of units.
        activation: Activation of the candidate and of the cell state.
        recurrent_activation: Activation of the input, forget and output gates.
        threshold: Firing threshold, a number or one for each unit, above -1 and below 1. Not
            learned.
        reset: Membrane potential after a spike, a number or one for each unit. Not learned.
        surrogate: Surrogate of the derivative of a spike, as
            `keras_spiking_rnn.surrogates.get` takes it.
        output_mode: `"spike"`, or `"analog"` for an activation of the membrane potential.
        analog_source: The membrane potential of analog outputs: `"integrated"`, before the reset;
            `"above_threshold"`, the same minus the threshold; `"reset"`, after the reset; or
            `"leaked"`, after the leak.
        analog_activation: Activation of analog outputs, as `keras.activations.get` takes it.
        use_bias: Whether the gates and the candidate have biases.
        use_membrane_bias: Whether the membrane potential has a bias.
        learn_leak: Whether the leak is learned.
        kernel_initializer: Initializer of `kernel`, the input weights.
        recurrent_initializer: Initializer of `recurrent_kernel`, the weights of the membrane
            potentials.
        bias_initializer: Initializer of `bias`.
        leak_initializer: Initializer of `leak`, or a number.
        membrane_bias_initializer: Initializer of `membrane_bias`.
        unit_forget_bias: Whether the biases of the forget gate begin with 1.
        kernel_regularizer: Regularizer of `kernel`.
        recurrent_regularizer: Regularizer of `recurrent_kernel`.
        bias_regularizer: Regularizer of `bias`.
        leak_regularizer: Regularizer of `leak`.
        membrane_bias_regularizer: Regularizer of `membrane_bias`.
        activity_regularizer: Regularizer of the outputs, and with `return_state` of the returned
            states too. Keras 3.12 does not divide it by the batch size, newer versions do.
        kernel_constraint: Constraint of `kernel`.
        recurrent_constraint: Constraint of `recurrent_kernel`.
        bias_constraint: Constraint of `bias`.
        leak_constraint: Constraint of `leak`. The default, `"leak_range"`, is
            `keras_spiking_rnn.base.LeakRange()`.
        membrane_bias_constraint: Constraint of `membrane_bias`.
        noise_stddev: Standard deviation of the noise that is added to the membrane potential at
            each step, in training only.
        dropout: Fraction of the inputs to drop in training, at least 0 and below 1.
        recurrent_dropout: Fraction of the membrane potentials that the gates see to drop in
            training.
        seed: Seed of noise and dropout.
        return_sequences: Whether to return the outputs of all steps or of the last one.
        return_state: Whether to return the last membrane potential and cell state as well.
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
        initial_state: List of two tensors of shape `(batch, units)`, the membrane potential and the
            cell state to begin with; by default 0.
        mask: Boolean tensor of shape `(batch, steps)`; `False` leaves a step out.
        training: Whether to apply noise and dropout.

    Returns:
        Spikes, 0 or 1, or in analog mode activations of the membrane potential, of shape
        `(batch, steps, units)` with `return_sequences` and otherwise `(batch, units)`. With
        `return_state` a tuple `(outputs, membrane, cell)`, where `membrane` and `cell` have shape
        `(batch, units)`.

    Raises:
        ValueError: If an argument is out of range.

    Reference:
        *A spiking sequential model: Recurrent Leaky Integrate-and-Fire* (2020), section 3.1.

    Example:
    ```python
    layer = LIFLSTM(8, return_sequences=True)
    spikes = layer(keras.random.uniform((2, 10, 4)))  # (2, 10, 8), 0 or 1
    ```
    """

    cell_class = LIFLSTMCell

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation="sigmoid",
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
        recurrent_initializer="orthogonal",
        bias_initializer="zeros",
        leak_initializer=0.3,
        membrane_bias_initializer="zeros",
        unit_forget_bias=True,
        kernel_regularizer=None,
        recurrent_regularizer=None,
        bias_regularizer=None,
        leak_regularizer=None,
        membrane_bias_regularizer=None,
        activity_regularizer=None,
        kernel_constraint=None,
        recurrent_constraint=None,
        bias_constraint=None,
        leak_constraint="leak_range",
        membrane_bias_constraint=None,
        noise_stddev=0.0,
        dropout=0.0,
        recurrent_dropout=0.0,
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
