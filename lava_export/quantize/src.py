"""SRC to integers.

The hidden states are in units of 2**-20, outputs of 8 bits are their upper ones. The integrator is
in units of rho / 2**(12 + current_shift), so that what goes into the tanh of equation (5b) is one
of its shifts: `rho` is part of the weights, whose rows have a power of two each. The feedbacks and
`rho` are fractions with 12 bits after the point, less those that the largest needs before it.

A pulse begins where a positive and a negative feedback nearly balance each other. Whatever is
rounded moves it by a step or more, as does the difference of float32 and float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lava_export import arithmetic, reference
from lava_export.quantize import base
from lava_export.quantize.base import STATE_MAX, ConversionError
from lava_export.units import SRC

UNITY = arithmetic.DECAY_UNITY
HIDDEN_SHIFT = 20
BITS = 8
# Bits that the integrator should have below 1/4096 of rho.
PRECISION = 4


@dataclass(frozen=True)
class SRCDescription(base.Description):
    """One SRC layer in float64: `kernel` is (in, units), `bias` (units,), the rest are numbers."""

    bias: np.ndarray
    alpha: float
    rho: float
    r: float
    r_s: float
    z: float
    z_hyp: float
    z_dep: float
    lagging_gate: bool

    jitter: ClassVar[float] = 0.25

    @classmethod
    def of(cls, name, cell):
        """The description of an `SRCCell`."""
        names = ("alpha", "rho", "r", "r_s", "z", "z_hyp", "z_dep")
        layer = cls(
            name,
            np.asarray(cell.kernel, np.float64),
            base.vector(cell.bias, cell.units),
            *(float(getattr(cell, key)) for key in names),
            cell.lagging_gate,
        )
        layer.check_finite()
        layer.feedbacks()
        return layer

    @property
    def units(self):
        """Number of units."""
        return self.kernel.shape[1]

    @property
    def output_scale(self):
        """What an output of 1 of the integer units is in Keras."""
        return 1 / (1 << BITS)

    @property
    def output_range(self):
        """The smallest and the largest output of the integer units."""
        return 0, (1 << BITS) - 1

    def in_integers(self, outputs):
        """The outputs of the layer in Keras as those of the integer units, which stay below 1."""
        return np.minimum(super().in_integers(outputs), self.output_range[1])

    def pulses(self, outputs):
        """How many pulses some outputs (batch, T, units) are: times they enter the upper half."""
        upper = outputs >= 1 << BITS - 1
        return int(np.count_nonzero(upper[:, 0]) + np.count_nonzero(upper[:, 1:] & ~upper[:, :-1]))

    def simulate(self, inputs):
        """What is inside the float layer, arrays (batch, T, units) by name, in float32.

        Computed in the order of the cell, but its tanh may round differently.
        """
        alpha, rho, r, r_s, z, z_hyp, z_dep = (
            np.float32(value)
            for value in (
                self.alpha,
                self.rho,
                self.r,
                self.r_s,
                self.z,
                self.z_hyp,
                self.z_dep,
            )
        )
        weighted = inputs.astype(np.float32) @ self.kernel.astype(np.float32)
        bias = self.bias.astype(np.float32)
        i = h = h_s = np.zeros_like(weighted[:, 0])
        inside = {name: np.empty_like(weighted) for name in ("integrator", "hidden", "slow")}
        for t in range(inputs.shape[1]):
            before = h
            i = alpha * i + weighted[:, t]
            x = rho * np.tanh(i / rho)
            h = z * before + (1 - z) * np.tanh(x + r * before + r_s * h_s + bias)
            pulse = (before if self.lagging_gate else h) > 0.5
            z_s = np.where(pulse, z_dep, z_hyp)
            h_s = z_s * h_s + (1 - z_s) * before
            for name, value in zip(inside, (i, h, h_s), strict=True):
                inside[name][:, t] = value
        return inside

    def quantize(self, inputs, leak_groups=None):
        """The integers: for each row, the power of two whose input differs least on `inputs`."""
        inside = self.simulate(inputs)
        outputs = self.in_integers(np.maximum(inside["hidden"], 0))
        worst = self._worst(inputs.shape[1])
        registers = self._registers(worst, np.abs(inside["integrator"]).max())
        bare = SRC(**registers)
        unity = UNITY * 2.0**bare.current_shift / self.rho
        expected = UNITY * np.tanh(inside["integrator"] / self.rho)

        def weighted(parts):
            return self.dense(parts[0][2]).product()(inputs)

        def error(current):
            return ((_inputs(bare, current) - expected) ** 2).mean((0, 1))

        shift, parts = base.row_shifts((self.kernel,), (0,), (inputs,), unity, weighted, error)
        synapses = self.dense(parts[0][2])
        units = SRC(**registers, shift=shift)
        simulation = reference.simulate_layer(synapses, units, inputs)
        keeps = np.array([bare.keep_i, bare.keep_h, bare.keep_hyp, bare.keep_dep]) / UNITY
        leaks = np.array([self.alpha, self.z, self.z_hyp, self.z_dep])
        record = base.record(
            self,
            (synapses, units),
            parts,
            simulation,
            outputs,
            leak_error=float(np.abs(keeps - leaks).max()),
            pulses=[self.pulses(outputs), self.pulses(simulation.spikes)],
            activity=[float((spikes > 0).mean()) for spikes in (outputs, simulation.spikes)],
            settings={
                "shift": shift.tolist(),
                "current_shift": bare.current_shift,
                "gain_shift": bare.gain_shift,
            },
        )
        return synapses, units, record, outputs

    def dequantized(self, units, states, record, looked_at):
        """The hidden state."""
        return states["h"][:, looked_at] / 2.0**HIDDEN_SHIFT

    def approximations(self, units, record):
        """The tanh, and the rounding of states and outputs."""
        return [
            "tanh differs by up to 0.0024",
            f"outputs have {BITS} bits",
            "integrators and hidden states are rounded",
        ]

    def closeness(self, inside, where):
        """The hidden state, and the nearest one at which the output changes, in output steps."""
        hidden = float(inside["hidden"][where])
        level = np.clip(np.ceil(hidden / self.output_scale), 1, self.output_range[1])
        threshold = float((level - 0.5) * self.output_scale)
        return hidden, threshold, (hidden - threshold) / self.output_scale

    def _worst(self, steps):
        """The largest integrator that any input can bring in so many steps."""
        return np.abs(self.reach()).max() * float((self.alpha ** np.arange(steps)).sum())

    def feedbacks(self):
        """The registers but `shift` and `current_shift`, with the smallest `gain_shift` that fits.

        Raises:
            ConversionError: If none is large enough.
        """
        values = {"rho": self.rho, "r": self.r, "r_s": self.r_s, "bias": self.bias}
        low, high = arithmetic.RANGES["gain_shift"]
        for gain_shift in range(low, high + 1):
            bias = np.rint((1 << HIDDEN_SHIFT - gain_shift) * self.bias).astype(np.int64)
            registers = {**constants(self, gain_shift), "bias": bias}
            if all(_fits(name, registers[name]) for name in values):
                return registers
        name = max(values, key=lambda name: np.abs(values[name]).max())
        raise ConversionError(
            f"Layer '{self.name}': {name} is {np.abs(values[name]).max():.6g} in size, but the "
            "units hold feedbacks below 256 and biases below 2048: make it smaller."
        )

    def _registers(self, worst, seen):
        """All registers but `shift`."""
        unity = UNITY / self.rho

        def fitting(integrator):
            """The largest shift with which an integrator stays within 24 bits."""
            return np.floor(np.log2(STATE_MAX / max(integrator * unity, 1e-30)))

        current_shift = fitting(worst)
        if current_shift < PRECISION:
            current_shift = min(PRECISION, fitting(2 * seen))
        if current_shift < 0:
            raise ConversionError(
                f"Layer '{self.name}': its integrators reach {seen:.3g}, but in 24 bits they hold "
                f"{STATE_MAX / unity:.3g}: regularise the kernel while training."
            )
        current_shift = int(min(current_shift, arithmetic.RANGES["current_shift"][1]))
        return {**self.feedbacks(), "current_shift": current_shift}


def constants(layer, gain_shift):
    """The registers that follow from the numbers of a layer, an `SRCDescription` or `SRCCell`."""
    keeps = {"keep_i": layer.alpha, "keep_h": layer.z}
    keeps |= {"keep_hyp": layer.z_hyp, "keep_dep": layer.z_dep}
    gains = {"rho": layer.rho, "r": layer.r, "r_s": layer.r_s}
    return {
        **{name: int(base.kept(np.array(value))) for name, value in keeps.items()},
        **{name: int(np.rint((UNITY >> gain_shift) * value)) for name, value in gains.items()},
        "gain_shift": gain_shift,
        "lagging": int(layer.lagging_gate),
        "bits": BITS,
    }


def _fits(name, values):
    low, high = arithmetic.RANGES[name]
    return low <= np.min(values) and np.max(values) <= high


def _inputs(units, current):
    """What the pulse generation gets of the integrators, (batch, T, units), 4096 for rho."""
    i = np.zeros_like(current[:, 0])
    inputs = np.empty_like(current)
    for t in range(current.shape[1]):
        i = arithmetic.saturate(arithmetic.decay(i, units.keep_i) + current[:, t])
        inputs[:, t] = arithmetic.tanh(i >> units.current_shift)
    return inputs
