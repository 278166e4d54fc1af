"""What the threshold of the improved network v2 costs and saves, on a part of the training.

    python -m examples.inherent_recurrence.thresholds

JapaneseVowels, whose speaker is to be told: trained on four fifths of the training part, measured
on the rest. The table has the paper's threshold, an eighth of V_max.
"""

from pathlib import Path

from examples import experiment
from examples.inherent_recurrence import networks, table

NAME = "inherent_recurrence/thresholds"
# In steps of the outputs, of which V_max has 64.
STEPS = (1, 4, 8, 16, 32)
PRESETS = {
    "reduced": {**table.PRESETS["reduced"], "rates": [0.003], "seeds": 3},
    "paper": table.PRESETS["paper"],
    "quick": {**table.PRESETS["quick"], "units": 4, "rates": [0.01], "seeds": 1},
}


def rows(numbers, protocol, said):
    """One row of the table of reproductions.

    Args:
        numbers: Dictionary from the threshold in steps, and `"gru"`, to what `networks.compared`
            gives.
        protocol: A preset.
        said: What differs from the paper, in words.
    """
    spiking = {int(key): found for key, found in numbers.items() if key != "gru"}
    return [
        {
            "paper": "002",
            "what": "Thresholds of improved v2, 6 bits, in validation",
            "published": "10.1 times fewer multiplications than GRU at 8/64 of V_max",
            "ours": "; ".join(
                f"{steps}/64 of V_max: {networks.percent(found['accuracy'], found['deviation'])}, "
                f"{networks.percent(found['zeros'])} zeros"
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
    given = parser.parse_args(arguments)
    protocol = PRESETS[given.preset]
    output = experiment.directory(given, NAME, protocol)
    training, _ = table.parts_of("vowels", None, given.data_dir)
    training, held = networks.held_out(training, given.seed)
    seeds = range(given.seed, given.seed + protocol["seeds"])
    numbers = {}
    for steps in ("gru", *(STEPS[:1] if given.preset == "quick" else STEPS)):

        def build(seed, steps=steps):
            name, ratio = ("gru", None) if steps == "gru" else ("v2", steps)
            return networks.network(
                name, training[0], 9, protocol["units"], seed, networks.PAPER_BITS, ratio
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
            f"{steps}: {networks.percent(shown['accuracy'])}, "
            f"{networks.percent(shown['zeros'])} zeros",
            flush=True,
        )
    said = (
        f"JapaneseVowels, {len(training[0])} to train on and {len(held[0])} to validate on; "
        f"2 layers of {protocol['units']} units (paper 550), {protocol['epochs']} epochs, "
        f"{protocol['seeds']} seeds"
    )
    experiment.record(
        "inherent_recurrence.thresholds",
        given,
        parser,
        name="thresholds",
        config=protocol,
        seconds=sum(each["seconds"] for each in numbers.values()),
        numbers=numbers,
        rows=rows(numbers, protocol, said),
    )


if __name__ == "__main__":
    main()
