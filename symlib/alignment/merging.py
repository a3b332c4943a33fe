"""Merging of many networks: each is aligned with the mean of the others until none moves."""

import torch

from symlib.alignment.permutation import Alignment, PermutationSpec, identity, permute
from symlib.alignment.weight_matching import weight_matching
from symlib.population import Population

MAX_ROUNDS = 20  # over all networks; a bound, in case rounding lets two orders alternate


def align_all(
    population: Population, spec: PermutationSpec, source: torch.Generator, restarts: int = 3
) -> list[Alignment]:
    """Reorder M networks so that the inner products between all of them grow until no single move helps.

    Args:
        population: M networks, at least 2; with `permutation.permute_members` the answer is applied to them.
        spec: How units may be reordered.
        source: Generator for visiting orders.
        restarts: Descents with other orders, at least 1; the one with the largest sum of objectives is returned.

    Returns:
        One alignment per network; its objective is the inner product with the mean of the others, its sweeps the
        rounds over all networks.

    Raises:
        ValueError: If there are fewer than 2 networks or restarts is below 1.

    Source: Ainsworth et al. (2023), appendix A.10, MergeMany.
    """
    if len(population) < 2:
        raise ValueError(f"merging needs at least 2 networks, got {len(population)}")
    if restarts < 1:
        raise ValueError(f"restarts must be at least 1, got {restarts}")
    descents = [_descend(population, spec, source) for _ in range(restarts)]
    return max(descents, key=lambda found: sum(alignment.objective for alignment in found))


def _descend(population: Population, spec: PermutationSpec, source: torch.Generator) -> list[Alignment]:
    members = [{name: member[name] for name in population.params} for member in population.members()]
    total = {name: w.sum(0) for name, w in population.params.items()}
    found = [Alignment(identity(spec.sizes), 0.0, 0) for _ in members]
    rounds, moved = 0, True
    while moved and rounds < MAX_ROUNDS:
        rounds, moved = rounds + 1, False
        for i in torch.randperm(len(members), generator=source).tolist():
            others = {name: (w - members[i][name]) / (len(members) - 1) for name, w in total.items()}
            step = weight_matching(others, members[i], spec, source, restarts=1)
            if any(not torch.equal(p, torch.arange(len(p))) for p in step.perms.values()):
                moved = True
                members[i] = permute(spec, step.perms, members[i])
                total = {name: (len(members) - 1) * others[name] + members[i][name] for name in total}
            perms = {group: found[i].perms[group][p] for group, p in step.perms.items()}
            found[i] = Alignment(perms, step.objective, rounds)
    return found


def average(population: Population) -> Population:
    """Return the mean of all members as a population of one; its statistics are means too."""
    means = {
        name: w.mean(0, keepdim=True) if w.is_floating_point() else w[:1] for name, w in population.tensors.items()
    }
    return population.holding(means)
