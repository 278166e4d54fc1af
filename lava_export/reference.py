"""The integer reference: a batched NumPy simulator of an integer network.

It is the definition of correct. Every other backend must give the same integers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

CHUNK = 1 << 24  # values of one layer over time that a chunk of samples may have


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
    result = Simulation(spikes, [], {name: [] for name in record}, [], [])
    for synapses, units in pairs:
        layer = simulate_layer(synapses, units, result.spikes, record)
        result.spikes = layer.spikes
        for name in ("final", "wraps", "saturations"):
            getattr(result, name).extend(getattr(layer, name))
        for name in record:
            result.states[name].extend(layer.states[name])
    return result


def simulate_in_chunks(pairs, spikes, record=(), advance=lambda samples: None):
    """`simulate` a few samples at a time, so that memory stays bounded as the batch grows."""
    widest = max(max(synapses.inputs, synapses.units) for synapses, _ in pairs)
    size = max(1, CHUNK // (spikes.shape[1] * widest))
    parts = []
    for start in range(0, len(spikes), size):
        chunk = spikes[start : start + size]
        parts.append(simulate(pairs, chunk, record))
        advance(len(chunk))
    return join(parts)


def join(parts):
    """One `Simulation` of all samples from those of consecutive groups of samples."""
    if len(parts) == 1:
        return parts[0]

    def stack(arrays):
        return None if arrays[0] is None else np.concatenate(arrays)

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
    current = synapses.product()(spikes)
    simulation = simulate_units(units, current, record)
    if _may_wrap(synapses):
        exact = synapses.product(np.int64)(spikes)
        simulation.wraps[0] += int(np.count_nonzero(exact != current))
    return simulation


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


def _may_wrap(synapses):
    """Whether some messages lead beyond the 32 bits in which Lava's `Dense` adds up."""
    largest = max(int(np.abs(bound).max()) + 1 for bound in synapses.reach())
    return largest << max(-synapses.exponent, 0) >= 1 << 31


def simulate_units(units, current, record=()):
    """The units on their weighted input (batch, T, ports * units)."""
    batch, steps, width = current.shape
    shape = (batch, width // units.ports)
    state = {
        name: np.broadcast_to(np.asarray(value, np.int32), shape)
        for name, value in units.initial().items()
    }
    outputs = np.empty((batch, steps, shape[1]), units.output_dtype)
    traces = {
        name: np.empty(outputs.shape, np.int32) if name in state else None
        for name in record
        if name != "spikes"
    }
    feedback, exact_feedback = None, None
    if units.recurrent is not None:
        feedback = units.recurrent.product()
        exact_feedback = units.recurrent.product(np.int64)
        exact_feedback = exact_feedback if _may_wrap(units.recurrent) else feedback
    step = units.dynamics()
    wraps = saturations = 0
    for t in range(steps):
        total = current[:, t]
        if feedback is not None and t > 0:
            messages = units.feedback(state, outputs[:, t - 1])
            total = total + feedback(messages)
            exact = current[:, t] + exact_feedback(messages).astype(np.int64)
            wraps += int(np.count_nonzero(exact != total))
        outputs[:, t], wrapped, saturated = step(state, total)
        wraps += int(wrapped)
        saturations += int(saturated)
        for name, trace in traces.items():
            if trace is not None:
                trace[:, t] = state[name]
    if "spikes" in record:
        traces["spikes"] = outputs
    return Simulation(
        outputs, [state], {name: [traces[name]] for name in record}, [wraps], [saturations]
    )
