"""Do neurons with one number do the same thing in two networks? Correlations under the identity and the best matching.

Source: Bürgin et al. (2026), activation-matching objective against the scale of the fixed weights, their share, and
the epoch.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from symlib.alignment.activation_matching import correlations
from symlib.alignment.objectives import identity_objective, optimal_objective, random_objective
from symlib.alignment.tracing import specification
from symlib.interpolation import accuracy_drop, curves, mixing_weights
from symlib.records import Record
from symlib.studies.analysis import analyse, networks, over_pairs
from symlib.studies.trained import Intervention, Positive, SweptNetworks, snapshot_epochs

STUDY = "matching_objective"
SHARE_SCALES = (0.0, 1.0)  # of the fixed entries, in the sweep over their share
# The authors' stored outputs: first hidden layer of MNIST MLPs after 100 epochs, by sigma_F; 2 or 8 pairs.
_SCALES = (0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
ARCHIVED = {
    "optimal": dict(zip(_SCALES, (0.512, 0.504, 0.514, 0.507, 0.503, 0.508, 0.624, 0.804, 0.917, 0.976), strict=True)),
    "identity": dict(
        zip(_SCALES, (-0.005, 0.002, -0.004, 0.022, 0.090, 0.267, 0.608, 0.804, 0.917, 0.976), strict=True)
    ),
}
# The same source: best matching of standard MLPs in the first hidden layer, by epoch.
ARCHIVED_EPOCHS = {0: 0.351, 5: 0.627, 10: 0.591, 20: 0.552, 50: 0.515, 100: 0.498}


class MatchingObjective(SweptNetworks):
    """Parameters of one run; their meaning stands beside each in the notebook's parameters cell."""

    share_sweep: list[Annotated[float, Field(gt=0, lt=1)]]
    n_seen: Positive

    def interventions(self) -> Sequence[Intervention]:
        """Return the four that are compared, and those of both sweeps."""
        shares = [Intervention("w-asym", s, share) for share in self.share_sweep for s in SHARE_SCALES]
        return [*super().interventions(), *shares]


def run(config: MatchingObjective) -> Record:
    """Run the study, one shard a pair; with `config.out` set, a killed run goes on where it stopped.

    Returns:
        A record with one row per intervention, pair, epoch and group of units: mean correlation under the identity, the
        best and a random matching, the share of units that the best matching leaves where they are, and for the pair,
        on `n_seen` test images, its accuracy in [0, 1] and what is lost halfway, in percentage points.
    """
    return analyse(STUDY, config, config.interventions(), over_pairs(config, measure))


def measure(config: MatchingObjective, intervention: Intervention, pair: int, folder: Path) -> pd.DataFrame:
    """Compare the units of one pair after every epoch that was kept, or after the last in a sweep."""
    data = config.family(intervention).data().to(config.device)
    tested = data.test.x[: config.n_seen], data.test.y[: config.n_seen]
    rows = []
    for epoch in snapshot_epochs(config.epochs) if intervention in config.compared() else [config.epochs]:
        both = networks(config, folder, intervention, epoch, [2 * pair, 2 * pair + 1])
        spec = specification(both.model, data.train.x[:2])
        found = correlations(both.model, *both.members(), spec, data.train.x[: config.n_seen])
        line = curves(both[:1], both[1:], mixing_weights(3), *tested)
        about = {
            "intervention": intervention.name,
            "kind": intervention.kind,
            "sigma_F": intervention.sigma_F,
            "share": intervention.share,
            "pair": pair,
            "epoch": epoch,
            "test_accuracy": line.accuracy[0, ::2].mean().item(),
            "drop": accuracy_drop(line.accuracy).item(),
        }
        rows += [about | {"layer": layer, **_objectives(R)} for (layer,), R in found.items()]
    return pd.DataFrame(rows)


def parts(record: Record) -> dict[str, pd.DataFrame]:
    """Return the rows of "epochs", the comparison over training, and those of the sweeps, "scales" and "shares"."""
    table = record.table
    last = table[(table["epoch"] == record.config["epochs"]) & (table["kind"] == "w-asym")]
    pairs = table.groupby("intervention")["epoch"].nunique()
    return {
        "epochs": table[table["intervention"].isin(pairs.index[pairs > 1])],
        "scales": last[last["share"].isna()],
        "shares": last[last["share"].notna()],
    }


def quantities(record: Record) -> dict[str, np.ndarray]:
    """Return vectors with one value per pair, after the last epoch.

    Objectives of the first group of units as "identity/w-asym 1" and "optimal/...", "gap/..." for how much better the
    best matching is, each with "all-" before it for the mean over all groups; "accuracy/..." of tests in per cent.
    """
    last = record.table[record.table["epoch"] == record.config["epochs"]]
    found = {}
    for name, rows in last.groupby("intervention", sort=False):
        for prefix, chosen in {"": rows[rows["layer"] == rows["layer"].iloc[0]], "all-": rows}.items():
            means = chosen.groupby("pair")[["identity", "optimal"]].mean()
            found |= {f"{prefix}{what}/{name}": means[what].to_numpy() for what in means}
            found[f"{prefix}gap/{name}"] = (means["optimal"] - means["identity"]).to_numpy()
        found[f"accuracy/{name}"] = 100 * rows.groupby("pair")["test_accuracy"].first().to_numpy()
    return found


def _objectives(R: torch.Tensor) -> dict[str, float]:
    optimal, partners = optimal_objective(R)
    random, random_sd = random_objective(R)
    stays = (partners == torch.arange(len(R))).double().mean().item()
    return {
        "identity": identity_objective(R),
        "optimal": optimal,
        "random": random,
        "random_sd": random_sd,
        "stays": stays,
    }
