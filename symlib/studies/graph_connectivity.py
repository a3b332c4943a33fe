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

from symlib.alignment.permutation import unconstrained
from symlib.alignment.repair import reestimate
from symlib.asymmetry import Asymmetry, Sigma, Standard, Syre, activation_for, constraint
from symlib.claims import Increasing, Near, survivors
from symlib.config import Config
from symlib.data.graphs import Graph, load_graph, verify_graph
from symlib.interpolation import curves, line, mixing_weights
from symlib.networks.gnn import GNN
from symlib.networks.mlp import Activation, gelu
from symlib.population import Population, initialise, logits
from symlib.presets import LIM_GNN, SIGMA_GNN
from symlib.records import Record
from symlib.seeds import generator, seed
from symlib.studies.shards import refuse_missing_device
from symlib.studies.variants import (
    Prediction,
    aligned,
    as_they_are,
    joined,
    judged,
    line_quantities,
    no_line,
    reestimated,
    refuse_missing_variants,
    run_pairs,
    separation,
    shard_record,
    summed_up,
)
from symlib.training import Recipe, linear_warmup, train

STUDY = "graph_connectivity"
SHARES = (0.54, 0.18)  # of nodes for training and validation in ogbn-arxiv; the rest is for testing
LOOK_EVERY = 10  # epochs between two looks at the accuracies

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
        warmup: Epochs of warm-up; None for those of the study.
    """

    asymmetry: Asymmetry = NONE
    gates: Sigma | None = None
    activation: Activation = gelu
    pinned: bool = True
    warmup: int | None = None

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
    "syre": Variant(Syre(LIM_GNN.sigma_F)),
    "standard warm 1": Variant(warmup=1),
    "w-asym sigma warm 1": Variant(LIM_GNN, gates=SIGMA_GNN, warmup=1),
}
# Written down before any network was trained on a citation graph, after small runs on a random graph, here and
# elsewhere, that pointed against both readings; see `controls`, whose readings these are.
PREDICTED = {"anchor": Prediction("needed", "less"), "w-asym 0": Prediction("enough", "more")}
# The same for the other question, what the activation explains: statement -> quantity and rule, as in claims.toml.
ACTIVATION: dict[str, tuple[str, Near | Increasing]] = {
    "barriers of sigma-asymmetric networks are those of x / 2, to a tenth of the standard one": (
        "apart/sigma",
        Near(kind="near", other=0.0, margin=0.1),
    ),
    "x / 2 alone lowers the barrier": (
        "barrier/half",
        Increasing(kind="increasing", order=["barrier/half", "barrier/standard"]),
    ),
    "x / 2 alone narrows the gap between training and validation": (
        "gap/half",
        Increasing(kind="increasing", order=["gap/half", "gap/standard"]),
    ),
    "W-asymmetry with GELU lowers the barrier": (
        "barrier/w-asym",
        Increasing(kind="increasing", order=["barrier/w-asym", "barrier/standard"]),
    ),
    "W-asymmetry with GELU narrows the gap": (
        "gap/w-asym",
        Increasing(kind="increasing", order=["gap/w-asym", "gap/standard"]),
    ),
    "the released gates lower the barrier of W-asymmetric networks further": (
        "barrier/w-asym sigma",
        Increasing(kind="increasing", order=["barrier/w-asym sigma", "barrier/w-asym"]),
    ),
}


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
        refuse_missing_variants(self.variants)
        refuse_missing_device(self.device)
        return self

    @property
    def science(self) -> dict:
        """The parameters that the result of one pair of one variant depends on."""
        left_out = {"profile", "n_pairs", "variants", "workers", "device", "out"}
        return self.model_dump(exclude=left_out) | {"look_every": LOOK_EVERY}


def graph_of(config: GraphConnectivity) -> Graph:
    """Return the graph, its nodes split as published or at random in the proportions of ogbn-arxiv."""
    graph = load_graph(config.dataset)
    if config.split == "published":
        return graph
    order = torch.randperm(len(graph.y), generator=generator("split", config.dataset))
    n_train, n_valid = (round(share * len(order)) for share in SHARES)
    sets = order.split([n_train, n_valid, len(order) - n_train - n_valid])
    return replace(graph, **dict(zip(("train", "valid", "test"), sets, strict=True)))


def start(config: GraphConnectivity, graph: Graph, variant: Variant, pair: int) -> Population:
    """Return the two networks of a pair before training.

    Networks of one number start from the same draw in all variants; each pair has pinned entries and gates of its own.
    """
    mask_seed = seed(config.mask_seed, "pair", pair)
    activation = activation_for(variant.gates, mask_seed) if variant.gates else variant.activation
    model = GNN(graph.x, graph.edges, [config.hidden] * 3, graph.n_classes, activation)
    fixed = constraint(model, variant.asymmetry, mask_seed)
    drawn = initialise(model, fixed, [seed(config.base_seed, "init", 2 * pair + i) for i in range(2)])
    return drawn if variant.pinned else unconstrained(drawn)


def run(config: GraphConnectivity) -> Record:
    """Train and compare all variants, one pair a shard; with `config.out` set, a killed run goes on where it stopped.

    Returns:
        A record with one row per variant, method, pair, treatment of the statistics and point of the line, and what
        the networks of each variant scored in its facts.
    """
    verify_graph(config.dataset)
    graph = graph_of(config)
    for name in config.variants:  # what does not fit shows here, and not after an hour
        start(config, graph, VARIANTS[name], 0)
    return joined(STUDY, config, run_pairs(config, config.variants, measure, config.epochs))


def measure(
    config: GraphConnectivity, name: str, pair: int, folder: Path | None, on_epoch: Callable[[], None]
) -> Record:
    """Train the two networks of a pair, align them where that is possible, and evaluate the lines.

    Returns:
        Rows with test loss in nats and test accuracy in [0, 1]. A pair that diverged has rows without them.
    """
    started = time.perf_counter()
    graph, variant = graph_of(config).to(config.device), VARIANTS[name]
    drawn = start(config, graph, variant, pair).to(config.device)
    recipe = Recipe(config.epochs, len(graph.train), config.lr, 0.0, linear_warmup(variant.warmup or config.warmup))
    seen: list[Tensor] = []  # accuracies on training and validation nodes, each of shape (2, networks)

    def look(epoch: int, population: Population) -> None:
        if epoch % LOOK_EVERY == 0 or epoch == config.epochs:
            seen.append(torch.stack(_accuracies(population, graph, graph.train, graph.valid)))

    facts = {"data_sha256": graph.sha256}
    try:
        trained, losses = train(
            drawn,
            graph.train,
            graph.y[graph.train],
            recipe,
            [seed(config.base_seed, "order", 2 * pair + i) for i in range(2)],
            None,  # a pair takes minutes; a killed run trains it again
            on_epoch,
            look,
        )
    except FloatingPointError:
        table = pd.DataFrame({"method": "unaligned", "statistics": "re-estimated"} | no_line(config.n_points))
    else:
        facts["scores"] = _scores(trained, graph, losses, torch.stack(seen))
        table = pd.concat(_lines(config, pair, trained, graph, variant), ignore_index=True)
    facts["compute_s"] = round(time.perf_counter() - started, 1)
    return shard_record(STUDY, config, name, pair, table, facts)


@torch.no_grad()
def _accuracies(population: Population, graph: Graph, *sets: Tensor) -> list[Tensor]:
    """Return the accuracies on sets of nodes of networks with statistics of the whole graph, as in training."""
    nodes = torch.cat(sets)
    right = logits(reestimate(population, nodes), nodes).argmax(-1) == graph.y[nodes]
    return [part.double().mean(1).cpu() for part in right.split([len(nodes) for nodes in sets], dim=1)]


def _scores(trained: Population, graph: Graph, losses: Tensor, seen: Tensor) -> dict:
    """Return what the networks scored, and how far the two of the pair are apart."""
    return {
        "train_loss": losses[-1].tolist(),
        "train_accuracy": seen[-1, 0].tolist(),
        "best_train_accuracy": seen[:, 0].amax(0).tolist(),
        "best_valid_accuracy": seen[:, 1].amax(0).tolist(),
        "test_accuracy": _accuracies(trained, graph, graph.test)[0].tolist(),
    } | separation(trained)


def _lines(
    config: GraphConnectivity, pair: int, trained: Population, graph: Graph, variant: Variant
) -> Iterator[pd.DataFrame]:
    """Yield the lines of a pair: as it is, and aligned; with statistics re-estimated, and as mixed."""
    first, second = trained[:1], trained[1:]
    ends = {"unaligned": second}
    if variant.symmetric:
        ends |= aligned(first, second, graph.train, generator(config.base_seed, "match", pair))
    lambdas = mixing_weights(config.n_points)
    for method, end in ends.items():
        for statistics, between in {"re-estimated": partial(reestimated, graph.train), "as mixed": line}.items():
            scores = curves(first, end, lambdas, graph.test, graph.y[graph.test], between)
            columns = {"test_loss": scores.loss[0].cpu(), "test_accuracy": scores.accuracy[0].cpu()}
            yield pd.DataFrame({"method": method, "statistics": statistics, "lambda": lambdas} | columns)


def pairs(record: Record, statistics: str = "re-estimated") -> pd.DataFrame:
    """Sum up every line: one row per variant, method and pair, as `variants.summed_up`.

    Args:
        record: Of this study.
        statistics: "re-estimated" as in the paper's code, or "as mixed".
    """
    table = record.table[record.table["statistics"] == statistics]
    return summed_up(table, ("variant", "method", "pair"))


def verdicts(record: Record) -> pd.DataFrame:
    """Judge every variant by the share of the barrier that it removes, as `variants.judged` does."""
    return judged(as_they_are(pairs(record)), PREDICTED)


def activation_effects(record: Record) -> dict[str, bool]:
    """Say what the activation explains by itself: statement -> whether its rule holds, where its variants were run."""
    found = quantities(record)
    return {
        said: rule.holds(found[quantity], found)
        for said, (quantity, rule) in ACTIVATION.items()
        if {quantity, *getattr(rule, "order", ())} <= found.keys()
    }


def quantities(record: Record) -> dict[str, np.ndarray]:
    """Return vectors with one value per pair or network.

    Those of `variants.line_quantities`; "gap/standard", best training less best validation accuracy in percentage
    points; and "apart/sigma", how far barriers are from those of x / 2 as a share of the mean standard one.
    """
    networks = record.about["networks"]
    found = line_quantities(pairs(record), networks)
    for variant, scores in networks.items():
        if scores:
            best, valid = (np.array(scores[f"best_{what}_accuracy"]) for what in ("train", "valid"))
            found[f"gap/{variant}"] = 100 * (best - valid)
    if {"barrier/half", "barrier/sigma"} <= found.keys():
        wide = as_they_are(pairs(record)).pivot(index="pair", columns="variant", values="barrier")
        found["apart/sigma"] = survivors((wide["sigma"] - wide["half"]) / wide["standard"].mean())
    return found
