import pytest
import torch
from torch import nn
from torch.func import functional_call

from symlib.alignment.repair import reestimate, repair
from symlib.asymmetry import Standard, constraint
from symlib.data.images import digits
from symlib.interpolation import curves, line, mixing_weights
from symlib.networks.mlp import MLP
from symlib.networks.resnet import ResNet
from symlib.population import initialise
from symlib.seeds import generator
from symlib.training import Recipe, train

X = torch.randn(300, 8, generator=generator("x"), dtype=torch.float64) + 1


def networks(n, norm="batch", widths=(8, 12, 12, 4)):
    model = MLP(widths, norm=norm).double()
    return initialise(model, constraint(model, Standard(), 0), range(n))


def outputs_of(model, kind, member, x):
    """Return what every module of a kind puts out, in order."""
    seen = []
    hooks = [
        m.register_forward_hook(lambda m, i, o: seen.append(o.detach())) for m in model.modules() if isinstance(m, kind)
    ]
    model.eval()
    functional_call(model, member, (x,))
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("batched", [True, False])
def test_reestimated_statistics_are_those_of_the_data(batched, monkeypatch):
    monkeypatch.setattr("symlib.population.batched_pays", lambda *_: batched)
    population = networks(2)
    before = {name: w.clone() for name, w in population.tensors.items()}
    found = reestimate(population, X)
    for i, member in enumerate(found.members()):
        first, second, _ = outputs_of(found.model, nn.Linear, member, X)
        torch.testing.assert_close(found.stats["norms.0.running_mean"][i], first.mean(0))
        torch.testing.assert_close(found.stats["norms.0.running_var"][i], first.var(0))
        # Behind the first norm, which divides by n here and by n - 1 when it estimates: 1 in 300 apart.
        torch.testing.assert_close(found.stats["norms.1.running_mean"][i], second.mean(0), rtol=0.01, atol=0.002)
        torch.testing.assert_close(found.stats["norms.1.running_var"][i], second.var(0), rtol=0.01, atol=0)
    assert all(torch.equal(w, before[name]) for name, w in population.tensors.items())


def test_statistics_of_several_passes_are_weighted_by_their_inputs(monkeypatch):
    monkeypatch.setattr("symlib.population.INPUTS_PER_PASS", 200)  # 200 and 100
    population = networks(1)
    found = reestimate(population, X).stats["norms.0.running_mean"][0]
    linear = functional_call(population.model.linears[0], _first_map(population), (X,))
    torch.testing.assert_close(found, linear.mean(0))


def _first_map(population):
    return {leaf: population.params[f"linears.0.{leaf}"][0] for leaf in ("weight", "bias")}


def test_estimating_leaves_momentum_and_mode_as_they_were():
    population = networks(1)
    population.model.train()
    reestimate(population, X)
    assert population.model.norms[0].momentum == 0.1 and population.model.norms[0].training


def test_networks_without_batchnorm_have_nothing_to_estimate():
    population = networks(1, norm="layer")
    assert reestimate(population, X) is population


@pytest.mark.parametrize(("norm", "kind"), [("batch", nn.BatchNorm1d), ("layer", nn.LayerNorm), ("none", nn.Linear)])
@pytest.mark.parametrize("batched", [True, False])
def test_repaired_units_have_interpolated_mean_and_deviation(norm, kind, batched, monkeypatch):
    monkeypatch.setattr("symlib.population.batched_pays", lambda *_: batched)
    both = networks(2, norm)
    a, b = both[:1], both[1:]
    lambdas = mixing_weights(5)
    found = repair(a, b, lambdas, X)
    ends = [outputs_of(a.model, kind, next(p.members()), X)[:2] for p in (a, b)]
    for weight, member in zip(lambdas, found.members(), strict=True):
        for mine, first, second in zip(outputs_of(a.model, kind, member, X)[:2], *ends, strict=True):
            torch.testing.assert_close(mine.mean(0), torch.lerp(first.mean(0), second.mean(0), weight))
            torch.testing.assert_close(mine.std(0), torch.lerp(first.std(0), second.std(0), weight))


def test_repaired_convolutions_have_interpolated_statistics_too():
    model = ResNet(8, 0.5, norm="layer", in_channels=1).double()
    both = initialise(model, constraint(model, Standard(), 0), range(2))
    a, b = both[:1], both[1:]
    x = torch.randn(40, 1, 8, 8, generator=generator("x"), dtype=torch.float64)
    found = repair(a, b, mixing_weights(3), x)[[1]]
    halves = [outputs_of(model, nn.GroupNorm, next(p.members()), x) for p in (found, a, b)]
    for mine, first, second in zip(*halves, strict=True):
        expected = (first.std((0, 2, 3)) + second.std((0, 2, 3))) / 2
        torch.testing.assert_close(mine.std((0, 2, 3)), expected, rtol=1e-6, atol=1e-8)
    plain = outputs_of(model, nn.GroupNorm, next(line(a, b, mixing_weights(3))[[1]].members()), x)
    assert not torch.allclose(plain[-1].std((0, 2, 3)), expected, rtol=0.01)


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
def test_repair_leaves_the_ends_as_they_are(norm):
    both = networks(2, norm)
    if norm == "batch":
        both = reestimate(both, X)
    found = repair(both[:1], both[1:], mixing_weights(3), X)
    for name, w in both.params.items():
        torch.testing.assert_close(found.params[name][[0, 2]], w, rtol=1e-9, atol=1e-9)


def test_constant_units_keep_their_scale():
    both = networks(2, "layer")
    both.params["norms.0.weight"][:, 3] = 0.0
    found = repair(both[:1], both[1:], mixing_weights(3), X)
    assert all(w.isfinite().all() for w in found.params.values())
    assert (found.params["norms.0.weight"][:, 3] == 0).all()


def test_repair_raises_the_accuracy_between_batchnorm_networks():
    data = digits()
    model = ResNet(8, 0.5, norm="batch", in_channels=1)
    start = initialise(model, constraint(model, Standard(), 0), [0, 1])
    nets, _ = train(start, data.train.x, data.train.y, Recipe(4, 64, 1e-2, 0.0), [0, 1])
    a, b, lambdas = nets[:1], nets[:1], mixing_weights(3)
    # The same network with its statistics spoiled on one side: only they are wrong.
    spoiled = b.holding(b.params | {n: s * 4 if n.endswith("running_var") else s for n, s in b.stats.items()})
    test = data.test.x, data.test.y
    wrong = curves(a, spoiled, lambdas, *test).accuracy[0, 1]
    right = curves(a, spoiled, lambdas, *test, lambda a, b, t: reestimate(line(a, b, t), data.train.x)).accuracy[0, 1]
    own = curves(a, a, lambdas, *test).accuracy[0, 1]
    assert wrong < own - 0.05 and right > own - 0.03
