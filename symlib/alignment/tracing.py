"""Permutation specifications derived from any model: run it symbolically, tie axes, name what stays free.

`specification(model, x)` is the one call. The model is exported to a graph of operators with `torch.export`; the rule
of each operator (`rules.py`) says which axes are the same units; the result is checked by permuting the network at
random before it is handed out.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.export.graph_signature import InputKind
from torch.func import functional_call
from torch.fx import Node as Call
from torch.utils._pytree import tree_leaves

from symlib.alignment.permutation import PermutationSpec, Reading, permute
from symlib.alignment.rules import Context, Traced, fixed, rule_for
from symlib.alignment.unification import Node
from symlib.asymmetry import refuse_shared_weights, statistics
from symlib.population import mode, unfused_attention
from symlib.seeds import generator


def specification(model: nn.Module, x: Tensor) -> PermutationSpec:
    """Derive how the hidden units of a model may be reordered without changing its function.

    Args:
        model: Any module that `torch.export` can trace in evaluation mode; left as it is.
        x: Example inputs, shape (batch, ...); two are enough.

    Returns:
        A specification that has kept the function of the model under a random reordering.

    Raises:
        ValueError: If the model shares weights, branches on its data, uses an operator that has no rule (which is
            named), or has no units that can be reordered; or if reordering changes the outputs.

    Source: Ainsworth et al. (2023), section 3, derived instead of written by hand.
    """
    refuse_shared_weights(model)
    graph, inputs = _export(model, x)
    known: dict[str, Any] = {}
    weights: dict[str, Traced] = {}
    moving = statistics(model)
    context = Context((), next(iter(graph.nodes)))
    for call in graph.nodes:
        if call.op == "placeholder":
            kind, name = inputs[call.name]
            # Units of a weight that nothing reads are nobody's: no function depends on them, no activation shows them.
            free = call.users and (kind is InputKind.PARAMETER or name in moving)
            known[call.name] = _traced(call, name if free else None)
            if free:
                weights[name] = known[call.name]
        elif call.op == "call_function" and call.meta["val"] is not None:  # None: an assertion of the exporter
            known[call.name] = _follow(call, known, context)
        elif call.op == "output":
            for result in call.all_input_nodes:
                for axis in known[result.name].axes:
                    axis.pin()
        elif call.op != "call_function":
            raise ValueError(f"cannot derive a specification: the traced model contains {call.op} {call.target}")
    spec = _named(model, weights, context)
    check_function_kept(spec, model, x)
    return spec


def _export(model: nn.Module, x: Tensor) -> tuple[torch.fx.Graph, dict[str, tuple[InputKind, str]]]:
    """Return the graph of operators and what each of its inputs is: (kind, name)."""
    try:
        with mode(model, training=False), unfused_attention():
            exported = torch.export.export(model, (x,))
    except Exception as error:  # whatever the model raises on symbolic inputs, not only the exporter's own errors
        reason = str(error).strip().splitlines()
        raise ValueError(
            f"cannot trace {type(model).__name__}: {reason[0] if reason else type(error).__name__}. A branch on data, "
            "or inputs of the wrong shape? Specifications need one fixed sequence of operators"
        ) from error
    return exported.graph, {s.arg.name: (s.kind, s.target) for s in exported.graph_signature.input_specs}


def _traced(call: Call, weight: str | None) -> Traced:
    shape = tuple(call.meta["val"].shape)
    make = Node if weight else fixed
    return Traced([make(size) for size in shape], shape, call, weight)


def _follow(call: Call, known: dict[str, Any], context: Context) -> Any:
    """Apply the rule of one operator; a list of tensors if it has several outputs."""
    rule = rule_for(call)
    if rule is None:
        raise ValueError(
            f"cannot derive a specification: there is no rule for the operator {call.target} in {_place(call)}"
        )
    value = call.meta["val"]
    several = not isinstance(value, Tensor)
    context.shape = [tuple(v.shape) for v in value] if several else tuple(value.shape)
    context.call = call
    args, kwargs = torch.fx.map_arg((call.args, call.kwargs), lambda n: known[n.name])
    try:
        axes = rule(context, *args, **kwargs)
    except (ValueError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"cannot derive a specification: {call.target} in {_place(call)}: {error}") from error
    if several:
        return [Traced(a, shape, call) for a, shape in zip(axes, context.shape, strict=True)]
    return axes if isinstance(axes, Traced) else Traced(list(axes), context.shape, call)


def _place(call: Call) -> str:
    stack = call.meta.get("nn_module_stack") or {}
    return next((path for path, _ in reversed(stack.values()) if path), "the model's own forward")


def _named(model: nn.Module, weights: dict[str, Traced], context: Context) -> PermutationSpec:
    """Name the free nodes after the weight that first has them, rows before columns."""
    names: dict[Node, str] = {}
    parameters, moving = dict(model.named_parameters()), statistics(model)
    unused = {name: w for name, w in (parameters | moving).items() if name not in weights}
    weights = weights | {name: Traced([fixed(n) for n in w.shape], tuple(w.shape)) for name, w in unused.items()}
    for name in parameters:
        leaves = [leaf for axis in weights[name].axes for leaf in axis.leaves()]
        free = list(dict.fromkeys(leaf for leaf in leaves if not leaf.pinned and leaf not in names))
        base = name.removesuffix(".weight")
        names |= {leaf: base if len(free) == 1 else f"{base}:{i}" for i, leaf in enumerate(free)}
    if not names:
        raise ValueError(
            f"no unit of {type(model).__name__} can be reordered: every axis is tied to a fixed matrix, a position or "
            "an output"
        )
    axes, stats = (
        {name: tuple(axis.axis(names) for axis in weights[name].axes) for name in mine} for mine in (parameters, moving)
    )
    return PermutationSpec(axes, stats, {group: _readings(node, context, names) for node, group in names.items()})


def _readings(group: Node, context: Context, names: dict[Node, str]) -> tuple[Reading, ...]:
    """Return where the units of a group are seen: wherever a linear map reads them, else where one makes them."""
    read: dict[Call, Reading] = {}  # one reading for maps that share their input
    for reading in context.readings:
        if group in reading.into.leaves():
            read.setdefault(reading.read, Reading(reading.weight, reading.into.axis(names)))
    made = [Reading(r.weight, r.out.axis(names), made=True) for r in context.readings if group in r.out.leaves()]
    return tuple(dict.fromkeys(read.values())) or tuple(dict.fromkeys(made))


def check_function_kept(spec: PermutationSpec, model: nn.Module, x: Tensor) -> None:
    """Reorder a network at random in double precision and compare its outputs.

    The weights are those of the model plus noise, because scales of 1 and shifts of 0 hide mistakes.

    Raises:
        ValueError: If outputs change, which means that the specification does not fit the model.
    """
    source = generator("check", "specification")

    def disturbed(w: Tensor) -> Tensor:
        if not w.is_floating_point():
            return w
        w = w.detach().double()
        noise = torch.rand(w.shape, generator=source, dtype=torch.float64).to(w.device)
        return w + 0.3 * (w.std() if w.numel() > 1 and w.std() > 0 else 1.0) * noise

    own = dict(model.named_parameters()) | statistics(model)
    tensors = {name: disturbed(w) for name, w in own.items()}
    fixed_buffers = {
        name: b.double() if b.is_floating_point() else b for name, b in model.named_buffers() if name not in own
    }
    inputs = x.double() if x.is_floating_point() else x
    moved = permute(spec, {group: _cycle(n, source) for group, n in spec.sizes.items()}, tensors)
    with torch.no_grad(), mode(model, training=False):
        before, after = (tree_leaves(functional_call(model, t | fixed_buffers, (inputs,))) for t in (tensors, moved))
    pairs = [(b, a) for b, a in zip(before, after, strict=True) if isinstance(b, Tensor) and b.is_floating_point()]
    if not all(b.any() for b, _ in pairs):
        raise ValueError("the model answers 0 to the example inputs, which would show no mistake: give it other inputs")
    worst = float(torch.stack([(b - a).abs().max() / b.abs().max() for b, a in pairs]).max())
    if not worst <= 1e-8:
        raise ValueError(f"the specification does not keep the function: outputs change by {worst:.1g} of the largest")


def _cycle(n: int, source: torch.Generator) -> Tensor:
    """Return a random permutation that leaves no unit where it was."""
    order = torch.randperm(n, generator=source)
    return torch.empty_like(order).index_copy_(0, order, order.roll(1))
