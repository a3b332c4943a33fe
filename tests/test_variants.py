import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from symlib.asymmetry import Standard, WAsymmetry, constraint
from symlib.networks.mlp import MLP
from symlib.plots.variants import verdict_table
from symlib.population import initialise, logits
from symlib.seeds import generator
from symlib.studies.variants import Prediction, aligned, compared, judged, separation, summed_up

USUAL = {"standard": [1.0, 1.1, 0.9], "w-asym": [0.0, 0.01, -0.01]}
PREDICTED = {"anchor": Prediction("needed", "less"), "zeros": Prediction("enough", "more")}


def pairs_of(barriers):
    """Return planted pairs: variant -> one midpoint barrier each."""
    rows = [
        {"variant": variant, "pair": pair, "lambda": at, "test_loss": loss, "test_accuracy": 0.9}
        for variant, values in barriers.items()
        for pair, barrier in enumerate(values)
        for at, loss in ((0.0, 0.1 + 0 * barrier), (0.5, 0.2 + barrier), (1.0, 0.3))
    ]
    return compared(summed_up(pd.DataFrame(rows)))


def verdict(barriers, variant="anchor"):
    return judged(pairs_of(barriers), PREDICTED).set_index("variant").loc[variant]


@pytest.mark.parametrize(
    ("values", "anchor", "zeros"),
    [
        ([0.9, 1.0, 0.8], "supports", "undermines"),
        ([0.0, 0.1, 0.0], "undermines", "supports"),
        ([0.1, 0.9, 0.5], "undecided", "undecided"),
    ],
)
def test_verdicts_follow_the_rule(values, anchor, zeros):
    words = judged(pairs_of(USUAL | {"anchor": values, "zeros": values, "other": values}), PREDICTED)
    words = words.set_index("variant")
    assert (words.loc["anchor", "verdict"], words.loc["zeros", "verdict"]) == (anchor, zeros)
    assert words.loc["other", "verdict"] == words.loc["standard", "verdict"] == words.loc["other", "reading"] == "-"


def test_nothing_is_decided_where_there_is_nothing_to_remove():
    level = {"standard": [0.11, 0.10, 0.12], "w-asym": [0.13, 0.12, 0.14], "anchor": [0.21, 0.2, 0.22]}
    assert verdict(level)["verdict"] == "undecided"
    below = {"standard": [-0.4, -0.41, -0.39], "w-asym": [-0.6, -0.61, -0.59], "anchor": [-0.58, -0.6, -0.59]}
    assert verdict(below)["verdict"] == "undecided"  # a loss that falls on the way is no barrier
    # Twice as far from the W-asymmetric barrier as from nothing, and yet no share of it is gone.
    assert verdict(USUAL | {"anchor": [2.0, 2.1, 1.9]})["verdict"] == "supports"


def test_tests_are_those_of_the_excess_over_the_middle():
    row = verdict(USUAL | {"anchor": [0.4, 0.8, 0.5]})
    excess = np.array([0.4, 0.8, 0.5]) - (np.array(USUAL["standard"]) + USUAL["w-asym"]) / 2
    assert row["p_less"] == pytest.approx(stats.ttest_1samp(excess, 0, alternative="greater").pvalue)
    beyond = np.array([0.4, 0.8, 0.5]) - USUAL["w-asym"]
    assert row["beyond"] == pytest.approx(beyond.mean())
    low, high = stats.t.interval(0.95, 2, beyond.mean(), stats.sem(beyond))
    assert row["ci"] == pytest.approx((high - low) / 2)


def test_lines_are_summed_up_as_elsewhere():
    found = pairs_of({"standard": [1.0], "w-asym": [0.0]}).set_index("variant").loc["standard"]
    assert found["barrier"] == pytest.approx(1.0) and found["end_loss"] == pytest.approx(0.2)
    assert found["end_accuracy"] == pytest.approx(90) and found["drop"] == pytest.approx(0)


def test_removed_share_is_0_for_standard_and_1_on_average_for_w_asymmetric_pairs():
    found = pairs_of(USUAL).groupby("variant")["removed"]
    assert (found.get_group("standard") == 0).all() and found.mean()["w-asym"] == pytest.approx(1)


def test_pairs_that_diverge_are_counted_and_left_out():
    row = verdict(USUAL | {"anchor": [0.9, np.nan, 0.8]})
    assert (row["n"], row["diverged"], row["unpaired"]) == (2, 1, 0)
    assert row["barrier"] == pytest.approx(0.85)


def test_pairs_without_a_standard_partner_are_counted_and_left_out():
    row = verdict({"standard": [1.0, np.nan, 0.9], "w-asym": USUAL["w-asym"], "anchor": [0.9, 5.0, 0.8]})
    assert (row["n"], row["diverged"], row["unpaired"]) == (2, 0, 1)
    assert row["barrier"] == pytest.approx(0.85)


def test_table_says_what_was_judged():
    text = verdict_table(judged(pairs_of(USUAL | {"anchor": [0.0, 0.1, 0.0]}), PREDICTED), str.upper)
    assert text.loc["ANCHOR", "missing symmetry is"] == "needed: undermines"
    assert text.loc["STANDARD", "missing symmetry is"] == "-" and text.loc["W-ASYM", "share removed"] == "1.00"


def test_separation_is_taken_on_trainable_entries():
    model = MLP([4, 3, 2])
    fixed = constraint(model, WAsymmetry([2, 1], 1.0), 0)
    pair = initialise(model, fixed, [0, 1])
    found = separation(pair)
    squares = 0.0
    for name, w in pair.params.items():
        D = fixed.D.get(name, torch.ones_like(w[0], dtype=torch.bool))
        squares += float((w[0][D] - w[1][D]).double().square().sum())
    assert found["distance"] == pytest.approx([squares**0.5]) and found["n_trainable"] == [4 * 3 + 3 * 2 + 11 - 8]
    # Pinned entries count for nothing, even if they differ.
    moved = {
        name: w + 100 * ~fixed.D[name] * torch.tensor([0.0, 1.0])[:, None, None] if name in fixed.D else w
        for name, w in pair.params.items()
    }
    assert separation(pair.holding(moved))["distance"] == pytest.approx(found["distance"])


def test_aligned_networks_compute_what_they_did():
    model = MLP([4, 6, 2])
    pair = initialise(model, constraint(model, Standard(), 0), [0, 1])
    x = torch.randn(50, 4, generator=generator("aligned"))
    moved = aligned(pair[:1], pair[1:], x, generator("match"))
    assert set(moved) == {"git-rebasin", "activation-matching"}
    for network in moved.values():
        torch.testing.assert_close(logits(network, x), logits(pair[1:], x), rtol=1e-4, atol=1e-5)
        assert not torch.equal(network.params["linears.0.weight"], pair[1:].params["linears.0.weight"])
