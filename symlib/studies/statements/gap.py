"""From which scale of the fixed weights on neurons are identifiable, by the dimension of their inputs."""

import numpy as np
import pandas as pd
import torch

from symlib.effective.costs import realization_costs, swap_costs
from symlib.effective.identifiability import identifiability_gap, predicted_matching
from symlib.studies.statements.layers import N_INPUTS, N_NEURONS, Rows, each, normal, random_layer, random_subspace

SCALES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
DIMENSIONS = (2, 8, 32)


def rows(source: torch.Generator) -> Rows:
    """Return the gap of a layer and how it matches with another run, by dimension and scale of the fixed weights.

    Trainable entries are as large as at the start of training; the draws of one dimension differ in scale alone.
    """
    found = []
    for k in DIMENSIONS:
        plane = random_subspace(k, source)
        draws = source.get_state()
        for sigma_F in SCALES:
            source.set_state(draws)
            W, D, fixed = random_layer(sigma_F, N_INPUTS**-0.5, source)
            other = fixed + D * N_INPUTS**-0.5 * normal(*W.shape, source=source)
            cost = realization_costs(W, D, fixed, plane).cost
            matched = predicted_matching(realization_costs(other, D, fixed, plane).cost)
            least = swap_costs(cost).fill_diagonal_(torch.inf).min()
            found += [
                (f"gap/{k}", sigma_F, identifiability_gap(cost).gap),
                (f"exchange/{k}", sigma_F, float(least)),
                (f"matched/{k}", sigma_F, float((matched == torch.arange(N_NEURONS)).double().mean())),
            ]
    return found


def quantities(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return "gap/32/0" and the like: what, dimension, scale."""
    return each(table)
