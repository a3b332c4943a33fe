"""Centres govern swap costs while little is learnt and masks cannot be seen on the inputs."""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from symlib.effective.centres import centre_swap_costs
from symlib.effective.costs import realization_costs, swap_costs
from symlib.effective.subspace import Subspace
from symlib.studies.statements.layers import (
    N_INPUTS,
    N_NEURONS,
    TRAINABLE,
    Rows,
    copied_axes,
    each,
    random_layer,
    random_subspace,
)

DIMENSION = 32
TRAINED = (0.0, 0.05, 0.2, 1.0)  # standard deviations of trainable entries beside fixed ones of 1
COPIES = (2, 4, 8, 16)
# From an independent program with random draws of its own.
REFERENCE = {
    "correlation": dict(zip(TRAINED, (0.998, 0.995, 0.948, 0.561), strict=True)),
    "ratio": dict(zip(TRAINED, (1.04, 1.05, 1.05, 1.20), strict=True)),
}


def rows(source: torch.Generator) -> Rows:
    """Return correlation and mean ratio of exact and approximate swap costs, by how much is trained.

    Then, without training, by the coherence of the subspace; and the share of exact costs below 0 without constants.
    """
    found = []
    for trained in TRAINED:
        exact, approximate = pairs = centre_pairs(trained, random_subspace(DIMENSION, source), source)
        found += [
            ("correlation", trained, float(torch.corrcoef(pairs)[0, 1])),
            ("ratio", trained, float((exact / approximate).mean())),
        ]
    for n in COPIES:
        pairs = centre_pairs(0.0, copied_axes(DIMENSION, n), source)
        # A neuron whose copies of a number are all pinned cannot take over most functions: the exact cost is infinite.
        within = pairs[:, pairs[0].isfinite()]
        correlation = float(torch.corrcoef(within)[0, 1]) if within.shape[1] > 1 else float("nan")
        found += [
            ("coherent/correlation", 1 / n, correlation),
            ("coherent/infinite", 1 / n, 1 - within.shape[1] / pairs.shape[1]),
        ]
    exact, _ = centre_pairs(N_INPUTS**-0.5, random_subspace(DIMENSION, source), source, sigma_F=0.0)
    return [*found, ("no constants/below zero", 0.0, float((exact < 0).double().mean()))]


def centre_pairs(trained: float, plane: Subspace, source: torch.Generator, sigma_F: float = 1.0) -> Tensor:
    """Return exact and centre-dominated swap costs of all pairs of a layer, shape (2, pairs)."""
    W, D, fixed = random_layer(sigma_F, trained, source)
    pairs = torch.triu_indices(N_NEURONS, N_NEURONS, 1)
    exact = swap_costs(realization_costs(W, D, fixed, plane).cost)
    return torch.stack([exact[*pairs], centre_swap_costs(fixed @ plane.basis, TRAINABLE)[*pairs]])


def quantities(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return "correlation/0" and the like: what, and how much is trained or the coherence."""
    return each(table)
