"""A spiking LSTM from Lava's own Dense, DelayDense and LIF alone.

Units that fire at every step in which their input is above a threshold, and forget, compute logic:

    gates  i, f, g, o   where the weighted input is above the threshold of the gate
    A      f and c, i and g
    C      the one or the other
    H      o and c

Each of them takes a Lava step, so that a step of the network takes `PHASES` of them. A gate has a
threshold that no input reaches alone: a clock line adds, in the one phase in which the gates
decide, what lacks to the threshold of each. Without the clock all is silent, and after one silent
step of the network all is forgotten: so samples are kept apart.
"""

import numpy as np
from lava.proc.dense.process import DelayDense, Dense
from lava.proc.io.source import RingBuffer as Source
from lava.proc.lif.process import LIF

from lava_export import arithmetic
from lava_export.lava.processes.sink.process import SharedSink
from lava_export.lava.session import LavaSession
from lava_export.lava.shared import shared_array
from lava_export.lava.stock import stock_dense
from lava_export.reference import Simulation

PHASES = 4
# Lines of the clock: one is not enough for the largest of what lacks to a threshold.
CLOCKS = 3
# Currents wrap at 24 bits, 6 of which are below a unit of weight.
LARGEST = arithmetic.STATE_LIMIT >> arithmetic.MESSAGE_SHIFT
STEPS = 1 << 14  # Lava steps of one runtime
ONE = 64  # weight of a bit: more than half of it is a bit, more than one and a half is two


def simulate(pairs, spikes, record, timeout, advance):
    """As `lava_export.lava.simulate`, for pairs with units of `lava_export.SpikingLSTM` only.

    Raises:
        ValueError: If the weights of a layer add up to more than the thresholds can be lifted by.
        LavaError: If a Lava process raises, dies or makes no progress.
    """
    samples, steps, _ = spikes.shape
    size = max(1, STEPS // (PHASES * (steps + 1)))
    outputs, cells = [[] for _ in pairs], [[] for _ in pairs]
    for start in range(0, samples, size):
        part = spikes[start : start + size]
        with LavaSession(timeout) as session:
            network = Network(pairs, part)
            session.start(network.source)
            session.run(network.length)
            for index, layer in enumerate(network.layers):
                outputs[index].append(network.results(layer.outputs, index + 1, first=0))
                cells[index].append(network.results(layer.cells, index, first=3))
        advance(len(part))
    outputs, cells = ([np.concatenate(parts) for parts in layers] for layers in (outputs, cells))
    traces = {
        "spikes": [layer.astype(np.int8) for layer in outputs],
        "c": [layer.astype(np.int32) for layer in cells],
    }
    return Simulation(
        traces["spikes"][-1],
        [{"c": layer[:, -1]} for layer in traces["c"]],
        {name: traces[name] for name in record},
    )


class Network:
    """The processes of one runtime, for spikes (samples, T, in).

    Layer l, counted from 0, is l steps of the network late, and so is its clock.
    """

    def __init__(self, pairs, spikes):
        self.samples, self.steps, inputs = spikes.shape
        period = PHASES * (self.steps + 1)  # of a sample, with a silent step
        self.length = self.samples * period + PHASES * len(pairs) + 1
        lines = np.zeros((inputs + CLOCKS * len(pairs), self.length), np.int32)
        for sample in range(self.samples):
            for step in range(self.steps):
                at = sample * period + PHASES * step
                lines[:inputs, at] = spikes[sample, step]
                for layer in range(len(pairs)):
                    first = inputs + CLOCKS * layer
                    lines[first : first + CLOCKS, at + PHASES * layer] = 1
        self.source = Source(data=lines)
        self.source.name = "source"
        self.layers = []
        previous = self.source.s_out
        for index, (synapses, units) in enumerate(pairs):
            clock = slice(inputs + CLOCKS * index, inputs + CLOCKS * (index + 1))
            layer = Layer(index, synapses, units, previous, self.source, clock, self.length)
            self.layers.append(layer)
            previous = layer.h.s_out

    def results(self, trace, steps_late, first):
        """(samples, T, units) of a trace whose first value is in that phase of that step."""
        values = trace[PHASES * steps_late + first :: PHASES]
        rows = np.arange(self.samples)[:, None] * (self.steps + 1) + np.arange(self.steps)
        return values[rows]


class Layer:
    """The processes of one layer."""

    def __init__(self, index, synapses, units, previous, source, clock, length):
        count = synapses.units // units.ports
        threshold = np.broadcast_to(units.threshold, synapses.units)
        reach = reach_of(synapses) + (reach_of(units.recurrent) if units.recurrent else 0)
        if 3 * reach + 1 >= LARGEST:
            raise ValueError(
                f"Layer {index}: the weights of a gate add up to {reach}, but a spiking LSTM of "
                f"stock parts takes at most {(LARGEST - 2) // 3}: use fewer inputs and units, or "
                "parts='custom'."
            )
        off = reach  # the threshold of all gates
        memoryless = {"du": 4095, "dv": 4095}

        def lif(size, vth, name):
            return LIF(shape=(size,), vth=vth, name=f"{name} {index}", **memoryless)

        gates = lif(4 * count, off, "gates")
        a = lif(2 * count, ONE + ONE // 2, "A")
        c = lif(count, ONE // 2, "C")
        self.h = h = lif(count, ONE + ONE // 2, "H")

        # The first layer gets all lines of the source, the clocks with weights of 0.
        feedforward = stock_dense(synapses, f"dense {index}", inputs=previous.shape[0])
        connect(previous, feedforward, gates)
        lacking = off - np.clip(threshold, -reach - 1, reach)
        for exponent, share in ((0, lacking % 128), (7, lacking // 128)):
            weights = np.zeros((4 * count, source.s_out.shape[0]), np.int32)
            for line in range(clock.start, clock.stop):
                weights[:, line] = np.minimum(share, 255)
                share = share - weights[:, line]
            connect(
                source.s_out,
                Dense(weights=weights, weight_exp=exponent, name=f"clock {index}.{exponent}"),
                gates,
            )
        if units.recurrent is not None:
            connect(h.s_out, stock_dense(units.recurrent, f"recurrent dense {index}"), gates)

        one, zero = ONE * np.eye(count, dtype=np.int32), np.zeros((count, count), np.int32)
        to_a = np.block([[zero, one, zero, zero], [one, zero, one, zero]])  # f; i and g
        to_h = np.hstack([zero, zero, zero, one])
        connect(gates.s_out, Dense(weights=to_a, name=f"gates to A {index}"), a)
        kept = DelayDense(weights=np.vstack([one, zero]), delays=2, name=f"C to A {index}")
        connect(c.s_out, kept, a)
        connect(a.s_out, Dense(weights=np.hstack([one, one]), name=f"A to C {index}"), c)
        connect(c.s_out, Dense(weights=one, name=f"C to H {index}"), h)
        connect(gates.s_out, DelayDense(weights=to_h, delays=2, name=f"o to H {index}"), h)

        self.cells, self.outputs = (shared_array((length, count), np.int8) for _ in range(2))
        for units_, trace, name in ((c, self.cells, "C"), (h, self.outputs, "H")):
            units_.s_out.connect(SharedSink(data=trace, name=f"sink {name} {index}").a_in)


def connect(spikes, synapses, units):
    """From spikes through synapses to units."""
    spikes.connect(synapses.s_in)
    synapses.a_out.connect(units.a_in)


def reach_of(synapses):
    """The largest size of a weighted input of binary spikes."""
    weights = arithmetic.weights_on_grid(synapses.weights, synapses.num_weight_bits)
    total = np.abs(weights).sum(axis=1, dtype=np.int64).max()
    # A negative exponent rounds down, by less than 1.
    return int(np.ceil(total * 2.0**synapses.exponent))
