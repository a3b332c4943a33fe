"""Batched or one at a time: where `symlib.population.BATCHED_UP_TO` comes from.

`python benchmarks/execution.py` trains 2, 8 and 32 digit-sized networks of several widths both ways, one thread, and
prints how many times faster the batched way is.
"""

import statistics
import time

import torch

import symlib.population
from symlib.asymmetry import Standard, constraint
from symlib.data.images import digits
from symlib.networks.mlp import MLP
from symlib.population import initialise
from symlib.training import Recipe, train

ROUNDS, RECIPE = 3, Recipe(epochs=1, batch_size=64, lr=1e-3, weight_decay=0.03)


def seconds(population, data, limit: int) -> float:
    """Train for one epoch, batched if the networks are no larger than the limit."""
    symlib.population.BATCHED_UP_TO = limit
    started = time.perf_counter()
    train(population, data.train.x, data.train.y, RECIPE, range(len(population)))
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    data = digits()
    print("width  weights each  speed-up of batched over one at a time for 2, 8, 32 networks")
    for width in (16, 32, 64, 128, 256, 512):
        model = MLP((64, width, width, width, 10))
        n_weights = sum(p.numel() for p in model.parameters())
        ratios = []
        for n in (2, 8, 32):
            population = initialise(model, constraint(model, Standard(), 0), range(n))
            pairs = [[seconds(population, data, limit) for limit in (0, 10**9)] for _ in range(ROUNDS)]
            ratios.append(statistics.median(single / batched for single, batched in pairs))
        print(f"{width:5}{n_weights:14,}  " + "  ".join(f"{r:5.2f}" for r in ratios))


if __name__ == "__main__":
    main()
