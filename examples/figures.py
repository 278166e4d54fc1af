"""What the programs share that draw the figures of the papers anew, from the records."""

import argparse
from pathlib import Path

from matplotlib.figure import Figure

from examples import experiment

IMAGES = Path(__file__).parents[1] / "docs" / "images"


def axes_of(rows, columns, height, width=5, **options):
    """A figure and its plain axes, `(rows, columns)`.

    Args:
        rows: Number of rows.
        columns: Number of columns.
        height: Of the figure, in inches.
        width: Of a column, in inches.
        **options: More arguments of `Figure.subplots`.
    """
    figure = Figure(figsize=(width * columns, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


def draw_all(description, figures, names, results, images, prefix, arguments=None):
    """Draws the figures of a folder of experiments from their records, at the command line.

    Args:
        description: The docstring of the module.
        figures: Function from what `experiment.chosen` gives to a dictionary from a name to a
            figure.
        names: The names of all figures.
        results: The default folder of records.
        images: The default folder of figures, which is made.
        prefix: What the names of their files begin with.
        arguments: Those of the command line; `None` for `sys.argv`.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--results", type=Path, default=results)
    parser.add_argument("--preset", default="reduced", help="of the records")
    parser.add_argument("--seed", type=experiment.non_negative, default=0, help="of the records")
    parser.add_argument("--images", type=Path, default=images)
    given = parser.parse_args(arguments)
    found = figures(experiment.chosen(given.results, given.preset, given.seed))
    if not found:
        parser.error(
            f"{given.results} has no records of the preset {given.preset} and the seed "
            f"{given.seed} to draw. Run the experiments first."
        )
    given.images.mkdir(parents=True, exist_ok=True)
    for name, figure in found.items():
        figure.savefig(given.images / f"{prefix}{name}.png", dpi=100)
    print(f"Figures {', '.join(found)} are in {given.images}.")
    missing = [name for name in names if name not in found]
    if missing:
        print(f"Without records: {', '.join(missing)}.")
