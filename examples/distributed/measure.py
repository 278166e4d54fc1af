"""How long a step takes, on one device and on two workers of this machine, and what it sends.

    python -m examples.distributed.measure --output examples/distributed/results

The workers are on the loopback interface, each pinned to a processor of its own, and so is the
single process. Of a few steps the medians are taken: of the time, which whatever else the machine
does lengthens, and of the processor's time, which waiting for the other worker does not.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

from examples import experiment
from examples.distributed.train import MODELS, network
from keras_spiking_rnn import distributed

STEPS, FEATURES, UNITS = 50, 40, 128
BATCHES = (32, 256)
WARM, TIMED = 3, 15  # The first steps trace and compile.


class Clock(keras.callbacks.Callback):
    """Seconds of each step, and those of the processor."""

    def __init__(self):
        super().__init__()
        self.seconds, self.busy = [], []

    def on_train_batch_begin(self, batch, logs=None):
        """Notes when a step begins."""
        self.begun = time.perf_counter(), time.process_time()

    def on_train_batch_end(self, batch, logs=None):
        """Waits for the loss: the gradients of earlier steps have been exchanged."""
        float(logs["loss"])
        self.seconds.append(time.perf_counter() - self.begun[0])
        self.busy.append(time.process_time() - self.begun[1])


def measure(models):
    """Milliseconds of a step, and numbers of weights, by model and sequences of all workers."""
    strategy = distributed.strategy()
    found = {}
    for name in models:
        for batch in BATCHES:
            random = np.random.default_rng(0)
            x = (random.random((batch, STEPS, FEATURES)) < 0.2).astype("float32")
            y = random.integers(0, 10, batch)
            with strategy.scope():
                model = network(name, x.shape[1:], UNITS, 10, 1e-3)
            clock = Clock()
            data = distributed.batches(x, y, batch)
            distributed.fit(model, data, WARM + TIMED, callbacks=[clock], verbose=0)
            found[f"{name} {batch}"] = {
                "milliseconds": 1e3 * statistics.median(clock.seconds[WARM:]),
                "busy": 1e3 * statistics.median(clock.busy[WARM:]),
                "weights": int(model.count_params()),
            }
    return found


def sent(weights, workers):
    """Bytes that each worker sends in a step: float32 gradients, in a ring all-reduce."""
    return 2 * (workers - 1) * 4 * weights // workers


def start(models, processor, workers=(), index=0):
    """A process of this program that measures, pinned to a processor: it and its output file."""
    output = tempfile.NamedTemporaryFile("w+", suffix=".json")
    environ = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    if workers:
        task = {"type": "worker", "index": index}
        environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": list(workers)}, "task": task})
    line = [sys.executable, "-m", "examples.distributed.measure", "--into", output.name, *models]
    process = subprocess.Popen(
        line, env=environ, preexec_fn=lambda: os.sched_setaffinity(0, {processor})
    )
    return process, output


def finish(process, output):
    if process.wait() != 0:
        raise RuntimeError(f"A process that measures ended with {process.returncode}.")
    return json.loads(Path(output.name).read_text())


def compare(models):
    """One process, then two workers: dictionary from model and batch to what was measured."""
    first, *rest = sorted(os.sched_getaffinity(0))
    processors = (first, rest[0] if rest else first)
    alone = finish(*start(models, first))
    with socket.socket() as a, socket.socket() as b:
        for each in (a, b):
            each.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in (a, b)]
    both = [start(models, processors[i], addresses, i) for i in range(2)]
    results = [finish(*each) for each in both]
    rows = {}
    for key, one in alone.items():
        two, busy = (max(each[key][of] for each in results) for of in ("milliseconds", "busy"))
        rows[key] = {
            "weights": one["weights"],
            "one worker, ms": round(one["milliseconds"], 2),
            "two workers, ms": round(two, 2),
            "speed of two": round(one["milliseconds"] / two, 2),
            "one worker, processor ms": round(one["busy"], 2),
            "each of two, processor ms": round(busy, 2),
            "speed of two without waiting": round(one["busy"] / busy, 2),
            "bytes sent by each of two": sent(one["weights"], 2),
        }
    return rows, len(set(processors))


def table(record):
    """The rows of a record in Markdown."""
    lines = [
        "| model | sequences in a batch | one worker | two workers | speed of two | "
        "of the processor: one, each of two | speed of two without waiting | weights | "
        "each of two sends |",
        "|" + "---|" * 9,
    ]
    for key, row in record["numbers"].items():
        model, batch = key.split()
        lines.append(
            f"| `{model}` | {batch} | {row['one worker, ms']:.0f} ms | "
            f"{row['two workers, ms']:.0f} ms | {row['speed of two']:.2f} | "
            f"{row['one worker, processor ms']:.0f} ms, "
            f"{row['each of two, processor ms']:.0f} ms | "
            f"{row['speed of two without waiting']:.2f} | {row['weights']:,} | "
            f"{row['bytes sent by each of two'] / 2**20:.2f} MiB |"
        )
    config, rows = record["config"], record["numbers"].values()
    clock, busy = (
        "{:.2f} to {:.2f}".format(*(found(row[name] for row in rows) for found in (min, max)))
        for name in ("speed of two", "speed of two without waiting")
    )
    lines += [
        "",
        f"Two layers of {config['units']} units, {config['steps']} steps of {config['features']} "
        f"features, medians of {config['timed']} steps, {config['processors']} processors, one for "
        f"each worker. While it was measured the machine had a load of {config['load']}: as many "
        f"processes wanted to run. By the clock two workers have {clock} times the speed of one; "
        f"by the processor's time, of which waiting takes none, {busy} times.",
    ]
    return "\n".join(lines)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=["rlif", "spiking_lstm"], metavar="MODEL")
    parser.add_argument("--output", type=experiment.folder, help="folder of the record")
    parser.add_argument("--page", type=Path, help="write the table of the record of --output to it")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.page and not given.output:
        parser.error("--page needs the folder --output that has the record.")
    if set(given.models) - set(MODELS):
        parser.error(f"The models are {', '.join(MODELS)}.")
    if given.into:
        given.into.write_text(json.dumps(measure(given.models)))
        return
    if given.page:
        experiment.between_marks(given.page, table(experiment.chosen(given.output)["measure"]))
        return
    begun = time.perf_counter()
    rows, processors = compare(given.models)
    for key, row in rows.items():
        print(key, row)
    if given.output:
        record = {
            "experiment": "distributed.measure",
            "preset": "reduced",
            "seed": 0,
            "config": {
                "steps": STEPS,
                "features": FEATURES,
                "units": UNITS,
                "timed": TIMED,
                "processors": processors,
                "load": round(os.getloadavg()[0], 1),
            },
            "command": "python -m examples.distributed.measure --output DIR",
            "seconds": round(time.perf_counter() - begun, 1),
            "numbers": rows,
            "rows": [],
        }
        print(experiment.save(record, "measure", given.output))


if __name__ == "__main__":
    main()
