"""netx files run by lava-dl's own `netx.hdf5.Network`, on Lava's CPU simulator."""

import importlib
import importlib.util

import numpy as np
from lava.proc.io.sink import RingBuffer as Sink
from lava.proc.io.source import RingBuffer as Source

from lava_export.arithmetic import STATE_LIMIT
from lava_export.lava.session import LavaSession
from lava_export.network import check_spikes

VERSION = "0.6.0"


def run(path, spikes, timeout=60.0):
    """The spikes that lava-dl gives for a netx file; every sample starts afresh.

    Samples are streamed through one runtime, each layer being reset where a sample reaches it.
    But a reset leaves what recurrent synapses still hold of the last sample: a network with such
    synapses gets a runtime of its own for each sample, about a second.

    Args:
        path: The netx file.
        spikes: Zeros and ones of shape `(batch, T, inputs)`.
        timeout: Seconds without progress after which the run is stopped.

    Returns:
        int8 spikes `(batch, T, units)`, which `lava_export.from_netx(path).run(spikes)` gives too.

    Raises:
        ImportError: If lava-dl is not installed.
        ValueError: If the shape of `spikes` is wrong, it is empty or not binary.
        lava_export.lava.LavaError: If a Lava process fails or makes no progress.
    """
    netx = _import_netx()
    with LavaSession(timeout):
        network = _network(netx, path)
        inputs, recurrent = network.inp.shape[0], any(map(_is_recurrent, network.layers))
    spikes = check_spikes(spikes, inputs)
    parts = spikes[:, None] if recurrent else [spikes]
    return np.concatenate([_run(netx, path, part, timeout) for part in parts])


def _network(netx, path, **reset):
    network = netx.Network(str(path), **reset)
    network.net_config.f.close()
    return network


def _is_recurrent(layer):
    return hasattr(layer, "synapse_rec")


def _import_netx():
    if importlib.util.find_spec("lava.lib") is None or not importlib.util.find_spec("lava.lib.dl"):
        raise ImportError(
            f'lava-dl {VERSION} is not installed: pip install "keras-spiking-rnn[lava-dl]".'
        )
    return importlib.import_module("lava.lib.dl.netx.hdf5")


def _run(netx, path, spikes, timeout):
    """One runtime: one sample after the other."""
    samples, steps, inputs = spikes.shape
    with LavaSession(timeout) as session:
        # The first layer sees its first input in the second step.
        network = _network(netx, path, reset_interval=steps, reset_offset=1)
        for layer in filter(_is_recurrent, network.layers):
            # No spike before the first step of a sample, which would come back in it.
            layer.neuron.v.init = np.full(layer.neuron.v.shape, 1 - STATE_LIMIT)
        depth = len(network.layers)
        # The ring buffer starts again at its end: zeros until the last layer has seen all.
        data = np.zeros((inputs, samples * steps + depth), np.int32)
        data[:, : samples * steps] = spikes.reshape(samples * steps, inputs).T
        source, sink = Source(data=data), Sink(shape=network.out.shape, buffer=data.shape[1])
        source.s_out.connect(network.inp)
        network.out.connect(sink.a_in)
        session.start(source)
        session.run(data.shape[1])
        fired = sink.data.get()[:, depth:].T
    return fired.reshape(samples, steps, -1).astype(np.int8)
