from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import torch

from symlib.effective.costs import realization_costs
from symlib.plots import effective as plots
from symlib.plots import statements as statement_plots
from symlib.seeds import generator
from symlib.studies import effective_theory
from symlib.studies.effective_theory import STATEMENTS, EffectiveTheory, largest, quantities, rows_of, run
from symlib.studies.function_classes import N_INPUTS, function_classes, wedges
from symlib.studies.statements import anisotropy, centre_costs, centre_spacing, chord, gap, input_permutations
from symlib.studies.statements.layers import copied_axes, random_layer, slopes

SMALL = {
    "profile": "custom",
    "statements": list(STATEMENTS),
    "n_repeats": 3,
    "base_seed": 0,
    "workers": 1,
    "out": "",
}


@pytest.fixture(scope="module")
def record():
    # The widest layers take most of the time and say nothing about the program.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(centre_spacing, "WIDTHS", (16, 64, 256))
        patch.setattr(input_permutations, "WIDTHS", (16, 256))
        patch.setattr(gap, "SCALES", (0.0, 0.1, 1.0, 2.0))
        return run(EffectiveTheory.checked(SMALL))


@pytest.fixture(scope="module")
def found(record):
    return quantities(record)


def test_equalities_hold_to_rounding_and_the_standard_one_exactly(found):
    assert (found["difference/standard"] == 0).all()
    for name in ("least norm", "frozen rows", "syre"):
        assert found[f"difference/{name}"].max() < 1e-13, name


def test_only_functions_within_reach_have_a_finite_cost(found):
    assert found["out of reach/infinite"].min() == 1 and found["within reach/infinite"].max() == 0
    assert found["out of reach/finite by formula"].min() == 1


@pytest.mark.parametrize(
    ("name", "within"),
    [
        ("anisotropy", 0.03),
        ("spacing/2", 0.3),
        ("spacing/8", 0.1),
        ("chord/relu", 0.05),
        ("chord/gelu", 0.06),
        ("chord/step", 0.03),
    ],
)
def test_powers_are_those_of_the_theory(found, name, within):
    theory = 0.5 if name == "anisotropy" else found[f"power/{name}"].mean()
    assert len(found[f"slope/{name}"]) == 3
    assert found[f"slope/{name}"].mean() == pytest.approx(theory, abs=within)


def test_numbers_are_those_of_the_independent_program(found, record):
    for what in ("correlation", "ratio"):
        for trained, expected in centre_costs.REFERENCE[what].items():
            assert found[f"{what}/{trained:g}"].mean() == pytest.approx(expected, abs=0.15 if trained == 1 else 0.02)
    relu = rows_of(record, "chord")["relu"].mean()
    np.testing.assert_allclose(relu, list(chord.REFERENCE.values()), rtol=0.1)
    isotropic = rows_of(record, "anisotropy").mean()
    assert isotropic["random mean", 0.0] == pytest.approx(anisotropy.REFERENCE["random"], rel=0.05)
    assert isotropic["copies mean", 1.0] == pytest.approx(anisotropy.REFERENCE["axes"], rel=0.05)


def test_masks_exceed_their_bound_only_if_they_depend_on_each_other_or_on_the_inputs(found):
    assert found["exceptions"].max() == 0
    assert found["exceptions/chosen"].min() == found["exceptions/looking"].min() == 1
    # One coin a row: the share of rows that are pinned, above the 5 % that the bound allows.
    assert found["exceptions/coin"].mean() == pytest.approx(0.125, abs=0.03)


def test_a_subspace_inside_pinned_inputs_is_orthonormal_and_unseen():
    pinned = torch.rand(512, generator=generator("inside")) < 0.125
    plane = anisotropy.inside(pinned)
    torch.testing.assert_close(plane.basis.T @ plane.basis, torch.eye(2).double())
    assert not plane.basis[~pinned].any() and plane.coherence < 0.04


def test_masks_that_look_pin_as_often_as_others_but_not_independently():
    masks = anisotropy.chosen_masks(generator("chosen"))
    assert float(masks.double().mean()) == 0.875
    assert float((masks.double().mean(0) - 0.875).abs().max()) < 0.07
    k = anisotropy.DIMENSION
    assert (masks[:, :k] == masks[:, k : 2 * k]).all()  # a number's copies share their fate


def test_copied_axes_are_orthonormal_and_as_coherent_as_said():
    for n in (1, 4):
        plane = copied_axes(8, n)
        torch.testing.assert_close(plane.basis.T @ plane.basis, torch.eye(8).double())
        assert plane.coherence == pytest.approx(1 / n)


def test_centres_say_little_once_much_is_learnt_and_nothing_without_constants(found):
    assert found["correlation/0"].min() > 0.99 > 0.7 > found["correlation/1"].max()
    assert found["no constants/below zero/0"].min() > 0.2


def test_centres_err_where_masks_can_be_seen(found):
    assert found["coherent/correlation/0.25"].max() < found["coherent/correlation/0.0625"].min()
    assert found["coherent/infinite/0.5"].min() > 0.4 and found["coherent/infinite/0.0625"].max() == 0


def test_centres_without_a_density_coincide_where_there_is_little_room(found):
    for k in (1, 2, 4):
        assert found[f"coincide/signs/{k}"].min() == 1 and found[f"coincide/gaussian/{k}"].max() == 0
    assert found["coincide/signs/32"].max() == 0
    assert all(found[f"coincide/repeated/{k}"].min() == 1 for k in (1, 2, 4, 8, 32))


def test_input_exchanges_follow_the_closed_form_and_longer_cycles_do_not(found):
    assert found["exchange"].max() < 1e-12
    assert found["closed form/cycle/16"].mean() > 0.03


def test_equal_inputs_and_equal_constants_make_an_exchange_free(found):
    for m in (16, 256):
        assert found[f"least/copies/{m}"].max() == 0 and found[f"least/twin constants/{m}"].max() == 0
        assert found[f"least/distinct/{m}"].min() > 0.7
    assert found["least/distinct/256"].mean() == pytest.approx(2**0.5, rel=0.1)


def test_layers_leave_their_chord_sooner_where_constants_see_nothing(found):
    assert found["slope/chord/relu, unseen inputs"].mean() == pytest.approx(1, abs=0.1)


def test_barrier_is_bounded_for_convex_losses_only(found):
    assert found["barrier/share"].min() > 0 and found["barrier/share"].max() < 1
    assert found["barrier/not convex"].min() > 0.1
    a, b, x = torch.randn(3, 8, 8, generator=generator("line"), dtype=torch.float64)
    linear = chord.chord_deviation(a, b, x, lambda z: z, chord.LAMBDAS)
    assert linear.max() < 1e-14 and chord.bumpy_barrier(a, b, x) > 0.1


def test_barrier_share_by_a_loop():
    a, b = torch.randn(2, 64, 64, generator=generator("ends"), dtype=torch.float64)
    x, target = torch.randn(24, 64, generator=generator("x"), dtype=torch.float64), torch.arange(24.0).double()
    ends = torch.cat([torch.relu(x @ a.T), torch.relu(x @ b.T)])
    readout = torch.linalg.pinv(ends) @ torch.cat([target, target])
    losses, deviations = [], []
    for lam in chord.LAMBDAS.tolist():
        hidden = torch.relu(x @ ((1 - lam) * a + lam * b).T)
        losses.append(float((hidden @ readout - target).abs().mean()))
        deviations.append(float((hidden - (1 - lam) * ends[:24] - lam * ends[24:]).norm() / 24**0.5))
    assert max(losses[0], losses[-1]) < 1e-9 < 0.1 < max(losses)
    share = max(losses) / float(readout.norm()) / max(deviations)
    assert chord.barrier_share(a, b, x, target) == pytest.approx(share, rel=1e-4)


def test_identifiability_grows_with_dimension_and_scale(found):
    assert found["gap/32/0"].max() < 0 < found["gap/32/1"].min()
    assert found["gap/2/1"].mean() < found["gap/8/1"].mean() < found["gap/32/1"].mean()
    assert found["matched/32/0"].mean() < 0.2 and found["matched/32/1"].mean() == 1
    assert (found["gap/32/1"] <= found["exchange/32/1"] + 1e-12).all()


def test_scales_are_compared_on_one_draw_and_runs_on_two(found, monkeypatch):
    # Where constants outweigh what is learnt, the gap of one layer grows with the square of their scale.
    np.testing.assert_allclose(found["gap/32/2"] / found["gap/32/1"], 4, rtol=0.05)
    given = []
    monkeypatch.setattr(gap, "realization_costs", lambda *args: given.append(args) or real(*args))
    monkeypatch.setattr(gap, "SCALES", (1.0,))
    real = realization_costs
    gap.rows(generator("two runs"))
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


def test_finished_repeats_are_kept_when_more_are_asked_for(tmp_path):
    config = SMALL | {"out": str(tmp_path), "n_repeats": 2, "statements": ["costs"]}
    run(EffectiveTheory.checked(config))
    written = (tmp_path / "shards/repeat-001/record.json").stat().st_mtime_ns
    more = run(EffectiveTheory.checked(config | {"n_repeats": 3}))
    assert (tmp_path / "shards/repeat-001/record.json").stat().st_mtime_ns == written
    assert sorted(more.table["repeat"].unique()) == [0, 1, 2]


def test_pages_show_the_largest_record_of_their_own_statements(record, monkeypatch):
    def made(statements, n_repeats):
        config = record.config | {"profile": "cpu", "statements": statements, "n_repeats": n_repeats}
        about = record.about | {"config": config}
        return effective_theory.Record(record.table, about)

    kept = [made(["costs", "gap"], 7), made(["chord"], 9), made(["costs"], 2)]
    monkeypatch.setattr(effective_theory.records, "find", lambda study: kept)
    assert largest(made(["costs"], 3)) is kept[0]
    live = made(["anisotropy"], 3)
    assert largest(live) is live


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_repeats": 1}, "n_repeats"),
        ({"workers": 0}, "workers"),
        ({"n_repeat": 3}, "did you mean 'n_repeats'"),
        ({"statements": ["chords"]}, "statements.0.*'costs', 'gap'"),
        ({"statements": []}, "statements"),
    ],
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
    line = rows_of(record, "chord")
    axes = statement_plots.chord_by_size(line, chord.POWERS, chord.REFERENCE, "").axes[0]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), line["relu"].mean())
    isotropic = rows_of(record, "anisotropy")
    lines = statement_plots.anisotropy_by_coherence(isotropic, anisotropy.REFERENCE, "").axes[0].lines
    np.testing.assert_allclose(lines[2].get_xdata(), [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1])
    law = lines[1].get_ydata()
    assert law[-1] / law[0] == pytest.approx(32**0.5)
    np.testing.assert_allclose(lines[3].get_ydata(), 0.875, rtol=1e-6)
    left, right = plots.gap_by_scale(rows_of(record, "gap"), "").axes
    np.testing.assert_allclose(left.lines[0].get_ydata(orig=False), rows_of(record, "gap")["gap/2"].mean())
    np.testing.assert_allclose(right.lines[2].get_ydata(orig=False), rows_of(record, "gap")["matched/32"].mean())
    near = rows_of(record, "centre spacing")
    spaced = statement_plots.spacing_by_width(near, "").axes[0].lines
    np.testing.assert_allclose(spaced[2].get_ydata(), np.exp(np.log(near["gaussian 2"]).mean()))
    least = rows_of(record, "input permutations")
    points, _, _ = statement_plots.least_change_by_width(least, "").axes[0].containers[0]
    np.testing.assert_allclose(points.get_ydata().astype(float), least["least/distinct"].mean())
