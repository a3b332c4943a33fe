"""Sinkhorn matching: permutations learned by gradient descent on the loss halfway between two networks.

Each permutation is relaxed to a doubly stochastic matrix; in the end the nearest permutation is taken.
"""

from math import log

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.func import functional_call

from symlib.alignment.axes import Axis, Concat, Product, Units
from symlib.alignment.permutation import Alignment, PermutationSpec, check_same_architecture, permute
from symlib.population import batch_statistics, passes

# Chosen on digits: a colder start does not move, a warmer end does not decide.
STEP, TEMPERATURE, ROUNDS = 0.1, 0.1, 20


def sinkhorn_matching(
    model: nn.Module,
    a: dict[str, Tensor],
    b: dict[str, Tensor],
    spec: PermutationSpec,
    x: Tensor,
    y: Tensor,
    source: torch.Generator,
    steps: int = 200,
    batch_size: int = 256,
) -> Alignment:
    """Minimise the cross-entropy of the midpoint of A and permuted B; BatchNorm layers normalise by each batch.

    Args:
        model: The architecture of both networks.
        a: Weights and statistics of the reference network.
        b: Those of the network to be permuted.
        spec: How units may be reordered.
        x: Training inputs, shape (n, ...).
        y: Labels, shape (n,), int64.
        source: Generator of the batches.
        steps: Gradient steps, at least 1.
        batch_size: Inputs per step.

    Returns:
        Permutations with minus the loss halfway, in nats over all of x, as objective.

    Raises:
        ValueError: If the networks differ in shape or steps is below 1.

    Source: Peña et al. (2023), Sinkhorn re-basin, here with unrolled iterations and the loss at the midpoint.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    check_same_architecture(a, b, spec)
    a, b = ({name: w.detach() for name, w in net.items()} for net in (a, b))
    # Starting where nothing moves: uniform matrices would average all units of B into one.
    scores = {
        group: (log(n) * TEMPERATURE * torch.eye(n, device=x.device)).requires_grad_()
        for group, n in spec.sizes.items()
    }
    optimiser = torch.optim.Adam(scores.values(), lr=STEP)
    with batch_statistics(model):
        for _ in range(steps):
            rows = torch.randint(len(x), (batch_size,), generator=source).to(x.device)
            relaxed = _mixed(b, spec.axes, {group: doubly_stochastic(s / TEMPERATURE) for group, s in scores.items()})
            loss = F.cross_entropy(functional_call(model, _halfway(a, relaxed), (x[rows],)), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        perms = {
            group: torch.from_numpy(linear_sum_assignment(s.detach().cpu().numpy(), maximize=True)[1])
            for group, s in scores.items()
        }
        with torch.no_grad():
            merged = _halfway(a, permute(spec, perms, {name: b[name] for name in spec.axes}))
            scored = torch.cat([functional_call(model, merged, (part,)) for part in passes(model, x)])
    return Alignment(perms, -float(F.cross_entropy(scored, y)), sweeps=steps)


def doubly_stochastic(scores: Tensor) -> Tensor:
    """Return the matrix whose rows and columns sum to 1, by Sinkhorn's iterations on exp(scores), shape (n, n).

    >>> doubly_stochastic(torch.zeros(2, 2))
    tensor([[0.5000, 0.5000],
            [0.5000, 0.5000]])
    """
    for _ in range(ROUNDS):
        scores = scores - scores.logsumexp(0, keepdim=True)
        scores = scores - scores.logsumexp(1, keepdim=True)
    return scores.exp()


def _halfway(a: dict[str, Tensor], b: dict[str, Tensor]) -> dict[str, Tensor]:
    # Copies of the statistics, which the passes update; their values are not used.
    return {name: (w + b[name]) / 2 if name in b else w.clone() for name, w in a.items()}


def _mixed(
    tensors: dict[str, Tensor], axes: dict[str, tuple[Axis, ...]], matrices: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Apply matrices to weights as `permute` applies permutations."""
    result = {}
    for name, own in axes.items():
        w = tensors[name]
        for i, axis in enumerate(own):
            w = _along(w.movedim(i, 0), axis, matrices).movedim(0, i)
        result[name] = w
    return result


def _along(w: Tensor, axis: Axis, matrices: dict[str, Tensor]) -> Tensor:
    """Mix the entries of the first axis of w."""
    match axis:
        case Units(_, None):
            return w
        case Units(_, group):
            return torch.tensordot(matrices[group].to(w), w, dims=1)
        case Product(parts):
            w = w.unflatten(0, [part.size for part in parts])
            for i, part in enumerate(parts):
                w = _along(w.movedim(i, 0), part, matrices).movedim(0, i)
            return w.flatten(0, len(parts) - 1)
        case Concat(parts):
            pieces = w.split([part.size for part in parts])
            return torch.cat([_along(piece, part, matrices) for piece, part in zip(pieces, parts, strict=True)])
