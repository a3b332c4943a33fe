"""The scoreboard's table, and its counts by source and by page, as HTML.

`_static/scoreboard.js` lets readers choose among the rows.
"""

import re
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path

import nbformat
from commands import command
from nbformat import NotebookNode

from symlib.claims import PROFILES, VERDICTS, Verdict, p_text, unbroken

MARKS = dict(zip(VERDICTS, ("✓", "◐", "✗", "–"), strict=True))
SOURCES = {
    "A": "paper A: Neuron identifiability",
    "B": "paper B: Asymmetric networks",
    "own": "statements of this companion",
}
PLACES = {"sec": "Section", "fig": "Figure", "prop": "Proposition", "lmc": "Connectivity", "tradeoff": "Trade-off"}
OWN = " (this companion's)"
COLUMNS = ("claim", "verdict", "profile", "n", "ours", "paper", "p", "evidence")


def page(verdicts: Sequence[Verdict]) -> str:
    """Return what the scoreboard's page includes."""
    head = "".join(f'<th scope="col">{name}</th>' for name in COLUMNS)
    body = "\n".join(_row(v) for v in verdicts)
    return _raw(
        f"{_filters(verdicts)}\n"
        '<div class="scoreboard-table" tabindex="0" role="region" aria-label="All claims with their verdicts">\n'
        # The cards of narrow screens are no table to a browser, so what they are is said.
        f'<table class="table scoreboard" role="table"><thead><tr>{head}</tr></thead>\n'
        f'<tbody role="rowgroup">\n{body}\n</tbody></table></div>'
    )


def counts(verdicts: Sequence[Verdict]) -> str:
    """Return the number of claims by source and verdict, for the front page."""
    rows = []
    for source, title in SOURCES.items():
        mine = [v for v in verdicts if _source(v) == source]
        tally = Counter(v.word for v in mine)
        cells = "".join(f'<td><span class="verdict {_css(word)}">{tally[word]}</span></td>' for word in VERDICTS)
        rows.append(f'<tr><th scope="row">{title}</th>{cells}<td>{len(mine)}</td></tr>')
    head = "".join(f'<th scope="col">{MARKS[word]} <span class="word">{word}</span></th>' for word in VERDICTS)
    return _raw(
        '<div class="scoreboard-table" tabindex="0" role="region" aria-label="Claims by source and verdict">\n'
        f'<table class="table verdict-counts"><thead><tr><td></td>{head}<th scope="col">claims</th></tr></thead>\n'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def headed(page: NotebookNode, name: str, verdicts: Sequence[Verdict]) -> NotebookNode:
    """Return a page with the number of its claims by verdict below its title, if it has any.

    Args:
        page: Notebook that begins with its title.
        name: Of its file, without ending.
        verdicts: On all claims.
    """
    tally = Counter(v.word for v in verdicts if _page(v) == name)
    if not tally:
        return page
    marks = " ".join(mark(word, f"{tally[word]} {word}") for word in VERDICTS if tally[word])
    rows = f'<a href="../book/scoreboard.html#page={name}">on the scoreboard</a>'
    told = f'<p class="claims-here">Claims of this page, {rows}: {marks}</p>'
    first, *rest = page.cells
    title, _, text = first.source.partition("\n")
    return nbformat.from_dict(page | {"cells": [first | {"source": f"{title}\n\n{told}\n{text}"}, *rest]})


def _raw(html: str) -> str:
    return f"```{{raw}} html\n{html}\n```\n"


def _filters(verdicts: Sequence[Verdict]) -> str:
    """Return the choices; hidden until the script that makes them work shows them."""
    choices = {
        "source": list(SOURCES.items()),
        "section": [(s, s) for s in dict.fromkeys(_section(v) for v in verdicts)],
        "verdict": [(word, word) for word in VERDICTS],
        "profile": [(name, name) for name in PROFILES if any(v.profile == name for v in verdicts)],
        "page": [(name, name.replace("_", " ")) for name in sorted({_page(v) for v in verdicts})],
    }
    selects = "".join(
        f'<label>{name} <select data-filter="{name}"><option value="">all</option>'
        + "".join(f'<option value="{escape(value)}">{escape(label)}</option>' for value, label in options)
        + "</select></label>"
        for name, options in choices.items()
    )
    words = '<label>words <input type="search" data-filter="words" placeholder="ResNet"></label>'
    told = f'<p id="scoreboard-count" role="status">{len(verdicts)} claims</p>'
    return f'<form class="scoreboard-filters" hidden>{selects}{words}</form>\n{told}'


def _row(verdict: Verdict) -> str:
    claim = verdict.claim
    page_link = f"../{claim.page.removesuffix('.ipynb').removesuffix('.md')}.html"
    cells = [
        f'<a href="{page_link}">{escape(claim.statement)}</a><br><code>{escape(claim.id)}</code>{OWN * claim.own}',
        mark(verdict.word, verdict.word),
        verdict.profile,
        str(verdict.n),
        escape(unbroken(verdict.ours)),
        escape(unbroken(claim.printed)),
        _tests(verdict),
        _evidence(verdict),
    ]
    data = {
        "source": _source(verdict),
        "section": _section(verdict),
        "verdict": verdict.word,
        "profile": verdict.profile,
        "page": _page(verdict),
    }
    attributes = "".join(f' data-{key}="{escape(value)}"' for key, value in data.items())
    # Told beside each cell where a narrow screen has no room for columns.
    labelled = "".join(
        f'<td role="cell" data-label="{label}">{cell}</td>' for label, cell in zip(COLUMNS, cells, strict=True)
    )
    return f'<tr role="row"{attributes}>{labelled}</tr>'


def _tests(verdict: Verdict) -> str:
    """Return the p-value that decides, over all comparisons with theirs."""
    lines = "".join(f"<li>{escape(what)}: {escape(p_text(p))}</li>" for what, p in verdict.tests.items())
    p = escape(unbroken(verdict.p))
    return f"<details><summary>{p}</summary><ul>{lines}</ul></details>" if lines else p


def _evidence(verdict: Verdict) -> str:
    if verdict.record is None:
        return "no record yet"
    folder = verdict.record.folder
    place = f"../_static/results/{folder.parent.name}/{folder.name}"
    return (
        f'<a href="{place}/table.csv">table</a>, <a href="{place}/record.json">record</a>'
        f"<details><summary>run again</summary><code>{escape(command(verdict.record))}</code></details>"
    )


def _source(verdict: Verdict) -> str:
    return "own" if verdict.claim.own else verdict.claim.id.split(":")[0]


def _page(verdict: Verdict) -> str:
    return Path(verdict.claim.page).stem


def _section(verdict: Verdict) -> str:
    """Return where in its paper a claim stands, "B Table 1" of "B:table1:...", say."""
    paper, place, _ = verdict.claim.id.split(":")
    word, number = re.fullmatch(r"([a-z]+)([\dA-Z.]*)", place).groups()
    return f"{paper} {PLACES.get(word, word.capitalize())} {number}".strip()


def mark(word: str, text: str) -> str:
    """Return a text with the sign and the colour of a verdict."""
    return f'<span class="verdict {_css(word)}">{MARKS[word]} {text}</span>'


def _css(word: str) -> str:
    return word.replace(" ", "-")
