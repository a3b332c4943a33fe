"""Random layers and subspaces on which the statements are checked, of the sizes of the independent program."""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from symlib.effective.subspace import Subspace

Rows = list[tuple[str, float, float]]  # variant, what is varied, value

N_NEURONS, N_INPUTS, N_FIX = 64, 512, 64
TRAINABLE = 1 - N_FIX / N_INPUTS


def normal(*shape: int, source: torch.Generator) -> Tensor:
    """Return standard normal numbers in float64."""
    return torch.randn(*shape, generator=source, dtype=torch.float64)


def random_subspace(k: int, source: torch.Generator, d: int = N_INPUTS) -> Subspace:
    """Return a subspace whose direction is uniformly random, of inputs of d features."""
    return Subspace(torch.linalg.qr(normal(d, k, source=source)).Q, 1.0)


def copied_axes(k: int, n_copies: int, d: int = N_INPUTS) -> Subspace:
    """Return the subspace of inputs that repeat k numbers n times, of coherence 1 / n; further inputs are 0.

    Input c * k + j is copy c of number j.
    """
    basis = torch.zeros(d, k, dtype=torch.float64)
    basis[: n_copies * k] = torch.eye(k).repeat(n_copies, 1) / n_copies**0.5
    return Subspace(basis, 1.0)


def random_layer(sigma_F: float, trained: float, source: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return W, D and F of a W-asymmetric layer whose trainable entries have standard deviation `trained`."""
    D = torch.rand(N_NEURONS, N_INPUTS, generator=source).argsort(1) >= N_FIX
    constants, free = (normal(N_NEURONS, N_INPUTS, source=source) for _ in range(2))
    fixed = torch.where(D, 0.0, sigma_F * constants)
    return fixed + D * trained * free, D, fixed


def difference(one: Tensor, other: Tensor) -> float:
    """Return by how much an equality fails, relative to the largest number in it if that is above 1."""
    return float((one - other).abs().max() / max(1.0, float(other.abs().max())))


def slopes(values: pd.DataFrame) -> np.ndarray:
    """Return the slope of each row over the names of its columns, both as logarithms."""
    x = np.log(values.columns.to_numpy(dtype=float))
    return np.log(values.to_numpy()) @ (x - x.mean()) / ((x - x.mean()) ** 2).sum()


def each(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return every column of a table under the name "variant/x"."""
    return {f"{variant}/{x:g}": table[variant, x].to_numpy() for variant, x in table}
