"""A data set turned in its input space so that the subspace it fills has a chosen coherence; distances are kept.

What a fully connected network can learn from it is the same under every turn. What a mask on its weights can take away
is not.
"""

import hashlib
import math
from dataclasses import replace

import torch
from torch import Tensor

from symlib.data.dataset import Dataset, Split
from symlib.effective.subspace import Moments, representation_subspace

TOLERANCE = 1e-5  # by which the largest row norm may miss the target


def rotated(data: Dataset, coherence: float, explained: float = 0.9) -> Dataset:
    """Return a data set with every input x replaced by R x, in its old shape.

    Args:
        data: Its training inputs determine R; every split is turned by it.
        coherence: Of the principal subspace of the turned training inputs, between k/d and 1.
        explained: Share of the variance that this subspace carries, in (0, 1].

    Raises:
        ValueError: If no rotation reaches the coherence, or the training inputs do not determine a subspace.

    Source: Bürgin et al. (2026), MNIST of a given coherence, from their code. They take the covariance of all 60,000
    images; here it is that of the images used for training.
    """
    moments = Moments()
    moments.add(data.train.x.flatten(1))
    R = rotation(moments, coherence, explained)

    def turned(split: Split) -> Split:
        x = split.x.flatten(1)
        return Split((x @ R.T.to(x)).view(split.x.shape), split.y)

    made_from = hashlib.sha256(f"{data.sha256} {coherence!r} {explained!r}".encode()).hexdigest()
    name = f"{data.name}-coherence-{coherence:g}"
    return replace(data, name=name, train=turned(data.train), test=turned(data.test), sha256=made_from)


def rotation(moments: Moments, coherence: float, explained: float = 0.9) -> Tensor:
    """Return an orthogonal R that gives the principal subspace of R x a coherence, shape (d, d), float64.

    R takes x to its principal components, and these to coordinates whose axes come as close to the subspace as asked.

    Args:
        moments: Of the inputs x.
        coherence: Between k/d and 1 for a subspace of k of d dimensions.
        explained: Share of the variance that the subspace carries, in (0, 1].

    Raises:
        ValueError: If the coherence is not between k/d and 1, or the inputs do not determine a subspace.
    """
    k = representation_subspace(moments, explained).dimension
    d = len(moments.mean)
    if not k / d - TOLERANCE <= coherence <= 1:
        raise ValueError(
            f"{explained:.0%} of the variance lie in {k} of {d} dimensions, whose coherence can be anything from "
            f"{k / d:.4f} to 1, got {coherence}"
        )
    components = torch.linalg.eigh(moments.covariance.cpu()).eigenvectors.flip(-1)
    largest = components.gather(0, components.abs().argmax(0, keepdim=True))
    # A target that is rounded to just below k/d cannot be reached.
    return spread(d, k, max(coherence, k / d)) @ (components * largest.sign()).T


def spread(d: int, k: int, coherence: float) -> Tensor:
    """Return an orthogonal matrix whose first k columns have no squared row norm above a bound, shape (d, d), float64.

    It is built from the identity by Givens rotations of the rows with the largest and the smallest norm.

    Args:
        d: Rows.
        k: Columns that count.
        coherence: The bound, at least k/d; reached to 1e-5, and for 1 the result is the identity.
    """
    V = torch.eye(d, dtype=torch.float64)
    rows, norms = V.numpy(), V[:, :k].square().sum(dim=1).numpy()
    while norms.max() > coherence + TOLERANCE:
        i, j = norms.argmax(), norms.argmin()
        x, y, product = norms[i], norms[j], rows[i, :k] @ rows[j, :k]
        # Turning rows i and j by an angle gives row i the norm middle + radius cos(2 angle - phase).
        middle, half = (x + y) / 2, (x - y) / 2
        above = max(coherence - middle, 0.0) / math.hypot(half, product)
        angle = (math.atan2(product, half) + math.acos(above)) / 2
        turn = [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
        rows[[i, j]] = turn @ rows[[i, j]]
        norms[[i, j]] = (rows[[i, j], :k] ** 2).sum(axis=1)
    return V
