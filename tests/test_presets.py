"""Parameter counts of both papers' networks, from the tables of the papers and with their errors corrected."""

import pytest
import torch
from torch import nn

from symlib.asymmetry import Sigma, Standard, activation_for, constraint, n_trainable
from symlib.figlu import FiGLU
from symlib.networks.gnn import GNN
from symlib.networks.mlp import MLP, relu
from symlib.networks.resnet import ResNet
from symlib.presets import (
    BUERGIN_MNIST,
    LIM_BAYES_MLP,
    LIM_GNN,
    LIM_MNIST,
    LIM_RESNET8,
    SIGMA_GNN,
    SIGMA_MNIST,
    SIGMA_RESNET,
    buergin_resnet,
    lim_resnet,
)

PAIR = torch.tensor([[0, 1], [1, 0]])


def resnet(*size, **options):
    with torch.device("meta"):  # shapes are all that counts
        return ResNet(*size, **options)


def bayes_mlp(n_inputs, n_hidden):
    with torch.device("meta"):
        return MLP((n_inputs, *[256] * n_hidden, 10), relu)


def gnn(activation=None):
    return GNN(torch.zeros(2, 128), PAIR, (256, 256, 256), 40, **{"activation": activation} if activation else {})


# The W-asymmetric ResNet-20 of width 1 has 230,026; Table 5 says 230,024, which its Bayesian twin contradicts.
TABLE_5 = {
    "mlp": (lambda: MLP((784, 512, 512, 512, 10)), LIM_MNIST, 935_434, 834_570, 100_864),
    "mlp of paper A": (lambda: MLP((784, 512, 512, 512, 10)), BUERGIN_MNIST, 935_434, 834_570, 100_864),
    "resnet20": (lambda: resnet(20), lim_resnet(), 272_474, 230_026, 42_448),
    "resnet20 of width 8": (lambda: resnet(20, 8), lim_resnet(20, 3), 17_289_866, 16_273_946, 1_015_920),
    "gnn": (gnn, LIM_GNN, 176_424, 171_576, 4_848),
    "resnet8": (lambda: resnet(8), LIM_RESNET8, 78_042, 60_634, 17_408),
    # Bürgin et al. leave 15 of the 27 entries of the stem's rows trainable.
    "resnet20 of paper A": (lambda: resnet(20, 8), buergin_resnet(), 17_289_866, 16_275_866, 1_014_000),
}


@pytest.mark.parametrize("row", TABLE_5)
def test_trainable_parameters_are_those_of_table_5(row):
    build, asymmetry, standard, w_asymmetric, n_pinned = TABLE_5[row]
    model = build()
    assert n_trainable(model, constraint(model, Standard(), 0)) == standard
    pinned = constraint(model, asymmetry, 0)
    assert n_trainable(model, pinned) == w_asymmetric
    assert sum(index.numel() for index, _ in pinned.pinned.values()) == n_pinned


def test_smaller_resnet8_has_about_as_many_parameters_as_the_asymmetric_one():
    model = resnet(8, 0.875)
    assert n_trainable(model, constraint(model, Standard(), 0)) == 59_944


def variational_count(model, asymmetry):
    """Count a mean and four factors for each trainable entry of linear maps and their biases, and norms once."""
    norms = sum(
        p.numel()
        for module in model.modules()
        if isinstance(module, nn.LayerNorm | nn.GroupNorm)
        for p in module.parameters()
    )
    return 5 * (n_trainable(model, constraint(model, asymmetry, 0)) - norms) + norms


def bayes_resnet(depth, read_out):
    return lim_resnet(depth, sigma_F=0.5, read_out=read_out)


# Table 5 swaps the two counts of MLP-8 and counts the standard wide ResNet-20 with 10 classes instead of 100.
BAYESIAN = {
    "mlp-8, mnist": (lambda: bayes_mlp(784, 8), LIM_BAYES_MLP, 3_324_466, 3_242_146),
    "mlp-16, mnist": (lambda: bayes_mlp(784, 16), LIM_BAYES_MLP, 5_960_242, 5_796_002),
    "mlp-8, cifar": (lambda: bayes_mlp(3072, 8), LIM_BAYES_MLP, 6_253_106, 6_170_786),
    "mlp-16, cifar": (lambda: bayes_mlp(3072, 16), LIM_BAYES_MLP, 8_888_882, 8_724_642),
    "resnet20": (lambda: resnet(20), bayes_resnet(20, read_out=True), 1_356_098, 1_143_858),
    "resnet20 of width 2": (lambda: resnet(20, 2, 100), bayes_resnet(20, read_out=False), 5_468_436, 5_044_756),
    "resnet110": (lambda: resnet(110), bayes_resnet(110, read_out=True), 8_620_418, 7_371_378),
    "resnet110 of width 2": (lambda: resnet(110, 2, 100), bayes_resnet(110, read_out=False), 34_512_276, 32_014_996),
}


@pytest.mark.parametrize("row", BAYESIAN)
def test_variational_parameters_of_the_bayesian_networks_are_those_of_table_5(row):
    build, asymmetry, standard, w_asymmetric = BAYESIAN[row]
    model = build()
    assert variational_count(model, Standard()) == standard
    assert variational_count(model, asymmetry) == w_asymmetric


def test_widths_of_the_resnets_multiply_the_counts_per_row():
    once, thrice = lim_resnet(), lim_resnet(20, 3)
    assert thrice.n_fix == (27, *[3 * n for n in once.n_fix[1:]])  # the stem's rows have no more than 27 entries
    assert buergin_resnet().n_fix == (12, *thrice.n_fix[1:])
    assert once.n_fix[0] == 12 and lim_resnet(read_out=False).n_fix == (*once.n_fix[:-1], 0)


def test_constants_have_the_scales_that_the_papers_state():
    assert lim_resnet().sigma_F == buergin_resnet().sigma_F == LIM_RESNET8.sigma_F == 2
    assert buergin_resnet(0.0).sigma_F == 0 and lim_resnet(sigma_F=0.5).sigma_F == 0.5
    assert LIM_MNIST.sigma_F == (1, 1, 0.5, 0.25) and BUERGIN_MNIST.sigma_F == (1, 1, 1, 1)
    assert LIM_GNN.sigma_F == LIM_BAYES_MLP.sigma_F == 0.5


@pytest.mark.parametrize(
    ("preset", "width", "std"), [(SIGMA_MNIST, 512, 1.0), (SIGMA_RESNET, 64, 1 / 8), (SIGMA_GNN, 256, 0.01 / 16)]
)
def test_gates_have_the_scales_of_the_papers_code(preset, width, std):
    gate = activation_for(preset, 0)(0, width).gate
    assert gate.std().item() == pytest.approx(std, rel=0.02)


def test_gates_add_no_parameters():
    plain, gated = gnn(), gnn(activation_for(SIGMA_GNN, 0))
    assert sum(isinstance(m, FiGLU) for m in gated.modules()) == 3
    assert n_trainable(gated, constraint(gated, Sigma(0.01), 0)) == n_trainable(plain, constraint(plain, Standard(), 0))
