import json

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


def test_record_says_where_it_comes_from(record):
    assert {"commit", "date", "versions", "machine", "table_sha256", "key", "config", "study"} <= set(record.about)
    assert "+" not in record.about["versions"]["torch"]


@pytest.mark.parametrize("what", ["table", "config"])
def test_edited_record_is_refused(record, tmp_path, what):
    records.write(tmp_path / "one", record)
    if what == "table":
        path = tmp_path / "one/table.csv"
        path.write_text(path.read_text().replace("0.1", "0.0"))
    else:
        path = tmp_path / "one/record.json"
        path.write_text(json.dumps(record.about | {"config": {"epochs": 25, "profile": "cpu"}}))
    with pytest.raises(ValueError, match=rf"the {what} of record .*one was changed after it was written"):
        records.read(tmp_path / "one")


def test_writing_again_replaces_and_leaves_nothing_beside(record, tmp_path):
    for _ in range(2):
        records.write(tmp_path / "one", record)
    assert [p.name for p in tmp_path.iterdir()] == ["one"]


def test_kept_run_is_found_by_its_study(record, tmp_path):
    records.write(tmp_path / "runs/mine/record", record)
    assert records.keep(tmp_path / "runs/mine", tmp_path / "results") == tmp_path / "results/study/mine"
    assert [r.about for r in records.find("study", tmp_path / "results")] == [record.about]
    assert records.find("other", tmp_path / "results") == []
