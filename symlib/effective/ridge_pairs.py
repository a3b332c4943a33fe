"""The optimisation behind `ridge_through.py`: one neuron against several functions at several ridges, as one batch."""

from dataclasses import dataclass
from math import pi, sqrt

import torch
from torch import Tensor

from symlib.effective.descent import Minimum, minimise

TOLERANCE = 1e-9  # of an objective, up to which it is minimised; costs are then exact to 1e-4 of it, mostly to 1e-5
CERTIFIED = 1e-8  # of an objective, the decrease that may remain when it is looked at in float64


@dataclass(frozen=True)
class Pairs:
    """One realizer and several sources at all ridges: problems in the coordinates of weights, and a bias last.

    Problem p is ridge p // sources and source p % sources.
    """

    design: Tensor  # pre-activation that a unit of each weight adds, shape (n, r), columns uncorrelated
    offset: Tensor  # pre-activation without trainable weights and bias, shape (n,)
    activations: Tensor  # of the sources, shape (n, sources)
    variances: Tensor  # of the columns of the design, shape (r,)
    betas: Tensor  # falling, shape (ridges,)

    def __len__(self) -> int:
        return len(self.betas) * self.activations.shape[1]

    def single(self) -> "Pairs":
        """Return the problems in float32."""
        return Pairs(
            *(part.float() for part in (self.design, self.offset, self.activations, self.variances, self.betas))
        )

    def linear(self, correlations: Tensor, levels: Tensor) -> Tensor:
        """Return the solutions for pre-activations, with the ridge for a neuron that passes half of what it gets.

        Args:
            correlations: Of the columns of the design with pre-activations of the sources, shape (r, sources).
            levels: Mean pre-activation of the sources, shape (sources,).
        """
        shrunk = correlations[:, None] / (self.variances[:, None] + 2 * self.betas)[..., None]
        return torch.cat([shrunk.flatten(1), levels.repeat(len(self.betas))[None]])

    def silent(self) -> Tensor:
        """Return no weights and a bias so low that the neuron hardly ever fires."""
        bias = -self.offset.mean() - 2 * self.offset.std() - 1
        return torch.cat([torch.zeros_like(self.variances), bias[None]])

    def beta(self, which: Tensor) -> Tensor:
        """Return the ridges of some of the problems."""
        return self.betas[which // self.activations.shape[1]]

    def objective(self, x: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        """Return values and gradients of some of the problems at x, shape (r + 1, p)."""
        weights, beta = x[:-1], self.beta(which)
        z, passed = self._passed(x)
        slope = _density(z).mul_(z).add_(passed)
        error = z.mul_(passed).sub_(self.activations[:, which % self.activations.shape[1]])
        value = error.square().mean(0) / beta + weights.square().sum(0)
        error.mul_(slope).mul_(2 / (len(error) * beta))
        return value, torch.cat([torch.addmm(2 * weights, self.design.T, error), error.sum(0, keepdim=True)])

    def curvature(self, x: Tensor, which: Tensor) -> Tensor:
        """Return the diagonal of the Hessian as if the slope of the activation were the same on all inputs."""
        z, passed = self._passed(x)
        slope = _density(z).mul_(z).add_(passed)
        gain = 2 * slope.square().mean(0).clamp_min(1e-4) / self.beta(which)
        return torch.cat([torch.outer(self.variances, gain) + 2, gain[None]])

    def _passed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return pre-activations and the share of each that GELU lets pass."""
        z = torch.addmm(self.offset[:, None], self.design, x[:-1]).add_(x[-1])
        return z, torch.erf(z * sqrt(0.5)).add_(1).mul_(0.5)


def _density(z: Tensor) -> Tensor:
    """Return the standard normal density."""
    # Bounded, because arithmetic with the tiny numbers far out is many times slower.
    return z.square().mul_(-0.5).clamp_min_(-40).exp_().mul_(1 / sqrt(2 * pi))


def solve(pairs: Pairs, linear: Tensor, trained: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """Minimise every problem in float32, see to it in float64, and return minima and values.

    Args:
        pairs: The problems.
        linear: A start for every problem.
        trained: A second start, the same for all problems. A third is a silent neuron for the largest ridge, and the
            minimum of the next larger one for the others.
        floor: Value that counts as nothing.
    """
    every, single, n_sources = torch.arange(len(pairs)), pairs.single(), pairs.activations.shape[1]
    found = _descend(single, linear.float(), every, floor)
    at, value = found.at, found.value
    second, third = (start.float()[:, None].expand(-1, n_sources) for start in (trained, pairs.silent()))
    for which in every.split(n_sources):
        for start in (second, third):
            known = Minimum(at[:, which], value[which], found.remaining[which], found.evaluations)
            other = _descend(single, start, which, floor, known)
            better = other.value < known.value
            at[:, which] = torch.where(better, other.at, known.at)
            value[which] = torch.where(better, other.value, known.value)
        third = at[:, which]
    at = at.double()
    value, gradient = pairs.objective(at, every)
    remaining = (gradient.square() / single.curvature(at.float(), every)).sum(0) / (2 * (value + floor))
    if len(rest := (remaining > CERTIFIED).nonzero().flatten()):
        finer = _descend(pairs, at[:, rest], rest, floor)
        if len(failed := finer.remaining[finer.remaining > CERTIFIED]):
            raise ArithmeticError(
                f"{len(failed)} of {len(every)} descents stopped where another step would still lower the objective by "
                f"a share of {failed.max():.0e}: look for extreme inputs or weights"
            )
        at[:, rest], value[rest] = finer.at, finer.value
    return at, value


def _descend(pairs: Pairs, start: Tensor, which: Tensor, floor: float, known: Minimum | None = None) -> Minimum:
    def objective(x: Tensor, part: Tensor) -> tuple[Tensor, Tensor]:
        return pairs.objective(x, which[part])

    return minimise(objective, start, pairs.curvature(start, which), TOLERANCE, floor, known)
