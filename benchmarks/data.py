"""The inputs and the first weights of a workload: the same in each framework."""

import numpy as np

from benchmarks.workloads import SEED

# Columns of the input weights for each unit.
GATES = {"RLIF": 1, "SpikingLSTM": 4, "GatedLIF": 2, "SRC": 1, "LIFLSTM": 4}

# Models whose input weights are `(inputs, units)`, as those of the peers' neurons.
PLAIN = ("RLIF", "SRC")


def is_recurrent(workload):
    """Whether there are recurrent weights."""
    return workload.model in ("SpikingLSTM", "LIFLSTM") or workload.options.get(
        "recurrent_gates", False
    )


def batch_of(workload, batches=1):
    """Binary inputs `(batch, steps, inputs)` in float32 and labels from 0 to 9."""
    random = np.random.default_rng(SEED)
    sequences = batches * workload.batch
    x = np.empty((sequences, workload.steps, workload.inputs), "float32")
    for sequence in x:  # One by one: random numbers for all would take more memory than the batch.
        sequence[:] = random.random(sequence.shape, "float32") < workload.rate
    return x, random.integers(0, 10, sequences)


def kernels_of(workload):
    """Input weights `(inputs, units)` of each layer, Glorot's times `scale`."""
    random = np.random.default_rng(SEED)
    widths = [workload.inputs, *workload.units]
    return [
        random.uniform(-1, 1, (before, after)).astype("float32")
        * np.float32(workload.scale * np.sqrt(6 / (before + after)))
        for before, after in zip(widths, widths[1:], strict=False)
    ]
