"""ogbn-arxiv, read from its published CSV files where the `ogb` package puts them; that package is not needed."""

import hashlib
import zlib
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from symlib.data.files import need_file

SIZES = {"nodes": 169_343, "features": 128, "edges": 1_166_243, "train": 90_941, "valid": 29_799, "test": 48_603}
N_CLASSES = 40
FILES = {
    "x": "raw/node-feat.csv.gz",
    "edges": "raw/edge.csv.gz",
    "y": "raw/node-label.csv.gz",
    "train": "split/time/train.csv.gz",
    "valid": "split/time/valid.csv.gz",
    "test": "split/time/test.csv.gz",
}


def read(name: str, folder: Path) -> dict[str, Tensor | str]:
    """Return what `undirected` makes a graph with the official split by time from.

    The features are as published: averages of word vectors, not normalised.

    Raises:
        FileNotFoundError: If a file is missing; says how to get it.
        ValueError: If a file cannot be read, or does not hold as many rows and columns as published.

    Source: Hu et al. (2020), Open Graph Benchmark; the node task of Lim et al. (2024), section 5.1.
    """
    sha256 = verify(name, folder)
    nodes = SIZES["nodes"]
    shapes = {"x": (nodes, SIZES["features"]), "edges": (SIZES["edges"], 2), "y": (nodes, 1)}
    found = {
        part: _table(folder / "ogbn_arxiv" / file, shapes.get(part) or (SIZES[part], 1), part == "x")
        for part, file in FILES.items()
    }
    found = {part: t.squeeze(1) if t.shape[1] == 1 else t for part, t in found.items()}
    if found["y"].min() < 0 or found["y"].max() >= N_CLASSES:
        raise ValueError(
            f"{folder / 'ogbn_arxiv' / FILES['y']} holds labels from {found['y'].min()} to {found['y'].max()}, "
            f"expected 0 to {N_CLASSES - 1}; {how_to_get(folder)}"
        )
    return found | {"edges": found["edges"].T, "sha256": sha256}


def verify(name: str, folder: Path) -> str:
    """Check that every file is there and return a SHA-256 over them all.

    Raises:
        FileNotFoundError: If a file is missing; says how to get it.
    """
    hashes = []
    for file in FILES.values():
        path = folder / "ogbn_arxiv" / file
        need_file(path, how_to_get(folder))
        with path.open("rb") as opened:
            hashes.append(hashlib.file_digest(opened, "sha256").hexdigest())
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def how_to_get(folder: Path) -> str:
    """Return how to get the data set, which is not downloaded here."""
    return (
        f"To get ogbn-arxiv: unpack http://snap.stanford.edu/ogb/data/nodeproppred/arxiv.zip (80 MB) in {folder} and "
        "rename its folder arxiv to ogbn_arxiv, as the ogb package does; or set SYMLIB_DATA to a folder that holds "
        "ogbn_arxiv/ with raw/ and split/time/"
    )


def _table(path: Path, shape: tuple[int, int], fractions: bool) -> Tensor:
    try:
        values = pd.read_csv(path, header=None, dtype="float32" if fractions else "int64").to_numpy()
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise ValueError(
            f"{path} cannot be read ({path.stat().st_size} bytes; {error}); delete it and get it again"
        ) from error
    if values.shape != shape:
        raise ValueError(
            f"{path} holds {values.shape[0]} rows of {values.shape[1]}, expected {shape[0]} of {shape[1]}; "
            "delete it and get it again"
        )
    return torch.tensor(values)
