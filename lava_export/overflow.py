"""The worst that inputs can do to a layer's 24 bits: all excitatory ones on, or all inhibitory."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from lava_export import arithmetic
from lava_export.units.base import size_of

STATE_MAX = arithmetic.STATE_LIMIT - 1
# Steps after which a search for the first overflow ends.
HORIZON = 1000
# Bounds that move by less in a step, in units of the last bit, have come to rest.
AT_REST = 1e-6
# Rounding of weights may lead by so little beyond what integers were chosen for.
NOTICEABLE = 0.99


class QuantizationWarning(UserWarning):
    """Integers that lose more of a layer than they should, or that may overflow."""


@dataclass(frozen=True)
class WorstCase:
    """What inputs can do to a layer.

    Args:
        largest: The largest size of a weighted input or state in some number of steps.
        safe_steps: The number of steps in which no input leads beyond 24 bits; None for any number.
            It is not searched beyond `HORIZON` steps.
    """

    largest: float
    safe_steps: int | None

    @property
    def headroom(self):
        """24 bits, relative to `largest`."""
        return STATE_MAX / max(self.largest, 1.0)


def worst_case(synapses, units, steps, message_range=None, horizon=HORIZON):
    """The worst that inputs can do to the weighted inputs and states of a layer.

    It follows the smallest and the largest value that each can have, from step to step. They come
    close where all excitatory inputs are on for some steps, or all inhibitory ones, and recurrent
    ones with them. A state that a spike resets is limited by its threshold, one that leaks by its
    leak; without a leak, inhibition adds up for as long as it lasts.

    Args:
        synapses: Those of the layer.
        units: Its units.
        steps: Number of steps of a sample.
        message_range: The smallest and the largest message that comes in; by default those that
            fit the synapses' `message_bits`.
        horizon: Number of steps to look for an overflow in, at least.

    Returns:
        A `WorstCase`, for so many steps.
    """
    width = synapses.units // units.ports
    inputs = [bound.astype(float) for bound in synapses.reach(message_range)]
    feedback = (0.0, 0.0)
    bounds = {
        name: (np.full(width, value, float) if np.ndim(value) == 0 else value.astype(float),) * 2
        for name, value in units.initial().items()
    }
    step = units.reach()
    largest, safe_steps = 0.0, None
    for t in range(max(steps, horizon)):
        if t == 1 and units.recurrent is not None:
            feedback = units.recurrent.reach(units.feedback_range)
        low, high = (a + b for a, b in zip(inputs, feedback, strict=True))
        before = dict(bounds)
        sizes = [size_of((low, high)), *step(bounds, low, high)]
        size = float(max(np.max(values) for values in sizes))
        if safe_steps is None and size > STATE_MAX:
            safe_steps = t
        if t < steps:
            largest = max(largest, size)
        if t >= steps and safe_steps is not None:
            break
        if t >= 1 and _at_rest(before, bounds):
            break
    else:
        safe_steps = max(steps, horizon) if safe_steps is None else safe_steps
    return WorstCase(largest, safe_steps)


def _at_rest(before, after):
    return all(
        np.abs(old - new).max() < AT_REST
        for name in after
        for old, new in zip(before[name], after[name], strict=True)
    )


def advice(record):
    """What to do about a layer that some input overflows; empty if none does.

    Args:
        record: Its `LayerQuantization`.
    """
    if record.headroom is None or record.headroom >= NOTICEABLE:
        return ""
    begins = f"from step {record.safe_steps + 1} on" if record.safe_steps else "in any step"
    return (
        f"inputs unlike the calibration data could overflow its 24-bit states {begins}: the worst "
        f"case, all excitatory or all inhibitory inputs on, is {1 / record.headroom:.1f} times "
        "what they hold. Fewer or smaller weights, leaks below 1, or shorter sequences, leave more "
        "room."
    )


def warn(name, text, stacklevel):
    """Warn of a layer."""
    warnings.warn(f"Layer '{name}': {text}", QuantizationWarning, stacklevel=stacklevel + 1)


def warn_of_steps(name, synapses, units, message_range=None, stacklevel=1):
    """Warn of a layer that some input overflows in a single step, however long a sample is."""
    worst = worst_case(synapses, units, 1, message_range, horizon=1)
    if worst.headroom < NOTICEABLE:
        warn(
            name,
            f"inputs could overflow its 24 bits in any step: the worst case, all excitatory or all "
            f"inhibitory inputs on, is {1 / worst.headroom:.1f} times what they hold. Use smaller "
            "weights, exponents or shifts, or fewer inputs.",
            stacklevel + 1,
        )
