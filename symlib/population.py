"""Populations: M networks of one architecture as one dictionary of tensors with a leading axis M.

There are two ways to run one, batched with vmap or one member at a time; which is used follows from measured
speed and does not show in the results beyond rounding.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.utils import parametrize

from symlib.asymmetry import Constraint

# Measured on two CPU cores (benchmarks/execution.py): below this size per network vmap wins, above it the batched
# matrix products of a population are slower than the same products one after another.
BATCHED_UP_TO = 150_000


@dataclass(frozen=True)
class Population:
    """M networks that share an architecture and a constraint.

    Attributes:
        model: The architecture; its buffers (the gates of FiGLU) are shared, its own weights are not used.
        constraint: The fixed side (D, F) that all members share.
        params: Name -> effective weights, shape (M, ...).
    """

    model: nn.Module
    constraint: Constraint
    params: dict[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.params.values())))

    def __getitem__(self, members: slice | Sequence[int]) -> "Population":
        """Select members by a slice or a list of indices; the result is a population too."""
        return replace(self, params={name: w[members] for name, w in self.params.items()})

    def to(self, device: str) -> "Population":
        """Return the population on a device, with a copy of the model."""
        params = {name: w.to(device) for name, w in self.params.items()}
        return Population(deepcopy(self.model).to(device), self.constraint, params)

    def members(self) -> Iterator[dict[str, Tensor]]:
        """Yield the weights of each member as views without the leading axis."""
        for i in range(len(self)):
            yield {name: w[i] for name, w in self.params.items()}


@dataclass(frozen=True)
class Evaluation:
    """What a population scores on one data set."""

    loss: Tensor  # mean cross-entropy in nats, shape (M,), float64
    accuracy: Tensor  # share of correct answers, shape (M,), float64


def batched_pays(params: dict[str, Tensor]) -> bool:
    """Say whether vmap over the members is the faster way to run them."""
    first = next(iter(params.values()))
    return first.is_cuda or sum(w[0].numel() for w in params.values()) <= BATCHED_UP_TO


def framework_default(model: nn.Module) -> None:
    """Re-draw all weights as PyTorch does, uniform within 1/sqrt(fan_in) for linear maps (Lim et al., code)."""
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()


def normal_fan_in(model: nn.Module) -> None:
    """Re-draw linear weights from N(0, 1/fan_in), the rest as PyTorch does (Bürgin et al., W and syre)."""
    framework_default(model)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)


INITIALISERS: dict[str, Callable[[nn.Module], None]] = {
    "uniform": framework_default,
    "normal": normal_fan_in,
}


def initialise(
    model: nn.Module, constraint: Constraint, init_seeds: Sequence[int], init: str = "uniform"
) -> Population:
    """Make a population with one member per seed.

    Args:
        model: The architecture; its own weights are drawn anew and stay behind as those of the last member.
        constraint: Imposed on the drawn weights.
        init_seeds: One seed per member.
        init: Name of an entry of `INITIALISERS`.
    """

    def fresh(init_seed: int) -> dict[str, Tensor]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(init_seed)
            INITIALISERS[init](model)
        return {name: p.detach().clone() for name, p in model.named_parameters()}

    members = [fresh(init_seed) for init_seed in init_seeds]
    stacked = {name: torch.stack([m[name] for m in members]) for name in members[0]}
    return Population(model, constraint, constraint.impose(stacked))


def from_models(models: Sequence[nn.Module], constraint: Constraint) -> Population:
    """Make a population of networks that were trained elsewhere, parametrized or plain.

    Args:
        models: Networks of one architecture; left as they are.
        constraint: Their fixed side.

    Raises:
        ValueError: If a network does not have the fixed entries of the constraint.
    """
    plain = [deepcopy(model) for model in models]
    for model in plain:
        for name in constraint.D:
            module = model.get_submodule(name.rpartition(".")[0])
            if parametrize.is_parametrized(module, "weight"):
                parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    members = [{name: p.detach() for name, p in model.named_parameters()} for model in plain]
    for i, member in enumerate(members):
        for name, (index, value) in constraint.pinned.items():
            if not torch.equal(member[name].flatten()[index], value.to(member[name])):
                raise ValueError(
                    f"network {i} does not have the fixed entries of {name}: train it with this constraint"
                )
    stacked = {name: torch.stack([member[name] for member in members]) for name in members[0]}
    return Population(plain[0], constraint, stacked)


def logits(population: Population, x: Tensor) -> Tensor:
    """Run every member on the same inputs.

    Args:
        population: M networks.
        x: Inputs, shape (batch, ...).

    Returns:
        Logits, shape (M, batch, classes).
    """
    model, params = population.model, population.params
    if batched_pays(params):
        return vmap(lambda member: functional_call(model, member, (x,)))(params)
    return torch.stack([functional_call(model, member, (x,)) for member in population.members()])


@torch.no_grad()
def evaluate(population: Population, x: Tensor, y: Tensor, chunk: int = 1000) -> Evaluation:
    """Return loss and accuracy of every member over a whole data set.

    Args:
        population: M networks.
        x: Inputs, shape (n, ...).
        y: Labels, shape (n,), int64.
        chunk: Inputs per pass; 1,000 rows of a 512-wide layer stay in the cache.
    """
    loss = torch.zeros(len(population), dtype=torch.float64, device=x.device)
    right = torch.zeros_like(loss)
    for inputs, labels in zip(x.split(chunk), y.split(chunk), strict=True):
        scores = logits(population, inputs)
        target = labels.expand(scores.shape[:2])
        losses = F.cross_entropy(scores.flatten(0, 1), target.flatten(), reduction="none")
        loss += losses.view_as(target).sum(dim=1, dtype=torch.float64)
        right += (scores.argmax(dim=-1) == target).sum(dim=1)
    return Evaluation(loss / len(x), right / len(x))
