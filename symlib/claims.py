"""The papers' claims, our numbers beside theirs, and a verdict for each by the rule in `claims.toml`.

`python -m symlib.claims` prints the scoreboard as text; it reads `claims.toml` and `results/` only.
"""

import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field
from scipy import stats

from symlib import records
from symlib.records import Record

CLAIMS = records.ROOT / "claims.toml"
PROFILES = ("custom", "quick", "cpu", "paper")  # from the least to the most that a run can say
VERDICTS = ("reproduced", "reproduced at reduced scale", "not reproduced", "not run")
ALPHA = 0.05

Quantities = Mapping[str, np.ndarray]


def p_below(low: np.ndarray, high: np.ndarray) -> float:
    """Return the p-value of Welch's test that the mean of `low` is below that of `high`; NaN for a single value."""
    if min(len(low), len(high)) < 2:
        return float("nan")
    if _steady(low) and _steady(high):
        return float(low.mean() >= high.mean())
    return _welch(low, high, "less")


def p_different(a: np.ndarray, b: np.ndarray) -> float:
    """Return the p-value of Welch's two-sided test that two means differ; NaN for a single value."""
    if min(len(a), len(b)) < 2:
        return float("nan")
    if _steady(a) and _steady(b):
        return float(a.mean() == b.mean())
    return _welch(a, b, "two-sided")


def p_above(values: np.ndarray, bound: float) -> float:
    """Return the p-value of the one-sided t-test that the mean is above a bound; NaN for a single value."""
    if len(values) < 2:
        return float("nan")
    if _steady(values):
        return float(values.mean() <= bound)
    return _open(stats.ttest_1samp(values, bound, alternative="greater").pvalue)


def _welch(a: np.ndarray, b: np.ndarray, alternative: str) -> float:
    """Return the p-value of Welch's test; one of the samples may have no spread, of which `ttest_ind` warns."""
    a, b = ((x.mean(), x.std(ddof=1), len(x)) for x in (a, b))
    return _open(stats.ttest_ind_from_stats(*a, *b, equal_var=False, alternative=alternative).pvalue)


def _open(p: float) -> float:
    """Return a p-value that rounding has kept off 0 and 1, which stand for comparisons without a test."""
    return float(np.clip(p, np.finfo(float).tiny, 1 - np.finfo(float).epsneg))


def _steady(values: np.ndarray) -> bool:
    """Say whether values are one up to rounding, where no test is needed and scipy warns."""
    return np.ptp(values) <= 1e-12 * np.abs(values).max()


def survivors(values: pd.Series) -> np.ndarray:
    """Return the values of runs that did not diverge; none if most did, as nothing then speaks for the kind.

    Args:
        values: One per pair or network, NaN where it diverged.
    """
    sound = values.dropna().to_numpy(dtype=float)
    return sound if 2 * len(sound) >= len(values) else sound[:0]


def succeed(tests: Mapping[str, float]) -> bool:
    """Say whether there are tests and all of their p-values are below `ALPHA`."""
    return bool(tests) and all(p < ALPHA for p in tests.values())


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Rule(_Strict):
    """What has to hold of a claim's quantity, as tests that all have to succeed."""

    def tests(self, values: np.ndarray, found: Quantities) -> dict[str, float]:
        """Return what is compared -> p-value, 0 or 1 where nothing is left to chance and NaN for a single value.

        Args:
            values: One per pair.
            found: All quantities of the record, by name.
        """
        raise NotImplementedError

    def holds(self, values: np.ndarray, found: Quantities) -> bool:
        """Say whether every test succeeds."""
        return succeed(self.tests(values, found))


class Positive(_Rule):
    """The mean is above 0."""

    kind: Literal["positive"]

    def tests(self, values: np.ndarray, found: Quantities) -> dict[str, float]:
        """Return one t-test."""
        return {f"{_mean(values)} > 0": p_above(values, 0)}


class Below(_Rule):
    """The mean is below a bound."""

    kind: Literal["below"]
    bound: float

    def tests(self, values: np.ndarray, found: Quantities) -> dict[str, float]:
        """Return one t-test."""
        return {f"{_mean(values)} < {self.bound:g}": p_above(-values, -self.bound)}


class Above(_Rule):
    """The mean is above a bound."""

    kind: Literal["above"]
    bound: float

    def tests(self, values: np.ndarray, found: Quantities) -> dict[str, float]:
        """Return one t-test."""
        return {f"{_mean(values)} > {self.bound:g}": p_above(values, self.bound)}


class Near(_Rule):
    """The mean differs from a number, or from the mean of another quantity, by less than a margin, either way."""

    kind: Literal["near"]
    other: float | str
    margin: Annotated[float, Field(gt=0)]

    def tests(self, values: np.ndarray, found: Quantities) -> dict[str, float]:
        """Return two one-sided tests, so that few pairs cannot pass for equality."""
        if isinstance(self.other, str):
            other, name = found[self.other], f"{self.other} ({_mean(found[self.other])})"
            p = p_below(other - self.margin, values), p_below(values, other + self.margin)
        else:
            name = f"{self.other:g}"
            p = p_above(values, self.other - self.margin), p_above(-values, -self.other - self.margin)
        ends = f"{_mean(values)} > {name} - {self.margin:g}", f"{_mean(values)} < {name} + {self.margin:g}"
        return dict(zip(ends, p, strict=True))


class Increasing(_Rule):
    """Each quantity has a smaller mean than the next."""

    kind: Literal["increasing"]
    order: Annotated[list[str], Field(min_length=2)]

    def tests(self, values: np.ndarray, found: Quantities) -> dict[str, float]:
        """Return Welch's test of every two neighbours."""
        return {
            f"{low} ({_mean(found[low])}) < {high} ({_mean(found[high])})": p_below(found[low], found[high])
            for low, high in pairwise(self.order)
        }


class Equal(_Rule):
    """All values are exactly one number."""

    kind: Literal["equal"]
    value: float

    def tests(self, values: np.ndarray, found: Quantities) -> dict[str, float]:
        """Compare without tolerance."""
        return {f"every value is {_number(self.value, None)}": float((values != self.value).any())}


class Printed(_Strict):
    """A number as the paper prints it, or as it stands elsewhere."""

    mean: float
    sd: float | None = None
    archived: bool = False  # in stored outputs of the authors' code, not in the paper
    independent: bool = False  # from another program that follows the same protocol

    def __str__(self) -> str:
        spread = "" if self.sd is None else max(f"{self.sd:.2f}", f"{self.sd:g}", key=len)
        number = f"{self.mean:.3f} ± {spread}" if spread else _number(self.mean, None)
        return number + " (archived)" * self.archived + " (independent)" * self.independent


class Claim(_Strict):
    """One entry of `claims.toml`, whose head explains the fields."""

    id: Annotated[str, Field(pattern=r"^[AB]:[\w.]+:[\w-]+$")]
    statement: str
    page: str
    own: bool = False
    paper: Printed | None = None
    study: str
    needs: dict[str, str | int | float]
    quantity: str
    full: Literal["quick", "cpu", "paper"]
    rule: Annotated[Positive | Below | Above | Near | Increasing | Equal, Field(discriminator="kind")]

    @property
    def uses(self) -> set[str]:
        """The quantities that a record must have for the claim to be judged."""
        match self.rule:
            case Increasing(order=others):
                return {self.quantity, *others}
            case Near(other=str(other)):
                return {self.quantity, other}
        return {self.quantity}

    @property
    def printed(self) -> str:
        """The paper's number as text, a dash if it prints none."""
        return "-" if self.paper is None else str(self.paper)


@dataclass(frozen=True)
class Verdict:
    """What became of a claim."""

    claim: Claim
    word: str  # one of VERDICTS
    profile: str  # of the record that decided, "-" if none
    n: int  # values behind `ours`
    ours: str
    record: Record | None
    tests: Mapping[str, float] = field(default_factory=dict)  # what was compared -> p-value

    @property
    def p(self) -> str:
        """The largest p-value as text, a dash where nothing was tested."""
        return p_text(np.max(list(self.tests.values()))) if self.tests else "-"


def load(path: Path = CLAIMS) -> list[Claim]:
    """Read all claims.

    Raises:
        ValueError: If two claims share an id or an entry is malformed (pydantic names it).
    """
    claims = [Claim(**entry) for entry in tomllib.loads(path.read_text())["claim"]]
    twins = [id for id, count in Counter(c.id for c in claims).items() if count > 1]
    if twins:
        raise ValueError(f"{path} has more than one claim with the id {', '.join(twins)}")
    return claims


def judge(claim: Claim, kept: Sequence[Record]) -> Verdict:
    """Apply a claim's rule to the best of the records: the highest profile, then the most networks.

    Args:
        claim: What to check.
        kept: Records of the claim's study.
    """
    quantities = import_module(f"symlib.studies.{claim.study}").quantities
    fitting = [record for record in kept if claim.needs.items() <= record.config.items()]
    fitting.sort(key=weight, reverse=True)
    able = ((record, found) for record in fitting if claim.uses <= (found := quantities(record)).keys())
    best, found = next(able, (None, {}))
    if best is None:
        return Verdict(claim, "not run", "-", 0, "-", None)
    values, profile = found[claim.quantity], best.config["profile"]
    tests = claim.rule.tests(values, found) if len(values) else {}
    if not succeed(tests):
        word = "not reproduced"
    elif PROFILES.index(profile) >= PROFILES.index(claim.full):
        word = "reproduced"
    else:
        word = "reproduced at reduced scale"
    ours = _number(values.mean(), values.std(ddof=1) if len(values) > 1 else None) if len(values) else "diverged"
    return Verdict(claim, word, profile, len(values), ours, best, tests)


def weight(record: Record) -> tuple[int, int]:
    """Return what makes one record say more than another: the profile, then the number of networks."""
    counted = record.config.get("n_pairs", record.config.get("n_networks", 0))
    return PROFILES.index(record.config["profile"]), counted


def shown(
    live: Record,
    kept: Sequence[Record],
    key: Callable[[Record], object] = weight,
    fits: Callable[[Record], bool] = lambda record: True,
) -> Record:
    """Return the record that a page shows: the reader's own run if the live one is one, else the largest of all.

    Args:
        live: What the page has just run.
        kept: Other records of its study.
        key: What to compare by, for studies that do not count pairs or networks.
        fits: Whether a record has what is to be shown; the live one is taken where none has.
    """
    if live.config["profile"] == "custom":
        return live
    return max(filter(fits, (live, *kept)), key=key, default=live)


def scoreboard(results: Path = records.RESULTS) -> list[Verdict]:
    """Judge every claim by the kept records."""
    claims = load()
    kept = {study: records.find(study, results) for study in {c.study for c in claims}}
    return [judge(claim, kept[claim.study]) for claim in claims]


def printed(verdicts: Sequence[Verdict], quantity: str) -> dict[str, tuple[float, float | None]]:
    """Return what the paper prints for a quantity: method -> (mean, sd).

    Args:
        verdicts: Where to look.
        quantity: First half of a claim's quantity, such as "barrier" of "barrier/standard".
    """
    halves = [(v.claim.quantity.split("/", 1), v.claim.paper) for v in verdicts]
    return {method: (paper.mean, paper.sd) for (kind, method), paper in halves if kind == quantity and paper}


def counts(verdicts: Sequence[Verdict]) -> str:
    """Return the number of claims by verdict as one line."""
    tally = Counter(v.word for v in verdicts)
    return ", ".join(f"{tally[word]} {word}" for word in VERDICTS)


def scoreboard_text(verdicts: Sequence[Verdict]) -> str:
    """Return one aligned line per claim, `id  verdict  profile  n  ours  paper  p`, and the counts last."""
    rows = [("id", "verdict", "profile", "n", "ours", "paper", "p")]
    rows += [(v.claim.id, v.word, v.profile, str(v.n), v.ours, v.claim.printed, v.p) for v in verdicts]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, counts(verdicts)])


def unbroken(number: str) -> str:
    """Return a number that stays on one line of a table."""
    return number.replace(" ", "\N{NO-BREAK SPACE}")


def p_text(p: float) -> str:
    """Return a p-value with three decimals; "exact" where nothing was left to chance, a dash for NaN."""
    if np.isnan(p):
        return "-"
    if p in (0, 1):
        return "exact"
    if p < 0.001:
        return "< .001"
    return "> .999" if p > 0.999 else f"{p:.3f}".removeprefix("0")


def _mean(values: np.ndarray) -> str:
    return _number(values.mean(), None) if len(values) else "diverged"


def _number(mean: float, sd: float | None) -> str:
    if sd is None:
        return f"{mean:,.0f}" if float(mean).is_integer() else _rounded(mean)
    return f"{_rounded(mean)} ± {_rounded(sd)}"


def _rounded(value: float) -> str:
    """Return three decimals, or two digits and the power of ten where these would all be 0."""
    return f"{value:.1e}" if 0 < abs(value) < 5e-4 else f"{value:.3f}"


if __name__ == "__main__":
    try:
        print(scoreboard_text(scoreboard()))
    except ValueError as error:
        sys.exit(str(error))
