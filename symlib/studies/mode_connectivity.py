"""Linear mode connectivity of MLPs: are two networks that were trained apart joined by a line of low loss?

Source: Lim et al. (2024), section 5.1, Table 1 row 1 and Figure 3 left.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field, model_validator

from symlib import records
from symlib.alignment.activation_matching import activation_matching
from symlib.alignment.permutation import Alignment, PermutationSpec, permute_members
from symlib.alignment.tracing import specification
from symlib.alignment.weight_matching import weight_matching
from symlib.asymmetry import (
    Asymmetry,
    Constraint,
    Sigma,
    Standard,
    Syre,
    WAsymmetry,
    activation_for,
    constraint,
)
from symlib.claims import survivors
from symlib.config import Config
from symlib.data.images import Dataset, load, verify
from symlib.interpolation import accuracy_drop, curves, line, maximum_barrier, midpoint_barrier, mixing_weights
from symlib.networks.mlp import MLP
from symlib.population import Evaluation, Population, evaluate, initialise
from symlib.records import Record
from symlib.seeds import generator, seed
from symlib.studies.shards import joined_facts, joined_record, refuse_missing_device, run_shards
from symlib.studies.variants import joined_scores, no_line, repaired, score_quantities, separation
from symlib.training import Recipe, train

STUDY = "mode_connectivity"
# Networks that are trained -> what is measured on their pairs: the paper's four methods and three more.
METHODS = {
    "standard": ("standard", "git-rebasin", "git-rebasin repaired", "activation-matching"),
    "sigma-asym": ("sigma-asym",),
    "w-asym": ("w-asym",),
    "syre": ("syre",),
}
N_INPUTS = {"digits": 64, "mnist": 784}
N_SEEN = 10_000  # training images that activations are matched and statistics repaired on

Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class ModeConnectivity(Config):
    """Parameters of one run; their meaning stands beside each in the notebook's parameters cell."""

    profile: Literal["quick", "cpu", "paper", "custom"]
    dataset: Literal["digits", "mnist"]
    width: Positive
    n_pairs: Annotated[int, Field(ge=2)]
    epochs: Positive
    batch_size: Positive
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    weight_decay: NotNegative
    init: Literal["uniform", "normal"]
    n_fix: list[int]
    sigma_F: list[float]
    gate_std: NotNegative
    gate_sweep: list[Annotated[float, Field(gt=0, allow_inf_nan=False)]]
    syre_sigma_F: NotNegative
    n_points: int
    restarts: Positive
    mask_seed: int
    base_seed: int
    pairs_per_shard: Positive
    workers: Positive
    device: Literal["cpu", "cuda"]
    out: str

    @model_validator(mode="after")
    def _refuse_before_work_starts(self) -> "ModeConnectivity":
        mixing_weights(self.n_points)
        for networks in METHODS:
            build(self, networks)
        refuse_missing_device(self.device)
        return self

    @property
    def science(self) -> dict:
        """The parameters that a result depends on; those of where and how it runs are left out."""
        return self.model_dump(exclude={"profile", "gate_sweep", "pairs_per_shard", "workers", "device", "out"})

    def with_gate(self, gate_std: float) -> "ModeConnectivity":
        """Return the study with another scale of the gate, in a folder of its own below the first."""
        out = str(Path(self.out) / f"gate-{gate_std!r}") if self.out else ""
        return ModeConnectivity.checked(self.model_dump() | {"gate_std": gate_std, "gate_sweep": [], "out": out})


@dataclass(frozen=True)
class Shard:
    """Some pairs of one kind of network: what one process works on at a time."""

    networks: str
    first_pair: int
    n_pairs: int

    @property
    def name(self) -> str:
        """The folder of the shard's record."""
        return f"{self.networks}-{self.first_pair:03d}"


def build(config: ModeConnectivity, networks: str) -> tuple[MLP, Constraint]:
    """Return the architecture of a kind of network and its fixed side."""
    asymmetry: Asymmetry = {
        "standard": Standard(),
        "sigma-asym": Sigma(config.gate_std),
        "w-asym": WAsymmetry(config.n_fix, config.sigma_F),
        "syre": Syre(config.syre_sigma_F),
    }[networks]
    widths = [N_INPUTS[config.dataset], *[config.width] * 3, 10]
    model = MLP(widths, activation_for(asymmetry, config.mask_seed))
    return model, constraint(model, asymmetry, config.mask_seed)


def shards(config: ModeConnectivity, kinds: Iterable[str] = METHODS) -> list[Shard]:
    """Cut the study of some kinds of networks into independent pieces."""
    starts = range(0, config.n_pairs, config.pairs_per_shard)
    return [
        Shard(networks, first, min(config.pairs_per_shard, config.n_pairs - first))
        for first in starts
        for networks in kinds
    ]


def shard_config(config: ModeConnectivity, shard: Shard) -> dict:
    """Return what a shard's result depends on, and its record is keyed by.

    The number of pairs is left out: a study that is extended to more of them keeps the shards it has.
    """
    return {k: v for k, v in config.science.items() if k != "n_pairs"} | asdict(shard)


def run(config: ModeConnectivity, kinds: Iterable[str] = METHODS) -> Record:
    """Run the study; with `config.out` set, a killed run goes on where it stopped.

    Args:
        config: What to run.
        kinds: Kinds of networks to train, keys of `METHODS`.

    Returns:
        A record with one row per method, pair and point of the line.
    """
    verify(config.dataset)
    out = Path(config.out) if config.out else None
    work = {s.name: (shard_config(config, s), partial(measure, config, s)) for s in shards(config, kinds)}
    parts = run_shards(work, out and out / "shards", config.workers, config.epochs)
    networks = range(2 * config.n_pairs)
    facts = {
        "seeds": {
            "mask": config.mask_seed,
            "init": [_init_seed(config, i) for i in networks],
            "order": [_order_seed(config, i) for i in networks],
        },
        "networks": {name: _merged([p for p in parts if p.about["networks"] == name]) for name in kinds},
        **joined_facts(parts),
    }
    return joined_record(STUDY, config.model_dump(exclude={"out"}), parts, facts, config.out)


def measure(config: ModeConnectivity, shard: Shard, folder: Path | None, on_epoch: Callable[[], None]) -> Record:
    """Train the networks of a shard and evaluate the lines between them.

    Args:
        config: The study.
        shard: Which networks; network i has the same initial draw and batch order in every kind.
        folder: Where the checkpoint goes; None keeps none.
        on_epoch: Called after every epoch.

    Returns:
        A table with one row per method, pair and point: test loss in nats and test accuracy in [0, 1]. A pair of which
        a network diverged has rows without them.
    """
    started = time.perf_counter()
    data = load(config.dataset).to(config.device)
    _, fixed = build(config, shard.networks)
    trained, losses = _train(config, shard, data, folder, on_epoch)
    sound = losses[-1].isfinite().view(-1, 2).all(dim=1).cpu()
    pairs = shard.first_pair + torch.arange(shard.n_pairs)
    tables = [_no_lines(config, shard.networks, pair) for pair in pairs[~sound].tolist()]
    facts = {"networks": shard.networks, "data_sha256": data.sha256, "fingerprint": fixed.fingerprint}
    if sound.any():
        kept = sound.repeat_interleave(2).nonzero().flatten().tolist()
        facts["scores"] = _scores(trained[kept], losses[:, kept], data)
        aligners = ALIGNERS if shard.networks == "standard" else ()
        found = {method: _matched(config, pairs[sound], method, trained[kept], data) for method in aligners}
        facts["scores"] |= {f"{method} objective": [one.objective for one in each] for method, each in found.items()}
        tables += _lines(config, shard.networks, pairs[sound], trained[kept], found, data)
    facts["compute_s"] = round(time.perf_counter() - started, 1)
    return records.make(STUDY, shard_config(config, shard), pd.concat(tables), facts)


def _no_lines(config: ModeConnectivity, networks: str, pair: int) -> pd.DataFrame:
    missing = no_line(config.n_points) | {"pair": pair}
    return pd.concat([pd.DataFrame(missing).assign(method=method) for method in METHODS[networks]])


def _matched(
    config: ModeConnectivity, pairs: torch.Tensor, method: str, trained: Population, data: Dataset
) -> list[Alignment]:
    """Return how the units of every second network are reordered to match the first."""
    spec, networks = specification(trained.model, data.test.x[:2]), list(trained.members())
    return [
        ALIGNERS[method](config, pair, trained.model, spec, a, b, data)
        for pair, a, b in zip(pairs.tolist(), networks[0::2], networks[1::2], strict=True)
    ]


def _lines(
    config: ModeConnectivity,
    networks: str,
    pairs: torch.Tensor,
    trained: Population,
    found: Mapping[str, list[Alignment]],
    data: Dataset,
) -> Iterator[pd.DataFrame]:
    """Yield the lines of all pairs: as they are, aligned, and aligned with statistics put right."""
    first, second = trained[0::2], trained[1::2]
    ways = {METHODS[networks][0]: (second, line)}
    for method, alignments in found.items():
        spec = specification(trained.model, data.test.x[:2])
        ways[method] = (permute_members(spec, alignments, second, data.test.x[:100]), line)
    if "git-rebasin" in ways:
        ways["git-rebasin repaired"] = (ways["git-rebasin"][0], partial(repaired, data.train.x[:N_SEEN]))
    for method, (end, between) in ways.items():
        scores = curves(first, end, mixing_weights(config.n_points), data.test.x, data.test.y, between)
        yield _curve_table(method, pairs, mixing_weights(config.n_points), scores)


def _scores(trained: Population, losses: torch.Tensor, data: Dataset) -> dict[str, list[float]]:
    """Return what the networks scored, and how far the two of each pair are apart."""
    apart = [separation(trained[i : i + 2]) for i in range(0, len(trained), 2)]
    accuracies = {
        f"{what}_accuracy": evaluate(trained, split.x, split.y).accuracy.tolist()
        for what, split in (("train", data.train), ("test", data.test))
    }
    both = {key: [value for one in apart for value in one[key]] for key in apart[0]}
    return {"train_loss": losses[-1].tolist()} | accuracies | both


def barriers(record: Record) -> pd.DataFrame:
    """Sum up every line of a record.

    Returns:
        One row per method and pair: `barrier` (midpoint, nats), `max_barrier` (nats), `drop` (accuracy,
        percentage points) and `end_loss` (mean test loss of the two trained networks, nats).
    """
    lambdas = mixing_weights(record.config["n_points"])
    rows = []
    for method, table in record.table.groupby("method", sort=False):
        wide = {
            c: torch.tensor(table.pivot(index="pair", columns="lambda", values=c).to_numpy())
            for c in ("test_loss", "test_accuracy")
        }
        loss = wide["test_loss"]
        columns = {
            "barrier": midpoint_barrier(loss),
            "max_barrier": maximum_barrier(loss, lambdas),
            "drop": accuracy_drop(wide["test_accuracy"]),
            "end_loss": (loss[:, 0] + loss[:, -1]) / 2,
        }
        rows.append(pd.DataFrame({"method": method, "pair": range(len(loss))} | columns))
    return pd.concat(rows, ignore_index=True)


def quantities(record: Record) -> dict[str, np.ndarray]:
    """Return what claims can be about, each a vector with one value per pair.

    "barrier/standard", "max_barrier/standard", "drop/standard"; and, as `variants.score_quantities` has them, distances
    of pairs and gaps between training and test accuracy.
    """
    found = barriers(record)
    values = {
        f"{column}/{method}": survivors(rows[column])
        for method, rows in found.groupby("method")
        for column in ("barrier", "max_barrier", "drop")
    }
    return values | score_quantities(record.about["networks"])


def _weights(config, pair, model, spec: PermutationSpec, a, b, data) -> Alignment:
    return weight_matching(a, b, spec, generator(config.base_seed, "match", pair), config.restarts)


def _activations(config, pair, model, spec: PermutationSpec, a, b, data) -> Alignment:
    return activation_matching(model, a, b, spec, data.train.x[:N_SEEN])


ALIGNERS = {"git-rebasin": _weights, "activation-matching": _activations}


def _train(
    config: ModeConnectivity, shard: Shard, data: Dataset, folder: Path | None, on_epoch: Callable[[], None]
) -> tuple[Population, torch.Tensor]:
    members = range(2 * shard.first_pair, 2 * (shard.first_pair + shard.n_pairs))
    start = initialise(*build(config, shard.networks), [_init_seed(config, i) for i in members], config.init)
    recipe = Recipe(config.epochs, config.batch_size, config.lr, config.weight_decay)
    return train(
        start.to(config.device),
        data.train.x,
        data.train.y,
        recipe,
        [_order_seed(config, i) for i in members],
        folder and folder / "training.safetensors",
        on_epoch,
        keep_going=True,
    )


def _curve_table(method: str, pairs: torch.Tensor, lambdas: torch.Tensor, scores: Evaluation) -> pd.DataFrame:
    columns = {
        "pair": pairs[:, None],
        "lambda": lambdas,
        "test_loss": scores.loss,
        "test_accuracy": scores.accuracy,
    }
    flat = {name: values.cpu().expand(scores.loss.shape).flatten() for name, values in columns.items()}
    return pd.DataFrame({"method": method} | flat)


def _merged(parts: Sequence[Record]) -> dict:
    """Join what the shards of one kind of network say about themselves."""
    same = {name: parts[0].about[name] for name in ("fingerprint", "data_sha256")}
    return same | joined_scores(parts) | {"compute_s": round(sum(part.about["compute_s"] for part in parts), 1)}


def _init_seed(config: ModeConnectivity, network: int) -> int:
    return seed(config.base_seed, "init", network)


def _order_seed(config: ModeConnectivity, network: int) -> int:
    return seed(config.base_seed, "order", network)
