"""Statistics of mixed networks put right: BatchNorm re-estimated, or REPAIR for networks with any norm or none.

Averaging two networks shrinks the variance of their hidden units, which alone can cost much of the accuracy.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call

from symlib.asymmetry import hidden_shifts, statistics
from symlib.interpolation import line
from symlib.population import Population, batch_statistics, each, mode, passes

SMALLEST_STD = 1e-5  # a unit below it is constant and keeps its scale


@torch.no_grad()
def reestimate(population: Population, x: Tensor) -> Population:
    """Replace the running statistics of BatchNorm layers by those of data, averaged over passes.

    Args:
        population: M networks; without BatchNorm layers they come back as they are.
        x: Inputs in random order, shape (n, ...), seen once; variances are averaged over passes.

    Source: Lim et al. (2024), code, for interpolated GNNs; Izmailov et al. (2018), section 3.2.
    """
    if not population.stats:
        return population
    model, seen = population.model, 0
    population = population.holding({name: w.clone() for name, w in population.tensors.items()})
    with batch_statistics(model) as layers:
        for inputs in passes(model, x):
            seen += len(inputs)
            for layer in layers:
                layer.momentum = len(inputs) / seen  # a mean over all inputs so far
            updated = each(population, partial(_statistics_after, model), inputs)
            population = population.holding(population.params | updated)
    return population


@torch.no_grad()
def repair(a: Population, b: Population, lambdas: Tensor, x: Tensor) -> Population:
    """Return the line between networks with every hidden unit rescaled to interpolated statistics.

    The mean and the standard deviation of each unit become (1 - lambda) times those in network A plus lambda times
    those in network B, layer after layer, at the outputs of the norms, or of the hidden linear maps if there are no
    norms. The correction is folded into their scales and shifts, so the result is an ordinary population.

    Args:
        a: First network of each pair, P members, aligned with the second.
        b: Second network of each pair, P members.
        lambdas: Mixing weights, shape (T,).
        x: Inputs the statistics are taken on, in random order, shape (n, ...), seen three times.

    Returns:
        P * T networks, all points of pair 0 first.

    Raises:
        ValueError: If a norm or hidden linear map does not run exactly once in a pass.

    Source: Jordan et al. (2023), REPAIR.
    """
    mixed = line(a, b, lambdas)
    sites = [name.removesuffix(".bias") for name in hidden_shifts(a.model)]
    ends = [_moments(end, sites, x) for end in (a, b)]
    weights = lambdas.to(next(iter(ends[0].values())))[None, :, None]
    wanted = {
        name: torch.lerp(ends[0][name][:, None], ends[1][name][:, None], weights).flatten(0, 1) for name in ends[0]
    }
    wanted = {name: w.to(next(iter(mixed.params.values()))) for name, w in wanted.items()}
    found = _moments(mixed, sites, x, wanted)
    params = dict(mixed.params)
    for site in sites:
        mean, std = (found[f"{site}/{what}"].to(params[f"{site}.bias"]) for what in ("mean", "std"))
        scale = _scale(wanted[f"{site}/std"], std)
        weight = params[f"{site}.weight"]
        params[f"{site}.weight"] = weight * scale.view(*scale.shape, *[1] * (weight.dim() - 2))
        params[f"{site}.bias"] = wanted[f"{site}/mean"] + scale * (params[f"{site}.bias"] - mean)
    return mixed.holding(params | mixed.stats)


def _scale(wanted: Tensor, std: Tensor) -> Tensor:
    return torch.where(std > SMALLEST_STD, wanted / std.clamp_min(SMALLEST_STD), 1.0)


def _statistics_after(model: nn.Module, member: dict[str, Tensor], inputs: Tensor) -> dict[str, Tensor]:
    functional_call(model, member, (inputs,))  # updates the statistics in place
    return {name: member[name] for name in statistics(model)}


def _moments(
    population: Population, sites: list[str], x: Tensor, wanted: dict[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Return mean and standard deviation of every unit of every site, shape (M, units), in float64.

    With `wanted`, each site passes on what it would after correction, so that later sites are measured behind
    corrected ones.
    """
    model = population.model
    sums: dict[str, Tensor] = {}

    def run(tensors: dict[str, Tensor], inputs: Tensor) -> dict[str, Tensor]:
        seen: dict[str, Tensor] = {}
        own = {name: tensors[name] for name in population.tensors}
        with _observed(model, sites, tensors if wanted else {}, seen):
            functional_call(model, own, (inputs,))
        if idle := [site for site in sites if f"{site}/1" not in seen]:
            raise ValueError(f"cannot repair: {idle[0]} does not run in a pass; use reestimate, or drop the layer")
        return seen

    for inputs in passes(model, x):
        with mode(model, training=False):
            moments = each(population, run, inputs, wanted)
        for name, value in moments.items():
            sums[name] = sums.get(name, 0.0) + value.double() * (len(inputs) / len(x))
    return {
        f"{site}/{what}": value
        for site in sites
        for what, value in (
            ("mean", sums[f"{site}/1"]),
            ("std", (sums[f"{site}/2"] - sums[f"{site}/1"] ** 2).clamp_min(0).sqrt()),
        )
    }


@contextmanager
def _observed(model: nn.Module, sites: list[str], wanted: dict[str, Tensor], seen: dict[str, Tensor]) -> Iterator[None]:
    """Note first and second moments at the outputs of sites, and pass on corrected outputs if any are wanted."""

    def hook_for(site: str, channel: int):
        def hook(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor | None:
            units = output.movedim(channel, -1)
            axes = tuple(range(units.dim() - 1))
            first, second = units.mean(axes), (units * units).mean(axes)
            if f"{site}/1" in seen:
                raise ValueError(f"cannot repair: {site} runs more than once in a pass; give each place its own layer")
            seen[f"{site}/1"], seen[f"{site}/2"] = first, second
            if not wanted:
                return None
            std = (second - first * first).clamp_min(0).sqrt()
            scale = _scale(wanted[f"{site}/std"], std)
            return ((units - first) * scale + wanted[f"{site}/mean"]).movedim(-1, channel)

        return hook

    with ExitStack() as stack:
        for site in sites:
            module = model.get_submodule(site)
            last = isinstance(module, nn.Linear | nn.LayerNorm)
            stack.callback(module.register_forward_hook(hook_for(site, -1 if last else 1)).remove)
        yield
