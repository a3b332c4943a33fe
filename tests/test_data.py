import dataclasses
import hashlib
import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from symlib.data import images, planetoid
from symlib.data.dataset import Dataset, Split
from symlib.data.files import data_folder
from symlib.data.images import digits, download, load, verify
from symlib.data.torchvision_import import torchvision

MNIST = pytest.mark.skipif(
    not (data_folder() / "MNIST/raw/train-images-idx3-ubyte").exists(), reason="needs MNIST in SYMLIB_DATA"
)
CIFAR10 = pytest.mark.skipif(
    not (data_folder() / "cifar-10-batches-py/data_batch_1").exists(), reason="needs CIFAR-10 in SYMLIB_DATA"
)


def write_idx(path: Path, shape: tuple[int, ...]) -> None:
    """Write an MNIST file of the right layout with made-up contents."""
    head = struct.pack(f">I{len(shape)}I", 0x800 + len(shape), *shape)
    size = int(torch.tensor(shape).prod())
    path.write_bytes(head + bytes(i % 10 for i in range(size)))


@pytest.fixture
def made_up_mnist(tmp_path, monkeypatch):
    """A folder with files in MNIST's layout, 60,000 and 10,000 images of one pixel, whose hashes are accepted."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    hashes = {}
    for name in images.MNIST_SHA256:
        n = 60_000 if name.startswith("train") else 10_000
        write_idx(raw / name, (n, 1, 1) if "images" in name else (n,))
        hashes[name] = hashlib.sha256((raw / name).read_bytes()).hexdigest()
    monkeypatch.setattr(images, "MNIST_SHA256", hashes)
    return tmp_path


def cifar_pixels(n: int) -> np.ndarray:
    """Return made-up images in the layout of a batch: red, then green, then blue, each row by row."""
    return np.random.default_rng(n).integers(0, 256, (n, 3, 32, 32), dtype=np.uint8)


@pytest.fixture
def made_up_cifar(tmp_path, monkeypatch):
    """A function that makes a folder in the layout of CIFAR-10 or CIFAR-100, whose MD5 sums are accepted."""

    def make(name, n_train, n_test):
        source = images.SOURCES[name]
        lists = getattr(torchvision("datasets"), source.class_name)
        folder = tmp_path / source.folder
        folder.mkdir()

        def write(file, content):
            (folder / file).write_bytes(pickle.dumps(content))
            return hashlib.md5((folder / file).read_bytes()).hexdigest()

        sums = {}
        for files, n in ((lists.train_list, n_train // len(lists.train_list)), (lists.test_list, n_test)):
            for file, _ in files:
                labels = {"fine_labels" if name == "cifar100" else "labels": [i % 100 for i in range(n)]}
                sums[file] = write(file, labels | {"data": cifar_pixels(n).reshape(n, -1)})
        sum_of_names = write(lists.meta["filename"], {lists.meta["key"]: ["a"]})
        for part in ("train_list", "test_list"):
            monkeypatch.setattr(lists, part, [[file, sums[file]] for file, _ in getattr(lists, part)])
        monkeypatch.setattr(lists, "meta", lists.meta | {"md5": sum_of_names})
        return tmp_path

    return make


def test_digits_are_split_and_standardised():
    data = digits()
    assert data.train.x.shape == (1437, 1, 8, 8) and data.test.x.shape == (360, 1, 8, 8)
    assert data.n_classes == 10
    assert data.train.x.mean().abs() < 1e-5 and data.train.x.std() == pytest.approx(1, abs=1e-5)
    assert data.train.y.bincount().min() > 100
    assert data.train.y[:20].tolist() != [*range(10), *range(10)]  # the file's own order, hardly shuffled


def test_mnist_is_read_through_torchvision_split_and_scaled(made_up_mnist):
    data = load("mnist", made_up_mnist)
    assert data.train.x.shape == (54_000, 1, 1, 1) and data.test.x.shape == (10_000, 1, 1, 1)
    pixel = torch.arange(10_000) % 10
    torch.testing.assert_close(data.test.x.flatten(), (pixel / 255 - 0.1307) / 0.3081)
    assert torch.equal(data.test.y, pixel)
    # The split is the papers': torch's random_split with seed 42.
    parts = torch.utils.data.random_split(range(60_000), [54_000, 6_000], generator=torch.Generator().manual_seed(42))
    assert torch.equal(data.train.y, torch.tensor(list(parts[0])) % 10)


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("cifar10", (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
        ("cifar100", (0.5068, 0.4863, 0.4408), (0.2672, 0.2564, 0.2760)),
    ],
)
def test_cifar_is_read_through_torchvision_split_and_scaled(made_up_cifar, monkeypatch, name, mean, std):
    monkeypatch.setitem(images.SOURCES, name, dataclasses.replace(images.SOURCES[name], n_train=90))
    data = load(name, made_up_cifar(name, n_train=100, n_test=7))
    assert data.train.x.shape == (90, 3, 32, 32) and data.train.x.is_contiguous() and data.train.y.dtype == torch.int64
    mean, std = (np.array(values)[:, None, None] for values in (mean, std))
    expected = torch.tensor((cifar_pixels(7) / 255 - mean) / std)
    torch.testing.assert_close(data.test.x, expected, check_dtype=False, rtol=0, atol=1e-5)
    assert torch.equal(data.test.y, torch.arange(7))
    # The split is the papers': torch's random_split with seed 42.
    kept, _ = torch.utils.data.random_split(range(100), [90, 10], generator=torch.Generator().manual_seed(42))
    per_file = 20 if name == "cifar10" else 100
    assert torch.equal(data.train.y, torch.tensor(list(kept)) % per_file)


def test_papers_hold_out_5_000_images_of_cifar():
    assert [images.SOURCES[name].n_train for name in ("mnist", "cifar10", "cifar100")] == [54_000, 45_000, 45_000]


@MNIST
def test_real_mnist():
    data = load("mnist")
    assert data.train.x.shape == (54_000, 1, 28, 28)
    assert data.train.x.mean().abs() < 0.01 and data.train.x.std() == pytest.approx(1, abs=0.01)
    assert (data.test.y[:5] == torch.tensor([7, 2, 1, 0, 4])).all()


@CIFAR10
def test_real_cifar10():
    data = load("cifar10")
    assert data.train.x.shape == (45_000, 3, 32, 32) and data.test.x.shape == (10_000, 3, 32, 32)
    assert data.train.x.mean((0, 2, 3)).abs().max() < 0.01 and data.n_classes == 10
    torch.testing.assert_close(data.train.x.std((0, 2, 3)), torch.ones(3), rtol=0, atol=0.01)
    assert data.test.y[:5].tolist() == [3, 8, 8, 0, 6]  # cat, ship, ship, aeroplane, frog


def test_number_of_classes_counts_labels_of_both_splits():
    splits = [Split(torch.zeros(2, 1), torch.tensor(y)) for y in ([0, 1], [0, 6])]
    assert Dataset("two", *splits, "").n_classes == 7


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_damaged_file_is_named_before_it_is_read(made_up_mnist, damage):
    path = made_up_mnist / "MNIST/raw/t10k-images-idx3-ubyte"
    data = bytearray(path.read_bytes())
    path.write_bytes(data[:-5] if damage == "truncated" else data[:-1] + b"\xff")
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte is damaged: .*delete it and get it again"):
        load("mnist", made_up_mnist)


class Detonator:
    """A pickle of this raises as soon as it is read."""

    def __reduce__(self):
        return exec, ("raise SystemError('unpickled')",)


@pytest.mark.parametrize("file", ["data_batch_3", "test_batch", "batches.meta"])
def test_damaged_cifar_file_is_named_with_its_size_and_never_unpickled(made_up_cifar, file):
    folder = made_up_cifar("cifar10", n_train=5, n_test=1)
    path = folder / "cifar-10-batches-py" / file
    path.write_bytes(path.read_bytes()[:-5])
    size = path.stat().st_size
    message = rf"{file} is damaged: {size} bytes with MD5 .*delete it and get it again\. Two ways .*DATA=cifar10"
    with pytest.raises(ValueError, match=message):
        load("cifar10", folder)
    path.write_bytes(pickle.dumps(Detonator()))
    with pytest.raises(ValueError, match=f"{file} is damaged"):
        load("cifar10", folder)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_missing_cifar_names_both_ways_to_get_it(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=rf"is missing. .*`make data DATA={name}`.* or set SYMLIB_DATA"):
        load(name, tmp_path)


def test_missing_mnist_names_both_ways_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is missing. .*`make data`.* or set SYMLIB_DATA"):
        load("mnist", tmp_path)


def test_check_before_a_run_finds_missing_files(tmp_path, monkeypatch, made_up_mnist):
    monkeypatch.setenv("SYMLIB_DATA", str(made_up_mnist))
    verify("mnist")
    monkeypatch.setenv("SYMLIB_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="is missing"):
        verify("mnist")
    verify("digits")


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_failed_download_names_both_ways_too(tmp_path, monkeypatch, name):
    def no_network(*args, **kwargs):
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz")

    monkeypatch.setattr(getattr(torchvision("datasets"), images.SOURCES[name].class_name), "download", no_network)
    with pytest.raises(FileNotFoundError, match=r"`make data.* or set SYMLIB_DATA .*Error downloading"):
        download(name, tmp_path)


def test_download_is_checked(made_up_cifar, monkeypatch):
    folder = made_up_cifar("cifar100", n_train=1, n_test=1)
    download("cifar100", folder)  # torchvision finds all of its files and fetches nothing
    (folder / "cifar-100-python/meta").write_bytes(b"half")  # which torchvision reads, but does not compare
    monkeypatch.setattr(torchvision("datasets").CIFAR100, "__init__", lambda self, folder, download: None)
    with pytest.raises(ValueError, match="meta is damaged: 4 bytes"):
        download("cifar100", folder)


@pytest.mark.parametrize("use", [load, verify])
def test_unknown_data_set_is_refused(use):
    with pytest.raises(ValueError, match="unknown data set 'mnsit': expected one of digits, mnist, cifar10, cifar100"):
        use("mnsit")


def command_line(*names, folder):
    command = [sys.executable, "-m", "symlib.data", *names]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"SYMLIB_DATA": str(folder)})


def test_command_line_refuses_what_it_does_not_know(tmp_path):
    ran = command_line("cifar10", "imagenet", folder=tmp_path)
    assert ran.returncode == 1 and not any(tmp_path.iterdir())
    assert ran.stderr.strip() == (
        "usage: python -m symlib.data NAME..., each one of mnist, cifar10, cifar100, cora, citeseer, pubmed, ogbn-arxiv"
    )


def test_command_line_explains_how_to_get_arxiv(tmp_path):
    ran = command_line("ogbn-arxiv", folder=tmp_path)
    assert ran.returncode == 0 and f"arxiv.zip (80 MB) in {tmp_path}" in ran.stdout


def test_command_line_reports_damage_in_one_line(tmp_path):
    """The files are there, so nothing is downloaded."""
    raw = tmp_path / "planetoid/Cora/raw"
    raw.mkdir(parents=True)
    for part in planetoid.SHA256["cora"]:
        (raw / f"ind.cora.{part}").write_bytes(b"x")
    ran = command_line("cora", folder=tmp_path)
    assert ran.returncode == 1 and ran.stderr.count("\n") == 1 and "ind.cora.x is damaged: 1 bytes" in ran.stderr
