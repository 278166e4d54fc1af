"""The periodic signal of `periodic` on the chip: trained on in its integers, and run on Lava.

    python -m examples.spiking_lstm.chip_periodic

Takes the spiking LSTM that `periodic` has trained with the same arguments, or trains it first. The
chip gets the spikes of the signal and gives those of the layer; the linear output that makes the
signal of them is on the host.
"""

import time

import keras
import numpy as np

from examples import experiment
from examples.on_chip import deploy, page_of, require
from examples.spiking_lstm import chip, periodic

# Training in integers, and how many draws of the spikes run on Lava.
TUNING = {
    "reduced": {"iterations": 100, "rate": 1e-3, "lava": 100},
    "paper": {"iterations": 1000, "rate": 5e-4, "lava": 100},
    "quick": {"iterations": 10, "rate": 1e-3, "lava": 5},
}
CALIBRATION = 64


def squared_error(y, outputs):
    """Mean squared error of sequences `(n, steps, 1)`."""
    return float(np.mean((outputs - y) ** 2))


def main(arguments=None):
    parser = experiment.parser(__doc__, periodic.NAME, periodic.PRESETS)
    given = parser.parse_args(arguments)
    require()
    config = {**periodic.PRESETS[given.preset], "rates": periodic.RATES, "seed": given.seed}
    output = experiment.directory(given, periodic.NAME, config)
    tuning = TUNING[given.preset]
    *_, (model, iterations, seconds) = periodic.trained("SpikingLSTM", config, output)

    def fine_tune(aware):
        optimizer = keras.optimizers.Adam(tuning["rate"], clipnorm=1.0)
        aware.compile(optimizer, periodic.half_squared_error)
        name = f"aware-{tuning['iterations']}-{tuning['rate']:g}"
        epochs = tuning["iterations"] // periodic.EPOCH
        experiment.train(
            aware, *periodic.copies(periodic.EPOCH), output, name, epochs, 1, given.seed
        )

    started = time.perf_counter()
    numbers = deploy(
        model,
        periodic.copies(CALIBRATION)[0],
        *periodic.copies(config["draws"]),
        fine_tune,
        tuning["lava"],
        page_of("spiking_lstm.chip_periodic", "chip-periodic", given),
        squared_error,
    )
    print(numbers)
    protocol = (
        f"{config['units']} units, {iterations} iterations and {tuning['iterations']} in integers; "
        f"{numbers['samples']} draws of the spikes"
    )
    experiment.record(
        "spiking_lstm.chip_periodic",
        given,
        parser,
        name="chip-periodic",
        config={**config, "tuning": tuning, "calibration": CALIBRATION},
        seconds=seconds + time.perf_counter() - started,
        numbers=numbers,
        rows=[chip.row("Periodic signal, mean squared error", numbers, protocol, "{:.4f}")],
    )


if __name__ == "__main__":
    main()
