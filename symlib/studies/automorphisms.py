"""Automorphisms of computation graphs: counts against the formula, where the theorem needs its assumptions, collisions.

Nothing is trained. Networks are in `counted_architectures`; what is counted and how, in `symlib.theory`.
"""

import time
from collections.abc import Callable
from functools import partial
from math import log10
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn

from symlib import records
from symlib.alignment.tracing import specification
from symlib.asymmetry import Asymmetry, Standard, constraint
from symlib.config import Config
from symlib.masks import pinned_mask
from symlib.records import Record
from symlib.seeds import generator, seed
from symlib.studies.counted_architectures import ARCHITECTURES
from symlib.studies.shards import joined_facts, run_shards
from symlib.theory.automorphisms import (
    as_perms,
    as_text,
    automorphism_generators,
    certified_trivial,
    count_automorphisms,
)
from symlib.theory.block_draws import random_columns
from symlib.theory.computation_graph import computation_graph, graph_of
from symlib.theory.mask_collisions import expected_twins, has_twins, twin_probability
from symlib.theory.masked_networks import (
    EQUAL_ROWS,
    EQUAL_ROWS_ONLY,
    ISOLATED,
    Masks,
    change_by_exchange,
    masked_mlp,
    transpositions,
    with_random_weights,
)

STUDY = "automorphisms"
SIGMAS = (0.0, 1.0)
WIDTHS = (16, 32, 64, 512)  # of square layers, in which equal rows are looked for
MEASURED_WIDTHS = WIDTHS[:3]
N_FIX = (1, 2, 3, 4, 6, 8, 12, 16, 24)
MEASURED_N_FIX = N_FIX[:5]
# Rows, filters or entries of a row, how many are pinned: the two layers of paper B where equal rows are not rare.
SKIPS = {"ResNet-20": (32, 16, 6), "ResNet-8, whole filters": (32, 16, 8)}


class Automorphisms(Config):
    """Parameters of one run; their meaning stands beside each in the notebook's parameters cell."""

    profile: Literal["quick", "cpu", "paper", "custom"]
    wide: bool
    n_draws: Annotated[int, Field(ge=2)]
    n_masks: Annotated[int, Field(ge=10)]
    base_seed: int
    workers: Annotated[int, Field(ge=1)]
    out: str


Rows = list[dict[str, object]]


def run(config: Automorphisms) -> Record:
    """Count everything, one shard an architecture; with `config.out` set, a killed run goes on where it stopped.

    Returns:
        A record with columns check, case, intervention, draw and, as far as a check has them, hidden, automorphisms,
        expected (both as text), log10, certified, value, rows, fan_in, n_fix.
    """
    out = Path(config.out) if config.out else None
    common = {"n_draws": config.n_draws, "base_seed": config.base_seed}
    jobs: dict[str, tuple[dict, Callable[[], Rows]]] = {
        name: (common | {"case": name}, partial(counts, name, config.n_draws, config.base_seed))
        for name, architecture in ARCHITECTURES.items()
        if config.wide or not architecture.wide
    }
    jobs["assumptions"] = (common, partial(assumptions, config.n_draws, config.base_seed))
    key = common | {"n_masks": config.n_masks}
    jobs["collisions"] = (key, partial(collisions, config.n_draws, config.n_masks, config.base_seed))
    work = {f"{i:02d}": (key, partial(measure, key, job)) for i, (key, job) in enumerate(jobs.values())}
    parts = run_shards(work, out and out / "shards", config.workers, 1)
    table = pd.concat([part.table for part in parts], ignore_index=True)
    # Times stand outside the table, which is the same in every run.
    facts = joined_facts(parts) | {"seconds": dict(zip(jobs, (p.about["compute_s"] for p in parts), strict=True))}
    record = records.make(STUDY, config.model_dump(exclude={"out"}), table, facts)
    if out is not None:
        records.write(out / "record", record)
    return record


def measure(key: dict, job: Callable[[], Rows], folder: Path | None, tick: Callable[[], None]) -> Record:
    """Do one job; `folder` is not used, since a job takes seconds."""
    started = time.perf_counter()
    table = pd.DataFrame(job())
    tick()
    return records.make(STUDY, key, table, {"compute_s": round(time.perf_counter() - started, 1)})


def counts(name: str, n_draws: int, base_seed: int) -> Rows:
    """Count the automorphisms of one architecture, standard and with masks drawn at random."""
    architecture = ARCHITECTURES[name]
    model = architecture.build()
    spec = specification(model, architecture.x)

    def row(intervention: str, draw: int, asymmetry: Asymmetry, expected: int, named_layers: bool = True) -> dict:
        fixed = constraint(model, asymmetry, seed(base_seed, "masks", draw))
        graph = graph_of(spec, fixed, named_layers)
        n = count_automorphisms(graph)
        facts = {"hidden": graph.n_hidden, "log10": log10(n), "certified": int(certified_trivial(graph, fixed))}
        about = {"check": "count", "case": name, "intervention": intervention, "draw": draw}
        return about | facts | {"automorphisms": as_text(n), "expected": as_text(expected)}

    rows = [row("standard", 0, Standard(), architecture.expected)]
    if architecture.nameless:
        rows.append(row("nameless", 0, Standard(), architecture.expected, named_layers=False))
    for sigma_F in SIGMAS:
        asymmetry = architecture.masks(sigma_F)
        rows += [row(f"w-asym {sigma_F:g}", draw, asymmetry, 1) for draw in range(n_draws)]
        if architecture.nameless and not sigma_F:
            rows += [row("nameless w-asym 0", draw, asymmetry, 1, named_layers=False) for draw in range(n_draws)]
    return rows


def assumptions(n_draws: int, base_seed: int) -> Rows:
    """Count automorphisms where an assumption is dropped, and measure what exchanging units does to functions."""
    rows: Rows = []
    for draw in range(n_draws):
        source = generator(base_seed, "assumptions", draw)
        for check, found in (("assumption", _dropped(source)), ("function", _exchanges(source))):
            rows += [{"check": check, "case": case, "draw": draw, "value": value} for case, value in found.items()]
    return rows


def _dropped(source: torch.Generator) -> dict[str, float]:
    """Return the number of automorphisms of small networks, by what is wrong with them."""
    pinned, after = torch.zeros(6, 8).bool(), torch.ones(3, 6).bool()  # a first layer pinned as a whole, and a second
    networks = {
        "equal rows and columns": masked_mlp(EQUAL_ROWS),
        "equal rows only": masked_mlp(EQUAL_ROWS_ONLY),
        "equal rows and columns, constants": masked_mlp(EQUAL_ROWS, _normal(EQUAL_ROWS, source)),
        "isolated units": masked_mlp(ISOLATED),
        "first layer 0": masked_mlp((pinned, after)),
        "first layer 1": masked_mlp((pinned, after), [torch.ones(6, 8), torch.ones(3, 6)]),
        "first layer Gaussian": masked_mlp((pinned, after), _normal((pinned, after), source)),
    }
    return {
        case: float(count_automorphisms(computation_graph(model, _inputs(model), fixed, named_layers=False)))
        for case, (model, fixed) in networks.items()
    }


def _exchanges(source: torch.Generator) -> dict[str, float]:
    """Return by how much outputs change, relative to the largest, by network and which units are exchanged."""
    dense = tuple(torch.ones(shape).bool() for shape in ((10, 12), (8, 10), (4, 8)))
    mask_seed = int(torch.randint(2**31, (), generator=source))
    distinct = tuple(pinned_mask(str(i), mask.shape, 3, False, mask_seed) for i, mask in enumerate(dense))
    return {
        "standard": max(_changes(dense, source, automorphisms=True)),
        "equal rows and columns": max(_changes(EQUAL_ROWS, source, automorphisms=True)),
        # The first of all exchanges is that of units 0 and 1 of the first layer, whose rows are equal.
        "equal rows only": _changes(EQUAL_ROWS_ONLY, source)[0],
        "distinct rows": min(_changes(distinct, source)),
    }


def _changes(masks: Masks, source: torch.Generator, automorphisms: bool = False) -> list[float]:
    """Return the change by each generating automorphism, or else by each exchange of two units."""
    model, fixed = masked_mlp(masks)
    x = _inputs(with_random_weights(model, source), source)
    spec = specification(model, x)
    graph = graph_of(spec, fixed)
    moves = [as_perms(graph, image) for image in automorphism_generators(graph)]
    return [
        change_by_exchange(model, spec, fixed, perms, x) for perms in (moves if automorphisms else transpositions(spec))
    ]


def collisions(n_draws: int, n_masks: int, base_seed: int) -> Rows:
    """Return how often rows of random masks are equal, by the formulas and among `n_masks` masks a draw."""
    cases = {name: (size, True) for name, size in SKIPS.items()}
    for width in WIDTHS:
        sizes = [(width, width, n_fix) for n_fix in N_FIX if n_fix < width]
        cases |= {f"square {w} {n}": ((w, w, n), w in MEASURED_WIDTHS and n in MEASURED_N_FIX) for w, _, n in sizes}
    rows = []
    for case, (size, measured) in cases.items():
        about = {"check": "collisions", "case": case} | dict(zip(("rows", "fan_in", "n_fix"), size, strict=True))
        found = [("exact", 0, twin_probability(*size)), ("union", 0, expected_twins(*size))]
        n_rows, fan_in, n_fix = size
        for draw in range(n_draws if measured else 0):
            source = generator(base_seed, "collisions", case, draw)
            chosen = random_columns(n_masks * n_rows, fan_in, n_fix, source).view(n_masks, n_rows, n_fix)
            found.append(("measured", draw, float(has_twins(chosen).double().mean())))
        rows += [about | {"intervention": kind, "draw": draw, "value": value} for kind, draw, value in found]
    return rows


def check_of(record: Record, check: str) -> pd.DataFrame:
    """Return the rows of one check, without the columns that it has nothing in."""
    return record.table[record.table["check"] == check].dropna(axis=1, how="all").reset_index(drop=True)


def quantities(record: Record) -> dict[str, np.ndarray]:
    """Return vectors with one value per architecture (and draw of its masks), or per draw.

    Counted as it should be, 1 or 0: "agreement/standard" (the product of factorials), "trivial/w-asym 0" (the identity
    alone), and the same two where nothing tells layers apart, "agreement/nameless" and "agreement/nameless w-asym 0".
    "certified/...": whether the theorem's induction shows it.
    "assumption/...": automorphisms of a small network. "function/...": how far exchanges move its outputs.
    "exact/...", "union/...", "measured/...": probability that a mask has equal rows.
    """
    counted = check_of(record, "count")
    agreed = (counted["automorphisms"] == counted["expected"]).astype(float)
    found = {}
    for intervention, of_one in counted.groupby("intervention", sort=False):
        what = "trivial" if intervention.startswith("w-asym") else "agreement"
        found[f"{what}/{intervention}"] = agreed[of_one.index].to_numpy()
        found[f"certified/{intervention}"] = of_one["certified"].to_numpy(dtype=float)
    for check in ("assumption", "function"):
        by_case = check_of(record, check).groupby("case", sort=False)["value"]
        found |= {f"{check}/{case}": values.to_numpy() for case, values in by_case}
    chances = check_of(record, "collisions").groupby(["intervention", "case"], sort=False)["value"]
    return found | {f"{kind}/{case}": values.to_numpy() for (kind, case), values in chances}


def _normal(masks: Masks, source: torch.Generator) -> list[Tensor]:
    return [torch.randn(mask.shape, generator=source) for mask in masks]


def _inputs(model: nn.Sequential, source: torch.Generator | None = None) -> Tensor:
    weight = model[0].weight
    return torch.randn(200, weight.shape[1], generator=source or generator("inputs"), dtype=weight.dtype)
