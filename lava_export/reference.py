"""The integer reference: a batched NumPy simulator of an integer network.

It is the definition of correct. Every other backend must give the same integers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lava_export import arithmetic

# Samples run side by side in chunks of as many as keep a step of a layer in a processor's cache,
STEP = 1 << 15  # values of a step, and the arrays over time in memory,
CHUNK = 1 << 24  # values of all steps.


@dataclass
class Simulation:
    """What a run of an integer network gave; every list has one entry for each layer of units.

    Args:
        spikes: The last layer's outputs (batch, T, units): int8 spikes, or int32 graded ones.
        final: A dictionary for each layer, from the name of each state to its values after the
            last step, int32 (batch, units).
        states: For "spikes" and each state that is recorded, the layers' values over time,
            (batch, T, units); None for a layer without such a state.
        wraps: Number of currents that wrapped around 24 bits, and of weighted inputs that wrapped
            around the 32 bits in which they are added up (None where a backend cannot tell).
        saturations: Number of states, and of weighted inputs that come to them, that hit the
            24-bit limit (None likewise).
    """

    spikes: np.ndarray
    final: list
    states: dict = field(default_factory=dict)
    wraps: list | None = None
    saturations: list | None = None


def recordable(pairs):
    """What can be recorded of a network: "spikes", and each state of any of its layers."""
    return tuple(dict.fromkeys(["spikes", *(name for _, units in pairs for name in units.states)]))


def simulate(pairs, spikes, record=()):
    """Run `pairs` of (synapses, units) on the inputs `spikes` of shape (batch, T, in)."""
    return _simulate([Layer(units, synapses) for synapses, units in pairs], spikes, record)


def _simulate(layers, spikes, record):
    result = Simulation(spikes, [], {name: [] for name in record}, [], [])
    for layer in layers:
        simulated = layer.run(result.spikes, record)
        result.spikes = simulated.spikes
        for name in ("final", "wraps", "saturations"):
            getattr(result, name).extend(getattr(simulated, name))
        for name in record:
            result.states[name].extend(simulated.states[name])
    return result


def simulate_in_chunks(pairs, spikes, record=(), advance=lambda samples: None):
    """`simulate` a few samples at a time: it is quicker, and memory stays bounded."""
    layers = [Layer(units, synapses) for synapses, units in pairs]
    widest = max(max(synapses.inputs, synapses.units) for synapses, _ in pairs)
    size = max(1, min(STEP // widest, CHUNK // (spikes.shape[1] * widest)))
    parts = []
    for start in range(0, len(spikes), size):
        chunk = spikes[start : start + size]
        parts.append(_simulate(layers, chunk, record))
        advance(len(chunk))
    return join(parts)


def join(parts):
    """One `Simulation` of all samples from those of consecutive groups of samples.

    Raises:
        ValueError: If they have other numbers of steps.
    """
    steps = sorted({part.spikes.shape[1] for part in parts})
    if len(steps) > 1:
        raise ValueError(
            f"The batches have {' and '.join(map(str, steps))} steps, which fit into no one array: "
            "pad them, or take them batch by batch from Network.stream."
        )

    def stack(arrays):
        if arrays[0] is None:
            return None
        shape = (sum(map(len, arrays)), *arrays[0].shape[1:])
        return np.concatenate(arrays, out=np.empty(shape, arrays[0].dtype))

    def total(lists):
        return None if None in lists else [sum(layer) for layer in zip(*lists, strict=True)]

    return Simulation(
        stack([part.spikes for part in parts]),
        [
            {name: stack([layer[name] for layer in layers]) for name in layers[0]}
            for layers in zip(*(part.final for part in parts), strict=True)
        ],
        {
            name: [stack(layers) for layers in zip(*(p.states[name] for p in parts), strict=True)]
            for name in parts[0].states
        },
        total([part.wraps for part in parts]),
        total([part.saturations for part in parts]),
    )


def simulate_layer(synapses, units, spikes, record=()):
    """One pair of synapses and units on the inputs `spikes` of shape (batch, T, in)."""
    return Layer(units, synapses).run(spikes, record)


def simulate_units(units, current, record=()):
    """The units on their weighted input (batch, T, ports * units)."""
    return Layer(units).step_through(current.swapaxes(0, 1), record)


def weighted_inputs(synapses, units, inputs, states):
    """All that reached the ports of a layer in one sample, (T, ports * units).

    Args:
        synapses: Those of the layer.
        units: Its units.
        inputs: What it got, (T, in).
        states: What it recorded: each state, and "spikes", (T, units).
    """
    current = synapses.product()(inputs)
    if units.recurrent is not None:
        messages = units.feedback(states, states["spikes"])
        current[1:] += units.recurrent.product()(messages[:-1])
    return current


class Layer:
    """Synapses and units, ready to run: what does not depend on the inputs is computed once.

    Arrays over time are (batch, T, ...) to those outside. In memory the steps come first, so that
    a step is contiguous.

    Args:
        units: The units.
        synapses: The synapses before them; None for units that get their weighted inputs.
    """

    def __init__(self, units, synapses=None):
        self.units = units
        self.recurrent = None if units.recurrent is None else _Product(units.recurrent)
        self.synapses = None if synapses is None else _Product(synapses)
        self.step = units.dynamics()

    def run(self, spikes, record=()):
        """A `Simulation` of this layer alone, on the inputs `spikes` (batch, T, in)."""
        messages = spikes.swapaxes(0, 1)
        current = self.synapses.weighted(messages)
        simulation = self.step_through(current, record)
        simulation.wraps[0] += self.synapses.wraps(messages, current)
        return simulation

    def step_through(self, current, record=()):
        """The same on weighted inputs, which come steps first: (T, batch, ports * units)."""
        current = np.ascontiguousarray(current)
        steps, batch, width = current.shape
        shape = (batch, width // self.units.ports)
        state = {
            name: np.full(shape, value, np.int32) for name, value in self.units.initial().items()
        }
        outputs = np.empty((steps, *shape), self.units.output_dtype)
        traces = {name: np.empty(outputs.shape, np.int32) for name in state if name in record}
        wraps = saturations = 0
        for t, total in enumerate(current):
            if self.recurrent is not None and t > 0:
                messages = self.units.feedback(state, outputs[t - 1])
                total, wrapped = self.recurrent.added_to(total, messages)
                wraps += wrapped
            outputs[t], wrapped, saturated = self.step(state, total)
            wraps += wrapped
            saturations += saturated
            for name, trace in traces.items():
                trace[t] = state[name]
        traces = {
            name: trace.swapaxes(0, 1) for name, trace in (traces | {"spikes": outputs}).items()
        }
        return Simulation(
            traces["spikes"],
            [state],
            {name: [traces.get(name)] for name in record},
            [int(wraps)],
            [int(saturations)],
        )


class _Product:
    """What synapses make of messages, in the 32 bits in which Lava's `Dense` adds up."""

    def __init__(self, synapses):
        self.weighted_rows = synapses.product()
        largest = max(int(np.abs(bound).max()) + 1 for bound in synapses.reach())
        self.largest = largest << max(-synapses.exponent, 0)
        # Only where some messages lead beyond 32 bits are sums needed that do not wrap.
        self.exact = synapses.product(np.int64) if self.largest >= 1 << 31 else None

    def weighted(self, messages):
        """Weighted inputs of messages (T, batch, in); silent steps cost nothing."""
        sounding = [bool(step.any()) for step in messages]
        if all(sounding):
            return self.weighted_rows(messages)
        some = self.weighted_rows(messages[sounding])
        total = np.zeros((len(messages), *some.shape[1:]), np.int32)
        total[sounding] = some
        return total

    def wraps(self, messages, weighted):
        """How many of the `weighted` inputs have wrapped."""
        return 0 if self.exact is None else np.count_nonzero(self.exact(messages) != weighted)

    def added_to(self, current, messages):
        """`current` with the weighted inputs of messages (batch, in), and how many sums wrapped."""
        if not messages.any():
            return current, 0
        brought = self.weighted_rows(messages)
        total = current + brought
        if self.exact is None and arithmetic.within(current, (1 << 31) - self.largest):
            return total, 0
        exact = brought if self.exact is None else self.exact(messages)
        return total, np.count_nonzero(current + exact.astype(np.int64) != total)
