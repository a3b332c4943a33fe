"""How likely two rows of a random mask are equal: the exact probability, its first term, and what sampling finds.

The masks of this package redraw such rows (`symlib.masks`). Lim et al. do not; `block_draws.random_columns` draws as
they do.
"""

from math import comb, expm1, log1p

import torch
from torch import Tensor


def n_masks(rows: int, fan_in: int, n_fix: int) -> int:
    """Return the number of different masks that a row can have, after checking that there is one for every row.

    Args:
        rows: Rows of the weight, at least 1.
        fan_in: Entries of a row, or filters where filters are pinned as wholes.
        n_fix: How many of them are pinned.

    Raises:
        ValueError: If n_fix is not in 0, ..., fan_in, or there are fewer masks than rows.

    >>> n_masks(32, 16, 6)
    8008
    """
    if not 0 <= n_fix <= fan_in:
        raise ValueError(f"n_fix must lie between 0 and the {fan_in} entries of a row, got {n_fix}")
    if rows < 1:
        raise ValueError(f"rows must be 1 or more, got {rows}")
    if (n := comb(fan_in, n_fix)) < rows:
        raise ValueError(
            f"{rows} rows cannot all be different: {n_fix} of {fan_in} entries can be pinned in {n} ways only; choose "
            "n_fix nearer to half of the entries, or fewer rows"
        )
    return n


def twin_probability(rows: int, fan_in: int, n_fix: int) -> float:
    """Return the probability that at least two of so many independent rows are equal: 1 - prod_i (1 - i / masks).

    Arguments and errors are those of `n_masks`.

    >>> round(twin_probability(32, 16, 6), 4)
    0.0601
    """
    n = n_masks(rows, fan_in, n_fix)
    # Quotients of whole numbers, however large, and logarithms: 1 - (1 - 1e-30) would be 0.
    return 0.0 - expm1(sum(log1p(-(i / n)) for i in range(1, rows)))


def expected_twins(rows: int, fan_in: int, n_fix: int) -> float:
    """Return the expected number of pairs of equal rows, R (R - 1) / (2 masks): a bound on `twin_probability`.

    Arguments and errors are those of `n_masks`.

    >>> round(expected_twins(32, 16, 6), 4)
    0.0619
    """
    return rows * (rows - 1) / (2 * n_masks(rows, fan_in, n_fix))


def has_twins(chosen: Tensor) -> Tensor:
    """Say of each draw whether two of its rows pin the same entries, shape (draws,), bool.

    Args:
        chosen: Indices, none twice in a row, shape (draws, rows, n_fix).
    """
    number = torch.zeros(chosen.shape[:2], dtype=torch.int64)
    for entry in chosen.sort(-1).values.unbind(-1):
        # Numbered anew after each entry, so that numbers stay small however many entries there are.
        number = (number * (int(chosen.max()) + 1) + entry).unique(return_inverse=True)[1]
    return (number.sort(1).values.diff(dim=1) == 0).any(1)
