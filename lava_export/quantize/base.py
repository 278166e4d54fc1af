"""What the descriptions of all layers share."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import ClassVar

import numpy as np

from lava_export import arithmetic, reference
from lava_export.overflow import worst_case
from lava_export.report import LayerQuantization
from lava_export.synapses import PATCHES, Conv, Dense
from lava_export.windows import Windows


class ConversionError(ValueError):
    """A model, or a layer of it, that has no counterpart on the chip.

    `also` has the further problems, if there are any.
    """

    also = ()


def raise_first(problems):
    """Raise the first of some `ConversionError`s, if there are any, with the others in `also`."""
    if problems:
        problems[0].also = tuple(problems[1:])
        raise problems[0]


@contextmanager
def noting(problems):
    """Adds a `ConversionError` of the body, with those in its `also`, to a list."""
    try:
        yield
    except ConversionError as error:
        problems += [error, *error.also]
        error.also = ()


@dataclass(frozen=True)
class Description:
    """One spiking layer in float64; a subclass has its parameters and what they become.

    Args:
        name: Name of the layer.
        kernel: Input weights, (in, columns).
        message_range: The smallest and the largest integer that an input line brings: see `after`.
    """

    name: str
    kernel: np.ndarray
    message_range: tuple = field(default=(0, 1), kw_only=True)

    # How much of the model's scores the rounding of float32 alone may change, relative to the
    # largest: above 0 where another order of additions moves outputs by steps.
    jitter: ClassVar[float] = 0.0

    @classmethod
    def of(cls, name, cell):
        """The description of a Keras cell.

        Raises:
            ConversionError: If its parameters cannot be exported.
        """
        raise NotImplementedError

    @property
    def inputs(self):
        """Number of inputs."""
        return self.kernel.shape[0]

    @property
    def units(self):
        """Number of units."""
        raise NotImplementedError

    @property
    def input_shape(self):
        """Shape of the inputs of a step in Keras."""
        return (self.inputs,)

    @property
    def output_shape(self):
        """Shape of the outputs of a step in Keras."""
        return (self.units,)

    @property
    def output_scale(self):
        """What an output of 1 of the integer units is in Keras."""
        return 1.0

    @property
    def output_range(self):
        """The smallest and the largest output of the integer units."""
        return 0, 1

    @property
    def message_bits(self):
        """Bits of the inputs without a sign; 0 for spikes."""
        return 0 if self.message_range == (0, 1) else self.message_range[1].bit_length()

    def after(self, before):
        """This layer behind another spiking one: for the integers that the other gives.

        What an integer is in Keras becomes part of the weights, so that `quantize` gets integers.
        """
        if (before.output_scale, before.output_range) == (1.0, (0, 1)):
            return self
        return replace(
            self, kernel=before.output_scale * self.kernel, message_range=before.output_range
        )

    def in_integers(self, outputs):
        """The outputs of the layer in Keras as those of the integer units."""
        dtype = np.int8 if self.output_range == (0, 1) else np.int32
        return np.rint(outputs / self.output_scale).astype(dtype)

    def pulses(self, outputs):
        """How many pulses of several steps some integer outputs are; None for single spikes."""
        return None

    def reach(self):
        """The smallest and the largest weighted input of each column, whatever the inputs."""
        return reach(self.kernel, self.message_range)

    def dense(self, weights, exponent=0):
        """The synapses before the layer, from whole numbers (rows, in)."""
        return Dense(np.asarray(weights).astype(int), exponent, message_bits=self.message_bits)

    def quantize(self, inputs, leak_groups=None):
        """The integers of the layer, chosen by running candidates on `inputs` (batch, T, in).

        Args:
            inputs: Spikes, or the integers of graded outputs, that the layer before gives in
                float; for calibration.
            leak_groups: Number of distinct leaks to reduce the layer to; ignored by layers
                without leaks of their own.

        Returns:
            Synapses, units, the `LayerQuantization` record, and the float layer's outputs as
            integers.
        """
        raise NotImplementedError

    def approximations(self, units, record):
        """What the integers do differently, apart from the rounding of weights and leaks.

        Args:
            units: The integer units that `quantize` made.
            record: Its `LayerQuantization`.

        Returns:
            A list of phrases. If it is empty, and weights and leaks are exact, the integers do
            what the float layer does, whatever the input. None where that is not known.
        """
        return None

    def dequantized(self, units, states, record, looked_at):
        """The potential that decides of an output in the integers, in the scale of the float layer.

        Args:
            units: The integer units.
            states: Their states over time and their "spikes", (T, units), and the "weighted" inputs
                of all ports, (T, ports * units).
            record: The `LayerQuantization` of the layer.
            looked_at: Which potential, as `looks_at` tells.

        Returns:
            (T,), to be compared with `potential`.
        """
        raise NotImplementedError

    def looks_at(self, inside, where):
        """Which of its potentials `closeness` tells: that of the unit, if each has but one."""
        return where[-1]

    def potential(self, inside, where, looked_at):
        """In float, the potential before its reset that `dequantized` gives for the integers."""
        return self.closeness(inside, where)[0]

    def closeness(self, inside, where):
        """How close a float unit came to its threshold.

        Args:
            inside: What `keras_spiking_rnn.metrics.trace` shows of the layer.
            where: (sample, step, unit).

        Returns:
            The membrane potential, its threshold, and their difference in units of the scale of
            the potential.
        """
        raise NotImplementedError

    def behind(self, kernel, bias):
        """This layer with a linear one before it, whose outputs `x @ kernel + bias` it gets.

        Args:
            kernel: (in, out), in float64, for the last axis of what is `inputs` numbers.
            bias: (out,), in float64.

        Raises:
            ConversionError: If this layer has no `bias` (columns,) that is added to its weighted
                inputs, and so cannot take up that of the other.
        """
        blocks = self.kernel.reshape(-1, kernel.shape[1], self.kernel.shape[1])
        constant = bias @ blocks.sum(axis=0)
        changes = {"kernel": (kernel @ blocks).reshape(-1, self.kernel.shape[1])}
        if constant.any():
            own = getattr(self, "bias", None)
            if np.shape(own) != constant.shape:
                raise ConversionError(
                    f"Layer '{self.name}' has no bias to take up that of the linear layer before "
                    "it: set use_bias=False there."
                )
            changes["bias"] = own + constant
        return replace(self, **changes)

    def behind_mean(self, mean):
        """This layer with average pooling before it.

        Args:
            mean: The `Windows` whose pixels are averaged; zeros around the image do not count.

        Raises:
            ConversionError: If this layer cannot take it up.
        """
        ones = np.ones((1, *mean.input_shape))
        counts = mean.patches(ones)[..., :1].sum(axis=(3, 4), keepdims=True)
        *windows, channels = (*mean.output_size, 1, 1, mean.input_shape[2])
        weights = self.kernel.T.reshape(-1, *windows, channels) / counts
        spread = np.broadcast_to(
            weights, (len(weights), *mean.output_size, *mean.kernel_size, channels)
        )
        return replace(self, kernel=mean.sums(spread).reshape(len(weights), -1).T)

    def check_finite(self):
        """Raise ConversionError if a parameter holds NaN or infinity."""
        for parameter in fields(self):
            values = getattr(self, parameter.name)
            if not isinstance(values, np.ndarray):
                continue
            bad = np.argwhere(~np.isfinite(values))
            if len(bad):
                raise ConversionError(
                    f"Layer '{self.name}': `{parameter.name}` holds {values[tuple(bad[0])]} at "
                    f"{bad[0].tolist()} ({len(bad)} such values): train again with a lower "
                    "learning rate or clipped gradients."
                )


@dataclass(frozen=True)
class Windowed(Description):
    """Base of the layers that see windows of images.

    `kernel` is (in, filters), where `in` is what is in a window: by height, by width, by channel.

    Args:
        windows: Where the windows lie.
    """

    windows: Windows = field(kw_only=True)

    @property
    def inputs(self):
        """Number of inputs."""
        return int(np.prod(self.input_shape))

    @property
    def units(self):
        """Number of units."""
        return int(np.prod(self.output_shape))

    @property
    def filters(self):
        """Number of filters."""
        return self.kernel.shape[1]

    @property
    def input_shape(self):
        """Height, width and channels."""
        return self.windows.input_shape

    @property
    def output_shape(self):
        """Height, width and filters."""
        return (*self.windows.output_size, self.filters)

    def dense(self, weights, exponent=0):
        """The synapses before the layer, from whole numbers (filters, in)."""
        windows = self.windows
        shape = (self.filters, *windows.kernel_size, windows.input_shape[2])
        return Conv(
            np.asarray(weights).astype(int).reshape(shape),
            windows.input_shape,
            windows.strides,
            windows.padding,
            windows.dilation,
            exponent,
            message_bits=self.message_bits,
        )

    def weighted(self, inputs, kernel):
        """The convolution of inputs (..., inputs) with a kernel, (..., units)."""
        images = inputs.reshape(-1, *self.windows.input_shape)
        size = self.windows.output_size
        total = np.empty((len(images), *size, self.filters), kernel.dtype)
        count = max(1, PATCHES // (len(kernel) * int(np.prod(size))))
        for start in range(0, len(images), count):
            patches = self.windows.patches(images[start : start + count].astype(kernel.dtype))
            total[start : start + count] = patches.reshape(*patches.shape[:3], -1) @ kernel
        return total.reshape(*inputs.shape[:-1], self.units)

    def seen(self, inputs):
        """Of what rows of `kernel` some input (batch, T, inputs) was not 0."""
        there = inputs.any(axis=(0, 1)).reshape(1, *self.windows.input_shape)
        return self.windows.patches(there).any(axis=(0, 1, 2)).ravel()


def reach(kernel, message_range):
    """The smallest and the largest `messages @ kernel`, of messages within their range."""
    low, high = message_range
    positive, negative = np.maximum(kernel, 0).sum(axis=0), np.minimum(kernel, 0).sum(axis=0)
    return low * positive + high * negative, high * positive + low * negative


def vector(parameter, size):
    """A parameter of a cell as float64 (size,); None is 0."""
    values = 0.0 if parameter is None else np.asarray(parameter, np.float64)
    return np.broadcast_to(values, (size,))


def grid(kernel):
    """Step, smallest and largest integer weight: with both signs, the lowest bit is lost."""
    if (kernel >= 0).all():
        return 1, 0, 255
    if (kernel <= 0).all():
        return 1, -255, 0
    return 2, -256, 254


def on_grid(kernel, scale, exponent=0):
    """The ideal weights (rows, in) in units of `2**exponent`, and the integers next to them.

    `kernel` is (in, rows), `scale` a number for each row.
    """
    step, low, high = grid(kernel)
    ideal = kernel.T * (scale / 2.0**exponent)[:, None]
    return ideal, np.clip(step * np.rint(ideal / step), low, high)


def largest_of_rows(kernels, exponents=None):
    """The largest weight of each row of all `kernels`, (rows,), in units of `2**exponent`.

    `kernels` are (in, rows); rows without weights give 1.
    """
    exponents = [0] * len(kernels) if exponents is None else exponents
    largest = np.max(
        [
            np.abs(kernel).max(axis=0) / 2.0**exponent
            for kernel, exponent in zip(kernels, exponents, strict=True)
        ],
        axis=0,
    )
    return np.where(largest > 0, largest, 1.0)


def largest_weight(kernels):
    """The largest integer that a weight of some `kernels` with one scale may become."""
    return min(254, *(max(high, -low) // step * step for step, low, high in map(grid, kernels)))


def scales(kernels, exponents=None):
    """Scales of the rows that some `kernels` (in, rows) have in common, worth trying: (rows,) each.

    A later one loses more of the weights.
    """
    exponents = [0] * len(kernels) if exponents is None else exponents
    top = largest_weight(kernels)
    largest = largest_of_rows(kernels, exponents)

    def loss(scale):
        return sum(
            ((weights - ideal) ** 2).sum(axis=1) / scale**2
            for ideal, weights in (
                on_grid(kernel, scale, exponent)
                for kernel, exponent in zip(kernels, exponents, strict=True)
            )
        )

    # Where the weights of a row are multiples of one number, some target has them all on the grid.
    targets = np.arange(top // 2 + 1, top + 1)
    losses = np.stack([loss(target / largest) for target in targets])
    yield targets[losses.argmin(axis=0)] / largest
    yield top / largest
    for clipping in CLIPPING:
        yield top * clipping / largest


def exponents(kernel, recurrent):
    """Powers of two of two matrices (in, rows) with one scale, that let both use all bits."""
    largest, other = (np.abs(matrix).max(axis=0) for matrix in (kernel, recurrent))
    both = (largest > 0) & (other > 0)
    if not both.any():
        return 0, 0
    most = arithmetic.RANGES["exponent"][1]
    ratio = np.clip(np.rint(np.median(np.log2(largest[both] / other[both]))), -most, most)
    return max(int(ratio), 0), max(-int(ratio), 0)


def parts(kernels, scale, exponents):
    """For each of some `kernels`, itself, its ideal and its integer weights: see `on_grid`."""
    return [
        (kernel, *on_grid(kernel, scale, exponent))
        for kernel, exponent in zip(kernels, exponents, strict=True)
    ]


def row_shifts(kernels, exponents, lines, unity, weighted, error):
    """For each row, the register `shift` that does least harm, for units in which 1 is `unity`.

    The rows have scales that are `unity` times a power of two, which `shift` takes back.

    Args:
        kernels: Matrices of weights (in, rows) that have the scales in common.
        exponents: The power of two of each.
        lines: What each gets on the calibration data, (batch, T, in).
        unity: A number, or one for each row.
        weighted: The function from `parts` to the weighted inputs (batch, T, rows).
        error: The function from what these are after the shift to a number for each row.

    Returns:
        `shift` and `parts`.
    """
    top = largest_weight(kernels)
    exact = np.log2(unity * largest_of_rows(kernels, exponents) / top)

    def candidate(clipping):
        shift = np.ceil(exact - NEARLY) - np.log2(clipping)
        shift = np.clip(shift, *arithmetic.RANGES["shift"]).astype(int)
        return shift, parts(kernels, unity / 2.0**shift, exponents)

    best = None
    for clipping in 2 ** np.arange(8):
        shift, found = candidate(clipping)
        unseen = np.any(
            [
                clipped(*part)[:, ~line.any(axis=(0, 1))].any(axis=1)
                for part, line in zip(found, lines, strict=True)
            ],
            axis=0,
        )
        cost = error(arithmetic.shifted(weighted(found), shift))
        if best is None:
            best, chosen = cost, shift
        better = (cost < best / 2) & ~unseen  # clipping has to be worth it
        best, chosen = np.where(better, cost, best), np.where(better, shift, chosen)
    return chosen, parts(kernels, unity / 2.0**chosen, exponents)


def group_means(values, groups):
    """Each value replaced by the mean of its group: one-dimensional k-means."""
    centers = np.quantile(values, (np.arange(groups) + 0.5) / groups)
    for _ in range(100):
        nearest = np.abs(values[:, None] - centers).argmin(axis=1)
        means = np.array(
            [
                values[nearest == g].mean() if (nearest == g).any() else centers[g]
                for g in range(groups)
            ]
        )
        if np.allclose(means, centers):
            break
        centers = means
    return centers[nearest]


def kept(leak, groups=None):
    """Leaks in units of 1/4096; with `groups`, of that many distinct values."""
    if groups is not None and groups < len(np.unique(leak)):
        leak = group_means(leak, groups)
    return np.clip(np.rint(leak * arithmetic.DECAY_UNITY), 0, arithmetic.DECAY_UNITY).astype(int)


def clipped(kernel, ideal, weights):
    """Which weights (rows, in) are beyond 8 bits."""
    return np.abs(weights - ideal) > grid(kernel)[0] / 2


def record(description, layer, parts, simulation, outputs, **more):
    """The `LayerQuantization` of a layer.

    Args:
        description: The layer.
        layer: Its integers, a pair of synapses and units.
        parts: For each matrix of weights its `kernel` (in, rows), ideal and integer weights.
        simulation: The integer layer on the calibration data.
        outputs: The float layer's.
        **more: Fields that only some layers have.
    """
    ideal = np.concatenate([ideal for _, ideal, _ in parts], axis=1)
    error = np.concatenate([weights - ideal for _, ideal, weights in parts], axis=1)
    beyond = np.concatenate([clipped(*part) for part in parts], axis=1)
    norm = np.sqrt((ideal**2).sum(axis=1))
    # Of weights that are clipped, the calibration data has shown what harm it does.
    rounding = np.where(beyond, 0, error)
    row_error = np.sqrt((rounding**2).sum(axis=1)) / np.where(norm > 0, norm, 1)
    worst = int(row_error.argmax())
    messages = description.message_range if description.message_bits else None
    reach = worst_case(*layer, simulation.spikes.shape[1], messages)
    return LayerQuantization(
        name=description.name,
        inputs=description.inputs,
        units=description.units,
        exponent=layer[0].exponent,
        weight_error=float(np.sqrt((error**2).sum() / max((ideal**2).sum(), 1e-300))),
        worst_unit=worst % description.units,
        worst_unit_error=float(row_error[worst]),
        clipped_weights=int(np.count_nonzero(beyond)),
        wraps=simulation.wraps[0],
        saturations=simulation.saturations[0],
        slots=int(outputs.size),
        float_spikes=int(np.count_nonzero(outputs)),
        mismatches=int(np.count_nonzero(simulation.spikes != outputs)),
        headroom=reach.headroom,
        safe_steps=reach.safe_steps,
        **{"decoded_error": _graded_error(description, simulation.spikes, outputs), **more},
    )


def recorded(description, synapses, units, parts, inputs, outputs, **more):
    """What `quantize` returns of integers that are chosen.

    Args:
        description: The layer.
        synapses: Its synapses.
        units: Its units.
        parts: As `record` takes them.
        inputs: The calibration data, (batch, T, in).
        outputs: The float layer's.
        **more: Fields of the record that only some layers have.
    """
    simulation = reference.simulate_layer(synapses, units, inputs)
    kept = record(description, (synapses, units), parts, simulation, outputs, **more)
    return synapses, units, kept, outputs


def _graded_error(description, outputs, expected):
    """Of the sums of graded outputs over all steps; None for spikes.

    A soft reset leaves in the membrane what an output did not take. So an output that is smaller,
    or comes a step later, is made up for afterwards.
    """
    if description.output_range == (0, 1):
        return None
    sums, expected = (values.sum(axis=1, dtype=np.float64) for values in (outputs, expected))
    return float(np.sqrt(((sums - expected) ** 2).sum() / max((expected**2).sum(), 1)))


# Bits of the states and of the bias, in units of weight.
LSB = 1 << arithmetic.MESSAGE_SHIFT  # least significant bits of v in one unit of weight
STATE_MAX = arithmetic.STATE_LIMIT - 1
# What is an integer but for the rounding of floats, relative to its size, counts as one.
NEARLY = 1e-6
# A scale may clip the largest weights for the sake of the others: how far past 8 bits it goes.
CLIPPING = (1.25, 1.6, 2.5, 4.0, 8.0, 16.0)
