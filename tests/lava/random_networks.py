"""Integer networks for hypothesis, within what a Loihi register holds and at its limits."""

import dataclasses

import numpy as np
from hypothesis import strategies as st

from lava_export import (
    LIF,
    LIFLSTM,
    SRC,
    AdaptiveLSTM,
    AdaptiveNeurons,
    Conv,
    CurrentLIF,
    Dense,
    GatedLIF,
    SpikingLSTM,
)
from lava_export.arithmetic import RANGES


@st.composite
def weights(draw, generator, *shape):
    low, high = draw(
        st.sampled_from(
            [(-256, 255), (-60, 60), (-3, 3), (0, 255), (-256, 0), (0, 0), (250, 255), (-256, -250)]
        )
    )
    values = generator.integers(low, high, shape, endpoint=True)
    return np.where(generator.random(shape) < draw(st.sampled_from([0.2, 1])), values, 0)


@st.composite
def registers(draw, generator, name, units, ranges):
    """One integer for all units or one for each, from one of the ranges."""
    low, high = draw(st.sampled_from([*ranges, RANGES[name]]))
    shape = draw(st.sampled_from([(), (units,)]))
    values = generator.integers(low, high, shape, endpoint=True)
    return int(values) if shape == () else values


@st.composite
def synapses(draw, generator, units, inputs, message_bits=0):
    return Dense(
        draw(weights(generator, units, inputs)),
        draw(st.integers(-8, 7)),
        draw(st.sampled_from([8, 8, 8, 7, 4, 1])),
        message_bits,
    )


@st.composite
def convolution(draw, generator, ports, inputs, message_bits=0):
    """Windows, strides, padding and dilation that differ from side to side, on `inputs` lines."""
    divisors = [n for n in range(1, inputs + 1) if inputs % n == 0]
    height = draw(st.sampled_from(divisors))
    width = draw(st.sampled_from([n for n in divisors if inputs // height % n == 0]))
    padding = draw(st.tuples(*[st.integers(0, 3)] * 4))
    strides, dilation, kernel_size = [], [], []
    for size in (height + padding[0] + padding[1], width + padding[2] + padding[3]):
        kernel = draw(st.integers(1, min(5, size)))
        apart = draw(st.integers(1, min(3, (size - 1) // (kernel - 1)))) if kernel > 1 else 1
        kernel_size.append(kernel)
        dilation.append(apart)
        strides.append(draw(st.integers(1, 3)))
    channels = inputs // (height * width)
    filters = ports * draw(st.integers(1, 3))
    values = draw(weights(generator, filters, *kernel_size, channels))
    most = max(1, int(np.abs(values).sum(axis=(1, 2, 3)).max()) + 2) << message_bits
    largest = max(0, min(7, int(np.log2((1 << 23) / most) - 1e-9)))
    return Conv(
        values,
        (height, width, channels),
        strides,
        padding,
        dilation,
        draw(st.integers(0, largest)),
        draw(st.sampled_from([8, 8, 8, 7, 4, 1])),
        message_bits,
    )


def reach_of(synapses):
    """What the weighted input of a unit often reaches: a threshold there gives some spikes."""
    rows = synapses.weights.reshape(len(synapses.weights), -1)
    return max(1, int(np.abs(rows).sum(axis=1).mean() * 2.0**synapses.exponent / 4))


@st.composite
def lif(draw, generator, dense, units, recurrent):
    reach = min(reach_of(dense), RANGES["vth"][1])
    ranges = {
        "du": [(4095, 4095), (0, 0), (3000, 4095)],
        "dv": [(0, 0), (0, 1000)],
        "vth": [(0, reach), (0, reach), (0, 3)],
        "bias_mant": [(0, 0), (-50, 50)],
        "bias_exp": [(0, 7)],
        "u0": [(0, 0), (-1000, 1000)],
        "v0": [(0, 0), (-(reach << 6), reach << 6) if reach < 1 << 16 else (0, 0)],
    }
    values = {name: draw(registers(generator, name, units, r)) for name, r in ranges.items()}
    return LIF(**values, recurrent=recurrent)


@st.composite
def spiking_lstm(draw, generator, dense, units, recurrent):
    reach = reach_of(dense)
    ranges = [(-reach, reach), (-reach, reach), (-2, 2)]
    return SpikingLSTM(draw(registers(generator, "threshold", 4 * units, ranges)), recurrent)


@st.composite
def soft_reset(draw, generator, dense, units, recurrent, kind):
    """Units of `CurrentLIF` or `GatedLIF`, with spikes or graded outputs."""
    bits = draw(st.sampled_from([0, 0, 1, 3, 8]))
    shift = draw(st.integers(0, 6))
    reach = min(reach_of(dense) << shift, (1 << 23) - 1)
    ranges = {
        "keep_i": [(0, 0), (3000, 4096), (4096, 4096)],
        "keep_v": [(4096, 4096), (3000, 4096)],
        "threshold": [(1, reach), (1, reach), (-5, 5)],
        "height": [(1, max(1, min(reach, 1 << 23) >> bits)), (1, 10)],
        "bias": [(0, 0), (-(reach >> 2), reach >> 2)],
        "shift": [(shift, shift), (0, 6)],
    }
    ranges = {name: r for name, r in ranges.items() if name in kind.registers()}
    values = {}
    for name, wanted in ranges.items():
        size = units * (kind.ports if name in kind.of_ports else 1)
        values[name] = draw(registers(generator, name, size, wanted))
    values["height"] = np.minimum(values["height"], (1 << 23) - 1 >> bits)
    values["signed"] = draw(st.integers(0, 1)) if bits else 0
    if "fine" in kind.registers():
        values["fine"] = draw(st.integers(0, 1))
    return kind(**values, bits=bits, recurrent=recurrent)


def of_kind(kind, strategy=soft_reset):
    """`soft_reset`, or another strategy, for one kind."""
    return lambda *arguments: strategy(*arguments, kind)


@st.composite
def adaptive(draw, generator, dense, units, recurrent, kind):
    """Units of `AdaptiveNeurons` or `AdaptiveLSTM`."""
    input_shift = draw(st.integers(0, 6))
    reach = min(reach_of(dense) << input_shift, (1 << 23) - 1)
    ranges = {
        "theta_0": [(1, reach), (1, max(1, reach >> 3)), (1, 5)],
        "bias": [(0, 0), (-(reach >> 2), reach >> 2)],
        "theta_out": [(1, reach), (1, max(1, reach >> 3)), (1, 5)],
        "gate_height": [(reach >> 2, reach)],
        "memory": [(1, 1), (0, 1)],
        "gate_shift": [(0, 2)],
        "keep_star": [(3000, 4096)],
        "keep_current": [(0, 0), (3000, 4096), (4096, 4096)],
        "keep_signal": [(0, 0), (0, 2746)],
        "keep_estimate": [(0, 3706), (2000, 4096)],
        "keep_adaptation": [(3000, 4096)],
        "rise": [(0, 800)],
    }
    values = {"input_shift": input_shift, "half": draw(st.integers(0, 1))}
    for name, wanted in ranges.items():
        wanted = 4 * wanted  # with so many registers, most are seldom at a limit
        if name in kind.of_all:
            low, high = draw(st.sampled_from([*wanted, RANGES[name]]))
            values[name] = int(generator.integers(low, high, endpoint=True))
        elif name in kind.registers():
            size = units * (kind.ports if name in kind.of_ports else 1)
            values[name] = draw(registers(generator, name, size, wanted))
    return kind(**values, recurrent=recurrent)


def input_shifts(reach):
    """Ranges of `shift` with which a weighted input is some 4096, and the function is steep."""
    shift = 12 - int(np.log2(reach))
    return [(shift - 2, shift + 2), (shift, shift)] if abs(shift) <= 13 else [(-2, 2)]


@st.composite
def lif_lstm(draw, generator, dense, units, recurrent):
    ranges = {
        "threshold": [(0, 2048), (500, 1500), (-2000, 0)],
        "reset": [(0, 0), (-2000, 500)],
        "keep": [(500, 4096), (4096, 4096)],
        "membrane_bias": [(0, 0), (-1000, 1000)],
        "bias": [(0, 0), (-4096, 4096)],
        "shift": input_shifts(reach_of(dense)),
    }
    values = {}
    for name, wanted in ranges.items():
        size = units * (4 if name in LIFLSTM.of_ports else 1)
        values[name] = draw(registers(generator, name, size, wanted))
    shifts = draw(st.integers(0, 11)), draw(st.sampled_from([0, 4, 8, 12, 23]))
    return LIFLSTM(**values, cell_shift=shifts[0], message_shift=shifts[1], recurrent=recurrent)


@st.composite
def src(draw, generator, dense, units, recurrent):
    gain_shift = draw(st.sampled_from([3, 3, 0, 8]))
    unity = 4096 >> gain_shift
    ranges = {
        "keep_i": [(3000, 4096)],
        "rho": [(3 * unity, 3 * unity)],
        "r": [(2 * unity, 2 * unity)],
        "r_s": [(-7 * unity, -7 * unity)],
        "keep_h": [(0, 0), (0, 2000)],
        "keep_hyp": [(3686, 3686), (2000, 4096)],
        "keep_dep": [(0, 0), (0, 2000)],
        "bias": [(-6 * unity << 8, -3 * unity << 8)],
        "shift": input_shifts(reach_of(dense)),
    }
    if 7 * unity > 4096:
        ranges |= {"rho": [(3000, 4095)], "r": [(1000, 4095)], "r_s": [(-4096, -3000)]}
    values = {name: draw(registers(generator, name, units, r)) for name, r in ranges.items()}
    for name, most in (("current_shift", 11), ("lagging", 1)):
        values[name] = draw(st.integers(0, most))
    bits = draw(st.integers(1, 8))
    return SRC(**values, gain_shift=gain_shift, bits=bits, recurrent=recurrent)


KINDS = {
    LIF: lif,
    SpikingLSTM: spiking_lstm,
    CurrentLIF: of_kind(CurrentLIF),
    GatedLIF: of_kind(GatedLIF),
    AdaptiveNeurons: of_kind(AdaptiveNeurons, adaptive),
    AdaptiveLSTM: of_kind(AdaptiveLSTM, adaptive),
    LIFLSTM: lif_lstm,
    SRC: src,
}


@st.composite
def layers(draw, generator, inputs, message_bits=0, kinds=tuple(KINDS), largest=40, convolutions=1):
    """Synapses and units of one kind; half of them are recurrent.

    Of four layers, `convolutions` have `Conv` synapses.
    """
    kind = draw(st.sampled_from(kinds))
    if draw(st.integers(1, 4)) <= convolutions:
        dense = draw(convolution(generator, kind.ports, inputs, message_bits))
        units = dense.units // kind.ports
    else:
        units = draw(st.integers(1, largest))
        dense = draw(synapses(generator, units * kind.ports, inputs, message_bits))
    made = draw(KINDS[kind](generator, dense, units, None))
    if kind is LIF and isinstance(dense, Conv) and draw(st.booleans()):
        # As of an exported layer: the same at all positions of a filter.
        values = {name: np.ravel(getattr(made, name)) for name in ("du", "dv", "vth")}
        values = {name: np.resize(value[: dense.filters], units) for name, value in values.items()}
        made = dataclasses.replace(made, **values)
    if draw(st.booleans()):
        recurrent = draw(synapses(generator, units * kind.ports, units, made.feedback_bits))
        made = dataclasses.replace(made, recurrent=recurrent)
    return dense, made


@st.composite
def networks(
    draw, kinds=tuple(KINDS), most_steps=12, most_samples=3, most_layers=3, convolutions=1
):
    """(pairs, spikes), with layers of any of `kinds`."""
    generator = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    inputs = draw(st.one_of(st.integers(1, 40), st.sampled_from([30, 36, 60, 84, 105, 120])))
    density = draw(st.sampled_from([0, 0.05, 0.3, 0.7, 1]))
    shape = (draw(st.integers(1, most_samples)), draw(st.integers(1, most_steps)), inputs)
    spikes = (generator.random(shape) < density).astype(np.int8)
    pairs, message_bits = [], 0
    for _ in range(draw(st.integers(1, most_layers))):
        dense, units = draw(
            layers(generator, inputs, message_bits, kinds, convolutions=convolutions)
        )
        pairs.append((dense, units))
        inputs, message_bits = dense.units // units.ports, units.output_bits
    return pairs, spikes


def small_network(generator, sizes, groups=None, exponent=-1):
    """A lively network; with `groups`, each layer has that many different (du, dv, vth)."""
    pairs = []
    for inputs, units in zip(sizes[:-1], sizes[1:], strict=True):
        count = groups or units
        group = np.arange(units) % count
        pairs.append(
            (
                Dense(generator.integers(-40, 70, (units, inputs)), exponent),
                LIF(
                    du=generator.integers(3500, 4096, count)[group],
                    dv=generator.integers(0, 800, count)[group],
                    vth=((240 + 28 * np.arange(count)) * 2.0 ** (exponent - 1)).astype(int)[group],
                    bias_mant=generator.integers(-40, 40, units),
                    bias_exp=generator.integers(0, 5, units),
                    u0=generator.integers(-2000, 2000, units),
                    v0=generator.integers(-2000, 2000, units),
                ),
            )
        )
    return pairs
