"""Batch norm and a linear layer at each place: the linear probe of segmentation.

The norm evens out the few channels of a transformer that are a hundred times larger than the others, so that one
learning rate fits every backbone; DINOv2's linear head for segmentation has it too.
Shape legend: B items, H x W places, D feature size, C classes.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from activetune.networks.heads._head import Head, Reads
from activetune.networks.heads._norm import normalised
from activetune.networks.heads._single_precision import LastConv2d


class Linear(Head):
    """A linear layer on the map of patch tokens, under a batch norm."""

    reads: ClassVar[Reads] = "map"
    batch_size: ClassVar[int] = 16
    lr: ClassVar[float] = 1e-2
    decays: ClassVar[bool] = False

    def __init__(self, size: int, outputs: int):
        super().__init__(size, outputs)
        self.norm = nn.BatchNorm2d(size)
        self.classifier = LastConv2d(size, outputs, 1)
        nn.init.zeros_(self.classifier.weight)
        assert self.classifier.bias is not None
        nn.init.zeros_(self.classifier.bias)

    def forward(self, map_BHWD: Tensor) -> Tensor:
        """Logits (B, C, H, W)."""
        logits: Tensor = self.classifier(normalised(self.norm, map_BHWD.permute(0, 3, 1, 2)))
        return logits
