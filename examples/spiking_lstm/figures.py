"""Draws figures 3, 4 and 6 of the paper anew, from the records of the experiments.

    python -m examples.spiking_lstm.figures

What has no record is left out, with a note.
"""

from pathlib import Path

import numpy as np

from examples.figures import IMAGES, axes_of, draw_all
from examples.spiking_lstm import periodic
from keras_spiking_rnn import plots

RESULTS = Path(__file__).parent / "results"


def spikes(record):
    """Figure 3: the signal and a draw of its spikes."""
    figure, ((above, below),) = axes_of(1, 2, 2.8, 4.2, sharex=True)
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
    figure, (axes,) = axes_of(1, len(stages), 2.8, 4.2, sharex=True)
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
    figure, ((ax,),) = axes_of(1, 1, 3.6, 4.2)
    for color, pair in zip(plots.COLORS, record["numbers"]["pairs"], strict=False):
        epochs = np.arange(1, len(pair["loss"]) + 1)
        label = f"({pair['alpha_1']:g}, {pair['alpha_2']:g})"
        ax.plot(epochs, pair["loss"], color=color, label=label)
    ax.set(xlabel="epoch", ylabel="loss on the training digits")
    ax.legend(frameon=False, fontsize="small", title="alpha_1, alpha_2")
    return figure


def figures(records):
    """The figures that can be drawn from some records: dictionary from name to figure."""
    drawn = {
        "spikes": (spikes, records.get("periodic")),
        "sequences": (sequences, records.get("periodic")),
        "alphas": (convergence, records.get("alphas")),
    }
    return {name: draw(record) for name, (draw, record) in drawn.items() if record}


def main(arguments=None):
    names = ("spikes", "sequences", "alphas")
    draw_all(__doc__, figures, names, RESULTS, IMAGES, "spiking_lstm_", arguments)


if __name__ == "__main__":
    main()
