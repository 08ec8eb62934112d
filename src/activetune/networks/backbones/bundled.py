"""``bundled``: the small backbone in the package, a ``resnet10t`` that needs no download; ``bundled@64`` on 64 pixels.

Trained by ``experiments/bundled_backbone`` (data, recipe, figures and limits: docs/bundled_backbone.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from activetune.base.errors import unknown_name
from activetune.networks.backbones._backbone import Backbone, ImageSettings
from activetune.networks.backbones._size import readable, split_size
from activetune.networks.backbones.timm_ import build, create_network, load_weights

__all__ = ["ABOUT", "PREFIX", "build", "load", "names"]

PREFIX = "bundled"
ABOUT = "bundled or bundled@SIZE: a small network in the package, no download"
ARCHITECTURE = "resnet10t"
WEIGHTS = Path(str(files("activetune.networks.backbones"))) / "bundled.safetensors"
SETTINGS = ImageSettings(size=(96, 96), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def names() -> list[str]:
    """The one name of this source."""
    return [PREFIX]


def load(name: str, weights: Path | None, *, pretrained: bool = True, options: Mapping[str, Any]) -> Backbone:
    """Build the network and load the weights that come with the package (or ``weights``)."""
    rest, size = split_size(PREFIX, name)
    if rest:
        raise unknown_name("backbone", f"{PREFIX}/{name}", [PREFIX])
    network = create_network(ARCHITECTURE, pretrained=False, options=options)
    if pretrained:
        load_weights(network, weights or WEIGHTS)
    if size:
        with readable(f"{PREFIX}{name}", size), torch.inference_mode():
            network(torch.zeros(1, 3, *size))
    return Backbone(network.float(), f"{PREFIX}{name}", ARCHITECTURE, SETTINGS.at(size))
