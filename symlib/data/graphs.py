"""Node classification data: three citation graphs, ogbn-arxiv, and a random graph that needs no files.

What is here ends at tensors; message passing belongs to the networks.
"""

import hashlib
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from torch import Tensor

from symlib.data import arxiv, planetoid
from symlib.data.dataset import Dataset, Split
from symlib.data.files import data_folder
from symlib.data.torch_geometric_import import torch_geometric
from symlib.seeds import generator, seed

READERS = {name: planetoid for name in planetoid.FOLDERS} | {"ogbn-arxiv": arxiv}


@dataclass(frozen=True)
class Graph:
    """A node classification task on one undirected graph.

    A node without edges is allowed and reaches no other: it is classified from its own features alone.
    """

    name: str
    x: Tensor  # node features, float32, shape (nodes, features)
    edges: Tensor  # int64, shape (2, 2 * undirected edges): both directions of each edge, once, no self-loops
    y: Tensor  # int64, shape (nodes,)
    train: Tensor  # node indices, int64; the three sets do not overlap and need not cover the graph
    valid: Tensor
    test: Tensor
    sha256: str  # of the bytes it was made from

    @property
    def task(self) -> Dataset:
        """Training and test nodes as a data set whose inputs are node indices."""
        splits = [Split(nodes, self.y[nodes]) for nodes in (self.train, self.test)]
        return Dataset(self.name, *splits, self.sha256)

    @property
    def n_classes(self) -> int:
        """Number of classes, labelled 0, 1, ..., as the labels of all nodes show it."""
        return int(self.y.max()) + 1

    def to(self, device: str) -> "Graph":
        """Return the graph on a device."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: t.to(device) for name, t in values.items() if isinstance(t, Tensor)})


def load_graph(name: str, folder: Path | None = None) -> Graph:
    """Return a graph by name: "blocks", "cora", "citeseer", "pubmed" or "ogbn-arxiv".

    Args:
        name: Which graph.
        folder: Holds `planetoid/<Name>/raw/` or `ogbn_arxiv/`; default `data_folder()`.

    Raises:
        ValueError: If the name is unknown or a file is damaged.
        FileNotFoundError: If a file is missing; says how to get it.
    """
    _need_known(name)
    if name == "blocks":
        return blocks()
    return undirected(name, **READERS[name].read(name, folder or data_folder()))


def verify_graph(name: str, folder: Path | None = None) -> None:
    """Check the files of a graph without reading it, so that a long run fails before it starts.

    Raises:
        ValueError: If the name is unknown or a file is damaged.
        FileNotFoundError: If a file is missing.
    """
    _need_known(name)
    if name != "blocks":
        READERS[name].verify(name, folder or data_folder())


def blocks() -> Graph:
    """Return the contextual stochastic block model of 2,000 nodes in 10 equal classes, the same at every call.

    Two nodes are linked with probability 0.02 within a class and 0.0025 across, which makes 8.5 neighbours on average.
    The 32 features are the mean of the class, 0.45 N(0, I), plus unit noise. 1,000 nodes train, 400 validate, 600 test.

    Source: ours, to stand in for ogbn-arxiv; after Deshpande et al. (2018).
    """
    source = generator("blocks")
    y = torch.arange(10).repeat_interleave(200)
    means = 0.45 * torch.randn(10, 32, generator=source)
    x = means[y] + torch.randn(len(y), 32, generator=source)
    train, valid, test = torch.randperm(len(y), generator=source).split([1000, 400, 600])
    chances = torch.full((10, 10), 0.0025).fill_diagonal_(0.02)
    with torch.random.fork_rng(devices=[]):  # the function below knows only torch's own generator
        torch.default_generator.manual_seed(seed("blocks", "edges"))
        edges = torch_geometric("utils").stochastic_blockmodel_graph([200] * 10, chances)
    parts = {"x": x, "edges": edges, "y": y, "train": train, "valid": valid, "test": test}
    sha256 = hashlib.sha256(b"".join(t.numpy().tobytes() for t in parts.values())).hexdigest()
    return undirected("blocks", **parts, sha256=sha256)


def undirected(
    name: str, x: Tensor, edges: Tensor, y: Tensor, train: Tensor, valid: Tensor, test: Tensor, sha256: str
) -> Graph:
    """Make a graph from links in any direction and number: both directions of each, once, and no self-loops.

    Args:
        name: Of the graph, also in messages.
        x: Node features, float32, shape (nodes, features).
        edges: Pairs of node indices, int64, shape (2, links).
        y: Classes, int64, shape (nodes,).
        train: Node indices, int64; `valid` and `test` likewise.
        valid: See `train`.
        test: See `train`.
        sha256: Of the bytes all this was made from.

    Raises:
        ValueError: If there are no edges, a node index is out of range, a node is in two of the three sets, or
            features and labels differ in length.
    """
    if len(x) != len(y):
        raise ValueError(f"{name} has features for {len(x)} nodes and labels for {len(y)}")
    for what, index in {"edges": edges, "train": train, "valid": valid, "test": test}.items():
        if index.numel() and (index.min() < 0 or index.max() >= len(x)):
            raise ValueError(
                f"{what} of {name} name nodes {index.min()} to {index.max()}, but the graph has nodes 0 to {len(x) - 1}"
            )
    chosen = torch.cat([train, valid, test])
    if len(chosen.unique()) < len(chosen):
        raise ValueError(f"{name} has nodes in more than one of train, valid and test; the three must not overlap")
    utils = torch_geometric("utils")
    edges = utils.to_undirected(utils.remove_self_loops(edges)[0], num_nodes=len(x))
    if not edges.numel():
        raise ValueError(f"{name} has no edges between different nodes: message passing would do nothing; use an MLP")
    return Graph(name, x, edges, y, train, valid, test, sha256)


def _need_known(name: str) -> None:
    if name not in ("blocks", *READERS):
        raise ValueError(f"unknown graph {name!r}: expected one of {', '.join(['blocks', *READERS])}")
