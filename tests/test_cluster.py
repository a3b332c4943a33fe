import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pandas as pd
import pytest

from symlib.studies.classifier_population import ClassifierPopulation, run
from symlib.studies.cluster import connected
from symlib.studies.shards import run_shards

from .test_classifier_population import SMALL, same_weights

DASK = [sys.executable, "-m", "dask"]

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local:
        yield local


def small(**changes):
    return ClassifierPopulation.checked(SMALL | {"kinds": ["w-asym"], "per_shard": 2} | changes)


def test_networks_are_the_same_through_a_scheduler(cluster, tmp_path):
    there = small(scheduler=cluster.scheduler_address, out=str(tmp_path / "there"))
    here = small(out=str(tmp_path / "here"))
    pd.testing.assert_frame_equal(run(there).table, run(here).table, atol=1e-6)
    same_weights(there, here)


def test_a_killed_worker_costs_its_shard_only(cluster, tmp_path):
    settings = {"epochs": [30.0, 30.0], "n_networks": 4, "per_shard": 1}
    before = {}
    killed = threading.Thread(target=kill_one, args=(cluster, tmp_path, before), daemon=True)
    killed.start()
    found = run(small(scheduler=cluster.scheduler_address, out=str(tmp_path), **settings))
    killed.join()
    assert 1 <= len(before) < 4 and all(path.stat().st_mtime_ns == when for path, when in before.items())
    pd.testing.assert_frame_equal(found.table, run(small(**settings)).table, atol=1e-6)


def kill_one(cluster, out, before):
    """Kill one of the workers as soon as one shard is finished, and note which shards are."""
    while not (done := finished(out)):
        time.sleep(0.02)
    before |= done
    os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)


def finished(out):
    """Return when each shard was recorded; names with a dot in front are of records that are being written."""
    return {path: path.stat().st_mtime_ns for path in out.glob("shards/[!.]*/record.json")}


def test_a_killed_scheduler_ends_the_run_with_one_line_and_the_next_goes_on(tmp_path):
    settings = {"epochs": [30.0, 30.0], "n_networks": 4, "per_shard": 1, "out": str(tmp_path)}
    with own_scheduler() as (address, scheduler):
        killed = threading.Thread(target=kill_after_a_shard, args=(scheduler, tmp_path), daemon=True)
        killed.start()
        with pytest.raises(RuntimeError, match=f"the scheduler at {address} is gone: start it again"):
            run(small(scheduler=address, **settings))
        killed.join()
    before = finished(tmp_path)
    assert 1 <= len(before) < 4
    with own_scheduler() as (address, _):
        found = run(small(scheduler=address, **settings))
    assert len(found.table) == 4 and all(path.stat().st_mtime_ns == when for path, when in before.items())
    pd.testing.assert_frame_equal(found.table, run(small(**settings | {"out": ""})).table, atol=1e-6)


@contextmanager
def own_scheduler():
    """Start a scheduler and a worker as processes of their own; yield its address and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    scheduler = subprocess.Popen([*DASK, "scheduler", "--host", address, "--no-dashboard"], stderr=subprocess.DEVNULL)
    worker = subprocess.Popen(
        [*DASK, "worker", address, "--nthreads", "1", "--no-dashboard", "--no-nanny"], stderr=subprocess.DEVNULL
    )
    try:
        yield address, scheduler
    finally:
        for process in (worker, scheduler):
            process.kill()
            process.wait()


def kill_after_a_shard(scheduler, out):
    """Kill the scheduler as soon as one shard is finished."""
    while not finished(out):
        time.sleep(0.02)
    scheduler.kill()


def test_a_scheduler_that_does_not_answer_is_named_when_patience_ends(monkeypatch):
    started = time.monotonic()
    monkeypatch.setattr("symlib.studies.cluster.PATIENCE", 1)
    with pytest.raises(ValueError, match="no scheduler answers at tcp://127.0.0.1:9"), connected("tcp://127.0.0.1:9"):
        pass
    assert time.monotonic() - started < 8


def test_without_a_scheduler_nothing_connects(tmp_path, monkeypatch):
    monkeypatch.setattr("symlib.studies.shards.run_on_cluster", None)
    assert run_shards({}, tmp_path, 1, 1) == []
