"""The networks of the paper, two layers and a linear readout, and what is measured of them.

*Spiking Neural Networks with Improved Inherent Recurrence Dynamics for Sequential Learning* (2021),
section 4, with the arguments of the published code: feed-forward products are normalised, outputs
have a threshold of an eighth of the largest membrane potential, membranes do not leak, and the
traditional network learns the decay of its current, which begins with 1.
"""

import io
import json
import math
import time

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from examples import experiment
from keras_spiking_rnn import LIF, GatedLIF, TimeSum, metrics
from keras_spiking_rnn.lif import GatedLIFCell, LIFCell

ANALOG = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}
SPIKING = ("traditional", "v1", "v2")
NAMES = (*ANALOG, *SPIKING)
TITLES = {
    "lstm": "LSTM",
    "gru": "GRU",
    "traditional": "traditional",
    "v1": "improved v1",
    "v2": "improved v2",
}
# Bits of the outputs to k of the threshold k / 2**bits of the largest potential: an eighth of it,
# and with one bit the half, which is all that there is. Spikes, equation (9), have one of 1.
EIGHTH = {"spike": 1, 1: 1, 3: 1, 5: 4, 6: 8, "full": 32}
PAPER_BITS = 6
DROPOUT = 0.2
# How often Keras begins a data set of TensorFlow in an epoch: at its begin and its end.
BEGUN = 2


def unrounded(cell, membrane, v_max):
    """Equation (22) without its floor: the membrane potential itself, from the threshold on."""
    theta = cell.threshold_ratio * v_max / 2**cell.bits
    limited = ops.minimum(membrane, v_max)
    fired = ops.where(membrane >= theta, limited, 0.0)
    # Its gradient is that of outputs of several bits: 1 from 0 to the largest potential.
    passed = ops.clip(membrane, 0.0, v_max)
    return passed + ops.stop_gradient(fired - passed)


class UnroundedLIFCell(LIFCell):
    """The traditional neuron with outputs in full precision."""

    def fire(self, membrane, v_max=None):
        """See `unrounded`."""
        return unrounded(self, membrane, v_max)


class UnroundedGatedLIFCell(GatedLIFCell):
    """The improved neuron with outputs in full precision."""

    def fire(self, membrane, v_max=None):
        """See `unrounded`."""
        return unrounded(self, membrane, v_max)


class UnroundedLIF(LIF):
    """Layer of `UnroundedLIFCell`; `bits` and `threshold_ratio` are those of the threshold."""

    cell_class = UnroundedLIFCell


class UnroundedGatedLIF(GatedLIF):
    """Layer of `UnroundedGatedLIFCell`; `bits` and `threshold_ratio` are those of the threshold."""

    cell_class = UnroundedGatedLIFCell


def layer(neuron, units, bits, ratio, seed, **options):
    """A recurrent layer that returns sequences.

    Args:
        neuron: One of `NAMES`.
        units: Number of units.
        bits: Bits of the outputs of a spiking layer, `"full"` for outputs in full precision, or
            `"spike"` for outputs of 0 and 1 at a constant threshold.
        ratio: The threshold in steps of the outputs, those in full precision as of 8 bits.
        seed: Seed of dropout.
        **options: More arguments: of a spiking layer in place of the published ones, of another
            one only `name`.
    """
    common = {"return_sequences": True, "recurrent_dropout": DROPOUT, "seed": seed}
    if neuron in ANALOG:
        return ANALOG[neuron](units, name=options.get("name"), **common)
    full = bits == "full"
    common |= {
        "bits": {"full": 8, "spike": None}.get(bits, bits),
        "threshold_ratio": ratio,
        "batch_normalization": True,
        "membrane_decay_initializer": 1.0,
    }
    if neuron == "traditional":
        common |= {"current_decay_initializer": 1.0, "learn_current_decay": True, **options}
        return (UnroundedLIF if full else LIF)(units, **common)
    kind = UnroundedGatedLIF if full else GatedLIF
    return kind(units, **{**common, "recurrent_gates": neuron == "v2", **options})


def network(name, x, classes, units, seed, bits=PAPER_BITS, ratio=None, each_step=False, **options):
    """Standardized inputs, two layers, and the scores of the classes.

    Args:
        name: One of `NAMES`.
        x: Inputs of the training, `(n, steps, features)`, from which mean and deviation are taken.
            A step whose features are all 0 is padding.
        classes: Number of classes.
        units: Number of units of each layer.
        seed: Seed of weights and dropout.
        bits: See `layer`.
        ratio: See `layer`; by default that of `EIGHTH`.
        each_step: Whether there are scores of each step, or their mean over the steps.
        **options: See `layer`.

    Returns:
        A `keras.Sequential` that is not compiled.
    """
    keras.utils.set_random_seed(seed)
    ratio = EIGHTH[bits] if ratio is None else ratio
    steps = x[x.any(axis=-1)]
    return keras.Sequential(
        [
            keras.Input((None, x.shape[-1])),
            keras.layers.Masking(name="masked"),
            keras.layers.Normalization(
                mean=steps.mean(axis=0), variance=steps.var(axis=0) + 1e-6, name="standardized"
            ),
            layer(name, units, bits, ratio, seed + 1, name="first", **options),
            layer(name, units, bits, ratio, seed + 2, name="second", **options),
            keras.layers.Dense(classes, name="scores"),
            *([] if each_step else [TimeSum(mean=True, name="mean")]),
        ],
        name=name,
    )


def compile_for(model, rate=0.001, loss=None, jit=False):
    """Compiles: Adam, gradients of norm 1.

    Args:
        model: What `network` gives.
        rate: Learning rate, or a schedule of Keras. That of `falling` takes its place.
        loss: A loss of Keras; by default the cross-entropy.
        jit: Whether XLA compiles an update, which takes as long as some hundred others.
    """
    model.compile(
        keras.optimizers.Adam(rate, global_clipnorm=1.0),
        loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=jit,
    )
    # Of an update only: a test has few batches.
    model.make_train_function()
    model.jit_compile = False


def falling(rate, epochs):
    """A callback: the rate falls along a cosine. It is no part of what is compiled."""
    return keras.callbacks.LearningRateScheduler(
        lambda epoch: rate * (1 + math.cos(math.pi * epoch / epochs)) / 2
    )


def restart(model, fresh):
    """Makes a compiled model one that has not been trained, which saves compiling it again.

    Args:
        model: A compiled model.
        fresh: A model of the same layers, with the weights to begin with.
    """
    model.set_weights(fresh.get_weights())
    for variable in model.optimizer.variables:
        variable.assign(ops.zeros_like(variable))


class Bar(keras.callbacks.Callback):
    """A progress bar of the epochs.

    Args:
        title: What is trained.
        epochs: Number of epochs.
    """

    def __init__(self, title, epochs):
        super().__init__()
        self.title, self.epochs = title, epochs

    def on_train_begin(self, logs=None):
        """Says what is trained."""
        self.bar = experiment.bar(self.title, self.epochs, "epoch")

    def on_epoch_end(self, epoch, logs=None):
        """Moves the bar."""
        self.bar.update(epoch + 1, [("loss", logs["loss"])])


class Saved(keras.callbacks.Callback):
    """Keeps all of a training in a file after each epoch, to go on with.

    Args:
        path: The file, whose suffix is `.npz`. Its folder is made.

    Attributes:
        before: How long the epochs took, in seconds, that were in the file when it was loaded.
    """

    def __init__(self, path):
        super().__init__()
        self.path, self.before = path, 0.0

    @staticmethod
    def state(model):
        """Weights, statistics and random numbers of a compiled model, and its optimizer."""
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        return [*model.variables, *model.optimizer.variables]

    def load(self, model):
        """Sets a compiled model to what is in the file: the number of its epochs."""
        if not self.path.exists():
            return 0
        with np.load(self.path) as saved:
            for number, variable in enumerate(self.state(model)):
                variable.assign(saved[str(number)])
            self.before = float(saved["seconds"])
            return int(saved["epochs"])

    def on_train_begin(self, logs=None):
        """Starts the clock."""
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Replaces the file."""
        seconds = self.before + time.perf_counter() - self.started
        state = {
            str(number): np.asarray(each) for number, each in enumerate(self.state(self.model))
        }
        content = io.BytesIO()
        np.savez(content, **state, seconds=seconds, epochs=epoch + 1)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        experiment.write(self.path, content.getvalue())


class Trainer:
    """Trains networks of one kind, one after the other, in the same compiled model.

    Args:
        build: Function from a seed to a model.
        protocol: Dictionary with `epochs`, `batch`, and `jit`, see `compile_for`.
        loss: See `compile_for`.
    """

    def __init__(self, build, protocol, loss=None):
        self.build, self.protocol, self.loss = build, protocol, loss
        self.model = None

    def __call__(self, training, rate, seed, saved=None, title=None):
        """A trained model, which the next call trains on.

        A training that was killed goes on, and ends with the same weights.

        Args:
            training: `(x, y)`, or with weights of the steps, `(x, y, weights)`. What is left after
                the last whole batch is left out, each time by chance.
            rate: Learning rate to begin with.
            seed: Seed of weights, dropout and batches.
            saved: A `Saved`, or `None` to keep nothing.
            title: That of a `Bar`, or `None` for none.
        """
        fresh = self.build(seed)
        if self.model is None:
            self.model = fresh
            compile_for(fresh, loss=self.loss, jit=self.protocol["jit"])
        else:
            restart(self.model, fresh)
        experiment.reseed(self.model, seed)
        count, epochs = len(training[0]), self.protocol["epochs"]
        batches = (
            tf.data.Dataset.from_tensor_slices(training)
            .shuffle(count, seed=seed)
            .batch(min(count, self.protocol["batch"]), drop_remainder=True)
        )
        done = 0 if saved is None else saved.load(self.model)
        for _ in range(BEGUN * done):
            iter(batches)  # each time that it is begun its order is another one
        callbacks = [falling(rate, epochs)]
        callbacks += [] if title is None else [Bar(title, epochs)]
        callbacks += [] if saved is None else [saved]
        self.model.fit(batches, initial_epoch=done, epochs=epochs, verbose=0, callbacks=callbacks)
        return self.model


def held_out(training, seed):
    """Four fifths of the training part, and the fifth to validate on, by chance."""
    order = np.random.default_rng(seed).permutation(len(training[0]))
    count = len(order) // 5
    return tuple(tuple(each[part] for each in training) for part in (order[count:], order[:count]))


def of_a_run(config):
    """What one training depends on: with more seeds or rates a folder goes on with what it has."""
    return {key: each for key, each in config.items() if key not in ("seeds", "rates")}


def kept(path, measure):
    """What a JSON file has, or else what `measure()` gives, which is written to it first.

    Args:
        path: The file; its folder is made.
        measure: Function that gives what JSON can have.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        experiment.write(path, json.dumps(measure(), indent=1))
    return json.loads(path.read_text())


def compared(folder, build, training, measure, protocol, seeds, loss=None):
    """What is measured of one kind of network, at the best of some learning rates.

    That is the one with the best accuracy on a fifth of the training part, after training on the
    rest with the first seed. A run that was killed goes on with the epoch that it was at.

    Args:
        folder: Folder of what is known already; it is made.
        build: Function from a seed to a model.
        training: `(x, y)` or `(x, y, weights)`.
        measure: Function from a trained model to a dictionary of numbers.
        protocol: See `Trainer`, and `rates`.
        seeds: The seeds.
        loss: See `compile_for`.

    Returns:
        What `summary` gives, with `rate` and, of several, `validated`, the accuracies.
    """
    trainer, rates = Trainer(build, protocol, loss), protocol["rates"]

    def run(name, training, rate, seed, measure):
        saved = Saved(folder / f"{name}.npz")

        def timed():
            started = time.perf_counter()
            measured = measure(trainer(training, rate, seed, saved, f"{folder.name}, {name}"))
            return {**measured, "seconds": saved.before + time.perf_counter() - started}

        found = kept(folder / f"{name}.json", timed)
        saved.path.unlink(missing_ok=True)
        return found

    validated = []
    if len(rates) > 1:
        rest, held = held_out(training, seeds[0])
        validated = [
            run(
                f"{rate:g}-validated",
                rest,
                rate,
                seeds[0],
                lambda model: {"accuracy": accuracy(model, *held)},
            )
            for rate in rates
        ]
    accuracies = [each["accuracy"] for each in validated]
    rate = rates[int(np.argmax(accuracies))] if validated else rates[0]
    found = [run(f"{rate:g}-{seed}", training, rate, seed, measure) for seed in seeds]
    return {
        **summary(found),
        "rate": rate,
        "validated": [round(each, 4) for each in accuracies],
        "seconds": sum(each["seconds"] for each in (*validated, *found)),
    }


def protocol_of(given):
    """Size, training and seeds of a protocol, as rows of the table of reproductions tell them."""
    seeds, rates = given["seeds"], ", ".join(f"{rate:g}" for rate in given["rates"])
    chosen = f", of {rates}, the best in validation" if len(given["rates"]) > 1 else f" {rates}"
    return (
        f"2 layers of {given['units']} units (paper 550), {given['epochs']} epochs (paper 24), "
        f"{seeds} seed{'s' * (seeds > 1)}, learning rate{chosen}"
    )


def accuracy(model, x, y, weights=None):
    """The fraction of labels that are told: see `measured`."""
    right = model.predict(x, batch_size=512, verbose=0).argmax(axis=-1) == y
    return float(np.average(right, weights=weights))


def measured(model, x, y, weights=None):
    """What is measured of a trained network.

    Args:
        model: A trained model.
        x: Sequences to test on, padded with 0.
        y: Labels `(n,)`, or of each step `(n, steps)`.
        weights: 1 for the steps that count, `(n, steps)`, with labels of each step.

    Returns:
        A dictionary: `accuracy`; `zeros`, the fraction of the outputs of both layers that are 0;
        `multiplications` of a step in the mean, those of the readout too, without those with 0;
        `parameters`, weights of both layers.
    """
    counted = metrics.operations(model, x, batch_size=512)
    return {
        "accuracy": accuracy(model, x, y, weights),
        "zeros": float(np.mean([counted[each]["zero_inputs"] for each in ("second", "scores")])),
        "multiplications": sum(each["multiplications"] for each in counted.values()),
        "parameters": sum(counted[each]["parameters"] for each in ("first", "second")),
    }


def summary(found):
    """The mean of each number over seeds, with the deviation of the accuracy.

    Args:
        found: List of dictionaries of the same keys.
    """
    numbers = {key: float(np.mean([each[key] for each in found])) for key in found[0]}
    if "accuracy" in numbers:
        numbers["deviation"] = float(np.std([each["accuracy"] for each in found]))
        numbers["accuracies"] = [round(each["accuracy"], 4) for each in found]
    return numbers


def cases(neurons, bits):
    """`(neuron, bits)` of the networks: bits of spiking ones alone, others are in full."""
    for neuron in neurons:
        for each in ["full"] if neuron in ANALOG else bits:
            yield neuron, each


def bits_of(text):
    """The type of an argument that is a key of `EIGHTH`."""
    return text if text in EIGHTH else int(text)


def precision(bits):
    """Bits of the outputs in words."""
    named = {"full": "full precision", "spike": "spikes"}
    return named.get(bits) or f"{bits} bit{'s' * (bits != '1')}"


def titled(key):
    """The name of the network `"NEURON-BITS"` in words."""
    neuron, bits = key.split("-")
    return f"{TITLES[neuron]}, {precision(bits)}"


def beside(key, numbers):
    """What stands beside the accuracy of a network, a list of texts.

    Args:
        key: `"NEURON-BITS"`.
        numbers: Dictionary from such keys to what `compared` gives.
    """
    found = numbers[key]
    said = [
        f"{found['parameters']:.0f} parameters",
        f"{experiment.percent(found['zeros'])} zeros",
        f"{found['multiplications']:.0f} multiplications a step",
    ]
    gru, lstm = (numbers.get(f"{name}-full") for name in ("gru", "lstm"))
    if key.split("-")[0] in SPIKING:
        if gru:
            saved = gru["multiplications"] / found["multiplications"]
            said.append(f"{saved:.1f} times fewer than GRU")
        if lstm and "accuracy" in found:
            said.append(f"LSTM {100 * (found['accuracy'] - lstm['accuracy']):+.1f} points")
    return [*said, *([f"learning rate {found['rate']:g}"] if found["validated"] else [])]


def told(found):
    """The accuracy of what `compared` gives, with its deviation if it is of several seeds."""
    several = len(found["accuracies"]) > 1
    return experiment.percent(found["accuracy"], found["deviation"] if several else None)
