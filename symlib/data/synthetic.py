"""Classes of Gaussian points that fill a random subspace: data whose intrinsic dimension is known."""

import torch

from symlib.asymmetry import tensor_hash
from symlib.data.dataset import Dataset, Split
from symlib.seeds import generator


def gaussian_subspace(
    k: int,
    d: int = 512,
    n_classes: int = 20,
    separation: float = 0.3,
    n_train: int = 45_000,
    n_test: int = 10_000,
    data_seed: int = 0,
) -> Dataset:
    """Draw points in k dimensions and map them isometrically to inputs of d dimensions.

    A point is the mean of its class plus noise that is scaled coordinate by coordinate and rotated by the class.

    Args:
        k: Intrinsic dimension.
        d: Dimension of the inputs, at least k.
        n_classes: Classes; each has a mean and a rotation of its own.
        separation: Standard deviation of the entries of the means; noise has a random scale for every coordinate.
        n_train: Training points.
        n_test: Test points.
        data_seed: Seed of means, rotations, scales, P and points.

    Returns:
        Inputs of shape (n, d), float32, not standardised.

    Raises:
        ValueError: If k is not between 1 and d, or a count is not positive.

    Source: Bürgin et al. (2026), Figure 5 and the code behind its data.
    """
    if not 1 <= k <= d:
        raise ValueError(f"the intrinsic dimension k must lie between 1 and the {d} dimensions of the inputs, got {k}")
    if min(n_classes, n_train, n_test) < 1 or not 0 <= separation < float("inf"):
        raise ValueError(
            "n_classes, n_train and n_test must be positive and separation finite and 0 or larger, got "
            f"{n_classes}, {n_train}, {n_test} and {separation}"
        )
    source = generator(data_seed, "structure", k)
    means = separation * torch.randn(n_classes, k, generator=source)
    rotations = torch.linalg.qr(torch.randn(n_classes, k, k, generator=source)).Q
    scales = torch.randn(k, generator=source)
    P = torch.linalg.qr(torch.randn(d, k, generator=source)).Q

    def draw(n: int, split: str) -> Split:
        points = generator(data_seed, split, k)
        y = torch.randint(n_classes, (n,), generator=points)
        noise = scales * torch.randn(n, k, generator=points)
        z = means[y]
        for label in range(n_classes):  # gathering one rotation per point would take n k k numbers
            own = y == label
            z[own] += noise[own] @ rotations[label].T
        return Split(z @ P.T, y)

    train, test = draw(n_train, "train"), draw(n_test, "test")
    drawn = tensor_hash({"train": train.x, "test": test.x, "train_y": train.y, "test_y": test.y})
    return Dataset(f"gaussian-{k}", train, test, drawn)
