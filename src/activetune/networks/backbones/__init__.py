"""Pretrained networks by name; one module a source.

A source is a module here with ``PREFIX`` (the part of a name before ``/``, or the whole name), a line ``ABOUT`` it,
``names()``, ``load(name, weights, *, pretrained, options)``, and ``build(architecture, options)``, the network of a
saved model with its reader. Adding a source is adding a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from activetune.base.discovery import modules_of
from activetune.base.errors import UsageError, unknown_name
from activetune.networks.backbones._backbone import (
    TIMM,
    Backbone,
    ImageSettings,
    digests_of,
    evaluation_transform,
)
from activetune.networks.backbones._folder import check_weights, described, filled, is_saved, weights_file
from activetune.networks.backbones._folder import save_backbone as _save_backbone
from activetune.networks.backbones._precision import weights_in_precision
from activetune.networks.backbones._resized import multiplications, resized, share_of
from activetune.networks.backbones._size import split_size, told
from activetune.networks.backbones.timm_ import refit

__all__ = [
    "Backbone",
    "ImageSettings",
    "backbone_names",
    "digests_of",
    "evaluation_transform",
    "load_backbone",
    "multiplications",
    "rebuild_backbone",
    "resized",
    "save_backbone",
    "share_of",
    "source_of",
    "sources",
    "weights_in_precision",
    "without_size",
]


def sources() -> dict[str, Any]:
    """The sources by prefix."""
    return {module.PREFIX: module for module in modules_of(__name__).values()}


def backbone_names() -> list[str]:
    """Every name that :func:`load_backbone` knows."""
    return [name for source in sources().values() for name in source.names()]


def load_backbone(
    name: str,
    weights: str | Path | None = None,
    *,
    pretrained: bool = True,
    options: Mapping[str, Any] | None = None,
) -> Backbone:
    """Load a pretrained backbone without its classifier.

    Args:
        name: ``bundled`` or ``SOURCE/NAME``: ``timm/vit_tiny_patch16_224``, ``hf/facebook/dinov2-small``,
            ``hf/FOLDER``, ``open_clip/ViT-B-32#openai``, ``vil/vil2_tiny``. ``@SIZE`` after it asks for images
            of so many pixels: ``bundled@64``, or ``timm/vit_tiny_patch16_224@192x256`` for height and width;
            a transformer's position embeddings are resampled. Or a folder of ``activetune visft`` or ``merge``.
        weights: a local ``.safetensors`` or ``.pth`` file instead of the published weights.
        pretrained: False leaves the network at its random start (no download).
        options: construction options, for instance ``drop_path_rate``.

    Raises:
        UsageError: unknown name (the nearest ones are named), weights that do not fit, a download that failed.
    """
    prefix, known = _prefix(name), sources()
    if prefix not in known and is_folder(name):
        return _from_folder(name, weights, pretrained, options or {})
    if prefix not in known:
        names = backbone_names()
        meant = [f"{source}/{name}" for source in known if f"{source}/{name}" in names]
        if meant:
            raise UsageError(f"unknown backbone {name!r}; do you mean {' or '.join(map(repr, meant))}?")
        raise unknown_name("backbone", name, names)
    if weights is not None and not Path(weights).is_file():
        there = "is no file" if Path(weights).exists() else "does not exist"
        raise UsageError(f"the weights file {weights} {there}; give one that holds the weights")
    rest, file = name.removeprefix(prefix).removeprefix("/"), Path(weights) if weights else None
    backbone: Backbone = known[prefix].load(rest, file, pretrained=pretrained, options=dict(options or {}))
    backbone.weights_file = Path(weights).resolve() if weights else None
    return backbone


def _from_folder(name: str, weights: str | Path | None, pretrained: bool, options: Mapping[str, Any]) -> Backbone:
    """The backbone of a folder, for images of its own size or of another."""
    place, size = _place_and_size(name)
    folder = Path(place).resolve()
    if weights is not None:
        raise UsageError(f"{place} holds its own weights; give none beside it")
    config = described(folder)
    check_weights(folder)
    origin = str(config.get("origin", config["backbone"]))
    own = rebuild_backbone(config)
    if pretrained:
        filled(own, folder, config)
    found = own
    if size or options:
        rest = f"{without_size(origin)}@{size or told(own.settings.size)}"
        if own.reader is TIMM:
            found = load_backbone(rest, pretrained=False, options=options)
            if pretrained:
                refit(found, own, place)
        else:
            with weights_file(folder, config) as file:
                found = load_backbone(rest, file if pretrained else None, pretrained=pretrained, options=options)
    found.name, found.origin, found.weights_file = f"{folder}@{size}" if size else str(folder), origin, None
    return found


def is_folder(name: str) -> bool:
    """Whether a backbone's name is a folder of ``visft``, ``merge`` or ``finetune``, for images of any size."""
    return is_saved(Path(_place_and_size(name)[0]))


def without_size(name: str) -> str:
    """A backbone's name without ``@SIZE``: folders and files may have an @ in their paths.

    >>> without_size("timm/vit_tiny_patch16_224@112"), without_size("bundled@64")
    ('timm/vit_tiny_patch16_224', 'bundled')
    """
    prefix = _prefix(name)
    if prefix not in sources():
        return _place_and_size(name)[0]
    rest = name.removeprefix(prefix)
    return prefix + rest[: len(rest) - len(rest.removeprefix("/"))] + split_size(prefix, rest.removeprefix("/"))[0]


def _place_and_size(name: str) -> tuple[str, str]:
    """A folder, whose path may hold an @ itself, and what stands behind the last one."""
    place, at, size = name.rpartition("@")
    return (place, size) if at and not is_saved(Path(name)) else (name, "")


def _prefix(name: str) -> str:
    """What stands before the first /, or the whole name without its size."""
    return name.partition("/")[0].partition("@")[0]


def source_of(name: str) -> str:
    """The source of a backbone's name; ``timm`` for the name of one that was made by hand."""
    prefix = _prefix(name)
    return prefix if prefix in sources() else "timm"


def rebuild_backbone(config: Mapping[str, Any]) -> Backbone:
    """The backbone that the ``config.json`` of a saved model describes, its weights at random.

    Raises:
        KeyError, TypeError, ValueError: the description is damaged.
        UsageError: it can't be built.
    """
    source = sources()[config.get("source") or source_of(config["backbone"])]
    options = config.get("architecture_options", {})
    network, reader = source.build(config["architecture"], options)
    settings = ImageSettings.from_dict(config["image"])
    backbone = Backbone(network, config["backbone"], config["architecture"], settings, options, reader)
    backbone.origin = config.get("origin", backbone.name)
    return backbone


def save_backbone(backbone: Backbone, folder: Path) -> None:
    """Write a backbone as it is now, so that :func:`load_backbone` takes ``folder`` for a name."""
    _save_backbone(backbone, folder, source_of(backbone.origin))
