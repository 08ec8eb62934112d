"""How far a backbone has moved: its weights, and the features that it gives.

The published dose (a learning rate of 1e-5 on additions scaled by 1/64) hardly moves anything in a few thousand steps,
so a result says how far its backbone has gone.
Shape legend: B images, T tokens, D feature size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from activetune.base.runtime import Runtime
from activetune.networks.adapters import changes
from activetune.networks.backbones import Backbone

BATCH = 16


def weight_drift(network: nn.Module) -> float:
    """‖ΔW‖ / ‖W‖, Frobenius norms over all layers with additions; 0 without any."""
    moved = weights = 0.0
    for _, weight, change in changes(network):
        moved += float(change.square().sum())
        weights += float(weight.square().sum())
    return math.sqrt(moved / weights) if weights else 0.0


@dataclass(frozen=True)
class Features:
    """What a backbone gives of some images: pooled features (B, D), and the map's tokens (B, T, D)."""

    pooled: Tensor
    tokens: Tensor

    @classmethod
    def of(cls, backbone: Backbone, images: Sequence[Tensor], runtime: Runtime) -> Features:
        """Those of prepared images (3, H, W), in single precision: rounding in half of it hides so small a change.

        Args:
            runtime: its device; its precision is that of the training and is of no account here.
        """
        pooled, tokens = [], []
        backbone.eval()
        for start in range(0, len(images), BATCH):
            batch = torch.stack(list(images[start : start + BATCH])).to(runtime.device)
            with torch.inference_mode(), torch.autocast(runtime.device.type, enabled=False):
                last = backbone.last(batch)
                pooled.append(backbone.pool(last).float().cpu())
                tokens.append(backbone.read(last, "map").flatten(1, 2).float().cpu())
        return cls(torch.cat(pooled), torch.cat(tokens))

    def cosine(self, other: Features) -> dict[str, float]:
        """Mean cosine between both's features of an image, and of a token; 1 where nothing has moved."""
        pairs = {"pooled": (self.pooled, other.pooled), "tokens": (self.tokens, other.tokens)}
        return {
            name: float(functional.cosine_similarity(a.double(), b.double(), dim=-1).mean())
            for name, (a, b) in pairs.items()
        }
