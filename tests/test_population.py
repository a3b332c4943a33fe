from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

import symlib.population
from symlib.asymmetry import constraint, parametrize_with
from symlib.interpolation import line, mixing_weights
from symlib.population import batched_pays, evaluate, from_models, initialise, logits

from .conftest import ASYMMETRIES


@pytest.mark.parametrize("kind", ["standard", "w-asym", "syre", "sigma"])
@pytest.mark.parametrize("limit", [0, 10**9], ids=["one-at-a-time", "batched"])
def test_evaluation_equals_a_loop_over_members(tiny, blobs, kind, limit, monkeypatch):
    monkeypatch.setattr(symlib.population, "BATCHED_UP_TO", limit)
    x, y = blobs
    population = tiny(kind, [0, 1, 2])
    monkeypatch.setattr(symlib.population, "INPUTS_PER_PASS", 64)  # 200 is no multiple of it
    found = evaluate(population, x, y)
    for i, member in enumerate(population.members()):
        scores = functional_call(population.model, member, (x,))
        torch.testing.assert_close(found.loss[i], F.cross_entropy(scores, y))
        assert found.accuracy[i] == (scores.argmax(dim=1) == y).double().mean()


def test_selecting_members_keeps_a_population(tiny, blobs):
    population = tiny("standard", [0, 1, 2, 3])
    assert [len(population[1::2]), len(population[[0, 2, 3]])] == [2, 3]
    torch.testing.assert_close(logits(population[[2]], blobs[0])[0], logits(population, blobs[0])[2])


def test_a_member_depends_on_its_own_seed_only(tiny):
    many, one = tiny("standard", [7, 8, 9]), tiny("standard", [8])
    assert all(torch.equal(w[1:2], one.params[name]) for name, w in many.params.items())


def test_initialising_leaves_the_global_random_state_alone(tiny):
    population = tiny("standard")
    before = torch.get_rng_state()
    initialise(population.model, population.constraint, [0, 1])
    assert torch.equal(before, torch.get_rng_state())


def test_small_networks_are_batched_and_large_ones_are_not():
    small, large = (
        {"w": torch.zeros(3, n)} for n in (symlib.population.BATCHED_UP_TO, symlib.population.BATCHED_UP_TO + 1)
    )
    assert batched_pays(nn.Linear(1, 1), small) and not batched_pays(nn.Linear(1, 1), large)
    assert not batched_pays(nn.Conv2d(1, 1, 1), small)  # grouped convolutions are slow


@pytest.mark.parametrize("parametrized", [True, False])
def test_networks_trained_elsewhere_become_a_population(tiny, blobs, parametrized):
    whole = tiny("w-asym", [0, 1])
    models = []
    for member in whole.members():
        model = deepcopy(whole.model)
        model.load_state_dict(member)
        models.append(parametrize_with(model, whole.constraint) if parametrized else model)
    found = from_models(models, constraint(models[0], ASYMMETRIES["w-asym"], 0).to(blobs[0]))
    assert found.constraint.fingerprint == whole.constraint.fingerprint
    assert len(line(found[:1], found[1:], mixing_weights(3))) == 3
    torch.testing.assert_close(logits(found, blobs[0]), logits(whole, blobs[0]))


def test_network_without_the_fixed_entries_is_refused(tiny):
    plain, constrained = tiny("standard"), tiny("w-asym")
    plain.model.load_state_dict(next(plain.members()))
    with pytest.raises(ValueError, match="network 0 does not have the fixed entries of linears.0.weight"):
        from_models([plain.model], constrained.constraint)
