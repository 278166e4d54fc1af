"""Activations that integer hardware can compute."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_spiking_rnn import GatedLIF, GatedLIFCell, activations
from keras_spiking_rnn.activations import plan_sigmoid
from lava_export import arithmetic


class TestPlanSigmoid:
    def test_on_the_grid_it_is_that_of_the_integers(self):
        x = np.arange(-8 * 4096, 8 * 4096 + 1)
        y = plan_sigmoid((x / 4096).astype("float32")).numpy()
        np.testing.assert_array_equal(y, arithmetic.sigmoid(x) / 4096)

    def test_between_it_is_at_most_one_step_away(self):
        x = np.random.default_rng(0).uniform(-8, 8, 10_000).astype("float32")
        y = plan_sigmoid(x).numpy()
        near = arithmetic.sigmoid(np.floor(4096 * x.astype(float)).astype(int)) / 4096
        assert 0 < np.abs(y - near).max() <= 1 / 4096

    def test_its_error(self):
        x = np.linspace(-10, 10, 200_001).astype("float32")
        error = np.abs(plan_sigmoid(x).numpy() - 1 / (1 + np.exp(-x.astype(float))))
        assert 0.0188 < error.max() < 0.0190

    def test_it_is_symmetric_and_rises_but_for_one_step_down_on_each_side(self):
        x = np.linspace(-10, 10, 20_001).astype("float32")
        y = plan_sigmoid(x).numpy()
        falls = np.diff(y) < 0
        np.testing.assert_allclose(x[1:][falls], [-2.374, 2.375], atol=2e-3)
        np.testing.assert_allclose(np.diff(y)[falls], -1 / 256, atol=2 / 4096)
        assert (y[0], y[-1], plan_sigmoid(0.0).numpy()) == (0, 1, 0.5)
        np.testing.assert_array_equal(plan_sigmoid(-x).numpy(), 1 - y)

    def test_its_gradient_is_the_slope_of_the_lines(self):
        x = tf.constant([-6.0, -3.0, -1.5, -0.5, 0.0, 0.5, 1.5, 3.0, 6.0])
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = plan_sigmoid(x)
        slopes = [0, 1 / 32, 1 / 8, 1 / 4, 1 / 4, 1 / 4, 1 / 8, 1 / 32, 0]
        np.testing.assert_array_equal(tape.gradient(y, x), slopes)

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
    def test_it_keeps_the_dtype(self, dtype):
        x = tf.cast([-6.0, 0.0, 0.5, 6.0], dtype)
        y = plan_sigmoid(x)
        assert y.dtype == dtype
        np.testing.assert_array_equal(tf.cast(y, "float32"), [0, 0.5, 0.625, 1])


class TestGet:
    def test_names_and_functions(self):
        assert activations.get("plan_sigmoid") is plan_sigmoid
        assert activations.get(plan_sigmoid) is plan_sigmoid
        assert activations.get("sigmoid") is keras.activations.sigmoid

    def test_an_unknown_name(self):
        with pytest.raises(ValueError, match="no_such"):
            activations.get("no_such")

    @pytest.mark.parametrize("name", ["sigmoid", "plan_sigmoid"])
    def test_a_configuration_holds_it(self, name):
        for layer in (GatedLIF(3, gate_activation=name), GatedLIFCell(3, gate_activation=name)):
            again = type(layer).from_config(layer.get_config())
            assert again.get_config() == layer.get_config()
            assert again.gate_activation is activations.get(name)


def test_it_is_the_gate_of_gated_lif():
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
    layer = GatedLIF(4, gate_activation="plan_sigmoid", kernel_initializer="ones")
    layer.build(x.shape)
    _, _, inside = layer.cell.step(x[:, 0], layer.cell.get_initial_state(2))
    expected = plan_sigmoid((x[:, 0] @ np.ones((3, 8), "float32"))[:, :4])
    np.testing.assert_allclose(inside["forget"], expected, atol=1e-6)
