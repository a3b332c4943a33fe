"""Random rows of masked maps, and rows drawn again, a block at a time, until every block can be split.

Drawing again is for demonstrations at small widths, where the theorem promises nothing; it knows no target.
"""

from collections.abc import Callable
from itertools import count

import torch
from torch import Tensor, nn

from symlib.asymmetry import Constraint, WAsymmetry, constraint, tensor_hash
from symlib.seeds import seed
from symlib.theory.block_splits import BLOCK, split_blocks
from symlib.theory.linear_pairs import PinnedMap, pinned_map, refuse_masks_beyond_range

MAX_ROUNDS = 1000

Draw = Callable[[int], PinnedMap]  # so many new rows


def random_columns(n_rows: int, n_inputs: int, n_fix: int, source: torch.Generator) -> Tensor:
    """Draw the pinned inputs of independent rows, all sets of `n_fix` inputs equally likely.

    Rows may be alike, as in the theorem and in the released code of Lim et al. (2024); `symlib.masks` excludes that.

    Returns:
        Shape (rows, n_fix), int64, in no order.

    Raises:
        ValueError: If n_fix is not in 0, ..., n_inputs.

    Source: R. W. Floyd's sampling without replacement (Bentley and Floyd, 1987), for all rows at once.
    """
    if not 0 <= n_fix <= n_inputs:
        raise ValueError(f"n_fix must lie between 0 and the {n_inputs} entries of a row, got {n_fix}")
    chosen = torch.empty(n_rows, 0, dtype=torch.int64)
    for last in range(n_inputs - n_fix, n_inputs):
        new = torch.randint(last + 1, (n_rows, 1), generator=source)
        taken = (chosen == new).any(dim=1, keepdim=True)
        chosen = torch.cat([chosen, torch.where(taken, last, new)], dim=1)
    return chosen


def independent_map(n_rows: int, n_inputs: int, asymmetry: WAsymmetry, source: torch.Generator) -> PinnedMap:
    """Draw the fixed side of a map as in the theorem: independent rows, Gaussian constants."""
    columns = random_columns(n_rows, n_inputs, asymmetry.n_fix, source)
    values = torch.randn(columns.shape, generator=source, dtype=torch.float64)
    return PinnedMap(columns, asymmetry.sigma_F * values, n_inputs)


def with_splits(inner: PinnedMap, draw: Draw) -> tuple[PinnedMap, int]:
    """Draw the blocks of an inner map that cannot be split again until all can.

    Args:
        inner: First draw, shape (24 n, n).
        draw: Makes more rows.

    Returns:
        The map, and how many blocks were drawn again, counted each time.

    Raises:
        ValueError: If no draw could do it, or a thousand rounds were not enough.
    """
    refuse_masks_beyond_range(inner.n_inputs, inner.columns.shape[1])
    blocks = [part.unflatten(0, (-1, BLOCK)).clone() for part in inner[:2]]
    left, n_redrawn = torch.arange(len(blocks[0])), 0
    for _ in range(MAX_ROUNDS):
        possible = split_blocks(blocks[0][left].flatten(0, 1)).possible
        left = left[torch.as_tensor(~possible)]
        if not len(left):
            return PinnedMap(*(part.flatten(0, 1) for part in blocks), inner.n_inputs), n_redrawn
        n_redrawn += len(left)
        for part, new in zip(blocks, draw(BLOCK * len(left)), strict=False):
            part[left] = new.unflatten(0, (-1, BLOCK))
    raise ValueError(
        f"{len(left)} blocks of {BLOCK} rows could not be split in {MAX_ROUNDS} draws with n_fix = "
        f"{inner.columns.shape[1]} and n = {inner.n_inputs}: choose a larger n or a smaller n_fix"
    )


def masks_with_splits(
    network: nn.Module, asymmetry: WAsymmetry, mask_seed: int, inner: tuple[str, ...]
) -> tuple[Constraint, int]:
    """Draw the fixed side of a network, and blocks of its inner maps again where they cannot be split.

    Args:
        network: Built of linear maps.
        asymmetry: With one n_fix for all maps.
        mask_seed: Seed of everything.
        inner: Names of the weights of shape (24 n, n) whose blocks have to be split.

    Returns:
        The constraint, and how many blocks were drawn again.

    Raises:
        ValueError: As `constraint` and `with_splits` do.
    """
    if not isinstance(asymmetry.n_fix, int):
        raise ValueError(f"n_fix must be one number for all maps, got {asymmetry.n_fix}")
    weights = dict(network.named_parameters())
    for name in inner:
        refuse_masks_beyond_range(weights[name].shape[1], asymmetry.n_fix)
    fixed, total = constraint(network, asymmetry, mask_seed), 0
    D, F = dict(fixed.D), dict(fixed.F)
    for name in inner:
        rounds = count()

        def more(n_rows: int, name: str = name, rounds: count = rounds) -> PinnedMap:
            rows = nn.Linear(D[name].shape[1], n_rows, bias=False, device="meta")
            return pinned_map(constraint(rows, asymmetry, seed(mask_seed, name, next(rounds))), "weight")

        found, n_redrawn = with_splits(pinned_map(fixed, name), more)
        D[name] = torch.ones_like(D[name]).scatter_(1, found.columns, False)
        F[name] = torch.zeros_like(F[name]).scatter_(1, found.columns, found.values.float())
        total += n_redrawn
    return Constraint(D, F, tensor_hash(D, F)[:16]), total
