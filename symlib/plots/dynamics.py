"""Figures of how independent runs move, and of how far apart the function classes of their neurons are."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from symlib.plots.style import Look, finished, heading, intervention_look, legend_below, plain

ARCHIVE = Look("the authors' archive", "#111111", "x")


def over_epochs(panels: Mapping[str, pd.DataFrame], title: str) -> Figure:
    """Draw measures over training, one panel each: mean per intervention with a band of one sd.

    Args:
        panels: Name of the measure with its unit -> columns intervention, at (epochs), index, value.
        title: What was run.
    """
    figure, grid = plt.subplots(1, len(panels), figsize=(7.6, 2.9), layout="constrained")
    for axes, (name, table) in zip(np.atleast_1d(grid), panels.items(), strict=True):
        for intervention, rows in table.groupby("intervention", sort=False):
            look, wide = intervention_look(intervention), rows.pivot(index="at", columns="index", values="value")
            mean, sd = wide.mean(axis=1), wide.std(axis=1, ddof=1)
            axes.fill_between(wide.index, mean - sd, mean + sd, color=look.colour, alpha=0.15, linewidth=0)
            axes.plot(wide.index, mean, look.marker, ls="-", color=look.colour, ms=4, lw=1.4)
        axes.set(xlim=(0, None), xlabel="epochs", ylabel=name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        plain(axes)
    heading(figure, title)
    names = next(iter(panels.values()))["intervention"].unique()
    legend_below(figure, [intervention_look(name) for name in names])
    return finished(figure)


def wide(table: pd.DataFrame, rows: str, statistic: str = "mean") -> pd.DataFrame:
    """Return a table with one column per intervention.

    Args:
        table: Columns intervention, value, and the one named by `rows`.
        rows: What rows stand for.
        statistic: Of the values that fall into one cell.
    """
    cells = table.groupby([rows, "intervention"], sort=False)["value"].agg(statistic)
    return cells.unstack("intervention", sort=False).rename_axis(None).rename_axis(None, axis=1)


def distance_boxes(
    panels: Mapping[str, pd.DataFrame], title: str, reference: Mapping[str, float] | None = None
) -> Figure:
    """Draw distances of function classes as boxes on a logarithmic axis, one panel for each way to find them.

    Boxes run from quartile to quartile, whiskers from the 5th to the 95th percentile.

    Args:
        panels: Way -> columns intervention, value (mean square).
        title: What was run.
        reference: Intervention -> median of the authors.

    Source: Bürgin et al. (2026), box plot from before the release.
    """
    figure, grid = plt.subplots(1, len(panels), figsize=(7.6, 3.2), sharey=True, layout="constrained")
    for axes, (way, table) in zip(np.atleast_1d(grid), panels.items(), strict=True):
        for place, (name, rows) in enumerate(table.groupby("intervention", sort=False)):
            look = intervention_look(name)
            box = axes.boxplot(rows["value"], positions=[place], widths=0.6, whis=(5, 95), showfliers=False)
            for line in (line for lines in box.values() for line in lines):
                line.set_color(look.colour)
            axes.plot(place, rows["value"].median(), look.marker, color=look.colour, ms=5)
            if reference and name in reference:
                axes.plot(place, reference[name], ARCHIVE.marker, color=ARCHIVE.colour, ms=6)
        axes.set(yscale="log", xticks=[])
        axes.set_title(way, loc="left", fontsize="medium")
        plain(axes)
    np.atleast_1d(grid)[0].set_ylabel("distance (mean square)")
    heading(figure, title)
    names = next(iter(panels.values()))["intervention"].unique()
    legend_below(figure, [*[intervention_look(name) for name in names], *([ARCHIVE] if reference else [])])
    return finished(figure)


def distance_path(panels: Mapping[str, pd.DataFrame], title: str) -> Figure:
    """Draw the median distance of function classes against what neurons have to pay for their weights.

    Args:
        panels: Where it was measured -> columns intervention, at (penalty), value (mean square).
        title: What was run.
    """
    figure, grid = plt.subplots(1, len(panels), figsize=(7.6, 3.2), sharey=True, layout="constrained")
    for axes, (name, table) in zip(np.atleast_1d(grid), panels.items(), strict=True):
        for intervention, rows in table.groupby("intervention", sort=False):
            look, median = intervention_look(intervention), rows.groupby("at")["value"].median()
            axes.plot(median.index, median, look.marker, ls="-", color=look.colour, ms=5, lw=1.4)
        axes.set(xscale="log", yscale="log", xlabel="penalty of the squared norm")
        axes.set_title(name, loc="left", fontsize="medium")
        plain(axes)
    np.atleast_1d(grid)[0].set_ylabel("median distance (mean square)")
    heading(figure, title)
    names = next(iter(panels.values()))["intervention"].unique()
    legend_below(figure, [intervention_look(name) for name in names])
    return finished(figure)
