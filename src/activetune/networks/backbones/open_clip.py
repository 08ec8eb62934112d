"""``open_clip/ARCH#WEIGHTS``: the image tower of a CLIP, as open_clip builds it.

WEIGHTS is a tag that open_clip knows (``ViT-B-32#openai``), or a file. A folder with ``open_clip_config.json`` has
both: ``open_clip/FOLDER``. Pooled features are the embedding that images share with texts; the text tower opens under
the same name (``features/text/encoders.py``). Weights are read without unpickling.
Shape legend: B items, T tokens, D feature size.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from activetune.base.errors import ActivetuneError, MissingExtra, UsageError, first_line, unknown_name
from activetune.base.hub import reachable_hub
from activetune.base.torchvision_ import import_torchvision
from activetune.networks.backbones._backbone import Backbone, ImageSettings
from activetune.networks.backbones._reader import MeasuredReader, Reader
from activetune.networks.backbones._size import as_option, readable, split_size

PREFIX = "open_clip"
ABOUT = (
    "open_clip/ARCH#WEIGHTS or open_clip/ARCH#WEIGHTS@SIZE: the image tower of every CLIP of open_clip, or of a folder"
)
MODES = {"shortest": "center", "squash": "squash", "longest": "border"}  # timm's words for open_clip's


def names() -> list[str]:
    """Some of the models, as ``open_clip/ARCH#WEIGHTS``; every other of open_clip loads too."""
    models = (
        "ViT-B-32#openai",
        "ViT-B-16#datacomp_xl_s13b_b90k",
        "ViT-L-14#openai",
        "convnext_base#laion400m_s13b_b51k",
    )
    return [f"{PREFIX}/{model}" for model in models]


def load(name: str, weights: Path | None, *, pretrained: bool = True, options: Mapping[str, Any]) -> Backbone:
    """Load an architecture with the weights of a tag or a file, or a folder.

    Raises:
        UsageError: unknown architecture or tag, no weights, weights that do not fit, options.
        ActivetuneError: a download that failed. MissingExtra: open_clip is not installed.
    """
    library = _open_clip()
    given, (name, size) = f"{PREFIX}/{name}", split_size(PREFIX, name)
    architecture, _, tag = name.partition("#")
    folder = Path(architecture).is_dir()
    source = f"local-dir:{architecture}" if folder else architecture
    if options:
        raise UsageError(f"open_clip/{name} does not take the options {', '.join(options)}; leave them out")
    if not folder and architecture not in library.list_models():
        raise unknown_name(
            "backbone", f"open_clip/{architecture}", (f"open_clip/{one}" for one in library.list_models())
        )
    file_or_tag = str(weights) if weights is not None else tag
    if pretrained and not folder and not file_or_tag:
        tags = library.list_pretrained_tags_by_model(architecture)
        raise UsageError(
            f"open_clip/{name} does not say which weights; give one of "
            f"open_clip/{architecture}#{', #'.join(tags)}, or a file with --weights"
        )
    with _explained(name, remote=not folder and not Path(file_or_tag).is_file()):
        config = library.get_model_config(source)
        model = library.create_model(
            source,
            pretrained=(file_or_tag or None) if not folder else None,
            load_weights=pretrained,
            require_pretrained=pretrained and not (folder and weights is not None),
            force_image_size=None if size is None else as_option(size),
            pretrained_image=False,
            pretrained_text=False,
        )
        if folder and weights is not None:
            library.load_checkpoint(model, str(weights))
    network = model.visual.float().eval()
    settings = _settings(network.preprocess_cfg).at(size)
    saved = {
        "embed_dim": config["embed_dim"],
        "quick_gelu": bool(config.get("quick_gelu", False)),
        "vision_cfg": {**config["vision_cfg"], "timm_model_pretrained": False},
        **({"image_size": as_option(size)} if size else {}),
    }
    kind = type(network).__name__ if folder else architecture
    with readable(given, size):
        reader = _measure(network, settings.size)
    return Backbone(network, given, kind, settings, saved, reader)


def build(architecture: str, options: Mapping[str, Any]) -> tuple[nn.Module, Reader]:
    """The image tower of a saved model, its weights at random, and its reader."""
    library = _open_clip()
    vision = {**options["vision_cfg"], "timm_model_pretrained": False}
    if "image_size" in options:  # another size than its weights were published for
        size = options["image_size"]
        vision["image_size"] = tuple(size) if isinstance(size, list) else size
    if ":" in str(vision.get("timm_model_name", "")):
        raise UsageError(
            f"open_clip/{architecture} names a trunk that is not timm's: {vision['timm_model_name']!r}; give another"
        )
    text = library.CLIPTextCfg(context_length=2, vocab_size=2, width=8, heads=1, layers=1)  # CLIP is never without one
    model = library.CLIP(
        embed_dim=options["embed_dim"],
        vision_cfg=importlib.import_module("open_clip.model").CLIPVisionCfg(**vision),
        text_cfg=text,
        quick_gelu=options["quick_gelu"],
    )
    network = model.visual.eval()
    if "image_size" in options and hasattr(network, "set_input_size"):
        network.set_input_size(options["image_size"])
    return network, _measure(network, network.image_size)


def _open_clip() -> Any:
    import_torchvision()
    try:
        import open_clip
    except ImportError:
        raise MissingExtra("open_clip_torch", "open-clip") from None
    return open_clip


@contextlib.contextmanager
def _explained(name: str, *, remote: bool) -> Iterator[None]:
    """Turn what open_clip raises about an unknown, unreachable or damaged model into a sentence."""
    try:
        with reachable_hub() if remote else contextlib.nullcontext():
            yield
    except Exception as error:  # its downloads and readers raise errors of many libraries
        if isinstance(error, ActivetuneError):
            raise
        kind, advice = (ActivetuneError, "; or give a local file with --weights") if remote else (UsageError, "")
        raise kind(f"open_clip/{name} can't be loaded ({first_line(error)}){advice}") from None


def _settings(given: Mapping[str, Any]) -> ImageSettings:
    size = given["size"]
    return ImageSettings(
        size=(size, size) if isinstance(size, int) else tuple(size),
        mean=tuple(given["mean"]),
        std=tuple(given["std"]),
        interpolation=given["interpolation"],
        crop_mode=MODES[given["resize_mode"]],
    )


@dataclass(frozen=True)
class OpenClipReader(MeasuredReader):
    """How features are read out of an image tower: open_clip's transformer, its ResNet, or a network of timm."""

    def last(self, network: Any, images: Tensor) -> Tensor:
        """See :class:`Reader`."""
        return _last(network, images)

    def pool(self, network: Any, features: Tensor) -> Tensor:
        """See :class:`Reader`: the embedding that is shared with texts."""
        return _pool(network, features)


def _last(network: Any, images: Tensor) -> Tensor:
    if hasattr(network, "trunk"):
        found: Tensor = network.trunk.forward_features(images)
    elif hasattr(network, "transformer"):
        found = network.transformer(network._embeds(images))
    else:
        found = network.stem(images)
        for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
            found = layer(found)
    return found


def _pool(network: Any, features: Tensor) -> Tensor:
    if hasattr(network, "trunk"):
        found: Tensor = network.head(network.trunk.forward_head(features))
    elif hasattr(network, "transformer"):
        found, _ = network._pool(features)
        found = found if network.proj is None else found @ network.proj
    else:
        found = network.attnpool(features)
    return found


def _measure(network: Any, size: Any) -> OpenClipReader:
    """Find out a tower's sizes by one image."""
    sides = (size, size) if isinstance(size, int) else tuple(size)
    with torch.inference_mode():
        last = _last(network, torch.zeros(1, 3, *sides))
        pooled = _pool(network, last)
    prefix = getattr(network.trunk, "num_prefix_tokens", 0) if hasattr(network, "trunk") else int(last.ndim == 3)
    size_of_map = network.trunk.num_features if hasattr(network, "trunk") else last.shape[1]
    return OpenClipReader(int(last.shape[2] if last.ndim == 3 else size_of_map), int(pooled.shape[1]), prefix)
