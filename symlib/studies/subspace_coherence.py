"""How coherent are the inputs of trained layers, and does turning images to another coherence identify neurons?

Source: Bürgin et al. (2026), subspace coherence and anisotropy over layers and epochs; MNIST of a given coherence.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field, model_validator
from torch import Tensor

from symlib.alignment.activation_matching import correlations
from symlib.alignment.objectives import identity_objective, optimal_objective
from symlib.alignment.tracing import specification
from symlib.asymmetry import linear_maps
from symlib.data.dataset import Dataset
from symlib.data.rotation import rotated
from symlib.effective.anisotropy import anisotropies, anisotropy_bound
from symlib.effective.subspace import Moments, Subspace, input_moments, representation_subspace
from symlib.interpolation import accuracy_drop, curves, midpoint_barrier, mixing_weights
from symlib.population import Population
from symlib.records import Record
from symlib.studies.analysis import analyse, networks
from symlib.studies.trained import STANDARD, Family, Intervention, TrainedNetworks, snapshot_epochs

STUDY = "subspace_coherence"
DELTA = 0.05  # chance with which one neuron may exceed the bound on its anisotropy
FIRST = "linears.0.weight"  # reads the images, which training does not change


@dataclass(frozen=True)
class Turned(Intervention):
    """An intervention on networks that see images turned to a coherence."""

    coherence: float = 1.0

    @property
    def name(self) -> str:
        """The name of the intervention, and the coherence."""
        return f"{super().name} at {self.coherence:g}"


@dataclass(frozen=True)
class TurnedFamily(Family):
    """Networks trained on turned images."""

    def data(self) -> Dataset:
        """Return the data set after the rotation that its first `n_images` training images determine."""
        return rotated(super().data(), self.intervention.coherence)


class SubspaceCoherence(TrainedNetworks):
    """Parameters of one run; their meaning stands beside each in the notebook's parameters cell."""

    explained: float = Field(gt=0, le=1)
    n_measured: Annotated[int, Field(ge=1)]
    coherences: list[Annotated[float, Field(gt=0, le=1)]]
    shares: list[Annotated[float, Field(gt=0, lt=1)]]
    n_turned: Annotated[int, Field(ge=2, multiple_of=2)]

    @model_validator(mode="after")
    def _refuse_what_cannot_be_measured(self) -> "SubspaceCoherence":
        if self.network != "mlp":
            raise ValueError(f"subspaces are those of the inputs of an MLP's layers, got network {self.network!r}")
        if self.n_measured > self.n_networks:
            raise ValueError(f"n_measured = {self.n_measured} of n_networks = {self.n_networks} cannot be measured")
        return self

    def compared(self) -> Sequence[Intervention]:
        """Return the interventions whose layers are measured."""
        return super().interventions()

    def turned(self) -> Sequence[Turned]:
        """Return the interventions on turned images: standard, and pinned zeros in several shares."""
        kinds = [("standard", None), ("w-asym", None), *[("w-asym", share) for share in self.shares]]
        return [Turned(kind, 0.0, share, coherence) for kind, share in kinds for coherence in self.coherences]

    def interventions(self) -> Sequence[Intervention]:
        """Return all that is trained."""
        return [*self.compared(), *self.turned()]

    def members(self, intervention: Intervention) -> int:
        """Return how many networks of an intervention are trained; those on turned images may be fewer."""
        return self.n_turned if isinstance(intervention, Turned) else self.n_networks

    def family(self, intervention: Intervention) -> Family:
        """Return the family of an intervention."""
        family = super().family(intervention)
        if not isinstance(intervention, Turned):
            return family
        return TurnedFamily(**{field.name: getattr(family, field.name) for field in fields(Family)})


def run(config: SubspaceCoherence) -> Record:
    """Run the study, one shard a measured network and one a pair on turned images.

    With `config.out` set, a killed run goes on where it stopped.

    Returns:
        A record whose table has two kinds of rows, see `layers` and `pairs`.

    Raises:
        ValueError: If the images cannot be turned to one of the coherences.
    """
    for coherence in config.coherences:  # before anything is trained
        config.family(Turned(STANDARD.kind, coherence=coherence)).data()
    by_layer = {
        _shard(intervention, network): (
            {"intervention": intervention.name, "network": network},
            partial(measure_layers, config, intervention, network),
        )
        for intervention in config.compared()
        for network in range(config.n_measured)
    }
    by_pair = {
        _shard(intervention, pair): (
            {"intervention": intervention.name, "pair": pair},
            partial(measure_pair, config, intervention, pair),
        )
        for intervention in config.turned()
        for pair in range(config.n_turned // 2)
    }
    return analyse(STUDY, config, config.interventions(), by_layer | by_pair)


def measure_layers(config: SubspaceCoherence, intervention: Intervention, network: int, folder: Path) -> pd.DataFrame:
    """Look at what goes into every layer of one network, after every epoch that was kept."""
    x = config.family(intervention).data().to(config.device).train.x
    rows, images = [], Moments()
    images.add(x.flatten(1))
    for epoch in snapshot_epochs(config.epochs):
        one = networks(config, folder, intervention, epoch, [network])
        later = [layer for layer in linear_maps(one.model) if layer != FIRST]
        moments = {FIRST: images} | input_moments(one.model, next(one.members()), x, layers=later)
        about = {"part": "layers", "intervention": intervention.name, "network": network, "epoch": epoch}
        for layer, found in moments.items():
            subspace = representation_subspace(found, config.explained)
            rows.append(about | {"layer": layer, **_described(subspace), **_anisotropy(one, layer, subspace)})
    return pd.DataFrame(rows)


def measure_pair(config: SubspaceCoherence, intervention: Turned, pair: int, folder: Path) -> pd.DataFrame:
    """Compare two networks that were trained on turned images: their units with one number, and the line between."""
    data = config.family(intervention).data().to(config.device)
    both = networks(config, folder, intervention, config.epochs, [2 * pair, 2 * pair + 1])
    images = Moments()
    images.add(data.train.x.flatten(1))
    subspace = representation_subspace(images, config.explained)
    line = curves(both[:1], both[1:], mixing_weights(3), data.test.x, data.test.y)
    about = {
        "part": "pairs",
        "intervention": intervention.name,
        "kind": intervention.kind,
        "share": intervention.share,
        "target": intervention.coherence,
        "pair": pair,
        **_described(subspace),
        **_anisotropy(both, FIRST, subspace),
        "barrier": midpoint_barrier(line.loss).item(),
        "drop": accuracy_drop(line.accuracy).item(),
        "test_accuracy": line.accuracy[0, ::2].mean().item(),
    }
    found = correlations(both.model, *both.members(), specification(both.model, data.train.x[:2]), data.train.x)
    return pd.DataFrame([about | {"layer": layer, **_alike(R)} for (layer,), R in found.items()])


def layers(record: Record) -> pd.DataFrame:
    """Return one row per intervention, network, epoch and layer.

    Columns: coherence, dimension, full_dimension and explained of the subspace of the layer's inputs; anisotropy, the
    mean over neurons of the operator norm of S_i - p I; bound, what a neuron's stays below with probability 0.95; and
    above, the share of neurons that exceed it.
    """
    return record.table[record.table["part"] == "layers"].dropna(axis=1, how="all")


def pairs(record: Record) -> pd.DataFrame:
    """Return one row per intervention on turned images, pair of networks and group of hidden units.

    Columns: kind, share (of pinned entries; NaN for the paper's), target; the subspace of the images as in `layers`;
    barrier (midpoint, nats), drop (points of test accuracy) and test_accuracy ([0, 1]) of the pair; identity and
    optimal, mean correlations of units under the identity and the best matching; squared and chance, mean squared
    correlations of units with one number and of any two units.
    """
    return record.table[record.table["part"] == "pairs"].dropna(axis=1, how="all")


def quantities(record: Record) -> dict[str, np.ndarray]:
    """Return vectors with one value per network or pair, after the last epoch.

    Of layers "coherence/linears.1/w-asym 0", "anisotropy/...".
    Of pairs on turned images, by their first hidden layer, "identity/w-asym 0 at 1", "excess/..." for how much larger
    squared correlations of units with one number are than any, and "barrier/...", "drop/...".
    """
    found, table = {}, layers(record)
    for (name, layer), rows in table[table["epoch"] == record.config["epochs"]].groupby(["intervention", "layer"]):
        where = f"{layer.removesuffix('.weight')}/{name}"
        found |= {f"{what}/{where}": rows[what].to_numpy() for what in ("coherence", "anisotropy")}
    table = pairs(record)
    for name, rows in table[table["layer"] == table["layer"].iloc[0]].groupby("intervention"):
        found |= {f"{what}/{name}": rows[what].to_numpy() for what in ("identity", "barrier", "drop")}
        found[f"excess/{name}"] = (rows["squared"] - rows["chance"]).to_numpy()
    return found


def _shard(intervention: Intervention, number: int) -> str:
    return f"{intervention.name}-{number:03d}".replace(" ", "-")


def _described(subspace: Subspace) -> dict[str, float]:
    return {
        "coherence": subspace.coherence,
        "dimension": subspace.dimension,
        "full_dimension": subspace.full_dimension,
        "explained": subspace.explained,
    }


def _anisotropy(population: Population, layer: str, subspace: Subspace) -> dict[str, float]:
    """Return how differently the masks of a layer treat the directions of its inputs; 0 where there is no mask."""
    D = population.constraint.D.get(layer)
    if D is None or D.all():
        return {"anisotropy": 0.0, "bound": 0.0, "above": 0.0}
    norms = anisotropies(D, subspace)
    bound = anisotropy_bound(D, subspace.coherence, subspace.dimension, DELTA)
    return {"anisotropy": norms.mean().item(), "bound": bound, "above": (norms > bound).double().mean().item()}


def _alike(R: Tensor) -> dict[str, float]:
    return {
        "identity": identity_objective(R),
        "optimal": optimal_objective(R)[0],
        "squared": R.diagonal().square().mean().item(),
        "chance": R.square().mean().item(),
    }
