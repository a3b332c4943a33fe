"""What comparing standard and W-asymmetric MLPs leaves open: is it the missing symmetry, or what two networks share?

W-asymmetric networks differ in three things at once: they have no permutation symmetry, both networks of a pair hold
the same large constants, and their weights start at another scale. The variants here change one at a time.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field, model_validator

from symlib import records
from symlib.alignment.permutation import unconstrained
from symlib.asymmetry import Standard, WAsymmetry, constraint, linear_maps
from symlib.config import Config
from symlib.data.images import load, verify
from symlib.interpolation import accuracy_drop, curves, midpoint_barrier, mixing_weights
from symlib.networks.mlp import MLP
from symlib.population import Population, initialise
from symlib.records import Record
from symlib.seeds import seed
from symlib.studies.removed_share import STANDARD, W_ASYM, judged, with_removed_share
from symlib.studies.shards import joined_facts, refuse_missing_device, run_shards
from symlib.training import Recipe, train

STUDY = "controls"
N_INPUTS = {"digits": 64, "mnist": 784}

Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Variant:
    """How the two networks of a pair are made from the pattern of pinned entries and its constants.

    Attributes:
        pinned: Entries of the pattern keep their constants; otherwise they start there and are trained.
        shared: Both networks have the same pattern and constants; otherwise each has its own.
        scale: Factor on the standard deviations of the constants.
        share: Factor on the numbers of pinned entries per row; 0 for standard networks.
    """

    pinned: bool = True
    shared: bool = True
    scale: float = 1.0
    share: float = 1.0


FACTORS = {
    STANDARD: Variant(share=0.0),
    W_ASYM: Variant(),
    "anchor": Variant(pinned=False),
    "own constants": Variant(shared=False),
    "own anchor": Variant(pinned=False, shared=False),
}
# What "it is the missing permutation symmetry that removes the barrier" predicts of the share of the barrier that a
# variant removes, W-asymmetric networks being 1 and standard ones 0. Written down before any of them was trained.
#   anchor: all entries are trainable, so the symmetry is back: less than half.
#   scale 0: zeros for constants, so no symmetry, and nothing large that is shared: more than half.
# "own constants" and "own anchor" decide nothing by themselves: the first says whether constants have to be shared, the
# second whether the scale of the initial weights explains anything.
PREDICTED = {"anchor": "less", "scale 0": "more"}


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
        for variant in self.variants.values():
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


def start(config: Controls, variant: Variant, network: int) -> Population:
    """Return one network before training; with the seed of its number it starts from the same draw in all variants."""
    model = MLP([N_INPUTS[config.dataset], *[config.width] * 3, 10])
    counts = [round(variant.share * n) for n in config.n_fix]
    scales = [variant.scale * sigma_F for sigma_F in config.sigma_F]
    mask_seed = config.mask_seed if variant.shared else seed(config.mask_seed, "own", network)
    asymmetry = WAsymmetry(counts, scales) if any(counts) else Standard()
    drawn = initialise(model, constraint(model, asymmetry, mask_seed), [seed(config.base_seed, "init", network)])
    return drawn if variant.pinned else unconstrained(drawn)


def run(config: Controls) -> Record:
    """Train and compare all variants, one pair a shard; with `config.out` set, a killed run goes on where it stopped.

    Returns:
        A record with one row per variant, pair and point of the line.
    """
    verify(config.dataset)
    out = Path(config.out) if config.out else None
    work = {
        f"{name.replace(' ', '-')}-{pair:03d}": (
            config.science | {"variant": name, "pair": pair},
            partial(measure, config, name, pair),
        )
        for pair in range(config.n_pairs)
        for name in config.variants
    }
    parts = run_shards(work, out and out / "shards", config.workers, 2 * config.epochs)
    facts = {"data_sha256": parts[0].about["data_sha256"], **joined_facts(parts, config.device)}
    table = pd.concat([part.table for part in parts], ignore_index=True)
    record = records.make(STUDY, config.model_dump(exclude={"out"}), table, facts)
    if out is not None:
        records.write(out / "record", record)
    return record


def measure(config: Controls, name: str, pair: int, folder: Path | None, tick: Callable[[], None]) -> Record:
    """Train the two networks of a pair and evaluate the line between them.

    Returns:
        One row per point: test loss in nats, test accuracy in [0, 1], and of the pair the cosine of its weights before
        and after training. A pair of which a network diverged has rows without them.
    """
    started = time.perf_counter()
    data = load(config.dataset).to(config.device)
    recipe = Recipe(config.epochs, config.batch_size, config.lr, config.weight_decay)
    networks, lambdas = [2 * pair, 2 * pair + 1], mixing_weights(config.n_points)
    before = [start(config, config.variants[name], network).to(config.device) for network in networks]
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
        found = {"test_loss": np.nan, "test_accuracy": np.nan, "cosine_before": np.nan, "cosine_after": np.nan}
    else:
        scores = curves(*map(unconstrained, after), lambdas, data.test.x, data.test.y)
        found = {"test_loss": scores.loss[0].cpu(), "test_accuracy": scores.accuracy[0].cpu()}
        found |= {"cosine_before": cosine(*before), "cosine_after": cosine(*after)}
    facts = {"data_sha256": data.sha256, "compute_s": round(time.perf_counter() - started, 1)}
    table = pd.DataFrame({"variant": name, "pair": pair, "lambda": lambdas} | found)
    return records.make(STUDY, config.science | {"variant": name, "pair": pair}, table, facts)


def cosine(one: Population, other: Population) -> float:
    """Return the cosine of the angle between the weights of all linear maps of two networks.

    Biases and norms are left out: the scales of norms start at 1 in every network, and would make any two look alike.
    """
    vectors = [torch.cat([p.params[name].flatten() for name in linear_maps(p.model)]).double() for p in (one, other)]
    return float(torch.cosine_similarity(*vectors, dim=0))


def pairs(record: Record) -> pd.DataFrame:
    """Sum up every line: one row per variant and pair.

    Returns:
        Columns `barrier` (midpoint, nats), `drop` (accuracy, percentage points), `removed` (share of the barrier) and
        both cosines; NaN for pairs that diverged.
    """
    rows = []
    for (variant, pair), line in record.table.groupby(["variant", "pair"], sort=False):
        loss, accuracy = (torch.tensor(line[c].to_numpy())[None] for c in ("test_loss", "test_accuracy"))
        found = {"variant": variant, "pair": pair} | line[["cosine_before", "cosine_after"]].iloc[0].to_dict()
        rows.append(found | {"barrier": float(midpoint_barrier(loss)), "drop": float(accuracy_drop(accuracy))})
    return with_removed_share(pd.DataFrame(rows))


def verdicts(record: Record) -> pd.DataFrame:
    """Judge every variant by the share of the barrier that it removes, as `removed_share.judged` does."""
    return judged(pairs(record), PREDICTED)


def quantities(record: Record) -> dict[str, np.ndarray]:
    """Return "barrier/anchor" and the like: barrier, drop and removed share by variant, one value per pair."""
    return {
        f"{column}/{variant}": table[column].dropna().to_numpy()
        for variant, table in pairs(record).groupby("variant")
        for column in ("barrier", "drop", "removed")
    }
