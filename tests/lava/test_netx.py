"""lava-dl's own `netx.hdf5.Network` runs what `to_netx` writes as the reference does."""

import h5py
import numpy as np
import psutil
import pytest

pytest.importorskip("lava_export.lava", reason="needs Python 3.10 and lava-nc 0.10.0")
pytest.importorskip("lava.lib.dl", reason="needs lava-dl 0.6.0: make lava-dl")

import torch  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from lava.lib.dl import slayer  # noqa: E402
from lava.lib.dl.netx.utils import optimize_weight_bits  # noqa: E402
from lava.utils.weightutils import (  # noqa: E402
    clip_weights,
    determine_sign_mode,
    truncate_weights,
)

from lava_export import LIF, Dense, LossWarning, Network, from_netx  # noqa: E402
from lava_export.lava import LavaError, netx  # noqa: E402
from lava_export.netx import _as_read  # noqa: E402

pytestmark = pytest.mark.usefixtures("nothing_left")


def lively_spikes(generator, *shape):
    return (generator.random(shape) < 0.35).astype(np.int8)


def layer(generator, inputs, units, recurrent=False, **registers):
    registers = {
        "du": 4095,
        "dv": generator.integers(50, 2000, units),
        "vth": generator.integers(80, 200, units),
        "bias_mant": generator.integers(-5, 60, units),
        "bias_exp": 6,
        **registers,
    }
    back = Dense(2 * generator.integers(-20, 20, (units, units))) if recurrent else None
    weights = 2 * generator.integers(-50, 60, (units, inputs))
    return [Dense(weights), LIF(**registers, recurrent=back)]


def check(network, spikes, path, **options):
    """Write, let lava-dl run it, compare with the reference; gives the spikes."""
    written = network.to_netx(path, **options)
    fired = netx.run(path, spikes)
    assert fired.dtype == np.int8
    np.testing.assert_array_equal(fired, written.run(spikes))
    np.testing.assert_array_equal(fired, from_netx(path).run(spikes))
    if not options:
        np.testing.assert_array_equal(fired, network.run(spikes))
    assert 0.02 < fired.mean() < 0.98
    assert len({sample.tobytes() for sample in fired}) == len(spikes)
    return fired


@pytest.mark.parametrize("recurrent", [(True, False), (False, True)])
def test_layers(recurrent, tmp_path):
    generator = np.random.default_rng(0)
    network = Network(
        [
            *layer(generator, 16, 24, recurrent[0]),
            *layer(generator, 24, 10, recurrent[1], du=generator.integers(2500, 4000, 10)),
        ]
    )
    check(network, lively_spikes(generator, 2, 16, 16), tmp_path / "a.net")


def test_one_value_for_all_units(tmp_path):
    generator = np.random.default_rng(1)
    registers = {"du": 3000, "dv": 100, "vth": 90, "bias_mant": 2}
    network = Network([*layer(generator, 16, 12, **registers), *layer(generator, 12, 8)])
    check(network, lively_spikes(generator, 3, 20, 16), tmp_path / "a.net")


def test_spikes_before_the_first_step_do_not_come_back(tmp_path):
    """The second layer fires by its bias while it waits for its first input."""
    generator = np.random.default_rng(2)
    eager = {"bias_mant": generator.integers(0, 300, 12), "du": 3500}
    network = Network(
        [*layer(generator, 16, 12, True, **eager), *layer(generator, 12, 12, True, **eager)]
    )
    check(network, lively_spikes(generator, 2, 12, 16), tmp_path / "a.net")


def test_wrap_and_saturation(tmp_path):
    generator = np.random.default_rng(3)
    network = Network(
        [
            Dense(generator.integers(0, 255, (30, 40)), 0),
            LIF(du=0, dv=0, vth=131071, bias_mant=4095, bias_exp=6),
        ]
    )
    spikes = np.ones((1, 80, 40), np.int8)
    simulation = network.simulate(spikes)
    assert simulation.wraps[0] and simulation.saturations[0]
    network.to_netx(tmp_path / "a.net")
    np.testing.assert_array_equal(netx.run(tmp_path / "a.net", spikes), simulation.spikes)


def test_what_is_left_after_losses(tmp_path):
    generator = np.random.default_rng(4)
    network = Network(
        [
            Dense(2 * generator.integers(-60, 90, (24, 30)), 4),
            LIF(
                dv=generator.integers(100, 800, 24),
                vth=5000,
                bias_mant=generator.integers(-4000, 4000, 24),
                bias_exp=3,
                v0=generator.integers(-4000, 4000, 24),
                recurrent=Dense(generator.integers(-60, 60, (24, 24)), 2),
            ),
        ]
    )
    with pytest.warns(LossWarning):
        check(network, lively_spikes(generator, 2, 16, 30), tmp_path / "a", allow_lossy=True)


def lava_dl_computes_with(matrices):
    """Whether lava-dl's loader and Lava's Dense, by their own functions, keep the weights."""
    with np.errstate(divide="ignore"):
        joint, bits, exponent, _ = optimize_weight_bits(np.hstack(matrices))
    computed = []
    for matrix in np.split(joint, np.cumsum([m.shape[1] for m in matrices])[:-1], axis=1):
        sign = determine_sign_mode(matrix)
        grid = truncate_weights(clip_weights(matrix, sign, 8), sign, bits)
        computed.append(grid)
    return all(
        exponent <= 0 and np.array_equal(grid, matrix << -exponent)
        for grid, matrix in zip(computed, matrices, strict=True)
    )


@given(seed=st.integers(0, 1 << 32), data=st.data())
@settings(max_examples=150)
def test_which_weights_lava_dl_reads_right(seed, data):
    """Never does `_as_read` promise weights that lava-dl does not compute with."""
    generator = np.random.default_rng(seed)
    matrices = []
    for _ in range(data.draw(st.integers(1, 2))):
        low, high = data.draw(
            st.sampled_from(
                [(-256, 255), (-60, 60), (0, 255), (-256, 0), (-255, -1), (0, 3), (-2, 1), (0, 0)]
            )
        )
        step = data.draw(st.sampled_from([1, 1, 2, 4, 64]))
        shape = (3, data.draw(st.integers(1, 4)))
        matrices.append(step * generator.integers(low // step, high // step + 1, shape))
    read = _as_read(matrices)
    if not any(m.any() for m in matrices):
        assert read is None
        return
    right = lava_dl_computes_with(matrices)
    nine_bits = any(
        (m % 2).any() and m.min() < 0 < m.max() and np.abs(m + 0.5).max() > 128 for m in matrices
    )
    assert (read is not None) == (right and not nine_bits)
    for synapses, matrix in zip(read or [], matrices, strict=bool(read)):
        lines = synapses.product()(np.eye(matrix.shape[1], dtype=np.int8))
        np.testing.assert_array_equal(lines.T, matrix)


@pytest.mark.parametrize("recurrent", [False, True])
def test_networks_that_lava_dl_wrote(recurrent, tmp_path):
    """Those of slayer, as users train them."""
    torch.manual_seed(0)
    neuron = {"threshold": 0.6, "current_decay": 0.4, "voltage_decay": 0.2}
    hidden = slayer.block.cuba.Recurrent if recurrent else slayer.block.cuba.Dense
    blocks = [
        hidden(neuron, 16, 20, weight_scale=3, delay=False),
        slayer.block.cuba.Dense(neuron, 20, 8, weight_scale=3, delay=False),
    ]
    path = tmp_path / "slayer.net"
    with h5py.File(path, "w") as file:
        for i, block in enumerate(blocks):
            with torch.no_grad():
                block(torch.zeros(1, (16, 20)[i], 4))  # which tells it its shape
            block.export_hdf5(file.create_group(f"layer/{i}"))
    network = from_netx(path)
    assert [synapses.weights.shape for synapses, _ in network.pairs] == [(20, 16), (8, 20)]
    assert (network.layers[1].recurrent is not None) == recurrent
    spikes = lively_spikes(np.random.default_rng(5), 3, 20, 16)
    fired = netx.run(path, spikes)
    assert 0.02 < fired.mean() < 0.98
    np.testing.assert_array_equal(fired, network.run(spikes))
    again = network.to_netx(tmp_path / "again.net")
    np.testing.assert_array_equal(again.run(spikes), fired)


class TestErrors:
    @pytest.fixture
    def path(self, tmp_path):
        generator = np.random.default_rng(6)
        Network(layer(generator, 4, 3)).to_netx(tmp_path / "a.net")
        return tmp_path / "a.net"

    def test_spikes_that_do_not_fit(self, path):
        with pytest.raises(ValueError, match=r"shape \(batch, T, 4\)"):
            netx.run(path, np.zeros((2, 5, 3)))

    def test_a_network_that_is_stuck_is_ended(self, path, monkeypatch):
        start = netx.LavaSession.start

        def suspended(session, *args):
            start(session, *args)
            for child in psutil.Process().children():
                child.suspend()

        monkeypatch.setattr(netx.LavaSession, "start", suspended)
        with pytest.raises(LavaError, match="no progress for 1 seconds"):
            netx.run(path, np.zeros((2, 5, 4)), timeout=1.0)

    def test_lava_dl_is_missing(self, path, monkeypatch):
        monkeypatch.setattr(netx.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ImportError, match=r"lava-dl 0.6.0 is not installed: .*\[lava-dl\]"):
            netx.run(path, np.zeros((2, 5, 4)))
