"""Light classifiers on the tokens of a frozen backbone, as modules that go on top of it.

- ``map``: attention pooling (``attention.py``), then a linear layer.
- ``linear``: the backbone's own pooling, then a linear layer.
- ``logistic``: the same, of features of unit length under a signed square root, which evens out the few coordinates
  that dominate a pooled feature (the power normalisation of Perronnin et al., ECCV 2010).

Shape legend: B items, T tokens, D feature size, Y classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from activetune.heads.attention import AttentionPool, heads_for
from activetune.heads.linear import LinearHead

Kind = Literal["map", "linear", "logistic"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Pool = Callable[[Tensor], Tensor]  # all tokens (B, T, D) to pooled features (B, D)


class MapHead(nn.Module):
    """Attention pooling over all tokens, class and register tokens among them.

    Tokens are centred and scaled by two buffers, so that the same learning rate fits every backbone.
    """

    def __init__(self, size: int, classes: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("scale", torch.ones(()))
        self.pool = AttentionPool(size, heads_for(size))
        self.norm = nn.LayerNorm(size)
        self.classifier = nn.Linear(size, classes)
        nn.init.zeros_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)

    def scale_to(self, mean_D: Tensor, scale: float) -> None:
        """Set what tokens are centred by and multiplied with."""
        self.get_buffer("mean").copy_(mean_D)
        self.get_buffer("scale").fill_(scale)

    def forward(self, tokens_BTD: Tensor) -> Tensor:
        """Logits (B, Y)."""
        tokens = (tokens_BTD - self.get_buffer("mean")) * self.get_buffer("scale")
        logits: Tensor = self.classifier(self.norm(self.pool(tokens)))
        return logits


class LogisticHead(nn.Module):
    """Logistic regression on power-normalised pooled features."""

    def __init__(self, size: int, classes: int):
        super().__init__()
        self.classifier = nn.Linear(size, classes)

    def forward(self, pooled_BD: Tensor) -> Tensor:
        """Logits (B, Y)."""
        logits: Tensor = self.classifier(power_normalised(pooled_BD))
        return logits


def power_normalised(pooled_BD: Tensor) -> Tensor:
    """Rows of unit length, then ``sign(x) sqrt(|x|)``; the results have unit L1-length in the square."""
    rows = nn.functional.normalize(pooled_BD, dim=1)
    return rows.sign() * rows.abs().sqrt()


class Headed(nn.Module):
    """A backbone's network with a head that reads something else than its own pooled features.

    Attributes:
        body: the timm network without classifier. head: the head; kind: which. reads_tokens: or pooled features.
    """

    def __init__(self, body: nn.Module, head: nn.Module, tokens_of: Callable[[Tensor], Tensor]):
        super().__init__()
        self.body, self.head = body, head
        self._tokens_of = tokens_of

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, Y) of normalised images."""
        features = self.body.forward_features(images)  # type: ignore[operator]
        if isinstance(self.head, MapHead):
            logits: Tensor = self.head(self._tokens_of(features))
        else:
            logits = self.head(self.body.forward_head(features, pre_logits=True))  # type: ignore[operator]
        return logits
