"""Realization costs by ridge regression in closed form, for pre-activations; `ridge_through.py` has activations.

Unlike the costs of `costs.py` these need no choice of a subspace: directions that hardly vary are hardly paid for.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

ROUNDING = 1e-12  # of the largest variance; a smaller ridge would drown in the rounding of the covariance


@dataclass(frozen=True)
class RidgeCosts:
    """What neurons pay for functions at several ridges; row i realises, column j is the function.

    Attributes:
        cost: Squared norm of the trainable weights, shape (betas, m, m), float64.
        objective: What was minimised, mean squared difference / beta + cost, same shape.
    """

    cost: Tensor
    objective: Tensor


def ridge_costs(W: Tensor, D: Tensor, F: Tensor, covariance: Tensor, betas: Sequence[float]) -> RidgeCosts:
    """Return what neuron i pays to come close to the pre-activation of neuron j, for all pairs and ridges.

    Minimises mean_x ((w_j - f_i - d_i * w).x - b)^2 / beta + ||w||^2 over w and a free bias b. With the covariance C
    that is w = (D_i C D_i + beta)^-1 D_i C (w_j - f_i), for functions out of reach as well. As beta falls, the cost
    of a function within reach becomes its realization cost on the subspace that carries all of the variance.

    Takes one eigendecomposition for the layer and one factorisation of n_fix by n_fix per neuron and ridge; beside the
    result 6 d^2 numbers per ridge. Costs are exact to the rounding of the objective.

    Args:
        W: Effective weights of the neurons whose functions are to be realised, shape (m, d).
        D: True where the realising neurons are trainable, shape (m, d), bool.
        F: Their fixed weights, shape (m, d).
        covariance: Of the inputs of the layer, around their mean and divided by their number, shape (d, d).
        betas: Ridges, positive.

    Raises:
        ValueError: If the shapes do not match, D is not boolean, something is not finite, or a ridge is not positive or
            so small that rounding decides.

    Source: Bürgin et al. (2026), ridge estimate of the realization cost; the closed form is ours.
    """
    check(W, D, F, covariance.shape[0], betas)
    W, D, F, covariance = (part.detach().cpu() for part in (W, D, F, covariance))
    variances, axes = torch.linalg.eigh(_checked(covariance.double()))
    ridges = torch.tensor(betas, dtype=torch.float64)
    if ridges.min() < ROUNDING * variances[-1]:
        raise ValueError(
            f"ridge {ridges.min():g} is lost beside a variance of {variances[-1]:.1e}: choose a larger one, or "
            "realization_costs for the limit"
        )
    # A neuron that is free everywhere misses the share beta / (variance + beta) of every direction.
    missed = ridges[:, None] / (variances.clamp_min(0) + ridges[:, None])
    weights, fixed = W.double(), F.double()
    miss = axes * missed[:, None] @ axes.T
    free = torch.eye(len(axes), dtype=torch.float64) - miss
    spread = axes * (missed * (1 - missed))[:, None] @ axes.T / ridges[:, None, None]
    whole, squared = _Forms(free, weights, fixed), _Forms(spread, weights, fixed)
    objective, length = whole.squares(), squared.squares()
    for i, frozen in enumerate((~mask).nonzero().squeeze(1) for mask in D):
        # Entries that are not trainable are taken back: block inversion leaves a system of their number.
        root = torch.linalg.cholesky(miss[:, frozen][:, :, frozen])
        wrong = whole.rows(i, frozen)
        back = torch.cholesky_solve(wrong, root)
        objective[:, i] += (wrong * back).sum(1)
        length[:, i] += (back * (2 * squared.rows(i, frozen) + spread[:, frozen][:, :, frozen] @ back)).sum(1)
    return RidgeCosts((objective - ridges[:, None, None] * length).clamp_min(0), objective)


class _Forms:
    """A quadratic form at every ridge, of the differences t = w_j - f_i of all pairs."""

    def __init__(self, form: Tensor, W: Tensor, F: Tensor) -> None:
        self.W, self.F = W, F
        self.of_W, self.of_F = form @ W.T, form @ F.T

    def squares(self) -> Tensor:
        """Return t^T A t, shape (ridges, i, j)."""
        own_W, own_F = (self.W.T * self.of_W).sum(1), (self.F.T * self.of_F).sum(1)
        return own_F[:, :, None] + own_W[:, None] - 2 * self.F @ self.of_W

    def rows(self, i: int, entries: Tensor) -> Tensor:
        """Return some entries of A t for one realizer, shape (ridges, entries, j)."""
        return self.of_W[:, entries] - self.of_F[:, entries, i : i + 1]


def _checked(covariance: Tensor) -> Tensor:
    if covariance.shape != covariance.T.shape or not covariance.isfinite().all():
        raise ValueError(f"the covariance must be square and finite, got shape {tuple(covariance.shape)}")
    return covariance


def check(W: Tensor, D: Tensor, F: Tensor, n_inputs: int, betas: Sequence[float]) -> None:
    """Raise a ValueError if weights, masks and ridges do not fit each other or the inputs."""
    if W.dim() != 2 or not W.shape == D.shape == F.shape:
        raise ValueError(
            f"W, D and F must share one shape (neurons, inputs), got {tuple(W.shape)}, {tuple(D.shape)} and "
            f"{tuple(F.shape)}"
        )
    if W.shape[1] != n_inputs:
        raise ValueError(
            f"the weights read {W.shape[1]} inputs, but {n_inputs} were measured: take those of this layer"
        )
    if D.dtype != torch.bool:
        raise ValueError(f"D must be boolean, True where trainable, got {D.dtype}")
    if not (W.isfinite().all() and F.isfinite().all()):
        raise ValueError("weights must be finite, got NaN or infinity: the network has diverged, train it anew")
    if not len(betas) or not all(0 < beta < float("inf") for beta in betas):
        raise ValueError(f"ridges must be positive and finite, got {list(betas)}; 0.01 is the paper's")
