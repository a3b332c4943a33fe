"""Figures and tables of Bayesian networks: over epochs, at the end beside the paper's numbers, and by confidence."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from symlib.claims import p_text, unbroken
from symlib.plots.style import Look, finished, heading, legend_below, plain

LOOKS = {
    "standard": Look("standard", "#444444", "o"),
    "w-asym": Look("W-asymmetric", "#009E73", "D"),
    "w-asym 0": Look("W-asymmetric, zeros", "#56B4E9", "v"),
    "syre": Look("syre", "#E69F00", "X"),
    "smaller": Look("standard, narrower", "#999999", "p"),
    "quiet": Look("standard, 0.1 × factors", "#D55E00", "^"),
    "drowned": Look("standard, noise / √7", "#CC79A7", "<"),
    "w-asym loud": Look("W-asym., noise × √7", "#0072B2", "s"),
    "standard released": Look("standard, as released", "#444444", "1"),
    "w-asym released": Look("W-asym., as released", "#009E73", "2"),
    "narrow prior": Look("standard, narrow prior", "#CC79A7", "P"),
    "mean-field": Look("mean-field", "#CC79A7", "d"),
    "deterministic": Look("standard, not Bayesian", "#999999", ">"),
    "w-asym deterministic": Look("W-asym., not Bayesian", "#009E73", "3"),
    "ensemble": Look("ensemble of five", "#999999", "*"),
    "laplace": Look("Laplace, last layer", "#999999", "h"),
}
MEASURES = {"train_loss": "training loss (nats)", "nll": "test loss (nats)", "accuracy": "test accuracy (%)"}
FINALS = {
    "train_loss": "train loss",
    "nll": "test loss",
    "ece": "ECE",
    "accuracy": "acc. %",
    "half_accuracy": "at half",
}
WIDTHS = (12, 12, 12, 10, 10)  # of the columns of text, which fit a page together
# Lim et al. (2024), Tables 2 and 7: training loss, test loss, ECE, accuracy after 50 epochs and after 25, means and
# deviations of ten; by data set, network, norm and depth. Table 7 has the accuracy after 25 epochs only.
NOT_PRINTED = (np.nan, np.nan)
PAPER = {
    ("cifar10", "mlp", "layer", 8, "standard"): (
        (1.34, 0.0),
        (1.24, 0.01),
        (0.039, 0.009),
        (56.37, 0.31),
        (52.87, 0.2),
    ),
    ("cifar10", "mlp", "layer", 8, "w-asym"): ((1.31, 0.01), (1.22, 0.01), (0.042, 0.009), (57.08, 0.5), (54.15, 0.2)),
    ("cifar10", "mlp", "layer", 16, "standard"): (
        (2.29, 0.02),
        (2.28, 0.03),
        (0.026, 0.017),
        (13.54, 2.0),
        (13.34, 2.7),
    ),
    ("cifar10", "mlp", "layer", 16, "w-asym"): (
        (1.39, 0.01),
        (1.27, 0.01),
        (0.045, 0.009),
        (55.16, 0.44),
        (51.42, 0.3),
    ),
    ("cifar10", "resnet", "layer", 20, "standard"): (
        (0.596, 0.01),
        (0.535, 0.03),
        (0.045, 0.007),
        (81.98, 1.2),
        (72.37, 1.0),
    ),
    ("cifar10", "resnet", "layer", 20, "w-asym"): (
        (0.6, 0.02),
        (0.535, 0.01),
        (0.044, 0.004),
        (81.94, 0.6),
        (73.64, 1.5),
    ),
    ("cifar10", "resnet", "layer", 110, "standard"): (
        (0.803, 0.08),
        (0.706, 0.08),
        (0.052, 0.007),
        (75.71, 2.8),
        (59.85, 3.9),
    ),
    ("cifar10", "resnet", "layer", 110, "w-asym"): (
        (0.745, 0.07),
        (0.658, 0.06),
        (0.049, 0.004),
        (77.4, 2.4),
        (63.2, 3.0),
    ),
    ("cifar100", "resnet", "batch", 20, "standard"): (
        (1.68, 0.03),
        (1.57, 0.02),
        (0.078, 0.004),
        (56.83, 0.62),
        (46.8, 0.9),
    ),
    ("cifar100", "resnet", "batch", 20, "w-asym"): (
        (1.62, 0.02),
        (1.5, 0.03),
        (0.076, 0.006),
        (58.4, 0.62),
        (49.29, 0.4),
    ),
    ("cifar100", "resnet", "batch", 20, "smaller"): (*[NOT_PRINTED] * 4, (46.5, 1.1)),
    ("cifar100", "resnet", "layer", 20, "standard"): (
        (1.97, 0.02),
        (1.88, 0.02),
        (0.09, 0.007),
        (50.02, 0.54),
        (37.24, 1.1),
    ),
    ("cifar100", "resnet", "layer", 20, "w-asym"): (
        (1.91, 0.03),
        (1.82, 0.02),
        (0.086, 0.006),
        (51.2, 0.47),
        (39.03, 1.0),
    ),
}


def curves(table: pd.DataFrame, variants: Sequence[str], title: str) -> Figure:
    """Draw losses and accuracy over epochs, one column per depth; lines are means of networks, bands one deviation.

    Args:
        table: Columns depth, variant, network, epoch, train_loss and nll (nats), accuracy in [0, 1].
        variants: Those to draw.
        title: What was run.

    Source: Lim et al. (2024), Figure 4.
    """
    depths = sorted(table["depth"].unique())
    size = (max(5.8, 3.4 * len(depths) + 0.8), 6.6)
    figure, axes = plt.subplots(
        len(MEASURES), len(depths), figsize=size, sharex=True, squeeze=False, layout="constrained"
    )
    scaled = table.assign(accuracy=100 * table["accuracy"])
    for row, (what, label) in zip(axes, MEASURES.items(), strict=True):
        for ax, depth in zip(row, depths, strict=True):
            for name in variants:
                one = scaled[(scaled["depth"] == depth) & (scaled["variant"] == name)].dropna(subset=[what])
                _band(ax, one.groupby("epoch")[what].agg(["mean", "std"]), LOOKS[name])
            plain(ax)
        row[0].set_ylabel(label)
    for ax, depth in zip(axes[0], depths, strict=True):
        ax.set_title(f"depth {depth}", loc="left", fontsize="medium")
    for ax in axes[-1]:
        ax.set_xlabel("epochs")
    legend_below(figure, [LOOKS[name] for name in variants])
    heading(figure, title)
    return finished(figure)


def _band(axes: Axes, means: pd.DataFrame, look: Look) -> None:
    axes.plot(
        means.index,
        means["mean"],
        color=look.colour,
        marker=look.marker,
        ms=3.5,
        lw=1.3,
        markevery=max(1, len(means) // 10),
    )
    spread = means["std"].fillna(0)
    axes.fill_between(means.index, means["mean"] - spread, means["mean"] + spread, color=look.colour, alpha=0.15, lw=0)


def reliability_diagram(bins: dict[str, list[dict]], depth: int, variants: Sequence[str], title: str) -> Figure:
    """Draw how often networks are right at each confidence, all networks of a variant together; size shows how many.

    Args:
        bins: "variant depth" -> for every network count, confidence and right, each with one number a bin.
        depth: Which networks.
        variants: Those to draw.
        title: What was run.
    """
    figure, axes = plt.subplots(figsize=(5.2, 4.6), layout="constrained")
    axes.plot([0, 1], [0, 1], color="#999999", lw=0.8, ls="--")
    for name in variants:
        sound = [one for one in bins.get(f"{name} {depth}", []) if sum(one["count"])]
        if not sound:
            continue
        count, confidence, right = (np.array([one[what] for one in sound]) for what in ("count", "confidence", "right"))
        total = count.sum(0)
        filled = total > 0
        x, y = ((count * value).sum(0)[filled] / total[filled] for value in (confidence, right))
        look = LOOKS[name]
        axes.plot(x, y, color=look.colour, lw=1.2)
        axes.scatter(x, y, s=8 + 150 * total[filled] / total.sum(), color=look.colour, marker=look.marker, zorder=3)
    axes.set_xlabel("confidence in the most probable class")
    axes.set_ylabel("share that is right")
    axes.set_aspect("equal")
    plain(axes)
    legend_below(figure, [LOOKS[name] for name in variants])
    heading(figure, title)
    return finished(figure)


def finals_table(finals: pd.DataFrame, config: dict) -> str:
    """Return what networks end with as text, means and deviations, the paper's below ours.

    Args:
        finals: Columns depth, variant, train_loss, nll, ece, accuracy, half_accuracy; one row per network.
        config: Of the record, which says what of the paper stands beside it.
    """
    lines, head = [], "".join(f"{label:>{width}}" for label, width in zip(FINALS.values(), WIDTHS, strict=True))
    for depth, of_depth in finals.groupby("depth"):
        lines.append(f"{f'depth {depth}':<23}{'n':>3}{head}")
        for name, rows in of_depth.groupby("variant", sort=False):
            sound = rows.dropna(subset=["accuracy"])
            spread = [(sound[what].mean(), sound[what].std()) for what in FINALS]
            lost = f"   {len(rows) - len(sound)} diverged" if len(sound) < len(rows) else ""
            lines.append(f"{LOOKS[name].label:<23}{len(sound):>3}{_cells(spread)}{lost}")
            place = config["dataset"], config["network"], config["norm"], depth, name.removesuffix(" released")
            if place in PAPER:
                lines.append(f"{'  paper':<23}{10:>3}{_cells(PAPER[place])}")
    return "\n".join(lines)


def _cells(values: Sequence[tuple[float, float]]) -> str:
    digits = (3, 3, 3, 1, 1)
    texts = [f"{m:.{k}f} ±{f'{sd:.{k}f}'.removeprefix('0')}" for (m, sd), k in zip(values, digits, strict=True)]
    shown = ("-" if value is NOT_PRINTED else text for value, text in zip(values, texts, strict=True))
    return "".join(f"{text:>{width}}" for text, width in zip(shown, WIDTHS, strict=True))


def readings_table(readings: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return what the controls gain, and what that says, as text, one row a depth and control.

    Args:
        readings: From `studies.bayesian.readings`.
        names: Of the readings, which are columns.
    """
    columns = {
        "depth": readings["depth"],
        "control": readings["variant"].map(lambda name: LOOKS[name].label),
        "n": readings["n"],
        "accuracy (%)": readings["accuracy"].map("{:.1f}".format),
        "gained": readings["gained"].map("{:.2f}".format),
        "p, more than half": readings["p_most"].map(lambda p: unbroken(p_text(p))),
        "p, less than half": readings["p_little"].map(lambda p: unbroken(p_text(p))),
        "that is": readings["found"],
    }
    return pd.DataFrame(columns | {name: readings[name] for name in names}).set_index("depth")
