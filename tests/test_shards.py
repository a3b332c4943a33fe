import os
import time
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest
from filelock import FileLock

from symlib import records
from symlib.studies.shards import joined_facts, run_shards


class Work:
    """Stands for a shard's work: counts its calls and says where it was told to keep checkpoints."""

    def __init__(self, config, fails=False, seconds=0):
        self.config, self.fails, self.seconds, self.folders = config, fails, seconds, []

    def __call__(self, folder, tick):
        self.folders.append(folder)
        time.sleep(self.seconds)
        if folder is not None:
            folder.mkdir(parents=True)
            (folder / "checkpoint").touch()
        tick()
        if self.fails == "killed":
            os._exit(9)
        if self.fails:
            raise FloatingPointError("diverged")
        return records.make("study", self.config, pd.DataFrame({"x": [self.config["value"]]}), {})


def values(found):
    return [record.table["x"][0] for record in found]


def test_shards_come_back_in_order_and_only_missing_or_changed_ones_run(tmp_path):
    work = [Work({"value": v}) for v in (1, 2)]
    both = {f"s{i}": (w.config, w) for i, w in enumerate(work)}
    assert values(run_shards(both, tmp_path, 1, 1)) == values(run_shards(both, tmp_path, 1, 1)) == [1, 2]
    assert [len(w.folders) for w in work] == [1, 1]
    other = Work({"value": 3})
    assert values(run_shards(both | {"s1": (other.config, other)}, tmp_path, 1, 1)) == [1, 3]


def test_a_shard_that_a_lost_worker_recorded_is_not_run_again(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "symlib.studies.shards.run_on_cluster",
        lambda scheduler, tasks, on_done: {name: (task(), task())[1] for name, task in tasks.items()},
    )
    work = Work({"value": 1})
    assert values(run_shards({"s": (work.config, work)}, tmp_path, 1, 1, scheduler="tcp://there")) == [1]
    assert len(work.folders) == 1


def test_a_shard_that_two_workers_were_given_is_run_once(tmp_path, monkeypatch):
    """As after a run that was killed and started again while a worker of its scheduler was still at it."""

    def twice_at_once(scheduler, tasks, on_done):
        (task,) = tasks.values()
        with ThreadPoolExecutor(2) as pool:
            return {"s": [f.result() for f in [pool.submit(task), pool.submit(task)]][1]}

    monkeypatch.setattr("symlib.studies.shards.run_on_cluster", twice_at_once)
    work = Work({"value": 1}, seconds=0.5)
    assert values(run_shards({"s": (work.config, work)}, tmp_path, 1, 1, scheduler="tcp://there")) == [1]
    assert len(work.folders) == 1 and [p.name for p in tmp_path.glob("[!.]*")] == ["s"]


def test_checkpoints_are_kept_apart_by_configuration_and_removed_when_recorded(tmp_path):
    for v in (1, 2):
        failing = Work({"value": v}, fails=True)
        with pytest.raises(FloatingPointError):
            run_shards({"s": (failing.config, failing)}, tmp_path, 1, 1)
    left = [p for p in tmp_path.glob("s.*") if p.is_dir()]
    assert len(left) == 2 and all((p / "checkpoint").exists() for p in left)
    finishing = Work({"value": 4})
    run_shards({"s": (finishing.config, finishing)}, tmp_path, 1, 1)
    assert not finishing.folders[0].exists()


def test_nothing_is_kept_without_a_folder():
    work = Work({"value": 1})
    assert values(run_shards({"s": (work.config, work)}, None, 1, 1)) == [1]
    assert work.folders == [None]


def test_second_run_in_one_folder_is_refused(tmp_path):
    work = Work({"value": 1})
    with FileLock(tmp_path / ".lock"), pytest.raises(ValueError, match="another run works in"):
        run_shards({"s": (work.config, work)}, tmp_path, 1, 1)
    assert not work.folders
    run_shards({"s": (work.config, work)}, tmp_path, 1, 1)


def test_damaged_record_of_a_shard_says_which_folder_to_delete(tmp_path):
    work = Work({"value": 1})
    run_shards({"s": (work.config, work)}, tmp_path, 1, 1)
    (tmp_path / "s/table.csv").write_text("x\n2\n")
    with pytest.raises(ValueError, match=r"s/table.csv was changed .* delete the folder"):
        run_shards({"s": (work.config, work)}, tmp_path, 1, 1)


def test_failure_in_a_process_ends_the_run_with_its_error(tmp_path):
    work = {f"s{i}": (w.config, w) for i, w in enumerate([Work({"value": 1}, fails=True), Work({"value": 2})])}
    with pytest.raises(FloatingPointError, match="diverged"):
        run_shards(work, tmp_path, 2, 1)


def test_a_worker_that_the_system_ends_is_explained(tmp_path):
    work = Work({"value": 1}, fails="killed")
    with pytest.raises(RuntimeError, match="the system ended a worker process, of 2, .* fewer workers to go on"):
        run_shards({"s": (work.config, work)}, tmp_path, 2, 1)


def test_joined_facts_are_those_of_the_shards():
    def part(machine, version, device):
        facts = {"machine": machine, "versions": {"torch": version}, "device": device, "commit": "a", "compute_s": 1.5}
        return records.make("study", {}, pd.DataFrame({"x": [1]}), facts | {"date": "2026-01-01"})

    found = joined_facts([part("m", "2.6", "CPU"), part("n", "2.13", "H100"), part("n", "2.13", "CPU")])
    assert (found["machine"], found["versions"], found["device"]) == ("m, n", {"torch": "2.13, 2.6"}, "CPU, H100")
    assert (found["commit"], found["date"], found["compute_s"]) == ("a", "2026-01-01", 4.5)
    older = part("m", "2.6", "CPU")
    del older.about["device"]  # as in shards that were finished before it was noted
    assert joined_facts([older])["device"] == "unknown"
