"""Figures of computation graphs, their automorphisms, and masks with equal rows."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from torch import Tensor

from symlib.plots.style import Look, finished, heading, intervention_look, legend_below, plain

WIDTHS = ("#0072B2", "o"), ("#E69F00", "s"), ("#009E73", "^"), ("#444444", "D")
EXCHANGED, OTHERS, EDGE = "#D55E00", "#444444", "#BBBBBB"

Unit = tuple[int, int]  # layer, counted from the inputs on, and place in it


def automorphism_counts(counted: pd.DataFrame, title: str) -> Figure:
    """Draw how many automorphisms each architecture has under each intervention, if layers have names.

    Args:
        counted: Columns case, intervention, log10; rows of the same case and intervention are draws.
        title: What was run.
    """
    named = counted[~counted["intervention"].str.startswith("nameless")]
    middle = named.groupby(["case", "intervention"], sort=False)["log10"].mean().unstack(sort=False)
    figure, axes = plt.subplots(figsize=(7.0, 0.29 * len(middle) + 1.5), layout="constrained")
    places = np.arange(len(middle))[::-1]
    looks = {name: intervention_look(name) for name in middle}
    for i, (name, look) in enumerate(looks.items()):
        shift = 0.22 * (len(looks) / 2 - 0.5 - i)
        axes.plot(middle[name], places + shift, look.marker, color=look.colour, ms=5, clip_on=False)
    axes.set_xscale("symlog", linthresh=1)
    axes.set(xlim=(0, 1.3 * middle.max().max()), xlabel="log₁₀ of the number of automorphisms (0: the identity alone)")
    axes.set_yticks(places, middle.index, fontsize="small")
    plain(axes)
    heading(figure, title)
    legend_below(figure, list(looks.values()))
    return finished(figure)


def masked_graphs(networks: Mapping[str, tuple[Sequence[Tensor], Sequence[Unit], Mapping[Unit, str]]]) -> Figure:
    """Draw small networks as graphs, inputs on the left, an edge for every trained entry.

    Args:
        networks: Title -> masks, each of shape (units, inputs), the units that are exchanged, and names of units.

    Source: Lim et al. (2024), appendix B.1, of whose theorem these are limiting cases.
    """
    figure, panels = plt.subplots(1, len(networks), figsize=(7.6, 2.8), layout="constrained")
    for axes, (title, (masks, exchanged, names)) in zip(panels, networks.items(), strict=True):
        _draw_graph(axes, masks, exchanged, names)
        axes.set_title(title, loc="left", fontsize="small")
    return finished(figure)


def _draw_graph(axes: Axes, masks: Sequence[Tensor], exchanged: Sequence[Unit], names: Mapping[Unit, str]) -> None:
    sizes = [masks[0].shape[1], *[len(mask) for mask in masks]]
    edges = [((i, int(t)), (i + 1, int(h))) for i, mask in enumerate(masks) for h, t in mask.nonzero()]
    colours = [EXCHANGED if {tail, head} & set(exchanged) else EDGE for tail, head in edges]
    lines = [[_place(tail, sizes), _place(head, sizes)] for tail, head in edges]
    axes.add_collection(LineCollection(lines, colors=colours, linewidths=1.2, zorder=1))
    for layer, size in enumerate(sizes):
        for unit in ((layer, place) for place in range(size)):
            colour = EXCHANGED if unit in exchanged else OTHERS
            fixed = layer in (0, len(masks))
            shape, face = ("s", "white") if fixed else ("o", colour)
            axes.plot(*_place(unit, sizes), shape, ms=9, mfc=face, mec=colour, zorder=2)
            if unit in names:
                axes.annotate(names[unit], _place(unit, sizes), (0, 8), textcoords="offset points", ha="center")
    axes.set(xlim=(-0.3, len(masks) + 0.3), ylim=(-0.5, max(sizes) - 0.2))
    axes.set_axis_off()


def _place(unit: Unit, sizes: Sequence[int]) -> tuple[float, float]:
    layer, place = unit
    return layer, (max(sizes) + sizes[layer]) / 2 - 1 - place


def twin_probabilities(rows: pd.DataFrame, title: str) -> Figure:
    """Draw how likely equal rows are in masks of square layers, against the pinned entries per row.

    Args:
        rows: Columns intervention (exact, union, measured), fan_in, n_fix, draw, value.
        title: What was run.
    """
    figure, axes = plt.subplots(figsize=(7.0, 4.0), layout="constrained")
    looks = []
    for (colour, marker), (width, of_one) in zip(WIDTHS, rows.groupby("fan_in"), strict=True):
        by_kind = {kind: part.groupby("n_fix")["value"].mean() for kind, part in of_one.groupby("intervention")}
        axes.plot(by_kind["exact"].index, by_kind["exact"], color=colour, lw=1.3)
        axes.plot(by_kind["union"].index, by_kind["union"], ":", color=colour, lw=1)
        if "measured" in by_kind:
            axes.plot(by_kind["measured"].index, by_kind["measured"], marker, color=colour, ms=5)
        looks.append(Look(f"{width:g} × {width:g}", colour, marker if "measured" in by_kind else ""))
    axes.set(xscale="log", yscale="log", ylim=(1e-12, 3), xlabel="pinned entries per row")
    axes.set_ylabel("probability of equal rows")
    axes.set_xticks(ticks := sorted(rows["n_fix"].unique()), [f"{n:g}" for n in ticks])
    axes.minorticks_off()
    plain(axes)
    heading(figure, title)
    legend_below(figure, looks)
    return finished(figure)
