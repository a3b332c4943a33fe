"""What aligning a pair of residual networks is worth, and what is still wrong with the statistics of their mixture.

Every aligner meets every way of mending on the same pairs; nothing here is a claim of the papers.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import Field, model_validator

from symlib import records
from symlib.alignment.activation_matching import activation_matching
from symlib.alignment.permutation import Alignment, PermutationSpec, permute_members
from symlib.alignment.repair import reestimate, repair
from symlib.alignment.sinkhorn_matching import sinkhorn_matching
from symlib.alignment.tracing import specification
from symlib.alignment.weight_matching import weight_matching
from symlib.asymmetry import Standard, constraint
from symlib.config import Config
from symlib.data.augmentation import LIM_CIFAR
from symlib.data.dataset import Dataset, Split
from symlib.data.images import load, verify
from symlib.interpolation import curves, line, mixing_weights
from symlib.networks.resnet import ResNet
from symlib.population import Population, initialise
from symlib.records import Record
from symlib.seeds import generator, seed
from symlib.studies.shards import joined_facts, refuse_missing_device, run_shards
from symlib.training import Recipe, geometric_warmup, train

STUDY = "alignment"
CHANNELS = {"digits": 1, "cifar10": 3}
N_STATISTICS = 5_000  # training images that activations, statistics and Sinkhorn's batches are taken from

Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class AlignmentStudy(Config):
    """Parameters of one run; their meaning stands beside each in the notebook's parameters cell."""

    profile: Literal["quick", "cpu", "paper", "custom"]
    dataset: Literal["digits", "cifar10"]
    depth: Positive
    width: Rate
    norm: Literal["batch", "layer"]
    n_pairs: Positive
    epochs: Positive
    n_images: Positive
    batch_size: Positive
    lr: Rate
    n_points: int
    restarts: Positive
    sinkhorn_steps: Positive
    base_seed: int
    workers: Positive
    device: Literal["cpu", "cuda"]
    out: str

    @model_validator(mode="after")
    def _refuse_before_work_starts(self) -> "AlignmentStudy":
        mixing_weights(self.n_points)
        build(self)
        refuse_missing_device(self.device)
        return self

    @property
    def science(self) -> dict:
        """The parameters that a result depends on; those of where and how it runs are left out."""
        return self.model_dump(exclude={"profile", "n_pairs", "workers", "device", "out"})


def build(config: AlignmentStudy) -> ResNet:
    """Return the architecture."""
    return ResNet(config.depth, config.width, norm=config.norm, in_channels=CHANNELS[config.dataset])


def run(config: AlignmentStudy) -> Record:
    """Run the study, one shard a pair; with `config.out` set, a killed run goes on where it stopped.

    Returns:
        A record with one row per pair, aligner, way of mending and point of the line: test loss in nats and test
        accuracy in [0, 1].
    """
    verify(config.dataset)
    out = Path(config.out) if config.out else None
    work = {
        f"pair-{pair:03d}": (config.science | {"pair": pair}, partial(measure, config, pair))
        for pair in range(config.n_pairs)
    }
    parts = run_shards(work, out and out / "shards", config.workers, config.epochs)
    facts = {
        "seeds": {"init": [seed(config.base_seed, "init", i) for i in range(2 * config.n_pairs)]},
        "objectives": [p.about["objectives"] for p in parts],
        "data_sha256": parts[0].about["data_sha256"],
        **joined_facts(parts),
    }
    record = records.make(STUDY, config.model_dump(exclude={"out"}), pd.concat([p.table for p in parts]), facts)
    if out is not None:
        records.write(out / "record", record)
    return record


def measure(config: AlignmentStudy, pair: int, folder: Path | None, on_epoch: Callable[[], None]) -> Record:
    """Train one pair, align its second network in every way, and evaluate every line with every way of mending."""
    started = time.perf_counter()
    data = _data(config)
    a, b = _train(config, pair, data, folder, on_epoch)
    seen = Split(data.train.x[:N_STATISTICS], data.train.y[:N_STATISTICS])
    spec = specification(a.model, seen.x[:2])
    lambdas = mixing_weights(config.n_points)
    mending = {
        "as mixed": line,
        "re-estimated": lambda a, b, lambdas: reestimate(line(a, b, lambdas), seen.x),
        "repaired": lambda a, b, lambdas: repair(a, b, lambdas, seen.x),
    }
    if config.norm == "layer":
        del mending["re-estimated"]  # there is nothing to re-estimate
    tables, objectives = [], {}
    for method, align in ALIGNERS.items():
        found = align(config, pair, a, b, spec, seen)
        objectives[method] = found and found.objective
        moved = permute_members(spec, [found], b, data.test.x[:100]) if found else b
        for mended, between in mending.items():
            scores = curves(a, moved, lambdas, data.test.x, data.test.y, between)
            columns = {"lambda": lambdas, "test_loss": scores.loss[0].cpu(), "test_accuracy": scores.accuracy[0].cpu()}
            tables.append(pd.DataFrame({"pair": pair, "method": method, "mended": mended} | columns))
    facts = {
        "objectives": objectives,
        "data_sha256": data.sha256,
        "compute_s": round(time.perf_counter() - started, 1),
    }
    return records.make(STUDY, config.science | {"pair": pair}, pd.concat(tables), facts)


def midpoints(record: Record) -> pd.DataFrame:
    """Return test accuracy halfway, in per cent: one row per pair, one column per (method, mended)."""
    halfway = record.table[record.table["lambda"] == 0.5]
    wide = halfway.pivot(index="pair", columns=["method", "mended"], values="test_accuracy")
    order = halfway[["method", "mended"]].drop_duplicates()
    return 100 * wide[[tuple(row) for row in order.to_numpy()]]


def _none(config, pair, a, b, spec, seen) -> None:
    return None


def _weights(config, pair, a: Population, b: Population, spec: PermutationSpec, seen: Split) -> Alignment:
    source = generator(config.base_seed, "match", pair)
    return weight_matching(next(a.members()), next(b.members()), spec, source, config.restarts)


def _activations(config, pair, a: Population, b: Population, spec: PermutationSpec, seen: Split) -> Alignment:
    return activation_matching(a.model, next(a.members()), next(b.members()), spec, seen.x)


def _sinkhorn(config, pair, a: Population, b: Population, spec: PermutationSpec, seen: Split) -> Alignment:
    source = generator(config.base_seed, "sinkhorn", pair)
    ends = next(a.members()), next(b.members())
    return sinkhorn_matching(a.model, *ends, spec, seen.x, seen.y, source, config.sinkhorn_steps)


ALIGNERS = {
    "none": _none,
    "weight matching": _weights,
    "activation matching": _activations,
    "Sinkhorn matching": _sinkhorn,
}


def _data(config: AlignmentStudy) -> Dataset:
    data = load(config.dataset)
    train = Split(data.train.x[: config.n_images], data.train.y[: config.n_images])
    return Dataset(data.name, train, data.test, data.sha256).to(config.device)


def _train(
    config: AlignmentStudy, pair: int, data: Dataset, folder: Path | None, on_epoch: Callable[[], None]
) -> tuple[Population, Population]:
    model, networks = build(config), (2 * pair, 2 * pair + 1)
    recipe = Recipe(
        config.epochs,
        config.batch_size,
        config.lr,
        weight_decay=0.0,
        schedule=geometric_warmup(0.1, max(1, config.epochs // 5)),
        augmentation=LIM_CIFAR if config.dataset == "cifar10" else None,
    )
    start = initialise(
        model, constraint(model, Standard(), 0), [seed(config.base_seed, "init", i) for i in networks], "kaiming"
    )
    trained, _ = train(
        start.to(config.device),
        data.train.x,
        data.train.y,
        recipe,
        [seed(config.base_seed, "order", i) for i in networks],
        folder and folder / "training.safetensors",
        on_epoch,
    )
    return trained[:1], trained[1:]
