"""The NumPy reference against a loop over plain Python integers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lava_export import LIF, Dense, reference

LIMIT = 2**23


def toward_zero(numerator, denominator):
    quotient = abs(numerator) // denominator
    return quotient if numerator >= 0 else -quotient


def lif_in_python(inputs, du, dv, vth, bias_mant, bias_exp, u0, v0):
    """The docstring of `LIF`, for one unit and its list of weighted inputs."""
    u, v, wraps, saturations = u0, v0, 0, 0
    spikes, us, vs = [], [], []
    for a in inputs:
        u = toward_zero(u * (4095 - du), 4096) + a * 64
        if u > LIMIT:
            u, wraps = u - 2 * LIMIT, wraps + 1
        elif u <= -LIMIT:
            u, wraps = u + 2 * LIMIT, wraps + 1
        v = toward_zero(v * (4096 - dv), 4096) + u + bias_mant * 2**bias_exp
        if abs(v) >= LIMIT:
            v, saturations = (LIMIT - 1 if v > 0 else 1 - LIMIT), saturations + 1
        spikes.append(int(v > vth * 64))
        v = 0 if spikes[-1] else v
        us.append(u)
        vs.append(v)
    return spikes, us, vs, wraps, saturations


REGISTERS = {
    "du": st.one_of(st.sampled_from([0, 4095]), st.integers(0, 4095)),
    "dv": st.one_of(st.sampled_from([0, 4095]), st.integers(0, 4095)),
    "vth": st.one_of(st.sampled_from([0, 2**17 - 1]), st.integers(0, 2000)),
    "bias_mant": st.integers(-4096, 4095),
    "bias_exp": st.integers(0, 7),
    "u0": st.integers(-LIMIT + 1, LIMIT - 1),
    "v0": st.integers(-LIMIT + 1, LIMIT - 1),
}
UNITS = 3


@st.composite
def layers(draw):
    """A Dense and a LIF layer whose registers are numbers or arrays, of any size they hold."""
    inputs = draw(st.integers(1, 6))
    row = st.lists(st.integers(-256, 255), min_size=inputs, max_size=inputs)
    dense = Dense(draw(st.lists(row, min_size=UNITS, max_size=UNITS)), draw(st.integers(-8, 7)))
    lif = LIF(
        **{
            name: draw(st.one_of(values, st.lists(values, min_size=UNITS, max_size=UNITS)))
            for name, values in REGISTERS.items()
        }
    )
    return dense, lif


@given(layer=layers(), seed=st.integers(0, 2**16), steps=st.integers(1, 8))
@settings(max_examples=100, deadline=None)
def test_a_layer_steps_as_the_docstring_of_lif_says(layer, seed, steps):
    dense, lif = layer
    spikes = np.random.default_rng(seed).integers(0, 2, (2, steps, dense.inputs), np.int8)
    result = reference.simulate_layer(dense, lif, spikes, ("spikes", "u", "v"))
    weights = dense.weights
    if weights.min() < 0 < weights.max():
        weights = weights - weights % 2
    elif weights.max() <= 0:
        weights = np.maximum(weights, -255)
    wraps = saturations = 0
    for sample in range(2):
        for unit in range(UNITS):
            inputs = [
                int((weights[unit] * step).sum()) * 2**8 * 2 ** (dense.exponent + 8) // 2**16
                for step in spikes[sample].astype(int)
            ]
            registers = {
                name: int(np.broadcast_to(getattr(lif, name), UNITS)[unit]) for name in REGISTERS
            }
            expected = lif_in_python(inputs, **registers)
            got = (result.states[name][0][sample, :, unit].tolist() for name in result.states)
            assert tuple(got) == expected[:3]
            wraps, saturations = wraps + expected[3], saturations + expected[4]
            assert result.final[0]["u"][sample, unit] == expected[1][-1]
            assert result.final[0]["v"][sample, unit] == expected[2][-1]
    assert result.wraps == [wraps]
    assert result.saturations == [saturations]
    np.testing.assert_array_equal(result.spikes, result.states["spikes"][0])


def test_a_current_that_wraps_is_counted():
    dense, lif = Dense([[255] * 6], exponent=7), LIF(vth=131071)  # 6 * 255 * 128 * 64 > 2**23
    result = reference.simulate_layer(dense, lif, np.ones((2, 3, 6), np.int8))
    assert result.wraps == [6]
    assert (result.final[0]["u"] == 6 * 255 * 128 * 64 - 2**24).all()


def test_a_membrane_that_saturates_is_counted():
    dense, lif = Dense([[0]]), LIF(vth=0, bias_mant=-4096, bias_exp=7, v0=-LIMIT + 1)
    result = reference.simulate_layer(dense, lif, np.zeros((2, 3, 1), np.int8))
    assert result.saturations == [6]
    assert (result.final[0]["v"] == -LIMIT + 1).all()


def test_nothing_is_counted_where_nothing_overflows():
    result = reference.simulate_layer(Dense([[64]]), LIF(vth=10), np.ones((1, 5, 1), np.int8))
    assert (result.wraps, result.saturations) == ([0], [0])


def test_a_membrane_at_the_threshold_does_not_fire():
    spikes = np.ones((1, 1, 1), np.int8)
    at, above = (
        reference.simulate_layer(Dense([[10]]), LIF(vth=10, bias_mant=mantissa), spikes)
        for mantissa in (0, 1)
    )
    assert (at.spikes.item(), above.spikes.item()) == (0, 1)
    assert (at.final[0]["v"].item(), above.final[0]["v"].item()) == (640, 0)


def test_a_spike_resets_the_membrane_and_not_the_current():
    result = reference.simulate_layer(
        Dense([[20]]), LIF(du=0, vth=10), np.ones((1, 2, 1), np.int8), ("u", "v")
    )
    assert result.states["v"][0].ravel().tolist() == [0, 0]
    assert result.states["u"][0].ravel().tolist() == [1280, 1280 + 1280 * 4095 // 4096]


def test_layers_pass_their_spikes_on_in_the_same_step():
    pairs = [(Dense([[20], [5]]), LIF(vth=10)), (Dense([[20, 7]]), LIF(vth=10))]
    result = reference.simulate(pairs, np.array([[[0], [1], [0]]], np.int8), ("spikes",))
    assert result.states["spikes"][0].tolist() == [[[0, 0], [1, 0], [0, 0]]]
    assert result.states["spikes"][1].tolist() == [[[0], [1], [0]]]


@pytest.mark.parametrize("counts", [([1, 2], [3, 4]), (None, [3, 4])])
def test_join_concatenates_samples_and_adds_counts(counts):
    first, second = (
        reference.Simulation(
            np.full((2, 3, 4), i, np.int8),
            [{"u": np.full((2, 4), i), "v": np.full((2, 4), -i)}],
            {"u": [np.full((2, 3, 4), i)]},
            wraps,
            wraps,
        )
        for i, wraps in enumerate(counts)
    )
    joined = reference.join([first, second])
    assert joined.spikes[:, 0, 0].tolist() == [0, 0, 1, 1]
    assert joined.final[0]["u"][:, 0].tolist() == [0, 0, 1, 1]
    assert joined.final[0]["v"][:, 0].tolist() == [0, 0, -1, -1]
    assert joined.states["u"][0][:, 0, 0].tolist() == [0, 0, 1, 1]
    assert joined.wraps == joined.saturations == (None if counts[0] is None else [4, 6])


def test_join_refuses_other_numbers_of_steps():
    parts = [
        reference.Simulation(np.zeros((2, steps, 4), np.int8), [], {}, None, None)
        for steps in (3, 5)
    ]
    with pytest.raises(ValueError, match=r"have 3 and 5 steps, .* from Network\.stream"):
        reference.join(parts)
