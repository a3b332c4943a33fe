"""A metanetwork that passes messages along the channels of the network it looks at, so that their order cannot matter.

Which axes of which tensors are the same channels is read from a permutation specification; nothing is said by hand.

Source: graph metanetworks (Lim et al., 2024b; Kofinas et al., 2024), here in the dense form that suits whole layers;
not in paper B.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from symlib.alignment.axes import Units
from symlib.alignment.permutation import PermutationSpec
from symlib.population import Population

WIDTH, ROUNDS = 24, 3


def masked_entries(population: Population) -> dict[str, Tensor]:
    """Return all tensors with zeros for pinned entries, shape (M, ...)."""
    D = population.constraint.D
    return {name: w * D[name].to(w) if name in D else w for name, w in population.params.items()}


class ChannelGraph(nn.Module):
    """Channels are nodes, maps between them edges; three rounds of messages, then means over nodes and edges.

    Args:
        spec: Of the networks it looks at; each axis is one group of units or stays in order.
        shapes: Name of a tensor -> its shape in one network.

    Raises:
        ValueError: If an axis is made of several groups, as behind a flattening layer or in attention.
    """

    def __init__(self, spec: PermutationSpec, shapes: Mapping[str, torch.Size]) -> None:
        super().__init__()
        self.shapes = dict(shapes)
        self.ends = {name: [_node(name, i, axis) for i, axis in enumerate(spec.axes[name][:2])] for name in shapes}
        self.maps = [name for name, shape in shapes.items() if len(shape) > 1]
        sizes = {node: self.shapes[name][i] for name, nodes in self.ends.items() for i, node in enumerate(nodes)}
        # Channels that stay in order are told apart by where they stand.
        self.places = nn.ParameterDict(
            {
                _key(node): nn.Parameter(torch.randn(n if _in_order(node) else 1, WIDTH) / WIDTH**0.5)
                for node, n in sizes.items()
            }
        )
        self.entries = nn.ModuleDict(
            {_key(name): nn.Linear(max(1, shape[2:].numel()), WIDTH) for name, shape in shapes.items()}
        )
        self.rounds = nn.ModuleList(_Round(self.maps) for _ in range(ROUNDS))
        parts = len(self.maps) + len(sizes)
        self.score = nn.Sequential(
            nn.LayerNorm(parts * WIDTH), nn.Linear(parts * WIDTH, 64), nn.ReLU(), nn.LayerNorm(64), nn.Linear(64, 1)
        )

    def forward(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Map tensors of shape (networks, ...) to scores of shape (networks,)."""
        found = {name: w.shape[1:] for name, w in tensors.items()}
        if found != self.shapes:
            odd = sorted(name for name in found.keys() | self.shapes.keys() if found.get(name) != self.shapes.get(name))
            raise ValueError(
                f"this metanetwork was made for other networks: {odd[0]} has shape {found.get(odd[0])} and should have "
                f"{self.shapes.get(odd[0])}; make one for this architecture"
            )
        n = len(next(iter(tensors.values())))
        nodes = {node: self.places[_key(node)].expand(n, -1, -1) for ends in self.ends.values() for node in ends}
        edges = {}
        for name, w in tensors.items():
            if name in self.maps:
                edges[name] = self.entries[_key(name)](w.reshape(*w.shape[:3], -1))
            else:
                nodes[self.ends[name][0]] = nodes[self.ends[name][0]] + self.entries[_key(name)](w[..., None])
        for step in self.rounds:
            nodes, edges = step(nodes, edges, self.ends)
        means = [edge.mean(dim=(1, 2)) for edge in edges.values()] + [node.mean(dim=1) for node in nodes.values()]
        return self.score(torch.cat(means, dim=1))[:, 0]


class _Round(nn.Module):
    """Every node hears from both sides what its edges make of their other ends, then every edge from its two nodes."""

    def __init__(self, maps: list[str]) -> None:
        super().__init__()
        self.into, self.back, self.renewed = (
            nn.ModuleDict({_key(name): nn.Linear(WIDTH, WIDTH) for name in maps}) for _ in range(3)
        )
        self.update = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(
        self, nodes: dict[str, Tensor], edges: dict[str, Tensor], ends: Mapping[str, list[str]]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return nodes of shape (networks, channels, width) and edges of shape (networks, out, in, width) after it."""
        heard = {node: torch.zeros_like(state[:, :1]) for node, state in nodes.items()}
        for name, edge in edges.items():
            out, into = ends[name]
            heard[out] = heard[out] + torch.relu(edge + self.into[_key(name)](nodes[into])[:, None]).mean(dim=2)
            heard[into] = heard[into] + torch.relu(edge + self.back[_key(name)](nodes[out])[:, :, None]).mean(dim=1)
        nodes = {node: self.norm(state + self.update(heard[node])) for node, state in nodes.items()}
        renewed = {}
        for name, edge in edges.items():
            out, into = ends[name]
            around = nodes[out][:, :, None] + nodes[into][:, None]
            renewed[name] = edge + torch.relu(self.renewed[_key(name)](edge) + around)
        return nodes, renewed


def _node(name: str, i: int, axis) -> str:
    """Return the name of the channels along an axis: their group, or this axis of this tensor if they stay in order."""
    if not isinstance(axis, Units):
        raise ValueError(f"axis {i} of {name} is made of several groups ({axis}): only plain channels can be followed")
    return axis.group or f"{name.rpartition('.')[0]} axis {i}"


def _in_order(node: str) -> bool:
    return " axis " in node


def _key(name: str) -> str:
    """Return a name that a module may have."""
    return name.replace(".", "/")
