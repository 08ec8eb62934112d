"""Where the class token looks in the last layer, before and after: the picture of ViSFT's figure 3.

Shape legend: B images, T tokens, h attention heads, H x W places.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from activetune.base.arrays import FloatArray
from activetune.networks.backbones import Backbone
from activetune.studies.compare.side import Side

TALL = 224  # pixels of a picture's height
DIM = 0.15  # how bright the darkest place is


def last_attention(backbone: Backbone) -> Any:
    """The last layer's attention of a vision transformer of timm that has a class token; None of any other network."""
    blocks = getattr(backbone.network, "blocks", None)
    attention = getattr(blocks[-1], "attn", None) if blocks is not None and len(blocks) else None
    known = attention is not None and all(hasattr(attention, name) for name in ("qkv", "num_heads"))
    return attention if known and backbone.grid.prefix else None


def maps(side: Side, images: list[Tensor]) -> FloatArray | None:
    """(B, H, W) the class token's attention to each place, a mean over the heads; None where the network has none."""
    backbone, attention = side.backbone, last_attention(side.backbone)
    if attention is None:
        return None
    caught: list[Tensor] = []
    hook = attention.qkv.register_forward_hook(lambda _, __, output: caught.append(output.detach().float()))
    try:
        with torch.inference_mode():
            backbone.last(torch.stack(images).to(side.runtime.device))
    finally:
        hook.remove()
    if not caught:  # a network that computes with the layer's weight and does not call it
        return None
    batch, tokens, _ = caught[0].shape
    parts = caught[0].reshape(batch, tokens, 3, attention.num_heads, -1)
    query, key, _ = parts.permute(2, 0, 3, 1, 4)  # each (B, h, T, D / h)
    query, key = (getattr(attention, f"{name}_norm", lambda one: one)(one) for name, one in (("q", query), ("k", key)))
    weights = (query[:, :, :1] @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(dim=-1)
    grid = backbone.grid
    found = weights[:, :, 0, grid.prefix :].mean(dim=1).reshape(len(images), grid.height, grid.width)
    attended: FloatArray = found.cpu().numpy()
    return attended


def picture(images: list[Tensor], each: list[FloatArray]) -> Image.Image:
    """A row per image: itself, then where each backbone looks, the brighter the more."""
    rows = []
    for number, image in enumerate(images):
        shown = Image.fromarray(image.permute(1, 2, 0).numpy()).convert("RGB")
        shown = shown.resize((round(TALL * shown.width / shown.height), TALL))
        rows.append([shown, *(_over(shown, one[number]) for one in each)])
    width = max(sum(one.width for one in row) + 6 * (len(row) - 1) for row in rows)
    sheet = Image.new("RGB", (width, len(rows) * (TALL + 6) - 6), "white")
    for line, row in enumerate(rows):
        left = 0
        for one in row:
            sheet.paste(one, (left, line * (TALL + 6)))
            left += one.width + 6
    return sheet


def _over(image: Image.Image, attention_HW: FloatArray) -> Image.Image:
    """An image that is the darker the less is attended to."""
    low, high = np.percentile(attention_HW, [5, 95])
    shares = np.clip((attention_HW - low) / max(high - low, 1e-12), 0, 1) ** 0.5
    light = Image.fromarray((255 * (DIM + (1 - DIM) * shares)).astype(np.uint8))
    light = light.resize(image.size, Image.Resampling.BICUBIC)
    return Image.composite(image, Image.new("RGB", image.size, (12, 12, 40)), light)
