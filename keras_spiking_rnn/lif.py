# ruff: noqa: E741 (the paper calls the synaptic current I)
"""Leaky integrate-and-fire neurons with a synaptic current, and with a gated one.

Reference:
    Ponghiran, Roy, *Spiking Neural Networks with Improved Inherent Recurrence Dynamics for
    Sequential Learning* (2021), sections 2 and 3.
"""

import keras
import tensorflow as tf
from keras import constraints, initializers, ops, regularizers

# The loop over time has no public name.
from keras_spiking_rnn import activations, checks, fused, surrogates
from keras_spiking_rnn.base import SpikingCell, SpikingRNN, arguments


def lif_step(XW, I, V, Y, beta, alpha, theta, fire, mask=1.0):  # noqa: N803
    """One time step of the traditional neuron: equations (7) to (9), in the paper's symbols.

    Args:
        XW: Product of the inputs and the weights, `(batch, units)`.
        I: Synaptic current of the previous step, `(batch, units)`.
        V: Membrane potential of the previous step, `(batch, units)`.
        Y: Output of the previous step, `(batch, units)`.
        beta: Decay: the part of the current that is kept, `(units,)`.
        alpha: Decay: the part of the membrane potential that is kept, `(units,)`.
        theta: What an output of 1 takes from the membrane potential: the threshold with outputs
            0 and 1, and 1 with those of (22), which are in units of the membrane potential.
        fire: Function from the membrane potential to the output: (9) or (22).
        mask: Recurrent dropout, `(batch, units)`.

    Returns:
        A tuple `(Y, I, V)` of tensors of shape `(batch, units)`.
    """
    I = beta * I + XW * mask  # (7)
    V = alpha * V + I - theta * Y  # (8)
    Y = fire(V)  # (9), (22)
    return Y, I, V


def gated_lif_step(
    XW_fi,  # noqa: N803
    XW_ci,  # noqa: N803
    YW_fr,  # noqa: N803
    YW_cr,  # noqa: N803
    I,  # noqa: N803
    V,  # noqa: N803
    Y,  # noqa: N803
    alpha,
    theta,
    fire,
    mask=1.0,
    sigma=ops.sigmoid,
):
    """One time step of the improved dynamics, v1 or v2: equations (16) to (21) with (8), (9).

    Args:
        XW_fi: Product of the inputs and the weights of the forget signal, `(batch, units)`.
        XW_ci: The same for the candidate signal.
        YW_fr: Product of the previous outputs and the recurrent weights of the forget signal,
            `(batch, units)`; 0 in v1.
        YW_cr: The same for the candidate signal.
        I: Synaptic current of the previous step, `(batch, units)`.
        V: Membrane potential of the previous step, `(batch, units)`.
        Y: Output of the previous step, `(batch, units)`.
        alpha: Decay: the part of the membrane potential that is kept, `(units,)`.
        theta: What an output of 1 takes from the membrane potential, as in `lif_step`.
        fire: Function from the membrane potential to the output: (9) or (22).
        mask: Recurrent dropout, `(batch, units)`.
        sigma: The activation of the forget signal.

    Returns:
        A tuple `(Y, I, V, F, C)` of tensors of shape `(batch, units)`.
    """
    F = sigma(XW_fi + YW_fr)  # (16), (19)
    C = ops.relu(XW_ci + YW_cr)  # (17), (20)
    I = F * I + (1 - F) * C * mask  # (18), (21)
    V = alpha * V + I - theta * Y  # (8)
    Y = fire(V)  # (9), (22)
    return Y, I, V, F, C


def multi_bit_output(V, V_max, bits, ratio, signed=False):  # noqa: N803
    r"""Output of `bits` bits: equation (22).

    With the threshold $\theta = k V_{max} / 2^b$,

    $$Y = \begin{cases}0 & V < \theta\\
    \min\left(\lfloor 2^b V / V_{max} \rfloor, 2^b - 1\right) V_{max} / 2^b & V \ge \theta
    \end{cases}$$

    It has $2^b - k$ values other than 0. The gradient with respect to $V$ is 1 for
    $0 \le V \le V_{max}$ and 0 where the output saturates, below and above; there is none with
    respect to $V_{max}$.

    Args:
        V: Membrane potential, floating point tensor of any shape.
        V_max: Largest membrane potential, a positive scalar tensor of the same dtype.
        bits: $b$, integer from 1 to 8.
        ratio: $k$, integer from 1 to $2^b - 1$.
        signed: Whether one of the bits is the sign. Then $2^{b-1}$ steps lead from 0 to $V_{max}$,
            negative potentials give the outputs of positive ones with a minus, and the gradient
            is 1 for $-V_{max} \le V \le V_{max}$.

    Returns:
        The outputs, in the shape and dtype of `V`.
    """
    levels = 2.0 ** (bits - signed)

    @tf.custom_gradient
    def quantized(V, V_max):  # noqa: N803
        theta = ratio * V_max / 2**bits
        size = tf.abs(V) if signed else V
        level = tf.minimum(tf.floor(levels * size / V_max), levels - 1)
        Y = tf.where(size >= theta, level * V_max / levels, tf.zeros_like(V))  # (22)

        def gradient(upstream):
            return upstream * multi_bit_slope(V, V_max, signed), None

        return (tf.sign(V) * Y if signed else Y), gradient

    return quantized(tf.convert_to_tensor(V), tf.convert_to_tensor(V_max))


def multi_bit_slope(V, V_max, signed=False):  # noqa: N803
    """The derivative of `multi_bit_output` with respect to `V`."""
    size = tf.abs(V) if signed else V
    return tf.cast((size >= 0) & (size <= V_max), V.dtype)


class MembraneCell(SpikingCell):
    """Base of both cells: projection of the inputs, and outputs of one or more bits.

    A subclass sets `gates`, the number of columns of `kernel` for each unit, and computes in
    `advance`. The arguments are those of `LIFCell` and `GatedLIFCell`.
    """

    gates = 1
    epsilon = 1e-5

    def __init__(
        self,
        units,
        threshold,
        surrogate,
        bits,
        threshold_ratio,
        signed,
        initial_v_max,
        use_bias,
        learn_membrane_decay,
        batch_normalization,
        momentum,
        kernel_initializer,
        bias_initializer,
        membrane_decay_initializer,
        kernel_regularizer,
        bias_regularizer,
        membrane_decay_regularizer,
        kernel_constraint,
        bias_constraint,
        membrane_decay_constraint,
        **kwargs,
    ):
        super().__init__(units, **kwargs)
        self.threshold = self.fixed_values("threshold", threshold)
        self._check_thresholds()
        self.surrogate = surrogates.get(surrogate)
        self.bits = self._bits(bits)
        self.signed = self._signed(signed)
        self.threshold_ratio = self._threshold_ratio(threshold_ratio)
        self.initial_v_max = self.number("initial_v_max", initial_v_max, low=0, open_low=True)
        self.use_bias = bool(use_bias)
        self.learn_membrane_decay = bool(learn_membrane_decay)
        self.batch_normalization = bool(batch_normalization)
        if self.use_bias and self.batch_normalization:
            raise ValueError(
                f"{self.title}: `use_bias` does nothing before `batch_normalization`, which "
                "subtracts the mean and has an offset of its own. Leave one of them out. Received: "
                "use_bias=True, batch_normalization=True"
            )
        self.momentum = self.number("momentum", momentum, low=0, high=1)
        if self.momentum == 1:
            raise ValueError(
                f"{self.title}: `momentum` must be below 1, otherwise the moving averages never "
                f"move. Received: momentum={momentum!r}"
            )

        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.configure_decay(
            "membrane_decay",
            membrane_decay_initializer,
            membrane_decay_regularizer,
            membrane_decay_constraint,
        )
        self.state_size = [self.units] * 3

    def _check_thresholds(self):
        thresholds = self.threshold if isinstance(self.threshold, tuple) else (self.threshold,)
        if min(thresholds) <= 0:
            raise ValueError(
                f"{self.title}: `threshold` must be above 0, because a neuron at rest has a "
                "membrane potential of 0 and would fire at every step. Received: "
                f"threshold={self.threshold!r}"
            )

    def _bits(self, bits):
        if bits is None:
            return None
        if not checks.is_integer(bits, 1, 8):
            raise ValueError(
                f"{self.title}: `bits` must be an integer from 1 to 8, or None for outputs 0 and 1 "
                f"at a fixed threshold. Received: bits={bits!r}"
            )
        return int(bits)

    def _signed(self, signed):
        if signed and (self.bits is None or self.bits < 2):
            raise ValueError(
                f"{self.title}: `signed` takes one bit for the sign, so it needs `bits` of at "
                f"least 2. Received: signed={signed!r}, bits={self.bits}"
            )
        return bool(signed)

    def _threshold_ratio(self, ratio):
        largest = 2 ** (self.bits or 8) - 1
        if not checks.is_integer(ratio, 1, largest):
            of_bits = "" if self.bits is None else f", 2**bits - 1 with bits={self.bits}"
            raise ValueError(
                f"{self.title}: `threshold_ratio` must be an integer from 1 to {largest}{of_bits}: "
                "the threshold is that many of the 2**bits steps from 0 to the largest membrane "
                f"potential. Received: threshold_ratio={ratio!r}"
            )
        return int(ratio)

    def build_kernel(self, input_shape):
        """Creates `kernel`, the first weight of both cells."""
        shape = (self.input_size(input_shape), self.gates * self.units)
        self.kernel = self.named_weight("kernel", shape)

    def build_bias(self):
        """Creates `bias`."""
        columns = self.gates * self.units
        self.bias = self.named_weight("bias", (columns,)) if self.use_bias else None

    def build_membrane(self):
        """Creates `membrane_decay` and the statistics, the last weights of both cells."""
        self.membrane_decay = self.named_weight(
            "membrane_decay", (self.units,), trainable=self.learn_membrane_decay
        )
        if self.batch_normalization:
            shape = (self.gates * self.units,)
            self.norm_scale = self.add_weight(shape, "ones", name="norm_scale")
            self.norm_offset = self.add_weight(shape, "zeros", name="norm_offset")
            self.moving_mean = self.statistic("moving_mean", shape, 0.0)
            self.moving_variance = self.statistic("moving_variance", shape, 1.0)
        if self.bits is not None:
            self.v_max = self.statistic("v_max", (), self.initial_v_max)
            self.v_max_batches = self.statistic("v_max_batches", (), 0.0)
        self.built = True

    def projected(self, inputs, kernel=None):
        """Product of the inputs and `kernel`, after batch normalisation with the bias."""
        projected = super().projected(inputs, kernel)
        if not self.batch_normalization:
            return projected
        return self.normalized(projected + self.value(self.bias))

    def net_bias(self):
        """See `SpikingCell.net_bias`; batch normalisation has it already."""
        return None if self.batch_normalization else super().net_bias()

    def fed_back(self, states, training=False):
        """The outputs of the previous step; recurrent dropout is that of the currents."""
        return states[self.feedback]

    def statistic(self, name, shape, initial):
        """Creates a weight that training moves without a gradient."""
        return self.add_weight(
            shape,
            initializers.Constant(initial),
            name=name,
            trainable=False,
            autocast=False,
            aggregation="mean",
        )

    def normalized(self, projected, mean=None, variance=None):
        """`projected` after batch normalisation, by default with the moving statistics."""
        return ops.batch_normalization(
            projected,
            self.value(self.moving_mean) if mean is None else mean,
            self.value(self.moving_variance) if variance is None else variance,
            axis=-1,
            offset=self.value(self.norm_offset),
            scale=self.value(self.norm_scale),
            epsilon=self.epsilon,
        )

    def projected_in_training(self, sequences, mask):
        """`projected`, normalised with the statistics of the sequences; moves the moving ones.

        Args:
            sequences: Tensor of shape `(batch, steps, in)`.
            mask: Boolean tensor of shape `(batch, steps)`, or `None`.
        """
        projected = super().projected(sequences) + self.value(self.bias)
        kept = ops.ones_like(projected[:, :, :1], dtype="bool")
        if mask is not None:
            kept = ops.reshape(ops.cast(mask, "bool"), ops.shape(kept))
        steps = ops.sum(ops.cast(kept, projected.dtype))
        # `where` rather than a product: a masked step may hold anything, NaN included.
        mean = ops.sum(ops.where(kept, projected, 0), axis=(0, 1)) / ops.maximum(steps, 1)
        squares = ops.where(kept, ops.square(projected - mean), 0)
        variance = ops.sum(squares, axis=(0, 1)) / ops.maximum(steps, 1)
        share = (1 - self.momentum) * ops.cast(steps > 0, projected.dtype)
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign_add(share * (value - moving))
        return self.normalized(projected, mean, variance)

    def observe(self, peak):
        """Moves `v_max` towards the largest membrane potential of a batch.

        `v_max` is the exponential moving average with the bias towards its initial value removed:
        after the first batch it is that batch's. Under a strategy of `tf.distribute` the batch is
        that of all replicas: the largest of a part of it would be smaller.

        Args:
            peak: Tensor of the largest membrane potentials. Nothing happens unless its largest
                element is a positive number.
        """
        largest = ops.cast(ops.max(peak), self.v_max.dtype)
        replica = tf.distribute.get_replica_context()
        if replica is not None and replica.num_replicas_in_sync > 1:
            largest = ops.max(replica.all_gather(largest[None], axis=0))
        seen = (largest > 0) & ops.isfinite(largest)
        batches = self.v_max_batches + ops.cast(seen, self.v_max.dtype)
        share = (1 - self.momentum) / (1 - self.momentum ** ops.maximum(batches, 1))
        self.v_max.assign(
            ops.where(seen, self.v_max + share * (largest - self.v_max), self.v_max.value)
        )
        self.v_max_batches.assign(batches)

    def parameters(self):
        """Decays and `v_max`: see `SpikingCell.parameters`."""
        return self.values("current_decay", "membrane_decay", "v_max")

    def fire(self, membrane, v_max=None):
        """Output of a membrane potential: (9), or (22) with `bits`."""
        if self.bits is None:
            return self.surrogate(membrane - self.value(self.threshold))
        return multi_bit_output(membrane, v_max, self.bits, self.threshold_ratio, self.signed)

    def slope(self, membrane, v_max=None):
        """The derivative of `fire`."""
        if self.bits is None:
            return self.surrogate.derivative(membrane - self.value(self.threshold))
        return multi_bit_slope(membrane, v_max, self.signed)

    @property
    def taken(self):
        """What an output of 1 takes from the membrane potential in (8)."""
        return self.value(self.threshold) if self.bits is None else 1.0

    def recurrent_mask(self, like, training):
        """Mask of recurrent dropout, of the shape of `like`; in inference 1."""
        if not training or self.recurrent_dropout == 0:
            return 1.0
        return self.recurrent_dropped(ops.ones_like(like), training)

    # Current and membrane potential. The output is kept where it is fed back.
    keeps = (0, 1)

    def retreat_membrane(self, kept, parameters, d_Y, d_V):  # noqa: N803
        """The gradients of (8) and (9).

        Args:
            kept: A `keras_spiking_rnn.fused.OneStep`.
            parameters: What `parameters()` returns.
            d_Y: Gradient of the output.
            d_V: Gradient of the membrane potential that is carried to the next step.

        Returns:
            A tuple of the gradient of the membrane potential, the list of those of membrane
            potential and output of the previous step, and that of the decay.
        """
        d_V = d_V + d_Y * self.slope(kept[1], parameters.get("v_max"))
        d_alpha = ops.sum(d_V * kept.before(1), axis=0)
        return d_V, [parameters["membrane_decay"] * d_V, -self.taken * d_V], d_alpha

    def complete(self, d_parameters):
        """`d_parameters` with that of `v_max`, which training moves without a gradient."""
        if self.bits is not None:
            d_parameters["v_max"] = ops.zeros((), self.compute_dtype)
        return d_parameters

    def membrane_size(self, inside):
        """What `observe` takes the largest of."""
        membrane = inside["membrane"]
        return ops.stop_gradient(ops.abs(membrane) if self.signed else membrane)


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class LIFCell(MembraneCell):
    r"""One time step of a layer of leaky integrate-and-fire neurons with a synaptic current.

    It is the traditional neuron of the paper. With the input $X[n]$ as a row,

    $$
    \begin{aligned}
    I[n] &= \beta I[n-1] + X[n] W & (7)\\
    V[n] &= \alpha V[n-1] + I[n] - \theta Y[n-1] & (8)\\
    Y[n] &= [V[n] \ge \theta] & (9)
    \end{aligned}
    $$

    $Y[n]$ is the output; the states are $I$, $V$ and $Y$, which begin with 0. Units are not
    connected to each other. There is no unit of time other than the step.

    With `bits`, (9) is replaced by (22), see `multi_bit_output`. The threshold then is
    $\theta = k V_{max} / 2^b$, where $V_{max}$ is a moving average of the largest membrane
    potential of each batch, and (8) subtracts $Y[n-1]$: the outputs are in units of the membrane
    potential already. At 1 bit, where (22) is $\theta$ times (9), that is the same as (8).

    Moving averages, $V_{max}$ and those of batch normalisation, are moved by the layer `LIF`, once
    a batch in training. A cell within `keras.layers.RNN` uses them as they are and never moves
    them, in training too.

    Under a half precision policy only the product $X[n] W$ is computed in half precision; the
    states stay in `float32`.

    Args:
        units: Positive integer, number of neurons $n$.
        threshold: $\theta$ of (8) and (9), a number or one for each unit, above 0. Not learned.
            Not used with `bits`.
        surrogate: Surrogate of the derivative of (9), as `keras_spiking_rnn.surrogates.get` takes
            it. Not used with `bits`.
        bits: $b$ of (22), an integer from 1 to 8, or `None` for the outputs 0 and 1 of (9).
        threshold_ratio: $k$: with `bits` the threshold is $k V_{max} / 2^b$. An integer from 1 to
            $2^b - 1$.
        signed: Whether one of the bits is the sign, see `multi_bit_output`.
        initial_v_max: $V_{max}$ until the first batch of training, above 0.
        use_bias: Whether a bias is added to $X[n] W$. The paper has none.
        learn_current_decay: Whether $\beta$ is learned. The paper has a constant.
        learn_membrane_decay: Whether $\alpha$ is learned. The paper has a constant.
        kernel_initializer: Initializer of `kernel`, $W$.
        bias_initializer: Initializer of `bias`.
        current_decay_initializer: Initializer of `current_decay`, $\beta$, or a number: 1 keeps all
            of the current from step to step.
        membrane_decay_initializer: Initializer of `membrane_decay`, $\alpha$, or a number.
        kernel_regularizer: Regularizer of `kernel`.
        bias_regularizer: Regularizer of `bias`.
        current_decay_regularizer: Regularizer of `current_decay`.
        membrane_decay_regularizer: Regularizer of `membrane_decay`.
        kernel_constraint: Constraint of `kernel`.
        bias_constraint: Constraint of `bias`.
        current_decay_constraint: Constraint of `current_decay`. The default, `"leak_range"`, is
            `keras_spiking_rnn.base.LeakRange()`.
        membrane_decay_constraint: Constraint of `membrane_decay`, with the same default.
        batch_normalization: Whether $X[n] W$ is normalised, in training over all sequences and
            steps of a batch.
        momentum: Weight of the past in moving averages, at least 0 and below 1.
        dropout: Fraction of the inputs to drop in training, at least 0 and below 1. The same
            inputs are dropped in all steps of a sequence.
        recurrent_dropout: Fraction of what enters the currents to drop in training: $X[n] W$ of
            the same units in all steps of a sequence.
        seed: Seed of dropout.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Tensor of shape `(batch, in)`.
        states: List of three tensors of shape `(batch, units)`: current $I[n-1]$, membrane
            potential $V[n-1]$ and output $Y[n-1]$.
        training: Whether to apply dropout.

    Returns:
        A tuple `(output, [current, membrane, output])` of tensors of shape `(batch, units)`.
        Outputs are 0 or 1, and with `bits` multiples of $V_{max} / 2^b$.

    Raises:
        ValueError: If an argument is out of range.

    Reference:
        Ponghiran, Roy, *Spiking Neural Networks with Improved Inherent Recurrence Dynamics for
        Sequential Learning* (2021), equations (3) to (9) and (22).
    """

    gates = 1

    def __init__(
        self,
        units,
        threshold=1.0,
        surrogate="triangular",
        bits=None,
        threshold_ratio=1,
        signed=False,
        initial_v_max=1.0,
        use_bias=False,
        learn_current_decay=False,
        learn_membrane_decay=False,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        current_decay_initializer=0.9,
        membrane_decay_initializer=0.9,
        kernel_regularizer=None,
        bias_regularizer=None,
        current_decay_regularizer=None,
        membrane_decay_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        current_decay_constraint="leak_range",
        membrane_decay_constraint="leak_range",
        batch_normalization=False,
        momentum=0.9,
        dropout=0.0,
        recurrent_dropout=0.0,
        seed=None,
        **kwargs,
    ):
        own = arguments(locals())
        del own["learn_current_decay"]
        del own["current_decay_initializer"]
        del own["current_decay_regularizer"]
        del own["current_decay_constraint"]
        super().__init__(**own)
        self.learn_current_decay = bool(learn_current_decay)
        self.configure_decay(
            "current_decay",
            current_decay_initializer,
            current_decay_regularizer,
            current_decay_constraint,
        )

    def build(self, input_shape):
        """Creates the weights for inputs of shape `(batch, in)`."""
        self.build_kernel(input_shape)
        self.build_bias()
        self.current_decay = self.named_weight(
            "current_decay", (self.units,), trainable=self.learn_current_decay
        )
        self.build_membrane()

    def advance(self, net, states, parameters, training=False):
        """Computes one time step; `inside` has current and membrane potential."""
        current, membrane, output = states
        output, current, membrane = lif_step(
            XW=net,
            I=current,
            V=membrane,
            Y=output,
            beta=parameters["current_decay"],
            alpha=parameters["membrane_decay"],
            theta=self.taken,
            fire=lambda membrane: self.fire(membrane, parameters.get("v_max")),
            mask=self.recurrent_mask(current, training),
        )
        inside = {"current": current, "membrane": membrane}
        return output, [current, membrane, output], inside

    needs_net = False

    def retreat(self, kept, parameters, d_output, d_states):
        """The gradients of one time step: see `SpikingCell.retreat`."""
        d_I, d_V, d_Y = d_states
        d_V, d_before, d_alpha = self.retreat_membrane(kept, parameters, d_output + d_Y, d_V)
        d_I = d_I + d_V
        d_parameters = {
            "current_decay": ops.sum(d_I * kept.before(0), axis=0),
            "membrane_decay": d_alpha,
        }
        return d_I, [parameters["current_decay"] * d_I, *d_before], self.complete(d_parameters)

    def multiplications(self, inputs, outputs):
        """Multiplications of one step, from the numbers of inputs and outputs that are not 0."""
        return inputs * self.units + 6 * self.units


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class GatedLIFCell(MembraneCell):
    r"""One time step of a layer of leaky integrate-and-fire neurons with improved dynamics.

    A forget signal $F$ decides how much of the synaptic current is kept, so that gradients need not
    vanish along it, and a candidate signal $C$ what is added. Version 1 of the paper,

    $$
    \begin{aligned}
    F[n] &= \sigma(X[n] W_{fi}) & (16)\\
    C[n] &= \mathrm{ReLU}(X[n] W_{ci}) & (17)\\
    I[n] &= F[n] \odot I[n-1] + (1 - F[n]) \odot C[n] & (18)\\
    V[n] &= \alpha V[n-1] + I[n] - \theta Y[n-1] & (8)\\
    Y[n] &= [V[n] \ge \theta], & (9)
    \end{aligned}
    $$

    has no connections between the units. Version 2 has, with `recurrent_gates`:

    $$
    \begin{aligned}
    F[n] &= \sigma(X[n] W_{fi} + Y[n-1] W_{fr}) & (19)\\
    C[n] &= \mathrm{ReLU}(X[n] W_{ci} + Y[n-1] W_{cr}) & (20)
    \end{aligned}
    $$

    and (21), which is (18). The default outputs are those of the paper's experiments: 6 bits, (22)
    in place of (9), with the threshold $V_{max} / 8$. `LIFCell` says what changes with `bits`, how
    $V_{max}$ moves, and what a cell within `keras.layers.RNN` does.

    Under a half precision policy only the products with weights are computed in half precision; the
    states stay in `float32`.

    Args:
        units: Positive integer, number of neurons $n$.
        threshold: $\theta$ of (8) and (9), a number or one for each unit, above 0. Not learned.
            Not used with `bits`.
        surrogate: Surrogate of the derivative of (9), as `keras_spiking_rnn.surrogates.get` takes
            it. Not used with `bits`.
        bits: $b$ of (22), an integer from 1 to 8, or `None` for the outputs 0 and 1 of (9).
        threshold_ratio: $k$: with `bits` the threshold is $k V_{max} / 2^b$. An integer from 1 to
            $2^b - 1$.
        signed: Whether one of the bits is the sign, see `multi_bit_output`.
        initial_v_max: $V_{max}$ until the first batch of training, above 0.
        recurrent_gates: Whether the gates see the outputs of the previous step (version 2).
        gate_activation: $\sigma$, as `keras_spiking_rnn.activations.get` takes it, with values from
            0 to 1: `"sigmoid"`, or `"plan_sigmoid"`, which `lava_export` has in integers.
        use_bias: Whether biases are added to $X[n] W_{fi}$ and $X[n] W_{ci}$. The paper has none.
        learn_membrane_decay: Whether $\alpha$ is learned. The paper has a constant.
        kernel_initializer: Initializer of `kernel`, $W_{fi}$ and $W_{ci}$.
        recurrent_initializer: Initializer of `recurrent_kernel`, $W_{fr}$ and $W_{cr}$.
        bias_initializer: Initializer of `bias`.
        membrane_decay_initializer: Initializer of `membrane_decay`, $\alpha$, or a number: 1 keeps
            all of the membrane potential from step to step.
        kernel_regularizer: Regularizer of `kernel`.
        recurrent_regularizer: Regularizer of `recurrent_kernel`.
        bias_regularizer: Regularizer of `bias`.
        membrane_decay_regularizer: Regularizer of `membrane_decay`.
        kernel_constraint: Constraint of `kernel`.
        recurrent_constraint: Constraint of `recurrent_kernel`.
        bias_constraint: Constraint of `bias`.
        membrane_decay_constraint: Constraint of `membrane_decay`. The default, `"leak_range"`, is
            `keras_spiking_rnn.base.LeakRange()`.
        batch_normalization: Whether $X[n] W_{fi}$ and $X[n] W_{ci}$ are normalised, each column by
            itself, in training over all sequences and steps of a batch.
        momentum: Weight of the past in moving averages, at least 0 and below 1.
        dropout: Fraction of the inputs to drop in training, at least 0 and below 1. The same
            inputs are dropped in all steps of a sequence.
        recurrent_dropout: Fraction of what enters the currents to drop in training:
            $(1 - F[n]) \odot C[n]$ of the same units in all steps of a sequence.
        seed: Seed of dropout.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Tensor of shape `(batch, in)`.
        states: List of three tensors of shape `(batch, units)`: current $I[n-1]$, membrane
            potential $V[n-1]$ and output $Y[n-1]$.
        training: Whether to apply dropout.

    Returns:
        A tuple `(output, [current, membrane, output])` of tensors of shape `(batch, units)`.
        Outputs are multiples of $V_{max} / 2^b$, and 0 or 1 with `bits=None`.

    Raises:
        ValueError: If an argument is out of range.

    Reference:
        Ponghiran, Roy, *Spiking Neural Networks with Improved Inherent Recurrence Dynamics for
        Sequential Learning* (2021), equations (16) to (22).
    """

    gates = 2
    feedback = 2
    feeds_output = True

    def __init__(
        self,
        units,
        threshold=1.0,
        surrogate="triangular",
        bits=6,
        threshold_ratio=8,
        signed=False,
        initial_v_max=1.0,
        recurrent_gates=False,
        gate_activation="sigmoid",
        use_bias=False,
        learn_membrane_decay=False,
        kernel_initializer="glorot_uniform",
        recurrent_initializer="orthogonal",
        bias_initializer="zeros",
        membrane_decay_initializer=0.9,
        kernel_regularizer=None,
        recurrent_regularizer=None,
        bias_regularizer=None,
        membrane_decay_regularizer=None,
        kernel_constraint=None,
        recurrent_constraint=None,
        bias_constraint=None,
        membrane_decay_constraint="leak_range",
        batch_normalization=False,
        momentum=0.9,
        dropout=0.0,
        recurrent_dropout=0.0,
        seed=None,
        **kwargs,
    ):
        own = arguments(locals())
        del own["recurrent_gates"]
        del own["gate_activation"]
        del own["recurrent_initializer"]
        del own["recurrent_regularizer"]
        del own["recurrent_constraint"]
        super().__init__(**own)
        self.recurrent_gates = bool(recurrent_gates)
        self.gate_activation = activations.get(gate_activation)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.recurrent_regularizer = regularizers.get(recurrent_regularizer)
        self.recurrent_constraint = constraints.get(recurrent_constraint)

    def build(self, input_shape):
        """Creates the weights for inputs of shape `(batch, in)`."""
        self.build_kernel(input_shape)
        if self.recurrent_gates:
            self.recurrent_kernel = self.named_weight(
                "recurrent_kernel", (self.units, 2 * self.units)
            )
        self.build_bias()
        self.build_membrane()

    def advance(self, net, states, parameters, training=False):
        """Computes one time step; `inside` has signals, current and membrane potential."""
        current, membrane, output = states
        # The products with the previous outputs are part of `net`.
        forget, candidate = ops.split(net, 2, axis=-1)
        output, current, membrane, forget, candidate = gated_lif_step(
            XW_fi=forget,
            XW_ci=candidate,
            YW_fr=0.0,
            YW_cr=0.0,
            I=current,
            V=membrane,
            Y=output,
            alpha=parameters["membrane_decay"],
            theta=self.taken,
            fire=lambda membrane: self.fire(membrane, parameters.get("v_max")),
            mask=self.recurrent_mask(current, training),
            sigma=self.gate_activation,
        )
        inside = {
            "forget": forget,
            "candidate": candidate,
            "current": current,
            "membrane": membrane,
        }
        return output, [current, membrane, output], inside

    @property
    def has_retreat(self):
        """See `SpikingCell.has_retreat`; the gate's activation must act on each element alone."""
        return super().has_retreat and activations.acts_on_elements(self.gate_activation)

    def prepared(self, kept, parameters):
        """What the gradient of the current is multiplied with."""
        x, candidate = ops.split(kept["net"], 2, axis=-1)
        F, slope = fused.slope(self.gate_activation, x)
        to_forget = (kept.before(0) - ops.relu(candidate)) * slope
        to_candidate = (1 - F) * ops.cast(candidate > 0, F.dtype)
        return {"F": F, "to_net": ops.concatenate([to_forget, to_candidate], axis=-1)}

    def retreat(self, kept, parameters, d_output, d_states):
        """The gradients of one time step: see `SpikingCell.retreat`."""
        d_I, d_V, d_Y = d_states
        d_V, d_before, d_alpha = self.retreat_membrane(kept, parameters, d_output + d_Y, d_V)
        d_I = d_I + d_V
        d_net = ops.concatenate([d_I, d_I], axis=-1) * kept["to_net"]
        return d_net, [kept["F"] * d_I, *d_before], self.complete({"membrane_decay": d_alpha})

    def multiplications(self, inputs, outputs):
        """Multiplications of one step, from the numbers of inputs and outputs that are not 0."""
        if self.recurrent_gates:
            inputs = inputs + outputs
        return 2 * inputs * self.units + 8 * self.units


class MembraneRNN(SpikingRNN):
    """Base of both layers: the loop, and the statistics that move once a batch.

    The products of the inputs and `kernel` are computed for all steps before the loop. In training,
    unless the layer is frozen, they are normalised with the statistics of the batch, and the
    largest membrane potential is carried through the loop.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        if self.checkpoint_every and self.cell.batch_normalization:
            raise ValueError(
                f"{type(self).__name__} '{self.name}': `checkpoint_every` cannot be used with "
                "`batch_normalization`, whose statistics are those of all steps. Leave out one."
            )

    def projected(self, sequences, mask, training):
        """The projected inputs of all steps; in training moves the statistics of normalisation."""
        if training and self.trainable and self.cell.batch_normalization:
            return self.cell.projected_in_training(self.dropped(sequences, training), mask)
        return super().projected(sequences, mask, training)

    def loop(self, sequences, initial_state, mask, training=False):
        """Runs the cell over the sequences, and in training moves `v_max`."""
        if not (training and self.trainable and self.cell.bits is not None):
            return super().loop(sequences, initial_state, mask, training=training)
        *results, peak = self.steps(
            sequences, initial_state, mask, training, observed="membrane_size"
        )
        self.cell.observe(peak)
        return results


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class LIF(MembraneRNN):
    """Layer of leaky integrate-and-fire neurons with a synaptic current.

    `LIFCell` has the equations. What differs from Keras' own recurrent layers:

    - At a masked step the output is 0: `zero_output_for_mask` is `True` by default. Of a padded
      sequence with `return_sequences=False` the output is therefore 0 if the last step is padding.
    - Under a half precision policy the states are computed and carried through the sequence in
      `float32`; outputs and returned states have the layer's dtype.
    - In training, unless the layer is frozen (`trainable=False`), `v_max` and the statistics of
      batch normalisation move once for each batch. Masked steps do not count.

    Args:
        units: Positive integer, number of neurons.
        threshold: Firing threshold, a number or one for each unit, above 0. Not used with `bits`.
        surrogate: Surrogate of the derivative of a spike, as `keras_spiking_rnn.surrogates.get`
            takes it. Not used with `bits`.
        bits: Bits of the outputs, from 1 to 8, or `None` for outputs 0 and 1.
        threshold_ratio: With `bits`, the threshold in steps of the outputs, from 1 to
            `2**bits - 1`.
        signed: Whether one of the bits is the sign.
        initial_v_max: Largest membrane potential until the first batch of training.
        use_bias: Whether there is a bias.
        learn_current_decay: Whether the decay of the current is learned.
        learn_membrane_decay: Whether the decay of the membrane potential is learned.
        kernel_initializer: Initializer of `kernel`, the input weights.
        bias_initializer: Initializer of `bias`.
        current_decay_initializer: Initializer of `current_decay`, or a number.
        membrane_decay_initializer: Initializer of `membrane_decay`, or a number.
        kernel_regularizer: Regularizer of `kernel`.
        bias_regularizer: Regularizer of `bias`.
        current_decay_regularizer: Regularizer of `current_decay`.
        membrane_decay_regularizer: Regularizer of `membrane_decay`.
        activity_regularizer: Regularizer of the outputs, and with `return_state` of the returned
            states too. Keras 3.12 does not divide it by the batch size, newer versions do.
        kernel_constraint: Constraint of `kernel`.
        bias_constraint: Constraint of `bias`.
        current_decay_constraint: Constraint of `current_decay`. The default, `"leak_range"`, is
            `keras_spiking_rnn.base.LeakRange()`.
        membrane_decay_constraint: Constraint of `membrane_decay`, with the same default.
        batch_normalization: Whether the products of inputs and `kernel` are normalised.
        momentum: Weight of the past in moving averages, at least 0 and below 1.
        dropout: Fraction of the inputs to drop in training, at least 0 and below 1.
        recurrent_dropout: Fraction of what enters the currents to drop in training.
        seed: Seed of dropout.
        return_sequences: Whether to return the outputs of all steps or of the last one.
        return_state: Whether to return the last current, membrane potential and output as well.
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
        initial_state: List of three tensors of shape `(batch, units)`, the current, the membrane
            potential and the output to begin with; by default 0.
        mask: Boolean tensor of shape `(batch, steps)`; `False` leaves a step out.
        training: Whether to apply dropout and to move the moving averages.

    Returns:
        Outputs, 0 or 1, or with `bits` multiples of `v_max / 2**bits`, of shape
        `(batch, steps, units)` with `return_sequences` and otherwise `(batch, units)`. With
        `return_state` a tuple `(output, current, membrane, output)`, where the states have shape
        `(batch, units)`.

    Raises:
        ValueError: If an argument is out of range.

    Reference:
        Ponghiran, Roy, *Spiking Neural Networks with Improved Inherent Recurrence Dynamics for
        Sequential Learning* (2021), sections 2 and 3.

    Example:
    ```python
    layer = LIF(8, return_sequences=True)
    output = layer(keras.random.uniform((2, 10, 4)))  # (2, 10, 8)
    ```
    """

    cell_class = LIFCell

    def __init__(
        self,
        units,
        threshold=1.0,
        surrogate="triangular",
        bits=None,
        threshold_ratio=1,
        signed=False,
        initial_v_max=1.0,
        use_bias=False,
        learn_current_decay=False,
        learn_membrane_decay=False,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        current_decay_initializer=0.9,
        membrane_decay_initializer=0.9,
        kernel_regularizer=None,
        bias_regularizer=None,
        current_decay_regularizer=None,
        membrane_decay_regularizer=None,
        activity_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        current_decay_constraint="leak_range",
        membrane_decay_constraint="leak_range",
        batch_normalization=False,
        momentum=0.9,
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


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class GatedLIF(MembraneRNN):
    """Layer of leaky integrate-and-fire neurons with improved dynamics.

    `GatedLIFCell` has the equations. What differs from Keras' own recurrent layers:

    - At a masked step the output is 0: `zero_output_for_mask` is `True` by default. Of a padded
      sequence with `return_sequences=False` the output is therefore 0 if the last step is padding.
    - Under a half precision policy the states are computed and carried through the sequence in
      `float32`; outputs and returned states have the layer's dtype.
    - In training, unless the layer is frozen (`trainable=False`), `v_max` and the statistics of
      batch normalisation move once for each batch. Masked steps do not count.

    Args:
        units: Positive integer, number of neurons.
        threshold: Firing threshold, a number or one for each unit, above 0. Not used with `bits`.
        surrogate: Surrogate of the derivative of a spike, as `keras_spiking_rnn.surrogates.get`
            takes it. Not used with `bits`.
        bits: Bits of the outputs, from 1 to 8, or `None` for outputs 0 and 1.
        threshold_ratio: With `bits`, the threshold in steps of the outputs, from 1 to
            `2**bits - 1`.
        signed: Whether one of the bits is the sign.
        initial_v_max: Largest membrane potential until the first batch of training.
        recurrent_gates: Whether the gates see the outputs of the previous step (version 2).
        gate_activation: The sigmoid of the forget signal, as `keras_spiking_rnn.activations.get`
            takes it, with values from 0 to 1: `"sigmoid"`, or `"plan_sigmoid"`, which
            `lava_export` has in integers.
        use_bias: Whether there is a bias.
        learn_membrane_decay: Whether the decay of the membrane potential is learned.
        kernel_initializer: Initializer of `kernel`, the input weights.
        recurrent_initializer: Initializer of `recurrent_kernel`.
        bias_initializer: Initializer of `bias`.
        membrane_decay_initializer: Initializer of `membrane_decay`, or a number.
        kernel_regularizer: Regularizer of `kernel`.
        recurrent_regularizer: Regularizer of `recurrent_kernel`.
        bias_regularizer: Regularizer of `bias`.
        membrane_decay_regularizer: Regularizer of `membrane_decay`.
        activity_regularizer: Regularizer of the outputs, and with `return_state` of the returned
            states too. Keras 3.12 does not divide it by the batch size, newer versions do.
        kernel_constraint: Constraint of `kernel`.
        recurrent_constraint: Constraint of `recurrent_kernel`.
        bias_constraint: Constraint of `bias`.
        membrane_decay_constraint: Constraint of `membrane_decay`. The default, `"leak_range"`, is
            `keras_spiking_rnn.base.LeakRange()`.
        batch_normalization: Whether the products of inputs and `kernel` are normalised.
        momentum: Weight of the past in moving averages, at least 0 and below 1.
        dropout: Fraction of the inputs to drop in training, at least 0 and below 1.
        recurrent_dropout: Fraction of what enters the currents to drop in training.
        seed: Seed of dropout.
        return_sequences: Whether to return the outputs of all steps or of the last one.
        return_state: Whether to return the last current, membrane potential and output as well.
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
        initial_state: List of three tensors of shape `(batch, units)`, the current, the membrane
            potential and the output to begin with; by default 0.
        mask: Boolean tensor of shape `(batch, steps)`; `False` leaves a step out.
        training: Whether to apply dropout and to move the moving averages.

    Returns:
        Outputs, multiples of `v_max / 2**bits`, or 0 and 1 with `bits=None`, of shape
        `(batch, steps, units)` with `return_sequences` and otherwise `(batch, units)`. With
        `return_state` a tuple `(output, current, membrane, output)`, where the states have shape
        `(batch, units)`.

    Raises:
        ValueError: If an argument is out of range.

    Reference:
        Ponghiran, Roy, *Spiking Neural Networks with Improved Inherent Recurrence Dynamics for
        Sequential Learning* (2021), sections 2 and 3.

    Example:
    ```python
    layer = GatedLIF(8, return_sequences=True)
    output = layer(keras.random.uniform((2, 10, 4)))  # (2, 10, 8)
    ```
    """

    cell_class = GatedLIFCell

    def __init__(
        self,
        units,
        threshold=1.0,
        surrogate="triangular",
        bits=6,
        threshold_ratio=8,
        signed=False,
        initial_v_max=1.0,
        recurrent_gates=False,
        gate_activation="sigmoid",
        use_bias=False,
        learn_membrane_decay=False,
        kernel_initializer="glorot_uniform",
        recurrent_initializer="orthogonal",
        bias_initializer="zeros",
        membrane_decay_initializer=0.9,
        kernel_regularizer=None,
        recurrent_regularizer=None,
        bias_regularizer=None,
        membrane_decay_regularizer=None,
        activity_regularizer=None,
        kernel_constraint=None,
        recurrent_constraint=None,
        bias_constraint=None,
        membrane_decay_constraint="leak_range",
        batch_normalization=False,
        momentum=0.9,
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
