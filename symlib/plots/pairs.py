"""Figures and tables of pairs of graph networks and of residual networks, variant by variant."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from symlib.plots.style import Look, finished, heading, legend_below, plain

METHODS = {
    "unaligned": Look("as they are", "#444444", "o"),
    "git-rebasin": Look("weights matched", "#0072B2", "s"),
    "activation-matching": Look("activations matched", "#E69F00", "^"),
    "git-rebasin repaired": Look("weights matched, REPAIR", "#CC79A7", "D"),
}


def barrier_rows(pairs: pd.DataFrame, title: str) -> Figure:
    """Draw the midpoint barrier of every pair, one row a variant, one symbol a method.

    Args:
        pairs: Columns variant, method, barrier (nats).
        title: What was run.

    Source: Lim et al. (2024), Table 1, and our controls.
    """
    variants = list(pairs["variant"].unique())
    figure, axes = plt.subplots(figsize=(7.2, 0.42 * len(variants) + 1.4), layout="constrained")
    axes.axvline(0, color="#999999", lw=0.8, zorder=0)
    for (variant, method), rows in pairs.groupby(["variant", "method"], sort=False):
        look, y = METHODS[method], variants.index(variant)
        axes.plot(rows["barrier"], np.full(len(rows), y), look.marker, color=look.colour, alpha=0.6, ms=6)
        axes.plot([rows["barrier"].mean()] * 2, [y - 0.28, y + 0.28], color=look.colour, lw=2.5)
    axes.set_yticks(range(len(variants)), variants)
    axes.invert_yaxis()
    axes.set_xlabel("test-loss barrier at the midpoint (nats); symbols: pairs, bars: means")
    axes.set_title(title, loc="left", fontsize="medium")
    legend_below(figure, [METHODS[method] for method in pairs["method"].unique()])
    plain(axes)
    return finished(figure)


def curve_panels(table: pd.DataFrame, variants: Sequence[str], paper: Mapping[str, float], title: str) -> Figure:
    """Draw test loss along the line, one panel a variant, with re-estimated statistics: mean over pairs and one sd.

    Args:
        table: Columns variant, method, statistics, pair, lambda, test_loss (nats).
        variants: What to show.
        paper: Variant -> printed midpoint barrier (nats), drawn as a bar above the ends' mean.
        title: What was run.

    Source: Lim et al. (2024), Figure 3.
    """
    columns = min(len(variants), 4)
    rows = -(-len(variants) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(7.6, 2.2 * rows + 0.7), sharex=True, sharey=True, layout="constrained", squeeze=False
    )
    shown = table[table["statistics"] == "re-estimated"]
    for axes, variant in zip(grid.flat, variants, strict=False):
        for method, points in shown[shown["variant"] == variant].groupby("method", sort=False):
            wide, look = points.pivot(index="lambda", columns="pair", values="test_loss"), METHODS[method]
            mean, sd = wide.mean(axis=1), wide.std(axis=1, ddof=1)
            axes.plot(wide.index, mean, look.marker, ls="-", color=look.colour, markevery=len(wide) // 2, ms=4, lw=1.5)
            axes.fill_between(wide.index, mean - sd, mean + sd, color=look.colour, alpha=0.15, lw=0)
            if method == "unaligned" and variant in paper:
                ends = mean.iloc[[0, -1]].mean()
                axes.plot(0.5, ends + paper[variant], "x", color="#111111", ms=6)
        axes.set_title(variant, loc="left", fontsize="medium")
        plain(axes)
    for axes in grid.flat[len(variants) :]:
        axes.set_visible(False)
    figure.supxlabel("mixing weight λ of the second network", fontsize="medium")
    figure.supylabel("test loss (nats)", fontsize="medium")
    heading(figure, title)
    return finished(figure)


def score_table(networks: Mapping[str, Mapping[str, Sequence[float]]]) -> pd.DataFrame:
    """Return mean scores of the networks of each variant as text.

    Args:
        networks: Variant -> score -> one value a network.
    """
    columns = {
        "training loss (nats)": ("train_loss", "{:.3f}", 1),
        "best training accuracy (%)": ("best_train_accuracy", "{:.1f}", 100),
        "best validation accuracy (%)": ("best_valid_accuracy", "{:.1f}", 100),
        "test accuracy (%)": ("test_accuracy", "{:.1f}", 100),
        "distance of a pair": ("distance", "{:.1f}", 1),
    }
    rows = {
        variant: {label: form.format(scale * np.mean(scores[key])) for label, (key, form, scale) in columns.items()}
        for variant, scores in networks.items()
        if scores  # none if all pairs diverged
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("variant")


def statistics_table(mended: pd.DataFrame, mixed: pd.DataFrame) -> pd.DataFrame:
    """Return mean midpoint barriers with re-estimated and with mixed statistics as text.

    Args:
        mended: Columns variant, method, barrier (nats), statistics re-estimated.
        mixed: The same with statistics as mixed.
    """
    columns = {"re-estimated": mended, "as mixed": mixed}
    means = {name: rows.groupby(["variant", "method"], sort=False)["barrier"].mean() for name, rows in columns.items()}
    return pd.DataFrame(means).map("{:.3f}".format)
