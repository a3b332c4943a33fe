"""Figures of what identifiability costs: matching, features kept and accuracy against the scale of fixed weights."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from symlib.plots.style import Look, finished, heading, plain

# Panel by panel: label of the axis, and column -> factor that it is drawn with and its look.
PANELS = (
    (
        "neurons (%)",
        {
            "stays_drawn": (100, Look("matched by number, untrained", "#999999", "o")),
            "stays": (100, Look("matched by number, trained", "#D55E00", "s")),
            "inside": (100, Look("inside their room", "#0072B2", "^")),
        },
    ),
    (
        "like before training",
        {
            "unit_kept": (1, Look("units (correlation)", "#009E73", "D")),
            "feature_cka": (1, Look("hidden layers (CKA)", "#0072B2", "o")),
            "kernel_cka": (1, Look("tangent kernel (CKA)", "#CC79A7", "^")),
        },
    ),
    (
        "accuracy (%)",
        {
            "train": (100, Look("network, training images", "#999999", "o")),
            "test": (100, Look("network, test images", "#111111", "s")),
            "read_learnt": (100, Look("read-out of its features", "#009E73", "D")),
            "read_drawn": (100, Look("read-out of untrained ones", "#E69F00", "^")),
        },
    ),
    ("lost halfway (points)", {"drop": (1, Look("average of two networks", "#D55E00", "s"))}),
)
FRONTIER = {
    "scales": Look("shared constants, paper's shares", "#009E73", "D"),
    "shares": Look("shared constants, few per neuron", "#0072B2", "^"),
    "redrawn": Look("constants of their own", "#D55E00", "X"),
}


def by_scale(table: pd.DataFrame, title: str) -> Figure:
    """Draw, against the scale of the pinned entries, what is identified, what is kept, and what it costs.

    Args:
        table: One row per network; columns sigma_F and those named in `PANELS`.
        title: What was run.

    Source: Bürgin et al. (2026): identifiability is bought with feature learning.
    """
    by = table.groupby("sigma_F")
    mean = by.mean(numeric_only=True)
    figure, grid = plt.subplots(2, 2, figsize=(7.6, 6.0), sharex=True, layout="constrained")
    for axes, (label, columns) in zip(grid.flat, PANELS, strict=True):
        for column, (factor, look) in columns.items():
            for place, (_, values) in enumerate(by[column]):
                axes.plot(
                    [place] * len(values), factor * values, look.marker, color=look.colour, alpha=0.3, ms=3, mew=0
                )
            axes.plot(factor * mean[column].to_numpy(), look.marker, ls="-", color=look.colour, ms=4, label=look.label)
        axes.set_ylabel(label)
        axes.legend(frameon=False, fontsize="x-small")
        plain(axes)
    for axes in grid[-1]:
        axes.set_xticks(range(len(mean)), [f"{s:g}" for s in mean.index])
        axes.set_xlabel("scale of the pinned entries, σ_F")
    heading(figure, title)
    return finished(figure)


def frontier(parts: dict[str, pd.DataFrame], title: str) -> Figure:
    """Draw how many neurons are matched by number against how far units moved, one point an intervention.

    Args:
        parts: Keys of `FRONTIER` -> rows of networks with columns intervention, sigma_F, share, unit_kept, stays.
        title: What was run.
    """
    figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    for part, look in FRONTIER.items():
        if part in parts and len(parts[part]):
            mean = parts[part].groupby("intervention", sort=False)[["sigma_F", "share", "unit_kept", "stays"]].mean()
            line = "-" if part == "scales" else "none"
            moved, stays = 1 - mean["unit_kept"], 100 * mean["stays"]
            axes.plot(moved, stays, look.marker, ls=line, color=look.colour, ms=7, lw=1.2, label=look.label)
            _name_points(axes, moved, stays, mean)
    axes.set(xlabel="movement of units, 1 - correlation with themselves untrained", ylim=(-4, 106))
    axes.set_ylabel("neurons matched by number (%)")
    axes.legend(frameon=False, fontsize="small")
    plain(axes)
    heading(figure, title)
    return finished(figure)


def _name_points(axes: Axes, x: pd.Series, y: pd.Series, about: pd.DataFrame) -> None:
    for place, (scale, share) in zip(
        zip(x, y, strict=True), zip(about["sigma_F"], about["share"], strict=True), strict=True
    ):
        few = "" if pd.isna(share) else f", {100 * share:g} %"
        axes.annotate(f"{scale:g}{few}", place, xytext=(6, 4), textcoords="offset points", fontsize="x-small")
