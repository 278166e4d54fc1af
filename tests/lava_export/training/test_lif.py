"""A step of LIF in integers is that of the units of the chip."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import lava_export
from lava_export import arithmetic
from lava_export.training.lif import QuantizedLIFCell

INPUTS, UNITS, BATCH = 6, 5, 16
LIMIT = arithmetic.STATE_LIMIT - 1


def cell_of(height, exponent=0, **options):
    settings = {"shift": [0] * UNITS, "threshold_register": height, "output_scale": 1.0, **options}
    return QuantizedLIFCell(
        UNITS, scale=[1.0] * UNITS, exponents=[exponent], height=height, input_scale=1.0, **settings
    )


@settings(max_examples=40, deadline=None)
@given(
    bits=st.sampled_from([None, 1, 4, 8]),
    signed=st.booleans(),
    exponent=st.integers(0, 7),
    shift=st.integers(-15, 15),
    low=st.booleans(),
    graded=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_a_step_is_that_of_the_units(bits, signed, exponent, shift, low, graded, seed):
    """Whatever its states are, at their limits too."""
    generator = np.random.default_rng(seed)
    signed = bool(signed and bits and bits > 1)
    levels = 0 if bits is None else bits - signed
    highest = LIMIT >> levels
    height = generator.integers(1, min(highest, 40) if low else highest, UNITS)
    threshold = np.minimum(height * (1 if bits is None else 2), LIMIT)
    cell = cell_of(
        height,
        exponent,
        shift=[shift] * UNITS,
        threshold_register=threshold,
        output_scale=1.0 if bits is None else 1 / 64,
        bits=bits,
        signed=signed,
        use_bias=True,
    )
    cell.build((None, INPUTS))
    cell.kernel.assign(generator.uniform(-300, 300, (INPUTS, UNITS)) * 2.0**exponent)
    cell.bias.assign(generator.choice([0.0, 1e3, -1e6, 9e6, -17], UNITS) / 2.0**shift)
    registers = {
        name: np.rint(np.asarray(value)).astype(int)
        for name, value in cell.integers()._asdict().items()
    }
    weights = registers.pop("weights")
    units = lava_export.CurrentLIF(
        **registers,
        threshold=threshold,
        height=height,
        shift=np.array(cell.shift),
        bits=levels,
        signed=int(signed),
    )
    messages = generator.integers(0, 256 if graded else 2, (BATCH, INPUTS))
    shape = (BATCH, UNITS)
    top = 1 if not levels else (1 << levels) - 1
    state = {
        name: np.where(
            generator.random(shape) < 0.4,
            generator.choice([-LIMIT, LIMIT], shape),
            generator.integers(-LIMIT, LIMIT + 1, shape),
        )
        for name in "iv"
    }
    state["y"] = generator.integers(-top if signed else 0, top + 1, shape)
    held = [tf.constant(value, tf.float32) for value in state.values()]
    output, after, _ = cell.step(messages.astype("float32"), held)
    expected, _, _ = units.dynamics()(state, (messages @ weights) << exponent)
    np.testing.assert_array_equal(output / cell.output_scale, expected)
    for name, value in zip(state, after, strict=True):
        np.testing.assert_array_equal(value, state[name], err_msg=name)


def test_products_that_the_chip_would_round_are_refused():
    with pytest.raises(ValueError, match=r"`exponents` must be at least 0. Received: \[-1\]"):
        cell_of([64] * UNITS, -1)
