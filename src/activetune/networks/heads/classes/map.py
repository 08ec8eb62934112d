"""Attention pooling over all tokens, a norm and a linear layer (``_attention.py``).

Tokens are centred and scaled by two buffers, so that one learning rate fits every backbone.
Shape legend: V views, L items, T tokens, D feature size.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from activetune.networks.heads._attention import AttentionPool, heads_for
from activetune.networks.heads._head import ClassHead, Reads

SAMPLE = 256  # items that the scale of the tokens is measured on


class Map(ClassHead):
    """Attention pooling (MAP) over all tokens."""

    reads: ClassVar[Reads] = "tokens"

    def __init__(self, size: int, outputs: int):
        super().__init__(size, outputs)
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("scale", torch.ones(()))
        self.pool = AttentionPool(size, heads_for(size))
        self.norm = nn.LayerNorm(size)

    def describe(self) -> dict[str, Any]:
        """See :class:`ClassHead`."""
        return {**super().describe(), "attention_heads": self.pool.heads}

    def adapt(self, features_VLTD: Tensor) -> None:
        """Set the buffers by some of the items: the tokens' mean, and one over their root mean square around it."""
        items = features_VLTD.flatten(0, 1)
        rows = items[:: -(-len(items) // SAMPLE)].float()
        mean = rows.mean((0, 1))
        self.get_buffer("mean").copy_(mean)
        self.get_buffer("scale").copy_((rows - mean).square().mean().sqrt().clamp_min(1e-12).reciprocal())

    def embedded(self, features: Tensor) -> Tensor:
        """See :class:`ClassHead`."""
        pooled: Tensor = self.norm(self.pool(features, self.get_buffer("mean"), self.get_buffer("scale")))
        return pooled
