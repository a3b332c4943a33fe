import pytest
import torch
from torch import nn
from torch.func import functional_call

from symlib.asymmetry import Constraint, Sigma, Standard, Syre, WAsymmetry, activation_for, constraint
from symlib.networks.mlp import gelu, relu
from symlib.population import initialise
from symlib.seeds import generator, seed
from symlib.studies.remaining_symmetries import (
    LARGE,
    NETWORKS,
    REFERENCE,
    ROUNDING,
    drawn,
    half,
    inputs,
    leaky,
    mlp_without_biases,
    network_spectrum,
    scalings_and_silent,
)
from symlib.theory.nullity import jacobian, nullity, spectrum


def counted(widths, activation, asymmetry, layer_norm=False, draw=0):
    """Return the nullity of a random network and its number of trainable entries."""
    model = mlp_without_biases(widths, activation_for(asymmetry, draw, activation), layer_norm)
    fixed, weights = drawn(model, asymmetry, draw)
    values = spectrum(model, fixed, weights, inputs(widths[0], draw))
    return nullity(values), len(values)


@pytest.mark.parametrize("draw", [0, 1])
@pytest.mark.parametrize(("name", "expected"), REFERENCE.items())
def test_nullities_are_those_of_an_independent_program(name, expected, draw):
    assert nullity(network_spectrum(name, seed(draw, "test"))[0]) == expected


@pytest.mark.parametrize(
    ("name", "entries"), [("standard", 220), ("w-asym 1", 172), ("sigma-asym 1", 112), ("linear, w-asym 1", 78)]
)
def test_only_trainable_entries_are_directions(name, entries):
    assert len(network_spectrum(name, 0)[0]) == entries


@pytest.mark.parametrize("widths", [(6, 5, 3), (8, 7, 6, 4)])
def test_zeros_keep_one_scaling_for_each_hidden_unit(widths):
    n_hidden = sum(widths[1:-1])
    for asymmetry in (Standard(), WAsymmetry(2, 0.0)):
        assert counted(widths, leaky, asymmetry)[0] == n_hidden


def test_zeros_that_hide_a_unit_free_its_whole_row():
    model = mlp_without_biases((6, 5, 4, 3), leaky, False)
    fixed, weights = drawn(model, Standard(), 0)
    D = {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}
    D["0.weight"][2, :2] = False
    D["2.weight"][[0, 1, 3], 2] = False  # unit 2 of the first layer is read by unit 2 of the second alone,
    D["4.weight"][:, 2] = False  # which no output reads
    fixed = Constraint(D, {name: torch.zeros_like(w) for name, w in weights.items()}, "planted")
    found = nullity(spectrum(model, fixed, fixed.impose(weights), inputs(6, 0)))
    assert found == scalings_and_silent(fixed) == (4 + 3) + (4 + 5)  # scalings; entries of the two silent rows


def test_constants_other_than_zero_leave_no_scaling():
    assert [counted(LARGE, leaky, WAsymmetry(2, scale))[0] for scale in (0.0, 0.03, 1.0)] == [20, 0, 0]


def test_without_homogeneity_there_is_no_scaling_to_keep():
    assert [counted(LARGE, gelu, asymmetry)[0] for asymmetry in (Standard(), WAsymmetry(2, 0.0))] == [0, 0]


def test_masks_do_not_help_a_linear_activation():
    (free, entries), (masked, fewer) = (counted((6, 7, 7, 3), half, a) for a in (Standard(), WAsymmetry(2, 1.0)))
    assert entries - free == fewer - masked == 6 * 3  # what remains is one linear map


def test_syre_is_a_standard_network_as_a_function():
    assert counted(LARGE, leaky, Syre(1.0)) == counted(LARGE, leaky, Standard()) == (20, 220)


def test_layer_norm_adds_a_shift_for_each_input_of_a_map_before_it():
    values, _ = network_spectrum("layer norm", 0)
    assert nullity(values, ROUNDING) == 8 + 10
    assert nullity(values, 1e-5) == 18 + 3  # exact but for the epsilon of LayerNorm


def test_constants_leave_shifts_in_columns_without_any_alone():
    for draw in range(4):
        values, fixed = network_spectrum("layer norm, w-asym 1", draw)
        *hidden, _ = fixed.D.values()
        assert nullity(values) == sum(int(mask.all(dim=0).sum()) for mask in hidden)


def test_jacobian_is_that_of_finite_differences():
    model = mlp_without_biases((4, 5, 3), gelu, False)
    fixed, weights = drawn(model, WAsymmetry(2, 0.5), 0)
    x = inputs(4, 0)[:20]
    slow = []
    for name, w in weights.items():
        for at in fixed.D[name].flatten().nonzero().flatten():
            step = torch.zeros(w.numel(), dtype=w.dtype)
            step[at] = 1e-6
            moved = [functional_call(model, weights | {name: w + s * step.view_as(w)}, (x,)) for s in (1, -1)]
            slow.append((moved[0] - moved[1]).flatten() / 2e-6)
    torch.testing.assert_close(jacobian(model, fixed, weights, x), torch.stack(slow, dim=1), rtol=1e-6, atol=1e-8)


def test_scalings_of_units_span_the_null_space():
    model = mlp_without_biases((4, 3, 2), leaky, False)
    fixed, weights = drawn(model, WAsymmetry(1, 0.0), 0)
    directions = []
    for unit in range(3):
        first, last = torch.zeros_like(weights["0.weight"]), torch.zeros_like(weights["2.weight"])
        first[unit], last[:, unit] = weights["0.weight"][unit], -weights["2.weight"][:, unit]
        directions.append(torch.cat([first[fixed.D["0.weight"]], last[fixed.D["2.weight"]]]))
    J = jacobian(model, fixed, weights, inputs(4, 0))
    assert (J @ torch.stack(directions).T).abs().max() < 1e-12
    assert (
        torch.linalg.matrix_rank(torch.stack(directions)) == 3 == nullity(spectrum(model, fixed, weights, inputs(4, 0)))
    )


def test_silent_units_count_as_symmetries_of_the_sample():
    model = mlp_without_biases((4, 3, 2), relu, False)
    fixed, weights = drawn(model, Standard(), 0)
    x = inputs(4, 0)
    x[:, 3] = 1.0
    weights["0.weight"][0] = torch.tensor([0.1, 0, 0, -9.0])
    assert nullity(spectrum(model, fixed, weights, x)) == 2 + (4 + 2)  # two scalings, and all about the silent unit


def test_running_statistics_are_used_and_are_no_directions():
    model = nn.Sequential(nn.Linear(4, 5, bias=False), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 2)).double()
    fixed = constraint(model, Standard(), 0)
    tensors = next(initialise(model, fixed, [0]).members())
    values = spectrum(model, fixed, tensors, inputs(4, 0))
    assert model.training and len(values) == 20 + 10 + 12
    # Statistics stand still here, so the norm is a scale and a shift for each unit: its scale doubles that of the row.
    assert nullity(values) == 5
    wide = tensors | {"1.running_var": 100 * tensors["1.running_var"]}
    assert not torch.allclose(spectrum(model, fixed, wide, inputs(4, 0)), values)


@pytest.mark.parametrize("name", ["standard", "sigma-asym 1"])
def test_single_precision_is_refused_and_named(name):
    widths, activation, _, asymmetry = NETWORKS[name]
    model = mlp_without_biases(widths, activation_for(asymmetry, 0, activation), False)
    fixed, weights = drawn(model, asymmetry, 0)
    x = inputs(widths[0], 0)
    with pytest.raises(ValueError, match="needs float64.*inputs has torch.float32"):
        spectrum(model, fixed, weights, x.float())
    with pytest.raises(ValueError, match="0.weight has torch.float32"):
        spectrum(model, fixed, {n: w.float() for n, w in weights.items()}, x)
    if isinstance(asymmetry, Sigma):
        with pytest.raises(ValueError, match="1.gate has torch.float32"):
            spectrum(model.float(), fixed, weights, x)


def test_samples_too_small_to_tell_are_refused():
    model = mlp_without_biases(LARGE, leaky, False)
    fixed, weights = drawn(model, WAsymmetry(2, 1.0), 0)
    x = torch.randn(42, 8, generator=generator("x"), dtype=torch.float64)
    with pytest.raises(ValueError, match="42 inputs with 4 answers each cannot tell 172 .* take 43 inputs or more"):
        spectrum(model, fixed, weights, x)
    assert len(spectrum(model, fixed, weights, inputs(8, 0)[:43])) == 172
