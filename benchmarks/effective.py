"""Realization and swap costs of a layer of 512 neurons with 54,000 inputs, against the formulas as they stand.

`python benchmarks/effective.py` needs no data: inputs are Gaussian with the spectrum of a power law, which sets the
dimension of the subspace. All sides use as many threads as OMP_NUM_THREADS says; times are of the processor.
"""

import multiprocessing
import resource
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor

from symlib.effective.costs import realization_costs, swap_costs
from symlib.effective.subspace import Moments, representation_subspace
from symlib.seeds import generator

N, M = 54_000, 512
LAYERS = {  # features, power by which standard deviations fall, frozen inputs per neuron
    "images": (784, 0.75, 64),
    "hidden units": (512, 0.5, 64),
    "images, half of the inputs frozen": (784, 0.75, 392),
}
ROUNDS = 3


def layer(d: int, power: float, n_fix: int) -> tuple[Tensor, ...]:
    """Return inputs, effective weights, mask and fixed weights."""
    g = generator("benchmark", d, n_fix)
    x = torch.randn(N, d, generator=g) * torch.arange(1, d + 1) ** -power
    x = x @ torch.linalg.qr(torch.randn(d, d, generator=g)).Q + 0.1
    D = torch.rand(M, d, generator=g).argsort(1) >= n_fix
    F = torch.where(D, 0.0, torch.randn(M, d, generator=g))
    return x, F + D * torch.randn(M, d, generator=g) / d**0.5, D, F


def literal(x: Tensor, W: Tensor, D: Tensor, F: Tensor) -> Tensor:
    """Return swap costs by singular values of the data, pseudo-inverses, and sums over all indices."""
    _, values, rows = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    shares = values.square().cumsum(0) / values.square().sum()
    U = rows[: int((shares < 0.9).sum()) + 1].T
    operators = torch.einsum("dk,id->ikd", U, D.to(x))
    # By eigenvalues: in float32 the singular values of matrices with so many eigenvalues of 1 do not converge here.
    inverses = torch.linalg.pinv(operators @ operators.mT, hermitian=True)
    targets = W @ U - (F @ U)[:, None]
    cost = torch.einsum("ijk,ikl,ijl->ij", targets, inverses, targets)
    own = cost.diagonal()
    return cost + cost.T - own[:, None] - own


def single(*layer: Tensor) -> Tensor:
    """Return what `literal` does in float32."""
    return literal(*layer)


def double(x: Tensor, W: Tensor, D: Tensor, F: Tensor) -> Tensor:
    """Return what `literal` does in float64."""
    return literal(x.double(), W.double(), D, F.double())


def ours(x: Tensor, W: Tensor, D: Tensor, F: Tensor) -> Tensor:
    """Return what the companion computes."""
    moments = Moments()
    for batch in x.split(1000):
        moments.add(batch)
    subspace = representation_subspace(moments, 0.9)
    return swap_costs(realization_costs(W, D, F, subspace).cost)


SIDES = {"literal, float32": single, "literal, float64": double, "ours": ours}


def measure(side: str, name: str, to: Path) -> None:
    """Run one side in this process and keep its result, seconds, peak of memory and what was there before in GB."""
    given = layer(*LAYERS[name])
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    swaps = SIDES[side](*given)
    took, peak = time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    torch.save((swaps, took, peak / 1e6, before / 1e6), to)


def compare(name: str) -> None:
    """Measure all sides on one layer, in turns; print."""
    times: dict[str, list[float]] = {side: [] for side in SIDES}
    results = {}
    for side in list(SIDES) * ROUNDS:
        with tempfile.TemporaryDirectory() as folder:
            # In a process of its own, for its peak of memory.
            arguments = side, name, Path(folder) / "result"
            process = multiprocessing.get_context("spawn").Process(target=measure, args=arguments)
            process.start()
            process.join()
            results[side] = torch.load(arguments[-1])
        times[side].append(results[side][1])
    print(name)
    swaps = results["ours"][0]
    for side, (other, _, peak, before) in results.items():
        ratio = statistics.median(theirs / ours for theirs, ours in zip(times[side], times["ours"], strict=True))
        difference = float((other - swaps).abs().max() / swaps.abs().max())
        print(
            f"  {side:17}{statistics.median(times[side]):6.2f} s   ratio {ratio:5.1f}   largest difference "
            f"{difference:.0e}   peak of the process {peak:.2f} GB, {before:.2f} GB of it before (torch and the inputs)"
        )


if __name__ == "__main__":
    for name in LAYERS:
        compare(name)
