"""The table over all experiments, from records that are made up."""

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
    return [str(tmp_path / "src"), str(tmp_path / "lstm")]


def test_papers_are_in_order_and_their_networks_on_the_chip_last(folders, tmp_path, capsys):
    save(tmp_path / "lstm", "chip", "003", what="On the chip", ours="93 %")
    reproductions.main(["--print", "--results", *folders])
    lines = capsys.readouterr().out.splitlines()
    assert {line.count("|") for line in lines if line.startswith("|")} == {8}
    assert [line for line in lines if line and "Protocol" not in line and "---" not in line] == [
        "### Paper 003: the spiking LSTM",
        "| Digits | – | 94 % | LSTM 96 % | – | `python -m images` | 1.5 |",
        "| On the chip | – | 93 % | – | – | `python -m chip` | 1.5 |",
        "### Paper 004: SRC",
        "| Depth | – | 5 layers | – | – | `python -m depth` | 1.5 |",
    ]


def test_a_row_has_a_link_to_its_report(tmp_path, capsys):
    save(tmp_path / "results", "chip", "004", what="A", ours="93 %", report="chip.html")
    page = tmp_path / "docs" / "page.md"
    reproductions.main(["--print", "--page", str(page), "--results", str(tmp_path / "results")])
    assert "| A | – | 93 % ([report](../results/chip.html)) |" in capsys.readouterr().out


def test_what_the_rows_of_a_record_share_is_in_the_first():
    row = dict.fromkeys(experiment.ROW, "")
    record = {
        "seed": 3,
        "command": "python -m a",
        "seconds": 90,
        "rows": [
            {**row, "what": "A", "protocol": "synthetic events"},
            {**row, "what": "B", "protocol": "synthetic events"},
            {**row, "what": "C", "protocol": "5 digits"},
        ],
    }
    pairs = [("results", record), ("results", record)]
    _, _, *lines = reproductions.table(pairs, reproductions.PAGE).splitlines()
    assert lines[:3] == [
        "| A (synthetic data) | – | – | – | synthetic events | `python -m a` | 1.5 |",
        "| B (synthetic data) | – | – | – | ″ | ″ | ″ |",
        "| C | – | – | – | 5 digits | ″ | ″ |",
    ]
    assert lines[3:] == lines[:3]


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


def test_the_table_is_not_written_from_nothing(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text(f"{experiment.BEGIN}\nold\n{experiment.END}\n")
    with pytest.raises(SystemExit):
        reproductions.main(["--page", str(page), "--results", str(tmp_path / "none")])
    assert "no records with rows in" in capsys.readouterr().err
    assert "old" in page.read_text()


def test_the_page_shows_what_was_recorded(capsys):
    reproductions.main(["--print"])
    table = capsys.readouterr().out.strip()
    assert table in reproductions.PAGE.read_text(encoding="utf-8")
