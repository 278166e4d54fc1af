"""Noise events: what they cost RLIF, LIF and LSTM networks of the same shape.

    python -m examples.rlif.noise                    what two cores can do
    python -m examples.rlif.noise --preset quick     a minute

The paper claims an "ultra anti-interference ability" and has no experiment on it. Here background
events come to those of the digits, synthetic both, anywhere and at any time. Windows have a fixed
number of events, so noise takes the place of the digit's. Networks are trained without it and
tested with several amounts, and are trained with some of it as well. All have the same training.
Writes the record `noise-PRESET-SEED.json`.
"""

import itertools

import numpy as np

from examples import experiment
from examples.rlif import cameras, images, networks

DATASET = "mnist"
# Background events of a pixel and second that come to those of the recording are the rates. LSTM
# networks have as many parameters as those of RLIF, and so fewer units.
PRESETS = {
    "reduced": {
        **images.REDUCED,
        "filters": [8, 16],
        "units": 128,
        "of_lstm": {"filters": [4, 9], "units": 32},
        "train": 2000,
        "test": 500,
        "steps": 5,
        "epochs": 6,
        "kinds": list(networks.TITLES),
        "rates": [0, 5, 10, 20, 40, 80],
        "trained_with": [0, 20],
        "networks": 3,
    },
    "paper": {
        **images.REDUCED,
        "units": 256,
        "of_lstm": {"filters": [7, 15], "units": 64},
        "kinds": list(networks.TITLES),
        "rates": [0, 5, 10, 20, 40, 80],
        "trained_with": [0, 20],
        "networks": 5,
    },
    "quick": {
        **images.OTHERWISE["quick"],
        "units": 8,
        "of_lstm": {"units": 2},
        "kinds": ["conv-rlif", "lstm"],
        "rates": [0, 40],
        "trained_with": [0, 40],
        "networks": 1,
    },
}


def tested(model, x, y):
    """Part of the samples that a model gets right."""
    return round(
        float((np.argmax(model.predict(x, batch_size=networks.BATCH, verbose=0), -1) == y).mean()),
        4,
    )


def rows(numbers, protocol, share, differences):
    """The rows of the table of reproductions, one for each kind of network and training.

    Args:
        numbers: Dictionary from a kind and the noise of its training to a list of what
            `networks.measured` gives, with `noisy`: from a rate, as text, to an accuracy.
        protocol: One of `PRESETS`.
        share: From a rate, as text, to the noise events for each other event.
        differences: What differs from the paper, in words.
    """
    result = []
    for trained_with in protocol["trained_with"]:
        how = (
            f"trained with {share[str(trained_with)]:.2f} noise events for each event"
            if trained_with
            else "trained without"
        )
        for kind in protocol["kinds"]:
            found = numbers[f"{kind}, {trained_with}"]
            of_rates = ", ".join(
                f"{amount:.2f}: {networks.spread([each['noisy'][rate] for each in found])}"
                for rate, amount in share.items()
            )
            result.append(
                {
                    "paper": "000",
                    "what": f"Noise events, {networks.TITLES[kind]}, {how}",
                    "published": "resists (no number)" if "rlif" in kind else "",
                    "ours": of_rates,
                    "beside": f"{found[0]['parameters']:,} parameters",
                    "protocol": differences,
                }
            )
    return result


def main(arguments=None):
    parser = experiment.parser(__doc__, "rlif/noise", PRESETS, images.SOURCES)
    given = parser.parse_args(arguments)
    protocol = PRESETS[given.preset]
    config = {"dataset": DATASET, "source": given.source, "protocol": protocol}
    output = experiment.directory(given, "rlif/noise", config)
    both = cameras.recordings(DATASET, protocol, given.source, given.data_dir, seed=given.seed)
    train, test = (cameras.Held(part) for part in both)

    def frames(part, rate, seed):
        return cameras.framed(
            part, protocol["count"], protocol["steps"], change=cameras.noise(rate, seed)
        )

    tests = {str(rate): frames(test, rate, given.seed) for rate in protocol["rates"]}
    pixels, lasting = np.prod(test.sensor_size[:2]), [np.ptp(e["t"]) / 1e6 for e, _ in test]
    a_rate = float(np.mean([pixels * t / len(e) for t, (e, _) in zip(lasting, test, strict=True)]))
    share = {rate: round(int(rate) * a_rate, 3) for rate in tests}
    # Other draws of the noise than those of the test.
    training = {
        rate: cameras.validated(frames(train, rate, given.seed + 1000))
        for rate in protocol["trained_with"]
    }
    which = list(itertools.product(protocol["trained_with"], protocol["kinds"]))
    numbers = {f"{kind}, {trained_with}": [] for trained_with, kind in which}
    for seed in range(given.seed, given.seed + protocol["networks"]):
        for trained_with, kind in which:
            model, each = networks.measured(
                (*training[trained_with], tests["0"]),
                protocol,
                kind,
                cameras.CLASSES[DATASET],
                output,
                f"{kind}-{trained_with}-{seed}",
                seed,
            )
            each["noisy"] = {rate: tested(model, *part) for rate, part in tests.items()}
            numbers[f"{kind}, {trained_with}"].append(each)
            print(f"{networks.TITLES[kind]}, trained with {trained_with}: {each['noisy']}")
    count = protocol["networks"]
    differences = (
        f"synthetic events of {len(train)} digits, {len(test)} to test; accuracy by noise events "
        f"for each event; {protocol['steps']} frames of {protocol['count']} events, 34 x 34 "
        f"pixels, {protocol['epochs']} epochs, "
        + ("one network each" if count == 1 else f"mean and deviation of {count} networks")
    )
    experiment.record(
        "rlif.noise",
        given,
        parser,
        name="noise",
        config={**config, "synthetic": True},
        seconds=sum(each["seconds"] for found in numbers.values() for each in found),
        numbers={"noise_a_signal_event": share, "networks": numbers},
        rows=rows(numbers, protocol, share, differences),
    )


if __name__ == "__main__":
    main()
