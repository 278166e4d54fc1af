"""What all cells and layers share: arguments, dtypes, dropout masks, saving, masks."""

import contextlib
import functools
import inspect
import math
import numbers
import warnings

import keras
import tensorflow as tf
from keras import activations, constraints, initializers, ops, regularizers

# The loop that Keras' layers run has no public name.
from keras.src.backend import rnn

# Neither has an autocast scope.
from keras.src.backend.common.variables import AutocastScope

# `RNN` draws one dropout mask a sequence, before its loop, for cells of this class only, and Keras
# has no public name for it.
from keras.src.layers.rnn.dropout_rnn_cell import DropoutRNNCell

from keras_spiking_rnn import checks, fused, surrogates

HALF = ("float16", "bfloat16")


def arguments(namespace):
    """The arguments of a constructor, from the `locals()` with which it begins."""
    namespace = dict(namespace)
    kwargs = namespace.pop("kwargs", {})
    for name in ("self", "__class__"):
        namespace.pop(name, None)
    return {**namespace, **kwargs}


def constructor_arguments(cls):
    """Names of the arguments of a constructor, without `self` and `kwargs`."""
    return [name for name in inspect.signature(cls.__init__).parameters][1:-1]


def products(cell, inputs, states):
    """Pairs of what a cell multiplies and the weight, of most cells: see `SpikingCell.products`."""
    recurrent = getattr(cell, "recurrent_kernel", None)
    fed_back = states[getattr(cell, "feedback", 0)]
    return [(inputs, cell.kernel)] + ([] if recurrent is None else [(fed_back, recurrent)])


@contextlib.contextmanager
def returning_sequences(layer):
    """Has the loop of a recurrent layer return the outputs of all steps."""
    before, layer.return_sequences = layer.return_sequences, True
    try:
        yield
    finally:
        layer.return_sequences = before


def counted_steps(layer, sequences, mask):
    """Which steps are not masked, `(batch, steps)`, in the order in which the loop takes them."""
    if mask is None:
        return ops.ones(ops.shape(sequences)[:2], "bool")
    mask = ops.cast(keras.tree.flatten(mask)[0], "bool")
    return ops.flip(mask, axis=1) if layer.go_backwards else mask


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


class SpikingCell(keras.layers.Layer, DropoutRNNCell):
    """Base of the cells.

    A subclass sets its arguments as attributes, creates its weights in `build`, ends this with
    `self.built = True`, and computes in `advance`. Its configuration is read from the attributes
    that have the names of the constructor's arguments; its weights keep the order in which they
    were created, whether they are learned or not.

    Under a half precision policy (`mixed_float16`, `mixed_bfloat16`) only what `step` computes in
    `product_dtype` is in half precision. `compute_dtype` is then `float32`, because that is the
    dtype in which `keras.layers.RNN` carries the states.

    Args:
        units: Positive integer, number of neurons.
        dropout: Fraction of the inputs to drop in training, at least 0 and below 1.
        recurrent_dropout: The same for the recurrent inputs.
        seed: Seed of all that is random in the cell.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Raises:
        ValueError: If an argument is out of range.
    """

    # Tells `keras_spiking_rnn.metrics` that the outputs are spikes.
    emits_spikes = True

    # Index of the state that `recurrent_kernel` multiplies, if there is one, and whether it is the
    # output.
    feedback = 0
    feeds_output = False

    # Tells them that each unit has a membrane potential, which is updated at each step.
    has_membrane = True

    # The name of the layer around the cell, if it is not that of the cell.
    layer_name = None

    # What there is `units` of, and the number of axes of one step's inputs.
    unit = "unit"
    input_ndim = 2

    # Whether the loop of a cell of this library can be compiled: `keras_spiking_rnn.fused`.
    compiles = True

    def __init__(self, units, dropout=0.0, recurrent_dropout=0.0, seed=None, **kwargs):
        activity_regularizer = kwargs.pop("activity_regularizer", None)
        super().__init__(**kwargs)
        # The step casts by itself: states keep their dtype, whatever the policy.
        self.autocast = False
        if activity_regularizer is not None:
            layer = self.layer_name or type(self).__name__.removesuffix("Cell")
            raise ValueError(
                f"{self.title} does not take an `activity_regularizer`, because Keras cannot add "
                "a loss within the loop over time. Pass it to the layer around the cell: "
                f"{layer}(..., activity_regularizer=...) or "
                "keras.layers.RNN(cell, activity_regularizer=...)."
            )
        self.units = checks.positive_integer(self.title, f"{self.unit}s", units)
        self.dropout = self._fraction("dropout", dropout)
        self.recurrent_dropout = self._fraction("recurrent_dropout", recurrent_dropout)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed=seed)
        self.state_size = self.units
        self.output_size = self.units
        self._ordered_weights = {}

    @property
    def title(self):
        """Class and name, to begin an error with."""
        return f"{type(self).__name__} '{self.name}'"

    def _fraction(self, name, value):
        if not checks.is_number(value, 0, 1, open_high=True):
            raise ValueError(
                f"{self.title}: `{name}` must be at least 0 and below 1, it is the fraction of "
                f"the inputs to drop. Received: {name}={value!r}"
            )
        return float(value)

    def number(self, name, value, low=-math.inf, high=math.inf, open_low=False):
        """`value` as a float, if it is finite and in [low, high], or in (low, high]."""
        return checks.number(self.title, name, value, low, high, open_low)

    def one_of(self, name, value, known):
        """`value`, if it is one of those that are `known`."""
        return checks.one_of(self.title, name, value, known)

    def configure_weight(self, name, initializer, regularizer, constraint):
        """Sets what the weight `name` needs."""
        setattr(self, f"{name}_initializer", initializers.get(initializer))
        setattr(self, f"{name}_regularizer", regularizers.get(regularizer))
        setattr(self, f"{name}_constraint", constraints.get(constraint))

    def configure_decay(self, name, initializer, regularizer, constraint):
        """Sets what the weight `name` needs, a decay within the range of its constraint."""
        limits = LeakRange() if constraint == "leak_range" else constraints.get(constraint)
        if isinstance(initializer, numbers.Real) and not isinstance(initializer, bool):
            if isinstance(limits, LeakRange) and not (
                limits.minimum <= initializer <= limits.maximum
            ):
                raise ValueError(
                    f"{self.title}: `{name}_initializer` must be within the range of its "
                    f"constraint, {limits.minimum} to {limits.maximum}. Received: "
                    f"{name}_initializer={initializer!r}. For another range pass "
                    f"{name}_constraint=LeakRange(minimum, maximum), or None for no limits."
                )
            initializer = initializers.Constant(self.number(f"{name}_initializer", initializer))
        self.configure_weight(name, initializer, regularizer, limits)

    def fixed_values(self, name, value):
        """A float, or a tuple of `units` floats, for a parameter that is not learned."""
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            values = [value]
        else:
            try:
                values = [float(element) for element in value]
            except (TypeError, ValueError):
                raise ValueError(
                    f"{self.title}: `{name}` must be a number or a sequence of {self.units} "
                    f"numbers, one for each {self.unit}. Received: {name}={value!r}"
                ) from None
            if len(values) != self.units:
                raise ValueError(
                    f"{self.title}: `{name}` must be a number or a sequence of {self.units} "
                    f"numbers, one for each {self.unit}. Received a sequence of {len(values)} "
                    "numbers."
                )
        if not all(math.isfinite(element) for element in values):
            raise ValueError(f"{self.title}: `{name}` must be finite. Received: {name}={value!r}")
        return float(value) if isinstance(value, numbers.Real) else tuple(values)

    def input_size(self, input_shape):
        """Number of features of one step's inputs of shape `(batch, features)`."""
        if len(input_shape) != 2 or input_shape[-1] is None:
            raise ValueError(
                f"{self.title}: the inputs of one step must have shape (batch, features) with a "
                f"known number of features. Received the shape {tuple(input_shape)}. Flatten each "
                "step first, for example with "
                "keras.layers.TimeDistributed(keras.layers.Flatten())."
            )
        return input_shape[-1]

    def add_weight(self, *args, **kwargs):
        """Creates a weight, as `keras.layers.Layer.add_weight` does, and keeps its place."""
        weight = super().add_weight(*args, **kwargs)
        self._ordered_weights[weight.name] = weight
        return weight

    def named_weight(self, name, shape, trainable=True, initializer=None):
        """Creates a weight with the regularizer, constraint and initializer of its name.

        `initializer` takes the place of the one that has its name.
        """
        # As in Keras, the `recurrent_initializer` is that of `recurrent_kernel`.
        prefix = "recurrent" if name == "recurrent_kernel" else name
        return self.add_weight(
            shape=shape,
            name=name,
            initializer=initializer or getattr(self, f"{prefix}_initializer"),
            regularizer=getattr(self, f"{prefix}_regularizer", None),
            constraint=getattr(self, f"{prefix}_constraint", None),
            trainable=trainable,
        )

    def lstm_bias(self):
        """Creates `bias` of an LSTM's gates i, f, g, o, or `None` without `use_bias`."""
        if not self.use_bias:
            return None

        def with_forget_bias(shape, dtype=None):
            i, _, g, o = ops.split(self.bias_initializer(shape, dtype=dtype), 4)
            return ops.concatenate([i, ops.ones_like(i), g, o])

        initializer = with_forget_bias if self.unit_forget_bias else None
        return self.named_weight("bias", (4 * self.units,), initializer=initializer)

    @property
    def weights(self):
        """The weights in the order of their creation, learned or not."""
        # Keras' own order has the variables that are not trainable last.
        return list(self._ordered_weights.values())

    def save_own_variables(self, store):
        """Stores the weights by name."""
        # Keras stores by position, which depends on what is learned: loading into a cell with
        # another setting would swap weights of one shape.
        for name, weight in self._ordered_weights.items():
            store[name] = weight

    def load_own_variables(self, store):
        """Loads the weights by name."""
        if sorted(store.keys()) != sorted(self._ordered_weights):
            raise ValueError(
                f"{self.title}: the saved weights do not fit. Expected "
                f"{list(self._ordered_weights)}, the file has {sorted(store.keys())}. Create the "
                "layer with the arguments with which it was saved, and build it before loading."
            )
        for name, weight in self._ordered_weights.items():
            weight.assign(store[name])

    @property
    def compute_dtype(self):
        """The dtype of the states, at least `float32`."""
        dtype = super().compute_dtype
        return "float32" if dtype in HALF else dtype

    @property
    def product_dtype(self):
        """The dtype of matrix products."""
        return super().compute_dtype

    def product(self, inputs, kernel, operation=ops.matmul):
        """`inputs @ kernel`, in the dtype of the policy, returned in that of the states.

        A convolution is another `operation`.
        """
        inputs, kernel = (ops.cast(factor, self.product_dtype) for factor in (inputs, kernel))
        return ops.cast(operation(inputs, kernel), self.compute_dtype)

    def product_over_rows(self, inputs, gradients):
        """The gradient of a kernel: the product of the transposed inputs and `gradients`."""
        return self.product(inputs, gradients, lambda a, b: tf.matmul(a, b, transpose_a=True))

    def value(self, parameter):
        """A weight or a number in the dtype of the states; 0 for a weight that is not there."""
        if parameter is None:
            return 0.0
        if isinstance(parameter, (numbers.Real, tuple)):
            return ops.convert_to_tensor(parameter, dtype=self.compute_dtype)
        return ops.cast(parameter, self.compute_dtype)

    def values(self, *names):
        """Those weights of these names that are there, in the dtype of the states."""
        weights = {name: getattr(self, name, None) for name in names}
        return {name: self.value(weight) for name, weight in weights.items() if weight is not None}

    def dropped(self, inputs, training):
        """`inputs` after dropout, with one mask for all steps of a sequence."""
        if not training or self.dropout == 0:
            return inputs
        mask = self.get_dropout_mask(inputs)
        return ops.cast(inputs, self.compute_dtype) * ops.cast(mask, self.compute_dtype)

    def recurrent_dropped(self, state, training):
        """`state` after recurrent dropout, with one mask for all steps of a sequence."""
        if not training or self.recurrent_dropout == 0:
            return state
        mask = self.get_recurrent_dropout_mask(state)
        return state * ops.cast(mask, self.compute_dtype)

    def noise(self, like, stddev, training):
        """Normal noise of the shape of `like`, in training only; otherwise 0."""
        if not training or stddev == 0:
            return 0.0
        return keras.random.normal(
            ops.shape(like), stddev=stddev, dtype=self.compute_dtype, seed=self.seed_generator
        )

    def step(self, inputs, states, training=False):
        """Computes one time step in the dtype of the states.

        Args:
            inputs: Tensor of shape `(batch, in)`.
            states: List of tensors, as `state_size` has them.
            training: Whether to apply noise and dropout.

        Returns:
            A tuple `(output, states, inside)`: the output, the list of states to carry to the next
            step, and a dictionary of what `keras_spiking_rnn.metrics.trace` shows of the inside,
            with `"spikes"` if the output is something else.
        """
        net = self.projected(self.dropped(inputs, training))
        return self.integrate(net, states, training)

    def projected(self, inputs, kernel=None):
        """The product of the inputs, of one step or of all, and `kernel`."""
        kernel = self.kernel if kernel is None else kernel
        if len(inputs.shape) == 2:
            return self.product(inputs, kernel)
        # Of three axes Keras makes a product for each sequence, and the gradient as many kernels.
        features, columns = kernel.shape
        product = self.product(ops.reshape(inputs, (-1, features)), kernel)
        return ops.reshape(product, (*ops.shape(inputs)[:-1], columns))

    def net_bias(self):
        """What a step adds to the projected inputs, `(columns,)`, or `None`."""
        return self.values("bias").get("bias")

    def integrate(self, net, states, training=False):
        """Computes one time step from the projected inputs: see `step`."""
        bias = self.net_bias()
        if bias is not None:
            net = net + bias
        kernel = self.feedback_kernel()
        if kernel is not None:
            net = net + self.product(self.fed_back(states, training), kernel)
        return self.advance(net, states, self.parameters(), training)

    def feedback_kernel(self):
        """The weights that multiply the state of index `feedback`, or `None`."""
        return self.values("recurrent_kernel").get("recurrent_kernel")

    def fed_back(self, states, training=False):
        """The state of index `feedback` after recurrent dropout."""
        return self.recurrent_dropped(states[self.feedback], training)

    def parameters(self):
        """The weights that `advance` needs, by name, in the dtype of the states."""
        return {}

    def advance(self, net, states, parameters, training=False):
        """Computes one time step from all that its inputs and its feedback contribute.

        Args:
            net: Tensor of shape `(batch, columns)`.
            states: List of tensors, as `state_size` has them.
            parameters: What `parameters()` returns. No other weight may be used.
            training: Whether to apply noise.

        Returns:
            What `step` returns.
        """
        raise NotImplementedError

    @property
    def has_retreat(self):
        """Whether `retreat` is that of `advance`. If not, TensorFlow differentiates `advance`."""
        owners = [
            next(cls for cls in type(self).__mro__ if name in vars(cls))
            for name in ("advance", "retreat")
        ]
        # A spike function that is not a step has a gradient of its own.
        return owners[0] is owners[1] and all(
            type(value).__call__ is surrogates.Surrogate.__call__
            for value in vars(self).values()
            if isinstance(value, surrogates.Surrogate)
        )

    # What the compiled loop keeps of each step for `retreat`: indices of states after the step, and
    # keys of what `advance` shows of its inside, each with `units` columns. The state that is fed
    # back is kept as well, and `net`, if it is needed.
    keeps = ()
    needs_net = True

    def prepared(self, kept, parameters):
        """What `retreat` needs and is the same whatever the gradients are, for all steps at once.

        Args:
            kept: A `keras_spiking_rnn.fused.AllSteps`.
            parameters: What `parameters()` returns.

        Returns:
            A dictionary of tensors of shape `(batch, steps, columns)`.
        """
        return {}

    def retreat(self, kept, parameters, d_output, d_states):
        """The gradients of one time step, those of `advance`.

        Args:
            kept: A `keras_spiking_rnn.fused.OneStep`, which has what was `prepared` too.
            parameters: What `parameters()` returns.
            d_output: Gradient of the output, `(batch, units)`.
            d_states: List of the gradients of the states after the step.

        Returns:
            A tuple `(d_net, d_states, d_parameters)`: the gradients of what `advance` gets, of
            `net`, of the states before the step, and a dictionary of those of the parameters.
        """
        raise NotImplementedError

    def products(self, inputs, states):
        """What a step multiplies with matrices of weights, for `metrics.synaptic_operations`.

        By default the inputs are multiplied with `kernel`, and the state of index `feedback` with
        `recurrent_kernel`, if there is one.

        Args:
            inputs: Tensor of shape `(batch, in)`.
            states: List of tensors, as `state_size` has them.

        Returns:
            A list of pairs of a tensor and the weight that it is multiplied with.
        """
        return products(self, inputs, states)

    def call(self, inputs, states, training=False):
        """Computes one time step: see the class."""
        is_list = isinstance(states, (list, tuple))
        states = list(states) if is_list else [states]
        dtypes = [keras.backend.standardize_dtype(state.dtype) for state in states]
        if dtypes[0] in HALF:
            warnings.warn(
                f"{self.title} received its states in {dtypes[0]}. StackedRNNCells carries "
                "states in its own dtype: give it a float32 one with "
                "keras.layers.StackedRNNCells(cells, dtype='float32').",
                stacklevel=2,
            )
        states = [ops.cast(state, self.compute_dtype) for state in states]
        output, states, _ = self.step(inputs, states, training=training)
        # A loop needs each state to leave in the dtype in which it came.
        states = [ops.cast(state, dtype) for state, dtype in zip(states, dtypes, strict=True)]
        return output, states if is_list else states[0]

    def get_initial_state(self, batch_size=None):
        """Returns zeros for `batch_size` sequences."""
        sizes = self.state_size if isinstance(self.state_size, (list, tuple)) else [self.state_size]
        # A state that is not a vector has a shape in place of a size.
        shapes = [size if isinstance(size, (list, tuple)) else [size] for size in sizes]
        return [ops.zeros((batch_size, *shape), dtype=self.compute_dtype) for shape in shapes]

    def get_config(self):
        """Returns the arguments of the constructor as a dictionary."""
        own = {
            name: serialized(name, getattr(self, name))
            for name in constructor_arguments(type(self))
        }
        return {**super().get_config(), **own}


def serialized(name, value):
    """A constructor's argument as JSON has it."""
    for suffix, module in (
        ("activation", activations),
        ("initializer", initializers),
        ("regularizer", regularizers),
        ("constraint", constraints),
        ("surrogate", surrogates),
    ):
        if name.endswith(suffix):
            return module.serialize(value)
    return list(value) if isinstance(value, tuple) else value


class SpikingRNN(keras.layers.RNN):
    """Base of the layers: `keras.layers.RNN` around the cell of one model.

    - At a masked step the output is 0: `zero_output_for_mask` is `True` by default. Keras' default
      repeats the output of the last step that was not masked, which would turn one spike before
      padding into one spike at each padded step.
    - Under a half precision policy the states are computed and carried in `float32`.
    - An `activity_regularizer` with a method `penalty(outputs, mask)`, such as
      `keras_spiking_rnn.regularizers.FiringRate`, gets the outputs of all steps, whatever the layer
      returns, with the mask. It is kept as `rate_regularizer`.

    A subclass sets `cell_class` and passes on its constructor's arguments. Where its loop is not
    that of `keras.layers.RNN`, it overrides `loop`.
    """

    cell_class = None

    # Whether the loop may be the compiled one. Set it to `False` on a layer for what only Keras'
    # loop can do: see `docs/speed.md`.
    fused = True

    def __init_subclass__(cls, **kwargs):
        """Shows the arguments of the cell as attributes of the layer."""
        super().__init_subclass__(**kwargs)
        if cls.cell_class is None:
            return
        for name in constructor_arguments(cls.cell_class):
            setattr(cls, name, _of_cell(name))

    def __init__(self, **kwargs):
        names = constructor_arguments(self.cell_class)
        of_cell = {name: kwargs.pop(name) for name in names if name in kwargs}
        name = kwargs.get("name")
        every = kwargs.pop("checkpoint_every", None)
        cell = self.cell_class(
            **of_cell,
            dtype=kwargs.get("dtype"),
            trainable=kwargs.get("trainable", True),
            name=f"{name}_cell" if name else None,
        )
        regularizer = regularizers.get(kwargs.pop("activity_regularizer", None))
        of_rates = hasattr(regularizer, "penalty")
        super().__init__(cell, activity_regularizer=None if of_rates else regularizer, **kwargs)
        self.rate_regularizer = regularizer if of_rates else None
        self._fused = None
        title = f"{type(self).__name__} '{self.name}'"
        self.checkpoint_every = (
            None if every is None else checks.positive_integer(title, "checkpoint_every", every)
        )
        if every is not None and cell.input_ndim != 2:
            raise ValueError(
                f"{title} does not take `checkpoint_every`, which is for sequences of vectors. "
                "For less memory take smaller batches or fewer steps."
            )
        # Keras 3.12 loses the mask of inputs that it casts to half precision. The cell casts.
        self.autocast = False
        self.input_spec = keras.layers.InputSpec(ndim=cell.input_ndim + 1)

    def build(self, sequences_shape, initial_state_shape=None):
        """Creates the weights for sequences of shape `(batch, steps, ...)`."""
        super().build(sequences_shape, initial_state_shape)
        # Keras then says which size of other inputs differs.
        self.input_spec = keras.layers.InputSpec(shape=(None, None, *sequences_shape[2:]))

    def _check_steps(self, sequences, mask):
        steps = sequences.shape[1]
        if steps == 0:
            raise ValueError(
                f"{type(self).__name__} '{self.name}': the sequences have no steps. Received the "
                f"shape {tuple(sequences.shape)}."
            )
        masked = None if mask is None else keras.tree.flatten(mask)[0].shape
        if masked is not None and (
            len(masked) != 2 or (None not in (steps, masked[1]) and masked[1] != steps)
        ):
            raise ValueError(
                f"{type(self).__name__} '{self.name}': the mask must have shape (batch, steps), of "
                f"sequences of shape {tuple(sequences.shape)}. Received the shape {tuple(masked)}."
            )

    def loop(self, sequences, initial_state, mask, training=False):
        """Runs the cell over the sequences, as `keras.layers.RNN.inner_loop` does."""
        if not fused.is_own(self.cell):  # Whose class may override any method, `call` included.
            return super().inner_loop(sequences, initial_state, mask, training=training)
        return self.steps(sequences, initial_state, mask, training)[:3]

    def steps(self, sequences, initial_state, mask, training=False, observed=None):
        """Runs the cell over the sequences.

        The inputs of all steps are projected at once. The loop is compiled, see
        `keras_spiking_rnn.fused`, unless it must be that of `keras.layers.RNN`: for an unrolled
        loop, masked steps, a number of steps that is not known, and what is random at each step.

        Args:
            sequences: Tensor of shape `(batch, steps, in)`.
            initial_state: List of the states before the first step.
            mask: Boolean tensor of shape `(batch, steps)`, or `None`.
            training: Whether to apply noise and dropout.
            observed: Name of a method of the cell, a function of what a step shows of its inside,
                whose largest values of all steps are returned.

        Returns:
            A tuple of the last output, all outputs, the list of states, and the largest values of
            what was observed or `None`.
        """
        cell, training = self.cell, bool(training)
        if self.is_fused(sequences, mask, training):
            self._fused = fused.Loop(cell, self.go_backwards)
            # Values, because the variables of a stateful layer change before the gradient.
            states = [
                tf.broadcast_to(
                    tf.convert_to_tensor(each), (ops.shape(sequences)[0], *each.shape[1:])
                )
                for each in initial_state
            ]
            if training and self.checkpoint_every:
                outputs, states, largest = self._checkpointed(sequences, states, observed)
            else:
                net = self.projected(sequences, mask, training)
                outputs, states, largest = self._fused(
                    net, states, training, self.return_sequences, observed
                )
            if self.return_sequences:
                return outputs[:, -1], outputs, states, largest
            return outputs, outputs[:, None], states, largest

        net = self.projected(sequences, mask, training)

        def step(net, states):
            largest = states[count:]
            output, states, inside = cell.integrate(net, states[:count], training)
            largest = [ops.maximum(each, observe(inside)) for each in largest]
            return output, [*states, *largest]

        count = len(initial_state)
        observe = observed and getattr(cell, observed)
        largest = [] if observed is None else [ops.zeros_like(initial_state[0])]
        last_output, outputs, states = rnn(
            step,
            net,
            [*initial_state, *largest],
            go_backwards=self.go_backwards,
            mask=mask,
            unroll=self.unroll,
            input_length=sequences.shape[1],
            zero_output_for_mask=self.zero_output_for_mask,
            return_all_outputs=self.return_sequences,
        )
        return last_output, outputs, list(states[:count]), states[count] if largest else None

    def _checkpointed(self, sequences, states, observed):
        """The compiled loop in segments, each of which is computed again for its gradient.

        Returns:
            What `steps` returns, without the last output.
        """
        every, steps, count = self.checkpoint_every, sequences.shape[1], len(states)
        starts = range(0, steps, every)
        starts = list(reversed(starts)) if self.go_backwards else list(starts)
        sizes = [min(every, steps - start) for start in starts]
        all_outputs, run_loop = self.return_sequences, self._fused
        # All weights are operands: training may have moved `v_max` before a segment is computed
        # again.
        structure = [self.cell.value(self.cell.kernel), *run_loop.weights()]

        def segment(sequences, start, values, states, training):
            # A part of the sequences is copied when it is its turn, not before.
            with tf.control_dependencies(states):
                part = tf.identity(sequences[:, start : start + every])
            with tf.GradientTape() as tape:
                tape.watch((part, values, states))
                kernel, *weights = tf.nest.pack_sequence_as(structure, values)
                net = self.cell.projected(part, kernel)
                outputs, after, largest = run_loop(
                    net, states, training, all_outputs, observed, weights
                )
            return part, outputs, after, largest, tape

        @tf.custom_gradient
        def run(sequences, *operands):
            values, states = list(operands[:-count]), list(operands[-count:])
            outputs, before, peaks = [], [], []
            for start in starts:
                before.append(states)
                _, output, states, peak, _ = segment(sequences, start, values, states, False)
                outputs.append(output)
                peaks.append(peak)
            outputs = tf.concat(outputs, axis=1) if all_outputs else outputs[-1]
            largest = [] if observed is None else [functools.reduce(tf.maximum, peaks)]

            def gradient(d_outputs, *d_states):
                d_states = list(d_states[:count])
                d_values = [tf.zeros_like(each) for each in values]
                d_parts = []
                for i in reversed(range(len(starts))):
                    # Nor is a segment computed again before the gradient of the next one is there.
                    with tf.control_dependencies(d_states):
                        own = [tf.identity(each) for each in before[i]]
                    part, output, after, _, tape = segment(sequences, starts[i], values, own, True)
                    if all_outputs:
                        place = sum(sizes[:i])
                        d_output = d_outputs[:, place : place + sizes[i]]
                    else:
                        d_output = d_outputs if i == len(starts) - 1 else tf.zeros_like(d_outputs)
                    d_part, d_here, d_states = tape.gradient(
                        [output, *after],
                        [part, values, own],
                        output_gradients=[d_output, *d_states],
                        unconnected_gradients=tf.UnconnectedGradients.ZERO,
                    )
                    d_values = [a + b for a, b in zip(d_values, d_here, strict=True)]
                    d_parts.append(d_part)
                d_sequences = tf.concat(d_parts if self.go_backwards else d_parts[::-1], axis=1)
                return [d_sequences, *d_values, *d_states]

            return [outputs, *states, *largest], gradient

        values = tf.nest.flatten(structure)
        outputs, *rest = run(self.dropped(sequences, True), *values, *states)
        return outputs, rest[:count], rest[count] if observed is not None else None

    def is_fused(self, sequences, mask, training):
        """Whether the loop over these sequences is the compiled one."""
        cell = self.cell
        random = training and (cell.recurrent_dropout or getattr(cell, "noise_stddev", 0))
        unknown = sequences.shape[1] is None
        keras_loop = self.unroll or mask is not None or unknown or random
        return self.fused and not keras_loop and fused.can_compile(cell)

    def projected(self, sequences, mask, training):
        """The projected inputs of all steps."""
        return self.cell.projected(self.dropped(sequences, training))

    def dropped(self, sequences, training):
        """The inputs of all steps after dropout, with one mask for all steps of a sequence."""
        cell = self.cell
        if not training or not cell.dropout:
            return sequences
        kept = cell.get_dropout_mask(sequences[:, 0])
        sequences, kept = (ops.cast(each, cell.compute_dtype) for each in (sequences, kept))
        return sequences * kept[:, None]

    def inner_loop(self, sequences, initial_state, mask, training=False):
        """Runs the cell over the sequences, and adds the penalty of `rate_regularizer`."""
        regularizer = self.rate_regularizer
        with contextlib.nullcontext() if regularizer is None else returning_sequences(self):
            last_output, outputs, states = self.loop(
                sequences, initial_state, mask, training=training
            )
        if regularizer is not None:
            self.add_loss(regularizer.penalty(outputs, counted_steps(self, sequences, mask)))
        self._final_states = tuple(states)
        return last_output, outputs, states

    def call(self, sequences, initial_state=None, mask=None, training=False):
        """Runs the cell over the sequences: see the class."""
        self._check_steps(sequences, mask)
        # Keras' autocast scope rounds the states of a stateful layer to half precision whenever
        # they are read from their variables or assigned to them.
        with AutocastScope(None):
            outputs = super().call(
                sequences, initial_state=initial_state, mask=mask, training=training
            )
            if self.stateful and self.compute_dtype != self.cell.compute_dtype:
                # `RNN` has assigned them after rounding to the dtype of the outputs.
                for variable, state in zip(self.states, self._final_states, strict=True):
                    variable.assign(state)
        self._final_states = None
        return outputs

    def get_config(self):
        """Returns the arguments of the constructor as a dictionary."""
        config = super().get_config()
        del config["cell"]
        of_cell = self.cell.get_config()
        for key in ("name", "trainable", "dtype"):
            del of_cell[key]
        named = "checkpoint_every" in constructor_arguments(type(self))
        if named or self.checkpoint_every is not None:
            config["checkpoint_every"] = self.checkpoint_every
        if self.rate_regularizer is not None:
            config["activity_regularizer"] = regularizers.serialize(self.rate_regularizer)
        return {**of_cell, **config}

    @classmethod
    def from_config(cls, config):
        """Creates the layer that has the configuration `config`."""
        return cls(**config)


def _of_cell(name):
    return property(lambda layer: getattr(layer.cell, name), doc=f"`{name}` of the cell.")
