"""The regime in which fixed weights outweigh what is learnt: swap costs follow from the centres v_i = U^T f_i alone."""

import torch
from torch import Tensor


def centre_swap_costs(centres: Tensor, mu: float = 1.0) -> Tensor:
    """Return `2 |v_i - v_j|^2 / mu`: where swap costs go when trainable weights are small and S_i is close to mu I.

    Args:
        centres: v_i, shape (m, k).
        mu: Trainable share of the layer; 1 for dense layers.

    Source: Bürgin et al. (2026), centre-dominated regime.

    >>> centre_swap_costs(torch.tensor([[0.0], [3.0]]), mu=0.5)[0, 1]
    tensor(36., dtype=torch.float64)
    """
    centres = centres.double()
    return 2 * torch.cdist(centres, centres, compute_mode="donot_use_mm_for_euclid_dist").square() / mu


def centre_spacing(centres: Tensor) -> float:
    """Return gamma_out, sqrt 2 times the distance of the two closest centres.

    No permutation of neurons moves the matrix of centres by less. For Gaussian fixed weights it grows as
    sigma_F sqrt(k) m^(-2/k): in one dimension, as with fixed biases, it falls with the square of the width.

    Args:
        centres: v_i, shape (m, k) with m of at least 2.

    Raises:
        ValueError: If there is no pair.

    Source: Bürgin et al. (2026), separation of centres.

    >>> centre_spacing(torch.tensor([[0.0], [5.0], [1.0]])) == 2**0.5
    True
    """
    if len(centres) < 2:
        raise ValueError(f"spacing is a matter of at least two centres, got {len(centres)}")
    # By differences in float64. By products, or by squares in float32, the closest of many points would coincide.
    return float(2**0.5 * torch.pdist(centres.double()).min())
