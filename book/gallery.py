"""Figures of notebooks for pages without code, and verdicts in their prose.

A page names a figure as `_generated/NAME.png`, after the name that its cell has in the notebook, and writes
{verdict}`ID` or {ours}`ID` for what became of a claim; both are filled in when the book is built.
"""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence

from nbformat import NotebookNode
from scoreboard import mark

from symlib.claims import Verdict, unbroken


def pictures(pages: Iterable[str], notebooks: Iterable[NotebookNode]) -> dict[str, bytes]:
    """Return the figures that pages ask for: file name -> PNG.

    Raises:
        ValueError: If no notebook has one of them.
    """
    drawn = {name: cell for notebook in notebooks for cell in notebook.cells if (name := _name(cell))}
    wanted = {name for page in pages for name in re.findall(r"_generated/(fig-[\w-]+)\.png", page)}
    if missing := wanted - drawn.keys():
        raise ValueError(f"no notebook has a figure named {', '.join(sorted(missing))}")
    return {f"{name}.png": _png(drawn[name]) for name in sorted(wanted)}


def _name(cell: NotebookNode) -> str:
    return cell.metadata.get("mystnb", {}).get("figure", {}).get("name", "")


def _png(cell: NotebookNode) -> bytes:
    data = next(output.data for output in cell.outputs if "image/png" in output.get("data", {}))
    return base64.b64decode(data["image/png"])


def with_verdicts(page: str, verdicts: Sequence[Verdict]) -> str:
    """Return a page with the verdicts and numbers that it asks for.

    Raises:
        ValueError: If it asks for a claim that does not exist.
    """
    known = {v.claim.id: v for v in verdicts}
    return re.sub(r"\{(verdict|ours)\}`([^`]+)`", lambda match: _said(match[1], match[2], known), page)


def _said(role: str, id: str, known: Mapping[str, Verdict]) -> str:
    if id not in known:
        raise ValueError(f"a page asks for the claim {id!r}, which is not in claims.toml")
    verdict = known[id]
    if role == "ours":
        return unbroken(verdict.ours)
    return mark(verdict.word, verdict.word)
