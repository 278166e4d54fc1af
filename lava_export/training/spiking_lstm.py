"""SpikingLSTM in the integers of the chip, for quantization-aware training."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_spiking_rnn import SpikingLSTMCell
from keras_spiking_rnn.spiking_lstm import memory_step, spike
from lava_export import arithmetic
from lava_export.quantize import SpikingLSTMDescription, base
from lava_export.synapses import Dense
from lava_export.training.integers import float64, nearest, saturate, straight_through
from lava_export.training.layer import LARGEST_WEIGHT, QuantizedCell, outputs_of
from lava_export.units import SpikingLSTM

LIMIT = float(arithmetic.RANGES["threshold"][1])


class Registers(NamedTuple):
    """What `lava_export.SpikingLSTM` and its synapses hold: tensors of integers."""

    weights: Any  # (in, 4 units)
    recurrent: Any  # (units, 4 units)
    threshold: Any  # (4 units,)


@keras.saving.register_keras_serializable(package="lava_export")
class QuantizedSpikingLSTMCell(QuantizedCell, SpikingLSTMCell):
    """`SpikingLSTMCell` whose steps are those of `lava_export.SpikingLSTM`, integer for integer.

    Args:
        units: Number of neurons, as all other arguments that are not named here those of
            `SpikingLSTMCell`.
        scale: For each row of the gates, (4 units,), what a weight of 1 becomes.
        drift: For each row, what is added to the threshold for the mean of rounding.
        **kwargs: The arguments of `SpikingLSTMCell`.
    """

    original = SpikingLSTMCell
    settings = ("scale", "drift")

    def __init__(self, units, *, scale, drift, **kwargs):
        super().__init__(units, **kwargs)
        self.scale, self.drift = tuple(map(float, scale)), tuple(map(float, drift))

    def thresholds(self):
        """Of the gates in float, (4 units,)."""
        gate, candidate = self.gate_threshold, self.candidate_threshold
        return np.repeat(np.array([gate, gate, candidate, gate]), self.units)

    def integers(self):
        """The registers, from the weights."""
        dtype = self.kernel.dtype
        scale = tf.constant(self.scale, dtype)
        weights, recurrent = (
            nearest(kernel * scale, -LARGEST_WEIGHT, LARGEST_WEIGHT, step=2)
            for kernel in (self.kernel, self.recurrent_kernel)
        )
        bias = 0.0 if self.bias is None else self.bias
        smooth = scale * (tf.constant(self.thresholds(), dtype) - bias)
        smooth += tf.constant(self.drift, dtype)
        exact = float64(smooth)
        exact = tf.floor(exact + base.NEARLY * (1 + tf.abs(exact)))
        threshold = straight_through(tf.clip_by_value(exact, -LIMIT, LIMIT), smooth)
        return Registers(weights, recurrent, threshold)

    def step(self, inputs, states, training=False):
        """One step; `inside` has the potentials of the gates in float units, and the unit state."""
        h, c = states
        held = self.registers()
        current = tf.matmul(tf.cast(inputs, h.dtype), held.weights) + tf.matmul(h, held.recurrent)
        current = straight_through(saturate(float64(current)), current)
        fired = tf.cast(current > held.threshold, h.dtype)
        theta = tf.constant(self.thresholds(), h.dtype)
        # The potential whose distance to its threshold is that of the integers.
        potential = (current - held.threshold) / tf.constant(self.scale, h.dtype) + theta
        surrogates = (self.gate_surrogate, self.gate_surrogate, self.candidate_surrogate)
        gates = [
            straight_through(exact, spike(u, float(theta), surrogate, self.two_sided))
            for exact, u, theta, surrogate in zip(
                ops.split(fired, 4, axis=-1),
                ops.split(potential, 4, axis=-1),
                self.thresholds()[:: self.units],
                (*surrogates, self.gate_surrogate),
                strict=True,
            )
        ]
        h, c = memory_step(*gates, c, self.gamma, self.cell_surrogate)
        names = ("input", "forget", "candidate", "output")
        inside = dict(zip(names, ops.split(potential, 4, axis=-1), strict=True))
        return h, [h, c], {**inside, "cell": c}


@dataclasses.dataclass(frozen=True)
class QuantizedSpikingLSTMDescription(SpikingLSTMDescription):
    """A `QuantizedSpikingLSTMCell`, which has its integers already."""

    cell: QuantizedSpikingLSTMCell | None = None

    @classmethod
    def of(cls, name, cell):
        """The description of a `QuantizedSpikingLSTMCell`."""
        return dataclasses.replace(super().of(name, cell), cell=cell)

    def quantize(self, inputs, leak_groups=None):
        """The cell's own integers."""
        held = self.cell.integers()
        weights, recurrent, threshold = (np.rint(np.asarray(v)).astype(int) for v in held)
        synapses = Dense(weights.T)
        units = SpikingLSTM(threshold, Dense(recurrent.T))
        scale = np.array(self.cell.scale)
        parts = [
            (kernel, base.on_grid(kernel, scale)[0], integers.T)
            for kernel, integers in (
                (self.kernel, weights),
                (self.recurrent_kernel, recurrent),
            )
        ]
        outputs = outputs_of(self.cell, inputs).astype(np.int8)
        settings = {name: list(getattr(self.cell, name)) for name in self.cell.settings}
        return base.recorded(self, synapses, units, parts, inputs, outputs, settings=settings)
