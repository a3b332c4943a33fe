"""Populations: M networks of one architecture as one dictionary of tensors with a leading axis M.

There are two ways to run one, batched with vmap or one member at a time; which is used follows from measured
speed and does not show in the results beyond rounding.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils import parametrize
from torch.utils.flop_counter import FlopCounterMode

from symlib.asymmetry import Constraint, linear_maps, refuse_shared_weights, statistics

# Measured on two CPU cores (benchmarks/execution.py, benchmarks/populations.py). Batching saves the cost of starting
# operations, so it pays for many networks with little to do in a pass: few inputs, and few multiplications in all.
BATCHED_FROM = 3  # networks
BATCHED_ROWS = 256  # inputs of each
BATCHED_WORK = 15_000_000  # multiplications of each
_counted: WeakKeyDictionary[nn.Module, dict[torch.Size, int]] = WeakKeyDictionary()
INPUTS_PER_PASS = 1000  # 1,000 rows of a 512-wide layer stay in the cache
IMAGES_PER_PASS = 100  # of convolutional networks: 1.8 times as fast as 1,000 on CPUs, a tenth of the memory on GPUs


@dataclass(frozen=True)
class Population:
    """M networks that share an architecture and a constraint.

    Attributes:
        model: The architecture; its fixed buffers (gates, a graph) are shared, its own weights are not used.
        constraint: The fixed side (D, F) that all members share.
        params: Name -> effective weights, shape (M, ...).
        stats: Name -> running statistics of BatchNorm layers, shape (M, ...); empty without such layers.
        epochs: For how many all were trained, None if that is not known.
    """

    model: nn.Module
    constraint: Constraint
    params: dict[str, Tensor]
    stats: dict[str, Tensor] = field(default_factory=dict)
    epochs: int | None = None

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All that differs between members: weights and statistics."""
        return self.params | self.stats

    def __len__(self) -> int:
        return len(next(iter(self.params.values())))

    def __getitem__(self, members: slice | Sequence[int]) -> "Population":
        """Select members by a slice or a list of indices; the result is a population too.

        Raises:
            TypeError: For a single index, which would leave no population.
        """
        if isinstance(members, int):
            raise TypeError(f"a population is selected by a slice or a list: [{members}:{members + 1}] for one member")
        return self.holding({name: w[members] for name, w in self.tensors.items()})

    def to(self, device: str) -> "Population":
        """Return the population on a device, with a copy of the model."""
        moved = self.holding({name: w.to(device) for name, w in self.tensors.items()})
        return replace(moved, model=deepcopy(self.model).to(device))

    def holding(self, tensors: dict[str, Tensor]) -> "Population":
        """Return a population of the same kind with other weights and statistics."""
        return replace(
            self,
            params={name: tensors[name] for name in self.params},
            stats={name: tensors[name] for name in self.stats},
        )

    def members(self) -> Iterator[dict[str, Tensor]]:
        """Yield the weights and statistics of each member as views without the leading axis."""
        for i in range(len(self)):
            yield {name: w[i] for name, w in self.tensors.items()}


@dataclass(frozen=True)
class Evaluation:
    """What a population scores on one data set."""

    loss: Tensor  # mean cross-entropy in nats, shape (M,), float64
    accuracy: Tensor  # share of correct answers, shape (M,), float64


def batched_pays(population: Population, x: Tensor) -> bool:
    """Say whether vmap is the faster way to run a population on inputs x, shape (n, ...), each member on so many."""
    if x.is_cuda:
        return True
    n_rows = getattr(population.model, "rows_per_pass", len(x))
    few = len(population) >= BATCHED_FROM and n_rows <= BATCHED_ROWS
    return few and multiplications(population, x) <= BATCHED_WORK


def multiplications(population: Population, x: Tensor) -> int:
    """Return the multiplications in linear maps of one network's pass over inputs x; counted once a shape."""
    model, on_graph = population.model, hasattr(population.model, "rows_per_pass")
    known = _counted.setdefault(model, {})
    if x.shape[1:] not in known:
        few = x[:2]
        with mode(model, training=False), torch.no_grad(), FlopCounterMode(display=False) as counter:
            functional_call(model, next(population.members()), (few,))
        known[x.shape[1:]] = counter.get_total_flops() // 2 // (1 if on_graph else len(few))
    return known[x.shape[1:]] * (1 if on_graph else len(x))


@contextmanager
def mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Put a model into training or evaluation mode for a while."""
    before = {module: module.training for module in model.modules()}
    model.train(training)
    try:
        yield
    finally:
        for module, was in before.items():
            module.training = was


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[list[nn.Module]]:
    """Put a model into evaluation mode, but let BatchNorm layers normalise by their batch; yields these layers."""
    with mode(model, training=False):
        layers = [m for m in model.modules() if isinstance(m, _NormBase)]
        momenta = [layer.momentum for layer in layers]
        for layer in layers:
            layer.training = True
        try:
            yield layers
        finally:
            for layer, momentum in zip(layers, momenta, strict=True):
                layer.momentum = momentum


@contextmanager
def unfused_attention() -> Iterator[None]:
    """Keep PyTorch from running attention as one operator that hides the layers inside."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def framework_default(model: nn.Module) -> None:
    """Re-draw all weights as PyTorch does, uniform within 1/sqrt(fan_in) for linear maps (Lim et al., code).

    Raises:
        ValueError: If a module holds weights but no way to draw them.
    """
    for at, module in model.named_modules():
        draw = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
        if draw:
            draw()
        elif any(True for _ in module.parameters(recurse=False)):
            raise ValueError(
                f"{at or 'the model'} ({type(module).__name__}) cannot be drawn anew: give it a method "
                "reset_parameters(), or build the networks yourself and use from_models"
            )


def normal_fan_in(model: nn.Module) -> None:
    """Re-draw linear weights from N(0, 1/fan_in), the rest as PyTorch does (Bürgin et al., W and syre)."""
    framework_default(model)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)


def kaiming_normal(model: nn.Module) -> None:
    """Re-draw weights of linear maps from N(0, 2/fan_in), the rest as PyTorch does (Lim et al., standard ResNets).

    Their code leaves W-asymmetric networks at `framework_default`, a standard deviation 2.45 times smaller.
    """
    framework_default(model)
    for weight in linear_maps(model).values():
        nn.init.kaiming_normal_(weight)


INITIALISERS: dict[str, Callable[[nn.Module], None]] = {
    "uniform": framework_default,
    "normal": normal_fan_in,
    "kaiming": kaiming_normal,
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

    Raises:
        ValueError: If a module holds weights but no way to draw them, or two modules share a weight.
    """
    refuse_shared_weights(model)

    def fresh(init_seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(init_seed)
            INITIALISERS[init](model)
        return deepcopy(model)

    drawn = _stack([fresh(init_seed) for init_seed in init_seeds], constraint)
    return replace(drawn, model=model, params=constraint.impose(drawn.params), epochs=0)


def _stack(models: Sequence[nn.Module], constraint: Constraint) -> Population:
    def stacked(members: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        return {name: torch.stack([m[name].detach() for m in members]) for name in members[0]}

    params, stats = [dict(m.named_parameters()) for m in models], [statistics(m) for m in models]
    return Population(models[0], constraint, stacked(params), stacked(stats))


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
            owner, _, leaf = name.rpartition(".")
            module = model.get_submodule(owner)
            if parametrize.is_parametrized(module, leaf):
                parametrize.remove_parametrizations(module, leaf, leave_parametrized=True)
        refuse_shared_weights(model)
    population = _stack(plain, constraint)
    for name, (index, value) in constraint.pinned.items():
        right = (population.params[name].flatten(1)[:, index] == value.to(population.params[name])).all(dim=1)
        if not right.all():
            raise ValueError(
                f"network {int(right.int().argmin())} does not have the fixed entries of {name}: train it with this "
                "constraint"
            )
    return population


def each(
    population: Population,
    function: Callable[[dict[str, Tensor], Tensor], dict[str, Tensor]],
    x: Tensor,
    beside: dict[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Call a function of one network's tensors for every member, batched where that pays.

    Args:
        population: M networks.
        function: Maps the weights and statistics of one member, and inputs, to named tensors.
        x: Inputs that the function runs each network on, shape (n, ...).
        beside: Further tensors of each member that the function gets, shape (M, ...).

    Returns:
        The same names with the results of all members stacked, shape (M, ...).
    """
    tensors = population.tensors | (beside or {})
    if batched_pays(population, x):
        return vmap(function, (0, None))(tensors, x.contiguous())  # mapped operators know no other layout
    results = [function({name: w[i] for name, w in tensors.items()}, x) for i in range(len(population))]
    return {name: torch.stack([r[name] for r in results]) for name in results[0]}


def logits(population: Population, x: Tensor) -> Tensor:
    """Run every member on the same inputs, in evaluation mode.

    Args:
        population: M networks.
        x: Inputs, shape (batch, ...).

    Returns:
        Logits, shape (M, batch, classes).
    """
    with mode(population.model, training=False):
        return each(population, lambda member, x: {"": functional_call(population.model, member, (x,))}, x)[""]


@torch.no_grad()
def evaluate(population: Population, x: Tensor, y: Tensor) -> Evaluation:
    """Return loss and accuracy of every member over a whole data set.

    Args:
        population: M networks.
        x: Inputs, shape (n, ...).
        y: Labels, shape (n,), int64.
    """
    if not 0 < len(x) == len(y):
        raise ValueError(f"evaluation needs inputs and as many labels, got {len(x)} and {len(y)}")
    loss = torch.zeros(len(population), dtype=torch.float64, device=x.device)
    right = torch.zeros_like(loss)
    for inputs, labels in zip(passes(population.model, x), passes(population.model, y), strict=True):
        scores = logits(population, inputs)
        target = labels.expand(scores.shape[:2])
        losses = F.cross_entropy(scores.flatten(0, 1), target.flatten(), reduction="none")
        loss += losses.view_as(target).sum(dim=1, dtype=torch.float64)
        right += (scores.argmax(dim=-1) == target).sum(dim=1)
    return Evaluation(loss / len(x), right / len(x))


def passes(model: nn.Module, x: Tensor, at_most: int | None = None) -> list[Tensor]:
    """Split inputs into what one pass takes: the given number, a few that suit the cache, or all on a graph.

    Args:
        model: Has an attribute `rows_per_pass` if it computes so many rows however few are asked for, as on a graph.
        x: Inputs, shape (n, ...).
        at_most: Inputs per pass.
    """
    convolves = any(isinstance(m, nn.modules.conv._ConvNd) for m in model.modules())
    usual = IMAGES_PER_PASS if convolves else INPUTS_PER_PASS
    parts = list(x.split(len(x) if hasattr(model, "rows_per_pass") else at_most or usual))
    if len(parts) > 1 and len(parts[-1]) == 1:  # BatchNorm cannot normalise a batch of one
        parts[-2:] = [torch.cat(parts[-2:])]
    return [fast_layout(part) for part in parts]


def fast_layout(images: Tensor) -> Tensor:
    """Return a batch of images with the channels innermost in memory, which CPUs convolve up to 1.4 times faster."""
    on_cpu = images.dim() == 4 and not images.is_cuda  # on GPUs such batches are mapped over, which has no layouts
    return images.contiguous(memory_format=torch.channels_last) if on_cpu else images
