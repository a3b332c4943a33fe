"""Swap costs of the first layer on data of known intrinsic dimension, before and after training.

Source: Bürgin et al. (2026), Figure 5. Which state of training and which estimate it shows is not known; here are all.
"""

import time
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field, model_validator
from scipy.stats import spearmanr
from torch import Tensor

from symlib import records
from symlib.asymmetry import Constraint, WAsymmetry, constraint
from symlib.config import Config
from symlib.data.dataset import Dataset
from symlib.data.synthetic import gaussian_subspace
from symlib.effective.costs import realization_costs, signed_root, swap_costs
from symlib.effective.ridge import ridge_costs
from symlib.effective.subspace import Moments, Subspace, representation_subspace
from symlib.interpolation import curves, mixing_weights
from symlib.networks.mlp import MLP
from symlib.population import Population, initialise
from symlib.records import Record
from symlib.seeds import seed
from symlib.studies.shards import Tick, joined_facts, run_shards
from symlib.training import Recipe, train

STUDY = "swap_costs"
FIRST = "linears.0.weight"
N_CLASSES = 20
STATES = ("initial", "trained")

Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class SwapCosts(Config):
    """Parameters of one run; their meaning stands beside each in the notebook's parameters cell."""

    profile: Literal["quick", "cpu", "paper", "custom"]
    dimensions: Annotated[list[Positive], Field(min_length=1)]
    scales: Annotated[list[NotNegative], Field(min_length=1)]
    separations: Annotated[list[NotNegative], Field(min_length=1)]
    inputs: Positive
    width: Positive
    n_networks: Annotated[int, Field(ge=2, multiple_of=2)]
    epochs: Positive
    n_train: Positive
    explained: Annotated[float, Field(gt=0, le=1)]
    beta: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    mask_seed: int
    base_seed: int
    workers: Positive
    out: str

    @model_validator(mode="after")
    def _refuse_before_work_starts(self) -> "SwapCosts":
        if max(self.dimensions) > self.inputs:
            raise ValueError(f"dimensions must be at most the {self.inputs} inputs, got {max(self.dimensions)}")
        if self.n_train < self.inputs:
            raise ValueError(f"n_train must be at least the {self.inputs} inputs, got {self.n_train}")
        for scale in self.scales:
            build(self, scale)
        return self

    @property
    def science(self) -> dict:
        """The parameters that a result depends on; those of which cells there are and how they run are left out."""
        cells = {"dimensions", "scales", "separations"}
        return self.model_dump(exclude=cells | {"profile", "workers", "out"})


def build(config: SwapCosts, sigma_F: float) -> tuple[MLP, Constraint]:
    """Return the network and its fixed side: an eighth of the rows pinned, half of the read-out's."""
    width = config.width
    model = MLP((config.inputs, width, width, width, N_CLASSES))
    pinned = WAsymmetry((config.inputs // 8, width // 8, width // 8, width // 2), sigma_F)
    return model, constraint(model, pinned, config.mask_seed)


def run(config: SwapCosts) -> Record:
    """Run the study, one shard a cell of the grid; with `config.out` set, a killed run goes on where it stopped.

    Returns:
        A record with one row per cell, network or pair, state of training and measured thing; `measure` names them. Its
        arrays are the swap costs of each cell's first network on the first separation, signed roots, shape
        (width, width).
    """
    cells = [
        {"k": k, "sigma_F": scale, "separation": separation}
        for separation in config.separations
        for scale in config.scales
        for k in config.dimensions
    ]
    work = {
        "-".join(f"{name}-{value:g}" for name, value in cell.items()): (
            config.science | cell,
            partial(measure, config, cell),
        )
        for cell in cells
    }
    out = Path(config.out) if config.out else None
    parts = run_shards(work, out and out / "shards", config.workers, config.epochs)
    facts = {
        "seeds": {"init": [seed(config.base_seed, "init", i) for i in range(config.n_networks)]},
        "data_sha256": [part.about["data_sha256"] for part in parts],
        **joined_facts(parts),
    }
    arrays = {name: values for part in parts for name, values in part.arrays.items()}
    record = records.make(STUDY, config.model_dump(exclude={"out"}), pd.concat([p.table for p in parts]), facts, arrays)
    if out is not None:
        records.write(out / "record", record)
    return record


def measure(config: SwapCosts, cell: dict, folder: Path | None, on_epoch: Tick) -> Record:
    """Train the networks of one cell and compute their costs before and after.

    Returns:
        Columns of the cell, state, network (or the first of a pair), what, value. For networks: least, median and
        largest swap cost over all pairs of neurons on the scale of the signed root and the share below 0, on the
        subspace and by ridge regression ("median", "ridge median", ...), and the rank correlation of the two; for
        pairs: accuracy on training points at the ends and halfway, in per cent.
    """
    started = time.perf_counter()
    data = gaussian_subspace(
        cell["k"], config.inputs, N_CLASSES, cell["separation"], config.n_train, n_test=1, data_seed=config.base_seed
    )
    members = range(config.n_networks)
    init_seeds = [seed(config.base_seed, "init", i) for i in members]
    start = initialise(*build(config, cell["sigma_F"]), init_seeds, "normal")
    end, _ = train(
        start,
        data.train.x,
        data.train.y,
        Recipe(config.epochs, batch_size=128, lr=1e-3, weight_decay=0.01),
        [seed(config.base_seed, "order", i) for i in members],
        folder and folder / "training.safetensors",
        on_epoch,
    )
    moments = Moments()
    moments.add(data.train.x)  # every network's first layer reads the data
    subspace = representation_subspace(moments, config.explained)
    rows, arrays = [{"state": "initial", "network": 0, "what": "dimension", "value": subspace.dimension}], {}
    for state, population in zip(STATES, (start, end), strict=True):
        for i in members:
            swaps = _swaps(config, population, i, moments, subspace)
            rows += [{"state": state, "network": i, "what": w, "value": v} for w, v in _summary(swaps).items()]
            if i == 0 and cell["separation"] == config.separations[0]:
                arrays |= {array_name(cell, state, estimate): s.float().numpy() for estimate, s in swaps.items()}
    rows += _lines(end, data)
    table = pd.DataFrame([cell | row for row in rows])
    facts = {"compute_s": round(time.perf_counter() - started, 1), "data_sha256": data.sha256}
    return records.make(STUDY, config.science | cell, table, facts, arrays)


def array_name(cell: dict, state: str, estimate: str) -> str:
    """Return the name of a matrix among a record's arrays."""
    return f"{estimate}/{state}/{cell['k']}/{cell['sigma_F']:g}"


def _swaps(
    config: SwapCosts, population: Population, i: int, moments: Moments, subspace: Subspace
) -> dict[str, Tensor]:
    """Return signed roots of swap costs by both estimates."""
    W, D, F = population.params[FIRST][i], population.constraint.D[FIRST], population.constraint.F[FIRST]
    costs = {
        "subspace": realization_costs(W, D, F, subspace).cost,
        "ridge": ridge_costs(W, D, F, moments.covariance, [config.beta]).cost[0],
    }
    return {name: signed_root(swap_costs(cost)) for name, cost in costs.items()}


def _summary(swaps: dict[str, Tensor]) -> dict[str, float]:
    found, pairs = {}, torch.triu_indices(*swaps["subspace"].shape, offset=1)
    values = {estimate: matrix[*pairs] for estimate, matrix in swaps.items()}
    for estimate, of_pairs in values.items():
        before = "" if estimate == "subspace" else f"{estimate} "
        found |= {
            f"{before}least": of_pairs.min().item(),
            f"{before}median": of_pairs.median().item(),
            f"{before}largest": of_pairs.max().item(),
            f"{before}negative": (of_pairs < 0).double().mean().item(),
        }
    return found | {"rank": float(spearmanr(values["subspace"], values["ridge"]).statistic)}


def _lines(population: Population, data: Dataset) -> list[dict]:
    scores = curves(population[::2], population[1::2], mixing_weights(3), data.train.x, data.train.y).accuracy
    values = {"ends": 100 * scores[:, ::2].mean(1), "halfway": 100 * scores[:, 1]}
    return [
        {"state": "trained", "network": 2 * pair, "what": what, "value": value}
        for what, of_pairs in values.items()
        for pair, value in enumerate(of_pairs.tolist())
    ]


# Found by an independent program at separation 0.3, signed roots: least, median, largest, share below 0. Trained for 20
# epochs, at k = 32 for 10.
INDEPENDENT = {
    ("initial", 2, 0.0): (-0.03, 0.00, 0.04, 0.48),
    ("initial", 8, 0.0): (-0.05, -0.01, 0.06, 0.51),
    ("initial", 32, 0.0): (-0.10, 0.02, 0.10, 0.45),
    ("initial", 2, 1.0): (-0.12, 0.98, 3.18, 0.004),
    ("initial", 8, 1.0): (0.48, 1.92, 4.19, 0.0),
    ("initial", 32, 1.0): (2.6, 4.0, 6.6, 0.0),
    ("trained", 2, 0.0): (-0.32, 0.03, 0.41, 0.44),
    ("trained", 8, 0.0): (-0.51, -0.04, 0.48, 0.51),
    ("trained", 32, 0.0): (-0.42, 0.08, 0.46, 0.45),
    ("trained", 2, 1.0): (-1.72, 0.80, 2.70, 0.20),
    ("trained", 8, 1.0): (-1.09, 1.86, 3.78, 0.02),
    ("trained", 32, 1.0): (1.0, 3.3, 5.4, 0.0),
}


def beside_independent(record: Record) -> pd.DataFrame:
    """Return least, median, largest and negative share of every cell on the first separation, theirs beside ours."""
    ours = record.table[record.table["separation"] == record.config["separations"][0]]
    columns = ["least", "median", "largest", "negative"]
    mean = ours[ours["what"].isin(columns)].pivot_table(
        index=["state", "sigma_F", "k"], columns="what", values="value", aggfunc="mean"
    )
    rows = {}
    for (state, scale, k), values in mean[columns].iterrows():
        theirs = INDEPENDENT.get((state, k, scale), (float("nan"),) * 4)
        rows[state, f"σ_F = {scale:g}", f"k = {k}"] = {
            f"{name}, {whose}": value
            for whose, of_all in (("ours", values), ("theirs", theirs))
            for name, value in zip(columns, of_all, strict=True)
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def quantities(record: Record) -> dict[str, np.ndarray]:
    """Return vectors with one value per network, such as "median/trained/0.3/32/1" (separation, k, sigma_F).

    "lost/..." has one value per pair: accuracy at the ends less that halfway, in percentage points.
    """
    keys = ["what", "state", "separation", "k", "sigma_F"]
    found = {
        f"{what}/{state}/{separation:g}/{k}/{scale:g}": rows["value"].to_numpy()
        for (what, state, separation, k, scale), rows in record.table.groupby(keys, sort=False)
    }
    lost = {
        name.replace("ends", "lost"): ends - found[name.replace("ends", "halfway")]
        for name, ends in found.items()
        if name.startswith("ends/")
    }
    return found | lost
