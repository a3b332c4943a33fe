"""The one place that imports torch_geometric, which still scripts a class with the deprecated `torch.jit`."""

import importlib
import warnings
from types import ModuleType


def torch_geometric(part: str) -> ModuleType:
    """Return `torch_geometric.<part>`, such as "utils"; nothing but this import, of 2 seconds, is silenced."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.script` is deprecated", DeprecationWarning)
        warnings.filterwarnings("ignore", "IProgress not found")  # of tqdm in notebooks without widgets
        return importlib.import_module(f"torch_geometric.{part}")
