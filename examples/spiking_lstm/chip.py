"""A spiking LSTM of `images` on the chip: trained on in its integers, and run on Lava.

    python -m examples.spiking_lstm.chip --dataset mnist
    python -m examples.spiking_lstm.chip --dataset fashion

Takes the network that `images` has trained with the same arguments, or trains it first.
"""

import time

from examples import experiment
from examples.on_chip import deploy, page_of, require
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


def row(what, numbers, protocol, shown="{:.1%}"):
    """The row of the table about a network on the chip.

    Args:
        what: Which one, in words.
        numbers: What `examples.on_chip.deploy` gives.
        protocol: Its size and what it was tested on, in words.
        shown: Format of an accuracy, or of what is measured instead.
    """
    keys = ("float", "exported", "aware", "integers", "lava")
    texts = {key: shown.format(numbers[key]).replace("%", " %") for key in keys}
    return {
        "paper": "003",
        "what": f"On the chip: {what}",
        "published": "",
        "ours": f"{texts['integers']} in integers, {texts['lava']} on Lava",
        "beside": f"float {texts['float']}, exported at once {texts['exported']}, trained on in "
        f"integers {texts['aware']}; {numbers['spikes']:,.0f} spikes an inference",
        "protocol": f"{protocol}, the first {numbers['lava_samples']} on Lava: "
        f"{numbers['mismatches']} spikes and states differ",
        "report": numbers["report"],
    }


def main(arguments=None):
    parser = images.arguments_of(__doc__)
    given = parser.parse_args(arguments)
    require()
    config, parts, output = images.configured(given)
    (x, y), (x_test, y_test) = parts
    tuning = {**TUNING[given.preset], "epochs": EPOCHS[given.preset][given.dataset]}
    model, history = images.fitted("SpikingLSTM", config, x, y, output)

    def fine_tune(aware):
        images.prepare(aware, len(x), tuning["epochs"], config["batch"], tuning["rate"])
        name = f"aware-{tuning['epochs']}-{tuning['rate']:g}"  # another tuning is another network
        experiment.train(aware, x, y, output, name, tuning["epochs"], config["batch"], given.seed)

    started = time.perf_counter()
    page = page_of("spiking_lstm.chip", f"chip-{images.title_of(given)}", given)
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
        rows=[
            row(
                images.TITLES[given.dataset],
                numbers,
                f"{config['units']} units; {numbers['samples']} test samples",
            )
        ],
    )


if __name__ == "__main__":
    main()
