"""Figures and tables of mode connectivity, alignment and the fixed side."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from symlib.plots.style import METHODS, Look, finished, plain


def loss_lines(table: pd.DataFrame, title: str) -> Figure:
    """Draw test loss along the line: one curve per method, mean over pairs with a band of one sd.

    Args:
        table: Columns method, pair, lambda, test_loss (nats).
        title: What was run.

    Source: Lim et al. (2024), Figure 3.
    """
    figure, axes = plt.subplots(figsize=(7.2, 4.2), layout="constrained")
    ends = {}
    for method, rows in table.groupby("method", sort=False):
        look = METHODS[method]
        wide = rows.pivot(index="lambda", columns="pair", values="test_loss")
        mean, sd = wide.mean(axis=1), wide.std(axis=1, ddof=1)
        axes.fill_between(wide.index, mean - sd, mean + sd, color=look.colour, alpha=0.15, linewidth=0)
        axes.plot(wide.index, mean, look.marker, ls="-", color=look.colour, markevery=6, markersize=5, lw=1.8)
        ends[method] = mean.iloc[len(mean) // 2]
    _label_beside(axes, ends, x=1.02)
    axes.set(xlim=(0, 1), xlabel="mixing weight λ of the second network", ylabel="test loss (nats)")
    axes.set_title(title, loc="left", fontsize="medium")
    plain(axes)
    return finished(figure)


def barrier_dots(barriers: pd.DataFrame, paper: Mapping[str, tuple[float, float]], title: str) -> Figure:
    """Draw the midpoint barrier of every pair, the mean, and the paper's number where it has one.

    Args:
        barriers: Columns method, barrier (nats).
        paper: Method -> printed mean and sd (nats).
        title: What was run.

    Source: Lim et al. (2024), Table 1.
    """
    methods = list(barriers["method"].unique())
    figure, axes = plt.subplots(figsize=(7.2, 0.6 * len(methods) + 1.3), layout="constrained")
    axes.axvline(0, color="#999999", lw=0.8, zorder=0)
    for y, method in enumerate(methods):
        look, values = METHODS[method], barriers.loc[barriers["method"] == method, "barrier"]
        axes.plot(values, np.full(len(values), y), look.marker, color=look.colour, alpha=0.55, markersize=6, mew=0)
        axes.plot([values.mean()] * 2, [y - 0.22, y + 0.22], color=look.colour, lw=2.5)
        if method in paper:
            mean, sd = paper[method]
            axes.errorbar(mean, y + 0.33, xerr=sd, fmt="x", color="#111111", markersize=6, capsize=2, lw=1)
    axes.plot([], [], "x", color="#111111", label="paper, mean ± sd")
    axes.plot([], [], "|", color="#444444", markersize=12, mew=2.5, label="ours, mean (symbols: pairs)")
    axes.set_yticks(range(len(methods)), [METHODS[m].label for m in methods])
    axes.invert_yaxis()
    axes.set_xlabel("test-loss barrier at the midpoint (nats)")
    axes.set_title(title, loc="left", fontsize="medium")
    axes.legend(frameon=False, fontsize="small", loc="best")
    plain(axes)
    return finished(figure)


def barrier_table(barriers: pd.DataFrame) -> pd.DataFrame:
    """Return mean and sd over pairs as text, one row per method; pairs that diverged are counted and left out.

    Args:
        barriers: Columns method, barrier, max_barrier, end_loss (nats) and drop (percentage points).
    """
    columns = {
        "barrier": "midpoint barrier (nats)",
        "max_barrier": "maximum barrier (nats)",
        "drop": "accuracy drop (points)",
        "end_loss": "test loss at the ends (nats)",
    }
    by_method = barriers.groupby("method", sort=False)[list(columns)]
    mean, sd = by_method.mean(), by_method.std(ddof=1)
    text = mean.map("{:.3f}".format) + " ± " + sd.map("{:.3f}".format)
    text.insert(0, "pairs", by_method.count()["barrier"])
    text.insert(1, "diverged", by_method.size() - text["pairs"])
    return text.rename(columns=columns, index=lambda method: METHODS[method].label).rename_axis(None)


def gate_sweep(barriers: Mapping[float, pd.Series], standard: float, title: str) -> Figure:
    """Draw the barrier of sigma-asymmetric networks against the scale of their gate.

    Args:
        barriers: Standard deviation of the gate's entries -> midpoint barrier of each pair (nats).
        standard: Mean barrier of standard networks (nats), drawn for comparison.
        title: What was run.
    """
    look = METHODS["sigma-asym"]
    figure, axes = plt.subplots(figsize=(7.2, 3.2), layout="constrained")
    axes.axhline(standard, color=METHODS["standard"].colour, ls="--", lw=1.2)
    axes.text(1.02, standard, "standard", transform=axes.get_yaxis_transform(), va="center", fontsize="small")
    scales = sorted(barriers)
    for scale in scales:
        pairs = barriers[scale]
        axes.plot([scale] * len(pairs), pairs, look.marker, color=look.colour, alpha=0.55, markersize=6, mew=0)
    axes.plot(scales, [barriers[scale].mean() for scale in scales], color=look.colour, lw=1.8)
    axes.set(xscale="log", xlabel="standard deviation of the entries of F", ylabel="midpoint barrier (nats)")
    axes.set_title(title, loc="left", fontsize="medium")
    plain(axes)
    return finished(figure)


def mended_midpoints(accuracies: pd.DataFrame, title: str) -> Figure:
    """Draw the accuracy halfway for every aligner, as mixed and with its statistics put right.

    Args:
        accuracies: Test accuracy in per cent, one row per pair, columns (method, mended).
        title: What was run.
    """
    looks = {
        "as mixed": Look("as mixed", "#444444", "o"),
        "re-estimated": Look("BatchNorm re-estimated", "#0072B2", "s"),
        "repaired": Look("REPAIR", "#D55E00", "^"),
    }
    methods = list(dict.fromkeys(method for method, _ in accuracies.columns))
    figure, axes = plt.subplots(figsize=(7.2, 0.75 * len(methods) + 1.2), layout="constrained")
    for (method, mended), values in accuracies.items():
        look = looks[mended]
        y = methods.index(method) + 0.22 * (list(looks).index(mended) - 1)
        label = look.label if method == methods[0] else None
        axes.plot(values, np.full(len(values), y), look.marker, color=look.colour, alpha=0.5, markersize=6, mew=0)
        axes.plot(values.mean(), y, look.marker, color=look.colour, markersize=8, mec="#ffffff", label=label)
    axes.set_yticks(range(len(methods)), methods)
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel="test accuracy at the midpoint (%); large symbols: mean over pairs")
    axes.set_title(title, loc="left", fontsize="medium")
    figure.legend(frameon=False, fontsize="small", loc="outside lower center", ncols=3)
    plain(axes)
    return finished(figure)


def architecture_panels(table: pd.DataFrame) -> Figure:
    """Draw test loss along the line for several architectures, one panel each, all pairs as thin lines.

    Args:
        table: Columns architecture, method, pair, lambda, test_loss (nats).
    """
    names = list(table["architecture"].unique())
    figure, panels = plt.subplots(1, len(names), figsize=(7.6, 2.9), layout="constrained")
    for axes, name in zip(np.atleast_1d(panels), names, strict=True):
        for method, rows in table[table["architecture"] == name].groupby("method", sort=False):
            look = METHODS[method]
            wide = rows.pivot(index="lambda", columns="pair", values="test_loss")
            axes.plot(wide.index, wide, color=look.colour, lw=0.7, alpha=0.5)
            axes.plot(wide.index, wide.mean(axis=1), look.marker, ls="-", color=look.colour, markevery=4, markersize=4)
        axes.set(xlim=(0, 1), ylim=(0, None), xlabel="mixing weight λ")
        axes.set_title(name, loc="left", fontsize="medium")
        plain(axes)
    np.atleast_1d(panels)[0].set_ylabel("test loss (nats)")
    shown = [METHODS[method] for method in table["method"].unique()]
    handles = [plt.Line2D([], [], color=look.colour, marker=look.marker, label=look.label) for look in shown]
    figure.legend(handles=handles, frameon=False, fontsize="small", loc="outside lower center", ncols=len(shown))
    return finished(figure)


def pinned_shares(shares: Mapping[str, Sequence[float]], maps: Sequence[str]) -> Figure:
    """Draw which share of each linear map is pinned, one line per network.

    Args:
        shares: Network -> share of pinned entries of every map, in [0, 1].
        maps: Their names, the same for all networks.
    """
    figure, axes = plt.subplots(figsize=(7.2, 3.4), layout="constrained")
    looks = (("#0072B2", "o"), ("#D55E00", "^"), ("#009E73", "D"))
    for (name, values), (colour, marker) in zip(shares.items(), looks, strict=False):
        axes.plot(range(len(maps)), [100 * v for v in values], marker, ls="-", lw=1, color=colour, label=name, ms=5)
    axes.set_xticks(range(len(maps)), maps, rotation=90, fontsize="x-small")
    axes.set(ylim=(0, 105), ylabel="entries pinned (%)")
    axes.legend(frameon=False, fontsize="small")
    plain(axes)
    return finished(figure)


def fixed_side(D: np.ndarray, F: np.ndarray, title: str) -> Figure:
    """Draw which entries of a weight matrix are pinned, and to what.

    Args:
        D: True where trainable, shape (rows, columns).
        F: Fixed values, same shape.
        title: Which matrix.

    Source: Lim et al. (2024), Figure 2.
    """
    figure, axes = plt.subplots(figsize=(7.2, 7.2 * D.shape[0] / D.shape[1] + 1), layout="constrained")
    limit = float(np.abs(F).max()) or 1.0
    image = axes.imshow(np.ma.masked_array(F, mask=D), cmap="PuOr", vmin=-limit, vmax=limit, interpolation="none")
    axes.set_facecolor("#cccccc")  # apart from the near white of values near 0
    axes.set(xlabel="input", ylabel="neuron")
    axes.set_title(title, loc="left", fontsize="medium")
    figure.colorbar(image, ax=axes, label="pinned value (grey: trainable)", shrink=0.9)
    return finished(figure)


def _label_beside(axes: Axes, heights: Mapping[str, float], x: float) -> None:
    """Write each method's name right of the axes at the height of its curve's middle, spread so none overlap."""
    low, high = axes.get_ylim()
    gap, at = 0.065 * (high - low), -np.inf
    for method, y in sorted(heights.items(), key=lambda item: item[1]):
        at = max(y, at + gap)
        look = METHODS[method]
        axes.plot([x], [at], look.marker, color=look.colour, markersize=5, clip_on=False)
        axes.text(x + 0.025, at, look.label, color="#222222", va="center", fontsize="small")
