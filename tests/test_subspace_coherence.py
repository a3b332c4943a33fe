import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from symlib.effective.subspace import Moments, representation_subspace
from symlib.interpolation import line, mixing_weights
from symlib.plots.coherence import coherence_by_epoch, turned_images
from symlib.population import evaluate
from symlib.studies.analysis import networks
from symlib.studies.subspace_coherence import SubspaceCoherence, Turned, _alike, layers, pairs, quantities, run
from symlib.studies.trained import Intervention, TrainedNetworks

from .test_trained import SMALL

OWN = {"explained": 0.9, "n_measured": 2, "coherences": [0.4, 1.0], "shares": [0.75], "n_turned": 2}
PINNED = Intervention("w-asym", 0.0)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("networks"))
    small = {"n_networks": 2, "n_images": 600, "networks": folder}
    return SubspaceCoherence.checked(SMALL | OWN | small)


@pytest.fixture(scope="module")
def record(config):
    return run(config)


def hidden(params, x):
    """Return what a network's first hidden layer makes of images."""
    linear = x.flatten(1) @ params["linears.0.weight"].T + params["linears.0.bias"]
    return F.gelu(F.layer_norm(linear, linear.shape[1:], params["norms.0.weight"], params["norms.0.bias"]))


def trained_networks(config, intervention, epoch=2):
    return networks(config, Path(config.networks), intervention, epoch)


def test_layers_are_those_of_a_singular_value_decomposition_of_stacked_inputs(config, record):
    population = trained_networks(config, PINNED)
    x = config.family(PINNED).data().train.x
    table = layers(record).query("intervention == 'w-asym 0' and epoch == 2 and layer == 'linears.1.weight'")
    for member, row in zip(population.members(), table.itertuples(), strict=True):
        inputs = hidden(member, x).double()
        _, values, V = torch.linalg.svd(inputs - inputs.mean(0), full_matrices=False)
        shares = values.square().cumsum(0) / values.square().sum()
        k = int((shares < 0.9).sum()) + 1
        U = V[:k].T
        assert row.dimension == k and row.full_dimension == 16
        assert row.explained == pytest.approx(shares[k - 1].item(), abs=1e-4)
        assert row.coherence == pytest.approx(U.square().sum(1).max().item(), abs=1e-4)
        D = population.constraint.D["linears.1.weight"].double()
        S = torch.einsum("ia,ak,al->ikl", D, U, U)
        norms = torch.linalg.matrix_norm(S - D.mean() * torch.eye(k), ord=2)
        assert row.anisotropy == pytest.approx(norms.mean().item(), abs=1e-4)
        p, L = D.mean().item(), math.log(2 * k / 0.05)
        bound = 2 / 3 * max(p, 1 - p) * row.coherence * L + (p * (1 - p) * 2 * row.coherence * L) ** 0.5
        assert row.bound == pytest.approx(bound, abs=1e-9)
        assert row.above == (norms > row.bound).double().mean().item()


def test_every_network_epoch_and_layer_has_a_row(record):
    table = layers(record)
    assert len(table) == 4 * 2 * 3 * 4 == len(table[["intervention", "network", "epoch", "layer"]].drop_duplicates())
    assert set(table["epoch"]) == {0, 1, 2}


def test_images_are_the_same_for_every_network_at_every_epoch(config, record):
    images = layers(record).query("layer == 'linears.0.weight'")
    moments = Moments()
    moments.add(config.family(PINNED).data().train.x.flatten(1))
    assert images["coherence"].to_numpy() == pytest.approx(representation_subspace(moments).coherence)
    later = layers(record).query("layer == 'linears.1.weight'")
    assert later["coherence"].nunique() == len(later)


def test_masks_treat_directions_differently_where_there_are_masks(record):
    by = layers(record).groupby("intervention")[["anisotropy", "bound"]].min()
    assert (by.loc[["standard", "syre 1"]] == 0).all(axis=None) and (by.loc[["w-asym 0", "w-asym 1"]] > 0).all(
        axis=None
    )


def test_turned_networks_see_turned_images_and_the_others_share_their_folder(config):
    turned = Turned("w-asym", 0.0, None, 0.4)
    moments = Moments()
    moments.add(config.family(turned).data().train.x.flatten(1))
    assert representation_subspace(moments).coherence == pytest.approx(0.4, abs=1e-3)
    assert turned.name == "w-asym 0 at 0.4"
    folders = {config.family(i).folder for i in (PINNED, turned, Turned("w-asym", 0.0, None, 0.5))}
    assert len(folders) == 3
    plain = TrainedNetworks.checked({name: getattr(config, name) for name in TrainedNetworks.model_fields})
    assert plain.family(PINNED).folder == config.family(PINNED).folder


def test_pairs_are_compared_on_the_images_they_were_trained_on(config, record):
    turned = Turned("w-asym", 0.0, 0.75, 1.0)
    both, data = trained_networks(config, turned), config.family(turned).data()
    a, b = (hidden(member, data.train.x).numpy() for member in both.members())
    R = np.corrcoef(a.T, b.T)[:16, 16:]
    row = pairs(record).query("intervention == 'w-asym 0 share 0.75 at 1' and layer == 'linears.0'").iloc[0]
    assert row["identity"] == pytest.approx(np.diag(R).mean(), abs=1e-4)
    assert row["squared"] == pytest.approx((np.diag(R) ** 2).mean(), abs=1e-4)
    assert row["chance"] == pytest.approx((R**2).mean(), abs=1e-4)
    assert row["optimal"] >= row["identity"] and row["coherence"] == pytest.approx(1, abs=1e-3)
    scores = evaluate(line(both[:1], both[1:], mixing_weights(3)), data.test.x, data.test.y)
    start, middle, end = scores.loss.tolist()
    assert row["barrier"] == pytest.approx(middle - (start + end) / 2, abs=1e-6)
    start, middle, end = scores.accuracy.tolist()
    assert row["drop"] == pytest.approx(100 * ((start + end) / 2 - middle), abs=1e-6)
    assert row["test_accuracy"] == pytest.approx((start + end) / 2, abs=1e-6)


def test_every_kind_and_coherence_has_its_pairs(record):
    table = pairs(record)
    assert len(table) == 3 * 2 * 1 * 3
    assert set(zip(table["kind"], table["share"].fillna(0), table["target"], strict=True)) == {
        (kind, share, target)
        for kind, share in (("standard", 0), ("w-asym", 0), ("w-asym", 0.75))
        for target in (0.4, 1.0)
    }


def test_neurons_that_look_along_one_line_in_either_direction_are_alike_but_not_identical():
    signs = torch.tensor([1.0, -1.0, 1.0, -1.0])
    found = _alike(torch.diag(signs))
    assert found == {"identity": 0.0, "optimal": pytest.approx(0.5), "squared": 1.0, "chance": 0.25}


def test_quantities_are_one_value_a_network_or_pair_after_the_last_epoch(record):
    found, table = quantities(record), layers(record)
    last = table.query("epoch == 2 and layer == 'linears.2.weight' and intervention == 'w-asym 1'")
    np.testing.assert_array_equal(found["coherence/linears.2/w-asym 1"], last["coherence"])
    np.testing.assert_array_equal(found["anisotropy/linears.2/w-asym 1"], last["anisotropy"])
    row = pairs(record).query("intervention == 'standard at 1' and layer == 'linears.0'").iloc[0]
    assert found["excess/standard at 1"] == pytest.approx(row["squared"] - row["chance"])
    assert found["barrier/standard at 1"] == pytest.approx(row["barrier"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_measured": 7}, "n_measured = 7 of n_networks = 6 cannot be measured"),
        ({"network": "resnet", "width": 1.0}, "an MLP's layers, got network 'resnet'"),
        ({"coherences": [1.2]}, r"coherences.0: .* less than or equal to 1, got 1.2"),
        ({"shares": [1.0]}, r"shares.0: .* less than 1, got 1.0"),
        ({"n_turned": 3}, "n_turned: .* multiple of 2"),
    ],
)
def test_bad_parameters_are_refused_before_any_work(change, message):
    with pytest.raises(ValueError, match=message):
        SubspaceCoherence.checked(SMALL | OWN | change)


def test_coherence_out_of_reach_is_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(ValueError, match="anything from 0.3125 to 1, got 0.2"):
        run(SubspaceCoherence.checked(SMALL | OWN | {"coherences": [1.0, 0.2], "networks": str(tmp_path)}))
    assert not any(tmp_path.iterdir())


def test_figure_of_layers_draws_every_network_and_their_mean(record):
    axes = coherence_by_epoch(layers(record), "").axes
    assert len(axes) == 8
    rows = layers(record).query("layer == 'linears.1.weight' and intervention == 'standard'")
    drawn = [line.get_ydata() for line in axes[1].lines]
    np.testing.assert_allclose(drawn[0], rows["coherence"])
    np.testing.assert_allclose(drawn[1], rows.groupby("epoch")["coherence"].mean())
    np.testing.assert_allclose(drawn[2], rows.groupby("epoch")["dimension"].mean() / 16)
    assert len(axes[5].lines) == 2 * 2  # networks with a mask only


def test_figure_of_turned_images_draws_every_pair(record):
    first = pairs(record).query("layer == 'linears.0'")
    figure = turned_images(pd.concat([first, first.assign(pair=1, drop=first["drop"] + 2)]), "")
    drawn = [line.get_ydata() for line in figure.axes[2].lines]
    standard = first.query("kind == 'standard'").sort_values("target")["drop"].to_numpy()
    assert sorted(drawn[0]) == pytest.approx(sorted([*standard, *(standard + 2)]))
    np.testing.assert_allclose(drawn[1], standard + 1)
    excess = figure.axes[0].lines[1].get_ydata()
    np.testing.assert_allclose(excess, first.query("kind == 'standard'").eval("squared - chance"))
