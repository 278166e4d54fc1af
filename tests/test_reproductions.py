"""The table over all experiments, from records that are made up."""

import os
from pathlib import Path

import pytest

from examples import experiment, reproductions


def save(folder, name, paper, **row):
    record = {
        "experiment": name,
        "preset": "reduced",
        "seed": 3,
        "config": {},
        "command": f"python -m {name}",
        "seconds": 90,
        "numbers": {},
        "rows": [{**dict.fromkeys(experiment.ROW, ""), "paper": paper, **row}],
    }
    experiment.save(record, name, folder)


@pytest.fixture
def folders(tmp_path):
    save(tmp_path / "src", "depth", "004", what="Depth", ours="5 layers")
    save(tmp_path / "lstm", "images", "003", what="Digits", ours="94 %", beside="LSTM 96 %")
    save(tmp_path / "lstm", "on_chip", "003", what="On Lava", ours="93 %", report="page.html")
    return [str(tmp_path / "src"), str(tmp_path / "lstm")]


def test_rows_are_in_the_order_of_the_papers(folders, capsys):
    reproductions.main(["--print", "--results", *folders])
    lines = capsys.readouterr().out.splitlines()
    assert len({line.count("|") for line in lines}) == 1
    link = os.path.relpath(Path(folders[1]) / "page.html", reproductions.PAGE.parent)
    report = f"[report]({Path(link).as_posix()})"
    assert lines[2:] == [
        "| 003 | Digits | – | 94 % | LSTM 96 % | – | 3 | `python -m images` | 1.5 |",
        f"| 003 | On Lava | – | 93 % ({report}) | – | – | 3 | `python -m on_chip` | 1.5 |",
        "| 004 | Depth | – | 5 layers | – | – | 3 | `python -m depth` | 1.5 |",
    ]


def test_the_table_is_written_between_the_marks(folders, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{experiment.BEGIN}\nold\n{experiment.END}\nafter\n")
    for _ in range(2):  # the second changes nothing
        reproductions.main(["--page", str(page), "--results", *folders])
        lines = page.read_text().splitlines()
        assert (lines[0], lines[-1]) == ("before", "after")
        assert "old" not in lines and "94 %" in page.read_text()
    page.write_text("no marks")
    with pytest.raises(ValueError, match="has no lines <!-- table: begin -->"):
        reproductions.main(["--page", str(page), "--results", *folders])
    assert page.read_text() == "no marks"


def test_the_page_shows_what_was_recorded(capsys):
    reproductions.main(["--print"])
    table = capsys.readouterr().out.strip()
    assert table in reproductions.PAGE.read_text(encoding="utf-8")
