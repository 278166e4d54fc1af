"""LIF in the integers of the chip, for quantization-aware training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_rnn import LIFCell
from lava_export.quantize import CurrentLIFDescription
from lava_export.training.integers import (
    arriving,
    decay,
    float64,
    saturate,
    straight_through,
)
from lava_export.training.layer import messages, weighted
from lava_export.training.soft_reset import (
    UNITY,
    QuantizedSoftResetCell,
    QuantizedSoftResetDescription,
)
from lava_export.units import CurrentLIF


class Registers(NamedTuple):
    """What `lava_export.CurrentLIF` and its synapses hold: tensors of integers."""

    weights: Any  # (in, units)
    bias: Any  # (units,)
    keep_i: Any  # (units,)
    keep_v: Any  # (units,)


@keras.saving.register_keras_serializable(package="lava_export")
class QuantizedLIFCell(QuantizedSoftResetCell, LIFCell):
    """`LIFCell` whose steps are those of `lava_export.CurrentLIF`, integer for integer.

    Its states are those of the chip, and its outputs their multiples of `v_max / 2**bits`. `v_max`
    stays what it was.

    Args:
        units: Number of neurons, as all other arguments that are not named here those of `LIFCell`.
        scale: What a weight of 1 becomes, (units,).
        exponents: Power of two of the input weights, and of the recurrent ones where there are any.
        shift: Powers of two of the weighted inputs, (units,).
        threshold_register: Threshold of the chip, (units,).
        height: What an output of 1 takes from the membrane, (units,).
        output_scale: What an output of 1 of the chip is in Keras.
        input_scale: What an input of 1 of the chip is in Keras.
        **kwargs: The arguments of `LIFCell`.
    """

    original = LIFCell

    def integers(self):
        """The registers, from the weights."""
        return Registers(
            self.weights_register(self.kernel, self.exponents[0], self.input_scale),
            self.bias_register(),
            self.keep_register(self.current_decay),
            self.keep_register(self.membrane_decay),
        )

    def step(self, inputs, states, training=False):
        """One step; `inside` has what the cell's equations name, in float units."""
        i, v, y = states
        held = self.registers()
        dtype = v.dtype
        current = weighted(messages(inputs, self.input_scale, dtype), held.weights)
        current *= 2.0 ** self.exponents[0]
        shift = np.array(self.shift, float)
        smooth = i * held.keep_i / UNITY + tf.cast(current * 2.0**shift, dtype) + held.bias
        exact = decay(i, held.keep_i) + arriving(current, shift) + float64(held.bias)
        i = straight_through(saturate(exact), smooth)
        y, v = self.fire(v, i, y, held.keep_v)
        inside = {"current": self.in_floats(i), "membrane": self.in_floats(v)}
        return y * self.output_scale, [i, v, y], inside


@dataclass(frozen=True)
class QuantizedLIFDescription(QuantizedSoftResetDescription, CurrentLIFDescription):
    """A `QuantizedLIFCell`, which has its integers already."""

    cell: QuantizedLIFCell | None = None

    chip: ClassVar[type] = CurrentLIF
