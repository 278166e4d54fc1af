"""Layers that turn static inputs into sequences."""

import math
import numbers

import keras
from keras import ops


def _checked_steps(layer, steps):
    if isinstance(steps, bool) or not isinstance(steps, numbers.Integral) or steps <= 0:
        raise ValueError(
            f"{type(layer).__name__} '{layer.name}': `steps` must be a positive integer, the "
            f"number of time steps to make. Received: steps={steps!r}"
        )
    return int(steps)


def _repeated(inputs, steps):
    """Returns `inputs` of shape `(batch, ...)` as `(batch, steps, ...)`."""
    repeats = (1, steps, *[1] * (len(inputs.shape) - 1))
    return ops.tile(ops.expand_dims(inputs, 1), repeats)


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class PoissonEncoder(keras.layers.Layer):
    """Rate code: at each step a spike with a probability proportional to the intensity.

    The spike at each step is an independent Bernoulli variable with the probability
    `clip(gain * intensity, 0, 1)`, which is a Poisson process in discrete time. It is drawn anew at
    each call, at inference too.

    Args:
        steps: Positive integer, number of time steps.
        gain: Spikes per step at intensity 1; positive.
        seed: Seed of the spikes.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Intensities, tensor of shape `(batch, ...)`, usually between 0 and 1.

    Returns:
        Spikes, 0 or 1, of shape `(batch, steps, ...)`.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(self, steps, gain=1.0, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.steps = _checked_steps(self, steps)
        if not (isinstance(gain, numbers.Real) and 0 < gain < math.inf):
            raise ValueError(
                f"PoissonEncoder '{self.name}': `gain` must be a finite number greater than 0, "
                f"the spikes per step at intensity 1. Received: gain={gain!r}"
            )
        self.gain = float(gain)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs):
        """Draws the spikes: see the class."""
        # Half precision is too coarse for a probability: below 1/2048 it has too few values.
        dtype = self.compute_dtype
        draw_dtype = "float32" if dtype in ("float16", "bfloat16") else dtype
        probability = _repeated(ops.cast(inputs, draw_dtype) * self.gain, self.steps)
        uniform = keras.random.uniform(
            ops.shape(probability), dtype=draw_dtype, seed=self.seed_generator
        )
        # `uniform` is in [0, 1): never for a probability of 0 or less, always for 1 or more.
        return ops.cast(uniform < probability, dtype)

    def compute_output_shape(self, input_shape):
        """Returns the shape with the steps as axis 1."""
        return (input_shape[0], self.steps, *input_shape[1:])

    def get_config(self):
        """Returns the arguments of the constructor as a dictionary."""
        config = {"steps": self.steps, "gain": self.gain, "seed": self.seed}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class DirectEncoder(keras.layers.Layer):
    """Direct code: the analog input at each step.

    The first spiking layer turns it into spikes, with its own weights.

    Args:
        steps: Positive integer, number of time steps.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Tensor of shape `(batch, ...)`.

    Returns:
        Tensor of shape `(batch, steps, ...)`.

    Raises:
        ValueError: If `steps` is not a positive integer.
    """

    def __init__(self, steps, **kwargs):
        super().__init__(**kwargs)
        self.steps = _checked_steps(self, steps)

    def call(self, inputs):
        """Repeats the inputs: see the class."""
        return _repeated(inputs, self.steps)

    def compute_output_shape(self, input_shape):
        """Returns the shape with the steps as axis 1."""
        return (input_shape[0], self.steps, *input_shape[1:])

    def get_config(self):
        """Returns the arguments of the constructor as a dictionary."""
        return {**super().get_config(), "steps": self.steps}
