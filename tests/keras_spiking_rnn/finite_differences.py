"""Gradients of a layer against the slopes of its outputs."""

import numpy as np
import tensorflow as tf

from keras_spiking_rnn import surrogates


class Smooth(surrogates.Surrogate):
    """Forward the function whose derivative the surrogate is."""

    def __init__(self, surrogate, primitive):
        self.surrogate, self.primitive = surrogate, primitive

    def __call__(self, x):
        @tf.custom_gradient
        def spike(x):
            return self.primitive(x), lambda upstream: upstream * self.surrogate.derivative(x)

        return spike(x)


def finite_differences(loss, variable, step=1e-5):
    """Slopes of `loss()` with respect to each element of a variable."""
    at, slopes = variable.numpy(), []
    for index in np.ndindex(at.shape):
        sides = []
        for sign in (1, -1):
            moved = at.copy()
            moved[index] += sign * step
            variable.assign(moved)
            sides.append(float(loss()))
        slopes.append((sides[0] - sides[1]) / (2 * step))
    variable.assign(at)
    return np.reshape(slopes, at.shape)


def assert_gradients_are_slopes(layer, X):  # noqa: N803
    """Compares the gradients of a random sum of all outputs of a built float64 layer."""
    random = np.random.default_rng(0)
    X = tf.Variable(X)
    weights_of_loss = [random.normal(size=outputs.shape) for outputs in layer(X)]

    @tf.function
    def loss():
        return sum(tf.reduce_sum(w * y) for w, y in zip(weights_of_loss, layer(X), strict=True))

    variables = {"X": X, **{weight.name: weight.value for weight in layer.trainable_weights}}
    with tf.GradientTape() as tape:
        value = loss()
    for name, gradient in tape.gradient(value, variables).items():
        expected = finite_differences(loss, variables[name])
        assert np.abs(expected).max() > 1e-3, name
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8, err_msg=name)
