from itertools import permutations

import pytest
import torch

from symlib.effective.costs import realization_costs, swap_costs
from symlib.effective.identifiability import identifiability_gap, predicted_matching
from symlib.effective.subspace import Subspace
from symlib.seeds import generator

INF = float("inf")


def costs(m, *key, diagonal=0.0):
    """Random costs, the smaller on the diagonal the larger `diagonal`."""
    c = torch.rand(m, m, generator=generator("gap", *key), dtype=torch.float64)
    return c + diagonal * (1 - torch.eye(m, dtype=torch.float64))


def exhaustive(cost):
    m = len(cost)
    identity = tuple(range(m))
    totals = {p: float(cost[torch.arange(m), list(p)].sum()) for p in permutations(range(m)) if p != identity}
    best = min(totals, key=totals.get)
    return totals[best] - float(cost.diagonal().sum()), list(best)


@pytest.mark.parametrize("diagonal", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_gap_is_the_best_of_all_permutations_but_the_identity(seed, diagonal):
    cost = costs(6, seed, diagonal=diagonal)
    found = identifiability_gap(cost)
    gap, permutation = exhaustive(cost)
    assert found.gap == pytest.approx(gap, abs=1e-12)
    assert found.permutation.tolist() == permutation


def test_a_cheap_ring_beats_every_exchange():
    ring = torch.tensor([[0.0, 1, 9, 9], [9, 0, 1, 9], [9, 9, 0, 1], [1, 9, 9, 0]])
    found = identifiability_gap(ring)
    assert (found.gap, found.permutation.tolist()) == (4, [1, 2, 3, 0])
    assert swap_costs(ring)[~torch.eye(4, dtype=torch.bool)].min() == 10


def test_standard_layers_have_no_gap_at_all():
    g = generator("standard layer")
    W = torch.randn(16, 40, generator=g)
    plane = Subspace(torch.linalg.qr(torch.randn(40, 4, generator=g, dtype=torch.float64)).Q, 0.9)
    cost = realization_costs(W, torch.ones_like(W, dtype=torch.bool), torch.zeros_like(W), plane).cost
    assert identifiability_gap(cost).gap == 0


def test_impossible_permutations_are_passed_over():
    cost = torch.tensor([[1.0, INF, 2.0], [0.0, 1.0, INF], [3.0, INF, 1.0]])
    found = identifiability_gap(cost)
    assert (found.gap, found.permutation.tolist()) == (3, [2, 1, 0])
    alone = torch.full((3, 3), INF).fill_diagonal_(1.0)
    assert identifiability_gap(alone).gap == INF
    assert identifiability_gap(alone).permutation.tolist() == [0, 1, 2]


def test_neurons_that_cannot_realise_their_own_function_are_refused():
    with pytest.raises(ValueError, match="neuron 1 cannot realise its own function"):
        identifiability_gap(torch.tensor([[1.0, 2.0], [0.0, INF]]))


def test_costs_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="invalid numeric entries"):
        identifiability_gap(torch.tensor([[1.0, float("nan")], [0.0, 1.0]]))


def test_predicted_matching_finds_a_planted_reordering():
    order = torch.tensor([3, 0, 4, 1, 2])
    cost = costs(5, "planted", diagonal=2.0)[:, order]  # function j of this run is function order[j] of the other
    assert order[predicted_matching(cost)].tolist() == [0, 1, 2, 3, 4]


def test_runs_that_share_fixed_weights_are_matched_by_the_identity_and_others_by_chance():
    g = generator("two runs")
    m, d = 20, 60
    plane = Subspace(torch.linalg.qr(torch.randn(d, 8, generator=g, dtype=torch.float64)).Q, 0.9)
    D = torch.rand(m, d, generator=g) < 0.8
    F = torch.where(D, 0.0, torch.randn(m, d, generator=g))
    other = F + D * 0.1 * torch.randn(m, d, generator=g)
    assert predicted_matching(realization_costs(other, D, F, plane).cost).tolist() == list(range(m))
    assert identifiability_gap(realization_costs(other, D, F, plane).cost).gap > 0
    free = realization_costs(D * torch.randn(m, d, generator=g), D, torch.zeros(m, d), plane).cost
    assert (predicted_matching(free) == torch.arange(m)).float().mean() < 0.5


def test_functions_that_nobody_can_realise_cannot_be_matched():
    with pytest.raises(ValueError, match="no assignment is possible"):
        predicted_matching(torch.tensor([[1.0, INF], [1.0, INF]]))
