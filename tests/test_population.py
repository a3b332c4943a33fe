from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

import symlib.population
from symlib.asymmetry import Standard, constraint, parametrize_with
from symlib.interpolation import line, mixing_weights
from symlib.networks.gnn import GNN
from symlib.networks.mlp import MLP
from symlib.networks.resnet import ResNet
from symlib.population import batched_pays, evaluate, from_models, initialise, logits, mode, multiplications, passes
from symlib.seeds import generator

from .conftest import ASYMMETRIES


@pytest.mark.parametrize("kind", ["standard", "w-asym", "syre", "sigma"])
@pytest.mark.parametrize("batched", [False, True], ids=["one-at-a-time", "batched"])
def test_evaluation_equals_a_loop_over_members(tiny, blobs, kind, batched, monkeypatch):
    monkeypatch.setattr(symlib.population, "batched_pays", lambda *_: batched)
    x, y = blobs
    population = tiny(kind, [0, 1, 2])
    monkeypatch.setattr(symlib.population, "INPUTS_PER_PASS", 64)  # 200 is no multiple of it
    found = evaluate(population, x, y)
    for i, member in enumerate(population.members()):
        scores = functional_call(population.model, member, (x,))
        torch.testing.assert_close(found.loss[i], F.cross_entropy(scores, y))
        assert found.accuracy[i] == (scores.argmax(dim=1) == y).double().mean()


def test_images_in_several_channels_are_evaluated_batched_as_one_at_a_time(monkeypatch):
    population, x = untrained(ResNet(8, 0.25), 3), torch.randn(7, 3, 4, 4, generator=generator("images"))
    scores = []
    for batched in (False, True):
        monkeypatch.setattr(symlib.population, "batched_pays", lambda *_, batched=batched: batched)
        scores.append(logits(population, symlib.population.fast_layout(x)))
    torch.testing.assert_close(*scores)


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


def untrained(model, n):
    return initialise(model, constraint(model, Standard(), 0), range(n))


def test_many_networks_with_little_to_do_are_batched_and_others_are_not(monkeypatch):
    monkeypatch.setattr(symlib.population, "BATCHED_WORK", 120)
    small, x = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), torch.zeros(10, 3)
    two, three = untrained(small, 2), untrained(small, 3)
    assert multiplications(three, x) == 120 and small.training
    assert batched_pays(three, x) and not batched_pays(two, x)
    assert not batched_pays(three, torch.zeros(11, 3))
    monkeypatch.setattr(symlib.population, "BATCHED_WORK", 10**9)
    assert batched_pays(three, torch.zeros(256, 3)) and not batched_pays(three, torch.zeros(257, 3))
    small.rows_per_pass = 257  # computed whatever is asked for
    assert not batched_pays(three, x)


def test_multiplications_count_every_position_in_the_precision_of_the_population():
    population = untrained(nn.Conv2d(2, 5, 3, padding=1), 3)
    double = population.holding({name: w.double() for name, w in population.tensors.items()})
    images = torch.zeros(3, 2, 4, 4, dtype=torch.float64)
    assert multiplications(double, images) == 3 * 16 * 9 * 2 * 5


def test_single_member_is_selected_as_a_population(tiny):
    with pytest.raises(TypeError, match=r"\[1:2\] for one member"):
        tiny("standard", [0, 1])[1]


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


def with_batch_norm(model, init_seeds=(0, 1)):
    """Return a population whose running statistics are not those of initialisation."""
    model = model.double()
    many = initialise(model, constraint(model, Standard(), 0), init_seeds)
    source = generator("statistics")
    stats = {
        name: s + torch.rand(s.shape, generator=source) if s.is_floating_point() else s + 7
        for name, s in many.stats.items()
    }
    return many.holding(many.params | stats)


MODELS = {
    "mlp": (lambda: MLP((8, 9, 4), norm="batch"), torch.randn(20, 8, generator=generator("x")).double()),
    "resnet8": (
        lambda: ResNet(8, 0.25, 4, "batch", in_channels=2),
        torch.randn(20, 2, 8, 8, generator=generator("x")).double(),
    ),
}


@pytest.mark.parametrize(("kind", "batched"), [("mlp", False), ("mlp", True), ("resnet8", False)])
def test_evaluation_uses_running_statistics_and_leaves_the_mode(kind, batched, monkeypatch):
    monkeypatch.setattr(symlib.population, "batched_pays", lambda *_: batched)
    build, x = MODELS[kind]
    many = with_batch_norm(build())
    many.model.train()
    frozen = next(m for m in many.model.modules() if isinstance(m, nn.modules.batchnorm._NormBase)).eval()
    before = {name: s.clone() for name, s in many.stats.items()}
    y = torch.zeros(20, dtype=torch.int64)
    found = evaluate(many, x, y)
    assert many.model.training and not frozen.training
    assert all(torch.equal(many.stats[name], s) for name, s in before.items())
    for i, member in enumerate(many.members()):
        model = build().double()
        model.load_state_dict(member)
        in_training = F.cross_entropy(model.train()(x), y)
        model.load_state_dict(member)
        torch.testing.assert_close(found.loss[i], F.cross_entropy(model.eval()(x), y).detach())
        assert (found.loss[i] - in_training).abs() > 1e-3


def test_mode_is_restored_after_an_error():
    model = MLP((8, 9, 4), norm="batch")
    model.norms.eval()
    with pytest.raises(ValueError, match="features"), mode(model, training=False):
        model(torch.zeros(2, 3))
    assert model.training and not model.norms[0].training


@pytest.mark.parametrize("kind", MODELS)
def test_lines_mix_statistics_and_keep_counters_whole(kind):
    build, x = MODELS[kind]
    many = with_batch_norm(build(), [0, 1])
    halfway = line(many[:1], many[1:], mixing_weights(3))[1:2]
    for name, (one, other) in many.tensors.items():
        if name.endswith("num_batches_tracked"):
            assert halfway.tensors[name].dtype == torch.int64 and halfway.tensors[name].tolist() == [7]
        else:
            torch.testing.assert_close(halfway.tensors[name][0], (one + other) / 2)
    by_hand = build().double()
    by_hand.load_state_dict(next(halfway.members()))
    torch.testing.assert_close(logits(halfway, x)[0], by_hand.eval()(x))


def test_members_keep_their_statistics_when_selected_and_stacked():
    many = with_batch_norm(MODELS["mlp"][0](), [0, 1, 2])
    assert torch.equal(many[1:].stats["norms.0.running_var"], many.stats["norms.0.running_var"][1:])
    models = []
    for member in many.members():
        models.append(MODELS["mlp"][0]().double())
        models[-1].load_state_dict(member)
    found = from_models(models, many.constraint)
    assert all(torch.equal(found.tensors[name], w) for name, w in many.tensors.items())


def test_graph_is_passed_once_however_many_nodes(monkeypatch):
    edges = torch.tensor([[0, 1], [1, 0]])
    model = GNN(torch.randn(3000, 4, generator=generator("f")), edges, (5,), 4)
    many = initialise(model, constraint(model, Standard(), 0), [0])
    seen = []
    hook = model.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    evaluate(many, torch.arange(3000), torch.zeros(3000, dtype=torch.int64))
    hook.remove()
    assert seen == [3000]
    assert [len(part) for part in passes(nn.Linear(1, 1), torch.zeros(2500, 1))] == [1000, 1000, 500]
    assert [len(part) for part in passes(nn.Conv2d(1, 1, 1), torch.zeros(250, 1, 2, 2))] == [100, 100, 50]
    assert [len(part) for part in passes(nn.Linear(1, 1), torch.zeros(25, 1), at_most=20)] == [20, 5]


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(8))

    def forward(self, x):
        return self.scale * x


def test_module_that_cannot_be_drawn_anew_is_named():
    model = nn.Sequential(nn.Linear(8, 8), nn.Sequential(Own()), nn.Linear(8, 4))
    with pytest.raises(ValueError, match=r"1\.0 \(Own\) cannot be drawn anew: give it a method reset_parameters"):
        initialise(model, constraint(model, Standard(), 0), [0])
    with pytest.raises(ValueError, match=r"the model \(Own\) cannot be drawn anew"):
        initialise(Own(), constraint(Own(), Standard(), 0), [0])


@pytest.mark.parametrize("init", symlib.population.INITIALISERS)
def test_every_weight_of_any_module_is_drawn_from_its_seed(init):
    model = nn.Sequential(
        nn.TransformerEncoderLayer(8, 2, 12, 0.0), nn.Flatten(0), nn.Unflatten(0, (1, 3, -1)), nn.Conv1d(3, 5, 1)
    )
    fixed = constraint(model, Standard(), 0)
    first = initialise(model, fixed, [0])
    torch.nn.init.constant_(model[0].self_attn.in_proj_weight, 5.0)  # what the model holds does not matter
    one, again = (initialise(model, fixed, [0, 1], init) for _ in range(2))
    for name, drawn in one.params.items():
        assert torch.equal(drawn, again.params[name])
        if "weight" in name and "norm" not in name:
            assert not torch.equal(drawn[0], drawn[1]) and drawn.abs().max() < 4, name
    kept = torch.equal(one.params["3.weight"][0], first.params["3.weight"][0])
    assert kept is (init != "kaiming")  # N(0, 1/fan_in) is for linear layers only


def test_kaiming_draws_all_linear_maps_with_variance_two_over_fan_in():
    model = nn.Sequential(nn.Conv2d(16, 64, 3), nn.Flatten(), nn.Linear(256, 300))
    drawn = initialise(model, constraint(model, Standard(), 0), [0], "kaiming").params
    for name, fan_in in (("0.weight", 144), ("2.weight", 256)):
        assert drawn[name].std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.03)


def test_drawing_anew_resets_statistics():
    model = MLP((8, 9, 4), norm="batch")
    model(torch.randn(5, 8, generator=generator("x")))
    fresh = initialise(model, constraint(model, Standard(), 0), [0])
    assert fresh.stats["norms.0.num_batches_tracked"].tolist() == [0]
    assert (fresh.stats["norms.0.running_mean"] == 0).all()


def test_shared_weights_make_no_population():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    fixed = constraint(model, Standard(), 0)
    model[1].weight = model[0].weight
    with pytest.raises(ValueError, match="0.weight and 1.weight are one shared parameter"):
        initialise(model, fixed, [0])
    with pytest.raises(ValueError, match="0.weight and 1.weight are one shared parameter"):
        from_models([model], fixed)
