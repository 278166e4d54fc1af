"""LIF and GatedLIF to integers.

A unit's current and membrane are `s` times those of Keras, in least significant bits of 24-bit
states. With the decays in units of 1/4096 the two are the same unit:

    weights    s / 2**shift * W, on the grid of 8-bit integers times a power of two of the matrix
    bias       s * b
    threshold  s * theta, rounded up
    height     s * theta; with outputs of several bits s * V_max / 2**b

Each unit has an `s` of its own, which brings its largest weight to the end of 8 bits, and a `shift`
that leaves room for the largest state. The forget gate of GatedLIF gets its input in units of
1/4096: there the scale of a row of weights is a power of two. Batch normalisation, with its moving
statistics, is a factor of the weights and a bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lava_export import arithmetic, reference
from lava_export.quantize import base
from lava_export.quantize.base import STATE_MAX, ConversionError
from lava_export.synapses import Dense
from lava_export.units import CurrentLIF, GatedLIF

# Bits that the states should have for each step of the outputs: decays and gates round some away.
PRECISION = 10
# How far past 8 bits the scale of a forget gate may bring its largest weight.
GATE_CLIPPING = (1, 2, 4)


@dataclass(frozen=True)
class SoftResetDescription(base.Description):
    """What both layers have, in float64, as the layer has it in inference.

    `kernel` is (in, columns), `bias` (columns,), the other arrays are (units,). `bits`, `ratio`,
    `signed` and `v_max` are those of equation (22); `bits` is 0 for outputs 0 and 1.
    """

    bias: np.ndarray
    membrane_decay: np.ndarray
    threshold: np.ndarray
    bits: int
    ratio: int
    signed: bool
    v_max: float

    # Weights of the last step's outputs (units, columns) or None, and the number of forget gates.
    recurrent_kernel: ClassVar[np.ndarray | None] = None
    gates: ClassVar[int] = 0

    @classmethod
    def of_both(cls, name, cell, **more):
        """The description of either cell; `more` has what only one of them has."""
        units = cell.units
        kernel = np.asarray(cell.kernel, np.float64)
        bias = base.vector(cell.bias, kernel.shape[1])
        if cell.batch_normalization:
            scale, offset, mean, variance = (
                np.asarray(weight, np.float64)
                for weight in (
                    cell.norm_scale,
                    cell.norm_offset,
                    cell.moving_mean,
                    cell.moving_variance,
                )
            )
            scale = scale / np.sqrt(variance + cell.epsilon)
            kernel, bias = kernel * scale, offset - mean * scale
        layer = cls(
            name,
            kernel,
            bias,
            base.vector(cell.membrane_decay, units),
            base.vector(cell.threshold, units),
            cell.bits or 0,
            cell.threshold_ratio,
            cell.signed,
            1.0 if cell.bits is None else float(np.asarray(cell.v_max)),
            **more,
        )
        layer.check_finite()
        if not (np.isfinite(layer.v_max) and layer.v_max > 0):
            raise ConversionError(
                f"Layer '{name}': `v_max` is {layer.v_max}, but the outputs are multiples of it: "
                "train again with a lower learning rate or clipped gradients."
            )
        for decay in ("membrane_decay", "current_decay"):
            values = getattr(layer, decay, np.zeros(1))
            outside = np.flatnonzero((values < 0) | (values > 1))
            if len(outside):
                raise ConversionError(
                    f"Layer '{name}': the {decay} of unit {outside[0]} is "
                    f"{values[outside[0]]:.6g} ({len(outside)} such units), but what a unit keeps "
                    f"must be in [0, 1]: keep the default {decay}_constraint while training."
                )
        return layer

    @property
    def units(self):
        """Number of units."""
        return len(self.membrane_decay)

    @property
    def levels(self):
        """Number of steps of the outputs from 0 to V_max; 2 for spikes."""
        return 1 << (self.bits - self.signed) if self.bits else 2

    @property
    def output_range(self):
        """The smallest and the largest output of the integer units."""
        return (1 - self.levels if self.signed else 0), self.levels - 1

    @property
    def output_scale(self):
        """What an output of 1 of the integer units is in Keras."""
        return self.v_max / self.levels if self.bits else 1.0

    @property
    def recurrent_in_integers(self):
        """The recurrent weights for the integers of the outputs."""
        return self.output_scale * self.recurrent_kernel

    def fire(self, membrane):
        """The outputs of a membrane potential in integers and in Keras: equation (9) or (22).

        In float32 and in the order of `keras_spiking_rnn.lif.multi_bit_output`.
        """
        if not self.bits:
            fired = membrane >= self.threshold.astype(np.float32)
            return fired, fired.astype(np.float32)
        v_max, levels = np.float32(self.v_max), np.float32(self.levels)
        size = np.abs(membrane) if self.signed else membrane
        level = np.minimum(np.floor(levels * size / v_max), levels - 1)
        level = np.where(size >= np.float32(self.ratio) * v_max / 2**self.bits, level, 0)
        if self.signed:
            level = np.sign(membrane) * level
        return level, level * v_max / levels

    def integrate(self, projected, before, current):
        """The current of a step in float32, and the gates by name.

        Args:
            projected: What the inputs bring, (batch, columns), in float32.
            before: The outputs of the last step in Keras.
            current: The current of the last step.
        """
        raise NotImplementedError

    def simulate(self, inputs):
        """Outputs in integers, and what is inside: arrays (batch, T, units) by name.

        Computed in float32 and in the order of the cell, so that a potential that meets its
        threshold there does so here.
        """
        kernel, bias, alpha = (
            np.asarray(value, np.float32) for value in (self.kernel, self.bias, self.membrane_decay)
        )
        theta = np.float32(1) if self.bits else self.threshold.astype(np.float32)
        projected = inputs.astype(np.float32) @ kernel + bias
        current = membrane = output = np.zeros((len(inputs), self.units), np.float32)
        outputs = np.empty((*inputs.shape[:2], self.units))
        steps = []
        for t in range(inputs.shape[1]):
            current, gates = self.integrate(projected[:, t], output, current)
            membrane = alpha * membrane + current - theta * output
            outputs[:, t], output = self.fire(membrane)
            steps.append({"current": current, "membrane": membrane, **gates})
        inside = {name: np.stack([step[name] for step in steps], axis=1) for name in steps[0]}
        return outputs.astype(np.int8 if self.output_range == (0, 1) else np.int32), inside

    def quantize(self, inputs, leak_groups=None):
        """The integers: for each unit, the candidate whose outputs differ least on `inputs`.

        Each unit is compared with that of the float layer given the float layer's own outputs. A
        later candidate, which loses more of the weights, has to be better by more than chance.
        """
        outputs, inside = self.simulate(inputs)
        before = np.zeros_like(outputs)  # the outputs of the last step
        before[:, 1:] = outputs[:, :-1]
        lines = (inputs, before)[: len(self.kernels)]
        room = self._room(inside, inputs.shape[1])
        gate = self._gate_scale(lines, inside)
        best = None
        for scale in base.scales(self.kernels, self.exponents):
            scale = np.concatenate([gate, scale[len(gate) :]])
            parts = base.parts(self.kernels, scale, self.exponents)
            units = self._units(scale, room, leak_groups)
            simulation = reference.simulate_units(units, self._current(parts, lines))
            error = simulation.spikes.astype(np.int64) - outputs
            cost = (error**2).sum(axis=1)
            if best is None:
                best, chosen = cost, scale
            better = _better(cost, best) & ~self._unseen(parts, lines)[len(gate) :]
            best = np.where(better, cost, best)
            chosen = np.where(np.append(np.zeros(len(gate), bool), better), scale, chosen)
        parts = base.parts(self.kernels, chosen, self.exponents)
        synapses, recurrent = self._synapses(parts)
        units = self._units(chosen, room, leak_groups, recurrent)
        return base.recorded(
            self,
            synapses,
            units,
            parts,
            inputs,
            outputs,
            leak_error=self._leak_error(units),
            settings=self._settings(chosen, units),
        )

    @property
    def kernels(self):
        """The matrices of weights (in, columns), for inputs that are integers."""
        if self.recurrent_kernel is None:
            return (self.kernel,)
        return self.kernel, self.recurrent_in_integers

    @property
    def exponents(self):
        """The power of two of each matrix."""
        return base.exponents(*self.kernels) if len(self.kernels) == 2 else (0,)

    def dequantized(self, units, states, record, looked_at):
        """`v / s`."""
        height = self.output_scale if self.bits else self.threshold
        return (states["v"] * height / units.height)[:, looked_at]

    def approximations(self, units, record):
        """Rounding of decayed states and of what a soft reset takes."""
        found = []
        if self.gates or np.any((self.current_decay > 0) & (self.current_decay < 1)):
            found.append("decayed currents are rounded toward 0")
        if np.any((self.membrane_decay > 0) & (self.membrane_decay < 1)):
            found.append("decayed membranes are rounded toward 0")
        return found

    @property
    def _ranges(self):
        """The smallest and the largest integer that the lines of each matrix bring."""
        return (self.message_range, self.output_range)[: len(self.kernels)]

    def closeness(self, inside, where):
        """The membrane, and the nearest potential at which the output changes."""
        unit = where[-1]
        membrane = float(inside["membrane"][where])
        if not self.bits:
            threshold = height = float(self.threshold[unit])
        else:
            height = self.output_scale
            lowest = self.ratio * self.v_max / 2**self.bits
            size = abs(membrane) if self.signed else membrane
            nearest = height * np.clip(np.rint(size / height), 0, self.levels - 1)
            threshold = float(max(lowest, nearest))
            if self.signed and membrane < 0:
                threshold = -threshold
        return membrane, threshold, (membrane - threshold) / height

    def _synapses(self, parts):
        """Those before the layer, and those from its outputs or None."""
        weights = [weights for _, _, weights in parts]
        synapses = self.dense(weights[0], self.exponents[0])
        if len(weights) == 1:
            return synapses, None
        bits = 0 if self.output_range == (0, 1) else self.output_range[1].bit_length()
        recurrent = Dense(weights[1].astype(int), self.exponents[1], message_bits=bits)
        return synapses, recurrent

    def _current(self, parts, lines):
        """The weighted inputs that the lines bring, the float layer's outputs among them."""
        synapses, recurrent = self._synapses(parts)
        current = synapses.product()(lines[0])
        return current if recurrent is None else current + recurrent.product()(lines[1])

    def _unseen(self, parts, lines):
        """Rows with a clipped weight whose input is silent: no data tells what harm that does."""
        return np.any(
            [
                base.clipped(*part)[:, ~line.any(axis=(0, 1))].any(axis=1)
                for part, line in zip(parts, lines, strict=True)
            ],
            axis=0,
        )

    def _gate_scale(self, lines, inside):
        """The scale of the rows of the forget gate: none where there is none."""
        return np.empty(0)

    def _worst(self, steps):
        """Largest current and membrane of each unit in so many steps, whatever the inputs."""
        raise NotImplementedError

    def _room(self, inside, steps):
        """What the states of each unit must hold, (units,) each, in units of Keras' potential.

        Returns:
            What any input can bring in so many steps, and twice what the data did.
        """
        own = self.bias[self.gates * self.units :]
        seen = [np.abs(inside[name]).max(axis=(0, 1)) for name in ("current", "membrane")]
        top = np.full(self.units, self.v_max) if self.bits else self.threshold
        needed = np.max([2 * np.max(seen, axis=0), top, np.abs(own)], axis=0)
        return np.maximum(self._worst(steps), needed), needed

    def _gain(self, steps):
        """How much larger than the current the membrane can become."""
        return _sum_of_powers(self.membrane_decay, steps)

    def _units(self, scale, room, leak_groups, recurrent=None):
        """The units whose rows of weights have the scale `scale` (columns,)."""
        raise NotImplementedError

    def _registers(self, scale, room, leak_groups):
        """The registers that both kinds of units have, without those of the forget gate."""
        scale = scale[self.gates * self.units :]
        any_input, needed = room

        def fitting(potential):
            """The largest shift with which a potential stays within 24 bits."""
            return np.floor(np.log2(STATE_MAX / (potential * scale)))

        height = self.output_scale if self.bits else self.threshold
        precise = np.ceil(PRECISION - np.log2(scale * height))
        shift = np.maximum(fitting(any_input), np.minimum(precise, fitting(needed)))
        low, high = arithmetic.RANGES["shift"]
        unit = int(shift.argmin())
        if shift[unit] < low:
            raise ConversionError(
                f"Layer '{self.name}': the potentials of unit {unit} reach {needed[unit]:.3g}, but "
                f"its largest weight is {254 / scale[unit]:.3g}: 24-bit states do not hold both. "
                "Regularise the larger while training."
            )
        shift = np.minimum(shift, high).astype(int)
        s = scale * 2.0**shift
        if self.bits:
            height = np.maximum(np.rint(s * self.output_scale), 1)
            threshold = self.ratio * height / (1 + self.signed)
        else:
            threshold = s * self.threshold
            height = np.maximum(np.rint(threshold), 1)
        threshold = np.ceil(threshold - base.NEARLY * (1 + np.abs(threshold)))
        bits = 0 if self.output_range == (0, 1) else self.bits - self.signed
        return {
            "keep_v": base.kept(self.membrane_decay, leak_groups),
            "threshold": threshold.astype(int),
            "height": height.astype(int),
            "bias": np.rint(s * self.bias[self.gates * self.units :]).astype(int),
            "shift": shift,
            "bits": bits,
            "signed": int(self.signed and bits > 0),
        }

    def _settings(self, scale, units):
        """What was chosen, by name."""
        return {
            "scale": scale.tolist(),
            "exponents": list(self.exponents),
            "shift": np.asarray(units.shift).tolist(),
            "threshold_register": np.asarray(units.threshold).tolist(),
            "height": np.asarray(units.height).tolist(),
            "output_scale": self.output_scale,
        }

    def _leak_error(self, units):
        """The largest change of a decay."""
        return np.abs(units.keep_v / arithmetic.DECAY_UNITY - self.membrane_decay).max()


@dataclass(frozen=True)
class CurrentLIFDescription(SoftResetDescription):
    """One LIF layer in float64, as the layer has it in inference; `current_decay` is (units,)."""

    current_decay: np.ndarray

    @classmethod
    def of(cls, name, cell):
        """The description of a `LIFCell`."""
        return cls.of_both(name, cell, current_decay=base.vector(cell.current_decay, cell.units))

    def integrate(self, projected, before, current):
        """The current of a step in float32; there are no gates."""
        return self.current_decay.astype(np.float32) * current + projected, {}

    def _worst(self, steps):
        entering = np.abs(np.add(self.reach(), self.bias)).max(axis=0)
        return entering * _sum_of_powers(self.current_decay, steps) * self._gain(steps)

    def _units(self, scale, room, leak_groups, recurrent=None):
        keep_i = base.kept(self.current_decay, leak_groups)
        return CurrentLIF(keep_i, **self._registers(scale, room, leak_groups))

    def _leak_error(self, units):
        of_current = np.abs(units.keep_i / arithmetic.DECAY_UNITY - self.current_decay).max()
        return float(max(of_current, super()._leak_error(units)))


@dataclass(frozen=True)
class GatedLIFDescription(SoftResetDescription):
    """One GatedLIF layer in float64, as the layer has it in inference.

    `recurrent_kernel` is (units, 2 units) or None, `gate` one of `GATES`.
    """

    recurrent_kernel: np.ndarray | None = None
    gate: str = "sigmoid"

    gates: ClassVar[int] = 1

    @classmethod
    def of(cls, name, cell):
        """The description of a `GatedLIFCell`."""
        import keras

        from keras_spiking_rnn.activations import plan_sigmoid

        own = {"sigmoid": keras.activations.sigmoid, "plan_sigmoid": plan_sigmoid}
        gate = [name for name, function in own.items() if function == cell.gate_activation]
        if not gate:
            raise ConversionError(
                f"Layer '{name}' has the gate activation {cell.gate_activation!r}, which has no "
                "integers: train with gate_activation='plan_sigmoid', or 'sigmoid', of which that "
                "is an approximation."
            )
        recurrent = np.asarray(cell.recurrent_kernel, np.float64) if cell.recurrent_gates else None
        return cls.of_both(name, cell, recurrent_kernel=recurrent, gate=gate[0])

    def integrate(self, projected, before, current):
        """The current of a step in float32, and the forget gate and the candidate."""
        if self.recurrent_kernel is not None:
            projected = projected + before @ self.recurrent_kernel.astype(np.float32)
        x, candidate = np.split(projected, 2, axis=-1)
        forget, candidate = GATES[self.gate](x), np.maximum(candidate, 0)
        current = forget * current + (1 - forget) * candidate
        return current, {"forget": forget, "candidate": candidate}

    def approximations(self, units, record):
        """Rounding, and the gate where it was not trained with the sigmoid of the chip."""
        own = ["the sigmoid differs by up to 0.0014"] if self._fine else []
        return super().approximations(units, record) + own

    @property
    def _fine(self):
        """Whether the gate was not trained with the sigmoid of fewer lines."""
        return self.gate == "sigmoid"

    def _gate_scale(self, lines, inside):
        """The power of two for each row of the forget gate whose gate differs least on the data."""
        rows = slice(0, self.units)
        kernels = [kernel[:, rows] for kernel in self.kernels]
        largest = base.largest_of_rows(kernels, self.exponents)
        highest = np.floor(np.log2(base.largest_weight(self.kernels) / largest))
        low, high = arithmetic.RANGES["shift"]
        expected = arithmetic.DECAY_UNITY * inside["forget"]
        sigmoid = arithmetic.fine_sigmoid if self._fine else arithmetic.sigmoid
        best = None
        for clipping in GATE_CLIPPING:
            shift = np.clip(arithmetic.DECAY_SHIFT - highest - np.log2(clipping), low, high)
            shift = shift.astype(int)
            scale = 2.0 ** (arithmetic.DECAY_SHIFT - shift)
            every = np.concatenate([scale, np.ones(self.units)])
            parts = base.parts(self.kernels, every, self.exponents)
            x = arithmetic.shifted(self._current(parts, lines)[..., rows], shift)
            error = sigmoid(x + self._gate_bias()) - expected
            cost = (error**2).sum(axis=1)
            if best is None:
                best, chosen = cost, scale
            better = _better(cost, best) & ~self._unseen(parts, lines)[rows]
            best, chosen = np.where(better, cost, best), np.where(better, scale, chosen)
        return chosen

    def _settings(self, scale, units):
        return {**super()._settings(scale, units), "fine": units.fine}

    def _gate_bias(self):
        bias = np.rint(arithmetic.DECAY_UNITY * self.bias[: self.units])
        return np.clip(bias, *arithmetic.RANGES["bias"]).astype(int)

    def _worst(self, steps):
        lines = zip(self.kernels, self._ranges, strict=True)
        reach = sum(base.reach(kernel, messages)[1] for kernel, messages in lines)
        candidate = np.maximum(reach + self.bias, 0)[self.units :]
        return candidate * self._gain(steps)

    def _units(self, scale, room, leak_groups, recurrent=None):
        registers = self._registers(scale, room, leak_groups)
        gate_shift = arithmetic.DECAY_SHIFT - np.log2(scale[: self.units]).astype(int)
        registers["bias"] = np.concatenate([self._gate_bias(), registers["bias"]])
        registers["shift"] = np.concatenate([gate_shift, registers["shift"]])
        return GatedLIF(**registers, fine=int(self._fine), recurrent=recurrent)


def _better(cost, best):
    """Where a cost (samples, units) is lower than the best so far by more than chance."""
    gain = best - cost
    return gain.sum(axis=0) > 2 * np.sqrt((gain**2).sum(axis=0))  # two standard deviations


def _sum_of_powers(decay, steps):
    """`1 + decay + decay**2 + ...`, of so many terms."""
    return (decay[:, None] ** np.arange(steps)).sum(axis=1)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _plan_sigmoid(x):
    """`keras_spiking_rnn.activations.plan_sigmoid`, which is `arithmetic.sigmoid` in float."""
    size = np.abs(x)
    y = np.where(size < 5, size / 32 + np.float32(27 / 32), np.float32(1))
    y = np.where(size < 2.375, size / 8 + np.float32(5 / 8), y)
    y = np.where(size < 1, size / 4 + np.float32(1 / 2), y)
    y = np.floor(4096 * y) / 4096
    return np.where(x < 0, 1 - y, y)


# What the gate computes in Keras, by its name there.
GATES = {"sigmoid": _sigmoid, "plan_sigmoid": _plan_sigmoid}
