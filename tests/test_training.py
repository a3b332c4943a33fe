import multiprocessing
import os
import signal
import time
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import symlib.checkpoints
import symlib.population
import symlib.training
from symlib.asymmetry import Standard, WAsymmetry, constraint, parametrize_with
from symlib.data.augmentation import Augmentation
from symlib.networks.gnn import GNN
from symlib.networks.mlp import MLP
from symlib.networks.resnet import ResNet
from symlib.population import initialise
from symlib.seeds import generator
from symlib.training import Recipe, geometric_warmup, linear_warmup, train, triangular

from .conftest import ASYMMETRIES, WIDTHS

RECIPE = Recipe(epochs=3, batch_size=64, lr=1e-2, weight_decay=0.03)


def same(a, b, **tolerance):
    for name in a.params:
        torch.testing.assert_close(a.params[name], b.params[name], **tolerance)


def run_batched(monkeypatch, batched):
    """Force one way to run populations, convolutional ones included."""
    for module in (symlib.population, symlib.training):
        monkeypatch.setattr(module, "batched_pays", lambda *_: batched)


@pytest.fixture(params=[False, True], ids=["one-at-a-time", "batched"])
def execution(request, monkeypatch):
    """Force one way to run populations, then the other."""
    run_batched(monkeypatch, request.param)


@pytest.mark.parametrize("kind", ASYMMETRIES)
def test_network_of_a_population_equals_it_trained_alone(tiny, blobs, kind, execution):
    together, losses = train(tiny(kind, [5, 6, 7]), *blobs, RECIPE, [1, 2, 3])
    alone, loss = train(tiny(kind, [6]), *blobs, RECIPE, [2])
    same(together[1:2], alone, rtol=0, atol=1e-6)
    torch.testing.assert_close(losses[:, 1:2], loss, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", ASYMMETRIES)
def test_both_ways_to_run_a_population_agree(tiny, blobs, kind, monkeypatch):
    found = []
    for batched in (False, True):
        run_batched(monkeypatch, batched)
        found.append(train(tiny(kind, [0, 1]), *blobs, RECIPE, [0, 1])[0])
    same(*found, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["w-asym", "syre"])
def test_constraint_in_the_loop_equals_the_parametrization(tiny, blobs, kind, execution):
    """200 steps of AdamW with strong decay, against torch's own loop over a parametrized model."""
    x, y = blobs
    recipe = Recipe(epochs=200, batch_size=200, lr=1e-2, weight_decay=0.1)
    start = tiny(kind, [3])
    ours, _ = train(start, x, y, recipe, [0])

    torch.manual_seed(3)
    model = MLP(WIDTHS).double()
    model.load_state_dict({name: w[0] for name, w in start.params.items()})
    fixed = start.constraint
    free = {name: (start.params[name][0] - fixed.F[name]) * fixed.D[name] for name in fixed.D}
    parametrize_with(model, fixed)
    for name, w in free.items():
        layer = model.get_submodule(name.rpartition(".")[0])
        with torch.no_grad():
            layer.parametrizations.weight.original.copy_(w)
        torch.testing.assert_close(layer.weight, start.params[name][0])
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    for _ in range(200):
        optimiser.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimiser.step()
    for name in fixed.D:
        theirs = model.get_submodule(name.rpartition(".")[0]).weight
        torch.testing.assert_close(ours.params[name][0], theirs, rtol=0, atol=1e-12)


def test_pinned_entries_are_bit_identical_after_training(tiny, blobs):
    start = tiny("w-asym", [0, 1])
    trained, _ = train(start, *blobs, RECIPE, [0, 1])
    for name, mask in start.constraint.D.items():
        assert torch.equal(trained.params[name][:, ~mask], start.params[name][:, ~mask])
        assert not torch.equal(trained.params[name][:, mask], start.params[name][:, mask])


def test_training_lowers_the_loss_and_leaves_the_start_alone(tiny, blobs):
    start = tiny("standard", [0])
    before = {name: w.clone() for name, w in start.params.items()}
    _, losses = train(start, *blobs, RECIPE, [0])
    assert losses[-1] < 0.5 * losses[0]
    assert all(torch.equal(start.params[name], w) for name, w in before.items())


def test_stopping_after_any_epoch_and_resuming_gives_the_same_bits(tiny, blobs, tmp_path, execution):
    whole, losses = train(tiny("w-asym", [0, 1]), *blobs, RECIPE, [0, 1])
    file = tmp_path / "run.safetensors"
    for epochs in (1, 2, 3):
        recipe = Recipe(epochs, RECIPE.batch_size, RECIPE.lr, RECIPE.weight_decay)
        parts, part_losses = train(tiny("w-asym", [0, 1]), *blobs, recipe, [0, 1], file)
    same(whole, parts, rtol=0, atol=0)
    assert torch.equal(losses, part_losses)


def train_forever(start, blobs, file):
    train(start, *blobs, Recipe(10**6, 20, 1e-3, 0.03), [0, 1], file)


def test_killed_run_leaves_a_whole_checkpoint_and_resumes_to_the_same_bits(tiny, blobs, tmp_path):
    file = tmp_path / "run.safetensors"
    context = multiprocessing.get_context("spawn")  # a fork of a process that used torch may hang
    child = context.Process(target=train_forever, args=(tiny("w-asym", [0, 1]), blobs, file))
    child.start()
    while not file.exists():
        assert child.is_alive()
        time.sleep(0.01)
    time.sleep(0.2)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    done = len(load_file(file)["losses"])
    recipe = Recipe(done + 2, 20, 1e-3, 0.03)
    resumed, _ = train(tiny("w-asym", [0, 1]), *blobs, recipe, [0, 1], file)
    whole, _ = train(tiny("w-asym", [0, 1]), *blobs, recipe, [0, 1])
    same(whole, resumed, rtol=0, atol=0)


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_damaged_checkpoint_is_named_and_not_used(tiny, blobs, tmp_path, damage):
    file = tmp_path / "run.safetensors"
    train(tiny("standard", [0]), *blobs, RECIPE, [0], file)
    data = bytearray(file.read_bytes())
    if damage == "truncated":
        data = data[:-100]
    else:
        data[-100] ^= 1
    file.write_bytes(data)
    with pytest.raises(ValueError, match=r"damaged checkpoint .*run\.safetensors.* not used: delete it"):
        train(tiny("standard", [0]), *blobs, RECIPE, [0], file)


def test_checkpoint_of_another_run_is_refused(tiny, blobs, tmp_path):
    file = tmp_path / "run.safetensors"
    train(tiny("standard", [0]), *blobs, RECIPE, [0], file)
    with pytest.raises(ValueError, match="other settings or seeds"):
        train(tiny("standard", [0]), *blobs, RECIPE, [1], file)
    with pytest.raises(ValueError, match="other settings or seeds"):
        train(tiny("standard", [0]), 2 * blobs[0], blobs[1], RECIPE, [0], file)
    with pytest.raises(ValueError, match="other settings or seeds"):
        train(tiny("w-asym", [0]), *blobs, RECIPE, [0], file)
    with pytest.raises(ValueError, match="other settings or seeds"):
        train(tiny("standard", [1]), *blobs, RECIPE, [0], file)
    for change in ({"batch_size": 32}, {"lr": 1e-3}, {"weight_decay": 0.1}, {"schedule": lambda e: 1 / (e + 1)}):
        with pytest.raises(ValueError, match="other settings or seeds"):
            train(tiny("standard", [0]), *blobs, replace(RECIPE, **change), [0], file)
    with pytest.raises(ValueError, match="3 epochs old, more than the 1 asked for"):
        train(tiny("standard", [0]), *blobs, Recipe(1, 64, 1e-2, 0.03), [0], file)


def test_edited_progress_of_a_checkpoint_is_noticed(tiny, blobs, tmp_path):
    file = tmp_path / "run.safetensors"
    train(tiny("standard", [0]), *blobs, RECIPE, [0], file)
    with safe_open(file, "pt") as opened:
        about = opened.metadata()
    save_file(load_file(file) | {"steps": torch.tensor(0)}, file, metadata=about)
    with pytest.raises(ValueError, match="do not match its hash"):
        train(tiny("standard", [0]), *blobs, RECIPE, [0], file)


def test_failed_write_leaves_the_last_checkpoint(tiny, blobs, tmp_path, monkeypatch):
    file = tmp_path / "run.safetensors"
    train(tiny("standard", [0]), *blobs, replace(RECIPE, epochs=1), [0], file)
    before = file.read_bytes()

    def full_disk(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(symlib.checkpoints, "save_file", full_disk)
    with pytest.raises(OSError, match="no space"):
        train(tiny("standard", [0]), *blobs, RECIPE, [0], file)
    assert file.read_bytes() == before


def test_training_equals_a_plain_loop_over_shuffled_batches(tiny, blobs, execution):
    """Two epochs with a schedule and a partial last batch, against torch's own AdamW."""
    x, y = blobs
    start = tiny("standard", [0])
    recipe = Recipe(2, 64, 1e-2, 0.1, geometric_warmup(0.1, 1))
    ours, losses = train(start, x, y, recipe, [5])

    model = MLP(WIDTHS).double()
    model.load_state_dict({name: w[0] for name, w in start.params.items()})
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.1)
    for epoch, lr in enumerate([1e-3, 1e-2]):
        optimiser.param_groups[0]["lr"] = lr
        order = torch.randperm(200, generator=generator(5, "order", epoch))
        total = 0.0
        for batch in order.split(64):  # 64, 64, 64, 8
            loss = F.cross_entropy(model(x[batch]), y[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item() * len(batch)
        assert losses[epoch].item() == pytest.approx(total / 200, rel=1e-5)
    for name, w in model.named_parameters():
        torch.testing.assert_close(ours.params[name][0], w, rtol=0, atol=1e-12)


def test_every_epoch_ticks_once_resumed_ones_too(tiny, blobs, tmp_path):
    for done in (2, 3):
        ticks = []
        recipe = replace(RECIPE, epochs=done)
        train(tiny("standard", [0]), *blobs, recipe, [0], tmp_path / "c", lambda ticks=ticks: ticks.append(1))
        assert len(ticks) == done


def test_divergence_stops_at_once_and_leaves_no_bad_checkpoint(tiny, blobs, tmp_path):
    x, y = blobs
    broken = tiny("standard", [0, 1])
    broken.params["linears.0.weight"][1] = torch.nan
    with pytest.raises(FloatingPointError, match=r"diverged in epoch 1: no finite loss or weights in networks \[1\]"):
        train(broken, x, y, RECIPE, [0, 1], tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_weights_that_the_last_step_of_an_epoch_breaks_are_in_no_checkpoint(tiny, blobs, tmp_path):
    """The losses of that epoch are finite, all of them from before the step."""
    breaks = replace(RECIPE, schedule=lambda epoch: float("inf") if epoch % 1 > 0.7 and epoch > 1 else 1.0)
    for _ in range(2):  # the second time from the checkpoint
        with pytest.raises(FloatingPointError, match="diverged in epoch 2"):
            train(tiny("standard", [0]), *blobs, breaks, [0], tmp_path / "c")
        assert len(load_file(tmp_path / "c")["losses"]) == 1
    train(tiny("standard", [0]), *blobs, replace(breaks, epochs=1), [0], tmp_path / "c")  # one good epoch


# Rates, decays, lengths and smoothing of their own, as in the populations of section 5.3.
OWN = [
    Recipe(3, 64, 1e-2, 0.1, triangular(1, 3), label_smoothing=0.2),
    Recipe(1, 64, 3e-3, 0.0),
    Recipe(4, 64, 1e-2, 0.3, label_smoothing=0.1),
]


@pytest.mark.parametrize("kind", ["standard", "w-asym", "syre"])
def test_networks_with_recipes_of_their_own_end_as_if_trained_alone(tiny, blobs, kind, execution):
    together, losses = train(tiny(kind, [5, 6, 7]), *blobs, OWN, [1, 2, 3])
    assert losses.isfinite().sum(0).tolist() == [3, 1, 4] and together.epochs is None
    for i, recipe in enumerate(OWN):
        alone, loss = train(tiny(kind, [5 + i]), *blobs, recipe, [1 + i])
        same(together[i : i + 1], alone, rtol=0, atol=1e-6)
        torch.testing.assert_close(losses[: recipe.epochs, i : i + 1], loss, rtol=1e-5, atol=0)


def test_networks_with_recipes_of_their_own_resume_to_the_same_bits(tiny, blobs, tmp_path, execution):
    start = tiny("w-asym", [5, 6, 7])
    whole, losses = train(start, *blobs, OWN, [1, 2, 3])

    class Killed(Exception):
        pass

    def stop(epoch, population):
        if epoch == 3:
            raise Killed

    with pytest.raises(Killed):
        train(start, *blobs, OWN, [1, 2, 3], tmp_path / "c", watch=stop)
    resumed, again = train(start, *blobs, OWN, [1, 2, 3], tmp_path / "c")
    same(whole, resumed, rtol=0, atol=0)
    torch.testing.assert_close(losses, again, rtol=0, atol=0, equal_nan=True)


def test_smoothed_loss_and_a_dropped_last_batch_equal_those_of_a_plain_loop(tiny, blobs, execution):
    x, y = blobs
    start = tiny("standard", [0])
    recipe = Recipe(2, 64, 1e-2, 0.1, triangular(0.5, 2), label_smoothing=0.15, drop_last=True)
    ours, losses = train(start, x, y, recipe, [5])
    model = MLP(WIDTHS).double()
    model.load_state_dict({name: w[0] for name, w in start.params.items()})
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.1)
    rates = iter([0.0, 2 / 3, 1 - 1 / 9, 2 / 3, 4 / 9, 2 / 9])  # up to epoch 1/2, down to epoch 2
    for epoch in range(2):
        seen = []
        for batch in torch.randperm(200, generator=generator(5, "order", epoch)).split(64)[:3]:
            optimiser.param_groups[0]["lr"] = 1e-2 * next(rates)
            loss = F.cross_entropy(model(x[batch]), y[batch], label_smoothing=0.15)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            seen.append(loss.item())
        assert losses[epoch].item() == pytest.approx(sum(seen) / 3, rel=1e-5)
    for name, w in model.named_parameters():
        torch.testing.assert_close(ours.params[name][0], w, rtol=0, atol=1e-12)


def test_networks_that_diverge_are_left_behind_if_asked_for(tiny, blobs, execution):
    broken = tiny("standard", [5, 6, 7])
    broken.params["linears.0.weight"][1] = torch.nan
    found, losses = train(broken, *blobs, RECIPE, [1, 2, 3], keep_going=True)
    assert losses[:, 1].isnan().all() and losses[:, [0, 2]].isfinite().all()
    alone, _ = train(broken[[0, 2]], *blobs, RECIPE, [1, 3])
    same(found[[0, 2]], alone, rtol=0, atol=1e-6)


def test_divergence_in_the_very_last_step_shows_in_the_loss(tiny, blobs):
    sane, huge = (replace(RECIPE, epochs=1, batch_size=200, lr=lr) for lr in (1e-3, torch.inf))
    found, losses = train(tiny("standard", [5, 6]), *blobs, [sane, huge], [1, 2], keep_going=True)
    assert not found.params["linears.0.weight"][1].isfinite().all()
    assert losses.isnan().tolist() == [[False, True]]


@pytest.mark.parametrize(
    ("recipes", "message"),
    [
        ([RECIPE], "2 networks need as many recipes, got 1"),
        ([RECIPE, replace(RECIPE, batch_size=32)], r"need one batch_size, got \['32', '64'\]"),
        ([RECIPE, replace(RECIPE, drop_last=True)], "need one drop_last"),
        (replace(RECIPE, batch_size=500, drop_last=True), "drop_last leaves nothing of 200 inputs in batches of 500"),
    ],
)
def test_recipes_that_cannot_be_followed_together_are_refused(tiny, blobs, recipes, message):
    with pytest.raises(ValueError, match=message):
        train(tiny("standard", [0, 1]), *blobs, recipes, [0, 1])


def test_seeds_must_match_the_members(tiny, blobs):
    with pytest.raises(ValueError, match="2 networks need as many order seeds, got 1"):
        train(tiny("standard", [0, 1]), *blobs, RECIPE, [0])


def test_geometric_warmup_reaches_its_peak_as_in_the_paper():
    schedule = geometric_warmup(start=1e-2, epochs=20)
    assert schedule(1) / schedule(0) == pytest.approx(1.259, abs=1e-3)
    assert [1e-2 * schedule(e) for e in (0, 20, 99)] == pytest.approx([1e-4, 1e-2, 1e-2])


def test_each_network_sees_its_own_batch_order(tiny, blobs):
    _, losses = train(tiny("standard", [0, 0]), *blobs, RECIPE, [0, 1])
    assert losses[0, 0] != losses[0, 1]


IMAGES = torch.randn(24, 1, 8, 8, generator=generator("images"), dtype=torch.float64)
IMAGE_LABELS = torch.randint(4, (24,), generator=generator("labels"))


def small_graph():
    edges = torch.randint(30, (2, 60), generator=generator("edges"))
    features = torch.randn(30, 6, generator=generator("features"), dtype=torch.float64)
    return GNN(features, torch.cat([edges, edges.flip(0)], dim=1), (9, 8), 4)


# Makes the model, its inputs, its labels and the size of a batch, which leaves a smaller last one.
NORMALISED = {
    "resnet8": (lambda: ResNet(8, 0.5, 4, "batch", in_channels=1), IMAGES, IMAGE_LABELS, 10),
    "mlp": (lambda: MLP((64, 12, 9, 4), norm="batch"), IMAGES, IMAGE_LABELS, 10),
    "gnn": (small_graph, torch.arange(24), IMAGE_LABELS, 10),
}


def normalised(kind, init_seeds=(0,), asymmetry=None):
    """Return a population of networks with BatchNorm in float64, and its data."""
    build, x, y, batch_size = NORMALISED[kind]
    model = build().double()
    fixed = constraint(model, asymmetry or Standard(), 0).to(torch.zeros(1, dtype=torch.float64))
    return initialise(model, fixed, init_seeds), x, y, Recipe(3, batch_size, 1e-2, 0.03)


def same_tensors(a, b, **tolerance):
    assert a.tensors.keys() == b.tensors.keys()
    for name in a.tensors:
        torch.testing.assert_close(a.tensors[name], b.tensors[name], **tolerance)


@pytest.mark.parametrize("kind", NORMALISED)
def test_network_with_batch_norm_equals_it_trained_by_a_plain_loop(kind, execution):
    """Weights and running statistics of each member, against torch's own optimiser on one module in training mode."""
    population, x, y, recipe = normalised(kind, [5, 6, 7])
    together, _ = train(population, x, y, recipe, [1, 2, 3])
    for i, order_seed in enumerate([1, 2, 3]):
        model = deepcopy(population.model)
        model.load_state_dict({name: w[i] for name, w in population.tensors.items()})
        model.train()
        optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
        for epoch in range(recipe.epochs):
            for rows in torch.randperm(24, generator=generator(order_seed, "order", epoch)).split(recipe.batch_size):
                optimiser.zero_grad()
                F.cross_entropy(model(x[rows]), y[rows]).backward()
                optimiser.step()
        state = model.state_dict()
        for name, tensor in together.tensors.items():
            torch.testing.assert_close(tensor[i], state[name], rtol=0, atol=1e-7)
        assert state[next(n for n in state if n.endswith("num_batches_tracked"))] == 9


@pytest.mark.parametrize("kind", NORMALISED)
@pytest.mark.parametrize("asymmetry", [Standard(), WAsymmetry(3, 0.5)], ids=["standard", "w-asym"])
def test_both_ways_to_train_networks_with_batch_norm_agree(kind, asymmetry, monkeypatch):
    found = []
    for batched in (False, True):
        for module in (symlib.population, symlib.training):
            monkeypatch.setattr(module, "batched_pays", lambda *_, batched=batched: batched)
        population, *rest = normalised(kind, [0, 1], asymmetry)
        found.append(train(population, *rest, [0, 1])[0])
    same_tensors(*found, rtol=0, atol=1e-7)


AUGMENTED = Augmentation(flip=True, shift=2, cutout=3)


def test_augmented_network_of_a_population_equals_it_trained_alone(execution):
    population, x, y, recipe = normalised("resnet8", [5, 6, 7])
    recipe = replace(recipe, augmentation=AUGMENTED)
    together, losses = train(population, x, y, recipe, [1, 2, 3])
    alone, loss = train(normalised("resnet8", [6])[0], x, y, recipe, [2])
    same_tensors(together[1:2], alone, rtol=0, atol=1e-7)
    torch.testing.assert_close(losses[:, 1:2], loss, rtol=1e-6, atol=0)


def test_every_network_and_epoch_sees_its_own_augmentation(execution, monkeypatch):
    population, x, y, recipe = normalised("resnet8", [5, 5])
    recipe = replace(recipe, augmentation=AUGMENTED, batch_size=24)
    drawn = []
    draw = Augmentation.draw
    monkeypatch.setattr(Augmentation, "draw", lambda *args: drawn.append(draw(*args)) or drawn[-1])
    plain, _ = train(population, x, y, replace(recipe, augmentation=None), [0, 1])
    moved, _ = train(population, x, y, recipe, [0, 1])
    assert len(drawn) == 3 * 2 and all(not torch.equal(a, b) for i, a in enumerate(drawn) for b in drawn[:i])
    assert (plain.params["stem.weight"] - moved.params["stem.weight"]).abs().max() > 1e-6


def test_resuming_gives_the_same_bits_of_statistics_under_augmentation(execution, tmp_path):
    population, x, y, recipe = normalised("resnet8", [0, 1])
    recipe = replace(recipe, augmentation=AUGMENTED)
    whole, losses = train(population, x, y, recipe, [0, 1])
    for epochs in (1, 2, 3):
        parts, part_losses = train(
            normalised("resnet8", [0, 1])[0], x, y, replace(recipe, epochs=epochs), [0, 1], tmp_path / "run"
        )
    same_tensors(whole, parts, rtol=0, atol=0)
    assert torch.equal(losses, part_losses)
    assert whole.stats["norm.num_batches_tracked"].tolist() == [9, 9]
    for change in (None, replace(AUGMENTED, shift=1)):
        with pytest.raises(ValueError, match="other settings or seeds"):
            train(population, x, y, replace(recipe, augmentation=change), [0, 1], tmp_path / "run")


def test_training_leaves_the_statistics_of_the_start_alone():
    population, x, y, recipe = normalised("mlp", [0])
    before = {name: s.clone() for name, s in population.tensors.items()}
    trained, _ = train(population, x, y, recipe, [0])
    assert all(torch.equal(population.tensors[name], s) for name, s in before.items())
    assert all(not torch.equal(trained.tensors[name], s) for name, s in before.items())


def never(*args):
    raise AssertionError("work was done")


@pytest.mark.parametrize(("n", "batch_size"), [(24, 23), (24, 1), (1, 10)])
def test_batch_of_one_is_refused_for_batch_norm_before_any_work(n, batch_size, tiny, monkeypatch):
    population, x, y, recipe = normalised("mlp")
    monkeypatch.setattr(symlib.training, "_run_epoch", never)
    with pytest.raises(ValueError, match=f"a batch of one: {n} inputs in batches of {batch_size} leave one over"):
        train(population, x[:n], y[:n], replace(recipe, batch_size=batch_size), [0])


@pytest.mark.parametrize(("n", "batch_size"), [(24, 22), (24, 24), (24, 100)])
def test_batches_of_two_and_more_are_enough_for_batch_norm(n, batch_size):
    population, x, y, recipe = normalised("mlp")
    train(population, x[:n], y[:n], replace(recipe, batch_size=batch_size, epochs=1), [0])


def test_other_norms_take_batches_of_one(tiny, blobs):
    train(tiny("standard"), blobs[0][:3], blobs[1][:3], replace(RECIPE, batch_size=1, epochs=1), [0])


class WithDropout(nn.Module):
    def __init__(self, dropout):
        super().__init__()
        self.linear, self.dropout = nn.Linear(8, 4), dropout

    def forward(self, x):
        return self.linear(x)


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (nn.Dropout(0.1), "dropout"),
        (nn.Sequential(nn.ReLU(), nn.Dropout2d(0.5)), "dropout.1"),
        (nn.MultiheadAttention(4, 2, dropout=0.1), "dropout"),
        (nn.TransformerEncoderLayer(4, 2, 4, 0.2), "dropout.self_attn"),
    ],
)
def test_dropout_is_refused_by_name_before_any_work(layer, name, blobs, monkeypatch):
    model = WithDropout(layer).double()
    population = initialise(model, constraint(model, Standard(), 0), [0])
    monkeypatch.setattr(symlib.training, "_run_epoch", never)
    with pytest.raises(ValueError, match=f"^{name} drops units at random"):
        train(population, *blobs, RECIPE, [0])


@pytest.mark.parametrize("layer", [nn.Dropout(0.0), nn.MultiheadAttention(4, 2)])
def test_dropout_of_zero_is_allowed(layer, blobs):
    model = WithDropout(layer).double()
    population = initialise(model, constraint(model, Standard(), 0), [0])
    train(population, *blobs, replace(RECIPE, epochs=1), [0])


@pytest.mark.parametrize("training", [True, False])
def test_training_leaves_the_mode_of_the_model_as_it_was(training):
    population, x, y, recipe = normalised("mlp")
    population.model.train(training)
    population.model.norms[1].train(not training)
    with pytest.raises(ValueError, match="inputs have 56 features"):
        train(population, x[..., 1:], y, recipe, [0])
    train(population, x, y, recipe, [0])
    assert population.model.training is training and population.model.norms[1].training is not training


def test_linear_warmup_ends_after_its_epochs():
    assert [linear_warmup(25)(e) for e in (0, 1, 24, 25, 99)] == pytest.approx([1 / 25, 2 / 25, 1, 1, 1])
