from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
import torch

from symlib import claims
from symlib.claims import p_text, unbroken
from symlib.plots.bayesian import FINALS, PAPER, curves, finals_table, readings_table, reliability_diagram
from symlib.population import evaluate
from symlib.records import Record
from symlib.studies import bayesian as study
from symlib.studies.bayesian import (
    DROWNED,
    MEMBERS,
    READINGS,
    VARIANTS,
    Bayesian,
    build,
    finals,
    images,
    quantities,
    readings,
    recorded_readings,
    run,
    start,
)

SMALL = {
    "profile": "custom",
    "dataset": "digits",
    "network": "mlp",
    "depths": [2],
    "width": 16.0,
    "norm": "layer",
    "variants": ["standard", "w-asym"],
    "rank": 2,
    "tau": 0.01,
    "n_networks": 3,
    "per_shard": 2,
    "epochs": 4,
    "batch_size": 50,
    "n_images": 200,
    "lr": 5e-3,
    "n_samples": 2,
    "mask_seed": 0,
    "base_seed": 3,
    "workers": 1,
    "device": "cpu",
    "out": "",
}


def small(**changes):
    return Bayesian.checked(SMALL | changes)


@pytest.fixture(scope="module")
def record():
    return run(small())


def test_record_has_all_networks_and_looks(record):
    table = record.table
    assert len(table) == 2 * 3 * 4 and set(table["network"]) == {0, 1, 2}
    assert table["accuracy"].notna().all()  # with so few epochs there is a look after each
    assert (table["train_loss"] > 0).all() and (table["divergence"] > 0).all()
    bins = record.about["reliability"]["standard 2"]
    assert len(bins) == 3 and all(sum(one["count"]) == 360 for one in bins)
    ends = finals(record)
    assert len(ends) == 6 and ends["accuracy"].between(0, 100).all()
    assert {"accuracy/standard 2", "nll/w-asym 2", "half_accuracy/w-asym 2"} <= quantities(record).keys()


@pytest.mark.parametrize("per_shard", [1, 3])
def test_networks_do_not_depend_on_their_shard(record, per_shard):
    found = run(small(per_shard=per_shard)).table
    keys = ["variant", "network", "epoch"]
    ours, theirs = (t.sort_values(keys).reset_index(drop=True) for t in (record.table, found))
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", [name for name in VARIANTS if name not in ("laplace", "smaller")])
def test_every_variant_trains(name):
    found = finals(run(small(variants=[name], n_networks=2)))
    assert found["accuracy"].min() > 20 and found["nll"].max() < 2.2 < np.log(10)  # ten classes
    assert found["ece"].between(0, 1).all()
    assert ("divergence" in found) == (VARIANTS[name].way == "variational")


@pytest.mark.skipif(find_spec("laplace") is None, reason="the library of the row laplace is optional")
def test_laplace_is_near_the_network_that_it_is_made_of():
    record = run(small(variants=["deterministic", "laplace"], epochs=8, n_networks=2))
    found = finals(record).pivot(index="network", columns="variant")
    assert (found["accuracy", "laplace"] - found["accuracy", "deterministic"]).abs().max() < 5
    assert (found["nll", "laplace"] - found["nll", "deterministic"]).abs().between(0.01, 0.2).all()


def test_means_are_the_same_in_all_variants():
    standard, quiet, plain = (start(small(), 2, VARIANTS[v], [1]) for v in ("standard", "quiet", "deterministic"))
    for name, w in plain.params.items():
        assert torch.equal(standard.params[name], w) and torch.equal(quiet.params[name], w)
    name = "linears.0.weight_factors"
    torch.testing.assert_close(quiet.params[name], 0.1 * standard.params[name])
    members = start(small(), 2, VARIANTS["ensemble"], [0, 1])
    assert len(members) == 2 * MEMBERS
    assert torch.equal(members.params["linears.0.weight"][MEMBERS], plain.params["linears.0.weight"][0])


def test_killed_study_goes_on_with_all_its_looks(record, tmp_path, monkeypatch):
    config = small(out=str(tmp_path), per_shard=3)
    scores, looked = study._scores, []

    def killed(*args):
        looked.append(1)
        if len(looked) == 3:
            raise KeyboardInterrupt
        return scores(*args)

    monkeypatch.setattr(study, "_scores", killed)
    with pytest.raises(KeyboardInterrupt):
        run(config)
    monkeypatch.setattr(study, "_scores", scores)
    found = run(config).table
    keys = ["variant", "network", "epoch"]
    ours, theirs = (t.sort_values(keys).reset_index(drop=True) for t in (run(small(per_shard=3)).table, found))
    pd.testing.assert_frame_equal(ours, theirs)
    assert not list(tmp_path.glob("shards/*/look-*"))  # checkpoints are gone with the finished shard
    monkeypatch.setattr(study, "train", None)
    pd.testing.assert_frame_equal(run(config).table, found)


LAPLACE = pytest.param("laplace", marks=pytest.mark.skipif(find_spec("laplace") is None, reason="not installed"))


@pytest.mark.parametrize("variant", ["standard", LAPLACE])
def test_diverged_networks_are_counted_and_take_no_other_along(variant, monkeypatch):
    def broken(config, depth, variant, networks):
        population = start(config, depth, variant, networks)
        if 1 in networks:
            population.params["linears.0.weight"][list(networks).index(1)] = torch.nan
        return population

    monkeypatch.setattr(study, "start", broken)
    record = run(small(variants=[variant], per_shard=3))
    found = finals(record).set_index("network")["accuracy"]
    assert found.isna().tolist() == [False, True, False]
    judged = quantities(record)
    assert judged[f"accuracy/{variant} 2"][1] == 10 and judged[f"nll/{variant} 2"][1] == pytest.approx(np.log(10))
    assert sum(record.about["reliability"][f"{variant} 2"][1]["count"]) == 0


def test_resnets_pin_what_the_paper_pins():
    config = small(network="resnet", depths=[8], width=0.5, tau=1.0, epochs=2, n_networks=2)
    drawn = start(config, 8, VARIANTS["w-asym"], [0])
    assert not drawn.constraint.D["linear.weight"].all()
    assert evaluate(drawn, *(images(config).test.x[:5], images(config).test.y[:5])).loss.isfinite().all()
    assert finals(run(config))["accuracy"].notna().all()


@pytest.mark.parametrize("name", ["standard", "w-asym"])
def test_resnets_start_from_the_larger_weights(name):
    config = small(network="resnet", depths=[8], width=1.0, tau=1.0)
    drawn, weight = start(config, 8, VARIANTS[name], [0]), "stages.2.0.conv2.weight"  # of 64 * 9 inputs
    found = drawn.params[weight][0]
    trainable = found[drawn.constraint.D.get(weight, torch.ones_like(found)).bool()]
    assert len(trainable) > 10_000 and float(trainable.std()) == pytest.approx((2 / 576) ** 0.5, rel=0.05)


def test_smaller_resnets_have_about_as_many_parameters_as_w_asymmetric_ones_train():
    config = small(dataset="cifar100", network="resnet", depths=[20], width=2.0, norm="batch")
    n = 5 * sum(w.numel() for name, w in build(config, 20, VARIANTS["smaller"].width).named_parameters() if w.dim() > 1)
    assert n == pytest.approx(5_044_756, rel=0.02)


def made(**accuracies):
    rows = [
        {"depth": 16, "variant": name, "network": i, "epoch": epoch, "accuracy": value / 100}
        | dict.fromkeys(("train_loss", "nll", "ece", "divergence"), 1.0)
        for name, values in accuracies.items()
        for i, value in enumerate(values)
        for epoch in (1, 2)
    ]
    about = {"config": {"epochs": 2, "dataset": "digits"}}
    return Record(pd.DataFrame(rows), about)


@pytest.mark.parametrize(
    ("quiet", "found", "words"),
    [
        ([88, 91, 92], "most", ("undermines", "supports")),
        ([31, 29, 33], "little", ("supports", "undermines")),
        ([20, 60, 90], "undecided", ("undecided", "undecided")),
    ],
)
def test_readings_are_judged_by_what_a_control_gains(quiet, found, words):
    table = readings(made(standard=[30, 28, 31], quiet=quiet, **{"w-asym": [90, 91, 92]}))
    (row,) = table.to_dict("records")
    assert (row["found"], (row["fewer symmetries"], row["drowned noise"])) == (found, words)
    assert row["gained"] == pytest.approx((np.mean(quiet) - np.mean([30, 28, 31])) / (91 - np.mean([30, 28, 31])))


def test_recorded_controls_are_judged_by_the_largest_run(tmp_path, monkeypatch):
    few = made(standard=[10, 11, 9], quiet=[88, 91, 92], **{"w-asym": [90, 91, 92]})
    many = made(standard=[10, 11, 9, 10], quiet=[10, 9, 12, 11], **{"w-asym": [90, 91, 92, 91]})
    other = made(standard=[10, 11, 9], quiet=[88, 91, 92], **{"w-asym": [90, 91, 92]})
    for record, n, dataset in ((few, 3, "cifar10"), (many, 4, "cifar10"), (other, 3, "mnist")):
        record.about["config"] |= {"profile": "cpu", "n_networks": n, "dataset": dataset, "network": "mlp"}
    monkeypatch.setattr(study.records, "find", lambda name, results: [few, many, other])
    found = recorded_readings(tmp_path)
    assert found.to_numpy().tolist() == [["Bayesian MLP-16", "quiet", "little"]]


def test_a_control_that_diverges_gains_nothing():
    table = readings(made(standard=[10, 11, 9], quiet=[np.nan, np.nan, np.nan], **{"w-asym": [90, 91, 92]}))
    assert table[["n", "found"]].to_numpy().tolist() == [[3, "little"]] and abs(table["gained"][0]) < 0.02


def test_drowned_noise_has_the_share_of_w_asymmetric_layers():
    """Of the variance of a hidden layer's outputs on inputs of unit size: factors and diagonal over the mean's part."""

    def shares(name):
        population = start(small(width=256.0, rank=4), 2, VARIANTS[name], [0])
        (member,), layer = population.members(), population.model.linears[1]
        mean = member["linears.1.weight"].square().sum(1).mean()
        factors = member["linears.1.weight_factors"].square().sum((0, 2)).mean() / 4
        return torch.stack([factors / mean, layer.variance("weight").sum(1).mean() / mean])

    standard, w_asym = shares("standard"), shares("w-asym")
    torch.testing.assert_close(shares("drowned"), w_asym, rtol=0.2, atol=0)
    torch.testing.assert_close(shares("w-asym loud"), standard, rtol=0.2, atol=0)
    torch.testing.assert_close(standard / w_asym, torch.full((2,), float(DROWNED)), rtol=0.2, atol=0)


def test_numbers_of_table_2_are_those_of_the_claims():
    cells = {}
    for claim in (c for c in claims.load() if c.id.startswith("B:table2:") and c.id.count("released") == 0):
        what, _, kind = claim.quantity.partition("/")
        variant, depth = kind.rsplit(" ", 1)
        norm = claim.needs.get("norm", "layer")
        place = claim.needs["dataset"], claim.needs["network"], norm, int(depth), variant
        cells[claim.id] = (claim.paper.mean, claim.paper.sd), PAPER[place][list(FINALS).index(what)]
    assert len(cells) > 15
    for ours, theirs in cells.values():
        assert ours == theirs


def test_tables_hold_what_networks_end_with(record):
    text = finals_table(finals(record), record.config)
    ends = finals(record).groupby("variant")["accuracy"].agg(["mean", "std"])
    for name, label in (("standard", "standard"), ("w-asym", "W-asymmetric")):
        (line,) = (line for line in text.splitlines() if line.split()[0] == label)
        mean, std = ends.loc[name]
        assert f"{mean:.1f} ±{std:.1f}".replace("±0", "±") in line and line.split()[1] == "3"
    config = record.config | {"dataset": "cifar10", "depths": [16]}
    shown = finals_table(finals(record).assign(depth=16), config)
    assert "2.290 ±.020" in shown and "13.5 ±2.0" in shown and max(map(len, shown.splitlines())) <= 82
    config |= {"dataset": "cifar100", "network": "resnet", "norm": "batch"}
    narrower = finals(record).assign(depth=20, variant="smaller")
    assert finals_table(narrower, config).splitlines()[-1].split() == ["paper", "10", *"----", "46.5", "±1.1"]


def test_curves_and_diagram_draw_the_means_of_networks(record):
    axes = curves(record.table, ["standard", "w-asym"], "small").axes
    drawn = axes[2].lines[0].get_ydata()
    expected = 100 * record.table[record.table["variant"] == "standard"].groupby("epoch")["accuracy"].mean()
    np.testing.assert_allclose(drawn, expected)
    (ax,) = reliability_diagram(record.about["reliability"], 2, ["w-asym"], "small").axes
    bins = record.about["reliability"]["w-asym 2"]
    right, count = (np.array([one[what] for one in bins]) for what in ("right", "count"))
    filled = count.sum(0) > 0
    y = ax.lines[1].get_ydata()
    np.testing.assert_allclose(y, ((count * right).sum(0) / count.sum(0).clip(1))[filled])


def test_table_of_readings_says_how_sure_it_is():
    found = readings(made(standard=[30, 28, 31], quiet=[88, 91, 92], **{"w-asym": [90, 91, 92]}))
    row = readings_table(found, READINGS).loc[16]
    assert row["that is"] == "most" and row[READINGS[0]] == "undermines" and row["n"] == 3
    assert row["p, less than half"] == unbroken(p_text(found["p_little"][0]))


def test_without_controls_there_is_nothing_to_read():
    found = readings(made(standard=[30, 28, 31]))
    assert found.empty and readings_table(found, READINGS).empty


def test_readings_are_undecided_where_w_asymmetric_networks_gain_nothing():
    table = readings(made(standard=[60, 62, 61], quiet=[90, 91, 92], **{"w-asym": [61, 60, 62]}))
    assert table[["found", "drowned noise"]].to_numpy().tolist() == [["no lead shown", "undecided"]]
    assert table["gained"].isna().all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rank": -1}, "rank"),
        ({"rank": 10_000}, "10000 factors are more than"),
        ({"tau": 0.0}, "tau"),
        ({"n_samples": 0}, "n_samples"),
        ({"width": 7.5}, "a whole number, got 7.5"),
        ({"depths": [0]}, "depths"),
        ({"network": "resnet", "depths": [9], "width": 0.5}, "depth must be 6 n"),
        ({"variants": ["loud"]}, "variants"),
        ({"network": "resnet", "depths": [8], "variants": ["quiet"]}, r"\['quiet'\] scale initial factors"),
        ({"n_networks": 1}, "n_networks"),
    ],
)
def test_bad_parameters_are_refused_before_any_work(changes, message):
    with pytest.raises(ValueError, match=message):
        small(**changes)


def test_more_images_than_there_are_are_refused():
    with pytest.raises(ValueError, match="n_images is 1438, but digits has 1437"):
        images(small(n_images=1438))


def test_laplace_without_its_library_is_refused(monkeypatch):
    monkeypatch.setattr(study, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'pip install "symlib\[laplace\]"'):
        small(variants=["laplace"])
