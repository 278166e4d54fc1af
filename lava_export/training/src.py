"""SRC in the integers of the chip, for quantization-aware training."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_rnn import SRCCell
from lava_export import arithmetic
from lava_export.quantize import SRCDescription, base
from lava_export.quantize.src import BITS, HIDDEN_SHIFT, UNITY, constants
from lava_export.training.integers import (
    arriving,
    decay,
    float64,
    mix,
    nearest,
    saturate,
    straight_through,
    tanh,
    whole,
)
from lava_export.training.layer import (
    LARGEST_WEIGHT,
    QuantizedCell,
    messages,
    outputs_of,
    weighted,
)
from lava_export.units import SRC

LIMIT = arithmetic.STATE_LIMIT - 1
ONE = 1 << HIDDEN_SHIFT  # of the hidden states
FINER = ONE // UNITY
LEVELS = 1 << BITS


class Registers(NamedTuple):
    """What `lava_export.SRC` and its synapses hold and training changes: tensors of integers."""

    weights: Any  # (in, units)
    bias: Any  # (units,)


@keras.saving.register_keras_serializable(package="lava_export")
class QuantizedSRCCell(QuantizedCell, SRCCell):
    """`SRCCell` whose steps are those of `lava_export.SRC`, integer for integer.

    Its states are those of the chip, and its outputs their multiples of 1/256. Gradients are those
    of a step of `SRCCell` that begins with the same states.

    Args:
        units: Number of neurons, as all other arguments that are not named here those of `SRCCell`.
        shift: Powers of two of the weighted inputs, (units,).
        current_shift: Bits that the integrator has below 1/4096 of `rho`.
        gain_shift: Powers of two by which the feedbacks are larger than their registers.
        input_scale: What an input of 1 of the chip is in Keras.
        **kwargs: The arguments of `SRCCell`.
    """

    original = SRCCell
    settings = ("shift", "current_shift", "gain_shift", "input_scale")
    # What an output of 1 of the chip is in Keras.
    output_scale = 1 / LEVELS

    def __init__(self, units, *, shift, current_shift, gain_shift, input_scale, **kwargs):
        super().__init__(units, **kwargs)
        self.shift = tuple(map(int, shift))
        self.current_shift, self.gain_shift = int(current_shift), int(gain_shift)
        self.input_scale = float(input_scale)
        self.constants = constants(self, self.gain_shift)
        # What an integrator of 1 in Keras is on the chip, and what a weight of 1 becomes.
        self.integrator_unit = UNITY * 2.0**self.current_shift / self.rho
        self.scale = self.integrator_unit / 2.0 ** np.array(self.shift)
        self.bias_unit = ONE >> self.gain_shift

    def integers(self):
        """The registers, from the weights."""
        in_units = tf.constant(self.input_scale * self.scale, self.kernel.dtype)
        return Registers(
            nearest(self.kernel * in_units, -LARGEST_WEIGHT, LARGEST_WEIGHT, step=2),
            nearest(self.bias * float(self.bias_unit), -LIMIT, LIMIT),
        )

    def step(self, inputs, states, training=False):
        """One step; `inside` has what the cell's equations name, in float units."""
        i, h, h_s = states
        held, of = self.registers(), self.constants
        current = weighted(messages(inputs, self.input_scale, i.dtype), held.weights)
        shift = np.array(self.shift, float)
        smooth, after, inside = self.advance(
            tf.cast(current * (2.0**shift / self.integrator_unit), i.dtype),
            [i / self.integrator_unit, h / ONE, h_s / ONE],
            {"bias": held.bias / self.bias_unit},
        )
        i = saturate(decay(i, of["keep_i"]) + arriving(current, shift))
        x = tanh(whole(i, -self.current_shift)) * FINER
        p = decay(x, of["rho"]) + decay(h, of["r"]) + decay(h_s, of["r_s"])
        p = saturate(p + float64(held.bias))
        new = mix(h, tanh(tf.floor(p * 2.0**self.gain_shift / FINER)) * FINER, of["keep_h"])
        pulse = (float64(h) if self.lagging_gate else new) > ONE / 2
        kept = tf.where(pulse, float64(of["keep_dep"]), float64(of["keep_hyp"]))
        h_s = mix(h_s, h, kept)
        step = ONE // LEVELS
        output = tf.clip_by_value(tf.floor((new + step / 2) / step), 0.0, LEVELS - 1.0)
        exact = (i, new, h_s)
        units = (self.integrator_unit, ONE, ONE)
        states = [
            straight_through(state, unit * float_state)
            for state, unit, float_state in zip(exact, units, after, strict=True)
        ]
        inside = {
            "integrator": states[0] / self.integrator_unit,
            "input": straight_through(x * (self.rho / ONE), inside["input"]),
            "hidden": states[1] / ONE,
            "slow": states[2] / ONE,
        }
        return straight_through(output * self.output_scale, smooth), states, inside


@dataclasses.dataclass(frozen=True)
class QuantizedSRCDescription(SRCDescription):
    """A `QuantizedSRCCell`, which has its integers already."""

    cell: QuantizedSRCCell | None = None

    # Nothing is left for another order of additions to move.
    jitter: ClassVar[float] = 0.0

    @classmethod
    def of(cls, name, cell):
        """The description of a `QuantizedSRCCell`."""
        return dataclasses.replace(super().of(name, cell), cell=cell)

    def quantize(self, inputs, leak_groups=None):
        """The cell's own integers."""
        cell = self.cell
        weights, bias = (np.rint(np.asarray(value)).astype(int) for value in cell.integers())
        synapses = self.dense(weights.T)
        units = SRC(
            **cell.constants,
            bias=bias,
            shift=np.array(cell.shift),
            current_shift=cell.current_shift,
        )
        outputs = self.in_integers(outputs_of(cell, inputs * cell.input_scale))
        ideal, _ = base.on_grid(self.kernel, cell.scale)
        return base.recorded(
            self,
            synapses,
            units,
            [(self.kernel, ideal, weights.T)],
            inputs,
            outputs,
            pulses=[self.pulses(outputs)] * 2,
            activity=[float((outputs > 0).mean())] * 2,
            settings={name: getattr(cell, name) for name in cell.settings},
        )

    def approximations(self, units, record):
        """Nothing: the layer in Keras does what the integers do."""
        return []
