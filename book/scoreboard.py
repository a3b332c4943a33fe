"""The scoreboard's table and its counts as HTML; `_static/scoreboard.js` lets readers choose among its rows."""

import re
from collections import Counter
from collections.abc import Sequence
from html import escape

from commands import command

from symlib.claims import PROFILES, VERDICTS, Verdict, unbroken

MARKS = dict(zip(VERDICTS, ("✓", "◐", "✗", "–"), strict=True))
PAPERS = {"A": "Neuron identifiability", "B": "Asymmetric networks"}
PLACES = {"sec": "Section", "fig": "Figure", "prop": "Proposition", "lmc": "Connectivity", "tradeoff": "Trade-off"}
COLUMNS = ("claim", "verdict", "profile", "n", "ours", "paper", "evidence")


def page(verdicts: Sequence[Verdict]) -> str:
    """Return what the scoreboard's page includes."""
    head = "".join(f'<th scope="col">{name}</th>' for name in COLUMNS)
    body = "\n".join(_row(v) for v in verdicts)
    return _raw(
        f"{_filters(verdicts)}\n"
        '<div class="scoreboard-table" tabindex="0" role="region" aria-label="All claims with their verdicts">\n'
        f'<table class="table scoreboard"><thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def counts(verdicts: Sequence[Verdict]) -> str:
    """Return the number of claims by paper and verdict, for the front page."""
    rows = []
    for paper, title in PAPERS.items():
        mine = [v for v in verdicts if _paper(v) == paper]
        tally = Counter(v.word for v in mine)
        cells = "".join(f'<td><span class="verdict {css(word)}">{tally[word]}</span></td>' for word in VERDICTS)
        rows.append(f'<tr><th scope="row">paper {paper}: {title}</th>{cells}<td>{len(mine)}</td></tr>')
    head = "".join(f'<th scope="col">{MARKS[word]} {word}</th>' for word in VERDICTS)
    return _raw(
        '<div class="scoreboard-table" tabindex="0" role="region" aria-label="Number of claims by paper and verdict">\n'
        f'<table class="table verdict-counts"><thead><tr><td></td>{head}<th scope="col">claims</th></tr></thead>\n'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _raw(html: str) -> str:
    return f"```{{raw}} html\n{html}\n```\n"


def _filters(verdicts: Sequence[Verdict]) -> str:
    """Return the choices; hidden until the script that makes them work shows them."""
    choices = {
        "paper": [(key, f"{key}: {title}") for key, title in PAPERS.items()],
        "section": [(s, s) for s in dict.fromkeys(_section(v) for v in verdicts)],
        "verdict": [(word, word) for word in VERDICTS],
        "profile": [(name, name) for name in PROFILES if any(v.profile == name for v in verdicts)],
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
        f'<a href="{page_link}">{escape(claim.statement)}</a><br><code>{escape(claim.id)}</code>',
        f'<span class="verdict {css(verdict.word)}">{MARKS[verdict.word]} {verdict.word}</span>',
        verdict.profile,
        str(verdict.n),
        escape(unbroken(verdict.ours)),
        escape(unbroken(claim.printed)),
        _evidence(verdict),
    ]
    data = {"paper": _paper(verdict), "section": _section(verdict), "verdict": verdict.word, "profile": verdict.profile}
    attributes = "".join(f' data-{key}="{escape(value)}"' for key, value in data.items())
    return f"<tr{attributes}>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _evidence(verdict: Verdict) -> str:
    if verdict.record is None:
        return "no record yet"
    folder = verdict.record.folder
    place = f"../_static/results/{folder.parent.name}/{folder.name}"
    return (
        f'<a href="{place}/table.csv">table</a>, <a href="{place}/record.json">record</a>'
        f"<details><summary>run again</summary><code>{escape(command(verdict.record))}</code></details>"
    )


def _paper(verdict: Verdict) -> str:
    return verdict.claim.id.split(":")[0]


def _section(verdict: Verdict) -> str:
    """Return where in its paper a claim stands, "B Table 1" of "B:table1:...", say."""
    paper, place, _ = verdict.claim.id.split(":")
    word, number = re.fullmatch(r"([a-z]+)([\dA-Z.]*)", place).groups()
    return f"{paper} {PLACES.get(word, word.capitalize())} {number}".strip()


def css(word: str) -> str:
    """Return the class of a verdict's mark."""
    return word.replace(" ", "-")
