"""One small pair of networks of every architecture, standard and W-asymmetric, on data that needs no files."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from torch import nn

from symlib.alignment.repair import reestimate
from symlib.asymmetry import Standard, WAsymmetry, constraint
from symlib.data.dataset import Dataset
from symlib.data.graphs import load_graph
from symlib.data.images import load
from symlib.interpolation import curves, line, mixing_weights
from symlib.networks.gnn import GNN
from symlib.networks.mlp import MLP
from symlib.networks.resnet import ResNet
from symlib.population import initialise
from symlib.presets import LIM_GNN
from symlib.seeds import seed
from symlib.training import Recipe, geometric_warmup, linear_warmup, train


@dataclass(frozen=True)
class Task:
    """An architecture with the data and recipe of a quick run."""

    make: Callable[[], tuple[nn.Module, Dataset]]
    asymmetry: WAsymmetry
    recipe: Recipe


def _mlp() -> tuple[nn.Module, Dataset]:
    return MLP((64, 64, 64, 64, 10)), load("digits")


def _resnet() -> tuple[nn.Module, Dataset]:
    return ResNet(8, 0.5, in_channels=1), load("digits")


def _gnn() -> tuple[nn.Module, Dataset]:
    graph = load_graph("blocks")
    return GNN(graph.x, graph.edges, (64, 64, 64), graph.n_classes), graph.task


# A quarter of the entries of most maps of the ResNet, as in the first stage of the paper's.
TASKS = {
    "MLP, digits": Task(
        _mlp, WAsymmetry((8, 8, 8, 32), (1.0, 1.0, 0.5, 0.25)), Recipe(30, 64, lr=1e-3, weight_decay=0.03)
    ),
    "ResNet-8, digits": Task(
        _resnet,
        WAsymmetry((4, 18, 18, 18, 36, 2, 36, 72, 4, 8), 2.0),
        Recipe(14, 64, lr=1e-2, weight_decay=0.0, schedule=geometric_warmup(0.01, 9)),
    ),
    "GNN, random graph": Task(_gnn, LIM_GNN, Recipe(100, 1000, lr=2e-3, weight_decay=0.0, schedule=linear_warmup(25))),
}


def pairs(architecture: str, method: str, n_pairs: int) -> pd.DataFrame:
    """Train some pairs and walk the line between them; BatchNorm statistics are re-estimated on training inputs.

    Args:
        architecture: A key of `TASKS`.
        method: "standard" or "w-asym".
        n_pairs: Pairs of networks.

    Returns:
        One row per pair and point: architecture, method, pair, lambda, test_loss (nats).

    Source: Lim et al. (2024), section 5.1, at toy scale.
    """
    task = TASKS[architecture]
    model, data = task.make()
    fixed = constraint(model, task.asymmetry if method == "w-asym" else Standard(), mask_seed=0)
    inits, orders = ([seed(architecture, what, i) for i in range(2 * n_pairs)] for what in ("init", "order"))
    start = initialise(model, fixed, inits)
    trained, _ = train(start, data.train.x, data.train.y, task.recipe, orders)
    lambdas = mixing_weights(13)
    found = curves(
        trained[0::2],
        trained[1::2],
        lambdas,
        data.test.x,
        data.test.y,
        between=lambda a, b, lambdas: reestimate(line(a, b, lambdas), data.train.x),
    )
    rows = pd.MultiIndex.from_product([range(n_pairs), lambdas.tolist()], names=["pair", "lambda"]).to_frame(
        index=False
    )
    return rows.assign(architecture=architecture, method=method, test_loss=found.loss.flatten().numpy())
