"""Pictures of spikes, membrane potentials and surrogates, made with Matplotlib.

Each function draws on a Matplotlib `Axes`, its own if none is given, and returns it. None of them
shows or saves the figure: `axes.figure.savefig("picture.png")` does.
"""

import numpy as np

from keras_spiking_rnn import checks, surrogates
from keras_spiking_rnn.events import check

COLORS = ("#2a6f97", "#e07a2f", "#5b8c5a", "#8c5b8c", "#b5484b", "#6b6b6b")
_SPIKE = "#b5484b"
# Blue and orange, which are told apart with any color vision: OFF, ON.
POLARITIES = (COLORS[0], COLORS[1])


def _axes(ax, width, height):
    if ax is not None:
        return ax
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Pictures need Matplotlib: pip install keras-spiking-rnn[viz]") from error
    # A figure without pyplot needs no display and is not kept alive by pyplot's list of figures.
    return Figure(figsize=(width, height), layout="constrained").subplots()


def _tidy(ax, xlabel, ylabel, title):
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    if title:
        ax.set_title(title)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _of_one_sequence(name, values, dimensions):
    values = np.asarray(values)
    if values.ndim not in dimensions:
        shapes = {1: "(steps,)", 2: "(steps, units)"}
        expected = " or ".join(shapes[dimension] for dimension in dimensions)
        raise ValueError(
            f"`{name}` must have shape {expected}, the values of one sequence. Received the shape "
            f"{values.shape}. Take one sequence of a batch with {name}[0], and make units of the "
            f"positions of an image with {name}.reshape(steps, -1)."
        )
    return values


def raster(spikes, ax=None, color=COLORS[0], title=None):
    """Draws a mark for each spike: steps to the right, units upwards.

    Args:
        spikes: Array of shape `(steps, units)`; a value other than 0 is a spike.
        ax: Matplotlib `Axes` to draw on, or `None` for a new figure.
        color: Color of the marks, or a list of colors, one for each unit.
        title: Title of the picture.

    Returns:
        The Matplotlib `Axes`.

    Raises:
        ValueError: If `spikes` has another number of dimensions.
        ImportError: If Matplotlib is not installed.
    """
    spikes = _of_one_sequence("spikes", spikes, (2,))
    ax = _axes(ax, 6, 3)
    steps, units = spikes.shape
    ax.eventplot(
        [np.flatnonzero(spikes[:, unit]) for unit in range(units)],
        lineoffsets=np.arange(units),
        linelengths=0.8,
        linewidths=1.5,
        colors=color,
    )
    ax.set_xlim(-0.5, steps - 0.5)
    ax.set_ylim(-0.7, units - 0.3)
    return _tidy(ax, "step", "unit", title)


def membrane(potential, threshold=None, spikes=None, ax=None, labels=None, title=None):
    """Draws membrane potentials over time, with the threshold and marks at the spikes.

    Args:
        potential: Array of shape `(steps,)` or `(steps, units)`, for example
            `metrics.trace(layer, inputs)["membrane"][0]`.
        threshold: A number, or one for each unit, drawn as a dashed line; `None` for no line.
        spikes: Array of the shape of `potential`; a mark is drawn where it is not 0.
        ax: Matplotlib `Axes` to draw on, or `None` for a new figure.
        labels: Names of the units for a legend.
        title: Title of the picture.

    Returns:
        The Matplotlib `Axes`.

    Raises:
        ValueError: If the shapes do not fit.
        ImportError: If Matplotlib is not installed.
    """
    potential = _of_one_sequence("potential", potential, (1, 2))
    if spikes is not None and np.shape(spikes) != potential.shape:
        raise ValueError(
            f"`spikes` must have the shape of `potential`, {potential.shape}. Received the shape "
            f"{np.shape(spikes)}."
        )
    ax = _axes(ax, 6, 3)
    steps = np.arange(len(potential))
    units = potential.reshape(len(potential), -1)
    thresholds = [] if threshold is None else np.unique(threshold)
    for value in thresholds:
        ax.axhline(value, color="#6b6b6b", linestyle="--", linewidth=1)
    for unit in range(units.shape[1]):
        label = labels[unit] if labels is not None else None
        color = COLORS[unit % len(COLORS)]
        ax.plot(steps, units[:, unit], color=color, linewidth=1.5, label=label)
        if spikes is not None:
            fired = np.flatnonzero(np.reshape(spikes, units.shape)[:, unit])
            ax.plot(fired, units[fired, unit], "o", color=_SPIKE, markersize=4, zorder=3)
    if labels is not None:
        ax.legend(frameon=False)
    return _tidy(ax, "step", "membrane potential", title)


def surrogate(surrogate, ax=None, limits=(-2.0, 2.0), title=None):
    """Draws a surrogate derivative over the distance of the membrane potential to the threshold.

    Args:
        surrogate: A surrogate, as `keras_spiking_rnn.surrogates.get` takes it.
        ax: Matplotlib `Axes` to draw on, or `None` for a new figure.
        limits: Smallest and largest distance.
        title: Title of the picture; by default the surrogate and its arguments.

    Returns:
        The Matplotlib `Axes`.

    Raises:
        ValueError: If the surrogate is not known.
        ImportError: If Matplotlib is not installed.
    """
    surrogate = surrogates.get(surrogate)
    ax = _axes(ax, 4, 2.5)
    x = np.linspace(*limits, 2001)
    derivative = np.asarray(surrogate.derivative(x))
    ax.axvline(0, color="#6b6b6b", linestyle="--", linewidth=1)
    ax.plot(x, derivative, color=COLORS[0], linewidth=1.5)
    ax.fill_between(x, derivative, color=COLORS[0], alpha=0.15)
    ax.set_xlim(*limits)
    ax.set_ylim(0, 1.1 * derivative.max())
    return _tidy(ax, "V − threshold", "surrogate f", repr(surrogate) if title is None else title)


def response_curve(curve, activation=None, quantity="signal", ax=None, title=None):
    """Draws the response of an Adaptive Spiking Neuron to constant input signals, with error bars.

    The error bars are the standard deviation from time window to time window.

    Args:
        curve: A `ResponseCurve`, as `AdaptiveSpikingNeuron.response()` returns it.
        activation: Function to draw over the signal, for example the `activation` of `fit_aan`.
        quantity: `"signal"` for the output signal, `"rate"` for the firing rate.
        ax: Matplotlib `Axes` to draw on, or `None` for a new figure.
        title: Title of the picture.

    Returns:
        The Matplotlib `Axes`.

    Raises:
        ValueError: If `quantity` is neither.
        ImportError: If Matplotlib is not installed.
    """
    labels = {"signal": "output signal", "rate": "firing rate (Hz)"}
    checks.either("response_curve", "quantity", quantity, labels)
    ax = _axes(ax, 4, 3)
    values, errors = getattr(curve, quantity), getattr(curve, f"{quantity}_std")
    ax.errorbar(
        curve.S,
        values,
        errors,
        fmt="o",
        color=COLORS[0],
        markersize=3,
        capsize=2,
        linewidth=1,
        label="spiking neuron",
    )
    if activation is not None:
        S = np.linspace(np.min(curve.S), np.max(curve.S), 500)
        ax.plot(S, np.asarray(activation(S)), color=COLORS[1], linewidth=1.5, label="activation")
        ax.legend(frameon=False)
    return _tidy(ax, "input signal S", labels[quantity], title)


def events(events, axis="x", ax=None, title=None):
    """Draws a point for each event: time to the right, the channel or pixel upwards.

    Args:
        events: Events; see `keras_spiking_rnn.events`.
        axis: `"x"` for the channels of a cochlea or the columns of a camera, `"y"` for its rows,
            downwards.
        ax: Matplotlib `Axes` to draw on, or `None` for a new figure.
        title: Title of the picture.

    Returns:
        The Matplotlib `Axes`.

    Raises:
        TypeError: If the events are not a structured array of the right fields.
        ValueError: If an event is out of range, or `axis` is no coordinate.
        ImportError: If Matplotlib is not installed.
    """
    recorded = check(events)
    if axis not in ("x", "y") or axis not in recorded.dtype.names:
        raise ValueError(f"`axis` must be 'x', or 'y' for a camera. Received: axis={axis!r}")
    ax = _axes(ax, 6, 3)
    for polarity, (name, color) in enumerate(zip(("OFF", "ON"), POLARITIES, strict=True)):
        shown = recorded[recorded["p"] == polarity]
        if len(shown):
            size = 4 if len(recorded) < 5000 else 2
            ax.scatter(
                shown["t"] / 1000, shown[axis], s=size, color=color, linewidths=0, label=name
            )
    if axis == "y":
        ax.invert_yaxis()
    ax.legend(
        frameon=False,
        markerscale=4,
        ncols=2,
        loc="lower right",
        bbox_to_anchor=(1, 1),
        borderaxespad=0.2,
    )
    return _tidy(ax, "time (ms)", f"{axis} (pixel or channel)", title)


def frames(frames, columns=10, ax=None, title=None):
    """Draws frames of events side by side, from the left to the right and downwards.

    A pixel is white without events. ON events color it orange, OFF events blue, the darker the more
    there are, and both mix.

    Args:
        frames: Array of shape `(steps, height, width, 2)`, as `events.frames` makes them.
        columns: Number of frames in a row.
        ax: Matplotlib `Axes` to draw on, or `None` for a new figure.
        title: Title of the picture.

    Returns:
        The Matplotlib `Axes`.

    Raises:
        ValueError: If `frames` has another shape, or `columns` is not a positive integer.
        ImportError: If Matplotlib is not installed.
    """
    frames = np.asarray(frames, np.float64)
    if frames.ndim != 4 or frames.shape[-1] != 2 or not frames.size:
        raise ValueError(
            "`frames` must have shape (steps, height, width, 2), the frames of one recording. "
            f"Received the shape {frames.shape}. Take one of a batch with frames[0]."
        )
    columns = checks.positive_integer("frames", "columns", columns)
    steps, height, width, _ = frames.shape
    columns = min(columns, steps)
    rows = -(-steps // columns)
    # Square roots show single events next to many.
    shade = np.sqrt(frames / max(frames.max(), 1))
    inks = 1 - np.array(
        [[int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)] for color in POLARITIES]
    )
    grid = np.ones((rows * (height + 1) - 1, columns * (width + 1) - 1, 3))
    grid[height :: height + 1] = grid[:, width :: width + 1] = 0.85
    for step, image in enumerate(np.clip(1 - shade @ inks, 0, 1)):
        row, column = step // columns * (height + 1), step % columns * (width + 1)
        grid[row : row + height, column : column + width] = image
    ax = _axes(ax, 0.9 * columns, 0.9 * rows * height / width + 0.3)
    ax.imshow(grid, interpolation="nearest")
    ax.set_axis_off()
    if title:
        ax.set_title(title)
    return ax
