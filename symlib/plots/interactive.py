"""Data for the page's script, written into a page so that it works from a file and without a network.

What the script makes of them is in `book/_static/explainers.js`; where it does not run, the still figure stays.
"""

import json
from collections.abc import Mapping

from symlib.plots.style import METHODS, intervention_look

KINDS = ("swaps", "line", "scale")
AT_MOST = 150_000  # characters of one explainer's data; more would slow a page down


def embedded(kind: str, data: Mapping, figure: str) -> str:
    """Return the HTML that brings a still figure to life.

    Args:
        kind: One of `KINDS`.
        data: As `symlib.studies.explainers` has it under that name.
        figure: Name of the figure in whose place the explainer goes.

    Raises:
        ValueError: If the kind is unknown, a number is not finite, or the data are too many for a page.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown explainer {kind!r}: expected one of {', '.join(KINDS)}")
    # With "<" written otherwise, no text inside can end the element that holds it.
    text = json.dumps(_labelled(kind, data), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    if len(text) > AT_MOST:
        raise ValueError(
            f"the data of {kind!r} take {len(text)} characters, a page carries at most {AT_MOST}: show fewer neurons, "
            "points, digits or scales"
        )
    return (
        f'<section class="explainer" data-kind="{kind}" data-figure="{figure}" hidden>'
        f'<script type="application/json">{text}</script></section>'
    )


def _labelled(kind: str, data: Mapping) -> dict:
    """Add to each network or method the name that it has in all figures."""
    if kind == "swaps":
        networks = [n | {"label": intervention_look(n["name"]).label} for n in data["networks"]]
        return dict(data) | {"networks": networks}
    if kind == "line":
        return dict(data) | {"methods": [m | {"label": METHODS[m["name"]].label} for m in data["methods"]]}
    return dict(data)
