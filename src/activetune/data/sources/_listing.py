"""What a source finds at a path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from activetune.data.pool import ImageSource


@dataclass(frozen=True)
class OpenOptions:
    """How a pool is listed."""


@dataclass(frozen=True)
class Listing:
    """Images by id, as a source lists them.

    Attributes:
        ids: N item ids.
        labels: N class names, None where unknown; or None when there are no labels at all.
        source: reads an item's bytes.
    """

    ids: Sequence[str]
    labels: Sequence[str | None] | None
    source: ImageSource
