"""Units with a soft reset against loops over plain Python integers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lava_export import (
    CurrentLIF,
    Dense,
    GatedLIF,
    Network,
    SpikingLSTM,
    arithmetic,
    load,
    reference,
)

UNITS, INPUTS = 3, 4
LIMIT = 2**23 - 1


def toward_zero(x):
    """x / 4096."""
    return -(-x // 4096) if x < 0 else x // 4096


def within(x):
    return max(-LIMIT, min(LIMIT, x))


def weighted(weights, messages, exponent):
    total = sum(w * m for w, m in zip(weights, messages, strict=True))
    return total * 2**exponent if exponent > 0 else total // 2**-exponent


def times_power_of_two(x, shift):
    return x * 2**shift if shift > 0 else x // 2**-shift


def sigmoid_in_python(x):
    """Segments of the docstring of `plan_sigmoid`, in 1/4096, down to a whole number."""
    size = abs(x)
    if size >= 5 * 4096:
        y = 4096
    elif size >= 2.375 * 4096:
        y = (size + 27 * 4096) // 32
    elif size >= 4096:
        y = (size + 5 * 4096) // 8
    else:
        y = (size + 2 * 4096) // 4
    return 4096 - y if x < 0 else y


def output_in_python(v, threshold, height, bits, signed):
    if not bits:
        return int(v >= threshold)
    size = abs(v) if signed else v
    if size < threshold:
        return 0
    level = min(max(size // height, 0), 2**bits - 1)
    return -level if signed and v < 0 else level


def in_python(kind, x, synapses, units):
    """The docstrings of both kinds for one sample: outputs, currents, membranes."""
    i, v, y = [0] * UNITS, [0] * UNITS, [0] * UNITS
    outputs, currents, membranes = [], [], []
    back = units.recurrent
    for message in x.tolist():
        a = [weighted(row, message, synapses.exponent) for row in synapses.weights.tolist()]
        if back is not None:
            a = [
                own + weighted(row, y, back.exponent)
                for own, row in zip(a, back.weights.tolist(), strict=True)
            ]
        a = [
            times_power_of_two(value, shift) + bias
            for value, shift, bias in zip(a, units.shift.tolist(), units.bias.tolist(), strict=True)
        ]
        for n in range(UNITS):
            if kind is CurrentLIF:
                i[n] = within(toward_zero(i[n] * int(units.keep_i[n])) + a[n])
            else:
                fine = int(arithmetic.fine_sigmoid(np.array(a[n])))
                f = fine if units.fine else sigmoid_in_python(a[n])
                c = within(max(a[UNITS + n], 0))
                i[n] = i[n] * f // 4096 + c * (4096 - f) // 4096
            taken = y[n] * int(units.height[n])
            v[n] = within(toward_zero(v[n] * int(units.keep_v[n])) + i[n] - taken)
        y = [
            output_in_python(
                v[n], int(units.threshold[n]), int(units.height[n]), units.bits, units.signed
            )
            for n in range(UNITS)
        ]
        outputs.append(y)
        currents.append(list(i))
        membranes.append(list(v))
    return outputs, currents, membranes


def even(generator, *shape):
    """Weights with both signs, all of them even."""
    weights = 2 * generator.integers(-100, 128, shape)
    weights.flat[:2] = -2, 2
    return weights


def layer_of(kind, seed, bits, signed, exponents=(0, 0), recurrent=True, message_bits=0):
    generator = np.random.default_rng(seed)
    rows = kind.ports * UNITS
    shift = generator.integers(-3, 8, rows)
    registers = {
        "keep_v": generator.choice([0, 3000, 4000, 4096], UNITS),
        "threshold": generator.integers(1, 60_000, UNITS),
        "height": generator.integers(1, 30_000 >> bits, UNITS),
        "bias": generator.integers(-3000, 3000, rows),
        "shift": shift,
    }
    if kind is CurrentLIF:
        registers["keep_i"] = generator.choice([0, 3000, 4000, 4096], UNITS)
    else:
        registers["fine"] = seed % 2
    back = Dense(even(generator, rows, UNITS), exponents[1], message_bits=bits)
    units = kind(
        **registers,
        bits=bits,
        signed=int(signed and bits > 0),
        recurrent=back if recurrent else None,
    )
    synapses = Dense(even(generator, rows, INPUTS), exponents[0], message_bits=message_bits)
    return synapses, units


@pytest.mark.parametrize("kind", [CurrentLIF, GatedLIF])
@given(
    seed=st.integers(0, 2**16),
    bits=st.sampled_from([0, 1, 3, 6]),
    signed=st.booleans(),
    exponents=st.tuples(st.integers(-8, 7), st.integers(-8, 7)),
    recurrent=st.booleans(),
    steps=st.integers(1, 20),
)
@settings(max_examples=80, deadline=None)
def test_a_layer_steps_as_the_docstring_says(kind, seed, bits, signed, exponents, recurrent, steps):
    synapses, units = layer_of(kind, seed, bits, signed, exponents, recurrent)
    x = np.random.default_rng(seed).integers(0, 2, (2, steps, INPUTS), np.int8)
    result = reference.simulate_layer(synapses, units, x, ("spikes", "i", "v", "y"))
    for sample in range(2):
        outputs, currents, membranes = in_python(kind, x[sample], synapses, units)
        assert result.spikes[sample].tolist() == outputs
        for name, expected in (("i", currents), ("v", membranes), ("y", outputs)):
            assert result.states[name][0][sample].tolist() == expected
            assert result.final[0][name][sample].tolist() == expected[-1]
    assert result.spikes.dtype == (np.int32 if bits else np.int8)


@pytest.mark.parametrize("kind", [CurrentLIF, GatedLIF])
def test_what_is_compared_is_lively(kind):
    seen = set()
    for seed in range(20):
        synapses, units = layer_of(kind, seed, 3, True)
        x = np.random.default_rng(seed).integers(0, 2, (2, 20, INPUTS), np.int8)
        seen |= set(reference.simulate_layer(synapses, units, x).spikes.ravel().tolist())
    assert seen == set(range(-7, 8)) if kind is CurrentLIF else seen >= set(range(8))


@pytest.mark.parametrize("kind", [CurrentLIF, GatedLIF])
def test_saturation_is_counted(kind):
    weights = Dense(np.full((kind.ports * UNITS, INPUTS), 254), 7)
    units = kind(keep_v=4096, threshold=LIMIT, height=LIMIT, shift=15)
    x = np.ones((2, 5, INPUTS), np.int8)
    result = reference.simulate_layer(weights, units, x, ("v", "i"))
    assert np.abs(result.states["v"][0]).max() <= LIMIT
    assert result.saturations[0] > 0 and result.wraps[0] == 0
    calm = reference.simulate_layer(weights, kind(threshold=LIMIT, height=LIMIT, shift=-15), x)
    assert calm.saturations[0] == 0


def test_a_soft_reset_takes_what_was_given():
    """An input of 10 each step, without leaks: outputs add up to the inputs, less what is left."""
    units = CurrentLIF(keep_i=0, keep_v=4096, threshold=8, height=4, bits=3)
    x = np.ones((1, 9, 1), np.int8)
    result = reference.simulate_layer(Dense([[10]]), units, x, ("v",))
    assert result.spikes.ravel().tolist() == [2, 3, 2, 3, 2, 3, 2, 3, 2]
    # The last output is taken at the step after.
    left = result.states["v"][0][0, -1, 0] - 4 * result.spikes[0, -1, 0]
    assert 10 * 9 == 4 * result.spikes.sum() + left


def test_a_unit_at_its_threshold_fires():
    for threshold, spikes in ((10, 1), (11, 0)):
        units = CurrentLIF(threshold=threshold, height=threshold)
        result = reference.simulate_layer(Dense([[10]]), units, np.ones((1, 1, 1), np.int8))
        assert result.spikes.item() == spikes


@pytest.mark.parametrize("kind", [CurrentLIF, GatedLIF])
def test_a_file_holds_it(kind, tmp_path):
    first, graded = layer_of(kind, 0, 3, True)
    generator = np.random.default_rng(1)
    second = Dense(even(generator, 4 * UNITS, UNITS), message_bits=3)
    network = Network([first, graded, second, SpikingLSTM()])
    network.save(tmp_path / "n.h5")
    loaded = load(tmp_path / "n.h5")
    assert loaded == network
    assert loaded.layers[1].bits == 3 and loaded.layers[1].signed == 1
    x = generator.integers(0, 2, (2, 5, INPUTS), np.int8)
    np.testing.assert_array_equal(loaded.run(x), network.run(x))


class TestErrors:
    @pytest.mark.parametrize("kind", [CurrentLIF, GatedLIF])
    @pytest.mark.parametrize(
        ("name", "bad"),
        [
            ("keep_v", 4097),
            ("keep_v", -1),
            ("threshold", 2**23),
            ("height", 0),
            ("bias", -(2**23)),
            ("shift", 16),
            ("bits", 9),
            ("signed", 2),
        ],
    )
    def test_a_register_out_of_its_range(self, kind, name, bad):
        with pytest.raises(ValueError, match=rf"{kind.__name__}\.{name} must be in"):
            kind(**{name: bad})

    def test_spikes_have_no_sign(self):
        with pytest.raises(ValueError, match="CurrentLIF: spikes have no sign"):
            CurrentLIF(signed=1)

    def test_an_output_that_no_membrane_reaches(self):
        GatedLIF(height=2**15, bits=8)
        with pytest.raises(ValueError, match=r"GatedLIF: height \* 2\*\*bits.* at most 8388608"):
            GatedLIF(height=np.array([1, 2**15 + 1]), bits=8)

    def test_registers_of_ports(self):
        with pytest.raises(ValueError, match=r"GatedLIF.bias has the shape \(3,\).* or 6"):
            Network([Dense(np.ones((6, 2), int)), GatedLIF(bias=np.zeros(3, int))])

    def test_one_number_of_bits_for_all(self):
        with pytest.raises(ValueError, match="CurrentLIF.bits must have 0 dimensions"):
            CurrentLIF(bits=np.array([3, 3]))

    def test_graded_outputs_need_synapses_for_them(self):
        layers = [Dense(np.ones((3, 2), int)), CurrentLIF(bits=3)]
        for bits in (0, 2):
            behind = Dense(np.ones((3, 3), int), message_bits=bits)
            with pytest.raises(ValueError, match="gets graded outputs of 3 bits, but takes"):
                Network([*layers, behind, CurrentLIF()])
        Network([*layers, Dense(np.ones((3, 3), int), message_bits=8), CurrentLIF()])

    def test_graded_recurrent_synapses(self):
        spikes = Dense(np.ones((6, 3), int))
        with pytest.raises(ValueError, match="recurrent gets graded outputs of 3 bits"):
            Network([Dense(np.ones((6, 2), int)), GatedLIF(bits=3, recurrent=spikes)])
