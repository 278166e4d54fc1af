"""What a network needs: counted against plain loops, estimated by hand."""

import json

import numpy as np
import pytest

from keras_spiking_rnn import metrics
from lava_export import LIF, Dense, Network, SpikingLSTM, resources


@pytest.fixture(scope="module")
def network():
    rng = np.random.default_rng(0)
    sparse = np.where(rng.random((12, 20)) < 0.5, 2 * rng.integers(-50, 60, (12, 20)), 0)
    return Network(
        [
            Dense(sparse, exponent=1),
            LIF(dv=100, vth=100),
            Dense(rng.integers(0, 60, (32, 12)), num_weight_bits=4),
            SpikingLSTM(60, Dense(rng.integers(-3, 4, (32, 8)))),
        ],
        names=("first", "second"),
    )


@pytest.fixture(scope="module")
def spikes():
    return (np.random.default_rng(1).random((7, 9, 20)) < 0.3).astype("int8")


def effective(synapses):
    """Weights as the class's docstring says, in plain Python."""
    values = synapses.weights.ravel().tolist()
    mixed = min(values) < 0 < max(values)
    dropped = 8 - synapses.num_weight_bits + mixed
    computed = [value >> dropped << dropped for value in values]
    return np.reshape(computed, synapses.weights.shape)


class TestActivity:
    def test_each_spike_counts_as_often_as_it_has_synapses(self, network, spikes):
        activity = resources.measure(network, spikes)
        outputs = network.run(spikes, record="spikes")[1]["spikes"]
        assert (activity.samples, activity.steps) == (7, 9)
        inputs = spikes
        for (synapses, units), fired, did in zip(
            network.pairs, outputs, activity.layers, strict=True
        ):
            operations = 0
            for line in np.argwhere(inputs)[:, 2]:
                operations += np.count_nonzero(effective(synapses)[:, line])
            if units.recurrent is not None:
                for step, line in np.argwhere(fired)[:, 1:]:
                    if step + 1 < 9:
                        operations += np.count_nonzero(effective(units.recurrent)[:, line])
            assert did.operations == operations > 0
            assert did.spikes == fired.sum() > 0
            assert did.updates == fired.size
            inputs = fired

    def test_parts_add_up(self, network, spikes):
        whole = resources.measure(network, spikes)
        assert (
            resources.measure(network, spikes[:3]) + resources.measure(network, spikes[3:]) == whole
        )

    def test_it_counts_what_keras_metrics_count(self, spikes):
        """Where no weight rounds to 0, both count the same operations."""
        import keras

        import lava_export
        from keras_spiking_rnn import RLIF

        kernel = np.where(np.random.default_rng(2).random((20, 6)) < 0.4, 0, 0.5)
        model = keras.Sequential(
            [keras.Input((9, 20)), RLIF(6, leak_initializer=1.0, return_sequences=True, name="a")]
        )
        model.layers[0].cell.kernel.assign(kernel)
        network = lava_export.export(model, spikes)
        counted = metrics.synaptic_operations(model, spikes.astype("float32"))["a"]
        did = resources.measure(network, spikes).layers[0]
        assert did.operations / 7 == counted["acs"]
        assert did.updates / 7 == counted["updates"]


class TestEstimate:
    def test_sizes_are_those_of_the_network(self, network):
        first, second = resources.estimate(network).layers
        assert (first.name, first.kind, first.inputs, first.units) == ("first", "LIF", 20, 12)
        assert (second.name, second.kind, second.inputs, second.units) == (
            "second", "SpikingLSTM", 12, 8,
        )  # fmt: skip
        assert first.synapses == np.count_nonzero(network.layers[0].weights)
        assert (first.memory, first.compartments) == (12 * 20, 12)
        assert (second.memory, second.compartments) == (32 * 12 // 2 + 32 * 8, 32)
        assert first.cores == {"Loihi": 1, "Loihi 2": 1}
        assert second.cores == {"Loihi": None, "Loihi 2": 1}
        assert first.energy is None

    @pytest.mark.parametrize(
        ("inputs", "units", "cores"),
        [
            (1, 1024, 1),  # neurons
            (1, 1025, 2),
            (128, 1024, 1),  # 128 KiB
            (129, 1024, 2),
            (5000, 27, 2),
        ],
    )
    def test_cores_of_loihi_by_neurons_and_memory(self, inputs, units, cores):
        network = Network([Dense(np.ones((units, inputs), int)), LIF()])
        result = resources.estimate(network)
        assert result.layers[0].cores["Loihi"] == cores
        assert any("4,096 lines" in note for note in result.notes) == (inputs > 4096)

    def test_energy_and_time_by_hand(self, network, spikes):
        activity = resources.measure(network, spikes)
        result = resources.estimate(network, activity)
        operations = [did.operations / 7 for did in activity.layers]
        updates = [12 * 9, 32 * 9]
        energies = [o * 23.6e-12 + u * 81e-12 for o, u in zip(operations, updates, strict=True)]
        assert [layer.energy for layer in result.layers] == pytest.approx(energies)
        assert result.energy == pytest.approx(sum(energies))
        steps = [
            o / 9 * 3.5e-9 + n * 8.4e-9 + 465e-9 for o, n in zip(operations, (12, 32), strict=True)
        ]
        assert result.latency == pytest.approx((9 + 2) * max(steps))

    def test_constants_are_those_of_the_metrics(self, network, spikes, monkeypatch):
        activity = resources.measure(network, spikes)
        before = resources.estimate(network, activity).energy
        twice = metrics.ENERGY["loihi"]._replace(ac=2 * 23.6e-12, update=2 * 81e-12)
        monkeypatch.setitem(metrics.ENERGY, "loihi", twice)
        assert resources.estimate(network, activity).energy == pytest.approx(2 * before)

    def test_it_prints_as_an_estimate_with_its_sources(self, network, spikes):
        text = " ".join(
            str(resources.estimate(network, resources.measure(network, spikes))).split()
        )
        for part in ("ESTIMATE", "not a measurement", "IEEE Micro", "NOT VERIFIED", "23.6 pJ"):
            assert part in text
        assert "Loihi has no neurons for second" in text

    def test_it_becomes_json(self, network, spikes):
        values = resources.estimate(network, resources.measure(network, spikes)).to_dict()
        assert json.loads(json.dumps(values)) == values
        assert "ESTIMATE" in values["label"]


class TestWeightUse:
    @pytest.mark.parametrize(
        ("weights", "bits", "expected"),
        [
            ([[-254, 0, 254]], 8, (3, 1 / 3, -254, 254, 2, np.log2(255), np.log2(3))),
            ([[-3, 3, 5, 5]], 8, (4, 0, -4, 4, 2, np.log2(5), 1.5)),  # floored to even
            ([[0, 1, 255, 255]], 8, (4, 0.25, 0, 255, 1, 8, 1.5)),
            ([[4, 4]], 8, (2, 0, 4, 4, 2, 0, 0)),
            ([[17, 31]], 4, (2, 0, 16, 16, 2, 0, 0)),
        ],
    )
    def test_bits_and_entropy(self, weights, bits, expected):
        network = Network([Dense(np.array(weights), num_weight_bits=bits), LIF()])
        (use,) = resources.weight_use(network)
        found = (use.weights, use.zero, use.low, use.high, use.step, use.bits, use.entropy)
        assert found == pytest.approx(expected)
        assert sum(count for _, count in use.histogram) == use.weights

    def test_recurrent_weights_have_a_row(self, network):
        names = [use.name for use in resources.weight_use(network)]
        assert names == ["first", "second", "second, recurrent"]
