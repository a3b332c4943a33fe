import pytest
import torch

from symlib.alignment.merging import align_all, average
from symlib.alignment.permutation import permute, permute_members, random_perms
from symlib.alignment.tracing import specification
from symlib.asymmetry import Standard, constraint
from symlib.networks.mlp import MLP
from symlib.population import initialise, logits
from symlib.seeds import generator

X = torch.randn(50, 8, generator=generator("x"))


def population(n, norm="layer"):
    model = MLP((8, 24, 24, 4), norm=norm)
    return initialise(model, constraint(model, Standard(), 0), range(n))


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_shuffled_copies_of_one_network_merge_into_that_network(norm):
    one = population(1, norm)
    spec = specification(one.model, X[:2])
    copies = [permute(spec, random_perms(spec.sizes, generator(i)), next(one.members())) for i in range(5)]
    shuffled = one.holding({name: torch.stack([c[name] for c in copies]) for name in one.tensors})
    before = average(shuffled)
    assert not torch.allclose(logits(before, X), logits(one, X), atol=1e-2)
    aligned = permute_members(spec, align_all(shuffled, spec, generator("merge")), shuffled, X)
    torch.testing.assert_close(logits(average(aligned), X), logits(one, X), rtol=1e-4, atol=1e-5)


def test_aligning_all_brings_networks_closer_and_ends_when_nothing_moves():
    nets = population(4)
    spec = specification(nets.model, X[:2])
    found = align_all(nets, spec, generator("merge"))
    aligned = permute_members(spec, found, nets, X)

    def closeness(p):
        return sum(float(average(p).params[name].square().sum()) for name in p.params)

    assert closeness(aligned) > closeness(nets) * 1.01
    again = align_all(aligned, spec, generator("again"))
    assert all(torch.equal(p, torch.arange(len(p))) for a in again for p in a.perms.values())
    assert {a.sweeps for a in again} == {1} and max(a.sweeps for a in found) > 1


def test_average_is_the_mean_and_keeps_counters_whole():
    nets = population(3, "batch")
    mean = average(nets)
    torch.testing.assert_close(mean.params["linears.0.weight"][0], nets.params["linears.0.weight"].mean(0))
    assert mean.stats["norms.0.num_batches_tracked"].dtype == torch.int64 and len(mean) == 1


def test_one_network_cannot_be_merged():
    nets = population(1)
    with pytest.raises(ValueError, match="at least 2 networks, got 1"):
        align_all(nets, specification(nets.model, X[:2]), generator("merge"))
