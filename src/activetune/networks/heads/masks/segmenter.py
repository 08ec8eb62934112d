"""Mask transformer: patch tokens and a token per class attend to each other, and a mask is their similarity.

Strudel, Garcia, Laptev & Schmid, "Segmenter: Transformer for Semantic Segmentation", ICCV 2021, section 3.2, which is
the head of ActiveFT's table on ADE20k: two layers of the backbone's width, both kinds of tokens of unit length before
their product, and a norm over the classes. The layers are timm's.
Ours: a batch norm below the first layer, as in the linear head, for backbones of any scale.
Shape legend: B items, H x W places, D feature size, C classes.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from activetune.base.torchvision_ import import_torchvision
from activetune.networks.heads._attention import heads_for
from activetune.networks.heads._head import Head, Reads
from activetune.networks.heads._norm import normalised
from activetune.networks.heads._single_precision import without_autocast


class Segmenter(Head):
    """A mask transformer on the map of patch tokens."""

    reads: ClassVar[Reads] = "map"
    batch_size: ClassVar[int] = 16

    def __init__(self, size: int, outputs: int, layers: int = 2):
        import_torchvision()
        from timm.models.vision_transformer import Block

        super().__init__(size, outputs)
        self.layers = layers
        self.input_norm = nn.BatchNorm1d(size)
        self.project = nn.Linear(size, size)
        self.classes = nn.Parameter(torch.empty(1, outputs, size))
        self.blocks = nn.ModuleList(Block(size, heads_for(size), qkv_bias=True, proj_drop=0.0) for _ in range(layers))
        self.norm = nn.LayerNorm(size)
        self.patches = nn.Linear(size, size, bias=False)
        self.masks = nn.Linear(size, size, bias=False)
        self.output_norm = nn.LayerNorm(outputs)
        nn.init.trunc_normal_(self.classes, std=0.02)
        for layer in (self.patches, self.masks):
            nn.init.normal_(layer.weight, std=size**-0.5)

    def options(self) -> dict[str, Any]:
        """See :class:`Head`."""
        return {"layers": self.layers}

    def forward(self, map_BHWD: Tensor) -> Tensor:
        """Logits (B, C, H, W)."""
        batch, height, width, size = map_BHWD.shape
        tokens = normalised(self.input_norm, map_BHWD.reshape(-1, size)).view(batch, height * width, size)
        tokens = torch.cat([self.project(tokens), self.classes.expand(batch, -1, -1)], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        places, classes = tokens[:, : height * width], tokens[:, height * width :]
        places = functional.normalize(self.patches(places), dim=-1)
        classes = functional.normalize(self.masks(classes), dim=-1)
        with without_autocast(places):
            logits: Tensor = self.output_norm(places.float() @ classes.float().transpose(1, 2))
        return logits.transpose(1, 2).reshape(batch, -1, height, width)
