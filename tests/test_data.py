import hashlib
import struct
from pathlib import Path

import pytest
import torch

from symlib.data import images
from symlib.data.images import data_folder, digits, download_mnist, load, mnist, verify
from symlib.data.torchvision_import import torchvision

REAL = pytest.mark.skipif(
    not (data_folder() / "MNIST/raw/train-images-idx3-ubyte").exists(), reason="needs MNIST in SYMLIB_DATA"
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


def test_digits_are_split_and_standardised():
    data = digits()
    assert data.train.x.shape == (1437, 64) and data.test.x.shape == (360, 64)
    assert data.train.x.mean().abs() < 1e-5 and data.train.x.std() == pytest.approx(1, abs=1e-5)
    assert data.train.y.bincount().min() > 100
    assert data.train.y[:20].tolist() != [*range(10), *range(10)]  # the file's own order, hardly shuffled


def test_mnist_is_read_through_torchvision_split_and_scaled(made_up_mnist):
    data = mnist(made_up_mnist)
    assert data.train.x.shape == (54_000, 1) and data.test.x.shape == (10_000, 1)
    pixel = torch.arange(10_000) % 10
    torch.testing.assert_close(data.test.x[:, 0], (pixel / 255 - 0.1307) / 0.3081)
    assert torch.equal(data.test.y, pixel)
    # The split is the papers': torch's random_split with seed 42.
    parts = torch.utils.data.random_split(range(60_000), [54_000, 6_000], generator=torch.Generator().manual_seed(42))
    assert torch.equal(data.train.y, torch.tensor(list(parts[0])) % 10)


@REAL
def test_real_mnist():
    data = load("mnist")
    assert data.train.x.shape == (54_000, 784)
    assert data.train.x.mean().abs() < 0.01 and data.train.x.std() == pytest.approx(1, abs=0.01)
    assert (data.test.y[:5] == torch.tensor([7, 2, 1, 0, 4])).all()


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_damaged_file_is_named_before_it_is_read(made_up_mnist, damage):
    path = made_up_mnist / "MNIST/raw/t10k-images-idx3-ubyte"
    data = bytearray(path.read_bytes())
    path.write_bytes(data[:-5] if damage == "truncated" else data[:-1] + b"\xff")
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte is damaged: .*delete it and get it again"):
        mnist(made_up_mnist)


def test_missing_mnist_names_both_ways_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is missing. .*`make data`.* or set SYMLIB_DATA"):
        mnist(tmp_path)


def test_check_before_a_run_finds_missing_files(tmp_path, monkeypatch, made_up_mnist):
    monkeypatch.setenv("SYMLIB_DATA", str(made_up_mnist))
    verify("mnist")
    monkeypatch.setenv("SYMLIB_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="is missing"):
        verify("mnist")
    verify("digits")


def test_failed_download_names_both_ways_too(tmp_path, monkeypatch):
    def no_network(*args, **kwargs):
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz")

    monkeypatch.setattr(torchvision("datasets").MNIST, "download", no_network)
    with pytest.raises(FileNotFoundError, match=r"`make data`.* or set SYMLIB_DATA .*Error downloading"):
        download_mnist(tmp_path)


def test_unknown_data_set_is_refused():
    with pytest.raises(ValueError, match="unknown data set 'mnsit': expected one of digits, mnist"):
        load("mnsit")
