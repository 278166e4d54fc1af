"""Firing rates of models, and the inside of a layer over time."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_spiking_rnn import LIF, RLIF, GatedLIF, LIFCell, RLIFCell, TimeSum
from keras_spiking_rnn.metrics import FiringRate, activity, firing_rates, operations, trace

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
        with pytest.raises(ValueError, match="no samples"):
            firing_rates(network, X[:0])


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
        with pytest.raises(ValueError, match="layer 'stack' needs, of cell StackedRNNCells"):
            operations(keras.Sequential([inputs, stack]), X)
        plain = keras.Sequential([keras.Input((8, 3)), keras.layers.Flatten()], name="plain")
        with pytest.raises(ValueError, match="'plain' has no layer to count"):
            operations(plain, X)
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

    def test_of_a_layer(self):
        layer = spiking(4, "a")
        np.testing.assert_allclose(activity(layer(X)), np.mean(layer(X), axis=1))


class TestFiringRate:
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

    def test_noise_and_dropout_are_off(self):
        layer = spiking(4, "a", noise_stddev=3.0, dropout=0.5)
        layer(X)
        np.testing.assert_array_equal(trace(layer, X)["membrane"], trace(layer, X)["membrane"])

    def test_other_layers_are_refused(self):
        for layer in (keras.layers.LSTM(2), keras.layers.Dense(2)):
            with pytest.raises(ValueError, match="needs a spiking layer"):
                trace(layer, X)
        with pytest.raises(ValueError, match="layer 'a' is not built yet"):
            trace(spiking(4, "a"), X)
