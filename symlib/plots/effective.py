"""Figures of effective function classes and of the gap; those of the other statements are in `statements.py`."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from symlib.plots.style import Look, finished, heading, intervention_look, legend_below, plain

RUNS = (Look("run 1", "#0072B2", ">"), Look("run 2", "#009E73", ">"))
CENTRE = Look("centre", "#D55E00", "o")
DIMENSIONS = ("#0072B2", "o"), ("#E69F00", "s"), ("#009E73", "^")


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


def gap_by_scale(rows: pd.DataFrame, title: str) -> Figure:
    """Draw the identifiability gap and the share of neurons that costs match with themselves across two draws.

    Args:
        rows: One row per repeat; columns (variant such as "gap/8", sigma_F).
        title: What was run.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.6, 3.6), layout="constrained")
    dimensions = [name[4:] for name in dict.fromkeys(rows.columns.get_level_values(0)) if name[:4] == "gap/"]
    looks = [Look(f"k = {k}", *look) for k, look in zip(dimensions, DIMENSIONS, strict=True)]
    for k, look in zip(dimensions, looks, strict=True):
        for axes, what in ((left, "gap"), (right, "matched")):
            middle, sd = rows[f"{what}/{k}"].mean(), rows[f"{what}/{k}"].std(ddof=1)
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
