"""Spoken digits on the chip: a spiking LSTM of spikes, trained on in integers, and run on Lava.

    python -m examples.spiking_lstm.chip_speech --data-dir DIR

The features of `speech` are analog, and the chip takes spikes. So each becomes spikes of several
inputs, the k-th of which has one where the feature is above the k-th of some quantiles; and the
network, which has no normalisation, is trained on these from the beginning.
"""

import time

import keras
import numpy as np

from examples import data, experiment
from examples.on_chip import deploy, page_of, quantile_spikes, require
from examples.spiking_lstm import chip, images, speech
from keras_spiking_rnn import TimeSum

NAME = "spiking_lstm/chip_speech"
LEVELS = 5  # inputs of a feature
# `rate` and `more` epochs in integers; how many test samples run on Lava, `None` for all.
PRESETS = {
    "reduced": {"units": 200, "epochs": 20, "batch": 64, "rate": 2e-3, "more": 3, "lava": None},
    "paper": {"units": 200, "epochs": 200, "batch": 64, "rate": 1e-3, "more": 20, "lava": None},
    "quick": {"units": 32, "epochs": 8, "batch": 16, "rate": 2e-3, "more": 1, "lava": 4},
}
FEATURES = "mean"
CALIBRATION = 256


def build(inputs, units, seed):
    """The layer, the mean of its outputs and scores: what `speech` has, without what is analog."""
    return keras.Sequential(
        [
            keras.Input(inputs),
            images.recurrent("SpikingLSTM", units, seed),
            TimeSum(mean=True, name="rates"),
            keras.layers.Dense(10, name="scores"),
        ]
    )


def main(arguments=None):
    parser = experiment.parser(__doc__, NAME, PRESETS, data.SPEECH_SOURCES)
    given = parser.parse_args(arguments)
    require()
    preset = PRESETS[given.preset]
    config = {**preset, "levels": LEVELS, "features": FEATURES, "seed": given.seed}
    output = experiment.directory(given, NAME, config)
    recordings = data.spoken_digits(given.source, given.data_dir)
    (x, y), (x_test, y_test) = (speech.seen(part, FEATURES, output) for part in recordings)
    # Those on Lava are the first, and the recordings are sorted by digit.
    order = np.random.default_rng(given.seed).permutation(len(x_test))
    x_test, y_test = quantile_spikes(x_test[order], x, LEVELS), y_test[order]
    x = quantile_spikes(x, x, LEVELS)
    keras.utils.set_random_seed(given.seed)
    model = build(x.shape[1:], preset["units"], given.seed)

    def fit(model, name, epochs, rate):
        images.prepare(model, len(x), epochs, preset["batch"], rate)
        return experiment.train(model, x, y, output, name, epochs, preset["batch"], given.seed)

    history = fit(model, "SpikingLSTM", preset["epochs"], images.RATES["SpikingLSTM"])
    started = time.perf_counter()
    numbers = deploy(
        model,
        x[:CALIBRATION],
        x_test,
        y_test,
        lambda aware: fit(aware, "aware", preset["more"], preset["rate"]),
        preset["lava"],
        page_of("spiking_lstm.chip_speech", "chip-speech", given),
    )
    print(numbers)
    protocol = (
        f"the official split; {preset['units']} units, {preset['epochs']} epochs and "
        f"{preset['more']} in integers; inputs of {LEVELS} spikes a feature; "
        f"{numbers['samples']} recordings to test on"
    )
    experiment.record(
        "spiking_lstm.chip_speech",
        given,
        parser,
        name="chip-speech",
        config={**config, "train": len(x), "test": len(x_test), "calibration": CALIBRATION},
        seconds=sum(history["seconds"]) + time.perf_counter() - started,
        numbers=numbers,
        rows=[chip.row("Spoken digits", numbers, protocol)],
    )


if __name__ == "__main__":
    main()
