"""The array types of activetune, and the legend of the shapes in their names.

Shape legend, used in every module: N items, D feature size, K budget (or centroids), C classes, T tokens,
L labelled items.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.int64]

NO_INDICES: IntArray = np.empty(0, dtype=np.int64)  # of items (no position) or of classes


def rows_by_key(keys: IntArray) -> Iterator[tuple[int, IntArray]]:
    """Each key in ascending order and its rows in theirs, by one sort however many keys there are.

    >>> [(key, rows.tolist()) for key, rows in rows_by_key(np.array([4, 2, 4]))]
    [(2, [1]), (4, [0, 2])]
    """
    order = np.argsort(keys, kind="stable")
    values, starts = np.unique(keys[order], return_index=True)
    yield from zip(values.tolist(), np.split(order, starts[1:]), strict=len(values) > 0)
