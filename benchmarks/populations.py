"""How fast populations train, batched and one network after another, and what two processes add.

`python benchmarks/populations.py` trains 1, 4, 16 and 64 networks of three small architectures on one thread. Both ways
take turns in one run; the last column is what `symlib.population` chooses by itself.
"""

import multiprocessing
import statistics
import time
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from symlib.asymmetry import WAsymmetry, constraint
from symlib.data.dataset import Dataset
from symlib.data.graphs import load_graph
from symlib.data.images import load
from symlib.networks.gnn import GNN
from symlib.networks.mlp import MLP
from symlib.networks.resnet import ResNet
from symlib.population import Population, batched_pays, initialise
from symlib.training import Recipe, train

ROUNDS, SIZES = 3, (1, 4, 16, 64)


def mlp() -> tuple[torch.nn.Module, Dataset, Recipe]:
    """Return the digits MLP, 64 wide."""
    return MLP((64, 64, 64, 64, 10)), load("digits"), Recipe(1, 64, 1e-3, 0.0)


def resnet() -> tuple[torch.nn.Module, Dataset, Recipe]:
    """Return ResNet-8 on digits with 8, 16 and 32 channels."""
    return ResNet(8, 0.5, in_channels=1), load("digits"), Recipe(1, 64, 1e-3, 0.0)


def gnn() -> tuple[torch.nn.Module, Dataset, Recipe]:
    """Return the GNN, 64 wide, for ten steps on the random graph."""
    graph = load_graph("blocks")
    return GNN(graph.x, graph.edges, (64, 64, 64), graph.n_classes), graph.task, Recipe(10, 1000, 1e-3, 0.0)


TASKS = {"MLP, digits": mlp, "ResNet-8, digits": resnet, "GNN, 2,000 nodes": gnn}


def peak() -> float:
    """Return the GFLOP/s of a 1,024 x 1,024 matrix product on one thread."""
    a, b = torch.randn(2, 1024, 1024)
    started = time.perf_counter()
    for _ in range(40):
        a @ b
    return 40 * 2 * 1024**3 / (time.perf_counter() - started) / 1e9


def flops(task: str) -> int:
    """Return the floating point operations of training one network by the recipe."""
    model, data, recipe = TASKS[task]()
    x, y = data.train.x[: recipe.batch_size], data.train.y[: recipe.batch_size]
    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(model(x), y).backward()
    return counter.get_total_flops() * recipe.epochs * -(-len(data.train.x) // recipe.batch_size)


def networks(model: torch.nn.Module, n: int) -> Population:
    """Return untrained W-asymmetric networks."""
    return initialise(model, constraint(model, WAsymmetry(4, 1.0), 0), range(n))


def seconds(task: str, n: int, batched: bool) -> float:
    """Train n networks together or one after another; return seconds per network."""
    model, data, recipe = TASKS[task]()
    population = networks(model, n)
    with patch("symlib.training.batched_pays", lambda *_: batched):
        parts = [range(n)] if batched else [[i] for i in range(n)]
        started = time.perf_counter()
        for members in parts:
            train(population[list(members)], data.train.x, data.train.y, recipe, members)
        return (time.perf_counter() - started) / n


def resnets_in_process(n: int) -> float:
    """Train n ResNets in this process; return seconds in all."""
    torch.set_num_threads(1)
    return n * seconds("ResNet-8, digits", n, batched=False)


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    top = peak()
    print(f"matrix product on one thread: {top:.0f} GFLOP/s\n")
    print(f"{'':18}{'networks':>9}{'in turn':>12}{'batched':>9}  ms per network   ratio   inputs/s  of peak   chosen")
    for task, make in TASKS.items():
        model, data, recipe = make()
        work, seen = flops(task), recipe.epochs * len(data.train.x)
        seconds(task, 2, batched=True)
        for n in SIZES:
            chosen = batched_pays(networks(model, n), data.train.x[: recipe.batch_size])
            rounds = [[seconds(task, n, batched) for batched in (False, True)] for _ in range(ROUNDS)]
            single, batched = (statistics.median(side) for side in zip(*rounds, strict=True))
            took = batched if chosen else single
            shown = f"{1e3 * single:>12.1f}{1e3 * batched:>9.1f}{single / batched:>24.2f}{seen / took:>11,.0f}"
            which = "batched" if chosen else "in turn"
            print(f"{task:18}{n:>9}{shown}{work / took / 1e9 / top:>9.0%}   {which}")
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        pool.map(resnets_in_process, [1, 1])  # start up
        rounds = []
        for _ in range(ROUNDS):
            alone = pool.apply(resnets_in_process, (8,))
            rounds.append(2 * alone / max(pool.map(resnets_in_process, [8, 8])))
    print(f"\n16 ResNet-8 on two processes: {statistics.median(rounds):.2f} times as fast as on one")


if __name__ == "__main__":
    main()
