"""Studies that train pairs of networks in several variants, and judge each by how much of the barrier it removes.

The barrier of standard pairs counts as 0 removed and that of W-asymmetric pairs as 1. A reading of the comparison
predicts of a variant that it removes more than half, or less; one-sided t-tests over pairs decide.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor

from symlib import records
from symlib.alignment.activation_matching import activation_matching
from symlib.alignment.permutation import permute_members
from symlib.alignment.repair import reestimate, repair
from symlib.alignment.tracing import specification
from symlib.alignment.weight_matching import weight_matching
from symlib.asymmetry import n_trainable
from symlib.claims import ALPHA, p_above, survivors
from symlib.interpolation import accuracy_drop, line, midpoint_barrier, mixing_weights
from symlib.population import Population
from symlib.records import Record
from symlib.studies.shards import joined_facts, joined_record, run_shards

STANDARD, W_ASYM = "standard", "w-asym"
RESTARTS = 3  # of weight matching
OTHER = {"more": "less", "less": "more"}


@dataclass(frozen=True)
class Prediction:
    """What a reading of the comparison says of a variant."""

    reading: str  # how missing permutation symmetry is meant: "needed" or "enough"
    removes: Literal["more", "less"]  # than half of the barrier


def refuse_missing_variants(variants: Sequence[str]) -> None:
    """Raise an error if the variants that all others are compared with are not among those of a study.

    Raises:
        ValueError: Naming those that are missing.
    """
    if missing := {STANDARD, W_ASYM} - set(variants):
        raise ValueError(f"variants must include {' and '.join(sorted(missing))}, which others are compared with")


def run_pairs(config, variants: Sequence[str], measure: Callable[..., Record], n_ticks: int) -> list[Record]:
    """Run every pair of every variant as a shard of its own, all variants of one pair before the next pair.

    Args:
        config: With `science` (what a result depends on), `n_pairs`, `out` and `workers`.
        variants: Their names.
        measure: Gets the configuration, a variant and a pair, a folder for checkpoints and what to call as it goes on.
        n_ticks: How often one shard calls it.
    """
    work = {
        f"{variant.replace(' ', '-')}-{pair:03d}": (
            _facts(config, variant, pair),
            partial(measure, config, variant, pair),
        )
        for pair in range(config.n_pairs)
        for variant in variants
    }
    return run_shards(work, Path(config.out) / "shards" if config.out else None, config.workers, n_ticks)


def joined(study: str, config, parts: Sequence[Record]) -> Record:
    """Join the shards of all pairs into the record of a study, and write it if the study keeps one.

    Args:
        study: Its name.
        config: Its configuration.
        parts: As `run_pairs` returns them. What their facts hold under "scores", lists with a value per network or
            pair, is joined by variant under "networks"; a pair that diverged has none.
    """
    names = dict.fromkeys(part.config["variant"] for part in parts)
    by_name = {name: [part for part in parts if part.config["variant"] == name] for name in names}
    facts = {"networks": {name: joined_scores(mine) for name, mine in by_name.items()}}
    facts |= {"data_sha256": parts[0].about["data_sha256"], **joined_facts(parts)}
    return joined_record(study, config.model_dump(exclude={"out"}), parts, facts, config.out)


def joined_scores(parts: Sequence[Record]) -> dict[str, list[float]]:
    """Return the scores of all networks or pairs of some shards; those that diverged have none."""
    scores = [part.about["scores"] for part in parts if part.about.get("scores")]
    return {key: [value for one in scores for value in one[key]] for key in (scores[0] if scores else ())}


def shard_record(study: str, config, name: str, pair: int, table: pd.DataFrame, facts: Mapping) -> Record:
    """Return what one pair of one variant was found to be, keyed as `run_pairs` expects it."""
    named = table.assign(variant=name, pair=pair)
    return records.make(study, _facts(config, name, pair), named, facts)


def _facts(config, variant: str, pair: int) -> dict:
    """Return what the result of one pair depends on, and its record is keyed by."""
    return config.science | {"variant": variant, "pair": pair}


def no_line(n_points: int) -> dict:
    """Return the columns of a line that was not evaluated, since a network diverged."""
    return {"lambda": mixing_weights(n_points), "test_loss": np.nan, "test_accuracy": np.nan}


def repaired(seen: Tensor, a: Population, b: Population, lambdas: Tensor) -> Population:
    """Return the line between networks with hidden units rescaled by REPAIR on inputs, shape (n, ...)."""
    return repair(a, b, lambdas, seen)


def reestimated(seen: Tensor, a: Population, b: Population, lambdas: Tensor) -> Population:
    """Return the line between networks with BatchNorm statistics taken anew on inputs, shape (n, ...)."""
    return reestimate(line(a, b, lambdas), seen)


def aligned(first: Population, second: Population, seen: Tensor, source: torch.Generator) -> dict[str, Population]:
    """Return the second network of a pair with its units reordered in two ways.

    Args:
        first: One network.
        second: The network whose units are reordered to match it; of an architecture that allows it.
        seen: Inputs that activations are compared on, shape (n, ...).
        source: For the order in which weight matching visits layers.
    """
    spec = specification(first.model, seen[:2])
    a, b = next(first.members()), next(second.members())
    found = {
        "git-rebasin": weight_matching(a, b, spec, source, RESTARTS),
        "activation-matching": activation_matching(first.model, a, b, spec, seen),
    }
    return {method: permute_members(spec, [one], second, seen[:100]) for method, one in found.items()}


def separation(pair: Population) -> dict[str, list[float]]:
    """Return the Euclidean distance between the trainable entries of two networks, and how many there are.

    Pinned entries, which are equal in both, are left out, and so are statistics of BatchNorm.

    Source: Lim et al. (2024), appendix A.
    """
    D = pair.constraint.D
    squares = [
        ((w[0] - w[1]) * D[name].to(w) if name in D else w[0] - w[1]).double().square().sum()
        for name, w in pair.params.items()
    ]
    return {"distance": [float(sum(squares) ** 0.5)], "n_trainable": [n_trainable(pair.model, pair.constraint)]}


def summed_up(table: pd.DataFrame, keys: Sequence[str] = ("variant", "pair")) -> pd.DataFrame:
    """Sum up every line of a table.

    Args:
        table: Columns lambda, test_loss (nats), test_accuracy, and those that name a line.
        keys: The columns that name a line.

    Returns:
        One row per line: the keys, `barrier` (midpoint, nats), `drop` (accuracy, percentage points), and of the two
        ends the means `end_loss` (nats) and `end_accuracy` (per cent); NaN for pairs that diverged.
    """
    rows = []
    for names, points in table.groupby(list(keys), sort=False):
        loss, accuracy = (torch.tensor(points[c].to_numpy())[None] for c in ("test_loss", "test_accuracy"))
        found = {"barrier": midpoint_barrier(loss), "drop": accuracy_drop(accuracy)}
        found |= {"end_loss": loss[0, [0, -1]].mean(), "end_accuracy": 100 * accuracy[0, [0, -1]].mean()}
        rows.append(dict(zip(keys, names, strict=True)) | {name: float(value) for name, value in found.items()})
    return pd.DataFrame(rows)


def compared(pairs: pd.DataFrame) -> pd.DataFrame:
    """Add what a barrier is beside those of the standard and the W-asymmetric pair of the same number.

    Args:
        pairs: Columns variant, pair and barrier (nats); pair i has the same seeds in all variants.

    Returns:
        The columns `excess` (above the middle between the two, nats), `beyond` (above the W-asymmetric one, nats) and
        `removed` (share of the standard one that is gone, W-asymmetric pairs being 1 on average); NaN where one of
        the pairs diverged.
    """
    standard, w_asym = (
        pairs["pair"].map(pairs[pairs["variant"] == name].set_index("pair")["barrier"]) for name in (STANDARD, W_ASYM)
    )
    whole = (standard - w_asym)[pairs["variant"] == STANDARD].mean()
    barrier = pairs["barrier"]
    return pairs.assign(
        excess=barrier - (standard + w_asym) / 2, beyond=barrier - w_asym, removed=(standard - barrier) / whole
    )


def as_they_are(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of pairs without alignment, as `compared`.

    Args:
        pairs: Columns variant, method, pair and barrier (nats).
    """
    return compared(pairs[pairs["method"] == "unaligned"].reset_index(drop=True))


def line_quantities(pairs: pd.DataFrame, networks: Mapping[str, Mapping[str, list[float]]]) -> dict[str, np.ndarray]:
    """Return vectors with one value per pair for claims.

    Args:
        pairs: Columns variant, method, pair and barrier (nats).
        networks: Variant -> scores, as `score_quantities` takes them.

    Returns:
        "barrier/standard", and "barrier/standard git-rebasin" for aligned pairs; "removed/anchor"; and those of
        `score_quantities`.
    """
    found = {}
    for (variant, method), rows in pairs.groupby(["variant", "method"]):
        name = variant if method == "unaligned" else f"{variant} {method}"
        found[f"barrier/{name}"] = survivors(rows["barrier"])
    for variant, rows in as_they_are(pairs).groupby("variant"):
        found[f"removed/{variant}"] = survivors(rows["removed"])
    return found | score_quantities(networks)


def score_quantities(networks: Mapping[str, Mapping[str, list[float]]]) -> dict[str, np.ndarray]:
    """Return what trained networks scored as vectors for claims.

    Args:
        networks: Variant -> scores, among them those of `separation` and accuracies in [0, 1]; none if all diverged.

    Returns:
        Of the two networks of a pair "distance/standard", divided by the number of trainable parameters as in the
        paper, "relative distance/w-asym", the same as a share of the mean of standard pairs, and
        "rms distance/standard", divided by the root of that number; of every network "gap/standard", training less test
        accuracy in percentage points.

    Source: Lim et al. (2024), appendix A.
    """
    found = {}
    for variant, scores in networks.items():
        if "distance" in scores:
            distance, n = np.array(scores["distance"]), np.array(scores["n_trainable"])
            train, test = (100 * np.array(scores[f"{what}_accuracy"]) for what in ("train", "test"))
            found |= {f"distance/{variant}": distance / n, f"rms distance/{variant}": distance / n**0.5}
            found[f"gap/{variant}"] = train - test
    usual = found.get(f"distance/{STANDARD}", np.full(1, np.nan)).mean()
    relative = {f"relative {name}": value / usual for name, value in found.items() if name.startswith("distance/")}
    return found | relative


def judged(pairs: pd.DataFrame, predicted: Mapping[str, Prediction]) -> pd.DataFrame:
    """Judge every variant.

    Args:
        pairs: As `compared` returns it.
        predicted: Variant -> what a reading says of it.

    Returns:
        One row per variant: n (pairs judged), diverged (pairs of its own), unpaired (pairs without a standard or
        W-asymmetric one); means over judged pairs of barrier, end_loss, end_accuracy, removed and beyond, with the
        95 % confidence half-width of the last, ci; p_more and p_less (of more and less than half removed); reading, and
        verdict on it: "supports", "undermines" or "undecided", "-" without prediction. All is undecided unless the
        standard barrier is above the W-asymmetric one and above 0: where there is none, nothing can be removed.
    """
    apart = pairs.loc[pairs["variant"] == W_ASYM, "excess"].dropna().to_numpy()
    standard = pairs.loc[pairs["variant"] == STANDARD, "barrier"].dropna().to_numpy()
    decidable = max(p_above(-apart, 0), p_above(standard, 0)) < ALPHA  # apart: half of what lies between the two
    rows = []
    for variant, table in pairs.groupby("variant", sort=False):
        whole = table.dropna(subset=["excess"])
        excess = whole["excess"].to_numpy()
        p = {"more": p_above(-excess, 0), "less": p_above(excess, 0)}
        diverged, forecast = int(table["barrier"].isna().sum()), predicted.get(variant)
        rows.append(
            {"variant": variant, "n": len(whole), "diverged": diverged, "unpaired": len(table) - len(whole) - diverged}
            | whole[["barrier", "end_loss", "end_accuracy", "removed", "beyond"]].mean().to_dict()
            | {"ci": _half_width(whole["beyond"]), "p_more": p["more"], "p_less": p["less"]}
            | {"reading": forecast.reading if forecast else "-", "verdict": _verdict(forecast, p, decidable)}
        )
    return pd.DataFrame(rows)


def _half_width(values: pd.Series) -> float:
    n = len(values)
    return float(stats.t.ppf(0.975, n - 1) * values.std() / n**0.5) if n > 1 else np.nan


def _verdict(forecast: Prediction | None, p: Mapping[str, float], decidable: bool) -> str:
    if forecast is None:
        return "-"
    if decidable and p[forecast.removes] < ALPHA:
        return "supports"
    return "undermines" if decidable and p[OTHER[forecast.removes]] < ALPHA else "undecided"
