"""Draws what the experiments with events have measured, from their records.

    python -m examples.rlif.event_figures

Those whose records are missing are left out.
"""

from pathlib import Path

import numpy as np

from examples.figures import IMAGES, axes_of, draw_all
from examples.rlif import networks
from keras_spiking_rnn import plots

RESULTS = Path(__file__).parent / "results"
AXES = {
    "more frames": ("frames of {count} events", lambda count, steps: steps),
    "larger windows": ("events in each of {steps} frames", lambda count, steps: count),
    "cut finer": ("frames of the same events", lambda count, steps: steps),
}


def windows(record):
    """Accuracy over the number of frames and over the size of a window."""
    series = record["config"]["protocol"]["series"]
    figure, (axes,) = axes_of(1, len(series), 3.2, sharey=True)
    for ax, (name, pairs) in zip(axes, series.items(), strict=True):
        label, place = AXES[name]
        shown = [record["numbers"][f"{count} x {steps}"]["accuracy"] for count, steps in pairs]
        places = [place(*pair) for pair in pairs]
        ax.plot(places, shown, "o-", color=plots.COLORS[0])
        ax.set_xscale("log", base=2)
        ax.set_xticks(places, places)
        ax.set(title=name, xlabel=label.format(count=pairs[0][0], steps=pairs[0][1]))
    axes[0].set_ylabel("accuracy, synthetic events")
    return figure


def noise(record):
    """Accuracy over the amount of noise events, of each kind of network, with its deviation."""
    numbers = record["numbers"]
    protocol = record["config"]["protocol"]
    figure, (axes,) = axes_of(1, len(protocol["trained_with"]), 3.6, sharey=True)
    share = numbers["noise_a_signal_event"]
    for ax, trained_with in zip(axes, protocol["trained_with"], strict=True):
        for color, kind in zip(plots.COLORS, protocol["kinds"], strict=False):
            found = numbers["networks"][f"{kind}, {trained_with}"]
            of_rates = np.array([[each["noisy"][rate] for rate in share] for each in found])
            label = networks.TITLES[kind]
            options = {"yerr": of_rates.std(axis=0), "color": color, "label": label}
            ax.errorbar(list(share.values()), of_rates.mean(axis=0), fmt="o-", **options)
        ax.set(xlabel="noise events for each event", ylim=(0, 1))
        amount = share[str(trained_with)]
        ax.set_title(f"trained with {amount:.2f}" if amount else "trained without noise")
    axes[0].set_ylabel("accuracy, synthetic events")
    axes[0].legend(frameon=False)
    return figure


def figures(records):
    """The figures that can be drawn from some records: dictionary from name to figure."""
    drawn = {"windows": windows, "noise": noise}
    return {name: draw(records[name]) for name, draw in drawn.items() if name in records}


def main(arguments=None):
    draw_all(__doc__, figures, ("windows", "noise"), RESULTS, IMAGES, "rlif_", arguments)


if __name__ == "__main__":
    main()
