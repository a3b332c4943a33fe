import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from symlib.asymmetry import (
    FixedBiases,
    LinearResidual,
    Sigma,
    Standard,
    Syre,
    WAsymmetry,
    activation_for,
    constraint,
    linear_maps,
    n_trainable,
    parametrize_with,
)
from symlib.data.torchvision_import import torchvision
from symlib.figlu import FiGLU
from symlib.networks.mlp import MLP
from symlib.networks.resnet import ResNet
from symlib.population import initialise
from symlib.presets import LIM_MNIST
from symlib.seeds import generator
from symlib.training import Recipe, train

PAPER = (784, 512, 512, 512, 10)


def w_asym(n_fix=(2, 4, 8), sigma_F=(1.0, 1.0, 1.0), mask_seed=0, widths=(8, 16, 16, 4)):
    return constraint(MLP(widths), WAsymmetry(n_fix, sigma_F), mask_seed)


def test_a_shift_pins_nothing():
    model = MLP(PAPER)
    everything = sum(p.numel() for p in model.parameters())
    assert n_trainable(model, constraint(model, Syre(1.0), 0)) == everything
    assert n_trainable(model, constraint(model, LIM_MNIST, 0)) < everything


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
    given = {"cwd": Path(__file__).parents[1], "env": os.environ | {"PYTHONHASHSEED": "1"}}
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, **given)
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


def small_cnn():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.Flatten(), nn.Linear(8 * 16, 4))


def test_whole_filters_are_pinned_whole_and_exactly_so_many():
    fixed = constraint(small_cnn(), WAsymmetry((3, 2, 5), 1.0, whole_filters=True), 0)
    kernels = fixed.D["2.weight"].flatten(2)
    assert torch.equal(kernels.any(2), kernels.all(2))
    assert ((~kernels.all(2)).sum(1) == 2).all()
    assert len(kernels[:, :, 0].unique(dim=0)) == 8
    assert ((~fixed.D["4.weight"]).sum(1) == 5).all()  # the inputs of a linear map are its filters
    assert not fixed.D["0.weight"].any()


def test_entries_are_pinned_anywhere_in_a_filter():
    pinned = ~constraint(small_cnn(), WAsymmetry((9, 20, 5), 1.0), 0).D["2.weight"]
    assert (pinned.flatten(1).sum(1) == 20).all() and len(pinned.flatten(1).unique(dim=0)) == 8
    kernels = pinned.flatten(2)
    assert (kernels.any(2) & ~kernels.all(2)).any()  # some kernels only in part
    assert (pinned.float().mean((0, 1)) > 0).all()  # no position of a kernel is spared


@pytest.mark.parametrize(("n_fix", "whole_filters"), [(27, False), (3, True)])
def test_a_stem_may_be_pinned_to_constants_but_not_to_zeros(n_fix, whole_filters):
    fixed = constraint(small_cnn(), WAsymmetry((n_fix, 2, 5), 1.0, whole_filters), 0)
    assert not fixed.D["0.weight"].any()
    assert len(fixed.F["0.weight"].flatten(1).unique(dim=0)) == 6  # its constants tell the rows apart
    with pytest.raises(ValueError, match=f"n_fix = {n_fix} pins all of 0.weight to 0, which cuts the network"):
        constraint(small_cnn(), WAsymmetry((n_fix, 2, 5), 0.0, whole_filters), 0)


@pytest.mark.parametrize(
    ("n_fix", "whole_filters", "message"),
    [
        ((28, 2, 5), False, "n_fix of 0.weight must lie between 0 and the 27 entries of a row, got 28"),
        ((4, 2, 5), True, "n_fix of 0.weight must lie between 0 and the 3 input filters of a row, got 4"),
        ((1, 2, 5), True, "0.weight has 6 rows but only 3 different masks with n_fix = 1 of 3 input filters"),
    ],
)
def test_filters_cannot_pin_more_than_they_have(n_fix, whole_filters, message):
    with pytest.raises(ValueError, match=message):
        constraint(small_cnn(), WAsymmetry(n_fix, 1.0, whole_filters), 0)


def test_linear_residual_pulls_towards_the_identity():
    fixed = constraint(small_cnn(), LinearResidual(0.5), 0)
    x = torch.randn(2, 6, 7, 7, generator=generator("x"))
    out = F.conv2d(x, fixed.F["2.weight"], padding=1)
    torch.testing.assert_close(out[:, :6], 0.5 * x)
    assert (out[:, 6:] == 0).all()
    assert torch.equal(fixed.F["4.weight"], 0.5 * torch.eye(4, 128))
    assert all(mask.all() for mask in fixed.D.values()) and not fixed.pinned and len(fixed.pull) == 3


@pytest.mark.parametrize("grid", [True, False])
def test_fixed_biases_are_shared_constants_that_training_leaves(grid):
    model = MLP((8, 16, 12, 4)).double()
    fixed = constraint(model, FixedBiases(3.0, grid), 0)
    assert list(fixed.D) == ["norms.0.bias", "norms.1.bias"]
    start = initialise(model, fixed, [0, 1])
    source = generator("data")
    x, y = torch.randn(40, 8, generator=source, dtype=torch.float64), torch.randint(4, (40,), generator=source)
    trained, _ = train(start, x, y, Recipe(2, 20, 0.1, 0.1), [0, 1])
    for name, width in (("norms.0.bias", 16), ("norms.1.bias", 12)):
        one, other = trained.params[name]
        assert torch.equal(one, other) and torch.equal(one, fixed.F[name].double())
        evenly = torch.linspace(-3, 3, width)
        assert torch.allclose(fixed.F[name], evenly) is grid
        assert 2 < fixed.F[name].abs().max() <= 3 and len(one.unique()) == width
    assert not torch.equal(trained.params["norms.0.weight"], start.params["norms.0.weight"])
    assert not torch.equal(trained.params["linears.0.bias"], start.params["linears.0.bias"])
    uniform = [constraint(model, FixedBiases(3.0, False), s).F["norms.0.bias"] for s in (0, 1)]
    assert not torch.equal(*uniform)


def test_biases_of_hidden_maps_are_fixed_where_no_norm_has_any():
    assert list(constraint(MLP((8, 6, 5, 4), norm="none"), FixedBiases(1.0), 0).D) == [
        "linears.0.bias",
        "linears.1.bias",
    ]
    assert list(constraint(ResNet(8, 0.5), FixedBiases(1.0), 0).D)[:2] == ["norm.bias", "stages.0.0.norm1.bias"]
    with pytest.raises(ValueError, match="no biases of hidden units"):
        constraint(nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 2)), FixedBiases(1.0), 0)


@pytest.mark.parametrize("bound", [0.0, -1.0, float("inf"), float("nan")])
def test_impossible_bound_of_biases_is_refused(bound):
    with pytest.raises(ValueError, match="bound must be positive and finite"):
        constraint(MLP((8, 6, 4)), FixedBiases(bound), 0)


def test_gates_by_width_are_narrower_by_the_root_of_the_width():
    plain, narrow = (activation_for(Sigma(2.0, by_width), 0)(0, 64).gate for by_width in (False, True))
    torch.testing.assert_close(narrow, plain / 8)


def test_gate_of_images_acts_on_the_channels_of_every_position():
    dense, images = (FiGLU(5, 1.0, generator("gate"), images) for images in (False, True))
    assert torch.equal(dense.gate, images.gate)
    x = torch.randn(2, 5, 3, 4, generator=generator("x"))
    by_position = torch.stack([torch.stack([dense(x[:, :, i, j]) for j in range(4)], -1) for i in range(3)], -2)
    torch.testing.assert_close(images(x), by_position)
    torch.testing.assert_close(images(x), dense(x.movedim(1, -1)).movedim(-1, 1))


ATTENTION = ("self_attn.in_proj_weight", "self_attn.out_proj.weight", "linear1.weight", "linear2.weight")


@pytest.mark.parametrize("asymmetry", [Syre(0.5), WAsymmetry(3, 1.0), LinearResidual(1.0)])
def test_all_linear_maps_of_a_transformer_are_constrained(asymmetry):
    model = nn.TransformerEncoderLayer(8, 2, 12, 0.0)
    fixed = constraint(model, asymmetry, 0)
    assert tuple(fixed.F) == ATTENTION and all((F != 0).any() for F in fixed.F.values())
    if isinstance(asymmetry, WAsymmetry):
        assert fixed.D["self_attn.in_proj_weight"].shape == (24, 8)
        assert ((~fixed.D["self_attn.in_proj_weight"]).sum(1) == 3).all()


def test_separate_projections_of_attention_are_constrained_too():
    maps = linear_maps(nn.MultiheadAttention(8, 2, kdim=5, vdim=6))
    assert list(maps) == ["q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"]


def test_torchvision_network_is_constrained_in_one_call():
    with torch.device("meta"):
        model = torchvision("models").resnet18()
    fixed = constraint(model, WAsymmetry(2, 1.0), 0)
    assert len(fixed.D) == 21 and all(((~mask).flatten(1).sum(1) == 2).all() for mask in fixed.D.values())
    rows = sum(len(mask) for mask in fixed.D.values())
    assert n_trainable(model, fixed) == sum(p.numel() for p in model.parameters()) - 2 * rows


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (nn.RNN(4, 4), "RNN"),
        (nn.LSTM(4, 4), "LSTM"),
        (nn.GRUCell(4, 4), "GRUCell"),
        (nn.Bilinear(4, 4, 4), "Bilinear"),
        (nn.ConvTranspose2d(4, 4, 3), "ConvTranspose2d"),
    ],
)
def test_layers_whose_rows_are_laid_out_differently_are_refused(layer, name):
    with pytest.raises(ValueError, match=f"1 is a {name}; only linear and convolution layers can be constrained"):
        constraint(nn.Sequential(nn.Linear(4, 4), layer), Syre(1.0), 0)


def test_embeddings_and_norms_are_left_alone():
    model = nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm(4), nn.Linear(4, 4))
    assert list(constraint(model, Syre(1.0), 0).F) == ["2.weight"]


def test_shared_weights_are_refused_by_both_names():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    with pytest.raises(ValueError, match="0.weight and 1.weight are one shared parameter"):
        constraint(model, Syre(1.0), 0)


def attach(model, fixed, effective):
    """Attach a constraint and set the free weights so that the effective ones are those given."""
    parametrize_with(model, fixed)
    for name in fixed.D:
        owner, _, leaf = name.rpartition(".")
        with torch.no_grad():
            original = getattr(model.get_submodule(owner).parametrizations, leaf).original
            original.copy_((effective[name] - fixed.F[name]) * fixed.D[name])


def weight(model, name):
    owner, _, leaf = name.rpartition(".")
    return getattr(model.get_submodule(owner), leaf)


@pytest.mark.parametrize(
    ("build", "shape", "asymmetry"),
    [
        (small_cnn, (6, 3, 8, 8), WAsymmetry((9, 20, 5), 1.0)),
        (lambda: nn.TransformerEncoderLayer(8, 2, 12, 0.0), (3, 2, 8), WAsymmetry(3, 1.0)),
    ],
)
def test_parametrization_keeps_the_pinned_entries_under_any_optimiser(build, shape, asymmetry):
    torch.manual_seed(0)
    model = build().double()
    fixed = constraint(model, asymmetry, 0).to(torch.zeros(1, dtype=torch.float64))
    before = fixed.impose({name: p.detach().clone() for name, p in model.named_parameters()})
    attach(model, fixed, before)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.5)
    x = torch.randn(shape, generator=generator("x"), dtype=torch.float64)
    for _ in range(5):
        optimiser.zero_grad()
        model(x).square().sum().backward()
        optimiser.step()
    for name, mask in fixed.D.items():
        now = weight(model, name).detach()
        assert torch.equal(now[~mask], fixed.F[name][~mask]), name
        assert (now[mask] != before[name][mask]).float().mean() > 0.9, name


@pytest.mark.parametrize("asymmetry", [WAsymmetry((9, 2, 5), 0.5), WAsymmetry((3, 2, 5), 0.5, True), Syre(0.5)])
def test_training_effective_weights_of_a_convolutional_network_equals_the_parametrization(asymmetry):
    model = small_cnn().double()
    fixed = constraint(model, asymmetry, 0).to(torch.zeros(1, dtype=torch.float64))
    start = initialise(model, fixed, [0])
    source = generator("data")
    x, y = torch.randn(12, 3, 8, 8, generator=source, dtype=torch.float64), torch.randint(4, (12,), generator=source)
    ours, _ = train(start, x, y, Recipe(20, 12, 1e-2, 0.1), [0])
    model.load_state_dict(next(start.members()))
    attach(model, fixed, next(start.members()))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    for _ in range(20):
        optimiser.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimiser.step()
    for name in fixed.D:
        torch.testing.assert_close(ours.params[name][0], weight(model, name), rtol=0, atol=1e-12)
