"""The networks of the paper, two layers and a linear readout, and what is measured of them.

*Spiking Neural Networks with Improved Inherent Recurrence Dynamics for Sequential Learning* (2021),
section 4, with the arguments of the published code: feed-forward products are normalised, outputs
have a threshold of an eighth of the largest membrane potential, membranes do not leak, and the
traditional network learns the decay of its current, which begins with 1.
"""

import time

import keras
import numpy as np
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
# and with one bit the half, which is all that there is.
EIGHTH = {1: 1, 3: 1, 5: 4, 6: 8, "full": 32}
PAPER_BITS = 6
BATCH, DROPOUT = 32, 0.2


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
        bits: Bits of the outputs of a spiking layer, or `"full"` for outputs in full precision.
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
        "bits": 8 if full else bits,
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


def compile_for(model, samples, protocol):
    """Compiles: Adam, a rate that falls along a cosine, gradients of norm 1.

    Args:
        model: What `network` gives.
        samples: Number of sequences in an epoch.
        protocol: Dictionary with `rate`, `epochs` and `batch`.
    """
    updates = protocol["epochs"] * -(-samples // protocol["batch"])
    model.compile(
        keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(protocol["rate"], updates), global_clipnorm=1.0
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        # For networks as small as these, compiling takes longer than it saves.
        jit_compile=False,
    )


def restart(model, fresh, seed):
    """Makes a compiled model one that has not been trained, which saves compiling it again.

    Args:
        model: A compiled model.
        fresh: A model of the same layers, with the weights to begin with.
        seed: Seed of dropout.
    """
    model.set_weights(fresh.get_weights())
    experiment.reseed(model, seed)
    for variable in model.optimizer.variables:
        variable.assign(ops.zeros_like(variable))


def trained(build, training, protocol, seeds):
    """Models trained with some seeds, one after the other, in the same compiled one.

    Args:
        build: Function from a seed to a model.
        training: `(x, y)`.
        protocol: See `compile_for`.
        seeds: The seeds.

    Yields:
        `(seed, model, seconds)`: the model is trained on by the next one.
    """
    model = None
    for seed in seeds:
        started = time.perf_counter()
        fresh = build(seed)
        if model is None:
            model = fresh
            compile_for(model, len(training[0]), protocol)
        else:
            restart(model, fresh, seed)
        batches = experiment.Batches(*training, protocol["batch"], seed)
        model.fit(
            batches,
            epochs=protocol["epochs"],
            shuffle=False,
            verbose=0,
            callbacks=[experiment.Resumable(batches)],
        )
        yield seed, model, time.perf_counter() - started


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
    right = model.predict(x, batch_size=512, verbose=0).argmax(axis=-1) == y
    counted = metrics.operations(model, x, batch_size=512)
    return {
        "accuracy": float(np.average(right, weights=weights)),
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
    numbers["deviation"] = float(np.std([each["accuracy"] for each in found]))
    numbers["accuracies"] = [round(each["accuracy"], 4) for each in found]
    return numbers


def percent(share, deviation=None):
    """A share in percent with one decimal, and its deviation."""
    spread = "" if deviation is None else f" ± {100 * deviation:.1f}"
    return f"{100 * share:.1f}{spread} %"
