"""Static inputs as sequences: functions, and layers that call them."""

import math

import keras
from keras import ops

from keras_spiking_rnn import checks


def _title(layer):
    return f"{type(layer).__name__} '{layer.name}'"


def _checked_steps(title, steps):
    return checks.positive_integer(title, "steps", steps, "the number of time steps to make")


def _checked_number(title, name, value, meaning, below=math.inf):
    if not checks.is_number(value, 0, below, open_low=True, open_high=True):
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


def on_off(x, low=0.0, high=1.0, off="complement", seed=None):
    """ON and OFF events of a signal: at each step and for each value an ON spike, or an OFF spike.

    A value is the probability of an ON spike: 0 at `low` and below, 1 at `high` and above. Its OFF
    neuron spikes with the complement of this probability. Unlike `rate` it makes no steps: those of
    the signal stay.

    *Long Short-Term Memory Spiking Networks and Their Applications* (2020), section 4.1, converts
    samples "into ON- and OFF-event based values using Poisson process", where a value "shows the
    probability that it emits a spike". The authors' code for images draws one spike for each value
    and has no OFF neurons, `off=None`. The paper's signal, 0.5 sin 3x + 0.5 sin 6x + 1, exceeds 1:
    pass its range as `low` and `high`.

    Args:
        x: Values, array or tensor of shape `(batch, ..., features)`, such as
            `(batch, steps, features)`.
        low: Value that never has an ON spike.
        high: Value that always has one; above `low`.
        off: `"complement"` for an OFF spike where there is no ON spike, so that each value has one
            of them; `"independent"` for OFF spikes that are drawn by themselves; `None` for no OFF
            neurons.
        seed: Seed of the spikes, an integer or a `keras.random.SeedGenerator`.

    Returns:
        Spikes, 0 or 1, of shape `(batch, ..., 2 * features)`: those of the OFF neurons, then those
        of the ON neurons, as the polarities of `keras_spiking_rnn.events`. Without OFF neurons the
        shape is that of `x`. The dtype is that of `x` if it is a floating point one.

    Raises:
        ValueError: If an argument is out of range, or `x` has no axis of features.
    """
    low, high, off = _checked_on_off("on_off()", low, high, off)
    x, dtype = _floating(x)
    _features("on_off()", x.shape)
    probability = (ops.cast(x, dtype) - low) / (high - low)
    # In one draw: with an integer as the seed a second one would be the same.
    shape = (2 if off == "independent" else 1, *ops.shape(x))
    uniform = keras.random.uniform(shape, dtype=dtype, seed=seed)
    on = uniform[0] < probability
    if off is None:
        return ops.cast(on, x.dtype)
    off = ops.logical_not(on) if off == "complement" else uniform[1] < 1 - probability
    return ops.cast(ops.concatenate([off, on], axis=-1), x.dtype)


def _checked_on_off(title, low, high, off):
    if not (checks.is_number(low) and checks.is_number(high) and low < high):
        raise ValueError(
            f"{title}: `low` and `high` must be finite numbers, `low` below `high`. Received: "
            f"low={low!r}, high={high!r}"
        )
    off = checks.either(title, "off", off, ("complement", "independent", None))
    return float(low), float(high), off


def _features(title, shape, dimensions=2):
    """Number of features, the last of `dimensions` axes or more."""
    if len(shape) < dimensions:
        expected = "(batch, ..., features)" if dimensions == 2 else "(batch, steps, ..., features)"
        raise ValueError(
            f"{title}: the inputs must have shape {expected}. Received the shape {tuple(shape)}."
        )
    return shape[-1]


def _twice(features):
    return None if features is None else 2 * features


def delta(x, threshold=0.1, padding=False, off_spike=False):
    """Delta code: a spike at each step at which the signal has risen by the threshold or more.

    The change is that from the step before, so that a slow rise never spikes. It is the code of
    snnTorch's `spikegen.delta`, but for the order of axes.

    Args:
        x: Signal, array or tensor of shape `(batch, steps, ...)`.
        threshold: Smallest change that spikes; above 0.
        padding: Whether the first step is compared with itself, and has no spike, instead of with
            0.
        off_spike: Whether a step at which the signal has fallen by the threshold or more has a
            spike of -1; or `"neurons"` for spikes of 1 by neurons of their own.

    Returns:
        Spikes of the shape of `x`, 0 or 1, or -1. With `off_spike="neurons"` they are 0 or 1, of
        shape `(batch, steps, ..., 2 * features)`: the OFF neurons, then the ON neurons. The dtype
        is that of `x` if it is a floating point one.

    Raises:
        ValueError: If an argument is out of range, or `x` has no axis of steps, or of features for
            `off_spike="neurons"`.
    """
    threshold, off_spike = _checked_delta("delta()", threshold, off_spike)
    x, dtype = _floating(x)
    _features("delta()", x.shape, dimensions=3 if off_spike == "neurons" else 2)
    values = ops.cast(x, dtype)
    first = values[:, :1] if padding else ops.zeros_like(values[:, :1])
    change = values - ops.concatenate([first, values[:, :-1]], axis=1)
    on, off = ops.cast(change >= threshold, x.dtype), ops.cast(change <= -threshold, x.dtype)
    if off_spike == "neurons":
        return ops.concatenate([off, on], axis=-1)
    return on - off if off_spike else on


def _checked_delta(title, threshold, off_spike):
    checks.either(title, "off_spike", off_spike, (False, True, "neurons"))
    return _checked_number(title, "threshold", threshold, "the smallest change to spike"), off_spike


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


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class OnOffPoissonEncoder(keras.layers.Layer):
    """ON and OFF events of a signal: at each step and for each value an ON spike, or an OFF spike.

    It is `on_off`: a value is the probability of an ON spike, and its complement that of an OFF
    spike. It is drawn anew at each call, at inference too. No gradient passes.

    Args:
        low: Value that never has an ON spike.
        high: Value that always has one; above `low`.
        off: `"complement"`, `"independent"`, or `None` for no OFF neurons; see `on_off`.
        seed: Seed of the spikes.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Values, tensor of shape `(batch, ..., features)`.

    Returns:
        Spikes, 0 or 1, of shape `(batch, ..., 2 * features)`: the OFF neurons, then the ON neurons.
        Without OFF neurons the shape is that of the inputs.

    Raises:
        ValueError: If an argument is out of range, or the inputs have no axis of features.

    Reference:
        *Long Short-Term Memory Spiking Networks and Their Applications* (2020), section 4.1.
    """

    def __init__(self, low=0.0, high=1.0, off="complement", seed=None, **kwargs):
        super().__init__(**kwargs)
        # Half precision is too coarse for a probability.
        self.autocast = False
        self.low, self.high, self.off = _checked_on_off(_title(self), low, high, off)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True

    def call(self, inputs):
        """Draws the spikes: see the class."""
        spikes = on_off(inputs, self.low, self.high, self.off, seed=self.seed_generator)
        return ops.cast(spikes, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        """Returns the shape with twice the features, if there are OFF neurons."""
        features = _features(_title(self), input_shape)
        return (*input_shape[:-1], features if self.off is None else _twice(features))

    def get_config(self):
        """Returns the arguments of the constructor as a dictionary."""
        config = {name: getattr(self, name) for name in ("low", "high", "off", "seed")}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class DeltaEncoder(keras.layers.Layer):
    """Delta code: a spike at each step at which the signal has risen by the threshold or more.

    It is `delta`. No gradient passes.

    Args:
        threshold: Smallest change from one step to the next that spikes; above 0.
        padding: Whether the first step is compared with itself, and has no spike, instead of with
            0.
        off_spike: Whether a fall by the threshold has a spike of -1; or `"neurons"` for spikes of 1
            by neurons of their own.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Signal, tensor of shape `(batch, steps, ...)`.

    Returns:
        Spikes of the shape of the inputs, 0 or 1, or -1. With `off_spike="neurons"` they are 0 or
        1, and the last axis has the OFF neurons, then the ON neurons.

    Raises:
        ValueError: If an argument is out of range, or the inputs have too few axes.
    """

    def __init__(self, threshold=0.1, padding=False, off_spike=False, **kwargs):
        super().__init__(**kwargs)
        # Half precision would round away small changes.
        self.autocast = False
        self.threshold, self.off_spike = _checked_delta(_title(self), threshold, off_spike)
        self.padding = bool(padding)
        self.supports_masking = True

    def call(self, inputs):
        """Makes the spikes: see the class."""
        spikes = delta(inputs, self.threshold, self.padding, self.off_spike)
        return ops.cast(spikes, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        """Returns the shape, with twice the features if there are OFF neurons."""
        neurons = self.off_spike == "neurons"
        features = _features(_title(self), input_shape, dimensions=3 if neurons else 2)
        return (*input_shape[:-1], _twice(features) if neurons else features)

    def get_config(self):
        """Returns the arguments of the constructor as a dictionary."""
        config = {name: getattr(self, name) for name in ("threshold", "padding", "off_spike")}
        return {**super().get_config(), **config}
