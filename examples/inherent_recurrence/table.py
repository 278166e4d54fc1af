"""Table 1 on real speech: accuracy, parameters, zeros and multiplications of all networks.

    python -m examples.inherent_recurrence.table --dataset vowels
    python -m examples.inherent_recurrence.table --dataset digits --data-dir DIR --bits 6

`vowels` are those of JapaneseVowels, whose speaker is to be told; `digits` those of the Free Spoken
Digit Dataset. The learning rate of each network is the best of a few on a fifth of the training
part.
"""

import numpy as np

from examples import data, experiment
from examples.inherent_recurrence import networks
from examples.inherent_recurrence.features import features
from examples.inherent_recurrence.vowels import padded, vowels

NAME = "inherent_recurrence/table"
PRESETS = {
    "reduced": {
        "units": 128,
        "epochs": 40,
        "batch": 54,
        "rates": [0.0003, 0.001, 0.003, 0.01],
        "seeds": 5,
        "jit": True,
    },
    "paper": {
        "units": 550,
        "epochs": 100,
        "batch": 64,
        "rates": [0.001],
        "seeds": 5,
        "jit": True,
    },
    "quick": {
        "units": 8,
        "epochs": 1,
        "batch": 64,
        "rates": [0.003, 0.01],
        "seeds": 2,
        "jit": False,
    },
}
TITLES = {"vowels": "JapaneseVowels", "digits": "spoken digits"}
# Of the digits: a frame each 20 ms, the first 0.8 s.
HOP, FRAMES = 20e-3, 40
PUBLISHED = {
    "traditional": "TIMIT: LSTM − 11.7 points",
    "v1": "TIMIT: LSTM − 2.7 points; 4.4 to 5.4 times fewer multiplications than GRU",
    "v2": "TIMIT: LSTM − 1.1 points; 10.1 times fewer multiplications than GRU",
}


def parts_of(dataset, source, data_dir):
    """Training and test part, each `(x, y)`: padded sequences of features, and labels.

    Args:
        dataset: A key of `TITLES`.
        source: See `examples.data.spoken_digits`.
        data_dir: Folder of the data.

    Raises:
        ValueError: If the data set has no sources.
    """
    if dataset == "vowels":
        if source is not None:
            raise ValueError(f"JapaneseVowels has no sources: leave out source={source!r}.")
        return vowels(data_dir)
    return tuple(
        (
            padded([features(each.samples, 8000, hop=HOP) for each in part], FRAMES),
            np.array([each.digit for each in part], "int32"),
        )
        for part in data.spoken_digits(source, data_dir)
    )


def rows(dataset, numbers, protocol):
    """The rows of the table of reproductions, one for each network.

    Args:
        dataset: A key of `TITLES`.
        numbers: Dictionary from `"NEURON-BITS"` to what `networks.compared` gives.
        protocol: What differs from the paper, in words.
    """
    result = []
    for key, found in numbers.items():
        neuron, bits = key.split("-")
        result.append(
            {
                "paper": "002",
                "what": f"Table 1, {TITLES[dataset]}: {networks.titled(key)}",
                "published": PUBLISHED[neuron] if bits == "6" else "",
                "ours": experiment.percent(found["accuracy"], found["deviation"]),
                "beside": ", ".join(networks.beside(key, numbers)),
                "protocol": protocol,
            }
        )
    return result


def main(arguments=None):
    parser = experiment.parser(__doc__, NAME, PRESETS, data.SPEECH_SOURCES)
    parser.add_argument("--dataset", choices=TITLES, default="vowels")
    parser.add_argument("--neurons", nargs="+", choices=networks.NAMES, default=networks.NAMES)
    parser.add_argument(
        "--bits",
        type=networks.bits_of,
        nargs="+",
        choices=networks.EIGHTH,
        default=list(networks.EIGHTH),
    )
    parser.add_argument("--units", type=experiment.positive, help="of each layer")
    parser.add_argument("--epochs", type=experiment.positive)
    parser.add_argument("--seeds", type=experiment.positive, help="how many")
    parser.add_argument(
        "--rates", type=experiment.above_0, nargs="+", help="the best is chosen in validation"
    )
    given = parser.parse_args(arguments)
    asked = {key: getattr(given, key) for key in ("units", "epochs", "seeds", "rates")}
    protocol = PRESETS[given.preset] | {key: each for key, each in asked.items() if each}
    training, test = parts_of(given.dataset, given.source, given.data_dir)
    config = {"dataset": given.dataset, **protocol}
    config |= {"train": len(training[0]), "test": len(test[0]), "dropout": networks.DROPOUT}
    output = experiment.directory(given, NAME, networks.of_a_run(config), f"{given.dataset}-")
    classes = int(training[1].max()) + 1
    seeds = range(given.seed, given.seed + protocol["seeds"])
    numbers = {}
    for neuron, each in networks.cases(given.neurons, given.bits):
        key = f"{neuron}-{each}"
        numbers[key] = networks.compared(
            output / key,
            lambda seed, neuron=neuron, each=each: networks.network(
                neuron, training[0], classes, protocol["units"], seed, each
            ),
            training,
            lambda model: networks.measured(model, *test),
            protocol,
            seeds,
        )
        shown = numbers[key]
        print(
            f"{key}: {experiment.percent(shown['accuracy'], shown['deviation'])}, "
            f"{experiment.percent(shown['zeros'])} zeros, "
            f"{shown['multiplications']:.0f} multiplications, {shown['seconds']:.1f} s",
            flush=True,
        )
    differences = (
        f"{len(training[0])} recordings to train on, {len(test[0])} to test on (paper: TIMIT); "
        f"{networks.protocol_of(protocol)}; threshold of an eighth of V_max"
    )
    experiment.record(
        f"inherent_recurrence.table, {given.dataset}",
        given,
        parser,
        name=f"table-{given.dataset}",
        config=config,
        seconds=sum(each["seconds"] for each in numbers.values()),
        numbers=numbers,
        rows=rows(given.dataset, numbers, differences),
    )


if __name__ == "__main__":
    main()
