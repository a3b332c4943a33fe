"""Does the training loss fall all the way on the straight line from initial to trained weights?

The networks are those of `classifier_population`. The loss is that of training, smoothed labels included, on images
without augmentation, so that a curve is a function of the network alone.

Source: Lim et al. (2024), section 5.4, Table 4, Figure 5 and appendix F.4.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field, model_validator
from scipy import stats
from torch import Tensor

from symlib import records
from symlib.claims import p_different, survivors
from symlib.config import Config
from symlib.interpolation import line, mixing_weights
from symlib.population import Population, logits, passes
from symlib.records import Record
from symlib.studies.classifier_population import KINDS, ClassifierPopulation, finished, images, load_networks, small
from symlib.studies.classifier_population import run as train_classifiers
from symlib.studies.leads import JUDGED, judged
from symlib.studies.mode_connectivity import Positive
from symlib.studies.shards import joined_facts, joined_record, refuse_missing_device, run_shards

STUDY = "monotonic_interpolation"
STANDARD, W_ASYM = "standard", "w-asym"
# Measure of a curve -> the sign of what W-asymmetric networks are claimed to have over standard ones.
CLAIMED = {"delta": -1, "relative delta": -1, "monotonic": 1, "local": 1, "global": 1}
# Measures that the paper prints and that no claim has: mean and sd over networks. Source: Lim et al. (2024), Table 4.
PRINTED = {
    "delta": {"standard": (0.079, 0.109)},
    "monotonic": {"standard": (0.263, None)},
    "local": {"standard": (0.548, 0.139)},
    "global": {"standard": (0.823, 0.229)},
}


class MonotonicInterpolation(Config):
    """Parameters of one run; their meaning stands beside each in the notebook's parameters cell."""

    profile: Literal["quick", "cpu", "paper", "custom"]
    networks: str
    kinds: Annotated[list[Literal[*KINDS]], Field(min_length=1)]
    n_networks: Annotated[int, Field(ge=2)]
    n_points: int
    n_images: Positive
    chunk: Positive
    workers: Positive
    device: Literal["cpu", "cuda"]
    out: str

    @model_validator(mode="after")
    def _refuse_before_work_starts(self) -> "MonotonicInterpolation":
        mixing_weights(self.n_points)
        if STANDARD not in self.kinds:
            raise ValueError(f"kinds must include {STANDARD!r}, which others are compared with")
        refuse_missing_device(self.device)
        return self

    @property
    def science(self) -> dict:
        """The parameters that the curves of one kind depend on."""
        return self.model_dump(include={"n_networks", "n_points", "n_images"})


def run(config: MonotonicInterpolation) -> Record:
    """Evaluate the curves of all networks, one kind a shard; with `config.out` set, a killed run goes on.

    Without `config.networks` a small population is trained first.

    Returns:
        One row per kind, network and point: loss in nats, NaN for networks that diverged.
    """
    with TemporaryDirectory() as folder:
        if not config.networks:
            train_classifiers(small(folder, config.kinds, config.n_networks))
        population, record = finished(Path(config.networks or folder))
        _refuse_missing(config, population)
        key = config.science | {"population": record.about["key"]}
        work = {
            kind.replace(" ", "-"): (key | {"kind": kind}, partial(measure, config, population, record, kind))
            for kind in config.kinds
        }
        out = Path(config.out) if config.out else None
        parts = run_shards(work, out and out / "shards", config.workers, -(-config.n_networks // config.chunk))
    facts = {"population": record.about, **joined_facts(parts)}
    return joined_record(STUDY, config.model_dump(exclude={"out", "networks"}), parts, facts, config.out)


def _refuse_missing(config: MonotonicInterpolation, population: ClassifierPopulation) -> None:
    if missing := set(config.kinds) - set(population.kinds):
        raise ValueError(
            f"the population has no networks of kind {', '.join(sorted(missing))}: train some, or leave it out"
        )
    if config.n_networks > population.n_networks:
        raise ValueError(f"the population has {population.n_networks} networks a kind, not {config.n_networks}")


def measure(
    config: MonotonicInterpolation,
    population: ClassifierPopulation,
    record: Record,
    kind: str,
    folder: Path | None,
    tick: Callable[[], None],
) -> Record:
    """Evaluate the curves of a kind, `chunk` networks with all their points at a time."""
    started = time.perf_counter()
    first, last = (
        load_networks(population, kind, when)[: config.n_networks].to(config.device) for when in ("initial", "final")
    )
    smoothing = record.table[record.table["kind"] == kind]["label_smoothing"].to_numpy()[: config.n_networks]
    data, lambdas = images(population).train, mixing_weights(config.n_points)
    x, y = (part[: config.n_images].to(config.device) for part in (data.x, data.y))
    curves = []
    for start in range(0, config.n_networks, config.chunk):
        some = slice(start, start + config.chunk)
        smooth = torch.tensor(smoothing[some]).repeat_interleave(config.n_points)
        curves.append(smoothed_loss(line(first[some], last[some], lambdas), x, y, smooth).view(-1, config.n_points))
        tick()
    losses = torch.cat(curves).cpu().numpy()
    rows = {"kind": kind, "network": np.repeat(range(len(losses)), config.n_points)}
    rows |= {"lambda": np.tile(lambdas.numpy(), len(losses)), "loss": losses.ravel()}
    facts = {"compute_s": round(time.perf_counter() - started, 1)}
    key = config.science | {"population": record.about["key"], "kind": kind}
    return records.make(STUDY, key, pd.DataFrame(rows), facts)


@torch.no_grad()
def smoothed_loss(population: Population, x: Tensor, y: Tensor, smoothing: Tensor) -> Tensor:
    """Return the mean cross-entropy of every network with its labels smoothed.

    Args:
        population: M networks.
        x: Inputs, shape (n, ...).
        y: Labels, shape (n,), int64.
        smoothing: How much, shape (M,).

    Returns:
        Nats, shape (M,), float64.
    """
    hard = torch.zeros(len(population), dtype=torch.float64, device=x.device)
    even = torch.zeros_like(hard)
    for inputs, labels in zip(passes(population.model, x), passes(population.model, y), strict=True):
        log_p = logits(population, inputs).log_softmax(-1)
        hard -= log_p.gather(-1, labels.expand(log_p.shape[:2])[..., None]).sum(dim=(1, 2), dtype=torch.float64)
        even -= log_p.mean(-1).sum(1, dtype=torch.float64)
    smoothing = smoothing.to(hard)
    return ((1 - smoothing) * hard + smoothing * even) / len(x)


def measures(losses: np.ndarray) -> pd.DataFrame:
    """Sum up curves from initial to trained weights.

    Args:
        losses: On equally spaced points, shape (networks, points).

    Returns:
        One row per network: `delta` (largest rise between neighbours, nats), `monotonic` (it is not above 0),
        `relative delta` (with the curve scaled from its end at 0 to its start at 1, NaN if it ends higher), `local`
        (share of interior points with a second difference of 0 or more), `global` (share of them on or below the chord
        of the ends), and `global released`, below the line through the first *two* points, as the authors' program has
        it.

    Source: Lim et al. (2024), section 5.4 and their code.
    """
    steps, at = np.diff(losses, axis=1), np.linspace(0, 1, losses.shape[1])[1:-1]
    start, second, end = losses[:, :1], losses[:, 1:2], losses[:, -1:]
    inside = losses[:, 1:-1]
    delta = steps.max(axis=1)
    return pd.DataFrame(
        {
            "delta": delta,
            "monotonic": delta <= 0,
            "relative delta": delta / np.where(start > end, start - end, np.nan)[:, 0],
            "local": (np.diff(steps, axis=1) >= 0).mean(axis=1),
            "global": (inside <= start + (end - start) * at).mean(axis=1),
            "global released": (inside <= start + (second - start) * at).mean(axis=1),
        }
    )


def summed_up(record: Record) -> pd.DataFrame:
    """Return `measures` of every network that did not diverge, with its kind and number."""
    parts = []
    for kind, rows in record.table.groupby("kind", sort=False):
        wide = rows.pivot(index="network", columns="lambda", values="loss").dropna()
        parts.append(measures(wide.to_numpy()).assign(kind=kind, network=wide.index))
    return pd.concat(parts, ignore_index=True)


def compared(found: pd.DataFrame) -> pd.DataFrame:
    """Compare every kind with standard networks, two-sided.

    Args:
        found: As `summed_up` returns it.

    Returns:
        One row per other kind and measure: means of both, and p of Welch's test, for the share of monotonic curves of
        Fisher's exact test.
    """
    usual, rows = found[found["kind"] == STANDARD], []
    for kind, ours in found[found["kind"] != STANDARD].groupby("kind", sort=False):
        for name in ("delta", "relative delta", "local", "global", "global released"):
            p = p_different(*(kinds[name].dropna().to_numpy() for kinds in (ours, usual)))
            rows.append(
                {"kind": kind, "measure": name, "mean": ours[name].mean(), "standard": usual[name].mean(), "p": p}
            )
        counts = [[t["monotonic"].sum(), (~t["monotonic"]).sum()] for t in (ours, usual)]
        shares = [t["monotonic"].mean() for t in (ours, usual)]
        p = stats.fisher_exact(counts).pvalue
        rows.append({"kind": kind, "measure": "monotonic", "mean": shares[0], "standard": shares[1], "p": p})
    return pd.DataFrame(rows)


def led(found: pd.DataFrame) -> pd.DataFrame:
    """Judge how much of the lead of W-asymmetric networks over standard ones other kinds have.

    Args:
        found: As `summed_up` returns it; networks of one number have the same hyper-parameters in every kind.

    Returns:
        One row per other kind and measure: kind, measure, and what `leads.judged` says of the lead of this kind over
        standard networks as a part of that of W-asymmetric ones.
    """
    rows = []
    for measure, sign in CLAIMED.items():
        values = sign * found.pivot(index="network", columns="kind", values=measure).astype(float)
        for kind in found["kind"].unique():
            if W_ASYM in values and kind not in (STANDARD, W_ASYM):
                part, lead = ((values[one] - values[STANDARD]).to_numpy() for one in (kind, W_ASYM))
                rows.append({"kind": kind, "measure": measure} | judged(part, lead))
    return pd.DataFrame(rows, columns=["kind", "measure", *JUDGED])


def quantities(record: Record) -> dict[str, np.ndarray]:
    """Return "delta/standard", "monotonic/w-asym" (0 or 1) and the like, one value per network that did not diverge.

    Not "relative delta", which curves that end higher have none of.
    """
    found = record.table[["kind", "network"]].drop_duplicates().merge(summed_up(record), how="left")
    return {
        f"{column}/{kind}": survivors(rows[column])
        for kind, rows in found.groupby("kind")
        for column in rows.columns.difference(["kind", "network", "relative delta"])
    }


def best_curves(record: Record, n: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the n curves of every kind that end lowest, shape (n, points), and where their points are.

    Source: Lim et al. (2024), Figure 5.
    """
    curves = {}
    for kind, rows in record.table.groupby("kind", sort=False):
        wide = rows.pivot(index="network", columns="lambda", values="loss").dropna()
        curves[kind] = wide.sort_values(wide.columns[-1]).head(n).to_numpy()
    return curves, np.sort(record.table["lambda"].unique())
