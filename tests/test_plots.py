import numpy as np
import pandas as pd
import pytest

from symlib.plots import mode_connectivity as plots


def test_lines_are_means_over_pairs_with_bands_of_one_sd():
    table = pd.DataFrame(
        [("standard", p, lam, loss) for p, losses in enumerate([(1, 5, 1), (3, 7, 3)])
         for lam, loss in zip((0, 0.5, 1), losses, strict=True)],
        columns=["method", "pair", "lambda", "test_loss"],
    )  # fmt: skip
    axes = plots.loss_lines(table, "").axes[0]
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [(0, 2), (0.5, 6), (1, 2)])
    heights = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((2 - 2**0.5, 6 + 2**0.5))
    assert "standard" in [t.get_text() for t in axes.texts]


def test_dots_show_every_pair_the_mean_and_the_papers_number():
    barriers = pd.DataFrame({"method": ["w-asym"] * 3, "barrier": [0.0, 0.1, 0.5]})
    axes = plots.barrier_dots(barriers, {"w-asym": (-0.012, 0.05)}, "").axes[0]
    drawn = [list(line.get_xdata()) for line in axes.lines]
    assert [0.0, 0.1, 0.5] in drawn and pytest.approx([0.2, 0.2]) in drawn and [-0.012] in drawn


def test_gate_sweep_joins_the_means_in_order_of_scale():
    axes = plots.gate_sweep({1.0: pd.Series([0.2, 0.4]), 0.1: pd.Series([0.1, 0.1])}, 0.6, "").axes[0]
    np.testing.assert_allclose(axes.lines[-1].get_xydata(), [(0.1, 0.1), (1.0, 0.3)])
    assert list(axes.lines[0].get_ydata()) == [0.6, 0.6]


def test_labels_beside_the_axes_do_not_overlap():
    rows = [(m, 0, lam, 1.0) for m in plots.METHODS for lam in (0, 0.5, 1)]
    axes = plots.loss_lines(pd.DataFrame(rows, columns=["method", "pair", "lambda", "test_loss"]), "").axes[0]
    heights = sorted(text.get_position()[1] for text in axes.texts)
    low, high = axes.get_ylim()
    assert min(np.diff(heights)) > 0.05 * (high - low)


def test_fixed_side_hides_trainable_entries():
    D = np.array([[True, False], [False, True]])
    image = plots.fixed_side(D, np.array([[0.0, 2.0], [-1.0, 0.0]]), "").axes[0].images[0]
    assert image.get_array().mask.tolist() == D.tolist()
    assert image.get_clim() == (-2.0, 2.0)


def test_every_method_has_a_colour_and_marker_of_its_own():
    looks = plots.METHODS.values()
    assert len({look.colour for look in looks}) == len({look.marker for look in looks}) == len(looks)


def test_table_holds_mean_and_sample_sd():
    rows = {"method": ["w-asym"] * 2, "barrier": [1.0, 3.0], "max_barrier": 0.0, "drop": -1.0, "end_loss": 0.5}
    table = plots.barrier_table(pd.DataFrame(rows))
    assert table.loc["W-asymmetric"].tolist() == [
        2,
        0,
        "2.000 ± 1.414",
        "0.000 ± 0.000",
        "-1.000 ± 0.000",
        "0.500 ± 0.000",
    ]
