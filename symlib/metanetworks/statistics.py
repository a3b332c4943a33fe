"""A metanetwork on seven statistics of every tensor, which no reordering of neurons changes.

Source: Unterthiner et al. (2020); Lim et al. (2024), appendix F.3.2.
"""

import torch
from torch import Tensor, nn

from symlib.population import Population

QUANTILES = (0.25, 0.5, 0.75)
N_STATISTICS = 4 + len(QUANTILES)
WIDTH = 256


def tensor_statistics(population: Population) -> Tensor:
    """Return mean, unbiased variance, minimum, maximum and quartiles of the trainable entries of every tensor.

    A tensor without any has zeros.

    Returns:
        Shape (M, 7 times tensors).
    """
    D = population.constraint.D
    kept = ((w.flatten(1), D[name].flatten() if name in D else None) for name, w in population.params.items())
    return torch.cat([_statistics(w if mask is None else w[:, mask]) for w, mask in kept], dim=1)


def _statistics(entries: Tensor) -> Tensor:
    if not entries.shape[1]:
        return entries.new_zeros(len(entries), N_STATISTICS)
    quartiles = entries.quantile(entries.new_tensor(QUANTILES), dim=1).T
    sums = [entries.mean(1), entries.var(1), entries.amin(1), entries.amax(1)]
    return torch.cat([torch.stack(sums, dim=1), quartiles], dim=1)


class StatNN(nn.Module):
    """Two hidden layers on the statistics of all tensors.

    Args:
        n_statistics: Of a network, 7 times its tensors.
    """

    def __init__(self, n_statistics: int) -> None:
        super().__init__()
        self.n_statistics = n_statistics
        self.layers = nn.Sequential(
            *(nn.Linear(n_statistics, WIDTH), nn.ReLU(), nn.LayerNorm(WIDTH)),
            *(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.LayerNorm(WIDTH)),
            nn.Linear(WIDTH, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map statistics of shape (networks, statistics) to scores of shape (networks,)."""
        if x.shape[1] != self.n_statistics:
            raise ValueError(
                f"this metanetwork was made for {self.n_statistics} statistics of a network, got {x.shape[1]}: "
                "make one for this architecture"
            )
        return self.layers(x)[:, 0]
