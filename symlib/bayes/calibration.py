"""How good predicted probabilities are: their log-likelihood, and whether confidence says how often one is right."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

BINS = 15
SMALLEST = 1e-12  # of a probability whose logarithm is taken


@dataclass(frozen=True)
class Reliability:
    """Predictions by the confidence of their most probable class, in bins of equal width.

    Attributes:
        count: Predictions in each bin, shape (M, bins).
        confidence: Mean confidence in each, shape (M, bins), 0 for empty bins.
        accuracy: Share that is right, shape (M, bins), 0 for empty bins.
    """

    count: Tensor
    confidence: Tensor
    accuracy: Tensor

    @property
    def error(self) -> Tensor:
        """Expected calibration error, the mean distance of confidence and accuracy by count, shape (M,).

        Source: Guo et al. (2017); Lim et al. (2024), Table 2, with 15 bins.
        """
        share = self.count / self.count.sum(dim=1, keepdim=True)
        return (share * (self.accuracy - self.confidence).abs()).sum(dim=1)


def reliability(probabilities: Tensor, y: Tensor, bins: int = BINS) -> Reliability:
    """Sort predictions into bins; bin b holds confidences in (b / bins, (b + 1) / bins].

    Args:
        probabilities: Of M networks, shape (M, n, classes).
        y: Labels, shape (n,), int64.
        bins: How many.

    Raises:
        ValueError: If these are no probabilities, or the labels do not fit.
    """
    if probabilities.dim() != 3 or probabilities.shape[1] != len(y) or not len(y):
        shape = tuple(probabilities.shape)
        raise ValueError(f"probabilities need shape (networks, n, classes) and n labels, got {shape} and {len(y)}")
    sums = probabilities.sum(-1)
    if not (probabilities >= 0).all() or not torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
        raise ValueError("probabilities must be 0 or more and add up to 1: take the softmax of logits first")
    confidence, guess = probabilities.double().max(-1)
    at = (confidence * bins).ceil().long().clamp(1, bins) - 1

    def summed(values: Tensor) -> Tensor:
        return confidence.new_zeros(len(probabilities), bins).scatter_add(1, at, values)

    count = summed(torch.ones_like(confidence))
    filled = count.clamp_min(1)
    return Reliability(count, summed(confidence) / filled, summed((guess == y).double()) / filled)


def negative_log_likelihood(probabilities: Tensor, y: Tensor) -> Tensor:
    """Return the mean negative logarithm of the probability of the label in nats, shape (M,).

    Args:
        probabilities: Of M networks, shape (M, n, classes).
        y: Labels, shape (n,), int64.
    """
    logs = probabilities.double().clamp_min(SMALLEST).log()
    return torch.stack([F.nll_loss(one, y) for one in logs])
