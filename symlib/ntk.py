"""The empirical neural tangent kernel, how far it moves in training, and how linear the way there was.

Of trainable entries of effective weights only, for any network that `torch.func` can differentiate; BatchNorm layers
run on their statistics. Kernels are summed over outputs, as in the code of Bürgin et al.
"""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp, vjp, vmap

from symlib.effective.subspace import layer_inputs
from symlib.population import Population, each, logits, mode
from symlib.similarity import check_same_networks


@dataclass(frozen=True)
class Spectrum:
    """What M kernels amount to; every field has shape (M,), float64."""

    trace: Tensor
    frobenius: Tensor
    largest: Tensor  # eigenvalue
    smallest: Tensor  # eigenvalue
    effective_rank: Tensor  # trace / largest


@dataclass(frozen=True)
class KernelChange:
    """How far M kernels are from those they are compared with; every field has shape (M,), float64."""

    relative: Tensor  # |K - K_0| / |K_0| in the Frobenius norm
    cosine: Tensor  # of the angle between the two matrices
    cka: Tensor  # the same after centring: linear centred kernel alignment


@dataclass(frozen=True)
class Linearisation:
    """How well the tangent at the start predicts M networks; every field has shape (M,), float64."""

    error: Tensor  # |f - linear prediction| / |f - f_0| over all samples and outputs
    cosine: Tensor  # between the change of the outputs and its linear prediction
    agreement: Tensor  # share of samples that both classify alike


def class_balanced(y: Tensor, n_per_class: int, source: torch.Generator) -> Tensor:
    """Draw the indices of equally many samples of every class.

    Args:
        y: Labels, shape (n,), int64.
        n_per_class: Samples of each label that occurs.
        source: Decides which.

    Returns:
        Indices, class after class, shape (classes * n_per_class,).

    Raises:
        ValueError: If a class has fewer samples.
    """
    order = torch.randperm(len(y), generator=source)
    labels = y.cpu()[order]
    found = {label: order[labels == label] for label in labels.unique().tolist()}
    if short := {label: len(at) for label, at in found.items() if len(at) < n_per_class}:
        raise ValueError(f"n_per_class is {n_per_class}, but some classes have fewer samples: {short}; choose fewer")
    return torch.cat([at[:n_per_class] for at in found.values()])


@torch.no_grad()
def kernels(population: Population, x: Tensor) -> Tensor:
    """Return the sum over outputs k of J_k J_k^T for every member, J_k with the gradient at each sample in a row.

    The gradient of a linear layer's weight is an outer product, so its part of the kernel comes from what enters and
    what leaves the layer; other gradients are written out, one output at a time.

    Args:
        population: M networks, run in evaluation mode.
        x: Samples, shape (n, ...).

    Returns:
        One kernel per member, shape (M, n, n), float64; gradients are in the precision of the weights.

    Raises:
        ValueError: If there are no samples.

    Source: Jacot et al. (2018); Bürgin et al. (2026), kernel on 100 class-balanced samples.
    """
    if not len(x):
        raise ValueError("a kernel compares samples: give at least one")
    with mode(population.model, training=False):
        return torch.stack([_kernel(population, member, x) for member in population.members()])


def _kernel(population: Population, member: dict[str, Tensor], x: Tensor) -> Tensor:
    model, masks = population.model, {name: mask.to(x.device) for name, mask in population.constraint.D.items()}
    inputs = _linear_inputs(model, member, x)
    others = {name: member[name] for name in population.params if name not in inputs}

    def gradients(sample: Tensor, output: Tensor) -> dict[str, Tensor]:
        _, pull_back = vjp(lambda weights: functional_call(model, member | weights, (sample[None],))[0], others)
        return pull_back(output)[0]

    n_outputs = functional_call(model, member, (x[:1],)).shape[1]
    kernel = torch.zeros(len(x), len(x), dtype=torch.float64, device=x.device)
    signals: dict[str, list[Tensor]] = {name: [] for name in inputs}
    for output in torch.eye(n_outputs, device=x.device).to(next(iter(others.values()))):
        found = vmap(gradients, (0, None))(x, output)
        for name, gradient in found.items():
            rows = (gradient * masks[name] if name in masks else gradient).flatten(1)
            kernel += rows @ rows.T
        for name, signal in signals.items():
            signal.append(found[_bias(name)].double())
    for name, signal in signals.items():
        kernel += _linear_part(torch.stack(signal), inputs[name].double(), masks.get(name))
    return kernel


def _linear_part(signal: Tensor, inputs: Tensor, mask: Tensor | None) -> Tensor:
    """Return what the weight of a linear layer adds to the kernel.

    Args:
        signal: Gradient of each output with respect to what the layer puts out, shape (outputs, n, rows).
        inputs: What goes in, shape (n, columns).
        mask: True where trainable, shape (rows, columns); None if all is.
    """
    part = torch.einsum("kno,kmo->nm", signal, signal) * (inputs @ inputs.T)
    # Pinned entries are few: taking their share away costs less than adding up what the others contribute.
    for row in [] if mask is None else (~mask).any(dim=1).nonzero().flatten():
        pinned, mine = inputs[:, ~mask[row]], signal[:, :, row]
        part -= (mine.T @ mine) * (pinned @ pinned.T)
    return part


def _linear_inputs(model: nn.Module, member: dict[str, Tensor], x: Tensor) -> dict[str, Tensor]:
    """Return what goes into linear layers that have a bias and see every sample once, shape (n, columns) each.

    Their bias is a window on the gradient with respect to what they put out.
    """
    modules = model.named_modules()
    biased = [f"{at}.weight".lstrip(".") for at, m in modules if isinstance(m, nn.Linear) and m.bias is not None]
    found = layer_inputs(model, member, x, biased) if biased else {}
    return {name: inputs for name, inputs in found.items() if len(inputs) == len(x)}


def _bias(weight: str) -> str:
    return weight.removesuffix("weight") + "bias"


def spectrum(kernels: Tensor) -> Spectrum:
    """Sum up kernels by their eigenvalues.

    Args:
        kernels: Symmetric matrices, shape (M, n, n).

    Source: Bürgin et al. (2026), kernel tracking.

    >>> spectrum(torch.diag(torch.tensor([3.0, 4.0]))[None]).effective_rank
    tensor([1.7500], dtype=torch.float64)
    """
    values = torch.linalg.eigvalsh(kernels.double())
    trace, largest = values.sum(dim=1), values[:, -1]
    return Spectrum(trace, values.norm(dim=1), largest, values[:, 0], trace / largest)


def change(now: Tensor, then: Tensor) -> KernelChange:
    """Compare kernels, pair by pair.

    Args:
        now: M kernels on n samples, shape (M, n, n).
        then: What they are compared with, such as those of the untrained networks, shape (M, n, n).

    Raises:
        ValueError: If the shapes differ.

    Source: Kornblith et al. (2019), linear CKA; the released code of Bürgin et al. (2026) reports its square.
    """
    if now.shape != then.shape:
        raise ValueError(
            f"kernels are compared on the same samples, got shapes {tuple(now.shape)}, {tuple(then.shape)}"
        )
    relative = _norms(now - then) / _norms(then)
    return KernelChange(relative, _alignment(now, then), _alignment(_centred(now), _centred(then)))


def _alignment(one: Tensor, other: Tensor) -> Tensor:
    return (one * other).sum(dim=(1, 2)) / (_norms(one) * _norms(other))


def _norms(arrays: Tensor) -> Tensor:
    return arrays.flatten(1).norm(dim=1)


def _centred(kernels: Tensor) -> Tensor:
    without_rows = kernels - kernels.mean(dim=1, keepdim=True)
    return without_rows - without_rows.mean(dim=2, keepdim=True)


@torch.no_grad()
def linearisation(start: Population, end: Population, x: Tensor) -> Linearisation:
    """Compare trained networks with f_0(x) + J_0(x) (theta - theta_0), their linear prediction from the start.

    Args:
        start: M networks.
        end: The same networks later; of one that has not moved there is nothing to predict, and numbers mean nothing.
        x: Samples, shape (n, ...).

    Raises:
        ValueError: If the two are not snapshots of the same networks, or these have BatchNorm, whose statistics are no
            weights and change the function as well.

    Source: Bürgin et al. (2026), linearisation agreement; ours is relative to the change of the outputs, because fixed
    weights make outputs large before any training.
    """
    check_same_networks(start, end)
    if start.stats:
        raise ValueError(
            "running statistics are no weights that a tangent could follow: use networks without BatchNorm"
        )
    steps = {f"step of {name}": end.params[name] - w for name, w in start.params.items()}

    def tangent(member: dict[str, Tensor], x: Tensor) -> dict[str, Tensor]:
        weights = {name: member[name] for name in start.params}
        step = {name: member[f"step of {name}"] for name in start.params}
        outputs, slope = jvp(lambda weights: functional_call(start.model, weights, (x,)), (weights,), (step,))
        return {"outputs": outputs, "slope": slope}

    with mode(start.model, training=False), warnings.catch_warnings():
        # Torch compiles its own rules when forward mode is first used, in a way that it warns about.
        warnings.filterwarnings("ignore", ".*torch.jit.script", DeprecationWarning)
        at_start = each(start, tangent, x, beside=steps)
    first, slope, last = at_start["outputs"].double(), at_start["slope"].double(), logits(end, x).double()
    return Linearisation(
        _norms(last - first - slope) / _norms(last - first),
        _alignment(last - first, slope),
        (last.argmax(-1) == (first + slope).argmax(-1)).double().mean(dim=1),
    )
