import numpy as np
import pandas as pd
import pytest
import torch
from torch.func import functional_call
from torch.nn.functional import gelu, layer_norm, normalize

from symlib import claims
from symlib.alignment.tracing import specification
from symlib.data.dataset import Split
from symlib.effective.costs import realization_costs
from symlib.effective.identifiability import identifiability_gap, predicted_matching
from symlib.effective.room import least_gap, room
from symlib.effective.subspace import Subspace
from symlib.feature_learning import feature_cka, read_out_accuracy
from symlib.ntk import change, kernels
from symlib.plots import trade_off as plots
from symlib.records import Record
from symlib.seeds import generator
from symlib.studies import trade_off as study
from symlib.studies.analysis import networks
from symlib.studies.statements.room import gaps_by_distance, unevenly_masked_pair
from symlib.studies.trade_off import Redrawn, TradeOff, by_network, parts, quantities, run
from symlib.studies.trained import Intervention

from .test_trained import SMALL

SETTINGS = SMALL | {
    "width": 48.0,
    "n_networks": 2,
    "epochs": 10,
    "n_images": 1000,
    "lr": 5e-3,
    "sigma_F": 5.0,
    "sigma_sweep": [0.0, 5.0],
    "share_sweep": [0.03],
    "redrawn_sweep": [5.0],
    "n_seen": 300,
    "n_per_class": 3,
    "explained": 0.9,
}
NONE, LARGE, FEW, OTHER = "w-asym 0", "w-asym 5", "w-asym 5 share 0.03", "w-asym 5 redrawn"


def normal(*shape, key="trade-off"):
    return torch.randn(*shape, dtype=torch.float64, generator=generator(key, *shape))


# What is left of features


def test_alignment_of_features_is_that_of_their_kernels():
    now, then = normal(40, 6), normal(40, 9)
    grams = [(f @ f.T)[None] for f in (now, then)]
    assert feature_cka(now, then) == pytest.approx(change(*grams).cka.item())


def test_turned_scaled_and_shifted_features_are_the_same_and_others_are_not():
    features = normal(500, 5)
    turn, _ = torch.linalg.qr(normal(5, 5))
    assert feature_cka(3 * features @ turn + 7, features) == pytest.approx(1)
    assert feature_cka(features * torch.tensor([9.0, 1, 1, 1, 1]), features) < 0.7
    assert feature_cka(normal(500, 5, key="others"), features) < 0.05


def test_features_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="same samples, got 4 and 3"):
        feature_cka(normal(4, 2), normal(3, 2))
    with pytest.raises(ValueError, match="look for a layer that is constant"):
        feature_cka(normal(4, 2), torch.ones(4, 2))


def test_read_out_finds_what_is_linear_and_no_more():
    y = torch.arange(300) % 3
    # A silent unit and a copy of another one, as in trained layers: no inverse of the covariance.
    features = torch.eye(3, dtype=torch.float64)[y] @ normal(3, 4) + 0.01 * normal(300, 4)
    features = torch.cat([features, torch.zeros(300, 1), features[:, :1]], dim=1)
    halves = Split(features[:150], y[:150]), Split(features[150:], y[150:])
    assert read_out_accuracy(*halves) == 1
    shifted = 10 + (y > 0).double()[:, None]
    assert read_out_accuracy(Split(shifted, (y > 0).long()), Split(shifted, (y > 0).long())) == 1
    ring = normal(300, 2)
    inside = (ring.norm(dim=1) < 1).long()
    assert read_out_accuracy(Split(ring[:150], inside[:150]), Split(ring[150:], inside[150:])) < 0.75


# The exact part


def test_room_is_half_the_way_to_the_next_centre():
    centres = normal(7, 3)
    expected = [min((a - b).norm().item() for j, b in enumerate(centres) if j != i) / 2 for i, a in enumerate(centres)]
    assert room(centres).tolist() == pytest.approx(expected)
    with pytest.raises(ValueError, match="at least two, got 1"):
        room(centres[:1])


def costs_of(centres, steps):
    plane = Subspace(torch.eye(centres.shape[1]).double(), 1.0)
    return realization_costs(centres + steps, torch.ones_like(centres).bool(), centres, plane).cost


@pytest.mark.parametrize("draw", range(5))
def test_neurons_within_their_own_room_match_by_number_and_further_out_they_need_not(draw):
    centres, way = normal(12, 2, key=draw), normalize(normal(12, 2, key=-1 - draw), dim=1)
    own = room(centres)[:, None]
    assert own.max() > 2 * own.min()  # some go further than the smallest room
    inside, outside = (predicted_matching(costs_of(centres, share * own * way)) for share in (0.999, 4.0))
    assert inside.equal(torch.arange(12)) and not outside.equal(torch.arange(12))


def test_the_bound_on_the_gap_needs_the_smallest_room():
    centres = torch.tensor([[0.0], [1.0], [50.0], [90.0]]).double()
    way = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]]).double()
    gap = identifiability_gap(costs_of(centres, 0.99 * room(centres)[:, None] * way)).gap
    # The two closest leave no more than their own room does, however much the others have.
    assert gap == pytest.approx(least_gap(1.0, 0.495))


@pytest.mark.parametrize("mu", [1.0, 0.5])
@pytest.mark.parametrize("draw", range(5))
def test_neurons_that_stay_in_their_room_match_by_number_and_no_gap_is_less_than_promised(mu, draw):
    # Every input stands twice, and half of them are pinned: S = I / 2 for all neurons.
    basis = torch.cat([torch.eye(3), torch.eye(3)]).double() / 2**0.5 if mu < 1 else torch.eye(3).double()
    centres, steps = normal(8, 3, key=draw), normalize(normal(8, 3, key=-1 - draw), dim=1)
    spacing = 2 * room(centres).min().item()
    moved = 0.49 * spacing
    mask = (torch.arange(len(basis)) < 3).expand(8, -1)
    weights, fixed = ((part @ basis.T) for part in (centres + moved * steps, centres))
    cost = realization_costs(weights, mask, fixed, Subspace(basis, 1.0)).cost
    assert identifiability_gap(cost).gap >= least_gap(spacing, moved, mu) - 1e-9
    assert predicted_matching(cost).equal(torch.arange(8))
    # Two neurons that go towards each other, with nobody else, attain it.
    towards = moved * normalize(centres[[1, 0]] - centres[:2], dim=1)
    weights, fixed = ((part @ basis.T) for part in (centres[:2] + towards, centres[:2]))
    gap = identifiability_gap(realization_costs(weights, mask[:2], fixed, Subspace(basis, 1.0)).cost).gap
    assert gap == pytest.approx(least_gap((centres[0] - centres[1]).norm().item(), moved, mu))


def test_bound_is_attained_and_beyond_half_way_neurons_are_exchanged():
    found = gaps_by_distance([0.0, 0.3, 0.5, 0.6], 16, 4, generator("gaps"))
    expected = [least_gap(1.0, f) for f in (0.0, 0.3, 0.5)]
    np.testing.assert_allclose(found["towards"][:3], expected, atol=1e-12)
    assert (found["scattered"][:3] >= np.array(expected) - 1e-12).all()
    assert found["towards"][3] == pytest.approx(-0.4)
    with pytest.raises(ValueError, match="needs 0 <= moved <= spacing / 2"):
        least_gap(1.0, 0.6)
    with pytest.raises(ValueError, match="mu <= 1"):
        least_gap(1.0, 0.1, mu=0.0)


def test_with_uneven_masks_staying_in_the_room_is_not_enough():
    moved, limit, gap = unevenly_masked_pair()
    assert (moved < limit).all() and gap < 0
    # Neuron 1 pays 0.9^2 / 0.01 for its own function; exchanged, one pays 4 + 0.9^2 and the other 4.
    assert gap == pytest.approx(4 + 0.81 + 4 - 81)


# Networks


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Return the configuration of a run whose networks are kept, the folder they are in, and its record."""
    folder = tmp_path_factory.mktemp("networks")
    config = TradeOff.checked(SETTINGS | {"networks": str(folder)})
    return config, folder, run(config)


def means(found):
    return {name: values.mean() for name, values in quantities(found[2]).items()}


def test_small_constants_let_features_move_and_nothing_is_identified(found):
    mean = means(found)
    assert mean[f"stays/{NONE}"] < 20 and mean[f"inside/{NONE}"] == 0
    assert mean[f"kept/{NONE}"] < mean[f"kept/{LARGE}"] - 0.2
    assert mean[f"features/{NONE}"] < mean[f"features/{LARGE}"] - 0.05
    assert mean[f"gain/{NONE}"] > mean[f"gain/{LARGE}"] and mean[f"test/{NONE}"] > mean[f"test/{LARGE}"] + 3


def test_large_constants_identify_and_averages_work(found):
    mean = means(found)
    assert mean[f"stays/{LARGE}"] > 95 and mean[f"inside/{LARGE}"] > 80
    assert mean[f"drop/{LARGE}"] < mean[f"drop/{NONE}"] - 5


def test_constants_that_are_not_shared_cost_the_same_and_identify_nothing(found):
    mean = means(found)
    assert abs(mean[f"kept/{OTHER}"] - mean[f"kept/{LARGE}"]) < 0.1
    assert mean[f"test/{OTHER}"] < mean[f"test/{NONE}"] - 3
    assert mean[f"stays/{OTHER}"] < 20 and mean[f"drop/{OTHER}"] > 30


def test_untrained_networks_are_identified_without_learning_anything(found):
    mean = means(found)
    assert mean[f"stays_drawn/{LARGE}"] > 95 and mean[f"stays_drawn/{NONE}"] < 20
    assert mean[f"stays/{FEW}"] < mean[f"stays/{LARGE}"] and mean[f"kept/{FEW}"] < mean[f"kept/{LARGE}"]


def test_movement_is_nothing_without_training_and_all_for_another_draw(found):
    config, _, _ = found
    one, other = (config.family(Intervention("w-asym")).initial([i]) for i in (0, 1))
    x = config.family(Intervention("w-asym")).data().test.x[:300]
    spec = specification(one.model, x[:2])
    same, another = (study._kept(one, to, spec, x) for to in (one, other))
    assert [row["unit_kept"] for row in same.values()] == pytest.approx([1] * 3)
    assert [row["feature_cka"] for row in same.values()] == pytest.approx([1] * 3)
    assert all(abs(row["unit_kept"]) < 0.2 for row in another.values())
    # What LayerNorm divides by cannot be seen in features.
    scaled = one.holding({n: 2 * w if n.startswith("linears.0") else w for n, w in one.tensors.items()})
    assert study._kept(one, scaled, spec, x)["linears.0"]["unit_kept"] == pytest.approx(1, abs=1e-4)


def test_first_network_of_a_redrawn_pair_is_that_of_the_sweep(found):
    table = by_network(found[2]).set_index(["intervention", "network"])
    for column in ("unit_kept", "test", "inside", "kernel_cka"):
        assert table[column][OTHER, 0] == table[column][LARGE, 0]
        assert table[column][OTHER, 1] != table[column][LARGE, 1]
    config = found[0]
    own, sweep = (config.family(i).build()[1] for i in (Redrawn("w-asym", 5.0), Intervention("w-asym", 5.0)))
    assert own.fingerprint != sweep.fingerprint


def test_halfway_and_features_are_those_of_the_networks_themselves(found):
    config, folder, record = found
    start, both = (networks(config, folder, Intervention("w-asym", 5.0), epoch, [0, 1]) for epoch in (0, 10))
    test = config.family(Intervention("w-asym")).data().test
    x, y = test.x[:300], test.y[:300]
    mean = {name: w.mean(0) for name, w in both.tensors.items()}
    accuracy = [
        (functional_call(both.model, tensors, (x,)).argmax(1) == y).double().mean().item()
        for tensors in (*both.members(), mean)
    ]
    row = record.table.query("intervention == 'w-asym 5' and network == 0 and layer == 'linears.0'").iloc[0]
    assert row["drop"] == pytest.approx(100 * (np.mean(accuracy[:2]) - accuracy[2])) and row["test"] == accuracy[0]
    layers = []
    for member in (next(start.members()), next(both.members())):
        (w, b), norm = ([member[f"{at}.0.{leaf}"] for leaf in ("weight", "bias")] for at in ("linears", "norms"))
        layers.append(gelu(layer_norm(x.flatten(1) @ w.T + b, b.shape, *norm)))
    assert row["feature_cka"] == pytest.approx(feature_cka(*layers), abs=1e-5)
    few = study._kernel_samples(config, config.family(Intervention("w-asym")).data())
    first, last = (kernels(one[:1], few) for one in (start, both))
    assert len(few) == 30 and row["kernel_change"] == pytest.approx(((last - first).norm() / first.norm()).item())


def test_read_outs_are_scored_on_the_images_that_the_network_is_scored_on(found):
    config, folder, _ = found
    one, data = networks(config, folder, Intervention("w-asym"), 0, [0]), config.family(Intervention("w-asym")).data()
    scores = study._scores(config.model_copy(update={"n_seen": 100}), one, one, data)
    train, test = (Split(study._hidden(one, s.x)["linears.2"], s.y) for s in (data.train, data.test))
    assert scores["read_drawn"] == read_out_accuracy(train, Split(test.x[:100], test.y[:100]))
    assert scores["read_drawn"] != read_out_accuracy(train, test)


def test_matching_before_training_is_that_of_the_first_snapshots(found):
    config, folder, record = found
    few = Intervention("w-asym", 5.0, 0.03)
    start, x = networks(config, folder, few, 0, [0, 1]), config.family(few).data().test.x[:300]
    drawn = study._matched(start[:1], start[1:], specification(start.model, x[:2]), x)
    rows = record.table.query("intervention == @FEW and network == 1")
    assert rows["stays_drawn"].tolist() == [found["stays"] for found in drawn.values()] != rows["stays"].tolist()


def test_what_happens_without_an_assumption_is_judged_by_the_right_networks(found):
    record = found[2]
    judged = study.dropped(record)
    assert len(judged) == 11 and judged["own constants, 5: numbers mean nothing"]
    assert all(holds for what, holds in judged.items() if what.startswith(("small", "untrained", "few")))
    # Were the large constants those without any, nothing would be cheaper, and nothing moved more.
    table = record.table.assign(intervention=record.table["intervention"].replace({LARGE: NONE, NONE: LARGE}))
    swapped = table.assign(sigma_F=(5.0 - table["sigma_F"]).where(table["intervention"].isin([NONE, LARGE]), 5.0))
    judged = study.dropped(Record(swapped, record.about))
    assert not any(holds for what, holds in judged.items() if what.startswith(("small", "untrained", "few")))
    alone = record.table[record.table["intervention"].isin([NONE, LARGE])]
    assert len(study.dropped(Record(alone, record.about))) == 6


def test_parts_and_quantities_belong_together(found):
    record = found[2]
    assert {name: set(rows["intervention"]) for name, rows in parts(record).items()} == {
        "scales": {NONE, LARGE},
        "shares": {FEW},
        "redrawn": {OTHER},
    }
    have = quantities(record)
    assert len(have[f"kept/{NONE}"]) == 2 and len(have[f"stays/{NONE}"]) == 1
    rows = record.table.query("intervention == 'w-asym 0' and network == 1")
    assert have[f"kept/{NONE}"][1] == pytest.approx(rows["unit_kept"].mean())
    assert have[f"gain/{NONE}"][1] == pytest.approx(100 * (rows["read_learnt"] - rows["read_drawn"]).mean())
    kinds = {name.split("/")[0] for name in have}
    assert all(use.split("/")[0] in kinds for c in claims.load() if c.study == study.STUDY for use in c.uses)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm": "batch"}, "MLPs with LayerNorm, got network 'mlp' with norm 'batch'"),
        ({"redrawn_sweep": [1.0, 2.0]}, r"sigma_sweep lacks \[1.0, 2.0\]"),
        ({"sigma_F": 3.0}, r"sigma_sweep lacks \[3.0\]"),
        ({"n_seen": 50}, "at least 64, the widest layer's inputs, got 50 and 1000"),
        ({"n_images": 50}, "at least 64, the widest layer's inputs, got 300 and 50"),
        ({"sigma_sweep": []}, "sigma_sweep: .* at least 1 item"),
        ({"share_sweep": [1.0]}, "share_sweep.0: .* less than 1"),
        ({"explained": 0.0}, "explained: .* greater than 0"),
    ],
)
def test_bad_parameters_are_refused_before_any_work(change, message):
    with pytest.raises(ValueError, match=message):
        TradeOff.checked(SETTINGS | change)


def test_too_few_samples_of_a_class_are_noticed_before_training(tmp_path):
    with pytest.raises(ValueError, match="n_per_class is 200, but some classes have fewer"):
        run(TradeOff.checked(SETTINGS | {"n_per_class": 200, "networks": str(tmp_path / "networks")}))
    assert not (tmp_path / "networks").exists()


TABLE = pd.DataFrame(
    [
        {c: s / 10 + i / 100 for _, columns in plots.PANELS for c in columns}
        | {"intervention": f"w-asym {s}", "sigma_F": s, "share": np.nan}
        for s in (0.0, 5.0)
        for i in (0, 2)
    ]
)


def test_panels_show_means_over_networks():
    axes = plots.by_scale(TABLE, "").axes
    assert len(axes) == 4
    stays = next(line for line in axes[0].lines if line.get_label() == "matched by number, trained")
    np.testing.assert_allclose(stays.get_xydata(), [(0, 1), (1, 51)])
    assert [t.get_text() for t in axes[2].get_xticklabels()] == ["0", "5"]


def test_frontier_has_a_point_an_intervention():
    axes = plots.frontier({"scales": TABLE, "redrawn": TABLE[:0], "shares": TABLE.assign(share=0.05)}, "").axes[0]
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [(0.99, 1), (0.49, 51)])
    assert len(axes.lines) == 2 and "5, 5 %" in [t.get_text() for t in axes.texts]
