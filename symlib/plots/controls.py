"""Figures of the controls: what is left of the barrier when one difference between the networks is taken away."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from symlib.plots.style import Look, finished, plain

FACTORS = {
    "standard": Look("standard", "#444444", "o"),
    "w-asym": Look("W-asymmetric: pinned, shared", "#009E73", "D"),
    "anchor": Look("trainable, shared start", "#0072B2", "s"),
    "own constants": Look("pinned, each its own", "#E69F00", "^"),
    "own anchor": Look("trainable, each its own start", "#CC79A7", "v"),
    "shared start": Look("standard, one initial draw", "#56B4E9", "P"),
}
SWEEPS = {"scale": ("σ_F × {}", "#009E73", "x"), "share": ("n_fix × {}", "#009E73", "+")}


def look(variant: str) -> Look:
    """Return how a variant appears; those of the sweeps, such as "scale 0.5", carry their factor.

    Raises:
        KeyError: If it is unknown.
    """
    if variant in FACTORS:
        return FACTORS[variant]
    kind, factor = variant.split(" ")
    label, colour, marker = SWEEPS[kind]
    return Look(label.format(factor), colour, marker)


def barrier_rows(pairs: pd.DataFrame, title: str) -> Figure:
    """Draw the midpoint barrier of every pair, one row a variant, and its mean.

    Args:
        pairs: Columns variant, barrier (nats).
        title: What was run.
    """
    variants = list(pairs["variant"].unique())
    figure, axes = plt.subplots(figsize=(7.2, 0.38 * len(variants) + 1.1), layout="constrained")
    axes.axvline(0, color="#999999", lw=0.8, zorder=0)
    for y, variant in enumerate(variants):
        shape, values = look(variant), pairs.loc[pairs["variant"] == variant, "barrier"]
        axes.plot(values, np.full(len(values), y), shape.marker, color=shape.colour, alpha=0.6, ms=6)
        axes.plot([values.mean()] * 2, [y - 0.28, y + 0.28], color=shape.colour, lw=2.5)
    axes.set_yticks(range(len(variants)), [look(v).label for v in variants])
    axes.invert_yaxis()
    axes.set_xlabel("test-loss barrier at the midpoint (nats); symbols: pairs, bars: means")
    axes.set_title(title, loc="left", fontsize="medium")
    plain(axes)
    return finished(figure)


def removed_by_likeness(pairs: pd.DataFrame, title: str) -> Figure:
    """Draw the share of the barrier that is gone against how alike the two networks are in weight space.

    Args:
        pairs: Columns variant, cosine_after and removed.
        title: What was run.
    """
    figure, axes = plt.subplots(figsize=(7.2, 4.0), layout="constrained")
    for y in (0, 1):
        axes.axhline(y, color="#999999", lw=0.8, zorder=0)
    for variant, rows in pairs.groupby("variant", sort=False):
        shape = look(variant)
        axes.plot(rows["cosine_after"], rows["removed"], shape.marker, color=shape.colour, alpha=0.7, ms=6)
        if variant not in FACTORS:
            at = rows["cosine_after"].mean(), rows["removed"].min()
            # At heights of their own, since the larger the constants the closer together the symbols.
            below = 14 + 11 * (len(axes.texts) % 6)
            arrow = {"arrowstyle": "-", "color": shape.colour, "lw": 0.5}
            axes.annotate(
                shape.label,
                at,
                xytext=(6, -below),
                textcoords="offset points",
                va="top",
                fontsize="x-small",
                arrowprops=arrow,
            )
    handles = [plt.Line2D([], [], ls="", color=k.colour, marker=k.marker, label=k.label) for k in FACTORS.values()]
    figure.legend(handles=handles, frameon=False, fontsize="small", loc="outside lower center", ncols=3)
    axes.set(xlabel="cosine between the two trained networks' weights", ylabel="share of the barrier removed")
    axes.set_title(title, loc="left", fontsize="medium")
    plain(axes)
    return finished(figure)
