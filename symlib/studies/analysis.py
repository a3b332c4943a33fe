"""Analyses of trained networks: train what is missing, run each analysis as a shard, join them in one record."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from symlib import records
from symlib.claims import PROFILES
from symlib.population import Population
from symlib.records import Record
from symlib.seeds import seed
from symlib.studies.shards import Tick, joined_facts, run_shards
from symlib.studies.trained import Intervention, TrainedNetworks, snapshot, train_losses, trained

Measure = Callable[[Path], pd.DataFrame]  # gets the folder of trained networks; picklable


def analyse(
    study: str,
    config: TrainedNetworks,
    interventions: Sequence[Intervention],
    measures: Mapping[str, tuple[dict, Measure]],
) -> Record:
    """Run a study of trained networks; with `config.out` set, a killed run goes on where it stopped.

    Args:
        study: Its name.
        config: Its parameters.
        interventions: Whose families it looks at.
        measures: Name of a shard -> (what its result depends on besides the networks, the analysis).

    Returns:
        A record whose table is that of all shards, one after another.
    """
    out = Path(config.out) if config.out else None
    with trained(config, interventions) as folder:
        work = {
            name: (config.science | own, partial(_measured, study, config.science | own, measure, folder))
            for name, (own, measure) in measures.items()
        }
        parts = run_shards(work, out and out / "shards", config.workers, n_ticks=1)
        facts = {
            "seeds": {
                "mask": config.mask_seed,
                **{
                    use: [seed(config.base_seed, use, i) for i in range(config.n_networks)] for use in ("init", "order")
                },
            },
            "families": {i.name: _said(config, folder, i) for i in interventions},
            **joined_facts(parts),
        }
    settings = config.model_dump(exclude={"out", "networks"})
    record = records.make(study, settings, pd.concat([p.table for p in parts]), facts)
    if out is not None:
        records.write(out / "record", record)
    return record


def over_pairs(
    config: TrainedNetworks, measure: Callable[[TrainedNetworks, Intervention, int, Path], pd.DataFrame]
) -> dict[str, tuple[dict, Measure]]:
    """Return one shard for every pair of networks of every intervention of a study.

    Args:
        config: The study's parameters.
        measure: Gets them, an intervention, a pair and the folder of trained networks; networks 2 i and 2 i + 1 are
            pair i.
    """
    return {
        f"{intervention.name}-{pair:03d}".replace(" ", "-"): (
            {"intervention": intervention.name, "pair": pair},
            partial(measure, config, intervention, pair),
        )
        for intervention in config.interventions()
        for pair in range(config.members(intervention) // 2)
    }


def networks(
    config: TrainedNetworks, folder: Path, intervention: Intervention, epoch: int, members: Sequence[int] | None = None
) -> Population:
    """Return trained networks of a study on its device; `trained.snapshot` explains the arguments."""
    family = config.family(intervention)
    return snapshot(folder, family, config.members(intervention), epoch, members).to(config.device)


def largest(kept: Sequence[Record], **needs: object) -> Record:
    """Return the record of the highest profile, then of the most networks and epochs.

    Args:
        kept: Records of one study.
        needs: Parameters that the record must have.

    Raises:
        ValueError: If there is none.
    """
    fitting = [record for record in kept if needs.items() <= record.config.items()]
    if not fitting:
        raise ValueError(f"no record is kept with {needs}: run the notebook with a larger profile and keep its record")
    return max(fitting, key=lambda r: (PROFILES.index(r.config["profile"]), r.config["n_networks"], r.config["epochs"]))


def described(record: Record) -> str:
    """Return in two lines what networks a record is about and where it comes from."""
    c, about = record.config, record.about
    first, *others = about["commit"].split(", ")
    commit = first + (f" and {len(others)} others" if others else "")
    return (
        f"{c['dataset']}, {c['network']} of width {c['width']:g}, {c['norm']} norm: {c['n_networks']} networks each, "
        f"{c['epochs']} epochs, {c['n_images']:,} images\nprofile {c['profile']}, {about['device']}, {about['date']}, "
        f"commit {commit}"
    )


def _measured(study: str, about: dict, measure: Measure, folder: Path, _: Path | None, tick: Tick) -> Record:
    started = time.perf_counter()
    table = measure(folder)
    tick()
    return records.make(study, about, table, {"compute_s": round(time.perf_counter() - started, 1)})


def _said(config: TrainedNetworks, folder: Path, intervention: Intervention) -> dict:
    """Return what the record says about one family: its fixed side and how well it was trained."""
    family = config.family(intervention)
    losses = train_losses(folder, family, config.members(intervention), config.epochs)
    return {
        "fingerprint": family.build()[1].fingerprint,
        "data_sha256": family.data().sha256,
        "final_train_loss": [round(loss, 6) for loss in losses],
    }
