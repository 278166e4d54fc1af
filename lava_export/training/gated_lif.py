"""GatedLIF in the integers of the chip, for quantization-aware training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_rnn import GatedLIFCell
from lava_export.quantize import GatedLIFDescription
from lava_export.training.integers import (
    arriving,
    float64,
    mix,
    saturate,
    sigmoid,
    straight_through,
)
from lava_export.training.layer import messages, weighted
from lava_export.training.soft_reset import (
    UNITY,
    QuantizedSoftResetCell,
    QuantizedSoftResetDescription,
)
from lava_export.units import GatedLIF


class Registers(NamedTuple):
    """What `lava_export.GatedLIF` and its synapses hold: tensors of integers."""

    weights: Any  # (in, 2 units)
    recurrent: Any  # (units, 2 units), or None
    bias: Any  # (2 units,)
    keep_v: Any  # (units,)


@keras.saving.register_keras_serializable(package="lava_export")
class QuantizedGatedLIFCell(QuantizedSoftResetCell, GatedLIFCell):
    """`GatedLIFCell` whose steps are those of `lava_export.GatedLIF`, integer for integer.

    Its states are those of the chip, and its outputs their multiples of `v_max / 2**bits`. `v_max`
    stays what it was.

    Args:
        units: Number of neurons, as all other arguments that are not named here those of
            `GatedLIFCell`.
        fine: Whether the gate is the finer sigmoid of the chip.
        **kwargs: The other arguments of `QuantizedLIFCell` that are not of `LIFCell`, for both of
            the ports of a unit (2 units,), and those of `GatedLIFCell`.
    """

    original = GatedLIFCell
    settings = (*QuantizedSoftResetCell.settings, "fine")

    def __init__(self, units, *, fine, **kwargs):
        super().__init__(units, **kwargs)
        self.fine = bool(fine)

    def integers(self):
        """The registers, from the weights."""
        recurrent = None
        if self.recurrent_gates:
            recurrent = self.weights_register(
                self.recurrent_kernel, self.exponents[1], self.output_scale
            )
        return Registers(
            self.weights_register(self.kernel, self.exponents[0], self.input_scale),
            recurrent,
            self.bias_register(),
            self.keep_register(self.membrane_decay),
        )

    def step(self, inputs, states, training=False):
        """One step; `inside` has what the cell's equations name, in float units."""
        i, v, y = states
        held = self.registers()
        dtype = v.dtype
        current = weighted(messages(inputs, self.input_scale, dtype), held.weights)
        current *= 2.0 ** self.exponents[0]
        if held.recurrent is not None:
            current += weighted(y, held.recurrent) * 2.0 ** self.exponents[1]
        shift = np.array(self.shift, float)
        smooth = tf.cast(current * 2.0**shift, dtype) + held.bias
        ports = saturate(arriving(current, shift) + float64(held.bias))
        ports = straight_through(ports, smooth)
        x, rest = tf.split(ports, 2, axis=-1)
        smooth = UNITY * self.gate_activation(x / UNITY)
        f = straight_through(sigmoid(x, self.fine), smooth)
        c = tf.nn.relu(rest)
        i = straight_through(mix(i, c, f), (i * f + c * (UNITY - f)) / UNITY)
        y, v = self.fire(v, i, y, held.keep_v)
        inside = {
            "forget": f / UNITY,
            "candidate": self.in_floats(c),
            "current": self.in_floats(i),
            "membrane": self.in_floats(v),
        }
        return y * self.output_scale, [i, v, y], inside


@dataclass(frozen=True)
class QuantizedGatedLIFDescription(QuantizedSoftResetDescription, GatedLIFDescription):
    """A `QuantizedGatedLIFCell`, which has its integers already."""

    cell: QuantizedGatedLIFCell | None = None

    chip: ClassVar[type] = GatedLIF
    also: ClassVar[tuple] = ("fine",)
