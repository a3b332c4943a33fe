from functools import partial

import numpy as np
import pandas as pd
import pytest

from symlib.config import Config
from symlib.studies.checks import counted, rows_of, run_checks


class Draws(Config):
    profile: str
    n_draws: int
    base_seed: int
    workers: int
    out: str


def powers(seed, draw):
    return [("square", "plain", draw**2), ("square", "seeded", draw**2 + seed)]


def conducted(calls, **changes):
    config = Draws.checked({"profile": "custom", "n_draws": 3, "base_seed": 7, "workers": 1, "out": ""} | changes)

    def doubles(draw):
        calls.append(draw)
        return [("double", "plain", 2 * draw)]

    return run_checks("checks", config, {"powers": partial(powers, config.base_seed), "doubles": doubles})


def test_every_check_meets_every_draw():
    record = conducted([])
    table = rows_of(record, "powers")
    assert table["square", "plain"].tolist() == [0, 1, 4] and table["square", "seeded"].tolist() == [7, 8, 11]
    assert rows_of(record, "doubles")["double", "plain"].tolist() == [0, 2, 4]
    assert list(record.table.columns) == ["check", "variant", "what", "draw", "value"]


def test_finished_draws_are_not_run_again(tmp_path):
    calls = []
    first = conducted(calls, out=str(tmp_path), n_draws=2)
    more = conducted(calls, out=str(tmp_path), n_draws=4)
    assert calls == [0, 1, 2, 3]  # another number of draws keeps those that are there
    pd.testing.assert_frame_equal(more.table[more.table["draw"] < 2].reset_index(drop=True), first.table)
    conducted(calls, out=str(tmp_path), base_seed=8, n_draws=2)
    assert calls[4:] == [0, 1]


@pytest.mark.parametrize(("values", "text"), [([20, 20], "20"), ([21, 19, 20], "19 to 21")])
def test_counts_as_text(values, text):
    assert counted(np.array(values)) == counted(pd.Series(values, dtype=float)) == text
