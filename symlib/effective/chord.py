"""The chord deviation of a layer: how far it is from linear between two settings of its weights."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def chord_deviation(a: Tensor, b: Tensor, x: Tensor, activation: Callable[[Tensor], Tensor], lambdas: Tensor) -> Tensor:
    """Return the length of H((1 - lambda) A + lambda B; x) - (1 - lambda) H(A; x) - lambda H(B; x), H = eta(W x).

    Args:
        a: Effective weights at one end, A, shape (m, d).
        b: At the other, B.
        x: Inputs, shape (n, d).
        activation: eta, entry by entry.
        lambdas: Mixing weights of B in [0, 1], shape (points,).

    Returns:
        Root mean square over inputs, shape (points,). Its largest value, divided by `fixed_size`, falls as the power
        3/2 of the trainable part beside the fixed part for ReLU, and as the square for smooth activations.

    Source: Bürgin et al. (2026), chord deviation.

    >>> one = torch.ones(1, 1)
    >>> chord_deviation(one, -one, one, torch.relu, torch.tensor([0.0, 0.5, 1.0]))
    tensor([0.0000, 0.5000, 0.0000])
    """
    # Pre-activations are linear along the line: two products serve all of it.
    one, other = F.linear(x, a), F.linear(x, b)
    ends = activation(one), activation(other)
    deviations = [activation(torch.lerp(one, other, lam)) - torch.lerp(*ends, lam) for lam in lambdas.to(x)]
    return torch.stack([deviation.norm() for deviation in deviations]) / len(x) ** 0.5


def fixed_size(fixed: Tensor, x: Tensor) -> Tensor:
    """Return the norm of F Sigma^(1/2), the root mean square of F x over inputs.

    Args:
        fixed: F, shape (m, d).
        x: Inputs, shape (n, d).
    """
    return F.linear(x, fixed).norm() / len(x) ** 0.5
