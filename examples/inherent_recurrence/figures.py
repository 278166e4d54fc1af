"""Draws the vanishing gradient, Figure 5, and accuracy over multiplications from the records.

    python -m examples.inherent_recurrence.figures

Those whose records are missing are left out, with a note.
"""

from pathlib import Path

import numpy as np

from examples.figures import IMAGES, axes_of, draw_all
from examples.inherent_recurrence import gradients, networks
from keras_spiking_rnn import plots

RESULTS = Path(__file__).parent / "results"


def vanishing(record):
    """Left, the size of dI_N/dI_n over the lag; right, the accuracy of the recall over the lag."""
    numbers, lags = record["numbers"], record["config"]["lags"]
    figure, (axes,) = axes_of(1, 2, 3.4)
    for color, (neuron, title) in zip(plots.COLORS, gradients.TITLES.items(), strict=False):
        shown = numbers["trained"][neuron]
        axes[0].plot(shown["current"], color=color, label=title)
        axes[0].plot(shown["closed_current"], ":", color="black", linewidth=1)
        found = [numbers["recall"][f"{neuron}-{lag}"] for lag in lags]
        axes[1].plot(lags, found, "o-", color=color, label=title)
    axes[0].plot([], [], ":", color="black", linewidth=1, label="equation (15), product of F")
    axes[0].set(yscale="log", xlabel="lag N − n", ylabel=r"$\partial I_N / \partial I_n$ (rms)")
    axes[0].set_ylim(1e-6, 1e3)
    axes[1].axhline(1 / gradients.SYMBOLS, color="gray", linewidth=1)
    axes[1].set(xlabel="lag", ylabel="accuracy of the recall (synthetic)", ylim=(0, 1.05))
    axes[0].legend(frameon=False, fontsize="small")
    return figure


def figure_5(record):
    """Accuracy over the bits of the outputs, and over the width with some of them."""
    numbers, units = record["numbers"], record["config"]["units"]
    found = {tuple(key.split("-")): value for key, value in numbers.items()}
    figure, (axes,) = axes_of(1, 2, 3.4, sharey=True)

    def line(ax, places, chosen, label, color):
        means = [100 * each["accuracy"] for each in chosen]
        spread = [100 * each["deviation"] for each in chosen]
        ax.errorbar(places, means, spread, fmt="o-", capsize=3, color=color, label=label)

    narrow = {bits: value for (bits, width), value in found.items() if int(width) == units}
    line(axes[0], np.arange(len(narrow)), list(narrow.values()), None, plots.COLORS[0])
    axes[0].set_xticks(np.arange(len(narrow)), narrow)
    axes[0].set(xlabel="bits of the outputs", ylabel="accuracy, %", title=f"{units} units")
    widened = list(dict.fromkeys(bits for bits, width in found if int(width) != units))
    for color, bits in zip(plots.COLORS, widened, strict=False):
        widths = {int(width): value for (each, width), value in found.items() if each == bits}
        means = [widths[each] for each in sorted(widths)]
        line(axes[1], sorted(widths), means, networks.precision(bits), color)
    axes[1].set(xlabel="units of a layer")
    axes[1].legend(frameon=False)
    return figure


def cost(records):
    """Accuracy over multiplications of a step, of networks of some tables.

    Of spiking ones those with 1 bit and with the paper's bits: others are beside the latter.

    Args:
        records: Dictionary from a title to a record.
    """
    figure, (panels,) = axes_of(1, len(records), 3.6)
    for ax, (title, record) in zip(panels, records.items(), strict=True):
        drawn = set()
        for key, found in record["numbers"].items():
            neuron, bits = key.split("-")
            if neuron in networks.SPIKING and bits not in ("1", str(networks.PAPER_BITS)):
                continue
            color = plots.COLORS[networks.NAMES.index(neuron)]
            label = None if neuron in drawn else networks.TITLES[neuron]
            drawn.add(neuron)
            x, y = found["multiplications"], 100 * found["accuracy"]
            ax.errorbar(
                x, y, 100 * found["deviation"], fmt="o", capsize=3, color=color, label=label
            )
            if neuron in networks.SPIKING:
                ax.annotate(bits, (x, y), (5, 3), textcoords="offset points", fontsize="small")
        ax.set(xscale="log", xlabel="multiplications of a step", ylabel="accuracy, %", title=title)
    panels[0].legend(frameon=False, fontsize="small")
    return figure


TABLES = {
    "table-vowels": "speakers (JapaneseVowels)",
    "speech-synthetic": "frames of synthetic speech",
}


def figures(records):
    """The figures that can be drawn from some records: dictionary from name to figure.

    Args:
        records: Dictionary from name to record, as `examples.experiment.load` gives it.
    """
    tables = {title: records[name] for name, title in TABLES.items() if name in records}
    drawn = {
        "gradients": (vanishing, records.get("gradients")),
        "bits": (figure_5, records.get("bits")),
        "cost": (cost, tables),
    }
    return {name: draw(record) for name, (draw, record) in drawn.items() if record}


def main(arguments=None):
    draw_all(
        __doc__,
        figures,
        ("gradients", "bits", "cost"),
        RESULTS,
        IMAGES,
        "inherent_recurrence_",
        arguments,
    )


if __name__ == "__main__":
    main()
