from itertools import combinations, product

import pytest

from symlib.seeds import generator
from symlib.theory.block_draws import random_columns
from symlib.theory.mask_collisions import expected_twins, has_twins, n_masks, twin_probability


def random_masks(draws, rows, fan_in, n_fix, source):
    return random_columns(draws * rows, fan_in, n_fix, source).view(draws, rows, n_fix)


@pytest.mark.parametrize(("rows", "fan_in", "n_fix"), [(3, 4, 2), (4, 4, 1), (2, 5, 2), (4, 4, 3), (1, 3, 1)])
def test_formula_is_the_share_among_all_possible_masks(rows, fan_in, n_fix):
    choices = list(product(combinations(range(fan_in), n_fix), repeat=rows))
    share = sum(len(set(chosen)) < rows for chosen in choices) / len(choices)
    assert twin_probability(rows, fan_in, n_fix) == pytest.approx(share, abs=1e-12)
    pairs = sum(a == b for chosen in choices for a, b in combinations(chosen, 2)) / len(choices)
    assert expected_twins(rows, fan_in, n_fix) == pytest.approx(pairs, abs=1e-12)


def test_shortcuts_of_the_papers_networks():
    assert n_masks(32, 16, 6) == 8008 and n_masks(32, 16, 8) == 12870
    assert round(expected_twins(32, 16, 6), 2) == round(twin_probability(32, 16, 6), 2) == 0.06
    assert round(expected_twins(32, 16, 8), 2) == round(twin_probability(32, 16, 8), 2) == 0.04


def test_tiny_probabilities_and_huge_numbers_of_masks():
    for size in ((512, 784, 64), (100, 500, 7)):
        assert twin_probability(*size) == pytest.approx(expected_twins(*size), rel=1e-6) and twin_probability(*size) > 0
    assert twin_probability(512, 4000, 2000) == 0  # one in 10^1202 masks is below what a float can hold
    assert expected_twins(512, 4000, 2000) == 0


@pytest.mark.parametrize("size", [(32, 16, 6), (8, 6, 3), (16, 16, 3)])
def test_sampled_masks_follow_the_formula(size):
    draws = 6000
    share = float(has_twins(random_masks(draws, *size, generator("sampled"))).double().mean())
    p = twin_probability(*size)
    assert abs(share - p) < 4 * (p * (1 - p) / draws) ** 0.5


def test_twins_are_those_that_a_loop_finds():
    chosen = random_masks(300, 6, 7, 2, generator("loop"))
    slow = [any(set(a) == set(b) for a, b in combinations(rows, 2)) for rows in chosen.tolist()]
    assert has_twins(chosen).tolist() == slow and 0 < sum(slow) < 300


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((4, 5, 6), "n_fix must lie between 0 and the 5 entries of a row, got 6"),
        ((4, 5, -1), "n_fix must lie between 0 and the 5 entries of a row, got -1"),
        ((7, 4, 2), "7 rows cannot all be different: 2 of 4 entries can be pinned in 6 ways only"),
        ((2, 4, 4), "2 rows cannot all be different: 4 of 4 entries can be pinned in 1 ways only"),
        ((0, 4, 2), "rows must be 1 or more, got 0"),
    ],
)
def test_impossible_masks_are_refused(size, message):
    for function in (n_masks, twin_probability, expected_twins):
        with pytest.raises(ValueError, match=message):
            function(*size)
