"""Spoken digits from their wavelet scattering: section 4.5.

    python -m examples.spiking_lstm.speech --data-dir DIR                    trains and tests
    python -m examples.spiking_lstm.speech --data-dir DIR --validate         compares CANDIDATES
    python -m examples.spiking_lstm.speech --label FILE.wav                  says which digit it is

The recordings are the Free Spoken Digit Dataset with its official split: nothing of the test, the
indices 0 to 4 of each digit and speaker, is trained on. Three networks are trained, of this seed
and those after it. How they are trained is what is best of `CANDIDATES` in validation: on the
indices 5 to 9, by spiking LSTMs of one seed that have not seen them. `--label` takes the first
network of a run before it, of the same `--preset`, `--seed` and `--output`.
"""

import hashlib
import time
from pathlib import Path

import keras
import numpy as np

from examples import data, experiment
from examples.spiking_lstm import images
from keras_spiking_rnn import TimeSum, files

NAME = "spiking_lstm/speech"
MODELS = images.MODELS
SAMPLES = 8192  # of a recording: about a second, the rest is cut off on both sides
OCTAVES, PER_OCTAVE = 8, 12  # J and Q of the scattering
# "mean": the logarithms of the 336 coefficients, averaged over time, in 8 pieces of 42, the
# authors'. "time": all coefficients at 32 times.
FEATURES = {"mean": (8, 42), "time": (32, 336)}
PRESETS = {
    "reduced": {"units": 200, "epochs": 20, "batch": 64, "networks": 3},
    "paper": {"units": 200, "epochs": 200, "batch": 64, "networks": 3},
    "quick": {"units": 32, "epochs": 12, "batch": 16, "networks": 1},
}
# "noise" is added to the features in the training, in standard deviations; "readout" is that of the
# last output, the paper's, or of the mean of all.
CANDIDATES = {
    "the last output, noise 0.1": {"readout": "last", "noise": 0.1},
    "the last output, noise 0.3": {"readout": "last", "noise": 0.3},
    "the mean of the outputs, noise 0.1": {"readout": "mean", "noise": 0.1},
}
CHOSEN = CANDIDATES["the mean of the outputs, noise 0.1"]
READOUTS = {"last": "last output", "mean": "mean of the outputs (paper: the last)"}
VALIDATION = range(5, 10)  # indices of recordings


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


def build(name, config, x, units, seed):
    """Standardized features, the layer, and a readout.

    Args:
        name: One of `MODELS`.
        config: Dictionary with the "features", a key of `FEATURES`, and one of `CANDIDATES`.
        x: The features of the training, from which mean and deviation are taken.
        units: Number of units.
        seed: Seed of all that is random.
    """
    normalization = keras.layers.Normalization(axis=(1, 2), name="standardized")
    normalization.adapt(x)
    mean = config["readout"] == "mean"
    return keras.Sequential(
        [
            keras.Input(FEATURES[config["features"]]),
            normalization,
            keras.layers.GaussianNoise(config["noise"], seed=seed + 1, name="noise"),
            images.recurrent(name, units, seed, return_sequences=mean),
            *([TimeSum(mean=True, name="rates")] if mean else []),
            keras.layers.Dense(10, name="scores"),
        ]
    )


def cached(recordings, features, folder):
    """`scattering` of recordings, kept in a folder, in a file that is named after them."""
    digest = hashlib.sha256()
    for each in recordings:
        digest.update(each.samples.tobytes())
    path = folder / f"{features}-{digest.hexdigest()[:16]}.npy"
    if not path.exists():
        found = scattering([each.samples for each in recordings], features)
        with files.replacing(path, ".npy") as part:
            np.save(part, found)
    return np.load(path)


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


def measured(name, config, training, test, seed, output):
    """Trains a network on features and digits `(x, y)`, tests it on others: itself, and numbers."""
    (x, y), (x_test, y_test) = training, test
    keras.utils.set_random_seed(seed)
    model = build(name, config, x, config["units"], seed)
    images.prepare(model, len(x), config["epochs"], config["batch"], images.RATES[name])
    history = experiment.train(model, x, y, output, name, config["epochs"], config["batch"], seed)
    (accuracy,) = images.accuracies(model, x_test, y_test, 1)
    return model, {
        "accuracy": accuracy,
        "training_accuracy": history["accuracy"],
        "parameters": model.count_params(),
        "seconds": sum(history["seconds"]),
    }


def seen(recordings, features, folder):
    """Features and digits of recordings: `(x, y)`. The features are kept in a file of `folder`."""
    digits = np.array([each.digit for each in recordings], "int32")
    return cached(recordings, features, folder), digits


def run(config, parts, output):
    """Trains and tests networks of both models: dictionary from the model to what was measured."""
    training, test = (seen(part, config["features"], output) for part in parts)
    numbers = {}
    for name in MODELS:
        found = []
        for seed in range(config["seed"], config["seed"] + config["networks"]):
            model, network = measured(name, config, training, test, seed, output / f"seed-{seed}")
            found.append(network)
            if seed == config["seed"]:
                model.save(output / f"{name}.keras")
        accuracies = [network["accuracy"] for network in found]
        numbers[name] = {
            "accuracy": float(np.mean(accuracies)),
            "deviation": float(np.std(accuracies)),
            "accuracies": accuracies,
            "training_accuracies": [network["training_accuracy"][-1] for network in found],
            "parameters": found[0]["parameters"],
            "seconds": sum(network["seconds"] for network in found),
        }
        print(f"Spoken digits, {name}: {', '.join(f'{each:.2%}' for each in accuracies)}")
    return numbers


def validate(config, recordings, output):
    """Compares `CANDIDATES` on the indices `VALIDATION`, by networks trained on the other indices.

    Returns:
        A dictionary from each candidate to what was measured.
    """
    held_out = np.array([each.index in VALIDATION for each in recordings])
    x, y = seen(recordings, config["features"], output)
    parts = (x[~held_out], y[~held_out]), (x[held_out], y[held_out])
    numbers = {}
    for number, (candidate, chosen) in enumerate(CANDIDATES.items()):
        folder = output / f"candidate-{number}"
        _, numbers[candidate] = measured(
            MODELS[0], {**config, **chosen}, *parts, config["seed"], folder
        )
        print(f"{candidate}: {numbers[candidate]['accuracy']:.2%}")
    return numbers


def row(config, numbers):
    """The row of the table."""
    spiking, analog = (numbers[name] for name in MODELS)
    steps, inputs = FEATURES[config["features"]]
    return {
        "paper": "003",
        "what": f"Spoken digits, {steps} steps of {inputs} features",
        "published": "83 % (LSTM 86 %)",
        "ours": f"{spiking['accuracy']:.1%} ± {spiking['deviation']:.1%}".replace("%", " %"),
        "beside": f"LSTM {analog['accuracy']:.1%} ± {analog['deviation']:.1%}".replace("%", " %"),
        "protocol": (
            f"the official split, {config['train']} recordings of {config['speakers']} speakers to "
            f"train on and {config['test']} to test on (paper: 1800 and 200, 4 speakers); "
            f"{config['units']} units, {config['epochs']} epochs, "
            f"readout of the {READOUTS[config['readout']]}, "
            "chosen in validation on recordings of the training; features are "
            "analog, the paper does not say; mean and "
            f"deviation of {config['networks']} networks, of the seed and those after it"
        ),
    }


def main(arguments=None):
    parser = experiment.parser(__doc__, NAME, PRESETS, data.SPEECH_SOURCES)
    parser.add_argument("--features", choices=FEATURES, default="mean")
    parser.add_argument("--validate", action="store_true", help="compare CANDIDATES, test nothing")
    parser.add_argument("--label", type=Path, metavar="FILE", help="say which digit a file has")
    given = parser.parse_args(arguments)
    if given.label is not None and given.validate:
        parser.error("--label takes a network of a run without --validate.")
    if given.label is not None and not given.label.is_file():
        parser.error(f"There is no file {given.label}.")
    preset = PRESETS[given.preset]
    config = {
        **preset,
        **({"candidates": CANDIDATES} if given.validate else CHOSEN),
        "features": given.features,
        "rates": images.RATES,
        "seed": given.seed,
    }
    part = f"{given.features}-validation" if given.validate else given.features
    output = experiment.directory(given, NAME, config, f"{part}-")
    if given.label is not None:
        digit, chance = label(given.label, config, output)
        print(f"{digit} ({chance:.0%})")
        return
    started = time.perf_counter()
    parts = data.spoken_digits(given.source, given.data_dir)
    if given.validate:
        numbers, rows = validate(config, parts[0], output), []
    else:
        numbers = run(config, parts, output)
        speakers = {each.speaker for each in parts[0]}
        config |= {"train": len(parts[0]), "test": len(parts[1]), "speakers": len(speakers)}
        rows = [row(config, numbers)]
    experiment.record(
        f"spiking_lstm.speech, {part}",
        given,
        parser,
        name=f"speech-{part}",
        config=config,
        seconds=sum(each["seconds"] for each in numbers.values()),
        numbers=numbers,
        rows=rows,
    )
    print(f"{time.perf_counter() - started:.0f} seconds.")


if __name__ == "__main__":
    main()
