"""What each process of test_distributed.py does: `python distributed_worker.py FOLDER JOB ...`.

`TF_CONFIG` or the variables of Slurm say which worker it is, `DEVICES` how many devices it has.
"""

import functools
import os
import signal
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_spiking_rnn as ksr
from keras_spiking_rnn import distributed
from keras_spiking_rnn.callbacks import AtomicModelCheckpoint

BATCH = 8
X = (np.random.default_rng(1).random((40, 6, 5)) < 0.5).astype("float32")
Y = (X[:, :, :2].sum((1, 2)) > 6).astype("int32")
LAYERS = {
    "rlif": ksr.RLIF,
    "spiking_lstm": ksr.SpikingLSTM,
    "gated_lif": functools.partial(ksr.GatedLIF, recurrent_gates=True),
}
STRATEGY = tf.distribute.get_strategy()


def model_of(name, optimizer=lambda: keras.optimizers.SGD(0.5), **arguments):
    """A compiled model, the same in every process, made in the scope of `STRATEGY`."""
    keras.utils.set_random_seed(5)
    with STRATEGY.scope():
        model = keras.Sequential(
            [
                keras.Input(X.shape[1:]),
                LAYERS[name](8, return_sequences=True, **arguments),
                ksr.TimeSum(),
                keras.layers.Dense(2),
            ]
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer(), loss, metrics=["accuracy"])
    return model


def after_steps(name, **of_optimizer):
    """Weights before, after 1 and after 10 steps; the history, and what callbacks have seen."""
    model = model_of(name, lambda: keras.optimizers.SGD(0.5, **of_optimizer))
    values = {"0": model.get_weights()}
    seen = []

    def keep(batch, logs):
        values.setdefault("1", model.get_weights())
        seen.append(float(logs["loss"]))

    called = keras.callbacks.LambdaCallback(on_train_batch_end=keep)
    data = distributed.batches(X, Y, BATCH)
    # 9 samples: of the last batch one replica of two gets nothing.
    validation = tf.data.Dataset.from_tensor_slices((X[:9], Y[:9])).batch(BATCH)
    history = distributed.fit(model, data, 2, validation, [called], verbose=0).history
    values["10"] = model.get_weights()
    assert model.layers[0]._fused is not None, "the loop was not the compiled one"
    named = {f"{step}/{i:02d}": v for step, each in values.items() for i, v in enumerate(each)}
    named["seen/loss"] = np.array(seen)
    return named | {f"log/{key}": np.array(value) for key, value in history.items()}


class KillAt(keras.callbacks.Callback):
    """Kills this process with SIGKILL after a batch of the second epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == (1, 3):
            os.kill(os.getpid(), signal.SIGKILL)


def train(backup, callbacks=(), epochs=3):
    """A training with a backup every other batch, of a model with dropout and momenta."""
    model = model_of("rlif", lambda: keras.optimizers.Adam(0.02), dropout=0.2)
    data = distributed.batches(X, Y, BATCH, seed=3)
    # The chief alone has these, which save the model and write.
    best = Path(backup).with_suffix(".weights.h5")
    writers = [
        AtomicModelCheckpoint(best, "loss", save_best_only=True, save_weights_only=True),
        keras.callbacks.CSVLogger(Path(backup).with_suffix(".csv"), append=True),
    ]
    history = distributed.fit(
        model, data, epochs, callbacks=[*writers, *callbacks], backup=backup, save_freq=2, verbose=0
    )
    named = {f"weight/{i:02d}": value for i, value in enumerate(model.get_weights())}
    return named | {f"log/{key}": np.array(value) for key, value in history.history.items()}


def killed_while_writing(backup, times):
    """Trains until the backup is written for the last of so many times, which ends half-way."""
    written = []

    def savez(file, **arrays):
        written.append(file)
        if len(written) == times:
            file.write(b"half of it")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        complete(file, **arrays)

    complete, np.savez = np.savez, savez
    train(backup)


def main(folder, *jobs):
    devices = int(os.environ.get("DEVICES", 1))
    if devices > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        logical = [tf.config.LogicalDeviceConfiguration()] * devices
        tf.config.set_logical_device_configuration(cpu, logical)
    global STRATEGY
    STRATEGY = distributed.strategy(int(os.environ.get("PORT", distributed.PORT)))
    me = f"{type(STRATEGY).__name__}-{getattr(STRATEGY.cluster_resolver, 'task_id', 0) or 0}"
    for job in jobs:
        found = {}
        if job == "steps":
            for name in LAYERS:
                clip = {"global_clipnorm": 0.1} if name == "rlif" else {}
                results = after_steps(name, **clip)
                found |= {f"{name}/{key}": value for key, value in results.items()}
        elif job == "whole":
            found = train(folder / f"whole-{me}-backup.npz")
        elif job == "killed":
            train(folder / "killed.npz", [KillAt()] if me.endswith("-1") else [])
        elif job == "goes-on":
            found = train(folder / "killed.npz")
        elif job == "killed-while-writing":
            killed_while_writing(folder / "writing.npz", times=4)
        np.savez(folder / f"{job}-{me}.npz", **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
