import os
import signal
import threading
import time

import pandas as pd
import pytest

from symlib.studies.classifier_population import ClassifierPopulation, run
from symlib.studies.cluster import connected
from symlib.studies.shards import run_shards

from .test_classifier_population import SMALL

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local:
        yield local


def small(**changes):
    return ClassifierPopulation.checked(SMALL | {"kinds": ["w-asym"], "per_shard": 2} | changes)


def test_networks_are_the_same_through_a_scheduler(cluster, tmp_path):
    found = run(small(scheduler=cluster.scheduler_address, out=str(tmp_path)))
    pd.testing.assert_frame_equal(found.table, run(small()).table, atol=1e-6)
    assert len(list(tmp_path.glob("shards/*/arrays.safetensors"))) == 3


def test_a_killed_worker_costs_its_shard_only(cluster, tmp_path):
    config = small(
        epochs=[30.0, 30.0], n_networks=4, per_shard=1, scheduler=cluster.scheduler_address, out=str(tmp_path)
    )
    killed = threading.Thread(target=kill_one, args=(cluster, tmp_path))
    killed.start()
    found = run(config)
    killed.join()
    assert found.table["test_accuracy"].notna().all() and len(found.table) == 4
    again = run(config)  # all shards are there
    pd.testing.assert_frame_equal(again.table, found.table)


def kill_one(cluster, out):
    """Kill one of the workers as soon as a first checkpoint shows that they are at work."""
    while not list(out.glob("shards/*/training.safetensors")):
        time.sleep(0.02)
    os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)


def test_a_scheduler_that_does_not_answer_is_named_within_ten_seconds():
    started = time.monotonic()
    with pytest.raises(ValueError, match="no scheduler answers at tcp://127.0.0.1:9"), connected("tcp://127.0.0.1:9"):
        pass
    assert time.monotonic() - started < 15


def test_without_a_scheduler_nothing_connects(tmp_path, monkeypatch):
    monkeypatch.setattr("symlib.studies.shards.run_on_cluster", None)
    assert run_shards({}, tmp_path, 1, 1) == []
