"""How many epochs residual networks need, by how many entries are pinned and how large their constants are.

Training accuracy is measured after every epoch, on images without augmentation; a network stops where it has enough.

Source: Lim et al. (2024), appendix A and Figure 6.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from math import comb
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field, model_validator
from torch import nn

from symlib import records
from symlib.asymmetry import WAsymmetry, constraint, linear_maps
from symlib.config import Config
from symlib.data.augmentation import LIM_CIFAR
from symlib.data.dataset import Split
from symlib.data.images import verify
from symlib.networks.resnet import ResNet
from symlib.population import Population, evaluate, initialise
from symlib.records import Record
from symlib.seeds import seed
from symlib.studies.mode_connectivity import NotNegative, Positive
from symlib.studies.resnet_connectivity import CHANNELS, WARMUP_FROM, Rate, images, table_11_counts
from symlib.studies.shards import joined_facts, refuse_missing_device, run_shards
from symlib.training import Recipe, geometric_warmup, train

STUDY = "training_speed"
INITS = {"matched": "kaiming", "released": "uniform"}  # what networks with pinned entries are drawn from
CELL = ["share", "sigma_F"]


class TrainingSpeed(Config):
    """Parameters of one run; their meaning stands beside each in the notebook's parameters cell."""

    profile: Literal["quick", "cpu", "paper", "custom"]
    dataset: Literal["digits", "cifar10"]
    depth: Positive
    width: Rate
    shares: Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=2)]
    sigmas: Annotated[list[NotNegative], Field(min_length=2)]
    n_networks: Annotated[int, Field(ge=2)]
    threshold: Annotated[float, Field(gt=0, lt=1)]
    max_epochs: Positive
    warmup: Positive
    n_images: Positive
    batch_size: Positive
    lr: Rate
    init: Literal[*INITS]
    mask_seed: int
    base_seed: int
    workers: Positive
    device: Literal["cpu", "cuda"]
    out: str

    @model_validator(mode="after")
    def _refuse_before_work_starts(self) -> "TrainingSpeed":
        for name in ("shares", "sigmas"):
            values = getattr(self, name)
            if values != sorted(set(values)):
                raise ValueError(f"{name} must rise from one to the next, got {values}")
        if self.shares[0] != 0:
            raise ValueError(
                f"shares must begin with 0, the standard network that all are compared with, got {self.shares}"
            )
        for share in self.shares:
            start(self, share, self.sigmas[0], 0)
        refuse_missing_device(self.device)
        return self

    def science(self, share: float, sigma_F: float, network: int) -> dict:
        """Return what the result of one network depends on."""
        others = {"profile", "shares", "sigmas", "n_networks", "workers", "device", "out"}
        return self.model_dump(exclude=others) | {"share": share, "sigma_F": sigma_F, "network": network}


def pinned_counts(config: TrainingSpeed, model: nn.Module, share: float) -> list[int]:
    """Return how many entries are pinned in a row of each linear map.

    A share of the counts of Table 11, cut to whole numbers. Where that leaves fewer patterns than rows, so that two
    units could not be told apart, it is the least count above that does not: two entries instead of one in the first
    shortcut at the paper's smallest share.

    Args:
        config: Names the depth.
        model: The network.
        share: In [0, 1].

    Source: Lim et al. (2024), Figure 6, whose axis has the totals of 0, 1/4, 1/2, 3/4 and 1 times Table 11.
    """
    shapes = [(len(w), w[0].numel()) for w in linear_maps(model).values()]
    counts = [int(share * n) for n in table_11_counts(config.depth, model)]
    return [_enough(n, rows, entries) for n, (rows, entries) in zip(counts, shapes, strict=True)]


def _enough(n: int, rows: int, entries: int) -> int:
    return next(k for k in range(n, entries + 1) if k in (0, entries) or comb(entries, k) >= rows)


def start(config: TrainingSpeed, share: float, sigma_F: float, network: int) -> Population:
    """Return one network before training.

    Networks of one number start from the same draw in all cells of one `init`, with nested masks and with constants
    that differ by their scale alone; each number has its own.
    """
    model = ResNet(config.depth, config.width, in_channels=CHANNELS[config.dataset])
    asymmetry = WAsymmetry(pinned_counts(config, model, share), sigma_F)
    fixed = constraint(model, asymmetry, seed(config.mask_seed, "network", network))
    init = INITS[config.init] if share else "kaiming"
    return initialise(model, fixed, [seed(config.base_seed, "init", network)], init)


def run(config: TrainingSpeed) -> Record:
    """Train all networks, each a shard; with `config.out` set, a killed run goes on with the networks that are missing.

    Standard networks are trained once and stand in the table with every sigma_F.

    Returns:
        A record with one row per share, sigma_F, network and epoch from 0 on: n_pinned (entries in all) and accuracy,
        of training images in [0, 1]. A network that diverged has a last row without accuracy.
    """
    verify(config.dataset)
    grid = list(product(config.shares, config.sigmas, range(config.n_networks)))
    # All cells of one network before the next network; standard ones share a name.
    shards = dict(_shard(config, *cell) for cell in sorted(grid, key=itemgetter(2)))
    out = Path(config.out) / "shards" if config.out else None
    parts = run_shards(shards, out, config.workers, config.max_epochs)
    found = dict(zip(shards, parts, strict=True))
    tables = [
        found[_shard(config, share, sigma, network)[0]].table.assign(share=share, sigma_F=sigma, network=network)
        for share, sigma, network in grid
    ]
    facts = {"data_sha256": parts[0].about["data_sha256"], **joined_facts(parts)}
    record = records.make(STUDY, config.model_dump(exclude={"out"}), pd.concat(tables, ignore_index=True), facts)
    if config.out:
        records.write(Path(config.out) / "record", record)
    return record


def _shard(config: TrainingSpeed, share: float, sigma_F: float, network: int) -> tuple[str, tuple[dict, partial]]:
    """Return name, key and work of one network; a standard one is that of sigma_F = 0 in every row."""
    cell = (share, sigma_F if share else 0.0, network)
    name = "share-{}-sigma-{}-{:03d}".format(*cell)
    return name, (config.science(*cell), partial(measure, config, *cell))


class _Enough(Exception):
    """Ends the training of a network that has reached the threshold."""


def measure(
    config: TrainingSpeed, share: float, sigma_F: float, network: int, folder: Path | None, on_epoch: Callable[[], None]
) -> Record:
    """Train one network until it answers enough of its training images, or for as long as it may.

    Keeps no checkpoints in the folder: accuracies of epochs before one would be missing.

    Returns:
        Rows with epoch, accuracy and n_pinned, as `run` describes them.
    """
    started = time.perf_counter()
    data, drawn = images(config), start(config, share, sigma_F, network)
    n_pinned = sum(len(index) for index, _ in drawn.constraint.pinned.values())
    order_seed = seed(config.base_seed, "order", network)
    accuracies = _followed(config, drawn.to(config.device), data.train, order_seed, on_epoch)
    table = pd.DataFrame({"n_pinned": n_pinned, "epoch": range(len(accuracies)), "accuracy": accuracies})
    facts = {"data_sha256": data.sha256, "compute_s": round(time.perf_counter() - started, 1)}
    return records.make(STUDY, config.science(share, sigma_F, network), table, facts)


def _followed(
    config: TrainingSpeed, drawn: Population, train_split: Split, order_seed: int, on_epoch: Callable[[], None]
) -> list[float]:
    """Return training accuracy before training and after every epoch, NaN for one that diverged."""
    x, y = train_split.x, train_split.y
    accuracies: list[float] = []

    def watch(epoch: int, population: Population) -> None:
        accuracies.append(evaluate(population, x, y).accuracy.item())
        if accuracies[-1] >= config.threshold:
            raise _Enough

    try:
        train(drawn, x, y, _recipe(config), [order_seed], on_epoch=on_epoch, watch=watch)
    except (_Enough, FloatingPointError) as ended:
        accuracies += [np.nan] * isinstance(ended, FloatingPointError)
        for _ in range(len(accuracies) - 1, config.max_epochs + 1):
            on_epoch()  # for this epoch and those that are left, so that the bar moves on
    return accuracies


def _recipe(config: TrainingSpeed) -> Recipe:
    return Recipe(
        config.max_epochs,
        config.batch_size,
        config.lr,
        weight_decay=0.0,
        schedule=geometric_warmup(WARMUP_FROM, config.warmup),
        augmentation=LIM_CIFAR if config.dataset == "cifar10" else None,
    )


def results(record: Record) -> pd.DataFrame:
    """Sum up every network.

    Returns:
        One row per share, sigma_F and network: n_pinned; reached, whether it came to the threshold; diverged; epochs
        until it did, NaN if it did not; and at_least, where those that did not count with the last epoch allowed.
    """
    last = record.table.groupby([*CELL, "network"]).tail(1).reset_index(drop=True)  # last() would skip NaN
    reached = last["accuracy"] >= record.config["threshold"]
    epochs = last["epoch"].where(reached)
    return last[[*CELL, "network", "n_pinned"]].assign(
        reached=reached,
        diverged=last["accuracy"].isna(),
        epochs=epochs,
        at_least=epochs.fillna(record.config["max_epochs"]),
    )


def cells(record: Record) -> pd.DataFrame:
    """Return one row per share and sigma_F, means over networks.

    Returns:
        n_pinned, at_least (epochs), and missed and diverged, how many networks did not reach the threshold and how many
        of these diverged.
    """
    by = results(record).assign(missed=lambda rows: ~rows["reached"]).groupby(CELL, as_index=False)
    return by.agg({"n_pinned": "mean", "at_least": "mean", "missed": "sum", "diverged": "sum"})


def epochs_table(record: Record) -> pd.DataFrame:
    """Return mean epochs as text, a row per sigma_F and a column per share; ">" where networks missed the threshold."""
    found = cells(record)
    text = np.where(found["missed"] > 0, ">", "") + found["at_least"].map("{:.1f}".format)
    return found.assign(text=text).pivot(index="sigma_F", columns="share", values="text")


def quantities(record: Record) -> dict[str, np.ndarray]:
    """Return vectors with one value per network; those that missed the threshold count with the last epoch allowed.

    Returns:
        "epochs/share S sigma T" for every cell; "slope/sigma", epochs per unit of sigma_F at the largest share, and
        "slope/share", per share at the largest sigma_F, both by least squares; and in units of the standard network of
        the same number, left out if that missed the threshold, "ratio/most" at the largest share and sigma_F and
        "ratio/zeros" at the largest share and sigma_F = 0, where networks that missed it are left out as well.
    """
    networks, shares, sigmas = results(record), record.config["shares"], record.config["sigmas"]
    wide = networks.pivot(index="network", columns=CELL, values="at_least")
    most, largest = wide[shares[-1]][sigmas], wide.xs(sigmas[-1], axis=1, level="sigma_F")[shares]
    found = {f"epochs/share {share:g} sigma {sigma:g}": wide[share, sigma].to_numpy() for share, sigma in wide}
    found |= {"slope/sigma": _slopes(sigmas, most), "slope/share": _slopes(shares, largest)}
    reached = networks.pivot(index="network", columns=CELL, values="epochs")
    standard = reached[0.0, sigmas[0]]
    if standard.notna().any():
        found["ratio/most"] = (most[sigmas[-1]] / standard).dropna().to_numpy()
        if sigmas[0] == 0:
            found["ratio/zeros"] = (reached[shares[-1], 0.0] / standard).dropna().to_numpy()
    return found


def _slopes(at: Sequence[float], epochs: pd.DataFrame) -> np.ndarray:
    """Return the least-squares slope of every row."""
    return np.polyfit(at, epochs.to_numpy().T, 1)[0]
