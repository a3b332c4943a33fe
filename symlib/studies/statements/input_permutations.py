"""What a reordering of a layer's inputs changes about its centres, and when it changes nothing."""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from symlib.effective.input_permutations import input_change, input_spacing, transposition_changes
from symlib.studies.statements.layers import N_INPUTS, Rows, copied_axes, each, normal, random_subspace

DIMENSION = 8
WIDTHS = (16, 64, 256, 1024)


def rows(source: torch.Generator) -> Rows:
    """Return how far the closed form is off for exchanges and cycles of three, and the least change of any exchange.

    The least change stands beside sigma_F sqrt(m) times the smallest distance of two rows of U, at each width; once
    more for inputs that come in copies, and for one input whose constants repeat another's.
    """
    found = []
    for m in WIDTHS:
        plane, fixed = random_subspace(DIMENSION, source), normal(m, N_INPUTS, source=source)
        changes = transposition_changes(plane, fixed)
        a, b, c = torch.randperm(N_INPUTS, generator=source)[:3].tolist()
        exchange, cycle = (input_change(plane, fixed, _cycle(places)) for places in ([a, b], [a, b, c]))
        product = float(changes[a, b])
        twins = fixed.clone()
        twins[:, b] = twins[:, a]
        found += [
            ("closed form/exchange", m, abs(exchange / product - 1)),
            ("closed form/cycle", m, abs(cycle / float((changes[a, b] ** 2 + changes[b, c] ** 2).sqrt()) - 1)),
            ("least/distinct", m, _least(changes) / input_spacing(plane, 1.0, m)),
            ("least/copies", m, _least(transposition_changes(copied_axes(DIMENSION, 4), fixed))),
            ("least/twin constants", m, _least(transposition_changes(plane, twins))),
        ]
    return found


def _cycle(places: list[int]) -> Tensor:
    """Return the order in which each of the places holds the next one's input."""
    order = torch.arange(N_INPUTS)
    order[places] = order[places[1:] + places[:1]]
    return order


def _least(changes: Tensor) -> float:
    return float(changes.fill_diagonal_(torch.inf).min())


def quantities(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return "closed form/exchange/16" and the like, by neurons of the layer; of the worst width as "exchange"."""
    return each(table) | {"exchange": table["closed form/exchange"].max(axis=1).to_numpy()}
