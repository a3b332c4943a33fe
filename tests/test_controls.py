import numpy as np
import pandas as pd
import pytest
import torch

from symlib.asymmetry import Standard, constraint
from symlib.plots import controls as plots
from symlib.plots.variants import verdict_table
from symlib.population import initialise
from symlib.seeds import seed
from symlib.studies import controls
from symlib.studies.controls import FACTORS, Controls, cosine, pairs, quantities, run, start, verdicts

SMALL = {
    "profile": "custom",
    "dataset": "digits",
    "width": 24,
    "n_pairs": 2,
    "epochs": 2,
    "batch_size": 64,
    "lr": 1e-3,
    "weight_decay": 0.03,
    "n_fix": [8, 4, 4, 12],
    "sigma_F": [1.0, 1.0, 0.5, 0.25],
    "scale_sweep": [0.0, 0.5],
    "share_sweep": [0.5],
    "n_points": 5,
    "mask_seed": 0,
    "base_seed": 7,
    "workers": 1,
    "device": "cpu",
    "out": "",
}


def small(**changes):
    return Controls.checked(SMALL | changes)


@pytest.fixture(scope="module")
def record():
    return run(small())


def weights(variant, network, config=None):
    population = start(config or small(), (config or small()).variants[variant], network)
    return population.params["linears.1.weight"][0], population.constraint


def test_an_anchor_starts_as_a_w_asymmetric_network_with_nothing_pinned():
    for network in (0, 1):
        (pinned, fixed), (free, none) = weights("w-asym", network), weights("anchor", network)
        assert torch.equal(pinned, free)
        assert fixed.pinned and not none.pinned and not none.pull


def test_networks_with_their_own_constants_share_neither_pattern_nor_values():
    for variant in ("own constants", "own anchor"):
        (one, _), (other, _) = (weights(variant, network) for network in (0, 1))
        (first, fixed), (second, _) = (weights("w-asym", network) for network in (0, 1))
        index, _ = fixed.pinned["linears.1.weight"]
        assert torch.equal(first.flatten()[index], second.flatten()[index])
        assert (one.flatten()[index] != other.flatten()[index]).all()


def test_all_variants_start_from_the_same_draw_where_nothing_is_fixed():
    standard, _ = weights("standard", 1)
    for variant in small().variants:
        drawn, fixed = weights(variant, 1)
        if variant not in ("anchor", "own anchor", "shared start"):
            free = fixed.D.get("linears.1.weight", torch.ones_like(drawn, dtype=torch.bool))
            assert torch.equal(drawn[free], standard[free]), variant


def test_sweeps_scale_constants_and_their_number():
    (full, fixed), (half, _) = weights("w-asym", 0), weights("scale 0.5", 0)
    index, value = fixed.pinned["linears.1.weight"]
    torch.testing.assert_close(half.flatten()[index], value / 2)
    assert not weights("scale 0", 0)[0].flatten()[index].any()
    fewer = weights("share 0.5", 0)[1].pinned["linears.1.weight"][0]
    assert len(fewer) == len(index) / 2
    assert len(set(fewer.tolist()) - set(index.tolist())) <= 0.1 * len(fewer)  # rows that were twins are drawn again
    assert torch.equal(full, weights("scale 1", 0, small(scale_sweep=[1.0]))[0])


def test_training_leaves_pinned_entries_and_moves_those_of_an_anchor(record, monkeypatch):
    seen = {}
    real = controls.curves

    def curves(a, b, *rest):
        seen[len(seen)] = a
        return real(a, b, *rest)

    monkeypatch.setattr(controls, "curves", curves)
    config = small(scale_sweep=[], share_sweep=[])
    for name in ("w-asym", "anchor"):
        controls.measure(config, name, 0, None, lambda: None)
    _, fixed = weights("w-asym", 0)
    index, value = fixed.pinned["linears.1.weight"]
    trained = [seen[i].params["linears.1.weight"][0].flatten()[index] for i in (0, 1)]
    assert torch.equal(trained[0], value) and (trained[1] != value).float().mean() > 0.9


def test_removed_share_is_0_for_standard_and_1_on_average_for_w_asymmetric_pairs(record):
    found = quantities(record)
    assert (found["removed/standard"] == 0).all()
    assert found["removed/w-asym"].mean() == pytest.approx(1)
    assert set(pairs(record)["variant"]) == set(small().variants)


@pytest.mark.parametrize("variant", ["anchor", "own anchor"])
def test_how_much_of_a_trained_pattern_is_kept_is_measured(record, variant):
    kept = pairs(record).groupby("variant")["kept"].mean()
    assert kept["w-asym"] == pytest.approx(1) and kept["own constants"] == pytest.approx(1)
    assert 0.9 < kept[variant] < 1 - 1e-4
    assert np.isnan(kept["standard"]) and np.isnan(kept["scale 0"])


def test_a_shared_start_is_one_draw_and_two_orders():
    (one, _), (other, _) = (weights("shared start", network) for network in (0, 1))
    assert torch.equal(one, other) and torch.equal(one, weights("standard", 0)[0])


def test_pairs_have_patterns_of_their_own():
    first, second = (weights("w-asym", network)[1].pinned["linears.1.weight"][0] for network in (0, 2))
    assert not torch.equal(first, second)


def test_a_diverged_network_is_recorded_and_not_an_error(monkeypatch):
    def diverge(*args, **kwargs):
        raise FloatingPointError("training diverged")

    monkeypatch.setattr(controls, "train", diverge)
    table = controls.measure(small(), "anchor", 0, None, lambda: None).table
    assert len(table) == 5 and table["test_loss"].isna().all()


def test_finished_pairs_are_not_trained_again(tmp_path, monkeypatch):
    few = {"scale_sweep": [], "share_sweep": [], "epochs": 1, "out": str(tmp_path)}
    once = run(small(**few))
    monkeypatch.setattr(controls, "train", lambda *args: pytest.fail("trained twice"))
    again = run(small(**few))
    pd.testing.assert_frame_equal(once.table, again.table)


def test_cosine_is_that_of_linear_maps_only():
    model = start(small(), FACTORS["standard"], 0).model
    one, other = (initialise(model, constraint(model, Standard(), 0), [seed("cosine", i)]) for i in range(2))
    assert cosine(one, one) == pytest.approx(1) and abs(cosine(one, other)) < 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_fix": [8, 4]}, "n_fix needs one number for each of the 4 linear maps"),
        ({"scale_sweep": [-1.0]}, "scale_sweep"),
        ({"share_sweep": [0.0]}, "share_sweep"),
        ({"n_points": 4}, "n_points must be odd"),
        ({"n_pairs": 1}, "n_pairs"),
        ({"epohcs": 1}, "did you mean 'epochs'"),
        ({"n_fix": [0, 0, 0, 0]}, "'w-asym' pins no entry"),
        ({"share_sweep": [0.01]}, "'share 0.01' pins no entry"),
    ],
)
def test_bad_parameters_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        small(**change)


def test_figures_draw_every_pair(record):
    found = pairs(record)
    axes = plots.barrier_rows(found, "").axes[0]
    np.testing.assert_allclose(axes.lines[1].get_xdata(), found.loc[found["variant"] == "standard", "barrier"])
    cloud = plots.removed_by_likeness(found, "").axes[0]
    drawn = np.concatenate([line.get_ydata() for line in cloud.lines[2:]])
    assert sorted(drawn) == pytest.approx(sorted(found["removed"]))
    text = verdict_table(verdicts(record), lambda variant: plots.look(variant).label)
    assert text.loc["standard", "share removed"] == "0.00" and text["pairs"].eq(2).all()
