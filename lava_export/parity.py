"""Parity, stage by stage: Keras float, integer reference, Lava."""

from __future__ import annotations

import platform
import time
from contextlib import ExitStack
from importlib import metadata
from itertools import chain

import keras
import numpy as np

import keras_spiking_rnn
from keras_spiking_rnn.base import HALF
from lava_export import resources
from lava_export.convert import describe, input_shape_of
from lava_export.network import batches, check_data, check_labels, is_stream, labels_of
from lava_export.quantize import ConversionError
from lava_export.reference import recordable, weighted_inputs
from lava_export.report import Divergence, Example, FloatStage, LavaStage, ParityReport, Trace

CHUNK = 1 << 26  # values of all layers over time that a chunk of samples may have
MODES = ("stock", "batched")
AROUND = 10  # steps before and after the first divergence that are shown
COMPARED = 64  # samples on which the layers are compared with the whole model
# Of scores, relative to the largest, in float32 and in half precision.
TOLERANCE = (1e-4, 2e-2)


class ParityError(AssertionError):
    """Lava and the integer reference differ; `report` holds the whole `ParityReport`."""

    def __init__(self, message, report):
        super().__init__(message)
        self.report = report


def verify(model, network, x, y=None, samples_stock=20, modes=MODES, timeout=60.0, progress=False):
    """Compare a Keras model, its integer network and Lava on the same spikes.

    The model's own encoder turns `x` into spikes, once. On these are compared:

    1. the Keras layers in floating point and the integer reference: they differ by what
       quantization costs;
    2. the reference and Lava's own processes, on the first `samples_stock` samples: every spike
       of every layer and every final state must be equal;
    3. the reference and our batched Lava processes, on all samples: likewise.

    Args:
        model: The Keras model that `network` was exported from.
        network: The `Network`.
        x: Data as the model takes it, `(batch, ...)`; or a `tf.data.Dataset` or generator of such
            batches, or of pairs of them and labels, of which a part is in memory at a time. All
            batches have as many steps. The report is that of the same data in one array.
        y: Labels `(batch,)`, for the accuracies; optional. Those of a stream are in it.
        samples_stock: Number of samples for Lava's own processes, which run one at a time.
        modes: Which modes of Lava to run; `()` for none, where there is no Lava.
        timeout: Seconds without progress after which a Lava run is stopped.
        progress: Whether to show progress bars.

    Returns:
        A `ParityReport`. It prints as a table; `to_json` and `to_html` write it.

    Raises:
        ParityError: If Lava and the reference differ anywhere.
        ConversionError: If the model has no counterpart on the chip, or does more than its layers.
        ValueError: If the arguments do not fit each other.
        ImportError: If a mode of Lava is asked for where Lava cannot be imported.
    """
    modes = (modes,) if isinstance(modes, str) else tuple(modes)
    if set(modes) - set(MODES):
        raise ValueError(f"modes={modes!r}: the modes of Lava are 'stock' and 'batched'.")
    if samples_stock < 1:
        raise ValueError(f"samples_stock must be at least 1, got {samples_stock}.")
    if modes:
        import lava_export.lava  # noqa: F401  (says here, before any work, if there is no Lava)
    description = describe(model)
    _check_origin(description, network)
    checked = _checked(x, y, input_shape_of(model))
    x, y = next(checked)
    steps = network.encode(x[:1]).shape[1]
    stages = _Stages(description, network, steps, y)
    size = max(1, CHUNK // (steps * sum(map(sum, network.sizes))))
    start = 0
    with ExitStack() as stack:
        on_lava = {
            mode: stack.enter_context(network.on_lava("spikes", mode, timeout)) for mode in modes
        }
        for part, labels in _regrouped(chain([(x, y)], checked), size):
            floats = description.inputs(part)
            chunk = network.encode(part) if description.message_bits else floats
            reference = network.simulate(chunk, ("spikes",), progress=progress)
            stages.activity += resources.count(network, chunk, reference.states["spikes"])
            outputs = stages.compare_float(floats, chunk, reference, start, labels)
            if description.comparable:
                stages.compare_model(model, part, outputs)
            for mode in modes:
                count = len(chunk) if mode == "batched" else max(0, samples_stock - start)
                if count:
                    stages.compare_lava(
                        mode, on_lava[mode], chunk[:count], reference, labels, progress
                    )
            start += len(part)
    # One spike that the rounding of another order of operations changes is no other model.
    if stages.float.unlike_model > 0.1 * stages.float.compared:
        raise ConversionError(
            f"Model '{model.name}' gives other scores than its layers, called one after the other, "
            f"for {stages.float.unlike_model} of {stages.float.compared} samples: it does more, "
            "and that is not exported."
        )
    report = stages.report()
    different = [stage for stage in report.lava if not stage.equal]
    if different:
        raise ParityError(
            "Lava does not do what the integer reference does: "
            + "; ".join(
                f"mode {stage.mode}: {stage.spike_mismatches} spikes and "
                f"{stage.state_mismatches} final states differ"
                for stage in different
            ),
            report,
        )
    return report


def _checked(x, y, shape):
    """Yields `(x, y)` of an array, or of each batch of a stream, if they fit."""
    if is_stream(x) and y is not None:
        raise ValueError("y is given with an array only: the labels of a stream are in it, (x, y).")
    expected = None
    for part, labels in batches(x):
        part = check_data(part, shape, "x")
        labels = y if labels is None else labels
        labels = None if labels is None else check_labels(labels, len(part))
        found = part.shape[1:], labels is None
        expected = expected or found
        if found != expected:
            raise ValueError(
                "All batches must have samples of one shape, and either all or none have labels: "
                f"there are samples of {expected[0]} and of {found[0]}. Pad them to as many steps."
            )
        yield part, labels


def _regrouped(parts, size):
    """Yields the `(x, y)` of all parts in groups of `size` samples, the last one of fewer."""
    xs, ys, count = [], [], 0
    for x, y in parts:
        while count + len(x) >= size:
            taken = size - count
            xs.append(x[:taken])
            ys.append(None if y is None else y[:taken])
            yield _joined(xs), _joined(ys)
            x, y = x[taken:], None if y is None else y[taken:]
            xs, ys, count = [], [], 0
        if len(x):
            xs.append(x)
            ys.append(y)
            count += len(x)
    if xs:
        yield _joined(xs), _joined(ys)


def _joined(parts):
    if len(parts) == 1 or parts[0] is None:
        return parts[0]
    return np.concatenate(parts)


def _check_origin(description, network):
    expected = [(layer.inputs, layer.units) for layer in description.spiking]
    found = network.sizes
    if expected != found:
        raise ValueError(
            f"The network's layers have {found} (inputs, units), the model's {expected}: the "
            "network was exported from another model."
        )


class _Stages:
    """The stages of a report, filled chunk by chunk."""

    def __init__(self, description, network, steps, y):
        self.description = description
        self.network = network
        self.steps = steps
        self.scored = y is not None
        self.float = FloatStage(
            samples=0,
            slots=[0] * len(network.names),
            float_spikes=[0] * len(network.names),
            mismatches=[0] * len(network.names),
            wraps=[0] * len(network.names),
            saturations=[0] * len(network.names),
            pulses=[None] * len(network.names),
        )
        self.correct = {"float": 0, "integer": 0}
        self.squares = np.zeros(2)
        nothing = [resources.LayerActivity(0, 0, 0) for _ in network.names]
        self.activity = resources.Activity(0, steps, nothing)
        self.lava = {}
        self.example = None

    def compare_float(self, inputs, chunk, reference, start, labels):
        differs, fired, insides = [], [], []
        self.float.samples += len(chunk)
        for i in range(len(self.description.spiking)):
            traced = self.description.trace(i, inputs)
            inputs = traced["spikes"]
            fired.append(self.description.spiking[i].in_integers(inputs))
            insides.append(traced)
            differs.append(fired[i] != reference.states["spikes"][i])
            self.float.slots[i] += fired[i].size
            self.float.float_spikes[i] += int(np.count_nonzero(fired[i]))
            self.float.mismatches[i] += int(differs[i].sum())
            self._count_pulses(i, fired[i], reference.states["spikes"][i])
            self.float.wraps[i] += reference.wraps[i]
            self.float.saturations[i] += reference.saturations[i]
        first = min(filter(None, map(_first, range(len(differs)), differs)), default=None)
        if first and self.float.first is None:
            self.float.first = self._divergence(first, start, fired, reference, insides)
        if self.example is None or (first and self.example.first is None):
            self._keep_example(first, start, fired, reference)
            if first:
                self.example.trace = self._trace(first, chunk, insides)
        if not (self.scored or self.description.decodes):
            return inputs
        scores = self.description.scores(inputs, self.network)
        decoded = self.network.decode(reference.spikes)
        if self.scored:
            self.correct["float"] += _correct(scores, labels)
            self.correct["integer"] += _correct(decoded, labels)
        if self.description.decodes:
            self.squares += np.sum([(decoded - scores) ** 2, scores**2], axis=(1, 2))
            error, size = self.squares
            self.float.decoded_error = float(np.sqrt(error / max(size, 1e-300)))
        return inputs

    def _count_pulses(self, layer, *outputs):
        counts = [self.description.spiking[layer].pulses(each) for each in outputs]
        if None in counts:
            return
        counted = self.float.pulses[layer] or [0, 0]
        self.float.pulses[layer] = [a + b for a, b in zip(counted, counts, strict=True)]

    def compare_model(self, model, x, outputs):
        """Whether `outputs` of the last float layer lead to the scores of the model itself."""
        missing = COMPARED - self.float.compared
        if missing <= 0:
            return
        x, outputs = x[:missing], outputs[:missing]
        expected = keras.ops.convert_to_numpy(model(x, training=False)).astype(np.float64)
        if not self.description.head:
            expected = expected.sum(axis=1)
        scores = np.asarray(self.description.scores(outputs, self.network), np.float64)
        relative = max(
            TOLERANCE[model.compute_dtype in HALF],
            *(layer.jitter for layer in self.description.spiking),
        )
        tolerance = relative * np.abs(expected).max()
        differs = np.abs(scores - expected) > tolerance
        self.float.compared += len(x)
        self.float.unlike_model += int(differs.reshape(len(x), -1).any(axis=1).sum())

    def compare_lava(self, mode, simulate, spikes, reference, labels, progress):
        count = len(spikes)
        begun = time.perf_counter()
        run = simulate(spikes, progress)
        seconds = time.perf_counter() - begun
        layers = zip(self.network.names, self.network.pairs, strict=True)
        ours = [name for name, (_, units) in layers if mode == "batched" or not units.stock]
        stage = self.lava.setdefault(mode, LavaStage(mode, ours))
        stage.samples += count
        stage.seconds += seconds
        for i, fired in enumerate(run.states["spikes"]):
            expected = reference.states["spikes"][i][:count]
            stage.spikes_compared += expected.size
            stage.spike_mismatches += int(np.count_nonzero(fired != expected))
            for name, state in reference.final[i].items():
                expected = state[:count]
                stage.states_compared += expected.size
                stage.state_mismatches += int(np.count_nonzero(run.final[i][name] != expected))
        if self.scored:
            stage.correct += _correct(self.network.decode(run.spikes), labels[:count])

    def report(self):
        samples = self.float.samples
        if self.scored:
            self.float.float_accuracy = self.correct["float"] / samples
            self.float.integer_accuracy = self.correct["integer"] / samples
            for stage in self.lava.values():
                stage.accuracy = stage.correct / stage.samples
        return ParityReport(
            network=self.network.digest(),
            layers=list(self.network.names),
            samples=samples,
            steps=self.steps,
            float_stage=self.float,
            lava=list(self.lava.values()),
            versions=_versions(),
            example=self.example,
            resources=resources.estimate(self.network, self.activity),
        )

    def _divergence(self, first, start, fired, reference, insides):
        sample, step, layer, unit = first
        spec = self.description.spiking[layer]
        membrane, threshold, margin = spec.closeness(insides[layer], (sample, step, unit))
        return Divergence(
            sample=start + sample,
            step=step,
            layer=spec.name,
            unit=unit,
            keras_spike=int(fired[layer][sample, step, unit]),
            integer_spike=int(reference.states["spikes"][layer][sample, step, unit]),
            membrane=membrane,
            threshold=threshold,
            margin=margin,
        )

    def _keep_example(self, first, start, fired, reference):
        sample = first[0] if first else 0
        self.example = Example(
            sample=start + sample,
            first=first and (first[2], first[1], first[3]),
            keras=[layer[sample] for layer in fired],
            integer=[layer[sample] for layer in reference.states["spikes"]],
        )

    def _trace(self, first, chunk, insides):
        """The membranes around the first divergence, or None where there are none."""
        sample, step, layer, unit = first
        if self.network.quantization is None:
            return None
        spec, (_, units) = self.description.spiking[layer], self.network.pairs[layer]
        everything = recordable(self.network.pairs)
        states = self.network.simulate(chunk[sample : sample + 1], everything).states
        inside = {
            name: values[layer][0] for name, values in states.items() if values[layer] is not None
        }
        lines = states["spikes"][layer - 1][0] if layer else chunk[sample]
        inside["weighted"] = weighted_inputs(*self.network.pairs[layer], lines, inside)
        looked_at = spec.looks_at(insides[layer], (sample, step, unit))
        record = self.network.quantization.layers[layer]
        potential = spec.dequantized(units, inside, record, looked_at)
        begin, end = max(0, step - AROUND), min(step + AROUND + 1, len(potential))
        return Trace(
            begin,
            [
                spec.potential(insides[layer], (sample, t, unit), looked_at)
                for t in range(begin, end)
            ],
            potential[begin:end].tolist(),
            spec.closeness(insides[layer], (sample, step, unit))[1],
        )


def _first(layer, differs):
    """(sample, step, layer, unit) of the first difference, by sample and then by step."""
    where = np.argwhere(differs)
    if not len(where):
        return None
    sample, step, unit = (int(index) for index in where[0])
    return sample, step, layer, unit


def _correct(scores, labels):
    return int(np.count_nonzero(labels_of(scores) == labels))


def _versions():
    versions = {
        "keras-spiking-rnn": keras_spiking_rnn.__version__,
        "python": platform.python_version(),
    }
    for package in ("tensorflow", "keras", "numpy", "lava-nc"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
