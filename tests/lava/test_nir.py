"""A recurrent graph of another framework, imported, on Lava."""

import numpy as np
import pytest

pytest.importorskip("lava_export.lava", reason="needs Python 3.10 and lava-nc 0.10.0")
nir = pytest.importorskip("nir")

from lava_export import Dense, Network, SpikingLSTM, from_nir  # noqa: E402

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.mark.parametrize("mode", ["stock", "batched"])
def test_recurrent_graph_of_snntorch(mode):
    """In the layout of the NIR paper's Braille network: Affine, CubaLIF with Affine, twice."""
    generator = np.random.default_rng(0)
    dt, alpha, beta = 1e-4, 0.4, 0.7

    def affine(units, inputs, scale):
        return nir.Affine(
            generator.normal(0, scale, (units, inputs)), generator.normal(0, 0.02, units)
        )

    def rsynaptic(units):
        ones = np.ones(units)
        neurons = nir.CubaLIF(
            tau_syn=dt / (1 - alpha) * ones,
            tau_mem=dt / (1 - beta) * ones,
            r=ones / (1 - beta),
            v_leak=0 * ones,
            v_threshold=ones,
            w_in=ones / (1 - alpha),
        )
        return nir.NIRGraph(
            {
                "input": nir.Input(np.array([units])),
                "lif": neurons,
                "w_rec": affine(units, units, 0.1),
                "output": nir.Output(np.array([units])),
            },
            [("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")],
        )

    graph = nir.NIRGraph.from_list(
        affine(20, 12, 0.3), rsynaptic(20), affine(7, 20, 0.6), rsynaptic(7)
    )
    spikes = (generator.random((24, 15, 12)) < 0.3).astype(np.int8)
    network = from_nir(graph, spikes, dt)
    assert all(units.recurrent is not None and units.u0.any() for units in network.layers[1::2])
    few = spikes[: 3 if mode == "stock" else 24]
    expected = network.run(few)
    assert 0.02 < expected.mean() < 0.9
    np.testing.assert_array_equal(network.run(few, backend="lava", mode=mode), expected)


@pytest.mark.parametrize("mode", ["stock", "batched"])
def test_spiking_lstm_that_came_back(mode, tmp_path):
    generator = np.random.default_rng(1)
    network = Network(
        [
            Dense(2 * generator.integers(-60, 70, (32, 10))),
            SpikingLSTM(
                generator.integers(-40, 90, 32), Dense(2 * generator.integers(-60, 70, (32, 8)))
            ),
        ]
    )
    network.to_nir(tmp_path / "lstm.nir")
    spikes = (generator.random((3, 12, 10)) < 0.4).astype(np.int8)
    expected = network.run(spikes)
    assert 0.05 < expected.mean() < 0.95
    back = from_nir(tmp_path / "lstm.nir")
    np.testing.assert_array_equal(back.run(spikes, backend="lava", mode=mode), expected)
