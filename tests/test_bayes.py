import os
import signal
import time
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.distributions import MultivariateNormal, kl_divergence
from torch.func import functional_call

from symlib.asymmetry import Standard, Syre, WAsymmetry, constraint, n_trainable
from symlib.bayes.calibration import negative_log_likelihood, reliability
from symlib.bayes.evidence import Evidence, divergence, prior_variance
from symlib.bayes.layers import Posterior, gaussian, layers_of, noise_size, noisy
from symlib.bayes.prediction import draw, ensemble, predict
from symlib.data.images import load
from symlib.networks.mlp import MLP, relu
from symlib.networks.resnet import ResNet
from symlib.population import evaluate, initialise, passes
from symlib.presets import LIM_BAYES_MLP, lim_resnet
from symlib.seeds import generator
from symlib.training import Recipe, train

ASYMMETRIES = {"standard": Standard(), "w-asym": WAsymmetry(1, 0.5), "syre": Syre(0.5)}
POSTERIORS = {
    "paper": Posterior(4, -3.0),
    "learned": Posterior(2, -3.0, learned=True),
    "mean-field": Posterior(0, -3.0, True),
}


def drawn(asymmetry, posterior, model=None, n=1):
    """Return Gaussian networks, small ones unless told otherwise, with factors and diagonals that differ everywhere."""
    model = model or nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2), nn.ReLU(), nn.Linear(2, 2, bias=False))
    population = gaussian(initialise(model, constraint(model, asymmetry, 0), range(n)), posterior, range(n))
    fixed, source = population.constraint, generator("covariance")
    covariances = {
        name: w + 0.3 * torch.randn(w.shape, generator=source)
        for name, w in population.params.items()
        if name.endswith(("factors", "variance"))
    }
    varied = population.params | fixed.impose(covariances)
    population = population.holding({name: w.double() for name, w in varied.items()})
    population.model.double()
    return population


def moments(population, at, layer):
    """Return mean, dense covariance, centre of the prior and which entries are trainable of one layer's weights."""
    member, fixed = next(population.members()), population.constraint
    mean, diagonal, factors, centre, free = [], [], [], [], []
    for part in layer.parts:
        name = f"{at}.{part}"
        mean.append(member[name].flatten())
        log_variance = member.get(f"{name}_log_variance", layer.log_variance(part).double())
        diagonal.append(log_variance.exp().expand_as(member[name]).flatten())
        if layer.posterior.rank:
            factors.append(member[f"{name}_factors"].flatten(1))
        mask = fixed.D.get(name, torch.ones_like(member[name], dtype=torch.bool)).flatten()
        shift = fixed.F[name].double().flatten() if name in fixed.F else torch.zeros_like(mean[-1])
        centre.append(shift * mask)
        free.append(mask)
    covariance = torch.diag(torch.cat(diagonal))
    if factors:
        v = torch.cat(factors, dim=1)
        covariance = covariance + v.T @ v / len(v)
    return torch.cat(mean), covariance, torch.cat(centre), torch.cat(free)


@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize("asymmetry", ASYMMETRIES)
def test_divergence_equals_that_of_dense_normals_over_trainable_entries(asymmetry, posterior):
    population = drawn(ASYMMETRIES[asymmetry], POSTERIORS[posterior])
    expected, tau = 0.0, 0.3
    for at, layer in layers_of(population.model):
        mean, covariance, centre, free = moments(population, at, layer)
        q = MultivariateNormal(mean[free], covariance[free][:, free])
        p = MultivariateNormal(centre[free], prior_variance(layer, tau) * torch.eye(int(free.sum())).double())
        expected = expected + kl_divergence(q, p)
    member = next(population.members())
    found = divergence(population.model, population.constraint.to(expected), member, tau)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_prior_variance_is_that_of_the_released_code():
    assert prior_variance(nn.Linear(5, 8), 0.01) == 1 / (0.01 * 8)
    assert prior_variance(nn.Conv2d(5, 8, 3), 2.0) == 1 / (2.0 * 5)


@pytest.mark.parametrize("asymmetry", ["standard", "w-asym"])
@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_outputs_under_noise_have_the_covariance_of_the_weights(kind, asymmetry):
    """Catches factors whose outputs are read in the wrong order, and noise on pinned entries."""
    if kind == "linear":
        layer, x = nn.Linear(4, 3), torch.randn(1, 4, generator=generator("x")).double()
    else:
        layer, x = nn.Conv2d(2, 3, 2), torch.randn(1, 2, 3, 3, generator=generator("x")).double()
    population = drawn(ASYMMETRIES[asymmetry], Posterior(3, -1.0), nn.Sequential(layer))
    model, (member, *_) = population.model, population.members()
    n = 200_000
    noise = torch.randn(n, noise_size(model, x), generator=generator("noise")).double()
    with torch.no_grad(), noisy(model, noise):
        y = functional_call(model, member, (x.expand(n, *x.shape[1:]),)).flatten(1)
    mean, covariance, _, free = moments(population, "0", model[0])
    covariance = covariance * free * free[:, None]
    weight_size = member["0.weight"].numel()

    def outputs(vector):
        weights = {"0.weight": vector[:weight_size].view_as(member["0.weight"]), "0.bias": vector[weight_size:]}
        return functional_call(model, member | weights, (x,)).flatten()

    jacobian = torch.func.jacrev(outputs)(mean)
    # The factors move all outputs together; the diagonal is drawn anew for every output, as if weights were not shared.
    rank_part = covariance - torch.diag(covariance.diagonal() * 0 + torch.tensor(-1.0).double().exp() * free)
    expected = jacobian @ rank_part @ jacobian.T
    expected += torch.diag((jacobian.square() * (torch.tensor(-1.0).double().exp() * free)).sum(1))
    torch.testing.assert_close(y.mean(0), outputs(mean), rtol=0.02, atol=0.03)
    torch.testing.assert_close(y.T.cov(), expected, rtol=0.03, atol=0.03 * float(expected.abs().max()))


@pytest.mark.parametrize("asymmetry", ASYMMETRIES)
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_drawn_weights_have_the_covariance_of_the_posterior(asymmetry, posterior):
    """Catches factors that move weight and bias of a layer on their own, and noise on pinned entries."""
    n = 20_000
    layer = nn.Sequential(nn.Linear(3, 2))
    population = drawn(ASYMMETRIES[asymmetry], POSTERIORS[posterior], layer)
    at, gaussian_layer = next(layers_of(population.model))
    mean, covariance, _, free = moments(population, at, gaussian_layer)
    many = population[[0] * n]
    source = generator("draws")
    found = draw(many, [source] * n).params
    weights = torch.cat([found["0.weight"].flatten(1), found["0.bias"]], dim=1)
    pinned = free == 0
    torch.testing.assert_close(weights[:, pinned], mean[pinned].expand(n, -1), rtol=0, atol=0)
    torch.testing.assert_close(weights.mean(0), mean, rtol=0, atol=0.05)
    expected = covariance * free * free[:, None]
    torch.testing.assert_close(weights.T.cov(), expected, rtol=0.05, atol=0.04 * float(expected.abs().max()))


@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_predictions_under_drawn_weights_are_those_under_noise(kind, monkeypatch):
    """One linear map: an input meets the same distribution of logits, with weights shared by inputs or not."""
    if kind == "linear":
        layers, x = [nn.Linear(6, 3)], torch.randn(5, 6, generator=generator("x"))
    else:
        layers, x = [nn.Conv2d(2, 3, 3), nn.Flatten()], torch.randn(5, 2, 3, 3, generator=generator("x"))
    model = nn.Sequential(*layers)
    population = drawn(WAsymmetry(2, 0.5), Posterior(2, -1.0), model)
    weights = predict(population, x.double(), 20_000, [0])
    monkeypatch.setattr("symlib.bayes.prediction._mixes_up_factors", lambda model: True)
    noise = predict(population, x.double(), 20_000, [1])
    torch.testing.assert_close(weights, noise, rtol=0, atol=0.01)
    at_mean = torch.softmax(functional_call(population.model, next(population.members()), (x.double(),)), -1)
    assert (weights[0] - at_mean).abs().max() > 0.05


def test_predictions_draw_weights_once_for_all_inputs_but_released_noise_for_each():
    """Equal inputs meet equal weights, in all passes, but noise of the released order, which is of no weights, anew."""
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten())
    start, same = initialise(model, constraint(model, Standard(), 0), [0]), torch.ones(3000, 1, 1, 1)
    assert len(passes(model, same)) > 1
    for released in (False, True):
        population = gaussian(start, Posterior(2, 0.0, released_order=released), [0])
        (found,) = predict(population, same, 1, [0])
        assert bool((found == found[0]).all()) != released


def test_released_order_of_convolutions_moves_pinned_outputs():
    """One output channel is pinned as a whole: no noise reaches it, unless factors and channels are mixed up."""
    plain = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False))
    fixed = constraint(plain, WAsymmetry(0, 1.0), 0)
    mask = torch.tensor([True, False]).view(2, 1, 1, 1)
    fixed = replace(fixed, D={"0.weight": mask}, F={"0.weight": 0.5 * (~mask).float()})
    x, spreads = torch.ones(1000, 1, 1, 1), {}
    for released in (False, True):
        population = gaussian(initialise(plain, fixed, [0]), Posterior(2, -20.0, released_order=released), [0])
        (member,) = population.members()
        member = member | {"0.weight_factors": torch.ones(2, 2, 1, 1, 1) * mask}
        noise = torch.randn(1000, noise_size(population.model, x), generator=generator("order"))
        with noisy(population.model, noise):
            spreads[released] = functional_call(population.model, member, (x,)).flatten(1).std(0)
    assert spreads[False][1] < 1e-7 and spreads[False][0] > 0.9
    assert spreads[True][1] > 0.5


def test_without_noise_a_gaussian_network_is_the_network_at_its_mean():
    model = MLP((5, 4, 3), relu)
    population = drawn(Standard(), Posterior(), model)
    means = {name: w for name, w in next(population.members()).items() if name in dict(model.named_parameters())}
    x = torch.randn(7, 5, generator=generator("x")).double()
    expected = functional_call(model.double(), means, (x,))
    torch.testing.assert_close(functional_call(population.model, next(population.members()), (x,)), expected)


@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize("asymmetry", ASYMMETRIES)
def test_gradient_of_the_evidence_is_that_of_finite_differences(asymmetry, posterior):
    population = drawn(ASYMMETRIES[asymmetry], POSTERIORS[posterior])
    model, objective, y = population.model, Evidence(0.1, 50), torch.tensor([0, 1, 1, 0])
    x = torch.randn(4, 3, generator=generator("x")).double()
    noise = torch.randn(4, noise_size(model, x), generator=generator("noise")).double()
    fixed = population.constraint.to(x)
    member = next(population.members())

    def minimised(*values):
        params = dict(zip(member, values, strict=True))
        return nn.functional.cross_entropy(objective.logits(model, params, x, noise), y) + objective.penalty(
            model, fixed, params
        )

    values = [w.clone().requires_grad_() for w in member.values()]
    assert torch.autograd.gradcheck(minimised, values, eps=1e-6, atol=1e-6)


def test_posterior_of_a_linear_gaussian_model_is_reached():
    """Regression with known noise, whose posterior is a dense normal: three weights, three factors, little diagonal."""
    source = generator("regression")
    x = torch.randn(40, 3, generator=source).double() * torch.tensor([1.0, 0.6, 0.3]).double()
    x[:, 1] += 0.8 * x[:, 0]  # correlated weights
    y = x @ torch.tensor([1.0, -2.0, 0.5]).double() + 0.5 * torch.randn(40, generator=source).double()
    tau, noise_variance = 1.0, 0.25
    precision = x.T @ x / noise_variance + tau * torch.eye(3).double()
    exact_covariance = precision.inverse()
    exact_mean = exact_covariance @ x.T @ y / noise_variance

    plain = nn.Sequential(nn.Linear(3, 1, bias=False))
    population = gaussian(initialise(plain, constraint(plain, Standard(), 0), [0]), Posterior(3, -12.0), [0])
    model, fixed = population.model.double(), population.constraint
    (params,) = population.members()
    params = {name: w.double().requires_grad_() for name, w in params.items()}
    optimiser = torch.optim.Adam(params.values(), lr=0.03)
    steps, draws = 2000, 30
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 0.03 * (1 - step / steps)
        noise = torch.randn(draws * len(x), noise_size(model, x), generator=source).double()
        with noisy(model, noise):
            residual = functional_call(model, params, (x.repeat(draws, 1),)).squeeze(1) - y.repeat(draws)
        loss = residual.square().mean() * len(x) / (2 * noise_variance) + divergence(model, fixed, params, tau)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    v = params["0.weight_factors"].detach().flatten(1)
    covariance = v.T @ v / 3 + torch.eye(3).double() * torch.tensor(-12.0).double().exp()
    torch.testing.assert_close(params["0.weight"].detach().flatten(), exact_mean, rtol=0, atol=0.02)
    torch.testing.assert_close(covariance, exact_covariance, rtol=0, atol=0.05 * float(exact_covariance.max()))


@pytest.mark.parametrize(
    ("model", "asymmetry", "n"),
    [
        (MLP((784, *[256] * 8, 10), relu), Standard(), 3_324_466),
        (MLP((784, *[256] * 8, 10), relu), LIM_BAYES_MLP, 3_242_146),
        (MLP((3072, *[256] * 16, 10), relu), LIM_BAYES_MLP, 8_724_642),
        (ResNet(20), Standard(), 1_356_098),
        (ResNet(20), lim_resnet(sigma_F=0.5), 1_143_858),
        (ResNet(20, 2, 100), lim_resnet(sigma_F=0.5, read_out=False), 5_044_756),
        (ResNet(110), lim_resnet(110, sigma_F=0.5), 7_371_378),
    ],
)
def test_parameters_are_those_of_table_5(model, asymmetry, n):
    found = gaussian(initialise(model, constraint(model, asymmetry, 0), [0]), Posterior(), [0])
    assert n_trainable(found.model, found.constraint) == n


def digits():
    data = load("digits")
    return data.train.x[:300], data.train.y[:300], data.test


def small(asymmetry=Standard(), posterior=Posterior(4, -10.0), n=2):  # noqa: B008 - frozen
    model = MLP((64, 16, 16, 10), relu)
    return gaussian(initialise(model, constraint(model, asymmetry, 0), range(n)), posterior, range(n))


RECIPE = Recipe(12, 25, 5e-3, 0.0)


def test_training_learns_and_leaves_pinned_entries_without_noise():
    x, y, test = digits()
    before = small(WAsymmetry(3, 0.5))
    after, losses = train(before, x, y, RECIPE, [0, 1], objective=Evidence(0.01, 300))
    assert (losses[-1] < 0.5 * losses[0]).all()
    for name, mask in after.constraint.D.items():
        pinned = after.params[name][:, ~mask]
        torch.testing.assert_close(pinned, before.params[name][:, ~mask], rtol=0, atol=0)
        assert "factors" not in name or not pinned.any()
    found = predict(after, test.x, 5, [0, 1])
    assert found.shape == (2, len(test.y), 10) and (found.argmax(-1) == test.y).double().mean() > 0.7
    assert evaluate(after, test.x, test.y).accuracy.min() > 0.7  # at the mean


@pytest.mark.parametrize("way", ["in turn", "batched"])
def test_network_is_the_same_alone_and_in_a_population(way, monkeypatch):
    monkeypatch.setattr("symlib.training.batched_pays", lambda *_: way == "batched")
    x, y, test = digits()
    together, losses = train(small(), x, y, RECIPE, [5, 6], objective=Evidence(0.01, 300))
    alone, loss = train(small()[1:], x, y, RECIPE, [6], objective=Evidence(0.01, 300))
    torch.testing.assert_close(losses[:, 1:], loss, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        predict(together, test.x, 2, [0, 1])[1:], predict(alone, test.x, 2, [1]), rtol=1e-3, atol=1e-3
    )


def test_killed_training_goes_on_to_the_same_weights(tmp_path):
    x, y, _ = digits()
    place = tmp_path / "training.safetensors"
    child = get_context("spawn").Process(target=slowly, args=(x, y, place))
    child.start()
    while not place.exists():
        assert child.is_alive()
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    resumed, losses = train(small(), x, y, RECIPE, [0, 1], place, objective=Evidence(0.01, 300))
    whole, expected = train(small(), x, y, RECIPE, [0, 1], objective=Evidence(0.01, 300))
    assert torch.equal(losses, expected)
    assert all(torch.equal(w, resumed.params[name]) for name, w in whole.params.items())
    with pytest.raises(ValueError, match="other settings"):
        train(small(), x, y, RECIPE, [0, 1], place, objective=Evidence(0.02, 300))


def slowly(x, y, place):
    torch.set_num_threads(1)  # as here
    train(small(), x, y, RECIPE, [0, 1], place, on_epoch=lambda: time.sleep(0.2), objective=Evidence(0.01, 300))


def slow_calibration_error(probabilities, y, bins):
    total = 0.0
    for b in range(bins):
        inside = [
            (max(p), int(np.argmax(p)) == label)
            for p, label in zip(probabilities, y, strict=True)
            if b / bins < max(p) <= (b + 1) / bins
        ]
        if inside:
            confidence, right = (float(np.mean([pair[i] for pair in inside])) for i in (0, 1))
            total += len(inside) / len(y) * abs(right - confidence)
    return total


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_calibration_error_equals_a_slow_reference(classes):
    source = generator("calibration", classes)
    probabilities = (3 * torch.randn(2, 500, classes, generator=source)).double().softmax(-1)
    y = torch.randint(classes, (500,), generator=source)
    found = reliability(probabilities, y).error
    expected = [slow_calibration_error(p.numpy(), y.numpy(), 15) for p in probabilities]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.double), rtol=1e-12, atol=1e-12)
    order = torch.randperm(classes, generator=source)
    torch.testing.assert_close(reliability(probabilities[..., order], order.argsort()[y]).error, found)


def test_calibration_of_a_case_by_hand():
    probabilities = torch.tensor([[[0.95, 0.05], [0.95, 0.05], [0.45, 0.55], [1.0, 0.0]]])
    found = reliability(probabilities, torch.tensor([0, 1, 1, 0]), bins=10)
    assert found.count[0].tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 0, 3]
    expected = (1 * abs(1 - 0.55) + 3 * abs(2 / 3 - 2.9 / 3)) / 4
    assert float(found.error) == pytest.approx(expected, abs=1e-6)
    logs = -(np.log(0.95) + np.log(0.05) + np.log(0.55)) / 4
    assert float(negative_log_likelihood(probabilities, torch.tensor([0, 1, 1, 0]))) == pytest.approx(logs, rel=1e-5)


def test_ensemble_averages_probabilities():
    population = small(n=3)
    x = digits()[2].x[:5]
    each = [functional_call(population.model, member, (x,)).softmax(-1) for member in population.members()]
    torch.testing.assert_close(ensemble(population, x), torch.stack(each).mean(0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Posterior(-1), "rank is a number of factors"),
        (lambda: Posterior(4, float("nan")), "log_variance"),
        (lambda: Evidence(0.0, 10), "tau must be positive"),
        (lambda: Evidence(0.1, 0), "n_inputs must be positive"),
        (lambda: predict(small(), torch.zeros(2, 64), 0, [0, 1]), "1 or more draws"),
        (lambda: reliability(torch.randn(1, 3, 2), torch.zeros(3).long()), "take the softmax"),
        (lambda: reliability(torch.ones(1, 3, 1), torch.zeros(2).long()), "n labels"),
    ],
)
def test_bad_numbers_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("layer", "asymmetry", "message"),
    [
        (nn.Linear(3, 2, bias=False), WAsymmetry(3, 1.0), "nothing to have a posterior of"),
        (nn.Conv1d(1, 2, 3), Standard(), "Conv1d: only Linear and Conv2d"),
        (nn.Conv2d(4, 8, 3, groups=2), Standard(), "2 groups of channels: only one"),
        (nn.Linear(2, 2, bias=False), Standard(), "5 factors are more than the 4 entries of 0: lower the rank"),
    ],
)
def test_networks_that_cannot_be_gaussian_are_refused(layer, asymmetry, message):
    model = nn.Sequential(layer)
    population = initialise(model, constraint(model, asymmetry, 0), [0])
    with pytest.raises(ValueError, match=message):
        gaussian(population, Posterior(5), [0])


def test_initial_factors_are_those_of_the_released_code():
    """Of linear layers half the spread of the trainable weights, whatever is pinned or shifted; of others none."""
    for asymmetry in (Standard(), WAsymmetry(100, 3.0), Syre(3.0)):
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(400, 300))
        counts = replace(asymmetry, n_fix=(2, 100)) if isinstance(asymmetry, WAsymmetry) else asymmetry
        plain = initialise(model, constraint(model, counts, 0), [0])
        params = gaussian(plain, Posterior(4), [0]).params
        assert all(torch.equal(params[name], w) for name, w in plain.params.items())  # the means
        factors = params["2.weight_factors"]
        assert float(factors[factors != 0].std()) == pytest.approx(0.25 / (3 * 400) ** 0.5, rel=0.01)
        assert float(params["2.bias_factors"].std()) == pytest.approx(0.01, rel=0.1)
        assert not params["0.weight_factors"].any()
        quiet = gaussian(plain, Posterior(4, spread=0.1), [0]).params
        torch.testing.assert_close(quiet["2.weight_factors"], 0.1 * factors)


def explodes(epochs):
    return 1.0 if epochs < 2 else float("inf")


def test_layer_without_trainable_weights_has_no_factors_there():
    model = nn.Sequential(nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 2))
    pinned = constraint(model, WAsymmetry([2, 3], 0.5), 0)
    params = gaussian(initialise(model, pinned, [0]), Posterior(2), [0]).params
    assert params["0.weight_factors"].any() and not params["2.weight_factors"].any()
    assert params["2.bias_factors"].any()


def test_a_diverged_network_stops_with_the_epoch_and_the_last_good_checkpoint(tmp_path):
    x, y, _ = digits()
    place, finished, objective = tmp_path / "training.safetensors", [], Evidence(0.01, 300)
    recipe = replace(RECIPE, schedule=explodes)
    for _ in range(2):  # the second time from the checkpoint
        finished.append(0)
        with pytest.raises(FloatingPointError, match="epoch 3"):
            train(small(), x, y, recipe, [0, 1], place, lambda: finished.append(1), objective=objective)
        assert len(load_file(place)["losses"]) == 2
    assert finished == [0, 1, 1, 0, 1, 1]
    kept, losses = train(small(), x, y, replace(recipe, epochs=2), [0, 1], place, objective=objective)
    assert losses.isfinite().all() and all(w.isfinite().all() for w in kept.params.values())
