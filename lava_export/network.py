"""The integer network: what a Loihi chip would hold, as frozen dataclasses of integers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from numbers import Real

import h5py
import numpy as np

from lava_export import files, host, reference
from lava_export.arithmetic import RANGES
from lava_export.progress import bar
from lava_export.report import QuantizationReport

FORMAT = "lava_export.network"
VERSION = 1


class NetworkFileError(ValueError):
    """A file that does not hold an intact integer network."""


def _integers(owner, name, value, ndims):
    """Check a register's value and freeze it: a Python int, or a read-only int32 array."""
    array = np.asarray(value)
    if array.dtype == bool or not np.issubdtype(array.dtype, np.integer):
        raise TypeError(
            f"{owner}.{name} must hold integers, got dtype {array.dtype}. "
            "lava_export.export() turns a trained Keras model into integers."
        )
    if array.ndim not in ndims:
        raise ValueError(
            f"{owner}.{name} must have {' or '.join(map(str, ndims))} dimensions, "
            f"got shape {array.shape}."
        )
    if array.size == 0:
        raise ValueError(f"{owner}.{name} is empty (shape {array.shape}).")
    low, high = RANGES[name]
    if array.min() < low or array.max() > high:
        raise ValueError(
            f"{owner}.{name} must be in [{low}, {high}], "
            f"got values from {array.min()} to {array.max()}."
        )
    if array.ndim == 0:
        return int(array)
    array = array.astype(np.int32)
    array.flags.writeable = False
    return array


def _same(a, b):
    """Equality of two dataclasses whose fields may be arrays."""
    return type(a) is type(b) and all(
        np.array_equal(value, getattr(b, name)) for name, value in vars(a).items()
    )


@dataclass(frozen=True, eq=False)
class Dense:
    """Synapses from all inputs to all units, as Lava's `Dense`.

    The weighted input of a step is `spikes @ weights.T * 2**exponent`, in units of 64 least
    significant bits of the membrane. A matrix with both signs computes with even weights: an
    odd weight is floored, as Lava does. One without positive weights computes with -255 for -256.

    Args:
        weights: Integers of shape `(units, in)` in [-256, 255].
        exponent: Common power of two of all weights, in [-8, 7].
        num_weight_bits: Bits a weight is stored in, in [1, 8].

    Raises:
        TypeError: If a value is not an integer.
        ValueError: If a value does not fit its register, or a shape is wrong.
    """

    weights: np.ndarray
    exponent: int = 0
    num_weight_bits: int = 8

    def __post_init__(self):
        for name, ndims in (("weights", (2,)), ("exponent", (0,)), ("num_weight_bits", (0,))):
            object.__setattr__(self, name, _integers("Dense", name, getattr(self, name), ndims))

    __eq__ = _same
    __hash__ = None

    @property
    def units(self):
        """Number of units the synapses lead to."""
        return self.weights.shape[0]

    @property
    def inputs(self):
        """Number of input lines."""
        return self.weights.shape[1]


@dataclass(frozen=True, eq=False)
class LIF:
    """Leaky integrate-and-fire units, as Lava's `LIF` in `fixed_pt`.

    At each step, with `a` the weighted input and `/ 4096` rounding toward zero::

        u = u * (4095 - du) / 4096 + a * 64             wraps at 24 bits
        v = v * (4096 - dv) / 4096 + u + bias           saturates at 24 bits
        spike = v > vth * 64;  v = 0 where a spike was

    with `bias = bias_mant * 2**bias_exp`. Each value is one integer for all units, or an array
    with one for each.

    Args:
        du: Decay of the current, in [0, 4095]; 4095 keeps nothing of the last step.
        dv: Decay of the membrane, in [0, 4095]; 0 is no leak.
        vth: Threshold in [0, 131071], in units of 64 least significant bits.
        bias_mant: Mantissa of the bias, in [-4096, 4095].
        bias_exp: Exponent of the bias, in [0, 7].
        u0: Current before the first step, 24 bits.
        v0: Membrane before the first step, 24 bits.

    Raises:
        TypeError: If a value is not an integer.
        ValueError: If a value does not fit its register, or a shape is wrong.
    """

    du: int | np.ndarray = 4095
    dv: int | np.ndarray = 0
    vth: int | np.ndarray = 10
    bias_mant: int | np.ndarray = 0
    bias_exp: int | np.ndarray = 0
    u0: int | np.ndarray = 0
    v0: int | np.ndarray = 0

    def __post_init__(self):
        for name in ("du", "dv", "vth", "bias_mant", "bias_exp", "u0", "v0"):
            object.__setattr__(self, name, _integers("LIF", name, getattr(self, name), (0, 1)))

    __eq__ = _same
    __hash__ = None


@dataclass(frozen=True, eq=False)
class Network:
    """A spiking network in integers, run by the NumPy reference or by Lava.

    Example:
        >>> network = Network([
        ...     Dense(weights, exponent=0),
        ...     LIF(du=4095, dv=410, vth=100, bias_mant=0, bias_exp=0, v0=0),
        ... ])
        >>> spikes = network.run(input_spikes)

    Args:
        layers: `Dense` and `LIF` in turn, from input to output.
        encoder: Host operations (`lava_export.host`) that turn data into spikes, in order.
        head: Host operations that turn the last layer's spikes into scores, in order.
        names: One name for each LIF layer, for reports and errors.
        quantization: How `export` chose the integers and what they lose, a
            `QuantizationReport`; None for a network written by hand.
        input_shape: Shape of one sample of the data, None where it is free; empty if unknown.

    Raises:
        TypeError: If a layer is neither `Dense` nor `LIF`, or an operation is not of
            `lava_export.host`.
        ValueError: If the layers do not fit together.
    """

    layers: tuple
    encoder: tuple = ()
    head: tuple = ()
    names: tuple = ()
    quantization: QuantizationReport | None = None
    input_shape: tuple = ()

    def __post_init__(self):
        for name in ("layers", "encoder", "head", "input_shape"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        _check_chain(self.layers)
        for operation in self.encoder + self.head:
            if not isinstance(operation, host.OPERATIONS):
                names = ", ".join(cls.__name__ for cls in host.OPERATIONS)
                raise TypeError(
                    f"encoder and head are made of the operations of lava_export.host ({names}), "
                    f"got {operation!r}."
                )
        names = tuple(self.names) or tuple(f"lif_{i}" for i in range(len(self.layers) // 2))
        if len(names) != len(self.layers) // 2:
            raise ValueError(
                f"There are {len(self.layers) // 2} LIF layers and {len(names)} names: "
                "give one name for each."
            )
        object.__setattr__(self, "names", names)

    def __eq__(self, other):
        return isinstance(other, Network) and self.digest() == other.digest()

    __hash__ = None

    @property
    def pairs(self):
        """The layers as pairs of (Dense, LIF)."""
        return list(zip(self.layers[::2], self.layers[1::2], strict=True))

    @property
    def inputs(self):
        """Number of input lines."""
        return self.layers[0].inputs

    @property
    def units(self):
        """Number of units of the last layer."""
        return self.layers[-2].units

    def run(
        self,
        spikes,
        record=(),
        backend="reference",
        mode="stock",
        timeout=60.0,
        progress=False,
    ):
        """The last layer's spikes for each step of each sample; every sample starts afresh.

        Args:
            spikes: Zeros and ones of shape `(batch, T, inputs)`, of a boolean, integer or
                float type.
            record: Which of "spikes", "u" and "v" to give for every layer and step as well.
            backend: "reference", the NumPy simulator, or "lava", Intel's Loihi simulator.
            mode: With "lava": "stock", one sample after the other through Lava's own `Dense`,
                `LIF` and ring buffers, or "batched", all samples side by side through
                processes that take a batch.
            timeout: With "lava": seconds without progress after which the run is stopped.
            progress: Whether to show a progress bar.

        Returns:
            int8 spikes `(batch, T, units)`. With `record`, a pair of them and a dictionary from
            each recorded name to a list with one `(batch, T, units)` array for each LIF layer;
            "u" and "v" are the states after the step and its reset.

        Raises:
            TypeError: If `spikes` is not an array of numbers.
            ValueError: If its shape is wrong, it is empty or not binary, or an argument is
                unknown.
            lava_export.lava.LavaError: If a Lava run fails or makes no progress.
        """
        simulation = self.simulate(spikes, record, backend, mode, timeout, progress)
        return (simulation.spikes, simulation.states) if record else simulation.spikes

    def simulate(
        self,
        spikes,
        record=(),
        backend="reference",
        mode="stock",
        timeout=60.0,
        progress=False,
    ):
        """As `run`, but gives the whole `Simulation`, with final states and overflow counts."""
        spikes = check_spikes(spikes, self.inputs)
        names = (record,) if isinstance(record, str) or not np.iterable(record) else record
        record = tuple(dict.fromkeys(names))
        for name in record:
            if name not in reference.RECORDABLE:
                raise ValueError(
                    f"record={name!r}: what can be recorded is {', '.join(reference.RECORDABLE)}."
                )
        if isinstance(timeout, bool) or not isinstance(timeout, Real) or not timeout > 0:
            raise ValueError(f"timeout={timeout!r}: give a number of seconds above 0.")
        if backend not in ("reference", "lava"):
            raise ValueError(f"backend={backend!r}: the backends are 'reference' and 'lava'.")
        if backend == "lava" and mode not in ("stock", "batched"):
            raise ValueError(f"mode={mode!r}: the modes of Lava are 'stock' and 'batched'.")
        with bar(
            f"{backend} {mode if backend == 'lava' else ''}".strip(), len(spikes), progress
        ) as advance:
            if backend == "reference":
                return reference.simulate_in_chunks(self.pairs, spikes, record, advance)
            from lava_export.lava import simulate

            return simulate(self.pairs, spikes, record, mode, timeout, advance)

    def encode(self, x):
        """Spikes `(batch, T, inputs)` from data, through the encoder.

        Raises:
            TypeError: If `x` is not an array of numbers.
            ValueError: If its shape is wrong, it is empty, or it holds NaN.
        """
        x = check_data(x, self.input_shape, "The data")
        for operation in self.encoder:
            x = operation(x)
        return x

    def decode(self, spikes):
        """Scores from the last layer's spikes, through the head; without one, spike counts."""
        scores = spikes
        for operation in self.head or (host.TimeSum(),):
            scores = operation(scores)
        return scores

    def predict(self, x, **run):
        """Labels: the index of the largest score of each sample.

        Args:
            x: What the Keras model takes: data for its encoder, or spikes where it has none.
            **run: Arguments of `run`, such as `backend="lava"`.

        Returns:
            Integers of shape `(batch,)`.

        Raises:
            ValueError: If the data does not fit, or the head does not give one score a class.
        """
        return labels_of(self.decode(self.run(self.encode(x), **run)))

    def digest(self):
        """SHA-256 of the network's content, in hexadecimal."""
        return _digest(_content(self))

    def save(self, path, overwrite=False):
        """Write the network to an HDF5 file, whole or not at all.

        Args:
            path: Where to write.
            overwrite: Whether to replace a file that is there.

        Raises:
            OSError: If the file exists, or cannot be written.
        """
        content = _content(self)
        with (
            files.replacing(path, overwrite) as temporary,
            # From version 1.8 on HDF5 checks its own structure. Only text of fixed length is part
            # of it: a damaged file must not get as far as to crash the library.
            h5py.File(temporary, "w", libver=("v108", "v108")) as file,
        ):
            file.attrs["format"] = np.bytes_(FORMAT)
            file.attrs["version"] = VERSION
            file.attrs["sha256"] = np.bytes_(_digest(content))
            for key, value in content.items():
                file[key] = np.bytes_(value) if isinstance(value, str) else value


def labels_of(scores):
    """The index of the largest score of each sample, `(batch,)`.

    Raises:
        ValueError: If `scores` are not of shape `(batch, classes)` with two classes or more.
    """
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise ValueError(
            f"The head gives scores of shape {scores.shape}, but labels need one score for each "
            "class, (batch, classes): end the model in TimeSum and a Dense layer with one unit a "
            "class. `decode` gives the scores as they are."
        )
    return scores.argmax(axis=1)


def check_data(x, shape, what):
    """`x` as an array, if it is numbers of shape (batch, *shape); an empty `shape` fits any.

    Raises:
        TypeError: If it is not an array of numbers.
        ValueError: If its shape does not fit, it is empty, or it holds NaN.
    """
    x = np.asarray(x)
    if x.dtype != bool and x.dtype.kind not in "iuf":
        raise TypeError(f"{what} must be an array of numbers, got {x.dtype}.")
    fits = not shape or (
        x.ndim == len(shape) + 1
        and all(size in (None, found) for size, found in zip(shape, x.shape[1:], strict=True))
    )
    if not fits:
        raise ValueError(
            f"{what} must have the shape (batch, {', '.join(map(str, shape))}), as the input of "
            f"the model, got {x.shape}."
        )
    if not x.size:
        raise ValueError(f"{what} has the shape {x.shape}: there is nothing to run.")
    if not np.isfinite(x).all():
        raise ValueError(f"{what} holds NaN or infinite values.")
    return x


def check_spikes(spikes, inputs, what="Spikes"):
    """`spikes` as int8 of shape (batch, T, `inputs`); raises if they are anything else.

    Raises:
        TypeError: If `spikes` is not an array of numbers.
        ValueError: If its shape is wrong, it is empty, or it is not binary.
    """
    array = np.asarray(spikes)
    if array.dtype != bool and array.dtype.kind not in "iuf":
        raise TypeError(
            f"{what} must be an array of booleans, integers or floats, got {array.dtype}."
        )
    if array.ndim != 3 or array.shape[2] != inputs:
        raise ValueError(
            f"{what} must have the shape (batch, T, {inputs}), got {array.shape}."
            + (" Add a batch axis: spikes[None]." if array.ndim == 2 else "")
        )
    if array.size == 0:
        raise ValueError(f"{what} have the shape {array.shape}: there is nothing to run.")
    if not ((array == 0) | (array == 1)).all():
        raise ValueError(
            f"{what} must be 0 or 1, got values from {array.min()} to {array.max()}. "
            "Encode analog data first, for example with keras_spiking_rnn.PoissonEncoder."
        )
    return array.astype(np.int8)


def _check_chain(layers):
    if not layers or len(layers) % 2:
        raise ValueError(f"A network is pairs of Dense and LIF layers, got {len(layers)} layers.")
    width = None
    for i, (dense, lif) in enumerate(zip(layers[::2], layers[1::2], strict=True)):
        if not isinstance(dense, Dense) or not isinstance(lif, LIF):
            raise TypeError(
                "A network is Dense, LIF, Dense, LIF, ...: "
                f"layers {2 * i} and {2 * i + 1} are {type(dense).__name__} and "
                f"{type(lif).__name__}."
            )
        if width is not None and dense.inputs != width:
            raise ValueError(
                f"Layer {2 * i} takes {dense.inputs} inputs, but the layer before it has "
                f"{width} units."
            )
        width = dense.units
        for field in fields(lif):
            shape = np.shape(getattr(lif, field.name))
            if shape not in ((), (width,)):
                raise ValueError(
                    f"Layer {2 * i + 1}: LIF.{field.name} has the shape {shape}, but its Dense "
                    f"leads to {width} units: give one integer, or {width}."
                )


_STORED = {cls.__name__: cls for cls in (Dense, LIF, *host.OPERATIONS)}


def _content(network):
    """The network as a dictionary of names to arrays and JSON strings, ready for HDF5."""
    content = {
        "names": json.dumps(network.names),
        "input_shape": json.dumps(network.input_shape),
        "quantization": json.dumps(
            network.quantization and network.quantization.to_dict(), sort_keys=True
        ),
    }
    for part in ("encoder", "layers", "head"):
        for i, item in enumerate(getattr(network, part)):
            scalars = {}
            for field in fields(item):
                value = getattr(item, field.name)
                if isinstance(value, np.ndarray):
                    content[f"{part}/{i:04d}/{field.name}"] = value
                else:
                    scalars[field.name] = value
            content[f"{part}/{i:04d}/scalars"] = json.dumps(
                {"type": type(item).__name__, **scalars}, sort_keys=True
            )
    return content


def _digest(content):
    sha = hashlib.sha256(f"{FORMAT} {VERSION}".encode())
    for key in sorted(content):
        value = content[key]
        if isinstance(value, np.ndarray):
            value = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
            sha.update(f"{key} {value.dtype.str} {value.shape}".encode())
            sha.update(value.tobytes())
        else:
            sha.update(f"{key} {value}".encode())
    return sha.hexdigest()


def load(path):
    """The network that `Network.save` wrote to `path`.

    Raises:
        FileNotFoundError: If there is no such file.
        NetworkFileError: If the file is truncated, is no network file, was written by a newer
            version, or was changed since it was written.
    """
    with open(path, "rb"):  # a missing or forbidden file says so in the system's own words
        pass
    try:
        with h5py.File(path, "r") as file:
            form, version, checksum = (
                value.decode() if isinstance(value := file.attrs.get(key), bytes) else str(value)
                for key in ("format", "version", "sha256")
            )
            content = {}
            if (form, version) == (FORMAT, str(VERSION)):
                file.visititems(lambda key, item: _read(key, item, content))
            intact = checksum == _digest(content)
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise NetworkFileError(
            f"{path} is truncated or not an HDF5 file ({error}): export the network again."
        ) from error
    if form != FORMAT:
        raise NetworkFileError(f"{path} is an HDF5 file, but not one that Network.save wrote.")
    if version != str(VERSION):
        raise NetworkFileError(
            f"{path} has the format version {version}, this release reads version {VERSION}: "
            "use the release that wrote it, or export again."
        )
    if not intact:
        raise NetworkFileError(
            f"{path} was changed after it was written: its checksum does not match."
        )
    try:
        return _network(content)
    except (KeyError, TypeError, ValueError) as error:
        raise NetworkFileError(
            f"{path} does not hold a network ({type(error).__name__}: {error}): export it again."
        ) from error


def _read(key, item, content):
    if isinstance(item, h5py.Dataset):
        content[key] = item.asstr()[()] if h5py.check_string_dtype(item.dtype) else item[()]


def _network(content):
    parts = {"encoder": [], "layers": [], "head": []}
    for key in sorted(key for key in content if key.endswith("/scalars")):
        prefix = key.removesuffix("scalars")
        values = json.loads(content[key])
        cls = _STORED[values.pop("type")]
        for field in fields(cls):
            if prefix + field.name in content:
                values[field.name] = content[prefix + field.name]
            elif isinstance(values[field.name], list):
                values[field.name] = tuple(values[field.name])
        parts[prefix.split("/")[0]].append(cls(**values))
    quantization = json.loads(content["quantization"])
    return Network(
        **parts,
        names=tuple(json.loads(content["names"])),
        input_shape=tuple(json.loads(content["input_shape"])),
        quantization=quantization and QuantizationReport.from_dict(quantization),
    )
