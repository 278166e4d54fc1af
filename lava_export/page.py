"""The parity report as a page that needs no other file."""

from __future__ import annotations

import base64
import html
import io
import string

import numpy as np

INK, BLUE, RED, PALE = "#1c2733", "#2a6f97", "#d1495b", "#d4dae0"


def page(report):
    """The page of a `ParityReport`, as HTML.

    Raises:
        ImportError: If Matplotlib is missing.
    """
    resources = report.resources
    needs, use, *activity = resources.tables()
    trace = ""
    if report.example.trace:
        trace = _picture(membranes(report), "Membrane of one unit, in Keras and in integers")
    return PAGE.substitute(
        verdict=html.escape(report.verdict()),
        stages="\n".join(_html_table(table) for table in report.tables()),
        accuracy=_picture(accuracies(report), "Accuracy of each stage")
        if report.float_stage.float_accuracy is not None
        else "",
        divergence=html.escape(report.divergence_line()),
        rasters=_picture(
            rasters(report), "Raster plots of one sample's spikes, in Keras and in integers"
        ),
        caption=html.escape(report.caption()),
        trace=trace,
        use=_html_table(use),
        histograms=_picture(histograms(report), "Histograms of the integer weights"),
        activity="\n".join(map(_html_table, activity)),
        needs=_html_table(needs),
        notes="\n".join(f"<p>{html.escape(note)}</p>" for note in resources.summary()),
        sources="\n".join(f"<li>{html.escape(source)}</li>" for source in resources.sources),
        provenance=html.escape(report.provenance()),
    )


def _picture(figure, text):
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="{html.escape(text)}" src="data:image/png;base64,{data}">'


def _figure(width, height):
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Pictures need Matplotlib: pip install keras-spiking-rnn[viz]") from error
    return Figure(figsize=(width, height), layout="constrained")


def accuracies(report):
    """A Matplotlib figure: the accuracy of each stage, on the samples that it ran."""
    stage = report.float_stage
    names = ["Keras float", "integers"]
    scores, samples = [stage.float_accuracy, stage.integer_accuracy], [report.samples] * 2
    for lava in report.lava:
        names.append(f"Lava {lava.mode}")
        scores.append(lava.accuracy)
        samples.append(lava.samples)
    figure = _figure(10, 0.6 + 0.42 * len(names))
    ax = figure.subplots()
    bars = ax.barh(names, scores, color=[PALE, BLUE, *[INK] * len(report.lava)], height=0.7)
    labels = [f" {score:.2%} of {n:,}" for score, n in zip(scores, samples, strict=True)]
    ax.bar_label(bars, labels)
    ax.set_xlim(0, 1.2)
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    ax.invert_yaxis()
    _plain(ax)
    return figure


def _plain(ax):
    ax.spines[["top", "right"]].set_visible(False)


def histograms(report):
    """A Matplotlib figure: how often each integer weight occurs, a matrix a panel."""
    uses = report.resources.weights
    columns = min(3, len(uses))
    rows = -(-len(uses) // columns)
    figure = _figure(10, 0.3 + 2.1 * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax, use in zip(axes, uses, strict=False):
        values, counts = np.array(use.histogram).T
        ax.hist(values, np.arange(-260, 261, 8), weights=counts, color=BLUE)
        ax.set_xlim(-260, 260)
        ax.set_title(use.name)
        ax.set_xlabel("weight")
        ax.set_ylabel("synapses")
        _plain(ax)
    for ax in axes[len(uses) :]:
        ax.set_visible(False)
    return figure


def membranes(report):
    """A Matplotlib figure: the membrane of the unit at the first divergence, around that step."""
    from matplotlib.ticker import MaxNLocator

    trace, (layer, step, unit) = report.example.trace, report.example.first
    figure = _figure(10, 3.2)
    ax = figure.subplots()
    steps = trace.first + np.arange(len(trace.keras))
    ax.axvline(step, color=PALE, linewidth=6)
    ax.axhline(trace.threshold, color=INK, linestyle="--", linewidth=1, label="threshold")
    ax.plot(steps, trace.keras, "o-", color=BLUE, label="Keras")
    ax.plot(steps, trace.integer, "x--", color=RED, label="integers, in Keras' scale")
    ax.set_title(f"{report.layers[layer]}, unit {unit}: membrane before the reset")
    ax.set_xlabel("step")
    ax.set_ylabel("membrane")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    _plain(ax)
    return figure


def rasters(report):
    """A Matplotlib figure: the example's spikes in Keras and in integers, layer by layer."""
    figure = _figure(10, 0.7 + 3 * len(report.layers))
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch
    from matplotlib.ticker import MaxNLocator

    colors = ListedColormap(["#ffffff", INK, RED])  # silent, both, one of the two
    axes = figure.subplots(len(report.layers), 2, squeeze=False, sharex=True, sharey="row")
    for i, name in enumerate(report.layers):
        one, other = report.example.keras[i], report.example.integer[i]
        for ax, kind, spikes in zip(axes[i], ("Keras", "integers"), (one, other), strict=True):
            ax.imshow(
                (spikes + spikes * (one != other)).T,
                cmap=colors,
                vmin=0,
                vmax=2,
                aspect="auto",
                origin="lower",
                interpolation="nearest",
            )
            ax.set_title(f"{name}: {kind}")
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
            ax.yaxis.set_major_locator(MaxNLocator(integer=True))
            if report.example.first and report.example.first[0] == i:
                _, step, unit = report.example.first
                ax.annotate(
                    "first divergence",
                    (step, unit),
                    xytext=(18, 20 if unit < spikes.shape[1] / 2 else -30),
                    textcoords="offset points",
                    color=RED,
                    arrowprops={"arrowstyle": "->", "color": RED},
                    bbox={"boxstyle": "round", "facecolor": "white", "edgecolor": RED},
                )
        axes[i][0].set_ylabel("unit")
    for ax in axes[-1]:
        ax.set_xlabel("step")
    figure.legend(
        handles=[
            Patch(color=colors(1), label="spike in both"),
            Patch(color=colors(2), label="spike in this one only"),
        ],
        loc="outside lower center",
        ncols=2,
        frameon=False,
    )
    return figure


def _html_table(table):
    """A rich table as HTML."""
    headings = "".join(f"<th>{html.escape(str(column.header))}</th>" for column in table.columns)
    cells = zip(*(column.cells for column in table.columns), strict=True)
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>"
        for row in cells
    )
    title = html.escape(str(table.title))
    table = f"<table><tr>{headings}</tr>{rows}</table>"
    return f'<h3>{title}</h3><div class="scroll">{table}</div>'


PAGE = string.Template("""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Parity report</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem;
       color: #1c2733; background: #fff; }
h1 { font-size: 1.6rem; }
h2 { font-size: 1.25rem; margin-top: 2.5rem; border-top: 1px solid #d4dae0; padding-top: 1rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .3rem; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid #d4dae0; text-align: right; }
th { vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
.verdict { padding: .8rem 1rem; background: #eef4f8; border-left: 4px solid #2a6f97; }
.scroll { overflow-x: auto; }
img { max-width: 100%; display: block; margin-top: 1rem; }
.small, .provenance { color: #5b6770; font-size: .9rem; }
.provenance { margin-top: 2rem; }
</style>
<h1>Parity report</h1>
<p class="verdict">$verdict</p>
$stages
$accuracy
<h2>Where Keras and the integers first diverge</h2>
<p>$divergence</p>
$trace
$rasters
<p>$caption</p>
<h2>What the integers hold and do</h2>
$use
$histograms
$activity
$needs
<div class="small">
$notes
<p>Constants:</p>
<ul>
$sources
</ul>
</div>
<p class="provenance">$provenance</p>
</html>
""")
