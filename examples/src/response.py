"""Figures 1, 6 and 8: one spiking recurrent cell, its pulses, its feedbacks and noise in them.

    python -m examples.src.response

Nothing is learned, and it takes seconds. Writes the record `response.json`, and the pictures into
the folder `--images`.
"""

import time
from pathlib import Path

import keras
import numpy as np

from examples import experiment
from examples.figures import IMAGES, axes_of
from keras_spiking_rnn import SRC, metrics, plots

BIASES = (-6.0, -5.0, -4.0)
INPUTS = (0.0, 1.0, 2.0, 3.0)
STEPS = 200
# So large that equation (5b) leaves the inputs as they are.
NO_LIMIT = 1e6
# Inputs and lengths of the sequence in the pictures; those of the paper are not given.
SEQUENCE = ((0.0, 40), (1.0, 40), (0.0, 30), (2.0, 40), (0.0, 30), (3.0, 40), (0.0, 30))


def neuron(bias, **options):
    """A neuron whose input is x[t] of equation (5b) itself, in float64."""
    layer = SRC(
        1,
        alpha=0.0,
        rho=NO_LIMIT,
        kernel_initializer="ones",
        bias_initializer=bias,
        return_sequences=True,
        dtype="float64",
        **options,
    )
    layer.build((None, None, 1))
    return layer


def simulate(x, bias, **options):
    """The spike generation of one neuron, equations (5c) to (5f).

    Args:
        x: Its input x[t], `(steps,)`.
        bias: b_h.
        **options: More arguments of `SRC`.

    Returns:
        A dictionary of arrays `(steps,)`: `spikes`, `hidden` and `slow`, each after its step.
    """
    shown = metrics.trace(neuron(bias, **options), np.reshape(x, (1, -1, 1)))
    return {key: values[0, :, 0] for key, values in shown.items()}


def pulses(s):
    """How often an output rises above 0, and how many steps a pulse lasts, in the mean."""
    fires = np.append(0, s > 0)
    count = int(np.sum(np.diff(fires) > 0))
    return count, float(fires.sum() / count) if count else 0.0


def measured():
    """Pulses and activity for each bias and each constant input: dictionary for the record."""
    numbers = {}
    for bias in BIASES:
        for x in INPUTS:
            s = simulate(np.full(STEPS, x), bias)["spikes"]
            count, length = pulses(s)
            numbers[f"b {bias:g}, x {x:g}"] = {
                "pulses": count,
                "activity": round(float(np.mean(s > 0)), 4),
                "steps_a_pulse": round(length, 2),
            }
    for name, z_dep in (("fast", 0.0), ("fixed", 0.9)):
        s = simulate(np.full(STEPS, 2.0), BIASES[0], z_dep=z_dep)["spikes"]
        count, length = pulses(s)
        numbers[f"z_s {name}"] = {"pulses": count, "steps_a_pulse": round(length, 2)}
    return numbers


def rows(numbers):
    """The rows of the table of reproductions."""

    def firing(bias):
        count = numbers[f"b {bias:g}, x 0"]["pulses"]
        return f"{count} pulses in {STEPS} steps" if count else "silent"

    fast, fixed = (numbers[f"z_s {name}"]["steps_a_pulse"] for name in ("fast", "fixed"))
    return [
        {
            "paper": "004",
            "what": "Neuron without input (Figure 1), bias -5 and -4",
            "published": "silent; fires",
            "ours": f"{firing(-5)}; {firing(-4)}",
            "beside": "",
            "protocol": "float64",
        },
        {
            "paper": "004",
            "what": "Steps of a pulse (Figure 8), z_s that changes and that is fixed",
            "published": "shorter if z_s changes",
            "ours": f"{fast:.1f}; {fixed:.1f}",
            "beside": "",
            "protocol": "float64, x = 2, bias -6",
        },
    ]


def inputs():
    """The inputs of the pictures, `(steps,)`."""
    return np.concatenate([np.full(steps, value) for value, steps in SEQUENCE])


def axes_over_steps(rows, columns):
    """A figure and its axes, as `axes_of`, with the step below."""
    figure, axes = axes_of(rows, columns, 5, sharex=True, sharey="row")
    for ax in axes[-1]:
        ax.set_xlabel("step")
    return figure, axes


def figure_1():
    """Input, hidden states and output, for two biases."""
    x = inputs()
    figure, axes = axes_over_steps(3, 2)
    for column, bias in enumerate((-5.0, -4.0)):
        found = simulate(x, bias)
        axes[0, column].plot(x, color="#6b6b6b")
        axes[0, column].set_title(f"$b_h$ = {bias:g}")
        axes[1, column].plot(found["hidden"], color=plots.COLORS[0], label="h")
        axes[1, column].plot(found["slow"], color=plots.COLORS[1], label="$h_s$")
        axes[2, column].plot(found["spikes"], color=plots.COLORS[4])
    for ax, label in zip(axes[:, 0], ("input x", "hidden states", "output s"), strict=True):
        ax.set_ylabel(label)
    axes[1, 0].legend(frameon=False, loc="upper left", ncols=2)
    return figure


def figure_6(stddev=0.2):
    """Two neurons with the same input and other noise."""
    x = inputs()
    figure, axes = axes_over_steps(3, 1)
    axes[0, 0].plot(x, color="#6b6b6b")
    axes[0, 0].set_ylabel("input x")
    for row, seed in enumerate((1, 2), 1):
        layer = neuron(-5.0, noise_stddev=stddev, seed=seed)
        s = np.asarray(layer(np.reshape(x, (1, -1, 1)), training=True))
        axes[row, 0].plot(s[0, :, 0], color=plots.COLORS[0])
        axes[row, 0].set_ylabel("output s")
    axes[0, 0].set_title(rf"noise of r and $r_s$, $\sigma$ = {stddev:g}")
    return figure


def figure_8():
    """Input, hidden state and both feedbacks, with z_s fixed and with z_s that changes."""
    x = np.concatenate([np.full(steps, value) for value, steps in ((0, 15), (0.6, 25), (2.5, 40))])
    figure, axes = axes_over_steps(3, 2)
    titles = (("$z_s$ = 0.9", 0.9), ("$z_s$ = 0.9, in a pulse 0", 0.0))
    for column, (title, z_dep) in enumerate(titles):
        # Begins where the neuron rests, and not with states of 0.
        rest = 60
        found = simulate(np.append(np.zeros(rest), x), -6.0, z_dep=z_dep)
        h, h_s = found["hidden"][rest:], found["slow"][rest:]
        axes[0, column].plot(x, color="#6b6b6b")
        axes[0, column].set_title(title)
        axes[1, column].plot(h, color=plots.COLORS[0])
        axes[1, column].axhline(0.5, color="#6b6b6b", linestyle="--", linewidth=1)
        axes[2, column].plot(2 * h, color=plots.COLORS[2], label="r h")
        axes[2, column].plot(-7 * h_s, color=plots.COLORS[4], label="$r_s h_s$")
    for ax, label in zip(axes[:, 0], ("input x", "h", "feedbacks"), strict=True):
        ax.set_ylabel(label)
    axes[2, 0].legend(frameon=False)
    return figure


def main(arguments=None):
    parser = experiment.parser(__doc__, "src/response", ("paper", "reduced", "quick"))
    parser.add_argument("--images", type=Path, default=IMAGES, help="folder of the pictures")
    given = parser.parse_args(arguments)
    started = time.perf_counter()
    keras.utils.set_random_seed(given.seed)
    numbers = measured()
    given.images.mkdir(parents=True, exist_ok=True)
    for number, figure in (("1", figure_1()), ("6", figure_6()), ("8", figure_8())):
        figure.savefig(given.images / f"src_figure_{number}.png", dpi=100)
    experiment.record(
        "src.response",
        given,
        parser,
        name="response",
        config={"steps": STEPS, "biases": BIASES, "inputs": INPUTS},
        seconds=time.perf_counter() - started,
        numbers=numbers,
        rows=rows(numbers),
    )


if __name__ == "__main__":
    main()
