"""How each operator of a traced network carries axes from its inputs to its outputs.

A rule takes the operator's arguments, tensors given as `Traced`, and returns the axes of the output. An operator
without a rule is refused by name: guessing would give specifications that break networks.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.fx import Node as Call

from symlib.alignment.unification import Node, concat, cut, regroup, split, tie

Axes = list[Node]


@dataclass
class Traced:
    """A tensor of the traced network."""

    axes: Axes
    shape: tuple[int, ...]
    made_by: Call | None = None  # the node of the graph
    weight: str | None = None  # name, if it is a parameter


@dataclass
class Reading:
    """A linear map met on the way: whose data input and output have these axes of units."""

    weight: str
    read: Call
    into: Node
    out: Node


@dataclass
class Context:
    """What a rule may need besides its arguments."""

    shape: Any  # of the output; a list of shapes if there are several
    call: Call
    readings: list[Reading] = field(default_factory=list)


Rule = Callable[..., Axes | list[Axes]]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a function as the rule of operators, named without overloads and in-place underscores."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


def fixed(size: int) -> Node:
    """Return an axis whose entries have an order, such as positions or classes."""
    node = Node(size)
    node.pin()
    return node


def tie_aligned(tensors: Sequence[Traced]) -> Axes:
    """Tie axes as broadcasting lines them up and return those of the result."""
    n_axes = max(len(t.axes) for t in tensors)
    result = []
    for i in range(-n_axes, 0):
        long = [t.axes[i] for t in tensors if len(t.axes) >= -i and t.shape[i] > 1]
        for other in long[1:]:
            tie(long[0], other)
        result.append(long[0] if long else Node(1))
    return result


@rule("hardswish", "hardsigmoid", "hardtanh", "relu6")  # pointwise, but not marked so
def elementwise(context: Context, *args: Any, **kwargs: Any) -> Axes:
    """Follow any pointwise operator: the units of its operands are the same units."""
    return tie_aligned([a for a in (*args, *kwargs.values()) if isinstance(a, Traced)])


@rule("dropout", "alpha_dropout", "feature_dropout", "contiguous", "clone", "detach", "alias", "to", "_to_copy")
@rule("type_as", "lift_fresh_copy", "softmax", "log_softmax", "_softmax", "_log_softmax", "dropout1d", "dropout2d")
def same(context: Context, x: Traced, *args: Any, **kwargs: Any) -> Axes:
    """Follow operators that treat all units alike."""
    return x.axes


@rule("zeros_like", "ones_like", "full_like", "zeros", "ones", "full", "new_zeros", "new_ones", "new_full")
def constant(context: Context, *args: Any, **kwargs: Any) -> Axes:
    """Make axes along which nothing varies, so that any order will do."""
    return [Node(size) for size in context.shape]


def positions(context: Context, *args: Any, **kwargs: Any) -> Axes:
    """Make a tensor out of nothing, such as arange: its entries have an order."""
    return [fixed(size) for size in context.shape]


@rule("glu")
def glu(context: Context, x: Traced, dim: int = -1) -> Axes:
    """Follow a gate whose two halves are the same units."""
    dim %= len(x.axes)
    values, gates = cut(x.axes[dim], (x.shape[dim] // 2, x.shape[dim]))
    tie(values, gates)
    return [values if i == dim else axis for i, axis in enumerate(x.axes)]


@rule("linear")
def linear(context: Context, x: Traced, weight: Traced, bias: Traced | None = None) -> Axes:
    """Follow x W^T + b."""
    tie(x.axes[-1], weight.axes[1])
    out = weight.axes[0]
    if bias is not None:
        tie(out, bias.axes[0])
    _note(context, x, weight, x.axes[-1], out)
    return [*x.axes[:-1], out]


@rule("matmul", "mm", "bmm", "mv", "dot")
def matmul(context: Context, a: Traced, b: Traced) -> Axes:
    """Follow a matrix product, batched or not."""
    tie(a.axes[-1], b.axes[max(len(b.axes) - 2, 0)])
    batch = [Traced(t.axes[:-2], t.shape[:-2]) for t in (a, b) if len(t.axes) > 2]
    return [*(tie_aligned(batch) if batch else []), *a.axes[-2:-1], *(b.axes[-1:] if len(b.axes) > 1 else [])]


@rule("addmm", "baddbmm")
def addmm(context: Context, bias: Traced, a: Traced, b: Traced, **kwargs: Any) -> Axes:
    """Follow bias + a b."""
    return tie_aligned([Traced(matmul(context, a, b), context.shape), bias])


@rule("einsum")
def einsum(context: Context, equation: str, operands: Sequence[Traced], **kwargs: Any) -> Axes:
    """Follow a sum over named axes: equal letters are equal axes."""
    inputs, _, output = equation.replace(" ", "").partition("->")
    if "." in equation or not output:
        raise ValueError("einsum without an explicit output or with an ellipsis")
    named: dict[str, Node] = {}
    for letters, operand in zip(inputs.split(","), operands, strict=True):
        for letter, axis in zip(letters, operand.axes, strict=True):
            tie(named.setdefault(letter, axis), axis)
    return [named[letter] for letter in output]


@rule("conv1d", "conv2d", "conv3d")
def convolution(context: Context, x: Traced, weight: Traced, bias: Traced | None = None, *args: Any, **kw: Any) -> Axes:
    """Follow a convolution; with groups, whole groups move and all groups share one order inside."""
    groups = kw.get("groups", args[3] if len(args) > 3 else 1)
    channel = len(x.axes) - len(weight.axes) + 1
    for position in (*x.axes[channel + 1 :], *weight.axes[2:]):
        position.pin()
    into, out = x.axes[channel], weight.axes[0]
    if groups > 1:
        block, inside = split(into, groups)
        out_block, _ = split(out, groups)
        tie(block, out_block)
        tie(inside, weight.axes[1])
    else:
        tie(into, weight.axes[1])
    if bias is not None:
        tie(out, bias.axes[0])
    _note(context, x, weight, into, out)
    return [*x.axes[:channel], out, *map(fixed, context.shape[channel + 1 :])]


@rule("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def transposed_convolution(
    context: Context, x: Traced, weight: Traced, bias: Traced | None = None, *args: Any, **kw: Any
) -> Axes:
    """Follow a transposed convolution, whose weight has its inputs first."""
    if kw.get("groups", args[3] if len(args) > 3 else 1) > 1:
        raise ValueError("a transposed convolution with groups")
    channel = len(x.axes) - len(weight.axes) + 1
    for position in (*x.axes[channel + 1 :], *weight.axes[2:]):
        position.pin()
    tie(x.axes[channel], weight.axes[0])
    if bias is not None:
        tie(weight.axes[1], bias.axes[0])
    return [*x.axes[:channel], weight.axes[1], *map(fixed, context.shape[channel + 1 :])]


@rule("max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d")
@rule("adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "upsample_nearest2d")
@rule("upsample_bilinear2d", "upsample_bicubic2d", "pad", "constant_pad_nd", "reflection_pad2d", "replication_pad2d")
def resample(context: Context, x: Traced, *args: Any, **kwargs: Any) -> Axes:
    """Follow pooling, resizing and padding: axes that keep their size are not touched, positions have an order."""
    # A window sees neighbours even where the size stays; the digit in the name counts its axes.
    n_positions = next((int(c) for c in context.call.target._opname if c.isdigit()), 0)
    result = []
    for i, (axis, before, after) in enumerate(zip(x.axes, x.shape, context.shape, strict=True)):
        if before != after or i >= len(x.axes) - n_positions:
            axis.pin()
        result.append(axis if before == after else fixed(after))
    return result


@rule("layer_norm", "rms_norm")
def layer_norm(context: Context, x: Traced, normalised: Sequence[int], *affine: Any, **kwargs: Any) -> Axes:
    """Follow a norm over the last axes."""
    for tensor in (a for a in (*affine, *kwargs.values()) if isinstance(a, Traced)):
        for axis, own in zip(x.axes[-len(normalised) :], tensor.axes, strict=True):
            tie(axis, own)
    return x.axes


@rule("group_norm")
def group_norm(context: Context, x: Traced, groups: int, *affine: Any, **kwargs: Any) -> Axes:
    """Follow a norm over groups of channels."""
    split(x.axes[1], groups)
    return batch_norm(context, x, *affine, **kwargs)


@rule("batch_norm", "instance_norm")
def batch_norm(context: Context, x: Traced, *affine: Any, **kwargs: Any) -> Axes:
    """Follow a norm with scales, shifts and statistics per channel."""
    for tensor in (a for a in (*affine, *kwargs.values()) if isinstance(a, Traced)):
        tie(x.axes[1], tensor.axes[0])
    return x.axes


@rule("mean", "sum", "amax", "amin", "max", "min", "var", "std", "logsumexp", "prod", "norm", "any", "all")
@rule("argmax", "argmin")
def reduction(context: Context, x: Traced, *args: Any, **kwargs: Any) -> Axes | list[Axes]:
    """Follow what does not depend on the order of the axes it removes."""
    several = bool(context.shape) and not isinstance(context.shape[0], int)
    shape = context.shape[0] if several else context.shape
    axes = (a for a in (*args, kwargs.get("dim")) if isinstance(a, int | list | tuple) and not isinstance(a, bool))
    dims = next(axes, None)
    removed = {d % len(x.axes) for d in ([dims] if isinstance(dims, int) else dims or range(len(x.axes)))}
    if several or context.call.target._opname in ("argmax", "argmin"):  # the answer is a position
        for i in removed:
            x.axes[i].pin()
    kept = [axis for i, axis in enumerate(x.axes) if i not in removed]
    if len(shape) == len(x.axes):
        kept = [Node(1) if i in removed else axis for i, axis in enumerate(x.axes)]
    return [kept, kept] if several else kept


@rule("view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as")
def reshape(context: Context, x: Traced, *args: Any, **kwargs: Any) -> Axes:
    """Follow a change of shape that keeps the order of entries."""
    return regroup(x.axes, context.shape)


@rule("expand", "expand_as", "broadcast_to")
def expand(context: Context, x: Traced, *args: Any, **kwargs: Any) -> Axes:
    """Follow repetition, along which nothing varies."""
    new = len(context.shape) - len(x.axes)
    kept = [axis if axis.size == size else Node(size) for axis, size in zip(x.axes, context.shape[new:], strict=True)]
    return [*map(Node, context.shape[:new]), *kept]


@rule("permute")
def permute(context: Context, x: Traced, dims: Sequence[int]) -> Axes:
    """Follow a reordering of axes."""
    return [x.axes[d] for d in dims]


@rule("transpose", "swapaxes", "t", "numpy_T", "mT")
def transpose(context: Context, x: Traced, first: int = -2, second: int = -1) -> Axes:
    """Follow the exchange of two axes."""
    axes = list(x.axes)
    if len(axes) > 1:
        axes[first], axes[second] = axes[second], axes[first]
    return axes


@rule("select")
def select(context: Context, x: Traced, dim: int, index: int) -> Axes:
    """Follow the choice of one entry, which therefore has to stay where it is."""
    dim %= len(x.axes)
    x.axes[dim].pin()
    return [axis for i, axis in enumerate(x.axes) if i != dim]


@rule("unbind")
def unbind(context: Context, x: Traced, dim: int = 0) -> list[Axes]:
    """Follow the separation of all entries of an axis."""
    return [select(context, x, dim, i) for i in range(x.shape[dim])]


@rule("slice", "narrow")
def slice_(context: Context, x: Traced, dim: int = 0, start: int | None = None, *args: Any) -> Axes:
    """Follow a piece of an axis."""
    dim %= len(x.axes)
    size, length = x.shape[dim], context.shape[dim]
    start = 0 if start is None else min(start % size if start < 0 else start, size)
    axes = list(x.axes)
    if length == size:
        return axes
    if len(args) > 1 and args[1] != 1:
        axes[dim].pin()
        axes[dim] = fixed(length)
    else:
        axes[dim] = cut(axes[dim], (start, start + length, size))[1]
    return axes


@rule("chunk", "split", "split_with_sizes", "tensor_split")
def chunk(context: Context, x: Traced, how: Any, dim: int = 0) -> list[Axes]:
    """Follow the division of an axis into pieces."""
    dim %= len(x.axes)
    ends = [sum(shape[dim] for shape in context.shape[: i + 1]) for i in range(len(context.shape))]
    return [[piece if i == dim else axis for i, axis in enumerate(x.axes)] for piece in cut(x.axes[dim], ends)]


@rule("cat", "concat")
def cat(context: Context, tensors: Sequence[Traced], dim: int = 0) -> Axes:
    """Follow tensors put one after another."""
    dim %= len(context.shape)
    others = [Traced([*t.axes[:dim], Node(1), *t.axes[dim + 1 :]], _without(t.shape, dim)) for t in tensors]
    axes = tie_aligned(others)
    axes[dim] = concat([t.axes[dim] for t in tensors])
    return axes


@rule("stack")
def stack(context: Context, tensors: Sequence[Traced], dim: int = 0) -> Axes:
    """Follow tensors put beside each other along a new axis."""
    dim %= len(context.shape)
    axes = tie_aligned(tensors)
    return [*axes[:dim], fixed(len(tensors)), *axes[dim:]]


@rule("roll", "flip")
def roll(context: Context, x: Traced, *args: Any) -> Axes:
    """Follow entries to other places along axes, which therefore have an order."""
    for dim in args[-1]:
        x.axes[dim].pin()
    return x.axes


@rule("index")
def index(context: Context, x: Traced, indices: Sequence[Traced | None]) -> Axes:
    """Follow the choice of entries by position."""
    used = [i for i, chosen in enumerate(indices) if chosen is not None]
    if used != list(range(used[0], used[-1] + 1)):
        raise ValueError("indexing of axes that are not neighbours")
    for i in used:
        x.axes[i].pin()
    rest = len(x.axes) - len(used)
    chosen = context.shape[used[0] : len(context.shape) - (rest - used[0])]
    return [*x.axes[: used[0]], *map(fixed, chosen), *x.axes[used[-1] + 1 :]]


@rule("index_select")
def index_select(context: Context, x: Traced, dim: int, chosen: Traced) -> Axes:
    """Follow the choice of entries of one axis."""
    x.axes[dim].pin()
    return [fixed(context.shape[i]) if i == dim % len(x.axes) else axis for i, axis in enumerate(x.axes)]


@rule("embedding")
def embedding(context: Context, weight: Traced, indices: Traced, *args: Any, **kwargs: Any) -> Axes:
    """Follow a table of vectors, whose rows have an order."""
    weight.axes[0].pin()
    return [*indices.axes, weight.axes[1]]


@rule("scaled_dot_product_attention")
def attention(context: Context, query: Traced, key: Traced, value: Traced, mask: Any = None, *a: Any, **k: Any) -> Axes:
    """Follow attention: batches and heads line up, queries meet keys, and values are averaged over positions."""
    batch = tie_aligned([Traced(t.axes[:-2], t.shape[:-2]) for t in (query, key, value)])
    tie(query.axes[-1], key.axes[-1])
    tie(key.axes[-2], value.axes[-2])
    for axis in (query.axes[-2], key.axes[-2]):  # masks and causality know positions
        axis.pin()
    return [*batch, query.axes[-2], value.axes[-1]]


@rule("add_neighbours")
def add_neighbours(
    context: Context, starts: Traced, neighbours: Traced, weights: Traced, weights_back: Traced, h: Traced
) -> Axes:
    """Follow a sum over neighbours in a graph, which knows its nodes by number."""
    h.axes[0].pin()
    return h.axes


@rule("getitem")
def getitem(context: Context, several: list[Axes], i: int) -> Axes:
    """Follow one of several outputs."""
    return several[i]


def rule_for(call: Call) -> Rule | None:
    """Return the rule of an operator of the graph, or None if there is none."""
    target = call.target
    if target is operator.getitem:
        return RULES["getitem"]
    name = target._opname.removesuffix("_") if not target._opname.startswith("_") else target._opname
    if name in RULES:
        return RULES[name]
    tagged = [target, getattr(target._overloadpacket, "Tensor", None), getattr(target._overloadpacket, "default", None)]
    tagged += [getattr(getattr(torch.ops.aten, name, None), overload, None) for overload in ("default", "Tensor")]
    if any(t is not None and torch.Tag.pointwise in t.tags for t in tagged):
        return elementwise
    return None if call.all_input_nodes else positions


def _note(context: Context, x: Traced, weight: Traced, into: Node, out: Node) -> None:
    if weight.weight:
        context.readings.append(Reading(weight.weight, x.made_by, into, out))


def _without(shape: Sequence[int], dim: int) -> tuple[int, ...]:
    return (*shape[:dim], 1, *shape[dim + 1 :])
