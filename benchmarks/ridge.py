"""Ridge costs through the activation for 64 x 64 pairs at 4 ridges, against 3,000 steps of AdamW on every pair.

`OMP_NUM_THREADS=1 python benchmarks/ridge.py` needs no data. Both sides are timed on a few realising neurons, all
sources and all ridges at once, in processor seconds; the straightforward program is timed by the step, and run to its
end for one of them, where objectives are compared.
"""

import time

import torch
import torch.nn.functional as F
from torch import Tensor

from symlib.effective.ridge_through import Neurons, _Layer, solve
from symlib.seeds import generator

M, N, BETAS, STEPS = 64, 6_000, (0.001, 0.01, 0.1, 1.0), 3_000
TIMED = 4  # of the 64 realising neurons
STEPS_TIMED = 15
CASES = {  # inputs, dimension of their subspace or power by which their standard deviations fall
    "512 inputs in 32 dimensions": (512, 32, None),
    "784 inputs of falling variance": (784, 784, 1.0),
}


def layer(d: int, k: int, power: float | None) -> tuple[Neurons, Tensor, Tensor, Tensor]:
    """Return neurons, mask, fixed weights and inputs of unit mean variance of a pre-activation."""
    g = generator("benchmark", d)
    spread = torch.ones(k) if power is None else torch.arange(1, k + 1) ** -power
    x = (torch.randn(N, k, generator=g) * spread) @ torch.linalg.qr(torch.randn(d, k, generator=g)).Q.T
    x *= (d / x.square().sum(1).mean()).sqrt()
    D = torch.rand(M, d, generator=g).argsort(1) >= d // 8
    fixed = torch.where(D, 0.0, torch.randn(M, d, generator=g) / d**0.5)
    W = fixed + D * torch.randn(M, d, generator=g) / d**0.5
    return Neurons(W, torch.ones(M), torch.randn(M, generator=g) / 2), D, fixed, x


def literal(neurons: Neurons, D: Tensor, fixed: Tensor, x: Tensor, i: int, steps: int) -> Tensor:
    """Let neuron i imitate all neurons at all ridges by AdamW from its own weights; return objectives (ridges, M)."""
    betas = torch.tensor(BETAS).repeat_interleave(M)
    targets = F.gelu(x @ neurons.W.T + neurons.shift).repeat(1, len(BETAS))
    w = neurons.W[i].repeat(len(betas), 1).requires_grad_()
    b = neurons.shift[i].repeat(len(betas)).requires_grad_()
    optimiser = torch.optim.AdamW([w, b], lr=5e-3, weight_decay=0.0)

    def objectives() -> Tensor:
        mine = F.gelu(x @ (fixed[i] + D[i] * w).T + b)
        return (mine - targets).square().mean(0) / betas + (D[i] * w).square().sum(1)

    for _ in range(steps):
        optimiser.zero_grad()
        objectives().sum().backward()
        optimiser.step()
    return objectives().detach().view(len(BETAS), M)


def of_neuron(whole: _Layer, i: int) -> Tensor:
    """Return our objectives (ridges, M) for one realising neuron: one round of the loop over all."""
    ridges = torch.tensor(sorted(BETAS, reverse=True), dtype=torch.float64)
    _, value = solve(*whole.pairs(i, torch.arange(M), ridges), whole.floor)
    return value.view(len(BETAS), M).flip(0)


def main() -> None:
    for name, case in CASES.items():
        setting = layer(*case)
        start = time.process_time()
        whole = _Layer(*setting)
        spent = {"straightforward": 0.0, "ours": (time.process_time() - start) * TIMED / M}  # once for all neurons
        for i in range(TIMED):
            start = time.process_time()
            literal(*setting, i, STEPS_TIMED)
            spent["straightforward"] += (time.process_time() - start) / STEPS_TIMED * STEPS
            start = time.process_time()
            found = of_neuron(whole, i)
            spent["ours"] += time.process_time() - start
        by_steps = literal(*setting, TIMED - 1, STEPS).double()
        excess = ((found - by_steps) / by_steps).flatten()
        print(name)
        for side, seconds in spent.items():
            print(f"  {side:<17}{seconds * M / TIMED:10.0f} s for {M} x {M} pairs at {len(BETAS)} ridges")
        print(f"  ratio            {spent['straightforward'] / spent['ours']:10.0f}")
        print(f"  objective after {STEPS:,} steps above ours: median {-excess.median():.1e}, least {-excess.max():.1e}")
        print(
            f"  pairs where ours is higher by more than 1e-6: {(excess > 1e-6).sum()} of {excess.numel()}", flush=True
        )


if __name__ == "__main__":
    main()
