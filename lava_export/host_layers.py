"""What Keras layers become on the host: encoders, heads, readouts."""

from __future__ import annotations

import math

import keras
import numpy as np

from keras_spiking_rnn import (
    DeltaEncoder,
    DirectEncoder,
    LatencyEncoder,
    LeakyIntegratorCell,
    LeakyReadout,
    MembraneReadout,
    OnOffPoissonEncoder,
    PoissonEncoder,
    TimeSum,
)
from lava_export import host
from lava_export.quantize import ConversionError
from lava_export.quantize.base import raise_first


def is_a(thing, *classes, methods=("call",)):
    """Whether a layer or model is of one of `classes` and does what these do.

    A subclass with a `call` of its own does something else.
    """
    return any(
        isinstance(thing, cls)
        and all(getattr(type(thing), method) is getattr(cls, method) for method in methods)
        for cls in classes
    )


# What the supported layers of encoder and head are restricted to.
LIMITS = "data_format='channels_last', no keepdims, one scale and offset"


# Layers that take a sequence and give none.
OVER_TIME = (TimeSum, keras.layers.GlobalAveragePooling1D, LeakyReadout, MembraneReadout)


def unsupported_options(layer):
    """A `ConversionError` for each option of a recurrent layer that cannot be exported."""
    return [
        ConversionError(
            f"Layer '{layer.name}' has {option}=True, but {reason}: set {option}=False."
        )
        for option, reason in (
            ("go_backwards", "the chip gets the steps in their order"),
            ("stateful", "the exported network starts each sample from its initial state"),
            ("return_state", "the exported network passes on spikes only"),
        )
        if getattr(layer, option)
    ]


def is_readout(layer):
    """Whether a recurrent layer is a readout on the host, which never spikes."""
    return (
        is_a(layer, MembraneReadout, methods=("call", "loop", "inner_loop"))
        or is_a(layer, keras.layers.RNN)
    ) and type(layer.cell) is LeakyIntegratorCell


def keeps_steps(layer):
    """Whether a layer passes on all that it gets, in its order, and only changes the shape."""
    flattens = is_a(layer, keras.layers.TimeDistributed) and (
        is_a(layer.layer, keras.layers.Flatten) and layer.layer.data_format == "channels_last"
    )
    if not flattens and not is_a(layer, keras.layers.Reshape):
        return False
    try:
        before, after = layer.input.shape, layer.output.shape
    except AttributeError:  # called on data only: the shapes are not known
        return flattens
    return before[1] == after[1] and math.prod(before[2:]) == math.prod(after[2:])


def dense_weights(layer, dtype):
    """Kernel and bias of a Keras `Dense` layer.

    Raises:
        ConversionError: If they hold NaN or infinity.
    """
    kernel = np.asarray(layer.kernel, dtype)
    bias = np.asarray(np.zeros(layer.units) if layer.bias is None else layer.bias, dtype)
    if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
        raise ConversionError(f"Layer '{layer.name}' holds NaN or infinite weights.")
    return kernel, bias


def encoder_operations(layer):
    """The host operations of a layer before the first spiking one.

    Raises:
        ConversionError: If there are none.
    """
    seed = layer.seed if isinstance(getattr(layer, "seed", None), int) else 0
    if is_a(layer, PoissonEncoder):
        return [host.PoissonEncoding(int(layer.steps), float(layer.gain), seed)]
    if is_a(layer, OnOffPoissonEncoder):
        return [host.OnOffPoissonEncoding(layer.low, layer.high, layer.off, seed)]
    if is_a(layer, LatencyEncoder):
        tau = float(layer.steps - 1) if layer.normalize else layer.tau
        return [host.LatencyEncoding(layer.steps, tau, layer.threshold, layer.clip)]
    if is_a(layer, DeltaEncoder):
        if layer.off_spike is True:
            raise ConversionError(
                f"Layer '{layer.name}' has off_spike=True, spikes of -1, but the chip passes on "
                "0 and 1: set off_spike='neurons'."
            )
        return [host.DeltaEncoding(layer.threshold, layer.padding, layer.off_spike == "neurons")]
    if is_a(layer, DirectEncoder):
        return [host.Repeat(int(layer.steps))]
    operation = _common_operation(layer)
    if operation is None:
        raise ConversionError(
            f"Layer '{layer.name}' ({type(layer).__name__}) before the first spiking layer cannot "
            "be exported. Supported there: PoissonEncoder, OnOffPoissonEncoder, LatencyEncoder, "
            "DeltaEncoder, DirectEncoder, Flatten, Reshape, Rescaling, pooling of images "
            f"({LIMITS}), and directly before it Dense without activation. Put other "
            "preprocessing into your data pipeline."
        )
    return [operation]


def head_operations(layer):
    """The host operations of a layer after the last spiking one.

    Raises:
        ConversionError: If it has no counterpart.
    """
    if is_a(layer, TimeSum):
        return [host.TimeSum(bool(layer.mean))]
    if (
        is_a(layer, keras.layers.GlobalAveragePooling1D)
        and layer.data_format == "channels_last"
        and not layer.keepdims
    ):
        return [host.TimeSum(mean=True)]
    if is_a(layer, LeakyReadout) or isinstance(layer, keras.layers.RNN) and is_readout(layer):
        return [_integrators(layer)]
    if is_a(layer, keras.layers.Dense):
        activation = _activation(layer, layer.activation)
        if not layer.built:
            return []  # which is a problem of the model
        return [host.Affine(*dense_weights(layer, np.float32)), *activation]
    if is_a(layer, keras.layers.Activation):
        return _activation(layer, layer.activation)
    if is_a(layer, keras.layers.Softmax) and layer.axis == -1:
        return [host.Activation("softmax")]
    operation = _common_operation(layer)
    if operation is None:
        raise ConversionError(
            f"Layer '{layer.name}' ({type(layer).__name__}) after the spiking layers cannot be "
            "exported. Supported there: TimeSum, GlobalAveragePooling1D, LeakyReadout, "
            "MembraneReadout, Dense, Activation, Softmax, Flatten, Reshape, Rescaling, pooling of "
            f"images ({LIMITS})."
        )
    return [operation]


def _integrators(layer):
    """The leaky integrators of a readout."""
    if isinstance(layer, LeakyReadout):
        held, leak, at = layer, layer.alpha, "last"
    else:
        raise_first(unsupported_options(layer))
        held, at = layer.cell, getattr(layer, "at", "last")
        leak = held.leak
    parameters = {"kernel": held.kernel, "bias": getattr(held, "bias", None), "leak": leak}
    units = parameters["kernel"].shape[1]
    arrays = {
        name: np.asarray(0.0 if value is None else value, np.float32)
        for name, value in parameters.items()
    }
    for name, values in arrays.items():
        if not np.isfinite(values).all():
            raise ConversionError(f"Layer '{layer.name}': `{name}` holds NaN or infinity.")
    for name in ("bias", "leak"):
        arrays[name] = np.array(np.broadcast_to(arrays[name], (units,)))
    return host.LeakyIntegrators(**arrays, at="all" if layer.return_sequences else at)


def _common_operation(layer):
    if is_a(layer, keras.layers.Flatten) and layer.data_format == "channels_last":
        return host.Flatten()
    if is_a(layer, keras.layers.TimeDistributed) and keeps_steps(layer):
        return _flattened_steps(layer)
    if is_a(layer, keras.layers.Reshape):
        return host.Reshape(tuple(int(size) for size in layer.target_shape))
    if is_a(layer, keras.layers.Rescaling) and np.ndim(layer.scale) == 0 == np.ndim(layer.offset):
        return host.Rescale(float(layer.scale), float(layer.offset))
    return None


def _flattened_steps(layer):
    try:
        return host.Reshape((-1, math.prod(layer.output.shape[2:])))
    except AttributeError:  # called on data only: the shapes are not known
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
