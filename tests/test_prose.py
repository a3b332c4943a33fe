"""Results on pages come from records: no number with a spread, and no percentage, is typed into them."""

import re

import jupytext
import pytest

from symlib.records import ROOT

TYPED = re.compile(
    r"\d\s*(±|\+-|\\pm)\s*\d|\b(we|ours|here)\b[^.|]{0,60}\b(got|get|found|find|measured?)\b[^.|]{0,40}\d+\.\d", re.I
)
PAGES = sorted((ROOT / "book").glob("*.md"))
NOTEBOOKS = sorted(p for p in (ROOT / "notebooks").glob("*.py") if p.read_text().startswith("# ---"))


def typed(text):
    return [match[0] for match in TYPED.finditer(text)]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_pages_have_no_typed_results(page):
    assert typed(page.read_text()) == []


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_have_no_typed_results(notebook):
    cells = [cell.source for cell in jupytext.read(notebook).cells if cell.cell_type == "markdown"]
    assert [found for cell in cells for found in typed(cell)] == []


def test_typed_results_are_seen():
    assert typed("the barrier is 0.19 ± 0.04") and typed("Here we found a barrier of 0.19 nats")
    assert not typed("{ours}`B:table1:mlp-standard` nats, where the paper has .117")
