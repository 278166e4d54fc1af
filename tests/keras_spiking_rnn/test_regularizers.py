"""The penalty of firing rates: its value, its gradient, and what layers do with it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_spiking_rnn import (
    LIF,
    LIFLSTM,
    RLIF,
    SRC,
    ConvRLIF2D,
    GatedLIF,
    RLIFCell,
    SpikingLSTM,
    TimeSum,
    metrics,
)
from keras_spiking_rnn.metrics import dead_units, firing_rates
from keras_spiking_rnn.regularizers import FiringRate

X = np.random.default_rng(0).normal(0.3, 1.0, (5, 8, 3)).astype("float32")
MASK = np.arange(8) < np.array([[8], [3], [5], [0], [7]])
HOLES = MASK & (np.arange(8) != 2)


@pytest.fixture(autouse=True)
def repeatable():
    keras.utils.set_random_seed(3)


def penalty_in_numpy(spikes, mask, lower, upper, strengths, pers, p):
    """The formula of the docstring, one sequence at a time."""
    total, sequences = 0.0, 0
    for train, kept in zip(spikes, mask, strict=True):
        if not kept.any():
            continue
        rates = train[kept].reshape(kept.sum(), -1).mean(axis=0)
        missing = np.maximum(0, lower - (rates if pers[0] == "unit" else rates.mean()))
        excess = np.maximum(0, (rates if pers[1] == "unit" else rates.mean()) - upper)
        total += strengths[0] * np.mean(missing**p) + strengths[1] * np.mean(excess**p)
        sequences += 1
    return total / sequences


class TestPenalty:
    # Rates of the units: 1/4 and 3/4, of the layer 1/2; then 0 and 1/2, of the layer 1/4.
    SPIKES = np.array([[[0, 1], [1, 1], [0, 0], [0, 1]], [[0, 1], [0, 0], [0, 1], [0, 0]]])

    @pytest.mark.parametrize(
        "arguments,expected",
        [
            # Units: 0.05 is missing in one and 0.3 in the other sequence.
            ({"lower": 0.3, "upper": None, "norm": "l1"}, (0.05 + 0.3) / 4),
            ({"lower": 0.3, "upper": None}, (0.05**2 + 0.3**2) / 4),
            ({"lower": 0.3, "upper": None, "lower_strength": 10}, 10 * (0.05**2 + 0.3**2) / 4),
            ({"lower": 0.3, "upper": None, "lower_per": "layer"}, 0.05**2 / 2),
            # Layers: 0.1 too much in the first sequence.
            ({"lower": 0, "upper": 0.4}, 0.1**2 / 2),
            ({"lower": 0, "upper": 0.4, "upper_strength": 3, "norm": "l1"}, 3 * 0.1 / 2),
            ({"lower": 0, "upper": 0.4, "upper_per": "unit"}, (0.35**2 + 0.1**2) / 4),
            ({"lower": 0.3, "upper": 0.4}, (0.05**2 + 0.3**2) / 4 + 0.1**2 / 2),
            ({"lower": 0, "upper": 1, "upper_per": "unit"}, 0),
        ],
    )
    def test_values_by_hand(self, arguments, expected):
        penalty = FiringRate(**arguments).penalty(self.SPIKES.astype("float32"))
        assert float(penalty) == pytest.approx(expected, rel=1e-5, abs=1e-9)

    @pytest.mark.parametrize("pers", [("unit", "layer"), ("layer", "unit")])
    @pytest.mark.parametrize("norm", ["l1", "l2"])
    @pytest.mark.parametrize("shape", [(6,), (2, 3, 2)])
    def test_it_equals_numpy(self, pers, norm, shape):
        random = np.random.default_rng(1)
        spikes = (random.random((5, 8, *shape)) < random.random(shape)).astype("float64")
        regularizer = FiringRate(0.4, 0.5, 2.0, 3.0, *pers, norm)
        for mask in (None, MASK, HOLES):
            filled = (
                spikes
                if mask is None
                else np.where(mask.reshape(5, 8, *[1] * len(shape)), spikes, np.nan)
            )
            expected = penalty_in_numpy(
                spikes,
                np.ones((5, 8), bool) if mask is None else mask,
                *(0.4, 0.5, (2.0, 3.0), pers, 1 if norm == "l1" else 2),
            )
            assert expected > 0.01
            assert float(regularizer.penalty(filled, mask)) == pytest.approx(expected, rel=1e-12)

    def test_gradient_by_hand(self):
        spikes = tf.constant(self.SPIKES, "float32")
        with tf.GradientTape() as tape:
            tape.watch(spikes)
            total = FiringRate(0.3, 0.4).penalty(spikes)
        # d/ds of mean(missing^2) over 2 x 2 units and of mean(excess^2) over 2 sequences.
        of_units = -2 * np.array([[0.05, 0], [0.3, 0]]) / 4 / 4
        of_layer = 2 * np.array([[0.1, 0.1], [0, 0]]) / 2 / 8
        expected = np.repeat((of_units + of_layer)[:, None], 4, axis=1)
        np.testing.assert_allclose(tape.gradient(total, spikes), expected, rtol=1e-5, atol=1e-8)

    def test_half_precision_is_summed_in_float32(self):
        # In float16 2048 + 1 is 2048, so that the rate would be 1/2.
        spikes = np.ones((1, 4096, 1), "float16")
        penalty = FiringRate(0, 0.5, norm="l1").penalty(tf.constant(spikes))
        assert penalty.dtype == "float32"
        assert float(penalty) == 0.5


def loss_of(layer, x=X, mask=None):
    layer(x, mask=mask)
    (loss,) = layer.losses
    return float(loss)


class TestLayers:
    @pytest.mark.parametrize(
        "layer", [RLIF, LIF, GatedLIF, SRC, SpikingLSTM, LIFLSTM], ids=lambda layer: layer.__name__
    )
    @pytest.mark.parametrize("return_state", [False, True])
    def test_all_steps_of_all_spiking_layers_count(self, layer, return_state):
        regularizer = FiringRate(0.3, 0.35, 2.0)
        plain = layer(6, return_sequences=True)
        outputs = np.asarray(plain(X))
        assert plain.losses == []
        expected = float(regularizer.penalty(outputs))
        assert expected > 1e-3
        for return_sequences in (False, True):
            made = layer(
                6,
                return_sequences=return_sequences,
                return_state=return_state,
                activity_regularizer=regularizer,
            )
            made.build(X.shape)
            made.set_weights(plain.get_weights())
            assert loss_of(made) == pytest.approx(expected, rel=1e-5)
            result = made(X)[0] if return_state else made(X)
            assert result.shape == ((5, 8, 6) if return_sequences else (5, 6))
            assert made.return_sequences is return_sequences

    def test_images(self):
        images = np.random.default_rng(0).random((2, 5, 6, 6, 1), "float32")
        layer = ConvRLIF2D(3, 3, activity_regularizer=FiringRate(0.3, 0.35))
        plain = ConvRLIF2D(3, 3, return_sequences=True)
        plain.build(images.shape)
        layer.build(images.shape)
        plain.set_weights(layer.get_weights())
        expected = float(FiringRate(0.3, 0.35).penalty(plain(images)))
        assert expected > 1e-3
        assert loss_of(layer, images) == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("mask", [MASK, HOLES])
    @pytest.mark.parametrize("go_backwards", [False, True])
    @pytest.mark.parametrize("zero_output_for_mask", [False, True])
    def test_masked_steps_do_not_count(self, mask, go_backwards, zero_output_for_mask):
        arguments = {"return_sequences": True, "go_backwards": go_backwards}
        plain = RLIF(6, **arguments)
        plain.build(X.shape)
        trains = [np.asarray(plain(x[None, m]))[0] for x, m in zip(X, mask, strict=True) if m.any()]
        regularizer = FiringRate(0.3, 0.35)
        expected = np.mean([float(regularizer.penalty(train[None])) for train in trains])
        layer = RLIF(
            6,
            zero_output_for_mask=zero_output_for_mask,
            activity_regularizer=regularizer,
            **arguments,
        )
        layer.build(X.shape)
        layer.set_weights(plain.get_weights())
        assert loss_of(layer, mask=mask) == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("batch", [1, 5])
    def test_keras_own_layers_give_the_same_in_each_version_of_keras(self, batch):
        regularizer = FiringRate(0.3, 0.35)
        own = RLIF(6, return_sequences=True, activity_regularizer=regularizer)
        of_keras = keras.layers.RNN(
            own.cell, return_sequences=True, activity_regularizer=regularizer
        )
        dense = keras.layers.ReLU(activity_regularizer=regularizer)
        x = X[:batch]
        assert loss_of(own, x) > 1e-3
        assert loss_of(of_keras, x) == pytest.approx(loss_of(own, x), rel=1e-5)
        dense(own(x))
        assert float(dense.losses[0]) == pytest.approx(loss_of(own, x), rel=1e-5)

    def test_outputs_without_steps_are_refused(self):
        message = r"FiringRate needs outputs of shape \(batch, steps, units\).*return_sequences"
        dense = keras.layers.Dense(3, activity_regularizer=FiringRate())
        with pytest.raises(ValueError, match=message):
            dense(X[:, 0])
        states = keras.layers.RNN(
            RLIFCell(3),
            return_sequences=True,
            return_state=True,
            activity_regularizer=FiringRate(),
        )
        with pytest.raises(ValueError, match=r"Received the shape \(5, 3\).*return_state"):
            states(X)

    def test_within_other_layers(self):
        both = keras.layers.Bidirectional(RLIF(6, activity_regularizer=FiringRate(0.3, 0.35)))
        both(X)
        expected = [loss_of(layer, X) for layer in (both.forward_layer, both.backward_layer)]
        both(X)
        assert [float(loss) for loss in both.losses] == pytest.approx(expected, rel=1e-5)
        assert len(set(expected)) == 2

    @pytest.mark.parametrize("jit_compile", [False, True])
    @pytest.mark.parametrize("dtype", ["float32", "mixed_float16"])
    def test_training_minimises_loss_and_penalty(self, jit_compile, dtype):
        inputs = keras.Input((8, 3))
        hidden = RLIF(6, dtype=dtype, activity_regularizer=FiringRate(0.3, 0.35))
        network = keras.Model(inputs, keras.layers.Dense(2, dtype="float32")(hidden(inputs)))
        network.compile(
            "sgd",
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=jit_compile,
        )
        y = np.array([0, 1, 0, 1, 0])
        logits = np.asarray(network(X))
        cross = float(np.mean(keras.losses.sparse_categorical_crossentropy(y, logits, True)))
        (penalty,) = (float(loss) for loss in network.losses)
        assert penalty > 1e-3
        whole = network.evaluate(X, y, batch_size=5, verbose=0)
        assert whole == pytest.approx(cross + penalty, rel=1e-3)
        history = network.fit(X, y, batch_size=5, verbose=0)
        assert history.history["loss"][0] == pytest.approx(cross + penalty, rel=1e-3)

    def test_saving(self, tmp_path):
        regularizer = FiringRate(0.3, 0.35, 2.0, 3.0, "layer", "unit", "l1")
        network = keras.Sequential([keras.Input((8, 3)), RLIF(6, activity_regularizer=regularizer)])
        # The metric has the same name.
        network.compile("sgd", "mse", metrics=[metrics.FiringRate()])
        network(X)
        before = float(network.losses[0])
        network.save(tmp_path / "n.keras")
        loaded = keras.saving.load_model(tmp_path / "n.keras")
        loaded(X)
        assert float(loaded.losses[0]) == pytest.approx(before)
        (layer,) = loaded.layers
        loaded.evaluate(X, np.zeros((5, 6)), verbose=0)
        assert isinstance(loaded.metrics[1].metrics[0], metrics.FiringRate)
        assert isinstance(layer.rate_regularizer, FiringRate)
        assert layer.rate_regularizer.get_config() == regularizer.get_config()
        clone = keras.models.clone_model(loaded)
        assert clone.layers[0].get_config()["activity_regularizer"] is not None

    def test_it_can_be_had_by_name(self):
        regularizer = FiringRate(0.1, 0.2)
        config = keras.regularizers.serialize(regularizer)
        loaded = keras.regularizers.deserialize(config)
        assert isinstance(loaded, FiringRate)
        assert loaded.get_config() == regularizer.get_config()


class TestTraining:
    @pytest.fixture
    def inputs(self):
        return np.random.default_rng(1).random((32, 20, 10), "float32")

    def trained(self, x, regularizer, **arguments):
        layer = RLIF(
            24,
            surrogate="fast_sigmoid",
            return_sequences=True,
            name="hidden",
            activity_regularizer=regularizer,
            **arguments,
        )
        network = keras.Sequential([keras.Input((20, 10)), layer, TimeSum(mean=True)])
        network.compile(keras.optimizers.Adam(0.01), lambda y, outputs: 0.0 * outputs)
        network.fit(np.tile(x, (60, 1, 1)), np.zeros((60 * 32, 24)), shuffle=False, verbose=0)
        return network

    def test_silent_units_are_revived(self, inputs):
        silent = {"bias_initializer": keras.initializers.Constant(-0.7)}
        before = self.trained(inputs, None, **silent)
        assert dead_units(before, inputs)["hidden"] > 12
        after = self.trained(inputs, FiringRate(0.05, None), **silent)
        assert dead_units(after, inputs)["hidden"] == 0

    def test_a_layer_that_fires_too_often_is_calmed(self, inputs):
        before = self.trained(inputs, None, bias_initializer="ones")
        assert firing_rates(before, inputs)["hidden"] > 0.6
        after = self.trained(inputs, FiringRate(0, 0.1), bias_initializer="ones")
        assert firing_rates(after, inputs)["hidden"] < 0.15


class TestArguments:
    @pytest.mark.parametrize(
        "arguments,message",
        [
            ({"lower": -0.1}, "`lower` must be a finite number, at least 0.*lower=-0.1"),
            ({"lower": True}, "`lower` must be a finite number"),
            ({"upper": 20}, "`upper` must be .* at most 1.*upper=20"),
            ({"upper": np.inf}, "`upper` must be a finite number"),
            ({"upper": "often"}, "`upper` must be a finite number"),
            (
                {"lower": 0.3, "upper": 0.2},
                "`upper` must be at least `lower`.*lower=0.3, upper=0.2",
            ),
            ({"lower_strength": -1}, "`lower_strength` must be a finite number"),
            ({"upper_strength": np.nan}, "`upper_strength` must be a finite number"),
            ({"lower_per": "batch"}, "`lower_per` must be one of unit, layer.*lower_per='batch'"),
            ({"upper_per": None}, "`upper_per` must be one of unit, layer"),
            ({"norm": "l3"}, "`norm` must be one of l1, l2.*norm='l3'"),
        ],
    )
    def test_out_of_range(self, arguments, message):
        with pytest.raises(ValueError, match=f"FiringRate: {message}"):
            FiringRate(**arguments)
