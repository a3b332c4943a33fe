import numpy as np
import pandas as pd
import pytest
import torch

from symlib.asymmetry import Standard, constraint
from symlib.plots import controls as plots
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
        if variant not in ("anchor", "own anchor"):
            free = fixed.D.get("linears.1.weight", torch.ones_like(drawn, dtype=torch.bool))
            assert torch.equal(drawn[free], standard[free]), variant


def test_sweeps_scale_constants_and_their_number():
    (full, fixed), (half, _) = weights("w-asym", 0), weights("scale 0.5", 0)
    index, value = fixed.pinned["linears.1.weight"]
    torch.testing.assert_close(half.flatten()[index], value / 2)
    assert not weights("scale 0", 0)[0].flatten()[index].any()
    fewer = weights("share 0.5", 0)[1].pinned["linears.1.weight"][0]
    assert len(fewer) == len(index) / 2 and set(fewer.tolist()) <= set(index.tolist())
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


def planted(barriers):
    """Return a record with given midpoint barriers: variant -> one value a pair."""
    rows = [
        {"variant": variant, "pair": pair, "lambda": at, "test_loss": loss, "test_accuracy": 1.0}
        for variant, values in barriers.items()
        for pair, barrier in enumerate(values)
        for at, loss in ((0.0, 0.1), (0.5, 0.1 + barrier), (1.0, 0.1))
    ]
    table = pd.DataFrame(rows).assign(cosine_before=0.5, cosine_after=0.5)
    return controls.records.make("controls", {"n_points": 3}, table, {})


USUAL = {"standard": [1.0, 1.1, 0.9], "w-asym": [0.0, 0.01, -0.01]}


@pytest.mark.parametrize(
    ("anchor", "zeros", "expected"),
    [
        ([0.9, 1.0, 0.8], [0.0, 0.1, 0.0], ("supports", "supports")),
        ([0.0, 0.1, 0.0], [0.9, 1.0, 0.8], ("undermines", "undermines")),
        ([0.1, 0.9, 0.5], [0.4, 0.6, 0.5], ("undecided", "undecided")),
    ],
)
def test_verdicts_follow_the_rule(anchor, zeros, expected):
    judged = verdicts(planted(USUAL | {"anchor": anchor, "scale 0": zeros, "own constants": anchor}))
    words = judged.set_index("variant")["verdict"]
    assert (words["anchor"], words["scale 0"]) == expected
    assert words["own constants"] == words["standard"] == "-"


def test_pairs_that_diverge_are_counted_and_left_out():
    lost = planted(USUAL | {"anchor": [0.9, np.nan, 0.8]})
    row = verdicts(lost).set_index("variant").loc["anchor"]
    assert (row["n"], row["diverged"]) == (2, 1) and row["removed"] == pytest.approx(0.125, abs=0.05)
    assert len(quantities(lost)["barrier/anchor"]) == 2


def test_a_diverged_network_is_recorded_and_not_an_error(monkeypatch):
    def diverge(*args, **kwargs):
        raise FloatingPointError("training diverged")

    monkeypatch.setattr(controls, "train", diverge)
    table = controls.measure(small(), "anchor", 0, None, lambda: None).table
    assert len(table) == 5 and table["test_loss"].isna().all()
    whole = planted(USUAL).table.assign(cosine_before=0.5)
    lost = controls.records.make("controls", {}, pd.concat([whole, table]), {})
    assert verdicts(lost).set_index("variant").loc["anchor", "diverged"] == 1


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
    text = plots.factor_table(verdicts(record))
    assert text.loc["standard", "share removed"] == "0.00 ± 0.00" and text["pairs"].eq(2).all()
