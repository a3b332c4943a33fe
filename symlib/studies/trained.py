"""Families of trained networks that several studies look at: trained once, kept with snapshots along the way.

A family is everything but the seeds of its members. Its files are named by a hash of all that determines the weights,
so that studies can share a folder, and more epochs go on from where fewer stopped.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import torch
from pydantic import Field, model_validator
from torch import nn

from symlib import checkpoints, records
from symlib.asymmetry import Asymmetry, Constraint, Standard, Syre, WAsymmetry, constraint, linear_maps
from symlib.config import Config
from symlib.data.augmentation import LIM_CIFAR
from symlib.data.dataset import Dataset, Split
from symlib.data.images import load, verify
from symlib.networks.mlp import MLP
from symlib.networks.resnet import ResNet
from symlib.population import Population, initialise
from symlib.presets import buergin_resnet, lim_resnet
from symlib.records import Record
from symlib.seeds import seed
from symlib.studies.shards import refuse_missing_device, run_shards
from symlib.training import Recipe, constant, geometric_warmup, train

COUNTS = {"n_networks", "sigma_sweep", "share_sweep", "sweep_networks"}  # parameters that say which shards there are
RECORDS = "records"  # below a folder of networks: what was trained there
BLOCK = 4  # networks that are trained together, as one population where that pays
SHAPES = {"digits": (1, 64), "mnist": (1, 784), "cifar10": (3, 3072)}  # channels and pixels of the images
MLP_SHARES = (64 / 784, 1 / 8, 1 / 8, 1 / 2)  # of pinned entries: 64, 64, 64 and 256 in the MLP of width 512

Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Intervention:
    """What is fixed in the networks of a family.

    Attributes:
        kind: "standard", "w-asym" or "syre".
        sigma_F: Scale of the fixed entries; 0 for standard networks.
        share: Pinned share of every row; None for the paper's numbers, which differ from map to map.
    """

    kind: str
    sigma_F: float = 0.0
    share: float | None = None

    @property
    def name(self) -> str:
        """A short name for tables: kind, scale, and the share if it is not the paper's."""
        scale = "" if self.kind == "standard" else f" {self.sigma_F:g}"
        return self.kind + scale + ("" if self.share is None else f" share {self.share:g}")

    def on(self, model: nn.Module, network: str) -> Asymmetry:
        """Return the asymmetry for a network, with pinned entries counted for its maps."""
        if self.kind == "standard":
            return Standard()
        if self.kind == "syre":
            return Syre(self.sigma_F)
        fan_ins = [w[0].numel() for w in linear_maps(model).values()]
        shares = _paper_shares(network, wide=fan_ins[-1] >= 512) if self.share is None else [self.share] * len(fan_ins)
        return WAsymmetry([round(s * n) for s, n in zip(shares, fan_ins, strict=True)], self.sigma_F)


def _paper_shares(network: str, wide: bool) -> Sequence[float]:
    """Return the pinned share of every map: paper A's for MLPs and wide ResNets, paper B's Table 11 for narrow ones."""
    if network == "mlp":
        return MLP_SHARES
    model, counts = (ResNet(20, 8), buergin_resnet()) if wide else (ResNet(20), lim_resnet())
    return [n / w[0].numel() for n, w in zip(counts.n_fix, linear_maps(model).values(), strict=True)]


STANDARD = Intervention("standard")


@dataclass(frozen=True)
class Family:
    """All that the trained networks of one kind have in common."""

    intervention: Intervention
    dataset: str
    network: str
    width: float
    norm: str
    n_images: int
    batch_size: int
    lr: float
    weight_decay: float
    warmup: int
    init: str
    mask_seed: int
    base_seed: int

    @property
    def folder(self) -> str:
        """The name of its files' folder."""
        return f"{self.dataset}-{self.network}-{self.intervention.name}-{records.key(asdict(self))[:10]}".replace(
            " ", "-"
        )

    def build(self) -> tuple[nn.Module, Constraint]:
        """Return the architecture and the fixed side.

        Raises:
            ValueError: If the numbers do not fit together.
        """
        channels, pixels = SHAPES[self.dataset]
        if self.network == "mlp":
            model = MLP((pixels, *[int(self.width)] * 3, 10), norm=self.norm)
        else:
            model = ResNet(20, self.width, norm=self.norm, in_channels=channels)
        return model, constraint(model, self.intervention.on(model, self.network), self.mask_seed)

    def initial(self, members: Sequence[int]) -> Population:
        """Return untrained networks.

        As in the reference, linear layers of networks with a fixed side start from normal entries of variance
        1 / fan-in and those of standard networks from a third of it; `init` = "matched" gives all the former.
        """
        like_reference = self.init == "reference" and self.intervention.kind == "standard"
        init_seeds = [seed(self.base_seed, "init", i) for i in members]
        return initialise(*self.build(), init_seeds, "uniform" if like_reference else "normal")

    def data(self) -> Dataset:
        """Return the data set with the first `n_images` training images only."""
        return _data(self.dataset, self.n_images)

    def recipe(self, epochs: int) -> Recipe:
        """Return how its networks are trained."""
        schedule = geometric_warmup(0.01, self.warmup) if self.warmup else constant
        augmentation = LIM_CIFAR if self.dataset == "cifar10" else None
        return Recipe(epochs, self.batch_size, self.lr, self.weight_decay, schedule, augmentation)


class TrainedNetworks(Config):
    """The parameters of every study that looks at trained networks."""

    profile: Literal["quick", "cpu", "paper", "custom"]
    dataset: Literal["digits", "mnist", "cifar10"]
    network: Literal["mlp", "resnet"]
    width: Rate
    norm: Literal["layer", "batch"]
    n_networks: Annotated[int, Field(ge=2, multiple_of=2)]
    epochs: Positive
    n_images: Positive
    batch_size: Positive
    lr: Rate
    weight_decay: NotNegative
    sigma_F: NotNegative
    warmup: Annotated[int, Field(ge=0)]
    init: Literal["reference", "matched"]
    mask_seed: int
    base_seed: int
    networks: str
    workers: Positive
    device: Literal["cpu", "cuda"]
    out: str

    @model_validator(mode="after")
    def _refuse_before_work_starts(self) -> "TrainedNetworks":
        for intervention in self.interventions():
            self.family(intervention).build()
        refuse_missing_device(self.device)
        return self

    @property
    def science(self) -> dict:
        """The parameters that one shard's result depends on: not how many there are, nor where and how they run."""
        return self.model_dump(exclude=COUNTS | {"profile", "networks", "workers", "device", "out"})

    def interventions(self) -> Sequence[Intervention]:
        """Return what the study compares: standard, W-asymmetric without and with constants, syre."""
        return (
            STANDARD,
            Intervention("w-asym"),
            Intervention("w-asym", self.sigma_F),
            Intervention("syre", self.sigma_F),
        )

    def members(self, intervention: Intervention) -> int:
        """Return how many networks of an intervention the study trains."""
        return self.n_networks

    def family(self, intervention: Intervention) -> Family:
        """Return the family of an intervention."""
        shared = Family.__dataclass_fields__.keys() - {"intervention"}
        return Family(intervention, **self.model_dump(include=shared))


class SweptNetworks(TrainedNetworks):
    """The parameters of studies that also vary the scale of the fixed entries."""

    sigma_sweep: list[NotNegative]
    sweep_networks: Annotated[int, Field(ge=2, multiple_of=2)]

    def compared(self) -> Sequence[Intervention]:
        """Return the interventions that are looked at in full, without the sweep."""
        return super().interventions()

    def interventions(self) -> Sequence[Intervention]:
        """Return those that are compared, and those of the sweep."""
        return list(dict.fromkeys([*self.compared(), *[Intervention("w-asym", s) for s in self.sigma_sweep]]))

    def members(self, intervention: Intervention) -> int:
        """Return how many networks of an intervention are trained; the sweep may have fewer."""
        return self.n_networks if intervention in self.compared() else self.sweep_networks


def snapshot_epochs(epochs: int) -> list[int]:
    """Return after which epochs networks are kept: 0, 1, 2, every fifth, and the last.

    >>> snapshot_epochs(12)
    [0, 1, 2, 5, 10, 12]
    """
    return sorted({e for e in (0, 1, 2, *range(5, epochs, 5)) if e <= epochs} | {epochs})


def blocks(n_networks: int) -> list[range]:
    """Cut the members of a family into what is trained together.

    >>> blocks(6)
    [range(0, 4), range(4, 6)]
    """
    return [range(first, min(first + BLOCK, n_networks)) for first in range(0, n_networks, BLOCK)]


@contextmanager
def trained(config: TrainedNetworks, interventions: Iterable[Intervention]) -> Iterator[Path]:
    """Train whatever networks of a study are missing and yield the folder that holds their snapshots.

    Args:
        config: The study; with an empty `networks` the folder is a temporary one.
        interventions: Whose families are needed.
    """
    verify(config.dataset)
    with nullcontext(config.networks) if config.networks else tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        work = {
            name: (
                asdict(family) | {"epochs": config.epochs, "members": list(block)},
                partial(_train_block, family, block, config.epochs, config.device, folder),
            )
            for intervention in interventions
            for family in [config.family(intervention)]
            for block in blocks(config.members(intervention))
            if _epochs_done(folder, name := _shard(family, block)) < config.epochs
        }
        if work:
            run_shards(work, folder / RECORDS, config.workers, config.epochs)
        yield folder


def snapshot(
    folder: Path, family: Family, n_networks: int, epoch: int, members: Sequence[int] | None = None
) -> Population:
    """Return members of a family as they were after an epoch.

    Args:
        folder: As `trained` yields it.
        family: Which family.
        n_networks: How many members the study has.
        epoch: One of `snapshot_epochs`.
        members: Which of them, in rising order; None for all.

    Raises:
        ValueError: If a file is missing, damaged or not of this family.
    """
    wanted = range(n_networks) if members is None else members
    parts = []
    for block in blocks(n_networks):
        if rows := [i - block.start for i in wanted if i in block]:
            tensors = _read_snapshot(folder, family, block, epoch)
            parts.append({name: w[rows] for name, w in tensors.items()})
    empty = initialise(*family.build(), [0])
    return empty.holding({name: torch.cat([part[name] for part in parts]) for name in parts[0]})


def train_losses(folder: Path, family: Family, n_networks: int, epoch: int) -> list[float]:
    """Return the mean training loss in nats of every member over an epoch, counted from 1."""
    tables = [records.read(folder / RECORDS / _shard(family, block)).table for block in blocks(n_networks)]
    return [loss for table in tables for loss in table.loc[table["epoch"] == epoch, "train_loss"]]


@lru_cache(maxsize=2)
def _data(name: str, n_images: int) -> Dataset:
    whole = load(name)
    train = Split(whole.train.x[:n_images], whole.train.y[:n_images])
    return Dataset(name, train, whole.test, whole.sha256)


def _train_block(
    family: Family, block: range, epochs: int, device: str, folder: Path, _: Path | None, on_epoch: Callable[[], None]
) -> Record:
    """Train the members of one block, keeping snapshots, and report their losses."""
    place, data = folder / _shard(family, block), family.data().to(device)
    order_seeds = [seed(family.base_seed, "order", i) for i in block]

    def keep(epoch: int, population: Population) -> None:
        if epoch in snapshot_epochs(epochs):
            checkpoints.write(_snapshot_file(place, epoch), population.tensors, _owner(family, block, epoch))

    start, recipe = family.initial(block).to(device), family.recipe(epochs)
    checkpoint = place / "training.safetensors"
    _, losses = train(start, data.train.x, data.train.y, recipe, order_seeds, checkpoint, on_epoch, keep)
    rows = [
        {"epoch": epoch, "network": network, "train_loss": loss}
        for epoch, of_members in enumerate(losses.tolist(), start=1)
        for network, loss in zip(block, of_members, strict=True)
    ]
    facts = {"fingerprint": start.constraint.fingerprint, "data_sha256": data.sha256}
    config = asdict(family) | {"epochs": epochs, "members": list(block)}
    return records.make("trained", config, pd.DataFrame(rows), facts)


def _epochs_done(folder: Path, shard: str) -> int:
    place = folder / RECORDS / shard
    return records.read(place).config["epochs"] if place.exists() else 0


def _read_snapshot(folder: Path, family: Family, block: range, epoch: int) -> dict[str, torch.Tensor]:
    file = _snapshot_file(folder / _shard(family, block), epoch)
    if not file.exists():
        raise ValueError(f"no snapshot {file}: snapshots are kept after epochs {snapshot_epochs(epoch)}")
    return checkpoints.read(file, _owner(family, block, epoch))


def _snapshot_file(place: Path, epoch: int) -> Path:
    return place / f"epoch-{epoch:03d}.safetensors"


def _shard(family: Family, block: range) -> str:
    return f"{family.folder}/networks-{block.start:03d}-{block.stop - 1:03d}"


def _owner(family: Family, block: range, epoch: int) -> str:
    return records.key(asdict(family) | {"members": list(block), "epoch": epoch})
