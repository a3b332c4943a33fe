"""Figures of effective function classes and of the theory of neuron identifiability."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from symlib.plots.style import Look, finished, heading, intervention_look, legend_below, plain

RUNS = (Look("run 1", "#0072B2", ">"), Look("run 2", "#009E73", ">"))
CENTRE = Look("centre", "#D55E00", "o")
ACTIVATIONS = {"relu": Look("ReLU", "#0072B2", "o"), "gelu": Look("GELU", "#D55E00", "s")}
DIMENSIONS = ("#0072B2", "o"), ("#E69F00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#444444", "v")
INDEPENDENT = Look("independent program", "#111111", "x")


def function_class_panels(table: pd.DataFrame) -> Figure:
    """Draw the functions that each neuron can have for a weight norm of 1, and those that two runs gave it.

    Args:
        table: Columns intervention, run, neuron, v_1, v_2, a_1, a_2, S_11, S_12, S_22, coefficients on a plane.

    Source: Bürgin et al. (2026), illustration of effective function classes.
    """
    names = list(table["intervention"].unique())
    figure, panels = plt.subplots(1, len(names), figsize=(7.6, 3.4), sharex=True, sharey=True, layout="constrained")
    for axes, name in zip(panels, names, strict=True):
        for row in table[table["intervention"] == name].itertuples():
            if row.run == 0:
                axes.fill(*_unit_ball(row), facecolor="#00000014", edgecolor="#777777", lw=0.9)
                axes.plot(row.v_1, row.v_2, CENTRE.marker, color=CENTRE.colour, ms=4, zorder=4)
            look = RUNS[row.run]
            axes.annotate(
                "", (row.a_1, row.a_2), (row.v_1, row.v_2), arrowprops={"arrowstyle": "->", "color": look.colour}
            )
            axes.annotate(str(row.neuron + 1), (row.a_1, row.a_2), color=look.colour, fontsize="small")
        axes.set_title(intervention_look(name).label, loc="left", fontsize="medium")
        axes.set(aspect="equal", xlabel="first coefficient")
        plain(axes)
    panels[0].set_ylabel("second coefficient")
    corners = [np.abs(_unit_ball(row)).max() for row in table.itertuples()]
    reach = 1.1 * max(*corners, table[["a_1", "a_2"]].abs().to_numpy().max())
    panels[0].set(xlim=(-reach, reach), ylim=(-reach, reach))
    legend_below(figure, [CENTRE, *RUNS])
    return finished(figure)


def _unit_ball(row) -> np.ndarray:
    """Return the outline of the functions that cost 1, shape (2, points)."""
    lengths, directions = np.linalg.eigh([[row.S_11, row.S_12], [row.S_12, row.S_22]])
    turn = np.linspace(0, 2 * np.pi, 121)
    circle = np.sqrt(lengths.clip(0))[:, None] * [np.cos(turn), np.sin(turn)]
    return np.array([[row.v_1], [row.v_2]]) + directions @ circle


def anisotropy_by_coherence(rows: pd.DataFrame, reference: Mapping[str, float], title: str) -> Figure:
    """Draw mean anisotropy and its bound against coherence, with a line of slope 1/2.

    Args:
        rows: One row per repeat; columns (variant, coherence) with variants such as "copies mean".
        reference: "random" and "axes" -> mean anisotropy found by an independent program.
        title: What was run.

    Source: Bürgin et al. (2026), anisotropy under coherence.
    """
    figure, axes = plt.subplots(figsize=(5.6, 3.8), layout="constrained")
    mean, bound = (rows[f"copies {what}"].mean().sort_index() for what in ("mean", "bound"))
    nu = mean.index.to_numpy(dtype=float)
    axes.plot(nu, bound, "--", color="#777777", label="bound, exceeded with probability 0.05")
    axes.plot(nu, mean.iloc[0] * (nu / nu[0]) ** 0.5, ":", color="#111111", label="slope 1/2")
    axes.plot(nu, mean, "o", color="#0072B2", label="copies of the axes")
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
        rows: One row per repeat; columns (dimension k as text, width).
        title: What was run.

    Source: Bürgin et al. (2026), separation of centres.
    """
    figure, axes = plt.subplots(figsize=(5.6, 3.8), layout="constrained")
    for (colour, marker), k in zip(DIMENSIONS, dict.fromkeys(rows.columns.get_level_values(0)), strict=True):
        middle = np.exp(np.log(rows[k]).mean())
        widths = middle.index.to_numpy(dtype=float)
        axes.plot(widths, middle, marker, color=colour, ms=5, label=f"k = {k}")
        axes.plot(widths, middle.iloc[-1] * (widths / widths[-1]) ** (-2 / int(k)), ":", color=colour, lw=1)
    axes.set(xscale="log", yscale="log", xlabel="neurons of the layer m", ylabel="spacing γ, for σ_F = 1")
    _titled(axes, title)
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
    figure, axes = plt.subplots(figsize=(5.6, 3.8), layout="constrained")
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


def gap_by_scale(rows: pd.DataFrame, title: str) -> Figure:
    """Draw the identifiability gap and the share of neurons that costs match with themselves across two draws.

    Args:
        rows: One row per repeat; columns (variant such as "gap 8", sigma_F).
        title: What was run.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.6, 3.6), layout="constrained")
    dimensions = [name.split()[1] for name in dict.fromkeys(rows.columns.get_level_values(0)) if name[:3] == "gap"]
    looks = [Look(f"k = {k}", *look) for k, look in zip(dimensions, DIMENSIONS, strict=False)]
    for k, look in zip(dimensions, looks, strict=True):
        for axes, what in ((left, "gap"), (right, "matched")):
            middle, sd = rows[f"{what} {k}"].mean(), rows[f"{what} {k}"].std(ddof=1)
            places = range(len(middle))
            axes.errorbar(places, middle, sd, marker=look.marker, color=look.colour, ms=5, lw=1.3, elinewidth=1)
            axes.set_xticks(places, [f"{s:g}" for s in middle.index], fontsize="small")
    left.axhline(0, color="#999999", lw=0.8, zorder=0)
    left.set_yscale("symlog", linthresh=0.1)
    left.set(xlabel="σ_F", ylabel="identifiability gap")
    right.set(xlabel="σ_F", ylabel="neurons matched with themselves", ylim=(-0.03, 1.05))
    for axes in (left, right):
        plain(axes)
    heading(figure, title)
    legend_below(figure, looks)
    return finished(figure)


def _titled(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize="medium")
    axes.legend(frameon=False, fontsize="small")
    plain(axes)
