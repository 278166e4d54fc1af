"""What makes a spiking LSTM train: the library's defaults with one thing changed at a time.

    python -m examples.spiking_lstm.ablation
    python -m examples.spiking_lstm.ablation --table

Trains on the digits of `images`. With --table it puts the record into docs/models/spiking_lstm.md,
and trains nothing.
"""

import time
from pathlib import Path

import keras
import numpy as np

from examples import data, experiment
from examples.spiking_lstm import images
from keras_spiking_rnn.spiking_lstm import PAPER
from keras_spiking_rnn.surrogates import Gaussian

NAME = "spiking_lstm/ablation"
RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[2] / "docs" / "models" / "spiking_lstm.md"
PRESETS = {
    "reduced": {"train": None, "test": None, "units": 100, "batch": 64, "epochs": 6},
    "paper": {"train": None, "test": None, "units": 1000, "batch": 100, "epochs": 200},
    "quick": {"train": 300, "test": 100, "units": 16, "batch": 50, "epochs": 2},
}
DRAWS = 2
RATE = images.RATES["SpikingLSTM"]
DEFAULTS = "the defaults"
# The arguments of `SpikingLSTM` that differ, and those of `images.prepare`.
CHANGES = {
    DEFAULTS: ({}, {}),
    "section 4.1 of the paper: `**PAPER`": (PAPER, {}),
    "its initializers, normal of variance 1": (
        {key: PAPER[key] for key in ("kernel_initializer", "recurrent_initializer")},
        {},
    ),
    "`cell_surrogate=None`, equation (4)": ({"cell_surrogate": None}, {}),
    "`cell_surrogate=Gaussian(4.0)`": ({"cell_surrogate": Gaussian(4.0)}, {}),
    "`two_sided=True`, equation (2)": ({"two_sided": True}, {}),
    "`gamma=0`": ({"gamma": 0.0}, {}),
    "readout of the last row": ({"return_sequences": False}, {}),
    f"learning rate {RATE / 30:g}, the paper's": ({}, {"rate": RATE / 30}),
}


def run(config, parts, output):
    """Trains a network for each change: dictionary from its name to what was measured."""
    (x, y), (x_test, y_test) = parts
    found = {}
    for number, name in enumerate(config["changes"]):
        options, training = CHANGES[name]
        keras.utils.set_random_seed(config["seed"])
        layer = images.recurrent("SpikingLSTM", config["units"], config["seed"], **options)
        model = images.build(layer, 10, config["seed"])
        images.prepare(
            model, len(x), config["epochs"], config["batch"], **{"rate": RATE, **training}
        )
        history = experiment.train(
            model, x, y, output, str(number), config["epochs"], config["batch"], config["seed"]
        )
        accuracy = float(np.mean(images.accuracies(model, x_test, y_test, DRAWS)))
        found[name] = {
            "accuracy": accuracy,
            "training_accuracy": history["accuracy"],
            "seconds": sum(history["seconds"]),
        }
        print(f"{name}: {accuracy:.1%}")
    return found


def table(record):
    """The Markdown table of a record."""
    lines = ["| Changed | Accuracy on the test | Difference |", "|---|---:|---:|"]
    numbers = record["numbers"]
    for name, each in numbers.items():
        difference = 100 * (each["accuracy"] - numbers[DEFAULTS]["accuracy"])
        shown = "" if name == DEFAULTS else f"{difference:+.1f}"
        lines.append(f"| {name} | {100 * each['accuracy']:.1f} % | {shown} |")
    config = record["config"]
    lines += [
        "",
        f"{config['train']} digits to train on and {config['test']} to test on, "
        f"{config['units']} units, {config['epochs']} epochs, seed {record['seed']}; "
        f"`{record['command']}`, {record['seconds'] / 60:.0f} minutes.",
    ]
    return "\n".join(lines)


def main(arguments=None):
    parser = experiment.parser(__doc__, NAME, PRESETS, data.IMAGE_SOURCES["mnist"])
    parser.add_argument("--table", action="store_true", help="only write the table of the page")
    parser.add_argument("--page", type=Path, default=PAGE, help="where to write it")
    given = parser.parse_args(arguments)
    if given.table:
        folder = given.results or RESULTS
        records = experiment.chosen(folder, given.preset, given.seed)
        if "ablation" not in records:
            parser.error(f"{folder} has no record of this preset and seed. Run it without --table.")
        experiment.between_marks(given.page, table(records["ablation"]))
        return
    preset = PRESETS[given.preset]
    parts = data.images("mnist", given.source, given.data_dir, given.seed)
    parts = [
        data.subset(part, preset[each], given.seed)
        for part, each in zip(parts, ("train", "test"), strict=True)
    ]
    changes = list(CHANGES)[: 2 if given.preset == "quick" else None]
    config = {
        **preset,
        "changes": changes,
        "train": len(parts[0][0]),
        "test": len(parts[1][0]),
        "rate": RATE,
        "draws": DRAWS,
        "seed": given.seed,
    }
    output = experiment.directory(given, NAME, config)
    started = time.perf_counter()
    found = run(config, parts, output)
    experiment.record(
        "spiking_lstm.ablation",
        given,
        parser,
        name="ablation",
        config=config,
        seconds=sum(each["seconds"] for each in found.values()),
        numbers=found,
        rows=[],
    )
    print(f"{time.perf_counter() - started:.0f} seconds.")


if __name__ == "__main__":
    main()
