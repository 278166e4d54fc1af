"""NIR, the Neuromorphic Intermediate Representation: graphs of neurons in floating point.

A NIR graph is made of differential equations. What a step is, and how long, is not in the format.
Here it is forward Euler with step `dt`, the current before the membrane, as in snnTorch:

    current   I = I + dt / tau_syn * (w_in * x - I)        LIF and IF take x itself
    membrane  v = v + dt / tau_mem * (v_leak - v + r * I)
    spike     v > v_threshold;  v = v_reset where a spike was

A connection back to the neuron it comes from brings the spikes of the step before.

`to_nir` writes the integers as floats in these equations, and the integer network itself into the
graph's metadata, from which `from_nir` takes it. A graph of another framework is quantized.
"""

from __future__ import annotations

import math
import os
import re

import numpy as np

from lava_export import arithmetic, files, hdf5, host, overflow, reference
from lava_export.losses import Losses
from lava_export.network import (
    Network,
    NetworkFileError,
    check_data,
    check_spikes,
    restored,
    stored,
)
from lava_export.quantize import ConversionError
from lava_export.quantize.lif import LIFDescription
from lava_export.report import QuantizationReport
from lava_export.synapses import Conv
from lava_export.units import LIF, SpikingLSTM

try:
    import nir
except ImportError as error:
    raise ImportError('nir is not installed: pip install "keras-spiking-rnn[nir]".') from error

KEY = "lava_export"  # of the integer network in the metadata
LSB = 1 << arithmetic.MESSAGE_SHIFT
WITHOUT_LEAK = 2.0**40  # steps that a membrane without leak takes to decay
CONVENTIONS = {
    "integrator": "forward Euler, current before membrane",
    "threshold": "a neuron fires strictly above its threshold",
    "reset": "to v_reset, in the step of the spike",
    "recurrence": "spikes come back one step later",
}


class NIRFileError(ValueError):
    """A file that does not hold a NIR graph."""


def to_nir(network, path=None, dt=1e-3, overwrite=False, allow_lossy=False):
    """The NIR graph of a network: see `Network.to_nir`."""
    dt = _check_dt(dt)
    losses = Losses("NIR")
    graph = _to_graph(network, dt, losses)
    losses.settle(allow_lossy)
    labels, content = stored(network)
    graph.metadata = {"dt": dt, **CONVENTIONS, KEY: {"content": content, **labels}}
    if path is not None:
        with files.replacing(path, overwrite) as temporary:
            nir.write(temporary, graph)
    return graph


def _to_graph(network, dt, losses):
    nodes = {"input": nir.Input(np.array([network.inputs]))}
    for (synapses, units), name in zip(network.pairs, network.names, strict=True):
        if isinstance(synapses, Conv):
            raise ConversionError(
                f"Layer '{name}': NIR's Conv2d has channels before height and width, which is not "
                "written. Network.save keeps all kinds."
            )
        if type(units) not in WRITERS:
            raise ConversionError(
                f"Layer '{name}': NIR has no node for {type(units).__name__} units. "
                "Network.save keeps all kinds."
            )
        key = re.sub(r"\W", "_", name)
        key = key if key not in nodes and key != "output" else f"{key}_{len(nodes)}"
        for part, node in WRITERS[type(units)](synapses, units, name, dt, losses).items():
            nodes[f"{key}_{part}" if part else key] = node
    nodes["output"] = nir.Output(np.array([network.units]))
    names = list(nodes)
    return nir.NIRGraph(nodes, list(zip(names, names[1:], strict=False)))


def _lif_nodes(synapses, units, name, dt, losses):
    """Weights, and neurons with their recurrent weights around them."""
    for register in ("u0", "v0"):
        if np.any(getattr(units, register)):
            losses.add(
                f"layer '{name}': other frameworks start at 0 instead of {register} (the metadata "
                "keep it)"
            )
    size = synapses.units

    def registers(*names):
        return (np.broadcast_to(getattr(units, name), (size,)).astype(float) for name in names)

    du, dv, threshold = registers("du", "dv", "vth")
    bias = arithmetic.bias(units.bias_mant, units.bias_exp) / LSB
    bias = np.broadcast_to(bias, (size,))
    gain = 1 / np.where(dv > 0, dv / arithmetic.DECAY_UNITY, 1 / WITHOUT_LEAK)
    membrane = {"r": gain, "v_threshold": threshold, "v_reset": np.zeros(size)}
    if (du < 4095).any():
        # A bias acts on the membrane and not on the current, and so it is in the leak.
        weights = nir.Linear(_values(synapses))
        gain_in = arithmetic.DECAY_UNITY / (du + 1)
        neurons = nir.CubaLIF(
            tau_syn=dt * gain_in, w_in=gain_in, tau_mem=dt * gain, v_leak=gain * bias, **membrane
        )
    else:
        weights = _weights_node(synapses, bias)
        if dv.any():
            neurons = nir.LIF(tau=dt * gain, v_leak=np.zeros(size), **membrane)
        else:
            neurons = nir.IF(**{**membrane, "r": np.full(size, 1 / dt)})
    if units.recurrent is not None:
        line = {"input": nir.Input(np.array([size])), "lif": neurons}
        neurons = nir.NIRGraph(
            {
                **line,
                "w_rec": _weights_node(units.recurrent),
                "output": nir.Output(np.array([size])),
            },
            [("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")],
        )
    return {"weights": weights, "": neurons}


def _lstm_nodes(synapses, units, name, dt, losses):
    """A graph of thresholds: the gates, two ANDs and an OR, and delays of one step."""
    size = synapses.units // units.ports
    matrices = [synapses] if units.recurrent is None else [synapses, units.recurrent]
    if min(matrix.exponent for matrix in matrices) < 0:
        losses.add(f"layer '{name}': the sums of its weights are rounded down, NIR's are not")

    def threshold(value):
        return nir.Threshold(np.broadcast_to(np.asarray(value, float), (size,)).copy())

    def delay():
        return nir.Delay(np.full(size, dt))

    values = [np.split(_values(matrix), units.ports) for matrix in matrices]
    thresholds = np.broadcast_to(units.threshold, (synapses.units,)).reshape(units.ports, size)
    nodes = {
        "input": nir.Input(np.array([synapses.inputs])),
        "output": nir.Output(np.array([size])),
    }
    edges = []
    for port, gate in enumerate("ifgo"):
        nodes[gate] = threshold(thresholds[port])
        for source, label, parts in zip(("input", "h_before"), ("w", "u"), values, strict=False):
            nodes[f"{label}_{gate}"] = nir.Linear(parts[port])
            edges += [(source, f"{label}_{gate}"), (f"{label}_{gate}", gate)]
    nodes |= {"keep": threshold(1.5), "write": threshold(1.5), "c": threshold(0.5)}
    nodes |= {"h": threshold(1.5), "c_before": delay()}
    edges += [("f", "keep"), ("c_before", "keep"), ("i", "write"), ("g", "write")]
    edges += [("keep", "c"), ("write", "c"), ("c", "c_before"), ("o", "h"), ("c", "h")]
    edges += [("h", "output")]
    if units.recurrent is not None:
        nodes["h_before"] = delay()
        edges += [("h", "h_before")]
    return {"": nir.NIRGraph(nodes, edges)}


# What writes each kind of units: a dictionary from the end of the name of a node to the node.
WRITERS = {LIF: _lif_nodes, SpikingLSTM: _lstm_nodes}


def _weights_node(synapses, bias=0.0):
    values = _values(synapses)
    return nir.Affine(values, bias.astype(float)) if np.any(bias) else nir.Linear(values)


def _values(synapses):
    grid = arithmetic.weights_on_grid(synapses.weights, synapses.num_weight_bits)
    return grid * 2.0**synapses.exponent


def from_nir(graph, calibration=None, dt=None, allow_lossy=False):
    """The integer network of a NIR graph.

    A graph that `Network.to_nir` wrote gives that network again, to the bit. Any other is
    quantized as `lava_export.export` does a Keras model: a chain of Linear or Affine nodes and LIF,
    IF or CubaLIF nodes from one Input to one Output, in which neurons may lead back to themselves,
    directly or in a graph within the graph, as snnTorch writes RLeaky and RSynaptic.

    Neurons fire above their threshold and are reset to `v_reset`. NIR cannot tell that a framework
    trained with another reset, such as snnTorch's by subtraction.

    Args:
        graph: A `nir.NIRGraph`, or the path of a file.
        calibration: Spikes `(batch, T, inputs)` of the kind that the network will get, about 256
            samples. Not needed for a graph of `Network.to_nir`.
        dt: Seconds of a step. By default what is in the metadata.
        allow_lossy: Whether to accept what the integers cannot express; each loss is warned of.

    Returns:
        A `Network`; its `quantization` tells what each layer lost to rounding.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If `graph` is neither a graph nor a path.
        NIRFileError: If the file is damaged, or of a newer version of NIR.
        ConversionError: If the graph has no counterpart on the chip, or only a lossy one and
            `allow_lossy` is false; the message names the node.
        NetworkFileError: If the graph was changed after `Network.to_nir` wrote it.
        ValueError: If the calibration data does not fit.

    Warns:
        LossWarning: With all that is lost.
        QuantizationWarning: As `lava_export.export`.
    """
    where = "The graph" if isinstance(graph, nir.NIRGraph) else str(graph)
    if isinstance(graph, str | bytes | os.PathLike):
        graph = _read(graph)
    if not isinstance(graph, nir.NIRGraph):
        raise TypeError(
            f"from_nir takes a nir.NIRGraph or the path of a file, got {type(graph).__name__}."
        )
    _check_size(graph)
    if KEY in graph.metadata:
        return _restored(graph, where)
    if dt is None:
        dt = graph.metadata.get("dt")
    if dt is None:
        raise ValueError(
            f"{where} does not say how long a step is: pass dt. snnTorch and SpikingJelly write "
            "graphs with steps of 1e-4, Norse with steps of its time_scaling_factor, 1 by default."
        )
    if calibration is None:
        raise ValueError(
            f"{where} is in floating point: pass spikes as calibration, to choose integers by."
        )
    losses = Losses("The integer network")
    shape, layers = _Chain(graph).layers(_check_dt(dt), losses)
    losses.settle(allow_lossy, stacklevel=3)
    return _quantized(layers, calibration, shape)


def _check_size(graph):
    """Raise ConversionError if graphs within a graph are without end, or too many."""
    waiting, seen = [(graph, 0)], 0
    while waiting:
        inner, depth = waiting.pop()
        seen += 1
        if depth > hdf5.DEEPEST or seen > hdf5.MOST:
            raise ConversionError(
                f"The graph has graphs within graphs, more than {hdf5.DEEPEST} deep or more than "
                f"{hdf5.MOST} of them: is one of them within itself?"
            )
        nodes = inner.nodes.values()
        waiting += [(node, depth + 1) for node in nodes if isinstance(node, nir.NIRGraph)]


def _check_dt(dt):
    try:
        value = float(dt)
    except (TypeError, ValueError):
        value = np.nan
    if not 0 < value < np.inf:
        raise ValueError(f"dt must be a number of seconds above 0, got {dt!r}.")
    return value


def _quantized(layers, calibration, shape):
    encoder, input_shape = (), (None, *shape)
    if len(shape) != 1:
        encoder = (host.Reshape((-1, int(np.prod(shape)))),)
    encoded = check_data(calibration, input_shape, "calibration")
    for operation in encoder:
        encoded = operation(encoded)
    spikes = exact = check_spikes(encoded, layers[0].inputs, "calibration")
    parts, records = [], []
    for layer in layers:
        synapses, units, record, fired = layer.quantize(spikes)
        exact = reference.simulate_layer(synapses, units, exact).spikes
        record.cumulative_mismatches = int(np.count_nonzero(exact != fired))
        parts += [synapses, units]
        records.append(record)
        for text in (record.advice(), overflow.advice(record)):
            if text:
                overflow.warn(record.name, text, stacklevel=3)
        spikes = fired
    return Network(
        parts,
        encoder,
        names=[layer.name for layer in layers],
        quantization=QuantizationReport(len(spikes), spikes.shape[1], records),
        input_shape=input_shape,
    )


def _restored(graph, where):
    """The network in the metadata, if the graph is still its own."""
    try:
        labels = dict(graph.metadata[KEY])
        content = _flat(labels.pop("content"))
        network = restored(labels, content, where)
        dt = _check_dt(graph.metadata["dt"])
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise NetworkFileError(
            f"{where} has damaged metadata ({type(error).__name__}: {error})."
        ) from error
    if not _equal(_to_graph(network, dt, Losses("NIR")).to_dict(), graph.to_dict()):
        raise NetworkFileError(
            f"{where} was changed after Network.to_nir wrote it and is not the network in its "
            f"metadata any more. Delete metadata[{KEY!r}] to import the graph as it is."
        )
    return network


def _flat(content, prefix=""):
    """Groups within groups, as a file has them, as one dictionary."""
    flat = {}
    for key, value in content.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}/")
        else:
            flat[prefix + key] = value
    return flat


def _equal(a, b):
    """Equality of the dictionaries of two graphs, but for metadata."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = [set(x) - {"metadata", "type_check"} for x in (a, b)]
        return keys[0] == keys[1] and all(_equal(a[key], b[key]) for key in keys[0])
    if isinstance(a, list) and isinstance(b, list):
        return sorted(map(tuple, a)) == sorted(map(tuple, b))
    return np.array_equal(a, b)


def _read(path):
    with hdf5.reading(path, NIRFileError) as file:
        version = file["version"][()] if "version" in file else b"1"
        if not isinstance(version, bytes):
            raise NIRFileError("does not say its version of NIR as text: it may be damaged.")
        version = version.decode()
        if version.split(".")[0] not in ("0", "1"):
            raise NIRFileError(
                f"is of NIR version {version}, and this release reads version 1: "
                "write it with nir 1, or use a newer release."
            )
        tree = nir.serialization.hdf2dict(file["node"])
        _check_types(tree, "the graph")
        try:
            return nir.dict2NIRNode(tree)
        except AssertionError as error:
            raise NIRFileError(f"does not hold a NIR graph ({error}).") from error


def _check_types(tree, where):
    """Name a type that nir does not know; and let nir build the graph without its own checks."""
    kind = tree.get("type")
    if not isinstance(kind, str) or kind not in nir.ir.__all__:
        raise NIRFileError(
            f"{where} has the type {kind!r}, which nir {nir.version} does not know: it may be of "
            "a newer version."
        )
    if kind == "NIRGraph":
        tree["type_check"] = False
        for name, node in tree["nodes"].items():
            _check_types(node, f"node '{name}'")


WEIGHTS = (nir.Linear, nir.Affine)
NEURONS = (nir.LIF, nir.IF, nir.CubaLIF)
ADVICE = {
    "Threshold": "it keeps no membrane, and on its own it is no unit of a Network",
    "Delay": "only a delay of one step on the way back to the same neurons can be imported",
    "LI": "its output is no spikes: let the graph end before it, and decode on the host",
    "CubaLI": "its output is no spikes: let the graph end before it, and decode on the host",
    "I": "its output is no spikes: let the graph end before it, and decode on the host",
    "Conv1d": "the synapses of a Network are dense: write it as a Linear node",
    "Conv2d": "the synapses of a Network are dense: write it as a Linear node",
    "SumPool2d": "the synapses of a Network are dense: write it as a Linear node",
    "AvgPool2d": "the synapses of a Network are dense: write it as a Linear node",
    "Scale": "multiply the weights of the node after it",
}


class _Chain:
    """A graph read as a chain of weights and neurons, from its input to its output."""

    def __init__(self, graph):
        self.nodes, self.edges = {}, []
        self._add(graph, "")
        self.edges = list(dict.fromkeys(self.edges))
        for name in [name for name in self.nodes if self._passes(name)]:
            self._bypass(name)

    def _add(self, graph, prefix):
        """Add the nodes of a graph, and those of the graphs within it."""
        doors = {}
        for name, node in graph.nodes.items():
            full = prefix + name
            if isinstance(node, nir.NIRGraph):
                self._add(node, f"{full}.")
                doors[name] = [
                    [f"{full}.{n}" for n, inner in node.nodes.items() if isinstance(inner, kind)]
                    for kind in (nir.Output, nir.Input)
                ]
                if [len(door) for door in doors[name]] != [1, 1]:
                    raise ConversionError(
                        f"Node '{full}' is a graph with {len(doors[name][1])} inputs and "
                        f"{len(doors[name][0])} outputs: it must have one of each."
                    )
            else:
                self.nodes[full] = node
                doors[name] = [[full], [full]]
        for edge in graph.edges:
            ends = []
            for end, side in zip(edge, (0, 1), strict=True):
                if end not in doors:
                    raise ConversionError(
                        f"Edge {tuple(edge)} has an end '{end}' that is no node of the graph"
                        + (f" '{prefix[:-1]}'." if prefix else ".")
                    )
                ends += doors[end][side]
            self.edges.append(tuple(ends))

    def before(self, name):
        """Names of the nodes that lead to a node."""
        return [a for a, b in self.edges if b == name]

    def after(self, name):
        """Names of the nodes that a node leads to."""
        return [b for a, b in self.edges if a == name]

    def _passes(self, name):
        """Whether a node only passes on what it gets."""
        node = self.nodes[name]
        if isinstance(node, nir.Input):
            return bool(self.before(name))
        if isinstance(node, nir.Output):
            return bool(self.after(name))
        return isinstance(node, nir.Flatten)

    def _bypass(self, name):
        before, after = self.before(name), self.after(name)
        self.edges = [edge for edge in self.edges if name not in edge]
        self.edges += [(a, b) for a in before for b in after if (a, b) not in self.edges]
        del self.nodes[name]

    def layers(self, dt, losses):
        """Shape of a sample's step, and a description of each layer.

        Raises:
            ConversionError: If the graph is no chain, or a node has no counterpart.
        """
        for name, node in self.nodes.items():
            if not isinstance(node, (*WEIGHTS, *NEURONS, nir.Input, nir.Output, nir.Delay)):
                kind = type(node).__name__
                advice = ADVICE.get(kind, "use LIF, IF or CubaLIF neurons and dense weights")
                raise ConversionError(f"Node '{name}' ({kind}) cannot be imported: {advice}.")
        here, shape = self._only(nir.Input, "input")
        end, _ = self._only(nir.Output, "output")
        width = int(np.prod(shape))
        seen, layers = {here}, []
        while self._onward(here) != [end]:
            weights, source = None, here
            here = self._next(source, seen, "the graph must be one chain from input to output")
            if isinstance(self.nodes[here], WEIGHTS):
                weights, source = here, here
                here = self._next(source, seen, "weights lead to neurons of one node")
            if not isinstance(self.nodes[here], NEURONS):
                raise ConversionError(
                    f"Node '{source}' leads to '{here}', but a Network passes on nothing but "
                    "spikes: between weights, and before the output, there must be neurons."
                )
            loops = self._loops(here)
            ends = {loop[-1] if loop else here for loop in loops}
            self._check_sources(here, {source, *ends})
            seen.update(*loops)
            layers.append(self._layer(here, weights, loops, width, dt, losses))
            width = layers[-1].units
        lost = sorted(set(self.nodes) - seen - {end})
        if lost:
            raise ConversionError(f"Node {_list(lost)} is not on the way from input to output.")
        if not layers:
            raise ConversionError(
                "The graph has no neurons between input and output: there is nothing to run."
            )
        self._check_sources(end, {here})
        return shape, layers

    def _onward(self, name):
        """Where a node leads to, but for its ways back to itself."""
        back = {loop[0] if loop else name for loop in self._loops(name)}
        return [after for after in self.after(name) if after not in back]

    def _next(self, name, seen, reason):
        """The one node that a node leads to; it is marked as seen."""
        onward = self._onward(name)
        if len(onward) != 1 or onward[0] in seen:
            raise ConversionError(f"Node '{name}' leads to {_list(onward)}: {reason}.")
        if isinstance(self.nodes[onward[0]], WEIGHTS):
            self._check_sources(onward[0], {name})
        seen.add(onward[0])
        return onward[0]

    def _check_sources(self, name, expected):
        others = sorted(set(self.before(name)) - expected)
        if others:
            raise ConversionError(
                f"Node '{name}' also gets what '{others[0]}' gives: the graph must be one chain "
                "from input to output."
            )

    def _only(self, kind, what):
        found = [name for name, node in self.nodes.items() if isinstance(node, kind)]
        if len(found) != 1:
            raise ConversionError(
                f"The graph has {len(found)} {what}s, {_list(found)}: one is due."
            )
        node = self.nodes[found[0]]
        types = node.input_type if kind is nir.Input else node.output_type
        shape = next(iter(types.values()), None)
        shape = np.ravel(shape if shape is not None else np.nan)
        if shape.dtype.kind not in "iu" or not shape.size or (shape < 1).any():
            raise ConversionError(f"Node '{found[0]}' does not say the shape of the {what}.")
        return found[0], tuple(int(size) for size in shape)

    def _loops(self, neurons):
        """The ways from neurons back to themselves, as lists of the weights and delays on them."""
        loops = []
        if not isinstance(self.nodes[neurons], NEURONS):
            return loops
        for name in self.after(neurons):
            way = []
            while name != neurons and name not in way:
                after = self.after(name)
                if (
                    not isinstance(self.nodes[name], (*WEIGHTS, nir.Delay))
                    or len(after) != 1
                    or len(self.before(name)) != 1
                ):
                    break
                way.append(name)
                name = after[0]
            if name == neurons:
                loops.append(way)
        return loops

    def _layer(self, name, weights, loops, width, dt, losses):
        node = self.nodes[name]
        size = _size(name, node)
        if weights is None:
            kernel, bias = _identity(name, size), np.zeros(size)
        else:
            kernel, bias = _matrix(weights, self.nodes[weights], size)
        if kernel.shape[1] != width:
            raise ConversionError(
                f"Node '{weights or name}' takes {kernel.shape[1]} inputs, but what is before it "
                f"gives {width}."
            )
        recurrent = None
        for loop in loops:
            matrix = _identity(name, size)
            for part in loop:
                if isinstance(self.nodes[part], nir.Delay):
                    _check_delay(part, self.nodes[part], dt)
                    continue
                factor, offset = _matrix(part, self.nodes[part], size)
                if factor.shape[1] != size:
                    raise ConversionError(
                        f"Node '{part}' has weights of shape {factor.shape} on the way back to "
                        f"the {size} neurons of '{name}'."
                    )
                matrix = factor @ matrix
                bias = bias + offset
            recurrent = matrix if recurrent is None else recurrent + matrix
        return _description(name, node, size, kernel, bias, recurrent, dt, losses)


def _list(names):
    return ", ".join(f"'{name}'" for name in names) or "no node"


def _size(name, node):
    shape = np.shape(node.v_threshold)
    sizes = {np.size(getattr(node, field)) for field in ("r", "v_threshold", "v_reset")}
    if len(shape) > 1 or not sizes <= {1, max(sizes)}:
        raise ConversionError(
            f"Node '{name}' has parameters of shape {shape}: one dimension is due."
        )
    return max(sizes)


def _identity(name, size):
    """Weights of what leads to neurons one by one."""
    largest = math.isqrt(hdf5.LARGEST // 8)
    if size > largest:
        raise ConversionError(
            f"Node '{name}' has {size} neurons with one input each, but a Network has weights for "
            f"all pairs of neurons, too many here: import up to {largest} such neurons."
        )
    return np.eye(size)


def _matrix(name, node, size):
    """Weights (out, in) and bias (out,)."""
    weight = _floats(name, node, "weight")
    if weight.ndim != 2 or len(weight) != size:
        raise ConversionError(
            f"Node '{name}' has weights of shape {weight.shape}, but {size} neurons after it."
        )
    bias = _floats(name, node, "bias") if isinstance(node, nir.Affine) else np.zeros(1)
    if bias.size not in (1, size):
        raise ConversionError(f"Node '{name}' has {bias.size} biases for {size} neurons.")
    return weight, np.broadcast_to(bias.reshape(-1), (size,))


def _floats(name, node, field):
    values = np.asarray(getattr(node, field))
    if values.dtype.kind not in "iuf" or not values.size or not np.isfinite(values).all():
        raise ConversionError(f"Node '{name}': {field} holds other than finite numbers.")
    return values.astype(np.float64)


def _check_delay(name, node, dt):
    delay = _floats(name, node, "delay")
    if not np.allclose(delay, dt, rtol=1e-6, atol=0):
        raise ConversionError(
            f"Node '{name}' delays by up to {delay.max():g} seconds, but only one step of {dt:g} "
            "can be imported."
        )


def _description(name, node, size, kernel, bias, recurrent, dt, losses):
    """The neurons, with the equations of this module's docstring solved for the next step."""

    def parameter(field):
        return np.broadcast_to(_floats(name, node, field).reshape(-1), (size,))

    def step(field):
        tau = parameter(field)
        if (tau < dt * (1 - 1e-9)).any():
            raise ConversionError(
                f"Node '{name}': {field} is {tau.min():g} seconds, less than a step of {dt:g}: "
                "is dt that of the framework that wrote the graph?"
            )
        return np.minimum(dt / tau, 1.0)

    threshold, reset = parameter("v_threshold"), parameter("v_reset")
    if (reset >= threshold).any():
        raise ConversionError(f"Node '{name}': v_reset is not below v_threshold.")
    if isinstance(node, nir.IF):
        decay, constant = np.zeros(size), np.zeros(size)
        gain = dt * parameter("r")
    else:
        decay = step("tau_mem" if isinstance(node, nir.CubaLIF) else "tau")
        constant = decay * parameter("v_leak")
        gain = decay * parameter("r")
    if (decay > 4095 / 4096).any():
        losses.add(
            f"node '{name}': membranes keep 1/4096 of the step before instead of "
            f"{1 - decay.max():.3g}"
        )
        decay = np.minimum(decay, 4095 / 4096)
    current_leak = initial = None
    if isinstance(node, nir.CubaLIF):
        decay_in = step("tau_syn")
        current_leak = 1 - decay_in
        if (current_leak > 4095 / 4096).any():
            losses.add(
                f"node '{name}': currents keep 4095/4096 of the step before instead of "
                f"{current_leak.max():.6g}"
            )
            current_leak = np.minimum(current_leak, 4095 / 4096)
        gain = gain * decay_in * parameter("w_in")
        # What a constant input comes to in the end is a bias, and the current starts below it.
        constant = constant + gain * bias / (1 - current_leak)
        initial = -gain * bias / (1 - current_leak)
    else:
        constant = constant + gain * bias
    return LIFDescription(
        name,
        kernel=(gain[:, None] * kernel).T,
        bias=constant,
        leak=1 - decay,
        membrane_bias=np.zeros(size),
        # At the next number above its threshold a neuron is strictly above it.
        threshold=np.nextafter(threshold.astype(np.float32), np.float32(np.inf)).astype(float),
        reset=reset,
        current_leak=current_leak,
        initial_current=initial,
        recurrent_kernel=None if recurrent is None else (gain[:, None] * recurrent).T,
    )
