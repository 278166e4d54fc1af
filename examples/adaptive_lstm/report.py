"""Puts the results beside those of the paper: the table of docs/adaptive_lstm.md.

    python -m examples.adaptive_lstm.report

Replaces what is between the two lines that mark the table. With --print it only shows the table.
"""

import argparse
from pathlib import Path

import numpy as np

from examples import experiment
from examples.adaptive_lstm import records

PAGE = Path(__file__).parents[2] / "docs" / "adaptive_lstm.md"
# Table 1: share of converged networks and iterations, share of correct spiking networks, number of
# spikes and rate in Hz.
PAPER = {
    "sequence": (0.95, 2574, 0.95, 7129, 71),
    "noisy-sequence": (0.95, 8732, 0.95, 7114, 71),
    "t-maze": (1.0, 8990, 1.0, 2844, 25),
    "noisy-t-maze": (0.8, 71531, 0.8, 4261, 38),
}
HEADINGS = (
    "Task",
    "Numbers of equation (6)",
    "Networks",
    "Converged",
    "Iterations",
    "Spiking networks correct",
    "Runs correct",
    "Spikes",
    "Rate (Hz)",
)


def row(record):
    """What a record says, in the order of the headings from "Networks" on."""
    networks = record["networks"]
    converged = [network for network in networks if network["converged"]]
    runs = [run for network in converged for run in network["spiking"]]
    correct = [all(run["correct"] for run in network["spiking"]) for network in converged]

    def mean(values, form):
        return format(np.mean(values), form).replace(",", " ") if values else "–"

    return [
        str(len(networks)),
        f"{len(converged) / len(networks):.0%}",
        mean([network["iterations"] for network in converged], ",.0f"),
        f"{sum(correct) / len(networks):.0%}",
        mean([run["correct"] for run in runs], ".1%"),
        mean([run["spikes"] for run in runs], ",.0f"),
        mean([run["rate"] for run in runs], ".0f"),
    ]


def table(found):
    """The Markdown table of the records `found`, by `(task, variant)`."""
    rows = [HEADINGS, ["---"] * 2 + ["---:"] * (len(HEADINGS) - 2)]
    for task, title in records.TASKS.items():
        share, iterations, spiking, spikes, rate = PAPER[task]
        numbers = (
            f"{share:.0%}",
            f"{iterations:,}",
            f"{spiking:.0%}",
            "–",
            f"{spikes:,}",
            str(rate),
        )
        rows.append([title, "*paper*", "20", *(text.replace(",", " ") for text in numbers)])
        rows += [
            ["", variant, *row(found[task, variant])]
            for variant in records.VARIANTS
            if (task, variant) in found
        ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def integers(found):
    """A Markdown list of what came out in integers and on Lava."""
    lines = []
    for (task, _), record in found.items():
        lava = record["lava"]
        if lava:
            lines.append(
                f"- {records.TASKS[task]}: {lava['correct']} of {lava['networks']} networks "
                f"correct in integers; {lava['lava_correct']} of {lava['on_lava']} on Lava, where "
                f"{lava['mismatches']} spikes and states differ from the integers."
            )
    return "\n".join(lines)


def commands(found):
    """A Markdown list of what was typed, and how long it took."""
    lines = {}
    for record in found.values():
        lines.setdefault(record["command"], []).append(sum(record["seconds"].values()))
    return "\n".join(
        f"- `{command}`: {sum(seconds) / 60:.1f} minutes" for command, seconds in lines.items()
    )


def text(found):
    """All that is measured, in Markdown."""
    return "\n\n".join(part for part in (table(found), integers(found), commands(found)) if part)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=records.RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--print", action="store_true", help="show the table, write nothing")
    given = parser.parse_args(arguments)
    found = records.load(given.results)
    if not found:
        parser.error(f"{given.results} has no records. Run the experiments first.")
    presets = {record["preset"] for record in found.values()}
    if len(presets) > 1:
        parser.error(f"{given.results} has records of several presets: {sorted(presets)}.")
    if given.print:
        print(text(found))
        return
    experiment.between_marks(given.page, text(found))


if __name__ == "__main__":
    main()
