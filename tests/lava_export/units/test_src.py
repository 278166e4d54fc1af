"""Spiking Recurrent Cells in integers against a loop over plain Python integers."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lava_export import SRC, Dense, Network, SpikingLSTM, arithmetic, load, reference

UNITS, INPUTS = 3, 4
LIMIT = 2**23 - 1


def tanh(x):
    return int(arithmetic.tanh(np.array(x)))


def fraction(x, share):
    return math.trunc(Fraction(x * share, 4096))


def clip(x):
    return min(max(x, -LIMIT), LIMIT)


def src_in_python(x, dense, units, count):
    """The docstring of `SRC` for one sample: outputs and states over time."""
    i, h, h_s = [0] * count, [0] * count, [0] * count
    outputs, states, saturations = [], [], 0
    for step in x:
        before = outputs[-1] if outputs else [0] * count
        fired = []
        for n in range(count):

            def of(name, n=n):
                return int(np.broadcast_to(getattr(units, name), count)[n])

            a = sum(w * s for w, s in zip(dense.weights[n].tolist(), step, strict=True))
            a = math.floor(a * Fraction(2) ** dense.exponent)
            if units.recurrent is not None:
                row = units.recurrent.weights[n].tolist()
                total = sum(w * s for w, s in zip(row, before, strict=True))
                a += math.floor(total * Fraction(2) ** units.recurrent.exponent)
            arriving = clip(math.floor(clip(a) * Fraction(2) ** of("shift")))
            kept = fraction(i[n], of("keep_i"))
            i[n] = clip(kept + arriving)
            saturations += i[n] != kept + math.floor(a * Fraction(2) ** of("shift"))
            drive = tanh(i[n] // 2**units.current_shift) * 256
            feedbacks = ((drive, "rho"), (h[n], "r"), (h_s[n], "r_s"))
            p = clip(sum(fraction(value, of(name)) for value, name in feedbacks) + of("bias"))
            pulse = tanh(p // 2 ** (8 - units.gain_shift)) * 256
            new = fraction(h[n], of("keep_h")) + fraction(pulse, 4096 - of("keep_h"))
            keep = of("keep_dep" if (h[n] if units.lagging else new) > 2**19 else "keep_hyp")
            h_s[n] = fraction(h_s[n], keep) + fraction(h[n], 4096 - keep)
            h[n] = new
            level = (new + 2 ** (19 - units.bits)) // 2 ** (20 - units.bits)
            fired.append(min(max(level, 0), 2**units.bits - 1))
        outputs.append(fired)
        states.append((list(i), list(h), list(h_s)))
    return outputs, states, saturations


def even(generator, *shape):
    """Weights with both signs, all of them even."""
    weights = 2 * generator.integers(-128, 128, shape)
    weights.flat[:2] = -2, 2
    return weights


def random_units(generator, recurrent=False):
    gain_shift = int(generator.choice([3, 3, 5]))
    unity = 4096 >> gain_shift
    current_shift = int(generator.integers(0, 12))
    back = None
    bits = int(generator.integers(1, 9))
    if recurrent:
        back = Dense(even(generator, UNITS, UNITS), -4, message_bits=bits)
    return SRC(
        keep_i=generator.integers(2000, 4097, UNITS),
        rho=generator.integers(2 * unity, 4 * unity, UNITS),
        r=2 * unity,
        r_s=generator.integers(-8 * unity, -6 * unity, UNITS),
        keep_h=int(generator.choice([0, 500])),
        keep_hyp=3686,
        keep_dep=int(generator.choice([0, 700])),
        bias=generator.integers(-6 * unity * 256, -3 * unity * 256, UNITS),
        shift=min(int(generator.integers(2, 6)) + current_shift, 15),
        current_shift=current_shift,
        gain_shift=gain_shift,
        lagging=int(generator.integers(0, 2)),
        bits=bits,
        recurrent=back,
    )


@given(seed=st.integers(0, 2**16), steps=st.integers(1, 40), recurrent=st.booleans())
@settings(max_examples=80, deadline=None)
def test_a_layer_steps_as_the_docstring_says(seed, steps, recurrent):
    generator = np.random.default_rng(seed)
    dense, units = Dense(even(generator, UNITS, INPUTS)), random_units(generator, recurrent)
    x = generator.integers(0, 2, (2, steps, INPUTS), np.int8)
    result = reference.simulate_layer(dense, units, x, ("spikes", "i", "h", "h_s"))
    saturations = 0
    for sample in range(2):
        outputs, states, saturated = src_in_python(x[sample].tolist(), dense, units, UNITS)
        saturations += saturated
        assert result.spikes[sample].tolist() == outputs
        for k, name in enumerate(("i", "h", "h_s")):
            expected = [step[k] for step in states]
            assert result.states[name][0][sample].tolist() == expected
            assert result.final[0][name][sample].tolist() == expected[-1]
    assert (result.wraps, result.saturations) == ([0], [saturations])
    assert result.spikes.dtype == np.int32


# Pulses of the equations in 200 steps of constant input, with the numbers of the paper.
@pytest.mark.parametrize(
    ("bias", "drive", "pulses"),
    [
        *((-6, drive, pulses) for drive, pulses in ((0, 0), (1, 0), (2, 10), (3, 14))),
        *((-5, drive, pulses) for drive, pulses in ((0, 0), (1, 10), (2, 14), (3, 15))),
        *((-4, drive, pulses) for drive, pulses in ((0, 10), (1, 14), (2, 15), (3, 18))),
    ],
)
def test_constant_input_gives_the_pulses_of_the_equations(bias, drive, pulses):
    """`drive` is x of equation (5b). Within a pulse: tanh is not quite that of the equations."""
    integrator = 8.0 if drive == 3 else np.arctanh(drive / 3)
    units = SRC(keep_i=0, bias=bias << 17, current_shift=0)
    current = np.full((1, 200, 1), round(4096 * integrator), np.int32)
    upper = reference.simulate_units(units, current).spikes[0, :, 0] > 128
    found = int(upper[0]) + np.count_nonzero(upper[1:] & ~upper[:-1])
    assert abs(found - pulses) <= (pulses > 0)


def test_a_file_holds_it(tmp_path):
    generator = np.random.default_rng(0)
    network = Network([Dense(even(generator, UNITS, INPUTS)), random_units(generator, True)])
    network.save(tmp_path / "n.h5")
    assert load(tmp_path / "n.h5") == network
    assert network.run(np.ones((1, 3, INPUTS))).dtype == np.int32


class TestErrors:
    def test_units_that_take_spikes(self):
        layers = [Dense(np.ones((8, 2), int)), SRC(), Dense(np.ones((8, 8), int)), SpikingLSTM()]
        with pytest.raises(ValueError, match="Layer 2 gets graded outputs of 8 bits, but takes sp"):
            Network(layers)
        Network([*layers[:2], Dense(np.ones((8, 8), int), message_bits=8), SpikingLSTM()])

    def test_recurrent_synapses_that_take_spikes(self):
        units = SRC(bits=4, recurrent=Dense(np.ones((2, 2), int)))
        with pytest.raises(ValueError, match="graded outputs of 4 bits.*set message_bits=4"):
            Network([Dense(np.ones((2, 2), int)), units])

    def test_registers(self):
        with pytest.raises(ValueError, match=r"SRC.r_s must be in \[-4096, 4095\]"):
            SRC(r_s=-4097)
        with pytest.raises(ValueError, match=r"SRC.gain_shift must be in \[0, 8\]"):
            SRC(gain_shift=9)
        with pytest.raises(ValueError, match=r"SRC.bits must be in \[1, 8\].*got 0"):
            SRC(bits=0)
