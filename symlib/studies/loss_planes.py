"""The loss on planes through three MLPs that were trained apart, for each method of Table 1: one basin, or three?

The networks are those of `mode_connectivity`: the first edge of every triangle is the line of its first pair.

Source: Lim et al. (2024), section 5.1, for networks and methods; planes are an addition of ours.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field, model_validator
from torch import Tensor

from symlib import records
from symlib.alignment.permutation import permute_members
from symlib.alignment.tracing import specification
from symlib.alignment.weight_matching import weight_matching
from symlib.asymmetry import n_trainable
from symlib.config import Config
from symlib.data.dataset import Dataset
from symlib.data.images import load, verify
from symlib.interpolation import plane
from symlib.population import Evaluation, Population, evaluate, initialise
from symlib.records import Record
from symlib.seeds import generator, seed
from symlib.studies.mode_connectivity import ModeConnectivity, NotNegative, Positive, build
from symlib.studies.shards import joined_facts, joined_record, refuse_missing_device, run_shards
from symlib.training import Recipe, train

STUDY = "loss_planes"
# Networks that are trained -> the planes that are drawn through three of them: the methods of Table 1.
METHODS = {"standard": ("standard", "git-rebasin"), "sigma-asym": ("sigma-asym",), "w-asym": ("w-asym",)}
N_TEST = {"digits": 360, "mnist": 10_000}
MARGIN = 0.25  # of the longer side of the box around a triangle, left free on every side of it
NEAR = 0.1  # nats; half of the barrier that Lim et al. print for standard MLPs: what is higher is no part of a basin
# Points that are summed up, by their weights and not by what the grid happens to hold.
EXACT = {
    "a": (1, 0, 0),
    "b": (0, 1, 0),
    "c": (0, 0, 1),
    "ab": (1 / 2, 1 / 2, 0),
    "bc": (0, 1 / 2, 1 / 2),
    "ca": (1 / 2, 0, 1 / 2),
    "abc": (1 / 3, 1 / 3, 1 / 3),
}
EDGES = ["ab", "bc", "ca"]

Triple = tuple[Population, Population, Population]


class LossPlanes(Config):
    """Parameters of one run; their meaning stands beside each in the notebook's parameters cell."""

    profile: Literal["quick", "cpu", "paper", "custom"]
    dataset: Literal["digits", "mnist"]
    width: Positive
    epochs: Positive
    batch_size: Positive
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    weight_decay: NotNegative
    n_fix: list[int]
    sigma_F: list[float]
    gate_std: NotNegative
    restarts: Positive
    n_points: Annotated[int, Field(ge=3)]
    n_images: Positive
    mask_seed: int
    base_seed: int
    workers: Positive
    device: Literal["cpu", "cuda"]
    out: str

    @model_validator(mode="after")
    def _refuse_before_work_starts(self) -> "LossPlanes":
        if self.n_images > N_TEST[self.dataset]:
            raise ValueError(f"n_images is {self.n_images}, but {self.dataset} has {N_TEST[self.dataset]} test images")
        lines_of(self)  # checks what makes the networks
        refuse_missing_device(self.device)
        return self

    @property
    def science(self) -> dict:
        """The parameters that a result depends on; those of where and how it runs are left out."""
        return self.model_dump(exclude={"profile", "workers", "device", "out"})


def lines_of(config: LossPlanes) -> ModeConnectivity:
    """Return the study of lines whose first networks are those of the planes.

    What a line has and a plane has not is set so that the networks are the same.
    """
    lines_only = {"n_pairs": 2, "init": "uniform", "gate_sweep": [], "syre_sigma_F": 1.0, "pairs_per_shard": 1}
    shared = config.model_dump(exclude={"n_points", "n_images"})
    return ModeConnectivity.checked(shared | lines_only | {"n_points": 3})


def run(config: LossPlanes) -> Record:
    """Train three networks of every kind and evaluate their planes, one kind a shard.

    With `config.out` set, a killed run goes on where it stopped.

    Returns:
        A record with one row per method and point of its grid; in its facts, where the three networks of each plane lie
        and what the points of `EXACT` score.
    """
    verify(config.dataset)
    out = Path(config.out) if config.out else None
    work = {kind: (_key(config, kind), partial(measure, config, kind)) for kind in METHODS}
    parts = run_shards(work, out and out / "shards", config.workers, config.epochs)
    facts = {
        "networks": {part.config["networks"]: part.about["trained"] for part in parts},
        "planes": {method: about for part in parts for method, about in part.about["planes"].items()},
        "data_sha256": parts[0].about["data_sha256"],
        **joined_facts(parts),
    }
    return joined_record(STUDY, config.model_dump(exclude={"out"}), parts, facts, config.out)


def measure(config: LossPlanes, kind: str, folder: Path | None, on_epoch: Callable[[], None]) -> Record:
    """Train three networks of a kind, and evaluate the plane through them for every method of the kind.

    Args:
        config: The study.
        kind: A key of `METHODS`; network i has the same initial draw and batch order in every kind.
        folder: Where the checkpoint goes; None keeps none.
        on_epoch: Called after every epoch.

    Returns:
        Rows with method, x and y (Euclidean distances from the first network), test_loss (nats) and test_accuracy. If a
        network diverged, there is one row a method without them, and no plane among the facts.
    """
    started = time.perf_counter()
    data = load(config.dataset).to(config.device)
    try:
        networks, losses = _train(config, kind, data, folder, on_epoch)
    except FloatingPointError:
        trained, planes = {"diverged": True}, {}
        nothing = dict.fromkeys(("x", "y", "test_loss", "test_accuracy"), np.nan)
        table = pd.DataFrame({"method": METHODS[kind]} | nothing)
    else:
        size = n_trainable(networks.model, networks.constraint)
        trained = {"diverged": False, "train_loss": losses[-1].tolist(), "n_trainable": size}
        triples = _triples(config, kind, networks, data)
        planes = {method: _landmarks(config, triple, data) for method, triple in triples.items()}
        parts = [_plane_table(config, triple, planes[m], data).assign(method=m) for m, triple in triples.items()]
        table = pd.concat(parts)
    facts = {"trained": trained, "planes": planes, "data_sha256": data.sha256}
    facts["compute_s"] = round(time.perf_counter() - started, 1)
    return records.make(STUDY, _key(config, kind), table, facts)


def positions(a: Population, b: Population, c: Population) -> Tensor:
    """Return where three networks lie in their plane: the first at 0, the second to the right, the third above.

    Args:
        a: A population of one, as are the others.
        b: The second network.
        c: The third network.

    Returns:
        Coordinates x and y, in which distances are Euclidean distances of weights, shape (3, 2), float64.

    Raises:
        ValueError: If the three lie on one line.
    """
    first, *others = (torch.cat([w.flatten() for w in p.params.values()]).double() for p in (a, b, c))
    ab, ac = (other - first for other in others)
    along = ab @ ac / ab.norm()
    across = (ac - along * ab / ab.norm()).norm()
    if not across > 1e-5 * ac.norm():
        raise ValueError("the three networks lie on one line and span no plane: train them from different seeds")
    return torch.tensor([[0, 0], [float(ab.norm()), 0], [float(along), float(across)]], dtype=torch.float64)


def weights_at(points: Tensor, corners: Tensor) -> Tensor:
    """Return the weights of the three corners at points of a plane, which sum to 1 and are positive inside.

    Args:
        points: Coordinates, shape (T, 2), float64.
        corners: Coordinates of a, b and c, shape (3, 2), float64.

    Returns:
        Barycentric coordinates, shape (T, 3).
    """
    with_one = [torch.cat([p, torch.ones(len(p), 1, dtype=p.dtype)], dim=1) for p in (corners, points)]
    return torch.linalg.solve(*with_one, left=False)


def grid(corners: Tensor, n_points: int) -> Tensor:
    """Return the points of a square window around a triangle, row by row from below, shape (n_points ** 2, 2)."""
    low, high = corners.amin(dim=0), corners.amax(dim=0)
    half = (0.5 + MARGIN) * (high - low).max()
    steps = torch.linspace(-1, 1, n_points, dtype=torch.float64) * half
    return (low + high) / 2 + torch.cartesian_prod(steps, steps).flip(1)


def triangle(record: Record) -> pd.DataFrame:
    """Sum up every plane of a record.

    Returns:
        One row per method, NaN where a network diverged: `corners` (mean loss of the three networks); above it, the
        barriers `ab`, `bc`, `ca` (midpoints of edges) and `centroid`; `highest` (loss on the triangle; all in nats);
        `basin`, the share of its area with a loss at most `NEAR` above the worst corner; `side`, the mean Euclidean
        distance of two corners.
    """
    tables = dict(list(record.table.groupby("method")))
    rows = {method: _summed_up(about, tables[method]) for method, about in record.about["planes"].items()}
    columns = ["corners", *EDGES, "centroid", "highest", "basin", "side"]
    found = pd.DataFrame(list(rows.values()), index=list(rows), columns=columns, dtype=float)
    return found.reindex(record.table["method"].unique()).rename_axis("method").reset_index()


def quantities(record: Record) -> dict[str, np.ndarray]:
    """Return barriers in nats: "centroid/standard", one value, and "edges/standard", one for each of three edges.

    A method whose networks diverged has none.
    """
    found = triangle(record).dropna().set_index("method")
    centroids = {f"centroid/{method}": row[["centroid"]].to_numpy() for method, row in found.iterrows()}
    return centroids | {f"edges/{method}": row[EDGES].to_numpy() for method, row in found.iterrows()}


def readings(record: Record) -> dict[str, bool]:
    """Say what holds of the planes of a record; by rules that were written before a plane was evaluated on MNIST.

    What would need a network that diverged does not hold.
    """
    found = triangle(record).set_index("method")
    centroid, edges, basin = found["centroid"], found[EDGES], found["basin"]
    tenth, unmatched = centroid["standard"] / 10, edges.loc["git-rebasin", "bc"]
    return {
        "standard: a barrier on every edge": bool(edges.loc["standard"].min() > 0),
        "standard: the centroid is higher than the edges": bool(centroid["standard"] > edges.loc["standard"].mean()),
        "standard: less than half of the triangle belongs to a basin": bool(basin["standard"] < 0.5),
        "Git Re-Basin: less than a tenth of the standard centroid": bool(centroid["git-rebasin"] < tenth),
        "Git Re-Basin: all of the triangle is one basin": bool(basin["git-rebasin"] == 1),
        "Git Re-Basin: the edge of the two networks not matched to each other is the highest": bool(
            unmatched > edges.loc["git-rebasin", ["ab", "ca"]].max()
        ),
        "σ-asymmetric: less than the standard centroid": bool(centroid["sigma-asym"] < centroid["standard"]),
        "W-asymmetric: less than a tenth of the standard centroid": bool(centroid["w-asym"] < tenth),
        "W-asymmetric: all of the triangle is one basin": bool(basin["w-asym"] == 1),
    }


def _key(config: LossPlanes, kind: str) -> dict:
    """Return what the planes of one kind of network depend on, and their record is keyed by."""
    return config.science | {"networks": kind}


def _train(
    config: LossPlanes, kind: str, data: Dataset, folder: Path | None, on_epoch: Callable[[], None]
) -> tuple[Population, Tensor]:
    start = initialise(*build(lines_of(config), kind), [seed(config.base_seed, "init", i) for i in range(3)])
    return train(
        start.to(config.device),
        data.train.x,
        data.train.y,
        Recipe(config.epochs, config.batch_size, config.lr, config.weight_decay),
        [seed(config.base_seed, "order", i) for i in range(3)],
        folder and folder / "training.safetensors",
        on_epoch,
    )


def _triples(config: LossPlanes, kind: str, networks: Population, data: Dataset) -> dict[str, Triple]:
    """Return the three networks as they are and, where units may be reordered, matched to the first."""
    found = {kind: (networks[:1], networks[1:2], networks[2:])}
    if "git-rebasin" in METHODS[kind]:
        spec, (first, *others) = specification(networks.model, data.test.x[:2]), networks.members()
        matched = [
            weight_matching(first, other, spec, generator(config.base_seed, "match", i), config.restarts)
            for i, other in enumerate(others)
        ]
        moved = permute_members(spec, matched, networks[1:], data.test.x[:100])
        found["git-rebasin"] = (networks[:1], moved[:1], moved[1:])
    return found


def _landmarks(config: LossPlanes, triple: Triple, data: Dataset) -> dict:
    """Return as facts where the networks lie, and what the points of `EXACT` score."""
    scores = _scores(config, triple, torch.tensor(list(EXACT.values()), dtype=torch.float64), data)
    named = {
        what: dict(zip(EXACT, values.tolist(), strict=True))
        for what, values in (("loss", scores.loss), ("accuracy", scores.accuracy))
    }
    return {"corners": positions(*triple).tolist()} | named


def _plane_table(config: LossPlanes, triple: Triple, landmarks: Mapping, data: Dataset) -> pd.DataFrame:
    corners = torch.tensor(landmarks["corners"], dtype=torch.float64)
    points = grid(corners, config.n_points)
    scores = _scores(config, triple, weights_at(points, corners), data)
    columns = {"x": points[:, 0], "y": points[:, 1], "test_loss": scores.loss, "test_accuracy": scores.accuracy}
    return pd.DataFrame(columns)


def _scores(config: LossPlanes, triple: Triple, weights: Tensor, data: Dataset) -> Evaluation:
    """Evaluate points of a plane on the first test images, shape (T,); one row of the grid is in memory at a time."""
    x, y = data.test.x[: config.n_images], data.test.y[: config.n_images]
    rows = [evaluate(plane(*triple, some), x, y) for some in weights.split(config.n_points)]
    return Evaluation(torch.cat([row.loss for row in rows]).cpu(), torch.cat([row.accuracy for row in rows]).cpu())


def _summed_up(landmarks: Mapping, table: pd.DataFrame) -> dict[str, float]:
    """Return the columns of `triangle` of one plane."""
    loss, corners = landmarks["loss"], torch.tensor(landmarks["corners"], dtype=torch.float64)
    weights = weights_at(torch.tensor(table[["x", "y"]].to_numpy()), corners)
    inside = table["test_loss"].to_numpy()[(weights >= 0).all(dim=1).numpy()]
    three = [loss[name] for name in "abc"]
    base = float(np.mean(three))
    return {"corners": base, "centroid": loss["abc"] - base} | {
        **{edge: loss[edge] - base for edge in EDGES},
        "highest": max(*loss.values(), *inside),
        "basin": float((inside <= max(three) + NEAR).mean()),
        "side": float(torch.nn.functional.pdist(corners).mean()),
    }
