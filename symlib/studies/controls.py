"""What comparing standard and W-asymmetric MLPs leaves open: is it the missing symmetry, or what two networks share?

W-asymmetric networks differ in three things at once: they have no permutation symmetry, both networks of a pair hold
the same large constants, and their weights start at another scale. The variants here change one at a time.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field, model_validator

from symlib.alignment.permutation import unconstrained
from symlib.asymmetry import Standard, WAsymmetry, constraint, linear_maps
from symlib.claims import survivors
from symlib.config import Config
from symlib.data.images import load, verify
from symlib.interpolation import curves, mixing_weights
from symlib.networks.mlp import MLP
from symlib.population import Population, initialise
from symlib.records import Record
from symlib.seeds import seed
from symlib.studies.mode_connectivity import N_INPUTS, NotNegative, Positive
from symlib.studies.shards import refuse_missing_device
from symlib.studies.variants import (
    STANDARD,
    W_ASYM,
    Prediction,
    compared,
    joined,
    judged,
    run_pairs,
    shard_record,
    summed_up,
)
from symlib.training import Recipe, train

STUDY = "controls"


@dataclass(frozen=True)
class Variant:
    """How the two networks of a pair are made from the pattern of pinned entries and its constants.

    Attributes:
        pinned: Entries of the pattern keep their constants; otherwise they start there and are trained.
        shared: Both networks have the same pattern and constants; otherwise each has its own.
        scale: Factor on the standard deviations of the constants.
        share: Factor on the numbers of pinned entries per row; 0 for standard networks.
        same_draw: Both networks start from the same draw, and see batches in different orders.
    """

    pinned: bool = True
    shared: bool = True
    scale: float = 1.0
    share: float = 1.0
    same_draw: bool = False


FACTORS = {
    STANDARD: Variant(share=0.0),
    W_ASYM: Variant(),
    "anchor": Variant(pinned=False),
    "own constants": Variant(shared=False),
    "own anchor": Variant(pinned=False, shared=False),
    "shared start": Variant(share=0.0, same_draw=True),
}
# Written down before any network of this study was trained on MNIST, and after small runs on digits, here and
# elsewhere, that pointed against both readings.
#   anchor: all entries are trainable, so the symmetry is back. If its absence is needed, less than half is removed.
#   scale 0: zeros for constants, so no permutation symmetry, and nothing large that is shared. If its absence is
#            enough, more than half is removed. Lim et al. do not hold this reading: zeros, they find, do not suffice.
# The others decide nothing by themselves. "own constants" says whether constants have to be shared, "own anchor"
# whether the scale of the initial weights explains anything, "shared start" what a common initialisation does alone.
PREDICTED = {"anchor": Prediction("needed", "less"), "scale 0": Prediction("enough", "more")}


class Controls(Config):
    """Parameters of one run; their meaning stands beside each in the notebook's parameters cell."""

    profile: Literal["quick", "cpu", "paper", "custom"]
    dataset: Literal["digits", "mnist"]
    width: Positive
    n_pairs: Annotated[int, Field(ge=2)]
    epochs: Positive
    batch_size: Positive
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    weight_decay: NotNegative
    n_fix: list[Annotated[int, Field(ge=0)]]
    sigma_F: list[NotNegative]
    scale_sweep: list[NotNegative]
    share_sweep: list[Annotated[float, Field(gt=0, le=1)]]
    n_points: int
    mask_seed: int
    base_seed: int
    workers: Positive
    device: Literal["cpu", "cuda"]
    out: str

    @model_validator(mode="after")
    def _refuse_before_work_starts(self) -> "Controls":
        mixing_weights(self.n_points)
        for name, variant in self.variants.items():
            if variant.share and not any(_counts(self, variant)):
                raise ValueError(f"variant {name!r} pins no entry: n_fix is {self.n_fix}; choose larger numbers")
            start(self, variant, 0)
        refuse_missing_device(self.device)
        return self

    @property
    def variants(self) -> dict[str, Variant]:
        """All variants by name, those of the sweeps last."""
        scales = {f"scale {factor:g}": Variant(scale=factor) for factor in self.scale_sweep}
        shares = {f"share {factor:g}": Variant(share=factor) for factor in self.share_sweep}
        return FACTORS | scales | shares

    @property
    def science(self) -> dict:
        """The parameters that the result of one pair of one variant depends on."""
        left_out = {"profile", "n_pairs", "scale_sweep", "share_sweep", "workers", "device", "out"}
        return self.model_dump(exclude=left_out)


def _counts(config: Controls, variant: Variant) -> list[int]:
    return [round(variant.share * n) for n in config.n_fix]


def start(config: Controls, variant: Variant, network: int) -> Population:
    """Return one network before training.

    Networks of one number start from the same draw in all variants; each pair has a pattern and constants of its own.
    """
    model = MLP([N_INPUTS[config.dataset], *[config.width] * 3, 10])
    counts, scales = _counts(config, variant), [variant.scale * sigma_F for sigma_F in config.sigma_F]
    pair = network // 2
    owner = ("pair", pair) if variant.shared else ("network", network)
    fixed = constraint(model, WAsymmetry(counts, scales) if any(counts) else Standard(), seed(config.mask_seed, *owner))
    drawn = initialise(model, fixed, [seed(config.base_seed, "init", 2 * pair if variant.same_draw else network)])
    return drawn if variant.pinned else unconstrained(drawn)


def run(config: Controls) -> Record:
    """Train and compare all variants, one pair a shard; with `config.out` set, a killed run goes on where it stopped.

    Returns:
        A record with one row per variant, pair and point of the line.
    """
    verify(config.dataset)
    return joined(STUDY, config, run_pairs(config, list(config.variants), measure, 2 * config.epochs))


def measure(config: Controls, name: str, pair: int, folder: Path | None, tick: Callable[[], None]) -> Record:
    """Train the two networks of a pair and evaluate the line between them.

    Returns:
        One row per point: test loss in nats, test accuracy in [0, 1], and of the pair the cosine of its weights before
        and after training, and `kept`, that of a trained pattern with its constants. A pair of which a network diverged
        has rows without them.
    """
    started = time.perf_counter()
    data = load(config.dataset).to(config.device)
    recipe = Recipe(config.epochs, config.batch_size, config.lr, config.weight_decay)
    networks, lambdas = [2 * pair, 2 * pair + 1], mixing_weights(config.n_points)
    before = [start(config, config.variants[name], network).to(config.device) for network in networks]
    found = dict.fromkeys(("test_loss", "test_accuracy", "cosine_before", "cosine_after", "kept"), np.nan)
    try:
        after = [
            train(
                one,
                data.train.x,
                data.train.y,
                recipe,
                [seed(config.base_seed, "order", network)],
                folder and folder / f"{network}.safetensors",
                tick,
            )[0]
            for network, one in zip(networks, before, strict=True)
        ]
    except FloatingPointError:
        pass  # counted where pairs are summed up
    else:
        scores = curves(*map(unconstrained, after), lambdas, data.test.x, data.test.y)
        found = {"test_loss": scores.loss[0].cpu(), "test_accuracy": scores.accuracy[0].cpu()}
        found |= {"cosine_before": cosine(*before), "cosine_after": cosine(*after)}
        found["kept"] = np.mean([_kept(config, name, *one) for one in zip(networks, after, strict=True)])
    facts = {"data_sha256": data.sha256, "compute_s": round(time.perf_counter() - started, 1)}
    return shard_record(STUDY, config, name, pair, pd.DataFrame({"lambda": lambdas} | found), facts)


def _kept(config: Controls, name: str, network: int, trained: Population) -> float:
    """Return the cosine of the entries of the pattern with the constants they started from, NaN without such."""
    pinned = start(config, replace(config.variants[name], pinned=True), network).constraint.pinned
    vectors = [
        (trained.params[weight][0].flatten()[index.to(trained.params[weight].device)].cpu(), value)
        for weight, (index, value) in pinned.items()
    ]
    if not vectors:
        return float("nan")
    ours, constants = (torch.cat(parts).double() for parts in zip(*vectors, strict=True))
    return float(torch.cosine_similarity(ours, constants, dim=0)) if constants.any() else float("nan")


def cosine(one: Population, other: Population) -> float:
    """Return the cosine of the angle between the weights of all linear maps of two networks.

    Biases and norms are left out: the scales of norms start at 1 in every network, and would make any two look alike.
    """
    vectors = [torch.cat([p.params[name].flatten() for name in linear_maps(p.model)]).double() for p in (one, other)]
    return float(torch.cosine_similarity(*vectors, dim=0))


def pairs(record: Record) -> pd.DataFrame:
    """Sum up every line: one row per variant and pair, as `variants.compared`, with both cosines and `kept`."""
    named = record.table.drop_duplicates(["variant", "pair"])[
        ["variant", "pair", "cosine_before", "cosine_after", "kept"]
    ]
    return compared(summed_up(record.table).merge(named, on=["variant", "pair"]))


def verdicts(record: Record) -> pd.DataFrame:
    """Judge every variant by the share of the barrier that it removes, as `variants.judged` does."""
    return judged(pairs(record), PREDICTED)


def quantities(record: Record) -> dict[str, np.ndarray]:
    """Return "barrier/anchor" and the like: barrier, drop and removed share by variant, one value per pair."""
    return {
        f"{column}/{variant}": survivors(table[column])
        for variant, table in pairs(record).groupby("variant")
        for column in ("barrier", "drop", "removed")
    }
