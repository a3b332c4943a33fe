"""Perceptrons made from masks written out by hand, and the masks that show what the automorphism theorem assumes.

Also what it means that an automorphism is a symmetry: exchanging units, with the pinned entries left in place.
"""

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from symlib.alignment.axes import Perms
from symlib.alignment.permutation import PermutationSpec, permute
from symlib.asymmetry import Constraint, tensor_hash

Masks = tuple[Tensor, ...]


def _masks(*rows: str) -> Masks:
    """Return masks from text: rows of 0 (pinned) and 1 (trained), a weight at a time."""
    return tuple(torch.tensor([[int(entry) for entry in row] for row in weight.split()]).bool() for weight in rows)


# Units 0 and 1 of the first layer read the same inputs. In the first network they also feed the same units, in the
# second one entry less is trained.
EQUAL_ROWS = _masks("1100 1100 0110 0011", "1101 1110 0011", "110 011")
EQUAL_ROWS_ONLY = _masks("1100 1100 0110 0011", "1001 1110 0011", "110 011")
# Unit 2 of each hidden layer reads nothing and feeds nothing.
ISOLATED = _masks("110 011 000", "110 010 000", "100 110")


def masked_mlp(masks: Masks, constants: Sequence[Tensor] | None = None) -> tuple[nn.Sequential, Constraint]:
    """Return a perceptron without biases, with GELU, and what is pinned in it.

    Args:
        masks: Of each weight, True where trained, shape (units, inputs).
        constants: What pinned entries hold, of the same shapes; 0 if left out. Entries where a mask is True do not
            count.
    """
    layers = [nn.Linear(mask.shape[1], mask.shape[0], bias=False) for mask in masks]
    model = nn.Sequential(*[module for layer in layers for module in (layer, nn.GELU())][:-1])
    constants = constants or [torch.zeros(mask.shape) for mask in masks]
    D = dict(zip((f"{2 * i}.weight" for i in range(len(masks))), masks, strict=True))
    F = {name: fixed.masked_fill(D[name], 0.0) for name, fixed in zip(D, constants, strict=True)}
    return model, Constraint(D, F, tensor_hash(D, F)[:16])


def with_random_weights(model: nn.Module, source: torch.Generator) -> nn.Module:
    """Fill all weights with standard normal numbers, in double precision and in place; return the model."""
    model.double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(generator=source)
    return model


def change_by_exchange(model: nn.Module, spec: PermutationSpec, fixed: Constraint, perms: Perms, x: Tensor) -> float:
    """Return by how much outputs change if the trained entries are reordered and the pinned ones stay in place.

    Args:
        model: Holds the trained entries; what stands where `fixed` pins has no effect.
        spec: Says which axes move along with which units.
        fixed: The constraint.
        perms: New unit r of a group is its old unit perms[r].
        x: Inputs, shape (batch, ...).

    Returns:
        The largest change, relative to the largest output.
    """
    trained, fixed = dict(model.named_parameters()), fixed.to(x)
    with torch.no_grad():
        before, after = (functional_call(model, fixed.impose(w), x) for w in (trained, permute(spec, perms, trained)))
    return float((after - before).abs().max() / before.abs().max())


def transpositions(spec: PermutationSpec) -> list[Perms]:
    """Return every reordering that exchanges two units of a group."""
    found = []
    for group, n in spec.sizes.items():
        for one, other in combinations(range(n), 2):
            perm = torch.arange(n)
            perm[[one, other]] = perm[[other, one]]
            found.append({group: perm})
    return found
