"""Weight matching: permutations that bring the weights of two networks together, without data."""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from symlib.alignment.axes import Perms, occurrences
from symlib.alignment.permutation import (
    Alignment,
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

    Each sweep visits the groups in random order and solves one assignment problem per group, with the other axis held
    still where a weight has the group on two. The first descent starts at the identity, the others at random
    permutations; the best is returned. Running statistics of BatchNorm take no part.

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
    a, b = ({name: net[name].detach() for name in spec.axes} for net in (a, b))
    starts = [identity(spec.sizes)] + [random_perms(spec.sizes, source) for _ in range(restarts - 1)]
    found = _Descent(a, b, spec)
    return max((found.run(start, source, max_sweeps) for start in starts), key=lambda d: d.objective)


class _Use:
    """One place where a group acts: which entries along which axis of a weight are those of each unit."""

    def __init__(self, name: str, axis: int, entries: Tensor, reference: Tensor) -> None:
        self.name, self.axis, self.units = name, axis, len(entries)
        whole = entries.shape[1] == 1 and torch.equal(entries.flatten(), torch.arange(reference.shape[axis]))
        self.entries = None if whole else entries.flatten().to(reference.device)
        self.reference = self.rows(reference)
        self.gain: Tensor | None = None  # kept until another group reorders this weight

    def rows(self, w: Tensor) -> Tensor:
        """Return what each unit owns of a weight, shape (units, ...)."""
        if self.entries is not None:
            w = w.index_select(self.axis, self.entries)
        return w.movedim(self.axis, 0).reshape(self.units, -1)

    def gain_in(self, w: Tensor) -> Tensor:
        """Return the inner products of all units of A, in rows, with all of B as it stands, shape (units, units)."""
        if self.gain is None:
            self.gain = self.reference @ self.rows(w).T
        return self.gain


class _Descent:
    """Coordinate descent from given starts, with everything that does not depend on the start prepared."""

    def __init__(self, a: dict[str, Tensor], b: dict[str, Tensor], spec: PermutationSpec) -> None:
        self.a, self.b, self.spec = a, b, spec
        self.groups = list(spec.sizes)
        self.uses: dict[str, list[_Use]] = {group: [] for group in self.groups}
        for name, axes in spec.axes.items():
            for i, axis in enumerate(axes):
                for group, entries in occurrences(axis):
                    self.uses[group].append(_Use(name, i, entries, a[name]))
        self.quadratic = {g for g, uses in self.uses.items() if len({u.name for u in uses}) < len(uses)}
        size = {name: float(a[name].norm() * w.norm()) * 8 * torch.finfo(w.dtype).eps for name, w in b.items()}
        self.rounding = {group: sum(size[use.name] for use in uses) for group, uses in self.uses.items()}

    def run(self, perms: Perms, source: torch.Generator, max_sweeps: int) -> Alignment:
        """Descend from one start until nothing moves."""
        now = permute(self.spec, perms, self.b)
        for use in (use for uses in self.uses.values() for use in uses):
            use.gain = None
        # A group whose weights stand as they stood when it was solved would be solved the same way again.
        stale, sweeps, moved = set(self.groups), 0, True
        while moved and sweeps < max_sweeps:
            sweeps, moved = sweeps + 1, False
            for g in torch.randperm(len(self.groups), generator=source).tolist():
                group = self.groups[g]
                if group not in stale:
                    continue
                stale.discard(group)
                if (better := self._improvement(group, now)) is not None:
                    step, changed = better
                    perms, moved = perms | {group: perms[group][step]}, True
                    now |= changed
                    stale |= self._outdated(group, step, changed)
        return Alignment(perms, self._objective(now), sweeps)

    def _improvement(self, group: str, now: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]] | None:
        """Return the best reordering of one group as it stands and the weights after it, or None for no gain."""
        uses = self.uses[group]
        gain = sum(use.gain_in(now[use.name]) for use in uses)
        step = torch.from_numpy(linear_sum_assignment(gain.cpu().numpy(), maximize=True)[1])
        gained = (gain[torch.arange(len(gain)), step] - gain.diagonal()).sum(dtype=torch.float64)
        # Only a gain beyond rounding is taken, or ties would flip for ever.
        if not gained > self.rounding[group]:
            return None
        before = {use.name: now[use.name] for use in uses}
        after = permute(self.spec, {group: step}, before)
        # Where a group meets itself the gain was computed as if one side stood still.
        if group in self.quadratic and not self._objective(after) > self._objective(before):
            return None
        return step, after

    def _outdated(self, group: str, step: Tensor, changed: dict[str, Tensor]) -> set[str]:
        """Bring the kept gains up to date after a reordering, and return the groups that have to be solved again."""
        stale = set()
        for other, uses in self.uses.items():
            for use in (use for use in uses if use.name in changed and use.gain is not None):
                if other == group and group not in self.quadratic:
                    use.gain = use.gain.index_select(1, step.to(use.gain.device))
                else:
                    use.gain = None
                    stale.add(other)
        return stale

    def _objective(self, b: dict[str, Tensor]) -> float:
        # float64: descents are compared by sums over millions of products.
        return sum(float(torch.dot(self.a[name].flatten().double(), w.flatten().double())) for name, w in b.items())
