"""Studies that draw small problems at random and check each of them in several ways, nothing trained.

A check returns what it measured on one draw; records of such studies have columns check, variant, what, draw and value.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from symlib import records
from symlib.config import Config
from symlib.records import Record
from symlib.studies.shards import joined_facts, joined_record, run_shards

Rows = list[tuple[str, str, float]]  # variant, what is measured, value
Check = Callable[[int], Rows]  # of the draw with this number
NOT_OF_A_DRAW = {"profile", "n_draws", "workers", "out"}


def run_checks(study: str, config: Config, checks: Mapping[str, Check]) -> Record:
    """Run all checks, one shard a draw; with `config.out` set, a killed run goes on where it stopped.

    Args:
        study: Name of the study.
        config: Its parameters, with n_draws, workers and out.
        checks: Name -> check, picklable if there is more than one worker.
    """
    out = Path(config.out) if config.out else None
    draws = [config.model_dump(exclude=NOT_OF_A_DRAW) | {"draw": draw} for draw in range(config.n_draws)]
    work = {f"draw-{facts['draw']:03d}": (facts, partial(_run_draw, study, facts, checks)) for facts in draws}
    parts = run_shards(work, out and out / "shards", config.workers, len(checks))
    return joined_record(study, config.model_dump(exclude={"out"}), parts, joined_facts(parts), config.out)


def _run_draw(
    study: str, facts: dict, checks: Mapping[str, Check], folder: Path | None, tick: Callable[[], None]
) -> Record:
    """Run every check on one draw; `folder` is not used, since a draw takes seconds."""
    started, rows = time.perf_counter(), []
    for name, check in checks.items():
        columns = {"check": name, "draw": facts["draw"]}
        rows += [columns | {"variant": v, "what": what, "value": value} for v, what, value in check(facts["draw"])]
        tick()
    table = pd.DataFrame(rows, columns=["check", "variant", "what", "draw", "value"])
    return records.make(study, facts, table, {"compute_s": round(time.perf_counter() - started, 1)})


def rows_of(record: Record, check: str) -> pd.DataFrame:
    """Return one check as a table: one row per draw, one column per (variant, what)."""
    table = record.table[record.table["check"] == check]
    return table.pivot(index="draw", columns=["variant", "what"], values="value")


def counted(values: np.ndarray | pd.Series) -> str:
    """Return counts of draws as text, such as "20", or "19 to 21" where draws differ."""
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low} to {high}"
