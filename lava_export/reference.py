"""The integer reference: a batched NumPy simulator of an integer network.

It is the definition of correct. Every other backend must give the same integers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lava_export import arithmetic

RECORDABLE = ("spikes", "u", "v")
CHUNK = 1 << 24  # values of one layer over time that a chunk of samples may have


@dataclass
class Simulation:
    """What a run of an integer network gave; every list has one entry for each LIF layer.

    Args:
        spikes: The last layer's spikes, int8 (batch, T, units).
        final_u, final_v: Currents and membranes after the last step, int32 (batch, units).
        states: For each recorded name of "spikes", "u" and "v", the layers' values over time,
            (batch, T, units).
        wraps: Number of currents that wrapped around 24 bits (None where a backend cannot tell).
        saturations: Number of membranes that hit the 24-bit limit (None likewise).
    """

    spikes: np.ndarray
    final_u: list
    final_v: list
    states: dict = field(default_factory=dict)
    wraps: list | None = None
    saturations: list | None = None


def simulate(pairs, spikes, record=()):
    """Run `pairs` of (Dense, LIF) layers on binary `spikes` of shape (batch, T, in)."""
    result = Simulation(spikes, [], [], {name: [] for name in record}, [], [])
    for dense, lif in pairs:
        layer = simulate_layer(dense, lif, result.spikes, record)
        result.spikes = layer.spikes
        for name in ("final_u", "final_v", "wraps", "saturations"):
            getattr(result, name).extend(getattr(layer, name))
        for name in record:
            result.states[name].extend(layer.states[name])
    return result


def simulate_in_chunks(pairs, spikes, record=(), advance=lambda samples: None):
    """`simulate` a few samples at a time, so that memory stays bounded as the batch grows."""
    widest = max(max(dense.weights.shape) for dense, _ in pairs)
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

    def stack(lists):
        return [np.concatenate(layer) for layer in zip(*lists, strict=True)]

    def total(lists):
        return None if None in lists else [sum(layer) for layer in zip(*lists, strict=True)]

    return Simulation(
        np.concatenate([part.spikes for part in parts]),
        stack([part.final_u for part in parts]),
        stack([part.final_v for part in parts]),
        {name: stack([part.states[name] for part in parts]) for name in parts[0].states},
        total([part.wraps for part in parts]),
        total([part.saturations for part in parts]),
    )


def simulate_layer(dense, lif, spikes, record=()):
    """One pair of layers on binary `spikes` of shape (batch, T, in)."""
    return simulate_units(lif, weighted_input(dense, spikes), record)


def weighted_input(dense, spikes):
    """What the synapses give the units for binary `spikes`: int32 (batch, T, units)."""
    weights = arithmetic.weights_on_grid(dense.weights, dense.num_weight_bits)
    return arithmetic.accumulate(spikes, weights, dense.exponent)


def simulate_units(lif, current, record=()):
    """The units on their weighted input; the steps that the docstring of `LIF` writes out."""
    batch, steps, units = current.shape
    shape = (batch, units)
    keep_u = arithmetic.DECAY_UNITY - (np.asarray(lif.du, np.int64) + 1)
    keep_v = arithmetic.DECAY_UNITY - np.asarray(lif.dv, np.int64)
    threshold = np.asarray(lif.vth, np.int32) << arithmetic.MESSAGE_SHIFT
    bias = arithmetic.bias(lif.bias_mant, lif.bias_exp)
    u = np.broadcast_to(np.asarray(lif.u0, np.int32), shape)
    v = np.broadcast_to(np.asarray(lif.v0, np.int32), shape)

    fired = np.empty(current.shape, np.int8)
    traces = {name: np.empty(fired.shape, np.int32) for name in record if name != "spikes"}
    wraps = saturations = 0
    for t in range(steps):
        decayed = arithmetic.decay(u, keep_u).astype(np.int32)
        unbounded = decayed + (current[:, t] << arithmetic.MESSAGE_SHIFT)
        u = arithmetic.wrap(unbounded)
        wraps += int(np.count_nonzero(u != unbounded))
        unbounded = arithmetic.decay(v, keep_v).astype(np.int32) + u + bias
        v = arithmetic.saturate(unbounded)
        saturations += int(np.count_nonzero(v != unbounded))
        fired[:, t] = v > threshold
        v = np.where(fired[:, t], 0, v).astype(np.int32)
        for name, value in (("u", u), ("v", v)):
            if name in traces:
                traces[name][:, t] = value
    if "spikes" in record:
        traces["spikes"] = fired
    return Simulation(
        fired, [u], [v], {name: [traces[name]] for name in record}, [wraps], [saturations]
    )
