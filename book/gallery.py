"""Figures of notebooks for pages without code, and verdicts in their prose.

A page names a figure as `_generated/NAME.png`, after the name that its cell has in the notebook. It writes
{verdict}`ID`, {ours}`ID`, {paper}`ID` or {p}`ID` for what became of a claim, and {reading}`ARCHITECTURE: CONTROL` for
what a control says of missing symmetry; all are filled in when the book is built.
"""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd
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


def said(verdicts: Sequence[Verdict], readings: pd.DataFrame) -> dict[str, str]:
    """Return what pages can ask for: role and name -> text.

    Args:
        verdicts: On all claims.
        readings: Columns architecture, variant, verdict.
    """
    words = {f"{{verdict}}`{v.claim.id}`": mark(v.word, v.word) for v in verdicts}
    numbers = {
        f"{{{role}}}`{v.claim.id}`": unbroken(number)
        for v in verdicts
        for role, number in (("ours", v.ours), ("paper", v.claim.printed), ("p", v.p))
    }
    controls = {f"{{reading}}`{r.architecture}: {r.variant}`": f"*{r.verdict}*" for r in readings.itertuples()}
    return words | numbers | controls


def filled(page: str, known: Mapping[str, str]) -> str:
    """Return a page with the verdicts and numbers that it asks for.

    Raises:
        ValueError: If it asks for one that does not exist.
    """
    asked = set(re.findall(r"\{(?:verdict|ours|paper|p|reading)\}`[^`]+`", page))
    if unknown := asked - known.keys():
        raise ValueError(
            f"a page asks for {', '.join(sorted(unknown))}: no such claim in claims.toml, or no record yet"
        )
    for one in asked:
        page = page.replace(one, known[one])
    return page
