import numpy as np
import pandas as pd
import pytest
import torch

from symlib import records
from symlib.asymmetry import n_trainable
from symlib.population import evaluate
from symlib.studies import classifier_population as study
from symlib.studies.classifier_population import (
    KINDS,
    ClassifierPopulation,
    augmentation,
    build,
    bytes_per_network,
    hyperparameters,
    images,
    load_networks,
    refuse_too_large,
    run,
    start,
)

SMALL = {
    "profile": "custom",
    "dataset": "digits",
    "side": 4,
    "n_images": 100,
    "width": 0.5,
    "kinds": ["standard", "w-asym"],
    "n_networks": 5,
    "per_shard": 3,
    "lr": [0.005, 0.5],
    "weight_decay": [1e-5, 0.1],
    "label_smoothing": [0.0, 0.2],
    "epochs": [2.0, 4.0],
    "peak": 1.0,
    "batch_size": 32,
    "sigma_F": 2.0,
    "mask_seed": 0,
    "base_seed": 7,
    "workers": 1,
    "scheduler": "",
    "device": "cpu",
    "out": "",
}


def small(**changes):
    return ClassifierPopulation.checked(SMALL | changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("population")


@pytest.fixture(scope="module")
def record(folder):
    return run(small(out=str(folder)))


def test_every_network_is_trained_with_the_hyperparameters_of_its_number(record):
    by_kind = {kind: rows.set_index("network") for kind, rows in record.table.groupby("kind")}
    assert all(len(rows) == 5 for rows in by_kind.values())
    columns = ["lr", "weight_decay", "label_smoothing", "epochs"]
    pd.testing.assert_frame_equal(by_kind["standard"][columns], by_kind["w-asym"][columns])
    expected = hyperparameters(small(), range(5))
    pd.testing.assert_frame_equal(by_kind["standard"][columns], expected, check_names=False)


def test_hyperparameters_follow_table_13():
    config = small(epochs=[10.0, 40.0], peak=5.0)
    drawn = hyperparameters(config, range(2000))
    for name in ("lr", "weight_decay"):
        low, high = getattr(config, name)
        u = np.log(drawn[name] / low) / np.log(high / low)
        assert u.between(0, 1).all() and u.mean() == pytest.approx(0.5, abs=0.03)
    assert drawn["label_smoothing"].between(0, 0.2).all()
    counts = drawn["epochs"].value_counts()
    assert (counts.index.min(), counts.index.max()) == (10, 40) and counts.min() > 30
    pd.testing.assert_frame_equal(hyperparameters(config, [3, 1500]), drawn.loc[[3, 1500]])


def test_kept_weights_are_those_that_were_scored(record, folder):
    config = small(out=str(folder))
    data = images(config)
    for kind in config.kinds:
        final, initial = (load_networks(config, kind, when) for when in ("final", "initial"))
        assert len(final) == 5
        accuracy = evaluate(final, data.test.x, data.test.y).accuracy
        np.testing.assert_allclose(accuracy, record.table[record.table["kind"] == kind]["test_accuracy"], atol=1e-12)
        for name, w in start(config, kind, range(5)).params.items():
            assert torch.equal(initial.params[name], w)


def test_a_network_ends_the_same_alone_and_in_shards_of_any_size(record, folder, tmp_path):
    apart = small(per_shard=1, out=str(tmp_path))
    columns = ["train_loss", "test_accuracy"]
    pd.testing.assert_frame_equal(run(apart).table[columns], record.table[columns], atol=1e-5)
    same_weights(apart, small(out=str(folder)))


def same_weights(one, other):
    """Compare the trained weights that two runs of the same networks kept."""
    for kind in one.kinds:
        ours, theirs = (load_networks(config, kind, "final").params for config in (one, other))
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3)


def test_a_killed_population_goes_on_and_trains_no_shard_twice(record, folder, monkeypatch):
    monkeypatch.setattr(study, "train", None)
    again = run(small(out=str(folder)))
    pd.testing.assert_frame_equal(again.table, record.table)


def test_networks_that_diverge_have_no_scores_and_leave_others_alone(monkeypatch):
    def broken(config, kind, networks):
        drawn = start(config, kind, networks)
        drawn.params["linear.weight"][1] = torch.nan
        return drawn

    usual = run(small(kinds=["standard"])).table
    monkeypatch.setattr(study, "start", broken)
    table = run(small(kinds=["standard"], per_shard=5)).table
    assert table["test_accuracy"].isna().tolist() == [False, True, False, False, False]
    sound = [0, 2, 3, 4]
    np.testing.assert_allclose(table["train_loss"][sound], usual["train_loss"][sound], atol=1e-5)


def test_kinds_have_the_parameters_that_the_paper_counts():
    config = small(dataset="cifar10", side=32, width=1.0)
    counts = {kind: n_trainable(*build(config, kind)) for kind in KINDS}
    assert (counts["standard"], counts["w-asym"], counts["smaller"]) == (78_042, 60_634, 59_944)
    assert counts["w-asym open stem"] == 60_634 + 432  # the stem
    anchor, pinned = (start(config, kind, [0]) for kind in ("anchor", "w-asym"))
    name = "stages.1.0.conv2.weight"
    assert torch.equal(anchor.params[name], pinned.params[name]) and not anchor.constraint.D


def test_images_are_averages_and_augmentation_shrinks_with_them():
    whole, halved = images(small(side=8)).train.x, images(small()).train.x
    torch.testing.assert_close(halved[0, 0, 1, 2], whole[0, 0, 2:4, 4:6].mean())
    assert augmentation(small()) is None
    scaled = augmentation(small(dataset="cifar10", side=16))
    assert (scaled.shift, scaled.cutout, scaled.flip) == (1, 2, True)


def test_too_large_shards_are_refused_with_the_number_that_fits():
    many, ten = small(per_shard=1000, kinds=["standard"]), small(per_shard=10, kinds=["standard"])
    weights, activations = bytes_per_network(many, "standard")
    on_gpu = {"device": "cuda"}
    for changes, free in (({}, 10 * weights + activations), (on_gpu, 10 * (weights + activations))):
        with pytest.raises(ValueError, match="1000 networks in a shard need .* set per_shard to 10 or fewer"):
            refuse_too_large(many.model_copy(update=changes), free)
        refuse_too_large(ten.model_copy(update=changes), free)


def test_a_scheduler_needs_no_gpu_where_it_is_called_from_and_its_workers_do(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    config = small(device="cuda", scheduler="tcp://there", out=str(tmp_path))
    with pytest.raises(ValueError, match="no usable GPU"):
        study.measure(config, "standard", range(2), None, lambda: None)
    with pytest.raises(ValueError, match="no usable GPU"):
        small(device="cuda")


def test_shards_of_another_configuration_and_damaged_ones_are_refused(record, folder):
    with pytest.raises(ValueError, match="networks of another configuration"):
        load_networks(small(out=str(folder), base_seed=8), "standard", "final")
    file = folder / "shards" / "w-asym-00003" / "arrays.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ValueError, match="arrays.safetensors was changed after it was written"):
        load_networks(small(out=str(folder)), "w-asym", "final")
    file.write_bytes(whole)
    assert len(records.read(file.parent).table) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": [0.5, 0.005]}, "lr is a range from low to high, got 0.5 to 0.005"),
        ({"epochs": [40.0, 10.0]}, "epochs is a range from low to high"),
        ({"lr": [0.0, 0.5]}, "drawn log-uniformly: their lower ends must be above 0"),
        ({"peak": 2.0}, "the rate peaks at epoch 2: epochs must start above, got 2"),
        ({"side": 5}, "side must divide the 8 pixels of digits, got 5"),
        ({"lr": [0.1]}, "lr: list should have at least 2 items"),
        ({"scheduler": "tcp://here:1"}, "leave their shards in a folder that all can see: name it in out"),
        ({"kinds": ["w-asymm"]}, "kinds.0: input should be"),
    ],
)
def test_bad_parameters_are_refused_in_one_message(change, message):
    with pytest.raises(ValueError, match=message):
        small(**change)


def test_distances_are_those_of_disjoint_pairs_over_trainable_entries(folder, record):
    population = load_networks(small(out=str(folder)), "w-asym", "final")
    vectors = [
        torch.cat(
            [w[population.constraint.D[n]] if n in population.constraint.D else w.flatten() for n, w in m.items()]
        )
        for m in population.members()
    ]
    apart = [float((vectors[i] - vectors[j]).norm()) for i, j in ((0, 1), (3, 4))]  # shards of three and two
    assert record.about["distances"]["w-asym"] == pytest.approx(apart, rel=1e-5)
    found = study.quantities(record)["distance/w-asym"]
    assert found == pytest.approx(np.array(apart) / len(vectors[0]), rel=1e-5)


def test_a_diverged_network_is_in_no_pair():
    config = small(n_networks=4, per_shard=4, lr=[1e20, 1e20], kinds=["w-asym"])
    record = run(config)
    assert record.about["distances"] == {"w-asym": []}
    assert len(study.quantities(record)["accuracy/w-asym"]) == 0
