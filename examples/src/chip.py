"""A network of SRC onto the chip, and one of LIF: trained on in integers, exported, run on Lava.

    python -m examples.src.chip --preset reduced   what two cores can do
    python -m examples.src.chip --preset paper     the sizes of the paper
    python -m examples.src.chip --preset quick     a minute
    python -m examples.src.chip --dataset fashion --coding latency
    python -m examples.src.chip --dataset nmnist   synthetic events, or tonic's

Digits in rate code, if nothing else is said. Writes the record
`chip-DATASET-CODING-PRESET-SEED.json` and, beside it, a page about each network, whose name ends in
`-src.html` or `-lif.html`.
"""

import argparse
import time
from pathlib import Path

from examples import experiment
from examples.on_chip import deploy, page_of, require
from examples.src import images, networks

# `more` epochs in integers with the learning rate `rate`, `lava` samples on Lava.
PRESETS = {
    "quick": {
        "layers": 1,
        "hidden": 0,
        "steps": 20,
        "train": 100,
        "test": 40,
        "epochs": 1,
        "more": 1,
        "batch_size": 20,
        "lava": 4,
    },
    "reduced": {
        "layers": 2,
        "hidden": 64,
        "steps": 50,
        "train": 1500,
        "test": 300,
        "epochs": 5,
        "more": 2,
        "batch_size": 32,
        "lava": 100,
    },
    "paper": {**networks.PAPER, "layers": 3, "epochs": 100, "more": 5, "lava": 1000},
}
RATE = 5e-4


def rows(title, numbers, protocol):
    """The rows of the table of reproductions, one for each network.

    Args:
        title: The data set, and how it is coded.
        numbers: Dictionary from a neuron to what `examples.on_chip.deploy` gives.
        protocol: What differs from the paper, in words.
    """
    return [
        {
            "paper": "004",
            "what": f"On the chip: {title}, {networks.TITLES[neuron]}",
            "published": "",
            "ours": f"integers {experiment.percent(found['integers'])}, "
            f"Lava {experiment.percent(found['lava'])} of {found['lava_samples']} "
            f"({found['mismatches']} mismatches)",
            "beside": f"float {experiment.percent(found['float'])}, "
            f"exported at once {experiment.percent(found['exported'])}; "
            f"{found['spikes']:,.0f} spikes an inference",
            "protocol": protocol,
            "report": found["report"],
        }
        for neuron, found in numbers.items()
    ]


def main(arguments=None):
    parser = experiment.parser(__doc__, "src/chip", networks.PRESETS, images.SOURCES)
    parser.add_argument("--dataset", choices=images.CODINGS, default="mnist")
    parser.add_argument("--coding", choices=networks.ALPHA, help="rate, latency")
    parser.add_argument("--neurons", nargs="+", choices=("src", "lif"), default=["src", "lif"])
    given = parser.parse_args(arguments)
    require()
    dataset, coding = given.dataset, given.coding or images.CODINGS[given.dataset][0]
    if coding not in images.CODINGS[dataset]:
        parser.error(f"{dataset} has the codings {', '.join(images.CODINGS[dataset])}.")
    protocol = PRESETS[given.preset]
    config = {
        "dataset": dataset,
        "coding": coding,
        "source": given.source,
        "protocol": protocol,
    }
    place = given.output or Path("runs/src/chip")
    under = argparse.Namespace(**{**vars(given), "output": place / f"{dataset}-{coding}"})
    output = experiment.directory(under, "src/chip", config)
    parts = networks.parts_of(dataset, protocol, given.source, given.data_dir, given.seed)
    (x, y), _, (x_test, y_test) = parts
    numbers, seconds = {}, 0.0
    for neuron in given.neurons:
        print(f"{protocol['layers']} layers of {networks.TITLES[neuron]}")
        case = {"neuron": neuron, "coding": coding, "layers": protocol["layers"]}
        model, found = networks.measured(parts, protocol, case, output, neuron, given.seed)
        started = time.perf_counter()

        def fine_tune(aware, neuron=neuron):
            networks.compile_for(aware, len(x), {**protocol, "epochs": protocol["more"]}, RATE)
            experiment.train(
                aware,
                x,
                y,
                output,
                f"{neuron}-aware",
                protocol["more"],
                protocol["batch_size"],
                given.seed,
            )

        numbers[neuron] = deploy(
            model,
            x[:256],
            x_test[:],
            y_test,
            fine_tune=fine_tune,
            lava_samples=protocol["lava"],
            report=page_of("src.chip", f"chip-{dataset}-{coding}", given, neuron),
        )
        seconds += found["seconds"] + time.perf_counter() - started
        print(numbers[neuron])
    differences = networks.reduced(protocol, parts, images.PRESETS["paper"][dataset]["epochs"])
    differences = f"{protocol['layers']} layers, {differences}"
    if dataset == "nmnist" and given.source != "tonic":
        differences = f"synthetic events of a simulated camera; {differences}"
    title = networks.TITLES[dataset] + ("" if coding == "events" else f", {coding} code")
    experiment.record(
        f"src.chip, {dataset}, {coding}",
        given,
        parser,
        name=f"chip-{dataset}-{coding}",
        config={**config, "neurons": given.neurons},
        seconds=seconds,
        numbers=numbers,
        rows=rows(title, numbers, differences),
    )


if __name__ == "__main__":
    main()
