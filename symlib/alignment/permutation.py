"""Permutation specifications, and reordering networks by them. Where a specification comes from is in `tracing`."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from symlib.alignment.axes import Axis, Perms, occurrences, order
from symlib.asymmetry import Standard, constraint
from symlib.population import Population, logits


@dataclass(frozen=True)
class Reading:
    """A place where the units of a group can be seen in a running network."""

    weight: str  # name of the linear map
    axis: Axis  # what the channel axis there is made of
    made: bool = False  # at the output of that map instead of its input


@dataclass(frozen=True)
class PermutationSpec:
    """How the units of a network may be reordered.

    Attributes:
        axes: Name of a parameter -> what each of its axes is made of.
        stats: The same for the running statistics of BatchNorm layers.
        readings: Name of a group -> where its units can be seen; empty if no linear map is called there.
    """

    axes: dict[str, tuple[Axis, ...]]
    stats: dict[str, tuple[Axis, ...]]
    readings: dict[str, tuple[Reading, ...]]

    @property
    def sizes(self) -> dict[str, int]:
        """The number of units of each group."""
        return {
            group: len(entries) for axes in self.axes.values() for axis in axes for group, entries in occurrences(axis)
        }

    def __str__(self) -> str:
        width = max(map(len, self.axes))
        return "\n".join(f"{name:{width}}  ({', '.join(map(str, axes))})" for name, axes in self.axes.items())


@dataclass(frozen=True)
class Alignment:
    """Where the units of network B should go so that they line up with network A."""

    perms: Perms  # group -> index vector, shape (units,), int64: new unit r of B is its old unit perms[r]
    objective: float  # what the aligner maximised, in its own unit
    sweeps: int  # passes over all groups until nothing moved


def identity(sizes: dict[str, int]) -> Perms:
    """Return the permutation that moves nothing."""
    return {group: torch.arange(n) for group, n in sizes.items()}


def random_perms(sizes: dict[str, int], source: torch.Generator) -> Perms:
    """Return one uniformly random permutation per group."""
    return {group: torch.randperm(n, generator=source) for group, n in sizes.items()}


def permute(spec: PermutationSpec, perms: Perms, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Reorder the units of one network; shapes stay, and the function does if the specification is right."""
    known = spec.axes | spec.stats
    return {name: _reordered(w, known[name], perms) for name, w in tensors.items()}


def _reordered(w: Tensor, axes: tuple[Axis, ...], perms: Perms) -> Tensor:
    for i, axis in enumerate(axes):
        if any(group in perms for group, _ in occurrences(axis)):
            w = w.index_select(i, order(axis, perms).to(w.device))
    return w


def permute_members(spec: PermutationSpec, found: list[Alignment], population: Population, x: Tensor) -> Population:
    """Reorder each member by its own alignment, after checking on inputs x that no function changes.

    The result is unconstrained: its pinned entries have moved with its units, so it can be compared with other
    standard networks only.

    Raises:
        ValueError: If outputs change, which means that the specification does not fit the model.
    """
    members = [permute(spec, a.perms, m) for a, m in zip(found, population.members(), strict=True)]
    stacked = {name: torch.stack([m[name] for m in members]) for name in population.tensors}
    moved = unconstrained(population.holding(stacked))
    with torch.no_grad():
        before, after = logits(population, x), logits(moved, x)
    worst = (before - after).abs().max().item()
    # Reordered sums round differently: 1e-4 of the largest logit is far above that and far below a wrong axis.
    if not worst <= 1e-4 * before.abs().max().item():
        raise ValueError(f"the specification does not keep the function: logits change by up to {worst:.2g}")
    return moved


def unconstrained(population: Population) -> Population:
    """Return the same effective networks as standard ones, whose entries may all move."""
    return replace(population, constraint=constraint(population.model, Standard(), 0))


def check_same_architecture(a: dict[str, Tensor], b: dict[str, Tensor], spec: PermutationSpec) -> None:
    """Refuse to align networks whose tensors differ, before any work.

    Raises:
        ValueError: Naming the first tensor that differs.
    """
    known = {name: tuple(axis.size for axis in axes) for name, axes in (spec.axes | spec.stats).items()}
    for name in sorted(a.keys() | b.keys() | spec.axes.keys()):
        shapes = [tuple(p[name].shape) if name in p else None for p in (a, b)]
        if name not in known or not shapes[0] == shapes[1] == known[name]:
            raise ValueError(
                f"cannot align across architectures: {name} has shape {shapes[0]} in A and {shapes[1]} in B"
                + (
                    f", and {known[name]} in the specification"
                    if name in known
                    else ", and the specification does not know it"
                )
            )
