"""What networks without biases cannot do when their activation has eta(x) - eta(-x) = x, on one feature.

eta is then x / 2 plus an even function, and so is every two-layer network: linear plus even.
"""

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor


def least_error(x: Tensor, y: Tensor) -> float:
    """Return the largest error that every two-layer network without biases has at least, on a grid of one feature.

    The larger of the errors at x and -x is no smaller than that of the odd part, which such a network has linear.

    Args:
        x: Grid, symmetric around 0, shape (points,).
        y: Target on it, shape (points,).

    Raises:
        ValueError: If the grid is not symmetric.

    >>> x = torch.linspace(-1, 1, 201, dtype=torch.float64)
    >>> round(least_error(x, x**2 + 3 * x), 6)
    0.0
    """
    if not torch.allclose(x, -x.flip(0)):
        raise ValueError("the grid must be symmetric around 0: choose for instance linspace(-1, 1, 201)")
    odd = (y - y.flip(0)) / 2
    steepest = float(2 * odd.abs().max() / x.abs().max())  # a steeper line misses by more than the line 0
    found = minimize_scalar(
        lambda a: float((odd - a * x).abs().max()), bounds=(-steepest, steepest), options={"xatol": 1e-10}
    )
    return float(found.fun)


def linear_error(x: Tensor, y: Tensor) -> float:
    """Return the largest error of the straight line through 0 that is closest in the mean square, shapes (points,)."""
    return float((y - x * (x @ y) / (x @ x)).abs().max())
