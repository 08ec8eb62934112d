"""The one door to torchvision.

PyPI's torchvision wheels are built for CUDA; beside a CPU-only torch their compiled operators do not load and
``import torchvision`` stops with ``operator torchvision::nms does not exist``. Declaring the two operators that the
import looks for (``nms``, ``qnms``) is enough for transforms, models and timm to work; calling them still fails,
as it must. Everything in activetune (and everything that leads to timm) calls :func:`import_torchvision` first.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch

_OPERATORS = ("nms", "qnms")
_libraries: list[torch.library.Library] = []  # kept alive: a collected Library takes its operators with it


def import_torchvision() -> ModuleType:
    """Return the ``torchvision`` module, declaring its missing operators first where they do not load."""
    if "torchvision" in sys.modules:
        return sys.modules["torchvision"]
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in _OPERATORS:
        signature = f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        library.define(signature)  # type: ignore[no-untyped-call]
    _libraries.append(library)
    return importlib.import_module("torchvision")
