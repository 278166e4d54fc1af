"""The effect of alpha_1 and alpha_2, the widths of the surrogates: appendix B, figure 6.

    python -m examples.spiking_lstm.alphas

Trains a spiking LSTM on the digits of `images` for each pair of numbers. alpha_1 is that of the
gates, alpha_2 that of the modulated input; all else is the library's default.
"""

import time

import keras
import numpy as np

from examples import data, experiment
from examples.spiking_lstm import images
from keras_spiking_rnn import surrogates

NAME = "spiking_lstm/alphas"
PAPER = (4.0, 0.3)
PAIRS = [PAPER, (1.0, 1.0), (0.3, 0.3), (4.0, 4.0), (0.3, 4.0), (0.03, 0.03), (30.0, 30.0)]
PRESETS = {
    "reduced": {"train": None, "test": None, "units": 100, "batch": 64, "epochs": 6, "pairs": 5},
    "paper": {"train": None, "test": None, "units": 1000, "batch": 100, "epochs": 200, "pairs": 7},
    "quick": {"train": 300, "test": 100, "units": 16, "batch": 50, "epochs": 2, "pairs": 2},
}
DRAWS = 3


def run(config, parts, output):
    """Trains a network for each pair: list of dictionaries of what was measured."""
    (x, y), (x_test, y_test) = parts
    found = []
    for alpha_1, alpha_2 in config["pairs"]:
        keras.utils.set_random_seed(config["seed"])
        layer = images.recurrent(
            "SpikingLSTM",
            config["units"],
            config["seed"],
            gate_surrogate=surrogates.Gaussian(alpha_1),
            candidate_surrogate=surrogates.Gaussian(alpha_2),
        )
        model = images.build(layer, 10, config["seed"])
        images.prepare(model, len(x), config["epochs"], config["batch"], config["rate"])
        history = experiment.train(
            model,
            x,
            y,
            output,
            f"{alpha_1}-{alpha_2}",
            config["epochs"],
            config["batch"],
            config["seed"],
        )
        accuracy = float(np.mean(images.accuracies(model, x_test, y_test, DRAWS)))
        found.append(
            {
                "alpha_1": alpha_1,
                "alpha_2": alpha_2,
                "accuracy": accuracy,
                "loss": history["loss"],
                "training_accuracy": history["accuracy"],
                "seconds": sum(history["seconds"]),
            }
        )
        print(f"alpha_1 {alpha_1}, alpha_2 {alpha_2}: {accuracy:.1%}")
    return found


def row(config, found):
    """The row of the table."""

    def text(each):
        return f"({each['alpha_1']:g}, {each['alpha_2']:g}) {each['accuracy']:.1%}"

    best = max(found, key=lambda each: each["accuracy"])
    others = [text(each) for each in found if each is not best]
    return {
        "paper": "003",
        "what": "Figure 6, accuracy by (alpha_1, alpha_2)",
        "published": "best at (4, 0.3)",
        "ours": text(best).replace("%", " %"),
        "beside": ", ".join(others).replace("%", " %"),
        "protocol": (
            f"{config['train']} digits to train on and {config['test']} to test on, "
            f"{config['units']} units and not 1000, {config['epochs']} epochs"
        ),
    }


def main(arguments=None):
    parser = experiment.parser(__doc__, NAME, PRESETS, data.IMAGE_SOURCES["mnist"])
    given = parser.parse_args(arguments)
    preset = PRESETS[given.preset]
    parts = data.images("mnist", given.source, given.data_dir, given.seed)
    parts = [
        data.subset(part, preset[name], given.seed)
        for part, name in zip(parts, ("train", "test"), strict=True)
    ]
    config = {
        **preset,
        "pairs": [list(pair) for pair in PAIRS[: preset["pairs"]]],
        "train": len(parts[0][0]),
        "test": len(parts[1][0]),
        "rate": images.RATES["SpikingLSTM"],
        "draws": DRAWS,
        "seed": given.seed,
    }
    output = experiment.directory(given, NAME, config)
    started = time.perf_counter()
    found = run(config, parts, output)
    experiment.record(
        "spiking_lstm.alphas",
        given,
        parser,
        name="alphas",
        config=config,
        seconds=sum(each["seconds"] for each in found),
        numbers={"pairs": found},
        rows=[row(config, found)],
    )
    print(f"{time.perf_counter() - started:.0f} seconds.")


if __name__ == "__main__":
    main()
