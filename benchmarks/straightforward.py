"""The program one would write first, for the benchmarks to compare with: item by item, one network at a time.

A DataLoader over torchvision items, a layer that masks its weight in every forward pass as the papers define it,
AdamW as it comes, and a state dictionary per point of a line.
"""

import time

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Subset

from symlib.asymmetry import Constraint, constraint
from symlib.data.images import MNIST_MEAN, MNIST_STD, data_folder
from symlib.data.torchvision_import import torchvision
from symlib.networks.mlp import MLP
from symlib.presets import LIM_MNIST

WIDTHS = (784, 512, 512, 512, 10)


class MaskedLinear(nn.Module):
    """y = (M * W + (1 - M) * constants) x + b."""

    def __init__(self, linear: nn.Linear, mask: torch.Tensor, fixed: torch.Tensor) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.register_buffer("mask", mask.float())
        self.register_buffer("fixed", fixed)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the layer."""
        return F.linear(x, self.mask * self.weight + (1 - self.mask) * self.fixed, self.bias)


def masked_network(fixed: Constraint) -> nn.Module:
    """Return an MLP whose linear layers are masked."""
    model = MLP(WIDTHS)
    for i, linear in enumerate(model.linears):
        name = f"linears.{i}.weight"
        model.linears[i] = MaskedLinear(linear, fixed.D[name], fixed.F[name])
    return model


def items(train: bool):
    """Return MNIST as a data set of images that are converted one at a time."""
    datasets, transforms = torchvision("datasets"), torchvision("transforms")
    convert = transforms.Compose([transforms.ToTensor(), transforms.Normalize((MNIST_MEAN,), (MNIST_STD,))])
    return datasets.MNIST(data_folder(), train=train, download=False, transform=convert)


def train_seconds(n_images: int) -> float:
    """Train one W-asymmetric network on so many images and return the seconds it took."""
    model = masked_network(constraint(MLP(WIDTHS), LIM_MNIST, 0))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.03)
    loader = DataLoader(Subset(items(train=True), range(n_images)), batch_size=64, shuffle=True)
    started = time.perf_counter()
    for x, y in loader:
        optimiser.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimiser.step()
    return time.perf_counter() - started


@torch.no_grad()
def curve_seconds(n_points: int) -> float:
    """Evaluate the points of a line on the test set one after another and return the seconds it took."""
    one, other, between = MLP(WIDTHS), MLP(WIDTHS), MLP(WIDTHS)
    loader = DataLoader(items(train=False), batch_size=64)
    started = time.perf_counter()
    for i in range(n_points):
        alpha = i / (n_points - 1)
        ends = one.state_dict(), other.state_dict()
        between.load_state_dict({k: (1 - alpha) * w + alpha * ends[1][k] for k, w in ends[0].items()})
        total = sum(F.cross_entropy(between(x), y, reduction="sum").item() for x, y in loader)
        assert total > 0
    return time.perf_counter() - started
