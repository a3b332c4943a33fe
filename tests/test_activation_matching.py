import numpy as np
import pytest
import torch
from torch import nn

import symlib.alignment.activation_matching
from symlib.alignment.activation_matching import activation_matching
from symlib.alignment.permutation import permute, random_perms
from symlib.alignment.recording import record
from symlib.alignment.tracing import specification
from symlib.asymmetry import statistics
from symlib.networks.mlp import MLP, relu
from symlib.networks.resnet import ResNet
from symlib.seeds import generator

from .test_alignment import network, shuffled, spec_of
from .test_tracing import Gated, Residual, Twice, gnn, plain_cnn


def drawn(build, init_seed=0):
    """Return a model and a network with norms and statistics that differ from unit to unit."""
    torch.manual_seed(init_seed)
    model = build()
    member = {n: t.detach().clone() for n, t in (dict(model.named_parameters()) | statistics(model)).items()}
    return model, {n: t + 0.3 * torch.rand(t.shape) if t.dim() == 1 else t for n, t in member.items()}


def images(n=40):
    return torch.randn(n, 2, 8, 8, generator=generator("x"))


def resnet8(norm="batch"):
    return ResNet(8, 0.5, norm=norm, in_channels=2)


def test_activation_matching_recovers_planted_permutations():
    x = torch.randn(500, 32, generator=generator("x"))
    spec = spec_of(MLP((32, 48, 48, 48, 10)))
    for trial in range(10):
        net = network((32, 48, 48, 48, 10), init_seed=trial)
        moved, planted = shuffled(net, trial, spec)
        found = activation_matching(net.model, next(net.members()), next(moved.members()), spec, x, chunk=200)
        assert found.objective == pytest.approx(1, abs=1e-5)
        for group, perm in planted.items():
            assert torch.equal(found.perms[group][perm], torch.arange(48))


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


@pytest.mark.parametrize(
    ("build", "x"),
    [
        (resnet8, images()),
        (lambda: resnet8("layer"), images()),
        (plain_cnn, images()),
        (gnn, torch.arange(12)),
        (lambda: nn.TransformerEncoderLayer(16, 1, 11, 0.0), torch.randn(6, 30, 16, generator=generator("x"))),
        (Residual, torch.randn(60, 5, generator=generator("x"))),
        (Twice, torch.randn(60, 5, generator=generator("x"))),
        (Gated, torch.randn(60, 5, generator=generator("x"))),
    ],
    ids=["resnet8, batch", "resnet8, layer", "flattened cnn", "gnn", "one head", "square", "twice", "gated"],
)
def test_planted_permutations_of_any_network_are_recovered(build, x):
    for trial in range(5):
        model, a = drawn(build, trial)
        spec = specification(model, x[:2] if x.is_floating_point() else x)
        perms = random_perms(spec.sizes, generator("perms", trial))
        found = activation_matching(model, a, permute(spec, perms, a), spec, x)
        # A ReLU that is off on all inputs leaves its unit without a correlation, 0 in the mean.
        alive = {group: torch.cat(units).std(0) > 1e-6 for (group,), units in record(model, a, spec, x).items()}
        share = torch.cat(list(alive.values())).double().mean().item()
        assert share > 0.8
        assert found.objective == pytest.approx(share, abs=1e-4)
        for group, perm in perms.items():
            recovered = found.perms[group][perm] == torch.arange(len(perm))
            assert recovered[alive[group][perm]].all(), (trial, group)


class GroupedConvolutions(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.grouped = nn.Conv2d(1, 12, 3, padding=1), nn.Conv2d(12, 12, 3, padding=1, groups=3)
        self.norm, self.out = nn.GroupNorm(6, 12), nn.Linear(12, 4)

    def forward(self, x):
        return self.out(self.norm(self.grouped(self.first(x).tanh())).tanh().mean((2, 3)))


@pytest.mark.parametrize(
    ("build", "x"),
    [
        (
            lambda: nn.TransformerEncoderLayer(16, 4, 11, 0.0, batch_first=True, activation="gelu"),
            torch.randn(60, 6, 16, generator=generator("x")),
        ),
        (GroupedConvolutions, torch.randn(60, 1, 6, 6, generator=generator("x"))),
    ],
    ids=["four heads", "grouped convolutions"],
)
def test_groups_that_fold_into_one_axis_are_recovered_together(build, x):
    for trial in range(5):
        model, a = drawn(build, trial)
        spec = specification(model, x[:2])
        perms = random_perms(spec.sizes, generator("perms", trial))
        found = activation_matching(model, a, permute(spec, perms, a), spec, x)
        assert found.objective == pytest.approx(1, abs=1e-4)
        for group, perm in perms.items():
            assert torch.equal(found.perms[group][perm], torch.arange(len(perm))), (trial, group)


def seen_by_hooks(model, tensors, x, places):
    """Return what enters modules, concatenated over modules and positions, shape (samples, units)."""
    model.load_state_dict(tensors)
    model.eval()
    caught = []
    hooks = [
        model.get_submodule(place).register_forward_pre_hook(lambda module, inputs: caught.append(inputs[0]))
        for place in places
    ]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return torch.cat([c.movedim(1, -1).flatten(0, -2) for c in caught]).numpy()


# Streams are read by the first convolution of every block and by the read-out, a shortcut reading the same once.
READERS = {
    "stem": ["stages.0.0.conv1", "stages.1.0.conv1"],
    "stages.1.0.conv2": ["stages.2.0.conv1"],
    "stages.2.0.conv2": ["linear"],
    **{f"stages.{s}.0.conv1": [f"stages.{s}.0.conv2"] for s in range(3)},
}


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_matching_of_a_resnet_equals_numpy_correlation_over_all_readers(norm):
    (model, a), (_, b) = (drawn(lambda: resnet8(norm), seed) for seed in (0, 1))
    x = images()
    spec = specification(model, x[:2])
    found = activation_matching(model, a, b, spec, x, chunk=15)
    matched = []
    for group, places in READERS.items():
        one, other = (seen_by_hooks(model, net, x, places) for net in (a, b))
        n = one.shape[1]
        with np.errstate(invalid="ignore"):
            r = np.nan_to_num(np.corrcoef(one.T, other.T)[:n, n:])
        rows = np.arange(n)
        matched.append(r[rows, found.perms[group]])
        # No exchange of two partners does better.
        pairs = matched[-1][:, None] + matched[-1]
        exchanged = r[:, found.perms[group]]
        assert (exchanged + exchanged.T <= pairs + 1e-4).all()
    assert set(READERS) == set(spec.sizes)
    assert found.objective == pytest.approx(np.concatenate(matched).mean(), abs=1e-5)


def test_chunks_do_not_change_the_answer():
    (model, a), (_, b) = (drawn(resnet8, seed) for seed in (0, 1))
    spec = specification(model, images(2))
    found = [activation_matching(model, a, b, spec, images(), chunk=chunk) for chunk in (3, 40, 1000)]
    for one in found[1:]:
        assert one.objective == pytest.approx(found[0].objective, abs=1e-6)
        assert all(torch.equal(one.perms[g], p) for g, p in found[0].perms.items())


def test_single_precision_equals_double_also_far_from_zero():
    (model, a), (_, b) = (drawn(lambda: MLP((6, 12, 10, 4), relu, "none"), seed) for seed in (0, 1))
    for net in (a, b):
        net["linears.0.bias"] += 300  # all units active, and their means a thousand times their deviations
    x = torch.randn(500, 6, generator=generator("x"))
    spec = specification(model, x[:2])
    single = activation_matching(model, a, b, spec, x, chunk=90)
    double = activation_matching(
        model.double(), *({n: w.double() for n, w in net.items()} for net in (a, b)), spec, x.double()
    )
    assert single.objective == pytest.approx(double.objective, abs=1e-4)
    assert all(torch.equal(single.perms[g], p) for g, p in double.perms.items())


def test_networks_whose_units_never_change_correlate_with_nothing():
    model, a = drawn(lambda: MLP((6, 12, 10, 4), relu, "none"))
    still = a | {"linears.0.weight": torch.zeros(12, 6), "linears.0.bias": torch.full((12,), 0.7)}
    x = torch.randn(50, 6, generator=generator("x"))
    spec = specification(model, x[:2])
    assert activation_matching(model, still, still, spec, x).objective == 0
    assert activation_matching(model, a, still, spec, x).objective == 0
    assert activation_matching(model, a, a, spec, x).objective > 0.5  # some units are dead


def test_networks_are_matched_in_evaluation_mode_and_stay_as_they_were():
    model, a = drawn(resnet8)
    model.train()
    before = {name: t.clone() for name, t in a.items()}
    spec = specification(model, images(2))
    found = [activation_matching(model, a, a, spec, images(), chunk=c).objective for c in (2, 40)]
    assert found[0] == pytest.approx(found[1], abs=1e-6)
    assert model.training and all(torch.equal(t, before[name]) for name, t in a.items())
    assert torch.backends.mha.get_fastpath_enabled()


def test_module_called_twice_is_seen_twice():
    model, a = drawn(Twice)
    x = torch.randn(7, 5, generator=generator("x"))
    first, second, last = record(model, a, specification(model, x), x)["first",]
    hidden = torch.relu(x @ a["first.weight"].T + a["first.bias"])
    torch.testing.assert_close(first, hidden)
    again = torch.relu(hidden @ a["square.weight"].T + a["square.bias"])
    torch.testing.assert_close(second, again)
    torch.testing.assert_close(last, torch.relu(again @ a["square.weight"].T + a["square.bias"]))


def test_units_are_seen_where_they_are_made_if_nothing_linear_reads_them():
    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(5, 8)

        def forward(self, x):
            return self.first(x).relu().mean(1, keepdim=True)

    model, a = drawn(Head)
    x = torch.randn(7, 5, generator=generator("x"))
    (made,) = record(model, a, specification(model, x), x)["first",]
    torch.testing.assert_close(made, x @ a["first.weight"].T + a["first.bias"])


class Raw(nn.Module):
    """Matrix products without a linear layer."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Parameter(torch.randn(5, 8)), nn.Parameter(torch.randn(8, 3))

    def forward(self, x):
        return (x @ self.first).relu() @ self.last


def test_units_that_no_linear_map_shows_are_named():
    model, a = drawn(Raw)
    x = torch.randn(7, 5, generator=generator("x"))
    with pytest.raises(ValueError, match="no linear or convolution layer reads or makes the units of first"):
        activation_matching(model, a, a, specification(model, x), x)


def test_linear_map_that_does_not_run_is_named():
    class Skipping(Residual):
        def forward(self, x):
            return self.last(self.first(x).relu())

    model, a = drawn(Residual)
    x = torch.randn(7, 5, generator=generator("x"))
    with pytest.raises(ValueError, match="the network never multiplied anything by square.weight"):
        record(Skipping(), a, specification(model, x), x)


def test_graph_is_passed_once_however_many_nodes_are_asked_for(monkeypatch):
    passes = []

    def counting(*args):
        passes.append(len(args[-1]))
        return record(*args)

    monkeypatch.setattr(symlib.alignment.activation_matching, "record", counting)
    model, a = drawn(gnn)
    activation_matching(model, a, a, specification(model, torch.arange(12)), torch.arange(12), chunk=5)
    assert passes == [12, 12]  # network A and network B
    mlp = MLP((6, 8, 4))
    member = {n: p.detach() for n, p in mlp.named_parameters()}
    activation_matching(mlp, member, member, specification(mlp, torch.zeros(2, 6)), torch.randn(12, 6), chunk=5)
    assert passes[2:] == [5, 5, 5, 5, 2, 2]
