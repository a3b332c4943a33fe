import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from symlib.alignment.permutation import permute, permute_members, random_perms
from symlib.alignment.sinkhorn_matching import _mixed, doubly_stochastic, sinkhorn_matching
from symlib.alignment.tracing import specification
from symlib.interpolation import curves, midpoint_barrier, mixing_weights
from symlib.networks.resnet import ResNet
from symlib.seeds import generator
from symlib.training import Recipe, train


def test_sinkhorn_iterations_give_rows_and_columns_that_sum_to_one():
    found = doubly_stochastic(3 * torch.randn(20, 20, generator=generator("s"), dtype=torch.float64))
    torch.testing.assert_close(found.sum(1), torch.ones(20, dtype=torch.float64))
    torch.testing.assert_close(found.sum(0), torch.ones(20, dtype=torch.float64), rtol=0, atol=0.01)
    assert (found > 0).all()


class Folded(nn.Module):
    """Flattened channels and concatenated streams: axes of every kind."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(1, 4, 3), nn.Conv2d(1, 6, 3)
        self.out = nn.Linear(40, 3)

    def forward(self, x):
        return self.out(torch.cat([self.left(x).relu(), self.right(x).relu()], 1).flatten(1))


@pytest.mark.parametrize("make", [Folded, lambda: ResNet(8, 0.5, in_channels=1)])
def test_applying_permutation_matrices_equals_permuting(make):
    model, x = make(), torch.zeros(2, 1, 4, 4)
    spec = specification(model, x)
    perms = random_perms(spec.sizes, generator("p"))
    weights = {name: w.detach() for name, w in model.named_parameters()}
    moved = _mixed(weights, spec.axes, {g: torch.eye(len(p))[p] for g, p in perms.items()})
    for name, w in permute(spec, perms, weights).items():
        torch.testing.assert_close(moved[name], w)


def test_sinkhorn_matching_lowers_the_barrier_and_reports_the_loss_halfway(tiny, blobs):
    x, y = blobs
    nets, _ = train(tiny("standard", [0, 1]), x, y, Recipe(20, 50, 1e-2, 0.0), [0, 1])
    a, b = nets[:1], nets[1:]
    spec = specification(nets.model, x[:2])
    ends = next(a.members()), next(b.members())
    found = sinkhorn_matching(nets.model, *ends, spec, x, y, generator("s"), steps=100)
    moved = permute_members(spec, [found], b, x)
    plain, aligned = (midpoint_barrier(curves(a, end, mixing_weights(3), x, y).loss) for end in (b, moved))
    assert aligned < 0.3 * plain
    halfway = {name: (ends[0][name] + w[0]) / 2 for name, w in moved.params.items()}
    loss = F.cross_entropy(functional_call(nets.model, halfway, (x,)), y)
    assert found.objective == pytest.approx(-loss.item(), rel=1e-6)


def test_statistics_of_the_networks_stay_untouched(blobs):
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4)).double()
    state = {name: w.detach().clone() for name, w in model.state_dict().items()}
    spec = specification(model, blobs[0][:2])
    sinkhorn_matching(model, state, state, spec, *blobs, generator("s"), steps=2)
    assert all(torch.equal(w, state[name]) for name, w in model.state_dict().items())


def test_no_steps_are_refused(tiny, blobs):
    net = tiny("standard")
    member = next(net.members())
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        sinkhorn_matching(
            net.model, member, member, specification(net.model, blobs[0][:2]), *blobs, generator(0), steps=0
        )
