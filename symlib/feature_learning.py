"""How far training takes hidden features from those a network was drawn with, and how far neurons may go unconfused.

Features are compared network by network, before and after; what two networks have in common is measured elsewhere.
"""

import torch
from torch import Tensor


def feature_cka(now: Tensor, then: Tensor) -> float:
    """Return the linear centred kernel alignment of two sets of features of the same samples, in [0, 1].

    It is 1 if one set is the other, turned, shifted or scaled, whichever unit carries what.

    Args:
        now: Activations of a layer, shape (n, units).
        then: Those they are compared with, such as the untrained network's, shape (n, other units).

    Raises:
        ValueError: If the samples are not as many, or a set of features is the same for all samples.

    Source: Kornblith et al. (2019), linear CKA.

    >>> feature_cka(torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[9.0], [6.0], [3.0]]))
    1.0
    """
    if len(now) != len(then):
        raise ValueError(f"features are compared on the same samples, got {len(now)} and {len(then)}")
    now, then = (features.double() - features.double().mean(0) for features in (now, then))
    sizes = [(features.T @ features).norm() for features in (now, then)]
    if min(sizes) == 0:
        raise ValueError("features that are the same for all samples span nothing: look for a layer that is constant")
    return float((now.T @ then).square().sum() / (sizes[0] * sizes[1]))


def room(centres: Tensor) -> Tensor:
    """Return half the distance from every centre to the nearest other one, shape (m,), float64.

    While every neuron stays within this distance of its centre, no function is as near to another one's.

    Args:
        centres: v_i, shape (m, k) with m of at least 2.

    Raises:
        ValueError: If there is no other centre.

    >>> room(torch.tensor([[0.0], [6.0], [2.0]]))
    tensor([1., 2., 1.], dtype=torch.float64)
    """
    if len(centres) < 2:
        raise ValueError(f"room is what other centres leave: give at least two, got {len(centres)}")
    apart = torch.cdist(centres.double(), centres.double(), compute_mode="donot_use_mm_for_euclid_dist")
    return apart.fill_diagonal_(torch.inf).amin(dim=1) / 2


def least_gap(spacing: float, moved: float, mu: float = 1.0) -> float:
    """Return 2 s (s - 2 r) / mu, the least gap if no neuron is further than r off its centre and r is up to s / 2.

    Whoever takes over a function has to go at least s - r for it, its owner went r at most, and at least two do. With
    the functions of another network that has the same centres it is the same, so both match by number.

    Args:
        spacing: s, distance of the two closest centres.
        moved: r, largest |a_i - v_i|; the result is 0 where r is half of s, and no bound beyond.
        mu: Trainable share; every S_i is taken for mu times the identity.

    Raises:
        ValueError: If the numbers are outside their range.

    Source: ours, in the spirit of the centre-dominated regime of Bürgin et al. (2026).

    >>> least_gap(2.0, 0.5), least_gap(2.0, 1.0)
    (4.0, 0.0)
    """
    if not (0 <= 2 * moved <= spacing and 0 < mu <= 1):
        raise ValueError(
            f"needs 0 <= moved <= spacing / 2 and 0 < mu <= 1, got {moved:g}, {spacing:g} and {mu:g}: beyond, two neurons "
            "can pass each other halfway and nothing is certain"
        )
    return 2 * spacing * (spacing - 2 * moved) / mu
