"""Figures of subspace coherence: what it does to masked networks."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from symlib.plots.style import Look, finished, plain

FAMILIES = {
    "exact-copy": Look("exact copies", "#0072B2", "s"),
    "random-frame": Look("random frames", "#D55E00", "^"),
}


def barrier_by_coherence(table: pd.DataFrame, compared: pd.DataFrame, title: str) -> Figure:
    """Draw the midpoint barrier against coherence, and test error along the line at the highest and lowest coherence.

    Args:
        table: Columns family, copies, coherence, outer_seed, pair, lambda, test_mse.
        compared: Midpoint barriers by (family, copies): columns mean, sd, reference_mean (test MSE).
        title: What was run.

    Source: Bürgin et al. (2026), synthetic coherence experiment.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.6, 3.8), layout="constrained", sharey=True)
    _barriers(left, compared)
    _lines(right, table)
    left.set_ylabel("test MSE")
    left.set_title("midpoint barrier", loc="left", fontsize="medium")
    right.set_title("along the line", loc="left", fontsize="medium")
    figure.suptitle(title, x=0.01, ha="left", fontsize="medium")
    for axes in (left, right):
        axes.axhline(0, color="#999999", lw=0.8, zorder=0)
        plain(axes)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", frameon=False, fontsize="small", ncols=3)
    return finished(figure)


def comparison_table(compared: pd.DataFrame) -> pd.DataFrame:
    """Return our midpoint barriers beside the independent run's as text, one row for each number of copies.

    Args:
        compared: As in `barrier_by_coherence`, with reference_sd and difference besides.
    """
    rows = compared.reset_index()
    text = {
        "copies": rows["copies"],
        "coherence": (1 / rows["copies"]).map("{:.2f}".format),
        "family": rows["family"].map({family: look.label for family, look in FAMILIES.items()}),
        "ours": _mean_sd(rows["mean"], rows["sd"]),
        "independent run": _mean_sd(rows["reference_mean"], rows["reference_sd"]),
        "difference": rows["difference"].map("{:+.3f}".format),
    }
    wide = pd.DataFrame(text).set_index(["copies", "coherence", "family"]).unstack("family")
    return wide.swaplevel(axis=1).sort_index(axis=1, level=0, sort_remaining=False).rename_axis([None, None], axis=1)


def _mean_sd(mean: pd.Series, sd: pd.Series) -> pd.Series:
    return mean.map("{:.3f}".format) + " ± " + sd.map("{:.3f}".format)


def _barriers(axes: Axes, compared: pd.DataFrame) -> None:
    for family, rows in compared.groupby("family"):
        look, coherence = FAMILIES[family], 1 / rows.index.get_level_values("copies")
        low, high = rows["mean"] - rows["sd"], rows["mean"] + rows["sd"]
        axes.fill_between(coherence, low, high, color=look.colour, alpha=0.15, linewidth=0)
        axes.plot(coherence, rows["mean"], look.marker, ls="-", color=look.colour, ms=5, label=look.label)
        hollow = {"mfc": "none", "mec": "#666666", "ms": 7, "mew": 0.8, "ls": ""}
        axes.plot(coherence, rows["reference_mean"], look.marker, **hollow)
    axes.plot([], [], "o", **hollow, label="hollow: independent run of the protocol")
    axes.set(xscale="log", xlim=(1.08, 0.092), xlabel="coherence of the inputs")
    axes.set_xticks([1, 1 / 2, 1 / 3, 1 / 5, 1 / 10], ["1", ".5", ".33", ".2", ".1"])
    axes.xaxis.set_minor_locator(NullLocator())


def _lines(axes: Axes, table: pd.DataFrame) -> None:
    means = table.groupby(["family", "coherence", "lambda"])["test_mse"].mean()
    for coherence, style in ((table["coherence"].max(), "--"), (table["coherence"].min(), "-")):
        lines = {family: means[family, coherence] for family in FAMILIES}
        for family, line in lines.items():
            look = FAMILIES[family]
            axes.plot(line.index, line, look.marker, ls=style, color=look.colour, markevery=5, ms=5)
        top = max(line.max() for line in lines.values())
        axes.annotate(f"coherence {coherence:.2g}", (0.5, top), (0, 6), textcoords="offset points", ha="center")
    axes.set(xlim=(0, 1), xlabel="mixing weight λ of the second network")
