"""Tangent kernels against gradients written out, and distances of function classes against Adam.

`OMP_NUM_THREADS=1 python benchmarks/dynamics.py` needs no data: inputs are Gaussian with the spectrum of a power law.
Times are of the processor.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import functional_call, jacrev, vmap

from symlib.asymmetry import Standard, Syre, WAsymmetry, constraint
from symlib.effective.hausdorff import class_distances, distances_by_adam, distances_through
from symlib.effective.subspace import Moments
from symlib.networks.mlp import MLP
from symlib.ntk import kernels
from symlib.population import Population, initialise
from symlib.presets import BUERGIN_MNIST
from symlib.seeds import generator

N_SAMPLES = 100  # of the kernel
N_INPUTS, N_NEURONS, N_DRAWS = 1000, 8, 10
PENALTY, ADAM_STEPS = 5e-4, 3000


def inputs(n: int) -> Tensor:
    """Return Gaussian inputs of 784 features."""
    g = generator("benchmark", n)
    x = torch.randn(n, 784, generator=g) * 5 * torch.arange(1, 785) ** -0.75
    return x @ torch.linalg.qr(torch.randn(784, 784, generator=g)).Q


def written_out(population: Population, x: Tensor) -> Tensor:
    """Return the kernel of a population of one from the gradients of all outputs at each sample, masked."""
    member, masks = next(population.members()), population.constraint.D

    def outputs(weights: dict[str, Tensor], sample: Tensor) -> Tensor:
        return functional_call(population.model, weights, (sample[None],))[0]

    kernel = torch.zeros(len(x), len(x))
    for k in range(10):
        gradients = vmap(jacrev(lambda weights, sample, k=k: outputs(weights, sample)[k]), (None, 0))(member, x)
        for name, gradient in gradients.items():
            rows = (gradient * masks[name] if name in masks else gradient).flatten(1)
            kernel += rows @ rows.T
    return kernel[None].double()


def timed(run: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """Return seconds of the processor, the better of two runs, and the result."""
    seconds = []
    for _ in range(2):
        started = time.process_time()
        found = run()
        seconds.append(time.process_time() - started)
    return min(seconds), found


def kernel_lines() -> list[str]:
    """Time the kernels of one network of width 512."""
    x, lines = inputs(N_SAMPLES), []
    for name, asymmetry in {"standard": Standard(), "W-asymmetric": BUERGIN_MNIST}.items():
        model = MLP((784, 512, 512, 512, 10))
        population = initialise(model, constraint(model, asymmetry, 0), [0])
        plain, expected = timed(lambda p=population: written_out(p, x))
        ours, found = timed(lambda p=population: kernels(p, x))
        off = (found - expected).norm() / expected.norm()
        lines.append(
            f"kernel, {name:<13}written out {plain:6.2f} s   ours {ours:6.2f} s   ratio {plain / ours:5.1f}   "
            f"relative difference {off:.0e}"
        )
    return lines


def class_lines() -> list[str]:
    """Time distances of classes; Adam reports them at the same penalty after as many steps as the authors' script."""
    x, lines = inputs(N_INPUTS), []
    moments = Moments()
    moments.add(x)
    model = MLP((784, N_NEURONS, 10))
    for name, asymmetry in {"W-asymmetric": WAsymmetry((64, 4), 1.0), "syre": Syre(1.0)}.items():
        fixed = constraint(model, asymmetry, 0)
        drawn = initialise(model, fixed, range(N_DRAWS + 1), "normal").params
        w, b = (drawn[f"linears.0.{leaf}"].transpose(0, 1) for leaf in ("weight", "bias"))
        D, F, partners = fixed.D["linears.0.weight"], fixed.F["linears.0.weight"], torch.arange(N_NEURONS) ^ 1
        goals, start = (w[partners, 1:], b[partners, 1:]), (w[:, 0], b[:, 0])
        given = (*goals, start, D, F, x, PENALTY, 1e-2, [ADAM_STEPS])
        adam, stopped = timed(lambda given=given: distances_by_adam(*given))
        ours, found = timed(lambda goals=goals, D=D, F=F: distances_through(*goals, D, F, x, PENALTY))
        closed, _ = timed(lambda w=w, D=D, F=F: class_distances(w[:, 1:], D, F, moments, PENALTY))
        lines.append(
            f"classes, {name:<13}Adam {adam:6.1f} s   descent {ours:5.1f} s   ratio {adam / ours:5.1f}   "
            f"closed form, all pairs {closed:5.2f} s   median distance {stopped.median():.2g} and {found.median():.2g}"
        )
    return lines


if __name__ == "__main__":
    print("\n".join(kernel_lines()), flush=True)
    print("\n".join(class_lines()))
