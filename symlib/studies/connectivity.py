"""Table 1 and Figure 3 of paper B over all architectures, gathered from the records that fill their rows.

Trains nothing: the studies of the single rows do.

Source: Lim et al. (2024), section 5.1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd

from symlib import claims, records
from symlib.claims import p_below, weight
from symlib.records import Record

# What Table 1 compares, from the highest barrier it prints to the lowest, and two columns of ours.
METHODS = ("standard", "sigma-asym", "git-rebasin", "w-asym", "git-rebasin repaired", "syre")
# Lower, higher: the neighbours in the paper's order, and its ends.
ORDERINGS = (
    ("w-asym", "git-rebasin"),
    ("git-rebasin", "sigma-asym"),
    ("sigma-asym", "standard"),
    ("w-asym", "standard"),
)


@dataclass(frozen=True)
class Row:
    """One row of Table 1.

    Attributes:
        name: Of the architecture.
        study: Whose records fill it.
        needs: What their configuration has to contain.
        lines: Method -> the name of its lines in the study.
        orderings: What is tested of it, pairs of methods, the lower first.
    """

    name: str
    study: str
    needs: Mapping[str, str | int | float]
    lines: Mapping[str, str]
    orderings: Sequence[tuple[str, str]] = ORDERINGS

    def kept(self, results: Path = records.RESULTS) -> list[Record]:
        """Return the kept records, those that say most first."""
        fitting = [r for r in records.find(self.study, results) if self.needs.items() <= r.config.items()]
        return sorted(fitting, key=weight, reverse=True)

    def record(self, results: Path = records.RESULTS) -> Record | None:
        """Return the kept record that says most, or None."""
        return next(iter(self.kept(results)), None)


_VARIANTS = {
    "standard": "standard",
    "sigma-asym": "sigma",
    "git-rebasin": "standard git-rebasin",
    "w-asym": "w-asym",
    "git-rebasin repaired": "standard git-rebasin repaired",
    "syre": "syre",
}
# For graph networks the paper's Git Re-Basin matches activations, and its released W-asymmetric networks have gates.
_GRAPHS = _VARIANTS | {"git-rebasin": "standard activation-matching", "w-asym": "w-asym sigma"}
_RESNET = {"dataset": "cifar10", "depth": 20}
_GNN = {"hidden": 256, "epochs": 500}
ROWS = (
    Row("MLP", "mode_connectivity", {"dataset": "mnist", "width": 512, "gate_std": 1.0}, {m: m for m in METHODS}),
    Row("ResNet-20", "resnet_connectivity", _RESNET | {"masks": "table 11"}, _VARIANTS),
    Row("ResNet-20, width 8", "resnet_connectivity", _RESNET | {"masks": "table 12"}, _VARIANTS),
    Row("graph network", "graph_connectivity", _GNN, _GRAPHS),
    # Differs from the row before in its W-asymmetric networks only.
    Row("graph network, GELU", "graph_connectivity", _GNN, _GRAPHS | {"w-asym": "w-asym"}, ORDERINGS[::3]),
)


def barriers(record: Record | None, row: Row) -> dict[str, np.ndarray]:
    """Return the midpoint barriers (nats) of the methods that a record has, one value per pair that did not diverge."""
    if record is None:
        return {}
    found = import_module(f"symlib.studies.{row.study}").quantities(record)
    return {m: found[f"barrier/{name}"] for m, name in row.lines.items() if f"barrier/{name}" in found}


def table_1(results: Path = records.RESULTS) -> pd.DataFrame:
    """Return all barriers.

    Returns:
        One row per architecture and method that was run: profile, n_pairs (trained), n (of these, both networks sound),
        and mean and sd of the barrier in nats; NaN where too few are.
    """
    rows = []
    for row in ROWS:
        kept = row.record(results)
        for method, values in barriers(kept, row).items():
            about = {"architecture": row.name, "method": method}
            about |= {what: kept.config[what] for what in ("profile", "n_pairs")}
            mean, sd = pd.Series(values).agg(["mean", "std"])
            rows.append(about | {"n": len(values), "mean": mean, "sd": sd})
    return pd.DataFrame(rows)


def printed() -> pd.DataFrame:
    """Return what the paper prints: columns architecture, method, mean and sd of the barrier (nats)."""
    rows = []
    for claim in claims.load():
        for row in ROWS:
            filled = claim.id.startswith("B:table1:") and claim.study == row.study
            if filled and claim.paper and claim.needs.items() <= row.needs.items():
                found = [m for m, name in row.lines.items() if claim.quantity == f"barrier/{name}"]
                about = {"architecture": row.name, "mean": claim.paper.mean, "sd": claim.paper.sd}
                rows += [about | {"method": method} for method in found]
    return pd.DataFrame(rows).drop_duplicates(["architecture", "method"], ignore_index=True)


def settings(results: Path = records.RESULTS) -> dict[str, str]:
    """Say what each row was run with: architecture -> data, size, length and number of pairs."""
    named = {"dataset": "{}", "depth": "depth {}", "width": "width {:g}", "hidden": "width {}"}
    named |= {"n_images": "{:,} images", "epochs": "{} epochs", "n_pairs": "{} pairs", "profile": "profile {}"}
    kept = {row.name: found for row in ROWS if (found := row.record(results))}
    return {
        name: ", ".join(form.format(record.config[key]) for key, form in named.items() if key in record.config)
        for name, record in kept.items()
    }


def orderings(results: Path = records.RESULTS) -> pd.DataFrame:
    """Test the paper's order of methods, W-asymmetric < Git Re-Basin < sigma-asymmetric < standard, row by row.

    Returns:
        One row per architecture and pair of methods that were both run: lower and higher (as the paper has them), the
        difference of means in nats (positive in the paper's direction), and p of Welch's one-sided test, NaN with fewer
        than two pairs on a side.
    """
    rows = []
    for row in ROWS:
        found = barriers(row.record(results), row)
        for low, high in row.orderings:
            if low in found and high in found:
                means = [pd.Series(found[method]).mean() for method in (low, high)]
                about = {"architecture": row.name, "lower": low, "higher": high, "difference": means[1] - means[0]}
                rows.append(about | {"p": p_below(found[low], found[high])})
    return pd.DataFrame(rows)


def lines(results: Path = records.RESULTS) -> pd.DataFrame:
    """Return the curves of Figure 3: columns architecture, method, pair, lambda and test_loss (nats)."""
    return pd.concat([_lines(row.record(results), row) for row in ROWS], ignore_index=True)


def _lines(record: Record | None, row: Row) -> pd.DataFrame:
    if record is None:
        return pd.DataFrame()
    table = record.table
    if "statistics" in table:
        table = table[table["statistics"] == "re-estimated"]
    name = table["method"]
    if "variant" in table:
        name = table["variant"].where(name == "unaligned", table["variant"] + " " + name)
    methods = {line: method for method, line in row.lines.items()}
    shown = table.assign(method=name.map(methods), architecture=row.name).dropna(subset=["method", "test_loss"])
    return shown[["architecture", "method", "pair", "lambda", "test_loss"]]


def appendix_a(results: Path = records.RESULTS) -> pd.DataFrame:
    """Return how far apart networks of a pair are, and how far training and test accuracy are.

    Returns:
        One row per architecture and method without alignment that was run, each kind of network once: means over pairs
        of `distance` (by the number of trainable entries) and `rms distance` (by its root), over networks of `gap` (in
        percentage points: training less test accuracy, of graph networks best training less best validation accuracy).

    Source: Lim et al. (2024), appendix A.
    """
    rows, seen = [], set()
    for row in ROWS:
        kept = row.record(results)
        found = import_module(f"symlib.studies.{row.study}").quantities(kept) if kept else {}
        for method, name in row.lines.items():
            if f"distance/{name}" in found and (kept.about["key"], name) not in seen:
                seen.add((kept.about["key"], name))
                means = {what: found[f"{what}/{name}"].mean() for what in ("distance", "rms distance", "gap")}
                rows.append({"architecture": row.name, "method": method} | means)
    return pd.DataFrame(rows, columns=["architecture", "method", "distance", "rms distance", "gap"])


def readings(results: Path = records.RESULTS) -> pd.DataFrame:
    """Judge the two readings of missing symmetry in every architecture, each control by its largest run.

    Returns:
        The rows of `variants.judged` that a reading predicts something of, with the architecture and the profile.
    """
    rows = []
    for row in (replace(ROWS[0], study="controls", needs={"dataset": "mnist", "width": 512}), *ROWS[1:4]):
        judge, seen = import_module(f"symlib.studies.{row.study}").verdicts, set()
        for kept in row.kept(results):
            found = judge(kept)
            new = found[(found["reading"] != "-") & ~found["variant"].isin(seen)]
            seen |= set(new["variant"])
            rows.append(new.assign(architecture=row.name, profile=kept.config["profile"]))
    return pd.concat(rows, ignore_index=True)
