"""Static inputs as sequences: functions, and layers that call them."""

import math
import numbers

import keras
from keras import ops


def _title(layer):
    return f"{type(layer).__name__} '{layer.name}'"


def _checked_steps(title, steps):
    if isinstance(steps, bool) or not isinstance(steps, numbers.Integral) or steps <= 0:
        raise ValueError(
            f"{title}: `steps` must be a positive integer, the number of time steps to make. "
            f"Received: steps={steps!r}"
        )
    return int(steps)


def _checked_number(title, name, value, meaning, below=math.inf):
    if not (isinstance(value, numbers.Real) and 0 < value < below):
        limits = "finite number greater than 0" if below == math.inf else "number between 0 and 1"
        raise ValueError(
            f"{title}: `{name}` must be a {limits}, {meaning}. Received: {name}={value!r}"
        )
    return float(value)


def _checked_gain(title, gain):
    return _checked_number(title, "gain", gain, "the spikes per step at intensity 1")


def _floating(x):
    """`x` as a tensor of floats and the dtype to compute in, which is not a half precision."""
    x = ops.convert_to_tensor(x)
    dtype = keras.backend.standardize_dtype(x.dtype)
    if not keras.backend.is_float_dtype(dtype):
        x = ops.cast(x, keras.config.floatx())
        dtype = keras.config.floatx()
    return x, "float32" if dtype in ("float16", "bfloat16") else dtype


def _repeated(inputs, steps):
    """Returns `inputs` of shape `(batch, ...)` as `(batch, steps, ...)`."""
    repeats = (1, steps, *[1] * (len(inputs.shape) - 1))
    return ops.tile(ops.expand_dims(inputs, 1), repeats)


def rate(x, steps, gain=1.0, seed=None):
    """Rate code: at each step a spike with a probability proportional to the intensity.

    The spike at each step is an independent Bernoulli variable with the probability
    `clip(gain * x, 0, 1)`, which is a Poisson process in discrete time. *Spike-based computation
    using classical recurrent neural networks* (2023), section 4.1, has a gain of 0.25.

    Args:
        x: Intensities, array or tensor of shape `(batch, ...)`, usually between 0 and 1.
        steps: Positive integer, number of time steps.
        gain: Spikes per step at intensity 1; positive.
        seed: Seed of the spikes, an integer or a `keras.random.SeedGenerator`.

    Returns:
        Spikes, 0 or 1, of shape `(batch, steps, ...)` and the dtype of `x` if that is a floating
        point one.

    Raises:
        ValueError: If an argument is out of range.
    """
    steps, gain = _checked_steps("rate()", steps), _checked_gain("rate()", gain)
    # Half precision is too coarse for a probability: below 1/2048 it has too few values.
    x, dtype = _floating(x)
    probability = _repeated(ops.cast(x, dtype) * gain, steps)
    uniform = keras.random.uniform(ops.shape(probability), dtype=dtype, seed=seed)
    # `uniform` is in [0, 1): never for a probability of 0 or less, always for 1 or more.
    return ops.cast(uniform < probability, x.dtype)


def latency(x, steps, tau=10.0, threshold=0.01, normalize=True, clip=True):
    r"""Latency code: at most one spike, the earlier the higher the intensity.

    The spike is at the step $t$ in which a linearized RC circuit that is charged with the current
    $I$ reaches its threshold,

    $$t = \min\left(-\tau (I - 1),\ -\tau (V_{th} - 1)\right),$$

    rounded to an integer, a half to the even one. An intensity of 1 or more spikes at the first
    step.

    Args:
        x: Intensities $I$, array or tensor of shape `(batch, ...)`, usually between 0 and 1.
        steps: Positive integer, number of time steps.
        tau: $\tau$, time constant in steps; without effect if `normalize`.
        threshold: $V_{th}$, above 0 and below 1.
        normalize: Whether $\tau$ is `steps - 1`, so that the code has all steps but those that are
            below the threshold. Otherwise an intensity whose $t$ is beyond the last step has no
            spike.
        clip: Whether intensities below the threshold have no spike, or that of the threshold.

    Returns:
        Spikes, 0 or 1, of shape `(batch, steps, ...)` and the dtype of `x` if that is a floating
        point one.

    Raises:
        ValueError: If an argument is out of range.

    Reference:
        *Spike-based computation using classical recurrent neural networks* (2023), section 4.1,
        where the spikes are those of snnTorch's `spikegen.latency(linear=True)`.
    """
    steps, tau, threshold = _checked_latency("latency()", steps, tau, threshold)
    x, dtype = _floating(x)
    intensity = ops.minimum(ops.cast(x, dtype), 1)
    if normalize:
        tau = steps - 1
    time = ops.round(ops.minimum(-tau * (intensity - 1), -tau * (threshold - 1)))
    if clip:
        time = ops.where(intensity < threshold, -1, time)
    # Comparing floats: an integer type may not hold the time of a large `tau`.
    each = ops.reshape(ops.arange(steps, dtype=dtype), (steps, *[1] * (len(x.shape) - 1)))
    return ops.cast(ops.expand_dims(time, 1) == each, x.dtype)


def _checked_latency(title, steps, tau, threshold):
    return (
        _checked_steps(title, steps),
        _checked_number(title, "tau", tau, "the time constant in steps"),
        _checked_number(title, "threshold", threshold, "the smallest intensity to tell", below=1),
    )


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class PoissonEncoder(keras.layers.Layer):
    """Rate code: at each step a spike with a probability proportional to the intensity.

    It is `rate`: the spike at each step is an independent Bernoulli variable with the probability
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
        self.steps = _checked_steps(_title(self), steps)
        self.gain = _checked_gain(_title(self), gain)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs):
        """Draws the spikes: see the class."""
        inputs = ops.cast(inputs, self.compute_dtype)
        return rate(inputs, self.steps, gain=self.gain, seed=self.seed_generator)

    def compute_output_shape(self, input_shape):
        """Returns the shape with the steps as axis 1."""
        return (input_shape[0], self.steps, *input_shape[1:])

    def get_config(self):
        """Returns the arguments of the constructor as a dictionary."""
        config = {"steps": self.steps, "gain": self.gain, "seed": self.seed}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class LatencyEncoder(keras.layers.Layer):
    """Latency code: at most one spike, the earlier the higher the intensity.

    It is `latency`. No gradient passes.

    Args:
        steps: Positive integer, number of time steps.
        tau: Time constant in steps; without effect if `normalize`.
        threshold: Intensity above 0 and below 1 with the latest spike.
        normalize: Whether to spread the spikes over all steps.
        clip: Whether intensities below the threshold have no spike, or that of the threshold.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Intensities, tensor of shape `(batch, ...)`, usually between 0 and 1.

    Returns:
        Spikes, 0 or 1, of shape `(batch, steps, ...)`.

    Raises:
        ValueError: If an argument is out of range.

    Reference:
        *Spike-based computation using classical recurrent neural networks* (2023), section 4.1 and
        appendix A.
    """

    def __init__(self, steps, tau=10.0, threshold=0.01, normalize=True, clip=True, **kwargs):
        super().__init__(**kwargs)
        # Half precision would move spikes: 1/2048 below 1 is a tenth of a step of 200.
        self.autocast = False
        self.steps, self.tau, self.threshold = _checked_latency(_title(self), steps, tau, threshold)
        self.normalize = bool(normalize)
        self.clip = bool(clip)

    def call(self, inputs):
        """Makes the spikes: see the class."""
        spikes = latency(inputs, self.steps, self.tau, self.threshold, self.normalize, self.clip)
        return ops.cast(spikes, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        """Returns the shape with the steps as axis 1."""
        return (input_shape[0], self.steps, *input_shape[1:])

    def get_config(self):
        """Returns the arguments of the constructor as a dictionary."""
        config = {
            name: getattr(self, name) for name in ("steps", "tau", "threshold", "normalize", "clip")
        }
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
        self.steps = _checked_steps(_title(self), steps)

    def call(self, inputs):
        """Repeats the inputs: see the class."""
        return _repeated(inputs, self.steps)

    def compute_output_shape(self, input_shape):
        """Returns the shape with the steps as axis 1."""
        return (input_shape[0], self.steps, *input_shape[1:])

    def get_config(self):
        """Returns the arguments of the constructor as a dictionary."""
        return {**super().get_config(), "steps": self.steps}
