"""What an integer network needs: synapses, memory, cores, operations; estimated energy and time.

All of it is counted or estimated. Nothing is measured, because no chip was there.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from lava_export.report import render, table_of

LABEL = "ESTIMATE from published constants, not a measurement."

DAVIES = (
    "Davies et al., Loihi: A Neuromorphic Manycore Processor with On-Chip Learning, IEEE Micro "
    "38 (1), 2018"
)
SIMULATED = f"{DAVIES}, table 2: at 0.75 V, simulated before the chip was made"
ORCHARD = (
    "Loihi 2: 128 cores and one million neurons, as for Orchard et al., Efficient Neuromorphic "
    "Signal Processing with Loihi 2, 2021, and Intel's technology brief"
)


@dataclass(frozen=True)
class Constant:
    """A published number.

    Args:
        value: In SI units.
        meaning: What it is.
        source: Where it is from.
        verified: Whether quotations of the source were found that agree on it.
    """

    value: float
    meaning: str
    source: str
    verified: bool = True


@dataclass(frozen=True)
class Chip:
    """Capacities of a chip."""

    name: str
    cores: Constant
    neurons: Constant
    memory: Constant


LOIHI = Chip(
    "Loihi",
    Constant(128, "cores of a chip", f"{DAVIES}, p. 86"),
    Constant(1024, "neurons of a core", f"{DAVIES}, p. 89, constraint 1"),
    Constant(128 * 1024, "bytes of synapses of a core", f"{DAVIES}, p. 89, constraint 2"),
)
LOIHI_2 = Chip(
    "Loihi 2",
    Constant(128, "cores of a chip", ORCHARD),
    Constant(8192, "neurons of a core", f"{ORCHARD}: 2**20 / 128", verified=False),
    Constant(192 * 1024, "bytes of memory of a core", "secondary sources only", verified=False),
)
CHIPS = (LOIHI, LOIHI_2)
# Lines that can lead to a core of Loihi.
INPUTS = Constant(4096, "input lines of a core", f"{DAVIES}, p. 89, constraint 4")
OPERATION_TIME = Constant(3.5e-9, "seconds of a synaptic operation, at most", SIMULATED)
UPDATE_TIME = Constant(8.4e-9, "seconds of the update of an active neuron", SIMULATED)
BARRIER_TIME = Constant(465e-9, "seconds to synchronize all cores of a chip", SIMULATED)


@dataclass
class LayerActivity:
    """What one layer did.

    Args:
        spikes: Outputs that are not 0.
        operations: Synaptic operations: an input, or one of the layer's own outputs through its
            recurrent synapses, that is not 0, times each synapse that it meets whose weight is
            not 0. Membranes that go back instead of outputs, as in `LIFLSTM`, count as not 0.
        updates: Updates of neurons: units times steps.
    """

    spikes: int
    operations: int
    updates: int


@dataclass
class Activity:
    """What a network did with some samples, counted from its spikes; two of them can be added.

    Args:
        samples, steps: Size of the data.
        layers: A `LayerActivity` for each layer of units, of all samples together.
    """

    samples: int
    steps: int
    layers: list

    def __add__(self, other):
        layers = [
            LayerActivity(*np.add(list(vars(a).values()), list(vars(b).values())).tolist())
            for a, b in zip(self.layers, other.layers, strict=True)
        ]
        return Activity(self.samples + other.samples, self.steps, layers)


def measure(network, spikes):
    """The `Activity` of `network` on input spikes (batch, T, inputs), with the reference."""
    if np.ndim(spikes) > 3:
        spikes = np.reshape(spikes, (*np.shape(spikes)[:2], network.inputs))
    return count(network, spikes, network.simulate(spikes, ("spikes",)).states["spikes"])


def count(network, spikes, outputs):
    """The `Activity` that is in recorded spikes.

    Args:
        network: The `Network`.
        spikes: Its inputs, (batch, T, inputs).
        outputs: For each layer its outputs, (batch, T, units).
    """
    layers = []
    for (synapses, units), fired in zip(network.pairs, outputs, strict=True):
        operations = _events(spikes) @ synapses.fan_out()
        if units.recurrent is not None:
            sent = fired[:, :-1] if units.feeds_outputs else np.ones_like(fired[:, :-1])
            operations += _events(sent) @ units.recurrent.fan_out()
        layers.append(LayerActivity(int(np.count_nonzero(fired)), int(operations), fired.size))
        spikes = fired
    return Activity(*spikes.shape[:2], layers)


def _events(spikes):
    """How often each line is not 0."""
    return np.count_nonzero(spikes, axis=(0, 1))


@dataclass
class WeightUse:
    """How a matrix of weights uses its bits.

    Args:
        name: Of the layer; its recurrent synapses have a row of their own.
        weights: How many there are.
        zero: Part of them that is 0.
        low, high: Smallest and largest.
        step: 2 if all of them are even, as they are in a matrix with both signs; otherwise 1.
        bits: Bits that numbers from the smallest to the largest in steps of `step` need.
        entropy: Entropy of the weights: bits that they would need, well coded.
        histogram: Pairs of a weight and how often it is there.
    """

    name: str
    weights: int
    zero: float
    low: int
    high: int
    step: int
    bits: float
    entropy: float
    histogram: list


@dataclass
class LayerResources:
    """What one layer needs.

    Args:
        name, kind: Its name, and the class of its units.
        inputs, units: Its size.
        synapses: Synapses whose weight is not 0, recurrent ones too. Of a convolution, those from
            each pixel to each position, as if they were separate.
        memory: Bytes of all its weights, without the addresses that a chip needs with them. All
            positions of a convolution share theirs.
        compartments: Neurons of the chip: one for each port of each unit.
        cores: Number of cores for each chip, as far as neurons and memory go; None for a chip
            without such neurons.
        spikes, rate, operations, updates: Means for one sample: spikes, spikes of a unit and step,
            synaptic operations, updates of compartments; None without an `Activity`.
        energy: Joules for one sample.
    """

    name: str
    kind: str
    inputs: int
    units: int
    synapses: int
    memory: int
    compartments: int
    cores: dict
    spikes: float | None = None
    rate: float | None = None
    operations: float | None = None
    updates: float | None = None
    energy: float | None = None


@dataclass
class Resources:
    """What a network needs; it prints as tables.

    Args:
        layers: A `LayerResources` for each layer of units.
        weights: A `WeightUse` for each matrix of weights.
        samples, steps: Of the activity; None without one.
        energy: Joules for one sample; None without an activity.
        latency: Seconds for one sample.
        notes: What the numbers leave out.
        sources: What the constants mean and where they are from.
    """

    layers: list
    weights: list
    samples: int | None
    steps: int | None
    energy: float | None
    latency: float | None
    notes: list
    sources: list

    def to_dict(self):
        """Plain dictionaries, lists and numbers."""
        return {"label": LABEL, **asdict(self)}

    def tables(self):
        """Rich tables."""
        tables = [self._needs(), self._use()]
        return [*tables, self._activity()] if self.samples else tables

    def _needs(self):
        table = table_of(
            f"Memory and cores. {LABEL}",
            ("layer", "kind"),
            (
                "inputs",
                "units",
                "synapses",
                "weights, bytes",
                *(f"{chip.name} cores" for chip in CHIPS),
            ),
        )
        for layer in self.layers:
            table.add_row(
                layer.name,
                layer.kind,
                *(f"{n:,}" for n in (layer.inputs, layer.units, layer.synapses, layer.memory)),
                *("-" if n is None else str(n) for n in layer.cores.values()),
            )
        return table

    def _use(self):
        table = table_of(
            "Use of the weights' 8 bits",
            ("layer",),
            ("weights", "zero", "from", "to", "steps of", "bits of range", "entropy"),
        )
        for use in self.weights:
            table.add_row(
                use.name,
                f"{use.weights:,}",
                f"{use.zero:.1%}",
                str(use.low),
                str(use.high),
                f"{use.step} ({'even' if use.step == 2 else 'odd too'})",
                f"{use.bits:.1f}",
                f"{use.entropy:.1f} bits",
            )
        return table

    def _activity(self):
        table = table_of(
            f"Spikes and synaptic operations, means of {self.samples:,} samples",
            ("layer",),
            (
                "spikes a sample",
                "a step",
                "a unit and step",
                "synaptic operations a sample",
                "a step",
                "energy a sample (estimate)",
            ),
        )
        for layer in self.layers:
            table.add_row(
                layer.name,
                f"{layer.spikes:,.1f}",
                f"{layer.spikes / self.steps:,.2f}",
                f"{layer.rate:.3f}",
                f"{layer.operations:,.0f}",
                f"{layer.operations / self.steps:,.1f}",
                f"{_si(layer.energy)}J",
            )
        return table

    def summary(self):
        """Sentences: the sums, and what they leave out."""
        sums = []
        if self.energy is not None:
            sums.append(
                f"{LABEL} With Loihi's constants one sample of {self.steps} steps takes about "
                f"{_si(self.energy)}J and {_si(self.latency)}s."
            )
        return [*sums, *self.notes]

    def __str__(self):
        sources = "\n".join(f"  {source}" for source in self.sources)
        notes = [note for note in self.summary()]
        return render(*self.tables(), *notes, f"Constants:\n{sources}")


def estimate(network, activity=None):
    """What a network needs on Loihi, by published constants: an estimate, not a measurement.

    Args:
        network: The `Network`.
        activity: Its `Activity` on data, from `measure`, for operations, energy and time. This
            needs Keras, because `keras_spiking_rnn.metrics` has the constants.

    Returns:
        `Resources`, which print as tables.
    """
    layers = [_layer(network, i) for i in range(len(network.pairs))]
    constants = [constant for chip in CHIPS for constant in (chip.neurons, chip.memory)]
    sources = [_source(constant) for constant in constants]
    notes = [
        "Cores: each layer has cores of its own, and one neuron for each port of a unit; memory is "
        "that of the weights alone, without addresses and tables."
    ]
    wide = [layer.name for layer in layers if layer.inputs > INPUTS.value]
    if wide:
        notes.append(
            f"More than the {INPUTS.value:,} lines that can lead to a core of Loihi: "
            f"{', '.join(wide)} ({INPUTS.source})."
        )
    custom = [layer.name for layer in layers if layer.cores[LOIHI.name] is None]
    if custom:
        notes.append(
            f"Loihi has no neurons for {', '.join(custom)}: these need the programmable ones of "
            "Loihi 2."
        )
    energy = latency = None
    if activity is not None:
        from keras_spiking_rnn import metrics

        loihi = metrics.ENERGY["loihi"]
        _add_activity(layers, activity, loihi)
        energy = sum(layer.energy for layer in layers)
        latency = (activity.steps + len(layers)) * max(map(_step_time, layers, _per(activity)))
        notes.append(
            "Energy: synaptic operations and updates of all neurons at each step. Left out are "
            "leakage, the transport of spikes, the embedded processors and the host. No such "
            "constants of Loihi 2 were found."
        )
        notes.append(
            "Time: the busiest layer's operations and updates, one after the other in each core, "
            "and the synchronization of a chip, for each step and once more for each layer. Left "
            "out are the transport of spikes, inputs and outputs."
        )
        sources.append(
            f"{loihi.ac * 1e12:g} pJ of a synaptic operation, {loihi.update * 1e12:g} pJ of the "
            f"update of a neuron: {loihi.source}"
        )
        sources += map(_source, (OPERATION_TIME, UPDATE_TIME, BARRIER_TIME))
    return Resources(
        layers=layers,
        weights=weight_use(network),
        samples=activity and activity.samples,
        steps=activity and activity.steps,
        energy=energy,
        latency=latency,
        notes=notes,
        sources=sources,
    )


def _si(value):
    """A number of three digits and the prefix of its unit."""
    for prefix, size in (("", 1), ("m", 1e-3), ("µ", 1e-6), ("n", 1e-9)):
        if value >= size or prefix == "n":
            return f"{value / size:.3g} {prefix}"


def _source(constant):
    value = f"{constant.value:,}" if constant.value >= 1 else f"{constant.value * 1e9:g}e-9"
    unverified = "" if constant.verified else " (NOT VERIFIED)"
    return f"{value} {constant.meaning}{unverified}: {constant.source}"


def _layer(network, index):
    synapses, units = network.pairs[index]
    inputs, count = network.sizes[index]
    matrices = [synapses] if units.recurrent is None else [synapses, units.recurrent]
    memory = sum(-(-each.weights.size * each.num_weight_bits // 8) for each in matrices)
    compartments = count * units.ports
    return LayerResources(
        name=network.names[index],
        kind=type(units).__name__,
        inputs=inputs,
        units=count,
        synapses=sum(int(each.fan_out().sum()) for each in matrices),
        memory=memory,
        compartments=compartments,
        cores={
            chip.name: (
                max(-(-compartments // chip.neurons.value), -(-memory // chip.memory.value))
                if units.stock or chip is not LOIHI
                else None
            )
            for chip in CHIPS
        },
    )


def _add_activity(layers, activity, loihi):
    samples, steps = activity.samples, activity.steps
    for layer, did in zip(layers, activity.layers, strict=True):
        layer.spikes = did.spikes / samples
        layer.rate = did.spikes / (samples * steps * layer.units)
        layer.operations = did.operations / samples
        layer.updates = layer.compartments * steps
        layer.energy = layer.operations * loihi.ac + layer.updates * loihi.update


def _per(activity):
    """Synaptic operations of each layer in a step."""
    return [did.operations / (activity.samples * activity.steps) for did in activity.layers]


def _step_time(layer, operations):
    """Seconds of a step of a layer, whose cores share its work evenly."""
    cores = layer.cores[LOIHI.name] or layer.cores[LOIHI_2.name]
    work = operations * OPERATION_TIME.value + layer.compartments * UPDATE_TIME.value
    return work / cores + BARRIER_TIME.value


def weight_use(network):
    """A `WeightUse` for each matrix of weights of a network."""
    uses = []
    for (synapses, units), name in zip(network.pairs, network.names, strict=True):
        uses.append(_use_of(synapses, name))
        if units.recurrent is not None:
            uses.append(_use_of(units.recurrent, f"{name}, recurrent"))
    return uses


def _use_of(synapses, name):
    values, counts = np.unique(synapses.effective_weights(), return_counts=True)
    part = counts / counts.sum()
    low, high = int(values[0]), int(values[-1])
    step = 2 if (values % 2 == 0).all() else 1
    return WeightUse(
        name=name,
        weights=int(counts.sum()),
        zero=float(part[values == 0].sum()),
        low=low,
        high=high,
        step=step,
        bits=float(np.log2((high - low) // step + 1)),
        entropy=float(-(part * np.log2(part)).sum()) + 0.0,
        histogram=np.stack([values, counts], axis=1).tolist(),
    )
