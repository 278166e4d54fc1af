"""Units of a LIF-LSTM against a loop over plain Python integers."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lava_export import LIFLSTM, Dense, Network, arithmetic, load, reference

UNITS, INPUTS = 3, 4
LIMIT = 2**23 - 1


def tanh(x):
    return int(arithmetic.tanh(np.array(x)))


def sigmoid(x):
    return int(arithmetic.fine_sigmoid(np.array(x)))


def fraction(x, share):
    return math.trunc(Fraction(x * share, 4096))


def clip(x):
    return min(max(x, -LIMIT), LIMIT)


def weighted(weights, exponent, messages):
    total = sum(w * m for w, m in zip(weights, messages, strict=True))
    return math.floor(total * Fraction(2) ** exponent)


def lif_lstm_in_python(x, dense, units, count):
    """The docstring of `LIFLSTM` for one sample: outputs and states over time."""

    def of(name, n):
        return int(np.broadcast_to(getattr(units, name), 4 * count if name in PORTS else count)[n])

    u, c, messages = [0] * count, [0] * count, [0] * count
    outputs, states, saturations = [], [], 0
    for step in x:
        z = []
        for row in range(4 * count):
            a = weighted(dense.weights[row].tolist(), dense.exponent, step)
            if units.recurrent is not None:
                back = units.recurrent
                a += weighted(back.weights[row].tolist(), back.exponent, messages)
            saturations += clip(a) != a
            shifted = clip(math.floor(clip(a) * Fraction(2) ** of("shift", row)))
            z.append(clip(shifted + of("bias", row)))
        spikes = []
        for n in range(count):
            i, f, g, o = (z[port * count + n] for port in range(4))
            written = fraction(tanh(g) * 2**units.cell_shift, sigmoid(i))
            cell = fraction(c[n], sigmoid(f)) + written
            c[n] = clip(cell)
            v = fraction(tanh(c[n] // 2**units.cell_shift), sigmoid(o))
            spikes.append(int(v >= of("threshold", n)))
            left = of("reset", n) if spikes[n] else v
            membrane = fraction(left, of("keep", n)) + of("membrane_bias", n)
            u[n] = clip(membrane)
            saturations += (cell != c[n]) + (membrane != u[n])
        messages = [m // 2**units.message_shift for m in u]
        outputs.append(spikes)
        states.append((list(u), list(c)))
    return outputs, states, saturations


PORTS = LIFLSTM.of_ports


def even(generator, *shape):
    """Weights with both signs, all of them even."""
    weights = 2 * generator.integers(-128, 128, shape)
    weights.flat[:2] = -2, 2
    return weights


def random_units(generator, recurrent=True, **more):
    registers = {
        "threshold": generator.integers(-500, 2500, UNITS),
        "reset": generator.integers(-2000, 500, UNITS),
        "keep": generator.integers(0, 4097, UNITS),
        "membrane_bias": generator.integers(-2000, 2000, UNITS),
        "bias": generator.integers(-5000, 5000, 4 * UNITS),
        "shift": generator.integers(1, 7, 4 * UNITS),
        "cell_shift": int(generator.integers(0, 12)),
        "message_shift": int(generator.integers(0, 10)),
        **more,
    }
    if not recurrent:
        return LIFLSTM(**registers)
    bits = LIFLSTM(**registers).feedback_bits
    exponent = max(-8, registers["message_shift"] - 10)
    back = Dense(even(generator, 4 * UNITS, UNITS), exponent, message_bits=bits)
    return LIFLSTM(**registers, recurrent=back)


@given(
    seed=st.integers(0, 2**16),
    exponent=st.integers(-2, 2),
    steps=st.integers(1, 20),
    recurrent=st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_a_layer_steps_as_the_docstring_says(seed, exponent, steps, recurrent):
    generator = np.random.default_rng(seed)
    dense = Dense(even(generator, 4 * UNITS, INPUTS), exponent)
    units = random_units(generator, recurrent)
    x = generator.integers(0, 2, (2, steps, INPUTS), np.int8)
    result = reference.simulate_layer(dense, units, x, ("spikes", "u", "c"))
    saturations = 0
    for sample in range(2):
        outputs, states, saturated = lif_lstm_in_python(x[sample].tolist(), dense, units, UNITS)
        saturations += saturated
        assert result.spikes[sample].tolist() == outputs
        for k, name in enumerate(("u", "c")):
            expected = [step[k] for step in states]
            assert result.states[name][0][sample].tolist() == expected
            assert result.final[0][name][sample].tolist() == expected[-1]
    assert (result.wraps, result.saturations) == ([0], [saturations])
    assert result.spikes.dtype == np.int8


def test_both_saturations_are_counted():
    """The gates are open: the cell grows by 1 a step, and the membrane gets all that it can."""
    units = LIFLSTM(
        threshold=5000,
        keep=4096,
        membrane_bias=LIMIT,
        bias=40000,
        cell_shift=11,
    )
    dense = Dense(np.zeros((4, 1), int))
    result = reference.simulate_layer(dense, units, np.ones((1, 3, 1)), ("u", "c"))
    assert result.states["c"][0].ravel().tolist() == [LIMIT] * 3  # 4096 << 11 is 2**23
    assert result.states["u"][0].ravel().tolist() == [LIMIT] * 3
    assert result.saturations == [6]


def test_what_goes_back_is_the_membrane_and_not_the_spike():
    """The first unit never fires, but the second hears it; the third fires and is reset to 0."""
    weights = np.zeros((12, 1), int)
    weights[[0, 6, 9]] = weights[[2, 8, 11]] = 100  # i, g and o of the first and the third
    back = np.zeros((12, 3), int)
    back[7, 0] = back[7, 2] = 100  # g of the second
    dense = Dense(weights)
    units = LIFLSTM(
        threshold=[5000, 5000, 100],
        keep=4096,
        bias=np.repeat([0, -40000, 0, 0], 3),
        shift=9,
        message_shift=4,
        recurrent=Dense(back, message_bits=9),
    )
    result = reference.simulate_layer(dense, units, np.array([[[1], [0]]]), ("u",))
    first, second, third = result.states["u"][0][0].T.tolist()
    assert first[0] == tanh(4096) and third[0] == 0
    assert result.spikes[0].tolist() == [[0, 0, 1], [0, 0, 0]]
    assert second[0] == 0 and second[1] > 500  # i and o are 1/2, g is 1


@given(
    reset=st.integers(-LIMIT, LIMIT),
    keep=st.integers(0, 4096),
    bias=st.integers(-LIMIT, LIMIT),
    shift=st.integers(0, 23),
)
def test_messages_fit_their_bits(reset, keep, bias, shift):
    units = LIFLSTM(reset=reset, keep=keep, membrane_bias=bias, message_shift=shift)
    largest = 2**units.feedback_bits - 1
    for left in (-4096, 4096, reset):
        u = clip(fraction(left, keep) + bias)
        message = units.feedback({"u": np.array([u])}, None)
        assert abs(message[0]) <= largest


def test_a_file_holds_it(tmp_path):
    generator = np.random.default_rng(0)
    units = random_units(generator)
    network = Network([Dense(even(generator, 4 * UNITS, INPUTS)), units])
    network.save(tmp_path / "n.h5")
    assert load(tmp_path / "n.h5") == network
    other = Network([network.layers[0], random_units(generator)])
    assert other != network


class TestErrors:
    def test_recurrent_synapses_that_take_spikes_or_too_few_bits(self):
        dense = Dense(np.ones((8, 2), int))
        for bits, takes in ((0, "takes spikes"), (10, "takes graded messages of 10 bits")):
            units = LIFLSTM(keep=4096, recurrent=Dense(np.ones((8, 2), int), message_bits=bits))
            with pytest.raises(ValueError, match=f"graded outputs of 13 bits, but {takes}"):
                Network([dense, units])
        Network([dense, LIFLSTM(recurrent=Dense(np.ones((8, 2), int), message_bits=13))])

    def test_its_outputs_are_spikes(self):
        graded = Dense(np.ones((4, 2), int), message_bits=12)
        with pytest.raises(ValueError, match="gets spikes, 0 or 1, but takes graded"):
            Network([Dense(np.ones((8, 2), int)), LIFLSTM(), graded, LIFLSTM()])

    def test_registers(self):
        for name, value in (("keep", 4097), ("cell_shift", 12), ("message_shift", 24)):
            with pytest.raises(ValueError, match=rf"LIFLSTM.{name} must be in \[0, "):
                LIFLSTM(**{name: value})
        with pytest.raises(ValueError, match="cell_shift must have 0 dimensions"):
            LIFLSTM(cell_shift=[1, 2])
        with pytest.raises(TypeError, match="threshold must hold integers, got dtype float64"):
            LIFLSTM(threshold=0.5)

    def test_a_bias_for_each_port(self):
        with pytest.raises(ValueError, match=r"LIFLSTM.bias has the shape \(2,\).* or 8"):
            Network([Dense(np.ones((8, 2), int)), LIFLSTM(bias=[1, 2])])
