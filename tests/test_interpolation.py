from dataclasses import replace

import pytest
import torch

from symlib.interpolation import accuracy_drop, curves, line, maximum_barrier, midpoint_barrier, mixing_weights
from symlib.population import evaluate
from symlib.training import Recipe, train

LAMBDAS = mixing_weights(5)


@pytest.mark.parametrize("kind", ["standard", "w-asym", "syre", "sigma"])
def test_curve_ends_are_the_networks_own_losses(tiny, blobs, kind):
    a, b = (train(tiny(kind, seeds), *blobs, Recipe(2, 50, 1e-2, 0.0), seeds)[0] for seeds in ([0, 1], [2, 3]))
    found, own = curves(a, b, LAMBDAS, *blobs), [evaluate(p, *blobs) for p in (a, b)]
    for end, scores in zip((0, -1), own, strict=True):
        torch.testing.assert_close(found.loss[:, end], scores.loss)
        torch.testing.assert_close(found.accuracy[:, end], scores.accuracy)


def test_line_equals_mixing_by_hand_pair_by_pair(tiny):
    a, b = tiny("w-asym", [0, 1]), tiny("w-asym", [2, 3])
    found = line(a, b, LAMBDAS)
    assert len(found) == 10
    for name, w in found.params.items():
        torch.testing.assert_close(w[5 + 1], 0.75 * a.params[name][1] + 0.25 * b.params[name][1])


def test_every_point_of_a_line_keeps_the_pinned_entries(tiny):
    a, b = tiny("w-asym", [0]), tiny("w-asym", [1])
    for name, mask in a.constraint.D.items():
        fixed = a.constraint.F[name][~mask].expand(5, -1)
        torch.testing.assert_close(line(a, b, LAMBDAS).params[name][:, ~mask], fixed)


def test_network_has_no_barrier_with_itself(tiny, blobs):
    a = tiny("standard", [0, 1])
    assert midpoint_barrier(curves(a, a, LAMBDAS, *blobs).loss).abs().max() < 1e-12


def test_midpoint_and_maximum_differ_on_a_lopsided_curve():
    losses = torch.tensor([[0.0, 3.0, 1.0, 0.0, 0.0], [2.0, 1.0, 0.0, 1.0, 2.0]])
    assert midpoint_barrier(losses).tolist() == [1.0, -2.0]
    assert maximum_barrier(losses, LAMBDAS).tolist() == [3.0, 0.0]


@pytest.mark.parametrize("n_points", [24, 1, 2, -5])
def test_lines_without_a_midpoint_are_refused(n_points):
    with pytest.raises(ValueError, match=f"odd and at least 3, so that 0.5 is a point, got {n_points}"):
        mixing_weights(n_points)


def test_curves_that_do_not_fit_their_weights_are_refused():
    even = torch.zeros(1, 4)
    for summary in (midpoint_barrier, accuracy_drop):
        with pytest.raises(ValueError, match="odd and at least 3"):
            summary(even)
    with pytest.raises(ValueError, match="as many from 0 to 1"):
        maximum_barrier(torch.zeros(1, 3), LAMBDAS)
    with pytest.raises(ValueError, match="as many from 0 to 1"):
        maximum_barrier(torch.zeros(1, 5), LAMBDAS / 2)


def test_networks_of_other_activations_are_refused(tiny):
    a, b = tiny("standard"), tiny("standard")
    b.model.activations[0] = torch.nn.Tanh()
    with pytest.raises(ValueError, match="different architectures"):
        line(a, b, LAMBDAS)


@pytest.mark.parametrize("kind", ["w-asym", "sigma", "syre"])
def test_networks_with_other_fixed_entries_are_refused_and_both_named(tiny, kind):
    a, b = tiny(kind), tiny(kind, mask_seed=1)
    with pytest.raises(ValueError, match=f"{a.constraint.fingerprint} against {b.constraint.fingerprint}"):
        line(a, b, LAMBDAS)
    with pytest.raises(ValueError, match="different fixed entries"):
        line(tiny("w-asym"), tiny("standard"), LAMBDAS)


def test_networks_of_other_shapes_are_refused(tiny):
    with pytest.raises(ValueError, match=r"differ in linears.1.*; a line needs"):
        line(tiny("standard"), tiny("standard", widths=(8, 16, 12, 4)), LAMBDAS)
    with pytest.raises(ValueError, match="equally many networks"):
        line(tiny("standard", [0]), tiny("standard", [0, 1]), LAMBDAS)


def test_networks_of_different_ages_are_refused_and_those_of_unknown_age_are_not(tiny, blobs):
    start, seeds = tiny("standard", [0, 1]), [0, 1]
    young, old = (train(start, *blobs, Recipe(epochs, 50, 1e-3, 0.0), seeds)[0] for epochs in (1, 2))
    with pytest.raises(ValueError, match="trained for 1 and 2 epochs"):
        line(young, old, LAMBDAS)
    grown, _ = train(young, *blobs, Recipe(1, 50, 1e-3, 0.0), seeds)
    unknown, _ = train(replace(start, epochs=None), *blobs, Recipe(1, 50, 1e-3, 0.0), seeds)
    assert (start.epochs, grown.epochs, unknown.epochs) == (0, 2, None)
    for other in (start, grown, unknown):
        assert len(line(other, old, LAMBDAS)) == 2 * len(LAMBDAS)
