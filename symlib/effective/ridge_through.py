"""Realization costs by ridge regression through the activation, for all pairs of a layer, by a batched descent.

For neurons with GELU whose norm treats each on its own: BatchNorm in evaluation mode, or none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from symlib.effective.ridge import RidgeCosts, check
from symlib.effective.ridge_pairs import Pairs, solve
from symlib.effective.subspace import Moments
from symlib.networks.mlp import MLP

ROUNDING = 1e-13  # of the largest variance; directions below carry nothing but rounding
NEGLIGIBLE = 1e-8  # of the smallest ridge; directions of less variance would never be used
CHUNK = 2_000_000  # activations held at a time: 0.1 GB for all that is computed from them


@dataclass(frozen=True)
class Neurons:
    """Neurons as they work in evaluation mode: GELU(scale * (W x) + shift)."""

    W: Tensor  # effective weights, shape (m, d)
    scale: Tensor  # shape (m,)
    shift: Tensor  # shape (m,)


def trained_neurons(model: MLP, tensors: dict[str, Tensor], layer: int) -> Neurons:
    """Return the neurons of a hidden layer with what BatchNorm does to them in evaluation mode.

    Args:
        model: The architecture.
        tensors: Effective weights and statistics of one network.
        layer: Index of the hidden layer.

    Raises:
        ValueError: If there is no such hidden layer, its norm is LayerNorm, or its activation is not GELU.
    """
    if not 0 <= layer < len(model.norms):
        raise ValueError(
            f"the network has hidden layers 0 to {len(model.norms) - 1}, got {layer}; the read-out has no activation: "
            "ridge_costs gives its costs in closed form"
        )
    norm, activation = model.norms[layer], model.activations[layer]
    if isinstance(norm, nn.LayerNorm):
        raise ValueError(
            f"layer {layer} is normalised by LayerNorm, which makes a neuron's activation depend on all others: train "
            "with BatchNorm or without a norm, or take ridge_costs of the pre-activations"
        )
    if not isinstance(activation, nn.GELU) or activation.approximate != "none":
        raise ValueError(f"the activation of layer {layer} must be the exact GELU, got {activation}")
    W, bias = tensors[f"linears.{layer}.weight"], tensors[f"linears.{layer}.bias"]
    if isinstance(norm, nn.Identity):
        return Neurons(W, torch.ones_like(bias), bias)
    mean, variance = tensors[f"norms.{layer}.running_mean"], tensors[f"norms.{layer}.running_var"]
    scale = tensors[f"norms.{layer}.weight"] / (variance + norm.eps).sqrt()
    return Neurons(W, scale, tensors[f"norms.{layer}.bias"] + scale * (bias - mean))


def ridge_costs_through(neurons: Neurons, D: Tensor, F: Tensor, inputs: Tensor, betas: Sequence[float]) -> RidgeCosts:
    """Return what neuron i pays to come close to the activation of neuron j, for all pairs and ridges.

    Minimises mean_x (h_j(x) - GELU(scale_i (f_i + d_i * w).x + b))^2 / beta + ||w||^2 over w and a free bias b, where
    h_j is what neuron j computes. This can have several minima, of which the lowest is not promised: descents start
    from the solution for pre-activations, from the trained weights, from a silent neuron, and from the minimum at the
    next larger ridge, and the lowest end counts.

    Args:
        neurons: Of one layer, m in number; each both realises and is realised.
        D: True where they are trainable, shape (m, d), bool.
        F: Their fixed weights, shape (m, d).
        inputs: Of the layer, recorded in evaluation mode, shape (n, d).
        betas: Ridges, positive.

    Raises:
        ValueError: As `ridge_costs` does, and if the inputs are not finite or so few that any function can be fitted.
        ArithmeticError: If a descent stopped where it could still lower its objective by 1e-8 of it.

    Source: Bürgin et al. (2026), ridge estimate of the realization cost; their code takes 3,000 steps of AdamW per
    pair. Unlike there, BatchNorm has its trained statistics, and row i realises.
    """
    check(neurons.W, D, F, inputs.shape[1], betas)
    layer = _Layer(neurons, D, F, inputs)
    falling = sorted(range(len(betas)), key=lambda b: -betas[b])
    ridges = torch.tensor([betas[b] for b in falling], dtype=torch.float64)
    cost = torch.empty(len(betas), len(D), len(D), dtype=torch.float64)
    objective = torch.empty_like(cost)
    per_chunk = max(1, CHUNK // (len(inputs) * len(betas)))
    for i in range(len(D)):
        for sources in torch.arange(len(D)).split(per_chunk):
            found, value = solve(*layer.pairs(i, sources, ridges), layer.floor)
            shape = len(betas), len(sources)
            cost[falling, i, sources[0] : sources[-1] + 1] = found[:-1].square().sum(0).view(shape)
            objective[falling, i, sources[0] : sources[-1] + 1] = value.view(shape)
    return RidgeCosts(cost, objective)


class _Layer:
    """A layer in coordinates in which its inputs have mean 0 and covariance 1."""

    def __init__(self, neurons: Neurons, D: Tensor, F: Tensor, inputs: Tensor) -> None:
        W, self.scale, shift, F, x = (
            part.detach().cpu().double() for part in (neurons.W, neurons.scale, neurons.shift, F, inputs)
        )
        if not (x.isfinite().all() and self.scale.isfinite().all() and shift.isfinite().all()):
            raise ValueError("inputs, scales and shifts must be finite, got NaN or infinity: train the network anew")
        moments = Moments()
        moments.add(x)
        self.root, white = _root(moments.covariance)
        if not 0 < len(self.root) < len(x) - 1:
            raise ValueError(
                f"{len(x)} inputs span {len(self.root)} directions around their mean: they must vary, and be so many "
                "more that not every function fits them"
            )
        self.D, self.W, self.samples = D.cpu(), W, (x - moments.mean) @ white
        self.levels = self.scale * (W @ moments.mean) + shift  # mean pre-activations
        self.functions, self.fixed = self.root @ (self.scale * W.T), self.root @ F.T
        # What counts as nothing: the objective of realising a neuron that never fires goes to 0, and no step would
        # be small beside it.
        self.floor = 1e-6 * float((D.cpu() * W).square().sum(1).max())

    def pairs(self, i: int, sources: Tensor, betas: Tensor) -> tuple[Pairs, Tensor, Tensor]:
        """Return the problems of one realizer, and two starts: for pre-activations, and as it was trained."""
        s, mask = self.scale[i], self.D[i]
        stretch, directions = _spectrum(self.root, mask)
        used = s**2 * stretch > NEGLIGIBLE * betas.min()
        # Weights are w = B_i^T V / sqrt(L) a, so that ||w|| = ||a|| and columns of the design are uncorrelated.
        axes = directions[:, used] * stretch[used].sqrt()
        targets = self.functions[:, sources] - s * self.fixed[:, [i]]
        pairs = Pairs(
            design=s * self.samples @ axes,
            offset=s * self.samples @ self.fixed[:, i],
            activations=nn.functional.gelu(self.samples @ self.functions[:, sources] + self.levels[sources]),
            variances=s**2 * stretch[used],
            betas=betas,
        )
        trained = axes.T @ (self.root[:, mask] @ self.W[i, mask]) / stretch[used]
        return pairs, pairs.linear(s * axes.T @ targets, self.levels[sources]), torch.cat([trained, self.levels[[i]]])


def _root(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Return B with C = B^T B, shape (r, d), and the matrix that turns inputs into samples of covariance 1."""
    variances, axes = torch.linalg.eigh(covariance)
    carried = variances > ROUNDING * variances[-1]
    deviations, axes = variances[carried].sqrt(), axes[:, carried]
    return deviations[:, None] * axes.T, axes / deviations


def _spectrum(root: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return the eigenvalues of B_i B_i^T, where B_i holds the trainable columns, and the eigenvectors as columns."""
    trainable = root[:, mask]
    stretch, directions = torch.linalg.eigh(trainable @ trainable.T)
    return torch.where(stretch > ROUNDING * stretch[-1:], stretch, 0), directions
