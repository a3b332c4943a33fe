"""Axes under construction: nodes that are tied together, split into factors or segments, or pinned.

While a network is traced, every axis of every tensor is a node. Tying two nodes says that their entries move together;
pinning one says that its entries may not move. What remains free when tracing ends are the groups.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from math import prod

from symlib.alignment.axes import Axis, Concat, Product, Units


class Node:
    """An axis of known size; a leaf until something splits it."""

    def __init__(self, size: int, kind: type = Units, parts: "Sequence[Node]" = ()) -> None:
        self.size, self.kind, self.parts = size, kind, tuple(parts)
        self.pinned = size == 1 and not parts  # one entry has nowhere to go
        self.same_as: Node | None = None

    def find(self) -> "Node":
        """Return the node that stands for all nodes tied to this one."""
        node = self
        while node.same_as:
            node = node.same_as
        return node

    def leaves(self) -> "Iterator[Node]":
        """Yield the unsplit nodes this one is made of."""
        node = self.find()
        if node.kind is Units:
            yield node
        for part in node.parts:
            yield from part.leaves()

    def pin(self) -> None:
        """Say that no entry may move."""
        for leaf in self.leaves():
            leaf.pinned = True

    def axis(self, names: "dict[Node, str]") -> Axis:
        """Return the finished axis; leaves without a name stay in order."""
        node = self.find()
        if node.kind is Units:
            return Units(node.size, names.get(node))
        found = [part.axis(names) for part in node.parts]
        if not any(any(True for leaf in part.leaves() if leaf in names) for part in node.parts):
            return Units(node.size)
        return node.kind(tuple(found))


class Untieable(ValueError):
    """Axes do not fit together."""


def product(parts: Sequence[Node]) -> Node:
    """Return the folding of axes into one, row-major."""
    flat = [factor for part in parts for factor in factors(part) if factor.size > 1]
    return flat[0] if len(flat) == 1 else Node(prod(f.size for f in flat), Product, flat) if flat else Node(1)


def concat(parts: Sequence[Node]) -> Node:
    """Return axes one after another as one."""
    flat = [segment for part in parts for segment in segments(part)]
    return flat[0] if len(flat) == 1 else Node(sum(s.size for s in flat), Concat, flat)


def factors(node: Node) -> list[Node]:
    """Return the factors of an axis, outermost first; itself if it is no product."""
    node = node.find()
    return [f for part in node.parts for f in factors(part)] if node.kind is Product else [node]


def segments(node: Node) -> list[Node]:
    """Return the segments of an axis; itself if it is no concatenation."""
    node = node.find()
    return [s for part in node.parts for s in segments(part)] if node.kind is Concat else [node]


def tie(a: Node, b: Node) -> None:
    """Say that the entries of two axes move together.

    Where their parts do not line up, nothing moves.

    Raises:
        Untieable: If the two differ in size, or one is a part of the other.
    """
    a, b = a.find(), b.find()
    if a is b:
        return
    if a.size != b.size:
        raise Untieable(f"an axis of {a.size} cannot move with one of {b.size}")
    if a.kind is not Units and b.kind is Units:
        a, b = b, a
    if a.kind is Units:
        if a in b.leaves():
            raise Untieable("an axis cannot be a part of itself")
        if a.pinned:
            b.pin()
        a.same_as = b
    elif a.kind is Product and b.kind is Product:
        try:
            pairs = list(zip(*_refined(factors(a), factors(b)), strict=True))
        except Untieable:
            a.pin()
            b.pin()
            return
        for one, other in pairs:
            tie(one, other)
    else:
        cuts = sorted({*accumulate(s.size for s in segments(a)), *accumulate(s.size for s in segments(b))})
        for one, other in zip(cut(a, cuts), cut(b, cuts), strict=True):
            tie(one, other)


def regroup(nodes: Sequence[Node], shape: Sequence[int]) -> list[Node]:
    """Return the axes of a tensor that is viewed in another shape; one that tears units apart keeps them in order."""
    try:
        return _regrouped(nodes, shape)
    except Untieable:
        return _in_order(nodes, shape)


def _regrouped(nodes: Sequence[Node], shape: Sequence[int]) -> list[Node]:
    left = [f for node in nodes for f in factors(node) if f.size > 1]
    axes = []
    for size in shape:
        taken: list[Node] = []
        while (have := prod(f.size for f in taken)) < size:
            if size % have:
                raise Untieable(f"factors of {have} do not make an axis of {size}")
            first, wanted = left.pop(0), size // have
            if first.size > wanted:
                first, rest = split(first, wanted)
                left.insert(0, rest)
            taken.append(first)
        axes.append(product(taken))
    return axes


def split(node: Node, outer: int) -> tuple[Node, Node]:
    """Split an axis into `outer` blocks and what is inside a block; for a leaf, everywhere it is used.

    Raises:
        Untieable: If the size is not a multiple.
    """
    node = node.find()
    if node.size % outer:
        raise Untieable(f"{node.size} entries do not split into {outer} equal blocks")
    if outer in (1, node.size):
        return (Node(1), node) if outer == 1 else (node, Node(1))
    if node.kind is Units:
        first, second = Node(outer), Node(node.size // outer)
        first.pinned = second.pinned = node.pinned
        node.kind, node.parts = Product, (first, second)
        return first, second
    if node.kind is Product:
        one, other = regroup([node], (outer, node.size // outer))
        return one, other
    block = node.size // outer
    first, *rest = cut(node, [block * (i + 1) for i in range(outer)])
    for other in rest:  # what is taken apart into equal blocks moves alike in all of them
        tie(first, other)
    node.kind, node.parts = Product, (counted := Node(outer), first)
    counted.pin()
    return counted, first


def cut(node: Node, ends: Sequence[int]) -> list[Node]:
    """Cut an axis into consecutive segments that end at the given places, the last at its size.

    A product that is cut through one of its blocks stays in order.
    """
    pieces = segments(node)
    result: list[Node] = []
    start = 0
    for end in ends:
        taken = []
        while (need := end - start - sum(p.size for p in taken)) > 0:
            piece = pieces.pop(0)
            if piece.size > need:
                piece, rest = _halves(piece, need)
                pieces = segments(rest) + pieces
            taken.extend(segments(piece))
        result.append(concat(taken) if taken else Node(0))
        start = end
    return result


def _in_order(nodes: Sequence[Node], sizes: Sequence[int]) -> list[Node]:
    """Pin axes and return others that have an order too."""
    fresh = [Node(size) for size in sizes]
    for node in (*nodes, *fresh):
        node.pin()
    return fresh


def _halves(node: Node, first: int) -> tuple[Node, Node]:
    """Cut one segment in two."""
    if node.kind is Units:
        halves = Node(first), Node(node.size - first)
        for half in halves:
            half.pinned = half.pinned or node.pinned
        node.kind, node.parts = Concat, halves
        return halves
    outer, *inner = factors(node)
    block = prod(f.size for f in inner)
    if first % block:
        one, other = _in_order([node], (first, node.size - first))
        return one, other
    one, other = cut(outer, (first // block, outer.size))
    return product([one, *inner]), product([other, *inner])


def _refined(a: list[Node], b: list[Node]) -> tuple[list[Node], list[Node]]:
    """Split the factors of two products until they pair up."""
    a, b = list(a), list(b)
    i = 0
    while i < len(a):
        for these, those in ((a, b), (b, a)):
            if these[i].size > those[i].size:
                these[i : i + 1] = split(these[i], those[i].size)
        i += 1
    return a, b
