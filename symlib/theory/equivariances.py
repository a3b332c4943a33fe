"""Discrete linear equivariances: which reorderings and sign changes an activation commutes with, by trying them all."""

from itertools import permutations, product

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from symlib.theory.activations import Activation, check_activation

LARGEST = 6  # units up to which all reorderings are tried; with signs these are 46080
EXACT = 1e-18  # residual that counts as none: rounding leaves 1e-31, the smallest gates of the paper 1e-6
PER_BATCH = 2000


def reorderings(d: int, signed: bool = False) -> Tensor:
    """Return all permutation matrices of d units, the identity first, with all choices of signs if asked for.

    Args:
        d: Units.
        signed: Let each non-zero entry be 1 or -1.

    Returns:
        Matrices in float64, shape (d!, d, d), or (2^d d!, d, d).

    Raises:
        ValueError: If d is too large for all of them to be tried.
    """
    if not 1 <= d <= LARGEST:
        raise ValueError(
            f"all reorderings are tried for 1 to {LARGEST} units, got {d}: take fewer, or for FiGLU of any width "
            "theory.gates.is_rigid"
        )
    unsigned = torch.eye(d, dtype=torch.float64)[torch.tensor(list(permutations(range(d))))]
    if not signed:
        return unsigned
    signs = torch.tensor(list(product((1.0, -1.0), repeat=d)), dtype=torch.float64)
    return (signs[:, None, :, None] * unsigned).flatten(0, 1)


def residuals(sigma: Activation, x: Tensor, signed: bool = False) -> Tensor:
    """Return for every reordering P1 how far sigma(P1 x) is from the best P2 sigma(x).

    Args:
        sigma: Maps (..., d) to (..., d).
        x: Samples in float64, shape (n, d).
        signed: Let both reorderings change signs too.

    Returns:
        Mean over samples of the squared distance, in the order of `reorderings`; the identity, first, has none.

    Raises:
        ValueError: If there are too many units, or the activation does not suit.

    Source: Lim et al. (2024), Proposition 2.
    """
    check_activation(sigma, x)
    every, y = reorderings(x.shape[1], signed), sigma(x)
    return torch.cat([_batch(sigma(x @ P1.mT), y, signed) for P1 in every.split(PER_BATCH)])


def _batch(answers: Tensor, y: Tensor, signed: bool) -> Tensor:
    """Return the least residual for each of k batches of answers, shape (k, n, d), from assignments of units to units.

    The assignment is found from inner products; its residual is then formed anew, because their rounding would hide
    residuals below 1e-16.
    """
    overlap = answers.mT @ y  # (k, d, d)
    partner = torch.from_numpy(
        np.stack([linear_sum_assignment(o, maximize=True)[1] for o in (overlap.abs() if signed else overlap).numpy()])
    )
    best = y.T[partner].mT  # (k, n, d)
    if signed:
        best = best * overlap.gather(2, partner[:, :, None]).mT.sign()
    return (answers - best).square().sum(2).mean(1)


def count_exact(found: Tensor) -> int:
    """Return how many residuals vanish."""
    return int((found < EXACT).sum())


def next_best(found: Tensor) -> float:
    """Return the smallest residual that does not vanish, or NaN if all do."""
    return float(found[found >= EXACT].min()) if (found >= EXACT).any() else float("nan")
