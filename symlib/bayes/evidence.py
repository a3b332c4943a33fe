"""The evidence lower bound of Gaussian networks: how far the posterior is from the prior, and what training minimises.

Source: Lim et al. (2024), section 5.2, appendix F.2 and their code.
"""

from dataclasses import dataclass
from math import exp, log

import torch
from torch import Tensor, nn
from torch.func import functional_call

from symlib.asymmetry import Constraint
from symlib.bayes.layers import layers_of, noise_size, noisy
from symlib.training import Objective


@dataclass(frozen=True)
class Evidence(Objective):
    """Mean negative log-likelihood with one draw of weights per example, plus the divergence over `n_inputs`.

    Attributes:
        tau: Of the prior, see `prior_variance`.
        n_inputs: What the divergence is divided by: the size of the data set. The released code has eight times that.

    Raises:
        ValueError: If a number is not positive and finite.
    """

    tau: float
    n_inputs: float

    def __post_init__(self) -> None:
        for name in ("tau", "n_inputs"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)}")

    def noise_size(self, model: nn.Module, x: Tensor) -> int:
        """Return how many random numbers each example of inputs x, shape (n, ...), needs."""
        return noise_size(model, x)

    def logits(self, model: nn.Module, tensors: dict[str, Tensor], x: Tensor, *noise: Tensor) -> Tensor:
        """Run a network with random weights."""
        with noisy(model, *noise):
            return functional_call(model, tensors, (x,))

    def penalty(self, model: nn.Module, fixed: Constraint, params: dict[str, Tensor]) -> Tensor:
        """Return the divergence of the posterior from the prior, per input."""
        return divergence(model, fixed, params, self.tau) / self.n_inputs


def prior_variance(layer: nn.Module, tau: float) -> float:
    """Return the variance of a layer's weights under the prior.

    That is 1 / (tau m), m the outputs of a linear layer and the input channels of a convolution (Lim et al., code).
    """
    return 1 / (tau * layer.weight.shape[1 if layer.weight.dim() > 2 else 0])


def divergence(model: nn.Module, fixed: Constraint, params: dict[str, Tensor], tau: float) -> Tensor:
    """Return the Kullback-Leibler divergence KL(posterior, prior) over all trainable entries, in nats.

    The prior is N(F, prior_variance) for the entries F + D * W of a constraint, independent of each other. Pinned
    entries and norms do not count. With S the diagonal and V the factors of a layer over the root of their number,
    shape (k, d), the determinant of S + V^T V is that of S times that of a k x k matrix.

    Args:
        model: From `gaussian`.
        fixed: Its constraint, as `gaussian` returns it.
        params: Its parameters by name.
        tau: Of the prior.

    Returns:
        Shape ().
    """
    total, inner = 0.0, []
    for at, layer in layers_of(model):
        prior, rank, gram = prior_variance(layer, tau), layer.posterior.rank, 0.0
        for part in layer.parts:
            name, n_free = f"{at}.{part}" if at else part, layer.n_free[part]
            mean = (params[name] - fixed.F[name] if name in fixed.F else params[name]).flatten()  # 0 where pinned
            factors = params[f"{name}_factors"].flatten(1) if rank else mean.new_zeros(0, len(mean))
            variances, logs, traces, products = _diagonal(layer, part, params.get(f"{name}_log_variance"), factors)
            total = total + (mean.dot(mean) + variances + traces) / prior + n_free * (log(prior) - 1) - logs
            gram = gram + products
        if rank:
            inner.append(torch.eye(rank, dtype=gram.dtype, device=gram.device) + gram)
    if inner:
        total = total - torch.linalg.slogdet(torch.stack(inner)).logabsdet.sum()
    return total / 2


def _diagonal(
    layer: nn.Module, part: str, log_variance: Tensor | None, factors: Tensor
) -> tuple[Tensor | float, Tensor | float, Tensor, Tensor]:
    """Return sums over trainable entries: of S, of log S, of the squares of V, and V S^-1 V^T.

    One product gives the last two if S is a multiple of the identity, which saves passes over the factors.
    """
    scale = 1 / max(layer.posterior.rank, 1)  # of the products, which are small, not of the factors
    if log_variance is None:
        n_free, same = layer.n_free[part], layer.posterior.log_variance
        products = scale * _gram(factors)
        return n_free * exp(same), n_free * same, products.trace(), products * exp(-same)
    free, flat = getattr(layer, f"free_{part}"), log_variance.flatten()
    traces, products = scale * factors.square().sum(), scale * (factors * (-flat).exp()) @ factors.T
    return (free * log_variance.exp()).sum(), (free * log_variance).sum(), traces, products


def _gram(factors: Tensor) -> Tensor:
    """Return V V^T for functions of it that treat (i, j) like (j, i), whose gradient then is twice that of one side.

    The gradient of the other side comes transposed; adding the two would cost as much as a layer's products.
    """
    one_side = factors @ factors.detach().T
    return 2 * one_side - one_side.detach()
