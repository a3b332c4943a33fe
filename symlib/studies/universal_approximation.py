"""Universal approximation by W-asymmetric MLPs, by numbers: the construction, its failures, and its missing constant.

No network is trained here: second maps of two-layer networks come from least squares, all others are constructed.
"""

import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from pydantic import Field
from scipy.stats import binom
from torch import nn
from torch.func import functional_call

from symlib import records
from symlib.asymmetry import WAsymmetry, constraint
from symlib.config import Config
from symlib.records import Record
from symlib.seeds import generator, seed
from symlib.studies.shards import joined_facts, joined_record, run_shards
from symlib.theory.approximated_targets import ACTIVATIONS, TARGETS, approximated, drawn_masks, grid, sine
from symlib.theory.block_draws import independent_map, masks_with_splits, random_columns, with_splits
from symlib.theory.block_splits import BLOCK, split_blocks
from symlib.theory.construction_failure import construction_bound, no_split_bound, two_pairs_bound
from symlib.theory.linear_pairs import PinnedMap, realise
from symlib.theory.linear_plus_even import least_error, linear_error
from symlib.theory.random_features import fitted_second_map, random_first_map
from symlib.theory.universal_approximation import INNER, WEIGHTS, converted, padded, refuse_activation, wide_network

STUDY = "universal_approximation"
CONVERSIONS = {32: 1, 64: 2, 128: 2, 256: 3, 512: 3}  # n -> n_fix
WIDTHS = (64, 128, 256, 512)  # of two-layer networks
MASKED = tuple(4**power for power in range(3, 9))  # n, of masks alone
N_FIX = (1, 2, 4)
EXPERIMENTS = (512, 64)  # n and n_fix of the MLPs that the paper trains
TRIPLES = ((64, 32), (64, 64), (128, 64))  # n and n_fix that pin whole triples now and then
BOUNDS = {"paper": two_pairs_bound, "split": no_split_bound}  # of the condition of the paper's proof, of the weaker one
CHANCE = 1e-6  # of more failures than that under its bound is an exception
# From an independent program with random draws of its own: share of blocks that meet the paper's condition and the
# weaker one, by (n_fix, n), and how often a block was drawn and how long draw and construction took, by n.
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
    "seconds": {32: 0.2, 64: 1.1, 128: 1.1, 256: 2.4},
    "line": 0.8946,
}

Rows = list[tuple[str, float, float]]  # variant, what is varied, value


class UniversalApproximation(Config):
    """Parameters of one run; their meaning stands beside each in the notebook's parameters cell."""

    profile: Literal["quick", "cpu", "paper", "custom"]
    n_repeats: Annotated[int, Field(ge=2)]
    largest_width: Literal[WIDTHS]
    largest_masked: Literal[MASKED[2:]]  # below 1024 too few bounds say anything
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
    parts = run_shards(work, out and out / "shards", config.workers, len(checks(config)))
    return joined_record(STUDY, config.model_dump(exclude={"out"}), parts, joined_facts(parts), config.out)


def measure(config: UniversalApproximation, repeat: int, folder: Path | None, tick: Callable[[], None]) -> Record:
    """Run every check once; `folder` is not used, since a repeat takes seconds."""
    started = time.perf_counter()
    rows = []
    for check, measured in checks(config).items():
        found = measured(seed(config.base_seed, check, repeat))
        rows += [{"check": check, "variant": v, "x": x, "repeat": repeat, "value": value} for v, x, value in found]
        tick()
    facts = config.model_dump(include={"largest_width", "largest_masked", "base_seed"})
    compute = {"compute_s": round(time.perf_counter() - started, 1)}
    return records.make(STUDY, facts | {"repeat": repeat}, pd.DataFrame(rows), compute)


def checks(config: UniversalApproximation) -> dict[str, Callable[[int], Rows]]:
    """Return what each check measures from a seed, by its name in the record."""
    return {
        "conversion": partial(conversion, config.largest_width),
        "masks": partial(masks, config.largest_masked),
        "approximation": partial(approximation, config.largest_width),
        "bias-free": without_biases,
        "reordering": two_conversions,
    }


def conversion(largest_width: int, draw: int) -> Rows:
    """Return the largest error of A eta(B x) = W x by activation, and what the construction took."""
    sizes = {n: n_fix for n, n_fix in CONVERSIONS.items() if n <= largest_width}
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


def masks(largest_masked: int, draw: int) -> Rows:
    """Return the share of blocks without the paper's condition and without a split, and the pinned triples."""
    rows = []
    cells = [(n, n_fix) for n_fix in N_FIX for n in MASKED if n <= largest_masked]
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


def approximation(largest_width: int, draw: int) -> Rows:
    """Return errors of four-layer networks and their distance from two-layer ones; all targets share the masks."""
    rows = []
    for n in (n for n in WIDTHS if n <= largest_width):
        fixed, n_redrawn = drawn_masks(n, draw)
        rows.append(("draws", n, 1 + n_redrawn / (2 * n)))
        for name, target in TARGETS.items():
            found = approximated(target, n, fixed, draw)
            rows += [(name, n, found.error), (f"difference, {name}", n, found.difference)]
    return rows


def without_biases(draw: int) -> Rows:
    """Return what two and four layers without biases, and without a constant input, cannot do."""
    x = grid(1, 2001)
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


def two_conversions(draw: int) -> Rows:
    """Return how two conversions differ, of a two-layer network and of the same with its hidden units reordered."""
    n, source = 128, generator(draw, "reordering")
    fixed, _ = drawn_masks(n, draw)
    U, V = (torch.randn(*shape, generator=source, dtype=torch.float64) / n**0.5 for shape in ((n, n), (1, n)))
    x = torch.randn(200, n, generator=source, dtype=torch.float64)
    order = torch.randperm(n, generator=source)
    one, other = (converted(*pair, fixed, F.gelu) for pair in ((U, V), (U[order], V[:, order])))
    answers = [functional_call(wide_network(n, 1, nn.GELU()), weights, x) for weights in (one, other)]
    differ = torch.cat([(one[name] != other[name]).flatten() for name in WEIGHTS])
    return [
        ("difference", n, float((answers[0] - answers[1]).abs().max() / answers[0].abs().max())),
        ("weights that differ", n, float(differ.double().mean())),
    ]


def rows_of(record: Record, check: str) -> pd.DataFrame:
    """Return one check as a table: one row per repeat, one column per (variant, x)."""
    table = record.table[record.table["check"] == check]
    return table.pivot(index="repeat", columns=["variant", "x"], values="value")


def failures(record: Record) -> pd.DataFrame:
    """Return how often blocks fail, beside the bounds.

    Returns:
        Columns condition ("paper" or "split"), n_fix, n, blocks (over all repeats), failed, measured (their share),
        bound (1 where it says nothing), exception (more failures than the bound would let occur with a chance of 1e-6),
        map_measured (share of n x n maps that fail in consequence, since blocks are independent).
    """
    shares = rows_of(record, "masks")
    rows = []
    for variant, x in shares:
        condition, n_fix = variant.split()
        if condition not in BOUNDS:
            continue
        n, blocks = int(x), int(x) * len(shares)
        bound, failed = BOUNDS[condition](n, int(n_fix)), round(shares[variant, x].mean() * blocks)
        exception = bool(binom.sf(failed - 1, blocks, bound) < CHANCE)
        measured = failed / blocks
        of_map = 1 - (1 - measured) ** n
        rows.append((condition, int(n_fix), n, blocks, failed, measured, bound, exception, of_map))
    columns = ["condition", "n_fix", "n", "blocks", "failed", "measured", "bound", "exception", "map_measured"]
    return pd.DataFrame(rows, columns=columns)


def bounds() -> pd.DataFrame:
    """Return bounds on how often masks forbid the construction, as curves.

    Returns:
        Columns condition, n_fix, n (64 to four million), bound (of one block), map_bound (of a whole n x n map).
    """
    every = np.unique(np.geomspace(64, 4**11, 60).astype(int)).tolist()
    rows = []
    for (condition, per_block), n_fix, n in product(BOUNDS.items(), N_FIX, every):
        bound = per_block(n, n_fix)
        rows.append((condition, n_fix, n, bound, construction_bound(bound, n, n, n_fix)))
    return pd.DataFrame(rows, columns=["condition", "n_fix", "n", "bound", "map_bound"])


def quantities(record: Record) -> dict[str, np.ndarray]:
    """Return vectors with one value per repeat, or per pair of n and n_fix with a bound below 1 for "exceptions".

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
    for condition, rows in failures(record).query("bound < 1").groupby("condition"):
        found[f"exceptions/{condition}"] = rows["exception"].to_numpy(float)
    for name in TARGETS:
        found |= {f"approximation/{name}/{n:g}": fitted[name, n].to_numpy() for n in fitted[name]}
        found[f"difference/{name}"] = fitted[f"difference, {name}"].max(axis=1).to_numpy()
    found |= {f"bias-free/{name}": free[name, 0.0].to_numpy() for name, _ in free}
    again = rows_of(record, "reordering")
    return found | {f"reordering/{name}": again[name, n].to_numpy() for name, n in again}


def refusals(base_seed: int) -> dict[str, str]:
    """Return what is said to activations and masks that do not allow the construction."""
    n, source, asymmetry = 64, generator(base_seed, "refusals"), WAsymmetry(1, 1.0)
    inner, outer = independent_map(BLOCK * n, n, asymmetry, source), independent_map(n, BLOCK * n, asymmetry, source)
    whole_block = torch.arange(BLOCK).expand(n, BLOCK)
    pinned = PinnedMap(whole_block, torch.ones(whole_block.shape, dtype=torch.float64), BLOCK * n)
    divided, _ = with_splits(inner, partial(independent_map, n_inputs=n, asymmetry=asymmetry, source=source))
    target = torch.eye(n, dtype=torch.float64)
    width, n_fix = EXPERIMENTS
    cases = {
        "another activation": lambda: refuse_activation(torch.tanh),
        "masks as they come": lambda: realise(target, inner, outer),
        "copies pinned": lambda: realise(target, divided, pinned),
        "the experiments' masks": lambda: masks_with_splits(
            wide_network(width, 1, nn.GELU()), WAsymmetry(n_fix, 1.0), base_seed, INNER
        ),
    }
    return {name: _message(case) for name, case in cases.items()}


def _message(case: Callable[[], object]) -> str:
    try:
        case()
    except ValueError as error:
        return str(error)
    return "no error"
