"""The computation graph of any module: its units as nodes, the entries of its weights as labelled edges.

Which units there are, and which tensors share them, comes from a permutation specification; which entries are trained,
constant or absent comes from a constraint. What is counted on the graph is in `automorphisms`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor, nn

from symlib.alignment.axes import Axis, occurrences
from symlib.alignment.permutation import PermutationSpec
from symlib.alignment.tracing import specification
from symlib.asymmetry import Constraint

# Codes of entries: from CONSTANT on, two for each constant, one where only that is left and one where it is added.
ABSENT, TRAINED, CONSTANT = 0, 1, 2


@dataclass(frozen=True)
class ComputationGraph:
    """Coloured nodes and labelled directed edges.

    An automorphism maps nodes to nodes of their colour, and edges to edges of their label.

    Attributes:
        groups: Name of a group of hidden units -> its nodes. Hidden nodes come first.
        colours: Of every node, shape (nodes,), int64. Every input and every output has a colour of its own.
        tails: Node at which each edge starts, shape (edges,), int64.
        heads: Node at which it ends.
        labels: Equal for entries of one weight with the same kernel: what is trained and what is constant there.
    """

    groups: dict[str, range]
    colours: np.ndarray
    tails: np.ndarray
    heads: np.ndarray
    labels: np.ndarray

    @property
    def n_hidden(self) -> int:
        """The number of hidden units."""
        return sum(map(len, self.groups.values()))


def computation_graph(model: nn.Module, x: Tensor, fixed: Constraint, named_layers: bool = True) -> ComputationGraph:
    """Build the graph of a network.

    A hidden node is a unit: a neuron or a channel. Tensors that are added up, as in residual networks, share their
    units. An edge leads from a unit to one that a weight computes from it, unless all between the two is pinned to 0.
    Shifts and scales colour their unit where a constraint acts on them.

    Args:
        model: Any module that has a permutation specification.
        x: Example inputs, shape (batch, ...); not zeros, of which networks without biases make nothing.
        fixed: What is pinned.
        named_layers: Tell groups and weights apart by colours and labels. Without, all hidden nodes look alike, so
            that it is a finding if automorphisms keep the layers; only for networks made of plain matrices.

    Raises:
        ValueError: If no specification can be derived; if a weight has units on other axes than its first two, or
            two kinds of units on the same entries; or if layers are to stay nameless in a network with kernels.

    Source: Lim et al. (2024), section 4.1 and appendix B.1; channels as nodes are ours.
    """
    return graph_of(specification(model, x), fixed, named_layers)


def graph_of(spec: PermutationSpec, fixed: Constraint, named_layers: bool = True) -> ComputationGraph:
    """Build the graph from a specification; arguments and errors are those of `computation_graph`."""
    constants = np.unique(np.concatenate([np.zeros(1), *[F.numpy().ravel() for F in fixed.F.values()]]))
    draft = _Draft(spec.sizes)
    for name, axes in spec.axes.items():
        if not _moves(axes):
            continue
        codes = _codes(name, tuple(axis.size for axis in axes), fixed, constants)
        if len(axes) > 1:
            draft.join(name, axes, codes)
        elif name in fixed.D:
            draft.mark(name, axes[0], codes)
    return draft.named() if named_layers else draft.nameless()


def _moves(axes: tuple[Axis, ...]) -> bool:
    return any(True for axis in axes for _ in occurrences(axis))


def _codes(name: str, shape: tuple[int, ...], fixed: Constraint, constants: np.ndarray) -> np.ndarray:
    """Return what every entry of a weight is, as numbers that mean the same in all weights, int64."""
    if name not in fixed.D:
        return np.full(shape, TRAINED)
    D, F = fixed.D[name].numpy(), fixed.F[name].numpy()
    return np.where(F == 0, D, CONSTANT + 2 * np.searchsorted(constants, F) + D)


@dataclass(frozen=True)
class _Segment:
    """Part of an axis: its units as nodes, and the entries of each, shape (units, entries)."""

    group: str | None  # None: nodes that stay in place
    nodes: np.ndarray
    entries: np.ndarray


@dataclass
class _Draft:
    """A graph under construction."""

    sizes: dict[str, int]
    marks: dict[str, list[np.ndarray]] = field(default_factory=dict)  # group -> columns that colour its units
    # Tails, heads and labels within the weight, shape (3, edges); a network of vectors has none.
    edges: list[np.ndarray] = field(default_factory=lambda: [np.zeros((3, 0), dtype=int)])
    with_kernels: bool = False

    def __post_init__(self) -> None:
        ends = np.cumsum([0, *self.sizes.values()]).tolist()
        self.groups = {group: range(*ends[i : i + 2]) for i, group in enumerate(self.sizes)}
        self.n_hidden = self.n_nodes = ends[-1]

    def mark(self, name: str, axis: Axis, codes: np.ndarray) -> None:
        """Colour units by the entries that a vector has for them."""
        for segment in self.segments(name, axis):
            if segment.group is not None:
                self.marks.setdefault(segment.group, []).append(codes[segment.entries])

    def join(self, name: str, axes: tuple[Axis, ...], codes: np.ndarray) -> None:
        """Add the edges of a weight with rows, columns and whatever further axes its kernel has."""
        if _moves(axes[2:]):
            raise ValueError(f"{name} has units on axis 2 or higher; computation graphs need them on its first two")
        rows, columns = (self.segments(name, axis) for axis in axes[:2])
        for row, column, patterns in _blocks(rows, columns, codes):
            self.with_kernels |= patterns.shape[2] > 1
            kinds = _kinds(patterns)
            head, tail = kinds.nonzero()
            self.edges.append(np.stack([column.nodes[tail], row.nodes[head], kinds[head, tail]]))

    def segments(self, name: str, axis: Axis) -> list[_Segment]:
        """Take an axis apart; entries that belong to no group become nodes of their own."""
        moving = [(group, entries.numpy()) for group, entries in occurrences(axis)]
        taken = np.bincount(np.concatenate([np.zeros(0, int), *[e.ravel() for _, e in moving]]), minlength=axis.size)
        if taken.max() > 1:
            raise ValueError(
                f"entries of {name} belong to several groups of units at once ({axis}), as in attention heads; "
                "computation graphs need one unit per entry"
            )
        found = [_Segment(group, np.array(self.groups[group]), entries) for group, entries in moving]
        still = (taken == 0).nonzero()[0]
        found.append(_Segment(None, self.n_nodes + np.arange(len(still)), still[:, None]))
        self.n_nodes += len(still)
        return found

    def named(self) -> ComputationGraph:
        """Give every group colours of its own, and every block of every weight labels of its own."""
        colours, n_colours = [], 0
        for group, size in self.sizes.items():
            marks = np.concatenate([np.zeros((size, 1), int), *self.marks.get(group, [])], axis=1)
            colours.append(n_colours + np.unique(marks, axis=0, return_inverse=True)[1].ravel())
            n_colours += size
        ends = np.cumsum([0, *[edges[2].max(initial=0) + 1 for edges in self.edges]])
        edges = np.concatenate(self.edges, axis=1)
        edges[2] += np.repeat(ends[:-1], [part.shape[1] for part in self.edges])
        return self._graph(np.concatenate(colours), edges)

    def nameless(self) -> ComputationGraph:
        """Give all hidden nodes one colour, and labels the same meaning in all weights."""
        edges = np.concatenate(self.edges, axis=1)
        twice = len(np.unique(edges[:2], axis=1)[0]) < edges.shape[1]
        if self.with_kernels or self.marks or twice:
            raise ValueError(
                "layers can stay nameless only where every edge is a single entry of a matrix: not with kernels, "
                "pinned biases or two weights between the same units. Build the graph with named_layers=True"
            )
        return self._graph(np.zeros(self.n_hidden, dtype=int), edges)

    def _graph(self, hidden: np.ndarray, edges: np.ndarray) -> ComputationGraph:
        still = hidden.max() + 1 + np.arange(self.n_nodes - self.n_hidden)
        return ComputationGraph(self.groups, np.concatenate([hidden, still]), *edges)


def _blocks(
    rows: list[_Segment], columns: list[_Segment], codes: np.ndarray
) -> Iterator[tuple[_Segment, _Segment, np.ndarray]]:
    """Yield pairs of segments of which one moves, with the entries between, shape (units, units, entries)."""
    kernels = codes.reshape(*codes.shape[:2], -1)
    for row in rows:
        for column in columns:
            if (row.group or column.group) and len(row.nodes) and len(column.nodes):
                block = kernels[row.entries][:, :, column.entries].swapaxes(1, 2)
                yield row, column, block.reshape(len(row.nodes), len(column.nodes), -1)


def _kinds(patterns: np.ndarray) -> np.ndarray:
    """Number the different kernels between two units, 0 for those that are absent as a whole; shape (units, units)."""
    if patterns.shape[2] == 1:
        return patterns[:, :, 0]
    different, which = np.unique(patterns.reshape(-1, patterns.shape[2]), axis=0, return_inverse=True)
    # Sorted, so that a kernel of zeros comes first if there is one.
    return which.reshape(patterns.shape[:2]) + int(different[0].any())
