"""Batched L-BFGS: many smooth problems of one shape at once, each with a step and a history of its own.

Good where a diagonal comes close to the Hessian, which is for the caller to see to by its choice of coordinates.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# Maps points (dims, p) and the indices of the p problems they belong to, to values (p,) and gradients (dims, p).
Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

HISTORY = 8  # steps that the Hessian is estimated from
SUFFICIENT = 1e-4  # share of the decrease that the slope promises which a step must bring
SHORTEST = 1e-4  # a problem is given up when its step has been cut to this
DROPPED_FROM = 0.2  # share of finished problems at which they are dropped from the batch
NEAR, ALIKE, REACH = (
    0.3,
    0.02,
    30,
)  # when a descent is taken to end no lower than a known minimum, see `_Batch.beaten_by`


@dataclass(frozen=True)
class Minimum:
    """Where the problems of a batch came to rest."""

    at: Tensor  # shape (dims, p)
    value: Tensor  # shape (p,)
    remaining: Tensor  # decrease that another step promises, relative to the value, shape (p,)
    evaluations: float  # of the objective, mean over the problems


@torch.no_grad()
def minimise(
    objective: Objective,
    start: Tensor,
    curvature: Tensor,
    tolerance: float,
    floor: float = 0.0,
    known: Minimum | None = None,
    max_evaluations: int = 300,
) -> Minimum:
    """Minimise functions that are nowhere negative, each from its own start.

    Args:
        objective: Returns values and gradients of some of the problems.
        start: Shape (dims, p); its precision is that of the computation.
        curvature: Positive estimate of the diagonal of each Hessian, shape (dims, p).
        tolerance: A problem is finished when the decrease that the next step promises is this small, relative to
            its value.
        floor: Value that counts as nothing; added wherever something is relative to the value.
        known: A minimum of each problem. A descent that will not end below it is left unfinished.
        max_evaluations: Of each problem.

    Returns:
        What was reached; `remaining` exceeds the tolerance where the steps or evaluations ran out.

    Source: Nocedal and Wright (2006), algorithms 7.4 and 7.5, with the inverse curvature as first estimate.
    """
    problems = torch.arange(start.shape[1], device=start.device)
    batch = _Batch(problems, start.clone(), *objective(start, problems), 1 / curvature, floor)
    batch.turn()
    at, value, remaining = start.clone(), batch.value.clone(), batch.remaining()
    evaluations = len(problems)
    for _ in range(max_evaluations):
        going = (batch.remaining() > tolerance) & (batch.step > SHORTEST)
        if known:
            going &= ~batch.beaten_by(known)
        if (~going).float().mean() >= DROPPED_FROM:
            batch = batch.only(going)
        if not len(batch.problems):
            break
        point = batch.x + batch.step * batch.direction
        batch.take(point, *objective(point, batch.problems))
        at[:, batch.problems], value[batch.problems] = batch.x, batch.value
        remaining[batch.problems] = batch.remaining()
        evaluations += len(batch.problems)
    return Minimum(at, value, remaining, evaluations / max(1, len(problems)))


@dataclass
class _Batch:
    """The problems that are still going on, each in its own column."""

    problems: Tensor
    x: Tensor
    value: Tensor
    gradient: Tensor
    first: Tensor  # diagonal estimate of the inverse Hessian
    floor: float

    def __post_init__(self) -> None:
        self.step = torch.ones_like(self.value)
        self.history: list[tuple[Tensor, Tensor, Tensor]] = []

    def turn(self) -> None:
        """Set out in the quasi-Newton direction."""
        q, weights = self.gradient.clone(), []
        for moved, change, inverse in reversed(self.history):
            weights.append(inverse * (moved * q).sum(0))
            q.addcmul_(weights[-1], change, value=-1)
        q.mul_(self.first)
        for moved, change, inverse in self.history:
            q.addcmul_(weights.pop() - inverse * (change * q).sum(0), moved)
        self.direction = q.neg_()
        self.slope = (self.direction * self.gradient).sum(0)

    def remaining(self) -> Tensor:
        """Return the decrease that the quadratic model promises, relative to the value."""
        return -self.slope / (2 * (self.value + self.floor)).clamp_min(torch.finfo(self.value.dtype).tiny)

    def beaten_by(self, known: Minimum) -> Tensor:
        """Say which problems are not going to end below a known minimum.

        Either they are in its basin, that is near and with one parabola through value and slope here and there, or
        they are higher by far more than the decrease that the next step promises.
        """
        bottom = known.value[self.problems]
        gap = self.value - bottom
        parabola = (self.gradient * (self.x - known.at[:, self.problems])).sum(0) / 2
        in_basin = (gap > 0) & (gap < NEAR * bottom) & ((gap - parabola).abs() < ALIKE * gap)
        return in_basin | (gap > REACH * self.remaining() * (self.value + self.floor))

    def take(self, point: Tensor, value: Tensor, gradient: Tensor) -> None:
        """Move the problems whose value fell enough and shorten the steps of the others."""
        promised = self.step * self.slope
        noise = 4 * torch.finfo(value.dtype).eps * self.value
        better = value <= self.value + SUFFICIENT * promised + noise
        moved, change = (torch.where(better, new - old, 0) for new, old in ((point, self.x), (gradient, self.gradient)))
        curved = (moved * change).sum(0)
        usable = curved > 1e-10 * (change.square() * self.first).sum(0)
        self.history = [*self.history[-HISTORY + 1 :], (moved, change, torch.where(usable, 1 / curved, 0))]
        parabola = -promised / (2 * (value - self.value - promised))
        shorter = self.step * parabola.nan_to_num(0.1).clamp(0.1, 0.5)
        self.step = torch.where(better, 1.0, shorter)
        self.x, self.value = torch.where(better, point, self.x), torch.where(better, value, self.value)
        self.gradient = torch.where(better, gradient, self.gradient)
        self.turn()

    def only(self, going: Tensor) -> "_Batch":
        """Return a batch of some of the problems."""
        x, gradient, first = (part[:, going] for part in (self.x, self.gradient, self.first))
        kept = _Batch(self.problems[going], x, self.value[going], gradient, first, self.floor)
        kept.step, kept.direction, kept.slope = self.step[going], self.direction[:, going], self.slope[going]
        kept.history = [(moved[:, going], change[:, going], inverse[going]) for moved, change, inverse in self.history]
        return kept
