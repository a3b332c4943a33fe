import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, vmap

from symlib.asymmetry import Sigma, activation_for, linear_maps
from symlib.networks.gnn import GNN, add_neighbours
from symlib.networks.mlp import MLP, gelu, relu
from symlib.networks.resnet import ResNet
from symlib.seeds import generator

# Node 4 has no neighbour.
EDGES = torch.tensor([[0, 1, 1, 2, 0, 3, 3, 2], [1, 0, 2, 1, 3, 0, 2, 3]])
ADJACENCY = torch.zeros(5, 5, dtype=torch.float64).index_put((EDGES[0], EDGES[1]), torch.ones(1, dtype=torch.float64))
FEATURES = torch.randn(5, 6, generator=generator("features"), dtype=torch.float64)


def gnn(features=FEATURES, edges=EDGES, hidden=(7, 8), **options):
    torch.manual_seed(0)
    return GNN(features, edges, hidden, 3, **options).to(features.dtype)


def noise(*shape):
    return torch.randn(*shape, generator=generator("x"))


@pytest.mark.parametrize("norm", ["layer", "batch", "none"])
def test_mlp_equals_its_formula(norm):
    torch.manual_seed(0)
    model, x = MLP((6, 7, 8, 4), norm=norm), noise(10, 2, 3)
    with torch.no_grad():
        for p in model.norms.parameters():
            p += 0.5 * torch.rand(p.shape)
    h = x.flatten(1)
    for linear, own in zip(model.linears[:2], model.norms, strict=True):
        h = h @ linear.weight.T + linear.bias
        if norm != "none":
            axis = 1 if norm == "layer" else 0
            h = (h - h.mean(axis, keepdim=True)) / (h.var(axis, keepdim=True, correction=0) + 1e-5).sqrt()
            h = h * own.weight + own.bias
        h = h * (1 + torch.erf(h / 2**0.5)) / 2  # the exact GELU, not its tanh approximation
    torch.testing.assert_close(model(x), h @ model.linears[2].weight.T + model.linears[2].bias)


@pytest.mark.parametrize(
    ("widths", "norm", "message"),
    [
        ((4, 2), "layer", r"three or more positive numbers, got \[4, 2\]"),
        ((4, 0, 2), "layer", r"three or more positive numbers, got \[4, 0, 2\]"),
        ((4, 4, 2), "group", "unknown norm 'group': expected one of layer, batch, none"),
    ],
)
def test_impossible_mlps_are_refused(widths, norm, message):
    with pytest.raises(ValueError, match=message):
        MLP(widths, norm=norm)


def test_mlp_names_the_features_it_wants():
    with pytest.raises(ValueError, match="inputs have 9 features, the network was built for 8"):
        MLP((8, 4, 2))(torch.zeros(1, 3, 3))


@pytest.mark.parametrize(
    ("build", "sites"), [(lambda a: MLP((4, 5, 6, 2), a), [5, 6]), (None, [8, 8, 8, 16, 16, 32, 32])]
)
def test_every_position_gets_its_own_activation_of_the_right_width(build, sites):
    build = build or (lambda a: ResNet(8, 0.5, activation=a))
    asked = []
    build(lambda site, width: asked.append((site, width)) or nn.ReLU())
    assert asked == list(enumerate(sites))


def test_default_activations_are_those_of_the_papers():
    assert isinstance(MLP((4, 4, 2)).activations[0], nn.GELU) and isinstance(gelu(0, 4), nn.GELU)
    assert isinstance(ResNet(8, 0.5).activation, nn.ReLU) and isinstance(relu(0, 4), nn.ReLU)


@pytest.mark.parametrize("depth", [8, 20, 32, 56, 110])
def test_depth_counts_convolutions_and_the_read_out(depth):
    with torch.device("meta"):
        model = ResNet(depth, 0.5)
    kernels = [m.kernel_size[0] for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert kernels.count(3) + 1 == depth
    assert kernels.count(1) == 2 and len(kernels) == depth + 1  # the shortcuts of the second and third stage
    assert list(linear_maps(model))[-1] == "linear.weight"


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_resnet_equals_its_formula(norm):
    torch.manual_seed(0)
    model, x = ResNet(14, 0.25, 7, norm).double(), noise(3, 3, 12, 12).double()
    with torch.no_grad():
        for p in model.parameters():
            p += 0.1 * torch.rand(p.shape)
    named = dict(model.named_parameters())

    def normalised(x, at):
        axes = (1, 2, 3) if norm == "layer" else (0, 2, 3)  # "layer": channels and positions together
        x = (x - x.mean(axes, keepdim=True)) / (x.var(axes, keepdim=True, correction=0) + 1e-5).sqrt()
        return x * named[f"{at}.weight"][:, None, None] + named[f"{at}.bias"][:, None, None]

    h = normalised(F.conv2d(x, named["stem.weight"], padding=1), "norm").relu()
    for stage in range(3):
        for block in range(2):
            at, first = f"stages.{stage}.{block}", block == 0 and stage > 0
            inner = F.conv2d(h, named[f"{at}.conv1.weight"], stride=1 + first, padding=1)
            inner = normalised(inner, f"{at}.norm1").relu()
            inner = normalised(F.conv2d(inner, named[f"{at}.conv2.weight"], padding=1), f"{at}.norm2")
            if first:
                h = F.conv2d(h, named[f"{at}.shortcut.0.weight"], stride=2)
                h = normalised(h, f"{at}.shortcut.1")
            h = (h + inner).relu()
    assert h.shape == (3, 16, 3, 3)
    torch.testing.assert_close(model(x), h.mean((2, 3)) @ named["linear.weight"].T + named["linear.bias"])


def test_resnets_take_images_of_any_size_and_other_channels():
    assert ResNet(8, 0.5, 100)(noise(2, 3, 32, 32)).shape == (2, 100)
    assert ResNet(8, 0.875, in_channels=1)(noise(2, 1, 9, 7)).shape == (2, 10)
    assert [c.out_channels for c in (ResNet(8, 0.875).stem, ResNet(8, 2).stages[2][0].conv2)] == [14, 128]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 21}, r"depth must be 6 n \+ 2 with n blocks per stage .*, got 21"),
        ({"depth": 2}, "got 2"),
        ({"depth": 8, "width": 0.3}, "width times 16, 32 and 64 must be whole positive numbers, got "),
        ({"depth": 8, "width": 0}, "whole positive numbers"),
        ({"depth": 8, "norm": "none"}, "unknown norm 'none': expected one of layer, batch"),
    ],
)
def test_impossible_resnets_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ResNet(**options)


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (2, 3, 8), (2, 8, 8, 3)])
def test_resnet_names_the_images_it_wants(shape):
    with pytest.raises(ValueError, match=r"shape \(batch, 3, height, width\), got \(" + str(shape[0])):
        ResNet(8, 0.5)(torch.zeros(shape))


@pytest.mark.parametrize("training", [False, True])
def test_gnn_equals_the_dense_formula(training):
    """h + A h / degree, linear map, BatchNorm, GELU; and a linear read-out of the nodes asked for."""
    model = gnn().train(training)
    with torch.no_grad():
        for p in [*model.norms.parameters(), *model.norms.buffers()]:
            if p.is_floating_point():
                p += torch.rand(p.shape)
    degree = ADJACENCY.sum(1, keepdim=True).clamp_min(1)
    h = FEATURES
    for linear, norm in zip(model.linears[:2], model.norms, strict=True):
        h = linear(h + ADJACENCY @ h / degree)
        mean, var = (h.mean(0), h.var(0, correction=0)) if training else (norm.running_mean, norm.running_var)
        h = F.gelu((h - mean) / (var + 1e-5).sqrt() * norm.weight + norm.bias)
    nodes = torch.tensor([4, 0, 2, 2])
    torch.testing.assert_close(model(nodes), model.linears[2](h[nodes]))


def test_isolated_node_keeps_its_own_state_and_others_do_not():
    aggregated = gnn().aggregate(FEATURES)
    assert torch.equal(aggregated[4], FEATURES[4])
    torch.testing.assert_close(aggregated[1], FEATURES[1] + (FEATURES[0] + FEATURES[2]) / 2)


def test_nodes_far_apart_do_not_see_each_other():
    """Two blocks reach two edges far: on a path, the first node's logits depend on the third and not on the fourth."""
    path = torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])
    model = gnn(FEATURES[:4], path).eval()
    before = model(torch.tensor([0]))
    for node, seen in ((2, True), (3, False)):
        features = FEATURES[:4].clone()
        features[node] += 1
        changed = gnn(features, path).eval()
        changed.load_state_dict(model.state_dict())
        assert torch.equal(changed(torch.tensor([0])), before) is not seen


def test_repeated_edges_count_repeatedly_and_the_order_of_edges_does_not_matter():
    shuffled = EDGES[:, torch.randperm(8, generator=generator("edges"))]
    assert torch.equal(gnn().aggregate(FEATURES), gnn(edges=shuffled).aggregate(FEATURES))
    twice = gnn(edges=torch.cat([EDGES, torch.tensor([[0, 1], [1, 0]])], dim=1)).aggregate(FEATURES)
    torch.testing.assert_close(twice[0], FEATURES[0] + (2 * FEATURES[1] + FEATURES[3]) / 3)


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        (torch.zeros(2, 0, dtype=torch.int64), r"at least one; got \(2, 0\)"),
        (torch.zeros(3, 4, dtype=torch.int64), r"shape \(2, directed edges\), at least one; got \(3, 4\)"),
        (torch.tensor([0, 1]), r"got \(2,\)"),
        (torch.tensor([[0, 1], [1, 2]]), "both directions: make the graph undirected first"),
        (torch.tensor([[0, 5], [5, 0]]), "edges must join nodes 0 to 4, got 0 to 5"),
        (torch.tensor([[0, -1], [-1, 0]]), "edges must join nodes 0 to 4, got -1 to 0"),
    ],
)
def test_impossible_graphs_are_refused(edges, message):
    with pytest.raises(ValueError, match=message):
        gnn(edges=edges)


def graph_of(model):
    return model.starts, model.neighbours, model.weights, model.weights_back


def test_aggregation_is_own_state_plus_the_mean_of_neighbours_and_has_its_gradient():
    model, h = gnn(), FEATURES.clone().requires_grad_()
    mean = ADJACENCY / ADJACENCY.sum(1, keepdim=True).clamp_min(1)
    torch.testing.assert_close(model.aggregate(h), h + mean @ h)
    assert torch.autograd.gradcheck(lambda h: add_neighbours(*graph_of(model), h), h)
    torch.library.opcheck(add_neighbours, (*graph_of(model), h), test_utils=("test_schema", "test_faketensor"))


def test_batched_aggregation_equals_a_loop_wherever_the_batch_axis_is():
    model, h = gnn(), noise(4, 5, 6).double()
    loop = torch.stack([model.aggregate(one) for one in h])
    for axis in range(3):
        batched = vmap(lambda one: add_neighbours(*graph_of(model), one), in_dims=axis)(h.movedim(0, axis))
        torch.testing.assert_close(batched, loop)


def test_batch_of_gnns_equals_a_loop_gradients_too():
    model = gnn().eval()
    members = {n: p.detach() + 0.1 * noise(3, *p.shape).double() for n, p in model.named_parameters()}
    nodes = torch.tensor([0, 3, 4])

    def loss(params):
        return functional_call(model, params, (nodes,)).square().mean()

    found = []
    for run in (
        lambda p: vmap(loss)(p),
        lambda p: torch.stack([loss({n: w[i] for n, w in p.items()}) for i in range(3)]),
    ):
        leaves = {n: w.clone().requires_grad_() for n, w in members.items()}
        losses = run(leaves)
        found.append([losses, *torch.autograd.grad(losses.sum(), leaves.values())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_the_graph_is_no_part_of_the_state_and_moves_with_the_precision():
    assert not {name for name in gnn().state_dict() if name.startswith(("starts", "neighbours", "weights", "inputs"))}
    single = gnn(FEATURES.float())
    assert single.inputs.dtype == torch.float32 and single.starts.dtype == torch.int64
    assert single.double()(torch.arange(5)).dtype == torch.float64


def test_gated_gnn_and_resnet_have_gates_of_their_layers():
    gated = gnn(activation=activation_for(Sigma(0.01, by_width=True), 0))
    assert [tuple(a.gate.shape) for a in gated.activations] == [(7, 7), (8, 8)]
    images = ResNet(8, 0.5, activation=activation_for(Sigma(1.0), 0, images=True))
    assert images(noise(2, 3, 8, 8)).shape == (2, 10)
