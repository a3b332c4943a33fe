"""Linear mode connectivity of residual networks: rows 2 and 3 of Table 1, warm-up, fixed biases, and controls.

Source: Lim et al. (2024), section 5.1, Table 1, Figure 3 middle, appendices A and E.2 to E.3.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field, model_validator
from torch import nn

from symlib.alignment.permutation import unconstrained
from symlib.asymmetry import (
    Asymmetry,
    FixedBiases,
    Standard,
    Syre,
    WAsymmetry,
    activation_for,
    constraint,
    linear_maps,
)
from symlib.config import Config
from symlib.data.augmentation import LIM_CIFAR
from symlib.data.dataset import Dataset, Split
from symlib.data.images import load, verify
from symlib.interpolation import curves, line, mixing_weights
from symlib.networks.mlp import relu
from symlib.networks.resnet import ResNet
from symlib.population import Population, evaluate, initialise
from symlib.presets import SIGMA_RESNET, buergin_resnet, lim_resnet
from symlib.records import Record
from symlib.seeds import generator, seed
from symlib.studies.mode_connectivity import NotNegative, Positive
from symlib.studies.shards import refuse_missing_device
from symlib.studies.variants import (
    STANDARD,
    W_ASYM,
    Prediction,
    aligned,
    as_they_are,
    joined,
    judged,
    line_quantities,
    no_line,
    reestimated,
    refuse_missing_variants,
    repaired,
    run_pairs,
    separation,
    shard_record,
    summed_up,
)
from symlib.training import Recipe, geometric_warmup, train

STUDY = "resnet_connectivity"
CHANNELS = {"digits": 1, "cifar10": 3}
N_SEEN = 5_000  # training images that activations are matched and statistics taken on
WARMUP_FROM = 0.01  # of the rate, 1e-4 where the rate is 1e-2

Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Variant:
    """What is fixed in a network.

    Attributes:
        asymmetry: Makes it for a configuration and a network.
        symmetric: Units may be reordered, so that pairs can be aligned.
        pinned: Entries stay fixed; otherwise they only start there.
        lr: Factor on the learning rate.
        warmup: Epochs of warm-up; None for those of the study.
        init: What weights are drawn from, an entry of `population.INITIALISERS`.
    """

    asymmetry: Callable[["ResNetConnectivity", nn.Module], Asymmetry]
    symmetric: bool = False
    pinned: bool = True
    lr: float = 1.0
    warmup: int | None = None
    init: str = "kaiming"


def w_asymmetry(config: "ResNetConnectivity", model: nn.Module) -> WAsymmetry:
    """Return the paper's W-asymmetry of a ResNet: the shares that Table 11 pins, or the counts of Table 12."""
    if config.masks == "table 12":
        return lim_resnet(config.depth, multiple=3, sigma_F=config.sigma_F)
    return WAsymmetry(table_11_counts(config.depth, model), config.sigma_F)


def table_11_counts(depth: int, model: nn.Module) -> list[int]:
    """Return how many entries per row of a ResNet of any width are the shares that Table 11 pins."""
    counts = lim_resnet(depth).n_fix
    usual, ours = ([w[0].numel() for w in linear_maps(m).values()] for m in (ResNet(depth), model))
    return [round(n * d / full) for n, d, full in zip(counts, ours, usual, strict=True)]


def with_zeros(config: "ResNetConnectivity", model: nn.Module) -> WAsymmetry:
    """Return the same with zeros for constants, but the stem of Bürgin et al. where Table 12 would cut the network."""
    if config.masks == "table 12":
        return buergin_resnet(sigma_F=0.0)
    return replace(w_asymmetry(config, model), sigma_F=0.0)


def _biases(bound: float) -> Variant:
    return Variant(lambda config, model: FixedBiases(bound))


VARIANTS = {
    STANDARD: Variant(lambda config, model: Standard(), symmetric=True),
    "sigma": Variant(lambda config, model: SIGMA_RESNET, lr=0.1),  # the paper warms up to 1e-3 instead of 1e-2
    W_ASYM: Variant(w_asymmetry),
    "syre": Variant(lambda config, model: Syre(config.sigma_F)),
    "w-asym 0": Variant(with_zeros),
    "anchor": Variant(w_asymmetry, symmetric=True, pinned=False),
    "w-asym released": Variant(w_asymmetry, init="uniform"),  # the smaller weights that the paper's code starts from
    "biases 1": _biases(1),
    "biases 3": _biases(3),
    "biases 9": _biases(9),
    "biases 27": _biases(27),
}
VARIANTS |= {f"{name} warm 1": replace(VARIANTS[name], warmup=1) for name in (STANDARD, W_ASYM)}
# As for MLPs (`controls`), written down before any ResNet of this study was trained on CIFAR-10.
PREDICTED = {"anchor": Prediction("needed", "less"), "w-asym 0": Prediction("enough", "more")}


class ResNetConnectivity(Config):
    """Parameters of one run; their meaning stands beside each in the notebook's parameters cell."""

    profile: Literal["quick", "cpu", "paper", "custom"]
    dataset: Literal["digits", "cifar10"]
    depth: Positive
    width: Rate
    norm: Literal["layer", "batch"]
    masks: Literal["table 11", "table 12"]
    n_pairs: Annotated[int, Field(ge=2)]
    epochs: Positive
    warmup: Positive
    n_images: Positive
    batch_size: Positive
    lr: Rate
    sigma_F: NotNegative
    variants: Annotated[list[Literal[*VARIANTS]], Field(min_length=1)]
    n_points: int
    mask_seed: int
    base_seed: int
    workers: Positive
    device: Literal["cpu", "cuda"]
    out: str

    @model_validator(mode="after")
    def _refuse_before_work_starts(self) -> "ResNetConnectivity":
        mixing_weights(self.n_points)
        refuse_missing_variants(self.variants)
        if self.masks == "table 12" and self.width != 8:
            raise ValueError(f"Table 12 is for width 8, got width {self.width:g}: choose masks = 'table 11'")
        for name in self.variants:
            start(self, name, 0)
        refuse_missing_device(self.device)
        return self

    @property
    def science(self) -> dict:
        """The parameters that the result of one pair of one variant depends on."""
        return self.model_dump(exclude={"profile", "n_pairs", "variants", "workers", "device", "out"})


def start(config: ResNetConnectivity, name: str, pair: int) -> Population:
    """Return the two networks of a pair before training.

    Networks of one number start from the same draw in all variants of one `init`.
    """
    variant, mask_seed = VARIANTS[name], seed(config.mask_seed, "pair", pair)
    shape = {"norm": config.norm, "in_channels": CHANNELS[config.dataset]}
    asymmetry = variant.asymmetry(config, ResNet(config.depth, config.width, **shape))
    activation = activation_for(asymmetry, mask_seed, relu, images=True)
    model = ResNet(config.depth, config.width, activation=activation, **shape)
    init_seeds = [seed(config.base_seed, "init", 2 * pair + i) for i in range(2)]
    fixed = constraint(model, asymmetry, mask_seed)
    drawn = initialise(model, fixed, init_seeds, variant.init)
    return drawn if variant.pinned else unconstrained(drawn)


def run(config: ResNetConnectivity) -> Record:
    """Train and compare all variants, one pair a shard; with `config.out` set, a killed run goes on where it stopped.

    Returns:
        A record with one row per variant, method, pair and point of the line, and in its facts what the networks of
        each variant scored.
    """
    verify(config.dataset)
    return joined(STUDY, config, run_pairs(config, config.variants, measure, config.epochs))


def measure(
    config: ResNetConnectivity, name: str, pair: int, folder: Path | None, on_epoch: Callable[[], None]
) -> Record:
    """Train the two networks of a pair, align them where that is possible, and evaluate the lines.

    Returns:
        Rows with test loss in nats and test accuracy in [0, 1]. A pair that diverged has rows without them.
    """
    started = time.perf_counter()
    data, drawn = images(config), start(config, name, pair).to(config.device)
    facts = {"data_sha256": data.sha256}
    try:
        trained, losses = train(
            drawn,
            data.train.x,
            data.train.y,
            _recipe(config, VARIANTS[name]),
            [seed(config.base_seed, "order", 2 * pair + i) for i in range(2)],
            folder and folder / "training.safetensors",
            on_epoch,
        )
    except FloatingPointError:
        table = pd.DataFrame({"method": "unaligned"} | no_line(config.n_points))
    else:
        scored = {what: evaluate(trained, split.x, split.y) for what, split in _splits(data).items()}
        accuracies = {f"{what}_accuracy": found.accuracy.tolist() for what, found in scored.items()}
        facts["scores"] = {"train_loss": losses[-1].tolist()} | accuracies | separation(trained)
        table = pd.concat(_lines(config, name, pair, trained, data), ignore_index=True)
    facts["compute_s"] = round(time.perf_counter() - started, 1)
    return shard_record(STUDY, config, name, pair, table, facts)


def images(config: ResNetConnectivity) -> Dataset:
    """Return the images of a configuration, n_images of them for training, on its device."""
    data = load(config.dataset)
    first = Split(data.train.x[: config.n_images], data.train.y[: config.n_images])
    return Dataset(data.name, first, data.test, data.sha256).to(config.device)


def _splits(data: Dataset) -> dict[str, Split]:
    """Return where networks are scored; as many training images as there are test images, without augmentation."""
    n = len(data.test.x)
    return {"train": Split(data.train.x[:n], data.train.y[:n]), "test": data.test}


def _recipe(config: ResNetConnectivity, variant: Variant) -> Recipe:
    return Recipe(
        config.epochs,
        config.batch_size,
        config.lr * variant.lr,
        weight_decay=0.0,
        schedule=geometric_warmup(WARMUP_FROM, variant.warmup or config.warmup),
        augmentation=LIM_CIFAR if config.dataset == "cifar10" else None,
    )


def _lines(
    config: ResNetConnectivity, name: str, pair: int, trained: Population, data: Dataset
) -> Iterator[pd.DataFrame]:
    """Yield the lines of a pair: as it is, aligned, and aligned with statistics put right."""
    first, second, seen = trained[:1], trained[1:], data.train.x[:N_SEEN]
    mix = partial(reestimated, seen) if config.norm == "batch" else line
    ways = {"unaligned": (second, mix)}
    if VARIANTS[name].symmetric:
        matched = aligned(first, second, seen, generator(config.base_seed, "match", pair))
        ways |= {method: (end, mix) for method, end in matched.items()}
        ways["git-rebasin repaired"] = (matched["git-rebasin"], partial(repaired, seen))
    lambdas = mixing_weights(config.n_points)
    for method, (end, between) in ways.items():
        scores = curves(first, end, lambdas, data.test.x, data.test.y, between)
        columns = {"test_loss": scores.loss[0].cpu(), "test_accuracy": scores.accuracy[0].cpu()}
        yield pd.DataFrame({"method": method, "lambda": lambdas} | columns)


def pairs(record: Record) -> pd.DataFrame:
    """Sum up every line: one row per variant, method and pair, as `variants.summed_up`."""
    return summed_up(record.table, ("variant", "method", "pair"))


def verdicts(record: Record) -> pd.DataFrame:
    """Judge every variant by the share of the barrier that it removes, as `variants.judged` does."""
    return judged(as_they_are(pairs(record)), PREDICTED)


def quantities(record: Record) -> dict[str, np.ndarray]:
    """Return vectors with one value per pair, as `variants.line_quantities`."""
    return line_quantities(pairs(record), record.about["networks"])
