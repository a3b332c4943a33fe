"""The multilayer perceptrons of both papers: linear, norm, activation, and a linear read-out."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor, nn

Activation = Callable[[int, int], nn.Module]
NORMS: dict[str, Callable[[int], nn.Module]] = {
    "layer": nn.LayerNorm,
    "batch": nn.BatchNorm1d,
    "none": lambda width: nn.Identity(),
}


def gelu(site: int, width: int) -> nn.Module:
    """Return the exact (erf) GELU, the activation of the standard and W-asymmetric MLPs and of the standard GNN."""
    return nn.GELU()


def relu(site: int, width: int) -> nn.Module:
    """Return ReLU, the activation of the ResNets and the Bayesian MLPs."""
    return nn.ReLU()


class MLP(nn.Module):
    """Fully connected classifier of any depth.

    Args:
        widths: Units of the input, of each hidden layer and of the output, at least three numbers.
        activation: Makes the activation module of hidden layer `site` with `width` units.
        norm: What follows every hidden linear map: "layer", "batch" or "none".

    Raises:
        ValueError: If widths or norm is not one of these.

    Source: Lim et al. (2024), section 5.1, Table 10 and appendix F.2; Bürgin et al. (2026), MNIST networks.
    """

    def __init__(self, widths: Sequence[int], activation: Activation = gelu, norm: str = "layer") -> None:
        super().__init__()
        if len(widths) < 3 or min(widths) < 1:
            raise ValueError(f"widths must be three or more positive numbers, got {list(widths)}")
        if norm not in NORMS:
            raise ValueError(f"unknown norm {norm!r}: expected one of {', '.join(NORMS)}")
        hidden = widths[1:-1]
        self.linears = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(widths))
        self.norms = nn.ModuleList(NORMS[norm](width) for width in hidden)
        self.activations = nn.ModuleList(activation(site, width) for site, width in enumerate(hidden))

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs of shape (batch, ...) to logits of shape (batch, classes)."""
        x = x.flatten(1)
        if x.shape[1] != self.linears[0].in_features:
            raise ValueError(
                f"inputs have {x.shape[1]} features, the network was built for {self.linears[0].in_features}"
            )
        *hidden, readout = self.linears
        for linear, norm, activation in zip(hidden, self.norms, self.activations, strict=True):
            x = activation(norm(linear(x)))
        return readout(x)
