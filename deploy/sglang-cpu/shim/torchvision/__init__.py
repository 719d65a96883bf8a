"""Stands before the installed torchvision, declares two operators, and gives way to it.

The wheel on PyPI is compiled for CUDA. Without CUDA its library does not load, the operators of that library are unknown,
and importing torchvision fails where it describes them to torch. sglang and transformers need only its Python code.
"""

import importlib.util
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import torch

_operators = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    _operators.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

_shim = Path(__file__).parent.parent
_installed = PathFinder.find_spec(__name__, [entry for entry in sys.path if Path(entry).resolve() != _shim.resolve()])
if _installed is None or _installed.loader is None:
    raise ImportError("torchvision is not installed in this environment; run deploy/sglang-cpu/install.sh")
_module = importlib.util.module_from_spec(_installed)
_module.__dict__["_operators"] = _operators  # a torch library is gone when its handle is
sys.modules[__name__] = _module
_installed.loader.exec_module(_module)
