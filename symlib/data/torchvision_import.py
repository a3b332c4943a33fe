"""The one place that imports torchvision, whose compiled operators need not fit the installed torch."""

import importlib
import sys
from types import ModuleType

import torch

# A torchvision built for CUDA registers fake kernels for operators that its binary could not load next to a
# torch without CUDA. Declaring their schemas is enough for data sets and transforms.
_SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def torchvision(part: str) -> ModuleType:
    """Return `torchvision.<part>`, such as "datasets"; a healthy installation is imported as it is."""
    for _ in range(1 + len(_SCHEMAS)):
        try:
            return importlib.import_module(f"torchvision.{part}")
        except RuntimeError as error:
            missing = [op for op in _SCHEMAS if f"operator torchvision::{op} does not exist" in str(error)]
            if not missing:
                raise
            torch.library.define(f"torchvision::{missing[0]}", _SCHEMAS[missing[0]])
            for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
                del sys.modules[name]
    raise ImportError("torchvision still fails to import after its operators nms and qnms were declared")
