"""What heads give: a tensor, or a small dataclass of tensors that knows its loss and its answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor


def tensors_in(outputs: Any) -> Iterator[Tensor]:
    """The tensors of floating-point numbers in a head's outputs, whatever holds them."""
    if isinstance(outputs, Tensor):
        if outputs.is_floating_point():
            yield outputs
    elif is_dataclass(outputs) and not isinstance(outputs, type):
        for field in fields(outputs):
            yield from tensors_in(getattr(outputs, field.name))
    elif isinstance(outputs, Mapping | list | tuple):
        for part in outputs.values() if isinstance(outputs, Mapping) else outputs:
            yield from tensors_in(part)


def all_finite(outputs: Any) -> bool:
    """Whether no number of a head's outputs is NaN or infinite."""
    return all(bool(torch.isfinite(part).all()) for part in tensors_in(outputs))
