"""Targets, and the four-layer W-asymmetric networks that approximate them with widths 24 n, n and 24 n.

Nothing is trained: second maps of two-layer networks come from least squares, and four layers from two.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from numpy.polynomial import Chebyshev
from torch import Tensor, nn
from torch.func import functional_call

from symlib.asymmetry import Constraint, WAsymmetry
from symlib.seeds import generator, seed
from symlib.theory.block_draws import masks_with_splits
from symlib.theory.random_features import fitted_second_map, random_first_map
from symlib.theory.universal_approximation import INNER, converted, padded, wide_network

# Features -> points on an axis, of the fit and of the test; 0 is one of them.
GRIDS = {1: (2001, 399), 2: (41, 31)}


class Polynomial(nn.Module):
    """x / 2 + x^2, for which eta(x) - eta(-x) = x holds all the same."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply it entry by entry."""
        return x / 2 + x**2


ACTIVATIONS: dict[str, nn.Module] = {
    "relu": nn.ReLU(),
    "gelu": nn.GELU(),
    "swish": nn.SiLU(),
    # The default threshold makes it linear from 20 on, where it is not yet so to 1e-12.
    "softplus": nn.Softplus(threshold=700),
}


class Target(NamedTuple):
    """What a two-layer network is fitted to, and how."""

    function: Callable[[Tensor], Tensor]
    n_features: int
    scale: float  # of the weights of random features
    constant: float = 1.0
    activation: nn.Module = ACTIVATIONS["gelu"]


def sine(x: Tensor) -> Tensor:
    """Return sin(3 x), of shape (points, 1)."""
    return torch.sin(3 * x)


def cosine(x: Tensor) -> Tensor:
    """Return cos(3 x), of shape (points, 1)."""
    return torch.cos(3 * x)


def surface(x: Tensor) -> Tensor:
    """Return sin(4 x_1) cos(4 x_2), of shape (points, 1)."""
    return torch.sin(4 * x[:, :1]) * torch.cos(4 * x[:, 1:])


TARGETS = {
    "sine": Target(sine, 1, 64.0),
    "cosine": Target(cosine, 1, 64.0),
    "surface": Target(surface, 2, 4.0),
    "sine, zeros": Target(sine, 1, 4.0, constant=0.0),
    "cosine, zeros": Target(cosine, 1, 4.0, constant=0.0),
    "sine, polynomial": Target(sine, 1, 1.0, activation=Polynomial()),
}


@dataclass(frozen=True)
class Approximation:
    """A two-layer network and the four-layer W-asymmetric one made from it, on points between those of the fit.

    Attributes:
        x: Points, shape (points, features).
        y: Target, shape (points,).
        two: Output of the two-layer network, same shape.
        four: Output of the four-layer network, same shape.
        weights: Of the four-layer network, by name.
    """

    x: Tensor
    y: Tensor
    two: Tensor
    four: Tensor
    weights: dict[str, Tensor]

    @property
    def error(self) -> float:
        """Largest error of the four-layer network."""
        return float((self.four - self.y).abs().max())

    @property
    def difference(self) -> float:
        """Largest difference of the two networks, relative to the largest output."""
        return float((self.four - self.two).abs().max() / self.two.abs().max())


def grid(n_features: int, n_points: int) -> Tensor:
    """Return an even grid on [-1, 1]^features, shape (points^features, features)."""
    axis = torch.linspace(-1, 1, n_points, dtype=torch.float64)
    return torch.cartesian_prod(*[axis] * n_features).view(-1, n_features)


def polynomial_error(function: Callable[[Tensor], Tensor], degree: int) -> float:
    """Return the largest error on [-1, 1] of the polynomial that equals a function of one feature at Chebyshev points.

    At degree 8 it errs by no more than 3.4 times as much as the best polynomial.
    """
    chosen = Chebyshev.interpolate(lambda x: function(torch.as_tensor(x)).numpy(), degree)
    x = grid(1, 2001)[:, 0]
    return float((function(x) - torch.as_tensor(chosen(x.numpy()))).abs().max())


def drawn_masks(n: int, draw: int) -> tuple[Constraint, int]:
    """Return masks and constants for four layers, by width alone, and how many blocks were drawn again."""
    return masks_with_splits(wide_network(n, 1, nn.GELU()), WAsymmetry(2, 1.0), seed(draw, "masks", n), INNER)


def approximated(target: Target, n: int, fixed: Constraint, draw: int) -> Approximation:
    """Fit n random features with a two-layer network, and convert it within the given masks."""
    fit, between = (grid(target.n_features, size) for size in GRIDS[target.n_features])
    U = random_first_map(n, target.n_features, target.scale, generator(draw, "features", n))
    V = fitted_second_map(U, padded(fit, n, target.constant), target.function(fit), target.activation)
    weights = converted(U, V, fixed, target.activation)
    inputs = padded(between, n, target.constant)
    two = target.activation(inputs @ U.T) @ V.T
    four = functional_call(wide_network(n, 1, target.activation), weights, inputs)
    return Approximation(between, target.function(between)[:, 0], two[:, 0], four[:, 0], weights)
