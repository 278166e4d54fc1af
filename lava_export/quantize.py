"""From the description of a layer to its integers.

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

import numpy as np

from lava_export import arithmetic, reference
from lava_export.network import LIF, Dense
from lava_export.report import LayerQuantization

LSB = 1 << arithmetic.MESSAGE_SHIFT  # least significant bits of v in one unit of weight
VTH_MAX = arithmetic.RANGES["vth"][1]
BIAS_MAX = arithmetic.RANGES["bias_mant"][1] << arithmetic.RANGES["bias_exp"][1]
STATE_MAX = arithmetic.STATE_LIMIT - 1
# A scale may clip the largest weights for the sake of the others: how far past 8 bits it goes.
CLIPPING = (1.25, 1.6, 2.5, 4.0, 8.0, 16.0)


class ConversionError(ValueError):
    """A model, or a layer of it, that has no counterpart on the chip."""


@dataclass(frozen=True)
class RLIFDescription:
    """One RLIF layer in float64: `kernel` is (in, units), the rest is (units,)."""

    name: str
    kernel: np.ndarray
    bias: np.ndarray
    leak: np.ndarray
    membrane_bias: np.ndarray
    threshold: np.ndarray
    reset: np.ndarray


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
    candidates = _candidates(layer, keep, potential, spikes, fired)
    best = min(candidates, key=lambda candidate: candidate.cost, default=None)
    if best is None:
        sums, membrane, bias = _extremes(layer, potential)
        raise ConversionError(
            f"Layer '{layer.name}' does not fit 24-bit states at any scale. In units of "
            f"threshold - reset, the weights of a unit sum up to {sums:.3g}, its biases to "
            f"{bias:.3g}, and its membrane reaches {membrane:.3g} on the calibration data: "
            "regularise the largest of these while training."
        )
    return best.dense, best.lif, _record(layer, keep, best, fired), fired


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
    batch, steps, inputs = spikes.shape
    potential = spikes.reshape(-1, inputs).astype(np.float32) @ kernel + bias
    potential = potential.reshape(batch, steps, -1)
    fired = np.empty(potential.shape, np.int8)
    u = np.zeros_like(potential[:, 0])
    for t in range(steps):
        potential[:, t] += u
        fired[:, t] = potential[:, t] >= threshold
        u = leak * np.where(fired[:, t], reset, potential[:, t]) + membrane_bias
    return fired, potential


def _keep(leak, groups):
    """4096 minus the decay, for each unit; with `groups`, of that many distinct values."""
    if groups is not None and groups < len(np.unique(leak)):
        leak = _group_means(leak, groups)
    return np.clip(np.rint(leak * arithmetic.DECAY_UNITY), 1, arithmetic.DECAY_UNITY).astype(int)


def _group_means(values, groups):
    """Each value replaced by the mean of its group: one-dimensional k-means."""
    centers = np.quantile(values, (np.arange(groups) + 0.5) / groups)
    for _ in range(100):
        nearest = np.abs(values[:, None] - centers).argmin(axis=1)
        means = np.array(
            [
                values[nearest == g].mean() if (nearest == g).any() else centers[g]
                for g in range(groups)
            ]
        )
        if np.allclose(means, centers):
            break
        centers = means
    return centers[nearest]


def _bias(layer, leak):
    return layer.bias + layer.membrane_bias - (1 - leak) * layer.reset


def _extremes(layer, potential):
    """What must fit into registers, largest of all units, in units of threshold - reset.

    Returns:
        The sum of weights that a binary input can bring, the membrane on the calibration data or
        before the first step, and the bias.
    """
    head = layer.threshold - layer.reset
    sums = np.maximum(np.maximum(layer.kernel, 0).sum(0), np.maximum(-layer.kernel, 0).sum(0))
    membrane = np.maximum(
        np.abs(potential - layer.reset).max(axis=(0, 1)),
        np.abs(layer.membrane_bias / layer.leak + layer.reset),
    )
    bias = np.abs(_bias(layer, layer.leak))
    return tuple((extreme / head).max() for extreme in (sums, membrane, bias))


def _grid(layer):
    """Step, smallest and largest integer weight: with both signs, the lowest bit is lost."""
    if (layer.kernel >= 0).all():
        return 1, 0, 255
    if (layer.kernel <= 0).all():
        return 1, -255, 0
    return 2, -256, 254


def _on_grid(layer, scale, exponent):
    """The ideal weights (units, in) in units of `2**exponent`, and the integers next to them."""
    step, low, high = _grid(layer)
    ideal = layer.kernel.T * (scale / 2.0**exponent / (layer.threshold - layer.reset))[:, None]
    return ideal, np.clip(step * np.rint(ideal / step), low, high)


def _clipped(layer, ideal, weights):
    """Which weights (units, in) are beyond 8 bits."""
    return np.abs(weights - ideal) > _grid(layer)[0] / 2


def _settings(layer, potential):
    """Pairs of scale S and weight exponent that are worth trying; empty if none fits."""
    sums, membrane, bias = (max(extreme, 1e-30) for extreme in _extremes(layer, potential))
    # No binary input wraps the current, even where rounding doubles each weight, and the largest
    # membrane seen stays clear of saturation by a factor of two.
    limit = min(
        VTH_MAX,
        STATE_MAX // LSB / (2 * sums),
        STATE_MAX / LSB / (2 * membrane),
        BIAS_MAX / LSB / bias,
    )
    if limit < 1:
        return
    step, low, high = _grid(layer)
    top = min(max(high, -low), 255) // step * step
    largest = np.abs(layer.kernel / (layer.threshold - layer.reset)).max()
    low_exponent, high_exponent = arithmetic.RANGES["exponent"]

    def setting(target):
        """The largest setting that turns the largest weight into `target`."""
        scales = [
            (target * 2.0**exponent / max(largest, 1e-30), exponent)
            for exponent in range(low_exponent, high_exponent + 1)
        ]
        scale, exponent = max([s for s in scales if s[0] <= limit], default=scales[0])
        return int(np.clip(np.rint(scale), 1, limit)), exponent

    def loss(setting):
        scale, exponent = setting
        ideal, weights = _on_grid(layer, scale, exponent)
        return np.sqrt(((weights - ideal) ** 2).sum(axis=1)).sum() * 2.0**exponent / scale

    # Where the weights are multiples of one number, some target has them all on the grid.
    yield min((setting(target) for target in range(top // 2 + 1, top + 1)), key=loss)
    yield from (setting(top * clipping) for clipping in CLIPPING)


def _candidates(layer, keep, potential, spikes, fired):
    silent = ~spikes.any(axis=(0, 1))
    for scale, exponent in _settings(layer, potential):
        ideal, weights = _on_grid(layer, scale, exponent)
        unseen = np.count_nonzero(_clipped(layer, ideal, weights)[:, silent])
        dense = Dense(weights.astype(int), exponent)
        current = reference.weighted_input(dense, spikes)
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
    return LIF(
        du=4095,
        dv=_scalar_if_equal(np.minimum(arithmetic.DECAY_UNITY - keep, 4095)),
        vth=scale - tie,
        bias_mant=bias_mant,
        bias_exp=bias_exp,
        v0=v0,
    )


def _scalar_if_equal(values):
    return int(values[0]) if (values == values[0]).all() else values


def _record(layer, keep, candidate, fired):
    ideal, weights = _on_grid(layer, candidate.scale, candidate.dense.exponent)
    error = weights - ideal
    clipped = _clipped(layer, ideal, weights)
    norm = np.sqrt((ideal**2).sum(axis=1))
    # Of weights that are clipped, the calibration data has shown what harm it does.
    rounding = np.where(clipped, 0, error)
    unit_error = np.sqrt((rounding**2).sum(axis=1)) / np.where(norm > 0, norm, 1)
    return LayerQuantization(
        name=layer.name,
        inputs=candidate.dense.inputs,
        units=candidate.dense.units,
        scale=candidate.scale,
        exponent=candidate.dense.exponent,
        weight_error=float(np.sqrt((error**2).sum() / max((ideal**2).sum(), 1e-300))),
        worst_unit=int(unit_error.argmax()),
        worst_unit_error=float(unit_error.max()),
        clipped_weights=int(np.count_nonzero(clipped)),
        leak_error=float(np.abs(keep / arithmetic.DECAY_UNITY - layer.leak).max()),
        wraps=candidate.simulation.wraps[0],
        saturations=candidate.simulation.saturations[0],
        slots=int(fired.size),
        float_spikes=int(fired.sum()),
        mismatches=candidate.mismatches,
    )
