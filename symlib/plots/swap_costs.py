"""Figures of swap costs on data of known intrinsic dimension."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure

from symlib.plots.style import finished, heading


def swap_grid(
    matrices: Mapping[tuple[float, int], np.ndarray], scales: Sequence[float], dimensions: Sequence[int], title: str
) -> Figure:
    """Draw swap costs of all pairs of neurons as images: one row a scale, one column a dimension.

    Every row has its own range, so that small costs of either sign can be told apart; zero is white in both.

    Args:
        matrices: (sigma_F, k) -> signed roots of swap costs, shape (m, m).
        scales: Rows.
        dimensions: Columns.
        title: What was run.

    Source: Bürgin et al. (2026), Figure 5.
    """
    shape = (len(scales), len(dimensions))
    figure, grid = plt.subplots(*shape, figsize=(7.6, 2.5 * shape[0] + 0.4), layout="constrained", squeeze=False)
    for scale, row in zip(scales, grid, strict=True):
        limit = max(float(np.abs(matrices[scale, k]).max()) for k in dimensions)
        norm = SymLogNorm(linthresh=limit / 20, vmin=-limit, vmax=limit)
        for k, axes in zip(dimensions, row, strict=True):
            image = axes.imshow(matrices[scale, k], cmap="PuOr_r", norm=norm, interpolation="none")
            axes.set_title(f"σ_F = {scale:g}, k = {k}", fontsize="small", loc="left")
            axes.tick_params(labelsize="x-small")
        row[0].set_ylabel("neuron i", fontsize="small")
        ticks = [-limit, -limit / 10, 0, limit / 10, limit]
        bar = figure.colorbar(image, ax=row, shrink=0.9, ticks=ticks, label="signed root of swap cost")
        bar.ax.set_yticklabels([f"{tick:.2g}" for tick in ticks], fontsize="x-small")
        bar.ax.minorticks_off()
    for axes in grid[-1]:
        axes.set_xlabel("neuron j", fontsize="small")
    heading(figure, title)
    return finished(figure)
