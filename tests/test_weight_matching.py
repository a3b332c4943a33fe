from itertools import pairwise

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from symlib.alignment.axes import Units
from symlib.alignment.permutation import permute, permute_members, random_perms
from symlib.alignment.tracing import specification
from symlib.alignment.weight_matching import weight_matching
from symlib.asymmetry import Standard, constraint, statistics
from symlib.interpolation import curves, midpoint_barrier, mixing_weights
from symlib.networks.mlp import MLP
from symlib.networks.resnet import ResNet
from symlib.population import Population, initialise, logits
from symlib.seeds import generator
from symlib.training import Recipe, train

from .test_alignment import network, shuffled, spec_of
from .test_tracing import Residual


def resnet(depth, init_seed=0, norm="layer", width=1.0):
    """Return a network whose norms differ from unit to unit, weights and statistics."""
    model = ResNet(depth, width, norm=norm)
    (member,) = initialise(model, constraint(model, Standard(), 0), [init_seed], "kaiming").members()
    source = generator("norms", init_seed)
    moved = {name: w + 0.3 * torch.rand(w.shape, generator=source) if w.dim() == 1 else w for name, w in member.items()}
    return model, moved


def planted(model, a, x, perm_seed):
    """Return a specification, the network with its units in a random order, and that order."""
    spec = specification(model, x)
    perms = random_perms(spec.sizes, generator("perms", perm_seed))
    return spec, permute(spec, perms, a), perms


def undoes(found, perms):
    """Say whether every unit of A is matched with its own copy: B's unit r is A's unit perms[r]."""
    return all(torch.equal(found.perms[group][perm], torch.arange(len(perm))) for group, perm in perms.items())


def test_weight_matching_recovers_50_of_50_planted_permutations():
    spec = spec_of(MLP((32, 48, 48, 48, 10)))
    for trial in range(50):
        net = network((32, 48, 48, 48, 10), init_seed=trial)
        moved, planted = shuffled(net, trial, spec)
        found = weight_matching(next(net.members()), next(moved.members()), spec, generator("match", trial), restarts=1)
        for group, perm in planted.items():
            # B's unit r is A's unit planted[r], so A's unit planted[r] must be matched with B's unit r.
            assert torch.equal(found.perms[group][perm], torch.arange(48)), (trial, group)


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


def test_tensor_that_a_specification_does_not_know_is_named():
    net = next(network((8, 12, 4)).members())
    with pytest.raises(ValueError, match="cannot align .*extra.* specification does not know it"):
        weight_matching(
            net | {"extra": torch.zeros(2)}, net | {"extra": torch.zeros(2)}, spec_of(MLP((8, 12, 4))), generator("m")
        )


def test_zero_restarts_are_refused():
    net = next(network((8, 12, 4)).members())
    with pytest.raises(ValueError, match="restarts must be at least 1, got 0"):
        weight_matching(net, net, spec_of(MLP((8, 12, 4))), generator("m"), restarts=0)


def test_planted_permutations_of_resnet20_are_recovered():
    """At least 49 of 50; measured are 50, from the identity alone and with restarts."""
    recovered = 0
    for trial in range(50):
        model, a = resnet(20, trial)
        if trial == 0:
            spec = specification(model, torch.zeros(2, 3, 8, 8))
        perms = random_perms(spec.sizes, generator("perms", trial))
        found = weight_matching(a, permute(spec, perms, a), spec, generator("m", trial), restarts=3)
        recovered += undoes(found, perms)
    assert recovered >= 49


def straightforward(a, b, spec, source):
    """Match weights by the book: for every group visited, permute and compare everything anew."""
    perms = {group: torch.arange(n) for group, n in spec.sizes.items()}
    groups, sweeps, moved = list(spec.sizes), 0, True

    def objective(perms):
        now = permute(spec, perms, {name: b[name] for name in spec.axes})
        return sum((a[name] * w).sum().item() for name, w in now.items())

    while moved:
        sweeps, moved = sweeps + 1, False
        for g in torch.randperm(len(groups), generator=source).tolist():
            group, n = groups[g], spec.sizes[groups[g]]
            gain = torch.zeros(n, n, dtype=torch.float64)
            for name, axes in spec.axes.items():
                for i, axis in enumerate(axes):
                    if axis == Units(n, group):
                        others = {g: p for g, p in perms.items() if g != group}
                        held = permute(spec, others, {name: b[name]})[name]
                        gain += a[name].movedim(i, 0).reshape(n, -1) @ held.movedim(i, 0).reshape(n, -1).T
            trial = perms | {group: torch.from_numpy(linear_sum_assignment(gain.numpy(), maximize=True)[1])}
            if objective(trial) > objective(perms) * (1 + 1e-9):
                perms, moved = trial, True
    return perms, objective(perms), sweeps


@pytest.mark.parametrize("norm", ["layer", "batch"])
@pytest.mark.parametrize("seed", range(3))
def test_descent_equals_a_straightforward_implementation(norm, seed):
    (model, a), (_, b) = (resnet(8, init_seed, norm, width=0.5) for init_seed in (2 * seed, 2 * seed + 1))
    a, b = ({n: w.double() if w.is_floating_point() else w for n, w in net.items()} for net in (a, b))
    spec = specification(model, torch.zeros(2, 3, 8, 8))
    found = weight_matching(a, b, spec, generator("m", seed), restarts=1)
    perms, objective, sweeps = straightforward(a, b, spec, generator("m", seed))
    assert found.objective == pytest.approx(objective, rel=1e-12)
    assert found.sweeps == sweeps > 2
    assert all(torch.equal(found.perms[group], perms[group]) for group in perms)


def test_statistics_take_no_part_but_move_with_their_units():
    model, a = resnet(8, norm="batch", width=0.5)
    x = torch.randn(4, 3, 8, 8, generator=generator("x"))
    spec, b, perms = planted(model, a, x, 0)
    for name, perm in (("norm.running_mean", "stem"), ("stages.1.0.norm1.running_var", "stages.1.0.conv1")):
        assert torch.equal(b[name], a[name][perms[perm]]) and not torch.equal(b[name], a[name])
    found = weight_matching(a, b, spec, generator("m"), restarts=1)
    other = b | {name: torch.rand(s.shape) for name, s in statistics(model).items() if s.is_floating_point()}
    assert weight_matching(a, other, spec, generator("m"), restarts=1).objective == found.objective
    assert found.objective == pytest.approx(sum(a[n].double().square().sum().item() for n in spec.axes), rel=1e-6)

    def alone(member):
        stacked = {name: w[None] for name, w in member.items()}
        params = {name: stacked[name] for name in spec.axes}
        return Population(model, constraint(model, Standard(), 0), params, {n: stacked[n] for n in spec.stats})

    back = permute_members(spec, [found], alone(b), x)
    assert torch.equal(back.stats["norm.running_mean"][0], a["norm.running_mean"])
    torch.testing.assert_close(logits(back, x), logits(alone(a), x))


@pytest.mark.parametrize("build", [lambda: MLP((16, 24, 24, 4)), Residual, lambda: ResNet(8, 0.5)])
def test_objective_never_falls_from_sweep_to_sweep(build):
    """Also where a weight has one group on both axes, so that the assignment is no exact answer."""
    torch.manual_seed(0)
    a, b = (dict(build().named_parameters()) for _ in range(2))
    model = build()
    x = torch.zeros(2, 3, 8, 8) if isinstance(model, ResNet) else torch.zeros(2, next(model.parameters()).shape[1])
    spec = specification(model, x)
    sums = [sum((a[name] * b[name]).sum().item() for name in a)]
    for bound in range(1, 20):
        found = weight_matching(a, b, spec, generator("m"), restarts=1, max_sweeps=bound)
        sums.append(found.objective)
        if found.sweeps < bound:
            break
    assert len(sums) > 3 and sums[1] > sums[0]
    assert all(after >= before for before, after in pairwise(sums))
    moved = permute(spec, found.perms, b)
    assert found.objective == pytest.approx(sum((a[name] * moved[name]).sum().item() for name in a), rel=1e-5)


def test_square_weight_with_one_group_on_both_axes_is_aligned():
    for trial in range(20):
        torch.manual_seed(trial)
        model = Residual()
        a = {name: p.detach() for name, p in model.named_parameters()}
        spec, b, perms = planted(model, a, torch.zeros(2, 5), trial)
        assert spec.axes["square.weight"] == (Units(12, "first"), Units(12, "first"))
        assert undoes(weight_matching(a, b, spec, generator("m", trial), restarts=1), perms), trial
