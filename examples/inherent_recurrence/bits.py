"""Figure 5: accuracy of the improved network v2 over the bits of its outputs, and its width.

    python -m examples.inherent_recurrence.bits

On JapaneseVowels, whose speaker is to be told. The threshold is one step of the outputs,
V_max / 2^b, as in section 4, and V_max / 256 in full precision.
"""

from pathlib import Path

from examples import experiment
from examples.inherent_recurrence import networks, table

NAME = "inherent_recurrence/bits"
BITS = (1, 2, 3, 4, 5, 6, "full")
# Of the width of the preset, as in Figure 5(b), with these bits alone.
WIDTHS, WIDE_BITS = (1, 1.5, 2, 3), (1, 3)
PRESETS = {
    "reduced": {
        "units": 32,
        "epochs": 40,
        "batch": 54,
        "rates": [0.0003, 0.003, 0.01],
        "seeds": 3,
        "jit": True,
    },
    "paper": table.PRESETS["paper"],
    "quick": {
        "units": 4,
        "epochs": 1,
        "batch": 90,
        "rates": [0.01],
        "seeds": 1,
        "jit": False,
    },
}


def cases(quick=False):
    """`(bits, width)` of the networks."""
    if quick:
        return [(1, 1), (1, 1.5)]
    return [(bits, 1) for bits in BITS] + [
        (bits, width) for width in WIDTHS[1:] for bits in WIDE_BITS
    ]


def rows(numbers, protocol, said):
    """The rows of the table of reproductions: one for Figure 5(a) and one for 5(b)."""

    def shown(key):
        return experiment.percent(numbers[key]["accuracy"], numbers[key]["deviation"])

    narrow = [key for key in numbers if key.endswith(f"-{protocol['units']}")]
    wide = [key for key in numbers if key not in narrow]
    names = {key: key.partition("-")[0] for key in numbers}
    return [
        {
            "paper": "002",
            "what": "Figure 5(a), accuracy over bits, improved v2",
            "published": "large drop from 3 bits to 1; 4 bits are close to full precision",
            "ours": ", ".join(f"{names[key]}: {shown(key)}" for key in narrow),
            "beside": "",
            "protocol": said,
        },
        {
            "paper": "002",
            "what": "Figure 5(b), accuracy over width, improved v2",
            "published": "more units do not make up for 1 bit",
            "ours": ", ".join(
                f"{networks.precision(names[key])}, {key.partition('-')[2]} units: {shown(key)}"
                for key in wide
            ),
            "beside": "",
            "protocol": said,
        },
    ]


def main(arguments=None):
    parser = experiment.parser(__doc__, NAME, PRESETS)
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="folder of the data")
    given = parser.parse_args(arguments)
    protocol = PRESETS[given.preset]
    output = experiment.directory(given, NAME, protocol)
    training, test = table.parts_of("vowels", None, given.data_dir)
    seeds = range(given.seed, given.seed + protocol["seeds"])
    numbers = {}
    for bits, width in cases(given.preset == "quick"):
        units = round(width * protocol["units"])
        key = f"{bits}-{units}"

        def build(seed, bits=bits, units=units):
            return networks.network("v2", training[0], 9, units, seed, bits, ratio=1)

        numbers[key] = networks.compared(
            output / key,
            build,
            training,
            lambda model: networks.measured(model, *test),
            protocol,
            seeds,
        )
        print(
            f"{bits} bits, {units} units: {experiment.percent(numbers[key]['accuracy'])}",
            flush=True,
        )
    said = (
        f"JapaneseVowels, {len(training[0])} to train on and {len(test[0])} to test on (paper: "
        f"TIMIT); {networks.protocol_of(protocol)}; threshold V_max / 2^b"
    )
    experiment.record(
        "inherent_recurrence.bits",
        given,
        parser,
        name="bits",
        config=protocol,
        seconds=sum(each["seconds"] for each in numbers.values()),
        numbers=numbers,
        rows=rows(numbers, protocol, said),
    )


if __name__ == "__main__":
    main()
