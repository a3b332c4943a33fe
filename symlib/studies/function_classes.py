"""What three neurons can express on a plane of inputs, and what two trained networks let them express.

Networks small enough to be drawn; the checks of the theory by numbers are in `effective_theory.py`.
"""

import pandas as pd
import torch
from torch import Tensor

from symlib.asymmetry import Asymmetry, Standard, WAsymmetry, constraint
from symlib.effective.costs import realization_costs
from symlib.effective.identifiability import identifiability_gap
from symlib.effective.subspace import input_moments, representation_subspace
from symlib.networks.mlp import MLP
from symlib.population import evaluate, initialise
from symlib.seeds import generator, seed
from symlib.training import Recipe, train

N_INPUTS, N_NEURONS, N_POINTS = 6, 3, 400
INTERVENTIONS: dict[str, Asymmetry] = {
    "standard": Standard(),
    "w-asym 0": WAsymmetry((3, 1), 0.0),
    "w-asym 1": WAsymmetry((3, 1), 1.0),
}
# Strong decay, so that what is learnt stays comparable with the fixed part and norms are what decides.
RECIPE = Recipe(epochs=40, batch_size=50, lr=1e-2, weight_decay=1.0)


def wedges(base_seed: int) -> tuple[Tensor, Tensor]:
    """Return points of a plane in six dimensions and their classes: four clouds, opposite ones of one class.

    Returns:
        Inputs, shape (400, 6), and labels, shape (400,).
    """
    source = generator(base_seed, "wedges")
    corner = torch.randint(4, (N_POINTS,), generator=source)
    centres = 3 * torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    z = centres[corner] + 0.9 * torch.randn(N_POINTS, 2, generator=source)
    plane = torch.linalg.qr(torch.randn(N_INPUTS, 2, generator=source)).Q
    return z @ plane.T, corner % 2


def function_classes(base_seed: int) -> pd.DataFrame:
    """Train two networks of every intervention and return classes and realised functions of their hidden neurons.

    Returns:
        One row per intervention, run and neuron: centre (v_1, v_2) and shape (S_11, S_12, S_22) of its class, equal in
        both runs; what it realises (a_1, a_2) and its cost; of the whole run, the gap when its neurons realise the
        functions of the other run, positive if matching equal numbers is cheapest, and the training accuracy.
    """
    x, y = wedges(base_seed)
    return pd.concat([_trained(name, base_seed, x, y) for name in INTERVENTIONS], ignore_index=True)


def _trained(name: str, base_seed: int, x: Tensor, y: Tensor) -> pd.DataFrame:
    model = MLP((N_INPUTS, N_NEURONS, 2), norm="none")
    fixed = constraint(model, INTERVENTIONS[name], mask_seed=base_seed)
    seeds = {what: [seed(base_seed, what, run) for run in range(2)] for what in ("init", "order")}
    pair, _ = train(initialise(model, fixed, seeds["init"], "normal"), x, y, RECIPE, seeds["order"])
    layer = "linears.0.weight"
    D = fixed.D.get(layer, torch.ones(N_NEURONS, N_INPUTS, dtype=torch.bool))
    F = fixed.F.get(layer, torch.zeros(N_NEURONS, N_INPUTS))
    # The inputs fill a plane, so all of their variance is wanted.
    plane = representation_subspace(input_moments(model, next(pair.members()), x, layers=[layer])[layer], 1.0)
    U, weights, accuracy = plane.basis, pair.params[layer], evaluate(pair, x, y).accuracy
    rows = []
    for run, W in enumerate(weights):
        cost = realization_costs(W, D, F, plane).cost
        across = identifiability_gap(realization_costs(weights[1 - run], D, F, plane).cost).gap
        for i, mask in enumerate(D):
            v, a = (F[i].double() @ U).tolist(), (W[i].double() @ U).tolist()
            S = (U[mask].T @ U[mask]).tolist()
            rows.append(
                {"intervention": name, "run": run, "neuron": i, "v_1": v[0], "v_2": v[1], "a_1": a[0], "a_2": a[1]}
                | {"S_11": S[0][0], "S_12": S[0][1], "S_22": S[1][1], "cost": float(cost[i, i])}
                | {"gap": across, "accuracy": float(accuracy[run])}
            )
    return pd.DataFrame(rows)
