"""Puts the results of four papers beside ours: the tables of docs/reproductions.md.

    python -m examples.reproductions

Replaces what is between the two lines that mark them. With --print it only shows the tables.
"""

import argparse
import itertools
import os
from pathlib import Path

from examples import experiment

FOLDERS = [
    Path(__file__).parent / name / "results"
    for name in ("rlif", "inherent_recurrence", "spiking_lstm", "src")
]
PAGE = Path(__file__).parents[1] / "docs" / "reproductions.md"
PAPERS = {
    "000": "Paper 000: RLIF, ConvRLIF2D and the LIF-LSTM",
    "002": "Paper 002: LIF and GatedLIF",
    "003": "Paper 003: the spiking LSTM",
    "004": "Paper 004: SRC",
}
SAME = "″"
# The seed is in the command.
HEADINGS = ("Experiment", "Published", "Here", "Beside it", "Protocol", "Command", "Minutes")
SHOWN = ("what", "published", "ours", "beside", "protocol")


def found(folders=None):
    """The records that have rows, each after its folder: a list of pairs.

    They are in the order of the papers, and of each paper those of networks on the chip come last.
    """
    folders = FOLDERS if folders is None else folders
    named = [
        (name, folder, record)
        for folder in folders
        for name, record in experiment.load(folder).items()
        if record["rows"]
    ]
    # `sort` keeps the order of the names otherwise.
    named.sort(key=lambda each: (paper_of(each[2]), each[0].startswith("chip")))
    return [(folder, record) for _, folder, record in named]


def paper_of(record):
    """The number of a record's paper."""
    return record["rows"][0]["paper"]


def named(row):
    """The name of an experiment, with the word that a number of synthetic data needs."""
    synthetic = "synthetic" in row.get("protocol", "") and "synthetic" not in row["what"].lower()
    return row["what"] + (" (synthetic data)" if synthetic else "")


def tables(pairs, page):
    """A Markdown table for each paper, under a heading, of what `found` gives."""
    return "\n\n".join(
        f"### {PAPERS.get(paper, f'Paper {paper}')}\n\n{table(of_it, page)}"
        for paper, of_it in itertools.groupby(pairs, key=lambda pair: paper_of(pair[1]))
    )


def table(pairs, page):
    """The Markdown table of records, a line for each of their rows.

    What all rows of a record share is in the first, the protocol if it is the same: `SAME` stands
    for it in the others.

    Args:
        pairs: Folders and records, as `found` gives them.
        page: The page that the table is for, from which links to reports are relative.
    """
    lines = [HEADINGS, ("---",) * len(HEADINGS)]
    for folder, record in pairs:
        common = (f"`{record['command']}`", f"{record['seconds'] / 60:.1f}")
        protocol = None
        for row in record["rows"]:
            shown = {**row, "what": named(row)}
            if row.get("report"):
                link = Path(os.path.relpath(Path(folder) / row["report"], page.parent)).as_posix()
                shown["ours"] += f" ([report]({link}))"
            texts = [shown[key] or "–" for key in SHOWN]
            if row["protocol"] and row["protocol"] == protocol:
                texts[-1] = SAME
            protocol = row["protocol"]
            lines.append((*texts, *common))
            common = (SAME,) * len(common)
    rows = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, nargs="+", default=FOLDERS, metavar="DIR")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--print", action="store_true", help="show them, write nothing")
    given = parser.parse_args(arguments)
    pairs = found(given.results)
    if not pairs:
        parser.error(f"There are no records with rows in {', '.join(map(str, given.results))}.")
    if given.print:
        print(tables(pairs, given.page))
        return
    experiment.between_marks(given.page, tables(pairs, given.page))


if __name__ == "__main__":
    main()
