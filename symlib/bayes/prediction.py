"""What Gaussian networks predict: probabilities averaged over draws of their weights.

Training draws weights anew for every example, at a product per factor. A prediction draws them once for all inputs:
each input meets as many draws, at one product each, and convolutions use the same weights at every place.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.func import functional_call

from symlib.bayes.layers import GaussianConv2d, layers_of, noise_size, noisy
from symlib.population import Population, each, logits, mode, passes
from symlib.seeds import seed


@torch.no_grad()
def predict(population: Population, x: Tensor, n_samples: int, draw_seeds: Sequence[int]) -> Tensor:
    """Average the probabilities that every network gives under draws of its weights.

    Args:
        population: M Gaussian networks.
        x: Inputs, shape (n, ...).
        n_samples: Draws of the weights, shared by all inputs.
        draw_seeds: Seed of the draws of each network.

    Returns:
        Probabilities, shape (M, n, classes).

    Raises:
        ValueError: If there is no draw, or not one seed for each network.

    Source: Lim et al. (2024), appendix F.2 and their code: 25 draws, anew for every input.
    """
    if n_samples < 1 or len(draw_seeds) != len(population):
        raise ValueError(
            f"prediction needs 1 or more draws and a seed for each of the {len(population)} networks, got {n_samples} "
            f"and {len(draw_seeds)}"
        )
    sources = [torch.Generator(x.device).manual_seed(seed(s, "predict")) for s in draw_seeds]
    parts = passes(population.model, x)
    if _mixes_up_factors(population.model):  # such noise is that of no weights
        return torch.cat([_under_noise(population, part, n_samples, sources) for part in parts], dim=1)
    total = 0.0
    for _ in range(n_samples):
        drawn = draw(population, sources)
        total = total + torch.cat([logits(drawn, part).softmax(-1) for part in parts], dim=1)
    return total / n_samples


@torch.no_grad()
def draw(population: Population, sources: Sequence[torch.Generator]) -> Population:
    """Draw the weights of every network from its posterior.

    Args:
        population: M Gaussian networks.
        sources: Of the random numbers of each network, on its device.

    Returns:
        The same networks with drawn weights in place of their means; pinned entries are as before.
    """
    params, drawn = population.params, {}

    def normal(*shape: int) -> Tensor:
        return torch.stack([torch.randn(shape, generator=source, device=source.device) for source in sources])

    for at, layer in layers_of(population.model):
        rank = layer.posterior.rank
        shares = normal(rank) / max(rank, 1) ** 0.5  # of the factors, one for weight and bias together
        for part in layer.parts:
            name = f"{at}.{part}" if at else part
            mean = params[name]
            log_variance = params.get(f"{name}_log_variance", layer.log_variance(part))
            free = getattr(layer, f"free_{part}").to(mean.device)
            w = mean + free * (log_variance / 2).exp() * normal(*mean.shape[1:]).to(mean.dtype)
            if rank:
                w = w + torch.einsum("mk,mk...->m...", shares.to(mean.dtype), params[f"{name}_factors"])
            drawn[name] = w
    return replace(population, params=params | drawn)


def _mixes_up_factors(model: nn.Module) -> bool:
    return any(isinstance(m, GaussianConv2d) and m.posterior.released_order for m in model.modules())


def _under_noise(population: Population, x: Tensor, n_samples: int, sources: Sequence[torch.Generator]) -> Tensor:
    """Average probabilities under the noise of training, drawn for every input."""
    model, size = population.model, noise_size(population.model, x)

    def probabilities(member: dict[str, Tensor], inputs: Tensor) -> dict[str, Tensor]:
        noise, weights = member[""], {name: w for name, w in member.items() if name}
        with noisy(model, noise):
            return {"": functional_call(model, weights, (inputs,)).softmax(-1)}

    total = 0.0
    with mode(model, training=False):
        for _ in range(n_samples):
            drawn = [torch.randn(len(x), size, generator=source, device=x.device) for source in sources]
            total = total + each(population, probabilities, x, {"": torch.stack(drawn).to(x.dtype)})[""]
    return total / n_samples


@torch.no_grad()
def ensemble(population: Population, x: Tensor) -> Tensor:
    """Return the average of the probabilities of several networks on inputs, shape (n, classes)."""
    return torch.cat([logits(population, inputs).softmax(-1).mean(0) for inputs in passes(population.model, x)])
