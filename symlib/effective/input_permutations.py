"""What a reordering of the inputs of a layer, the units of the layer before, changes about its fixed part."""

import torch
from torch import Tensor

from symlib.effective.subspace import Subspace


def input_change(subspace: Subspace, F: Tensor, order: Tensor) -> float:
    """Return the Frobenius norm of (U - P U)^T F^T: how far a reordering of inputs moves the centres.

    Args:
        subspace: Of the inputs of the layer.
        F: Fixed weights, shape (m, d).
        order: Input that takes each place, shape (d,), int64.

    Source: Bürgin et al. (2026), input permutations.
    """
    U = subspace.basis
    return float(((U - U[order]).T @ F.cpu().double().T).norm())


def transposition_changes(subspace: Subspace, F: Tensor) -> Tensor:
    """Return `input_change` of the exchange of any two inputs: the distance of their rows of U times that of their F.

    Args:
        subspace: Of the inputs of the layer.
        F: Fixed weights, shape (m, d).

    Returns:
        Shape (d, d), float64.
    """
    return _distances(subspace.basis) * _distances(F.cpu().double().T)


def input_spacing(subspace: Subspace, sigma_F: float, m: int) -> float:
    """Return gamma_in, sigma_F sqrt(m) times the distance of the two closest rows of U.

    Coherence matters here: it bounds how much rows of U can differ.

    Args:
        subspace: Of the inputs of the layer.
        sigma_F: Standard deviation of the fixed weights.
        m: Neurons of the layer.

    Source: Bürgin et al. (2026), input permutations, up to a constant.
    """
    return float(sigma_F * m**0.5 * torch.pdist(subspace.basis).min())


def _distances(rows: Tensor) -> Tensor:
    return torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
