"""Training of populations: recipe, schedules, the loop, and checkpoints that resume bit for bit.

Batch orders are a function of (order seed, epoch), so a checkpoint needs no random state.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import floor
from pathlib import Path
from types import EllipsisType

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.modules.dropout import _DropoutNd

from symlib import checkpoints
from symlib.asymmetry import Constraint, tensor_hash
from symlib.data.augmentation import Augmentation
from symlib.population import Population, batched_pays, fast_layout, mode
from symlib.seeds import generator, seed

Schedule = Callable[[float], float]  # of the epochs behind a step, 2.5 in the middle of the third


def constant(epoch: float) -> float:
    """Return 1 for every step."""
    return 1.0


def geometric_warmup(start: float, epochs: int) -> Schedule:
    """Return a schedule that rises from `start` to 1 by one factor an epoch, then stays.

    Source: Lim et al. (2024), appendix F.1.1: 1e-4 to 1e-2 over 20 epochs, a factor of 1.259 each.
    """
    return lambda epoch: start ** max(0.0, 1 - floor(epoch) / epochs)


def linear_warmup(epochs: int) -> Schedule:
    """Return a schedule that rises linearly to 1 over as many epochs, then stays; the same within an epoch.

    Source: Lim et al. (2024), appendix F.1.2: 25 full-graph steps, the first at 1/25.
    """
    return lambda epoch: min(1.0, (floor(epoch) + 1) / epochs)


def triangular(peak: float, epochs: int) -> Schedule:
    """Return a schedule that rises from 0 to 1 at epoch `peak` and falls to 0 at the end, step by step.

    Source: Lim et al. (2024), Table 13 and their code: the networks of section 5.3, with a peak at epoch 5.
    """
    return lambda epoch: max(0.0, min(epoch / peak, (epochs - epoch) / (epochs - peak)))


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: AdamW on mean cross-entropy."""

    epochs: int
    batch_size: int
    lr: float
    weight_decay: float  # decoupled, of every tensor; pulls constrained weights towards F
    schedule: Schedule = constant
    augmentation: Augmentation | None = None  # of every batch, drawn for each image and network
    label_smoothing: float = 0.0
    drop_last: bool = False  # leave out a partial last batch


@dataclass(frozen=True)
class Objective:
    """What training minimises: mean cross-entropy. Others may add noise to the pass and a penalty to the loss."""

    def noise_size(self, model: nn.Module, x: Tensor) -> int:
        """Return how many standard normal numbers every example of inputs x, shape (n, ...), brings along."""
        return 0

    def logits(self, model: nn.Module, tensors: dict[str, Tensor], x: Tensor, *noise: Tensor) -> Tensor:
        """Run one network on inputs; noise, shape (n, noise_size), is there only if the size is not 0."""
        return functional_call(model, tensors, (x,))

    def penalty(self, model: nn.Module, fixed: Constraint, params: dict[str, Tensor]) -> Tensor | float:
        """Return what is added to one network's mean cross-entropy; recorded losses are without it."""
        return 0.0


CROSS_ENTROPY = Objective()
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

    def sound(self) -> list[bool]:
        """Say which of the members still in training have not diverged: the last step may have, after finite losses."""
        if not len(self.losses):
            return [True] * self.losses.shape[1]
        finite = [w.reshape(len(w), -1).isfinite().all(dim=1) for w in self.params.values()]
        return torch.stack([*finite, self.losses[-1].isfinite()]).all(dim=0).tolist()


def train(
    population: Population,
    x: Tensor,
    y: Tensor,
    recipe: Recipe | Sequence[Recipe],
    order_seeds: Sequence[int],
    checkpoint: Path | None = None,
    on_epoch: Callable[[], None] = lambda: None,
    watch: Callable[[int, Population], None] = lambda epoch, population: None,
    keep_going: bool = False,
    objective: Objective = CROSS_ENTROPY,
) -> tuple[Population, Tensor]:
    """Train every member; member i ends as it would if trained alone with the same seeds.

    Args:
        population: Where to start; left untouched.
        x: Training inputs, shape (n, ...).
        y: Labels, shape (n,), int64.
        recipe: Optimiser settings, of all members or one for each; they share batch size, augmentation and drop_last.
        order_seeds: Seed of the batch order of each member.
        checkpoint: File written after every epoch and continued from if it exists.
        on_epoch: Called after each epoch, for a progress bar.
        watch: Called with the number of finished epochs and the population, before training and after every epoch that
            no checkpoint has yet. What it wants to keep it has to copy.
        keep_going: Train the others on if members diverge, instead of raising an error.
        objective: What is minimised.

    Returns:
        The trained population and its cross-entropy in nats, mean over each epoch, shape (epochs, M); NaN after a
        member's last epoch, and from the epoch on in which it diverged.

    Raises:
        ValueError: If the numbers of seeds, recipes, inputs or labels do not fit, recipes differ in what they have to
            share, a batch is too small for BatchNorm, the network has dropout or other randomness, or the checkpoint
            is damaged or of another run.
        FloatingPointError: If a loss or weight is not finite and `keep_going` is not set; the checkpoint of the epoch
            before stays.
    """
    recipes = [recipe] * len(population) if isinstance(recipe, Recipe) else list(recipe)
    _refuse_mismatch(population, x, y, recipes, order_seeds)
    like = next(iter(population.params.values()))
    population = replace(population, constraint=population.constraint.to(like))
    owner = _owner(population, recipes, order_seeds, {"x": x, "y": y}, objective) if checkpoint else ""
    state = _fresh(population)
    if checkpoint and checkpoint.exists():
        state = _load(checkpoint, owner, state)
    n_epochs = max(recipe.epochs for recipe in recipes)
    if len(state.losses) > n_epochs:
        raise ValueError(
            f"checkpoint {checkpoint} is {len(state.losses)} epochs old, more than the {n_epochs} asked for"
        )
    for _ in range(len(state.losses)):
        on_epoch()
    if not len(state.losses):
        watch(0, population)
    sound = state.sound()
    for epoch in range(len(state.losses), n_epochs):
        with mode(population.model, training=True):
            drawn = torch.get_rng_state()
            active = [i for i, recipe in enumerate(recipes) if epoch < recipe.epochs and sound[i]]
            batches = _Batches(x, y, recipes[0], order_seeds, epoch, objective.noise_size(population.model, x))
            _run_epoch(population, state, batches, recipes, active, epoch, objective)
        if not torch.equal(drawn, torch.get_rng_state()):
            raise ValueError(
                "the network draws random numbers in its forward pass, which no seed or checkpoint here controls: "
                "switch them off"
            )
        sound = state.sound()
        state.losses[-1, [i for i in active if not sound[i]]] = torch.nan
        if not keep_going and (lost := [i for i in active if not sound[i]]):
            raise FloatingPointError(
                f"training diverged in epoch {epoch + 1}: no finite loss or weights in networks {lost}"
            )
        # First, so that a run that is killed here meets this epoch again.
        watch(epoch + 1, _after(population, state, recipes))
        if checkpoint:
            _save(checkpoint, owner, state)
        on_epoch()
    return _after(population, state, recipes), state.losses


def _after(population: Population, state: _Progress, recipes: Sequence[Recipe]) -> Population:
    lengths = {min(recipe.epochs, len(state.losses)) for recipe in recipes}
    age = population.epochs + lengths.pop() if population.epochs is not None and len(lengths) == 1 else None
    return replace(population.holding(state.params | state.stats), epochs=age)


def _refuse_mismatch(
    population: Population, x: Tensor, y: Tensor, recipes: Sequence[Recipe], order_seeds: Sequence[int]
) -> None:
    for what, given in (("order seeds", order_seeds), ("recipes", recipes)):
        if len(given) != len(population):
            raise ValueError(f"{len(population)} networks need as many {what}, got {len(given)}")
    if len(x) != len(y):
        raise ValueError(f"{len(x)} inputs need as many labels, got {len(y)}")
    for shared in ("batch_size", "augmentation", "drop_last"):
        if len(found := {getattr(recipe, shared) for recipe in recipes}) > 1:
            raise ValueError(f"networks that train together need one {shared}, got {sorted(map(str, found))}")
    _check_trainable(population, len(x), recipes[0])


def _check_trainable(population: Population, n_inputs: int, recipe: Recipe) -> None:
    batch_size = recipe.batch_size
    if min(n_inputs, batch_size) < 1:
        raise ValueError(f"training needs inputs and a positive batch_size, got {n_inputs} and {batch_size}")
    on_graph = hasattr(population.model, "rows_per_pass")  # BatchNorm sees all nodes there
    if recipe.drop_last and n_inputs < batch_size:
        raise ValueError(f"drop_last leaves nothing of {n_inputs} inputs in batches of {batch_size}: set it to False")
    last = batch_size if recipe.drop_last else n_inputs % batch_size or batch_size
    if population.stats and not on_graph and min(batch_size, last) == 1:
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

    def __init__(
        self, x: Tensor, y: Tensor, recipe: Recipe, order_seeds: Sequence[int], epoch: int, noise_size: int
    ) -> None:
        self.x, self.y, self.augmentation = x, y, recipe.augmentation
        self.noise_size, self.noise_seeds = noise_size, [seed(s, "noise", epoch) for s in order_seeds]
        orders = [torch.randperm(len(x), generator=generator(s, "order", epoch)) for s in order_seeds]
        n_seen = len(x) - len(x) % recipe.batch_size if recipe.drop_last else len(x)
        self.rows = torch.stack(orders)[:, :n_seen].to(x.device).split(recipe.batch_size, dim=1)
        if self.augmentation:
            drawn = [self.augmentation.draw(len(x), x.shape[-2:], generator(s, "augment", epoch)) for s in order_seeds]
            self.decisions = torch.stack(drawn).to(x.device).split(recipe.batch_size, dim=1)

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, members: int | list[int]) -> Iterator[tuple[Tensor, ...]]:
        """Yield inputs, labels and, if asked for, noise batch by batch, with a leading member axis for a list."""
        several = isinstance(members, list)
        drawn_by = [self.noise_seeds[i] for i in (members if several else [members])]
        sources = [torch.Generator(self.x.device).manual_seed(s) for s in drawn_by]
        for i, rows in enumerate(self.rows):
            inputs = self.x[rows[members]]
            if self.augmentation:
                inputs = self.augmentation(inputs, self.decisions[i][members])
            batch = fast_layout(inputs), self.y[rows[members]]
            yield (*batch, self._noise(rows.shape[1], sources, several)) if self.noise_size else batch

    def _noise(self, n: int, sources: Sequence[torch.Generator], several: bool) -> Tensor:
        drawn = [
            torch.randn(n, self.noise_size, generator=s, device=self.x.device, dtype=self.x.dtype) for s in sources
        ]
        return torch.stack(drawn) if several else drawn[0]


def _run_epoch(
    population: Population,
    state: _Progress,
    batches: _Batches,
    recipes: Sequence[Recipe],
    active: list[int],
    epoch: int,
    objective: Objective,
) -> None:
    """Advance the active members by one pass over the data, all at once or one after another."""
    means = torch.full((len(population),), torch.nan, device=batches.x.device)
    batched = bool(active) and batched_pays(population[active], batches.x[: recipes[0].batch_size])
    for members in [active] if batched else active:
        means[members] = _advance(population, state, batches, recipes, members, epoch, objective)
    state.losses = torch.cat([state.losses, means[None]])
    state.steps += len(batches)


def _advance(
    population: Population,
    state: _Progress,
    batches: _Batches,
    recipes: Sequence[Recipe],
    members: int | list[int],
    epoch: int,
    objective: Objective,
) -> Tensor:
    """Train one member, or several at once; return their mean losses, shape () or (members,)."""
    several = isinstance(members, list)
    mine = [recipes[i] for i in members] if several else [recipes[members]]
    like = next(iter(state.params.values()))
    smoothing = torch.tensor([recipe.label_smoothing for recipe in mine], dtype=like.dtype, device=like.device)

    def loss_of(
        params: dict[str, Tensor], stats: dict[str, Tensor], batch: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor]:
        # Running statistics are updated in place.
        inputs, labels, smooth, *noise = batch
        loss = _cross_entropy(objective.logits(population.model, params | stats, inputs, *noise), labels, smooth)
        return loss, loss + objective.penalty(population.model, population.constraint, params)

    losses_of = vmap(loss_of) if several else loss_of
    # A list copies; an index and a slice give views.
    at = slice(None) if several and len(members) == len(recipes) else members
    parts = {part: {name: w[at] for name, w in getattr(state, part).items()} for part in PARTS}
    leaves = {name: w.requires_grad_() for name, w in parts["params"].items()}
    steppers = _steppers(parts, state.steps, population.constraint, mine, several)
    total, n_seen = torch.zeros(len(mine), device=batches.x.device)[slice(None) if several else 0], 0
    for step, (inputs, labels, *noise) in enumerate(batches.of(members)):
        batch = (inputs, labels, smoothing if several else smoothing[0], *noise)
        losses, minimised = losses_of(leaves, parts["stats"], batch)
        minimised.sum().backward()
        for which, stepper in steppers:
            gradients = {name: w.grad[which] for name, w in leaves.items() if w.grad is not None}
            stepper.step(gradients, epoch + step / len(batches))
        for w in leaves.values():
            w.grad = None
        total, n_seen = total + losses.detach() * labels.shape[-1], n_seen + labels.shape[-1]
    if at is members and several:
        for part, tensors in parts.items():
            for name, w in tensors.items():
                getattr(state, part)[name][members] = w.detach()
    return (total / n_seen).float()


def _cross_entropy(logits: Tensor, labels: Tensor, smoothing: Tensor) -> Tensor:
    """Return the mean cross-entropy with labels smoothed by as much as a tensor says, which may be one of a batch."""
    log_p = logits.log_softmax(-1)
    return (1 - smoothing) * F.nll_loss(log_p, labels) - smoothing * log_p.mean()


def _steppers(
    parts: dict[str, dict[str, Tensor]], steps: int, constraint: Constraint, recipes: Sequence[Recipe], several: bool
) -> list[tuple[int | EllipsisType, "_Stepper"]]:
    """Return what updates the members and which of them: one for all if they share a recipe, else one for each."""
    alike = len({(recipe.lr, recipe.weight_decay, recipe.schedule) for recipe in recipes}) == 1
    places = [...] if alike else range(len(recipes))
    return [
        (
            at,
            _Stepper(
                {part: {name: w.detach()[at] for name, w in parts[part].items()} for part in PARTS},
                steps,
                constraint,
                recipe,
                stacked=several and alike,
            ),
        )
        for at, recipe in zip(places, recipes, strict=False)
    ]


class _Stepper:
    """Fused AdamW on views into the state, followed by the constraint.

    AdamW pulls weights towards 0; adding lr * decay * F turns that into a pull towards F, and pinned entries
    are put back last. This equals AdamW on the free weights of the parametrization to rounding.
    """

    def __init__(
        self,
        parts: dict[str, dict[str, Tensor]],
        steps: int,
        constraint: Constraint,
        recipe: Recipe,
        stacked: bool,
    ) -> None:
        self.params, self.recipe = parts["params"], recipe
        self.optimiser = torch.optim.AdamW(self.params.values(), weight_decay=recipe.weight_decay, fused=True)
        for name, w in self.params.items():
            self.optimiser.state[w] = {
                "step": torch.tensor(float(steps), device=w.device),
                "exp_avg": parts["exp_avg"][name],
                "exp_avg_sq": parts["exp_avg_sq"][name],
            }
        self.pull = [(self.params[name], F) for name, F in constraint.pull.items()] if recipe.weight_decay else []
        self.pinned = [
            (flat := self.params[name].flatten(int(stacked)), index, value.expand(*flat.shape[:-1], -1))
            for name, (index, value) in constraint.pinned.items()
        ]

    @torch.no_grad()
    def step(self, gradients: dict[str, Tensor], epoch: float) -> None:
        """Take one step with the rate of a (fractional) epoch."""
        rate = self.recipe.lr * self.recipe.schedule(epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        for name, w in self.params.items():
            w.grad = gradients.get(name)
        self.optimiser.step()
        for weight, anchor in self.pull:
            weight.add_(anchor, alpha=rate * self.recipe.weight_decay)
        for weight, index, value in self.pinned:
            weight.index_copy_(-1, index, value)


def _owner(
    population: Population,
    recipes: Sequence[Recipe],
    order_seeds: Sequence[int],
    data: dict[str, Tensor],
    objective: Objective,
) -> str:
    """Name the run a checkpoint belongs to by all that determines its weights, the number of epochs apart."""
    moments = [half / 2 for half in range(2000)]  # more epochs than anything here trains
    settings = [
        [
            [recipe.lr * recipe.schedule(epoch) for epoch in moments],
            *(recipe.batch_size, recipe.weight_decay, recipe.label_smoothing, recipe.drop_last),
            repr(recipe.augmentation),
        ]
        for recipe in recipes
    ]
    settings += [list(order_seeds), population.constraint.fingerprint]
    key = json.dumps([settings, repr(objective), repr(population.model), tensor_hash(population.tensors, data)])
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
