"""Bayesian neural networks, with and without symmetries, and what else could explain the difference.

Networks of one number start from the same means, see the same batches and, as far as their layers agree, the same noise
in all variants. The paper's two rows are `standard` and `w-asym`; all others are controls or rows of ours.

Source: Lim et al. (2024), section 5.2, Tables 2 and 7, Figure 4, appendix F.2.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from math import log
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from symlib import checkpoints, records
from symlib.asymmetry import Asymmetry, Standard, Syre, WAsymmetry, constraint
from symlib.bayes.calibration import negative_log_likelihood, reliability
from symlib.bayes.evidence import Evidence, divergence
from symlib.bayes.laplace import last_layer_laplace
from symlib.bayes.layers import Posterior, gaussian
from symlib.bayes.prediction import ensemble, predict
from symlib.claims import weight
from symlib.config import Config
from symlib.data.augmentation import LIM_BAYES
from symlib.data.dataset import Dataset
from symlib.data.images import verify
from symlib.networks.mlp import MLP, relu
from symlib.networks.resnet import ResNet
from symlib.population import Population, initialise
from symlib.presets import LIM_BAYES_MLP
from symlib.records import Record
from symlib.seeds import seed
from symlib.studies.leads import judged
from symlib.studies.mode_connectivity import Positive
from symlib.studies.resnet_connectivity import Rate, table_11_counts
from symlib.studies.resnet_connectivity import images as first_images
from symlib.studies.shards import joined_facts, joined_record, refuse_missing_device, run_shards
from symlib.training import CROSS_ENTROPY, Objective, Recipe, train

STUDY = "bayesian"
SHAPES = {"digits": (1, 8), "mnist": (1, 28), "cifar10": (3, 32), "cifar100": (3, 32)}  # channels, pixels a side
N_CLASSES = {"cifar100": 100}
SIGMA_F = 0.5
# From the released code: what means are drawn from, in W-asymmetric networks too, and the diagonal.
INIT = {"mlp": "uniform", "resnet": "kaiming"}
LOG_VARIANCE = {"mlp": -10.0, "resnet": -12.0}
RELEASED_SHARE = 1 / 8  # of the divergence that the released code counts, for CIFAR
MEMBERS = 5  # of an ensemble
LOOKS = 10  # at test images during training, on as many as CURVE_IMAGES with CURVE_DRAWS
CURVE_IMAGES, CURVE_DRAWS = 2000, 5
LOOK_FILE = "look-{:04d}.safetensors"
LOOKED_AT = ("nll", "accuracy", "ece", "divergence")
# How many times smaller the share of noise in an output's variance is in W-asymmetric MLPs: per unit of input,
# constants add 2 / d to the 1 / (3 d) of trainable entries, d being the inputs.
DROWNED = 7


@dataclass(frozen=True)
class Variant:
    """What is fixed in a network, and how it is Bayesian.

    Attributes:
        fixed: Name of the asymmetry.
        spread: Multiplies the initial factors.
        diagonal: Multiplies the variances of the diagonal.
        rank: Of the covariance; None for that of the study.
        learned: The diagonal is trained too.
        share: Of the divergence that counts.
        released_order: Convolutions mix up factors and channels as in the released code.
        tau: Multiplies that of the study.
        width: Multiplies that of the study.
        way: Variational, or what stands beside it for orientation.
    """

    fixed: Literal["standard", "w-asym", "w-asym 0", "syre"] = "standard"
    spread: float = 1.0
    diagonal: float = 1.0
    rank: int | None = None
    learned: bool = False
    share: float = 1.0
    released_order: bool = False
    tau: float = 1.0
    width: float = 1.0
    way: Literal["variational", "deterministic", "ensemble", "laplace"] = "variational"

    @property
    def members(self) -> int:
        """How many networks make one prediction."""
        return MEMBERS if self.way == "ensemble" else 1


VARIANTS = {
    "standard": Variant(),
    "w-asym": Variant("w-asym"),
    "w-asym 0": Variant("w-asym 0"),
    "syre": Variant("syre"),
    "smaller": Variant(width=31 / 32),  # of wide ResNets: about as many parameters as W-asymmetric ones train
    "quiet": Variant(spread=0.1),
    "drowned": Variant(spread=DROWNED**-0.5, diagonal=1 / DROWNED),
    "w-asym loud": Variant("w-asym", spread=DROWNED**0.5, diagonal=DROWNED),
    "standard released": Variant(share=RELEASED_SHARE, released_order=True),
    "w-asym released": Variant("w-asym", share=RELEASED_SHARE, released_order=True),
    "narrow prior": Variant(tau=10.0),
    "mean-field": Variant(rank=0, learned=True),
    "deterministic": Variant(way="deterministic"),
    "w-asym deterministic": Variant("w-asym", way="deterministic"),
    "ensemble": Variant(way="ensemble"),
    "laplace": Variant(way="laplace"),
}


STANDARD, W_ASYM = "standard", "w-asym"
READINGS = ("fewer symmetries", "drowned noise")
JUDGED = ("depth", "variant", "n", "accuracy", "gained", "p_most", "p_little", "found")
# Written down before any network of the profile cpu was trained, though after pilots on digits, here and elsewhere, in
# which quiet standard networks learned; the two that change neither symmetries nor initial noise before any of theirs;
# the last, which has no posterior at all, before any of its networks but after many of the others. What each reading
# says of a control: whether it gains more than half of what W-asymmetric networks gain over standard ones.
PREDICTED: dict[str, tuple[str, str]] = {
    "quiet": ("little", "most"),
    "drowned": ("little", "most"),
    "w-asym loud": ("most", "little"),
    "w-asym 0": ("most", "little"),
    "syre": ("most", "most"),
    "standard released": ("little", "little"),
    "narrow prior": ("little", "little"),
    "deterministic": ("most", "most"),
}


class Bayesian(Config):
    """Parameters of one run; their meaning stands beside each in the notebook's parameters cell."""

    profile: Literal["quick", "cpu", "paper", "custom"]
    dataset: Literal[*SHAPES]
    network: Literal["mlp", "resnet"]
    depths: Annotated[list[Positive], Field(min_length=1)]
    width: Rate
    norm: Literal["layer", "batch"]
    variants: Annotated[list[Literal[*VARIANTS]], Field(min_length=1)]
    rank: Annotated[int, Field(ge=0)]
    tau: Rate
    n_networks: Annotated[int, Field(ge=2)]
    per_shard: Positive
    epochs: Annotated[int, Field(ge=2)]
    batch_size: Positive
    n_images: Positive
    lr: Rate
    n_samples: Positive
    mask_seed: int
    base_seed: int
    workers: Positive
    device: Literal["cpu", "cuda"]
    out: str

    @model_validator(mode="after")
    def _refuse_before_work_starts(self) -> "Bayesian":
        for depth in self.depths:
            for name in self.variants:
                start(self, depth, VARIANTS[name], [0])
        scaled = [name for name in self.variants if VARIANTS[name].spread != 1]
        if scaled and self.network == "resnet":
            raise ValueError(f"{scaled} scale initial factors, which are 0 in convolutions: leave them out of ResNets")
        if "laplace" in self.variants and find_spec("laplace") is None:
            raise ValueError('the variant laplace needs a library: `pip install "symlib[laplace]"`, or leave it out')
        refuse_missing_device(self.device)
        return self

    @property
    def science(self) -> dict:
        """The parameters that the result of one network depends on."""
        # With the device, which draws the noise: a GPU has other random numbers.
        left_out = {"profile", "depths", "variants", "n_networks", "per_shard", "workers", "out"}
        return self.model_dump(exclude=left_out)


def build(config: Bayesian, depth: int, narrower: float = 1.0) -> nn.Module:
    """Return the architecture: ReLU and a norm after every hidden linear map; `narrower` multiplies its width.

    Raises:
        ValueError: If depth or width cannot be built.
    """
    channels, side = SHAPES[config.dataset]
    width, n_classes = narrower * config.width, N_CLASSES.get(config.dataset, 10)
    if config.network == "resnet":
        return ResNet(depth, width, n_classes, config.norm, in_channels=channels)
    if width != int(width):
        raise ValueError(f"width is the units of a hidden layer of an MLP, a whole number, got {width}")
    return MLP((channels * side**2, *[int(width)] * depth, n_classes), relu, config.norm)


def asymmetry(config: Bayesian, depth: int, model: nn.Module, fixed: str) -> Asymmetry:
    """Return what is fixed; ResNets on CIFAR-100 have a read-out without pinned entries, as in the paper."""
    if fixed == "standard":
        return Standard()
    if fixed == "syre":
        return Syre(SIGMA_F)
    if config.network == "mlp":
        pinned = LIM_BAYES_MLP
    else:
        *counts, read_out = table_11_counts(depth, model)
        pinned = WAsymmetry([*counts, 0 if config.dataset == "cifar100" else read_out], SIGMA_F)
    return replace(pinned, sigma_F=0.0) if fixed == "w-asym 0" else pinned


def start(config: Bayesian, depth: int, variant: Variant, networks: Sequence[int]) -> Population:
    """Return networks before training, or all members of ensembles one after another.

    Means of networks of one number are the same in all variants, and so are factors up to their scale.
    """
    model = build(config, depth, variant.width)
    fixed = constraint(model, asymmetry(config, depth, model, variant.fixed), config.mask_seed)
    drawn = initialise(model, fixed, _seeds(config, "init", variant, networks), INIT[config.network])
    if variant.way != "variational":
        return drawn
    rank = config.rank if variant.rank is None else variant.rank
    log_variance = LOG_VARIANCE[config.network] + log(variant.diagonal)
    posterior = Posterior(rank, log_variance, variant.learned, variant.spread, variant.released_order)
    return gaussian(drawn, posterior, _seeds(config, "factors", variant, networks))


def _seeds(config: Bayesian, what: str, variant: Variant, networks: Sequence[int]) -> list[int]:
    return [seed(config.base_seed, what, i, member) for i in networks for member in range(variant.members)]


def run(config: Bayesian) -> Record:
    """Train all networks in shards; with `config.out` set, a killed run goes on where it stopped.

    Returns:
        A record with one row per depth, variant, network and epoch: train_loss (nats, one draw an example), and after
        some epochs nll (nats), accuracy in [0, 1], ece and divergence (nats), of all test images after the last epoch
        and the one in the middle, else of the first. Its facts have the reliability of every network.
    """
    verify(config.dataset)
    work = {
        f"{config.network}-{depth}-{name.replace(' ', '-').replace('/', '')}-{networks[0]:03d}": (
            _key(config, depth, name, networks),
            partial(measure, config, depth, name, networks),
        )
        for networks in _blocks(config)  # all variants of some networks before the next
        for depth in config.depths
        for name in config.variants
    }
    parts = run_shards(work, Path(config.out) / "shards" if config.out else None, config.workers, config.epochs)
    bins: dict[str, list] = {}
    for part in parts:
        bins.setdefault("{variant} {depth}".format(**part.config), []).extend(part.about["reliability"])
    facts = {"data_sha256": parts[0].about["data_sha256"], "reliability": bins, **joined_facts(parts)}
    return joined_record(STUDY, config.model_dump(exclude={"out"}), parts, facts, config.out)


def _blocks(config: Bayesian) -> Iterator[range]:
    for first in range(0, config.n_networks, config.per_shard):
        yield range(first, min(first + config.per_shard, config.n_networks))


def _key(config: Bayesian, depth: int, name: str, networks: range) -> dict:
    return config.science | {"depth": depth, "variant": name, "networks": list(networks)}


def images(config: Bayesian) -> Dataset:
    """Return the images of a configuration, n_images of them for training, on its device.

    Raises:
        ValueError: If the data set has fewer.
    """
    data = first_images(config)
    if config.n_images > (n := len(data.train.y)):
        raise ValueError(f"n_images is {config.n_images}, but {config.dataset} has {n} training images")
    return data


def measure(
    config: Bayesian, depth: int, name: str, networks: range, folder: Path | None, on_epoch: Callable[[], None]
) -> Record:
    """Train the networks of a shard as one population, and look at their predictions now and then.

    Looks are kept beside the checkpoint, so that a killed run has those from before too.

    Returns:
        Rows as `run` describes them.
    """
    started = time.perf_counter()
    data, variant, key = images(config), VARIANTS[name], _key(config, depth, name, networks)
    drawn = start(config, depth, variant, networks).to(config.device)
    objective = CROSS_ENTROPY
    if variant.way == "variational":
        objective = Evidence(config.tau * variant.tau, len(data.train.y) / variant.share)
    middle, last = config.epochs // 2, config.epochs
    epochs = {max(1, round(last * i / LOOKS)) for i in range(1, LOOKS + 1)} | {middle}
    looks = {epoch: checkpoints.read(file, records.key(key)) for epoch in epochs if (file := _look_file(folder, epoch))}

    def look(epoch: int, population: Population) -> None:
        if epoch not in epochs:
            return
        n, draws = (len(data.test.y), config.n_samples) if epoch in (middle, last) else (CURVE_IMAGES, CURVE_DRAWS)
        guessed = _predicted(config, variant, networks, population, data, n, draws)
        looks[epoch] = _scores(guessed, data.test.y[:n]) | _divergence(objective, population)
        if folder:
            checkpoints.write(folder / LOOK_FILE.format(epoch), looks[epoch], records.key(key))

    _, losses = train(
        drawn,
        data.train.x,
        data.train.y,
        _recipe(config),
        _seeds(config, "order", variant, networks),
        folder and folder / "training.safetensors",
        on_epoch,
        look,
        keep_going=True,
        objective=objective,
    )
    if missing := epochs - looks.keys():
        raise ValueError(f"{folder} has a checkpoint, but no look at epochs {sorted(missing)}: delete the folder")
    losses = losses.view(config.epochs, len(networks), variant.members).mean(dim=2).tolist()
    table = pd.DataFrame(
        {"depth": depth, "variant": name, "network": network, "epoch": epoch, "train_loss": losses[epoch - 1][i]}
        | {what: float(looks[epoch][what][i]) for what in LOOKED_AT if what in looks.get(epoch, {})}
        for i, network in enumerate(networks)
        for epoch in range(1, config.epochs + 1)
    )
    bins = {what: value for what, value in looks[last].items() if value.dim() == 2}
    facts = {
        "data_sha256": data.sha256,
        "reliability": [{what: value[i].tolist() for what, value in bins.items()} for i in range(len(networks))],
        "compute_s": round(time.perf_counter() - started, 1),
    }
    return records.make(STUDY, key, table, facts)


def _look_file(folder: Path | None, epoch: int) -> Path | None:
    file = folder and folder / LOOK_FILE.format(epoch)
    return file if file and file.exists() else None


def _recipe(config: Bayesian) -> Recipe:
    augmentation = LIM_BAYES if config.dataset.startswith("cifar") else None
    return Recipe(config.epochs, config.batch_size, config.lr, 0.0, augmentation=augmentation)


def _predicted(
    config: Bayesian, variant: Variant, networks: range, population: Population, data: Dataset, n: int, draws: int
) -> Tensor:
    """Return the probabilities of the first n test images, shape (networks, n, classes)."""
    x = data.test.x[:n]
    if variant.way == "variational":
        return predict(population, x, draws, _seeds(config, "draw", variant, networks))
    each = [population[i * variant.members : (i + 1) * variant.members] for i in range(len(networks))]
    if variant.way == "laplace":
        return torch.stack([last_layer_laplace(one, data.train, x) for one in each])
    return torch.stack([ensemble(members, x) for members in each])


def _scores(guessed: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Return nll, accuracy and ece of every network, NaN if it diverged, and the bins of its reliability diagram."""
    sound = guessed.isfinite().all(dim=(1, 2))
    guessed = torch.where(sound[:, None, None], guessed, 1 / guessed.shape[-1])
    bins = reliability(guessed, y)
    right = (guessed.argmax(-1) == y).double().mean(dim=1)
    found = {"nll": negative_log_likelihood(guessed, y), "accuracy": right, "ece": bins.error}
    found = {what: torch.where(sound, value, torch.nan) for what, value in found.items()}
    found |= {"count": bins.count * sound[:, None], "confidence": bins.confidence, "right": bins.accuracy}
    return {what: value.cpu() for what, value in found.items()}


@torch.no_grad()
def _divergence(objective: Objective, population: Population) -> dict[str, Tensor]:
    if not isinstance(objective, Evidence):
        return {}
    fixed = population.constraint.to(next(iter(population.params.values())))
    each = [divergence(population.model, fixed, member, objective.tau) for member in population.members()]
    return {"divergence": torch.stack(each).double().cpu()}


def finals(record: Record) -> pd.DataFrame:
    """Sum up every network.

    Returns:
        One row per depth, variant and network: train_loss (of the last epoch, nats), nll, ece, accuracy and
        half_accuracy (in the middle of training), both in per cent, and divergence (nats); NaN where it diverged.
    """
    keys = ["depth", "variant", "network"]
    table, epochs = record.table, record.config["epochs"]
    last = table[table["epoch"] == epochs].set_index(keys)
    half = table[table["epoch"] == epochs // 2].set_index(keys)["accuracy"]
    kept = ["train_loss", "nll", "ece", "accuracy", *(["divergence"] if "divergence" in last else [])]
    return last[kept].assign(accuracy=100 * last["accuracy"], half_accuracy=100 * half).reset_index()


def quantities(record: Record) -> dict[str, np.ndarray]:
    """Return vectors with one value per network; one that diverged counts as one that guesses.

    Returns:
        "accuracy/standard 8", "half_accuracy/...", "train_loss/..." and "nll/..." by variant and depth.
    """
    return {
        f"{what}/{variant} {depth}": rows[what].to_numpy()
        for (variant, depth), rows in _guessing_where_diverged(record).groupby(["variant", "depth"])
        for what in ("accuracy", "half_accuracy", "train_loss", "nll")
    }


def _guessing_where_diverged(record: Record) -> pd.DataFrame:
    n_classes = N_CLASSES.get(record.config["dataset"], 10)
    chance = {"accuracy": 100 / n_classes, "half_accuracy": 100 / n_classes}
    return finals(record).fillna(chance | dict.fromkeys(("train_loss", "nll"), log(n_classes)))


def readings(record: Record) -> pd.DataFrame:
    """Judge what two readings of the paper's comparison say of the controls, by depth.

    A variant gains 0 if it is as accurate as standard networks and 1 if it is as accurate as W-asymmetric ones;
    networks of one number are compared.

    Returns:
        One row per depth and control: n, accuracy (mean, per cent), gained, p_most and p_little (that it gains more and
        less than half), found (the verdict of `leads.judged`), and for each reading "supports", "undermines" or
        "undecided".
    """
    rows = []
    for depth, table in _guessing_where_diverged(record).groupby("depth"):
        wide = table.pivot(index="network", columns="variant", values="accuracy")
        if not {STANDARD, W_ASYM} <= set(wide.columns):
            continue
        for name, says in PREDICTED.items():
            if name in wide.columns:
                gain, lead = ((wide[one] - wide[STANDARD]).to_numpy() for one in (name, W_ASYM))
                told = judged(gain, lead)
                words = {r: _word(told["verdict"], expected) for r, expected in zip(READINGS, says, strict=True)}
                told |= {"gained": told["share"], "found": told["verdict"]}
                rows.append({"depth": depth, "variant": name, "accuracy": wide[name].mean()} | told | words)
    return pd.DataFrame(rows, columns=[*JUDGED, *READINGS])


def recorded_readings(results: Path = records.RESULTS) -> pd.DataFrame:
    """Judge the controls of MLPs on CIFAR-10, each by its largest run.

    Returns:
        Columns architecture, such as "Bayesian MLP-16", variant, and verdict: what part of the gain of W-asymmetric
        networks the control has.
    """
    kept = [r for r in records.find(STUDY, results) if (r.config["dataset"], r.config["network"]) == ("cifar10", "mlp")]
    found = [
        {"architecture": f"Bayesian MLP-{row.depth}", "variant": row.variant, "verdict": row.found}
        for record in sorted(kept, key=weight, reverse=True)
        for row in readings(record).itertuples()
    ]
    table = pd.DataFrame(found, columns=["architecture", "variant", "verdict"])
    return table.drop_duplicates(["architecture", "variant"])


def _word(found: str, expected: str) -> str:
    if found not in ("most", "little"):
        return "undecided"
    return "supports" if found == expected else "undermines"
