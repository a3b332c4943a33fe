"""Runs the independent shards of a study, here or in worker processes, and records each as it finishes."""

import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from filelock import FileLock, Timeout
from tqdm import tqdm

from symlib import records
from symlib.records import Record
from symlib.studies.cluster import run_on_cluster

Tick = Callable[[], None]
# Does one shard: gets the folder for its checkpoints (None keeps none) and calls the tick as it advances.
Work = Callable[[Path | None, Tick], Record]


def run_shards(
    shards: Mapping[str, tuple[dict, Work]],
    out: Path | None,
    workers: int,
    n_ticks: int,
    scheduler: str = "",
    with_arrays: bool = True,
) -> list[Record]:
    """Run every shard that has no record yet and return the records of all, in order.

    Args:
        shards: Name -> (configuration the shard's record is keyed by, the work; picklable if workers > 1).
        out: Folder that shard records and checkpoints are kept in, so that a killed run goes on where it
            stopped; None keeps nothing.
        workers: Processes, one thread each; 1 works in this process with its own number of threads.
        n_ticks: Ticks that one shard makes, for the progress bar.
        scheduler: Address of a dask scheduler whose workers do the work instead.
        with_arrays: Return the arrays of records too; without, memory does not grow with their number.

    Raises:
        ValueError: If another run works in the folder, it holds a damaged record or checkpoint, or the scheduler does
            not answer.
    """
    with ExitStack() as cleanup:
        if out is not None:
            cleanup.enter_context(_alone_in(out))
        done = {
            name: old if with_arrays else _bare(old)
            for name, (config, _) in shards.items()
            if (old := _recorded(out, name, config))
        }
        missing = [
            _Task(name, config, work, out, with_arrays) for name, (config, work) in shards.items() if name not in done
        ]
        total, start = n_ticks * len(shards), n_ticks * len(done)
        # miniters: resumed epochs tick all at once, after which tqdm would wait for as many again before it showed any.
        bar = cleanup.enter_context(tqdm(total=total, initial=start, unit="epoch", mininterval=2, miniters=1))
        if done:
            commits = ", ".join(sorted({old.about["commit"] for old in done.values()}))
            bar.write(f"{len(done)} shards were finished before (commit {commits}); delete {out} to run them again")
        if scheduler:
            done |= run_on_cluster(scheduler, {t.name: t.run_silently for t in missing}, partial(bar.update, n_ticks))
        else:
            done |= _run_here(missing, bar) if workers == 1 else _run_in_processes(missing, workers, bar)
    return [done[name] for name in shards]


def refuse_missing_device(device: str) -> None:
    """Raise an error if a study is to run on a GPU that is not there.

    Raises:
        ValueError: If the device is "cuda" and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is 'cuda' but this machine has no usable GPU: choose 'cpu'")


def joined_facts(parts: Sequence[Record]) -> dict:
    """Return what the record of a whole study says about the shards it was joined from.

    These may have been finished by earlier runs or elsewhere; only `joined_commit` is of the program that joins them.
    """
    abouts = [part.about for part in parts]
    return {
        **{fact: _listed(about.get(fact, "unknown") for about in abouts) for fact in ("device", "machine", "commit")},
        "versions": {p: _listed(about["versions"][p] for about in abouts) for p in abouts[0]["versions"]},
        "date": max(about["date"] for about in abouts),
        "compute_s": round(sum(about["compute_s"] for about in abouts), 1),
        "joined_commit": records.COMMIT,
    }


def _listed(facts: Iterable[str]) -> str:
    return ", ".join(sorted(set(facts)))


def joined_record(study: str, settings: dict, parts: Sequence[Record], facts: Mapping, out: str) -> Record:
    """Join the tables of shards into the record of a whole study, and write it if the study keeps one.

    Args:
        study: Its name.
        settings: The parameters that the record names.
        parts: Its shards.
        facts: What is said about it besides.
        out: Its folder, empty for none.
    """
    record = records.make(study, settings, pd.concat([part.table for part in parts], ignore_index=True), facts)
    if out:
        records.write(Path(out) / "record", record)
    return record


@dataclass(frozen=True)
class _Task:
    """One shard that has to be run."""

    name: str
    config: dict
    work: Work
    out: Path | None
    with_arrays: bool

    def run(self, tick: Tick) -> Record:
        """Do the work, record it, and remove the checkpoints that it no longer needs."""
        found = self.work(None, tick) if self.out is None else self._kept(self.out, tick)
        return found if self.with_arrays else _bare(found)

    def _kept(self, out: Path, tick: Tick) -> Record:
        # Keyed, so that a run with other settings does not meet the checkpoints of this one.
        checkpoints = out / f"{self.name}.{records.key(self.config)[:8]}"
        # A worker of a run that was killed may still be at it, or have died after it recorded the shard.
        with FileLock(out / f".{self.name}.lock"):
            if (found := _recorded(out, self.name, self.config)) is None:
                found = self.work(checkpoints, tick)
                records.write(out / self.name, found)
            shutil.rmtree(checkpoints, ignore_errors=True)
        return found

    def run_silently(self) -> Record:
        """Do the work where nobody sees its ticks."""
        return self.run(_no_tick)


def _bare(record: Record) -> Record:
    return Record(record.table, record.about)


def _no_tick(n: int = 1) -> None:
    pass


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder's lock, which the system gives back however this process ends."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(f"another run works in {folder}: wait for it or choose another folder") from None
    try:
        yield
    finally:
        lock.release()


def _recorded(out: Path | None, name: str, config: dict) -> Record | None:
    """Return the finished record of a shard if there is one and it was made with this configuration."""
    if out is None or not (out / name).exists():
        return None
    old = records.read(out / name)
    return old if old.about["key"] == records.key(config) else None


def _run_here(missing: Sequence[_Task], bar: tqdm) -> dict[str, Record]:
    return {task.name: task.run(bar.update) for task in missing}


def _run_in_processes(missing: Sequence[_Task], workers: int, bar: tqdm) -> dict[str, Record]:
    # spawn: a forked child inherits torch's thread pool in a state it cannot use.
    context = multiprocessing.get_context("spawn")
    ticks, others = context.Queue(), set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, context, _start_worker, (ticks,)) as pool:
        futures = {pool.submit(_run_in_worker, task): task.name for task in missing}
        pending = set(futures)
        try:
            while pending:
                finished, pending = wait(pending, timeout=0.5, return_when=FIRST_EXCEPTION)
                while not ticks.empty():
                    bar.update(ticks.get())
                for future in finished:
                    future.result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                f"the system ended a worker process, of {workers}, most often for lack of memory: finished shards are "
                "kept if the run has a folder; start it again with fewer workers to go on"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in set(multiprocessing.active_children()) - others:
                worker.terminate()  # its checkpoint is whole up to the last epoch
            raise
        return {name: future.result() for future, name in futures.items()}


def _start_worker(ticks: multiprocessing.Queue) -> None:
    """Set one thread per process, which is fastest when processes fill the cores, and the way to tick."""
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _run_in_worker.tick = lambda: ticks.put(1)


def _end_with_parent() -> None:
    """End this process with its parent: the workers of a killed run would wait for work for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _run_in_worker(task: _Task) -> Record:
    return task.run(_run_in_worker.tick)
