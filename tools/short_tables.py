"""Short tables of what is measured elsewhere, for the pages of the models and for the README.

    python -m tools.short_tables

Each model's page gets its paper's numbers beside ours, that of LIF tables of networks besides, the
README a few numbers and the benchmarks in short, between lines such as `<!-- numbers: begin -->`
and `<!-- numbers: end -->`. They come from the records that `examples.reproductions` shows, those
of the adaptive LSTM, and the JSON files of `benchmarks`. README and start page get the certificate
of the demo, the page of export what integers change and what training in them gives: their
`results.json` are kept in `examples/results`, as `quickstart.json`, `plain_export.json` and
`quantization_aware-PRESET-SEED.json`.
"""

import argparse
import json
from pathlib import Path

from benchmarks import report as benchmark_report
from benchmarks.analysis import rows_of
from examples import experiment, plain_export, quantization_aware, reproductions
from examples.adaptive_lstm import records, report
from examples.inherent_recurrence import networks
from examples.reproductions import named

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- {}: begin -->", "<!-- {}: end -->"
DEMO = ROOT / "examples" / "results" / "quickstart.json"
AWARE = ("full", "small")  # presets
# The models of the tables of plain export.
PLAIN = {
    "plain-lif": plain_export.LIFS,
    "plain-conv": plain_export.CONVOLUTIONS,
    "plain-own": plain_export.OURS,
}
HEADINGS = ("Experiment", "Published", "Here", "Beside it")
# The README shows two experiments of a paper with a published number, these first.
SHORT = (
    "Synthetic events of MNIST",
    "Summaries of Debian's package descriptions (en), ROUGE-1 / 2 / L",
    "Table 1, phones of synthetic speech, 256 units: improved v1, 6 bits",
    "Table 1, phones of synthetic speech, 256 units: improved v2, 6 bits",
    "Sequential MNIST",
    "Spoken digits, 8 steps of 42 features",
    "MNIST, rate code, 1 layer",
    "Fashion-MNIST, rate code, 1 layer",
)
# The paper of each page. Of that of RLIF and LIF-LSTM the latter has the summaries.
PAPERS = {
    "rlif": "000",
    "conv_rlif2d": "000",
    "lif_lstm": "000",
    "lif": "002",
    "spiking_lstm": "003",
    "src": "004",
}
# Names of the records of seed 0 that the page of LIF shows.
RECURRENT = (
    "table-vowels-reduced",
    "speech-synthetic-reduced",
    "speech-synthetic-wide",
    "table-digits-reduced",
)
# What the benchmarks of the README compare with, and the names of it in `benchmarks.subjects`.
PEERS = (
    ("matrix products alone", ("products",)),
    ("Keras' loop, same cell", ("cell",)),
    ("Keras' LSTM or GRU", ("keras_lstm", "keras_gru")),
    ("snnTorch", ("snntorch",)),
)
TITLES = {
    "000": "[RLIF, LIF-LSTM](docs/models/rlif.md)",
    "001": "[Adaptive LSTM](docs/models/adaptive_lstm.md)",
    "002": "[GatedLIF](docs/models/lif.md)",
    "003": "[Spiking LSTM](docs/models/spiking_lstm.md)",
    "004": "[SRC](docs/models/src.md)",
}


def markdown(lines):
    """A Markdown table; the first of the lines are the headings."""
    lines = [lines[0], ("---",) * len(lines[0]), *lines[1:]]
    cells = [[(cell or "–").replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def rows(folders=None):
    """The rows of all records, in the order of the papers."""
    return [row for _, record in reproductions.found(folders) for row in record["rows"]]


def of_page(page, found):
    """The rows of the paper of a page that are about its layer."""
    of_it = [row for row in found if row["paper"] == PAPERS[page]]
    if PAPERS[page] != "000":
        return of_it
    return [row for row in of_it if ("Summaries" in row["what"]) == (page == "lif_lstm")]


def of_paper(of_it):
    """The table of the rows of a paper."""
    if not of_it:
        return "No experiment of this paper has a record."
    return markdown(
        [HEADINGS] + [(named(row), row["published"], row["ours"], row["beside"]) for row in of_it]
    )


def adaptive():
    """Of each task of the adaptive LSTM: task, published and our shares of networks."""
    found, lines = records.load(records.RESULTS), []
    for task, title in records.TASKS.items():
        converged, _, spiking, _, _ = report.PAPER[task]
        ours = report.row(found[task, "refitted"])
        lines.append(
            (
                title,
                f"{converged:.0%} converged, {spiking:.0%} with spikes",
                f"{ours[1]} converged, {ours[3]} with spikes",
            )
        )
    return lines


def short(found):
    """The table of the README."""
    lines = [("Model", "Experiment", "Published", "Here", "Beside it")]
    for paper, title in TITLES.items():
        if paper == "001":
            lines += [(title, *line, "") for line in adaptive()[:1]]
            continue
        of_it = [row for row in found if row["paper"] == paper and row["published"]]
        of_it.sort(key=lambda row: row["what"] not in SHORT)
        lines += [
            (title, named(row), row["published"], row["ours"], row["beside"]) for row in of_it[:2]
        ]
    return markdown(lines)


def speed():
    """The table of the README: milliseconds of a training step, and those of others by ours."""
    contents = benchmark_report.of_kind(
        benchmark_report.load(ROOT / "benchmarks" / "results"), "training"
    )
    lines = [("Model", "ms", *(title for title, _ in PEERS))]
    for content in contents:
        found = {row.peer: row for row in rows_of(content)}
        ours = next(iter(found.values())).ours.median
        ratios = []
        for _, peers in PEERS:
            there = [found[peer] for peer in peers if peer in found]
            ratios.append(f"{1 / there[0].ratio.median:.2f}" if there else "")
        lines.append((content["title"], f"{ours:.1f}", *ratios))
    return markdown(lines)


def certificate(record):
    """What the demo has found: its digits, accuracies, and all spikes and states compared."""
    parity, found = record["parity"], record["parity"]["float_stage"]
    stock, batched = parity["lava"]
    changed = [
        f"{100 * wrong / spikes:.1f} % ({layer})"
        for wrong, spikes, layer in zip(
            found["mismatches"], found["float_spikes"], parity["layers"], strict=True
        )
    ]
    accuracies = [found["float_accuracy"], found["integer_accuracy"]]
    accuracies += [mode["accuracy"] for mode in (stock, batched)]
    compared = [
        f"{mode['spike_mismatches'] + mode['state_mismatches']:,} of "
        f"{mode['spikes_compared'] + mode['states_compared']:,}"
        for mode in (stock, batched)
    ]
    samples = [f"{each['samples']:,}" for each in (found, found, stock, batched)]
    table = markdown(
        [
            ("`make demo`", "Keras float", "integers", "Lava, own processes", "Lava, batched"),
            ("test digits", *samples),
            ("accuracy", *(f"{100 * accuracy:.1f} %" for accuracy in accuracies)),
            ("spikes changed by quantization", "", ", ".join(changed), "", ""),
            ("spikes and final states that differ from the integers", "", "", *compared),
        ]
    )
    first = found["first"]
    return (
        f"{table}\n\nThe first spike that quantization changes: Keras' membrane was at "
        f"{first['membrane']:.4f}, with a threshold of {first['threshold']:g}."
    )


def recurrent(record):
    """Table 1 of paper 002: a line for each network, with a column of accuracy for each precision.

    Weights, zeros and multiplications of spiking networks are those with the paper's bits.
    """
    numbers = record["numbers"]
    measured = {key.split("-")[1] for key in numbers}
    precisions = [bits for bits in map(str, networks.EIGHTH) if bits in measured]
    shown = [networks.precision(bits) for bits in precisions]
    lines = [("Network", *shown, "weights", "outputs of 0", "multiplications a step", "of GRU's")]
    gru = numbers["gru-full"]["multiplications"]
    for neuron, title in networks.TITLES.items():
        found = {bits: numbers.get(f"{neuron}-{bits}") for bits in precisions}
        of_paper = found["full" if neuron in networks.ANALOG else str(networks.PAPER_BITS)]
        lines.append(
            (
                title,
                *(each and networks.told(each) for each in found.values()),
                f"{of_paper['parameters']:,.0f}",
                experiment.percent(of_paper["zeros"]),
                f"{of_paper['multiplications']:,.0f}",
                f"1 / {gru / of_paper['multiplications']:.1f}",
            )
        )
    return markdown(lines)


def aware(runs):
    """What training in integers gives, a line for each model and stage, with a number of each seed.

    Args:
        runs: List of the contents of `results.json`, of the same models.
    """
    lines = [("Model", "Trained", *quantization_aware.HEADINGS.values())]
    for rows in zip(*(run["rows"] for run in runs), strict=True):
        for stage, trained in quantization_aware.STAGES.items():
            found = (
                ", ".join(f"{100 * row[stage][key]:.1f}" for row in rows) + " %"
                for key in quantization_aware.HEADINGS
            )
            lines.append((rows[0]["model"], trained, *found))
    return markdown(lines)


def of_models(found):
    """The tables of the pages of models, from the rows of all records."""
    pages = ROOT / "docs/models"
    tables = {(pages / f"{page}.md", "numbers"): of_paper(of_page(page, found)) for page in PAPERS}
    tables[pages / "adaptive_lstm.md", "numbers"] = markdown([HEADINGS[:3], *adaptive()])
    of_paper_002 = experiment.load(ROOT / "examples/inherent_recurrence/results")
    for name in RECURRENT:
        tables[pages / "lif.md", name] = recurrent(of_paper_002[f"{name}-0"])
    return tables


def of_export():
    """The tables of the page of export."""
    page, kept, tables = ROOT / "docs/export.md", experiment.load(DEMO.parent), {}
    for preset in AWARE:
        of_preset = f"quantization_aware-{preset}-"
        runs = [run for name, run in kept.items() if name.startswith(of_preset)]
        tables[page, f"aware-{preset}"] = aware(runs)
    for name, models in PLAIN.items():
        found = [row for row in kept["plain_export"]["rows"] if row["model"] in models]
        tables[page, name] = markdown(plain_export.lines(found))
    return tables


def texts():
    """The text for each page and each name of marks."""
    found = rows()
    tables = of_models(found) | of_export()
    tables[ROOT / "README.md", "numbers"] = short(found)
    tables[ROOT / "README.md", "benchmarks"] = speed()
    demo = certificate(json.loads(DEMO.read_text(encoding="utf-8")))
    for page in ("README.md", "docs/index.md"):
        tables[ROOT / page, "certificate"] = demo
    return tables


def put(page, name, text):
    """Writes a text between the marks of a name in a page.

    Raises:
        ValueError: If the page has no such lines.
    """
    begin, end = BEGIN.format(name), END.format(name)
    content = page.read_text(encoding="utf-8")
    if begin not in content or end not in content:
        raise ValueError(f"{page} has no lines {begin} and {end} between which to write.")
    before, rest = content.split(begin)
    _, after = rest.split(end)
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")


def main(arguments=None):
    """Writes the tables into their pages."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args(arguments)
    for (page, name), text in texts().items():
        put(page, name, text)


if __name__ == "__main__":
    main()
