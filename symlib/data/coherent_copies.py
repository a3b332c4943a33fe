"""A regression task in the plane, embedded in 20 coordinates so that the coherence of the inputs is known.

The teacher is y = relu(z1 + z2) of a standard normal latent z. Networks see x = U z, and U spreads the plane over as
many coordinates as it has copies: its coherence, the largest squared row norm, is 1 / copies.
"""

import math

import torch
from torch import Tensor

from symlib.seeds import generator

N_INPUTS = 20
MAX_COPIES = N_INPUTS // 2


def latents(latent_seed: int, n: int) -> Tensor:
    """Draw points of the plane, N(0, I), shape (n, 2), float32."""
    return torch.randn(n, 2, generator=generator(latent_seed, "latents"))


def teacher(z: Tensor) -> Tensor:
    """Return relu(z1 + z2) of latents, shape (n, 2), as targets, shape (n,)."""
    return z.sum(dim=1).relu()


def exact_copies(copies: int) -> Tensor:
    """Return U whose rows are the two axes of the plane over and over, shape (20, 2), float64, columns orthonormal.

    Args:
        copies: Pairs of rows that are not 0.

    Raises:
        ValueError: If copies is not between 1 and 10.

    Source: Bürgin et al. (2026), synthetic coherence experiment, exact copies.

    >>> exact_copies(4)[:4].tolist()
    [[0.5, 0.0], [0.0, 0.5], [0.5, 0.0], [0.0, 0.5]]
    """
    _check(copies)
    U = torch.zeros(N_INPUTS, 2, dtype=torch.float64)
    U[0 : 2 * copies : 2, 0] = U[1 : 2 * copies : 2, 1] = copies**-0.5
    return U


def random_frame(copies: int, frame_seed: int) -> Tensor:
    """Return U whose pairs of rows are axes turned by random angles, at random places, shape (20, 2), float64.

    With one seed, more copies keep the places and angles of fewer.

    Args:
        copies: Pairs of rows that are not 0.
        frame_seed: Draws the order of the coordinates and an angle in [0, pi) for each pair.

    Raises:
        ValueError: If copies is not between 1 and 10.

    Source: Bürgin et al. (2026), synthetic coherence experiment, random tight frames.
    """
    _check(copies)
    source = generator(frame_seed, "frame")
    order = torch.randperm(N_INPUTS, generator=source)
    angle = math.pi * torch.rand(MAX_COPIES, generator=source, dtype=torch.float64)[:copies]
    U = torch.zeros(N_INPUTS, 2, dtype=torch.float64)
    U[order[0 : 2 * copies : 2]] = torch.stack([angle.cos(), angle.sin()], dim=1) * copies**-0.5
    U[order[1 : 2 * copies : 2]] = torch.stack([-angle.sin(), angle.cos()], dim=1) * copies**-0.5
    return U


def _check(copies: int) -> None:
    if not 1 <= copies <= MAX_COPIES:
        raise ValueError(
            f"copies must lie between 1 and {MAX_COPIES}, two of the {N_INPUTS} coordinates each, got {copies}"
        )
