"""Times the parts of a training step of one layer: each is the next one without its last part.

    python -m benchmarks.parts --workload rlif spiking_lstm

Writes `benchmarks/results/parts_<workload>.json`.
"""

import dataclasses
import time

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

import keras_spiking_rnn
from benchmarks import command_line, processes, tensorflow_subjects
from benchmarks.data import batch_of
from benchmarks.workloads import WORKLOADS

WARM_UP = 3


def beginnings_of(workload):
    """Functions by name: each does what the one before it does, and the part of its name."""
    layer = getattr(keras_spiking_rnn, workload.model)(
        workload.units[0], return_sequences=True, **workload.options
    )
    x = tf.constant(batch_of(workload)[0])
    d_outputs = tf.random.stateless_normal(layer(x).shape, (0, 0))

    @tf.function
    def projection():
        return layer.cell.projected(x)

    @tf.function
    def forward(training):
        return layer(x, training=training)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            outputs = layer(x, training=True)
        return tape.gradient(outputs, layer.trainable_variables, output_gradients=d_outputs)

    return {
        "projection of all steps, one product": projection,
        "loop forward": lambda: forward(False),
        "keeping what the gradient needs": lambda: forward(True),
        "loop backward, gradients of the weights": step,
    }


def run(workload, repeats):
    """Measures one workload.

    Returns:
        What `parts_<workload>.json` has; `parts` are the seconds of each part in each round.
    """
    started = time.monotonic()
    beginnings = beginnings_of(workload)
    times = np.zeros((WARM_UP + repeats, len(beginnings)))
    for row in times:
        for i, beginning in enumerate(beginnings.values()):
            start = time.perf_counter()
            beginning()
            row[i] = time.perf_counter() - start
    parts = np.diff(times[WARM_UP:], axis=1, prepend=0)
    return {
        "kind": "parts",
        "title": workload.title,
        "workload": workload.to_json(),
        "repeats": repeats,
        **processes.surroundings(),
        "versions": {"tensorflow": tensorflow_subjects.VERSIONS},
        "parts": dict(zip(beginnings, parts.T.tolist(), strict=True)),
        "duration": round(time.monotonic() - started, 1),
    }


def main(arguments=None):
    """The command line."""
    parser = command_line.parser_of("parts", __doc__)
    parser.add_argument("--workload", nargs="+", choices=WORKLOADS, required=True)
    parser.add_argument("--repeats", type=command_line.repeats, default=15, help="rounds (15)")
    parser.add_argument("--output", default=str(processes.RESULTS), metavar="DIRECTORY")
    options = parser.parse_args(arguments)
    console = Console()
    tensorflow_subjects.use_threads(processes.THREADS)
    for name in options.workload:
        workload = WORKLOADS[name]
        # One layer: the first.
        workload = dataclasses.replace(workload, units=workload.units[:1])
        content = run(workload, options.repeats)
        path = processes.write(content, f"parts_{name}", options.output)
        table = Table("part", "ms", title=f"{content['title']}: {path}")
        for part, seconds in content["parts"].items():
            table.add_row(part, f"{1e3 * np.median(seconds):.1f}")
        console.print(table)


if __name__ == "__main__":
    main()
