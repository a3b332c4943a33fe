"""The studies of trained networks on small ones, all from one folder."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from symlib.alignment.permutation import Alignment, permute_members, random_perms
from symlib.alignment.tracing import specification
from symlib.data.dataset import Split
from symlib.interpolation import mixing_weights
from symlib.population import evaluate, logits
from symlib.seeds import generator
from symlib.studies import identifiability_connectivity as connectivity
from symlib.studies import matching_objective, merging, trained_costs
from symlib.studies.analysis import networks
from symlib.studies.trained import STANDARD, TrainedNetworks, trained

from .test_trained import SMALL

SWEEP = {"sigma_sweep": [0.0, 1.0, 3.0], "sweep_networks": 2, "n_seen": 200}
SETTINGS = {
    matching_objective: ("MatchingObjective", SWEEP | {"share_sweep": [0.5]}),
    connectivity: ("IdentifiabilityConnectivity", {"n_points": 5, "n_seen": 200}),
    trained_costs: ("TrainedCosts", SWEEP | {"explained": 0.9, "beta": 0.01, "n_ridge": 8}),
    merging: ("Merging", {"sizes": [2, 4], "n_seen": 200}),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return SMALL | {"n_networks": 4, "epochs": 6, "n_images": 600, "networks": str(tmp_path_factory.mktemp("networks"))}


def configured(module, base, **change):
    name, own = SETTINGS[module]
    return getattr(module, name).checked(base | own | change)


@pytest.fixture(scope="module")
def records(base):
    return {module: module.run(configured(module, base)) for module in SETTINGS}


@pytest.fixture(scope="module")
def standard(base):
    config = TrainedNetworks.checked(base)
    with trained(config, [STANDARD]) as folder:
        return networks(config, folder, STANDARD, 6), config.family(STANDARD).data()


def test_network_and_its_own_reordering_are_joined_by_a_flat_line_once_aligned(standard):
    population, data = standard
    a = population[:1]
    spec = specification(a.model, data.train.x[:2])
    planted = Alignment(random_perms(spec.sizes, generator("planted")), 0.0, 0)
    b = permute_members(spec, [planted], a, data.train.x[:20])
    table = connectivity.lines(a, b, data, mixing_weights(5), 600)
    middle = table[table["lambda"] == 0.5].set_index(["method", "split"])
    ends = table[table["lambda"] == 0.0].set_index(["method", "split"])
    lost = ends["accuracy"] - middle["accuracy"]
    assert lost["aligned"].abs().max() < 1e-9 and (middle["loss"] - ends["loss"])["aligned"].abs().max() < 1e-5
    assert lost["unaligned"].min() > 0.2


def test_lines_have_every_pair_method_split_and_point(records):
    table = records[connectivity].table
    assert len(table) == 4 * 2 * 2 * 2 * 5
    rows = connectivity.summaries(records[connectivity])
    one = table.query("intervention == 'standard' and method == 'aligned' and split == 'test' and pair == 1")
    own = rows.query("intervention == 'standard' and method == 'aligned' and split == 'test' and pair == 1").iloc[0]
    accuracy = 100 * one["accuracy"].to_numpy()
    assert own["drop"] == pytest.approx(max(accuracy[0], accuracy[-1]) - accuracy.min())
    assert own["midpoint"] == pytest.approx(accuracy[2]) and own["worst"] == pytest.approx(accuracy.min())
    found = connectivity.quantities(records[connectivity])
    assert found["drop/test/aligned/standard"][1] == pytest.approx(own["drop"])


def test_identity_is_never_better_than_the_best_matching(records):
    table = records[matching_objective].table
    assert (table["identity"] <= table["optimal"] + 1e-12).all()
    assert table["random"].abs().max() < 0.2
    found = matching_objective.parts(records[matching_objective])
    assert set(found["epochs"]["epoch"]) == {0, 1, 2, 5, 6}
    assert set(found["scales"]["sigma_F"]) == {0.0, 1.0, 3.0} and set(found["shares"]["share"]) == {0.5}


def test_objectives_are_correlations_of_recorded_activations(base, records, standard):
    population, data = standard
    hidden = []
    for member in population.members():
        x = data.train.x[:200].flatten(1)
        normed = torch.nn.functional.layer_norm(
            x @ member["linears.0.weight"].T + member["linears.0.bias"],
            (16,),
            member["norms.0.weight"],
            member["norms.0.bias"],
        )
        hidden.append(torch.nn.functional.gelu(normed).numpy())
    identity = np.mean([np.corrcoef(hidden[2][:, r], hidden[3][:, r])[0, 1] for r in range(16)])
    table = records[matching_objective].table
    row = table.query("intervention == 'standard' and pair == 1 and epoch == 6 and layer == 'linears.0'")
    assert row["identity"].item() == pytest.approx(identity, abs=1e-4)


def test_swaps_of_standard_layers_cost_exactly_nothing(records):
    table = records[trained_costs].table
    assert (table.loc[table["kind"] == "standard", "largest"] == 0).all()
    assert (table.loc[table["kind"] != "standard", "largest"] > 0).all()


def test_least_cost_never_exceeds_the_norm_that_is_there(records):
    table = records[trained_costs].table
    assert (table["paid"] <= table["norm"] * (1 + 1e-9)).all()


def test_prediction_and_measurement_are_of_the_same_two_networks(records):
    table = records[trained_costs].table
    assert len(table) == (4 * 4 + 2) * 4  # sigma_F of 3 has a pair only
    assert table.loc[table["layer"] == "linears.3.weight", ["measured", "agreement"]].isna().all(axis=None)
    large = table.query("kind == 'w-asym' and sigma_F == 3 and layer == 'linears.0.weight'")
    assert (large[["predicted", "measured", "agreement"]] == 1).all(axis=None)
    pairs = table[table["layer"] == "linears.1.weight"].groupby(["intervention", table["network"] // 2])["measured"]
    assert (pairs.nunique() == 1).all()  # an inverse permutation fixes as many


def test_both_estimates_of_swap_costs_agree_on_the_order(records):
    table = records[trained_costs].table.query("kind == 'syre' and network % 2 == 0")
    assert (table["ridge_rank"] > 0.5).all()  # near 0 if the two looked at different pairs
    assert records[trained_costs].table.query("network % 2 == 1")["ridge_rank"].isna().all()


def test_averages_of_weights_are_those_of_the_networks(records, standard):
    population, data = standard
    mean = population.holding({name: w[2:].mean(0, keepdim=True) for name, w in population.tensors.items()})
    expected = evaluate(mean, data.test.x, data.test.y).accuracy.item()
    rows = records[merging].table.query(
        "intervention == 'standard' and method == 'unaligned' and merged == 'weights' and size == 2 and group == 1"
    )
    assert rows["accuracy"].item() == pytest.approx(expected)


def test_mean_representation_of_twins_changes_nothing(standard):
    population, data = standard
    twins = population[[0, 0]]
    few = Split(data.test.x[:100], data.test.y[:100])
    alone = (logits(population[:1], few.x)[0].argmax(1) == few.y).double().mean().item()
    assert set(merging.representation_accuracies(twins, few).values()) == {alone}


def test_mean_representation_is_what_the_next_map_reads(standard):
    population, data = standard
    few = Split(data.test.x[:50], data.test.y[:50])
    found = merging.representation_accuracies(population[:2], few)["linears.3.weight"]
    model = population.model
    seen = []
    handle = model.linears[3].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    for member in population[:2].members():
        torch.func.functional_call(model, member, (few.x,))
    handle.remove()
    mean = (seen[0] + seen[1]) / 2
    answers = [mean @ m["linears.3.weight"].T + m["linears.3.bias"] for m in population[:2].members()]
    assert found == pytest.approx(np.mean([(a.argmax(1) == few.y).double().mean() for a in answers]))


def test_every_claim_of_a_study_is_about_a_quantity_that_it_has(records):
    from symlib.claims import load

    for module, record in records.items():
        have = module.quantities(record)
        for claim in load():
            if claim.study == module.STUDY and claim.needs.get("network") == "mlp":
                names = {
                    name for name in claim.uses if name.rsplit(" ", 1)[-1][:4] not in ("0.05", "0.1", "0.2", "0.5", "5")
                }
                assert names <= have.keys(), names - have.keys()


def test_finished_shards_are_kept_when_more_networks_are_asked_for(base, tmp_path):
    config = configured(connectivity, base, out=str(tmp_path / "run"), n_networks=2)
    connectivity.run(config)
    written = {f: f.stat().st_mtime_ns for f in (tmp_path / "run/shards").glob("*/record.json")}
    assert len(written) == 4
    more = connectivity.run(configured(connectivity, base, out=str(tmp_path / "run")))
    assert all(f.stat().st_mtime_ns == t for f, t in written.items())
    assert len(more.table) == 2 * 4 * 2 * 2 * 5


def test_record_says_how_networks_were_trained(records):
    about = records[connectivity].about
    assert set(about["families"]) == {"standard", "w-asym 0", "w-asym 1", "syre 1"}
    assert all(
        len(f["final_train_loss"]) == 4 and math.isfinite(sum(f["final_train_loss"]))
        for f in about["families"].values()
    )
    assert len(about["seeds"]["init"]) == 4 and isinstance(records[connectivity].table, pd.DataFrame)


@pytest.mark.parametrize(
    ("module", "change", "message"),
    [
        (connectivity, {"n_points": 4}, "odd and at least 3"),
        (merging, {"sizes": [2, 8]}, "sizes asks for 8 networks at once, but n_networks is 4"),
        (merging, {"network": "resnet", "width": 1.0}, "layer by layer in an MLP"),
        (trained_costs, {"explained": 1.5}, "explained: "),
        (trained_costs, {"explained": 0.0}, "explained: "),
        (trained_costs, {"beta": 0.0}, "beta: "),
        (matching_objective, {"share_sweep": [1.0]}, "share_sweep"),
    ],
)
def test_bad_parameters_are_refused_before_any_work(base, module, change, message):
    with pytest.raises(ValueError, match=message):
        configured(module, base, **change)
