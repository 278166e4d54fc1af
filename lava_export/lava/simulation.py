"""Integer networks on Lava's CPU simulator."""

import numpy as np

from lava_export.lava import batched, stock, stock_lstm
from lava_export.lava.session import LavaSession
from lava_export.reference import Simulation
from lava_export.synapses import Dense
from lava_export.units import LIF, SpikingLSTM

MODES = {
    "stock": (stock.runtimes, stock.StockNetwork),
    "batched": (batched.runtimes, batched.BatchedNetwork),
}


def simulate(
    pairs,
    spikes,
    record=(),
    mode="stock",
    timeout=60.0,
    advance=lambda samples: None,
    parts="custom",
):
    """Run `pairs` of (synapses, units) on Lava; the same integers as `reference.simulate`.

    Args:
        pairs: List of (`lava_export.Dense` or `Conv`, units of `lava_export.units`).
        spikes: Inputs of shape (batch, T, in).
        record: "spikes", and names of states, to keep of every layer over time. In stock mode,
            u and v of LIF cost some 20 microseconds a number: Lava reads them one by one.
        mode: "stock", Lava's own processes, one sample after the other, and ours only for units
            that Lava lacks; or "batched", our processes, many samples at once.
        timeout: Seconds without progress after which the run is killed.
        advance: Called with the number of samples that have just been completed.
        parts: With mode "stock", what units that Lava lacks are made of: "custom", our processes,
            or "stock", Lava's own, which a network of spiking LSTMs only can be made of.

    Returns:
        A `lava_export.reference.Simulation`; its wraps and saturations are None.

    Raises:
        ValueError: If the network cannot be made of stock parts.
        LavaError: If a Lava process raises, dies or makes no progress.
    """
    kinds = {type(kind) for _, kind in pairs}
    if parts == "stock" and kinds != {LIF}:
        if mode != "stock" or kinds != {SpikingLSTM}:
            raise ValueError(
                "parts='stock' runs networks of LIF only, or of SpikingLSTM only, in mode 'stock'; "
                f"this one has {', '.join(sorted(kind.__name__ for kind in kinds))}, in mode "
                f"{mode!r}."
            )
        if not all(isinstance(synapses, Dense) for synapses, _ in pairs):
            raise ValueError("parts='stock' runs SpikingLSTM behind Dense only: use 'custom'.")
        return stock_lstm.simulate(pairs, spikes, record, timeout, advance)
    runtimes, network = MODES[mode]
    samples, steps, _ = spikes.shape
    batch, rounds = runtimes(samples, steps, pairs, record)
    result = _empty(pairs, samples, steps, record)
    for start in range(0, samples, batch * rounds):
        part = slice(start, start + batch * rounds)
        with LavaSession(timeout) as session:
            processes = network(pairs, spikes[part], record, batch)
            session.start(processes.entry, processes.channel_size)
            _stream(session, processes, _part(result, part), batch, advance)
    return result


def _empty(pairs, samples, steps, record):
    """The `Simulation` that the runtimes fill."""
    sizes = [synapses.units // units.ports for synapses, units in pairs]
    states = {}
    for name in record:
        states[name] = [None] * len(pairs)
        for index, (_, units) in enumerate(pairs):
            if name == "spikes" or name in units.states:
                dtype = units.output_dtype if name == "spikes" else np.int32
                states[name][index] = np.empty((samples, steps, sizes[index]), dtype)
    if "spikes" in record:
        spikes = states["spikes"][-1]
    else:
        spikes = np.empty((samples, steps, sizes[-1]), pairs[-1][1].output_dtype)
    final = [
        {name: np.empty((samples, size), np.int32) for name in units.states}
        for size, (_, units) in zip(sizes, pairs, strict=True)
    ]
    return Simulation(spikes, final, states)


def _part(result, samples):
    """The part of `result` that belongs to a slice of the samples, as views."""
    return Simulation(
        result.spikes[samples],
        [{name: state[samples] for name, state in layer.items()} for layer in result.final],
        {
            name: [None if layer is None else layer[samples] for layer in layers]
            for name, layers in result.states.items()
        },
    )


def _stream(session, network, result, batch, advance):
    """Stream rounds of samples through a runtime, back to back.

    Each Dense holds its output back for one step, so that layer l, counted from 1, sees step t
    of round r at the Lava step `r * T + l + t + 1`. Between its last step of a round and its
    first of the next, the layer's results are read and its state is set, while other layers are
    in the midst of a round. Before `l + 1` a layer computes, but nothing of it is used.
    """
    samples, steps, _ = result.spikes.shape
    rounds = -(-samples // batch)
    depth = len(network.layers)
    if network.observes:
        stops = range(rounds * steps + depth + 1)
    else:
        stops = sorted({r * steps + delay for r in range(rounds + 1) for delay in range(depth + 1)})
    done = 0
    for stop in stops:
        session.run(stop - done)
        done = stop
        if stop % steps == 0 and stop < rounds * steps:
            network.load(stop // steps)
        for index, layer in enumerate(network.layers):
            round_, step = divmod(stop - layer.delay, steps)
            if network.observes and 0 < stop - layer.delay <= rounds * steps:
                layer.observe((step - 1) % steps)
            if step:
                continue
            if 0 < round_ <= rounds:
                part = slice((round_ - 1) * batch, min(round_ * batch, samples))
                _store(_part(result, part), index, layer.finish())
                if index == depth - 1:
                    advance(part.stop - part.start)
            if 0 <= round_ < rounds:
                layer.begin()


def _store(result, index, values):
    """Copy what layer `index` gave for a round into its part of the result."""
    count = len(result.spikes)
    for name, state in result.final[index].items():
        state[:] = values["final"][name][:count]
    for name, layers in result.states.items():
        if layers[index] is not None:
            layers[index][:] = values["states"][name][:count]
    if index == len(result.final) - 1:
        result.spikes[:] = values["states"]["spikes"][:count]
