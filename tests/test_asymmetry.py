import subprocess
import sys

import pytest
import torch

from symlib.asymmetry import (
    Sigma,
    Standard,
    Syre,
    WAsymmetry,
    activation_for,
    constraint,
    n_trainable,
)
from symlib.figlu import FiGLU
from symlib.networks.mlp import MLP
from symlib.population import initialise
from symlib.presets import BUERGIN_MNIST, LIM_MNIST
from symlib.seeds import generator

PAPER = (784, 512, 512, 512, 10)


def w_asym(n_fix=(2, 4, 8), sigma_F=(1.0, 1.0, 1.0), mask_seed=0, widths=(8, 16, 16, 4)):
    return constraint(MLP(widths), WAsymmetry(n_fix, sigma_F), mask_seed)


def test_parameter_counts_of_table_5():
    model = MLP(PAPER)
    assert n_trainable(model, constraint(model, Standard(), 0)) == 935_434
    assert n_trainable(model, constraint(model, Syre(1.0), 0)) == 935_434
    assert n_trainable(model, constraint(model, LIM_MNIST, 0)) == 834_570
    assert n_trainable(model, constraint(model, BUERGIN_MNIST, 0)) == 834_570


def test_every_row_has_exactly_n_fix_pinned_entries_and_no_two_rows_agree():
    for name, mask in constraint(MLP(PAPER), LIM_MNIST, 0).D.items():
        n_fix = 256 if name == "linears.3.weight" else 64
        assert ((~mask).sum(dim=1) == n_fix).all()
        assert len(mask.unique(dim=0)) == len(mask)


def test_colliding_rows_are_redrawn_until_all_six_masks_are_used():
    """4 choose 2 = 6 masks for 6 rows: the draw collides almost surely."""
    masks = w_asym((2, 1), (1.0, 1.0), widths=(4, 6, 4)).D["linears.0.weight"]
    assert len(masks.unique(dim=0)) == 6


def test_masks_are_nested_in_n_fix_and_constants_scale_with_sigma():
    wide = (64, 64, 64, 4)  # so wide that no two rows collide
    few = w_asym((8, 8, 8), widths=wide)
    many = w_asym((16, 16, 16), sigma_F=(3.0, 3.0, 3.0), widths=wide)
    for name in few.D:
        pinned = ~few.D[name]
        assert (~many.D[name])[pinned].all()
        torch.testing.assert_close(3 * few.F[name][pinned], many.F[name][pinned])


def test_constants_have_the_papers_scale():
    fixed = constraint(MLP(PAPER), LIM_MNIST, 0)
    for (name, (_, values)), sigma in zip(fixed.pinned.items(), LIM_MNIST.sigma_F, strict=True):
        assert values.std().item() == pytest.approx(sigma, rel=0.05), name
        assert (fixed.F[name][fixed.D[name]] == 0).all()


def test_layers_and_mask_seeds_draw_different_masks():
    one, other = (
        w_asym((4, 4, 4), widths=(16, 16, 16, 4)),
        w_asym((4, 4, 4), mask_seed=1, widths=(16, 16, 16, 4)),
    )
    assert not torch.equal(one.D["linears.0.weight"], one.D["linears.1.weight"])
    assert not torch.equal(one.D["linears.0.weight"], other.D["linears.0.weight"])
    assert one.fingerprint != other.fingerprint


def test_fixed_side_is_the_same_in_another_process():
    """Python's own hash is salted per process; ours must not be."""
    code = "from tests.test_asymmetry import w_asym; print(w_asym().fingerprint)"
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == w_asym().fingerprint


def test_members_share_pinned_values_and_differ_elsewhere(tiny):
    population = tiny("w-asym", [0, 1])
    for name, mask in population.constraint.D.items():
        a, b = population.params[name]
        assert torch.equal(a[~mask], b[~mask])
        assert (a[mask] != b[mask]).all()


def test_normal_initialisation_has_the_variance_of_paper_a():
    model = MLP(PAPER)
    drawn = initialise(model, constraint(model, Standard(), 0), [0], "normal").params["linears.1.weight"]
    assert drawn.std().item() == pytest.approx(512**-0.5, rel=0.01)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_fix": (9, 4, 8)}, "n_fix of linears.0.weight must lie between 0 and the 8 entries of a row, got 9"),
        ({"n_fix": (-1, 4, 8)}, "between 0 and the 8 entries of a row, got -1"),
        ({"sigma_F": (1.0, -0.5, 1.0)}, "sigma_F is a standard deviation and must be finite and 0 or larger, got -0.5"),
        ({"n_fix": (2, 4)}, "one number for each of the 3 linear maps .* got 2"),
        ({"n_fix": (1, 4, 8)}, "16 rows but only 8 different masks"),
    ],
)
def test_impossible_masks_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        w_asym(**change)


@pytest.mark.parametrize("sigma_F", [-1.0, float("inf"), float("nan")])
def test_impossible_scale_of_syre_is_refused(sigma_F):
    with pytest.raises(ValueError, match="finite and 0 or larger"):
        constraint(MLP((8, 16, 4)), Syre(sigma_F), 0)


def test_fingerprint_depends_on_every_fixed_tensor():
    base = w_asym()
    masks = w_asym(n_fix=(3, 4, 8), sigma_F=(0.0, 1.0, 1.0)), w_asym(n_fix=(2, 4, 8), sigma_F=(0.0, 1.0, 1.0))
    constants = w_asym(sigma_F=(1.0, 1.0, 0.5))
    assert len({c.fingerprint for c in (base, *masks, constants)}) == 4


def test_layers_of_equal_shape_have_constants_and_gates_of_their_own():
    fixed = constraint(MLP((16, 16, 16, 4)), Syre(1.0), 0)
    assert not torch.equal(fixed.F["linears.0.weight"], fixed.F["linears.1.weight"])
    gates = [activation_for(Sigma(1.0), 0)(layer, 16).gate for layer in (0, 1)]
    assert not torch.equal(*gates)


def test_figlu_equals_its_definition_row_by_row():
    figlu = FiGLU(5, 1.0, generator("gate"))
    x = torch.randn(5, generator=generator("x"))
    by_hand = [x[i] / (1 + torch.exp(-(figlu.gate[i] * x).sum())) for i in range(5)]
    torch.testing.assert_close(figlu(x), torch.stack(by_hand))


def test_negative_gate_is_refused():
    with pytest.raises(ValueError, match="gate_std must be 0 or larger, got -1"):
        activation_for(Sigma(-1.0), 0)(0, 4)


def test_figlu_identities():
    """FiGLU(x) - FiGLU(-x) = x, and F = 0 gives x / 2 (Lim et al., section 4.2)."""
    x = torch.randn(50, 6, generator=generator("x"), dtype=torch.float64)
    gate = FiGLU(6, 1.0, generator("gate")).double()
    torch.testing.assert_close(gate(x) - gate(-x), x)
    torch.testing.assert_close(FiGLU(6, 0.0, generator("gate")).double()(x), x / 2)


def test_gates_belong_to_the_fingerprint(tiny):
    assert tiny("sigma").constraint.fingerprint != tiny("sigma", mask_seed=1).constraint.fingerprint
    assert tiny("sigma").constraint.fingerprint != tiny("standard").constraint.fingerprint
