"""Networks with outputs of 1 and 3 bits on the chip: trained on in its integers, and run on Lava.

    python -m examples.inherent_recurrence.chip

JapaneseVowels, whose speaker is to be told. Each coefficient becomes spikes of several inputs, the
k-th of which has one where the coefficient is above the k-th of some quantiles. There is no
normalisation and no mask, which the chip does not have: padding is steps without spikes.
"""

import functools
import time
from pathlib import Path

import keras
import numpy as np

from examples import experiment
from examples.inherent_recurrence import networks, table
from examples.on_chip import deploy, page_of, quantile_spikes, require
from keras_spiking_rnn import LIF, GatedLIF, TimeSum

NAME = "inherent_recurrence/chip"
BITS = (1, 3, "spike")
PRESETS = {
    "reduced": {
        "units": 64,
        "epochs": 25,
        "batch": 64,
        "rate": 0.01,
        "tuning": 6,
        "tuning_rate": 0.002,
        "test": None,
        "lava": 50,
    },
    "paper": {
        "units": 550,
        "epochs": 100,
        "batch": 64,
        "rate": 0.001,
        "tuning": 20,
        "tuning_rate": 0.0005,
        "test": None,
        "lava": 370,
    },
    "quick": {
        "units": 8,
        "epochs": 1,
        "batch": 90,
        "rate": 0.01,
        "tuning": 1,
        "tuning_rate": 0.002,
        "test": 40,
        "lava": 4,
    },
}
LEVELS = 5


def spikes(x, training):
    """Spikes `(n, steps, features * LEVELS)` of padded sequences.

    Args:
        x: Sequences `(n, steps, features)`; a step of zeros is padding and has no spikes.
        training: Sequences from which the quantiles are taken.
    """
    found = quantile_spikes(x, training[training.any(axis=-1)], LEVELS)
    return found * x.any(axis=-1, keepdims=True)


def network(neuron, bits, inputs, units, seed):
    """Two layers and scores of the nine speakers, of what the chip has.

    Args:
        neuron: One of `networks.SPIKING`.
        bits: Bits of the outputs, a key of `networks.EIGHTH`.
        inputs: Shape of one input, `(steps, features)`.
        units: Number of units.
        seed: Seed of the weights.
    """
    keras.utils.set_random_seed(seed)
    common = {
        "bits": None if bits == "spike" else bits,
        "threshold_ratio": networks.EIGHTH[bits],
        "return_sequences": True,
    }

    def layer(name):
        if neuron == "traditional":
            return LIF(units, learn_current_decay=True, name=name, **common)
        return GatedLIF(
            units,
            recurrent_gates=neuron == "v2",
            gate_activation="plan_sigmoid",
            name=name,
            **common,
        )

    return keras.Sequential(
        [
            keras.Input(inputs),
            layer("first"),
            layer("second"),
            TimeSum(mean=True, name="mean"),
            keras.layers.Dense(9, name="scores"),
        ]
    )


def prepare(model, samples, protocol, tuning=False):
    """Compiles a model for training, or for training on in integers."""
    rate = protocol["tuning_rate" if tuning else "rate"]
    updates = protocol["tuning" if tuning else "epochs"] * -(-samples // protocol["batch"])
    networks.compile_for(model, keras.optimizers.schedules.CosineDecay(rate, updates))


def measured(neuron, bits, parts, protocol, seed, report):
    """What `examples.on_chip.deploy` says of a network that is trained, and of its integers."""
    (x, y), (x_test, y_test) = parts
    started = time.perf_counter()
    model = network(neuron, bits, x.shape[1:], protocol["units"], seed)
    prepare(model, len(x), protocol)

    def fit(each, title, epochs):
        bar = networks.Bar(f"{networks.titled(f'{neuron}-{bits}')}, {title}", epochs)
        each.fit(x, y, protocol["batch"], epochs, verbose=0, callbacks=[bar])

    fit(model, "in floats", protocol["epochs"])

    def fine_tune(aware):
        prepare(aware, len(x), protocol, tuning=True)
        fit(aware, "in integers", protocol["tuning"])

    samples = slice(protocol["test"])
    found = deploy(model, x, x_test[samples], y_test[samples], fine_tune, protocol["lava"], report)
    return {**found, "seconds": time.perf_counter() - started}


def rows(numbers, protocol):
    """The rows of the table of reproductions, one for each network."""
    result = []
    for key, found in numbers.items():
        shown = {
            each: experiment.percent(found[each])
            for each in ("float", "exported", "aware", "integers", "lava")
        }
        result.append(
            {
                "paper": "002",
                "what": f"On the chip, JapaneseVowels: {networks.titled(key)}",
                "published": "",
                "ours": f"{shown['integers']} in integers, {shown['lava']} on Lava",
                "beside": f"float {shown['float']}, exported at once {shown['exported']}, trained "
                f"on in integers {shown['aware']}",
                "protocol": f"2 layers of {protocol['units']} units without normalisation, one "
                f"seed, inputs of {LEVELS} spikes a coefficient; {found['samples']} recordings to "
                f"test on, {found['lava_samples']} of them on Lava: {found['mismatches']} outputs "
                f"and states differ; {found['spikes']:.0f} outputs above 0 an inference",
                "report": found["report"],
            }
        )
    return result


def main(arguments=None):
    parser = experiment.parser(__doc__, NAME, PRESETS)
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="folder of the data")
    parser.add_argument("--bits", nargs="+", type=networks.bits_of, choices=BITS, default=BITS)
    parser.add_argument("--neurons", nargs="+", choices=networks.SPIKING, default=networks.SPIKING)
    given = parser.parse_args(arguments)
    require()
    protocol = PRESETS[given.preset]
    output = experiment.directory(given, NAME, protocol)
    (x, y), (x_test, y_test) = table.parts_of("vowels", None, given.data_dir)
    # Those on Lava are the first, and the recordings are sorted by speaker.
    order = np.random.default_rng(given.seed).permutation(len(x_test))
    parts = (spikes(x, x), y), (spikes(x_test[order], x), y_test[order])
    numbers = {}
    for neuron in given.neurons:
        for bits in given.bits:
            key = f"{neuron}-{bits}"
            path = output / f"{key}.json"
            report = page_of("inherent_recurrence.chip", "chip", given, key)
            if not report.exists():
                path.unlink(missing_ok=True)
            numbers[key] = networks.kept(
                path,
                functools.partial(measured, neuron, bits, parts, protocol, given.seed, report),
            )
            print(f"{key}: {numbers[key]}", flush=True)
    experiment.record(
        "inherent_recurrence.chip",
        given,
        parser,
        name="chip",
        config=protocol,
        seconds=sum(each["seconds"] for each in numbers.values()),
        numbers=numbers,
        rows=rows(numbers, protocol),
    )


if __name__ == "__main__":
    main()
