"""The notebooks of the documentation run from beginning to end, and keep their outputs."""

import os

import nbformat
import pytest

from tools import notebooks

PATHS = sorted(notebooks.FOLDER.glob("*.ipynb"))


def shown(cell):
    """What kinds of output a code cell has."""
    return {output.get("name") or tuple(sorted(output["data"])) for output in cell.outputs}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_run_shows_what_the_notebook_keeps(path, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(notebooks.FOLDER.parents[1]), prepend=os.pathsep)
    kept = nbformat.read(path, as_version=4)
    run = notebooks.run(path, tmp_path)
    for before, after in zip(kept.cells, run.cells, strict=True):
        if before.cell_type == "code":
            assert shown(before) == shown(after), before.source


def test_there_are_three_with_pictures():
    assert len(PATHS) == 3
    for path in PATHS:
        cells = nbformat.read(path, as_version=4).cells
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        assert any("image/png" in output.get("data", {}) for output in outputs), path.name
        assert not any(output.output_type == "error" for output in outputs), path.name
