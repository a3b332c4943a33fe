"""Figures and tables that set all architectures of Table 1 of paper B side by side."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from symlib.claims import ALPHA, Verdict, p_text, unbroken
from symlib.plots.style import METHODS, finished, legend_below, plain


def barrier_panels(ours: pd.DataFrame, paper: pd.DataFrame) -> Figure:
    """Draw mean and sd of the midpoint barrier of every method, one panel an architecture, with the paper's below it.

    Args:
        ours: Columns architecture, method, mean, sd (nats).
        paper: The same, as printed.

    Source: Lim et al. (2024), Table 1.
    """
    names, methods = list(ours["architecture"].unique()), list(ours["method"].unique())
    figure, grid = _grid(len(names), 2.3, sharey=True)
    for axes, name in zip(grid, names, strict=False):
        for row in ours[ours["architecture"] == name].dropna(subset="mean").itertuples():
            look, y = METHODS[row.method], methods.index(row.method)
            axes.errorbar(row.mean, y - 0.12, xerr=row.sd, fmt=look.marker, color=look.colour, ms=6, capsize=2, lw=1.2)
        for row in paper[paper["architecture"] == name].itertuples():
            if row.method in methods:
                y = methods.index(row.method) + 0.2
                axes.errorbar(row.mean, y, xerr=row.sd, fmt="x", color="#111111", ms=5, capsize=2, lw=0.8)
        axes.axvline(0, color="#999999", lw=0.8, zorder=0)
        axes.set_title(name, loc="left", fontsize="medium")
        plain(axes)
    grid[0].set_yticks(range(len(methods)), [METHODS[m].label for m in methods])
    grid[0].invert_yaxis()
    figure.supxlabel("test-loss barrier at the midpoint (nats); crosses: paper", fontsize="medium")
    return finished(figure)


def line_panels(lines: pd.DataFrame, paper: pd.DataFrame) -> Figure:
    """Draw test loss along the line, one panel an architecture: mean over pairs, and one sd as a band.

    Args:
        lines: Columns architecture, method, pair, lambda, test_loss (nats).
        paper: Columns architecture, method, mean: printed barriers (nats), drawn as crosses above the mean of our ends.

    Source: Lim et al. (2024), Figure 3.
    """
    names = list(lines["architecture"].unique())
    figure, grid = _grid(len(names), 2.6)
    for axes, name in zip(grid, names, strict=False):
        for method, points in lines[lines["architecture"] == name].groupby("method", sort=False):
            wide = points.pivot(index="lambda", columns="pair", values="test_loss")
            _band(axes, method, wide)
            told = paper[(paper["architecture"] == name) & (paper["method"] == method)]["mean"]
            ends = wide.iloc[[0, -1]].mean().mean()
            axes.plot([0.5] * len(told), ends + told, "x", color=METHODS[method].colour, ms=6, mew=1.6)
        axes.set(xlim=(0, 1), ylim=(0, None), xlabel="mixing weight λ of the second network")
        axes.set_title(name, loc="left", fontsize="medium")
        plain(axes)
    figure.supylabel("test loss (nats)", fontsize="medium")
    legend_below(figure, [METHODS[method] for method in lines["method"].unique()])
    return finished(figure)


def _band(axes: Axes, method: str, wide: pd.DataFrame) -> None:
    look, mean, sd = METHODS[method], wide.mean(axis=1), wide.std(axis=1, ddof=1)
    axes.plot(wide.index, mean, look.marker, ls="-", color=look.colour, markevery=len(wide) // 2, ms=4, lw=1.5)
    axes.fill_between(wide.index, mean - sd, mean + sd, color=look.colour, alpha=0.15, lw=0)


def _grid(n: int, height: float, **options) -> tuple[Figure, np.ndarray]:
    """Return a figure with n panels in rows of two, and their axes."""
    columns = min(n, 2)
    rows = -(-n // columns)
    size = (7.6, height * rows + 0.6)
    figure, grid = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, **options)
    for axes in grid.flat[n:]:
        axes.set_visible(False)
    return figure, grid.flat


def barrier_table(ours: pd.DataFrame, paper: pd.DataFrame) -> pd.DataFrame:
    """Return Table 1 as text: two rows an architecture, ours and the paper's, one column a method.

    Args:
        ours: Columns architecture, method, profile, n_pairs, n, mean, sd (nats). A cell says if pairs of it diverged.
        paper: Columns architecture, method, mean, sd.
    """
    cell = "{:.3f}\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{:.2f}".format
    told = paper.assign(source="paper", cell=[cell(*row) for row in paper[["mean", "sd"]].to_numpy()])
    sources = ours["profile"] + ", " + ours["n_pairs"].astype(str) + " pairs"
    cells = [
        "diverged" if not row.n else cell(row.mean, row.sd) + f" ({row.n} of them)" * (row.n < row.n_pairs)
        for row in ours.itertuples()
    ]
    found = ours.assign(source=sources, cell=cells)
    both = pd.concat([found, told])
    wide = both.pivot(index=["architecture", "source"], columns="method", values="cell").fillna("-")
    return wide.reindex(told["architecture"].unique(), level=0)[[m for m in METHODS if m in wide]].rename(
        columns={m: look.label for m, look in METHODS.items()}
    )


def ordering_table(orderings: pd.DataFrame) -> pd.DataFrame:
    """Return the tests of the paper's order as text.

    Args:
        orderings: Columns architecture, lower, higher, difference (nats), p.
    """
    ends = (orderings[side].map(lambda method: METHODS[method].label) for side in ("lower", "higher"))
    columns = {
        "architecture": orderings["architecture"],
        "order": [f"{low} < {high}" for low, high in zip(*ends, strict=True)],
        "difference (nats)": orderings["difference"].map("{:.3f}".format),
        "p": orderings["p"].map(p_text),
        "holds": ["not tested" if np.isnan(p) else "yes" if p < ALPHA else "no" for p in orderings["p"]],
    }
    return pd.DataFrame(columns).set_index("architecture")


def claim_table(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """Return claims beside what was found, one row each: paper, ours, n, profile, p and verdict."""
    rows = [
        {
            "claim": v.claim.statement,
            "paper": unbroken(v.claim.printed),
            "ours": unbroken(v.ours),
            "n": v.n,
            "profile": v.profile,
            "p": unbroken(v.p),
            "verdict": v.word,
        }
        for v in verdicts
    ]
    return pd.DataFrame(rows).set_index("claim")


def separation_table(found: pd.DataFrame) -> pd.DataFrame:
    """Return distances and gaps as text, one row an architecture and method.

    Args:
        found: Columns architecture, method, distance, rms distance, gap (percentage points).
    """
    columns = {
        "architecture": found["architecture"],
        "networks": found["method"].map(lambda method: METHODS[method].label),
        "distance / number": found["distance"].map("{:.2e}".format),
        "distance / root of number": found["rms distance"].map("{:.4f}".format),
        "gap (points)": found["gap"].map("{:.2f}".format),
    }
    return pd.DataFrame(columns).set_index("architecture")


def reading_table(readings: pd.DataFrame) -> pd.DataFrame:
    """Return what the controls say of missing symmetry as text, one row an architecture and control.

    Args:
        readings: Columns architecture, profile, variant, n, removed, p_more, p_less, reading, verdict.
    """
    columns = {
        "architecture": readings["architecture"] + " (" + readings["profile"] + ")",
        "control": readings["variant"].replace({"scale 0": "zeros", "w-asym 0": "zeros"}),
        "pairs": readings["n"],
        "share removed": readings["removed"].map("{:.2f}".format),
        "p, more than half": readings["p_more"].map(p_text),
        "p, less than half": readings["p_less"].map(p_text),
        "missing symmetry is": readings["reading"] + ": " + readings["verdict"],
    }
    return pd.DataFrame(columns).set_index("architecture")
