"""A pool: N images by id, and where their bytes lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from activetune.base.arrays import IntArray
from activetune.base.fingerprint import digest


class ImageSource(Protocol):
    """Where the encoded images of a pool lie; picklable, so that decoding workers can have their own."""

    def read(self, index: int) -> bytes:
        """The encoded bytes of item ``index``."""
        ...

    def stamp(self) -> str:
        """A digest that changes when any item is added, removed or replaced; reads no image."""
        ...


@dataclass(frozen=True)
class Pool:
    """N images by id, not loaded.

    Attributes:
        name: what the user gave to open it.
        ids: N distinct item ids (a path relative to the pool's root, or the data set's key).
        labels: N class names, None where unknown; or None when the pool has no labels at all.
        source: reads an item's bytes.
        rows: position of each item inside ``source`` (None: the same position).
    """

    name: str
    ids: Sequence[str]
    labels: Sequence[str | None] | None
    source: ImageSource
    rows: IntArray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def position(self) -> Mapping[str, int]:
        """Item id to position."""
        return {item: index for index, item in enumerate(self.ids)}

    @cached_property
    def fingerprint(self) -> str:
        """Digest of which items these are and of their content's stamps (size and time, or checksum)."""
        return digest(self.source.stamp(), *self.ids)

    def read(self, index: int) -> bytes:
        """The encoded bytes of the item at ``index``."""
        return self.source.read(index if self.rows is None else int(self.rows[index]))

    def subset(self, ids: Sequence[str]) -> Pool:
        """The pool of the given ids, in their order."""
        rows = np.asarray([self.position[item] for item in ids], dtype=np.int64)
        labels = None if self.labels is None else [self.labels[row] for row in rows]
        return Pool(self.name, list(ids), labels, self.source, rows if self.rows is None else self.rows[rows])
