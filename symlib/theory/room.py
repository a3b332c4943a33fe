"""How far neurons may go from their centres without being taken for one another: no further than half way to the next.

The exact part of the trade-off between identifiability and feature learning; what training does is measured elsewhere.
"""

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import normalize

from symlib.effective.costs import realization_costs
from symlib.effective.identifiability import identifiability_gap
from symlib.effective.subspace import Subspace


def room(centres: Tensor) -> Tensor:
    """Return half the distance from every centre to the nearest other one, shape (m,), float64.

    Args:
        centres: v_i, shape (m, k) with m of at least 2.

    Raises:
        ValueError: If there is no other centre.

    Source: ours, after the centre-dominated regime of Bürgin et al. (2026).

    >>> room(torch.tensor([[0.0], [6.0], [2.0]]))
    tensor([1., 2., 1.], dtype=torch.float64)
    """
    if len(centres) < 2:
        raise ValueError(f"room is what other centres leave: give at least two, got {len(centres)}")
    apart = torch.cdist(centres.double(), centres.double(), compute_mode="donot_use_mm_for_euclid_dist")
    return apart.fill_diagonal_(torch.inf).amin(dim=1) / 2


def least_gap(spacing: float, moved: float, mu: float = 1.0) -> float:
    """Return 2 s (s - 2 r) / mu, the least gap if no neuron is further than r off its centre and r is up to s / 2.

    Whoever takes over a function has to go at least s - r for it, its owner went r at most, and at least two do. For
    the functions of another network with the same centres it is the same, so the two match by number.

    Args:
        spacing: s, distance of the two closest centres.
        moved: r, largest |a_i - v_i|.
        mu: Every S_i is this multiple of the identity, in (0, 1].

    Raises:
        ValueError: If a number is outside its range.

    Source: ours, after the centre-dominated regime of Bürgin et al. (2026).

    >>> least_gap(2.0, 0.5), least_gap(2.0, 1.0)
    (4.0, 0.0)
    """
    if not (0 <= 2 * moved <= spacing and 0 < mu <= 1):
        raise ValueError(
            f"needs 0 <= moved <= spacing / 2 and 0 < mu <= 1, got {moved:g}, {spacing:g} and {mu:g}: beyond, two "
            "neurons can pass each other halfway and nothing is certain"
        )
    return 2 * spacing * (spacing - 2 * moved) / mu


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
