"""Splits of blocks of 24 masked rows into two halves of 12, no two rows of one half with a pinned input in common.

The combinatorial step of the universal approximation theorem; what the halves are for is in `linear_pairs.py`.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array, csr_array, triu
from scipy.sparse.csgraph import connected_components
from torch import Tensor

BLOCK = 24


@dataclass(frozen=True)
class Splits:
    """How each block of rows falls apart.

    Attributes:
        first: True for the rows of the first half, shape (blocks, 24); without meaning where there is no split.
        possible: Whether a block has such a split, shape (blocks,).
        n_shared: Pairs of rows of a block with a pinned input in common, shape (blocks,).
    """

    first: np.ndarray
    possible: np.ndarray
    n_shared: np.ndarray


def split_blocks(columns: Tensor) -> Splits:
    """Split every block if that can be done at all.

    Args:
        columns: Pinned inputs of each row, shape (24 blocks, n_fix), no number twice in a row.

    Raises:
        ValueError: If the rows are not whole blocks.

    Source: Lim et al. (2024), appendix B.3, proof of Theorem 4, which asks for more: at most one pair with an input in
    common.

    >>> import torch
    >>> alike = torch.tensor([[0], [0], *[[i] for i in range(1, 23)]])
    >>> found = split_blocks(alike)
    >>> bool(found.possible[0]), int(found.n_shared[0]), bool(found.first[0, 0] != found.first[0, 1])
    (True, 1, True)
    """
    if len(columns) % BLOCK:
        raise ValueError(f"rows come in blocks of {BLOCK}, got {len(columns)}")
    n_rows, blocks = len(columns), len(columns) // BLOCK
    row, other = pairs = _sharing_pairs(columns.numpy())
    # Two copies of every row, edges only between copies: rows are on one side of a bipartite component if their first
    # copies are connected, and a component with an odd cycle connects the two copies of each of its rows.
    edges = (np.ones(2 * len(row), dtype=bool), (np.r_[pairs], np.r_[other, row] + n_rows))
    one, two = connected_components(coo_array(edges, shape=(2 * n_rows,) * 2), directed=False)[1].reshape(2, n_rows)
    _, root, component = np.unique(np.minimum(one, two), return_index=True, return_inverse=True)
    sizes = np.bincount(one, minlength=2 * n_rows)
    sides = np.zeros((2, n_rows), dtype=np.int64)
    sides[:, root] = sizes[one[root]], sizes[two[root]]
    exchanged, balanced = _balance(*sides.reshape(2, blocks, BLOCK))
    first = (one == one[root][component]) ^ exchanged.ravel()[root][component]
    possible = balanced & (one != two).reshape(blocks, BLOCK).all(axis=1)
    return Splits(first.reshape(blocks, BLOCK), possible, np.bincount(row // BLOCK, minlength=blocks))


def _sharing_pairs(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs of rows of one block, the smaller number first, that have a pinned input in common."""
    n_rows, n_fix = columns.shape
    block = np.arange(n_rows)[:, None] // BLOCK
    # Inputs of different blocks are different; numbered by those that occur, which are few of all.
    inputs, own = np.unique(columns + block * (columns.max(initial=0) + 1), return_inverse=True)
    start = np.arange(n_rows + 1) * n_fix
    pinned = csr_array((np.ones(own.size, dtype=np.int32), own.ravel(), start), shape=(n_rows, len(inputs)))
    return triu(pinned @ pinned.T, k=1).nonzero()


def _balance(one: np.ndarray, two: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Choose one of two sizes at every place of a block so that they sum to 12.

    Returns:
        Where the second was chosen, shape (blocks, 24), and which blocks have such a choice, shape (blocks,).
    """
    # Bit s of a number says that the places so far can sum to s.
    sums = [np.ones(len(one), dtype=np.int64)]
    for a, b in zip(one.T, two.T, strict=True):
        sums.append(sums[-1] << a | sums[-1] << b)
    second, left = np.zeros(one.shape, dtype=bool), np.full(len(one), BLOCK // 2)
    for place in reversed(range(BLOCK)):
        rest = left - one[:, place]
        second[:, place] = (rest < 0) | ((sums[place] >> rest.clip(0)) & 1 == 0)
        left = np.where(second[:, place], left - two[:, place], rest)
    return second, (sums[-1] >> BLOCK // 2 & 1).astype(bool)
