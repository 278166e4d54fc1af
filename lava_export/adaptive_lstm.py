"""The network that `adaptive_lstm.convert` gives, as layers of adaptive neurons in a chain.

Between the neurons of such a network there are only weights: `Dense` layers without activation,
`Concatenate` and `Add` make every current a weighted sum of the spikes of neurons, and a constant.
Neurons that get theirs from the same neurons are one layer.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from keras_spiking_rnn.adaptive_lstm import JoinPart, LSTMPart
from lava_export import host
from lava_export.quantize import AdaptiveDescription, ConversionError
from lava_export.quantize.adaptive_lstm import INPUT_BITS, input_grid


@dataclasses.dataclass
class Sum:
    """A weighted sum of outputs, for each column: `kernel` (in, columns), and a constant `bias`.

    Args:
        level: The layer that the outputs are of, -1 for the network's inputs.
    """

    level: int
    kernel: np.ndarray
    bias: np.ndarray


@dataclasses.dataclass
class Description:
    """An `AdaptiveSpikingLSTM`, cut into what runs on the host and what runs in integers.

    It has what `export` and `verify` need of `lava_export.convert.Description`.
    """

    encoder: list
    spiking: list
    head: list
    window: int
    message_bits: int = INPUT_BITS
    encoder_layers: tuple = ()
    decodes: bool = True
    comparable: bool = False

    def calibrated(self, x):
        """The same with an encoder for data like `x`, in which analog inputs become messages."""
        scale, levels = input_grid(x)
        first = dataclasses.replace(self.spiking[0], input_scale=scale)
        encoder = [host.Quantize(scale, levels), host.Hold(self.window)]
        return dataclasses.replace(self, encoder=encoder, spiking=[first, *self.spiking[1:]])

    def inputs(self, x):
        """What the first layer of the float network gets for data `x`: (batch, T, in)."""
        return host.Hold(self.window)(np.asarray(x, np.float64))

    def trace(self, layer, inputs):
        """The outputs of a float layer, `spikes`, and its inside."""
        return self.spiking[layer].simulate(inputs)

    def scores(self, spikes, network):
        """What the head of the integer network makes of the spikes of the last float layer."""
        return network.decode(spikes)


def describe(network, last=None):
    """The description of an `AdaptiveSpikingLSTM`.

    Args:
        network: What `keras_spiking_rnn.adaptive_lstm.convert` gave.
        last: Seconds at the end of each time window that the head averages over; by default all.

    Raises:
        ConversionError: If a part of it has no counterpart on the chip.
    """
    neuron, window = network.neuron, network.window
    if neuron.stochastic:
        raise ConversionError(
            "The neurons of the network fire by chance, and the chip's integers have no random "
            "numbers: convert with AdaptiveSpikingNeuron(stochastic=False), and train with the "
            "activation that fits it, fit_aan(neuron).activation."
        )
    values, levels = [], []
    source = Sum(-1, np.eye(network.features), np.zeros(network.features))
    for (part, sources), name, weights in zip(
        network.parts, network.names, network.weights, strict=True
    ):
        given = [source if i < 0 else values[i] for i in sources]
        if isinstance(part, JoinPart):
            values.append(_joined(given, part.how, name))
            continue
        kernel, bias = (np.asarray(value, np.float64) for value in weights)
        weighted = Sum(given[0].level, given[0].kernel @ kernel, given[0].bias @ kernel + bias)
        if part.populations:
            weighted = _placed(weighted, part, name, levels)
        values.append(weighted)
    result = values[-1]
    if not levels:
        raise ConversionError(
            "The network has no neurons: nothing of it would run on the chip. Give it an "
            "AdaptiveAnalogLSTM, or a Dense layer with an AAN."
        )
    if result.level != len(levels) - 1:
        raise ConversionError(
            f"The network's outputs do not come from its last neurons, '{levels[-1].name}': leave "
            "out what they do not need."
        )
    spiking = [level.description(neuron, window, levels) for level in levels]
    for layer in spiking:
        layer.check_finite()
    steps = window if last is None else min(max(round(last / neuron.dt), 1), window)
    head = [
        host.WindowMean(window, steps, neuron.decay(neuron.tau_beta)),
        host.LastStep(),
        host.Affine(_complete(result, levels).astype("float32"), result.bias.astype("float32")),
    ]
    return Description([], spiking, head, window)


class _Level:
    """Neurons that get their currents from the same outputs, part by part."""

    def __init__(self):
        self.names, self.sums, self.parts = [], [], []

    @property
    def name(self):
        return "+".join(self.names)

    @property
    def units(self):
        return sum(part.units for part in self.parts)

    def description(self, neuron, window, levels):
        lstm = [isinstance(part, LSTMPart) for part in self.parts]
        gates, cells = [], []
        for total, part in zip(self.sums, self.parts, strict=True):
            kernel, ports = _complete(total, levels), total.kernel.shape[1] // part.units
            nothing = (np.zeros((len(kernel), part.units)), np.zeros(part.units))
            *gate, cell = zip(
                np.split(kernel, ports, axis=1), np.split(total.bias, ports), strict=True
            )
            gates.append(gate[0] if gate else nothing)
            cells.append(cell)
        blocks = [*gates, *cells] if any(lstm) else cells
        sizes = [part.units for part in self.parts]

        def each(values):
            return np.repeat(np.asarray(values, np.float64), sizes)

        return AdaptiveDescription(
            self.name,
            np.concatenate([kernel for kernel, _ in blocks], axis=1),
            np.concatenate([bias for _, bias in blocks]),
            neuron,
            np.repeat(lstm, sizes),
            each([part.spike_height for part in self.parts]),
            each(
                [
                    part.cec_weight * part.spike_height if of_lstm else 1.0
                    for part, of_lstm in zip(self.parts, lstm, strict=True)
                ]
            ),
            window,
            1.0 if levels[0] is self else None,
        )


def _joined(given, how, name):
    level = {total.level for total in given}
    if len(level) > 1:
        raise ConversionError(
            f"'{name}' joins outputs of different depth"
            + (", one of them the network's input" if -1 in level else "")
            + ": the chip's layers are a chain. Put a Dense layer of AANs into the shorter way."
        )
    rows = max(len(total.kernel) for total in given)
    kernels = [np.pad(total.kernel, ((0, rows - len(total.kernel)), (0, 0))) for total in given]
    biases = [total.bias for total in given]
    if how == "add":
        return Sum(level.pop(), sum(kernels), sum(biases))
    return Sum(level.pop(), np.concatenate(kernels, axis=1), np.concatenate(biases))


def _placed(weighted, part, name, levels):
    """Puts neurons into their layer, and returns their outputs."""
    gates = set(getattr(part, "gates", ())) - {"input_gate", "input_cell"}
    if gates:
        raise ConversionError(
            f"'{name}' has a {' and an '.join(sorted(gates)).replace('_', ' ')}: what runs on the "
            "chip is the paper's LSTM, whose CEC has no decay and whose outputs are spikes. Train "
            "without forget_gate and output_gate."
        )
    index = weighted.level + 1
    if index == len(levels):
        levels.append(_Level())
    level = levels[index]
    first = level.units
    level.names.append(name)
    level.parts.append(part)
    level.sums.append(weighted)
    height = getattr(part, "output_height", part.spike_height)
    kernel = np.zeros((first + part.units, part.units))
    kernel[first:] = height * np.eye(part.units)
    return Sum(index, kernel, np.zeros(part.units))


def _complete(total, levels):
    """The kernel of a sum with a row for each unit of its layer, also of those placed later."""
    if total.level < 0:
        return total.kernel
    rows = levels[total.level].units
    return np.pad(total.kernel, ((0, rows - len(total.kernel)), (0, 0)))
