"""What symmetry is left in small networks: continuous directions by nullity, and known transformations by trying them.

No network is trained here. Sizes are those of the independent check whose numbers stand in `REFERENCE`.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import grad

from symlib.alignment.tracing import specification
from symlib.asymmetry import (
    Asymmetry,
    Constraint,
    FixedBiases,
    Sigma,
    Standard,
    Syre,
    WAsymmetry,
    activation_for,
    constraint,
)
from symlib.config import Config
from symlib.networks.mlp import MLP, Activation, gelu, relu
from symlib.population import initialise
from symlib.records import Record
from symlib.seeds import generator, seed
from symlib.studies.checks import Rows, rows_of, run_checks
from symlib.theory.nullity import RANK, jacobian, nullity, spectrum
from symlib.theory.symmetries import (
    VERDICTS,
    Outcome,
    Transformation,
    flipped,
    outcome,
    penalty,
    reordered,
    rescaled,
    scaled_before_norm,
    shifted_before_norm,
)

STUDY = "remaining_symmetries"
LARGE, SMALL = (8, 10, 10, 4), (6, 7, 7, 3)
N_INPUTS = 200
ROUNDING = 1e-13  # relative singular values below are zero, and not merely small
SCALES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


class Half(nn.Module):
    """The linear activation x/2, which is what FiGLU becomes for a small gate."""

    def forward(self, x: Tensor) -> Tensor:
        """Halve x."""
        return x / 2


def leaky(site: int, width: int) -> nn.Module:
    """Return leaky ReLU: positively homogeneous, and no unit is ever silent."""
    return nn.LeakyReLU(0.1)


def half(site: int, width: int) -> nn.Module:
    """Return the linear activation."""
    return Half()


def tanh(site: int, width: int) -> nn.Module:
    """Return tanh, the odd activation."""
    return nn.Tanh()


# Name -> sizes, activation, LayerNorm, intervention.
NETWORKS: dict[str, tuple[tuple[int, ...], Activation, bool, Asymmetry]] = {
    "standard": (LARGE, leaky, False, Standard()),
    "w-asym 0": (LARGE, leaky, False, WAsymmetry(2, 0.0)),
    "w-asym 1": (LARGE, leaky, False, WAsymmetry(2, 1.0)),
    "w-asym 0.03": (LARGE, leaky, False, WAsymmetry(2, 0.03)),
    "layer norm": (LARGE, leaky, True, Standard()),
    "sigma-asym 1": (SMALL, leaky, False, Sigma(1.0)),
    "linear": (SMALL, half, False, Standard()),
    "linear, w-asym 1": (SMALL, half, False, WAsymmetry(2, 1.0)),
    "syre 1": (LARGE, leaky, False, Syre(1.0)),
    "gelu": (LARGE, gelu, False, Standard()),
    "gelu, w-asym 0": (LARGE, gelu, False, WAsymmetry(2, 0.0)),
    "layer norm, w-asym 1": (LARGE, leaky, True, WAsymmetry(2, 1.0)),
}
# From an independent program with random draws of its own.
REFERENCE = {
    "standard": 20,
    "w-asym 0": 20,
    "w-asym 1": 0,
    "w-asym 0.03": 0,
    "layer norm": 19,
    "sigma-asym 1": 0,
    "linear": 94,
    "linear, w-asym 1": 60,
}
INTERVENTIONS: dict[str, Asymmetry] = {
    "standard": Standard(),
    "w-asym 0": WAsymmetry(2, 0.0),
    "w-asym 1": WAsymmetry(2, 1.0),
    "sigma-asym 1": Sigma(1.0),
    "syre 1": Syre(1.0),
    "fixed biases 1": FixedBiases(1.0),
}
# Name -> activation and norm of the standard network that has the symmetry, and the transformation.
SYMMETRIES: dict[str, tuple[Activation, str, Transformation | None]] = {
    "order of units": (gelu, "none", None),  # needs the specification of the network
    "scale of a unit (ReLU)": (relu, "none", rescaled),
    "sign of a unit (tanh)": (tanh, "none", flipped),
    "scale before LayerNorm": (gelu, "layer", scaled_before_norm),
    "shift before LayerNorm": (gelu, "layer", shifted_before_norm),
}


class RemainingSymmetries(Config):
    """Parameters of one run; their meaning stands beside each in the notebook's parameters cell."""

    profile: Literal["quick", "cpu", "paper", "custom"]
    n_draws: Annotated[int, Field(ge=2)]
    base_seed: int
    workers: Annotated[int, Field(ge=1)]
    out: str


def run(config: RemainingSymmetries) -> Record:
    """Run all checks on all networks, see `run_checks`."""
    return run_checks(
        STUDY, config, {name: partial(_checked, check, config.base_seed) for name, check in CHECKS.items()}
    )


def _checked(check: Callable[[int], Rows], base_seed: int, draw: int) -> Rows:
    return check(seed(base_seed, STUDY, draw))


def mlp_without_biases(widths: tuple[int, ...], activation: Activation, layer_norm: bool) -> nn.Sequential:
    """Return a perceptron in float64 without any biases, so that every trainable entry is one of a linear map."""
    *hidden, last = pairwise(widths)
    parts: list[nn.Module] = []
    for site, (i, o) in enumerate(hidden):
        parts += [nn.Linear(i, o, bias=False), *([nn.LayerNorm(o, elementwise_affine=False)] if layer_norm else [])]
        parts.append(activation(site, o))
    return nn.Sequential(*parts, nn.Linear(*last, bias=False)).double()


def drawn(model: nn.Module, asymmetry: Asymmetry, draw_seed: int) -> tuple[Constraint, dict[str, Tensor]]:
    """Return the fixed side of a model and the weights of a random network that meets it, both in float64."""
    fixed = constraint(model, asymmetry, draw_seed).to(torch.zeros(1, dtype=torch.float64))
    return fixed, next(initialise(model, fixed, [draw_seed], "normal").members())


def inputs(n_features: int, draw_seed: int) -> Tensor:
    """Return Gaussian inputs in float64, shape (N_INPUTS, n_features)."""
    return torch.randn(N_INPUTS, n_features, generator=generator(draw_seed, "inputs"), dtype=torch.float64)


def network_spectrum(name: str, draw_seed: int) -> tuple[Tensor, Constraint]:
    """Return the relative singular values of one draw of an entry of `NETWORKS`, and its fixed side."""
    widths, activation, layer_norm, asymmetry = NETWORKS[name]
    model = mlp_without_biases(widths, activation_for(asymmetry, draw_seed, activation), layer_norm)
    fixed, weights = drawn(model, asymmetry, draw_seed)
    return spectrum(model, fixed, weights, inputs(widths[0], draw_seed)), fixed


def scalings_and_silent(fixed: Constraint) -> int:
    """Return the symmetries that zeros leave: a scaling for each unit, or all of its row if no output can see it.

    Masks of distinct rows may still pin all that leaves a unit. Its row is free then, and has no scaling to spare.
    """
    *hidden, readout = fixed.D.values()
    seen, found = readout.any(dim=0), 0
    for mask in reversed(hidden):
        found += int(torch.where(seen, 1, mask.sum(dim=1)).sum())
        seen = mask[seen].any(dim=0)
    return found


def nullities(draw_seed: int) -> Rows:
    """Return for each network its trainable entries, nullity, exact nullity and smallest other singular value.

    Moreover what to expect with zeros, and with LayerNorm: the columns of hidden maps in which nothing is pinned, each
    free to be shifted.
    """
    rows = []
    for name in NETWORKS:
        values, fixed = network_spectrum(name, draw_seed)
        rows += [
            (name, "trainable", len(values)),
            (name, "nullity", nullity(values)),
            (name, "exact", nullity(values, ROUNDING)),
            (name, "smallest", float(values[values >= ROUNDING].min())),
        ]
        if name == "w-asym 0":
            rows.append((name, "expected", scalings_and_silent(fixed)))
        if name == "layer norm, w-asym 1":
            *hidden, _ = fixed.D.values()
            rows.append((name, "expected", float(sum(mask.all(dim=0).sum() for mask in hidden))))
    return rows


def brokenness(draw_seed: int) -> Rows:
    """Return the smallest relative singular value by the scale of fixed weights, and of gates."""
    rows = []
    for scale in SCALES:
        for kind, asymmetry in (("w-asym", WAsymmetry(2, scale)), ("sigma-asym", Sigma(scale))):
            model = mlp_without_biases(LARGE, activation_for(asymmetry, draw_seed, leaky), False)
            fixed, weights = drawn(model, asymmetry, draw_seed)
            values = spectrum(model, fixed, weights, inputs(LARGE[0], draw_seed))
            rows.append((kind, f"{scale:g}", float(values[-1])))
    return rows


def decay(draw_seed: int) -> Rows:
    """Return how steeply the penalty of weight decay changes along continuous symmetries, by intervention.

    The part of its gradient within the null space, relative to the whole gradient: 0 if decay cannot see the symmetry.
    """
    rows = []
    for name in ("standard", "syre 1"):
        widths, activation, layer_norm, asymmetry = NETWORKS[name]
        model = mlp_without_biases(widths, activation, layer_norm)
        fixed, weights = drawn(model, asymmetry, draw_seed)
        _, values, directions = torch.linalg.svd(
            jacobian(model, fixed, weights, inputs(widths[0], draw_seed)), full_matrices=False
        )
        flat = directions[values < RANK * values[0]]
        slope = torch.cat([g.flatten() for g in grad(partial(penalty, fixed))(weights).values()])
        rows.append((name, "slope", float((flat @ slope).norm() / slope.norm())))
    return rows


def transformed(symmetry: str, intervention: str, draw_seed: int) -> Outcome:
    """Apply a transformation to a random network that meets its constraint."""
    activation, norm, transformation = SYMMETRIES[symmetry]
    asymmetry, x = INTERVENTIONS[intervention], inputs(LARGE[0], draw_seed)
    model = _network(activation_for(asymmetry, draw_seed, activation), norm)
    fixed, weights = drawn(model, asymmetry, draw_seed)
    # From the standard network: gated units cannot be reordered, which is what is to be seen here.
    act = transformation or reordered(specification(_network(activation, norm), x[:2]))
    return outcome(model, fixed, weights, act(weights, generator(draw_seed, symmetry)), x)


def _network(activation: Activation, norm: str) -> MLP:
    model = MLP(LARGE, activation, norm).double()
    for layer in model.norms:
        layer.eps = 0.0  # the scale before a LayerNorm is an exact symmetry only without it
    return model


def transformations(draw_seed: int) -> Rows:
    """Return what every transformation does to a network of every intervention."""
    rows = []
    for symmetry in SYMMETRIES:
        for intervention in INTERVENTIONS:
            found = transformed(symmetry, intervention, draw_seed)
            cell = f"{symmetry}/{intervention}"
            rows += [(cell, "pinned", found.pinned), (cell, "function", found.function), (cell, "decay", found.decay)]
    return rows


CHECKS: dict[str, Callable[[int], Rows]] = {
    "nullities": nullities,
    "brokenness": brokenness,
    "decay": decay,
    "transformations": transformations,
}


def verdicts(record: Record) -> pd.DataFrame:
    """Return what is left of each symmetry under each intervention: one row per symmetry, one column per intervention.

    Raises:
        ValueError: If draws of one cell disagree.
    """
    found = rows_of(record, "transformations")
    table = pd.DataFrame(index=list(SYMMETRIES), columns=list(INTERVENTIONS), dtype=object)
    for symmetry in SYMMETRIES:
        for intervention in INTERVENTIONS:
            cell = found[f"{symmetry}/{intervention}"]
            said = {Outcome(row.pinned, row.function, row.decay).verdict for row in cell.itertuples()}
            if len(said) > 1:
                raise ValueError(f"draws disagree about {symmetry} under {intervention}: {', '.join(sorted(said))}")
            table.loc[symmetry, intervention] = said.pop()
    return table


def quantities(record: Record) -> dict[str, np.ndarray]:
    """Return vectors with one value per draw.

    Numbers of `nullities` such as "nullity/standard"; "smallest/w-asym/0.1" of the sweeps; "slope/standard" of decay;
    and "kept/SYMMETRY/INTERVENTION", 2 where a symmetry is kept for nothing, 1 where it costs decay, 0 where it is
    broken.
    """
    table = rows_of(record, "nullities")
    found = {f"{what}/{name}": table[name, what].to_numpy() for name, what in table}
    for name in ("w-asym 0", "layer norm, w-asym 1"):
        found[f"excess/{name}"] = found[f"nullity/{name}"] - found[f"expected/{name}"]
    for check, label in (("brokenness", "smallest/{}/{}"), ("decay", "{1}/{0}")):
        swept = rows_of(record, check)
        found |= {label.format(*column): swept[column].to_numpy() for column in swept}
    tried = rows_of(record, "transformations")
    for name in dict.fromkeys(tried.columns.get_level_values(0)):
        outcomes = [Outcome(row.pinned, row.function, row.decay).verdict for row in tried[name].itertuples()]
        found[f"kept/{name}"] = np.array([max(0, 2 - VERDICTS.index(v)) for v in outcomes], dtype=float)
    return found
