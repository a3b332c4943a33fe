import pytest
import torch
from torch import nn
from torch.func import functional_call

from symlib.asymmetry import FixedBiases, Standard, WAsymmetry, constraint
from symlib.networks.mlp import MLP
from symlib.networks.resnet import ResNet
from symlib.ntk import change, class_balanced, kernels, linearisation, spectrum
from symlib.population import initialise, logits
from symlib.seeds import generator
from symlib.training import Recipe, train


def by_finite_differences(population, x, step=1e-6):
    """Return the kernel of a population of one by moving every trainable entry up and down, one after another."""
    member = {name: w.clone() for name, w in next(population.members()).items()}
    population.model.eval()
    columns = []
    for name in population.params:
        mask = population.constraint.D.get(name, torch.ones_like(member[name], dtype=torch.bool)).flatten()
        for entry in mask.nonzero().flatten():
            at, ends = member[name].flatten()[entry].item(), []
            for sign in (1, -1):
                member[name].view(-1)[entry] = at + sign * step
                ends.append(functional_call(population.model, member, (x,)).detach())
            member[name].view(-1)[entry] = at
            columns.append((ends[0] - ends[1]) / (2 * step))
    J = torch.stack(columns, dim=-1)
    return torch.einsum("nkp,mkp->nm", J, J)


class Bent(nn.Module):
    """A linear layer without bias, one that is called twice, and one that sees every position of a sequence."""

    def __init__(self):
        super().__init__()
        self.free, self.twice, self.out = nn.Linear(4, 5, bias=False), nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x):
        hidden = self.twice(self.twice(self.free(x.mean(1)).tanh()).tanh())
        return self.out((hidden[:, None] + x[..., :1]).sin()).mean(1)


def population_of(model, asymmetry, x=None):
    made = initialise(model.double(), constraint(model, asymmetry, 0).to(torch.zeros(1).double()), [3])
    if made.stats and x is not None:  # statistics that differ from channel to channel
        made.stats.update({n: t + 0.1 * torch.rand(t.shape) for n, t in made.stats.items() if t.is_floating_point()})
    return made


@pytest.mark.parametrize(
    ("model", "asymmetry", "shape"),
    [
        (MLP((6, 7, 5, 3)), Standard(), (6,)),
        (MLP((6, 7, 5, 3)), WAsymmetry((2, 3, 4), 1.0), (6,)),
        (MLP((6, 7, 5, 3), norm="none"), FixedBiases(1.0), (6,)),
        (MLP((6, 7, 5, 3), norm="batch"), WAsymmetry((2, 3, 4), 0.0), (6,)),
        (ResNet(8, 0.125, in_channels=1), WAsymmetry((2, 2, 2, 2, 2, 0, 2, 2, 0, 2), 1.0), (1, 8, 8)),
        (Bent(), WAsymmetry(2, 1.0), (2, 4)),
    ],
    ids=["standard", "masked", "fixed biases", "batch norm", "convolutions", "no bias, twice, positions"],
)
def test_kernel_equals_that_of_finite_differences_over_trainable_entries(model, asymmetry, shape):
    x = torch.randn(4, *shape, generator=generator("x"), dtype=torch.float64)
    population = population_of(model, asymmetry, x)
    torch.testing.assert_close(kernels(population, x)[0], by_finite_differences(population, x), rtol=1e-6, atol=1e-6)


def test_every_member_has_its_own_kernel_and_single_precision_is_enough(tiny, blobs):
    population, x = tiny("w-asym", init_seeds=(0, 1)), blobs[0][:30]
    found = kernels(population, x)
    torch.testing.assert_close(found[1:], kernels(population[1:], x))
    assert change(found[:1], found[1:]).relative > 0.1
    population.model.float()
    single = population.holding({name: w.float() for name, w in population.tensors.items()})
    torch.testing.assert_close(kernels(single, x.float()), found, rtol=1e-5, atol=1e-5)


def test_kernel_of_a_linear_model_is_that_of_its_inputs():
    model = nn.Linear(5, 3).double()
    population = initialise(model, constraint(model, Standard(), 0), [0])
    x = torch.randn(7, 5, generator=generator("x"), dtype=torch.float64)
    torch.testing.assert_close(kernels(population, x)[0], 3 * (x @ x.T + 1))


def test_spectrum_of_a_planted_kernel():
    basis = torch.linalg.qr(torch.randn(2, 4, 4, generator=generator("basis"), dtype=torch.float64)).Q
    values = torch.tensor([[0.5, 1.0, 2.0, 4.0], [0.0, 0.0, 0.0, 3.0]], dtype=torch.float64)
    found = spectrum(basis @ torch.diag_embed(values) @ basis.mT)
    for measured, expected in {
        found.trace: [7.5, 3],
        found.frobenius: [21.25**0.5, 3],
        found.largest: [4, 3],
        found.smallest: [0.5, 0],
        found.effective_rank: [1.875, 1],
    }.items():
        torch.testing.assert_close(measured, torch.tensor(expected, dtype=torch.float64))


def features(key):
    return torch.randn(9, 4, generator=generator("features", key), dtype=torch.float64)


def test_change_equals_its_definition_with_centring_matrices():
    first, second = features(0), features(1)
    K, L = first @ first.T, second @ second.T
    H = torch.eye(9, dtype=torch.float64) - 1 / 9
    found = change(K[None], L[None])
    hsic = torch.trace(K @ H @ L @ H)
    cka = hsic / (torch.trace(K @ H @ K @ H) * torch.trace(L @ H @ L @ H)).sqrt()
    assert found.cka.item() == pytest.approx(cka.item())
    # The definition on features: linear CKA itself, not its square.
    a, b = first - first.mean(0), second - second.mean(0)
    assert found.cka.item() == pytest.approx(((b.T @ a).norm() ** 2 / ((a.T @ a).norm() * (b.T @ b).norm())).item())
    assert found.cosine.item() == pytest.approx((torch.trace(K @ L) / (K.norm() * L.norm())).item())
    assert found.relative.item() == pytest.approx(((K - L).norm() / L.norm()).item())


def test_change_of_scale_and_shift_of_kernels():
    K = (features(0) @ features(0).T)[None]
    same, shifted = change(2 * K, K), change(K + 5, K)
    assert [same.relative.item(), same.cosine.item(), same.cka.item()] == pytest.approx([1, 1, 1])
    assert shifted.cosine < 0.9 and shifted.cka.item() == pytest.approx(1)


def test_linear_models_are_their_own_tangent():
    model = nn.Linear(5, 3).double()
    start, end = (initialise(model, constraint(model, Standard(), 0), [s, s + 1]) for s in (0, 7))
    x = torch.randn(20, 5, generator=generator("x"), dtype=torch.float64)
    found = linearisation(start, end, x)
    assert found.error.max() < 1e-12 and found.cosine.min() > 1 - 1e-12 and found.agreement.tolist() == [1, 1]


@pytest.mark.parametrize("kind", ["standard", "w-asym", "syre"])
def test_linearisation_equals_a_finite_difference_towards_the_end(kind, tiny, blobs):
    x, y = blobs
    start = tiny(kind, init_seeds=(0, 1, 2))
    end, _ = train(start, x, y, Recipe(2, 20, 1e-2, 0.0), [0, 1, 2])
    step = 1e-5
    ends = [{n: w + sign * step * (end.params[n] - w) for n, w in start.params.items()} for sign in (1, -1)]
    slope = (logits(start.holding(ends[0]), x) - logits(start.holding(ends[1]), x)) / (2 * step)
    first, last = logits(start, x), logits(end, x)
    found = linearisation(start, end, x)
    for i in range(3):
        changed = last[i] - first[i]
        assert found.error[i].item() == pytest.approx(((changed - slope[i]).norm() / changed.norm()).item(), rel=1e-4)
        cosine = torch.nn.functional.cosine_similarity(changed.flatten(), slope[i].flatten(), dim=0)
        assert found.cosine[i].item() == pytest.approx(cosine.item(), abs=1e-4)
        alike = ((first[i] + slope[i]).argmax(-1) == last[i].argmax(-1)).double().mean()
        assert found.agreement[i].item() == pytest.approx(alike.item(), abs=0.011)


def test_short_ways_are_more_linear_than_long_ones(tiny, blobs):
    x, y = blobs
    start = tiny("standard", init_seeds=(0,))
    errors = [linearisation(start, train(start, x, y, Recipe(n, 20, 1e-2, 0.0), [0])[0], x).error for n in (1, 5, 30)]
    assert errors[0] < errors[1] < errors[2]


def test_class_balanced_samples():
    y = torch.randint(4, (300,), generator=generator("y"))
    chosen = class_balanced(y, 7, generator("choice"))
    assert y[chosen].bincount().tolist() == [7] * 4 and len(chosen.unique()) == 28
    assert not torch.equal(chosen, class_balanced(y, 7, generator("another choice")))
    with pytest.raises(ValueError, match=r"n_per_class is 3, but some classes have fewer samples: \{1: 2\}"):
        class_balanced(torch.tensor([0, 0, 0, 0, 1, 1]), 3, generator("choice"))


def test_what_cannot_be_compared_is_refused(tiny, blobs):
    population = tiny("w-asym", init_seeds=(0, 1))
    with pytest.raises(ValueError, match="at least one"):
        kernels(population, blobs[0][:0])
    with pytest.raises(ValueError, match=r"same samples, got shapes \(1, 3, 3\), \(1, 2, 2\)"):
        change(torch.zeros(1, 3, 3), torch.zeros(1, 2, 2))
    with pytest.raises(ValueError, match=r"share their fixed entries"):
        linearisation(population, tiny("w-asym", init_seeds=(0, 1), mask_seed=1), blobs[0])
    batched = population_of(MLP((8, 16, 4), norm="batch"), Standard())
    with pytest.raises(ValueError, match="without BatchNorm"):
        linearisation(batched, batched, blobs[0])
