"""Draws figures 3, 4 and 6 of the paper anew, from the records of the experiments.

    python -m examples.spiking_lstm.figures

What has no record is left out, with a note.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from examples import experiment
from examples.spiking_lstm import periodic
from keras_spiking_rnn import plots

RESULTS = Path(__file__).parent / "results"
IMAGES = Path(__file__).parents[2] / "docs" / "images"


def axes_of(columns, height=3.2):
    """A figure and its axes in a row."""
    figure = Figure(figsize=(4.2 * columns, height), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, columns, sharex=columns > 1))
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


def spikes(record):
    """Figure 3: the signal and a draw of its spikes."""
    figure, (above, below) = axes_of(2, 2.8)
    inputs, _ = periodic.samples()
    above.plot(inputs, color=plots.COLORS[0])
    above.set(xlabel="sample", ylabel="signal")
    steps, neurons = np.array(record["numbers"]["spikes"]).T
    below.plot(steps, neurons, "|", color="black", markersize=5)
    below.set(xlabel="sample", ylabel="neuron, OFF below ON")
    return figure


def sequences(record):
    """Figure 4: the outputs of both networks after each number of iterations, and the signal."""
    numbers = record["numbers"]
    stages = record["config"]["stages"]
    figure, axes = axes_of(len(stages), 2.8)
    _, targets = periodic.samples()
    for n, (ax, iterations) in enumerate(zip(axes, stages, strict=True)):
        ax.plot(targets, "--", color="#6b6b6b", linewidth=1.2, label="signal")
        for color, name in zip(plots.COLORS, periodic.MODELS, strict=False):
            ax.plot(numbers[name]["stages"][n]["sequence"], color=color, linewidth=1, label=name)
        ax.set(title=f"{iterations} iterations", xlabel="sample", ylim=(-0.3, 2.3))
    axes[0].set_ylabel("output")
    axes[0].legend(frameon=False, fontsize="small")
    return figure


def convergence(record):
    """Figure 6: the loss after each epoch for each pair of alpha_1 and alpha_2."""
    figure, (ax,) = axes_of(1, 3.6)
    for color, pair in zip(plots.COLORS, record["numbers"]["pairs"], strict=False):
        epochs = np.arange(1, len(pair["loss"]) + 1)
        label = f"({pair['alpha_1']:g}, {pair['alpha_2']:g})"
        ax.plot(epochs, pair["loss"], color=color, label=label)
    ax.set(xlabel="epoch", ylabel="loss on the training digits")
    ax.legend(frameon=False, fontsize="small", title="alpha_1, alpha_2")
    return figure


# The name of a figure, what it is drawn from, and by what.
FIGURES = {
    "spiking_lstm_spikes": ("periodic", spikes),
    "spiking_lstm_sequences": ("periodic", sequences),
    "spiking_lstm_alphas": ("alphas", convergence),
}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--preset", default="reduced", help="of the records")
    parser.add_argument("--seed", type=int, default=0, help="of the records")
    parser.add_argument("--images", type=Path, default=IMAGES)
    given = parser.parse_args(arguments)
    records = experiment.chosen(given.results, given.preset, given.seed)
    for name, (of, draw) in FIGURES.items():
        if of not in records:
            print(f"No record of {of} in {given.results}: {name} is left out.")
            continue
        given.images.mkdir(parents=True, exist_ok=True)
        draw(records[of]).savefig(given.images / f"{name}.png", dpi=110)
        print(given.images / f"{name}.png")


if __name__ == "__main__":
    main()
