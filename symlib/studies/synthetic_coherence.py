"""Does a mask alone identify neurons? Barriers between masked networks whose inputs have a known coherence.

Source: Bürgin et al. (2026), synthetic coherence experiment.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field, model_validator
from torch import Tensor

from symlib import records
from symlib.config import Config
from symlib.data.coherent_copies import MAX_COPIES, N_INPUTS, exact_copies, latents, random_frame, teacher
from symlib.interpolation import mixing_weights
from symlib.networks.relu_sums import Descent, ReluSums, initialise, outputs, random_mask, train
from symlib.records import Record
from symlib.seeds import generator
from symlib.studies.shards import joined_facts, run_shards

STUDY = "synthetic_coherence"
N_NEURONS, SHARE = 128, 0.15  # neurons of a network, chance that a weight exists
N_TRAIN, N_TEST = 1024, 2048
DESCENT = Descent(lr=1e-2, weight_decay=0.01, batch_size=512)
FAMILIES = ("exact-copy", "random-frame")
# The paper shows a figure without a table. Means and sds of the midpoint barrier over 50 pairs, copies 1 to 10, from an
# independent run of the same protocol with random streams of its own.
REFERENCE = {
    "exact-copy": (
        (0.002, 0.017, 0.054, 0.091, 0.131, 0.162, 0.196, 0.215, 0.225, 0.246),
        (0.003, 0.012, 0.027, 0.036, 0.050, 0.056, 0.061, 0.053, 0.052, 0.047),
    ),
    "random-frame": (
        (0.026, 0.044, 0.080, 0.117, 0.142, 0.185, 0.186, 0.209, 0.225, 0.237),
        (0.030, 0.024, 0.034, 0.047, 0.054, 0.055, 0.051, 0.057, 0.058, 0.053),
    ),
}

Positive = Annotated[int, Field(ge=1)]


class SyntheticCoherence(Config):
    """Parameters of one run; their meaning stands beside each in the notebook's parameters cell."""

    profile: Literal["quick", "cpu", "paper", "custom"]
    copies: list[Annotated[int, Field(ge=1, le=MAX_COPIES)]]
    n_outer_seeds: Positive
    n_pairs: Annotated[int, Field(ge=1, le=500)]  # more would meet the seeds of the next outer seed
    epochs: Positive
    n_points: int
    workers: Positive
    out: str

    @model_validator(mode="after")
    def _refuse_before_work_starts(self) -> "SyntheticCoherence":
        mixing_weights(self.n_points)
        if not self.copies or sorted(set(self.copies)) != self.copies:
            raise ValueError(f"copies must be one or more different numbers in rising order, got {self.copies}")
        return self

    @property
    def science(self) -> dict:
        """The parameters that a shard's result depends on; outer seeds are shards of their own."""
        return self.model_dump(exclude={"profile", "n_outer_seeds", "workers", "out"})


def run(config: SyntheticCoherence) -> Record:
    """Run the study, one shard a family and outer seed; with `config.out` set, a killed run goes on where it stopped.

    Returns:
        A record with one row per family, copies, outer seed, pair and point of the line: mean squared error on test
        points.
    """
    out = Path(config.out) if config.out else None
    work = {
        f"{family}-{outer_seed}": (
            config.science | {"family": family, "outer_seed": outer_seed},
            partial(measure, config, family, outer_seed),
        )
        for outer_seed in range(config.n_outer_seeds)
        for family in FAMILIES
    }
    parts = run_shards(work, out and out / "shards", config.workers, config.epochs * len(config.copies))
    outer_seeds = range(config.n_outer_seeds)
    facts = {
        "seeds": {
            "mask": [mask_seed(s) for s in outer_seeds],
            "latents": [latent_seed(s) for s in outer_seeds],
            "frame": [frame_seed(s) for s in outer_seeds],
            "networks": [network_seeds(s, config.n_pairs) for s in outer_seeds],
        },
        **joined_facts(parts),
    }
    record = records.make(STUDY, config.model_dump(exclude={"out"}), pd.concat([p.table for p in parts]), facts)
    if out is not None:
        records.write(out / "record", record)
    return record


def measure(
    config: SyntheticCoherence, family: str, outer_seed: int, folder: Path | None, on_epoch: Callable[[], None]
) -> Record:
    """Train the pairs of one outer seed at every number of copies and evaluate the lines between them.

    Args:
        config: The study.
        family: One of `FAMILIES`.
        outer_seed: Determines mask, latents, frame and the seeds of the networks.
        folder: Not used: a shard takes seconds, so that it keeps no checkpoints.
        on_epoch: Called after every epoch of the networks at one number of copies.
    """
    started = time.perf_counter()
    mask = random_mask(N_INPUTS, N_NEURONS, SHARE, mask_seed(outer_seed))
    z = latents(latent_seed(outer_seed), N_TRAIN + N_TEST)
    y = teacher(z)
    # Neither start nor orders depend on the copies: pair p is one pair of draws under every coherence.
    seeds = network_seeds(outer_seed, config.n_pairs)
    start, orders = initialise(mask, seeds), torch.stack([batch_orders(seed, config.epochs) for seed in seeds])
    tables = []
    for copies in config.copies:
        U = basis(family, copies, outer_seed).float()
        trained = train(start, mask, U, z[:N_TRAIN], y[:N_TRAIN], orders, DESCENT, on_epoch)
        lambdas = mixing_weights(config.n_points)
        losses = line_losses(trained, U, z[N_TRAIN:], y[N_TRAIN:], lambdas)
        columns = {
            "family": family,
            "copies": copies,
            "coherence": round(1 / copies, 6),
            "outer_seed": outer_seed,
            "pair": np.repeat(range(config.n_pairs), config.n_points),
            "lambda": np.tile(lambdas.numpy().round(12), config.n_pairs),
            "test_mse": losses.flatten().numpy(),
        }
        tables.append(pd.DataFrame(columns))
    about = config.science | {"family": family, "outer_seed": outer_seed}
    return records.make(STUDY, about, pd.concat(tables), {"compute_s": round(time.perf_counter() - started, 1)})


def basis(family: str, copies: int, outer_seed: int) -> Tensor:
    """Return U of a family, shape (20, 2), float64."""
    return exact_copies(copies) if family == "exact-copy" else random_frame(copies, frame_seed(outer_seed))


def reach(family: str, copies: int, outer_seed: int) -> dict[int, float]:
    """Return which shares of the neurons can follow no, one and both dimensions of the latents: rank -> share."""
    mask = random_mask(N_INPUTS, N_NEURONS, SHARE, mask_seed(outer_seed)).T[:, :, None]
    ranks = torch.linalg.matrix_rank(mask * basis(family, copies, outer_seed))
    return {rank: (ranks == rank).double().mean().item() for rank in range(3)}


def line_losses(networks: ReluSums, U: Tensor, z: Tensor, y: Tensor, lambdas: Tensor) -> Tensor:
    """Return the mean squared error along the lines between networks 0 and 1, 2 and 3, ...: shape (pairs, points)."""

    def mixed(w: Tensor) -> Tensor:
        return torch.lerp(w[0::2, None], w[1::2, None], lambdas.to(w).view(1, -1, *[1] * (w.dim() - 1))).flatten(0, 1)

    errors = outputs(ReluSums(mixed(networks.weight), mixed(networks.bias)), U, z) - y
    return errors.square().mean(dim=1).view(-1, len(lambdas))


def barriers(record: Record) -> pd.DataFrame:
    """Sum up every line of a record.

    Returns:
        One row per family, copies, outer seed and pair: `midpoint` and `peak`, the test MSE halfway and the largest on
        the line, each minus the larger of the two ends, and `endpoint`, the mean of the two ends.
    """
    by = ["family", "copies", "outer_seed", "pair"]
    lines = record.table.pivot(index=by, columns="lambda", values="test_mse")
    worse = lines[[0.0, 1.0]].max(axis=1)
    columns = {
        "midpoint": lines[0.5] - worse,
        "peak": lines.max(axis=1) - worse,
        "endpoint": lines[[0.0, 1.0]].mean(axis=1),
    }
    return pd.DataFrame(columns).reset_index()


def quantities(record: Record) -> dict[str, np.ndarray]:
    """Return what claims can be about, one value per pair, such as "midpoint/exact-copy/1" for one copy."""
    return {
        f"{column}/{family}/{copies}": rows[column].to_numpy()
        for (family, copies), rows in barriers(record).groupby(["family", "copies"])
        for column in ("midpoint", "peak", "endpoint")
    }


def compared(record: Record) -> pd.DataFrame:
    """Return midpoint barriers beside the independent run's.

    Returns:
        One row per (family, copies) with columns `mean`, `sd`, `reference_mean`, `reference_sd`, `difference` and `se`.
        The last is the standard error of our mean by the spread between outer seeds, whose pairs share mask and data.
    """
    found = barriers(record)
    table = found.groupby(["family", "copies"])["midpoint"].agg(mean="mean", sd="std")
    by_draw = found.groupby(["family", "copies", "outer_seed"])["midpoint"].mean()
    table["se"] = by_draw.groupby(["family", "copies"]).std() / record.config["n_outer_seeds"] ** 0.5
    for i, column in enumerate(("reference_mean", "reference_sd")):
        table[column] = [REFERENCE[family][i][copies - 1] for family, copies in table.index]
    table["difference"] = table["mean"] - table["reference_mean"]
    return table


def mask_seed(outer_seed: int) -> int:
    """Return the protocol's seed of the mask."""
    return 10_000 + outer_seed


def latent_seed(outer_seed: int) -> int:
    """Return the protocol's seed of training and test latents."""
    return 20_000 + outer_seed


def frame_seed(outer_seed: int) -> int:
    """Return the protocol's seed of the random tight frame."""
    return 30_000 + outer_seed


def network_seeds(outer_seed: int, n_pairs: int) -> list[int]:
    """Return the protocol's seeds of initialisation and batch order, two for each pair."""
    return [40_000 + 1_000 * outer_seed + i for i in range(2 * n_pairs)]


def batch_orders(seed: int, epochs: int) -> Tensor:
    """Draw the batch order of one network, shape (epochs, training points)."""
    source = generator(seed, "order")
    return torch.stack([torch.randperm(N_TRAIN, generator=source) for _ in range(epochs)])
