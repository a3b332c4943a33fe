"""The theory of neuron identifiability by numbers: every statement against random layers that it should hold for.

No network is trained here. What is measured stands in `statements/`, with the numbers of an independent program.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from symlib import claims, records
from symlib.config import Config
from symlib.records import Record
from symlib.seeds import generator
from symlib.studies.shards import joined_facts, joined_record, run_shards
from symlib.studies.statements import anisotropy, centre_costs, centre_spacing, chord, costs, gap, input_permutations

STUDY = "effective_theory"
STATEMENTS: dict[str, ModuleType] = {
    "costs": costs,
    "gap": gap,
    "anisotropy": anisotropy,
    "centre costs": centre_costs,
    "centre spacing": centre_spacing,
    "input permutations": input_permutations,
    "chord": chord,
}


class EffectiveTheory(Config):
    """Parameters of one run; their meaning stands beside each in the notebook's parameters cell."""

    profile: Literal["quick", "cpu", "paper", "custom"]
    statements: Annotated[list[Literal[*STATEMENTS]], Field(min_length=1)]
    n_repeats: Annotated[int, Field(ge=2)]
    base_seed: int
    workers: Annotated[int, Field(ge=1)]
    out: str


def run(config: EffectiveTheory) -> Record:
    """Measure all statements, one shard a repeat; with `config.out` set, a killed run goes on where it stopped.

    Returns:
        A record with columns statement, variant, x (what is varied), repeat and value.
    """
    out = Path(config.out) if config.out else None
    shared = {"base_seed": config.base_seed, "statements": config.statements}
    work = {
        f"repeat-{repeat:03d}": (shared | {"repeat": repeat}, partial(measure, **shared, repeat=repeat))
        for repeat in range(config.n_repeats)
    }
    parts = run_shards(work, out and out / "shards", config.workers, len(config.statements))
    return joined_record(STUDY, config.model_dump(exclude={"out"}), parts, joined_facts(parts), config.out)


def measure(
    folder: Path | None, tick: Callable[[], None], *, base_seed: int, statements: list[str], repeat: int
) -> Record:
    """Measure every statement once; `folder` is not used, since a repeat takes seconds."""
    started = time.perf_counter()
    rows = []
    for name in statements:
        found = STATEMENTS[name].rows(generator(base_seed, name, repeat))
        rows += [{"statement": name, "variant": v, "x": x, "repeat": repeat, "value": value} for v, x, value in found]
        tick()
    facts = {"compute_s": round(time.perf_counter() - started, 1)}
    config = {"base_seed": base_seed, "statements": statements, "repeat": repeat}
    return records.make(STUDY, config, pd.DataFrame(rows), facts)


def largest(live: Record) -> Record:
    """Return the record that has all statements of a run and that its page shows, by the number of repeats."""
    wanted = set(live.config["statements"])
    kept = [record for record in records.find(STUDY) if wanted <= set(record.config["statements"])]
    return claims.shown(live, kept, lambda record: record.config["n_repeats"])


def rows_of(record: Record, statement: str) -> pd.DataFrame:
    """Return one statement as a table: one row per repeat, one column per (variant, x)."""
    table = record.table[record.table["statement"] == statement]
    return table.pivot(index="repeat", columns=["variant", "x"], values="value")


def quantities(record: Record) -> dict[str, np.ndarray]:
    """Return vectors with one value per repeat, by the names that the files of the statements give."""
    found = {}
    for name in record.config["statements"]:
        found |= STATEMENTS[name].quantities(rows_of(record, name))
    return found
