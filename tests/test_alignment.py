from dataclasses import replace

import numpy as np
import pytest
import torch

from symlib.alignment.activation_matching import activation_matching
from symlib.alignment.axes import Units
from symlib.alignment.permutation import (
    Alignment,
    permute,
    permute_members,
    random_perms,
)
from symlib.alignment.tracing import specification
from symlib.alignment.weight_matching import weight_matching
from symlib.asymmetry import Standard, constraint
from symlib.interpolation import curves, midpoint_barrier, mixing_weights
from symlib.networks.mlp import MLP
from symlib.population import Population, initialise, logits
from symlib.seeds import generator
from symlib.training import Recipe, train


def spec_of(model):
    return specification(model, torch.zeros(2, model.linears[0].in_features, dtype=model.linears[0].weight.dtype))


PAPER = (784, 512, 512, 512, 10)


def network(widths, init_seed=0, dtype=torch.float32):
    model = MLP(widths).to(dtype)
    return initialise(model, constraint(model, Standard(), 0), [init_seed])


def shuffled(population, perm_seed):
    """Return the population with its hidden units in a random order, and that order."""
    spec = spec_of(population.model)
    member = next(population.members())
    perms = random_perms(spec.sizes, generator("perms", perm_seed))
    moved = {name: w[None] for name, w in permute(spec, perms, member).items()}
    return Population(population.model, population.constraint, moved), perms


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_reordering_hidden_units_keeps_the_function(dtype, tolerance):
    net = network(PAPER, dtype=dtype)
    x = torch.randn(64, 784, generator=generator("x"), dtype=dtype)
    for trial in range(5):
        moved, perms = shuffled(net, trial)
        assert not torch.equal(perms["linears.0"], torch.arange(512))
        torch.testing.assert_close(logits(moved, x), logits(net, x), rtol=0, atol=tolerance)


def test_reordering_only_the_trained_entries_of_a_w_asymmetric_network_changes_it(tiny):
    net = tiny("w-asym")
    moved, _ = shuffled(net, 0)
    kept_fixed = {  # the trained entries move, the pinned ones stay where the constraint has them
        name: torch.where(net.constraint.D[name], w, net.constraint.F[name]) if name in net.constraint.D else w
        for name, w in moved.params.items()
    }
    x = torch.randn(64, 8, generator=generator("x"), dtype=torch.float64)
    before = logits(net, x)
    torch.testing.assert_close(logits(moved, x), before)
    changed = logits(Population(net.model, net.constraint, kept_fixed), x)
    assert (changed - before).abs().max() > 0.1 * before.abs().max()


@pytest.mark.parametrize("forgotten", ["linears.0.weight", "linears.1.weight", "linears.1.bias", "norms.0.weight"])
def test_mutilated_specification_is_noticed(forgotten, tiny, blobs):
    # Norm scales and biases differ between units only after training.
    net, _ = train(tiny("standard"), *blobs, Recipe(3, 50, 1e-2, 0.0), [0])
    spec = spec_of(net.model)
    still = tuple(Units(axis.size) for axis in spec.axes[forgotten])
    wrong = replace(spec, axes=spec.axes | {forgotten: still})
    perms = random_perms(spec.sizes, generator("perms"))
    found = [Alignment(perms, 0.0, 1)]
    permute_members(spec, found, net, blobs[0])
    with pytest.raises(ValueError, match="does not keep the function"):
        permute_members(wrong, found, net, blobs[0])


def test_weight_matching_recovers_50_of_50_planted_permutations():
    for trial in range(50):
        net = network((32, 48, 48, 48, 10), init_seed=trial)
        moved, planted = shuffled(net, trial)
        spec = spec_of(net.model)
        found = weight_matching(next(net.members()), next(moved.members()), spec, generator("match", trial), restarts=1)
        for group, perm in planted.items():
            # B's unit r is A's unit planted[r], so A's unit planted[r] must be matched with B's unit r.
            assert torch.equal(found.perms[group][perm], torch.arange(48)), (trial, group)


def test_activation_matching_recovers_planted_permutations():
    x = torch.randn(500, 32, generator=generator("x"))
    for trial in range(10):
        net = network((32, 48, 48, 48, 10), init_seed=trial)
        moved, planted = shuffled(net, trial)
        found = activation_matching(
            net.model, next(net.members()), next(moved.members()), spec_of(net.model), x, chunk=200
        )
        assert found.objective == pytest.approx(1, abs=1e-5)
        for group, perm in planted.items():
            assert torch.equal(found.perms[group][perm], torch.arange(48))


def test_aligning_with_a_shuffled_copy_removes_the_barrier(blobs, tiny):
    x, y = blobs
    net, _ = train(tiny("standard"), x, y, Recipe(20, 50, 1e-2, 0.0), [0])
    moved, _ = shuffled(net, 1)
    lambdas = mixing_weights(5)
    assert midpoint_barrier(curves(net, moved, lambdas, x, y).loss) > 0.01
    spec = spec_of(net.model)
    found = weight_matching(next(net.members()), next(moved.members()), spec, generator("m"), restarts=3)
    back = permute_members(spec, [found], moved, x)
    assert midpoint_barrier(curves(net, back, lambdas, x, y).loss).abs() < 1e-6


def test_weight_matching_objective_is_the_inner_product_and_grows_with_restarts():
    a, b = (next(network((16, 24, 24, 4), init_seed=s).members()) for s in (0, 1))
    spec = spec_of(MLP((16, 24, 24, 4)))
    once, often = (weight_matching(a, b, spec, generator("m"), restarts=r) for r in (1, 20))
    moved = permute(spec, once.perms, b)
    by_hand = sum((a[name] * moved[name]).sum().item() for name in a)
    assert once.objective == pytest.approx(by_hand, rel=1e-5)
    assert often.objective > once.objective > sum((a[name] * b[name]).sum().item() for name in a)


def test_descent_ends_when_nothing_is_gained():
    net = next(network((16, 24, 24, 4)).members())
    assert weight_matching(net, net, spec_of(MLP((16, 24, 24, 4))), generator("m"), restarts=1).sweeps == 1


def test_activation_matching_equals_numpy_correlation_and_ignores_constant_units():
    model = MLP((8, 12, 4))
    a, b = (next(network((8, 12, 4), init_seed=s).members()) for s in (0, 1))
    a["norms.0.weight"][3], a["norms.0.bias"][3] = 0.0, 0.7  # unit 3 of A never changes
    b["norms.0.weight"][5], b["norms.0.bias"][5] = 0.0, 0.7  # nor does unit 5 of B
    x = torch.randn(300, 8, generator=generator("x"))
    found = activation_matching(model, a, b, spec_of(model), x, chunk=64)

    def hidden(p):
        z = torch.nn.functional.linear(x, p["linears.0.weight"], p["linears.0.bias"])
        z = torch.nn.functional.layer_norm(z, (12,), p["norms.0.weight"], p["norms.0.bias"])
        return torch.nn.functional.gelu(z).numpy()

    with np.errstate(invalid="ignore"):
        r = np.nan_to_num(np.corrcoef(hidden(a).T, hidden(b).T)[:12, 12:])
    r[3], r[:, 5] = 0, 0  # rounding may leave a constant unit a made-up correlation
    matched = r[np.arange(12), found.perms["linears.0"]]
    assert found.objective == pytest.approx(matched.mean(), abs=1e-5)


def test_reordered_networks_are_no_longer_constrained(tiny, blobs):
    net = tiny("w-asym")
    spec = spec_of(net.model)
    found = [Alignment(random_perms(spec.sizes, generator("perms")), 0.0, 1)]
    moved = permute_members(spec, found, net, blobs[0])
    assert moved.constraint.fingerprint != net.constraint.fingerprint and not moved.constraint.D


def test_tensor_that_a_specification_does_not_know_is_named():
    net = next(network((8, 12, 4)).members())
    with pytest.raises(ValueError, match="cannot align .*extra.* specification does not know it"):
        weight_matching(
            net | {"extra": torch.zeros(2)}, net | {"extra": torch.zeros(2)}, spec_of(MLP((8, 12, 4))), generator("m")
        )


def test_figlu_networks_have_no_specification(tiny):
    with pytest.raises(ValueError, match="no unit of MLP can be reordered"):
        spec_of(tiny("sigma").model)


@pytest.mark.parametrize("other", [(8, 16, 12, 4), (8, 16, 16, 16, 4)])
def test_aligning_across_architectures_is_refused(tiny, other):
    a, b = (next(tiny("standard", widths=w).members()) for w in ((8, 16, 16, 4), other))
    spec = spec_of(MLP((8, 16, 16, 4)))
    with pytest.raises(ValueError, match="cannot align across architectures"):
        weight_matching(a, b, spec, generator("m"))
    with pytest.raises(ValueError, match="cannot align across architectures"):
        activation_matching(MLP((8, 16, 16, 4)), a, b, spec, torch.zeros(2, 8))


def test_zero_restarts_are_refused():
    net = next(network((8, 12, 4)).members())
    with pytest.raises(ValueError, match="restarts must be at least 1, got 0"):
        weight_matching(net, net, spec_of(MLP((8, 12, 4))), generator("m"), restarts=0)
