"""How far apart the function classes of neurons are: the Hausdorff distance of what they compute on given inputs.

A class depends on what is fixed in a neuron alone, so nothing is trained here; the supremum over a class is the largest
of the draws that the caller brings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor
from torch.nn.functional import gelu

from symlib.effective.descent import minimise
from symlib.effective.subspace import Moments

TOLERANCE = 1e-7  # of an objective through the activation, up to which it is minimised, in float32


def class_distances(draws: Tensor, D: Tensor, F: Tensor, moments: Moments, penalty: float) -> Tensor:
    """Return how far functions of neuron j are from the class of neuron i, before the activation, for all pairs.

    The distance of a function g from the class of neuron i is the mean of `(g(x) - (f_i + d_i * w).x - b)^2` over the
    inputs, taken at the w and b for which this mean plus `penalty * |w|^2` is smallest. Without a penalty a neuron
    without pinned entries comes to every function, however far away, and all standard and syre neurons would have one
    class.

    Args:
        draws: Effective weights drawn from the class of every neuron, shape (m, draws, d).
        D: True where neurons are trainable, shape (m, d), bool.
        F: Their fixed weights, shape (m, d).
        moments: Of the inputs of the layer.
        penalty: Of the squared norm of trainable weights, above 0.

    Returns:
        The largest distance over draws, shape (m, m), float64: row i realises, column j is drawn from. The Hausdorff
        distance of two classes is the larger of an entry and its mirror image.

    Raises:
        ValueError: If the shapes do not match, a weight is not finite, or the penalty is not positive.

    Source: Bürgin et al. (2026), a script from before the release: 100 draws, Adam with weight decay. Here the minimum
    is in closed form.
    """
    m, n_draws, d = draws.shape
    _check(draws, D, F, len(moments.mean), penalty)
    covariance, F = moments.covariance, F.double()
    B = torch.linalg.inv(covariance + penalty * torch.eye(d).to(covariance))
    # Were nothing pinned, the best weights would be linear in the target; multipliers bring pinned entries back to 0.
    x, ridge = draws.double().flatten(0, 1), covariance @ B
    x_free, F_free = x @ ridge, F @ ridge
    distances = covariance.new_empty(m, m)
    for i, pins in enumerate(~D):
        free = x_free - F_free[i]
        pull = torch.linalg.solve(B[pins][:, pins], free[:, pins].T).T
        norms = (free - pull @ B[pins]).square().sum(1)
        smallest = penalty * ((x - F[i]) * free).sum(1) + (free[:, pins] * pull).sum(1)
        distances[i] = (smallest - penalty * norms).view(m, n_draws).amax(1)
    return distances


def distances_through(draws: Tensor, shifts: Tensor, D: Tensor, F: Tensor, inputs: Tensor, penalty: float) -> Tensor:
    """Return how far functions GELU(w.x + shift) are from the class of one neuron each, by descent.

    Distances are as in `class_distances`, but of what comes out of the activation. The objective may have other minima,
    such as a neuron that is never active; the descent starts at the solution before the activation.

    Args:
        draws: Effective weights of the functions that neuron i is to come close to, shape (m, draws, d).
        shifts: Their biases, shape (m, draws).
        D: True where neuron i is trainable, shape (m, d), bool.
        F: Its fixed weights, shape (m, d).
        inputs: Of the layer, shape (n, d).
        penalty: Of the squared norm of trainable weights, above 0.

    Returns:
        The largest distance over draws for every neuron, shape (m,), float64.

    Raises:
        ValueError: If the shapes do not match, a weight is not finite, or the penalty is not positive.

    Source: Bürgin et al. (2026), a script from before the release.
    """
    _check(draws, D, F, inputs.shape[1], penalty)
    x = inputs.double()
    centred = x - x.mean(0)
    covariance = centred.T @ centred / len(x)
    distances = []
    for w, shift, mask, f in zip(draws.double(), shifts.double(), D, F.double(), strict=True):
        variances, axes = torch.linalg.eigh(covariance[mask][:, mask])
        goals, offset = gelu(x @ w.T + shift), (centred @ f)[:, None]
        design = centred[:, mask] @ axes
        # As if the activation let half of everything pass.
        weights = axes.T @ covariance[mask] @ (w - f).T / (variances + 2 * penalty)[:, None]
        start = torch.cat([weights, (w @ x.mean(0) + shift)[None]])
        problem = _Through(*(part.float() for part in (design, offset, goals)), penalty)
        curvature = torch.cat([variances + 2 * penalty, torch.ones(1).to(variances)])[:, None].expand(-1, len(w))
        found = minimise(problem.objective, start.float(), curvature.float(), TOLERANCE)
        distances.append((found.value - penalty * found.at[:-1].square().sum(0)).amax())
    return torch.stack(distances).double()


def distances_by_adam(
    draws: Tensor,
    shifts: Tensor,
    start: tuple[Tensor, Tensor],
    D: Tensor,
    F: Tensor,
    inputs: Tensor,
    penalty: float,
    lr: float,
    steps: Sequence[int],
) -> Tensor:
    """Return what Adam makes of the same distances if it is stopped after some steps, as in the script.

    Args:
        draws: As in `distances_through`.
        shifts: As there.
        start: Effective weights and biases that every neuron i sets out from, shapes (m, d) and (m,).
        D: As there.
        F: As there.
        inputs: As there.
        penalty: As there; Adam's weight decay is twice as large.
        lr: Learning rate.
        steps: When to look, rising.

    Returns:
        The largest distance over draws, shape (steps, m).

    Raises:
        ValueError: As `distances_through` does.

    Source: Bürgin et al. (2026), a script from before the release: up to 3,000 steps; its learning rate is not known.
    """
    _check(draws, D, F, inputs.shape[1], penalty)
    goals = gelu(torch.einsum("mtd,nd->mtn", draws, inputs) + shifts[..., None])
    weights = (start[0] - F)[:, None].repeat(1, draws.shape[1], 1).requires_grad_()
    bias = start[1][:, None].repeat(1, draws.shape[1]).requires_grad_()
    adam = torch.optim.Adam([{"params": weights, "weight_decay": 2 * penalty}, {"params": bias}], lr)
    seen = []
    for step in range(1, steps[-1] + 1):
        effective = F[:, None] + D[:, None] * weights
        z = torch.einsum("mtd,nd->mtn", effective, inputs) + bias[..., None]
        differences = (gelu(z) - goals).square().mean(-1)
        differences.sum().backward()
        adam.step()
        adam.zero_grad()
        if step in steps:
            seen.append(differences.detach().amax(1))
    return torch.stack(seen)


@dataclass(frozen=True)
class _Through:
    """Functions that one neuron is to come close to, and how its weights move what it puts out."""

    design: Tensor  # what a unit of each weight adds before the activation, shape (n, r)
    offset: Tensor  # what is fixed there, shape (n, 1)
    goals: Tensor  # shape (n, draws)
    penalty: float

    def objective(self, point: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        """Return values and gradients at weights and a bias in the last row, shape (r + 1, p)."""
        weights, z = point[:-1], self.design @ point[:-1] + self.offset + point[-1]
        passed = torch.special.ndtr(z)
        error = z * passed - self.goals[:, which]
        slope = error * (passed + z * torch.exp(-z.square() / 2) / (2 * pi) ** 0.5) * (2 / len(z))
        value = error.square().mean(0) + self.penalty * weights.square().sum(0)
        return value, torch.cat([self.design.T @ slope + 2 * self.penalty * weights, slope.sum(0, keepdim=True)])


def _check(draws: Tensor, D: Tensor, F: Tensor, n_inputs: int, penalty: float) -> None:
    m, _, d = draws.shape
    if not (m, d) == D.shape == F.shape or D.dtype != torch.bool:
        raise ValueError(
            f"draws of shape {tuple(draws.shape)} need boolean D and F of shape {(m, d)}, got {D.dtype} "
            f"{tuple(D.shape)} and {tuple(F.shape)}"
        )
    if d != n_inputs:
        raise ValueError(f"the weights read {d} inputs, but {n_inputs} were measured: take those of this layer")
    if not (draws.isfinite().all() and F.isfinite().all()):
        raise ValueError("weights must be finite, got NaN or infinity")
    if not 0 < penalty < float("inf"):
        raise ValueError(f"penalty must be positive, or every neuron comes to every function, got {penalty}")
