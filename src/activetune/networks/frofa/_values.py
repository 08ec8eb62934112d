"""Augmentations that look at each number, or at how numbers are spread, and not at where they lie.

Deviation: ``equalize`` spreads values by their cumulative histogram as it is (the lowest level goes to 0, the highest
to 1), with probability v; image libraries, whose operations the paper takes, round it to a table of whole levels.
Shape legend: B items of a batch, T tokens, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from activetune.networks.frofa._operation import Grid, Operation

LEVELS = 256  # of an 8-bit image, which posterize and equalize are defined on


def _brightness(unit: Tensor, uniform: Tensor, strength: float, _: Grid | None) -> Tensor:
    """Add a number from U(-v, v)."""
    return (unit + strength * (2 * uniform[0] - 1)).clamp_(0, 1)


def _contrast(unit: Tensor, uniform: Tensor, strength: float, _: Grid | None) -> Tensor:
    """Stretch around each channel's mean by a factor from U(1/v, v)."""
    factor = 1 / strength + (strength - 1 / strength) * uniform[0]
    mean = unit.mean(1, keepdim=True)
    return ((unit - mean) * factor + mean).clamp_(0, 1)


def _posterize(unit: Tensor, uniform: Tensor, strength: float, _: Grid | None) -> Tensor:
    """Keep the highest v to 8 bits of an 8-bit number; 8 leave it as it is."""
    bits = torch.floor(strength + (9 - strength) * uniform[0]).clamp_max(8)
    size = torch.exp2(8 - bits)
    level = torch.round(unit * (LEVELS - 1))
    return torch.where(bits == 8, unit, torch.floor(level / size) * size / (LEVELS - 1))


def _invert(unit: Tensor, uniform: Tensor, strength: float, _: Grid | None) -> Tensor:
    """``1 - x`` with probability v."""
    return torch.where(uniform[0] < strength, 1 - unit, unit)


def _solarize(unit: Tensor, uniform: Tensor, strength: float, _: Grid | None) -> Tensor:
    """``1 - x`` of what reaches a threshold from U(1 - v, 1)."""
    return torch.where(unit >= 1 - strength * uniform[0], 1 - unit, unit)


def _equalize(unit: Tensor, uniform: Tensor, strength: float, _: Grid | None) -> Tensor:
    """With probability v, spread the values so that all 256 levels are as frequent: in a sample, or in a channel."""
    items, tokens, channels = unit.shape
    whole = uniform.shape[3] == 1
    rows = unit.reshape(items, -1) if whole else unit.transpose(1, 2).reshape(items * channels, tokens)
    level = torch.round(rows * (LEVELS - 1)).long()
    total = torch.zeros((len(rows), LEVELS), device=unit.device).scatter_add_(1, level, torch.ones_like(rows)).cumsum(1)
    lowest = torch.gather(total, 1, level.amin(1, keepdim=True))
    several = rows.shape[1] > lowest  # a single level stays as it is
    spread = torch.where(
        several, (torch.gather(total, 1, level) - lowest) / (rows.shape[1] - lowest).clamp_min(1), rows
    )
    found = spread.reshape(unit.shape) if whole else spread.reshape(items, channels, tokens).transpose(1, 2)
    return torch.where(uniform[0] < strength, found, unit)


OPERATIONS = {
    "brightness": Operation(_brightness, 0.01, 2, (0.1, 0.3, 0.5, 0.8, 1.0)),
    "contrast": Operation(_contrast, 1.01, 20, (1.25, 2, 4, 7, 10)),
    "posterize": Operation(_posterize, 1, 8, (6, 4, 3, 2, 1)),
    "equalize": Operation(_equalize, 0.01, 1, (0.25, 0.5, 1)),
    "invert": Operation(_invert, 0.01, 1, (0.1, 0.25, 0.5)),
    "solarize": Operation(_solarize, 0.01, 1, (0.1, 0.3, 0.5)),
}
