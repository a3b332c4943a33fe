"""Universal approximation by W-asymmetric MLPs, by numbers: the construction, its failures, and its missing constant.

No network is trained here: second maps of two-layer networks come from least squares, all others are constructed.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from pydantic import Field
from scipy.stats import binom
from torch import Tensor, nn
from torch.func import functional_call

from symlib import records
from symlib.asymmetry import Constraint, WAsymmetry, constraint
from symlib.config import Config
from symlib.records import Record
from symlib.seeds import generator, seed
from symlib.studies.shards import joined_facts, run_shards
from symlib.theory.bias_free import least_error, linear_error
from symlib.theory.block_draws import independent_map, masks_with_splits, random_columns, with_splits
from symlib.theory.block_splits import BLOCK, split_blocks
from symlib.theory.construction_failure import no_split_bound, two_pairs_bound
from symlib.theory.linear_pairs import realise
from symlib.theory.random_features import fitted_second_map, random_first_map
from symlib.theory.universal_approximation import INNER, WEIGHTS, converted, padded, wide_network

STUDY = "universal_approximation"
CONVERSIONS = {32: 1, 64: 2, 128: 2, 256: 3, 512: 3}  # n -> n_fix
WIDTHS = (64, 128, 256, 512)  # of two-layer networks
MASKED = tuple(4**power for power in range(3, 9))  # n, of masks alone
N_FIX = (1, 2, 4)
EXPERIMENTS = (512, 64)  # n and n_fix of the MLPs that the paper trains
TRIPLES = ((64, 32), (64, 64), (128, 64))  # n and n_fix that pin whole triples now and then
GRIDS = {1: (401, 399), 2: (41, 31)}  # features -> points on an axis, of the fit and of the test; 0 is one of them
CHANCE = 1e-6  # of more failures than that under its bound is an exception
# From an independent program with random draws of its own: share of blocks that meet the paper's condition and the
# weaker one, by (n_fix, n), and how often a block was drawn, by n.
REFERENCE = {
    "paper": {
        (1, 256): 0.72,
        (1, 1024): 0.975,
        (2, 1024): 0.685,
        (2, 4096): 0.948,
        (4, 4096): 0.667,
        (4, 16384): 0.970,
    },
    "split": {(1, 256): 0.975, (1, 1024): 0.998, (2, 1024): 0.988, (4, 4096): 0.998},
    "draws": {32: 4.8, 64: 20.5, 128: 2.3, 256: 2.1},
    "line": 0.8946,
}

Rows = list[tuple[str, float, float]]  # variant, what is varied, value


class Polynomial(nn.Module):
    """x / 2 + x^2, for which eta(x) - eta(-x) = x holds all the same."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply it entry by entry."""
        return x / 2 + x**2


ACTIVATIONS: dict[str, nn.Module] = {
    "relu": nn.ReLU(),
    "gelu": nn.GELU(),
    "swish": nn.SiLU(),
    # The default threshold makes it linear from 20 on, where it is not yet so to 1e-12.
    "softplus": nn.Softplus(threshold=700),
}


class Target(NamedTuple):
    """What a two-layer network is fitted to, and how."""

    function: Callable[[Tensor], Tensor]
    n_features: int
    scale: float  # of the weights of random features
    constant: float = 1.0
    activation: nn.Module = ACTIVATIONS["gelu"]


def sine(x: Tensor) -> Tensor:
    """Return sin(3 x), of shape (points, 1)."""
    return torch.sin(3 * x)


def cosine(x: Tensor) -> Tensor:
    """Return cos(3 x), of shape (points, 1)."""
    return torch.cos(3 * x)


def surface(x: Tensor) -> Tensor:
    """Return sin(4 x_1) cos(4 x_2), of shape (points, 1)."""
    return torch.sin(4 * x[:, :1]) * torch.cos(4 * x[:, 1:])


TARGETS = {
    "sine": Target(sine, 1, 64.0),
    "cosine": Target(cosine, 1, 64.0),
    "surface": Target(surface, 2, 4.0),
    "sine, zeros": Target(sine, 1, 4.0, constant=0.0),
    "cosine, zeros": Target(cosine, 1, 4.0, constant=0.0),
    "sine, polynomial": Target(sine, 1, 1.0, activation=Polynomial()),
}


class UniversalApproximation(Config):
    """Parameters of one run; their meaning stands beside each in the notebook's parameters cell."""

    profile: Literal["quick", "cpu", "paper", "custom"]
    n_repeats: Annotated[int, Field(ge=2)]
    largest_width: Literal[WIDTHS]
    largest_masked: Literal[MASKED]
    base_seed: int
    workers: Annotated[int, Field(ge=1)]
    out: str


def run(config: UniversalApproximation) -> Record:
    """Run all checks, one shard a repeat; with `config.out` set, a killed run goes on where it stopped.

    Returns:
        A record with columns check, variant, x (what is varied), repeat and value.
    """
    out = Path(config.out) if config.out else None
    facts = config.model_dump(include={"largest_width", "largest_masked", "base_seed"})
    work = {
        f"repeat-{repeat:03d}": (facts | {"repeat": repeat}, partial(measure, config, repeat))
        for repeat in range(config.n_repeats)
    }
    parts = run_shards(work, out and out / "shards", config.workers, len(CHECKS))
    table = pd.concat([part.table for part in parts], ignore_index=True)
    record = records.make(STUDY, config.model_dump(exclude={"out"}), table, joined_facts(parts, "cpu"))
    if out is not None:
        records.write(out / "record", record)
    return record


def measure(config: UniversalApproximation, repeat: int, folder: Path | None, tick: Callable[[], None]) -> Record:
    """Run every check once; `folder` is not used, since a repeat takes seconds."""
    started = time.perf_counter()
    rows = []
    for check, rows_of in CHECKS.items():
        found = rows_of(config, seed(config.base_seed, check, repeat))
        rows += [{"check": check, "variant": v, "x": x, "repeat": repeat, "value": value} for v, x, value in found]
        tick()
    facts = config.model_dump(include={"largest_width", "largest_masked", "base_seed"})
    compute = {"compute_s": round(time.perf_counter() - started, 1)}
    return records.make(STUDY, facts | {"repeat": repeat}, pd.DataFrame(rows), compute)


def conversion(config: UniversalApproximation, draw: int) -> Rows:
    """Return the largest error of A eta(B x) = W x by activation, and what the construction took."""
    sizes = {n: n_fix for n, n_fix in CONVERSIONS.items() if n <= config.largest_width}
    return [(variant, n, value) for n, n_fix in sizes.items() for variant, value in one_conversion(n, n_fix, draw)]


def one_conversion(n: int, n_fix: int, draw: int) -> list[tuple[str, float]]:
    """Return what `conversion` reports about one width; masks and constants are drawn before the target."""
    source, asymmetry = generator(draw, n), WAsymmetry(n_fix, 1.0)
    started = time.perf_counter()
    rows = partial(independent_map, n_inputs=n, asymmetry=asymmetry, source=source)
    inner, n_redrawn = with_splits(rows(BLOCK * n), rows)
    outer = independent_map(n, BLOCK * n, asymmetry, source)
    drawn = time.perf_counter()
    W, x = (torch.randn(rows, n, generator=source, dtype=torch.float64) for rows in (n, 200))
    B, A = realise(W, inner, outer)
    constructed = time.perf_counter()
    before, wanted = F.linear(x, B), F.linear(x, W)
    found = {
        name: float((F.linear(eta(before), A) - wanted).abs().max())
        for name, eta in {**ACTIVATIONS, "tanh": torch.tanh}.items()
    }
    moved = [(M.gather(1, m.columns) != m.values).sum() for M, m in ((B, inner), (A, outer))]
    found |= {"moved constants": float(sum(moved)), "draws": 1 + n_redrawn / n}
    return [*found.items(), ("draw s", drawn - started), ("construct s", constructed - drawn)]


def masks(config: UniversalApproximation, draw: int) -> Rows:
    """Return the share of blocks without the paper's condition and without a split, and the pinned triples."""
    rows = []
    cells = [(n, n_fix) for n_fix in N_FIX for n in MASKED if n <= config.largest_masked]
    for n, n_fix in [*cells, EXPERIMENTS]:
        source = generator(draw, "inner", n, n_fix)
        splits = split_blocks(random_columns(BLOCK * n, n, n_fix, source))
        rows.append((f"paper {n_fix}", n, float((splits.n_shared > 1).mean())))
        rows.append((f"split {n_fix}", n, float((~splits.possible).mean())))
    for n, n_fix in TRIPLES:
        columns = random_columns(n, BLOCK * n, n_fix, generator(draw, "outer", n, n_fix))
        triple = columns // 3 + torch.arange(n)[:, None] * BLOCK * n
        rows.append((f"triples {n_fix}", n, float((triple.flatten().bincount() == 3).sum())))
    return rows


@dataclass(frozen=True)
class Approximation:
    """A two-layer network and the four-layer W-asymmetric one made from it, on points between those of the fit.

    Attributes:
        x: Points, shape (points, features).
        y: Target, shape (points,).
        two: Output of the two-layer network, same shape.
        four: Output of the four-layer network, same shape.
        weights: Of the four-layer network, by name.
    """

    x: Tensor
    y: Tensor
    two: Tensor
    four: Tensor
    weights: dict[str, Tensor]

    @property
    def error(self) -> float:
        """Largest error of the four-layer network."""
        return float((self.four - self.y).abs().max())

    @property
    def difference(self) -> float:
        """Largest difference of the two networks, relative to the largest output."""
        return float((self.four - self.two).abs().max() / self.two.abs().max())


def grid(n_features: int, n_points: int) -> Tensor:
    """Return an even grid on [-1, 1]^features, shape (points^features, features)."""
    axis = torch.linspace(-1, 1, n_points, dtype=torch.float64)
    return torch.cartesian_prod(*[axis] * n_features).view(-1, n_features)


def drawn_masks(n: int, draw: int) -> tuple[Constraint, int]:
    """Return masks and constants for four layers, by width alone, and how many blocks were drawn again."""
    return masks_with_splits(wide_network(n, 1, nn.GELU()), WAsymmetry(2, 1.0), seed(draw, "masks", n), INNER)


def approximated(target: Target, n: int, fixed: Constraint, draw: int) -> Approximation:
    """Fit n random features with a two-layer network, and convert it within the given masks."""
    fit, between = (grid(target.n_features, size) for size in GRIDS[target.n_features])
    U = random_first_map(n, target.n_features, target.scale, generator(draw, "features", n))
    V = fitted_second_map(U, padded(fit, n, target.constant), target.function(fit), target.activation)
    weights = converted(U, V, fixed, target.activation)
    inputs = padded(between, n, target.constant)
    two = target.activation(inputs @ U.T) @ V.T
    four = functional_call(wide_network(n, 1, target.activation), weights, inputs)
    return Approximation(between, target.function(between)[:, 0], two[:, 0], four[:, 0], weights)


def approximation(config: UniversalApproximation, draw: int) -> Rows:
    """Return errors of four-layer networks and their distance from two-layer ones; all targets share the masks."""
    rows = []
    for n in (n for n in WIDTHS if n <= config.largest_width):
        fixed, n_redrawn = drawn_masks(n, draw)
        rows.append(("draws", n, 1 + n_redrawn / (2 * n)))
        for name, target in TARGETS.items():
            found = approximated(target, n, fixed, draw)
            rows += [(name, n, found.error), (f"difference, {name}", n, found.difference)]
    return rows


def bias_free(config: UniversalApproximation, draw: int) -> Rows:
    """Return what two and four layers without biases, and without a constant input, cannot do."""
    x = grid(1, 401)
    line, y = x[:, 0], sine(x)[:, 0]
    rows = [("line", 0, linear_error(line, y)), ("least", 0, least_error(line, y))]
    U = random_first_map(400, 1, 1.0, generator(draw, "features"))
    for name, constant in {"zeros": 0.0, "constant": 1.0}.items():
        inputs = padded(x, 400, constant)
        V = fitted_second_map(U, inputs, sine(x), F.gelu)
        rows.append((name, 0, float((F.gelu(inputs @ U.T) @ V.T - sine(x)).abs().max())))
    for name, eta in ACTIVATIONS.items():
        rows += [(f"{name} {what}", 0, value) for what, value in random_network(eta, draw)]
    return rows


def random_network(eta: nn.Module, draw: int) -> list[tuple[str, float]]:
    """Return the answer to 0 of a random four-layer W-asymmetric network, and by how much f(3 x) is not 3 f(x)."""
    n, source = 16, generator(draw, "network")
    network = wide_network(n, 1, eta)
    fixed = constraint(network, WAsymmetry(3, 1.0), seed(draw, "network"))
    shapes = {name: weight.shape for name, weight in network.state_dict().items()}
    free = {k: torch.randn(s, generator=source, dtype=torch.float64) / s[1] ** 0.5 for k, s in shapes.items()}
    x = torch.cat([torch.zeros(1, n), torch.randn(50, n, generator=source)]).double()
    once, thrice = (functional_call(network, fixed.impose(free), c * x)[:, 0] for c in (1, 3))
    return [("at 0", float(once[0].abs())), ("scaled", float((thrice - 3 * once).abs().max() / thrice.abs().max()))]


def reordering(config: UniversalApproximation, draw: int) -> Rows:
    """Return how two conversions differ, of a two-layer network and of the same with its hidden units reordered."""
    n, source = 128, generator(draw, "reordering")
    fixed, _ = drawn_masks(n, draw)
    U, V = (torch.randn(*shape, generator=source, dtype=torch.float64) / n**0.5 for shape in ((n, n), (1, n)))
    x = torch.randn(200, n, generator=source, dtype=torch.float64)
    order = torch.randperm(n, generator=source)
    one, other = (converted(*pair, fixed, F.gelu) for pair in ((U, V), (U[order], V[:, order])))
    answers = [functional_call(wide_network(n, 1, nn.GELU()), weights, x) for weights in (one, other)]
    moved = sum(int((one[name] != other[name]).sum()) for name in WEIGHTS)
    return [
        ("difference", n, float((answers[0] - answers[1]).abs().max() / answers[0].abs().max())),
        ("weights that differ", n, float(moved)),
    ]


CHECKS: dict[str, Callable[[UniversalApproximation, int], Rows]] = {
    "conversion": conversion,
    "masks": masks,
    "approximation": approximation,
    "bias-free": bias_free,
    "reordering": reordering,
}


def rows_of(record: Record, check: str) -> pd.DataFrame:
    """Return one check as a table: one row per repeat, one column per (variant, x)."""
    table = record.table[record.table["check"] == check]
    return table.pivot(index="repeat", columns=["variant", "x"], values="value")


def failures(record: Record) -> pd.DataFrame:
    """Return how often blocks fail, beside the bounds.

    Returns:
        Columns condition ("paper" or "split"), n_fix, n, blocks (over all repeats), failed, measured (their share),
        bound, exception (more failures than the bound would let occur with a chance of 1e-6).
    """
    shares, bounds = rows_of(record, "masks"), {"paper": two_pairs_bound, "split": no_split_bound}
    rows = []
    for variant, n in shares:
        condition, n_fix = variant.split()
        if condition not in bounds:
            continue
        blocks, bound = int(n) * len(shares), bounds[condition](int(n), int(n_fix))
        failed = round(shares[variant, n].mean() * blocks)
        exception = bool(binom.sf(failed - 1, blocks, bound) < CHANCE)
        rows.append((condition, int(n_fix), int(n), blocks, failed, failed / blocks, bound, exception))
    return pd.DataFrame(rows, columns=["condition", "n_fix", "n", "blocks", "failed", "measured", "bound", "exception"])


def quantities(record: Record) -> dict[str, np.ndarray]:
    """Return vectors with one value per repeat, or per pair of n and n_fix for "exceptions".

    Largest errors over all widths, "error/gelu"; shares of blocks that succeed, "success/paper/1/256" with n_fix and
    n; errors of four-layer networks at each width, "approximation/sine/256", and the largest over widths of what they
    differ from two-layer ones, "difference/sine"; and the numbers of the other checks.
    """
    converted_, masked = rows_of(record, "conversion"), rows_of(record, "masks")
    fitted, free = rows_of(record, "approximation"), rows_of(record, "bias-free")
    found = {f"error/{name}": converted_[name].max(axis=1).to_numpy() for name in (*ACTIVATIONS, "tanh")}
    found["moved constants"] = converted_["moved constants"].sum(axis=1).to_numpy()
    found |= {f"draws/{n:g}": converted_["draws", n].to_numpy() for n in converted_["draws"]}
    for name, n in masked:
        condition, n_fix = name.split()
        if condition in REFERENCE:
            found[f"success/{condition}/{n_fix}/{n:g}"] = 1 - masked[name, n].to_numpy()
    for condition, rows in failures(record).groupby("condition"):
        found[f"exceptions/{condition}"] = rows["exception"].to_numpy(float)
    for name in TARGETS:
        found |= {f"approximation/{name}/{n:g}": fitted[name, n].to_numpy() for n in fitted[name]}
        found[f"difference/{name}"] = fitted[f"difference, {name}"].max(axis=1).to_numpy()
    found |= {f"bias-free/{name}": free[name, 0.0].to_numpy() for name, _ in free}
    again = rows_of(record, "reordering")
    return found | {f"reordering/{name}": again[name, n].to_numpy() for name, n in again}
