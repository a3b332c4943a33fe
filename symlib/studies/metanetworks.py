"""How well metanetworks predict the test accuracy of classifiers from their weights, with and without symmetries.

The classifiers are those of `classifier_population`. Controls of ours stand beside the paper's rows: what the training
hyper-parameters alone predict, populations with equal histograms of accuracy, W-asymmetric networks whose stem is not
pinned as a whole, and standard networks whose units were all lined up with those of one of them.

Source: Lim et al. (2024), section 5.3, Tables 3 and 6, appendix F.3.2.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from scipy import stats
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from torch import Tensor, nn

from symlib import records
from symlib.alignment.permutation import permute_members
from symlib.alignment.tracing import specification
from symlib.alignment.weight_matching import weight_matching
from symlib.config import Config
from symlib.metanetworks.channel_graph import ChannelGraph, masked_entries
from symlib.metanetworks.flat import DMC, DeepSets, FlatMLP, trainable_entries
from symlib.metanetworks.statistics import StatNN, tensor_statistics
from symlib.population import Population
from symlib.records import Record
from symlib.seeds import generator, seed
from symlib.studies.classifier_population import CHANNELS, ClassifierPopulation, finished, load_networks, small
from symlib.studies.classifier_population import run as train_classifiers
from symlib.studies.leads import JUDGED, judged
from symlib.studies.mode_connectivity import NotNegative, Positive
from symlib.studies.shards import joined_facts, joined_record, refuse_missing_device, run_shards

STUDY = "metanetworks"
SPLIT = (0.5, 0.25)  # for training and for choosing; the rest is for testing
HYPERPARAMETERS = ["lr", "weight_decay", "label_smoothing", "epochs"]
N_SMALL = 48  # networks of each kind that the page trains
BIN = 0.02  # of accuracy: how close the histograms of matched populations are

Inputs = Tensor | dict[str, Tensor]


@dataclass(frozen=True)
class Metanetwork:
    """A way to look at weights.

    Attributes:
        read: Makes its inputs of a population, each with a leading axis of networks.
        make: Makes it for a population and its inputs.
    """

    read: Callable[[Population], Inputs]
    make: Callable[[Population, Inputs], nn.Module]


def _channel_graph(population: Population, inputs: Inputs) -> nn.Module:
    shapes = {name: w.shape[1:] for name, w in population.params.items()}
    return ChannelGraph(_specification(population), shapes)


METANETWORKS = {
    "MLP": Metanetwork(trainable_entries, lambda population, x: FlatMLP(x.shape[1])),
    "DMC": Metanetwork(trainable_entries, lambda population, x: DMC()),
    "DeepSets": Metanetwork(trainable_entries, lambda population, x: DeepSets()),
    "StatNN": Metanetwork(tensor_statistics, lambda population, x: StatNN(x.shape[1])),
    "channel graph": Metanetwork(masked_entries, _channel_graph),
}
# Case -> kind of classifiers, and what is done to them before a metanetwork looks.
CASES: dict[str, tuple[str, Literal["", "aligned", "matched", "thinned"]]] = {
    "standard": ("standard", ""),
    "w-asym": ("w-asym", ""),
    "smaller": ("smaller", ""),
    "w-asym open stem": ("w-asym open stem", ""),
    "standard aligned": ("standard", "aligned"),
    "standard matched": ("standard", "matched"),
    "w-asym matched": ("w-asym", "matched"),
    "standard thinned": ("standard", "thinned"),
    "w-asym thinned": ("w-asym", "thinned"),
}
# What could explain that W-asymmetric networks are easier to predict -> cases whose difference is what is left of their
# lead over standard ones once it is taken away, and cases whose difference is that lead.
LEAD = ("w-asym", "standard")
EXPLANATIONS = {
    "order of neurons": (("w-asym", "standard aligned"), LEAD),
    "number of parameters": (("w-asym", "smaller"), LEAD),
    "spread of accuracies": (("w-asym matched", "standard matched"), ("w-asym thinned", "standard thinned")),
    "pinned stem": (("w-asym open stem", "standard"), LEAD),
}
# Scores that the paper prints and that no claim has: mean and sd over runs. Source: Lim et al. (2024), Table 3.
PRINTED = {
    "r2": {
        "MLP/standard": (0.330, 0.04),
        "DMC/standard": (0.950, 0.01),
        "DeepSets/standard": (0.855, 0.01),
        "StatNN/standard": (0.976, 0.00),
    },
    "tau": {
        "DMC/standard": (0.787, 0.02),
        "DeepSets/standard": (0.617, 0.03),
        "StatNN/standard": (0.866, 0.00),
    },
}


class Metanetworks(Config):
    """Parameters of one run; their meaning stands beside each in the notebook's parameters cell."""

    profile: Literal["quick", "cpu", "paper", "custom"]
    networks: str
    cases: Annotated[list[Literal[*CASES]], Field(min_length=1)]
    metanetworks: Annotated[list[Literal[*METANETWORKS]], Field(min_length=1)]
    rates: Annotated[list[Annotated[float, Field(gt=0, allow_inf_nan=False)]], Field(min_length=1)]
    epochs: Positive
    batch_size: Positive
    weight_decay: NotNegative
    n_runs: Positive
    base_seed: int
    workers: Positive
    device: Literal["cpu", "cuda"]
    out: str

    @model_validator(mode="after")
    def _refuse_before_work_starts(self) -> "Metanetworks":
        refuse_missing_device(self.device)
        return self

    @property
    def science(self) -> dict:
        """The parameters that the result of one case and metanetwork depends on."""
        return self.model_dump(exclude={"profile", "networks", "cases", "metanetworks", "workers", "device", "out"})


@dataclass(frozen=True)
class Task:
    """Classifiers to look at, and what is to be told of each."""

    population: Population
    table: pd.DataFrame  # their hyper-parameters and accuracies

    @property
    def accuracy(self) -> Tensor:
        """Test accuracies in [0, 1], shape (M,)."""
        return torch.tensor(self.table["test_accuracy"].to_numpy()).float()


def task(population: ClassifierPopulation, record: Record, case: str) -> Task:
    """Return the classifiers of a case, those that diverged left out.

    Raises:
        ValueError: If the population has none of the kinds that the case needs.
    """
    kind, done = CASES[case]
    chosen = _sound(record, kind)
    if done in ("matched", "thinned"):
        kept = _matched(chosen, _sound(record, "w-asym" if kind == "standard" else "standard"))
        chosen = chosen[kept if done == "matched" else _thinned(len(kept), kept.sum(), population.base_seed)]
    found = load_networks(population, kind, "final")[chosen["network"].tolist()]
    return Task(_lined_up(found, population) if done == "aligned" else found, chosen.reset_index(drop=True))


def _sound(record: Record, kind: str) -> pd.DataFrame:
    rows = record.table[record.table["kind"] == kind]
    if not len(rows):
        raise ValueError(f"the population has no networks of kind {kind!r}: train some, or leave the case out")
    return rows.dropna(subset=["test_accuracy"])


def _matched(ours: pd.DataFrame, others: pd.DataFrame) -> np.ndarray:
    """Say which of our networks to keep: in every bin of accuracy as many as there are others, if we have so many."""
    bins, theirs = ((rows["test_accuracy"] / BIN).astype(int) for rows in (ours, others))
    rank = bins.groupby(bins).cumcount()
    return (rank < bins.map(theirs.value_counts()).fillna(0)).to_numpy()


def _thinned(n: int, n_kept: int, base_seed: int) -> np.ndarray:
    """Say which of n networks to keep at random, as many as matching leaves."""
    return (torch.randperm(n, generator=generator(base_seed, "thin")) < int(n_kept)).numpy()


def _specification(population: Population):
    side = 8  # any size of images would do
    return specification(population.model, torch.zeros(2, population.model.stem.in_channels, side, side))


def _lined_up(population: Population, config: ClassifierPopulation) -> Population:
    """Return networks with their units reordered to match those of the first."""
    spec, (anchor, *_) = _specification(population), list(population.members())
    x = torch.randn(20, CHANNELS[config.dataset], config.side, config.side, generator=generator("check"))
    found = [
        weight_matching(anchor, one, spec, generator(config.base_seed, "line up", i), 1)
        for i, one in enumerate(population.members())
    ]
    return permute_members(spec, found, population, x)


def run(config: Metanetworks) -> Record:
    """Train every metanetwork on every case, one of both a shard; with `config.out` set, a killed run goes on.

    Without `config.networks` the small population of the page is trained first.

    Returns:
        One row per case, metanetwork and run: rate, epoch, r2 and tau on classifiers for testing. The controls that
        know no weights, "constant" and "hyper-parameters", have a single run.
    """
    with TemporaryDirectory() as folder:
        if not config.networks:
            train_classifiers(small(folder, [CASES[case][0] for case in config.cases], N_SMALL))
        population, record = finished(Path(config.networks or folder))
        names = [*config.metanetworks, "constant", "hyper-parameters"]
        work = {
            f"{case}-{name}".replace(" ", "-"): (
                _key(config, record, case, name),
                partial(measure, config, population, record, case, name),
            )
            for case in config.cases
            for name in names
        }
        out = Path(config.out) if config.out else None
        n_ticks = len(config.rates) + config.n_runs
        parts = run_shards(work, out and out / "shards", config.workers, n_ticks)
    facts = {"population": record.about, **joined_facts(parts)}
    return joined_record(STUDY, config.model_dump(exclude={"out", "networks"}), parts, facts, config.out)


def _key(config: Metanetworks, record: Record, case: str, name: str) -> dict:
    return config.science | {"population": record.about["key"], "case": case, "metanetwork": name}


def measure(
    config: Metanetworks,
    population: ClassifierPopulation,
    record: Record,
    case: str,
    name: str,
    folder: Path | None,
    tick: Callable[[], None],
) -> Record:
    """Choose a metanetwork's rate on classifiers for choosing, train it anew from other seeds, and test it."""
    started = time.perf_counter()
    found = task(population, record, case)
    parts = split(len(found.table), config.base_seed)
    if name in METANETWORKS:
        rows = list(_runs(config, found, name, parts, tick))
    else:
        rows = [{"run": 0} | _scores(_without_weights(found, name, parts), found.accuracy[parts["test"]])]
    table = pd.DataFrame(rows).assign(case=case, metanetwork=name, n_networks=len(found.table))
    facts = {"compute_s": round(time.perf_counter() - started, 1)}
    return records.make(STUDY, _key(config, record, case, name), table, facts)


def split(n: int, base_seed: int) -> dict[str, Tensor]:
    """Return which of n classifiers are for training ("train"), choosing ("choose") and testing ("test")."""
    order = torch.randperm(n, generator=generator(base_seed, "split"))
    sizes = [int(share * n) for share in SPLIT]
    return dict(zip(("train", "choose", "test"), order.split([*sizes, n - sum(sizes)]), strict=True))


def _runs(
    config: Metanetworks, found: Task, name: str, parts: Mapping[str, Tensor], tick: Callable[[], None]
) -> Iterator[dict]:
    chosen = {}
    for rate in config.rates:
        chosen[rate] = fit(config, found, name, parts, rate, "choice")["r2 choosing"]
        tick()
    best = max(chosen, key=chosen.get)
    for i in range(config.n_runs):
        yield {"run": i, "rate": best} | fit(config, found, name, parts, best, i)
        tick()


def fit(
    config: Metanetworks, found: Task, name: str, parts: Mapping[str, Tensor], rate: float, run_of: int | str
) -> dict[str, float]:
    """Train a metanetwork and test it at the epoch that is best for choosing, as in the paper's code.

    Returns:
        "epoch" (the best), "r2 choosing" there, and on classifiers for testing "r2" and "tau".
    """
    way, truth = METANETWORKS[name], found.accuracy.to(config.device)
    inputs = _on(way.read(found.population), config.device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed(config.base_seed, "init", name, run_of))
        model = way.make(found.population, inputs).to(config.device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=config.weight_decay)

    def scored(part: str) -> dict[str, float]:
        guessed = _guessed(model, inputs, parts[part], config.batch_size)
        return _scores(guessed, found.accuracy[parts[part]])

    best = {"r2 choosing": -np.inf}
    for epoch in range(config.epochs):
        model.train()
        source = generator(config.base_seed, "order", name, run_of, epoch)
        for batch in parts["train"][torch.randperm(len(parts["train"]), generator=source)].split(config.batch_size):
            loss = F.mse_loss(model(_rows(inputs, batch)), truth[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        r2 = scored("choose")["r2"]
        if r2 > best["r2 choosing"]:
            best = {"epoch": epoch + 1, "r2 choosing": r2} | scored("test")
    return best


def _on(inputs: Inputs, device: str) -> Inputs:
    return {k: w.to(device) for k, w in inputs.items()} if isinstance(inputs, dict) else inputs.to(device)


def _rows(inputs: Inputs, rows: Tensor) -> Inputs:
    return {k: w[rows] for k, w in inputs.items()} if isinstance(inputs, dict) else inputs[rows]


@torch.no_grad()
def _guessed(model: nn.Module, inputs: Inputs, rows: Tensor, batch_size: int) -> Tensor:
    model.eval()
    return torch.cat([model(_rows(inputs, part)) for part in rows.split(batch_size)]).cpu()


def _scores(guessed: Tensor, truth: Tensor) -> dict[str, float]:
    """Return R2 and Kendall's tau-b of predictions."""
    spread = (truth - truth.mean()).square().sum()
    tau = stats.kendalltau(guessed.numpy(), truth.numpy()).statistic
    return {"r2": float(1 - (guessed - truth).square().sum() / spread), "tau": float(tau)}


def _without_weights(found: Task, name: str, parts: Mapping[str, Tensor]) -> Tensor:
    """Return what can be said of classifiers for testing without their weights."""
    accuracy = found.accuracy
    if name == "constant":
        return accuracy[parts["train"]].mean().expand(len(parts["test"]))
    x = found.table[HYPERPARAMETERS].assign(
        lr=np.log(found.table["lr"]), weight_decay=np.log(found.table["weight_decay"])
    )
    model = make_pipeline(StandardScaler(), PolynomialFeatures(2), LinearRegression())
    model.fit(x.iloc[parts["train"].numpy()], accuracy[parts["train"]].numpy())
    return torch.from_numpy(model.predict(x.iloc[parts["test"].numpy()])).float()


def explained(table: pd.DataFrame) -> pd.DataFrame:
    """Judge, by the rule of `leads.judged` over runs, what explains that W-asymmetric networks are easier to predict.

    Args:
        table: As `run` returns it.

    Returns:
        One row per metanetwork, score ("r2", "tau") and key of `EXPLANATIONS` whose cases are there: explanation, and
        what `leads.judged` says of the lead that is left without it.
    """
    rows = []
    for name, ours in table[table["metanetwork"].isin(METANETWORKS)].groupby("metanetwork", sort=False):
        for score in ("r2", "tau"):
            runs = ours.pivot(index="run", columns="case", values=score)
            for what, cases in EXPLANATIONS.items():
                if {*cases[0], *cases[1]} <= set(runs):
                    left, lead = ((runs[a] - runs[b]).to_numpy() for a, b in cases)
                    rows.append({"metanetwork": name, "score": score, "explanation": what} | judged(left, lead))
    return pd.DataFrame(rows, columns=["metanetwork", "score", "explanation", *JUDGED])


def quantities(record: Record) -> dict[str, np.ndarray]:
    """Return "r2/MLP/standard", "tau/MLP/standard" and the like, one value per run."""
    return {
        f"{column}/{name}/{case}": rows[column].to_numpy()
        for (name, case), rows in record.table.groupby(["metanetwork", "case"])
        for column in ("r2", "tau")
    }
