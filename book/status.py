"""The status page: when and with what each notebook's outputs were made, and whether they are stale."""

import platform
from collections.abc import Mapping
from importlib.metadata import version

from nbformat import NotebookNode

from symlib import sources
from symlib.records import provenance

SHOWN = ("jupyter-book", "sphinx", "sphinx-book-theme", "myst-nb", "torchvision", "torch-geometric", "matplotlib")


def page(notebooks: Mapping[str, NotebookNode]) -> str:
    """Return what the status page includes, as Markdown.

    Args:
        notebooks: Name -> notebook with its outputs.
    """
    rows = [_row(name, notebook) for name, notebook in sorted(notebooks.items())]
    stale = sum("stale" in row for row in rows)
    told = f"{len(rows)} notebooks, {stale} of them stale." if stale else f"{len(rows)} notebooks, none stale."
    head = "| notebook | outputs | last run | seconds |\n|---|---|---|--:|\n"
    return f"{told}\n\n{head}" + "\n".join(rows) + f"\n\n{_versions()}\n"


def _row(name: str, notebook: NotebookNode) -> str:
    title = next(line[2:] for cell in notebook.cells for line in cell.source.splitlines() if line.startswith("# "))
    run = notebook.metadata.get("papermill", {})
    when, seconds = run.get("start_time", "")[:10] or "-", run.get("duration")
    took = "-" if seconds is None else f"{seconds:.0f}"
    return f"| [{title}](../notebooks/{name}.ipynb) | {state(name, notebook)} | {when} | {took} |"


def state(name: str, notebook: NotebookNode) -> str:
    """Say whether the outputs of a notebook are those of the files at hand.

    Returns:
        "run for this book", "as committed", or "**stale**" if anything they depend on was changed since.
    """
    if "papermill" in notebook.metadata:
        return "run for this book"
    return "as committed" if notebook.metadata.get("sources") == sources.key(name) else "**stale**"


def _versions() -> str:
    about = provenance()
    versions = about["versions"] | {name: version(name).split("+")[0] for name in SHOWN}
    lines = ["| | version |", "|---|---|", *(f"| {name} | {number} |" for name, number in versions.items())]
    return f"Built from commit {about['commit']} on {platform.system()} {platform.machine()}.\n\n" + "\n".join(lines)
