import numpy as np
import pandas as pd
import pytest
import torch

from symlib.interpolation import midpoint_barrier
from symlib.plots import mode_connectivity as plots
from symlib.studies.architectures import TASKS, pairs
from symlib.studies.parameter_counts import ROWS, ParameterCounts, quantities, run


@pytest.mark.parametrize("architecture", TASKS)
def test_every_architecture_trains_a_w_asymmetric_pair_whose_line_is_low(architecture):
    table = pairs(architecture, "w-asym", n_pairs=1)
    loss = torch.tensor(table["test_loss"].to_numpy())[None]
    assert loss[0, [0, -1]].max() < 0.7  # trained: chance is 2.3
    assert midpoint_barrier(loss) < 0.4
    drawn = plots.architecture_panels(table).axes[0].lines[0]
    np.testing.assert_allclose(drawn.get_ydata(), table["test_loss"])


def test_standard_pairs_are_separated_where_w_asymmetric_ones_are_not():
    both = pd.concat([pairs("MLP, digits", method, 1) for method in ("standard", "w-asym")])
    loss = {m: torch.tensor(rows["test_loss"].to_numpy())[None] for m, rows in both.groupby("method")}
    assert midpoint_barrier(loss["standard"]) > 5 * midpoint_barrier(loss["w-asym"]).abs()


def test_counts_are_recorded_as_quantities(tmp_path):
    record = run(ParameterCounts(profile="quick", out=str(tmp_path / "run")))
    found = quantities(record)
    assert len(found) == 2 * len(ROWS)
    assert (found["w-asym/resnet-20"], found["standard/mlp-8-bayes"]) == (230_026, 3_324_466)
    assert (tmp_path / "run/record/table.csv").exists()
