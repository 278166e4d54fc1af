"""How accuracy depends on the number of frames T and on the events in the window of a frame.

    python -m examples.rlif.windows --preset reduced   what two cores can do
    python -m examples.rlif.windows --preset quick     a minute

The paper states neither. Three series of networks, on synthetic events of real digits: more frames
of one size of window, which are more events too; windows of other sizes, for one number of frames;
and the same events cut into more frames. Writes the record `windows-PRESET-SEED.json`.
"""

from examples import experiment
from examples.rlif import cameras, images, networks

DATASET = "mnist"
# Events in a window and number of frames.
REDUCED = {
    "more frames": [[500, 1], [500, 2], [500, 4], [500, 8]],
    "larger windows": [[125, 8], [250, 8], [500, 8], [1000, 8]],
    "cut finer": [[8000, 1], [2000, 4], [1000, 8]],
}
PRESETS = {
    "reduced": {
        **images.REDUCED,
        "filters": [8, 16],
        "train": 2000,
        "test": 500,
        "epochs": 8,
        "series": REDUCED,
    },
    "paper": {**images.REDUCED, "series": REDUCED},
    "quick": {
        **images.OTHERWISE["quick"],
        "series": {"more frames": [[500, 1], [500, 2]], "cut finer": [[1000, 1], [500, 2]]},
    },
}


def rows(numbers, protocol, differences):
    """The rows of the table of reproductions, one for each series."""
    return [
        {
            "paper": "000",
            "what": f"{cameras.TITLES[DATASET]}: {series}",
            "published": "",
            "ours": ", ".join(
                f"T = {steps} of {count}: "
                f"{experiment.percent(numbers[f'{count} x {steps}']['accuracy'])}"
                for count, steps in pairs
            ),
            "beside": "",
            "protocol": differences,
        }
        for series, pairs in protocol["series"].items()
    ]


def main(arguments=None):
    parser = experiment.parser(__doc__, "rlif/windows", PRESETS, images.SOURCES)
    given = parser.parse_args(arguments)
    protocol = PRESETS[given.preset]
    config = {"dataset": DATASET, "source": given.source, "protocol": protocol}
    output = experiment.directory(given, "rlif/windows", config)
    both = cameras.recordings(DATASET, protocol, given.source, given.data_dir, seed=given.seed)
    # Simulated once for all.
    both = [cameras.Held(part) for part in both]
    numbers = {}
    for count, steps in sorted(
        {tuple(pair) for each in protocol["series"].values() for pair in each}
    ):
        train, test = (cameras.framed(part, count, steps) for part in both)
        name = f"{count} x {steps}"
        numbers[name] = networks.measured(
            (*cameras.validated(train), test),
            protocol,
            "conv-rlif",
            cameras.CLASSES[DATASET],
            output,
            name.replace(" ", ""),
            given.seed,
        )[1]
        print(f"{steps} frames of {count} events: {experiment.percent(numbers[name]['accuracy'])}")
    differences = (
        f"{len(both[0])} recordings, {len(both[1])} to test, 34 x 34 pixels (paper 128 x 128), "
        f"{' and '.join(map(str, protocol['filters']))} filters, {protocol['epochs']} epochs; one "
        "network each"
    )
    experiment.record(
        "rlif.windows",
        given,
        parser,
        name="windows",
        config={**config, "synthetic": True},
        seconds=sum(each["seconds"] for each in numbers.values()),
        numbers=numbers,
        rows=rows(numbers, protocol, differences),
    )


if __name__ == "__main__":
    main()
