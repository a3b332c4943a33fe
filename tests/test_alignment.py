from dataclasses import replace

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


def shuffled(population, perm_seed, spec=None):
    """Return the population with its hidden units in a random order, and that order."""
    spec = spec or spec_of(population.model)
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


def test_reordered_networks_are_no_longer_constrained(tiny, blobs):
    net = tiny("w-asym")
    spec = spec_of(net.model)
    found = [Alignment(random_perms(spec.sizes, generator("perms")), 0.0, 1)]
    moved = permute_members(spec, found, net, blobs[0])
    assert moved.constraint.fingerprint != net.constraint.fingerprint and not moved.constraint.D


@pytest.mark.parametrize("other", [(8, 16, 12, 4), (8, 16, 16, 16, 4)])
def test_aligning_across_architectures_is_refused(tiny, other):
    a, b = (next(tiny("standard", widths=w).members()) for w in ((8, 16, 16, 4), other))
    spec = spec_of(MLP((8, 16, 16, 4)))
    with pytest.raises(ValueError, match="cannot align across architectures"):
        weight_matching(a, b, spec, generator("m"))
    with pytest.raises(ValueError, match="cannot align across architectures"):
        activation_matching(MLP((8, 16, 16, 4)), a, b, spec, torch.zeros(2, 8))
