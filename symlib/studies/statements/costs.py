"""What realising a function costs: closed forms against least norms, and functions that are out of reach."""

import numpy as np
import pandas as pd
import torch

from symlib.effective.costs import realization_costs, swap_costs
from symlib.studies.statements.layers import (
    N_INPUTS,
    N_NEURONS,
    Rows,
    copied_axes,
    difference,
    each,
    normal,
    random_layer,
    random_subspace,
)

DIMENSION = 8


def rows(source: torch.Generator) -> Rows:
    """Return by how much equalities fail, and what happens to functions outside a neuron's class."""
    plane = random_subspace(DIMENSION, source)
    U = plane.basis
    W, D, fixed = random_layer(1.0, 0.1, source)
    A, V, ones = W @ U, fixed @ U, torch.ones_like(D)
    cost = realization_costs(W, D, fixed, plane).cost
    # M_i = U^T Diag(d_i): the least norm of weights that reach a target, neuron by neuron.
    maps = [U.T * d for d in D]
    smallest = torch.stack([(torch.linalg.pinv(M) @ (A - v).T).square().sum(0) for M, v in zip(maps, V, strict=True)])
    shifted = W + normal(*W.shape, source=source)  # a dense layer with the shift W
    syre = swap_costs(realization_costs(shifted, ones, W, plane).cost)
    closed = 2 * ((shifted @ U)[:, None] - shifted @ U).mul((W @ U)[:, None] - W @ U).sum(-1)
    standard = swap_costs(realization_costs(W, ones, 0 * W, plane).cost)
    frozen = torch.eye(DIMENSION) - torch.stack([U[~d].T @ U[~d] for d in D])
    equalities = {
        "least norm": difference(cost, smallest),
        "frozen rows": difference(frozen, torch.stack([U[d].T @ U[d] for d in D])),
        "standard": difference(standard, torch.zeros_like(cost)),
        "syre": difference(syre, closed),
    }
    return [(f"difference/{name}", 0.0, value) for name, value in equalities.items()] + _out_of_reach(source)


def _out_of_reach(source: torch.Generator) -> Rows:
    """Let targets lie outside the image of M_i: every second neuron has one number of the inputs pinned."""
    plane = copied_axes(DIMENSION, 4)
    D = torch.ones(N_NEURONS, N_INPUTS, dtype=torch.bool)
    D[::2, ::DIMENSION] = False  # all copies of number 0
    constants, free = normal(2, N_NEURONS, N_INPUTS, source=source)
    fixed = torch.where(D, 0.0, constants)
    W, U = fixed + D * free, plane.basis
    found = realization_costs(W, D, fixed, plane)
    others = ~torch.eye(N_NEURONS, dtype=torch.bool)
    pinned, free_to_move = ((torch.arange(N_NEURONS) % 2 == k)[:, None] & others for k in (0, 1))
    beside = W @ U - (fixed @ U)[:, None]
    formula = torch.stack([(x @ torch.linalg.pinv(U[d].T @ U[d]) * x).sum(1) for d, x in zip(D, beside, strict=True)])
    return [
        ("out of reach/infinite", 0.0, float(found.cost[pinned].isinf().double().mean())),
        ("out of reach/finite by formula", 0.0, float(formula[pinned].isfinite().double().mean())),
        ("within reach/infinite", 0.0, float(found.cost[free_to_move].isinf().double().mean())),
    ]


def quantities(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return "difference/syre" and the like, and what became of functions out of reach."""
    return {name.removesuffix("/0"): values for name, values in each(table).items()}
