from itertools import permutations, product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from symlib.plots import symmetries as plots
from symlib.seeds import generator
from symlib.studies import equivariances as study
from symlib.studies.checks import rows_of
from symlib.studies.equivariances import PLANTED, RADII, REFERENCE, Equivariances, quantities, run
from symlib.theory.activations import ELEMENTWISE, figlu
from symlib.theory.equivariances import count_exact, next_best, reorderings, residuals
from symlib.theory.gates import is_rigid, linear_equivariances, parameters_with_one_input
from symlib.theory.generators import generator_spectrum
from symlib.theory.linear_search import FOUND, search
from symlib.theory.nullity import nullity

CONFIG = {
    "profile": "custom",
    "n_draws": 2,
    "units": 3,
    "n_starts": 64,
    "base_seed": 0,
    "workers": 1,
    "out": "",
}


def normal(*shape, key="x"):
    return torch.randn(*shape, generator=generator(key), dtype=torch.float64)


X, GATE = normal(100, 5), normal(5, 5, key="gate")
CIRCULANT = torch.stack([GATE[0].roll(i) for i in range(5)])
SCALED = CIRCULANT / torch.tensor([0.5, 1.5, 2.5, 3.5, 4.5])


@pytest.fixture(scope="module")
def record():
    return run(Equivariances.checked(CONFIG))


@pytest.fixture(scope="module")
def found(record):
    return quantities(record)


def test_identities_of_figlu():
    torch.testing.assert_close(figlu(GATE)(X) - figlu(GATE)(-X), X)
    torch.testing.assert_close(figlu(0 * GATE)(X), X / 2)
    torch.testing.assert_close(figlu(torch.eye(5).double())(X), F.silu(X))


@pytest.mark.parametrize(("name", "expected"), REFERENCE["generators"].items())
def test_generators_are_as_many_as_an_independent_program_counts(name, expected):
    sigma = study.activations(GATE)[name]
    assert nullity(generator_spectrum(sigma, X)) == expected
    assert nullity(generator_spectrum(sigma, X, diagonal=True)) == min(expected, 5)


@pytest.mark.parametrize("diagonal", [False, True])
def test_equations_for_generators_are_those_of_a_loop(diagonal):
    sigma, x, d = figlu(GATE[:3, :3]), X[:8, :3], 3
    rows = []
    for point in x:
        slope, y = torch.autograd.functional.jacobian(sigma, point), sigma(point)
        for i in range(d):
            of_X = [slope[i, a] * point[b] for a, b in product(range(d), repeat=2) if a == b or not diagonal]
            of_Y = [-y[k] * (j == i) for j, k in product(range(d), repeat=2) if j == k or not diagonal]
            rows.append(torch.stack(of_X + of_Y))
    values = torch.linalg.svdvals(torch.stack(rows))
    torch.testing.assert_close(generator_spectrum(sigma, x, diagonal), values / values[0])


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("sigma", [torch.tanh, figlu(GATE[:3, :3]), figlu(0.01 * GATE[:3, :3])])
def test_residuals_are_those_of_trying_all_pairs(sigma, signed):
    x = X[:20, :3]
    every = reorderings(3, signed)
    slow = [min((sigma(x @ P.T) - sigma(x) @ Q.T).square().sum(1).mean() for Q in every) for P in every]
    torch.testing.assert_close(residuals(sigma, x, signed), torch.stack(slow), rtol=1e-12, atol=1e-28)


def test_all_reorderings_once_and_the_identity_first():
    assert len(reorderings(4).unique(dim=0)) == 24 and len(reorderings(4, signed=True).unique(dim=0)) == 24 * 16
    assert torch.equal(reorderings(4, signed=True)[0], torch.eye(4).double())


@pytest.mark.parametrize(("name", "exact", "signed"), [("gelu", 24, 24), ("relu", 24, 24), ("tanh", 24, 24 * 16)])
def test_elementwise_activations_commute_with_all_reorderings_and_odd_ones_with_signs(name, exact, signed):
    assert count_exact(residuals(ELEMENTWISE[name], X[:, :4])) == exact
    assert count_exact(residuals(ELEMENTWISE[name], X[:, :4], signed=True)) == signed


@pytest.mark.parametrize("scale", [1.0, 5**-0.5, 0.01 * 5**-0.5])
def test_figlu_commutes_with_the_identity_alone(scale):
    assert count_exact(residuals(figlu(scale * GATE), X)) == 1
    assert count_exact(residuals(figlu(scale * GATE), X[:50], signed=True)) == 1
    assert nullity(generator_spectrum(figlu(scale * GATE), X)) == 0


@pytest.mark.parametrize(
    ("name", "scale"), [("figlu 1", 1), ("figlu 1/sqrt d", 5**-0.5), ("figlu .01/sqrt d", 0.01 * 5**-0.5)]
)
def test_next_best_reordering_is_as_far_as_an_independent_program_finds(name, scale):
    # Gates differ, hence the factor; the middle of several draws.
    middle = np.median([next_best(residuals(figlu(scale * normal(5, 5, key=k)), X)) for k in range(9)])
    assert REFERENCE["next best"][name] / 3 < middle < 3 * REFERENCE["next best"][name]


def test_repeated_entries_bring_reorderings_back_only_where_they_are_arranged():
    assert count_exact(residuals(figlu(CIRCULANT), X)) == 5
    assert count_exact(residuals(figlu(torch.ones(5, 5).double()), X)) == 120
    repeated = GATE.clone()
    repeated[0, 1] = repeated[2, 0]
    assert count_exact(residuals(figlu(repeated), X)) == 1


@pytest.mark.parametrize(
    ("place", "generators"), [((slice(None), 1), 1), ((1, slice(None)), 0), ((range(5), range(5)), 0)]
)
def test_a_zero_column_lets_its_unit_be_scaled_and_other_zeros_do_not(place, generators):
    gate = GATE.clone()
    gate[place] = 0
    assert nullity(generator_spectrum(figlu(gate), X, diagonal=True)) == generators
    scale = torch.tensor([1, 3.0, 1, 1, 1]).double()
    kept = torch.allclose(figlu(gate)(scale * X), scale * figlu(gate)(X), rtol=1e-12, atol=1e-14)
    assert kept is bool(generators)


@pytest.mark.parametrize(
    ("gate", "number"), [(GATE, 1), (CIRCULANT, 5), (SCALED, 5), (torch.tensor(PLANTED).double(), 2)]
)
def test_equivariances_from_the_gate_alone_are_ones(gate, number):
    A = linear_equivariances(gate)
    x = X[:, : len(gate)]
    assert len(A) == number and torch.equal(A[0], torch.eye(len(gate)).double())
    for matrix in A:
        torch.testing.assert_close(figlu(gate)(x @ matrix.T), figlu(gate)(x) @ matrix.T, rtol=1e-10, atol=1e-12)
    assert is_rigid(gate) is (number == 1)


def test_distinct_entries_are_not_enough():
    assert len(SCALED.unique()) == 25 and count_exact(residuals(figlu(SCALED), X)) == 1
    assert nullity(generator_spectrum(figlu(SCALED), X, diagonal=True)) == 0
    A = linear_equivariances(SCALED)[1]
    assert (figlu(SCALED)(X @ A.T) - figlu(SCALED)(X) @ A.T).abs().max() < 1e-12 < (A - torch.eye(5)).abs().max()


def test_certificate_never_succeeds_where_trying_everything_finds_more():
    source = generator("small entries")
    outcomes = set()
    for _ in range(200):
        gate = torch.randint(1, 4, (3, 3), generator=source).double()
        try:
            number = len(linear_equivariances(gate))
        except ValueError:
            continue
        outcomes.add((number > 1, is_rigid(gate)))
    assert outcomes == {(False, True), (False, False), (True, False)}


def test_units_that_can_be_scaled_at_will_have_factor_1_among_the_discrete_maps():
    gate = GATE.clone()
    gate[:, 3] = 0
    assert torch.equal(linear_equivariances(gate), torch.eye(5).double()[None]) and not is_rigid(gate)


def test_wide_gates_are_certified():
    assert is_rigid(torch.randn(256, 256, generator=generator("wide")))


@pytest.mark.parametrize("sign", [1, -1])
def test_rows_that_are_equal_up_to_sign_are_refused_because_their_units_can_mix(sign):
    gate = GATE.clone()
    gate[1] = sign * gate[0]
    gate[:, 1] = sign * gate[:, 0]
    for judge in (linear_equivariances, is_rigid):
        with pytest.raises(ValueError, match="equal up to sign"):
            judge(gate)
    mix = torch.eye(5).double()
    mix[:2, :2] += torch.tensor([[1.0], [-sign]]) @ torch.tensor([[0.3, 0.8]])  # along what the gates do not see
    kept = torch.allclose(figlu(gate)(X @ mix.T), figlu(gate)(X) @ mix.T, rtol=1e-12, atol=1e-13)
    assert kept is (sign == 1)
    assert nullity(generator_spectrum(figlu(gate), X)) == (2 if sign == 1 else 0)


def test_unfit_gates_are_refused():
    gate = GATE.clone()
    gate[2] = 0
    with pytest.raises(ValueError, match="a row of F is zero"):
        is_rigid(gate)
    with pytest.raises(ValueError, match="square matrix, got shape \\(5, 4\\)"):
        is_rigid(GATE[:, :4])
    with pytest.raises(ValueError, match="up to 7 units, got 8: `is_rigid` takes any width"):
        linear_equivariances(normal(8, 8))


@pytest.mark.parametrize(
    ("sigma", "x", "message"),
    [
        (torch.relu, X.float(), "must be float64 of shape \\(n, d\\), got torch.float32"),
        (nn.GLU(), X[:, :4], "from d to d units; this one maps \\(100, 4\\) to \\(100, 2\\)"),
        (torch.log, X, "not finite on the samples"),
        (nn.BatchNorm1d(5).double(), X, "differently in another batch"),
    ],
)
def test_activations_outside_the_class_are_refused(sigma, x, message):
    for judge in (generator_spectrum, residuals):
        with pytest.raises(ValueError, match=message):
            judge(sigma, x)


def test_too_many_units_and_too_few_samples_are_refused():
    with pytest.raises(ValueError, match="1 to 6 units, got 7"):
        residuals(torch.relu, normal(20, 7))
    with pytest.raises(ValueError, match="9 samples give 45 equations for 50 unknowns: take 10"):
        generator_spectrum(torch.relu, X[:9])


def starts(n, d, key="starts"):
    return torch.linalg.qr(normal(n, d, d, key=key)).Q * (1 - 2 * torch.randint(2, (n, 1, d), generator=generator(key)))


def test_search_finds_what_there_is_and_for_figlu_nothing():
    x = X[:60, :3]
    orders = search(F.gelu, x, starts(200, 3)).kinds()
    assert {tuple(A.argmax(1).tolist()) for A in orders} == set(permutations(range(3))) and len(orders) == 6
    alone = search(figlu(GATE[:3, :3]), x, starts(200, 3)).kinds()
    assert len(alone) == 1
    eye = torch.eye(3).double()
    assert (alone[0] - eye).abs().max() < 1e-3
    planted = search(figlu(torch.tensor(PLANTED).double()), x[:, :2], starts(40, 2))
    assert len(planted.kinds()) == 2
    swap = planted.A[(planted.error < FOUND) & (planted.A[:, 0, 0].abs() < 0.1)][0]
    torch.testing.assert_close(swap, torch.tensor([[0, 2.0], [0.5, 0]]).double(), atol=1e-4, rtol=0)


def test_search_keeps_its_distance_and_measures_the_best_partner():
    x, radius = X[:60, :3], torch.tensor([0.5, 2.0] * 20).double()
    for name, sigma in (("relu", torch.relu), ("figlu", figlu(GATE[:3, :3]))):
        end = search(sigma, x, starts(40, 3), radius)
        torch.testing.assert_close((end.A - torch.eye(3)).norm(dim=(1, 2)), radius)
        answers, y = sigma(x @ end.A[7].T), sigma(x)
        best = y @ torch.linalg.lstsq(y, answers).solution
        relative = (answers - best).square().sum(0) / answers.square().sum(0)
        assert float(end.error[7]) == pytest.approx(float(relative.mean().sqrt()), abs=1e-12)
        least = end.error[end.invertible].min()
        assert least < 1e-9 if name == "relu" else least > 1e-3


def test_singular_maps_are_no_equivariances():
    both = torch.tensor([[[1.0, 0], [1, 0]], [[0, 1], [1, 0]]]).double()  # relu(A x) = B relu(x) for either
    end = search(torch.relu, X[:, :2], both)
    assert (end.error < FOUND).all() and end.invertible.tolist() == [False, True] and len(end.kinds()) == 1


def test_with_one_input_any_order_of_units_gives_the_same_function():
    w, W2, t = normal(5, key="w"), normal(3, 5, key="W2"), torch.linspace(-2, 2, 9).double()[:, None]
    other, read = parameters_with_one_input(GATE, w, W2, torch.tensor([2, 0, 1, 4, 3]))
    assert (other - w).abs().max() > 0.1
    before, after = figlu(GATE)(t * w) @ W2.T, figlu(GATE)(t * other) @ read.T
    torch.testing.assert_close(before, after, rtol=1e-9, atol=1e-11)


def test_the_function_determines_weights_only_without_equivariances(found):
    for name in ("relu, scaled", "gelu, reordered", "tanh, signs"):
        assert found[f"parameters/{name}/function"].max() < 1e-12 < 0.05 < found[f"parameters/{name}/weights"].min()
    for name in ("scaled", "reordered", "signs"):
        assert found[f"parameters/figlu, {name}/function"].min() > 1e-3
    nullities = {name: found[f"parameters/{name}/nullity"].tolist() for name in ("relu", "gelu", "figlu")}
    assert nullities == {"relu": [3, 3], "gelu": [0, 0], "figlu": [0, 0]}


def test_singular_or_oblong_weights_are_not_determined(found):
    assert found["parameters/figlu, W1 singular/nullity"].tolist() == [3, 3]
    assert found["parameters/figlu, W2 = 0/nullity"].tolist() == [9, 9]
    assert found["parameters/figlu, one input/function"].max() < 1e-9
    assert found["parameters/figlu, one input/weights"].min() > 0.01


def test_special_gates_in_the_study(found):
    expected = {  # reorderings, diagonal generators, generators
        "Gaussian": (1, 0, 0),
        "circulant": (3, 0, 0),
        "all equal": (6, 0, 6),
        "zero diagonal": (1, 0, 0),
        "zero row": (1, 0, 0),
        "zero column": (1, 1, 1),
        "twins": (2, 0, 2),
        "planted": (1, 0, 0),
        "scaled circulant": (1, 0, 0),
    }
    for name, numbers in expected.items():
        for what, number in zip(("reorderings", "diagonal", "generators"), numbers, strict=True):
            assert found[f"gates/{name}/{what}"].tolist() == [number] * 2, (name, what)
    assert found["gates/planted/linear"].tolist() == [2, 2]
    assert found["gates/scaled circulant/linear"].tolist() == [3, 3]
    assert all(found[f"gates/{name}/rigid"].all() for name in study.PAPER_GATES)


def test_brokenness_is_largest_for_gates_of_middle_size(record):
    least = rows_of(record, "gate scale")["smallest"].rename(columns=float).sort_index(axis=1).mean()
    assert least[0.001] < least[0.01] < least[1.0] > least[10.0] > least[30.0]
    assert least[0.01] / least[0.001] == pytest.approx(10, rel=0.1)


def test_draws_are_kept_and_differ(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "CHECKS", {"gate scale": study.gate_scale})
    record = run(Equivariances.checked(CONFIG | {"out": str(tmp_path)}))
    assert (tmp_path / "shards/draw-001/record.json").exists() and (tmp_path / "record/table.csv").exists()
    one, other = (part["value"].to_numpy() for _, part in record.table.groupby("draw"))
    assert not np.isclose(one, other).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"units": 7}, "units: input should be less than or equal to 6, got 7"),
        ({"n_draws": 1}, "n_draws"),
        ({"n_starts": len(RADII) - 1}, "n_starts"),
        ({"unit": 5}, "did you mean 'units'"),
    ],
)
def test_bad_parameters_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Equivariances.checked(CONFIG | change)


def test_figures_draw_what_was_found(record):
    left, right = plots.brokenness_by_gate(rows_of(record, "gate scale"), "").axes
    values = rows_of(record, "gate scale")["next best"].rename(columns=float).sort_index(axis=1)
    np.testing.assert_allclose(right.lines[0].get_ydata(), np.exp(np.log(values).mean()))
    assert len(left.lines[0].get_xdata()) == len(study.GATE_STDS)
    lines = {
        line.get_label(): line for line in plots.least_error_by_distance(rows_of(record, "searches"), "").axes[0].lines
    }
    np.testing.assert_allclose(lines["GELU"].get_xdata(), RADII, rtol=1e-2)
    least = rows_of(record, "searches")["figlu 1", "least 2"].min()
    assert lines["FiGLU, std of F 1"].get_ydata()[RADII.index(2.0)] == pytest.approx(least)
    residual = study.residuals_by_activation(3, generator("histogram"))
    axes = plots.residual_histogram(residual, "").axes[0]
    assert sum(patch.get_height() for patch in axes.patches) == 4 * 5  # four activations, 3! - 1 reorderings
