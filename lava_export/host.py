"""What stays on the host: encoders before the spiking layers, and heads after them.

Each is a frozen dataclass that is called with an array whose first axis is the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lava_export.windows import Windows


class Operation:
    """Base of the operations on the host."""

    # What is lost against the Keras layer; empty if nothing is but the rounding of float32.
    loss: ClassVar[str] = ""


OTHER_DRAWS = "draws from another generator than Keras: the same distribution, not the same spikes"


@dataclass(frozen=True)
class Flatten(Operation):
    """(batch, ...) to (batch, features)."""

    def __call__(self, x):
        """Apply to `x`."""
        return x.reshape(len(x), -1)


@dataclass(frozen=True)
class Reshape(Operation):
    """(batch, ...) to (batch, *shape); one size may be -1."""

    shape: tuple

    def __call__(self, x):
        """Apply to `x`."""
        return x.reshape(len(x), *self.shape)


@dataclass(frozen=True)
class Rescale(Operation):
    """`x * scale + offset`."""

    scale: float
    offset: float = 0.0

    def __call__(self, x):
        """Apply to `x`."""
        return x * np.float32(self.scale) + np.float32(self.offset)


@dataclass(frozen=True)
class PoissonEncoding(Operation):
    """Rate code: at each of `steps`, a spike with probability `clip(gain * x, 0, 1)`.

    Every call draws the same numbers, from `seed`. The Keras layer `PoissonEncoder` draws from
    another generator: the same distribution, not the same spikes.
    """

    steps: int
    gain: float = 1.0
    seed: int = 0

    loss: ClassVar[str] = OTHER_DRAWS

    def __call__(self, x):
        """Encode `x` (batch, ...) to int8 spikes (batch, steps, ...)."""
        generator = np.random.default_rng(self.seed)
        spikes = np.empty((len(x), self.steps, *x.shape[1:]), np.int8)
        for sample, probability in zip(spikes, np.float32(self.gain) * x, strict=True):
            sample[:] = generator.random(sample.shape, dtype=np.float32) < probability
        return spikes


@dataclass(frozen=True)
class OnOffPoissonEncoding(Operation):
    """ON and OFF events: an ON spike with the probability `(x - low) / (high - low)`.

    `off` is "complement", "independent" or None, as for `keras_spiking_rnn.OnOffPoissonEncoder`,
    which draws from another generator.
    """

    low: float
    high: float
    off: str | None = "complement"
    seed: int = 0

    loss: ClassVar[str] = OTHER_DRAWS

    def __call__(self, x):
        """Encode `x` (batch, ..., features): the OFF neurons, then the ON neurons."""
        generator = np.random.default_rng(self.seed)
        probability = (np.float32(x) - np.float32(self.low)) / np.float32(self.high - self.low)
        on = generator.random(x.shape, dtype=np.float32) < probability
        if self.off is None:
            return on.astype(np.int8)
        if self.off == "complement":
            off = ~on
        else:
            off = generator.random(x.shape, dtype=np.float32) < 1 - probability
        return np.concatenate([off, on], axis=-1).astype(np.int8)


@dataclass(frozen=True)
class LatencyEncoding(Operation):
    """Latency code: at most one spike, the earlier the higher `x`; see `encoders.latency`."""

    steps: int
    tau: float
    threshold: float
    clip: bool = True

    def __call__(self, x):
        """Encode `x` (batch, ...) to int8 spikes (batch, steps, ...)."""
        intensity = np.minimum(np.float32(x), 1)
        tau, threshold = np.float32(self.tau), np.float32(self.threshold)
        time = np.rint(np.minimum(-tau * (intensity - 1), -tau * (threshold - 1)))
        if self.clip:
            time = np.where(intensity < threshold, -1, time)
        each = np.arange(self.steps, dtype=np.float32)
        each = each.reshape(self.steps, *[1] * (x.ndim - 1))
        return (time[:, None] == each).astype(np.int8)


@dataclass(frozen=True)
class DeltaEncoding(Operation):
    """Delta code: a spike at each step at which `x` has risen by the threshold or more.

    With `off` neurons of their own spike where it has fallen by as much. With `padding` the first
    step is compared with itself, otherwise with 0.
    """

    threshold: float
    padding: bool = False
    off: bool = False

    def __call__(self, x):
        """Encode `x` (batch, T, ...): the OFF neurons, if there are any, then the ON neurons."""
        x = np.float32(x)
        first = x[:, :1] if self.padding else np.zeros_like(x[:, :1])
        change = x - np.concatenate([first, x[:, :-1]], axis=1)
        on, off = (sign * change >= np.float32(self.threshold) for sign in (1, -1))
        return (np.concatenate([off, on], axis=-1) if self.off else on).astype(np.int8)


@dataclass(frozen=True)
class Repeat(Operation):
    """The same input at each of `steps`."""

    steps: int

    def __call__(self, x):
        """Repeat `x` (batch, ...) to (batch, steps, ...)."""
        return np.repeat(x[:, None], self.steps, axis=1)


@dataclass(frozen=True)
class Quantize(Operation):
    """Integers next to `x / scale`, from -`levels` to `levels`: graded messages.

    Args:
        scale: The number that a message of 1 stands for.
        levels: The largest message; what is beyond is clipped.
    """

    scale: float
    levels: int

    loss: ClassVar[str] = "rounds its input to steps of its scale, and clips it"

    def __call__(self, x):
        """Apply to `x`."""
        steps = np.rint(np.asarray(x, np.float64) / self.scale)
        return np.clip(steps, -self.levels, self.levels).astype(np.int32)


@dataclass(frozen=True)
class Hold(Operation):
    """Each step of a sequence for `steps` steps: (batch, T, ...) to (batch, steps * T, ...)."""

    steps: int

    def __call__(self, x):
        """Apply to `x`."""
        return np.repeat(x, self.steps, axis=1)


@dataclass(frozen=True)
class WindowMean(Operation):
    """Mean current that spikes cause at the end of each time window.

    The current through a weight of 1 is `I[t] = leak * I[t-1] + spikes[t]`.

    Args:
        window: Steps of a time window.
        last: Steps at the end of a window that are averaged.
        leak: What is left of the current after a step.
    """

    window: int
    last: int
    leak: float

    def __call__(self, spikes):
        """(batch, windows * window, units) to (batch, windows, units), float32."""
        current = np.zeros((len(spikes), *spikes.shape[2:]))
        means = np.zeros((len(spikes), spikes.shape[1] // self.window, *spikes.shape[2:]))
        for t in range(means.shape[1] * self.window):
            current = self.leak * current + spikes[:, t]
            if t % self.window >= self.window - self.last:
                means[:, t // self.window] += current
        return (means / self.last).astype(np.float32)


@dataclass(frozen=True)
class Pooling(Operation):
    """Means or maxima of windows of images, `(batch, ..., height, width, channels)`.

    Args:
        largest: Whether of a window the largest value is given, or the mean.
        size: Height and width of a window; empty for one as large as the image, of which no more
            than the channels is left.
        strides: From window to window, along height and width.
        padding: "valid", or "same" for windows that go beyond the image.
    """

    largest: bool
    size: tuple = ()
    strides: tuple = ()
    padding: str = "valid"

    def __call__(self, x):
        """Apply to `x`."""
        if not self.size:
            return x.max(axis=(-3, -2)) if self.largest else x.mean(axis=(-3, -2), dtype=np.float32)
        image = x.shape[-3:]
        windows = Windows.of_keras(image, self.size, self.strides, self.padding)
        there = windows.patches(np.ones((1, *image), bool))
        patches = windows.patches(x.reshape(-1, *image))
        if self.largest:
            pooled = np.where(there, patches, x.min()).max(axis=(3, 4))
        else:
            pooled = patches.sum(axis=(3, 4), dtype=np.float32) / there.sum(axis=(3, 4))
            pooled = pooled.astype(np.float32)
        return pooled.reshape(*x.shape[:-3], *pooled.shape[1:])


@dataclass(frozen=True)
class TimeSum(Operation):
    """Spike counts, or with `mean` spikes per step: (batch, T, units) to (batch, units)."""

    mean: bool = False

    def __call__(self, spikes):
        """Apply to `spikes`."""
        counts = spikes.sum(axis=1, dtype=np.float32)
        return counts / np.float32(spikes.shape[1]) if self.mean else counts


@dataclass(frozen=True)
class LastStep(Operation):
    """The last step's spikes: (batch, T, units) to (batch, units)."""

    def __call__(self, spikes):
        """Apply to `spikes`."""
        return spikes[:, -1].astype(np.float32)


def _softmax(x):
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


ACTIVATIONS = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": lambda x: 0.5 * (1 + np.tanh(0.5 * x)),
    "softmax": _softmax,
    "tanh": np.tanh,
}


@dataclass(frozen=True)
class Activation(Operation):
    """One of ACTIVATIONS, by name."""

    name: str

    def __call__(self, x):
        """Apply to `x`."""
        return ACTIVATIONS[self.name](x)


@dataclass(frozen=True, eq=False)
class Affine(Operation):
    """`x @ kernel + bias` in float32, as a Keras Dense layer."""

    kernel: np.ndarray
    bias: np.ndarray

    def __call__(self, x):
        """Apply to `x` (batch, ..., in)."""
        return x @ self.kernel + self.bias


@dataclass(frozen=True, eq=False)
class LeakyIntegrators(Operation):
    """Neurons that integrate and never fire, `v[t] = leak * v[t-1] + x[t] @ kernel + bias`.

    Args:
        kernel: (in, units).
        bias, leak: (units,).
        at: What is given: `v` at the "last" step, its "max" or "mean" over time, or "all" steps.
    """

    kernel: np.ndarray
    bias: np.ndarray
    leak: np.ndarray
    at: str = "last"

    def __call__(self, x):
        """(batch, T, in) to (batch, units), or to (batch, T, units) for "all"."""
        v = x.astype(np.float32) @ self.kernel + self.bias
        for t in range(1, v.shape[1]):
            v[:, t] += self.leak * v[:, t - 1]
        if self.at == "all":
            return v
        return v[:, -1] if self.at == "last" else getattr(v, self.at)(axis=1)


OPERATIONS = (
    Flatten,
    Reshape,
    Rescale,
    PoissonEncoding,
    OnOffPoissonEncoding,
    LatencyEncoding,
    DeltaEncoding,
    Repeat,
    Quantize,
    Hold,
    WindowMean,
    Pooling,
    TimeSum,
    LastStep,
    Activation,
    Affine,
    LeakyIntegrators,
)
