"""Any linear map as a pair of W-asymmetric maps around an activation, with equality for every input.

Masks and constants come first and the target last: nothing here draws them. How often they allow the construction is
in `construction_failure.py`.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from symlib.asymmetry import Constraint
from symlib.theory.block_splits import BLOCK, split_blocks

# One block gives three copies each of W_i + c, -(W_i + c), c and -c, and twelve of d.
_HALF = BLOCK // 2
_W_SHARE = torch.tensor([1, -1, 0, 0, 0, 0, 0, 0], dtype=torch.float64)
_C_SHARE = torch.tensor([1, -1, 1, -1, 0, 0, 0, 0], dtype=torch.float64)
_D_SHARE = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1], dtype=torch.float64)
# What the three copies weigh together; eta(z) - eta(-z) = z makes W_i x of them.
_SUMS = torch.tensor([1, -1, -1, 1, 0, 0, 0, 0], dtype=torch.float64)
_TRIPLES = len(_SUMS)


class PinnedMap(NamedTuple):
    """The fixed side of one W-asymmetric map.

    Attributes:
        columns: Pinned inputs of every row, shape (rows, n_fix), int64.
        values: Their constants, same shape, float64.
        n_inputs: Columns of the map.
    """

    columns: Tensor
    values: Tensor
    n_inputs: int


def pinned_map(fixed: Constraint, name: str) -> PinnedMap:
    """Return the fixed side of one weight of a constrained network.

    Raises:
        ValueError: If the weight is not W-asymmetric.
    """
    D = fixed.D.get(name)
    if D is None or bool((fixed.F[name][D] != 0).any()) or len(set((~D).sum(1).tolist())) > 1:
        raise ValueError(f"{name} is not W-asymmetric: draw the constraint with WAsymmetry(n_fix, sigma_F)")
    columns = (~D).nonzero()[:, 1].view(len(D), -1)
    return PinnedMap(columns, fixed.F[name].double().gather(1, columns), D.shape[1])


def realise(W: Tensor, inner: PinnedMap, outer: PinnedMap) -> tuple[Tensor, Tensor]:
    """Return weights (B, A) with the given constants such that A eta(B x) = W x for all x.

    Holds for every activation with eta(x) - eta(-x) = x, whatever it is otherwise.

    Args:
        W: Target, shape (m, n) with m at most n, float64.
        inner: Fixed side of B, shape (24 n, n).
        outer: Fixed side of A, shape (m, 24 n).

    Raises:
        ValueError: If shapes do not fit, a block of 24 rows cannot be split, or three copies of one row are all
            pinned in the outer map.

    Source: Lim et al. (2024), appendix B.3, equations 41 to 59. The paper defines the correction c by the weights that
    it corrects; the constants and the target give it in closed form.
    """
    _check_shapes(W, inner, outer)
    refuse_masks_beyond_range(len(inner.columns) // BLOCK, inner.columns.shape[1])
    splits = split_blocks(inner.columns)
    if not splits.possible.all():
        raise ValueError(
            f"{(~splits.possible).sum()} of {len(splits.possible)} blocks of {BLOCK} rows cannot be split into halves "
            "whose rows pin different inputs: draw other masks, or choose a larger n or a smaller n_fix"
        )
    # Rows in the order of their part in the construction, three to a triple.
    order = torch.as_tensor(splits.first).long().argsort(dim=1, descending=True, stable=True)
    return _inner_weights(W, inner, order), _outer_weights(len(W), outer, order)


def refuse_masks_beyond_range(n: int, n_fix: int) -> None:
    """Raise an error if no masks at all allow the construction.

    Raises:
        ValueError: If 12 rows that pin different inputs need more than the n there are.
    """
    if n_fix * _HALF > n:
        raise ValueError(
            f"n_fix = {n_fix} is beyond the construction's range: {_HALF} rows that pin different inputs need "
            f"n = {n_fix * _HALF} or more, got {n}"
        )


def _check_shapes(W: Tensor, inner: PinnedMap, outer: PinnedMap) -> None:
    n = inner.n_inputs
    if W.ndim != 2 or W.shape[1] != n or len(W) > n:
        raise ValueError(f"the target must be a matrix of at most {n} x {n}, the inputs there are, got {list(W.shape)}")
    found = (len(inner.columns), len(outer.columns), outer.n_inputs)
    if found != (BLOCK * n, len(W), BLOCK * n):
        raise ValueError(
            f"a target of shape {list(W.shape)} needs an inner map of {BLOCK * n} x {n} and an outer one of "
            f"{len(W)} x {BLOCK * n}, got {found[0]} x {n} and {found[1]} x {found[2]}"
        )


def _inner_weights(W: Tensor, inner: PinnedMap, order: Tensor) -> Tensor:
    n = inner.n_inputs
    triple = order.argsort(dim=1).flatten() // 3  # of each row
    block = torch.arange(BLOCK * n)[:, None] // BLOCK
    target = torch.cat([W, W.new_zeros(n - len(W), n)])
    w, c, d = (share[triple] for share in (_W_SHARE, _C_SHARE, _D_SHARE))
    # Rows of a half pin different inputs, so that no entry of c or d is asked for twice.
    wanted = c[:, None] * (inner.values - w[:, None] * target[block, inner.columns])
    corrections = W.new_zeros(2, n, n)
    corrections[d.long()[:, None], block, inner.columns] = torch.where(d[:, None] == 1, inner.values, wanted)
    shares = torch.stack([w, c, d], dim=1).view(n, BLOCK, 3)
    B = (shares @ torch.stack([target, *corrections], dim=1)).view(BLOCK * n, n)
    return B.scatter_(1, inner.columns, inner.values)  # equal but for rounding


def _outer_weights(m: int, outer: PinnedMap, order: Tensor) -> Tensor:
    n = len(order)
    copies = (order + BLOCK * torch.arange(n)[:, None]).view(-1, 3)  # columns of each triple
    triple = torch.empty(BLOCK * n, dtype=torch.int64)
    triple[copies] = torch.arange(len(copies))[:, None]
    lacking = outer.values.new_zeros(m, n, _TRIPLES)
    lacking[torch.arange(m), torch.arange(m)] = _SUMS
    lacking = lacking.view(m, -1).scatter_add_(1, triple[outer.columns], -outer.values)
    free = torch.ones(m, BLOCK * n, dtype=torch.bool).scatter_(1, outer.columns, False)[:, copies]
    if not (usable := free.any(dim=2)).all():
        raise ValueError(
            f"{int((~usable).sum())} triples of copies are pinned completely in the outer map, which leaves no weight "
            "to correct their sum: draw other masks, or choose a smaller n_fix"
        )
    A = outer.values.new_zeros(m, BLOCK * n).scatter_(1, outer.columns, outer.values)
    return A.scatter_(1, copies[torch.arange(len(copies)), free.byte().argmax(dim=2)], lacking)
