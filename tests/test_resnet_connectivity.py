import numpy as np
import pandas as pd
import pytest
import torch

from symlib.networks.resnet import ResNet
from symlib.plots import pairs as plots
from symlib.presets import lim_resnet
from symlib.studies import resnet_connectivity as study
from symlib.studies.resnet_connectivity import (
    VARIANTS,
    ResNetConnectivity,
    measure,
    pairs,
    quantities,
    run,
    start,
    verdicts,
    w_asymmetry,
)
from symlib.studies.variants import as_they_are

SMALL = {
    "profile": "custom",
    "dataset": "digits",
    "depth": 8,
    "width": 0.5,
    "norm": "layer",
    "masks": "table 11",
    "n_pairs": 2,
    "epochs": 1,
    "warmup": 1,
    "n_images": 128,
    "batch_size": 64,
    "lr": 1e-2,
    "sigma_F": 2.0,
    "variants": ["standard", "w-asym"],
    "n_points": 3,
    "mask_seed": 0,
    "base_seed": 1,
    "workers": 1,
    "device": "cpu",
    "out": "",
}


def small(**changes):
    return ResNetConnectivity.checked(SMALL | changes)


@pytest.fixture(scope="module")
def record():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "N_SEEN", 64)
        return run(small())


def test_only_pairs_whose_units_may_be_reordered_are_aligned(record):
    methods = pairs(record).groupby("variant")["method"].agg(set)
    aligned = {"git-rebasin", "git-rebasin repaired", "activation-matching"}
    assert methods["standard"] == {"unaligned", *aligned} and methods["w-asym"] == {"unaligned"}
    wide = record.table.query("variant == 'standard'").pivot(
        index=["pair", "lambda"], columns="method", values="test_loss"
    )
    for at in (0.0, 1.0):
        ends = wide.xs(at, level="lambda")
        np.testing.assert_allclose(ends["git-rebasin"], ends["unaligned"], rtol=1e-3)
        np.testing.assert_allclose(ends["git-rebasin repaired"], ends["unaligned"], rtol=1e-3)


def test_masks_of_the_paper_at_its_widths_and_their_shares_at_others():
    assert w_asymmetry(small(depth=20, width=1.0, dataset="cifar10"), ResNet(20)).n_fix == list(lim_resnet().n_fix)
    wide = w_asymmetry(small(depth=20, width=8.0, masks="table 12", dataset="cifar10"), ResNet(20, 8))
    assert wide == lim_resnet(multiple=3, sigma_F=2.0)
    zeros = study.with_zeros(small(depth=20, width=8.0, masks="table 12", dataset="cifar10"), ResNet(20, 8))
    assert zeros.n_fix[0] == 12 and list(zeros.n_fix[1:]) == list(wide.n_fix[1:]) and zeros.sigma_F == 0
    narrow = w_asymmetry(small(depth=20, dataset="cifar10"), ResNet(20, 0.5)).n_fix
    assert narrow[:2] == [12, 18] and narrow[-1] == 4  # the stem's three inputs stay three


def test_variants_differ_in_what_they_say_they_do():
    config = small(variants=list(VARIANTS))
    drawn = {name: start(config, name, 0) for name in VARIANTS}
    conv = "stages.1.0.conv2.weight"
    index, _ = drawn["w-asym"].constraint.pinned[conv]
    assert torch.equal(drawn["anchor"].params[conv], drawn["w-asym"].params[conv])
    assert not drawn["anchor"].constraint.pinned and not drawn["w-asym 0"].constraint.pinned[conv][1].any()
    assert float(drawn["w-asym"].constraint.pinned[conv][1].std()) == pytest.approx(2, rel=0.1)
    free = torch.ones(drawn["standard"].params[conv][0].numel(), dtype=torch.bool).index_fill(0, index, False)
    for name in ("w-asym", "w-asym 0"):
        ours, usual = (drawn[n].params[conv][0].flatten()[free] for n in (name, "standard"))
        assert torch.equal(ours, usual)
    shift = drawn["syre"].constraint.F[conv]
    torch.testing.assert_close(drawn["syre"].params[conv][0] - shift, drawn["standard"].params[conv][0])
    for bound in (1, 27):
        biases = drawn[f"biases {bound}"].params["stages.2.0.norm1.bias"][0]
        assert biases.min() == -bound and biases.max() == bound
    assert drawn["sigma"].model.activation.gate.std() == pytest.approx(8**-0.5, rel=0.3)


def test_released_networks_start_from_smaller_weights_where_they_are_masked():
    conv = "stages.1.0.conv2.weight"
    matched, released = (start(small(), name, 0) for name in ("w-asym", "w-asym released"))
    assert torch.equal(matched.constraint.D[conv], released.constraint.D[conv])
    stds = [float(p.params[conv][0][p.constraint.D[conv]].std()) for p in (matched, released)]
    assert stds[0] / stds[1] == pytest.approx(6**0.5, rel=0.1)


def test_recipes_of_the_rows_that_have_their_own():
    config = small(epochs=30, warmup=20)
    usual, gated, short = (study._recipe(config, VARIANTS[n]) for n in ("w-asym", "sigma", "w-asym warm 1"))
    assert usual.lr == 1e-2 and gated.lr == pytest.approx(1e-3)
    assert [recipe.schedule(0) for recipe in (usual, short)] == pytest.approx([0.01, 0.01])
    assert usual.schedule(10) == pytest.approx(0.1) and short.schedule(1) == 1


def test_pairs_have_masks_of_their_own_and_networks_draws_of_their_own():
    first, second = (start(small(), "w-asym", pair) for pair in (0, 1))
    assert first.constraint.fingerprint != second.constraint.fingerprint
    weights = torch.cat([p.params["stages.1.0.conv2.weight"] for p in (first, second)]).flatten(1)
    assert len(weights.unique(dim=0)) == 4


def test_quantities_have_one_value_a_pair(record):
    found = quantities(record)
    assert len(found["barrier/standard git-rebasin"]) == len(found["removed/w-asym"]) == 2
    scores = record.about["networks"]["w-asym"]
    np.testing.assert_allclose(found["distance/w-asym"], np.array(scores["distance"]) / scores["n_trainable"])
    assert len(scores["train_accuracy"]) == len(scores["test_accuracy"]) == 4
    assert as_they_are(pairs(record)).groupby("variant")["removed"].mean()["w-asym"] == pytest.approx(1)


def test_diverged_pairs_are_recorded_and_counted(record, monkeypatch):
    def diverge(*args, **kwargs):
        raise FloatingPointError("training diverged")

    monkeypatch.setattr(study, "train", diverge)
    lost = measure(small(), "w-asym", 1, None, lambda: None)
    whole = record.table[(record.table["variant"] == "standard") | (record.table["pair"] == 0)]
    table = pd.concat([whole, lost.table], ignore_index=True)
    about = record.about | {"networks": {name: record.about["networks"][name] for name in ("standard", "w-asym")}}
    row = verdicts(study.Record(table, about)).set_index("variant").loc["w-asym"]
    assert (row["n"], row["diverged"]) == (1, 1) and "scores" not in lost.about


def test_finished_pairs_are_not_trained_again(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "N_SEEN", 64)
    once = run(small(out=str(tmp_path)))
    monkeypatch.setattr(study, "train", lambda *args: pytest.fail("trained twice"))
    pd.testing.assert_frame_equal(once.table, run(small(out=str(tmp_path))).table)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variants": ["standard"]}, "variants must include w-asym"),
        ({"variants": ["standard", "w-asim"]}, "variants.1"),
        ({"masks": "table 12"}, "Table 12 is for width 8"),
        ({"depth": 9}, "depth must be 6 n \\+ 2"),
        ({"width": 0.25}, "6 different masks.*or a wider network"),
        ({"n_points": 4}, "n_points must be odd"),
    ],
)
def test_bad_parameters_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        small(**change)


def test_figures_show_every_line(record):
    axes = plots.barrier_rows(pairs(record), "").axes[0]
    drawn = np.concatenate([line.get_xdata() for line in axes.lines[1::2]])
    assert sorted(drawn) == pytest.approx(sorted(pairs(record)["barrier"]))
    panels = plots.curve_panels(record.table.assign(statistics="re-estimated"), ["standard"], {"standard": 3.0}, "")
    assert len(panels.axes[0].lines) == 5  # four methods and the paper's cross
