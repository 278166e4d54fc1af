"""Losses and accuracies of outputs over time: values by hand, masks, weights, dtypes, training."""

import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_spiking_rnn import RLIF, MembraneReadout
from keras_spiking_rnn.losses import (
    CountCrossentropy,
    CountMeanSquaredError,
    MembraneCrossentropy,
    RateCrossentropy,
    StepCrossentropy,
)
from keras_spiking_rnn.metrics import MembraneAccuracy, SpikeCountAccuracy

# Two sequences of four steps of two outputs. Counts: 3 and 1, then 0 and 2.
SPIKES = np.array([[[1, 0], [1, 1], [0, 0], [1, 0]], [[0, 1], [0, 0], [0, 1], [0, 0]]], "float32")
LABELS = np.array([0, 0])
# Largest values: 2 and 1.5, then -1 and 3. Last ones: 0.5 and 1, then -2 and 0.
MEMBRANES = np.array(
    [[[2, 1.5], [1, 0], [0, 0.5], [0.5, 1]], [[-1, 3], [-3, 1], [-2, 0], [-2, 0]]], "float32"
)
# The mask leaves out what is last in the first, and largest in the second sequence.
MASK = np.array([[True, True, True, False], [False, True, True, True]])


def softplus(x):
    """Cross-entropy of two classes, if the wrong logit is larger by x."""
    return math.log1p(math.exp(x))


ALL = [
    CountCrossentropy(),
    RateCrossentropy(),
    StepCrossentropy(),
    MembraneCrossentropy(),
    MembraneCrossentropy("max"),
    MembraneCrossentropy("mean"),
    CountMeanSquaredError(0.8, 0.1),
]


def name_of(loss):
    return f"{loss.name}-{getattr(loss, 'at', '')}"


every_loss = pytest.mark.parametrize("loss", ALL, ids=name_of)


def of_each(loss, y_true, y_pred, **arguments):
    """Losses of the sequences."""
    config = {**loss.get_config(), "reduction": None}
    return np.asarray(type(loss).from_config(config)(y_true, y_pred, **arguments))


class TestValuesByHand:
    @pytest.mark.parametrize(
        "loss,outputs,expected",
        [
            (CountCrossentropy(), SPIKES, [softplus(1 - 3), softplus(2 - 0)]),
            (RateCrossentropy(), SPIKES, [softplus(2.5 - 7.5), softplus(5 - 0)]),
            (RateCrossentropy(scale=1), SPIKES, [softplus(0.25 - 0.75), softplus(0.5)]),
            (
                StepCrossentropy(),
                SPIKES,
                [
                    (2 * softplus(-1) + 2 * softplus(0)) / 4,
                    (2 * softplus(1) + 2 * softplus(0)) / 4,
                ],
            ),
            (MembraneCrossentropy("last"), MEMBRANES, [softplus(1 - 0.5), softplus(0 - -2)]),
            (MembraneCrossentropy("max"), MEMBRANES, [softplus(1.5 - 2), softplus(3 - -1)]),
            (MembraneCrossentropy("mean"), MEMBRANES, [softplus(3 / 4 - 3.5 / 4), softplus(1 + 2)]),
            # Target counts 4 and 0.
            (CountMeanSquaredError(), SPIKES, [(1 + 1) / 2 / 4, (16 + 4) / 2 / 4]),
            # Target counts 3 and 1.
            (CountMeanSquaredError(0.75, 0.25), SPIKES, [0, (9 + 1) / 2 / 4]),
        ],
        ids=lambda value: name_of(value) if hasattr(value, "name") else "",
    )
    def test_of_spikes_and_membranes(self, loss, outputs, expected):
        np.testing.assert_allclose(of_each(loss, LABELS, outputs), expected, rtol=1e-6, atol=1e-7)
        assert float(loss(LABELS, outputs)) == pytest.approx(np.mean(expected), rel=1e-6)

    @pytest.mark.parametrize(
        "loss,outputs,expected",
        [
            # Counts 2 and 1, then 0 and 1.
            (CountCrossentropy(), SPIKES, [softplus(-1), softplus(1)]),
            (RateCrossentropy(3), SPIKES, [softplus(1 - 2), softplus(1 - 0)]),
            (
                StepCrossentropy(),
                SPIKES,
                [(softplus(-1) + 2 * softplus(0)) / 3, (softplus(1) + 2 * softplus(0)) / 3],
            ),
            (MembraneCrossentropy("last"), MEMBRANES, [softplus(0.5 - 0), softplus(0 - -2)]),
            (MembraneCrossentropy("max"), MEMBRANES, [softplus(1.5 - 2), softplus(1 - -2)]),
            (
                MembraneCrossentropy("mean"),
                MEMBRANES,
                [softplus(2 / 3 - 1), softplus(1 / 3 + 7 / 3)],
            ),
            # Target counts 3 and 0.
            (CountMeanSquaredError(), SPIKES, [(1 + 1) / 2 / 3, (9 + 1) / 2 / 3]),
        ],
        ids=lambda value: name_of(value) if hasattr(value, "name") else "",
    )
    def test_masked_steps_do_not_count(self, loss, outputs, expected):
        junk = np.where(MASK[:, :, None], outputs, np.nan)
        with_mask = tf.constant(junk)
        with_mask._keras_mask = tf.constant(MASK)
        actual = {
            "attached mask": of_each(loss, LABELS, with_mask),
            "sample_weight": of_each(loss, LABELS, junk, sample_weight=MASK.astype("float32")),
        }
        for name, values in actual.items():
            np.testing.assert_allclose(values, expected, rtol=1e-6, err_msg=name)

    def test_populations(self):
        # Classes 0 and 1 have three outputs each: counts 3 and 2, of 2 x 3.
        spikes = np.array([[[1, 0, 1, 0, 0, 1], [0, 0, 1, 1, 0, 0]]], "float32")
        label = np.array([1])
        for loss, expected in [
            (CountCrossentropy(3), softplus(3 - 2)),
            (RateCrossentropy(6, population=3), softplus(1)),
            (StepCrossentropy(3), (softplus(2 - 1) + softplus(1 - 1)) / 2),
            # Target counts 0.5 x 6 and 1 x 6.
            (CountMeanSquaredError(1, 0.5, population=3), ((3 - 3) ** 2 + (2 - 6) ** 2) / 2 / 2),
        ]:
            assert float(loss(label, spikes)) == pytest.approx(expected, rel=1e-6)

    def test_weighted_steps(self):
        weights = np.array([[1, 0.5, 0, 2], [1, 1, 1, 1]], "float32")
        # Counts 3.5 and 0.5, of weights 3.5.
        values = of_each(CountCrossentropy(), LABELS, SPIKES, sample_weight=weights)
        np.testing.assert_allclose(values, [softplus(0.5 - 3.5), softplus(2)], rtol=1e-6, atol=1e-6)
        values = of_each(RateCrossentropy(7), LABELS, SPIKES, sample_weight=weights)
        np.testing.assert_allclose(values, [softplus(1 - 7), softplus(3.5)], rtol=1e-6, atol=1e-6)
        values = of_each(StepCrossentropy(), LABELS, SPIKES, sample_weight=weights)
        first = (3 * softplus(-1) + 0.5 * softplus(0)) / 3.5
        np.testing.assert_allclose(
            values, [first, (softplus(1) + softplus(0)) / 2], rtol=1e-6, atol=1e-6
        )


class TestAllLosses:
    @every_loss
    def test_kinds_of_targets(self, loss):
        labels = np.array([0, 2])
        outputs = np.random.default_rng(0).random((2, 6, 3), "float32")
        expected = of_each(loss, labels, outputs)
        assert expected[0] != expected[1]
        for targets in (labels[:, None], labels.astype("float32"), np.eye(3)[labels]):
            np.testing.assert_allclose(of_each(loss, targets, outputs), expected, rtol=1e-6)

    @every_loss
    @pytest.mark.parametrize("weights", [np.array([2.0, 0.5]), np.array([[2.0], [0.5]])])
    def test_weights_of_sequences(self, loss, weights):
        values = of_each(loss, LABELS, SPIKES)
        weighted = of_each(loss, LABELS, SPIKES, sample_weight=weights)
        np.testing.assert_allclose(weighted, values * [2, 0.5], rtol=1e-6)

    @every_loss
    def test_a_sequence_that_is_masked_entirely_has_loss_0(self, loss):
        mask = np.array([[1, 1, 1, 1], [0, 0, 0, 0]], "float32")
        outputs = tf.constant(np.where(mask[:, :, None] > 0, SPIKES, np.nan))
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            total = loss(LABELS, outputs, sample_weight=mask)
        assert float(total) == pytest.approx(of_each(loss, LABELS, SPIKES)[0] / 2, rel=1e-6)
        gradient = tape.gradient(total, outputs).numpy()
        assert np.isfinite(gradient).all()
        assert not gradient[1].any()
        assert gradient[0].any()

    @every_loss
    @pytest.mark.parametrize("mask", [None, MASK])
    def test_gradients_equal_finite_differences(self, loss, mask):
        outputs = np.random.default_rng(1).normal(size=(2, 4, 3))
        labels = np.array([2, 0])
        exact = type(loss)(**{**loss.get_config(), "dtype": "float64"})
        weight = None if mask is None else mask.astype("float64")
        x = tf.constant(outputs)
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = exact(labels, x, sample_weight=weight)
        assert total.dtype == "float64"
        gradient = tape.gradient(total, x).numpy()
        for index in np.ndindex(outputs.shape):
            step = np.zeros_like(outputs)
            step[index] = 1e-6
            above, below = (
                float(exact(labels, outputs + sign * step, sample_weight=weight))
                for sign in (1, -1)
            )
            assert gradient[index] == pytest.approx((above - below) / 2e-6, abs=1e-8)

    @every_loss
    @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
    def test_half_precision_is_summed_in_float32(self, loss, dtype):
        # In float16 2048 + 1 is 2048.
        spikes = np.zeros((1, 4100, 2), "float32")
        spikes[0, :, 0] = 1
        spikes[0, :4097, 1] = 1
        expected = float(loss(np.array([0]), spikes))
        assert 0 < expected < 2000
        for made in (loss, type(loss)(**{**loss.get_config(), "dtype": dtype})):
            value = made(np.array([0]), tf.cast(spikes, dtype))
            assert value.dtype == "float32"
            assert float(value) == pytest.approx(expected, rel=1e-5)

    @every_loss
    def test_config(self, loss):
        config = json.loads(json.dumps(keras.losses.serialize(loss)))
        loaded = keras.losses.deserialize(config)
        assert type(loaded) is type(loss)
        assert loaded.get_config() == loss.get_config()

    @every_loss
    def test_outputs_without_steps_are_refused(self, loss):
        with pytest.raises(
            ValueError, match=rf"{type(loss).__name__} needs outputs of shape.*\(2, 2\)"
        ):
            loss(LABELS, SPIKES[:, 0])
        with pytest.raises(ValueError, match=r"needs outputs of shape.*return_sequences"):
            loss(LABELS, SPIKES[:, 0].tolist())

    @every_loss
    def test_targets_of_another_shape_are_refused(self, loss):
        with pytest.raises(ValueError, match=r"labels of shape \(batch,\).*\(batch, 2\).*\(2, 3\)"):
            loss(np.zeros((2, 3)), SPIKES)


@pytest.mark.parametrize(
    "make,message",
    [
        (
            lambda: CountCrossentropy(0),
            "CountCrossentropy: `population` must be a positive integer",
        ),
        (lambda: SpikeCountAccuracy(1.5), "SpikeCountAccuracy: `population`.*population=1.5"),
        (lambda: RateCrossentropy(0), "RateCrossentropy: `scale` must be a finite number above 0"),
        (lambda: RateCrossentropy(np.inf), "`scale` must be a finite number"),
        (lambda: MembraneCrossentropy("first"), "`at` must be one of last, max, mean.*'first'"),
        (lambda: MembraneAccuracy("first"), "MembraneAccuracy: `at` must be one of"),
        (lambda: MembraneReadout(2, at="first"), "MembraneReadout: `at` must be one of"),
        (lambda: CountMeanSquaredError(1.5), "`correct_rate` must be from 0 to 1.*=1.5"),
        (lambda: CountMeanSquaredError(1, -1), "`incorrect_rate` must be from 0 to 1"),
        (lambda: CountCrossentropy(3)(LABELS, SPIKES), "multiple of `population`.*2 outputs.*=3"),
    ],
)
def test_arguments_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()


class TestLabels:
    METRICS = [SpikeCountAccuracy(), MembraneAccuracy()]
    OUTPUTS = np.zeros((2, 4, 3), "float32")
    each = pytest.mark.parametrize("target", [*ALL, *METRICS], ids=name_of)

    @each
    @pytest.mark.parametrize("label", [3, -1, 2**32, 0.5])
    def test_that_are_no_class_are_refused(self, target, label):
        message = f"{type(target).__name__}: labels must be from 0 to 2.*Received the label {label}"
        for labels in ([0, label], [[0], [label]]):
            with pytest.raises(ValueError, match=message):
                target(np.array(labels), self.OUTPUTS)
        target(np.array([0, 2]), self.OUTPUTS)

    @each
    @pytest.mark.parametrize("label", [3, -1])
    def test_in_graphs(self, target, label):
        call = target.update_state if target in self.METRICS else target
        with pytest.raises(tf.errors.InvalidArgumentError, match="labels must be from 0 to 2"):
            tf.function(call)(tf.constant([0, label]), tf.constant(self.OUTPUTS))

    @pytest.mark.parametrize("loss", ALL, ids=name_of)
    def test_in_xla_the_loss_is_nan(self, loss):
        compiled = tf.function(loss, jit_compile=True)
        assert math.isfinite(compiled(tf.constant([0, 2]), tf.constant(self.OUTPUTS)))
        assert math.isnan(compiled(tf.constant([0, 3]), tf.constant(self.OUTPUTS)))

    @pytest.mark.parametrize("metric", METRICS, ids=name_of)
    def test_in_xla_the_answer_is_wrong(self, metric):
        compiled = tf.function(metric.update_state, jit_compile=True)
        metric.reset_state()
        # Silent networks answer 0.
        compiled(tf.constant([0, 3]), tf.constant(self.OUTPUTS))
        assert float(metric.result()) == 0.5

    @each
    def test_weights_that_do_not_fit_are_refused(self, target):
        call = target.update_state if target in self.METRICS else target
        for weights in (np.ones(3), np.ones((2, 3)), np.ones((2, 4, 3))):
            with pytest.raises(ValueError, match=r"`sample_weight` must have shape \(batch,\)"):
                call(np.array([0, 2]), self.OUTPUTS, sample_weight=weights)

    @each
    def test_of_another_number_are_refused(self, target):
        outputs = np.zeros((4, 5, 3), "float32")
        for targets in (np.array([0, 1]), np.eye(3)[:2]):
            with pytest.raises(ValueError, match="one target for each.*2 targets for 4 sequences"):
                target(targets, outputs)


class TestAccuracy:
    @pytest.mark.parametrize(
        "metric,labels,expected",
        [
            (SpikeCountAccuracy(), [0, 0], 0.5),
            (SpikeCountAccuracy(), [0, 1], 1.0),
            (MembraneAccuracy(), [0, 1], 0.5),
            (MembraneAccuracy("max"), [0, 1], 1.0),
            (MembraneAccuracy("mean"), [1, 0], 0.0),
        ],
    )
    def test_by_hand(self, metric, labels, expected):
        outputs = SPIKES if isinstance(metric, SpikeCountAccuracy) else MEMBRANES
        for targets in (np.array(labels), np.eye(2)[labels]):
            metric.reset_state()
            metric.update_state(targets, outputs)
            assert float(metric.result()) == expected

    def test_populations_and_ties(self):
        spikes = np.array([[[1, 0, 1, 0, 0, 1], [0, 0, 1, 1, 0, 0]], np.zeros((2, 6))], "float32")
        for labels, expected in (([0, 0], 1.0), ([1, 1], 0.0)):
            metric = SpikeCountAccuracy(3)
            metric.update_state(np.array(labels), spikes)
            assert float(metric.result()) == expected

    def test_masks_and_weights(self):
        # Without the last step of the first sequence its answer is 1.
        spikes = np.array([[[0, 1], [1, 0], [1, 0]], [[0, 1], [0, 0], [0, 0]]], "float32")
        mask = np.array([[1, 0, 0], [1, 1, 1]], "float32")
        with_mask = tf.constant(np.where(mask[:, :, None] > 0, spikes, np.nan))
        with_mask._keras_mask = tf.constant(mask, "bool")
        for outputs, weight, expected in (
            (spikes, None, 0.5),
            (spikes, mask, 1.0),
            (with_mask, None, 1.0),
            (spikes, np.array([3.0, 1.0]), 0.25),
            (spikes, np.array([[0.0] * 3, [1.0] * 3]), 1.0),
        ):
            metric = SpikeCountAccuracy()
            metric.update_state(np.array([1, 1]), outputs, sample_weight=weight)
            assert float(metric.result()) == expected

    @pytest.mark.parametrize("metric", [SpikeCountAccuracy(3), MembraneAccuracy("max")])
    def test_config(self, metric):
        loaded = keras.metrics.deserialize(keras.metrics.serialize(metric))
        assert loaded.get_config() == metric.get_config()


class TestTraining:
    # Three classes of noisy patterns.
    y = np.arange(24) % 3
    x = 2 * np.random.default_rng(0).random((3, 12, 8), "float32")[y]
    x += np.random.default_rng(1).normal(0, 0.3, x.shape).astype("float32")
    padded = np.concatenate([x, np.zeros((24, 4, 8), "float32")], axis=1)

    def network(self, loss, head, dtype=None, **arguments):
        keras.utils.set_random_seed(2)
        inputs = keras.Input((None, 8))
        hidden = RLIF(24, return_sequences=True, dtype=dtype)(keras.layers.Masking()(inputs))
        network = keras.Model(inputs, head(hidden))
        network.compile(keras.optimizers.Adam(0.02), loss, **arguments)
        return network

    @pytest.mark.parametrize("dtype,jit_compile", [(None, False), ("mixed_float16", True)])
    def test_masks_of_a_model_reach_loss_and_metric(self, dtype, jit_compile):
        head = RLIF(3, return_sequences=True, dtype=dtype)
        network = self.network(
            CountCrossentropy(),
            head,
            dtype,
            metrics=[SpikeCountAccuracy()],
            jit_compile=jit_compile,
        )
        alone = network.evaluate(self.x, self.y, batch_size=24, verbose=0)
        padded = network.evaluate(self.padded, self.y, batch_size=24, verbose=0)
        assert padded == pytest.approx(alone, rel=1e-3)
        junk = np.concatenate([self.x, self.x[:, :4]], axis=1)
        weights = np.tile(np.arange(16) < 12, (24, 1)).astype("float32")
        weighted = network.evaluate(junk, self.y, sample_weight=weights, batch_size=24, verbose=0)
        assert weighted[0] == pytest.approx(alone[0], rel=1e-3)
        unweighted = network.evaluate(junk, self.y, batch_size=24, verbose=0)
        assert unweighted[0] != pytest.approx(alone[0], rel=1e-3)

    @every_loss
    def test_each_loss_teaches(self, loss):
        of_membranes = isinstance(loss, MembraneCrossentropy)
        head = MembraneReadout if of_membranes else RLIF
        metric = MembraneAccuracy(loss.at) if of_membranes else SpikeCountAccuracy()
        network = self.network(loss, head(3, return_sequences=True))
        before = loss(self.y, network(self.x))
        x, y = np.tile(self.x, (40, 1, 1)), np.tile(self.y, 40)
        network.fit(x, y, batch_size=24, shuffle=False, verbose=0)
        outputs = network(self.x)
        assert loss(self.y, outputs) < 0.8 * before
        assert metric(self.y, outputs) > 0.8

    def test_a_compiled_model_is_saved(self, tmp_path):
        network = self.network(
            CountCrossentropy(), RLIF(3, return_sequences=True), metrics=[SpikeCountAccuracy()]
        )
        before = network.evaluate(self.x, self.y, verbose=0)
        network.save(tmp_path / "n.keras")
        loaded = keras.saving.load_model(tmp_path / "n.keras")
        assert loaded.evaluate(self.x, self.y, verbose=0) == pytest.approx(before)
