"""The networks whose automorphisms are counted: how each is built, and its hidden widths as its definition gives them.

The widths are written down here on purpose and not read from a graph: the formula they give is what counts are compared
with.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import factorial, prod

import torch
from torch import Tensor, nn

from symlib.asymmetry import WAsymmetry
from symlib.networks.gnn import GNN
from symlib.networks.mlp import MLP
from symlib.networks.resnet import ResNet
from symlib.presets import LIM_GNN, LIM_MNIST, LIM_RESNET8, buergin_resnet, lim_resnet
from symlib.seeds import generator


@dataclass(frozen=True)
class Architecture:
    """One network to count.

    Attributes:
        build: Makes the module.
        x: Example inputs.
        widths: Hidden units that may be exchanged, group by group; summed tensors of a residual stream are one group.
        masks: sigma_F -> its W-asymmetry.
        nameless: Whether it is counted with nameless layers too: made of matrices, and small.
        wide: Too large for every day.
    """

    build: Callable[[], nn.Module]
    x: Tensor
    widths: tuple[int, ...]
    masks: Callable[[float], WAsymmetry]
    nameless: bool = False
    wide: bool = False

    @property
    def expected(self) -> int:
        """The number of automorphisms without any intervention: a product of factorials."""
        return prod(map(factorial, self.widths))


class WithSkip(nn.Module):
    """A body beside the identity."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        """Return x + body(x)."""
        return x + self.body(x)


class DenseBlocks(nn.Module):
    """Every convolution reads the inputs and all channels made before it."""

    def __init__(self, growth: Sequence[int]) -> None:
        super().__init__()
        ins = [3 + sum(growth[:i]) for i in range(len(growth))]
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in zip(ins, growth, strict=True))
        self.linear = nn.Linear(3 + sum(growth), 10)

    def forward(self, x: Tensor) -> Tensor:
        """Map images of shape (batch, 3, height, width) to logits."""
        for conv in self.convs:
            x = torch.cat([x, conv(x).relu()], dim=1)
        return self.linear(x.mean((2, 3)))


def _inputs(*shape: int) -> Tensor:
    return torch.randn(2, *shape, generator=generator("inputs"))


def _mlp(widths: tuple[int, ...], norm: str = "none", masks: WAsymmetry | int = 1) -> Architecture:
    asymmetry = masks if isinstance(masks, WAsymmetry) else WAsymmetry(masks, 0.0)
    return Architecture(
        lambda: MLP(widths, norm=norm),
        _inputs(widths[0]),
        widths[1:-1],
        lambda sigma_F: replace(asymmetry, sigma_F=sigma_F),
        nameless=sum(widths) < 500,
    )


def _net(
    build: Callable[[], nn.Module], shape: tuple[int, ...], widths: tuple[int, ...], n_fix: int = 4
) -> Architecture:
    return Architecture(build, _inputs(*shape), widths, lambda sigma_F: WAsymmetry(n_fix, sigma_F))


def _resnet(
    build: Callable[[], nn.Module], n: int, masks: Callable[[float], WAsymmetry], width: int = 1, wide: bool = False
) -> Architecture:
    stages = [width * channels for channels in (16, 32, 64)]
    # Per stage the stream, which all its blocks share, and one inner layer for each of n blocks.
    widths = tuple(channels for channels in stages for _ in range(n + 1))
    return Architecture(build, _inputs(3, 8, 8), widths, masks, wide=wide)


def _gnn(n_features: int, hidden: tuple[int, ...], n_classes: int, n_fix: int) -> Architecture:
    edges = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    features = torch.randn(3, n_features, generator=generator("features"))
    return Architecture(
        lambda: GNN(features, edges, hidden, n_classes),
        torch.arange(2),
        hidden,
        lambda sigma_F: replace(LIM_GNN, n_fix=n_fix, sigma_F=sigma_F),
    )


def _whole_filters(sigma_F: float) -> WAsymmetry:
    """Return the asymmetry of the ResNet-8; without constants its stem cannot be pinned and has no mask."""
    stem, *others = LIM_RESNET8.n_fix
    return replace(LIM_RESNET8, n_fix=(stem if sigma_F else 0, *others), sigma_F=sigma_F)


def _eightfold(sigma_F: float) -> WAsymmetry:
    """Return paper B's asymmetry, which pins the whole stem; without constants paper A's, which does not."""
    return lim_resnet(20, 3, sigma_F) if sigma_F else buergin_resnet(0.0)


ARCHITECTURES: dict[str, Architecture] = {
    "MLP 4-4-1": _mlp((4, 4, 1)),
    "MLP 5-5-4-2": _mlp((5, 5, 4, 2)),
    "MLP 16-16-16-4": _mlp((16, 16, 16, 4), masks=2),
    "MLP 20-24-16-5, BatchNorm": _mlp((20, 24, 16, 5), "batch", 3),
    "MLP 64-(32 x 8)-10, deep": _mlp((64, *[32] * 8, 10), "layer", LIM_MNIST.n_fix[0] // 8),
    "MLP 784-512-512-512-10": _mlp((784, 512, 512, 512, 10), "layer", LIM_MNIST),
    "Sequential, no biases": _net(
        lambda: nn.Sequential(
            nn.Linear(30, 20, bias=False), nn.ReLU(), nn.Linear(20, 12, bias=False), nn.ReLU(), nn.Linear(12, 5)
        ),
        (30,),
        (20, 12),
    ),
    "Sequential with skips": _net(
        lambda: nn.Sequential(
            nn.Linear(12, 16),
            WithSkip(nn.LayerNorm(16), nn.Linear(16, 24), nn.GELU(), nn.Linear(24, 16)),
            WithSkip(nn.ReLU(), nn.Linear(16, 16)),
            nn.Linear(16, 3),
        ),
        (12,),
        (16, 24),
    ),
    "CNN with flattening": _net(
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 12, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(12 * 16, 20),
            nn.ReLU(),
            nn.Linear(20, 10),
        ),
        (3, 8, 8),
        (8, 12, 20),
    ),
    "DenseNet-like CNN": _net(lambda: DenseBlocks((6, 8, 10)), (3, 8, 8), (6, 8, 10)),
    "GNN 12-24-24-4": _gnn(12, (24, 24), 4, 3),
    "GNN 128-256-256-256-40": _gnn(128, (256, 256, 256), 40, LIM_GNN.n_fix),
    "ResNet-8": _resnet(lambda: ResNet(8), 1, lambda sigma_F: lim_resnet(8, sigma_F=sigma_F)),
    "ResNet-8, whole filters": _resnet(lambda: ResNet(8), 1, _whole_filters),
    "ResNet-20": _resnet(lambda: ResNet(20), 3, lambda sigma_F: lim_resnet(20, sigma_F=sigma_F)),
    "ResNet-20, BatchNorm": _resnet(
        lambda: ResNet(20, norm="batch"), 3, lambda sigma_F: lim_resnet(20, sigma_F=sigma_F)
    ),
    "ResNet-20, width 8": _resnet(lambda: ResNet(20, 8), 3, _eightfold, 8, wide=True),
}
