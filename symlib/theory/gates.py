"""All linear equivariances of FiGLU from its matrix F alone: exact, where Proposition 2 stops at permutations.

With sigma(x) = x/2 + tanh(F x / 2) * x / 2, an equivariance has A = B by its derivative at 0. Compared power by power,
it sends each unit to a multiple of one unit, provided that no two rows of F are equal up to sign and none is zero. So
A[l, p(l)] = a_l for a permutation p, and F[p(i), p(l)] = a_l F[i, l] for all i and l.
"""

from itertools import permutations

import torch
from torch import Tensor

LARGEST = 7  # units up to which all permutations are tried
ROUNDING = 1e-9  # relative


def check_rows(F: Tensor) -> None:
    """Refuse a gate that the characterisation does not cover.

    Raises:
        ValueError: If F is not square, or a row is zero or equal to another up to its sign.
    """
    if F.dim() != 2 or F.shape[0] != F.shape[1]:
        raise ValueError(f"a gate is a square matrix, got shape {tuple(F.shape)}")
    if not (F != 0).any(dim=1).all():
        raise ValueError("a row of F is zero: its unit is linear, and the characterisation does not apply")
    # Sign by the first non-zero entry, so that rows that differ by their sign become one.
    first = F.gather(1, (F != 0).int().argmax(dim=1, keepdim=True))
    if len((F * first.sign()).unique(dim=0)) < len(F):
        raise ValueError(
            "two rows of F are equal up to sign: their units may mix, and the characterisation does not apply"
        )


def linear_equivariances(F: Tensor) -> Tensor:
    """Find the matrices A with sigma(A x) = A sigma(x) for FiGLU with the matrix F, by trying all permutations.

    Units whose column of F is zero may moreover be scaled at will; here their factor is 1.

    Args:
        F: Gate, shape (d, d), with non-zero rows that differ by more than a sign.

    Returns:
        All linear equivariances but for those scales, shape (n, d, d), the identity first.

    Raises:
        ValueError: If F is larger than `LARGEST`, or has other rows.

    Source: our own sharpening of Lim et al. (2024), Proposition 2.

    >>> linear_equivariances(torch.tensor([[1.0, 6.0], [3.0, 2.0]]))
    tensor([[[1.0000, 0.0000], [0.0000, 1.0000]],
            [[0.0000, 2.0000], [0.5000, 0.0000]]])
    """
    check_rows(F)
    d = len(F)
    if d > LARGEST:
        raise ValueError(f"all permutations are tried up to {LARGEST} units, got {d}: `is_rigid` takes any width")
    orders = torch.tensor(list(permutations(range(d))))
    moved = F[orders[:, :, None], orders[:, None, :]]  # (n, i, l): F[p(i), p(l)]
    size = F.square().sum(0)
    factors = torch.where(size > 0, (moved * F).sum(1) / size.where(size > 0, 1), 1.0)
    misfit = (moved - factors[:, None, :] * F).abs().amax(dim=(1, 2))
    holds = (misfit < ROUNDING * F.abs().max()) & (factors != 0).all(1)
    A = torch.zeros(int(holds.sum()), d, d, dtype=F.dtype)
    return A.scatter_(2, orders[holds][:, :, None], factors[holds][:, :, None])


def is_rigid(F: Tensor) -> bool:
    """Say whether a proof succeeds that FiGLU with the matrix F has no linear equivariance, at any width.

    Dividing each column by its diagonal entry takes the factors out, and leaves a matrix that the permutation must
    keep. If no two columns of it hold the same values in any order, no unit can move. False means that this is not
    enough to tell.

    Args:
        F: Gate, shape (d, d), with non-zero rows that differ by more than a sign.

    Raises:
        ValueError: If F has other rows.

    Source: our own sharpening of Lim et al. (2024), Proposition 2.
    """
    check_rows(F)
    diagonal = F.diagonal().double()
    if (diagonal == 0).any():
        return False
    contents = (F.double() / diagonal).sort(dim=0).values.T
    apart = torch.cdist(contents, contents, p=float("inf")).fill_diagonal_(torch.inf)
    return bool(apart.min() > ROUNDING)


def parameters_with_one_input(F: Tensor, w: Tensor, W2: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
    """Return other weights of t -> W2 FiGLU(w t) that give the same function: with a single input any order will do.

    What decides is F w alone, so w moves to where F w is reordered, and W2 makes up for the factors.

    Args:
        F: Gate, invertible, shape (d, d).
        w: Weights of the one input, shape (d,).
        W2: Weights of the outputs, shape (outputs, d).
        order: New unit i takes the place of unit order[i], shape (d,), int64.

    Source: our own counterexample to Lim et al. (2024), Proposition 1, without square weights.
    """
    other = torch.linalg.solve(F, (F @ w)[order])
    return other, (W2 * w)[:, order] / other
