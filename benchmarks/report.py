"""Makes the tables and the plots from the JSON files of the benchmarks.

    python -m benchmarks.report

Writes `README.md`, `ratios.png` and `growth.png` into `benchmarks/results`.
"""

from __future__ import annotations

import json
import pathlib

from benchmarks import command_line, processes
from benchmarks.analysis import (
    exponents_of,
    growth_rows,
    growth_table,
    memory_of,
    rounds_of,
    rows_of,
    spread,
    table_of,
    variants_table,
)
from benchmarks.subjects import TITLES
from benchmarks.workloads import MEMORY_WORKLOADS, WORKLOADS


def load(directory):
    """The results in a directory: dictionary from the name of the file to its content."""
    paths = sorted(pathlib.Path(directory).glob("*_*.json"))
    results = {path.stem: json.loads(path.read_text()) for path in paths}
    if not results:
        raise FileNotFoundError(f"There are no results in {directory}. `make bench` measures them.")
    return results


def of_kind(results, kind):
    """The results of one kind, in the order of the workloads."""
    names = [f"{kind}_{name}" for name in (*WORKLOADS, *MEMORY_WORKLOADS)]
    return [results[name] for name in names if name in results]


def write_readme(results, directory):
    """Writes the tables."""
    newest = max(results.values(), key=lambda content: content["date"])
    days = sorted({content["date"][:10] for content in results.values()})
    versions = {}
    for content in results.values():
        for packages in content["versions"].values():
            versions.update({name: version for name, version in packages.items()})
    minutes = sum(content["duration"] for content in results.values()) / 60
    lines = [
        "# Results",
        "",
        "Made by `make bench`; [how](../../docs/benchmarks.md). Median and, in brackets, quartiles "
        "of the rounds. The ratio is that of this library to the other; *active* is the share of "
        "outputs other than 0 of each layer. A peer stands in the table with the fastest of its "
        "variants, which is named if it is not the plain one.",
        "",
        f"{newest['processor']}, {newest['threads']} threads, {newest['system']}, Python "
        f"{newest['python']}; "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + f". Seed {newest['seed']}. Measured {' to '.join(dict.fromkeys([days[0], days[-1]]))} in "
        f"{minutes:.0f} minutes. The JSON files have all times and commands.",
        "",
    ]
    for kind, title, unit, command in (
        (
            "training",
            "Training: forward, backward, gradients of all weights",
            "ms",
            "training --mode training",
        ),
        (
            "inference",
            "Inference: `model.predict`, for each batch",
            "ms",
            "training --mode inference",
        ),
        ("memory", "Peak memory of a training step", "MiB", "memory"),
    ):
        contents = of_kind(results, kind)
        if contents:
            rows = [row for content in contents for row in rows_of(content)]
            lines += [f"## {title}", "", f"`python -m benchmarks.{command}`", ""]
            lines += [*table_of(rows, unit), ""]
            if kind == "training":
                lines += ["![Ratios](ratios.png)", ""]
    growths = {name: each for name, each in results.items() if each["kind"] == "growth"}
    if growths:
        rows = [
            row
            for name, content in growths.items()
            for row in growth_rows(name.removeprefix("growth_"), content)
        ]
        lines += ["## Growth", "", "`python -m benchmarks.growth`", ""]
        lines += [*growth_table(rows), "", "![Growth](growth.png)", ""]
    contents = of_kind(results, "parts")
    if contents:
        lines += [
            "## Parts of a training step of one layer",
            "",
            "`python -m benchmarks.parts`",
            "",
        ]
        lines += [*parts_table(contents), ""]
    contents = of_kind(results, "training") + of_kind(results, "inference")
    if contents:
        lines += ["## Each variant", "", *variants_table(contents), ""]
    path = pathlib.Path(directory) / "README.md"
    path.write_text("\n".join(lines))
    return path


def parts_table(contents):
    """Medians and quartiles of each part in milliseconds."""
    lines = ["| workload | part | ms |", "|---|---|---|"]
    for content in contents:
        for part, seconds in content["parts"].items():
            milliseconds = spread([1000 * each for each in seconds])
            lines.append(f"| {content['title']} | {part} | {milliseconds.text(1)} |")
    return lines


def picture_of_ratios(results):
    """Draws the ratio of each row as a bar, its goal as a mark."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullLocator

    from keras_spiking_rnn.plots import COLORS

    groups = []
    for kind, title in (("training", ""), ("inference", "predict: "), ("memory", "memory: ")):
        for content in of_kind(results, kind):
            groups.append((title + content["title"], rows_of(content)))
    bars = sum(len(rows) for _, rows in groups)
    figure = Figure(figsize=(8, 0.9 + 0.24 * bars + 0.3 * len(groups)), layout="constrained")
    ax = figure.subplots()
    colors = {"met": COLORS[2], "**missed**": COLORS[4], "": "#b8b8b8", "disturbed": "#e8e8e8"}
    place, ticks, labels = 0.0, [], []
    for title, rows in groups:
        ax.text(0.012, place, title, transform=ax.get_yaxis_transform(), va="center", fontsize=9)
        place += 1.1
        for row in rows:
            color = colors[row.verdict]
            ax.barh(place, row.ratio.median - 1, left=1, height=0.75, color=color)
            ax.plot([row.ratio.low, row.ratio.high], [place, place], color="black", linewidth=1)
            if row.goal is not None:
                ax.plot([row.goal] * 2, [place - 0.4, place + 0.4], color="black", linewidth=2)
            ticks.append(place)
            labels.append(TITLES[row.peer])
            place += 1
        place += 0.5
    ax.set_xscale("log")
    ratios = [value for _, rows in groups for row in rows for value in (row.ratio.median, row.goal)]
    ratios = [value for value in ratios if value]
    ax.set_xlim(min(ratios) / 2, max(ratios) * 1.5)
    marks = [n for n in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10) if min(ratios) / 2 < n]
    ax.set_xticks([mark for mark in marks if mark < max(ratios) * 1.5])
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.axvline(1, color="#6b6b6b", linewidth=0.8, zorder=0)
    ax.set_yticks(ticks, labels, fontsize=8)
    ax.set_ylim(place, -0.9)
    ax.spines[["top", "right"]].set_visible(False)
    for verdict, label in (("met", "goal met"), ("**missed**", "goal missed"), ("", "no goal")):
        ax.barh(0, 0, color=colors[verdict], label=label)
    ax.plot([], [], color="black", linewidth=2, label="goal, at most")
    figure.legend(loc="outside upper right", ncols=4, frameon=False, fontsize=9)
    ax.set_xlabel("this library / the other; less is better")
    return figure


def picture_of_growth(results):
    """Draws time and memory against the number of steps, and time against batch and units."""
    from matplotlib.figure import Figure

    from keras_spiking_rnn.plots import COLORS

    series = {name: each for name, each in results.items() if each["kind"] == "growth"}
    sizes = {each["size"] for each in series.values()}
    panels = [(size, False) for size in ("steps", "batch", "units") if size in sizes]
    if "steps" in sizes:
        panels.insert(1, ("steps", True))
    rows = -(-len(panels) // 2)
    figure = Figure(figsize=(9, 3.5 * rows), layout="constrained")
    axes = figure.subplots(rows, 2, squeeze=False).flat
    for ax, (size, is_memory) in zip(axes, panels, strict=False):
        for name, content in series.items():
            if content["size"] != size:
                continue
            checkpoints = name.endswith("checkpoints")
            of_layer = (
                COLORS[1 if checkpoints else 0],
                "the layer" + (", checkpoint_every=√T" if checkpoints else ""),
            )
            if is_memory:
                _curve(ax, content, [memory_of(content)], *of_layer)
                continue
            _curve(ax, content, rounds_of(content, "fused"), *of_layer)
            if not checkpoints:
                products = rounds_of(content, "products")
                _curve(ax, content, products, "#6b6b6b", "the matrix products")
        what = "memory of a training step (MiB)" if is_memory else "time of a training step (ms)"
        ax.set_ylabel(what)
        ax.set_xlabel("steps T" if size == "steps" else size)
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        ticks = ax.lines[0].get_xdata()
        ax.set_xticks(ticks, [str(each) for each in ticks])
        ax.legend(frameon=False, fontsize=9)
    for ax in list(axes)[len(panels) :]:
        ax.set_visible(False)
    return figure


def _curve(ax, content, rounds, color, label):
    sizes = [point["size"] for point in content["points"]]
    values = [spread(each if len(each) > 1 else each * 2) for each in zip(*rounds, strict=True)]
    median, low, high = zip(*values, strict=True)
    exponent = exponents_of(sizes, rounds).median
    label = f"{label}: ∝ $n^{{{exponent:.2f}}}$"
    ax.plot(sizes, median, "o-", color=color, markersize=4, label=label)
    ax.fill_between(sizes, low, high, color=color, alpha=0.25, linewidth=0)


def main(arguments=None):
    """The command line."""
    parser = command_line.parser_of("report", __doc__)
    parser.add_argument("--results", default=str(processes.RESULTS), metavar="DIRECTORY")
    options = parser.parse_args(arguments)
    directory = pathlib.Path(options.results)
    results = load(directory)
    if any(content["kind"] != "growth" for content in results.values()):
        picture_of_ratios(results).savefig(directory / "ratios.png", dpi=110)
    if any(content["kind"] == "growth" for content in results.values()):
        picture_of_growth(results).savefig(directory / "growth.png", dpi=110)
    print(write_readme(results, directory))


if __name__ == "__main__":
    main()
