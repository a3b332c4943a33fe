"""What a step of variational inference costs, in steps of the same network without it, and where the time goes.

`OMP_NUM_THREADS=1 python benchmarks/bayesian.py` trains the paper's MLP with 8 hidden layers on random images of
CIFAR-10's size, batches of 250, both ways in turns; then ten small networks batched and one after another; then lets
networks predict under drawn weights and under noise drawn for every image.
"""

from collections.abc import Callable
from functools import partial
from unittest.mock import patch

import torch
from connectivity import medians

from symlib.asymmetry import Asymmetry, Standard, constraint
from symlib.bayes.evidence import Evidence, divergence
from symlib.bayes.layers import Posterior, gaussian, noise_size
from symlib.bayes.prediction import predict
from symlib.networks.mlp import MLP, relu
from symlib.networks.resnet import ResNet
from symlib.population import Population, initialise
from symlib.presets import LIM_BAYES_MLP
from symlib.training import CROSS_ENTROPY, Objective, Recipe, train

BATCH, STEPS, RANK = 250, 10, 4
WIDE, SMALL = (3072, *[256] * 8, 10), (64, *[32] * 12, 10)


def networks(widths: tuple[int, ...], asymmetry: Asymmetry, n: int = 1) -> Population:
    """Return untrained MLPs."""
    model = MLP(widths, relu)
    return initialise(model, constraint(model, asymmetry, 0), range(n))


def trained(population: Population, objective: Objective) -> Callable[[], object]:
    """Return what trains a population for some steps."""
    source = torch.Generator().manual_seed(0)
    x = torch.randn(BATCH * STEPS, population.model.linears[0].in_features, generator=source)
    y = torch.randint(10, (len(x),), generator=source)
    recipe, seeds = Recipe(1, BATCH, 5e-4, 0.0), range(len(population))
    return lambda: train(population, x, y, recipe, seeds, objective=objective)


def parts(population: Population) -> dict[str, Callable[[], object]]:
    """Return what runs pieces of one step: noise, the divergence with its gradients, and AdamW."""
    model, fixed = population.model, population.constraint
    (member,) = population.members()
    leaves = {name: w.clone().requires_grad_() for name, w in member.items()}
    optimiser = torch.optim.AdamW(leaves.values(), lr=1e-4, fused=True)
    for w in leaves.values():
        w.grad = torch.zeros_like(w)
    size = noise_size(model, torch.zeros(2, model.linears[0].in_features))
    return {
        "noise": lambda: torch.randn(BATCH, size),
        "divergence": lambda: torch.autograd.grad(
            divergence(model, fixed, leaves, 0.01), list(leaves.values()), allow_unused=True
        ),
        "AdamW": optimiser.step,
    }


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    objective = Evidence(0.01, 45_000)
    print(f"MLP with 8 hidden layers of 256 units, {WIDE[0]:,} inputs, batches of {BATCH}, milliseconds a step")
    for label, asymmetry in (("standard", Standard()), ("W-asymmetric", LIM_BAYES_MLP)):
        plain = networks(WIDE, asymmetry)
        bayesian = gaussian(plain, Posterior(RANK), [0])
        took = medians({"plain": trained(plain, CROSS_ENTROPY), "bayesian": trained(bayesian, objective)})
        plain_ms, bayesian_ms = (1e3 * seconds / STEPS for seconds in took.values())
        ratio = bayesian_ms / ((1 + RANK) * plain_ms)
        times = f"plain {plain_ms:6.1f}   variational {bayesian_ms:6.1f}"
        print(f"  {label:<13} {times}   {ratio:.2f} times 1 + {RANK} plain steps")
        shares = {name: 1e3 * seconds / bayesian_ms for name, seconds in medians(parts(bayesian)).items()}
        shares["products and the rest"] = 1 - sum(shares.values())
        print("  " + "".join(f"  {share:4.0%} {name}" for name, share in shares.items()))
    small = gaussian(networks(SMALL, Standard(), 10), Posterior(RANK), range(10))
    sides = {}
    for way in ("in turn", "batched"):
        run = trained(small, objective)
        sides[way] = lambda run=run, way=way: _with(way == "batched", run)
    took = medians(sides)
    ratio = took["in turn"] / took["batched"]
    print(f"ten MLPs with 12 hidden layers of 32 units: {ratio:.1f} times as fast batched as in turn")
    for label, model, x in (
        ("an MLP with 16 hidden layers", MLP((3072, *[256] * 16, 10), relu), torch.randn(4000, 3072)),
        ("a half as wide ResNet-20", ResNet(20, 0.5), torch.randn(250, 3, 32, 32)),
    ):
        drawn = gaussian(initialise(model, constraint(model, Standard(), 0), [0]), Posterior(RANK), [0])
        took = medians({way: partial(_predicted, way, drawn, x) for way in ("weights", "noise")})
        ratio = took["noise"] / took["weights"]
        print(f"predictions of {label}: {ratio:.1f} times as fast with drawn weights as with noise for every image")


def _predicted(way: str, population: Population, x: torch.Tensor) -> None:
    with patch("symlib.bayes.prediction._mixes_up_factors", lambda model: way == "noise"):
        predict(population, x, 2, [0])


def _with(batched: bool, run: Callable[[], object]) -> None:
    with patch("symlib.training.batched_pays", lambda *_: batched):
        run()


if __name__ == "__main__":
    main()
