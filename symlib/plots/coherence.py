"""Figures of subspace coherence: of trained layers, and what it does to masked networks."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from symlib.plots.style import Look, finished, heading, intervention_look, legend_below, plain

FAMILIES = {
    "exact-copy": Look("exact copies", "#0072B2", "s"),
    "random-frame": Look("random frames", "#D55E00", "^"),
}


def barrier_by_coherence(table: pd.DataFrame, compared: pd.DataFrame, title: str) -> Figure:
    """Draw the midpoint barrier against coherence, and test error along the line at the highest and lowest coherence.

    Args:
        table: Columns family, copies, coherence, outer_seed, pair, lambda, test_mse.
        compared: Midpoint barriers by (family, copies): columns mean, sd, reference_mean (test MSE).
        title: What was run.

    Source: Bürgin et al. (2026), synthetic coherence experiment.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.6, 3.8), layout="constrained", sharey=True)
    _barriers(left, compared)
    _lines(right, table)
    left.set_ylabel("test MSE")
    left.set_title("midpoint barrier", loc="left", fontsize="medium")
    right.set_title("along the line", loc="left", fontsize="medium")
    heading(figure, title)
    for axes in (left, right):
        axes.axhline(0, color="#999999", lw=0.8, zorder=0)
        plain(axes)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", frameon=False, fontsize="small", ncols=3)
    return finished(figure)


def comparison_table(compared: pd.DataFrame) -> pd.DataFrame:
    """Return our midpoint barriers beside the independent run's as text, one row for each number of copies.

    Args:
        compared: As in `barrier_by_coherence`, with reference_sd and difference besides.
    """
    rows = compared.reset_index()
    text = {
        "copies": rows["copies"],
        "coherence": (1 / rows["copies"]).map("{:.2f}".format),
        "family": rows["family"].map({family: look.label for family, look in FAMILIES.items()}),
        "ours": _mean_sd(rows["mean"], rows["sd"]),
        "independent run": _mean_sd(rows["reference_mean"], rows["reference_sd"]),
        "difference": rows["difference"].map("{:+.3f}".format),
    }
    wide = pd.DataFrame(text).set_index(["copies", "coherence", "family"]).unstack("family")
    return wide.swaplevel(axis=1).sort_index(axis=1, level=0, sort_remaining=False).rename_axis([None, None], axis=1)


def _mean_sd(mean: pd.Series, sd: pd.Series) -> pd.Series:
    return mean.map("{:.3f}".format) + " ± " + sd.map("{:.3f}".format)


def _barriers(axes: Axes, compared: pd.DataFrame) -> None:
    for family, rows in compared.groupby("family"):
        look, coherence = FAMILIES[family], 1 / rows.index.get_level_values("copies")
        low, high = rows["mean"] - rows["sd"], rows["mean"] + rows["sd"]
        axes.fill_between(coherence, low, high, color=look.colour, alpha=0.15, linewidth=0)
        axes.plot(coherence, rows["mean"], look.marker, ls="-", color=look.colour, ms=5, label=look.label)
        hollow = {"mfc": "none", "mec": "#666666", "ms": 7, "mew": 0.8, "ls": ""}
        axes.plot(coherence, rows["reference_mean"], look.marker, **hollow)
    axes.plot([], [], "o", **hollow, label="hollow: independent run of the protocol")
    axes.set(xscale="log", xlim=(1.08, 0.092), xlabel="coherence of the inputs")
    axes.set_xticks([1, 1 / 2, 1 / 3, 1 / 5, 1 / 10], ["1", ".5", ".33", ".2", ".1"])
    axes.xaxis.set_minor_locator(NullLocator())


def _lines(axes: Axes, table: pd.DataFrame) -> None:
    means = table.groupby(["family", "coherence", "lambda"])["test_mse"].mean()
    for coherence, style in ((table["coherence"].max(), "--"), (table["coherence"].min(), "-")):
        lines = {family: means[family, coherence] for family in FAMILIES}
        for family, line in lines.items():
            look = FAMILIES[family]
            axes.plot(line.index, line, look.marker, ls=style, color=look.colour, markevery=5, ms=5)
        top = max(line.max() for line in lines.values())
        axes.annotate(f"coherence {coherence:.2g}", (0.5, top), (0, 6), textcoords="offset points", ha="center")
    axes.set(xlim=(0, 1), xlabel="mixing weight λ of the second network")


def coherence_by_epoch(layers: pd.DataFrame, title: str) -> Figure:
    """Draw coherence, and how differently masks treat directions, over training: one column a layer.

    Args:
        layers: Columns intervention, network, epoch, layer, coherence, dimension, full_dimension, anisotropy.
        title: What was run.

    Source: Bürgin et al. (2026), subspace coherence and anisotropy over layers and epochs.
    """
    names = list(layers["layer"].unique())
    figure, grid = plt.subplots(2, len(names), figsize=(7.6, 4.4), sharex=True, sharey="row", layout="constrained")
    for column, layer in zip(grid.T, names, strict=True):
        for name, rows in layers[layers["layer"] == layer].groupby("intervention", sort=False):
            look, epochs = intervention_look(name), rows.groupby("epoch")
            for axes, what in zip(column, ("coherence", "anisotropy"), strict=True):
                if rows[what].any():  # there is no anisotropy without a mask
                    axes.plot(rows["epoch"], rows[what], look.marker, color=look.colour, alpha=0.35, ms=3, mew=0)
                    mean = epochs[what].mean()
                    axes.plot(mean.index, mean, look.marker, ls="-", color=look.colour, ms=4, lw=1.3)
            least = (epochs["dimension"].mean() / epochs["full_dimension"].mean()).rename("least")
            column[0].plot(least.index, least, ":", color=look.colour, lw=1)
        column[0].set_title(f"inputs of {layer.removesuffix('.weight')}", loc="left", fontsize="small")
        column[1].set_xlabel("epoch", fontsize="small")
        for axes in column:
            axes.set(ylim=(0, 1.02))
            plain(axes)
    grid[0, 0].set_ylabel("coherence\n(dotted: the least possible)", fontsize="small")
    grid[1, 0].set_ylabel("mean anisotropy of\nneurons with a mask", fontsize="small")
    heading(figure, title)
    legend_below(figure, [intervention_look(name) for name in layers["intervention"].unique()])
    return finished(figure)


def turned_images(pairs: pd.DataFrame, title: str) -> Figure:
    """Draw what units with one number share and what is lost halfway, against the coherence of the images.

    Args:
        pairs: One row per intervention and pair, columns kind, share, target, pair, squared, chance, identity, drop.
        title: What was run.
    """
    panels = {
        "excess": "squared correlation of units\nwith one number, above chance",
        "identity": "correlation of units\nwith one number",
        "drop": "accuracy lost halfway (points)",
    }
    rows = pairs.assign(excess=pairs["squared"] - pairs["chance"])
    targets = sorted(rows["target"].unique())
    figure, row = plt.subplots(1, len(panels), figsize=(7.6, 3.3), layout="constrained")
    row[1].sharey(row[0])
    looks = {}
    for kind_share, own in rows.groupby(["kind", "share"], sort=False, dropna=False):
        looks[kind_share] = look = _turned_look(*kind_share)
        for axes, what in zip(row, panels, strict=True):
            places = [targets.index(target) for target in own["target"]]
            axes.plot(places, own[what], look.marker, color=look.colour, alpha=0.4, ms=5, mew=0)
            mean = own.groupby("target")[what].mean()
            axes.plot(range(len(targets)), mean, look.marker, ls="-", color=look.colour, ms=5, lw=1.3)
    for axes, label in zip(row, panels.values(), strict=True):
        axes.axhline(0, color="#999999", lw=0.8, zorder=0)
        axes.set_xticks(range(len(targets)), [f"{target:g}" for target in targets])
        axes.set(xlim=(-0.3, len(targets) - 0.7), xlabel="coherence of the images")
        axes.set_title(label, loc="left", fontsize="small")
        plain(axes)
    heading(figure, title)
    legend_below(figure, list(looks.values()))
    return finished(figure)


def _turned_look(kind: str, share: float) -> Look:
    if kind == "standard":
        return intervention_look("standard")
    if np.isnan(share):
        return Look("pinned zeros, the paper's share", "#E69F00", "s")
    return Look(f"pinned zeros, {100 * share:.0f} %", "#0072B2", "v")
