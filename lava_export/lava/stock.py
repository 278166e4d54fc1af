"""Networks of Lava's own processes: Dense, LIF and ring buffers, one sample after the other."""

import numpy as np
from lava.proc.dense.process import Dense
from lava.proc.io.sink import RingBuffer as Sink
from lava.proc.io.source import RingBuffer as Source
from lava.proc.lif.process import LIF
from lava.utils.weightutils import determine_sign_mode

MAX_GROUPS = 8
SOURCE_BYTES = 1 << 26  # of one runtime's input; with more samples, several runtimes follow


def runtimes(samples, steps, pairs, record):
    """How many samples a runtime takes at once, and in how many rounds."""
    per_sample = 4 * steps * pairs[0][0].inputs
    return 1, min(samples, max(1, SOURCE_BYTES // per_sample))


class StockNetwork:
    """The processes of one runtime.

    Args:
        pairs: (Dense, LIF) layers.
        spikes: int8 (samples, T, in), all samples of this runtime.
        record: Names of what is kept over time.
        batch: Samples at once, always 1.
    """

    channel_size = 64

    def __init__(self, pairs, spikes, record, batch):
        samples, steps, inputs = spikes.shape
        self.observes = bool({"u", "v"} & set(record))
        # The ring buffer starts again at its end: zeros until the last layer has seen all.
        data = np.zeros((inputs, samples * steps + len(pairs)), np.int32)
        data[:, : samples * steps] = spikes.reshape(samples * steps, inputs).T
        source = Source(data=data)
        source.name = "source"
        self.entry = source
        self.layers = []
        previous = [source.s_out]
        for index, (dense, lif) in enumerate(pairs):
            with_sink = "spikes" in record or index == len(pairs) - 1
            layer = StockLayer(index, dense, lif, previous, steps, record, with_sink)
            self.layers.append(layer)
            previous = [part.s_out for part in layer.parts]

    def load(self, round_):
        """All input is in the source from the beginning."""


class StockLayer:
    """One or more pairs of Lava's Dense and LIF.

    Lava's LIF has one du, dv and vth for all its units. Units that differ in them go to
    different LIF processes. Each of these has all units of the layer, but only its own have
    weights and a bias; the others are silent. So the next layer receives the sum of all as if
    it came from one LIF, and the rounding of a negative exponent stays that of the whole sum.

    With more than MAX_GROUPS different units, one LIF gets the arrays of du, dv and vth. Its
    model computes with them exactly, but `Var.get` of these three would fail.
    """

    def __init__(self, index, dense, lif, previous, steps, record, with_sink):
        units = dense.units
        self.delay = index + 1
        self.steps = steps
        self.initial_u = np.broadcast_to(np.asarray(lif.u0, np.int64), units)
        self.initial_v = np.broadcast_to(np.asarray(lif.v0, np.int64), units)
        self.traces = {
            name: np.empty((steps, units), np.int32) for name in ("u", "v") if name in record
        }
        sign_mode = determine_sign_mode(dense.weights)
        self.parts, self.members = [], []
        for number, (members, du, dv, vth) in enumerate(groups(lif, units)):
            synapses = Dense(
                weights=np.where(members[:, None], dense.weights, 0),
                weight_exp=dense.exponent,
                num_weight_bits=dense.num_weight_bits,
                sign_mode=sign_mode,
                name=f"dense {index}.{number}",
            )
            part = LIF(
                shape=(units,),
                du=du,
                dv=dv,
                vth=vth,
                bias_mant=np.where(members, lif.bias_mant, 0),
                bias_exp=np.where(members, lif.bias_exp, 0),
                name=f"lif {index}.{number}",
            )
            for port in previous:
                port.connect(synapses.s_in)
            synapses.a_out.connect(part.a_in)
            self.parts.append(part)
            self.members.append(members)
        self.sink = None
        if with_sink:
            self.sink = Sink(shape=(units,), buffer=steps)
            self.sink.name = f"sink {index}"
            for part in self.parts:
                part.s_out.connect(self.sink.a_in)

    def begin(self):
        """Set the state from which every sample starts."""
        for part, members in zip(self.parts, self.members, strict=True):
            part.u.set(np.where(members, self.initial_u, 0))
            part.v.set(np.where(members, self.initial_v, 0))

    def observe(self, step):
        """Keep the state after step `step` of the sample."""
        for name, trace in self.traces.items():
            trace[step] = self._state(name)

    def finish(self):
        """What the layer gave for the sample that has just ended, by name; (1, ...) each."""
        result = {name: trace[None] for name, trace in self.traces.items()}
        for name in ("u", "v"):
            result[f"final_{name}"] = (
                self.traces[name][-1:] if name in self.traces else self._state(name)[None]
            )
        if self.sink is not None:
            # Step 0 of the sample stands where the Lava step `delay + 1` was written.
            spikes = np.roll(self.sink.data.get(), -self.delay, axis=1)
            result["spikes"] = spikes.T[None]
        return result

    def _state(self, name):
        # The silent units of each part are 0.
        return sum(getattr(part, name).get() for part in self.parts)


def groups(lif, units):
    """Units of equal (du, dv, vth): a list of (members, du, dv, vth); members is bool (units,).

    One group with arrays where there are more than MAX_GROUPS of them.
    """
    everyone = np.ones(units, bool)
    columns = [np.broadcast_to(value, units) for value in (lif.du, lif.dv, lif.vth)]
    values, group = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)
    if len(values) > MAX_GROUPS:
        return [(everyone, *(np.array(column, np.int64) for column in columns))]
    return [(group == i, *map(int, value)) for i, value in enumerate(values)]
