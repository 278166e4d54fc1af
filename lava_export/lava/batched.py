"""Networks of our processes, which take many samples at once through one runtime."""

import numpy as np

from lava_export.lava.processes.adaptive_lstm.process import AdaptiveLSTMUnits
from lava_export.lava.processes.adaptive_neurons.process import AdaptiveNeuronsUnits
from lava_export.lava.processes.conv.process import BatchConv
from lava_export.lava.processes.current_lif.process import CurrentLIFUnits
from lava_export.lava.processes.dense.process import BatchDense
from lava_export.lava.processes.gated_lif.process import GatedLIFUnits
from lava_export.lava.processes.lif.process import BatchLIF
from lava_export.lava.processes.lif_lstm.process import LIFLSTMUnits
from lava_export.lava.processes.sink.process import SharedSink
from lava_export.lava.processes.source.process import SharedSource
from lava_export.lava.processes.spiking_lstm.process import SpikingLSTMUnits
from lava_export.lava.processes.src.process import SRCUnits
from lava_export.lava.shared import shared_array
from lava_export.synapses import Conv

PROCESSES = {
    process.kind: process
    for process in (
        AdaptiveLSTMUnits,
        AdaptiveNeuronsUnits,
        BatchLIF,
        SpikingLSTMUnits,
        CurrentLIFUnits,
        GatedLIFUnits,
        LIFLSTMUnits,
        SRCUnits,
    )
}

BATCH_BYTES = 1 << 27  # of all that grows with the number of samples at once
MAX_BATCH = 1024


def batch_size(samples, steps, pairs, record):
    """How many samples go through a runtime at once: some rounds of as many each."""
    per_step = 4 * pairs[0][0].inputs
    per_sample = BatchedNetwork.channel_size * per_step
    for index, (synapses, units) in enumerate(pairs):
        count = synapses.units // units.ports
        if "spikes" in record or index == len(pairs) - 1:
            per_step += 4 * count
        per_step += 4 * count * len(set(units.states) & set(record))
        # Channels of int32, and some ten int64 temporaries of a step.
        per_sample += 4 * BatchedNetwork.channel_size * (synapses.units + count)
        per_sample += 100 * synapses.units
    largest = min(MAX_BATCH, max(1, BATCH_BYTES // (per_sample + steps * per_step)))
    rounds = -(-samples // largest)
    return -(-samples // rounds)


class BatchedNetwork:
    """The processes of one runtime, for many groups of samples, one after the other.

    Args:
        pairs: (synapses, units) layers.
        shape: (T, in) of a sample.
        dtype: Type of the inputs.
        record: Names of what is kept over time.
        batch: Samples at once.
    """

    channel_size = 4
    observes = False

    def __init__(self, pairs, shape, dtype, record, batch):
        self.steps, inputs = shape
        self.batch = batch
        self.spikes = None
        # Lava steps before the group of samples that is running.
        self.origin = shared_array((1,), np.int64)
        self.input = shared_array((self.steps, batch, inputs), dtype)
        self.entry = source = SharedSource(data=self.input, name="source")
        self.layers = []
        previous = source.s_out
        for index, (synapses, units) in enumerate(pairs):
            with_sink = "spikes" in record or index == len(pairs) - 1
            layer = BatchedLayer(index, synapses, units, previous, self, record, with_sink)
            self.layers.append(layer)
            previous = layer.units.s_out

    def load(self, round_):
        """Give the source the samples of a round; those that lack at the end are silent."""
        samples = self.spikes[round_ * self.batch : (round_ + 1) * self.batch]
        places = (self.origin + np.arange(self.steps)) % self.steps
        self.input[places, : len(samples)] = samples.transpose(1, 0, 2)
        self.input[:, len(samples) :] = 0


class BatchedLayer:
    """Synapses, units, recurrent synapses if there are any, and a sink if outputs are wanted."""

    def __init__(self, index, synapses, units, previous, network, record, with_sink):
        self.delay = index + 1
        self.origin = network.origin
        batch, steps = network.batch, network.steps
        shape = (batch, synapses.units // units.ports)
        self.traces = {
            name: shared_array((steps if name in record else 1, *shape), np.int32)
            for name in units.states
        }
        self.recorded = [name for name in units.states if name in record]
        self.units = PROCESSES[type(units)](
            units=units,
            shape=shape,
            period=steps,
            delay=self.delay,
            traces=self.traces,
            origin=self.origin,
            name=f"{type(units).__name__} {index}",
        )
        feedforward = batch_synapses(synapses, batch, str(index))
        previous.connect(feedforward.s_in)
        feedforward.a_out.connect(self.units.a_in)
        if units.recurrent is not None:
            feedback = batch_dense(units.recurrent, batch, f"recurrent dense {index}")
            self.units.feedback().connect(feedback.s_in)
            feedback.a_out.connect(self.units.r_in)
        self.spikes = None
        if with_sink:
            self.spikes = shared_array((steps, *shape), units.output_dtype)
            sink = SharedSink(data=self.spikes, name=f"sink {index}")
            self.units.s_out.connect(sink.a_in)

    def begin(self):
        """The units start every round by themselves."""

    def finish(self):
        """What the layer gave for the round that has just ended, by name; (batch, ...) each."""
        # The last step of the round is the one before the first of the next.
        last = int(self.origin[0]) + self.delay - 1
        return {
            "final": {name: trace[last % len(trace)] for name, trace in self.traces.items()},
            "states": {
                **{name: self._unroll(self.traces[name]) for name in self.recorded},
                **({} if self.spikes is None else {"spikes": self._unroll(self.spikes)}),
            },
        }

    def _unroll(self, ring):
        """(batch, T, units), where step 0 was written `delay` Lava steps after the origin."""
        return np.roll(ring, -self.delay - int(self.origin[0]), axis=0).transpose(1, 0, 2)


def batch_synapses(synapses, batch, name):
    """The process of `Conv` or `Dense` synapses."""
    if isinstance(synapses, Conv):
        return BatchConv(synapses=synapses, batch=batch, name=f"conv {name}")
    return batch_dense(synapses, batch, f"dense {name}")


def batch_dense(synapses, batch, name):
    """The process of `Dense` synapses."""
    return BatchDense(
        weights=synapses.weights,
        weight_exp=synapses.exponent,
        num_weight_bits=synapses.num_weight_bits,
        message_bits=synapses.message_bits,
        batch=batch,
        name=name,
    )
