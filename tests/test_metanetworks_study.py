import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.metrics import r2_score

from symlib.plots import metanetworks as plots
from symlib.population import logits
from symlib.seeds import generator
from symlib.studies import metanetworks as study
from symlib.studies.classifier_population import ClassifierPopulation, images, small
from symlib.studies.classifier_population import run as train_classifiers
from symlib.studies.metanetworks import BIN, Metanetworks, Task, explained, fit, quantities, run, split, task

SMALL = {
    "profile": "custom",
    "networks": "",
    "cases": ["standard", "w-asym"],
    "metanetworks": ["MLP", "StatNN"],
    "rates": [1e-2, 1e-6],
    "epochs": 4,
    "batch_size": 4,
    "weight_decay": 0.01,
    "n_runs": 2,
    "base_seed": 0,
    "workers": 1,
    "device": "cpu",
    "out": "",
}


def checked(**changes):
    return Metanetworks.checked(SMALL | changes)


@pytest.fixture(scope="module")
def population(tmp_path_factory):
    """Return twelve networks of both kinds that were hardly trained, and their record."""
    folder = tmp_path_factory.mktemp("population")
    config = small(str(folder), ["standard", "w-asym"], 12).model_dump() | {"epochs": [3.0, 4.0], "n_images": 128}
    config = ClassifierPopulation.checked(config)
    return config, train_classifiers(config)


@pytest.fixture(scope="module")
def record(population):
    return run(checked(networks=population[0].out))


def test_every_case_has_every_metanetwork_and_the_controls_without_weights(record):
    runs = record.table.groupby(["case", "metanetwork"]).size().unstack()
    assert set(runs.index) == {"standard", "w-asym"}
    assert runs.loc["standard"].to_dict() == {"MLP": 2, "StatNN": 2, "constant": 1, "hyper-parameters": 1}
    found = quantities(record)
    assert len(found["r2/MLP/w-asym"]) == 2 and len(found["tau/constant/standard"]) == 1


def test_killed_study_trains_no_metanetwork_twice(population, record, tmp_path, monkeypatch):
    config = checked(networks=population[0].out, out=str(tmp_path))
    whole = run(config)
    pd.testing.assert_frame_equal(whole.table, record.table)
    monkeypatch.setattr(study, "fit", None)
    pd.testing.assert_frame_equal(run(config).table, whole.table)


def test_classifiers_are_split_once_into_halves_and_quarters():
    parts = split(40, 0)
    assert [len(part) for part in parts.values()] == [20, 10, 10]
    assert torch.cat(list(parts.values())).sort().values.tolist() == list(range(40))
    assert not torch.equal(split(40, 0)["test"], split(40, 1)["test"])


def test_scores_equal_those_of_other_libraries():
    truth, guessed = (torch.randn(30, generator=generator(name)) for name in ("truth", "guess"))
    found = study._scores(guessed, truth)
    assert found["r2"] == pytest.approx(r2_score(truth.numpy(), guessed.numpy()), rel=1e-5)
    assert found["tau"] == pytest.approx(stats.kendalltau(truth, guessed).statistic)


def planted(population, rule):
    """Return a task whose accuracies are a function of the weights or the hyper-parameters."""
    config, record = population
    found = task(config, record, "standard")
    drawn = torch.randn(60, generator=generator("planted"))
    members = torch.arange(60) % 12
    weights = {name: w[members] for name, w in found.population.params.items()}
    weights["linear.bias"] = weights["linear.bias"] + drawn[:, None]
    table = found.table.iloc[members.numpy()].reset_index(drop=True)
    table["lr"] = np.exp(drawn.numpy())
    return Task(found.population.holding(weights), table.assign(test_accuracy=rule(drawn.numpy())))


def test_a_metanetwork_learns_what_weights_tell_and_nothing_from_what_they_do_not(population):
    config = checked(epochs=40, batch_size=8)
    parts = split(60, 0)
    told = fit(config, planted(population, lambda s: 0.5 + 0.1 * s), "StatNN", parts, 3e-3, 0)
    assert told["tau"] > 0.6
    shuffled = planted(population, lambda s: 0.5 + 0.1 * s[np.random.default_rng(0).permutation(60)])
    assert fit(config, shuffled, "StatNN", parts, 3e-3, 0)["r2"] < 0.4


def test_controls_without_weights_know_what_they_should(population):
    found, parts = planted(population, lambda s: 0.5 + 0.1 * s**2), split(60, 0)
    truth = found.accuracy[parts["test"]]
    by_hyperparameters = study._without_weights(found, "hyper-parameters", parts)
    assert study._scores(by_hyperparameters, truth)["r2"] > 0.95  # a square of the logarithm of the rate
    assert study._without_weights(found, "constant", parts).unique().item() == pytest.approx(
        found.accuracy[parts["train"]].mean().item()
    )


def test_thinned_populations_are_as_large_as_matched_ones_and_the_same_networks(population):
    matched, thinned = (
        [task(*population, f"{k} {how}") for k in ("standard", "w-asym")] for how in ("matched", "thinned")
    )
    assert len({len(one.table) for one in matched + thinned}) == 1
    ours, theirs = (one.table["network"].tolist() for one in thinned)
    assert ours == theirs and len(ours) < 12


def test_matched_populations_have_equal_histograms():
    source = np.random.default_rng(0)
    ours, theirs = (
        pd.DataFrame({"test_accuracy": source.uniform(low, high, 200)}) for low, high in ((0, 0.8), (0.4, 1))
    )
    kept = [a[study._matched(a, b)]["test_accuracy"] for a, b in ((ours, theirs), (theirs, ours))]
    bins = [(values / BIN).astype(int).value_counts().sort_index() for values in kept]
    pd.testing.assert_series_equal(*bins)
    assert 50 < len(kept[0]) < 200


def test_networks_that_are_lined_up_compute_the_same_and_are_nearer_to_the_first(population):
    config, record = population
    before, after = (task(config, record, case).population for case in ("standard", "standard aligned"))
    x = images(config).test.x[:20]
    torch.testing.assert_close(logits(before, x), logits(after, x), rtol=1e-3, atol=1e-3)
    name = "stages.2.0.conv1.weight"
    apart = [(p.params[name][1:] - p.params[name][0]).flatten(1).norm(dim=1).mean() for p in (before, after)]
    assert apart[1] < apart[0]


def test_networks_that_diverged_and_missing_kinds_are_no_part_of_a_task(population):
    config, record = population
    lost = record.table.copy()
    lost.loc[(lost["kind"] == "standard") & (lost["network"] == 3), "test_accuracy"] = np.nan
    found = task(config, type(record)(lost, record.about), "standard")
    assert len(found.table) == len(found.population) == 11 and 3 not in found.table["network"].tolist()
    with pytest.raises(ValueError, match="no networks of kind 'smaller'"):
        task(config, record, "smaller")


def test_a_population_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="networks names nowhere, where no population was finished"):
        run(checked(networks="nowhere"))


def test_what_is_left_of_the_lead_says_what_explains_it():
    """Lined up, standard networks are predicted as well as W-asymmetric ones; with fewer parameters, no better."""
    means = {"w-asym": 0.9, "standard": 0.3, "standard aligned": 0.88, "smaller": 0.31}
    rows = [
        {"metanetwork": name, "case": case, "run": i, "tau": mean + 0.01 * i, "r2": mean - 0.01 * i}
        for name in ("MLP", "constant")
        for case, mean in means.items()
        for i in range(4)
    ]
    found = explained(pd.DataFrame(rows)).set_index(["metanetwork", "score", "explanation"])
    assert found.index.get_level_values("metanetwork").unique().tolist() == ["MLP"]
    verdicts = found.loc[("MLP", "tau"), "verdict"].to_dict()
    assert verdicts == {"order of neurons": "little", "number of parameters": "most"}
    assert found.loc[("MLP", "r2", "order of neurons"), "share"] == pytest.approx(0.02 / 0.6)


def test_a_run_without_controls_explains_nothing(record):
    assert explained(record.table).empty


def test_scores_of_the_paper_stand_below_ours(record):
    paper = {"MLP/w-asym": (0.594, 0.12), "MLP/smaller": (0.348, 0.07), "DMC/standard": (0.95, 0.01)}
    table = plots.score_table(record.table, "r2", paper)
    names = ["MLP", "StatNN", "constant", "hyper-parameters"]
    assert list(table.index) == [("MLP", "here"), ("MLP", "paper"), *((name, "here") for name in names[1:])]
    assert table.loc[("MLP", "paper")].str.replace("\N{NO-BREAK SPACE}", " ").tolist() == ["-", "0.594 ± 0.12"]


def test_parts_of_a_lead_stand_with_their_verdict_and_nothing_where_there_is_none():
    rows = [
        {"kind": "anchor", "measure": "delta", "share": 0.9, "p_most": 0.01, "p_little": 0.99, "verdict": "most"},
        {"kind": "anchor", "measure": "local", "share": np.nan, "p_most": 0.5, "p_little": 0.5, "verdict": "reversed"},
    ]
    table = plots.lead_table(pd.DataFrame(rows), "measure", "kind")
    assert table.index.tolist() == ["Δ (nats)", "locally convex"]
    assert table[plots.KINDS["anchor"].label].tolist() == ["0.90: most (p\N{NO-BREAK SPACE}.010)", "reversed"]
    assert plots.lead_table(pd.DataFrame(rows)[:0], "measure", "kind").empty
