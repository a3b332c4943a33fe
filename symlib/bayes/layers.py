"""Linear and convolution layers whose weights are Gaussian, with covariance a diagonal plus a product of few factors.

A layer adds noise to its outputs instead of drawing weights: given an input, outputs under random weights are Gaussian
around the output under the mean, so one draw for every example costs a product per factor and no sampled weights. In
convolutions the noise of the diagonal is drawn anew at every place, an approximation: the same weights act at all.

Source: Lim et al. (2024), section 5.2; Tomczak et al. (2020); Kingma et al. (2015) for the noise of the diagonal.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from symlib.asymmetry import Constraint, linear_maps, tensor_hash
from symlib.population import Population, mode
from symlib.seeds import generator

TINY = 1e-16  # below any variance of an output that is not zero; keeps the gradient of its root finite


@dataclass(frozen=True)
class Posterior:
    """The family of Gaussians that a layer's weights and bias follow: N(mean, diag(s^2) + sum_k v_k v_k^T / rank).

    Attributes:
        rank: Number of factors v_k; 0 leaves the diagonal.
        log_variance: log s^2 of every trainable entry, at the start if it is learned.
        learned: The diagonal is trained; the paper keeps it as it is.
        spread: Multiplies the initial factors of linear layers.
        released_order: Convolutions read the outputs of their factors in the order of the paper's code, which mixes
            them up: the noise has another covariance than the divergence says, and pinned entries have some.

    Raises:
        ValueError: If a number cannot be meant.

    Source: Lim et al. (2024), section 5.2 and their code: rank 4, log_variance -10 (MLPs) and -12 (ResNets).
    """

    rank: int = 4
    log_variance: float = -10.0
    learned: bool = False
    spread: float = 1.0
    released_order: bool = False

    def __post_init__(self) -> None:
        if self.rank < 0:
            raise ValueError(f"rank is a number of factors, 0 or more, got {self.rank}")
        if not abs(self.log_variance) < 100:
            raise ValueError(f"log_variance is the logarithm of a variance, got {self.log_variance}")
        if not 0 <= self.spread < float("inf"):
            raise ValueError(f"spread multiplies standard deviations: finite, 0 or more, got {self.spread}")


class Noise:
    """Standard normal numbers that the layers of one network take in turn, one row an example."""

    def __init__(self) -> None:
        self.values: Tensor | None = None  # shape (batch, numbers of all layers); None leaves networks at their mean
        self.taken = 0
        self.counting = False

    def __bool__(self) -> bool:
        return self.counting or self.values is not None

    def take(self, like: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return the next numbers of every example, shape `(batch, *shape)`."""
        first, self.taken = self.taken, self.taken + prod(shape)
        if self.counting:
            return like.new_zeros(len(like), *shape)
        return self.values[:, first : self.taken].reshape(-1, *shape)


class _Gaussian(nn.Module):
    """What linear and convolution layers have in common; mixed in before the layer itself."""

    def extra_repr(self) -> str:
        """Name the posterior too."""
        return f"{super().extra_repr()}, {self.posterior}"

    def make_gaussian(self, posterior: Posterior, noise: Noise, masks: Mapping[str, Tensor]) -> None:
        """Add the parameters of the covariance to a layer that has those of the mean.

        Args:
            posterior: The family of Gaussians.
            noise: Where this layer and all others of its network take their noise from.
            masks: Which entries are trainable, of the weight, the bias, both or none.
        """
        self.posterior, self.noise = posterior, noise
        self.n_free = {}
        for name in self.parts:
            w = getattr(self, name)
            free = masks.get(name, torch.ones_like(w, dtype=torch.bool))
            self.n_free[name] = int(free.sum())
            self.register_buffer(f"free_{name}", free.to(w.dtype))
            if posterior.rank:
                self.register_parameter(f"{name}_factors", nn.Parameter(w.new_zeros(posterior.rank, *w.shape)))
            if posterior.learned:
                log_variance = torch.full_like(w, posterior.log_variance)
                self.register_parameter(f"{name}_log_variance", nn.Parameter(log_variance))
        whole = all(self.n_free[name] == getattr(self, name).numel() for name in self.parts)
        self.rows_differ = posterior.learned or not whole

    @property
    def parts(self) -> tuple[str, ...]:
        """What is Gaussian: the weight and, if there is one, the bias."""
        return ("weight",) if self.bias is None else ("weight", "bias")

    def log_variance(self, name: str) -> Tensor:
        """Return the logarithm of the diagonal of the covariance, one for all entries if it is not learned."""
        if self.posterior.learned:
            return getattr(self, f"{name}_log_variance")
        return self.weight.new_tensor(self.posterior.log_variance)

    def variance(self, name: str) -> Tensor:
        """Return the diagonal of the covariance, 0 where an entry is pinned."""
        return getattr(self, f"free_{name}") * self.log_variance(name).exp()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer with weights drawn for every example, or with their mean if there is no noise."""
        mean, rank = super().forward(x), self.posterior.rank
        if not self.noise:
            return mean
        rows = slice(None) if self.rows_differ else slice(1)  # else all outputs have the variance of the first
        variance = self.apply_weights(x.square(), *(self.variance(name)[rows] for name in self.parts))
        y = mean + (variance + TINY).sqrt() * self.noise.take(x, tuple(mean.shape[1:]))
        if not rank:
            return y
        moved = self.apply_weights(x, *(getattr(self, f"{name}_factors").flatten(0, 1) for name in self.parts))
        return y + torch.einsum("bk,bk...->b...", self.noise.take(x, (rank,)) / rank**0.5, self.by_factor(moved))

    def by_factor(self, outputs: Tensor) -> Tensor:
        """Return outputs of all factors, shape (batch, rank * out, ...), as (batch, rank, out, ...)."""
        return outputs.unflatten(1, (self.posterior.rank, -1))

    def apply_weights(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Apply the layer's linear map with other weights."""
        raise NotImplementedError


class GaussianLinear(_Gaussian, nn.Linear):
    """A linear layer with Gaussian weights; make it with `gaussian`."""

    def apply_weights(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Map (batch, in) to (batch, out) with other weights."""
        return F.linear(x, weight, bias)


class GaussianConv2d(_Gaussian, nn.Conv2d):
    """A convolution with Gaussian weights; make it with `gaussian`."""

    def by_factor(self, outputs: Tensor) -> Tensor:
        """Return outputs of all factors as (batch, rank, out, ...), in the released order if the posterior asks."""
        if self.posterior.released_order:
            return outputs.unflatten(1, (-1, self.posterior.rank)).transpose(1, 2)
        return super().by_factor(outputs)

    def apply_weights(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Map (batch, in, height, width) with other weights."""
        return self._conv_forward(x, weight, bias)


GAUSSIAN = {nn.Linear: GaussianLinear, nn.Conv2d: GaussianConv2d}


def gaussian(population: Population, posterior: Posterior, draw_seeds: Sequence[int]) -> Population:
    """Make the weights and biases of all linear maps of networks Gaussian around what they are.

    Norms stay numbers, and so do pinned entries. Initial factors are those of the paper's code: in linear layers half
    as large as the spread of the trainable weights over the root of the rank, 0.01 for biases; in convolutions zeros.

    Args:
        population: Networks of linear and 2-D convolution layers, norms and whatever has no weights.
        posterior: The family of Gaussians.
        draw_seeds: Seed of each network's initial factors.

    Returns:
        The same networks with parameters of the same names for means and further ones for covariances; the constraint
        keeps covariances at 0 where an entry is pinned.

    Raises:
        ValueError: If a linear map is of another kind, one has fewer entries than factors, or none a trainable entry.
    """
    model, fixed = _converted(population.model, population.constraint, posterior)
    covariances = {}
    for at, layer in layers_of(model):
        for part in layer.parts:
            name = f"{at}.{part}" if at else part
            if posterior.learned:
                covariances[f"{name}_log_variance"] = torch.full_like(population.params[name], posterior.log_variance)
            if posterior.rank:
                linear = isinstance(layer, nn.Linear)
                factors = [
                    _initial_factors(mean, name, fixed, posterior, draw_seed)
                    if linear
                    else mean.new_zeros(posterior.rank, *mean.shape)
                    for mean, draw_seed in zip(population.params[name], draw_seeds, strict=True)
                ]
                covariances[f"{name}_factors"] = torch.stack(factors)
    return replace(population, model=model, constraint=fixed, params=population.params | fixed.impose(covariances))


def _initial_factors(mean: Tensor, name: str, fixed: Constraint, posterior: Posterior, draw_seed: int) -> Tensor:
    scale = 0.01
    if name.endswith("weight"):
        trainable = (mean - fixed.F[name])[fixed.D[name]] if name in fixed.F else mean.flatten()
        # One number has no spread, and where all are pinned there is none.
        scale = 0.5 * float(trainable.std()) / posterior.rank**0.5 if len(trainable) > 1 else 0.0
    source = generator(draw_seed, "factors", name)
    return posterior.spread * scale * torch.randn(posterior.rank, *mean.shape, generator=source)


def _converted(model: nn.Module, fixed: Constraint, posterior: Posterior) -> tuple[nn.Module, Constraint]:
    """Return a copy of a model with Gaussian layers, and the constraint with what is pinned of covariances."""
    model, noise = deepcopy(model), Noise()
    D, F = dict(fixed.D), dict(fixed.F)
    for at, module in layers_of(model):
        if posterior.rank > (size := sum(w.numel() for w in module.parameters())):
            raise ValueError(f"{posterior.rank} factors are more than the {size} entries of {at}: lower the rank")
        module.__class__ = GAUSSIAN[type(module)]
        names = {part: f"{at}.{part}" if at else part for part in module.parts}
        masks = {part: D[name] for part, name in names.items() if name in D}
        module.make_gaussian(posterior, noise, masks)
        for part, mask in masks.items():
            for what in ("factors", "log_variance"):
                if (extra := getattr(module, f"{part}_{what}", None)) is not None and not mask.all():
                    name = f"{names[part]}_{what}"
                    D[name], F[name] = mask.expand(extra.shape), torch.zeros(extra.shape)
    if not any(sum(layer.n_free.values()) for _, layer in layers_of(model)):
        raise ValueError("no weight of a linear map is trainable: there is nothing to have a posterior of")
    return model, Constraint(D, F, tensor_hash(D, F)[:16])


def layers_of(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the linear maps of a network with their names, Gaussian or to be made so.

    Raises:
        ValueError: If one is of a kind that cannot be Gaussian here.
    """
    maps = {name.rpartition(".")[0] for name in linear_maps(model)}
    for at, module in model.named_modules():
        if at in maps:
            if type(module) not in (*GAUSSIAN, *GAUSSIAN.values()):
                raise ValueError(f"{at} is a {type(module).__name__}: only Linear and Conv2d layers can be Gaussian")
            if getattr(module, "groups", 1) > 1:
                raise ValueError(f"{at} has {module.groups} groups of channels: only one can be Gaussian")
            yield at, module


@contextmanager
def noisy(model: nn.Module, values: Tensor) -> Iterator[None]:
    """Let a Gaussian network draw weights, from standard normal numbers of shape (batch, `noise_size`)."""
    noise = noise_of(model)
    noise.values, noise.taken = values, 0
    try:
        yield
    finally:
        noise.values = None


def noise_of(model: nn.Module) -> Noise:
    """Return where the layers of a Gaussian network take their noise from."""
    return next(module.noise for _, module in layers_of(model))


@torch.no_grad()
def noise_size(model: nn.Module, x: Tensor) -> int:
    """Return how many numbers a Gaussian network takes for every example, on inputs of shape (n, ...)."""
    noise, few = noise_of(model), x[:2]
    noise.counting, noise.taken = True, 0
    try:
        with mode(model, training=False):
            model(few)
    finally:
        noise.counting = False
    return noise.taken
