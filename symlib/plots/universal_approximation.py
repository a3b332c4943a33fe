"""Figures of universal approximation by W-asymmetric MLPs."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from symlib.plots.style import Look, finished, heading, legend_below, plain
from symlib.theory.approximated_targets import Approximation

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
EXPERIMENTS = Look("n_fix = 64 (experiments)", "#CC79A7", "*")


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


def failures_by_n(rows: pd.DataFrame, bounds: pd.DataFrame, title: str) -> Figure:
    """Draw how often masks forbid the construction: of one block, and of a whole n x n map, with bounds.

    Args:
        rows: As of `symlib.studies.universal_approximation.failures`.
        bounds: As of `symlib.studies.universal_approximation.bounds`.
        title: What was run.
    """
    figure, panels = plt.subplots(2, 2, figsize=(7.6, 6.0), sharex=True, sharey="row", layout="constrained")
    looks = {**N_FIX, 64: EXPERIMENTS}
    seen = rows[rows["failed"] > 0]  # a logarithmic axis has no place for 0
    for column, (condition, label) in zip(panels.T, CONDITIONS.items(), strict=True):
        for axes, of in zip(column, ("", "map_"), strict=True):
            for n_fix, curve in bounds[bounds["condition"] == condition].groupby("n_fix"):
                axes.plot(curve["n"], curve[f"{of}bound"], "--", color=looks[n_fix].colour, lw=1.2)
            for n_fix, cells in seen[seen["condition"] == condition].groupby("n_fix"):
                star = n_fix not in N_FIX
                look, measured = looks[n_fix], cells[f"{of}measured"]
                axes.plot(cells["n"], measured, look.marker, color=look.colour, ms=11 if star else 5, clip_on=not star)
            axes.set(xscale="log", yscale="log")
            plain(axes)
        column[0].set_title(label, loc="left", fontsize="medium")
        column[1].set(xlabel="n", ylim=(1e-2, 1.3))
    panels[0, 0].set(ylabel="blocks that fail", ylim=(1e-6, 1.6))
    panels[1, 0].set_ylabel("maps n × n that fail")
    heading(figure, title)
    legend_below(figure, list(looks.values()))
    return finished(figure)
