import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
import yaml

from symlib import records
from symlib.alignment.activation_matching import activation_matching
from symlib.alignment.permutation import permute_members
from symlib.alignment.tracing import specification
from symlib.alignment.weight_matching import weight_matching
from symlib.data.images import digits
from symlib.interpolation import curves, mixing_weights
from symlib.plots import mode_connectivity as plots
from symlib.population import initialise
from symlib.records import Record
from symlib.seeds import generator, seed
from symlib.studies import mode_connectivity as study
from symlib.studies.mode_connectivity import (
    ALIGNERS,
    METHODS,
    ModeConnectivity,
    barriers,
    build,
    quantities,
    run,
    shard_config,
    shards,
)
from symlib.training import Recipe, train

ROOT = Path(__file__).resolve().parents[1]
SMALL = {
    "profile": "custom",
    "dataset": "digits",
    "width": 24,
    "n_pairs": 2,
    "epochs": 2,
    "batch_size": 64,
    "lr": 1e-3,
    "weight_decay": 0.03,
    "init": "uniform",
    "n_fix": [8, 4, 4, 12],
    "sigma_F": [1.0, 1.0, 0.5, 0.25],
    "gate_std": 1.0,
    "gate_sweep": [],
    "syre_sigma_F": 1.0,
    "n_points": 5,
    "restarts": 1,
    "mask_seed": 0,
    "base_seed": 7,
    "pairs_per_shard": 1,
    "workers": 1,
    "device": "cpu",
    "out": "",
}


def small(**changes):
    return ModeConnectivity.checked(SMALL | changes)


@pytest.fixture(scope="module")
def record():
    return run(small())


def test_study_measures_every_method_pair_and_point(record):
    methods = [m for group in METHODS.values() for m in group]
    assert len(record.table) == len(methods) * 2 * 5
    assert set(record.table["method"]) == set(methods)
    assert record.table["test_accuracy"].between(0, 1).all()


def test_curves_of_one_pair_of_networks_share_their_ends(record):
    """Reordering units changes the way, not where it starts and ends."""
    ends = record.table[record.table["lambda"].isin([0, 1])].pivot(
        index=["pair", "lambda"], columns="method", values="test_loss"
    )
    pd.testing.assert_series_equal(ends["standard"], ends["git-rebasin"], check_names=False, rtol=1e-5)


def test_summary_equals_the_definitions(record):
    found = barriers(record).set_index(["method", "pair"]).loc[("w-asym", 1)]
    rows = record.table.query("method == 'w-asym' and pair == 1").set_index("lambda")
    loss, accuracy = rows["test_loss"], rows["test_accuracy"]
    assert found["barrier"] == pytest.approx(loss[0.5] - (loss[0.0] + loss[1.0]) / 2)
    assert found["drop"] == pytest.approx(100 * ((accuracy[0.0] + accuracy[1.0]) / 2 - accuracy[0.5]))
    chord = loss[0.0] + (loss[1.0] - loss[0.0]) * loss.index.to_numpy()
    assert found["max_barrier"] == pytest.approx((loss - chord).max())
    assert quantities(record)["barrier/w-asym"][1] == found["barrier"]


def test_shards_and_processes_do_not_show_in_the_result(record, tmp_path):
    together = run(small(pairs_per_shard=2))
    apart = run(small(workers=2, out=str(tmp_path)))
    for other in (together, apart):
        pd.testing.assert_frame_equal(
            other.table.sort_values(["method", "pair", "lambda"], ignore_index=True),
            record.table.sort_values(["method", "pair", "lambda"], ignore_index=True),
            rtol=1e-3,
        )
    assert records.read(tmp_path / "record").about == apart.about


def test_finished_shards_are_not_run_again_and_more_pairs_extend_a_run(tmp_path):
    run(small(out=str(tmp_path)))
    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.glob("shards/*/record.json")}
    assert len(stamps) == len(shards(small())) == 8
    longer = run(small(out=str(tmp_path), n_pairs=3))
    assert longer.table["pair"].nunique() == 3
    assert all(p.stat().st_mtime_ns == stamp for p, stamp in stamps.items())


def test_another_gate_is_a_study_of_its_own_below_the_first(tmp_path):
    soft = small(out=str(tmp_path / "run")).with_gate(0.1)
    assert (soft.gate_std, soft.out) == (0.1, f"{tmp_path}/run/gate-0.1")
    assert set(run(soft, ["sigma-asym"]).table["method"]) == {"sigma-asym"}
    assert build(soft, "sigma-asym")[1].fingerprint != build(small(), "sigma-asym")[1].fingerprint


def test_record_of_joined_shards_names_the_commits_that_computed_them(tmp_path):
    run(small(out=str(tmp_path)))
    folder = next(tmp_path.glob("shards/*/record.json")).parent
    old = records.read(folder)
    records.write(folder, Record(old.table, old.about | {"commit": "0123456789ab"}))
    assert "0123456789ab, " in run(small(out=str(tmp_path))).about["commit"]


CHANGES = {
    "width": 28,
    "epochs": 3,
    "batch_size": 32,
    "lr": 2e-3,
    "weight_decay": 0.5,
    "init": "normal",
    "n_fix": [9, 4, 4, 12],
    "sigma_F": [1.0, 1.0, 0.5, 0.5],
    "gate_std": 0.5,
    "syre_sigma_F": 0.5,
    "n_points": 7,
    "mask_seed": 1,
    "base_seed": 1,
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_parameter_changes_the_networks_it_should_and_the_key(record, name):
    """A parameter that is dropped on its way to the computation would leave the table as it is."""
    changed = small(**{name: CHANGES[name]})
    mine = {
        "n_fix": "w-asym",
        "sigma_F": "w-asym",
        "mask_seed": "w-asym",
        "gate_std": "sigma-asym",
        "syre_sigma_F": "syre",
    }.get(name, "standard")
    before = record.table.query("method == @mine")["test_loss"].to_numpy()
    after = run(changed, [mine]).table.query("method == @mine")["test_loss"].to_numpy()
    assert len(after) != len(before) or (after != before).any()
    shard = shards(changed)[0]
    assert shard_config(changed, shard) != shard_config(small(), shard)


def test_every_scientific_parameter_is_tried():
    assert set(small().science) == {*CHANGES, "dataset", "n_pairs", "restarts"}


def test_methods_are_what_they_say_on_the_networks_of_a_pair(record):
    """Train pair 1 by hand and align it by hand."""
    config, data = small(), digits()
    model, fixed = build(config, "standard")
    start = initialise(model, fixed, [seed(7, "init", i) for i in (2, 3)])
    recipe = Recipe(config.epochs, config.batch_size, config.lr, config.weight_decay)
    nets, _ = train(start, data.train.x, data.train.y, recipe, [seed(7, "order", i) for i in (2, 3)])
    a, b = nets.members()
    spec = specification(model, data.test.x[:2])
    found = {
        "git-rebasin": weight_matching(a, b, spec, generator(7, "match", 1), config.restarts),
        "activation-matching": activation_matching(model, a, b, spec, data.train.x),
    }
    ends = {"standard": nets[1:]} | {m: permute_members(spec, [f], nets[1:], data.test.x) for m, f in found.items()}
    for method, end in ends.items():
        expected = curves(nets[:1], end, mixing_weights(5), data.test.x, data.test.y)
        rows = record.table.query("method == @method and pair == 1")
        torch.testing.assert_close(torch.tensor(rows["test_loss"].to_numpy()), expected.loss[0], rtol=1e-4, atol=1e-5)
        if method in ALIGNERS:
            objective = record.about["networks"]["standard"][f"{method} objective"][1]
            assert objective == pytest.approx(found[method].objective, rel=1e-4)
    midpoints = record.table.query("pair == 1 and `lambda` == 0.5").set_index("method")["test_loss"]
    assert midpoints[["standard", "git-rebasin", "activation-matching"]].nunique() == 3


def test_repaired_lines_keep_their_ends_and_leave_the_way_between(record):
    wide = record.table.query("pair == 0").pivot(index="lambda", columns="method", values="test_loss")
    aligned, repaired = wide["git-rebasin"], wide["git-rebasin repaired"]
    np.testing.assert_allclose(repaired[[0.0, 1.0]], aligned[[0.0, 1.0]], rtol=1e-3)
    assert abs(repaired[0.5] - aligned[0.5]) > 1e-3


def test_a_pair_that_diverges_is_counted_and_does_not_take_others_along(record, monkeypatch, tmp_path):
    train_all = study._train

    def sometimes(config, shard, *others):
        trained, losses = train_all(config, shard, *others)
        losses[-1, 2 * (1 - shard.first_pair)] = torch.nan  # the first network of pair 1
        return trained, losses

    monkeypatch.setattr(study, "_train", sometimes)
    config = small(pairs_per_shard=2, out=str(tmp_path))
    found = run(config, ["w-asym", "standard"])
    for method in ("w-asym", "git-rebasin"):
        losses = found.table[found.table["method"] == method].set_index("pair")["test_loss"]
        usual = record.table[record.table["method"] == method].set_index("pair")["test_loss"]
        np.testing.assert_allclose(losses[0], usual[0], rtol=1e-3)
        assert losses[1].isna().all()
    assert len(quantities(found)["barrier/w-asym"]) == len(quantities(found)["distance/w-asym"]) == 1
    table = plots.barrier_table(barriers(found)).iloc[0]
    assert (table["pairs"], table["diverged"]) == (1, 1)
    monkeypatch.setattr(study, "_train", None)
    pd.testing.assert_frame_equal(run(config, ["w-asym", "standard"]).table, found.table)


def test_restarts_reach_the_matching():
    one, many = (run(small(restarts=r), ["standard"]).about["networks"]["standard"] for r in (1, 12))
    assert sum(many["git-rebasin objective"]) > sum(one["git-rebasin objective"])


def test_killed_study_leaves_no_process_and_goes_on_to_the_same_result(tmp_path):
    config = small(epochs=10, out=str(tmp_path / "a"), workers=2)
    child = multiprocessing.get_context("spawn").Process(target=run, args=(config,))
    child.start()
    while not list(tmp_path.glob("a/shards/*/record.json")):
        assert child.is_alive()
        time.sleep(0.05)
    family = psutil.Process(child.pid).children(recursive=True)
    assert len(family) >= 2
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    _, alive = psutil.wait_procs(family, timeout=10)
    # Where nothing collects orphans, they stay in the list of processes when they have ended.
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
    resumed = run(small(epochs=10, out=str(tmp_path / "a")))
    whole = run(small(epochs=10))
    pd.testing.assert_frame_equal(resumed.table, whole.table, check_exact=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epohcs": 3}, "unknown parameter 'epohcs' .* did you mean 'epochs'"),
        ({"epochs": "five"}, "epochs: input should be a valid integer, got 'five'"),
        ({"lr": "1e-3"}, "lr: input should be a valid number, got '1e-3' .*write 1.0e-3"),
        ({"width": "wide"}, "got 'wide'$"),
        ({"epochs": 0}, "epochs: input should be greater than or equal to 1, got 0"),
        ({"epochs": True}, "epochs: input should be a valid integer, got True"),
        ({"n_points": 24}, "n_points must be odd and at least 3, .* got 24"),
        ({"n_fix": [65, 4, 4, 12]}, "n_fix of linears.0.weight must lie between 0 and the 64 entries of a row, got 65"),
        ({"n_fix": [-1, 4, 4, 12]}, "got -1"),
        ({"sigma_F": [1.0, 1.0, float("inf"), 0.25]}, "finite and 0 or larger, got inf"),
        ({"sigma_F": [1.0, 1.0, -0.5, 0.25]}, "sigma_F is a standard deviation .* got -0.5"),
        ({"gate_std": -1.0}, "gate_std: input should be greater than or equal to 0"),
        ({"dataset": "mnsit"}, "dataset: input should be 'digits' or 'mnist', got 'mnsit'"),
        ({"n_fix": [4, 4]}, "one number for each of the 4 linear maps .* got 2"),
        ({"gate_sweep": [0.0]}, "gate_sweep.0: input should be greater than 0"),
        ({"n_pairs": 1}, "n_pairs: input should be greater than or equal to 2"),
        ({"n_fix": "64"}, "n_fix: input should be a valid list, got '64'$"),
        ({"profile": "huge"}, "profile: input should be 'quick', 'cpu', 'paper' or 'custom', got 'huge'"),
        ({"lr": float("nan")}, "lr: input should be"),
    ],
)
def test_bad_parameters_are_refused_in_one_message(change, message):
    with pytest.raises(ValueError, match=message):
        small(**change)


def test_several_wrong_parameters_are_all_named():
    with pytest.raises(ValueError, match="width: .*; unknown parameter 'epohcs'") as caught:
        small(epohcs=1, width="wide")
    assert caught.value.__cause__ is None and "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_missing_gpu_is_noticed_before_work_starts():
    with pytest.raises(ValueError, match="device is 'cuda' but this machine has no usable GPU"):
        small(device="cuda")


def test_notebook_globals_become_a_config_and_misspelt_ones_are_refused():
    cell = "\n".join(f"{name} = {value!r}" for name, value in SMALL.items())
    check = "config = ModeConnectivity.from_cell(globals())"
    kernel = SMALL | {"Out": {}, "_i1": "x = 1", "__name__": "__main__", "torch": torch}
    assert ModeConnectivity.from_cell(kernel | {"In": ["", cell, check]}) == small()
    with pytest.raises(ValueError, match="unknown parameter 'n_pair' "):
        ModeConnectivity.from_cell(kernel | {"n_pair": 3, "In": ["", cell, "n_pair = 3", check]})
    with pytest.raises(ValueError, match="unknown parameter 'n_pair' "):  # a script has no history
        ModeConnectivity.from_cell(kernel | {"n_pair": 3})


def test_check_can_be_run_again_after_later_cells_and_a_change():
    cell = "\n".join(f"{name} = {value!r}" for name, value in SMALL.items())
    check = "config = ModeConnectivity.from_cell(globals())"
    kernel = SMALL | {"epochs": 5, "lines": ["text"], "In": ["", cell, check, "lines = ['text']", "epochs = 5", check]}
    assert ModeConnectivity.from_cell(kernel).epochs == 5
    retyped = kernel | {"epohcs": 9, "In": [*kernel["In"], "epochs = 5; epohcs: int = 9", check]}
    with pytest.raises(ValueError, match="unknown parameter 'epohcs'"):
        ModeConnectivity.from_cell(retyped)
    assert ModeConnectivity.from_cell(kernel | {"In": ["print(", *kernel["In"]]}).epochs == 5  # a slip of the pen


def test_kept_records_have_the_parameters_of_their_profile():
    kept = records.find("mode_connectivity")
    assert kept
    for record in kept:
        profile = ROOT / f"notebooks/profiles/mode_connectivity_mlp/{record.config['profile']}.yaml"
        if not profile.exists():  # quick and custom records promise nothing
            continue
        promised = yaml.safe_load(profile.read_text())
        promised.pop("gate_sweep")  # the other scales are records of their own
        promised.pop("workers")  # changes nothing but the time
        assert {name: record.config[name] for name in promised} == promised
        methods = record.table["method"].unique()
        assert {METHODS[networks][0] for networks in record.about["networks"]} <= set(methods)
        assert len(record.table) == len(methods) * record.config["n_pairs"] * record.config["n_points"]
        for name, about in record.about["networks"].items():
            full = ModeConnectivity.checked(SMALL | record.config | {"out": "", "device": "cpu"})
            # Without AVX2 the constants that are drawn differ in their last bit.
            if torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512"):
                assert build(full, name)[1].fingerprint == about["fingerprint"]
