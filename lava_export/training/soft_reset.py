"""What LIF and GatedLIF in the integers of the chip share."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import tensorflow as tf

from keras_spiking_rnn.lif import multi_bit_output
from lava_export import arithmetic
from lava_export.quantize import base
from lava_export.synapses import Dense
from lava_export.training import integers
from lava_export.training.integers import (
    decay,
    float64,
    nearest,
    saturate,
    straight_through,
)
from lava_export.training.layer import LARGEST_WEIGHT, QuantizedCell, check_leaks, outputs_of

UNITY = arithmetic.DECAY_UNITY
LIMIT = arithmetic.STATE_LIMIT - 1


class QuantizedSoftResetCell(QuantizedCell):
    """Base of both cells, whose membrane is not reset but loses what the last output took.

    Their states are those of the chip, and their outputs multiples of `v_max / 2**bits`. `v_max`
    stays what it was. The arguments are those of `QuantizedLIFCell`.
    """

    settings = (
        "scale",
        "exponents",
        "shift",
        "threshold_register",
        "height",
        "output_scale",
        "input_scale",
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
        **kwargs,
    ):
        super().__init__(units, **kwargs)
        if min(exponents) < 0:
            # The chip would round such products down, and the cell does not.
            raise ValueError(f"`exponents` must be at least 0. Received: {exponents}")
        self.scale = tuple(map(float, scale))
        self.exponents, self.shift = tuple(map(int, exponents)), tuple(map(int, shift))
        self.threshold_register = tuple(map(int, threshold_register))
        self.height = tuple(map(int, height))
        self.output_scale, self.input_scale = float(output_scale), float(input_scale)

    def weights_register(self, kernel, exponent, message):
        """The integers of weights whose inputs are multiples of `message`."""
        in_units = tf.constant(message * np.array(self.scale) / 2.0**exponent, kernel.dtype)
        return nearest(kernel * in_units, -LARGEST_WEIGHT, LARGEST_WEIGHT, step=2)

    def bias_register(self):
        """The integers of the bias, (columns,); 0 without one."""
        dtype = self.kernel.dtype
        if self.bias is None:
            return tf.zeros((len(self.scale),), dtype)
        s = tf.constant(np.array(self.scale) * 2.0 ** np.array(self.shift), dtype)
        return nearest(self.bias * s, -LIMIT, LIMIT)

    @staticmethod
    def keep_register(kept):
        """The integers of a decay, (units,)."""
        return nearest(kept * float(UNITY), 0, UNITY)

    def fire(self, v, i, y, keep_v):
        """A step of the membrane, with the current `i` and the outputs `y` of the step before.

        Returns:
            The outputs of the chip and the membrane: integers.
        """
        height = tf.constant(self.height, v.dtype)
        exact = saturate(decay(v, keep_v) + float64(i) - float64(y) * float64(height))
        v = straight_through(exact, v * keep_v / UNITY + i - y * height)
        return self.outputs(v, height), v

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

    def in_floats(self, value):
        """A current or a membrane of the chip in units of Keras."""
        unit = self.output_scale if self.bits else self.value(self.threshold)
        return value * unit / tf.constant(self.height, value.dtype)


class QuantizedSoftResetDescription:
    """Mixin of the descriptions of both cells, which have their integers already.

    A subclass has the field `cell`.
    """

    # The units that the cell computes, and the names of attributes of the cell that they take.
    chip: ClassVar[type]
    also: ClassVar[tuple] = ()

    @classmethod
    def of(cls, name, cell):
        """The description of a quantized cell."""
        return dataclasses.replace(super().of(name, cell), cell=cell)

    def quantize(self, inputs, leak_groups=None):
        """The cell's own integers."""
        cell = self.cell
        held = {
            name: np.rint(np.asarray(value)).astype(int)
            for name, value in cell.integers()._asdict().items()
            if value is not None
        }
        weights, recurrent = held.pop("weights"), held.pop("recurrent", None)
        for name in ("keep_i", "keep_v"):
            check_leaks(self.name, held.get(name, 0), leak_groups)
        synapses = self.dense(weights.T, cell.exponents[0])
        bits = 0 if self.output_range == (0, 1) else self.bits - self.signed
        if recurrent is not None:
            message = 0 if not bits else self.output_range[1].bit_length()
            recurrent = Dense(recurrent.T, cell.exponents[1], message_bits=message)
        units = self.chip(
            **held,
            **{name: int(getattr(cell, name)) for name in self.also},
            threshold=np.array(cell.threshold_register),
            height=np.array(cell.height),
            shift=np.array(cell.shift),
            bits=bits,
            signed=int(self.signed and bits > 0),
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
