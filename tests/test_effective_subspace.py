import pytest
import torch
from torch import nn

from symlib.asymmetry import Standard, constraint
from symlib.effective.subspace import (
    Moments,
    coherence,
    input_moments,
    layer_inputs,
    representation_subspace,
)
from symlib.networks.mlp import MLP
from symlib.networks.resnet import ResNet
from symlib.population import initialise
from symlib.seeds import generator


def moments_of(x, *sizes):
    moments = Moments()
    for batch in x.split(sizes or len(x)):
        moments.add(batch)
    return moments


def correlated(n=200, d=12):
    g = generator("subspace")
    return torch.randn(n, d, generator=g) @ torch.randn(d, d, generator=g)


def network(norm="layer"):
    model = MLP([6, 5, 4, 3], norm=norm)
    return model, next(initialise(model, constraint(model, Standard(), 0), [3]).members())


@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-11), (torch.float32, 1e-5)])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_moments_in_batches_are_those_of_all_vectors_even_far_from_zero(offset, dtype, within):
    x = (correlated(1200, 150) + offset).to(dtype)
    found = moments_of(x, 7, 1100, 93)
    assert found.n == 1200
    torch.testing.assert_close(found.mean, x.double().mean(0), rtol=within, atol=within)
    expected = torch.cov(x.double().T, correction=0)
    torch.testing.assert_close(found.covariance, expected, rtol=0, atol=within * float(expected.max()))


@pytest.mark.parametrize("explained", [0.3, 0.9, 0.999])
def test_subspace_is_that_of_a_singular_value_decomposition_of_the_data(explained):
    x = correlated().double()
    found = representation_subspace(moments_of(x, 50, 150), explained)
    _, values, rows = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    shares = values.square().cumsum(0) / values.square().sum()
    k = next(i + 1 for i, share in enumerate(shares) if share >= explained)
    assert (found.dimension, found.full_dimension) == (k, 12)
    assert found.explained == pytest.approx(float(shares[k - 1]), abs=1e-9)
    torch.testing.assert_close(found.basis @ found.basis.T, rows[:k].T @ rows[:k], rtol=0, atol=1e-8)
    assert (found.basis.T @ rows[:k].T).diagonal().abs().min() > 1 - 1e-8  # in the same order


def test_signs_do_not_depend_on_how_the_data_are_mirrored_or_cut():
    x = correlated()
    one, other = representation_subspace(moments_of(x)), representation_subspace(moments_of(-x, 13, 187))
    torch.testing.assert_close(one.basis, other.basis, rtol=0, atol=1e-5)
    assert (one.basis.amax(0) == one.basis.abs().amax(0)).all()


def test_all_of_the_variance_leaves_out_directions_without_any():
    plane = correlated(d=2) @ torch.randn(2, 10, generator=generator("plane"))
    found = representation_subspace(moments_of(plane), 1.0)
    assert found.dimension == 2
    assert found.explained == pytest.approx(1, abs=1e-6)
    assert representation_subspace(moments_of(correlated()), 1.0).dimension == 12


def test_coherence_by_a_loop_and_at_its_limits():
    basis = torch.linalg.qr(correlated().double()[:, :4]).Q
    assert coherence(basis) == pytest.approx(max(float(row @ row) for row in basis))
    assert coherence(torch.eye(8)[:, 2:5]) == 1
    assert coherence(torch.tensor([[1.0, 1], [1, -1], [1, 1], [1, -1]]) / 2) == pytest.approx(2 / 4)  # k/d
    assert representation_subspace(moments_of(correlated())).coherence <= 1


@pytest.mark.parametrize("explained", [0.0, -0.1, 1.01, float("nan")])
def test_impossible_shares_are_refused(explained):
    with pytest.raises(ValueError, match=r"share of the variance in \(0, 1\]"):
        representation_subspace(moments_of(correlated()), explained)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (correlated(11), "11 inputs cannot show the subspace of 12 features"),
        (torch.full((50, 4), 0.1), "do not vary"),
        (torch.zeros(50, 4), "do not vary"),
        (torch.full((50, 4), float("nan")), "not finite"),
    ],
)
def test_data_that_show_no_subspace_are_refused(x, message):
    with pytest.raises(ValueError, match=message):
        representation_subspace(moments_of(x, 5, len(x) - 5))


def test_no_data_are_refused():
    with pytest.raises(ValueError, match="0 inputs"):
        representation_subspace(Moments())


def test_layer_inputs_are_what_a_layer_by_layer_pass_finds():
    model, tensors = network()
    x = correlated(9, 6)
    found = layer_inputs(model, tensors, x)
    for i, (norm, activation) in enumerate(zip(model.norms, model.activations, strict=True)):
        torch.testing.assert_close(found[f"linears.{i}.weight"], x)
        w, b = tensors[f"linears.{i}.weight"], tensors[f"linears.{i}.bias"]
        x = activation(norm(nn.functional.linear(x, w, b)))
    torch.testing.assert_close(found["linears.2.weight"], x)
    assert model.linears[1].weight is not tensors["linears.1.weight"]  # the weights were the network's, not the model's


def test_batch_norm_runs_on_its_running_statistics_and_leaves_them_alone():
    model, tensors = network("batch")
    model.train()
    x = correlated(40, 6) + 3
    before = {name: tensor.clone() for name, tensor in (tensors | model.state_dict()).items()}
    whole = layer_inputs(model, tensors, x)["linears.1.weight"]
    alone = layer_inputs(model, tensors, x[:2])["linears.1.weight"]
    torch.testing.assert_close(whole[:2], alone)  # with batch statistics one input would depend on the others
    assert model.training
    after = tensors | model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_moments_over_passes_are_those_of_one_pass():
    model, tensors = network()
    x = correlated(50, 6)
    in_parts = input_moments(model, tensors, x, 7, ["linears.1.weight"])
    at_once = layer_inputs(model, tensors, x)["linears.1.weight"].double()
    assert list(in_parts) == ["linears.1.weight"]
    torch.testing.assert_close(
        in_parts["linears.1.weight"].covariance, torch.cov(at_once.T, correction=0), rtol=1e-5, atol=1e-7
    )


def test_a_layer_without_inputs_is_an_error():
    class Idle(MLP):
        def forward(self, x):
            return self.linears[0](x)

    model = Idle([6, 5, 4, 3])
    tensors = dict(model.named_parameters())
    with pytest.raises(ValueError, match=r"no inputs of linears\.1\.weight were recorded"):
        layer_inputs(model, tensors, correlated(5, 6))
    assert list(layer_inputs(model, tensors, correlated(5, 6), ["linears.0.weight"])) == ["linears.0.weight"]


def test_only_linear_layers_are_read():
    model = ResNet(8, 0.25)
    tensors = next(initialise(model, constraint(model, Standard(), 0), [0]).members())
    images = torch.randn(4, 3, 8, 8, generator=generator("images"))
    (only,) = layer_inputs(model, tensors, images).values()
    assert only.shape == (4, 16)
    with pytest.raises(ValueError, match=r"stem\.weight is no linear layer"):
        layer_inputs(model, tensors, images, ["stem.weight"])
