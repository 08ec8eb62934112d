"""Augmentations that look at where tokens lie on the grid; prefix tokens stay as they are.

Shape legend: B items of a batch, T tokens, C channels, M maps of a batch with a parameter each, H x W places.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from activetune.networks.frofa._operation import Grid, Operation

TOP = 255.0  # an 8-bit image's largest number, which JPEG's table is made for
BRIGHTNESS_TABLE = (  # ITU-T T.81, annex K
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)


def _on_grid(unit: Tensor, uniform: Tensor, grid: Grid | None, change: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Give the maps (M, depth, H, W) of a batch and their random numbers (draws, M) to ``change``.

    A map is a sample with all its channels, or, where each channel has random numbers of its own, one channel.
    """
    assert grid is not None
    items, _, channels = unit.shape
    depth = channels if uniform.shape[3] == 1 else 1
    maps = unit[:, grid.prefix :].transpose(1, 2).reshape(-1, depth, grid.height, grid.width)
    changed = change(maps, uniform.reshape(len(uniform), -1)).reshape(items, channels, -1).transpose(1, 2)
    return torch.cat([unit[:, : grid.prefix], changed], 1)


def _sharpness(unit: Tensor, uniform: Tensor, strength: float, grid: Grid | None) -> Tensor:
    """Away from the smoothed map or towards it, by a factor from U(1 - v, 1 + v); the border stays."""

    def change(maps: Tensor, uniform_M: Tensor) -> Tensor:
        factor = (1 + strength * (2 * uniform_M[0] - 1)).view(-1, 1, 1, 1)
        if min(maps.shape[2:]) < 3:
            return maps
        kernel = maps.new_tensor([[1.0, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
        inner = functional.conv2d(maps.reshape(-1, 1, *maps.shape[2:]), kernel[None, None])
        smooth = maps.clone()
        smooth[..., 1:-1, 1:-1] = inner.reshape(smooth[..., 1:-1, 1:-1].shape)
        return (smooth + factor * (maps - smooth)).clamp_(0, 1)

    return _on_grid(unit, uniform, grid, change)


def _jpeg(unit: Tensor, uniform: Tensor, strength: float, grid: Grid | None) -> Tensor:
    """Quantise 8 x 8 blocks in frequency as JPEG does, at a quality from U(v, 100)."""

    def change(maps: Tensor, uniform_M: Tensor) -> Tensor:
        height, width = maps.shape[2:]
        cosines, table = _cosines(maps), _table(maps, strength + (100 - strength) * uniform_M[0])
        padded = functional.pad(maps, (0, -width % 8, 0, -height % 8), mode="replicate") * TOP - (TOP + 1) / 2
        blocks = padded.unfold(2, 8, 8).unfold(3, 8, 8)  # (M, depth, rows, columns, 8, 8)
        spectrum = torch.round(cosines @ blocks @ cosines.T / table) * table
        back = (cosines.T @ spectrum @ cosines).transpose(3, 4).reshape(padded.shape)
        return ((back + (TOP + 1) / 2) / TOP).clamp_(0, 1)[..., :height, :width]

    return _on_grid(unit, uniform, grid, change)


def _cosines(like: Tensor) -> Tensor:
    """The orthonormal cosine transform of eight numbers (8, 8)."""
    number = torch.arange(8, device=like.device, dtype=like.dtype)
    rows = torch.cos(math.pi / 8 * (number[None] + 0.5) * number[:, None]) / 2
    rows[0] /= math.sqrt(2)
    return rows


def _table(like: Tensor, quality_M: Tensor) -> Tensor:
    """JPEG's divisors for qualities of 1 to 100, (M, 1, 1, 1, 8, 8)."""
    base = like.new_tensor(BRIGHTNESS_TABLE).view(8, 8)
    scale = torch.where(quality_M < 50, 5000 / quality_M, 200 - 2 * quality_M).view(-1, 1, 1, 1, 1, 1)
    return torch.floor((base * scale + 50) / 100).clamp(1, TOP)


def _crop(unit: Tensor, uniform: Tensor, strength: float, grid: Grid | None) -> Tensor:
    """A part whose sides are a share from U(1 - v, 1) of the whole, anywhere in it, stretched to the whole."""

    def change(maps: Tensor, uniform_M: Tensor) -> Tensor:
        share, zero = 1 - strength * uniform_M[0], torch.zeros_like(uniform_M[0])
        left, up = ((1 - share) * (2 * draw - 1) for draw in uniform_M[1:])
        return _seen(maps, share, zero, left, zero, share, up)

    return _on_grid(unit, uniform, grid, change)


def _shift(unit: Tensor, uniform: Tensor, strength: float, grid: Grid | None) -> Tensor:
    """By up to v of each side, in any direction."""

    def change(maps: Tensor, uniform_M: Tensor) -> Tensor:
        one, zero = torch.ones_like(uniform_M[0]), torch.zeros_like(uniform_M[0])
        left, up = (2 * strength * (2 * draw - 1) for draw in uniform_M)
        return _seen(maps, one, zero, left, zero, one, up)

    return _on_grid(unit, uniform, grid, change)


def _rotate(unit: Tensor, uniform: Tensor, strength: float, grid: Grid | None) -> Tensor:
    """By an angle from U(-v, v) degrees."""

    def change(maps: Tensor, uniform_M: Tensor) -> Tensor:
        angle = torch.deg2rad(strength * (2 * uniform_M[0] - 1))
        cosine, sine, zero = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle)
        aspect = maps.shape[3] / maps.shape[2]  # places run from -1 to 1 along both sides
        return _seen(maps, cosine, -sine / aspect, zero, sine * aspect, cosine, zero)

    return _on_grid(unit, uniform, grid, change)


def _seen(maps: Tensor, *entries: Tensor) -> Tensor:
    """Maps seen through an affine map of places (six entries (M,), by rows), bilinear; the border goes on outside."""
    matrices = torch.stack(entries, 1).view(-1, 2, 3)
    places = functional.affine_grid(matrices, [len(maps), 1, *maps.shape[2:]], align_corners=False)
    return functional.grid_sample(maps, places, padding_mode="border", align_corners=False)


OPERATIONS = {
    "sharpness": Operation(_sharpness, 0.01, 10, (0.5, 1, 3), spatial=True),
    "jpeg": Operation(_jpeg, 1, 100, (75, 50, 25), spatial=True),
    "crop": Operation(_crop, 0.01, 0.95, (0.1, 0.3, 0.5), draws=3, spatial=True),
    "shift": Operation(_shift, 0.01, 1, (0.05, 0.1, 0.3), draws=2, spatial=True),
    "rotate": Operation(_rotate, 0.1, 180, (10, 30, 90), spatial=True),
}
