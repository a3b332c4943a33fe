"""What a one-to-one matching of neurons is worth: as numbered, at its best, and at random.

Works on a similarity matrix that is already there: no network and no data, and nothing is sampled.
"""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def identity_objective(R: Tensor) -> float:
    """Return the mean similarity of neurons with the same number.

    Args:
        R: Similarity of neuron r of A with neuron c of B, shape (m, m).

    Raises:
        ValueError: If R is not square or has entries that are not finite.

    Source: Bürgin et al. (2026), activation-matching objective under the identity.
    """
    return float(_checked(R).diagonal().mean())


def optimal_objective(R: Tensor) -> tuple[float, Tensor]:
    """Return the largest mean similarity that any one-to-one matching reaches, and that matching.

    Args:
        R: Similarity of neuron r of A with neuron c of B, shape (m, m).

    Returns:
        The mean over neurons, and the neuron of B that each neuron of A is matched with, shape (m,), int64.

    Raises:
        ValueError: If R is not square or has entries that are not finite.

    Source: Bürgin et al. (2026), activation-matching objective under the best permutation.

    >>> optimal_objective(torch.tensor([[0.0, 1.0], [0.5, 0.0]]))
    (0.75, tensor([1, 0]))
    """
    R = _checked(R)
    rows, partners = linear_sum_assignment(R.numpy(), maximize=True)
    return float(R[rows, partners].mean()), torch.from_numpy(partners)


def random_objective(R: Tensor) -> tuple[float, float]:
    """Return mean and standard deviation of the objective over all m! matchings, in closed form.

    Args:
        R: Similarity of neuron r of A with neuron c of B, shape (m, m).

    Raises:
        ValueError: If R is not square or has entries that are not finite.

    Source: Hoeffding (1951), moments of a permutation sum, in place of the 100 draws of Bürgin et al. (2026).

    >>> random_objective(torch.eye(2))
    (0.5, 0.5)
    """
    R = _checked(R)
    m = len(R)
    # What rows and columns add on their own is the same under every matching; only the rest varies.
    rest = R - R.mean(0) - R.mean(1, keepdim=True) + R.mean()
    return float(R.mean()), float((rest.square().sum() / max(m - 1, 1)).sqrt()) / m


def _checked(R: Tensor) -> Tensor:
    if R.dim() != 2 or R.shape[0] != R.shape[1] or not R.numel():
        raise ValueError(f"similarities must have shape (m, m), a row and a column per neuron, got {tuple(R.shape)}")
    if not R.isfinite().all():
        raise ValueError("similarities must be finite; give units that never change a similarity of 0")
    return R.detach().double().cpu()
