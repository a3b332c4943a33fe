"""Figures and tables of the graph networks."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from symlib.plots.style import Look, finished, legend_below, plain

METHODS = {
    "unaligned": Look("as they are", "#444444", "o"),
    "git-rebasin": Look("weights matched", "#0072B2", "s"),
    "activation-matching": Look("activations matched", "#E69F00", "^"),
}


def barrier_rows(pairs: pd.DataFrame, title: str) -> Figure:
    """Draw the midpoint barrier of every pair, one row a variant, one symbol a method.

    Args:
        pairs: Columns variant, method, barrier (nats).
        title: What was run.

    Source: Lim et al. (2024), Table 1, last row, and our controls.
    """
    variants = list(pairs["variant"].unique())
    figure, axes = plt.subplots(figsize=(7.2, 0.42 * len(variants) + 1.4), layout="constrained")
    axes.axvline(0, color="#999999", lw=0.8, zorder=0)
    for (variant, method), rows in pairs.groupby(["variant", "method"], sort=False):
        look, y = METHODS[method], variants.index(variant)
        axes.plot(rows["barrier"], np.full(len(rows), y), look.marker, color=look.colour, alpha=0.6, ms=6)
        axes.plot([rows["barrier"].mean()] * 2, [y - 0.28, y + 0.28], color=look.colour, lw=2.5)
    axes.set_yticks(range(len(variants)), variants)
    axes.invert_yaxis()
    axes.set_xlabel("test-loss barrier at the midpoint (nats); symbols: pairs, bars: means")
    axes.set_title(title, loc="left", fontsize="medium")
    legend_below(figure, list(METHODS.values()))
    plain(axes)
    return finished(figure)


def removed_table(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Return the table of verdicts as text, one row a variant.

    Args:
        verdicts: As `removed_share.judged` returns it.
    """
    removed = verdicts["removed"].map("{:.2f}".format) + " ± " + verdicts["sd"].map("{:.2f}".format)
    shown = {
        "variant": verdicts["variant"],
        "pairs": verdicts["n"],
        "diverged": verdicts["diverged"],
        "barrier (nats)": verdicts["barrier"].map("{:.3f}".format),
        "share removed": removed,
        "p, more than half": verdicts["p_more"].map("{:.3f}".format),
        "p, less than half": verdicts["p_less"].map("{:.3f}".format),
        "missing symmetry as the reason": verdicts["verdict"],
    }
    return pd.DataFrame(shown).set_index("variant")


def score_table(networks: Mapping[str, Mapping[str, Sequence[float]]]) -> pd.DataFrame:
    """Return mean scores of the networks of each variant as text.

    Args:
        networks: Variant -> score -> one value a network.
    """
    columns = {
        "training loss (nats)": ("train_loss", "{:.3f}", 1),
        "best training accuracy (%)": ("best_train_accuracy", "{:.1f}", 100),
        "best validation accuracy (%)": ("best_valid_accuracy", "{:.1f}", 100),
        "test accuracy (%)": ("test_accuracy", "{:.1f}", 100),
        "distance of a pair": ("distance", "{:.1f}", 1),
    }
    rows = {
        variant: {label: form.format(scale * np.mean(scores[key])) for label, (key, form, scale) in columns.items()}
        for variant, scores in networks.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("variant")


def statistics_table(mended: pd.DataFrame, mixed: pd.DataFrame) -> pd.DataFrame:
    """Return mean midpoint barriers with re-estimated and with mixed statistics as text.

    Args:
        mended: Columns variant, method, barrier (nats), statistics re-estimated.
        mixed: The same with statistics as mixed.
    """
    columns = {"re-estimated": mended, "as mixed": mixed}
    means = {name: rows.groupby(["variant", "method"], sort=False)["barrier"].mean() for name, rows in columns.items()}
    return pd.DataFrame(means).map("{:.3f}".format)
