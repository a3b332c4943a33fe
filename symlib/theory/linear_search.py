"""Looking for linear equivariances sigma(A x) = B sigma(x) by descent, where no theorem says what there is.

Only A is searched: for a given A the best B is a least-squares fit. What a search does not find may still exist.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from symlib.effective.descent import minimise
from symlib.theory.activations import Activation, check_activation

FOUND = 1e-6  # error below which a descent has found an equivariance: those that arrive end near 1e-15
INVERTIBLE = 0.05  # least singular value of A, its rows scaled to length 1, from which on A counts as invertible
ALIKE = 1e-3  # largest difference of entries between two of one kind


@dataclass(frozen=True)
class Search:
    """Where the descents came to rest."""

    A: Tensor  # shape (starts, d, d)
    error: Tensor  # root mean square of sigma(A x) - B sigma(x) relative to sigma(A x), for the best B, shape (starts,)

    @property
    def invertible(self) -> Tensor:
        """Which A have an inverse to speak of, shape (starts,); singular ones are no equivariances."""
        return torch.linalg.svdvals(_unit_rows(self.A))[:, -1] > INVERTIBLE

    def kinds(self) -> Tensor:
        """Return the equivariances found, their rows scaled to length 1 and no two of them alike, shape (n, d, d)."""
        distinct: list[Tensor] = []
        for A in _unit_rows(self.A[(self.error < FOUND) & self.invertible]):
            if all((A - other).abs().max() > ALIKE for other in distinct):
                distinct.append(A)
        return torch.stack(distinct) if distinct else self.A[:0]


def search(sigma: Activation, x: Tensor, starts: Tensor, radius: Tensor | None = None) -> Search:
    """Descend from every start to a matrix A for which some B makes sigma(A x) = B sigma(x) as nearly true as can be.

    Each unit's error is relative to the size of its own answer, so that shrinking a row of A gains nothing.

    Args:
        sigma: Maps (..., d) to (..., d).
        x: Samples in float64, shape (n, d).
        starts: Matrices A to start from, shape (starts, d, d); with a radius, directions of A - I.
        radius: Frobenius norm that A - I is held at, shape (starts,); None leaves A free.

    Raises:
        ValueError: If the activation does not suit, see `check_activation`.
    """
    check_activation(sigma, x)
    d = x.shape[1]
    basis = torch.linalg.qr(sigma(x)).Q  # (n, d): what any B can reach

    def matrices(flat: Tensor, held: Tensor | None) -> Tensor:
        A = flat.T.unflatten(1, (d, d))
        if held is None:
            return A
        return torch.eye(d, dtype=x.dtype) + held[:, None, None] * A / A.norm(dim=(1, 2), keepdim=True)

    def misfit(A: Tensor) -> Tensor:
        answers = sigma(x @ A.mT)  # (p, n, d)
        beyond = answers - basis @ (basis.T @ answers)
        return (beyond.square().sum(1) / answers.square().sum(1)).mean(1)

    @torch.enable_grad()
    def objective(flat: Tensor, problems: Tensor) -> tuple[Tensor, Tensor]:
        flat = flat.detach().requires_grad_()
        values = misfit(matrices(flat, None if radius is None else radius[problems]))
        return values.detach(), torch.autograd.grad(values.sum(), flat)[0]

    start = starts.flatten(1).T.contiguous()
    end = minimise(objective, start, torch.ones_like(start), 1e-12, 1e-20, max_evaluations=200)
    A = matrices(end.at, radius)
    return Search(A, misfit(A).sqrt())


def _unit_rows(A: Tensor) -> Tensor:
    return A / A.norm(dim=2, keepdim=True)
