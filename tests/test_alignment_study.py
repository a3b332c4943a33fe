import pytest
import torch

from symlib.studies.alignment import ALIGNERS, AlignmentStudy, midpoints, run

SMALL = {
    "profile": "custom",
    "dataset": "digits",
    "depth": 8,
    "width": 0.25,
    "norm": "batch",
    "n_pairs": 2,
    "epochs": 2,
    "n_images": 300,
    "batch_size": 50,
    "lr": 1e-2,
    "n_points": 3,
    "restarts": 1,
    "sinkhorn_steps": 2,
    "base_seed": 0,
    "workers": 1,
    "device": "cpu",
    "out": "",
}


@pytest.fixture(scope="module")
def record():
    return run(AlignmentStudy.checked(SMALL))


def test_every_aligner_meets_every_way_of_mending_on_every_pair(record):
    assert len(record.table) == 2 * len(ALIGNERS) * 3 * 3
    assert midpoints(record).shape == (2, 3 * len(ALIGNERS))


def test_lines_of_one_pair_share_their_ends_unless_statistics_are_taken_anew(record):
    ends = record.table.query("`lambda` != 0.5 and mended == 'as mixed'")
    spread = ends.groupby(["pair", "lambda"])["test_loss"].agg(lambda v: v.max() - v.min())
    assert spread.max() < 1e-4
    anew = record.table.query("`lambda` == 0 and mended == 're-estimated' and method == 'none'")
    old = record.table.query("`lambda` == 0 and mended == 'as mixed' and method == 'none'")
    assert (anew["test_loss"].to_numpy() != old["test_loss"].to_numpy()).all()


def test_midpoints_are_percentages_of_the_right_rows(record):
    row = record.table.query("pair == 1 and method == 'weight matching' and mended == 'repaired' and `lambda` == 0.5")
    assert midpoints(record).loc[1, ("weight matching", "repaired")] == 100 * row["test_accuracy"].item()


def test_networks_with_layer_norm_have_nothing_to_reestimate():
    found = run(AlignmentStudy.checked(SMALL | {"norm": "layer", "n_pairs": 1}))
    assert set(found.table["mended"]) == {"as mixed", "repaired"}


def test_finished_pairs_are_kept_when_more_are_asked_for(record, tmp_path):
    config = SMALL | {"out": str(tmp_path / "run"), "n_pairs": 1}
    run(AlignmentStudy.checked(config))
    written = (tmp_path / "run/shards/pair-000/record.json").stat().st_mtime_ns
    more = run(AlignmentStudy.checked(config | {"n_pairs": 2}))
    assert (tmp_path / "run/shards/pair-000/record.json").stat().st_mtime_ns == written
    torch.testing.assert_close(
        torch.tensor(more.table["test_loss"].to_numpy()), torch.tensor(record.table["test_loss"].to_numpy())
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 21}, r"depth must be 6 n \+ 2"),
        ({"width": 0.3}, "must be whole positive numbers"),
        ({"n_points": 4}, "odd and at least 3"),
        ({"norm": "none"}, "norm: .* got 'none'"),
        ({"sinkhorn_stepz": 3}, "unknown parameter 'sinkhorn_stepz'"),
    ],
)
def test_bad_parameters_are_refused_before_any_work(change, message):
    with pytest.raises(ValueError, match=message):
        AlignmentStudy.checked(SMALL | change)
