"""Continuous linear equivariances of an activation, through their generators.

A one-parameter family sigma(exp(tX) x) = exp(tY) sigma(x) has D sigma(x) X x = Y sigma(x) for all x: equations that are
linear in X and Y, so that their solutions can be counted.
"""

import torch
from torch import Tensor
from torch.func import jacrev, vmap

from symlib.theory.activations import Activation, check_activation


def generator_spectrum(sigma: Activation, x: Tensor, diagonal: bool = False) -> Tensor:
    """Return the singular values of the equations for (X, Y), relative to the largest, in falling order.

    As many as vanish, so many directions has the group of linear equivariances at the identity; `nullity.nullity`
    counts them. The smallest says how nearly there is one.

    Args:
        sigma: Maps (..., d) to (..., d), differentiable at the samples.
        x: Samples in float64, shape (n, d).
        diagonal: Ask for diagonal X and Y only: scalings of single units.

    Returns:
        Shape (2 d^2,), or (2 d,) for diagonal ones.

    Raises:
        ValueError: If there are fewer equations than unknowns, or the activation does not suit.

    Source: Lim et al. (2024), section 4.2, their definition of linear equivariance, differentiated at A = B = I.
    """
    check_activation(sigma, x)
    n, d = x.shape
    if n < 2 * d:
        raise ValueError(f"{n} samples give {n * d} equations for {2 * d * d} unknowns: take {2 * d} samples or more")
    slopes, y = vmap(jacrev(sigma))(x), sigma(x)
    if diagonal:
        equations = torch.cat([slopes * x[:, None, :], -torch.diag_embed(y)], dim=2)
    else:
        of_X = torch.einsum("nia,nb->niab", slopes, x).flatten(2)
        of_Y = torch.einsum("ij,nk->nijk", torch.eye(d, dtype=x.dtype), y).flatten(2)
        equations = torch.cat([of_X, -of_Y], dim=2)
    values = torch.linalg.svdvals(equations.flatten(0, 1))
    return values / values[0]
