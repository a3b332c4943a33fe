"""Straight lines between networks, planes through three, and three ways to sum the loss on a line up in one number.

A loss barrier is in nats, an accuracy drop in percentage points; they are never mixed.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from symlib.population import Evaluation, Population, evaluate


def mixing_weights(n_points: int) -> Tensor:
    """Return `n_points` equally spaced weights of the second network from 0 to 1, shape (n_points,), float64.

    Raises:
        ValueError: If n_points is even or below 3: the midpoint has to be on the line.

    >>> mixing_weights(3).tolist()
    [0.0, 0.5, 1.0]
    """
    if n_points < 3 or n_points % 2 == 0:
        raise ValueError(f"n_points must be odd and at least 3, so that 0.5 is a point, got {n_points}; try 25")
    return torch.linspace(0, 1, n_points, dtype=torch.float64)


def line(a: Population, b: Population, lambdas: Tensor) -> Population:
    """Return the networks (1 - lambda) a + lambda b as one population, all points of pair 0 first.

    Because the constraint is affine, every point on the line satisfies it. Running statistics of BatchNorm are mixed
    like weights; they are not those of the mixed network, which `alignment.repair` estimates anew.

    Args:
        a: First network of each pair, P members.
        b: Second network of each pair, P members.
        lambdas: Mixing weights, shape (T,).

    Returns:
        P * T networks.

    Raises:
        ValueError: If the two populations differ in size, shapes, fixed entries or known age.
    """
    _check_comparable(a, b)

    def mix(name: str) -> Tensor:
        first, second = a.tensors[name][:, None], b.tensors[name][:, None]
        if not first.is_floating_point():  # BatchNorm's count of batches
            return first.expand(-1, len(lambdas), *first.shape[2:]).flatten(0, 1)
        weight = lambdas.to(first).view(1, -1, *[1] * (first.dim() - 2))
        return torch.lerp(first, second, weight).flatten(0, 1)

    return a.holding({name: mix(name) for name in a.tensors})


def plane(a: Population, b: Population, c: Population, weights: Tensor) -> Population:
    """Return the networks u a + v b + w c with u + v + w = 1 as one population, all points of the first triple first.

    Weights may be negative: these are all points of the plane through three networks, and like those of a line they
    satisfy the constraint. Statistics of BatchNorm are mixed as in `line`.

    Args:
        a: First network of each triple, P members.
        b: Second network of each triple, P members.
        c: Third network of each triple, P members.
        weights: Weights (u, v, w) of each point, shape (T, 3).

    Returns:
        P * T networks.

    Raises:
        ValueError: If weights do not sum to 1, or the populations differ in size, shapes or fixed entries.

    Source: Garipov et al. (2018), Figure 1.
    """
    if weights.dim() != 2 or weights.shape[1] != 3:
        raise ValueError(f"weights must have shape (points, 3), one for each network, got {tuple(weights.shape)}")
    off = weights.sum(dim=1) - 1
    if not off.abs().amax() < 1e-5:
        raise ValueError(
            f"weights of a point must sum to 1, got a sum of {1 + float(off[off.abs().argmax()]):g}: other sums leave "
            "the plane and change pinned entries"
        )
    for other in (b, c):
        _check_comparable(a, other)

    def mix(name: str) -> Tensor:
        first, *others = (p.tensors[name][:, None] for p in (a, b, c))
        mixed = first.expand(-1, len(weights), *first.shape[2:])
        if first.is_floating_point():
            # From `a` on along two differences, which are exactly 0 where an entry is pinned.
            for weight, other in zip(weights.to(first).T[1:], others, strict=True):
                mixed = torch.addcmul(mixed, weight.view(1, -1, *[1] * (first.dim() - 2)), other - first)
        return mixed.flatten(0, 1)

    return a.holding({name: mix(name) for name in a.tensors})


def curves(
    a: Population,
    b: Population,
    lambdas: Tensor,
    x: Tensor,
    y: Tensor,
    between: Callable[[Population, Population, Tensor], Population] = line,
) -> Evaluation:
    """Evaluate the line of every pair; both fields have shape (P, T).

    One pair at a time, so that memory stays at T networks however many pairs there are.

    Args:
        a: First network of each pair, P members.
        b: Second network of each pair, P members.
        lambdas: Mixing weights, shape (T,).
        x: Inputs, shape (n, ...).
        y: Labels, shape (n,), int64.
        between: Makes the networks of one line; other than `line` where their statistics are put right.
    """
    scores = [evaluate(between(a[i : i + 1], b[i : i + 1], lambdas), x, y) for i in range(len(a))]
    return Evaluation(torch.stack([s.loss for s in scores]), torch.stack([s.accuracy for s in scores]))


def midpoint_barrier(losses: Tensor) -> Tensor:
    """Return the loss halfway minus the mean of the two end losses; may be negative.

    Args:
        losses: Mean cross-entropy in nats on an odd number of equally spaced points, shape (P, T).

    Raises:
        ValueError: If the number of points is even.

    Source: Lim et al. (2024), section 5.1 and Table 1; Frankle et al. (2020).

    >>> midpoint_barrier(torch.tensor([[1.0, 4.0, 3.0]]))
    tensor([2.])
    """
    return losses[:, _middle(losses)] - (losses[:, 0] + losses[:, -1]) / 2


def maximum_barrier(losses: Tensor, lambdas: Tensor) -> Tensor:
    """Return the highest point of each curve above the chord of its end points, never negative.

    Args:
        losses: Mean cross-entropy in nats, shape (P, T).
        lambdas: Mixing weights from 0 to 1, shape (T,).

    Raises:
        ValueError: If the weights do not run from 0 to 1 or are not as many as the losses.

    Source: Entezari et al. (2022), loss barrier.

    >>> maximum_barrier(torch.tensor([[1.0, 4.0, 3.0]]), torch.tensor([0.0, 0.5, 1.0]))
    tensor([2.])
    """
    if losses.shape[1] != len(lambdas) or lambdas[0] != 0 or lambdas[-1] != 1:
        raise ValueError(
            f"losses have {losses.shape[1]} points; lambdas must be as many from 0 to 1, got {lambdas.tolist()}"
        )
    chord = torch.lerp(losses[:, :1], losses[:, -1:], lambdas.to(losses))
    return (losses - chord).amax(dim=1)


def accuracy_drop(accuracies: Tensor) -> Tensor:
    """Return the mean accuracy of the two ends minus the accuracy halfway, in percentage points.

    Args:
        accuracies: Share of correct answers in [0, 1], shape (P, T), T odd.

    Source: Bürgin et al. (2026), accuracy along the path; ours is absolute, not relative to the end points.

    >>> accuracy_drop(torch.tensor([[1.0, 0.25, 0.5]]))
    tensor([50.])
    """
    return 100 * ((accuracies[:, 0] + accuracies[:, -1]) / 2 - accuracies[:, _middle(accuracies)])


def _middle(curves: Tensor) -> int:
    return len(mixing_weights(curves.shape[1])) // 2


def _check_comparable(a: Population, b: Population) -> None:
    shapes = [{name: tuple(w.shape) for name, w in p.tensors.items()} for p in (a, b)]
    if shapes[0] != shapes[1]:
        odd = sorted(k for k in shapes[0].keys() | shapes[1].keys() if shapes[0].get(k) != shapes[1].get(k))[0]
        raise ValueError(
            f"the two populations differ in {odd}: {shapes[0].get(odd)} against {shapes[1].get(odd)}; a line needs "
            "equally many networks of one architecture on both sides"
        )
    if repr(a.model) != repr(b.model):
        raise ValueError(f"the two populations have different architectures: {a.model} against {b.model}")
    first, second = a.constraint.fingerprint, b.constraint.fingerprint
    if first != second:
        raise ValueError(
            f"the two populations have different fixed entries (D, F): {first} against {second}; build both with "
            "one asymmetry and one mask_seed"
        )
    if a.epochs != b.epochs and a.epochs and b.epochs:  # a line may start where training did
        raise ValueError(
            f"the two populations were trained for {a.epochs} and {b.epochs} epochs: compare networks of one age, or "
            "set epochs to None in one of them to compare them all the same"
        )
