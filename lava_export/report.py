"""What is known of an exported network, as data, as a table, and as a page."""

from __future__ import annotations

import base64
import html
import io
import json
import string
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table

from lava_export import files

HARDWARE = "CPU simulator, not hardware."


def render(*tables):
    """Rich tables and sentences as plain text."""
    console = Console(file=io.StringIO(), width=110, color_system=None)
    for table in tables:
        console.print(table)
    return console.file.getvalue().rstrip()


@dataclass
class LayerQuantization:
    """How one layer was turned into integers, and what that did to the calibration data.

    Args:
        name, inputs, units: The layer.
        scale: `S`, the threshold in units of weight.
        exponent: The weight exponent.
        weight_error: Root mean square of the weights' error, rounded or clipped, relative to the
            weights.
        worst_unit, worst_unit_error: The unit that loses most to rounding, and how much.
        clipped_weights: Number of weights beyond 8 bits, held at the limit.
        leak_error: Largest change of a leak.
        wraps, saturations: Currents that wrapped and membranes that hit the limit.
        slots: Number of steps times units times samples.
        float_spikes: Spikes of the float layer in them.
        mismatches: Slots in which the integer layer differs, given the float layer's input.
        cumulative_mismatches: The same, with the integer layers before it as well.
    """

    name: str
    inputs: int
    units: int
    scale: int
    exponent: int
    weight_error: float
    worst_unit: int
    worst_unit_error: float
    clipped_weights: int
    leak_error: float
    wraps: int
    saturations: int
    slots: int
    float_spikes: int
    mismatches: int
    cumulative_mismatches: int = 0

    @property
    def spike_loss(self):
        """Slots that differ, relative to the number of spikes."""
        return self.mismatches / max(self.float_spikes, 1)


@dataclass
class QuantizationReport:
    """How a network was turned into integers; `print` shows a table.

    Args:
        samples, steps: Size of the calibration data.
        layers: One `LayerQuantization` for each spiking layer.
    """

    samples: int
    steps: int
    layers: list

    @classmethod
    def from_dict(cls, values):
        """The inverse of `to_dict`."""
        layers = [LayerQuantization(**layer) for layer in values["layers"]]
        return cls(values["samples"], values["steps"], layers)

    def to_dict(self):
        """Plain dictionaries, lists and numbers."""
        return asdict(self)

    def table(self):
        """A rich table with one row for each layer."""
        table = Table(
            title=f"Quantization, on {self.samples} calibration samples of {self.steps} steps"
        )
        table.add_column("layer")
        for heading in (
            "synapses",
            "vth",
            "2^exp",
            "weights lost",
            "clipped",
            "wraps",
            "saturations",
            "spikes changed",
            "with layers before",
        ):
            table.add_column(heading, justify="right")
        for layer in self.layers:
            spikes = max(layer.float_spikes, 1)
            table.add_row(
                layer.name,
                f"{layer.inputs}x{layer.units}",
                str(layer.scale),
                str(layer.exponent),
                f"{layer.weight_error:.2%}",
                str(layer.clipped_weights),
                str(layer.wraps),
                str(layer.saturations),
                f"{layer.spike_loss:.2%}",
                f"{layer.cumulative_mismatches / spikes:.2%}",
            )
        return table

    def __str__(self):
        return render(self.table())


@dataclass
class Divergence:
    """The first spike that is in one of Keras and the integers, and not in the other.

    Args:
        sample, step, layer, unit: Where; the first by sample, then step, then layer.
        keras_spike: 1 if Keras fired there, 0 if the integers did.
        membrane: Keras' membrane before the reset.
        threshold: The unit's threshold.
        margin: `(membrane - threshold) / (threshold - reset)`: near 0, a close call.
    """

    sample: int
    step: int
    layer: str
    unit: int
    keras_spike: int
    membrane: float
    threshold: float
    margin: float

    def __str__(self):
        who = (
            "Keras fires, the integers do not"
            if self.keras_spike
            else ("the integers fire, Keras does not")
        )
        return (
            f"sample {self.sample}, step {self.step}, layer '{self.layer}', unit {self.unit}: "
            f"{who}; Keras' membrane is {self.membrane:.6g} at a threshold of "
            f"{self.threshold:.6g} (margin {self.margin:+.2%} of threshold - reset)"
        )


@dataclass
class FloatStage:
    """Keras in floating point against the integer reference; each list has a number a layer."""

    samples: int
    slots: list
    float_spikes: list
    mismatches: list
    wraps: list
    saturations: list
    float_accuracy: float | None = None
    integer_accuracy: float | None = None
    first: Divergence | None = None


@dataclass
class LavaStage:
    """The integer reference against one mode of Lava, over all layers."""

    mode: str
    samples: int = 0
    spikes_compared: int = 0
    spike_mismatches: int = 0
    states_compared: int = 0
    state_mismatches: int = 0
    correct: int = 0
    accuracy: float | None = None
    seconds: float = 0.0

    @property
    def equal(self):
        """Whether not one spike and not one final state differs."""
        return self.spike_mismatches == 0 and self.state_mismatches == 0


@dataclass
class Example:
    """One sample's spikes, each (T, units), to be drawn; `first` is (layer, step, unit) or None."""

    sample: int
    first: tuple | None
    keras: list
    integer: list


@dataclass
class ParityReport:
    """What `verify` found, in three stages; it prints as a table.

    Args:
        network: SHA-256 of the integer network.
        layers: Names of its spiking layers.
        samples, steps: Size of the data.
        float_stage: Keras against the integers.
        lava: The integers against Lava, one `LavaStage` for each mode.
        versions: Of the packages that took part.
        example: The sample that is drawn: the first that diverges, or the first.
    """

    network: str
    layers: list
    samples: int
    steps: int
    float_stage: FloatStage
    lava: list
    versions: dict
    example: Example

    def to_dict(self):
        """Plain dictionaries, lists and numbers; without the example's spikes."""
        values = asdict(self)
        del values["example"]
        return {"hardware": HARDWARE, **values}

    def to_json(self, path, overwrite=False):
        """Write `to_dict()` to a JSON file.

        Raises:
            OSError: If the file exists and `overwrite` is false, or it cannot be written.
        """
        files.write_text(path, json.dumps(self.to_dict(), indent=2) + "\n", overwrite)

    def to_html(self, path, overwrite=False):
        """Write a self-contained page, with raster plots of both where they first diverge.

        Raises:
            OSError: If the file exists and `overwrite` is false, or it cannot be written.
            ImportError: If Matplotlib is missing.
        """
        picture = io.BytesIO()
        self.figure().savefig(picture, format="png", dpi=110)
        page = PAGE.substitute(
            verdict=html.escape(self.verdict()),
            tables="\n".join(_html_table(table) for table in self._tables()),
            divergence=html.escape(self._divergence_line()),
            picture=base64.b64encode(picture.getvalue()).decode(),
            caption=html.escape(self._caption()),
            provenance=html.escape(self._provenance()),
        )
        files.write_text(path, page, overwrite)

    def figure(self):
        """A Matplotlib figure: the example's spikes in Keras and in integers, layer by layer."""
        try:
            from matplotlib.colors import ListedColormap
        except ImportError as error:
            raise ImportError(
                "Pictures need Matplotlib: pip install keras-spiking-rnn[viz]"
            ) from error
        from matplotlib.figure import Figure
        from matplotlib.patches import Patch
        from matplotlib.ticker import MaxNLocator

        colors = ListedColormap(["#ffffff", "#1c2733", "#d1495b"])  # silent, both, one of the two
        figure = Figure(figsize=(10, 0.7 + 3 * len(self.layers)), layout="constrained")
        axes = figure.subplots(len(self.layers), 2, squeeze=False, sharex=True, sharey="row")
        for i, name in enumerate(self.layers):
            one, other = self.example.keras[i], self.example.integer[i]
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
                if self.example.first and self.example.first[0] == i:
                    _, step, unit = self.example.first
                    ax.annotate(
                        "first divergence",
                        (step, unit),
                        xytext=(18, 20 if unit < spikes.shape[1] / 2 else -30),
                        textcoords="offset points",
                        color="#d1495b",
                        arrowprops={"arrowstyle": "->", "color": "#d1495b"},
                        bbox={"boxstyle": "round", "facecolor": "white", "edgecolor": "#d1495b"},
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

    def verdict(self):
        """One sentence: whether Lava ran the integers spike for spike."""
        if not self.lava:
            return "Lava was not run."
        if all(stage.equal for stage in self.lava):
            modes = " and ".join(f"{stage.mode} ({stage.samples:,} samples)" for stage in self.lava)
            return (
                "Lava's CPU simulator equals the integer reference on every spike of every layer "
                f"and every final state, in mode {modes}."
            )
        return "LAVA DIFFERS FROM THE INTEGER REFERENCE."

    def __str__(self):
        return render(*self._tables(), self._divergence_line(), self.verdict(), self._provenance())

    def _tables(self):
        stage = self.float_stage
        floats = Table(title=f"1. Keras float against integers, {stage.samples:,} samples")
        for heading in (
            "layer",
            "Keras spikes",
            "spikes changed",
            "of all steps",
            "wraps",
            "saturations",
        ):
            floats.add_column(heading, justify="left" if heading == "layer" else "right")
        rows = zip(
            self.layers,
            stage.float_spikes,
            stage.mismatches,
            stage.slots,
            stage.wraps,
            stage.saturations,
            strict=True,
        )
        for name, spikes, changed, slots, wraps, saturations in rows:
            floats.add_row(
                name,
                f"{spikes:,}",
                f"{changed:,} ({changed / max(spikes, 1):.2%})",
                f"{changed / slots:.3%}",
                str(wraps),
                str(saturations),
            )
        tables = [floats]
        if stage.float_accuracy is not None:
            accuracy = Table(title="Accuracy")
            accuracy.add_column("Keras float", justify="right")
            accuracy.add_column("integers", justify="right")
            scores = [stage.float_accuracy, stage.integer_accuracy]
            for lava in self.lava:
                accuracy.add_column(f"Lava {lava.mode} ({lava.samples:,})", justify="right")
                scores.append(lava.accuracy)
            accuracy.add_row(*(f"{score:.2%}" for score in scores))
            tables.append(accuracy)
        if self.lava:
            lava = Table(title="2., 3. Integers against Lava's CPU simulator")
            lava.add_column("mode")
            for heading in (
                "samples",
                "spikes compared",
                "differ",
                "final states compared",
                "differ",
                "seconds",
            ):
                lava.add_column(heading, justify="right")
            for row in self.lava:
                lava.add_row(
                    row.mode,
                    f"{row.samples:,}",
                    f"{row.spikes_compared:,}",
                    f"{row.spike_mismatches:,}",
                    f"{row.states_compared:,}",
                    f"{row.state_mismatches:,}",
                    f"{row.seconds:.1f}",
                )
            tables.append(lava)
        return tables

    def _divergence_line(self):
        first = self.float_stage.first
        if first is None:
            return "Keras and the integers agree on every spike."
        return f"First divergence of Keras and the integers: {first}."

    def _caption(self):
        return (
            f"Spikes of sample {self.example.sample}, in Keras and in the integers. "
            "Red: in one and not in the other."
        )

    def _provenance(self):
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return f"{HARDWARE} Network {self.network[:16]}. {versions}."


def _html_table(table):
    """A rich table as HTML."""
    headings = "".join(f"<th>{html.escape(str(column.header))}</th>" for column in table.columns)
    cells = zip(*(column.cells for column in table.columns), strict=True)
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>"
        for row in cells
    )
    return f"<h2>{html.escape(str(table.title))}</h2><table><tr>{headings}</tr>{rows}</table>"


PAGE = string.Template("""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Parity report</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem;
       color: #1c2733; background: #fff; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid #d4dae0; text-align: right; }
th:first-child, td:first-child { text-align: left; }
.verdict { padding: .8rem 1rem; background: #eef4f8; border-left: 4px solid #2a6f97; }
img { max-width: 100%; } .provenance { color: #5b6770; font-size: .9rem; margin-top: 2rem; }
</style>
<h1>Parity report</h1>
<p class="verdict">$verdict</p>
$tables
<h2>Where Keras and the integers first diverge</h2>
<p>$divergence</p>
<img alt="Raster plots of one sample's spikes, in Keras and in integers"
     src="data:image/png;base64,$picture">
<p>$caption</p>
<p class="provenance">$provenance</p>
</html>
""")
