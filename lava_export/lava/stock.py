"""Networks of Lava's own processes: Dense, Conv, LIF and ring buffers, one sample after the other.

Units that Lava lacks are ours, between Dense processes and ring buffers of Lava.
"""

import numpy as np
from lava.proc.conv.process import Conv
from lava.proc.dense.process import Dense
from lava.proc.io.sink import RingBuffer as Sink
from lava.proc.io.source import RingBuffer as Source
from lava.proc.lif.process import LIF
from lava.utils.weightutils import determine_sign_mode

from lava_export import units as kinds
from lava_export.lava.batched import PROCESSES
from lava_export.lava.shared import shared_array
from lava_export.synapses import Conv as ConvSynapses

MAX_GROUPS = 8
MAX_MEMBERS = 4096  # of all groups of a convolution: Lava sets and reads states one by one
SOURCE_BYTES = 1 << 26  # of one runtime's input; with more samples, several runtimes follow
MAX_SIZE = 127  # of a window, of strides and of padding: Lava's Conv holds them in 8 bits


def samples_of_runtime(steps, inputs):
    """How many samples of (T, in) a runtime holds, one after the other."""
    return max(1, SOURCE_BYTES // (4 * steps * inputs))


class StockNetwork:
    """The processes of one runtime.

    Args:
        pairs: (synapses, units) layers.
        spikes: (samples, T, in), all samples of this runtime.
        record: Names of what is kept over time.
    """

    channel_size = 64
    batch = 1

    def __init__(self, pairs, spikes, record):
        samples, steps, inputs = spikes.shape
        # The states of Lava's LIF can only be read between two steps.
        stock = [units for _, units in pairs if isinstance(units, kinds.LIF)]
        self.observes = bool(stock) and bool(set(kinds.LIF.states) & set(record))
        # The ring buffer starts again at its end: zeros until the last layer has seen all.
        data = np.zeros((inputs, samples * steps + len(pairs)), np.int32)
        data[:, : samples * steps] = spikes.reshape(samples * steps, inputs).T
        source = Source(data=data)
        source.name = "source"
        self.entry = source
        self.layers = []
        previous = [source.s_out]
        for index, (synapses, units) in enumerate(pairs):
            with_sink = "spikes" in record or index == len(pairs) - 1
            kind = LIFLayer if isinstance(units, kinds.LIF) else UnitsLayer
            layer = kind(index, synapses, units, previous, steps, record, with_sink)
            self.layers.append(layer)
            previous = [part.s_out for part in layer.parts]

    def load(self, round_):
        """All input is in the source from the beginning."""


class Layer:
    """What both kinds of layers share: a sink for the outputs of the `parts`."""

    def __init__(self, index, steps):
        self.delay = index + 1
        self.steps = steps
        self.parts = []
        self.sink = None

    def add_sink(self, index, units):
        """Collect the outputs of all parts."""
        self.sink = Sink(shape=(units,), buffer=self.steps)
        self.sink.name = f"sink {index}"
        for part in self.parts:
            part.s_out.connect(self.sink.a_in)

    def observe(self, step):
        """Keep the states after step `step` of the sample."""

    def outputs(self):
        """The outputs of the sample that has just ended, {"spikes": (1, T, units)}."""
        if self.sink is None:
            return {}
        return {"spikes": self.unroll(self.sink.data.get().T)}

    def unroll(self, ring):
        """(1, T, units), where step 0 of the sample was written at the Lava step `delay + 1`."""
        return np.roll(ring, -self.delay, axis=0)[None]


class UnitsLayer(Layer):
    """Units of ours, with Lava's Dense or Conv before them and, if recurrent, Dense behind them."""

    def __init__(self, index, synapses, units, previous, steps, record, with_sink):
        super().__init__(index, steps)
        count = synapses.units // units.ports
        self.recorded = [name for name in units.states if name in record]
        self.traces = {
            name: shared_array((steps if name in record else 1, count), np.int32)
            for name in units.states
        }
        part = PROCESSES[type(units)](
            units=units,
            shape=(count,),
            period=steps,
            delay=self.delay,
            traces=self.traces,
            name=f"{type(units).__name__} {index}",
        )
        self.parts.append(part)
        feedforward = stock_synapses(synapses, str(index))
        for port in previous:
            connect(port, feedforward.s_in)
        connect(feedforward.a_out, part.a_in)
        if units.recurrent is not None:
            feedback = stock_dense(units.recurrent, f"recurrent dense {index}")
            part.feedback().connect(feedback.s_in)
            feedback.a_out.connect(part.r_in)
        if with_sink:
            self.add_sink(index, count)

    def begin(self):
        """The units start every sample by themselves."""

    def finish(self):
        """What the layer gave for the sample that has just ended; (1, ...) each."""
        last = self.delay - 1
        return {
            "final": {name: trace[last % len(trace)][None] for name, trace in self.traces.items()},
            "states": {
                **{name: self.unroll(self.traces[name]) for name in self.recorded},
                **self.outputs(),
            },
        }


class LIFLayer(Layer):
    """One or more pairs of Lava's Dense or Conv, and LIF.

    Lava's LIF has one du, dv and vth for all its units. Units that differ in them go to
    different LIF processes. Each of these has all units of the layer, but only its own have
    weights and a bias; the others are silent. So the next layer receives the sum of all as if
    it came from one LIF, and the rounding of a negative exponent stays that of the whole sum.

    With more than MAX_GROUPS different units, one LIF gets the arrays of du, dv and vth. Its
    model computes with them exactly, but `Var.get` of these three would fail.
    """

    def __init__(self, index, synapses, lif, previous, steps, record, with_sink):
        super().__init__(index, steps)
        units = synapses.units
        self.initial = {
            name: np.broadcast_to(np.asarray(value, np.int64), units)
            for name, value in lif.initial().items()
        }
        self.traces = {
            name: np.empty((steps, units), np.int32) for name in self.initial if name in record
        }
        self.members, self.feedbacks = [], []
        for number, (members, du, dv, vth) in enumerate(groups(lif, synapses)):
            name = f"{index}.{number}"
            feedforward = stock_synapses(synapses, name, members)
            part = LIF(
                shape=(units,),
                du=du,
                dv=dv,
                vth=vth,
                bias_mant=np.where(members, lif.bias_mant, 0),
                bias_exp=np.where(members, lif.bias_exp, 0),
                name=f"lif {name}",
            )
            for port in previous:
                connect(port, feedforward.s_in)
            connect(feedforward.a_out, part.a_in)
            self.parts.append(part)
            self.members.append(members)
            if lif.recurrent is not None:
                feedback = stock_dense(lif.recurrent, f"recurrent dense {name}", members)
                feedback.a_out.connect(part.a_in)
                self.feedbacks.append(feedback)
        for feedback in self.feedbacks:
            for part in self.parts:
                part.s_out.connect(feedback.s_in)
        if with_sink:
            self.add_sink(index, units)

    def begin(self):
        """Set the state from which every sample starts."""
        for part, members in zip(self.parts, self.members, strict=True):
            for name, value in self.initial.items():
                getattr(part, name).set(np.where(members, value, 0))
        for feedback in self.feedbacks:
            # What the last step of the sample before would bring to the first of this one.
            feedback.a_buff.set(np.zeros(feedback.a_buff.shape, np.int32))

    def observe(self, step):
        """Keep the states after step `step` of the sample."""
        for name, trace in self.traces.items():
            trace[step] = self._state(name)

    def finish(self):
        """What the layer gave for the sample that has just ended; (1, ...) each."""
        return {
            "final": {
                name: self.traces[name][-1:] if name in self.traces else self._state(name)[None]
                for name in self.initial
            },
            "states": {
                **{name: trace[None] for name, trace in self.traces.items()},
                **self.outputs(),
            },
        }

    def _state(self, name):
        # The silent units of each part are 0.
        return sum(getattr(part, name).get() for part in self.parts)


def connect(source, target):
    """Connect two ports that have as many lines, whatever their shapes."""
    (source if source.shape == target.shape else source.reshape(target.shape)).connect(target)


def stock_synapses(synapses, name, members=None):
    """The process of Lava for some synapses; `members` as for `stock_dense`."""
    if isinstance(synapses, ConvSynapses):
        return stock_conv(synapses, f"conv {name}", members)
    return stock_dense(synapses, f"dense {name}", members)


def stock_conv(synapses, name, members=None):
    """Lava's Conv.

    Lava has width before height. As it treats both alike, it gets them in our order, and nothing
    has to be transposed. It flips windows, and has the same padding on opposite sides, which is
    made up for by windows with rows and columns of zeros.

    Args:
        synapses: `lava_export.Conv`.
        name: Name in messages.
        members: Which lines (units,) it leads to, the same filters everywhere; by default all.

    Raises:
        ValueError: If a size is larger than Lava's Conv can hold.
    """
    weights = synapses.effective_weights() << synapses.exponent
    if members is not None:
        weights = np.where(members[: synapses.filters, None, None, None], weights, 0)
    (height, width), (apart, beside) = synapses.windows.spans, synapses.dilation
    spread = np.zeros((synapses.filters, height, width, weights.shape[3]), np.int32)
    spread[:, ::apart, ::beside] = weights
    top, bottom, left, right = synapses.padding
    around = ((max(bottom - top, 0), max(top - bottom, 0)),)
    around += ((max(right - left, 0), max(left - right, 0)),)
    spread = np.pad(spread, ((0, 0), *around, (0, 0)))
    padding = (max(top, bottom), max(left, right))
    if max(*spread.shape[1:3], *padding, *synapses.strides) > MAX_SIZE:
        raise ValueError(
            f"{name}: Lava's Conv holds sizes up to {MAX_SIZE}, but it would need windows of "
            f"{spread.shape[1:3]}, padding of {padding} and strides of {synapses.strides}: use "
            "mode='batched'."
        )
    return Conv(
        weight=np.ascontiguousarray(spread[:, ::-1, ::-1]),
        input_shape=synapses.input_shape,
        padding=padding,
        stride=synapses.strides,
        num_message_bits=synapses.message_bits,
        name=name,
    )


def stock_dense(synapses, name, members=None, inputs=None):
    """Lava's Dense.

    Args:
        synapses: `lava_export.Dense`.
        name: Name in messages.
        members: Which lines (units,) it leads to; by default all.
        inputs: Number of its input lines: those that the synapses lack have weights of 0.
    """
    weights = synapses.weights
    placed = weights if members is None else np.where(members[:, None], weights, 0)
    if inputs is not None:
        placed = np.pad(placed, ((0, 0), (0, inputs - synapses.inputs)))
    return Dense(
        weights=placed,
        weight_exp=synapses.exponent,
        num_weight_bits=synapses.num_weight_bits,
        num_message_bits=synapses.message_bits,
        sign_mode=determine_sign_mode(weights),
        name=name,
    )


def groups(lif, synapses):
    """Units of equal (du, dv, vth): a list of (members, du, dv, vth); members is bool (units,).

    One group with arrays where there are more than MAX_GROUPS of them. Of a convolution also where
    those of a filter differ, whose positions share their weights, and where the groups would have
    more than MAX_MEMBERS units, counting all in each.
    """
    units = synapses.units
    everyone = np.ones(units, bool)
    columns = [np.broadcast_to(value, units) for value in (lif.du, lif.dv, lif.vth)]
    values, group = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)
    too_many = len(values) > MAX_GROUPS
    if isinstance(synapses, ConvSynapses) and len(values) > 1:
        shared = np.resize(group[: synapses.filters], units)
        too_many |= len(values) * units > MAX_MEMBERS or (shared != group).any()
    if too_many:
        return [(everyone, *(np.array(column, np.int64) for column in columns))]
    return [(group == i, *map(int, value)) for i, value in enumerate(values)]
