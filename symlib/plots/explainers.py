"""Still pictures of what readers can play with where scripts run: for paper, and for everybody else."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from symlib.plots.style import METHODS, Look, finished, intervention_look, legend_below, plain

COSTS = "PuOr_r"  # zero is white; the page's script has the same colours
NEURONS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00")
RUNS = (Look("first run", "#444444", ">"), Look("second run", "#444444", "x"))


def swap_panels(data: Mapping) -> Figure:
    """Draw the swap costs of every network, and below them the weights of the two neurons that are looked at.

    Args:
        data: As `studies.explainers.swaps` returns it.
    """
    networks, pair = data["networks"], data["pair"]
    figure = plt.figure(figsize=(7.6, 5.0), layout="constrained")
    above = [f"costs {n}" for n in range(len(networks)) for _ in pair]
    below = [f"weights {n} {i}" for n in range(len(networks)) for i in pair]
    panels = figure.subplot_mosaic([above, below], height_ratios=[2, 1])
    for n, network in enumerate(networks):
        panels[f"costs {n}"].set_title(intervention_look(network["name"]).label, fontsize="medium", loc="left")
        _heat_map(panels[f"costs {n}"], np.array(network["swap"]), pair)
        for i in pair:
            _weights(panels[f"weights {n} {i}"], network, i, data["side"])
    return finished(figure)


def _heat_map(axes: Axes, swap: np.ndarray, pair: list[int]) -> None:
    # A layer of equal neurons has zeros only, which any range shows.
    limit = float(np.abs(swap).max()) or 1.0
    ends = (0.5, len(swap) + 0.5)
    image = axes.imshow(swap, cmap=COSTS, vmin=-limit, vmax=limit, extent=(*ends, *ends[::-1]), interpolation="none")
    axes.plot(pair[1] + 1, pair[0] + 1, "s", mfc="none", mec="#0072B2", ms=8)
    axes.set_xlabel("neuron j", fontsize="small")
    axes.set_ylabel("neuron i", fontsize="small")
    ticks = range(1, len(swap) + 1, 3)
    axes.set_xticks(ticks, ticks, fontsize="x-small")
    axes.set_yticks(ticks, ticks, fontsize="x-small")
    bar = axes.figure.colorbar(image, ax=axes, location="bottom", shrink=0.9, label="signed root of swap cost")
    bar.ax.tick_params(labelsize="x-small")


def _weights(axes: Axes, network: Mapping, neuron: int, side: int) -> None:
    limit = np.abs(network["weights"]).max()
    image = np.reshape(network["weights"][neuron], (side, side))
    axes.imshow(image, cmap=COSTS, vmin=-limit, vmax=limit, interpolation="none")
    rows, columns = np.divmod(np.array(network["pinned"][neuron], dtype=int), side)
    axes.plot(columns, rows, ".", color="#000000", ms=3)
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(f"weights of {neuron + 1}", fontsize="small")


def line_panels(data: Mapping) -> Figure:
    """Draw loss and accuracy along every line, and what the networks halfway say of the digits.

    Args:
        data: As `studies.explainers.between` returns it.
    """
    digits, methods = data["images"], data["methods"]
    figure = plt.figure(figsize=(7.6, 6.2), layout="constrained")
    curves, below = figure.subfigures(2, 1, height_ratios=[1, 1.3])
    loss, accuracy = curves.subplots(1, 2)
    for method in methods:
        look = METHODS[method["name"]]
        style = {"color": look.colour, "marker": look.marker, "ms": 3, "lw": 1.2}
        loss.plot(data["lambdas"], method["loss"], **style)
        accuracy.plot(data["lambdas"], 100 * np.array(method["accuracy"]), **style)
    loss.set(xlabel="λ", ylabel="test loss (nats)")
    accuracy.set(xlabel="λ", ylabel="test accuracy (%)")
    for axes in (loss, accuracy):
        plain(axes)
    grid = below.subplots(1 + len(methods), len(digits), squeeze=False)
    for column, (image, label) in enumerate(zip(digits, data["labels"], strict=True)):
        _digit(grid[0, column], np.array(image), label)
        for axes, method in zip(grid[1:, column], methods, strict=True):
            _chances(axes, method["probability"][column][len(data["lambdas"]) // 2], METHODS[method["name"]].colour)
    for axes in grid[-1]:
        axes.set_xticks(range(10), range(10), fontsize="xx-small")
    below.suptitle("class probabilities halfway", fontsize="medium", x=0.01, ha="left")
    legend_below(figure, [METHODS[method["name"]] for method in methods])
    return finished(figure)


def _digit(axes: Axes, image: np.ndarray, label: int) -> None:
    side = int(len(image) ** 0.5)
    axes.imshow(image.reshape(side, side), cmap="gray_r", interpolation="none")
    axes.set_title(f"a {label}", fontsize="small")
    axes.axis("off")


def _chances(axes: Axes, chances: list[int], colour: str) -> None:
    axes.bar(range(len(chances)), chances, color=colour)
    axes.set(ylim=(0, 100), xticks=[], yticks=[])
    axes.spines[["top", "right", "left"]].set_visible(False)


def scale_panels(data: Mapping) -> Figure:
    """Draw what each toy neuron can realise at the smallest, the middle and the largest scale, and the swap costs.

    Args:
        data: As `studies.explainers.scale` returns it.
    """
    last = len(data["scales"]) - 1
    figure, grid = plt.subplots(2, 3, figsize=(7.6, 5.6), layout="constrained")
    reach = 1.1 * max(np.abs(_outlines(data, data["scales"][last])).max(), np.abs(_outlines(data, 0)).max())
    for (above, below), step in zip(grid.T, (0, last // 2, last), strict=True):
        sigma_F = data["scales"][step]
        _classes(above, data, sigma_F)
        above.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        above.set_title(f"σ_F = {sigma_F:g}", loc="left", fontsize="medium")
        _numbers(below, np.array(data["swap"][step]), np.abs(data["swap"]).max())
    grid[0, 0].set_ylabel("second coefficient")
    grid[1, 0].set_ylabel("neuron i")
    legend_below(figure, RUNS)
    return finished(figure)


def _outlines(data: Mapping, sigma_F: float) -> np.ndarray:
    """Return the edge of what each neuron can realise at cost 1, shape (m, 2, points)."""
    turn = np.linspace(0, 2 * np.pi, 121)
    S = np.array(data["S"])[:, [[0, 1], [1, 2]]]
    centres = sigma_F * np.array(data["centre"])
    return centres[:, :, None] + np.linalg.cholesky(S) @ [np.cos(turn), np.sin(turn)]


def _classes(axes: Axes, data: Mapping, sigma_F: float) -> None:
    for neuron, (outline, colour) in enumerate(zip(_outlines(data, sigma_F), NEURONS, strict=True)):
        centre = sigma_F * np.array(data["centre"][neuron])
        axes.fill(*outline, facecolor=colour + "1a", edgecolor=colour, lw=1)
        axes.annotate(
            str(neuron + 1), centre, color=colour, fontsize="small", xytext=(3, 3), textcoords="offset points"
        )
        for learnt, look in zip(data["learnt"], RUNS, strict=True):
            ends = np.array([centre, centre + learnt[neuron]])
            axes.plot(*ends.T, color=colour, marker=look.marker, markevery=[1], ms=4, lw=1)
    axes.set_xlabel("first coefficient")
    plain(axes)


def _numbers(axes: Axes, swap: np.ndarray, limit: float) -> None:
    axes.imshow(swap, cmap=COSTS, vmin=-limit, vmax=limit, interpolation="none")
    for i, j in np.ndindex(*swap.shape):
        ink = "#ffffff" if abs(swap[i, j]) > 0.6 * limit else "#000000"
        axes.text(j, i, f"{swap[i, j]:.1f}", ha="center", va="center", fontsize="x-small", color=ink)
    ticks = range(len(swap))
    axes.set_xticks(ticks, [t + 1 for t in ticks], fontsize="x-small")
    axes.set_yticks(ticks, [t + 1 for t in ticks], fontsize="x-small")
    axes.set_xlabel("neuron j")
