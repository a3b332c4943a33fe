from math import log10

import numpy as np
import pandas as pd
import pytest
import torch

from symlib import records
from symlib.ntk import change, class_balanced, kernels
from symlib.plots import dynamics as plots
from symlib.seeds import generator
from symlib.similarity import answer_agreement, update_cosines
from symlib.studies.analysis import networks
from symlib.studies.training_dynamics import TrainingDynamics, class_values, last_values, quantities, run, values

SMALL = {
    "profile": "custom",
    "dataset": "digits",
    "network": "mlp",
    "width": 16.0,
    "norm": "layer",
    "n_networks": 4,
    "epochs": 2,
    "n_images": 300,
    "batch_size": 50,
    "lr": 1e-2,
    "weight_decay": 0.01,
    "sigma_F": 1.0,
    "warmup": 0,
    "init": "reference",
    "mask_seed": 0,
    "base_seed": 0,
    "networks": "",
    "workers": 1,
    "device": "cpu",
    "out": "",
    "n_tested": 100,
    "n_per_class": 2,
    "n_neurons": 6,
    "n_draws": 3,
    "n_seen": 200,
    "penalties": [1e-3, 0.1],
    "adam_lr": 1e-2,
    "adam_steps": [5, 50],
}
NAMES = ["standard", "w-asym 0", "w-asym 1", "syre 1"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Return the configuration of a run whose networks are kept, the folder they are in, and its record."""
    folder = tmp_path_factory.mktemp("networks")
    config = TrainingDynamics.checked(SMALL | {"networks": str(folder)})
    return config, folder, run(config)


def test_record_has_every_measure_of_every_pair_and_epoch(kept):
    table = kept[2].table
    assert list(table["intervention"].unique()) == NAMES
    counts = table[table["intervention"] == "syre 1"].groupby("measure").size()
    epochs, pairs, members, layers = 3, 2, 4, 4
    for what in ("answers alike", "signs alike", "distance"):
        assert counts[what] == epochs * pairs
    for what in ("accuracy", "kernel change", "kernel cosine", "kernel CKA", "effective rank"):
        assert counts[what] == epochs * members
    for what in ("linear error", "linear cosine", "linear answers"):
        assert counts[what] == (epochs - 1) * members
    assert counts["update cosine"] == (epochs - 1) * pairs * (1 + layers)
    for what in ("class distance", "class distance through GELU", "class distance by Adam"):
        assert counts[what] == 2 * 3
    assert table.groupby(["intervention", "measure", "layer", "at", "index"]).size().max() == 1
    assert np.isfinite(table["value"]).all()


def test_rows_are_those_of_the_right_pair_network_and_snapshot(kept):
    config, folder, record = kept
    intervention = config.interventions()[2]
    before, now = (networks(config, folder, intervention, epoch, [2, 3]) for epoch in (1, 2))
    data = config.family(intervention).data()

    def row(measure, at, index, layer="all"):
        rows = values(record, measure, layer).query("intervention == 'w-asym 1' and at == @at and index == @index")
        return rows["value"].item()

    steps = update_cosines(before, now)
    assert row("update cosine", 2, 1) == pytest.approx(steps["all"][0, 1].item())
    last = "linears.3.weight"
    assert row("update cosine", 2, 1, last) == pytest.approx(steps[last][0, 1].item())
    assert row("answers alike", 2, 1) == pytest.approx(answer_agreement(now, data.test.x[:100])[0, 1].item())
    samples = data.train.x[class_balanced(data.train.y, 2, generator(0, "kernel"))]
    first = kernels(networks(config, folder, intervention, 0, [2, 3]), samples)
    assert row("kernel CKA", 2, 3) == pytest.approx(change(kernels(now, samples), first).cka[1].item())
    assert row("kernel change", 0, 3) == 0


def test_adam_is_not_below_the_exact_distance_by_more_than_the_penalty_allows(kept):
    table = kept[2].table
    found = {w: t.set_index(["intervention", "at", "index"])["value"] for w, t in table.groupby("measure")}
    early, late = (found["class distance by Adam"].xs(n, level="at") for n in (5, 50))
    exact = found["class distance through GELU"].xs(1e-3, level="at")
    assert (late < early).mean() > 0.8 and (early > exact).all()


def test_quantities_are_vectors_over_pairs_networks_and_pairs_of_neurons(kept):
    record, found = kept[2], quantities(kept[2])
    sizes = {"update_cosine": 2, "agreement": 2, "kernel_distance": 4, "linear_error": 4, "log_hausdorff": 3}
    assert {name: len(v) for name, v in found.items()} == {f"{w}/{n}": s for w, s in sizes.items() for n in NAMES}
    mine = record.table[record.table["intervention"] == "standard"]
    steps = mine.query("measure == 'update cosine' and layer == 'all' and index == 1")["value"]
    assert len(steps) == 2 and found["update_cosine/standard"][1] == pytest.approx(steps.mean())
    cka = mine.query("measure == 'kernel CKA' and at == 2 and index == 2")["value"].item()
    assert found["kernel_distance/standard"][2] == pytest.approx(1 - cka)
    apart = mine.query("measure == 'class distance' and index == 0")
    assert found["log_hausdorff/standard"][0] == pytest.approx(log10(apart["value"].iloc[0]))


def test_parts_of_a_record_for_tables_and_boxes(kept):
    ways, last = class_values(kept[2]), last_values(kept[2])
    assert list(ways) == ["exact, before GELU", "exact, through GELU", "Adam, 5 steps", "Adam, 50 steps"]
    assert {tuple(rows["at"].unique()) for rows in ways.values()} == {(1e-3,), (5,), (50,)}
    assert all(len(rows) == 3 * len(NAMES) for rows in ways.values())
    assert set(last["at"]) == {2} and set(last["layer"]) == {"all"} and last["measure"].nunique() == 12


def test_fewer_networks_give_a_part_of_the_same_table_also_when_it_is_kept(kept, tmp_path):
    _, folder, record = kept
    changes = {"n_networks": 2, "networks": str(folder), "out": str(tmp_path / "run")}
    part = run(TrainingDynamics.checked(SMALL | changes))
    rows = record.table.merge(part.table, on=["intervention", "measure", "layer", "at", "index"])
    assert len(rows) == len(part.table)
    np.testing.assert_allclose(rows["value_x"], rows["value_y"], rtol=1e-4, atol=1e-5)
    stored = quantities(records.read(tmp_path / "run/record"))
    assert stored["log_hausdorff/syre 1"].tolist() == quantities(record)["log_hausdorff/syre 1"].tolist()
    assert stored["agreement/syre 1"].tolist() == quantities(record)["agreement/syre 1"].tolist()[:1]


def test_draws_are_new_networks_and_pairs_of_neurons_take_the_larger_direction(kept):
    config, _, record = kept
    family = config.family(config.interventions()[1])
    first = torch.stack([family.initial([i]).params["linears.0.weight"][0, :2] for i in range(3)]).double()
    D = family.build()[1].D["linears.0.weight"][:2]
    x = family.data().train.x[:200].flatten(1).double()
    x = torch.cat([x - x.mean(0), torch.zeros(1, 64)])
    worst = 0.0
    for i, j in ((0, 1), (1, 0)):
        columns = x[:-1][:, D[i]]
        gram = columns.T @ columns / 200 + 1e-3 * torch.eye(columns.shape[1])
        for draw in first[:, j]:
            goal = x[:-1] @ draw
            left = goal - columns @ torch.linalg.solve(gram, columns.T @ goal / 200)
            worst = max(worst, left.square().mean().item())
    rows = values(record, "class distance", "linears.0.weight").query("intervention == 'w-asym 0' and index == 0")
    assert rows["value"].iloc[0] == pytest.approx(worst)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm": "batch"}, "MLPs with LayerNorm, got network 'mlp' with norm 'batch'"),
        ({"network": "resnet", "dataset": "cifar10", "width": 1.0}, "got network 'resnet'"),
        ({"n_neurons": 18}, "at most the width, 16, got 18"),
        ({"n_neurons": 5}, "n_neurons: .* multiple of 2"),
        ({"penalties": [0.0]}, r"penalties.0: .* greater than 0"),
        ({"penalties": []}, "penalties: .* at least 1 item"),
        ({"adam_steps": [50, 5]}, r"adam_steps must rise, got \[50, 5\]"),
        ({"n_drawz": 3}, "unknown parameter 'n_drawz'"),
    ],
)
def test_bad_parameters_are_refused_before_any_work(change, message):
    with pytest.raises(ValueError, match=message):
        TrainingDynamics.checked(SMALL | change)


def test_too_few_samples_of_a_class_are_noticed_before_training(tmp_path):
    with pytest.raises(ValueError, match="n_per_class is 200, but some classes have fewer"):
        run(TrainingDynamics.checked(SMALL | {"n_per_class": 200, "networks": str(tmp_path / "networks")}))
    assert not (tmp_path / "networks").exists()


TABLE = pd.DataFrame(
    [("standard", at, i, v) for at, vs in {1: (1, 3), 10: (5, 9)}.items() for i, v in enumerate(vs)]
    + [("syre 1", at, i, 10.0 * v) for at, vs in {1: (1, 3), 10: (5, 9)}.items() for i, v in enumerate(vs)],
    columns=["intervention", "at", "index", "value"],
)


def test_lines_over_epochs_are_means_with_bands_of_one_sd():
    axes = plots.over_epochs({"a": TABLE, "b": TABLE}, "").axes
    np.testing.assert_allclose(axes[1].lines[1].get_xydata(), [(1, 20), (10, 70)])
    heights = axes[0].collections[0].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((2 - 2**0.5, 7 + 8**0.5))


def test_tables_have_a_column_per_intervention():
    found = plots.wide(TABLE, "at")
    assert found.to_dict() == {"standard": {1: 2.0, 10: 7.0}, "syre 1": {1: 20.0, 10: 70.0}}
    assert plots.wide(TABLE, "at", "max").loc[10, "syre 1"] == 90


def test_boxes_and_paths_show_medians_and_the_archive():
    axes = plots.distance_boxes({"exact": TABLE, "other": TABLE}, "", {"syre 1": 15.7}).axes[1]
    drawn = [line.get_xydata().tolist() for line in axes.lines]
    assert [[0, 4]] in drawn and [[1, 40]] in drawn and [[1, 15.7]] in drawn
    path = plots.distance_path({"exact": TABLE}, "").axes[0]
    np.testing.assert_allclose(path.lines[0].get_xydata(), [(1, 2), (10, 7)])
    assert path.get_xscale() == path.get_yscale() == axes.get_yscale() == "log"
