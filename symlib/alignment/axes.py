"""What a tensor axis is made of: units that may be reordered, products of such, and concatenations of such.

A channel axis is one `Units`. Flattening channels and positions gives a `Product`, row-major: the channels move and
take their positions along. Concatenating two streams gives a `Concat`. Immutable; how they are found is in `tracing`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

Perms = dict[str, Tensor]


@dataclass(frozen=True)
class Units:
    """So many units that move with a group, or stay in order if the group is None."""

    size: int
    group: str | None = None

    def __str__(self) -> str:
        return self.group or "-"


@dataclass(frozen=True)
class Product:
    """Axes folded into one, the last varying fastest."""

    parts: "tuple[Axis, ...]"

    @property
    def size(self) -> int:
        """Entries along the axis."""
        return prod(part.size for part in self.parts)

    def __str__(self) -> str:
        return " x ".join(f"({part})" if isinstance(part, Concat) else str(part) for part in self.parts)


@dataclass(frozen=True)
class Concat:
    """Axes one after another."""

    parts: "tuple[Axis, ...]"

    @property
    def size(self) -> int:
        """Entries along the axis."""
        return sum(part.size for part in self.parts)

    def __str__(self) -> str:
        return " + ".join(map(str, self.parts))


Axis = Units | Product | Concat


def order(axis: Axis, perms: Perms) -> Tensor:
    """Return where each entry of an axis comes from when groups are reordered, shape (size,), int64.

    Groups without a permutation stay as they are.

    >>> order(Product((Units(2, "channels"), Units(3))), {"channels": torch.tensor([1, 0])}).tolist()
    [3, 4, 5, 0, 1, 2]
    """
    match axis:
        case Units(size, group):
            return perms[group].cpu() if group in perms else torch.arange(size)
        case Product(parts):
            first, *rest = [(order(part, perms), part.size) for part in parts]
            found = first[0]
            for inner, size in rest:
                found = (found[:, None] * size + inner).flatten()
            return found
        case Concat(parts):
            starts = [sum(part.size for part in parts[:i]) for i in range(len(parts))]
            return torch.cat([start + order(part, perms) for start, part in zip(starts, parts, strict=True)])


def occurrences(axis: Axis) -> Iterator[tuple[str, Tensor]]:
    """Yield each group of an axis with the entries that belong to each of its units.

    Yields:
        (group, entries of shape (units, entries per unit), int64), once per occurrence.

    >>> [(g, e.tolist()) for g, e in occurrences(Product((Units(2, "channels"), Units(3))))]
    [('channels', [[0, 1, 2], [3, 4, 5]])]
    """
    return _occurrences(axis, torch.arange(axis.size)[:, None])


def joint_occurrences(axis: Axis) -> Iterator[tuple[tuple[str, ...], Tensor]]:
    """Yield the groups of an axis with their entries, those that share all entries together.

    Attention heads and the coordinates inside them, say: an entry belongs to one unit of each.

    Yields:
        (groups, entries of shape (product of their units, entries each), int64), the last group varying fastest.

    >>> [(g, e.flatten().tolist()) for g, e in joint_occurrences(Product((Units(2, "heads"), Units(2, "inside"))))]
    [(('heads', 'inside'), [0, 1, 2, 3])]
    """
    together: dict[tuple[int, ...], list[tuple[str, Tensor]]] = {}
    for group, entries in occurrences(axis):
        together.setdefault(tuple(entries.flatten().sort().values.tolist()), []).append((group, entries))
    for shared in together.values():
        unit = torch.zeros(axis.size, dtype=torch.int64)
        for _, entries in shared:
            inside = torch.arange(len(entries)).repeat_interleave(entries.shape[1])
            unit[entries.flatten()] = unit[entries.flatten()] * len(entries) + inside
        every = shared[0][1].flatten().sort().values
        n_joint = prod(len(entries) for _, entries in shared)
        yield tuple(group for group, _ in shared), every[unit[every].argsort(stable=True)].view(n_joint, -1)


def _occurrences(axis: Axis, entries: Tensor) -> Iterator[tuple[str, Tensor]]:
    match axis:
        case Units(_, None):
            return
        case Units(_, group):
            yield group, entries
        case Product(parts):
            unfolded = entries.view(*[part.size for part in parts], -1)
            for i, part in enumerate(parts):
                yield from _occurrences(part, unfolded.movedim(i, 0).flatten(1))
        case Concat(parts):
            for part, some in zip(parts, entries.split([part.size for part in parts]), strict=True):
                yield from _occurrences(part, some)
