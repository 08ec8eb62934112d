"""A backbone in a folder of its own: ``backbone.safetensors`` in its library's layout, and ``config.json``.

Such a folder stands where a backbone's name does, ``--backbone DIR`` or ``--backbone DIR@352x464``, in every command.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from activetune.base.errors import UsageError, first_line
from activetune.base.files import read_json, write_json
from activetune.networks.backbones._backbone import Backbone
from activetune.networks.tensors import write_tensors

WEIGHTS, CONFIG = "backbone.safetensors", "config.json"
KIND = "backbone"


def save_backbone(backbone: Backbone, folder: Path, source: str) -> None:
    """Write a backbone as it is now.

    Args:
        source: that builds it again, see :func:`activetune.networks.backbones.source_of`.
    """
    described = {
        "kind": KIND,
        "format": 1,
        "backbone": backbone.origin,
        "source": source,
        "architecture": backbone.architecture,
        "architecture_options": backbone.options,
        "image": backbone.settings.as_dict(),
    }
    write_tensors(folder / WEIGHTS, backbone.network.state_dict())
    write_json(folder / CONFIG, described)


def is_saved(folder: Path) -> bool:
    """Whether a folder holds a backbone, or was meant to."""
    return folder.is_dir() and (folder / WEIGHTS).is_file()


def described(folder: Path) -> dict[str, Any]:
    """What ``config.json`` says.

    Raises:
        UsageError: it is missing or damaged, or is that of something else.
    """
    try:
        config: dict[str, Any] = read_json(folder / CONFIG)
        kind = config.get("kind")
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(f"{folder / CONFIG} can't be read ({first_line(error)}); make the backbone again") from None
    if kind != KIND:
        raise UsageError(f"{folder} holds no backbone; give a folder of 'visft' or 'merge', or a name")
    return config


def filled(backbone: Backbone, folder: Path, config: Mapping[str, Any]) -> Backbone:
    """Put the folder's weights into the backbone that its config describes.

    Raises:
        UsageError: they can't be read, or do not fit.
    """
    try:
        backbone.network.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise UsageError(
            f"the weights in {folder / WEIGHTS} do not fit {config['architecture']} ({first_line(error)}); "
            "make the backbone again"
        ) from None
    return backbone
