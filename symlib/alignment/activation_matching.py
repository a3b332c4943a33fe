"""Activation matching: permutations that bring the hidden activations of two networks together on data."""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.func import functional_call

from symlib.alignment.permutation import Alignment, PermutationSpec, check_same_architecture


def activation_matching(
    model: nn.Module,
    a: dict[str, Tensor],
    b: dict[str, Tensor],
    spec: PermutationSpec,
    x: Tensor,
    chunk: int = 2000,
) -> Alignment:
    """Maximise the Pearson correlation between matched units, each group on its own.

    Args:
        model: The architecture of both networks.
        a: Weights of the reference network.
        b: Weights of the network to be permuted.
        spec: How units may be reordered and where they are recorded.
        x: Inputs, shape (n, ...).
        chunk: Inputs per pass; activations are summed up, never stored.

    Returns:
        Permutations with the mean correlation of matched units over all groups as objective.

    Raises:
        ValueError: If the networks differ in shape.

    Source: Bürgin et al. (2026), activation matching after the activation function; Pearson, maximised.
    """
    check_same_architecture(a, b, spec)
    moments = {group: _Moments() for group in spec.recorded_at}
    for inputs in x.split(chunk):
        first, second = _record(model, a, spec, inputs), _record(model, b, spec, inputs)
        for group, sums in moments.items():
            sums.add(first[group], second[group])
    correlations = {group: sums.correlation() for group, sums in moments.items()}
    perms = {
        group: torch.from_numpy(linear_sum_assignment(r.numpy(), maximize=True)[1]) for group, r in correlations.items()
    }
    matched = torch.cat([r[torch.arange(len(r)), perms[group]] for group, r in correlations.items()])
    return Alignment(perms, float(matched.mean()), sweeps=1)


class _Moments:
    """Running sums of two sets of activations that a correlation matrix needs, in float64."""

    def __init__(self) -> None:
        self.n, self.a, self.b, self.aa, self.bb, self.ab = 0, 0.0, 0.0, 0.0, 0.0, 0.0

    def add(self, a: Tensor, b: Tensor) -> None:
        a, b = a.double(), b.double()
        self.n += len(a)
        self.a, self.b = self.a + a.sum(0), self.b + b.sum(0)
        self.aa, self.bb = self.aa + (a * a).sum(0), self.bb + (b * b).sum(0)
        self.ab = self.ab + a.T @ b

    def correlation(self) -> Tensor:
        """Return Pearson's r of every unit of A with every unit of B; 0 for units that never change."""
        mean_a, mean_b = self.a / self.n, self.b / self.n
        covariance = self.ab / self.n - torch.outer(mean_a, mean_b)
        var_a, var_b = self.aa / self.n - mean_a**2, self.bb / self.n - mean_b**2
        # A unit that is constant up to rounding has no correlation; dividing by its variance would make one up.
        steady_a, steady_b = var_a <= 1e-12 * (self.aa / self.n), var_b <= 1e-12 * (self.bb / self.n)
        r = covariance / torch.outer(var_a.clamp_min(0).sqrt(), var_b.clamp_min(0).sqrt())
        return r.masked_fill(steady_a[:, None] | steady_b, 0.0).cpu()


@torch.no_grad()
def _record(model: nn.Module, params: dict[str, Tensor], spec: PermutationSpec, x: Tensor) -> dict[str, Tensor]:
    seen: dict[str, Tensor] = {}

    def keep(group: str):
        return lambda module, inputs, output: seen.update({group: output})

    hooks = [model.get_submodule(at).register_forward_hook(keep(g)) for g, at in spec.recorded_at.items()]
    try:
        functional_call(model, params, (x,))
    finally:
        for hook in hooks:
            hook.remove()
    return seen
