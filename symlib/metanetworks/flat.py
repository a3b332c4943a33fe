"""Metanetworks on a vector of all trainable entries: an MLP, a 1-D convolutional network, and a set of scalars.

Source: Lim et al. (2024), section 5.3, appendix F.3.2 and their code.
"""

import torch
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

    Source: a variant of Eilertsen et al. (2020).
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, (into, out) in enumerate(zip((1, *CHANNELS), CHANNELS, strict=False)):
            layers += [nn.Conv1d(into, out, 5), nn.ReLU(), nn.BatchNorm1d(out)]
            layers += [nn.MaxPool1d(2)] if i in HALVED_AFTER else []
        self.convolutions = nn.Sequential(*layers)
        self.each = nn.Sequential(nn.Linear(HIDDEN, HIDDEN), nn.LayerNorm(HIDDEN), nn.ReLU())
        self.together = scored(HIDDEN)

    def forward(self, x: Tensor) -> Tensor:
        """Map entries of shape (networks, entries) to scores of shape (networks,)."""
        if x.shape[1] < FEWEST:
            raise ValueError(f"its convolutions need networks of {FEWEST:,} entries or more, got {x.shape[1]:,}")
        positions = self.convolutions(x[:, None]).mT
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
        return self.each(x[..., None]).sum(dim=1)
