"""How close the closest centres of a layer are, by its width and the dimension of its inputs."""

import numpy as np
import pandas as pd
import torch

from symlib.effective.centres import centre_spacing
from symlib.studies.statements.layers import Rows, normal, slopes

WIDTHS = (16, 32, 64, 128, 256, 512, 1024)
DIMENSIONS = (1, 2, 4, 8, 32)
FAMILIES = ("gaussian", "signs", "repeated")
# From an independent program with random draws of its own: power of the width.
REFERENCE = {2: -1.005, 4: -0.510, 8: -0.269, 32: -0.092}


def rows(source: torch.Generator) -> Rows:
    """Return the spacing of Gaussian centres by dimension and width.

    And that of centres whose coordinates are 1 or -1, drawn with the same variance but without a density, and of
    Gaussian ones of which the second half repeats the first, so that they are not independent.
    """
    found = []
    for k in DIMENSIONS:
        for m in WIDTHS:
            centres = normal(m, k, source=source)
            families = {"gaussian": centres, "signs": centres.sign(), "repeated": centres[: m // 2].repeat(2, 1)}
            found += [(f"{family} {k}", m, centre_spacing(drawn)) for family, drawn in families.items()]
    return found


def quantities(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the power of the width, "slope/spacing/2", beside that of the theory, "power/spacing/2".

    And in which share of the layers two centres coincide: "coincide/gaussian/2", likewise "signs" and "repeated".
    """
    found = {}
    for k in DIMENSIONS:
        found[f"slope/spacing/{k}"] = slopes(table[f"gaussian {k}"])
        found[f"power/spacing/{k}"] = np.full(len(table), -2 / k)
        for family in FAMILIES:
            found[f"coincide/{family}/{k}"] = (table[f"{family} {k}"] == 0).mean(axis=1).to_numpy()
    return found
