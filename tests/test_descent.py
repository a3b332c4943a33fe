import pytest
import torch
from scipy.optimize import rosen, rosen_der

from symlib.effective.descent import Minimum, minimise
from symlib.seeds import generator


def quadratics(n, dims):
    """Return positive definite Hessians close to a known diagonal, their minima, and the objective."""
    source = generator("quadratics")
    diagonal = 10 ** torch.rand(dims, generator=source, dtype=torch.float64).mul(6)
    noise = torch.randn(n, dims, dims, generator=source, dtype=torch.float64)
    hessians = diagonal.sqrt()[:, None] * (torch.eye(dims) + 0.01 * noise @ noise.mT) * diagonal.sqrt()
    minima = torch.randn(dims, n, generator=source, dtype=torch.float64)

    def objective(x, which):
        off = x - minima[:, which]
        pull = torch.einsum("pij,jp->ip", hessians[which], off)
        return 1 + (off * pull).sum(0) / 2, pull

    return objective, minima, diagonal[:, None].expand(-1, n)


def test_quadratics_of_condition_a_million_are_solved_in_few_evaluations():
    objective, minima, diagonal = quadratics(20, 15)
    found = minimise(objective, torch.zeros_like(minima), diagonal, 1e-14)
    torch.testing.assert_close(found.at, minima, rtol=0, atol=1e-5)
    assert found.evaluations < 25
    assert found.remaining.max() <= 1e-14


def test_every_problem_ends_as_it_would_alone():
    objective, minima, diagonal = quadratics(8, 15)
    together = minimise(objective, torch.zeros_like(minima), diagonal, 1e-14)
    for p in range(8):
        alone = minimise(
            lambda x, which, p=p: objective(x, torch.tensor([p])), torch.zeros(15, 1).double(), diagonal[:, :1], 1e-14
        )
        torch.testing.assert_close(alone.at[:, 0], together.at[:, p], rtol=0, atol=1e-5)


def test_curved_valleys_are_followed_to_their_end():
    def objective(x, which):
        points = x.T.numpy()
        value = torch.tensor([1 + rosen(point) for point in points])
        return value, torch.stack([torch.from_numpy(rosen_der(point)) for point in points], dim=1)

    start = torch.tensor([[-1.2, 3.0], [1.0, -4.0], [0.5, 2.0]], dtype=torch.float64)
    found = minimise(objective, start, torch.full_like(start, 200.0), 1e-16)
    torch.testing.assert_close(found.at, torch.ones_like(start), rtol=0, atol=1e-6)


def double_well(x, which):
    """Two minima, near -1 and, higher, near 1."""
    u = x[0]
    return (u**2 - 1) ** 2 + 0.1 * u + 1, (4 * u * (u**2 - 1) + 0.1)[None]


def test_a_descent_into_a_known_basin_is_left_there_and_another_one_finished():
    starts = torch.tensor([[0.7, -0.7]], dtype=torch.float64)
    curvature = torch.full_like(starts, 8.0)
    ends = minimise(double_well, starts, curvature, 1e-15)
    torch.testing.assert_close(ends.at[0], torch.tensor([0.987, -1.012], dtype=torch.float64), rtol=0, atol=1e-3)
    higher = Minimum(ends.at[:, [0, 0]], ends.value[[0, 0]], ends.remaining[[0, 0]], 1.0)
    again = minimise(double_well, starts, curvature, 1e-15, known=higher)
    assert again.remaining[0] > 1e-15  # left where it was seen to go to the known minimum
    torch.testing.assert_close(again.at[0, 1], ends.at[0, 1])


def test_what_did_not_converge_says_so():
    objective, minima, diagonal = quadratics(3, 15)
    found = minimise(objective, torch.zeros_like(minima), diagonal, 1e-14, max_evaluations=2)
    assert (found.remaining > 1e-14).all()


@pytest.mark.parametrize("floor", [0.0, 1e-3])
def test_values_near_nothing_converge_only_beside_a_floor(floor):
    def objective(x, which):
        return x.square().sum(0) ** 2, 4 * x * x.square().sum(0)

    start = torch.ones(2, 1, dtype=torch.float64)
    found = minimise(objective, start, torch.full_like(start, 12.0), 1e-10, floor, max_evaluations=40)
    assert (found.remaining <= 1e-10).all() == (floor > 0)
