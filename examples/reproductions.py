"""Puts the results of four papers beside ours: the table of docs/reproductions.md.

    python -m examples.reproductions

Replaces what is between the two lines that mark the table. With --print it only shows the table.
"""

import argparse
import os
from pathlib import Path

from examples import experiment

FOLDERS = [
    Path(__file__).parent / name / "results"
    for name in ("rlif", "inherent_recurrence", "spiking_lstm", "src")
]
PAGE = Path(__file__).parents[1] / "docs" / "reproductions.md"
HEADINGS = (
    "Paper",
    "Experiment",
    "Published",
    "Here",
    "Beside it",
    "Protocol",
    "Seed",
    "Command",
    "Minutes",
)


def table(found, page):
    """The Markdown table of records, a line for each of their rows.

    Args:
        found: Pairs of the folder of a record, and the record.
        page: The page that the table is for, from which links to reports are relative.
    """
    lines = [HEADINGS, ("---",) * len(HEADINGS)]
    for folder, record in found:
        for row in record["rows"]:
            shown = dict(row)
            if row.get("report"):
                link = Path(os.path.relpath(folder / row["report"], page.parent)).as_posix()
                shown["ours"] += f" ([report]({link}))"
            texts = [shown[key] or "–" for key in experiment.ROW]
            minutes = f"{record['seconds'] / 60:.1f}"
            lines.append((*texts, str(record["seed"]), f"`{record['command']}`", minutes))
    rows = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, nargs="+", default=FOLDERS, metavar="DIR")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--print", action="store_true", help="show the table, write nothing")
    given = parser.parse_args(arguments)
    # `sorted` keeps the order of the names within a paper.
    found = [
        (folder, record)
        for folder in given.results
        for record in experiment.load(folder).values()
        if record["rows"]
    ]
    found.sort(key=lambda pair: pair[1]["rows"][0]["paper"])
    if given.print:
        print(table(found, given.page))
        return
    experiment.between_marks(given.page, table(found, given.page))


if __name__ == "__main__":
    main()
