"""Realization and swap costs of trained MLPs, layer by layer, and the matching of two runs that weights alone predict.

Source: Bürgin et al. (2026), realization and swap cost, neuron identifiability; the prediction across runs is ours.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from pydantic import Field, model_validator
from scipy.stats import spearmanr
from torch import Tensor

from symlib.alignment.activation_matching import correlations
from symlib.alignment.objectives import optimal_objective
from symlib.alignment.tracing import specification
from symlib.asymmetry import linear_maps
from symlib.effective.costs import realization_costs, signed_root, swap_costs
from symlib.effective.identifiability import identifiability_gap, predicted_matching
from symlib.effective.ridge import ridge_costs
from symlib.effective.subspace import Moments, Subspace, input_moments, representation_subspace
from symlib.population import Population
from symlib.records import Record
from symlib.studies.analysis import analyse, networks, over_pairs
from symlib.studies.trained import Intervention, Positive, Rate, SweptNetworks

STUDY = "trained_costs"
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


class TrainedCosts(SweptNetworks):
    """Parameters of one run; their meaning stands beside each in the notebook's parameters cell."""

    explained: float = Field(gt=0, le=1)
    beta: Rate
    n_ridge: Annotated[int, Field(ge=2)]
    n_seen: Positive

    @model_validator(mode="after")
    def _refuse_convolutions(self) -> "TrainedCosts":
        if self.network != "mlp":
            raise ValueError(f"costs are those of the linear maps of an MLP, got network {self.network!r}")
        return self


def run(config: TrainedCosts) -> Record:
    """Run the study, one shard a pair; with `config.out` set, a killed run goes on where it stopped.

    Returns:
        A record with one row per intervention, network and layer; `measure` explains the columns.
    """
    return analyse(STUDY, config, config.interventions(), over_pairs(config, measure))


def measure(config: TrainedCosts, intervention: Intervention, pair: int, folder: Path) -> pd.DataFrame:
    """Compute all costs of both networks of a pair, each with the other's functions as a second set.

    Returns:
        Columns dimension and coherence of the inputs' subspace; paid, the mean cost of the own functions, and norm, the
        mean squared norm of the trainable weights; quantiles of the signed root of swap costs (swap_0.5 is the median),
        share of pairs with negative cost, the largest absolute cost; the identifiability gap; and across the two
        networks the share of neurons that the costs match with themselves (predicted), that activations do (measured),
        and on whose partner both agree. For the first of two networks also, over the first `n_ridge` neurons, the
        median swap cost (subspace_median), the same by ridge regression (ridge_median), and the rank correlation of the
        two over all pairs (ridge_rank).
    """
    data = config.family(intervention).data().to(config.device)
    both = networks(config, folder, intervention, config.epochs, [2 * pair, 2 * pair + 1])
    x = data.train.x[: config.n_seen]
    found = correlations(both.model, *both.members(), specification(both.model, x[:2]), x)
    partners = {layer: optimal_objective(R)[1] for (layer,), R in found.items()}
    rows = []
    for i in (0, 1):
        about = {"intervention": intervention.name, "kind": intervention.kind, "sigma_F": intervention.sigma_F}
        moments = input_moments(both.model, next(both[[i]].members()), x)
        for layer in linear_maps(both.model):
            subspace = representation_subspace(moments[layer], config.explained)
            mine = _own_costs(both[[i]], layer, subspace)
            across = _across(both[[i, 1 - i]], layer, subspace, partners.get(layer.removesuffix(".weight")), i)
            beside = _ridge(config, both[[i]], layer, moments[layer], subspace) if _has_ridge(config, about, i) else {}
            rows.append(about | {"network": 2 * pair + i, "layer": layer} | mine | across | beside)
    return pd.DataFrame(rows)


def fixed_sides(population: Population, layer: str) -> tuple[Tensor, Tensor]:
    """Return D and F of a layer, all True and all 0 where nothing is fixed."""
    W = population.params[layer][0]
    D = population.constraint.D.get(layer, torch.ones_like(W, dtype=torch.bool))
    return D, population.constraint.F.get(layer, torch.zeros_like(W))


def _own_costs(one: Population, layer: str, subspace: Subspace) -> dict[str, float]:
    (W,), (D, F) = one.params[layer], fixed_sides(one, layer)
    cost = realization_costs(W, D, F, subspace).cost
    swaps = swap_costs(cost)[~torch.eye(len(W), dtype=torch.bool)]
    roots = signed_root(swaps).quantile(torch.tensor(QUANTILES, dtype=torch.float64))
    return {
        "dimension": subspace.dimension,
        "coherence": subspace.coherence,
        "paid": cost.diagonal().mean().item(),
        "norm": ((W - F) * D).double().square().sum(1).mean().item(),
        **{f"swap_{q:g}": root for q, root in zip(QUANTILES, roots.tolist(), strict=True)},
        "negative": (swaps < 0).double().mean().item(),
        "largest": swaps.abs().max().item(),
        "gap": identifiability_gap(cost).gap,
    }


def _has_ridge(config: TrainedCosts, about: dict, i: int) -> bool:
    # An eigendecomposition per neuron: not for every network of the sweep.
    return i == 0 and about["intervention"] in [compared.name for compared in config.compared()]


def _ridge(config: TrainedCosts, one: Population, layer: str, moments: Moments, subspace: Subspace) -> dict[str, float]:
    """Compare swap costs of the first neurons on the subspace with those by ridge regression on all directions."""
    few = slice(config.n_ridge)
    W, D, F = one.params[layer][0][few], *(side[few] for side in fixed_sides(one, layer))
    pairs = torch.triu_indices(len(W), len(W), 1)
    by_ridge = ridge_costs(W, D, F, moments.covariance, [config.beta]).cost[0]
    on_subspace = realization_costs(W, D, F, subspace).cost
    swaps = [signed_root(swap_costs(cost)[*pairs]) for cost in (on_subspace, by_ridge)]
    varies = all(bool((s != s[0]).any()) for s in swaps)
    return {
        "subspace_median": swaps[0].median().item(),
        "ridge_median": swaps[1].median().item(),
        "ridge_rank": spearmanr(*swaps).statistic if varies else float("nan"),
    }


def _across(two: Population, layer: str, subspace: Subspace, partners: Tensor | None, swapped: int) -> dict[str, float]:
    """Match the neurons of the first network with the functions of the second by cost and compare with activations."""
    predicted = predicted_matching(realization_costs(two.params[layer][1], *fixed_sides(two, layer), subspace).cost)
    own = torch.arange(len(predicted))
    found = {"predicted": (predicted == own).double().mean().item()}
    if partners is not None:  # the read-out has classes for units
        measured = partners.argsort() if swapped else partners
        found["measured"] = (measured == own).double().mean().item()
        found["agreement"] = (measured == predicted).double().mean().item()
    return found


def quantities(record: Record) -> dict[str, np.ndarray]:
    """Return vectors of the first layer, such as "median-swap/first/w-asym 1", with one value per network.

    "predicted" and "agreement", on whose values both networks of a pair have a say, have one per pair. Medians of swap
    costs are on the scale of the signed root.
    """
    first = record.table[record.table["layer"] == "linears.0.weight"]
    pairs = first.groupby(["intervention", first["network"] // 2], sort=False)[["predicted", "agreement"]].mean()
    columns = {
        "median-swap": "swap_0.5",
        "negative": "negative",
        "largest-swap": "largest",
        "gap": "gap",
    }
    return {
        f"{what}/first/{name}": rows[what].to_numpy()
        for name, rows in pairs.groupby("intervention", sort=False)
        for what in pairs
    } | {
        f"{what}/first/{name}": rows[column].to_numpy()
        for name, rows in first.groupby("intervention", sort=False)
        for what, column in columns.items()
    }
