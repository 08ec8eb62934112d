"""Vision-LSTM (ViL): a stack of mLSTM blocks that read an image's patches forwards and backwards in turn.

Alkin, Beck, Pöppel, Hochreiter & Brandstetter, "Vision-LSTM: xLSTM as Generic Vision Backbone" (arXiv 2406.04303).
timm does not have it, so it is registered with timm here. Written from the papers' equations; of the publisher's
repository (github.com/NX-AI/vision-lstm) come facts alone: the checkpoints' names, sizes and constants.

A block adds to its tokens x the result of the following. Even blocks (from 0) read the rows from the top left; odd ones
turn the sequence round first and back at the end, so that they read from the bottom right.

    u, z = W_up norm(x);   c = SiLU(convolution(u));   q, k = W_q c, W_k c;   v = W_v u
    h = norm of each head(mLSTM(q, k, v; gates linear in q, k, v)) + skip * c;   result = W_down (h * SiLU(z))

After the last block all tokens are normed, the first and the last are joined and normed again, and a linear layer
classifies. Two versions were published:

| | version 1 (``vil_…``) | version 2 (``vil2_…``) |
|---|---|---|
| convolution | 4 tokens, causal along the sequence | 3 x 3 over the places |
| biases of projections and norms | none | all |
| first and last token are | averaged | put side by side |
| epsilon of the norm after the blocks, of the joined tokens | 1e-5, 1e-6 | 1e-6, 1e-5 |

``mlstm.py`` is the recurrence, ``block.py`` a block, ``network.py`` the rest and the checkpoints' names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from activetune.networks.backbones._vil.network import Architecture, VisionLSTM

__all__ = ["ARCHITECTURES", "Architecture", "VisionLSTM", "register"]

ARCHITECTURES = {
    "vil2_tiny": Architecture(192, 24),
    "vil2_small": Architecture(384, 24),
    "vil2_base": Architecture(768, 24),
    "vil_tiny": Architecture(192, 24, version=1),
    "vil_tinyplus": Architecture(192, 29, version=1),
    "vil_small": Architecture(384, 24, version=1),
    "vil_smallplus": Architecture(384, 26, version=1),
    "vil_base": Architecture(768, 24, version=1),
    "vil_smallplus_stride8": Architecture(384, 26, version=1, stride=8),
    "vil_base_stride8": Architecture(768, 24, version=1, stride=8),
    "test_vil": Architecture(32, 2, image=32, patch=8, stride=8),  # for tests
}

default_cfgs = {
    name: {
        "input_size": (3, sizes.image, sizes.image),
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "interpolation": "bicubic",
        "crop_pct": 1.0,  # the publisher resizes the short side to 224 and cuts out the middle
        "first_conv": "patch_embed.proj",
        "classifier": "head",
    }
    for name, sizes in ARCHITECTURES.items()
}


def register() -> None:
    """Make ``timm.create_model`` know the architectures."""
    from timm.models import register_model

    for name, sizes in ARCHITECTURES.items():
        register_model(_entry(name, sizes))


def _entry(name: str, sizes: Architecture) -> Callable[..., nn.Module]:
    """What timm calls to build an architecture."""

    def build(pretrained: bool = False, **options: Any) -> nn.Module:
        from timm.models import build_model_with_cfg

        network: nn.Module = build_model_with_cfg(VisionLSTM, name, pretrained, model_cfg=sizes, **options)
        return network

    build.__name__ = name
    return build
