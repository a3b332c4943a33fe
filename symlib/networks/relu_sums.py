"""Sums of masked ReLU neurons, f(x) = sum_i relu(w_i . x + b_i): many networks at once, with gradients written out.

Inputs are x = U z with few latent coordinates z, so that a network acts through U^T w_i alone and is run on latents.
Classifiers are trained by `symlib.training`; this is the regression of one experiment.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from symlib.seeds import generator

INIT_STD = 0.05
# Activations that are formed at once. 5 networks of 128 neurons on 512 inputs stay in the cache; 20 of them together
# take 1.4 times as long (benchmarks/synthetic_coherence.py).
ACTIVATIONS_PER_PASS = 5 * 128 * 512


@dataclass(frozen=True)
class ReluSums:
    """M networks of one shape; neurons are columns, which makes every product run along memory."""

    weight: Tensor  # 0 where masked, shape (M, inputs, neurons)
    bias: Tensor  # shape (M, neurons)

    def on(self, U: Tensor) -> Tensor:
        """Return what the neurons do to the latents and to 1, shape (M, latents + 1, neurons)."""
        return torch.cat([U.T @ self.weight, self.bias[:, None]], dim=1)


@dataclass(frozen=True)
class Descent:
    """AdamW on mean squared error; biases do not decay."""

    lr: float
    weight_decay: float
    batch_size: int


def random_mask(n_inputs: int, n_neurons: int, share: float, mask_seed: int) -> Tensor:
    """Draw which weights there are, each with probability `share`: shape (inputs, neurons), bool."""
    return torch.rand(n_inputs, n_neurons, generator=generator(mask_seed, "mask")) < share


def initialise(mask: Tensor, init_seeds: Sequence[int]) -> ReluSums:
    """Draw one network per seed: weights N(0, 0.05^2) where the mask is True, biases 0; float32.

    Source: Bürgin et al. (2026), synthetic coherence experiment.
    """
    drawn = torch.stack([torch.randn(mask.shape, generator=generator(seed, "init")) for seed in init_seeds])
    return ReluSums(INIT_STD * mask * drawn, torch.zeros(len(drawn), mask.shape[1]))


def outputs(networks: ReluSums, U: Tensor, z: Tensor) -> Tensor:
    """Run every network on x = U z.

    Args:
        networks: M networks.
        U: Where inputs lie, shape (inputs, latents).
        z: Latents, shape (n, latents).

    Returns:
        Shape (M, n).
    """
    points = _with_ones(z)
    parts = networks.on(U).split(_at_once(networks.bias.shape[1] * len(z)))
    return torch.cat([(points @ part).clamp_(min=0).sum(dim=2) for part in parts])


def train(
    start: ReluSums,
    mask: Tensor,
    U: Tensor,
    z: Tensor,
    y: Tensor,
    orders: Tensor,
    descent: Descent,
    on_epoch: Callable[[], None] = lambda: None,
) -> ReluSums:
    """Train every network; each ends as it would if trained alone.

    Args:
        start: M networks; left untouched.
        mask: True where there is a weight, shape (inputs, neurons).
        U: Where inputs lie, x = U z, shape (inputs, latents).
        z: Training latents, shape (n, latents).
        y: Targets, shape (n,).
        orders: Rows of z in the order in which each network sees them, shape (M, epochs, n), int64.
        descent: Optimiser settings.
        on_epoch: Called after each epoch.
    """
    weight, bias = start.weight.clone(), start.bias.clone()
    groups = [{"params": [weight], "weight_decay": descent.weight_decay}, {"params": [bias], "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=descent.lr, fused=True)
    networks, rows, at_once = ReluSums(weight, bias), _with_ones(z).T, _at_once(mask.shape[1] * descent.batch_size)
    for epoch in range(orders.shape[1]):
        for order in orders[:, epoch].split(descent.batch_size, dim=1):
            points = rows.index_select(1, order.flatten()).view(len(rows), *order.shape).transpose(0, 1)
            parts = zip(*(t.split(at_once) for t in (networks.on(U), points, y.take(order))), strict=True)
            slopes = torch.cat([gradients(*part) for part in parts])
            weight.grad, bias.grad = mask * (U @ slopes[:, :-1]), slopes[:, -1].contiguous()
            optimiser.step()
        on_epoch()
    return networks


def gradients(neurons: Tensor, points: Tensor, targets: Tensor) -> Tensor:
    """Return the gradient of each network's mean squared error with respect to `neurons`.

    Args:
        neurons: What they do to latents and to 1, shape (M, latents + 1, neurons).
        points: Latents and a row of ones, shape (M, latents + 1, n).
        targets: Shape (M, n).
    """
    # relu(p) = active * p and p is linear in the points, so forward and backward are products with one 0/1 matrix.
    active = torch.bmm(neurons.mT, points).gt_(0)
    error = (torch.bmm(neurons, active) * points).sum(dim=1) - targets
    return torch.bmm(2 / points.shape[2] * error[:, None] * points, active.mT)


def _with_ones(z: Tensor) -> Tensor:
    return torch.cat([z, z.new_ones(len(z), 1)], dim=1)


def _at_once(n_activations: int) -> int:
    """Return how many networks are run at once, each with so many activations."""
    return max(1, ACTIVATIONS_PER_PASS // n_activations)
