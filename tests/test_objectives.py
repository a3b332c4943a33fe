from itertools import permutations

import pytest
import torch

from symlib.alignment.objectives import identity_objective, optimal_objective, random_objective
from symlib.seeds import generator


def similarities(m, key=0):
    # Rows and columns of their own level, so that leaving out the centring of either is noticed.
    draw = torch.randn(m, m + 2, generator=generator("similarities", m, key))
    return draw[:, :m] + draw[:, m:][:, :1] + draw[:, -1]


@pytest.mark.parametrize("m", [1, 2, 3, 6])
def test_all_three_objectives_equal_those_of_every_permutation_written_out(m):
    R = similarities(m)
    every = torch.tensor([[R[r, c] for r, c in enumerate(p)] for p in permutations(range(m))]).double().mean(1)
    mean, sd = random_objective(R)
    assert mean == pytest.approx(every.mean().item(), abs=1e-6)
    assert sd == pytest.approx(every.std(correction=0).item(), abs=1e-6)
    assert optimal_objective(R)[0] == pytest.approx(every.max().item(), abs=1e-6)
    assert identity_objective(R) == pytest.approx(every[0].item(), abs=1e-6)


def test_closed_form_agrees_with_draws():
    R, source = similarities(64), generator("draws")
    draws = torch.stack([R[torch.arange(64), torch.randperm(64, generator=source)].mean() for _ in range(4000)])
    mean, sd = random_objective(R)
    assert mean == pytest.approx(draws.mean().item(), abs=4 * sd / 4000**0.5)
    assert sd == pytest.approx(draws.std().item(), rel=0.05)


def test_planted_matching_is_found():
    planted = torch.randperm(50, generator=generator("planted"))
    R = 0.5 * torch.rand(50, 50, generator=generator("noise"))
    R[torch.arange(50), planted] = 0.9
    value, found = optimal_objective(R)
    assert value == pytest.approx(0.9) and torch.equal(found, planted)


@pytest.mark.parametrize("objective", [identity_objective, optimal_objective, random_objective])
@pytest.mark.parametrize(
    ("R", "message"),
    [
        (torch.zeros(3, 4), r"shape \(m, m\), .* got \(3, 4\)"),
        (torch.zeros(0, 0), r"got \(0, 0\)"),
        (torch.full((2, 2), float("nan")), "must be finite"),
    ],
)
def test_what_is_no_matrix_of_similarities_is_refused(objective, R, message):
    with pytest.raises(ValueError, match=message):
        objective(R)
