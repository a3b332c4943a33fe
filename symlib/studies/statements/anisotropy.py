"""Coherence controls anisotropy: masks that are independent of each other and of the inputs, and masks that are not."""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from symlib.effective.anisotropy import anisotropies, anisotropy_bound
from symlib.effective.subspace import Subspace
from symlib.studies.statements.layers import N_INPUTS, TRAINABLE, Rows, copied_axes, random_subspace, slopes

N_MASKS, DIMENSION, DELTA = 400, 16, 0.05
COPIES = (1, 2, 4, 8, 16, 32)
# From an independent program with random draws of its own: mean anisotropy.
REFERENCE = {"random": 0.122, "axes": 0.776}


def rows(source: torch.Generator) -> Rows:
    """Return coherence, mean anisotropy, bound and share of exceptions of 400 masks on each subspace.

    A random subspace, whose coherence is another one in each draw, stands at 0. Three families drop an assumption:
    "coin" rows are trainable or pinned as a whole, "looking" is a subspace inside what one mask pins, "chosen" both.
    """
    D = torch.rand(N_MASKS, N_INPUTS, generator=source) < TRAINABLE
    found = _measured("random", 0.0, D, random_subspace(DIMENSION, source))
    for n in COPIES:
        plane = copied_axes(DIMENSION, n)
        found += _measured("copies", 1 / n, D, plane)
        found += _measured("chosen", 1 / n, chosen_masks(source), plane)
        found += _measured("coin", 1 / n, (torch.rand(N_MASKS, 1, generator=source) < TRAINABLE).expand_as(D), plane)
    return found + _measured("looking", 0.0, D[:1], inside(~D[0]))


def inside(pinned: Tensor) -> Subspace:
    """Return a plane of inputs of which a neuron sees nothing: two numbers, copied over its pinned inputs.

    Args:
        pinned: Shape (inputs,), bool.
    """
    places = pinned.nonzero().squeeze(1)
    places = places[: len(places) // 2 * 2]
    basis = torch.zeros(len(pinned), 2, dtype=torch.float64)
    basis[places] = torch.eye(2, dtype=torch.float64).repeat(len(places) // 2, 1) * (2 / len(places)) ** 0.5
    return Subspace(basis, 1.0)


def chosen_masks(source: torch.Generator) -> Tensor:
    """Return masks that pin all copies of a number before they pin any of another one, shape (400, inputs).

    Each entry is pinned as often as in the other masks, but those of one row depend on each other.
    """
    order = torch.rand(N_MASKS, DIMENSION, generator=source).argsort(1)  # of the numbers
    return (order >= round((1 - TRAINABLE) * DIMENSION)).repeat(1, N_INPUTS // DIMENSION)


def _measured(family: str, x: float, D: Tensor, plane: Subspace) -> Rows:
    found, bound = anisotropies(D, plane, TRAINABLE), _bound(plane)
    measured = {
        "coherence": plane.coherence,
        "mean": float(found.mean()),
        "bound": bound,
        "exceptions": float((found > bound).double().mean()),
    }
    return [(f"{family} {what}", x, value) for what, value in measured.items()]


def _bound(plane: Subspace) -> float:
    mask = torch.arange(N_INPUTS) < round(TRAINABLE * N_INPUTS)  # of exactly the expected share
    return anisotropy_bound(mask, plane.coherence, plane.dimension, DELTA)


def quantities(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the power of the coherence, how loose the bound is, and shares of masks beyond it."""
    # At coherence 1 anisotropy is as large as it can be, mu, and cannot follow a power any more.
    independent = table[["random exceptions", "copies exceptions"]]
    return {
        "slope/anisotropy": slopes(table["copies mean"].drop(columns=1.0)),
        "looseness": (table["random bound", 0.0] / table["random mean", 0.0]).to_numpy(),
        "exceptions": independent.max(axis=1).to_numpy(),
        "exceptions/chosen": table["chosen exceptions", 1 / COPIES[-1]].to_numpy(),
        "exceptions/coin": table["coin exceptions", 1 / COPIES[-1]].to_numpy(),
        "exceptions/looking": table["looking exceptions", 0.0].to_numpy(),
    }
