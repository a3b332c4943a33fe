"""Weight matching: permutations that bring the weights of two networks together, without data."""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from symlib.alignment.permutation import (
    Alignment,
    Perms,
    PermutationSpec,
    check_same_architecture,
    identity,
    permute,
    random_perms,
)


def weight_matching(
    a: dict[str, Tensor],
    b: dict[str, Tensor],
    spec: PermutationSpec,
    source: torch.Generator,
    restarts: int = 3,
    max_sweeps: int = 100,
) -> Alignment:
    """Maximise the inner product of A's weights with B's permuted weights by coordinate descent.

    Each sweep visits the groups in random order and solves one assignment problem per group exactly. The first
    descent starts at the identity, the others at random permutations; the best is returned.

    Args:
        a: Weights of the reference network.
        b: Weights of the network to be permuted.
        spec: How units may be reordered.
        source: Generator for visiting orders and restarts.
        restarts: Descents, at least 1.
        max_sweeps: Bound on the passes over all groups of one descent.

    Raises:
        ValueError: If the networks differ in shape or restarts is below 1.

    Source: Ainsworth et al. (2023), algorithm 1.
    """
    if restarts < 1:
        raise ValueError(f"restarts must be at least 1, got {restarts}")
    check_same_architecture(a, b, spec)
    # float64: sums over 500,000 products decide between near ties, and the objective must never fall.
    a, b = ({name: w.double() for name, w in net.items()} for net in (a, b))
    sizes = spec.sizes(a)
    starts = [identity(sizes)] + [random_perms(sizes, source) for _ in range(restarts - 1)]
    return max((_descend(a, b, spec, start, source, max_sweeps) for start in starts), key=lambda d: d.objective)


def _descend(
    a: dict[str, Tensor],
    b: dict[str, Tensor],
    spec: PermutationSpec,
    perms: Perms,
    source: torch.Generator,
    max_sweeps: int,
) -> Alignment:
    groups = list(perms)
    sweeps, moved = 0, True
    while moved and sweeps < max_sweeps:
        sweeps, moved = sweeps + 1, False
        for g in torch.randperm(len(groups), generator=source).tolist():
            group = groups[g]
            gain = _similarity(a, b, spec, perms, group)
            rows = torch.arange(len(gain))
            best = torch.from_numpy(linear_sum_assignment(gain.cpu().numpy(), maximize=True)[1])
            now = gain[rows, perms[group]].sum()
            # Only a real gain replaces a permutation, so that ties cannot flip for ever.
            if gain[rows, best].sum() > now + 1e-9 * now.abs():
                perms, moved = perms | {group: best}, True
    permuted = permute(spec, perms, b)
    return Alignment(perms, sum(float((a[name] * permuted[name]).sum()) for name in a), sweeps)


def _similarity(a: dict[str, Tensor], b: dict[str, Tensor], spec: PermutationSpec, perms: Perms, group: str) -> Tensor:
    """Return S with S[i, j] the inner product gained if old unit j of B becomes unit i, shape (units, units)."""
    others = perms | {group: torch.arange(len(perms[group]))}
    moved = permute(spec, others, {name: b[name] for name, _ in spec.uses(group)})
    return sum(
        a[name].movedim(axis, 0).flatten(1) @ moved[name].movedim(axis, 0).flatten(1).T
        if a[name].dim() > 1
        else torch.outer(a[name], moved[name])
        for name, axis in spec.uses(group)
    )
