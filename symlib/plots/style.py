"""What all figures share: the look of each method, and how a figure is finished.

Colours are Okabe and Ito's, told apart with every common colour vision; every series also has a marker or a label
of its own, so that print in grey loses nothing.
"""

from dataclasses import dataclass

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Look:
    """How one method appears in every figure."""

    label: str
    colour: str
    marker: str


METHODS = {
    "standard": Look("standard", "#444444", "o"),
    "git-rebasin": Look("Git Re-Basin", "#0072B2", "s"),
    "activation-matching": Look("activation matching", "#56B4E9", "v"),
    "sigma-asym": Look("σ-asymmetric", "#D55E00", "^"),
    "w-asym": Look("W-asymmetric", "#009E73", "D"),
}


def finished(figure: Figure) -> Figure:
    """Take a figure out of pyplot's hands: otherwise a notebook shows it twice, as open figure and as value."""
    plt.close(figure)
    return figure


def plain(axes: Axes) -> None:
    """Take away what does not carry data: two spines, and all but a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="both", color="#dddddd", lw=0.6)
    axes.set_axisbelow(True)
