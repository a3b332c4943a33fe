"""Neuron identifiability: how much dearer than the present one is the next best assignment of functions to neurons.

Works on matrices of realization costs, rows realise and columns are realised.
"""

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


@dataclass(frozen=True)
class Gap:
    """The cheapest way to hand the functions of a layer round among its neurons.

    Attributes:
        gap: What it costs more than leaving them where they are; negative if it costs less, infinite if no neuron can
            realise another's function.
        permutation: Neuron i realises function permutation[i], shape (m,), int64; the identity if the gap is infinite.
    """

    gap: float
    permutation: Tensor


def identifiability_gap(cost: Tensor) -> Gap:
    """Return the smallest total cost of all permutations but the identity, less that of the identity.

    A layer is identifiable if this is positive. The best permutation but the identity moves some neuron, so it is the
    best of m assignment problems, each with one diagonal entry forbidden; if the identity is not optimal one is enough.

    Args:
        cost: Realization costs, shape (m, m). With the functions of another run, a positive gap says that the identity
            is the one best matching of the two.

    Raises:
        ValueError: If a neuron cannot realise its own function, or a cost is NaN.

    Source: our own definition, after the idea of Bürgin et al. (2026), neuron identifiability.

    >>> found = identifiability_gap(torch.tensor([[1.0, 2, 9], [9, 1, 2], [2, 9, 1]]))
    >>> found.gap, found.permutation.tolist()
    (3.0, [1, 2, 0])
    """
    own = cost.diagonal()
    if not own.isfinite().all():
        raise ValueError(
            f"neuron {int(own.isfinite().int().argmin())} cannot realise its own function: compare networks that share "
            "D and F"
        )
    # Less its own cost in every column, which changes no assignment and leaves the gap as a sum of small numbers.
    extra = (cost - own).double().numpy()
    if (best := _assignment(extra)).gap < 0:
        return best
    best = Gap(float("inf"), torch.arange(len(extra)))
    for i in range(len(extra)):
        extra[i, i] = float("inf")
        best = min(best, _assignment(extra), key=lambda found: found.gap)
        extra[i, i] = 0.0
    return best


def predicted_matching(cost: Tensor) -> Tensor:
    """Return the assignment of least total cost: neuron i realises function perm[i], shape (m,), int64.

    For the functions of another run with the same D and F this predicts, from weights alone, how activation matching
    pairs the neurons of the two runs.

    Args:
        cost: What neuron i of either run pays for the function of neuron j of the other, shape (m, m).

    Raises:
        ValueError: If no assignment is possible.
    """
    found = _assignment(cost.double().numpy())
    if found.gap == float("inf"):
        raise ValueError("no assignment is possible: some function is out of reach of every neuron that is left for it")
    return found.permutation


def _assignment(cost) -> Gap:
    try:
        rows, columns = linear_sum_assignment(cost)
    except ValueError as error:
        if "infeasible" not in str(error):
            raise
        return Gap(float("inf"), torch.arange(len(cost)))
    return Gap(float(cost[rows, columns].sum()), torch.from_numpy(columns))
