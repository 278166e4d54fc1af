"""What is known of an exported network, as data, as a table, and as a page."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from lava_export import files

if TYPE_CHECKING:
    from lava_export.resources import Resources

# Losses above which a layer is warned of.
SPIKE_LOSS = 0.10
WEIGHT_LOSS = 0.10
DECODED_LOSS = 0.05

# What may be said of the integers: with a run on Lava that equals the reference, and without.
HARDWARE = "Loihi 2-compatible arithmetic, verified on the CPU simulator"
UNVERIFIED = "Loihi 2-compatible arithmetic, here not verified on the CPU simulator"


def table_of(title, texts, numbers):
    """A rich table with the headings of its columns, those of texts first."""
    table = Table(title=title)
    for heading in texts:
        table.add_column(heading)
    for heading in numbers:
        table.add_column(heading, justify="right")
    return table


def render(*tables):
    """Rich tables and sentences as plain text."""
    console = Console(file=io.StringIO(), width=120, color_system=None, markup=False, emoji=False)
    for table in tables:
        console.print(table)
    return console.file.getvalue().rstrip()


@dataclass
class LayerQuantization:
    """How one layer was turned into integers, and what that did to the calibration data.

    Args:
        name, inputs, units: The layer.
        exponent: The weight exponent.
        weight_error: Root mean square of the weights' error, rounded or clipped, relative to the
            weights.
        worst_unit, worst_unit_error: The unit that loses most to rounding, and how much.
        clipped_weights: Number of weights beyond 8 bits, held at the limit.
        wraps, saturations: Currents that wrapped and membranes that hit the limit.
        slots: Number of steps times units times samples.
        float_spikes: Spikes of the float layer in them.
        mismatches: Slots in which the integer layer differs, given the float layer's input.
        cumulative_mismatches: The same, with the integer layers before it as well.
        scale: `S`, the threshold in units of weight, where all units have one.
        leak_error: Largest change of a leak, where there are leaks.
        decoded_error: Where outputs stand for numbers that they are decoded to, the root mean
            square difference of these, relative to them; of graded outputs, that of their sums over
            the steps. Outputs may then come a step earlier or later without harm.
        headroom: What 24 bits hold, relative to the worst case of weighted inputs and states that
            any inputs could bring in as many steps as the calibration data has; below 1 some could
            overflow. None if it is not known.
        safe_steps: The number of steps in which no input overflows 24 bits; None if there is no
            limit. It is not searched beyond `lava_export.overflow.HORIZON` steps.
        pulses: Where outputs are pulses of several steps, their number in float and in integers.
        activity: Likewise, the part of all steps and units in which the output is above 0.
        settings: What was chosen, and the layer's integers follow from: numbers, or lists of them.
    """

    name: str
    inputs: int
    units: int
    exponent: int
    weight_error: float
    worst_unit: int
    worst_unit_error: float
    clipped_weights: int
    wraps: int
    saturations: int
    slots: int
    float_spikes: int
    mismatches: int
    cumulative_mismatches: int = 0
    scale: int | None = None
    leak_error: float | None = None
    decoded_error: float | None = None
    headroom: float | None = None
    safe_steps: int | None = None
    pulses: list | None = None
    activity: list | None = None
    settings: dict = field(default_factory=dict)

    @property
    def spike_loss(self):
        """Slots that differ, relative to the number of spikes."""
        return self.mismatches / max(self.float_spikes, 1)

    def advice(self, on_data=True):
        """What to do about a layer that loses much on the data; empty if it does not.

        Args:
            on_data: Whether that is of real data, whose changed spikes count.
        """
        if self.worst_unit_error > WEIGHT_LOSS:
            changed = f", and {self.spike_loss:.1%} of the layer's spikes change" if on_data else ""
            return (
                f"8 bits do not hold weights so far apart: those of unit {self.worst_unit} lose "
                f"{self.worst_unit_error:.0%} (root mean square){changed}. Bring the units' "
                "thresholds or weights closer together, for example with a max-norm constraint on "
                "the kernel."
            )
        if self.decoded_error is not None:
            if on_data and self.decoded_error > DECODED_LOSS:
                made = ""
                if self.pulses is not None:
                    floats, integers = self.pulses
                    made = f", with {integers} pulses for {floats}: they come at other steps"
                return (
                    f"in integers its decoded outputs differ by {self.decoded_error:.1%} (root "
                    f"mean square){made}."
                )
        elif on_data and self.spike_loss > SPIKE_LOSS:
            return (
                f"in integers {self.spike_loss:.1%} of its spikes change ({self.mismatches} "
                f"differences for {self.float_spikes} spikes on the calibration data)."
            )
        return ""


@dataclass
class QuantizationReport:
    """How a network was turned into integers; `print` shows a table.

    Args:
        samples: Number of samples of the calibration data.
        steps: Number of their steps.
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
        table = table_of(
            f"Quantization, on {self.samples} calibration samples of {self.steps} steps",
            ("layer",),
            (
                "synapses",
                "vth",
                "2^exp",
                "weights lost",
                "clipped",
                "wraps",
                "saturations",
                "spikes changed",
                "with layers before",
            ),
        )
        decoded = [layer.decoded_error for layer in self.layers]
        if any(error is not None for error in decoded):
            table.add_column("decoded error", justify="right")
        for layer, error in zip(self.layers, decoded, strict=True):
            spikes = max(layer.float_spikes, 1)
            table.add_row(
                layer.name,
                f"{layer.inputs}x{layer.units}",
                "" if layer.scale is None else str(layer.scale),
                str(layer.exponent),
                f"{layer.weight_error:.2%}",
                str(layer.clipped_weights),
                str(layer.wraps),
                str(layer.saturations),
                f"{layer.spike_loss:.2%}",
                f"{layer.cumulative_mismatches / spikes:.2%}",
                *([] if error is None else [f"{error:.2%}"]),
            )
        return table

    def __str__(self):
        return render(self.table())


@dataclass
class Divergence:
    """The first spike that is in one of Keras and the integers, and not in the other.

    Args:
        sample, step, layer, unit: Where; the first by sample, then step, then layer.
        keras_spike: Keras' output there: 1 or 0, or a graded one in integers.
        integer_spike: That of the integers.
        membrane: Keras' membrane before the reset.
        threshold: The unit's threshold.
        margin: `membrane - threshold`, relative to the scale of the potential (threshold - reset
            for RLIF): near 0, a close call.
    """

    sample: int
    step: int
    layer: str
    unit: int
    keras_spike: int
    integer_spike: int
    membrane: float
    threshold: float
    margin: float

    def __str__(self):
        if {self.keras_spike, self.integer_spike} <= {0, 1}:
            who = (
                "Keras fires, the integers do not"
                if self.keras_spike
                else ("the integers fire, Keras does not")
            )
        else:
            who = f"Keras gives {self.keras_spike}, the integers {self.integer_spike}"
        return (
            f"sample {self.sample}, step {self.step}, layer '{self.layer}', unit {self.unit}: "
            f"{who}; Keras' membrane is {self.membrane:.6g} at a threshold of "
            f"{self.threshold:.6g} (margin {self.margin:+.2%})"
        )


@dataclass
class Trace:
    """The membrane of one unit around a step, before its reset, in Keras' scale.

    Args:
        first: Number of the first of the steps.
        keras, integer: The membranes, one number a step.
        threshold: The unit's threshold.
    """

    first: int
    keras: list
    integer: list
    threshold: float


@dataclass
class FloatStage:
    """Keras in floating point against the integer reference; each list has a number a layer.

    Where the head decodes what the network computes, `decoded_error` is the root mean square
    difference of both, relative to it. `unlike_model` is the number of `compared` samples whose
    scores, computed layer by layer, are not those of the model as a whole; `compared` is 0 where
    its encoder draws anew at each call. `pulses` has for each layer whose outputs are pulses of
    several steps their numbers in Keras and in integers, otherwise None.
    """

    samples: int
    slots: list
    float_spikes: list
    mismatches: list
    wraps: list
    saturations: list
    pulses: list
    float_accuracy: float | None = None
    integer_accuracy: float | None = None
    decoded_error: float | None = None
    first: Divergence | None = None
    compared: int = 0
    unlike_model: int = 0


@dataclass
class LavaStage:
    """The integer reference against one mode of Lava, over all layers.

    `ours` has the names of the layers whose units ran on processes of ours and not on Lava's own.
    """

    mode: str
    ours: list = field(default_factory=list)
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
    """One sample's spikes, each (T, units), to be drawn; `first` is (layer, step, unit) or None.

    `trace` is the membrane of the unit where they diverge first; None for one without a membrane.
    """

    sample: int
    first: tuple | None
    keras: list
    integer: list
    trace: Trace | None = None


@dataclass
class ParityReport:
    """What `verify` found, in three stages; it prints as a table.

    Args:
        network: SHA-256 of the integer network.
        layers: Names of its spiking layers.
        samples: Number of samples of the data.
        steps: Number of their steps.
        float_stage: Keras against the integers.
        lava: The integers against Lava, one `LavaStage` for each mode.
        versions: Of the packages that took part.
        example: The sample that is drawn: the first that diverges, or the first.
        resources: What the integer network needs and did, as `lava_export.resources`.
    """

    network: str
    layers: list
    samples: int
    steps: int
    float_stage: FloatStage
    lava: list
    versions: dict
    example: Example
    resources: Resources

    def to_dict(self):
        """Plain dictionaries, lists and numbers; without the example's spikes."""
        values = asdict(self)
        del values["example"]
        trace = self.example.trace and asdict(self.example.trace)
        return {
            "hardware": self.hardware(),
            **values,
            "trace": trace,
            "resources": self.resources.to_dict(),
        }

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
        from lava_export import page

        files.write_text(path, page.page(self), overwrite)

    def figure(self):
        """A Matplotlib figure: the example's spikes in Keras and in integers, layer by layer."""
        from lava_export import page

        return page.rasters(self)

    def hardware(self):
        """What may be said of the integers and the chip."""
        verified = self.lava and all(stage.equal for stage in self.lava)
        return f"{HARDWARE if verified else UNVERIFIED}; not run on hardware."

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
        return render(
            *self.tables(),
            *self.resources.tables()[2:],
            self.resources.summary()[0],
            self.divergence_line(),
            self.verdict(),
            self.provenance(),
        )

    def tables(self):
        """Rich tables of the stages."""
        stage = self.float_stage
        floats = table_of(
            f"1. Keras float against integers, {stage.samples:,} samples",
            ("layer",),
            ("Keras spikes", "spikes changed", "of all steps", "wraps", "saturations"),
        )
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
        if any(stage.pulses):
            counts = table_of(
                "Pulses of several steps, float against integers", ("layer",), ("Keras", "integers")
            )
            for name, pulses in zip(self.layers, stage.pulses, strict=True):
                if pulses is not None:
                    counts.add_row(name, *(f"{count:,}" for count in pulses))
            tables.append(counts)
        if stage.decoded_error is not None:
            decoded = table_of(
                "Decoded outputs, float against integers", (), ("root mean square difference",)
            )
            decoded.add_row(f"{stage.decoded_error:.2%}")
            tables.append(decoded)
        if stage.float_accuracy is not None:
            accuracy = table_of("Accuracy", (), ("Keras float", "integers"))
            scores = [stage.float_accuracy, stage.integer_accuracy]
            for lava in self.lava:
                accuracy.add_column(f"Lava {lava.mode} ({lava.samples:,})", justify="right")
                scores.append(lava.accuracy)
            accuracy.add_row(*(f"{score:.2%}" for score in scores))
            tables.append(accuracy)
        if self.lava:
            lava = table_of(
                "2., 3. Integers against Lava's CPU simulator",
                ("mode",),
                (
                    "samples",
                    "spikes compared",
                    "differ",
                    "final states compared",
                    "differ",
                    "seconds",
                ),
            )
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

    def divergence_line(self):
        """A sentence: where Keras and the integers first diverge."""
        first = self.float_stage.first
        if first is None:
            return "Keras and the integers agree on every spike."
        return f"First divergence of Keras and the integers: {first}."

    def caption(self):
        """What the rasters show."""
        return (
            f"Spikes of sample {self.example.sample}, in Keras and in the integers. "
            "Red: in one and not in the other."
        )

    def provenance(self):
        """What ran on what, and which network."""
        processes = "".join(
            f" In mode {stage.mode} {self._names_of(stage, False)}ran on Lava's own processes, "
            f"{self._names_of(stage, True)}on ours."
            for stage in self.lava
        )
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return f"{self.hardware()}{processes} Network {self.network[:16]}. {versions}."

    def _names_of(self, stage, ours):
        names = [f"'{name}'" for name in self.layers if (name in stage.ours) == ours]
        if len(names) == len(self.layers):
            return "all layers "
        return f"{', '.join(names) or 'no layer'} "
