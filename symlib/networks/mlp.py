"""The multilayer perceptron of both papers: linear, LayerNorm, activation, and a linear read-out."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor, nn


def gelu(layer: int, width: int) -> nn.Module:
    """Return the exact (erf) GELU, the activation of the standard and W-asymmetric networks."""
    return nn.GELU()


class MLP(nn.Module):
    """Fully connected classifier with LayerNorm after every hidden linear map.

    Args:
        widths: Units of the input, of each hidden layer and of the output, at least three numbers.
        activation: Makes the activation module of hidden layer `layer` with `width` units.

    Source: Lim et al. (2024), section 5.1 and Table 10; Bürgin et al. (2026), MNIST networks.
    """

    def __init__(self, widths: Sequence[int], activation: Callable[[int, int], nn.Module] = gelu) -> None:
        super().__init__()
        if len(widths) < 3 or min(widths) < 1:
            raise ValueError(f"widths must be three or more positive numbers, got {list(widths)}")
        hidden = widths[1:-1]
        self.linears = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(widths))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in hidden)
        self.activations = nn.ModuleList(activation(layer, width) for layer, width in enumerate(hidden))

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs of shape (batch, ...) to logits of shape (batch, classes)."""
        x = x.flatten(1)
        *hidden, readout = self.linears
        for linear, norm, activation in zip(hidden, self.norms, self.activations, strict=True):
            x = activation(norm(linear(x)))
        return readout(x)
