"""The synthetic coherence experiment: batched with gradients written out, against one network at a time with autograd.

`OMP_NUM_THREADS=1 python benchmarks/synthetic_coherence.py` trains both on the same draws, so that their barriers
can be compared. The straightforward program is timed on a few pairs and its time multiplied up to the protocol's 1,000.
"""

import statistics
import time

import torch
from torch import Tensor

from symlib.data.coherent_copies import N_INPUTS, latents, teacher
from symlib.interpolation import mixing_weights
from symlib.networks.relu_sums import ReluSums, initialise, random_mask, train
from symlib.studies import synthetic_coherence as study
from symlib.studies.synthetic_coherence import DESCENT, N_NEURONS, N_TEST, N_TRAIN, SHARE, SyntheticCoherence

EPOCHS, N_POINTS, N_PAIRS_TIMED, ROUNDS, COPIES = 100, 21, 2, 3, 10
PROTOCOL = {"copies": [*range(1, 11)], "n_outer_seeds": 5, "n_pairs": 10, "epochs": EPOCHS, "n_points": N_POINTS}


class Network(torch.nn.Module):
    """One network as one would write it first."""

    def __init__(self, mask: Tensor, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask.T.float())
        self.weight, self.bias = torch.nn.Parameter(weight.T.clone()), torch.nn.Parameter(torch.zeros(len(mask.T)))

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of the neurons."""
        return torch.nn.functional.linear(x, self.mask * self.weight, self.bias).relu().sum(dim=1)


def straightforward_network(mask: Tensor, weight: Tensor, x: Tensor, y: Tensor, orders: Tensor) -> Network:
    """Train one network."""
    network = Network(mask, weight)
    groups = [{"params": [network.weight]}, {"params": [network.bias], "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=DESCENT.lr, weight_decay=DESCENT.weight_decay)
    for order in orders:
        for rows in order.split(DESCENT.batch_size):
            optimiser.zero_grad()
            torch.nn.functional.mse_loss(network(x[rows]), y[rows]).backward()
            optimiser.step()
    return network


@torch.no_grad()
def straightforward_losses(a: Network, b: Network, x: Tensor, y: Tensor) -> list[float]:
    """Evaluate the line between two networks point by point."""
    losses, between, ends = [], Network(a.mask.T, a.weight.T), (a.state_dict(), b.state_dict())
    for lam in mixing_weights(N_POINTS).tolist():
        between.load_state_dict({k: (1 - lam) * w + lam * ends[1][k] for k, w in ends[0].items()})
        losses.append(torch.nn.functional.mse_loss(between(x), y).item())
    return losses


def draws(n_pairs: int) -> tuple[Tensor, ReluSums, Tensor, Tensor, Tensor, Tensor]:
    """Return mask, start, orders, U, latents and targets of outer seed 0 at the lowest coherence."""
    mask = random_mask(N_INPUTS, N_NEURONS, SHARE, study.mask_seed(0))
    seeds = study.network_seeds(0, n_pairs)
    orders = torch.stack([study.batch_orders(seed, EPOCHS) for seed in seeds])
    z = latents(study.latent_seed(0), N_TRAIN + N_TEST)
    return mask, initialise(mask, seeds), orders, study.basis("exact-copy", COPIES, 0).float(), z, teacher(z)


def straightforward() -> tuple[float, list[float]]:
    """Train and evaluate pairs one network at a time; return seconds per pair and their barriers."""
    mask, start, orders, U, z, y = draws(N_PAIRS_TIMED)
    x = z @ U.T
    started = time.perf_counter()
    networks = [
        straightforward_network(mask, weight, x[:N_TRAIN], y[:N_TRAIN], order)
        for weight, order in zip(start.weight, orders, strict=True)
    ]
    lines = [
        straightforward_losses(a, b, x[N_TRAIN:], y[N_TRAIN:])
        for a, b in zip(networks[0::2], networks[1::2], strict=True)
    ]
    took = (time.perf_counter() - started) / N_PAIRS_TIMED
    return took, [line[N_POINTS // 2] - max(line[0], line[-1]) for line in lines]


def ours(n_pairs: int = 10) -> tuple[float, list[float]]:
    """Train and evaluate one cell of the protocol; return seconds per pair and the barriers of the first pairs."""
    mask, start, orders, U, z, y = draws(n_pairs)
    started = time.perf_counter()
    trained = train(start, mask, U, z[:N_TRAIN], y[:N_TRAIN], orders, DESCENT)
    lines = study.line_losses(trained, U, z[N_TRAIN:], y[N_TRAIN:], mixing_weights(N_POINTS))
    took = (time.perf_counter() - started) / n_pairs
    return took, (lines[:, N_POINTS // 2] - lines[:, [0, -1]].amax(dim=1))[:N_PAIRS_TIMED].tolist()


def whole_protocol(workers: int) -> float:
    """Return the seconds of the whole study."""
    config = SyntheticCoherence.checked(PROTOCOL | {"profile": "custom", "workers": workers, "out": ""})
    started = time.perf_counter()
    study.run(config)
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    ours(1)  # PyTorch imports its compiler with the first optimiser
    rounds = [(straightforward(), ours()) for _ in range(ROUNDS)]
    slow, fast = (statistics.median(r[side][0] for r in rounds) for side in (0, 1))
    found = [rounds[0][side][1] for side in (0, 1)]
    shown = [" ".join(f"{barrier:.4f}" for barrier in barriers) for barriers in found]
    print(
        f"one thread, per pair of networks ({EPOCHS} epochs, {N_POINTS} points), median of {ROUNDS}\n"
        f"  straightforward  {slow:7.3f} s   barriers {shown[0]}\n"
        f"  ours             {fast:7.3f} s   barriers {shown[1]}\n"
        f"  ratio            {slow / fast:7.1f}\n"
        f"1,000 pairs straightforwardly, multiplied up: {1000 * slow / 60:.1f} minutes"
    )
    for workers in (1, 2):
        print(f"the whole protocol, {workers} process{'es' * (workers > 1)}: {whole_protocol(workers):.0f} s")


if __name__ == "__main__":
    main()
