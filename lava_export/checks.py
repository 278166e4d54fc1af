"""What would become of a Keras model on the chip, told before it is trained."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

import numpy as np
from rich.table import Table

from keras_spiking_rnn.adaptive_lstm import AdaptiveSpikingLSTM
from lava_export import adaptive_lstm, convert, files, overflow
from lava_export.network import check_data, check_spikes
from lava_export.quantize.base import noting
from lava_export.report import render

# Random inputs for a layer whose real ones are not known: samples, steps, spikes per step.
SAMPLES, STEPS, RATE = 8, 32, 0.2


@dataclass
class LayerCheck:
    """What becomes of one layer.

    Args:
        name: Name of the Keras layer, or of one of its cells.
        kind: Its class.
        place: "chip"; "host"; "folded", for a layer whose weights become part of the next one's;
            "training", for one that does nothing at inference; empty if that is not known.
        becomes: Synapses and units, or operations on the host.
        exact: Whether that computes what Keras does, whatever the input, but for the rounding of
            float32, in as many steps as the data has; None if that cannot be told.
        exact_steps: If it is exact, the number of steps for which it is: in more, some inputs
            overflow 24 bits. None for any number.
        losses: What is lost.
        advice: What to change to lose less.
        problems: Why the layer cannot be exported, and what to change.
        quantization: What the quantizer says of the layer, as `LayerQuantization`, on the
            calibration data or on random spikes; None for layers that are not on the chip.
    """

    name: str
    kind: str
    place: str = ""
    becomes: str = ""
    exact: bool | None = None
    exact_steps: int | None = None
    losses: list = field(default_factory=list)
    advice: list = field(default_factory=list)
    problems: list = field(default_factory=list)
    quantization: dict | None = None


@dataclass
class CheckReport:
    """What `check` found; it prints as a table.

    Args:
        model: Name of the model.
        samples: Number of calibration samples; None if there were none.
        layers: A `LayerCheck` for each layer, in the order of the model.
        problems: Problems of the model as a whole.
    """

    model: str
    samples: int | None
    layers: list
    problems: list

    @property
    def ok(self):
        """Whether the model can be exported."""
        return not self.errors

    @property
    def errors(self):
        """All problems, of the model and of its layers; `export` raises the first."""
        return self.problems + [text for layer in self.layers for text in layer.problems]

    def to_dict(self):
        """Plain dictionaries, lists and numbers."""
        return {"ok": self.ok, **asdict(self)}

    def to_json(self, path, overwrite=False):
        """Write `to_dict()` to a JSON file.

        Raises:
            OSError: If the file exists and `overwrite` is false, or it cannot be written.
        """
        files.write_text(path, json.dumps(self.to_dict(), indent=2) + "\n", overwrite)

    def table(self):
        """A rich table with a row for each layer."""
        table = Table(title=f"What becomes of '{self.model}'", show_lines=True)
        for heading, width in (("layer", 24), ("where", 8), ("becomes", 28), ("exact", 5)):
            table.add_column(heading, max_width=width, overflow="fold")
        table.add_column("what is lost")
        for layer in self.layers:
            lost = layer.losses + layer.advice
            if layer.problems:
                place, exact, lost = "refused", "", ["see below"]
            else:
                place = PLACES[layer.place]
                exact = {True: "yes", False: "no", None: "?"}[layer.exact] if layer.place else ""
                if layer.exact_steps is not None:
                    exact += f", for {layer.exact_steps} steps"
            table.add_row(
                f"{layer.name}\n({layer.kind})",
                place,
                layer.becomes,
                exact,
                "\n".join(lost),
            )
        return table

    def __str__(self):
        return render(*self._lines())

    def _lines(self):
        errors = self.errors
        if not errors:
            verdict = "It can be exported."
        else:
            count = "1 problem" if len(errors) == 1 else f"{len(errors)} problems"
            verdict = f"It cannot be exported: {count}."
        lines = [self.table()] if self.layers else []
        lines += [f"{i}. {text}" for i, text in enumerate(errors, start=1)]
        if self.samples is not None:
            verdict += f" Losses are those on {self.samples:,} calibration samples."
        elif any(layer.quantization for layer in self.layers):
            verdict += " Losses are estimates on random spikes"
            verdict += "." if errors else ": pass calibration data for real ones."
        return [*lines, verdict]


PLACES = {"chip": "chip", "host": "host", "folded": "chip", "training": "-", "": ""}


def check(model, calibration=None, leak_groups=None):
    """What would become of a model on the chip: know it before you train.

    It lists, layer by layer, what `export` would make of the model, what that would lose, and all
    reasons for which it would refuse it. The weights may be untrained; the losses are those of the
    quantizer, with the weights that there are.

    Args:
        model: A `keras.Model`, best with a `keras.Input` or called once, so that it has weights;
            or an `AdaptiveSpikingLSTM`.
        calibration: A sample of what the model takes, as for `export`. Without it the losses are
            estimated on random spikes, and the changed spikes are not told.
        leak_groups: As for `export`.

    Returns:
        A `CheckReport`, with `ok`, `errors`, `to_dict` and `to_json`; it prints as a table.

    Raises:
        TypeError: If the calibration data is not an array of numbers.
        ValueError: If the calibration data does not fit the model, or `leak_groups` is not a
            positive integer.
    """
    convert.check_leak_groups(leak_groups)
    spikes = None
    if isinstance(model, AdaptiveSpikingLSTM):
        description, spikes = _adaptive(model, calibration)
    else:
        description = convert.read(model)
        # Where the model is no chain, it is not known which layer gets the data.
        usable = not description.problems and getattr(model, "inputs", None)
        if calibration is not None and usable:
            spikes = _encoded(description, calibration, convert.input_shape_of(model))
    layers = []
    known = spikes is not None
    for part in description.parts:
        checks, spikes = _checked(part, spikes, known, leak_groups)
        layers += checks
    return CheckReport(
        model=getattr(model, "name", type(model).__name__),
        samples=len(calibration) if known else None,
        layers=layers,
        problems=[str(error) for error in description.problems],
    )


def _adaptive(network, calibration):
    """As `convert.read`, for the network of `adaptive_lstm.convert`, and what its neurons get."""
    description, messages = convert.Description(), None
    with noting(description.problems):
        found = adaptive_lstm.describe(network)
        if calibration is not None:
            messages = check_data(calibration, convert.input_shape_of(network), "calibration")
            found = found.calibrated(messages)
            for operation in found.encoder:
                messages = operation(messages)
        description.parts = [
            convert.Part(network, "chip", spiking=found.spiking),
            *(convert.Part(operation, "host", [operation]) for operation in found.head),
        ]
    return description, messages


def _encoded(description, calibration, shape):
    """What the first spiking layer gets, or None if the layers before it cannot be exported."""
    encoded = check_data(calibration, shape, "calibration")
    before = [part for part in description.parts if part.layer in description.encoder_layers]
    if not description.spiking or any(part.problems for part in before):
        return None
    for operation in description.encoder:
        encoded = operation(encoded)
    return check_spikes(
        encoded, description.spiking[0].inputs, convert.source_of(description, "calibration")
    )


def _checked(part, spikes, known, leak_groups):
    """A `LayerCheck` for a layer or for each of its cells, and the outputs."""
    problems = [str(error) for error in part.problems]
    kind = type(part.layer).__name__
    if not part.spiking:
        name = getattr(part.layer, "name", "head")
        result = LayerCheck(name, kind, part.place, problems=problems)
        if problems:
            return [result], spikes
        if part.place == "training":
            result.exact, result.becomes = True, "nothing"
        elif part.place == "folded":
            result.exact, result.becomes = True, "weights of the next layer"
        elif part.place == "host" and (part.operations or part.layer.built):
            result.becomes = _names(part.operations) or "nothing"
            result.losses = [operation.loss for operation in part.operations if operation.loss]
            result.exact = not result.losses
        return [result], spikes
    results = []
    for described in part.spiking:
        result = LayerCheck(described.name, kind, part.place, problems=problems)
        problems = []
        found = []
        with noting(found):
            if spikes is None or spikes.shape[-1] != described.inputs:
                spikes = _random_spikes(described)
            spikes = _quantize(described, spikes, known, leak_groups, result)
        if found:
            result.problems += [str(error) for error in found]
            spikes = None
        results.append(result)
    if part.operations:
        results[-1].becomes += f", then {_names(part.operations)} on the host"
    return results, spikes


def _names(operations):
    return ", ".join(type(operation).__name__ for operation in operations)


def _size(described):
    inputs, outputs = (
        "x".join(map(str, shape)) for shape in (described.input_shape, described.output_shape)
    )
    return f"{inputs} to {outputs}" if "x" in inputs + outputs else f"{inputs}x{outputs}"


def _random_spikes(described):
    shape = (SAMPLES, max(STEPS, getattr(described, "window", 0)), described.inputs)
    return (np.random.default_rng(0).random(shape) < RATE).astype(np.int8)


def _quantize(described, spikes, known, leak_groups, result):
    """Fill in what the quantizer makes of a layer; returns the float layer's outputs."""
    synapses, units, record, outputs = described.quantize(spikes, leak_groups)
    result.quantization = asdict(record)
    result.becomes = f"{type(synapses).__name__} {_size(described)}, {type(units).__name__}" + (
        "" if units.stock else " (our process)"
    )
    approximations = described.approximations(units, record)
    losses = result.losses
    if record.weight_error:
        losses.append(
            f"weights {record.weight_error:.2%} (root mean square), those of unit "
            f"{record.worst_unit} {record.worst_unit_error:.2%}"
        )
    if record.clipped_weights:
        losses.append(f"{record.clipped_weights} weights are clipped to 8 bits")
    if record.leak_error:
        losses.append(f"leaks up to {record.leak_error:.2g}")
    losses += approximations or []
    if record.headroom < 1:
        begins = f"from step {record.safe_steps + 1} on" if record.safe_steps else "in any step"
        losses.append(f"some inputs overflow 24 bits, {begins}")
    if known:
        if record.wraps or record.saturations:
            losses.append(f"{record.wraps} currents wrap, {record.saturations} states saturate")
        if record.decoded_error is not None:
            losses.append(f"decoded outputs {record.decoded_error:.2%} (root mean square)")
        elif record.mismatches:
            losses.append(f"{record.spike_loss:.2%} of the spikes change")
    texts = record.advice(on_data=known), overflow.advice(record)
    result.advice += [text for text in texts if text]
    result.exact = None if approximations is None and not losses else not losses
    if result.exact:
        result.exact_steps = record.safe_steps
    return outputs
