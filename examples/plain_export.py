"""Digits: what the integers change in models that were trained in float.

    python -m examples.plain_export                  2 500 digits, fourteen models
    python -m examples.plain_export --preset quick   a small part of them

Each model is trained, exported, and compared with its integers and with Lava. Those with
convolutions see the whole image for ten steps, the others one row a step; SRC, whose pulses last
several steps, sees each row for four. Writes results.json.
"""

import argparse
import json
import time

import keras
import numpy as np
from keras import layers
from rich.console import Console
from rich.table import Table

from examples import experiment
from examples.quantization_aware import digits, exported, repeated, train
from keras_spiking_rnn import (
    LIF,
    LIFLSTM,
    RLIF,
    SRC,
    ConvRLIF2D,
    DirectEncoder,
    GatedLIF,
    LeakyReadout,
    TimeSum,
)

PRESETS = {
    "full": {"train": 2000, "test": 500, "units": 64, "epochs": 12, "stock": 5},
    "quick": {"train": 256, "test": 20, "units": 16, "epochs": 1, "stock": 1},
}
HEADINGS = (
    "model",
    "float",
    "integers",
    "same label",
    "outputs changed",
    "sums changed",
    "pulses, float and integers",
    "outputs changed if weights change by 0.1 %",
    "same label if they do",
)


def dense(*kinds):
    """A model of digits row by row: pairs of a kind of layer and its arguments."""

    def build(units):
        spiking = [kind(units, return_sequences=True, **given) for kind, given in kinds]
        return [*spiking, TimeSum(mean=True), layers.Dense(10)]

    return build


def src(units):
    """Two layers of SRC, the second with a multiple of 10 units, as the readout of digits needs."""
    # The default alpha of 0.9 keeps too little of the rows before.
    spiking = [SRC(n, alpha=0.97, return_sequences=True) for n in (units, units // 10 * 10)]
    return [*spiking, LeakyReadout(10)]


def convolutions(pooling):
    """A model of whole images, with pooling and a dense layer behind it or without."""

    def build(units):
        images = [layers.Reshape((28, 28, 1)), DirectEncoder(10)]
        first, second = (
            ConvRLIF2D(filters, size, strides, leak_initializer=0.9, return_sequences=True)
            for filters, size, strides in (
                (units // 8, 5, 2),
                (units // 4, 3, 1 if pooling else 2),
            )
        )
        if not pooling:
            flat = [layers.TimeDistributed(layers.Flatten())]
            return [*images, first, second, *flat, TimeSum(mean=True), layers.Dense(10)]
        largest, mean, flat = map(
            layers.TimeDistributed,
            (layers.MaxPooling2D(2), layers.AveragePooling2D(2), layers.Flatten()),
        )
        last = RLIF(units // 2, leak_initializer=0.9, return_sequences=True)
        spiking = [first, largest, second, mean, flat, last]
        return [*images, *spiking, TimeSum(mean=True), layers.Dense(10)]

    return build


PLAN = {"gate_activation": "plan_sigmoid"}
SIX_BITS = {"bits": 6, "threshold_ratio": 8, "batch_normalization": True}
SPIKES = {"bits": None}
V2 = {"recurrent_gates": True}
LIFS = {
    "LIF, spikes": dense((LIF, SPIKES)),
    "2 LIF, 6 bits": dense((LIF, SIX_BITS), (LIF, SIX_BITS)),
    "GatedLIF, spikes, PLAN": dense((GatedLIF, SPIKES | PLAN)),
    "GatedLIF, 6 bits, sigmoid": dense((GatedLIF, SIX_BITS)),
    "GatedLIF, 6 bits, PLAN": dense((GatedLIF, SIX_BITS | PLAN)),
    "GatedLIF, 6 bits, PLAN, and RLIF": dense((GatedLIF, SIX_BITS | PLAN), (RLIF, {})),
    "GatedLIF version 2, spikes, PLAN": dense((GatedLIF, V2 | SPIKES | PLAN)),
    "GatedLIF version 2, 6 bits, sigmoid": dense((GatedLIF, V2 | SIX_BITS)),
    "GatedLIF version 2, 6 bits, PLAN": dense((GatedLIF, V2 | SIX_BITS | PLAN)),
    "2 GatedLIF version 2, 6 bits, PLAN": dense(*[(GatedLIF, V2 | SIX_BITS | PLAN)] * 2),
}
CONVOLUTIONS = {
    "2 ConvRLIF2D": convolutions(pooling=False),
    "2 ConvRLIF2D with pooling, and RLIF": convolutions(pooling=True),
}
OURS = {
    "2 LIFLSTM": dense((LIFLSTM, {}), (LIFLSTM, {})),
    "2 SRC": src,
}
MODELS = LIFS | CONVOLUTIONS | OURS
STEPS_OF_A_ROW = {"2 SRC": 4}


def network(name, steps, units):
    """The model of a name, not compiled."""
    return keras.Sequential([keras.Input((steps, 28)), *MODELS[name](units)])


def outputs(model, names, x):
    """The outputs of layers, and the labels: a list of arrays."""
    chosen = [model.get_layer(name).output for name in names]
    *found, scores = keras.Model(model.inputs, [*chosen, model.outputs[0]]).predict(x, verbose=0)
    return [*found, scores.argmax(axis=-1)]


def disturbed(model, names, x, seed):
    """What changes if each weight changes at random, with a deviation of 0.1 % of it.

    Args:
        model: A model, whose weights are put back.
        names: Names of its layers of spikes, as `verify` reports them.
        x: Inputs.
        seed: Seed of the changes.

    Returns:
        The outputs of each layer that differ, relative to those that are not 0, and the share of
        samples that keep their label.
    """
    *before, label = outputs(model, names, x)
    kept, random = model.get_weights(), np.random.default_rng(seed)
    for variable in model.trainable_variables:
        noise = 1 + 1e-3 * random.normal(size=variable.shape)
        variable.assign(variable * noise.astype("float32"))
    *after, label_then = outputs(model, names, x)
    model.set_weights(kept)
    changed = [
        float((a != b).sum() / max(1, (a != 0).sum())) for a, b in zip(before, after, strict=True)
    ]
    return changed, float((label == label_then).mean())


def measure(name, preset, data, seed, modes):
    """What is found of a model, a dictionary: shares, and lists of those of its layers."""
    (x, y), (x_test, y_test) = repeated(data, STEPS_OF_A_ROW.get(name, 1))
    keras.utils.set_random_seed(seed)
    model = network(name, x.shape[1], preset["units"])
    train(model, x, y, preset["epochs"], 5e-3)
    integers, same, report = exported(
        model, x[:256], x_test, y_test, samples_stock=preset["stock"], modes=modes
    )
    stage = report.float_stage
    changed_then, same_then = disturbed(model, report.layers, x_test, seed)
    return {
        "model": name,
        "float": stage.float_accuracy,
        "integers": stage.integer_accuracy,
        "same": same,
        "changed": [
            wrong / max(1, spikes)
            for wrong, spikes in zip(stage.mismatches, stage.float_spikes, strict=True)
        ],
        "sums": [layer.decoded_error for layer in integers.quantization.layers],
        "pulses": stage.pulses,
        "changed_then": changed_then,
        "same_then": same_then,
        "wraps": sum(stage.wraps),
        "saturations": sum(stage.saturations),
        "lava": {
            each.mode: [each.samples, each.spike_mismatches + each.state_mismatches]
            for each in report.lava
        },
    }


def of_layers(shares):
    """Shares of layers in percent; of those that are not known, nothing."""
    return ", ".join(experiment.percent(share) for share in shares if share is not None)


def lines(rows):
    """The table of models, whose first line is the headings: a list of tuples of texts."""
    found = [HEADINGS]
    for row in rows:
        pulses = (f"{a:,} and {b:,}" for a, b in filter(None, row["pulses"]))
        found.append(
            (
                row["model"],
                *(experiment.percent(row[key]) for key in ("float", "integers", "same")),
                *(of_layers(row[key]) for key in ("changed", "sums")),
                "; ".join(pulses),
                of_layers(row["changed_then"]),
                experiment.percent(row["same_then"]),
            )
        )
    columns = [column for column in zip(*found, strict=True) if any(column[1:])]
    return list(zip(*columns, strict=True))


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=PRESETS, default="full")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), metavar="NAME")
    parser.add_argument("--seed", type=experiment.non_negative, default=0)
    parser.add_argument("--without-lava", action="store_true", help="do not run it on Lava")
    parser.add_argument("--output", type=experiment.folder, default="runs/plain_export")
    given = parser.parse_args(arguments)
    given.output.mkdir(parents=True, exist_ok=True)
    preset, started = PRESETS[given.preset], time.perf_counter()
    data = digits(preset["train"], preset["test"], given.seed)
    modes = () if given.without_lava else ("stock", "batched")
    rows = []
    for name in given.models:
        rows.append(measure(name, preset, data, given.seed, modes))
        print(f"{name}: done after {time.perf_counter() - started:.0f} seconds.", flush=True)
    headings, *found = lines(rows)
    table = Table(
        *headings, title=f"{preset['test']} digits, preset {given.preset}, seed {given.seed}"
    )
    for line in found:
        table.add_row(*line)
    Console(width=160).print(table)
    results = {
        "preset": given.preset,
        "seed": given.seed,
        "rows": rows,
        "seconds": time.perf_counter() - started,
    }
    experiment.write(given.output / "results.json", json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
