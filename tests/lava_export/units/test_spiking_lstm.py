"""Units of a spiking LSTM against a loop over plain Python integers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lava_export import Dense, Network, SpikingLSTM, load, reference

UNITS, INPUTS = 3, 4


def lstm_in_python(x, weights, exponent, recurrent, recurrent_exponent, threshold):
    """The docstring of `SpikingLSTM` for one sample: outputs and unit states over time."""
    h, c = [0] * UNITS, [0] * UNITS
    outputs, states = [], []
    for step in x:
        a = [
            sum(w * s for w, s in zip(row, step, strict=True)) * 2**8 * 2 ** (exponent + 8) // 2**16
            + sum(w * s for w, s in zip(back, h, strict=True))
            * 2**8
            * 2 ** (recurrent_exponent + 8)
            // 2**16
            for row, back in zip(weights, recurrent, strict=True)
        ]
        gates = [current > limit for current, limit in zip(a, threshold, strict=True)]
        i, f, g, o = (gates[k * UNITS : (k + 1) * UNITS] for k in range(4))
        c = [int((f[n] and c[n]) or (i[n] and g[n])) for n in range(UNITS)]
        h = [int(o[n] and c[n]) for n in range(UNITS)]
        outputs.append(h)
        states.append(c)
    return outputs, states


def even(generator, *shape):
    """Weights with both signs, all of them even."""
    weights = 2 * generator.integers(-128, 128, shape)
    weights.flat[:2] = -2, 2
    return weights


@given(
    seed=st.integers(0, 2**16),
    exponents=st.tuples(st.integers(-8, 7), st.integers(-8, 7)),
    steps=st.integers(1, 20),
)
@settings(max_examples=100, deadline=None)
def test_a_layer_steps_as_the_docstring_says(seed, exponents, steps):
    generator = np.random.default_rng(seed)
    weights, recurrent = even(generator, 4 * UNITS, INPUTS), even(generator, 4 * UNITS, UNITS)
    reach = int(100 * 2.0 ** max(exponents)) + 1
    threshold = generator.integers(-reach, reach, 4 * UNITS)
    x = generator.integers(0, 2, (2, steps, INPUTS), np.int8)
    units = SpikingLSTM(threshold, Dense(recurrent, exponents[1]))
    result = reference.simulate_layer(Dense(weights, exponents[0]), units, x, ("spikes", "c"))
    for sample in range(2):
        expected = lstm_in_python(
            x[sample].tolist(),
            weights.tolist(),
            exponents[0],
            recurrent.tolist(),
            exponents[1],
            threshold.tolist(),
        )
        assert result.spikes[sample].tolist() == expected[0]
        assert result.states["c"][0][sample].tolist() == expected[1]
        assert result.final[0]["c"][sample].tolist() == expected[1][-1]
    np.testing.assert_array_equal(result.states["spikes"][0], result.spikes)


def test_a_cell_keeps_what_it_holds():
    """One unit: the input writes, the forget gate is open unless the second input closes it."""
    weights = Dense([[10, 0], [0, -10], [10, 0], [0, 0]])
    units = SpikingLSTM([5, -5, 5, -1])  # the output gate is always open
    x = np.array([[[1, 0], [0, 0], [0, 0], [0, 1], [0, 0]]], np.int8)
    result = reference.simulate_layer(weights, units, x, ("c",))
    assert result.spikes[0].ravel().tolist() == [1, 1, 1, 0, 0]
    assert result.states["c"][0].ravel().tolist() == [1, 1, 1, 0, 0]


def test_a_gate_at_its_threshold_does_not_fire():
    weights = Dense([[10], [0], [10], [10]])
    for threshold, spikes in ((10, 0), (9, 1)):
        result = reference.simulate_layer(weights, SpikingLSTM(threshold), np.ones((1, 1, 1)))
        assert result.spikes.item() == spikes


def test_a_file_holds_it(tmp_path):
    generator = np.random.default_rng(0)
    network = Network(
        [
            Dense(even(generator, 4 * UNITS, INPUTS)),
            SpikingLSTM(np.arange(4 * UNITS), Dense(even(generator, 4 * UNITS, UNITS), 3)),
        ]
    )
    network.save(tmp_path / "n.h5")
    assert load(tmp_path / "n.h5") == network
    other = SpikingLSTM(np.arange(4 * UNITS), Dense(even(generator, 4 * UNITS, UNITS), 3))
    assert Network([network.layers[0], other]) != network


class TestErrors:
    def test_a_threshold_for_each_port(self):
        with pytest.raises(ValueError, match=r"SpikingLSTM.threshold has the shape \(3,\).* or 12"):
            Network([Dense(np.ones((12, 2), int)), SpikingLSTM(np.zeros(3, int))])

    def test_ports_of_the_synapses(self):
        with pytest.raises(ValueError, match="leads to 10 lines, but SpikingLSTM .* 4 ports"):
            Network([Dense(np.ones((10, 2), int)), SpikingLSTM()])

    def test_recurrent_synapses(self):
        with pytest.raises(ValueError, match=r"need \(12, 3\)"):
            units = SpikingLSTM(0, Dense(np.ones((3, 12), int)))
            Network([Dense(np.ones((12, 2), int)), units])
        with pytest.raises(TypeError, match="SpikingLSTM.recurrent must be Dense"):
            SpikingLSTM(0, np.ones((12, 3), int))

    def test_graded_messages(self):
        for synapses, units in (
            (Dense(np.ones((8, 2), int), message_bits=3), SpikingLSTM()),
            (Dense(np.ones((8, 2), int)), SpikingLSTM(0, Dense(np.ones((8, 2), int), 0, 8, 3))),
        ):
            with pytest.raises(ValueError, match="spikes, 0 or 1, but takes graded .* of 3 bits"):
                Network([Dense(np.ones((8, 2), int)), SpikingLSTM(), synapses, units])
