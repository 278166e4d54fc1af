"""Samples a second of the integer simulators, against the matrix products that a network needs.

    python -m benchmarks.simulators [--samples 1000] [--repetitions 9]

One integer network, 128 inputs, 128 and 10 units as RLIF is exported to, 50 steps, 10 % of the
inputs 1, on Lava's own processes, on our batched Lava processes and on the NumPy reference; and
its products alone, in float32 with NumPy. All take turns in one process. Each run's spikes and
final states must equal those of the reference: otherwise the command ends with an error. At last,
`verify` of a Keras model of this size. Writes `benchmarks/results/simulators.json` and `.md`.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from importlib import metadata
from pathlib import Path

import numpy as np

from lava_export import LIF, Dense, Network
from lava_export.lava import Simulator

RESULTS = Path(__file__).parent / "results"
SEED = 0
STEPS, RATE, SIZES = 50, 0.1, (128, 128, 10)
STOCK_SAMPLES = 10
VERIFICATIONS = 3
ROWS = {
    "stock": "Lava, stock: its own processes, one sample after the other",
    "batched": "Lava, batched: our processes",
    "reference": "NumPy reference",
    "products": "the matrix products alone, float32",
}


def network_of(generator):
    """Hidden and output units with leaks of their own and one threshold, as exported ones."""
    layers = []
    for inputs, units in zip(SIZES, SIZES[1:], strict=False):
        layers += [
            Dense(2 * generator.integers(-30, 40, (units, inputs))),
            LIF(
                du=4095,
                dv=generator.integers(200, 600, units),
                vth=900,
                bias_mant=generator.integers(-40, 40, units),
                bias_exp=2,
                v0=generator.integers(-100, 100, units),
            ),
        ]
    return Network(layers)


def equal(simulation, expected):
    """Whether spikes and final states are those of the first samples of `expected`."""
    count = len(simulation.spikes)
    pairs = [(simulation.spikes, expected.spikes)]
    for found, wanted in zip(simulation.final, expected.final, strict=True):
        pairs += [(found[name], wanted[name]) for name in wanted]
    for name, layers in simulation.states.items():
        pairs += zip(layers, expected.states[name], strict=True)
    return all(np.array_equal(found, wanted[:count]) for found, wanted in pairs)


def products_of(network, inputs):
    """A function that does the products of all layers, from messages that are float32 already."""
    operands = [
        (
            np.ascontiguousarray(messages.reshape(-1, synapses.inputs), np.float32),
            np.ascontiguousarray(synapses.effective_weights().T, np.float32),
        )
        for messages, (synapses, _) in zip(inputs, network.pairs, strict=True)
    ]
    return lambda: [messages @ weights for messages, weights in operands]


def measure(samples, repetitions):
    """Times of each row, and what was run."""
    generator = np.random.default_rng(SEED)
    network = network_of(generator)
    spikes = (generator.random((samples, STEPS, SIZES[0])) < RATE).astype(np.int8)
    expected = network.simulate(spikes, record="spikes")
    layers = expected.states["spikes"]
    counts = dict.fromkeys(ROWS, samples) | {"stock": min(samples, STOCK_SAMPLES)}
    times = {row: [] for row in ROWS}
    with Simulator(network.pairs, mode="batched") as batched:
        runs = {
            "stock": lambda x: network.simulate(x, backend="lava", mode="stock"),
            "batched": batched.run,
            "reference": network.simulate,
        }
        start = time.perf_counter()
        batched.run(spikes[:samples])
        first = time.perf_counter() - start
        products = products_of(network, [spikes, *layers[:-1]])
        for repetition in range(-1, repetitions):  # the first to warm up
            for row in ROWS:
                inputs = spikes[: counts[row]]
                start = time.perf_counter()
                result = products() if row == "products" else runs[row](inputs)
                seconds = time.perf_counter() - start
                if row != "products" and not equal(result, expected):
                    sys.exit(f"{ROWS[row]}: spikes or final states differ from the reference.")
                if repetition >= 0:
                    times[row].append(seconds)
    # Once more with the spikes of all layers, not timed.
    for mode in ("stock", "batched"):
        every = network.simulate(spikes[: counts[mode]], "spikes", backend="lava", mode=mode)
        if not equal(every, expected):
            sys.exit(f"{ROWS[mode]}: spikes of a layer differ from the reference.")
    bound = counts["products"] / statistics.median(times["products"])
    rows = {}
    for row, seconds in times.items():
        rates = sorted(counts[row] / each for each in seconds)
        median = statistics.median(rates)
        rows[row] = {
            "samples": counts[row],
            "samples_per_second": {"median": median, "min": rates[0], "max": rates[-1]},
            "times_the_products": bound / median,
            "equal": None if row == "products" else True,  # else the command has ended
        }
    return {
        "rows": rows,
        "spike_rates": [float(layer.mean()) for layer in layers],
        "batched_first_run_seconds": first,
    }


def verification(samples):
    """Seconds of `verify` of a Keras model of this size on batched Lava, and its float stage."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    import lava_export
    from keras_spiking_rnn import RLIF, TimeSum

    keras.utils.set_random_seed(SEED)
    options = {"threshold": 1.0, "leak_initializer": 0.9, "return_sequences": True}
    layers = [RLIF(units, **options) for units in SIZES[1:]]
    model = keras.Sequential([keras.Input((STEPS, SIZES[0])), *layers, TimeSum()])
    generator = np.random.default_rng(SEED)
    x = (generator.random((samples, STEPS, SIZES[0])) < RATE).astype("float32")
    network = lava_export.export(model, calibration=x[:256])
    seconds = []
    for _ in range(VERIFICATIONS):
        start = time.perf_counter()
        lava_export.verify(model, network, x, modes=("batched",))  # raises if Lava differs
        seconds.append(time.perf_counter() - start)
    return {"samples": samples, "seconds": seconds}


def table(result):
    """The result in Markdown."""
    lines = [
        "| | samples a second | smallest to largest | times the products | samples | spikes |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in result["rows"].items():
        rate = row["samples_per_second"]
        lines.append(
            f"| {ROWS[name]} | {rate['median']:,.0f} | {rate['min']:,.0f} to {rate['max']:,.0f} | "
            f"{row['times_the_products']:,.1f} | {row['samples']} | "
            f"{'equal' if row['equal'] else ''} |"
        )
    about, verify = result["about"], result["verify"]
    rows = "\n".join(lines)
    first, *again = (f"{seconds:.1f}" for seconds in verify["seconds"])
    return f"""# Speed of the simulators

128 inputs, 128 and 10 units, {STEPS} steps, {RATE:.0%} of the inputs 1, seed {SEED};
{about["cpus"]} processors ({about["processor"]}), Python {about["python"]}, NumPy {about["numpy"]},
Lava {about["lava-nc"]}. Medians of {about["repetitions"]} runs, all rows in turn. Stock Lava
compiles and starts each run anew, which counts; batched Lava once for all runs, in
{result["batched_first_run_seconds"]:.2f} s with the first one, which does not count.

{rows}

`verify` of a Keras model of this size on {verify["samples"]} samples, mode batched: {first} s, and
again {", ".join(again)} s.

    {about["command"]}
"""


def about(arguments):
    """What the numbers depend on."""
    model = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "command": f"python -m benchmarks.simulators --samples {arguments.samples} "
        f"--repetitions {arguments.repetitions}",
        "seed": SEED,
        "sizes": SIZES,
        "steps": STEPS,
        "input_rate": RATE,
        "repetitions": arguments.repetitions,
        "cpus": os.cpu_count(),
        "processor": model[0] if model else platform.processor(),
        "python": platform.python_version(),
        **{
            package: metadata.version(package)
            for package in ("numpy", "lava-nc", "tensorflow", "keras")
        },
    }


def main():
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--repetitions", type=int, default=9)
    arguments = parser.parse_args()
    if arguments.repetitions < 7:
        parser.error("--repetitions must be at least 7: the median of fewer runs says little.")
    result = {"about": about(arguments), **measure(arguments.samples, arguments.repetitions)}
    result["verify"] = verification(arguments.samples)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "simulators.json").write_text(json.dumps(result, indent=2) + "\n")
    (RESULTS / "simulators.md").write_text(table(result))
    print(table(result))


if __name__ == "__main__":
    main()
