"""A classifier of two layers of ConvRLIF2D onto the chip: trained on in integers, run on Lava.

    python -m examples.rlif.chip --preset reduced   what two cores can do
    python -m examples.rlif.chip --preset quick     a minute

Its inputs are frames of synthetic events of real digits, which are spikes. Writes the record
`chip-PRESET-SEED.json` and, beside it, a page about the network.
"""

import time

import numpy as np

from examples import experiment
from examples.on_chip import deploy, page_of, require
from examples.rlif import cameras, images, networks

DATASET = "mnist"
# `more` epochs in integers with the learning rate `RATE`, `lava` samples on Lava.
PRESETS = {
    "reduced": {**images.REDUCED, "filters": [8, 16], "epochs": 8, "more": 2, "lava": 100},
    "paper": {**images.REDUCED, "more": 5, "lava": 1000},
    "quick": {**images.OTHERWISE["quick"], "more": 1, "lava": 2},
}
RATE = 3e-4


def rows(found, differences):
    """The row of the table of reproductions, of what `examples.on_chip.deploy` gives."""
    aware = f"trained on in integers {experiment.percent(found['aware'])}"
    return [
        {
            "paper": "000",
            "what": f"On the chip: {cameras.TITLES[DATASET]}, ConvRLIF2D",
            "published": "",
            "ours": f"integers {experiment.percent(found['integers'])}, "
            f"Lava {experiment.percent(found['lava'])} of {found['lava_samples']} "
            f"({found['mismatches']} mismatches)",
            "beside": f"float {experiment.percent(found['float'])}, exported at once "
            f"{experiment.percent(found['exported'])}, {aware}; "
            f"{found['spikes']:,.0f} spikes an inference",
            "protocol": differences,
            "report": found["report"],
        }
    ]


def main(arguments=None):
    parser = experiment.parser(__doc__, "rlif/chip", PRESETS, images.SOURCES)
    given = parser.parse_args(arguments)
    require()
    protocol = PRESETS[given.preset]
    config = {"dataset": DATASET, "source": given.source, "protocol": protocol}
    output = experiment.directory(given, "rlif/chip", config)
    parts = cameras.parts_of(
        DATASET, protocol, output, given.source, given.data_dir, seed=given.seed
    )
    (x, y), _, (x_test, y_test) = parts
    model, trained = networks.measured(
        parts, protocol, "conv-rlif", cameras.CLASSES[DATASET], output, "conv-rlif", given.seed
    )
    started = time.perf_counter()

    def fine_tune(aware):
        networks.compile_for(aware, len(x), protocol["more"], RATE)
        experiment.train(aware, x, y, output, "aware", protocol["more"], networks.BATCH, given.seed)

    found = deploy(
        model,
        np.asarray(x[:256]),
        np.asarray(x_test),
        y_test,
        fine_tune=fine_tune,
        lava_samples=protocol["lava"],
        report=page_of("rlif.chip", "chip", given),
    )
    print(found)
    experiment.record(
        "rlif.chip",
        given,
        parser,
        name="chip",
        config={**config, "synthetic": True},
        seconds=trained["seconds"] + time.perf_counter() - started,
        numbers=found,
        rows=rows(found, networks.differences(protocol, parts)),
    )


if __name__ == "__main__":
    main()
