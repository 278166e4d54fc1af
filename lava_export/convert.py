"""From a Keras model to an integer network: the layers read, described and quantized."""

from __future__ import annotations

import numbers
import warnings
from dataclasses import dataclass, field

import keras
import numpy as np

# The class of a functional model has no public name.
from keras.src.models.functional import Functional

from keras_spiking_rnn import RLIF, DirectEncoder, PoissonEncoder, RLIFCell, TimeSum
from lava_export import host, reference
from lava_export.network import Network, check_data, check_spikes
from lava_export.quantize import ConversionError, RLIFDescription, quantize_layer
from lava_export.report import QuantizationReport

# Losses above which a layer is warned of.
SPIKE_LOSS = 0.10
WEIGHT_LOSS = 0.10


class QuantizationWarning(UserWarning):
    """Integers that lose more of a layer than they should."""


@dataclass
class Description:
    """A chain of layers, cut into what runs on the host and what runs in integers.

    Args:
        encoder: Host operations before the first spiking layer.
        spiking: One description for each spiking layer.
        head: Host operations after the last spiking layer.
        encoder_layers, cells, head_layers: The Keras objects they were made from, in order.
        sequences: Whether the last spiking layer gives all its steps, and not only the last.
    """

    encoder: list = field(default_factory=list)
    spiking: list = field(default_factory=list)
    head: list = field(default_factory=list)
    encoder_layers: list = field(default_factory=list)
    cells: list = field(default_factory=list)
    head_layers: list = field(default_factory=list)
    sequences: bool = True


def export(model, calibration, leak_groups=None):
    """The integer network of a trained Keras model.

    The model is a chain: optionally an encoder (`PoissonEncoder`, `DirectEncoder`, `Flatten`,
    `Reshape`, `Rescaling`), spiking layers (`RLIF`, `RNN` over `RLIFCell`), and optionally a head
    (`TimeSum`, `Dense`, activations). The spiking layers become integers; encoder and head stay
    on the host, in float32.

    Args:
        model: A built `keras.Model`.
        calibration: A sample of what the model takes, about 256 samples. The scale of each layer
            is the one whose integers, run on these, give the fewest spikes that differ from the
            float layer, and neither wrap nor saturate.
        leak_groups: Number of distinct leaks to reduce each layer to, for neurons with one decay
            for many units as Lava's stock `LIF`. By default every unit keeps its own.

    Returns:
        A `Network`; `network.quantization` tells what each layer lost.

    Raises:
        ConversionError: If a layer cannot be exported.
        ValueError: If the calibration data does not fit the model.

    Warns:
        QuantizationWarning: If 8 bits lose a noticeable part of a layer.
    """
    if leak_groups is not None and (
        isinstance(leak_groups, bool)
        or not isinstance(leak_groups, numbers.Integral)
        or leak_groups < 1
    ):
        raise ValueError(f"leak_groups must be a positive integer or None, got {leak_groups!r}.")
    description = describe(model)
    layers, records = [], []
    input_shape = input_shape_of(model)
    encoded = check_data(calibration, input_shape, "calibration")
    for operation in description.encoder:
        encoded = operation(encoded)
    inputs = description.spiking[0].kernel.shape[0]
    source = "calibration"
    if description.encoder_layers:
        source = f"What layer '{description.encoder_layers[-1].name}' makes of calibration"
    spikes = check_spikes(encoded, inputs, source)
    exact = spikes
    for layer in description.spiking:
        dense, lif, record, fired = quantize_layer(layer, spikes, leak_groups)
        exact = reference.simulate_layer(dense, lif, exact).spikes
        record.cumulative_mismatches = int(np.count_nonzero(exact != fired))
        layers += [dense, lif]
        records.append(record)
        _warn(record)
        spikes = fired
    return Network(
        layers,
        description.encoder,
        description.head,
        [layer.name for layer in description.spiking],
        QuantizationReport(len(spikes), spikes.shape[1], records),
        input_shape,
    )


def input_shape_of(model):
    """Shape of one sample of a model's data, with None where it is free."""
    return tuple(model.inputs[0].shape[1:])


def _warn(record):
    if record.worst_unit_error > WEIGHT_LOSS:
        warnings.warn(
            f"Layer '{record.name}': 8 bits do not hold weights so far apart: those of unit "
            f"{record.worst_unit} lose {record.worst_unit_error:.0%} (root mean square), and "
            f"{record.spike_loss:.1%} of the layer's spikes change. Bring the units' thresholds "
            "or weights closer together, for example with a max-norm constraint on the kernel.",
            QuantizationWarning,
            stacklevel=3,
        )
    elif record.spike_loss > SPIKE_LOSS:
        warnings.warn(
            f"Layer '{record.name}': in integers {record.spike_loss:.1%} of its spikes change "
            f"({record.mismatches} differences for {record.float_spikes} spikes on the "
            "calibration data).",
            QuantizationWarning,
            stacklevel=3,
        )


IDENTITIES = (
    keras.layers.InputLayer,
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.GaussianNoise,
    keras.layers.GaussianDropout,
    keras.layers.ActivityRegularization,
    keras.layers.Identity,
)


def describe(model):
    """The description of a Keras model that is a chain of layers.

    Raises:
        ConversionError: If a layer has no counterpart on the chip; the message names it and
            says what to use.
    """
    description = Description()
    for layer in _chain(model):
        if _is_a(layer, *IDENTITIES):
            continue
        if _is_recurrent(layer):
            if description.head_layers or not description.sequences:
                before = description.head_layers[-1] if description.head_layers else None
                raise ConversionError(
                    f"Layer '{layer.name}' is a spiking layer behind "
                    + (
                        f"'{before.name}' ({type(before).__name__}), which does not give spikes: "
                        "connect spiking layers directly."
                        if before
                        else "one with return_sequences=False: set return_sequences=True there."
                    )
                )
            description.sequences = layer.return_sequences
            for name, cell in _cells(layer):
                description.spiking.append(_describe_cell(name, cell))
                description.cells.append(cell)
            if not layer.return_sequences:
                description.head.append(host.LastStep())
        elif not description.spiking:
            description.encoder.append(_encoder_operation(layer))
            description.encoder_layers.append(layer)
        else:
            description.head.extend(_head_operations(layer))
            description.head_layers.append(layer)
    if not description.spiking:
        raise ConversionError(
            f"Model '{model.name}' has no spiking layer: nothing of it would run on the chip. "
            "Build it with keras_spiking_rnn.RLIF."
        )
    return description


def _chain(model):
    """The layers of a model in order, with nested models unfolded."""
    if not isinstance(model, keras.Model):
        raise ConversionError(
            f"Expected a Keras model, got {type(model).__name__}. "
            "Wrap a layer: keras.Sequential([keras.Input(shape), layer])."
        )
    if not model.built:
        raise ConversionError(
            f"Model '{model.name}' has no weights yet: call it on data or give it a "
            "keras.Input first."
        )
    if _is_a(model, keras.Sequential):
        layers = model.layers
    elif _is_a(model, Functional):
        layers = _functional_chain(model)
    else:
        raise ConversionError(
            f"Model '{model.name}' is a subclass of keras.Model with a call of its own, whose "
            "order of layers cannot be read: build it as keras.Sequential or with the functional "
            "API."
        )
    for layer in layers:
        if isinstance(layer, keras.Model):
            yield from _chain(layer)
        else:
            yield layer


def _functional_chain(model):
    """The layers of a functional model from its input to its output, if that is one chain."""
    layers = []
    tensors = model.outputs
    while True:
        if len(tensors) != 1:
            names = [tensor._keras_history.operation.name for tensor in tensors]
            raise ConversionError(
                f"Model '{model.name}' branches at {', '.join(names) or 'its output'}: only a "
                "chain of layers can be exported. Export each branch as a model of its own."
            )
        operation, node, _ = tensors[0]._keras_history
        if not isinstance(operation, keras.Layer):
            raise ConversionError(
                f"Model '{model.name}' has the operation '{operation.name}' "
                f"({type(operation).__name__}) outside of a layer: use a Keras layer for it."
            )
        layers.append(operation)
        call = operation._inbound_nodes[node]
        given = {
            name: value
            for name, value in call.arguments.kwargs.items()
            if value is not None and name != "training"
        }
        if "mask" in given:
            raise ConversionError(
                f"Layer '{operation.name}' is called with a mask, but the chip runs every step: "
                "leave out Masking and pad with silence, which is zeros."
            )
        if given or any(value is not None for value in call.arguments.args[1:]):
            raise ConversionError(
                f"Layer '{operation.name}' is called with more than its input "
                f"({', '.join(given) or 'positional arguments'}): the exported network starts "
                "each sample from zero and takes spikes only."
            )
        tensors = call.input_tensors
        if isinstance(operation, keras.layers.InputLayer):
            return layers[::-1]


def _is_recurrent(layer):
    return isinstance(layer, keras.layers.RNN | keras.layers.Bidirectional)


def _cells(layer):
    """Pairs of a name and an RLIF cell, for each cell of a recurrent layer."""
    if isinstance(layer, keras.layers.Bidirectional):
        raise ConversionError(
            f"Layer '{layer.name}' is bidirectional: its backward half needs the end of the "
            "sequence first, which a chip that gets one step at a time does not have. "
            "Use a forward layer."
        )
    for option, reason in (
        ("go_backwards", "the chip gets the steps in their order"),
        ("stateful", "the exported network starts each sample from its initial state"),
        ("return_state", "the exported network passes on spikes only"),
    ):
        if getattr(layer, option):
            raise ConversionError(
                f"Layer '{layer.name}' has {option}=True, but {reason}: set {option}=False."
            )
    stacked = isinstance(layer.cell, keras.layers.StackedRNNCells)
    cells = layer.cell.cells if stacked else [layer.cell]
    for i, cell in enumerate(cells):
        plain = _is_a(layer, RLIF, keras.layers.RNN)
        if not plain or not _is_a(cell, RLIFCell, methods=("call", "step", "get_initial_state")):
            raise ConversionError(
                f"Layer '{layer.name}' ({type(layer).__name__} over {type(cell).__name__}) has no "
                "counterpart on the chip. What can be exported: RLIF, and keras.layers.RNN over "
                "RLIFCell."
            )
        yield (f"{layer.name}/{i}" if stacked else layer.name), cell


def _is_a(thing, *classes, methods=("call",)):
    """Whether a layer or model is of one of `classes` and does what these do.

    A subclass with a `call` of its own does something else.
    """
    return any(
        isinstance(thing, cls)
        and all(getattr(type(thing), method) is getattr(cls, method) for method in methods)
        for cls in classes
    )


def _describe_cell(name, cell):
    def vector(variable):
        values = np.zeros(cell.units) if variable is None else np.asarray(variable, np.float64)
        return np.broadcast_to(values, (cell.units,))

    description = RLIFDescription(
        name,
        np.asarray(cell.kernel, np.float64),
        vector(cell.bias),
        vector(cell.leak),
        vector(cell.membrane_bias),
        vector(cell.threshold),
        vector(cell.reset),
    )
    for weight in ("kernel", "bias", "leak", "membrane_bias", "threshold", "reset"):
        values = getattr(description, weight)
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            raise ConversionError(
                f"Layer '{name}': `{weight}` holds {values[tuple(bad[0])]} at "
                f"{bad[0].tolist()} ({len(bad)} such values): train again with a lower learning "
                "rate or clipped gradients."
            )
    unit = int(np.argmin(description.threshold - description.reset))
    if description.reset[unit] >= description.threshold[unit]:
        raise ConversionError(
            f"Layer '{name}': unit {unit} has reset {description.reset[unit]} >= threshold "
            f"{description.threshold[unit]}: after one spike it would fire for ever. "
            "Set reset below threshold."
        )
    low, high = 1 / 4096, 1.0
    outside = np.flatnonzero((description.leak < low) | (description.leak > high))
    if len(outside):
        raise ConversionError(
            f"Layer '{name}': the leak of unit {outside[0]} is {description.leak[outside[0]]:.6g} "
            f"({len(outside)} such units), but the 12-bit decay of the chip holds [1/4096, 1]: "
            "keep the default leak_constraint while training."
        )
    return description


# What the supported layers of encoder and head are restricted to.
LIMITS = "data_format='channels_last', no keepdims, one scale and offset"


def _encoder_operation(layer):
    if _is_a(layer, PoissonEncoder):
        seed = layer.seed if isinstance(layer.seed, int) else 0
        return host.PoissonEncoding(int(layer.steps), float(layer.gain), seed)
    if _is_a(layer, DirectEncoder):
        return host.Repeat(int(layer.steps))
    operation = _common_operation(layer)
    if operation is None:
        raise ConversionError(
            f"Layer '{layer.name}' ({type(layer).__name__}) before the first spiking layer cannot "
            "be exported. Supported there: PoissonEncoder, DirectEncoder, Flatten, Reshape, "
            f"Rescaling ({LIMITS}). Put other preprocessing into your data pipeline."
        )
    return operation


def _head_operations(layer):
    if _is_a(layer, TimeSum):
        return [host.TimeSum(bool(layer.mean))]
    if (
        _is_a(layer, keras.layers.GlobalAveragePooling1D)
        and layer.data_format == "channels_last"
        and not layer.keepdims
    ):
        return [host.TimeSum(mean=True)]
    if _is_a(layer, keras.layers.Dense):
        kernel = np.asarray(layer.kernel, np.float32)
        bias = np.zeros(layer.units) if layer.bias is None else layer.bias
        affine = host.Affine(kernel, np.asarray(bias, np.float32))
        if not (np.isfinite(affine.kernel).all() and np.isfinite(affine.bias).all()):
            raise ConversionError(f"Layer '{layer.name}' holds NaN or infinite weights.")
        return [affine, *_activation(layer, layer.activation)]
    if _is_a(layer, keras.layers.Activation):
        return _activation(layer, layer.activation)
    if _is_a(layer, keras.layers.Softmax) and layer.axis == -1:
        return [host.Activation("softmax")]
    operation = _common_operation(layer)
    if operation is None:
        raise ConversionError(
            f"Layer '{layer.name}' ({type(layer).__name__}) after the spiking layers cannot be "
            "exported. Supported there: TimeSum, GlobalAveragePooling1D, Dense, Activation, "
            f"Softmax, Flatten, Reshape, Rescaling ({LIMITS})."
        )
    return [operation]


def _common_operation(layer):
    if _is_a(layer, keras.layers.Flatten) and layer.data_format == "channels_last":
        return host.Flatten()
    if _is_a(layer, keras.layers.Reshape):
        return host.Reshape(tuple(int(size) for size in layer.target_shape))
    if _is_a(layer, keras.layers.Rescaling) and np.ndim(layer.scale) == 0 == np.ndim(layer.offset):
        return host.Rescale(float(layer.scale), float(layer.offset))
    return None


def _activation(layer, function):
    name = getattr(function, "__name__", type(function).__name__)
    own = (getattr(module, name, None) for module in (keras.activations, keras.ops))
    if name not in host.ACTIVATIONS or function not in own:
        raise ConversionError(
            f"Layer '{layer.name}' has the activation {name!r}. Supported on the host: "
            f"{', '.join(host.ACTIVATIONS)}."
        )
    return [] if name == "linear" else [host.Activation(name)]
