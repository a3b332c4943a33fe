"""Two-layer MLPs of any width for a given target: random first map, least squares for the second."""

from collections.abc import Callable

import torch
from torch import Tensor

CUTOFF = 1e-8  # singular values below this share of the largest are dropped, which keeps the weights small


def random_first_map(n: int, n_features: int, scale: float, source: torch.Generator) -> Tensor:
    """Draw n units whose kinks cross the box [-1, 1]^features, for inputs (1, x, 0, ..., 0) of length n.

    Args:
        n: Units, and inputs.
        n_features: Features of x.
        scale: Standard deviation of the weights of x.
        source: Random numbers.

    Returns:
        Shape (n, n), float64; zero where inputs are.
    """
    slopes = scale * torch.randn(n, n_features, generator=source, dtype=torch.float64)
    through = 2 * torch.rand(n, n_features, generator=source, dtype=torch.float64) - 1
    U = slopes.new_zeros(n, n)
    U[:, 0] = -(slopes * through).sum(1)
    U[:, 1 : 1 + n_features] = slopes
    return U


def fitted_second_map(U: Tensor, x: Tensor, y: Tensor, eta: Callable[[Tensor], Tensor]) -> Tensor:
    """Return V for which V eta(U x) is closest to y in the mean square.

    Args:
        U: First map, shape (units, inputs).
        x: Inputs, shape (points, inputs).
        y: Targets, shape (points, outputs).
        eta: Activation.

    Returns:
        Shape (outputs, units).
    """
    # gelsd: the driver that drops small singular values accurately.
    return torch.linalg.lstsq(eta(x @ U.T), y, rcond=CUTOFF, driver="gelsd").solution.T
