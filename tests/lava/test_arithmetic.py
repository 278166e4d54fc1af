"""The reference against Lava's own models, called directly, without a runtime."""

import numpy as np
import pytest

pytest.importorskip("lava_export.lava", reason="needs Python 3.10 and lava-nc 0.10.0")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from lava.proc.dense.models import PyDenseModelBitAcc  # noqa: E402
from lava.proc.lif.models import PyLifModelBitAcc  # noqa: E402
from lava.utils.weightutils import (  # noqa: E402
    clip_weights,
    determine_sign_mode,
    truncate_weights,
)
from random_networks import networks  # noqa: E402

from lava_export import LIF, arithmetic, reference  # noqa: E402

MANY = settings(max_examples=200)
SIZE = 320  # values in each example
INT32 = np.iinfo(np.int32)
LIMIT = arithmetic.STATE_LIMIT


def integers(low, high, corners):
    """Arrays: a quarter each of any size, small, near a corner, and of one random size."""
    part = SIZE // 4

    def draw(seed):
        generator = np.random.default_rng(seed)
        near = generator.choice([low, high, 0, *corners], part) + generator.integers(-3, 4, part)
        size = 1 << generator.integers(1, 33)
        values = np.concatenate(
            [
                generator.integers(low, high, part, endpoint=True),
                generator.integers(-5000, 5000, part),
                near,
                generator.integers(-size, size, part),
            ]
        )
        return generator.permutation(np.clip(values, low, high))

    return st.builds(draw, st.integers(0, 1 << 32))


def int32_values():
    corners = [n * LIMIT + sign for n in (-3, -2, -1, 1, 2, 3) for sign in (-1, 0, 1)]
    shifted = [corner >> arithmetic.MESSAGE_SHIFT for corner in corners]
    return integers(INT32.min, INT32.max, [*corners, *shifted, INT32.min >> 6, INT32.max >> 6])


def registers(name):
    return integers(*arithmetic.RANGES[name], [])


def register(name):
    low, high = arithmetic.RANGES[name]
    return st.one_of(st.sampled_from([low, high]), st.integers(low, high))


def one_or_each(name):
    return st.one_of(register(name), registers(name))


def lif_model(u, v, du, dv, vth, bias_mant, bias_exp):
    """Lava's model with the types that Lava's builder gives its variables."""
    model = PyLifModelBitAcc({})
    model.u, model.v = np.array(u, np.int32), np.array(v, np.int32)
    model.du, model.dv, model.vth = du, dv, vth
    model.bias_mant = np.broadcast_to(bias_mant, model.u.shape).astype(np.int16)
    model.bias_exp = np.broadcast_to(bias_exp, model.u.shape).astype(np.int16)
    model.scale_bias()
    model.scale_threshold()
    return model


@MANY
@given(x=int32_values(), keep=st.one_of(st.integers(0, 4096), integers(0, 4096, [])))
def test_decay(x, keep):
    """v alone: with no input, no bias and no current, subthr_dynamics only decays it."""
    model = lif_model(np.zeros(SIZE), x, 4095, 4096 - keep, 0, 0, 0)
    model.subthr_dynamics(np.zeros(SIZE, np.int32))
    actual = arithmetic.saturate(arithmetic.decay(x.astype(np.int32), keep))
    np.testing.assert_array_equal(actual, model.v)


@MANY
@given(u=int32_values(), du=one_or_each("du"), a=int32_values())
def test_current(u, du, a):
    model = lif_model(u, np.zeros(SIZE), du, 0, 0, 0, 0)
    model.subthr_dynamics(a.astype(np.int32))
    decayed = arithmetic.decay(u.astype(np.int32), 4095 - du).astype(np.int32)
    actual = arithmetic.wrap(decayed + (a.astype(np.int32) << arithmetic.MESSAGE_SHIFT))
    np.testing.assert_array_equal(actual, model.u)


@MANY
@given(
    v=int32_values(),
    dv=one_or_each("dv"),
    a=int32_values(),
    bias_mant=registers("bias_mant"),
    bias_exp=registers("bias_exp"),
)
def test_membrane(v, dv, a, bias_mant, bias_exp):
    model = lif_model(np.zeros(SIZE), v, 4095, dv, 0, bias_mant, bias_exp)
    model.subthr_dynamics(a.astype(np.int32))
    decayed = arithmetic.decay(v.astype(np.int32), 4096 - dv).astype(np.int32)
    actual = arithmetic.saturate(decayed + model.u + arithmetic.bias(bias_mant, bias_exp))
    np.testing.assert_array_equal(actual, model.v)


@MANY
@given(mantissa=registers("bias_mant"), exponent=registers("bias_exp"))
def test_bias(mantissa, exponent):
    model = lif_model(np.zeros(SIZE), np.zeros(SIZE), 0, 0, 0, mantissa, exponent)
    np.testing.assert_array_equal(arithmetic.bias(mantissa, exponent), model.effective_bias)


@settings(max_examples=400)
@given(
    seed=st.integers(0, 1 << 32),
    low_high=st.sampled_from([(-256, 255), (0, 255), (-256, 0), (-2, 2), (-300, 300), (0, 0)]),
    bits=register("num_weight_bits"),
)
def test_weights_on_grid(seed, low_high, bits):
    weights = np.random.default_rng(seed).integers(*low_high, (3, 4), endpoint=True)
    sign_mode = determine_sign_mode(weights)
    expected = truncate_weights(clip_weights(weights, sign_mode, num_bits=8), sign_mode, bits)
    np.testing.assert_array_equal(arithmetic.weights_on_grid(weights, bits), expected)


class Wire:
    """Stands in for the ports of a model: `recv` gives what was last sent."""

    def send(self, data):
        self.data = np.array(data).astype(np.int32)  # the type of Lava's channels

    def recv(self):
        return self.data


def dense_model(dense, output):
    model = PyDenseModelBitAcc(
        {"weight_exp": dense.exponent, "num_weight_bits": dense.num_weight_bits}
    )
    model.s_in, model.a_out = Wire(), output
    model.weights = np.array(dense.weights, np.int32)
    model.a_buff = np.zeros(dense.units, np.int32)
    model.num_message_bits = np.array([0])
    return model


def run_models(dense, lif, spikes):
    """Spikes, u and v over time of Lava's Dense and LIF models for (T, in) spikes."""
    wire = Wire()
    synapses = dense_model(dense, wire)
    zeros = np.zeros(dense.units, np.int64)
    # The arrays as the stock LIF takes them at construction.
    model = lif_model(
        lif.u0 + zeros,
        lif.v0 + zeros,
        lif.du + zeros,
        lif.dv + zeros,
        lif.vth + zeros,
        lif.bias_mant,
        lif.bias_exp,
    )
    model.a_in, model.s_out = wire, Wire()
    feedback_wire = Wire()
    feedback = dense_model(lif.recurrent, feedback_wire) if lif.recurrent else None
    traces = []
    for x in [*spikes, spikes[-1]]:  # Dense sends at a step what it received at the last
        synapses.s_in.send(x)
        synapses.run_spk()
        traces.append(None)
        if len(traces) > 1:
            if feedback:
                feedback.s_in.send(traces[-2][0] if traces[-2] else np.zeros(dense.units))
                feedback.run_spk()  # computes what it received; sends it at the next step
                wire.send(wire.recv() + feedback.a_buff)
            model.run_spk()
            traces[-1] = (model.s_out.recv().copy(), model.u.copy(), model.v.copy())
    return [np.array(trace) for trace in zip(*traces[1:], strict=True)]


@settings(max_examples=200)
@given(network=networks(kinds=(LIF,), most_samples=1, most_layers=1, most_steps=20, convolutions=0))
def test_layer(network):
    (pair,), spikes = network
    expected = run_models(*pair, spikes[0])
    actual = reference.simulate([pair], spikes, ("spikes", "u", "v"))
    for name, trace in zip(("spikes", "u", "v"), expected, strict=True):
        np.testing.assert_array_equal(actual.states[name][0][0], trace)
