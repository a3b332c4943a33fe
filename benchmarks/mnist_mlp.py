"""Training and line evaluation of the MNIST MLP against the straightforward program, in one run.

`python benchmarks/mnist_mlp.py` prints medians over rounds in which both sides take turns, so that a drifting machine
hits both alike. Each side gets all cores in the way that suits it: the straightforward program as one process with as
many threads as cores, our training as that many processes with one thread each. A single curve is one process on
both sides, with all threads and, for comparison, with one.
"""

import multiprocessing
import os
import statistics
import time
from itertools import pairwise

import torch
from straightforward import WIDTHS, curve_seconds, train_seconds
from torch.profiler import ProfilerActivity, profile

from symlib.asymmetry import Standard, constraint
from symlib.data.images import load
from symlib.interpolation import curves, mixing_weights
from symlib.networks.mlp import MLP
from symlib.population import Population, initialise
from symlib.presets import LIM_MNIST
from symlib.training import Recipe, train

ROUNDS, N_NETWORKS, N_IMAGES, N_POINTS = 5, 4, 12_800, 25
N_CORES = os.cpu_count() or 1
N_WEIGHTS = sum(i * o for i, o in pairwise(WIDTHS))
RECIPE = Recipe(epochs=1, batch_size=64, lr=1e-3, weight_decay=0.03)
PARTS = {  # what the profiler calls the operations of a step
    "matrix products": ("aten::mm", "aten::addmm"),
    "AdamW": ("aten::_fused_adamw_", "Optimizer.step#AdamW.step"),
    "LayerNorm and GELU": (
        "aten::native_layer_norm",
        "aten::native_layer_norm_backward",
        "aten::gelu",
        "aten::gelu_backward",
    ),
    "gathering the batch": ("aten::index",),
    "pinned entries": ("aten::index_copy_",),
}


def start(n_threads: int) -> None:
    """Set up a worker."""
    torch.set_num_threads(n_threads)
    global DATA
    DATA = load("mnist")


def networks(asymmetry, n: int) -> Population:
    """Return untrained networks."""
    model = MLP(WIDTHS)
    return initialise(model, constraint(model, asymmetry, 0), range(n))


def our_training(n: int) -> float:
    """Train n W-asymmetric networks in this process; return seconds."""
    population = networks(LIM_MNIST, n)
    started = time.perf_counter()
    train(population, DATA.train.x[:N_IMAGES], DATA.train.y[:N_IMAGES], RECIPE, range(n))
    return time.perf_counter() - started


def our_curve(_) -> float:
    """Evaluate one line of standard networks; return seconds."""
    pair = networks(Standard(), 2)
    started = time.perf_counter()
    curves(pair[:1], pair[1:], mixing_weights(N_POINTS), DATA.test.x, DATA.test.y)
    return time.perf_counter() - started


def peak(_) -> float:
    """Return the GFLOP/s of a 1,024 x 1,024 matrix product in this process."""
    a, b = torch.randn(2, 1024, 1024)
    for _ in range(5):
        a @ b
    started = time.perf_counter()
    for _ in range(40):
        a @ b
    return 40 * 2 * 1024**3 / (time.perf_counter() - started) / 1e9


def parts(_) -> dict[str, float]:
    """Return the share of a training epoch's processor time by what it is spent on."""
    population = networks(LIM_MNIST, 1)
    with profile(activities=[ProfilerActivity.CPU]) as found:
        train(population, DATA.train.x[:N_IMAGES], DATA.train.y[:N_IMAGES], RECIPE, [0])
    spent = {e.key: e.self_cpu_time_total for e in found.key_averages()}
    share = {part: sum(spent[name] for name in names) / sum(spent.values()) for part, names in PARTS.items()}
    return share | {"everything else (autograd, loss, Python)": 1 - sum(share.values())}


def spread(values: list[float]) -> str:
    """Return the median with the range."""
    return f"{statistics.median(values):10.1f}   [{min(values):.1f}, {max(values):.1f}]"


def ratio(high: list[float], low: list[float]) -> str:
    """Return how many times the one median is of the other."""
    return f"{statistics.median(high) / statistics.median(low):10.1f}"


def main() -> None:
    """Measure and print."""
    spawn = multiprocessing.get_context("spawn")
    theirs, ours, peaks = [], [], []
    slow, fast = ({threads: [] for threads in ("all", "one")} for _ in range(2))
    each = [N_NETWORKS // N_CORES] * N_CORES
    with spawn.Pool(N_CORES, start, (1,)) as workers, spawn.Pool(1, start, (N_CORES,)) as program:
        workers.map(our_training, each, chunksize=1), program.apply(train_seconds, (N_IMAGES,))  # warm-up
        for _ in range(ROUNDS):
            theirs.append(N_IMAGES / program.apply(train_seconds, (N_IMAGES,)))
            ours.append(sum(each) * N_IMAGES / max(workers.map(our_training, each, chunksize=1)))
            peaks.append(sum(workers.map(peak, [0] * N_CORES, chunksize=1)))
            for threads, pool in {"all": program, "one": workers}.items():
                slow[threads].append(pool.apply(curve_seconds, (N_POINTS,)))
                fast[threads].append(pool.apply(our_curve, (0,)))
        share = workers.apply(parts, (0,))
    flops = 6 * N_WEIGHTS * statistics.median(ours) / 1e9
    print(f"training, images per second       straightforward {spread(theirs)}")
    print(f"  {N_NETWORKS} W-asymmetric networks        population      {spread(ours)}")
    print(f"  ratio of medians                {ratio(ours, theirs)}")
    for threads in slow:
        print(f"test-loss curve, seconds          straightforward {spread(slow[threads])}")
        print(f"  {N_POINTS} points, threads: {threads}         population      {spread(fast[threads])}")
        print(f"  ratio of medians                {ratio(slow[threads], fast[threads])}")
    print(f"matrix product, GFLOP/s           all cores       {spread(peaks)}")
    print(f"  training does {flops:.0f} GFLOP/s, {flops / statistics.median(peaks):.0%} of that; its time goes to")
    for part, value in share.items():
        print(f"    {value:4.0%}  {part}")


if __name__ == "__main__":
    main()
