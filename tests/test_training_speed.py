from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from symlib import records
from symlib.asymmetry import linear_maps
from symlib.networks.resnet import ResNet
from symlib.plots import training_speed as plots
from symlib.population import evaluate
from symlib.presets import lim_resnet
from symlib.seeds import seed
from symlib.studies import training_speed as study
from symlib.studies.resnet_connectivity import images
from symlib.studies.training_speed import (
    TrainingSpeed,
    cells,
    epochs_table,
    measure,
    pinned_counts,
    quantities,
    results,
    run,
    start,
)
from symlib.training import train

CONV = "stages.1.0.conv2.weight"
SMALL = {
    "profile": "custom",
    "dataset": "digits",
    "depth": 8,
    "width": 0.5,
    "shares": [0.0, 1.0],
    "sigmas": [0.0, 3.0],
    "n_networks": 2,
    "threshold": 0.2,
    "max_epochs": 3,
    "warmup": 2,
    "n_images": 128,
    "batch_size": 64,
    "lr": 1e-2,
    "init": "matched",
    "mask_seed": 0,
    "base_seed": 1,
    "workers": 1,
    "device": "cpu",
    "out": "",
}


def small(**changes):
    return TrainingSpeed.checked(SMALL | changes)


@pytest.fixture(scope="module")
def record():
    return run(small())


def planted(epochs, **changes):
    """Return a made-up record from (share, sigma_F) -> epochs of each network, "lost" or None where it never comes."""
    config = SMALL | {"threshold": 0.9, "max_epochs": 20} | changes
    rows = []
    for (share, sigma), networks in epochs.items():
        for network, n in enumerate(networks):
            last = {"lost": np.nan, None: 0.5}.get(n, 0.95)
            n = 20 if n is None else 4 if n == "lost" else n
            path = [0.1] * n + [last]
            rows += [(share, sigma, network, 7, epoch, a) for epoch, a in enumerate(path)]
    columns = ["share", "sigma_F", "network", "n_pinned", "epoch", "accuracy"]
    return records.make("training_speed", config, pd.DataFrame(rows, columns=columns), {})


STANDARD = {(0.0, 0.0): (5, 4), (0.0, 3.0): (5, 4)}


@pytest.mark.parametrize(("share", "total"), [(0, 0), (0.25, 10_500 + 32), (0.5, 21_224), (0.75, 31_724), (1, 42_448)])
def test_totals_are_those_on_the_papers_axis(share, total):
    model = ResNet(20)
    counts = pinned_counts(small(depth=20, width=1.0, dataset="cifar10"), model, share)
    # One entry in the first shortcut gives 16 patterns for 32 rows, so two are pinned there: 32 entries more.
    assert sum(n * len(w) for n, w in zip(counts, linear_maps(model).values(), strict=True)) == total
    assert share < 1 or counts == list(lim_resnet().n_fix)


def test_a_quarter_of_the_papers_counts_is_cut_to_whole_numbers():
    counts = pinned_counts(small(depth=20, width=1.0, dataset="cifar10"), ResNet(20), 0.25)
    assert [counts[i] for i in (0, 1, 7, 14, 16, -1)] == [3, 9, 13, 18, 2, 2] and counts[9] == 2


def test_networks_of_one_number_differ_in_what_the_cell_says_alone():
    config = small(shares=[0.0, 0.5, 1.0])
    standard, few, most, zeros = (start(config, *cell, 0) for cell in ((0, 0), (0.5, 3), (1, 3), (1, 0)))
    assert not standard.constraint.pinned and len(standard) == 1
    free = most.constraint.D[CONV]
    for one in (most, zeros, few):
        assert torch.equal(one.params[CONV][0][free], standard.params[CONV][0][free])
    assert torch.equal(zeros.constraint.D[CONV], free) and few.constraint.D[CONV][free].all()  # nested
    assert not zeros.params[CONV][0][~free].any()
    assert float(most.params[CONV][0][~free].std()) == pytest.approx(3, rel=0.1)


def test_numbers_have_draws_and_patterns_of_their_own():
    first, second = (start(small(), 1, 3, network) for network in (0, 1))
    assert first.constraint.fingerprint != second.constraint.fingerprint
    free = first.constraint.D[CONV] & second.constraint.D[CONV]
    assert not torch.isin(first.params[CONV][0][free], second.params[CONV][0][free]).any()


def test_released_start_is_smaller_where_entries_are_pinned():
    stds = {}
    for init in ("matched", "released"):
        for share in (0, 1):
            one = start(small(init=init), share, 3, 0)
            weight = one.params[CONV][0]
            stds[init, share] = float(weight[one.constraint.D.get(CONV, torch.ones_like(weight).bool())].std())
    assert stds["matched", 1] / stds["released", 1] == pytest.approx(6**0.5, rel=0.1)
    assert stds["matched", 0] == stds["released", 0]


def test_a_network_is_followed_until_it_has_enough_and_no_further(record):
    config = small()
    networks = results(record)
    assert networks["reached"].any()
    row = networks[networks["reached"]].iloc[0]
    share, sigma, network = row["share"], row["sigma_F"], int(row["network"])
    n, split = int(row["epochs"]), images(config).train
    order = [seed(config.base_seed, "order", network)]
    by_hand = []
    for epochs in range(n + 1):
        recipe = replace(study._recipe(config), epochs=epochs)
        trained, _ = train(start(config, share, sigma, network), split.x, split.y, recipe, order)
        by_hand.append(evaluate(trained, split.x, split.y).accuracy.item())
    kept = record.table.query(f"share == {share} and sigma_F == {sigma} and network == {network}")
    assert kept["accuracy"].tolist() == by_hand and kept["epoch"].tolist() == list(range(n + 1))
    assert by_hand[-1] >= 0.2 > max(by_hand[:-1])


@pytest.mark.parametrize(("threshold", "epochs"), [(0.1, 2), (0.99, 4)])
def test_every_epoch_ticks_once_whether_it_is_trained_or_not(threshold, epochs):
    ticks = []
    found = measure(small(threshold=threshold, max_epochs=4, lr=0.03), 0.0, 0.0, 0, None, lambda: ticks.append(1))
    assert len(ticks) == 4 and len(found.table) == epochs + 1


def test_standard_networks_are_trained_once_and_stand_in_every_row(monkeypatch):
    trained, original = [], study.train

    def count(drawn, *args, **kwargs):
        trained.append(len(drawn.constraint.pinned))
        return original(drawn, *args, **kwargs)

    monkeypatch.setattr(study, "train", count)
    table = run(small(max_epochs=1)).table
    assert len(trained) == 2 * 3 and trained.count(0) == 2
    low, high = (table.query(f"share == 0 and sigma_F == {sigma}")["accuracy"].tolist() for sigma in (0, 3))
    assert low == high and len(low) == 4


def test_diverged_networks_count_as_not_reached(monkeypatch):
    def diverge(population, x, y, recipe, order, on_epoch, watch):
        watch(0, population)
        watch(1, population)
        on_epoch()
        raise FloatingPointError("training diverged")

    monkeypatch.setattr(study, "train", diverge)
    ticks = []
    lost = measure(small(threshold=0.99), 1.0, 3.0, 0, None, lambda: ticks.append(1))
    assert lost.table["accuracy"].isna().tolist() == [False, False, True] and len(ticks) == 3
    shown = results(planted(STANDARD | {(1.0, 0.0): (5, 5), (1.0, 3.0): (9, "lost")})).iloc[-1]
    assert shown["diverged"] and not shown["reached"] and np.isnan(shown["epochs"]) and shown["at_least"] == 20


def test_table_shows_means_and_marks_what_was_cut_off():
    found = planted(STANDARD | {(1.0, 0.0): (4, 5), (1.0, 3.0): (9, None)})
    assert epochs_table(found).to_numpy().tolist() == [["4.5", "4.5"], ["4.5", ">14.5"]]
    assert cells(found)["missed"].tolist() == [0, 0, 0, 1] and not cells(found)["diverged"].any()


def test_quantities_of_planted_epochs():
    found = quantities(planted(STANDARD | {(1.0, 0.0): (5, 5), (1.0, 3.0): (17, None)}))
    np.testing.assert_allclose(found["ratio/most"], [17 / 5, 20 / 4])
    np.testing.assert_allclose(found["ratio/zeros"], [1, 5 / 4])
    np.testing.assert_allclose(found["slope/sigma"], [12 / 3, 15 / 3])
    np.testing.assert_allclose(found["slope/share"], [12, 16])
    assert found["epochs/share 0 sigma 3"].tolist() == [5, 4]


def test_slopes_are_least_squares():
    shares, sigmas = [0.0, 0.25, 1.0], [0.0, 1.0, 3.0]
    rows = {(s, t): (1, round(2 + 8 * s), 3 * int(t) + (t == 1) + 2) for s in shares for t in sigmas}
    found = quantities(planted(rows, shares=shares, sigmas=sigmas))
    np.testing.assert_allclose(found["slope/share"], [0, 8, 0], atol=1e-12)
    centred = np.array(sigmas) - np.mean(sigmas)
    np.testing.assert_allclose(found["slope/sigma"][2], centred @ [2, 6, 11] / (centred @ centred))


def test_networks_without_a_standard_one_to_compare_with_have_no_ratio():
    others = {(1.0, 0.0): (5, 5), (1.0, 3.0): (10, 20)}
    some = quantities(planted({(0.0, 0.0): (None, 4), (0.0, 3.0): (None, 4)} | others))
    assert some["ratio/most"].tolist() == [5] and len(some["slope/sigma"]) == 2
    none = quantities(planted({(0.0, 0.0): (None, None), (0.0, 3.0): (None, None)} | others))
    assert "ratio/most" not in none and "slope/share" in none


def test_finished_networks_are_not_trained_again(tmp_path, monkeypatch):
    once = run(small(out=str(tmp_path), max_epochs=1))
    monkeypatch.setattr(study, "train", lambda *args, **kwargs: pytest.fail("trained twice"))
    pd.testing.assert_frame_equal(once.table, run(small(out=str(tmp_path), max_epochs=1)).table)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shares": [0.5, 1.0]}, "shares must begin with 0"),
        ({"shares": [0.0, 1.0, 0.5]}, "shares must rise"),
        ({"sigmas": [1.0, 1.0]}, "sigmas must rise"),
        ({"shares": [0.0, 1.5]}, "shares.1"),
        ({"sigmas": [-1.0, 1.0]}, "sigmas.0"),
        ({"threshold": 1.0}, "threshold"),
        ({"n_networks": 1}, "n_networks"),
        ({"init": "kaiming"}, "init"),
        ({"depth": 9}, "depth must be 6 n \\+ 2"),
    ],
)
def test_bad_parameters_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        small(**change)


def test_heat_maps_show_every_cell_and_the_papers():
    found = planted(STANDARD | {(1.0, 0.0): (5, 6), (1.0, 3.0): (9, None)})
    ours, paper = plots.heat_maps(cells(found), "digits", "").axes
    assert [t.get_text() for t in ours.texts] == ["4.5", "5.5", "4.5", ">14.5"]
    np.testing.assert_allclose(ours.images[0].get_array(), [[4.5, 5.5], [4.5, 14.5]])
    assert [t.get_text() for t in paper.texts[-5:]] == ["11", "30", "46", "60", "72"]


def test_curves_of_standard_networks_and_of_those_with_most_pinned():
    found = planted(STANDARD | {(1.0, 0.0): (4, 5), (1.0, 3.0): (9, None)})
    axes = plots.accuracy_curves(found.table, 0.9, "").axes[0]
    assert [len(line.get_xdata()) for line in axes.lines[1:]] == [6, 5, 5, 6, 10, 21]
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["standard", "σ_F = 0", "σ_F = 3"]
