"""What identifiability costs: do neurons that large fixed weights tell apart still learn features?

Every network is compared with itself before training, and with what a read-out alone makes of the features it had then.

Source: Bürgin et al. (2026), identifiability against feature learning, which they state as a tendency.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from pydantic import Field, model_validator
from torch import Tensor

from symlib.alignment.activation_matching import correlations
from symlib.alignment.objectives import identity_objective, optimal_objective
from symlib.alignment.permutation import PermutationSpec, unconstrained
from symlib.alignment.tracing import specification
from symlib.asymmetry import linear_maps
from symlib.data.dataset import Dataset, Split
from symlib.effective.costs import realization_costs
from symlib.effective.identifiability import identifiability_gap
from symlib.effective.room import room
from symlib.effective.subspace import input_moments, layer_inputs, representation_subspace
from symlib.feature_learning import feature_cka, read_out_accuracy
from symlib.interpolation import accuracy_drop, curves, mixing_weights
from symlib.ntk import change, class_balanced, kernels
from symlib.population import Population, evaluate, passes
from symlib.records import Record
from symlib.seeds import generator
from symlib.studies.analysis import analyse, networks, over_pairs
from symlib.studies.trained import SHAPES, Family, Intervention, NotNegative, Positive, TrainedNetworks
from symlib.studies.trained_costs import fixed_sides

STUDY = "trade_off"
# What a record has of every network and of every pair, by the names of `quantities`; shares become per cent.
OF_NETWORKS = {
    "kept": ("unit_kept", 1),
    "features": ("feature_cka", 1),
    "kernel": ("kernel_cka", 1),
    "inside": ("inside", 100),
    "train": ("train", 100),
    "test": ("test", 100),
    "drawn": ("read_drawn", 100),
    "learnt": ("read_learnt", 100),
}
OF_PAIRS = {
    "identity": ("identity", 1),
    "optimal": ("optimal", 1),
    "stays": ("stays", 100),
    "stays_drawn": ("stays_drawn", 100),
    "drop": ("drop", 1),
}


@dataclass(frozen=True)
class Redrawn(Intervention):
    """A W-asymmetry whose masks and constants are not those of the sweep."""

    @property
    def name(self) -> str:
        """A short name for tables."""
        return super().name + " redrawn"


class TradeOff(TrainedNetworks):
    """Parameters of one run; their meaning stands beside each in the notebook's parameters cell."""

    sigma_sweep: Annotated[list[NotNegative], Field(min_length=1)]
    share_sweep: list[Annotated[float, Field(gt=0, lt=1)]]
    redrawn_sweep: list[NotNegative]
    n_seen: Positive
    n_per_class: Positive
    explained: float = Field(gt=0, le=1)

    @model_validator(mode="after")
    def _refuse_what_has_no_features_to_follow(self) -> "TradeOff":
        if (self.network, self.norm) != ("mlp", "layer"):
            raise ValueError(
                f"features are those of MLPs with LayerNorm, got network {self.network!r} with norm {self.norm!r}: "
                "untrained networks have no running statistics to normalise by"
            )
        compared = {*self.redrawn_sweep, *([self.sigma_F] if self.share_sweep else [])}
        if missing := sorted(compared - set(self.sigma_sweep)):
            raise ValueError(
                f"sigma_sweep lacks {missing}: networks with other constants (redrawn_sweep), or with few of them "
                "(share_sweep, at sigma_F), are compared with those of the sweep"
            )
        seen, features = min(self.n_seen, self.n_images), max(SHAPES[self.dataset][1], int(self.width))
        if seen < features:
            raise ValueError(
                f"n_seen and n_images must be at least {features}, the widest layer's inputs, got {self.n_seen} and "
                f"{self.n_images}: fewer images cannot show the subspace of the inputs"
            )
        return self

    def interventions(self) -> Sequence[Intervention]:
        """Return those of the sweep, those with other shares of pinned entries, and those with other constants."""
        swept = [Intervention("w-asym", s) for s in self.sigma_sweep]
        shares = [Intervention("w-asym", self.sigma_F, share) for share in self.share_sweep]
        return [*swept, *shares, *[Redrawn("w-asym", s) for s in self.redrawn_sweep]]

    def family(self, intervention: Intervention) -> Family:
        """Return the family of an intervention; redrawn ones have the next mask seed."""
        found = super().family(intervention)
        return replace(found, mask_seed=self.mask_seed + 1) if isinstance(intervention, Redrawn) else found


def run(config: TradeOff) -> Record:
    """Run the study, one shard a pair; with `config.out` set, a killed run goes on where it stopped.

    Returns:
        A record with one row per intervention, network and hidden layer; `measure` explains the columns.

    Raises:
        ValueError: If a class has fewer samples than the kernel is to have of it.
    """
    _kernel_samples(config, config.family(config.interventions()[0]).data())
    return analyse(STUDY, config, config.interventions(), over_pairs(config, measure))


def measure(config: TradeOff, intervention: Intervention, pair: int, folder: Path) -> pd.DataFrame:
    """Compare two networks with each other, and each with itself before training.

    The first network of a redrawn pair is one of the sweep, so that the two do not share constants.

    Returns:
        Of the pair, by layer: what `_matched` finds, and stays_drawn, its share before training; and drop, the test
        accuracy lost halfway between the two, in percentage points. Of each network: by layer what `_kept` and
        `_confined` find, as a whole what `_kernel_kept` and `_scores` do.
    """
    redrawn = isinstance(intervention, Redrawn)
    first = Intervention("w-asym", intervention.sigma_F) if redrawn else intervention
    members = [(first, 2 * pair), (intervention, 2 * pair + 1)]
    starts, ends = ([networks(config, folder, of, at, [i]) for of, i in members] for at in (0, config.epochs))
    data = config.family(intervention).data().to(config.device)
    x = data.test.x[: config.n_seen]
    spec = specification(starts[0].model, x[:2])
    before, together = (_matched(*both, spec, x) for both in (starts, ends))
    drop = _lost_halfway(*ends, Split(x, data.test.y[: config.n_seen]))
    rows = []
    for (_, i), start, end in zip(members, starts, ends, strict=True):
        about = {"intervention": intervention.name, "sigma_F": intervention.sigma_F, "share": intervention.share}
        about |= {"redrawn": redrawn, "pair": pair, "network": i, "drop": drop}
        about |= _kernel_kept(config, start, end, data) | _scores(config, start, end, data)
        kept, confined = _kept(start, end, spec, x), _confined(config, end, data.train.x[: config.n_seen])
        for layer, found in together.items():
            drawn = {"layer": layer, "stays_drawn": before[layer]["stays"]}
            rows.append(about | drawn | found | kept[layer] | confined[layer])
    return pd.DataFrame(rows)


def _matched(a: Population, b: Population, spec: PermutationSpec, x: Tensor) -> dict[str, dict[str, float]]:
    """Return how alike the units of two networks are, by layer.

    Columns: identity and optimal, mean correlation under the identity and the best matching; stays, the share of units
    that the best matching leaves in place.
    """
    rows = {}
    for (layer,), R in correlations(a.model, *a.members(), *b.members(), spec, x).items():
        optimal, partners = optimal_objective(R)
        stays = (partners == torch.arange(len(R))).double().mean().item()
        rows[layer] = {"identity": identity_objective(R), "optimal": optimal, "stays": stays}
    return rows


def _lost_halfway(a: Population, b: Population, split: Split) -> float:
    # Unconstrained, because networks of a redrawn pair have different constants, and their average has neither's.
    line = curves(unconstrained(a), unconstrained(b), mixing_weights(3), split.x, split.y)
    return accuracy_drop(line.accuracy).item()


def _kept(start: Population, end: Population, spec: PermutationSpec, x: Tensor) -> dict[str, dict[str, float]]:
    """Return what is left of the features that a network was drawn with, by layer.

    Columns: unit_kept, mean correlation of units with themselves; feature_cka, of the layer as a whole.
    """
    found = correlations(start.model, *start.members(), *end.members(), spec, x)
    then, now = (_hidden(population, x) for population in (start, end))
    return {
        layer: {"unit_kept": identity_objective(R), "feature_cka": feature_cka(now[layer], then[layer])}
        for (layer,), R in found.items()
    }


def _hidden(one: Population, x: Tensor) -> dict[str, Tensor]:
    """Return the activations after every linear map but the last, shape (n, units), by the name of its module."""
    maps = list(linear_maps(one.model))
    parts = [layer_inputs(one.model, next(one.members()), batch, maps[1:]) for batch in passes(one.model, x)]
    return {made.removesuffix(".weight"): torch.cat([part[read] for part in parts]) for made, read in pairwise(maps)}


def _confined(config: TradeOff, one: Population, x: Tensor) -> dict[str, dict[str, float]]:
    """Return how neurons stand to their centres on the subspace of their inputs, by layer.

    Columns: inside, share of neurons that are less far from their centre than its `room`; gap, the identifiability gap.
    """
    moments, rows = input_moments(one.model, next(one.members()), x), {}
    for name in list(linear_maps(one.model))[:-1]:
        subspace = representation_subspace(moments[name], config.explained)
        W, (mask, fixed) = one.params[name][0], fixed_sides(one, name)
        A, V = (w.cpu().double() @ subspace.basis for w in (W, fixed))
        rows[name.removesuffix(".weight")] = {
            "inside": ((A - V).norm(dim=1) < room(V)).double().mean().item(),
            "gap": identifiability_gap(realization_costs(W, mask, fixed, subspace).cost).gap,
        }
    return rows


def _kernel_kept(config: TradeOff, start: Population, end: Population, data: Dataset) -> dict[str, float]:
    """Return how far the tangent kernel went: kernel_change relative to the first, and kernel_cka with it."""
    samples = _kernel_samples(config, data)
    moved = change(kernels(end, samples), kernels(start, samples))
    return {"kernel_change": moved.relative.item(), "kernel_cka": moved.cka.item()}


def _kernel_samples(config: TradeOff, data: Dataset) -> Tensor:
    chosen = class_balanced(data.train.y, config.n_per_class, generator(config.base_seed, "kernel"))
    return data.train.x[chosen]


def _scores(config: TradeOff, start: Population, end: Population, data: Dataset) -> dict[str, float]:
    """Return accuracies in [0, 1].

    Columns: train and test, of the network; read_drawn and read_learnt, on the same test images, of the best linear
    read-out of its last hidden layer before and after training, fitted on all training images.
    """
    train, test = (Split(s.x[: config.n_seen], s.y[: config.n_seen]) for s in (data.train, data.test))
    scores = {n: evaluate(end, s.x, s.y).accuracy.item() for n, s in (("train", train), ("test", test))}
    for name, population in {"read_drawn": start, "read_learnt": end}.items():
        fit, classify = (Split(list(_hidden(population, s.x).values())[-1], s.y) for s in (data.train, test))
        scores[name] = read_out_accuracy(fit, classify)
    return scores


def by_network(record: Record) -> pd.DataFrame:
    """Return one row per intervention and network, with the means of all numbers over hidden layers."""
    means = record.table.groupby(["intervention", "network"], sort=False).mean(numeric_only=True).reset_index()
    return means.astype({"redrawn": bool})


def parts(record: Record) -> dict[str, pd.DataFrame]:
    """Return the rows of `by_network` that belong to the sweep, "scales", and to the others, "shares" and "redrawn"."""
    table = by_network(record)
    few, other = table["share"].notna(), table["redrawn"]
    return {"scales": table[~few & ~other], "shares": table[few], "redrawn": table[other]}


def dropped(record: Record) -> dict[str, bool]:
    """Return what should happen where an assumption is dropped and whether it did, for what the record has of it.

    Small constants are the smallest of the sweep, large ones the largest.
    """
    found = {part: rows.groupby("sigma_F").mean(numeric_only=True) for part, rows in parts(record).items()}
    scales, shares, redrawn = found["scales"], found["shares"], found["redrawn"]
    small, large = scales.iloc[0], scales.iloc[-1]
    happened = {
        "small constants: no neuron in its room": small["inside"] < 0.01,
        "small constants: units move more": small["unit_kept"] < large["unit_kept"] - 0.2,
        "small constants: accuracy is higher": small["test"] > large["test"],
        "small constants: numbers mean nothing": small["stays"] < 0.1,
        "untrained: large constants match by number": large["stays_drawn"] > 0.98,
        "untrained: small constants do not": small["stays_drawn"] < 0.1,
    }
    for scale, rows in redrawn.iterrows():
        same = scales.loc[scale]
        happened |= {
            f"own constants, {scale:g}: units are kept as much": abs(rows["unit_kept"] - same["unit_kept"]) < 0.05,
            f"own constants, {scale:g}: accuracy is as low": abs(rows["test"] - same["test"]) < 0.03,
            f"own constants, {scale:g}: numbers mean nothing": rows["stays"] < 0.1,
        }
    for scale, rows in shares.iterrows():
        happened |= {
            "few pinned entries: units move more": rows["unit_kept"] < scales.loc[scale, "unit_kept"] - 0.05,
            "few pinned entries: fewer are matched": rows["stays"] < scales.loc[scale, "stays"] - 0.1,
        }
    return {what: bool(so) for what, so in happened.items()}


def quantities(record: Record) -> dict[str, np.ndarray]:
    """Return vectors such as "kept/w-asym 1", means over hidden layers.

    One value per network, by `OF_NETWORKS`: correlation of units with themselves before training, alignment of features
    and of the tangent kernel with the untrained, per cent of neurons inside their room, accuracies in per cent; "gain",
    what the read-out wins by trained features, in points. One per pair, by `OF_PAIRS`.
    """
    found = {}
    for name, rows in by_network(record).groupby("intervention", sort=False):
        pairs = rows.groupby("pair").mean(numeric_only=True)
        for table, columns in ((rows, OF_NETWORKS), (pairs, OF_PAIRS)):
            found |= {f"{what}/{name}": scale * table[c].to_numpy() for what, (c, scale) in columns.items()}
        found[f"gain/{name}"] = found[f"learnt/{name}"] - found[f"drawn/{name}"]
    return found
