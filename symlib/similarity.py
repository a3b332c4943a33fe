"""How alike independent runs are: in the steps they take, where they stand, what they answer, which units are on.

Every function looks at all pairs of a population at once; nothing is aligned first.
"""

import torch
from torch import Tensor

from symlib.alignment.permutation import PermutationSpec
from symlib.alignment.recording import record
from symlib.population import Population, logits, passes


def trainable(population: Population) -> dict[str, Tensor]:
    """Return the entries of the effective weights that training may change.

    Pinned entries are left out: they are equal in all members by construction and would count as agreement.

    Returns:
        Name -> entries in their order in the tensor, shape (M, n); tensors that are pinned as wholes are left out.
    """
    masks = {name: mask.flatten().to(population.params[name].device) for name, mask in population.constraint.D.items()}
    entries = {
        name: w.flatten(1)[:, masks[name]] if name in masks else w.flatten(1) for name, w in population.params.items()
    }
    return {name: w for name, w in entries.items() if w.shape[1]}


def update_cosines(before: Population, after: Population) -> dict[str, Tensor]:
    """Return the cosine between the updates of every two runs, per tensor and over all of them.

    Args:
        before: M networks.
        after: The same M networks later in their training.

    Returns:
        Name of a tensor -> cosines, shape (M, M), float64; "all" for the concatenated update. A run that did not move
        has cosine 0 with every run.

    Raises:
        ValueError: If the two are not snapshots of the same number of networks with the same fixed side.

    Source: Bürgin et al. (2026), update cosine similarity, here on trainable entries of effective weights: the released
    code compares raw weights, whose frozen entries all shrink alike.
    """
    check_same_networks(before, after)
    first, then = trainable(before), trainable(after)
    steps = {name: then[name].double() - first[name].double() for name in then}
    products = {name: step @ step.T for name, step in steps.items()}
    return {name: _cosines(p) for name, p in products.items()} | {"all": _cosines(sum(products.values()))}


def distances(population: Population) -> Tensor:
    """Return the root mean square difference of every two runs over their trainable entries, shape (M, M), float64.

    Source: Bürgin et al. (2026), parameter distance over the root of the number of trainable parameters.
    """
    entries = trainable(population).values()
    squares = sum(torch.stack([(w - one).double().square().sum(1) for one in w]) for w in entries)
    return (squares / sum(w.shape[1] for w in entries)).sqrt()


@torch.no_grad()
def answer_agreement(population: Population, x: Tensor) -> Tensor:
    """Return the share of inputs that every two networks classify alike, shape (M, M), float64.

    Args:
        population: M networks.
        x: Inputs, shape (n, ...).

    Raises:
        ValueError: If there are no inputs.

    Source: Bürgin et al. (2026), functional similarity.
    """
    _check_inputs(x)
    answers = torch.cat([logits(population, part).argmax(dim=-1) for part in passes(population.model, x)], dim=1)
    return torch.stack([(answers == one).double().mean(dim=1) for one in answers])


def sign_agreement(population: Population, spec: PermutationSpec, x: Tensor) -> Tensor:
    """Return the share of (input, hidden unit) on which every two networks have the same sign, shape (M, M), float64.

    Units are compared by number, over all hidden layers; 0 counts as negative.

    Args:
        population: M networks.
        spec: Says where hidden units are seen.
        x: Inputs, shape (n, ...), in one pass.

    Raises:
        ValueError: If there are no inputs.

    Source: Bürgin et al. (2026), activation sign patterns.
    """
    _check_inputs(x)
    seen = (record(population.model, member, spec, x).values() for member in population.members())
    signs = torch.stack([torch.cat([units.flatten() > 0 for places in one for units in places]) for one in seen])
    return torch.stack([(signs == one).double().mean(dim=1) for one in signs])


def check_same_networks(before: Population, after: Population) -> None:
    """Raise an error if two populations cannot be snapshots of the same networks.

    Raises:
        ValueError: Naming what differs.
    """
    if len(before) != len(after):
        raise ValueError(f"snapshots must hold the same networks, got {len(before)} before and {len(after)} after")
    first, then = before.constraint.fingerprint, after.constraint.fingerprint
    if first != then:
        raise ValueError(f"snapshots of one run share their fixed entries (D, F), got {first} before and {then} after")
    shapes = [{name: tuple(w.shape) for name, w in p.params.items()} for p in (before, after)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"snapshots of one run have the same tensors, got {shapes[0]} before and {shapes[1]} after")


def _cosines(products: Tensor) -> Tensor:
    norms = products.diagonal().sqrt()
    scale = torch.outer(norms, norms)
    return (products / scale).where(scale > 0, 0.0)


def _check_inputs(x: Tensor) -> None:
    if not len(x):
        raise ValueError("agreement is a share of inputs: give at least one")
