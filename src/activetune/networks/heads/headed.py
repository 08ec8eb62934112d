"""A network under a light head, speaking timm's methods as one network.

Shape legend: B items, T tokens, D feature size, Y classes.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from activetune.networks.backbones._tokens import as_tokens, pooled_size, token_size
from activetune.networks.heads.light import Head, Kind


class Headed(nn.Module):
    """Normalised images (B, 3, H, W) to logits (B, Y).

    Attributes:
        body: a timm network without classifier. head: reads its tokens or its pooled features.
    """

    def __init__(self, body: nn.Module, head: Head):
        super().__init__()
        self.body, self.head = body, head

    def forward(self, images: Tensor) -> Tensor:
        """See :class:`Headed`."""
        return self.forward_head(self.forward_features(images))

    def forward_features(self, images: Tensor) -> Tensor:
        """What the body's last layer gives: tokens (B, T, D), or a map of a convolution."""
        features: Tensor = self.body.forward_features(images)  # type: ignore[operator]
        return features

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits (B, Y), or the body's pooled features (B, D), of the last layer's features."""
        if pre_logits or not self.head.reads_tokens:
            features = self.body.forward_head(features, pre_logits=True)  # type: ignore[operator]
            return features if pre_logits else self._logits(features)
        return self._logits(as_tokens(features, self.num_features))

    def _logits(self, features: Tensor) -> Tensor:
        logits: Tensor = self.head(features)
        return logits

    def get_classifier(self) -> nn.Linear:
        """The last linear layer."""
        return self.head.classifier

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:  # patch_embed, num_features, set_grad_checkpointing, …: the body's
            return getattr(super().__getattr__("body"), name)


def head_size(body: nn.Module, kind: Kind) -> int:
    """D, the size of what a head of this kind reads from a network without classifier: a token, or a pooled feature."""
    return token_size(body) if kind == "map" else pooled_size(body)
