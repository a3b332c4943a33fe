"""Files of tensors that survive a power cut and notice a flipped bit: no pickle, written beside, verified when read."""

import os
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from symlib.asymmetry import tensor_hash

ADVICE = "delete it to train from the start"


def write(path: Path, tensors: dict[str, Tensor], owner: str) -> None:
    """Put tensors in the place of a file in one step.

    Args:
        path: The file; its folder is made if need be.
        tensors: Name -> any tensor.
        owner: Names the run that the file belongs to.
    """
    tensors = {name: w.detach().contiguous() for name, w in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.part")
    save_file(tensors, beside, metadata={"owner": owner, "hash": tensor_hash(tensors)})
    with beside.open("rb") as file:
        os.fsync(file.fileno())  # or a power cut could leave the new name on an empty file
    os.replace(beside, path)


def read(path: Path, owner: str) -> dict[str, Tensor]:
    """Read the tensors of a file back.

    Raises:
        ValueError: If the file is not whole, its contents are not what was written, or it belongs to another run.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"damaged checkpoint {path} ({error}); it was not used: {ADVICE}") from error
    if about.get("hash") != tensor_hash(tensors):
        raise ValueError(f"damaged checkpoint {path} (its contents do not match its hash); it was not used: {ADVICE}")
    if about.get("owner") != owner:
        raise ValueError(f"checkpoint {path} belongs to a run with other settings or seeds: {ADVICE}")
    return tensors
