"""Adaptive neurons and LSTMs against a loop over plain Python integers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lava_export import AdaptiveLSTM, AdaptiveNeurons, Dense, Network, load, reference

LIMIT = 2**23
UNITS, INPUTS = 3, 4


def toward_zero(x, factor):
    quotient = abs(x) * factor // 4096
    return quotient if x >= 0 else -quotient


class Held:
    """Sums that saturate at 24 bits."""

    def __init__(self):
        self.count = 0

    def __call__(self, total):
        self.count += abs(total) >= LIMIT
        return self.clip(total)

    @staticmethod
    def clip(total):
        return min(max(total, 1 - LIMIT), LIMIT - 1)


class Neuron:
    """The docstring of `AdaptiveNeurons`, for one neuron."""

    def __init__(self, registers, theta_0, bias=0):
        self.registers, self.theta_0, self.bias = registers, theta_0, bias
        self.current = self.signal = self.estimate = self.adaptation = 0

    def receive(self, a, held):
        r = self.registers
        arriving = held.clip(held.clip(a) * 2 ** r["input_shift"])
        held.count += arriving != a * 2 ** r["input_shift"]
        self.current = held(toward_zero(self.current, r["keep_current"]) + arriving)
        return held(self.current + self.bias)

    def fire(self, drive, held):
        r = self.registers
        self.signal = drive + toward_zero(held(self.signal - drive), r["keep_signal"])
        threshold = held(self.theta_0 + self.adaptation)
        spike = held(self.signal - self.estimate) > threshold // 2 ** r["half"]
        jump = threshold if spike else 0
        self.adaptation = toward_zero(
            held(self.adaptation + toward_zero(jump, r["rise"])), r["keep_adaptation"]
        )
        self.estimate = toward_zero(held(self.estimate + jump), r["keep_estimate"])
        return spike


COMMON = {
    "keep_current": st.sampled_from([0, 3706, 4096]),
    "keep_signal": st.sampled_from([0, 2746, 4096]),
    "keep_estimate": st.sampled_from([3706, 4096]),
    "keep_adaptation": st.sampled_from([0, 3706]),
    "rise": st.sampled_from([0, 737, 8191]),
    "half": st.integers(0, 1),
    "input_shift": st.sampled_from([0, 3, 15]),
}


def even(generator, *shape):
    """Weights with both signs, all of them even."""
    weights = 2 * generator.integers(-40, 128, shape)
    weights.flat[:2] = -2, 2
    return weights


def arriving(weights, exponent, x):
    """What the synapses bring at each step: a list for each line."""
    return [[int(total) * 2 ** (8 + exponent) // 2**8 for total in row] for row in x @ weights.T]


@given(
    registers=st.fixed_dictionaries(COMMON), seed=st.integers(0, 2**16), steps=st.integers(1, 30)
)
@settings(max_examples=50, deadline=None)
def test_neurons_step_as_the_docstring_says(registers, seed, steps):
    generator = np.random.default_rng(seed)
    weights, exponent = even(generator, UNITS, INPUTS), int(generator.integers(-3, 8))
    theta_0 = generator.integers(1, 3000, UNITS)
    bias = generator.integers(-500, 500, UNITS)
    x = generator.integers(-3, 4, (2, steps, INPUTS))
    units = AdaptiveNeurons(theta_0, bias, **registers)
    dense = Dense(weights, exponent, message_bits=2)
    result = reference.simulate_layer(dense, units, x.astype(np.int32), ("spikes", *units.states))
    held = Held()
    for sample in range(2):
        neurons = [
            Neuron(registers, *map(int, of_unit)) for of_unit in zip(theta_0, bias, strict=True)
        ]
        for step, currents in enumerate(arriving(weights, exponent, x[sample])):
            for unit, (neuron, a) in enumerate(zip(neurons, currents, strict=True)):
                spike = neuron.fire(neuron.receive(a, held), held)
                assert result.spikes[sample, step, unit] == spike
                for name in units.states:
                    found = result.states[name][0][sample, step, unit]
                    assert found == getattr(neuron, name), name
    assert result.saturations == [held.count]


@given(
    registers=st.fixed_dictionaries(COMMON),
    gate_shift=st.integers(0, 12),
    seed=st.integers(0, 2**16),
    steps=st.integers(1, 30),
)
@settings(max_examples=50, deadline=None)
def test_lstms_step_as_the_docstring_says(registers, gate_shift, seed, steps):
    generator = np.random.default_rng(seed)
    weights, exponent = even(generator, 2 * UNITS, INPUTS), int(generator.integers(-3, 8))
    theta_0 = generator.integers(1, 3000, 2 * UNITS)
    bias = generator.integers(-500, 500, 2 * UNITS)
    theta_out = generator.integers(1, 3000, UNITS)
    height = generator.integers(0, 2000 << gate_shift, UNITS)
    memory = np.array([1, 1, 0])
    x = generator.integers(0, 2, (2, steps, INPUTS))
    units = AdaptiveLSTM(
        theta_0, bias, theta_out, height, memory, gate_shift, keep_star=3706, **registers
    )
    dense = Dense(weights, exponent)
    result = reference.simulate_layer(dense, units, x.astype(np.int8), ("spikes", *units.states))
    held = Held()
    for sample in range(2):
        currents = arriving(weights, exponent, x[sample])
        for unit in range(UNITS):
            gate, cell = (
                Neuron(registers, int(theta_0[row]), int(bias[row])) for row in (unit, UNITS + unit)
            )
            output = Neuron(registers, int(theta_out[unit]))
            star_current = star_signal = cec = 0
            for step in range(steps):
                opened = gate.fire(gate.receive(currents[step][unit], held), held)
                drive = cell.receive(currents[step][UNITS + unit], held)
                fired = cell.fire(drive, held)
                star_current = toward_zero(star_current, 3706)
                star_current = held(star_current + int(height[unit]) * opened)
                distance = held(star_signal - star_current)
                star_signal = star_current + toward_zero(distance, registers["keep_signal"])
                brought = held(star_signal + 2**gate_shift // 2) // 2**gate_shift
                cec = held(cec + brought * fired)
                spike = output.fire(cec if memory[unit] else drive, held)
                assert result.spikes[sample, step, unit] == spike
                expected = {
                    **{f"gate_{name}": getattr(gate, name) for name in AdaptiveNeurons.states},
                    **{f"cell_{name}": getattr(cell, name) for name in AdaptiveNeurons.states},
                    "star_current": star_current,
                    "star_signal": star_signal,
                    "cec": cec,
                    "output_signal": output.signal,
                    "output_estimate": output.estimate,
                    "output_adaptation": output.adaptation,
                }
                assert set(expected) == set(units.states)
                for name, value in expected.items():
                    assert result.states[name][0][sample, step, unit] == value, name
    assert result.saturations == [held.count]


def test_the_cec_holds_to_the_last_bit():
    """Written for 50 steps, then 4000 steps without input."""
    x = np.zeros((1, 4050, 1), np.int8)
    x[:, :50] = 1
    units = AdaptiveLSTM(theta_0=300, theta_out=1000, gate_height=77, keep_current=3706)
    result = reference.simulate_layer(Dense([[100], [100]]), units, x, ("spikes", "cec"))
    cec = result.states["cec"][0].ravel()
    rising = np.flatnonzero(np.diff(cec))
    assert rising.max() < 500  # until currents and the gate's trace are gone
    assert cec[-1] == cec[500] > 1000
    assert result.spikes[0, 3000:].sum() > 30  # and it goes on being read


def test_a_shut_gate_lets_nothing_in():
    x = np.ones((1, 1000, 1), np.int8)
    units = AdaptiveLSTM(theta_0=300, gate_height=1000)
    result = reference.simulate_layer(Dense([[0], [2000 >> 3]], 3), units, x, ("cec",))
    assert not result.states["cec"][0].any()


def test_a_cec_that_saturates_is_counted():
    x = np.ones((1, 400, 1), np.int8)
    units = AdaptiveLSTM(theta_0=10, gate_height=(1 << 20), theta_out=1 << 22)
    result = reference.simulate_layer(Dense([[250], [250]]), units, x, ("cec",))
    assert result.states["cec"][0].max() == LIMIT - 1
    assert result.saturations[0] > 0


def test_a_neuron_estimates_its_input():
    """Sigma-delta coding: the estimate stays below a constant signal by up to a threshold."""
    x = np.ones((1, 2000, 1), np.int8)
    units = AdaptiveNeurons(theta_0=3000, keep_current=0)
    names = ("signal", "estimate", "adaptation")
    result = reference.simulate_layer(Dense([[200]], 7), units, x, names)
    signal, estimate, adaptation = (result.states[name][0][0, 1000:, 0] for name in names)
    assert (signal == 200 * 128).all()  # it reaches a constant drive exactly
    assert 0 < result.spikes.mean() < 0.5
    assert (signal - estimate).max() < 3000 + adaptation.max() + 0.1 * 200 * 128


def test_a_file_holds_them(tmp_path):
    network = Network(
        [
            Dense([[10, 4], [-6, 8]], message_bits=8),
            AdaptiveNeurons(np.array([5, 6]), rise=700),
            Dense([[10, 4], [-6, 8]]),
            AdaptiveLSTM(np.array([5, 6]), memory=np.array([0]), gate_shift=3),
        ]
    )
    network.save(tmp_path / "n.h5")
    assert load(tmp_path / "n.h5") == network
    x = np.random.default_rng(0).integers(-255, 256, (2, 9, 2))
    np.testing.assert_array_equal(load(tmp_path / "n.h5").run(x), network.run(x))


class TestErrors:
    @pytest.mark.parametrize(
        "arguments,message",
        [
            ({"theta_0": 0}, r"AdaptiveNeurons.theta_0 must be in \[1, 8388607\]"),
            ({"keep_signal": 4097}, r"AdaptiveNeurons.keep_signal must be in \[0, 4096\]"),
            ({"rise": 8192}, r"AdaptiveNeurons.rise must be in \[0, 8191\]"),
            ({"half": np.array([0, 1])}, "AdaptiveNeurons.half must have 0 dimensions"),
            ({"input_shift": 16}, r"AdaptiveNeurons.input_shift must be in \[0, 15\]"),
        ],
    )
    def test_registers(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            AdaptiveNeurons(**arguments)
        with pytest.raises(ValueError, match=message.replace("Neurons", "LSTM")):
            AdaptiveLSTM(**arguments)

    def test_registers_are_integers(self):
        with pytest.raises(TypeError, match="AdaptiveLSTM.gate_height must hold integers"):
            AdaptiveLSTM(gate_height=0.5)
        with pytest.raises(ValueError, match=r"AdaptiveLSTM.memory must be in \[0, 1\]"):
            AdaptiveLSTM(memory=2)

    def test_a_register_for_each_port(self):
        with pytest.raises(ValueError, match=r"AdaptiveLSTM.theta_0 has the shape \(3,\).* or 6"):
            Network([Dense(np.ones((6, 2), int)), AdaptiveLSTM(np.array([1, 2, 3]))])

    def test_graded_inputs(self):
        network = Network([Dense([[10]], message_bits=3), AdaptiveNeurons()])
        for bad in (8, -8, 0.5):
            with pytest.raises(ValueError, match="integers of 3 bits, from -7 to 7"):
                network.run(np.full((1, 2, 1), bad))
        with pytest.raises(ValueError, match="must be 0 or 1"):
            Network([Dense([[10]]), AdaptiveNeurons()]).run(np.full((1, 2, 1), 2))
        with pytest.raises(ValueError, match="gets spikes, 0 or 1, but takes graded"):
            Network([*network.layers, *network.layers])
