"""Structural asymmetry as an affine constraint W_eff = F + D * W with fixed D and F, and the FiGLU gate.

A constrained network is an ordinary module that holds its *effective* weights; the constraint says which
entries are pinned (D = 0) and where weight decay pulls the others (F). What training does with it is in
`training.py`.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import comb

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from symlib.networks.mlp import gelu
from symlib.seeds import generator


@dataclass(frozen=True)
class Standard:
    """No intervention: D = 1, F = 0."""


@dataclass(frozen=True)
class WAsymmetry:
    """Pin `n_fix` random entries of every row of every linear map to Gaussian constants.

    Attributes:
        n_fix: Pinned entries per row, one number per linear map in forward order.
        sigma_F: Standard deviation of the constants, one number per linear map; 0 gives fixed sparsity.

    Source: Lim et al. (2024), section 4.1, equation 2; sigma_F is their kappa.
    """

    n_fix: Sequence[int]
    sigma_F: Sequence[float]


@dataclass(frozen=True)
class Syre:
    """Add a fixed Gaussian matrix of standard deviation `sigma_F` to every trainable linear map.

    Source: Ziyin et al. (2025), static shift; Bürgin et al. (2026).
    """

    sigma_F: float


@dataclass(frozen=True)
class Sigma:
    """Replace every activation by FiGLU with gate entries of standard deviation `gate_std`.

    Source: Lim et al. (2024), section 4.2.
    """

    gate_std: float


Asymmetry = Standard | WAsymmetry | Syre | Sigma

# Lim et al. (2024), Table 10, and Bürgin et al. (2026): the same masks, another scale in the last two maps.
LIM_MNIST = WAsymmetry(n_fix=(64, 64, 64, 256), sigma_F=(1.0, 1.0, 0.5, 0.25))
BUERGIN_MNIST = WAsymmetry(n_fix=(64, 64, 64, 256), sigma_F=(1.0, 1.0, 1.0, 1.0))


class FiGLU(nn.Module):
    """The fixed gate sigmoid(F x) * x, with F drawn once and never trained.

    Args:
        width: Units.
        std: Standard deviation of the entries of F.
        source: Generator that F is drawn from.

    Source: Lim et al. (2024), equation 4.
    """

    gate: Tensor

    def __init__(self, width: int, std: float, source: torch.Generator) -> None:
        super().__init__()
        if not std >= 0:
            raise ValueError(f"gate_std must be 0 or larger, got {std}")
        self.register_buffer("gate", std * torch.randn(width, width, generator=source))

    def forward(self, x: Tensor) -> Tensor:
        """Gate x of shape (..., width)."""
        return torch.sigmoid(x @ self.gate.T) * x


@dataclass(frozen=True)
class Constraint:
    """The fixed side of W_eff = F + D * W for the tensors that have one.

    Attributes:
        D: Name of a weight -> bool tensor of its shape, True where trainable. Absent means all True.
        F: Name of a weight -> tensor of its shape, 0 where nothing is added.
        fingerprint: Hash of D, F and of the model's fixed matrices; equal for comparable networks only.
    """

    D: dict[str, Tensor]
    F: dict[str, Tensor]
    fingerprint: str
    pinned: dict[str, tuple[Tensor, Tensor]] = field(init=False, repr=False)
    pull: dict[str, Tensor] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Pinned entries as (flat index, value): putting back 11 % of the entries costs less than a pass over all.
        pinned = {
            name: (index, self.F[name].flatten()[index])
            for name, mask in self.D.items()
            if (index := (~mask).flatten().nonzero().squeeze(1)).numel()
        }
        pull = {name: F for name, F in self.F.items() if bool((F[self.D[name]] != 0).any())}
        object.__setattr__(self, "pinned", pinned)
        object.__setattr__(self, "pull", pull)

    def impose(self, params: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return effective weights F + D * W for free weights W, with or without a leading member axis."""
        return {
            name: self.F[name].to(w) + self.D[name].to(w) * w if name in self.D else w for name, w in params.items()
        }

    def to(self, like: Tensor) -> "Constraint":
        """Return the constraint in the precision and on the device of a tensor."""
        return Constraint(
            {name: mask.to(like.device) for name, mask in self.D.items()},
            {name: F.to(like) for name, F in self.F.items()},
            self.fingerprint,
        )


def activation_for(asymmetry: Asymmetry, mask_seed: int) -> Callable[[int, int], nn.Module]:
    """Return what makes the activations of an MLP: FiGLU gates for sigma-asymmetry, else the exact GELU."""
    if not isinstance(asymmetry, Sigma):
        return gelu
    return lambda layer, width: FiGLU(width, asymmetry.gate_std, generator(mask_seed, "gate", layer))


def constraint(model: nn.Module, asymmetry: Asymmetry, mask_seed: int) -> Constraint:
    """Draw the fixed side of a model's linear maps.

    D and F depend on `mask_seed` and the name of the map alone. Masks are nested in n_fix, rows redrawn as twins
    apart, and constants do not depend on it, so that sweeps over n_fix and sigma_F are paired.

    Args:
        model: Any module; its `nn.Linear` weights are constrained, biases never are.
        asymmetry: Which intervention.
        mask_seed: Seed of D and F, independent of initialisation seeds.

    Raises:
        ValueError: If n_fix or sigma_F has the wrong length or range for the model.

    Source: Lim et al. (2024), section 4.1 and appendix F.1; Bürgin et al. (2026), equation for W_eff.
    """
    maps = {f"{name}.weight": m.weight for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    match asymmetry:
        case WAsymmetry(n_fix, sigma_F):
            _check_lengths(maps, n_fix, sigma_F)
            pairs = {
                name: _pinned_rows(name, weight.shape, n, scale, mask_seed)
                for (name, weight), n, scale in zip(maps.items(), n_fix, sigma_F, strict=True)
            }
        case Syre(sigma_F):
            _check_scale(sigma_F)
            pairs = {
                name: (torch.ones(w.shape, dtype=torch.bool), sigma_F * _gaussian(name, w.shape, mask_seed))
                for name, w in maps.items()
            }
        case _:
            pairs = {}
    D = {name: mask for name, (mask, _) in pairs.items()}
    F = {name: fixed for name, (_, fixed) in pairs.items()}
    # The gates; not what a parametrization of the same constraint has registered.
    gates = {name: b for name, b in model.named_buffers() if "parametrizations" not in name}
    return Constraint(D, F, tensor_hash(D, F, gates)[:16])


def n_trainable(model: nn.Module, fixed: Constraint) -> int:
    """Count the entries that training may change (Lim et al., Table 5)."""
    return sum(p.numel() for p in model.parameters()) - sum(i.numel() for i, _ in fixed.pinned.values())


class Affine(nn.Module):
    """The same constraint as a parametrization, for training loops that are not ours."""

    def __init__(self, mask: Tensor, fixed: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)
        self.register_buffer("fixed", fixed)

    def forward(self, weight: Tensor) -> Tensor:
        """Return F + D * W."""
        return self.fixed + self.mask * weight


def parametrize_with(model: nn.Module, fixed: Constraint) -> nn.Module:
    """Attach a constraint to a model in place, so that any optimiser keeps it.

    Afterwards `module.weight` is the effective weight and `module.parametrizations.weight.original` is the
    free one. Weight decay on the free weight pulls the effective weight towards F.
    """
    for name in fixed.D:
        owner, _, leaf = name.rpartition(".")
        module = model.get_submodule(owner)
        # unsafe: the parametrization is no projection, so assigning an effective weight cannot invert it.
        parametrize.register_parametrization(module, leaf, Affine(fixed.D[name], fixed.F[name]), unsafe=True)
    return model


def _gaussian(name: str, shape: torch.Size, mask_seed: int) -> Tensor:
    return torch.randn(shape, generator=generator(mask_seed, "fixed", name))


def _pinned_rows(name: str, shape: torch.Size, n_fix: int, sigma_F: float, mask_seed: int) -> tuple[Tensor, Tensor]:
    """Return (D, F) of one map: exactly n_fix pinned entries per row, no two rows alike."""
    rows, fan_in = shape
    _check_scale(sigma_F)
    if not 0 <= n_fix < fan_in:
        raise ValueError(
            f"n_fix of {name} must be at least 0 and below its fan-in {fan_in}, got {n_fix}: "
            "at least one entry of every row has to stay trainable"
        )
    if n_fix and comb(fan_in, n_fix) < rows:
        raise ValueError(
            f"{name} has {rows} rows but only {comb(fan_in, n_fix)} different masks with n_fix = {n_fix} of "
            f"{fan_in} entries: choose a larger n_fix"
        )
    source = generator(mask_seed, "mask", name)
    order = torch.rand(rows, fan_in, generator=source).argsort(dim=1)
    # Two rows with one mask could be exchanged (Theorem 1 asks for distinct rows), so later twins are redrawn.
    while n_fix and (twins := _later_twins(order[:, :n_fix])).numel():
        order[twins] = torch.rand(twins.numel(), fan_in, generator=source).argsort(dim=1)
    mask = torch.ones(rows, fan_in, dtype=torch.bool).scatter_(1, order[:, :n_fix], False)
    return mask, torch.where(mask, 0.0, sigma_F * _gaussian(name, shape, mask_seed))


def _later_twins(chosen: Tensor) -> Tensor:
    """Return the indices of rows whose set of entries already occurred further up."""
    _, group = chosen.sort(dim=1).values.unique(dim=0, return_inverse=True)
    first = torch.full((int(group.max()) + 1,), len(group)).scatter_reduce(0, group, torch.arange(len(group)), "amin")
    return (first[group] != torch.arange(len(group))).nonzero().squeeze(1)


def _check_lengths(maps: dict[str, Tensor], n_fix: Sequence[int], sigma_F: Sequence[float]) -> None:
    if not len(maps) == len(n_fix) == len(sigma_F):
        raise ValueError(
            f"n_fix and sigma_F need one number for each of the {len(maps)} linear maps ({', '.join(maps)}), "
            f"got {len(n_fix)} and {len(sigma_F)}"
        )


def _check_scale(sigma_F: float) -> None:
    if not 0 <= sigma_F < float("inf"):
        raise ValueError(f"sigma_F is a standard deviation and must be finite and 0 or larger, got {sigma_F}")


def tensor_hash(*groups: dict[str, Tensor]) -> str:
    """Return the SHA-256 over names and contents of groups of tensors."""
    digest = hashlib.sha256()
    for group in groups:
        for name, tensor in sorted(group.items()):
            digest.update(name.encode() + tensor.detach().contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()
