import numpy as np
import pandas as pd
import pytest
import torch

from symlib import records
from symlib.asymmetry import Sigma
from symlib.data.graphs import load_graph
from symlib.plots import pairs as plots
from symlib.plots.variants import verdict_table
from symlib.studies import graph_connectivity as study
from symlib.studies.graph_connectivity import (
    ACTIVATION,
    VARIANTS,
    GraphConnectivity,
    Half,
    Variant,
    activation_effects,
    graph_of,
    measure,
    pairs,
    quantities,
    run,
    start,
    verdicts,
)
from symlib.studies.variants import as_they_are, joined

SMALL = {
    "profile": "custom",
    "dataset": "blocks",
    "split": "published",
    "hidden": 12,
    "n_pairs": 2,
    "epochs": 6,
    "lr": 1e-2,
    "warmup": 2,
    "variants": ["standard", "w-asym", "w-asym sigma", "anchor"],
    "n_points": 3,
    "mask_seed": 0,
    "base_seed": 1,
    "workers": 1,
    "device": "cpu",
    "out": "",
}


def small(**changes):
    return GraphConnectivity.checked(SMALL | changes)


@pytest.fixture(scope="module")
def record():
    return run(small())


def test_only_pairs_whose_units_may_be_reordered_are_aligned(record):
    methods = pairs(record).groupby("variant")["method"].agg(set)
    assert methods["standard"] == methods["anchor"] == {"unaligned", "git-rebasin", "activation-matching"}
    assert methods["w-asym"] == methods["w-asym sigma"] == {"unaligned"}
    assert not Variant(gates=Sigma(1.0)).symmetric and VARIANTS["half"].symmetric


def test_alignment_changes_the_way_and_not_its_ends(record):
    standard = record.table[record.table["variant"] == "standard"]
    wide = standard.pivot(index=["statistics", "pair", "lambda"], columns="method", values="test_loss")
    for at in (0.0, 1.0):
        ends = wide.xs(at, level="lambda")
        np.testing.assert_allclose(ends["git-rebasin"], ends["unaligned"], rtol=1e-4)
    assert (wide.xs(0.5, level="lambda")["git-rebasin"] != wide.xs(0.5, level="lambda")["unaligned"]).all()


def test_variants_differ_in_what_they_say_they_do():
    graph = load_graph("blocks")
    populations = {name: start(small(), graph, variant, 0) for name, variant in VARIANTS.items()}
    weight = "linears.1.weight"
    pinned = {name: one.constraint.pinned.get(weight) for name, one in populations.items()}
    assert all((pinned[name] is not None) == name.startswith("w-asym") for name in VARIANTS)
    index, value = pinned["w-asym"]
    torch.testing.assert_close(pinned["w-asym 2"][1], 4 * value)
    assert not pinned["w-asym 0"][1].any()
    anchor = populations["anchor"].params[weight]
    assert torch.equal(anchor, populations["w-asym"].params[weight]) and torch.equal(anchor[0].flatten()[index], value)
    gates = {name: getattr(one.model.activations[0], "gate", None) for name, one in populations.items()}
    assert float(gates["sigma"].std() * 12**0.5) == pytest.approx(0.01, rel=0.2)
    assert torch.equal(gates["sigma"], gates["w-asym sigma"])
    assert isinstance(populations["w-asym half"].model.activations[2], Half) and gates["standard"] is None


def test_soft_gates_are_the_linear_activation():
    found = run(small(variants=["standard", "w-asym", "half", "sigma"], epochs=30))
    barrier = as_they_are(pairs(found)).groupby("variant")["barrier"].mean()
    assert barrier["sigma"] == pytest.approx(barrier["half"], rel=0.02)
    assert np.abs(quantities(found)["apart/sigma"]).max() < 0.02
    effects = activation_effects(found)
    assert effects["barriers of sigma-asymmetric networks are those of x / 2, to a tenth of the standard one"]
    assert set(effects) < set(ACTIVATION) and not any("released" in said for said in effects)


def test_pairs_have_pinned_entries_of_their_own():
    graph = load_graph("blocks")
    first, second = (start(small(), graph, VARIANTS["w-asym"], pair).constraint for pair in (0, 1))
    assert first.fingerprint != second.fingerprint


def test_statistics_at_the_ends_are_estimated_anew(record, monkeypatch):
    seen = []
    real = study.curves
    monkeypatch.setattr(study, "curves", lambda a, b, *rest: seen.append(a) or real(a, b, *rest))
    found = measure(small(), "w-asym", 0, None, lambda: None).table.set_index(["statistics", "lambda"])
    graph, first = load_graph("blocks"), next(seen[0].members())
    # In training mode BatchNorm takes the statistics of the whole graph.
    model = start(small(), graph, VARIANTS["w-asym"], 0).model.train()
    scores = torch.func.functional_call(model, {n: w.clone() for n, w in first.items()}, (graph.test,))
    loss = torch.nn.functional.cross_entropy(scores, graph.y[graph.test])
    assert found.loc[("re-estimated", 0.0), "test_loss"] == pytest.approx(float(loss), rel=1e-2)
    assert found.loc[("as mixed", 0.0), "test_loss"] != pytest.approx(float(loss), rel=1e-2)


def test_distance_is_divided_by_the_number_of_trainable_entries(record):
    scores = record.about["networks"]["w-asym"]
    found, n = quantities(record), scores["n_trainable"][0]
    np.testing.assert_allclose(found["distance/w-asym"], np.array(scores["distance"]) / n)
    np.testing.assert_allclose(found["rms distance/w-asym"], np.array(scores["distance"]) / n**0.5)


def test_random_split_has_the_proportions_of_arxiv_and_no_node_twice():
    graph = graph_of(small(split="random"))
    sets = [graph.train, graph.valid, graph.test]
    assert [len(s) for s in sets] == [1080, 360, 560]
    assert len(torch.cat(sets).unique()) == 2000
    assert torch.equal(graph.train, graph_of(small(split="random")).train)


def test_accuracies_are_the_best_that_were_seen(record):
    for scores in record.about["networks"].values():
        assert len(scores["best_train_accuracy"]) == 4
        assert (np.array(scores["best_train_accuracy"]) >= np.array(scores["train_accuracy"])).all()
    gap = quantities(record)["gap/standard"]
    scores = record.about["networks"]["standard"]
    np.testing.assert_allclose(gap, 100 * (np.array(scores["best_train_accuracy"]) - scores["best_valid_accuracy"]))


def test_diverged_pairs_are_counted_and_left_out(monkeypatch):
    def diverge(*args, **kwargs):
        raise FloatingPointError("training diverged")

    every = [measure(small(), n, pair, None, lambda: None) for n in ("standard", "w-asym") for pair in (0, 1)]
    every.append(measure(small(), "anchor", 0, None, lambda: None))
    monkeypatch.setattr(study, "train", diverge)
    every.append(measure(small(), "anchor", 1, None, lambda: None))
    assert every[-1].table["test_loss"].isna().all() and "scores" not in every[-1].about
    table = pd.concat([part.table for part in every], ignore_index=True)
    networks = joined("graph_connectivity", small(), every).about["networks"]
    record = records.make("graph_connectivity", small().model_dump(), table, {"networks": networks})
    row = verdicts(record).set_index("variant").loc["anchor"]
    assert (row["n"], row["diverged"]) == (1, 1)
    assert len(quantities(record)["barrier/anchor"]) == 1


def test_finished_pairs_are_not_trained_again(tmp_path, monkeypatch):
    few = {"variants": ["standard", "w-asym"], "epochs": 2, "out": str(tmp_path)}
    once = run(small(**few))
    monkeypatch.setattr(study, "train", lambda *args: pytest.fail("trained twice"))
    pd.testing.assert_frame_equal(once.table, run(small(**few)).table)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variants": ["w-asim"]}, "variants.0"),
        ({"variants": []}, "variants"),
        ({"variants": ["w-asym", "anchor"]}, "variants must include standard"),
        ({"dataset": "reddit"}, "dataset"),
        ({"n_points": 4}, "n_points must be odd"),
        ({"n_pair": 3}, "did you mean 'n_pairs'"),
    ],
)
def test_bad_parameters_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        small(**change)


def test_missing_graph_is_reported_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setenv("SYMLIB_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="pubmed"):
        run(small(dataset="pubmed"))


def test_variants_that_do_not_fit_are_refused_before_any_training(monkeypatch):
    monkeypatch.setattr(study, "run_pairs", lambda *args: pytest.fail("trained"))
    with pytest.raises(ValueError, match="n_fix|rows|pins"):
        run(small(hidden=4))


def test_figures_and_tables_show_every_variant(record):
    found = pairs(record)
    axes = plots.barrier_rows(found, "").axes[0]
    drawn = np.concatenate([line.get_xdata() for line in axes.lines[1::2]])
    assert sorted(drawn) == pytest.approx(sorted(found["barrier"]))
    assert list(verdict_table(verdicts(record)).index) == small().variants
    lines = plots.curve_panels(record.table, small().variants, {}, "").axes[0].lines
    first = record.table.query("variant == 'standard' and method == 'unaligned' and statistics == 're-estimated'")
    np.testing.assert_allclose(lines[0].get_ydata(), first.groupby("lambda")["test_loss"].mean())
    assert as_they_are(pairs(record)).groupby("variant")["removed"].mean()["w-asym"] == pytest.approx(1)
    scores = plots.score_table(record.about["networks"])
    assert (
        scores.loc["standard", "test accuracy (%)"]
        == f"{100 * np.mean(record.about['networks']['standard']['test_accuracy']):.1f}"
    )
    table = plots.statistics_table(found, pairs(record, "as mixed"))
    assert table.shape == (len(found) / 2, 2)
