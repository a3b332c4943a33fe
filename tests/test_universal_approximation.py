from itertools import combinations
from math import comb

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import jv
from torch import nn
from torch.func import functional_call

from symlib.asymmetry import Standard, Syre, WAsymmetry, constraint
from symlib.seeds import generator
from symlib.theory.approximated_targets import (
    ACTIVATIONS,
    TARGETS,
    Polynomial,
    approximated,
    drawn_masks,
    grid,
    polynomial_error,
    sine,
)
from symlib.theory.block_draws import independent_map, masks_with_splits, random_columns, with_splits
from symlib.theory.block_splits import BLOCK, split_blocks
from symlib.theory.construction_failure import (
    chance_shared,
    needed_width,
    no_split_bound,
    pinned_triples,
    two_pairs_bound,
)
from symlib.theory.linear_pairs import PinnedMap, pinned_map, realise
from symlib.theory.linear_plus_even import least_error, linear_error
from symlib.theory.random_features import fitted_second_map, random_first_map
from symlib.theory.universal_approximation import INNER, WEIGHTS, converted, padded, refuse_activation, wide_network

N = 96  # of masks of whole networks: narrower ones are drawn again for seconds


def can_be_split(rows):
    """Try all halves of 12 rows, beginning with the rows that meet most others, so that dead ends come early."""
    sets = [set(row) for row in rows]
    sets.sort(key=lambda one: -sum(bool(one & other) for other in sets))

    def place(i, halves):
        if i == len(sets):
            return True
        return any(
            len(half) < 12 and not half_inputs & sets[i] and place(i + 1, add(halves, h, i))
            for h, (half, half_inputs) in enumerate(halves)
        )

    def add(halves, h, i):
        return [(rows | {i}, used | sets[i]) if g == h else (rows, used) for g, (rows, used) in enumerate(halves)]

    return place(0, [(frozenset(), frozenset())] * 2)


def maps(n, n_fix, m, key="maps"):
    source, asymmetry = generator(key, n, n_fix), WAsymmetry(n_fix, 1.0)
    inner, _ = with_splits(
        independent_map(BLOCK * n, n, asymmetry, source), lambda rows: independent_map(rows, n, asymmetry, source)
    )
    return inner, independent_map(m, BLOCK * n, asymmetry, source), source


def gaussian(*shape, source):
    return torch.randn(*shape, generator=source, dtype=torch.float64)


@pytest.fixture(scope="module")
def masks():
    return drawn_masks(N, 0)


# Splits of blocks


@pytest.mark.parametrize(("n", "n_fix"), [(32, 1), (64, 1), (64, 2), (128, 3), (256, 4)])
def test_blocks_split_if_and_only_if_some_halves_exist(n, n_fix):
    columns = random_columns(BLOCK * 15, n, n_fix, generator("split", n, n_fix))
    found = split_blocks(columns)
    for block, rows in enumerate(columns.view(15, BLOCK, n_fix).tolist()):
        assert found.possible[block] == can_be_split(rows)
        pairs = [(i, j) for i, j in combinations(range(BLOCK), 2) if set(rows[i]) & set(rows[j])]
        assert found.n_shared[block] == len(pairs)
        if found.possible[block]:
            first = found.first[block]
            assert first.sum() == 12
            assert all(first[i] != first[j] for i, j in pairs)


@pytest.mark.parametrize(("leaves", "possible"), [(11, True), (12, True), (13, False)])
def test_a_row_that_meets_many_others_leaves_them_one_half(leaves, possible):
    # Row 0 pins 13 inputs; so many rows pin one of them each, all other entries are pinned nowhere else.
    own = torch.arange(1000, 1000 + BLOCK * 13).view(BLOCK, 13)
    own[0] = torch.arange(13)
    own[1 : leaves + 1, 0] = torch.arange(leaves)
    assert split_blocks(own).possible[0] == possible


def test_components_are_balanced_exactly_and_not_greedily():
    # A star of m rows gives one half 1 or m - 1 of them.
    def stars(*sizes):
        rows, free = [], iter(range(10_000))
        for size in sizes:
            centre = [next(free) for _ in range(23)]
            rows += [centre] + [[centre[i], *(next(free) for _ in range(22))] for i in range(size - 1)]
        return torch.tensor(rows)

    assert split_blocks(stars(12, 12)).possible[0]  # 11 + 1
    assert split_blocks(stars(8, 7, 5, 4)).possible[0]  # 7 + 1 + 1 + 3, while 7 + 6 is too much already
    assert not split_blocks(stars(9, 9, 6)).possible[0]  # 7, 10, 14, 17, ...


def test_rows_that_are_no_whole_blocks_are_refused():
    with pytest.raises(ValueError, match="blocks of 24, got 25"):
        split_blocks(torch.zeros(25, 1, dtype=torch.int64))


def test_few_shared_pairs_always_split_unless_three_rows_meet():
    # The combinatorial step of the bound: bipartite, and a spanning forest of at most 8 edges.
    source, tried = generator("few"), 0
    for _ in range(150):
        pairs = torch.randint(BLOCK, (8, 2), generator=source).tolist()
        pairs = [(i, j) for i, j in pairs if i != j]
        rows = [[1000 + 10 * i + e for e in range(8)] for i in range(BLOCK)]
        for e, (i, j) in enumerate(pairs):
            rows[i][e] = rows[j][e] = e
        found = split_blocks(torch.tensor(rows))
        colours = {}
        if bipartite(pairs, colours):
            tried += 1
            assert found.possible[0]
    assert tried > 100


def bipartite(pairs, colours):
    for start in range(BLOCK):
        colours.setdefault(start, 0)
        for _ in range(BLOCK):
            for i, j in (*pairs, *[p[::-1] for p in pairs]):
                if i in colours:
                    colours.setdefault(j, 1 - colours[i])
        if any(colours.get(i) is not None and colours.get(i) == colours.get(j) for i, j in pairs):
            return False
    return True


# The construction


@pytest.mark.parametrize(("n", "n_fix", "m"), [(32, 1, 32), (64, 2, 64), (64, 2, 5), (64, 0, 64)])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_any_matrix_is_met_within_any_masks(n, n_fix, m, name):
    inner, outer, source = maps(n, n_fix, m)
    W, x = gaussian(m, n, source=source), gaussian(50, n, source=source)
    B, A = realise(W, inner, outer)
    assert (F.linear(ACTIVATIONS[name](F.linear(x, B)), A) - F.linear(x, W)).abs().max() < 1e-12
    # Constants to the last bit, in both maps.
    for weights, pinned in ((B, inner), (A, outer)):
        assert torch.equal(weights.gather(1, pinned.columns), pinned.values)
        assert len(pinned.columns) == len(weights) and pinned.columns.shape[1] == n_fix


def test_one_draw_of_masks_serves_every_target():
    inner, outer, source = maps(32, 1, 32)
    x = gaussian(50, 32, source=source)
    for W in (torch.zeros(32, 32).double(), torch.eye(32).double(), 100 * gaussian(32, 32, source=source)):
        B, A = realise(W, inner, outer)
        error = (F.linear(F.gelu(F.linear(x, B)), A) - F.linear(x, W)).abs().max()
        assert error <= 1e-13 * max(10.0, float(W.abs().max()) * 32)


def test_tanh_does_not_meet_the_matrix():
    inner, outer, source = maps(32, 1, 32)
    W, x = gaussian(32, 32, source=source), gaussian(200, 32, source=source)
    B, A = realise(W, inner, outer)
    assert (F.linear(torch.tanh(F.linear(x, B)), A) - F.linear(x, W)).abs().max() > 5


def test_masks_without_a_split_are_refused_and_counted():
    inner, outer, source = maps(32, 1, 32)
    inner.columns[:3] = inner.columns[0]  # three rows that pin one input cannot be in two halves
    with pytest.raises(ValueError, match="1 of 32 blocks of 24 rows cannot be split"):
        realise(gaussian(32, 32, source=source), inner, outer)


def test_three_pinned_copies_are_refused_and_two_are_not():
    inner, outer, source = maps(32, 1, 32)
    W, x = gaussian(32, 32, source=source), gaussian(50, 32, source=source)
    order = torch.as_tensor(split_blocks(inner.columns).first[4]).long().argsort(descending=True, stable=True)
    copies = 4 * BLOCK + order[3:6]
    two = PinnedMap(copies[:2].expand(32, 2), gaussian(32, 2, source=source), outer.n_inputs)
    B, A = realise(W, inner, two)
    assert (F.linear(torch.relu(F.linear(x, B)), A) - F.linear(x, W)).abs().max() < 1e-12
    three = PinnedMap(copies.expand(32, 3), gaussian(32, 3, source=source), outer.n_inputs)
    with pytest.raises(ValueError, match="32 triples of copies are pinned completely"):
        realise(W, inner, three)


def test_too_many_pinned_entries_are_refused_before_work():
    _, outer, source = maps(32, 1, 32)
    many = PinnedMap(random_columns(BLOCK * 32, 32, 3, source), gaussian(BLOCK * 32, 3, source=source), 32)
    with pytest.raises(ValueError, match="n_fix = 3 is beyond .* n = 36 or more, got 32"):
        realise(gaussian(32, 32, source=source), many, outer)
    with pytest.raises(ValueError, match="n_fix = 6 is beyond"):
        masks_with_splits(wide_network(64, 1, nn.GELU()), WAsymmetry(6, 1.0), 0, INNER)


@pytest.mark.parametrize("shape", [(33, 32), (32, 31), (32,)])
def test_targets_of_other_shapes_are_refused(shape):
    inner, outer, source = maps(32, 1, 32)
    with pytest.raises(ValueError, match="at most 32 x 32"):
        realise(gaussian(*shape, source=source), inner, outer)


def test_maps_of_other_shapes_are_refused():
    inner, outer, source = maps(32, 1, 32)
    with pytest.raises(ValueError, match="needs an inner map of 768 x 32 and an outer one of 5 x 768"):
        realise(gaussian(5, 32, source=source), inner, outer)


# Draws


def test_random_columns_are_sets_of_equal_chance():
    columns = random_columns(30_000, 5, 2, generator("columns")).sort(dim=1).values
    sets, counts = columns.unique(dim=0, return_counts=True)
    assert len(sets) == comb(5, 2) and (sets[:, 0] < sets[:, 1]).all()
    assert (counts - 3000).abs().max() < 5 * 3000**0.5


@pytest.mark.parametrize("n_fix", [-1, 6])
def test_impossible_numbers_of_pinned_entries_are_refused(n_fix):
    with pytest.raises(ValueError, match=f"n_fix must lie between 0 and the 5 entries of a row, got {n_fix}"):
        random_columns(10, 5, n_fix, generator("refused"))


def test_only_blocks_without_a_split_are_drawn_again():
    source, asymmetry = generator("again"), WAsymmetry(1, 2.0)
    inner = independent_map(BLOCK * 32, 32, asymmetry, source)
    before = split_blocks(inner.columns).possible
    asked = []

    def more(rows):
        asked.append(rows)
        return independent_map(rows, 32, asymmetry, source)

    found, n_redrawn = with_splits(inner, more)
    assert split_blocks(found.columns).possible.all() and asked[0] == BLOCK * (~before).sum()
    assert n_redrawn == sum(asked) / BLOCK > 0
    kept = torch.as_tensor(before).repeat_interleave(BLOCK)
    assert torch.equal(found.columns[kept], inner.columns[kept])
    assert torch.equal(found.values[kept], inner.values[kept])
    assert not (found.values[~kept] == inner.values[~kept]).any()


def test_hopeless_draws_end_in_an_error(monkeypatch):
    monkeypatch.setattr("symlib.theory.block_draws.MAX_ROUNDS", 3)
    alike = PinnedMap(torch.zeros(BLOCK * 12, 1, dtype=torch.int64), torch.ones(BLOCK * 12, 1).double(), 12)
    with pytest.raises(ValueError, match="12 blocks of 24 rows could not be split in 3 draws"):
        with_splits(alike, lambda rows: PinnedMap(alike.columns[:rows], alike.values[:rows], 12))


def test_masks_of_networks_are_those_of_the_constraint_where_they_can_be_split(masks):
    fixed, n_redrawn = masks
    assert n_redrawn > 0
    assert drawn_masks(N, 0)[0].fingerprint == fixed.fingerprint
    for name in INNER:
        assert split_blocks(pinned_map(fixed, name).columns).possible.all()
        assert ((~fixed.D[name]).sum(1) == 2).all() and not fixed.F[name][fixed.D[name]].any()
    with pytest.raises(ValueError, match="one number for all maps"):
        masks_with_splits(wide_network(64, 1, nn.GELU()), WAsymmetry([2, 2, 2, 2], 1.0), 0, INNER)


# Whole networks


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_four_layers_equal_two_within_masks_that_were_drawn_before(masks, name):
    fixed, _ = masks
    source, eta = generator("whole", name), ACTIVATIONS[name]
    U, V, x = (gaussian(*shape, source=source) / 8 for shape in ((N, N), (1, N), (100, N)))
    weights = converted(U, V, fixed, eta)
    network = wide_network(N, 1, eta)
    network.load_state_dict(weights, assign=True)
    assert [layer.out_features for layer in network if isinstance(layer, nn.Linear)] == [24 * N, N, 24 * N, 1]
    assert all(layer.bias is None for layer in network if isinstance(layer, nn.Linear))
    assert (network(x) - eta(x @ U.T) @ V.T).abs().max() < 1e-12
    # An ordinary network of the constraint: imposing it changes nothing.
    assert all(torch.equal(w, fixed.impose(weights)[name]) for name, w in weights.items())


def test_reordered_hidden_units_give_other_weights_of_the_same_function(masks):
    source = generator("reordered")
    U, V, x = (gaussian(*shape, source=source) / 8 for shape in ((N, N), (1, N), (100, N)))
    order = torch.randperm(N, generator=source)
    one, other = (converted(*pair, masks[0], F.gelu) for pair in ((U, V), (U[order], V[:, order])))
    answers = [functional_call(wide_network(N, 1, nn.GELU()), weights, x) for weights in (one, other)]
    assert (answers[0] - answers[1]).abs().max() < 1e-12
    assert all((one[name] - other[name]).abs().max() > 0.01 for name in INNER)
    # Outer maps repair sums of constants and know nothing of the target.
    assert all(torch.equal(one[name], other[name]) for name in WEIGHTS[1::2])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_of_the_class_are_accepted(name):
    refuse_activation(ACTIVATIONS[name])


@pytest.mark.parametrize("eta", [torch.tanh, torch.sigmoid, torch.square, F.softplus, F.leaky_relu, F.elu, torch.log])
def test_activations_outside_the_class_are_refused(eta, masks):
    eye = torch.eye(N).double()
    with pytest.raises(ValueError, match="outside the theorem's class"):
        converted(eye, eye[:1], masks[0], eta)


@pytest.mark.parametrize("asymmetry", [Standard(), Syre(1.0)])
def test_other_interventions_are_refused(asymmetry):
    network = wide_network(32, 1, nn.GELU())
    eye = torch.eye(32).double()
    with pytest.raises(ValueError, match=r"0\.weight is not W-asymmetric"):
        converted(eye, eye[:1], constraint(network, asymmetry, 0), torch.relu)


def test_errors_fall_with_the_width_if_one_input_is_constant(masks):
    wider, _ = drawn_masks(160, 0)
    for name in ("sine", "cosine", "surface"):
        narrow, wide = approximated(TARGETS[name], N, masks[0], 0), approximated(TARGETS[name], 160, wider, 0)
        assert wide.error < narrow.error / 4 and narrow.error < 0.5
        assert max(narrow.difference, wide.difference) < 1e-10
    assert approximated(TARGETS["sine"], 160, wider, 0).error < 1e-3


def test_without_a_constant_input_the_sine_stays_a_line_and_the_cosine_starts_at_0(masks):
    sine, cosine = (approximated(TARGETS[f"{name}, zeros"], N, masks[0], 0) for name in ("sine", "cosine"))
    x = sine.x[:, 0]
    slope = sine.four[-1] / x[-1]
    assert (sine.four - slope * x).abs().max() < 1e-5 and sine.error > 0.88
    assert x[199].abs() < 1e-15 and cosine.four[199].abs() < 1e-9 and cosine.error > 1 - 1e-9


def test_polynomial_activations_are_converted_exactly_into_parabolas(masks):
    refuse_activation(Polynomial())
    found = approximated(TARGETS["sine, polynomial"], N, masks[0], 0)
    assert found.difference < 1e-10 and found.error > 0.88
    parabola = np.polynomial.Polynomial.fit(found.x[:, 0], found.four, 2)
    np.testing.assert_allclose(parabola(found.x[:, 0].numpy()), found.four, atol=1e-9)


def test_four_layers_of_a_polynomial_activation_are_polynomials_of_degree_8_whatever_the_weights():
    source, x = generator("degree"), grid(1, 401)
    free = {name: gaussian(*w.shape, source=source) for name, w in wide_network(6, 1, Polynomial()).named_parameters()}
    scaled = {name: 2 * weight / weight.shape[1] ** 0.5 for name, weight in free.items()}
    y = functional_call(wide_network(6, 1, Polynomial()), scaled, padded(x, 6))[:, 0]
    missed = [
        float((torch.as_tensor(np.polynomial.Chebyshev.fit(x[:, 0], y, d)(x[:, 0].numpy())) - y).abs().max())
        for d in (7, 8)
    ]
    assert missed[1] < 1e-10 * float(y.abs().max()) < missed[0]


def test_degree_8_is_enough_for_the_sine_and_not_for_one_that_turns_ten_times():
    # Chebyshev coefficients of sin(a x) are Bessel functions, 2 J_k(a) for odd k; the first one missing is the largest.
    assert polynomial_error(sine, 8) == pytest.approx(2 * jv(9, 3.0), rel=0.1)
    # Ten extremes between -1 and 1 leave any polynomial of degree 8 an error of 1, or it had nine roots.
    assert polynomial_error(lambda x: torch.sin(15 * x), 8) > 1
    assert polynomial_error(lambda x: x**8 - x, 8) < 1e-13


def test_padding_puts_the_constant_first():
    x = torch.tensor([[2.0, 3.0]])
    assert padded(x, 5).tolist() == [[1, 2, 3, 0, 0]] and padded(x, 4, 0.0).tolist() == [[0, 2, 3, 0]]
    with pytest.raises(ValueError, match="2 features and a constant do not fit into n = 2"):
        padded(x, 2)


def test_random_features_have_their_kinks_in_the_box_and_their_fit_is_least_squares():
    U = random_first_map(50, 1, 3.0, generator("kinks"))
    assert (U[:, 0] / U[:, 1]).abs().max() <= 1 and not U[:, 2:].any()
    x = padded(torch.linspace(-1, 1, 201, dtype=torch.float64)[:, None], 50)
    V = gaussian(1, 50, source=generator("planted")) / 50
    y = F.gelu(x @ U.T) @ V.T
    assert (F.gelu(x @ U.T) @ fitted_second_map(U, x, y, F.gelu).T - y).abs().max() < 1e-6


# Bounds


@pytest.mark.parametrize(("n", "n_fix"), [(6, 1), (6, 2), (7, 3)])
def test_chance_of_a_shared_input_by_listing_all_pairs_of_rows(n, n_fix):
    rows = [set(row) for row in combinations(range(n), n_fix)]
    shared = sum(bool(a & b) for a in rows for b in rows)
    assert chance_shared(n, n_fix) == pytest.approx(shared / len(rows) ** 2)
    assert chance_shared(n, n_fix) <= n_fix**2 / n


@pytest.mark.parametrize(("n", "n_fix"), [(256, 1), (1024, 2), (4096, 4)])
def test_measured_failures_lie_under_their_bounds_and_near_them_where_these_are_small(n, n_fix):
    blocks = 8000
    found = split_blocks(random_columns(BLOCK * blocks, n, n_fix, generator("bound", n, n_fix)))
    for measured, bound in (
        ((found.n_shared > 1).mean(), two_pairs_bound(n, n_fix)),
        ((~found.possible).mean(), no_split_bound(n, n_fix)),
    ):
        assert measured <= bound + 4 * (bound / blocks) ** 0.5
        assert measured > bound / 3


def test_leading_terms_are_those_of_the_text():
    assert two_pairs_bound(10**6, 2) == pytest.approx(37950 * 2**4 / 10**12, rel=1e-4)
    assert no_split_bound(10**6, 2) == pytest.approx(2024 * 2**3 / 10**12, rel=1e-3)
    assert no_split_bound(512, 64) == two_pairs_bound(512, 64) == 1


def test_pinned_triples_occur_as_often_as_expected():
    n, n_fix, draws = 16, 40, 60
    columns = random_columns(n * draws, BLOCK * n, n_fix, generator("triples"))
    pinned = torch.zeros(n * draws, BLOCK * n).scatter_(1, columns, 1).view(-1, BLOCK * n // 3, 3).sum(2)
    counted = int((pinned == 3).sum())
    expected = draws * pinned_triples(n, n, n_fix)
    assert abs(counted - expected) < 4 * expected**0.5 and expected > 50


def test_needed_widths_grow_by_the_powers_of_the_text():
    # Rounded up to powers of two: 16 and 8 per doubling of n_fix.
    for bound, factor in ((two_pairs_bound, 16), (no_split_bound, 8)):
        one, two = (needed_width(bound, n_fix, 0.05) for n_fix in (2, 4))
        assert two == factor * one
        assert 2 * one * bound(one, 2) <= 0.05 < 2 * (one // 2) * bound(one // 2, 2)


# What no bias does


def test_least_error_holds_for_every_network_without_biases():
    x = torch.linspace(-1, 1, 2001, dtype=torch.float64)
    y = torch.sin(3 * x)
    least = least_error(x, y)
    slopes = torch.linspace(-3, 3, 3001, dtype=torch.float64)
    assert least == pytest.approx(float((y - slopes[:, None] * x).abs().amax(1).min()), abs=2e-3)
    source = generator("no bias")
    for _ in range(20):
        w, v = gaussian(30, 1, source=source), gaussian(30, 1, source=source)
        output = F.gelu(3 * x[:, None] @ w.T) @ v
        assert float((output[:, 0] - y).abs().max()) >= least
    assert least < linear_error(x, y) == pytest.approx(0.8946, abs=5e-5)
    with pytest.raises(ValueError, match="symmetric around 0"):
        least_error(x + 1, y)


def test_a_constant_input_does_what_the_bound_forbids_without():
    x = torch.linspace(-1, 1, 201, dtype=torch.float64)
    U, inputs = random_first_map(64, 1, 4.0, generator("repair")), padded(x[:, None], 64)
    V = fitted_second_map(U, inputs, torch.sin(3 * x)[:, None], F.gelu)
    assert float((F.gelu(inputs @ U.T) @ V.T - torch.sin(3 * x)[:, None]).abs().max()) < 1e-3


@pytest.mark.parametrize("name", ["relu", "gelu", "swish"])
def test_networks_without_biases_answer_zero_to_zero_and_relu_ones_are_homogeneous(name):
    network = wide_network(16, 1, ACTIVATIONS[name])
    fixed = constraint(network, WAsymmetry(3, 1.0), 0)
    source = generator("homogeneous")
    free = {k: gaussian(*w.shape, source=source) / w.shape[1] ** 0.5 for k, w in network.state_dict().items()}
    x = gaussian(20, 16, source=source)
    once, thrice, nothing = (functional_call(network, fixed.impose(free), c * x) for c in (1, 3, 0))
    assert not nothing.any()
    assert ((thrice - 3 * once).abs().max() < 1e-11) == (name == "relu")
