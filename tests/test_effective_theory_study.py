from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import torch

from symlib.effective.costs import realization_costs
from symlib.effective.subspace import Subspace
from symlib.plots import effective as plots
from symlib.seeds import generator
from symlib.studies import effective_theory
from symlib.studies.effective_theory import (
    POWERS,
    REFERENCE,
    TRAINED,
    EffectiveTheory,
    centre_pairs,
    quantities,
    random_layer,
    rows_of,
    run,
    slopes,
)
from symlib.studies.function_classes import N_INPUTS, function_classes, wedges

SMALL = {"profile": "custom", "n_repeats": 3, "base_seed": 0, "workers": 1, "out": ""}


@pytest.fixture(scope="module")
def record():
    # The widest layers take most of the time and say nothing about the program.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(effective_theory, "WIDTHS", (16, 64, 256))
        patch.setattr(effective_theory, "SCALES", (0.0, 0.1, 1.0, 2.0))
        return run(EffectiveTheory.checked(SMALL))


@pytest.fixture(scope="module")
def found(record):
    return quantities(record)


def test_equalities_hold_to_rounding_and_the_standard_one_exactly(found):
    assert (found["difference/standard"] == 0).all()
    for name in ("least norm", "frozen rows", "syre", "exchanged inputs"):
        assert found[f"difference/{name}"].max() < 1e-13, name


@pytest.mark.parametrize(
    ("name", "within"),
    [("anisotropy", 0.03), ("spacing/2", 0.3), ("spacing/8", 0.1), ("chord/relu", 0.05), ("chord/gelu", 0.06)],
)
def test_powers_are_those_of_the_theory(found, name, within):
    assert len(found[f"slope/{name}"]) == 3
    assert found[f"slope/{name}"].mean() == pytest.approx(found[f"power/{name}"].mean(), abs=within)


def test_numbers_are_those_of_the_independent_program(found, record):
    for what in ("correlation", "ratio"):
        for trained, expected in REFERENCE[what].items():
            assert found[f"{what}/{trained:g}"].mean() == pytest.approx(expected, abs=0.15 if trained == 1 else 0.02)
    chord = rows_of(record, "chord")["relu"].mean()
    np.testing.assert_allclose(chord, list(REFERENCE["chord"].values()), rtol=0.1)
    isotropic = rows_of(record, "anisotropy").mean()
    assert isotropic["random mean", 0.0] == pytest.approx(REFERENCE["anisotropy"]["random"], rel=0.05)
    assert isotropic["copies mean", 1.0] == pytest.approx(REFERENCE["anisotropy"]["axes"], rel=0.05)


def test_no_mask_exceeds_its_bound(found):
    assert (found["exceptions"] == 0).all()


def test_identifiability_grows_with_dimension_and_scale(found):
    assert found["gap/32/0"].max() < 0 < found["gap/32/1"].min()
    assert found["gap/2/1"].mean() < found["gap/8/1"].mean() < found["gap/32/1"].mean()
    assert found["matched/32/0"].mean() < 0.2 and found["matched/32/1"].mean() == 1
    assert (found["gap/32/1"] <= found["exchange/32/1"] + 1e-12).all()


def test_scales_are_compared_on_one_draw_and_runs_on_two(found, monkeypatch):
    # Where constants outweigh what is learnt, the gap of one layer grows with the square of their scale.
    np.testing.assert_allclose(found["gap/32/2"] / found["gap/32/1"], 4, rtol=0.05)
    given = []
    monkeypatch.setattr(effective_theory, "realization_costs", lambda *args: given.append(args) or real(*args))
    monkeypatch.setattr(effective_theory, "SCALES", (1.0,))
    real = realization_costs
    effective_theory.gap(generator("two runs"))
    for (W, D, F, plane), (other, mask, fixed, same) in zip(given[::2], given[1::2], strict=True):
        assert mask is D and fixed is F and same is plane
        assert torch.equal(W[~D], other[~D]) and (W[D] != other[D]).all()


def test_layers_that_differ_in_scale_are_otherwise_the_same_draw():
    (W, D, F), (other, mask, fixed) = (random_layer(scale, 0.1, generator("layer")) for scale in (0.5, 1.0))
    assert torch.equal(D, mask) and (~D).sum(1).unique().tolist() == [64]
    torch.testing.assert_close(2 * F, fixed)
    torch.testing.assert_close(W - F, other - fixed)


def test_slopes_of_planted_power_laws():
    values = pd.DataFrame([[3 * x**-0.7 for x in (1, 2, 8)], [x**2 for x in (1, 2, 8)]], columns=[1, 2, 8])
    np.testing.assert_allclose(slopes(values), [-0.7, 2])


def test_finished_repeats_are_kept_when_more_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(effective_theory, "CHECKS", {"identities": effective_theory.identities})
    config = SMALL | {"out": str(tmp_path), "n_repeats": 2}
    run(EffectiveTheory.checked(config))
    written = (tmp_path / "shards/repeat-001/record.json").stat().st_mtime_ns
    more = run(EffectiveTheory.checked(config | {"n_repeats": 3}))
    assert (tmp_path / "shards/repeat-001/record.json").stat().st_mtime_ns == written
    assert sorted(more.table["repeat"].unique()) == [0, 1, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [({"n_repeats": 1}, "n_repeats"), ({"workers": 0}, "workers"), ({"n_repeat": 3}, "did you mean 'n_repeats'")],
)
def test_bad_parameters_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        EffectiveTheory.checked(SMALL | change)


@pytest.fixture(scope="module")
def classes():
    return function_classes(0)


def test_classes_of_small_networks_are_those_of_their_fixed_side(classes):
    standard, sparse, fixed = (classes[classes["intervention"] == name] for name in classes["intervention"].unique())
    assert not standard[["v_1", "v_2"]].any(axis=None) and not sparse[["v_1", "v_2"]].any(axis=None)
    np.testing.assert_allclose(standard[["S_11", "S_12", "S_22"]], [[1, 0, 1]] * 6, atol=1e-7)
    assert fixed[["v_1", "v_2"]].all(axis=None)
    shapes = ["S_11", "S_12", "S_22"]
    np.testing.assert_array_equal(sparse[shapes], fixed[shapes])  # one mask for both
    for table in (sparse, fixed):
        columns = [*shapes, "v_1", "v_2"]
        one, other = (table[table["run"] == run][columns].to_numpy() for run in (0, 1))
        np.testing.assert_array_equal(one, other)
    assert classes["accuracy"].min() > 0.85


def test_only_constants_tie_functions_to_neurons_in_every_draw(classes):
    gaps = pd.concat([classes, function_classes(1)]).groupby("intervention")["gap"]
    assert gaps.max()["standard"] == gaps.min()["standard"] == 0
    assert gaps.min()["w-asym 0"] < 0 < gaps.min()["w-asym 1"]


def test_costs_and_gaps_of_small_networks_follow_from_what_is_drawn(classes):
    def price(neuron, function):
        S = np.array([[neuron.S_11, neuron.S_12], [neuron.S_12, neuron.S_22]])
        beside = np.array([function.a_1 - neuron.v_1, function.a_2 - neuron.v_2])
        return beside @ np.linalg.solve(S, beside)

    for _, rows in classes.groupby("intervention"):
        runs = [list(rows[rows["run"] == run].itertuples()) for run in (0, 1)]
        for mine, theirs in (runs, runs[::-1]):
            assert [neuron.cost for neuron in mine] == pytest.approx([price(n, n) for n in mine], rel=1e-9)
            orders = [[theirs[i] for i in order] for order in permutations(range(3))]
            identity, *others = [sum(map(price, mine, order)) for order in orders]
            assert mine[0].gap == pytest.approx(min(others) - identity, abs=1e-6)


def test_inputs_of_small_networks_fill_a_plane():
    x, y = wedges(0)
    assert x.shape == (400, N_INPUTS) and torch.linalg.matrix_rank(x, rtol=1e-5) == 2
    assert torch.bincount(y).min() > 150


def test_unit_balls_are_the_functions_of_cost_one(classes):
    row = next(classes[classes["intervention"] == "w-asym 1"].itertuples())
    # A layer whose basis is the plane itself, with the mask's shape as its own.
    S = np.array([[row.S_11, row.S_12], [row.S_12, row.S_22]])
    for point in plots._unit_ball(row).T[::17]:
        beside = point - [row.v_1, row.v_2]
        assert beside @ np.linalg.solve(S, beside) == pytest.approx(1)


def test_arrows_lead_from_centres_to_what_was_realised(classes):
    figure = plots.function_class_panels(classes)
    arrows = [t for t in figure.axes[2].texts if t.arrow_patch is not None]
    rows = classes[classes["intervention"] == "w-asym 1"]
    assert sorted(a.xy for a in arrows) == sorted(zip(rows["a_1"], rows["a_2"], strict=True))
    assert sorted(a.xyann for a in arrows) == sorted(zip(rows["v_1"], rows["v_2"], strict=True))
    assert len(figure.axes[0].patches) == 3


def test_figures_of_the_theory_draw_means_over_repeats(record):
    axes = plots.chord_by_size(rows_of(record, "chord"), POWERS, REFERENCE["chord"], "").axes[0]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), rows_of(record, "chord")["relu"].mean())
    lines = plots.anisotropy_by_coherence(rows_of(record, "anisotropy"), REFERENCE["anisotropy"], "").axes[0].lines
    np.testing.assert_allclose(lines[2].get_xdata(), [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1])
    law = lines[1].get_ydata()
    assert law[-1] / law[0] == pytest.approx(32**0.5)
    left, right = plots.gap_by_scale(rows_of(record, "gap"), "").axes
    np.testing.assert_allclose(left.lines[0].get_ydata(orig=False), rows_of(record, "gap")["gap 2"].mean())
    np.testing.assert_allclose(right.lines[2].get_ydata(orig=False), rows_of(record, "gap")["matched 32"].mean())
    spaced = plots.spacing_by_width(rows_of(record, "spacing"), "").axes[0].lines
    np.testing.assert_allclose(spaced[2].get_ydata(), np.exp(np.log(rows_of(record, "spacing")["2"]).mean()))
    pairs = {trained: centre_pairs(trained, generator("pairs")).numpy() for trained in TRAINED}
    panels = plots.centre_scatter(pairs, "").axes
    np.testing.assert_array_equal(panels[1].lines[0].get_ydata(), pairs[TRAINED[1]][0])


def test_approximate_costs_are_those_of_the_drawn_layer():
    exact, approximate = centre_pairs(0.0, generator("pairs"))
    source = generator("pairs")
    W, D, F = random_layer(1.0, 0.0, source)
    U = torch.linalg.qr(torch.randn(512, 32, generator=source, dtype=torch.float64)).Q
    c = realization_costs(W, D, F, Subspace(U, 1.0)).cost
    assert float(exact[0]) == pytest.approx(float(c[0, 1] + c[1, 0] - c[0, 0] - c[1, 1]))
    assert float(approximate[0]) == pytest.approx(float(2 * ((F[0] - F[1]) @ U).square().sum() / 0.875))
