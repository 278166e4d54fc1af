"""The tables in the pages of the models and in the README are those of the records."""

import json

import pytest

from benchmarks.analysis import Row, Spread
from examples import plain_export, quantization_aware, reproductions
from tools import short_tables

TEXTS = short_tables.texts()


@pytest.mark.parametrize("page, name", TEXTS, ids=lambda part: getattr(part, "stem", part))
def test_the_page_shows_what_was_recorded(page, name):
    """`python -m tools.short_tables` writes them."""
    assert TEXTS[page, name] in page.read_text(encoding="utf-8")


def test_times_of_others_are_relative_to_ours(monkeypatch):
    """A ratio of ours to theirs of a half is 2: they take twice as long."""
    half = Row("RLIF", "cell", "cell", *[Spread(3, 3, 3)] * 2, Spread(0.5, 0.5, 0.5), *[None] * 4)
    monkeypatch.setattr(short_tables, "rows_of", lambda content: [half])
    assert "| 3.0 | – | 2.00 | – | – |" in short_tables.speed()


def test_a_paper_without_records_says_so():
    assert short_tables.of_paper([]) == "No experiment of this paper has a record."


def test_a_row_has_what_was_published_and_what_was_found():
    row = {"paper": "000", "what": "Digits", "published": "", "ours": "93 %", "beside": "LSTM 95 %"}
    assert short_tables.of_paper([row]).splitlines()[-1] == ("| Digits | – | 93 % | LSTM 95 % |")


def test_summaries_are_those_of_lif_lstm_and_all_else_is_of_rlif():
    found = [
        {"paper": paper, "what": what} for paper in ("000", "003") for what in ("a", "Summaries")
    ]
    pages = {page: short_tables.of_page(page, found) for page in short_tables.PAPERS}
    assert pages["rlif"] == pages["conv_rlif2d"] == found[:1]
    assert pages["lif_lstm"] == found[1:2]
    assert pages["spiking_lstm"] == found[2:]


def test_the_certificate_says_what_the_demo_has_found():
    """Of the record: percents of spikes, and sums of spikes and states, as they differ."""
    record = json.loads(short_tables.DEMO.read_text(encoding="utf-8"))
    lava = record["parity"]["lava"][1]
    lava |= {
        "spikes_compared": 2000,
        "states_compared": 100,
        "spike_mismatches": 7,
        "accuracy": 0.5,
    }
    record["parity"]["float_stage"] |= {"mismatches": [1, 5], "float_spikes": [100, 10]}
    text = short_tables.certificate(record)
    assert "| – | 1.0 % (first), 50.0 % (second) | – | – |" in text
    assert "| 7 of 2,100 |" in text and "| 50.0 % |" in text


def test_training_in_integers_has_a_line_for_each_model_and_stage():
    """Its numbers are those of each run, in percent."""
    numbers = dict(zip(quantization_aware.HEADINGS, (0.9, 0.8, 0.7, 0.6, 0.05), strict=True))
    stages = dict.fromkeys(quantization_aware.STAGES, numbers)
    better = dict.fromkeys(quantization_aware.STAGES, {**numbers, "keras": 0.95})
    runs = [{"rows": [{"model": "RLIF", **each}]} for each in (stages, better)]
    *_, line = short_tables.aware(runs).splitlines()
    assert line == (
        "| RLIF | longer in integers | 90.0, 95.0 % | 80.0, 80.0 % | 70.0, 70.0 % | 60.0, 60.0 % "
        "| 5.0, 5.0 % |"
    )


def test_each_model_of_plain_export_is_in_one_table():
    recorded = json.loads((short_tables.DEMO.parent / "plain_export.json").read_text())["rows"]
    shown = [model for models in short_tables.PLAIN.values() for model in models]
    assert [row["model"] for row in recorded] == list(plain_export.MODELS) == shown


def test_marks_are_needed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("no marks")
    with pytest.raises(ValueError, match="has no lines <!-- numbers: begin -->"):
        short_tables.put(page, "numbers", "text")
    page.write_text(
        f"a\n{short_tables.BEGIN.format('numbers')}\nold\n{short_tables.END.format('numbers')}\nb\n"
    )
    short_tables.put(page, "numbers", "new")
    assert "new" in page.read_text() and "old" not in page.read_text()


def test_synthetic_data_is_called_so():
    row = {"what": "Saccades", "protocol": "synthetic events of 400 digits"}
    assert reproductions.named(row) == "Saccades (synthetic data)"
    assert reproductions.named({**row, "protocol": "400 digits"}) == "Saccades"
    assert reproductions.named({**row, "what": "Synthetic saccades"}) == "Synthetic saccades"
