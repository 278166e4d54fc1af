"""GatedLIF in the integers of the chip, for quantization-aware training."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_rnn import GatedLIFCell
from keras_spiking_rnn.lif import multi_bit_output
from lava_export import arithmetic
from lava_export.quantize import GatedLIFDescription, base
from lava_export.synapses import Dense
from lava_export.training import integers
from lava_export.training.integers import (
    decay,
    float64,
    nearest,
    saturate,
    sigmoid,
    straight_through,
    whole,
)
from lava_export.training.layer import LARGEST_WEIGHT, QuantizedCell, check_leaks, outputs_of
from lava_export.units import GatedLIF

UNITY = arithmetic.DECAY_UNITY
LIMIT = arithmetic.STATE_LIMIT - 1


class Registers(NamedTuple):
    """What `lava_export.GatedLIF` and its synapses hold: tensors of integers."""

    weights: Any  # (in, 2 units)
    recurrent: Any  # (units, 2 units), or None
    bias: Any  # (2 units,)
    keep_v: Any  # (units,)


@keras.saving.register_keras_serializable(package="lava_export")
class QuantizedGatedLIFCell(QuantizedCell, GatedLIFCell):
    """`GatedLIFCell` whose steps are those of `lava_export.GatedLIF`, integer for integer.

    Its states are those of the chip, and its outputs their multiples of `v_max / 2**bits`. `v_max`
    stays what it was.

    Args:
        units: Number of neurons, as all other arguments that are not named here those of
            `GatedLIFCell`.
        scale: What a weight of 1 becomes, (2 units,).
        exponents: Powers of two of the input weights and of the recurrent ones.
        shift: Powers of two of the weighted inputs, (2 units,).
        threshold_register: Threshold of the chip, (units,).
        height: What an output of 1 takes from the membrane, (units,).
        output_scale: What an output of 1 of the chip is in Keras.
        input_scale: What an input of 1 of the chip is in Keras.
        fine: Whether the gate is the finer sigmoid of the chip.
        **kwargs: The arguments of `GatedLIFCell`.
    """

    original = GatedLIFCell
    settings = (
        "scale",
        "exponents",
        "shift",
        "threshold_register",
        "height",
        "output_scale",
        "input_scale",
        "fine",
    )

    def __init__(
        self,
        units,
        *,
        scale,
        exponents,
        shift,
        threshold_register,
        height,
        output_scale,
        input_scale,
        fine,
        **kwargs,
    ):
        super().__init__(units, **kwargs)
        self.scale = tuple(map(float, scale))
        self.exponents, self.shift = tuple(map(int, exponents)), tuple(map(int, shift))
        self.threshold_register = tuple(map(int, threshold_register))
        self.height = tuple(map(int, height))
        self.output_scale, self.input_scale = float(output_scale), float(input_scale)
        self.fine = bool(fine)

    def integers(self):
        """The registers, from the weights."""
        dtype = self.kernel.dtype
        scale = np.array(self.scale)

        def weights(kernel, exponent, message):
            in_units = tf.constant(message * scale / 2.0**exponent, dtype)
            return nearest(kernel * in_units, -LARGEST_WEIGHT, LARGEST_WEIGHT, step=2)

        recurrent = None
        if self.recurrent_gates:
            recurrent = weights(self.recurrent_kernel, self.exponents[1], self.output_scale)
        bias = tf.zeros((2 * self.units,), dtype)
        if self.bias is not None:
            s = tf.constant(scale * 2.0 ** np.array(self.shift), dtype)
            bias = nearest(self.bias * s, -LIMIT, LIMIT)
        return Registers(
            weights(self.kernel, self.exponents[0], self.input_scale),
            recurrent,
            bias,
            nearest(self.membrane_decay * float(UNITY), 0, UNITY),
        )

    def step(self, inputs, states, training=False):
        """One step; `inside` has what the cell's equations name, in float units."""
        i, v, y = states
        held = self.registers()
        dtype = v.dtype
        messages = tf.cast(inputs, dtype) / self.input_scale
        messages = straight_through(tf.round(float64(messages)), messages)
        current = self.weighted(messages, held.weights, self.exponents[0])
        if held.recurrent is not None:
            current += self.weighted(y, held.recurrent, self.exponents[1])
        shift = np.array(self.shift, float)
        smooth = tf.cast(current * 2.0**shift, dtype) + held.bias
        arriving = saturate(whole(saturate(current), shift))
        ports = straight_through(saturate(arriving + float64(held.bias)), smooth)
        x, rest = tf.split(ports, 2, axis=-1)
        smooth = UNITY * self.gate_activation(x / UNITY)
        f = straight_through(sigmoid(x, self.fine), smooth)
        c = tf.nn.relu(rest)
        i = straight_through(decay(i, f) + decay(c, UNITY - f), (i * f + c * (UNITY - f)) / UNITY)
        height = tf.constant(self.height, dtype)
        kept = v * held.keep_v / UNITY
        v = straight_through(
            saturate(decay(v, held.keep_v) + float64(i) - float64(y) * float64(height)),
            kept + i - y * height,
        )
        y = self.outputs(v, height)
        unit = self.output_scale if self.bits else self.value(self.threshold)
        inside = {
            "forget": f / UNITY,
            "candidate": c * unit / height,
            "current": i * unit / height,
            "membrane": v * unit / height,
        }
        return y * self.output_scale, [i, v, y], inside

    @staticmethod
    def weighted(messages, weights, exponent):
        """The weighted inputs; in float64, because graded ones may exceed float32's integers."""
        return tf.matmul(float64(messages), float64(weights)) * 2.0**exponent

    def outputs(self, v, height):
        """The outputs of the chip, integers."""
        threshold = tf.constant(self.threshold_register, v.dtype)
        if not self.bits:
            return self.surrogate((v - threshold) * self.value(self.threshold) / height)
        levels = 2 ** (self.bits - self.signed)
        size = tf.abs(v) if self.signed else v
        level = tf.clip_by_value(integers.quotient(size, height), 0.0, levels - 1.0)
        exact = tf.where(size >= threshold, level, tf.zeros_like(level))
        if self.signed:
            exact *= tf.sign(float64(v))
        in_steps = v / height
        top = tf.constant(levels, v.dtype)
        smooth = multi_bit_output(in_steps, top, self.bits, self.threshold_ratio, self.signed)
        return straight_through(exact, smooth)


@dataclasses.dataclass(frozen=True)
class QuantizedGatedLIFDescription(GatedLIFDescription):
    """A `QuantizedGatedLIFCell`, which has its integers already."""

    cell: QuantizedGatedLIFCell | None = None

    @classmethod
    def of(cls, name, cell):
        """The description of a `QuantizedGatedLIFCell`."""
        return dataclasses.replace(super().of(name, cell), cell=cell)

    def quantize(self, inputs, leak_groups=None):
        """The cell's own integers."""
        cell = self.cell
        held = [
            None if value is None else np.rint(np.asarray(value)).astype(int)
            for value in cell.integers()
        ]
        weights, recurrent, bias, keep_v = held
        check_leaks(self.name, keep_v, leak_groups)
        synapses = self.dense(weights.T, cell.exponents[0])
        bits = 0 if self.output_range == (0, 1) else self.bits - self.signed
        if recurrent is not None:
            message = 0 if not bits else self.output_range[1].bit_length()
            recurrent = Dense(recurrent.T, cell.exponents[1], message_bits=message)
        units = GatedLIF(
            keep_v=keep_v,
            threshold=np.array(cell.threshold_register),
            height=np.array(cell.height),
            bias=bias,
            shift=np.array(cell.shift),
            bits=bits,
            signed=int(self.signed and bits > 0),
            fine=int(cell.fine),
            recurrent=recurrent,
        )
        ideal = base.parts(self.kernels, np.array(cell.scale), cell.exponents)
        weights = [synapses.weights] + ([] if recurrent is None else [recurrent.weights])
        outputs = self.in_integers(outputs_of(cell, inputs * cell.input_scale))
        parts = [
            (kernel, wanted, held) for (kernel, wanted, _), held in zip(ideal, weights, strict=True)
        ]
        settings = {name: getattr(cell, name) for name in cell.settings}
        return base.recorded(self, synapses, units, parts, inputs, outputs, settings=settings)
