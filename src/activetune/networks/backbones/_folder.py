"""A backbone in a folder: ``backbone.safetensors`` in its library's layout and ``config.json``, or a model's.

Such a folder stands where a backbone's name does, ``--backbone DIR`` or ``--backbone DIR@352x464``, in every command.
Of a model its backbone alone is taken, as its labels have taught it, without the heads.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from activetune.base.artefact import MANIFEST, check_files
from activetune.base.errors import UsageError, first_line
from activetune.base.files import read_json, write_json
from activetune.networks.backbones._backbone import Backbone
from activetune.networks.tensors import write_tensors

WEIGHTS, CONFIG = "backbone.safetensors", "config.json"
OF_MODEL = "model.safetensors"
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
    return folder.is_dir() and any((folder / name).is_file() for name in (WEIGHTS, OF_MODEL))


def described(folder: Path) -> dict[str, Any]:
    """What ``config.json`` says.

    Raises:
        UsageError: it is missing or damaged, or is that of something else.
    """
    try:
        config: dict[str, Any] = read_json(folder / CONFIG)
        kind, heads = config.get("kind"), config.get("heads")
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(f"{folder / CONFIG} can't be read ({first_line(error)}); make the backbone again") from None
    if kind != KIND and heads is None:
        raise UsageError(
            f"{folder} holds no backbone that can be told from its head; give a folder of 'visft', 'merge' or "
            "'finetune' by this version, or a name"
        )
    return config


def check_weights(folder: Path) -> None:
    """Compare the weights and what describes them with the digests of the run that wrote them, where it left them.

    Raises:
        UsageError: they are not what was written.
    """
    if (folder / MANIFEST).is_file():
        check_files(folder, read_json(folder / MANIFEST), WEIGHTS, OF_MODEL, CONFIG)


def filled(backbone: Backbone, folder: Path, config: Mapping[str, Any]) -> Backbone:
    """Put the folder's weights into the backbone that its config describes.

    Raises:
        UsageError: they can't be read, or do not fit.
    """
    try:
        backbone.network.load_state_dict(_tensors(folder, config))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise UsageError(
            f"the weights in {_file(folder, config)} do not fit {config['architecture']} ({first_line(error)}); "
            "make the backbone again"
        ) from None
    return backbone


@contextlib.contextmanager
def weights_file(folder: Path, config: Mapping[str, Any]) -> Iterator[Path]:
    """A file of the backbone's weights alone, as its library reads them: the folder's own, or one for the while.

    Raises:
        UsageError: a model's file can't be read.
    """
    if config.get("kind") == KIND:
        yield folder / WEIGHTS
        return
    with tempfile.TemporaryDirectory() as place:
        try:
            write_tensors(Path(place) / WEIGHTS, _tensors(folder, config))
        except (OSError, SafetensorError) as error:
            raise UsageError(f"{folder / OF_MODEL} can't be read ({first_line(error)}); make the model again") from None
        yield Path(place) / WEIGHTS


def _file(folder: Path, config: Mapping[str, Any]) -> Path:
    return folder / (WEIGHTS if config.get("kind") == KIND else OF_MODEL)


def _tensors(folder: Path, config: Mapping[str, Any]) -> dict[str, Tensor]:
    """The backbone's tensors by its library's names."""
    of_heads = tuple(head["tensors"] for head in config.get("heads", {}).values())
    found = load_file(_file(folder, config))
    return {name: value for name, value in found.items() if not name.startswith(of_heads)}
