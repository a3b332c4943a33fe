"""Figures of equivariances and of the symmetries that are left over."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from symlib.plots.style import Look, finished, heading, intervention_look, plain
from symlib.theory.nullity import RANK

ACTIVATIONS = {
    "relu": Look("ReLU", "#0072B2", "o"),
    "gelu": Look("GELU", "#E69F00", "s"),
    "tanh": Look("tanh", "#009E73", "v"),
    "figlu 1": Look("FiGLU, std of F 1", "#D55E00", "^"),
    "figlu 1/sqrt d": Look("FiGLU, 1/√d", "#CC79A7", "D"),
    "figlu .01/sqrt d": Look("FiGLU, 0.01/√d", "#444444", "x"),
}
NETWORKS = {
    "standard": Look("standard", "#444444", "o"),
    "w-asym 0": Look("W-asymmetric, σ_F = 0", "#E69F00", "s"),
    "w-asym 0.03": Look("W-asymmetric, σ_F = 0.03", "#56B4E9", "v"),
    "w-asym 1": Look("W-asymmetric, σ_F = 1", "#009E73", "D"),
    "syre 1": Look("syre, σ_F = 1", "#CC79A7", "^"),
    "layer norm": Look("standard with LayerNorm", "#0072B2", "P"),
}
LEAST = 1e-17  # what rounding left is drawn no lower than this
LAST = 40  # smallest singular values that are drawn
# From kept for nothing to broken; told apart in grey too, and every cell says it in words.
SHADES = ("#D55E00", "#F5C28A", "#9FD3C0", "#9FD3C0")


def brokenness_by_gate(rows: pd.DataFrame, title: str) -> Figure:
    """Draw how much of the symmetries a gate breaks, against the standard deviation of its entries.

    Args:
        rows: One row per draw; columns (variant "smallest" or "next best", standard deviation as text).
        title: What was run.
    """
    figure, panels = plt.subplots(1, 2, figsize=(7.6, 3.4), layout="constrained")
    about = {"smallest": "smallest relative singular value", "next best": "residual, best reordering but I"}
    for axes, (what, label) in zip(panels, about.items(), strict=True):
        _swept(axes, rows[what], ACTIVATIONS["figlu 1"])
        axes.set(xlabel="standard deviation of the entries of F", ylabel=label)
    heading(figure, title)
    return finished(figure)


def residual_histogram(found: Mapping[str, np.ndarray], title: str) -> Figure:
    """Draw how far from equivariant activations are under every reordering but the identity.

    Args:
        found: Activation -> residuals.
        title: What was run.

    Source: Lim et al. (2024), Proposition 2.
    """
    figure, axes = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    bins = np.logspace(np.log10(LEAST), 1, 61)
    for name, values in found.items():
        look = ACTIVATIONS[name]
        axes.hist(values.clip(1.01 * LEAST), bins, color=look.colour, alpha=0.8, label=look.label)
    axes.set(xscale="log", yscale="log", ylim=(0.7, None), xlabel="residual (mean squared distance)")
    axes.set_ylabel("reorderings")
    axes.set_title(title, loc="left", fontsize="medium")
    axes.legend(frameon=False, fontsize="small", loc="upper center")
    plain(axes)
    return finished(figure)


def least_error_by_distance(rows: pd.DataFrame, title: str) -> Figure:
    """Draw the least error that searches found, against the distance of A from the identity.

    Args:
        rows: One row per draw; columns (activation, "least RADIUS").
        title: What was run.
    """
    figure, axes = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    for name in ("relu", "gelu", "tanh", "figlu 1"):
        look, least = ACTIVATIONS[name], rows[name].filter(like="least").min()
        radii = [float(what.removeprefix("least ")) for what in least.index]
        order = np.argsort(radii)
        axes.plot(
            np.array(radii)[order],
            least.to_numpy().clip(LEAST)[order],
            marker=look.marker,
            color=look.colour,
            ms=4,
            lw=1.2,
            label=look.label,
        )
    axes.set(yscale="log", xlabel="distance of A from the identity, |A − I|", ylabel="least relative error found")
    axes.set_title(title, loc="left", fontsize="medium")
    axes.legend(frameon=False, fontsize="small", loc="center right")
    plain(axes)
    return finished(figure)


def spectra(found: Mapping[str, np.ndarray], title: str) -> Figure:
    """Draw the smallest singular values of each network's Jacobian: a cliff stands where symmetries begin.

    Args:
        found: Name of a network -> relative singular values in falling order.
        title: What was run.
    """
    figure, axes = plt.subplots(figsize=(7.0, 3.8), layout="constrained")
    for name, values in found.items():
        look = NETWORKS[name]
        places = np.arange(LAST, 0, -1)
        style = {"color": look.colour, "ms": 5, "fillstyle": "none", "label": look.label}
        axes.plot(places, values[-LAST:].clip(LEAST), look.marker, **style)
    axes.axhline(RANK, color="#777777", lw=0.8, ls="--")
    axes.set(yscale="log", xlim=(LAST + 1, 0), xlabel="place, counted from the smallest")
    axes.set_ylabel("relative singular value")
    axes.set_title(title, loc="left", fontsize="medium")
    axes.legend(frameon=False, fontsize="small", loc="lower left")
    plain(axes)
    return finished(figure)


def smallest_by_scale(rows: pd.DataFrame, title: str) -> Figure:
    """Draw the smallest relative singular value of networks against the scale of pinned weights, and of gates.

    Args:
        rows: One row per draw; columns (variant "w-asym" or "sigma-asym", scale as text).
        title: What was run.
    """
    figure, axes = plt.subplots(figsize=(5.6, 3.6), layout="constrained")
    looks = {
        "w-asym": Look("leaky ReLU, against σ_F of pinned weights", *_colour("w-asym 1")),
        "sigma-asym": Look("FiGLU, against the std of the gate", "#D55E00", "^"),
    }
    for name, look in looks.items():
        _swept(axes, rows[name], look)
    axes.set(xlabel="scale", ylabel="smallest relative singular value")
    axes.legend(frameon=False, fontsize="small", loc="lower right")
    axes.set_title(title, loc="left", fontsize="medium")
    return finished(figure)


def table_of_verdicts(verdicts: pd.DataFrame, order: tuple[str, ...], title: str) -> Figure:
    """Draw what is left of each symmetry under each intervention as shaded cells with words.

    Args:
        verdicts: One row per symmetry, one column per intervention.
        order: All verdicts, from kept for nothing to broken.
        title: What was run.
    """
    figure, axes = plt.subplots(figsize=(8.4, 3.4), layout="constrained")
    shade = verdicts.map(order.index).to_numpy(dtype=float)
    axes.imshow(shade, cmap=ListedColormap(SHADES), vmin=-0.5, vmax=len(order) - 0.5, aspect="auto")
    for (i, j), _ in np.ndenumerate(shade):
        words = verdicts.iloc[i, j].replace(": ", ":\n").replace(", ", ",\n").replace(" pinned", "\npinned")
        axes.text(j, i, words, ha="center", va="center", fontsize="x-small")
    axes.set_xticks(range(shade.shape[1]), [_column(name) for name in verdicts.columns], fontsize="small")
    axes.set_yticks(range(shade.shape[0]), verdicts.index, fontsize="small")
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_xticks(np.arange(0.5, shade.shape[1] - 1), minor=True)
    axes.set_yticks(np.arange(0.5, shade.shape[0] - 1), minor=True)
    axes.grid(which="minor", color="white", lw=2)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)
    heading(figure, title)
    return finished(figure)


def _swept(axes: Axes, rows: pd.DataFrame, look: Look) -> None:
    """Draw the geometric mean and the range over draws of what is swept in the columns."""
    rows = rows.rename(columns=float).sort_index(axis=1)
    x = rows.columns.to_numpy(dtype=float)
    axes.fill_between(x, rows.min(), rows.max(), color=look.colour, alpha=0.2, lw=0)
    axes.plot(x, np.exp(np.log(rows).mean()), marker=look.marker, color=look.colour, ms=5, lw=1.3, label=look.label)
    axes.set(xscale="log", yscale="log")
    plain(axes)


def _colour(name: str) -> tuple[str, str]:
    look = intervention_look(name)
    return look.colour, look.marker


def _column(name: str) -> str:
    kind, _, scale = name.rpartition(" ")
    words = {
        "w-asym": "W-asymmetric\nσ_F = {}",
        "sigma-asym": "σ-asymmetric\nstd of F {}",
        "syre": "syre\nσ_F = {}",
        "fixed biases": "fixed biases\nwithin ±{}",
    }
    return words[kind].format(scale) if kind else name
