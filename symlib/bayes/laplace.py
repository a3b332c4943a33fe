"""Laplace's approximation around the read-out of trained networks, by a library, for orientation.

The library is optional: `pip install "symlib[laplace]"`.
"""

import warnings
from copy import deepcopy

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from symlib.bayes.prediction import ensemble
from symlib.data.dataset import Split
from symlib.data.torchvision_import import torchvision
from symlib.population import Population, passes

BATCH = 1000


def last_layer_laplace(population: Population, seen: Split, x: Tensor) -> Tensor:
    """Return probabilities under a Gaussian around the last layer of one network, its prior fitted to the evidence.

    Kronecker-factored curvature and MacKay's integral over logits, what the library recommends first.

    Args:
        population: One network.
        seen: What it was trained on.
        x: Inputs, shape (n, ...).

    Returns:
        Shape (n, classes), NaN if the network has diverged.

    Raises:
        ValueError: If the population has more than one network.

    Source: Daxberger et al. (2021).
    """
    if len(population) != 1:
        raise ValueError(f"Laplace's approximation is that of one network, got {len(population)}")
    if not all(w.isfinite().all() for w in population.tensors.values()):
        return ensemble(population, x)  # what the network says itself: the library ends the program on such numbers
    torchvision("datasets")  # the library imports it, which needs help in some installations
    model = deepcopy(population.model)
    model.load_state_dict(next(population.members()), strict=False)
    model.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the library uses
        from laplace import Laplace

        found = Laplace(model, "classification", subset_of_weights="last_layer", hessian_structure="kron")
        found.fit(DataLoader(TensorDataset(seen.x, seen.y), batch_size=BATCH))
        found.optimize_prior_precision(method="marglik")
        with torch.no_grad():
            return torch.cat([found(inputs, link_approx="probit") for inputs in passes(model, x)])
