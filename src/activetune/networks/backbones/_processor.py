"""How images are prepared, from what an image processor of transformers says in ``preprocessor_config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from activetune.networks.backbones._backbone import ImageSettings

INTERPOLATIONS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers
SHARP = 384  # pixels from which ConvNeXt's processor no longer crops


def settings_of(processor: Mapping[str, Any]) -> ImageSettings:
    """The settings of a processor: its size, crop, interpolation, mean and standard deviation.

    Raises:
        KeyError, TypeError, ValueError: it says no size that is known here.
    """
    size, crop = processor["size"], processor.get("crop_size")
    edge = size.get("shortest_edge") if isinstance(size, Mapping) else None
    if isinstance(size, int) and processor.get("do_center_crop"):
        edge = size
    crop_pct, mode = 1.0, "center"
    if processor.get("do_center_crop") and crop is not None:
        height, width = _sides(crop)
        if edge is not None:
            crop_pct = min(height, width) / edge
        elif _sides(size) == (height, width):
            mode = "squash"
        else:
            crop_pct = height / _sides(size)[0]
    elif edge is not None:
        height = width = int(edge)
        share = processor.get("crop_pct")  # ConvNeXt's
        crop_pct, mode = (float(share), "center") if share and edge < SHARP else (1.0, "squash")
    else:
        (height, width), mode = _sides(size), "squash"
    normalised = processor.get("do_normalize", True)
    return ImageSettings(
        size=(height, width),
        mean=_three(processor["image_mean"]) if normalised else (0.0, 0.0, 0.0),
        std=_three(processor["image_std"]) if normalised else (1.0, 1.0, 1.0),
        interpolation=INTERPOLATIONS[int(processor.get("resample", 3))],
        crop_pct=crop_pct,
        crop_mode=mode,
    )


def _sides(size: Any) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    if "height" not in size and "shortest_edge" in size:
        return int(size["shortest_edge"]), int(size["shortest_edge"])
    return int(size["height"]), int(size["width"])


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = map(float, values)
    return red, green, blue
