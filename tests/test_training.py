import multiprocessing
import os
import signal
import time

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

import symlib.population
from symlib.asymmetry import parametrize_with
from symlib.networks.mlp import MLP
from symlib.training import Recipe, geometric_warmup, train

from .conftest import ASYMMETRIES, WIDTHS

RECIPE = Recipe(epochs=3, batch_size=64, lr=1e-2, weight_decay=0.03)


def same(a, b, **tolerance):
    for name in a.params:
        torch.testing.assert_close(a.params[name], b.params[name], **tolerance)


@pytest.fixture(params=[0, 10**9], ids=["one-at-a-time", "batched"])
def execution(request, monkeypatch):
    """Force one way to run populations, then the other."""
    monkeypatch.setattr(symlib.population, "BATCHED_UP_TO", request.param)


@pytest.mark.parametrize("kind", ASYMMETRIES)
def test_network_of_a_population_equals_it_trained_alone(tiny, blobs, kind, execution):
    together, losses = train(tiny(kind, [5, 6, 7]), *blobs, RECIPE, [1, 2, 3])
    alone, loss = train(tiny(kind, [6]), *blobs, RECIPE, [2])
    same(together[1:2], alone, rtol=0, atol=1e-6)
    torch.testing.assert_close(losses[:, 1:2], loss, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", ASYMMETRIES)
def test_both_ways_to_run_a_population_agree(tiny, blobs, kind, monkeypatch):
    found = []
    for limit in (0, 10**9):
        monkeypatch.setattr(symlib.population, "BATCHED_UP_TO", limit)
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
    with pytest.raises(ValueError, match="3 epochs old, more than the 1 asked for"):
        train(tiny("standard", [0]), *blobs, Recipe(1, 64, 1e-2, 0.03), [0], file)


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
