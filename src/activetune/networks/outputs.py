"""What heads give: a tensor, or a small dataclass of tensors that knows its loss and its answers.

Other programs get less of it: what only a loss reads is left out, see :func:`handed`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
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


def handed(outputs: Any) -> Any:
    """What other programs get of a head's outputs, of which the task decodes the same answers.

    Returns:
        Logits, a tensor; or a dataclass whose tensors hold the batch first, and whose ``reading`` says in words what
        ``decode`` makes of them.
    """
    return outputs if isinstance(outputs, Tensor) else outputs.handed()


def named_tensors(given: Any) -> dict[str, Tensor]:
    """The tensors of what :func:`handed` gives by their names: ``logits``, or those of the fields without the shape."""
    if isinstance(given, Tensor):
        return {"logits": given}
    found = {field.name: getattr(given, field.name) for field in fields(given)}
    return {name.partition("_")[0]: value for name, value in found.items() if isinstance(value, Tensor)}


def with_tensors(given: Any, tensors: Mapping[str, Tensor]) -> Any:
    """What :func:`handed` gave, with other tensors by the names of :func:`named_tensors`."""
    if isinstance(given, Tensor):
        return tensors["logits"]
    names = {field.name: field.name.partition("_")[0] for field in fields(given)}
    return replace(given, **{field: tensors[name] for field, name in names.items() if name in tensors})
