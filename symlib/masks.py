"""Which entries of a linear map are pinned: random masks with n pinned units in every row, no two rows alike."""

from math import comb

import torch
from torch import Tensor

from symlib.seeds import generator


def pinned_mask(name: str, shape: torch.Size, n_fix: int, whole_filters: bool, mask_seed: int) -> Tensor:
    """Draw one mask, True where trainable, of the shape of a weight.

    Depends on `mask_seed`, the name and the shape alone. Masks of one seed are nested in n_fix, rows redrawn as twins
    apart.

    Args:
        name: Name of the weight, part of the seed.
        shape: (rows, inputs, ...): of a linear map or a convolution.
        n_fix: Pinned entries per row, or with `whole_filters` pinned inputs per row, each with its whole kernel.
        whole_filters: Pin kernels as wholes.
        mask_seed: Seed.

    Raises:
        ValueError: If a row has fewer than n_fix units, or there are fewer masks than rows.

    Source: Lim et al. (2024), section 4.1 and figure 2 (random subsets).
    """
    rows, inputs, kernel = shape[0], shape[1], shape[2:].numel()
    units, what = (inputs, "input filters") if whole_filters else (inputs * kernel, "entries")
    if not 0 <= n_fix <= units:
        raise ValueError(f"n_fix of {name} must lie between 0 and the {units} {what} of a row, got {n_fix}")
    # A row pinned completely is told apart by its constants, not by its mask.
    if 0 < n_fix < units and comb(units, n_fix) < rows:
        raise ValueError(
            f"{name} has {rows} rows but only {comb(units, n_fix)} different masks with n_fix = {n_fix} of "
            f"{units} {what}: choose n_fix nearer to half of them, or a wider network"
        )
    source = generator(mask_seed, "mask", name)
    order = torch.rand(rows, units, generator=source).argsort(dim=1)
    # Two rows with one mask could be exchanged (Theorem 1 asks for distinct rows), so later twins are redrawn.
    while 0 < n_fix < units and (twins := _later_twins(order[:, :n_fix])).numel():
        order[twins] = torch.rand(twins.numel(), units, generator=source).argsort(dim=1)
    mask = torch.ones(rows, units, dtype=torch.bool).scatter_(1, order[:, :n_fix], False)
    return mask.repeat_interleave(kernel if whole_filters else 1, dim=1).view(shape)


def _later_twins(chosen: Tensor) -> Tensor:
    """Return the indices of rows whose set of entries already occurred further up."""
    _, group = chosen.sort(dim=1).values.unique(dim=0, return_inverse=True)
    first = torch.full((int(group.max()) + 1,), len(group)).scatter_reduce(0, group, torch.arange(len(group)), "amin")
    return (first[group] != torch.arange(len(group))).nonzero().squeeze(1)
