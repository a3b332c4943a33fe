"""How many small classifiers an hour, on how many pixels, against the program one would write first; and two workers.

`SYMLIB_DATA=... python benchmarks/classifiers.py` trains W-asymmetric ResNet-8s as `classifier_population` does, on
CIFAR-10 at 8 x 8, 16 x 16 and 32 x 32 pixels, on one thread. The straightforward program trains one network at a time
on items that it converts and changes one by one. Sides take turns in one run.
"""

import statistics
import tempfile
import time
from unittest.mock import patch

import torch
import torch.nn.functional as F
from distributed import LocalCluster
from PIL import Image
from populations import peak
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from symlib.data.dataset import Split
from symlib.data.images import CIFAR10_MEAN, CIFAR10_STD
from symlib.data.torchvision_import import torchvision
from symlib.interpolation import line, mixing_weights
from symlib.seeds import seed
from symlib.studies.classifier_population import ClassifierPopulation, build, images, recipes, run, small, start
from symlib.studies.monotonic_interpolation import smoothed_loss
from symlib.training import train

ROUNDS, POINTS = 3, 25
NETWORKS = 20  # of a population
EPOCHS = 25  # of an average network of Table 13, for the numbers an hour
TIMED = {8: 2, 16: 1, 32: 1}  # epochs that are timed, by pixels a side


def population(side: int, **changes: object) -> ClassifierPopulation:
    """Return the population of the profile cpu at so many pixels a side, with one length for all networks."""
    own = {
        "profile": "custom",
        "dataset": "cifar10",
        "side": side,
        "n_images": 2000,
        "per_shard": NETWORKS,
        "lr": [0.001, 0.1],
        "epochs": [float(TIMED[side])] * 2,
        "peak": 0.5,
        "batch_size": 128,
    }
    return ClassifierPopulation.checked(small("", ["w-asym"], NETWORKS).model_dump() | own | changes)


class Items(Dataset):
    """Images that are flipped, shifted, converted, standardised and cut one at a time, like torchvision's CIFAR-10."""

    def __init__(self, split: Split) -> None:
        transforms = torchvision("transforms")
        side = split.x.shape[-1]
        shift, cutout = side // 16, side // 8
        share = (cutout / side) ** 2
        mean, std = (torch.tensor(values)[:, None, None] for values in (CIFAR10_MEAN, CIFAR10_STD))
        self.pixels = ((split.x * std + mean) * 255).round().byte().permute(0, 2, 3, 1).numpy()
        self.y = split.y
        self.change = transforms.Compose(
            [
                transforms.RandomHorizontalFlip(),
                transforms.RandomCrop(side, padding=shift),
                transforms.ToTensor(),
                transforms.Normalize(CIFAR10_MEAN, CIFAR10_STD),
                transforms.RandomErasing(p=1.0, scale=(share, share), ratio=(1.0, 1.0)),
            ]
        )

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return self.change(Image.fromarray(self.pixels[i])), self.y[i]


def straightforward(config: ClassifierPopulation, split: Split) -> float:
    """Train one masked network the plain way; return its seconds."""
    model, fixed = build(config, "w-asym")
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    started = time.perf_counter()
    for _ in range(int(config.epochs[1])):
        for x, y in DataLoader(Items(split), batch_size=config.batch_size, shuffle=True, drop_last=True):
            masked = {
                n: torch.where(fixed.D[n], w, fixed.F[n]) if n in fixed.D else w for n, w in model.named_parameters()
            }
            optimiser.zero_grad()
            F.cross_entropy(torch.func.functional_call(model, masked, (x,)), y, label_smoothing=0.1).backward()
            optimiser.step()
    return time.perf_counter() - started


def ours(config: ClassifierPopulation, split: Split) -> float:
    """Train a population; return seconds per network."""
    networks = range(config.n_networks)
    before, orders = start(config, "w-asym", networks), [seed("order", i) for i in networks]
    started = time.perf_counter()
    train(before, split.x, split.y, recipes(config, networks), orders)
    return (time.perf_counter() - started) / len(networks)


def flops(config: ClassifierPopulation, split: Split) -> int:
    """Return the floating point operations of training one network."""
    model, _ = build(config, "w-asym")
    x, y = split.x[: config.batch_size], split.y[: config.batch_size]
    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(model(x), y).backward()
    return counter.get_total_flops() * int(config.epochs[1]) * (len(split.y) // config.batch_size)


def interpolated(config: ClassifierPopulation, split: Split, work: float) -> float:
    """Evaluate the lines of twelve networks in one call; return milliseconds per point and 1,000 images.

    Args:
        config: The population.
        split: Images.
        work: Up to how many multiplications of a network all points pass at once.
    """
    first, last = (start(config, "w-asym", range(i, i + 12)) for i in (0, 12))
    lines = line(first, last, mixing_weights(POINTS))
    started = time.perf_counter()
    with patch("symlib.population.BATCHED_WORK", work):
        smoothed_loss(lines, split.x[:1000], split.y[:1000], torch.zeros(len(lines)))
    return 1000 * (time.perf_counter() - started) / len(lines)


def through_dask(workers: int) -> float:
    """Train four shards through a scheduler with so many workers of one thread; return the seconds."""
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster,
        tempfile.TemporaryDirectory() as folder,
    ):
        address = cluster.scheduler_address
        run(population(8, n_networks=workers, per_shard=1, scheduler=address, out=f"{folder}/start-up"))
        started = time.perf_counter()
        run(population(8, n_networks=40, per_shard=10, scheduler=address, out=f"{folder}/timed"))
        return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    top = peak()
    print(f"matrix product on one thread: {top:.0f} GFLOP/s\n")
    print("           s per network and epoch")
    print("pixels     straightforward  population   ratio   of peak   networks an hour, 1 core")
    for side, epochs in TIMED.items():
        config = population(side)
        split = images(config).train
        ours(config, split)  # warm up
        rounds = [(straightforward(config, split), ours(config, split)) for _ in range(ROUNDS)]
        plain, population_s = (statistics.median(one) / epochs for one in zip(*rounds, strict=True))
        share = flops(config, split) / epochs / population_s / 1e9 / top
        hourly = 3600 / (EPOCHS * population_s)
        times = f"{plain:>15.2f}{population_s:>12.3f}{plain / population_s:>8.1f}{share:>10.0%}"
        print(f"{side:>2} x {side:<4}{times}{hourly:>15,.0f}", flush=True)
    config = population(8)
    split = images(config).train
    ways = {"points in turn": 0.0, "points at once": float("inf")}
    rounds = [[interpolated(config, split, work) for work in ways.values()] for _ in range(ROUNDS)]
    print("\n12 x 25 points of lines, 1,000 images of 8 x 8 pixels, milliseconds a point:")
    print(
        ", ".join(f"{way} {statistics.median(ms):.1f}" for way, ms in zip(ways, zip(*rounds, strict=True), strict=True))
    )
    one, two = (statistics.median(through_dask(workers) for _ in range(ROUNDS)) for workers in (1, 2))
    print(f"\n40 networks in four shards through dask: {one:.1f} s with one worker, {two:.1f} s with two,")
    print(f"{one / two:.2f} times as fast")


if __name__ == "__main__":
    main()
