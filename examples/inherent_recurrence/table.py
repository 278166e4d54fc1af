"""Table 1 on real speech: accuracy, parameters, zeros and multiplications of all networks.

    python -m examples.inherent_recurrence.table --dataset vowels
    python -m examples.inherent_recurrence.table --dataset digits --data-dir DIR --bits 6
    python -m examples.inherent_recurrence.table --dataset vowels --validate --rate 0.02

`vowels` are those of JapaneseVowels, whose speaker is to be told; `digits` those of the Free Spoken
Digit Dataset. With --validate the test is a fifth of the training part, by chance: what a
hyperparameter is chosen by.
"""

import json

import numpy as np

from examples import data, experiment
from examples.inherent_recurrence import networks
from examples.inherent_recurrence.features import features
from examples.inherent_recurrence.vowels import padded, vowels

NAME = "inherent_recurrence/table"
PRESETS = {
    "reduced": {"units": 128, "epochs": 20, "batch": 64, "rate": 0.01, "seeds": 5},
    "paper": {"units": 550, "epochs": 100, "batch": 64, "rate": 0.001, "seeds": 5},
    "quick": {"units": 8, "epochs": 1, "batch": 64, "rate": 0.01, "seeds": 2},
}
TITLES = {"vowels": "JapaneseVowels", "digits": "spoken digits"}
# Of the digits: a frame each 20 ms, the first 0.8 s.
HOP, FRAMES = 20e-3, 40
PUBLISHED = {
    "lstm": "LSTM",
    "gru": "GRU",
    "traditional": "LSTM − 11.7 points",
    "v1": "LSTM − 2.7 points; 4.4 times fewer multiplications than GRU",
    "v2": "LSTM − 1.1 points; 10.1 times fewer multiplications than GRU",
}


def parts_of(dataset, source, data_dir, validate=False, seed=0):
    """Training and test part, each `(x, y)`: padded sequences of features, and labels.

    Args:
        dataset: A key of `TITLES`.
        source: See `examples.data.spoken_digits`.
        data_dir: Folder of the data.
        validate: Whether the test is a fifth of the training part.
        seed: Seed of that fifth.
    """
    if dataset == "vowels":
        training, test = vowels(data_dir)
    else:
        training, test = (
            (
                padded([features(each.samples, 8000, hop=HOP) for each in part], FRAMES),
                np.array([each.digit for each in part], "int32"),
            )
            for part in data.spoken_digits(source, data_dir)
        )
    if not validate:
        return training, test
    x, y = training
    order = np.random.default_rng(seed).permutation(len(x))
    held, kept = order[: len(x) // 5], order[len(x) // 5 :]
    return (x[kept], y[kept]), (x[held], y[held])


def cases(neurons, bits):
    """`(neuron, bits)` of the networks: bits of spiking ones alone, others are in full."""
    for neuron in neurons:
        for each in ["full"] if neuron in networks.ANALOG else bits:
            yield neuron, each


def rows(dataset, numbers, protocol):
    """The rows of the table of reproductions, one for each network.

    Args:
        dataset: A key of `TITLES`.
        numbers: Dictionary from `"NEURON-BITS"` to what `networks.summary` gives.
        protocol: What differs from the paper, in words.
    """
    analog = {name: numbers.get(f"{name}-full") for name in networks.ANALOG}
    result = []
    for key, found in numbers.items():
        neuron, bits = key.split("-")
        spiking = neuron in networks.SPIKING
        precision = "full precision" if bits == "full" else f"{bits} bit{'s' * (bits != '1')}"
        beside = [
            f"{found['parameters']:.0f} parameters",
            f"{networks.percent(found['zeros'])} zeros",
            f"{found['multiplications']:.0f} multiplications a step",
        ]
        if spiking and analog["gru"]:
            saved = analog["gru"]["multiplications"] / found["multiplications"]
            beside.append(f"{saved:.1f} times fewer than GRU")
        if spiking and analog["lstm"]:
            gap = 100 * (found["accuracy"] - analog["lstm"]["accuracy"])
            beside.append(f"LSTM {gap:+.1f} points")
        result.append(
            {
                "paper": "002",
                "what": f"Table 1, {TITLES[dataset]}: {networks.TITLES[neuron]}, {precision}",
                "published": PUBLISHED[neuron] if bits in ("6", "full") and spiking else "",
                "ours": networks.percent(found["accuracy"], found["deviation"]),
                "beside": ", ".join(beside),
                "protocol": protocol,
            }
        )
    return result


def main(arguments=None):
    parser = experiment.parser(__doc__, NAME, PRESETS, data.SPEECH_SOURCES)
    parser.add_argument("--dataset", choices=TITLES, default="vowels")
    parser.add_argument("--neurons", nargs="+", choices=networks.NAMES, default=networks.NAMES)
    parser.add_argument(
        "--bits", nargs="+", choices=[str(each) for each in networks.EIGHTH], default=None
    )
    parser.add_argument("--validate", action="store_true", help="test on a part of the training")
    parser.add_argument("--units", type=int)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--seeds", type=int)
    given = parser.parse_args(arguments)
    asked = {key: getattr(given, key) for key in ("units", "epochs", "rate", "seeds")}
    protocol = PRESETS[given.preset] | {key: each for key, each in asked.items() if each}
    bits = [each if each == "full" else int(each) for each in given.bits or networks.EIGHTH]
    training, test = parts_of(
        given.dataset, given.source, given.data_dir, given.validate, given.seed
    )
    config = {"dataset": given.dataset, "validate": given.validate, **protocol}
    config |= {"train": len(training[0]), "test": len(test[0]), "dropout": networks.DROPOUT}
    output = experiment.directory(given, NAME, config, f"{given.dataset}-")
    classes = int(training[1].max()) + 1
    seeds = range(given.seed, given.seed + protocol["seeds"])
    numbers = {}
    for neuron, each in cases(given.neurons, bits):
        key = f"{neuron}-{each}"
        kept = output / f"{key}.json"
        if not kept.exists():
            found = []
            runs = networks.trained(
                lambda seed, neuron=neuron, each=each: networks.network(
                    neuron, training[0], classes, protocol["units"], seed, each
                ),
                training,
                protocol,
                seeds,
            )
            for _, model, seconds in runs:
                found.append({**networks.measured(model, *test), "seconds": seconds})
            experiment.write(kept, json.dumps(networks.summary(found), indent=1))
        numbers[key] = json.loads(kept.read_text())
        shown = numbers[key]
        print(
            f"{key}: {networks.percent(shown['accuracy'], shown['deviation'])}, "
            f"{networks.percent(shown['zeros'])} zeros, "
            f"{shown['multiplications']:.0f} multiplications, {shown['seconds']:.1f} s",
            flush=True,
        )
    differences = (
        f"{len(training[0])} recordings to train on, {len(test[0])} to "
        f"{'validate' if given.validate else 'test'} on (paper: TIMIT); 2 layers of "
        f"{protocol['units']} units (paper 550), {protocol['epochs']} epochs, "
        f"{protocol['seeds']} seeds; threshold of an eighth of V_max"
    )
    experiment.record(
        f"inherent_recurrence.table, {given.dataset}",
        given,
        parser,
        name=f"table-{given.dataset}",
        config=config,
        seconds=sum(each["seconds"] * protocol["seeds"] for each in numbers.values()),
        numbers=numbers,
        rows=rows(given.dataset, numbers, differences),
    )


if __name__ == "__main__":
    main()
