"""Firing rates of models, and the inside of a layer over time."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_spiking_rnn import (
    LIF,
    LIFLSTM,
    RLIF,
    SRC,
    AdaptiveAnalogLSTM,
    ConvRLIF2D,
    GatedLIF,
    LeakyReadout,
    LIFCell,
    MembraneReadout,
    RLIFCell,
    SpikingLSTM,
    TimeSum,
    metrics,
)
from keras_spiking_rnn.metrics import (
    ENERGY,
    EnergyConstants,
    FiringRate,
    Sparsity,
    activity,
    dead_units,
    energy,
    firing_rates,
    operations,
    sparsity,
    synaptic_operations,
    trace,
    unit_rates,
)

X = np.random.default_rng(0).normal(0.3, 1.0, (5, 8, 3)).astype("float32")
MASK = np.arange(8) < np.array([[8], [3], [5], [1], [7]])


@pytest.fixture(autouse=True)
def repeatable():
    keras.utils.set_random_seed(3)


def spiking(units, name, **arguments):
    return RLIF(
        units, name=name, **{"return_sequences": True, "leak_initializer": 0.8, **arguments}
    )


class TestFiringRates:
    @pytest.fixture
    def network(self):
        layers = [spiking(6, "first"), spiking(4, "second"), TimeSum(), keras.layers.Dense(2)]
        return keras.Sequential([keras.Input((8, 3)), *layers])

    def expected(self, network):
        first = np.asarray(network.layers[0](X))
        second = np.asarray(network.layers[1](first))
        assert 0 < first.mean() != second.mean() > 0
        return {"first": pytest.approx(first.mean()), "second": pytest.approx(second.mean())}

    @pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
    def test_mean_spikes_per_unit_per_step(self, network, batch_size):
        rates = firing_rates(network, X, batch_size=batch_size)
        assert rates == self.expected(network)
        assert list(rates) == ["first", "second"]

    def test_a_layer_that_returns_only_its_last_step_counts_all_of_them(self, network):
        last = spiking(4, "last", return_sequences=False)
        functional = keras.Sequential([keras.Input((8, 3)), network.layers[0], last])
        last.set_weights(network.layers[1].get_weights())
        expected = self.expected(network)
        assert firing_rates(functional, X) == {
            "first": expected["first"],
            "last": expected["second"],
        }

    def test_models_are_as_before_afterwards(self, network):
        last = spiking(4, "last", return_sequences=False)
        network = keras.Sequential(
            [keras.Input((8, 3)), network, keras.layers.Reshape((2, 1)), last]
        )
        before = np.asarray(network(X))
        firing_rates(network, X)
        assert last.return_sequences is False
        assert "inner_loop" not in vars(last)
        np.testing.assert_array_equal(network(X), before)
        with pytest.raises(Exception, match="shape"):
            firing_rates(network, X[:, :, :2])
        assert last.return_sequences is False
        assert "inner_loop" not in vars(last)

    def test_layers_within_models_and_wrappers_are_found(self, network):
        inputs = keras.Input((8, 3))
        both = keras.layers.Bidirectional(spiking(2, "both"))
        cells = keras.layers.RNN(RLIFCell(3), name="cells")
        stack = keras.layers.RNN([RLIFCell(3), RLIFCell(2)], name="stack", return_sequences=True)
        lstm = keras.layers.LSTM(3, name="lstm")
        outer = keras.Model(
            inputs, [network(inputs), *(f(inputs) for f in (both, cells, stack, lstm))]
        )
        rates = firing_rates(outer, X)
        assert set(rates) == {"first", "second", "forward_both", "backward_both", "cells", "stack"}
        assert {name: rates[name] for name in ("first", "second")} == self.expected(network)
        forward = np.asarray(both.forward_layer(X)).mean()
        backward = np.asarray(both.backward_layer(X)).mean()
        assert rates["forward_both"] == pytest.approx(forward)
        assert rates["backward_both"] == pytest.approx(backward)
        assert rates["stack"] == pytest.approx(np.asarray(stack(X)).mean())

    def test_a_shared_layer_counts_all_its_uses(self):
        layer = spiking(3, "shared")
        inputs = keras.Input((8, 3))
        network = keras.Model(inputs, layer(layer(inputs)))
        once = np.asarray(layer(X))
        twice = np.asarray(layer(once))
        rates = firing_rates(network, X)
        assert rates["shared"] == pytest.approx((once.mean() + twice.mean()) / 2)

    @pytest.mark.parametrize("go_backwards", [False, True])
    @pytest.mark.parametrize("zero_output_for_mask", [False, True])
    def test_masked_steps_do_not_count(self, go_backwards, zero_output_for_mask):
        layer = spiking(
            6, "first", go_backwards=go_backwards, zero_output_for_mask=zero_output_for_mask
        )
        network = keras.Sequential([keras.Input((8, 3)), keras.layers.Masking(), layer])
        rates = firing_rates(network, np.where(MASK[:, :, None], X, 0).astype("float32"))
        plain = spiking(6, "plain", go_backwards=go_backwards)
        plain.build(X.shape)
        plain.set_weights(layer.get_weights())
        spikes = [np.asarray(plain(x[None, m])) for x, m in zip(X, MASK, strict=True)]
        expected = sum(s.sum() for s in spikes) / (MASK.sum() * 6)
        assert rates["first"] == pytest.approx(expected)

    def test_inputs_may_be_a_dictionary(self):
        inputs = {
            "left": keras.Input((8, 3), name="left"),
            "right": keras.Input((8, 3), name="right"),
        }
        left, right = spiking(3, "a")(inputs["left"]), spiking(3, "b")(inputs["right"])
        network = keras.Model(inputs, [left, right])
        rates = firing_rates(network, {"left": X, "right": np.zeros_like(X)}, batch_size=2)
        assert rates["a"] > 0
        assert rates["b"] == 0

    def test_layers_of_equal_names_go_by_path(self):
        models = [
            keras.Sequential([keras.Input((8, 3)), spiking(3, "same")], name=name) for name in "ab"
        ]
        inputs = keras.Input((8, 3))
        outer = keras.Model(inputs, [model(inputs) for model in models])
        assert sorted(firing_rates(outer, X)) == ["a/same", "b/same"]

    def test_training_noise_is_off(self):
        network = keras.Sequential([keras.Input((8, 3)), spiking(3, "noisy", noise_stddev=5.0)])
        assert firing_rates(network, X) == firing_rates(network, X)

    def test_models_without_spikes_and_empty_inputs_are_refused(self, network):
        plain = keras.Sequential([keras.Input((8, 3)), keras.layers.LSTM(2)], name="plain")
        with pytest.raises(ValueError, match="'plain' has no spiking layer"):
            firing_rates(plain, X)
        analog = RLIF(4, output_mode="analog")
        with pytest.raises(ValueError, match='layers with output_mode="analog".* are left out'):
            firing_rates(keras.Sequential([keras.Input((8, 3)), analog]), X)
        with pytest.raises(ValueError, match="no samples"):
            firing_rates(network, X[:0])
        with pytest.raises(ValueError, match="`batch_size` must be a positive integer"):
            firing_rates(network, X, batch_size=0)


def test_calls_in_a_loop_give_no_warning(caplog):
    """TensorFlow warns, but twice only, of a function that is traced five times or more."""

    def run(x):
        return {"more": x["a"] + 1}

    def warnings():
        return [record for record in caplog.records if "retracing" in record.message]

    caplog.set_level("WARNING", logger="tensorflow")
    for _ in range(6):
        assert metrics._as_graph(run)({"a": tf.constant(1.0)})["more"] == 2
    assert not warnings()
    for _ in range(6):
        tf.function(run)({"a": tf.constant(1.0)})
    assert warnings(), "nobody would be warned: this tests nothing"


class TestUnits:
    @pytest.fixture
    def network(self):
        inputs = keras.Input((8, 3))
        outputs = spiking(6, "hidden")(keras.layers.Masking()(inputs))
        network = keras.Model(inputs, GatedLIF(4, name="graded", signed=True)(outputs))
        network.get_layer("hidden").cell.bias.assign([-50, 50, 0, 0, 0, -50])
        return network

    @pytest.mark.parametrize("batch_size", [2, 5])
    def test_rates_of_units(self, network, batch_size):
        x = np.where(MASK[:, :, None], X, 0).astype("float32")
        spikes = np.asarray(network.get_layer("hidden")(x, mask=MASK))
        rates = unit_rates(network, x, batch_size)
        np.testing.assert_allclose(rates["hidden"], spikes.sum(axis=(0, 1)) / MASK.sum())
        assert (rates["hidden"][0], rates["hidden"][1]) == (0, 1)
        assert 0 < rates["hidden"][2] < 1
        layer = network.get_layer("graded")
        layer.return_sequences = True
        graded = np.asarray(layer(spikes, mask=MASK))
        assert len(np.unique(graded)) > 3
        np.testing.assert_allclose(rates["graded"], (graded != 0).sum(axis=(0, 1)) / MASK.sum())

    def test_dead_units_and_sparsity(self, network):
        rates = unit_rates(network, X)
        assert dead_units(network, X) == {
            "hidden": 2 + np.sum(rates["hidden"][2:5] == 0),
            "graded": np.sum(rates["graded"] == 0),
        }
        assert sparsity(network, X) == {
            name: pytest.approx(1 - rate) for name, rate in firing_rates(network, X).items()
        }
        assert firing_rates(network, X)["hidden"] == pytest.approx(rates["hidden"].mean())

    def test_layers_that_do_nothing(self, network):
        rates = unit_rates(network, np.zeros_like(X))
        assert [rates[name].tolist() for name in ("hidden", "graded")] == [[0.0] * 6, [0.0] * 4]
        assert dead_units(network, np.zeros_like(X)) == {"hidden": 6, "graded": 4}

    def test_images(self):
        images = np.random.default_rng(0).random((3, 5, 6, 6, 1), "float32")
        layer = ConvRLIF2D(2, 3, name="conv", return_sequences=True)
        network = keras.Sequential([keras.Input((5, 6, 6, 1)), layer])
        spikes = np.asarray(layer(images))
        assert 0 < spikes.mean() < 1
        np.testing.assert_allclose(
            unit_rates(network, images, 2)["conv"], spikes.mean(axis=(0, 1)), rtol=1e-6
        )


class TestSynapticOperations:
    @staticmethod
    def connections(values, weight):
        """Products without a 0, one value at a time."""
        values, weight = np.ravel(values), np.asarray(weight)
        return sum(np.count_nonzero(weight[i]) for i, value in enumerate(values) if value != 0)

    @classmethod
    def counted(cls, cell, recurrent_state, x, mask, initial=None):
        """Products of inputs and of states, step by step, means per sequence."""
        forward = recurrent = 0
        for sequence, kept in zip(x, mask, strict=True):
            states = initial or cell.get_initial_state(batch_size=1)
            for inputs in sequence[kept]:
                forward += cls.connections(inputs, cell.kernel)
                if recurrent_state is not None:
                    values = np.asarray(states[recurrent_state])
                    recurrent += cls.connections(values, cell.recurrent_kernel)
                _, states = cell(inputs[None], list(states))
        return forward / len(x), recurrent / len(x)

    BINARY = (np.random.default_rng(1).random((5, 8, 3)) < 0.4).astype("float32")

    @pytest.mark.parametrize(
        "layer,state,graded",
        [
            (RLIF(6), None, False),
            (LIF(6), None, False),
            (SRC(6), None, False),
            (AdaptiveAnalogLSTM(6), None, False),
            (MembraneReadout(6), None, False),
            (GatedLIF(6), None, False),
            (GatedLIF(6, recurrent_gates=True), 2, True),
            (GatedLIF(6, recurrent_gates=True, bits=None), 2, False),
            (SpikingLSTM(6), 0, False),
            # The recurrent weights see the membrane potential, not the spikes.
            (LIFLSTM(6), 0, True),
            (keras.layers.LSTM(6), 0, True),
            (keras.layers.GRU(6), 0, True),
            (keras.layers.SimpleRNN(6, activation="relu"), 0, True),
        ],
        ids=lambda value: type(value).__name__ if hasattr(value, "name") else str(value),
    )
    @pytest.mark.parametrize("masked,binary", [(False, True), (True, False)])
    def test_layers(self, layer, state, graded, masked, binary):
        layer = type(layer).from_config({**layer.get_config(), "name": "layer"})
        inputs = keras.Input((8, 3))
        network = keras.Model(inputs, layer(keras.layers.Masking(-1.0)(inputs)))
        # Pruned connections do not count.
        kernel = np.asarray(layer.cell.kernel).copy()
        kernel[::2, 1] = 0
        layer.cell.kernel.assign(kernel)
        x = self.BINARY if binary else np.where(X > 0.3, X, 0)
        mask = MASK & (np.arange(8) != 2) if masked else np.ones((5, 8), bool)
        forward, recurrent = self.counted(layer.cell, state, x, mask)
        x = np.where(mask[:, :, None], x, -1).astype("float32")
        counted = synaptic_operations(network, x, batch_size=2)["layer"]
        expected = [0.0, 0.0]
        expected[not binary] += forward
        expected[graded] += recurrent
        assert forward > 0
        assert (recurrent > 0) == (state is not None)
        assert [counted["acs"], counted["macs"]] == pytest.approx(expected)
        width = layer.cell.kernel.shape[1]
        per_step = 3 * width + (0 if state is None else 6 * width)
        assert counted["dense"] == pytest.approx(per_step * mask.sum() / 5)
        updates = 6 * mask.sum() / 5 if getattr(layer.cell, "has_membrane", False) else 0
        assert counted["updates"] == pytest.approx(updates)

    def test_by_hand(self):
        """Two sequences of three steps: 4 and 2 spikes, of two inputs."""
        x = np.array([[[1, 0], [1, 1], [0, 1]], [[0, 0], [0, 1], [1, 0]]], "float32")
        layer = keras.layers.Dense(3, name="layer")
        network = keras.Sequential([keras.Input((3, 2)), layer])
        layer.kernel.assign([[1, 2, 3], [0, 0, 5]])
        # The first input has three connections, the second one.
        expected = {"acs": (2 * 3 + 2 + 3 + 1) / 2, "macs": 0, "dense": 18, "updates": 0}
        assert synaptic_operations(network, x) == {"layer": expected}
        assert synaptic_operations(network, -x)["layer"]["acs"] == expected["acs"]
        assert synaptic_operations(network, 2 * x)["layer"]["macs"] == expected["acs"]

    def test_one_graded_value_anywhere_makes_all_of_them_macs(self):
        network = keras.Sequential([keras.Input((8, 3)), keras.layers.Dense(2, name="layer")])
        x = self.BINARY.copy()
        acs = synaptic_operations(network, x, batch_size=1)["layer"]["acs"]
        x[4, np.nonzero(x[4])[0][0]] *= 0.5
        counted = synaptic_operations(network, x, batch_size=1)["layer"]
        assert (counted["acs"], counted["macs"]) == (0, pytest.approx(acs))

    def test_a_network(self):
        hidden = spiking(6, "hidden")
        layers = [hidden, keras.layers.Dense(5, name="each"), TimeSum(), keras.layers.Dense(2)]
        network = keras.Sequential([keras.Input((8, 3)), *layers])
        spikes = np.asarray(hidden(X))
        counts = np.asarray(layers[2](layers[1](spikes)))
        counted = synaptic_operations(network, X, batch_size=2)
        assert list(counted) == ["hidden", "each", layers[3].name]
        assert counted["hidden"]["macs"] == pytest.approx(8 * 3 * 6)
        assert counted["each"]["acs"] == pytest.approx(5 * spikes.sum() / 5)
        assert counted[layers[3].name]["macs"] == pytest.approx(2 * np.count_nonzero(counts) / 5)
        assert "inner_loop" not in vars(hidden)
        assert "call" not in vars(layers[1])

    def test_stacked_cells_and_both_directions(self):
        cells = [RLIFCell(6, leak_initializer=0.8), RLIFCell(4)]
        stack = keras.layers.RNN(cells, return_sequences=True, name="stack")
        inputs = keras.Input((8, 3))
        both = keras.layers.Bidirectional(spiking(6, "each"))
        network = keras.Model(inputs, [stack(inputs), both(inputs)])
        between = np.asarray(keras.layers.RNN(cells[0], return_sequences=True)(X))
        counted = synaptic_operations(network, X, batch_size=2)
        assert set(counted) == {"stack", "forward_each", "backward_each"}
        assert counted["stack"] == {
            "macs": pytest.approx(8 * 3 * 6),
            "acs": pytest.approx(4 * between.sum() / 5),
            "dense": pytest.approx(8 * (3 * 6 + 6 * 4)),
            "updates": 8 * 10,
        }
        assert counted["forward_each"]["macs"] == counted["backward_each"]["macs"] == 8 * 3 * 6

    @pytest.mark.parametrize("go_backwards", [False, True])
    def test_states_of_stateful_layers_count(self, go_backwards):
        layer = SpikingLSTM(
            6, stateful=True, go_backwards=go_backwards, return_sequences=True, name="layer"
        )
        network = keras.Sequential([keras.Input((8, 3), batch_size=1), layer])
        before = np.asarray(network(X[:1]))[0, -1]
        assert before.any()
        states = [np.asarray(state) for state in layer.states]
        x = X[1:2, ::-1] if go_backwards else X[1:2]
        forward, recurrent = self.counted(layer.cell, 0, x, np.ones((1, 8), bool), states)
        counted = synaptic_operations(network, X[1:2], batch_size=1)["layer"]
        assert (counted["macs"], counted["acs"]) == (forward, recurrent)

    IMAGES = (np.random.default_rng(2).random((2, 3, 5, 6, 2)) < 0.3).astype("float32")

    @staticmethod
    def in_windows(image, kernel, stride, dilation, same):
        """Products without a 0 of a convolution, one position at a time."""
        height, width, _ = image.shape
        sizes = [dilation * (size - 1) + 1 for size in kernel.shape[:2]]
        out = [
            -(-size // stride) if same else -(-(size - window + 1) // stride)
            for size, window in zip((height, width), sizes, strict=True)
        ]
        before = [
            max((o - 1) * stride + window - size, 0) // 2 if same else 0
            for o, window, size in zip(out, sizes, (height, width), strict=True)
        ]
        total = 0
        for row, column, a, b in np.ndindex(*out, *kernel.shape[:2]):
            i = row * stride - before[0] + a * dilation
            j = column * stride - before[1] + b * dilation
            if 0 <= i < height and 0 <= j < width:
                total += np.count_nonzero(kernel[a, b][image[i, j] != 0])
        return total

    @pytest.mark.parametrize(
        "stride,dilation,padding", [(1, 1, "valid"), (2, 1, "same"), (1, 2, "same")]
    )
    @pytest.mark.parametrize("spikes", [False, True])
    def test_convolutions(self, stride, dilation, padding, spikes):
        arguments = {"strides": stride, "dilation_rate": dilation, "padding": padding}
        if spikes:
            layer = ConvRLIF2D(4, 3, name="layer", **arguments)
            kernel_of = layer.cell
        else:
            kernel_of = keras.layers.Conv2D(4, 3, **arguments)
            layer = keras.layers.TimeDistributed(kernel_of, name="layer")
        network = keras.Sequential([keras.Input((3, 5, 6, 2)), layer])
        kernel = np.asarray(kernel_of.kernel).copy()
        kernel[0, 1, :, 2] = 0
        kernel_of.kernel.assign(kernel)
        expected, dense = (
            sum(
                self.in_windows(image, of_kernel, stride, dilation, padding == "same")
                for image in images.reshape(-1, 5, 6, 2)
            )
            / 2
            for images, of_kernel in (
                (self.IMAGES, kernel),
                (np.ones_like(self.IMAGES), np.ones_like(kernel)),
            )
        )
        counted = synaptic_operations(network, self.IMAGES, batch_size=1)["layer"]
        assert counted["acs"] == pytest.approx(expected)
        assert counted["dense"] == pytest.approx(dense)
        units = np.prod(network.compute_output_shape((1, 3, 5, 6, 2))[1:])
        assert counted["updates"] == (3 * units if spikes else 0)

    def test_potentials_that_spread_are_macs(self):
        layer = ConvRLIF2D(4, 3, membrane_kernel_size=1, padding="same", name="layer")
        network = keras.Sequential([keras.Input((3, 5, 6, 2)), layer])
        counted = synaptic_operations(network, self.IMAGES)["layer"]
        plain = ConvRLIF2D(4, 3, padding="same", name="layer")
        of_plain = synaptic_operations(
            keras.Sequential([keras.Input((3, 5, 6, 2)), plain]), self.IMAGES
        )["layer"]
        assert counted["acs"] == of_plain["acs"]
        assert counted["dense"] - of_plain["dense"] == 3 * 5 * 6 * 4 * 4
        # The kernel begins with one connection for each unit, and 0 after a spike is none.
        assert 0 < counted["macs"] < 3 * 5 * 6 * 4

    @pytest.mark.parametrize("padding,dense", [("causal", 6 + 7 + 8), ("valid", 6 * 3)])
    def test_convolution_over_time(self, padding, dense):
        layer = keras.layers.Conv1D(4, 3, padding=padding, name="layer")
        network = keras.Sequential([keras.Input((8, 3)), layer])
        counted = synaptic_operations(network, np.ones((2, 8, 3), "float32"))["layer"]
        assert counted["acs"] == counted["dense"] == dense * 3 * 4

    def test_dense_layers_with_masks_and_without_steps(self):
        inputs = keras.Input((8, 3))
        masked = keras.layers.Masking()(inputs)
        outputs = [
            keras.layers.Dense(4, name="each")(masked),
            keras.layers.TimeDistributed(keras.layers.Dense(4), name="distributed")(masked),
            LeakyReadout(3, name="readout")(masked),
            keras.layers.Dense(2, name="flat")(keras.layers.Flatten()(inputs)),
        ]
        network = keras.Model(inputs, outputs)
        x = np.where(MASK[:, :, None], np.maximum(self.BINARY, np.eye(3)[0]), 0).astype("float32")
        counted = synaptic_operations(network, x, batch_size=2)
        for name, width in (("each", 4), ("distributed", 4), ("readout", 3)):
            assert counted[name]["acs"] == pytest.approx(width * x.sum() / 5)
            assert counted[name]["dense"] == pytest.approx(width * 3 * MASK.sum() / 5)
        assert counted["flat"]["dense"] == 2 * 24

    @pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
    def test_half_precision_counts_beyond_2048(self, dtype):
        layers = [RLIF(6, dtype=dtype, name="a"), keras.layers.Dense(2, dtype=dtype, name="b")]
        network = keras.Sequential([keras.Input((3001, 3)), *layers])
        counted = synaptic_operations(network, np.ones((1, 3001, 3), "float32"))
        assert counted["a"]["acs"] == counted["a"]["dense"] == 3001 * 3 * 6
        assert counted["a"]["updates"] == 3001 * 6

    def test_what_cannot_be_counted_is_refused(self):
        inputs = keras.Input((8, 3))
        einsum = keras.layers.EinsumDense("abc,cd->abd", (None, 2), name="sum")
        with pytest.raises(ValueError, match="layer 'sum' of class EinsumDense.*knows recurrent"):
            synaptic_operations(keras.Model(inputs, einsum(inputs)), X)

        class Cell(keras.layers.Layer):
            state_size = output_size = 3

            def call(self, inputs, states):
                return inputs, states

        strange = keras.layers.RNN(Cell(), name="strange")
        with pytest.raises(ValueError, match="layer 'strange', of cell Cell.*`kernel`.*products"):
            synaptic_operations(keras.Model(inputs, strange(inputs)), X)
        flat = keras.Model(inputs, keras.layers.Flatten()(inputs), name="flat")
        with pytest.raises(ValueError, match="'flat' has no layer with synapses"):
            synaptic_operations(flat, X)
        network = keras.Sequential([keras.Input((8, 3)), spiking(2, "a")])
        with pytest.raises(ValueError, match="no samples"):
            synaptic_operations(network, X[:0])

    def test_a_cell_says_what_it_multiplies(self):
        class Cell(RLIFCell):
            def products(self, inputs, states):
                return [(states[0], self.kernel)]

        layer = keras.layers.RNN(Cell(3), name="own")
        network = keras.Sequential([keras.Input((8, 3)), layer])
        # The state of the first step is 0.
        before = trace(layer, X)["state"][:, :-1]
        assert 0.1 < np.mean(before != 0) < 0.9
        counted = synaptic_operations(network, X)["own"]
        assert counted["macs"] == pytest.approx(3 * np.count_nonzero(before) / 5)
        assert counted["acs"] == 0

    @pytest.mark.parametrize(
        "layer",
        [
            RLIF(6, output_mode="analog", name="layer"),
            LIFLSTM(6, output_mode="analog", name="layer"),
            MembraneReadout(6, name="layer"),
        ],
        ids=lambda layer: type(layer).__name__,
    )
    def test_membranes_of_analog_outputs_are_updated(self, layer):
        network = keras.Sequential([keras.Input((8, 3)), layer])
        assert synaptic_operations(network, X)["layer"]["updates"] == 8 * 6
        # AdaptiveAnalogLSTM has no membrane.
        network = keras.Sequential([keras.Input((8, 3)), AdaptiveAnalogLSTM(6, name="layer")])
        assert synaptic_operations(network, X)["layer"]["updates"] == 0


class TestEnergy:
    @pytest.fixture
    def network(self):
        layers = [spiking(6, "hidden"), keras.layers.Dense(5, name="out")]
        return keras.Sequential([keras.Input((8, 3)), *layers])

    def test_by_hand(self, network):
        counted = synaptic_operations(network, X)
        spikes = np.asarray(network.layers[0](X)).sum() / 5
        assert counted["out"]["acs"] == pytest.approx(5 * spikes)
        # Each input is multiplied with 6 weights at 8 steps: 144 MACs of 3.7 + 0.9 pJ.
        estimate = energy(network, X)
        expected = {"hidden": 144 * 4.6e-12, "out": 5 * spikes * 0.9e-12}
        assert estimate.layers == {name: pytest.approx(j) for name, j in expected.items()}
        assert estimate.joules == pytest.approx(sum(expected.values()))
        assert estimate.operations == counted
        own = energy(network, X, EnergyConstants(mac=2.0, ac=1.0, update=0.5))
        assert own.layers == {
            "hidden": pytest.approx(144 * 2 + 48 * 0.5),
            "out": pytest.approx(5 * spikes),
        }

    @pytest.mark.parametrize(
        "name,mac,ac,update",
        [
            ("45nm_float32", 3.7 + 0.9, 0.9, 0),
            ("45nm_float16", 1.1 + 0.4, 0.4, 0),
            ("45nm_int32", 3.1 + 0.1, 0.1, 0),
            ("45nm_int8", 0.2 + 0.03, 0.03, 0),
            ("loihi", None, 23.6, 81),
        ],
    )
    def test_constants(self, name, mac, ac, update):
        constants = ENERGY[name]
        assert constants.mac == (None if mac is None else pytest.approx(mac * 1e-12))
        assert constants.ac == pytest.approx(ac * 1e-12)
        assert constants.update == pytest.approx(update * 1e-12)
        assert ("Davies" if name == "loihi" else "Horowitz") in constants.source

    def test_hardware_without_multiplication(self, network):
        with pytest.raises(ValueError, match="layers hidden multiply numbers.*Encode.*own"):
            energy(network, X, "loihi")
        spikes = (X > 0.5).astype("float32")
        counted = synaptic_operations(network, spikes)
        estimate = energy(network, spikes, "loihi")
        expected = counted["hidden"]["acs"] * 23.6e-12 + 48 * 81e-12
        assert estimate.layers["hidden"] == pytest.approx(expected)

    def test_it_says_that_it_is_an_estimate_and_of_what(self, network):
        text = str(energy(network, X))
        assert text.startswith("estimate: ")
        for part in ("4.6 pJ a MAC", "0.9 pJ an AC", "Horowitz", "ISSCC 2014", "hidden: ", "out: "):
            assert part in text
        text = str(energy(network, (X > 0).astype("float32"), "loihi"))
        assert "81 pJ a neuron update" in text and "MAC" not in text

    def test_unknown_constants_are_refused(self, network):
        with pytest.raises(TypeError, match="`constants` must be EnergyConstants .*constants=3"):
            energy(network, X, 3)
        with pytest.raises(ValueError, match="one of 45nm_float32.*constants='gpu'"):
            energy(network, X, "gpu")


class TestOperations:
    @pytest.mark.parametrize(
        "layer,arguments,parameters",
        [
            (keras.layers.LSTM, {}, 3_718_000),
            (keras.layers.GRU, {}, 2_788_500),
            (LIF, {}, 324_500),
            (GatedLIF, {}, 649_000),
            (GatedLIF, {"recurrent_gates": True}, 1_859_000),
        ],
    )
    def test_parameters_of_the_papers_networks(self, layer, arguments, parameters):
        layers = [layer(550, return_sequences=True, **arguments) for _ in range(2)]
        network = keras.Sequential([keras.Input((2, 40)), *layers])
        counted = operations(network, np.zeros((1, 2, 40), "float32"))
        assert sum(of_layer["parameters"] for of_layer in counted.values()) == parameters

    # Spikes of 3 inputs: 3 + 1 + 0 and 0 + 2 + 2 are not 0.
    SPARSE = np.array(
        [[[1, -2, 0.5], [0, 0, 3], [0, 0, 0]], [[0, 0, 0], [1, 1, 0], [0, -1, 1]]], "float32"
    )

    @pytest.mark.parametrize(
        "layer,per_input,constant",
        [
            (LIF(4, name="a"), 4, 6 * 4),
            (keras.layers.RNN(LIFCell(4), name="a"), 4, 6 * 4),
            (GatedLIF(4, name="a"), 2 * 4, 8 * 4),
            (MembraneReadout(4, name="a"), 4, 4),
            (keras.layers.GRU(4, name="a"), 3 * 4, 3 * 4 * 4 + 12 * 4),
            (keras.layers.LSTM(4, name="a"), 4 * 4, 4 * 4 * 4 + 12 * 4),
            (keras.layers.Dense(4, name="a"), 4, 0),
        ],
    )
    @pytest.mark.parametrize("batch_size", [1, 2])
    def test_multiplications_from_the_zeros_in_the_data(
        self, layer, per_input, constant, batch_size
    ):
        network = keras.Sequential([keras.Input((3, 3)), layer])
        counted = operations(network, self.SPARSE, batch_size=batch_size)
        assert list(counted) == ["a"]
        assert counted["a"]["multiplications"] == pytest.approx(8 / 6 * per_input + constant)
        assert counted["a"]["zero_inputs"] == pytest.approx(10 / 18)
        assert counted["a"]["parameters"] == sum(
            np.prod(weight.shape) for weight in layer.weights if "kernel" in weight.name
        )

    @staticmethod
    def multiplications(layer, x, initial=0):
        """Of version 2, sequence by sequence and step by step."""
        total = steps = 0
        for sequence in x:
            outputs = np.asarray(layer(sequence[None]))[0]
            before = initial
            for inputs, output in zip(sequence, outputs, strict=True):
                total += 2 * (np.count_nonzero(inputs) + before) * layer.units + 8 * layer.units
                before = np.count_nonzero(output)
                steps += 1
        return total / steps

    @pytest.mark.parametrize("masked", [False, True])
    @pytest.mark.parametrize("go_backwards", [False, True])
    @pytest.mark.parametrize("zero_output_for_mask", [False, True])
    def test_previous_outputs_count_in_version_2(self, masked, go_backwards, zero_output_for_mask):
        arguments = {"recurrent_gates": True, "go_backwards": go_backwards}
        layer = GatedLIF(6, name="v2", zero_output_for_mask=zero_output_for_mask, **arguments)
        plain = GatedLIF(6, return_sequences=True, **arguments)
        sparse = np.where(X > 0.5, X, 0).astype("float32")
        # A mask with a hole, too: outputs before it are those of the last step that counted.
        mask = MASK & ~((np.arange(8) == 2) & (np.arange(5) == 0)[:, None]) | ~np.array(masked)
        inputs = np.where(mask[:, :, None], sparse, -1)
        network = keras.Sequential([keras.Input((8, 3)), keras.layers.Masking(-1.0), layer])
        plain.build(X.shape)
        plain.set_weights(layer.get_weights())
        kept = [x[m][:: -1 if go_backwards else 1] for x, m in zip(sparse, mask, strict=True)]
        plain.go_backwards = False
        assert 0.1 < np.mean(np.asarray(plain(sparse)) != 0) < 0.9
        expected = self.multiplications(plain, kept)
        counted = operations(network, inputs, batch_size=2)["v2"]
        assert counted["multiplications"] == pytest.approx(expected)
        zeros = 1 - np.count_nonzero(np.concatenate(kept)) / np.concatenate(kept).size
        assert counted["zero_inputs"] == pytest.approx(zeros)

    def test_outputs_of_a_stateful_layers_last_batch_count(self):
        layer = GatedLIF(6, recurrent_gates=True, stateful=True, return_sequences=True, name="v2")
        network = keras.Sequential([keras.Input((8, 3), batch_size=1), layer])
        last = np.count_nonzero(np.asarray(network(X[:1]))[0, -1])
        assert last > 0
        states = [np.asarray(state) for state in layer.states]
        counted = operations(network, X[1:2], batch_size=1)["v2"]
        for variable, state in zip(layer.states, states, strict=True):
            variable.assign(state)
        expected = self.multiplications(layer, X[1:2], initial=last)
        assert counted["multiplications"] == pytest.approx(expected)

    def test_dense_layers_count_steps_or_sequences(self):
        first = spiking(6, "first")
        inputs = keras.Input((8, 3))
        hidden = GatedLIF(6, return_sequences=True, name="hidden")(keras.layers.Masking()(inputs))
        each = keras.layers.Dense(5, name="each")(hidden)
        once = keras.layers.Dense(5, name="once")(TimeSum()(hidden))
        network = keras.Model(inputs, [each, once])
        layer = network.get_layer("hidden")
        outputs = np.asarray(layer(X, mask=MASK))
        counted = operations(network, np.where(MASK[:, :, None], X, 0).astype("float32"))
        assert counted["each"]["multiplications"] == pytest.approx(
            5 * np.count_nonzero(outputs) / MASK.sum()
        )
        assert counted["once"]["multiplications"] == pytest.approx(
            5 * np.count_nonzero(outputs.any(axis=1)) / len(X)
        )
        assert "call" not in vars(network.get_layer("each"))
        assert "inner_loop" not in vars(layer)
        with pytest.raises(ValueError, match="layer 'first'.*of cell RLIFCell.*multiplications"):
            operations(keras.Sequential([keras.Input((8, 3)), first]), X)

    def test_a_layer_without_steps_counts_nothing(self):
        network = keras.Sequential([keras.Input((8, 3)), keras.layers.Masking(), LIF(4, name="a")])
        counted = operations(network, np.zeros((2, 8, 3), "float32"))
        assert counted == {"a": {"multiplications": 0.0, "parameters": 12, "zero_inputs": 0.0}}

    def test_what_cannot_be_counted_is_refused(self):
        inputs = keras.Input((8, 3))
        distributed = keras.layers.TimeDistributed(keras.layers.Dense(2), name="each")(inputs)
        with pytest.raises(ValueError, match="TimeDistributed layer 'each'.*leave"):
            operations(keras.Model(inputs, distributed), X)
        stack = keras.layers.RNN([LIFCell(3), LIFCell(2)], name="stack")
        with pytest.raises(ValueError, match="stacked cells of the layer 'stack': give each"):
            operations(keras.Sequential([inputs, stack]), X)
        plain = keras.Sequential([keras.Input((8, 3)), keras.layers.Flatten()], name="plain")
        with pytest.raises(ValueError, match="'plain' has no layer to count"):
            operations(plain, X)
        own = keras.layers.RNN(RLIFCell(3), name="own")
        with pytest.raises(
            ValueError, match="'own'.*It knows LIF, GatedLIF, MembraneReadout, LSTM"
        ):
            operations(keras.Sequential([inputs, own]), X)
        with pytest.raises(ValueError, match="no samples"):
            operations(keras.Sequential([keras.Input((8, 3)), LIF(2)]), X[:0])


class TestActivity:
    def test_steps_above_zero_of_each_unit(self):
        outputs = np.array([[[0.2, 0], [0, -1], [0.9, 0], [1, 1]], [[0, 0]] * 4])
        np.testing.assert_array_equal(activity(outputs), [[0.75, 0.25], [0, 0]])

    def test_masked_steps_do_not_count(self):
        outputs = np.abs(np.random.default_rng(0).normal(size=(5, 8, 2, 3))).round()
        expected = [(o[m] > 0).mean(axis=0) for o, m in zip(outputs, MASK, strict=True)]
        np.testing.assert_allclose(activity(outputs, mask=MASK), expected)
        nothing = activity(outputs, mask=MASK & False)
        np.testing.assert_array_equal(nothing, np.zeros((5, 2, 3)))

    def test_outputs_without_steps_are_refused(self):
        with pytest.raises(ValueError, match=r"shape \(batch, steps, ...\).*Received.*\(3,\)"):
            activity(np.ones(3))
        with pytest.raises(ValueError, match=r"`mask` must have the shape .*\(2, 4\).*\(2, 3\)"):
            activity(np.ones((2, 4, 3)), np.ones((2, 3)))

    def test_of_a_layer(self):
        layer = spiking(4, "a")
        np.testing.assert_allclose(activity(layer(X)), np.mean(layer(X), axis=1))


class TestFiringRate:
    @pytest.mark.parametrize("factor", [0.25, -2.0])
    def test_graded_outputs_are_one_spike(self, factor):
        spikes = np.array([[[0, 1], [1, 1], [0, 0]]], "float32")
        for metric, expected in ((FiringRate(), 0.5), (Sparsity(), 0.5)):
            metric.update_state(None, factor * spikes)
            assert float(metric.result()) == pytest.approx(expected)

    def test_sparsity(self):
        metric = Sparsity()
        assert float(metric.result()) == 0
        spikes = np.array([[[0, 1], [0, 0], [0, 0], [np.nan, 1]]], "float32")
        metric.update_state(None, spikes, sample_weight=np.array([[1, 1, 1, 0]]))
        assert float(metric.result()) == pytest.approx(5 / 6)
        loaded = keras.metrics.deserialize(keras.metrics.serialize(metric))
        assert type(loaded) is Sparsity

    def test_it_adds_up_over_batches(self):
        metric = FiringRate()
        metric.update_state(None, np.ones((1, 2, 3)))
        metric.update_state(None, np.zeros((3, 2, 3)))
        assert float(metric.result()) == 0.25
        metric.reset_state()
        assert float(metric.result()) == 0

    @pytest.mark.parametrize(
        "weight", [MASK, MASK.astype("float32"), MASK[:, :, None] * np.ones(4)]
    )
    def test_a_mask_as_weights(self, weight):
        spikes = (np.random.default_rng(0).random((5, 8, 4)) < 0.4).astype("float32")
        metric = FiringRate()
        metric.update_state(None, spikes, sample_weight=weight)
        assert float(metric.result()) == pytest.approx(spikes[MASK].mean())

    def test_weights_of_samples(self):
        metric = FiringRate()
        metric.update_state(None, np.ones((2, 4, 3)) * [[[1]], [[0]]], sample_weight=[3.0, 1.0])
        assert float(metric.result()) == 0.75

    def test_in_compile(self):
        layer = spiking(4, "spikes")
        network = keras.Sequential([keras.Input((8, 3)), layer])
        network.compile("sgd", "mse", metrics=[FiringRate()])
        logs = network.evaluate(X, np.zeros((5, 8, 4)), verbose=0, return_dict=True)
        assert logs["firing_rate"] == pytest.approx(np.asarray(layer(X)).mean())

    def test_in_compile_the_mask_of_the_outputs_applies(self):
        layer = spiking(4, "spikes")
        network = keras.Sequential([keras.Input((8, 3)), keras.layers.Masking(), layer])
        network.compile("sgd", "mse", metrics=[FiringRate()])
        masked = np.where(MASK[:, :, None], X, 0).astype("float32")
        logs = network.evaluate(masked, np.zeros((5, 8, 4)), verbose=0, return_dict=True)
        spikes = np.asarray(layer(X, mask=MASK))
        assert logs["firing_rate"] == pytest.approx(spikes[MASK].mean())

    def test_config(self):
        config = keras.metrics.serialize(FiringRate(name="rate"))
        assert keras.metrics.deserialize(config).name == "rate"


class TestTrace:
    @pytest.mark.parametrize("go_backwards", [False, True])
    @pytest.mark.parametrize("dtype", ["float32", "float64", "mixed_float16"])
    def test_it_is_what_the_layer_does(self, go_backwards, dtype):
        layer = spiking(
            6, "a", threshold=[0.4, 0.5, 0.6] * 2, return_state=True, reset=-0.25, dtype=dtype
        )
        layer.cell.build((None, 3))
        layer.set_weights([w + 0.05 for w in layer.get_weights()])
        layer.go_backwards = go_backwards
        spikes, state = layer(X)
        recorded = trace(layer, X)
        assert list(recorded) == ["spikes", "membrane", "state"]
        assert {values.shape for values in recorded.values()} == {(5, 8, 6)}
        np.testing.assert_array_equal(recorded["spikes"], tf.cast(spikes, "float32"))
        # Not to the last bit: a graph fuses products and sums, and eager execution does not.
        tolerance = {"float64": 1e-14, "float32": 1e-6, "float16": 2e-3}[state.dtype.name]
        np.testing.assert_allclose(recorded["state"][:, -1], state, tolerance, tolerance)
        # Equations (5), (6), (10), from the one before.
        V, Y = recorded["membrane"], recorded["spikes"]
        np.testing.assert_array_equal(Y, V >= np.array(layer.threshold, V.dtype))
        leak, membrane_bias = layer.cell.leak.numpy(), layer.cell.membrane_bias.numpy()
        expected = leak * np.where(Y, -0.25, V) + membrane_bias
        np.testing.assert_allclose(recorded["state"], expected, rtol=1e-6)

    def test_a_layer_of_keras_around_the_cell(self):
        layer = keras.layers.RNN(RLIFCell(4), return_sequences=True)
        spikes = layer(X)
        np.testing.assert_array_equal(trace(layer, X)["spikes"], spikes)

    def test_images(self):
        layer = ConvRLIF2D(4, 3, threshold=0.1, return_sequences=True)
        images = np.random.default_rng(0).normal(size=(2, 3, 5, 6, 2)).astype("float32")
        spikes = layer(images)
        assert np.any(spikes)
        np.testing.assert_array_equal(trace(layer, images)["spikes"], spikes)

    def test_noise_and_dropout_are_off(self):
        layer = spiking(4, "a", noise_stddev=3.0, dropout=0.5)
        layer(X)
        np.testing.assert_array_equal(trace(layer, X)["membrane"], trace(layer, X)["membrane"])

    def test_other_layers_are_refused(self):
        stacked = keras.layers.RNN([RLIFCell(2), RLIFCell(2)])
        for layer in (keras.layers.LSTM(2), keras.layers.Dense(2), stacked):
            with pytest.raises(ValueError, match="needs a spiking layer.*ConvRLIF2D.*not stacked"):
                trace(layer, X)
        with pytest.raises(ValueError, match="layer 'a' is not built yet"):
            trace(spiking(4, "a"), X)
