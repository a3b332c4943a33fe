"""What is left of a network's first features after training, and what they are worth to a linear read-out.

Works on activations that are already there: no network, and nothing is trained.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from symlib.data.dataset import Split


def feature_cka(now: Tensor, then: Tensor) -> float:
    """Return the linear centred kernel alignment of two sets of features of the same samples, in [0, 1].

    It is 1 if one set is the other, turned, shifted or scaled, whichever unit carries what.

    Args:
        now: Activations of a layer, shape (n, units).
        then: Those they are compared with, such as the untrained network's, shape (n, other units).

    Raises:
        ValueError: If the numbers of samples differ, or a set of features is the same for all samples.

    Source: Kornblith et al. (2019), linear CKA.

    >>> feature_cka(torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[9.0], [6.0], [3.0]]))
    1.0
    """
    if len(now) != len(then):
        raise ValueError(f"features are compared on the same samples, got {len(now)} and {len(then)}")
    now, then = (features.double() - features.double().mean(0) for features in (now, then))
    sizes = [(features.T @ features).norm() for features in (now, then)]
    if min(sizes) == 0:
        raise ValueError("features that are the same for all samples span nothing: look for a layer that is constant")
    return float((now.T @ then).square().sum() / (sizes[0] * sizes[1]))


def read_out_accuracy(train: Split, test: Split) -> float:
    """Return the accuracy in [0, 1] of the linear read-out that comes closest to one-hot labels in the mean square.

    It is solved and not trained, so it says what features hold and not how far an optimiser came.

    Args:
        train: Features to fit on, shape (n, units), and labels from 0 on.
        test: Features to classify, shape (n', units), and labels.
    """
    fit, classify = (F.pad(split.x.double().cpu(), (0, 1), value=1.0) for split in (train, test))
    # A driver that takes features of any rank: units may be silent.
    weights = torch.linalg.lstsq(fit, F.one_hot(train.y.cpu()).double(), driver="gelsd").solution
    return ((classify @ weights).argmax(dim=1) == test.y.cpu()).double().mean().item()
