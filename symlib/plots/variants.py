"""Tables of variants that are judged by the share of the barrier that they remove."""

from collections.abc import Callable

import pandas as pd

from symlib.claims import p_text


def verdict_table(verdicts: pd.DataFrame, label: Callable[[str], str] = str) -> pd.DataFrame:
    """Return what was found of every variant as text.

    Args:
        verdicts: As `studies.variants.judged` returns it.
        label: Names a variant.
    """
    left_out = verdicts["diverged"].astype(str) + " / " + verdicts["unpaired"].astype(str)
    beyond = verdicts["beyond"].map("{:.3f}".format) + " ± " + verdicts["ci"].map("{:.3f}".format)
    columns = {
        "networks": verdicts["variant"].map(label),
        "pairs": verdicts["n"],
        "diverged / unpaired": left_out,
        "accuracy (%)": verdicts["end_accuracy"].map("{:.1f}".format),
        "barrier (nats)": verdicts["barrier"].map("{:.3f}".format),
        "share removed": verdicts["removed"].map("{:.2f}".format),
        "above W-asymmetric (nats)": beyond,
        "p, more than half": verdicts["p_more"].map(p_text),
        "p, less than half": verdicts["p_less"].map(p_text),
        "missing symmetry is": [
            "-" if row.reading == "-" else f"{row.reading}: {row.verdict}" for row in verdicts.itertuples()
        ],
    }
    return pd.DataFrame(columns).set_index("networks")
