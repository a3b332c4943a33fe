"""FiGLU, the fixed gated activation of sigma-asymmetric networks; the one intervention that is a module."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FiGLU(nn.Module):
    """The fixed gate sigmoid(F x) * x, with F drawn once and never trained.

    Args:
        width: Units, or channels.
        std: Standard deviation of the entries of F.
        source: Generator that F is drawn from.
        images: Inputs have shape (batch, width, height, ...) and F acts as a 1 x 1 convolution; otherwise
            (..., width).

    Raises:
        ValueError: If std is negative.

    Source: Lim et al. (2024), equation 4 and appendix F.
    """

    gate: Tensor

    def __init__(self, width: int, std: float, source: torch.Generator, images: bool = False) -> None:
        super().__init__()
        if not std >= 0:
            raise ValueError(f"gate_std must be 0 or larger, got {std}")
        self.images = images
        self.register_buffer("gate", std * torch.randn(width, width, generator=source))

    def forward(self, x: Tensor) -> Tensor:
        """Gate x; the shape stays."""
        mixed = F.conv2d(x, self.gate[:, :, None, None]) if self.images else x @ self.gate.T
        return torch.sigmoid(mixed) * x
