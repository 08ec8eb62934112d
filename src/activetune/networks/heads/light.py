"""Light classifiers on a frozen backbone, as modules that go on top of it.

- ``map``: attention pooling over all tokens (``attention.py``), then a linear layer.
- ``linear``: a linear layer on the backbone's own pooled features.
- ``logistic``: the same on features of unit length under a signed square root, which evens out the few coordinates that
  dominate a pooled feature (the power normalisation of Perronnin, Sánchez & Mensink, ECCV 2010).

Shape legend: B items, T tokens, D feature size, Y classes.
"""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from activetune.networks.heads.attention import AttentionPool, heads_for

Kind = Literal["map", "linear", "logistic"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Head(nn.Module):
    """A classifier on tokens (B, T, D) or on pooled features (B, D), as ``reads_tokens`` says."""

    kind: ClassVar[Kind] = "linear"
    reads_tokens: ClassVar[bool] = False

    def __init__(self, size: int, classes: int):
        super().__init__()
        self.classifier = nn.Linear(size, classes)
        nn.init.zeros_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)

    def describe(self) -> dict[str, object]:
        """What rebuilds it beside its weights, for ``config.json``."""
        return {"kind": self.kind}

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, Y)."""
        logits: Tensor = self.classifier(features)
        return logits


class LogisticHead(Head):
    """A linear layer on power-normalised features."""

    kind: ClassVar[Kind] = "logistic"

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, Y)."""
        return super().forward(power_normalised(features))


class MapHead(Head):
    """Attention pooling, a norm and a linear layer.

    Tokens are centred and scaled by two buffers, so that one learning rate fits every backbone.
    """

    kind: ClassVar[Kind] = "map"
    reads_tokens: ClassVar[bool] = True

    def __init__(self, size: int, classes: int):
        super().__init__(size, classes)
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("scale", torch.ones(()))
        self.pool = AttentionPool(size, heads_for(size))
        self.norm = nn.LayerNorm(size)

    def describe(self) -> dict[str, object]:
        """See :class:`Head`."""
        return {"kind": self.kind, "attention_heads": self.pool.heads}

    def fit_scale(self, tokens_VLTD: Tensor, sample: int = 256) -> None:
        """Set the buffers by some of the items: the tokens' mean, and one over their root mean square around it."""
        items = tokens_VLTD.flatten(0, 1)
        rows = items[:: -(-len(items) // sample)].float()
        mean = rows.mean((0, 1))
        self.get_buffer("mean").copy_(mean)
        self.get_buffer("scale").copy_((rows - mean).square().mean().sqrt().clamp_min(1e-12).reciprocal())

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, Y)."""
        return super().forward(self.norm(self.pool(features, self.get_buffer("mean"), self.get_buffer("scale"))))


def power_normalised(pooled_BD: Tensor) -> Tensor:
    """Rows of unit length, then ``sign(x) sqrt(|x|)`` of each number."""
    rows = functional.normalize(pooled_BD, dim=1)
    return rows.sign() * rows.abs().sqrt()


def make_head(kind: Kind, size: int, classes: int) -> Head:
    """A head by its name, its classifier at zero."""
    return next(cls for cls in (Head, LogisticHead, MapHead) if cls.kind == kind)(size, classes)
