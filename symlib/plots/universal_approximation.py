"""Figures of universal approximation by W-asymmetric MLPs."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from symlib.plots.style import Look, finished, heading, legend_below, plain
from symlib.studies.universal_approximation import EXPERIMENTS
from symlib.theory.approximated_targets import Approximation
from symlib.theory.construction_failure import construction_bound, no_split_bound, two_pairs_bound

CONSTANT = Look("one constant input", "#009E73", "o")
ZEROS = Look("padded with zeros", "#D55E00", "s")
TARGET = Look("target", "#111111", "")
ERRORS = {
    "surface": Look("sin 4x₁ cos 4x₂", "#0072B2", "o"),
    "sine": Look("sin 3x", "#009E73", "^"),
    "cosine": Look("cos 3x", "#56B4E9", "v"),
    "sine, zeros": Look("sin 3x, zeros", "#D55E00", "s"),
    "cosine, zeros": Look("cos 3x, zeros", "#CC79A7", "D"),
    "sine, polynomial": Look("sin 3x, polynomial", "#E69F00", "x"),
}
N_FIX = {
    1: Look("n_fix = 1", "#0072B2", "o"),
    2: Look("n_fix = 2", "#E69F00", "s"),
    4: Look("n_fix = 4", "#009E73", "^"),
}
CONDITIONS = {"paper": "at most one pair shares an input", "split": "a split into 12 and 12"}
BOUNDS = {"paper": two_pairs_bound, "split": no_split_bound}


def surfaces(found: Mapping[int, Approximation], title: str) -> Figure:
    """Draw a target on a square, and the four-layer network of each width.

    Args:
        found: n -> network and points of an even grid.
        title: What was run.
    """
    figure, panels = plt.subplots(1, 1 + len(found), figsize=(7.6, 2.5), sharey=True, layout="constrained")
    first = next(iter(found.values()))
    side = round(len(first.y) ** 0.5)
    limit = float(first.y.abs().max())
    shown = {"target": first.y} | {f"n = {n}, error {a.error:.1g}": a.four for n, a in found.items()}
    for axes, (name, values) in zip(panels, shown.items(), strict=True):
        image = values.view(side, side).T.numpy()
        drawn = axes.imshow(image, cmap="cividis", origin="lower", extent=(-1, 1, -1, 1), vmin=-limit, vmax=limit)
        axes.set(xlabel="x₁", xticks=(-1, 0, 1), yticks=(-1, 0, 1))
        axes.set_title(name, fontsize="small")
    panels[0].set_ylabel("x₂")
    figure.colorbar(drawn, ax=panels, shrink=0.7)
    heading(figure, title)
    return finished(figure)


def error_by_width(rows: pd.DataFrame, title: str) -> Figure:
    """Draw the largest error of four-layer networks against the width, geometric mean and extremes over repeats.

    Args:
        rows: One row per repeat; columns (target, n).
        title: What was run.
    """
    figure, axes = plt.subplots(figsize=(7.6, 3.8), layout="constrained")
    for name, look in ERRORS.items():
        values = rows[name]
        n = values.columns.to_numpy(dtype=float)
        middle = np.exp(np.log(values).mean())
        spread = np.stack([middle - values.min(), values.max() - middle]).clip(0)
        axes.errorbar(n, middle, spread, marker=look.marker, color=look.colour, ms=5, lw=1.2, elinewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="width n (hidden widths 24n, n, 24n)", ylabel="largest error")
    axes.set_xticks(n, [f"{x:g}" for x in n])
    axes.minorticks_off()
    plain(axes)
    heading(figure, title)
    legend_below(figure, list(ERRORS.values()))
    return finished(figure)


def without_constant(found: Mapping[str, Approximation], title: str) -> Figure:
    """Draw four-layer networks with and without a constant input beside their targets on one feature.

    Args:
        found: "sine", "sine, zeros", "cosine" and "cosine, zeros", all on the same points.
        title: What was run.
    """
    figure, panels = plt.subplots(1, 2, figsize=(7.6, 3.2), sharey=True, layout="constrained")
    for axes, (name, label) in zip(panels, {"sine": "sin 3x", "cosine": "cos 3x"}.items(), strict=True):
        x = found[name].x[:, 0]
        axes.plot(x, found[name].y, color=TARGET.colour, lw=1)
        axes.plot(
            x, found[f"{name}, zeros"].four, color=ZEROS.colour, lw=1.3, marker=ZEROS.marker, ms=4, markevery=(9, 38)
        )
        axes.plot(x, found[name].four, CONSTANT.marker, color=CONSTANT.colour, ms=4, markevery=(28, 38))
        axes.set(xlabel="x", title=label)
        plain(axes)
    panels[0].set_ylabel("output")
    heading(figure, title)
    legend_below(figure, [TARGET, CONSTANT, ZEROS])
    return finished(figure)


def failures_by_n(rows: pd.DataFrame, title: str) -> Figure:
    """Draw how often masks forbid the construction: of one block, and of a whole n x n map, with bounds.

    Args:
        rows: As of `symlib.studies.universal_approximation.failures`.
        title: What was run.
    """
    figure, panels = plt.subplots(2, 2, figsize=(7.6, 6.0), sharex=True, sharey="row", layout="constrained")
    every = np.unique(np.geomspace(64, 4.0**11, 60).astype(int))
    for column, (condition, label) in zip(panels.T, CONDITIONS.items(), strict=True):
        for n_fix, look in N_FIX.items():
            cells = rows[(rows["condition"] == condition) & (rows["n_fix"] == n_fix) & (rows["failed"] > 0)]
            bound = np.array([BOUNDS[condition](int(n), n_fix) for n in every])
            whole = [construction_bound(b, int(n), int(n), n_fix) for n, b in zip(every, bound, strict=True)]
            # Rows are independent, and so are the n blocks of a map.
            measured = 1 - (1 - cells["measured"]) ** cells["n"]
            for axes, points, line in ((column[0], cells["measured"], bound), (column[1], measured, whole)):
                axes.plot(every, line, "--", color=look.colour, lw=1.2)
                axes.plot(cells["n"], points, look.marker, color=look.colour, ms=5)
        for axes in column:
            axes.plot(EXPERIMENTS[0], 1, "*", color="#CC79A7", ms=11, clip_on=False)
            axes.set(xscale="log", yscale="log")
            plain(axes)
        column[0].set_title(label, loc="left", fontsize="medium")
        column[1].set(xlabel="n", ylim=(1e-2, 1.3))
    panels[0, 0].set(ylabel="blocks that fail", ylim=(1e-6, 1.6))
    panels[1, 0].set_ylabel("maps n × n that fail")
    heading(figure, title)
    star = Look("n_fix = 64 (experiments)", "#CC79A7", "*")
    legend_below(figure, [*N_FIX.values(), star])
    return finished(figure)
