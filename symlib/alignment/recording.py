"""The hidden units of a running network, seen where a permutation specification says that they can be seen."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from symlib.alignment.axes import joint_occurrences
from symlib.alignment.permutation import PermutationSpec
from symlib.population import mode, unfused_attention


@torch.no_grad()
def record(
    model: nn.Module, tensors: dict[str, Tensor], spec: PermutationSpec, x: Tensor
) -> dict[tuple[str, ...], list[Tensor]]:
    """Run one network in evaluation mode and return the activations of every group.

    Args:
        model: The architecture.
        tensors: Weights and statistics of one network.
        spec: Says where each group is read.
        x: Inputs, shape (batch, ...).

    Returns:
        Groups -> one tensor per place, shape (samples, units); every position of an image is a sample. Groups that
        fold into one axis are seen jointly, the units of the last varying fastest.

    Raises:
        ValueError: If a linear map of the specification did not run, or no linear map shows a group.
    """
    if unseen := [group for group, readings in spec.readings.items() if not readings]:
        raise ValueError(
            f"cannot record activations: no linear or convolution layer reads or makes the units of {unseen[0]}; use "
            "weight matching"
        )
    places = dict.fromkeys(reading for readings in spec.readings.values() for reading in readings)
    wanted = {(place.weight, place.made) for place in places}
    watch = Watch({(tensors[name].data_ptr(), made): (name, made) for name, made in wanted})
    with mode(model, training=False), unfused_attention(), watch:
        functional_call(model, tensors, (x,))
    if missing := sorted(wanted - watch.seen.keys()):
        raise ValueError(f"cannot record activations: the network never multiplied anything by {missing[0][0]}")
    found: dict[tuple[str, ...], list[Tensor]] = {}
    for place in places:
        for seen in watch.seen[place.weight, place.made]:
            samples = seen.flatten(0, -2)
            for groups, entries in joint_occurrences(place.axis):
                if not any(place in spec.readings[group] for group in groups):
                    continue  # read elsewhere
                whole = torch.equal(entries.flatten(), torch.arange(samples.shape[1])) and entries.shape[1] == 1
                units = samples if whole else samples[:, entries.T.to(samples.device)].flatten(0, 1)
                found.setdefault(groups, []).append(units)
    return found


class Watch(TorchDispatchMode):
    """Keeps what goes into or comes out of the operators that use a weight, found by where it is in memory."""

    def __init__(self, names: dict[tuple[int, bool], tuple[str, bool]]) -> None:
        super().__init__()
        self.names = names
        self.seen: dict[tuple[str, bool], list[Tensor]] = {}  # one for each call, channels last

    def __torch_dispatch__(self, operator: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = operator(*args, **(kwargs or {}))
        name = operator._opname
        if name == "convolution":
            self._keep(args[1], args[0].movedim(1, -1), result.movedim(1, -1))
        elif name in ("mm", "addmm", "linear"):
            data, weight = args[1:3] if name == "addmm" else args[:2]
            self._keep(weight, data, result)
        return result

    def _keep(self, weight: Tensor, data: Tensor, result: Tensor) -> None:
        for made, tensor in enumerate((data, result)):
            if (name := self.names.get((weight.data_ptr(), bool(made)))) is not None:
                self.seen.setdefault(name, []).append(tensor)
