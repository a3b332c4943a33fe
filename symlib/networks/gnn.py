"""The message-passing network of paper B: neighbours' mean plus own state, linear map, BatchNorm, activation.

Works on one whole graph, which it carries along; its inputs are the nodes to classify.
"""

import warnings
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from symlib.networks.mlp import Activation, gelu


class GNN(nn.Module):
    """Node classifier on one undirected graph.

    Args:
        features: Node features, shape (nodes, features).
        edges: Both directions of every edge, shape (2, directed edges), int64. A node without edges keeps its own
            state.
        hidden: Units of each message-passing block.
        n_classes: Outputs.
        activation: Makes the activation of block `site` with `width` units.

    Raises:
        ValueError: If the graph has no edges, one that leads nowhere, or one in a single direction.

    Source: Lim et al. (2024), section 5.1 and appendix F.1.2.
    """

    def __init__(
        self, features: Tensor, edges: Tensor, hidden: Sequence[int], n_classes: int, activation: Activation = gelu
    ) -> None:
        super().__init__()
        self.rows_per_pass = len(features)  # every node, however few are asked for
        starts, neighbours, degree = _compressed(edges, len(features))
        # Not in the state dictionary: they are data.
        self.register_buffer("starts", starts, persistent=False)
        self.register_buffer("neighbours", neighbours, persistent=False)
        share = 1 / degree.clamp_min(1).to(features)
        self.register_buffer("weights", share.repeat_interleave(degree), persistent=False)
        self.register_buffer("weights_back", share[neighbours], persistent=False)
        # The first aggregation has no parameters, so it is done once.
        self.register_buffer("inputs", self.aggregate(features), persistent=False)
        widths = [features.shape[1], *hidden, n_classes]
        self.linears = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for width in hidden)
        self.activations = nn.ModuleList(activation(site, width) for site, width in enumerate(hidden))

    def aggregate(self, h: Tensor) -> Tensor:
        """Add the mean of its neighbours to every node's state, shape (nodes, width)."""
        return add_neighbours(self.starts, self.neighbours, self.weights, self.weights_back, h)

    def forward(self, nodes: Tensor) -> Tensor:
        """Map node indices of shape (batch,) to logits of shape (batch, classes)."""
        *hidden, readout = self.linears
        h = self.inputs
        for block, (linear, norm, activation) in enumerate(zip(hidden, self.norms, self.activations, strict=True)):
            h = activation(norm(linear(self.aggregate(h) if block else h)))
        return readout(h[nodes])


@torch.library.custom_op("symlib::add_neighbours", mutates_args=())
def add_neighbours(starts: Tensor, neighbours: Tensor, weights: Tensor, weights_back: Tensor, h: Tensor) -> Tensor:
    """Return h + A h, where A has the pattern of an undirected graph.

    An operator of its own because sparse products have no rule for batches of networks; one pass over memory instead
    of four.

    Args:
        starts: Where each node's neighbours begin, shape (nodes + 1,), int64.
        neighbours: Neighbours of all nodes one after another, shape (directed edges,), int64.
        weights: Entries of A, same shape.
        weights_back: Entries of its transpose, for the gradient.
        h: Shape (nodes, width).
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse (CSR tensor support|invariant checks)")
        A = torch.sparse_csr_tensor(starts, neighbours, weights, (len(h), len(h)), check_invariants=False)
        return torch.addmm(h, A, h)


@add_neighbours.register_fake
def _(starts: Tensor, neighbours: Tensor, weights: Tensor, weights_back: Tensor, h: Tensor) -> Tensor:
    return torch.empty_like(h)


def _keep_graph(ctx, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:4])


def _backward(ctx, gradient: Tensor) -> tuple[None, None, None, None, Tensor]:
    starts, neighbours, weights, weights_back = ctx.saved_tensors
    return None, None, None, None, add_neighbours(starts, neighbours, weights_back, weights, gradient.contiguous())


add_neighbours.register_autograd(_backward, setup_context=_keep_graph)


@add_neighbours.register_vmap
def _(info, in_dims: tuple[int | None, ...], *graph_and_h: Tensor) -> tuple[Tensor, int]:
    *graph, h = graph_and_h
    members = h.movedim(in_dims[-1], 1)
    return add_neighbours(*graph, members.flatten(1).contiguous()).view_as(members), 1


def _compressed(edges: Tensor, n_nodes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return (starts, neighbours, degree) after checking the edges."""
    if edges.dim() != 2 or len(edges) != 2 or not edges.shape[1]:
        raise ValueError(f"a graph needs edges of shape (2, directed edges), at least one; got {tuple(edges.shape)}")
    if edges.min() < 0 or edges.max() >= n_nodes:
        raise ValueError(f"edges must join nodes 0 to {n_nodes - 1}, got {int(edges.min())} to {int(edges.max())}")
    there = (edges[0] * n_nodes + edges[1]).sort().values
    if not torch.equal(there, (edges[1] * n_nodes + edges[0]).sort().values):
        raise ValueError("every edge must be listed in both directions: make the graph undirected first")
    degree = torch.bincount(edges[0], minlength=n_nodes)
    return torch.cat([degree.new_zeros(1), degree.cumsum(0)]), there % n_nodes, degree
