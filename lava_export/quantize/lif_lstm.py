"""LIFLSTM to integers.

The membrane, the inputs of the gates and the gates themselves are in units of 1/4096, and so are
the messages, or in units of a power of two more. Sigmoid and tanh need their inputs as they are: a
row of `[W, U]` has a power of two of its own, `shift`, and no other scale. The powers of two of the
two matrices make up for a message being a number of many bits and a spike one of one bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lava_export import arithmetic
from lava_export.quantize import base
from lava_export.quantize.base import STATE_MAX, ConversionError
from lava_export.synapses import Dense
from lava_export.units import LIFLSTM

UNITY = arithmetic.DECAY_UNITY
# Bits that messages have at most, without their sign.
MESSAGE_BITS = 12


@dataclass(frozen=True)
class LIFLSTMDescription(base.Description):
    """One LIFLSTM layer in float64.

    `kernel` is (in, 4 units), `recurrent_kernel` (units, 4 units), `bias` (4 units,), in the order
    i, f, g, o; the rest is (units,).
    """

    recurrent_kernel: np.ndarray
    bias: np.ndarray
    leak: np.ndarray
    membrane_bias: np.ndarray
    threshold: np.ndarray
    reset: np.ndarray

    @classmethod
    def of(cls, name, cell):
        """The description of a `LIFLSTMCell`."""
        import keras

        for role, own in (("activation", "tanh"), ("recurrent_activation", "sigmoid")):
            function = getattr(cell, role)
            if function is not getattr(keras.activations, own):
                raise ConversionError(
                    f"Layer '{name}' has {role}={getattr(function, '__name__', function)!r}, which "
                    f"has no integers: train with {role}='{own}'."
                )
        parameters = (cell.leak, cell.membrane_bias, cell.threshold, cell.reset)
        layer = cls(
            name,
            np.asarray(cell.kernel, np.float64),
            np.asarray(cell.recurrent_kernel, np.float64),
            base.vector(cell.bias, 4 * cell.units),
            *(base.vector(parameter, cell.units) for parameter in parameters),
        )
        layer.check_finite()
        outside = np.flatnonzero((layer.leak < 0) | (layer.leak > 1))
        if len(outside):
            raise ConversionError(
                f"Layer '{name}': the leak of unit {outside[0]} is {layer.leak[outside[0]]:.6g} "
                f"({len(outside)} such units), but what a unit keeps must be in [0, 1]: keep the "
                "default leak_constraint while training."
            )
        for parameter in ("membrane_bias", "threshold", "reset"):
            largest = np.abs(getattr(layer, parameter)).max()
            if UNITY * largest > STATE_MAX:
                raise ConversionError(
                    f"Layer '{name}': `{parameter}` is {largest:.6g}, but a 24-bit membrane, in "
                    f"which 1 is {UNITY}, reaches {STATE_MAX / UNITY:.6g}: make it smaller."
                )
        return layer

    @property
    def units(self):
        """Number of units."""
        return self.recurrent_kernel.shape[0]

    def simulate(self, inputs):
        """Outputs (batch, T, units) of the float layer, and what is inside by name.

        Computed in float32 and in the order of the cell.
        """
        kernel, recurrent, bias, leak, membrane_bias, threshold, reset = (
            np.asarray(value, np.float32)
            for value in (
                self.kernel,
                self.recurrent_kernel,
                self.bias,
                self.leak,
                self.membrane_bias,
                self.threshold,
                self.reset,
            )
        )
        z = inputs.astype(np.float32) @ kernel
        u = c = np.zeros((len(inputs), self.units), np.float32)
        inside = {
            name: np.empty((*inputs.shape[:2], self.units), np.float32)
            for name in ("membrane", "state", "cell")
        }
        outputs = np.empty((*inputs.shape[:2], self.units), np.int8)
        for t in range(inputs.shape[1]):
            z[:, t] = z[:, t] + u @ recurrent + bias
            i, f, candidate, o = np.split(z[:, t], 4, axis=-1)
            c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(candidate)
            membrane = _sigmoid(o) * np.tanh(c)
            outputs[:, t] = membrane >= threshold
            u = leak * np.where(outputs[:, t], reset, membrane) + membrane_bias
            for name, value in (("membrane", membrane), ("state", u), ("cell", c)):
                inside[name][:, t] = value
        return outputs, {"z": z, **inside}

    def quantize(self, inputs, leak_groups=None):
        """The integers: for each row, the power of two whose gate differs least on `inputs`.

        Each gate is compared with that of the float layer given the float layer's own membranes.
        """
        outputs, inside = self.simulate(inputs)
        registers = self._registers(inputs.shape[1], leak_groups)
        bare = LIFLSTM(**registers)
        exponents = self.exponents(bare)
        kernels = self._kernels(bare)
        messages = np.zeros_like(inside["state"], np.int32)  # of the last step
        u = np.rint(UNITY * inside["state"][:, :-1]).astype(np.int32)
        messages[:, 1:] = bare.feedback({"u": u}, None)

        def weighted(parts):
            synapses, recurrent = self.synapses(parts, bare)
            return synapses.product()(inputs) + recurrent.product()(messages)

        def error(z):
            return ((_gates(z + bare.bias) - UNITY * _float_gates(inside["z"])) ** 2).mean((0, 1))

        shift, parts = base.row_shifts(
            kernels, exponents, (inputs, messages), UNITY, weighted, error
        )
        synapses, recurrent = self.synapses(parts, bare)
        units = LIFLSTM(**registers, shift=shift, recurrent=recurrent)
        leak_error = float(np.abs(registers["keep"] / UNITY - self.leak).max())
        return base.recorded(self, synapses, units, parts, inputs, outputs, leak_error=leak_error)

    def approximations(self, units, record):
        """The activations, and the rounding of states."""
        return [
            "sigmoids differ by up to 0.0014 and tanh by up to 0.0024",
            "gates, cells and membranes are rounded to 12 bits or more",
        ]

    def dequantized(self, units, states, record, looked_at):
        """`v / 4096`."""
        return units.membranes(states["weighted"], states["c"])[:, looked_at] / UNITY

    def closeness(self, inside, where):
        """The membrane before the reset, which is between -1 and 1."""
        membrane, threshold = float(inside["membrane"][where]), float(self.threshold[where[-1]])
        return membrane, threshold, membrane - threshold

    def synapses(self, parts, units):
        """Those before the layer, and those from its messages, from `parts` as of `base.record`."""
        (_, _, weights), (_, _, recurrent) = parts
        own, back = self.exponents(units)
        recurrent = Dense(recurrent.astype(int), back, message_bits=units.feedback_bits)
        return self.dense(weights, own), recurrent

    def exponents(self, units):
        """Powers of two of both matrices, with which both use all bits.

        What is rounded down, because its power is negative, is `FINER` bits finer than a weight,
        or less where some input could then bring more than 24 bits.
        """
        low = arithmetic.RANGES["exponent"][0]
        kernels = self._kernels(units)
        largest, other = (np.abs(matrix).max(axis=0) for matrix in kernels)
        both = (largest > 0) & (other > 0)
        if not both.any():
            return 0, 0
        ratio = int(np.clip(np.rint(np.median(np.log2(largest[both] / other[both]))), -15, 15))
        least = FINER - abs(ratio)
        both = np.array([least + max(ratio, 0), least + max(-ratio, 0)])
        scale = base.largest_weight(kernels) / base.largest_of_rows(kernels, both)
        sums = scale * self._reach(kernels, units)
        excess = int(np.ceil(np.log2(max(sums.max() / STATE_MAX, 1))))
        own, back = both + max(low - least, -excess)
        return int(own), int(back)

    def _kernels(self, units):
        """The matrices of weights, for inputs and messages that are integers."""
        return self.kernel, self.recurrent_kernel * 2.0**units.message_shift / UNITY

    def _reach(self, kernels, units):
        """The largest sum that inputs and messages can bring through two matrices, each column."""
        largest = (1 << units.feedback_bits) - 1
        ranges = (self.message_range, (-largest, largest))
        return sum(
            np.abs(base.reach(*both)).max(axis=0) for both in zip(kernels, ranges, strict=True)
        )

    def _registers(self, steps, leak_groups):
        """All registers but `shift`."""
        # No cell can grow by more than 1 in a step.
        cell_shift = int(np.clip(np.log2(STATE_MAX / UNITY / steps), 0, CELL_SHIFT))
        registers = {
            "threshold": np.ceil(UNITY * self.threshold - base.NEARLY).astype(int),
            "reset": np.rint(UNITY * self.reset).astype(int),
            "keep": base.kept(self.leak, leak_groups),
            "membrane_bias": np.rint(UNITY * self.membrane_bias).astype(int),
            "bias": np.clip(np.rint(UNITY * self.bias), *arithmetic.RANGES["bias"]).astype(int),
            "cell_shift": cell_shift,
        }
        bits = LIFLSTM(**registers).feedback_bits
        return {**registers, "message_shift": max(bits - MESSAGE_BITS, 0)}


# Bits of the cell beyond 1/4096, at most; and of the synapses that are rounded down.
CELL_SHIFT = 8
FINER = 3


def _sigmoid(x):
    return (1 + np.tanh(x / 2)) / 2  # which does not overflow


def _float_gates(z):
    i, f, candidate, o = np.split(z.astype(np.float64), 4, axis=-1)
    gates = (_sigmoid(i), _sigmoid(f), np.tanh(candidate), _sigmoid(o))
    return np.concatenate(gates, axis=-1)


def _gates(z):
    """The gates in integers."""
    i, f, candidate, o = np.split(arithmetic.saturate(z), 4, axis=-1)
    sigmoid, tanh = arithmetic.fine_sigmoid, arithmetic.tanh
    return np.concatenate((sigmoid(i), sigmoid(f), tanh(candidate), sigmoid(o)), axis=-1)
