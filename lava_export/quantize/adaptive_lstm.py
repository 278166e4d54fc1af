"""Adaptive neurons and LSTMs to integers.

A neuron stays the same when its current, signal, estimate and thresholds are all multiplied by one
number. So each of them has a scale of its own, with which its largest weight takes all of 8 bits,
and its states as many of their 24 bits as no input can overflow. Decays become 12-bit fractions;
what that changes of the mean of a current, `1 / (1 - decay)`, goes into the scale.

The trace of a gate has the scale in which the CEC of its unit takes it, times 2**gate_shift.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lava_export import arithmetic, host, reference
from lava_export.quantize import base
from lava_export.quantize.base import STATE_MAX, ConversionError
from lava_export.synapses import Dense
from lava_export.units import AdaptiveLSTM, AdaptiveNeurons

# Units of the last bit that a threshold at rest, and what a spike brings to a CEC, should have.
RESOLUTION = 1024
CEC_RESOLUTION = 128
# How far past 8 bits the largest weights of a row may go for the sake of the others.
CLIPPING = (1.0, 1.25, 1.6)
INPUT_BITS = 8


@dataclass(frozen=True)
class AdaptiveDescription(base.Description):
    """One layer of adaptive neurons and LSTMs side by side, in float64.

    `kernel` is (in, columns), with the height of the spikes that come in as a factor. The columns
    are those of the gates, then those of the cells; a layer without LSTMs has cells only.

    Args:
        bias: (columns,).
        neuron: The `AdaptiveSpikingNeuron`.
        memory: Which units are LSTMs, (units,).
        gate_height: The height of a gate's spike, (units,).
        cec_weight: What a spike of the cell brings to the CEC for a trace of 1, (units,).
        window: Steps of a time window, a step of the analog network.
        input_scale: What a message of 1 stands for, for analog inputs; None for spikes.
    """

    bias: np.ndarray
    neuron: Any
    memory: np.ndarray
    gate_height: np.ndarray
    cec_weight: np.ndarray
    window: int
    input_scale: float | None

    @property
    def units(self):
        """Number of units."""
        return len(self.memory)

    @property
    def gated(self):
        """Whether there is an LSTM."""
        return bool(self.memory.any())

    @property
    def rise(self):
        """By how much a spike raises the threshold, in parts of it."""
        neuron = self.neuron
        return neuron.m_f / (neuron.theta_0 if neuron.adaptation == "relative" else 1)

    @property
    def decays(self):
        """What is left after a step, for each of the neuron's time constants."""
        names = ("beta", "phi", "eta", "gamma")
        return {name: self.neuron.decay(getattr(self.neuron, f"tau_{name}")) for name in names}

    def simulate(self, inputs):
        """The float layer in float64, in the order of `adaptive_spiking_lstm_step`.

        Args:
            inputs: Messages, or spikes, (batch, T, in).

        Returns:
            A dictionary: the `spikes` (batch, T, units) of the output cells, their `potential` and
            `threshold`, the `cec` of the units (T's last step), and `reach`, the largest number
            that any state of each column took, followed by that of each output cell.
        """
        d = self.decays
        analog = self.input_scale is not None
        weighted = inputs @ (self.kernel * (self.input_scale if analog else 1.0))
        batch, steps, columns = weighted.shape
        rows = [_Neurons(self, (batch, columns))]
        if self.gated:
            rows.append(_Neurons(self, (batch, self.units)))
        shape = (batch, steps, self.units)
        spikes = np.empty(shape, np.int8)
        potential, threshold = np.empty(shape), np.empty(shape)
        current = np.zeros((batch, columns))
        star, star_signal, cec = (np.zeros((batch, self.units)) for _ in range(3))
        for t in range(steps):
            current = weighted[:, t] + (0.0 if analog else d["beta"]) * current
            fired = rows[0].step(current + self.bias)
            if self.gated:
                gate, cell = np.split(fired, 2, axis=-1)
                star = d["beta"] * star + self.gate_height * gate
                star_signal = (1 - d["phi"]) * star + d["phi"] * star_signal
                cec = cec + self.cec_weight * star_signal * cell
                drive = np.where(self.memory, cec, (current + self.bias)[:, self.units :])
                fired = rows[1].step(drive)
            spikes[:, t] = fired
            potential[:, t], threshold[:, t] = rows[-1].potential, rows[-1].limit
        return {
            "spikes": spikes,
            "potential": potential,
            "threshold": threshold,
            "cec": cec,
            "reach": np.concatenate([neurons.reach for neurons in rows]),
        }

    def quantize(self, inputs, leak_groups=None):
        """The integers: for each unit the candidate whose decoded output differs least."""
        floats = self.simulate(inputs)
        outputs = floats["spikes"]
        decode = host.WindowMean(self.window, self.window, self.decays["beta"])
        wanted = decode(outputs)
        silent = ~inputs.any(axis=(0, 1))
        best = None
        for scale in self._row_scales():
            synapses, units, ideal = self._integers(scale, floats, inputs.shape[1])
            simulation = reference.simulate_layer(synapses, units, inputs)
            clipped = base.clipped(self.kernel, ideal, synapses.weights)
            cost = ((decode(simulation.spikes) - wanted) ** 2).sum(axis=(0, 1))
            cost = np.where(self._of_units(clipped[:, silent].any(axis=1)), np.inf, cost)
            best = [cost, scale] if best is None else best
            better = cost < 0.8 * best[0]
            best[0] = np.where(better, cost, best[0])
            best[1] = np.where(np.tile(better, len(scale) // self.units), scale, best[1])
        synapses, units, ideal = self._integers(best[1], floats, inputs.shape[1])
        simulation = reference.simulate_layer(synapses, units, inputs)
        error = ((decode(simulation.spikes) - wanted) ** 2).mean()
        record = base.record(
            self,
            (synapses, units),
            [(self.kernel, ideal, synapses.weights)],
            simulation,
            outputs,
            leak_error=max(abs(_keep(left) / 4096 - left) for left in self.decays.values()),
            decoded_error=float(np.sqrt(error / max((wanted**2).mean(), 1e-300))),
        )
        return synapses, units, record, outputs

    def approximations(self, units, record):
        """What is not exact."""
        return ["products rounded toward zero", "decays and m_f are multiples of 1/4096"]

    def dequantized(self, units, states, record, looked_at):
        """The signal of the output cell, less its estimate before the step."""
        name, rest = ("output_", units.theta_out) if self.gated else ("", units.theta_0)
        before = np.zeros_like(states[f"{name}estimate"])
        before[1:] = states[f"{name}estimate"][:-1]
        potential = states[f"{name}signal"].astype(np.int64) - before
        return (potential * self.neuron.theta_0 / rest)[:, looked_at]

    def closeness(self, inside, where):
        """The potential of the output cell, in units of its threshold."""
        potential, threshold = float(inside["potential"][where]), float(inside["threshold"][where])
        return potential, threshold, (potential - threshold) / threshold

    def worst_case(self, steps):
        """The largest drive that inputs can bring, of each column and then of each CEC."""
        largest = np.abs(self.kernel).sum(axis=0)
        if self.input_scale is None:
            largest = largest / (1 - self.decays["beta"])
        else:
            largest = largest * self.input_scale * ((1 << INPUT_BITS) - 1)
        largest = largest + np.abs(self.bias)
        if not self.gated:
            return largest
        cec = steps * self.cec_weight * self.gate_height / (1 - self.decays["beta"])
        return np.concatenate([largest, np.where(self.memory, cec, largest[self.units :])])

    def _row_scales(self):
        """For each candidate a factor for each column, which turns its weights into integers."""
        step, low, high = base.grid(self.kernel)
        top = min(max(high, -low), 254) // step * step
        largest = np.abs(self.kernel).max(axis=0)
        largest = np.where(largest > 0, largest, 1.0)

        def loss(scale):
            ideal, weights = base.on_grid(self.kernel, scale)
            return ((weights - ideal) ** 2).sum(axis=1) / scale**2

        # Where the weights of a row are multiples of one number, some target has them all on the
        # grid.
        targets = np.arange(top // 2 + 1, top + 1)
        losses = np.stack([loss(target / largest) for target in targets])
        yield targets[losses.argmin(axis=0)] / largest
        for clipping in CLIPPING:
            yield top * clipping / largest

    def _of_units(self, columns):
        """Whether any column of a unit is among `columns`."""
        return columns.reshape(-1, self.units).any(axis=0)

    def _safe(self, steps):
        """Scales of columns and output cells with which no input can overflow a state.

        A threshold is below twice the signal where there is a spike, so that what it grows to, and
        an estimate, stay below three times the signal, or what they are after one spike at rest.
        """
        rest = self.neuron.theta_0 * (1 + self.rise)
        return STATE_MAX / (3.1 * np.maximum(self.worst_case(steps), 2 * rest))

    def _scales(self, floats, steps):
        """The largest scale of each column, and the one of each output cell.

        A scale is how many units of the last bit 1 becomes: one that no input can overflow; unless
        that leaves too few bits, and what was seen has to do.
        """
        rest = self.neuron.theta_0
        safe = self._safe(steps)
        seen = STATE_MAX / (4 * np.maximum(floats["reach"], rest))
        needed = np.full(len(safe), RESOLUTION / rest)
        if self.gated:
            needed[-self.units :] = np.maximum(
                needed[-self.units :], np.where(self.memory, CEC_RESOLUTION / self.cec_weight, 0)
            )
        return np.maximum(safe, np.minimum(needed, seen))

    def _integers(self, row_scale, floats, steps):
        """Synapses, units and ideal weights with `row_scale`, a factor for each column."""
        d = self.decays
        keep = {name: _keep(left) for name, left in d.items()}
        # The mean of a current whose decay is rounded stays what it was.
        mean = (1 - keep["beta"] / 4096) / (1 - d["beta"])
        unit = mean if self.input_scale is None else self.input_scale
        largest = self._scales(floats, steps)
        columns = len(row_scale)
        alive = self.worst_case(steps)[:columns] > self.neuron.theta_0 / 4
        ratio = (largest[:columns] * unit / row_scale)[alive]
        power = int(np.floor(np.log2(ratio.min()))) if len(ratio) else 0
        shift_max = arithmetic.RANGES["input_shift"][1]
        low, high = arithmetic.RANGES["exponent"]
        power = int(np.clip(power, low, high + shift_max))
        coarse = row_scale / unit * self.neuron.theta_0 < RESOLUTION / 4 / 2.0**power
        while power < high + shift_max and coarse.any():
            power += 1
            coarse = row_scale / unit * self.neuron.theta_0 < RESOLUTION / 4 / 2.0**power
        # The weights of some units are too small for 8 bits to matter.
        scale = np.minimum(row_scale * 2.0**power / unit, largest[:columns])
        input_shift = int(np.clip(power, 0, shift_max))
        ideal, weights = base.on_grid(self.kernel, scale * unit, power)
        synapses = Dense(
            weights.astype(int),
            power - input_shift,
            message_bits=0 if self.input_scale is None else INPUT_BITS,
        )
        registers = {
            "theta_0": self._register("theta_0", scale * self.neuron.theta_0),
            "bias": self._register("bias", scale * self.bias),
            "keep_current": keep["beta"] if self.input_scale is None else 0,
            "keep_signal": keep["phi"],
            "keep_estimate": keep["eta"],
            "keep_adaptation": keep["gamma"],
            "rise": self._register("rise", 4096 * self.rise),
            "half": int(self.neuron.condition == "half_threshold"),
            "input_shift": input_shift,
        }
        if not self.gated:
            return synapses, AdaptiveNeurons(**registers), ideal
        out = np.where(self.memory, largest[columns:], scale[self.units :])
        trace = out * self.cec_weight * self.gate_height
        room = STATE_MAX / (trace / (1 - d["beta"]))[self.memory].max()
        gate_shift = int(np.clip(np.floor(np.log2(room)), 0, 12))
        units = AdaptiveLSTM(
            **registers,
            theta_out=self._register("theta_out", out * self.neuron.theta_0),
            gate_height=self._register(
                "gate_height", np.where(self.memory, trace * mean * 2.0**gate_shift, 0)
            ),
            memory=self.memory.astype(int),
            gate_shift=gate_shift,
            keep_star=keep["beta"],
        )
        return synapses, units, ideal

    def _register(self, name, values):
        """`values` rounded, if the register holds them."""
        rounded = np.rint(values).astype(np.int64)
        low, high = arithmetic.RANGES[name]
        if np.min(rounded) < low or np.max(rounded) > high:
            raise ConversionError(
                f"Layer '{self.name}': its {name} would be from {np.min(rounded)} to "
                f"{np.max(rounded)}, but the register holds [{low}, {high}]: bring the weights and "
                "thresholds of the layer closer together, and m_f below twice the threshold."
            )
        return rounded


class _Neurons:
    """Adaptive neurons in float64, as `asn_step` computes them."""

    def __init__(self, layer, shape):
        self.d, self.rise, self.neuron = layer.decays, layer.rise, layer.neuron
        self.S, self.S_hat, self.theta_dyn = (np.zeros(shape) for _ in range(3))
        self.reach = np.zeros(shape[-1])

    def step(self, current):
        d = self.d
        self.S = (1 - d["phi"]) * current + d["phi"] * self.S
        theta = self.neuron.theta_0 + self.theta_dyn
        self.potential = self.S - self.S_hat
        self.limit = theta / 2 if self.neuron.condition == "half_threshold" else theta
        spikes = self.potential > self.limit
        risen = self.theta_dyn + self.rise * theta * spikes
        estimated = self.S_hat + theta * spikes
        for state in (current, theta, risen, estimated, self.potential):
            self.reach = np.maximum(self.reach, np.abs(state).max(axis=0))
        self.theta_dyn = risen * d["gamma"]
        self.S_hat = estimated * d["eta"]
        return spikes


def _keep(left):
    return int(np.rint(left * arithmetic.DECAY_UNITY))


def input_grid(x):
    """Scale and levels of graded messages for analog inputs `x`, exact if 8 bits can be.

    Where all inputs are multiples of one number, as those of one-hot codes, so is the scale.
    """
    most = (1 << INPUT_BITS) - 1
    largest = float(np.abs(x).max())
    if largest == 0:
        return 1.0, most
    values = np.unique(np.abs(np.asarray(x, np.float64)))
    for parts in range(1, most + 1 if len(values) <= most + 1 else 1):
        steps = values * parts / largest
        if np.abs(steps - np.rint(steps)).max() < 1e-6 * parts:
            return largest / (most // parts * parts), most // parts * parts
    return largest / most, most
