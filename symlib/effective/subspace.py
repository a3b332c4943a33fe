"""The subspace that the inputs of a linear map span, from a covariance that is summed up in one pass.

Inputs are never stacked: a data set costs one matrix of features by features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from symlib.alignment.recording import Watch
from symlib.asymmetry import linear_maps
from symlib.population import mode, passes, unfused_attention

# Measured on one core at 54,000 inputs of 784 features: products of so many rows in float32, added up in float64, take
# half the time of float64 and change realization costs by less than 1e-5; strips up to the diagonal save a quarter.
ROWS = 500
STRIP = 128
ROUNDING = 1e-6  # share of the variance that may be rounding of the inputs


class Moments:
    """Running mean and covariance of vectors.

    Vectors are shifted by the mean of the first batch, so that a large mean does not swallow a small variance. Products
    are in the precision of the vectors, sums in float64.
    """

    def __init__(self) -> None:
        self.n = 0
        self._shift = self._sum = self._products = torch.zeros(0, dtype=torch.float64)

    def add(self, batch: Tensor) -> None:
        """Take in vectors, shape (n, d)."""
        if self.n == 0:
            self._shift = batch.mean(0)
            self._sum = torch.zeros_like(self._shift, dtype=torch.float64)
            self._products = torch.diag(self._sum)  # right on and below the diagonal
        self.n += len(batch)
        for part in batch.split(ROWS):
            centred = part - self._shift
            self._sum += centred.sum(0, dtype=torch.float64)
            for start in range(0, batch.shape[1], STRIP):
                stop = start + STRIP
                self._products[start:stop, :stop] += centred[:, start:stop].T @ centred[:, :stop]

    @property
    def mean(self) -> Tensor:
        """The mean, shape (d,), float64."""
        return self._shift.double() + self._sum / self.n

    @property
    def covariance(self) -> Tensor:
        """The covariance around the mean, divided by n, shape (d, d), float64."""
        products = self._products.tril() + self._products.tril(-1).T
        return products / self.n - torch.outer(self._sum, self._sum) / self.n**2


@dataclass(frozen=True)
class Subspace:
    """The directions that carry most of the variance of a layer's inputs.

    Attributes:
        basis: U with orthonormal columns, largest variance first, shape (d, k), float64.
        explained: Share of the variance inside, in (0, 1].
    """

    basis: Tensor
    explained: float

    @property
    def full_dimension(self) -> int:
        """Features of the inputs, d."""
        return self.basis.shape[0]

    @property
    def dimension(self) -> int:
        """Dimension of the subspace, k."""
        return self.basis.shape[1]

    @property
    def coherence(self) -> float:
        """How close the subspace comes to a coordinate axis, see `coherence`."""
        return coherence(self.basis)


def representation_subspace(moments: Moments, explained: float = 0.9) -> Subspace:
    """Return the smallest principal subspace that carries a share of the variance.

    Args:
        moments: Of the inputs of a layer.
        explained: Share of the variance to be reached, in (0, 1].

    Returns:
        The subspace, on the CPU. The largest entry of every basis vector is positive. All of the variance is all but a
        millionth, so that rounding adds no dimensions.

    Raises:
        ValueError: If the share is outside (0, 1], there are fewer inputs than features, or the inputs do not vary or
            are not finite.

    Source: Bürgin et al. (2026), representation subspace; their code centres the inputs and takes a share of 0.9.
    """
    if not 0 < explained <= 1:
        raise ValueError(f"explained must be a share of the variance in (0, 1], got {explained}")
    n, d = moments.n, len(moments.mean)
    if n < max(1, d):
        raise ValueError(f"{n} inputs cannot show the subspace of {d} features: give at least as many inputs")
    covariance = moments.covariance.cpu()
    if not covariance.isfinite().all():
        raise ValueError("the inputs are not finite: look for NaN in the data and in the weights of earlier layers")
    variances, vectors = (part.flip(-1) for part in torch.linalg.eigh(covariance))
    # Inputs that differ by less than this from their mean do not vary but for the rounding of float32.
    if variances.sum() <= 1e-12 * moments.mean.cpu().square().sum():
        raise ValueError("the inputs do not vary, so they span no subspace: look for a layer that is constant")
    shares = variances.clamp_min(0).cumsum(0) / variances.clamp_min(0).sum()
    k = int((shares < min(explained, 1 - ROUNDING)).sum()) + 1
    basis = vectors[:, :k]
    largest = basis.gather(0, basis.abs().argmax(0, keepdim=True))
    return Subspace(basis * largest.sign(), min(1.0, float(shares[k - 1])))


def coherence(basis: Tensor) -> float:
    """Return the largest squared length of a row of U, between k/d and 1.

    Many texts multiply it by d/k; the paper does not.

    Args:
        basis: Orthonormal columns, shape (d, k).

    Source: Bürgin et al. (2026), subspace coherence.

    >>> coherence(torch.eye(4)[:, :2]), coherence(torch.full((4, 1), 0.5))
    (1.0, 0.25)
    """
    return float(basis.square().sum(1).max())


@torch.no_grad()
def layer_inputs(
    model: nn.Module, tensors: dict[str, Tensor], x: Tensor, layers: Sequence[str] = ()
) -> dict[str, Tensor]:
    """Run one network in evaluation mode and return what goes into its linear layers.

    Args:
        model: The architecture.
        tensors: Effective weights and statistics of one network.
        x: Inputs, shape (n, ...).
        layers: Names of weights; empty for all linear layers. Convolutions read patches and are no linear layers.

    Returns:
        Name of the weight -> inputs, shape (samples, features); every position of a sequence is a sample.

    Raises:
        ValueError: If a name is no linear layer, or a layer did not run.
    """
    linear = [name for name, weight in linear_maps(model).items() if weight.dim() == 2]
    if unknown := [name for name in layers if name not in linear]:
        raise ValueError(f"{unknown[0]} is no linear layer of this network; these are: {', '.join(linear)}")
    wanted = [(name, False) for name in layers or linear]
    watch = Watch({(tensors[name].data_ptr(), made): (name, made) for name, made in wanted})
    with mode(model, training=False), unfused_attention(), watch:
        functional_call(model, tensors, (x,))
    if missing := [name for name, made in wanted if (name, made) not in watch.seen]:
        raise ValueError(f"no inputs of {missing[0]} were recorded: the network never multiplied anything by it")
    return {name: torch.cat([seen.flatten(0, -2) for seen in watch.seen[name, made]]) for name, made in wanted}


def input_moments(
    model: nn.Module,
    tensors: dict[str, Tensor],
    x: Tensor,
    chunk: int | None = None,
    layers: Sequence[str] = (),
) -> dict[str, Moments]:
    """Return mean and covariance of what goes into linear layers over a whole data set.

    Args:
        model: The architecture.
        tensors: Effective weights and statistics of one network.
        x: Inputs, shape (n, ...), seen once.
        chunk: Inputs per pass; by default what suits the cache.
        layers: Names of weights; empty for all linear layers.

    Raises:
        ValueError: As `layer_inputs` does.
    """
    found: dict[str, Moments] = {}
    for inputs in passes(model, x, chunk):
        for name, samples in layer_inputs(model, tensors, inputs, layers).items():
            found.setdefault(name, Moments()).add(samples)
    return found
