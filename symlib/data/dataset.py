"""What every classification task looks like to training: two pairs of inputs and labels."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Split:
    """Inputs and labels."""

    x: Tensor  # images: float32, standardised, shape (n, channels, height, width); of a graph: node indices, (n,)
    y: Tensor  # int64, shape (n,)


@dataclass(frozen=True)
class Dataset:
    """A classification task."""

    name: str
    train: Split
    test: Split
    sha256: str  # of the bytes it was made from

    @property
    def n_classes(self) -> int:
        """Number of classes, labelled 0, 1, ..., as the labels show it."""
        return int(torch.cat([self.train.y, self.test.y]).max()) + 1

    def to(self, device: str) -> "Dataset":
        """Return the data set on a device."""
        splits = [Split(s.x.to(device), s.y.to(device)) for s in (self.train, self.test)]
        return Dataset(self.name, *splits, self.sha256)
