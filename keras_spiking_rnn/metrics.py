"""Firing rates, operations, energy, and the inside of a spiking layer over time."""

import contextlib
import functools
import math
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops

# The loop over time has no public name.
from keras.src.backend import rnn

from keras_spiking_rnn import base, checks, losses, readouts


def _emits_spikes(layer):
    """Tells whether the outputs of `layer` are those of a spiking cell."""
    cell = getattr(layer, "cell", None)
    if isinstance(cell, keras.layers.StackedRNNCells):
        cell = cell.cells[-1]
    return isinstance(layer, keras.layers.RNN) and getattr(cell, "emits_spikes", False)


def _layers_by_name(model, is_wanted):
    """Returns the wanted layers in `model`, at any depth, by name (by path if names repeat)."""
    layers = [layer for layer in model._flatten_layers() if is_wanted(layer)]
    names = [layer.name for layer in layers]
    return {layer.name if names.count(layer.name) == 1 else layer.path: layer for layer in layers}


def _expanded(mask, values):
    """`mask` with as many axes as `values`."""
    missing = len(values.shape) - len(mask.shape)
    return ops.reshape(mask, (*ops.shape(mask), *[1] * missing))


class _Loop(NamedTuple):
    """One run of a recurrent layer, in the order in which its steps are processed."""

    sequences: Any  # (batch, steps, in)
    initial_state: list
    outputs: Any  # (batch, steps, units)
    states: list
    valid: Any  # (batch, steps), `False` at masked steps.


@contextlib.contextmanager
def _watching(layers, watch):
    """Makes recurrent `layers` call `watch(name, layer, loop)` with a `_Loop` as they run.

    It looks into the loop over time because a layer with `return_sequences=False` returns only
    the last of its outputs.
    """

    def watched(name, layer, inner_loop):
        def loop(sequences, initial_state, mask, training=False):
            with base.returning_sequences(layer):
                result = inner_loop(sequences, initial_state, mask, training=training)
            valid = base.counted_steps(layer, sequences, mask)
            if layer.go_backwards:
                sequences = ops.flip(sequences, axis=1)
            _, outputs, states = result
            watch(name, layer, _Loop(sequences, initial_state, outputs, states, valid))
            return result

        return loop

    try:
        for name, layer in layers.items():
            layer.inner_loop = watched(name, layer, layer.inner_loop)
        yield
    finally:
        for layer in layers.values():
            del layer.inner_loop


@contextlib.contextmanager
def _watching_inputs(layers, watch):
    """Makes `layers` call `watch(name, layer, inputs, valid)` as they run.

    `valid` has the shape of `inputs` but for a last axis of 1, and is `False` at masked steps.
    """

    def watched(name, layer, call):
        def look_and_call(inputs, *args, **kwargs):
            mask = getattr(inputs, "_keras_mask", None)
            valid = ops.ones_like(inputs[..., :1], dtype="bool")
            if mask is not None:
                valid &= _expanded(ops.cast(mask, "bool"), inputs)
            watch(name, layer, inputs, valid)
            return call(inputs, *args, **kwargs)

        return look_and_call

    try:
        for name, layer in layers.items():
            layer.call = watched(name, layer, layer.call)
        yield
    finally:
        for layer in layers.values():
            del layer.call


def batches(x, batch_size):
    """Yields the tensors of each batch of `x`, an array, or a list or dictionary of arrays."""
    checks.positive_integer("metrics", "batch_size", batch_size)
    samples = len(keras.tree.flatten(x)[0])
    if samples == 0:
        raise ValueError("`x` has no samples: there must be at least one sequence.")
    for start in range(0, samples, batch_size):
        yield keras.tree.map_structure(
            lambda array, start=start: ops.convert_to_tensor(array[start : start + batch_size]), x
        )


def _as_graph(run, autograph=True):
    """A function of one argument as graphs of TensorFlow, one for each shape of it."""
    traced = tf.function(run, autograph=autograph)
    # Called itself, it would warn of its tracing when its maker is called in a loop.
    return lambda argument: traced.get_concrete_function(argument)(argument)


def spiking_layers(model):
    """The spiking layers in `model`, at any depth, by name; see `firing_rates`."""
    layers = _layers_by_name(model, _emits_spikes)
    if not layers:
        raise ValueError(
            f"The model '{model.name}' has no spiking layer, such as keras_spiking_rnn.RLIF. The "
            'outputs of layers with output_mode="analog" are no spikes: they are left out.'
        )
    return layers


def spike_counter(model, layers, show=False):
    """A function that counts what `layers`, by name, do with a batch of inputs of `model`.

    Args:
        model: A Keras model, or a single layer.
        layers: Spiking layers in it, as `spiking_layers` returns them.
        show: Whether to return the outputs of the first sequence as well.

    Returns:
        A function from a batch to a dictionary from names to dictionaries of tensors: `"spikes"`,
        the number of spikes of each unit; `"steps"`, the number of steps that are not masked; and
        with `show` `"shown"`, the outputs of the first sequence, `(steps, ...)`.
    """

    @_as_graph
    def run(batch):
        counts = {}

        def count(name, layer, loop):
            # A graded output is one spike, whatever its size.
            spikes = (loop.outputs != 0) & _expanded(loop.valid, loop.outputs)
            here = {
                "spikes": ops.sum(ops.cast(spikes, "int64"), axis=(0, 1)),
                "steps": ops.sum(ops.cast(loop.valid, "int64")),
            }
            before = counts.get(name, {})
            counts[name] = {key: value + before.get(key, 0) for key, value in here.items()}
            if show:
                shown = loop.outputs[0] * ops.cast(spikes[0], loop.outputs.dtype)
                shown = ops.flip(shown, axis=0) if layer.go_backwards else shown
                counts[name]["shown"] = before.get("shown", shown)

        with _watching(layers, count):
            model(batch, training=False)
        return counts

    return run


def unit_rates(model, x, batch_size=32):
    """Measures how often each unit of each spiking layer fires.

    `firing_rates` says what counts; its results are the means of these.

    Args:
        model: A Keras model, or a single layer.
        x: Inputs of the model: an array, or a list or dictionary of arrays.
        batch_size: Number of sequences to run at once.

    Returns:
        A dictionary from the name of each spiking layer to a NumPy array of the shape of its units,
        `(units,)`: the number of spikes per step of each.

    Raises:
        ValueError: If the model has no spiking layer, or `x` has no samples.
    """
    layers = spiking_layers(model)
    run = spike_counter(model, layers)
    totals = {}
    for batch in batches(x, batch_size):
        for name, counts in run(batch).items():
            spikes, steps = totals.get(name, (0, 0))
            totals[name] = (spikes + counts["spikes"].numpy(), steps + int(counts["steps"]))
    # A layer that the model does not use never fires, nor does one whose steps are all masked.
    silent = {name: (np.zeros(_units(layer)), 0) for name, layer in layers.items()}
    return {name: spikes / max(steps, 1) for name, (spikes, steps) in {**silent, **totals}.items()}


def _units(layer):
    cell = layer.cell.cells[-1] if hasattr(layer.cell, "cells") else layer.cell
    return cell.output_size


def firing_rates(model, x, batch_size=32):
    """Measures how often the units of each spiking layer fire.

    Every step counts, also in a layer that returns only its last output; masked steps do not. A
    graded output counts as one spike at each step where it is not 0, so that the rate of an `SRC`,
    whose pulses last several steps, is its mean `activity`.

    A spiking layer is an `RLIF`, or a `keras.layers.RNN` of a cell with a true attribute
    `emits_spikes`; of stacked cells the last one counts. Layers with `output_mode="analog"` do not:
    their outputs are no spikes. Layers within other layers and models, such as
    `keras.layers.Bidirectional`, are found too. Stateful layers keep the state that they end with.

    Args:
        model: A Keras model, or a single layer.
        x: Inputs of the model: an array, or a list or dictionary of arrays.
        batch_size: Number of sequences to run at once.

    Returns:
        A dictionary from the name of each spiking layer, in the order of the model, to its mean
        number of spikes per unit per step, a number between 0 and 1. Where names repeat, the keys
        are the layers' paths.

    Raises:
        ValueError: If the model has no spiking layer, or `x` has no samples.
    """
    return {name: float(rates.mean()) for name, rates in unit_rates(model, x, batch_size).items()}


def sparsity(model, x, batch_size=32):
    """Measures which part of the outputs of each spiking layer is 0.

    It is 1 less the result of `firing_rates`, which says what counts: the more, the less a layer
    asks of the next one.

    Args:
        model: A Keras model, or a single layer.
        x: Inputs of the model: an array, or a list or dictionary of arrays.
        batch_size: Number of sequences to run at once.

    Returns:
        A dictionary from the name of each spiking layer, in the order of the model, to a number
        between 0 and 1.

    Raises:
        ValueError: If the model has no spiking layer, or `x` has no samples.
    """
    return {name: 1 - rate for name, rate in firing_rates(model, x, batch_size).items()}


def dead_units(model, x, batch_size=32):
    """Counts the units of each spiking layer that never fire.

    Which ones these are, `unit_rates(model, x)[name] == 0` tells.

    Args:
        model: A Keras model, or a single layer.
        x: Inputs of the model: an array, or a list or dictionary of arrays.
        batch_size: Number of sequences to run at once.

    Returns:
        A dictionary from the name of each spiking layer, in the order of the model, to the number
        of units that are 0 at all steps of all sequences.

    Raises:
        ValueError: If the model has no spiking layer, or `x` has no samples.
    """
    return {
        name: int(np.sum(rates == 0)) for name, rates in unit_rates(model, x, batch_size).items()
    }


def _matrices(layer):
    """The weights of `layer` that inputs and outputs are multiplied with."""
    holder = getattr(layer, "cell", layer)
    found = (getattr(holder, name, None) for name in ("kernel", "recurrent_kernel"))
    return [matrix for matrix in found if matrix is not None]


def _multiplications(layer, inputs, outputs):
    """Multiplications of one step, from the numbers of inputs and outputs that are not 0."""
    if isinstance(layer, keras.layers.Dense):
        return inputs * layer.units
    cell = layer.cell
    if isinstance(cell, keras.layers.LSTMCell):
        return 4 * inputs * cell.units + 4 * cell.units**2 + 12 * cell.units
    if isinstance(cell, keras.layers.GRUCell):
        return 3 * inputs * cell.units + 3 * cell.units**2 + 12 * cell.units
    return cell.multiplications(inputs, outputs)


def _check_countable(model):
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.TimeDistributed):
            raise ValueError(
                f"operations() does not look into the TimeDistributed layer '{layer.name}'. A "
                "Dense layer takes sequences as they are: leave TimeDistributed out."
            )
        cell = getattr(layer, "cell", None)
        known = (keras.layers.LSTMCell, keras.layers.GRUCell)
        if isinstance(cell, keras.layers.StackedRNNCells):
            raise ValueError(
                f"operations() does not look into the stacked cells of the layer '{layer.name}': "
                "give each cell a layer of its own."
            )
        if isinstance(layer, keras.layers.RNN) and not (
            isinstance(cell, known) or hasattr(cell, "multiplications")
        ):
            raise ValueError(
                f"operations() does not know how many multiplications the layer '{layer.name}' "
                f"needs, of cell {type(cell).__name__}. It knows LIF, GatedLIF, "
                "MembraneReadout, LSTM, GRU and Dense; give a cell of your own a method "
                "multiplications(inputs, outputs)."
            )


def operations(model, x, batch_size=32):
    r"""Counts the multiplications of a step of inference, leaving out those with 0.

    A product with a weight is counted if its other factor is not 0, in this very data. With the
    numbers $x$ of inputs and $y$ of previous outputs of a step that are not 0, $m$ inputs and $n$
    units:

    | Layer | Multiplications | Parameters |
    |---|---|---|
    | `LIF` | $x n + 6 n$ | $m n$ |
    | `GatedLIF` | $2 x n + 8 n$ | $2 m n$ |
    | `GatedLIF(recurrent_gates=True)` | $2 (x + y) n + 8 n$ | $2 (m n + n^2)$ |
    | `MembraneReadout` | $x n + n$ | $m n$ |
    | `keras.layers.GRU` | $3 x n + 3 n^2 + 12 n$ | $3 (m n + n^2)$ |
    | `keras.layers.LSTM` | $4 x n + 4 n^2 + 12 n$ | $4 (m n + n^2)$ |
    | `keras.layers.Dense` | $x n$ | $m n$ |

    The terms in $n$ alone, for decays, gates and normalisation, are those of the paper's code. A
    `Dense` layer has a step for each vector that it multiplies: one for each step of a sequence,
    or one for each sequence after `TimeSum`. Masked steps do not count. Other layers without
    recurrence are left out.

    Args:
        model: A Keras model, or a single layer.
        x: Inputs of the model: an array, or a list or dictionary of arrays.
        batch_size: Number of sequences to run at once.

    Returns:
        A dictionary from the name of each counted layer, in the order of the model, to a
        dictionary: `"multiplications"`, their mean number per step; `"parameters"`, the number of
        weights in `kernel` and `recurrent_kernel`; and `"zero_inputs"`, the fraction of the inputs
        that are 0, $s$ of equation (10). Where names repeat, the keys are the layers' paths.

    Raises:
        ValueError: If the model has no layer to count, or a recurrent layer that it cannot count,
            or `x` has no samples.

    Reference:
        Ponghiran, Roy, *Spiking Neural Networks with Improved Inherent Recurrence Dynamics for
        Sequential Learning* (2021), section 2, equation (10), and section 4.
    """
    _check_countable(model)
    counted = (keras.layers.RNN, keras.layers.Dense)
    layers = _layers_by_name(model, lambda layer: isinstance(layer, counted))
    if not layers:
        raise ValueError(
            f"The model '{model.name}' has no layer to count, such as keras_spiking_rnn.LIF."
        )

    recurrent = {name: layer for name, layer in layers.items() if hasattr(layer, "cell")}
    dense = {name: layer for name, layer in layers.items() if name not in recurrent}

    def nonzero(values, valid=True):
        return ops.sum(ops.cast((values != 0) & valid, "int64"))

    @_as_graph
    def run(batch):
        counts = {}

        def add(name, *numbers):
            before = counts.get(name, (0, 0, 0, 0))
            counts[name] = [old + new for old, new in zip(before, numbers, strict=True)]

        def count_recurrent(name, layer, loop):
            valid = loop.valid[:, :, None]
            steps = ops.sum(ops.cast(valid, "int64"))
            inputs = nonzero(loop.sequences, valid)
            # Those before each step are those of all steps, less the last ones, plus the initial
            # ones. A cell that is interested in them has them as its last state.
            outputs = nonzero(loop.outputs, valid)
            outputs += nonzero(loop.initial_state[-1]) - nonzero(loop.states[-1])
            add(name, steps, steps * loop.sequences.shape[-1], inputs, outputs)

        def count_dense(name, layer, inputs, valid):
            steps = ops.sum(ops.cast(valid, "int64"))
            add(name, steps, steps * inputs.shape[-1], nonzero(inputs, valid), 0)

        with _watching(recurrent, count_recurrent), _watching_inputs(dense, count_dense):
            model(batch, training=False)
        return counts

    totals = {}
    for batch in batches(x, batch_size):
        for name, numbers in run(batch).items():
            totals[name] = np.add(totals.get(name, 0), [int(number) for number in numbers])
    result = {}
    for name, layer in layers.items():
        # A layer that the model does not use, or whose steps are all masked, computes nothing.
        steps, all_inputs, inputs, outputs = totals.get(name, (0, 0, 0, 0))
        result[name] = {
            "multiplications": (
                float(_multiplications(layer, inputs / steps, outputs / steps)) if steps else 0.0
            ),
            "parameters": sum(math.prod(matrix.shape) for matrix in _matrices(layer)),
            "zero_inputs": float(1 - inputs / all_inputs) if steps else 0.0,
        }
    return result


def _cells(layer):
    """The cells of a recurrent layer, in their order."""
    cell = layer.cell
    return list(cell.cells) if isinstance(cell, keras.layers.StackedRNNCells) else [cell]


def _has_membrane(cell):
    return getattr(cell, "has_membrane", getattr(cell, "emits_spikes", False))


def _multiplied(layer, loop):
    """What the cells of a recurrent layer multiply in a run: triples `(cell, values, weight)`.

    Values have shape `(batch, steps, ...)` and are 0 at masked steps. The cells run once more,
    because their states within the loop are not seen from outside.
    """
    stacked = isinstance(layer.cell, keras.layers.StackedRNNCells)
    sources = []

    def step(inputs, states):
        multiplied, new_states = [], []
        sources.clear()
        for cell, before in zip(_cells(layer), states if stacked else [states], strict=True):
            before = list(before)
            own = getattr(cell, "products", functools.partial(base.products, cell))
            for values, weight in own(inputs, before):
                multiplied.append(values)
                sources.append((cell, weight))
            inputs, after = cell(inputs, before)
            new_states.append(after)
        return multiplied, new_states if stacked else new_states[0]

    initial_state = list(loop.initial_state)
    _, multiplied, _ = rnn(
        step, loop.sequences, initial_state, mask=loop.valid, zero_output_for_mask=True
    )
    return [
        (cell, values, weight) for (cell, weight), values in zip(sources, multiplied, strict=True)
    ]


def _convolved(layer, values, weight, kernel):
    """The convolution of `values` and `kernel`, as `layer` makes it with the weight `weight`."""
    rank = len(kernel.shape) - 2
    values = ops.reshape(values, (-1, *values.shape[-rank - 1 :]))
    if layer.data_format == "channels_first":
        # TensorFlow has no such convolution for CPUs.
        values = ops.moveaxis(values, 1, -1)
    if weight is not layer.kernel:
        # A recurrent one: it keeps the size.
        return ops.conv(values, kernel, padding="same", data_format="channels_last")
    padding = layer.padding
    if padding == "causal":
        padding = "valid"
        before = layer.dilation_rate[0] * (kernel.shape[0] - 1)
        values = ops.pad(values, [[0, 0], [before, 0], [0, 0]])
    return ops.conv(
        values,
        kernel,
        strides=layer.strides,
        padding=padding,
        data_format="channels_last",
        dilation_rate=layer.dilation_rate,
    )


def _count_products(layer, values, weight, valid):
    """Counts what multiplying `values` and `weight` needs.

    Returns:
        A list of three tensors: the number of products of which no factor is 0, the number of all
        products, and whether some of `values` are other than -1, 0 and 1.
    """
    active = (values != 0) & valid
    graded = ops.any(active & (ops.abs(values) != 1))
    kernel = ops.convert_to_tensor(weight)
    if len(kernel.shape) == 2:
        events = ops.sum(ops.cast(active, "int64"), axis=range(len(values.shape) - 1))
        fan_out = ops.sum(ops.cast(kernel != 0, "int64"), axis=1)
        vectors = ops.sum(ops.cast(valid, "int64"))
        return [ops.sum(events * fan_out), vectors * math.prod(kernel.shape), graded]

    def products(values, kernel):
        # Each sum is exact in float32, the sum of all of them need not be.
        values, kernel = ops.cast(values, "float32"), ops.cast(kernel, "float32")
        return ops.sum(ops.cast(_convolved(layer, values, weight, kernel), "int64"))

    everywhere = ops.broadcast_to(valid, ops.shape(values))
    return [
        products(active, kernel != 0),
        products(everywhere, ops.ones_like(kernel)),
        graded,
    ]


LINEAR = (
    keras.layers.Dense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    readouts.LeakyReadout,
)


def _synaptic_layers(model):
    """The recurrent layers in `model`, and the linear ones with those that distribute them."""
    every = _layers_by_name(model, lambda layer: True)
    within = set()
    recurrent, linear = {}, {}
    for name, layer in every.items():
        if isinstance(layer, keras.layers.RNN):
            within |= {id(part) for part in layer._flatten_layers(include_self=False)}
            recurrent[name] = layer
        elif isinstance(layer, keras.layers.TimeDistributed) and isinstance(layer.layer, LINEAR):
            within.add(id(layer.layer))
            linear[name] = layer
        elif isinstance(layer, LINEAR):
            linear[name] = layer
    for name, layer in every.items():
        known = name in recurrent or name in linear or id(layer) in within
        own = [] if known else [*layer._trainable_variables, *layer._non_trainable_variables]
        if any("kernel" in weight.name for weight in own):
            raise ValueError(
                f"synaptic_operations() does not know what the layer '{layer.name}' of class "
                f"{type(layer).__name__} multiplies. It knows recurrent layers, Dense, Conv1D, "
                "Conv2D, Conv3D and LeakyReadout, and TimeDistributed of them."
            )
    linear = {name: layer for name, layer in linear.items() if id(layer) not in within}
    for layer in recurrent.values():
        for cell in _cells(layer):
            if not hasattr(cell, "products") and not hasattr(cell, "kernel"):
                raise ValueError(
                    f"synaptic_operations() does not know what the layer '{layer.name}', of cell "
                    f"{type(cell).__name__}, multiplies: the cell has no weight `kernel`. Give it "
                    "a method products(inputs, states), see keras_spiking_rnn.base.SpikingCell."
                )
    return recurrent, linear


def synaptic_operations(model, x, batch_size=32):
    """Counts the synaptic operations of an inference, leaving out those with 0.

    A synaptic operation is a product of an input, or a state, and a weight, added to a sum. It
    counts if neither is 0, in this very data and with these very weights: each spike counts as
    often as it has connections, forward and recurrent ones. It is an *accumulation* (AC) if the
    values that the weights are multiplied with are all -1, 0 or 1, as spikes are, because then
    nothing needs to be multiplied. If one of them is another number, such as those of an analog
    input, of a spike count or of a graded spike, all are *multiply-accumulations* (MAC).

    Counted are all recurrent layers, `Dense`, `Conv1D`, `Conv2D`, `Conv3D` and `LeakyReadout`, at
    any depth, and `TimeDistributed` of the latter. Masked steps do not count. Not counted are
    biases, and what neurons do without weights from other neurons, such as leaks and gates
    (`operations` does).

    Args:
        model: A Keras model, or a single layer.
        x: Inputs of the model: an array, or a list or dictionary of arrays.
        batch_size: Number of sequences to run at once.

    Returns:
        A dictionary from the name of each counted layer, in the order of the model, to a
        dictionary of means per sequence of `x`: `"acs"` and `"macs"`, the operations that are not
        with 0; `"dense"`, all operations, those with 0 as well; and `"updates"`, of layers
        with a membrane, whether they return spikes or not, the number of units times that of the
        steps, otherwise 0. Where names repeat, the keys are the layers' paths.

    Raises:
        ValueError: If the model has no layer to count, or one with a kernel that it cannot count,
            or `x` has no samples.

    Reference:
        Yik et al., *The NeuroBench framework for benchmarking neuromorphic computing algorithms and
        systems* (2025), which names the counts `Effective_ACs`, `Effective_MACs` and `Dense`.
    """
    recurrent, linear = _synaptic_layers(model)
    if not recurrent and not linear:
        raise ValueError(
            f"The model '{model.name}' has no layer with synapses, such as keras_spiking_rnn.RLIF."
        )

    @_as_graph
    def run(batch):
        counts = {name: {"products": [], "updates": []} for name in {**recurrent, **linear}}

        def count_recurrent(name, layer, loop):
            for cell, values, weight in _multiplied(layer, loop):
                valid = _expanded(loop.valid, values)
                counts[name]["products"].append(_count_products(cell, values, weight, valid))
            neurons = [cell for cell in _cells(layer) if _has_membrane(cell)]
            units = sum(math.prod(np.atleast_1d(cell.output_size)) for cell in neurons)
            steps = ops.sum(ops.cast(loop.valid, "int64"))
            counts[name]["updates"].append(steps * int(units))

        def count_linear(name, layer, inputs, valid):
            layer = getattr(layer, "layer", layer)
            product = _count_products(layer, inputs, layer.kernel, valid)
            counts[name]["products"].append(product)

        with _watching(recurrent, count_recurrent), _watching_inputs(linear, count_linear):
            model(batch, training=False)
        return counts

    products, updates = {}, {}
    sequences = 0
    for batch in batches(x, batch_size):
        sequences += len(keras.tree.flatten(batch)[0])
        for name, counts in run(batch).items():
            numbers = np.array([[int(n) for n in product] for product in counts["products"]])
            # Whether a product is graded is known after the last batch.
            products[name] = products.get(name, 0) + numbers.reshape(-1, 3)
            updates[name] = updates.get(name, 0) + sum(int(n) for n in counts["updates"])
    return {
        name: {
            "acs": float(products[name][products[name][:, 2] == 0, 0].sum() / sequences),
            "macs": float(products[name][products[name][:, 2] > 0, 0].sum() / sequences),
            "dense": float(products[name][:, 1].sum() / sequences),
            "updates": updates[name] / sequences,
        }
        for name in _layers_by_name(model, lambda layer: True)
        if name in products
    }


class EnergyConstants(NamedTuple):
    """Energies of operations, in joules, and where they are from.

    Attributes:
        mac: Energy of a multiply-accumulation, or `None` if the hardware has none.
        ac: Energy of an accumulation.
        update: Energy of updating a neuron for one step; 0 leaves updates out.
        source: Where the numbers are from and what they mean.
    """

    mac: float | None
    ac: float
    update: float = 0.0
    source: str = "given by the user"


_HOROWITZ = (
    "arithmetic alone, in a 45 nm process at 0.9 V, without memory and control: Horowitz, "
    "Computing's Energy Problem (and what we can do about it), ISSCC 2014, "
)

ENERGY = {
    "45nm_float32": EnergyConstants(
        4.6e-12, 0.9e-12, source=_HOROWITZ + "float32: multiplication 3.7 pJ, addition 0.9 pJ"
    ),
    "45nm_float16": EnergyConstants(
        1.5e-12, 0.4e-12, source=_HOROWITZ + "float16: multiplication 1.1 pJ, addition 0.4 pJ"
    ),
    "45nm_int32": EnergyConstants(
        3.2e-12, 0.1e-12, source=_HOROWITZ + "int32: multiplication 3.1 pJ, addition 0.1 pJ"
    ),
    "45nm_int8": EnergyConstants(
        0.23e-12, 0.03e-12, source=_HOROWITZ + "int8: multiplication 0.2 pJ, addition 0.03 pJ"
    ),
    "loihi": EnergyConstants(
        None,
        23.6e-12,
        81e-12,
        source="Loihi, 14 nm at 0.75 V, simulated before the chip was made: Davies et al., Loihi: "
        "A Neuromorphic Manycore Processor with On-Chip Learning, IEEE Micro 38 (1), 2018, table "
        "2: synaptic operation at least 23.6 pJ, update of an active neuron 81 pJ (inactive 52 "
        "pJ); without the transport of spikes",
    ),
}


class EnergyEstimate(NamedTuple):
    """An estimate of the energy of an inference, made of counts and constants.

    Attributes:
        joules: Energy of one sequence, in joules.
        layers: Dictionary from the name of each layer to its part of it.
        operations: What `synaptic_operations` counted.
        constants: The `EnergyConstants`.
    """

    joules: float
    layers: dict
    operations: dict
    constants: EnergyConstants

    def __str__(self):
        """Returns the estimate with its constants, as text."""
        mac, ac, update, source = self.constants
        constants = [] if mac is None else [f"{mac * 1e12:g} pJ a MAC"]
        constants += [f"{ac * 1e12:g} pJ an AC"]
        constants += [f"{update * 1e12:g} pJ a neuron update"] if update else []
        lines = [f"  {name}: {joules:.3g} J" for name, joules in self.layers.items()]
        return "\n".join(
            [
                f"estimate: {self.joules:.3g} J for an inference, with {', '.join(constants)}",
                f"({source})",
                *lines,
            ]
        )


def energy(model, x, constants="45nm_float32", batch_size=32):
    """Estimates the energy of an inference from its synaptic operations.

    It is what `synaptic_operations` counts, times the energy of each operation, as the literature
    does it to compare networks. It is no measurement: memory, transport of spikes, control and
    leakage are left out, which often need more than the arithmetic, and so are, other than in
    `constants.update`, the leaks and gates of neurons.

    Args:
        model: A Keras model, or a single layer.
        x: Inputs of the model: an array, or a list or dictionary of arrays.
        constants: A key of `metrics.ENERGY`: `"45nm_float32"`, `"45nm_float16"`, `"45nm_int32"`,
            `"45nm_int8"` or `"loihi"`; or `EnergyConstants` of your own.
        batch_size: Number of sequences to run at once.

    Returns:
        An `EnergyEstimate`, whose `joules` is the mean per sequence of `x`, and which prints with
        the constants and their source.

    Raises:
        ValueError: If `constants` is not known; if a layer needs multiplications and the hardware
            has none; or as for `synaptic_operations`.
    """
    if isinstance(constants, str):
        if constants not in ENERGY:
            raise ValueError(
                f"`constants` must be EnergyConstants or one of {', '.join(ENERGY)}. Received: "
                f"constants={constants!r}"
            )
        constants = ENERGY[constants]
    elif not isinstance(constants, EnergyConstants):
        raise TypeError(
            "`constants` must be EnergyConstants or a name of some. Received: "
            f"constants={constants!r}"
        )
    counted = synaptic_operations(model, x, batch_size)
    if constants.mac is None:
        graded = [name for name, operations in counted.items() if operations["macs"]]
        if graded:
            raise ValueError(
                f"The layers {', '.join(graded)} multiply numbers other than -1, 0 and 1, and "
                "there is no energy of a multiply-accumulation in these constants "
                f"({constants.source}). Encode the inputs as spikes, leave what the hardware does "
                "not compute out of the model, or pass EnergyConstants of your own."
            )
    layers = {
        name: operations["macs"] * (constants.mac or 0.0)
        + operations["acs"] * constants.ac
        + operations["updates"] * constants.update
        for name, operations in counted.items()
    }
    return EnergyEstimate(sum(layers.values()), layers, counted, constants)


def activity(outputs, mask=None):
    r"""Relative number of spiking steps of each unit, for outputs that are binary or graded.

    $$\mathcal{T}(s) = \frac{1}{T} \sum_{t=1}^{T} H(s[t]),
    \qquad H(s) = \begin{cases}1 & s > 0\\ 0 & s \le 0\end{cases}$$

    Args:
        outputs: Array of shape `(batch, steps, ...)`, the outputs $s[t]$ of a spiking layer.
        mask: Boolean array of shape `(batch, steps)`; `False` leaves a step out, and $T$ is the
            number of the others.

    Returns:
        NumPy array of shape `(batch, ...)`, numbers from 0 to 1; 0 where all steps are masked.

    Raises:
        ValueError: If `outputs` has no steps, or `mask` another shape.

    Reference:
        *Spike-based computation using classical recurrent neural networks* (2023), equation (4).
    """
    spiking = np.asarray(outputs) > 0
    if spiking.ndim < 2:
        raise ValueError(
            "`outputs` must have shape (batch, steps, ...), those of a layer with "
            f"return_sequences=True. Received the shape {spiking.shape}."
        )
    mask = np.ones(spiking.shape[:2], bool) if mask is None else np.asarray(mask, bool)
    if mask.shape != spiking.shape[:2]:
        raise ValueError(
            f"`mask` must have the shape (batch, steps) of `outputs`, {spiking.shape[:2]}. "
            f"Received the shape {mask.shape}."
        )
    valid = mask.reshape(*mask.shape, *[1] * (spiking.ndim - 2))
    return (spiking & valid).sum(axis=1) / np.maximum(valid.sum(axis=1), 1)


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class FiringRate(keras.metrics.Metric):
    """Mean number of spikes per unit per step.

    It takes spike trains as predictions and ignores the targets, so it can stand in
    `compile(metrics=...)` for an output of a model that is made of spikes. A graded output counts
    as one spike wherever it is not 0. Masked steps of such an output do not count.

    Args:
        name: Name of the metric.
        dtype: Dtype of its result.

    Call arguments:
        y_true: Ignored, may be `None`.
        y_pred: Spikes of shape `(batch, steps, ...)`.
        sample_weight: Weights, of shape `(batch,)` or `(batch, steps)`, for example a mask.

    Example:
    ```python
    rate = FiringRate()
    rate.update_state(None, spikes)
    rate.result()
    ```
    """

    def __init__(self, name="firing_rate", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.spikes = self.add_variable(shape=(), initializer="zeros", name="spikes")
        self.unit_steps = self.add_variable(shape=(), initializer="zeros", name="unit_steps")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds spikes: see the class."""
        # Keras attaches the mask of an output to the tensor and does not pass it to metrics.
        weights = [getattr(y_pred, "_keras_mask", None), sample_weight]
        y_pred = ops.convert_to_tensor(y_pred)
        total_weight = ops.ones_like(y_pred, dtype=self.dtype)
        for weight in weights:
            if weight is not None:
                total_weight *= _expanded(ops.cast(weight, self.dtype), y_pred)
        # `where` rather than a product: a masked step may hold anything, NaN included.
        self.spikes.assign_add(ops.sum(ops.where(y_pred != 0, total_weight, 0)))
        self.unit_steps.assign_add(ops.sum(total_weight))

    def result(self):
        """Returns the rate of all spikes since the last reset."""
        return ops.divide_no_nan(self.spikes, self.unit_steps)


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class Sparsity(FiringRate):
    """Fraction of the outputs that are 0: 1 less `FiringRate`, and 0 without outputs.

    Args:
        name: Name of the metric.
        dtype: Dtype of its result.
    """

    def __init__(self, name="sparsity", dtype=None):
        super().__init__(name=name, dtype=dtype)

    def result(self):
        """Returns the sparsity of all outputs since the last reset."""
        return ops.divide_no_nan(self.unit_steps - self.spikes, self.unit_steps)


class AccuracyOverTime(keras.metrics.Mean):
    """Base of the accuracies; a subclass computes the logits of the classes in `logits`."""

    population = 1

    def logits(self, outputs, weights):
        """Logits of shape `(batch, classes)`, from outputs and weights of steps."""
        raise NotImplementedError

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds answers: see the class."""
        steps, sequences = losses.step_weights(self, y_pred, sample_weight)
        # Answers to sequences without steps do not count.
        weights = ops.cast(ops.any(steps > 0, axis=1), self.dtype)
        if sequences is not None:
            weights *= sequences
        outputs = ops.convert_to_tensor(y_pred, dtype=self.dtype)
        targets = ops.convert_to_tensor(y_true)
        labels, _ = losses.known_targets(self, targets, outputs)
        labels = ops.argmax(targets, axis=-1) if labels is None else labels
        answers = ops.argmax(self.logits(outputs, steps), axis=-1)
        right = ops.cast(ops.equal(answers, labels), self.dtype)
        return super().update_state(right, sample_weight=weights)


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class SpikeCountAccuracy(AccuracyOverTime):
    """Fraction of sequences whose class with most spikes is the right one.

    Of several classes with equally many spikes the first one is the answer: a network that is
    silent answers 0.

    Args:
        population: Positive integer, number of outputs for each class; those of the first class
            come first.
        name: Name of the metric.
        dtype: Dtype of its result.

    Call arguments:
        y_true: Labels of shape `(batch,)` or `(batch, 1)`, or one-hot, of shape `(batch, classes)`.
        y_pred: Spikes of shape `(batch, steps, classes * population)`.
        sample_weight: Weights of sequences, of shape `(batch,)`, or of steps, `(batch, steps)`.
    """

    def __init__(self, population=1, name="spike_count_accuracy", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.population = losses.positive_population(self, population)

    def logits(self, outputs, weights):
        """Spike counts of the classes."""
        return losses.population_sums(losses.weighted_sum(outputs, weights), self.population)

    def get_config(self):
        """Returns the arguments of the constructor as a dictionary."""
        return {**super().get_config(), "population": self.population}


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class MembraneAccuracy(AccuracyOverTime):
    """Fraction of sequences whose class with the highest membrane potential is the right one.

    Args:
        at: `"last"`, `"max"` or `"mean"`: which value over time.
        name: Name of the metric.
        dtype: Dtype of its result.

    Call arguments:
        y_true: Labels of shape `(batch,)` or `(batch, 1)`, or one-hot, of shape `(batch, classes)`.
        y_pred: Membrane potentials of shape `(batch, steps, classes)`.
        sample_weight: Weights of sequences, of shape `(batch,)`, or of steps, `(batch, steps)`.
    """

    def __init__(self, at="last", name="membrane_accuracy", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.at = losses.known_reading(self, at)

    def logits(self, outputs, weights):
        """The last, largest or mean membrane potentials."""
        return losses.reading(outputs, weights, self.at)

    def get_config(self):
        """Returns the arguments of the constructor as a dictionary."""
        return {**super().get_config(), "at": self.at}


def trace(layer, inputs):
    """Records what happens in a spiking layer at each step, without noise, dropout and masks.

    Args:
        layer: A built layer of this library with a cell, such as `RLIF` or `ConvRLIF2D`, or a
            `keras.layers.RNN` of such a cell.
        inputs: Array of shape `(batch, steps, in)`, of `ConvRLIF2D` images at each step.

    Returns:
        A dictionary of NumPy arrays of shape `(batch, steps, units)`, of `ConvRLIF2D` images at
        each step, in the order in which the steps are processed (with `go_backwards` the last step
        comes first): `"spikes"`, and what the cell's `step` shows of its inside. Of RLIF that is
        `"membrane"`, $V^t$ of equation (4),
        the membrane potential before the reset, and `"state"`, $u^t$ of equation (7), the one that
        the next step starts with; with analog outputs `"analog"`, those outputs, as well, and
        `"spikes"` are the ones that reset the membrane. LIFLSTM adds its gates, `"input"`,
        `"forget"`, `"candidate"` and `"output"`, and its cell state `"cell"`. Of LIF it is
        `"current"`, $I[n]$, and `"membrane"`, $V[n]$, with `"forget"`, $F[n]$, and `"candidate"`,
        $C[n]$, before them for GatedLIF.

    Raises:
        ValueError: If `layer` is of another kind, or is not built.
    """
    cell = getattr(layer, "cell", None)
    if not hasattr(cell, "step"):
        raise ValueError(
            "trace() needs a spiking layer: one of keras_spiking_rnn with a cell, such as RLIF or "
            "ConvRLIF2D, or a keras.layers.RNN of such a cell, which is not stacked. Received: "
            f"{layer!r}"
        )
    if not cell.built:
        raise ValueError(
            f"The layer '{layer.name}' is not built yet: call it on inputs once, or use it in a "
            "model with an Input, before trace()."
        )
    sequences = ops.swapaxes(ops.convert_to_tensor(inputs, dtype=layer.compute_dtype), 0, 1)
    if layer.go_backwards:
        sequences = ops.flip(sequences, axis=0)

    def step(previous, step_inputs):
        spikes, states, inside = cell.step(step_inputs, list(previous["states"]))
        return {"states": tuple(states), "shown": {"spikes": spikes, **inside}}

    def scan(sequences):
        states = tuple(cell.get_initial_state(batch_size=sequences.shape[1]))
        shown = step({"states": states}, sequences[0])["shown"]
        initial = {"states": states, "shown": tf.nest.map_structure(tf.zeros_like, shown)}
        return tf.scan(step, sequences, initial)["shown"]

    shown = _as_graph(scan, autograph=False)(sequences)
    return {name: np.swapaxes(values.numpy(), 0, 1) for name, values in shown.items()}
