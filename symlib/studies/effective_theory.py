"""The theory of neuron identifiability by numbers: every statement against a random layer that it should hold for.

No network is trained here. Widths and dimensions are those of the independent check whose numbers stand in `REFERENCE`.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from symlib import records
from symlib.config import Config
from symlib.effective.anisotropy import anisotropies, anisotropy_bound
from symlib.effective.centres import centre_spacing, centre_swap_costs
from symlib.effective.chord import chord_deviation, fixed_size
from symlib.effective.costs import realization_costs, swap_costs
from symlib.effective.identifiability import identifiability_gap, predicted_matching
from symlib.effective.input_permutations import input_change, transposition_changes
from symlib.effective.subspace import Subspace
from symlib.records import Record
from symlib.seeds import generator
from symlib.studies.shards import joined_facts, run_shards

STUDY = "effective_theory"
N_NEURONS, N_INPUTS, N_FIX = 64, 512, 64
TRAINABLE = 1 - N_FIX / N_INPUTS
N_MASKS, MASK_DIMENSION, DELTA = 400, 16, 0.05  # of the check of anisotropy
COPIES = (1, 2, 4, 8, 16, 32)
TRAINED = (0.0, 0.05, 0.2, 1.0)  # standard deviations of trainable entries beside fixed ones of 1
WIDTHS = (16, 32, 64, 128, 256, 512, 1024)
DIMENSIONS = (1, 2, 4, 8, 32)
BETAS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
SMALL_BETAS = 5  # the first so many show the power law
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu, "gelu": F.gelu}
POWERS = {"relu": 1.5, "gelu": 2.0}
SCALES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
GAP_DIMENSIONS = (2, 8, 32)
# From an independent program with random draws of its own.
REFERENCE = {
    "anisotropy": {"random": 0.122, "axes": 0.776},
    "correlation": dict(zip(TRAINED, (0.998, 0.995, 0.948, 0.561), strict=True)),
    "ratio": dict(zip(TRAINED, (1.04, 1.05, 1.05, 1.20), strict=True)),
    "spacing": {2: -1.005, 4: -0.510, 8: -0.269, 32: -0.092},
    "chord": dict(zip(BETAS, (1.9e-4, 5.7e-4, 2.1e-3, 5.9e-3, 1.6e-2, 6.6e-2, 0.17, 0.40), strict=True)),
    "slope": {"relu": 1.48},
}

Rows = list[tuple[str, float, float]]  # variant, what is varied, value


class EffectiveTheory(Config):
    """Parameters of one run; their meaning stands beside each in the notebook's parameters cell."""

    profile: Literal["quick", "cpu", "paper", "custom"]
    n_repeats: Annotated[int, Field(ge=2)]
    base_seed: int
    workers: Annotated[int, Field(ge=1)]
    out: str


def run(config: EffectiveTheory) -> Record:
    """Run all checks, one shard a repeat; with `config.out` set, a killed run goes on where it stopped.

    Returns:
        A record with columns check, variant, x (what is varied), repeat and value.
    """
    out = Path(config.out) if config.out else None
    work = {
        f"repeat-{repeat:03d}": (
            {"base_seed": config.base_seed, "repeat": repeat},
            partial(measure, config.base_seed, repeat),
        )
        for repeat in range(config.n_repeats)
    }
    parts = run_shards(work, out and out / "shards", config.workers, len(CHECKS))
    table = pd.concat([part.table for part in parts], ignore_index=True)
    record = records.make(STUDY, config.model_dump(exclude={"out"}), table, joined_facts(parts, "cpu"))
    if out is not None:
        records.write(out / "record", record)
    return record


def measure(base_seed: int, repeat: int, folder: Path | None, tick: Callable[[], None]) -> Record:
    """Run every check once; `folder` is not used, since a repeat takes seconds."""
    started = time.perf_counter()
    rows = []
    for check, rows_of in CHECKS.items():
        found = rows_of(generator(base_seed, check, repeat))
        rows += [{"check": check, "variant": v, "x": x, "repeat": repeat, "value": value} for v, x, value in found]
        tick()
    facts = {"compute_s": round(time.perf_counter() - started, 1)}
    return records.make(STUDY, {"base_seed": base_seed, "repeat": repeat}, pd.DataFrame(rows), facts)


def random_subspace(k: int, source: torch.Generator, d: int = N_INPUTS) -> Subspace:
    """Return a subspace whose direction is uniformly random, of inputs of d features."""
    return Subspace(torch.linalg.qr(_normal(d, k, source=source)).Q, 1.0)


def random_layer(sigma_F: float, trained: float, source: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return W, D and F of a W-asymmetric layer whose trainable entries have standard deviation `trained`."""
    D = torch.rand(N_NEURONS, N_INPUTS, generator=source).argsort(1) >= N_FIX
    constants, free = (_normal(N_NEURONS, N_INPUTS, source=source) for _ in range(2))
    fixed = torch.where(D, 0.0, sigma_F * constants)
    return fixed + D * trained * free, D, fixed


def identities(source: torch.Generator) -> Rows:
    """Return by how much equalities fail, relative to the largest number in them."""
    plane = random_subspace(8, source)
    U = plane.basis
    W, D, fixed = random_layer(1.0, 0.1, source)
    A, V, ones = W @ U, fixed @ U, torch.ones_like(D)
    cost = realization_costs(W, D, fixed, plane).cost
    smallest = torch.stack(
        [(torch.linalg.pinv(U.T * d) @ (A - v).T).square().sum(0) for d, v in zip(D, V, strict=True)]
    )
    grams = torch.stack([U[d].T @ U[d] for d in D])
    shifted = W + _normal(*W.shape, source=source)  # a dense layer with the shift W
    syre = swap_costs(realization_costs(shifted, ones, W, plane).cost)
    closed = 2 * ((shifted @ U)[:, None] - shifted @ U).mul((W @ U)[:, None] - W @ U).sum(-1)
    order = torch.arange(N_INPUTS)
    order[[3, 5]] = order[[5, 3]]
    pairs = {
        "least norm": (cost, smallest),
        "frozen rows": (torch.eye(8).double() - torch.stack([U[~d].T @ U[~d] for d in D]), grams),
        "standard": (swap_costs(realization_costs(W, ones, 0 * W, plane).cost), torch.zeros_like(cost)),
        "syre": (syre, closed),
        "exchanged inputs": (
            torch.tensor(input_change(plane, fixed, order), dtype=torch.float64),
            transposition_changes(plane, fixed)[3, 5],
        ),
    }
    return [(name, 0.0, _difference(one, other)) for name, (one, other) in pairs.items()]


def anisotropy(source: torch.Generator) -> Rows:
    """Return mean anisotropy, bound and number of exceptions of 400 masks, on subspaces of known coherence.

    A random subspace, whose coherence is another one in each repeat, stands at 0.
    """
    D = torch.rand(N_MASKS, N_INPUTS, generator=source) < TRAINABLE
    planes = {("random", 0.0): random_subspace(MASK_DIMENSION, source).basis}
    # So many copies of the coordinate axes, over as many sets of inputs: the coherence is one over their number.
    for n in COPIES:
        planes["copies", 1 / n] = torch.zeros(N_INPUTS, MASK_DIMENSION, dtype=torch.float64)
        planes["copies", 1 / n][: n * MASK_DIMENSION] = torch.eye(MASK_DIMENSION).repeat(n, 1) / n**0.5
    rows = []
    for (family, x), U in planes.items():
        plane = Subspace(U, 1.0)
        found, bound = anisotropies(D, plane, TRAINABLE), anisotropy_bound(D, plane.coherence, MASK_DIMENSION, DELTA)
        measured = {
            "coherence": plane.coherence,
            "mean": float(found.mean()),
            "bound": bound,
            "exceptions": float((found > bound).sum()),
        }
        rows += [(f"{family} {what}", x, value) for what, value in measured.items()]
    return rows


def centre_pairs(trained: float, source: torch.Generator) -> Tensor:
    """Return exact and centre-dominated swap costs of all pairs of a layer, shape (2, pairs)."""
    W, D, fixed = random_layer(1.0, trained, source)
    plane = random_subspace(32, source)
    pairs = torch.triu_indices(N_NEURONS, N_NEURONS, 1)
    exact = swap_costs(realization_costs(W, D, fixed, plane).cost)
    return torch.stack([exact[*pairs], centre_swap_costs(fixed @ plane.basis, TRAINABLE)[*pairs]])


def centres(source: torch.Generator) -> Rows:
    """Return correlation and mean ratio of exact and approximate swap costs, by how much is trained."""
    rows = []
    for trained in TRAINED:
        exact, approximate = pairs = centre_pairs(trained, source)
        rows += [
            ("correlation", trained, float(torch.corrcoef(pairs)[0, 1])),
            ("ratio", trained, float((exact / approximate).mean())),
        ]
    return rows


def spacing(source: torch.Generator) -> Rows:
    """Return the spacing of Gaussian centres by dimension and width."""
    return [(str(k), m, centre_spacing(_normal(m, k, source=source))) for k in DIMENSIONS for m in WIDTHS]


def chord(source: torch.Generator) -> Rows:
    """Return the largest chord deviation of a layer over the line, relative to its fixed part."""
    plane = random_subspace(16, source, d=N_NEURONS)
    x = _normal(2000, 16, source=source) @ plane.basis.T
    fixed, a, b = _normal(3, N_NEURONS, N_NEURONS, source=source)
    size, lambdas = fixed_size(fixed, x), torch.linspace(0, 1, 11)
    return [
        (name, beta, float(chord_deviation(fixed + beta * a, fixed + beta * b, x, eta, lambdas).max() / size))
        for name, eta in ACTIVATIONS.items()
        for beta in BETAS
    ]


def gap(source: torch.Generator) -> Rows:
    """Return the gap of a layer and how it matches with another run, by dimension and scale of the fixed weights.

    Trainable entries are as large as at the start of training; the draws of one dimension differ in scale alone.
    """
    rows = []
    for k in GAP_DIMENSIONS:
        plane = random_subspace(k, source)
        draws = source.get_state()
        for sigma_F in SCALES:
            source.set_state(draws)
            W, D, fixed = random_layer(sigma_F, N_INPUTS**-0.5, source)
            other = fixed + D * N_INPUTS**-0.5 * _normal(*W.shape, source=source)
            cost = realization_costs(W, D, fixed, plane).cost
            matched = predicted_matching(realization_costs(other, D, fixed, plane).cost)
            least = swap_costs(cost).fill_diagonal_(torch.inf).min()
            rows += [
                (f"gap {k}", sigma_F, identifiability_gap(cost).gap),
                (f"exchange {k}", sigma_F, float(least)),
                (f"matched {k}", sigma_F, float((matched == torch.arange(N_NEURONS)).double().mean())),
            ]
    return rows


CHECKS: dict[str, Callable[[torch.Generator], Rows]] = {
    "identities": identities,
    "anisotropy": anisotropy,
    "centres": centres,
    "spacing": spacing,
    "chord": chord,
    "gap": gap,
}


def rows_of(record: Record, check: str) -> pd.DataFrame:
    """Return one check as a table: one row per repeat, one column per (variant, x)."""
    table = record.table[record.table["check"] == check]
    return table.pivot(index="repeat", columns=["variant", "x"], values="value")


def quantities(record: Record) -> dict[str, np.ndarray]:
    """Return vectors with one value per repeat.

    Differences of the identities; slopes of power laws fitted on double logarithmic axes, such as "slope/spacing/2",
    beside the powers that the theory says, "power/spacing/2"; and the numbers of the other checks.
    """
    identity, isotropic = rows_of(record, "identities"), rows_of(record, "anisotropy")
    found = {f"difference/{name}": identity[name, 0.0].to_numpy() for name, _ in identity}
    found["exceptions"] = isotropic[[c for c in isotropic if c[0].endswith("exceptions")]].sum(axis=1).to_numpy()
    near, line = rows_of(record, "spacing"), rows_of(record, "chord")
    # At coherence 1 anisotropy is as large as it can be, mu, and cannot follow a power any more.
    powers = {"anisotropy": (isotropic["copies mean"].drop(columns=1.0), 0.5)}
    powers |= {f"spacing/{k}": (near[k], -2 / int(k)) for k, _ in near}
    powers |= {f"chord/{name}": (line[name].iloc[:, :SMALL_BETAS], power) for name, power in POWERS.items()}
    for name, (values, power) in powers.items():
        found[f"slope/{name}"] = slopes(values)
        found[f"power/{name}"] = np.full(len(values), float(power))
    others = pd.concat([rows_of(record, "centres"), rows_of(record, "gap")], axis=1)
    return found | {f"{name.replace(' ', '/')}/{x:g}": others[name, x].to_numpy() for name, x in others}


def slopes(values: pd.DataFrame) -> np.ndarray:
    """Return the slope of each row over the names of its columns, both as logarithms."""
    x = np.log(values.columns.to_numpy(dtype=float))
    return np.log(values.to_numpy()) @ (x - x.mean()) / ((x - x.mean()) ** 2).sum()


def _normal(*shape: int, source: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=source, dtype=torch.float64)


def _difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max() / max(1.0, float(other.abs().max())))
