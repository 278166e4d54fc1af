"""Firing rates, operations, and the inside of a spiking layer over time."""

import contextlib
import math
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops


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
            return_sequences, layer.return_sequences = layer.return_sequences, True
            try:
                result = inner_loop(sequences, initial_state, mask, training=training)
            finally:
                layer.return_sequences = return_sequences
            valid = ops.ones(ops.shape(sequences)[:2], dtype="bool")
            if mask is not None:
                valid = ops.cast(keras.tree.flatten(mask)[0], "bool")
            if layer.go_backwards:
                sequences, valid = ops.flip(sequences, axis=1), ops.flip(valid, axis=1)
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
    """Makes `layers` call `watch(name, layer, inputs)` as they run."""

    def watched(name, layer, call):
        def look_and_call(inputs, *args, **kwargs):
            watch(name, layer, inputs)
            return call(inputs, *args, **kwargs)

        return look_and_call

    try:
        for name, layer in layers.items():
            layer.call = watched(name, layer, layer.call)
        yield
    finally:
        for layer in layers.values():
            del layer.call


def _batches(x, batch_size):
    """Yields the tensors of each batch of `x`, an array, or a list or dictionary of arrays."""
    samples = len(keras.tree.flatten(x)[0])
    if samples == 0:
        raise ValueError("`x` has no samples: there must be at least one sequence.")
    for start in range(0, samples, batch_size):
        yield keras.tree.map_structure(
            lambda array, start=start: ops.convert_to_tensor(array[start : start + batch_size]), x
        )


def firing_rates(model, x, batch_size=32):
    """Measures how often the units of each spiking layer fire.

    Every step counts, also in a layer that returns only its last output; masked steps do not. A
    graded output counts as one spike at each step where it is not 0, so that the rate of an `SRC`,
    whose pulses last several steps, is its mean `activity`.

    A spiking layer is an `RLIF`, or a `keras.layers.RNN` of a cell with a true attribute
    `emits_spikes`; of stacked cells the last one counts. Layers within other layers and models,
    such as `keras.layers.Bidirectional`, are found too. Stateful layers keep the state that they
    end with.

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
    layers = _layers_by_name(model, _emits_spikes)
    if not layers:
        raise ValueError(
            f"The model '{model.name}' has no spiking layer, such as keras_spiking_rnn.RLIF."
        )

    @tf.function
    def run(batch):
        counts = {}

        def count(name, layer, loop):
            # A graded output is one spike, whatever its size.
            spikes = ops.cast(loop.outputs != 0, "float32")
            valid = ops.cast(loop.valid, "float32")
            total, unit_steps = counts.get(name, (0.0, 0.0))
            counts[name] = (
                total + ops.sum(spikes * valid[:, :, None]),
                unit_steps + ops.sum(valid) * spikes.shape[-1],
            )

        with _watching(layers, count):
            model(batch, training=False)
        return counts

    spikes, unit_steps = dict.fromkeys(layers, 0.0), dict.fromkeys(layers, 0.0)
    for batch in _batches(x, batch_size):
        for name, (total, steps) in run(batch).items():
            spikes[name] += float(total)
            unit_steps[name] += float(steps)
    # A layer whose steps are all masked, or that the model does not use, never fires.
    return {name: spikes[name] / unit_steps[name] if unit_steps[name] else 0.0 for name in layers}


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
        if isinstance(layer, keras.layers.RNN) and not (
            isinstance(cell, known) or hasattr(cell, "multiplications")
        ):
            raise ValueError(
                f"operations() does not know how many multiplications the layer '{layer.name}' "
                f"needs, of cell {type(cell).__name__}. It knows LIF, GatedLIF, LSTM, GRU and "
                "Dense; give a cell of your own a method multiplications(inputs, outputs)."
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

    @tf.function
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

        def count_dense(name, layer, inputs):
            mask = getattr(inputs, "_keras_mask", None)
            valid = ops.ones_like(inputs[..., :1], dtype="bool")
            if mask is not None:
                valid = ops.reshape(ops.cast(mask, "bool"), ops.shape(valid))
            steps = ops.sum(ops.cast(valid, "int64"))
            add(name, steps, steps * inputs.shape[-1], nonzero(inputs, valid), 0)

        with _watching(recurrent, count_recurrent), _watching_inputs(dense, count_dense):
            model(batch, training=False)
        return counts

    totals = {}
    for batch in _batches(x, batch_size):
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
        ValueError: If `outputs` has no steps.

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
    valid = mask.reshape(*mask.shape, *[1] * (spiking.ndim - 2))
    return (spiking & valid).sum(axis=1) / np.maximum(valid.sum(axis=1), 1)


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class FiringRate(keras.metrics.Metric):
    """Mean number of spikes per unit per step.

    It takes spike trains as predictions and ignores the targets, so it can stand in
    `compile(metrics=...)` for an output of a model that is made of spikes. Masked steps of such an
    output do not count.

    Args:
        name: Name of the metric.
        dtype: Dtype of its result.

    Call arguments:
        y_true: Ignored, may be `None`.
        y_pred: Spikes, 0 or 1, of shape `(batch, steps, ...)`.
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
        spikes = ops.cast(y_pred, self.dtype)
        total_weight = ops.ones_like(spikes)
        for weight in weights:
            if weight is not None:
                weight = ops.cast(weight, self.dtype)
                missing = len(spikes.shape) - len(weight.shape)
                total_weight *= ops.reshape(weight, (*ops.shape(weight), *[1] * missing))
        self.spikes.assign_add(ops.sum(spikes * total_weight))
        self.unit_steps.assign_add(ops.sum(total_weight))

    def result(self):
        """Returns the rate of all spikes since the last reset."""
        return ops.divide_no_nan(self.spikes, self.unit_steps)


def trace(layer, inputs):
    """Records what happens in a spiking layer at each step, without noise, dropout and masks.

    Args:
        layer: A built `RLIF`, or a `keras.layers.RNN` of an `RLIFCell`.
        inputs: Array of shape `(batch, steps, in)`.

    Returns:
        A dictionary of NumPy arrays of shape `(batch, steps, units)`, in the order in which the
        steps are processed (with `go_backwards` the last step comes first): `"spikes"`, and what
        the cell's `step` shows of its inside. Of RLIF that is `"membrane"`, $V^t$ of equation (4),
        the membrane potential before the reset, and `"state"`, $u^t$ of equation (7), the one that
        the next step starts with. Of LIF it is `"current"`, $I[n]$, and `"membrane"`, $V[n]$,
        with `"forget"`, $F[n]$, and `"candidate"`, $C[n]$, before them for GatedLIF.

    Raises:
        ValueError: If `layer` is of another kind, or is not built.
    """
    cell = getattr(layer, "cell", None)
    if not hasattr(cell, "step"):
        raise ValueError(
            "trace() needs a spiking layer: a keras_spiking_rnn.RLIF or a keras.layers.RNN of an "
            f"RLIFCell. Received: {layer!r}"
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

    shown = tf.function(scan)(sequences)
    return {name: np.swapaxes(values.numpy(), 0, 1) for name, values in shown.items()}
