"""Training of populations: recipe, schedules, the loop, and checkpoints that resume bit for bit.

Batch orders are a function of (order seed, epoch), so a checkpoint needs no random state.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.modules.dropout import _DropoutNd

from symlib import checkpoints
from symlib.asymmetry import Constraint, tensor_hash
from symlib.data.augmentation import Augmentation
from symlib.population import Population, batched_pays, fast_layout, mode
from symlib.seeds import generator

Schedule = Callable[[int], float]


def constant(epoch: int) -> float:
    """Return 1 for every epoch."""
    return 1.0


def geometric_warmup(start: float, epochs: int) -> Schedule:
    """Return a schedule that rises from `start` to 1 by one factor an epoch, then stays.

    Source: Lim et al. (2024), appendix F.1.1: 1e-4 to 1e-2 over 20 epochs, a factor of 1.259 each.
    """
    return lambda epoch: start ** max(0.0, 1 - epoch / epochs)


def linear_warmup(epochs: int) -> Schedule:
    """Return a schedule that rises linearly to 1 over as many epochs, then stays.

    Source: Lim et al. (2024), appendix F.1.2: 25 full-graph steps, the first at 1/25.
    """
    return lambda epoch: min(1.0, (epoch + 1) / epochs)


@dataclass(frozen=True)
class Recipe:
    """How a population is trained: AdamW on mean cross-entropy, the last partial batch kept."""

    epochs: int
    batch_size: int
    lr: float
    weight_decay: float  # decoupled, of every tensor; pulls constrained weights towards F
    schedule: Schedule = constant
    augmentation: Augmentation | None = None  # of every batch, drawn for each image and network


PARTS = ("params", "stats", "exp_avg", "exp_avg_sq")  # of a checkpoint


@dataclass
class _Progress:
    """Everything a checkpoint has to hold; each tensor has a leading member axis."""

    params: dict[str, Tensor]
    stats: dict[str, Tensor]  # of BatchNorm layers
    exp_avg: dict[str, Tensor]
    exp_avg_sq: dict[str, Tensor]
    losses: Tensor  # mean training loss per finished epoch, shape (epochs done, M)
    steps: int


def train(
    population: Population,
    x: Tensor,
    y: Tensor,
    recipe: Recipe,
    order_seeds: Sequence[int],
    checkpoint: Path | None = None,
    on_epoch: Callable[[], None] = lambda: None,
    watch: Callable[[int, Population], None] = lambda epoch, population: None,
) -> tuple[Population, Tensor]:
    """Train every member; member i ends as it would if trained alone with the same seeds.

    Args:
        population: Where to start; left untouched.
        x: Training inputs, shape (n, ...).
        y: Labels, shape (n,), int64.
        recipe: Optimiser settings.
        order_seeds: Seed of the batch order of each member.
        checkpoint: File written after every epoch and continued from if it exists.
        on_epoch: Called after each epoch, for a progress bar.
        watch: Called with the number of finished epochs and the population, before training and after every epoch that
            no checkpoint has yet. What it wants to keep it has to copy.

    Returns:
        The trained population and its training loss in nats, mean over each epoch, shape (epochs, M).

    Raises:
        ValueError: If the numbers of seeds, inputs or labels do not fit, a batch is too small for BatchNorm, the
            network has dropout or other randomness, or the checkpoint is damaged or of another run.
        FloatingPointError: If a loss is not finite; the checkpoint of the epoch before stays.
    """
    if len(order_seeds) != len(population):
        raise ValueError(f"{len(population)} networks need as many order seeds, got {len(order_seeds)}")
    if len(x) != len(y):
        raise ValueError(f"{len(x)} inputs need as many labels, got {len(y)}")
    _check_trainable(population, len(x), recipe.batch_size)
    like = next(iter(population.params.values()))
    population = replace(population, constraint=population.constraint.to(like))
    owner = _owner(population, recipe, order_seeds, {"x": x, "y": y}) if checkpoint else ""
    state = _fresh(population)
    if checkpoint and checkpoint.exists():
        state = _load(checkpoint, owner, state)
    if len(state.losses) > recipe.epochs:
        raise ValueError(
            f"checkpoint {checkpoint} is {len(state.losses)} epochs old, more than the {recipe.epochs} asked for"
        )
    for _ in range(len(state.losses)):
        on_epoch()
    if not len(state.losses):
        watch(0, population)
    for epoch in range(len(state.losses), recipe.epochs):
        with mode(population.model, training=True):
            drawn = torch.get_rng_state()
            _run_epoch(population, state, _Batches(x, y, recipe, order_seeds, epoch), recipe, epoch)
        if not torch.equal(drawn, torch.get_rng_state()):
            raise ValueError(
                "the network draws random numbers in its forward pass, which no seed or checkpoint here controls: "
                "switch them off"
            )
        if not state.losses[-1].isfinite().all():
            lost = (~state.losses[-1].isfinite()).nonzero().flatten().tolist()
            raise FloatingPointError(f"training diverged in epoch {epoch + 1}: no finite loss in networks {lost}")
        # First, so that a run that is killed here meets this epoch again.
        watch(epoch + 1, _after(population, state))
        if checkpoint:
            _save(checkpoint, owner, state)
        on_epoch()
    return _after(population, state), state.losses


def _after(population: Population, state: _Progress) -> Population:
    trained = (population.epochs or 0) + len(state.losses)
    return replace(population.holding(state.params | state.stats), epochs=trained)


def _check_trainable(population: Population, n_inputs: int, batch_size: int) -> None:
    if min(n_inputs, batch_size) < 1:
        raise ValueError(f"training needs inputs and a positive batch_size, got {n_inputs} and {batch_size}")
    on_graph = hasattr(population.model, "rows_per_pass")  # BatchNorm sees all nodes there
    if population.stats and not on_graph and min(batch_size, n_inputs % batch_size or batch_size) == 1:
        raise ValueError(
            f"BatchNorm cannot normalise a batch of one: {n_inputs} inputs in batches of {batch_size} leave one over; "
            "choose another batch_size"
        )
    for at, module in population.model.named_modules():
        if (isinstance(module, _DropoutNd) and module.p) or (
            isinstance(module, nn.MultiheadAttention) and module.dropout
        ):
            raise ValueError(f"{at} drops units at random, which no seed or checkpoint here controls: set dropout to 0")


def _fresh(population: Population) -> _Progress:
    params, stats = (
        # Contiguous, because pinned entries are put back through flat views.
        {name: w.detach().clone(memory_format=torch.contiguous_format) for name, w in tensors.items()}
        for tensors in (population.params, population.stats)
    )
    return _Progress(
        params,
        stats,
        {name: torch.zeros_like(w) for name, w in params.items()},
        {name: torch.zeros_like(w) for name, w in params.items()},
        torch.zeros(0, len(population), device=next(iter(params.values())).device),
        steps=0,
    )


class _Batches:
    """The inputs and labels of one epoch in each member's order, augmented; a function of (seed, epoch) alone."""

    def __init__(self, x: Tensor, y: Tensor, recipe: Recipe, order_seeds: Sequence[int], epoch: int) -> None:
        self.x, self.y, self.augmentation = x, y, recipe.augmentation
        orders = [torch.randperm(len(x), generator=generator(s, "order", epoch)) for s in order_seeds]
        self.rows = torch.stack(orders).to(x.device).split(recipe.batch_size, dim=1)
        if self.augmentation:
            drawn = [self.augmentation.draw(len(x), x.shape[-2:], generator(s, "augment", epoch)) for s in order_seeds]
            self.decisions = torch.stack(drawn).to(x.device).split(recipe.batch_size, dim=1)

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, member: int | slice) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield inputs and labels batch by batch, with a leading member axis for a slice."""
        for i, rows in enumerate(self.rows):
            inputs = self.x[rows[member]]
            if self.augmentation:
                inputs = self.augmentation(inputs, self.decisions[i][member])
            yield fast_layout(inputs), self.y[rows[member]]


def _run_epoch(population: Population, state: _Progress, batches: _Batches, recipe: Recipe, epoch: int) -> None:
    """Advance the state by one pass over the data, all members at once or one after another."""

    def loss_of(params: dict[str, Tensor], stats: dict[str, Tensor], inputs: Tensor, labels: Tensor) -> Tensor:
        # Running statistics are updated in place, that is in the state.
        return F.cross_entropy(functional_call(population.model, params | stats, (inputs,)), labels)

    batched = batched_pays(population, batches.x[: recipe.batch_size])
    losses_of = vmap(loss_of) if batched else loss_of
    total = torch.zeros(len(population), device=batches.x.device)
    for member in [slice(None)] if batched else range(len(population)):
        stepper = _Stepper(
            state, member, population.constraint, recipe.lr * recipe.schedule(epoch), recipe.weight_decay
        )
        stats = {name: buffer[member] for name, buffer in state.stats.items()}
        for inputs, labels in batches.of(member):
            losses = losses_of(stepper.params, stats, inputs, labels)
            losses.sum().backward()
            stepper.step()
            total[member] += losses.detach() * labels.shape[-1]
    state.losses = torch.cat([state.losses, total[None] / len(batches.x)])
    state.steps += len(batches)


class _Stepper:
    """Fused AdamW on views into the stacked state, followed by the constraint.

    AdamW pulls weights towards 0; adding lr * decay * F turns that into a pull towards F, and pinned entries
    are put back last. This equals AdamW on the free weights of the parametrization to rounding.
    """

    def __init__(self, state: _Progress, member: int | slice, constraint: Constraint, lr: float, decay: float) -> None:
        self.params = {name: w[member].requires_grad_() for name, w in state.params.items()}
        self.optimiser = torch.optim.AdamW(self.params.values(), lr=lr, weight_decay=decay, fused=True)
        for name, w in self.params.items():
            self.optimiser.state[w] = {
                "step": torch.tensor(float(state.steps), device=w.device),
                "exp_avg": state.exp_avg[name][member],
                "exp_avg_sq": state.exp_avg_sq[name][member],
            }
        values = {name: w.detach() for name, w in self.params.items()}
        self.pull = [(values[name], F, lr * decay) for name, F in constraint.pull.items()]
        self.pinned = [
            (flat := values[name].flatten(int(isinstance(member, slice))), index, value.expand(*flat.shape[:-1], -1))
            for name, (index, value) in constraint.pinned.items()
        ]

    @torch.no_grad()
    def step(self) -> None:
        self.optimiser.step()
        self.optimiser.zero_grad()
        for weight, anchor, strength in self.pull:
            weight.add_(anchor, alpha=strength)
        for weight, index, value in self.pinned:
            weight.index_copy_(-1, index, value)


def _owner(population: Population, recipe: Recipe, order_seeds: Sequence[int], data: dict[str, Tensor]) -> str:
    """Name the run a checkpoint belongs to by all that determines its weights, the number of epochs apart."""
    rates = [recipe.lr * recipe.schedule(epoch) for epoch in range(1000)]  # more epochs than anything here trains
    settings = [recipe.batch_size, rates, recipe.weight_decay, list(order_seeds), population.constraint.fingerprint]
    settings += [repr(recipe.augmentation)] if recipe.augmentation else []
    key = json.dumps([settings, repr(population.model), tensor_hash(population.tensors, data)])
    return hashlib.sha256(key.encode()).hexdigest()


def _save(path: Path, owner: str, state: _Progress) -> None:
    tensors = {"losses": state.losses, "steps": torch.tensor(state.steps)}
    for part in PARTS:
        tensors |= {f"{part}/{name}": w for name, w in getattr(state, part).items()}
    checkpoints.write(path, tensors, owner)


def _load(path: Path, owner: str, fresh: _Progress) -> _Progress:
    tensors, device = checkpoints.read(path, owner), fresh.losses.device
    part = {which: {name: tensors[f"{which}/{name}"].to(device) for name in getattr(fresh, which)} for which in PARTS}
    return _Progress(**part, losses=tensors["losses"].to(device), steps=int(tensors["steps"]))
