"""What another program has to know of an exported network: how images are prepared, its outputs, its classes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from activetune import __version__
from activetune.evaluation.model import Model
from activetune.handover.graph import INPUT, Graph
from activetune.networks.backbones import ImageSettings

KIND = "exported model"


def describe(model: Model, graph: Graph, target: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The description, plain values for JSON.

    Args:
        target: its name. manifest: of the model's folder; empty where there is none.
    """
    settings, backbone = model.backbone.settings, model.backbone
    known = {name: manifest[name] for name in ("seed", "figures") if name in manifest}
    return {
        "kind": KIND,
        "format": 1,
        "activetune": __version__,
        "target": target,
        "task": model.task.name,
        "classes": list(model.classes),
        "input": {"name": INPUT, "dtype": "float32", "shape": ["batch", 3, *settings.size], "channels": "RGB"},
        "preprocessing": preprocessing(
            settings, placed=model.task.placed, jpeg_sides=model.task.enough(settings, None)
        ),
        "outputs": graph.shapes(),
        "reading": graph.reading,
        "model": {
            "architecture": backbone.architecture,
            "backbone": backbone.origin,
            "head": model.network.head().kind,
            "recipe": model.config.get("recipe"),
            "options": model.config.get("options"),
            "fingerprint": model.fingerprint,
            **known,
        },
    }


def preprocessing(settings: ImageSettings, *, placed: bool, jpeg_sides: int) -> dict[str, Any]:
    """How an image becomes the network's input: values for programs, and steps for people.

    Args:
        placed: all of the image is shown, in the upper left corner; otherwise it is resized and cropped.
        jpeg_sides: pixels per side that a JPEG is decoded with at least, see :meth:`Task.enough`; 0 for all of them.
    """
    height, width = settings.size
    resize, resized, crop = _fitted(settings) if placed else _cropped(settings)
    reduced = (
        f"Decode a JPEG at the smallest of its scales (1, 1/2, 1/4, 1/8) with at least {jpeg_sides} pixels per side "
        "(Pillow's draft), any other image at its own size."
    )
    steps = [
        reduced if jpeg_sides else "",
        "Turn the image upright (EXIF), as 8-bit RGB: transparent parts over white, 16 bits scaled to 8.",
        resize,
        crop,
        "Divide by 255, subtract the mean and divide by the standard deviation of each channel (mean, std).",
        f"Order the numbers as (3, {height}, {width}), float32, and put the images of a batch behind each other.",
    ]
    return {
        "jpeg_sides": jpeg_sides,
        "resize": resized,
        "interpolation": settings.interpolation,
        "crop": [height, width],
        "crop_mode": "upper_left" if placed else settings.crop_mode,
        "crop_pct": 1.0 if placed else settings.crop_pct,
        "mean": list(settings.mean),
        "std": list(settings.std),
        "steps": [step for step in steps if step],
    }


def _fitted(settings: ImageSettings) -> tuple[str, dict[str, Any], str]:
    """Step, values and second step of images that are shown whole."""
    height, width = settings.size
    colour = [round(255 * mean) for mean in settings.mean]
    return (
        f"Scale it, keeping its shape, until it fits into {height} x {width} pixels (rows x columns), by antialiased "
        f"{settings.interpolation} interpolation; sides are rounded.",
        {"rule": "fit", "size": [height, width], "fill": colour},
        f"Lay it into the upper left corner of {height} x {width} pixels, and fill the rest with the colour {colour}.",
    )


def _cropped(settings: ImageSettings) -> tuple[str, dict[str, Any], str]:
    """Step, values and second step of images that are resized and cropped, as timm does."""
    height, width = settings.size
    colour = [round(255 * mean) for mean in settings.mean]
    larger = [math.floor(side / settings.crop_pct) for side in settings.size]
    by = f"by antialiased {settings.interpolation} interpolation"
    crop = f"Cut {height} x {width} pixels (rows x columns) out of its middle."
    if settings.crop_mode == "squash":
        told = f"Resize it to {larger[0]} x {larger[1]} pixels (rows x columns), whatever its shape, {by}."
        return told, {"rule": "squash", "size": larger}, "" if larger == [height, width] else crop
    if settings.crop_mode == "border":
        told = f"Scale it, keeping its shape, until it fits into {larger[0]} x {larger[1]} pixels, {by}."
        fill = f"Where it is smaller, surround it with the colour {colour}, an odd row or column below and right."
        return told, {"rule": "longest", "size": larger, "fill": colour}, f"{crop} {fill}"
    if height == width:
        told = (
            f"Scale it, keeping its shape, until its shorter side has {larger[0]} pixels, {by}; the other side is cut "
            "to a whole number."
        )
        return told, {"rule": "shortest", "size": larger[0]}, crop
    told = f"Scale it, keeping its shape, until it covers {larger[0]} x {larger[1]} pixels (rows x columns), {by}."
    return told, {"rule": "cover", "size": larger}, crop
