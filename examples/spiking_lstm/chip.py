"""A spiking LSTM of `images` on the chip: trained on in its integers, and run on Lava.

    python -m examples.spiking_lstm.chip --dataset mnist
    python -m examples.spiking_lstm.chip --dataset fashion

Takes the network that `images` has trained with the same arguments, or trains it first.
"""

import time

from examples import experiment
from examples.on_chip import deploy
from examples.spiking_lstm import images

# Training in integers, and how many test samples run in integers and on Lava.
TUNING = {
    "reduced": {"rate": 2e-3, "samples": 1000, "lava": 200},
    "paper": {"rate": 1e-3, "samples": None, "lava": 1000},
    "quick": {"rate": 2e-3, "samples": 60, "lava": 10},
}
EPOCHS = {
    "reduced": {"mnist": 5, "fashion": 1, "emnist": 1},
    "paper": {"mnist": 20, "fashion": 20, "emnist": 20},
    "quick": {"mnist": 1, "fashion": 1, "emnist": 1},
}
CALIBRATION = 256


def row(config, numbers):
    """The row of the table."""
    shown = {key: f"{100 * numbers[key]:.1f} %" for key in ("float", "aware", "integers", "lava")}
    return {
        "paper": "003",
        "what": f"On the chip: {images.TITLES[config['dataset']]}",
        "published": "",
        "ours": f"{shown['integers']} in integers, {shown['lava']} on Lava",
        "beside": f"float {shown['float']}, trained on in integers {shown['aware']}",
        "protocol": (
            f"{config['units']} units; {numbers['samples']} test samples, the first "
            f"{numbers['lava_samples']} on Lava: {numbers['mismatches']} spikes and states differ; "
            f"{numbers['spikes']:.0f} spikes an inference"
        ),
    }


def main(arguments=None):
    parser = images.arguments_of(__doc__)
    given = parser.parse_args(arguments)
    config, parts, output = images.configured(given)
    (x, y), (x_test, y_test) = parts
    tuning = {**TUNING[given.preset], "epochs": EPOCHS[given.preset][given.dataset]}
    model, history = images.fitted("SpikingLSTM", config, x, y, output)

    def fine_tune(aware):
        images.prepare(aware, len(x), tuning["epochs"], config["batch"], tuning["rate"])
        name = f"aware-{tuning['epochs']}-{tuning['rate']:g}"  # another tuning is another network
        experiment.train(aware, x, y, output, name, tuning["epochs"], config["batch"], given.seed)

    started = time.perf_counter()
    page = output / "report.html"
    samples = slice(tuning["samples"])
    numbers = deploy(
        model,
        x[:CALIBRATION],
        x_test[samples],
        y_test[samples],
        fine_tune,
        tuning["lava"],
        page,
    )
    print(f"{numbers}\nThe report is {page}.")
    config = {**config, "tuning": tuning, "calibration": CALIBRATION}
    experiment.record(
        f"spiking_lstm.chip, {given.dataset}",
        given,
        parser,
        name=f"chip-{images.title_of(given)}",
        config=config,
        seconds=sum(history["seconds"]) + time.perf_counter() - started,
        numbers=numbers,
        rows=[row(config, numbers)],
    )


if __name__ == "__main__":
    main()
