"""How far the masks of a layer are from treating all directions of the representation subspace alike.

If every S_i is close to a multiple of the identity, the mask is invisible on the data and tells no neurons apart.
"""

import math

import torch
from torch import Tensor

from symlib.effective.subspace import Subspace


def anisotropies(D: Tensor, subspace: Subspace, mu: float | None = None) -> Tensor:
    """Return the operator norm of S_i - mu I for every neuron.

    Args:
        D: True where trainable, shape (m, d), bool.
        subspace: Of the inputs of the layer.
        mu: The multiple of the identity; the trainable share of the layer if not given.

    Returns:
        Shape (m,), float64; 0 for a dense layer.

    Source: Bürgin et al. (2026), anisotropy under coherence.
    """
    D, U = D.cpu(), subspace.basis
    mu = float(D.double().mean()) if mu is None else mu
    return torch.stack([_largest_deviation(U[~mask], mu) for mask in D])


def _largest_deviation(frozen: Tensor, mu: float) -> Tensor:
    """Return the norm of (1 - mu) I - U_fix^T U_fix, whose eigenvalues the smaller of U_fix U_fix^T and itself has."""
    n, k = frozen.shape
    squares = torch.linalg.eigvalsh(frozen @ frozen.T if n < k else frozen.T @ frozen)
    if n < k:
        squares = torch.cat([squares, squares.new_zeros(1)])
    return (1 - squares - mu).abs().max()


def anisotropy_bound(D: Tensor, coherence: float, k: int, delta: float) -> float:
    """Return what the anisotropy of one neuron stays below with probability 1 - delta over the draw of its mask.

    With the mean mu, the standard deviation s and the largest deviation b of the entries of D * D, the bound is
    2/3 b nu L + s sqrt(2 nu L) where L = log(2 k / delta). For a mask with trainable share p, b = max(p, 1 - p); the
    code of Bürgin et al. has b = p, which is too small for sparse layers.

    Args:
        D: Mask or scaling of the trainable weights, whose entries give mu, s and b, any shape.
        coherence: nu of the subspace.
        k: Dimension of the subspace.
        delta: Probability of an exception, in (0, 1).

    Raises:
        ValueError: If delta is no such probability.

    Source: Bürgin et al. (2026), anisotropy under coherence: matrix Bernstein inequality for independent entries. Masks
    with a fixed number of frozen entries per row are drawn without replacement and vary less.
    """
    if not 0 < delta < 1:
        raise ValueError(f"delta must be a probability between 0 and 1, got {delta}")
    squares = D.double().square()
    mean, deviation = squares.mean(), squares.std(correction=0)
    largest = (squares - mean).abs().max()
    log = math.log(2 * k / delta)
    return float(2 / 3 * largest * coherence * log + deviation * (2 * coherence * log) ** 0.5)
