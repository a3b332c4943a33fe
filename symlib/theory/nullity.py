"""Continuous symmetries of a network: directions in which all its answers stand still to first order.

They are the null space of the Jacobian of the answers with respect to what may be trained. Pinned entries are no
directions. Units that are silent on all inputs are symmetries too, so leaky ReLU is the better witness than ReLU.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from symlib.asymmetry import Constraint, statistics
from symlib.population import mode

RANK = 1e-9  # singular values below this share of the largest count as zero; rounding leaves 1e-16, generic ones 1e-4


def jacobian(model: nn.Module, fixed: Constraint, tensors: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Return the derivative of all answers with respect to all trainable entries, in evaluation mode.

    Args:
        model: The architecture; what it holds in parameters is not used.
        fixed: Says which entries are pinned.
        tensors: Effective weights of one network by name, and statistics if there are any, in float64.
        x: Inputs in float64, shape (n, ...).

    Returns:
        Shape (n * outputs, trainable entries); columns in the order of the model's parameters.

    Raises:
        ValueError: If anything is in another precision, or there are fewer answers than trainable entries.

    Source: Lim et al. (2024), section 4.1, remark on fixed non-zero weights; the test itself is ours.
    """
    weights, others = _split(model, tensors)
    _check(model, fixed, weights, others, x)

    def answers(w: dict[str, Tensor]) -> Tensor:
        return functional_call(model, w | others, (x,)).flatten()

    with mode(model, training=False):
        slopes = jacrev(answers)(weights)
    return torch.cat([_trainable(fixed, name, slope.flatten(1)) for name, slope in slopes.items()], dim=1)


def spectrum(model: nn.Module, fixed: Constraint, tensors: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Return the singular values of `jacobian` relative to the largest, in falling order; see there."""
    values = torch.linalg.svdvals(jacobian(model, fixed, tensors, x))
    return values / values[0]


def nullity(values: Tensor, rank: float = RANK) -> int:
    """Return how many relative singular values vanish: the dimension of what the equations leave free.

    Args:
        values: As `spectrum` or `generators.generator_spectrum` return them.
        rank: Share of the largest below which one counts as zero.
    """
    return int((values < rank).sum())


def _split(model: nn.Module, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    weights = {name: tensors[name] for name, _ in model.named_parameters()}
    return weights, {name: tensors[name] for name in statistics(model) if name in tensors}


def _trainable(fixed: Constraint, name: str, columns: Tensor) -> Tensor:
    return columns[:, fixed.D[name].flatten()] if name in fixed.D else columns


def _check(
    model: nn.Module, fixed: Constraint, weights: dict[str, Tensor], others: dict[str, Tensor], x: Tensor
) -> None:
    known = {"inputs": x, **weights, **others, **dict(model.named_buffers())}
    single = [name for name, t in known.items() if t.is_floating_point() and t.dtype != torch.float64]
    if single:
        raise ValueError(
            f"a nullity needs float64, because rounding of single precision fills the null space; {single[0]} has "
            f"{known[single[0]].dtype}: call .double() on it"
        )
    with torch.no_grad(), mode(model, training=False):
        outputs = functional_call(model, weights | others, (x[:2],)).shape[1:].numel()
    n = sum(w.numel() for w in weights.values()) - sum(len(index) for index, _ in fixed.pinned.values())
    if len(x) * outputs < n:
        raise ValueError(
            f"{len(x)} inputs with {outputs} answers each cannot tell {n} trainable entries apart: the nullity would "
            f"be that of the sample; take {-(-n // outputs)} inputs or more, better twice as many"
        )
