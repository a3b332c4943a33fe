"""Activations as the statements on equivariances see them: maps from d units to d units, each input on its own."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Activation = Callable[[Tensor], Tensor]

ELEMENTWISE: dict[str, Activation] = {
    "identity": lambda x: x,
    "relu": torch.relu,
    "leaky relu": lambda x: F.leaky_relu(x, 0.1),
    "square": torch.square,
    "gelu": F.gelu,
    "silu": F.silu,
    "tanh": torch.tanh,
}


def figlu(gate: Tensor) -> Activation:
    """Return FiGLU with a given gate F, shape (d, d): x -> sigmoid(F x) * x on inputs of shape (..., d).

    Source: Lim et al. (2024), equation 4.
    """
    return lambda x: torch.sigmoid(x @ gate.mT) * x


def check_activation(sigma: Activation, x: Tensor) -> None:
    """Refuse what the statements do not speak of, before any work.

    Args:
        sigma: Claims to map (..., d) to (..., d).
        x: Samples, shape (n, d).

    Raises:
        ValueError: If samples are not in double precision, or the activation changes their shape, is not finite
            there, or treats an input differently depending on what else is in the batch.
    """
    if x.dim() != 2 or x.dtype != torch.float64:
        raise ValueError(
            f"samples must be float64 of shape (n, d), got {x.dtype} of shape {tuple(x.shape)}: in single precision "
            "rounding hides what is exact"
        )
    y = sigma(x)
    if y.shape != x.shape:
        raise ValueError(
            f"equivariances need an activation from d to d units; this one maps {tuple(x.shape)} to {tuple(y.shape)}"
        )
    if not y.isfinite().all():
        raise ValueError("the activation is not finite on the samples: draw them where it is defined")
    if not torch.allclose(sigma(x[: len(x) // 2]), y[: len(x) // 2], rtol=1e-9, atol=1e-12):
        raise ValueError(
            "the activation answers one input differently in another batch, like dropout or batch normalisation in "
            "training: switch that off"
        )
