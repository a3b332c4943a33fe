import math

import numpy as np
import pandas as pd
import pytest
import torch

from symlib import records
from symlib.data.coherent_copies import exact_copies, latents, random_frame, teacher
from symlib.interpolation import mixing_weights
from symlib.networks import relu_sums
from symlib.networks.relu_sums import Descent, ReluSums, initialise, outputs, random_mask, train
from symlib.plots.coherence import barrier_by_coherence, comparison_table
from symlib.seeds import generator
from symlib.studies import synthetic_coherence as study
from symlib.studies.synthetic_coherence import SyntheticCoherence, compared, line_losses, quantities, run

LAMBDAS = (0.0, 0.5, 1.0)
COLUMNS = ["family", "copies", "coherence", "outer_seed", "pair", "lambda", "test_mse"]
SMALL = {
    "profile": "custom",
    "copies": [1, 10],
    "n_outer_seeds": 1,
    "n_pairs": 3,
    "epochs": 100,
    "n_points": 5,
    "workers": 1,
    "out": "",
}


@pytest.fixture(scope="module")
def record():
    return run(SyntheticCoherence.checked(SMALL))


def doubled(networks):
    return ReluSums(networks.weight.double(), networks.bias.double())


def alone(weight, bias, mask, U, z, y, orders, descent):
    """Train one network on its 20 inputs with autograd and PyTorch's AdamW; return effective weight and bias."""
    weight, bias = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    optimiser = torch.optim.AdamW(
        [{"params": [weight], "weight_decay": descent.weight_decay}, {"params": [bias], "weight_decay": 0.0}],
        lr=descent.lr,
    )
    x = z @ U.T
    for order in orders:
        for rows in order.split(descent.batch_size):
            found = (x[rows] @ (mask * weight) + bias).relu().sum(dim=1)
            optimiser.zero_grad()
            torch.nn.functional.mse_loss(found, y[rows]).backward()
            optimiser.step()
    return (mask * weight).detach(), bias.detach()


@pytest.mark.parametrize("copies", [1, 4])
def test_networks_trained_together_end_like_each_trained_alone_by_autograd(monkeypatch, copies):
    monkeypatch.setattr(relu_sums, "ACTIVATIONS_PER_PASS", 2 * 7 * 20)  # two of the three networks at once
    mask, U = random_mask(20, 7, 0.5, 0), random_frame(copies, 1)
    z = latents(0, 50).double()
    y, start, descent = teacher(z), doubled(initialise(mask, [3, 4, 5])), Descent(1e-2, 0.1, 20)  # 20, 20 and 10
    orders = torch.rand(3, 8, 50, generator=generator("orders")).argsort(dim=2)
    epochs = []
    together = train(start, mask, U, z, y, orders, descent, lambda: epochs.append(1))
    assert len(epochs) == 8
    for i in range(3):
        weight, bias = alone(start.weight[i], start.bias[i], mask, U, z, y, orders[i], descent)
        torch.testing.assert_close(together.weight[i], weight, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(together.bias[i], bias, rtol=1e-10, atol=1e-12)
    assert not (together.weight == start.weight).all() and not together.weight[:, ~mask].any()


def test_outputs_are_those_of_a_loop_over_networks_on_all_inputs(monkeypatch):
    monkeypatch.setattr(relu_sums, "ACTIVATIONS_PER_PASS", 1)
    mask, U, z = random_mask(20, 7, 0.5, 0), random_frame(6, 1), latents(0, 30).double()
    networks = ReluSums(doubled(initialise(mask, [0, 1])).weight, torch.linspace(-1, 1, 14).double().view(2, 7))
    looped = [((z @ U.T) @ w + b).relu().sum(dim=1) for w, b in zip(networks.weight, networks.bias, strict=True)]
    torch.testing.assert_close(outputs(networks, U, z), torch.stack(looped))


def test_networks_start_masked_small_and_apart():
    mask = random_mask(20, 5000, 0.15, 0)
    assert mask.double().mean() == pytest.approx(0.15, abs=0.005)
    networks = initialise(mask, [0, 1])
    assert not networks.weight[:, ~mask].any() and not networks.bias.any()
    assert networks.weight[:, mask].std() == pytest.approx(0.05, abs=0.001)
    assert not torch.equal(*networks.weight)
    torch.testing.assert_close(initialise(mask, [1]).weight[0], networks.weight[1])


@pytest.mark.parametrize("copies", range(1, 11))
@pytest.mark.parametrize("U", [exact_copies, lambda copies: random_frame(copies, 3)])
def test_columns_are_orthonormal_and_the_coherence_is_one_over_the_copies(U, copies):
    torch.testing.assert_close(U(copies).T @ U(copies), torch.eye(2, dtype=torch.float64))
    rows = U(copies).square().sum(dim=1)
    assert rows.max().item() == pytest.approx(1 / copies)
    assert (rows > 0).sum() == 2 * copies


def test_more_copies_keep_the_places_and_angles_of_fewer():
    few, many = random_frame(2, 0), random_frame(5, 0)
    active = few.any(dim=1)
    torch.testing.assert_close(few[active] * 2**0.5, many[active] * 5**0.5)
    assert not torch.equal(random_frame(5, 1), many)


def test_angles_of_a_frame_fill_half_a_turn():
    frames = torch.stack([random_frame(10, seed) for seed in range(50)]) * 10**0.5
    # Each pair has one row (cos, sin) with sin >= 0 and one that is a quarter turn further.
    angles = torch.atan2(frames[..., 1], frames[..., 0]) % math.pi
    assert angles.min() < 0.1 and angles.max() > math.pi - 0.1
    assert not ((frames[..., 0] > 0) & (frames[..., 1] < 0)).any()  # the last quarter is met by neither
    assert torch.histc(angles, 4, 0, math.pi).min() > 0.8 * angles.numel() / 4


def test_teacher_is_the_positive_part_of_the_sum():
    assert teacher(torch.tensor([[1.0, 2.0], [1.0, -2.0]])).tolist() == [3.0, 0.0]


def test_losses_on_the_line_are_those_of_the_mixed_networks():
    mask, z = random_mask(20, 7, 0.5, 0), latents(0, 30)
    networks, U = initialise(mask, range(4)), exact_copies(10).float()
    networks = ReluSums(networks.weight, torch.linspace(0, 1, 28).view(4, 7))
    found = line_losses(networks, U, z, teacher(z), mixing_weights(3))
    for pair in range(2):
        a, b = 2 * pair, 2 * pair + 1
        for i, lam in enumerate(LAMBDAS):
            mixed = [(1 - lam) * w[a : a + 1] + lam * w[b : b + 1] for w in (networks.weight, networks.bias)]
            expected = (outputs(ReluSums(*mixed), U, z)[0] - teacher(z)).square().mean()
            assert found[pair, i].item() == pytest.approx(expected.item(), rel=1e-5)


def test_barriers_are_measured_from_the_worse_end():
    losses = {0.0: 0.1, 0.25: 0.9, 0.5: 0.6, 0.75: 0.2, 1.0: 0.3}
    rows = [("exact-copy", 1, 1.0, s, 0, lam, loss + s) for s in (0, 1) for lam, loss in losses.items()]
    planted = records.make("synthetic_coherence", {}, pd.DataFrame(rows, columns=COLUMNS), {})
    found = quantities(planted)
    np.testing.assert_allclose(found["midpoint/exact-copy/1"], [0.3, 0.3])
    np.testing.assert_allclose(found["peak/exact-copy/1"], [0.6, 0.6])
    np.testing.assert_allclose(found["endpoint/exact-copy/1"], [0.2, 1.2])


def test_a_mask_identifies_neurons_at_coherence_one_only(record):
    found = quantities(record)
    assert len(found) == 3 * 2 * 2 and all(len(values) == 3 for values in found.values())
    for family in study.FAMILIES:
        assert found[f"midpoint/{family}/1"].max() < 0.5 * found[f"midpoint/{family}/10"].min()
    assert found["endpoint/exact-copy/10"].max() < 1e-3


def test_table_has_one_row_for_every_point(record):
    keys = ["family", "copies", "outer_seed", "pair", "lambda"]
    assert len(record.table) == 2 * 2 * 3 * 5 == len(record.table[keys].drop_duplicates())
    assert set(record.table["coherence"]) == {1.0, 0.1}
    one, other = (record.table.query("family == @family")["test_mse"].to_numpy() for family in study.FAMILIES)
    assert (one != other).all()


def test_losses_are_taken_on_points_that_were_not_trained_on(monkeypatch):
    seen = {}

    def spied(name, position):
        function = getattr(study, name)

        def call(*arguments):
            seen[name] = arguments[position]
            return function(*arguments)

        monkeypatch.setattr(study, name, call)

    spied("train", 3)
    spied("line_losses", 2)
    run(SyntheticCoherence.checked(SMALL | {"epochs": 1, "copies": [2]}))
    assert seen["train"].shape == (1024, 2) and seen["line_losses"].shape == (2048, 2)
    assert len(torch.cat([*seen.values()]).unique(dim=0)) == 3072


def test_seeds_are_the_protocols_and_stand_in_the_record(record):
    assert record.about["seeds"] == {
        "mask": [10_000],
        "latents": [20_000],
        "frame": [30_000],
        "networks": [[40_000, 40_001, 40_002, 40_003, 40_004, 40_005]],
    }
    assert study.network_seeds(3, 10)[-1] == 43_019 and study.mask_seed(4) == 10_004
    assert study.latent_seed(3) == 20_003 and study.frame_seed(2) == 30_002


def test_first_pairs_do_not_change_when_more_are_asked_for(record):
    one = run(SyntheticCoherence.checked(SMALL | {"n_pairs": 1, "copies": [10]}))
    same = record.table.query("pair == 0 and copies == 10")
    np.testing.assert_allclose(one.table["test_mse"], same["test_mse"], rtol=0, atol=2e-3)


def test_finished_outer_seeds_are_kept_when_more_are_asked_for(tmp_path):
    small = SMALL | {"epochs": 1, "out": str(tmp_path / "run")}
    run(SyntheticCoherence.checked(small))
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("run/shards/*/record.json")}
    more = run(SyntheticCoherence.checked(small | {"n_outer_seeds": 2}))
    assert len(written) == 2 and all(path.stat().st_mtime_ns == before for path, before in written.items())
    assert set(more.table["outer_seed"]) == {0, 1}


def test_reach_counts_neurons_by_what_their_mask_lets_through():
    mask = random_mask(20, 128, 0.15, study.mask_seed(0))
    first, second = mask[0], mask[1]
    expected = {0: ~first & ~second, 1: first ^ second, 2: first & second}
    found = study.reach("exact-copy", 1, 0)
    assert found == {rank: pytest.approx(neurons.double().mean().item()) for rank, neurons in expected.items()}


def test_every_network_sees_batches_in_an_order_of_its_own():
    a, b = (study.batch_orders(seed, 3) for seed in study.network_seeds(0, 1))
    assert a.shape == (3, 1024) and torch.equal(a.sort(dim=1).values, torch.arange(1024).expand(3, -1))
    assert not torch.equal(a, b) and not torch.equal(a[0], a[1])


@pytest.mark.parametrize("copies", [0, 11])
def test_copies_that_do_not_fit_are_refused(copies):
    with pytest.raises(ValueError, match=f"copies must lie between 1 and 10, .* got {copies}"):
        exact_copies(copies)
    with pytest.raises(ValueError, match=f"got {copies}"):
        random_frame(copies, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"copies": [1, 11]}, r"copies.1: .* less than or equal to 10, got 11"),
        ({"copies": [0]}, r"copies.0: .* greater than or equal to 1, got 0"),
        ({"copies": [2, 1]}, "different numbers in rising order"),
        ({"copies": []}, "one or more different numbers"),
        ({"n_points": 20}, "odd and at least 3"),
        ({"n_pairs": 501}, "n_pairs: .* less than or equal to 500"),
        ({"epoch": 3}, "unknown parameter 'epoch' .* did you mean 'epochs'"),
    ],
)
def test_bad_parameters_are_refused_before_any_work(change, message):
    with pytest.raises(ValueError, match=message):
        SyntheticCoherence.checked(SMALL | change)


def test_figure_draws_means_bands_and_the_independent_run(record):
    table = compared(record)
    left, right = barrier_by_coherence(record.table, table, "").axes
    for line, family in zip(left.lines[0:4:2], ("exact-copy", "random-frame"), strict=True):
        np.testing.assert_allclose(line.get_xydata(), [(1, table["mean"][family, 1]), (0.1, table["mean"][family, 10])])
    np.testing.assert_allclose(left.lines[1].get_ydata(), [0.002, 0.246])
    heights = left.collections[1].get_paths()[0].vertices[:, 1]
    top = table["mean"]["random-frame"] + table["sd"]["random-frame"]
    assert heights.max() == pytest.approx(top.max())
    drawn = next(line for line in right.lines if len(line.get_xdata()) == 5)
    rows = record.table.query("family == 'exact-copy' and copies == 1").groupby("lambda")["test_mse"].mean()
    np.testing.assert_allclose(drawn.get_ydata(), rows)


def test_table_shows_both_runs_and_their_difference(record):
    table, found = comparison_table(compared(record)), compared(record).loc[("random-frame", 10)]
    row = table.loc[(10, "0.10")]
    assert row[("random frames", "ours")] == f"{found['mean']:.3f} ± {found['sd']:.3f}"
    assert row[("random frames", "independent run")] == "0.237 ± 0.053"
    assert float(row[("random frames", "difference")]) == pytest.approx(found["mean"] - 0.237, abs=6e-4)


def test_standard_error_counts_draws_and_not_pairs():
    points = [(s, pair, lam) for s in (1, 3) for pair in (0, 1) for lam in LAMBDAS]
    rows = [("exact-copy", 1, 1.0, s, pair, lam, s * (lam == 0.5)) for s, pair, lam in points]
    planted = records.make("synthetic_coherence", {"n_outer_seeds": 2}, pd.DataFrame(rows, columns=COLUMNS), {})
    row = compared(planted).loc[("exact-copy", 1)]
    assert row["mean"] == 2 and row["se"] == pytest.approx(1.0)  # sd of 1 and 3 over the root of 2


@pytest.mark.slow
def test_means_over_many_draws_agree_with_the_independent_run():
    # Mask and data move the mean of five draws by 0.01, the independent run's as well as ours: twenty give room.
    many = SMALL | {"copies": [*range(1, 11)], "n_outer_seeds": 20, "n_pairs": 4, "n_points": 3}
    assert compared(run(SyntheticCoherence.checked(many)))["difference"].abs().max() <= 0.03
