"""Writes the pictures of the documentation: `python docs/make_pictures.py`."""

import pathlib

import numpy as np
from matplotlib.figure import Figure

from keras_spiking_rnn import RLIF, metrics, plots, surrogates

IMAGES = pathlib.Path(__file__).parent / "images"


def picture_of_surrogates():
    """Draws each surrogate with its default arguments."""
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    axes = figure.subplots(2, 4, sharex=True)
    for ax, name in zip(axes.flat, surrogates.NAMES, strict=False):
        plots.surrogate(name, ax=ax, limits=(-1.5, 1.5), title=f'"{name}"')
        ax.set_ylim(0, 1.15)
        ax.label_outer()
    axes[0, 3].tick_params(labelbottom=True)
    axes[0, 3].set_xlabel("V − threshold")
    axes[1, 3].axis("off")
    return figure


def picture_of_rlif():
    """Draws the response of three units with different leaks to a step of current."""
    leaks = [0.9, 0.8, 0.6]
    current = np.zeros((1, 50, 1), "float32")
    current[0, 5:40] = 0.15
    layer = RLIF(3, threshold=0.5, kernel_initializer="ones", return_sequences=True)
    layer.build(current.shape)
    layer.cell.leak.assign(leaks)
    recorded = metrics.trace(layer, current)

    figure = Figure(figsize=(7, 5), layout="constrained")
    above, middle, below = figure.subplots(
        3, 1, sharex=True, gridspec_kw={"height_ratios": [1, 3, 1.2]}
    )
    above.step(np.arange(50), current[0, :, 0], where="mid", color="#6b6b6b")
    above.set_ylabel("current")
    above.set_ylim(-0.02, 0.2)
    above.spines[["top", "right"]].set_visible(False)
    labels = [f"leak {leak}" for leak in leaks]
    plots.membrane(
        recorded["membrane"][0], layer.threshold, recorded["spikes"][0], ax=middle, labels=labels
    )
    middle.text(49, layer.threshold + 0.012, "threshold", ha="right", color="#6b6b6b")
    middle.set_xlabel("")
    plots.raster(recorded["spikes"][0], ax=below, color=list(plots.COLORS[:3]))
    below.set_yticks(range(3), labels)
    below.invert_yaxis()
    below.set_ylabel("")
    return figure


def main():
    """Writes each picture."""
    IMAGES.mkdir(exist_ok=True)
    for name, figure in {
        "surrogates": picture_of_surrogates(),
        "rlif_step": picture_of_rlif(),
    }.items():
        figure.savefig(IMAGES / f"{name}.png", dpi=100)


if __name__ == "__main__":
    main()
