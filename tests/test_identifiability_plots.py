import numpy as np
import pandas as pd
import pytest

from symlib.plots import identifiability as plots
from symlib.plots.style import intervention_look
from symlib.plots.swap_costs import swap_grid


def drawn(axes, x):
    """Return the heights of all lines of some axes at one place."""
    return {line.get_marker(): np.interp(x, *line.get_data()) for line in axes.lines if len(line.get_xdata()) > 1}


@pytest.fixture
def objectives():
    rows = [
        {"sigma_F": s, "pair": p, "layer": layer, "epoch": e, "intervention": "w-asym 1", "share": s / 10}
        | {"optimal": 0.5 + s / 10 + p / 10, "identity": s / 10, "random": 0.0, "random_sd": 0.02}
        for s in (0.0, 2.0)
        for p in (0, 1)
        for layer in ("linears.0", "linears.1")
        for e in (0, 5)
    ]
    return pd.DataFrame(rows)


def test_sweep_shows_means_over_pairs_and_the_archive_where_it_has_a_value(objectives):
    first, _ = plots.matching_sweep(objectives, "sigma_F", "", "", {"optimal": {0: 0.4}}).axes
    assert drawn(first, 1)["o"] == pytest.approx(0.75) and drawn(first, 1)["s"] == pytest.approx(0.2)
    crosses = [line for line in first.lines if line.get_marker() == "x"]
    assert [list(map(float, line.get_data()[1])) for line in crosses] == [[0.4]]
    low, high = first.collections[0].get_datalim(first.transData).intervaly
    assert (low, high) == pytest.approx((-0.04, 0.04))


def test_epochs_have_a_panel_per_layer_and_intervention(objectives):
    axes = plots.matching_epochs(objectives[objectives["sigma_F"] == 2.0], "").axes
    assert len(axes) == 2 and drawn(axes[1], 5)["o"] == pytest.approx(0.75)


def test_shares_have_a_panel_per_scale(objectives):
    axes = plots.matching_shares(objectives.assign(share=0.5), "").axes
    assert [a.get_title(loc="left") for a in axes] == ["σ_F = 0", "σ_F = 2"]


def test_trade_off_is_in_per_cent(objectives):
    table = objectives.assign(test_accuracy=0.9, drop=3.0)
    identity, drop, accuracy = plots.trade_off(table, "").axes
    assert [drawn(a, 0)[m] for a, m in ((identity, "s"), (drop, "o"), (accuracy, "D"))] == pytest.approx(
        [0.0, 3.0, 90.0]
    )


def test_lines_are_drawn_per_method_and_split():
    rows = [
        {"intervention": "standard", "method": m, "split": s, "pair": p, "lambda": t, "accuracy": a - p / 10}
        for m, s, a in (("unaligned", "train", 0.8), ("aligned", "train", 0.9), ("aligned", "test", 0.5))
        for p in (0, 1)
        for t in (0.0, 0.5, 1.0)
    ]
    unaligned, aligned = plots.accuracy_lines(pd.DataFrame(rows), "train", "").axes
    assert drawn(unaligned, 0.5)["o"] == pytest.approx(75.0) and drawn(aligned, 0.5)["o"] == pytest.approx(85.0)


def test_boxes_show_the_quantiles():
    q = {f"swap_{q:g}": y for q, y in zip((0, 0.05, 0.25, 0.5, 0.75, 0.95, 1), range(-1, 6), strict=True)}
    table = pd.DataFrame([{"intervention": "syre 1", "layer": "linears.0.weight"} | q])
    lines = plots.swap_boxes(table, "").axes[0].lines
    assert [list(map(float, line.get_ydata())) for line in lines[1:]] == [[-1, 5], [0, 4], [1, 3], [2]]


def test_gap_sweep_is_in_per_cent_of_neurons():
    table = pd.DataFrame(
        {
            "sigma_F": [0.0, 1.0],
            "gap": [-2.0, 3.0],
            "predicted": [0.1, 1.0],
            "measured": [0.0, 0.5],
            "agreement": [0.0, 0.4],
        }
    )
    gap, shares = plots.gap_sweep(table, "").axes
    assert drawn(shares, 1) == pytest.approx({"o": 100.0, "s": 50.0, "^": 40.0})
    assert drawn(gap, 1)["None"] == pytest.approx(3.0)


def test_merging_has_a_panel_per_method_and_thing():
    rows = [
        {"intervention": "standard", "method": m, "merged": what, "size": n, "accuracy": 1 / n}
        for m in ("unaligned", "aligned")
        for what in ("weights", "linears.1.weight")
        for n in (1, 2)
    ]
    axes = plots.merging_curves(pd.DataFrame(rows), "").axes
    assert len(axes) == 4 and drawn(axes[0], 2)["o"] == pytest.approx(50.0)


def test_zero_is_white_whatever_the_range():
    matrices = {(0.0, 2): np.array([[0.0, -0.1], [-0.1, 0.0]]), (1.0, 2): np.array([[0.0, 6.0], [6.0, 0.0]])}
    figure = swap_grid(matrices, [0.0, 1.0], [2], "")
    images = [a.images[0] for a in figure.axes if a.images]
    assert [tuple(np.round(i.cmap(i.norm(0.0))[:3], 1)) for i in images] == [(1.0, 1.0, 1.0)] * 2
    assert images[0].norm.vmax == pytest.approx(0.1) and images[1].norm.vmax == 6.0


def test_interventions_differ_in_colour_and_marker():
    looks = [intervention_look(name) for name in ("standard", "w-asym 0", "w-asym 2", "syre 2")]
    assert len({k.colour for k in looks}) == len({k.marker for k in looks}) == 4
    assert looks[2].label == "W-asymmetric, σ_F = 2"
