"""Adaptive neurons, and the LSTM made of them: what `adaptive_lstm.convert` gives is exported to.

An adaptive neuron follows its input with the sum of its spikes, an estimate, and fires where it
falls behind by more than a threshold that rises with each spike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lava_export import arithmetic
from lava_export.synapses import Dense
from lava_export.units.base import Units, size_of

# What a neuron carries over: its input signal, the estimate of it, and the threshold's rise.
NEURON = ("signal", "estimate", "adaptation")


@dataclass(frozen=True, eq=False)
class AdaptiveNeurons(Units):
    """Adaptive spiking neurons, which a layer of AANs is exported to.

    At each step, with `a` the weighted input, which saturates at 24 bits before and after its
    shift, and `/ 4096` rounding toward zero::

        current = current * keep_current / 4096 + a * 2**input_shift
        drive = current + bias
        signal = drive + (signal - drive) * keep_signal / 4096
        threshold = theta_0 + adaptation
        spike = signal - estimate > threshold / 2**half, which rounds down
        jump = threshold where a spike is, otherwise 0
        adaptation = (adaptation + jump * rise / 4096) * keep_adaptation / 4096
        estimate = (estimate + jump) * keep_estimate / 4096

    Each sum of two terms saturates at 24 bits. All states are 0 before the first step.

    Args:
        theta_0: Threshold at rest, 24 bits, at least 1: one for all, or one for each unit.
        bias: Constant input, 24 bits, likewise.
        keep_current: What is left of the current after a step, in [0, 4096]: 0 for an input that
            is held, such as graded messages of a constant.
        keep_signal: What is left of the signal's distance to its drive, in [0, 4096].
        keep_estimate: What is left of the estimate, in [0, 4096].
        keep_adaptation: What is left of the threshold's rise, in [0, 4096].
        rise: By how much a spike raises the threshold, in 1/4096 of it, in [0, 8191].
        half: 1 to fire above half of the threshold, 0 above all of it.
        input_shift: Bits by which the weighted input is shifted up, in [0, 15].
        recurrent: Synapses from the spikes back to the units, a step later; or None.

    Raises:
        TypeError: If a value is not an integer.
        ValueError: If a value does not fit its register, or a shape is wrong.
    """

    theta_0: int | np.ndarray = 4096
    bias: int | np.ndarray = 0
    keep_current: int = 0
    keep_signal: int = 2746
    keep_estimate: int = 3706
    keep_adaptation: int = 3706
    rise: int = 737
    half: int = 0
    input_shift: int = 0
    recurrent: Dense | None = None

    states: ClassVar[tuple] = ("current", *NEURON)
    of_all: ClassVar[tuple] = (
        "keep_current",
        "keep_signal",
        "keep_estimate",
        "keep_adaptation",
        "rise",
        "half",
        "input_shift",
    )

    def dynamics(self):
        """The steps that the class's docstring writes out."""
        bias, theta_0 = np.asarray(self.bias), np.asarray(self.theta_0)

        def step(state, current):
            held = _Saturation()
            drive = _drive(self, state, "", current, bias, held)
            return _fire(self, state, "", drive, theta_0, held), 0, held.count

        return step

    def reach(self):
        """See `Units`."""

        def step(bounds, low, high):
            sizes = []
            drive = _reach_drive(self, bounds, "", low, high, self.bias, sizes)
            _reach_fire(self, bounds, "", drive, self.theta_0, sizes)
            return sizes

        return step


@dataclass(frozen=True, eq=False)
class AdaptiveLSTM(Units):
    """Long short-term memory of adaptive neurons, which an `AdaptiveAnalogLSTM` is exported to.

    A unit has an input gate, an input cell and an output cell, three adaptive neurons. Gate and
    cell step as those of `AdaptiveNeurons`, each with the weighted input of its port. Then, with
    `>>` rounding down::

        star_current = star_current * keep_star / 4096 + gate_height where the gate fired
        star_signal = star_current + (star_signal - star_current) * keep_signal / 4096
        brought = (star_signal + (2**gate_shift >> 1)) >> gate_shift
        cec = cec + brought where the cell fired

    The gate multiplies what a spike of the cell brings; the CEC adds it up, and as it has no decay
    it holds it to the last bit. The output cell steps as the others, with `cec` as its drive and
    `theta_out` as its threshold at rest; its spikes are the outputs. A unit whose `memory` is 0 is
    a plain neuron: the drive of its output cell is that of its input cell.

    Args:
        theta_0: Thresholds at rest of gates and cells, 24 bits, at least 1: one for all, or one
            for each of both ports of each unit, in blocks gate, cell.
        bias: Constant inputs of gates and cells, 24 bits, likewise.
        theta_out: Thresholds at rest of the output cells, 24 bits, at least 1.
        gate_height: What a spike of the gate adds to its trace, 24 bits, not negative.
        memory: 1 for an LSTM, 0 for a plain neuron.
        gate_shift: Bits by which the trace is shifted down for the CEC, in [0, 23].
        keep_star: What is left of the gate's trace after a step, in [0, 4096].
        keep_current: As in `AdaptiveNeurons`.
        keep_signal: As in `AdaptiveNeurons`.
        keep_estimate: As in `AdaptiveNeurons`.
        keep_adaptation: As in `AdaptiveNeurons`.
        rise: As in `AdaptiveNeurons`.
        half: As in `AdaptiveNeurons`.
        input_shift: As in `AdaptiveNeurons`.
        recurrent: Synapses from the spikes back to both ports, a step later; or None.

    Raises:
        TypeError: If a value is not an integer.
        ValueError: If a value does not fit its register, or a shape is wrong.
    """

    theta_0: int | np.ndarray = 4096
    bias: int | np.ndarray = 0
    theta_out: int | np.ndarray = 4096
    gate_height: int | np.ndarray = 256
    memory: int | np.ndarray = 1
    gate_shift: int = 0
    keep_star: int = 3706
    keep_current: int = 0
    keep_signal: int = 2746
    keep_estimate: int = 3706
    keep_adaptation: int = 3706
    rise: int = 737
    half: int = 0
    input_shift: int = 0
    recurrent: Dense | None = None

    ports: ClassVar[int] = 2
    states: ClassVar[tuple] = (
        *(f"gate_{name}" for name in AdaptiveNeurons.states),
        "star_current",
        "star_signal",
        *(f"cell_{name}" for name in AdaptiveNeurons.states),
        "cec",
        *(f"output_{name}" for name in NEURON),
    )
    of_ports: ClassVar[tuple] = ("theta_0", "bias")
    of_all: ClassVar[tuple] = ("gate_shift", "keep_star", *AdaptiveNeurons.of_all)

    def dynamics(self):
        """The steps that the class's docstring writes out."""
        theta_out, height = np.asarray(self.theta_out), np.asarray(self.gate_height)
        memory = np.asarray(self.memory) > 0

        def step(state, current):
            held = _Saturation()
            bias, theta_0 = (
                np.broadcast_to(value, current.shape[-1:]) for value in (self.bias, self.theta_0)
            )
            of_ports = zip(*map(self.split, (current, bias, theta_0)), strict=True)
            fired, drives = {}, {}
            for name, (current, bias, theta_0) in zip(("gate_", "cell_"), of_ports, strict=True):
                drives[name] = _drive(self, state, name, current, bias, held)
                fired[name] = _fire(self, state, name, drives[name], theta_0, held)
            trace = arithmetic.decay(state["star_current"], self.keep_star)
            trace = held(trace + np.where(fired["gate_"], height, 0))
            state["star_current"] = trace
            state["star_signal"] = _signal(self, state["star_signal"], trace, held)
            brought = held(state["star_signal"] + (1 << self.gate_shift >> 1)) >> self.gate_shift
            state["cec"] = held(state["cec"] + np.where(fired["cell_"], brought, 0))
            drive = np.where(memory, state["cec"], drives["cell_"])
            return _fire(self, state, "output_", drive, theta_out, held), 0, held.count

        return step

    def reach(self):
        """See `Units`."""
        memory = np.asarray(self.memory) > 0

        def step(bounds, low, high):
            sizes, fires, drives = [], {}, {}
            ports = [
                self.split(np.broadcast_to(value, low.shape))
                for value in (low, high, self.bias, self.theta_0)
            ]
            for name, low_, high_, bias, theta_0 in zip(("gate_", "cell_"), *ports, strict=True):
                drives[name] = _reach_drive(self, bounds, name, low_, high_, bias, sizes)
                fires[name] = _reach_fire(self, bounds, name, drives[name], theta_0, sizes)
            keep = self.keep_star / arithmetic.DECAY_UNITY
            trace = keep * bounds["star_current"][1] + self.gate_height * fires["gate_"]
            bounds["star_current"] = 0 * trace, trace
            signal = np.maximum(bounds["star_signal"][1], trace)
            bounds["star_signal"] = 0 * signal, signal
            brought = np.floor((signal + (1 << self.gate_shift >> 1)) / (1 << self.gate_shift))
            cec = bounds["cec"][1] + brought * fires["cell_"]
            bounds["cec"] = 0 * cec, cec
            sizes += [np.where(memory, size, 0) for size in (trace, signal, cec)]
            pairs = zip(bounds["cec"], drives["cell_"], strict=True)
            drive = [np.where(memory, *pair) for pair in pairs]
            _reach_fire(self, bounds, "output_", drive, self.theta_out, sizes)
            return sizes

        return step


class _Saturation:
    """`arithmetic.saturate`, with a count of what it changed."""

    def __init__(self):
        self.count = 0

    def __call__(self, total):
        values, changed = arithmetic.saturated(total)
        self.count += changed
        return values.astype(np.int32)


def _drive(units, state, name, current, bias, held):
    decayed = arithmetic.decay(state[f"{name}current"], units.keep_current)
    arriving = arithmetic.arriving(current, units.input_shift)
    held.count += np.count_nonzero(arriving != arithmetic.shifted(current, units.input_shift))
    state[f"{name}current"] = held(decayed + arriving)
    return held(state[f"{name}current"] + bias)


def _reach_drive(units, bounds, name, low, high, bias, sizes):
    """As `_drive`, of the smallest and the largest weighted inputs."""
    keep = units.keep_current / arithmetic.DECAY_UNITY
    entering = [a * 2.0**units.input_shift for a in (low, high)]
    state = f"{name}current"
    bounds[state] = [keep * i + a for i, a in zip(bounds[state], entering, strict=True)]
    drive = [i + bias for i in bounds[state]]
    sizes += [size_of(entering), size_of(bounds[state]), size_of(drive)]
    return drive


def _reach_fire(units, bounds, name, drive, theta_0, sizes):
    """As `_fire`, of the smallest and the largest drive; returns which neurons can fire.

    Where a neuron fires, its threshold is below its signal, or below twice of it with `half`, as
    estimates are not negative.
    """
    signal, estimate, adaptation = (f"{name}{part}" for part in NEURON)
    least = np.minimum(bounds[signal][0], drive[0])
    most = np.maximum(bounds[signal][1], drive[1])
    bounds[signal] = least, most
    ratio = 1 << units.half
    fires = ratio * (most + 1) > theta_0
    threshold = theta_0 + bounds[adaptation][1]
    jump = np.where(fires, np.minimum(threshold, ratio * (most + 1)), 0)
    rise = units.rise / arithmetic.DECAY_UNITY
    risen = np.maximum(bounds[adaptation][1], jump * (1 + rise) - theta_0)
    estimated = np.maximum(bounds[estimate][1], most + 1 + jump * (1 - 1 / ratio))
    estimated = np.where(fires, estimated, bounds[estimate][1])
    sizes += [most - least, threshold, risen, estimated, estimated - least]
    bounds[adaptation] = 0 * risen, risen * units.keep_adaptation / arithmetic.DECAY_UNITY
    bounds[estimate] = 0 * risen, estimated * units.keep_estimate / arithmetic.DECAY_UNITY
    return fires


def _signal(units, signal, drive, held):
    distance = held(signal - drive)
    return (drive + arithmetic.decay(distance, units.keep_signal)).astype(np.int32)


def _fire(units, state, name, drive, theta_0, held):
    """One step of the neurons whose states begin with `name`; returns which fire."""
    signal, estimate, adaptation = (f"{name}{part}" for part in NEURON)
    state[signal] = _signal(units, state[signal], drive, held)
    threshold = held(theta_0 + state[adaptation])
    spikes = held(state[signal] - state[estimate]) > threshold >> units.half
    jump = np.where(spikes, threshold, 0)
    risen = held(state[adaptation] + arithmetic.decay(jump, units.rise))
    state[adaptation] = arithmetic.decay(risen, units.keep_adaptation).astype(np.int32)
    estimated = held(state[estimate] + jump)
    state[estimate] = arithmetic.decay(estimated, units.keep_estimate).astype(np.int32)
    return spikes
