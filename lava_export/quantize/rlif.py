"""RLIF to integers.

An RLIF unit with threshold `theta`, reset `r`, leak `alpha` and biases `b_volt`, `b_mem` steps

    V[t] = alpha * (r if it fired, else V[t-1]) + W x[t] + b_volt + b_mem

A Loihi unit resets to 0, has one threshold for all, and a bias that acts on its membrane `v`. With
`v = 64 * s * (V - r)` and the row scale `s = S / (theta - r)`, the two are the same unit:

    weights  s * W, on the grid of 8-bit integers times 2**exponent; with both signs, of even ones
    vth      S, an integer, or S - 1 where membranes meet thresholds (RLIF fires at its threshold)
    bias     64 * s * (b_volt + b_mem - (1 - alpha) * r)
    v0       what the decay turns into 64 * s * (b_volt - r) - bias: the first step has no b_mem
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lava_export import arithmetic, reference
from lava_export.overflow import worst_case
from lava_export.quantize import base
from lava_export.quantize.base import CLIPPING, LSB, STATE_MAX, ConversionError
from lava_export.synapses import Dense
from lava_export.units import LIF

VTH_MAX = arithmetic.RANGES["vth"][1]
# What part of the spikes may change for states that no input overflows.
WORTH_ROOM = 0.005
BIAS_MAX = arithmetic.RANGES["bias_mant"][1] << arithmetic.RANGES["bias_exp"][1]


@dataclass(frozen=True)
class RLIFDescription(base.Description):
    """One RLIF layer in float64: `kernel` is (in, units), the rest is (units,)."""

    bias: np.ndarray
    leak: np.ndarray
    membrane_bias: np.ndarray
    threshold: np.ndarray
    reset: np.ndarray

    # What a step keeps of the synaptic current, and that before the first step; None is nothing.
    current_leak: ClassVar[np.ndarray | None] = None
    initial_current: ClassVar[np.ndarray | None] = None
    # The smallest exponent that the synapses can have.
    lowest_exponent: ClassVar[int] = arithmetic.RANGES["exponent"][0]
    # Weights (units, units) of the spikes of the step before.
    recurrent_kernel: ClassVar[np.ndarray | None] = None

    @classmethod
    def of(cls, name, cell):
        """The description of an `RLIFCell`."""
        parameters = (cell.bias, cell.leak, cell.membrane_bias, cell.threshold, cell.reset)
        layer = cls(
            name,
            np.asarray(cell.kernel, np.float64),
            *(base.vector(parameter, cell.units) for parameter in parameters),
        )
        layer.check_finite()
        problems = []
        unit = int(np.argmin(layer.threshold - layer.reset))
        if layer.reset[unit] >= layer.threshold[unit]:
            problems.append(
                ConversionError(
                    f"Layer '{name}': unit {unit} has reset {layer.reset[unit]} >= threshold "
                    f"{layer.threshold[unit]}: after one spike it would fire for ever. "
                    "Set reset below threshold."
                )
            )
        low, high = 1 / 4096, 1.0
        outside = np.flatnonzero((layer.leak < low) | (layer.leak > high))
        if len(outside):
            problems.append(
                ConversionError(
                    f"Layer '{name}': the leak of unit {outside[0]} is "
                    f"{layer.leak[outside[0]]:.6g} ({len(outside)} such units), but the 12-bit "
                    "decay of the chip holds [1/4096, 1]: keep the default leak_constraint while "
                    "training."
                )
            )
        base.raise_first(problems)
        return layer

    @property
    def units(self):
        """Number of units."""
        return self.kernel.shape[1]

    def of_rows(self, values):
        """Values of units (units,) as one for each row of weights."""
        return values

    def weighted(self, inputs, kernel):
        """What a kernel makes of inputs (..., in), (..., units)."""
        total = inputs.reshape(-1, inputs.shape[-1]).astype(kernel.dtype) @ kernel
        return total.reshape(*inputs.shape[:-1], -1)

    def seen(self, inputs):
        """Of what rows of `kernel` some input (batch, T, in) was not 0."""
        return inputs.any(axis=(0, 1))

    def quantize(self, inputs, leak_groups=None):
        """The integers: see `quantize_layer`."""
        return quantize_layer(self, inputs, leak_groups)

    def dequantized(self, units, states, record, looked_at):
        """`v / (64 * s) + r`."""
        scale = LSB * record.scale / (self.threshold - self.reset)
        return (units.before_reset(states) / scale + self.reset)[:, looked_at]

    def approximations(self, units, record):
        """Rounding of decayed membranes and biases, and thresholds that are met exactly."""
        found = []
        if (self.leak < 1).any():
            found.append("decayed membranes are rounded toward 0")
        if np.any(np.asarray(units.du) != 4095):
            found.append("decayed currents are rounded toward 0")
        if record.exponent < 0:
            found.append("weighted inputs are rounded down")
        bias = LSB * record.scale / (self.threshold - self.reset) * _bias(self, self.leak)
        if (bias != arithmetic.bias(units.bias_mant, units.bias_exp)).any():
            found.append("biases are rounded")
        if units.vth == record.scale:
            found.append("a membrane that meets its threshold fires in Keras only")
        elif found or record.weight_error:
            found.append(f"thresholds are up to {1 / record.scale:.2%} lower")
        return found

    def closeness(self, inside, where):
        """The membrane before the reset, in units of threshold - reset."""
        unit = where[-1]
        membrane, threshold = float(inside["membrane"][where]), float(self.threshold[unit])
        return membrane, threshold, (membrane - threshold) / float(threshold - self.reset[unit])


@dataclass(frozen=True)
class _Candidate:
    """One way to turn a layer into integers, and what it does to the calibration data."""

    dense: Dense
    lif: LIF
    scale: int
    simulation: reference.Simulation
    mismatches: int
    unseen: int  # clipped weights of inputs that never spiked: no data tells what harm that does

    @property
    def cost(self):
        overflows = self.simulation.wraps[0] + self.simulation.saturations[0]
        return overflows, self.unseen, self.mismatches


def quantize_layer(layer, spikes, leak_groups=None):
    """The integers of one layer, chosen by running candidates on `spikes` (batch, T, in).

    Returns:
        `Dense`, `LIF`, the `LayerQuantization` record, and the float layer's spikes.
    """
    fired, potential = simulate_float(layer, spikes)
    keep = _keep(layer.leak, leak_groups)
    candidates = _candidates(layer, keep, _settings(layer, potential), spikes, fired)
    best = min(candidates, key=lambda candidate: candidate.cost, default=None)
    if best is None:
        sums, membrane, bias = _extremes(layer, potential)
        raise ConversionError(
            f"Layer '{layer.name}' does not fit 24-bit states at any scale. In units of "
            f"threshold - reset, the weights of a unit sum up to {sums:.3g}, its biases to "
            f"{bias:.3g}, and its membrane reaches {membrane:.3g} on the calibration data: "
            "regularise the largest of these while training."
        )
    best = _with_room(layer, keep, best, spikes, fired)
    return best.dense, best.lif, _record(layer, keep, best, fired), fired


def _with_room(layer, keep, best, spikes, fired):
    """A candidate with less exponent than the best one that no input overflows, if it is as good.

    Weights of the same 8 bits leave more of the 24 bits free with a smaller exponent. What that
    costs is the last bits of the membrane.
    """
    steps, error = spikes.shape[1], _weight_error(layer, best)
    headroom = worst_case(best.dense, best.lif, steps, horizon=1).headroom
    if headroom >= 1:
        return best
    needed = int(np.ceil(-np.log2(headroom)))
    # A negative exponent would round the sums of exact weights.
    lowest = layer.lowest_exponent if error else max(layer.lowest_exponent, 0)
    settings = (
        (int(np.rint(best.scale / 2.0**less)), best.dense.exponent - less)
        for less in (needed, needed + 1)
        if best.dense.exponent - less >= lowest and best.scale >> less
    )
    more = fired.sum() * WORTH_ROOM
    for other in _candidates(layer, keep, settings, spikes, fired):
        if (
            _weight_error(layer, other) <= 1.05 * error
            and other.cost[:2] <= best.cost[:2]
            and other.mismatches - best.mismatches <= (more if error else 0)
            and worst_case(other.dense, other.lif, steps, horizon=1).headroom >= 1
        ):
            return other
    return best


def _weight_error(layer, candidate):
    """The error of all weights, relative to them."""
    ideal, weights = _on_grid(layer, candidate.scale, candidate.dense.exponent)
    return np.linalg.norm(weights - ideal) / max(np.linalg.norm(ideal), 1e-300)


def simulate_float(layer, spikes):
    """Spikes and membranes before reset of the float layer, each (batch, T, units).

    Computed in float32 and in the order of `keras_spiking_rnn.rlif_step`, so that a membrane that
    meets its threshold there does so here.
    """
    kernel, bias, leak, membrane_bias, threshold, reset = (
        np.asarray(value, np.float32)
        for value in (
            layer.kernel,
            layer.bias,
            layer.leak,
            layer.membrane_bias,
            layer.threshold,
            layer.reset,
        )
    )
    steps = spikes.shape[1]
    potential = layer.weighted(spikes, kernel)
    fired = np.empty(potential.shape, np.int8)
    u = np.zeros_like(potential[:, 0])
    current = layer.initial_current
    for t in range(steps):
        if layer.recurrent_kernel is not None and t > 0:
            potential[:, t] += fired[:, t - 1] @ np.float32(layer.recurrent_kernel)
        if layer.current_leak is not None:
            potential[:, t] += np.float32(layer.current_leak * current)
            current = potential[:, t].copy()
        potential[:, t] += bias
        potential[:, t] += u
        fired[:, t] = potential[:, t] >= threshold
        u = leak * np.where(fired[:, t], reset, potential[:, t]) + membrane_bias
    return fired, potential


def _keep(leak, groups):
    """4096 minus the decay, for each unit; with `groups`, of that many distinct values."""
    return np.maximum(base.kept(leak, groups), 1)


def _bias(layer, leak):
    return layer.bias + layer.membrane_bias - (1 - leak) * layer.reset


def _extremes(layer, potential):
    """What must fit into registers, largest of all units, in units of threshold - reset.

    Returns:
        The largest weighted input, the membrane on the calibration data or
        before the first step, and the bias.
    """
    head = layer.threshold - layer.reset
    sums = np.abs(layer.reach()).max(axis=0) / layer.of_rows(head)
    membrane = np.maximum(
        np.abs(potential - layer.reset).max(axis=(0, 1)),
        np.abs(layer.membrane_bias / layer.leak + layer.reset),
    )
    bias = np.abs(_bias(layer, layer.leak))
    if layer.current_leak is not None:
        sums = np.abs(layer.initial_current) / head + sums / (1 - layer.current_leak)
    return sums.max(), (membrane / head).max(), (bias / head).max()


def _on_grid(layer, scale, exponent):
    """The ideal weights (units, in) in units of `2**exponent`, and the integers next to them."""
    head = layer.of_rows(layer.threshold - layer.reset)
    return base.on_grid(layer.kernel, scale / head, exponent)


def _settings(layer, potential):
    """Pairs of scale S and weight exponent that are worth trying; empty if none fits."""
    sums, membrane, bias = (max(extreme, 1e-30) for extreme in _extremes(layer, potential))
    # No input wraps the current, even where rounding doubles each weight, and the largest
    # membrane seen stays clear of saturation by a factor of two.
    limit = min(
        VTH_MAX,
        STATE_MAX // LSB / (2 * sums),
        STATE_MAX / LSB / (2 * membrane),
        BIAS_MAX / LSB / bias,
    )
    if limit < 1:
        return
    step, low, high = base.grid(layer.kernel)
    top = min(max(high, -low), 255) // step * step
    largest = np.abs(layer.kernel / layer.of_rows(layer.threshold - layer.reset)).max()
    high_exponent = arithmetic.RANGES["exponent"][1]

    def setting(target):
        """The largest setting that turns the largest weight into `target`."""
        scales = [
            (target * 2.0**exponent / max(largest, 1e-30), exponent)
            for exponent in range(layer.lowest_exponent, high_exponent + 1)
        ]
        scale, exponent = max([s for s in scales if s[0] <= limit], default=scales[0])
        return int(np.clip(np.rint(scale), 1, limit)), exponent

    def loss(setting):
        scale, exponent = setting
        ideal, weights = _on_grid(layer, scale, exponent)
        of_weights = np.sqrt(((weights - ideal) ** 2).sum(axis=1)).sum() * 2.0**exponent
        ideal = LSB * scale / (layer.threshold - layer.reset) * _bias(layer, layer.leak)
        of_biases = np.abs(np.rint(ideal) - ideal).sum() / LSB
        return (of_weights + of_biases) / scale

    # Where weights and biases are multiples of one number, some target has them all on the grid.
    yield min((setting(target) for target in range(top // 2 + 1, top + 1)), key=loss)
    yield from (setting(top * clipping) for clipping in CLIPPING)


def _candidates(layer, keep, settings, spikes, fired):
    silent = ~layer.seen(spikes)
    for scale, exponent in settings:
        ideal, weights = _on_grid(layer, scale, exponent)
        unseen = np.count_nonzero(base.clipped(layer.kernel, ideal, weights)[:, silent])
        dense = layer.dense(weights, exponent)
        current = dense.product()(spikes)
        for tie in (True, False):
            lif = _units(layer, keep, scale, tie)
            if lif is not None:
                simulation = reference.simulate_units(lif, current)
                mismatches = int(np.count_nonzero(simulation.spikes != fired))
                yield _Candidate(dense, lif, scale, simulation, mismatches, unseen)


def _units(layer, keep, scale, tie):
    """The units of one setting, or None if a value does not fit its register.

    RLIF fires at its threshold, Lava only above it. Where membranes do meet thresholds, as with
    weights that are multiples of one number, `tie` makes the two agree: the threshold is one unit
    of weight lower, which is less than any such membrane falls short of it by.
    """
    row = scale / (layer.threshold - layer.reset)
    bias = LSB * row * _bias(layer, keep / arithmetic.DECAY_UNITY)
    first = LSB * row * (layer.bias - layer.reset)
    bias_exp = np.zeros(len(bias), int)
    while (np.abs(np.rint(bias / 2.0**bias_exp)) > arithmetic.RANGES["bias_mant"][1]).any():
        bias_exp += np.abs(np.rint(bias / 2.0**bias_exp)) > arithmetic.RANGES["bias_mant"][1]
    bias_mant = np.rint(bias / 2.0**bias_exp).astype(int)
    target = np.rint(first).astype(int) - (bias_mant << bias_exp)
    v0 = np.sign(target) * -(-np.abs(target) * arithmetic.DECAY_UNITY // keep)
    if bias_exp.max() > arithmetic.RANGES["bias_exp"][1] or np.abs(v0).max() > STATE_MAX:
        return None
    du, u0 = 4095, 0
    if layer.current_leak is not None:
        du = 4095 - np.rint(arithmetic.DECAY_UNITY * layer.current_leak).astype(int)
        du = _scalar_if_equal(np.clip(du, *arithmetic.RANGES["du"]))
        u0 = np.rint(LSB * row * layer.initial_current).astype(int)
    return LIF(
        du=du,
        dv=_scalar_if_equal(np.minimum(arithmetic.DECAY_UNITY - keep, 4095)),
        vth=scale - tie,
        bias_mant=bias_mant,
        bias_exp=bias_exp,
        u0=u0,
        v0=v0,
    )


def _scalar_if_equal(values):
    return int(values[0]) if (values == values[0]).all() else values


def _record(layer, keep, candidate, fired):
    ideal, weights = _on_grid(layer, candidate.scale, candidate.dense.exponent)
    return base.record(
        layer,
        (candidate.dense, candidate.lif),
        [(layer.kernel, ideal, weights)],
        candidate.simulation,
        fired,
        scale=candidate.scale,
        settings={
            "scale": candidate.scale,
            "exponent": candidate.dense.exponent,
            "vth": candidate.lif.vth,
        },
        leak_error=float(np.abs(keep / arithmetic.DECAY_UNITY - layer.leak).max()),
    )
