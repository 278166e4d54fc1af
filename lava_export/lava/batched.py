"""Networks of our processes, which take many samples at once through one runtime."""

import numpy as np

from lava_export.lava.processes.dense.process import BatchDense
from lava_export.lava.processes.lif.process import BatchLIF
from lava_export.lava.processes.sink.process import SharedSink
from lava_export.lava.processes.source.process import SharedSource
from lava_export.lava.shared import shared_array

BATCH_BYTES = 1 << 27  # of all that grows with the number of samples at once
MAX_BATCH = 256
MAX_ROUNDS = 1 << 20  # Lava counts the steps of a run in 32 bits


def runtimes(samples, steps, pairs, record):
    """How many samples a runtime takes at once, and in how many rounds."""
    per_step = pairs[0][0].inputs
    per_sample = BatchedNetwork.channel_size * per_step
    for index, (dense, _) in enumerate(pairs):
        if "spikes" in record or index == len(pairs) - 1:
            per_step += dense.units
        per_step += 4 * dense.units * len({"u", "v"} & set(record))
        # Channels of int32 and int8, and some ten int64 temporaries of a step.
        per_sample += (5 * BatchedNetwork.channel_size + 100) * dense.units
    largest = min(MAX_BATCH, max(1, BATCH_BYTES // (per_sample + steps * per_step)))
    rounds = -(-samples // largest)
    return -(-samples // rounds), min(rounds, MAX_ROUNDS)


class BatchedNetwork:
    """The processes of one runtime.

    Args:
        pairs: (Dense, LIF) layers.
        spikes: int8 (samples, T, in), all samples of this runtime.
        record: Names of what is kept over time.
        batch: Samples at once.
    """

    channel_size = 4
    observes = False

    def __init__(self, pairs, spikes, record, batch):
        _, steps, inputs = spikes.shape
        self.spikes = spikes
        self.batch = batch
        self.input = shared_array((steps, batch, inputs), np.int8)
        self.entry = source = SharedSource(data=self.input, name="source")
        self.layers = []
        previous = source.s_out
        for index, (dense, lif) in enumerate(pairs):
            with_sink = "spikes" in record or index == len(pairs) - 1
            layer = BatchedLayer(index, dense, lif, previous, batch, steps, record, with_sink)
            self.layers.append(layer)
            previous = layer.lif.s_out

    def load(self, round_):
        """Give the source the samples of a round; those that lack at the end are silent."""
        samples = self.spikes[round_ * self.batch : (round_ + 1) * self.batch]
        self.input[:, : len(samples)] = samples.transpose(1, 0, 2)
        self.input[:, len(samples) :] = 0


class BatchedLayer:
    """A BatchDense, a BatchLIF, and a sink if the spikes are wanted."""

    def __init__(self, index, dense, lif, previous, batch, steps, record, with_sink):
        self.delay = index + 1
        self.u, self.v = (
            shared_array((steps if name in record else 1, batch, dense.units), np.int32)
            for name in ("u", "v")
        )
        self.recorded = [name for name in ("u", "v") if name in record]
        synapses = BatchDense(
            weights=dense.weights,
            weight_exp=dense.exponent,
            num_weight_bits=dense.num_weight_bits,
            batch=batch,
            name=f"dense {index}",
        )
        self.lif = BatchLIF(
            shape=(batch, dense.units),
            period=steps,
            delay=self.delay,
            u_trace=self.u,
            v_trace=self.v,
            name=f"lif {index}",
            **vars(lif),
        )
        previous.connect(synapses.s_in)
        synapses.a_out.connect(self.lif.a_in)
        self.spikes = None
        if with_sink:
            self.spikes = shared_array((steps, batch, dense.units), np.int8)
            sink = SharedSink(data=self.spikes, name=f"sink {index}")
            self.lif.s_out.connect(sink.a_in)

    def begin(self):
        """The LIF starts every round by itself."""

    def finish(self):
        """What the layer gave for the round that has just ended, by name; (batch, ...) each."""
        traces = {name: self._unroll(getattr(self, name)) for name in self.recorded}
        if self.spikes is not None:
            traces["spikes"] = self._unroll(self.spikes)
        # The last step of the round is the one before the first of the next.
        last = self.delay - 1
        return {
            "final_u": self.u[last % len(self.u)],
            "final_v": self.v[last % len(self.v)],
            **traces,
        }

    def _unroll(self, ring):
        """(batch, T, units), where step 0 was written at the Lava step `delay + 1`."""
        return np.roll(ring, -self.delay, axis=0).transpose(1, 0, 2)
