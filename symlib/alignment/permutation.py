"""Permutation specifications: which axes of which tensors must move together to keep a network's function."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from symlib.asymmetry import FiGLU, Standard, constraint
from symlib.networks.mlp import MLP
from symlib.population import Population, logits

Perms = dict[str, Tensor]


@dataclass(frozen=True)
class PermutationSpec:
    """How the units of a network may be reordered.

    Attributes:
        axes: Name of a parameter -> the group that acts on each of its axes, or None.
        recorded_at: Name of a group -> the module whose output carries its units on the last axis.
    """

    axes: dict[str, tuple[str | None, ...]]
    recorded_at: dict[str, str]

    def sizes(self, params: dict[str, Tensor]) -> dict[str, int]:
        """Return the number of units of each group for the weights of one network."""
        return {g: params[name].shape[i] for name, groups in self.axes.items() for i, g in enumerate(groups) if g}

    def uses(self, group: str) -> list[tuple[str, int]]:
        """Return every (parameter, axis) that a group acts on."""
        return [(name, i) for name, groups in self.axes.items() for i, g in enumerate(groups) if g == group]


@dataclass(frozen=True)
class Alignment:
    """Where the units of network B should go so that they line up with network A."""

    perms: Perms  # group -> index vector, shape (units,), int64: new unit r of B is its old unit perms[r]
    objective: float  # what the aligner maximised, in its own unit
    sweeps: int  # passes over all groups until nothing moved


def mlp_spec(model: MLP) -> PermutationSpec:
    """Return the specification of an MLP: one group per hidden layer.

    Raises:
        ValueError: If the hidden units are tied by FiGLU gates, so that reordering changes the function.

    Source: Ainsworth et al. (2023), section 3; Lim et al. (2024), appendix F.1.
    """
    if any(isinstance(m, FiGLU) for m in model.activations):
        raise ValueError("FiGLU mixes units through its fixed matrix: no reordering of them keeps the function")
    axes: dict[str, tuple[str | None, ...]] = {}
    last = len(model.linears) - 1
    for layer in range(last + 1):
        into, out = (f"hidden{layer - 1}" if layer else None), (f"hidden{layer}" if layer < last else None)
        axes |= {f"linears.{layer}.weight": (out, into), f"linears.{layer}.bias": (out,)}
        if out:
            axes |= {f"norms.{layer}.weight": (out,), f"norms.{layer}.bias": (out,)}
    return PermutationSpec(axes, {f"hidden{layer}": f"activations.{layer}" for layer in range(last)})


def identity(sizes: dict[str, int]) -> Perms:
    """Return the permutation that moves nothing."""
    return {group: torch.arange(n) for group, n in sizes.items()}


def random_perms(sizes: dict[str, int], source: torch.Generator) -> Perms:
    """Return one uniformly random permutation per group."""
    return {group: torch.randperm(n, generator=source) for group, n in sizes.items()}


def permute(spec: PermutationSpec, perms: Perms, params: dict[str, Tensor]) -> dict[str, Tensor]:
    """Reorder the units of one network; shapes stay, and the function does if the specification is right."""
    moved = {}
    for name, w in params.items():
        for axis, group in enumerate(spec.axes[name]):
            if group is not None:
                w = w.index_select(axis, perms[group].to(w.device))
        moved[name] = w
    return moved


def permute_members(spec: PermutationSpec, found: list[Alignment], population: Population, x: Tensor) -> Population:
    """Reorder each member by its own alignment, after checking on inputs x that no function changes.

    The result is unconstrained: its pinned entries have moved with its units, so it can be compared with other
    standard networks only.

    Raises:
        ValueError: If outputs change, which means that the specification does not fit the model.
    """
    members = [permute(spec, a.perms, m) for a, m in zip(found, population.members(), strict=True)]
    params = {name: torch.stack([m[name] for m in members]) for name in population.params}
    moved = replace(population, params=params, constraint=constraint(population.model, Standard(), 0))
    with torch.no_grad():
        before, after = logits(population, x), logits(moved, x)
    worst = (before - after).abs().max().item()
    # Reordered sums round differently: 1e-4 of the largest logit is far above that and far below a wrong axis.
    if not worst <= 1e-4 * before.abs().max().item():
        raise ValueError(f"the specification does not keep the function: logits change by up to {worst:.2g}")
    return moved


def check_same_architecture(a: dict[str, Tensor], b: dict[str, Tensor], spec: PermutationSpec) -> None:
    """Refuse to align networks whose tensors differ, before any work.

    Raises:
        ValueError: Naming the first tensor that differs.
    """
    for name in sorted(a.keys() | b.keys() | spec.axes.keys()):
        shapes = [tuple(p[name].shape) if name in p else None for p in (a, b)]
        if shapes[0] != shapes[1] or name not in spec.axes:
            raise ValueError(
                f"cannot align across architectures: {name} has shape {shapes[0]} in A and {shapes[1]} in B"
                + ("" if name in spec.axes else ", and the specification does not know it")
            )
