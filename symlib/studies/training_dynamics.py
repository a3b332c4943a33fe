"""How independent runs move, whether their kernels stay, and how far apart the function classes of their neurons are.

The small analyses of the code of Bürgin et al. (2026), some from before its release, with what was wrong in them put
right: trainable entries only, kernels that are computed, linear CKA itself, exact distances.
"""

from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from pydantic import Field, model_validator
from torch import Tensor

from symlib.alignment.tracing import specification
from symlib.asymmetry import linear_maps
from symlib.effective.hausdorff import class_distances, distances_by_adam, distances_through
from symlib.effective.subspace import Moments
from symlib.ntk import change, class_balanced, kernels, linearisation, spectrum
from symlib.population import Population, evaluate
from symlib.records import Record
from symlib.seeds import generator
from symlib.similarity import answer_agreement, distances, sign_agreement, update_cosines
from symlib.studies.analysis import analyse, networks
from symlib.studies.trained import Family, Intervention, Positive, Rate, TrainedNetworks, snapshot_epochs
from symlib.studies.trained_costs import fixed_sides

STUDY = "training_dynamics"
FIRST = "linears.0"  # the layer whose classes are compared
DRAWN_AT_A_TIME = 10  # networks, of which only the first layer is kept
# Median distance of classes by the authors' script from before the release: 64 neurons of a first layer.
ARCHIVED = {"standard": 0.27, "w-asym 0": 0.96, "w-asym 1": 3.9, "syre 1": 15.7}


class TrainingDynamics(TrainedNetworks):
    """Parameters of one run; their meaning stands beside each in the notebook's parameters cell."""

    n_tested: Positive
    n_per_class: Positive
    n_neurons: Annotated[int, Field(ge=2, multiple_of=2)]
    n_draws: Positive
    n_seen: Positive
    penalties: Annotated[list[Rate], Field(min_length=1)]
    adam_lr: Rate
    adam_steps: Annotated[list[Positive], Field(min_length=1)]

    @model_validator(mode="after")
    def _refuse_what_has_no_tangent_or_class(self) -> "TrainingDynamics":
        if (self.network, self.norm) != ("mlp", "layer"):
            raise ValueError(
                f"dynamics are those of MLPs with LayerNorm, got network {self.network!r} with norm {self.norm!r}: "
                "running statistics are no weights that a tangent could follow"
            )
        if self.n_neurons > self.width:
            raise ValueError(f"n_neurons must be at most the width, {self.width:g}, got {self.n_neurons}")
        if self.adam_steps != sorted(set(self.adam_steps)):
            raise ValueError(f"adam_steps must rise, got {self.adam_steps}")
        return self


def run(config: TrainingDynamics) -> Record:
    """Run the study, one shard for the networks of a pair and one for the classes of an intervention.

    Returns:
        A record with one value per row: its intervention, what was measured, of which layer ("all", or the name of a
        weight), at what (epoch, penalty or step), and for which pair of networks, network, or pair of neurons.

    Raises:
        ValueError: If a class has fewer samples than the kernel is to have of it.
    """
    for intervention in config.interventions():
        _kernel_samples(config, config.family(intervention))
    named = {i.name.replace(" ", "-"): i for i in config.interventions()}
    dynamics = {
        f"{name}-{pair:03d}": ({"intervention": i.name, "pair": pair}, partial(measure_pair, config, i, pair))
        for name, i in named.items()
        for pair in range(config.members(i) // 2)
    }
    classes = {
        f"{name}-classes": ({"intervention": i.name, "classes": True}, partial(measure_classes, config, i))
        for name, i in named.items()
    }
    return analyse(STUDY, config, config.interventions(), dynamics | classes)


def measure_pair(config: TrainingDynamics, intervention: Intervention, pair: int, folder: Path) -> pd.DataFrame:
    """Follow two networks through their snapshots: what they share, and how far each is from where it started."""
    family, both = config.family(intervention), [2 * pair, 2 * pair + 1]
    test = family.data().to(config.device).test
    x, y = test.x[: config.n_tested], test.y[: config.n_tested]
    samples = _kernel_samples(config, family).to(config.device)
    start = before = networks(config, folder, intervention, 0, both)
    spec, first = specification(start.model, x[:2]), kernels(start, samples)
    rows = []
    for epoch in snapshot_epochs(config.epochs):
        now = networks(config, folder, intervention, epoch, both)
        shared = {
            ("answers alike", "all"): answer_agreement(now, x),
            ("signs alike", "all"): sign_agreement(now, spec, x),
            ("distance", "all"): distances(now),
        }
        alone = {"accuracy": evaluate(now, x, y).accuracy, **_kernel_facts(kernels(now, samples), first)}
        if epoch > 0:
            cosines, linear = update_cosines(before, now), linearisation(start, now, x)
            shared |= {("update cosine", layer): cosines[layer] for layer in ("all", *linear_maps(now.model))}
            alone |= {"linear error": linear.error, "linear cosine": linear.cosine, "linear answers": linear.agreement}
        rows += [(*what, epoch, pair, matrix[0, 1]) for what, matrix in shared.items()]
        rows += [(what, "all", epoch, both[i], found[i]) for what, found in alone.items() for i in (0, 1)]
        before = now
    return _table(intervention, rows)


def measure_classes(config: TrainingDynamics, intervention: Intervention, folder: Path) -> pd.DataFrame:
    """Measure how far apart the classes of neurons 2k and 2k + 1 of the first layer are, in three ways.

    Needs no trained networks: a class is what new draws of a neuron's trainable weights can make of it.
    """
    family = config.family(intervention)
    x = family.data().to(config.device).train.x[: config.n_seen].flatten(1)
    moments = Moments()
    moments.add(x)
    draws, shifts = _drawn(config, family, range(config.n_draws))
    start = tuple(part[:, 0] for part in _drawn(config, family, range(config.n_draws, config.n_draws + 1)))
    D, F = (side[: config.n_neurons].to(x.device) for side in fixed_sides(family.initial([0]), f"{FIRST}.weight"))
    neurons = torch.arange(config.n_neurons)
    partners = neurons ^ 1
    goals = draws[partners], shifts[partners]
    found = {}
    for penalty in config.penalties:
        found["class distance", penalty] = class_distances(draws, D, F, moments, penalty)[neurons, partners]
        found["class distance through GELU", penalty] = distances_through(*goals, D, F, x, penalty)
    stopped = distances_by_adam(*goals, start, D, F, x, config.penalties[0], config.adam_lr, config.adam_steps)
    found |= {("class distance by Adam", n): values for n, values in zip(config.adam_steps, stopped, strict=True)}
    rows = [
        (what, f"{FIRST}.weight", at, pair, value)
        for (what, at), directed in found.items()
        for pair, value in enumerate(directed.view(-1, 2).amax(1))
    ]
    return _table(intervention, rows)


def _drawn(config: TrainingDynamics, family: Family, members: range) -> tuple[Tensor, Tensor]:
    """Return weights and biases of the first neurons in new networks, shapes (neurons, draws, d), (neurons, draws)."""
    blocks = [members[i : i + DRAWN_AT_A_TIME] for i in range(0, len(members), DRAWN_AT_A_TIME)]
    drawn = [_first(family.initial(block), config.n_neurons) for block in blocks]
    return tuple(torch.cat(parts).transpose(0, 1).to(config.device) for parts in zip(*drawn, strict=True))


def _first(population: Population, n_neurons: int) -> tuple[Tensor, Tensor]:
    return tuple(population.params[f"{FIRST}.{leaf}"][:, :n_neurons].clone() for leaf in ("weight", "bias"))


def _kernel_facts(kernel: Tensor, first: Tensor) -> dict[str, Tensor]:
    moved = change(kernel, first)
    return {
        "kernel change": moved.relative,
        "kernel cosine": moved.cosine,
        "kernel CKA": moved.cka,
        "effective rank": spectrum(kernel).effective_rank,
    }


def _kernel_samples(config: TrainingDynamics, family: Family) -> Tensor:
    """Return training images on which kernels are computed, the same in all families."""
    train = family.data().train
    return train.x[class_balanced(train.y, config.n_per_class, generator(config.base_seed, "kernel"))]


def _table(intervention: Intervention, rows: list[tuple]) -> pd.DataFrame:
    columns = ["intervention", "measure", "layer", "at", "index", "value"]
    return pd.DataFrame([(intervention.name, *row, value.item()) for *row, value in rows], columns=columns)


def values(record: Record, measure: str, layer: str = "all") -> pd.DataFrame:
    """Return the rows of one measure of a record."""
    table = record.table
    return table[(table["measure"] == measure) & (table["layer"] == layer)]


def last_values(record: Record) -> pd.DataFrame:
    """Return the rows of all measures of whole networks after the last epoch."""
    table = record.table
    return table[(table["layer"] == "all") & (table["at"] == record.config["epochs"])]


def class_values(record: Record) -> dict[str, pd.DataFrame]:
    """Return the distances of classes by the way to find them, exact ones at the first penalty, Adam's step by step."""
    layer, penalty = f"{FIRST}.weight", record.config["penalties"][0]
    before, through, adam = (values(record, f"class distance{way}", layer) for way in ("", " through GELU", " by Adam"))
    exact = {
        "exact, before GELU": before[np.isclose(before["at"], penalty)],
        "exact, through GELU": through[np.isclose(through["at"], penalty)],
    }
    return exact | {f"Adam, {step:.0f} steps": rows for step, rows in adam.groupby("at")}


def quantities(record: Record) -> dict[str, np.ndarray]:
    """Return what claims can be about.

    One value per pair: "update_cosine/w-asym 1", mean over the intervals between snapshots; "agreement/...", share of
    test images answered alike after the last epoch. One per network, after the last epoch: "kernel_distance/...",
    1 - CKA with the first kernel; "linear_error/...". One per pair of neurons, each in one pair: "log_hausdorff/...",
    log10 of the distance of their classes before the activation, at the first penalty.
    """
    last = dict(iter(last_values(record).groupby("measure")))
    apart = class_values(record)["exact, before GELU"]
    tables = {
        "update_cosine": values(record, "update cosine"),
        "agreement": last["answers alike"],
        "kernel_distance": last["kernel CKA"].assign(value=lambda rows: 1 - rows["value"]),
        "linear_error": last["linear error"],
        "log_hausdorff": apart.assign(value=np.log10(apart["value"])),
    }
    return {
        f"{what}/{name}": rows.groupby("index")["value"].mean().to_numpy()
        for what, table in tables.items()
        for name, rows in table.groupby("intervention", sort=False)
    }
