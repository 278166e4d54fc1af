"""netx, the HDF5 format in which lava-dl exchanges networks of integers.

A layer of a netx file is a matrix of whole weights, and LIF units. What lava-dl 0.6.0 makes of it:

    weights  spread over the bits of a synapse by lava-dl itself, which keeps their values, but
             misreads some matrices (`_is_read_right`)
    iDecay   du + 1
    vDecay   dv
    vThMant  vth
    bias     bias_mant, with bias_exp = 6: whole units of weight
    state    0 before the first step

So there is no exponent, no finer bias and no initial state. A network with these can only be
written with a loss: `_fitted` brings it to the nearest one that netx holds.
"""

from __future__ import annotations

import h5py
import numpy as np

from lava_export import arithmetic, files, hdf5
from lava_export.losses import Losses
from lava_export.quantize import ConversionError
from lava_export.synapses import Dense
from lava_export.units import LIF

BIAS_EXP = 6  # which lava-dl gives every bias
LSB = 1 << BIAS_EXP
REGISTERS = {"iDecay": "du", "vDecay": "dv", "vThMant": "vth"}


class NetxFileError(ValueError):
    """A file that does not hold a netx network that can be read here."""


def to_netx(network, path, overwrite=False, allow_lossy=False):
    """Write `network` to a netx file: see `Network.to_netx`."""
    losses = Losses("netx")
    fitted = [
        _fitted(synapses, units, name, losses)
        for (synapses, units), name in zip(network.pairs, network.names, strict=True)
    ]
    losses.settle(allow_lossy)
    with (
        files.replacing(path, overwrite) as temporary,
        h5py.File(temporary, "w", libver=("v108", "v108")) as file,
    ):
        _write_input(file.create_group("layer/0"), network.inputs)
        for i, (synapses, units) in enumerate(fitted, start=1):
            _write_layer(file.create_group(f"layer/{i}"), synapses, units)
    return type(network)([layer for pair in fitted for layer in pair], names=network.names)


def _write_input(group, inputs):
    group.create_dataset("type", (1,), "S10", [b"input"])
    group["shape"] = np.array([inputs])


def _write_layer(group, synapses, units):
    recurrent = units.recurrent
    group.create_dataset("type", (1,), "S10", [b"dense" if recurrent is None else b"dense_rec"])
    group["shape"] = np.array([synapses.units])
    group["inFeatures"] = synapses.inputs
    group["outFeatures"] = synapses.units
    group["weight"] = _values(synapses)
    if recurrent is not None:
        group["weight_rec"] = _values(recurrent)
    bias = arithmetic.bias(units.bias_mant, units.bias_exp) >> BIAS_EXP
    group["bias"] = np.broadcast_to(bias, (synapses.units,))
    group.create_dataset("neuron/type", (1,), "S10", [b"CUBA"])
    group["neuron/iDecay"] = np.asarray(units.du) + 1
    group["neuron/vDecay"] = units.dv
    group["neuron/vThMant"] = units.vth
    group["neuron/refDelay"] = 1
    group["neuron/gradedSpike"] = False


def _values(synapses):
    """What the weights are worth, in units of weight; whole if the exponent allows."""
    grid = arithmetic.weights_on_grid(synapses.weights, synapses.num_weight_bits)
    return grid << synapses.exponent if synapses.exponent > 0 else grid >> -synapses.exponent


def _fitted(synapses, units, name, losses):
    """The nearest synapses and units that netx holds; what they lose is noted."""
    _check_kind(synapses, units, name)
    matrices = [synapses] if units.recurrent is None else [synapses, units.recurrent]
    matrices, shift = _fitted_weights(matrices, units, name, losses)
    registers = {"du": units.du, "dv": units.dv, "bias_exp": BIAS_EXP}
    threshold = np.maximum(np.asarray(units.vth) * 2.0**-shift, 1)
    for register, exact in _scaled(units, shift).items():
        registers[register] = np.rint(exact).astype(int)
        lost = np.abs(registers[register] - exact)
        if lost.any():
            losses.add(
                f"layer '{name}': {'thresholds' if register == 'vth' else 'biases'} are rounded "
                f"to whole units of weight, by up to {(lost / threshold).max():.2%} of the "
                "threshold"
            )
    for register, state in (("u0", "current"), ("v0", "membrane")):
        initial = np.abs(getattr(units, register)) * 2.0**-shift / LSB
        if initial.any():
            losses.add(
                f"layer '{name}': the {state} starts at 0 instead of {register}, which is up to "
                f"{(initial / threshold).max():.2%} of the threshold"
            )
    synapses, *recurrent = matrices
    return synapses, LIF(**_one_if_equal(registers), recurrent=recurrent[0] if recurrent else None)


def _check_kind(synapses, units, name):
    if type(synapses) is not Dense or type(units) is not LIF:
        raise ConversionError(
            f"Layer '{name}': netx holds Dense synapses and LIF units, not "
            f"{type(synapses).__name__} and {type(units).__name__}. Network.save keeps all kinds."
        )
    if synapses.message_bits:
        raise ConversionError(
            f"Layer '{name}': its inputs are graded, but those of netx's LIF units are spikes."
        )


def _scaled(units, shift):
    """Threshold and bias divided by `2**shift`, in units of weight."""
    bias = arithmetic.bias(units.bias_mant, units.bias_exp)
    return {
        "vth": np.asarray(units.vth) * 2.0**-shift,
        "bias_mant": bias * 2.0**-shift / LSB,
    }


def _fitted_weights(matrices, units, name, losses):
    """Synapses whose exponent is in their weights, and the power of two these were divided by."""
    values = [
        arithmetic.weights_on_grid(m.weights, m.num_weight_bits) * 2.0**m.exponent for m in matrices
    ]
    if not any(v.any() for v in values):
        raise ConversionError(
            f"Layer '{name}': all its weights are 0, and lava-dl 0.6.0 cannot load such a matrix."
        )
    shifts = list(range(-24, 24))
    if all((v % 1 == 0).all() for v in values):
        shifts.insert(0, 0)
    for shift in shifts:
        fits = all(
            np.abs(np.rint(exact)).max() <= arithmetic.RANGES[register][1]
            for register, exact in _scaled(units, shift).items()
        )
        if not fits:
            continue
        exact = [v * 2.0**-shift for v in values]
        # Where both signs occur, 8 bits hold only even weights beyond 127.
        tried = [[(step * np.rint(v / step)).astype(np.int64) for v in exact] for step in (1, 2)]
        rounded = next((matrices for matrices in tried if _as_read(matrices)), None)
        if rounded:
            break
    else:
        raise ConversionError(
            f"Layer '{name}': lava-dl 0.6.0 would compute with other weights than the file held. "
            "It misreads matrices without positive weights whose least one is a power of two, "
            "and recurrent layers of which one matrix has both signs and the other one sign and "
            "odd weights. Change these weights by one."
        )
    if shift:
        losses.add(
            f"layer '{name}': netx has no weight exponent, so that all values are divided by "
            f"2**{shift}, and decays round differently"
        )
    lost = max(np.abs(r - v).max() for r, v in zip(rounded, exact, strict=True))
    if lost:
        losses.add(f"layer '{name}': weights are rounded by up to {lost:.3g}")
    return _as_read(rounded), shift


def _as_read(matrices):
    """Dense synapses that compute what lava-dl 0.6.0 makes of `matrices` of a file.

    None if it would compute with other weights than these. lava-dl shifts all matrices of a layer
    left by common bits, as far as 8 bits and the largest weight allow, and finds out how many of
    these bits it needs; Lava's Dense then clips and truncates each matrix by its own sign.
    """
    high, low = max(m.max() for m in matrices), min(m.min() for m in matrices)
    signed = not (high < 0 or low >= 0)
    if high > (254 if signed else 255) or low < -256 or not (high or low):
        return None
    scale = min(
        (127 if signed else 255) / high if high > 0 else np.inf,
        (-128 if signed else -256) / low if low < 0 else np.inf,
    )
    bits = int(np.floor(np.log2(scale))) + signed
    common = max(n for n in range(9) if not any((m % (1 << n)).any() for m in matrices))
    num_weight_bits = 8 - bits - (common - signed)
    for matrix in matrices:
        mixed = matrix.min() < 0 < matrix.max()
        if num_weight_bits > 8 + mixed and matrix.any():
            return None  # a shift by a negative number of bits makes these 0
        shifted = matrix << bits
        if (
            num_weight_bits <= 8
            and (arithmetic.weights_on_grid(shifted, num_weight_bits) != shifted).any()
        ):
            return None
    synapses = [_dense(matrix) for matrix in matrices]
    return None if None in synapses else synapses


def _dense(weights):
    """Dense synapses with these values, or None if 8 bits do not hold them."""
    for exponent in (0, -1):
        shifted = weights << -exponent
        if np.abs(shifted).max() <= 256 and (arithmetic.weights_on_grid(shifted) == shifted).all():
            return Dense(shifted, exponent)
    return None


def _one_if_equal(registers):
    """One integer for registers that are the same for all units."""
    return {
        name: int(np.ravel(value)[0]) if (value == np.ravel(value)[0]).all() else value
        for name, value in registers.items()
    }


def from_netx(path):
    """The network of a netx file, as lava-dl 0.6.0 would run it.

    It has a `LIF` layer for each layer of type dense or dense_rec. A file that `Network.to_netx`
    wrote gives the network that it returned, but for names.

    Args:
        path: The netx file, written by lava-dl or by `Network.to_netx`.

    Returns:
        A `Network`.

    Raises:
        FileNotFoundError: If there is no such file.
        NetxFileError: If the file is damaged, or holds what a `Network` cannot compute; the
            message names the layer.
    """
    from lava_export.network import Network

    with hdf5.reading(path, NetxFileError) as file:
        layers = file.get("layer")
        if not isinstance(layers, h5py.Group) or not len(layers):
            raise NetxFileError("is no netx file: it has no group 'layer'.")
        pairs, width = [], None
        for i in range(len(layers)):
            if str(i) not in layers:
                raise NetxFileError(f"has {len(layers)} layers, but no layer {i}.")
            group = layers[str(i)]
            kind = _text(group, "type", f"layer {i}")
            where = f"layer {i} ({kind})"
            if kind == "input" and i == 0:
                width = _input_width(group, where)
            elif kind == "flatten":
                continue  # one dimension stays one
            elif kind in ("dense", "dense_rec"):
                pairs.append(_read_layer(group, where, kind == "dense_rec", width))
                width = pairs[-1][0].units
            else:
                raise NetxFileError(
                    f"{where} cannot be read: only input, flatten, dense and dense_rec can."
                )
        if not pairs:
            raise NetxFileError("has no dense layer: there is nothing to run.")
        return Network([layer for pair in pairs for layer in pair])


def _input_width(group, where):
    if "neuron" in group:
        raise NetxFileError(
            f"{where} has units of its own, which encode analog input: encode it on the host "
            "and remove layer/0/neuron."
        )
    return int(np.prod(_integers(group, "shape", where))) if "shape" in group else None


def _read_layer(group, where, recurrent, width):
    if "delay" in group:
        raise NetxFileError(
            f"{where} has synaptic delays, which a Network has not: train it without."
        )
    weights = _weights(group, "weight", where)
    units = len(weights)
    if width is not None and weights.shape[1] != width:
        raise NetxFileError(
            f"{where} takes {weights.shape[1]} inputs, but what is before it gives {width}."
        )
    if "shape" in group and (declared := int(np.prod(_integers(group, "shape", where)))) != units:
        raise NetxFileError(f"{where} has the shape {declared}, but weights for {units} units.")
    matrices = [weights]
    if recurrent:
        matrices.append(_weights(group, "weight_rec", where))
        if matrices[1].shape != (units, units):
            raise NetxFileError(
                f"{where}: weight_rec has the shape {matrices[1].shape}, not {(units, units)}."
            )
    synapses = _as_read(matrices)
    if synapses is None:
        raise NetxFileError(
            f"{where}: lava-dl 0.6.0 computes with other weights than the file holds, or with 9 "
            "bits. Weights are within 8 bits, even where both signs occur, and not all 0."
        )
    return synapses[0], _read_units(group, where, units, *synapses[1:])


def _read_units(group, where, units, recurrent=None):
    if not isinstance(neuron := group.get("neuron"), h5py.Group):
        raise NetxFileError(f"{where} has no neuron: its units are unknown.")
    kind = _text(neuron, "type", where)
    if kind not in ("CUBA", "LOIHI"):
        raise NetxFileError(
            f"{where} has units of type {kind}, only those of type CUBA and LOIHI can be read."
        )
    registers = {
        register: _integers(neuron, key, where, units) - (key == "iDecay")
        for key, register in REGISTERS.items()
    }
    registers["bias_mant"] = _integers(group, "bias", where, units) if "bias" in group else 0
    registers["bias_exp"] = BIAS_EXP
    try:
        return LIF(**_one_if_equal(registers), recurrent=recurrent)
    except ValueError as error:
        raise NetxFileError(f"{where}: {error} (du is iDecay - 1.)") from error


def _weights(group, key, where):
    values = _integers(group, key, where)
    if values.ndim != 2:
        raise NetxFileError(f"{where}: {key} has {values.ndim} dimensions, not 2.")
    return values


def _integers(group, key, where, units=None):
    """A dataset of whole numbers; with `units`, of one or of one for each unit."""
    if not isinstance(dataset := group.get(key), h5py.Dataset):
        raise NetxFileError(f"{where} has no {key}.")
    if dataset.dtype.kind not in "iuf" or not dataset.size:
        raise NetxFileError(
            f"{where}: {key} holds no numbers (dtype {dataset.dtype}, shape {dataset.shape})."
        )
    values = dataset[()]
    if not (np.abs(values) < 1 << 31).all() or (values % 1 != 0).any():
        raise NetxFileError(f"{where}: {key} holds other than whole numbers of 32 bits.")
    values = values.astype(np.int64)
    if units is not None:
        if values.size not in (1, units):
            raise NetxFileError(f"{where}: {key} has {values.size} values for {units} units.")
        values = values.reshape(-1)
    return values


def _text(group, key, where):
    if not isinstance(group, h5py.Group) or not isinstance(group.get(key), h5py.Dataset):
        raise NetxFileError(f"{where} has no {key}.")
    values = np.ravel(group[key][()])
    if not isinstance(values[0], bytes):
        raise NetxFileError(f"{where}: {key} is no text.")
    return values[0].decode("ascii")
