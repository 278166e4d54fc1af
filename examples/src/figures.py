"""Draws figures 2, 3, 4, 5 and 7 of the paper anew, from the records of the experiments.

    python -m examples.src.figures

Those whose records are missing are left out, with a note. Figures 1, 6 and 8 are drawn by
`examples.src.response`.
"""

from pathlib import Path

import numpy as np

from examples.figures import IMAGES, axes_of, draw_all
from examples.src import gradients, networks
from keras_spiking_rnn import plots

RESULTS = Path(__file__).parent / "results"
LOSS, ACCURACY = "cross-entropy in training", "accuracy in validation"


def lines(ax, runs, quantity, color, label, style="-"):
    """The mean of some runs over epochs, and the range that they are in."""
    values = np.array([run["history"][quantity] for run in runs])
    epochs = np.arange(1, values.shape[1] + 1)
    ax.plot(epochs, values.mean(axis=0), style, color=color, label=label)
    if len(values) > 1:
        ax.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=color, alpha=0.2)
    ax.set_xlabel("epoch")


def compared(numbers):
    """The neurons in a record, and the numbers of layers of which there are networks of all."""
    neurons = [each for each in networks.NEURONS if any(key.endswith(each) for key in numbers)]
    counts = [layers for layers, *_ in networks.by_layers(numbers)]
    return neurons, [
        layers for layers in counts if all(f"{layers}-{each}" in numbers for each in neurons)
    ]


def figure_2(record):
    """Cross-entropy in training and accuracy in validation, with each change on and off."""
    figure, (axes,) = axes_of(1, 2, 3.4)
    for number, (variant, runs) in enumerate(record["numbers"].items()):
        for ax, quantity in zip(axes, ("loss", "val_accuracy"), strict=True):
            lines(ax, runs, quantity, plots.COLORS[number], gradients.TITLES[variant])
    for ax, label in zip(axes, (LOSS, ACCURACY), strict=True):
        ax.set_ylabel(label)
    axes[1].set_ylim(0, 1)
    axes[1].legend(frameon=False, fontsize="small")
    return figure


def figure_3(record):
    """Accuracy in training and validation of SRC in latency code."""
    numbers = {key: run for key, run in record["numbers"].items() if key.endswith("-src")}
    figure, (axes,) = axes_of(1, 2, 3.4, sharey=True)
    for number, (key, run) in enumerate(sorted(numbers.items())):
        for ax, quantity in zip(axes, ("accuracy", "val_accuracy"), strict=True):
            lines(ax, [run], quantity, plots.COLORS[number], key.partition("-")[0])
    for ax, label in zip(axes, ("training", "validation"), strict=True):
        ax.set_title(label)
    axes[0].set_ylabel("accuracy")
    axes[0].legend(frameon=False, title="layers")
    return figure


def figure_4(records):
    """Mean activity of the neurons over the number of layers, for each coding."""
    figure, (axes,) = axes_of(1, len(records), 3.4)
    for ax, (coding, record) in zip(axes, records.items(), strict=True):
        numbers = record["numbers"]
        neurons, layers = compared(numbers)
        places = np.arange(len(layers))
        width = 0.8 / len(neurons)
        for number, neuron in enumerate(neurons):
            shown = [numbers[f"{count}-{neuron}"]["mean_activity"] for count in layers]
            shift = (number - (len(neurons) - 1) / 2) * width
            color = plots.COLORS[networks.NEURONS.index(neuron)]
            ax.bar(places + shift, shown, width, color=color, label=networks.TITLES[neuron])
        ax.set_xticks(places, layers)
        ax.set(title=f"{coding} code", xlabel="layers")
    axes[0].set_ylabel("part of the steps with a spike")
    axes[0].legend(frameon=False)
    return figure


def figure_5(record):
    """Cross-entropy and accuracy in validation; both of the test and the time, over layers."""
    numbers = record["numbers"]
    figure, axes = axes_of(2, 2, 6)
    neurons, counts = compared(numbers)
    for neuron, style in zip(neurons, ("-", "--", ":"), strict=False):
        name = networks.TITLES[neuron]
        for color, layers in zip(plots.COLORS, counts, strict=False):
            run = numbers[f"{layers}-{neuron}"]
            label = f"{name}, {layers} layers"
            lines(axes[0, 0], [run], "val_loss", color, label, style)
            lines(axes[1, 0], [run], "val_accuracy", color, label, style)
        color = plots.COLORS[networks.NEURONS.index(neuron)]
        of_layers = [numbers[f"{layers}-{neuron}"] for layers in counts]
        for row, key in enumerate(("epoch_seconds", "accuracy")):
            shown = [run[key] for run in of_layers]
            axes[row, 1].plot(counts, shown, f"o{style}", color=color, label=name)
    axes[0, 0].set(ylabel="cross-entropy in validation", yscale="log")
    axes[1, 0].set(ylabel=ACCURACY, ylim=(0, 1))
    axes[0, 1].set(ylabel="seconds an epoch", ylim=(0, None))
    axes[1, 1].set(ylabel="accuracy in the test", ylim=(0, 1), xlabel="layers", xticks=counts)
    axes[0, 0].legend(frameon=False, fontsize="x-small", ncols=2)
    axes[1, 1].legend(frameon=False)
    return figure


def figure_7(record):
    """Cross-entropy in training and accuracy in the test, for each level of noise."""
    figure, (axes,) = axes_of(1, 2, 3.4)
    for number, (stddev, runs) in enumerate(record["numbers"].items()):
        lines(axes[0], runs, "loss", plots.COLORS[number], rf"$\sigma$ = {stddev}")
    for key, label, marker in (
        ("accuracy", "without noise", "o"),
        ("noisy_accuracy", "with noise", "x"),
    ):
        points = [
            (float(stddev), run[key]) for stddev, runs in record["numbers"].items() for run in runs
        ]
        axes[1].plot(*zip(*points, strict=True), marker, color=plots.COLORS[0], label=label)
    axes[1].set(xlabel=r"$\sigma$", ylabel="accuracy in the test", ylim=(0, 1))
    axes[1].legend(frameon=False)
    axes[0].set_ylabel(LOSS)
    axes[0].legend(frameon=False)
    return figure


def figures(records):
    """The figures that can be drawn from some records: dictionary from number to figure.

    Args:
        records: Dictionary from name to record, as `examples.experiment.load` gives it.
    """
    mnist = {
        coding: records[f"images-mnist-{coding}"]
        for coding in ("rate", "latency")
        if f"images-mnist-{coding}" in records
    }
    drawn = {
        "2": (figure_2, records.get("gradients")),
        "3": (figure_3, records.get("images-fashion-latency")),
        "4": (figure_4, mnist),
        "5": (figure_5, records.get("depth")),
        "7": (figure_7, records.get("noise")),
    }
    return {number: draw(given) for number, (draw, given) in drawn.items() if given}


def main(arguments=None):
    draw_all(__doc__, figures, "23457", RESULTS, IMAGES, "src_figure_", arguments)


if __name__ == "__main__":
    main()
