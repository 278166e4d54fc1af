"""The programs that bring trained networks onto the chip: what they need, and what they leave."""

import sys

import pytest

from examples import experiment, reproductions
from examples.inherent_recurrence import chip as inherent_recurrence
from examples.on_chip import require
from examples.rlif import chip as rlif
from examples.spiking_lstm import chip, chip_periodic, chip_speech, chip_text
from examples.src import chip as src

lava = pytest.importorskip("lava_export.lava", reason="needs Python 3.10 and lava-nc 0.10.0")

PROGRAMS = (inherent_recurrence, rlif, chip, chip_periodic, chip_speech, chip_text, src)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_without_lava_nothing_is_trained(program, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "lava_export.lava")
    monkeypatch.setattr(lava.install, "installed_version", lambda: None)
    with pytest.raises(ImportError, match=r'pip install "keras-spiking-rnn\[lava\]"'):
        program.main(["--preset", "quick", "--output", str(tmp_path / "runs")])
    assert not (tmp_path / "runs").exists()


def test_without_matplotlib_there_is_no_page(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'keras-spiking-rnn\[viz\]'"):
        require()


@pytest.mark.parametrize(
    "folder, record",
    [
        pytest.param(folder, record, id=f"{folder.parent.name}-{name}")
        for folder in reproductions.FOLDERS
        for name, record in experiment.load(folder).items()
        if name.startswith("chip")
    ],
)
def test_the_page_of_a_record_says_the_same(folder, record):
    numbers = record["numbers"]
    networks = [numbers] if "report" in numbers else numbers.values()
    table = reproductions.PAGE.read_text(encoding="utf-8")
    for found, row in zip(networks, record["rows"], strict=True):
        assert row["report"] == found["report"]
        assert f"([report](../examples/{folder.parent.name}/results/{found['report']}))" in table
        page = (folder / found["report"]).read_text(encoding="utf-8")
        assert found["mismatches"] == 0
        assert "equals the integer reference on every spike of every layer" in page
        assert f"in mode batched ({found['lava_samples']:,} samples)" in page
        spikes = page.partition("<h3>Spikes and synaptic operations")[2].partition("</table>")[0]
        rows = [line.split("</td>") for line in spikes.split("<tr>")[2:]]
        counted = sum(float(cells[1].removeprefix("<td>").replace(",", "")) for cells in rows)
        assert counted == pytest.approx(found["spikes"], abs=0.06 * len(rows))
        if 0 <= found["lava"] <= 1 and "<h3>Accuracy" in page:
            assert f"<td>{found['lava']:.2%}</td>" in page
        else:
            assert "perplexity" in row["what"].lower() or "error" in row["what"]
