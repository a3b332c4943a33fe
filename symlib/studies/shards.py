"""Runs the independent shards of a study, here or in worker processes, and records each as it finishes."""

import multiprocessing
import os
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from pathlib import Path

import torch
from tqdm import tqdm

from symlib import records
from symlib.records import Record

Tick = Callable[[], None]
# Does one shard: gets the folder for its checkpoints (None keeps none) and calls the tick as it advances.
Work = Callable[[Path | None, Tick], Record]


def run_shards(shards: Mapping[str, tuple[dict, Work]], out: Path | None, workers: int, n_ticks: int) -> list[Record]:
    """Run every shard that has no record yet and return the records of all, in order.

    Args:
        shards: Name -> (configuration the shard's record is keyed by, the work; picklable if workers > 1).
        out: Folder that shard records and checkpoints are kept in, so that a killed run goes on where it
            stopped; None keeps nothing.
        workers: Processes, one thread each; 1 works in this process with its own number of threads.
        n_ticks: Ticks that one shard makes, for the progress bar.
    """
    done = {name: old for name, (config, _) in shards.items() if (old := _recorded(out, name, config))}
    todo = {name: work for name, (_, work) in shards.items() if name not in done}
    with tqdm(total=n_ticks * len(shards), initial=n_ticks * len(done), unit="epoch", mininterval=2) as bar:
        if workers == 1:
            for name, work in todo.items():
                done[name] = _run_one(name, work, out, bar.update)
        else:
            done |= _run_in_processes(todo, out, workers, bar)
    return [done[name] for name in shards]


def _recorded(out: Path | None, name: str, config: dict) -> Record | None:
    """Return the finished record of a shard if there is one and it was made with this configuration."""
    if out is None or not (out / name / "record.json").exists():
        return None
    old = records.read(out / name)
    return old if old.about["key"] == records.key(config) else None


def _run_one(name: str, work: Work, out: Path | None, tick: Tick) -> Record:
    record = work(None if out is None else out / f"{name}.checkpoints", tick)
    if out is not None:
        records.write(out / name, record)
    return record


def _run_in_processes(todo: Mapping[str, Work], out: Path | None, workers: int, bar: tqdm) -> dict[str, Record]:
    # spawn: a forked child inherits torch's thread pool in a state it cannot use.
    context = multiprocessing.get_context("spawn")
    ticks = context.Queue()
    with ProcessPoolExecutor(workers, context, _start_worker, (ticks,)) as pool:
        futures = {pool.submit(_run_in_worker, name, work, out): name for name, work in todo.items()}
        pending = set(futures)
        try:
            while pending:
                finished, pending = wait(pending, timeout=0.5, return_when=FIRST_EXCEPTION)
                while not ticks.empty():
                    bar.update(ticks.get())
                for future in finished:
                    future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        return {name: future.result() for future, name in futures.items()}


def _start_worker(ticks: multiprocessing.Queue) -> None:
    """Set one thread per process, which is fastest when processes fill the cores, and the way to tick."""
    torch.set_num_threads(1)
    parent = os.getppid()

    def tick() -> None:
        if os.getppid() != parent:
            os._exit(1)  # the run was killed; its workers must not go on unseen
        ticks.put(1)

    _run_in_worker.tick = tick


def _run_in_worker(name: str, work: Work, out: Path | None) -> Record:
    return _run_one(name, work, out, _run_in_worker.tick)
