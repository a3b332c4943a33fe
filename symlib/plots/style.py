"""What all figures share: the look of each method, and how a figure is finished.

Colours are Okabe and Ito's, told apart with every common colour vision; every series also has a marker or a label
of its own, so that print in grey loses nothing.
"""

from collections.abc import Sequence
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
    "git-rebasin repaired": Look("Git Re-Basin, REPAIR", "#CC79A7", "P"),
    "activation-matching": Look("activation matching", "#56B4E9", "v"),
    "sigma-asym": Look("σ-asymmetric", "#D55E00", "^"),
    "w-asym": Look("W-asymmetric", "#009E73", "D"),
    "syre": Look("syre", "#E69F00", "X"),
}


def intervention_look(name: str) -> Look:
    """Return the look of an intervention by its name, such as "w-asym 1"; the scale shows in the label.

    Raises:
        KeyError: If its kind is unknown.
    """
    kind, *scale = name.split(" ")
    colours = {"standard": ("#444444", "o"), "w-asym": ("#009E73", "D"), "syre": ("#CC79A7", "^")}
    labels = {"standard": "standard", "w-asym": "W-asymmetric", "syre": "syre"}
    looks = ("#E69F00", "s") if name == "w-asym 0" else colours[kind]
    return Look(labels[kind] + (f", σ_F = {scale[0]}" if scale else ""), *looks)


def legend_below(figure: Figure, looks: Sequence[Look]) -> None:
    """Write what each look stands for below all axes of a figure."""
    handles = [plt.Line2D([], [], color=k.colour, marker=k.marker, ms=4, label=k.label) for k in looks]
    figure.legend(handles=handles, frameon=False, fontsize="small", loc="outside lower center", ncols=4)


def heading(figure: Figure, title: str) -> None:
    """Write above all axes what was run."""
    figure.suptitle(title, x=0.01, ha="left", fontsize="medium")


def finished(figure: Figure) -> Figure:
    """Take a figure out of pyplot's hands: otherwise a notebook shows it twice, as open figure and as value."""
    plt.close(figure)
    return figure


def plain(axes: Axes) -> None:
    """Take away what does not carry data: two spines, and all but a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="both", color="#dddddd", lw=0.6)
    axes.set_axisbelow(True)
