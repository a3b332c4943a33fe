"""Linear mode connectivity of graph networks, with the activation and the asymmetry varied one at a time.

The released W-asymmetric graph network replaces GELU by gates so soft that the activation is x / 2 to three digits.
Here every asymmetry meets every activation, so that the two can be told apart.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from symlib import records
from symlib.alignment.activation_matching import activation_matching
from symlib.alignment.permutation import permute_members, unconstrained
from symlib.alignment.repair import reestimate
from symlib.alignment.tracing import specification
from symlib.alignment.weight_matching import weight_matching
from symlib.asymmetry import Asymmetry, Sigma, Standard, activation_for, constraint, n_trainable
from symlib.config import Config
from symlib.data.graphs import Graph, load_graph, verify_graph
from symlib.interpolation import accuracy_drop, curves, line, midpoint_barrier, mixing_weights
from symlib.networks.gnn import GNN
from symlib.networks.mlp import Activation, gelu
from symlib.population import Population, initialise, logits
from symlib.presets import LIM_GNN, SIGMA_GNN
from symlib.records import Record
from symlib.seeds import generator, seed
from symlib.studies.removed_share import judged, with_removed_share
from symlib.studies.shards import joined_facts, refuse_missing_device, run_shards
from symlib.training import Recipe, linear_warmup, train

STUDY = "graph_connectivity"
SHARES = (0.54, 0.18)  # of nodes for training and validation in ogbn-arxiv; the rest is for testing
LOOK_EVERY = 10  # epochs between two looks at the accuracies
RESTARTS = 3  # of weight matching

NONE = Standard()

Positive = Annotated[int, Field(ge=1)]


class Half(nn.Module):
    """The linear activation x / 2, which FiGLU is without a gate."""

    def forward(self, x: Tensor) -> Tensor:
        """Halve."""
        return x / 2


def half(site: int, width: int) -> nn.Module:
    """Return x / 2 for every block."""
    return Half()


@dataclass(frozen=True)
class Variant:
    """What is fixed in a network, and its activation.

    Attributes:
        asymmetry: Of the weights.
        gates: Of the activation; None leaves `activation`.
        activation: Without gates.
        pinned: Entries stay fixed; otherwise they only start there.
    """

    asymmetry: Asymmetry = NONE
    gates: Sigma | None = None
    activation: Activation = gelu
    pinned: bool = True

    @property
    def symmetric(self) -> bool:
        """Whether its units may be reordered, so that pairs can be aligned."""
        return self.gates is None and (isinstance(self.asymmetry, Standard) or not self.pinned)


VARIANTS = {
    "standard": Variant(),
    "half": Variant(activation=half),
    "sigma": Variant(gates=SIGMA_GNN),
    "sigma hard": Variant(gates=Sigma(1.0, by_width=True)),
    "w-asym": Variant(LIM_GNN),
    "w-asym sigma": Variant(LIM_GNN, gates=SIGMA_GNN),  # as released
    "w-asym half": Variant(LIM_GNN, activation=half),
    "w-asym 0": Variant(replace(LIM_GNN, sigma_F=0.0)),
    "w-asym 2": Variant(replace(LIM_GNN, sigma_F=2.0)),
    "anchor": Variant(LIM_GNN, pinned=False),
}
# What "it is the missing permutation symmetry that removes the barrier" predicts, as for MLPs (`controls`): the anchor
# has the symmetry, W-asymmetric networks of zeros do not. W-asymmetric networks with GELU are 1 by definition here, so
# that the other question, whether gates are the reason, is asked of "half": a linear activation, and nothing else.
PREDICTED = {"anchor": "less", "w-asym 0": "more"}


class GraphConnectivity(Config):
    """Parameters of one run; their meaning stands beside each in the notebook's parameters cell."""

    profile: Literal["quick", "cpu", "paper", "custom"]
    dataset: Literal["blocks", "cora", "citeseer", "pubmed", "ogbn-arxiv"]
    split: Literal["published", "random"]
    hidden: Positive
    n_pairs: Annotated[int, Field(ge=2)]
    epochs: Positive
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    warmup: Positive
    variants: Annotated[list[Literal[*VARIANTS]], Field(min_length=1)]
    n_points: int
    mask_seed: int
    base_seed: int
    workers: Positive
    device: Literal["cpu", "cuda"]
    out: str

    @model_validator(mode="after")
    def _refuse_before_work_starts(self) -> "GraphConnectivity":
        mixing_weights(self.n_points)
        refuse_missing_device(self.device)
        return self

    @property
    def science(self) -> dict:
        """The parameters that the result of one pair of one variant depends on."""
        return self.model_dump(exclude={"profile", "n_pairs", "variants", "workers", "device", "out"})


def graph_of(config: GraphConnectivity) -> Graph:
    """Return the graph, its nodes split as published or at random in the proportions of ogbn-arxiv."""
    graph = load_graph(config.dataset)
    if config.split == "published":
        return graph
    order = torch.randperm(len(graph.y), generator=generator("split", config.dataset))
    n_train, n_valid = (round(share * len(order)) for share in SHARES)
    sets = order.split([n_train, n_valid, len(order) - n_train - n_valid])
    return replace(graph, **dict(zip(("train", "valid", "test"), sets, strict=True)))


def start(config: GraphConnectivity, graph: Graph, variant: Variant, networks: list[int]) -> Population:
    """Return networks before training; network i starts from the same draw in all variants."""
    activation = activation_for(variant.gates, config.mask_seed) if variant.gates else variant.activation
    model = GNN(graph.x, graph.edges, [config.hidden] * 3, graph.n_classes, activation)
    fixed = constraint(model, variant.asymmetry, config.mask_seed)
    drawn = initialise(model, fixed, [seed(config.base_seed, "init", i) for i in networks])
    return drawn if variant.pinned else unconstrained(drawn)


def run(config: GraphConnectivity) -> Record:
    """Train and compare all variants, one pair a shard; with `config.out` set, a killed run goes on where it stopped.

    Returns:
        A record with one row per variant, method, pair, treatment of the statistics and point of the line, and what
        the networks of each variant scored in its facts.
    """
    verify_graph(config.dataset)
    out = Path(config.out) if config.out else None
    work = {
        f"{name.replace(' ', '-')}-{pair:03d}": (
            config.science | {"variant": name, "pair": pair},
            partial(measure, config, name, pair),
        )
        for pair in range(config.n_pairs)
        for name in config.variants
    }
    parts = run_shards(work, out and out / "shards", config.workers, config.epochs)
    facts = {
        "networks": {name: _joined(parts, name) for name in config.variants},
        "data_sha256": parts[0].about["data_sha256"],
        **joined_facts(parts, config.device),
    }
    table = pd.concat([part.table for part in parts], ignore_index=True)
    record = records.make(STUDY, config.model_dump(exclude={"out"}), table, facts)
    if out is not None:
        records.write(out / "record", record)
    return record


def measure(
    config: GraphConnectivity, name: str, pair: int, folder: Path | None, on_epoch: Callable[[], None]
) -> Record:
    """Train the two networks of a pair, align them where that is possible, and evaluate the lines.

    Returns:
        Rows with test loss in nats and test accuracy in [0, 1]. A pair that diverged has rows without them.
    """
    started = time.perf_counter()
    graph, variant = graph_of(config).to(config.device), VARIANTS[name]
    networks = [2 * pair, 2 * pair + 1]
    drawn = start(config, graph, variant, networks).to(config.device)
    recipe = Recipe(config.epochs, len(graph.train), config.lr, 0.0, linear_warmup(config.warmup))
    seen: list[Tensor] = []  # accuracies on training and validation nodes, each of shape (2, networks)

    def look(epoch: int, population: Population) -> None:
        if epoch % LOOK_EVERY == 0 or epoch == config.epochs:
            seen.append(torch.stack(_accuracies(population, graph, graph.train, graph.valid)))

    facts = {"variant": name, "data_sha256": graph.sha256}
    try:
        trained, losses = train(
            drawn,
            graph.train,
            graph.y[graph.train],
            recipe,
            [seed(config.base_seed, "order", i) for i in networks],
            None,  # a pair takes minutes; a killed run trains it again
            on_epoch,
            look,
        )
    except FloatingPointError:
        empty = {"lambda": mixing_weights(config.n_points), "test_loss": np.nan, "test_accuracy": np.nan}
        table = pd.DataFrame({"method": "unaligned", "statistics": "re-estimated"} | empty)
    else:
        facts |= _scores(trained, graph, losses, torch.stack(seen))
        table = pd.concat(_lines(config, pair, trained, graph, variant), ignore_index=True)
    facts["compute_s"] = round(time.perf_counter() - started, 1)
    return records.make(
        STUDY, config.science | {"variant": name, "pair": pair}, table.assign(variant=name, pair=pair), facts
    )


@torch.no_grad()
def _accuracies(population: Population, graph: Graph, *sets: Tensor) -> list[Tensor]:
    """Return the accuracies on sets of nodes of networks with statistics of the whole graph, as in training."""
    nodes = torch.cat(sets)
    right = logits(reestimate(population, nodes), nodes).argmax(-1) == graph.y[nodes]
    return [part.double().mean(1).cpu() for part in right.split([len(nodes) for nodes in sets], dim=1)]


def _scores(trained: Population, graph: Graph, losses: Tensor, seen: Tensor) -> dict:
    """Return what the networks scored, and how far the two of the pair are apart."""
    a, b = (torch.cat([w.flatten() for w in one.values()]) for one in _trainable(trained))
    return {
        "train_loss": losses[-1].tolist(),
        "train_accuracy": seen[-1, 0].tolist(),
        "best_train_accuracy": seen[:, 0].amax(0).tolist(),
        "best_valid_accuracy": seen[:, 1].amax(0).tolist(),
        "test_accuracy": _accuracies(trained, graph, graph.test)[0].tolist(),
        "distance": [float((a - b).norm())],
        "n_trainable": [n_trainable(trained.model, trained.constraint)],
    }


def _trainable(population: Population) -> Iterator[dict[str, Tensor]]:
    """Yield the weights of each network with pinned entries, which are equal in both, left at 0."""
    D = population.constraint.D
    for i in range(len(population)):
        yield {name: w[i] * D[name].to(w) if name in D else w[i] for name, w in population.params.items()}


def _lines(
    config: GraphConnectivity, pair: int, trained: Population, graph: Graph, variant: Variant
) -> Iterator[pd.DataFrame]:
    """Yield the lines of a pair: as it is, and aligned; with statistics re-estimated, and as mixed."""
    first, second = trained[:1], trained[1:]
    ends = {"unaligned": second} | (_aligned(config, pair, first, second, graph) if variant.symmetric else {})
    lambdas = mixing_weights(config.n_points)
    for method, end in ends.items():
        for statistics, between in {"re-estimated": partial(_mended, graph), "as mixed": line}.items():
            scores = curves(first, end, lambdas, graph.test, graph.y[graph.test], between)
            columns = {"test_loss": scores.loss[0].cpu(), "test_accuracy": scores.accuracy[0].cpu()}
            yield pd.DataFrame({"method": method, "statistics": statistics, "lambda": lambdas} | columns)


def _mended(graph: Graph, a: Population, b: Population, lambdas: Tensor) -> Population:
    return reestimate(line(a, b, lambdas), graph.train)


def _aligned(
    config: GraphConnectivity, pair: int, first: Population, second: Population, graph: Graph
) -> dict[str, Population]:
    """Return the second network with its units reordered in two ways."""
    spec = specification(first.model, graph.train[:2])
    a, b = next(first.members()), next(second.members())
    found = {
        "git-rebasin": weight_matching(a, b, spec, generator(config.base_seed, "match", pair), RESTARTS),
        "activation-matching": activation_matching(first.model, a, b, spec, graph.train),
    }
    return {method: permute_members(spec, [one], second, graph.test[:100]) for method, one in found.items()}


def pairs(record: Record, statistics: str = "re-estimated") -> pd.DataFrame:
    """Sum up every line: one row per variant, method and pair.

    Args:
        record: Of this study.
        statistics: "re-estimated" as in the paper's code, or "as mixed".

    Returns:
        Columns `barrier` (midpoint, nats) and `drop` (accuracy, percentage points); NaN for pairs that diverged.
    """
    rows = []
    table = record.table[record.table["statistics"] == statistics]
    for (variant, method, pair), points in table.groupby(["variant", "method", "pair"], sort=False):
        loss, accuracy = (torch.tensor(points[c].to_numpy())[None] for c in ("test_loss", "test_accuracy"))
        found = {"barrier": float(midpoint_barrier(loss)), "drop": float(accuracy_drop(accuracy))}
        rows.append({"variant": variant, "method": method, "pair": pair} | found)
    return pd.DataFrame(rows)


def unaligned(record: Record) -> pd.DataFrame:
    """Return the rows of `pairs` without alignment, with the share of the barrier that each pair removes."""
    found = pairs(record)
    return with_removed_share(found[found["method"] == "unaligned"])


def verdicts(record: Record) -> pd.DataFrame:
    """Judge every variant by the share of the barrier that it removes, as `removed_share.judged` does."""
    return judged(unaligned(record), PREDICTED)


def quantities(record: Record) -> dict[str, np.ndarray]:
    """Return vectors with one value per pair or network.

    "barrier/standard", and "barrier/standard git-rebasin" for aligned pairs; "removed/anchor"; "gap/standard", best
    training less best validation accuracy in percentage points; "distance/standard", between the two networks of a
    pair and divided by the number of trainable parameters.
    """
    found = {}
    for (variant, method), rows in pairs(record).groupby(["variant", "method"]):
        name = variant if method == "unaligned" else f"{variant} {method}"
        found[f"barrier/{name}"] = rows["barrier"].dropna().to_numpy()
    for variant, rows in unaligned(record).groupby("variant"):
        found[f"removed/{variant}"] = rows["removed"].dropna().to_numpy()
    for variant, scores in record.about["networks"].items():
        best, valid, distance, n = (
            np.array(scores[key]) for key in ("best_train_accuracy", "best_valid_accuracy", "distance", "n_trainable")
        )
        found[f"gap/{variant}"] = 100 * (best - valid)
        found[f"distance/{variant}"] = distance / n
    return found


def _joined(parts: list[Record], name: str) -> dict[str, list[float]]:
    """Join what the networks of one variant scored; pairs that diverged have no scores."""
    mine = [part.about for part in parts if part.about["variant"] == name and "train_loss" in part.about]
    keys = ("train_loss", "train_accuracy", "best_train_accuracy", "best_valid_accuracy", "test_accuracy")
    return {key: [v for about in mine for v in about[key]] for key in (*keys, "distance", "n_trainable")}
