"""Runs the notebooks of the documentation and keeps what they show.

    python -m tools.notebooks [NAME ...]

Without names it runs all of docs/tutorials/.
"""

import argparse
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "docs" / "tutorials"


def run(path, folder):
    """The notebook at `path` after a run of all of its cells in `folder`.

    Raises:
        nbclient.exceptions.CellExecutionError: If a cell raises.
    """
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook,
        timeout=600,
        startup_timeout=300,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    ).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = tidied(cell.outputs)
    # The version of Python is that of the kernel.
    notebook.metadata.language_info = {"name": "python"}
    return notebook


def tidied(outputs):
    """Outputs without what libraries log, which differs from machine to machine; prints in one."""
    kept = []
    for output in outputs:
        if output.get("name") == "stderr":
            continue
        if kept and output.get("name") == kept[-1].get("name") == "stdout":
            kept[-1].text += output.text
        else:
            kept.append(output)
    return kept


def main(arguments=None):
    """Runs notebooks and writes them, with their outputs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="notebooks, without .ipynb")
    names = parser.parse_args(arguments).names or sorted(p.stem for p in FOLDER.glob("*.ipynb"))
    for name in names:
        path = FOLDER / f"{name}.ipynb"
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(run(path, folder), path)
        print(f"{path.name} has new outputs.")


if __name__ == "__main__":
    main()
