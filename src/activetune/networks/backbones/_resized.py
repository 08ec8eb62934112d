"""A backbone as it is now, on images of another size, and how much less it computes there."""

from __future__ import annotations

import copy
from typing import Any

import torch

from activetune.networks.backbones._backbone import Backbone, in_evaluation
from activetune.networks.backbones._size import Size, readable


def share_of(backbone: Backbone, share: float) -> Size:
    """Height and width of images whose sides are about ``share`` of the backbone's own, in (0, 1].

    A network of timm that cuts images into patches gets whole ones, at least one: half of 7 x 7 patches of 16 pixels
    are 4 x 4, 64 pixels. Any other gets the share, rounded.
    """
    sides = backbone.settings.size
    steps = _patch(backbone)
    found = [max(1, round(side // step * share)) * step for side, step in zip(sides, steps, strict=True)]
    return found[0], found[1]


def _patch(backbone: Backbone) -> Size:
    """Height and width in pixels of what the sides of an image are multiples of; stages may have merged patches."""
    across = getattr(getattr(backbone.network, "patch_embed", None), "patch_size", None)
    if across is None:
        return 1, 1
    down, along = (across, across) if isinstance(across, int) else across
    height, width = backbone.settings.size
    return max(height // backbone.grid.height, down), max(width // backbone.grid.width, along)  # patches may overlap


def resized(backbone: Backbone, size: Size) -> Backbone:
    """The backbone with the weights that it has now, for images of another height and width.

    A network that timm can rebuild for another size is a copy, whose positions are resampled as timm does; what is
    trained afterwards is not in it. Any other is the same network: a convolution, or one that fits its positions to
    each image.

    Raises:
        UsageError: a network that can't read images of that size.
    """
    network: Any = backbone.network
    with readable(backbone.name, size), torch.inference_mode(False), torch.no_grad():
        if in_patches(network):
            network = copy.deepcopy(network)
            network.set_input_size(img_size=size)
        found = Backbone(
            network, backbone.name, backbone.architecture, backbone.settings.at(size), backbone.options, backbone.reader
        )
        found.to(backbone.get_buffer("mean").device)
        multiplications(found)
    return found


def multiplications(backbone: Backbone) -> int:
    """The work of one image's forward pass: multiplications and additions, by ``torch.utils.flop_counter``."""
    from torch.utils.flop_counter import FlopCounterMode

    images = torch.zeros((1, 3, *backbone.settings.size), dtype=torch.uint8, device=backbone.get_buffer("mean").device)
    with in_evaluation(backbone), torch.no_grad(), FlopCounterMode(display=False) as counter:
        backbone(images)
    return int(counter.get_total_flops())


def in_patches(network: Any) -> bool:
    """Whether timm builds the network for one size of images, and can rebuild it for another."""
    return hasattr(network, "set_input_size")
