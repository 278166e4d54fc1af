"""SpikingLSTM to integers.

A gate fires where `W x + U h + b > theta`: only the sign of the difference counts. So each row of
`[W, U]` has a scale of its own, which brings its largest weight to the end of 8 bits, and the bias
moves into the threshold, `floor(s * (theta - b))`: for integers `a`, `a > t` is `a > floor(t)`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lava_export import arithmetic
from lava_export.quantize import base
from lava_export.synapses import Dense
from lava_export.units import SpikingLSTM


@dataclass(frozen=True)
class SpikingLSTMDescription(base.Description):
    """One SpikingLSTM layer in float64.

    `kernel` is (in, 4 units), `recurrent_kernel` (units, 4 units), the rest is (4 units,), in the
    order i, f, g, o.
    """

    recurrent_kernel: np.ndarray
    bias: np.ndarray
    threshold: np.ndarray

    @classmethod
    def of(cls, name, cell):
        """The description of a `SpikingLSTMCell`."""
        gate, candidate = cell.gate_threshold, cell.candidate_threshold
        layer = cls(
            name,
            np.asarray(cell.kernel, np.float64),
            np.asarray(cell.recurrent_kernel, np.float64),
            base.vector(cell.bias, 4 * cell.units),
            np.repeat(np.array([gate, gate, candidate, gate], np.float64), cell.units),
        )
        layer.check_finite()
        return layer

    @property
    def units(self):
        """Number of units."""
        return self.recurrent_kernel.shape[0]

    def simulate(self, inputs):
        """Outputs (batch, T, units) and potentials (batch, T, 4 units) of the float layer.

        Computed in float32 and in the order of the cell, so that a potential that meets its
        threshold there does so here.
        """
        kernel, recurrent, bias, threshold = (
            np.asarray(value, np.float32)
            for value in (self.kernel, self.recurrent_kernel, self.bias, self.threshold)
        )
        potential = inputs.astype(np.float32) @ kernel
        h = c = np.zeros((len(inputs), self.units), np.float32)
        outputs = np.empty((*inputs.shape[:2], self.units), np.int8)
        for t in range(inputs.shape[1]):
            potential[:, t] = potential[:, t] + h @ recurrent + bias
            i, f, g, o = np.split(potential[:, t] > threshold, 4, axis=-1)
            c = f & (c > 0) | i & g
            h = (o & c).astype(np.float32)
            outputs[:, t] = h
        return outputs, potential

    def quantize(self, inputs, leak_groups=None):
        """The integers: for each row, the candidate whose gate differs least on `inputs`.

        Each gate is compared with that of the float layer given the float layer's own outputs. A
        later candidate, which loses more of the weights, has to be better by more than chance.
        """
        outputs, potential = self.simulate(inputs)
        gates = potential > self.threshold.astype(np.float32)
        before = np.zeros_like(outputs)  # the outputs of the last step
        before[:, 1:] = outputs[:, :-1]
        silent = [~lines.any(axis=(0, 1)) for lines in (inputs, before)]
        best = None
        exponents = self.exponents()
        for scale in base.scales(self._kernels(), exponents):
            parts = base.parts(self._kernels(), scale, exponents)
            dense, recurrent = self.synapses(parts)
            current = dense.product()(inputs) + recurrent.product()(before)
            # Of a weight that is clipped, data in which its input is silent does not tell the harm.
            unseen = np.any(
                [
                    base.clipped(*part)[:, quiet].any(axis=1)
                    for part, quiet in zip(parts, silent, strict=True)
                ],
                axis=0,
            )
            # What rounding adds to the potentials on average goes into the threshold as well.
            drift = (current - scale * (potential - self.bias)).mean(axis=(0, 1))
            for shift in (0.0, drift):
                threshold = scale * (self.threshold - self.bias) + shift
                threshold = np.floor(threshold + base.NEARLY * (1 + np.abs(threshold)))
                threshold = np.clip(threshold, *arithmetic.RANGES["threshold"])
                cost = ((current > threshold) != gates).sum(axis=(0, 1))
                found = [cost, scale, shift + 0 * scale, threshold]
                if best is None:
                    best = found
                better = cost + 2 * np.sqrt(cost + best[0]) < best[0]  # two standard deviations
                best = np.where(better & ~unseen, found, best)
        _, scale, shift, threshold = best
        parts = base.parts(self._kernels(), scale, exponents)
        synapses, recurrent = self.synapses(parts)
        units = SpikingLSTM(threshold.astype(int), recurrent)
        settings = {"scale": scale.tolist(), "drift": shift.tolist()}
        return base.recorded(self, synapses, units, parts, inputs, outputs, settings=settings)

    def approximations(self, units, record):
        """None: a threshold rounded down divides integers as the float one does."""
        return []

    def synapses(self, parts):
        """Those before the layer, and those from its outputs, from `parts` as of `base.record`."""
        (_, _, weights), (_, _, recurrent) = parts
        own, back = self.exponents()
        return self.dense(weights, own), Dense(recurrent.astype(int), back)

    def exponents(self):
        """Powers of two of both matrices: 0, unless graded inputs make the first very small."""
        return base.exponents(*self._kernels()) if self.message_bits else (0, 0)

    def dequantized(self, units, states, record, looked_at):
        """`a / s` and the bias, as far above the threshold as `a` is above that of the integers."""
        threshold = np.broadcast_to(units.threshold, self.threshold.shape)[looked_at]
        above = states["weighted"][:, looked_at].astype(np.int64) - threshold
        return above / record.settings["scale"][looked_at] + self.threshold[looked_at]

    def looks_at(self, inside, where):
        """The row of the gate that came closest to its threshold."""
        rows = where[-1] + self.units * np.arange(4)
        return int(rows[np.abs([self._margin(inside, where, row) for row in rows]).argmin()])

    def potential(self, inside, where, looked_at):
        """The potential of the gate in this row."""
        gate = ("input", "forget", "candidate", "output")[looked_at // self.units]
        return float(inside[gate][where])

    def closeness(self, inside, where):
        """The gate that came closest to its threshold, in units of its largest weight."""
        row = self.looks_at(inside, where)
        margin = self._margin(inside, where, row)
        return self.potential(inside, where, row), float(self.threshold[row]), margin

    def _margin(self, inside, where, row):
        largest = base.largest_of_rows(self._kernels())[row]
        return float((self.potential(inside, where, row) - self.threshold[row]) / largest)

    def _kernels(self):
        return self.kernel, self.recurrent_kernel
