"""The integer network: what a Loihi chip would hold, as frozen dataclasses of integers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from numbers import Integral, Real

import h5py
import numpy as np

from lava_export import files, hdf5, host, overflow, reference, units
from lava_export.progress import bar
from lava_export.report import QuantizationReport
from lava_export.synapses import KINDS as SYNAPSES
from lava_export.synapses import Conv
from lava_export.units.base import check_messages

FORMAT = "lava_export.network"
VERSION = 1


class NetworkFileError(ValueError):
    """A file that does not hold an intact integer network."""


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
        layers: Synapses (`Dense`, `Conv`) and units (`LIF`, or another kind of
            `lava_export.units`) in turn, from input to output.
        encoder: Host operations (`lava_export.host`) that turn data into spikes, in order.
        head: Host operations that turn the last layer's spikes into scores, in order.
        names: One name for each layer of units, for reports and errors.
        quantization: How `export` chose the integers and what they lose, a
            `QuantizationReport`; None for a network written by hand.
        input_shape: Shape of one sample of the data, None where it is free; empty if unknown.

    Raises:
        TypeError: If the layers are not synapses and units in turn, or an operation is not of
            `lava_export.host`.
        ValueError: If the layers do not fit together.

    Warns:
        QuantizationWarning: If, in a network written by hand, inputs could overflow the 24 bits of
            a layer in a single step.
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
        names = tuple(self.names) or tuple(f"layer_{i}" for i in range(len(self.pairs)))
        if len(names) != len(self.pairs):
            raise ValueError(
                f"There are {len(self.pairs)} layers of units and {len(names)} names: "
                "give one name for each."
            )
        if not all(isinstance(name, str) for name in names):
            raise TypeError(f"names must be text, got {names}.")
        object.__setattr__(self, "names", names)
        for size in self.input_shape:
            if size is not None and (not isinstance(size, Integral) or size < 1):
                raise ValueError(
                    f"input_shape has a size for each axis, a positive integer or None, got "
                    f"{self.input_shape}."
                )
        if self.quantization is None:
            messages = None
            for name, (synapses, kind) in zip(names, self.pairs, strict=True):
                overflow.warn_of_steps(name, synapses, kind, messages, stacklevel=3)
                messages = kind.output_range

    def __eq__(self, other):
        return isinstance(other, Network) and self.digest() == other.digest()

    __hash__ = None

    @property
    def pairs(self):
        """The layers as pairs of (synapses, units)."""
        return list(zip(self.layers[::2], self.layers[1::2], strict=True))

    @property
    def sizes(self):
        """Inputs and units of each layer, as pairs."""
        return [(synapses.inputs, synapses.units // kind.ports) for synapses, kind in self.pairs]

    @property
    def inputs(self):
        """Number of input lines."""
        return self.sizes[0][0]

    @property
    def units(self):
        """Number of units of the last layer."""
        return self.sizes[-1][1]

    def run(
        self,
        spikes,
        record=(),
        backend="reference",
        mode="stock",
        timeout=60.0,
        progress=False,
        parts="custom",
    ):
        """The last layer's spikes for each step of each sample; every sample starts afresh.

        Args:
            spikes: Zeros and ones of shape `(batch, T, inputs)`, of a boolean, integer or
                float type; where the first synapses take graded messages, integers of as many
                bits; where they are `Conv`, `(batch, T, height, width, channels)` as well. Or a
                `tf.data.Dataset` or generator of such batches, or of pairs of them and labels, of
                which one is in memory at a time; for outputs that do not fit either, see `stream`.
            record: Which of "spikes" and the units' states, such as "u" and "v", to give for
                every layer and step as well.
            backend: "reference", the NumPy simulator, or "lava", Intel's Loihi simulator.
            mode: With "lava": "stock", one sample after the other through Lava's own processes
                (`Dense`, `Conv`, `LIF`, ring buffers; only units that Lava lacks are ours), or
                "batched", all samples side by side through processes that take a batch.
            timeout: With "lava": seconds without progress after which the run is stopped.
            progress: Whether to show a progress bar.
            parts: With mode "stock", what units that Lava lacks are made of: "custom", processes
                of ours, or "stock", Lava's own. A network of `SpikingLSTM` only can be made of
                stock parts.

        Returns:
            Spikes `(batch, T, units)`, int8, or int32 where the last layer's outputs are graded.
            With `record`, a pair of them and a dictionary from each recorded name to a list with
            one `(batch, T, units)` array for each layer of units (None for one without such a
            state); states are those after the step and its reset.

        Raises:
            TypeError: If `spikes` is not an array of numbers.
            ValueError: If its shape is wrong, it is empty or not binary, or an argument is
                unknown.
            lava_export.lava.LavaError: If a Lava run fails or makes no progress.
        """
        simulation = self.simulate(spikes, record, backend, mode, timeout, progress, parts)
        return (simulation.spikes, simulation.states) if record else simulation.spikes

    def simulate(
        self,
        spikes,
        record=(),
        backend="reference",
        mode="stock",
        timeout=60.0,
        progress=False,
        parts="custom",
    ):
        """As `run`, but gives the whole `Simulation`, with final states and overflow counts."""
        found = list(self.stream(spikes, record, backend, mode, timeout, progress, parts))
        return found[0] if len(found) == 1 else reference.join(found)

    def stream(
        self,
        spikes,
        record=(),
        backend="reference",
        mode="stock",
        timeout=60.0,
        progress=False,
        parts="custom",
    ):
        """Runs batch by batch, with no more than one in memory.

        Example:
            >>> counts = sum(part.spikes.sum((0, 1)) for part in network.stream(batches))

        Args:
            spikes: As of `run`.
            record: As of `run`.
            backend: As of `run`.
            mode: As of `run`. In "batched" Lava is compiled and started once.
            timeout: As of `run`.
            progress: As of `run`.
            parts: As of `run`.

        Yields:
            A `Simulation` of each batch, or of the whole array.

        Raises:
            TypeError: As `run`.
            ValueError: As `run`; if there is no batch.
        """
        record = self._recorded(record)
        if backend not in ("reference", "lava"):
            raise ValueError(f"backend={backend!r}: the backends are 'reference' and 'lava'.")
        _check_lava("stock" if backend == "reference" else mode, timeout, parts)
        if backend == "lava":
            with self.on_lava(record, mode, timeout, parts) as simulate:
                for batch, _ in batches(spikes):
                    yield simulate(batch, progress)
            return
        for batch, _ in batches(spikes):
            batch = self._inputs(batch)
            with bar("reference", len(batch), progress) as advance:
                yield reference.simulate_in_chunks(self.pairs, batch, record, advance)

    @contextmanager
    def on_lava(self, record=(), mode="batched", timeout=60.0, parts="custom"):
        """Lava for many runs: in mode "batched" the network is compiled and started once.

        Example:
            >>> with network.on_lava() as simulate:
            ...     fired = [simulate(spikes).spikes for spikes in groups]

        Args:
            record: As of `run`.
            mode: As of `run`. In "stock" each run is compiled anew: Lava's own source holds all
                samples from the start.
            timeout: As of `run`.
            parts: As of `run`.

        Yields:
            A function `simulate(spikes, progress=False)`, which gives a `Simulation` as `simulate`
            does.

        Raises:
            ValueError: If an argument is unknown.
        """
        _check_lava(mode, timeout, parts)
        from lava_export.lava import Simulator

        with Simulator(self.pairs, self._recorded(record), mode, timeout, parts) as simulator:

            def simulate(spikes, progress=False):
                spikes = self._inputs(spikes)
                with bar(f"lava {mode}", len(spikes), progress) as advance:
                    return simulator.run(spikes, advance)

            yield simulate

    def _inputs(self, spikes):
        first = self.layers[0]
        if isinstance(first, Conv) and np.shape(spikes)[2:] == first.input_shape:
            spikes = np.reshape(spikes, (*np.shape(spikes)[:2], first.inputs))
        return check_spikes(spikes, self.inputs, message_bits=first.message_bits)

    def _recorded(self, record):
        names = (record,) if isinstance(record, str) or not np.iterable(record) else record
        record = tuple(dict.fromkeys(names))
        for name in record:
            if name not in reference.recordable(self.pairs):
                raise ValueError(
                    f"record={name!r}: what can be recorded is "
                    f"{', '.join(reference.recordable(self.pairs))}."
                )
        return record

    def encode(self, x):
        """Spikes `(batch, T, inputs)` from data, through the encoder.

        Of a `tf.data.Dataset` or a generator of batches, a generator of those of each.

        Raises:
            TypeError: If `x` is not an array of numbers.
            ValueError: If its shape is wrong, it is empty, or it holds NaN.
        """
        if is_stream(x):
            return (self.encode(batch) for batch, _ in batches(x))
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
            x: What the Keras model takes: data for its encoder, or spikes where it has none. Or a
                `tf.data.Dataset` or generator of batches, of which one is in memory at a time.
            **run: Arguments of `run`, such as `backend="lava"`.

        Returns:
            Integers of shape `(batch,)`.

        Raises:
            ValueError: If the data does not fit, or the head does not give one score a class.
        """
        parts = self.stream(self.encode(x), **run)
        return np.concatenate([labels_of(self.decode(part.spikes)) for part in parts])

    def worst_cases(self, steps):
        """What any inputs could do to the 24 bits of each layer in so many steps.

        Returns:
            A list with a `lava_export.overflow.WorstCase` for each layer of units.
        """
        if isinstance(steps, bool) or not isinstance(steps, Integral) or steps < 1:
            raise ValueError(f"steps must be a positive integer, got {steps!r}.")
        found, messages = [], None
        for synapses, kind in self.pairs:
            found.append(overflow.worst_case(synapses, kind, steps, messages))
            messages = kind.output_range
        return found

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
        labels, content = stored(self)
        with (
            files.replacing(path, overwrite) as temporary,
            # From version 1.8 on HDF5 checks its own structure. Only text of fixed length is part
            # of it: a damaged file must not get as far as to crash the library.
            h5py.File(temporary, "w", libver=("v108", "v108")) as file,
        ):
            for target, values in ((file.attrs, labels), (file, content)):
                for key, value in values.items():
                    target[key] = np.bytes_(value) if isinstance(value, str) else value

    def to_netx(self, path, overwrite=False, allow_lossy=False):
        """Write the spiking layers to lava-dl's netx format, for `lava.lib.dl.netx.hdf5.Network`.

        netx has no weight exponent, biases of whole units of weight only, and starts with
        membranes of 0. Encoder and head stay on the host and are not written.

        Args:
            path: Where to write.
            overwrite: Whether to replace a file that is there.
            allow_lossy: Whether to round what netx cannot hold; each loss is warned of.

        Returns:
            The network that the file holds, which `run` computes as lava-dl does: the spiking
            layers of this one, or what is left of them after the losses.

        Raises:
            ConversionError: If netx has no counterpart for a layer, or only a lossy one and
                `allow_lossy` is false.
            OSError: If the file exists, or cannot be written.

        Warns:
            LossWarning: With all that is lost.
        """
        from lava_export import netx

        return netx.to_netx(self, path, overwrite, allow_lossy)

    def to_nir(self, path=None, dt=1e-3, overwrite=False, allow_lossy=False):
        """The spiking layers as a NIR graph in floating point.

        The graph's metadata hold the step and the conventions that NIR leaves open, and this whole
        network: `lava_export.from_nir` gives it back to the bit.

        Args:
            path: Where to write the graph; None to only return it.
            dt: Seconds of a step.
            overwrite: Whether to replace a file that is there.
            allow_lossy: Whether to write what other frameworks will compute differently; each
                loss is warned of.

        Returns:
            A `nir.NIRGraph`.

        Raises:
            ConversionError: If NIR has no node for a layer, or there are losses and `allow_lossy`
                is false.
            ImportError: If nir is not installed.
            OSError: If the file exists, or cannot be written.

        Warns:
            LossWarning: With all that is lost.
        """
        from lava_export import nir

        return nir.to_nir(self, path, dt, overwrite, allow_lossy)


def _check_lava(mode, timeout, parts):
    if isinstance(timeout, bool) or not isinstance(timeout, Real) or not timeout > 0:
        raise ValueError(f"timeout={timeout!r}: give a number of seconds above 0.")
    if mode not in ("stock", "batched"):
        raise ValueError(f"mode={mode!r}: the modes of Lava are 'stock' and 'batched'.")
    if parts not in ("custom", "stock"):
        raise ValueError(f"parts={parts!r}: the parts are 'custom' and 'stock'.")


def is_stream(data):
    """Whether data is a `tf.data.Dataset`, or a generator, of batches, and not an array."""
    # Not a test of the class: a network runs without TensorFlow.
    return hasattr(data, "as_numpy_iterator") or isinstance(data, Iterator)


def batches(data):
    """Yields the batches of a stream, `(x, y)` each, or an array as the only one.

    `y` is None where there are no labels.

    Raises:
        TypeError: If a batch is something else than arrays `x`, or pairs `(x, y)`.
        ValueError: If there is none.
    """
    if not is_stream(data):
        yield data, None
        return
    batch = None
    for batch in data.as_numpy_iterator() if hasattr(data, "as_numpy_iterator") else data:
        if not isinstance(batch, (tuple, list)):
            batch = (batch, None)
        if len(batch) != 2 or not hasattr(batch[0], "shape"):
            raise TypeError(
                "The batches of a stream must be arrays x, or pairs (x, y), got "
                f"{[type(part).__name__ for part in batch]}."
            )
        yield batch
    if batch is None:
        raise ValueError("The stream has no batches: there is nothing to run.")


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


def check_labels(y, count, what="y"):
    """`y` as an array, if it has a whole number for each of `count` samples.

    Raises:
        ValueError: If it has other shapes, or anything else.
    """
    y = np.asarray(y)
    if y.shape != (count,):
        raise ValueError(
            f"{what} must have the shape ({count},), one label a sample, got {y.shape}."
        )
    if y.dtype.kind not in "biuf" or (y != np.rint(y)).any():
        raise ValueError(
            f"{what} must hold whole numbers, the indices of classes, got {y.dtype}, such as "
            f"{y[0]}: give each class a number."
        )
    return y


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


def check_spikes(spikes, inputs, what="Spikes", message_bits=0):
    """`spikes` as int8 of shape (batch, T, `inputs`); raises if they are anything else.

    With `message_bits` they are graded messages, int32 of so many bits and a sign.

    Raises:
        TypeError: If `spikes` is not an array of numbers.
        ValueError: If its shape is wrong, it is empty, or it is not binary, or not of as many bits.
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
    if message_bits:
        largest = (1 << message_bits) - 1
        if not ((np.abs(array) <= largest) & (array == np.rint(array))).all():
            raise ValueError(
                f"{what} must be integers of {message_bits} bits, from {-largest} to {largest}, "
                f"got values from {array.min()} to {array.max()}. `Network.encode` makes them of "
                "data."
            )
        return array.astype(np.int32)
    if not ((array == 0) | (array == 1)).all():
        raise ValueError(
            f"{what} must be 0 or 1, got values from {array.min()} to {array.max()}. "
            "Encode analog data first, for example with keras_spiking_rnn.PoissonEncoder."
        )
    return array.astype(np.int8)


def _check_chain(layers):
    if not layers or len(layers) % 2:
        raise ValueError(
            f"A network is synapses and units in turn, such as Dense and LIF, got {len(layers)} "
            "layers."
        )
    width, bits = None, 0
    for i, (synapses, kind) in enumerate(zip(layers[::2], layers[1::2], strict=True)):
        if not isinstance(synapses, SYNAPSES) or not isinstance(kind, units.KINDS):
            raise TypeError(
                "A network is synapses, units, synapses, units, ..., such as Dense, LIF, Dense, "
                f"LIF: layers {2 * i} and {2 * i + 1} are {type(synapses).__name__} and "
                f"{type(kind).__name__}."
            )
        if width is not None:
            if synapses.inputs != width:
                raise ValueError(
                    f"Layer {2 * i} takes {synapses.inputs} inputs, but the layer before it has "
                    f"{width} units."
                )
            check_messages(synapses, bits, f"Layer {2 * i}")
        width, remainder = divmod(synapses.units, kind.ports)
        if remainder:
            raise ValueError(
                f"Layer {2 * i} leads to {synapses.units} lines, but {type(kind).__name__} units "
                f"have {kind.ports} ports each."
            )
        kind.check(width, f"Layer {2 * i + 1}")
        bits = kind.output_bits


_STORED = {cls.__name__: cls for cls in (*SYNAPSES, *units.KINDS, *host.OPERATIONS)}


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
            _store(item, f"{part}/{i:04d}", content)
    return content


def _store(item, place, content):
    """Put a dataclass into `content`: its arrays, its parts, and the rest as JSON."""
    scalars = {"type": type(item).__name__}
    for field in fields(item):
        value = getattr(item, field.name)
        if isinstance(value, np.ndarray):
            content[f"{place}/{field.name}"] = value
        elif is_dataclass(value):
            _store(value, f"{place}/{field.name}", content)
        else:
            scalars[field.name] = value
    content[f"{place}/scalars"] = json.dumps(scalars, sort_keys=True)


def _restore(place, content):
    """The dataclass that `_store` put there."""
    values = json.loads(content[f"{place}/scalars"])
    cls = _STORED[values.pop("type")]
    for field in fields(cls):
        key = f"{place}/{field.name}"
        if key in content:
            values[field.name] = content[key]
        elif f"{key}/scalars" in content:
            values[field.name] = _restore(key, content)
        elif isinstance(values[field.name], list):
            values[field.name] = tuple(values[field.name])
    return cls(**values)


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
            version, was changed since it was written, leads to other files, or declares more than
            1 GiB of data.
    """
    with hdf5.reading(path, NetworkFileError) as file:
        attributes = {key: file.attrs.get(key) for key in ("format", "version", "sha256")}
        labels = {
            key: value.decode() if isinstance(value, bytes) else str(value)
            for key, value in attributes.items()
        }
        content = {}
        if (labels["format"], labels["version"]) == (FORMAT, str(VERSION)):
            file.visititems(lambda key, item: _read(key, item, content))
    return restored(labels, content, path)


def stored(network):
    """What a file holds of a network: labels, and its content by name."""
    content = _content(network)
    labels = {"format": FORMAT, "version": VERSION, "sha256": _digest(content)}
    return labels, content


def restored(labels, content, where):
    """The network of what `stored` gave.

    Args:
        labels: The labels.
        content: The content.
        where: What they were read from, for messages.

    Raises:
        NetworkFileError: If that is no network, was written by a newer version, or was changed
            since it was written.
    """
    if labels["format"] != FORMAT:
        raise NetworkFileError(f"{where} is an HDF5 file, but not one that Network.save wrote.")
    if str(labels["version"]) != str(VERSION):
        raise NetworkFileError(
            f"{where} has the format version {labels['version']}, this release reads version "
            f"{VERSION}: use the release that wrote it, or export again."
        )
    if labels["sha256"] != _digest(content):
        raise NetworkFileError(
            f"{where} was changed after it was written: its checksum does not match."
        )
    try:
        return _network(content)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise NetworkFileError(
            f"{where} does not hold a network ({type(error).__name__}: {error}): export it again."
        ) from error


def _read(key, item, content):
    if isinstance(item, h5py.Dataset):
        content[key] = item.asstr()[()] if h5py.check_string_dtype(item.dtype) else item[()]


def _network(content):
    parts = {"encoder": [], "layers": [], "head": []}
    for part, items in parts.items():
        while f"{part}/{len(items):04d}/scalars" in content:
            items.append(_restore(f"{part}/{len(items):04d}", content))
    quantization = json.loads(content["quantization"])
    return Network(
        **parts,
        names=tuple(json.loads(content["names"])),
        input_shape=tuple(json.loads(content["input_shape"])),
        quantization=quantization and QuantizationReport.from_dict(quantization),
    )
