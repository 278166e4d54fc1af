"""What stays on the host: encoders before the spiking layers, and heads after them.

Each is a frozen dataclass that is called with an array whose first axis is the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Flatten:
    """(batch, ...) to (batch, features)."""

    def __call__(self, x):
        """Apply to `x`."""
        return x.reshape(len(x), -1)


@dataclass(frozen=True)
class Reshape:
    """(batch, ...) to (batch, *shape); one size may be -1."""

    shape: tuple

    def __call__(self, x):
        """Apply to `x`."""
        return x.reshape(len(x), *self.shape)


@dataclass(frozen=True)
class Rescale:
    """`x * scale + offset`."""

    scale: float
    offset: float = 0.0

    def __call__(self, x):
        """Apply to `x`."""
        return x * np.float32(self.scale) + np.float32(self.offset)


@dataclass(frozen=True)
class PoissonEncoding:
    """Rate code: at each of `steps`, a spike with probability `clip(gain * x, 0, 1)`.

    Every call draws the same numbers, from `seed`. The Keras layer `PoissonEncoder` draws from
    another generator: the same distribution, not the same spikes.
    """

    steps: int
    gain: float = 1.0
    seed: int = 0

    def __call__(self, x):
        """Encode `x` (batch, ...) to int8 spikes (batch, steps, ...)."""
        generator = np.random.default_rng(self.seed)
        spikes = np.empty((len(x), self.steps, *x.shape[1:]), np.int8)
        for sample, probability in zip(spikes, np.float32(self.gain) * x, strict=True):
            sample[:] = generator.random(sample.shape, dtype=np.float32) < probability
        return spikes


@dataclass(frozen=True)
class Repeat:
    """The same input at each of `steps`."""

    steps: int

    def __call__(self, x):
        """Repeat `x` (batch, ...) to (batch, steps, ...)."""
        return np.repeat(x[:, None], self.steps, axis=1)


@dataclass(frozen=True)
class TimeSum:
    """Spike counts, or with `mean` spikes per step: (batch, T, units) to (batch, units)."""

    mean: bool = False

    def __call__(self, spikes):
        """Apply to `spikes`."""
        counts = spikes.sum(axis=1, dtype=np.float32)
        return counts / np.float32(spikes.shape[1]) if self.mean else counts


@dataclass(frozen=True)
class LastStep:
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
class Activation:
    """One of ACTIVATIONS, by name."""

    name: str

    def __call__(self, x):
        """Apply to `x`."""
        return ACTIVATIONS[self.name](x)


@dataclass(frozen=True, eq=False)
class Affine:
    """`x @ kernel + bias` in float32, as a Keras Dense layer."""

    kernel: np.ndarray
    bias: np.ndarray

    def __call__(self, x):
        """Apply to `x` (batch, ..., in)."""
        return x @ self.kernel + self.bias


OPERATIONS = (
    Flatten,
    Reshape,
    Rescale,
    PoissonEncoding,
    Repeat,
    TimeSum,
    LastStep,
    Activation,
    Affine,
)
