"""RLIF and ConvRLIF2D in the integers of the chip, for quantization-aware training."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_rnn import ConvRLIF2DCell, RLIFCell
from lava_export import arithmetic
from lava_export.quantize import ConvRLIF2DDescription, RLIFDescription, base
from lava_export.quantize.base import LSB
from lava_export.training.integers import (
    decay,
    float64,
    nearest,
    quotient,
    saturate,
    shifted,
    straight_through,
    wrap,
)
from lava_export.training.layer import LARGEST_WEIGHT, QuantizedCell, check_leaks, outputs_of
from lava_export.units import LIF

BIAS_MANT = arithmetic.RANGES["bias_mant"][1]
BIAS_EXP = arithmetic.RANGES["bias_exp"][1]


class Registers(NamedTuple):
    """What `LIF` and its synapses hold: tensors of integers, (units,) but for the weights.

    In the Conv pattern a unit is a filter, whose registers are the same at all positions.
    """

    weights: Any  # (in, units), or (height, width, channels, units)
    keep: Any  # 4096 - dv
    bias_mant: Any
    bias_exp: Any
    bias: Any  # bias_mant * 2**bias_exp, with a gradient
    v0: Any


class QuantizedFiringCell(QuantizedCell):
    """Mixin of the cells whose steps are those of `lava_export.LIF`, integer for integer.

    The state is the membrane `v` of the chip.

    Args:
        *args: Number of neurons or filters, and what follows it.
        scale: `S`: what the distance from reset to threshold becomes, in units of weight.
        exponent: Exponent of the weights.
        vth: Threshold of the chip, in units of weight.
        **kwargs: The other arguments of the original cell.
    """

    settings = ("scale", "exponent", "vth")

    def __init__(self, *args, scale, exponent, vth, **kwargs):
        super().__init__(*args, **kwargs)
        self.scale, self.exponent, self.vth = int(scale), int(exponent), int(vth)
        threshold, reset = (
            np.array(self.of_each_unit(value)) for value in (self.threshold, self.reset)
        )
        # Units of weight in a unit of the membrane potential, for each neuron.
        self.row = self.scale / (threshold - reset)
        self.resets = reset

    def weighted(self, inputs, weights):
        """What weights make of the inputs of a step."""
        raise NotImplementedError

    def integers(self):
        """The registers, from the weights."""
        in_units = tf.constant(self.row / 2.0**self.exponent, self.kernel.dtype)
        weights = nearest(self.kernel * in_units, -LARGEST_WEIGHT, LARGEST_WEIGHT, step=2)
        keep = nearest(self.leak * float(arithmetic.DECAY_UNITY), 1, arithmetic.DECAY_UNITY)
        zero = tf.zeros((self.units,), self.kernel.dtype)
        volt = zero + (0.0 if self.bias is None else self.bias)
        membrane = zero + (0.0 if self.membrane_bias is None else self.membrane_bias)
        lsb = tf.constant(LSB * self.row, self.kernel.dtype)
        reset = tf.constant(self.resets, self.kernel.dtype)
        bias = lsb * (volt + membrane - (1 - keep / arithmetic.DECAY_UNITY) * reset)
        bias_exp = tf.zeros((self.units,), tf.float64)
        for _ in range(BIAS_EXP):
            too_large = tf.abs(tf.round(float64(bias) / 2.0**bias_exp)) > BIAS_MANT
            bias_exp += float64(too_large)
        bias_mant = tf.round(float64(bias) / 2.0**bias_exp)
        bias_mant = tf.clip_by_value(bias_mant, -float(BIAS_MANT), float(BIAS_MANT))
        held = straight_through(bias_mant * 2.0**bias_exp, bias)
        # The first step has no bias of the membrane; the decay turns v0 into what it starts from.
        first = lsb * (volt - reset)
        target = tf.round(float64(first)) - float64(held)
        unity = float(arithmetic.DECAY_UNITY)
        size = saturate(quotient(tf.abs(target) * unity + float64(keep) - 1, keep))  # rounded up
        v0 = straight_through(tf.sign(target) * size, (first - held) * unity / keep)
        return Registers(weights, keep, bias_mant, bias_exp, held, v0)

    def get_initial_state(self, batch_size=None):
        """Returns the membrane before the first step of `batch_size` sequences."""
        v0 = tf.cast(self.registers().v0, self.compute_dtype)
        return [tf.broadcast_to(v0, (batch_size, *keras.tree.flatten(self.output_size)))]

    def step(self, inputs, states, training=False):
        """One step; `inside` has the membrane potential before the reset, in float units."""
        (v,) = states
        held = self.registers()
        current = LSB * shifted(
            self.weighted(tf.cast(inputs, v.dtype), held.weights), self.exponent
        )
        exact = saturate(decay(v, held.keep) + wrap(float64(current)) + float64(held.bias))
        smooth = v * held.keep / arithmetic.DECAY_UNITY + current + held.bias
        v = straight_through(exact, smooth)
        lsb = tf.constant(LSB * self.row, v.dtype)
        spikes = self.surrogate(
            (v - LSB * self.vth) / lsb, strict=True, slope_at=(v - LSB * self.scale) / lsb
        )
        state = (1 - spikes) * v
        return spikes, [state], {"membrane": v / lsb + tf.constant(self.resets, v.dtype)}


@keras.saving.register_keras_serializable(package="lava_export")
class QuantizedRLIFCell(QuantizedFiringCell, RLIFCell):
    """`RLIFCell` whose steps are those of `lava_export.LIF`: see `QuantizedFiringCell`."""

    original = RLIFCell

    def weighted(self, inputs, weights):
        """A product of matrices."""
        return tf.matmul(inputs, weights)


@keras.saving.register_keras_serializable(package="lava_export")
class QuantizedConvRLIF2DCell(QuantizedFiringCell, ConvRLIF2DCell):
    """`ConvRLIF2DCell` whose steps are those of `lava_export.LIF`: see `QuantizedFiringCell`."""

    original = ConvRLIF2DCell

    def weighted(self, inputs, weights):
        """A convolution."""
        return self._convolved_inputs(inputs, weights)


class QuantizedFiringDescription:
    """Mixin of the descriptions of cells that have their integers already."""

    @classmethod
    def of(cls, name, cell):
        """The description of a `QuantizedFiringCell`."""
        return dataclasses.replace(super().of(name, cell), cell=cell)

    def quantize(self, inputs, leak_groups=None):
        """The cell's own integers."""
        held = self.cell.integers()
        weights, keep, bias_mant, bias_exp, v0 = (
            np.rint(np.asarray(value)).astype(int)
            for value in (held.weights, held.keep, held.bias_mant, held.bias_exp, held.v0)
        )
        check_leaks(self.name, keep, leak_groups)
        rows = weights.reshape(self.kernel.shape).T
        synapses = self.dense(rows, self.cell.exponent)
        # Registers of a filter are those of all its positions.
        keep, bias_mant, bias_exp, v0 = (
            np.resize(value, self.units) for value in (keep, bias_mant, bias_exp, v0)
        )
        units = LIF(
            du=4095,
            dv=np.minimum(arithmetic.DECAY_UNITY - keep, 4095),
            vth=self.cell.vth,
            bias_mant=bias_mant,
            bias_exp=bias_exp,
            v0=v0,
        )
        images = inputs.reshape(*inputs.shape[:2], *self.input_shape)
        outputs = outputs_of(self.cell, images).astype(np.int8)
        ideal, _ = base.on_grid(self.kernel, self.cell.row, self.cell.exponent)
        return base.recorded(
            self,
            synapses,
            units,
            [(self.kernel, ideal, rows)],
            inputs,
            outputs.reshape(*outputs.shape[:2], -1),
            scale=self.cell.scale,
            settings={name: getattr(self.cell, name) for name in self.cell.settings},
            leak_error=float(np.abs(keep / arithmetic.DECAY_UNITY - self.leak).max()),
        )


@dataclasses.dataclass(frozen=True)
class QuantizedRLIFDescription(QuantizedFiringDescription, RLIFDescription):
    """A `QuantizedRLIFCell`."""

    cell: QuantizedRLIFCell | None = None


@dataclasses.dataclass(frozen=True)
class QuantizedConvRLIF2DDescription(QuantizedFiringDescription, ConvRLIF2DDescription):
    """A `QuantizedConvRLIF2DCell`."""

    cell: QuantizedConvRLIF2DCell | None = dataclasses.field(default=None, kw_only=True)
