import pytest
import torch
from scipy.optimize import minimize
from torch.nn.functional import gelu

from symlib.effective.hausdorff import class_distances, distances_by_adam, distances_through
from symlib.effective.ridge import ridge_costs
from symlib.effective.subspace import Moments
from symlib.seeds import generator

M, T, WIDTH, N = 4, 3, 7, 60


def layer(kind, sigma_F=1.0):
    """Return inputs with a mean and correlations, D, F, and draws from every neuron's class with their biases."""
    source = generator("layer", kind)

    def normal(*shape):
        return torch.randn(*shape, generator=source, dtype=torch.float64)

    inputs = normal(N, WIDTH) @ normal(WIDTH, WIDTH) / WIDTH**0.5 + 0.5
    D = torch.ones(M, WIDTH, dtype=torch.bool)
    if kind == "w-asym":
        for i in range(M):
            D[i, torch.randperm(WIDTH, generator=source)[: i + 1]] = False  # more in some neurons than in others
    F = torch.zeros(M, WIDTH).double() if kind == "standard" else sigma_F * normal(M, WIDTH)
    F = F * ~D if kind == "w-asym" else F
    return inputs, D, F, F[:, None] + D[:, None] * normal(M, T, WIDTH) / 2, 0.3 * normal(M, T)


def moments(inputs):
    found = Moments()
    found.add(inputs)
    return found


KINDS = ["standard", "w-asym", "syre"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("penalty", [1e-3, 0.3])
def test_distances_equal_penalised_least_squares_one_by_one(kind, penalty):
    inputs, D, F, draws, _ = layer(kind)
    found = class_distances(draws, D, F, moments(inputs), penalty)
    for i in range(M):
        columns = torch.cat([inputs[:, D[i]], torch.ones(N, 1).double()], dim=1)
        ridge = torch.zeros(int(D[i].sum()), columns.shape[1]).double()
        ridge[:, :-1] = torch.eye(len(ridge)) * (penalty * N) ** 0.5
        for j in range(M):
            distances = []
            for draw in draws[j]:
                goal = inputs @ (draw - F[i])
                system = torch.cat([columns, ridge]), torch.cat([goal, torch.zeros(len(ridge)).double()])
                best = torch.linalg.lstsq(*system).solution
                distances.append((columns @ best - goal).square().mean())
            assert found[i, j].item() == pytest.approx(max(distances).item(), rel=1e-6)


def test_distances_are_what_ridge_regression_leaves_over():
    inputs, D, F, draws, _ = layer("w-asym")
    beta = 0.05
    costs = ridge_costs(draws[:, 0], D, F, moments(inputs).covariance, [beta])
    left = beta * (costs.objective - costs.cost)[0]
    torch.testing.assert_close(class_distances(draws[:, :1], D, F, moments(inputs), beta), left)


def test_only_pinned_entries_keep_classes_apart_as_the_penalty_vanishes():
    for kind in KINDS:
        inputs, D, F, draws, _ = layer(kind)
        apart = class_distances(draws, D, F, moments(inputs), 1e-9)[~torch.eye(M, dtype=torch.bool)]
        assert (apart.min() > 1e-3) == (kind == "w-asym"), kind
        assert kind == "w-asym" or apart.max() < 1e-9


def test_a_rigid_neuron_is_as_far_as_its_fixed_function():
    inputs, D, F, draws, _ = layer("syre")
    found = class_distances(draws, D, F, moments(inputs), 1e9)
    functions, fixed = ((w @ (inputs - inputs.mean(0)).T) for w in (draws, F))
    expected = (functions[None] - fixed[:, None, None]).square().mean(-1).amax(-1)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def through(kind, penalty):
    inputs, D, F, draws, shifts = layer(kind)
    partner = torch.tensor([1, 0, 3, 2])
    return inputs, D, F, draws[partner], shifts[partner], penalty


@pytest.mark.parametrize("kind", KINDS)
def test_distances_through_the_activation_equal_those_of_another_solver(kind):
    inputs, D, F, draws, shifts, penalty = through(kind, 0.02)
    found = distances_through(draws, shifts, D, F, inputs, penalty)
    for i in range(M):
        distances = []
        for draw, shift in zip(draws[i], shifts[i], strict=True):
            goal, mask = gelu(inputs @ draw + shift), D[i]

            def difference(point, goal=goal, mask=mask, i=i):
                z = inputs @ F[i] + inputs[:, mask] @ point[:-1] + point[-1]
                return (gelu(z) - goal).square().mean()

            def objective(point):
                point = torch.tensor(point, requires_grad=True)
                value = difference(point) + penalty * point[:-1].square().sum()
                value.backward()
                return value.item(), point.grad.numpy()

            start = torch.cat([(draw - F[i])[mask], shift[None]]).numpy()
            best = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 2000, "ftol": 1e-15})
            distances.append(difference(torch.tensor(best.x)).item())
        assert found[i].item() == pytest.approx(max(distances), rel=2e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_all_three_agree_on_neurons_that_are_always_active(kind):
    inputs, D, F, draws, shifts, penalty = through(kind, 0.02)
    partner = torch.tensor([1, 0, 3, 2])
    exact = class_distances(draws[partner], D, F, moments(inputs), penalty)[torch.arange(M), partner]
    torch.testing.assert_close(
        distances_through(draws, shifts + 30, D, F, inputs, penalty), exact, rtol=1e-3, atol=1e-6
    )
    start = F + D * 0.1, torch.full((M,), 30.0).double()
    early, late = distances_by_adam(draws, shifts + 30, start, D, F, inputs, penalty, 3e-2, [10, 2000])
    torch.testing.assert_close(late, exact, rtol=0.02, atol=1e-6)
    assert (early > 1.2 * exact).all()


def test_adam_starts_where_it_is_told():
    inputs, D, F, draws, shifts, penalty = through("w-asym", 0.02)
    start = draws.flip(1)[:, 0], shifts.flip(1)[:, 0]
    (first,) = distances_by_adam(draws, shifts, start, D, F, inputs, penalty, 1e-2, [1])
    goals = gelu(draws @ inputs.T + shifts[..., None])
    starts = gelu((F + D * (start[0] - F)) @ inputs.T + start[1][:, None])
    torch.testing.assert_close(first, (starts[:, None] - goals).square().mean(-1).amax(1))


def test_neurons_that_are_never_active_come_to_one_another():
    inputs, D, F, draws, shifts, penalty = through("syre", 1e-3)
    assert distances_through(draws, shifts - 100, D, F, inputs, penalty).max() < 1e-3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"penalty": 0.0}, "penalty must be positive"),
        ({"penalty": float("nan")}, "penalty must be positive"),
        ({"F": torch.full((M, WIDTH), torch.nan)}, "must be finite"),
        ({"D": torch.ones(M, WIDTH)}, "boolean D and F of shape"),
        ({"F": torch.zeros(M, WIDTH + 1)}, r"and \(4, 8\)"),
        ({"inputs": torch.zeros(N, WIDTH - 1)}, "the weights read 7 inputs, but 6 were measured"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    inputs, D, F, draws, shifts = layer("w-asym")
    given = {"inputs": inputs, "D": D, "F": F, "penalty": 0.1} | change
    D, F, inputs, penalty = given["D"], given["F"], given["inputs"], given["penalty"]
    with pytest.raises(ValueError, match=message):
        class_distances(draws, D, F, moments(inputs), penalty)
    with pytest.raises(ValueError, match=message):
        distances_through(draws, shifts, D, F, inputs, penalty)
    with pytest.raises(ValueError, match=message):
        distances_by_adam(draws, shifts, (F, shifts[:, 0]), D, F, inputs, penalty, 1e-2, [1])
