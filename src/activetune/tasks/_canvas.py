"""The canvas: how images whose answers have a place in them are prepared, and how outputs find back to the image.

An image keeps its aspect ratio and nothing is cut off: it is scaled until it fits into the canvas, the network's input,
lies there in the upper left corner, and the rest is filled with the mean colour, which the network sees as zero. In
training a random window of the image takes its place: at least the share ``min_crop`` of it, of the canvas's own shape,
so far as the image reaches. Masks and boxes go through the same operations (torchvision's ``tv_tensors``).
Shape legend: B images, C channels, H x W pixels or places of a map.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from activetune.base.torchvision_ import import_torchvision
from activetune.data.kinds import VOID
from activetune.networks.backbones import ImageSettings
from activetune.tasks._augmentation import Crops

Size = tuple[int, int]  # height, width
AT_ONCE = 2**23  # numbers of a map that are spread over an image's pixels at a time: 32 MiB


@dataclass(frozen=True)
class Fit:
    """Where an image lies on the canvas: in its upper left corner, ``height`` x ``width`` pixels large."""

    height: int
    width: int

    @classmethod
    def of(cls, image: Size, canvas: Size, zoom: float = 1.0) -> Fit:
        """The largest size of the image's aspect ratio that fits, times ``zoom``.

        >>> Fit.of((180, 240), (224, 224))
        Fit(height=168, width=224)
        """
        scale = min(canvas[0] / image[0], canvas[1] / image[1]) * zoom
        return cls(*(max(1, round(length * scale)) for length in image))


def fitted(image: Image.Image, target: Any, settings: ImageSettings) -> tuple[Tensor, Any]:
    """An image on the canvas, uint8 (3, H, W), with its target moved alike (None: none)."""
    fit = Fit.of((image.height, image.width), settings.size)
    return _placed(*_scaled(image, target, fit, settings), (0, 0), settings)


def varied(image: Image.Image, target: Any, settings: ImageSettings, crops: Crops) -> tuple[Tensor, Any]:
    """A random window of an image on the canvas, flipped at random, drawn from torch's global state."""
    import_torchvision()
    from torchvision.transforms.v2 import functional as moved

    least = math.log(crops.min_crop) / 2  # of the sides, as min_crop is a share of the area
    zoom = math.exp(-least * torch.rand(()).item())
    fit = Fit.of((image.height, image.width), settings.size, zoom)
    image, target = _scaled(image, target, fit, settings)
    corner = tuple(
        round(max(0, have - canvas) * torch.rand(()).item())
        for have, canvas in zip((fit.height, fit.width), settings.size, strict=True)
    )
    pixels, target = _placed(image, target, (corner[0], corner[1]), settings)
    if torch.rand(()).item() < crops.flip:
        pixels = moved.horizontal_flip(pixels)
        target = None if target is None else moved.horizontal_flip(target)
    return pixels, target


def on_image(map_BCHW: Tensor, index: int, size: Size, canvas: Size) -> Tensor:
    """What a map of the canvas says of the pixels of one image of a batch, (C, H, W), by bilinear interpolation.

    Args:
        size: of the image. canvas: in pixels, of which the map's places are even parts.
    """
    return torch.cat([band for _, band in bands_on_image(map_BCHW, index, size, canvas)], dim=1)


def bands_on_image(map_BCHW: Tensor, index: int, size: Size, canvas: Size) -> Iterator[tuple[slice, Tensor]]:
    """The same in bands of rows, each (C, rows, W): a photo in hundreds of classes would take gigabytes at once."""
    fit = Fit.of(size, canvas)
    one_CHW = map_BCHW[index].float()
    (low_H, high_H, share_H), (low_W, high_W, share_W) = (
        _between(places, canvas_side, inner, side, one_CHW.device)
        for places, canvas_side, inner, side in zip(
            one_CHW.shape[1:], canvas, (fit.height, fit.width), size, strict=True
        )
    )
    wide_CHW = torch.lerp(one_CHW[:, :, low_W], one_CHW[:, :, high_W], share_W)
    rows = max(1, AT_ONCE // (len(one_CHW) * size[1]))
    for top in range(0, size[0], rows):
        band = slice(top, min(top + rows, size[0]))
        yield band, torch.lerp(wide_CHW[:, low_H[band]], wide_CHW[:, high_H[band]], share_H[band, None])


def _between(places: int, canvas: int, inner: int, side: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Along one side, between which two of a map's places each pixel of the image lies, and how near to the second.

    Args:
        places: of the map, on ``canvas`` pixels. inner: pixels of the canvas on which the image's ``side`` ones lie.
    """
    centres = (torch.arange(side, dtype=torch.float64) + 0.5) * (inner / side) * (places / canvas) - 0.5
    centres = centres.clamp(0, places - 1)
    low = centres.floor().long()
    return low.to(device), (low + 1).clamp(max=places - 1).to(device), (centres - low).float().to(device)


def _scaled(image: Image.Image, target: Any, fit: Fit, settings: ImageSettings) -> tuple[Image.Image, Any]:
    import_torchvision()
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as moved

    size = [fit.height, fit.width]
    scaled = moved.resize(image, size, interpolation=InterpolationMode(settings.interpolation), antialias=True)
    return scaled, None if target is None else moved.resize(target, size, interpolation=InterpolationMode.NEAREST)


def _placed(image: Image.Image, target: Any, corner: Size, settings: ImageSettings) -> tuple[Tensor, Any]:
    """A window of the canvas's size from ``corner`` on; what lies beyond the image is filled up."""
    from torchvision.transforms.v2 import functional as moved

    (height, width), (top, left) = settings.size, corner
    pixels = moved.pil_to_tensor(image)[:, top : top + height, left : left + width]
    canvas = torch.empty((3, height, width), dtype=torch.uint8)
    for channel, mean in enumerate(settings.mean):
        canvas[channel] = round(255 * mean)
    canvas[:, : pixels.shape[1], : pixels.shape[2]] = pixels
    if target is None:
        return canvas, None
    target = moved.crop(target, top, left, min(height, image.height), min(width, image.width))
    right, bottom = max(0, width - image.width), max(0, height - image.height)
    return canvas, moved.pad(target, [0, 0, right, bottom], fill=VOID)
