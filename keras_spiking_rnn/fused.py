"""The loop over time of a whole sequence, compiled, with one gradient for all of its steps.

`keras.layers.RNN` runs a cell step by step and has TensorFlow record each of its operations. Here
the input projection of all steps is one product before the loop; XLA compiles the loop; and it is
differentiated as a whole: forward it keeps what the cell says that its `retreat` needs, backward a
second compiled loop carries the gradient of the states from the last step to the first, and the
gradient of each weight is one product over all steps.
"""

import functools
import inspect

import keras
import tensorflow as tf

# XLA's own operations have no public name.
from tensorflow.compiler.tf2xla.ops import gen_xla_ops

from keras_spiking_rnn import surrogates

# How the names of arguments end that the equations of a step do not depend on.
NOT_OF_A_STEP = ("_initializer", "_regularizer", "_constraint", "dropout", "seed")

# The functions of cells that are equal, those that were used last at the end.
_shared = {}
MOST_SHARED = 128
MOST_COMPILED = 64  # For each of them: ways of calling it, numbers of steps, sizes of images.


class Loop:
    """The loop over the steps of one cell.

    Args:
        cell: A `keras_spiking_rnn.base.SpikingCell` with `advance`, built.
        go_backwards: Whether to take the steps from the last to the first. The outputs are in the
            order in which the steps are taken.
    """

    def __init__(self, cell, go_backwards=False):
        self.cell = cell
        self.go_backwards = go_backwards

    def weights(self):
        """The parameters of the cell, and what enters `net`: two dictionaries of tensors."""
        entering = {"bias": self.cell.net_bias(), "feedback": self.cell.feedback_kernel()}
        entering = {name: value for name, value in entering.items() if value is not None}
        return self.cell.parameters(), entering

    def __call__(self, net, states, training=False, all_outputs=True, observed=None, weights=None):
        """Runs the cell over sequences.

        Args:
            net: The projected inputs of all steps, `(batch, steps, columns)`. Of images there are
                height and width between steps and columns, here and in all that follows.
            states: List of the states before the first step, each `(batch, units)`.
            training: Whether a gradient will be asked for. Without it nothing is kept for one; if
                it is asked for nevertheless, the loop runs once more.
            all_outputs: Whether to return the outputs of all steps or of the last one.
            observed: Name of a method of the cell, a function of what `advance` shows of its
                inside. Its largest values of all steps are returned, `(batch, units)`, without a
                gradient.
            weights: What `weights()` would return.

        Returns:
            A tuple `(outputs, states, largest)`: the outputs, `(batch, steps, units)` or
            `(batch, units)`; the list of the states after the last step; what was `observed`.
        """
        cell, sizes = self.cell, tuple(net.shape[1:-1])
        functions = functions_of(cell, self.go_backwards)
        parameters, weights = self.weights() if weights is None else weights
        # A custom gradient knows tensors, and lists of tensors.
        structure = [net, list(states), parameters, weights]

        def grouped(operands):
            return tf.nest.pack_sequence_as(structure, operands)

        @tf.custom_gradient
        def run(*operands):
            # Little of each, which shows where a second derivative would come from.
            origins = [tf.reshape(operand, (-1,))[:1] for operand in operands]
            # Called eagerly, a tape would record the compiled functions as well.
            operands = [tf.stop_gradient(operand) for operand in operands]
            forward = functions.compiled("forward", sizes, training, all_outputs, observed)
            outputs, after, largest, kept = forward(*grouped(operands))
            # What follows is all that stays in memory until the gradient is asked for.
            projected, *rest = grouped(operands)
            again = None if training else projected
            needed = [projected] if functions.need_projected(weights) else []

            def gradient(d_outputs, *d_rest):
                inside = kept
                if not training:
                    once_more = functions.compiled("forward", sizes, True, all_outputs, None)
                    inside = once_more(again, *rest)[-1]
                if all_outputs and cell.feeds_output:
                    inside = {str(cell.feedback): outputs, **inside}
                backward = functions.compiled("backward", sizes, all_outputs, net.shape[-1])
                given = [needed, inside, *rest, d_outputs, list(d_rest[: len(states)])]
                d_net, d_states, d_parameters, fed_back = _once(
                    backward, given, origins, cell.title
                )
                d_weights = _gradients_of_weights(cell, d_net, fed_back, weights)
                return tf.nest.flatten([d_net, d_states, d_parameters, d_weights])

            return [outputs, *after, *largest], gradient

        outputs, *rest = run(*tf.nest.flatten(structure))
        _agree(net, outputs, *rest)
        return outputs, rest[: len(states)], None if observed is None else rest[len(states)]


def _once(function, given, origins, title):
    """`function(*given)`, which cannot be differentiated, nor with respect to `origins`."""

    @tf.custom_gradient
    def run(*tensors):
        def gradient(*_):
            raise NotImplementedError(
                f"{title}: the compiled loop has no second derivative, nor one in forward mode. "
                "The loop of Keras has both: set `fused = False` on the layer, or use the cell in "
                "keras.layers.RNN(...)."
            )

        tensors = [tf.stop_gradient(tensor) for tensor in tensors[: -len(origins)]]
        results = function(*tf.nest.pack_sequence_as(given, tensors))
        structures.append(results)
        return tf.nest.flatten(results), gradient

    structures = []
    results = run(*tf.nest.flatten(given), *origins)
    return tf.nest.pack_sequence_as(structures[0], results)


def _gradients_of_weights(cell, d_net, fed_back, weights):
    """One product over all steps for each."""
    rows = tf.reshape(d_net, (-1, d_net.shape[-1]))
    gradients = {}
    if "bias" in weights:
        # As a product it takes a quarter of the time of a sum.
        gradients["bias"] = tf.matmul(tf.ones((1, tf.shape(rows)[0]), rows.dtype), rows)[0]
    if "feedback" in weights:
        gradients["feedback"] = cell.product_over_rows(
            tf.reshape(fed_back, (-1, fed_back.shape[-1])), rows
        )
    return gradients


def is_own(cell):
    """Whether the class of a cell is one of this library."""
    return type(cell).__module__.partition(".")[0] == __name__.partition(".")[0]


def can_compile(cell):
    """Whether a loop can be compiled for a cell.

    Not for a class of somebody else, any of whose methods may be its own, nor with an argument
    that cannot be told from another one or has weights, nor where a cell says so.
    """
    if not is_own(cell) or not cell.compiles:
        return False
    arguments = _arguments_of_a_step(cell)
    has_weights = any(isinstance(each, keras.layers.Layer) for each in arguments.values())
    return not has_weights and _has_hash(tuple(map(_as_key, arguments.values())))


def _arguments(cell):
    return list(inspect.signature(type(cell).__init__).parameters)[1:-1]


def _arguments_of_a_step(cell):
    names = [name for name in _arguments(cell) if not name.endswith(NOT_OF_A_STEP)]
    return {name: getattr(cell, name) for name in names}


def functions_of(cell, go_backwards):
    """The `Functions` of a cell: those of an equal one, if there has been any."""
    arguments = _arguments_of_a_step(cell)
    key = (type(cell), cell.product_dtype, go_backwards, *map(_as_key, arguments.values()))
    functions = _shared.pop(key, None)
    if functions is None:
        # A cell without weights: those of the first one would stay in memory. It has a seed, a name
        # and the initializers of that one, because to make others Keras draws random numbers.
        given = {name: getattr(cell, name) for name in _arguments(cell)} | {"seed": 0}
        with tf.init_scope():
            blueprint = type(cell)(**given, dtype=cell.product_dtype, name="blueprint")
        functions = Functions(blueprint, go_backwards)
    _shared[key] = functions
    _forget(_shared, MOST_SHARED)
    return functions


def _forget(cache, most):
    """Removes the first entries of a cache, those that were not used for longest."""
    for key in list(cache)[: max(0, len(cache) - most)]:
        cache.pop(key, None)


def _as_key(argument):
    # Surrogates are equal if their configurations are, which one that is not saved may leave out.
    if isinstance(argument, surrogates.Surrogate):
        state = argument.__reduce_ex__(2)[2]  # All that a copy needs, `__slots__` included.
        parts = state if isinstance(state, tuple) else (state,)
        return type(argument), *(item for part in parts if part for item in part.items())
    return argument


def _called(function, options, *tensors):
    return function(*tensors, *options)


def _has_hash(value):
    try:
        hash(value)
    except TypeError:
        return False
    return True


class Functions:
    """The two loops of a cell, as functions of all tensors that they need.

    They are traced once for each way in which they are called, and compiled for each shape of the
    inputs. The equations of a step are those of the cell's `advance`, their gradients those of its
    `retreat`. The weights of the cell are not used.

    Args:
        cell: See `Loop`, as of `go_backwards`.
        go_backwards: See `Loop`.
    """

    def __init__(self, cell, go_backwards):
        self.cell = cell
        self.differentiated = cell if cell.has_retreat else Taped(cell)
        self.go_backwards = go_backwards
        self._compiled = {}

    def compiled(self, name, sizes, *options):
        """The function `name` with its options, for this number of steps and size of images."""
        # One function for all would be traced again for a second number, with an unknown one.
        key = (name, sizes, *options)
        compiled = self._compiled.pop(key, None)
        if compiled is None:
            # A partial function has no code: TensorFlow would warn that one code is traced often.
            compiled = tf.function(
                functools.partial(_called, getattr(self, name), options),
                jit_compile=True,
                autograph=False,
                reduce_retracing=True,
            )
        self._compiled[key] = compiled
        _forget(self._compiled, MOST_COMPILED)
        return compiled

    def position(self, step, steps):
        """Where in the sequence the inputs of a step are."""
        return steps - 1 - step if self.go_backwards else step

    def need_projected(self, weights):
        """Whether the gradient needs the projected inputs."""
        # With feedback the sum of both is kept instead.
        return self.differentiated.needs_net and "feedback" not in weights

    def forward(self, net, states, parameters, weights, keep, all_outputs, observed):
        """All steps, and what is kept of them for `backward`."""
        cell = self.cell
        _agree(net, *states)
        observed = observed and getattr(cell, observed)
        steps = tf.shape(net)[1]
        outputs = _buffer(net, cell.units) if all_outputs else tf.zeros_like(states[0])
        kept = {}
        if keep:
            columns = {key: cell.units for key in self.differentiated.keeps}
            if "feedback" in weights:
                if not (all_outputs and cell.feeds_output):
                    columns[cell.feedback] = cell.units
                if self.differentiated.needs_net:
                    columns["net"] = net.shape[-1]
            # Text, because TensorFlow sorts the keys.
            kept = {str(key): _buffer(net, number) for key, number in columns.items()}
        largest = [] if observed is None else [tf.zeros_like(states[0])]

        def step(t, states, outputs, largest, kept):
            total = net[:, self.position(t, steps)]
            if "bias" in weights:
                total += weights["bias"]
            if "feedback" in weights:
                total += cell.product(states[cell.feedback], weights["feedback"])
            output, states, inside = cell.advance(total, states, parameters)
            now = {"net": total, **inside, **{str(i): each for i, each in enumerate(states)}}
            kept = {key: _written(buffer, t, now[key]) for key, buffer in kept.items()}
            largest = [tf.maximum(each, observed(inside)) for each in largest]
            outputs = _written(outputs, t, output) if all_outputs else output
            return t + 1, list(states), outputs, largest, kept

        _, states, outputs, largest, kept = tf.while_loop(
            lambda t, *_: t < steps, step, (0, list(states), outputs, largest, kept)
        )
        return outputs, states, largest, kept

    def backward(
        self, net, kept, states, parameters, weights, d_outputs, d_states, all_outputs, columns
    ):
        """The gradients of the projected inputs, the states and the parameters.

        And, if there is feedback, what was fed back at each step.
        """
        cell = self.cell
        _agree(*net, *kept.values(), *states, d_outputs, *d_states)
        if net:
            total = net[0] + weights["bias"] if "bias" in weights else net[0]
            kept = {**kept, "net": tf.reverse(total, [1]) if self.go_backwards else total}
        if "feedback" in weights:
            to_fed_back = tf.transpose(weights["feedback"])
        everything = AllSteps(kept, states)
        prepared = self.differentiated.prepared(everything, parameters)

        def step(t, d_output, d_states, d_parameters, d_net):
            if all_outputs:
                d_output = d_outputs[:, t]
            d_total, d_before, d_here = self.differentiated.retreat(
                OneStep(kept, states, prepared, t), parameters, d_output, d_states
            )
            if "feedback" in weights:
                d_before[cell.feedback] += cell.product(d_total, to_fed_back)
            d_parameters = {name: d_parameters[name] + d_here[name] for name in d_parameters}
            d_net = _written(d_net, self.position(t, steps), d_total)
            return t - 1, tf.zeros_like(d_output), d_before, d_parameters, d_net

        like = next(iter(kept.values()))
        steps = like.shape[1]
        first = tf.zeros_like(states[0]) if all_outputs else d_outputs
        zeros = {name: tf.zeros_like(value) for name, value in parameters.items()}
        _, _, d_states, d_parameters, d_net = tf.while_loop(
            lambda t, *_: t >= 0, step, (steps - 1, first, d_states, zeros, _buffer(like, columns))
        )
        fed_back = []
        if "feedback" in weights:
            fed_back = everything.before(cell.feedback)
            fed_back = tf.reverse(fed_back, [1]) if self.go_backwards else fed_back
        return d_net, d_states, d_parameters, fed_back


class Taped:
    """What a cell without `retreat` lacks: TensorFlow differentiates its `advance`."""

    needs_net = True

    def __init__(self, cell):
        self.advance = cell.advance
        several = isinstance(cell.state_size, (list, tuple))
        self.keeps = tuple(range(len(cell.state_size))) if several else (0,)

    def prepared(self, kept, parameters):
        """See `SpikingCell.prepared`."""
        return {}

    def retreat(self, kept, parameters, d_output, d_states):
        """See `SpikingCell.retreat`."""
        operands = kept["net"], [kept.before(i) for i in self.keeps], parameters
        with tf.GradientTape() as tape:
            tape.watch(operands)
            output, after, _ = self.advance(*operands)
        return tape.gradient(
            [output, *after],
            operands,
            output_gradients=[d_output, *d_states],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )


class AllSteps:
    """What `Loop.forward` has kept, of all steps: tensors `(batch, steps, columns)`.

    Args:
        kept: Dictionary of what was kept.
        states: The states before the first step.
    """

    def __init__(self, kept, states):
        self._kept = kept
        self._states = states

    def __getitem__(self, key):
        """What was kept of a step: `"net"`, a key of its inside, or the state of an index."""
        return self._kept[str(key)]

    def before(self, index):
        """The state of an index before a step."""
        return tf.concat([self._states[index][:, None], self[index][:, :-1]], axis=1)


class OneStep:
    """The same of one step, `(batch, columns)`, and what the cell has `prepared`."""

    def __init__(self, kept, states, prepared, t):
        self._buffers = {**kept, **prepared}
        self._states = states
        self._t = t

    def __getitem__(self, key):
        """See `AllSteps`; also what was prepared."""
        return self._buffers[str(key)][:, self._t]

    def before(self, index):
        """See `AllSteps`."""
        last = self._buffers[str(index)][:, tf.maximum(self._t - 1, 0)]
        return tf.where(self._t > 0, last, self._states[index])


def slope(function, x, upstream=None):
    """Values of a function, and its derivatives, if it acts on each element alone.

    With an `upstream` gradient of the values in their place that of `x`, for any function.
    """
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return y, tape.gradient(
        y, x, output_gradients=upstream, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )


def _agree(*tensors):
    """Gives all tensors the batch size that one of them is known to have.

    `reduce_retracing` forgets it for each of them alone.
    """
    known = next((each.shape[0] for each in tensors if each.shape[0] is not None), None)
    for tensor in tensors:
        tensor.set_shape((known, *tensor.shape[1:]))


def _buffer(like, columns):
    return tf.zeros((tf.shape(like)[0], *like.shape[1:-1], columns), like.dtype)


def _written(buffer, step, value):
    # In place; a `tf.TensorArray` has the steps first and would be copied to have the batch first.
    start = [0, step] + [0] * (len(buffer.shape) - 2)
    return gen_xla_ops.xla_dynamic_update_slice(buffer, value[:, None], tf.stack(start))
