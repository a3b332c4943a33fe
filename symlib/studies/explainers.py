"""Small data behind the three figures that a reader can play with: swap costs, a line, and the scale of constants.

Nothing is judged here. Numbers are rounded to what a picture shows, and figures and the page's script read the same.
"""

import time
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import torch
from pydantic import Field, model_validator
from torch import Tensor

from symlib import records
from symlib.alignment.permutation import permute_members
from symlib.alignment.tracing import specification
from symlib.alignment.weight_matching import weight_matching
from symlib.asymmetry import Asymmetry, Constraint, Standard, WAsymmetry, constraint
from symlib.config import Config
from symlib.data.dataset import Dataset
from symlib.data.images import load
from symlib.effective.costs import realization_costs, signed_root, swap_costs
from symlib.effective.identifiability import predicted_matching
from symlib.effective.subspace import Moments, input_moments, representation_subspace
from symlib.interpolation import accuracy_drop, curves, line, midpoint_barrier, mixing_weights
from symlib.networks.mlp import MLP
from symlib.population import Population, evaluate, initialise, logits
from symlib.records import Record
from symlib.seeds import generator, seed
from symlib.studies.trained_costs import fixed_sides
from symlib.training import Recipe, train

STUDY = "explainers"
EXPLAINERS = ("swaps", "line", "scale")
SIDE = 8  # pixels along an edge of a digit
FIRST = "linears.0.weight"
# 16 of 64 pixels, so that every neuron still reaches all of the 21 dimensions that the digits fill.
LAYERS: dict[str, Asymmetry] = {
    "standard": Standard(),
    "w-asym 0": WAsymmetry((16, 4), 0.0),
    "w-asym 1": WAsymmetry((16, 4), 1.0),
}
# Kinds of networks as on the page of fully connected networks, at its quick profile.
ENDS: dict[str, Asymmetry] = {
    "standard": Standard(),
    "w-asym": WAsymmetry((8, 16, 16, 64), (1.0, 1.0, 0.5, 0.25)),
}
TOY_INPUTS, TOY_NEURONS, TOY_PINNED = 6, 5, 3  # the inputs fill a plane, so two of the six are free
N_TOY = 400  # points of that plane

Positive = Annotated[int, Field(ge=1)]


class Explainers(Config):
    """Parameters of one run; their meaning stands beside each in the notebook's parameters cell."""

    profile: Literal["quick", "custom"]
    n_neurons: Annotated[int, Field(ge=4, le=32)]
    layer_epochs: Positive
    width: Annotated[int, Field(ge=64)]
    epochs: Positive
    n_points: int
    n_digits: Annotated[int, Field(ge=1, le=24)]
    scales: Annotated[list[Annotated[float, Field(ge=0, allow_inf_nan=False)]], Field(min_length=2)]
    mask_seed: int
    base_seed: int
    out: str

    @model_validator(mode="after")
    def _refuse_before_work_starts(self) -> "Explainers":
        mixing_weights(self.n_points)
        if not all(low < high for low, high in pairwise(self.scales)):
            raise ValueError(f"scales are the stops of a slider and must rise, got {self.scales}")
        return self


def run(config: Explainers) -> Record:
    """Train the few small networks and measure what the three figures show; some ten seconds on one core.

    Returns:
        A record whose facts hold the data of each of `EXPLAINERS` as plain lists, explained by `swaps`, `between` and
        `scale`; its table has the same in a few numbers, one a row (explainer, case, what, value).
    """
    started = time.perf_counter()
    data = load("digits")
    found = {"swaps": swaps(config, data), "line": between(config, data), "scale": scale(config)}
    facts = found | {"data_sha256": data.sha256}
    facts["compute_s"] = round(time.perf_counter() - started, 1)
    record = records.make(STUDY, config.model_dump(exclude={"out"}), summary(found), facts)
    if config.out:
        records.write(Path(config.out) / "record", record)
    return record


def swaps(config: Explainers, data: Dataset) -> dict:
    """Train one small network of each kind in `LAYERS` on digits and return the costs of its first layer.

    Returns:
        `side` of an image; `networks`, each with name, test accuracy, `weights` of m neurons (m lists of 64), `pinned`
        (m lists of indices of pixels), `cost` (m by m; row realises column) and `swap` (m by m, signed root); and
        `pair`, the two neurons of the last network that are the dearest to exchange.
    """
    networks = [_layer(config, name, data) for name in LAYERS]
    dearest = int(torch.tensor(networks[-1]["swap"]).argmax())
    return {"side": SIDE, "networks": networks, "pair": list(divmod(dearest, config.n_neurons))}


def _layer(config: Explainers, name: str, data: Dataset) -> dict:
    model = MLP((SIDE**2, config.n_neurons, 10))
    start = initialise(model, constraint(model, LAYERS[name], config.mask_seed), _seeds(config, "init", 1), "normal")
    recipe = Recipe(config.layer_epochs, batch_size=64, lr=3e-3, weight_decay=0.1)
    one, _ = train(start, data.train.x, data.train.y, recipe, _seeds(config, "order", 1))
    (W,), (D, F) = one.params[FIRST], fixed_sides(one, FIRST)
    moments = input_moments(model, next(one.members()), data.train.x, layers=[FIRST])[FIRST]
    cost = realization_costs(W, D, F, representation_subspace(moments)).cost
    return {
        "name": name,
        "accuracy": rounded(evaluate(one, data.test.x, data.test.y).accuracy, 3)[0],
        "weights": rounded(W, 2),
        "pinned": [(~mask).nonzero().flatten().tolist() for mask in D],
        "cost": rounded(cost, 3),
        "swap": rounded(signed_root(swap_costs(cost)), 3),
    }


def between(config: Explainers, data: Dataset) -> dict:
    """Train two networks of each kind in `ENDS` and walk from one to the other.

    Returns:
        `lambdas` (T); `images` (grey levels from 0 to 16, n lists of 64) and `labels` of the first test digits; and
        `methods`, each with name, test `loss` (nats) and `accuracy` at every lambda, and `probability` of the ten
        classes for each digit at each lambda (n by T by 10, per cent).
    """
    lambdas, few = mixing_weights(config.n_points), data.test.x[: config.n_digits]
    low, high = data.test.x.min(), data.test.x.max()
    methods = []
    for name, (a, b) in _pairs(config, data).items():
        scores = curves(a, b, lambdas, data.test.x, data.test.y)
        # Points x digits x classes, turned so that each digit is one list.
        chances = logits(line(a, b, lambdas), few).softmax(-1).transpose(0, 1)
        loss, accuracy = rounded(scores.loss[0], 4), rounded(scores.accuracy[0], 4)
        chances = rounded(100 * chances, 0, int)
        methods.append({"name": name, "loss": loss, "accuracy": accuracy, "probability": chances})
    images = rounded((few.flatten(1) - low) / (high - low) * 16, 0, int)
    labels = data.test.y[: config.n_digits].tolist()
    return {"lambdas": rounded(lambdas, 4), "images": images, "labels": labels, "methods": methods}


def _pairs(config: Explainers, data: Dataset) -> dict[str, tuple[Population, Population]]:
    """Return the two ends of every line; those of standard networks as they are and reordered by weight matching."""
    trained = {name: _trained_pair(config, asymmetry, data) for name, asymmetry in ENDS.items()}
    standard = trained["standard"]
    spec = specification(standard.model, data.test.x[:2])
    found = weight_matching(*standard.members(), spec, generator(config.base_seed, "match", 0))
    moved = permute_members(spec, [found], standard[1:], data.test.x[:100])
    ends = {name: (pair[:1], pair[1:]) for name, pair in trained.items()}
    return {"standard": ends["standard"], "git-rebasin": (standard[:1], moved), "w-asym": ends["w-asym"]}


def _trained_pair(config: Explainers, asymmetry: Asymmetry, data: Dataset) -> Population:
    model = MLP((SIDE**2, *[config.width] * 3, 10))
    start = initialise(model, constraint(model, asymmetry, config.mask_seed), _seeds(config, "init", 2))
    recipe = Recipe(config.epochs, batch_size=64, lr=1e-3, weight_decay=0.03)
    return train(start, data.train.x, data.train.y, recipe, _seeds(config, "order", 2))[0]


def scale(config: Explainers) -> dict:
    """Move the constants of a toy layer away from 0, with two draws of its trainable weights that stay as they are.

    Returns:
        `scales`; of each neuron its `centre` at scale 1 (2 coefficients) and the shape `S` (S_11, S_12, S_22) of what
        it can realise at cost 1; `learnt`, what the trainable weights add to the centre (2 runs by m by 2); at each
        scale `swap`, the swap costs of the first run (m by m, signed root), and `matched`, how many neurons the
        cheapest assignment of the second run's functions leaves with themselves.
    """
    x = _plane(config)
    moments = Moments()
    moments.add(x)
    plane = representation_subspace(moments, 1.0)
    sides = [_toy(config, sigma_F) for sigma_F in config.scales]
    D = sides[0].D[FIRST]
    drawn = torch.randn(2, *D.shape, generator=generator(config.base_seed, "toy weights")) * TOY_INPUTS**-0.5
    at_each = []
    for F in (fixed.F[FIRST] for fixed in sides):
        first, second = (realization_costs(F + D * W, D, F, plane).cost for W in drawn)
        own = predicted_matching(second) == torch.arange(TOY_NEURONS)
        at_each.append((rounded(signed_root(swap_costs(first)), 2), int(own.sum())))
    S = torch.stack([plane.basis[mask].T @ plane.basis[mask] for mask in D])
    return {
        "scales": config.scales,
        "centre": rounded(_toy(config, 1.0).F[FIRST].double() @ plane.basis, 4),
        "S": rounded(S[:, [0, 0, 1], [0, 1, 1]], 4),
        "learnt": rounded((D * drawn).double() @ plane.basis, 4),
        "swap": [swap for swap, _ in at_each],
        "matched": [n for _, n in at_each],
    }


def _plane(config: Explainers) -> Tensor:
    """Return points of a random plane in the toy's input space, shape (400, 6)."""
    source = generator(config.base_seed, "plane")
    axes = torch.linalg.qr(torch.randn(TOY_INPUTS, 2, generator=source)).Q
    return torch.randn(N_TOY, 2, generator=source) @ axes.T


def _toy(config: Explainers, sigma_F: float) -> Constraint:
    # One mask and one draw of constants for all scales; the read-out pins nothing that the picture shows.
    model = MLP((TOY_INPUTS, TOY_NEURONS, 2), norm="none")
    return constraint(model, WAsymmetry((TOY_PINNED, 1), sigma_F), config.mask_seed)


def summary(found: dict) -> pd.DataFrame:
    """Sum the data of all explainers up.

    Returns:
        Columns explainer, case, what and value: median and smallest signed root of swap costs of two different neurons;
        midpoint barrier (nats) and accuracy drop (percentage points); neurons matched with themselves.
    """
    rows = []
    for network in found["swaps"]["networks"]:
        rows += [("swaps", network["name"], *row) for row in _spread(network["swap"])]
    for method in found["line"]["methods"]:
        loss, accuracy = (torch.tensor([method[of]], dtype=torch.float64) for of in ("loss", "accuracy"))
        rows.append(("line", method["name"], "barrier", float(midpoint_barrier(loss))))
        rows.append(("line", method["name"], "drop", float(accuracy_drop(accuracy))))
    toy = found["scale"]
    for sigma_F, swap, matched in zip(toy["scales"], toy["swap"], toy["matched"], strict=True):
        case = f"{sigma_F:g}"
        rows += [("scale", case, *row) for row in [*_spread(swap), ("matched", float(matched))]]
    return pd.DataFrame(rows, columns=["explainer", "case", "what", "value"])


def _spread(swap: list[list[float]]) -> list[tuple[str, float]]:
    roots = torch.tensor(swap)
    pairs = roots[*torch.triu_indices(*roots.shape, 1)]
    return [("median", float(pairs.quantile(0.5))), ("smallest", float(pairs.min()))]


def rounded(values: Tensor, decimals: int, kind: type = float) -> list:
    """Return a tensor as nested lists of short numbers, without negative zeros.

    >>> rounded(torch.tensor([1.26, -0.01]), 1), rounded(torch.tensor([2.6]), 0, int)
    ([1.3, 0.0], [3])
    """
    near = values.detach().double().round(decimals=decimals) + 0.0
    return (near.long() if kind is int else near).tolist()


def _seeds(config: Explainers, what: str, n: int) -> list[int]:
    return [seed(config.base_seed, what, i) for i in range(n)]
