"""Tracing, weight matching and activation matching of residual networks, against a straightforward program.

`python benchmarks/alignment.py` needs no data: weights are PyTorch's initial ones, images are noise, and neither
changes the cost. Both sides use as many threads as OMP_NUM_THREADS says.
"""

import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from symlib.alignment.activation_matching import activation_matching
from symlib.alignment.permutation import PermutationSpec
from symlib.alignment.tracing import specification
from symlib.alignment.weight_matching import weight_matching
from symlib.data.torchvision_import import torchvision
from symlib.networks.resnet import ResNet
from symlib.seeds import generator

NETWORKS: dict[str, tuple[Callable[[], nn.Module], int, int]] = {  # how to make it, image size, rounds
    "ResNet-20, channels 16 to 64": (lambda: ResNet(20), 32, 5),
    "ResNet-20, channels 64 to 256": (lambda: ResNet(20, 4), 32, 5),
    "torchvision ResNet-50": (lambda: torchvision("models").resnet50(), 64, 1),
}


def straightforward(
    a: dict[str, Tensor], b: dict[str, Tensor], spec: PermutationSpec, source: torch.Generator
) -> float:
    """Match weights as the usual program does, tensor by tensor and everything anew; return the objective.

    In every sweep and for every group, each tensor is permuted along its other axes and multiplied; a last sweep that
    moves nothing ends it. Its specification is taken as given.
    """
    axes = {name: [getattr(axis, "group", None) for axis in own] for name, own in spec.axes.items()}
    perms = {group: torch.arange(n) for group, n in spec.sizes.items()}

    def permuted(name: str, but: str | None) -> Tensor:
        w = b[name]
        for i, group in enumerate(axes[name]):
            if group is not None and group != but:
                w = torch.index_select(w, i, perms[group])
        return w

    groups, moved = list(perms), True
    while moved:
        moved = False
        for g in torch.randperm(len(groups), generator=source).tolist():
            group, n = groups[g], len(perms[groups[g]])
            gain = torch.zeros(n, n)
            for name, own in axes.items():
                for i in [i for i, other in enumerate(own) if other == group]:
                    w_a = torch.moveaxis(a[name], i, 0).reshape(n, -1)
                    w_b = torch.moveaxis(permuted(name, group), i, 0).reshape(n, -1)
                    gain += w_a @ w_b.T
            best = torch.from_numpy(linear_sum_assignment(gain.numpy(), maximize=True)[1])
            rows = torch.arange(n)
            if gain[rows, best].sum() > gain[rows, perms[group]].sum() * (1 + 1e-6):
                perms[group], moved = best, True
    return sum(float((a[name].double() * permuted(name, None).double()).sum()) for name in a)


def matching(name: str) -> None:
    """Trace a network and match two copies both ways; print."""
    make, side, rounds = NETWORKS[name]
    torch.manual_seed(0)
    model = make()
    a, b = ({n: p.detach() for n, p in net.named_parameters()} for net in (model, make()))
    images = torch.zeros(2, 3, side, side)
    started = time.perf_counter()
    spec = specification(model, images)
    print(f"{name}: traced in {time.perf_counter() - started:.2f} s, {len(spec.sizes)} groups")
    took: dict[str, list[float]] = {"straightforward": [], "ours": []}
    reached = {}
    for _ in range(rounds):
        for side_name, run in (
            ("straightforward", lambda: straightforward(a, b, spec, generator("order"))),
            ("ours", lambda: weight_matching(a, b, spec, generator("order"), restarts=1).objective),
        ):
            started = time.perf_counter()
            reached[side_name] = run()
            took[side_name].append(time.perf_counter() - started)
    for side_name, times in took.items():
        print(f"  {side_name:16}{statistics.median(times):8.2f} s   objective {reached[side_name]:,.1f}")
    ratio = statistics.median(s / o for s, o in zip(*took.values(), strict=True))
    print(f"  ratio           {ratio:8.1f}")


def activations() -> None:
    """Match ResNet-20 on 10,000 images by activations; print seconds and the peak of this process."""
    torch.manual_seed(0)
    model, other = ResNet(20), ResNet(20)
    a, b = ({n: p.detach() for n, p in net.named_parameters()} for net in (model, other))
    images = torch.randn(10_000, 3, 32, 32)
    spec = specification(model, images[:2])
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    activation_matching(model, a, b, spec, images)
    took, peak = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"activation matching, ResNet-20, 10,000 images: {took:.1f} s, peak of the process {peak / 1e6:.2f} GB, "
        f"of which {before / 1e6:.2f} GB were there before (torch, the networks and the images)"
    )


if __name__ == "__main__":
    # First, because the system counts a parent's memory into the peak of its child.
    process = multiprocessing.get_context("spawn").Process(target=activations)
    process.start()
    process.join()
    for network in NETWORKS:
        matching(network)
