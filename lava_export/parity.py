"""Parity, stage by stage: Keras float, integer reference, Lava."""

from __future__ import annotations

import platform
import time
from importlib import metadata

import keras
import numpy as np

import keras_spiking_rnn
from keras_spiking_rnn import metrics
from lava_export.convert import describe, input_shape_of
from lava_export.network import check_data, check_spikes, labels_of
from lava_export.report import Divergence, Example, FloatStage, LavaStage, ParityReport

CHUNK = 1 << 26  # values of all layers over time that a chunk of samples may have
MODES = ("stock", "batched")


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
        x: Data as the model takes it, `(batch, ...)`.
        y: Labels `(batch,)`, for the accuracies; optional.
        samples_stock: Number of samples for Lava's own processes, which run one at a time.
        modes: Which modes of Lava to run; `()` for none, where there is no Lava.
        timeout: Seconds without progress after which a Lava run is stopped.
        progress: Whether to show progress bars.

    Returns:
        A `ParityReport`. It prints as a table; `to_json` and `to_html` write it.

    Raises:
        ParityError: If Lava and the reference differ anywhere.
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
    x = check_data(x, input_shape_of(model), "x")
    if y is not None:
        y = np.asarray(y)
        if y.shape != (len(x),):
            raise ValueError(
                f"y must have the shape ({len(x)},), one label a sample, got {y.shape}."
            )
    steps = network.encode(x[:1]).shape[1]
    stages = _Stages(description, network, (len(x), steps), y)
    size = max(1, CHUNK // (steps * sum(d.inputs + d.units for d, _ in network.pairs)))
    for start in range(0, len(x), size):
        chunk = _encoded(description, x[start : start + size], network.inputs)
        labels = None if y is None else y[start : start + size]
        reference = network.simulate(chunk, ("spikes",), progress=progress)
        stages.compare_float(chunk, reference, start, labels)
        for mode in modes:
            count = len(chunk) if mode == "batched" else max(0, samples_stock - start)
            if count:
                stages.compare_lava(
                    mode, chunk[:count], reference, labels, timeout=timeout, progress=progress
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


def _check_origin(description, network):
    expected = [layer.kernel.shape[::-1] for layer in description.spiking]
    found = [dense.weights.shape for dense, _ in network.pairs]
    if expected != found:
        raise ValueError(
            f"The network's weights have the shapes {found}, the model's {expected}: the network "
            "was exported from another model."
        )


def _encoded(description, x, inputs):
    """The spikes that the model's own encoder makes of `x`."""
    for layer in description.encoder_layers:
        x = layer(x, training=False)
    return check_spikes(keras.ops.convert_to_numpy(x), inputs, "Encoded x")


class _Stages:
    """The stages of a report, filled chunk by chunk."""

    def __init__(self, description, network, shape, y):
        self.description = description
        self.network = network
        self.shape = shape
        self.scored = y is not None
        self.float = FloatStage(
            samples=shape[0],
            slots=[shape[0] * shape[1] * dense.units for dense, _ in network.pairs],
            float_spikes=[0] * len(network.names),
            mismatches=[0] * len(network.names),
            wraps=[0] * len(network.names),
            saturations=[0] * len(network.names),
        )
        self.correct = {"float": 0, "integer": 0}
        self.lava = {}
        self.example = None

    def compare_float(self, spikes, reference, start, labels):
        inputs, differs, fired, membranes = spikes, [], [], []
        for i, cell in enumerate(self.description.cells):
            layer = keras.layers.RNN(cell, return_sequences=True)
            traced = metrics.trace(layer, inputs)
            inputs = traced["spikes"]
            fired.append(inputs.astype(np.int8))
            membranes.append(traced["membrane"])
            differs.append(fired[i] != reference.states["spikes"][i])
            self.float.float_spikes[i] += int(fired[i].sum())
            self.float.mismatches[i] += int(differs[i].sum())
            self.float.wraps[i] += reference.wraps[i]
            self.float.saturations[i] += reference.saturations[i]
        first = min(filter(None, map(_first, range(len(differs)), differs)), default=None)
        if first and self.float.first is None:
            self.float.first = self._divergence(first, start, fired, membranes)
        if self.example is None or (first and self.example.first is None):
            self._keep_example(first, start, fired, reference)
        if self.scored:
            self.correct["float"] += _correct(self._float_scores(inputs), labels)
            self.correct["integer"] += _correct(self.network.decode(reference.spikes), labels)

    def compare_lava(self, mode, spikes, reference, labels, **options):
        count = len(spikes)
        begun = time.perf_counter()
        run = self.network.simulate(spikes, ("spikes",), backend="lava", mode=mode, **options)
        seconds = time.perf_counter() - begun
        stage = self.lava.setdefault(mode, LavaStage(mode))
        stage.samples += count
        stage.seconds += seconds
        for i, fired in enumerate(run.states["spikes"]):
            expected = reference.states["spikes"][i][:count]
            stage.spikes_compared += expected.size
            stage.spike_mismatches += int(np.count_nonzero(fired != expected))
            for name in ("final_u", "final_v"):
                expected = getattr(reference, name)[i][:count]
                stage.states_compared += expected.size
                stage.state_mismatches += int(np.count_nonzero(getattr(run, name)[i] != expected))
        if self.scored:
            stage.correct += _correct(self.network.decode(run.spikes), labels[:count])

    def report(self):
        samples = self.shape[0]
        if self.scored:
            self.float.float_accuracy = self.correct["float"] / samples
            self.float.integer_accuracy = self.correct["integer"] / samples
            for stage in self.lava.values():
                stage.accuracy = stage.correct / stage.samples
        return ParityReport(
            network=self.network.digest(),
            layers=list(self.network.names),
            samples=samples,
            steps=self.shape[1],
            float_stage=self.float,
            lava=list(self.lava.values()),
            versions=_versions(),
            example=self.example,
        )

    def _float_scores(self, spikes):
        scores = spikes if self.description.sequences else spikes[:, -1]
        for layer in self.description.head_layers:
            scores = layer(scores, training=False)
        scores = keras.ops.convert_to_numpy(scores)
        return scores if self.description.head else scores.sum(axis=1)

    def _divergence(self, first, start, fired, membranes):
        sample, step, layer, unit = first
        spec = self.description.spiking[layer]
        membrane = float(membranes[layer][sample, step, unit])
        threshold = float(spec.threshold[unit])
        return Divergence(
            sample=start + sample,
            step=step,
            layer=spec.name,
            unit=unit,
            keras_spike=int(fired[layer][sample, step, unit]),
            membrane=membrane,
            threshold=threshold,
            margin=(membrane - threshold) / float(threshold - spec.reset[unit]),
        )

    def _keep_example(self, first, start, fired, reference):
        sample = first[0] if first else 0
        self.example = Example(
            sample=start + sample,
            first=first and (first[2], first[1], first[3]),
            keras=[layer[sample] for layer in fired],
            integer=[layer[sample] for layer in reference.states["spikes"]],
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
