"""Structural asymmetry as an affine constraint W_eff = F + D * W with fixed D and F.

A constrained network is an ordinary module that holds its *effective* weights; the constraint says which
entries are pinned (D = 0) and where weight decay pulls the others (F). What training does with it is in
`training.py`; the papers' numbers are in `presets.py`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils import parametrize

from symlib.figlu import FiGLU
from symlib.masks import pinned_mask
from symlib.networks.mlp import Activation, gelu
from symlib.seeds import generator

# Weight matrices of these would silently keep their symmetries.
UNSUPPORTED = (nn.RNNBase, nn.RNNCellBase, nn.Bilinear, nn.modules.conv._ConvTransposeNd)


@dataclass(frozen=True)
class Standard:
    """No intervention: D = 1, F = 0."""


@dataclass(frozen=True)
class WAsymmetry:
    """Pin `n_fix` random entries of every row of every linear map to Gaussian constants.

    A row is what feeds one output unit or channel. Where all its entries are pinned the map is constant, and its rows
    differ by their constants only; that is allowed for sigma_F > 0 (the stem of the papers' wide ResNet).

    Attributes:
        n_fix: Pinned entries per row, for all linear maps or one number for each in the order of `linear_maps`.
        sigma_F: Standard deviation of the constants, likewise; 0 gives fixed sparsity.
        whole_filters: Count whole kernels of a convolution instead of entries.

    Source: Lim et al. (2024), sections 4.1 and 4.3, equation 2; sigma_F is their kappa.
    """

    n_fix: int | Sequence[int]
    sigma_F: float | Sequence[float]
    whole_filters: bool = False


@dataclass(frozen=True)
class Syre:
    """Add a fixed Gaussian tensor of standard deviation `sigma_F` to every trainable linear map.

    Source: Ziyin et al. (2025), static shift; Bürgin et al. (2026).
    """

    sigma_F: float


@dataclass(frozen=True)
class LinearResidual:
    """Add `scale` times the identity to every linear map, so that weight decay pulls there.

    A convolution gets the identity at the centre of its kernel; a map that is not square as much of it as fits.
    """

    scale: float


@dataclass(frozen=True)
class FixedBiases:
    """Replace the biases of all norms, or of the hidden linear maps if there are none, by constants in [-bound, bound].

    Attributes:
        bound: Largest constant.
        grid: Evenly spaced over the units of a layer, else drawn uniformly. The paper does not say which.

    Source: Lim et al. (2024), appendix E.3 and Table 9.
    """

    bound: float
    grid: bool = True


@dataclass(frozen=True)
class Sigma:
    """Replace every activation by FiGLU.

    Attributes:
        gate_std: Standard deviation of the entries of the gate.
        by_width: Divide it by the square root of the units.

    Source: Lim et al. (2024), section 4.2; the scales by network are in appendix F and in their code.
    """

    gate_std: float
    by_width: bool = False


Asymmetry = Standard | WAsymmetry | Syre | LinearResidual | FixedBiases | Sigma


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


def activation_for(
    asymmetry: Asymmetry, mask_seed: int, otherwise: Activation = gelu, images: bool = False
) -> Activation:
    """Return what makes the activations of a network: FiGLU gates for sigma-asymmetry, else the usual ones.

    Args:
        asymmetry: Which intervention.
        mask_seed: Seed of the gates; each position has its own.
        otherwise: Used for every other asymmetry.
        images: Channels are on axis 1, as in convolutional networks.
    """
    if not isinstance(asymmetry, Sigma):
        return otherwise

    def gate(site: int, width: int) -> FiGLU:
        std = asymmetry.gate_std / (width**0.5 if asymmetry.by_width else 1)
        return FiGLU(width, std, generator(mask_seed, "gate", site), images)

    return gate


def linear_maps(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights of all linear maps by name, in the order in which the model registers them.

    Linear and convolution layers, and the packed or separate input projections of attention. Embeddings, class tokens
    and norms are no linear maps of units and are left alone.

    Raises:
        ValueError: If a layer is of a kind whose rows are laid out differently, or two layers share a weight.
    """
    refuse_shared_weights(model)
    maps = {}
    for at, module in model.named_modules():
        if isinstance(module, UNSUPPORTED):
            raise ValueError(
                f"{at} is a {type(module).__name__}; only linear and convolution layers can be constrained"
            )
        leaves = ["weight"] if isinstance(module, nn.Linear | nn.modules.conv._ConvNd) else []
        if isinstance(module, nn.MultiheadAttention):
            leaves = ["in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"]
        maps |= {
            f"{at}.{leaf}" if at else leaf: getattr(module, leaf)
            for leaf in leaves
            if getattr(module, leaf) is not None
        }
    return maps


def refuse_shared_weights(model: nn.Module) -> None:
    """Raise an error if one parameter has two names.

    Raises:
        ValueError: Naming both; a mask or a reordering for one would silently act on the other.
    """
    names: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if id(parameter) in names:
            raise ValueError(
                f"{names[id(parameter)]} and {name} are one shared parameter; networks with shared weights are not "
                "supported: give each layer its own"
            )
        names[id(parameter)] = name


def statistics(model: nn.Module) -> dict[str, Tensor]:
    """Return the buffers that training changes: the running statistics of BatchNorm layers, by name."""
    return {
        f"{at}.{leaf}" if at else leaf: buffer
        for at, module in model.named_modules()
        if isinstance(module, _NormBase)
        for leaf, buffer in module.named_buffers(recurse=False)
    }


def constraint(model: nn.Module, asymmetry: Asymmetry, mask_seed: int) -> Constraint:
    """Draw the fixed side of a model.

    D and F depend on `mask_seed`, the name and the shape of a weight alone. Masks are nested in n_fix, rows redrawn
    as twins apart, and constants do not depend on it, so that sweeps over n_fix and sigma_F are paired.

    Args:
        model: Any module made of linear and convolution layers, norms and whatever has no weights.
        asymmetry: Which intervention.
        mask_seed: Seed of D and F, independent of initialisation seeds.

    Raises:
        ValueError: If the numbers of the asymmetry do not fit the model, or the model has layers that cannot be
            constrained.

    Source: Lim et al. (2024), sections 4.1 and 4.3, appendices E.3 and F; Bürgin et al. (2026), equation for W_eff.
    """
    pairs = _fixed_side(model, asymmetry, mask_seed)
    D = {name: mask for name, (mask, _) in pairs.items()}
    F = {name: fixed for name, (_, fixed) in pairs.items()}
    # Gates and graphs; not what training changes, nor what a parametrization of the same constraint has registered.
    changing = statistics(model)
    fixed = {n: b for n, b in model.named_buffers() if n not in changing and "parametrizations" not in n}
    return Constraint(D, F, tensor_hash(D, F, fixed)[:16])


def _fixed_side(model: nn.Module, asymmetry: Asymmetry, mask_seed: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Return name -> (D, F) of every tensor that has a fixed side."""
    refuse_shared_weights(model)
    maps = {} if isinstance(asymmetry, Standard | Sigma) else linear_maps(model)  # those two take any layers
    match asymmetry:
        case WAsymmetry(n_fix, sigma_F, whole_filters):
            counts, scales = _for_each(maps, n_fix, "n_fix"), _for_each(maps, sigma_F, "sigma_F")
            return {
                name: _pinned(name, weight.shape, counts[name], scales[name], whole_filters, mask_seed)
                for name, weight in maps.items()
            }
        case Syre(sigma_F):
            _check_scale(sigma_F)
            shifts = {name: sigma_F * _gaussian(name, w.shape, mask_seed) for name, w in maps.items()}
        case LinearResidual(scale):
            if not abs(scale) < float("inf"):
                raise ValueError(f"scale of the linear residual must be finite, got {scale}")
            shifts = {name: scale * _identity(w.shape) for name, w in maps.items()}
        case FixedBiases(bound, grid):
            return {
                name: (torch.zeros(b.shape, dtype=torch.bool), _constants(name, len(b), bound, grid, mask_seed))
                for name, b in hidden_shifts(model).items()
            }
        case _:
            shifts = {}
    return {name: (torch.ones(shift.shape, dtype=torch.bool), shift) for name, shift in shifts.items()}


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
        weight = getattr(module, leaf)
        affine = Affine(fixed.D[name].to(weight.device), fixed.F[name].to(weight))
        parametrize.register_parametrization(module, leaf, affine, unsafe=True)
    return model


def _pinned(
    name: str, shape: torch.Size, n_fix: int, sigma_F: float, whole_filters: bool, mask_seed: int
) -> tuple[Tensor, Tensor]:
    """Return (D, F) of one map: n_fix pinned entries or filters per row, no two rows alike."""
    _check_scale(sigma_F)
    mask = pinned_mask(name, shape, n_fix, whole_filters, mask_seed)
    if not mask.any() and sigma_F == 0:
        raise ValueError(f"n_fix = {n_fix} pins all of {name} to 0, which cuts the network: choose a smaller n_fix")
    return mask, torch.where(mask, 0.0, sigma_F * _gaussian(name, shape, mask_seed))


def _gaussian(name: str, shape: torch.Size, mask_seed: int) -> Tensor:
    return torch.randn(shape, generator=generator(mask_seed, "fixed", name))


def _identity(shape: torch.Size) -> Tensor:
    rows, inputs, *kernel = shape
    eye = torch.zeros(shape)
    eye[(slice(None), slice(None), *[side // 2 for side in kernel])] = torch.eye(rows, inputs)
    return eye


def hidden_shifts(model: nn.Module) -> dict[str, Tensor]:
    """Return the biases of all norms by name, or of all linear maps but the last registered if no norm has one.

    Raises:
        ValueError: If there is neither.
    """
    norms = (nn.LayerNorm, nn.GroupNorm, _NormBase)
    owned = {
        f"{at}.bias": module.bias
        for at, module in model.named_modules()
        if isinstance(module, norms) and module.bias is not None
    }
    *hidden, _ = linear_maps(model)
    named = dict(model.named_parameters())
    owned = owned or {b: named[b] for w in hidden if (b := w.removesuffix("weight") + "bias") in named}
    if not owned:
        raise ValueError("the model has no biases of hidden units, neither of norms nor of linear maps")
    return owned


def _constants(name: str, n: int, bound: float, grid: bool, mask_seed: int) -> Tensor:
    if not 0 < bound < float("inf"):
        raise ValueError(f"bound must be positive and finite, got {bound}")
    spread = torch.linspace(-1, 1, n) if grid else 2 * torch.rand(n, generator=generator(mask_seed, "bias", name)) - 1
    return bound * spread


def _for_each(maps: dict[str, Tensor], values: float | Sequence[float], what: str) -> dict[str, float]:
    """Return name -> value from one number for all maps or a list with one for each."""
    if isinstance(values, int | float):
        return dict.fromkeys(maps, values)
    if len(maps) != len(values):
        raise ValueError(
            f"{what} needs one number for each of the {len(maps)} linear maps ({', '.join(maps)}), got {len(values)}"
        )
    return dict(zip(maps, values, strict=True))


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
