"""Recurrent Leaky Integrate-and-Fire (RLIF) neurons: the step, the cell and the layer.

Reference:
    *A spiking sequential model: Recurrent Leaky Integrate-and-Fire* (2020), section 3.1.
"""

import math
import numbers
import warnings

import keras
from keras import constraints, initializers, ops, regularizers

# Keras has no public names for these two. `RNN` draws one dropout mask a sequence, before its loop,
# for cells of the class `DropoutRNNCell` only.
from keras.src.backend import AutocastScope
from keras.src.layers.rnn.dropout_rnn_cell import DropoutRNNCell

from keras_spiking_rnn import surrogates


def rlif_step(X, u, W_volt, b_volt, alpha, b_mem, V_thres, V_reset, surrogate, beta=0.0):  # noqa: N803
    """One time step of RLIF: equations (4) to (10) of the paper, in its symbols.

    `units` is the number of neurons and `in` the number of inputs. A vector of `units` values may
    also be one number for all of them.

    Args:
        X: Input, `(batch, in)`.
        u: Membrane potential left over from the previous step, `(batch, units)`.
        W_volt: Input weights, `(in, units)`.
        b_volt: Bias of the input current, `(units,)`.
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
    U = ops.cast(ops.matmul(X, W_volt), u.dtype) + b_volt  # (9)
    V = U + u  # (4)
    F = surrogate(V - V_thres)  # (5)
    u_d = F * V_reset + (1 - F) * V  # (6)
    Y = F  # (8)
    M = alpha * u_d + b_mem  # (10)
    u = M + beta  # (7)
    return Y, u, V


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class LeakRange(constraints.Constraint):
    """Keeps a leak within a range.

    Above 1 a membrane potential grows by itself, below 0 it alternates in sign. The default
    minimum, 1/4096, is the smallest leak other than 0 that the 12-bit decay of a Loihi neuron can
    hold.

    Args:
        minimum: Smallest allowed value.
        maximum: Largest allowed value.

    Raises:
        ValueError: If not `0 <= minimum < maximum`.
    """

    def __init__(self, minimum=1 / 4096, maximum=1.0):
        if not 0 <= minimum < maximum:
            raise ValueError(
                "LeakRange: `minimum` must be at least 0 and smaller than `maximum`. Received: "
                f"minimum={minimum}, maximum={maximum}"
            )
        self.minimum = float(minimum)
        self.maximum = float(maximum)

    def __call__(self, value):
        """Returns `value`, clipped to the range."""
        return ops.clip(value, self.minimum, self.maximum)

    def get_config(self):
        """Returns the arguments of the constructor as a dictionary."""
        return {"minimum": self.minimum, "maximum": self.maximum}


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class RLIFCell(keras.layers.Layer, DropoutRNNCell):
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

    Under a half precision policy (`mixed_float16`, `mixed_bfloat16`) only the matrix product of (9)
    is computed in half precision. `compute_dtype` of the cell is then `float32`, because that is
    the dtype in which `keras.layers.RNN` carries the states.

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

    # Tells `keras_spiking_rnn.metrics` that the outputs are spikes.
    emits_spikes = True

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
        activity_regularizer = kwargs.pop("activity_regularizer", None)
        super().__init__(**kwargs)
        # The step casts by itself: states keep their dtype, whatever the policy.
        self.autocast = False
        if activity_regularizer is not None:
            raise ValueError(
                f"{self._title} does not take an `activity_regularizer`, because Keras cannot add "
                "a loss within the loop over time. Pass it to the layer around the cell: "
                "RLIF(..., activity_regularizer=...) or "
                "keras.layers.RNN(cell, activity_regularizer=...)."
            )
        if isinstance(units, bool) or not isinstance(units, numbers.Integral) or units <= 0:
            raise ValueError(
                f"{self._title}: `units` must be a positive integer. Received: units={units!r}"
            )
        self.units = int(units)
        self.threshold = self._fixed_values("threshold", threshold)
        self.reset = self._fixed_values("reset", reset)
        self._check_reset_below_threshold()
        self.surrogate = surrogates.get(surrogate)
        self.use_bias = bool(use_bias)
        self.use_membrane_bias = bool(use_membrane_bias)
        self.learn_leak = bool(learn_leak)

        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.leak_regularizer = regularizers.get(leak_regularizer)
        self.membrane_bias_regularizer = regularizers.get(membrane_bias_regularizer)

        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.leak_constraint = (
            LeakRange() if leak_constraint == "leak_range" else constraints.get(leak_constraint)
        )
        self.membrane_bias_constraint = constraints.get(membrane_bias_constraint)

        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.leak_initializer = self._leak_initializer(leak_initializer)
        self.membrane_bias_initializer = initializers.get(membrane_bias_initializer)

        if not (isinstance(noise_stddev, numbers.Real) and 0 <= noise_stddev < math.inf):
            raise ValueError(
                f"{self._title}: `noise_stddev` must be a finite number of at least 0 (0 for no "
                f"noise). Received: noise_stddev={noise_stddev!r}"
            )
        self.noise_stddev = float(noise_stddev)
        if not (isinstance(dropout, numbers.Real) and 0 <= dropout < 1):
            raise ValueError(
                f"{self._title}: `dropout` must be at least 0 and below 1, it is the fraction of "
                f"the inputs to drop. Received: dropout={dropout!r}"
            )
        self.dropout = float(dropout)
        self.recurrent_dropout = 0.0  # Read by DropoutRNNCell.
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed=seed)

        self.state_size = self.units
        self.output_size = self.units

    @property
    def _title(self):
        return f"{type(self).__name__} '{self.name}'"

    def _fixed_values(self, name, value):
        """Returns a float, or a tuple of `units` floats, for a parameter that is not learned."""
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            values = [value]
        else:
            try:
                values = [float(element) for element in value]
            except (TypeError, ValueError):
                raise ValueError(
                    f"{self._title}: `{name}` must be a number or a sequence of {self.units} "
                    f"numbers, one for each unit. Received: {name}={value!r}"
                ) from None
            if len(values) != self.units:
                raise ValueError(
                    f"{self._title}: `{name}` must be a number or a sequence of {self.units} "
                    f"numbers, one for each unit. Received a sequence of {len(values)} numbers."
                )
        if not all(math.isfinite(element) for element in values):
            raise ValueError(f"{self._title}: `{name}` must be finite. Received: {name}={value!r}")
        return float(value) if isinstance(value, numbers.Real) else tuple(values)

    def _check_reset_below_threshold(self):
        def of_each_unit(value):
            return value if isinstance(value, tuple) else (value,) * self.units

        pairs = zip(of_each_unit(self.reset), of_each_unit(self.threshold), strict=True)
        for unit, (reset, threshold) in enumerate(pairs):
            if reset >= threshold:
                raise ValueError(
                    f"{self._title}: `reset` must be smaller than `threshold`, otherwise a unit "
                    f"that has fired once fires at every step. Received: reset={reset}, "
                    f"threshold={threshold} (unit {unit})."
                )

    def _leak_initializer(self, identifier):
        if not isinstance(identifier, numbers.Real) or isinstance(identifier, bool):
            return initializers.get(identifier)
        limits = self.leak_constraint
        if isinstance(limits, LeakRange):
            if not limits.minimum <= identifier <= limits.maximum:
                raise ValueError(
                    f"{self._title}: `leak_initializer` must be within the range of its "
                    f"constraint, {limits.minimum} to {limits.maximum}. Received: "
                    f"leak_initializer={identifier!r}. For another range pass "
                    "leak_constraint=LeakRange(minimum, maximum), or None for no limits."
                )
        elif not math.isfinite(identifier):
            raise ValueError(
                f"{self._title}: `leak_initializer` must be finite. Received: "
                f"leak_initializer={identifier!r}"
            )
        return initializers.Constant(float(identifier))

    def build(self, input_shape):
        """Creates the weights for inputs of shape `(batch, in)`."""
        inputs = input_shape[-1]
        if len(input_shape) != 2 or inputs is None:
            raise ValueError(
                f"{self._title}: the inputs of one step must have shape (batch, features) with a "
                f"known number of features. Received the shape {tuple(input_shape)}. Flatten each "
                "step first, for example with "
                "keras.layers.TimeDistributed(keras.layers.Flatten())."
            )
        self.kernel = self.add_weight(
            shape=(inputs, self.units),
            name="kernel",
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                shape=(self.units,),
                name="bias",
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
        self.leak = self.add_weight(
            shape=(self.units,),
            name="leak",
            initializer=self.leak_initializer,
            regularizer=self.leak_regularizer,
            constraint=self.leak_constraint,
            trainable=self.learn_leak,
        )
        self.membrane_bias = None
        if self.use_membrane_bias:
            self.membrane_bias = self.add_weight(
                shape=(self.units,),
                name="membrane_bias",
                initializer=self.membrane_bias_initializer,
                regularizer=self.membrane_bias_regularizer,
                constraint=self.membrane_bias_constraint,
            )
        self.built = True

    @property
    def weights(self):
        """`kernel`, `bias`, `leak`, `membrane_bias`: in this order, learned or not."""
        # Keras' own order has the variables that are not trainable last.
        if not self.built:
            return []
        weights = (self.kernel, self.bias, self.leak, self.membrane_bias)
        return [weight for weight in weights if weight is not None]

    def save_own_variables(self, store):
        """Stores the weights by name."""
        # Keras stores by position, which depends on `learn_leak`: loading into a cell with the
        # other setting would swap `leak` and `membrane_bias`.
        for weight in self.weights:
            store[weight.name] = weight

    def load_own_variables(self, store):
        """Loads the weights by name."""
        expected = [weight.name for weight in self.weights]
        if sorted(store.keys()) != sorted(expected):
            raise ValueError(
                f"{self._title}: the saved weights do not fit. Expected {expected}, the file has "
                f"{sorted(store.keys())}. Create the layer with the arguments with which it was "
                "saved, and build it before loading."
            )
        for weight in self.weights:
            weight.assign(store[weight.name])

    @property
    def compute_dtype(self):
        """The dtype of the membrane potential, at least `float32`."""
        dtype = super().compute_dtype
        return "float32" if dtype in ("float16", "bfloat16") else dtype

    def step(self, inputs, membrane, training=False):
        """Computes one time step.

        Args:
            inputs: Tensor of shape `(batch, in)`.
            membrane: $u^{t-1}$, tensor of shape `(batch, units)`.
            training: Whether to apply noise and dropout.

        Returns:
            A tuple `(spikes, membrane, potential)` of tensors of shape `(batch, units)`: $Y^t$,
            $u^t$ and $V^t$, the membrane potential before the reset.
        """
        dtype = self.compute_dtype
        product_dtype = super().compute_dtype
        if training and self.dropout > 0:
            inputs = ops.cast(inputs, dtype) * ops.cast(self.get_dropout_mask(inputs), dtype)
        noise = 0.0
        if training and self.noise_stddev > 0:
            noise = keras.random.normal(
                ops.shape(membrane), stddev=self.noise_stddev, dtype=dtype, seed=self.seed_generator
            )
        return rlif_step(
            X=ops.cast(inputs, product_dtype),
            u=ops.cast(membrane, dtype),
            W_volt=ops.cast(self.kernel, product_dtype),
            b_volt=0.0 if self.bias is None else ops.cast(self.bias, dtype),
            alpha=ops.cast(self.leak, dtype),
            b_mem=0.0 if self.membrane_bias is None else ops.cast(self.membrane_bias, dtype),
            V_thres=ops.convert_to_tensor(self.threshold, dtype=dtype),
            V_reset=ops.convert_to_tensor(self.reset, dtype=dtype),
            surrogate=self.surrogate,
            beta=noise,
        )

    def call(self, inputs, states, training=False):
        """Computes one time step: see the class."""
        membrane = states[0] if isinstance(states, (list, tuple)) else states
        dtype = keras.backend.standardize_dtype(membrane.dtype)
        if dtype in ("float16", "bfloat16"):
            warnings.warn(
                f"{self._title} received its membrane potential in {dtype}. StackedRNNCells "
                "carries states in its own dtype: give it a float32 one with "
                "keras.layers.StackedRNNCells(cells, dtype='float32').",
                stacklevel=2,
            )
        spikes, new_membrane, _ = self.step(inputs, membrane, training=training)
        # A loop needs each state to leave in the dtype in which it came.
        new_membrane = ops.cast(new_membrane, dtype)
        return spikes, [new_membrane] if isinstance(states, (list, tuple)) else new_membrane

    def get_initial_state(self, batch_size=None):
        """Returns $u^0 = 0$ for `batch_size` sequences."""
        return [ops.zeros((batch_size, self.units), dtype=self.compute_dtype)]

    def get_config(self):
        """Returns the arguments of the constructor as a dictionary."""
        config = {
            "units": self.units,
            "threshold": _as_config(self.threshold),
            "reset": _as_config(self.reset),
            "surrogate": surrogates.serialize(self.surrogate),
            "use_bias": self.use_bias,
            "use_membrane_bias": self.use_membrane_bias,
            "learn_leak": self.learn_leak,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "leak_initializer": initializers.serialize(self.leak_initializer),
            "membrane_bias_initializer": initializers.serialize(self.membrane_bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
            "leak_regularizer": regularizers.serialize(self.leak_regularizer),
            "membrane_bias_regularizer": regularizers.serialize(self.membrane_bias_regularizer),
            "kernel_constraint": constraints.serialize(self.kernel_constraint),
            "bias_constraint": constraints.serialize(self.bias_constraint),
            "leak_constraint": constraints.serialize(self.leak_constraint),
            "membrane_bias_constraint": constraints.serialize(self.membrane_bias_constraint),
            "noise_stddev": self.noise_stddev,
            "dropout": self.dropout,
            "seed": self.seed,
        }
        return {**super().get_config(), **config}


def _as_config(value):
    return list(value) if isinstance(value, tuple) else value


def _of_cell(name):
    return property(lambda layer: getattr(layer.cell, name), doc=f"`{name}` of the cell.")


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class RLIF(keras.layers.RNN):
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
        name = kwargs.get("name")
        cell = RLIFCell(
            units,
            threshold=threshold,
            reset=reset,
            surrogate=surrogate,
            use_bias=use_bias,
            use_membrane_bias=use_membrane_bias,
            learn_leak=learn_leak,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            leak_initializer=leak_initializer,
            membrane_bias_initializer=membrane_bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            leak_regularizer=leak_regularizer,
            membrane_bias_regularizer=membrane_bias_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            leak_constraint=leak_constraint,
            membrane_bias_constraint=membrane_bias_constraint,
            noise_stddev=noise_stddev,
            dropout=dropout,
            seed=seed,
            dtype=kwargs.get("dtype"),
            trainable=kwargs.get("trainable", True),
            name=f"{name}_cell" if name else "rlif_cell",
        )
        super().__init__(
            cell,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            unroll=unroll,
            zero_output_for_mask=zero_output_for_mask,
            activity_regularizer=activity_regularizer,
            **kwargs,
        )
        self.input_spec = keras.layers.InputSpec(ndim=3)

    def inner_loop(self, sequences, initial_state, mask, training=False):
        """Runs the cell over the sequences."""
        last_output, outputs, states = super().inner_loop(
            sequences, initial_state, mask, training=training
        )
        self._final_states = tuple(states)
        return last_output, outputs, states

    def call(self, sequences, initial_state=None, mask=None, training=False):
        """Runs the cell over the sequences: see the class."""
        # Keras' autocast scope rounds the membrane potential of a stateful layer to half precision
        # whenever it is read from its variable or assigned to it.
        with AutocastScope(None):
            outputs = super().call(
                sequences, initial_state=initial_state, mask=mask, training=training
            )
            if self.stateful and self.compute_dtype != self.cell.compute_dtype:
                # `RNN` has assigned it after rounding to the dtype of the outputs.
                for variable, state in zip(self.states, self._final_states, strict=True):
                    variable.assign(state)
        self._final_states = None
        return outputs

    units = _of_cell("units")
    threshold = _of_cell("threshold")
    reset = _of_cell("reset")
    surrogate = _of_cell("surrogate")
    use_bias = _of_cell("use_bias")
    use_membrane_bias = _of_cell("use_membrane_bias")
    learn_leak = _of_cell("learn_leak")
    kernel_initializer = _of_cell("kernel_initializer")
    bias_initializer = _of_cell("bias_initializer")
    leak_initializer = _of_cell("leak_initializer")
    membrane_bias_initializer = _of_cell("membrane_bias_initializer")
    kernel_regularizer = _of_cell("kernel_regularizer")
    bias_regularizer = _of_cell("bias_regularizer")
    leak_regularizer = _of_cell("leak_regularizer")
    membrane_bias_regularizer = _of_cell("membrane_bias_regularizer")
    kernel_constraint = _of_cell("kernel_constraint")
    bias_constraint = _of_cell("bias_constraint")
    leak_constraint = _of_cell("leak_constraint")
    membrane_bias_constraint = _of_cell("membrane_bias_constraint")
    noise_stddev = _of_cell("noise_stddev")
    dropout = _of_cell("dropout")
    seed = _of_cell("seed")

    def get_config(self):
        """Returns the arguments of the constructor as a dictionary."""
        config = super().get_config()
        del config["cell"]
        of_cell = self.cell.get_config()
        for key in ("name", "trainable", "dtype"):
            del of_cell[key]
        return {**of_cell, **config}

    @classmethod
    def from_config(cls, config):
        """Creates the layer that has the configuration `config`."""
        return cls(**config)
