"""Image classification data as two pairs of tensors: embedded digits and MNIST."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from symlib.data.torchvision_import import torchvision

# Of the uncompressed files; torchvision checks its archives only, and not what lies unpacked.
MNIST_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
MNIST_MEAN, MNIST_STD = 0.1307, 0.3081
SPLIT_SEED = 42  # of both papers' code


@dataclass(frozen=True)
class Split:
    """Inputs and labels."""

    x: Tensor  # float32, standardised, shape (n, features)
    y: Tensor  # int64, shape (n,)


@dataclass(frozen=True)
class Dataset:
    """A classification task with 10 classes."""

    name: str
    train: Split
    test: Split
    sha256: str  # of the bytes it was made from

    def to(self, device: str) -> "Dataset":
        """Return the data set on a device."""
        splits = [Split(s.x.to(device), s.y.to(device)) for s in (self.train, self.test)]
        return Dataset(self.name, *splits, self.sha256)


def load(name: str) -> Dataset:
    """Return a data set by name: "digits" or "mnist".

    Raises:
        ValueError: If the name is unknown or a file is damaged.
        FileNotFoundError: If MNIST is not in the data folder.
    """
    loaders = {"digits": digits, "mnist": mnist}
    if name not in loaders:
        raise ValueError(f"unknown data set {name!r}: expected one of {', '.join(loaders)}")
    return loaders[name]()


def verify(name: str) -> None:
    """Check the files of a data set without reading it, so that a long run fails before it starts.

    Raises:
        ValueError: If a file is damaged.
        FileNotFoundError: If MNIST is not in the data folder.
    """
    if name == "mnist":
        _verify_mnist(data_folder() / "MNIST" / "raw")


def digits() -> Dataset:
    """Return the 1,797 real 8 x 8 digits inside scikit-learn, 1,437 for training and 360 for testing."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(SPLIT_SEED))
    images, labels = torch.from_numpy(x).float()[order], torch.from_numpy(y).long()[order]
    images = (images - images[:1437].mean()) / images[:1437].std()
    sha256 = hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest()
    return Dataset("digits", Split(images[:1437], labels[:1437]), Split(images[1437:], labels[1437:]), sha256)


def data_folder() -> Path:
    """Return the folder named by SYMLIB_DATA, or `data` below the working directory."""
    return Path(os.environ.get("SYMLIB_DATA", "data")).expanduser()


def mnist(folder: Path | None = None) -> Dataset:
    """Return MNIST with the papers' split: 54,000 training images and 10,000 for testing.

    The 6,000 images that both papers hold out from training are left out here as well.

    Args:
        folder: Holds `MNIST/raw/` with the four uncompressed idx files; default `data_folder()`.

    Raises:
        FileNotFoundError: If a file is missing; says both ways to get it.
        ValueError: If a file is not the published one.
    """
    folder = folder or data_folder()
    sha256 = _verify_mnist(folder / "MNIST" / "raw")
    MNIST = torchvision("datasets").MNIST
    train, test = (_scaled(MNIST(folder, train=train, download=False)) for train in (True, False))
    order = torch.randperm(len(train.x), generator=torch.Generator().manual_seed(SPLIT_SEED))[:54_000]
    return Dataset("mnist", Split(train.x[order], train.y[order]), test, sha256)


def download_mnist(folder: Path) -> None:
    """Let torchvision download MNIST (12 MB) into a folder, then check it.

    Raises:
        FileNotFoundError: If there is no network; says the other way to get it.
    """
    try:
        torchvision("datasets").MNIST(folder, download=True)
    except (RuntimeError, OSError) as error:
        raise FileNotFoundError(f"{_how_to_get_mnist(folder)} (the download failed: {error})") from error
    _verify_mnist(folder / "MNIST" / "raw")


def _scaled(images) -> Split:
    x = images.data.flatten(1).float().div_(255)
    return Split(x.sub_(MNIST_MEAN).div_(MNIST_STD), images.targets.long())


def _verify_mnist(raw: Path) -> str:
    """Return a hash over the four files after comparing each with its published one."""
    for name, expected in MNIST_SHA256.items():
        path = raw / name
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing. {_how_to_get_mnist(raw.parent.parent)}")
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            raise ValueError(
                f"{path} is damaged: {path.stat().st_size} bytes with SHA-256 {found[:12]}..., expected "
                f"{expected[:12]}...; delete it and get it again. {_how_to_get_mnist(raw.parent.parent)}"
            )
    return hashlib.sha256("".join(MNIST_SHA256.values()).encode()).hexdigest()


def _how_to_get_mnist(folder: Path) -> str:
    return (
        f"Two ways to get MNIST: `make data` downloads it with torchvision into {folder}, or set SYMLIB_DATA to a "
        "folder that holds MNIST/raw/ with the four uncompressed idx files"
    )
