"""Trainable parameters of every network of paper B's Table 5, counted from the networks themselves."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import nn

from symlib import records
from symlib.asymmetry import WAsymmetry, constraint, linear_maps, n_trainable
from symlib.config import Config
from symlib.networks.gnn import GNN
from symlib.networks.mlp import MLP, relu
from symlib.networks.resnet import ResNet
from symlib.presets import LIM_BAYES_MLP, LIM_GNN, LIM_MNIST, LIM_RESNET8, buergin_resnet, lim_resnet
from symlib.records import Record

STUDY = "parameter_counts"


class ParameterCounts(Config):
    """Counting has nothing to set but where the record goes."""

    profile: Literal["quick"]
    out: str


@dataclass(frozen=True)
class Row:
    """One network and its W-asymmetric version."""

    section: str  # of paper B, or "A"
    make: Callable[[], nn.Module]
    asymmetry: WAsymmetry
    bayesian: bool = False


def _gnn() -> GNN:
    """Make the network for ogbn-arxiv on a graph of two nodes; the weights do not depend on the graph."""
    return GNN(torch.zeros(2, 128), torch.tensor([[0, 1], [1, 0]]), (256, 256, 256), 40)


def _deep_mlp(inputs: int, depth: int) -> MLP:
    return MLP((inputs, *[256] * depth, 10), relu)


ROWS = {
    "mlp": Row("B 5.1", lambda: MLP((784, 512, 512, 512, 10)), LIM_MNIST),
    "resnet-20": Row("B 5.1", lambda: ResNet(20), lim_resnet()),
    "resnet-20-8x": Row("B 5.1", lambda: ResNet(20, 8), lim_resnet(multiple=3)),
    "gnn": Row("B 5.1", _gnn, LIM_GNN),
    "mlp-8-bayes": Row("B 5.2", lambda: _deep_mlp(784, 8), LIM_BAYES_MLP, True),
    "mlp-16-bayes": Row("B 5.2", lambda: _deep_mlp(784, 16), LIM_BAYES_MLP, True),
    "mlp-8-bayes-cifar": Row("B 5.2", lambda: _deep_mlp(3072, 8), LIM_BAYES_MLP, True),
    "mlp-16-bayes-cifar": Row("B 5.2", lambda: _deep_mlp(3072, 16), LIM_BAYES_MLP, True),
    "resnet-20-bayes": Row("B 5.2", lambda: ResNet(20), lim_resnet(sigma_F=0.5), True),
    "resnet-20-2x-bayes": Row("B 5.2", lambda: ResNet(20, 2, 100), lim_resnet(sigma_F=0.5, read_out=False), True),
    "resnet-110-bayes": Row("B 5.2", lambda: ResNet(110), lim_resnet(110, sigma_F=0.5), True),
    "resnet-110-2x-bayes": Row(
        "B 5.2", lambda: ResNet(110, 2, 100), lim_resnet(110, sigma_F=0.5, read_out=False), True
    ),
    "resnet-8": Row("B 5.3", lambda: ResNet(8), LIM_RESNET8),
    "resnet-20-8x-buergin": Row("A", lambda: ResNet(20, 8), buergin_resnet()),
}


def run(config: ParameterCounts) -> Record:
    """Count and keep the record where the configuration says.

    Returns:
        A table with one row per network: trainable entries of the standard and of the W-asymmetric version, and how
        many are pinned. A Bayesian network trains a mean and four factors of its covariance for every linear map.
    """
    table = pd.DataFrame([_counted(name, row) for name, row in ROWS.items()])
    record = records.make(STUDY, config.model_dump(exclude={"out"}), table, {})
    if config.out:
        records.write(Path(config.out) / "record", record)
    return record


def quantities(record: Record) -> dict[str, np.ndarray]:
    """Return every count as a vector of one."""
    table = record.table.set_index("network")
    return {f"{kind}/{network}": np.array([n]) for kind in ("standard", "w-asym") for network, n in table[kind].items()}


def _counted(name: str, row: Row) -> dict:
    model = row.make()
    whole = sum(p.numel() for p in model.parameters())
    pinned = whole - n_trainable(model, constraint(model, row.asymmetry, 0))
    parameters = dict(model.named_parameters())
    in_maps = sum(
        w.numel() + (bias.numel() if (bias := parameters.get(name.removesuffix("weight") + "bias")) is not None else 0)
        for name, w in linear_maps(model).items()
    )
    copies = 5 if row.bayesian else 1
    standard = copies * in_maps + whole - in_maps
    return {
        "network": name,
        "section": row.section,
        "standard": standard,
        "w-asym": standard - copies * pinned,
        "pinned": pinned,
    }
