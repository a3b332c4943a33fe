"""Figures of how many epochs networks need, beside the numbers that the paper prints."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from symlib.plots.style import finished, heading, plain

MAP = "cividis"
# Lim et al. (2024), Figure 6: epochs until ResNet-20s answer 70 % of the training images of CIFAR-10. Rows are sigma_F,
# columns about how many entries are pinned.
PAPER_SIGMAS = (0, 0.75, 1.5, 2.25, 3)
PAPER_PINNED = (0, 10_000, 20_000, 30_000, 40_000)
PAPER_EPOCHS = (
    (11, 10, 11, 12, 11),
    (11, 12, 15, 19, 22),
    (11, 19, 25, 31, 38),
    (11, 24, 36, 44, 53),
    (11, 30, 46, 60, 72),
)
PAPER_TITLE = "paper: ResNet-20, CIFAR-10, 70 %"


def heat_maps(cells: pd.DataFrame, ours: str, title: str) -> Figure:
    """Draw mean epochs of every cell as colour and number, beside the paper's; each map has a range of its own.

    Args:
        cells: Columns share, sigma_F, n_pinned, at_least (epochs) and missed; cells where networks missed the threshold
            are marked.
        ours: Network, data and threshold.
        title: What was run.

    Source: Lim et al. (2024), Figure 6.
    """
    epochs, missed = (cells.pivot(index="sigma_F", columns="share", values=what) for what in ("at_least", "missed"))
    pinned = cells.groupby("share")["n_pinned"].first()
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.6, 3.7), layout="constrained")
    text = np.where(missed > 0, ">", "") + epochs.map("{:.1f}".format).to_numpy()
    _heat_map(left, epochs.to_numpy(), text, epochs.index, [f"{n:,.0f}" for n in pinned])
    paper = np.array(PAPER_EPOCHS)
    _heat_map(right, paper, paper.astype(str), PAPER_SIGMAS, [f"~{n:,}" if n else "0" for n in PAPER_PINNED])
    for axes, name in ((left, ours), (right, PAPER_TITLE)):
        axes.set_title(f"epochs, {name}", loc="left", fontsize="small")
    left.set_ylabel("σ_F")
    figure.supxlabel("pinned entries", fontsize="medium")
    heading(figure, title)
    return finished(figure)


def _heat_map(
    axes: Axes, epochs: np.ndarray, text: np.ndarray, sigmas: Sequence[float], columns: Sequence[str]
) -> None:
    image = axes.imshow(epochs, cmap=MAP, interpolation="none", aspect="auto")
    for (i, j), words in np.ndenumerate(text):
        colour = "black" if image.norm(epochs[i, j]) > 0.5 else "white"
        axes.text(j, i, words, ha="center", va="center", color=colour, fontsize="small")
    axes.set_xticks(range(len(columns)), columns, fontsize="small")
    axes.set_yticks(range(len(sigmas)), [f"{sigma:g}" for sigma in sigmas], fontsize="small")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def accuracy_curves(table: pd.DataFrame, threshold: float, title: str) -> Figure:
    """Draw training accuracy over epochs at the largest share, one line a network and one colour a sigma_F.

    Standard networks are dashed.

    Args:
        table: Columns share, sigma_F, network, epoch, accuracy.
        threshold: Where training stops.
        title: What was run.
    """
    figure, axes = plt.subplots(figsize=(7.2, 3.4), layout="constrained")
    axes.axhline(100 * threshold, color="#999999", lw=0.8)
    sigmas = sorted(table["sigma_F"].unique())
    shades = plt.get_cmap(MAP)(np.linspace(0, 0.9, len(sigmas)))
    _curves(axes, table.query(f"share == 0 and sigma_F == {sigmas[0]}"), "standard", color="#D55E00", ls="--")
    for sigma, shade, marker in zip(sigmas, shades, "os^Dv<>p*h", strict=False):
        rows = table[(table["share"] == table["share"].max()) & (table["sigma_F"] == sigma)]
        _curves(axes, rows, f"σ_F = {sigma:g}", color=shade, marker=marker)
    axes.set_xlabel("epochs")
    axes.set_ylabel("training accuracy (%)")
    axes.set_title(title, loc="left", fontsize="medium")
    axes.legend(frameon=False, fontsize="small", loc="lower right")
    plain(axes)
    return finished(figure)


def _curves(axes: Axes, rows: pd.DataFrame, label: str, **look: object) -> None:
    for _, one in rows.groupby("network"):
        axes.plot(one["epoch"], 100 * one["accuracy"], lw=1.2, ms=3.5, markevery=[-1], label=label, **look)
        label = "_nolegend_"
