"""Activation matching: permutations that bring the hidden activations of two networks together on data."""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from symlib.alignment.axes import Perms
from symlib.alignment.permutation import Alignment, PermutationSpec, check_same_architecture
from symlib.alignment.recording import record
from symlib.population import passes


def activation_matching(
    model: nn.Module,
    a: dict[str, Tensor],
    b: dict[str, Tensor],
    spec: PermutationSpec,
    x: Tensor,
    chunk: int = 50,
) -> Alignment:
    """Maximise the Pearson correlation between matched units, each group on its own.

    Groups that fold into one axis, such as attention heads and the coordinates inside, are matched in turns.

    Args:
        model: The architecture of both networks.
        a: Weights and statistics of the reference network.
        b: Those of the network to be permuted.
        spec: How units may be reordered and where they are seen.
        x: Inputs, shape (n, ...), seen once.
        chunk: Inputs per pass; activations are summed up, never stored.

    Returns:
        Permutations with the mean correlation of matched units over all groups as objective.

    Raises:
        ValueError: If the networks differ in shape.

    Source: Bürgin et al. (2026), activation matching after the activation function, where the next linear maps read;
    every position of an image counts as a sample. Pearson, maximised.
    """
    similar = correlations(model, a, b, spec, x, chunk)
    perms, sweeps = _assign(similar, list(spec.sizes))
    matched = torch.cat([_matched(r, groups, perms).flatten() for groups, r in similar.items()])
    return Alignment(perms, float(matched.mean()), sweeps)


def correlations(
    model: nn.Module,
    a: dict[str, Tensor],
    b: dict[str, Tensor],
    spec: PermutationSpec,
    x: Tensor,
    chunk: int = 50,
) -> dict[tuple[str, ...], Tensor]:
    """Return Pearson's correlation of every unit of A with every unit of B, in one pass over the data.

    Args:
        model: The architecture of both networks.
        a: Weights and statistics of the first network.
        b: Those of the second.
        spec: Says where each group is seen.
        x: Inputs, shape (n, ...).
        chunk: Inputs per pass; activations are summed up, never stored.

    Returns:
        Groups -> correlations, shape (units, units), float64; for groups that are seen jointly one axis for each group
        of A and then of B. 0 for units that never change.

    Raises:
        ValueError: If the networks differ in shape.

    Source: Bürgin et al. (2026), similarity of neurons after the activation function.
    """
    check_same_architecture(a, b, spec)
    moments: dict[tuple[str, ...], _Moments] = {}
    for inputs in passes(model, x, chunk):
        first, second = record(model, a, spec, inputs), record(model, b, spec, inputs)
        for groups in first:
            sums = moments.setdefault(groups, _Moments())
            for one, other in zip(first[groups], second[groups], strict=True):
                sums.add(one, other)
    sizes = spec.sizes
    return {groups: sums.correlation().view(*[sizes[g] for g in groups] * 2) for groups, sums in moments.items()}


def _assign(correlations: dict[tuple[str, ...], Tensor], groups: list[str]) -> tuple[Perms, int]:
    """Solve one assignment problem per group; again and again where groups are seen jointly, until nothing moves."""
    perms: Perms = {}
    sweeps, moved = 0, True
    while moved:
        sweeps, moved = sweeps + 1, False
        for group in groups:
            gain = sum(_gain(r, together, group, perms) for together, r in correlations.items() if group in together)
            best = torch.from_numpy(linear_sum_assignment(gain.numpy(), maximize=True)[1])
            rows = torch.arange(len(gain))
            if group not in perms or gain[rows, best].sum() > gain[rows, perms[group]].sum() + 1e-9:
                joint = any(group in together and len(together) > 1 for together in correlations)
                perms, moved = perms | {group: best}, moved or joint
    return perms, sweeps


def _gain(r: Tensor, together: tuple[str, ...], group: str, perms: Perms) -> Tensor:
    """Return the correlation gained if unit j of B becomes unit i, over all units of the other groups.

    The other groups stand as they are; one that has not been matched yet is given the best partner of each unit.
    """
    mine, n = together.index(group), len(together)
    others = [other for other in together if other != group]
    r = r.movedim((mine, n + mine), (0, 1))
    for left, other in zip(range(len(others), 0, -1), others, strict=True):
        pairs = r.movedim((2, 2 + left), (-2, -1))
        partners = pairs[..., torch.arange(len(perms[other])), perms[other]] if other in perms else pairs.amax(-1)
        r = partners.sum(-1)
    return r


def _matched(r: Tensor, together: tuple[str, ...], perms: Perms) -> Tensor:
    """Return the correlation of every joint unit with its partner, shape (units of the first, ...)."""
    partners = torch.meshgrid(*[perms[group] for group in together], indexing="ij")
    own = torch.meshgrid(*[torch.arange(len(perms[group])) for group in together], indexing="ij")
    return r[(*own, *partners)]


class _Moments:
    """Running sums of two sets of activations that a correlation matrix needs.

    Activations are shifted by the mean of the first few, so that single precision inside a chunk is enough; the sums
    over chunks are in float64.
    """

    def __init__(self) -> None:
        self.n, self.shifts = 0, None
        self.a, self.b, self.aa, self.bb, self.ab = 0.0, 0.0, 0.0, 0.0, 0.0

    def add(self, a: Tensor, b: Tensor) -> None:
        if self.shifts is None:
            self.shifts = a[:1000].mean(0), b[:1000].mean(0)
        a, b = a - self.shifts[0], b - self.shifts[1]
        self.n += len(a)
        self.a, self.b = self.a + a.sum(0).double(), self.b + b.sum(0).double()
        self.aa = self.aa + torch.linalg.vector_norm(a, dim=0).double() ** 2
        self.bb = self.bb + torch.linalg.vector_norm(b, dim=0).double() ** 2
        self.ab = self.ab + (a.T @ b).double()

    def correlation(self) -> Tensor:
        """Return Pearson's r of every unit of A with every unit of B; 0 for units that never change."""
        mean_a, mean_b = self.a / self.n, self.b / self.n
        covariance = self.ab / self.n - torch.outer(mean_a, mean_b)
        var_a, var_b = (self.aa / self.n - mean_a**2).clamp_min(0), (self.bb / self.n - mean_b**2).clamp_min(0)
        # A unit that is constant up to rounding has no correlation; dividing by its variance would make one up.
        steady_a, steady_b = (
            var <= 1e-12 * (mean + shift.double()) ** 2
            for var, mean, shift in zip((var_a, var_b), (mean_a, mean_b), self.shifts, strict=True)
        )
        r = covariance / torch.outer(var_a.sqrt(), var_b.sqrt())
        return r.masked_fill(steady_a[:, None] | steady_b, 0.0).cpu()
