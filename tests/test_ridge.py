from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import minimize

from symlib.asymmetry import WAsymmetry, constraint
from symlib.effective import ridge_pairs, ridge_through
from symlib.effective.costs import realization_costs, swap_costs
from symlib.effective.ridge import ridge_costs
from symlib.effective.ridge_through import Neurons, ridge_costs_through, trained_neurons
from symlib.effective.subspace import Moments, layer_inputs, representation_subspace
from symlib.networks.mlp import MLP, relu
from symlib.population import initialise
from symlib.seeds import generator
from symlib.training import Recipe, train

BETAS = [1.0, 0.001, 0.1]  # in no order


def layer(m, d, rank, n_fix, n=80, sigma_F=1.0):
    """Return weights, masks, fixed weights and inputs that fill a subspace and have a mean."""
    source = generator("ridge", m, d, rank, n_fix)
    draw = partial(torch.randn, generator=source, dtype=torch.float64)
    D = torch.rand(m, d, generator=source).argsort(dim=1) >= n_fix
    fixed = sigma_F * draw(m, d) * ~D
    return fixed + D * draw(m, d) / d**0.5, D, fixed, draw(n, rank) @ draw(rank, d) / rank**0.5 + draw(d)


def covariance(x):
    return torch.cov(x.T, correction=0)


def by_least_squares(x, target, own, beta):
    """Return weights and objective of one pair: the samples and the penalty as one overdetermined system."""
    n, d = x.shape
    samples = torch.cat([x, torch.ones(n, 1, dtype=x.dtype)], dim=1) / (n * beta) ** 0.5
    penalty = torch.eye(d + 1, dtype=x.dtype)[:d]
    system = torch.cat([samples, penalty])[:, torch.cat([own, torch.tensor([True])])]
    wanted = torch.cat([target / (n * beta) ** 0.5, torch.zeros(d, dtype=x.dtype)])
    found = torch.linalg.lstsq(system, wanted, driver="gelsd").solution
    return found[:-1], (system @ found - wanted).square().sum()


@pytest.mark.parametrize(("d", "rank", "n_fix"), [(12, 12, 3), (12, 5, 3), (12, 12, 9), (12, 5, 9), (12, 12, 0)])
def test_closed_form_equals_least_squares_pair_by_pair(d, rank, n_fix):
    W, D, fixed, x = layer(4, d, rank, n_fix)
    found = ridge_costs(W, D, fixed, covariance(x), BETAS)
    for b, beta in enumerate(BETAS):
        for i in range(4):
            for j in range(4):
                w, objective = by_least_squares(x, x @ (W[j] - fixed[i]), D[i], beta)
                torch.testing.assert_close(found.cost[b, i, j], w.square().sum(), rtol=1e-8, atol=1e-12)
                torch.testing.assert_close(found.objective[b, i, j], objective, rtol=1e-8, atol=1e-12)


def test_rows_with_different_numbers_of_fixed_entries():
    W, D, fixed, x = layer(3, 10, 10, 2)
    D[1, :6], D[2] = False, True
    fixed[2] = 1.0  # as in syre: a shift of what is trainable
    found = ridge_costs(W, D, fixed, covariance(x), [0.1])
    for i in range(3):
        w, _ = by_least_squares(x, x @ (W[0] - fixed[i]), D[i], 0.1)
        torch.testing.assert_close(found.cost[0, i, 0], w.square().sum())


def test_small_ridges_lead_to_the_realization_cost():
    W, D, fixed, x = layer(5, 30, 6, 8)
    moments = Moments()
    moments.add(x)
    limit = realization_costs(W, D, fixed, representation_subspace(moments, explained=1.0)).cost
    subspace = torch.linalg.eigh(covariance(x)).eigenvectors[:, -6:]
    for i in range(5):
        stretch = subspace.T @ (D[i][:, None] * subspace)
        target = (W - fixed[i]) @ subspace
        torch.testing.assert_close(limit[i], (target @ torch.linalg.pinv(stretch) * target).sum(1))
    errors = [
        (ridge_costs(W, D, fixed, covariance(x), [b]).cost[0] / limit - 1).abs().max() for b in (1e-3, 1e-5, 1e-7)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-5


def test_row_realises_and_column_is_realised():
    # Inputs have covariance 1. Neuron 0 may use both of them, neuron 1 only the second.
    W = torch.tensor([[3.0, 0.0], [0.0, 2.0]])
    D = torch.tensor([[True, True], [False, True]])
    found = ridge_costs(W, D, torch.zeros(2, 2), torch.eye(2), [0.5])
    torch.testing.assert_close(found.cost[0], torch.tensor([[9.0, 4.0], [0.0, 4.0]]).double() / 1.5**2)
    torch.testing.assert_close(found.objective[0, 1, 0], torch.tensor(9 / 0.5).double())


def test_neurons_without_fixed_side_swap_for_nothing():
    W, D, fixed, x = layer(6, 10, 10, 0, sigma_F=0.0)
    assert (swap_costs(ridge_costs(W, D, fixed, covariance(x), [0.01]).cost[0]) == 0).all()


@pytest.mark.parametrize("beta", [1e-4, 1e-2, 1.0])
def test_no_neuron_pays_more_for_its_own_function_than_it_does(beta):
    W, D, fixed, x = layer(6, 15, 15, 4)
    own = (D * W).square().sum(1)
    before = ridge_costs(W, D, fixed, covariance(x), [beta])
    through = ridge_costs_through(Neurons(W, torch.ones(6), torch.zeros(6)), D, fixed, x, [beta])
    for found in (before, through):
        assert (found.cost[0].diagonal() <= own * (1 + 1e-9)).all()
        assert (found.objective[0].diagonal() <= own * (1 + 1e-9)).all()


def test_far_above_zero_the_activation_changes_nothing():
    W, D, fixed, x = layer(4, 12, 12, 3)
    levels = torch.full((4,), 60.0)
    through = ridge_costs_through(Neurons(W, torch.ones(4), levels), D, fixed, x, BETAS)
    before = ridge_costs(W, D, fixed, covariance(x), BETAS)
    torch.testing.assert_close(through.objective, before.objective, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(through.cost, before.cost, rtol=1e-4, atol=1e-6)


def literal(neurons, D, fixed, x, beta, i, j):
    """Return the objective of one pair as a function of weights on the support of D_i and a bias."""
    target = F.gelu(neurons.scale[j] * (x @ neurons.W[j]) + neurons.shift[j])

    def objective(parameters):
        values = torch.as_tensor(parameters)
        full = fixed[i].masked_scatter(D[i], values[:-1])
        error = F.gelu(neurons.scale[i] * (x @ full) + values[-1]) - target
        return error.square().mean() / beta + values[:-1].square().sum()

    return objective


def by_scipy(objective, start):
    def both(parameters):
        leaf = torch.tensor(parameters, requires_grad=True)
        value = objective(leaf)
        value.backward()
        return value.item(), leaf.grad.numpy()

    found = minimize(both, start, jac=True, method="L-BFGS-B", options={"maxiter": 5000, "ftol": 0, "gtol": 1e-10})
    return found.fun, float(np.square(found.x[:-1]).sum())


@pytest.fixture(scope="module")
def uneven():
    """Return neurons of different scales and levels, whose pairs have several minima."""
    W, D, fixed, x = layer(5, 10, 10, 3, n=150, sigma_F=0.5)
    source = generator("uneven")
    scale = 0.5 + torch.rand(5, generator=source, dtype=torch.float64)
    return Neurons(W, scale, torch.randn(5, generator=source, dtype=torch.float64)), D, fixed, x


def test_descent_ends_no_higher_than_scipy_from_the_trained_weights(uneven):
    neurons, D, fixed, x = uneven
    found = ridge_costs_through(neurons, D, fixed, x, BETAS)
    for b, beta in enumerate(BETAS):
        for i in range(5):
            own = torch.cat([neurons.W[i][D[i]], neurons.shift[[i]]])
            for j in range(5):
                pair = literal(neurons, D, fixed, x, beta, i, j)
                objective, cost = by_scipy(pair, own.numpy())
                assert found.objective[b, i, j] <= objective * (1 + 1e-6), (beta, i, j)
                if found.objective[b, i, j] > objective * (1 - 1e-6):
                    assert found.cost[b, i, j] == pytest.approx(cost, rel=0, abs=1e-4 * objective)


def test_descent_ends_no_higher_than_adamw(uneven):
    neurons, D, fixed, x = uneven
    i, j, beta = 1, 3, 0.1
    objective = literal(neurons, D, fixed, x, beta, i, j)
    parameters = torch.nn.Parameter(torch.cat([neurons.W[i][D[i]], neurons.shift[[i]]]))
    optimiser = torch.optim.AdamW([parameters], lr=5e-3, weight_decay=0)
    for _ in range(3000):
        optimiser.zero_grad()
        objective(parameters).backward()
        optimiser.step()
    found = ridge_costs_through(neurons, D, fixed, x, [beta]).objective[0, i, j]
    assert found <= objective(parameters).item() * (1 + 1e-6)


def test_second_start_finds_what_the_first_misses(uneven, monkeypatch):
    neurons, D, fixed, x = uneven
    whole = ridge_costs_through(neurons, D, fixed, x, BETAS).objective
    monkeypatch.setattr(ridge_pairs.Pairs, "linear", lambda pairs, *_: torch.zeros(8, len(pairs)).double() - 9)
    poor = ridge_costs_through(neurons, D, fixed, x, BETAS).objective
    assert (poor.diagonal(dim1=1, dim2=2) <= whole.diagonal(dim1=1, dim2=2) * (1 + 1e-6)).all()


def test_portions_do_not_show(uneven, monkeypatch):
    whole = ridge_costs_through(*uneven, BETAS)
    monkeypatch.setattr(ridge_through, "CHUNK", 1)
    parts = ridge_costs_through(*uneven, BETAS)
    torch.testing.assert_close(parts.objective, whole.objective, rtol=1e-7, atol=0)
    assert ((parts.cost - whole.cost).abs() <= 1e-4 * whole.objective).all()


def test_neurons_that_never_fire_and_neurons_without_scale(uneven):
    neurons, D, fixed, x = uneven
    shift, scale = neurons.shift.clone(), neurons.scale.clone()
    shift[0], scale[1] = -1000.0, 0.0
    found = ridge_costs_through(Neurons(neurons.W, scale, shift), D, fixed, x, [0.01])
    assert (found.objective[0, :, 0] < 1e-3).all()  # a low bias realises silence
    assert (found.cost[0, 1] == 0).all()  # weights that nothing depends on


def test_a_descent_that_stops_early_is_an_error(uneven, monkeypatch):
    monkeypatch.setattr(ridge_pairs, "minimise", partial(ridge_pairs.minimise, max_evaluations=2))
    with pytest.raises(ArithmeticError, match="descents stopped where another step would still lower the objective"):
        ridge_costs_through(*uneven, [0.01])


@pytest.fixture(scope="module")
def trained(blobs_of_classes=4):
    source = generator("trained")
    y = torch.randint(blobs_of_classes, (240,), generator=source)
    x = torch.randn(blobs_of_classes, 8, generator=source)[y] + 0.3 * torch.randn(240, 8, generator=source)
    found = {}
    for norm in ("batch", "none"):
        model = MLP((8, 12, 12, 4), norm=norm)
        start = initialise(model, constraint(model, WAsymmetry(2, 1.0), 0), [0])
        population, _ = train(start, x, y, Recipe(3, 32, 1e-2, 0.01), [0])
        found[norm] = population, x
    return found


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("at", [0, 1])
def test_trained_neurons_compute_what_the_next_layer_reads(trained, norm, at):
    population, x = trained[norm]
    member = next(population.members())
    population.model.train()  # recorded in evaluation mode all the same
    seen = layer_inputs(population.model, member, x)
    neurons = trained_neurons(population.model, member, at)
    activations = F.gelu(neurons.scale * (seen[f"linears.{at}.weight"] @ neurons.W.T) + neurons.shift)
    torch.testing.assert_close(activations, seen[f"linears.{at + 1}.weight"], rtol=1e-5, atol=1e-5)


def test_trained_neurons_realise_themselves_exactly_as_the_ridge_falls(trained):
    population, x = trained["batch"]
    member, name = next(population.members()), "linears.1.weight"
    seen = layer_inputs(population.model, member, x)[name]
    neurons = trained_neurons(population.model, member, 1)
    D, fixed = population.constraint.D[name], population.constraint.F[name]
    found = ridge_costs_through(neurons, D, fixed, seen, [1e-4, 1e-2])
    own = (D * neurons.W).square().sum(1).double()
    assert (found.objective.diagonal(dim1=1, dim2=2) <= own * (1 + 1e-6)).all()
    misfit = found.objective - found.cost
    assert (1e-4 * misfit[0].diagonal()).max() < 1e-3 < (1e-2 * misfit[1]).max()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"betas": [0.1, 0.0]}, r"ridges must be positive and finite, got \[0.1, 0.0\]"),
        ({"betas": []}, "ridges must be positive"),
        ({"betas": [float("nan")]}, "ridges must be positive"),
        ({"W": torch.full((3, 6), float("nan"))}, "weights must be finite"),
        ({"F": torch.zeros(3, 5)}, "must share one shape"),
        ({"D": torch.ones(3, 6)}, "D must be boolean"),
    ],
)
def test_bad_input_is_refused(change, message):
    good = {"W": torch.ones(3, 6), "D": torch.ones(3, 6, dtype=torch.bool), "F": torch.zeros(3, 6), "betas": [0.1]}
    given = good | change
    with pytest.raises(ValueError, match=message):
        ridge_costs(given["W"], given["D"], given["F"], torch.eye(6), given["betas"])
    neurons = Neurons(given["W"], torch.ones(3), torch.zeros(3))
    with pytest.raises(ValueError, match=message):
        ridge_costs_through(neurons, given["D"], given["F"], torch.randn(9, 6), given["betas"])


def test_covariances_that_do_not_fit_are_refused():
    W, D, fixed, _ = layer(3, 6, 6, 2)
    with pytest.raises(ValueError, match="the weights read 6 inputs, but 5 were measured"):
        ridge_costs(W, D, fixed, torch.eye(5), [0.1])
    with pytest.raises(ValueError, match="covariance must be square and finite"):
        ridge_costs(W, D, fixed, torch.full((6, 6), torch.inf), [0.1])
    with pytest.raises(ValueError, match="ridge 1e-12 is lost beside a variance of 1.0e"):
        ridge_costs(W, D, fixed, 100 * torch.eye(6), [1e-12])


@pytest.mark.parametrize(
    ("n", "spread", "message"),
    [(7, 1.0, "7 inputs span 6 directions"), (9, 0.0, "span 0 directions"), (9, torch.inf, "must be finite")],
)
def test_inputs_that_show_nothing_are_refused(n, spread, message):
    W, D, fixed, x = layer(3, 6, 6, 2)
    with pytest.raises(ValueError, match=message):
        ridge_costs_through(Neurons(W, torch.ones(3), torch.zeros(3)), D, fixed, 1 + spread * (x[:n] - 1), [0.1])


@pytest.mark.parametrize(
    ("model", "at", "message"),
    [
        (MLP((4, 5, 3)), 0, "normalised by LayerNorm"),
        (MLP((4, 5, 3), norm="batch"), 1, "the read-out has no activation"),
        (MLP((4, 5, 3), relu, "batch"), 0, "must be the exact GELU, got ReLU"),
    ],
)
def test_layers_without_an_estimate_are_refused(model, at, message):
    with pytest.raises(ValueError, match=message):
        trained_neurons(model, dict(model.named_parameters()), at)
