"""Integer networks on Lava's CPU simulator."""

import numpy as np

from lava_export.lava import batched, stock, stock_lstm
from lava_export.lava.session import LavaSession
from lava_export.reference import Simulation
from lava_export.synapses import Dense
from lava_export.units import LIF, SpikingLSTM


def simulate(
    pairs,
    spikes,
    record=(),
    mode="stock",
    timeout=60.0,
    advance=lambda samples: None,
    parts="custom",
):
    """Run `pairs` on the inputs `spikes` of shape (batch, T, in), once; see `Simulator`."""
    with Simulator(pairs, record, mode, timeout, parts) as simulator:
        return simulator.run(spikes, advance)


class Simulator:
    """Lava for `pairs` of (synapses, units): the same integers as `reference.simulate`.

    In mode "batched" Lava compiles and starts the network at the first run, once for all runs of
    the same number of steps. In mode "stock" Lava's own source holds all samples from the start:
    each run is compiled anew.

    Example:
        >>> with Simulator(network.pairs, mode="batched") as simulator:
        ...     results = [simulator.run(spikes) for spikes in groups]

    Args:
        pairs: List of (`lava_export.Dense` or `Conv`, units of `lava_export.units`).
        record: "spikes", and names of states, to keep of every layer over time. In stock mode,
            u and v of LIF cost some 20 microseconds a number: Lava reads them one by one.
        mode: "stock", Lava's own processes, one sample after the other, and ours only for units
            that Lava lacks; or "batched", our processes, many samples at once.
        timeout: Seconds without progress after which a run is killed.
        parts: With mode "stock", what units that Lava lacks are made of: "custom", our processes,
            or "stock", Lava's own, which a network of spiking LSTMs only can be made of.

    Raises:
        ValueError: If the network cannot be made of stock parts.
    """

    def __init__(self, pairs, record=(), mode="stock", timeout=60.0, parts="custom"):
        kinds = {type(kind) for _, kind in pairs}
        self._of_stock_parts = parts == "stock" and kinds != {LIF}
        if self._of_stock_parts:
            if mode != "stock" or kinds != {SpikingLSTM}:
                raise ValueError(
                    "parts='stock' runs networks of LIF only, or of SpikingLSTM only, in mode "
                    f"'stock'; this one has {', '.join(sorted(kind.__name__ for kind in kinds))}, "
                    f"in mode {mode!r}."
                )
            if not all(isinstance(synapses, Dense) for synapses, _ in pairs):
                raise ValueError("parts='stock' runs SpikingLSTM behind Dense only: use 'custom'.")
        self._pairs, self._record, self._mode, self._timeout = pairs, record, mode, timeout
        self._session = self._network = None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._end(*exception)

    def run(self, spikes, advance=lambda samples: None):
        """Run the network on more samples; each starts afresh.

        Args:
            spikes: Inputs of shape (batch, T, in).
            advance: Called with the number of samples that have just been completed.

        Returns:
            A `lava_export.reference.Simulation`; its wraps and saturations are None.

        Raises:
            LavaError: If a Lava process raises, dies or makes no progress.
        """
        if self._of_stock_parts:
            return stock_lstm.simulate(self._pairs, spikes, self._record, self._timeout, advance)
        result = _empty(self._pairs, *spikes.shape[:2], self._record)
        run = self._run_stock if self._mode == "stock" else self._run_batched
        run(spikes, result, advance)
        return result

    def _run_stock(self, spikes, result, advance):
        size = stock.samples_of_runtime(*spikes.shape[1:])
        for start in range(0, len(spikes), size):
            part = slice(start, start + size)
            with LavaSession(self._timeout) as session:
                network = stock.StockNetwork(self._pairs, spikes[part], self._record)
                session.start(network.entry, network.channel_size)
                _stream(session, network, _part(result, part), advance)

    def _run_batched(self, spikes, result, advance):
        try:
            if self._network is None or self._network.steps != spikes.shape[1]:
                self._end()
                self._start(spikes)
            self._network.spikes = spikes
            self._network.origin += _stream(self._session, self._network, result, advance)
        except BaseException:
            self._end()  # it is in the midst of a round
            raise

    def _start(self, spikes):
        samples, *shape = spikes.shape
        batch = batched.batch_size(samples, shape[0], self._pairs, self._record)
        self._session = LavaSession(self._timeout).__enter__()
        self._network = batched.BatchedNetwork(
            self._pairs, shape, spikes.dtype, self._record, batch
        )
        self._session.start(self._network.entry, self._network.channel_size)

    def _end(self, *exception):
        if self._session is not None:
            self._session.__exit__(*exception)
            self._session = self._network = None


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


def _stream(session, network, result, advance):
    """Stream rounds of samples through a runtime, back to back; returns how many steps it ran.

    Each Dense holds its output back for one step, so that layer l, counted from 1, sees step t
    of round r at the Lava step `r * T + l + t + 1`. Between its last step of a round and its
    first of the next, the layer's results are read and its state is set, while other layers are
    in the midst of a round. Before `l + 1` a layer computes, but nothing of it is used.
    """
    samples, steps, _ = result.spikes.shape
    batch = network.batch
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
    return done


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
