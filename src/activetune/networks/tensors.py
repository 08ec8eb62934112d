"""Tensors of networks in files of safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from activetune.base.errors import UsageError, first_line
from activetune.base.files import replacing


def plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as a file can hold them: on the processor, without a graph, each with numbers of its own."""
    seen: set[int] = set()
    found = {}
    for name, value in state.items():
        value = value.detach().cpu().contiguous()
        found[name] = value.clone() if value.data_ptr() in seen else value  # two names of one tensor are written twice
        seen.add(value.data_ptr())
    return found


def write_tensors(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write a ``.safetensors`` file in one step.

    Args:
        state: tensors by name, on any device.
    """
    with replacing(path) as partial:
        save_file(plain(state), partial, metadata={"format": "pt"})


def read_tensors(path: Path, again: str) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file that activetune has written.

    Args:
        again: how it is made again: ``finetune again``.

    Raises:
        UsageError: it is missing or damaged.
    """
    try:
        found: dict[str, Tensor] = load_file(path)
    except (OSError, ValueError, SafetensorError) as error:
        raise UsageError(f"{path} is damaged ({first_line(error)}); {again}") from None
    return found
