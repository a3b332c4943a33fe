"""Image classification data as two pairs of tensors: embedded digits, MNIST, CIFAR-10 and CIFAR-100.

Nothing here draws random crops or flips; that is `symlib.data.augmentation`.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from symlib.data.dataset import Dataset, Split
from symlib.data.files import check_files, data_folder
from symlib.data.torchvision_import import torchvision

# Of the uncompressed files; torchvision checks its archives only, and not what lies unpacked.
MNIST_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
MNIST_MEAN, MNIST_STD = 0.1307, 0.3081
CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
CIFAR100_MEAN, CIFAR100_STD = (0.5068, 0.4863, 0.4408), (0.2672, 0.2564, 0.2760)
SPLIT_SEED = 42  # of both papers' code


@dataclass(frozen=True)
class Source:
    """An image data set that torchvision reads and downloads."""

    title: str
    class_name: str  # in torchvision.datasets
    folder: str  # below the data folder
    contents: str
    n_train: int  # images kept for training
    mean: tuple[float, ...]  # per channel, of pixels between 0 and 1
    std: tuple[float, ...]

    def published(self) -> tuple[str, dict[str, str]]:
        """Return the kind of hash that was published and the hash of each file."""
        if self.class_name == "MNIST":
            return "sha256", MNIST_SHA256
        lists = getattr(torchvision("datasets"), self.class_name)
        return "md5", dict([*lists.train_list, *lists.test_list]) | {lists.meta["filename"]: lists.meta["md5"]}


SOURCES = {
    "mnist": Source(
        "MNIST", "MNIST", "MNIST/raw", "the four uncompressed idx files", 54_000, (MNIST_MEAN,), (MNIST_STD,)
    ),
    "cifar10": Source(
        "CIFAR-10", "CIFAR10", "cifar-10-batches-py", "the python batches", 45_000, CIFAR10_MEAN, CIFAR10_STD
    ),
    "cifar100": Source(
        "CIFAR-100", "CIFAR100", "cifar-100-python", "the python version", 45_000, CIFAR100_MEAN, CIFAR100_STD
    ),
}


def load(name: str, folder: Path | None = None) -> Dataset:
    """Return a data set by name: "digits", "mnist", "cifar10" or "cifar100".

    MNIST has 54,000 training images and the CIFARs 45,000, with 10,000 for testing: the images that both papers
    hold out from training are left out here as well. Every channel is standardised with its own mean and
    deviation, as by Bürgin et al., whose constants for CIFAR-10 differ in the third or fourth decimal; Lim et al. used
    ImageNet's constants for CIFAR-10, which differ from these by a fixed scale and shift of each channel.

    Args:
        name: Which data set.
        folder: Holds `MNIST/raw/`, `cifar-10-batches-py/` or `cifar-100-python/`; default `data_folder()`.

    Raises:
        ValueError: If the name is unknown or a file is not the published one.
        FileNotFoundError: If a file is missing; says both ways to get it.

    Source: the splits of both papers' code, drawn with seed 42.
    """
    _need_known(name)
    return digits() if name == "digits" else _read(name, folder or data_folder())


def verify(name: str, folder: Path | None = None) -> str:
    """Check the files of a data set without reading it, so that a long run fails before it starts.

    The CIFAR files are pickles, which can run any code when they are read; nothing reads one before this check.

    Returns:
        A SHA-256 over the hashes of its files, empty for the digits, which have none.

    Raises:
        ValueError: If the name is unknown or a file is damaged.
        FileNotFoundError: If a file is missing.
    """
    _need_known(name)
    if name == "digits":
        return ""
    source, folder = SOURCES[name], folder or data_folder()
    algorithm, hashes = source.published()
    return check_files(folder / source.folder, hashes, algorithm, _how_to_get(name, folder))


def download(name: str, folder: Path) -> None:
    """Let torchvision download MNIST (12 MB), CIFAR-10 or CIFAR-100 (170 MB each) into a folder, then check it.

    Raises:
        FileNotFoundError: If there is no network; says the other way to get it.
        ValueError: If a file is not the published one.
    """
    try:
        getattr(torchvision("datasets"), SOURCES[name].class_name)(folder, download=True)
    except (RuntimeError, OSError) as error:
        raise FileNotFoundError(f"{_how_to_get(name, folder)} (the download failed: {error})") from error
    verify(name, folder)


def digits() -> Dataset:
    """Return the 1,797 real 8 x 8 digits inside scikit-learn, 1,437 for training and 360 for testing."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(SPLIT_SEED))
    images, labels = torch.from_numpy(x).float()[order], torch.from_numpy(y).long()[order]
    images = ((images - images[:1437].mean()) / images[:1437].std()).view(-1, 1, 8, 8)
    sha256 = hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest()
    return Dataset("digits", Split(images[:1437], labels[:1437]), Split(images[1437:], labels[1437:]), sha256)


def _read(name: str, folder: Path) -> Dataset:
    source, sha256 = SOURCES[name], verify(name, folder)
    images = getattr(torchvision("datasets"), source.class_name)
    train, test = (images(folder, train=train, download=False) for train in (True, False))
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(SPLIT_SEED))
    kept = order[: source.n_train]
    return Dataset(name, _scaled(source, train, kept), _scaled(source, test, torch.arange(len(test))), sha256)


def _scaled(source: Source, images, kept: Tensor) -> Split:
    pixels = torch.as_tensor(images.data)[kept]  # bytes until here: as float32 the whole of CIFAR-10 takes 740 MB
    x = pixels[:, None] if pixels.dim() == 3 else pixels.permute(0, 3, 1, 2)
    x = x.contiguous().float().div_(255)
    mean, std = (torch.tensor(values)[:, None, None] for values in (source.mean, source.std))
    return Split(x.sub_(mean).div_(std), torch.as_tensor(images.targets)[kept])


def _need_known(name: str) -> None:
    if name not in ("digits", *SOURCES):
        raise ValueError(f"unknown data set {name!r}: expected one of {', '.join(['digits', *SOURCES])}")


def _how_to_get(name: str, folder: Path) -> str:
    source = SOURCES[name]
    command = "make data" if name == "mnist" else f"make data DATA={name}"
    return (
        f"Two ways to get {source.title}: `{command}` downloads it with torchvision into {folder}, or set SYMLIB_DATA "
        f"to a folder that holds {source.folder}/ with {source.contents}"
    )
