"""Figures and tables of the loss on planes through three networks."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from symlib.plots.style import METHODS, finished, heading

N_LEVELS = 13
CAP = np.log(10)  # nats, the loss of guessing among ten classes: what lies higher is drawn alike


def plane_panels(table: pd.DataFrame, corners: Mapping[str, Sequence[Sequence[float]]], title: str) -> Figure:
    """Draw the loss on every plane, one panel a method, on one scale of colours that is finest where loss is low.

    Args:
        table: Columns method, x, y (Euclidean distance), test_loss (nats) on a square grid; NaN for a method whose
            networks diverged, which gets no panel.
        corners: Method -> coordinates (x, y) of its three networks.
        title: What was run.
    """
    shown = table.dropna()
    levels = np.geomspace(shown["test_loss"].min(), min(CAP, shown["test_loss"].max()), N_LEVELS)
    methods = shown["method"].unique()
    columns = min(len(methods), 2)
    rows = -(-len(methods) // columns)
    figure, panels = plt.subplots(
        rows, columns, figsize=(3.4 * columns + 0.9, 3.5 * rows), layout="constrained", squeeze=False
    )
    for axes, method in zip(panels.flat, methods, strict=False):
        filled = _contours(axes, shown[shown["method"] == method], levels)
        _networks(axes, np.array(corners[method]))
        axes.set_title(METHODS[method].label, loc="left", fontsize="medium")
    for axes in panels.flat[len(methods) :]:
        axes.set_visible(False)
    bar = figure.colorbar(filled, ax=panels, label="test loss (nats)", shrink=0.8, format="%.2g", ticks=levels[::2])
    bar.ax.minorticks_off()
    figure.supxlabel("distance in weight space, along the first edge", fontsize="medium")
    figure.supylabel("distance in weight space, across it", fontsize="medium")
    heading(figure, title)
    return finished(figure)


def triangle_table(triangles: pd.DataFrame) -> pd.DataFrame:
    """Return barriers and shares as text, one row per method.

    Args:
        triangles: As `studies.loss_planes.triangle` returns it; a method without a plane gets dashes.
    """
    columns = {
        "corners": ("test loss of the networks (nats)", "{:.3f}"),
        "ab": ("barrier on edge 1–2", "{:.3f}"),
        "bc": ("2–3", "{:.3f}"),
        "ca": ("3–1", "{:.3f}"),
        "centroid": ("at the centroid", "{:.3f}"),
        "highest": ("highest loss", "{:.3f}"),
        "basin": ("share in the basin", "{:.0%}"),
        "side": ("length of an edge", "{:.1f}"),
    }
    text = {
        label: ["–" if np.isnan(value) else form.format(value) for value in triangles[name]]
        for name, (label, form) in columns.items()
    }
    return pd.DataFrame(text, index=[METHODS[method].label for method in triangles["method"]])


def _contours(axes: Axes, points: pd.DataFrame, levels: np.ndarray):
    """Fill the levels of one plane and draw thin lines between them."""
    height = points.pivot(index="y", columns="x", values="test_loss")
    place = (height.columns, height.index, height.to_numpy())
    # Dark is low, also in grey print.
    filled = axes.contourf(*place, levels=levels, cmap="cividis", norm="log", extend="max")
    axes.contour(*place, levels=levels, colors="#ffffff", linewidths=0.4, alpha=0.6)
    axes.set_aspect("equal")
    axes.locator_params(nbins=5)
    axes.tick_params(labelsize="small")
    return filled


def _networks(axes: Axes, corners: np.ndarray) -> None:
    """Mark and number three networks and join them by thin lines."""
    around = np.vstack([corners, corners[:1]])
    axes.plot(*around.T, color="#ffffff", lw=0.9)
    axes.plot(*corners.T, "o", color="#ffffff", mec="#111111", ms=7)
    centre, side = corners.mean(axis=0), np.ptp(corners[:, 0])
    for number, corner in enumerate(corners, start=1):
        outwards = (corner - centre) / np.linalg.norm(corner - centre)
        axes.text(
            *(corner + 0.11 * side * outwards),
            str(number),
            color="#111111",
            ha="center",
            va="center",
            path_effects=[withStroke(linewidth=2.5, foreground="#ffffff")],
        )
