"""What is known of a pool once its images were read: the rows of measures, and what was given beside them.

Shape legend: R images that can be used, D feature size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from activetune.data.pool import Pool
from activetune.features.artefact import Embeddings
from activetune.features.distances import Float32, unit_rows


@dataclass(frozen=True)
class Examined:
    """A pool and what was measured.

    Attributes:
        pool: the images. ids: of the R that can be decoded, in the pool's order. rejected: id and reason of the others.
        rows: (R,) a field per measure. digests: (R, 16) uint8, of the files' bytes.
        embeddings: their features, where they were given or asked for. labels: class name by id; empty without.
        quiet: no progress of checks that take long.
    """

    pool: Pool
    ids: Sequence[str]
    rows: npt.NDArray[Any]
    digests: npt.NDArray[np.uint8]
    rejected: Sequence[tuple[str, str]] = ()
    embeddings: Embeddings | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    quiet: bool = False

    @cached_property
    def featured(self) -> tuple[npt.NDArray[np.int64], Float32]:
        """Positions among ``ids`` of the images that have features, ascending, and these at unit length."""
        assert self.embeddings is not None
        place = self.embeddings.position
        known = np.asarray([row for row, item in enumerate(self.ids) if item in place], dtype=np.int64)
        rows = np.asarray([place[self.ids[row]] for row in known], dtype=np.int64)
        return known, unit_rows(self.embeddings.features_ND[rows])

    def labels_differ(self, one: str, other: str) -> str:
        """``; their labels differ: 'cat' and 'dog'``; empty where they do not, or are not known."""
        names = [self.labels.get(item) for item in (one, other)]
        return "" if None in names or names[0] == names[1] else f"; their labels differ: {names[0]!r} and {names[1]!r}"
