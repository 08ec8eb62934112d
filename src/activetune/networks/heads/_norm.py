"""Batch norm that also takes a batch with a single value per channel."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


def normalised(norm: nn.BatchNorm1d | nn.BatchNorm2d | nn.SyncBatchNorm, values: Tensor) -> Tensor:
    """Values (N, D) or (N, D, H, W), normalised per channel.

    One value per channel has no spread, and torch refuses it in training: one small image is normalised by what was
    seen before. Where several processes share a batch (``SyncBatchNorm``) all of them take part in each norm.
    """
    alone = not isinstance(norm, nn.SyncBatchNorm)
    if alone and norm.training and values.numel() == values.shape[1]:
        return functional.batch_norm(values, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
    found: Tensor = norm(values)
    return found
