"""NIR graphs: ours, those of other frameworks, and those that nobody should trust."""

import h5py
import numpy as np
import pytest

nir = pytest.importorskip("nir")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from lava_export import (  # noqa: E402
    LIF,
    ConversionError,
    Dense,
    LossWarning,
    Network,
    NetworkFileError,
    QuantizationWarning,
    SpikingLSTM,
    from_nir,
    host,
)
from lava_export.arithmetic import RANGES  # noqa: E402
from lava_export.nir import NIRFileError, _Chain  # noqa: E402
from lava_export.quantize import simulate_float  # noqa: E402


class FloatGraph:
    """A NIR graph in float64, node by node: forward Euler, the current before the membrane.

    A node that gets what it gave itself, over weights or not, gets that of the step before.
    """

    def __init__(self, graph, dt, batch):
        self.graph, self.dt, self.batch = graph, dt, batch
        self.state = {}
        self.inner = {
            name: FloatGraph(node, dt, batch)
            for name, node in graph.nodes.items()
            if isinstance(node, nir.NIRGraph)
        }
        edges = dict.fromkeys(graph.edges)
        self.before = {name: [a for a, b in edges if b == name] for name in graph.nodes}
        self.last = {}

    def run(self, spikes):
        return np.stack([self.step(spikes[:, t].astype(float)) for t in range(spikes.shape[1])], 1)

    def step(self, x):
        now = {}
        pending = dict(self.graph.nodes)
        while pending:
            for name in list(pending):
                waits = [n for n in self.before[name] if n in pending and not self.back(n, name)]
                if waits and not isinstance(pending[name], nir.Delay):
                    continue
                node = pending.pop(name)
                if isinstance(node, nir.Delay):
                    now[name] = sum((self.last.get(n, 0.0) for n in self.before[name]), 0.0)
                else:
                    given = [
                        self.last.get(n, 0.0) if self.back(n, name) else now[n]
                        for n in self.before[name]
                    ]
                    now[name] = self.compute(name, node, sum(given) if given else x)
        self.last = now
        return next(now[n] for n, node in self.graph.nodes.items() if isinstance(node, nir.Output))

    def back(self, source, target):
        """Whether the edge to `target` closes a loop: it starts at a neuron after it."""
        neurons = (nir.LIF, nir.IF, nir.CubaLIF)
        return isinstance(self.graph.nodes[source], neurons) and source in self.after(target)

    def after(self, name):
        found, front = set(), [name]
        while front:
            here = front.pop()
            for a, b in self.graph.edges:
                if a == here and b not in found:
                    found.add(b)
                    front.append(b)
        return found

    def compute(self, name, node, x):
        if name in self.inner:
            return self.inner[name].step(x)
        if isinstance(node, (nir.Linear, nir.Affine)):
            x = np.zeros((self.batch, node.weight.shape[1])) if np.isscalar(x) else x
            return x @ node.weight.T + getattr(node, "bias", 0.0)
        if isinstance(node, nir.Threshold):
            return (x > node.threshold).astype(float)
        if isinstance(node, nir.Flatten):
            return x.reshape(self.batch, -1)
        if isinstance(node, (nir.Input, nir.Output)):
            return x
        v, current = self.state.get(name, (0.0, 0.0))
        if isinstance(node, nir.CubaLIF):
            current = current + self.dt / node.tau_syn * (node.w_in * x - current)
            v = v + self.dt / node.tau_mem * (node.v_leak - v + node.r * current)
        elif isinstance(node, nir.LIF):
            v = v + self.dt / node.tau * (node.v_leak - v + node.r * x)
        else:
            v = v + self.dt * node.r * x
        spikes = v > node.v_threshold
        self.state[name] = np.where(spikes, node.v_reset, v), current
        return spikes.astype(float)


def float_spikes(graph, spikes, dt):
    return FloatGraph(graph, dt, len(spikes)).run(spikes)


def some_spikes(inputs, batch=16, steps=30, seed=0):
    generator = np.random.default_rng(seed)
    return (generator.random((batch, steps, inputs)) < 0.3).astype(np.int8)


def small(**registers):
    return Network([Dense([[60, 20], [-40, 100]]), LIF(**{"dv": 400, "vth": 64, **registers})])


@st.composite
def networks(draw):
    """All that our networks can hold of LIF and SpikingLSTM units."""
    generator = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    layers, inputs = [], draw(st.integers(1, 4))
    for _ in range(draw(st.integers(1, 3))):
        units = draw(st.integers(1, 4))
        kind = draw(st.sampled_from([LIF, SpikingLSTM]))

        def synapses(columns, rows=units * kind.ports):
            low, high = draw(st.sampled_from([(-256, 255), (0, 255), (-255, 0)]))
            weights = generator.integers(low, high + 1, (rows, columns))
            return Dense(weights, draw(st.integers(-8, 7)), draw(st.integers(1, 8)))

        registers = {}
        for name in kind.registers():
            low, high = RANGES[name]
            size = units * kind.ports if name in kind.of_ports else units
            values = generator.integers(low, high + 1, draw(st.sampled_from([(), (size,)])))
            registers[name] = draw(st.sampled_from([values, 0 * values + high]))
        recurrent = synapses(units) if draw(st.booleans()) else None
        layers += [synapses(inputs), kind(**registers, recurrent=recurrent)]
        inputs = units
    names = [f"läyer/{i}" for i in range(len(layers) // 2)]
    return Network(layers, [host.Rescale(0.5)], [host.TimeSum()], names)


class TestOurs:
    @pytest.mark.filterwarnings("ignore::lava_export.LossWarning")
    @given(network=networks())
    @settings(max_examples=25, deadline=None)
    def test_a_network_comes_back_to_the_bit(self, network, tmp_path_factory):
        path = tmp_path_factory.mktemp("nir") / "a.nir"
        graph = network.to_nir(path, allow_lossy=True)
        assert from_nir(graph) == network
        assert from_nir(path) == network
        assert from_nir(nir.read(path)) == network

    def test_metadata_say_what_nir_leaves_open(self, tmp_path):
        small().to_nir(tmp_path / "a.nir", dt=0.002)
        metadata = nir.read(tmp_path / "a.nir").metadata
        assert metadata["dt"] == 0.002
        assert metadata["integrator"] == "forward Euler, current before membrane"
        assert metadata["threshold"] == "a neuron fires strictly above its threshold"
        assert metadata["reset"] == "to v_reset, in the step of the spike"
        assert metadata["recurrence"] == "spikes come back one step later"

    @pytest.mark.parametrize("recurrent", [False, True])
    @pytest.mark.parametrize(
        "registers, kind",
        [
            ({"dv": 0}, nir.IF),
            ({"dv": 400}, nir.LIF),
            ({"dv": [0, 400]}, nir.LIF),
            ({"du": 3000}, nir.CubaLIF),
            ({"du": [4095, 2000], "dv": [0, 400]}, nir.CubaLIF),
        ],
    )
    def test_each_kind_of_neuron_has_its_node(self, registers, kind, recurrent):
        back = Dense([[10, -20], [30, 8]]) if recurrent else None
        network = small(**registers, bias_mant=[100, -70], recurrent=back)
        graph = network.to_nir()
        assert list(graph.nodes) == ["input", "layer_0_weights", "layer_0", "output"]
        node = graph.nodes["layer_0"]
        if recurrent:
            assert list(node.nodes) == ["input", "lif", "w_rec", "output"]  # as snnTorch
            node = node.nodes["lif"]
        assert type(node) is kind
        spikes = some_spikes(2)
        fired, expected = float_spikes(graph, spikes, 1e-3), network.run(spikes)
        assert 0.02 < expected.mean() < 0.98
        # Decays are rounded in integers; without any the two are equal.
        exact = registers == {"dv": 0}
        assert (fired != expected).sum() <= (0 if exact else 0.03 * expected.sum())

    def test_spiking_lstm_is_a_graph_of_thresholds(self):
        generator = np.random.default_rng(1)
        network = Network(
            [
                Dense(2 * generator.integers(-60, 70, (24, 10)), 1),
                SpikingLSTM(
                    generator.integers(-40, 90, 24), Dense(2 * generator.integers(-60, 70, (24, 6)))
                ),
                Dense(2 * generator.integers(-60, 70, (12, 6))),
                SpikingLSTM(20),
            ]
        )
        graph = network.to_nir()
        inner = graph.nodes["layer_0"]
        kinds = [type(node) for node in inner.nodes.values()]
        assert (kinds.count(nir.Threshold), kinds.count(nir.Delay)) == (8, 2)
        assert kinds.count(nir.Linear) == 8
        spikes = some_spikes(10)
        fired = network.run(spikes)
        assert 0.02 < fired.mean() < 0.98
        np.testing.assert_array_equal(float_spikes(graph, spikes, 1e-3), fired)

    @pytest.mark.parametrize(
        "network, loss",
        [
            (small(v0=5), "layer 'layer_0': other frameworks start at 0 instead of v0"),
            (small(u0=5), "layer 'layer_0': other frameworks start at 0 instead of u0"),
            (Network([Dense([[3]] * 4, -1), SpikingLSTM(1)]), "are rounded down, NIR's are not"),
        ],
    )
    def test_losses_are_named_and_must_be_allowed(self, network, loss, tmp_path):
        path = tmp_path / "a.nir"
        with pytest.raises(ConversionError, match=rf"{loss}.*allow_lossy=True"):
            network.to_nir(path)
        assert not path.exists()
        with pytest.warns(LossWarning, match=loss) as caught:
            network.to_nir(path, allow_lossy=True)
        assert [warning.filename for warning in caught] == [__file__]
        assert from_nir(path) == network

    def test_names_of_nodes_are_unique(self):
        layers = [Dense([[2]]), LIF()] * 5
        network = Network(layers, names=["input", "output", "a/b", "a.b", "a_b"])
        graph = network.to_nir()
        assert len(graph.nodes) == 12
        assert from_nir(graph) == network

    def test_a_file_is_only_replaced_on_request(self, tmp_path):
        path = tmp_path / "a.nir"
        small().to_nir(path)
        with pytest.raises(FileExistsError, match="overwrite=True"):
            small(dv=3).to_nir(path)
        small(dv=3).to_nir(path, overwrite=True)
        assert from_nir(path) == small(dv=3)

    @pytest.mark.parametrize("dt", [0, -1, np.nan, np.inf, "1", None])
    def test_a_step_takes_time(self, dt):
        if dt == "1":
            dt = "fast"
        with pytest.raises(ValueError, match="dt must be a number of seconds above 0"):
            small().to_nir(dt=dt)

    def test_a_graph_that_was_changed_is_not_its_metadata(self):
        graph = small().to_nir()
        graph.nodes["layer_0"].v_threshold[0] += 1
        with pytest.raises(
            NetworkFileError, match=r"was changed.*Delete metadata\['lava_export'\]"
        ):
            from_nir(graph)
        del graph.metadata["lava_export"]
        assert from_nir(graph, some_spikes(2)).names == ("layer_0",)

    @pytest.mark.parametrize(
        "edit, message",
        [
            (lambda m: m["content"]["layers/0000/weights"].__setitem__((0, 0), 3), "checksum"),
            (lambda m: m.__setitem__("version", 99), "has the format version 99"),
            (lambda m: m.__setitem__("format", "x"), "not one that Network.save wrote"),
            (lambda m: m.pop("sha256"), "has damaged metadata"),
            (lambda m: m.__setitem__("content", 3), "has damaged metadata"),
        ],
    )
    def test_damaged_metadata(self, edit, message):
        graph = small().to_nir()
        content = graph.metadata["lava_export"]["content"]
        content["layers/0000/weights"] = content["layers/0000/weights"].copy()
        edit(graph.metadata["lava_export"])
        with pytest.raises(NetworkFileError, match=message):
            from_nir(graph)


DT = 1e-4


def lif(size, alpha, threshold=1.0, **changes):
    gain = np.full(size, 1 / (1 - alpha))
    parameters = {
        "tau": DT * gain,
        "r": gain,
        "v_leak": np.zeros(size),
        "v_threshold": np.full(size, threshold),
    }
    return nir.LIF(**{**parameters, **changes})


def cuba(size, alpha, beta, threshold=1.0, **changes):
    parameters = {
        "tau_syn": np.full(size, DT / (1 - alpha)),
        "tau_mem": np.full(size, DT / (1 - beta)),
        "r": np.full(size, 1 / (1 - beta)),
        "v_leak": np.zeros(size),
        "v_threshold": np.full(size, threshold),
        "w_in": np.full(size, 1 / (1 - alpha)),
    }
    return nir.CubaLIF(**{**parameters, **changes})


def line(nodes, edges=(), **options):
    names = list(nodes)
    return nir.NIRGraph(nodes, [*zip(names, names[1:], strict=False), *edges], **options)


def recurrent(neurons, weights, size):
    """A recurrent layer of snnTorch."""
    return nir.NIRGraph(
        {
            "input": nir.Input(np.array([size])),
            "lif": neurons,
            "w_rec": weights,
            "output": nir.Output(np.array([size])),
        },
        [("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")],
    )


class Weights:
    def __init__(self, seed=0):
        self.generator = np.random.default_rng(seed)

    def linear(self, units, inputs, scale=0.3):
        return nir.Linear(self.generator.normal(0, scale, (units, inputs)))

    def affine(self, units, inputs, scale=0.3):
        weight = self.generator.normal(0, scale, (units, inputs))
        return nir.Affine(weight, self.generator.normal(0, 0.1 * scale, units))


def ports(inputs, outputs):
    return {"input": nir.Input(np.array([inputs]))}, {"output": nir.Output(np.array([outputs]))}


def snntorch(neurons):
    """As snntorch.export_nir: numbered modules, recurrent layers as graphs, steps of 1e-4."""
    w = Weights()
    first, last = ports(12, 6)
    middle = {
        "0": w.affine(20, 12),
        "1": recurrent(neurons(20), w.affine(20, 20, 0.1), 20),
        "2": w.affine(6, 20, 0.6),
        "3": neurons(6),
    }
    return line({**first, **middle, **last})


def flat(neurons):
    """The recurrent layer without a graph of its own, as in the NIR paper's Braille graphs."""
    w = Weights()
    first, last = ports(12, 6)
    nodes = {
        **first,
        "fc1": w.linear(20, 12),
        "lif1.lif": neurons(20),
        "fc2": w.linear(6, 20, 0.6),
        "lif2.lif": neurons(6),
        **last,
        "lif1.w_rec": w.linear(20, 20, 0.1),
        "lif2.w_rec": w.linear(6, 6, 0.1),
    }
    names = list(nodes)[:6]
    edges = [(f"lif{i}.{a}", f"lif{i}.{b}") for i in (1, 2) for a, b in LOOP]
    return nir.NIRGraph(nodes, [*zip(names, names[1:], strict=False), *edges], type_check=False)


LOOP = [("lif", "w_rec"), ("w_rec", "lif")]


def dotted(neurons):
    """A graph within the graph, flattened with its inputs and outputs, as older exporters did."""
    w = Weights()
    first, last = ports(12, 20)
    nodes = {
        **first,
        "fc1": w.affine(20, 12),
        "lif1.input": nir.Input(np.array([20])),
        "lif1.lif": neurons(20),
        "lif1.output": nir.Output(np.array([20])),
        **last,
        "lif1.w_rec": w.linear(20, 20, 0.1),
    }
    names = list(nodes)[:6]
    edges = [*zip(names, names[1:], strict=False), *((f"lif1.{a}", f"lif1.{b}") for a, b in LOOP)]
    return nir.NIRGraph(nodes, edges + edges[:1], type_check=False)  # nirtorch doubles edges


def spikingjelly(neurons):
    """As spikingjelly's nir_exchange: an image is flattened, v_leak is v_reset."""
    w = Weights()
    _, last = ports(1, 8)
    nodes = {
        "input": nir.Input(np.array([1, 3, 4])),
        "flatten": nir.Flatten(np.array([1, 3, 4]), 0, -1),
        "fc": w.linear(8, 12),
        "lif": nir.LIF(
            tau=np.full(8, 5 * DT),
            r=np.full(8, 5.0),
            v_leak=np.full(8, -0.2),
            v_threshold=np.full(8, 0.7),
            v_reset=np.full(8, -0.2),
        ),
        **last,
    }
    return line(nodes)


def norse(neurons):
    """As norse.torch.to_nir: r is 1, and time constants are in steps."""
    w = Weights()
    first, last = ports(12, 8)
    ones = np.ones(8)
    node = nir.LIF(tau=4 * ones, r=ones, v_leak=0 * ones, v_threshold=0.3 * ones)
    return line({**first, "0": w.affine(8, 12, 0.8), "1": node, **last})


def direct(neurons):
    """Neurons on the input itself, and neurons that lead to themselves."""
    first, last = ports(12, 12)
    nodes = {**first, "a": neurons(12), "b": neurons(12), **last}
    return line(nodes, [("b", "b")])


class TestOthers:
    @pytest.mark.parametrize("layout", [snntorch, flat, dotted, spikingjelly, norse, direct])
    @pytest.mark.parametrize("kind", ["LIF", "CubaLIF"])
    @pytest.mark.parametrize("from_file", [False, True])
    def test_layouts_of_frameworks(self, layout, kind, from_file, tmp_path):
        graph = layout({"LIF": lambda n: lif(n, 0.8), "CubaLIF": lambda n: cuba(n, 0.4, 0.7)}[kind])
        dt = 1.0 if layout is norse else DT
        if from_file:
            nir.write(tmp_path / "a.nir", graph)
        spikes = some_spikes(12, 40, 25)
        shape = (40, 25, 1, 3, 4) if layout is spikingjelly else spikes.shape
        data = spikes.reshape(shape)
        network = from_nir(tmp_path / "a.nir" if from_file else graph, data, dt)
        expected = float_spikes(graph, data, dt)
        fired = network.run(network.encode(data))
        assert 0.01 < expected.mean() < 0.9
        assert len({sample.tobytes() for sample in fired}) == 40
        # In loops, and layer by layer, a spike that rounding changes changes others.
        limit = 0.3 if layout in (snntorch, flat, dotted) else 0.05
        assert (fired != expected).sum() < limit * expected.sum()
        assert (fired == expected).all(axis=2).cumprod(axis=1).mean() > 0.5
        # What was quantized is the network of the graph.
        for layer in _Chain(graph).layers(dt, None)[1]:
            spikes, _ = simulate_float(layer, spikes)
        np.testing.assert_array_equal(spikes, expected)

    def test_loops_are_equal_where_nothing_is_rounded(self):
        """IF neurons with weights in sixteenths, whose membranes meet thresholds."""
        generator = np.random.default_rng(2)
        size = 10
        weights = generator.integers(-6, 9, (size, 8)) / 16
        back = generator.integers(-5, 5, (size, size)) / 16
        neurons = nir.IF(r=np.full(size, 1 / DT), v_threshold=np.ones(size))
        first, last = ports(8, size)
        loop = recurrent(neurons, nir.Affine(back, generator.integers(-1, 2, size) / 16), size)
        graph = line({**first, "w": nir.Linear(weights), "rnn": loop, **last})
        spikes = some_spikes(8, 40, 40)
        network = from_nir(graph, spikes, DT)
        expected = float_spikes(graph, spikes, DT)
        assert 0.05 < expected.mean() < 0.9
        np.testing.assert_array_equal(network.run(spikes), expected)
        assert network.quantization.layers[0].mismatches == 0

    def test_bias_of_a_current(self):
        """What a constant input does through a synapse that is slow, from the first step on."""
        first, last = ports(2, 3)
        bias = np.array([0.05, 0.02, -0.03])
        graph = line(
            {
                **first,
                "w": nir.Affine(np.array([[0.3, 0.1], [0.2, 0.2], [0.5, 0.4]]), bias),
                "lif": cuba(3, 0.9, 0.8, v_leak=np.full(3, 0.1), threshold=2.0),
                **last,
            }
        )
        spikes = some_spikes(2, 50, 40)
        spikes[:10] = 0
        network = from_nir(graph, spikes, DT)
        expected = float_spikes(graph, spikes, DT)
        assert expected[:10].any() and not expected[0, 0].any()
        assert (network.run(spikes) != expected).sum() < 0.03 * expected.sum()
        assert (network.run(spikes[:1])[0, :, 0].argmax()) == expected[0, :, 0].argmax()

    def test_parallel_loops_and_delays_of_one_step(self):
        w = Weights()
        first, last = ports(12, 6)
        nodes = {**first, "fc": w.linear(6, 12), "lif": lif(6, 0.5), **last}
        nodes |= {
            "a": w.linear(6, 6, 0.1),
            "b": w.linear(6, 6, 0.1),
            "d": nir.Delay(np.full(6, DT)),
        }
        edges = [("lif", "a"), ("a", "lif"), ("lif", "d"), ("d", "b"), ("b", "lif")]
        names = list(nodes)[:4]
        graph = nir.NIRGraph(nodes, [*zip(names, names[1:], strict=False), *edges])
        summed = nir.Linear(nodes["a"].weight + nodes["b"].weight)
        once = {**first, "fc": nodes["fc"], "lif": recurrent(lif(6, 0.5), summed, 6), **last}
        spikes = some_spikes(12)
        assert from_nir(graph, spikes, DT).layers[1] == from_nir(line(once), spikes, DT).layers[1]

    def test_dt_may_be_in_the_metadata(self):
        graph = norse(None)
        spikes = some_spikes(12)
        with pytest.raises(ValueError, match="does not say how long a step is: pass dt"):
            from_nir(graph, spikes)
        graph.metadata["dt"] = 1.0
        assert from_nir(graph, spikes) == from_nir(norse(None), spikes, 1.0)

    def test_calibration_is_needed_and_checked(self):
        with pytest.raises(ValueError, match="in floating point: pass spikes as calibration"):
            from_nir(norse(None), dt=1.0)
        with pytest.raises(ValueError, match=r"calibration must have the shape \(batch"):
            from_nir(norse(None), some_spikes(11), 1.0)
        with pytest.raises(ValueError, match="must be 0 or 1"):
            from_nir(norse(None), 2 * some_spikes(12), 1.0)

    @pytest.mark.parametrize(
        "neurons, loss",
        [
            (lif(8, 0.0), "membranes keep 1/4096 of the step before instead of 0"),
            (
                cuba(8, 0.99999, 0.5),
                "currents keep 4095/4096 of the step before instead of 0.99999",
            ),
        ],
    )
    def test_losses_are_named_and_must_be_allowed(self, neurons, loss):
        first, last = ports(12, 8)
        graph = line({**first, "w": Weights().linear(8, 12), "lif": neurons, **last})
        with pytest.raises(ConversionError, match=rf"node 'lif': {loss}.*allow_lossy=True"):
            from_nir(graph, some_spikes(12), DT)
        with pytest.warns(LossWarning, match=loss) as caught:
            from_nir(graph, some_spikes(12), DT, allow_lossy=True)
        assert {warning.filename for warning in caught} == {__file__}


def changed(change, **options):
    """A small graph after `change(nodes, edges)`."""
    w = Weights()
    first, last = ports(3, 2)
    nodes = {
        **first,
        "w1": w.linear(4, 3),
        "a": lif(4, 0.5),
        "w2": w.linear(2, 4),
        "b": lif(2, 0.5),
    }
    nodes |= last
    edges = list(zip(list(nodes), list(nodes)[1:], strict=False))
    change(nodes, edges)
    return nir.NIRGraph(nodes, edges, type_check=False)


def replace(name, node):
    return lambda nodes, edges: nodes.__setitem__(name, node)


def add(edges, **nodes):
    def change(all_nodes, all_edges):
        all_nodes.update(nodes)
        all_edges += edges

    return change


class TestRefused:
    @pytest.mark.parametrize(
        "change, message",
        [
            (replace("b", nir.LI(*(np.ones(2),) * 3)), r"'b' \(LI\) cannot.*output is no spikes"),
            (replace("a", nir.Threshold(np.ones(4))), r"'a' \(Threshold\) cannot be imported"),
            (replace("w1", nir.Scale(np.ones(3))), r"'w1' \(Scale\) .*multiply the weights"),
            (
                replace("w1", nir.SumPool2d(np.ones(2), np.ones(2), np.zeros(2))),
                r"'w1' \(SumPool2d\) .*synapses of a Network are dense",
            ),
            (replace("w1", Weights().linear(5, 3)), r"'w1' has weights of shape \(5, 3\), but 4"),
            (replace("w1", Weights().linear(4, 7)), "'w1' takes 7 inputs, .* gives 3"),
            (replace("w1", nir.Linear(np.ones((2, 4, 3)))), r"'w1' has weights of shape \(2, 4, 3"),
            (replace("w1", nir.Linear(np.full((4, 3), np.nan))), "'w1': weight holds other than"),
            (replace("w1", nir.Linear(np.full((4, 3), "x"))), "'w1': weight holds other than"),
            (replace("w1", nir.Affine(np.ones((4, 3)), np.ones(3))), "'w1' has 3 biases for 4"),
            (replace("a", lif(4, 0.5, v_reset=np.ones(4))), "'a': v_reset is not below"),
            (replace("a", lif(4, 0.5, tau=np.full(4, DT / 2))), "'a': tau is 5e-05 seconds, less"),
            (replace("a", lif(4, 0.5, tau=np.zeros(4))), "'a': tau is 0 seconds, less"),
            (replace("a", lif(4, 0.5, tau=-np.ones(4))), "'a': tau is -1 seconds, less"),
            (replace("a", lif(4, 0.5, r=np.full(4, np.inf))), "'a': r holds other than finite"),
            (replace("a", lif(6, 0.5)), r"'w1' has weights of shape \(4, 3\), but 6 neurons"),
            (replace("input", nir.Input(np.array([0]))), "'input' does not say the shape"),
            (replace("input", nir.Input(np.array([1.5]))), "'input' does not say the shape"),
            (add([], input2=nir.Input(np.array([3]))), "has 2 inputs, 'input', 'input2'"),
            (lambda n, e: n.pop("output") and e.pop(), "has 0 outputs, no node"),
            (lambda n, e: e.clear(), "'input' leads to no node"),
            (lambda n, e: e.pop(2), "'a' leads to no node"),
            (lambda n, e: e.pop(0), "'input' leads to no node"),
            (lambda n, e: e.pop(), "'b' leads to no node: the graph must be one chain"),
            (add([("a", "nowhere")]), r"Edge \('a', 'nowhere'\) has an end 'nowhere' that is no"),
            (add([("a", "b")]), "'a' leads to 'w2', 'b': the graph must be one chain"),
            (add([("a", "output")]), "'a' leads to 'w2', 'output': the graph must be one chain"),
            (add([("input", "w2")]), "'input' leads to 'w1', 'w2'"),
            (add([("b", "w1")]), "'w1' also gets what 'b' gives"),
            (
                add([("b", "x"), ("x", "a")], x=Weights().linear(4, 2)),
                "'a' also gets what 'x' gives",
            ),
            (add([("a", "x")], x=Weights().linear(4, 4)), "'a' leads to 'w2', 'x'"),
            (add([], x=Weights().linear(4, 4)), "Node 'x' is not on the way"),
            (add([("x", "y"), ("y", "x")], x=lif(4, 0.5), y=lif(4, 0.5)), "'x', 'y' is not on the"),
            (
                add([("a", "x"), ("x", "a")], x=nir.Delay(np.full(4, 3 * DT))),
                "'x' delays by up to 0.0003 seconds, but only one step of 0.0001",
            ),
            (
                add([("a", "x"), ("x", "a")], x=Weights().linear(4, 3)),
                r"'x' has weights of shape \(4, 3\) on the way back to the 4",
            ),
            (replace("w2", lif(4, 0.5)), "'b' takes 2 inputs, .* gives 4"),
            (
                lambda n, e: (
                    n.__setitem__("w2", nir.Linear(np.ones((4, 4)))),
                    e.append(("w2", "a")),
                ),
                "'a' also gets what 'w2' gives",
            ),
        ],
    )
    def test_each_fault_is_named(self, change, message):
        with pytest.raises(ConversionError, match=message):
            from_nir(changed(change), some_spikes(3), DT)

    def test_nothing_to_run(self):
        first, last = ports(3, 3)
        with pytest.raises(ConversionError, match="has no neurons between input and output"):
            from_nir(line({**first, **last}), some_spikes(3), DT)

    def test_weights_at_the_end(self):
        first, last = ports(3, 2)
        graph = line(
            {
                **first,
                "w": Weights().linear(4, 3),
                "a": lif(4, 0.5),
                "readout": Weights().linear(2, 4),
                **last,
            }
        )
        with pytest.raises(
            ConversionError, match="'readout' leads to 'output'.* before the output, there"
        ):
            from_nir(graph, some_spikes(3), DT)

    def test_graphs_within_the_graph_have_one_input(self):
        def change(nodes, edges):
            inner = recurrent(lif(4, 0.5), Weights().linear(4, 4), 4)
            inner.nodes["more"] = nir.Input(np.array([4]))
            nodes["a"] = inner

        with pytest.raises(ConversionError, match="'a' is a graph with 2 inputs and 1 outputs"):
            from_nir(changed(change), some_spikes(3), DT)

    @pytest.mark.parametrize("metadata", [{}, {"lava_export": {}}])
    def test_a_graph_within_itself(self, metadata):
        graph = changed(lambda nodes, edges: None)
        graph.metadata.update(metadata)
        graph.nodes["b"] = graph
        with pytest.raises(ConversionError, match="is one of them within itself"):
            from_nir(graph, some_spikes(3), DT)

    def test_metadata_within_themselves(self):
        graph = small().to_nir()
        graph.metadata["lava_export"]["content"]["more"] = graph.metadata["lava_export"]["content"]
        with pytest.raises(NetworkFileError, match=r"damaged metadata \(RecursionError"):
            from_nir(graph)

    def test_as_many_neurons_as_a_network_cannot_connect(self):
        first, last = ports(200_000, 200_000)
        graph = line({**first, "many": lif(200_000, 0.5), **last})
        with pytest.raises(ConversionError, match="'many' has 200000 neurons .* up to 11585"):
            from_nir(graph, some_spikes(3), DT)

    def test_weights_that_vanish(self):
        graph = changed(replace("w1", nir.Linear(np.full((4, 3), 1e-30))))
        with pytest.warns(QuantizationWarning, match="Layer 'a': 8 bits do not hold .* lose 100%"):
            from_nir(graph, some_spikes(3), DT)

    def test_our_lstm_needs_its_metadata(self):
        graph = Network([Dense(np.ones((4, 3), int)), SpikingLSTM(2)]).to_nir()
        graph.metadata.clear()
        with pytest.raises(ConversionError, match=r"\(Threshold\) cannot be imported"):
            from_nir(graph, some_spikes(3), DT)

    def test_units_without_a_node(self):
        class Other(LIF):
            pass

        network = small()
        object.__setattr__(network, "layers", (network.layers[0], Other()))
        with pytest.raises(ConversionError, match="'layer_0': NIR has no node for Other units"):
            network.to_nir()


class TestFilesOfOthers:
    @pytest.fixture
    def path(self, tmp_path):
        nir.write(tmp_path / "a.nir", snntorch(lambda n: lif(n, 0.8)))
        return tmp_path / "a.nir"

    def check(self, path, message):
        with pytest.raises(NIRFileError, match=message) as caught:
            from_nir(path, some_spikes(12), DT)
        assert str(caught.value).startswith(str(path))

    def test_missing_file(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            from_nir(tmp_path / "none.nir")

    @pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.999])
    def test_truncated_file(self, path, share):
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        self.check(path, "is damaged")

    def test_random_damage_is_an_error_of_ours(self, path):
        content = bytearray(path.read_bytes())
        generator = np.random.default_rng(0)
        for _ in range(60):
            damaged = bytearray(content)
            for place in generator.integers(0, len(content), 20):
                damaged[place] ^= 1 << int(generator.integers(8))
            path.write_bytes(damaged)
            try:
                from_nir(path, some_spikes(12, 2, 3), DT)
            except (NIRFileError, ConversionError):
                pass

    @pytest.mark.parametrize(
        "key, value, message",
        [
            ("version", b"2.0.0", "is of NIR version 2.0.0, and this release reads version 1"),
            ("version", 3, "does not say its version of NIR as text"),
            ("node", None, "is damaged"),
            ("node/type", None, "has the type None"),
            ("node/type", b"Graph2", "the graph has the type 'Graph2', which nir .* newer version"),
            ("node/nodes", None, "is damaged"),
            ("node/edges", None, "does not hold a NIR graph"),
            ("node/edges", [[1, 2, 3]], "is damaged"),
            ("node/nodes/0", 3, "is damaged"),
            ("node/nodes/0/type", b"LIF2", "node '0' has the type 'LIF2'"),
            ("node/nodes/0/type", b"LIF", "is damaged"),
            ("node/nodes/0/weight", None, "is damaged"),
            ("node/nodes/0/more", 3, "is damaged"),
            ("node/nodes/1/nodes/lif/type", b"Fancy", "node 'lif' has the type 'Fancy'"),
            ("node/nodes/3/tau", [1.0, 2.0], "does not hold a NIR graph"),
        ],
    )
    def test_each_fault_is_one_clear_error(self, path, key, value, message):
        with h5py.File(path, "r+") as file:
            if key in file:
                del file[key]
            if value is not None:
                file[key] = value
        self.check(path, message)

    def test_huge_weights_are_not_allocated(self, path):
        with h5py.File(path, "r+") as file:
            del file["node/nodes/0/weight"]
            file.create_dataset("node/nodes/0/weight", (1 << 20, 1 << 20), "f8", chunks=(256, 256))
        self.check(path, "holds more than 1024 MiB")

    def test_what_is_no_path(self):
        for other in (3, None):
            with pytest.raises(TypeError, match=r"takes a nir.NIRGraph or the path of a file, got"):
                from_nir(other)

    def test_groups_within_themselves_are_refused(self, path):
        with h5py.File(path, "r+") as file:
            file["node/nodes/0/again"] = file["node"]
        self.check(path, "stands in two places")

    def test_deep_graphs_are_refused(self, path):
        with h5py.File(path, "r+") as file:
            group = file["node"]
            for _ in range(1200):
                group = group.create_group("m")
        self.check(path, "its groups are more than 32 deep")
