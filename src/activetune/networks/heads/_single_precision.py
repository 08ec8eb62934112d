"""Last layers, which compute in the precision of their weights whatever that of the network below is.

Answers are compared: in bfloat16, whose numbers lie 0.016 apart between 2 and 4, two classes tie, and the first of them
would be the answer. The layers are small, so this costs nothing.
"""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor, nn


def without_autocast(tensor: Tensor) -> contextlib.AbstractContextManager[object]:
    """No autocast on a tensor's device; nothing where there is none, so that an exported graph has no trace of it."""
    kind = tensor.device.type
    active = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.autocast(kind, enabled=False) if active else contextlib.nullcontext()


class LastLinear(nn.Linear):
    """A linear layer in the precision of its weights."""

    def forward(self, input: Tensor) -> Tensor:
        """Outputs (…, Y) of inputs (…, D)."""
        with without_autocast(input):
            return super().forward(input.to(self.weight.dtype))


class LastConv2d(nn.Conv2d):
    """A convolution in the precision of its weights."""

    def forward(self, input: Tensor) -> Tensor:
        """Outputs (B, Y, H, W) of inputs (B, D, H, W)."""
        with without_autocast(input):
            return super().forward(input.to(self.weight.dtype))
