"""Run the notebooks, and write them with their outputs into build/notebooks."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def executed(path: Path, folder: Path) -> nbformat.NotebookNode:
    """Run a notebook in a folder and return it; an error in a cell is raised here."""
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()
    return notebook


if __name__ == "__main__":
    out = ROOT / "build/notebooks"
    out.mkdir(parents=True, exist_ok=True)
    for path in NOTEBOOKS:
        nbformat.write(executed(path, out), out / path.name)
        print(out / path.name)
