"""Integer networks for hypothesis, within what a Loihi register holds and at its limits."""

import numpy as np
from hypothesis import strategies as st

from lava_export import LIF, Dense
from lava_export.arithmetic import RANGES


@st.composite
def weights(draw, generator, units, inputs):
    low, high = draw(
        st.sampled_from(
            [(-256, 255), (-60, 60), (-3, 3), (0, 255), (-256, 0), (0, 0), (250, 255), (-256, -250)]
        )
    )
    values = generator.integers(low, high, (units, inputs), endpoint=True)
    return np.where(generator.random((units, inputs)) < draw(st.sampled_from([0.2, 1])), values, 0)


@st.composite
def registers(draw, generator, name, units, ranges):
    """One integer for all units or one for each, from one of the ranges."""
    low, high = draw(st.sampled_from([*ranges, RANGES[name]]))
    shape = draw(st.sampled_from([(), (units,)]))
    values = generator.integers(low, high, shape, endpoint=True)
    return int(values) if shape == () else values


@st.composite
def layers(draw, generator, inputs, largest=40):
    units = draw(st.integers(1, largest))
    dense = Dense(
        draw(weights(generator, units, inputs)),
        draw(st.integers(-8, 7)),
        draw(st.sampled_from([8, 8, 8, 7, 4, 1])),
    )
    # A threshold within reach of the currents, else nothing ever spikes.
    reach = max(1, int(np.abs(dense.weights).sum(axis=1).mean() * 2.0**dense.exponent / 4))
    reach = min(reach, RANGES["vth"][1])
    ranges = {
        "du": [(4095, 4095), (0, 0), (3000, 4095)],
        "dv": [(0, 0), (0, 1000)],
        "vth": [(0, reach), (0, reach), (0, 3)],
        "bias_mant": [(0, 0), (-50, 50)],
        "bias_exp": [(0, 7)],
        "u0": [(0, 0), (-1000, 1000)],
        "v0": [(0, 0), (-(reach << 6), reach << 6) if reach < 1 << 16 else (0, 0)],
    }
    return dense, LIF(
        **{name: draw(registers(generator, name, units, r)) for name, r in ranges.items()}
    )


@st.composite
def networks(draw, most_steps=12, most_samples=3, most_layers=3):
    """(pairs, spikes)."""
    generator = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    inputs = draw(st.integers(1, 40))
    density = draw(st.sampled_from([0, 0.05, 0.3, 0.7, 1]))
    shape = (draw(st.integers(1, most_samples)), draw(st.integers(1, most_steps)), inputs)
    spikes = (generator.random(shape) < density).astype(np.int8)
    pairs = []
    for _ in range(draw(st.integers(1, most_layers))):
        pairs.append(draw(layers(generator, inputs)))
        inputs = pairs[-1][0].units
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
