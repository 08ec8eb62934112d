"""What a network's last layer gives, as tokens.

Shape legend: B items, T tokens, D feature size.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


def token_size(network: nn.Module) -> int:
    """D of a timm network's token; some convolutions widen it when they pool."""
    return int(network.num_features)  # type: ignore[arg-type]


def pooled_size(network: nn.Module) -> int:
    """D of a timm network's pooled feature."""
    return int(getattr(network, "head_hidden_size", None) or token_size(network))


def as_tokens(features: Tensor, size: int) -> Tensor:
    """Tokens (B, T, D) as they are, or a convolution's map of ``size`` channels row by row."""
    if features.ndim == 3:
        return features
    return features.flatten(2).transpose(1, 2) if channels_first(features.shape, size) else features.flatten(1, 2)


def channels_first(shape: Sequence[int], size: int) -> bool:
    """Whether a map of this shape with ``size`` channels is (B, D, H, W) and not (B, H, W, D)."""
    return shape[1] == size or shape[-1] != size
