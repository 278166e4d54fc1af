"""From a Keras model to an integer network: the layers read, described and quantized."""

from __future__ import annotations

import numbers
from dataclasses import dataclass, field

import keras
import numpy as np

# The class of a functional model has no public name.
from keras.src.models.functional import Functional

from keras_spiking_rnn import (
    ConvRLIF2D,
    ConvRLIF2DCell,
    GatedLIFCell,
    LIFCell,
    LIFLSTMCell,
    RLIFCell,
    SpikingLSTMCell,
    SRCCell,
)
from keras_spiking_rnn.adaptive_lstm import AdaptiveAnalogLSTMCell, AdaptiveSpikingLSTM
from keras_spiking_rnn.base import SpikingRNN
from lava_export import adaptive_lstm, host, host_layers, overflow, pooling, reference
from lava_export.host_layers import is_a
from lava_export.network import Network, check_data, check_spikes
from lava_export.overflow import QuantizationWarning  # noqa: F401  (as convert.QuantizationWarning)
from lava_export.progress import bar
from lava_export.quantize import (
    ConversionError,
    ConvRLIF2DDescription,
    CurrentLIFDescription,
    GatedLIFDescription,
    LIFLSTMDescription,
    MaxPoolingDescription,
    RLIFDescription,
    SpikingLSTMDescription,
    SRCDescription,
)
from lava_export.quantize.base import noting, raise_first
from lava_export.report import QuantizationReport
from lava_export.training.gated_lif import QuantizedGatedLIFCell, QuantizedGatedLIFDescription
from lava_export.training.layer import QuantizedCell, QuantizedRNN, traced
from lava_export.training.lif import QuantizedLIFCell, QuantizedLIFDescription
from lava_export.training.rlif import (
    QuantizedConvRLIF2DCell,
    QuantizedConvRLIF2DDescription,
    QuantizedRLIFCell,
    QuantizedRLIFDescription,
)
from lava_export.training.spiking_lstm import (
    QuantizedSpikingLSTMCell,
    QuantizedSpikingLSTMDescription,
)
from lava_export.training.src import QuantizedSRCCell, QuantizedSRCDescription

QUANTIZED = (
    QuantizedRLIFDescription,
    QuantizedConvRLIF2DDescription,
    QuantizedSpikingLSTMDescription,
    QuantizedGatedLIFDescription,
    QuantizedLIFDescription,
    QuantizedSRCDescription,
)

# The cells that have a counterpart on the chip, and what describes them.
CELLS = {
    RLIFCell: RLIFDescription,
    ConvRLIF2DCell: ConvRLIF2DDescription,
    SpikingLSTMCell: SpikingLSTMDescription,
    LIFCell: CurrentLIFDescription,
    GatedLIFCell: GatedLIFDescription,
    LIFLSTMCell: LIFLSTMDescription,
    SRCCell: SRCDescription,
    QuantizedRLIFCell: QuantizedRLIFDescription,
    QuantizedConvRLIF2DCell: QuantizedConvRLIF2DDescription,
    QuantizedSpikingLSTMCell: QuantizedSpikingLSTMDescription,
    QuantizedGatedLIFCell: QuantizedGatedLIFDescription,
    QuantizedLIFCell: QuantizedLIFDescription,
    QuantizedSRCCell: QuantizedSRCDescription,
}


@dataclass
class Part:
    """A Keras layer, and what becomes of it.

    Args:
        layer: The Keras layer.
        place: "chip"; "host"; "folded" for a layer that becomes part of the next spiking one;
            "training" for one that does nothing at inference; empty if that is not known.
        operations: Host operations.
        spiking: Descriptions of spiking layers, one for each cell, or that of max pooling.
        problems: The `ConversionError`s of the layer.
    """

    layer: keras.Layer
    place: str = ""
    operations: list = field(default_factory=list)
    spiking: list = field(default_factory=list)
    problems: list = field(default_factory=list)


@dataclass
class Description:
    """A chain of layers, cut into what runs on the host and what runs in integers.

    Args:
        encoder: Host operations before the first spiking layer.
        spiking: One description for each spiking layer, and for max pooling between them.
        head: Host operations after the last spiking layer.
        encoder_layers, cells, head_layers: The Keras objects they were made from, in order; of
            max pooling the layer.
        folded: For each of `cells` the Keras layers before it whose weights became part of its own.
        sequences: Whether the last spiking layer gives all its steps, and not only the last.
        parts: All Keras layers, in order.
        problems: The `ConversionError`s of the model as a whole.
    """

    encoder: list = field(default_factory=list)
    spiking: list = field(default_factory=list)
    head: list = field(default_factory=list)
    encoder_layers: list = field(default_factory=list)
    cells: list = field(default_factory=list)
    head_layers: list = field(default_factory=list)
    folded: list = field(default_factory=list)
    sequences: bool = True
    parts: list = field(default_factory=list)
    problems: list = field(default_factory=list)
    # Bits of the encoder's graded messages, 0 for spikes.
    message_bits: int = 0
    # Whether the head's output is what the model computes, and not only its largest score.
    decodes: bool = False

    def inputs(self, x):
        """What the model's own encoder gives the first spiking layer: (batch, T, in)."""
        for layer in self.encoder_layers:
            x = layer(x, training=False)
        x = keras.ops.convert_to_numpy(x)
        if x.ndim > 3:
            x = x.reshape(*x.shape[:2], -1)
        return check_spikes(x, self.spiking[0].inputs, "Encoded x")

    def trace(self, layer, inputs):
        """The outputs of a Keras layer, `spikes`, and its inside, each (batch, T, ...)."""
        shape = self.spiking[layer - 1].output_shape if layer else self.spiking[0].input_shape
        inputs = keras.ops.reshape(inputs, (*inputs.shape[:2], *shape))
        for before in self.folded[layer]:
            inputs = before(inputs, training=False)
        traced = self._trace(self.cells[layer], inputs)
        return {name: value.reshape(*value.shape[:2], -1) for name, value in traced.items()}

    def _trace(self, cell, inputs):
        if pooling.takes_largest(cell):
            return {"spikes": keras.ops.convert_to_numpy(cell(inputs))}
        return traced(cell, inputs)

    @property
    def comparable(self):
        """Whether the scores are those of the model: not where the encoder draws anew."""
        return not any(hasattr(layer, "seed_generator") for layer in self.encoder_layers)

    def scores(self, spikes, network):
        """What the model's own head makes of the spikes of its last layer."""
        scores = spikes.reshape(*spikes.shape[:2], *self.spiking[-1].output_shape)
        scores = scores if self.sequences else scores[:, -1]
        for layer in self.head_layers:
            scores = layer(scores, training=False)
        scores = keras.ops.convert_to_numpy(scores)
        return scores if self.head else scores.sum(axis=1)


def export(model, calibration, leak_groups=None, last=None, progress=False):
    """The integer network of a trained Keras model.

    The model is a chain: optionally an encoder (such as `PoissonEncoder`, `LatencyEncoder`,
    `Rescaling`), spiking layers (`RLIF`, `SpikingLSTM`, ..., or `RNN` over their cells), `Dense`
    layers without activation before any of them, pooling of images between them, and optionally a
    head (`TimeSum`, readouts,
    `Dense`, activations). The spiking layers become integers; encoder and head stay on the host, in
    float32. `lava_export.check` tells what of a model can be exported.

    Or it is the network that `keras_spiking_rnn.adaptive_lstm.convert` gives, of deterministic
    neurons. Its head gives the outputs in the last time window.

    Args:
        model: A built `keras.Model`, or an `AdaptiveSpikingLSTM`.
        calibration: A sample of what the model takes, about 256 samples. The scale of each layer
            is the one whose integers, run on these, give the fewest spikes that differ from the
            float layer, and neither wrap nor saturate.
        leak_groups: Number of distinct leaks to reduce each layer to, for neurons with one decay
            for many units as Lava's stock `LIF`. By default every unit keeps its own.
        last: For an `AdaptiveSpikingLSTM`, seconds at the end of a time window that its outputs are
            averaged over; by default all of it.
        progress: Whether to show a progress bar.

    Returns:
        A `Network`; `network.quantization` tells what each layer lost.

    Raises:
        ConversionError: If a layer cannot be exported.
        ValueError: If the calibration data does not fit the model.

    Warns:
        QuantizationWarning: If 8 bits lose a noticeable part of a layer, or some inputs would
            overflow 24 bits in as many steps as the calibration data has.
    """
    check_leak_groups(leak_groups)
    description = describe(model, last)
    layers, records = [], []
    input_shape = input_shape_of(model)
    encoded = check_data(calibration, input_shape, "calibration")
    if isinstance(model, AdaptiveSpikingLSTM):
        description = description.calibrated(encoded)
    for operation in description.encoder:
        encoded = operation(encoded)
    spikes = check_spikes(
        encoded,
        description.spiking[0].inputs,
        source_of(description, "calibration"),
        description.message_bits,
    )
    exact = spikes
    with bar("layers", len(description.spiking), progress) as advance:
        for layer in description.spiking:
            synapses, units, record, fired = layer.quantize(spikes, leak_groups)
            exact = reference.simulate_layer(synapses, units, exact).spikes
            record.cumulative_mismatches = int(np.count_nonzero(exact != fired))
            layers += [synapses, units]
            records.append(record)
            spikes = fired
            advance(1)
    for record in records:
        _warn(record)
    head = description.head
    if layer.output_scale != 1:
        head = [host.Rescale(layer.output_scale), *(head or [host.TimeSum()])]
    return Network(
        layers,
        description.encoder,
        head,
        [layer.name for layer in description.spiking],
        QuantizationReport(len(spikes), spikes.shape[1], records),
        input_shape,
    )


def check_leak_groups(leak_groups):
    """Raise ValueError unless `leak_groups` is a positive integer or None."""
    if leak_groups is not None and (
        isinstance(leak_groups, bool)
        or not isinstance(leak_groups, numbers.Integral)
        or leak_groups < 1
    ):
        raise ValueError(f"leak_groups must be a positive integer or None, got {leak_groups!r}.")


def source_of(description, data):
    """What the first spiking layer gets, in words."""
    if not description.encoder_layers:
        return data
    return f"What layer '{description.encoder_layers[-1].name}' makes of {data}"


def input_shape_of(model):
    """Shape of one sample of a model's data, with None where it is free."""
    if isinstance(model, AdaptiveSpikingLSTM):
        return (None, model.features)
    return tuple(model.inputs[0].shape[1:])


def _warn(record):
    for text in (record.advice(), overflow.advice(record)):
        if text:
            overflow.warn(record.name, text, stacklevel=3)


IDENTITIES = (
    keras.layers.InputLayer,
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout3D,
    keras.layers.GaussianNoise,
    keras.layers.GaussianDropout,
    keras.layers.ActivityRegularization,
    keras.layers.Identity,
)


def describe(model, last=None):
    """The description of a Keras model that is a chain of layers, or of an `AdaptiveSpikingLSTM`.

    Args:
        model: The model.
        last: See `export`.

    Raises:
        ConversionError: If a layer has no counterpart on the chip; the message names it and
            says what to use. Its attribute `also` has the further problems of the model.
    """
    if isinstance(model, AdaptiveSpikingLSTM):
        return adaptive_lstm.describe(model, last)
    if last is not None:
        raise ValueError("last is for the networks of adaptive_lstm.convert only: leave it out.")
    description = read(model)
    raise_first(
        description.problems + [error for part in description.parts for error in part.problems]
    )
    return description


def read(model):
    """As `describe`, but notes the problems instead of raising them."""
    description = Description()
    parts = description.parts = [Part(layer) for layer in chain(model, description.problems)]
    spiking = [i for i, part in enumerate(parts) if is_spiking(part.layer)]
    if not spiking:
        if parts:
            description.problems.append(
                ConversionError(
                    f"Model '{model.name}' has no spiking layer: nothing of it would run on the "
                    "chip. Build it with keras_spiking_rnn.RLIF."
                )
            )
        return description
    first, last = spiking[0], spiking[-1]
    # Dense layers directly before the first spiking layer take spikes, as those between do.
    while first > 0 and is_a(parts[first - 1].layer, *IDENTITIES, keras.layers.Dense):
        first -= 1
    # The layers to be folded; None where it is not known what a spiking layer gets.
    before = start = None if description.problems else []
    for i, part in enumerate(parts):
        with noting(part.problems):
            if is_a(part.layer, *IDENTITIES):
                part.place = "training"
            elif isinstance(part.layer, keras.layers.Masking):
                raise ConversionError(
                    f"Layer '{part.layer.name}' (Masking) makes a mask, but the chip runs every "
                    "step: leave it out and pad with silence, which is zeros."
                )
            elif i in spiking:
                part.place = "chip"
                _read_spiking(part, before, description)
                before = start
            elif i < first:
                part.place = "host"
                part.operations = pooling.on_host(part.layer) or host_layers.encoder_operations(
                    part.layer
                )
                description.encoder_layers.append(part.layer)
                description.encoder += part.operations
            elif i < last and pooling.takes_largest(part.layer):
                part.place = "chip"
                pooled, before = before, start
                _read_largest(part, pooled, description)
            elif i < last:
                part.place = "folded"
                if description.sequences:  # otherwise the next spiking layer is refused
                    others, before = before, None  # stays so if this layer cannot be folded
                    if not pooling.takes_means(part.layer):
                        affine(part.layer)
                    before = None if others is None else [*others, part.layer]
            else:
                part.place = "host"
                part.operations = pooling.on_host(part.layer) or host_layers.head_operations(
                    part.layer
                )
                description.head_layers.append(part.layer)
                if part.operations and not description.head:
                    description.head += _to_images(description.spiking)
                description.head += part.operations
    return description


def _to_images(spiking):
    """What makes the outputs of the last layer images again, where that is a convolution."""
    shape = spiking[-1].output_shape if spiking else ()
    return [host.Reshape((-1, *shape))] if len(shape) > 1 else []


def _read_largest(part, before, description):
    """The max pooling layer `part`, a layer of its own, behind the layers `before` it."""
    for other in before or []:
        if pooling.takes_means(other) or affine(other) is not None:
            raise ConversionError(
                f"Layer '{part.layer.name}' takes the largest of what '{other.name}' "
                f"({type(other).__name__}) makes of spikes, but the chip can do that for spikes "
                f"only: put it directly behind a spiking layer."
            )
    if before is None or not description.spiking or not description.sequences:
        return  # what is before it is a problem
    before_it, behind_it = _shapes([*before, part.layer], description.spiking[-1].output_shape)[-2:]
    windows = pooling.windows_of(part.layer, before_it)
    described = MaxPoolingDescription.of_windows(part.layer.name, windows, behind_it)
    described = described.after(description.spiking[-1])
    part.spiking.append(described)
    description.spiking.append(described)
    description.cells.append(part.layer)
    description.folded.append(before)


def _shapes(layers, shape):
    """The shapes of a step before, between and behind some layers, which get the first one."""
    shapes = []
    for layer in layers:
        try:
            given, gives = tuple(layer.input.shape[2:]), tuple(layer.output.shape[2:])
        except AttributeError:  # called on data only
            given, gives = shape, tuple(layer.compute_output_shape((1, 1, *shape))[2:])
        shapes.append(given)
        shape = gives
    return [*shapes, shape]


def _behind(described, layers, shape):
    """A description behind the layers before it, which get steps of a shape, if that is known."""
    shapes = _shapes(layers, shape) if shape else [None] * (len(layers) + 1)
    for layer, shape in reversed(list(zip(layers, shapes, strict=False))):
        if pooling.takes_means(layer):
            if shape is None:
                continue  # the spiking layer before it is a problem
            changed = described.behind_mean(pooling.windows_of(layer, shape))
        else:
            weights = affine(layer)
            if weights is None:
                continue
            changed = described.behind(*weights)
        if isinstance(described, QUANTIZED):
            raise ConversionError(
                f"Layer '{described.name}' was trained in integers, which does not go with the "
                f"layer '{layer.name}' ({type(layer).__name__}) before it: leave it out."
            )
        described = changed
    return described


def _read_spiking(part, before, description):
    """The spiking layer `part`, behind the layers `before` it whose weights are folded into it.

    `before` is None where these are a problem.
    """
    layer = part.layer
    if not description.sequences:
        part.problems.append(
            ConversionError(
                f"Layer '{layer.name}' is a spiking layer behind one with return_sequences=False: "
                "set return_sequences=True there."
            )
        )
    for i, (name, cell) in enumerate(cells(layer, part.problems)):
        if not cell.built:
            continue  # which is a problem of the model
        with noting(part.problems):
            cls = cell_class(cell)
            described = CELLS[cls].of(name, cell)
            if i == 0 and before:
                shape = description.spiking[-1].output_shape if description.spiking else None
                described = _behind(described, before, shape)
            if not description.spiking and len(described.input_shape) > 1:
                description.encoder.append(host.Reshape((-1, described.inputs)))
            if description.spiking:
                described = described.after(description.spiking[-1])
            graded = described.message_bits > 0
            if graded and issubclass(cls, QuantizedCell) and "input_scale" not in cls.settings:
                raise ConversionError(
                    f"Layer '{name}' was trained in integers for spikes, but gets graded outputs "
                    "from the layer before it: train that one with bits=None."
                )
            part.spiking.append(described)
            description.spiking.append(described)
            description.cells.append(cell)
            description.folded.append((before or []) if i == 0 else [])
    description.sequences = getattr(layer, "return_sequences", True)
    if not description.sequences:
        part.operations = [host.LastStep()]
        description.head += [*_to_images(part.spiking), *part.operations]


def affine(layer):
    """Weights (in, out) and bias (out,) of a layer between spiking ones, in float64.

    Returns:
        The pair, or None for a layer that passes on what it gets, step by step.

    Raises:
        ConversionError: If the layer does anything else.
    """
    activation = getattr(layer, "activation", keras.activations.linear)
    if is_a(layer, keras.layers.Dense, keras.layers.Activation) and (
        activation is not keras.activations.linear
    ):
        name = getattr(activation, "__name__", type(activation).__name__)
        raise ConversionError(
            f"Layer '{layer.name}' ({type(layer).__name__}) has the activation {name!r} before a "
            "spiking layer, but the chip passes on spikes only: without it, the layer's weights "
            "become part of those of the next layer. Or put a spiking layer in its place."
        )
    if is_a(layer, keras.layers.Dense):
        if not layer.built:
            return None  # which is a problem of the model
        return host_layers.dense_weights(layer, np.float64)
    if is_a(layer, keras.layers.Activation) or host_layers.keeps_steps(layer):
        return None
    if is_a(layer, *host_layers.OVER_TIME):
        raise ConversionError(
            f"Layer '{layer.name}' ({type(layer).__name__}) between spiking layers does not give "
            "spikes: connect spiking layers directly, and sum over time after the last one."
        )
    raise ConversionError(
        f"Layer '{layer.name}' ({type(layer).__name__}) between spiking layers cannot be exported. "
        "Supported there: Dense without activation and average pooling, which become part of the "
        "next layer's weights, max pooling, TimeDistributed(Flatten), Reshape, and layers for "
        "training only. Connect spiking layers directly."
    )


def chain(model, problems=None):
    """The layers of a model in order, with nested models unfolded.

    Args:
        model: The model.
        problems: List to which each `ConversionError` is added; without one, the first is raised.
    """
    found = [] if problems is None else problems
    layers = [inner for layer in _layers(model, found) for inner in _unfolded(layer, found)]
    if problems is None:
        raise_first(found)
    return layers


def _unfolded(layer, problems):
    return chain(layer, problems) if isinstance(layer, keras.Model) else [layer]


def _layers(model, problems):
    """The layers of one model, in order, or in any order if that is a problem."""
    if not isinstance(model, keras.Model):
        problems.append(
            ConversionError(
                f"Expected a Keras model, got {type(model).__name__}. "
                "Wrap a layer: keras.Sequential([keras.Input(shape), layer])."
            )
        )
        return [model] if isinstance(model, keras.Layer) else []
    if not model.built:
        problems.append(
            ConversionError(
                f"Model '{model.name}' has no weights yet: call it on data or give it a "
                "keras.Input first."
            )
        )
    elif is_a(model, Functional) and not isinstance(model, keras.Sequential):
        with noting(problems):
            return _functional_chain(model, problems)
    elif not is_a(model, keras.Sequential):
        problems.append(
            ConversionError(
                f"Model '{model.name}' is a subclass of keras.Model with a call of its own, whose "
                "order of layers cannot be read: build it as keras.Sequential or with the "
                "functional API."
            )
        )
    return model.layers


def _functional_chain(model, problems):
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
        if given.pop("mask", None) is not None:
            problems.append(
                ConversionError(
                    f"Layer '{operation.name}' is called with a mask, but the chip runs every "
                    "step: leave out Masking and pad with silence, which is zeros."
                )
            )
        if given or any(value is not None for value in call.arguments.args[1:]):
            problems.append(
                ConversionError(
                    f"Layer '{operation.name}' is called with more than its input "
                    f"({', '.join(given) or 'positional arguments'}): the exported network starts "
                    "each sample from zero and takes spikes only."
                )
            )
        tensors = keras.tree.flatten(call.arguments.args[:1]) or call.input_tensors
        if isinstance(operation, keras.layers.InputLayer):
            return layers[::-1]


def is_spiking(layer):
    """Whether a layer has a loop over time and is no readout."""
    return is_recurrent(layer) and not host_layers.is_readout(layer)


def is_recurrent(layer):
    """Whether a layer has a loop over time."""
    return isinstance(layer, keras.layers.RNN | keras.layers.Bidirectional)


def cells(layer, problems=None):
    """Pairs of a name and a cell, for each cell of a recurrent layer.

    Args:
        layer: The layer.
        problems: List to which each `ConversionError` is added; without one, the first is raised.
    """
    found = [] if problems is None else problems
    pairs = _cells(layer, found)
    if problems is None:
        raise_first(found)
    return pairs


def _cells(layer, problems):
    if isinstance(layer, keras.layers.Bidirectional):
        problems.append(
            ConversionError(
                f"Layer '{layer.name}' is bidirectional: its backward half needs the end of the "
                "sequence first, which a chip that gets one step at a time does not have. "
                "Use a forward layer."
            )
        )
        return []
    problems += host_layers.unsupported_options(layer)
    pairs = []
    stacked = isinstance(layer.cell, keras.layers.StackedRNNCells)
    for i, cell in enumerate(layer.cell.cells if stacked else [layer.cell]):
        name = f"{layer.name}/{i}" if stacked else layer.name
        known = is_a(layer, SpikingRNN, ConvRLIF2D, QuantizedRNN, keras.layers.RNN)
        if not known or cell_class(cell) is None:
            names = [cls.__name__ for cls in CELLS if not issubclass(cls, QuantizedCell)]
            problems.append(
                ConversionError(
                    f"Layer '{layer.name}' ({type(layer).__name__} over {type(cell).__name__}) has "
                    "no counterpart on the chip. What can be exported: "
                    f"{', '.join(name.removesuffix('Cell') for name in names)}, and "
                    f"keras.layers.RNN over {', '.join(names)}."
                    + " Export what keras_spiking_rnn.adaptive_lstm.convert makes of the model."
                    * isinstance(cell, AdaptiveAnalogLSTMCell)
                )
            )
        elif not cell.emits_spikes:
            problems.append(
                ConversionError(
                    f"Layer '{name}' has output_mode={cell.output_mode!r}: its outputs are "
                    "activations of membrane potentials, and the chip passes on spikes. Train it "
                    "with output_mode='spike'."
                )
            )
        else:
            pairs.append((name, cell))
    return pairs


def cell_class(cell):
    """The class in `CELLS` that a cell is of, or None.

    A subclass that does anything of its own, besides its construction, is something else.
    """
    constructs = {"build", "get_config", "from_config"}
    for cls in type(cell).__mro__:
        if cls in CELLS:
            return cls
        own = {name for name in vars(cls) if not name.startswith("__")} - constructs
        if any(hasattr(base, name) for base in cls.__bases__ for name in own):
            return None
    return None
