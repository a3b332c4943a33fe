"""Finite symmetry transformations of multilayer perceptrons, and what a constraint leaves of each.

A transformation acts on the effective weights of one network. Whether it is still a symmetry is decided by looking: are
pinned weights where they were, are the answers the same, and does weight decay towards F cost the same?
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from symlib.alignment.permutation import PermutationSpec, permute, random_perms
from symlib.asymmetry import Constraint
from symlib.population import mode

Weights = dict[str, Tensor]
Transformation = Callable[[Weights, torch.Generator], Weights]

TOLERANCE = 1e-9  # relative; rounding leaves 1e-15, what is no symmetry changes answers by more than 1e-3
VERDICTS = ("kept", "kept, costs decay", "broken: moves pinned weights", "broken: changes the function")


@dataclass(frozen=True)
class Outcome:
    """What a transformation does to one network."""

    pinned: float  # largest change of a pinned entry, in units of the weights
    function: float  # largest change of an answer, relative to the largest answer
    decay: float  # change of the penalty |W - F|^2, relative to it

    @property
    def verdict(self) -> str:
        """One of `VERDICTS`; a network that leaves its constraint is not asked what it computes."""
        kept, costs, moves, changes = VERDICTS
        if self.pinned > TOLERANCE:
            return moves
        if self.function > TOLERANCE:
            return changes
        return costs if abs(self.decay) > TOLERANCE else kept


def outcome(model: nn.Module, fixed: Constraint, before: Weights, after: Weights, x: Tensor) -> Outcome:
    """Compare a network with its transform.

    Args:
        model: The architecture.
        fixed: Its fixed side, in the precision of the weights.
        before: Effective weights that meet the constraint.
        after: The transformed ones.
        x: Inputs, shape (n, ...).
    """
    with torch.no_grad(), mode(model, training=False):
        answers, others = (functional_call(model, weights, (x,)) for weights in (before, after))
    moved = [(after[name].flatten()[index] - value).abs().max() for name, (index, value) in fixed.pinned.items()]
    penalties = [penalty(fixed, weights) for weights in (before, after)]
    return Outcome(
        float(torch.stack(moved).max()) if moved else 0.0,
        float((others - answers).abs().max() / answers.abs().max()),
        float(penalties[1] / penalties[0] - 1),
    )


def penalty(fixed: Constraint, weights: Weights) -> Tensor:
    """Return what weight decay makes small: the squared distance of all weights from F, 0 where there is none."""
    return torch.stack([(w - fixed.F.get(name, 0)).square().sum() for name, w in weights.items()]).sum()


def reordered(spec: PermutationSpec) -> Transformation:
    """Return the one that puts the hidden units of every layer in a random order."""
    return lambda weights, source: permute(spec, random_perms(spec.sizes, source), weights)


def rescaled(weights: Weights, source: torch.Generator) -> Weights:
    """Scale what enters each hidden unit by its own factor between 1/2 and 2, and what leaves it by the inverse."""
    return _by_unit(weights, lambda n: 2 ** (2 * torch.rand(n, generator=source, dtype=torch.float64) - 1))


def flipped(weights: Weights, source: torch.Generator) -> Weights:
    """Change the sign of what enters and leaves each hidden unit, or not, by a coin each; of the first unit surely."""

    def signs(n: int) -> Tensor:
        return 1.0 - 2 * torch.randint(2, (n,), generator=source).index_fill(0, torch.tensor(0), 1).double()

    return _by_unit(weights, signs)


def scaled_before_norm(weights: Weights, source: torch.Generator) -> Weights:
    """Multiply all that enters the norm of each hidden layer by one factor."""
    factors = {l: 1.5 + torch.rand(1, generator=source, dtype=torch.float64) for l in _hidden(weights)}
    return weights | {
        f"linears.{l}.{leaf}": factor * weights[f"linears.{l}.{leaf}"]
        for l, factor in factors.items()
        for leaf in ("weight", "bias")
    }


def shifted_before_norm(weights: Weights, source: torch.Generator) -> Weights:
    """Add one and the same random row to all rows of each hidden layer, which its LayerNorm takes out again."""
    names = [f"linears.{l}.weight" for l in _hidden(weights)]
    rows = {n: torch.randn(weights[n].shape[1], generator=source, dtype=torch.float64) for n in names}
    return weights | {name: weights[name] + row for name, row in rows.items()}


def _hidden(weights: Weights) -> range:
    return range(sum(name.startswith("linears.") and name.endswith(".weight") for name in weights) - 1)


def _by_unit(weights: Weights, factors: Callable[[int], Tensor]) -> Weights:
    moved = dict(weights)
    for l in _hidden(weights):
        here, after = f"linears.{l}", f"linears.{l + 1}.weight"
        c = factors(len(moved[f"{here}.weight"]))
        moved[f"{here}.weight"] = c[:, None] * moved[f"{here}.weight"]
        moved[f"{here}.bias"] = c * moved[f"{here}.bias"]
        moved[after] = moved[after] / c
    return moved
