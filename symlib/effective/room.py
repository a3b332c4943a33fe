"""How far neurons may go from their centres without being taken for one another: no further than half way to the next.

The exact part of the trade-off between identifiability and feature learning; what training does is measured elsewhere.
"""

import torch
from torch import Tensor


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
        moved: r, largest `|a_i - v_i|`.
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
