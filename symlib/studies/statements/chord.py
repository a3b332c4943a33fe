"""How far a layer leaves its chord between two settings of its weights, and what that says of the loss in between."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from symlib.effective.chord import chord_deviation, fixed_size
from symlib.studies.statements.layers import N_NEURONS, Rows, normal, random_subspace, slopes

BETAS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
SMALL_BETAS = 5  # the first so many show the power law
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "gelu": F.gelu,
    "step": lambda z: (z > 0).to(z),
}
POWERS = {"relu": 1.5, "gelu": 2.0, "step": 0.5, "relu, unseen inputs": 1.0}
UNSEEN = 0.9  # share of the inputs on which the fixed weights vanish, where that assumption is dropped
N_FITTED = 24  # inputs, few enough for one read-out to fit both ends
# From an independent program with random draws of its own, for ReLU.
REFERENCE = dict(zip(BETAS, (1.9e-4, 5.7e-4, 2.1e-3, 5.9e-3, 1.6e-2, 6.6e-2, 0.17, 0.40), strict=True))
REFERENCE_SLOPE = 1.48
LAMBDAS = torch.linspace(0, 1, 11)


def rows(source: torch.Generator) -> Rows:
    """Return the largest chord deviation of a layer over the line, relative to its fixed part.

    Also where most inputs are unseen by the fixed weights. Then the barrier of a loss of a fixed linear read-out, as a
    share of what the deviation allows; and that of a loss that is not convex, of a layer that has no deviation.
    """
    plane = random_subspace(16, source, d=N_NEURONS)
    z = normal(2000, 16, source=source)
    x = z @ plane.basis.T
    fixed, a, b = normal(3, N_NEURONS, N_NEURONS, source=source)
    # The constants do not read the first direction, the only one in which most of the inputs extend.
    along = plane.basis[:, :1]
    blind, unseen = fixed - fixed @ along @ along.T, z.clone()
    unseen[: round(UNSEEN * len(z)), 1:] = 0
    settings = [(name, fixed, x, eta) for name, eta in ACTIVATIONS.items()]
    settings.append(("relu, unseen inputs", blind, unseen @ plane.basis.T, torch.relu))
    found = [
        (name, beta, float(chord_deviation(F_ + beta * a, F_ + beta * b, inputs, eta, LAMBDAS).max()) / float(size))
        for name, F_, inputs, eta in settings
        for size in [fixed_size(F_, inputs)]
        for beta in BETAS
    ]
    few, target = x[:N_FITTED], normal(N_FITTED, source=source)
    found += [("barrier/share", beta, barrier_share(fixed + beta * a, fixed + beta * b, few, target)) for beta in BETAS]
    return [*found, ("barrier/not convex", 0.0, bumpy_barrier(a, b, x))]


def barrier_share(a: Tensor, b: Tensor, x: Tensor, target: Tensor) -> float:
    """Return the barrier of the mean absolute error, divided by the most that the chord deviation allows.

    The read-out fits the targets at both ends. The loss is convex in what the layer computes, and Lipschitz with the
    norm of the read-out, so the barrier is at most this norm times the deviation.
    """
    features = torch.relu(F.linear(x, torch.stack([a, b]).flatten(0, 1))).unflatten(1, (2, -1)).transpose(0, 1)
    readout = torch.linalg.lstsq(features.flatten(0, 1), target.repeat(2)[:, None]).solution.squeeze(1)

    def loss(W: Tensor) -> Tensor:
        return (torch.relu(F.linear(x, W)) @ readout - target).abs().mean()

    return float(_barrier(loss, a, b) / (readout.norm() * chord_deviation(a, b, x, torch.relu, LAMBDAS).max()))


def bumpy_barrier(a: Tensor, b: Tensor, x: Tensor) -> float:
    """Return the barrier of a bounded, hence not convex, loss of a linear layer, which never leaves its chord.

    Both ends are right, each about its own half of the inputs.
    """
    target = F.linear(x, a)
    target[::2] = F.linear(x[::2], b)
    return float(_barrier(lambda W: torch.tanh((F.linear(x, W) - target).square().mean(1)).mean(), a, b))


def _barrier(loss: Callable[[Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
    lambdas = LAMBDAS.to(a)
    losses = torch.stack([loss(torch.lerp(a, b, lam)) for lam in lambdas])
    return (losses - torch.lerp(losses[0], losses[-1], lambdas)).max()


def quantities(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return powers of the trainable part, "slope/chord/relu", beside those of the theory, and the barriers."""
    found = {
        "barrier/share": table["barrier/share"].max(axis=1).to_numpy(),
        "barrier/not convex": table["barrier/not convex", 0.0].to_numpy(),
    }
    for name, power in POWERS.items():
        found[f"slope/chord/{name}"] = slopes(table[name].iloc[:, :SMALL_BETAS])
        found[f"power/chord/{name}"] = np.full(len(table), power)
    return found
