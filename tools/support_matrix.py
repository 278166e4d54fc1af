"""What can be done with which layer, asked of the code: the table of docs/support.md.

    python -m tools.support_matrix

Replaces what is between the two lines that mark the table. With --print it only shows the table.
A tiny network of each layer is trained for one step, checked, exported and written to other
formats; whether its loop is compiled, and whether it can be trained in integers, is asked of the
layer and of the registry of `lava_export.quantization_aware`.
"""

import argparse
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

import lava_export
from examples import experiment
from keras_spiking_rnn import (
    LIF,
    LIFLSTM,
    RLIF,
    SRC,
    AdaptiveAnalogLSTM,
    AdaptiveSpikingNeuron,
    ConvRLIF2D,
    GatedLIF,
    SpikingLSTM,
    adaptive_lstm,
)
from lava_export import ConversionError, LossWarning
from lava_export.training import aware

PAGE = Path(__file__).parents[1] / "docs" / "support.md"
STEPS = 6
HEADINGS = (
    "Layer",
    "train",
    "fused",
    "export, exact",
    "export, approximate",
    "Lava's own units",
    "integers in training",
    "netx",
    "NIR",
)
YES, NO, LOSSY = "yes", "–", "lossy"


@dataclass(frozen=True)
class Row:
    """A layer to ask about.

    Args:
        title: What the table calls it.
        layer: The class.
        options: Its arguments besides the units.
        lattice: Arguments with which its integers may be exact.
        shape: Shape of a step of its inputs.
    """

    title: str
    layer: type
    options: dict
    lattice: dict
    shape: tuple = (5,)


WITHOUT_LEAK = {"leak_initializer": 1.0, "threshold": 1.0}
KEPT = {"membrane_decay_initializer": 1.0}
FIRING = {"kernel_initializer": keras.initializers.RandomUniform(0.0, 0.8, seed=0)}
ROWS = (
    Row("[`RLIF`](models/rlif.md)", RLIF, FIRING, WITHOUT_LEAK),
    Row("[`ConvRLIF2D`](models/conv_rlif2d.md)", ConvRLIF2D, FIRING, WITHOUT_LEAK, (4, 4, 2)),
    Row("[`LIFLSTM`](models/lif_lstm.md)", LIFLSTM, {**FIRING, "threshold": 0.1}, {}),
    Row("[`LIF`](models/lif.md), spikes", LIF, FIRING, {**KEPT, "current_decay_initializer": 1.0}),
    Row(
        "`LIF(bits=6)`",
        LIF,
        {**FIRING, "bits": 6, "threshold_ratio": 8},
        {**KEPT, "current_decay_initializer": 1.0},
    ),
    Row("[`GatedLIF`](models/lif.md), version 1", GatedLIF, FIRING, KEPT),
    Row("`GatedLIF(recurrent_gates=True)`", GatedLIF, {**FIRING, "recurrent_gates": True}, KEPT),
    Row("[`SpikingLSTM`](models/spiking_lstm.md)", SpikingLSTM, FIRING, {}),
    Row("[`SRC`](models/src.md)", SRC, {"bias_initializer": -4.0, **FIRING}, {}),
    Row("[`AdaptiveAnalogLSTM`](models/adaptive_lstm.md)", AdaptiveAnalogLSTM, {}, {}),
)


def model_of(row, lattice=False):
    """A network of nothing but a tiny layer; with `lattice`, of weights that are quarters."""
    options = {**row.options, **(row.lattice if lattice else {})}
    size = {"filters": 2, "kernel_size": 2} if row.layer is ConvRLIF2D else {"units": 3}
    layer = row.layer(**size, return_sequences=True, name="layer", **options)
    model = keras.Sequential([keras.Input((STEPS, *row.shape)), layer])
    if lattice:
        quarters = np.random.default_rng(1)
        for weight in layer.weights:
            if weight.name in ("kernel", "recurrent_kernel"):
                weight.assign(quarters.integers(-4, 5, weight.shape) / 4)
    return model


def inputs_of(row):
    """Random spikes, `(batch, steps, ...)`."""
    random = np.random.default_rng(0).random((8, STEPS, *row.shape))
    return (random < 0.5).astype("float32")


def learns(row):
    """Whether a step of training changes each trainable matrix of weights."""
    model, x = model_of(row), inputs_of(row)
    model.layers[0].fused = False  # Compiling takes longer than the step.
    model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    before = [weight.numpy() for weight in model.trainable_weights if weight.name == "kernel"]
    model.train_on_batch(x, np.ones(model.compute_output_shape(x.shape), "float32"))
    after = [weight.numpy() for weight in model.trainable_weights if weight.name == "kernel"]
    return all((a != b).any() for a, b in zip(before, after, strict=True))


def is_fused(row):
    """Whether the layer runs its compiled loop on a batch of sequences in training."""
    return bool(model_of(row).layers[0].is_fused(inputs_of(row), None, True))


def exportable(row, lattice=False):
    """What `export` takes: the model, or the spiking network that it becomes."""
    model = model_of(row, lattice)
    if row.layer is not AdaptiveAnalogLSTM:
        return model
    neuron = AdaptiveSpikingNeuron(stochastic=False)
    return adaptive_lstm.convert(model, neuron, time_window=20e-3, tolerance=np.inf)


def network_of(row):
    """The integer network, or None if there is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return lava_export.export(exportable(row), calibration=inputs_of(row))
    except ConversionError:
        return None


def is_exact(row):
    """Whether `check` calls the layer exact, with weights and decays that integers can hold."""
    checked = lava_export.check(exportable(row, lattice=True), calibration=inputs_of(row))
    return checked.ok and all(layer.exact is True for layer in checked.layers if layer.place)


def written(write, *arguments):
    """Whether a network can be written to another format, and whether that loses something."""
    for allow_lossy, answer in ((False, YES), (True, LOSSY)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", LossWarning)
                write(*arguments, allow_lossy=allow_lossy)
        except ConversionError:
            continue
        return answer
    return NO


def row_of(row):
    """The cells of a row of the table."""
    network = network_of(row)
    answers = [learns(row), is_fused(row), is_exact(row), network is not None]
    answers.append(network is not None and all(units.stock for _, units in network.pairs))
    answers.append(row.layer.cell_class in aware.QUANTIZED)
    cells = [YES if answer else NO for answer in answers]
    with tempfile.TemporaryDirectory() as folder:
        for write, path in (("to_netx", f"{folder}/net"), ("to_nir", f"{folder}/nir")):
            cells.append(NO if network is None else written(getattr(network, write), path))
    return row.title, *cells


def table(rows=ROWS):
    """The Markdown table."""
    lines = [HEADINGS, ("---",) * len(HEADINGS), *map(row_of, rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main(arguments=None):
    """Writes the table into the page, or shows it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--print", action="store_true", help="show the table, write nothing")
    given = parser.parse_args(arguments)
    if given.print:
        print(table())
    else:
        experiment.between_marks(given.page, table())


if __name__ == "__main__":
    main()
