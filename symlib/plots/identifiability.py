"""Figures of neuron identifiability in trained networks: matching, lines, costs, merging."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from symlib.plots.style import Look, finished, heading, intervention_look, legend_below, plain

OBJECTIVES = {
    "optimal": Look("best matching", "#0072B2", "o"),
    "identity": Look("identity", "#D55E00", "s"),
    "random": Look("random matching", "#777777", "."),
}
ARCHIVE = Look("the authors' archive", "#111111", "x")


def matching_sweep(
    table: pd.DataFrame, over: str, xlabel: str, title: str, reference: Mapping[str, Sequence[float]] | None = None
) -> Figure:
    """Draw mean correlations of matched units against one parameter: first layer, and mean over all layers.

    Args:
        table: Columns pair, layer, optimal, identity, random, random_sd and the one named by `over`.
        over: What varies; its values are drawn evenly spaced.
        xlabel: Its name with unit.
        title: What was run.
        reference: "optimal" and "identity" -> value -> number of the authors for the first layer.

    Source: Bürgin et al. (2026), matching objective against the scale and the share of the fixed weights.
    """
    values = sorted(table[over].unique())
    figure, panels = plt.subplots(1, 2, figsize=(7.6, 3.4), sharey=True, layout="constrained")
    first = table["layer"].iloc[0]
    for axes, rows, name in zip(
        panels, (table[table["layer"] == first], table), ("first hidden layer", "mean over layers"), strict=True
    ):
        _objective_lines(axes, rows.groupby([over, "pair"])[[*OBJECTIVES, "random_sd"]].mean(), range(len(values)))
        axes.set_xticks(range(len(values)), [f"{v:g}" for v in values], fontsize="small")
        axes.set(xlabel=xlabel, ylim=(-0.1, 1.02))
        axes.set_title(name, loc="left", fontsize="medium")
        plain(axes)
    for numbers in (reference or {}).values():
        places = [i for i, v in enumerate(values) if v in numbers]
        panels[0].plot(places, [numbers[values[i]] for i in places], ARCHIVE.marker, color=ARCHIVE.colour, ms=6)
    panels[0].set_ylabel("mean correlation of matched units")
    heading(figure, title)
    legend_below(figure, [*OBJECTIVES.values(), *([ARCHIVE] if reference else [])])
    return finished(figure)


def matching_shares(table: pd.DataFrame, title: str) -> Figure:
    """Draw mean correlations of matched units of the first layer against the share of pinned entries.

    Args:
        table: Columns sigma_F, share, pair, layer, optimal, identity, random, random_sd.
        title: What was run.

    Source: Bürgin et al. (2026), matching objective against sparsity.
    """
    first = table[table["layer"] == table["layer"].iloc[0]]
    scales, shares = sorted(first["sigma_F"].unique()), sorted(first["share"].unique())
    figure, panels = plt.subplots(1, len(scales), figsize=(7.6, 3.4), sharey=True, layout="constrained")
    for axes, scale in zip(panels, scales, strict=True):
        rows = first[first["sigma_F"] == scale]
        _objective_lines(axes, rows.groupby(["share", "pair"])[[*OBJECTIVES, "random_sd"]].mean(), range(len(shares)))
        axes.set_xticks(range(len(shares)), [f"{100 * s:g}" for s in shares], fontsize="small")
        axes.set(xlabel="pinned entries of a row (%)", ylim=(-0.1, 1.02))
        axes.set_title(f"σ_F = {scale:g}", loc="left", fontsize="medium")
        plain(axes)
    panels[0].set_ylabel("mean correlation of matched units")
    heading(figure, title)
    legend_below(figure, list(OBJECTIVES.values()))
    return finished(figure)


def matching_epochs(table: pd.DataFrame, title: str) -> Figure:
    """Draw mean correlations of matched units over training, one panel per intervention and layer group.

    Args:
        table: Columns intervention, pair, epoch, layer, optimal, identity, random, random_sd.
        title: What was run.

    Source: Bürgin et al. (2026), matching objective against the epoch.
    """
    names = list(table["intervention"].unique())
    layers = list(table["layer"].unique())
    shown = layers if len(layers) <= 4 else [layers[0], layers[len(layers) // 2], layers[-1]]
    figure, grid = plt.subplots(len(shown), len(names), sharex=True, sharey=True, layout="constrained", squeeze=False)
    figure.set_size_inches(7.6, 1.5 * len(shown) + 1.1)
    for layer, row in zip(shown, grid, strict=True):
        for name, axes in zip(names, row, strict=True):
            rows = table[(table["intervention"] == name) & (table["layer"] == layer)]
            wide = rows.groupby(["epoch", "pair"])[[*OBJECTIVES, "random_sd"]].mean()
            _objective_lines(axes, wide, sorted(rows["epoch"].unique()))
            axes.set(ylim=(-0.1, 1.02))
            plain(axes)
        row[0].set_ylabel(layer.removeprefix("stages."), fontsize="small")
    for name, axes in zip(names, grid[0], strict=True):
        axes.set_title(intervention_look(name).label, fontsize="small")
    for axes in grid[-1]:
        axes.set_xlabel("epoch", fontsize="small")
    figure.supylabel("mean correlation of matched units", fontsize="medium")
    heading(figure, title)
    legend_below(figure, list(OBJECTIVES.values()))
    return finished(figure)


def trade_off(table: pd.DataFrame, title: str) -> Figure:
    """Draw test accuracy, accuracy lost halfway, and identity matching against the scale of the fixed entries.

    Args:
        table: Columns sigma_F, pair, identity, test_accuracy ([0, 1]), drop (percentage points).
        title: What was run.

    Source: Bürgin et al. (2026): identifiability is bought with feature learning.
    """
    by = table.groupby(["sigma_F", "pair"])[["identity", "test_accuracy", "drop"]].mean().groupby("sigma_F")
    mean, places = by.mean(), range(by.ngroups)
    rows = (
        ("identity", 1, "correlation of units\nwith one number", "#D55E00", "s"),
        ("drop", 1, "accuracy lost halfway\n(points)", "#0072B2", "o"),
        ("test_accuracy", 100, "test accuracy of the\nnetworks (%)", "#444444", "D"),
    )
    figure, panels = plt.subplots(3, 1, figsize=(6.4, 5.2), sharex=True, layout="constrained")
    for axes, (column, scale, label, colour, marker) in zip(panels, rows, strict=True):
        for place, (_, values) in zip(places, by[column], strict=True):
            axes.plot([place] * len(values), scale * values, marker, color=colour, alpha=0.4, ms=4, mew=0)
        axes.plot(places, scale * mean[column], marker, ls="-", color=colour, ms=5, lw=1.5)
        axes.set_ylabel(label, fontsize="small")
        plain(axes)
    panels[-1].set_xticks(places, [f"{v:g}" for v in mean.index])
    panels[-1].set_xlabel("scale of the pinned entries, σ_F")
    panels[0].set_title(title, loc="left", fontsize="medium")
    return finished(figure)


def accuracy_lines(table: pd.DataFrame, split: str, title: str) -> Figure:
    """Draw accuracy along the line before and after alignment, one curve an intervention, pairs as thin lines.

    Args:
        table: Columns intervention, method, split, pair, lambda, accuracy ([0, 1]).
        split: "train" or "test".
        title: What was run.

    Source: Bürgin et al. (2026), accuracy along the line.
    """
    figure, panels = plt.subplots(1, 2, figsize=(7.6, 3.6), sharey=True, layout="constrained")
    for axes, method in zip(panels, ("unaligned", "aligned"), strict=True):
        chosen = table[(table["method"] == method) & (table["split"] == split)]
        for name, rows in chosen.groupby("intervention", sort=False):
            look = intervention_look(name)
            wide = 100 * rows.pivot(index="lambda", columns="pair", values="accuracy")
            axes.plot(wide.index, wide, color=look.colour, lw=0.5, alpha=0.35)
            marked = {"marker": look.marker, "markevery": max(1, len(wide) // 6), "ms": 5}
            axes.plot(wide.index, wide.mean(axis=1), color=look.colour, **marked)
        axes.set(xlim=(0, 1), xlabel="mixing weight λ of the second network")
        axes.set_title(method, loc="left", fontsize="medium")
        plain(axes)
    panels[0].set_ylabel({"train": "training", "test": "test"}[split] + " accuracy (%)")
    heading(figure, title)
    legend_below(figure, [intervention_look(name) for name in table["intervention"].unique()])
    return finished(figure)


def swap_boxes(table: pd.DataFrame, title: str) -> Figure:
    """Draw the spread of swap costs of all pairs of neurons, one panel a layer, one box an intervention.

    Args:
        table: Columns intervention, layer and swap_q for the quantiles 0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.
        title: What was run.
    """
    layers, names = list(table["layer"].unique()), list(table["intervention"].unique())
    figure, panels = plt.subplots(1, len(layers), figsize=(7.6, 3.2), layout="constrained", squeeze=False)
    for axes, layer in zip(panels[0], layers, strict=True):
        axes.axhline(0, color="#999999", lw=0.8)
        for place, name in enumerate(names):
            rows = table[(table["layer"] == layer) & (table["intervention"] == name)]
            q = rows.filter(like="swap_").mean().rename(lambda c: float(c.removeprefix("swap_")))
            look = intervention_look(name)
            axes.plot([place] * 2, [q[0.0], q[1.0]], color=look.colour, lw=0.8)
            axes.plot([place] * 2, [q[0.05], q[0.95]], color=look.colour, lw=3, solid_capstyle="butt")
            axes.plot([place] * 2, [q[0.25], q[0.75]], color=look.colour, lw=9, solid_capstyle="butt")
            axes.plot(place, q[0.5], look.marker, color="#ffffff", mec=look.colour, ms=5)
        axes.set_xticks([])
        axes.set_yscale("symlog", linthresh=1)
        axes.set_title(layer.removesuffix(".weight"), loc="left", fontsize="small")
        plain(axes)
    panels[0, 0].set_ylabel("signed root of the swap cost")
    legend_below(figure, [intervention_look(name) for name in names])
    heading(figure, title)
    return finished(figure)


def gap_sweep(table: pd.DataFrame, title: str) -> Figure:
    """Draw the identifiability gap of the first layer and the matchings that costs and activations find, against scale.

    Args:
        table: Columns sigma_F, gap, predicted, measured (shares of neurons matched with themselves), agreement.
        title: What was run.
    """
    by = table.groupby("sigma_F")
    mean, places = by[["gap", "predicted", "measured", "agreement"]].mean(), range(by.ngroups)
    figure, panels = plt.subplots(1, 2, figsize=(7.6, 3.3), layout="constrained")
    panels[0].axhline(0, color="#999999", lw=0.8)
    for place, (_, values) in zip(places, by["gap"], strict=True):
        panels[0].plot([place] * len(values), values, "D", color="#009E73", alpha=0.4, ms=4, mew=0)
    panels[0].plot(places, mean["gap"], color="#009E73", lw=1.5)
    panels[0].set_yscale("symlog", linthresh=1)
    panels[0].set_ylabel("identifiability gap")
    looks = {
        "predicted": Look("by costs, from weights", "#0072B2", "o"),
        "measured": Look("by activations", "#D55E00", "s"),
        "agreement": Look("one partner by both", "#777777", "^"),
    }
    for column, look in looks.items():
        panels[1].plot(places, 100 * mean[column], look.marker, ls="-", color=look.colour, ms=5, label=look.label)
    panels[1].set_ylabel("neurons matched with themselves (%)")
    panels[1].legend(frameon=False, fontsize="small", loc="lower right")
    for axes in panels:
        axes.set_xticks(places, [f"{v:g}" for v in mean.index], fontsize="small")
        axes.set_xlabel("scale of the pinned entries, σ_F")
        plain(axes)
    heading(figure, title)
    return finished(figure)


def merging_curves(table: pd.DataFrame, title: str) -> Figure:
    """Draw test accuracy of averages of weights and of representations against the number of networks.

    Args:
        table: Columns intervention, method, merged, size, accuracy ([0, 1]).
        title: What was run.
    """
    things, sizes = list(table["merged"].unique()), sorted(table["size"].unique())
    figure, grid = plt.subplots(2, len(things), figsize=(7.6, 4.6), sharex=True, sharey=True, layout="constrained")
    for row, method in zip(grid, ("unaligned", "aligned"), strict=True):
        for axes, what in zip(row, things, strict=True):
            rows = table[(table["method"] == method) & (table["merged"] == what)]
            for name, own in rows.groupby("intervention", sort=False):
                look = intervention_look(name)
                mean = 100 * own.groupby("size")["accuracy"].mean()
                axes.plot(mean.index, mean, look.marker, ls="-", color=look.colour, ms=4, lw=1.2)
            axes.set_xscale("log", base=2)
            axes.set_xticks(sizes, map(str, sizes))
            axes.minorticks_off()
            plain(axes)
            if method == "unaligned":
                thing = "weights" if what == "weights" else f"inputs of {what.removesuffix('.weight')}"
                axes.set_title(thing, loc="left", fontsize="small")
        row[0].set_ylabel(f"{method}\ntest accuracy (%)", fontsize="small")
    for axes in grid[-1]:
        axes.set_xlabel("networks averaged", fontsize="small")
    legend_below(figure, [intervention_look(name) for name in table["intervention"].unique()])
    heading(figure, title)
    return finished(figure)


def _objective_lines(axes: Axes, values: pd.DataFrame, places: Sequence[float]) -> None:
    """Draw optimal, identity and random: a point a pair, a line for the mean, a band of two sd around random."""
    by = values.groupby(level=0)
    mean = by.mean()
    spread = 2 * mean["random_sd"]
    axes.fill_between(
        places, mean["random"] - spread, mean["random"] + spread, color="#777777", alpha=0.25, linewidth=0
    )
    for what, look in OBJECTIVES.items():
        if what != "random":
            for place, (_, pairs) in zip(places, by[what], strict=True):
                axes.plot([place] * len(pairs), pairs, look.marker, color=look.colour, alpha=0.35, ms=3, mew=0)
        axes.plot(places, mean[what], look.marker, ls="-", color=look.colour, ms=4, lw=1.3)
