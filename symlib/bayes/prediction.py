"""What Gaussian networks predict: probabilities averaged over draws of their weights."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import functional_call

from symlib.bayes.layers import noise_size, noisy
from symlib.population import Population, each, logits, mode, passes
from symlib.seeds import seed


@torch.no_grad()
def predict(population: Population, x: Tensor, n_samples: int, draw_seeds: Sequence[int]) -> Tensor:
    """Average the probabilities that every network gives under draws of its weights.

    Args:
        population: M Gaussian networks.
        x: Inputs, shape (n, ...).
        n_samples: Draws for every input.
        draw_seeds: Seed of the draws of each network.

    Returns:
        Probabilities, shape (M, n, classes).

    Raises:
        ValueError: If there is no draw, or not one seed for each network.

    Source: Lim et al. (2024), appendix F.2 and their code: 25 draws.
    """
    if n_samples < 1 or len(draw_seeds) != len(population):
        raise ValueError(
            f"prediction needs 1 or more draws and a seed for each of the {len(population)} networks, got {n_samples} "
            f"and {len(draw_seeds)}"
        )
    model, size = population.model, noise_size(population.model, x)
    sources = [torch.Generator(x.device).manual_seed(seed(s, "predict")) for s in draw_seeds]

    def probabilities(member: dict[str, Tensor], inputs: Tensor) -> dict[str, Tensor]:
        noise, weights = member[""], {name: w for name, w in member.items() if name}
        with noisy(model, noise):
            return {"": functional_call(model, weights, (inputs,)).softmax(-1)}

    means = []
    with mode(model, training=False):
        for inputs in passes(model, x):
            total = 0.0
            for _ in range(n_samples):
                drawn = [torch.randn(len(inputs), size, generator=source, device=x.device) for source in sources]
                noise = {"": torch.stack(drawn).to(inputs.dtype)}
                total = total + each(population, probabilities, inputs, noise)[""]
            means.append(total / n_samples)
    return torch.cat(means, dim=1)


@torch.no_grad()
def ensemble(population: Population, x: Tensor) -> Tensor:
    """Return the average of the probabilities of several networks on inputs, shape (n, classes)."""
    return torch.cat([logits(population, inputs).softmax(-1).mean(0) for inputs in passes(population.model, x)])
