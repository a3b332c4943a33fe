"""How often random masks do not allow the universal approximation construction: bounds that hold at every width.

All are union bounds on independent rows of n_fix out of n inputs, so none of them is asymptotic. What is measured
comes from `block_splits.py` on rows drawn by `block_draws.py`.
"""

from collections.abc import Callable
from itertools import count
from math import comb, perm

from symlib.theory.block_splits import BLOCK

PAIRS = comb(BLOCK, 2)


def chance_shared(n: int, n_fix: int) -> float:
    """Return the probability that two rows have a pinned input in common; at most n_fix^2 / n."""
    every = comb(n, n_fix)
    return (every - comb(n - n_fix, n_fix)) / every  # of whole numbers: nothing cancels


def two_pairs_bound(n: int, n_fix: int) -> float:
    """Bound the probability that two or more pairs of a block have a pinned input in common.

    The expected number of two such pairs; two pairs are independent even if they share a row, since the second
    event has the same probability whatever that row is.

    Source: Lim et al. (2024), appendix B.3, whose sufficient condition this is.
    """
    return min(1.0, comb(PAIRS, 2) * chance_shared(n, n_fix) ** 2)


def no_split_bound(n: int, n_fix: int) -> float:
    """Bound the probability that a block cannot be split.

    Rows are joined where they have an input in common. Without odd cycle, and with a spanning forest of at most 8
    edges, there is a split: sides of components differ by 7 at most, and 8 single rows make up for that. So a block
    that has none holds an odd cycle or a forest of 9 edges. Expected numbers bound both. Edges of a forest are
    independent. For a cycle, rows and inputs take turns along a closed walk, and the number of these is the trace of
    a power of the matrix of chances that a row pins two given inputs.
    """
    forests = comb(PAIRS, 9) * chance_shared(n, n_fix) ** 9
    cycles = sum(perm(BLOCK, length) / (2 * length) * _closed_walks(n, n_fix, length) for length in range(3, BLOCK, 2))
    return min(1.0, forests + cycles)


def _closed_walks(n: int, n_fix: int, length: int) -> float:
    # n_fix / n on the diagonal and n_fix (n_fix - 1) / (n (n - 1)) elsewhere has these two eigenvalues.
    return (n_fix**2 / n) ** length + (n - 1) * (n_fix * (n - n_fix) / (n * (n - 1))) ** length


def pinned_triples(n: int, n_outputs: int, n_fix: int) -> float:
    """Return the expected number of triples that an outer map pins completely, a bound on their probability."""
    triples = n_outputs * BLOCK * n // 3
    return triples * perm(n_fix, 3) / perm(BLOCK * n, 3)


def construction_bound(per_block: float, n: int, n_outputs: int, n_fix: int) -> float:
    """Bound the probability that a pair of maps does not allow the construction, given a bound for one block."""
    return min(1.0, n * per_block + pinned_triples(n, n_outputs, n_fix))


def needed_width(per_block: Callable[[int, int], float], n_fix: int, chance: float) -> int:
    """Return the least power of 2 as n for which a four-layer network with one output fails with at most a chance.

    Args:
        per_block: Bound for one block, `two_pairs_bound` or `no_split_bound`.
        n_fix: Pinned entries per row of all maps.
        chance: Failure probability that is allowed, the delta of the theorem.
    """

    def bound(n: int) -> float:
        block = per_block(n, n_fix)
        return construction_bound(block, n, n, n_fix) + construction_bound(block, n, 1, n_fix)

    return next(n for power in count(n_fix.bit_length()) if bound(n := 2**power) <= chance)
