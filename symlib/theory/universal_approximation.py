"""Four-layer W-asymmetric MLPs made from two-layer MLPs of the same function: the universal approximation theorem.

Why the inputs need a constant is in `linear_plus_even.py`; fitting two-layer MLPs is in `random_features.py`.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from symlib.asymmetry import Constraint
from symlib.theory.block_splits import BLOCK
from symlib.theory.linear_pairs import pinned_map, realise

Eta = Callable[[Tensor], Tensor]

WEIGHTS = ("0.weight", "2.weight", "4.weight", "6.weight")
INNER = WEIGHTS[::2]
TOLERANCE = 1e-12  # of the identity, relative; sums of 24 n units need it to be tight


def refuse_activation(eta: Eta) -> None:
    """Raise an error unless eta(x) - eta(-x) = x, which the construction needs.

    That eta is no polynomial is needed for approximation only, and not checked.

    Raises:
        ValueError: With the argument where it fails by most.

    Source: Lim et al. (2024), Theorem 4.

    >>> refuse_activation(torch.relu)
    """
    x = torch.linspace(0, 50, 5001, dtype=torch.float64)
    odd = eta(x) - eta(-x)
    off = ((odd - x).abs() / x.clamp(min=1)).nan_to_num(torch.inf)
    if off.max() > TOLERANCE:
        at = int(off.argmax())
        raise ValueError(
            f"activations outside the theorem's class: eta(x) - eta(-x) must be x, but is {float(odd[at]):.6g} at "
            f"x = {float(x[at]):g}; choose ReLU, GELU, swish, or softplus without its threshold"
        )


def wide_network(n: int, n_outputs: int, activation: nn.Module) -> nn.Sequential:
    """Return the network of the theorem without values: hidden widths 24 n, n and 24 n, no biases, n inputs.

    Its parameters are on the meta device. Evaluate it with `torch.func.functional_call`, or load weights with
    `load_state_dict(weights, assign=True)`.
    """
    widths = (n, BLOCK * n, n, BLOCK * n, n_outputs)
    layers = [nn.Linear(i, o, bias=False, device="meta", dtype=torch.float64) for i, o in pairwise(widths)]
    return nn.Sequential(*(part for layer in layers[:-1] for part in (layer, activation)), layers[-1])


def converted(U: Tensor, V: Tensor, fixed: Constraint, eta: Eta) -> dict[str, Tensor]:
    """Return weights of `wide_network` within a constraint that make it equal to V eta(U x).

    Args:
        U: First map of the two-layer network, shape (n, n); a narrower one is padded with zeros by the caller.
        V: Second map, shape (outputs, n), with at most n outputs.
        fixed: W-asymmetric constraint of `wide_network`, drawn without knowledge of U and V.
        eta: Activation of both networks.

    Returns:
        Name -> effective weight, float64.

    Raises:
        ValueError: If eta is outside the theorem's class, or as `realise` does.

    Source: Lim et al. (2024), appendix B.3, Theorem 4.
    """
    refuse_activation(eta)
    maps = [pinned_map(fixed, name) for name in WEIGHTS]
    pairs = [realise(W, *maps[i : i + 2]) for W, i in ((U, 0), (V, 2))]
    return dict(zip(WEIGHTS, (weight for pair in pairs for weight in pair), strict=True))


def padded(x: Tensor, n: int, constant: float = 1.0) -> Tensor:
    """Return inputs (constant, x, 0, ..., 0) of length n; constant 0 is the padding of the theorem as printed.

    Args:
        x: Shape (points, features).
        n: Length, at least features + 1.
        constant: What stands in the first place.

    Raises:
        ValueError: If n is too small.
    """
    if x.shape[1] + 1 > n:
        raise ValueError(f"{x.shape[1]} features and a constant do not fit into n = {n} inputs")
    return torch.cat([x.new_full((len(x), 1), constant), x, x.new_zeros(len(x), n - 1 - x.shape[1])], dim=1)
