"""Automorphisms of computation graphs: their exact number, generators, and a certificate that there is only one.

The number comes from igraph (BLISS); the certificate follows the proof of the theorem and does not use it.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import igraph
import numpy as np
import torch

from symlib.alignment.axes import Perms
from symlib.asymmetry import Constraint
from symlib.theory.computation_graph import ComputationGraph


def count_automorphisms(graph: ComputationGraph) -> int:
    """Count the bijections of nodes that keep colours, edges and labels, the identity among them.

    Source: Lim et al. (2024), neural DAG automorphisms (section 4.1, appendix B.1).
    """
    encoded, colours = _encoded(graph)
    with _any_number_of_digits():
        return encoded.count_automorphisms(color=colours)


def as_text(n: int) -> str:
    """Return a whole number with a mark after every three digits, however long it is.

    >>> as_text(437763136697395052544000000)
    '437_763_136_697_395_052_544_000_000'
    """
    with _any_number_of_digits():
        return f"{n:_}"


def automorphism_generators(graph: ComputationGraph) -> list[np.ndarray]:
    """Return automorphisms that generate all others, each as the image of every node, shape (nodes,)."""
    encoded, colours = _encoded(graph)
    return [np.array(image[: len(graph.colours)]) for image in encoded.automorphism_group(color=colours)]


def as_perms(graph: ComputationGraph, image: np.ndarray) -> Perms:
    """Return an automorphism as reordering of units: new unit r of a group is its old unit perms[r].

    Raises:
        ValueError: If it mixes groups, which is possible in graphs with nameless layers only.
    """
    perms = {}
    for group, nodes in graph.groups.items():
        perm = image.argsort()[nodes.start : nodes.stop] - nodes.start
        if not np.isin(perm, np.arange(len(nodes))).all():
            raise ValueError(f"the automorphism moves units of {group} to another group")
        perms[group] = torch.from_numpy(perm)
    return perms


def certified_trivial(graph: ComputationGraph, fixed: Constraint) -> bool:
    """Say whether the theorem's induction from the inputs on tells all units apart; then only the identity is left.

    A sufficient condition: without it, what the units feed into may still tell them apart.

    Raises:
        ValueError: If a row of a weight is pinned to 0 as a whole, naming the row.

    Source: Lim et al. (2024), Theorem 3 and Lemma 1; as colour refinement, ours.
    """
    refuse_zero_rows(fixed)
    return len(np.unique(forward_colours(graph))) == len(graph.colours)


def refuse_zero_rows(fixed: Constraint) -> None:
    """Raise an error if a unit reads nothing through a weight that makes it.

    Raises:
        ValueError: Naming the first such row.
    """
    for name, D in fixed.D.items():
        empty = ~(D | (fixed.F[name] != 0)).flatten(1).any(1) if D.dim() > 1 else D[:0]
        if empty.any():
            raise ValueError(
                f"row {int(empty.nonzero()[0])} of {name} is pinned to 0 as a whole: the theorem does not apply, since "
                "a unit that reads nothing has no place in the order of layers. Pin fewer entries, or use sigma_F > 0"
            )


def forward_colours(graph: ComputationGraph) -> np.ndarray:
    """Colour every node by its own colour and by the labels and colours of what reaches it, until nothing changes.

    The first round colours the first layer by its inputs, the next the second layer, and so on, as the proof does.

    Returns:
        A colour per node, shape (nodes,), int64; automorphisms keep it.
    """
    colours, n_colours = graph.colours, len(np.unique(graph.colours))
    while True:
        arriving = graph.labels * (colours.max() + 1) + colours[graph.tails]
        by_node = np.lexsort([arriving, graph.heads])
        bounds = np.searchsorted(graph.heads[by_node], np.arange(1, len(colours)))
        reached_by = np.split(arriving[by_node], bounds)
        # Multisets as bytes: exact, where sums of hashes would only be likely to differ.
        numbers: dict[tuple[int, bytes], int] = {}
        colours = np.array(
            [numbers.setdefault((c, a.tobytes()), len(numbers)) for c, a in zip(colours, reached_by, strict=True)]
        )
        if len(numbers) == n_colours:
            return colours
        n_colours = len(numbers)


def _encoded(graph: ComputationGraph) -> tuple[igraph.Graph, list[int]]:
    """Return the graph for igraph, which knows colours of vertices only: further vertices stand for labels.

    Between nodes of two colours, edges of the most common label are plain; each of the others runs through a vertex
    that has the colour of its label. Dense networks then keep a vertex per unit instead of one per entry.
    """
    n_nodes, n_colours = len(graph.colours), int(graph.colours.max()) + 1
    through = ~_most_common(graph)
    middle = n_nodes + np.arange(through.sum())
    tails, heads, labels = graph.tails[through], graph.heads[through], graph.labels[through]
    starts = np.concatenate([graph.tails[~through], tails, middle])
    ends = np.concatenate([graph.heads[~through], middle, heads])
    edges = zip(starts.tolist(), ends.tolist(), strict=True)  # read in a third of the time that an array takes
    encoded = igraph.Graph(n=n_nodes + len(middle), edges=edges, directed=True)
    return encoded, np.concatenate([graph.colours, n_colours + labels]).tolist()


def _most_common(graph: ComputationGraph) -> np.ndarray:
    """Say of each edge whether its label is the most common one between the two colours that it joins."""
    n_colours, n_labels = graph.colours.max() + 1, graph.labels.max(initial=0) + 1
    joins = graph.colours[graph.tails] * n_colours + graph.colours[graph.heads]
    kinds, kind, count = np.unique(joins * n_labels + graph.labels, return_inverse=True, return_counts=True)
    by_count = np.lexsort([count, kinds // n_labels])
    last = np.append(np.diff(kinds[by_count] // n_labels) != 0, True)[: len(kinds)]
    plain = np.zeros(len(kinds), dtype=bool)
    plain[by_count[last]] = True
    return plain[kind]


@contextmanager
def _any_number_of_digits() -> Iterator[None]:
    """Lift Python's limit on the digits of numbers in text, which is how igraph hands over its result."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        yield
    finally:
        sys.set_int_max_str_digits(before)
