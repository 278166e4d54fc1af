"""What the threshold of the improved network v2 costs and saves, on a part of the training.

    python -m examples.inherent_recurrence.thresholds
    python -m examples.inherent_recurrence.thresholds --dataset speech --steps 8 16 --seeds 1

JapaneseVowels, whose speaker is to be told, or the phones of synthetic speech: trained on four
fifths of the training part, measured on the rest. The tables have the paper's threshold, an eighth
of V_max.
"""

from pathlib import Path

from examples import experiment
from examples.inherent_recurrence import networks, speech, table

NAME = "inherent_recurrence/thresholds"
# In steps of the outputs, of which V_max has 64.
STEPS = (1, 4, 8, 16, 32)
PRESETS = {
    "reduced": {**table.PRESETS["reduced"], "rates": [0.003], "seeds": 3},
    "paper": table.PRESETS["paper"],
    "quick": {**table.PRESETS["quick"], "units": 4, "rates": [0.01], "seeds": 1},
}
PRESETS_OF_SPEECH = {
    "reduced": {**speech.PRESETS["reduced"], "rates": [0.004]},
    "paper": speech.PRESETS["paper"],
    "quick": {**speech.PRESETS["quick"], "units": 4},
}
TITLES = {"vowels": "JapaneseVowels", "speech": "phones of synthetic speech"}


def training_of(dataset, data_dir, protocol, seed):
    """What to train and validate on, the number of classes, and whether each step has one.

    Args:
        dataset: A key of `TITLES`.
        data_dir: Folder of the data.
        protocol: A preset.
        seed: Seed of synthetic speech.
    """
    if dataset == "vowels":
        return table.parts_of("vowels", None, data_dir)[0], 9, False
    _, _, pieces, config = speech.frames(protocol, "synthetic", None, seed)
    return pieces, config["phones"], True


def rows(dataset, numbers, said):
    """One row of the table of reproductions.

    Args:
        dataset: A key of `TITLES`.
        numbers: Dictionary from the threshold in steps, and `"gru"`, to what `networks.compared`
            gives.
        said: What differs from the paper, in words.
    """
    spiking = {int(key): found for key, found in numbers.items() if key != "gru"}
    return [
        {
            "paper": "002",
            "what": f"Thresholds of improved v2, 6 bits, in validation, {TITLES[dataset]}",
            "published": "10.1 times fewer multiplications than GRU at 8/64 of V_max",
            "ours": "; ".join(
                f"{steps}/64 of V_max: {networks.told(found)}, "
                f"{experiment.percent(found['zeros'])} zeros"
                for steps, found in spiking.items()
            ),
            "beside": "times fewer multiplications than GRU: "
            + ", ".join(
                f"{numbers['gru']['multiplications'] / found['multiplications']:.1f}"
                for found in spiking.values()
            ),
            "protocol": said,
        }
    ]


def main(arguments=None):
    parser = experiment.parser(__doc__, NAME, PRESETS)
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="folder of the data")
    parser.add_argument("--dataset", choices=TITLES, default="vowels")
    parser.add_argument(
        "--steps", type=experiment.positive, nargs="+", help="thresholds, in 64ths of V_max"
    )
    parser.add_argument("--seeds", type=experiment.positive, help="how many")
    given = parser.parse_args(arguments)
    protocol = (PRESETS if given.dataset == "vowels" else PRESETS_OF_SPEECH)[given.preset]
    protocol = protocol | ({"seeds": given.seeds} if given.seeds else {})
    output = experiment.directory(given, NAME, networks.of_a_run(protocol), f"{given.dataset}-")
    training, classes, each_step = training_of(given.dataset, given.data_dir, protocol, given.seed)
    training, held = networks.held_out(training, given.seed)
    seeds = range(given.seed, given.seed + protocol["seeds"])
    numbers = {}
    for steps in ("gru", *(given.steps or (STEPS[:1] if given.preset == "quick" else STEPS))):

        def build(seed, steps=steps):
            name, ratio = ("gru", None) if steps == "gru" else ("v2", steps)
            return networks.network(
                name,
                training[0],
                classes,
                protocol["units"],
                seed,
                networks.PAPER_BITS,
                ratio,
                each_step,
            )

        numbers[str(steps)] = networks.compared(
            output / str(steps),
            build,
            training,
            lambda model: networks.measured(model, *held),
            # Multiplications of the GRU are the same whatever it has learned.
            protocol | ({"epochs": 1} if steps == "gru" else {}),
            seeds[:1] if steps == "gru" else seeds,
        )
        shown = numbers[str(steps)]
        print(
            f"{steps}: {experiment.percent(shown['accuracy'])}, "
            f"{experiment.percent(shown['zeros'])} zeros",
            flush=True,
        )
    unit = "pieces of sentences" if each_step else "recordings"
    said = (
        f"{len(training[0])} {unit} to train on and {len(held[0])} to validate on (paper: TIMIT); "
        f"{networks.protocol_of(protocol)}"
    )
    experiment.record(
        f"inherent_recurrence.thresholds, {given.dataset}",
        given,
        parser,
        name=f"thresholds-{given.dataset}",
        config={**protocol, "dataset": given.dataset},
        seconds=sum(each["seconds"] for each in numbers.values()),
        numbers=numbers,
        rows=rows(given.dataset, numbers, said),
    )


if __name__ == "__main__":
    main()
