"""Are networks with identifiable neurons joined by straight lines as they are, and the others once they are aligned?

Source: Bürgin et al. (2026), accuracy along the line between MNIST MLPs and CIFAR-10 ResNets, unaligned and aligned.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pydantic import model_validator
from torch import Tensor

from symlib.alignment.activation_matching import activation_matching
from symlib.alignment.permutation import permute_members, unconstrained
from symlib.alignment.tracing import specification
from symlib.data.dataset import Dataset
from symlib.interpolation import curves, maximum_barrier, midpoint_barrier, mixing_weights
from symlib.population import Population
from symlib.records import Record
from symlib.studies.analysis import analyse, networks, over_pairs
from symlib.studies.trained import Intervention, Positive, TrainedNetworks

STUDY = "identifiability_connectivity"
# The authors' stored mean curves, unaligned: accuracy on training images in per cent, drops in points; MLPs 8 pairs,
# 100 epochs; ResNets seen on ten fixed batches of augmented images after the first pair.
ARCHIVED = {
    "mlp": {
        "standard": {"worst": 94.55, "drop": 5.4},
        "w-asym 0": {"worst": 94.51, "drop": 5.5},
        "w-asym 1": {"worst": 99.96, "drop": 0.0},
        "syre 1": {"worst": 99.93, "drop": 0.0},
    },
    "resnet": {
        "standard": {"worst": 9.3, "drop": 88.0},
        "w-asym 0": {"worst": 9.6, "drop": 88.0},
        "w-asym 2": {"worst": 89.7, "drop": 8.0},
        "syre 2": {"worst": 74.7, "drop": 22.0},
    },
}


class IdentifiabilityConnectivity(TrainedNetworks):
    """Parameters of one run; their meaning stands beside each in the notebook's parameters cell."""

    n_points: int
    n_seen: Positive

    @model_validator(mode="after")
    def _refuse_even_grids(self) -> "IdentifiabilityConnectivity":
        mixing_weights(self.n_points)
        return self


def run(config: IdentifiabilityConnectivity) -> Record:
    """Run the study, one shard a pair; with `config.out` set, a killed run goes on where it stopped.

    Returns:
        A record with one row per intervention, pair, method, split and point of the line: mean loss in nats and
        accuracy in [0, 1] on the first `n_seen` images of the split.
    """
    return analyse(STUDY, config, config.interventions(), over_pairs(config, measure))


def measure(config: IdentifiabilityConnectivity, intervention: Intervention, pair: int, folder: Path) -> pd.DataFrame:
    """Evaluate both lines of one pair."""
    data = config.family(intervention).data().to(config.device)
    both = networks(config, folder, intervention, config.epochs, [2 * pair, 2 * pair + 1])
    table = lines(both[:1], both[1:], data, mixing_weights(config.n_points), config.n_seen)
    return table.assign(intervention=intervention.name, pair=pair)


def lines(a: Population, b: Population, data: Dataset, lambdas: Tensor, n_seen: int) -> pd.DataFrame:
    """Evaluate the line between two networks as they are, and after the second was aligned with the first.

    Args:
        a: First network.
        b: Second network, which is aligned by the correlation of activations on training images.
        data: Where to evaluate and align.
        lambdas: Mixing weights of the second network, shape (T,).
        n_seen: Images of each split that are looked at.

    Returns:
        Columns method, split, lambda, loss (nats), accuracy ([0, 1]).
    """
    x = data.train.x[:n_seen]
    spec = specification(a.model, x[:2])
    found = activation_matching(a.model, *a.members(), *b.members(), spec, x)
    ends = {"unaligned": (a, b), "aligned": (unconstrained(a), permute_members(spec, [found], b, x[:100]))}
    tables = []
    for method, pair in ends.items():
        for name, split in {"train": data.train, "test": data.test}.items():
            scores = curves(*pair, lambdas, split.x[:n_seen], split.y[:n_seen])
            columns = {"lambda": lambdas, "loss": scores.loss[0].cpu(), "accuracy": scores.accuracy[0].cpu()}
            tables.append(pd.DataFrame({"method": method, "split": name} | columns))
    return pd.concat(tables, ignore_index=True)


def summaries(record: Record) -> pd.DataFrame:
    """Return one row per intervention, method, split and pair.

    Columns: midpoint and maximum barrier in nats; accuracy of the better end, at the midpoint and at the worst point in
    per cent; and the drop from the better end to the worst point in percentage points.

    Source: the stored curves of Bürgin et al. (2026), whose drops are plain differences too.
    """
    lambdas = mixing_weights(record.config["n_points"])
    rows = []
    keys = ["intervention", "method", "split"]
    for about, table in record.table.groupby(keys, sort=False):
        loss, accuracy = (
            torch.tensor(table.pivot(index="pair", columns="lambda", values=c).to_numpy()) for c in ("loss", "accuracy")
        )
        better = 100 * torch.maximum(accuracy[:, 0], accuracy[:, -1])
        columns = {
            "barrier": midpoint_barrier(loss),
            "max_barrier": maximum_barrier(loss, lambdas),
            "better_end": better,
            "midpoint": 100 * accuracy[:, len(lambdas) // 2],
            "worst": 100 * accuracy.amin(1),
            "drop": better - 100 * accuracy.amin(1),
        }
        rows.append(pd.DataFrame(dict(zip(keys, about, strict=True)) | {"pair": range(len(loss))} | columns))
    return pd.concat(rows, ignore_index=True)


def quantities(record: Record) -> dict[str, np.ndarray]:
    """Return vectors with one value per pair, named such as "drop/train/unaligned/w-asym 1"."""
    return {
        f"{what}/{split}/{method}/{name}": rows[what].to_numpy()
        for (name, method, split), rows in summaries(record).groupby(["intervention", "method", "split"], sort=False)
        for what in ("barrier", "max_barrier", "drop", "worst", "midpoint")
    }
