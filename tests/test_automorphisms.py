import sys
from dataclasses import replace
from itertools import pairwise, permutations
from math import factorial

import networkx as nx
import numpy as np
import pytest
import torch
from networkx.algorithms.isomorphism import DiGraphMatcher
from torch import nn

from symlib.alignment.tracing import specification
from symlib.asymmetry import Constraint, FixedBiases, Standard, Syre, constraint
from symlib.networks.mlp import MLP
from symlib.plots import automorphisms as plots
from symlib.seeds import generator
from symlib.studies import automorphisms as study
from symlib.studies.automorphisms import Automorphisms, check_of, quantities, run
from symlib.studies.counted_architectures import ARCHITECTURES, WithSkip
from symlib.theory.automorphisms import (
    as_perms,
    as_text,
    automorphism_generators,
    certified_trivial,
    count_automorphisms,
    forward_colours,
)
from symlib.theory.computation_graph import ComputationGraph, computation_graph, graph_of
from symlib.theory.masked_networks import (
    EQUAL_ROWS,
    EQUAL_ROWS_ONLY,
    ISOLATED,
    change_by_exchange,
    masked_mlp,
    transpositions,
    with_random_weights,
)

SMALL = {"profile": "custom", "wide": False, "n_draws": 2, "n_masks": 50, "base_seed": 0, "workers": 1, "out": ""}
DAILY = [name for name, a in ARCHITECTURES.items() if not a.wide and sum(a.widths) < 300]


def counted(model, x, fixed, named_layers=True):
    return count_automorphisms(computation_graph(model, x, fixed, named_layers))


def counted_mlp(masks, constants=None, named_layers=True):
    model, fixed = masked_mlp(masks, constants)
    return counted(model, torch.ones(2, masks[0].shape[1]), fixed, named_layers)


def by_trial(graph):
    """Try every reordering of the hidden nodes."""
    edges = set(zip(graph.tails.tolist(), graph.heads.tolist(), graph.labels.tolist(), strict=True))
    colours = graph.colours.tolist()
    found = 0
    for image in permutations(range(graph.n_hidden)):
        image = [*image, *range(graph.n_hidden, len(colours))]
        if all(colours[new] == colours[old] for old, new in enumerate(image)):
            found += {(image[t], image[h], label) for t, h, label in edges} == edges
    return found


def random_masks(source, widths=(3, 3, 3, 2)):
    shapes = [(out, into) for into, out in pairwise(widths)]
    return tuple(torch.rand(shape, generator=source) < 0.5 for shape in shapes)


@pytest.mark.parametrize("named_layers", [True, False])
@pytest.mark.parametrize("seed", range(12))
def test_counts_are_those_found_by_trying_every_reordering(seed, named_layers):
    source = generator("trial", seed)
    masks = random_masks(source)
    few = [torch.randint(0, 3, mask.shape, generator=source).float() * (seed % 2) for mask in masks]
    model, fixed = masked_mlp(masks, few)
    graph = computation_graph(model, torch.ones(2, 3), fixed, named_layers)
    assert count_automorphisms(graph) == by_trial(graph)


def test_trial_counts_are_not_all_one():
    found = {counted_mlp(random_masks(generator("trial", seed)), named_layers=False) for seed in range(0, 12, 2)}
    assert len(found) > 1


@pytest.mark.parametrize(("widths", "expected"), [((4, 4, 1), 24), ((5, 5, 4, 2), 2880)])
def test_networkx_finds_as_many(widths, expected):
    graph = computation_graph(MLP(widths), torch.ones(2, widths[0]), constraint(MLP(widths), Standard(), 0), False)
    other = nx.DiGraph(zip(graph.tails.tolist(), graph.heads.tolist(), strict=True))
    nx.set_node_attributes(other, dict(enumerate(graph.colours.tolist())), "colour")
    matcher = DiGraphMatcher(other, other, lambda a, b: a["colour"] == b["colour"])
    assert sum(1 for _ in matcher.isomorphisms_iter()) == count_automorphisms(graph) == expected


@pytest.mark.parametrize("name", DAILY)
def test_standard_networks_have_the_product_of_factorials_and_masked_ones_the_identity(name):
    architecture = ARCHITECTURES[name]
    model = architecture.build()
    spec = specification(model, architecture.x)
    assert sorted(spec.sizes.values()) == sorted(architecture.widths)
    assert count_automorphisms(graph_of(spec, constraint(model, Standard(), 0))) == architecture.expected
    for sigma_F in (0.0, 1.0):
        assert count_automorphisms(graph_of(spec, constraint(model, architecture.masks(sigma_F), 3))) == 1


def test_paper_sized_numbers():
    expected = {"MLP 784-512-512-512-10": 3500, "ResNet-20": 552, "GNN 128-256-256-256-40": 1521, "ResNet-8": 276}
    assert {name: len(str(ARCHITECTURES[name].expected)) for name in expected} == expected
    assert ARCHITECTURES["MLP 16-16-16-4"].expected == 437763136697395052544000000


def test_layers_of_a_standard_network_are_kept_without_being_named():
    model = MLP((4, 4, 3, 4, 2))
    graph = computation_graph(model, torch.ones(2, 4), constraint(model, Standard(), 0), named_layers=False)
    assert len(set(graph.colours[: graph.n_hidden])) == 1
    assert count_automorphisms(graph) == factorial(4) ** 2 * factorial(3)
    assert all(as_perms(graph, image) for image in automorphism_generators(graph))


def test_equal_rows_are_exchanged_only_if_columns_are_equal():
    assert counted_mlp(EQUAL_ROWS, named_layers=False) == 2
    assert counted_mlp(EQUAL_ROWS_ONLY, named_layers=False) == 1
    different = sum(int((a != b).sum()) for a, b in zip(EQUAL_ROWS, EQUAL_ROWS_ONLY, strict=True))
    assert different == 1 and torch.equal(EQUAL_ROWS_ONLY[0][0], EQUAL_ROWS_ONLY[0][1])


def test_inputs_that_may_move_take_units_along():
    model, fixed = masked_mlp((torch.eye(2).bool(), torch.ones(1, 2).bool()))
    graph = computation_graph(model, torch.ones(2, 2), fixed)
    assert count_automorphisms(graph) == 1
    inputs, free = graph.tails[graph.heads < 2], graph.colours.copy()
    free[inputs] = free[inputs[0]]
    assert count_automorphisms(replace(graph, colours=free)) == 2


def test_constants_tell_equal_rows_apart_unless_they_are_equal():
    gaussian = [torch.randn(mask.shape, generator=generator(i)) for i, mask in enumerate(EQUAL_ROWS)]
    assert counted_mlp(EQUAL_ROWS, gaussian) == 1
    assert counted_mlp(EQUAL_ROWS, [torch.ones(mask.shape) for mask in EQUAL_ROWS]) == 2


def test_isolated_units_leave_their_layer():
    model, fixed = masked_mlp(ISOLATED)
    graph = computation_graph(model, torch.ones(2, 3), fixed, named_layers=False)
    assert count_automorphisms(graph) == 2 and counted_mlp(ISOLATED) == 1
    with pytest.raises(ValueError, match="moves units of 0 to another group"):
        as_perms(graph, automorphism_generators(graph)[0])


def test_a_layer_that_is_pinned_as_a_whole_needs_different_constants():
    masks = torch.zeros(6, 8).bool(), torch.ones(3, 6).bool()
    values = torch.zeros(6, 8), torch.ones(6, 8), torch.randn(6, 8, generator=generator("constants"))
    assert [counted_mlp(masks, [value, torch.zeros(3, 6)]) for value in values] == [720, 720, 1]
    model, fixed = masked_mlp(masks, [values[2], torch.zeros(3, 6)])
    assert certified_trivial(computation_graph(model, torch.ones(2, 8), fixed), fixed)


@pytest.mark.parametrize("seed", range(20))
def test_certificate_says_whether_all_rows_differ(seed):
    masks = tuple(mask | (mask.sum(1, keepdim=True) == 0) for mask in random_masks(generator("rows", seed)))
    model, fixed = masked_mlp(masks)
    graph = computation_graph(model, torch.ones(2, 3), fixed, named_layers=False)
    hidden = masks[:-1]
    distinct = all(len(mask.unique(dim=0)) == len(mask) for mask in hidden)
    assert certified_trivial(graph, fixed) == distinct
    if distinct:
        assert count_automorphisms(graph) == by_trial(graph) == 1


def test_certificate_decides_both_ways():
    rows = [random_masks(generator("rows", seed))[:-1] for seed in range(20)]
    assert {all(len(mask.unique(dim=0)) == len(mask) for mask in hidden) for hidden in rows} == {True, False}


def test_certificate_of_the_papers_mlp_and_resnet():
    for name in ("MLP 784-512-512-512-10", "ResNet-20"):
        architecture = ARCHITECTURES[name]
        model = architecture.build()
        spec = specification(model, architecture.x)
        masked, free = constraint(model, architecture.masks(0.0), 0), constraint(model, Standard(), 0)
        assert certified_trivial(graph_of(spec, masked), masked)
        assert not certified_trivial(graph_of(spec, free), free)


def test_forward_colours_are_kept_by_automorphisms():
    model, fixed = masked_mlp(EQUAL_ROWS)
    graph = computation_graph(model, torch.ones(2, 4), fixed)
    colours = forward_colours(graph)
    (image,) = automorphism_generators(graph)
    assert not np.array_equal(image, np.arange(len(image))) and np.array_equal(colours[image], colours)


def test_empty_rows_are_refused_by_weight_and_row():
    model, fixed = masked_mlp(ISOLATED)
    graph = computation_graph(model, torch.ones(2, 3), fixed)
    with pytest.raises(ValueError, match=r"row 2 of 0\.weight is pinned to 0 as a whole: the theorem does not apply"):
        certified_trivial(graph, fixed)


def pinned(model, name, *entries):
    mask = torch.ones(model.get_parameter(name).shape, dtype=torch.bool)
    for entry in entries:
        mask[entry] = False
    return Constraint({name: mask}, {name: torch.zeros(mask.shape)}, "by hand")


def test_positions_of_a_flattened_channel_and_of_a_kernel_are_told_apart():
    model = nn.Sequential(nn.Conv2d(2, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    images = torch.ones(2, 2, 3, 3)
    assert counted(model, images, pinned(model, "3.weight", (0, 0), (0, 4))) == 2
    assert counted(model, images, pinned(model, "3.weight", (0, 0), (0, 5))) == 1
    assert counted(model, images, pinned(model, "0.weight", (0, 0, 1, 1), (1, 0, 1, 1))) == 2
    assert counted(model, images, pinned(model, "0.weight", (0, 0, 1, 1), (1, 0, 0, 1))) == 1


def test_whole_filters_cut_edges_and_entries_do_not():
    model = nn.Sequential(nn.Conv2d(2, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    whole, entry = (pinned(model, "0.weight", place) for place in ((0, 0), (0, 0, 0, 0)))
    edges = [len(computation_graph(model, torch.ones(2, 2, 3, 3), fixed).labels) for fixed in (whole, entry)]
    assert edges == [11, 12]


def test_diagonal_of_a_skip_counts():
    model = nn.Sequential(nn.Linear(3, 4), WithSkip(nn.Linear(4, 4)), nn.Linear(4, 2))
    x = torch.ones(2, 3)
    assert counted(model, x, pinned(model, "1.body.0.weight", (0, 0), (1, 1))) == 4
    assert counted(model, x, pinned(model, "1.body.0.weight", (0, 1), (1, 0))) == 4
    assert counted(model, x, pinned(model, "1.body.0.weight", (0, 0), (1, 2))) == 1


def test_weights_between_the_same_units_are_told_apart():
    model = TWO_SKIPS
    one, other = (pinned(model, f"{i}.body.0.weight", place) for i, place in ((1, (0, 1)), (3, (1, 0))))
    assert counted(model, torch.ones(2, 3), Constraint(one.D | other.D, one.F | other.F, "by hand")) == 2


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.up, self.down = nn.Linear(2, 3), nn.Linear(3, 6), nn.Linear(3, 1)

    def forward(self, x):
        gate, value = self.up(self.first(x)).chunk(2, dim=-1)
        return self.down(torch.sigmoid(gate) * value)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ((), 6 * 6),
        (((0, 0), (1, 0)), 2 * 2),  # two gates leave out unit 0
        (((0, 0), (4, 0)), 2),  # a gate and the value of another unit
        (((0, 0), (0, 1)), 2 * 2),  # one gate leaves out two units
        (((0, 0), (3, 1)), 2),  # the gate and the value of one unit
    ],
)
def test_gate_and_value_of_one_unit_are_told_apart(entries, expected):
    assert counted(Gated(), torch.ones(2, 2), pinned(Gated(), "up.weight", *entries)) == expected


def test_positions_made_by_a_matrix_are_told_apart():
    decoder = nn.Linear(2, 3), nn.Linear(3, 12), nn.Unflatten(1, (3, 2, 2)), nn.Tanh(), nn.Conv2d(3, 1, 2)
    model = nn.Sequential(*decoder, nn.Flatten())
    x = torch.ones(2, 2)
    assert counted(model, x, pinned(model, "1.weight", (0, 0), (0, 1))) == 2 * 2
    assert counted(model, x, pinned(model, "1.weight", (0, 0), (1, 1))) == 2  # other positions of the same channel


class Vector(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x):
        return (x * self.scale).square().sum(1)


def test_a_network_without_matrices_has_nodes_and_no_edges():
    model = Vector()
    graph = computation_graph(model, torch.ones(2, 1), constraint(model, Standard(), 0))
    assert graph.n_hidden == 4 and len(graph.labels) == 0 and count_automorphisms(graph) == 24
    assert counted(model, torch.ones(2, 1), pinned(model, "scale", 0)) == 6


def test_a_constant_added_differs_from_a_constant_alone():
    model, fixed = masked_mlp((torch.ones(2, 1).bool(), torch.ones(1, 2).bool()))
    shift = {"0.weight": torch.ones(2, 1), "2.weight": torch.zeros(1, 2)}
    assert counted(model, torch.ones(2, 1), Constraint(fixed.D, shift, "by hand")) == 2
    fixed.D["0.weight"][0] = False
    assert counted(model, torch.ones(2, 1), Constraint(fixed.D, shift, "by hand")) == 1


class Shifted(nn.Sequential):
    def __init__(self, *layers):
        super().__init__(*layers)
        self.shift = nn.Parameter(torch.randn(1, 1, 4))

    def forward(self, x):
        first, *others = self.children()
        return nn.Sequential(*others)(first(x) + self.shift)


def test_units_on_the_last_of_three_axes_are_refused():
    model = Shifted(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    with pytest.raises(ValueError, match="shift has units on axis 2 or higher"):
        computation_graph(model, torch.ones(2, 5, 3), constraint(model, Standard(), 0))


def test_fixed_biases_and_syre_leave_the_identity_alone():
    model = MLP((4, 6, 5, 2))
    x = torch.ones(2, 4)
    assert counted(model, x, constraint(model, FixedBiases(1.0), 0)) == 1
    assert counted(model, x, constraint(model, Syre(1.0), 0)) == 1
    even = constraint(model, FixedBiases(1.0), 0)
    even.F["norms.0.bias"].abs_()  # the grid is symmetric: its values pair up
    assert counted(model, x, even) == 2**3


@pytest.mark.parametrize(
    "name", ["CNN with flattening", "Sequential with skips", "DenseNet-like CNN", "GNN 12-24-24-4"]
)
def test_automorphisms_keep_functions_of_standard_networks(name):
    architecture = ARCHITECTURES[name]
    model = architecture.build()
    x = architecture.x.double() if architecture.x.is_floating_point() else architecture.x
    spec = specification(model, architecture.x)
    fixed = constraint(model, Standard(), 0)
    graph = graph_of(spec, fixed)
    model = with_random_weights(model, generator("weights"))
    for buffer in model.buffers():
        buffer.data = buffer.double() if buffer.is_floating_point() else buffer
    images = automorphism_generators(graph)
    assert len(images) >= sum(architecture.widths) - len(architecture.widths)
    changes = [change_by_exchange(model.eval(), spec, fixed, as_perms(graph, image), x) for image in images]
    assert max(changes) < 1e-10


def exchanges(masks):
    model, fixed = masked_mlp(masks)
    with_random_weights(model, generator("weights"))
    x = torch.randn(200, masks[0].shape[1], generator=generator("inputs"), dtype=torch.float64)
    spec = specification(model, x)
    return [change_by_exchange(model, spec, fixed, perms, x) for perms in transpositions(spec)]


def test_exchanges_change_functions_unless_they_are_automorphisms():
    equal, others = exchanges(EQUAL_ROWS)[0], exchanges(EQUAL_ROWS)[1:]
    assert equal < 1e-12 and min(others) > 1e-3 and min(exchanges(EQUAL_ROWS_ONLY)) > 1e-3
    assert len(others) == 6 + 3 - 1


def test_automorphisms_that_exchange_more_than_two_units_are_read_in_the_right_direction():
    nodes = range(3)
    graph = ComputationGraph({"g": nodes}, np.zeros(3, int), *np.zeros((3, 0), int))
    perm = as_perms(graph, np.array([1, 2, 0]))["g"]  # unit 0 goes to place 1
    assert torch.arange(3)[perm].tolist() == [2, 0, 1]


def test_numbers_longer_than_pythons_limit():
    before = sys.get_int_max_str_digits()
    graph = ComputationGraph({"g": range(1600)}, np.zeros(1600, int), *np.zeros((3, 0), int))
    n = count_automorphisms(graph)
    assert n == factorial(1600) and len(as_text(n).replace("_", "")) == 4434
    assert sys.get_int_max_str_digits() == before > 0


class Running(nn.Sequential):
    def forward(self, x):
        return super().forward(x).cumsum(1)


class Branching(nn.Sequential):
    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else x


@pytest.mark.parametrize(
    ("kind", "message"),
    [(Running, r"there is no rule for the operator aten\.cumsum\.default"), (Branching, "cannot trace Branching")],
)
def test_unsupported_networks_are_refused(kind, message):
    model = kind(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3))
    with pytest.raises(ValueError, match=message):
        computation_graph(model, torch.ones(2, 3), constraint(model, Standard(), 0))


def test_units_on_shared_entries_are_refused_by_weight():
    model = nn.TransformerEncoderLayer(8, 2, 12, 0.0)
    with pytest.raises(ValueError, match="entries of self_attn.in_proj_weight belong to several groups"):
        computation_graph(model, torch.randn(3, 2, 8), constraint(model, Standard(), 0))


TWO_SKIPS = nn.Sequential(
    nn.Linear(3, 4), WithSkip(nn.Linear(4, 4)), nn.ReLU(), WithSkip(nn.Linear(4, 4)), nn.Linear(4, 2)
)
CONVOLUTION = nn.Sequential(nn.Conv2d(3, 4, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


@pytest.mark.parametrize(
    ("model", "shape", "asymmetry"),
    [
        (TWO_SKIPS, (3,), Standard()),
        (CONVOLUTION, (3, 4, 4), Standard()),
        (MLP((3, 4, 2)), (3,), FixedBiases(1.0)),
    ],
)
def test_nameless_layers_are_refused_where_labels_are_needed(model, shape, asymmetry):
    with pytest.raises(ValueError, match="layers can stay nameless only where every edge is a single entry"):
        computation_graph(model, torch.ones(2, *shape), constraint(model, asymmetry, 0), named_layers=False)


@pytest.fixture(scope="module")
def record():
    names = ("MLP 4-4-1", "ResNet-8, whole filters")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "ARCHITECTURES", {name: ARCHITECTURES[name] for name in names})
        return run(Automorphisms.checked(SMALL))


def test_study_reports_what_the_theorem_and_its_counterexamples_say(record):
    found = quantities(record)
    for name, n in {"agreement/standard": 2, "trivial/w-asym 0": 4, "trivial/w-asym 1": 4}.items():
        assert found[name].tolist() == [1.0] * n, name
    assert found["agreement/nameless"].tolist() == [1.0]
    assert found["agreement/nameless w-asym 0"].tolist() == [1.0, 1.0]
    # Without constants the stem of the ResNet-8 has no mask, and the induction stops there.
    assert found["certified/w-asym 0"].tolist() == [1, 1, 0, 0] and found["certified/w-asym 1"].tolist() == [1] * 4
    assert found["assumption/equal rows and columns"].tolist() == found["assumption/isolated units"].tolist() == [2, 2]
    assert found["assumption/equal rows only"].tolist() == [1, 1]
    assert found["function/standard"].max() < 1e-12 and found["function/equal rows and columns"].max() < 1e-12
    assert found["function/equal rows only"].min() > 1e-3 and found["function/distinct rows"].min() > 1e-3


def test_study_draws_other_masks_in_every_draw(monkeypatch):
    given = []
    monkeypatch.setattr(
        study, "graph_of", lambda spec, fixed, *args: given.append(fixed) or graph_of(spec, fixed, *args)
    )
    study.counts("MLP 5-5-4-2", 2, 0)
    assert len({fixed.fingerprint for fixed in given}) == 1 + 2 * len(study.SIGMAS)


def test_study_counts_masked_networks_without_names_of_layers_too(monkeypatch):
    given = []
    monkeypatch.setattr(
        study, "graph_of", lambda spec, fixed, named: given.append((fixed.D, named)) or graph_of(spec, fixed, named)
    )
    study.counts("MLP 5-5-4-2", 2, 0)
    study.counts("ResNet-8", 2, 0)  # entries of a kernel would have to be told apart
    nameless = [bool(D) and not all(mask.all() for mask in D.values()) for D, named in given if not named]
    assert nameless == [False, True, True]


def test_study_keeps_counts_as_text(record):
    rows = check_of(record, "count")
    standard = rows[rows["intervention"] == "standard"].set_index("case")["automorphisms"]
    assert standard["MLP 4-4-1"] == "24"
    expected = (factorial(16) * factorial(32) * factorial(64)) ** 2
    assert int(standard["ResNet-8, whole filters"]) == expected


def test_one_draw_is_refused():
    with pytest.raises(ValueError, match="n_draws: input should be greater than or equal to 2, got 1"):
        Automorphisms.checked(SMALL | {"n_draws": 1})


def test_figure_of_counts_shows_every_architecture(record):
    figure = plots.automorphism_counts(check_of(record, "count"), "test")
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["MLP 4-4-1", "ResNet-8, whole filters"]
    standard, *masked = (line.get_xdata() for line in axes.lines)
    assert len(masked) == 2  # the two sigma_F; graphs without names of layers are left out
    np.testing.assert_allclose(standard, [np.log10(24), 275.688], rtol=1e-5)
    assert all((xs == 0).all() for xs in masked)


def test_figure_of_graphs_draws_an_edge_per_trained_entry():
    figure = plots.masked_graphs({"a": (EQUAL_ROWS, [(1, 0)], {}), "b": (ISOLATED, [], {(1, 2): "a"})})
    drawn = [len(axes.collections[0].get_segments()) for axes in figure.axes]
    assert drawn == [sum(int(mask.sum()) for mask in masks) for masks in (EQUAL_ROWS, ISOLATED)]
    assert [text.get_text() for text in figure.axes[1].texts] == ["a"]


def test_figure_of_equal_rows_draws_formula_bound_and_points(record):
    rows = check_of(record, "collisions")
    figure = plots.twin_probabilities(rows[rows["case"].str.startswith("square")], "test")
    assert len(figure.axes[0].lines) == 3 * len(study.MEASURED_WIDTHS) + 2 * 1
