"""Synapses in integers: from the outputs of one layer to the inputs of the next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lava_export import arithmetic
from lava_export.registers import integers, same


@dataclass(frozen=True, eq=False)
class Dense:
    """Synapses from all inputs to all units, as Lava's `Dense`.

    The weighted input of a step is `messages @ weights.T * 2**exponent`, floor where the exponent
    is negative. A matrix with both signs computes with even weights: an odd weight is floored, as
    Lava does. One without positive weights computes with -255 for -256.

    Args:
        weights: Integers of shape `(units, in)` in [-256, 255].
        exponent: Common power of two of all weights, in [-8, 7].
        num_weight_bits: Bits a weight is stored in, in [1, 8].
        message_bits: 0 for inputs that are spikes, 0 or 1; otherwise the number of bits, up to
            24, of graded ones, which may be negative.

    Raises:
        TypeError: If a value is not an integer.
        ValueError: If a value does not fit its register, or a shape is wrong.
    """

    weights: np.ndarray
    exponent: int = 0
    num_weight_bits: int = 8
    message_bits: int = 0

    def __post_init__(self):
        for name, ndims in (
            ("weights", (2,)),
            ("exponent", (0,)),
            ("num_weight_bits", (0,)),
            ("message_bits", (0,)),
        ):
            object.__setattr__(self, name, integers("Dense", name, getattr(self, name), ndims))

    __eq__ = same
    __hash__ = None

    @property
    def units(self):
        """Number of lines the synapses lead to."""
        return self.weights.shape[0]

    @property
    def inputs(self):
        """Number of input lines."""
        return self.weights.shape[1]

    def effective_weights(self):
        """The weights that are computed with, int32 `(units, in)`."""
        return arithmetic.weights_on_grid(self.weights, self.num_weight_bits)

    def fan_out(self):
        """Number of synapses of each input line, those whose weight is not 0, `(in,)`."""
        return np.count_nonzero(self.effective_weights(), axis=0)

    def product(self):
        """The function from messages `(..., in)` to weighted inputs, int32 `(..., units)`."""
        return arithmetic.product(self.effective_weights(), self.exponent, self.message_bits)
