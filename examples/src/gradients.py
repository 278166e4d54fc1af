"""Figure 2 and section 4.4: the two changes of the gradient of SRC, on and off, with 5 layers.

    python -m examples.src.gradients --preset reduced   what two cores can do
    python -m examples.src.gradients --preset paper     the sizes of the paper, 5 networks each
    python -m examples.src.gradients --preset quick     a minute

The gradient passes the ReLU of the output everywhere, or only where there is a pulse; and it does
not flow back in time through h and h_s, or does. Writes the record `gradients-PRESET-SEED.json`.
"""

import numpy as np

from examples import experiment
from examples.data import IMAGE_SOURCES
from examples.src import networks
from examples.src.depth import PRESETS as DEPTH

VARIANTS = {
    "both": {},
    "no-bypass": {"bypass_relu": False},
    "no-detach": {"detach_h": False, "detach_h_s": False},
    "neither": {"bypass_relu": False, "detach_h": False, "detach_h_s": False},
}
TITLES = {
    "both": "both, as in the paper",
    "no-bypass": "gradient stopped by the ReLU",
    "no-detach": "gradient through h and h_s in time",
    "neither": "neither",
}
PUBLISHED = {
    "both": "98.39 %",
    "no-bypass": "does not learn",
    "no-detach": "learns, less well",
    "neither": "",
}
PRESETS = {
    "quick": {
        "layers": 2,
        "hidden": 20,
        "steps": 30,
        "train": 100,
        "test": 50,
        "epochs": 1,
        "batch_size": 20,
        "networks": 1,
    },
    # Two changes that networks of this depth need to learn in so few updates: see `depth`.
    "reduced": {**DEPTH["reduced"], "layers": 5, "networks": 2},
    "paper": {**networks.PAPER, "layers": 5, "epochs": 100, "networks": 5},
}


def summary(accuracies):
    """Mean and range of accuracies in percent."""
    mean = experiment.percent(np.mean(accuracies))
    if len(accuracies) == 1:
        return mean
    return f"{mean} ({100 * min(accuracies):.1f} to {100 * max(accuracies):.1f})"


def rows(numbers, layers, protocol):
    """The rows of the table of reproductions, one for each variant.

    Args:
        numbers: Dictionary from a variant to a list of what `networks.measured` gives.
        layers: Number of layers.
        protocol: What differs from the paper, in words.
    """
    return [
        {
            "paper": "004",
            "what": f"Gradients of SRC, {layers} layers: {TITLES[variant]}",
            "published": PUBLISHED[variant],
            "ours": summary([each["accuracy"] for each in found]),
            "beside": "",
            "protocol": protocol,
        }
        for variant, found in numbers.items()
    ]


def main(arguments=None):
    parser = experiment.parser(__doc__, "src/gradients", networks.PRESETS, IMAGE_SOURCES["mnist"])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    given = parser.parse_args(arguments)
    protocol = PRESETS[given.preset]
    config = {"source": given.source, "protocol": protocol}
    output = experiment.directory(given, "src/gradients", config)
    parts = networks.parts_of("mnist", protocol, given.source, given.data_dir, given.seed)
    numbers = {}
    for variant in given.variants:
        case = {"neuron": "src", "coding": "rate", "layers": protocol["layers"]}
        case |= VARIANTS[variant]
        numbers[variant] = []
        for seed in range(given.seed, given.seed + protocol["networks"]):
            print(f"{TITLES[variant]}, seed {seed}")
            _, found = networks.measured(parts, protocol, case, output, f"{variant}-{seed}", seed)
            numbers[variant].append(found)
            print(f"Test: {experiment.percent(found['accuracy'])}")
    experiment.record(
        "src.gradients",
        given,
        parser,
        name="gradients",
        config={**config, "variants": given.variants},
        seconds=sum(each["seconds"] for found in numbers.values() for each in found),
        numbers=numbers,
        rows=rows(
            numbers,
            protocol["layers"],
            networks.reduced(protocol, parts, PRESETS["paper"]["epochs"]),
        ),
    )


if __name__ == "__main__":
    main()
