"""Small networks and data that the tests share."""

import pytest
import torch

from symlib.asymmetry import Sigma, Standard, Syre, WAsymmetry, activation_for, constraint
from symlib.networks.mlp import MLP
from symlib.population import initialise
from symlib.seeds import generator

WIDTHS = (8, 16, 16, 4)
ASYMMETRIES = {
    "standard": Standard(),
    "w-asym": WAsymmetry((2, 4, 8), (1.0, 0.5, 0.25)),
    "syre": Syre(0.5),
    "sigma": Sigma(1.0),
}


torch.set_num_threads(1)  # results are the same to the last bit in worker processes, which have one


@pytest.fixture(autouse=True)
def _seeded():
    """Start every test from one state of the global generator, whatever ran before."""
    torch.manual_seed(0)


@pytest.fixture
def tiny():
    """Return a maker of small populations: `tiny("w-asym", init_seeds=[0, 1])`, in float64."""

    def make(kind, init_seeds=(0,), mask_seed=0, widths=WIDTHS):
        asymmetry = ASYMMETRIES[kind]
        model = MLP(widths, activation_for(asymmetry, mask_seed)).double()
        return initialise(model, constraint(model, asymmetry, mask_seed).to(torch.zeros(1).double()), init_seeds)

    return make


@pytest.fixture
def blobs():
    """Return 200 points of four Gaussian classes: inputs in float64 and labels."""
    source = generator("blobs")
    y = torch.randint(4, (200,), generator=source)
    centres = torch.randn(4, 8, generator=source, dtype=torch.float64)
    return centres[y] + 0.5 * torch.randn(200, 8, generator=source, dtype=torch.float64), y
