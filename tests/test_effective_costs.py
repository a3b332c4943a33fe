import pytest
import torch

from symlib.effective.costs import realization_costs, signed_root, swap_costs
from symlib.effective.subspace import Subspace
from symlib.seeds import generator

KINDS = ["standard", "few frozen", "many frozen", "bernoulli", "syre"]


def subspace(d=60, k=5, *key):
    return Subspace(torch.linalg.qr(torch.randn(d, k, generator=generator("basis", *key), dtype=torch.float64)).Q, 0.9)


def layer(kind, m=8, d=60):
    """Return effective weights, mask and shift of a layer."""
    g = generator("layer", kind)
    free, noise, order = (torch.randn(m, d, generator=g) for _ in range(3))
    n_fix = {"few frozen": 4, "many frozen": 40}.get(kind, 0)
    D = order.argsort(1).argsort(1) >= n_fix
    if kind == "bernoulli":
        D = torch.rand(m, d, generator=g) < 0.5
    F = {"standard": torch.zeros(m, d), "syre": noise}.get(kind, torch.where(D, 0.0, noise))
    return F + D * free, D, F


def literal(W, D, F, U):
    """The definition, pair by pair: smallest weights that reach the target, by a pseudo-inverse of M_i."""
    W, F = W.double(), F.double()
    cost = torch.empty(len(W), len(W), dtype=torch.float64)
    for i, (mask, f) in enumerate(zip(D, F, strict=True)):
        M = U.T @ torch.diag(mask.double())
        for j, w in enumerate(W):
            cost[i, j] = (torch.linalg.pinv(M) @ (U.T @ (w - f))).square().sum()
    return cost


@pytest.mark.parametrize("kind", KINDS)
def test_costs_are_smallest_squared_norms(kind):
    W, D, F = layer(kind)
    found = realization_costs(W, D, F, subspace())
    torch.testing.assert_close(found.cost, literal(W, D, F, subspace().basis), rtol=1e-12, atol=0)
    assert not found.residual.any()


def test_gram_matrices_follow_from_frozen_rows_alone():
    _, D, _ = layer("bernoulli")
    U = subspace().basis
    for mask in D:
        torch.testing.assert_close(
            torch.eye(5, dtype=torch.float64) - U[~mask].T @ U[~mask],
            U.T @ torch.diag(mask.double()) @ U,
            rtol=0,
            atol=1e-14,
        )


@pytest.mark.parametrize("kind", ["few frozen", "bernoulli"])
def test_factorised_costs_agree_with_pseudo_inverses_of_the_gram_matrices(kind):
    W, D, F = layer(kind)
    U = subspace().basis
    A, V = W.double() @ U, F.double() @ U
    S = torch.stack([U[mask].T @ U[mask] for mask in D])
    B = A - V[:, None]
    expected = torch.einsum("ijk,ikl,ijl->ij", B, torch.linalg.pinv(S), B)
    torch.testing.assert_close(realization_costs(W, D, F, subspace()).cost, expected, rtol=1e-13, atol=0)


def test_rows_realise_and_columns_are_realised():
    # Inputs are the whole plane. Neuron 0 is free; neuron 1 has its first weight fixed to 3.
    plane = Subspace(torch.eye(2, dtype=torch.float64), 1.0)
    D, F = torch.tensor([[True, True], [False, True]]), torch.tensor([[0.0, 0.0], [3.0, 0.0]])
    W = torch.tensor([[1.0, 1.0], [3.0, 2.0]])
    found = realization_costs(W, D, F, plane)
    # 0 pays all of its own weights and all of neuron 1's; 1 pays its second weight and cannot change the first.
    assert found.cost.flatten().tolist() == pytest.approx([2, 13, float("inf"), 4], rel=1e-14)
    assert found.residual.tolist() == [[0.0, 0.0], [2.0, 0.0]]


def test_a_function_out_of_reach_costs_infinity_and_not_its_projection():
    W, D, F = layer("many frozen")
    D = D.clone()
    D[2], F[2] = False, W[2]
    D[2, :3] = True
    F[2, :3] = 0
    found = realization_costs(W, D, F, subspace())
    assert found.cost[2].isinf().tolist() == [j != 2 for j in range(8)]
    assert not found.cost[[0, 1, *range(3, 8)]].isinf().any()
    U = subspace().basis
    S = U[D[2]].T @ U[D[2]]
    B = (W.double() - F[2].double()) @ U
    expected = (B @ (torch.eye(5, dtype=torch.float64) - S @ torch.linalg.pinv(S, rtol=1e-10))).norm(dim=1)
    torch.testing.assert_close(found.residual[2], expected, rtol=1e-6, atol=1e-8)
    assert found.cost[2, 2] == pytest.approx(float(literal(W, D, F, U)[2, 2]), rel=1e-6)


def test_frozen_inputs_along_the_subspace_leave_no_way_to_reach_anything_there():
    basis = torch.eye(6, dtype=torch.float64)[:, :2]
    W = torch.randn(2, 6, generator=generator("axis"))
    D = torch.tensor([[False, True, True, True, True, True], [True] * 6])
    found = realization_costs(W, D, torch.where(D, 0.0, W), Subspace(basis, 0.9))
    assert found.cost.isinf().tolist() == [[False, True], [False, False]]
    assert found.cost[0, 0] == pytest.approx(float(W[0, 1]) ** 2)


@pytest.mark.parametrize(("share", "reachable"), [(1e-8, True), (1e-14, False)])
def test_what_is_barely_left_of_the_subspace_is_dear_and_what_is_only_rounding_out_of_reach(share, reachable):
    along = torch.tensor([[(1 - share) ** 0.5], [share**0.5]], dtype=torch.float64)
    D, F = torch.tensor([[False, True], [True, True]]), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    found = realization_costs(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), D, F, Subspace(along, 0.9))
    assert found.cost[0, 1] == pytest.approx(1 / share if reachable else float("inf"), rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_no_neuron_pays_more_for_its_own_function_than_its_weights(kind):
    W, D, F = layer(kind)
    paid = realization_costs(W, D, F, subspace()).cost.diagonal()
    spent = (W - F).double().square().sum(1)
    assert (paid <= spent * (1 + 1e-12)).all()
    assert (paid > 0).all()


def test_standard_layers_swap_for_nothing():
    W, D, F = layer("standard")
    assert not swap_costs(realization_costs(W, D, F, subspace()).cost).any()


def test_syre_swaps_follow_the_closed_form():
    W, D, F = layer("syre")
    A, V = W.double() @ subspace().basis, F.double() @ subspace().basis
    expected = 2 * ((A[:, None] - A) * (V[:, None] - V)).sum(-1)
    torch.testing.assert_close(
        swap_costs(realization_costs(W, D, F, subspace()).cost), expected, rtol=1e-12, atol=1e-12
    )


def test_swap_costs_by_a_loop_and_symmetric():
    c = torch.rand(5, 5, generator=generator("costs"), dtype=torch.float64)
    expected = torch.tensor([[c[i, j] + c[j, i] - c[i, i] - c[j, j] for j in range(5)] for i in range(5)])
    torch.testing.assert_close(swap_costs(c), expected.double())
    assert torch.equal(swap_costs(c), swap_costs(c).T)


def test_infeasible_swaps_cost_infinity_and_are_never_undefined():
    inf = float("inf")
    cost = torch.tensor([[inf, 1.0, 2.0], [inf, 1.0, 1.0], [3.0, 4.0, 1.0]])
    assert swap_costs(cost).tolist() == [[0, inf, -inf], [inf, 0, 3.0], [-inf, 3.0, 0]]


def test_functions_of_another_run_meet_the_classes_of_this_constraint():
    W, D, F = layer("few frozen")
    other = F + D * torch.randn(W.shape, generator=generator("other run"))
    together = realization_costs(torch.cat([W, other]), torch.cat([D, D]), torch.cat([F, F]), subspace()).cost
    torch.testing.assert_close(realization_costs(other, D, F, subspace()).cost, together[:8, 8:])


def test_signed_root_keeps_the_sign():
    assert signed_root(torch.tensor([-4.0, 0.0, 9.0])).tolist() == [-2, 0, 3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda W, D, F: (W.index_fill(0, torch.tensor([3]), float("nan")), D, F), "weights must be finite"),
        (lambda W, D, F: (W, D.float(), F), "D must be boolean"),
        (lambda W, D, F: (W, D[:4], F), "must share one shape"),
        (lambda W, D, F: (W[:, 1:], D[:, 1:], F[:, 1:]), "reads? 59 inputs"),
    ],
)
def test_bad_layers_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        realization_costs(*change(*layer("few frozen")), subspace())
