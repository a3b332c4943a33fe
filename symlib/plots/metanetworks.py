"""Figures and tables of populations of classifiers and of the metanetworks that look at them."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from symlib.claims import p_text, unbroken
from symlib.plots.style import Look, finished, legend_below, plain

KINDS = {
    "standard": Look("standard", "#444444", "o"),
    "w-asym": Look("W-asymmetric", "#009E73", "D"),
    "w-asym open stem": Look("W-asymmetric, open stem", "#56B4E9", "d"),
    "smaller": Look("standard, fewer parameters", "#E69F00", "s"),
    "sigma": Look("σ-asymmetric", "#D55E00", "^"),
    "syre": Look("syre", "#CC79A7", "X"),
    "anchor": Look("anchor: start of W-asymmetric, all trained", "#0072B2", "P"),
    "standard aligned": Look("standard, lined up", "#0072B2", "P"),
    "standard matched": Look("standard, accuracies matched", "#999999", "v"),
    "w-asym matched": Look("W-asymmetric, accuracies matched", "#00684d", "v"),
    "standard thinned": Look("standard, as few at random", "#999999", "<"),
    "w-asym thinned": Look("W-asymmetric, as few at random", "#00684d", "<"),
}
SCORES = {"r2": "R²", "tau": "Kendall's τ"}
MEASURES = {
    "delta": "Δ (nats)",
    "relative delta": "Δ, curve from 1 to 0",
    "monotonic": "monotonic (%)",
    "local": "locally convex",
    "global": "globally convex",
    "global released": "the same, released code",
}


def accuracy_histograms(table: pd.DataFrame, title: str) -> Figure:
    """Draw how test accuracies of a population are spread, one row a kind.

    Args:
        table: Columns kind, test_accuracy (in [0, 1], NaN where a network diverged).
        title: What was run.
    """
    kinds = list(table["kind"].unique())
    size = (7.2, 0.9 * len(kinds) + 1.0)
    figure, grid = plt.subplots(len(kinds), 1, figsize=size, sharex=True, layout="constrained", squeeze=False)
    low, high = table["test_accuracy"].min(), table["test_accuracy"].max()
    bins = np.linspace(10 * np.floor(10 * low), 10 * np.ceil(10 * high), 41)
    for axes, kind in zip(grid.flat, kinds, strict=True):
        look, values = KINDS[kind], 100 * table.loc[table["kind"] == kind, "test_accuracy"].dropna()
        axes.hist(values, bins=bins, color=look.colour, alpha=0.8)
        axes.set_ylabel("networks", fontsize="small")
        axes.set_title(f"{look.label}: {len(values)} networks", loc="left", fontsize="small")
        plain(axes)
    grid.flat[-1].set_xlabel("test accuracy (%)")
    figure.suptitle(title, x=0.01, ha="left", fontsize="medium")
    return finished(figure)


def score_dots(table: pd.DataFrame, cases: Sequence[str], title: str) -> Figure:
    """Draw R2 and Kendall's tau of every metanetwork, one symbol a run; values below -0.1 stand at the edge.

    Args:
        table: Columns metanetwork, case, r2, tau.
        cases: What to show.
        title: What was run.

    Source: Lim et al. (2024), Tables 3 and 6.
    """
    names = list(table["metanetwork"].unique())
    size = (7.6, 0.5 * len(names) + 1.8)
    figure, grid = plt.subplots(1, 2, figsize=size, sharey=True, layout="constrained")
    for axes, (score, label) in zip(grid, SCORES.items(), strict=True):
        axes.axvline(0, color="#999999", lw=0.8, zorder=0)
        for (name, case), rows in table[table["case"].isin(cases)].groupby(["metanetwork", "case"], sort=False):
            look = KINDS[case]
            y = names.index(name) + 0.5 * (cases.index(case) - (len(cases) - 1) / 2) / len(cases)
            values = rows[score].clip(lower=-0.1)
            axes.plot(values, np.full(len(values), y), look.marker, color=look.colour, alpha=0.7, ms=5)
        axes.set(xlim=(-0.15, 1.05), xlabel=f"{label} on networks for testing")
        plain(axes)
    grid[0].set_yticks(range(len(names)), names)
    grid[0].invert_yaxis()
    legend_below(figure, [KINDS[case] for case in cases])
    figure.suptitle(title, x=0.01, ha="left", fontsize="medium")
    return finished(figure)


def score_table(table: pd.DataFrame, score: str, paper: Mapping[str, tuple[float, float | None]]) -> pd.DataFrame:
    """Return mean and sd over runs as text, one row a metanetwork and one for the paper's, one column a case.

    Args:
        table: Columns metanetwork, case, and the score.
        score: "r2" or "tau".
        paper: "MLP/standard" and the like -> mean and sd as printed.
    """
    by = table.groupby(["metanetwork", "case"], sort=False)[score]
    found = {(name, "here", case): _cell(rows.mean(), rows.std(ddof=1)) for (name, case), rows in by}
    for key, told in paper.items():
        name, case = key.split("/")
        if (name, "here", case) in found:
            found[name, "paper", case] = _cell(*told)
    wide = pd.Series(found).unstack(sort=False).fillna("-")
    rows = [(name, source) for name in table["metanetwork"].unique() for source in ("here", "paper")]
    return wide.loc[[row for row in rows if row in wide.index]].rename(columns={k: KINDS[k].label for k in wide})


def _cell(mean: float, sd: float | None) -> str:
    """Return mean and standard deviation as text that stays on one line, a dash for a mean that is NaN."""
    if np.isnan(mean):
        return "-"
    return f"{mean:.3f}" if sd is None or np.isnan(sd) else unbroken(f"{mean:.3f} ± {sd:.2f}")


def lead_table(found: pd.DataFrame, rows: str, columns: str) -> pd.DataFrame:
    """Return shares of a lead with their verdicts as text.

    Args:
        found: As `studies.leads.judged` describes it.
        rows: Column whose values become the rows of the table.
        columns: Column whose values become its columns.
    """
    labels = {name: look.label for name, look in KINDS.items()} | MEASURES
    texts = [
        one.verdict
        if np.isnan(one.share)
        else f"{one.share:.2f}: {one.verdict} " + unbroken(f"(p {p_text(min(one.p_most, one.p_little))})")
        for one in found.itertuples()
    ]
    wide = found.assign(text=texts).pivot(index=rows, columns=columns, values="text")
    ordered = wide.loc[found[rows].unique(), found[columns].unique()].rename(index=labels, columns=labels)
    return ordered.rename_axis(index=None, columns=None)


def curve_panels(curves: Mapping[str, np.ndarray], at: np.ndarray, title: str) -> Figure:
    """Draw training loss from initial to trained weights, one panel a kind, one line a network.

    Args:
        curves: Kind -> losses (nats), shape (networks, points).
        at: Where the points are, from 0 to 1.
        title: What was run.

    Source: Lim et al. (2024), Figure 5.
    """
    columns = min(len(curves), 3)
    rows = -(-len(curves) // columns)
    size = (7.6, 2.2 * rows + 0.6)
    figure, grid = plt.subplots(rows, columns, figsize=size, sharex=True, layout="constrained", squeeze=False)
    for axes, (kind, losses) in zip(grid.flat, curves.items(), strict=False):
        axes.plot(at, losses.T, color=KINDS[kind].colour, lw=0.8, alpha=0.6)
        axes.set_ylim(0, None)
        axes.set_title(KINDS[kind].label, loc="left", fontsize="medium")
        plain(axes)
    for axes in grid.flat[len(curves) :]:
        axes.set_visible(False)
    figure.supxlabel("from initial (0) to trained weights (1)", fontsize="medium")
    figure.supylabel("training loss (nats)", fontsize="medium")
    figure.suptitle(title, x=0.01, ha="left", fontsize="medium")
    return finished(figure)


def interpolation_table(
    found: pd.DataFrame, compared: pd.DataFrame, paper: Mapping[str, Mapping[str, tuple[float, float | None]]]
) -> pd.DataFrame:
    """Return Table 4 as text: one row a kind and one for the paper's, with p-values against standard networks.

    Args:
        found: Columns kind and the measures of every network.
        compared: Columns kind, measure, p (two-sided).
        paper: Measure -> kind -> mean and sd as printed.
    """
    p = compared.set_index(["kind", "measure"])["p"]
    rows = {}
    for kind, ours in found.groupby("kind", sort=False):
        here, there = {"networks": str(len(ours))}, {}
        for name, label in MEASURES.items():
            here[label] = _measure(name, ours[name].mean(), ours[name].std(ddof=1))
            here[label] += f" (p = {p[kind, name]:.1e})" if (kind, name) in p.index else ""
            if kind in paper.get(name, {}):
                there[label] = _measure(name, *paper[name][kind])
        rows[KINDS[kind].label, "here"] = here
        if there:
            rows[KINDS[kind].label, "paper"] = there
    return pd.DataFrame.from_dict(rows, orient="index").fillna("-")


def _measure(name: str, mean: float, sd: float | None) -> str:
    return f"{100 * mean:.1f}" if name == "monotonic" else _cell(mean, sd)
