"""LIF units with a current that decays and with recurrent synapses to integers.

Such a unit is an RLIF unit (`lava_export.quantize.rlif`) with two additions:

    current    I[t] = beta * I[t-1] + W x[t] + U spikes[t-1]        which RLIF has with beta = 0
    membrane   V[t] = alpha * (r if it fired, else V[t-1]) + I[t] + b

For given spikes the recurrent synapses are inputs like the others. So the integers are those of a
layer without them whose inputs are x and the layer's own spikes of the step before, in float.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lava_export import reference
from lava_export.overflow import worst_case
from lava_export.quantize.rlif import RLIFDescription, quantize_layer, simulate_float
from lava_export.synapses import Dense


@dataclass(frozen=True)
class LIFDescription(RLIFDescription):
    """One layer in float64: `recurrent_kernel` is (units, units) or None, as in Keras."""

    current_leak: np.ndarray | None = None
    initial_current: np.ndarray | None = None
    recurrent_kernel: np.ndarray | None = None

    def quantize(self, inputs, leak_groups=None):
        """The integers of the layer, chosen by running candidates on `inputs` (batch, T, in)."""
        if self.recurrent_kernel is None:
            return quantize_layer(self, inputs, leak_groups)
        fired, _ = simulate_float(self, inputs)
        before = np.zeros_like(fired)
        before[:, 1:] = fired[:, :-1]
        unrolled = replace(
            self,
            kernel=np.concatenate([self.kernel, self.recurrent_kernel]),
            recurrent_kernel=None,
        )
        both = np.concatenate([inputs, before], axis=2)
        synapses, units, record, _ = quantize_layer(unrolled, both, leak_groups)
        synapses, recurrent = (
            Dense(weights, synapses.exponent)
            for weights in np.split(synapses.weights, [self.inputs], axis=1)
        )
        units = replace(units, recurrent=recurrent)
        simulation = reference.simulate_layer(synapses, units, inputs)
        reach = worst_case(synapses, units, inputs.shape[1])
        record = replace(
            record,
            inputs=self.inputs,
            headroom=reach.headroom,
            safe_steps=reach.safe_steps,
            wraps=simulation.wraps[0],
            saturations=simulation.saturations[0],
            mismatches=int(np.count_nonzero(simulation.spikes != fired)),
        )
        return synapses, units, record, fired
