"""The reference, Lava's own processes and our batched processes give the same integers."""

import numpy as np
import psutil
import pytest

pytest.importorskip("lava_export.lava", reason="needs Python 3.10 and lava-nc 0.10.0")

from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from lava.magma.core.process.process import AbstractProcess, ProcessServer  # noqa: E402
from random_networks import KINDS, networks, small_network  # noqa: E402

from lava_export import LIF, Conv, Dense, Network, SpikingLSTM, reference  # noqa: E402
from lava_export.lava import LavaError, Simulator, batched, simulate, stock, stock_lstm  # noqa: E402
from lava_export.lava.session import LavaSession  # noqa: E402

pytestmark = pytest.mark.usefixtures("nothing_left")

EVERYTHING = ("spikes", "u", "v")
MODES = pytest.mark.parametrize("mode", ["stock", "batched"])


def assert_same(actual, expected):
    np.testing.assert_array_equal(actual.spikes, expected.spikes)
    assert actual.spikes.dtype == expected.spikes.dtype
    assert actual.wraps is None and actual.saturations is None
    assert list(actual.states) == list(expected.states)
    for a, b in zip(actual.final, expected.final, strict=True):
        assert list(a) == list(b)
        for name in b:
            assert_array_same(a[name], b[name])
    for name in expected.states:
        for a, b in zip(actual.states[name], expected.states[name], strict=True):
            assert_array_same(a, b)


def assert_array_same(a, b):
    if b is None:
        assert a is None
        return
    np.testing.assert_array_equal(a, b)
    assert a.dtype == b.dtype


def check(pairs, spikes, mode, record=(), **options):
    """Compare with the reference, which is returned."""
    completed = []
    actual = simulate(pairs, spikes, record, mode, advance=completed.append, **options)
    expected = reference.simulate(pairs, spikes, record)
    assert_same(actual, expected)
    assert sum(completed) == len(spikes) and min(completed) > 0
    return expected


def lively_spikes(generator, *shape):
    return (generator.random(shape) < 0.4).astype(np.int8)


def some_of(draw, pairs):
    names = st.sampled_from(reference.recordable(pairs))
    return tuple(draw(st.lists(names, unique=True, max_size=3)))


@MODES
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=4)
@given(data=st.data())
def test_random_networks_of_one_kind(data, kind, mode):
    pairs, spikes = data.draw(networks(kinds=(kind,)))
    check(pairs, spikes, mode, some_of(data.draw, pairs))


@MODES
@settings(max_examples=10)
@given(data=st.data())
def test_random_networks_of_all_kinds(data, mode):
    pairs, spikes = data.draw(networks())
    check(pairs, spikes, mode, some_of(data.draw, pairs))


@MODES
@settings(max_examples=10)
@given(data=st.data())
def test_random_networks_of_convolutions(data, mode):
    pairs, spikes = data.draw(networks(kinds=(LIF,), convolutions=4))
    check(pairs, spikes, mode, some_of(data.draw, pairs))


@settings(max_examples=6)
@given(network=networks(most_samples=40, most_steps=30))
def test_random_networks_with_more_samples(network):
    check(*network, "batched", reference.recordable(network[0]))


@MODES
def test_lively_network(mode):
    """That what the other tests compare is not silence."""
    generator = np.random.default_rng(0)
    pairs = small_network(generator, [20, 16, 12, 8])
    expected = check(pairs, lively_spikes(generator, 3, 10, 20), mode, EVERYTHING)
    for layer in expected.states["spikes"]:
        assert 0.05 < layer.mean() < 0.95
    assert len({sample.tobytes() for sample in expected.spikes}) == 3


@MODES
def test_wrap_and_saturation(mode):
    generator = np.random.default_rng(1)
    pairs = [
        (
            Dense(generator.integers(-256, 256, (30, 40)), 7),
            LIF(du=100, dv=3, vth=131071, bias_mant=4095, bias_exp=7),
        ),
        (Dense(generator.integers(0, 256, (10, 30)), 7), LIF(du=0, dv=0, vth=131071)),
    ]
    expected = check(pairs, np.ones((2, 12, 40), np.int8), mode, EVERYTHING)
    assert min(expected.wraps) > 0 and min(expected.saturations) > 0


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind is not LIF], ids=lambda kind: kind.__name__
)
def test_weighted_inputs_beyond_24_bits(kind):
    """They saturate in our processes, before and after their shift."""
    generator = np.random.default_rng(0)
    weights = np.full((2 * kind.ports, 300), 254)
    weights[::2] *= -1
    shifts = {"shift": -9, "input_shift": 3}
    units = kind(**{name: value for name, value in shifts.items() if name in kind.registers()})
    spikes = (generator.random((2, 6, 300)) < [[[0.2]], [[0.95]]]).astype(np.int8)
    expected = check([(Dense(weights, 7), units)], spikes, "batched", units.states)
    assert expected.saturations[0] > 0


@MODES
@pytest.mark.parametrize("steps", [1, 3])
def test_fewer_steps_than_layers(mode, steps):
    generator = np.random.default_rng(2)
    pairs = small_network(generator, [9, 8, 7, 6, 5], groups=2)
    expected = check(pairs, lively_spikes(generator, 4, steps, 9), mode, EVERYTHING)
    assert expected.states["spikes"][0].any()


@MODES
def test_many_steps(mode):
    generator = np.random.default_rng(3)
    pairs = small_network(generator, [12, 10, 6], groups=3)
    expected = check(pairs, lively_spikes(generator, 2, 200, 12), mode, ("spikes",))
    assert expected.spikes.any()


@MODES
@pytest.mark.parametrize("steps", [1, 2, 200])
def test_images(mode, steps):
    """Nothing square, nothing symmetric; leaks of filters, of positions, and behind them Dense."""
    generator = np.random.default_rng(12)
    first = Conv(generator.integers(-90, 130, (3, 2, 4, 2)), (7, 5, 2), (2, 1), (0, 1, 1, 2))
    second = Conv(
        generator.integers(-90, 130, (2, 3, 2, 3)),
        first.output_shape,
        padding=(2, 1, 1, 0),
        dilation=(2, 1),
    )
    third = Dense(generator.integers(-90, 130, (6, second.units)))
    assert (first.output_shape, second.output_shape) == ((4, 5, 3), (3, 5, 2))
    pairs = [
        (first, LIF(dv=np.resize([40, 400, 900], first.units), vth=300)),
        (second, LIF(dv=generator.integers(0, 900, second.units), vth=200)),
        (third, LIF(dv=300, vth=300)),
    ]
    expected = check(pairs, lively_spikes(generator, 3, steps, 70), mode, ("spikes",))
    assert steps < 200 or all(0.05 < s.mean() < 0.95 for s in expected.states["spikes"])
    if mode == "stock":
        with LavaSession():
            network = stock.StockNetwork(pairs, np.zeros((1, 1, 70)), ())
            assert [len(layer.parts) for layer in network.layers] == [3, 1, 1]


def test_groups_of_a_large_convolution():
    conv = Conv(np.ones((3, 1, 1, 1), int), (30, 30, 1))
    for decays, size in (([1, 2, 3], conv.units), ([1, 1, 1], 1)):
        ((members, *_, dv, _),) = stock.groups(LIF(dv=np.resize(decays, conv.units)), conv)
        assert members.all() and np.size(dv) == size


def test_sizes_that_lavas_conv_cannot_hold():
    pairs = [(Conv(np.ones((1, 1, 128, 1), int), (1, 140, 1)), LIF(vth=30))]
    spikes = lively_spikes(np.random.default_rng(13), 2, 5, 140)
    with pytest.raises(ValueError, match="sizes up to 127.*windows of .1, 128.*mode='batched'"):
        simulate(pairs, spikes, mode="stock")
    assert check(pairs, spikes, "batched").spikes.any()
    with pytest.raises(ValueError, match="strides of .128, 1."):
        stock.stock_conv(Conv([[[[1]]]], (1, 1, 1), (128, 1)), "conv")


@MODES
@pytest.mark.parametrize("record", [(), EVERYTHING])
def test_several_runtimes(mode, record, monkeypatch):
    generator = np.random.default_rng(4)
    pairs = small_network(generator, [12, 10, 6], groups=3)
    spikes = lively_spikes(generator, 7, 5, 12)
    started = []
    start = LavaSession.start
    monkeypatch.setattr(LavaSession, "start", lambda *a: (started.append(1), start(*a)))
    monkeypatch.setattr(stock, "SOURCE_BYTES", 4 * 5 * 12 * 3)  # three samples at once
    monkeypatch.setattr(batched, "MAX_BATCH", 2)
    check(pairs, spikes, mode, record)
    assert len(started) == {"stock": 3, "batched": 1}[mode]


class TestManyRuns:
    """Of one `Simulator`."""

    @pytest.fixture
    def compiled(self, monkeypatch):
        """The processes from which networks were compiled."""
        entries, right = [], AbstractProcess.compile
        monkeypatch.setattr(
            AbstractProcess,
            "compile",
            lambda process, *a, **k: entries.append(process) or right(process, *a, **k),
        )
        return entries

    @settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        network=networks(most_samples=7),
        sizes=st.lists(st.integers(1, 7), min_size=2, max_size=5),
        data=st.data(),
    )
    def test_are_compiled_once(self, compiled, network, sizes, data):
        """Groups of any number of samples; a layer starts each at any place of its round."""
        compiled.clear()
        pairs, spikes = network
        record = some_of(data.draw, pairs)
        with Simulator(pairs, record, "batched") as simulator:
            for size in sizes:
                group = np.resize(spikes[::-1], (size, *spikes.shape[1:]))
                assert_same(simulator.run(group), reference.simulate(pairs, group, record))
        assert len(compiled) == 1

    def test_of_other_lengths_are_compiled_anew(self, compiled):
        generator = np.random.default_rng(14)
        pairs = small_network(generator, [12, 10, 6])
        with Simulator(pairs, EVERYTHING, "batched") as simulator:
            for steps in (5, 5, 1, 5):
                spikes = lively_spikes(generator, 4, steps, 12)
                assert_same(simulator.run(spikes), reference.simulate(pairs, spikes, EVERYTHING))
        assert len(compiled) == 3

    def test_of_stock_processes_are_compiled_each(self, compiled):
        generator = np.random.default_rng(15)
        pairs = small_network(generator, [12, 10, 6], groups=1)
        with Simulator(pairs) as simulator:
            for _ in range(2):
                spikes = lively_spikes(generator, 2, 5, 12)
                assert_same(simulator.run(spikes), reference.simulate(pairs, spikes))
        assert len(compiled) == 2

    def test_one_after_a_failure_starts_again(self, compiled):
        generator = np.random.default_rng(16)
        pairs = small_network(generator, [12, 10, 6])
        spikes = lively_spikes(generator, 4, 5, 12)

        def interrupt(samples):
            raise InterruptedError

        with Simulator(pairs, mode="batched") as simulator:
            with pytest.raises(InterruptedError):
                simulator.run(spikes, interrupt)
            assert_same(simulator.run(spikes), reference.simulate(pairs, spikes))
        assert len(compiled) == 2


@pytest.mark.parametrize("record", [(), EVERYTHING])
def test_several_rounds(record, monkeypatch):
    generator = np.random.default_rng(5)
    pairs = small_network(generator, [12, 10, 6], groups=3)
    spikes = lively_spikes(generator, 23, 5, 12)
    completed = []
    monkeypatch.setattr(batched, "MAX_BATCH", 5)
    actual = simulate(pairs, spikes, record, "batched", advance=completed.append)
    assert_same(actual, reference.simulate(pairs, spikes, record))
    assert completed == [5, 5, 5, 5, 3]


class TestStockPartsOfSpikingLSTM:
    """A spiking LSTM of Lava's Dense, DelayDense and LIF."""

    @settings(max_examples=4)
    @given(network=networks(kinds=(SpikingLSTM,), most_steps=6, most_layers=2, convolutions=0))
    def test_random_networks(self, network):
        pairs, spikes = network
        try:
            check(pairs, spikes, "stock", ("spikes", "c"), parts="stock")
        except ValueError as error:
            assert "add up to" in str(error)

    def test_lively_network(self, monkeypatch):
        monkeypatch.setattr(stock_lstm, "STEPS", 4 * 11 * 2)  # two samples a runtime
        generator = np.random.default_rng(3)
        pairs, inputs = [], 12
        for _ in range(2):
            weights, recurrent = (generator.integers(-100, 130, (40, n)) for n in (inputs, 10))
            units = SpikingLSTM(generator.integers(-200, 100, 40), Dense(recurrent))
            pairs.append((Dense(weights), units))
            inputs = 10
        spikes = lively_spikes(generator, 3, 10, 12)
        expected = check(pairs, spikes, "stock", ("spikes", "c"), parts="stock")
        for layer in expected.states["spikes"]:
            assert 0.05 < layer.mean() < 0.95

    def test_only_lavas_processes_compute(self):
        before = len(ProcessServer().processes)
        with LavaSession():
            units = SpikingLSTM(0, Dense(np.ones((8, 2), int)))
            stock_lstm.Network([(Dense(np.ones((8, 3), int)), units)], np.zeros((1, 2, 3)))
            processes = ProcessServer().processes[before:]
            assert {type(process).__module__ for process in processes} == {
                "lava.proc.dense.process",
                "lava.proc.lif.process",
                "lava.proc.io.source",
                "lava_export.lava.processes.sink.process",
            }

    def test_weights_beyond_its_thresholds(self):
        pairs = [(Dense(np.full((4, 200), 254)), SpikingLSTM(0))]
        with pytest.raises(ValueError, match="add up to 50800, .* at most 43690"):
            check(pairs, np.zeros((1, 1, 200), np.int8), "stock", parts="stock")

    def test_behind_a_convolution(self):
        network = Network([Conv(np.ones((4, 1, 1, 1), int), (1, 3, 1)), SpikingLSTM()])
        with pytest.raises(ValueError, match="behind Dense only"):
            network.run(np.zeros((1, 1, 3)), backend="lava", parts="stock")

    def test_other_kinds(self):
        network = Network([Dense(np.ones((8, 3), int)), SpikingLSTM(), Dense([[1, 1]]), LIF()])
        with pytest.raises(ValueError, match="of LIF only, or of SpikingLSTM only.* has LIF, Spik"):
            network.run(np.zeros((1, 1, 3)), backend="lava", parts="stock")
        with pytest.raises(ValueError, match="the parts are 'custom' and 'stock'"):
            network.run(np.zeros((1, 1, 3)), backend="lava", parts="own")


def test_memory_bounds_the_batch():
    pair = [(Dense(np.ones((512, 512), int)), LIF())]
    for samples in (1000, 10_000):
        assert 1 < batched.batch_size(samples, 200, pair, EVERYTHING) < 200
    # One sample is the least, however large it is.
    assert batched.batch_size(3, 10_000_000, pair, EVERYTHING) == 1
    assert stock.samples_of_runtime(10_000_000, 512) == 1


@pytest.mark.parametrize("groups, exponent", [(1, 1), (2, -3), (8, 1)])
def test_groups_are_scalar_processes(groups, exponent):
    generator = np.random.default_rng(6)
    pairs = small_network(generator, [20, 16, 9], groups, exponent)
    record = EVERYTHING if groups == 2 else ("spikes",)
    expected = check(pairs, lively_spikes(generator, 2, 6, 20), "stock", record)
    assert all(layer.any() for layer in expected.states["spikes"])
    with LavaSession():
        network = stock.StockNetwork(pairs, lively_spikes(generator, 1, 1, 20), ())
        for layer, (_, lif) in zip(network.layers, pairs, strict=True):
            assert len(layer.parts) == groups
            assert all(
                isinstance(getattr(part, name).init, int)
                for part in layer.parts
                for name in ("du", "dv", "vth")
            )
            assert sum(layer.members).min() == sum(layer.members).max() == 1
            for part, members in zip(layer.parts, layer.members, strict=True):
                np.testing.assert_array_equal(part.du.init, lif.du[members])
                np.testing.assert_array_equal(part.dv.init, lif.dv[members])
                np.testing.assert_array_equal(part.vth.init, lif.vth[members])


def test_sign_of_the_whole_matrix_in_groups():
    """The first unit's weights alone are not mixed and would keep their lowest bit."""
    weights = np.array([[3, 5, 7], [-3, 5, 7]])
    pairs = [(Dense(weights), LIF(vth=np.array([5, 6]), dv=0))]
    check(pairs, np.ones((1, 3, 3), np.int8), "stock", EVERYTHING)


def test_stock_mode_has_only_lavas_processes():
    generator = np.random.default_rng(7)
    before = len(ProcessServer().processes)
    with LavaSession():
        for groups in (1, 3, None):
            pairs = small_network(generator, [20, 16, 9], groups)
            stock.StockNetwork(pairs, lively_spikes(generator, 1, 2, 20), EVERYTHING)
        processes = ProcessServer().processes[before:]
        assert {type(process).__module__ for process in processes} == {
            "lava.proc.dense.process",
            "lava.proc.lif.process",
            "lava.proc.io.sink",
            "lava.proc.io.source",
        }


@MODES
def test_through_the_network(mode):
    generator = np.random.default_rng(8)
    pairs = small_network(generator, [6, 5, 4], groups=2)
    network = Network([layer for pair in pairs for layer in pair])
    spikes = lively_spikes(generator, 3, 4, 6)
    copy = spikes.copy()
    spikes.flags.writeable = False
    expected, states = network.run(spikes, record="spikes")
    actual, lava_states = network.run(spikes, record="spikes", backend="lava", mode=mode)
    np.testing.assert_array_equal(actual, expected)
    for a, b in zip(lava_states["spikes"], states["spikes"], strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(spikes, copy)


@MODES
def test_exception_in_advance(mode):
    generator = np.random.default_rng(10)
    pairs = small_network(generator, [6, 5], groups=1)

    def advance(samples):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        simulate(pairs, lively_spikes(generator, 3, 4, 6), (), mode, advance=advance)


@MODES
def test_timeout(mode, monkeypatch):
    generator = np.random.default_rng(11)
    pairs = small_network(generator, [6, 5], groups=1)
    monkeypatch.setattr(batched, "MAX_BATCH", 1)

    def suspend_workers(samples):
        for child in psutil.Process().children():
            child.suspend()

    with pytest.raises(LavaError, match="no progress for 1 seconds"):
        simulate(
            pairs,
            lively_spikes(generator, 3, 4, 6),
            mode=mode,
            timeout=1.0,
            advance=suspend_workers,
        )


def test_float64_product():
    """The sum of all weights is odd and above 2**24, where float32 has even numbers only."""
    weights = np.full((2, 70_001), 255)
    assert weights[0].sum() % 2 and weights[0].sum() > 1 << 24
    pairs = [(Dense(weights, 0), LIF(du=4095, vth=131071))]
    expected = check(pairs, np.ones((1, 2, 70_001), np.int8), "batched", ("u",))
    assert expected.states["u"][0].any()
