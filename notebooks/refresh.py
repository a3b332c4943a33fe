"""Write the cells of a notebook's `.py` twin and their fresh outputs into its `.ipynb`: `refresh.py NOTEBOOK ...`.

Cell names are numbered and timings left out, so that a difference between two versions is a difference in content.
"""

import os
import sys
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

from symlib import sources

FOLDER = Path(__file__).parent
os.environ.setdefault("OMP_NUM_THREADS", "1")  # as in the Makefile


def refresh(name: str) -> None:
    """Run the twin as it is, in quick profile, and replace the notebook."""
    notebook = jupytext.read(FOLDER / f"{name}.py")
    for i, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{i}"
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], "sources": sources.key(name)}
    NotebookClient(notebook, resources={"metadata": {"path": FOLDER}}, record_timing=False).execute()
    nbformat.write(notebook, FOLDER / f"{name}.ipynb")


if __name__ == "__main__":
    known = sorted(path.stem for path in FOLDER.glob("*.py") if path.read_text().startswith("# ---"))
    unknown = set(sys.argv[1:]) - set(known)
    if len(sys.argv) < 2 or unknown:
        sys.exit(f"name one or more notebooks of {', '.join(known)}" + (f", not {', '.join(unknown)}" * bool(unknown)))
    for notebook in sys.argv[1:]:
        refresh(notebook)
