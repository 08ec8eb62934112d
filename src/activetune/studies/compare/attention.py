"""Where the class token looks in the last layer, before and after: the picture of ViSFT's figure 3.

Shape legend: B images, T tokens (the class token first), h attention heads, H x W places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from activetune.base.arrays import FloatArray
from activetune.base.progress import note
from activetune.networks.backbones import Backbone
from activetune.studies.compare.side import Side

TALL = 224  # pixels of a picture's height
DIM = 0.15  # how bright the darkest place is


def last_attention(backbone: Backbone) -> Any:
    """The last layer's attention of a vision transformer of timm that has a class token; None of any other network."""
    blocks = getattr(backbone.network, "blocks", None)
    attention = getattr(blocks[-1], "attn", None) if blocks is not None and len(blocks) else None
    known = all(hasattr(attention, name) for name in ("attn_drop", "num_heads"))
    # tokens before the places may be registers alone
    return attention if known and getattr(backbone.network, "cls_token", None) is not None else None


def maps(side: Side, images: list[Tensor]) -> FloatArray | None:
    """(B, H, W) the class token's attention to each place, a mean over the heads; None where the network has none.

    It is the network's own: what its dropout of attention is given, behind rotary positions, norms of queries and keys,
    biases and its scale. None, which a note tells, also of networks whose attention is not from token to token.
    """
    backbone, attention = side.backbone, last_attention(side.backbone)
    weights = None if attention is None else _caught(side, attention, images)
    grid = backbone.grid
    tokens = grid.prefix + grid.height * grid.width
    if weights is None or weights.shape != (len(images), attention.num_heads, tokens, tokens):
        note(f"{side.given} has no attention of a class token that can be shown; no picture is made", side.run.quiet)
        return None
    found = weights[:, :, 0, grid.prefix :].mean(dim=1).reshape(len(images), grid.height, grid.width)
    attended: FloatArray = found.cpu().numpy()
    return attended


def _caught(side: Side, attention: Any, images: list[Tensor]) -> Tensor | None:
    """(B, h, T, T) attention behind its softmax; None of a layer that computes none."""
    caught: list[Tensor] = []
    hook = attention.attn_drop.register_forward_hook(lambda _, __, output: caught.append(output.detach().float()))
    fused = getattr(attention, "fused_attn", False)
    attention.fused_attn = False  # the fused kernel never holds the weights
    try:
        with torch.inference_mode():
            side.backbone.last(torch.stack(images).to(side.runtime.device))
    finally:
        hook.remove()
        attention.fused_attn = fused
    return caught[-1] if caught else None


def picture(images: Sequence[list[Tensor]], each: Sequence[FloatArray]) -> Image.Image:
    """A row per image: itself, then where each backbone looks, the brighter the more.

    Args:
        images: as each backbone sees them: sizes and cuts may differ. each: its maps of them, (B, H, W).
    """
    rows = list[list[Image.Image]]()
    for seen in zip(*images, strict=True):
        shown = [_shown(image) for image in seen]
        attended = [one[len(rows)] for one in each]
        rows.append([shown[0], *(_over(image, one) for image, one in zip(shown, attended, strict=True))])
    width = max(sum(one.width for one in row) + 6 * (len(row) - 1) for row in rows)
    sheet = Image.new("RGB", (width, len(rows) * (TALL + 6) - 6), "white")
    for line, row in enumerate(rows):
        left = 0
        for one in row:
            sheet.paste(one, (left, line * (TALL + 6)))
            left += one.width + 6
    return sheet


def _shown(image: Tensor) -> Image.Image:
    shown = Image.fromarray(image.permute(1, 2, 0).numpy()).convert("RGB")
    return shown.resize((round(TALL * shown.width / shown.height), TALL))


def _over(image: Image.Image, attention_HW: FloatArray) -> Image.Image:
    """An image that is the darker the less is attended to."""
    low, high = np.percentile(attention_HW, [5, 95])
    shares = np.clip((attention_HW - low) / max(high - low, 1e-12), 0, 1) ** 0.5
    light = Image.fromarray((255 * (DIM + (1 - DIM) * shares)).astype(np.uint8))
    light = light.resize(image.size, Image.Resampling.BICUBIC)
    return Image.composite(image, Image.new("RGB", image.size, (12, 12, 40)), light)
