"""Which share of the barrier a variant of the networks removes, and what that says of missing symmetry as the reason.

The barrier of standard pairs is 0 and that of W-asymmetric pairs is 1 on this scale. A reading predicts of a variant
that it removes more than half, or less; one-sided t-tests over pairs decide.
"""

from collections.abc import Mapping

import pandas as pd

from symlib.claims import ALPHA, p_above

STANDARD, W_ASYM = "standard", "w-asym"
OTHER = {"more": "less", "less": "more"}


def with_removed_share(barriers: pd.DataFrame) -> pd.DataFrame:
    """Add the column `removed` to barriers of pairs.

    Args:
        barriers: Columns variant, pair and barrier (nats), with the variants "standard" and "w-asym"; pair i has the
            same seeds in all variants.

    Returns:
        What is gone of the barrier of the standard pair with the same seeds, relative to what is gone of it in
        W-asymmetric pairs on average; NaN for pairs that diverged.
    """
    standard, w_asym = (barriers[barriers["variant"] == v].set_index("pair")["barrier"] for v in (STANDARD, W_ASYM))
    gone = barriers["pair"].map(standard) - barriers["barrier"]
    return barriers.assign(removed=gone / (standard - w_asym).mean())


def judged(pairs: pd.DataFrame, predicted: Mapping[str, str]) -> pd.DataFrame:
    """Judge every variant.

    Args:
        pairs: As `with_removed_share` returns it.
        predicted: Variant -> "more" or "less" than half, what missing symmetry as the reason predicts of it.

    Returns:
        One row per variant: n (pairs), diverged, barrier (mean, nats), removed and its standard deviation sd, p_more
        and p_less (of more and less than half), and verdict: "supports", "undermines" or "undecided", "-" without
        prediction.
    """
    rows = []
    for variant, table in pairs.groupby("variant", sort=False):
        removed = table["removed"].dropna()
        p = {"more": p_above(removed.to_numpy(), 0.5), "less": p_above(-removed.to_numpy(), -0.5)}
        rows.append(
            {"variant": variant, "n": len(removed), "diverged": int(table["barrier"].isna().sum())}
            | {"barrier": table["barrier"].mean(), "removed": removed.mean(), "sd": removed.std()}
            | {f"p_{side}": value for side, value in p.items()}
            | {"verdict": _verdict(predicted.get(variant), p)}
        )
    return pd.DataFrame(rows)


def _verdict(predicted: str | None, p: Mapping[str, float]) -> str:
    if predicted is None:
        return "-"
    return "supports" if p[predicted] < ALPHA else "undermines" if p[OTHER[predicted]] < ALPHA else "undecided"
