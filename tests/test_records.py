import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from symlib import records


@pytest.fixture
def record():
    table = pd.DataFrame({"method": ["a", "b"], "loss": [0.1, 1 / 3]})
    return records.make("study", {"epochs": 3, "profile": "quick"}, table, {"wall_s": 1.5})


def test_record_survives_the_round_trip(record, tmp_path):
    records.write(tmp_path / "one", record)
    again = records.read(tmp_path / "one")
    pd.testing.assert_frame_equal(again.table, record.table, check_exact=True)
    assert again.about == record.about


def test_arrays_are_kept_and_a_flipped_bit_in_them_is_noticed(record, tmp_path):
    arrays = {"b": np.arange(6.0).reshape(2, 3), "a": np.ones(2, dtype=np.float32)}
    records.write(tmp_path / "one", records.make("study", {}, record.table, {}, arrays))
    records.write(tmp_path / "two", records.read(tmp_path / "one"))  # written again as it was read
    again = records.read(tmp_path / "two")
    assert again.arrays.keys() == arrays.keys()
    assert all(np.array_equal(again.arrays[name], values) for name, values in arrays.items())
    file = tmp_path / "two/arrays.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(ValueError, match="arrays.safetensors was changed"):
        records.read(tmp_path / "two")
    file.unlink()
    with pytest.raises(ValueError, match="holds no whole record"):
        records.read(tmp_path / "two")


def test_text_that_reads_as_a_number_or_as_nothing_stays_readable(tmp_path):
    table = pd.DataFrame({"name": ["None", "08", "1.50"], "other": ["a", "", "1e3"]})
    made = records.make("study", {}, table, {})
    records.write(tmp_path / "one", made)
    pd.testing.assert_frame_equal(records.read(tmp_path / "one").table, made.table, check_exact=True)


def test_record_says_where_it_comes_from(record):
    assert {"commit", "date", "versions", "machine", "table_sha256", "key", "config", "study"} <= set(record.about)
    assert "+" not in record.about["versions"]["torch"]


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("table.csv", "0.1", "0.0"),
        ("record.json", '"epochs": 3', '"epochs": 25'),
        ("record.json", '"wall_s": 1.5', '"wall_s": 0.5'),
    ],
)
def test_edited_record_is_refused(record, tmp_path, file, old, new):
    records.write(tmp_path / "one", record)
    path = tmp_path / "one" / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=rf"one/{file} was changed after it was written.* or delete the folder"):
        records.read(tmp_path / "one")


@pytest.mark.parametrize("half", ["", "{", "{}"])
def test_half_a_record_is_refused(record, tmp_path, half):
    records.write(tmp_path / "one", record)
    (tmp_path / "one/record.json").write_text(half)
    with pytest.raises(ValueError, match="one holds no whole record"):
        records.read(tmp_path / "one")
    with pytest.raises(ValueError, match="none holds no whole record"):
        records.read(tmp_path / "none")


def test_writing_again_replaces_and_leaves_nothing_beside(record, tmp_path):
    for _ in range(2):
        records.write(tmp_path / "one", record)
    assert [p.name for p in tmp_path.iterdir()] == ["one"]


def test_killed_write_leaves_the_old_record_and_is_not_taken_for_one(record, tmp_path, monkeypatch):
    records.write(tmp_path / "study/one", record)
    newer = records.make("study", {"epochs": 4}, record.table, {})

    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(records.json, "dumps", killed)
    with pytest.raises(KeyboardInterrupt):
        records.write(tmp_path / "study/one", newer)
    monkeypatch.undo()
    assert [r.about for r in records.find("study", tmp_path)] == [record.about]


@pytest.mark.parametrize("moves", [0, 1, 2])
def test_killed_between_renames_one_whole_record_is_found(record, tmp_path, monkeypatch, moves):
    place = tmp_path / "study/one"
    records.write(place, record)
    newer, rename, done = records.make("study", {"epochs": 4}, record.table, {}), Path.rename, []

    def killed(path, target):
        if len(done) == moves:
            raise KeyboardInterrupt
        done.append(target)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        records.write(place, newer)
    monkeypatch.undo()
    expected = newer.about if moves == 2 else record.about
    before = sorted(place.parent.iterdir())
    assert [r.about for r in records.find("study", tmp_path)] == [expected] == [records.read(place).about]
    assert sorted(place.parent.iterdir()) == before  # who reads moves nothing: a writer may be at it
    records.write(place, newer)
    assert [r.about for r in records.find("study", tmp_path)] == [newer.about]
    shutil.rmtree(place)
    assert not records.find("study", tmp_path)


def test_kept_run_is_found_by_its_study_under_its_path(record, tmp_path):
    runs, results = tmp_path / "runs", tmp_path / "results"
    records.write(runs / "mine/gate-0.1/record", record)
    assert records.keep(runs / "mine/gate-0.1", runs, results) == results / "study/mine-gate-0.1"
    assert [r.about for r in records.find("study", results)] == [record.about]
    assert records.find("other", results) == []
    with pytest.raises(ValueError, match="no folder below"):
        records.keep(tmp_path, runs, results)


def test_commit_says_when_files_differ_from_it(tmp_path, monkeypatch):
    def git(*arguments):
        command = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "-C", str(tmp_path), *arguments]
        subprocess.run(command, check=True, capture_output=True)

    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "CONFIG_GLOBAL": os.devnull,
        "CONFIG_SYSTEM": os.devnull,
        "CEILING_DIRECTORIES": tmp_path.parent,
    }.items():
        monkeypatch.setenv(f"GIT_{name}", str(value))
    monkeypatch.setattr(records, "ROOT", tmp_path)
    assert records.checked_out() == "unknown"
    git("init")
    (tmp_path / "file").write_text("a")
    git("add", ".")
    git("commit", "-m", "first")
    clean = records.checked_out()
    (tmp_path / "file").write_text("b")
    assert records.checked_out() == f"{clean}-modified"
    assert records.provenance()["commit"] == records.COMMIT  # that of the code that was imported


def test_origin_names_what_a_record_was_made_with():
    about = {"commit": "abc", "date": "2026-01-31", "device": "CPU", "machine": "m", "compute_s": 1234.4}
    about |= {"versions": {"torch": "2.13.0"}, "table_sha256": "0123456789abcdef99"}
    made = records.Record(pd.DataFrame(), about)
    text = records.origin({"shown": made, "live": made})
    block = " commit abc, 2026-01-31\n  CPU (m), 1,234 s\n  torch 2.13.0\n  table 0123456789abcdef"
    assert text == f"shown:{block}\nlive:{block}"
