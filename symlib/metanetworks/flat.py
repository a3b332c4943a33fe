"""Metanetworks on a vector of all trainable entries: an MLP, a 1-D convolutional network, and a set of scalars.

Source: Lim et al. (2024), section 5.3, appendix F.3.2 and their code.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from symlib.population import Population

HIDDEN = 64
CHANNELS = (2, 4, 8, 16, 32, 64, 64, 64, 64, 64)  # of the convolutions, kernel 5
HALVED_AFTER = (0, 1, 2, 3, 4, 5, 7, 9)  # convolutions that a max-pooling follows
FEWEST = 2_044  # entries that leave a position after the last of them
AT_ONCE = 2**15  # scalars whose features are held in memory together


def trainable_entries(population: Population) -> Tensor:
    """Return the trainable entries of every network, tensor by tensor, shape (M, entries)."""
    D = population.constraint.D
    parts = [w.flatten(1) for w in population.params.values()]
    kept = [D[name].flatten() if name in D else slice(None) for name in population.params]
    return torch.cat([part[:, mask] for part, mask in zip(parts, kept, strict=True)], dim=1)


def scored(width: int) -> nn.Sequential:
    """Return a hidden layer and the read-out of a score."""
    return nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, 1))


class FlatMLP(nn.Module):
    """One hidden layer on all entries; blind to the symmetries of the networks it looks at.

    Args:
        n_entries: Of a network.
    """

    def __init__(self, n_entries: int) -> None:
        super().__init__()
        self.n_entries = n_entries
        self.layers = nn.Sequential(nn.Linear(n_entries, HIDDEN), nn.ReLU(), nn.LayerNorm(HIDDEN), nn.Linear(HIDDEN, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map entries of shape (networks, entries) to scores of shape (networks,)."""
        if x.shape[1] != self.n_entries:
            raise ValueError(
                f"this metanetwork was made for networks of {self.n_entries:,} trainable entries, got {x.shape[1]:,}: "
                "make one for this architecture"
            )
        return self.layers(x)[:, 0]


class DMC(nn.Module):
    """Ten 1-D convolutions along the vector, then a mean over positions; any number of entries from `FEWEST` on.

    They are convolutions on images one pixel high, because those can keep channels last, which is faster.

    Source: a variant of Eilertsen et al. (2020).
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, (into, out) in enumerate(zip((1, *CHANNELS), CHANNELS, strict=False)):
            layers += [nn.Conv2d(into, out, (1, 5)), nn.ReLU(), nn.BatchNorm2d(out)]
            layers += [nn.MaxPool2d((1, 2))] if i in HALVED_AFTER else []
        self.convolutions = nn.Sequential(*layers).to(memory_format=torch.channels_last)
        self.each = nn.Sequential(nn.Linear(HIDDEN, HIDDEN), nn.LayerNorm(HIDDEN), nn.ReLU())
        self.together = scored(HIDDEN)

    def forward(self, x: Tensor) -> Tensor:
        """Map entries of shape (networks, entries) to scores of shape (networks,)."""
        if x.shape[1] < FEWEST:
            raise ValueError(f"its convolutions need networks of {FEWEST:,} entries or more, got {x.shape[1]:,}")
        image = x[:, None, None].contiguous(memory_format=torch.channels_last)
        positions = self.convolutions(image)[:, :, 0].mT
        return self.together(self.each(positions).mean(dim=1))[:, 0]


class DeepSets(nn.Module):
    """A mean over what a small network makes of every single entry; no order of entries matters."""

    def __init__(self) -> None:
        super().__init__()
        self.each = nn.Sequential(nn.Linear(1, HIDDEN), nn.LayerNorm(HIDDEN), nn.ReLU())
        hidden = [nn.Linear(HIDDEN, HIDDEN), nn.LayerNorm(HIDDEN), nn.ReLU()]
        self.together = nn.Sequential(*hidden, *scored(HIDDEN))

    def forward(self, x: Tensor) -> Tensor:
        """Map entries of shape (networks, entries) to scores of shape (networks,).

        Features of some entries at a time, and again when gradients need them: 64 floats of every entry of every
        network would not stay in a cache, and moving them takes six times as long as computing them twice.
        """
        parts = x.split(max(1, AT_ONCE // len(x)), dim=1)
        total = sum(checkpoint(self._summed, part, use_reentrant=False) for part in parts)
        return self.together(total / x.shape[1])[:, 0]

    def _summed(self, x: Tensor) -> Tensor:
        """Return the sum of `each` over entries, shape (networks, HIDDEN), without layer normalisation's passes.

        What is normalised is affine in a scalar x, so its mean is affine too and its variance a quadratic.
        """
        affine, norm, _ = self.each
        slope, offset = (v - v.mean() for v in (affine.weight[:, 0], affine.bias))
        variance = slope.square().mean() * x**2 + 2 * (slope * offset).mean() * x + offset.square().mean()
        scale = (variance + norm.eps).rsqrt()
        weight = torch.stack([slope, offset], dim=1) * norm.weight[:, None]
        return F.linear(torch.stack([x * scale, scale], dim=-1), weight, norm.bias).relu().sum(dim=1)
