"""How much of the lead of one kind of networks over another is left when something else is taken away or given.

The whole lead counts as 1. One-sided t-tests decide whether more than half of it is left, or less.
"""

import numpy as np

from symlib.claims import ALPHA, p_above

JUDGED = ("n", "part", "lead", "share", "p_most", "p_little", "verdict")


def judged(part: np.ndarray, lead: np.ndarray) -> dict[str, float | str]:
    """Judge what part of a lead is left.

    Args:
        part: What is left, one value per run or network; NaN for one that diverged.
        lead: The whole lead, of the same runs or networks; above 0 on average if there is one.

    Returns:
        The values of `JUDGED`: n (values judged); means of both, part and lead; share; p_most and p_little, of more and
        of less than half; and verdict: "most", "little" or "undecided" of a lead that is above 0, else "reversed" or
        "no lead shown".
    """
    sound = np.isfinite(part) & np.isfinite(lead)
    part, lead = part[sound], lead[sound]
    found = {"n": len(part), "part": _mean(part), "lead": _mean(lead)}
    found |= {"p_most": p_above(part - lead / 2, 0), "p_little": p_above(lead / 2 - part, 0)}
    there = p_above(lead, 0) < ALPHA
    found |= {"share": found["part"] / found["lead"] if there else np.nan}
    if not there:
        return found | {"verdict": "reversed" if p_above(-lead, 0) < ALPHA else "no lead shown"}
    if found["p_most"] < ALPHA:
        return found | {"verdict": "most"}
    return found | {"verdict": "little" if found["p_little"] < ALPHA else "undecided"}


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
