import numpy as np
import pytest
import torch

from symlib.data.synthetic import gaussian_subspace
from symlib.effective.costs import signed_root
from symlib.population import initialise
from symlib.seeds import seed
from symlib.studies.swap_costs import FIRST, SwapCosts, array_name, beside_independent, build, quantities, run

SMALL = {
    "profile": "custom",
    "dimensions": [2, 8],
    "scales": [0.0, 1.0],
    "separations": [0.3, 3.0],
    "inputs": 64,
    "width": 16,
    "n_networks": 2,
    "epochs": 1,
    "n_train": 400,
    "explained": 0.9,
    "beta": 0.01,
    "mask_seed": 0,
    "base_seed": 0,
    "workers": 1,
    "out": "",
}


@pytest.fixture(scope="module")
def record():
    return run(SwapCosts.checked(SMALL))


def test_matrices_are_the_costs_of_the_first_network(record):
    config = SwapCosts.checked(SMALL)
    data = gaussian_subspace(8, 64, 20, 0.3, 400, 1, data_seed=0)
    start = initialise(*build(config, 1.0), [seed(0, "init", 0)], "normal")
    x = data.train.x.double().numpy()
    _, stretches, axes = np.linalg.svd(x - x.mean(0), full_matrices=False)
    k = int((np.cumsum(stretches**2) / np.sum(stretches**2) < 0.9).sum()) + 1
    U = axes[:k].T
    W, D, F = (
        t.double().numpy() for t in (start.params[FIRST][0], start.constraint.D[FIRST], start.constraint.F[FIRST])
    )
    c = np.empty((16, 16))
    for i in range(16):
        S = U.T @ np.diag(D[i]) @ U
        for j in range(16):
            target = U.T @ W[j] - U.T @ F[i]
            c[i, j] = target @ np.linalg.pinv(S) @ target
    swaps = c + c.T - np.diag(c)[:, None] - np.diag(c)[None]
    found = record.arrays[array_name({"k": 8, "sigma_F": 1.0}, "initial", "subspace")]
    np.testing.assert_allclose(found, signed_root(torch.from_numpy(swaps)).fill_diagonal_(0).numpy(), atol=1e-3)


def test_every_cell_and_state_has_its_rows(record):
    assert len(record.arrays) == 2 * 2 * 2 * 2
    found = quantities(record)
    for state in ("initial", "trained"):
        for separation in ("0.3", "3"):
            for k in (2, 8):
                for scale in (0, 1):
                    assert len(found[f"median/{state}/{separation}/{k}/{scale}"]) == 2
    assert len(found["lost/trained/3/8/1"]) == 1
    table = beside_independent(record)
    assert len(table) == 8 and table.loc[("initial", "σ_F = 1", "k = 2"), "median, theirs"] == 0.98


def test_constants_make_exchanges_dearer(record):
    found = quantities(record)
    for k in (2, 8):
        assert (found[f"median/initial/0.3/{k}/1"] > found[f"median/initial/0.3/{k}/0"] + 0.1).all()


def test_points_fill_a_subspace_of_the_wanted_dimension():
    data = gaussian_subspace(3, 30, n_train=500, n_test=100)
    rank = torch.linalg.matrix_rank(torch.cat([data.train.x, data.test.x]), rtol=1e-4)
    assert rank == 3 and data.train.x.shape == (500, 30) and data.n_classes == 20
    again, other = gaussian_subspace(3, 30, n_train=500, n_test=100), gaussian_subspace(3, 30, n_train=500, data_seed=1)
    assert torch.equal(again.test.x, data.test.x) and again.sha256 == data.sha256 != other.sha256


def test_classes_have_means_and_rotations_of_their_own():
    data = gaussian_subspace(2, 2, n_classes=2, separation=3.0, n_train=20_000, n_test=1)
    parts = [data.train.x[data.train.y == label] for label in (0, 1)]
    means, covariances = zip(*[(p.mean(0), p.T.cov()) for p in parts], strict=True)
    assert (means[0] - means[1]).norm() > 0.5
    # One pair of scales for all classes, so spectra agree and axes do not.
    spectra = [torch.linalg.eigvalsh(c) for c in covariances]
    torch.testing.assert_close(spectra[0], spectra[1], rtol=0.06, atol=0)
    assert (covariances[0] - covariances[1]).abs().max() > 0.05


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dimensions": [2, 100]}, "dimensions must be at most the 64 inputs, got 100"),
        ({"n_train": 20}, "n_train must be at least the 64 inputs, got 20"),
        ({"beta": 0.0}, "beta: "),
        ({"explained": 1.2}, "explained: "),
        ({"scales": [-1.0]}, "scales"),
    ],
)
def test_bad_parameters_are_refused_before_any_work(change, message):
    with pytest.raises(ValueError, match=message):
        SwapCosts.checked(SMALL | change)


@pytest.mark.parametrize(("arguments", "message"), [((0,), "between 1 and the 512"), ((513,), "got 513")])
def test_impossible_dimensions_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        gaussian_subspace(*arguments)
