import time
from dataclasses import replace
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from symlib.alignment.axes import Concat, Product, Units, occurrences, order
from symlib.alignment.permutation import permute, random_perms
from symlib.alignment.tracing import check_function_kept, specification
from symlib.alignment.unification import Node, Untieable, concat, cut, factors, product, regroup, segments, split, tie
from symlib.asymmetry import Sigma, activation_for, statistics
from symlib.data.torchvision_import import torchvision
from symlib.networks.gnn import GNN
from symlib.networks.mlp import MLP
from symlib.networks.resnet import ResNet
from symlib.population import mode
from symlib.seeds import generator


class Dense(nn.Module):
    """Every convolution reads all channels made before it."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(4 + 3 * i) for i in range(3))
        self.convs = nn.ModuleList(nn.Conv2d(4 + 3 * i, 3, 3, padding=1) for i in range(3))
        self.linear = nn.Linear(13, 4)

    def forward(self, x):
        x = self.stem(x)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            x = torch.cat([x, conv(F.relu(norm(x)))], dim=1)
        return self.linear(x.mean((2, 3)))


class Gated(nn.Module):
    """Half of a hidden layer gates the other half."""

    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(5, 16), nn.Linear(8, 3)

    def forward(self, x):
        gate, value = self.up(x).chunk(2, dim=-1)
        return self.down(torch.sigmoid(gate) * value)


class Shuffle(nn.Module):
    """Grouped convolutions with their channels exchanged between groups."""

    def __init__(self):
        super().__init__()
        self.first, self.second = (nn.Conv2d(c, 12, 3, padding=1, groups=g) for c, g in ((2, 1), (12, 2)))
        self.third, self.linear = nn.Conv2d(12, 12, 1, groups=2), nn.Linear(12, 3)

    def forward(self, x):
        x = F.relu(self.second(F.relu(self.first(x))))
        n, _, *positions = x.shape
        x = x.view(n, 2, 6, *positions).transpose(1, 2).reshape(n, 12, *positions)
        return self.linear(F.relu(self.third(x)).mean((2, 3)))


class Residual(nn.Module):
    """A square weight whose two axes are one group."""

    def __init__(self):
        super().__init__()
        self.first, self.square, self.last = nn.Linear(5, 12), nn.Linear(12, 12), nn.Linear(12, 3)

    def forward(self, x):
        x = self.first(x)
        return self.last(x + F.relu(self.square(x)))


class Twice(Residual):
    """One module called two times."""

    def forward(self, x):
        return self.last(F.relu(self.square(F.relu(self.square(F.relu(self.first(x)))))))


def gnn(activation=None):
    edges = torch.randint(12, (2, 20), generator=generator("edges"))
    both = torch.cat([edges, edges.flip(0)], dim=1)
    features = torch.randn(12, 5, generator=generator("features"))
    return GNN(features, both, (10, 9), 4, **({"activation": activation} if activation else {}))


def plain_cnn():
    layers = nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(6 * 16, 9), nn.ReLU(), nn.Linear(9, 3))


def grouped_cnn():
    """Four groups, then one per channel, then channels that nothing ties."""
    convs = nn.Conv2d(2, 8, 3), nn.Conv2d(8, 16, 3, groups=4), nn.Conv2d(16, 16, 3, groups=16), nn.Conv2d(16, 6, 1)
    return nn.Sequential(*[m for conv in convs for m in (conv, nn.ReLU())], nn.Conv2d(6, 2, 1))


def two_norm_groups():
    return nn.Sequential(nn.Conv2d(2, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 3, 3))


def resnet18():
    return torchvision("models").resnet18(num_classes=10)


IMAGES, TOKENS, NODES = (3, 2, 8, 8), (3, 5, 16), None
NETWORKS = {
    "mlp, layer": (lambda: MLP((6, 9, 8, 4)), (3, 6), 2),
    "mlp, batch": (lambda: MLP((6, 9, 8, 4), norm="batch"), (3, 6), 2),
    "mlp, none": (lambda: MLP((6, 9, 8, 4), norm="none"), (3, 6), 2),
    "resnet8, layer": (lambda: ResNet(8, 0.5, norm="layer", in_channels=2), IMAGES, 6),
    "resnet8, batch": (lambda: ResNet(8, 0.5, norm="batch", in_channels=2), IMAGES, 6),
    "resnet20, layer": (lambda: ResNet(20, norm="layer", in_channels=2), IMAGES, 12),
    "resnet20, batch": (lambda: ResNet(20, norm="batch", in_channels=2), IMAGES, 12),
    "gnn": (gnn, NODES, 2),
    "torchvision resnet18": (resnet18, (2, 3, 32, 32), 12),
    # Heads, entries of a head, and the hidden layer; one order serves queries, keys and values.
    "transformer, batch first": (lambda: nn.TransformerEncoderLayer(16, 4, 11, 0.0, batch_first=True), TOKENS, 3),
    "transformer, batch second": (lambda: nn.TransformerEncoderLayer(16, 4, 11, 0.0), TOKENS, 3),
    "plain cnn": (plain_cnn, IMAGES, 2),
    "grouped and depthwise": (grouped_cnn, IMAGES, 4),
    "dense concatenation": (Dense, IMAGES, 4),
    "gated": (Gated, (3, 5), 1),
    "channel shuffle": (Shuffle, IMAGES, None),
    "two norm groups": (two_norm_groups, IMAGES, 2),
    "square weight": (Residual, (3, 5), 1),
    "module called twice": (Twice, (3, 5), 1),
}


def example(shape):
    """Return inputs of a shape, or the numbers of all nodes of the graph."""
    return torch.arange(12) if shape is NODES else torch.randn(shape, generator=generator("x"))


@cache
def traced(name):
    """Return a network away from its initialisation, inputs, and its specification."""
    build, shape, _ = NETWORKS[name]
    torch.manual_seed(0)
    model, x = build(), example(shape)
    with torch.no_grad():  # scales of 1, shifts of 0 and fresh statistics would hide mistakes
        for tensor in (dict(model.named_parameters()) | statistics(model)).values():
            if tensor.is_floating_point() and tensor.dim() == 1:
                tensor += 0.3 * torch.rand(tensor.shape, generator=generator("noise", *tensor.shape))
    return model, x, specification(model, x)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)], ids=["32", "64"])
@pytest.mark.parametrize("name", NETWORKS)
def test_reordering_by_the_derived_specification_keeps_the_function(name, dtype, tolerance):
    model, x, spec = traced(name)
    own = {n: t.detach() for n, t in (dict(model.named_parameters()) | statistics(model)).items()}
    data = {n: b for n, b in model.named_buffers() if n not in own}
    own, data = ({n: t.to(dtype) if t.is_floating_point() else t for n, t in ts.items()} for ts in (own, data))
    x = x.to(dtype) if x.is_floating_point() else x
    with torch.no_grad(), mode(model, training=False):
        before = functional_call(model, own | data, (x,))
        for trial in range(20):
            perms = random_perms(spec.sizes, generator("perms", name, trial))
            moved = permute(spec, perms, own)
            assert not all(torch.equal(moved[n], own[n]) for n in own)
            after = functional_call(model, moved | data, (x,))
            assert (after - before).abs().max() <= tolerance * before.abs().max(), trial


@pytest.mark.parametrize("name", [name for name, (_, _, groups) in NETWORKS.items() if groups])
def test_all_groups_of_units_are_found(name):
    _, _, spec = traced(name)
    assert len(spec.sizes) == NETWORKS[name][2], str(spec)


def mutilations(spec):
    """Yield a tensor's name and axis, and the specification without what it knows about them."""
    for part in ("axes", "stats"):
        for name, axes in getattr(spec, part).items():
            for i, axis in enumerate(axes):
                if any(True for _ in occurrences(axis)):
                    forgotten = (*axes[:i], Units(axis.size), *axes[i + 1 :])
                    yield name, i, replace(spec, **{part: getattr(spec, part) | {name: forgotten}})


@pytest.mark.parametrize(
    "name",
    ["mlp, layer", "mlp, batch", "resnet8, layer", "resnet8, batch", "gnn", "transformer, batch first", "plain cnn"],
)
def test_every_forgotten_axis_is_noticed(name):
    # None is invisible: key biases alone would be, under softmax, but they are packed with those of queries and values.
    model, x, spec = traced(name)
    check_function_kept(spec, model, x)
    found = 0
    for tensor, axis, wrong in mutilations(spec):
        with pytest.raises(ValueError, match="does not keep the function"):
            check_function_kept(wrong, model, x)
            pytest.fail(f"axis {axis} of {tensor} can be forgotten")
        found += 1
    assert found >= len(spec.sizes) * 2


def table_of_resnet20():
    """Write out the specification of Git Re-Basin: 3 streams S and 9 inner groups I (Lim et al., their code)."""
    table = {"stem.weight": ("S0", None), "norm": ("S0",), "linear.weight": (None, "S2"), "linear.bias": (None,)}
    for stage in range(3):
        for block in range(3):
            at, inner, stream = f"stages.{stage}.{block}", f"I{stage}{block}", f"S{stage}"
            incoming = f"S{stage - 1}" if stage and not block else stream
            table |= {f"{at}.conv1.weight": (inner, incoming), f"{at}.norm1": (inner,)}
            table |= {f"{at}.conv2.weight": (stream, inner), f"{at}.norm2": (stream,)}
            if stage and not block:
                table |= {f"{at}.shortcut.0.weight": (stream, incoming), f"{at}.shortcut.1": (stream,)}
    return table


def leaves_of(norms, axes):
    """Expand the row of a norm to its tensors."""
    return {f"{norm}.{leaf}": axes for norm in norms for leaf in ("weight", "bias", "running_mean", "running_var")}


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_specification_of_resnet20_is_the_table_of_git_re_basin(norm):
    _, _, spec = traced(f"resnet20, {norm}")
    table = {}
    for name, axes in table_of_resnet20().items():
        table |= {name: axes} if name.startswith("linear") or "conv" in name or name.endswith("weight") else {}
        table |= leaves_of([name], axes) if name not in table else {}
    renamed = {}
    for name, axes in (spec.axes | spec.stats).items():
        if name.endswith("num_batches_tracked"):
            continue
        expected = table.pop(name)
        assert len(axes) == len(expected) + 2 * (len(axes) == 4), name
        for axis, group in zip(axes, (*expected, None, None), strict=False):
            assert isinstance(axis, Units), name
            assert renamed.setdefault(axis.group, group) == group, (name, axis.group, group)
    assert not {name for name in table if norm == "batch" or "running" not in name}
    assert len(set(renamed.values())) == len(renamed) == 3 + 9 + 1  # one to one, None with None


def test_resnet50_is_traced_in_seconds():
    """The slowest trace here: a second alone, with room for a busy machine."""
    model, x = torchvision("models").resnet50(num_classes=10), torch.zeros(2, 3, 32, 32)
    start = time.perf_counter()
    spec = specification(model, x)
    assert time.perf_counter() - start < 15
    assert len(spec.sizes) == 1 + 4 + 2 * 16  # the stem, the streams of four stages, two inside each block


def test_residual_streams_that_start_at_a_fixed_input_stay_in_order():
    _, _, spec = traced("transformer, batch first")
    assert spec.axes["norm1.weight"] == (Units(16),)
    assert spec.axes["linear2.weight"] == (Units(16), Units(11, "linear1"))


def test_shape_of_axes_is_found():
    _, _, cnn = traced("plain cnn")
    assert cnn.axes["5.weight"] == (Units(9, "5"), Product((Units(6, "0"), Units(4), Units(4))))
    _, _, dense = traced("dense concatenation")
    parts = Units(4, "stem"), *[Units(3, group) for group in ("norms.1", "norms.2", "convs.2")]
    assert [dense.axes[f"convs.{i}.weight"][1] for i in range(1, 3)] == [Concat(parts[:2]), Concat(parts[:3])]
    assert dense.axes["linear.weight"] == (Units(4), Concat(parts))
    _, _, gated = traced("gated")
    (half,) = gated.sizes
    assert gated.axes["up.bias"] == (Concat((Units(8, half), Units(8, half))),)
    _, _, norms = traced("two norm groups")
    assert sorted(norms.sizes.values()) == [2, 4]  # whole groups, and channels within them


def test_orders_of_products_and_concatenations_move_whole_blocks():
    perms = {"a": torch.tensor([2, 0, 1]), "b": torch.tensor([1, 0])}
    a, b = Units(3, "a"), Units(2, "b")
    assert order(Product((a, b)), perms).tolist() == [5, 4, 1, 0, 3, 2]
    assert order(Concat((b, Units(1), a)), perms).tolist() == [1, 0, 2, 5, 3, 4]
    assert {group: e.tolist() for group, e in occurrences(Product((a, b)))} == {
        "a": [[0, 1], [2, 3], [4, 5]],
        "b": [[0, 2, 4], [1, 3, 5]],
    }
    assert [(group, e.tolist()) for group, e in occurrences(Concat((a, a)))] == [
        ("a", [[0], [1], [2]]),
        ("a", [[3], [4], [5]]),
    ]


class Through(nn.Module):
    """Two linear maps with any function between them."""

    def __init__(self, between):
        super().__init__()
        self.first, self.last, self.between = nn.Linear(5, 8), nn.Linear(8, 3), between

    def forward(self, x):
        return self.last(self.between(self.first(x)))


RAMP = torch.arange(8.0)


def rough(h):
    return 2 * h if h.sum() > 0 else h


@pytest.mark.parametrize(
    ("between", "message"),
    [
        (lambda h: torch.cumsum(h, 1), "no rule for the operator aten.cumsum.default in the model's own forward"),
        (lambda h: torch.fft.fft(h).real, "no rule for the operator aten.fft_fft.default"),
        (rough, r"cannot trace Through: .*A branch on data, or inputs of the wrong shape\?"),
    ],
)
def test_what_cannot_be_followed_is_named(between, message):
    with pytest.raises(ValueError, match=message):
        specification(Through(between), torch.randn(2, 5))


def test_view_that_tears_units_apart_keeps_them_in_order():
    def torn(h):
        blocks = h[:, :6].reshape(-1, 2, 3).tanh()
        return torch.cat([blocks.reshape(-1, 3, 2).flatten(1), h[:, 6:]], dim=1)

    assert list(specification(Through(torn), torch.randn(2, 5)).sizes.values()) == [2]


def test_module_with_an_unknown_operator_is_named():
    class Inner(nn.Module):
        def forward(self, x):
            return x.cumsum(1)

    with pytest.raises(ValueError, match="aten.cumsum.default in 1.0"):
        specification(nn.Sequential(nn.Linear(5, 8), nn.Sequential(Inner()), nn.Linear(8, 3)), torch.randn(2, 5))


@pytest.mark.parametrize(
    "between",
    [
        lambda h: torch.roll(h, 1, 1),
        lambda h: h.flip(1),
        lambda h: h * RAMP,
        lambda h: h + torch.arange(8),
        lambda h: h[:, [1, 0, 2, 3, 4, 5, 6, 7]],
        lambda h: h.index_select(1, RAMP.to(torch.int64)),
        lambda h: h @ (RAMP[:, None] * RAMP),
        lambda h: F.avg_pool1d(h[:, None], 3, 1, 1)[:, 0] + h.max(1, keepdim=True).indices,
        lambda h: torch.stack([h[:, 0]] * 8, 1) + h,
    ],
    ids=["roll", "flip", "ramp", "arange", "index", "index_select", "matrix", "window", "one unit"],
)
def test_units_whose_place_matters_stay_in_order(between):
    with pytest.raises(ValueError, match="no unit of Through can be reordered"):
        specification(Through(between), torch.randn(2, 5))


@pytest.mark.parametrize(
    "between",
    [
        lambda h: h.softmax(-1),
        lambda h: h - h.mean(1, keepdim=True),
        lambda h: h / h.square().sum(1, keepdim=True).sqrt(),
        lambda h: h.view(-1, 1, 8).transpose(1, 2).flatten(1),
        lambda h: torch.einsum("bi,bj->bi", h, h),
        lambda h: h.unsqueeze(0).expand(3, -1, -1).sum(0),
        lambda h: F.layer_norm(h, (8,)),
        lambda h: h.to(h.dtype).type_as(h),
        lambda h: torch.where(h > 0, h, torch.zeros_like(h)),
        lambda h: F.glu(torch.cat([h, h.tanh()], 1), 1),
    ],
)
def test_units_that_are_treated_alike_are_free(between):
    assert specification(Through(between), torch.randn(2, 5)).sizes == {"first": 8}


def test_shared_weights_are_refused():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    with pytest.raises(ValueError, match="0.weight and 2.weight are one shared parameter"):
        specification(model, torch.randn(2, 4))


@pytest.mark.parametrize("images", [False, True])
def test_gated_networks_have_no_units_to_reorder(images):
    activation = activation_for(Sigma(1.0), 0, images=images)
    model, x = (
        (ResNet(8, 0.5, activation=activation, in_channels=2), torch.randn(IMAGES))
        if images
        else (MLP((6, 9, 4), activation), torch.randn(3, 6))
    )
    with pytest.raises(ValueError, match="no unit of .* can be reordered"):
        specification(model, x)


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        (MLP((8, 16, 4)), (2, 7), "inputs have 7 features, the network was built for 8"),
        (ResNet(8, 0.5), (2, 1, 8, 8), r"images must have shape \(batch, 3, height, width\), got \(2, 1, 8, 8\)"),
    ],
)
def test_inputs_of_the_wrong_shape_are_explained(model, shape, message):
    with pytest.raises(ValueError, match=f"cannot trace .*{message}.*inputs of the wrong shape"):
        specification(model, torch.zeros(shape))


def test_tracing_leaves_the_model_as_it_was():
    model = MLP((6, 9, 4), norm="batch")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.norms[0].eval()
    specification(model, torch.randn(3, 6))
    assert model.training and not model.norms[0].training
    assert torch.backends.mha.get_fastpath_enabled()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_unused_parameters_stay_in_order_and_make_no_groups():
    model = Through(torch.relu)
    model.spare = nn.Linear(4, 4)
    spec = specification(model, torch.randn(2, 5))
    assert spec.axes["spare.weight"] == (Units(4), Units(4)) and spec.sizes == {"first": 8}


def sizes(nodes):
    return [node.size for node in nodes]


def test_foldings_of_different_factors_are_tied_through_common_ones():
    """2 x 6 x 5 and 4 x 15 have the factors 2, 2, 3 and 5 in common, and those move together."""
    first, second = product([Node(n) for n in (2, 6, 5)]), product([Node(n) for n in (4, 15)])
    tie(first, second)
    assert sizes(factors(first)) == sizes(factors(second)) == [2, 2, 3, 5]
    assert [a is b for a, b in zip(factors(first), factors(second), strict=True)] == [True] * 4
    for wrong in ([Node(3), Node(20)], [Node(5), Node(12)]):  # nothing in common: all stay in order
        left, right = product([Node(n) for n in (2, 6, 5)]), product(wrong)
        tie(left, right)
        assert all(leaf.pinned for leaf in (*left.leaves(), *right.leaves()))
    with pytest.raises(Untieable, match="an axis of 60 cannot move with one of 59"):
        tie(first, Node(59))


def test_segments_are_tied_through_common_cuts():
    first, second = concat([Node(n) for n in (2, 6, 4)]), concat([Node(n) for n in (5, 3, 4)])
    tie(first, second)
    assert sizes(segments(first)) == sizes(segments(second)) == [2, 3, 3, 4]
    assert [a.find() is b.find() for a, b in zip(segments(first), segments(second), strict=True)] == [True] * 4


def test_cuts_go_between_blocks_and_not_through_them():
    folded = product([Node(6), Node(2)])
    one, other = cut(folded, (4, 12))
    assert (sizes(factors(one)), sizes(factors(other))) == ([2, 2], [4, 2])
    through = product([Node(6), Node(2)])
    pieces = cut(through, (3, 12))
    assert sizes(pieces) == [3, 9] and all(leaf.pinned for node in (through, *pieces) for leaf in node.leaves())


def test_pins_spread_to_all_that_is_tied_and_to_parts():
    loose, fixed, parts = Node(6), Node(6), [Node(2), Node(3)]
    fixed.pin()
    tie(loose, product(parts))
    assert not any(part.pinned for part in parts)
    tie(fixed, loose)
    assert all(leaf.pinned for leaf in (*loose.leaves(), *fixed.leaves(), *parts))
    assert Node(1).pinned and not any(part.pinned for part in split(Node(12), 3))
    assert all(part.pinned for part in split(fixed, 2))
    with pytest.raises(Untieable, match="a part of itself"):
        tie(whole := Node(4), concat([whole, Node(0)]))


def test_equal_blocks_of_a_concatenation_move_alike():
    first, second = Node(4), Node(4)
    count, block = split(concat([first, second]), 2)
    assert count.size == 2 and count.pinned and block.size == 4 and not block.pinned
    assert first.find() is second.find() is block.find()


def test_views_keep_what_varies_fastest():
    channels, positions = Node(6), Node(4)
    (folded,) = regroup([channels, positions], (24,))
    assert factors(folded) == [channels, positions]
    assert regroup([folded], (6, 1, 4))[::2] == [channels, positions]
    outer, inner = regroup([folded], (3, 8))
    assert sizes(factors(outer)) == [3] and sizes(factors(inner)) == [2, 4]
    for torn, shape in (([Node(2), Node(3)], (3, 2)), ([Node(5), Node(3)], (3, 5))):
        found = regroup(torn, shape)
        assert sizes(found) == list(shape) and all(leaf.pinned for node in (*torn, *found) for leaf in node.leaves())


def test_inputs_that_are_answered_by_zeros_are_refused():
    model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 2, bias=False))
    with pytest.raises(ValueError, match="answers 0 to the example inputs"):
        specification(model, torch.zeros(2, 3))
