"""Residual networks for small images: ResNet-20, 32, 56 and 110, and the ResNet-8 of the classifier populations."""

from collections.abc import Callable
from itertools import count

import torch.nn.functional as F
from torch import Tensor, nn

from symlib.networks.mlp import Activation, relu

# With one group GroupNorm normalises over channels and positions together: what both papers call LayerNorm.
NORMS: dict[str, Callable[[int], nn.Module]] = {
    "layer": lambda channels: nn.GroupNorm(1, channels),
    "batch": nn.BatchNorm2d,
}


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut, which is a 1 x 1 convolution where the shape changes."""

    def __init__(self, into: int, out: int, stride: int, norm: str, activation: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(into, out, 3, stride, padding=1, bias=False)
        self.norm1 = NORMS[norm](out)
        self.activation1 = activation(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.norm2 = NORMS[norm](out)
        self.shortcut = nn.Sequential()
        if stride != 1 or into != out:
            self.shortcut = nn.Sequential(nn.Conv2d(into, out, 1, stride, bias=False), NORMS[norm](out))
        self.activation2 = activation(out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, into, height, width) to (batch, out, height / stride, width / stride)."""
        h = self.activation1(self.norm1(self.conv1(x)))
        return self.activation2(self.norm2(self.conv2(h)) + self.shortcut(x))


class ResNet(nn.Module):
    """CIFAR-style residual network: a stem, three stages of basic blocks, global average pooling, a linear read-out.

    Args:
        depth: 6 n + 2 for n blocks per stage; the papers use 8, 20 and 110.
        width: Multiplies the channels 16, 32 and 64 of the three stages; each product must be whole.
        n_classes: Outputs.
        norm: "layer" (GroupNorm with one group) or "batch".
        activation: Makes the activation of position `site` with that many channels; sites count from the stem on.
        in_channels: Channels of the images.

    Raises:
        ValueError: If depth, width or norm is not one of these.

    Source: Lim et al. (2024), section 5.1 and Tables 11 and 12; Bürgin et al. (2026), CIFAR-10 networks;
    He et al. (2016), section 4.2, with projection shortcuts.
    """

    def __init__(
        self,
        depth: int,
        width: float = 1,
        n_classes: int = 10,
        norm: str = "layer",
        activation: Activation = relu,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise ValueError(f"depth must be 6 n + 2 with n blocks per stage (8, 20, 32, 56, 110), got {depth}")
        channels = [width * base for base in (16, 32, 64)]
        if channels[0] < 1 or any(c != int(c) for c in channels):
            raise ValueError(f"width times 16, 32 and 64 must be whole positive numbers, got {channels}")
        if norm not in NORMS:
            raise ValueError(f"unknown norm {norm!r}: expected one of {', '.join(NORMS)}")
        first, *_ = channels = [int(c) for c in channels]
        site = count()

        def act(n_channels: int) -> nn.Module:
            return activation(next(site), n_channels)

        self.stem = nn.Conv2d(in_channels, first, 3, padding=1, bias=False)
        self.norm = NORMS[norm](first)
        self.activation = act(first)
        self.stages = nn.ModuleList()
        into = first
        for stage, out in enumerate(channels):
            strides = [2 if stage else 1] + [1] * ((depth - 2) // 6 - 1)
            blocks = [BasicBlock(into if i == 0 else out, out, s, norm, act) for i, s in enumerate(strides)]
            self.stages.append(nn.Sequential(*blocks))
            into = out
        self.linear = nn.Linear(into, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images of shape (batch, channels, height, width) to logits of shape (batch, classes)."""
        if x.dim() != 4 or x.shape[1] != self.stem.in_channels:
            raise ValueError(
                f"images must have shape (batch, {self.stem.in_channels}, height, width), got {tuple(x.shape)}"
            )
        x = self.activation(self.norm(self.stem(x)))
        for stage in self.stages:
            x = stage(x)
        return self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))
