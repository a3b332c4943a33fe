"""Realization costs: what each neuron pays to compute what another one computes, for all pairs of a layer.

Of pre-activations on the representation subspace; ridge costs, in files of their own, take in all directions.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from symlib.effective.subspace import Subspace

# Squared stretch below which a direction of U^T Diag(d_i) is taken for one that the neuron does not have, and the part
# of a target, relative to the weights, that may lie outside its range. The first is below the square of the second,
# so that every neuron can realise its own function.
RANGE = 1e-13
OUTSIDE = 1e-6
WELL_CONDITIONED = 1e10  # bound on an inverse eigenvalue, up to which Cholesky keeps six digits


@dataclass(frozen=True)
class Costs:
    """What m neurons pay for m functions; row i realises, column j is the function."""

    cost: Tensor  # smallest squared norm of the trainable weights, infinite out of reach, shape (m, m), float64
    residual: Tensor  # length of the part of the target that the neuron cannot reach, shape (m, m), float64


def realization_costs(W: Tensor, D: Tensor, F: Tensor, subspace: Subspace) -> Costs:
    """Return c[i, j] = (a_j - v_i)^T S_i^+ (a_j - v_i): what neuron i pays to realise the function of neuron j.

    Here a_j = U^T w_j is the function, v_i = U^T f_i what neuron i computes for nothing, and S_i = U^T Diag(d_i) U what
    it can add. For functions of another run with the same constraint, give its weights.

    One neuron at a time: beside its result this takes some five matrices of m by d in float64.

    Args:
        W: Effective weights of the neurons whose functions are to be realised, shape (m, d).
        D: True where the realising neurons are trainable, shape (m, d), bool.
        F: Their fixed weights, shape (m, d).
        subspace: Of the inputs of the layer.

    Raises:
        ValueError: If the shapes do not match, D is not boolean, or a weight is not finite.

    Source: Bürgin et al. (2026), realization cost. Their code gives a function out of reach the cost of its projection.
    """
    _check(W, D, F, subspace)
    W, D, F, U = W.detach().cpu().double(), D.cpu(), F.cpu().double(), subspace.basis
    A, V = W @ U, F @ U
    A_in, V_in = U @ A.T, U @ V.T  # on every input, inside the subspace
    cost = torch.cdist(V, A, compute_mode="donot_use_mm_for_euclid_dist").square()  # right where nothing is frozen
    residual = torch.zeros_like(cost)
    for i, mask in enumerate(D):
        frozen = (~mask).nonzero().squeeze(1)
        # S_i = I - U_fix^T U_fix. If fewer inputs are frozen than the subspace has dimensions, its inverse is
        # I + U_fix^T G^-1 U_fix, G = I - U_fix U_fix^T, smaller than S_i; U_fix (a_j - v_i) stands in A_in and V_in.
        if len(frozen) <= subspace.dimension:
            gram = torch.eye(len(frozen), dtype=torch.float64) - U[frozen] @ U[frozen].T
            targets = A_in[frozen] - V_in[frozen, i, None]
        else:
            gram = U[mask].T @ U[mask]
            targets = (A - V[i]).T
            cost[i] = 0
        if (inverse_root := _inverse_root(gram)) is not None:
            cost[i] += (inverse_root @ targets).square().sum(0)
        else:
            cost[i], residual[i] = _projected(U[mask], A - V[i])
            cost[i, residual[i] > OUTSIDE * (W.norm(dim=1) + F[i].norm())] = torch.inf
    return Costs(cost, residual)


def swap_costs(cost: Tensor) -> Tensor:
    """Return c_ij + c_ji - c_ii - c_jj: what it costs more if neurons i and j exchange their functions.

    May be negative: training does not reach the smallest norm, and neurons differ in what they pay.

    Args:
        cost: Realization costs, shape (m, m).

    Returns:
        A symmetric matrix with a zero diagonal; infinite where one of the two cannot realise the other's function.

    Source: Bürgin et al. (2026), Figure 5.

    >>> swap_costs(torch.tensor([[1.0, 5.0], [3.0, 2.0]]))
    tensor([[0., 5.],
            [5., 0.]])
    """
    own = cost.diagonal()
    # Differences within a column first: they vanish exactly if all neurons pay alike.
    extra = cost - own
    swaps = extra + extra.T
    swaps[cost.isinf() | cost.T.isinf()] = torch.inf
    return swaps.fill_diagonal_(0)


def signed_root(values: Tensor) -> Tensor:
    """Return sign(x) sqrt|x|, the scale on which swap costs are drawn (Bürgin et al., Figure 5)."""
    return values.sign() * values.abs().sqrt()


def _inverse_root(gram: Tensor) -> Tensor | None:
    """Return the inverse of the Cholesky factor, or None if the matrix is singular or close to it."""
    root, failed = torch.linalg.cholesky_ex(gram)
    inverse = torch.linalg.solve_triangular(root, torch.eye(len(gram), dtype=torch.float64), upper=False)
    return inverse if not failed and inverse.square().sum() <= WELL_CONDITIONED else None


def _projected(trainable: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cost of the part of each target that is in reach and the length of the rest.

    Args:
        trainable: Rows of U that belong to trainable inputs, shape (n, k).
        targets: Shape (m, k).
    """
    # The sum over trainable rows, not 1 minus that over frozen rows, so that small eigenvalues keep their digits.
    stretches, directions = torch.linalg.eigh(trainable.T @ trainable)
    inside = stretches > RANGE
    parts = (targets @ directions).square()
    return (parts[:, inside] / stretches[inside]).sum(1), parts[:, ~inside].sum(1).sqrt()


def _check(W: Tensor, D: Tensor, F: Tensor, subspace: Subspace) -> None:
    if W.dim() != 2 or not W.shape == D.shape == F.shape:
        raise ValueError(
            f"W, D and F must share one shape (neurons, inputs), got {tuple(W.shape)}, {tuple(D.shape)} and "
            f"{tuple(F.shape)}"
        )
    if W.shape[1] != subspace.full_dimension:
        raise ValueError(
            f"the weights read {W.shape[1]} inputs, the subspace was measured on {subspace.full_dimension}: take the "
            "subspace of the inputs of this layer"
        )
    if D.dtype != torch.bool:
        raise ValueError(f"D must be boolean, True where trainable, got {D.dtype}")
    if not (W.isfinite().all() and F.isfinite().all()):
        raise ValueError("weights must be finite, got NaN or infinity: the network has diverged, train it anew")
