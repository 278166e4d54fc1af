"""Firing rates, and the inside of a spiking layer over time."""

import contextlib

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


def _spiking_layers(model):
    """Returns the spiking layers in `model`, at any depth, by name (by path if names repeat)."""
    layers = [layer for layer in model._flatten_layers() if _emits_spikes(layer)]
    names = [layer.name for layer in layers]
    return {layer.name if names.count(layer.name) == 1 else layer.path: layer for layer in layers}


@contextlib.contextmanager
def _counting(layers, counts):
    """Makes `layers` add their spikes and unit-steps to `counts` as they run.

    It looks into the loop over time because a layer with `return_sequences=False` returns only
    the last of its spikes.
    """

    def counted(name, layer, inner_loop):
        def count(sequences, initial_state, mask, training=False):
            return_sequences, layer.return_sequences = layer.return_sequences, True
            try:
                result = inner_loop(sequences, initial_state, mask, training=training)
            finally:
                layer.return_sequences = return_sequences
            spikes = ops.cast(result[1], "float32")
            valid = ops.ones(ops.shape(spikes)[:2], dtype="float32")
            if mask is not None:
                mask = keras.tree.flatten(mask)[0]
                valid = ops.cast(ops.flip(mask, axis=1) if layer.go_backwards else mask, "float32")
            total, unit_steps = counts.get(name, (0.0, 0.0))
            counts[name] = (
                total + ops.sum(spikes * valid[:, :, None]),
                unit_steps + ops.sum(valid) * spikes.shape[-1],
            )
            return result

        return count

    try:
        for name, layer in layers.items():
            layer.inner_loop = counted(name, layer, layer.inner_loop)
        yield
    finally:
        for layer in layers.values():
            del layer.inner_loop


def firing_rates(model, x, batch_size=32):
    """Measures how often the units of each spiking layer fire.

    Every step counts, also in a layer that returns only its last output; masked steps do not. A
    spiking layer is an `RLIF`, or a `keras.layers.RNN` of a cell with a true attribute
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
    layers = _spiking_layers(model)
    if not layers:
        raise ValueError(
            f"The model '{model.name}' has no spiking layer, such as keras_spiking_rnn.RLIF."
        )
    samples = len(keras.tree.flatten(x)[0])
    if samples == 0:
        raise ValueError("`x` has no samples: a firing rate needs at least one sequence.")

    @tf.function
    def run(batch):
        counts = {}
        with _counting(layers, counts):
            model(batch, training=False)
        return counts

    spikes, unit_steps = dict.fromkeys(layers, 0.0), dict.fromkeys(layers, 0.0)
    for start in range(0, samples, batch_size):
        batch = keras.tree.map_structure(
            lambda array, start=start: ops.convert_to_tensor(array[start : start + batch_size]), x
        )
        for name, (total, steps) in run(batch).items():
            spikes[name] += float(total)
            unit_steps[name] += float(steps)
    # A layer whose steps are all masked, or that the model does not use, never fires.
    return {name: spikes[name] / unit_steps[name] if unit_steps[name] else 0.0 for name in layers}


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
        the next step starts with.

    Raises:
        ValueError: If `layer` is of another kind, or is not built.
    """
    cell = getattr(layer, "cell", None)
    if not getattr(cell, "emits_spikes", False):
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
