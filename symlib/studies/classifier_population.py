"""Hundreds of small ResNets, each with hyper-parameters of its own, for metanetworks and interpolation to look at.

Networks of one number have the same hyper-parameters, initial draw and batch order in every kind; all networks of a
kind share its pinned entries and gates. One shard trains some networks as one population and keeps their weights.

Source: Lim et al. (2024), sections 5.3 and 5.4, appendix F.3, Tables 13 and 14; optimiser (AdamW) and triangular
schedule from their code.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import psutil
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator

from symlib import records
from symlib.alignment.permutation import unconstrained
from symlib.asymmetry import Asymmetry, Constraint, Sigma, Standard, Syre, WAsymmetry, activation_for, constraint
from symlib.claims import survivors
from symlib.config import Config
from symlib.data.augmentation import LIM_CLASSIFIERS, Augmentation
from symlib.data.dataset import Dataset, Split
from symlib.data.images import load, verify
from symlib.metanetworks.flat import trainable_entries
from symlib.networks.mlp import relu
from symlib.networks.resnet import ResNet
from symlib.population import Population, evaluate, initialise
from symlib.records import Record
from symlib.seeds import generator, seed
from symlib.studies.mode_connectivity import NotNegative, Positive
from symlib.studies.shards import joined_facts, joined_record, refuse_missing_device, run_shards
from symlib.training import Recipe, train, triangular

STUDY = "classifier_population"
SIDES = {"digits": 8, "cifar10": 32}
CHANNELS = {"digits": 1, "cifar10": 3}
SMALLER = 0.875  # of the width: about as many parameters as W-asymmetric networks have trainable ones
COPIES = 8  # of the weights that training holds at once: start, state, gradients and moments
KINDS = ("standard", "w-asym", "w-asym open stem", "anchor", "smaller", "sigma", "syre")

Range = Annotated[list[Annotated[float, Field(ge=0, allow_inf_nan=False)]], Field(min_length=2, max_length=2)]


class ClassifierPopulation(Config):
    """Parameters of one run; their meaning stands beside each in the notebook's parameters cell."""

    profile: Literal["quick", "cpu", "paper", "custom"]
    dataset: Literal["digits", "cifar10"]
    side: Positive
    n_images: Positive
    width: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    kinds: Annotated[list[Literal[*KINDS]], Field(min_length=1)]
    n_networks: Positive
    per_shard: Positive
    lr: Range
    weight_decay: Range
    label_smoothing: Range
    epochs: Range
    peak: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    batch_size: Positive
    sigma_F: NotNegative
    mask_seed: int
    base_seed: int
    workers: Positive
    scheduler: str
    device: Literal["cpu", "cuda"]
    out: str

    @model_validator(mode="after")
    def _refuse_before_work_starts(self) -> "ClassifierPopulation":
        for name in ("lr", "weight_decay", "label_smoothing", "epochs"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} is a range from low to high, got {low:g} to {high:g}: exchange the two")
        if not min(self.lr[0], self.weight_decay[0]):
            raise ValueError("lr and weight_decay are drawn log-uniformly: their lower ends must be above 0")
        if self.epochs[0] <= self.peak:
            raise ValueError(f"the rate peaks at epoch {self.peak:g}: epochs must start above, got {self.epochs[0]:g}")
        if SIDES[self.dataset] % self.side:
            raise ValueError(f"side must divide the {SIDES[self.dataset]} pixels of {self.dataset}, got {self.side}")
        for kind in self.kinds:
            build(self, kind)
        if self.scheduler and not self.out:
            raise ValueError("workers of a scheduler leave their shards in a folder that all can see: name it in out")
        if not self.scheduler:  # whose workers may be on other machines
            refuse_missing_device(self.device)
        return self

    @property
    def science(self) -> dict:
        """The parameters that the networks of one shard depend on."""
        left_out = {"profile", "kinds", "n_networks", "per_shard", "workers", "scheduler", "device", "out"}
        return self.model_dump(exclude=left_out)


def small(folder: str, kinds: Sequence[str], n_networks: int) -> ClassifierPopulation:
    """Return a population that trains in seconds, for pages: narrow ResNets on small digits."""
    return ClassifierPopulation.checked(
        {
            "profile": "quick",
            "dataset": "digits",
            "side": 4,
            "n_images": 300,
            "width": 0.5,
            "kinds": list(dict.fromkeys(kinds)),
            "n_networks": n_networks,
            "per_shard": 24,
            "lr": [0.005, 0.5],
            "weight_decay": [1e-5, 0.1],
            "label_smoothing": [0.0, 0.2],
            "epochs": [4.0, 12.0],
            "peak": 2.0,
            "batch_size": 64,
            "sigma_F": 2.0,
            "mask_seed": 0,
            "base_seed": 0,
            "workers": 1,
            "scheduler": "",
            "device": "cpu",
            "out": folder,
        }
    )


def build(config: ClassifierPopulation, kind: str) -> tuple[ResNet, Constraint]:
    """Return the architecture of a kind of network and its fixed side.

    W-asymmetric networks have 8 input filters per output pinned (at width 1), and all of the stem's, as in the paper;
    with an open stem none of the stem's. Anchors start like them.
    """
    inputs = CHANNELS[config.dataset]
    rest = [round(8 * config.width)] * 9
    pinned = WAsymmetry([inputs, *rest], config.sigma_F, whole_filters=True)
    asymmetry: Asymmetry = {
        "standard": Standard(),
        "smaller": Standard(),
        "w-asym": pinned,
        "w-asym open stem": replace(pinned, n_fix=[0, *rest]),
        "anchor": pinned,
        "sigma": Sigma(1.0, by_width=True),
        "syre": Syre(config.sigma_F),
    }[kind]
    width = config.width * (SMALLER if kind == "smaller" else 1)
    activation = activation_for(asymmetry, config.mask_seed, relu, images=True)
    model = ResNet(8, width, activation=activation, in_channels=inputs)
    return model, constraint(model, asymmetry, config.mask_seed)


def hyperparameters(config: ClassifierPopulation, networks: Sequence[int]) -> pd.DataFrame:
    """Return one row per network: lr, weight_decay (both log-uniform), label_smoothing, epochs (an integer).

    Source: Lim et al. (2024), Table 13.
    """
    drawn = [torch.rand(4, generator=generator(config.base_seed, "hyperparameters", i)).tolist() for i in networks]
    u = pd.DataFrame(drawn, columns=["lr", "weight_decay", "label_smoothing", "epochs"], index=list(networks))
    for name in ("lr", "weight_decay"):
        low, high = np.log(getattr(config, name))
        u[name] = np.exp(low + (high - low) * u[name])
    low, high = config.label_smoothing
    u["label_smoothing"] = low + (high - low) * u["label_smoothing"]
    low, high = config.epochs
    u["epochs"] = np.floor(low + (high - low + 1) * u["epochs"]).clip(low, high).astype(int)
    return u


def start(config: ClassifierPopulation, kind: str, networks: Sequence[int]) -> Population:
    """Return networks before training, from He's normal draws; all entries of anchors may move."""
    drawn = initialise(*build(config, kind), [seed(config.base_seed, "init", i) for i in networks], "kaiming")
    return unconstrained(drawn) if kind == "anchor" else drawn


def images(config: ClassifierPopulation) -> Dataset:
    """Return the images of a configuration, averaged down to `side` pixels a side, on its device."""
    data, factor = load(config.dataset), SIDES[config.dataset] // config.side

    def small(split: Split, n: int) -> Split:
        return Split(F.avg_pool2d(split.x[:n], factor), split.y[:n])

    train_set, test_set = small(data.train, config.n_images), small(data.test, len(data.test.x))
    return Dataset(data.name, train_set, test_set, data.sha256).to(config.device)


def augmentation(config: ClassifierPopulation) -> Augmentation | None:
    """Return the paper's augmentation in proportion to the side of the images; none for digits."""
    if config.dataset == "digits":
        return None
    scale = config.side / SIDES[config.dataset]
    shift, cutout = (round(scale * pixels) for pixels in (LIM_CLASSIFIERS.shift, LIM_CLASSIFIERS.cutout))
    return Augmentation(LIM_CLASSIFIERS.flip, shift, cutout, LIM_CLASSIFIERS.fill)


def recipes(config: ClassifierPopulation, networks: Sequence[int]) -> list[Recipe]:
    """Return how each network is trained."""
    changes = augmentation(config)
    return [
        Recipe(
            int(row.epochs),
            config.batch_size,
            row.lr,
            row.weight_decay,
            triangular(config.peak, int(row.epochs)),
            changes,
            row.label_smoothing,
            drop_last=True,
        )
        for row in hyperparameters(config, networks).itertuples()
    ]


def bytes_per_network(config: ClassifierPopulation, kind: str) -> tuple[int, int]:
    """Return the memory that a network takes in training: its weights with their copies, and its activations."""
    model, _ = build(config, kind)
    outputs: list[int] = []
    hooks = [m.register_forward_hook(lambda m, i, y: outputs.append(y.numel())) for m in model.modules()]
    with torch.no_grad():
        model(torch.zeros(1, CHANNELS[config.dataset], config.side, config.side))
    for hook in hooks:
        hook.remove()
    weights = COPIES * sum(w.numel() for w in model.parameters())
    return 4 * weights, 4 * min(config.batch_size, config.n_images) * sum(outputs)


def refuse_too_large(config: ClassifierPopulation, free: int) -> None:
    """Raise an error if a shard does not fit in memory.

    On a GPU all of its networks take a step at once, on a CPU one after another, those with few activations apart.

    Args:
        config: The study.
        free: Bytes that every process may take.

    Raises:
        ValueError: Naming how many networks fit.
    """
    each, once = (max(parts) for parts in zip(*(bytes_per_network(config, kind) for kind in config.kinds), strict=True))
    if config.device == "cuda":
        each, once = each + once, 0
    needed = config.per_shard * each + once
    if needed > free:
        raise ValueError(
            f"{config.per_shard} networks in a shard need {needed / 2**30:.1f} GiB, and a process has "
            f"{free / 2**30:.1f} GiB: set per_shard to {max(1, (free - once) // each)} or fewer"
        )


def free_memory(config: ClassifierPopulation) -> int:
    """Return the bytes that every process of a run may take."""
    if config.device == "cuda":
        return torch.cuda.mem_get_info()[0]
    return psutil.virtual_memory().available // config.workers


def shards(config: ClassifierPopulation) -> Iterator[tuple[str, str, range]]:
    """Yield name, kind and networks of every shard."""
    for kind in config.kinds:
        for first in range(0, config.n_networks, config.per_shard):
            networks = range(first, min(first + config.per_shard, config.n_networks))
            yield f"{kind.replace(' ', '-')}-{first:05d}", kind, networks


def run(config: ClassifierPopulation) -> Record:
    """Train all networks; with `config.out` set, shards and their weights stay there and a killed run goes on.

    Returns:
        A record with one row per network, without weights: hyper-parameters, losses in nats, accuracies in [0, 1].
    """
    verify(config.dataset)
    if not config.scheduler:  # whose workers have memory of their own
        refuse_too_large(config, free_memory(config))
    out = Path(config.out) if config.out else None
    work = {
        name: (_key(config, kind, networks), partial(measure, config, kind, networks))
        for name, kind, networks in shards(config)
    }
    folder = out and (out / "shards").resolve()  # workers elsewhere have a folder of their own
    parts = run_shards(work, folder, config.workers, int(config.epochs[1]), config.scheduler, with_arrays=False)
    facts = {
        "data_sha256": parts[0].about["data_sha256"],
        "n_trainable": {part.config["kind"]: part.about["n_trainable"] for part in parts},
        "distances": {
            kind: [d for part in parts if part.config["kind"] == kind for d in part.about["distances"]]
            for kind in config.kinds
        },
        **joined_facts(parts),
    }
    return joined_record(STUDY, config.model_dump(exclude={"out", "scheduler"}), parts, facts, config.out)


def _key(config: ClassifierPopulation, kind: str, networks: range) -> dict:
    return config.science | {"kind": kind, "first": networks[0], "n_networks": len(networks)}


def measure(
    config: ClassifierPopulation, kind: str, networks: range, folder: Path | None, on_epoch: Callable[[], None]
) -> Record:
    """Train the networks of a shard together and keep their weights.

    Returns:
        One row per network, and as arrays "initial/NAME" and "final/NAME", the weights before and after training, shape
        (networks, ...). A network that diverged has no scores, and weights that are not finite.
    """
    refuse_missing_device(config.device)  # of a scheduler's worker
    started = time.perf_counter()
    data, before = images(config), start(config, kind, networks).to(config.device)
    after, losses = train(
        before,
        data.train.x,
        data.train.y,
        recipes(config, networks),
        [seed(config.base_seed, "order", i) for i in networks],
        folder and folder / "training.safetensors",
        on_epoch,
        keep_going=True,
    )
    table = hyperparameters(config, networks).rename_axis("network").reset_index()
    table.insert(0, "kind", kind)
    table["train_loss"] = losses.cpu().numpy()[table["epochs"] - 1, range(len(networks))]
    for what, split in (("train", data.train), ("test", data.test)):
        accuracy = evaluate(after, split.x, split.y).accuracy.cpu().numpy()
        table[f"{what}_accuracy"] = np.where(table["train_loss"].isna(), np.nan, accuracy)
    arrays = {
        f"{when}/{name}": w.cpu().numpy()
        for when, population in (("initial", before), ("final", after))
        for name, w in population.params.items()
    }
    facts = {
        "data_sha256": data.sha256,
        "n_trainable": trainable_entries(after).shape[1],
        "distances": distances(after[table["train_loss"].notna().to_numpy().nonzero()[0].tolist()]),
        "compute_s": round(time.perf_counter() - started, 1),
    }
    return records.make(STUDY, _key(config, kind, networks), table, facts, arrays)


def distances(population: Population) -> list[float]:
    """Return the Euclidean distances of the trainable entries of disjoint pairs of networks.

    Source: Lim et al. (2024), appendix A, there over random pairs.
    """
    entries = trainable_entries(population)
    last = len(entries) - len(entries) % 2
    return (entries[0:last:2] - entries[1:last:2]).double().norm(dim=1).tolist()


def finished(folder: Path) -> tuple[ClassifierPopulation, Record]:
    """Return the configuration of a population that was trained in a folder, and its record.

    Raises:
        ValueError: If none was finished there.
    """
    if not (folder / "record").exists():
        raise ValueError(f"networks names {folder}, where no population was finished: run classifier_population there")
    record = records.read(folder / "record")
    here = {"out": str(folder), "scheduler": "", "device": "cpu"}
    return ClassifierPopulation.checked(record.config | here), record


def load_networks(config: ClassifierPopulation, kind: str, when: Literal["initial", "final"]) -> Population:
    """Return all networks of a kind from the shards of a finished run.

    Raises:
        ValueError: If a shard is missing, damaged, or of another configuration.
    """
    model, fixed = build(config, kind)
    parts = []
    for name, its_kind, networks in shards(config):
        if its_kind == kind:
            folder = Path(config.out) / "shards" / name
            part = records.read(folder)
            if part.about["key"] != records.key(_key(config, kind, networks)):
                raise ValueError(f"{folder} holds networks of another configuration: run the population again")
            parts.append(part.arrays)
    names = [name for name, _ in model.named_parameters()]
    stacked = {n: torch.from_numpy(np.concatenate([part[f"{when}/{n}"] for part in parts])) for n in names}
    found = Population(model, fixed, stacked)
    return unconstrained(found) if kind == "anchor" else found


def quantities(record: Record) -> dict[str, np.ndarray]:
    """Return vectors with one value per network that did not diverge.

    Returns:
        "accuracy/standard", test accuracy in per cent; "gap/standard", training less test accuracy in percentage
        points; and, per pair, "distance/standard", divided by the number of trainable parameters as in the paper.

    Source: Lim et al. (2024), appendix A.
    """
    about = record.about
    found = {
        f"distance/{kind}": np.array(apart) / about["n_trainable"][kind] for kind, apart in about["distances"].items()
    }
    for kind, rows in record.table.groupby("kind"):
        train, test = (100 * rows[f"{what}_accuracy"] for what in ("train", "test"))
        found |= {f"accuracy/{kind}": survivors(test), f"gap/{kind}": survivors(train - test)}
    return found
