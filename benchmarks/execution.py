"""Batched or one at a time: where `symlib.population.BATCHED_UP_TO` comes from.

`python benchmarks/execution.py` trains 2, 8 and 32 digit-sized networks of several widths both ways, and evaluates 25 of
them, one thread, and prints how many times faster the batched way is beside the multiplications of a pass.
"""

import statistics
import time
from collections.abc import Callable
from unittest.mock import patch

import torch

from symlib.asymmetry import Standard, constraint
from symlib.data.images import digits
from symlib.networks.mlp import MLP
from symlib.population import evaluate, initialise
from symlib.training import Recipe, train

ROUNDS, RECIPE = 3, Recipe(epochs=1, batch_size=64, lr=1e-3, weight_decay=0.03)


def ratio(work: Callable[[], object]) -> float:
    """Do the work one network at a time and batched, in turns; return how many times faster batched is."""
    ratios = []
    for _ in range(ROUNDS):
        took = []
        for limit in (0, 10**18):
            with patch("symlib.population.BATCHED_UP_TO", limit):
                started = time.perf_counter()
                work()
                took.append(time.perf_counter() - started)
        ratios.append(took[0] / took[1])
    return statistics.median(ratios)


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    data = digits()
    x, y = data.train.x[:1000], data.train.y[:1000]
    print("       training, batches of 64                evaluating 25 on 1,000 inputs")
    print("width  10^6 per pass  2, 8, 32 networks       10^6 per pass")
    for width in (16, 32, 64, 128, 256, 512):
        model = MLP((64, width, width, width, 10))
        n_weights = sum(p.numel() for p in model.parameters())
        networks = initialise(model, constraint(model, Standard(), 0), range(32))
        train_x, train_y = data.train.x, data.train.y
        trained = [ratio(lambda n=n: train(networks[:n], train_x, train_y, RECIPE, range(n))) for n in (2, 8, 32)]
        seen = ratio(lambda: evaluate(networks[:25], x, y))
        columns = "".join(f"{r:7.2f}" for r in trained)
        print(f"{width:5}{64 * n_weights / 1e6:15.1f}{columns}{1000 * n_weights / 1e6:18.1f}{seen:7.2f}", flush=True)


if __name__ == "__main__":
    main()
