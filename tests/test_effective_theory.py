import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from symlib.effective.anisotropy import anisotropies, anisotropy_bound
from symlib.effective.centres import centre_spacing, centre_swap_costs
from symlib.effective.chord import chord_deviation, fixed_size
from symlib.effective.costs import realization_costs, swap_costs
from symlib.effective.input_permutations import input_change, input_spacing, transposition_changes
from symlib.effective.subspace import Subspace, coherence
from symlib.seeds import generator

normal = partial(torch.randn, dtype=torch.float64)


def subspace(d, k, *key):
    return Subspace(torch.linalg.qr(normal(d, k, generator=generator("theory", *key))).Q, 0.9)


def slope(x, y):
    x, y = torch.as_tensor(x).double().log(), torch.as_tensor(y).double().log()
    return float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())


@pytest.mark.parametrize("n_frozen", [0, 3, 12, 20])
def test_anisotropies_are_spectral_norms(n_frozen):
    found = subspace(20, 5)
    D = normal(7, 20, generator=generator("masks")).argsort(1).argsort(1) >= n_frozen
    p, U = float(D.double().mean()), found.basis
    expected = [torch.linalg.matrix_norm(U[mask].T @ U[mask] - p * torch.eye(5).double(), 2) for mask in D]
    torch.testing.assert_close(anisotropies(D, found), torch.stack(expected), rtol=0, atol=1e-14)
    expected = [torch.linalg.matrix_norm(U[mask].T @ U[mask] - 0.3 * torch.eye(5).double(), 2) for mask in D]
    torch.testing.assert_close(anisotropies(D, found, 0.3), torch.stack(expected), rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("basis", "mean", "quantile"),
    [(subspace(512, 16).basis, 0.122, 0.162), (torch.eye(512, dtype=torch.float64)[:, :16], 0.776, 0.875)],
    ids=["random subspace", "subspace along axes"],
)
def test_coherent_subspaces_are_seen_differently_by_different_masks(basis, mean, quantile):
    D = torch.rand(400, 512, generator=generator("anisotropy")) < 0.875
    found = anisotropies(D, Subspace(basis, 0.9), 0.875)
    assert float(found.mean()) == pytest.approx(mean, rel=0.06)
    assert float(found.quantile(0.95)) == pytest.approx(quantile, rel=0.06)
    assert (found <= anisotropy_bound(D, coherence(basis), 16, 0.05)).all()


@pytest.mark.parametrize(("nu", "bound"), [(0.076, 0.617), (1.0, 4.958)])
def test_bound_in_closed_form(nu, bound):
    D = torch.ones(8, 1000, dtype=torch.bool)
    D[:, :125] = False
    assert anisotropy_bound(D, nu, 16, 0.05) == pytest.approx(bound, abs=5e-3)


def test_bound_of_sparse_masks_takes_the_larger_deviation():
    log = math.log(2 * 16 / 0.05)
    sparse = torch.zeros(10, 10)
    sparse[:, 0] = 1
    expected = 2 / 3 * 0.9 * 0.2 * log + 0.3 * math.sqrt(0.4 * log)
    assert anisotropy_bound(sparse.bool(), 0.2, 16, 0.05) == pytest.approx(expected)
    assert anisotropy_bound(2**0.5 * sparse, 0.2, 16, 0.05) == pytest.approx(2 * expected)  # entries of D * D count
    assert anisotropy_bound(torch.ones(4, 4), 0.2, 16, 0.05) == 0


@pytest.mark.parametrize("delta", [0.0, 1.0, -1.0, float("nan")])
def test_bounds_hold_with_a_probability_below_one(delta):
    with pytest.raises(ValueError, match="probability between 0 and 1"):
        anisotropy_bound(torch.ones(2, 2), 0.5, 2, delta)


@pytest.mark.parametrize(
    ("trained", "correlation", "ratio", "within"),
    [(0.0, 0.998, 1.04, 0.01), (0.05, 0.995, 1.05, 0.01), (0.2, 0.948, 1.05, 0.03), (1.0, 0.561, 1.2, 0.15)],
)
def test_centres_govern_swap_costs_as_long_as_little_is_learnt(trained, correlation, ratio, within):
    m, d, n_fix = 64, 512, 64
    g = generator("centres")
    plane = subspace(d, 32)
    D = torch.rand(m, d, generator=g).argsort(1).argsort(1) >= n_fix
    fixed = torch.where(D, 0.0, normal(m, d, generator=g))
    W = fixed + D * trained * normal(m, d, generator=g)
    pairs = torch.triu_indices(m, m, 1)
    exact = swap_costs(realization_costs(W, D, fixed, plane).cost)[*pairs]
    approximate = centre_swap_costs(fixed @ plane.basis, 1 - n_fix / d)[*pairs]
    assert float(torch.corrcoef(torch.stack([exact, approximate]))[0, 1]) == pytest.approx(correlation, abs=within)
    assert float((exact / approximate).mean()) == pytest.approx(ratio, abs=within + 0.02)


@pytest.mark.parametrize(("k", "expected"), [(1, -2), (2, -1.005), (4, -0.510), (8, -0.269)])
def test_centres_crowd_as_layers_widen(k, expected):
    widths = [16, 32, 64, 128, 256]

    def spacing(m):
        draws = (centre_spacing(normal(m, k, generator=generator("spacing", k, m, draw))) for draw in range(200))
        return torch.tensor(list(draws)).median()

    assert slope(widths, [spacing(m) for m in widths]) == pytest.approx(expected, abs=0.1)


def test_spacing_on_a_line_is_that_of_sorted_neighbours_even_where_products_would_not_tell_them_apart():
    line = normal(1024, 1, generator=generator("line"))
    gap = line.squeeze(1).sort().values.diff().min()
    assert centre_spacing(line) == pytest.approx(float(2**0.5 * gap), rel=1e-12)
    assert centre_spacing(1 + 1e-6 * line) == pytest.approx(float(2**0.5 * 1e-6 * gap), rel=1e-2)


def test_spacing_bounds_what_any_permutation_moves():
    centres = normal(6, 3, generator=generator("moves"))
    moves = [float((centres - centres[torch.randperm(6, generator=generator("order", i))]).norm()) for i in range(200)]
    assert min(move for move in moves if move > 0) >= centre_spacing(centres) * (1 - 1e-12)
    closest = torch.cdist(centres, centres).fill_diagonal_(9).argmin()
    i, j = int(closest // 6), int(closest % 6)
    exchanged = centres.clone()
    exchanged[[i, j]] = centres[[j, i]]
    assert float((centres - exchanged).norm()) == pytest.approx(centre_spacing(centres))


def test_spacing_needs_a_pair():
    with pytest.raises(ValueError, match="at least two centres, got 1"):
        centre_spacing(torch.ones(1, 3))


def test_exchanging_two_inputs_moves_centres_by_the_product_of_two_distances():
    plane, fixed = subspace(12, 3), normal(5, 12, generator=generator("fixed"))
    changes = transposition_changes(plane, fixed)
    for a, b in [(0, 1), (3, 11), (7, 2)]:
        order = torch.arange(12)
        order[[a, b]] = order[[b, a]]
        assert input_change(plane, fixed, order) == pytest.approx(float(changes[a, b]), rel=1e-12)
    assert input_change(plane, fixed, torch.arange(12)) == 0


def test_input_spacing_follows_the_closest_transposition_of_gaussian_constants():
    plane = subspace(12, 3)
    closest = torch.cdist(plane.basis, plane.basis).fill_diagonal_(9).min()
    assert input_spacing(plane, 0.5, 400) == pytest.approx(0.5 * 20 * float(closest))
    fixed = 0.5 * normal(4000, 12, generator=generator("wide"))
    least = transposition_changes(plane, fixed).fill_diagonal_(torch.inf).min()
    assert float(least) == pytest.approx(2**0.5 * input_spacing(plane, 0.5, 4000), rel=0.05)


BETAS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0]
RELU = [1.9e-4, 5.7e-4, 2.1e-3, 5.9e-3, 1.6e-2, 6.6e-2, 0.17, 0.40]


def relative_deviations(activation):
    g, plane = generator("chord"), subspace(64, 16, "chord")
    x = normal(2000, 16, generator=g) @ plane.basis.T
    fixed, a, b = normal(3, 64, 64, generator=g)
    lambdas = torch.linspace(0, 1, 11)
    return torch.stack(
        [chord_deviation(fixed + t * a, fixed + t * b, x, activation, lambdas).max() for t in BETAS]
    ) / fixed_size(fixed, x)


def test_relu_layers_leave_their_chord_as_the_power_three_halves():
    found = relative_deviations(torch.relu)
    torch.testing.assert_close(found, torch.tensor(RELU).double(), rtol=0.12, atol=0)
    assert slope(BETAS[:5], found[:5]) == pytest.approx(1.48, abs=0.04)


def test_smooth_layers_leave_their_chord_as_the_square_and_linear_ones_never():
    assert slope(BETAS[:4], relative_deviations(F.gelu)[:4]) == pytest.approx(2, abs=0.05)
    assert relative_deviations(lambda z: z).max() < 1e-12


def test_chord_deviation_by_a_loop():
    g = generator("loop")
    a, b, x = (normal(4, 3, generator=g) for _ in range(3))
    for lam, found in zip([0.0, 0.3], chord_deviation(a, b, x, torch.relu, torch.tensor([0.0, 0.3])), strict=True):
        squares = 0.0
        for point in x:
            mixed = torch.relu(((1 - lam) * a + lam * b) @ point)
            squares += (mixed - (1 - lam) * torch.relu(a @ point) - lam * torch.relu(b @ point)).square().sum()
        assert float(found) == pytest.approx(float((squares / 4).sqrt()), abs=1e-7)


def test_fixed_size_is_the_norm_of_fixed_weights_after_the_root_of_the_second_moments():
    g = generator("size")
    fixed, x = normal(4, 3, generator=g), normal(50, 3, generator=g)
    expected = torch.trace(fixed @ (x.T @ x / 50) @ fixed.T).sqrt()
    torch.testing.assert_close(fixed_size(fixed, x), expected)
