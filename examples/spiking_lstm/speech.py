"""Spoken digits from their wavelet scattering: section 4.5.

    python -m examples.spiking_lstm.speech --data-dir DIR                    trains and tests
    python -m examples.spiking_lstm.speech --label FILE.wav                  says which digit it is

The recordings are the Free Spoken Digit Dataset with its official split: nothing of the test, the
indices 0 to 4 of each digit and speaker, is trained on. `--label` takes the network of a run before
it, of the same `--preset`, `--seed` and `--output`.
"""

import time
from pathlib import Path

import keras
import numpy as np

from examples import data, experiment
from examples.spiking_lstm import images

NAME = "spiking_lstm/speech"
MODELS = images.MODELS
SAMPLES = 8192  # of a recording: about a second, the rest is cut off on both sides
OCTAVES, PER_OCTAVE = 8, 12  # J and Q of the scattering
# "mean": the logarithms of the 336 coefficients, averaged over time, in 8 pieces of 42, the
# authors'. "time": all coefficients at 32 times.
FEATURES = {"mean": (8, 42), "time": (32, 336)}
PRESETS = {
    "reduced": {"units": 200, "epochs": 20, "batch": 64},
    "paper": {"units": 200, "epochs": 200, "batch": 64},
    "quick": {"units": 32, "epochs": 12, "batch": 16},
}
NOISE = 0.1  # of the features of the training, in standard deviations


def scattering(recordings, features):
    """What the networks see of recordings: float32 of shape (n, *FEATURES[features]).

    Args:
        recordings: List of arrays of samples at 8 kHz.
        features: A key of `FEATURES`.
    """
    try:
        from kymatio.numpy import Scattering1D
    except ImportError as error:
        raise ImportError(
            "Wavelet scattering needs kymatio, and SciPy below 1.17: "
            "pip install 'keras-spiking-rnn[examples]'"
        ) from error
    transform = Scattering1D(J=OCTAVES, shape=SAMPLES, Q=PER_OCTAVE)
    found = np.stack([transform(centred(each)) for each in recordings])
    found = np.log(found[:, 1:] + 1e-6)  # without order 0, the mean of the samples
    if features == "mean":
        found = found.mean(axis=2).reshape(-1, *FEATURES["mean"])
    else:
        found = found.transpose(0, 2, 1)
    return found.astype("float32")


def centred(samples):
    """`SAMPLES` samples, with silence before and after, of a maximum of 1."""
    excess = max(len(samples) - SAMPLES, 0)
    samples = samples[excess // 2 : len(samples) - (excess - excess // 2)]
    missing = SAMPLES - len(samples)
    samples = np.pad(samples, (missing // 2, missing - missing // 2))
    return samples / max(np.abs(samples).max(), 1e-6)


def build(name, features, x, units, seed):
    """Standardized features, the layer, and a readout of its last output, as in the paper.

    Args:
        name: One of `MODELS`.
        features: A key of `FEATURES`.
        x: The features of the training, from which mean and deviation are taken.
        units: Number of units.
        seed: Seed of all that is random.
    """
    normalization = keras.layers.Normalization(axis=(1, 2), name="standardized")
    normalization.adapt(x)
    return keras.Sequential(
        [
            keras.Input(FEATURES[features]),
            normalization,
            keras.layers.GaussianNoise(NOISE, seed=seed + 1, name="noise"),
            images.recurrent(name, units, seed, return_sequences=False),
            keras.layers.Dense(10, name="scores"),
        ]
    )


def cached(recordings, features, path):
    """`scattering` of recordings, kept in a file beside the checkpoints."""
    if path.exists():
        return np.load(path)
    found = scattering([each.samples for each in recordings], features)
    np.save(path, found)
    return found


def label(path, config, output):
    """The digit in a sound file and the probability that the trained network gives it.

    Raises:
        FileNotFoundError: If there is no trained network.
    """
    trained = output / "SpikingLSTM.keras"
    if not trained.exists():
        raise FileNotFoundError(
            f"There is no {trained}. Train it first: python -m examples.spiking_lstm.speech "
            "--data-dir DIR"
        )
    model = keras.saving.load_model(trained)
    x = scattering([data.read_wav(path)], config["features"])
    chances = np.asarray(keras.ops.softmax(model.predict(x, verbose=0)))[0]
    return int(chances.argmax()), float(chances.max())


def run(config, parts, output):
    """Trains and tests both models: dictionary from the model to what was measured."""
    training, test = parts
    x, x_test = (
        cached(part, config["features"], output / f"{name}.npy")
        for part, name in zip(parts, ("training", "test"), strict=True)
    )
    y, y_test = (np.array([each.digit for each in part], "int32") for part in parts)
    numbers = {}
    for name in MODELS:
        keras.utils.set_random_seed(config["seed"])
        model = build(name, config["features"], x, config["units"], config["seed"])
        images.prepare(model, len(x), config["epochs"], config["batch"], images.RATES[name])
        history = experiment.train(
            model, x, y, output, name, config["epochs"], config["batch"], config["seed"]
        )
        (accuracy,) = images.accuracies(model, x_test, y_test, 1)
        numbers[name] = {
            "accuracy": accuracy,
            "training_accuracy": history["accuracy"],
            "parameters": model.count_params(),
            "seconds": sum(history["seconds"]),
        }
        model.save(output / f"{name}.keras")
        print(f"Spoken digits, {name}: {numbers[name]['accuracy']:.2%}")
    return numbers


def row(config, numbers):
    """The row of the table."""
    spiking, analog = (numbers[name] for name in MODELS)
    steps, inputs = FEATURES[config["features"]]
    return {
        "paper": "003",
        "what": f"Spoken digits, {steps} steps of {inputs} features",
        "published": "83 % (LSTM 86 %)",
        "ours": f"{spiking['accuracy']:.1%}".replace("%", " %"),
        "beside": f"LSTM {analog['accuracy']:.1%}".replace("%", " %"),
        "protocol": (
            f"official split: {config['train']} recordings of {config['speakers']} speakers to "
            f"train on, {config['test']} to test on, which the paper does not state; "
            f"{config['units']} units, {config['epochs']} epochs; features are analog, "
            "the paper does not say"
        ),
    }


def main(arguments=None):
    parser = experiment.parser(__doc__, NAME, PRESETS, data.SPEECH_SOURCES)
    parser.add_argument("--features", choices=FEATURES, default="mean")
    parser.add_argument("--label", type=Path, metavar="FILE", help="say which digit a file has")
    given = parser.parse_args(arguments)
    preset = PRESETS[given.preset]
    config = {
        **preset,
        "features": given.features,
        "rates": images.RATES,
        "noise": NOISE,
        "seed": given.seed,
    }
    output = experiment.directory(given, NAME, config, f"{given.features}-")
    if given.label is not None:
        digit, chance = label(given.label, config, output)
        print(f"{digit} ({chance:.0%})")
        return
    started = time.perf_counter()
    parts = data.spoken_digits(given.source, given.data_dir)
    speakers = {each.speaker for each in parts[0]}
    numbers = run(config, parts, output)
    config |= {"train": len(parts[0]), "test": len(parts[1]), "speakers": len(speakers)}
    record = {
        "experiment": f"spiking_lstm.speech, {given.features}",
        "preset": given.preset,
        "seed": given.seed,
        "config": config,
        "command": experiment.command("examples.spiking_lstm.speech", given, parser),
        "seconds": sum(each["seconds"] for each in numbers.values()),
        "numbers": numbers,
        "rows": [row(config, numbers)],
    }
    name = f"speech-{given.features}-{given.preset}-{given.seed}"
    print(experiment.save(record, name, given.results or output))
    print(f"{time.perf_counter() - started:.0f} seconds.")


if __name__ == "__main__":
    main()
