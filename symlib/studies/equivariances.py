"""Which linear maps activations commute with, and what that says about two-layer networks; by numbers, on random draws.

No network is trained here.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from symlib.asymmetry import Standard, constraint
from symlib.config import Config
from symlib.records import Record
from symlib.seeds import generator
from symlib.studies.checks import Rows, rows_of, run_checks
from symlib.theory.activations import ELEMENTWISE, Activation, figlu
from symlib.theory.equivariances import LARGEST, count_exact, next_best, reorderings, residuals
from symlib.theory.gates import is_rigid, linear_equivariances, parameters_with_one_input
from symlib.theory.generators import generator_spectrum
from symlib.theory.linear_search import search
from symlib.theory.nullity import nullity, spectrum

STUDY = "equivariances"
N_SAMPLES = 400
GATE_STDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
SEARCH_UNITS, SEARCH_SAMPLES = 3, 60
# Distances |A - I| at which the best A is searched: exchanges of two units are at 2, cycles of three at the root of 6.
RADII = (0.1, 0.5, 1.0, 1.7, 2.0, 2.2, 6**0.5, 3.0, 5.0)
SEARCHED = ("relu", "gelu", "tanh")
PLANTED = ((1.0, 6.0), (3.0, 2.0))  # distinct, none zero; and yet x -> (2 x_2, x_1 / 2) is an equivariance
# Of the networks of Lim et al.: units and standard deviation of the gates, which are Gaussian.
PAPER_GATES = {
    "MLP": (512, 1.0),
    "ResNet, narrowest stage": (16, 16**-0.5),
    "ResNet, widest stage": (64, 64**-0.5),
    "GNN": (256, 0.01 * 256**-0.5),
}
# From an independent program with random draws of its own: five units.
REFERENCE = {
    "generators": {"identity": 25, "relu": 5, "leaky relu": 5, "square": 5, "gelu": 0, "silu": 0, "tanh": 0}
    | {"figlu 0": 25, "figlu 1": 0, "figlu 1/sqrt d": 0, "figlu .01/sqrt d": 0},
    "smallest": {"figlu 1": 0.053, "figlu 1/sqrt d": 0.078, "figlu .01/sqrt d": 0.0019},
    "exact": {"relu": 120, "gelu": 120, "silu": 120, "figlu identity": 120}
    | {"figlu 1": 1, "figlu 1/sqrt d": 1, "figlu .01/sqrt d": 1},
    "next best": {"figlu 1": 0.49, "figlu 1/sqrt d": 0.21, "figlu .01/sqrt d": 3e-5},
}

SizedCheck = Callable[[int, torch.Generator], Rows]  # of so many units, searches from so many starts


class Equivariances(Config):
    """Parameters of one run; their meaning stands beside each in the notebook's parameters cell."""

    profile: Literal["quick", "cpu", "paper", "custom"]
    n_draws: Annotated[int, Field(ge=2)]
    units: Annotated[int, Field(ge=3, le=LARGEST)]
    n_starts: Annotated[int, Field(ge=len(RADII))]
    base_seed: int
    workers: Annotated[int, Field(ge=1)]
    out: str


def run(config: Equivariances) -> Record:
    """Run all checks, see `run_checks`."""
    sizes = dict.fromkeys(CHECKS, config.units) | {"searches": config.n_starts}
    checks = {name: partial(_checked, check, sizes[name], config.base_seed, name) for name, check in CHECKS.items()}
    return run_checks(STUDY, config, checks)


def _checked(check: SizedCheck, size: int, base_seed: int, name: str, draw: int) -> Rows:
    return check(size, generator(base_seed, name, draw))


def activations(F: Tensor) -> dict[str, Activation]:
    """Return elementwise activations, and FiGLU with multiples of a standard normal gate F and with special gates."""
    root = len(F) ** 0.5
    gates = {"1": F, "1/sqrt d": F / root, ".01/sqrt d": 0.01 * F / root, "0": 0 * F, "identity": torch.eye(len(F))}
    return ELEMENTWISE | {f"figlu {name}": figlu(gate.double()) for name, gate in gates.items()}


def generators(units: int, source: torch.Generator) -> Rows:
    """Return for each activation how many generators, of these diagonal ones, and the smallest singular value."""
    x, F = _normal(N_SAMPLES, units, source=source), _normal(units, units, source=source)
    rows = []
    for name, sigma in activations(F).items():
        values = generator_spectrum(sigma, x)
        rows += [
            (name, "generators", nullity(values)),
            (name, "diagonal", nullity(generator_spectrum(sigma, x, diagonal=True))),
            (name, "smallest", float(values[-1])),
        ]
    return rows


def gate_scale(units: int, source: torch.Generator) -> Rows:
    """Return how much is broken by the standard deviation of the gate, all of one draw."""
    x, F = _normal(N_SAMPLES, units, source=source), _normal(units, units, source=source)
    rows = []
    for std in GATE_STDS:
        sigma = figlu(std * F)
        rows += [
            ("smallest", f"{std:g}", float(generator_spectrum(sigma, x)[-1])),
            ("next best", f"{std:g}", next_best(residuals(sigma, x))),
        ]
    return rows


def exact_reorderings(units: int, source: torch.Generator) -> Rows:
    """Return for each activation how many reorderings it commutes with, without and with signs, and the next best."""
    x, F = _normal(N_SAMPLES, units, source=source), _normal(units, units, source=source)
    rows = []
    for name, sigma in activations(F).items():
        plain = residuals(sigma, x)
        rows += [
            (name, "exact", count_exact(plain)),
            (name, "next best", next_best(plain)),
            (name, "signed", count_exact(residuals(sigma, x[: N_SAMPLES // 4], signed=True))),
        ]
    return rows


def residuals_by_activation(units: int, source: torch.Generator) -> dict[str, np.ndarray]:
    """Return the residuals of all reorderings but the identity of GELU and three FiGLUs, for one draw."""
    x, F = _normal(N_SAMPLES, units, source=source), _normal(units, units, source=source)
    known = activations(F)
    return {n: residuals(known[n], x)[1:].numpy() for n in ("gelu", "figlu 1", "figlu 1/sqrt d", "figlu .01/sqrt d")}


def special_gates(F: Tensor) -> dict[str, Tensor]:
    """Return a Gaussian matrix F, shape (d, d), and ones made from it that lack what the statements assume."""
    gates = {"Gaussian": F, "circulant": torch.stack([F[0].roll(i) for i in range(len(F))])}
    gates["all equal"] = torch.ones_like(F)
    for name in ("two entries equal", "zero diagonal", "zero row", "zero column", "twins"):
        gates[name] = F.clone()
    gates["two entries equal"][0, 1] = F[2, 0]
    gates["zero diagonal"].fill_diagonal_(0)
    gates["zero row"][1] = 0
    gates["zero column"][:, 1] = 0
    gates["twins"][1] = gates["twins"][0]  # rows, and then columns
    gates["twins"][:, 1] = gates["twins"][:, 0]
    gates["scaled circulant"] = gates["circulant"] / (0.5 + torch.arange(len(F)))  # a factor for each column
    return gates | {"planted": torch.tensor(PLANTED, dtype=torch.float64)}


def gates(units: int, source: torch.Generator) -> Rows:
    """Return for each special gate how many reorderings, diagonal generators, generators, and linear maps there are.

    The last from the matrix alone, NaN where its rows are not as the characterisation needs them; and 1 as "rigid"
    where the certificate proves that there is none but the identity.
    """
    x, F = _normal(N_SAMPLES, units, source=source), _normal(units, units, source=source)
    rows = []
    for name, gate in special_gates(F).items():
        sigma, here = figlu(gate), x[:, : len(gate)]
        covered = name not in ("all equal", "zero row", "twins")
        rows += [
            (name, "reorderings", count_exact(residuals(sigma, here))),
            (name, "diagonal", nullity(generator_spectrum(sigma, here, diagonal=True))),
            (name, "generators", nullity(generator_spectrum(sigma, here))),
            (name, "linear", len(linear_equivariances(gate)) if covered else float("nan")),
            (name, "rigid", float(is_rigid(gate)) if covered else float("nan")),
        ]
    for name, (width, std) in PAPER_GATES.items():
        rows.append((name, "rigid", float(is_rigid(std * _normal(width, width, source=source)))))
    return rows


def searches(n_starts: int, source: torch.Generator) -> Rows:
    """Return what descents over all invertible maps find: how many kinds, and the least error by distance from I.

    Maps that differ by factors of their rows are one kind; "stray" is the largest entry beside the largest of a row.
    """
    d = SEARCH_UNITS
    x, F = _normal(SEARCH_SAMPLES, d, source=source), _normal(d, d, source=source)
    starts = _rotations(n_starts, d, source)
    radii = torch.tensor(RADII, dtype=torch.float64).repeat_interleave(-(-n_starts // len(RADII)))
    directions = _rotations(len(radii), d, source) - torch.eye(d)
    known = {name: ELEMENTWISE[name] for name in SEARCHED} | {"figlu 1": figlu(F)}
    rows = []
    for name, sigma in known.items():
        rows += _free(name, search(sigma, x, starts).kinds())
        held = search(sigma, x, directions, radii)
        error = torch.where(held.invertible, held.error, torch.inf).view(len(RADII), -1).amin(1)
        rows += [(name, f"least {radius:.3g}", float(least)) for radius, least in zip(RADII, error, strict=True)]
    planted = figlu(torch.tensor(PLANTED, dtype=torch.float64))
    return rows + _free("planted", search(planted, x[:, :2], starts[:, :2, :2]).kinds())


def _free(name: str, kinds: Tensor) -> Rows:
    stray = kinds.abs().sort(dim=2).values[:, :, -2].max() if len(kinds) else torch.tensor(torch.nan)
    return [(name, "kinds", len(kinds)), (name, "stray", float(stray))]


def parameters(units: int, source: torch.Generator) -> Rows:
    """Return whether other weights of W2 sigma(W1 x) give the same function: Proposition 1, and beyond its assumptions.

    "function" is the largest change of an answer relative to the largest answer, after the change of weights that
    suits best; "weights" the change of W1 relative to its norm.
    """
    x, F = _normal(N_SAMPLES, units, source=source), _normal(units, units, source=source)
    W1, W2 = _normal(2, units, units, source=source) / units**0.5
    gated, d = figlu(F), units
    every, signs = reorderings(d)[1:], torch.diag_embed(torch.tensor([[-1.0] + [1.0] * (d - 1)]).double())
    scale = torch.diag(0.5 + torch.rand(d, generator=source, dtype=torch.float64))[None]
    tried = {
        "relu, scaled": (torch.relu, scale),
        "gelu, reordered": (ELEMENTWISE["gelu"], every),
        "tanh, signs": (torch.tanh, signs),
        "figlu, scaled": (gated, scale),
        "figlu, reordered": (gated, every),
        "figlu, signs": (gated, signs),
    }
    rows = []
    for name, (sigma, maps) in tried.items():
        changes = [_best_change(sigma, W1, W2, A, x) for A in maps]
        moved = (maps @ W1 - W1).norm(dim=(1, 2)) / W1.norm()
        rows += [(name, "function", min(changes)), (name, "weights", float(moved.min()))]
    silent = W1.clone()
    silent[0] = 0
    for name, sigma, first, last in (
        ("relu", torch.relu, W1, W2),
        ("gelu", ELEMENTWISE["gelu"], W1, W2),
        ("figlu", gated, W1, W2),
        ("figlu, W1 singular", gated, silent, W2),
        ("figlu, W2 = 0", gated, W1, 0 * W2),
    ):
        rows.append((name, "nullity", _nullity(sigma, first, last, x)))
    w, other, read = W1[:, :1], *parameters_with_one_input(F, W1[:, 0], W2, torch.arange(d).roll(1))
    before, after = gated(x[:, :1] @ w.T) @ W2.T, gated(x[:, :1] @ other[None]) @ read.T
    rows.append(("figlu, one input", "function", float((after - before).abs().max() / before.abs().max())))
    return [*rows, ("figlu, one input", "weights", float((other - w[:, 0]).norm() / w.norm()))]


def _best_change(sigma: Activation, W1: Tensor, W2: Tensor, A: Tensor, x: Tensor) -> float:
    """Return the relative change of the function when A W1 replaces W1 and W2 follows as well as it can."""
    before, hidden = sigma(x @ W1.T) @ W2.T, sigma(x @ (A @ W1).T)
    after = hidden @ torch.linalg.lstsq(hidden, before).solution
    return float((after - before).abs().max() / before.abs().max())


class _Apply(nn.Module):
    def __init__(self, sigma: Activation) -> None:
        super().__init__()
        self.sigma = sigma

    def forward(self, x: Tensor) -> Tensor:
        return self.sigma(x)


def _nullity(sigma: Activation, W1: Tensor, W2: Tensor, x: Tensor) -> int:
    d = len(W1)
    model = nn.Sequential(nn.Linear(d, d, bias=False), _Apply(sigma), nn.Linear(d, d, bias=False))
    fixed = constraint(model, Standard(), 0)
    return nullity(spectrum(model, fixed, {"0.weight": W1, "2.weight": W2}, x))


CHECKS: dict[str, SizedCheck] = {
    "generators": generators,
    "gate scale": gate_scale,
    "reorderings": exact_reorderings,
    "gates": gates,
    "searches": searches,
    "parameters": parameters,
}


def quantities(record: Record) -> dict[str, np.ndarray]:
    """Return vectors with one value per draw, such as "generators/figlu 1/smallest": check, variant, what."""
    return {
        f"{check}/{variant}/{what}": table[variant, what].to_numpy()
        for check in CHECKS
        for table in [rows_of(record, check)]
        for variant, what in table
    }


def _rotations(n: int, d: int, source: torch.Generator) -> Tensor:
    """Return uniformly random rotations and reflections, which are farther from singular matrices than others."""
    Q, R = torch.linalg.qr(_normal(n, d, d, source=source))
    return Q * R.diagonal(dim1=1, dim2=2).sign()[:, None]  # without the signs, LAPACK returns a few octants only


def _normal(*shape: int, source: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=source, dtype=torch.float64)
