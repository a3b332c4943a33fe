"""Layers whose neurons were moved off their centres by hand: what their room is good for, and where it is not enough.

Demonstrations of `symlib.effective.room`, on layers of one draw or of none.
"""

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import normalize

from symlib.effective.costs import realization_costs
from symlib.effective.identifiability import identifiability_gap
from symlib.effective.room import room
from symlib.effective.subspace import Subspace


def gaps_by_distance(
    fractions: Sequence[float], n_neurons: int, dimension: int, source: torch.Generator
) -> pd.DataFrame:
    """Move neurons of a random layer off their centres, all inputs trainable, and return its identifiability gap.

    Args:
        fractions: How far, relative to the distance of the two closest centres.
        n_neurons: m.
        dimension: k, of the inputs.
        source: Draws Gaussian centres, and directions.

    Returns:
        Columns fraction; scattered, the gap if every neuron goes in a direction of its own; towards, the gap if the two
        closest go towards each other and the others stay. Gaps are in units of the squared distance of the two.
    """
    centres, drawn = torch.randn(2, n_neurons, dimension, dtype=torch.float64, generator=source)
    apart = torch.cdist(centres, centres).fill_diagonal_(torch.inf)
    i, j = divmod(int(apart.argmin()), n_neurons)
    towards = torch.zeros_like(centres)
    towards[i], towards[j] = centres[j] - centres[i], centres[i] - centres[j]
    spacing = towards[i].norm()
    plane, trainable = Subspace(torch.eye(dimension, dtype=torch.float64), 1.0), torch.ones_like(centres).bool()

    def gap(steps: Tensor) -> float:
        cost = realization_costs(centres + steps, trainable, centres, plane).cost
        return identifiability_gap(cost).gap / spacing.item() ** 2

    ways = {"scattered": spacing * normalize(drawn, dim=1), "towards": towards}
    return pd.DataFrame([{"fraction": f} | {way: gap(f * steps) for way, steps in ways.items()} for f in fractions])


def unevenly_masked_pair() -> tuple[Tensor, Tensor, float]:
    """Return two neurons whose masks differ much: how far each went, the room of each, and their gap.

    Each is well within its room, and yet to exchange their functions costs less. The first neuron went where its mask
    leaves it a hundredth of the squared stretch; the second has all of its inputs.
    """
    basis = torch.tensor([[1.0, 0.0], [0.0, 0.99**0.5], [0.0, 0.1]], dtype=torch.float64)
    trainable = torch.tensor([[True, False, True], [True, True, True]])
    fixed = torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]], dtype=torch.float64)
    weights = fixed + torch.tensor([[0.0, 0.0, 9.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    cost = realization_costs(weights, trainable, fixed, Subspace(basis, 1.0)).cost
    moved = ((weights - fixed) @ basis).norm(dim=1)
    return moved, room(fixed @ basis), identifiability_gap(cost).gap
