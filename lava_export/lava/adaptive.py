"""What our processes of adaptive neurons share: the step of a neuron."""

import numpy as np
from lava.magma.core.model.py.type import LavaPyType

from lava_export import arithmetic
from lava_export.lava.units import PyUnits


class PyAdaptive(PyUnits):
    """Base of the models of adaptive neurons."""

    theta_0: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    bias: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    keep_current: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=13)
    keep_signal: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=13)
    keep_estimate: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=13)
    keep_adaptation: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=13)
    rise: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=13)
    half: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=1)
    input_shift: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=4)

    def receive(self, current, arriving, bias):
        """Changes a neuron's current, and returns what drives the neuron."""
        current[:] = arithmetic.saturate(
            arithmetic.decay(current, self.keep_current)
            + arithmetic.arriving(arriving, self.input_shift)
        )
        return arithmetic.saturate(current + bias)

    def approach(self, signal, drive):
        """The signal comes closer to its drive."""
        distance = arithmetic.saturate(signal - drive)
        signal[:] = arithmetic.decay(distance, self.keep_signal) + drive

    def fire(self, drive, theta_0, signal, estimate, adaptation):
        """Changes a neuron's states, and returns its spikes, 0 or 1."""
        self.approach(signal, drive)
        threshold = arithmetic.saturate(adaptation + theta_0)
        potential = arithmetic.saturate(signal - estimate)
        spikes = (potential > np.right_shift(threshold, self.half)).astype(np.int32)
        adaptation[:] = arithmetic.decay(
            arithmetic.saturate(adaptation + spikes * arithmetic.decay(threshold, self.rise)),
            self.keep_adaptation,
        )
        estimate[:] = arithmetic.decay(
            arithmetic.saturate(estimate + spikes * threshold), self.keep_estimate
        )
        return spikes
