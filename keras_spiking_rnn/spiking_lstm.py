r"""Spiking long short-term memory: the step, the cell and the layer.

Reference:
    *Long Short-Term Memory Spiking Networks and Their Applications* (2020), section 3.
"""

import keras
from keras import constraints, initializers, ops, regularizers

from keras_spiking_rnn import surrogates
from keras_spiking_rnn.base import SpikingCell, SpikingRNN, arguments

# alpha_1 and alpha_2 of the paper's section 4.1: "similar to conventional LSTM", whose gates have
# a logistic activation and whose modulated input has a hyperbolic tangent.
GATE_SURROGATE = surrogates.Gaussian(alpha=4.0)
CANDIDATE_SURROGATE = surrogates.Gaussian(alpha=0.3)
# Not the paper's, but with it far more is learned: see `examples/spiking_lstm/ablation.py`.
CELL_SURROGATE = surrogates.Gaussian(alpha=0.3)

# The arguments of the paper: equations (2) and (4), and weights that begin with a variance of 1.
PAPER = {
    "gate_surrogate": GATE_SURROGATE,
    "candidate_surrogate": CANDIDATE_SURROGATE,
    "two_sided": True,
    "cell_surrogate": None,
    "kernel_initializer": "standard_normal",
    "recurrent_initializer": "standard_normal",
}

# The cell state before its threshold is 0, 1 or 2: all thresholds from 0 to below 1 are one. This
# one is that of the authors' code; `cell_surrogate` is a function of the distance to it.
CELL_THRESHOLD = 0.1


def slope_at(u, theta, two_sided=False):
    """Where the surrogate is taken: `|u| - |theta|` in (2), or `u - theta`."""
    return ops.abs(u) - abs(theta) if two_sided else u - theta


def spike(u, theta, surrogate, two_sided=False):
    """1 where `u > theta`; backward the surrogate at `slope_at`."""
    return surrogate(u - theta, strict=True, slope_at=slope_at(u, theta, two_sided))


def scaled_gradient(x, factor):
    """`x` to the last bit; backward the gradient times the tensor `factor`, which is constant."""
    constant = ops.stop_gradient(x)
    return constant + ops.stop_gradient(factor) * (x - constant)


def spiking_lstm_step(
    u_i,
    u_f,
    u_g,
    u_o,
    c,
    theta_1=0.1,
    theta_2=0.1,
    f_1=GATE_SURROGATE,
    f_2=CANDIDATE_SURROGATE,
    gamma=1.0,
    cell_surrogate=CELL_SURROGATE,
    two_sided=False,
):
    """One time step of a spiking LSTM: equation (1) of the paper, in its symbols.

    Args:
        u_i: Membrane potential of the input gate, `(batch, units)`: input and recurrent input,
            weighted, and bias. `u_f`, `u_g` and `u_o` are those of the forget gate, the modulated
            input and the output gate.
        u_f: See `u_i`.
        u_g: See `u_i`.
        u_o: See `u_i`.
        c: Unit state of the previous step, 0 or 1, `(batch, units)`.
        theta_1: Threshold of the three gates, a number.
        theta_2: Threshold of the modulated input, a number.
        f_1: Surrogate of the three gates.
        f_2: Surrogate of the modulated input.
        gamma: Gradient of the output to a unit state that is 2 before its threshold.
        cell_surrogate: Surrogate of the threshold of the unit state as the gates see it, or `None`.
        two_sided: Whether surrogates are functions of `|u| - |theta|` or of `u - theta`.

    Returns:
        A tuple `(h, c)` of tensors of shape `(batch, units)`, both 0 or 1: the output and the unit
        state.
    """
    f = spike(u_f, theta_1, f_1, two_sided)
    i = spike(u_i, theta_1, f_1, two_sided)
    g = spike(u_g, theta_2, f_2, two_sided)
    o = spike(u_o, theta_1, f_1, two_sided)
    return memory_step(i, f, g, o, c, gamma, cell_surrogate)


def memory_step(i, f, g, o, c, gamma=1.0, cell_surrogate=CELL_SURROGATE):
    """What follows the gates of a step: see `spiking_lstm_step`.

    Args:
        i: Input gate, 0 or 1, `(batch, units)`. `f`, `g` and `o` are the forget gate, the modulated
            input and the output gate.
        f: See `i`.
        g: See `i`.
        o: See `i`.
        c: Unit state of the previous step.
        gamma: See `spiking_lstm_step`.
        cell_surrogate: See `spiking_lstm_step`.

    Returns:
        A tuple `(h, c)` of tensors of shape `(batch, units)`.
    """
    written = i * g
    if cell_surrogate is not None:
        slope = cell_surrogate.derivative(f * c + written - CELL_THRESHOLD)
        f, written = scaled_gradient(f, slope), scaled_gradient(written, slope)
    sum_ = f * c + written  # 0, 1 or 2
    passed = sum_ - ops.stop_gradient(sum_)  # 0, with the gradient of `sum_`
    c = ops.cast(sum_ > CELL_THRESHOLD, sum_.dtype) + passed
    saturated = ops.cast(sum_ > 1, sum_.dtype)
    h = o * scaled_gradient(c, 1 - (1 - gamma) * saturated)  # (4): gamma
    return h, c


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class SpikingLSTMCell(SpikingCell):
    r"""One time step of a spiking long short-term memory.

    It is an LSTM whose gates, states and output are all 0 or 1. With the input $x_t$, the output
    $h_{t-1}$ and the unit state $c_{t-1}$ of the previous step,

    $$
    \begin{aligned}
    f_t &= \sigma_1(w_{f,h} h_{t-1} + w_{f,x} x_t + b_f) & (1)\\
    i_t &= \sigma_1(w_{i,h} h_{t-1} + w_{i,x} x_t + b_i)\\
    g_t &= \sigma_2(w_{g,h} h_{t-1} + w_{g,x} x_t + b_g)\\
    c_t &= [f_t \odot c_{t-1} + i_t \odot g_t \ge 1]\\
    o_t &= \sigma_1(w_{o,h} h_{t-1} + w_{o,x} x_t + b_o)\\
    h_t &= o_t \odot c_t
    \end{aligned}
    $$

    where $\sigma(u) = [u > \theta]$ with the threshold $\theta_1$ of the gates and $\theta_2$ of
    the modulated input $g_t$: a potential fires above the threshold and not at it. The paper's two
    biases $b_{f,h} + b_{f,x}$ are one, their sum. $h_0 = c_0 = 0$.

    Backward, the derivative of $\sigma$ is that of (2), $\sigma'(u) = f(|u| - |\theta|)$ with the
    surrogate $f$; it has a second peak at $u = -\theta$. The unit state passes gradients by (4):

    $$
    \frac{\partial L}{\partial c_t} = \gamma\, o_t \odot \frac{\partial L}{\partial h_t}
    + f_{t+1} \odot \frac{\partial L}{\partial c_{t+1}},
    \qquad
    \gamma = \begin{cases}\text{gamma} & f_t \odot c_{t-1} + i_t \odot g_t = 2\\ 1 &
    \text{otherwise}\end{cases}
    $$

    `cell_surrogate`, `two_sided` and the initial weights are by default not the paper's but what
    trains well: `SpikingLSTMCell(units, **PAPER)` has those of the paper. Binary units need large
    steps: begin with a learning rate of 0.03 for Adam, with clipped gradients, and lower it in the
    course of the training.

    Under a half precision policy only matrix products are computed in half precision.

    Args:
        units: Positive integer, number of units.
        gate_threshold: $\theta_1$, a number. Fixed, not learned.
        candidate_threshold: $\theta_2$, a number. Fixed.
        gate_surrogate: Surrogate of $\sigma_1$, as `keras_spiking_rnn.surrogates.get` takes it. The
            default is a Gaussian of $\alpha_1 = 4$, whose variance is 2.
        candidate_surrogate: Surrogate of $\sigma_2$. The default is a Gaussian of
            $\alpha_2 = 0.3$, whose variance is 0.15.
        two_sided: Whether surrogates are functions of $|u| - |\theta|$, equation (2), or of
            $u - \theta$, the authors' code.
        gamma: $\gamma$ of a saturated unit state, at least 0 and at most 1. The paper says "1 or
            $\le 1$" and gives no number.
        cell_surrogate: Surrogate of the threshold of $c_t$, a function of the distance to 0.1,
            that multiplies the gradients from $c_t$ to $f_t$, $i_t$ and $g_t$ but not the one to
            $c_{t-1}$, as in the authors' code; `None` is (4), with which it hardly learns. The
            default is a Gaussian of $\alpha = 0.3$.
        use_bias: Whether there are biases.
        kernel_initializer: Initializer of `kernel`; `"standard_normal"` is a normal distribution
            of variance 1, the paper's.
        recurrent_initializer: Initializer of `recurrent_kernel`, likewise.
        bias_initializer: Initializer of `bias`.
        unit_forget_bias: Whether the biases of the forget gate begin with 1.
        kernel_regularizer: Regularizer of `kernel`.
        recurrent_regularizer: Regularizer of `recurrent_kernel`.
        bias_regularizer: Regularizer of `bias`.
        kernel_constraint: Constraint of `kernel`.
        recurrent_constraint: Constraint of `recurrent_kernel`.
        bias_constraint: Constraint of `bias`.
        dropout: Fraction of the inputs to drop in training, at least 0 and below 1. The same
            inputs are dropped in all steps of a sequence and for all gates.
        recurrent_dropout: The same for the recurrent inputs $h_{t-1}$.
        seed: Seed of dropout.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    The weights are `kernel` of shape `(in, 4 * units)`, `recurrent_kernel` of shape
    `(units, 4 * units)` and `bias` of shape `(4 * units,)`; side by side in each are $i$, $f$, $g$
    and $o$, as in `keras.layers.LSTM`.

    Call arguments:
        inputs: Tensor of shape `(batch, in)`, spikes in the paper.
        states: List of two tensors of shape `(batch, units)`, $h_{t-1}$ and $c_{t-1}$.
        training: Whether to apply dropout.

    Returns:
        A tuple `(h, [h, c])` of tensors of shape `(batch, units)`, all 0 or 1.

    Raises:
        ValueError: If an argument is out of range.

    Reference:
        *Long Short-Term Memory Spiking Networks and Their Applications* (2020), section 3,
        equations (1), (2) and (4), and section 4.1.
    """

    def __init__(
        self,
        units,
        gate_threshold=0.1,
        candidate_threshold=0.1,
        gate_surrogate=GATE_SURROGATE,
        candidate_surrogate=CANDIDATE_SURROGATE,
        two_sided=False,
        gamma=1.0,
        cell_surrogate=CELL_SURROGATE,
        use_bias=True,
        kernel_initializer="he_normal",
        recurrent_initializer="orthogonal",
        bias_initializer="zeros",
        unit_forget_bias=False,
        kernel_regularizer=None,
        recurrent_regularizer=None,
        bias_regularizer=None,
        kernel_constraint=None,
        recurrent_constraint=None,
        bias_constraint=None,
        dropout=0.0,
        recurrent_dropout=0.0,
        seed=None,
        **kwargs,
    ):
        super().__init__(
            units, dropout=dropout, recurrent_dropout=recurrent_dropout, seed=seed, **kwargs
        )
        self.gate_threshold = self.number("gate_threshold", gate_threshold)
        self.candidate_threshold = self.number("candidate_threshold", candidate_threshold)
        self.gate_surrogate = surrogates.get(gate_surrogate)
        self.candidate_surrogate = surrogates.get(candidate_surrogate)
        self.two_sided = bool(two_sided)
        self.gamma = self.number("gamma", gamma, low=0, high=1)
        self.cell_surrogate = None if cell_surrogate is None else surrogates.get(cell_surrogate)
        self.use_bias = bool(use_bias)

        self.kernel_initializer = _initializer(kernel_initializer)
        self.recurrent_initializer = _initializer(recurrent_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.unit_forget_bias = bool(unit_forget_bias)

        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = regularizers.get(recurrent_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)

        self.kernel_constraint = constraints.get(kernel_constraint)
        self.recurrent_constraint = constraints.get(recurrent_constraint)
        self.bias_constraint = constraints.get(bias_constraint)

        self.state_size = [self.units, self.units]

    def build(self, input_shape):
        """Creates the weights for inputs of shape `(batch, in)`."""
        inputs = self.input_size(input_shape)
        self.kernel = self.named_weight("kernel", (inputs, 4 * self.units))
        self.recurrent_kernel = self.named_weight("recurrent_kernel", (self.units, 4 * self.units))
        self.bias = self.lstm_bias()
        self.built = True

    def advance(self, net, states, parameters, training=False):
        """Computes one time step; `inside` has the membrane potentials and the unit state."""
        _, c = states
        u_i, u_f, u_g, u_o = ops.split(net, 4, axis=-1)
        h, c = spiking_lstm_step(
            u_i,
            u_f,
            u_g,
            u_o,
            c,
            theta_1=self.gate_threshold,
            theta_2=self.candidate_threshold,
            f_1=self.gate_surrogate,
            f_2=self.candidate_surrogate,
            gamma=self.gamma,
            cell_surrogate=self.cell_surrogate,
            two_sided=self.two_sided,
        )
        inside = {"input": u_i, "forget": u_f, "candidate": u_g, "output": u_o, "cell": c}
        return h, [h, c], inside

    feeds_output = True
    # The unit state.
    keeps = (1,)

    def prepared(self, kept, parameters):
        """What the gradients of the unit state and of the output are multiplied with."""
        theta_1, theta_2 = self.gate_threshold, self.candidate_threshold
        u_i, u_f, u_g, u_o = ops.split(kept["net"], 4, axis=-1)
        c_before, c = kept.before(1), kept[1]
        i, f, o = (ops.cast(u > theta_1, u.dtype) for u in (u_i, u_f, u_o))
        g = ops.cast(u_g > theta_2, u_g.dtype)
        sum_ = f * c_before + i * g
        slope = 1.0
        if self.cell_surrogate is not None:
            slope = self.cell_surrogate.derivative(sum_ - CELL_THRESHOLD)
        # A 2 is the only sum above 1.
        o_to_c = o * (1 - (1 - self.gamma) * ops.cast(sum_ > 1, o.dtype))
        slopes = [
            surrogate.derivative(slope_at(u, theta, self.two_sided))
            for u, theta, surrogate in (
                (u_i, theta_1, self.gate_surrogate),
                (u_f, theta_1, self.gate_surrogate),
                (u_g, theta_2, self.candidate_surrogate),
                (u_o, theta_1, self.gate_surrogate),
            )
        ]
        to_gates = [g * slope, c_before * slope, i * slope, c]
        to_gates = [each * slope for each, slope in zip(to_gates, slopes, strict=True)]
        return {"to_gates": ops.concatenate(to_gates, axis=-1), "f": f, "o": o_to_c}

    def retreat(self, kept, parameters, d_output, d_states):
        """The gradients of one time step: see `SpikingCell.retreat`."""
        d_h, d_c = d_states
        d_h = d_h + d_output
        d_c = d_c + d_h * kept["o"]
        d_net = ops.concatenate([d_c, d_c, d_c, d_h], axis=-1) * kept["to_gates"]
        return d_net, [ops.zeros_like(d_h), d_c * kept["f"]], {}


def _initializer(identifier):
    if identifier == "standard_normal":
        return initializers.RandomNormal(stddev=1.0)
    return initializers.get(identifier)


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class SpikingLSTM(SpikingRNN):
    """Layer of spiking long short-term memory.

    `SpikingLSTMCell` has the equations. By default `cell_surrogate`, `two_sided` and the initial
    weights are what trains well; `SpikingLSTM(units, **PAPER)` has those of the paper. Two things
    differ from `keras.layers.LSTM`, besides what the equations say:

    - At a masked step the output is 0: `zero_output_for_mask` is `True` by default. Of a padded
      sequence with `return_sequences=False` the output is therefore 0 if the last step is padding.
    - Under a half precision policy the states are computed and carried in `float32`.

    Args:
        units: Positive integer, number of units.
        gate_threshold: Threshold of the input, forget and output gates. Not learned.
        candidate_threshold: Threshold of the modulated input. Not learned.
        gate_surrogate: Surrogate of the derivative of a gate, as
            `keras_spiking_rnn.surrogates.get` takes it.
        candidate_surrogate: Surrogate of the derivative of the modulated input.
        two_sided: Whether surrogates are functions of `|u| - |threshold|` or of `u - threshold`.
        gamma: Factor of the gradient from the output to a unit state that both kept and wrote a 1,
            at least 0 and at most 1.
        cell_surrogate: Surrogate of the threshold of the unit state as the gates see it, or `None`
            for 1.
        use_bias: Whether there are biases.
        kernel_initializer: Initializer of `kernel`, the input weights. `"standard_normal"` is a
            normal distribution of variance 1.
        recurrent_initializer: Initializer of `recurrent_kernel`, the recurrent weights.
        bias_initializer: Initializer of `bias`.
        unit_forget_bias: Whether the biases of the forget gate begin with 1.
        kernel_regularizer: Regularizer of `kernel`.
        recurrent_regularizer: Regularizer of `recurrent_kernel`.
        bias_regularizer: Regularizer of `bias`.
        activity_regularizer: Regularizer of the outputs, and with `return_state` of the returned
            states too. Keras 3.12 does not divide it by the batch size, newer versions do.
        kernel_constraint: Constraint of `kernel`.
        recurrent_constraint: Constraint of `recurrent_kernel`.
        bias_constraint: Constraint of `bias`.
        dropout: Fraction of the inputs to drop in training, at least 0 and below 1.
        recurrent_dropout: Fraction of the recurrent inputs to drop in training.
        seed: Seed of dropout.
        return_sequences: Whether to return the spikes of all steps or of the last one.
        return_state: Whether to return the last output and unit state as well.
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
        initial_state: List of two tensors of shape `(batch, units)`, 0 or 1: the output and the
            unit state to begin with; by default 0.
        mask: Boolean tensor of shape `(batch, steps)`; `False` leaves a step out.
        training: Whether to apply dropout.

    Returns:
        Spikes, 0 or 1, of shape `(batch, steps, units)` with `return_sequences` and otherwise
        `(batch, units)`. With `return_state` a tuple `(spikes, h, c)`, where `h` and `c` have
        shape `(batch, units)`.

    Raises:
        ValueError: If an argument is out of range.

    Reference:
        *Long Short-Term Memory Spiking Networks and Their Applications* (2020), section 3.

    Example:
    ```python
    layer = SpikingLSTM(8, return_sequences=True)
    spikes = layer(np.random.default_rng(0).integers(0, 2, (2, 10, 4)))  # (2, 10, 8), 0 or 1
    ```
    """

    cell_class = SpikingLSTMCell

    def __init__(
        self,
        units,
        gate_threshold=0.1,
        candidate_threshold=0.1,
        gate_surrogate=GATE_SURROGATE,
        candidate_surrogate=CANDIDATE_SURROGATE,
        two_sided=False,
        gamma=1.0,
        cell_surrogate=CELL_SURROGATE,
        use_bias=True,
        kernel_initializer="he_normal",
        recurrent_initializer="orthogonal",
        bias_initializer="zeros",
        unit_forget_bias=False,
        kernel_regularizer=None,
        recurrent_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        kernel_constraint=None,
        recurrent_constraint=None,
        bias_constraint=None,
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
