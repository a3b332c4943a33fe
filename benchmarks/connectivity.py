"""What pairs of the connectivity studies cost: a ResNet step and its augmentation, a curve, a graph network's step.

`SYMLIB_DATA=... OMP_NUM_THREADS=1 python benchmarks/connectivity.py` takes turns between sides in one run. The
straightforward graph network gathers a message per edge and adds up, features included, in every step.
"""

import resource
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from symlib.asymmetry import WAsymmetry, constraint
from symlib.data.augmentation import LIM_CIFAR
from symlib.data.graphs import Graph, load_graph
from symlib.data.images import load
from symlib.interpolation import curves, line, mixing_weights
from symlib.networks.gnn import GNN
from symlib.networks.resnet import ResNet
from symlib.population import Population, evaluate, initialise
from symlib.seeds import generator
from symlib.training import Recipe, train

ROUNDS, BATCH, STEPS = 3, 64, 20
IMAGES, POINTS = 500, 25
HIDDEN, GRAPH_STEPS = (256, 256, 256), 3


class StraightforwardGNN(nn.Module):
    """The graph network as one would write it down: one message an edge."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.x, self.edges = graph.x, graph.edges
        self.degree = torch.bincount(graph.edges[0], minlength=len(graph.x)).clamp_min(1)[:, None]
        self.linears = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise([graph.x.shape[1], *HIDDEN, graph.n_classes]))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for width in HIDDEN)

    def forward(self, nodes: Tensor) -> Tensor:
        """Map node indices of shape (batch,) to logits of shape (batch, classes)."""
        h = self.x
        for linear, norm in zip(self.linears, self.norms, strict=False):
            messages = torch.zeros_like(h).index_add(0, self.edges[0], h[self.edges[1]])
            h = F.gelu(norm(linear(h + messages / self.degree)))
        return self.linears[-1](h[nodes])


def networks(model: nn.Module, n: int) -> Population:
    """Return untrained W-asymmetric networks."""
    return initialise(model, constraint(model, WAsymmetry(4, 1.0), 0), range(n))


def medians(sides: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Run all sides in turns and return the median seconds of each."""
    for run in sides.values():
        run()  # warm up
    rounds = []
    for _ in range(ROUNDS):
        for run in sides.values():
            started = time.perf_counter()
            run()
            rounds.append(time.perf_counter() - started)
    return {name: statistics.median(rounds[i :: len(sides)]) for i, name in enumerate(sides)}


def resnets() -> None:
    """Time training a pair of ResNet-20s of width 1/2, together and apart, and the augmentation of its batches."""
    data = load("cifar10")
    x, y = data.train.x[: BATCH * STEPS], data.train.y[: BATCH * STEPS]
    pair, recipe = networks(ResNet(20, 0.5), 2), Recipe(1, BATCH, 1e-3, 0.0, augmentation=LIM_CIFAR)
    decisions = LIM_CIFAR.draw(len(x), (32, 32), generator("augment"))

    def batched() -> None:
        with patch("symlib.training.batched_pays", lambda *_: True):
            train(pair, x, y, recipe, [0, 1])

    took = medians(
        {
            "as one population": lambda: train(pair, x, y, recipe, [0, 1]),
            "the same, batched": batched,
            "one after another": lambda: [train(pair[[i]], x, y, recipe, [i]) for i in (0, 1)],
            "augmentation": lambda: [
                LIM_CIFAR(a, d) for _ in (0, 1) for a, d in zip(x.split(BATCH), decisions.split(BATCH), strict=True)
            ],
        }
    )
    print(f"a pair of ResNet-20s of width 1/2, {STEPS} steps of {BATCH} images each, seconds")
    for name, seconds in took.items():
        print(f"  {name:20}{seconds:7.2f}{seconds / took['as one population']:8.1%}")


def curve() -> None:
    """Time a curve in one call and point by point, and say how much memory its networks and passes add."""
    data, pair, lambdas = load("cifar10").test, networks(ResNet(20, 0.5), 2), mixing_weights(POINTS)
    x, y, a, b = data.x[:IMAGES], data.y[:IMAGES], pair[:1], pair[1:]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    took = medians(
        {
            "one call": lambda: curves(a, b, lambdas, x, y),
            "a loop": lambda: [evaluate(line(a, b, w[None]), x, y) for w in lambdas],
        }
    )
    added = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10
    print(f"\na curve of {POINTS} points, seconds per 1,000 images; memory on top {added:.0f} MiB")
    for name, seconds in took.items():
        print(f"  {name:20}{seconds / IMAGES * 1000:7.2f}")


def graph_networks() -> None:
    """Time steps on PubMed: straightforward, ours, and eight networks in turn and batched."""
    graph = load_graph("pubmed")
    model, recipe = GNN(graph.x, graph.edges, HIDDEN, graph.n_classes), Recipe(GRAPH_STEPS, 10**6, 1e-3, 0.0)
    nodes, eight = torch.arange(len(graph.y)), networks(model, 8)
    plain = StraightforwardGNN(graph)
    optimiser = torch.optim.AdamW(plain.parameters(), lr=1e-3)

    def straightforward() -> None:
        for _ in range(GRAPH_STEPS):
            F.cross_entropy(plain(nodes), graph.y).backward()
            optimiser.step()
            optimiser.zero_grad()

    def batched() -> None:
        with patch("symlib.training.batched_pays", lambda *_: True):
            train(eight, nodes, graph.y, recipe, range(8))

    took = medians(
        {
            "straightforward": straightforward,
            "ours": lambda: train(eight[:1], nodes, graph.y, recipe, [0]),
            "eight, in turn": lambda: train(eight, nodes, graph.y, recipe, range(8)),
            "eight, batched": batched,
        }
    )
    print(f"\na graph network of {HIDDEN[0]} units on PubMed, milliseconds per network and step")
    for name, seconds in took.items():
        each = seconds / GRAPH_STEPS / (8 if name.startswith("eight") else 1)
        print(f"  {name:20}{1e3 * each:7.0f}{took['straightforward'] / GRAPH_STEPS / each:8.1f} times as fast")


if __name__ == "__main__":
    torch.set_num_threads(1)
    resnets()
    curve()
    graph_networks()
