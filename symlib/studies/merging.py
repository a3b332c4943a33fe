"""Merging without alignment: averages of the weights, and of the hidden representations, of 2 to 16 networks.

Source: Bürgin et al. (2026): networks with identifiable neurons can be merged as they are.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.func import functional_call

from symlib.alignment.activation_matching import activation_matching
from symlib.alignment.merging import average
from symlib.alignment.permutation import Alignment, identity, permute_members
from symlib.alignment.tracing import specification
from symlib.asymmetry import linear_maps
from symlib.data.dataset import Dataset, Split
from symlib.population import Population, evaluate, mode
from symlib.records import Record
from symlib.studies.analysis import analyse, networks
from symlib.studies.trained import Intervention, Positive, TrainedNetworks

STUDY = "merging"


class Merging(TrainedNetworks):
    """Parameters of one run; their meaning stands beside each in the notebook's parameters cell."""

    sizes: Annotated[list[Annotated[int, Field(ge=2)]], Field(min_length=1)]
    n_seen: Positive

    @model_validator(mode="after")
    def _refuse_groups_that_are_too_large(self) -> "Merging":
        if max(self.sizes) > self.n_networks:
            raise ValueError(f"sizes asks for {max(self.sizes)} networks at once, but n_networks is {self.n_networks}")
        if self.network != "mlp":
            raise ValueError(f"representations are merged layer by layer in an MLP, got network {self.network!r}")
        return self


def run(config: Merging) -> Record:
    """Run the study, one shard an intervention; with `config.out` set, a killed run goes on where it stopped.

    Returns:
        A record with one row per intervention, method, merged thing and group of networks: test loss in nats (of
        averaged weights only) and test accuracy in [0, 1]. Groups of one size do not overlap.
    """
    measures = {
        intervention.name.replace(" ", "-"): (
            {"intervention": intervention.name, "n_networks": config.n_networks},
            partial(measure, config, intervention),
        )
        for intervention in config.interventions()
    }
    return analyse(STUDY, config, config.interventions(), measures)


def measure(config: Merging, intervention: Intervention, folder: Path) -> pd.DataFrame:
    """Merge the networks of one intervention, as they are and aligned with the first."""
    data = config.family(intervention).data().to(config.device)
    population = networks(config, folder, intervention, config.epochs)
    versions = {"unaligned": population, "aligned": _aligned(population, data, config.n_seen)}
    tables = [merged(version, data.test, config.sizes).assign(method=method) for method, version in versions.items()]
    return pd.concat(tables, ignore_index=True).assign(intervention=intervention.name)


def merged(population: Population, split: Split, sizes: Sequence[int]) -> pd.DataFrame:
    """Score averages of weights and of representations over disjoint groups of networks.

    Args:
        population: M networks.
        split: Where to score.
        sizes: Networks per group; size 1, the networks themselves, is added.

    Returns:
        Columns merged ("weights" or the linear map that reads the mean representation), size, group, loss, accuracy.
    """
    rows = []
    for size in (1, *sizes):
        for group in range(len(population) // size):
            chosen = population[group * size : (group + 1) * size]
            scores = evaluate(average(chosen), split.x, split.y)
            about = {"size": size, "group": group}
            rows.append(about | {"merged": "weights", "loss": scores.loss.item(), "accuracy": scores.accuracy.item()})
            if size > 1:
                rows += [
                    about | {"merged": reader, "loss": float("nan"), "accuracy": accuracy}
                    for reader, accuracy in representation_accuracies(chosen, split).items()
                ]
    return pd.DataFrame(rows)


@torch.no_grad()
def representation_accuracies(population: Population, split: Split) -> dict[str, float]:
    """Give all networks the mean of their hidden representations, one layer at a time, and score what they make of it.

    Args:
        population: M networks.
        split: Where to score.

    Returns:
        Name of the linear map that reads the mean -> accuracy in [0, 1], mean over the M networks that go on from it.
    """
    accuracies = {}
    for name in list(linear_maps(population.model))[1:]:
        reader = population.model.get_submodule(name.removesuffix(".weight"))
        with mode(population.model, training=False):
            seen: list[Tensor] = []
            with _at_input(reader, seen.append):
                for member in population.members():
                    functional_call(population.model, member, (split.x,))
            mean = torch.stack(seen).mean(0)
            with _at_input(reader, lambda _, mean=mean: (mean,)):
                answers = [functional_call(population.model, m, (split.x,)).argmax(1) for m in population.members()]
        accuracies[name] = (torch.stack(answers) == split.y).double().mean().item()
    return accuracies


@contextmanager
def _at_input(module: nn.Module, act) -> Iterator[None]:
    """Call a function on what goes into a module; what it returns, unless it is None, goes in instead."""
    handle = module.register_forward_pre_hook(lambda _, inputs: act(inputs[0]))
    try:
        yield
    finally:
        handle.remove()


def _aligned(population: Population, data: Dataset, n_seen: int) -> Population:
    """Align every network with the first by the correlation of activations on training images."""
    x = data.train.x[:n_seen]
    spec = specification(population.model, x[:2])
    first, *others = population.members()
    found = [Alignment(identity(spec.sizes), 0.0, 0)]
    found += [activation_matching(population.model, first, other, spec, x) for other in others]
    return permute_members(spec, found, population, x[:100])


def quantities(record: Record) -> dict[str, np.ndarray]:
    """Return vectors with one value per group, named such as "loss/unaligned/weights/w-asym 1/4", accuracy in per cent.

    "lost/..." is the mean accuracy of single networks minus that of the merged ones, in percentage points.
    """
    found = {}
    keys = ["intervention", "method", "merged", "size"]
    alone = record.table[record.table["size"] == 1].groupby(["intervention", "method"])["accuracy"].mean()
    for (name, method, what, size), rows in record.table.groupby(keys, sort=False):
        found[f"accuracy/{method}/{what}/{name}/{size}"] = 100 * rows["accuracy"].to_numpy()
        found[f"lost/{method}/{what}/{name}/{size}"] = 100 * (alone[name, method] - rows["accuracy"].to_numpy())
    return found
