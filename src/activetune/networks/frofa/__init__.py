"""Frozen feature augmentation (Bär, Houlsby, Dehghani & Kumar, "Frozen Feature Augmentation for Few-Shot Image
Classification", CVPR 2024): image operations on the features of a frozen backbone.

A feature map is brought to [0, 1] by its minimum and maximum, changed as if it were an image whose channels are the
features, and brought back. Three scopes say how much is shared:

- ``frofa``: one minimum and maximum and one random parameter for a sample;
- ``cfrofa``: a parameter of its own for each channel, one minimum and maximum for the sample;
- ``c2frofa``: a parameter, a minimum and a maximum for each channel.

A sequence is written ``"c2frofa:brightness:0.8 + cfrofa:posterize:4"``. Operations on numbers are in ``_values.py``,
those on places of the grid in ``_places.py``; mixup and patch dropout change which items and tokens there are, so they
are here and their scope says nothing. Pooled features (B, C) count as one token: a channel of it has no spread, so
``c2frofa`` leaves them as they are.
Shape legend: B items of a batch, T tokens, C channels, Y classes.
Cost: O(B T C) an operation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from activetune.base.errors import UsageError, unknown_name
from activetune.networks.frofa import _places, _values
from activetune.networks.frofa._operation import Grid, Operation

__all__ = [
    "KNOWN",
    "OPERATIONS",
    "SCOPES",
    "Grid",
    "ScopedOperation",
    "augment",
    "from_unit",
    "mix",
    "parse_augmentation",
    "to_unit",
]

Scope = Literal["frofa", "cfrofa", "c2frofa"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
OPERATIONS: dict[str, Operation] = {**_values.OPERATIONS, **_places.OPERATIONS}
MIXUP, PATCH_DROPOUT = "mixup", "patch_dropout"
LIMITS = {name: (operation.least, operation.most) for name, operation in OPERATIONS.items()}
LIMITS |= {PATCH_DROPOUT: (0.01, 0.95), MIXUP: (0.01, 10.0)}
KNOWN = tuple(LIMITS)
CHUNK = 2**18  # numbers worked on at a time, 1 MB: more than a core's cache is several times slower


@dataclass(frozen=True)
class ScopedOperation:
    """An operation with its scope and strength; an augmentation is a sequence of them."""

    scope: Scope
    name: str
    strength: float

    def __post_init__(self) -> None:
        for what, value, known in (("scope", self.scope, SCOPES), ("augmentation", self.name, KNOWN)):
            if value not in known:
                raise unknown_name(what, value, known)
        least, most = LIMITS[self.name]
        if not least <= self.strength <= most:
            raise UsageError(f"{self.name}: its strength can't be {self.strength:g}; allowed: {least:g} to {most:g}")

    def __str__(self) -> str:
        return f"{self.scope}:{self.name}:{self.strength:g}"


def parse_augmentation(text: str) -> tuple[ScopedOperation, ...]:
    """``"c2frofa:brightness:0.8 + cfrofa:posterize:4"`` to its operations; an empty text to none.

    Raises:
        UsageError: not of that form, an unknown scope or operation, a strength out of its range.
    """
    return tuple(_parse_operation(part.strip()) for part in text.split("+") if part.strip())


def _parse_operation(text: str) -> ScopedOperation:
    try:
        scope, name, strength = text.split(":")
        return ScopedOperation(scope, name, float(strength))  # type: ignore[arg-type]
    except ValueError:
        raise UsageError(
            f"the augmentation {text!r} is not understood; write SCOPE:NAME:STRENGTH, like c2frofa:brightness:0.8"
        ) from None


def augment(
    features_BTC: Tensor,
    augmentation: Sequence[ScopedOperation],
    generator: torch.Generator,
    *,
    grid: Grid | None = None,
) -> Tensor:
    """Apply an augmentation to a batch of features, one operation after the other; mixup is left to :func:`mix`.

    Args:
        features_BTC: float32, (B, T, C), or pooled (B, C).
        generator: of all randomness, on the features' device.
        grid: how the tokens lie, for operations that look at places.

    Returns:
        Features of the same shape; after ``patch_dropout`` fewer tokens.

    Raises:
        UsageError: an operation needs a grid and there is none, or one that does not fit the tokens.
    """
    found = features_BTC[:, None] if features_BTC.ndim == 2 else features_BTC
    for one in augmentation:
        if one.name == PATCH_DROPOUT:
            found, grid = _drop_patches(found, one.strength, generator, grid), None
        elif one.name != MIXUP:
            found = _applied(found, one, generator, grid)
    return found[:, 0] if features_BTC.ndim == 2 else found


def _applied(features_BTC: Tensor, one: ScopedOperation, generator: torch.Generator, grid: Grid | None) -> Tensor:
    operation = OPERATIONS[one.name]
    items, tokens, channels = features_BTC.shape
    if operation.spatial and (grid is None or grid.tokens != tokens):
        raise UsageError(
            f"{one.name} needs tokens that lie on a grid, and these ({tokens} x {channels}) do not; use it before "
            f"{PATCH_DROPOUT} and with a head that reads tokens"
        )
    shape = (operation.draws, items, 1, 1 if one.scope == "frofa" else channels)
    uniform = torch.rand(shape, generator=generator, device=features_BTC.device)
    found = torch.empty_like(features_BTC)
    size = max(1, CHUNK // (tokens * channels))
    for start in range(0, items, size):
        part = slice(start, start + size)
        unit, low, high = to_unit(features_BTC[part], one.scope)
        found[part] = from_unit(operation.apply(unit, uniform[:, part], one.strength, grid), low, high)
    return found


def to_unit(features_BTC: Tensor, scope: Scope) -> tuple[Tensor, Tensor, Tensor]:
    """Features in [0, 1], with the minima and maxima that :func:`from_unit` needs; what is constant becomes 0."""
    dims = (1,) if scope == "c2frofa" else (1, 2)
    low, high = features_BTC.amin(dims, keepdim=True), features_BTC.amax(dims, keepdim=True)
    return (features_BTC - low) / torch.where(high > low, high - low, 1), low, high


def from_unit(unit_BTC: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The inverse of :func:`to_unit`, exact to rounding."""
    return unit_BTC * (high - low) + low


def _drop_patches(features_BTC: Tensor, share: float, generator: torch.Generator, grid: Grid | None) -> Tensor:
    """Leave out a share of each sample's tokens, never a prefix token; at least one stays."""
    prefix = 0 if grid is None else grid.prefix
    items, tokens, channels = features_BTC.shape
    kept = max(1, round((1 - share) * (tokens - prefix)))
    order = torch.rand((items, tokens - prefix), generator=generator, device=features_BTC.device).argsort(1)
    chosen = prefix + order[:, :kept].sort(1).values
    patches = features_BTC.gather(1, chosen[..., None].expand(-1, -1, channels))
    return torch.cat([features_BTC[:, :prefix], patches], 1)


def mix(features: Tensor, targets_BY: Tensor, strength: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mixup (Zhang et al. 2018): each item and its answer are mixed with another's, by a share from Beta(v, v).

    Args:
        features: (B, T, C) or (B, C). targets_BY: probabilities of the classes.
    """
    device = features.device
    seed = int(torch.randint(2**62, (1,), generator=generator, device=device))  # torch draws no Beta from a generator
    share_B = torch.from_numpy(np.random.default_rng(seed).beta(strength, strength, len(features))).to(features)
    other = torch.randperm(len(features), generator=generator, device=device)
    wide = share_B.view(-1, *[1] * (features.ndim - 1))
    mixed = wide * features + (1 - wide) * features[other]
    return mixed, share_B[:, None] * targets_BY + (1 - share_B[:, None]) * targets_BY[other]
