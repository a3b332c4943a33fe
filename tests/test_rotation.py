from dataclasses import replace

import pytest
import torch

from symlib.data.dataset import Dataset, Split
from symlib.data.files import data_folder
from symlib.data.images import digits, load
from symlib.data.rotation import rotated, rotation, spread
from symlib.effective.subspace import Moments, coherence, representation_subspace
from symlib.seeds import generator

MNIST = pytest.mark.skipif(
    not (data_folder() / "MNIST/raw/train-images-idx3-ubyte").exists(), reason="needs MNIST in SYMLIB_DATA"
)


def moments_of(x):
    found = Moments()
    found.add(x.flatten(1))
    return found


def gaussian(n=400, d=30, rank=30):
    """Return inputs of unequal variances in random directions, around a mean that is not 0."""
    source = generator("rotation")
    directions = torch.linalg.qr(torch.randn(d, rank, generator=source, dtype=torch.float64)).Q
    scales = 0.8 ** torch.arange(rank)
    z = torch.randn(n, rank, generator=source, dtype=torch.float64) * scales
    return z @ directions.T + torch.randn(d, generator=source, dtype=torch.float64)


def task(x):
    half = len(x) // 2
    return Dataset("points", Split(x[:half], torch.zeros(half)), Split(x[half:], torch.zeros(len(x) - half)), "abc")


@pytest.mark.parametrize(("d", "k"), [(30, 7), (64, 21), (784, 87), (5, 5), (6, 1)])
@pytest.mark.parametrize("level", [0.0, 0.1, 0.5, 1.0])  # from the least coherence that there can be to 1
def test_no_row_exceeds_the_coherence_and_one_reaches_it(d, k, level):
    target = (1 - level) * k / d + level
    V = spread(d, k, target)
    torch.testing.assert_close(V @ V.T, torch.eye(d, dtype=torch.float64), rtol=0, atol=1e-10)
    assert coherence(V[:, :k]) == pytest.approx(target, abs=1e-9)


def test_first_turn_is_the_givens_rotation_that_can_be_worked_out_by_hand():
    # Rows (1, 0) and (0, 1) with one column that counts: turning by 30 degrees leaves cos^2 = 3/4 on the first.
    torch.testing.assert_close(spread(2, 1, 0.75)[:, 0].square(), torch.tensor([0.75, 0.25], dtype=torch.float64))


def test_rows_share_evenly_what_cannot_stay():
    # 1 is halved twice before a row can hold 0.3: (1, 0, 0, 0), (.5, .5, 0, 0), (.3, .5, .2, 0), (.3, .3, .2, .2).
    norms = spread(4, 1, 0.3)[:, 0].square().sort().values
    torch.testing.assert_close(norms, torch.tensor([0.2, 0.2, 0.3, 0.3], dtype=torch.float64))


@pytest.mark.parametrize("rank", [30, 12])  # with 12 the covariance does not determine all of its eigenvectors
def test_rotation_takes_the_subspace_of_inputs_to_one_of_the_coherence(rank):
    x = gaussian(rank=rank)
    k = representation_subspace(moments_of(x)).dimension
    for target in (k / 30, 0.6, 1.0):
        R = rotation(moments_of(x), target)
        torch.testing.assert_close(R @ R.T, torch.eye(30, dtype=torch.float64), rtol=0, atol=1e-10)
        turned = representation_subspace(moments_of(x @ R.T))
        assert turned.coherence == pytest.approx(target, abs=1e-3) and turned.dimension == k


def test_signs_of_components_do_not_depend_on_the_eigensolver(monkeypatch):
    moments = moments_of(gaussian())
    R, solve = rotation(moments, 0.7), torch.linalg.eigh

    def flipped(matrix):
        found = solve(matrix)
        return type(found)((found.eigenvalues, -found.eigenvectors))

    monkeypatch.setattr(torch.linalg, "eigh", flipped)
    torch.testing.assert_close(rotation(moments, 0.7), R)


def test_other_shares_of_the_variance_have_other_subspaces():
    x = gaussian()
    turned = x @ rotation(moments_of(x), 0.9, explained=0.5).T
    assert representation_subspace(moments_of(turned), 0.5).coherence == pytest.approx(0.9, abs=1e-3)
    assert representation_subspace(moments_of(turned), 0.9).coherence > 0.95
    assert not torch.equal(rotated(task(x), 0.9, 0.5).test.x, rotated(task(x), 0.9).test.x)


@pytest.mark.parametrize("target", [0.33, 0.5, 1.0])
def test_turned_digits_keep_shape_labels_and_distances(target):
    data = digits()
    turned = rotated(data, target)
    for before, after in ((data.train, turned.train), (data.test, turned.test)):
        assert after.x.shape == before.x.shape and after.x.dtype == torch.float32
        assert torch.equal(after.y, before.y)
        distances = [torch.pdist(split.x[:100].flatten(1).double()) for split in (before, after)]
        torch.testing.assert_close(*distances, rtol=1e-5, atol=0)
    assert representation_subspace(moments_of(turned.train.x)).coherence == pytest.approx(target, abs=1e-3)


def test_every_split_is_turned_alike_by_what_the_training_inputs_say():
    data = task(gaussian())
    R = rotation(moments_of(data.train.x), 0.5)
    turned = rotated(data, 0.5)
    torch.testing.assert_close(turned.train.x, data.train.x @ R.T)
    torch.testing.assert_close(turned.test.x, data.test.x @ R.T)


def test_turned_data_say_what_they_are():
    data = task(gaussian())
    turned, further = rotated(data, 0.5), rotated(data, 0.6)
    assert turned.name == "points-coherence-0.5"
    others = [further, rotated(data, 0.5, explained=0.8), rotated(replace(data, sha256="abd"), 0.5)]
    assert len({turned.sha256, data.sha256, *[other.sha256 for other in others]}) == 5


def test_the_least_coherence_is_dimension_by_features():
    data = digits()
    k = representation_subspace(moments_of(data.train.x)).dimension
    for target in (k / 64, k / 64 - 9e-6):
        turned = representation_subspace(moments_of(rotated(data, target).train.x))
        assert turned.coherence == pytest.approx(k / 64, abs=2e-6)


@pytest.mark.parametrize(("target", "got"), [(0.32, "0.32"), (1.01, "1.01"), (float("nan"), "nan"), (-0.5, "-0.5")])
def test_coherence_that_no_rotation_reaches_is_refused(target, got):
    with pytest.raises(ValueError, match=f"21 of 64 dimensions, .* anything from 0.3281 to 1, got {got}"):
        rotated(digits(), target)


def test_too_few_inputs_are_refused():
    with pytest.raises(ValueError, match="20 inputs cannot show the subspace of 30 features"):
        rotation(moments_of(gaussian(n=20)), 0.5)


@MNIST
def test_real_mnist_has_87_dimensions_and_reaches_their_least_coherence():
    data = load("mnist")
    assert representation_subspace(moments_of(data.train.x)).dimension == 87
    turned = representation_subspace(moments_of(rotated(data, 0.111).train.x))
    assert turned.dimension == 87 and turned.coherence == pytest.approx(0.1110, abs=1e-4)
    with pytest.raises(ValueError, match="87 of 784 dimensions, .* from 0.1110 to 1, got 0.11"):
        rotated(data, 0.11)
