"""Figures of the statements about neurons: what random layers show beside what the theory says."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from symlib.plots.style import Look, finished, heading, plain

ACTIVATIONS = {
    "relu": Look("ReLU", "#0072B2", "o"),
    "gelu": Look("GELU", "#D55E00", "s"),
    "step": Look("a step", "#CC79A7", "D"),
    "relu, unseen inputs": Look("ReLU, most inputs unseen by F", "#E69F00", "^"),
}
DIMENSIONS = ("#0072B2", "o"), ("#E69F00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#444444", "v")
INDEPENDENT = Look("independent program", "#111111", "x")
LEAST = {
    "distinct": Look("inputs of a random subspace", "#0072B2", "o"),
    "copies": Look("inputs that come in copies", "#E69F00", "s"),
    "twin constants": Look("two inputs with the same constants", "#D55E00", "^"),
}


def anisotropy_by_coherence(rows: pd.DataFrame, reference: Mapping[str, float], title: str) -> Figure:
    """Draw mean anisotropy and its bound against coherence, with a line of slope 1/2.

    Args:
        rows: One row per repeat; columns (variant, coherence) with variants such as "copies mean".
        reference: "random" and "axes" -> mean anisotropy found by an independent program.
        title: What was run.

    Source: Bürgin et al. (2026), anisotropy under coherence.
    """
    figure, axes = plt.subplots(figsize=(5.6, 3.8), layout="constrained")
    mean, bound, chosen = (rows[what].mean().sort_index() for what in ("copies mean", "copies bound", "chosen mean"))
    nu = mean.index.to_numpy(dtype=float)
    axes.plot(nu, bound, "--", color="#777777", label="bound, exceeded with probability 0.05")
    axes.plot(nu, mean.iloc[0] * (nu / nu[0]) ** 0.5, ":", color="#111111", label="slope 1/2")
    axes.plot(nu, mean, "o", color="#0072B2", label="copies of the axes")
    axes.plot(nu, chosen, "s", color="#E69F00", label="masks that look at the inputs")
    random = rows["random coherence"].mean().item(), rows["random mean"].mean().item()
    axes.plot(*random, "^", color="#D55E00", label="random subspace")
    axes.plot([random[0], 1.0], [reference["random"], reference["axes"]], "x", color="#111111", label=INDEPENDENT.label)
    axes.set(xscale="log", yscale="log", xlabel="coherence ν of the subspace", ylabel="mean ‖S − μ I‖")
    _titled(axes, title)
    return finished(figure)


def centre_scatter(pairs: Mapping[float, np.ndarray], title: str) -> Figure:
    """Draw exact swap costs against those that follow from the centres alone.

    Args:
        pairs: Standard deviation of trainable entries -> exact and approximate costs, shape (2, pairs).
        title: What was run.

    Source: Bürgin et al. (2026), centre-dominated regime.
    """
    figure, panels = plt.subplots(1, len(pairs), figsize=(7.6, 2.6), layout="constrained")
    for axes, (trained, (exact, approximate)) in zip(panels, pairs.items(), strict=True):
        axes.plot(approximate, exact, ".", color="#0072B2", ms=2, alpha=0.5)
        axes.axline((0, 0), slope=1, color="#111111", lw=0.8)
        axes.set_title(f"trained part {trained:g}", loc="left", fontsize="medium")
        axes.set_xlabel("from centres")
        plain(axes)
    panels[0].set_ylabel("swap cost")
    heading(figure, title)
    return finished(figure)


def spacing_by_width(rows: pd.DataFrame, title: str) -> Figure:
    """Draw the spacing of Gaussian centres against the width of the layer, with lines of slope -2/k.

    Args:
        rows: One row per repeat; columns (such as "gaussian 2" for dimension 2, width).
        title: What was run.

    Source: Bürgin et al. (2026), separation of centres.
    """
    figure, axes = plt.subplots(figsize=(5.6, 3.8), layout="constrained")
    families = [name for name in dict.fromkeys(rows.columns.get_level_values(0)) if name.startswith("gaussian")]
    for (colour, marker), name in zip(DIMENSIONS, families, strict=True):
        k = int(name.split()[1])
        middle = np.exp(np.log(rows[name]).mean())
        widths = middle.index.to_numpy(dtype=float)
        axes.plot(widths, middle, marker, color=colour, ms=5, label=f"k = {k}")
        axes.plot(widths, middle.iloc[-1] * (widths / widths[-1]) ** (-2 / k), ":", color=colour, lw=1)
    axes.set(xscale="log", yscale="log", xlabel="neurons of the layer m", ylabel="spacing γ, for σ_F = 1")
    _titled(axes, title)
    return finished(figure)


def least_change_by_width(rows: pd.DataFrame, title: str) -> Figure:
    """Draw how little an exchange of two inputs can change, in units of the theory, against the width of the layer.

    Args:
        rows: One row per repeat; columns (such as "least/distinct", neurons).
        title: What was run.

    Source: Bürgin et al. (2026), input permutations.
    """
    figure, axes = plt.subplots(figsize=(5.6, 3.4), layout="constrained")
    for size, (name, look) in zip((5, 9, 5), LEAST.items(), strict=True):  # two series lie on each other
        values = rows[f"least/{name}"]
        widths = values.columns.to_numpy(dtype=float)
        shape = {"fmt": look.marker, "ms": size, "color": look.colour}
        axes.errorbar(widths, values.mean(), values.std(ddof=1), label=look.label, **shape)
    axes.axhline(2**0.5, ls=":", color="#111111", lw=1, label="√2, where many constants average out")
    axes.set(xscale="log", xlabel="neurons of the layer m", ylabel="least change, in units of the theory")
    axes.set_ylim(-0.1, 1.9)
    _titled(axes, title)
    axes.legend(frameon=False, fontsize="small", loc="center right")
    return finished(figure)


def chord_by_size(
    rows: pd.DataFrame, powers: Mapping[str, float], reference: Mapping[float, float], title: str
) -> Figure:
    """Draw chord deviations against the size of the trainable part, with the power laws they should follow.

    Args:
        rows: One row per repeat; columns (activation, beta).
        powers: Activation -> power.
        reference: beta -> deviation for ReLU found by an independent program.
        title: What was run.

    Source: Bürgin et al. (2026), chord deviation.
    """
    figure, axes = plt.subplots(figsize=(5.6, 4.2), layout="constrained")
    for name, look in ACTIVATIONS.items():
        middle = rows[name].mean()
        betas = middle.index.to_numpy(dtype=float)
        axes.plot(betas, middle, look.marker, color=look.colour, ms=5, label=look.label)
        law = middle.iloc[0] * (betas / betas[0]) ** powers[name]
        axes.plot(betas, law, ":", color=look.colour, lw=1, label=f"power {powers[name]:g}")
    axes.plot(*zip(*reference.items(), strict=True), "x", color="#111111", label=f"{INDEPENDENT.label}, ReLU")
    axes.set(xscale="log", yscale="log", xlabel="trainable beside fixed part β", ylabel="largest ‖ξ‖ / ‖F Σ½‖")
    _titled(axes, title)
    return finished(figure)


def _titled(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize="medium")
    axes.legend(frameon=False, fontsize="small")
    plain(axes)
