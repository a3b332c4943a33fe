"""Batched or one at a time: where the limits of `symlib.population.batched_pays` come from.

`python benchmarks/execution.py` trains and evaluates digit-sized networks of several widths both ways on one thread
and prints how many times faster the batched way is, beside the multiplications of one network in a pass.
"""

import statistics
import time
from collections.abc import Callable
from unittest.mock import patch

import torch

from symlib.asymmetry import Standard, constraint
from symlib.data.images import digits
from symlib.networks.mlp import MLP
from symlib.population import Population, evaluate, initialise, multiplications
from symlib.training import Recipe, train

ROUNDS, RECIPE, DATA = 3, Recipe(epochs=1, batch_size=64, lr=1e-3, weight_decay=0.03), digits()


def networks(width: int, n: int) -> Population:
    """Return untrained networks with three hidden layers."""
    model = MLP((64, width, width, width, 10))
    return initialise(model, constraint(model, Standard(), 0), range(n))


def training(population: Population) -> None:
    """Train for one epoch."""
    train(population, DATA.train.x, DATA.train.y, RECIPE, range(len(population)))


def evaluation(population: Population) -> None:
    """Evaluate on 1,000 inputs in one pass."""
    evaluate(population, DATA.train.x[:1000], DATA.train.y[:1000])


def ratio(work: Callable[[Population], None], population: Population) -> float:
    """Do the work one network at a time and batched, in turns; return how many times faster batched is."""
    ratios = []
    for _ in range(ROUNDS):
        took = []
        for batched in (False, True):
            with (
                patch("symlib.population.batched_pays", lambda *_, batched=batched: batched),
                patch("symlib.training.batched_pays", lambda *_, batched=batched: batched),
            ):
                started = time.perf_counter()
                work(population)
                took.append(time.perf_counter() - started)
        ratios.append(took[0] / took[1])
    return statistics.median(ratios)


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    print("       training in batches of 64                    evaluating 1,000 inputs")
    print("width  10^6 per pass   1, 2, 8, 32 networks         10^6 per pass   25 networks")
    for width in (16, 32, 64, 128, 256, 512):
        work = multiplications(networks(width, 1), DATA.train.x[:64]) / 1e6
        trained = "".join(f"{ratio(training, networks(width, n)):7.2f}" for n in (1, 2, 8, 32))
        seen = ratio(evaluation, networks(width, 25))
        print(f"{width:5}{work:15.1f}{trained}{work * 1000 / 64:22.1f}{seen:14.2f}", flush=True)


if __name__ == "__main__":
    main()
